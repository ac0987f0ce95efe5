/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "emulator/control.h"
#include "emulator/entra.h"
#include "emulator/faults.h"
#include "emulator/intel.h"
#include "emulator/machine.h"
#include "emulator/programs.h"
#include "emulator/requestlog.h"
#include "emulator/runner.h"
#include "emulator/intel.h"
#include "emulator/server.h"
#include "emulator/vault.h"
#include "emulator/vtpm.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct options {
	const char *dir, *listen, *faults, *hardware;
	char *const *command; /* of `run`; NULL: serve until a signal comes */
	enum machine_kind kind;
	uint16_t port, imds_port, control_port, sidecar_port;
};

static const char usage[] =
    "usage: skr-emulator --dir DIR [--machine KIND] [--port N] [--imds-port N] [--control-port N] [--sidecar-port N]\n"
    "                    [--listen ADDRESS] [--faults FILE] [--hardware FILE]\n"
    "       skr-emulator run [--machine KIND] [--dir DIR] [--] COMMAND...\n"
    "Plays Azure's secure key release on loopback: Entra ID, the metadata service, attestation, Key Vault, Managed "
    "HSM,\n"
    "and a machine of the KIND: %s.\n"
    "The first form writes DIR/endpoints, prints \"ready\", and ends on SIGTERM; the second ends with its command.\n"
    "See docs/emulator.md.\n";

static bool parse_port(const char *text, uint16_t *ret)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || end == text || value > 65535)
		return false;
	*ret = (uint16_t)value;
	return true;
}

static bool parse_kind(const char *text, enum machine_kind *ret)
{
	if (machine_kind_of_name(text, ret))
		return true;
	fprintf(stderr, "skr-emulator: no kind of machine is called %s\n", text);
	return false;
}

static bool parse_option(int option, struct options *options)
{
	switch (option) {
	case 'd':
		options->dir = optarg;
		return true;
	case 'm':
		return parse_kind(optarg, &options->kind);
	case 'p':
		return parse_port(optarg, &options->port);
	case 'i':
		return parse_port(optarg, &options->imds_port);
	case 'c':
		return parse_port(optarg, &options->control_port);
	case 's':
		return parse_port(optarg, &options->sidecar_port);
	case 'l':
		options->listen = optarg;
		return true;
	case 'f':
		options->faults = optarg;
		return true;
	case 'h':
		options->hardware = optarg;
		return true;
	default:
		return false;
	}
}

static bool parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option serve_names[] = {
	    {"dir", required_argument, NULL, 'd'},          {"machine", required_argument, NULL, 'm'},
	    {"port", required_argument, NULL, 'p'},         {"imds-port", required_argument, NULL, 'i'},
	    {"control-port", required_argument, NULL, 'c'}, {"sidecar-port", required_argument, NULL, 's'},
	    {"listen", required_argument, NULL, 'l'},       {"faults", required_argument, NULL, 'f'},
	    {"hardware", required_argument, NULL, 'h'},     {0},
	};
	static const struct option run_names[] = {
	    {"dir", required_argument, NULL, 'd'}, {"machine", required_argument, NULL, 'm'}, {0}};
	struct options options = {.listen = "127.0.0.1"};
	bool runs = argc > 1 && strcmp(argv[1], "run") == 0;
	int option;

	argc -= runs;
	argv += runs;
	while ((option = getopt_long(argc, argv, "+", runs ? run_names : serve_names, NULL)) != -1)
		if (!parse_option(option, &options))
			return false;
	if (runs)
		options.command = argv + optind;
	*ret = options;
	return runs ? optind < argc : options.dir && optind == argc;
}

static skr_status add_fault_file(struct emulator *e, const char *path)
{
	auto_buf text = BUF(1024 * 1024);

	if (!path)
		return OK;
	TRY(file_read(path, &text));
	return faults_add(e, buf_text(&text));
}

static skr_status make_dir(const char *dir, char path[PATH_MAX])
{
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return FAIL(17, "mkdir %s: %s", dir, strerror(errno));
	if (!realpath(dir, path))
		return FAIL(17, "%s: %s", dir, strerror(errno));
	return OK;
}

/* The first start makes keys, which takes most of its second; these while the authority makes its own. */
static void *make_entra_keys(void *emulator)
{
	if (entra_make_keys(emulator).failure)
		status_clear(); /* entra_open tries again, and says what is wrong */
	OPENSSL_thread_stop_ex(ossl);
	return NULL;
}

/* Of the TPM's emulator, which is a program of its own. */
static skr_status open_vtpm(struct emulator *e)
{
	char path[PATH_MAX];

	if (!machine_traits(e->kind)->tpm)
		return OK;
	if (!program_find("swtpm", path, sizeof(path)))
		return FAIL(130, "a machine of kind %s has a vTPM, and for that swtpm is needed: apt-get install swtpm",
		            machine_traits(e->kind)->name);
	return vtpm_open(e);
}

static skr_status open_machine(struct emulator *e)
{
	TRY(authority_open(e));
	TRY(hardware_open(e));
	TRY(intel_open(e));
	TRY(open_vtpm(e));
	return maa_open(e);
}

static skr_status open_authorities(struct emulator *e)
{
	pthread_t maker;
	bool made = pthread_create(&maker, NULL, make_entra_keys, e) == 0;

	skr_status status = open_machine(e);
	if (made)
		pthread_join(maker, NULL);
	TRY(status);
	return entra_open(e);
}

static skr_status open_parts(struct emulator *e, const struct options *options, const sigset_t *ends)
{
	TRY(ossl_open());
	TRY(requestlog_open(e));
	TRY(faults_open(e));
	TRY(add_fault_file(e, options->faults));
	TRY(open_authorities(e));
	TRY(vaults_open(e));
	TRY(server_open(e, options->listen, ends));
	TRY(program_write_commands(e));
	return control_write_endpoints(e, options->listen);
}

static void close_parts(struct emulator *e)
{
	server_close(e);
	vaults_close(e);
	entra_close(e);
	maa_close(e);
	vtpm_close(e);
	intel_close(e);
	hardware_close(e);
	authority_close(e);
	faults_close(e);
	requestlog_close(e);
	pthread_mutex_destroy(&e->lock);
}

static skr_status serve(struct emulator *e)
{
	int signal_number;

	puts("ready");
	fflush(stdout);
	return server_run(e, &signal_number);
}

static skr_status run_command(struct emulator *e, char *const *command, int *ret_code)
{
	TRY(runner_prepare(e));
	return runner_run(e, command, ret_code);
}

/* Blocked before there are threads, which inherit the mask. A Ctrl-C is the command's alone, if there is one. */
static void block_signals(const struct options *options, sigset_t *ends)
{
	sigset_t interrupt;

	sigemptyset(&interrupt);
	sigaddset(&interrupt, SIGINT);
	sigemptyset(ends);
	sigaddset(ends, SIGTERM);
	sigaddset(ends, SIGINT);
	if (options->command)
		runner_signals(ends);
	pthread_sigmask(SIG_BLOCK, &interrupt, NULL);
	pthread_sigmask(SIG_BLOCK, ends, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static skr_status play(const struct options *options, const char *dir, int *ret_code)
{
	struct emulator e = {
	    .dir = dir,
	    .hardware_file = options->hardware,
	    .kind = options->kind,
	    .https_port = options->port,
	    .imds_port = options->imds_port,
	    .control_port = options->control_port,
	    .sidecar_port = options->sidecar_port,
	};
	sigset_t ends;

	block_signals(options, &ends);
	pthread_mutex_init(&e.lock, NULL);
	skr_status status = open_parts(&e, options, &ends);
	if (!status.failure)
		status = options->command ? run_command(&e, options->command, ret_code) : serve(&e);
	close_parts(&e);
	return status;
}

/* The module refuses a configuration below a folder that others may write to; better said now. */
static skr_status check_dir(const struct options *options, const char *dir)
{
	return options->command ? file_check_trusted(dir) : OK;
}

static skr_status run(const struct options *options, int *ret_code)
{
	char dir[PATH_MAX];

	if (!options->dir) {
		TRY(runner_make_folder(dir));
		skr_status status = play(options, dir, ret_code);
		runner_remove_folder(dir);
		return status;
	}
	TRY(make_dir(options->dir, dir));
	TRY(check_dir(options, dir));
	return play(options, dir, ret_code);
}

int main(int argc, char **argv)
{
	struct options options;
	char line[1024];
	int code = 0;

	if (!parse_options(argc, argv, &options)) {
		fprintf(stderr, usage, machine_kind_names());
		return 2;
	}
	if (run(&options, &code).failure) {
		status_line(status_last(), line, sizeof(line));
		fprintf(stderr, "skr-emulator: %s\n", line);
		return 1;
	}
	return code;
}
