/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/sidecar.h"

#include "base/base64.h"
#include "emulator/dispatch.h"
#include "emulator/hardware.h"
#include "emulator/sidecar_release.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ATTEST_TARGET "/attest/SevSnpVM?api-version=2020-10-01"
#define THIM_TARGET   "/metadata/THIM/amd/certification"

/* ---- words ---- */

skr_status sidecar_fail(struct errand *errand, const char *format, ...)
{
	char text[4096];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	buf_clear(&errand->why);
	TRY(buf_append_text(&errand->why, text));
	return FAIL(161, "%s", text);
}

skr_status sidecar_wrap(struct errand *errand, skr_status status, const char *format, ...)
{
	auto_buf text = BUF(errand->why.limit);
	char prefix[512];
	va_list args;

	if (!status.failure)
		return OK;
	va_start(args, format);
	vsnprintf(prefix, sizeof(prefix), format, args);
	va_end(args);
	TRY(buf_printf(&text, "%s: %s", prefix, errand->why.len ? buf_text(&errand->why) : status_message()));
	buf_move(&errand->why, &text);
	return status;
}

static skr_status reply_words(struct exchange *x, int status, const char *words)
{
	json *body = json_object();

	json_set_string(body, "error", words);
	return reply_json(x, status, body);
}

/* What went wrong, and where to read about it. */
static skr_status refuse(struct exchange *x, int status, const struct errand *errand)
{
	static const char where[] =
	    "https://github.com/microsoft/confidential-sidecar-containers/blob/main/examples/skr/";
	auto_buf text = BUF(EXCHANGE_BODY_LIMIT);

	TRY(buf_printf(&text, "%s\nACI: %saci/README.md\nKATA: %saks/README.md\nTroubleshooting: %sTROUBLESHOOTING.md",
	               errand->why.len ? buf_text(&errand->why) : status_message(), where, where, where));
	return reply_words(x, status, buf_text(&text));
}

/* ---- requests to others ---- */

static const char *reason_phrase(int status)
{
	static const struct {
		int status;
		const char *phrase;
	} rows[] = {
	    {400, "Bad Request"},
	    {401, "Unauthorized"},
	    {403, "Forbidden"},
	    {404, "Not Found"},
	    {409, "Conflict"},
	    {429, "Too Many Requests"},
	    {500, "Internal Server Error"},
	    {503, "Service Unavailable"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].status == status)
			return rows[i].phrase;
	return "";
}

/* A name that leads to another service is as good as none. */
static skr_status check_name(struct errand *errand, const struct inner_request *request, enum service wanted)
{
	auto_text *host = strndup(request->authority, strcspn(request->authority, ":"));

	if (!host)
		return FAIL(14, "a name");
	for (char *c = host; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	if (strpbrk(request->authority, "/?#@ "))
		return sidecar_fail(errand, "HTTP GET failed: parse \"https://%s%s\": invalid host", request->authority,
		                    request->target);
	if (wanted == SERVICE_METADATA || service_of_host(host) == wanted)
		return OK;
	return sidecar_fail(errand, "HTTP GET failed: Post \"https://%s%s\": dial tcp: lookup %s: no such host",
	                    request->authority, request->target, host);
}

skr_status sidecar_ask(struct errand *errand, const struct inner_request *request, enum service wanted, json **ret)
{
	auto_call *call = NULL;

	TRY(check_name(errand, request, wanted));
	TRY(dispatch_inner(errand->e, request, &call));
	const struct exchange *x = &call->exchange;
	if (x->status < 200 || x->status > 207)
		return sidecar_fail(errand, "%s: http response status equal to %d %s", buf_text(&x->reply), x->status,
		                    reason_phrase(x->status));
	skr_status status = json_parse(x->reply.data, x->reply.len, ret);
	return status.failure ? sidecar_fail(errand, "unmarshalling http response failed: %s", status_message()) : OK;
}

/* ---- the evidence ---- */

static skr_status mounted(struct errand *errand, const char *name, struct buf *out)
{
	auto_buf text = BUF(EXCHANGE_BODY_LIMIT);

	TRY(emulator_read(errand->e, name, &text));
	return base64_decode_any(buf_text(&text), text.len, out);
}

static skr_status mounted_certificates(struct errand *errand, json **ret)
{
	auto_buf text = BUF(EXCHANGE_BODY_LIMIT);

	TRY(mounted(errand, "security-context/host-amd-cert-base64", &text));
	return json_parse(text.data, text.len, ret);
}

static bool are_for_report(const json *certificates, const uint8_t *report)
{
	const char *tcbm = json_string_or_null(certificates, "tcbm");
	char *end;

	return tcbm && *tcbm && strtoull(tcbm, &end, 16) == report_u64(report, REPORT_REPORTED_TCB) && !*end;
}

/* Those that are mounted, or, if the host's firmware was updated since, the host's own. */
static skr_status certificates_for(struct errand *errand, const uint8_t *report, json **ret)
{
	static const struct inner_request thim = {
	    .service = SERVICE_METADATA, .method = "GET", .authority = "169.254.169.254", .target = THIM_TARGET};
	auto_json *certificates = NULL, *fresh = NULL;

	TRY(mounted_certificates(errand, &certificates));
	if (!are_for_report(certificates, report)) {
		TRY(sidecar_wrap(errand, sidecar_ask(errand, &thim, SERVICE_METADATA, &fresh),
		                 "refreshing CertState failed"));
		if (!are_for_report(fresh, report))
			return sidecar_fail(
			    errand, "SNP reported TCB value: %llu doesn't match Certificate TCB value: %s",
			    (unsigned long long)report_u64(report, REPORT_REPORTED_TCB),
			    json_string_or_null(fresh, "tcbm") ? json_string_or_null(fresh, "tcbm") : "");
		*ret = TAKE(fresh);
		return OK;
	}
	*ret = TAKE(certificates);
	return OK;
}

static skr_status report_for(struct errand *errand, const struct buf *runtime, uint8_t report[REPORT_SIZE])
{
	uint8_t report_data[64] = {0};

	TRY(sha256(runtime->data, runtime->len, report_data));
	return hardware_report(errand->e, report_data, 0, report);
}

static skr_status chain_of(const json *certificates, struct buf *out)
{
	const char *leaf, *chain;

	TRY(json_string(certificates, "vcekCert", &leaf));
	TRY(json_string(certificates, "certificateChain", &chain));
	TRY(buf_append_text(out, leaf));
	return buf_append_text(out, chain);
}

static skr_status set_encoded(json *object, const char *name, const struct buf *bytes)
{
	auto_buf text = BUF(2 * EXCHANGE_BODY_LIMIT);

	TRY(base64url_encode(bytes->data, bytes->len, &text));
	json_set_string(object, name, buf_text(&text));
	return OK;
}

static skr_status set_printed(json *object, const char *name, const json *value)
{
	auto_buf text = BUF(EXCHANGE_BODY_LIMIT);

	TRY(json_print(value, &text));
	return set_encoded(object, name, &text);
}

static skr_status set_data(json *body, const char *name, const struct buf *bytes, const char *type)
{
	json *data = json_object();

	json_set(body, name, data);
	json_set_string(data, "dataType", type);
	return set_encoded(data, "data", bytes);
}

static skr_status endorsements(struct errand *errand, json *evidence)
{
	auto_buf statement = BUF(EXCHANGE_BODY_LIMIT), text = BUF(2 * EXCHANGE_BODY_LIMIT);
	auto_json *outer = json_object();
	json *list = json_array();

	json_set(outer, "Uvm", list);
	TRY(mounted(errand, "security-context/reference-info-base64", &statement));
	TRY(base64url_encode(statement.data, statement.len, &text));
	json_push(list, json_of_string(buf_text(&text)));
	return set_printed(evidence, "Endorsements", outer);
}

static skr_status evidence_for(struct errand *errand, const struct buf *runtime, json *body)
{
	uint8_t report[REPORT_SIZE];
	auto_json *certificates = NULL, *evidence = json_object();
	auto_buf chain = BUF(EXCHANGE_BODY_LIMIT);

	TRY(report_for(errand, runtime, report));
	TRY(certificates_for(errand, report, &certificates));
	TRY(chain_of(certificates, &chain));
	TRY(set_encoded(evidence, "SnpReport", &(struct buf){.data = report, .len = sizeof(report)}));
	TRY(set_encoded(evidence, "VcekCertChain", &chain));
	TRY(endorsements(errand, evidence));
	return set_printed(body, "report", evidence);
}

static skr_status attestation_request(struct errand *errand, const struct buf *runtime, struct buf *out)
{
	auto_json *body = json_object();
	auto_buf policy = BUF(EXCHANGE_BODY_LIMIT);
	uint8_t nonce[4];

	TRY(mounted(errand, "security-context/security-policy-base64", &policy));
	TRY(random_bytes(nonce, sizeof(nonce)));
	TRY(evidence_for(errand, runtime, body));
	TRY(set_data(body, "runtimeData", runtime, "JSON"));
	TRY(set_data(body, "initTimeData", &policy, "Binary"));
	json_set_number(body, "nonce", (int64_t)(nonce[0] << 16 | nonce[1] << 8 | nonce[2]));
	return json_print(body, out);
}

skr_status sidecar_attest(struct errand *errand, const char *endpoint, const struct buf *runtime, struct buf *ret_token)
{
	auto_buf body = BUF(EXCHANGE_BODY_LIMIT);
	auto_json *answer = NULL;
	const char *token;

	TRY(attestation_request(errand, runtime, &body));
	const struct inner_request request = {
	    .method = "POST", .authority = endpoint, .target = ATTEST_TARGET, .body = buf_text(&body)};
	TRY(sidecar_wrap(errand, sidecar_ask(errand, &request, SERVICE_ATTESTATION, &answer),
	                 "Retrieving MAA token from MAA endpoint failed: pulling maa post response failed"));
	TRY(json_string(answer, "token", &token));
	return buf_append_text(ret_token, token);
}

/* ---- routes ---- */

/* A member that gin demands: there, text, not empty. */
static const char *demand(const json *body, const char *name)
{
	const char *text = json_string_or_null(body, name);

	return text && *text ? text : NULL;
}

/* False: the 400 is set, and `*ret` is what the handler returns. */
static bool take_runtime(struct exchange *x, const json **ret_body, struct buf *ret_runtime, skr_status *ret)
{
	char words[256];

	*ret = OK;
	if (x->body.len == 0)
		snprintf(words, sizeof(words), "invalid request format: EOF");
	else if (exchange_json(x, ret_body).failure)
		snprintf(words, sizeof(words), "invalid request format: %.200s", status_message());
	else if (!demand(*ret_body, "runtime_data"))
		snprintf(words, sizeof(words),
		         "invalid request format: Key: 'RuntimeData' Error:Field validation for 'RuntimeData' failed "
		         "on the 'required' tag");
	else if (base64_decode(demand(*ret_body, "runtime_data"), strlen(demand(*ret_body, "runtime_data")),
	                       ret_runtime)
	             .failure)
		snprintf(words, sizeof(words), "decoding base64-encoded runtime data of request failed: %.150s",
		         status_message());
	else
		return true;
	*ret = reply_words(x, 400, words);
	return false;
}

static skr_status get_status(struct emulator *e, struct exchange *x)
{
	json *body = json_object();

	(void)e;
	json_set_string(body, "message", "Status OK");
	return reply_json(x, 200, body);
}

static skr_status attest_raw(struct emulator *e, struct exchange *x)
{
	auto_errand errand = {.e = e, .why = BUF(EXCHANGE_BODY_LIMIT)};
	auto_buf runtime = BUF(EXCHANGE_BODY_LIMIT), text = BUF(2 * REPORT_SIZE);
	uint8_t report[REPORT_SIZE];
	const json *request;
	skr_status status;

	if (!take_runtime(x, &request, &runtime, &status))
		return status;
	if (report_for(&errand, &runtime, report).failure)
		return refuse(x, 403, &errand);
	TRY(hex_encode(report, sizeof(report), &text));
	json *body = json_object();
	json_set_string(body, "report", buf_text(&text));
	return reply_json(x, 200, body);
}

static skr_status set_base64(json *body, const char *name, const void *data, size_t len)
{
	auto_buf text = BUF(EXCHANGE_BODY_LIMIT);

	TRY(base64_encode(data, len, &text));
	json_set_string(body, name, buf_text(&text));
	return OK;
}

static skr_status combine(struct errand *errand, const struct buf *runtime, json *body)
{
	auto_buf chain = BUF(EXCHANGE_BODY_LIMIT), statement = BUF(EXCHANGE_BODY_LIMIT);
	auto_json *certificates = NULL;
	uint8_t report[REPORT_SIZE];
	const char *tcbm;

	TRY(report_for(errand, runtime, report));
	TRY(mounted_certificates(errand, &certificates));
	TRY(json_string(certificates, "tcbm", &tcbm));
	TRY(chain_of(certificates, &chain));
	TRY(mounted(errand, "security-context/reference-info-base64", &statement));
	json_set_string(body, "endorsed_tcb", tcbm);
	TRY(set_base64(body, "endorsements", chain.data, chain.len));
	TRY(set_base64(body, "evidence", report, sizeof(report)));
	return set_base64(body, "uvm_endorsements", statement.data, statement.len);
}

static skr_status attest_combined(struct emulator *e, struct exchange *x)
{
	auto_errand errand = {.e = e, .why = BUF(EXCHANGE_BODY_LIMIT)};
	auto_buf runtime = BUF(EXCHANGE_BODY_LIMIT);
	auto_json *body = json_object();
	const json *request;
	skr_status status;

	if (!take_runtime(x, &request, &runtime, &status))
		return status;
	if (combine(&errand, &runtime, body).failure)
		return refuse(x, 500, &errand);
	return reply_json(x, 200, TAKE(body));
}

static skr_status attest_maa(struct emulator *e, struct exchange *x)
{
	auto_errand errand = {.e = e, .why = BUF(EXCHANGE_BODY_LIMIT)};
	auto_buf runtime = BUF(EXCHANGE_BODY_LIMIT), token = BUF(EXCHANGE_BODY_LIMIT);
	const json *request;
	skr_status status;

	if (!take_runtime(x, &request, &runtime, &status))
		return status;
	if (!demand(request, "maa_endpoint"))
		return reply_words(x, 400,
		                   "invalid request format: Key: 'MAAAttestData.MAAEndpoint' Error:Field validation "
		                   "for 'MAAEndpoint' failed on the 'required' tag");
	if (sidecar_attest(&errand, demand(request, "maa_endpoint"), &runtime, &token).failure)
		return refuse(x, 403, &errand);
	json *body = json_object();
	json_set_string(body, "token", buf_text(&token));
	return reply_json(x, 200, body);
}

/* Go prints an error object that has no public members. */
static skr_status reply_error_object(struct exchange *x, int status)
{
	json *body = json_object();

	json_set(body, "error", json_object());
	return reply_json(x, status, body);
}

static skr_status key_release(struct emulator *e, struct exchange *x)
{
	auto_errand errand = {.e = e, .why = BUF(EXCHANGE_BODY_LIMIT)};
	auto_buf key = BUF(EXCHANGE_BODY_LIMIT);
	const json *body;

	if (exchange_json(x, &body).failure)
		return reply_error_object(x, 400);
	const struct sidecar_wish wish = {.attestation = demand(body, "maa_endpoint"),
	                                  .vault = demand(body, "akv_endpoint"),
	                                  .kid = demand(body, "kid"),
	                                  .access_token = demand(body, "access_token")};
	if (!wish.attestation || !wish.vault || !wish.kid)
		return reply_error_object(x, 400);
	if (sidecar_release(&errand, &wish, &key).failure)
		return refuse(x, 403, &errand);
	json *answer = json_object();
	json_set_string(answer, "key", buf_text(&key));
	return reply_json(x, 200, answer);
}

const struct route sidecar_routes[] = {
    {SERVICE_SIDECAR, "GET", "/status", "sidecar.status", get_status},
    {SERVICE_SIDECAR, "POST", "/attest/raw", "sidecar.raw", attest_raw},
    {SERVICE_SIDECAR, "POST", "/attest/combined", "sidecar.combined", attest_combined},
    {SERVICE_SIDECAR, "POST", "/attest/maa", "sidecar.maa", attest_maa},
    {SERVICE_SIDECAR, "POST", "/key/release", "sidecar.release", key_release},
    {0},
};
