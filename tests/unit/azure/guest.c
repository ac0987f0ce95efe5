/* SPDX-License-Identifier: Apache-2.0 */
/* AzureGuest: what is sent of a machine with a vTPM, and what is taken from the sealed answer: rows. */
#include "azure/guest.h"

#include "azure/attestation.h"
#include "base/file.h"
#include "surroundings.h"

#include <openssl/rsa.h>

#define CVM SKR_TEST_DATA "/cvm/"

static json *json_from_file(const char *path)
{
	auto_buf text = BUF(256 * 1024);
	json *parsed = NULL;

	MUST(!file_read(path, &text).failure && !json_parse(text.data, text.len, &parsed).failure);
	return parsed;
}

/* ---- the request ---- */

static void decode_into(const json *object, const char *name, struct buf *out)
{
	const char *text = json_string_or_null(object, name);

	*out = BUF(64 * 1024);
	MUST(text && !base64_decode_any(text, strlen(text), out).failure);
}

/* The evidence that a request of the vectors was made of. */
static void evidence_of(const json *info, enum isolation kind, struct guest_evidence *e)
{
	const json *tpm = json_get(info, "TpmInfo"), *isolation = json_get(json_get(info, "IsolationInfo"), "Evidence");
	auto_json *proof = NULL;
	auto_buf text = BUF(0);
	int i = 0;

	memset(e, 0, sizeof(*e));
	e->isolation = kind;
	decode_into(info, "TcgLogs", &e->event_log);
	decode_into(tpm, "AikCert", &e->ak_certificate);
	decode_into(tpm, "AikPub", &e->ak_public);
	decode_into(tpm, "PcrQuote", &e->quote);
	decode_into(tpm, "PcrSignature", &e->quote_signature);
	decode_into(tpm, "EncKeyPub", &e->transport_public);
	decode_into(tpm, "EncKeyCertifyInfo", &e->certify);
	decode_into(tpm, "EncKeyCertifyInfoSignature", &e->certify_signature);
	for (const json *pcr = json_first(json_get(tpm, "PCRs")); pcr; pcr = json_next(pcr), i++) {
		auto_buf digest = BUF(0);
		decode_into(pcr, "Digest", &digest);
		MUST(i < GUEST_PCRS && digest.len == 32);
		memcpy(e->pcrs[i], digest.data, 32);
	}
	if (kind != ISOLATION_SNP)
		return;
	decode_into(isolation, "RunTimeData", &e->claims);
	decode_into(isolation, "Proof", &text);
	MUST(!json_parse(text.data, text.len, &proof).failure);
	decode_into(proof, "SnpReport", &e->hardware);
	decode_into(proof, "VcekCertChain", &e->chain_pem);
}

/* What was printed, with {"AttestationInfo":…} taken off. */
static json *printed_info(const struct guest_evidence *evidence, const char *nonce)
{
	auto_buf body = BUF(256 * 1024), text = BUF(256 * 1024);
	auto_json *parsed = NULL;
	json *info = NULL;

	assert_int_equal(guest_request_print(evidence, nonce, &body).failure, 0);
	assert_int_equal(json_parse(body.data, body.len, &parsed).failure, 0);
	assert_int_equal(json_count(parsed), 1);
	const char *encoded = json_string_or_null(parsed, "AttestationInfo");
	assert_int_equal(base64url_decode(encoded, strlen(encoded), &text).failure, 0); /* unpadded */
	assert_int_equal(json_parse(text.data, text.len, &info).failure, 0);
	return info;
}

/* Puts our own copy of a member in place of theirs: it is compared elsewhere. */
static void take_over(json *theirs, const json *ours, const char *name)
{
	json_set(theirs, name, json_copy(json_get(ours, name)));
}

static void assert_same(json *a, json *b)
{
	auto_buf text_a = BUF(256 * 1024), text_b = BUF(256 * 1024);

	json_sort(a);
	json_sort(b);
	assert_int_equal(json_print(a, &text_a).failure, 0);
	assert_int_equal(json_print(b, &text_b).failure, 0);
	assert_string_equal(buf_text(&text_a), buf_text(&text_b));
}

static void assert_same_but_for_the_system(json *ours, json *theirs)
{
	take_over(theirs, ours, "OSDistro");
	take_over(theirs, ours, "OSVersionMajor");
	take_over(theirs, ours, "OSVersionMinor");
	assert_same(ours, theirs);
}

static void a_trusted_launch_request_is_the_published_one(void **state)
{
	(void)state;
	auto_json *vector = json_from_file(CVM "generated/azureguest-requests/trusted-launch-ok.json");
	auto_json *theirs = json_copy(json_get(vector, "attestationInfo"));
	auto_guest_evidence evidence;

	evidence_of(theirs, ISOLATION_TRUSTED_LAUNCH, &evidence);
	auto_json *ours = printed_info(&evidence, "ADE0101");
	assert_null(json_get(json_get(ours, "IsolationInfo"), "Evidence"));
	assert_same_but_for_the_system(ours, theirs);
}

/* The proof's JSON has blanks in the vector, so that it is compared by itself, member by member in its alphabet. */
static void an_snp_request_is_the_published_one(void **state)
{
	(void)state;
	auto_json *vector = json_from_file(CVM "generated/azureguest-requests/snp-ok.json");
	auto_json *theirs = json_copy(json_get(vector, "attestationInfo"));
	auto_json *our_proof = NULL, *their_proof = NULL;
	auto_buf our_text = BUF(64 * 1024), their_text = BUF(0);
	auto_guest_evidence evidence;

	evidence_of(theirs, ISOLATION_SNP, &evidence);
	auto_json *ours = printed_info(&evidence, "ADE0101");
	const char *proof = json_string_or_null(json_get(json_get(ours, "IsolationInfo"), "Evidence"), "Proof");
	assert_int_equal(base64_decode(proof, strlen(proof), &our_text).failure, 0); /* padded, the other alphabet */
	decode_into(json_get(json_get(theirs, "IsolationInfo"), "Evidence"), "Proof", &their_text);
	assert_int_equal(json_parse(our_text.data, our_text.len, &our_proof).failure, 0);
	assert_int_equal(json_parse(their_text.data, their_text.len, &their_proof).failure, 0);
	assert_same(our_proof, their_proof);

	auto_json *isolation = json_copy(json_get(theirs, "IsolationInfo"));
	auto_json *inner = json_copy(json_get(isolation, "Evidence"));
	json_set_string(inner, "Proof", proof);
	json_set(isolation, "Evidence", TAKE(inner));
	json_set(theirs, "IsolationInfo", TAKE(isolation));
	assert_same_but_for_the_system(ours, theirs);
}

static void a_tdx_proof_is_the_quote_itself(void **state)
{
	(void)state;
	auto_guest_evidence evidence = {.isolation = ISOLATION_TDX, .hardware = BUF(16), .claims = BUF(16)};

	assert_int_equal(buf_append(&evidence.hardware, "\xff\xfe\xfd\xfc", 4).failure, 0);
	assert_int_equal(buf_append(&evidence.claims, "{}", 2).failure, 0);
	auto_json *info = printed_info(&evidence, "n");
	const json *isolation = json_get(info, "IsolationInfo"), *inner = json_get(isolation, "Evidence");
	assert_string_equal(json_string_or_null(isolation, "Type"), "Tdx");
	assert_string_equal(json_string_or_null(inner, "Proof"), "//79/A==");
	assert_string_equal(json_string_or_null(inner, "RunTimeData"), "e30=");
	assert_string_equal(json_string_or_null(info, "TcgLogs"), ""); /* a log that could not be read */
	assert_string_equal(json_string_or_null(json_get(info, "ClientPayload"), "nonce"), "bg==");
}

static void boot_logs_may_be_long_but_not_endless(void **state)
{
	(void)state;
	static char log[900 * 1024];
	auto_guest_evidence evidence = {.event_log = BUF(sizeof(log))};
	auto_buf body = BUF(2 * 1024 * 1024);

	assert_int_equal(buf_append(&evidence.event_log, log, 800 * 1024).failure, 0);
	assert_int_equal(guest_request_print(&evidence, "n", &body).failure, 0);
	assert_true(body.len > 1400 * 1024);
	buf_clear(&body);
	assert_int_equal(buf_append(&evidence.event_log, log, 100 * 1024).failure, 0);
	expect_failure(guest_request_print(&evidence, "n", &body), 208, "a boot log of 921600 bytes");
	assert_int_equal(body.len, 0);
}

static void the_system_is_named_by_os_release(void **state)
{
	(void)state;
	static const struct {
		const char *text, *name;
		int major, minor;
	} rows[] = {
	    {"NAME=\"Ubuntu\"\nVERSION_ID=\"22.04\"\n", "Ubuntu", 22, 4},
	    {"VERSION_ID=\"12\"\nNAME=\"Debian GNU/Linux\"", "Debian GNU/Linux", 12, 0},
	    {"PRETTY_NAME=\"x\"\nNAME='Microsoft Azure Linux'\nVERSION_ID=3.0.20240727\n", "Microsoft Azure Linux", 3,
	     0},
	    {"NAME=\"a \\\"b\\\" \\$c\"\n", "a \"b\" $c", 1, 0},
	    {"NAME=\"Bob's\"\n", "Bob's", 1, 0},
	    {"NAME=Arch\n", "Arch", 1, 0},
	    {"", "Linux", 1, 0},
	    {"NAME", "Linux", 1, 0},
	    {"MY_NAME=x\nNAMES=y\n", "Linux", 1, 0},
	    {"NAME=", "", 1, 0},
	    {"NAME=\\", "\\", 1, 0},
	    {"VERSION_ID=0.9\n", "Linux", 1, 0},
	    {"VERSION_ID=rolling\n", "Linux", 1, 0},
	    {"VERSION_ID=12x\n", "Linux", 1, 0},
	    {"VERSION_ID=-3\n", "Linux", 1, 0},
	    {"VERSION_ID=12.\n", "Linux", 1, 0},
	    {"VERSION_ID=12.-4\n", "Linux", 1, 0},
	    {"VERSION_ID=123456789\n", "Linux", 1, 0},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct guest_os os;

		guest_os_parse(rows[i].text, strlen(rows[i].text), &os);
		if (strcmp(os.name, rows[i].name) != 0 || os.major != rows[i].major || os.minor != rows[i].minor)
			fail_msg("%s: %s %d.%d", rows[i].text, os.name, os.major, os.minor);
	}
}

static void a_name_without_end_is_cut(void **state)
{
	(void)state;
	char text[1000];
	struct guest_os os;

	memset(text, 'x', sizeof(text));
	memcpy(text, "NAME=", 5);
	guest_os_parse(text, sizeof(text), &os);
	assert_int_equal(strlen(os.name), sizeof(os.name) - 1);
}

/* ---- the sealed answer ---- */

static const char *token_of(const json *response)
{
	return json_string_or_null(response, "token");
}

/* In the TPM's place: the published TEST key opens the inner key. */
static skr_status unseal(EVP_PKEY *key, const char *text, struct buf *token)
{
	auto_sealed_token sealed = {0};
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, key, NULL);
	uint8_t inner[GUEST_TRANSPORT];
	size_t len = sizeof(inner);

	TRY(sealed_token_parse(text, strlen(text), &sealed));
	MUST(EVP_PKEY_decrypt_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1);
	if (EVP_PKEY_decrypt(ctx, inner, &len, sealed.inner_key, sizeof(sealed.inner_key)) != 1)
		return ossl_fail(323, "the TPM");
	return sealed_token_open(&sealed, inner, len, token);
}

static EVP_PKEY *test_key(const json *vectors)
{
	const char *pem = json_string_or_null(vectors, "rsa_private_key_pem");
	auto_bio *bio = BIO_new_mem_buf(pem, -1);

	EVP_PKEY *key = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, ossl, NULL);
	MUST(key);
	return key;
}

static void sealed_answers_open_or_not_as_the_vectors_expect(void **state)
{
	(void)state;
	auto_json *vectors = json_from_file(CVM "generated/azureguest-sealed.json");
	auto_pkey *key = test_key(vectors);
	size_t good = 0, bad = 0;

	for (const json *c = json_first(json_get(vectors, "cases")); c; c = json_next(c)) {
		const char *name = json_string_or_null(c, "name"), *plain = json_string_or_null(c, "plaintext");
		bool ok = strcmp(json_string_or_null(c, "expect"), "ok") == 0;
		auto_buf token = BUF(64 * 1024);
		skr_status status = unseal(key, token_of(json_get(c, "response")), &token);

		if (status.failure != (ok ? 0 : 323))
			fail_msg("%s: SKR-%d %s", name, status.failure, status_message());
		if (ok ? strcmp(buf_text(&token), plain) != 0 : token.len != 0)
			fail_msg("%s: another plaintext", name);
		*(ok ? &good : &bad) += 1;
	}
	assert_int_equal(good, 4);
	assert_int_equal(bad, 7);
}

static void a_real_answer_parses(void **state)
{
	(void)state;
	auto_json *response = json_from_file(CVM "trustedlaunch-azureguest/response.json");
	auto_sealed_token sealed = {0};

	assert_int_equal(sealed_token_parse(token_of(response), strlen(token_of(response)), &sealed).failure, 0);
	assert_int_equal(sealed.ciphertext.len, 2896);
}

#define B64_11 "AAAAAAAAAAAAAAA="
#define B64_12 "AAAAAAAAAAAAAAAA"
#define B64_13 "AAAAAAAAAAAAAAAAAA=="
#define B64_15 "AAAAAAAAAAAAAAAAAAAA"
#define B64_16 "AAAAAAAAAAAAAAAAAAAAAA=="

/* What Microsoft's library lets pass, and we do not, is among these: tags of 12 to 15 bytes, IVs of any length. */
static const struct {
	const char *in, *member, *value, *said;
} damages[] = {
    {NULL, "EncryptedInnerKey", NULL, "EncryptedInnerKey: the sealed token has none"},
    {NULL, "EncryptedInnerKey", B64_16, "EncryptedInnerKey: the sealed token has 16 bytes there, not 256"},
    {NULL, "EncryptedInnerKey", "", "has 0 bytes there, not 256"},
    {NULL, "EncryptionParams", NULL, "EncryptionParams"},
    {NULL, "EncryptionParams", "AES", "EncryptionParams"},
    {"EncryptionParams", "Cipher", NULL, "Cipher"},
    {"EncryptionParams", "Cipher", "aes", "Cipher: the sealed token has aes there, not AES"},
    {"EncryptionParams", "BlockMode", NULL, "BlockMode"},
    {"EncryptionParams", "BlockMode", "ChainingModeCBC", "BlockMode"},
    {"EncryptionParams", "BlockPadding", NULL, "BlockPadding"},
    {"EncryptionParams", "BlockPadding", "None", "BlockPadding"},
    {"EncryptionParams", "Iv", NULL, "Iv"},
    {"EncryptionParams", "Iv", "", "Iv"},
    {"EncryptionParams", "Iv", B64_11, "Iv: the sealed token has 11 bytes there, not 12"},
    {"EncryptionParams", "Iv", B64_13, "Iv"},
    {NULL, "AuthenticationData", NULL, "AuthenticationData"},
    {NULL, "AuthenticationData", "", "AuthenticationData"},
    {NULL, "AuthenticationData", B64_12, "AuthenticationData: the sealed token has 12 bytes there, not 16"},
    {NULL, "AuthenticationData", B64_15, "AuthenticationData: the sealed token has 15 bytes there, not 16"},
    {NULL, "AuthenticationData", "AAAAAAAAAAAAAAAAAAAAAA", "AuthenticationData"}, /* padding left out */
    {NULL, "Jwt", NULL, "Jwt"},
    {NULL, "Jwt", "", "Jwt"},
    {NULL, "Jwt", "!", "Jwt"},
};

static json *good_envelope(void)
{
	auto_json *vectors = json_from_file(CVM "generated/azureguest-sealed.json");
	const char *text = token_of(json_get(json_first(json_get(vectors, "cases")), "response"));
	auto_buf bytes = BUF(64 * 1024);
	json *envelope = NULL;

	MUST(!base64url_decode(text, strlen(text), &bytes).failure);
	MUST(!json_parse(bytes.data, bytes.len, &envelope).failure);
	return envelope;
}

static skr_status parse_envelope(const json *envelope, struct sealed_token *ret)
{
	auto_buf text = BUF(64 * 1024), encoded = BUF(64 * 1024);

	MUST(!json_print(envelope, &text).failure && !base64url_encode(text.data, text.len, &encoded).failure);
	return sealed_token_parse(buf_text(&encoded), encoded.len, ret);
}

static void set_or_remove(json *object, const char *name, const char *value)
{
	json_remove(object, name);
	if (value)
		json_set_string(object, name, value);
}

static void every_member_of_a_sealed_answer_is_insisted_on(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		auto_json *envelope = good_envelope();
		struct sealed_token sealed = {0};

		if (damages[i].in) {
			json *inner = json_copy(json_get(envelope, damages[i].in));
			set_or_remove(inner, damages[i].member, damages[i].value);
			json_set(envelope, damages[i].in, inner);
		} else {
			set_or_remove(envelope, damages[i].member, damages[i].value);
		}
		expect_failure(parse_envelope(envelope, &sealed), 323, damages[i].said);
		assert_null(sealed.ciphertext.data); /* a refusal hands nothing out */
	}
}

static void what_is_no_envelope_is_refused(void **state)
{
	(void)state;
	auto_json *envelope = good_envelope();
	auto_sealed_token sealed = {0};

	json_set_number(envelope, "Extra", 1); /* services add members */
	assert_int_equal(parse_envelope(envelope, &sealed).failure, 0);
	struct sealed_token none = {0};
	expect_failure(sealed_token_parse("", 0, &none), 323, "token");
	expect_failure(sealed_token_parse("e30=", 4, &none), 323, "base64url"); /* padded */
	expect_failure(sealed_token_parse("aGVsbG8", 7, &none), 323, "JSON");
	expect_failure(sealed_token_parse("W10", 3, &none), 323, "EncryptedInnerKey");
}

static void an_inner_key_of_another_size_is_no_aes_key(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 15, 17, 31, 33, 256};
	auto_json *envelope = good_envelope();
	auto_sealed_token sealed = {0};
	auto_buf token = BUF(64 * 1024);
	uint8_t key[256] = {0};

	assert_int_equal(parse_envelope(envelope, &sealed).failure, 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		expect_failure(sealed_token_open(&sealed, key, sizes[i], &token), 323, "EncryptedInnerKey");
	for (size_t len = 16; len <= 32; len += 8)
		expect_failure(sealed_token_open(&sealed, key, len, &token), 323,
		               "Jwt: the sealed token does not open");
	assert_int_equal(token.len, 0);
}

/* ---- the opened token ---- */

#define ISSUER "https://sharedweu.weu.attest.azure.net"
#define NONCE  "ADE0101"

/* The claims of the captured token, made to be of now. */
static json *captured_claims(void)
{
	auto_buf token = BUF(64 * 1024);
	json *claims = NULL;

	MUST(!file_read(CVM "tokens/azureguest-snp-2023.jwt", &token).failure);
	while (token.len > 0 && token.data[token.len - 1] == '\n')
		token.data[--token.len] = '\0';
	MUST(!attestation_claims(buf_text(&token), token.len, &claims).failure);
	json_set_number(claims, "exp", 32503680000);
	return claims;
}

static void modulus_of(const json *runtime, uint8_t out[GUEST_TRANSPORT])
{
	const char *n = json_string_or_null(json_first(json_get(runtime, "keys")), "n");
	auto_buf bytes = BUF(GUEST_TRANSPORT);

	MUST(n && !base64url_decode(n, strlen(n), &bytes).failure && bytes.len == GUEST_TRANSPORT);
	memcpy(out, bytes.data, GUEST_TRANSPORT);
}

static skr_status check(const json *claims, const struct guest_evidence *evidence, const char *header)
{
	struct token_config token = {.attestation = ISSUER};
	struct azure azure = {.token = &token};
	auto_buf text = BUF(32 * 1024), jwt = BUF(64 * 1024);

	MUST(!json_print(claims, &text).failure);
	token_print(header ? header : "{\"alg\":\"RS256\"}", buf_text(&text), &jwt);
	return guest_token_check(&azure, evidence, NONCE, buf_text(&jwt), jwt.len);
}

static void a_token_of_the_captured_shape_is_ours(void **state)
{
	(void)state;
	auto_json *claims = captured_claims();
	struct guest_evidence evidence = {0};

	modulus_of(json_get(claims, "x-ms-runtime"), evidence.transport_modulus);
	assert_int_equal(check(claims, &evidence, NULL).failure, 0);
	expect_failure(check(claims, &evidence, "{\"alg\":\"none\"}"), 323, "alg");
	json_set_number(claims, "exp", 1680202174); /* as it was captured */
	expect_failure(check(claims, &evidence, NULL), 323, "exp");
	json_set_number(claims, "exp", 32503680000);
	json_set_string(claims, "iss", "https://sharedneu.neu.attest.azure.net");
	expect_failure(check(claims, &evidence, NULL), 323, "iss");
}

/* Microsoft's published sample is of a client that sent no payload. */
static void a_token_of_the_published_sample_lacks_the_nonce_alone(void **state)
{
	(void)state;
	auto_json *claims = json_from_file(CVM "tokens/azureguest-snp-claims-sample.json");
	auto_json *captured = captured_claims();
	struct guest_evidence evidence = {0};

	modulus_of(json_get(claims, "x-ms-runtime"), evidence.transport_modulus);
	json_set_number(claims, "exp", 32503680000);
	json_set_string(claims, "iss", ISSUER);
	expect_failure(check(claims, &evidence, NULL), 323, "nonce");
	auto_json *runtime = json_copy(json_get(claims, "x-ms-runtime"));
	json_set(runtime, "client-payload", json_copy(json_get(json_get(captured, "x-ms-runtime"), "client-payload")));
	json_set(claims, "x-ms-runtime", TAKE(runtime));
	assert_int_equal(check(claims, &evidence, NULL).failure, 0);
}

/* The classical mistake: the paravisor's keys stand under the same names, one object deeper. */
static void the_nested_runtime_is_never_taken_for_the_top_one(void **state)
{
	(void)state;
	auto_json *claims = captured_claims();
	auto_json *tee = json_copy(json_get(claims, "x-ms-isolation-tee"));
	auto_json *ours = json_copy(json_get(claims, "x-ms-runtime"));
	auto_json *paravisors = json_copy(json_get(tee, "x-ms-runtime"));
	struct guest_evidence evidence = {0}, of_paravisor = {0};

	modulus_of(ours, evidence.transport_modulus);
	modulus_of(paravisors, of_paravisor.transport_modulus);
	expect_failure(check(claims, &of_paravisor, NULL), 323, "x-ms-runtime");

	json_set(tee, "x-ms-runtime", json_copy(ours)); /* ours is nested alone */
	json_set(claims, "x-ms-isolation-tee", json_copy(tee));
	json_remove(claims, "x-ms-runtime");
	expect_failure(check(claims, &evidence, NULL), 323, NULL);

	json_set(claims, "x-ms-runtime", json_copy(paravisors)); /* and both exchanged */
	expect_failure(check(claims, &evidence, NULL), 323, "nonce");
	json_set(paravisors, "client-payload", json_copy(json_get(ours, "client-payload")));
	json_set(claims, "x-ms-runtime", json_copy(paravisors));
	expect_failure(check(claims, &evidence, NULL), 323, "x-ms-runtime");
	expect_failure(check(claims, &of_paravisor, NULL), 323, "x-ms-runtime"); /* by its name */
}

#define KEY(kid, use, kty, e, n) "{\"kid\":\"" kid "\"," use "\"kty\":\"" kty "\",\"e\":\"" e "\",\"n\":\"" n "\"}"
#define TPM                      "TpmEphemeralEncryptionKey"
#define ENCRYPT                  "\"key_ops\":[\"encrypt\"],"

static const struct {
	const char *name, *keys; /* %s: our modulus */
	bool good;
} key_lists[] = {
    {"use instead of key_ops", KEY(TPM, "\"use\":\"enc\",", "RSA", "AQAB", "%s"), true},
    {"a signing key before it",
     KEY("HCLAkPub", "\"key_ops\":[\"sign\"],", "RSA", "AQAB", "AAA") "," KEY(TPM, ENCRYPT, "RSA", "AQAB", "%s"), true},
    {"another encrypting key before it",
     KEY("HCLEkPub", ENCRYPT, "RSA", "AQAB", "AAA") "," KEY(TPM, ENCRYPT, "RSA", "AQAB", "%s"), false},
    {"a key for nothing", KEY(TPM, "", "RSA", "AQAB", "%s"), false},
    {"a key to sign", KEY(TPM, "\"use\":\"sig\",", "RSA", "AQAB", "%s"), false},
    {"another kid", KEY("HCLEkPub", ENCRYPT, "RSA", "AQAB", "%s"), false},
    {"another type", KEY(TPM, ENCRYPT, "EC", "AQAB", "%s"), false},
    {"another exponent", KEY(TPM, ENCRYPT, "RSA", "Aw", "%s"), false},
    {"another modulus", KEY(TPM, ENCRYPT, "RSA", "AQAB", "A%s"), false},
    {"no key", "", false},
};

static void the_vault_would_wrap_to_our_key_or_the_token_is_refused(void **state)
{
	(void)state;
	auto_json *claims = captured_claims();
	struct guest_evidence evidence = {0};
	auto_buf n = BUF(512);

	modulus_of(json_get(claims, "x-ms-runtime"), evidence.transport_modulus);
	assert_int_equal(base64url_encode(evidence.transport_modulus, GUEST_TRANSPORT, &n).failure, 0);
	for (size_t i = 0; i < sizeof(key_lists) / sizeof(key_lists[0]); i++) {
		auto_json *runtime = json_copy(json_get(claims, "x-ms-runtime")), *keys = NULL;
		const char *at = strstr(key_lists[i].keys, "%s");
		auto_buf list = BUF(2048);

		MUST(!buf_printf(&list, "[%.*s%s%s]", at ? (int)(at - key_lists[i].keys) : 0, key_lists[i].keys,
		                 at ? buf_text(&n) : "", at ? at + 2 : "")
		          .failure);
		MUST(!json_parse(list.data, list.len, &keys).failure);
		json_set(runtime, "keys", TAKE(keys));
		auto_json *changed = json_copy(claims);
		json_set(changed, "x-ms-runtime", TAKE(runtime));
		skr_status status = check(changed, &evidence, NULL);
		if (status.failure != (key_lists[i].good ? 0 : 323))
			fail_msg("%s: SKR-%d %s", key_lists[i].name, status.failure, status_message());
	}
}

static void a_token_for_another_nonce_is_refused(void **state)
{
	(void)state;
	static const char *const payloads[] = {"{}",
	                                       "{\"nonce\":\"" NONCE "\"}",
	                                       "{\"nonce\":\"QURFMDEwMg==\"}",
	                                       "{\"nonce\":7}",
	                                       "\"QURFMDEwMQ==\"",
	                                       "{\"Nonce\":\"QURFMDEwMQ==\"}"};
	auto_json *claims = captured_claims();
	struct guest_evidence evidence = {0};

	modulus_of(json_get(claims, "x-ms-runtime"), evidence.transport_modulus);
	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
		auto_json *changed = json_copy(claims), *runtime = json_copy(json_get(claims, "x-ms-runtime"));
		json *payload = NULL;

		MUST(!json_parse(payloads[i], strlen(payloads[i]), &payload).failure);
		json_set(runtime, "client-payload", payload);
		json_set(changed, "x-ms-runtime", TAKE(runtime));
		expect_failure(check(changed, &evidence, NULL), 323, "nonce");
	}
}

/* ---- against a scripted service ---- */

static skr_status attest(const struct scene *scene, struct sealed_token *ret, char request[256])
{
	auto_json *vector = json_from_file(CVM "generated/azureguest-requests/snp-ok.json");
	struct stage *stage = stage_open(scene, 1, true, 3000);
	auto_guest_evidence evidence;

	evidence_of(json_get(vector, "attestationInfo"), ISOLATION_SNP, &evidence);
	skr_status status = guest_attest(&stage->azure, &evidence, NONCE, ret);
	snprintf(request, 256, "%.255s", stage->server->requests[0]);
	assert_null(strcasestr(stage->server->requests[0], "Authorization:"));
	stage_close(stage);
	return status;
}

static void evidence_goes_to_the_guest_route_and_comes_back_sealed(void **state)
{
	(void)state;
	auto_buf body = BUF(64 * 1024);
	auto_sealed_token sealed = {0};
	char request[256];

	assert_int_equal(file_read(CVM "trustedlaunch-azureguest/response.json", &body).failure, 0);
	char *reply = json_reply(200, "", buf_text(&body));
	assert_int_equal(attest(&(struct scene){.reply = reply}, &sealed, request).failure, 0);
	assert_int_equal(sealed.ciphertext.len, 2896);
	assert_non_null(strstr(request, "POST /attest/AzureGuest?api-version=2020-10-01 HTTP/1.1\r\n"));
	free(reply);
}

static void refusals_have_their_numbers(void **state)
{
	(void)state;
	static const struct {
		int http;
		const char *body;
		int failure;
		const char *said;
	} rows[] = {
	    {400, "{\"error\":{\"code\":\"PolicyEvaluationError\",\"message\":\"secure boot is off\"}}", 320,
	     "evidence with SHA-256 "}, /* */
	    {404, "{}", 321, "https://localhost:"},
	    {200, "{}", 323, "token: there is none"},
	    {200, "{\"token\":7}", 323, "token: there is none"},
	    {200, "{\"token\":\"eyJhbGciOiJSUzI1NiJ9.e30.c2ln\"}", 323, "is no base64url"}, /* a token in clear */
	    {200, "{\"token\":\"e30\"}", 323, "the answer of the attestation service: EncryptedInnerKey"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *reply = json_reply(rows[i].http, "", rows[i].body), request[256];
		struct sealed_token sealed = {0};

		expect_failure(attest(&(struct scene){.reply = reply}, &sealed, request), rows[i].failure,
		               rows[i].said);
		assert_string_equal(status_last()->step, "attestation");
		assert_null(sealed.ciphertext.data);
		free(reply);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_trusted_launch_request_is_the_published_one),
	    cmocka_unit_test(an_snp_request_is_the_published_one),
	    cmocka_unit_test(a_tdx_proof_is_the_quote_itself),
	    cmocka_unit_test(boot_logs_may_be_long_but_not_endless),
	    cmocka_unit_test(the_system_is_named_by_os_release),
	    cmocka_unit_test(a_name_without_end_is_cut),
	    cmocka_unit_test(sealed_answers_open_or_not_as_the_vectors_expect),
	    cmocka_unit_test(a_real_answer_parses),
	    cmocka_unit_test(every_member_of_a_sealed_answer_is_insisted_on),
	    cmocka_unit_test(what_is_no_envelope_is_refused),
	    cmocka_unit_test(an_inner_key_of_another_size_is_no_aes_key),
	    cmocka_unit_test(a_token_of_the_captured_shape_is_ours),
	    cmocka_unit_test(a_token_of_the_published_sample_lacks_the_nonce_alone),
	    cmocka_unit_test(the_nested_runtime_is_never_taken_for_the_top_one),
	    cmocka_unit_test(the_vault_would_wrap_to_our_key_or_the_token_is_refused),
	    cmocka_unit_test(a_token_for_another_nonce_is_refused),
	    cmocka_unit_test(evidence_goes_to_the_guest_route_and_comes_back_sealed),
	    cmocka_unit_test(refusals_have_their_numbers),
	};
	return cmocka_run_group_tests(tests, surroundings_set_up, surroundings_tear_down);
}
