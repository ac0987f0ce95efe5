/* SPDX-License-Identifier: Apache-2.0 */
#include "jose/keywrap.h"

#include "unit/jose/chain.h"
#include "base/file.h"

#include <openssl/pem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static json *vectors;

static int load_vectors(void **state)
{
	(void)state;
	auto_buf text = BUF(1024 * 1024);

	MUST_OK(ossl_open());
	MUST_OK(file_read(SKR_TEST_DATA "/akv/keywrap-vectors.json", &text));
	MUST_OK(json_parse_large(text.data, text.len, 4096, &vectors));
	return 0;
}

static int free_vectors(void **state)
{
	(void)state;
	json_free(vectors);
	return 0;
}

static void bytes_of(const json *object, const char *name, struct buf *out)
{
	const char *text;

	MUST_OK(json_string(object, name, &text));
	if (strstr(name, "b64url"))
		MUST_OK(base64url_decode(text, strlen(text), out));
	else
		MUST_OK(hex_decode(text, strlen(text), out));
}

static const json *published(void)
{
	return json_first(json_get(vectors, "rsa_aes_key_wrap"));
}

static EVP_PKEY *published_key(void)
{
	const char *pem = json_string_or_null(published(), "transport_private_key_pkcs1_pem");
	auto_bio *bio = BIO_new_mem_buf(pem, -1);

	EVP_PKEY *key = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, ossl, NULL);
	MUST(key);
	return key;
}

static void the_published_vector_opens(void **state)
{
	(void)state;
	auto_pkey *key = published_key();
	auto_buf wrapped = BUF(4096), expected = BUF(64), target = BUF(64);

	bytes_of(published(), "ciphertext_b64url", &wrapped);
	bytes_of(published(), "plaintext_hex", &expected);
	assert_int_equal(keywrap_open("CKM_RSA_AES_KEY_WRAP", key, wrapped.data, wrapped.len, &target).failure, 0);
	assert_int_equal(target.len, expected.len);
	assert_memory_equal(target.data, expected.data, expected.len);
}

/* Every kind of key under each enc: 30 of them, made by another implementation. */
static void all_generated_cases_open_to_what_was_wrapped(void **state)
{
	(void)state;
	auto_pkey *key = published_key();
	const json *cases = json_get(json_get(vectors, "generated_rsa_aes_key_wrap"), "cases");
	size_t count = 0;

	for (const json *one = json_first(cases); one; one = json_next(one), count++) {
		auto_buf wrapped = BUF(16 * 1024), digest = BUF(32), target = BUF(8 * 1024);
		const char *enc = json_string_or_null(one, "enc");
		uint8_t got[32];
		int64_t len;

		bytes_of(one, "ciphertext_b64url", &wrapped);
		bytes_of(one, "plaintext_sha256_hex", &digest);
		MUST_OK(json_integer(one, "plaintext_len", false, &len));
		assert_int_equal(keywrap_open(enc, key, wrapped.data, wrapped.len, &target).failure, 0);
		assert_int_equal(target.len, len);
		MUST_OK(sha256(target.data, target.len, got));
		assert_memory_equal(got, digest.data, 32);
	}
	assert_int_equal(count, 30);
}

static void another_enc_does_not_open(void **state)
{
	(void)state;
	static const char *const names[] = {"CKM_RSA_AES_KEY_WRAP", "RSA_AES_KEY_WRAP_256", "RSA_AES_KEY_WRAP_384"};
	auto_pkey *key = published_key();
	const json *cases = json_get(json_get(vectors, "generated_rsa_aes_key_wrap"), "cases");

	for (const json *one = json_first(cases); one; one = json_next(one)) {
		auto_buf wrapped = BUF(16 * 1024), target = BUF(8 * 1024);
		bytes_of(one, "ciphertext_b64url", &wrapped);
		for (size_t i = 0; i < 3; i++) {
			if (strcmp(names[i], json_string_or_null(one, "enc")) == 0)
				continue;
			assert_int_equal(keywrap_open(names[i], key, wrapped.data, wrapped.len, &target).failure, 341);
			assert_int_equal(target.len, 0);
		}
	}
}

static void rfc5649_examples_open_and_the_wrong_key_does_not(void **state)
{
	(void)state;
	int good = 0, bad = 0;

	for (const json *one = json_first(json_get(vectors, "rfc5649")); one; one = json_next(one)) {
		auto_buf kek = BUF(32), wrapped = BUF(64), expected = BUF(64), target = BUF(64);
		bytes_of(one, "kek_hex", &kek);
		bytes_of(one, "wrapped_hex", &wrapped);
		int failure = keywrap_open_aes(kek.data, kek.len, wrapped.data, wrapped.len, &target).failure;
		if (json_bool(one, "must_fail", false)) {
			assert_int_equal(failure, 341);
			bad++;
			continue;
		}
		bytes_of(one, "plaintext_hex", &expected);
		assert_int_equal(failure, 0);
		assert_int_equal(target.len, expected.len);
		assert_memory_equal(target.data, expected.data, expected.len);
		good++;
	}
	assert_int_equal(good, 2);
	assert_int_equal(bad, 1);
}

/* K-11: whatever is wrong, the number and the words are the same. */
static void every_cause_of_failure_sounds_the_same(void **state)
{
	(void)state;
	auto_pkey *key = published_key(), *other = make_rsa(2048), *longer = make_rsa(3072);
	auto_buf wrapped = BUF(4096), target = BUF(64), small = BUF(8);
	char sentence[640];

	bytes_of(published(), "ciphertext_b64url", &wrapped);
	assert_int_equal(keywrap_open("CKM_RSA_AES_KEY_WRAP", other, wrapped.data, wrapped.len, &target).failure, 341);
	snprintf(sentence, sizeof(sentence), "%s", status_message());

	struct {
		const char *enc;
		EVP_PKEY *key;
		size_t from, len;
		size_t flip; /* 0: none */
		struct buf *target;
	} cases[] = {
	    {"CKM_RSA_AES_KEY_WRAP", key, 0, wrapped.len, 10, &target},    /* C1 changed */
	    {"CKM_RSA_AES_KEY_WRAP", key, 0, wrapped.len, 257, &target},   /* C2 changed */
	    {"CKM_RSA_AES_KEY_WRAP", key, 0, wrapped.len, 295, &target},   /* its end */
	    {"CKM_RSA_AES_KEY_WRAP", key, 0, wrapped.len - 8, 0, &target}, /* cut */
	    {"CKM_RSA_AES_KEY_WRAP", key, 0, wrapped.len - 1, 0, &target},
	    {"CKM_RSA_AES_KEY_WRAP", key, 0, 256, 0, &target},
	    {"CKM_RSA_AES_KEY_WRAP", key, 0, 264, 0, &target},
	    {"CKM_RSA_AES_KEY_WRAP", key, 0, 0, 0, &target},
	    {"CKM_RSA_AES_KEY_WRAP", key, 1, wrapped.len - 1, 0, &target}, /* shifted */
	    {"RSA_AES_KEY_WRAP_256", key, 0, wrapped.len, 0, &target},     /* another digest */
	    {"RSA_AES_KEY_WRAP_512", key, 0, wrapped.len, 0, &target},     /* no such name */
	    {"CKM_RSA_AES_KEY_WRAP", longer, 0, wrapped.len, 0, &target},  /* another split */
	    {"CKM_RSA_AES_KEY_WRAP", key, 0, wrapped.len, 0, &small},      /* more than we take */
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		status_clear();
		wrapped.data[cases[i].flip] ^= cases[i].flip ? 1 : 0;
		int failure = keywrap_open(cases[i].enc, cases[i].key, wrapped.data + cases[i].from, cases[i].len,
		                           cases[i].target)
		                  .failure;
		wrapped.data[cases[i].flip] ^= cases[i].flip ? 1 : 0;
		if (failure != 341 || strcmp(status_message(), sentence) != 0 || cases[i].target->len)
			fail_msg("case %zu: SKR-%d: %s", i, failure, status_message());
	}
}

static void what_is_sealed_opens_for_every_length_around_the_block(void **state)
{
	(void)state;
	static const char *const names[] = {"CKM_RSA_AES_KEY_WRAP", "RSA_AES_KEY_WRAP_256", "RSA_AES_KEY_WRAP_384"};
	static const size_t lengths[] = {1, 7, 8, 9, 15, 16, 17, 24, 32, 64, 1217, 8192};
	auto_pkey *key = make_rsa(2048);
	static uint8_t target[8192];

	MUST_OK(random_bytes(target, sizeof(target)));
	for (size_t i = 0; i < 3; i++) {
		for (size_t j = 0; j < sizeof(lengths) / sizeof(lengths[0]); j++) {
			auto_buf sealed = BUF(16 * 1024), opened = BUF(8192);
			MUST_OK(keywrap_seal(names[i], key, target, lengths[j], &sealed));
			/* RFC 5649: 8 + 8 * ceil(n / 8), so one AES block for up to 8 bytes. */
			assert_int_equal(sealed.len, 256 + 8 + (lengths[j] + 7) / 8 * 8);
			assert_int_equal(keywrap_open(names[i], key, sealed.data, sealed.len, &opened).failure, 0);
			assert_int_equal(opened.len, lengths[j]);
			assert_memory_equal(opened.data, target, lengths[j]);
		}
	}
}

static void the_blob_is_split_by_the_size_of_the_transport_key(void **state)
{
	(void)state;
	auto_pkey *key = make_rsa(3072);
	auto_buf sealed = BUF(1024), opened = BUF(64);

	MUST_OK(keywrap_seal("RSA_AES_KEY_WRAP_384", key, "0123456789abcdef", 16, &sealed));
	assert_int_equal(sealed.len, 384 + 24);
	assert_int_equal(keywrap_open("RSA_AES_KEY_WRAP_384", key, sealed.data, sealed.len, &opened).failure, 0);
	assert_string_equal(buf_text(&opened), "0123456789abcdef");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_published_vector_opens),
	    cmocka_unit_test(all_generated_cases_open_to_what_was_wrapped),
	    cmocka_unit_test(another_enc_does_not_open),
	    cmocka_unit_test(rfc5649_examples_open_and_the_wrong_key_does_not),
	    cmocka_unit_test(every_cause_of_failure_sounds_the_same),
	    cmocka_unit_test(what_is_sealed_opens_for_every_length_around_the_block),
	    cmocka_unit_test(the_blob_is_split_by_the_size_of_the_transport_key),
	};
	return cmocka_run_group_tests(tests, load_vectors, free_vectors);
}
