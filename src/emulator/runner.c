/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/runner.h"

#include "base/base64.h"
#include "base/file.h"
#include "emulator/dispatch.h"
#include "emulator/machine.h"
#include "emulator/programs.h"
#include "emulator/release_policy.h"
#include "emulator/server.h"

#include <errno.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the folder ---- */

static bool try_folder(const char *base, char path[PATH_MAX])
{
	if (!base || base[0] != '/' || file_check_trusted(base).failure)
		return false;
	snprintf(path, PATH_MAX, "%s/skr-emulator-XXXXXX", base);
	return mkdtemp(path) != NULL;
}

skr_status runner_make_folder(char path[PATH_MAX])
{
	const char *const bases[] = {getenv("XDG_RUNTIME_DIR"), geteuid() == 0 ? "/var/lib" : NULL, getenv("HOME")};

	for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
		if (try_folder(bases[i], path)) {
			status_clear();
			return OK;
		}
	}
	return FAIL(3, "no place for a folder that nobody else may write to: name one with --dir");
}

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *walk)
{
	(void)about;
	(void)type;
	(void)walk;
	return remove(path);
}

void runner_remove_folder(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- keys ---- */

static skr_status ask(struct emulator *e, const struct inner_request *request, json **ret)
{
	auto_call *call = NULL;

	TRY(dispatch_inner(e, request, &call));
	if (call->exchange.status != 200)
		return FAIL(599, "%s %s: %d %s", request->method, request->target, call->exchange.status,
		            buf_text(&call->exchange.reply));
	return json_parse(call->exchange.reply.data, call->exchange.reply.len, ret);
}

static skr_status access_token(struct emulator *e, struct buf *out)
{
	static const struct inner_request request = {.service = SERVICE_METADATA,
	                                             .method = "GET",
	                                             .authority = "169.254.169.254",
	                                             .target = "/metadata/identity/oauth2/token?api-version=2018-02-01"
	                                                       "&resource=https%3A%2F%2Fvault.localhost"};
	auto_json *answer = NULL;
	const char *token;

	TRY(ask(e, &request, &answer));
	TRY(json_string(answer, "access_token", &token));
	return buf_append_text(out, token);
}

/* The body of a key's creation: kty and size with this machine's policy. */
static skr_status key_plan(struct emulator *e, const char *kty, json *body)
{
	auto_buf policy = BUF(64 * 1024), data = BUF(64 * 1024);
	json *attributes = json_object(), *release = json_object();

	json_set(body, "attributes", attributes);
	json_set(body, "release_policy", release);
	TRY(release_policy_print(e, NULL, &policy));
	TRY(base64url_encode(policy.data, policy.len, &data));
	json_set_string(body, "kty", kty);
	if (strcmp(kty, "EC-HSM") == 0)
		json_set_string(body, "crv", "P-256");
	else
		json_set_number(body, "key_size", 2048);
	json_set_bool(attributes, "exportable", true);
	json_set_string(release, "contentType", "application/json; charset=utf-8");
	json_set_string(release, "data", buf_text(&data));
	return OK;
}

static skr_status create_key(struct emulator *e, const char *token, const char *name, const char *kty)
{
	auto_json *plan = json_object(), *answer = NULL;
	auto_buf body = BUF(64 * 1024);
	char authority[64], target[64];

	TRY(key_plan(e, kty, plan));
	TRY(json_print(plan, &body));
	snprintf(authority, sizeof(authority), "contoso.vault.localhost:%u", e->https_port);
	snprintf(target, sizeof(target), "/keys/%s/create?api-version=7.4", name);
	const struct inner_request request = {
	    .method = "POST", .authority = authority, .target = target, .bearer = token, .body = buf_text(&body)};
	return ask(e, &request, &answer);
}

/* ---- the configuration ---- */

static skr_status print_configuration(const struct emulator *e, struct buf *out)
{
	TRY(buf_printf(out,
	               "[skr-pkcs11]\n"
	               "log = stderr\n"
	               "log_level = warning\n"
	               "agent = exec:%s/skr-agent\n"
	               "allow_custom_endpoint = yes\n"
	               "imds = http://127.0.0.1:%u\n"
	               "ca_file = %s/ca.pem\n"
	               "\n"
	               "[token web]\n"
	               "attestation = https://sharedemu.attest.localhost:%u\n"
	               "evidence = %s\n",
	               e->dir, e->imds_port, e->dir, e->https_port, machine_traits(e->kind)->evidence));
	if (e->kind == MACHINE_SIDECAR)
		TRY(buf_printf(out, "sidecar = http://localhost:%u\n", e->sidecar_port));
	return buf_printf(out,
	                  "key = https://contoso.vault.localhost:%u/keys/www\n"
	                  "key = https://contoso.vault.localhost:%u/keys/signing\n",
	                  e->https_port, e->https_port);
}

skr_status runner_prepare(struct emulator *e)
{
	auto_buf token = BUF(64 * 1024), text = BUF(64 * 1024);

	TRY(access_token(e, &token));
	TRY(create_key(e, buf_text(&token), "www", "RSA-HSM"));
	TRY(create_key(e, buf_text(&token), "signing", "EC-HSM"));
	TRY(print_configuration(e, &text));
	return emulator_write(e, "skr-pkcs11.conf", text.data, text.len);
}

/* ---- the command ---- */

struct environment {
	struct buf text;  /* of our own variables, each ended by NUL */
	char **variables; /* ends with NULL; those of this process, then ours */
};

static void environment_done(struct environment *environment)
{
	free(environment->variables);
	buf_done(&environment->text);
}

static bool is_ours(const char *variable)
{
	return strncmp(variable, "SKR_EMULATOR_", 13) == 0 || strncmp(variable, "SKR_PKCS11_CONF=", 16) == 0;
}

static size_t count_lines(const struct buf *text)
{
	size_t count = 0;

	for (size_t i = 0; i < text->len; i++)
		count += text->data[i] == '\n';
	return count;
}

static skr_status environment_make(const struct emulator *e, struct environment *ret)
{
	size_t inherited = 0, at = 0;

	TRY(emulator_read(e, "endpoints", &ret->text));
	TRY(buf_printf(&ret->text, "SKR_PKCS11_CONF=%s/skr-pkcs11.conf\n", e->dir));
	while (environ[inherited])
		inherited++;
	ret->variables = calloc(inherited + count_lines(&ret->text) + 1, sizeof(*ret->variables));
	if (!ret->variables)
		return FAIL(14, "the environment of the command");
	for (size_t i = 0; i < inherited; i++)
		if (!is_ours(environ[i]))
			ret->variables[at++] = environ[i];
	char *rest = NULL;
	for (char *line = strtok_r((char *)ret->text.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		ret->variables[at++] = line;
	return OK;
}

/* 0, or why it cannot be run: said here, since it is a shell that will start it. */
static int find_command(const char *name)
{
	char room[PATH_MAX];

	if (!strchr(name, '/'))
		return program_find(name, room, sizeof(room)) ? 0 : ENOENT;
	return access(name, X_OK) == 0 ? 0 : errno;
}

/* `command` behind DIR/inside. */
static skr_status inside(const struct emulator *e, char *const *command, char *path, size_t size, char ***ret)
{
	size_t count = 0;

	while (command[count])
		count++;
	char **whole = calloc(count + 2, sizeof(*whole));
	if (!whole)
		return FAIL(14, "the arguments of the command");
	snprintf(path, size, "%s/inside", e->dir);
	whole[0] = path;
	memcpy(whole + 1, command, count * sizeof(*whole));
	*ret = whole;
	return OK;
}

/* With the signals as a program finds them: we have blocked and ignored some. Returns an errno. */
static int spawn(char *const *command, char *const *variables, pid_t *ret)
{
	posix_spawnattr_t attributes;
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	int error = posix_spawnp(ret, command[0], NULL, &attributes, command, variables);
	posix_spawnattr_destroy(&attributes);
	return error;
}

void runner_signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGTERM);
	sigaddset(ret, SIGHUP);
	sigaddset(ret, SIGCHLD);
}

/* What goes wrong with the server ends the command too. */
static skr_status serve_until_end(struct emulator *e, pid_t child, int *ret_status)
{
	int signal_number;

	for (;;) {
		skr_status status = server_run(e, &signal_number);
		if (status.failure) {
			kill(child, SIGTERM);
			waitpid(child, ret_status, 0);
			return status;
		}
		if (signal_number == SIGCHLD && waitpid(child, ret_status, WNOHANG) == child)
			return OK;
		if (signal_number != SIGCHLD)
			kill(child, signal_number);
	}
}

skr_status runner_run(struct emulator *e, char *const *command, int *ret_code)
{
	__attribute__((cleanup(environment_done))) struct environment environment = {.text = BUF(64 * 1024)};
	char path[PATH_MAX + 32], **whole;
	pid_t child;
	int how, error = find_command(command[0]);

	TRY(environment_make(e, &environment));
	TRY(inside(e, command, path, sizeof(path), &whole));
	if (!error)
		error = spawn(whole, environment.variables, &child);
	free(whole);
	if (error) {
		fprintf(stderr, "skr-emulator: %s: %s\n", command[0], strerror(error));
		*ret_code = error == ENOENT ? 127 : 126;
		return OK;
	}
	TRY(serve_until_end(e, child, &how));
	*ret_code = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
	return OK;
}
