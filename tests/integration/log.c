/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I-05: whatever happens, at the highest verbosity, no secret is in the log, in the audit trail, in the diagnostics or
 * on stderr. Secrets are planted wherever the product takes one, and what it gets over the network is known from its
 * shape or from the emulator.
 */
#include "support/matrix.h"
#include "cmocka_all.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRETS = 16 };
static char *secrets[SECRETS];
static size_t secret_count;
static FILE *diagnostics; /* the lines of the diagnostics interface */

static void remember(const char *secret)
{
	assert_true(secret_count < SECRETS && strlen(secret) >= 8);
	secrets[secret_count++] = strdup(secret);
}

static char *contents(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = calloc(1, 8 * 1024 * 1024);

	assert_non_null(text);
	if (file) {
		size_t got = fread(text, 1, 8 * 1024 * 1024 - 1, file);
		for (size_t i = 0; i < got; i++) /* so that searching does not end at a zero byte */
			if (!text[i])
				text[i] = ' ';
		fclose(file);
	}
	return text;
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

/* "pleaseletmein" */
#define PIN_HASH    "scrypt:16384:8:1:U29kaXVtQ2hsb3JpZGUhIQ:UmYyNDO_YRuFmsgA6JK5baM1qTJw1bFvX2are1D2OBc"

#define APPLICATION "tenant = $SKR_EMULATOR_TENANT\nclient = $SKR_EMULATOR_CLIENT\nauthority = $SKR_EMULATOR_LOGIN\n"

static const char *token_with(const char *label, const char *more)
{
	char text[4096];

	snprintf(text, sizeof(text),
	         "[token %s]\nattestation = $SKR_EMULATOR_ATTESTATION\nkey = $SKR_EMULATOR_VAULT/keys/fragile\n%s\n",
	         label, more);
	return expand(text);
}

static int set_up(void **state)
{
	(void)state;
	char sections[16384];

	remember(getenv("SKR_EMULATOR_CLIENT_SECRET"));
	remember("planted-wrong-client-secret");
	remember("planted-identity-header");
	remember("planted-msi-secret");
	remember("pleaseletmein");
	remember("planted-wrong-PIN");
	char *federated = contents(expand("$SKR_EMULATOR_DIR/federated-token"));
	federated[strcspn(federated, " \n")] = '\0';
	remember(federated);
	remember(strrchr(federated, '.') + 1); /* its signature alone */
	free(federated);

	write_file(expand("$SKR_RUN/secret"), getenv("SKR_EMULATOR_CLIENT_SECRET"));
	write_file(expand("$SKR_RUN/wrong"), "planted-wrong-client-secret");
	write_file(expand("$SKR_RUN/wrong.pem"), "-----BEGIN PRIVATE KEY-----\nplanted-wrong-client-secret\n"
	                                         "-----END PRIVATE KEY-----\n");
	setenv("AZURE_FEDERATED_TOKEN_FILE", expand("$SKR_EMULATOR_DIR/federated-token"), 1);
	setenv("AZURE_CLIENT_SECRET", "planted-wrong-client-secret", 1);
	setenv("MSI_SECRET", "planted-msi-secret", 1);
	snprintf(sections, sizeof(sections), "%s%s%s%s%s%s%s",
	         token_with("secret", APPLICATION "identity = secret:$SKR_RUN/secret"),
	         token_with("wrong", APPLICATION "identity = secret:$SKR_RUN/wrong"),
	         token_with("wrongpem", APPLICATION "identity = certificate:$SKR_RUN/wrong.pem"),
	         token_with("certificate", APPLICATION "identity = certificate:$SKR_EMULATOR_DIR/client.pem"),
	         token_with("workload", APPLICATION "identity = workload"), token_with("managed", "identity = managed"),
	         token_with("pin", "identity = managed\npin_hash = " PIN_HASH));
	module_load();
	matrix_configure(expand("log = $SKR_RUN/everything.log\nlog_level = debug\naudit_file = $SKR_RUN/audit"),
	                 sections);
	diagnostics = fopen(expand("$SKR_RUN/diagnostics"), "w");
	assert_non_null(diagnostics);
	return 0;
}

static void note(const char *token)
{
	char line[1024];

	module_failure(token, line, sizeof(line));
	fprintf(diagnostics, "%s\n", line);
}

static CK_RV log_in(const char *token, const char *pin)
{
	CK_SESSION_HANDLE session = module_session(token);

	p11->C_Logout(session);
	CK_RV rv = p11->C_Login(session, CKU_USER, (CK_UTF8CHAR_PTR)(uintptr_t)pin, pin ? strlen(pin) : 0);
	note(token);
	if (rv == CKR_OK)
		matrix_sign(session);
	p11->C_Logout(session);
	assert_ok(p11->C_CloseSession(session));
	return rv;
}

static void every_secret_is_used(void)
{
	assert_rv(log_in("secret", NULL), CKR_OK);
	assert_rv(log_in("certificate", NULL), CKR_OK);
	assert_rv(log_in("workload", NULL), CKR_OK);
	assert_rv(log_in("managed", NULL), CKR_OK);
	assert_rv(log_in("pin", "pleaseletmein"), CKR_OK);
	assert_rv(log_in("pin", "planted-wrong-PIN"), CKR_PIN_INCORRECT);
	assert_rv(log_in("wrong", NULL), CKR_FUNCTION_FAILED);
	assert_rv(log_in("wrongpem", NULL), CKR_FUNCTION_FAILED);
	/* A PIN where none is configured is not looked at; nor written anywhere. */
	assert_rv(log_in("managed", "planted-wrong-PIN"), CKR_OK);
}

static void every_answer_is_spoilt(void)
{
	static const char *const faults[] = {
	    "entra.token mutate(token_type,pop)",
	    "entra.token mutate(expires_in)",
	    "entra.token truncate(700)",
	    "entra.token garble(3)",
	    "entra.token status(401,7000215)",
	    "entra.token status(302,Location: https://127.0.0.1:1/)",
	    "entra.token mutate(header.Content-Type,text/html)",
	    "maa.attest mutate(jwt.payload.iss,https://elsewhere.example)",
	    "maa.attest truncate(900)",
	    "maa.attest mutate(header.Content-Type,text/html)",
	    "akv.release status(400)",
	    "akv.release status(401)",
	    "akv.release status(403,ForbiddenByPolicy)",
	    "akv.release mutate(key_hsm.ciphertext,flip)",
	    "akv.release mutate(jws.raw.signature,flip)",
	    "akv.release garble(5)",
	    "akv.release mutate(header.Content-Type,text/html)",
	};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		char rule[512];
		snprintf(rule, sizeof(rule), "%s", faults[i]);
		emulator_faults(rule);
		log_in(i % 2 ? "workload" : "secret", NULL);
	}
	emulator_faults("");
}

/* The App Service kind of endpoint, whose header is a secret. */
static void the_identity_header_is_used(void)
{
	setenv("IDENTITY_ENDPOINT", expand("$SKR_EMULATOR_IMDS/msi/token"), 1);
	setenv("IDENTITY_HEADER", getenv("SKR_EMULATOR_CLIENT_SECRET"), 1);
	assert_ok(p11->C_Finalize(NULL));
	module_initialize();
	assert_rv(log_in("managed", NULL), CKR_OK);
	setenv("IDENTITY_HEADER", "planted-identity-header", 1);
	assert_ok(p11->C_Finalize(NULL));
	module_initialize();
	log_in("managed", NULL);
}

static void search(const char *path, bool must_exist)
{
	char *text = contents(path);

	if (must_exist && strlen(text) < 100)
		fail_msg("%s is empty: nothing was looked at", path);
	for (size_t i = 0; i < secret_count; i++)
		if (strstr(text, secrets[i]))
			fail_msg("%s holds secret %zu: %.60s", path, i, strstr(text, secrets[i]));
	/* A JWT, a JWS or a part of one; base64 of a private key; a bearer. */
	static const char *const shapes[] = {"eyJ", "Bearer ey", "PRIVATE KEY", "ciphertext\":\"", "key_hsm\":\""};
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if (strstr(text, shapes[i]))
			fail_msg("%s holds %.80s", path, strstr(text, shapes[i]));
	free(text);
}

static int own_stderr = -1;

static void give_stderr_back(void)
{
	fflush(stderr);
	if (own_stderr >= 0) {
		dup2(own_stderr, 2);
		close(own_stderr);
		own_stderr = -1;
	}
}

/* cmocka's own words are in that file too, if something failed. */
static int tear_down(void **state)
{
	(void)state;
	if (own_stderr >= 0) {
		give_stderr_back();
		fputs(contents(expand("$SKR_RUN/stderr")), stderr);
	}
	emulator_faults("");
	return 0;
}

static void no_secret_is_written_anywhere(void **state)
{
	(void)state;
	int file = open(expand("$SKR_RUN/stderr"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	own_stderr = dup(2);
	dup2(file, 2);
	close(file);
	every_secret_is_used();
	every_answer_is_spoilt();
	the_identity_header_is_used();
	give_stderr_back();
	assert_int_equal(fflush(diagnostics), 0);
	search(expand("$SKR_RUN/everything.log"), true);
	search(expand("$SKR_RUN/audit"), true);
	search(expand("$SKR_RUN/diagnostics"), true);
	search(expand("$SKR_RUN/stderr"), false);
}

/* The search itself: a secret that is written is found. */
static void a_written_secret_would_be_found(void **state)
{
	(void)state;
	char *log = contents(expand("$SKR_RUN/everything.log"));

	assert_non_null(strstr(log, "debug: ")); /* the level is really on */
	assert_non_null(strstr(log, "skr-agent["));
	assert_non_null(strstr(log, getenv("SKR_EMULATOR_CLIENT"))); /* what is no secret is there */
	free(log);
	log = contents(expand("$SKR_RUN/secret"));
	assert_non_null(strstr(log, secrets[0]));
	free(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(no_secret_is_written_anywhere, tear_down),
	    cmocka_unit_test(a_written_secret_would_be_found),
	};
	return cmocka_run_group_tests_name("integration.log", tests, set_up, NULL);
}
