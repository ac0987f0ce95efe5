/* SPDX-License-Identifier: Apache-2.0 */
#include "jose/jws.h"

#include "unit/jose/chain.h"
#include "base/file.h"
#include "jose/jwk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define HOST     "contoso.vault.azure.net"
#define SAN      "DNS:vault.azure.net,DNS:*.vault.azure.net,DNS:*.vaultcore.azure.net"
#define PAYLOAD  "{\"answer\":42}"
#define JWS_ROOM (4 * JWS_LIMIT)

static struct signer good, stranger;

static int make_signers(void **state)
{
	(void)state;
	MUST_OK(ossl_open());
	signer_make(&good, SAN, NULL);
	signer_make(&stranger, SAN, NULL);
	return 0;
}

static int free_signers(void **state)
{
	(void)state;
	signer_done(&good);
	signer_done(&stranger);
	return 0;
}

static struct jws_trust trust_in(const struct signer *signer)
{
	return (struct jws_trust){.alg = "RS256", .host = HOST, .anchors = signer->anchors, .now = TEST_NOW};
}

static skr_status verify_text(const char *text, size_t len, const struct jws_trust *trust)
{
	auto_jws jws = {.header = NULL};

	TRY(jws_parse(text, len, &jws));
	TRY(jws_verify_with_chain(&jws, trust));
	return jws_payload(&jws);
}

/* Takes the header; signs it and verifies it. */
static skr_status sign_and_verify(json *header, EVP_PKEY *key, const struct jws_trust *trust)
{
	auto_json *owned = header;
	auto_buf text = BUF(JWS_ROOM);

	MUST_OK(jws_sign(owned, PAYLOAD, strlen(PAYLOAD), key, &text));
	return verify_text(buf_text(&text), text.len, trust);
}

static void assert_refused(skr_status status, const char *words)
{
	if (status.failure != 340 || !strstr(status_message(), words))
		fail_msg("SKR-%d: %s (expected: %s)", status.failure, status_message(), words);
}

static void a_good_one_verifies_and_gives_its_payload(void **state)
{
	(void)state;
	auto_json *header = signer_header(&good);
	auto_buf text = BUF(JWS_ROOM);
	auto_jws jws = {.header = NULL};
	struct jws_trust trust = trust_in(&good);
	int64_t answer;

	MUST_OK(jws_sign(header, PAYLOAD, strlen(PAYLOAD), good.key, &text));
	assert_int_equal(jws_parse(buf_text(&text), text.len, &jws).failure, 0);
	assert_null(jws.payload);
	assert_int_equal(jws_verify_with_chain(&jws, &trust).failure, 0);
	assert_int_equal(jws_payload(&jws).failure, 0);
	assert_int_equal(json_integer(jws.payload, "answer", false, &answer).failure, 0);
	assert_int_equal(answer, 42);
}

/* ---- form ---- */

static void anything_but_three_strict_parts_is_refused(void **state)
{
	(void)state;
	/* {"alg":"RS256"} and {} */
	static const struct {
		const char *text, *words;
	} cases[] = {
	    {"", "three parts"},
	    {"eyJhbGciOiJSUzI1NiJ9", "three parts"},
	    {"eyJhbGciOiJSUzI1NiJ9.e30", "three parts"},
	    {"eyJhbGciOiJSUzI1NiJ9.e30.AAAA.AAAA", "three parts"},
	    {".e30.AAAA", "header is empty"},
	    {"eyJhbGciOiJSUzI1NiJ9..AAAA", "payload is empty"},
	    {"eyJhbGciOiJSUzI1NiJ9.e30.", "signature is empty"},
	    {"eyJhbGciOiJSUzI1NiJ9.e30=.AAAA", "payload"},
	    {"eyJhbGciOiJSUzI1NiJ9.e31.AAAA", "payload"}, /* stray bits */
	    {"eyJhbGciOiJSUzI1NiJ9.e30.AA A", "signature"},
	    {"eyJhbGciOiJSUzI1NiJ9.e30.AA+/", "signature"},
	    {"eyJhbGciOiJSUzI1NiJ9.e30.AAAA\n", "signature"},
	    {"e30.e30.AAAA", "check 2"},                                    /* no alg */
	    {"eyJhbGciOjF9.e30.AAAA", "check 2"},                           /* alg is a number */
	    {"W10.e30.AAAA", "check 2"},                                    /* [] */
	    {"eyJhbGciOiJSUzI1NiIsImFsZyI6Im5vbmUifQ.e30.AAAA", "check 2"}, /* alg twice */
	    {"eyJhbGciOiJSUzI1NiIsImNyaXQiOltdfQ.e30.AAAA", "crit"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct jws jws;
		memset(&jws, 0xa5, sizeof(jws));
		skr_status status = jws_parse(cases[i].text, strlen(cases[i].text), &jws);
		if (status.failure != 340 || !strstr(status_message(), cases[i].words))
			fail_msg("case %zu: SKR-%d: %s", i, status.failure, status_message());
		assert_null(jws.header);
		assert_null(jws.signature.data);
	}
}

static void one_byte_above_the_limit_is_refused(void **state)
{
	(void)state;
	static char text[JWS_LIMIT + 1];
	struct jws jws;

	memset(text, 'A', sizeof(text));
	text[100] = text[200] = '.';
	assert_refused(jws_parse(text, sizeof(text), &jws), "at most");
}

/* ---- I-07: every part of a good one, changed ---- */

static void no_single_changed_character_verifies(void **state)
{
	(void)state;
	auto_json *header = signer_header(&good);
	auto_buf text = BUF(JWS_ROOM);
	struct jws_trust trust = trust_in(&good);

	MUST_OK(jws_sign(header, PAYLOAD, strlen(PAYLOAD), good.key, &text));
	assert_int_equal(verify_text(buf_text(&text), text.len, &trust).failure, 0);
	for (size_t i = 0; i < text.len; i += 7) {
		uint8_t before = text.data[i];
		text.data[i] = before == 'A' ? 'B' : 'A';
		if (verify_text(buf_text(&text), text.len, &trust).failure != 340)
			fail_msg("character %zu of %zu may be changed", i, text.len);
		text.data[i] = before;
	}
	for (size_t cut = 0; cut < text.len; cut += 101)
		assert_int_equal(verify_text(buf_text(&text), cut, &trust).failure, 340);
}

static void another_algorithm_is_refused_even_if_it_verifies(void **state)
{
	(void)state;
	static const char *const names[] = {"RS384", "RS512", "PS256", "PS384", "PS512"};
	struct jws_trust trust = trust_in(&good);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		json *header = signer_header(&good);
		json_set_string(header, "alg", names[i]);
		assert_refused(sign_and_verify(header, good.key, &trust), "only RS256");
	}
}

/* Signed as RS256, then the header is replaced: none, HS256 with the certificate as the secret, … */
static void algorithms_that_forge_are_refused(void **state)
{
	(void)state;
	static const char *const names[] = {"none", "None", "HS256", "rs256", "RS256 ", ""};
	struct jws_trust trust = trust_in(&good);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		auto_json *header = signer_header(&good);
		auto_buf head = BUF(JWS_ROOM), text = BUF(JWS_ROOM);
		auto_jws jws = {.header = NULL};

		json_set_string(header, "alg", names[i]);
		MUST_OK(json_print(header, &head));
		MUST_OK(base64url_encode(head.data, head.len, &text));
		MUST_OK(buf_append_text(&text, ".eyJhbnN3ZXIiOjQyfQ.AAAA"));
		assert_refused(verify_text(buf_text(&text), text.len, &trust), "check 2");
		trust.alg = names[i]; /* even if somebody configured it */
		assert_refused(verify_text(buf_text(&text), text.len, &trust), "check 2");
		trust.alg = "RS256";
		MUST_OK(jws_parse(buf_text(&text), text.len, &jws));
		assert_refused(jws_verify_with_key(&jws, good.key), "check 2");
	}
}

static void a_signature_by_another_key_is_refused(void **state)
{
	(void)state;
	struct jws_trust trust = trust_in(&good);

	assert_refused(sign_and_verify(signer_header(&good), stranger.key, &trust), "check 4");
}

static void keys_named_in_the_header_are_never_used(void **state)
{
	(void)state;
	struct jws_trust trust = trust_in(&good);
	json *header = signer_header(&good), *jwk;

	MUST_OK(jwk_from_key(stranger.key, &jwk));
	json_set(header, "jwk", jwk);
	json_set_string(header, "jku", "https://localhost:1/jwks");
	json_set_string(header, "x5u", "https://localhost:1/chain");
	assert_refused(sign_and_verify(header, stranger.key, &trust), "check 4");
}

/* ---- I-08: the chain ---- */

static void a_chain_that_ends_in_a_root_of_its_own_is_refused(void **state)
{
	(void)state;
	struct jws_trust trust = trust_in(&good);

	assert_refused(sign_and_verify(signer_header(&stranger), stranger.key, &trust), "check 3");
}

static void without_anchors_nothing_verifies(void **state)
{
	(void)state;
	struct jws_trust trust = trust_in(&good);
	STACK_OF(X509) *none = sk_X509_new_null();

	trust.anchors = none;
	assert_refused(sign_and_verify(signer_header(&good), good.key, &trust), "check 3");
	sk_X509_free(none);
}

/* An intermediate in the anchor file does not shorten the way: it ends at a self-signed anchor. */
static void an_intermediate_is_no_anchor(void **state)
{
	(void)state;
	struct jws_trust trust = trust_in(&good);
	STACK_OF(X509) *intermediate = sk_X509_new_null();

	sk_X509_push(intermediate, good.issuer);
	trust.anchors = intermediate;
	assert_refused(sign_and_verify(signer_header(&good), good.key, &trust), "check 3");
	sk_X509_free(intermediate);
}

static void a_chain_without_its_root_verifies(void **state)
{
	(void)state;
	struct jws_trust trust = trust_in(&good);
	json *header = signer_header(&good), *x5c = json_array();

	push_certificate(x5c, good.leaf);
	push_certificate(x5c, good.issuer);
	json_set(header, "x5c", x5c);
	assert_int_equal(sign_and_verify(header, good.key, &trust).failure, 0);
}

static void a_chain_without_its_intermediate_is_refused(void **state)
{
	(void)state;
	struct jws_trust trust = trust_in(&good);
	json *header = signer_header(&good), *x5c = json_array();

	push_certificate(x5c, good.leaf);
	push_certificate(x5c, good.root);
	json_set(header, "x5c", x5c);
	assert_refused(sign_and_verify(header, good.key, &trust), "check 3");
}

/* A leaf of its own making: everything is right but what the case says. */
struct leaf_case {
	const char *what;
	struct certificate_spec leaf;
	const char *words;
	size_t bits; /* 0: the usual key */
};

static const struct leaf_case leaf_cases[] = {
    {"expired", {.ends = TEST_NOW - 60}, "expired", 0},
    {"not yet valid", {.begins = TEST_NOW + DAY}, "not yet valid", 0},
    {"another name", {.san = "DNS:contoso.vault.azure.com"}, "does not name", 0},
    {"a name of more labels", {.san = "DNS:*.azure.net"}, "does not name", 0},
    {"half a label", {.san = "DNS:cont*.vault.azure.net"}, "does not name", 0},
    {"the bare domain", {.san = "DNS:vault.azure.net"}, "does not name", 0},
    {"the name in the subject alone", {.name = HOST, .san = "DNS:other.example"}, "does not name", 0},
    {"no names", {.name = HOST, .san = ""}, "does not name", 0},
    {"a name behind a zero byte's cousin", {.san = "DNS:contoso.vault.azure.net.evil.example"}, "does not name", 0},
    {"an authority",
     {.constraints = "critical,CA:TRUE", .usage = "critical,digitalSignature,keyCertSign"},
     "authority",
     0},
    {"for another use", {.extended = "codeSigning"}, "check 3", 0},
    {"SHA-1", {.digest = "SHA1"}, "check 3", 0},
    {"a weak key", {.name = NULL}, "2048", 1024},
};

static void leaf_of(const struct leaf_case *one, EVP_PKEY *key, struct signer *signer)
{
	struct certificate_spec spec = one->leaf;

	spec.name = spec.name ? spec.name : "vault";
	spec.san = spec.san ? (spec.san[0] ? spec.san : NULL) : SAN;
	spec.usage = spec.usage ? spec.usage : "critical,digitalSignature";
	spec.extended = spec.extended ? spec.extended : "serverAuth";
	signer_make(signer, SAN, &good);
	X509_free(signer->leaf);
	signer->leaf = make_certificate(&spec, key, signer->issuer, signer->issuer_key);
}

static void a_bad_leaf_is_refused(void **state)
{
	(void)state;

	for (size_t i = 0; i < sizeof(leaf_cases) / sizeof(leaf_cases[0]); i++) {
		const struct leaf_case *one = &leaf_cases[i];
		auto_pkey *weak = one->bits ? make_rsa(one->bits) : NULL;
		EVP_PKEY *key = weak ? weak : good.key;
		struct signer signer;
		auto_buf text = BUF(JWS_ROOM);

		leaf_of(one, key, &signer);
		struct jws_trust trust = trust_in(&signer);
		/* jws_sign refuses weak keys too, so a weak one's signature is the strong key's: the chain comes first.
		 */
		auto_json *header = signer_header(&signer);
		MUST_OK(jws_sign(header, PAYLOAD, strlen(PAYLOAD), good.key, &text));
		skr_status status = verify_text(buf_text(&text), text.len, &trust);
		if (status.failure != 340 || !strstr(status_message(), one->words) ||
		    !strstr(status_message(), "check 3"))
			fail_msg("%s: SKR-%d: %s", one->what, status.failure, status_message());
		signer_done(&signer);
	}
}

static void names_that_fit_are_taken(void **state)
{
	(void)state;
	static const struct {
		const char *san, *host;
		int failure;
	} cases[] = {
	    {"DNS:*.vault.azure.net", "contoso.vault.azure.net", 0},
	    {"DNS:*.vault.azure.net", "CONTOSO.vault.azure.net", 0},
	    {"DNS:*.vault.azure.net", "a.b.vault.azure.net", 340},
	    {"DNS:*.hsm1.managedhsm.azure.net,DNS:hsm1.managedhsm.azure.net", "hsm1.managedhsm.azure.net", 0},
	    {"DNS:*.hsm1.managedhsm.azure.net,DNS:hsm1.managedhsm.azure.net", "hsm2.managedhsm.azure.net", 340},
	    {"IP:127.0.0.1", "127.0.0.1", 0},
	    {"DNS:127.0.0.1", "127.0.0.2", 340},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct signer signer;
		signer_make(&signer, cases[i].san, &good);
		struct jws_trust trust = trust_in(&signer);
		trust.host = cases[i].host;
		int failure = sign_and_verify(signer_header(&signer), signer.key, &trust).failure;
		if (failure != cases[i].failure)
			fail_msg("%s for %s: SKR-%d: %s", cases[i].san, cases[i].host, failure, status_message());
		signer_done(&signer);
	}
}

static void an_intermediate_that_is_no_authority_is_refused(void **state)
{
	(void)state;
	static const struct certificate_spec specs[] = {
	    {.name = "Test Issuing CA", .constraints = "critical,CA:FALSE"},
	    {.name = "Test Issuing CA", .usage = "critical,digitalSignature"},
	    {.name = "Test Issuing CA", .constraints = "critical,CA:TRUE", .usage = "critical,digitalSignature"},
	    {.name = "Test Issuing CA", .constraints = "critical,CA:TRUE", .ends = TEST_NOW - 60},
	};
	const struct certificate_spec leaf = {.name = "vault", .san = SAN};

	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		struct signer signer;
		signer_make(&signer, SAN, &good);
		X509_free(signer.issuer);
		X509_free(signer.leaf);
		signer.issuer = make_certificate(&specs[i], signer.issuer_key, signer.root, signer.root_key);
		signer.leaf = make_certificate(&leaf, signer.key, signer.issuer, signer.issuer_key);
		struct jws_trust trust = trust_in(&signer);
		assert_refused(sign_and_verify(signer_header(&signer), signer.key, &trust), "check 3");
		signer_done(&signer);
	}
}

static void a_leaf_that_signs_itself_is_refused(void **state)
{
	(void)state;
	const struct certificate_spec leaf = {.name = "vault", .san = SAN};
	struct signer signer;

	signer_make(&signer, SAN, &good);
	X509_free(signer.leaf);
	signer.leaf = make_certificate(&leaf, signer.key, NULL, NULL);
	struct jws_trust trust = trust_in(&signer);
	json *header = signer_header(&signer), *x5c = json_array();
	push_certificate(x5c, signer.leaf);
	json_set(header, "x5c", x5c);
	assert_refused(sign_and_verify(header, signer.key, &trust), "check 3");
	signer_done(&signer);
}

static void x5c_must_be_one_to_six_certificates(void **state)
{
	(void)state;
	struct jws_trust trust = trust_in(&good);
	json *header = signer_header(&good), *x5c;

	json_remove(header, "x5c");
	assert_refused(sign_and_verify(header, good.key, &trust), "x5c");

	header = signer_header(&good);
	json_set(header, "x5c", json_array());
	assert_refused(sign_and_verify(header, good.key, &trust), "x5c");

	header = signer_header(&good);
	json_set_string(header, "x5c", "text");
	assert_refused(sign_and_verify(header, good.key, &trust), "x5c");

	for (int count = 6; count <= 7; count++) {
		header = signer_header(&good);
		x5c = json_array();
		push_certificate(x5c, good.leaf);
		for (int i = 1; i < count; i++)
			push_certificate(x5c, good.issuer);
		json_set(header, "x5c", x5c);
		assert_int_equal(sign_and_verify(header, good.key, &trust).failure, count == 6 ? 0 : 340);
	}

	static const char *const broken[] = {"", "AAAA", "!!!!", "MIIB"};
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		header = signer_header(&good);
		x5c = json_array();
		json_push(x5c, json_of_string(broken[i]));
		json_set(header, "x5c", x5c);
		assert_refused(sign_and_verify(header, good.key, &trust), "check 3");
	}
}

static void the_thumbprint_must_be_the_leafs_if_it_is_there(void **state)
{
	(void)state;
	struct jws_trust trust = trust_in(&good);
	json *header = signer_header(&good);
	auto_buf other = BUF(64);

	json_remove(header, "x5t#S256");
	assert_int_equal(sign_and_verify(header, good.key, &trust).failure, 0);

	header = signer_header(&good);
	thumbprint_of(good.issuer, &other);
	json_set_string(header, "x5t#S256", buf_text(&other));
	assert_refused(sign_and_verify(header, good.key, &trust), "x5t#S256");

	header = signer_header(&good);
	json_set_number(header, "x5t#S256", 1);
	assert_refused(sign_and_verify(header, good.key, &trust), "x5t#S256");
}

/* A chain that Managed HSM really used in 2022. There is no message to it, so it fails at the signature, and only
 * there. */
static void a_real_chain_is_built_to_its_root(void **state)
{
	(void)state;
	auto_buf pem = BUF(64 * 1024);
	auto_x509s *chain = NULL;
	auto_buf text = BUF(JWS_ROOM);

	MUST_OK(file_read(SKR_TEST_DATA "/akv/mhsm-x5c-chain.pem", &pem));
	MUST_OK(certificates_from_pem(pem.data, pem.len, &chain));
	assert_int_equal(sk_X509_num(chain), 3);
	STACK_OF(X509) *anchors = sk_X509_new_null();
	sk_X509_push(anchors, sk_X509_value(chain, 2));

	auto_json *header = json_object();
	json *x5c = json_array();
	json_set_string(header, "alg", "RS256");
	for (int i = 0; i < 3; i++)
		push_certificate(x5c, sk_X509_value(chain, i));
	json_set(header, "x5c", x5c);
	MUST_OK(jws_sign(header, PAYLOAD, strlen(PAYLOAD), good.key, &text));

	struct jws_trust trust = {.alg = "RS256",
	                          .host = "svolos-myhsm-01.managedhsm.azure.net",
	                          .anchors = anchors,
	                          .now = 1654041600 /* 2022-06-01 */};
	assert_refused(verify_text(buf_text(&text), text.len, &trust), "check 4");
	trust.now = 1704067200; /* 2024-01-01 */
	assert_refused(verify_text(buf_text(&text), text.len, &trust), "expired");
	trust.now = 1654041600;
	trust.host = "another.managedhsm.azure.net";
	assert_refused(verify_text(buf_text(&text), text.len, &trust), "does not name");
	trust.host = "svolos-myhsm-01.managedhsm.azure.net";
	trust.anchors = good.anchors;
	assert_refused(verify_text(buf_text(&text), text.len, &trust), "check 3");
	sk_X509_free(anchors);
}

/* ---- with a key ---- */

static void every_algorithm_verifies_with_its_kind_of_key_only(void **state)
{
	(void)state;
	static const char *const names[] = {"RS256", "RS384", "RS512", "PS256", "PS384",
	                                    "PS512", "ES256", "ES384", "ES512"};
	EVP_PKEY *keys[] = {good.key, make_ec("P-256"), make_ec("P-384"), make_ec("P-521")};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t fits = i < 6 ? 0 : i - 5;
		auto_json *header = json_object();
		auto_buf text = BUF(JWS_ROOM);
		auto_jws jws = {.header = NULL};

		json_set_string(header, "alg", names[i]);
		MUST_OK(jws_sign(header, PAYLOAD, strlen(PAYLOAD), keys[fits], &text));
		MUST_OK(jws_parse(buf_text(&text), text.len, &jws));
		for (size_t k = 0; k < 4; k++)
			assert_int_equal(jws_verify_with_key(&jws, keys[k]).failure, k == fits ? 0 : 340);
		jws.signature.data[jws.signature.len / 2] ^= 1;
		assert_refused(jws_verify_with_key(&jws, keys[fits]), "check 4");
		jws.signature.len--;
		assert_refused(jws_verify_with_key(&jws, keys[fits]), "check 4");
	}
	for (size_t k = 1; k < 4; k++)
		EVP_PKEY_free(keys[k]);
}

/* RFC 7515 appendix A.2 (RS256) and A.3 (ES256). */
static void the_examples_of_the_rfc_verify(void **state)
{
	(void)state;
	static const char payload_part[] =
	    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
	static const struct {
		const char *jwk, *header, *signature;
	} examples[] = {
	    {"{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-"
	     "Vaw-4q"
	     "PCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-"
	     "bSf63kpaSHSXndS5z5re"
	     "xMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-"
	     "DWNmoudF8NAco9_"
	     "h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"}",
	     "eyJhbGciOiJSUzI1NiJ9",
	     "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
	     "O8W2Fp5jujGbds9uJdbF9CUA"
	     "r7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_"
	     "eSN9383LcOLn6_dO-"
	     "-xi12jzDwusC-"
	     "eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_Io"
	     "ypGlUPQGe77Rw"},
	    {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_"
	     "FEzRu9m36HL"
	     "N_tue659LNpXW6pCyStikYjKIWI5a0\"}",
	     "eyJhbGciOiJFUzI1NiJ9",
	     "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
	};
	for (size_t i = 0; i < 2; i++) {
		auto_json *jwk = NULL;
		auto_pkey *key = NULL;
		auto_jws jws = {.header = NULL};
		auto_buf text = BUF(4096);

		MUST_OK(json_parse(examples[i].jwk, strlen(examples[i].jwk), &jwk));
		MUST_OK(jwk_public_key(jwk, &key));
		MUST_OK(buf_printf(&text, "%s.%s.%s", examples[i].header, payload_part, examples[i].signature));
		MUST_OK(jws_parse(buf_text(&text), text.len, &jws));
		assert_int_equal(jws_verify_with_key(&jws, key).failure, 0);
		assert_int_equal(jws_payload(&jws).failure, 0);
		assert_string_equal(json_string_or_null(jws.payload, "iss"), "joe");
	}
}

static void a_payload_that_is_not_strict_json_is_refused(void **state)
{
	(void)state;
	static const char *const payloads[] = {"x", "{} {}", "{\"a\":1,\"a\":2}", "{\"a\":\"\xff\"}"};

	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
		auto_json *header = signer_header(&good);
		auto_buf text = BUF(JWS_ROOM);
		struct jws_trust trust = trust_in(&good);

		MUST_OK(jws_sign(header, payloads[i], strlen(payloads[i]), good.key, &text));
		assert_refused(verify_text(buf_text(&text), text.len, &trust), "check 5");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_good_one_verifies_and_gives_its_payload),
	    cmocka_unit_test(anything_but_three_strict_parts_is_refused),
	    cmocka_unit_test(one_byte_above_the_limit_is_refused),
	    cmocka_unit_test(no_single_changed_character_verifies),
	    cmocka_unit_test(another_algorithm_is_refused_even_if_it_verifies),
	    cmocka_unit_test(algorithms_that_forge_are_refused),
	    cmocka_unit_test(a_signature_by_another_key_is_refused),
	    cmocka_unit_test(keys_named_in_the_header_are_never_used),
	    cmocka_unit_test(a_chain_that_ends_in_a_root_of_its_own_is_refused),
	    cmocka_unit_test(without_anchors_nothing_verifies),
	    cmocka_unit_test(an_intermediate_is_no_anchor),
	    cmocka_unit_test(a_chain_without_its_root_verifies),
	    cmocka_unit_test(a_chain_without_its_intermediate_is_refused),
	    cmocka_unit_test(a_bad_leaf_is_refused),
	    cmocka_unit_test(names_that_fit_are_taken),
	    cmocka_unit_test(an_intermediate_that_is_no_authority_is_refused),
	    cmocka_unit_test(a_leaf_that_signs_itself_is_refused),
	    cmocka_unit_test(x5c_must_be_one_to_six_certificates),
	    cmocka_unit_test(the_thumbprint_must_be_the_leafs_if_it_is_there),
	    cmocka_unit_test(a_real_chain_is_built_to_its_root),
	    cmocka_unit_test(every_algorithm_verifies_with_its_kind_of_key_only),
	    cmocka_unit_test(the_examples_of_the_rfc_verify),
	    cmocka_unit_test(a_payload_that_is_not_strict_json_is_refused),
	};
	return cmocka_run_group_tests(tests, make_signers, free_signers);
}
