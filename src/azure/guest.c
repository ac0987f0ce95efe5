/* SPDX-License-Identifier: Apache-2.0 */
#include "azure/guest.h"

#include "azure/attestation.h"
#include "azure/encoded.h"
#include "base/file.h"
#include "jose/jwk.h"
#include "jose/jws.h"

#include <stdlib.h>
#include <string.h>

#define ROUTE           "AzureGuest?api-version=2020-10-01"
#define REQUEST_LIMIT   (1536 * 1024) /* boot logs have up to some hundred KiB, and are encoded twice */
#define EVIDENCE_LIMIT  (128 * 1024)  /* a hardware report with its chain, or a TD quote */
#define ENVELOPE_LIMIT  (64 * 1024)
#define SEALED_LIMIT    (64 * 1024)
#define OS_LIMIT        (64 * 1024)
#define ADDITIONAL_DATA "Transport Key"

/* Transport keys of TPMs have the exponent 65537. */
static const uint8_t exponent[] = {1, 0, 1};

void guest_evidence_done(struct guest_evidence *evidence)
{
	buf_done(&evidence->hardware);
	buf_done(&evidence->chain_pem);
	buf_done(&evidence->claims);
	buf_done(&evidence->ak_certificate);
	buf_done(&evidence->ak_public);
	buf_done(&evidence->quote);
	buf_done(&evidence->quote_signature);
	buf_done(&evidence->transport_public);
	buf_done(&evidence->certify);
	buf_done(&evidence->certify_signature);
	buf_done(&evidence->event_log);
}

void sealed_token_done(struct sealed_token *sealed)
{
	buf_done(&sealed->ciphertext);
}

/* ---- the operating system's name and version ---- */

/* The value behind NAME= of one line, without its quotes and the shell's escapes; false if it is another line. */
static bool os_value(const char *line, size_t len, const char *name, char *out, size_t size)
{
	size_t i = strlen(name), at = 0;
	char quote = '\0';

	if (len <= i || strncmp(line, name, i) != 0 || line[i] != '=')
		return false;
	if (++i < len && (line[i] == '"' || line[i] == '\''))
		quote = line[i++];
	for (; i < len && line[i] != quote && at + 1 < size; i++) {
		if (line[i] == '\\' && i + 1 < len)
			i++;
		out[at++] = line[i];
	}
	out[at] = '\0';
	return true;
}

static bool version_number(const char **text, int *ret)
{
	size_t digits = strspn(*text, "0123456789");

	if (digits == 0 || digits > 8)
		return false;
	*ret = (int)strtoul(*text, NULL, 10);
	*text += digits;
	return true;
}

/* "22.04" gives 22 and 4, "12" 12 and 0; false for what is no such number, and for 0. */
static bool version_parse(const char *text, int *ret_major, int *ret_minor)
{
	int major = 0, minor = 0;

	if (!version_number(&text, &major) || major == 0)
		return false;
	if (*text == '.' && (text++, !version_number(&text, &minor)))
		return false;
	if (*text != '\0' && *text != '.')
		return false;
	*ret_major = major;
	*ret_minor = minor;
	return true;
}

void guest_os_parse(const char *text, size_t len, struct guest_os *ret)
{
	struct guest_os os = {.name = "Linux", .major = 1};
	char version[64] = "";

	for (size_t at = 0, end; at < len; at = end + 1) {
		const char *newline = memchr(text + at, '\n', len - at);

		end = newline ? (size_t)(newline - text) : len;
		if (!os_value(text + at, end - at, "NAME", os.name, sizeof(os.name)))
			(void)os_value(text + at, end - at, "VERSION_ID", version, sizeof(version));
	}
	(void)version_parse(version, &os.major, &os.minor);
	*ret = os;
}

static skr_status os_print(json *info)
{
	auto_buf text = BUF(OS_LIMIT);
	struct guest_os os;

	if (file_read("/etc/os-release", &text).failure)
		buf_clear(&text);
	guest_os_parse(buf_text(&text), text.len, &os);
	TRY(set_encoded(info, "OSType", "Linux", strlen("Linux"), base64_encode));
	TRY(set_encoded(info, "OSDistro", os.name, strlen(os.name), base64_encode));
	json_set_number(info, "OSVersionMajor", os.major);
	json_set_number(info, "OSVersionMinor", os.minor);
	return set_encoded(info, "OSBuild", "NotApplication", strlen("NotApplication"), base64_encode); /* sic */
}

/* ---- the request ---- */

static skr_status set_bytes(json *object, const char *name, const struct buf *bytes)
{
	return set_encoded(object, name, bytes->data, bytes->len, base64_encode);
}

static skr_status pcrs_print(const struct guest_evidence *evidence, json *tpm)
{
	json *set = json_array(), *values = json_array();

	json_set(tpm, "PcrSet", set);
	json_set(tpm, "PCRs", values);
	for (int i = 0; i < GUEST_PCRS; i++) {
		json *value = json_object();

		json_push(set, json_of_number(i));
		json_push(values, value);
		json_set_number(value, "Index", i);
		TRY(set_encoded(value, "Digest", evidence->pcrs[i], sizeof(evidence->pcrs[i]), base64_encode));
	}
	return OK;
}

static skr_status tpm_print(const struct guest_evidence *evidence, json *tpm)
{
	TRY(set_bytes(tpm, "AikCert", &evidence->ak_certificate));
	TRY(set_bytes(tpm, "AikPub", &evidence->ak_public));
	TRY(set_bytes(tpm, "PcrQuote", &evidence->quote));
	TRY(set_bytes(tpm, "PcrSignature", &evidence->quote_signature));
	TRY(pcrs_print(evidence, tpm));
	TRY(set_bytes(tpm, "EncKeyPub", &evidence->transport_public));
	TRY(set_bytes(tpm, "EncKeyCertifyInfo", &evidence->certify));
	return set_bytes(tpm, "EncKeyCertifyInfoSignature", &evidence->certify_signature);
}

/* Proof of SNP: JSON with the report in the one alphabet and its chain in the other, as Microsoft's library sends it.
 */
static skr_status snp_proof_print(const struct guest_evidence *evidence, struct buf *out)
{
	auto_json *proof = json_object();

	TRY(set_encoded(proof, "SnpReport", evidence->hardware.data, evidence->hardware.len, base64url_encode));
	TRY(set_bytes(proof, "VcekCertChain", &evidence->chain_pem));
	return json_print(proof, out);
}

static skr_status isolation_print(const struct guest_evidence *evidence, json *isolation)
{
	static const char *const types[] = {
	    [ISOLATION_TRUSTED_LAUNCH] = "TrustedLaunch", [ISOLATION_SNP] = "SevSnp", [ISOLATION_TDX] = "Tdx"};
	auto_buf proof = BUF(EVIDENCE_LIMIT);

	json_set_string(isolation, "Type", types[evidence->isolation]);
	if (evidence->isolation == ISOLATION_TRUSTED_LAUNCH)
		return OK;
	if (evidence->isolation == ISOLATION_SNP)
		TRY(snp_proof_print(evidence, &proof));
	json *inner = json_object();
	json_set(isolation, "Evidence", inner);
	TRY(set_bytes(inner, "Proof", proof.len > 0 ? &proof : &evidence->hardware));
	return set_bytes(inner, "RunTimeData", &evidence->claims);
}

static skr_status info_print(const struct guest_evidence *evidence, const char *nonce, struct buf *out)
{
	auto_json *info = json_object();
	json *payload = json_object(), *tpm = json_object(), *isolation = json_object();

	json_set_string(info, "AttestationProtocolVersion", "2.0");
	json_set(info, "ClientPayload", payload);
	json_set(info, "TpmInfo", tpm);
	json_set(info, "IsolationInfo", isolation);
	TRY(os_print(info));
	TRY(set_bytes(info, "TcgLogs", &evidence->event_log));
	TRY(set_encoded(payload, "nonce", nonce, strlen(nonce), base64_encode));
	TRY(tpm_print(evidence, tpm));
	TRY(isolation_print(evidence, isolation));
	return json_print(info, out);
}

skr_status guest_request_print(const struct guest_evidence *evidence, const char *nonce, struct buf *out)
{
	auto_buf info = BUF(REQUEST_LIMIT), printed = BUF(REQUEST_LIMIT);
	auto_json *body = json_object();

	skr_status status = info_print(evidence, nonce, &info);
	if (!status.failure)
		status = set_encoded(body, "AttestationInfo", info.data, info.len, base64url_encode);
	if (!status.failure)
		status = json_print(body, &printed);
	if (status.failure)
		return status_prefix(status, "the request with a boot log of %zu bytes", evidence->event_log.len);
	return buf_append(out, printed.data, printed.len);
}

/* ---- the sealed answer ---- */

static skr_status not_sealed(const char *member, const char *what)
{
	return FAIL(323, "%s: the sealed token %s", member, what);
}

static skr_status decode_member(const json *object, const char *name, struct buf *out)
{
	const char *text = json_string_or_null(object, name);

	if (!text)
		return not_sealed(name, "has none");
	if (base64_decode(text, strlen(text), out).failure)
		return not_sealed(name, "has no base64 there, or too much");
	return OK;
}

/* A member of exactly `size` bytes. */
static skr_status decode_exactly(const json *object, const char *name, uint8_t *out, size_t size)
{
	auto_buf bytes = BUF(size);

	TRY(decode_member(object, name, &bytes));
	if (bytes.len != size)
		return FAIL(323, "%s: the sealed token has %zu bytes there, not %zu", name, bytes.len, size);
	memcpy(out, bytes.data, size);
	return OK;
}

/* How it is encrypted: one way alone. KeySizeInBits is not looked at, the key that the TPM gives has its own size. */
static skr_status params_parse(const json *params, struct sealed_token *out)
{
	static const char *const wanted[][2] = {
	    {"Cipher", "AES"}, {"BlockMode", "ChainingModeGCM"}, {"BlockPadding", "PKCS7"}};

	if (json_kind(params) != JSON_OBJECT)
		return not_sealed("EncryptionParams", "has none");
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		const char *value = json_string_or_null(params, wanted[i][0]);

		if (!value || strcmp(value, wanted[i][1]) != 0)
			return FAIL(323, "%s: the sealed token has %s there, not %s", wanted[i][0],
			            value ? value : "nothing", wanted[i][1]);
	}
	return decode_exactly(params, "Iv", out->iv, sizeof(out->iv));
}

static skr_status envelope_open(const char *text, size_t len, json **ret)
{
	auto_buf bytes = BUF(ENVELOPE_LIMIT);

	if (base64url_decode(text, len, &bytes).failure)
		return not_sealed("token", "is no base64url");
	if (json_parse(bytes.data, bytes.len, ret).failure)
		return not_sealed("token", "is no JSON");
	return OK;
}

skr_status sealed_token_parse(const char *text, size_t len, struct sealed_token *ret)
{
	auto_json *envelope = NULL;
	auto_sealed_token sealed = {.ciphertext = BUF(SEALED_LIMIT)};

	TRY(envelope_open(text, len, &envelope));
	TRY(decode_exactly(envelope, "EncryptedInnerKey", sealed.inner_key, sizeof(sealed.inner_key)));
	TRY(params_parse(json_get(envelope, "EncryptionParams"), &sealed));
	TRY(decode_exactly(envelope, "AuthenticationData", sealed.tag, sizeof(sealed.tag)));
	TRY(decode_member(envelope, "Jwt", &sealed.ciphertext));
	if (sealed.ciphertext.len == 0)
		return not_sealed("Jwt", "is empty");
	*ret = sealed;
	sealed.ciphertext = (struct buf){0};
	return OK;
}

static const char *gcm_of(size_t key_len)
{
	switch (key_len) {
	case 16:
		return "AES-128-GCM";
	case 24:
		return "AES-192-GCM";
	case 32:
		return "AES-256-GCM";
	default:
		return NULL;
	}
}

static skr_status gcm_open(const struct sealed_token *sealed, const char *cipher_name, const void *key,
                           uint8_t *plaintext)
{
	auto_cipher *cipher = EVP_CIPHER_fetch(ossl, cipher_name, NULL);
	auto_cipher_ctx *ctx = EVP_CIPHER_CTX_new();
	uint8_t tag[sizeof(sealed->tag)];
	int len = 0;

	memcpy(tag, sealed->tag, sizeof(tag));
	if (!cipher || !ctx || EVP_DecryptInit_ex2(ctx, cipher, key, sealed->iv, NULL) != 1 ||
	    EVP_DecryptUpdate(ctx, NULL, &len, (const uint8_t *)ADDITIONAL_DATA, strlen(ADDITIONAL_DATA)) != 1 ||
	    EVP_DecryptUpdate(ctx, plaintext, &len, sealed->ciphertext.data, (int)sealed->ciphertext.len) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof(tag), tag) != 1)
		return ossl_fail(599, cipher_name);
	if (EVP_DecryptFinal_ex(ctx, plaintext + len, &len) != 1)
		return not_sealed("Jwt", "does not open with its inner key");
	return OK;
}

skr_status sealed_token_open(const struct sealed_token *sealed, const void *key, size_t key_len, struct buf *ret_token)
{
	const char *cipher = gcm_of(key_len);
	auto_buf token = BUF(SEALED_LIMIT);
	uint8_t *plaintext = NULL;

	if (!cipher)
		return FAIL(323, "EncryptedInnerKey: the sealed token has a key of %zu bytes there", key_len);
	TRY(buf_reserve(&token, sealed->ciphertext.len, &plaintext));
	TRY(gcm_open(sealed, cipher, key, plaintext));
	return buf_append(ret_token, plaintext, sealed->ciphertext.len);
}

/* ---- the errand ---- */

skr_status guest_attest(struct azure *azure, const struct guest_evidence *evidence, const char *nonce,
                        struct sealed_token *ret)
{
	auto_buf body = BUF(REQUEST_LIMIT), text = BUF(ENVELOPE_LIMIT);
	const struct buf *named = evidence->hardware.len > 0 ? &evidence->hardware : &evidence->quote;

	TRY(guest_request_print(evidence, nonce, &body));
	TRY(attestation_request(azure, ROUTE, &body, named, &text));
	skr_status status = sealed_token_parse(buf_text(&text), text.len, ret);
	return status.failure ? attestation_blame(status, azure) : OK;
}

/* ---- the opened token ---- */

/* The key that a vault would wrap to: the first one that is for encryption (akv-release: policy grammar). */
static const json *wrapping_key(const json *keys)
{
	for (const json *key = json_first(keys); key; key = json_next(key)) {
		const char *use = json_string_or_null(key, "use");

		if ((use && strcmp(use, "enc") == 0) ||
		    (json_get(key, "key_ops") && (key_ops_from_json(key) & KEY_OP_ENCRYPT)))
			return key;
	}
	return NULL;
}

static bool member_is(const json *object, const char *name, const char *wanted)
{
	const char *value = json_string_or_null(object, name);

	return value && strcmp(value, wanted) == 0;
}

static skr_status key_check(const struct guest_evidence *evidence, const json *runtime)
{
	auto_buf n = BUF(512), e = BUF(16);
	const json *key = wrapping_key(json_get(runtime, "keys"));

	TRY(base64url_encode(evidence->transport_modulus, sizeof(evidence->transport_modulus), &n));
	TRY(base64url_encode(exponent, sizeof(exponent), &e));
	if (!member_is(key, "kid", GUEST_TRANSPORT_ID) || !member_is(key, "kty", "RSA") ||
	    !member_is(key, "n", buf_text(&n)) || !member_is(key, "e", buf_text(&e)))
		return FAIL(323, "x-ms-runtime: the token is not about our transport key");
	return OK;
}

static skr_status nonce_check(const char *nonce, const json *runtime)
{
	auto_buf wanted = BUF(512);

	TRY(base64_encode(nonce, strlen(nonce), &wanted)); /* it comes back as it was sent */
	if (!member_is(json_get(runtime, "client-payload"), "nonce", buf_text(&wanted)))
		return FAIL(323, "nonce: the token does not answer our request");
	return OK;
}

skr_status guest_token_check(const struct azure *azure, const struct guest_evidence *evidence, const char *nonce,
                             const char *token, size_t len)
{
	struct attestation_expectation expected = {.instance = azure->token->attestation, .now = wall_clock()};
	auto_json *claims = NULL;

	TRY(attestation_token_check(token, len, &expected));
	TRY(attestation_claims(token, len, &claims));
	/* At the top: x-ms-isolation-tee holds another x-ms-runtime, with the paravisor's keys. */
	const json *runtime = json_get(claims, "x-ms-runtime");
	TRY(nonce_check(nonce, runtime));
	return key_check(evidence, runtime);
}
