/* SPDX-License-Identifier: Apache-2.0 */
/* Sources of identity, and Entra's token endpoint: rows N-01 to N-04; reference/identity-tokens sections 2, 5, 6, 8. */
#include "azure/identity.h"

#include "jose/jws.h"
#include "surroundings.h"

#define AUDIENCE  "https://vault.azure.net"
#define GRANTED   "{\"token_type\":\"Bearer\",\"expires_in\":3599,\"ext_expires_in\":3599,\"access_token\":\"acc.tok\"}"
#define ASSERTION "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjEwMDB9.c2ln" /* exp 1000 */
#define RENEWED   "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjIwMDB9.c2ln"

static const char *const variables[] = {
    "AZURE_CLIENT_ID",   "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE",       "AZURE_AUTHORITY_HOST",
    "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT",       "MSI_ENDPOINT",
    "MSI_SECRET",        "IMDS_ENDPOINT",   "AZURE_POD_IDENTITY_AUTHORITY_HOST"};

static int clean(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		unsetenv(variables[i]);
	return 0;
}

static char path[64];

static void file_write(const char *text)
{
	FILE *file = fopen(path, "w");

	MUST(file && fputs(text, file) >= 0);
	fclose(file);
}

static void file_make(const char *text)
{
	snprintf(path, sizeof(path), "/tmp/skr-identity-XXXXXX");
	close(mkstemp(path));
	file_write(text);
}

static void workload_environment(void)
{
	setenv("AZURE_CLIENT_ID", "client-1", 1);
	setenv("AZURE_TENANT_ID", "tenant-1", 1);
	setenv("AZURE_FEDERATED_TOKEN_FILE", path, 1);
}

static skr_status ask(struct stage *stage, const char **source)
{
	auto_buf token = BUF(1024);
	skr_status status = identity_token(&stage->azure, AUDIENCE, &token, source);

	assert_string_equal(buf_text(&token), status.failure ? "" : "acc.tok");
	assert_null(strstr(status_message(), "s3cr3t"));
	return status;
}

static void a_federated_token_is_exchanged(void **state)
{
	(void)state;
	char *reply = json_reply(200, "", GRANTED);
	struct scene scenes[] = {{.reply = reply}, {.reply = reply}};
	struct stage *stage = stage_open(scenes, 2, true, 5000);
	const char *source = NULL;

	file_make("\n  " ASSERTION " \n");
	workload_environment();
	assert_int_equal(ask(stage, &source).failure, 0); /* identity = auto */
	assert_string_equal(source, "workload identity");
	const char *request = stage->server->requests[0];
	assert_non_null(strstr(request, "POST /tenant-1/oauth2/v2.0/token HTTP/1.1\r\n"));
	assert_non_null(strstr(request, "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
	assert_non_null(strstr(
	    request,
	    "\r\n\r\ngrant_type=client_credentials&client_id=client-1&scope=https%3A%2F%2Fvault.azure.net%2F.default"
	    "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
	    "&client_assertion=" ASSERTION));

	file_write(RENEWED);              /* N-02: read anew each time */
	stage->token.client = "client-2"; /* the configuration wins over the environment */
	assert_int_equal(ask(stage, NULL).failure, 0);
	assert_non_null(strstr(stage->server->requests[1], "client_id=client-2&"));
	assert_non_null(strstr(stage->server->requests[1], "client_assertion=" RENEWED));
	stage_close(stage);
	unlink(path);
	free(reply);
}

static void bad_token_files_are_named(void **state)
{
	(void)state;
	static char big[40000];
	static const char *const bad[] = {"", " \n", "no token", "a.b", ASSERTION " " ASSERTION, big};
	struct stage *stage = stage_open(NULL, 0, true, 5000);

	memset(big, 'a', sizeof(big) - 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) { /* N-01 */
		file_make(bad[i]);
		workload_environment();
		expect_failure(ask(stage, NULL), 310, path);
		unlink(path);
	}
	expect_failure(ask(stage, NULL), 310, path); /* not there any more */
	stage->token.identity = IDENTITY_WORKLOAD;
	unsetenv("AZURE_FEDERATED_TOKEN_FILE");
	expect_failure(ask(stage, NULL), 310, "AZURE_FEDERATED_TOKEN_FILE");
	assert_int_equal(stage->server->request_count, 0);
	stage_close(stage);
}

static void entra_errors_have_their_numbers(void **state)
{
	(void)state;
	static const struct {
		int http, aadsts, failure;
	} rows[] = {
	    {401, 700024, 311},  {400, 70021, 312},  {400, 700016, 312}, {400, 90002, 312},
	    {401, 7000215, 314}, {401, 700027, 314}, {401, 0, 312},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char body[256];
		snprintf(body, sizeof(body),
		         "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS%d: Words. Trace ID: "
		         "t\",\"error_codes\":[%d],"
		         "\"trace_id\":\"t-9\"}",
		         rows[i].aadsts, rows[i].aadsts);
		char *reply = json_reply(rows[i].http, "", body);
		struct scene scene = {.reply = reply};
		struct stage *stage = stage_open(&scene, 1, true, 5000);

		file_make(ASSERTION);
		workload_environment();
		expect_failure(ask(stage, NULL), rows[i].failure,
		               "application client-1, tenant tenant-1: Entra ID answers 40");
		assert_non_null(strstr(status_message(), "AADSTS"));
		assert_string_equal(status_last()->step, "identity");
		assert_string_equal(status_last()->reqid, "t-9");
		assert_int_equal(stage->server->request_count, 1);
		if (rows[i].failure == 311)
			expect_failure((skr_status){311}, 311, "whose token expired");
		stage_close(stage);
		unlink(path);
		free(reply);
	}
}

static void *renew_file(void *with)
{
	struct http_server *server = with;
	while (__atomic_load_n(&server->request_count, __ATOMIC_SEQ_CST) == 0)
		usleep(1000);
	file_write(RENEWED);
	return NULL;
}

static void a_renewed_file_is_tried_once_more(void **state)
{
	(void)state;
	char *late = json_reply(401, "", "{\"error\":\"invalid_client\",\"error_codes\":[700024]}");
	char *fine = json_reply(200, "", GRANTED);
	struct scene scenes[] = {{.reply = late, .delay_ms = 200}, {.reply = fine}};
	struct stage *stage = stage_open(scenes, 2, true, 5000);
	pthread_t thread;

	file_make(ASSERTION);
	workload_environment();
	MUST(pthread_create(&thread, NULL, renew_file, stage->server) == 0);
	assert_int_equal(ask(stage, NULL).failure, 0); /* N-02 */
	pthread_join(thread, NULL);
	stage_close(stage);
	unlink(path);
	free(late);
	free(fine);
}

static void the_authority_of_the_environment_must_be_allowed(void **state)
{
	(void)state;
	struct stage *stage = stage_open(NULL, 0, true, 1000);

	file_make(ASSERTION);
	workload_environment();
	stage->config.allow_custom_endpoint = false;
	stage->token.authority = "https://login.microsoftonline.com";
	setenv("AZURE_AUTHORITY_HOST", "https://evil.example/", 1);
	expect_failure(ask(stage, NULL), 5, "evil.example"); /* I-09 */
	setenv("AZURE_AUTHORITY_HOST", "http://login.microsoftonline.com/", 1);
	expect_failure(ask(stage, NULL), 5, "not https");
	setenv("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us@evil.example/", 1);
	expect_failure(ask(stage, NULL), 5, NULL);
	stage_close(stage);
	unlink(path);
}

static void a_secret_comes_from_its_file(void **state)
{
	(void)state;
	char *reply = json_reply(200, "", GRANTED);
	struct scene scene = {.reply = reply};
	struct stage *stage = stage_open(&scene, 1, true, 5000);
	const char *source = NULL;

	file_make("s3cr3t~+&\n");
	stage->token.identity = IDENTITY_SECRET;
	stage->token.identity_argument = path;
	expect_failure(ask(stage, NULL), 305, "tenant");
	stage->token.tenant = "T";
	expect_failure(ask(stage, NULL), 305, "client");
	stage->token.client = "C";
	assert_int_equal(ask(stage, &source).failure, 0);
	assert_string_equal(source, "client secret");
	assert_non_null(strstr(stage->server->requests[0], "&client_secret=s3cr3t~%2B%26"));
	file_write("\n");
	expect_failure(ask(stage, NULL), 314, "empty");
	unlink(path);
	expect_failure(ask(stage, NULL), 314, path);
	stage_close(stage);
	free(reply);
}

static void a_certificate_signs_an_assertion(void **state)
{
	(void)state;
	char *reply = json_reply(200, "", GRANTED);
	struct scene scene = {.reply = reply};
	struct stage *stage = stage_open(&scene, 1, true, 5000);
	const char *source = NULL;

	file_make("");
	FILE *file = fopen(path, "w");
	MUST(file && PEM_write_PrivateKey(file, certificate.key, NULL, NULL, 0, NULL, NULL) == 1);
	MUST(PEM_write_X509(file, certificate.certificate) == 1);
	fclose(file);
	stage->token = (struct token_config){.identity = IDENTITY_CERTIFICATE,
	                                     .identity_argument = path,
	                                     .tenant = "T",
	                                     .client = "C",
	                                     .authority = stage->url};
	assert_int_equal(ask(stage, &source).failure, 0);
	assert_string_equal(source, "client certificate");

	const char *assertion = strstr(stage->server->requests[0], "&client_assertion=");
	assert_non_null(assertion);
	auto_jws jws = {0};
	char endpoint[128];
	assert_int_equal(jws_parse(assertion + 18, strlen(assertion + 18), &jws).failure, 0);
	assert_int_equal(jws_verify_with_key(&jws, certificate.key).failure, 0);
	assert_int_equal(jws_payload(&jws).failure, 0);
	assert_string_equal(json_string_or_null(jws.header, "alg"), "PS256");
	assert_int_equal(strlen(json_string_or_null(jws.header, "x5t#S256")), 43);
	snprintf(endpoint, sizeof(endpoint), "%s/T/oauth2/v2.0/token", stage->url);
	assert_string_equal(json_string_or_null(jws.payload, "aud"), endpoint);
	assert_string_equal(json_string_or_null(jws.payload, "iss"), "C");
	assert_string_equal(json_string_or_null(jws.payload, "sub"), "C");
	int64_t nbf = 0, exp = 0;
	assert_int_equal(json_integer(jws.payload, "nbf", false, &nbf).failure, 0);
	assert_int_equal(json_integer(jws.payload, "exp", false, &exp).failure, 0);
	assert_int_equal(exp - nbf, 600);

	file_write("no PEM");
	expect_failure(ask(stage, NULL), 314, path);
	stage_close(stage);
	unlink(path);
	free(reply);
}

static void managed_flavours_are_told_apart(void **state)
{
	(void)state;
	char *reply = json_reply(
	    200, "", "{\"access_token\":\"acc.tok\",\"expires_on\":\"32503680000\",\"token_type\":\"Bearer\"}");
	struct scene scenes[] = {{.reply = reply}, {.reply = reply}, {.reply = reply}, {.reply = reply}};
	struct stage *stage = stage_open(scenes, 4, false, 5000);
	const char *source = NULL;

	assert_int_equal(ask(stage, &source).failure, 0);
	assert_string_equal(source, "managed identity (metadata service)");
	assert_null(strstr(stage->server->requests[0], "client_id"));
	setenv("AZURE_CLIENT_ID", "user-1", 1);
	assert_int_equal(ask(stage, NULL).failure, 0);
	assert_non_null(strstr(stage->server->requests[1], "&client_id=user-1 HTTP"));
	stage->token.identity = IDENTITY_MANAGED; /* what the configuration says is all there is */
	assert_int_equal(ask(stage, NULL).failure, 0);
	assert_null(strstr(stage->server->requests[2], "client_id"));
	setenv("IMDS_ENDPOINT", "http://127.0.0.1:1", 1);
	setenv("IDENTITY_ENDPOINT", stage->url, 1);
	expect_failure(ask(stage, NULL), 305, "Azure Arc");
	setenv("MSI_ENDPOINT", stage->url, 1);
	expect_failure(ask(stage, NULL), 305, "Cloud Shell");
	setenv("MSI_SECRET", "s3cr3t", 1);
	expect_failure(ask(stage, NULL), 305, "Machine Learning");
	setenv("IDENTITY_HEADER", "s3cr3t", 1);
	assert_int_equal(ask(stage, &source).failure, 0);
	assert_string_equal(source, "managed identity (App Service endpoint)");
	setenv("IDENTITY_SERVER_THUMBPRINT", "x", 1);
	expect_failure(ask(stage, NULL), 305, "Service Fabric");
	assert_int_equal(stage->server->request_count, 4);
	stage_close(stage);
	free(reply);
}

static void answers_of_entra_are_checked(void **state)
{
	(void)state;
	static const char *const bad[] = {"{}",
	                                  "{\"token_type\":\"Bearer\",\"expires_in\":3599}",
	                                  "{\"token_type\":\"Bearer\",\"expires_in\":0,\"access_token\":\"a\"}",
	                                  "{\"token_type\":\"Bearer\",\"access_token\":\"a\"}",
	                                  "{\"token_type\":\"pop\",\"expires_in\":1,\"access_token\":\"a\"}",
	                                  "{\"token_type\":\"Bearer\",\"expires_in\":1,\"access_token\":\"a b\"}",
	                                  "[]"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		auto_json *answer = NULL;
		auto_buf token = BUF(64);
		assert_int_equal(json_parse(bad[i], strlen(bad[i]), &answer).failure, 0);
		assert_int_equal(entra_token_parse(answer, &token).failure, 304);
		assert_int_equal(token.len, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(a_federated_token_is_exchanged, clean),
	    cmocka_unit_test_setup(bad_token_files_are_named, clean),
	    cmocka_unit_test_setup(entra_errors_have_their_numbers, clean),
	    cmocka_unit_test_setup(a_renewed_file_is_tried_once_more, clean),
	    cmocka_unit_test_setup(the_authority_of_the_environment_must_be_allowed, clean),
	    cmocka_unit_test_setup(a_secret_comes_from_its_file, clean),
	    cmocka_unit_test_setup(a_certificate_signs_an_assertion, clean),
	    cmocka_unit_test_setup(managed_flavours_are_told_apart, clean),
	    cmocka_unit_test_setup(answers_of_entra_are_checked, clean),
	};
	return cmocka_run_group_tests(tests, surroundings_set_up, surroundings_tear_down);
}
