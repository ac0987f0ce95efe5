/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TEST_EMULATOR_CLIENT_H
#define SKR_TEST_EMULATOR_CLIENT_H

/* Requests to an emulator without ports: through routes, faults and handlers, not through sockets. */

#include "emulator/dispatch.h"
#include "emulator/entra.h"
#include "emulator/hardware.h"
#include "emulator/requestlog.h"
#include "emulator/vault.h"
#include "jose/jwk.h"
#include "unit/emulator/surroundings.h"

#define VAULT    "contoso.vault.localhost:4711"
#define HSM      "contoso.managedhsm.localhost:4711"
#define ISSUER   "https://sharedemu.attest.localhost:4711"
#define MAA_HOST "sharedemu.attest.localhost:4711"

static EVP_PKEY *transport_key;
static char vault_token[8192], hsm_token[8192];

/* One request; the answer is in the exchange of the call, which the caller frees. `token` NULL: none. */
static inline struct call *ask(const char *method, const char *host, const char *target, const char *token,
                               const char *body)
{
	struct call *call = calloc(1, sizeof(*call));
	char header[9000];

	assert_non_null(call);
	call->exchange.tls = true;
	assert_ok(exchange_open(&call->exchange, method, host, target));
	if (token) {
		snprintf(header, sizeof(header), "Bearer %s", token);
		assert_ok(exchange_add_header(&call->exchange, "Authorization", header));
	}
	if (body)
		assert_ok(exchange_add_header(&call->exchange, "Content-Type", "application/json"));
	if (body)
		assert_ok(buf_append_text(&call->exchange.body, body));
	assert_ok(dispatch_head(&emulator, call));
	dispatch_body(&emulator, call);
	return call;
}

static inline json *answer_of(const struct call *call)
{
	json *body = NULL;
	assert_ok(json_parse_large(call->exchange.reply.data, call->exchange.reply.len, 4096, &body));
	return body;
}

#define assert_status(call, wanted)                                                                      \
	do {                                                                                             \
		if ((call)->exchange.status != (wanted))                                                 \
			fail_msg("%s %s: %d %s, not %d", (call)->exchange.method, (call)->exchange.path, \
			         (call)->exchange.status, buf_text(&(call)->exchange.reply), (wanted));  \
	} while (0)

/* The answer is this error, with these words in its message. */
static inline void assert_error(const struct call *call, int status, const char *code, const char *words)
{
	auto_json *body = NULL;

	assert_status(call, status);
	body = answer_of(call);
	const json *error = json_get(body, "error");
	assert_string_equal(json_string_or_null(error, "code"), code);
	if (!strstr(json_string_or_null(error, "message"), words))
		fail_msg("\"%s\" has no \"%s\"", json_string_or_null(error, "message"), words);
}

static inline void issue_token(const char *audience, const char *who, char *out, size_t size)
{
	struct exchange x = {0};
	auto_buf token = BUF(size - 1);

	assert_ok(entra_issue(&emulator, &x, entra_find(&emulator, who), audience, 3600, &token));
	memcpy(out, buf_text(&token), token.len + 1);
}

static inline int open_emulator(void **state)
{
	(void)state;
	if (make_directory())
		return -1;
	pthread_mutex_init(&emulator.lock, NULL);
	assert_ok(requestlog_open(&emulator));
	assert_ok(faults_open(&emulator));
	assert_ok(authority_open(&emulator));
	assert_ok(hardware_open(&emulator));
	assert_ok(maa_open(&emulator));
	assert_ok(entra_open(&emulator));
	assert_ok(vaults_open(&emulator));
	issue_token("https://vault.localhost", "user", vault_token, sizeof(vault_token));
	issue_token("https://managedhsm.localhost", "user", hsm_token, sizeof(hsm_token));
	transport_key = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048);
	return transport_key ? 0 : -1;
}

static inline int close_emulator(void **state)
{
	(void)state;
	EVP_PKEY_free(transport_key);
	vaults_close(&emulator);
	entra_close(&emulator);
	maa_close(&emulator);
	hardware_close(&emulator);
	authority_close(&emulator);
	faults_close(&emulator);
	requestlog_close(&emulator);
	remove_files(test_directory);
	return 0;
}

/* {"keys":[…]} with the transport key, as a client commits itself to it. */
static inline void runtime_data(const char *kid, struct buf *out)
{
	json *jwk = NULL, *keys = json_array(), *ops = json_array();
	auto_json *runtime = json_object();

	assert_ok(jwk_from_key(transport_key, &jwk));
	json_push(ops, json_of_string("encrypt"));
	json_set(jwk, "key_ops", ops);
	if (kid)
		json_set_string(jwk, "kid", kid);
	json_push(keys, jwk);
	json_set(runtime, "keys", keys);
	assert_ok(json_print(runtime, out));
}

static inline void set_base64url(json *object, const char *name, const void *data, size_t len)
{
	auto_buf text = BUF(256 * 1024);

	assert_ok(base64url_encode(data, len, &text));
	json_set_string(object, name, buf_text(&text));
}

static inline void evidence(const struct buf *runtime, struct buf *out)
{
	uint8_t report[REPORT_SIZE], report_data[64] = {0};
	auto_json *inner = json_object(), *body = json_object(), *thim = NULL;
	json *data = json_object();
	auto_buf chain = BUF(64 * 1024), text = BUF(128 * 1024);

	assert_ok(sha256(runtime->data, runtime->len, report_data));
	assert_ok(hardware_report(&emulator, report_data, 0, report));
	assert_ok(hardware_thim(&emulator, &thim));
	assert_ok(buf_printf(&chain, "%s%s", json_string_or_null(thim, "vcekCert"),
	                     json_string_or_null(thim, "certificateChain")));
	set_base64url(inner, "SnpReport", report, sizeof(report));
	set_base64url(inner, "VcekCertChain", chain.data, chain.len);
	assert_ok(json_print(inner, &text));
	set_base64url(body, "report", text.data, text.len);
	set_base64url(data, "data", runtime->data, runtime->len);
	json_set_string(data, "dataType", "JSON");
	json_set(body, "runtimeData", data);
	assert_ok(json_print(body, out));
}

/* An attestation token for the transport key under `kid` (NULL: without one); owned by the caller. */
static inline char *attest(const char *kid)
{
	auto_buf runtime = BUF(16 * 1024), body = BUF(256 * 1024);

	runtime_data(kid, &runtime);
	evidence(&runtime, &body);
	auto_call *call = ask("POST", MAA_HOST, "/attest/SevSnpVm?api-version=2022-08-01", NULL, buf_text(&body));
	assert_status(call, 200);
	auto_json *answer = answer_of(call);
	char *token = strdup(json_string_or_null(answer, "token"));
	assert_non_null(token);
	return token;
}

#endif
