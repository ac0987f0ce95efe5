/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The failure matrix, sections 5 and 6, through the whole product: what each service can say, what C_Login makes of it:
 * return value, SKR number, how many requests were made, how long it took. Section 4 is in network.c, 6a in agent.c.
 */
#include "support/matrix.h"
#include "cmocka_all.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const tokens[] = {"faulty", "secretive", "workload", "hsm"};

/* A shorter way to write rows: refused, untrusted and transient at one request, and what passes. */
#define REFUSED(id, token, rules, skr, op)                                 \
	{                                                                  \
		id, token, rules, CKR_FUNCTION_FAILED, skr, op, 1, 1, 5, 0 \
	}
#define TWICE(id, token, rules, skr, op)                                   \
	{                                                                  \
		id, token, rules, CKR_FUNCTION_FAILED, skr, op, 2, 2, 6, 0 \
	}
#define PASSES(id, token, rules, op)                        \
	{                                                   \
		id, token, rules, CKR_OK, 0, op, 2, 2, 9, 0 \
	}

/* clang-format off */
static const struct row identity_rows[] = {
    REFUSED("M-02", "faulty", "imds.token status(400)", 301, "imds.token"),
    REFUSED("M-03", "faulty", "imds.token status(401)", 302, "imds.token"),
    REFUSED("M-03", "faulty", "imds.token status(403)", 302, "imds.token"),
    PASSES("M-04", "faulty", "imds.token[1] status(404)", "imds.token"),
    {"M-04 410", "faulty", "imds.token[1] status(410)", CKR_OK, 0, "imds.token", 2, 2, 14, 9.9},
    {"M-05 expired once", "faulty", "imds.token[1] mutate(expires_on,\"1\")", CKR_OK, 0, "imds.token", 2, 2, 5, 0},
    TWICE("M-05 expired", "faulty", "imds.token mutate(expires_on,\"1\")", 304, "imds.token"),
    REFUSED("M-05 absurd", "faulty", "imds.token mutate(expires_on,\"never\")", 304, "imds.token"),
    REFUSED("M-05 missing", "faulty", "imds.token mutate(expires_on)", 304, "imds.token"),
    REFUSED("M-05 not yet", "faulty", "imds.token mutate(not_before,\"99999999999\")", 304, "imds.token"),
    REFUSED("M-05 I-11", "faulty", "imds.token mutate(resource,https://graph.microsoft.com)", 304, "imds.token"),
    REFUSED("M-05 no token", "faulty", "imds.token mutate(access_token)", 304, "imds.token"),
    REFUSED("M-05 two lines", "faulty", "imds.token mutate(access_token,\"a\\r\\nX-Other: b\")", 304, "imds.token"),
    REFUSED("N-03", "workload", "entra.token status(401,70021)", 312, "entra.token"),
    REFUSED("N-03", "workload", "entra.token status(400,700016)", 312, "entra.token"),
    REFUSED("N-03", "workload", "entra.token status(400,90002)", 312, "entra.token"),
    REFUSED("N-03", "secretive", "entra.token status(401,7000215)", 314, "entra.token"),
    REFUSED("N-03", "secretive", "entra.token mutate(access_token)", 304, "entra.token"),
    REFUSED("N-03", "secretive", "entra.token mutate(token_type,pop)", 304, "entra.token"),
    PASSES("N-04", "workload", "entra.token[1] status(429)", "entra.token"),
    PASSES("N-04", "secretive", "entra.token[1] status(503)", "entra.token"),
};

static const struct row attestation_rows[] = {
    REFUSED("A-01", "faulty", "maa.attest status(400)", 320, "maa.attest"),
    REFUSED("A-02", "faulty", "maa.attest status(401)", 321, "maa.attest"),
    REFUSED("A-02", "faulty", "maa.attest status(403)", 321, "maa.attest"),
    REFUSED("A-02", "faulty", "maa.attest status(404)", 321, "maa.attest"),
    PASSES("A-03", "faulty", "maa.attest[1] status(429)", "maa.attest"),
    REFUSED("A-04 missing", "faulty", "maa.attest mutate(token)", 323, "maa.attest"),
    REFUSED("A-04 no JWT", "faulty", "maa.attest mutate(token,eyJhbGciOiJub25lIn0)", 323, "maa.attest"),
    REFUSED("A-04 alg", "faulty", "maa.attest mutate(jwt.header.alg,none)", 323, "maa.attest"),
    REFUSED("A-04 iss", "faulty", "maa.attest mutate(jwt.payload.iss,https://sharedeus.eus.attest.azure.net)", 323, "maa.attest"),
    REFUSED("A-04 nonce", "faulty", "maa.attest mutate(jwt.payload.nonce,another)", 323, "maa.attest"),
    REFUSED("A-04 key", "faulty", "maa.attest mutate(jwt.payload.x-ms-runtime.keys.0.n,flip)", 323, "maa.attest"),
    REFUSED("A-04 no key", "faulty", "maa.attest mutate(jwt.payload.x-ms-runtime)", 323, "maa.attest"),
    REFUSED("A-04 nbf", "faulty", "maa.attest mutate(jwt.payload.nbf,99999999999)", 323, "maa.attest"),
    TWICE("A-04 exp", "faulty", "maa.attest mutate(jwt.payload.exp,1700000000)", 323, "maa.attest"),
};

static const struct row vault_rows[] = {
    {"K-01", "faulty", "akv.release[1] status(401)", CKR_OK, 0, "akv.release", 2, 2, 6, 0},
    TWICE("K-01 for ever", "faulty", "akv.release status(401)", 330, "akv.release"),
    REFUSED("K-02", "faulty", "akv.release status(403,ForbiddenByRbac)", 331, "akv.release"),
    REFUSED("K-02", "faulty", "akv.release status(403,ForbiddenByFirewall)", 331, "akv.release"),
    REFUSED("K-04", "faulty", "akv.release status(403,KeyDisabled)", 333, "akv.release"),
    REFUSED("K-05", "faulty", "akv.release status(404)", 334, "akv.release"),
    PASSES("K-06", "faulty", "akv.release[1] status(409)", "akv.release"),
    REFUSED("K-07", "faulty", "akv.release status(400)", 336, "akv.release"),
    {"K-08", "faulty", "akv.release[1..2] status(429)", CKR_OK, 0, "akv.release", 3, 3, 7, 2.9},
    {"K-08 hsm", "hsm", "akv.release[1] status(429)", CKR_OK, 0, "akv.release", 2, 2, 6, 0.9},
    {"H-20", "faulty", "akv.release[1] status(429,Retry-After: 2)", CKR_OK, 0, "akv.release", 2, 2, 7, 1.9},
    {"H-20 absurd", "faulty", "akv.release status(429,Retry-After: 4000)", CKR_DEVICE_ERROR, 337, "akv.release", 1, 1, 5, 0},
    PASSES("K-09", "faulty", "akv.release[1] status(500)", "akv.release"),
    REFUSED("K-10 nothing", "faulty", "akv.release mutate(value)", 340, "akv.release"),
};

/* Every field of a good answer, one at a time, signed again by the vault's own key wherever it can be. */
static const struct row answer_rows[] = {
    REFUSED("I-07 signature", "faulty", "akv.release mutate(jws.raw.signature,flip)", 340, "akv.release"),
    REFUSED("I-07 payload", "faulty", "akv.release mutate(jws.raw.payload,flip)", 340, "akv.release"),
    REFUSED("I-07 header", "faulty", "akv.release mutate(jws.raw.header,flip)", 340, "akv.release"),
    REFUSED("I-07 no signature", "faulty", "akv.release mutate(jws.raw.signature,\"\")", 340, "akv.release"),
    REFUSED("I-07 alg", "faulty", "akv.release mutate(jws.header.alg,none)", 340, "akv.release"),
    REFUSED("I-07 alg", "faulty", "akv.release mutate(jws.header.alg,HS256)", 340, "akv.release"),
    REFUSED("I-07 alg", "faulty", "akv.release mutate(jws.header.alg,PS256)", 340, "akv.release"),
    REFUSED("I-07 crit", "faulty", "akv.release mutate(jws.header.crit,[\"exp\"])", 340, "akv.release"),
    REFUSED("I-07 x5c", "faulty", "akv.release mutate(jws.header.x5c)", 340, "akv.release"),
    REFUSED("I-07 x5c", "faulty", "akv.release mutate(jws.header.x5c,[])", 340, "akv.release"),
    REFUSED("I-08 signer", "faulty", "akv.release signer(expired)", 340, "akv.release"),
    REFUSED("I-08 signer", "faulty", "akv.release signer(notyet)", 340, "akv.release"),
    REFUSED("I-08 signer", "faulty", "akv.release signer(selfsigned)", 340, "akv.release"),
    REFUSED("I-08 signer", "faulty", "akv.release signer(wrongname)", 340, "akv.release"),
    REFUSED("I-08 signer", "faulty", "akv.release signer(unknownca)", 340, "akv.release"),
    REFUSED("I-08 signer", "faulty", "akv.release signer(sha1)", 340, "akv.release"),
    REFUSED("I-07 K-15 nonce", "hsm", "akv.release mutate(jws.payload.request.nonce,another)", 343, "akv.release"),
    REFUSED("I-07 K-15 nonce", "faulty", "akv.release mutate(jws.payload.request.nonce,another)", 343, "akv.release"),
    REFUSED("I-07 K-15 kid", "faulty", "akv.release mutate(jws.payload.request.kid,https://contoso.vault.localhost/keys/other)", 343, "akv.release"),
    REFUSED("I-07 kid", "faulty", "akv.release mutate(jws.payload.request.kid)", 340, "akv.release"),
    REFUSED("I-07 enc", "faulty", "akv.release mutate(jws.payload.request.enc,RSA_AES_KEY_WRAP_384)", 340, "akv.release"),
    REFUSED("I-07 version", "faulty", "akv.release mutate(jws.payload.request.api-version,9.9)", 340, "akv.release"),
    REFUSED("I-07 K-15 host", "faulty", "akv.release mutate(jws.payload.response.key.key.kid,https://evil.vault.localhost/keys/fragile/00)", 343, "akv.release"),
    REFUSED("I-07 no kid", "faulty", "akv.release mutate(jws.payload.response.key.key.kid)", 340, "akv.release"),
    REFUSED("I-07 disabled", "faulty", "akv.release mutate(jws.payload.response.key.attributes.enabled,false)", 333, "akv.release"),
    REFUSED("I-07 expired", "faulty", "akv.release mutate(jws.payload.response.key.attributes.exp,1)", 333, "akv.release"),
    REFUSED("K-12 I-13 x", "faulty", "akv.release mutate(jws.payload.response.key.key.x,flip)", 342, "akv.release"),
    REFUSED("K-12 crv", "faulty", "akv.release mutate(jws.payload.response.key.key.crv,P-384)", 342, "akv.release"),
    REFUSED("K-12 kty", "faulty", "akv.release mutate(jws.payload.response.key.key.kty,RSA)", 342, "akv.release"),
    REFUSED("K-12 kty", "faulty", "akv.release mutate(jws.payload.response.key.key.kty,oct-HSM)", 342, "akv.release"),
    REFUSED("K-10 key_hsm", "faulty", "akv.release mutate(jws.payload.response.key.key.key_hsm)", 340, "akv.release"),
    REFUSED("K-10 key_hsm", "faulty", "akv.release mutate(jws.payload.response.key.key.key_hsm,AAAA)", 340, "akv.release"),
    REFUSED("K-11", "faulty", "akv.release mutate(key_hsm.ciphertext,flip)", 341, "akv.release"),
    REFUSED("K-11 short", "faulty", "akv.release mutate(key_hsm.ciphertext,AAAA)", 341, "akv.release"),
    REFUSED("K-11 hsm", "hsm", "akv.release mutate(key_hsm.ciphertext,flip)", 341, "akv.release"),
    REFUSED("K-10 alg", "faulty", "akv.release mutate(key_hsm.header.alg,other)", 340, "akv.release"),
    REFUSED("K-10 enc", "faulty", "akv.release mutate(key_hsm.header.enc,RSA_AES_KEY_WRAP_384)", 340, "akv.release"),
    REFUSED("K-15 transport", "faulty", "akv.release mutate(key_hsm.header.kid,another)", 343, "akv.release"),
    /* in pairs: the earlier check speaks */
    REFUSED("I-07 pair", "faulty", "akv.release mutate(jws.payload.request.nonce,another) mutate(jws.raw.signature,flip)", 340, "akv.release"),
    REFUSED("I-07 pair", "faulty", "akv.release mutate(key_hsm.ciphertext,flip) signer(unknownca)", 340, "akv.release"),
    REFUSED("I-07 pair", "faulty", "akv.release mutate(jws.payload.request.enc,x) mutate(key_hsm.ciphertext,flip)", 340, "akv.release"),
};
/* clang-format on */

static CK_SESSION_HANDLE session;

static void clean_slate(void)
{
	/* C_Logout clears the negative cache as well as the key. */
	CK_RV rv = p11->C_Logout(session);
	if (rv != CKR_OK && rv != CKR_USER_NOT_LOGGED_IN)
		fail_msg("C_Logout: %s", rv_name(rv));
}

/* One line of scripts/emulator.sh's language: vault METHOD URL [JSON], create_key … */
static void azure(const char *command)
{
	char line[4096];

	snprintf(line, sizeof(line), "build='%s'; . '%s/scripts/emulator.sh'; %s >/dev/null", getenv("SKR_BUILD"),
	         getenv("SKR_TOP"), command);
	setenv("AZURE_LINE", line, 1);
	if (system("bash -euc \"$AZURE_LINE\"") != 0)
		fail_msg("%s", command);
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static const char *const sections = "[token secretive]\n"
                                    "attestation = $SKR_EMULATOR_ATTESTATION\n"
                                    "key = $SKR_EMULATOR_VAULT/keys/fragile\n"
                                    "identity = secret:$SKR_RUN/secret\n"
                                    "tenant = $SKR_EMULATOR_TENANT\n"
                                    "client = $SKR_EMULATOR_CLIENT\n"
                                    "authority = $SKR_EMULATOR_LOGIN\n"
                                    "[token workload]\n"
                                    "attestation = $SKR_EMULATOR_ATTESTATION\n"
                                    "key = $SKR_EMULATOR_VAULT/keys/fragile\n"
                                    "identity = workload\n"
                                    "tenant = $SKR_EMULATOR_TENANT\n"
                                    "client = $SKR_EMULATOR_CLIENT\n"
                                    "authority = $SKR_EMULATOR_LOGIN\n"
                                    "[token hsm]\n"
                                    "attestation = $SKR_EMULATOR_ATTESTATION\n"
                                    "key = $SKR_EMULATOR_HSM/keys/fragile-hsm\n"
                                    "[token aged]\n"
                                    "attestation = $SKR_EMULATOR_ATTESTATION\n"
                                    "key = $SKR_EMULATOR_VAULT/keys/ageing\n"
                                    "key_max_age = 5\n";

static int set_up(void **state)
{
	(void)state;
	azure("create_key \"$SKR_EMULATOR_HSM\" fragile-hsm EC-HSM:P-256; create_key \"$SKR_EMULATOR_VAULT\" ageing "
	      "EC-HSM:P-256");
	write_file(expand("$SKR_RUN/secret"), getenv("SKR_EMULATOR_CLIENT_SECRET"));
	setenv("AZURE_FEDERATED_TOKEN_FILE", expand("$SKR_RUN/federated"), 1);
	write_file(expand("$SKR_RUN/federated"), "");
	module_load();
	if (system("cp \"$SKR_EMULATOR_DIR/federated-token\" \"$SKR_RUN/federated\"") != 0)
		fail_msg("no federated token");
	matrix_configure("login_deadline = 40", expand(sections));
	matrix_begin(tokens, 4);
	session = module_session("faulty");
	return 0;
}

static int without_faults(void **state)
{
	(void)state;
	emulator_faults("");
	return 0;
}

static void what_identity_services_say(void **state)
{
	(void)state;
	assert_int_equal(matrix_run(identity_rows, sizeof(identity_rows) / sizeof(identity_rows[0])), 0);
}

static void what_the_attestation_service_says(void **state)
{
	(void)state;
	assert_int_equal(matrix_run(attestation_rows, sizeof(attestation_rows) / sizeof(attestation_rows[0])), 0);
}

static void what_the_vault_says(void **state)
{
	(void)state;
	assert_int_equal(matrix_run(vault_rows, sizeof(vault_rows) / sizeof(vault_rows[0])), 0);
}

static void no_changed_answer_gives_a_key(void **state)
{
	(void)state;
	assert_int_equal(matrix_run(answer_rows, sizeof(answer_rows) / sizeof(answer_rows[0])), 0);
}

/* ---- workload identity ---- */

/* N-01 */
static void a_federated_token_must_be_one(void **state)
{
	(void)state;
	static char large[40000];
	const char *contents[] = {"", "\n\n", "not a token", "a.b", large, NULL};
	char line[1024];
	unsigned long failure;

	memset(large, 'x', sizeof(large) - 1);
	for (int i = 0; i < 6; i++) {
		if (contents[i])
			write_file(expand("$SKR_RUN/federated"), contents[i]);
		else
			unlink(expand("$SKR_RUN/federated"));
		emulator_requests_reset();
		assert_rv(matrix_login("workload", &failure, line, sizeof(line)), CKR_FUNCTION_FAILED);
		if (failure != 310 || !strstr(line, "/federated"))
			fail_msg("%d: %s", i, line);
		assert_int_equal(emulator_requests("entra."), 0);
	}
}

static void *renew_federated_token(void *failed)
{
	usleep(500 * 1000);
	if (system("cp \"$SKR_EMULATOR_DIR/federated-token\" \"$SKR_RUN/federated\"") != 0)
		return failed;
	return NULL;
}

/* N-02 */
static void an_expired_federated_token_is_read_again(void **state)
{
	(void)state;
	char line[1024];
	unsigned long failure;
	pthread_t thread;
	void *result;

	emulator_control("POST", "/federated-token", "{\"lifetime\":-4000}");
	assert_null(renew_federated_token(p11));
	emulator_requests_reset();
	assert_rv(matrix_login("workload", &failure, line, sizeof(line)), CKR_FUNCTION_FAILED);
	if (failure != 311 || !strstr(line, "expired"))
		fail_msg("%s", line);
	assert_int_equal(emulator_requests("entra."), 1);

	emulator_control("POST", "/federated-token", "{\"lifetime\":4000}");
	emulator_faults("entra.token[1] delay(2500)");
	emulator_requests_reset();
	pthread_create(&thread, NULL, renew_federated_token, p11);
	assert_rv(matrix_login("workload", &failure, line, sizeof(line)), CKR_OK);
	pthread_join(thread, &result);
	assert_null(result);
	assert_in_range(emulator_requests("entra."), 1, 2);
}

/* ---- time ---- */

/* the vault asks to wait for longer than the attestation token lives; a new one is fetched. */
static void an_attestation_that_ran_out_is_made_again(void **state)
{
	(void)state;
	char line[1024];
	unsigned long failure;

	emulator_control("POST", "/hardware", "{\"token_lifetime\":3}");
	emulator_faults("akv.release[1] status(429,Retry-After: 4)");
	emulator_requests_reset();
	CK_RV rv = matrix_login("faulty", &failure, line, sizeof(line));
	emulator_control("POST", "/hardware", "{\"token_lifetime\":28800}");
	if (rv != CKR_OK)
		fail_msg("%s", line);
	assert_int_equal(emulator_requests("maa.attest"), 2);
	assert_int_equal(emulator_requests("akv.release"), 3);
}

/* E-17, I-30: the services' clock jumps both ways while a key is loaded: it stays, and key_max_age counts our own time.
 */
static void the_age_of_a_key_is_not_wall_clock_time(void **state)
{
	(void)state;
	CK_SESSION_HANDLE aged = module_session("aged");

	module_login(aged);
	double since = now_ms();
	emulator_control("POST", "/clock", "{\"offset\":86400}");
	assert_ok(matrix_sign(aged));
	emulator_control("POST", "/clock", "{\"offset\":-86400}");
	assert_ok(matrix_sign(aged));
	emulator_control("POST", "/clock", "{\"offset\":0}");
	while (now_ms() - since < 5100)
		usleep(100 * 1000);
	assert_int_not_equal(matrix_sign(aged), CKR_OK);
	module_login(aged);
	assert_ok(matrix_sign(aged));
	assert_ok(p11->C_Logout(aged));
	assert_ok(p11->C_CloseSession(aged));
}

/* ---- the key changes while it is loaded ---- */

static void version_of(CK_SESSION_HANDLE of, char out[512])
{
	CK_ATTRIBUTE attribute = {CKA_SKR_KEY_ID, out, 511};
	CK_OBJECT_HANDLE key = module_find(of, CKO_PRIVATE_KEY, "ageing");

	assert_int_not_equal(key, 0);
	assert_ok(p11->C_GetAttributeValue(of, key, &attribute, 1));
	out[attribute.ulValueLen] = '\0';
}

/* K-13 */
static void a_new_version_is_taken_by_the_next_login(void **state)
{
	(void)state;
	CK_SESSION_HANDLE aged = module_session("aged");
	char before[512], during[512], after[512];

	module_login(aged);
	version_of(aged, before);
	azure("vault POST \"$SKR_EMULATOR_VAULT/keys/ageing/rotate\" '{}'");
	version_of(aged, during);
	assert_string_equal(before, during);
	assert_ok(matrix_sign(aged));
	assert_ok(p11->C_Logout(aged));
	module_login(aged);
	version_of(aged, after);
	assert_string_not_equal(before, after);
	assert_ok(matrix_sign(aged));
	assert_ok(p11->C_Logout(aged));
	assert_ok(p11->C_CloseSession(aged));
}

/* K-14, K-04, K-05 */
static void a_key_taken_away_works_until_its_age_is_reached(void **state)
{
	(void)state;
	CK_SESSION_HANDLE aged = module_session("aged");
	char line[1024];
	unsigned long failure;

	module_login(aged);
	double since = now_ms();
	azure("vault PATCH \"$SKR_EMULATOR_VAULT/keys/ageing\" '{\"attributes\":{\"enabled\":false}}'");
	assert_ok(matrix_sign(aged));
	while (now_ms() - since < 5100)
		usleep(100 * 1000);
	assert_int_not_equal(matrix_sign(aged), CKR_OK);
	assert_int_equal(module_find(aged, CKO_PRIVATE_KEY, "ageing"), 0);
	assert_rv(matrix_login("aged", &failure, line, sizeof(line)), CKR_FUNCTION_FAILED);
	if (failure != 333)
		fail_msg("disabled: %s", line);

	azure("vault PATCH \"$SKR_EMULATOR_VAULT/keys/ageing\" '{\"attributes\":{\"enabled\":true}}'");
	module_login(aged);
	azure("vault DELETE \"$SKR_EMULATOR_VAULT/keys/ageing\"");
	assert_ok(matrix_sign(aged));
	assert_ok(p11->C_Logout(aged));
	assert_rv(matrix_login("aged", &failure, line, sizeof(line)), CKR_FUNCTION_FAILED);
	if (failure != 334)
		fail_msg("deleted: %s", line);
	assert_ok(p11->C_CloseSession(aged));
}

/* ---- answers of other logins ---- */

/* I-12, K-15: what was a good answer in one login is refused in the next, and in that of another vault's key. */
static void a_recorded_answer_is_of_no_use(void **state)
{
	(void)state;
	static const struct {
		const char *token;
		unsigned long failure;
	} logins[] = {{"faulty", 0}, {"faulty", 343}, {"faulty", 343}, {"hsm", 340}, {"hsm", 343}, {"faulty", 340}};
	char line[1024];
	unsigned long failure;

	emulator_faults("akv.release replay"); /* each gets the answer of the one before; the first its own */
	for (size_t i = 0; i < sizeof(logins) / sizeof(logins[0]); i++) {
		CK_RV rv = matrix_login(logins[i].token, &failure, line, sizeof(line));
		if (failure != logins[i].failure || (rv == CKR_OK) != (failure == 0))
			fail_msg("login %zu: %s %s", i, rv_name(rv), line);
	}
}

/* K-15: two processes' answers are exchanged; both refuse. */
static void exchanged_answers_are_refused_by_both(void **state)
{
	(void)state;
	char line[1024];
	unsigned long failure = 0;

	clean_slate();
	emulator_faults("akv.release swap");
	pid_t child = fork();
	if (child == 0) {
		if (p11->C_Initialize(NULL) != CKR_OK)
			_exit(1);
		CK_SESSION_HANDLE own = module_session("secretive");
		CK_RV rv = p11->C_Login(own, CKU_USER, NULL, 0);
		failure = module_failure("secretive", line, sizeof(line));
		_exit(rv == CKR_FUNCTION_FAILED && failure == 343 ? 7 : 2);
	}
	CK_RV rv = matrix_login("faulty", &failure, line, sizeof(line));
	int status = 0;
	waitpid(child, &status, 0);
	assert_rv(rv, CKR_FUNCTION_FAILED);
	if (failure != 343)
		fail_msg("%s", line);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
}

/* I-11: every bearer that a service saw is for that service's own audience. */
static void tokens_go_only_where_they_belong(void **state)
{
	(void)state;
	char line[8192];
	int seen = 0, hsms = 0;
	FILE *log = fopen(expand("$SKR_EMULATOR_DIR/requests.jsonl"), "r");

	assert_non_null(log);
	while (fgets(line, sizeof(line), log)) {
		bool hsm = strstr(line, ".managedhsm.localhost:") != NULL;
		bool vault = strstr(line, ".vault.localhost:") != NULL;
		if (strstr(line, "\"audience\":\"\""))
			continue;
		if (strstr(line, "\"audience\":\"https://managedhsm.localhost\"") ? !hsm : !vault)
			fail_msg("%s", line);
		seen++;
		hsms += hsm;
	}
	fclose(log);
	assert_true(seen > 50 && hsms > 0);
}

/* C-05, SKR-090 */
static void retries_in_a_loop_send_nothing(void **state)
{
	(void)state;
	clean_slate();
	emulator_faults("maa.attest status(400)");
	emulator_requests_reset();
	for (int i = 0; i < 200; i++)
		assert_rv(p11->C_Login(session, CKU_USER, NULL, 0), CKR_FUNCTION_FAILED);
	assert_int_equal(emulator_requests("maa.attest"), 1);
	emulator_faults("");
}

/* K-03: the sentence names the claim, what the policy wants and what the machine has. */
static void a_refused_policy_names_the_claim(void **state)
{
	(void)state;
	char line[1024];
	CK_SESSION_HANDLE other = module_session("other");

	assert_rv(p11->C_Login(other, CKU_USER, NULL, 0), CKR_FUNCTION_FAILED);
	assert_int_equal(module_failure("other", line, sizeof(line)), 332);
	if (!strstr(line, "x-ms-sevsnpvm-hostdata"))
		fail_msg("%s", line);
	assert_ok(p11->C_CloseSession(other));
}

/* C-20, I-31, SKR-411 */
static void a_failed_relogin_keeps_the_key(void **state)
{
	(void)state;
	unsigned char hash[32] = {1}, signature[64];
	CK_ULONG len = sizeof(signature);
	CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};

	clean_slate();
	module_login(session);
	emulator_faults("maa.attest status(400)");
	assert_rv(p11->C_Login(session, CKU_USER, NULL, 0), CKR_USER_ALREADY_LOGGED_IN);
	assert_ok(p11->C_SignInit(session, &mechanism, module_find(session, CKO_PRIVATE_KEY, "fragile")));
	assert_ok(p11->C_Sign(session, hash, sizeof(hash), signature, &len));
	emulator_faults("");
}

/* rule 2 of consumers: open, log in, close, again and again, costs one release */
static void reopened_sessions_cost_one_release(void **state)
{
	(void)state;
	clean_slate();
	assert_ok(p11->C_CloseSession(session));
	emulator_requests_reset();
	for (int i = 0; i < 13; i++) {
		CK_SESSION_HANDLE again = module_session("faulty");
		module_login(again);
		assert_int_not_equal(module_find(again, CKO_PRIVATE_KEY, "fragile"), 0);
		assert_ok(p11->C_CloseSession(again));
	}
	assert_int_equal(emulator_requests("akv.release"), 1);
	session = module_session("faulty");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(what_identity_services_say, without_faults),
	    cmocka_unit_test_teardown(what_the_attestation_service_says, without_faults),
	    cmocka_unit_test_teardown(what_the_vault_says, without_faults),
	    cmocka_unit_test_teardown(no_changed_answer_gives_a_key, without_faults),
	    cmocka_unit_test_teardown(an_attestation_that_ran_out_is_made_again, without_faults),
	    cmocka_unit_test_teardown(the_age_of_a_key_is_not_wall_clock_time, without_faults),
	    cmocka_unit_test_teardown(a_new_version_is_taken_by_the_next_login, without_faults),
	    cmocka_unit_test_teardown(a_key_taken_away_works_until_its_age_is_reached, without_faults),
	    cmocka_unit_test_teardown(a_recorded_answer_is_of_no_use, without_faults),
	    cmocka_unit_test_teardown(exchanged_answers_are_refused_by_both, without_faults),
	    cmocka_unit_test_teardown(retries_in_a_loop_send_nothing, without_faults),
	    cmocka_unit_test_teardown(a_refused_policy_names_the_claim, without_faults),
	    cmocka_unit_test_teardown(a_failed_relogin_keeps_the_key, without_faults),
	    cmocka_unit_test_teardown(reopened_sessions_cost_one_release, without_faults),
	    cmocka_unit_test_teardown(a_federated_token_must_be_one, without_faults),
	    cmocka_unit_test_teardown(an_expired_federated_token_is_read_again, without_faults),
	    cmocka_unit_test(tokens_go_only_where_they_belong),
	};
	return cmocka_run_group_tests_name("integration.faults", tests, set_up, NULL);
}
