/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole logins against stand-in agents: threads behind a unix socket, and copies of this program that the module
 * starts.
 */
#include <time.h>
#define TEST_NOW ((int64_t)time(NULL)) /* release_run asks the wall clock */

#include "release/release.h"

#include "unit/release/vault.h"
#include "agent/protocol.h"
#include "base/file.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define KEYS 2

static struct signer signer;
static EVP_PKEY *vault_keys[KEYS];
static const char *const key_names[KEYS] = {"www", "signing"};
static char folder[256]; /* of this run, safe to start programs from */

/* ---- the stand-in agent ---- */

static struct buf recorded[KEYS]; /* the answers of the last "ok", for "replay" */
static int lives;                 /* "die-once" */

static void send_text(int out, const char *text)
{
	auto_buf body = BUF(PROTOCOL_ANSWER_LIMIT);

	MUST_OK(buf_append_text(&body, text));
	(void)!frame_send(out, &body, deadline_in(2000)).failure;
}

static void send_message(int out, const struct agent_message *message)
{
	auto_buf body = BUF(PROTOCOL_ANSWER_LIMIT);

	MUST_OK(agent_message_print(message, &body));
	(void)!frame_send(out, &body, deadline_in(2000)).failure;
}

static void send_step(int out, const char *name, const char *detail)
{
	struct agent_message step = {.type = AGENT_STEP}, done = {.type = AGENT_DONE, .ms = 7};

	snprintf(step.name, sizeof(step.name), "%s", name);
	snprintf(done.name, sizeof(done.name), "%s", name);
	snprintf(done.detail, sizeof(done.detail), "%s", detail);
	send_message(out, &step);
	send_message(out, &done);
}

/* `foreign`: wrapped to another key than the one asked for. */
static void make_jws(const struct agent_request *request, size_t index, bool foreign, struct buf *out)
{
	auto_pkey *transport = NULL;

	MUST_OK(jwk_public_key(request->transport_key, &transport));
	if (foreign) {
		EVP_PKEY_free(transport);
		transport = make_rsa(2048);
	}
	struct vault_answer answer = {.name = key_names[index],
	                              .nonce = request->nonce,
	                              .kid = json_string_or_null(request->transport_key, "kid"),
	                              .transport = transport,
	                              .key = vault_keys[index]};
	auto_json *payload = vault_payload(&answer);
	vault_sign(&signer, payload, out);
}

enum harm { NO_HARM, TAMPERED, FOREIGN };

static void send_key(int out, const struct agent_request *request, size_t index, size_t of, enum harm harm)
{
	auto_agent_message message = {.type = AGENT_KEY, .index = (int64_t)index, .jws = BUF(PROTOCOL_ANSWER_LIMIT)};

	make_jws(request, of, harm == FOREIGN, &message.jws);
	buf_done(&recorded[of]);
	recorded[of] = BUF(PROTOCOL_ANSWER_LIMIT);
	MUST_OK(buf_append(&recorded[of], message.jws.data, message.jws.len));
	if (harm == TAMPERED)
		message.jws.data[message.jws.len - 20] = message.jws.data[message.jws.len - 20] == 'A' ? 'B' : 'A';
	send_message(out, &message);
}

static void send_keys(int out, const struct agent_request *request)
{
	for (size_t i = 0; i < KEYS; i++)
		send_key(out, request, i, i, NO_HARM);
	send_text(out, "{\"type\":\"end\"}");
}

static void send_steps(int out)
{
	send_step(out, "evidence", "stand-in");
	send_step(out, "attestation", "");
	send_step(out, "identity", "");
	send_step(out, "release", "");
}

/* ---- a machine whose TPM keeps the transport key ---- */

static EVP_PKEY *tpm_key; /* made when first asked for */

static void send_transport(int out)
{
	struct agent_message message = {.type = AGENT_TRANSPORT, .kid = "of-the-tpm", .size = 256};

	send_message(out, &message);
}

/* As the vault wraps it: to the TPM's key, whose kid it names. */
static void send_tpm_key(int out, const struct agent_request *request, size_t index)
{
	auto_agent_message message = {.type = AGENT_KEY, .index = (int64_t)index, .jws = BUF(PROTOCOL_ANSWER_LIMIT)};
	struct vault_answer answer = {.name = key_names[index],
	                              .nonce = request->nonce,
	                              .kid = "of-the-tpm",
	                              .transport = tpm_key,
	                              .key = vault_keys[index]};
	auto_json *payload = vault_payload(&answer);

	vault_sign(&signer, payload, &message.jws);
	send_message(out, &message);
}

static void tpm_decrypt(const struct buf *sealed, struct buf *out)
{
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, tpm_key, NULL);
	size_t len = 256;
	uint8_t *place;

	MUST_OK(buf_reserve(out, len, &place));
	MUST(ctx && EVP_PKEY_decrypt_init(ctx) > 0 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
	     EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, "SHA256", NULL) > 0 &&
	     EVP_PKEY_decrypt(ctx, place, &len, sealed->data, sealed->len) > 0);
	out->len = len;
}

/* False: the module hung up instead. */
static bool open_for_module(int in, int out, const struct agent_request *request, const char *part)
{
	auto_buf body = BUF(PROTOCOL_REQUEST_LIMIT), kek = BUF(256);
	auto_agent_open asked = {.index = 0};
	auto_agent_message answer = {.type = AGENT_OPENED, .wrapped = BUF(PROTOCOL_OPEN_LIMIT)};
	auto_pkey *transport = NULL;

	if (frame_receive(in, &body, deadline_in(5000), NULL, NULL).failure)
		return false;
	MUST_OK(agent_open_parse(body.data, body.len, &asked));
	MUST(asked.wrapped.len == 256);
	tpm_decrypt(&asked.wrapped, &kek);
	if (strcmp(part, "tpm-wrong") == 0)
		kek.data[0] ^= 1;
	MUST_OK(jwk_public_key(request->transport_key, &transport));
	MUST_OK(keywrap_seal_kek(VAULT_ENC, transport, kek.data, kek.len, &answer.wrapped));
	answer.index = asked.index + (strcmp(part, "tpm-index") == 0);
	if (strcmp(part, "tpm-changed") == 0) {
		answer.type = AGENT_FAILURE;
		answer.failure = (struct status_record){.failure = 138, .sentence = "PCR 7", .step = "release"};
	}
	if (strcmp(part, "tpm-dies") == 0)
		return false;
	if (strcmp(part, "tpm-silent") == 0)
		send_text(out, "{\"type\":\"end\"}");
	else
		send_message(out, &answer);
	if (strcmp(part, "tpm-again") == 0)
		send_message(out, &answer);
	return true;
}

static void play_tpm(int in, int out, const char *part, const struct agent_request *request)
{
	if (!tpm_key)
		tpm_key = make_rsa(2048);
	send_steps(out);
	if (strcmp(part, "tpm-late") == 0)
		send_key(out, request, 0, 0, NO_HARM);
	if (strcmp(part, "tpm-unannounced") != 0)
		send_transport(out);
	if (strcmp(part, "tpm-twice") == 0)
		send_transport(out);
	if (strcmp(part, "tpm-ours") == 0) /* wrapped to the module's own key, though the TPM's was announced */
		send_key(out, request, 0, 0, NO_HARM);
	for (size_t i = 0; i < KEYS; i++) {
		send_tpm_key(out, request, i);
		if (!open_for_module(in, out, request, part))
			return;
	}
	send_text(out, "{\"type\":\"end\"}");
}

/* ---- a sidecar ---- */

static void send_handed(int out, const struct agent_request *request, size_t index, const char *part)
{
	auto_agent_message message = {
	    .type = AGENT_HANDED, .index = (int64_t)index, .bundle = json_object(), .wrapped = BUF(16 * 1024)};
	auto_buf pkcs8 = BUF(16 * 1024);
	auto_pkey *transport = NULL, *other = NULL;
	json *jwk = NULL, *attributes = json_object();
	char kid[256];

	MUST_OK(jwk_from_key(vault_keys[index], &jwk));
	snprintf(kid, sizeof(kid), "https://" VAULT_HOST "/keys/%s/" VAULT_VERSION,
	         strcmp(part, "handed-name") == 0 ? "another" : key_names[index]);
	json_set_string(jwk, "kid", kid);
	key_ops_to_json(jwk, KEY_OP_SIGN);
	json_set(message.bundle, "key", jwk);
	json_set_bool(attributes, "enabled", strcmp(part, "handed-disabled") != 0);
	json_set(message.bundle, "attributes", attributes);
	if (strcmp(part, "handed-other") == 0)
		other = make_rsa(2048);
	pkcs8_of(other ? other : vault_keys[index], &pkcs8);
	if (strcmp(part, "handed-secret") == 0)
		pkcs8.len = 32; /* as a symmetric key comes */
	MUST_OK(jwk_public_key(request->transport_key, &transport));
	MUST_OK(keywrap_seal(VAULT_ENC, transport, pkcs8.data, pkcs8.len, &message.wrapped));
	send_message(out, &message);
}

static void play_sidecar(int out, const char *part, const struct agent_request *request)
{
	send_steps(out);
	for (size_t i = 0; i < KEYS; i++)
		send_handed(out, request, i, part);
	send_text(out, "{\"type\":\"end\"}");
}

/* Tells what it knows, and then refuses; or tells without an end. */
static void play_facts(int out, const char *part)
{
	struct agent_message refused = {.type = AGENT_FAILURE,
	                                .failure = {.failure = 332, .sentence = "no", .step = "release"}};

	send_text(out, "{\"type\":\"facts\",\"facts\":{\"tee\":\"old\",\"jti\":\"7f\"}}");
	send_text(out, "{\"type\":\"facts\",\"facts\":{\"tee\":\"AMD SEV-SNP\"}}");
	for (int i = 0; i < 200 && strcmp(part, "facts-flood") == 0; i++) {
		char text[128];
		snprintf(text, sizeof(text), "{\"type\":\"facts\",\"facts\":{\"fact-%d\":\"x\"}}", i);
		send_text(out, text);
	}
	send_message(out, &refused);
}

/* What a started agent finds in its process, in the details of its steps. */
static void send_inspection(int out)
{
	char fds[200] = "", variables[250] = "", signals[100];
	extern char **environ;
	sigset_t mask;
	int blocked = 0, ignored = 0;

	DIR *dir = opendir("/proc/self/fd");
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		int fd = atoi(entry->d_name);
		if (entry->d_name[0] != '.' && fd != dirfd(dir))
			snprintf(fds + strlen(fds), sizeof(fds) - strlen(fds), "%d ", fd);
	}
	closedir(dir);
	for (char **variable = environ; *variable; variable++)
		snprintf(variables + strlen(variables), sizeof(variables) - strlen(variables), "%.*s ",
		         (int)strcspn(*variable, "="), *variable);
	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int signal = 1; signal < NSIG; signal++) {
		struct sigaction action = {.sa_handler = SIG_DFL};
		blocked += sigismember(&mask, signal) == 1;
		if (sigaction(signal, NULL, &action) == 0)
			ignored += action.sa_handler == SIG_IGN;
	}
	snprintf(signals, sizeof(signals), "blocked=%d ignored=%d ppid=%d", blocked, ignored, getppid());
	send_step(out, "evidence", fds);
	send_step(out, "attestation", signals);
	send_step(out, "identity", variables);
	send_step(out, "release", getenv("SKR_PKCS11_CONF") ? getenv("SKR_PKCS11_CONF") : "");
}

static void wait_for_hang_up(int in)
{
	char byte;
	while (recv(in, &byte, 1, 0) > 0)
		;
}

static void play_keys(int out, const char *part, const struct agent_request *request)
{
	send_steps(out);
	if (strcmp(part, "swap") == 0) {
		send_key(out, request, 0, 1, NO_HARM);
	} else if (strcmp(part, "twice") == 0) {
		send_key(out, request, 0, 0, NO_HARM);
		send_key(out, request, 0, 0, NO_HARM);
	} else if (strcmp(part, "index") == 0) {
		send_key(out, request, KEYS, 0, NO_HARM);
	} else if (strcmp(part, "missing") == 0) {
		send_key(out, request, 0, 0, NO_HARM);
		send_text(out, "{\"type\":\"end\"}");
	} else if (strcmp(part, "tamper") == 0) {
		send_key(out, request, 0, 0, TAMPERED);
	} else if (strcmp(part, "foreign") == 0) {
		send_key(out, request, 0, 0, FOREIGN);
	} else if (strcmp(part, "replay") == 0) {
		struct agent_message message = {.type = AGENT_KEY, .index = 0, .jws = recorded[0]};
		send_message(out, &message);
	} else {
		send_keys(out, request);
	}
}

/* One connection, one part. */
static void play(int in, int out, const char *part)
{
	auto_buf body = BUF(PROTOCOL_REQUEST_LIMIT);
	auto_agent_request request = {.token = ""};

	if (frame_receive(in, &body, deadline_in(5000), NULL, NULL).failure ||
	    agent_request_parse(body.data, body.len, &request).failure)
		return;
	if (strcmp(part, "die") == 0 || (strcmp(part, "die-once") == 0 && lives++ == 0))
		return;
	if (strcmp(part, "die-at-step") == 0) {
		send_text(out, "{\"type\":\"step\",\"name\":\"evidence\"}");
	} else if (strcmp(part, "hang") == 0) {
		send_text(out, "{\"type\":\"step\",\"name\":\"attestation\"}");
		wait_for_hang_up(in);
	} else if (strcmp(part, "version") == 0) {
		struct agent_message message = {.type = AGENT_FAILURE};
		message.failure.failure = 505;
		strcpy(message.failure.sentence, "the module speaks version 1, the agent version 2");
		send_message(out, &message);
	} else if (strcmp(part, "refused") == 0) {
		struct agent_message message = {.type = AGENT_FAILURE};
		message.failure = (struct status_record){
		    .failure = 331, .sentence = "no role", .step = "release", .host = VAULT_HOST, .http = 403};
		send_message(out, &message);
	} else if (strcmp(part, "unknown") == 0) {
		send_text(out, "{\"type\":\"hello\"}");
	} else if (strcmp(part, "member") == 0) {
		send_text(out, "{\"type\":\"step\",\"name\":\"evidence\",\"token\":\"other\"}");
	} else if (strcmp(part, "garble") == 0) {
		send_text(out, "{\"type\":\"st");
	} else if (strcmp(part, "oversize") == 0) {
		(void)!send(out, "\x7f\xff\xff\xff", 4, MSG_NOSIGNAL);
		wait_for_hang_up(in);
	} else if (strcmp(part, "done-without-step") == 0) {
		send_text(out, "{\"type\":\"done\",\"name\":\"evidence\",\"ms\":1,\"detail\":\"\"}");
	} else if (strcmp(part, "flood") == 0) {
		for (int i = 0; i <= PROTOCOL_MESSAGES_LIMIT; i++)
			send_text(out, "{\"type\":\"step\",\"name\":\"evidence\"}");
	} else if (strcmp(part, "inspect") == 0) {
		send_inspection(out);
		send_keys(out, &request);
	} else if (strncmp(part, "facts", 5) == 0) {
		play_facts(out, part);
	} else if (strncmp(part, "tpm", 3) == 0) {
		play_tpm(in, out, part, &request);
	} else if (strncmp(part, "handed", 6) == 0) {
		play_sidecar(out, part, &request);
	} else {
		play_keys(out, part, &request);
	}
}

/* ---- the stand-in as a service ---- */

struct service {
	pthread_t thread;
	int listener;
	const char *part;
	char path[300];
	int served;
};

static void *serve(void *with)
{
	struct service *service = with;

	for (;;) {
		int fd = accept(service->listener, NULL, NULL);
		if (fd < 0)
			return NULL;
		service->served++;
		if (strcmp(service->part, "hang-up") != 0)
			play(fd, fd, service->part);
		close(fd);
	}
}

static void service_start(struct service *service, const char *part)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	*service = (struct service){.part = part};
	snprintf(service->path, sizeof(service->path), "%s/sock", folder);
	unlink(service->path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", service->path);
	service->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(bind(service->listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	MUST(listen(service->listener, 4) == 0);
	MUST(pthread_create(&service->thread, NULL, serve, service) == 0);
}

static void service_stop(struct service *service)
{
	shutdown(service->listener, SHUT_RDWR);
	pthread_join(service->thread, NULL);
	close(service->listener);
	unlink(service->path);
}

/* ---- the stand-in as a program ---- */

static void path_in_folder(char out[400], const char *name)
{
	snprintf(out, 400, "%s/%s", folder, name);
}

static void write_pem(const char *name, EVP_PKEY *key, X509 *certificate)
{
	char path[400];

	path_in_folder(path, name);
	FILE *file = fopen(path, "we");
	MUST(file);
	fchmod(fileno(file), 0600);
	MUST(key ? PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) : PEM_write_X509(file, certificate));
	fclose(file);
}

static EVP_PKEY *read_key(const char *name)
{
	char path[400];

	path_in_folder(path, name);
	FILE *file = fopen(path, "re");
	MUST(file);
	EVP_PKEY *key = PEM_read_PrivateKey_ex(file, NULL, NULL, NULL, ossl, NULL);
	fclose(file);
	MUST(key);
	return key;
}

static X509 *read_certificate(const char *name)
{
	char path[400];
	auto_buf pem = BUF(64 * 1024);
	STACK_OF(X509) *list = NULL;

	path_in_folder(path, name);
	MUST_OK(file_read(path, &pem));
	MUST_OK(certificates_from_pem(pem.data, pem.len, &list));
	X509 *certificate = sk_X509_shift(list);
	sk_X509_free(list);
	return certificate;
}

static int agent_main(const char *path)
{
	char copy[400], name[400];

	snprintf(copy, sizeof(copy), "%s", path);
	snprintf(folder, sizeof(folder), "%.200s", dirname(copy));
	snprintf(copy, sizeof(copy), "%s", path);
	const char *part = basename(copy) + strlen("agent-");
	path_in_folder(name, "pid");
	FILE *file = fopen(name, "we");
	fprintf(file, "%d", getpid());
	fclose(file);
	alarm(60); /* whatever goes wrong, nothing is left running */
	if (strcmp(part, "deaf") == 0)
		for (;;)
			pause();
	MUST_OK(ossl_open());
	signer = (struct signer){.key = read_key("signer.pem"),
	                         .root = read_certificate("root.pem"),
	                         .issuer = read_certificate("issuer.pem"),
	                         .leaf = read_certificate("leaf.pem")};
	vault_keys[0] = read_key("key0.pem");
	vault_keys[1] = read_key("key1.pem");
	play(STDIN_FILENO, STDOUT_FILENO, part);
	return 0;
}

/* A copy of this program under the name that says its part. */
static void install_agent(const char *part, char path[400])
{
	char name[64], piece[65536];
	size_t got;

	snprintf(name, sizeof(name), "agent-%s", part);
	path_in_folder(path, name);
	FILE *in = fopen("/proc/self/exe", "re"), *out = fopen(path, "we");
	MUST(in && out);
	while ((got = fread(piece, 1, sizeof(piece), in)) > 0)
		MUST(fwrite(piece, 1, got, out) == got);
	fclose(in);
	fchmod(fileno(out), 0755);
	MUST(fclose(out) == 0);
}

/* ---- surroundings ---- */

/* Programs and trusted files are only taken from folders that nobody else can write to: not /tmp. */
static void make_folder(void)
{
	const char *places[] = {getenv("XDG_RUNTIME_DIR"), getenv("HOME"), "/run", "/var/lib"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (!places[i] || places[i][0] != '/')
			continue;
		snprintf(folder, sizeof(folder), "%.200s/skr-test-XXXXXX", places[i]);
		if (!mkdtemp(folder))
			continue;
		if (!file_check_trusted(folder).failure)
			return;
		rmdir(folder);
	}
	fprintf(stderr, "no folder that is safe to start programs from\n");
	abort();
}

static void remove_folder(void)
{
	DIR *dir = opendir(folder);

	for (struct dirent *entry; dir && (entry = readdir(dir));)
		unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	rmdir(folder);
}

static int make_all(void **state)
{
	(void)state;
	make_folder();
	signer_make(&signer, VAULT_SAN, NULL);
	vault_keys[0] = make_rsa(2048);
	vault_keys[1] = make_ec("P-256");
	write_pem("signer.pem", signer.key, NULL);
	write_pem("key0.pem", vault_keys[0], NULL);
	write_pem("key1.pem", vault_keys[1], NULL);
	write_pem("root.pem", NULL, signer.root);
	write_pem("issuer.pem", NULL, signer.issuer);
	write_pem("leaf.pem", NULL, signer.leaf);
	return 0;
}

static int free_all(void **state)
{
	(void)state;
	signer_done(&signer);
	EVP_PKEY_free(tpm_key);
	for (size_t i = 0; i < KEYS; i++) {
		EVP_PKEY_free(vault_keys[i]);
		buf_done(&recorded[i]);
	}
	remove_folder();
	return 0;
}

static struct key_config keys[KEYS] = {
    {.url = "https://" VAULT_HOST "/keys/www", .host = VAULT_HOST, .name = "www", .label = "www"},
    {.url = "https://" VAULT_HOST "/keys/signing", .host = VAULT_HOST, .name = "signing", .label = "signing"},
};
static struct token_config token = {
    .label = "web", .evidence = "auto", .keys = keys, .key_count = KEYS, .enc = VAULT_ENC, .transport_bits = 2048};
static char root_path[400];

static struct config config_for(const char *agent, bool is_socket)
{
	path_in_folder(root_path, "root.pem");
	return (struct config){
	    .agent = agent, .agent_is_socket = is_socket, .agent_uid = (long)geteuid(), .release_ca_file = root_path};
}

static size_t open_descriptors(void)
{
	size_t count = 0;
	DIR *dir = opendir("/proc/self/fd");

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* A login; whatever comes of it, nothing may be left in the ephemeral arena, and no descriptor. */
static skr_status login(const struct config *config, const struct release_options *options, struct release *ret)
{
	size_t before = open_descriptors();
	skr_status status = release_run(config, &token, options, ret);

	assert_int_equal(arena_use(ARENA_EPHEMERAL).blocks, 0);
	if (!config->agent_is_socket) /* there, the service opens and closes some of its own meanwhile */
		assert_int_equal(open_descriptors(), before);
	if (status.failure)
		assert_null(ret->keys);
	return status;
}

static skr_status login_by_service(const char *part, int64_t ms, int *ret_served)
{
	struct service service;
	auto_release release = {.keys = NULL};
	struct release_options options = {.deadline = deadline_in(ms)};
	size_t before = open_descriptors();

	service_start(&service, part);
	struct config config = config_for(service.path, true);
	skr_status status = login(&config, &options, &release);
	service_stop(&service);
	assert_int_equal(open_descriptors(), before);
	if (ret_served)
		*ret_served = service.served;
	return status;
}

static skr_status login_by_program(const char *part, int64_t ms, struct release *ret)
{
	char path[400];
	struct release_options options = {.deadline = deadline_in(ms)};

	install_agent(part, path);
	struct config config = config_for(path, false);
	skr_status status = login(&config, &options, ret);
	unlink(path);
	return status;
}

static void assert_is(skr_status status, int failure, const char *words)
{
	if (status.failure != failure || (failure && !strstr(status_message(), words)))
		fail_msg("SKR-%d: %s (expected SKR-%d: %s)", status.failure, status_message(), failure, words);
}

/* ---- tests ---- */

/* In a process of its own, whose libcrypto has done nothing before. `last`: its last login fails, in the unwrapping. */
static int host_main(const char *path, const char *last)
{
	char copy[400], agents[2][400];
	auto_release release = {.keys = NULL}, second = {.keys = NULL};
	struct release_options options = {.deadline = deadline_in(20000)};

	snprintf(copy, sizeof(copy), "%s", path);
	snprintf(folder, sizeof(folder), "%.200s", dirname(copy));
	snprintf(agents[0], sizeof(agents[0]), "%s/agent-%s", folder, last);
	snprintf(agents[1], sizeof(agents[1]), "%s/agent-ok", folder);
	for (size_t i = 0; i < 2; i++) {
		struct config config = config_for(agents[i], false);
		token.transport_bits = i ? 3072 : 2048;
		int failure = release_run(&config, &token, &options, i ? &second : &release).failure;
		if (arena_use(ARENA_EPHEMERAL).blocks)
			return 10 + (int)i;
		if (failure != (i == 0 && strcmp(last, "foreign") == 0 ? 341 : 0))
			return 20 + (int)i;
	}
	return arena_owns(second.keys) && second.keys[0].key ? 0 : 30;
}

/* What libcrypto makes lazily, in a good login or a bad one, must not be ephemeral: it would read as zeros after a
 * fork. */
static void the_first_login_of_a_process_leaves_nothing_in_the_ephemeral_arena(void **state)
{
	(void)state;
	static const char *const firsts[] = {"ok", "foreign"};
	char ok[400], foreign[400], host[400];
	int status;

	install_agent("ok", ok);
	install_agent("foreign", foreign);
	path_in_folder(host, "host");
	MUST(link(ok, host) == 0);
	for (size_t i = 0; i < 2; i++) {
		pid_t child = fork();
		if (child == 0) {
			execl(host, host, firsts[i], (char *)NULL);
			_exit(127);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(WEXITSTATUS(status), 0);
	}
	unlink(host);
}

static void record_progress(const struct release_step *step, void *with)
{
	struct buf *text = with;
	MUST_OK(buf_printf(text, "%s%s ", step->ms < 0 ? "+" : "-", step->name));
}

static void a_login_gives_every_key_in_order_and_says_its_steps(void **state)
{
	(void)state;
	struct service service;
	auto_release release = {.keys = NULL};
	auto_buf progress = BUF(4096);
	struct release_options options = {
	    .deadline = deadline_in(20000), .progress = record_progress, .with = &progress};

	service_start(&service, "ok");
	struct config config = config_for(service.path, true);
	assert_is(login(&config, &options, &release), 0, "");
	service_stop(&service);
	assert_int_equal(release.key_count, KEYS);
	for (size_t i = 0; i < KEYS; i++) {
		assert_ptr_equal(release.keys[i].config, &keys[i]);
		assert_int_equal(EVP_PKEY_eq(release.keys[i].key, vault_keys[i]), 1);
	}
	assert_string_equal(buf_text(&progress),
	                    "+transport-key -transport-key +agent -agent +evidence -evidence +attestation -attestation "
	                    "+identity -identity +release -release +verify -verify +unwrap -unwrap ");
	assert_int_equal(release.step_count, 8);
	assert_string_equal(release.steps[2].name, "evidence");
	assert_string_equal(release.steps[2].detail, "stand-in");
	assert_int_equal(release.steps[2].ms, 7);
}

/* G-05, G-06, K-10, K-15: whatever the agent makes up. */
static void an_answer_that_is_not_right_gives_no_key(void **state)
{
	(void)state;
	static const struct {
		const char *part;
		int failure;
		const char *words;
	} cases[] = {
	    {"swap", 343, "signing"},        {"twice", 504, "two answers"},
	    {"index", 504, "key 2 of 2"},    {"missing", 504, "without key 1"},
	    {"tamper", 340, "check 4"},      {"unknown", 504, "hello"},
	    {"member", 504, "token"},        {"garble", 504, "offset"},
	    {"oversize", 504, "2147483647"}, {"done-without-step", 504, "evidence"},
	    {"flood", 504, "256"},           {"version", 505, "version 2"},
	    {"refused", 331, "no role"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int served;
		assert_is(login_by_service(cases[i].part, 20000, &served), cases[i].failure, cases[i].words);
		assert_int_equal(served, 1); /* none of these is tried again */
	}
}

/* Threat model section 11: a refusal is on record with what the agent saw of the machine. */
static void what_the_agent_tells_is_handed_on_however_the_login_ends(void **state)
{
	(void)state;
	static const struct {
		const char *part;
		int failure;
	} cases[] = {{"facts", 332}, {"facts-flood", 504}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct service service;
		auto_release release = {.keys = NULL};
		auto_json *facts = json_object();
		struct release_options options = {.deadline = deadline_in(20000), .facts = facts};

		service_start(&service, cases[i].part);
		struct config config = config_for(service.path, true);
		assert_is(login(&config, &options, &release), cases[i].failure, i ? "more than 160 facts" : "no");
		service_stop(&service);
		assert_string_equal(json_string_or_null(facts, "tee"), "AMD SEV-SNP");
		assert_string_equal(json_string_or_null(facts, "jti"), "7f");
	}
	assert_is(login_by_service("facts", 20000, NULL), 332, "no"); /* and who does not ask need not listen */
}

/* The vault wraps to the TPM; the module gets nothing it could not have opened itself (D-1). */
static void keys_wrapped_to_the_tpm_are_opened_with_its_help(void **state)
{
	(void)state;
	static const char *const settings[] = {"auto", "azure-cvm", "trusted-launch"};
	struct release_options options = {.deadline = deadline_in(20000)};

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		struct service service;
		auto_release release = {.keys = NULL};

		token.evidence = settings[i];
		token.transport_bits = i == 1 ? 3072 : 2048; /* the two layers need not be alike */
		service_start(&service, "tpm");
		struct config config = config_for(service.path, true);
		assert_is(login(&config, &options, &release), 0, "");
		service_stop(&service);
		for (size_t k = 0; k < KEYS; k++)
			assert_int_equal(EVP_PKEY_eq(release.keys[k].key, vault_keys[k]), 1);
	}
	token.evidence = "auto";
	token.transport_bits = 2048;
}

/* One login per row, with the stand-in's part and the token's evidence. */
struct course {
	const char *part, *evidence;
	int failure;
	const char *words;
};

static void assert_courses(const struct course *courses, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		token.evidence = courses[i].evidence;
		assert_is(login_by_service(courses[i].part, 20000, NULL), courses[i].failure, courses[i].words);
	}
	token.evidence = "auto";
}

static void a_tpm_that_is_not_as_it_should_be_gives_no_key(void **state)
{
	(void)state;
	static const struct course courses[] = {
	    {"tpm", "snp", 504, "evidence = snp"},
	    {"tpm", "sidecar", 504, "evidence = sidecar"},
	    {"tpm-unannounced", "auto", 343, "check 5"},
	    {"tpm-late", "auto", 504, "after the first key"},
	    {"tpm-twice", "auto", 504, "another transport key"},
	    {"tpm-ours", "auto", 343, "check 5"},
	    {"tpm-wrong", "auto", 341, "cannot be opened"},
	    {"tpm-index", "auto", 504, "not answered"},
	    {"tpm-silent", "auto", 504, "not answered"},
	    {"tpm-changed", "auto", 138, "PCR 7"},
	    {"tpm-again", "auto", 504, "not asked for"}, /* G-05 */
	    {"tpm-dies", "auto", 503, "during release"}, /* G-04 */
	};

	assert_courses(courses, sizeof(courses) / sizeof(courses[0]));
}

static void a_sidecars_keys_are_compared_with_the_vaults(void **state)
{
	(void)state;
	static const struct course courses[] = {
	    {"handed", "sidecar", 0, ""},
	    {"handed", "auto", 504, "evidence = auto"},
	    {"handed-name", "sidecar", 343, "another"},
	    {"handed-other", "sidecar", 162, "not the private half"},
	    {"handed-secret", "sidecar", 162, "cannot be opened"},
	    {"handed-disabled", "sidecar", 333, "not enabled"},
	};
	static const struct course pinned = {"handed", "sidecar", 162, "public_key_sha256"};

	assert_courses(courses, sizeof(courses) / sizeof(courses[0]));
	keys[0].pinned = true; /* to a hash that is not the key's */
	assert_courses(&pinned, 1);
	keys[0].pinned = false;
}

/* I-12: the transport key and the nonce are new each time. */
static void a_recorded_answer_is_refused(void **state)
{
	(void)state;
	assert_is(login_by_service("ok", 20000, NULL), 0, "");
	assert_is(login_by_service("replay", 20000, NULL), 343, "check 5");
}

/* G-04, G-09. */
static void an_agent_that_dies_is_asked_once_more(void **state)
{
	(void)state;
	int served;

	lives = 0;
	assert_is(login_by_service("die-once", 20000, &served), 0, "");
	assert_int_equal(served, 2);
	assert_is(login_by_service("die-at-step", 20000, &served), 503, "during evidence");
	assert_int_equal(served, 2);
	assert_string_equal(status_last()->step, "evidence");
	/* Hung up on without a word, as systemd does above MaxConnections=; the pauses do not fit into the deadline. A
	 * small transport key, which does not eat it up on a busy machine. */
	token.transport_bits = 1152;
	assert_is(login_by_service("hang-up", 2500, &served), 508, "too many");
	token.transport_bits = 2048;
	assert_int_equal(served, 2);
}

/* G-07, I-17. */
static void an_agent_that_hangs_is_dropped_at_the_deadline(void **state)
{
	(void)state;
	int64_t start = monotonic_ms();

	assert_is(login_by_service("hang", 1500, NULL), 506, "during attestation");
	assert_in_range(monotonic_ms() - start, 1400, 2500);
	assert_string_equal(status_last()->step, "attestation");
}

static int cancelled_at(void *with)
{
	return monotonic_ms() >= *(int64_t *)with;
}

static void a_cancelled_login_ends_in_time(void **state)
{
	(void)state;
	static const int64_t moments[] = {0, 5, 40, 600}; /* before, in the making of the key, while waiting */

	for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
		struct service service;
		auto_release release = {.keys = NULL};
		int64_t at = monotonic_ms() + moments[i];
		struct release_options options = {
		    .deadline = deadline_in(20000), .cancelled = cancelled_at, .with = &at};

		service_start(&service, "hang");
		struct config config = config_for(service.path, true);
		assert_is(login(&config, &options, &release), 403, "");
		assert_in_range(monotonic_ms() - at, 0, 400);
		service_stop(&service);
	}
}

/* G-03, G-08. */
static void a_socket_that_is_not_right_is_named(void **state)
{
	(void)state;
	struct service service;
	auto_release release = {.keys = NULL};
	struct release_options options = {.deadline = deadline_in(20000)};
	char path[400];

	path_in_folder(path, "none");
	struct config config = config_for(path, true);
	assert_is(login(&config, &options, &release), 502, "none");

	service_start(&service, "ok");
	config.agent = service.path;
	config.agent_uid = (long)geteuid() + 1;
	assert_is(login(&config, &options, &release), 507, "uid");
	config.agent_uid = (long)geteuid();

	/* A socket nobody listens at any more: transient, and tried again within the deadline. */
	shutdown(service.listener, SHUT_RDWR);
	pthread_join(service.thread, NULL);
	close(service.listener);
	options.deadline = deadline_in(2500);
	int64_t start = monotonic_ms();
	assert_is(login(&config, &options, &release), 503, "nobody listens");
	assert_in_range(monotonic_ms() - start, 600, 2600);
	assert_int_equal(status_last()->attempt, 2);
	unlink(service.path);

	char longer[200];
	memset(longer, 'a', sizeof(longer));
	longer[0] = '/';
	longer[199] = '\0';
	config.agent = longer;
	assert_is(login(&config, &options, &release), 502, "longer");
}

/* E-07. */
static void without_anchors_nothing_is_asked(void **state)
{
	(void)state;
	struct service service;
	auto_release release = {.keys = NULL};
	struct release_options options = {.deadline = deadline_in(20000)};

	service_start(&service, "ok");
	struct config config = config_for(service.path, true);
	config.release_ca_file = "/nonexistent/ca.pem";
	assert_is(login(&config, &options, &release), 7, "/nonexistent/ca.pem");
	char empty[400];
	path_in_folder(empty, "empty.pem");
	close(open(empty, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	config.release_ca_file = empty;
	assert_is(login(&config, &options, &release), 7, "empty.pem");
	service_stop(&service);
	assert_int_equal(service.served, 0);
}

/* ---- the program form ---- */

static volatile sig_atomic_t children, forks;

static void count_child(int signal)
{
	(void)signal;
	children++;
}

static void count_fork(void)
{
	forks++;
}

struct process_state {
	sigset_t mask;
	struct {
		void *handler;
		int flags;
		uint64_t mask;
	} actions[NSIG];
	char cwd[400];
	mode_t umask;
};

static void process_look(struct process_state *ret)
{
	memset(ret, 0, sizeof(*ret));
	sigprocmask(SIG_SETMASK, NULL, &ret->mask);
	for (int signal = 1; signal < NSIG; signal++) {
		struct sigaction action = {.sa_flags = 0};
		if (sigaction(signal, NULL, &action) != 0)
			continue;
		ret->actions[signal].handler = (void *)(uintptr_t)action.sa_handler;
		ret->actions[signal].flags = action.sa_flags;
		memcpy(&ret->actions[signal].mask, &action.sa_mask, sizeof(uint64_t));
	}
	MUST(getcwd(ret->cwd, sizeof(ret->cwd)));
	ret->umask = umask(0);
	umask(ret->umask);
}

/* D-5, I-19, I-20: SIGCHLD, waitpid(-1), atfork handlers, signal state: the host sees nothing of it. */
static void starting_an_agent_leaves_no_trace_in_the_host(void **state)
{
	(void)state;
	struct process_state before, after;
	auto_release release = {.keys = NULL}, second = {.keys = NULL};
	int status;

	pthread_atfork(count_fork, count_fork, count_fork);
	signal(SIGCHLD, count_child);
	process_look(&before);
	errno = 4711;
	assert_is(login_by_program("ok", 20000, &release), 0, "");
	assert_is(login_by_program("die", 4000, &second), 503, "before its first step");
	usleep(100000); /* its death would be known by now */
	process_look(&after);
	assert_memory_equal(&before, &after, sizeof(before));
	signal(SIGCHLD, SIG_DFL);
	assert_int_equal(children, 0);
	assert_int_equal(forks, 0);
	assert_int_equal(waitpid(-1, &status, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(waitpid(-1, &status, WNOHANG | __WALL), -1);
	assert_int_equal(EVP_PKEY_eq(release.keys[0].key, vault_keys[0]), 1);
}

static const char *detail_of(const struct release *release, const char *step)
{
	for (size_t i = 0; i < release->step_count; i++)
		if (strcmp(release->steps[i].name, step) == 0)
			return release->steps[i].detail;
	return "";
}

/* D-5: descriptors, signals and environment of the agent, started by a host that has made a mess of its own. */
static void the_agent_finds_a_clean_process(void **state)
{
	(void)state;
	auto_release release = {.keys = NULL};
	sigset_t all, before;
	char own_parent[32];

	setenv("AZURE_CLIENT_ID", "me", 1);
	setenv("AZURE_CLIENT_SECRET", "not for the agent", 1);
	setenv("IDENTITY_HEADER", "header", 1);
	setenv("LD_PRELOAD_NOT", "x", 1);
	release_capture_environment("/etc/the.conf");
	unsetenv("AZURE_CLIENT_ID"); /* as servers do */
	release_capture_environment("/etc/the.conf");

	int leak = open("/dev/null", O_RDONLY), high = dup2(leak, 700); /* without O_CLOEXEC */
	signal(SIGUSR1, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	skr_status status = login_by_program("inspect", 20000, &release);
	sigprocmask(SIG_SETMASK, &before, NULL);
	signal(SIGUSR1, SIG_DFL);
	close(leak);
	close(high);

	assert_is(status, 0, "");
	assert_string_equal(detail_of(&release, "evidence"), "0 1 2 ");
	assert_non_null(strstr(detail_of(&release, "attestation"), "blocked=0 ignored=0"));
	snprintf(own_parent, sizeof(own_parent), "ppid=%d", getpid());
	if (getpid() != 1)
		assert_null(strstr(detail_of(&release, "attestation"), own_parent));
	assert_string_equal(detail_of(&release, "identity"), "PATH SKR_PKCS11_CONF AZURE_CLIENT_ID IDENTITY_HEADER ");
	assert_string_equal(detail_of(&release, "release"), "/etc/the.conf");
}

/* D-7: a host started with 0, 1 and 2 closed; nothing of ours may take their place. */
static void a_host_without_stdio_can_log_in(void **state)
{
	(void)state;
	int status;

	pid_t child = fork();
	if (child == 0) {
		auto_release release = {.keys = NULL};
		struct release_options options = {.deadline = deadline_in(20000)};
		char path[400];

		arena_after_fork();
		install_agent("inspect", path);
		struct config config = config_for(path, false);
		for (int fd = 0; fd < 3; fd++)
			close(fd);
		int failure = release_run(&config, &token, &options, &release).failure;
		int clean = strcmp(detail_of(&release, "evidence"), "0 1 2 ") == 0 && fcntl(0, F_GETFD) < 0 &&
		            fcntl(1, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0;
		_exit(failure ? 2 : clean ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* G-07: an agent that does not even listen is killed. */
static void a_deaf_agent_is_killed_at_the_deadline(void **state)
{
	(void)state;
	auto_release release = {.keys = NULL};
	char path[400], state_path[64], text[256] = "";
	auto_buf pid = BUF(32);

	assert_is(login_by_program("deaf", 1500, &release), 506, "before its first step");
	path_in_folder(path, "pid");
	MUST_OK(file_read(path, &pid));
	usleep(200000);
	snprintf(state_path, sizeof(state_path), "/proc/%s/stat", buf_text(&pid));
	FILE *stat = fopen(state_path, "re");
	if (stat) { /* init may not have reaped it yet */
		assert_non_null(fgets(text, sizeof(text), stat));
		fclose(stat);
		assert_non_null(strstr(text, ") Z "));
	}
}

/* G-01, G-02. */
static void a_program_that_is_not_safe_or_does_not_start_is_refused(void **state)
{
	(void)state;
	char path[400], link[400], missing[400], text_file[400];
	auto_release release = {.keys = NULL};
	struct release_options options = {.deadline = deadline_in(20000)};

	install_agent("ok", path);
	path_in_folder(missing, "missing");
	path_in_folder(link, "link");
	path_in_folder(text_file, "text");
	MUST(symlink(path, link) == 0);
	FILE *file = fopen(text_file, "we");
	fputs("not a program\n", file);
	fclose(file);

	const struct {
		const char *path;
		mode_t mode;
		int failure;
		const char *words;
	} cases[] = {
	    {path, 0755, 0, ""},
	    {path, 0775, 500, "0775"},
	    {path, 0757, 500, "0757"},
	    {path, 0644, 500, "execute"},
	    {missing, 0, 500, "missing"},
	    {link, 0, 500, "link"},
	    {text_file, 0755, 501, "execve"},
	    {"agent", 0, 500, "agent"},
	    {folder, 0, 501, "execve"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (cases[i].mode)
			chmod(cases[i].path, cases[i].mode);
		struct config config = config_for(cases[i].path, false);
		assert_is(login(&config, &options, &release), cases[i].failure, cases[i].words);
		release_done(&release);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_first_login_of_a_process_leaves_nothing_in_the_ephemeral_arena),
	    cmocka_unit_test(a_login_gives_every_key_in_order_and_says_its_steps),
	    cmocka_unit_test(an_answer_that_is_not_right_gives_no_key),
	    cmocka_unit_test(what_the_agent_tells_is_handed_on_however_the_login_ends),
	    cmocka_unit_test(keys_wrapped_to_the_tpm_are_opened_with_its_help),
	    cmocka_unit_test(a_tpm_that_is_not_as_it_should_be_gives_no_key),
	    cmocka_unit_test(a_sidecars_keys_are_compared_with_the_vaults),
	    cmocka_unit_test(a_recorded_answer_is_refused),
	    cmocka_unit_test(an_agent_that_dies_is_asked_once_more),
	    cmocka_unit_test(an_agent_that_hangs_is_dropped_at_the_deadline),
	    cmocka_unit_test(a_cancelled_login_ends_in_time),
	    cmocka_unit_test(a_socket_that_is_not_right_is_named),
	    cmocka_unit_test(without_anchors_nothing_is_asked),
	    cmocka_unit_test(a_host_without_stdio_can_log_in),
	    cmocka_unit_test(starting_an_agent_leaves_no_trace_in_the_host),
	    cmocka_unit_test(the_agent_finds_a_clean_process),
	    cmocka_unit_test(a_deaf_agent_is_killed_at_the_deadline),
	    cmocka_unit_test(a_program_that_is_not_safe_or_does_not_start_is_refused),
	};
	char copy[400];

	snprintf(copy, sizeof(copy), "%s", argv[0]);
	if (strncmp(basename(copy), "agent-", 6) == 0)
		return agent_main(argv[0]);
	MUST_OK(arena_open(ARENA_LOCK_AUTO));
	MUST_OK(ossl_open());
	if (argc == 2 && strcmp(basename(copy), "host") == 0)
		return host_main(argv[0], argv[1]);
	return cmocka_run_group_tests(tests, make_all, free_all);
}
