/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/guest_attestation.h"

#include "emulator/certificate.h"
#include "emulator/guest_request.h"
#include "emulator/maa.h"
#include "jose/jws.h"
#include "jose/keywrap.h"
#include "unit/emulator/client.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>

#define ROOM       (1024 * 1024)
#define VECTORS    "cvm/generated/azureguest-requests/"
#define VECTOR_NOW 1767225600 /* 2026-01-01, inside the vectors' certificates */
#define YEAR       (365LL * 24 * 60 * 60)

/* ---- JSON by hand ---- */

static json *read_json(const char *name)
{
	auto_buf text = BUF(ROOM);
	json *parsed = NULL;
	read_data(name, &text);
	assert_ok(json_parse_large(text.data, text.len, 4096, &parsed));
	return parsed;
}

static void set_base64(json *object, const char *name, const void *data, size_t len)
{
	auto_buf text = BUF(ROOM);
	assert_ok(base64_encode(data, len, &text));
	json_set_string(object, name, buf_text(&text));
}

/* The member at "a.b.c", for changes. */
static json *member(json *object, const char *path)
{
	char word[64];
	for (; object && *path; path += strcspn(path, ".") + (path[strcspn(path, ".")] == '.')) {
		snprintf(word, sizeof(word), "%.*s", (int)strcspn(path, "."), path);
		object = (json *)json_get(object, word);
	}
	assert_non_null(object);
	return object;
}

/* {"AttestationInfo":…} as a client writes it. */
static void body_of(const json *info, const char *name, struct buf *out)
{
	auto_buf text = BUF(ROOM), encoded = BUF(ROOM);
	out->limit = ROOM;
	assert_ok(json_print(info, &text));
	assert_ok(base64url_encode(text.data, text.len, &encoded));
	assert_ok(buf_printf(out, "{\"%s\":\"%s\"}", name, buf_text(&encoded)));
}

static skr_status evaluate(const json *info, const struct guest_trust *trust, json *claims, EVP_PKEY **ret_key)
{
	auto_buf body = BUF(ROOM);
	body_of(info, "AttestationInfo", &body);
	return guest_evaluate(body.data, body.len, trust, claims, ret_key);
}

static void assert_guest_refused(const json *info, const struct guest_trust *trust, const char *words)
{
	auto_json *claims = json_object();
	auto_pkey *key = NULL;
	skr_status status = evaluate(info, trust, claims, &key);
	if ((status.failure != 117 && status.failure != 213 && status.failure != 116) ||
	    !strstr(status_message(), words))
		fail_msg("SKR-%d \"%s\", not a refusal with \"%s\"", status.failure,
		         status.failure ? status_message() : "", words);
	assert_null(key);
	assert_int_equal(json_count(claims), 0);
}

static json *guest_claims(const json *info, const struct guest_trust *trust)
{
	auto_pkey *key = NULL;
	json *claims = json_object();
	assert_ok(evaluate(info, trust, claims, &key));
	assert_non_null(key);
	return claims;
}

static void assert_text(const json *object, const char *name, const char *wanted)
{
	const char *found = json_string_or_null(object, name);
	if (!found || strcmp(found, wanted) != 0)
		fail_msg("%s is %s, not %s", name, found ? found : "absent", wanted);
}

/* ---- the published requests ---- */

static struct guest_trust vector_trust;
static X509 *vector_ark, *vector_ca;

static void open_vectors(void)
{
	auto_x509s *amd = sk_X509_new_null(), *vtpm = sk_X509_new_null();
	read_chain(VECTORS "test-amd-chain.pem", amd);
	read_chain(VECTORS "test-vtpm-ca.pem", vtpm);
	vector_ark = sk_X509_pop(amd);
	vector_ca = sk_X509_pop(vtpm);
	vector_trust = (struct guest_trust){
	    .amd = {.ark = vector_ark, .now = VECTOR_NOW}, .vtpm_authority = vector_ca, .now = VECTOR_NOW};
}

static void published_requests_are_judged_as_their_names_say(void **state)
{
	(void)state;
	static const struct {
		const char *name, *words; /* NULL: accepted */
	} rows[] = {
	    {"snp-ok", NULL},
	    {"snp-pcr-set-windows-like", NULL},
	    {"trusted-launch-ok", NULL},
	    {"ak-not-in-claims", "AikPub is not HCLAkPub"},
	    {"certify-names-other-key", "EncKeyCertifyInfo names another key"},
	    {"certify-signed-by-other-key", "EncKeyCertifyInfoSignature: the signature does not verify"},
	    {"event-log-does-not-replay", "TcgLogs: "}, /* a digest was changed, which its event tells */
	    {"no-AikCert", "AikCert"},
	    {"no-Evidence-for-SevSnp", "Evidence is missing"},
	    {"pcr-value-changed", "PCRs do not have the pcrDigest of PcrQuote"},
	    {"quote-signed-by-other-key", "PcrSignature: the signature does not verify"},
	    {"report-data-not-hash-of-claims", "report data does not begin with SHA-256"},
	    {"report-signed-by-other-vcek", "signature of the SNP report does not verify"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char path[128];
		auto_buf body = BUF(ROOM);
		snprintf(path, sizeof(path), VECTORS "%s.json", rows[i].name);
		auto_json *vector = read_json(path), *claims = json_object();
		auto_pkey *key = NULL;
		assert_text(vector, "expect", rows[i].words ? "reject" : "accept");
		assert_ok(json_print(json_get(vector, "body"), &body));
		if (rows[i].words) {
			assert_guest_refused(json_get(vector, "attestationInfo"), &vector_trust, rows[i].words);
			continue;
		}
		assert_ok(guest_evaluate(body.data, body.len, &vector_trust, claims, &key));
		assert_text(claims, "x-ms-attestation-type", "azurevm");
		assert_true(json_bool(claims, "secureboot", false));
	}
}

/* As jsoncpp writes it: every member on a line of its own, tabs, blanks around the colon. */
static void indent(const char *text, struct buf *out)
{
	bool inside = false;
	int depth = 0;
	for (; *text; text++) {
		inside ^= *text == '"'; /* no string of these requests has an escaped quote */
		bool opens = !inside && strchr("{[", *text), closes = !inside && strchr("}]", *text);
		depth += opens - closes;
		if (closes)
			assert_ok(buf_printf(out, "\n%.*s", depth, "\t\t\t\t\t\t\t\t"));
		assert_ok(!inside && *text == ':' ? buf_append_text(out, " : ") : buf_append(out, text, 1));
		if (opens || (!inside && *text == ','))
			assert_ok(buf_printf(out, "\n%.*s", depth, "\t\t\t\t\t\t\t\t"));
	}
}

static void the_guest_librarys_indented_body_is_understood(void **state)
{
	(void)state;
	auto_json *vector = read_json(VECTORS "snp-ok.json"), *claims = json_object();
	auto_buf text = BUF(ROOM), info = BUF(ROOM), encoded = BUF(ROOM), body = BUF(ROOM);
	auto_pkey *key = NULL;
	assert_ok(json_print(json_get(vector, "attestationInfo"), &text));
	indent(buf_text(&text), &info);
	assert_non_null(strstr(buf_text(&info), "\n\t\t\"nonce\" : \""));
	assert_ok(base64url_encode(info.data, info.len, &encoded));
	assert_ok(buf_printf(&body, "{\n\t\"AttestationInfo\" : \"%s\"\n}", buf_text(&encoded)));
	assert_ok(guest_evaluate(body.data, body.len, &vector_trust, claims, &key));
}

static void both_spellings_and_alphabets_are_understood(void **state)
{
	(void)state;
	auto_json *vector = read_json(VECTORS "snp-ok.json"), *claims = json_object();
	json *info = member(vector, "attestationInfo"), *evidence = member(info, "IsolationInfo.Evidence");
	auto_buf proof = BUF(ROOM), body = BUF(ROOM);
	auto_pkey *key = NULL;
	const char *text = json_string_or_null(evidence, "Proof");
	assert_ok(base64_decode(text, strlen(text), &proof));
	set_base64url(evidence, "Proof", proof.data, proof.len); /* as the Python and Rust tools do for SNP */
	json_set_string(info, "OSVersionMajor", "22");
	json_set_string(info, "OSVersionMinor", "4");
	json_set_null(info, "ClientPayload");
	body_of(info, "attestationInfo", &body);
	assert_ok(guest_evaluate(body.data, body.len, &vector_trust, claims, &key));
	assert_null(json_get(json_get(claims, "x-ms-runtime"), "client-payload"));
	int64_t major = 0;
	assert_ok(json_integer(claims, "x-ms-azurevm-osversion-major", false, &major));
	assert_int_equal(major, 22);
}

/* ---- the claims against captured ones ---- */

/* Every member of `captured` is in `ours`, of the same kind, and none besides; objects all the way down. */
static void assert_shape(const char *where, const json *ours, const json *captured)
{
	for (const json *m = json_first(captured); m; m = json_next(m)) {
		const json *mine = json_get(ours, json_name(m));
		if (json_kind(mine) != json_kind(m))
			fail_msg("%s: %s is of kind %d, captured %d", where, json_name(m), json_kind(mine),
			         json_kind(m));
		/* how keys and settings of a machine are called depends on its age */
		if (json_kind(m) == JSON_OBJECT && strcmp(json_name(m), "vm-configuration") != 0)
			assert_shape(json_name(m), mine, m);
	}
	for (const json *m = json_first(ours); m; m = json_next(m))
		if (!json_get(captured, json_name(m)))
			fail_msg("%s: %s is not in what was captured", where, json_name(m));
}

static json *captured_claims(const char *name)
{
	auto_buf text = BUF(ROOM);
	auto_jws jws = {0};
	read_data(name, &text);
	size_t len = strcspn(buf_text(&text), "\r\n");
	assert_ok(jws_parse(buf_text(&text), len, &jws));
	assert_ok(jws_payload(&jws));
	return TAKE(jws.payload);
}

/* A value with its members in the order given, those that are there. */
static json *in_order(const json *object, const char *const *names)
{
	json *out = json_object();
	for (; *names; names++)
		if (json_get(object, *names))
			json_set(out, *names, json_copy(json_get(object, *names)));
	return out;
}

/* Section 5: the nested runtime claims, written as the paravisor wrote them, have the hash of the report's data. */
static void assert_hash_relation(const json *tee)
{
	static const char *const key_order[] = {"kid", "key_ops", "kty", "e", "n", NULL};
	static const char *const rest[] = {"vm-configuration", "user-data", NULL};
	const json *runtime = json_get(tee, "x-ms-runtime");
	auto_json *written = json_object(), *others = in_order(runtime, rest);
	json *keys = json_array();
	for (const json *key = json_first(json_get(runtime, "keys")); key; key = json_next(key))
		json_push(keys, in_order(key, key_order));
	json_set(written, "keys", keys);
	for (const json *m = json_first(others); m; m = json_next(m))
		json_set(written, json_name(m), json_copy(m));

	uint8_t digest[32];
	auto_buf text = BUF(ROOM), hex = BUF(64);
	assert_ok(json_print(written, &text));
	assert_ok(sha256(text.data, text.len, digest));
	assert_ok(hex_encode(digest, sizeof(digest), &hex));
	assert_memory_equal(json_string_or_null(tee, "x-ms-sevsnpvm-reportdata"), buf_text(&hex), 64);
}

static void nested_runtime_claims_hash_to_the_report_data_in_captured_tokens_and_ours(void **state)
{
	(void)state;
	auto_json *token = captured_claims("cvm/tokens/azureguest-snp-2023.jwt"),
	          *sample = read_json("cvm/tokens/azureguest-snp-claims-sample.json"),
	          *vector = read_json(VECTORS "snp-ok.json");
	auto_json *ours = guest_claims(json_get(vector, "attestationInfo"), &vector_trust);
	json_sort(ours);
	assert_hash_relation(json_get(token, "x-ms-isolation-tee"));
	assert_hash_relation(json_get(sample, "x-ms-isolation-tee"));
	assert_hash_relation(json_get(ours, "x-ms-isolation-tee"));
}

static void the_two_runtime_claims_are_told_apart(void **state)
{
	(void)state;
	auto_json *vector = read_json(VECTORS "snp-ok.json");
	auto_json *claims = guest_claims(json_get(vector, "attestationInfo"), &vector_trust);
	const json *top = json_get(claims, "x-ms-runtime"), *tee = json_get(claims, "x-ms-isolation-tee");
	const json *key = json_first(json_get(top, "keys"));
	assert_int_equal(json_count(json_get(top, "keys")), 1);
	assert_text(key, "kid", "TpmEphemeralEncryptionKey");
	assert_string_equal(json_text(json_first(json_get(key, "key_ops"))), "encrypt");
	assert_text(json_get(top, "client-payload"), "nonce", "QURFMDEwMQ=="); /* still base64 */
	assert_text(json_first(json_get(json_get(tee, "x-ms-runtime"), "keys")), "kid", "HCLAkPub");
	assert_text(tee, "x-ms-attestation-type", "sevsnpvm");
	assert_text(tee, "x-ms-compliance-status", "azure-compliant-cvm");
	assert_text(claims, "x-ms-azurevm-vmid", "0FEDCBA9-8765-4321-8FED-CBA987654321");
	assert_text(claims, "x-ms-azurevm-osbuild", "NotApplication");
	assert_text(claims, "x-ms-azurevm-osdistro", "Ubuntu");
	assert_text(claims, "x-ms-azurevm-ostype", "Linux");
	assert_false(json_bool(claims, "x-ms-azurevm-is-windows", true));
	assert_int_equal(json_count(json_get(claims, "x-ms-azurevm-attested-pcrs")), 8);
}

static void trusted_launch_has_no_isolation_claims_and_its_own_machine_id(void **state)
{
	(void)state;
	auto_json *vector = read_json(VECTORS "trusted-launch-ok.json");
	auto_json *claims = guest_claims(json_get(vector, "attestationInfo"), &vector_trust);
	assert_null(json_get(claims, "x-ms-isolation-tee"));
	assert_int_equal(strlen(json_string_or_null(claims, "x-ms-azurevm-vmid")), 36);
}

static void version_1_knows_no_isolation(void **state)
{
	(void)state;
	auto_json *vector = read_json(VECTORS "trusted-launch-ok.json");
	json *info = member(vector, "attestationInfo");
	json_remove(info, "IsolationInfo");
	assert_guest_refused(info, &vector_trust, "IsolationInfo is missing");
	json_set_string(info, "AttestationProtocolVersion", "1.0");
	auto_json *claims = guest_claims(info, &vector_trust);
	assert_text(claims, "x-ms-azurevm-attestation-protocol-ver", "1.0");
	assert_null(json_get(claims, "x-ms-isolation-tee"));
}

static void trusted_launch_needs_an_authority_that_is_trusted(void **state)
{
	(void)state;
	auto_json *vector = read_json(VECTORS "trusted-launch-ok.json");
	struct guest_trust nobody = vector_trust, stranger = vector_trust, late = vector_trust;
	nobody.vtpm_authority = NULL;
	stranger.vtpm_authority = vector_ark;
	late.now = VECTOR_NOW + 30 * YEAR;
	assert_guest_refused(json_get(vector, "attestationInfo"), &nobody, "no authority of attestation keys");
	assert_guest_refused(json_get(vector, "attestationInfo"), &stranger, "AikCert: ");
	assert_guest_refused(json_get(vector, "attestationInfo"), &late, "AikCert: ");
}

/* ---- what a real TPM wrote ---- */

static void member_bytes(const json *object, const char *name, struct buf *out)
{
	const char *text = json_string_or_null(object, name);
	assert_non_null(text);
	out->limit = ROOM;
	assert_ok(base64_decode_any(text, strlen(text), out));
}

static void a_real_machines_tpm_is_read_and_verified(void **state)
{
	(void)state;
	auto_json *tpm = read_json("cvm/trustedlaunch-azureguest/TpmInfo.json");
	auto_buf ak_bytes = BUF(0), key_bytes = BUF(0), quote = BUF(0), quote_signature = BUF(0), certify = BUF(0),
	         certify_signature = BUF(0);
	auto_tpm_public ak = {0}, key = {0};
	struct tpm_attest quoted, certified;
	uint8_t values[TPM_PCRS][TPM_DIGEST] = {{0}}, digest[TPM_DIGEST], policy[TPM_DIGEST];
	uint32_t pcrs = 0;
	member_bytes(tpm, "AikPub", &ak_bytes);
	member_bytes(tpm, "EncKeyPub", &key_bytes);
	member_bytes(tpm, "PcrQuote", &quote);
	member_bytes(tpm, "PcrSignature", &quote_signature);
	member_bytes(tpm, "EncKeyCertifyInfo", &certify);
	member_bytes(tpm, "EncKeyCertifyInfoSignature", &certify_signature);
	for (const json *pcr = json_first(json_get(tpm, "PCRs")); pcr; pcr = json_next(pcr)) {
		int64_t index;
		auto_buf value = BUF(0);
		assert_ok(json_integer(pcr, "Index", false, &index));
		member_bytes(pcr, "Digest", &value);
		memcpy(values[index], value.data, TPM_DIGEST);
		pcrs |= 1U << index;
	}

	assert_ok(tpm_public_read(ak_bytes.data, ak_bytes.len, &ak));
	assert_ok(tpm_public_read(key_bytes.data, key_bytes.len, &key));
	assert_ok(tpm_signed(ak.key, &quote, &quote_signature));
	assert_ok(tpm_signed(ak.key, &certify, &certify_signature));
	assert_ok(tpm_quote_read(quote.data, quote.len, &quoted));
	assert_ok(tpm_certify_read(certify.data, certify.len, &certified));
	assert_int_equal(ak.attributes, 0x00050472);
	assert_int_equal(key.attributes, 0x00020432);
	assert_int_equal(quoted.pcrs, pcrs);
	assert_memory_equal(certified.name, key.name, TPM_NAME);
	assert_ok(tpm_pcr_digest(pcrs, values, digest));
	assert_memory_equal(digest, quoted.digest, TPM_DIGEST);
	assert_ok(tpm_policy_pcr(pcrs, digest, policy));
	assert_memory_equal(policy, key.policy, TPM_DIGEST);
}

static void what_a_tpm_wrote_is_refused_when_cut_or_longer(void **state)
{
	(void)state;
	auto_json *tpm = read_json("cvm/trustedlaunch-azureguest/TpmInfo.json");
	auto_buf key = BUF(0), quote = BUF(0), certify = BUF(0);
	struct tpm_attest attest;
	member_bytes(tpm, "EncKeyPub", &key);
	member_bytes(tpm, "PcrQuote", &quote);
	member_bytes(tpm, "EncKeyCertifyInfo", &certify);
	for (size_t len = 0; len < key.len; len++) {
		auto_tpm_public public = {0};
		assert_refused(tpm_public_read(key.data, len, &public), 117, "");
		assert_null(public.key);
	}
	for (size_t len = 0; len < quote.len; len++)
		assert_refused(tpm_quote_read(quote.data, len, &attest), 117, "");
	for (size_t len = 0; len < certify.len; len++)
		assert_refused(tpm_certify_read(certify.data, len, &attest), 117, "");
	auto_tpm_public longer = {0}, other_size = {0}, even = {0};
	key.data[key.len - 256 - 2 - 1] = 4; /* the last byte of the exponent */
	assert_refused(tpm_public_read(key.data, key.len, &even), 117, "the key's exponent is 4");
	key.data[key.len - 256 - 2 - 1] = 0;
	key.data[1]--;
	assert_refused(tpm_public_read(key.data, key.len, &other_size), 117, "is not that of its");
	key.data[1]++;
	assert_ok(buf_append(&key, "", 1));
	assert_refused(tpm_public_read(key.data, key.len, &longer), 117, "is not that of its");
	assert_ok(buf_append(&quote, "", 1));
	assert_ok(buf_append(&certify, "", 1));
	assert_refused(tpm_quote_read(quote.data, quote.len, &attest), 117, "stand behind the quote");
	assert_refused(tpm_certify_read(certify.data, certify.len, &attest), 117, "stand behind the certification");
	assert_refused(tpm_quote_read(certify.data, certify.len, &attest), 117, "type 0x8017, not 0x8018");
	quote.data[0] = 0;
	assert_refused(tpm_quote_read(quote.data, quote.len, &attest), 117, "is not the magic");
}

/* ---- a guest of our own, whose TPM lies on demand ---- */

/* What it says, right in every point as made by honest_guest(). */
struct guest {
	EVP_PKEY *ak, *key;           /* ours all the time */
	EVP_PKEY *signer, *certified; /* of quote and certification; what the AK certificate is for */
	uint32_t ak_attributes, key_attributes, pcrs, quoted_pcrs;
	uint16_t ak_hash;
	uint8_t policy_change, name_change; /* 0: none */
	bool tdx;
	const char *runtime; /* NULL: the paravisor's honest claims */
};
static struct guest guest_keys;

static struct guest honest_guest(void)
{
	struct guest g = guest_keys;
	g.signer = g.certified = g.ak;
	g.ak_attributes = 0x00050472;
	g.key_attributes = 0x00020432;
	g.pcrs = g.quoted_pcrs = 0xFF;
	g.ak_hash = 0x000B;
	return g;
}

static void put(struct buf *out, uint64_t value, size_t bytes)
{
	for (size_t i = bytes; i-- > 0;) {
		uint8_t byte = (uint8_t)(value >> 8 * i);
		assert_ok(buf_append(out, &byte, 1));
	}
}

static void put_sized(struct buf *out, const void *data, size_t len)
{
	put(out, len, 2);
	assert_ok(buf_append(out, data, len));
}

static void put_modulus(EVP_PKEY *key, struct buf *out)
{
	auto_bn *n = NULL;
	uint8_t bytes[256];
	assert_int_equal(EVP_PKEY_get_bn_param(key, "n", &n), 1);
	assert_int_equal(BN_bn2binpad(n, bytes, sizeof(bytes)), sizeof(bytes));
	put_sized(out, bytes, sizeof(bytes));
}

/* TPM2B_PUBLIC; hash 0: a key without scheme. */
static void public_area(EVP_PKEY *key, uint32_t attributes, const struct buf *policy, uint16_t hash, struct buf *out)
{
	auto_buf area = BUF(1024);
	put(&area, 0x0001000B, 4);
	put(&area, attributes, 4);
	put_sized(&area, policy->data ? policy->data : (const uint8_t *)"", policy->len);
	put(&area, 0x0010, 2);
	put(&area, hash ? 0x0014 : 0x0010, 2);
	if (hash)
		put(&area, hash, 2);
	put(&area, 2048, 2);
	put(&area, 0, 4);
	put_modulus(key, &area);
	put_sized(out, area.data, area.len);
}

static void attest_head(uint16_t type, struct buf *out)
{
	static const uint8_t signer[34] = {0, 0x0b};
	put(out, 0xFF544347, 4);
	put(out, type, 2);
	put_sized(out, signer, sizeof(signer));
	put_sized(out, "", 0);
	put(out, 12345, 8); /* clock; then resets, restarts, safe, firmware */
	put(out, 1, 4);
	put(out, 0, 4);
	put(out, 1, 1);
	put(out, 0x2012000300120003, 8);
}

static void put_selection(uint32_t pcrs, struct buf *out)
{
	put(out, 1, 4);
	put(out, 0x000B03, 3);
	put(out, (pcrs & 0xFF) << 16 | (pcrs & 0xFF00) | pcrs >> 16, 3);
}

static void set_signed(json *tpm, const char *name, const char *signature_name, EVP_PKEY *signer,
                       const struct buf *data)
{
	uint8_t signature[256];
	size_t len = sizeof(signature);
	auto_md_ctx *md = EVP_MD_CTX_new();
	assert_int_equal(EVP_DigestSignInit_ex(md, NULL, "SHA256", ossl, NULL, signer, NULL), 1);
	assert_int_equal(EVP_DigestSign(md, signature, &len, data->data, data->len), 1);
	set_base64(tpm, name, data->data, data->len);
	set_base64(tpm, signature_name, signature, len);
}

/* PcrSet, PCRs and their digest, of the published log. */
static void set_pcrs(uint32_t pcrs, json *tpm, uint8_t digest[32])
{
	auto_json *values = read_json(VECTORS "pcrs.json");
	auto_buf all = BUF(24 * 32);
	json *set = json_array(), *list = json_array();
	for (int i = 0; i < 24; i++) {
		char name[4];
		auto_buf value = BUF(32);
		json *item = json_object();
		if (!(pcrs >> i & 1)) {
			json_free(item);
			continue;
		}
		snprintf(name, sizeof(name), "%d", i);
		const char *hex = json_string_or_null(values, name);
		assert_ok(hex_decode(hex, strlen(hex), &value));
		assert_ok(buf_append(&all, value.data, value.len));
		json_push(set, json_of_number(i));
		json_set_number(item, "Index", i);
		set_base64(item, "Digest", value.data, value.len);
		json_push(list, item);
	}
	json_set(tpm, "PcrSet", set);
	json_set(tpm, "PCRs", list);
	assert_ok(sha256(all.data, all.len, digest));
}

static void policy_pcr(uint32_t pcrs, const uint8_t digest[32], struct buf *out)
{
	static const uint8_t zeros[32];
	auto_buf text = BUF(256);
	uint8_t policy[32];
	assert_ok(buf_append(&text, zeros, sizeof(zeros)));
	put(&text, 0x0000017F, 4);
	put_selection(pcrs, &text);
	assert_ok(buf_append(&text, digest, 32));
	assert_ok(sha256(text.data, text.len, policy));
	assert_ok(buf_append(out, policy, sizeof(policy)));
}

static void set_ak(const struct guest *g, json *tpm)
{
	static const struct certificate_name subject[] = {{"CN", "guest.TrustedVM.test"}, {NULL, NULL}};
	const struct certificate_plan plan = {
	    .subject = subject, .key = g->certified, .not_after = emulator_now(&emulator) + YEAR};
	auto_x509 *certificate = NULL; /* signs itself: on a confidential VM the paravisor vouches for the key */
	auto_buf public = BUF(1024), der = BUF(4096), none = BUF(0);
	struct certificate_plan whole = plan;
	whole.issuer_key = g->certified;
	assert_ok(certificate_issue(&whole, &certificate));
	assert_ok(certificate_to_der(certificate, &der));
	assert_ok(buf_append(&der, "\0\0\0\0", 4));
	public_area(g->ak, g->ak_attributes, &none, g->ak_hash, &public);
	set_base64(tpm, "AikCert", der.data, der.len);
	set_base64(tpm, "AikPub", public.data, public.len);
}

static json *tpm_info(const struct guest *g)
{
	uint8_t digest[32], name[34] = {0, 0x0b};
	json *tpm = json_object();
	auto_buf quote = BUF(1024), certify = BUF(1024), public = BUF(1024), policy = BUF(32);
	set_ak(g, tpm);
	set_pcrs(g->pcrs, tpm, digest);
	attest_head(0x8018, &quote);
	put_selection(g->quoted_pcrs, &quote);
	put_sized(&quote, digest, sizeof(digest));
	set_signed(tpm, "PcrQuote", "PcrSignature", g->signer, &quote);

	policy_pcr(g->pcrs, digest, &policy);
	policy.data[0] ^= g->policy_change;
	public_area(g->key, g->key_attributes, &policy, 0, &public);
	set_base64(tpm, "EncKeyPub", public.data, public.len);
	assert_ok(sha256(public.data + 2, public.len - 2, name + 2));
	name[5] ^= g->name_change;
	attest_head(0x8017, &certify);
	put_sized(&certify, name, sizeof(name));
	put_sized(&certify, name, sizeof(name));
	set_signed(tpm, "EncKeyCertifyInfo", "EncKeyCertifyInfoSignature", g->signer, &certify);
	return tpm;
}

/* {"keys":[…],"vm-configuration":{…},"user-data":…} */
static void paravisor_claims(EVP_PKEY *ak, struct buf *out)
{
	auto_json *jwk = NULL;
	auto_buf text = BUF(4096);
	assert_ok(jwk_from_key(ak, &jwk));
	json_set_string(jwk, "kid", "HCLAkPub");
	assert_ok(json_print(jwk, &text));
	assert_ok(buf_printf(out,
	                     "{\"keys\":[%s],\"vm-configuration\":{\"console-enabled\":true,\"secure-boot\":true,"
	                     "\"tpm-enabled\":true,\"vmUniqueId\":\"0FEDCBA9-8765-4321-8FED-CBA987654321\"},"
	                     "\"user-data\":\"00\"}",
	                     buf_text(&text)));
}

static void set_snp_proof(json *evidence, const uint8_t report_data[64])
{
	uint8_t report[REPORT_SIZE];
	auto_json *thim = NULL, *proof = json_object();
	auto_buf chain = BUF(64 * 1024), text = BUF(128 * 1024);
	assert_ok(hardware_report(&emulator, report_data, 0, report));
	assert_ok(hardware_thim(&emulator, &thim));
	assert_ok(buf_printf(&chain, "%s%s", json_string_or_null(thim, "vcekCert"),
	                     json_string_or_null(thim, "certificateChain")));
	set_base64url(proof, "SnpReport", report, sizeof(report));
	set_base64(proof, "VcekCertChain", chain.data, chain.len);
	assert_ok(json_print(proof, &text));
	set_base64(evidence, "Proof", text.data, text.len);
}

static void set_tdx_proof(json *evidence, const uint8_t report_data[64])
{
	uint8_t report[TD_REPORT_BYTES];
	auto_buf quote = BUF(TD_QUOTE_ROOM);
	assert_ok(intel_td_report(&emulator, report_data, report));
	assert_ok(intel_quote(&emulator, report, 4, &quote));
	set_base64(evidence, "Proof", quote.data, quote.len);
}

static json *isolation_info(const struct guest *g)
{
	uint8_t report_data[64] = {0};
	json *isolation = json_object(), *evidence = json_object();
	auto_buf runtime = BUF(8192);
	if (g->runtime)
		assert_ok(buf_append_text(&runtime, g->runtime));
	else
		paravisor_claims(g->ak, &runtime);
	assert_ok(sha256(runtime.data, runtime.len, report_data));
	if (g->tdx)
		set_tdx_proof(evidence, report_data);
	else
		set_snp_proof(evidence, report_data);
	set_base64(evidence, "RunTimeData", runtime.data, runtime.len);
	json_set_string(isolation, "Type", g->tdx ? "Tdx" : "SevSnp");
	json_set(isolation, "Evidence", evidence);
	return isolation;
}

static json *guest_info(const struct guest *g)
{
	json *info = json_object(), *payload = json_object();
	auto_buf log = BUF(ROOM);
	read_data(VECTORS "binary_bios_measurements", &log);
	json_set_string(info, "AttestationProtocolVersion", "2.0");
	set_base64(info, "OSType", "Linux", 5);
	set_base64(info, "OSDistro", "Ubuntu", 6);
	json_set_number(info, "OSVersionMajor", 22);
	json_set_number(info, "OSVersionMinor", 4);
	set_base64(info, "OSBuild", "NotApplication", 14);
	set_base64(info, "TcgLogs", log.data, log.len);
	set_base64(payload, "nonce", "ADE0101", 7);
	json_set(info, "ClientPayload", payload);
	json_set(info, "TpmInfo", tpm_info(g));
	json_set(info, "IsolationInfo", isolation_info(g));
	return info;
}

static void play_a_paravisor(void);
static struct guest_trust own_trust;
static X509 *own_ark;

static void assert_lie_refused(const struct guest *g, const char *words)
{
	auto_json *info = guest_info(g);
	assert_guest_refused(info, &own_trust, words);
}

static int open_guest(void **state)
{
	auto_rules rules = {0};
	if (open_emulator(state))
		return -1;
	assert_ok(intel_open(&emulator));
	assert_ok(hardware_attestation_rules(&emulator, &rules));
	own_ark = TAKE(rules.ark);
	own_trust = (struct guest_trust){.amd = {.ark = own_ark, .now = emulator_now(&emulator)},
	                                 .now = emulator_now(&emulator)};
	assert_ok(intel_trust(&emulator, &own_trust.intel));
	assert_ok(key_generate("RSA-2048", &guest_keys.ak));
	assert_ok(key_generate("RSA-2048", &guest_keys.key));
	open_vectors();
	play_a_paravisor();
	return 0;
}

static int close_guest(void **state)
{
	EVP_PKEY_free(guest_keys.ak);
	EVP_PKEY_free(guest_keys.key);
	X509_free(vector_ark);
	X509_free(vector_ca);
	X509_free(own_ark);
	intel_close(&emulator);
	return close_emulator(state);
}

static void the_emulators_own_snp_guest_is_attested(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	auto_json *info = guest_info(&g);
	auto_json *claims = guest_claims(info, &own_trust);
	assert_text(json_get(claims, "x-ms-isolation-tee"), "x-ms-attestation-type", "sevsnpvm");
	assert_text(json_get(claims, "x-ms-isolation-tee"), "x-ms-compliance-status", "azure-compliant-cvm");
}

static void a_tdx_guest_has_its_claims_nested(void **state)
{
	(void)state;
	static const char *const wanted[] = {"tdx_mrseam",        "tdx_report_data", "tdx_seamsvn",
	                                     "tdx_td_attributes", "tdx_tee_tcb_svn", "x-ms-runtime"};
	struct guest g = honest_guest();
	g.tdx = true;
	auto_json *info = guest_info(&g);
	auto_json *claims = guest_claims(info, &own_trust);
	const json *tee = json_get(claims, "x-ms-isolation-tee");
	assert_text(claims, "x-ms-attestation-type", "azurevm");
	assert_text(tee, "x-ms-attestation-type", "tdxvm");
	assert_text(tee, "x-ms-compliance-status", "azure-compliant-cvm");
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (!json_get(tee, wanted[i]))
			fail_msg("no nested %s", wanted[i]);
	assert_text(json_get(tee, "x-ms-runtime"), "user-data", "00");
}

static void a_td_quote_for_other_runtime_claims_is_refused(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	g.tdx = true;
	auto_json *info = guest_info(&g);
	auto_buf runtime = BUF(8192);
	paravisor_claims(g.ak, &runtime);
	runtime.data[runtime.len - 3] = '1';
	set_base64(member(info, "IsolationInfo.Evidence"), "RunTimeData", runtime.data, runtime.len);
	assert_guest_refused(info, &own_trust, "the TD quote's report data is not SHA-256 of RunTimeData");
}

static void a_debuggable_guest_is_not_compliant(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	auto_json *on = json_of("{\"debug\":true,\"td_debug\":true}"),
	          *off = json_of("{\"debug\":false,\"td_debug\":false}");
	assert_ok(hardware_change(&emulator, on));
	for (int tdx = 0; tdx < 2; tdx++) {
		g.tdx = tdx;
		auto_json *info = guest_info(&g);
		auto_json *claims = guest_claims(info, &own_trust);
		assert_null(json_get(json_get(claims, "x-ms-isolation-tee"), "x-ms-compliance-status"));
	}
	assert_ok(hardware_change(&emulator, off));
}

static void keys_without_the_attributes_they_need_are_refused(void **state)
{
	(void)state;
	static const struct {
		uint32_t ak, key;
		const char *words;
	} rows[] = {
	    {0x00040472, 0x00020432, "AikPub has the attributes 0x00040472"}, /* not restricted: signs anything */
	    {0x00050470, 0x00020432, "AikPub has the attributes"},            /* not fixedTPM */
	    {0x00070472, 0x00020432, "AikPub has the attributes"},            /* decrypts too */
	    {0x00050472, 0x00000432, "without all of decrypt"},
	    {0x00050472, 0x00020430, "without all of decrypt"}, /* not fixedTPM: can be moved */
	    {0x00050472, 0x00020422, "without all of decrypt"}, /* not fixedParent */
	    {0x00050472, 0x00030432, "EncKeyPub is restricted"},
	    {0x00050472, 0x00020472, "EncKeyPub can be used without its policy"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct guest g = honest_guest();
		g.ak_attributes = rows[i].ak;
		g.key_attributes = rows[i].key;
		assert_lie_refused(&g, rows[i].words);
	}
}

static void a_key_that_signs_and_decrypts_is_accepted(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	g.key_attributes = 0x00060432; /* as Microsoft's Rust library makes it */
	auto_json *info = guest_info(&g);
	auto_json *claims = guest_claims(info, &own_trust);
	assert_non_null(claims);
}

static void what_the_tpm_says_must_fit_together(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	g.ak_hash = 0x0004;
	assert_lie_refused(&g, "AikPub signs by scheme 0x0014 with hash 0x0004");
	g = honest_guest();
	g.certified = g.key;
	assert_lie_refused(&g, "AikCert is for another key than AikPub");
	g = honest_guest();
	g.policy_change = 1;
	assert_lie_refused(&g, "the authPolicy of EncKeyPub is not PolicyPCR");
	g = honest_guest();
	g.name_change = 1;
	assert_lie_refused(&g, "EncKeyCertifyInfo names another key");
	g = honest_guest();
	g.quoted_pcrs = 0x8FF;
	assert_lie_refused(&g, "PcrQuote is over other PCRs than PcrSet");
	g = honest_guest();
	g.signer = g.key;
	assert_lie_refused(&g, "PcrSignature: the signature does not verify");
	g = honest_guest();
	g.runtime = "{\"keys\":[]}";
	assert_lie_refused(&g, "RunTimeData has no key HCLAkPub");
}

static void pcr_sets_that_the_service_does_not_take_are_refused(void **state)
{
	(void)state;
	static const struct {
		uint32_t pcrs;
		const char *words; /* NULL: accepted */
	} rows[] = {
	    {0xFF, NULL},
	    {0x78FF, NULL},
	    {0x08FF, NULL},
	    {0xFFFFFF, "PcrSet has more than PCR 0 to 7 and 11 to 14"},
	    {0x01FF, "PcrSet has more than"},
	    {0x7F, "PcrSet lacks some of PCR 0 to 7"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct guest g = honest_guest();
		g.pcrs = g.quoted_pcrs = rows[i].pcrs;
		auto_json *info = guest_info(&g);
		if (rows[i].words)
			assert_guest_refused(info, &own_trust, rows[i].words);
		else
			json_free(guest_claims(info, &own_trust));
	}
}

static void lists_of_pcrs_that_do_not_fit_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *name, *value, *words;
	} rows[] = {
	    {"PcrSet", "[1,0,2,3,4,5,6,7]", "PcrSet does not ascend: 0 stands behind 1"},
	    {"PcrSet", "[0,1,2,3,4,5,6,6]", "PcrSet does not ascend"},
	    {"PcrSet", "[0,1,2,3,4,5,6,24]", "no number of a PCR"},
	    {"PcrSet", "[0,1,2,3,4,5,6,-1]", "no number of a PCR"},
	    {"PcrSet", "[]", "PcrSet is missing, empty"},
	    {"PcrSet", "[0,1,2,3,4,5,6]", "PCRs has 8 values, PcrSet 7"},
	    {"PcrSet", "[0,1,2,3,4,5,6,11]", "PCRs has an index 7 that PcrSet has not"},
	    {"PCRs", "[{\"Index\":0,\"Digest\":\"AAAA\"},1,2,3,4,5,6,7]", "PCR 0 has 3 bytes"},
	    {"PCRs", "\"x\"", "PCRs is missing or no array"},
	};
	struct guest g = honest_guest();
	auto_json *good = guest_info(&g);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_json *info = json_copy(good);
		json_set(member(info, "TpmInfo"), rows[i].name, json_of(rows[i].value));
		assert_guest_refused(info, &own_trust, rows[i].words);
	}
}

static void requests_that_lack_something_are_refused_by_its_name(void **state)
{
	(void)state;
	static const char *const top[] = {"AttestationProtocolVersion",
	                                  "OSType",
	                                  "OSDistro",
	                                  "OSVersionMajor",
	                                  "OSVersionMinor",
	                                  "OSBuild",
	                                  "TcgLogs",
	                                  "TpmInfo",
	                                  "IsolationInfo"};
	static const char *const tpm[] = {"AikCert",
	                                  "AikPub",
	                                  "PcrQuote",
	                                  "PcrSignature",
	                                  "PcrSet",
	                                  "PCRs",
	                                  "EncKeyPub",
	                                  "EncKeyCertifyInfo",
	                                  "EncKeyCertifyInfoSignature"};
	static const char *const evidence_names[] = {"Proof", "RunTimeData"};
	static const struct {
		const char *path;
		const char *const *names;
		size_t count;
	} rows[] = {{"", top, 9}, {"TpmInfo", tpm, 9}, {"IsolationInfo.Evidence", evidence_names, 2}};
	struct guest g = honest_guest();
	auto_json *good = guest_info(&g);
	for (size_t i = 0; i < 3; i++) {
		for (size_t k = 0; k < rows[i].count; k++) {
			auto_json *lacking = json_copy(good), *wrong = json_copy(good);
			json_remove(member(lacking, rows[i].path), rows[i].names[k]);
			assert_guest_refused(lacking, &own_trust, rows[i].names[k]);
			json_set(member(wrong, rows[i].path), rows[i].names[k], json_array());
			assert_guest_refused(wrong, &own_trust, rows[i].names[k]);
		}
	}
}

static void an_unknown_isolation_is_refused(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	auto_json *info = guest_info(&g);
	json_set_string(member(info, "IsolationInfo"), "Type", "Nitro");
	assert_guest_refused(info, &own_trust, "Type is none of TrustedLaunch, SevSnp, Tdx");
}

static void a_hardware_guest_cannot_pass_as_trusted_launch(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	auto_json *info = guest_info(&g);
	json_set_string(member(info, "IsolationInfo"), "Type", "TrustedLaunch");
	assert_guest_refused(info, &own_trust, "no authority of attestation keys");
}

static void something_behind_the_ak_certificate_is_refused(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	auto_json *info = guest_info(&g);
	json *tpm = member(info, "TpmInfo");
	auto_buf nv = BUF(0);
	member_bytes(tpm, "AikCert", &nv);
	nv.data[nv.len - 2] = 1;
	set_base64(tpm, "AikCert", nv.data, nv.len);
	assert_guest_refused(info, &own_trust, "something other than zero bytes");
	set_base64(tpm, "AikCert", nv.data, 100);
	assert_guest_refused(info, &own_trust, "AikCert");
}

/* ---- secure boot ---- */

static void without_a_log_secure_boot_is_what_the_setting_says(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	struct guest_trust believer = own_trust;
	believer.secure_boot_without_log = true;
	auto_json *info = guest_info(&g);
	json_set_string(info, "TcgLogs", "");
	auto_json *doubted = guest_claims(info, &own_trust), *believed = guest_claims(info, &believer);
	assert_false(json_bool(doubted, "secureboot", true));
	assert_false(json_bool(doubted, "x-ms-azurevm-dbvalidated", true));
	assert_true(json_bool(believed, "secureboot", false));
	assert_true(json_bool(believed, "x-ms-azurevm-dbvalidated", false));
}

/* The PCRs have an event more than it. */
static void a_log_that_lacks_an_event_is_refused(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	auto_json *info = guest_info(&g);
	auto_buf log = BUF(ROOM);
	read_data(VECTORS "binary_bios_measurements", &log);
	set_base64(info, "TcgLogs", log.data, log.len - 112);
	assert_guest_refused(info, &own_trust, "TcgLogs does not replay to PCR 5");
}

static void a_log_that_is_cut_is_refused(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	auto_json *info = guest_info(&g);
	auto_buf log = BUF(ROOM);
	read_data(VECTORS "binary_bios_measurements", &log);
	set_base64(info, "TcgLogs", log.data, log.len - 1);
	assert_guest_refused(info, &own_trust, "TcgLogs: the event log ends inside an event");
}

static void a_log_as_long_as_a_real_machines_is_read(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	auto_json *info = guest_info(&g);
	auto_buf log = BUF(ROOM);
	static const uint8_t padding[100 * 1024];
	read_data(VECTORS "binary_bios_measurements", &log);
	put(&log, 0, 4); /* an event that extends nothing, with 100 KiB behind it */
	put(&log, 0x03000000, 4);
	put(&log, 0, 4);
	put(&log, 0x00900100, 4);
	assert_ok(buf_append(&log, padding, sizeof(padding)));
	set_base64(info, "TcgLogs", log.data, log.len);
	json_free(guest_claims(info, &own_trust));
}

/* ---- the sealed answer ---- */

/* As a guest opens it; independent of what sealed it. SKR-213 or 117 if it does not open. */
static skr_status open_inner_key(EVP_PKEY *key, const struct buf *sealed, struct buf *out)
{
	uint8_t inner[256];
	size_t len = sizeof(inner);
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, key, NULL);
	if (EVP_PKEY_decrypt_init(ctx) != 1 || EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) != 1 ||
	    EVP_PKEY_decrypt(ctx, inner, &len, sealed->data, sealed->len) != 1)
		return ossl_fail(117, "the inner key");
	return buf_append(out, inner, len);
}

static skr_status open_jwt(const struct buf *inner, const struct buf *iv, const struct buf *tag, const struct buf *jwt,
                           struct buf *out)
{
	auto_cipher_ctx *ctx = EVP_CIPHER_CTX_new();
	auto_cipher *cipher = EVP_CIPHER_fetch(ossl, inner->len == 16 ? "AES-128-GCM" : "AES-256-GCM", NULL);
	int len = 0, rest = 0;
	uint8_t *place;
	if ((inner->len != 16 && inner->len != 32) || iv->len != 12 || tag->len != 16)
		return FAIL(213, "key, IV or tag is of another length");
	TRY(buf_reserve(out, jwt->len, &place));
	if (EVP_DecryptInit_ex2(ctx, cipher, inner->data, iv->data, NULL) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, 16, tag->data) != 1 ||
	    EVP_DecryptUpdate(ctx, NULL, &len, (const uint8_t *)"Transport Key", 13) != 1 ||
	    EVP_DecryptUpdate(ctx, place, &len, jwt->data, (int)jwt->len) != 1 ||
	    EVP_DecryptFinal_ex(ctx, place + len, &rest) != 1)
		return ossl_fail(117, "the sealed token");
	out->len += (size_t)len;
	return OK;
}

static skr_status take_bytes(const json *object, const char *name, struct buf *out)
{
	const char *text;
	TRY(json_string(object, name, &text));
	out->limit = ROOM;
	return base64_decode(text, strlen(text), out);
}

static skr_status open_envelope(EVP_PKEY *key, const json *envelope, struct buf *out)
{
	auto_buf sealed_key = BUF(0), inner = BUF(256), iv = BUF(0), tag = BUF(0), jwt = BUF(0);
	const json *params = json_get(envelope, "EncryptionParams");
	const char *text;
	int64_t bits;
	TRY(json_string(params, "Cipher", &text));
	if (strcmp(text, "AES") != 0)
		return FAIL(213, "the cipher is %s", text);
	TRY(json_integer(params, "KeySizeInBits", false, &bits));
	TRY(take_bytes(envelope, "EncryptedInnerKey", &sealed_key));
	TRY(take_bytes(params, "Iv", &iv));
	TRY(take_bytes(envelope, "AuthenticationData", &tag));
	TRY(take_bytes(envelope, "Jwt", &jwt));
	TRY(open_inner_key(key, &sealed_key, &inner));
	return open_jwt(&inner, &iv, &tag, &jwt, out);
}

static skr_status open_answer(EVP_PKEY *key, const char *text, struct buf *out)
{
	auto_buf envelope_text = BUF(ROOM);
	auto_json *envelope = NULL;
	TRY(base64url_decode(text, strlen(text), &envelope_text));
	TRY(json_parse(envelope_text.data, envelope_text.len, &envelope));
	return open_envelope(key, envelope, out);
}

static EVP_PKEY *private_key(const char *pem)
{
	auto_bio *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, ossl, NULL);
	assert_non_null(key);
	return key;
}

/* So that what opens our own answers is known to open the published ones, and no others. */
static void this_tests_opener_agrees_with_the_published_answers(void **state)
{
	(void)state;
	auto_json *vectors = read_json("cvm/generated/azureguest-sealed.json");
	auto_pkey *key = private_key(json_string_or_null(vectors, "rsa_private_key_pem"));
	for (const json *row = json_first(json_get(vectors, "cases")); row; row = json_next(row)) {
		auto_buf opened = BUF(ROOM);
		const char *name = json_string_or_null(row, "name");
		bool good = strcmp(json_string_or_null(row, "expect"), "ok") == 0;
		skr_status status = open_answer(key, json_string_or_null(json_get(row, "response"), "token"), &opened);
		/* OpenSSL may answer a broken PKCS#1 padding with random bytes, then the tag refuses */
		if ((status.failure == 0) != good)
			fail_msg("%s: %d %s", name, status.failure, status.failure ? status_message() : "");
		if (good)
			assert_string_equal(buf_text(&opened), json_string_or_null(row, "plaintext"));
	}
}

static void the_envelope_is_written_as_the_real_one(void **state)
{
	(void)state;
	auto_json *real = read_json("cvm/trustedlaunch-azureguest/response.json"), *ours = NULL, *envelope = NULL;
	auto_buf text = BUF(ROOM), opened = BUF(ROOM);
	const char *token = json_string_or_null(real, "token");
	assert_ok(base64url_decode(token, strlen(token), &text));
	assert_ok(json_parse(text.data, text.len, &envelope));
	assert_ok(guest_seal(guest_keys.key, "a.b.c", 5, &ours));

	const json *a = json_first(envelope), *b = json_first(ours);
	for (; a && b; a = json_next(a), b = json_next(b))
		assert_string_equal(json_name(a), json_name(b));
	assert_true(!a && !b);
	a = json_first(json_get(envelope, "EncryptionParams"));
	b = json_first(json_get(ours, "EncryptionParams"));
	for (; a && b; a = json_next(a), b = json_next(b)) {
		assert_string_equal(json_name(a), json_name(b));
		if (json_text(a) && strcmp(json_name(a), "Iv") != 0)
			assert_string_equal(json_text(a), json_text(b));
	}
	assert_true(!a && !b);
	assert_ok(open_envelope(guest_keys.key, ours, &opened));
	assert_string_equal(buf_text(&opened), "a.b.c");
}

static void each_answer_has_a_fresh_key_and_iv(void **state)
{
	(void)state;
	auto_json *a = NULL, *b = NULL;
	assert_ok(guest_seal(guest_keys.key, "a.b.c", 5, &a));
	assert_ok(guest_seal(guest_keys.key, "a.b.c", 5, &b));
	assert_string_not_equal(json_string_or_null(a, "Jwt"), json_string_or_null(b, "Jwt"));
	assert_string_not_equal(json_string_or_null(json_get(a, "EncryptionParams"), "Iv"),
	                        json_string_or_null(json_get(b, "EncryptionParams"), "Iv"));
}

/* ---- the service and the vault ---- */

#define GUEST_ROUTE "/attest/AzureGuest?api-version="

static struct call *ask_guest(const json *info, const char *version, const char *spelling)
{
	auto_buf body = BUF(ROOM);
	char target[96];
	body_of(info, spelling, &body);
	snprintf(target, sizeof(target), GUEST_ROUTE "%s", version);
	return ask("POST", MAA_HOST, target, NULL, buf_text(&body));
}

/* What a POST answers with, opened. */
static skr_status answered_token(const struct call *call, struct buf *out)
{
	auto_json *answer = answer_of(call);
	const char *token;
	TRY(json_string(answer, "token", &token));
	return open_answer(guest_keys.key, token, out);
}

/* A machine whose image is signed, as a paravisor's is. */
static void play_a_paravisor(void)
{
	auto_json *settings =
	    json_of("{\"id_key_digest\":\"0356215882a825279a85b300b0b742931d113bf7e32dde2e50ffde7ec743ca"
	            "491ecdd7f336dc28a6e0b2bb57af7a44a3\"}");
	assert_ok(hardware_change(&emulator, settings));
}

static void take_guest_token(struct buf *out)
{
	struct guest g = honest_guest();
	auto_json *info = guest_info(&g);
	auto_call *call = ask_guest(info, "2020-10-01", "AttestationInfo");
	assert_status(call, 200);
	assert_ok(answered_token(call, out));
}

static void a_guest_gets_a_token_like_the_captured_ones(void **state)
{
	(void)state;
	auto_buf token = BUF(ROOM);
	auto_jws jws = {0};
	auto_json *captured = captured_claims("cvm/tokens/azureguest-snp-2023.jwt"), *checked = NULL;
	take_guest_token(&token);
	assert_ok(jws_parse(buf_text(&token), token.len, &jws));
	assert_ok(jws_payload(&jws));
	assert_ok(maa_token_claims(&emulator, buf_text(&token), &checked));

	int64_t exp, iat;
	assert_ok(json_integer(jws.payload, "exp", false, &exp));
	assert_ok(json_integer(jws.payload, "iat", false, &iat));
	assert_int_equal(exp - iat, 28800);
	assert_text(jws.payload, "iss", ISSUER);
	/* user-data is newer than the captured tokens */
	json_remove(member(jws.payload, "x-ms-isolation-tee.x-ms-runtime"), "user-data");
	assert_shape("token", jws.payload, captured);
	auto_json *sample = read_json("cvm/tokens/azureguest-snp-claims-sample.json");
	json_remove(member(jws.payload, "x-ms-runtime"), "client-payload"); /* the sample has none */
	assert_shape("sample", jws.payload, sample);
}

static void both_versions_and_spellings_are_served(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	auto_json *info = guest_info(&g);
	auto_call *old = ask_guest(info, "2020-10-01", "AttestationInfo"),
	          *fresh = ask_guest(info, "2025-06-01", "attestationInfo"),
	          *before = ask_guest(info, "2018-09-01-preview", "AttestationInfo");
	assert_status(old, 200);
	assert_status(fresh, 200);
	assert_status(before, 400);
}

static void a_refusal_is_a_400_with_the_reason(void **state)
{
	(void)state;
	struct guest g = honest_guest();
	g.name_change = 1;
	auto_json *info = guest_info(&g);
	auto_call *call = ask_guest(info, "2020-10-01", "AttestationInfo");
	assert_error(call, 400, "InvalidParameter", "EncKeyCertifyInfo names another key");
}

static void faults_break_the_sealed_answer_member_by_member(void **state)
{
	(void)state;
	static const struct {
		const char *rule, *words;
	} rows[] = {
	    {"maa.attest mutate(sealed.AuthenticationData,flip)", "the sealed token"},
	    {"maa.attest mutate(sealed.Jwt,flip)", "the sealed token"},
	    {"maa.attest mutate(sealed.EncryptedInnerKey,flip)", ""},
	    {"maa.attest mutate(sealed.EncryptionParams.Iv,\"AAAAAAAAAAAAAAA=\")", "of another length"},
	    {"maa.attest mutate(sealed.EncryptionParams.Cipher,DES)", "the cipher is DES"},
	    {"maa.attest mutate(sealed.EncryptionParams)", "Cipher"},
	};
	struct guest g = honest_guest();
	auto_json *info = guest_info(&g);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_buf token = BUF(ROOM);
		assert_ok(faults_add(&emulator, rows[i].rule));
		auto_call *call = ask_guest(info, "2020-10-01", "AttestationInfo");
		faults_clear(&emulator);
		assert_status(call, 200);
		skr_status status = answered_token(call, &token);
		if (!status.failure || !strstr(status_message(), rows[i].words))
			fail_msg("%s: %d %s", rows[i].rule, status.failure, status.failure ? status_message() : "");
	}
}

static void create_key(const char *name, const char *conditions)
{
	auto_buf policy = BUF(4096), data = BUF(8192), body = BUF(16384), target = BUF(256);
	assert_ok(buf_printf(&policy, "{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"" ISSUER "\",\"allOf\":%s}]}",
	                     conditions));
	assert_ok(base64url_encode(policy.data, policy.len, &data));
	assert_ok(buf_printf(&body,
	                     "{\"kty\":\"RSA-HSM\",\"attributes\":{\"exportable\":true},\"release_policy\":{\"data\":"
	                     "\"%s\"}}",
	                     buf_text(&data)));
	assert_ok(buf_printf(&target, "/keys/%s/create?api-version=7.4", name));
	auto_call *call = ask("POST", VAULT, buf_text(&target), vault_token, buf_text(&body));
	assert_status(call, 200);
}

static struct call *release(const char *name, const struct buf *token)
{
	auto_buf body = BUF(ROOM), target = BUF(256);
	assert_ok(buf_printf(&body, "{\"target\":\"%s\",\"enc\":\"RSA_AES_KEY_WRAP_256\"}", buf_text(token)));
	assert_ok(buf_printf(&target, "/keys/%s/release?api-version=7.4", name));
	return ask("POST", VAULT, buf_text(&target), vault_token, buf_text(&body));
}

#define NESTED(value)                                                                                   \
	"{\"claim\":\"x-ms-isolation-tee.x-ms-attestation-type\",\"equals\":\"" value "\"},{\"claim\":" \
	"\"x-ms-isolation-tee.x-ms-compliance-status\",\"equals\":\"azure-compliant-cvm\"}"

static void policies_see_a_guests_claims_where_they_are(void **state)
{
	(void)state;
	static const struct {
		const char *name, *conditions;
		bool released;
	} rows[] = {
	    {"nested", "[" NESTED("sevsnpvm") "]", true},
	    {"either", "[{\"anyOf\":[" NESTED("tdxvm") "," NESTED("sevsnpvm") "]}]", true},
	    {"other-tee", "[" NESTED("tdxvm") "]", false},
	    /* what a paravisor's own token has at the top, for its disks: never a guest's */
	    {"paravisor", "[{\"claim\":\"x-ms-attestation-type\",\"equals\":\"sevsnpvm\"}]", false},
	    {"compliance", "[{\"claim\":\"x-ms-compliance-status\",\"equals\":\"azure-compliant-cvm\"}]", false},
	    {"debug-text", "[{\"claim\":\"x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable\",\"equals\":\"false\"}]",
	     true},
	    {"debug", "[{\"claim\":\"x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable\",\"equals\":false}]", true},
	    {"debuggable", "[{\"claim\":\"x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable\",\"equals\":\"true\"}]",
	     false},
	    {"secureboot", "[{\"claim\":\"secureboot\",\"equals\":true}]", true},
	    {"one-vm", "[{\"claim\":\"x-ms-azurevm-vmid\",\"equals\":\"0FEDCBA9-8765-4321-8FED-CBA987654321\"}]", true},
	};
	auto_buf token = BUF(ROOM);
	take_guest_token(&token);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		create_key(rows[i].name, rows[i].conditions);
		auto_call *call = release(rows[i].name, &token);
		if (call->exchange.status != (rows[i].released ? 200 : 403))
			fail_msg("%s: %d %s", rows[i].name, call->exchange.status, buf_text(&call->exchange.reply));
	}
}

static void a_release_is_wrapped_to_the_tpms_key_alone(void **state)
{
	(void)state;
	auto_buf token = BUF(ROOM), text = BUF(ROOM), wrapped = BUF(ROOM), target = BUF(ROOM), other = BUF(ROOM);
	auto_jws jws = {0};
	auto_json *header = NULL;
	take_guest_token(&token);
	create_key("wrapped", "[" NESTED("sevsnpvm") "]");
	auto_call *call = release("wrapped", &token);
	assert_status(call, 200);
	auto_json *answer = answer_of(call);
	const char *value = json_string_or_null(answer, "value");
	assert_ok(jws_parse(value, strlen(value), &jws));
	assert_ok(jws_payload(&jws));
	const char *key_hsm = json_string_or_null(member(jws.payload, "response.key.key"), "key_hsm");
	assert_ok(base64url_decode(key_hsm, strlen(key_hsm), &text));
	assert_ok(json_parse(text.data, text.len, &header));
	assert_text(json_get(header, "header"), "kid", "TpmEphemeralEncryptionKey");
	const char *ciphertext = json_string_or_null(header, "ciphertext");
	assert_ok(base64url_decode(ciphertext, strlen(ciphertext), &wrapped));
	assert_ok(keywrap_open("RSA_AES_KEY_WRAP_256", guest_keys.key, wrapped.data, wrapped.len, &target));
	assert_refused(keywrap_open("RSA_AES_KEY_WRAP_256", guest_keys.ak, wrapped.data, wrapped.len, &other), 341, "");
}

int main(void)
{
#define T(test) cmocka_unit_test(test)
	const struct CMUnitTest tests[] = {
	    T(published_requests_are_judged_as_their_names_say),
	    T(the_guest_librarys_indented_body_is_understood),
	    T(both_spellings_and_alphabets_are_understood),
	    T(nested_runtime_claims_hash_to_the_report_data_in_captured_tokens_and_ours),
	    T(the_two_runtime_claims_are_told_apart),
	    T(trusted_launch_has_no_isolation_claims_and_its_own_machine_id),
	    T(version_1_knows_no_isolation),
	    T(trusted_launch_needs_an_authority_that_is_trusted),
	    T(a_real_machines_tpm_is_read_and_verified),
	    T(what_a_tpm_wrote_is_refused_when_cut_or_longer),
	    T(the_emulators_own_snp_guest_is_attested),
	    T(a_tdx_guest_has_its_claims_nested),
	    T(a_td_quote_for_other_runtime_claims_is_refused),
	    T(a_debuggable_guest_is_not_compliant),
	    T(keys_without_the_attributes_they_need_are_refused),
	    T(a_key_that_signs_and_decrypts_is_accepted),
	    T(what_the_tpm_says_must_fit_together),
	    T(pcr_sets_that_the_service_does_not_take_are_refused),
	    T(lists_of_pcrs_that_do_not_fit_are_refused),
	    T(requests_that_lack_something_are_refused_by_its_name),
	    T(an_unknown_isolation_is_refused),
	    T(a_hardware_guest_cannot_pass_as_trusted_launch),
	    T(something_behind_the_ak_certificate_is_refused),
	    T(without_a_log_secure_boot_is_what_the_setting_says),
	    T(a_log_that_lacks_an_event_is_refused),
	    T(a_log_that_is_cut_is_refused),
	    T(a_log_as_long_as_a_real_machines_is_read),
	    T(this_tests_opener_agrees_with_the_published_answers),
	    T(the_envelope_is_written_as_the_real_one),
	    T(each_answer_has_a_fresh_key_and_iv),
	    T(a_guest_gets_a_token_like_the_captured_ones),
	    T(both_versions_and_spellings_are_served),
	    T(a_refusal_is_a_400_with_the_reason),
	    T(faults_break_the_sealed_answer_member_by_member),
	    T(policies_see_a_guests_claims_where_they_are),
	    T(a_release_is_wrapped_to_the_tpms_key_alone),
	};
	return cmocka_run_group_tests(tests, open_guest, close_guest);
}
