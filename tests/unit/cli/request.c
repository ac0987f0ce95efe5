/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

/* ---- a key that signs as PKCS#11 does ---- */

struct token_key {
	EVP_PKEY *key;
	enum request_padding padding;
	const char *digest;
	size_t damage; /* so many bytes of the signature are turned around */
	size_t asked;  /* how often it was asked */
	size_t input_len;
};

/* Takes the DER of an ECDSA signature apart into r and s, each `size` long. */
static void flatten(const uint8_t *der, size_t der_len, size_t size, struct buf *ret)
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)der_len);
	uint8_t *place;

	assert_non_null(sig);
	assert_int_equal(buf_reserve(ret, 2 * size, &place).failure, 0);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), place, (int)size), (int)size);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), place + size, (int)size), (int)size);
	ret->len = 2 * size;
	ECDSA_SIG_free(sig);
}

static skr_status sign(const struct buf *input, struct buf *ret_signature, void *with)
{
	struct token_key *k = with;
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, k->key, NULL);
	uint8_t signature[1024];
	size_t len = sizeof(signature);
	bool ec = EVP_PKEY_get_base_id(k->key) == EVP_PKEY_EC;

	k->asked++;
	k->input_len = input->len;
	assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
	if (!ec && k->padding == REQUEST_PSS) {
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING), 1);
		assert_int_equal(EVP_PKEY_CTX_set_signature_md(ctx, EVP_get_digestbyname(k->digest)), 1);
		assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST), 1);
	} else if (!ec) {
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING), 1);
	}
	assert_int_equal(EVP_PKEY_sign(ctx, signature, &len, input->data, input->len), 1);
	if (ec)
		flatten(signature, len, ((size_t)EVP_PKEY_get_bits(k->key) + 7) / 8, ret_signature);
	else
		assert_int_equal(buf_append(ret_signature, signature, len).failure, 0);
	for (size_t i = 0; i < k->damage; i++)
		ret_signature->data[ret_signature->len - 1 - i] ^= 1;
	return OK;
}

static skr_status refuse(const struct buf *input, struct buf *ret_signature, void *with)
{
	(void)input, (void)ret_signature, (void)with;
	return FAIL(331, "no");
}

static EVP_PKEY *new_key(const char *name)
{
	EVP_PKEY *key = strcmp(name, "RSA") == 0 ? EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048)
	                                         : EVP_PKEY_Q_keygen(ossl, NULL, "EC", name);
	assert_non_null(key);
	return key;
}

static X509_NAME *new_subject(const char *text)
{
	struct request_problem problem;
	X509_NAME *subject = NULL;

	if (!request_subject(text, &subject, &problem))
		fail_msg("%s: %s", text, problem.text);
	return subject;
}

static X509_REQ *parse(const struct buf *pem)
{
	auto_bio *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
	X509_REQ *req = X509_REQ_new_ex(ossl, NULL);

	assert_non_null(PEM_read_bio_X509_REQ(bio, &req, NULL, NULL));
	return req;
}

/* ---- requests ---- */

static void every_kind_of_key_makes_a_request_that_verifies(void **state)
{
	static const struct {
		const char *key, *digest; /* NULL: as strong as the key */
		enum request_padding padding;
		int algorithm;
		size_t input_len;
	} rows[] = {
	    {"RSA", NULL, REQUEST_PKCS1, NID_sha256WithRSAEncryption, 19 + 32},
	    {"RSA", "sha384", REQUEST_PKCS1, NID_sha384WithRSAEncryption, 19 + 48},
	    {"RSA", "sha512", REQUEST_PKCS1, NID_sha512WithRSAEncryption, 19 + 64},
	    {"RSA", "sha256", REQUEST_PSS, NID_rsassaPss, 32},
	    {"RSA", "sha512", REQUEST_PSS, NID_rsassaPss, 64},
	    {"P-256", NULL, REQUEST_PKCS1, NID_ecdsa_with_SHA256, 32},
	    {"secp256k1", NULL, REQUEST_PKCS1, NID_ecdsa_with_SHA256, 32},
	    {"P-384", NULL, REQUEST_PKCS1, NID_ecdsa_with_SHA384, 48},
	    {"P-521", NULL, REQUEST_PKCS1, NID_ecdsa_with_SHA512, 64},
	    {"P-521", "sha256", REQUEST_PKCS1, NID_ecdsa_with_SHA256, 32},
	    {"P-256", NULL, REQUEST_PSS, NID_ecdsa_with_SHA256, 32}, /* which is about RSA */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		auto_pkey *key = new_key(rows[i].key);
		auto_x509_name *subject = new_subject("/CN=a");
		auto_buf pem = BUF(64 * 1024);
		struct request request = {.subject = subject,
		                          .key = key,
		                          .digest = rows[i].digest ? request_digest_find(rows[i].digest)
		                                                   : request_digest_for(key),
		                          .padding = rows[i].padding};
		struct token_key k = {.key = key, .padding = rows[i].padding, .digest = request.digest->name};

		if (request_make(&request, &(struct request_signer){sign, &k}, &pem).failure)
			fail_msg("row %zu: %s", i, status_message());
		auto_x509_req *req = parse(&pem);
		assert_int_equal(X509_REQ_get_signature_nid(req), rows[i].algorithm);
		assert_int_equal(k.input_len, rows[i].input_len);
		assert_int_equal(k.asked, 1);
		assert_int_equal(X509_REQ_verify_ex(req, key, ossl, NULL), 1);
		assert_int_equal(EVP_PKEY_eq(X509_REQ_get0_pubkey(req), key), 1);
		assert_null(strstr(buf_text(&pem), "PRIVATE"));
	}
}

static void a_signature_that_is_wrong_or_refused_makes_no_request(void **state)
{
	auto_pkey *key = new_key("P-256");
	auto_x509_name *subject = new_subject("/CN=a");
	auto_buf pem = BUF(64 * 1024);
	struct token_key k = {.key = key, .damage = 1};
	struct request request = {.subject = subject, .key = key, .digest = request_digest_for(key)};

	(void)state;
	assert_int_equal(request_make(&request, &(struct request_signer){sign, &k}, &pem).failure, 599);
	assert_non_null(strstr(status_message(), "does not verify"));
	assert_int_equal(request_make(&request, &(struct request_signer){refuse, NULL}, &pem).failure, 331);
	assert_int_equal(pem.len, 0);
}

/* The value of an extension that a request asks for, as DER; "" if it does not. */
static void extension(X509_REQ *req, int nid, struct buf *ret)
{
	STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(req);
	int at = X509v3_get_ext_by_NID(extensions, nid, -1);

	if (at >= 0) {
		ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(sk_X509_EXTENSION_value(extensions, at));
		assert_int_equal(buf_append(ret, value->data, (size_t)value->length).failure, 0);
	}
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
}

static void key_usage_and_names_are_asked_for(void **state)
{
	static const uint8_t both[] = {3, 2, 5, 0xa0}, signing[] = {3, 2, 7, 0x80};
	static const uint8_t names[] = {0x30, 0x17, 0x82, 1,    'a', 0x87, 4,   192, 0,   2,   1,   0x81, 3,
	                                'b',  '@',  'c',  0x86, 7,   'd',  ':', '/', '/', 'e', '/', 'f'};
	auto_pkey *key = new_key("P-256");
	auto_x509_name *subject = new_subject("/CN=a");
	auto_general_names *list = GENERAL_NAMES_new();
	struct request_problem problem;

	(void)state;
	assert_true(request_names("DNS:a,IP:192.0.2.1", list, &problem));
	assert_true(request_names("email:b@c,URI:d://e/f", list, &problem));
	for (int encipherment = 0; encipherment < 2; encipherment++) {
		auto_buf pem = BUF(64 * 1024), usage = BUF(64), san = BUF(1024);
		struct token_key k = {.key = key};
		struct request request = {.subject = subject,
		                          .names = encipherment ? list : NULL,
		                          .key = key,
		                          .encipherment = encipherment,
		                          .digest = request_digest_for(key)};

		assert_int_equal(request_make(&request, &(struct request_signer){sign, &k}, &pem).failure, 0);
		auto_x509_req *req = parse(&pem);
		extension(req, NID_key_usage, &usage);
		extension(req, NID_subject_alt_name, &san);
		assert_int_equal(usage.len, sizeof(both));
		assert_memory_equal(usage.data, encipherment ? both : signing, sizeof(both));
		assert_int_equal(san.len, encipherment ? sizeof(names) : 0);
		if (encipherment)
			assert_memory_equal(san.data, names, sizeof(names));
	}
}

/* ---- what people type ---- */

static void a_subject_keeps_order_and_escapes(void **state)
{
	static const struct {
		const char *text, *rfc2253;
	} rows[] = {
	    {"/CN=a", "CN=a"},
	    {"/C=DE/O=A\\/B/CN=a \\+ b\\\\c", "CN=a \\+ b\\\\c,O=A/B,C=DE"},
	    {"/OU=one/OU=two", "OU=two,OU=one"},
	    {"/CN=a=b", "CN=a=b"},
	    {"/O=M\xc3\xbcller", "O=M\xc3\xbcller"},
	    {"/DC=org/DC=example/UID=x", "UID=x,DC=example,DC=org"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		auto_x509_name *subject = new_subject(rows[i].text);
		auto_bio *bio = BIO_new(BIO_s_mem());
		char *text;
		X509_NAME_print_ex(bio, subject, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
		long len = BIO_get_mem_data(bio, &text);
		assert_int_equal(len, strlen(rows[i].rfc2253));
		assert_memory_equal(text, rows[i].rfc2253, (size_t)len);
	}
}

static void what_is_no_subject_is_refused_with_the_reason(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
	    {"", "beginning with a /"},
	    {"/", "beginning with a /"},
	    {"CN=a", "beginning with a /"},
	    {"/CN", "\"CN\" is not TYPE=VALUE"},
	    {"/=a", " is none of"},
	    {"/CN=", "CN has no value"},
	    {"/CN=a/", "\"\" is not TYPE=VALUE"},
	    {"/CN=a//O=b", "\"\" is not TYPE=VALUE"},
	    {"/cn=a", "cn is none of"},
	    {"/CNN=a", "CNN is none of"},
	    {"/RSA=a", "RSA is none of"},
	    {"/C=D", "C=D: "},
	    {"/C=DEU", "C=DEU: "},
	    {"/CN=a+OU=b", "write \\+"},
	    {"/CN=a\\", "ends with"},
	    {"/CN=a\\n", "stands before"},
	    {"/CN=a\nb", "control characters"},
	    {"/CN=\xff", ": "},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct request_problem problem = {""};
		X509_NAME *subject = NULL;
		if (request_subject(rows[i].text, &subject, &problem) || subject || !strstr(problem.text, rows[i].says))
			fail_msg("%s: %s", rows[i].text, problem.text);
	}
}

static void what_is_no_name_is_refused_with_the_reason(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
	    {"", "begins with none of"},
	    {"a.example", "begins with none of"},
	    {"dns:a", "begins with none of"},
	    {"DNS:", "behind DNS:"},
	    {"DNS:a,", "begins with none of"},
	    {"DNS:a.", "behind DNS:"},
	    {"DNS:a_b", "behind DNS:"},
	    {"DNS:-a", "behind DNS:"},
	    {"DNS:a-.b", "behind DNS:"},
	    {"DNS:*", "behind DNS:"},
	    {"DNS:*.*.a", "behind DNS:"},
	    {"DNS:a*.b", "behind DNS:"},
	    {"IP:", "behind IP:"},
	    {"IP:1.2.3", "behind IP:"},
	    {"IP:1.2.3.256", "behind IP:"},
	    {"IP:1.2.3.4/24", "behind IP:"},
	    {"IP::::", "behind IP:"},
	    {"email:a", "behind email:"},
	    {"email:@a", "behind email:"},
	    {"email:a b@c", "behind email:"},
	    {"email:a@b@c", "behind email:"},
	    {"URI:a", "behind URI:"},
	    {"URI::a", "behind URI:"},
	    {"URI:1a:b", "behind URI:"},
	    {"URI:a:b c", "behind URI:"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct request_problem problem = {""};
		auto_general_names *names = GENERAL_NAMES_new();
		if (request_names(rows[i].text, names, &problem) || !strstr(problem.text, rows[i].says))
			fail_msg("%s: %s", rows[i].text, problem.text);
	}
}

static void long_names_have_their_limits(void **state)
{
	char text[700];
	struct request_problem problem;
	auto_general_names *names = GENERAL_NAMES_new();
	X509_NAME *subject = NULL;

	(void)state;
	snprintf(text, sizeof(text), "DNS:%.*s.a", 63,
	         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	assert_true(request_names(text, names, &problem));
	snprintf(text, sizeof(text), "DNS:%.*s.a", 64,
	         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	assert_false(request_names(text, names, &problem));
	memset(text, 'x', sizeof(text));
	memcpy(text, "/O=", 3);
	text[sizeof(text) - 1] = '\0';
	assert_false(request_subject(text, &subject, &problem));
	assert_non_null(strstr(problem.text, "less than"));
	memcpy(text, "URI:x:", 6);
	assert_false(request_names(text, names, &problem));
	assert_non_null(strstr(problem.text, "less than"));
}

static void only_digests_of_the_table_are_known(void **state)
{
	(void)state;
	assert_string_equal(request_digest_find("sha384")->name, "sha384");
	assert_null(request_digest_find("sha1"));
	assert_null(request_digest_find("SHA256"));
	assert_null(request_digest_find(""));
}

static int open_library(void **state)
{
	(void)state;
	return ossl_open().failure;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_kind_of_key_makes_a_request_that_verifies),
	    cmocka_unit_test(a_signature_that_is_wrong_or_refused_makes_no_request),
	    cmocka_unit_test(key_usage_and_names_are_asked_for),
	    cmocka_unit_test(a_subject_keeps_order_and_escapes),
	    cmocka_unit_test(what_is_no_subject_is_refused_with_the_reason),
	    cmocka_unit_test(what_is_no_name_is_refused_with_the_reason),
	    cmocka_unit_test(long_names_have_their_limits),
	    cmocka_unit_test(only_digests_of_the_table_are_known),
	};
	return cmocka_run_group_tests(tests, open_library, NULL);
}
