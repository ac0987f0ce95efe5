/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "emulator/control.h"
#include "emulator/entra.h"
#include "emulator/faults.h"
#include "emulator/requestlog.h"
#include "emulator/intel.h"
#include "emulator/server.h"
#include "emulator/vault.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct options {
	const char *dir, *listen, *faults, *hardware;
	uint16_t port, imds_port, control_port;
};

static const char usage[] =
    "usage: skr-emulator --dir DIR [--port N] [--imds-port N] [--control-port N] [--listen ADDRESS]\n"
    "                    [--faults FILE] [--hardware FILE]\n"
    "Plays Azure's secure key release on loopback: Entra ID, the metadata service, attestation, Key Vault, Managed "
    "HSM,\n"
    "and the guest hardware. Writes DIR/endpoints, then prints \"ready\". Ends on SIGTERM. See docs/emulator.md.\n";

static int parse_port(const char *text, uint16_t *ret)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || end == text || value > 65535)
		return 0;
	*ret = (uint16_t)value;
	return 1;
}

static int parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option names[] = {
	    {"dir", required_argument, NULL, 'd'},       {"port", required_argument, NULL, 'p'},
	    {"imds-port", required_argument, NULL, 'i'}, {"control-port", required_argument, NULL, 'c'},
	    {"listen", required_argument, NULL, 'l'},    {"faults", required_argument, NULL, 'f'},
	    {"hardware", required_argument, NULL, 'h'},  {0},
	};
	struct options options = {.listen = "127.0.0.1"};
	int option, fits = 1;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 'd':
			options.dir = optarg;
			break;
		case 'p':
			fits &= parse_port(optarg, &options.port);
			break;
		case 'i':
			fits &= parse_port(optarg, &options.imds_port);
			break;
		case 'c':
			fits &= parse_port(optarg, &options.control_port);
			break;
		case 'l':
			options.listen = optarg;
			break;
		case 'f':
			options.faults = optarg;
			break;
		case 'h':
			options.hardware = optarg;
			break;
		default:
			return 0;
		}
	}
	*ret = options;
	return fits && options.dir && optind == argc;
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

static skr_status open_authorities(struct emulator *e)
{
	pthread_t maker;
	bool made = pthread_create(&maker, NULL, make_entra_keys, e) == 0;

	skr_status status = authority_open(e);
	if (!status.failure)
		status = intel_open(e);
	if (!status.failure)
		status = hardware_open(e);
	if (!status.failure)
		status = maa_open(e);
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
	return control_write_endpoints(e, options->listen);
}

static void close_parts(struct emulator *e)
{
	server_close(e);
	vaults_close(e);
	entra_close(e);
	maa_close(e);
	hardware_close(e);
	intel_close(e);
	authority_close(e);
	faults_close(e);
	requestlog_close(e);
	pthread_mutex_destroy(&e->lock);
}

static skr_status run(const struct options *options)
{
	char dir[PATH_MAX];
	struct emulator e = {
	    .dir = dir,
	    .hardware_file = options->hardware,
	    .https_port = options->port,
	    .imds_port = options->imds_port,
	    .control_port = options->control_port,
	};

	sigset_t ends;

	/* Blocked before there are threads, which inherit the mask. */
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	signal(SIGPIPE, SIG_IGN);
	TRY(make_dir(options->dir, dir));
	pthread_mutex_init(&e.lock, NULL);
	skr_status status = open_parts(&e, options, &ends);
	if (!status.failure)
		status = server_run(&e);
	close_parts(&e);
	return status;
}

int main(int argc, char **argv)
{
	struct options options;
	char line[1024];

	if (!parse_options(argc, argv, &options)) {
		fputs(usage, stderr);
		return 2;
	}
	if (run(&options).failure) {
		status_line(status_last(), line, sizeof(line));
		fprintf(stderr, "skr-emulator: %s\n", line);
		return 1;
	}
	return 0;
}
