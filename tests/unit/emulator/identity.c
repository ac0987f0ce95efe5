/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "emulator/faults.h"
#include "jose/jws.h"
#include "unit/emulator/client.h"

#include <openssl/pem.h>

#define LOGIN "login.localhost:4711"
#define IMDS  "127.0.0.1:4712"

/* A request to the metadata service; headers end with a NULL. */
static struct call *imds(const char *target, const char *const headers[][2])
{
	struct call *call = calloc(1, sizeof(*call));

	assert_non_null(call);
	call->exchange.service = SERVICE_METADATA;
	assert_ok(exchange_open(&call->exchange, "GET", IMDS, target));
	for (int i = 0; headers && headers[i][0]; i++)
		assert_ok(exchange_add_header(&call->exchange, headers[i][0], headers[i][1]));
	assert_ok(dispatch_head(&emulator, call));
	dispatch_body(&emulator, call);
	return call;
}

static const char *const metadata_true[][2] = {{"metadata", "true"}, {NULL, NULL}};

static void imds_gives_tokens_with_text_numbers(void **state)
{
	(void)state;
	char target[512];
	const char *const resources[] = {"https%3A%2F%2Fvault.localhost", "https://vault.localhost/"};

	for (int i = 0; i < 2; i++) {
		snprintf(target, sizeof(target),
		         "/metadata/identity/oauth2/token%s?api%%2Dversion=2018-02-01&resource=%s&client_id=%s",
		         i ? "/" : "", resources[i], emulator.client);
		auto_call *call = imds(target, metadata_true);
		assert_status(call, 200);
		auto_json *body = answer_of(call);
		assert_string_equal(json_string_or_null(body, "expires_in"), "86400");
		assert_non_null(json_string_or_null(body, "expires_on"));
		const char *token = json_string_or_null(body, "access_token");
		auto_call *used = ask("GET", VAULT, "/keys?api-version=7.4", token, NULL);
		assert_status(used, 200);
		assert_string_equal(used->exchange.audience, "https://vault.localhost");
	}
}

static void imds_wants_its_header_and_no_proxy(void **state)
{
	(void)state;
	static const char *const forwarded[][2] = {{"Metadata", "true"}, {"X-Forwarded-For", "10.0.0.1"}, {NULL, NULL}};
	static const char target[] =
	    "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.localhost";
	auto_call *probe = imds("/metadata/identity/oauth2/token", NULL), *proxied = imds(target, forwarded);
	auto_call *thim = imds("/metadata/THIM/amd/certification", NULL);
	auto_call *unknown = imds(
	    "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.localhost&client_id=none",
	    metadata_true);
	assert_status(probe, 400);
	assert_status(proxied, 400);
	assert_status(thim, 400);
	assert_status(unknown, 400);
	assert_non_null(strstr(buf_text(&unknown->exchange.reply), "Identity not found"));
	auto_call *certification = imds("/metadata/THIM/amd/certification", metadata_true);
	assert_status(certification, 200);
}

static void app_service_wants_its_own_header(void **state)
{
	(void)state;
	const char *const headers[][2] = {{"x-identity-header", emulator.secret}, {NULL, NULL}};
	static const char target[] = "/msi/token?api-version=2019-08-01&resource=https://vault.localhost";
	auto_call *with = imds(target, headers), *without = imds(target, NULL);
	assert_status(with, 200);
	assert_null(strstr(buf_text(&with->exchange.reply), "expires_in"));
	assert_status(without, 401);
}

/* ---- the token endpoint ---- */

static struct call *token_request(const char *tenant, const char *client, const char *scope, const char *proof)
{
	auto_buf body = BUF(64 * 1024), target = BUF(512);
	struct call *call = calloc(1, sizeof(*call));

	assert_non_null(call);
	call->exchange.tls = true;
	assert_ok(buf_printf(&target, "/%s/oauth2/v2.0/token?client-request-id=x", tenant));
	assert_ok(buf_printf(&body, "grant_type=client_credentials&client_id=%s&scope=%s&%s", client, scope, proof));
	assert_ok(exchange_open(&call->exchange, "POST", LOGIN, buf_text(&target)));
	assert_ok(buf_append(&call->exchange.body, body.data, body.len));
	assert_ok(dispatch_head(&emulator, call));
	dispatch_body(&emulator, call);
	return call;
}

#define SCOPE "https%3A%2F%2Fvault.localhost%2F.default"

static void assert_aadsts(struct call *call, int status, const char *number)
{
	assert_status(call, status);
	if (!strstr(buf_text(&call->exchange.reply), number))
		fail_msg("%s has no %s", buf_text(&call->exchange.reply), number);
}

static void client_secrets_are_checked(void **state)
{
	(void)state;
	char proof[128];
	snprintf(proof, sizeof(proof), "client_secret=%s", emulator.secret);
	auto_call *good = token_request(emulator.tenant, emulator.client, SCOPE, proof);
	assert_status(good, 200);
	auto_json *body = answer_of(good);
	int64_t lifetime;
	assert_ok(json_integer(body, "expires_in", false, &lifetime));
	auto_call *used = ask("GET", VAULT, "/keys?api-version=7.4", json_string_or_null(body, "access_token"), NULL);
	assert_status(used, 200);

	auto_call *wrong = token_request(emulator.tenant, emulator.client, SCOPE, "client_secret=wrong");
	assert_aadsts(wrong, 401, "AADSTS7000215");
	auto_call *unknown = token_request(emulator.tenant, "0", SCOPE, proof);
	assert_aadsts(unknown, 401, "AADSTS700016");
	auto_call *tenant = token_request("0", emulator.client, SCOPE, proof);
	assert_aadsts(tenant, 400, "AADSTS90002");
	auto_call *scope = token_request(emulator.tenant, emulator.client, "vault", proof);
	assert_aadsts(scope, 400, "AADSTS70011");
	auto_call *nothing = token_request(emulator.tenant, emulator.client, SCOPE, "x=y");
	assert_aadsts(nothing, 401, "AADSTS7000216");
}

#define ASSERTION \
	"client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion="

static struct call *with_assertion(const struct buf *assertion)
{
	auto_buf proof = BUF(32 * 1024);

	assert_ok(buf_printf(&proof, "%s%s", ASSERTION, buf_text(assertion)));
	return token_request(emulator.tenant, emulator.client, SCOPE, buf_text(&proof));
}

/* Signed by the cluster, but not for Entra. */
static void token_for_another_audience(struct buf *out)
{
	auto_pkey *key = NULL;
	auto_json *header = json_object(), *claims = json_object();
	auto_buf text = BUF(4096);

	assert_ok(emulator_key(&emulator, "cluster-key.pem", 0, "P-256", &key));
	json_set_string(header, "alg", "ES256");
	json_set_string(claims, "aud", "https://kubernetes.default.svc");
	json_set_number(claims, "exp", emulator_now(&emulator) + 3600);
	assert_ok(json_print(claims, &text));
	assert_ok(jws_sign(header, text.data, text.len, key, out));
}

static void federated_tokens_are_checked(void **state)
{
	(void)state;
	auto_buf token = BUF(16 * 1024), old = BUF(16 * 1024), stranger = BUF(16 * 1024);
	auto_json *header = json_object();

	assert_ok(emulator_read(&emulator, "federated-token", &token));
	auto_call *good = with_assertion(&token);
	assert_status(good, 200);

	assert_ok(entra_federated_token(&emulator, -3600, &old));
	auto_call *expired = with_assertion(&old);
	assert_aadsts(expired, 401, "AADSTS700024");

	auto_buf elsewhere = BUF(16 * 1024);
	token_for_another_audience(&elsewhere);
	auto_call *audience = with_assertion(&elsewhere);
	assert_aadsts(audience, 401, "AADSTS700212");

	json_set_string(header, "alg", "RS256");
	assert_ok(jws_sign(header, "{}", 2, transport_key, &stranger));
	auto_call *unknown = with_assertion(&stranger);
	assert_aadsts(unknown, 401, "AADSTS70021");
}

/* An assertion as a client with a certificate makes it; `issuer` NULL: the client itself. */
static void own_assertion(const char *issuer, const char *audience, int64_t lifetime, struct buf *out)
{
	auto_buf pem = BUF(16 * 1024), text = BUF(4096);
	auto_json *header = json_object(), *claims = json_object();
	int64_t now = emulator_now(&emulator);

	assert_ok(emulator_read(&emulator, "client.pem", &pem));
	auto_bio *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	auto_pkey *key = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, ossl, NULL);
	json_set_string(header, "alg", "PS256");
	json_set_string(header, "x5t#S256", "as the certificate says");
	json_set_string(claims, "aud", audience);
	json_set_string(claims, "iss", issuer ? issuer : emulator.client);
	json_set_string(claims, "sub", emulator.client);
	json_set_number(claims, "nbf", now);
	json_set_number(claims, "exp", now + lifetime);
	assert_ok(json_print(claims, &text));
	/* As MSAL for Python has it: {…,"iat":1795329266.525378,"x":"1.5"} */
	text.len--;
	assert_ok(buf_printf(&text, ",\"iat\":%lld.525378,\"x\":\"1.5\"}", (long long)now));
	assert_ok(jws_sign(header, text.data, text.len, key, out));
}

static void certificate_assertions_are_checked(void **state)
{
	(void)state;
	static const struct {
		const char *issuer, *audience;
		int64_t lifetime;
		const char *number; /* NULL: accepted */
	} cases[] = {
	    {NULL, "https://" LOGIN "/t/oauth2/v2.0/token", 600, NULL},
	    {NULL, "https://" LOGIN "/t/oauth2/v2.0/token", -600, "AADSTS700024"},
	    {"other", "https://" LOGIN "/t/oauth2/v2.0/token", 600, "AADSTS700027"},
	    {NULL, "https://elsewhere.example/", 600, "AADSTS700027"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		auto_buf assertion = BUF(16 * 1024);
		own_assertion(cases[i].issuer, cases[i].audience, cases[i].lifetime, &assertion);
		auto_call *call = with_assertion(&assertion);
		if (cases[i].number)
			assert_aadsts(call, 401, cases[i].number);
		else
			assert_status(call, 200);
	}
}

static void metadata_repeats_the_host_as_it_was_addressed(void **state)
{
	(void)state;
	auto_call *v2 = ask("GET", LOGIN, "/common/v2.0/.well-known/openid-configuration", NULL, NULL);
	auto_json *body = answer_of(v2);
	assert_string_equal(json_string_or_null(body, "issuer"), "https://" LOGIN "/common/v2.0");
	assert_string_equal(json_string_or_null(body, "token_endpoint"), "https://" LOGIN "/common/oauth2/v2.0/token");
	auto_call *keys = ask("GET", LOGIN, "/common/discovery/v2.0/keys", NULL, NULL);
	assert_status(keys, 200);
	auto_call *discovery =
	    ask("GET", "login.microsoftonline.com",
	        "/common/discovery/"
	        "instance?api-version=1.1&authorization_endpoint=https%3A%2F%2Flogin.localhost%3A4711%2Ft%2Foauth2",
	        NULL, NULL);
	auto_json *found = answer_of(discovery);
	const json *first = json_first(json_get(found, "metadata"));
	assert_string_equal(json_string_or_null(first, "preferred_network"), LOGIN);
}

static void faults_answer_in_the_shape_of_their_service(void **state)
{
	(void)state;
	assert_ok(faults_add(
	    &emulator, "entra.token status(401,70021)\nimds.token status(410)\nimds.* mutate(jwt.payload.aud,x)"));
	auto_call *entra = token_request(emulator.tenant, emulator.client, SCOPE, "x=y");
	assert_aadsts(entra, 401, "\"error_codes\":[70021]");
	auto_call *gone = imds(
	    "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.localhost", metadata_true);
	assert_status(gone, 410);
	assert_non_null(strstr(buf_text(&gone->exchange.reply), "error_description"));
	faults_clear(&emulator);
	assert_ok(faults_add(&emulator, "imds.token mutate(jwt.payload.aud,https://other.localhost)"));
	auto_call *other = imds(
	    "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.localhost", metadata_true);
	auto_json *body = answer_of(other);
	auto_call *used = ask("GET", VAULT, "/keys?api-version=7.4", json_string_or_null(body, "access_token"), NULL);
	assert_error(used, 401, "Unauthorized", "AKV10022");
	faults_clear(&emulator);
}

static void the_log_has_no_tokens(void **state)
{
	(void)state;
	auto_call *used = ask("GET", VAULT, "/keys?api-version=7.4", vault_token, NULL);
	auto_buf log = BUF(4 * 1024 * 1024), file = BUF(4 * 1024 * 1024);
	auto_json *lines = NULL;

	assert_status(used, 200);
	assert_ok(requestlog_read(&emulator, &log));
	assert_ok(json_parse_large(log.data, log.len, 100000, &lines));
	assert_ok(emulator_read(&emulator, "requests.jsonl", &file));
	assert_null(strstr(buf_text(&log), "eyJ"));
	assert_null(strstr(buf_text(&file), "eyJ"));
	assert_null(strstr(buf_text(&file), emulator.secret));
	assert_non_null(strstr(buf_text(&file), "\"audience\":\"https://vault.localhost\""));
	assert_ok(requestlog_clear(&emulator));
	buf_clear(&log);
	assert_ok(requestlog_read(&emulator, &log));
	assert_string_equal(buf_text(&log), "[]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(imds_gives_tokens_with_text_numbers),
	    cmocka_unit_test(imds_wants_its_header_and_no_proxy),
	    cmocka_unit_test(app_service_wants_its_own_header),
	    cmocka_unit_test(client_secrets_are_checked),
	    cmocka_unit_test(federated_tokens_are_checked),
	    cmocka_unit_test(certificate_assertions_are_checked),
	    cmocka_unit_test(metadata_repeats_the_host_as_it_was_addressed),
	    cmocka_unit_test(faults_answer_in_the_shape_of_their_service),
	    cmocka_unit_test(the_log_has_no_tokens),
	};
	return cmocka_run_group_tests(tests, open_emulator, close_emulator);
}
