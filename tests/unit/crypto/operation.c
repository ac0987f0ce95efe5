/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/operation.h"

#include "unit/crypto/surroundings.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static struct pair rsa, p256, p384, p521, k1;

static int make_keys(void **state)
{
	if (open_libcrypto(state))
		return -1;
	rsa = pair_of(published_rsa_pkey());
	p256 = pair_of(ec_pkey("P-256"));
	p384 = pair_of(ec_pkey("P-384"));
	p521 = pair_of(ec_pkey("P-521"));
	k1 = pair_of(ec_pkey("secp256k1"));
	return 0;
}

static int drop_keys(void **state)
{
	(void)state;
	pair_drop(rsa);
	pair_drop(p256);
	pair_drop(p384);
	pair_drop(p521);
	pair_drop(k1);
	return 0;
}

/* Nothing of libcrypto's complaints reaches the host. */
static int look_at_error_queue(void **state)
{
	(void)state;
	return ERR_peek_error() == 0 ? 0 : -1;
}

/* --- the calls, shorter --------------------------------------------------------------------------------------------
 */

static struct operation *begin(enum operation_kind kind, CK_MECHANISM mechanism, struct key *key)
{
	struct operation *o = NULL;
	assert_int_equal(operation_begin(kind, &mechanism, key, &everything, NULL, &o), CKR_OK);
	assert_non_null(o);
	assert_int_equal(operation_kind(o), kind);
	return o;
}

static CK_RV refusal(enum operation_kind kind, CK_MECHANISM mechanism, struct key *key,
                     const struct mechanism_policy *policy)
{
	struct operation *o = NULL;
	CK_RV rv = operation_begin(kind, &mechanism, key, policy, NULL, &o);
	assert_null(o);
	return rv;
}

static CK_RV once(enum operation_kind kind, CK_MECHANISM mechanism, struct key *key, const void *in, CK_ULONG in_len,
                  void *out, CK_ULONG *out_len)
{
	struct operation *o = begin(kind, mechanism, key);
	CK_RV rv = operation_single(o, in, in_len, out, out_len);
	operation_free(o);
	return rv;
}

static CK_RV verify_once(CK_MECHANISM mechanism, struct key *key, const void *in, CK_ULONG in_len,
                         const void *signature, CK_ULONG signature_len)
{
	struct operation *o = begin(OPERATION_VERIFY, mechanism, key);
	CK_RV rv = operation_verify(o, in, in_len, signature, signature_len);
	operation_free(o);
	return rv;
}

#define MECHANISM(type_)     ((CK_MECHANISM){(type_), NULL, 0})
#define WITH(type_, params_) ((CK_MECHANISM){(type_), &(params_), sizeof(params_)})

static CK_RSA_PKCS_PSS_PARAMS pss256 = {CKM_SHA256, CKG_MGF1_SHA256, 32};
static CK_RSA_PKCS_PSS_PARAMS pss384 = {CKM_SHA384, CKG_MGF1_SHA384, 48};
static CK_RSA_PKCS_PSS_PARAMS pss512 = {CKM_SHA512, CKG_MGF1_SHA512, 64};
static CK_RSA_PKCS_PSS_PARAMS pss_odd = {CKM_SHA224, CKG_MGF1_SHA1, 3};

static const char text[] = "what is signed";

/* --- signatures ----------------------------------------------------------------------------------------------------
 */

struct signing {
	CK_MECHANISM mechanism;
	struct pair *pair;
	CK_ULONG input;     /* bytes */
	const char *digest; /* as libcrypto calls it, for a check by other means */
};

static const struct signing signings[] = {
    {{CKM_RSA_PKCS, NULL, 0}, &rsa, 51, NULL},
    {{CKM_RSA_PKCS, NULL, 0}, &rsa, 245, NULL},
    {{CKM_RSA_PKCS, NULL, 0}, &rsa, 1, NULL},
    {{CKM_RSA_X_509, NULL, 0}, &rsa, 100, NULL},
    {{CKM_SHA1_RSA_PKCS, NULL, 0}, &rsa, 1000, "SHA1"},
    {{CKM_SHA224_RSA_PKCS, NULL, 0}, &rsa, 1000, "SHA224"},
    {{CKM_SHA256_RSA_PKCS, NULL, 0}, &rsa, 1000, "SHA256"},
    {{CKM_SHA256_RSA_PKCS, NULL, 0}, &rsa, 0, "SHA256"},
    {{CKM_SHA384_RSA_PKCS, NULL, 0}, &rsa, 1000, "SHA384"},
    {{CKM_SHA512_RSA_PKCS, NULL, 0}, &rsa, 1000, "SHA512"},
    {{CKM_RSA_PKCS_PSS, &pss256, sizeof(pss256)}, &rsa, 32, NULL},
    {{CKM_RSA_PKCS_PSS, &pss_odd, sizeof(pss_odd)}, &rsa, 28, NULL},
    {{CKM_SHA256_RSA_PKCS_PSS, &pss256, sizeof(pss256)}, &rsa, 1000, "SHA256"},
    {{CKM_SHA384_RSA_PKCS_PSS, &pss384, sizeof(pss384)}, &rsa, 1000, "SHA384"},
    {{CKM_SHA512_RSA_PKCS_PSS, &pss512, sizeof(pss512)}, &rsa, 1000, "SHA512"},
    {{CKM_ECDSA, NULL, 0}, &p256, 32, NULL},
    {{CKM_ECDSA, NULL, 0}, &p256, 1, NULL},
    {{CKM_ECDSA, NULL, 0}, &p256, 64, NULL},
    {{CKM_ECDSA, NULL, 0}, &p384, 48, NULL},
    {{CKM_ECDSA, NULL, 0}, &p521, 66, NULL},
    {{CKM_ECDSA, NULL, 0}, &p521, 64, NULL},
    {{CKM_ECDSA, NULL, 0}, &k1, 32, NULL},
    {{CKM_ECDSA_SHA1, NULL, 0}, &p256, 1000, "SHA1"},
    {{CKM_ECDSA_SHA224, NULL, 0}, &p256, 1000, "SHA224"},
    {{CKM_ECDSA_SHA256, NULL, 0}, &p256, 1000, "SHA256"},
    {{CKM_ECDSA_SHA384, NULL, 0}, &p384, 1000, "SHA384"},
    {{CKM_ECDSA_SHA512, NULL, 0}, &p521, 1000, "SHA512"},
    {{CKM_ECDSA_SHA512, NULL, 0}, &k1, 1000, "SHA512"},
};

#define END(table) ((table) + sizeof(table) / sizeof((table)[0]))

static const uint8_t data[1024] = {0, 17, 3, 250, 99, 7};

static size_t signature_len_of(const struct signing *s)
{
	size_t size = key_size(s->pair->private);
	return key_type(s->pair->private) == CKK_EC ? 2 * size : size;
}

static void what_is_signed_verifies_and_what_is_changed_does_not(void **state)
{
	(void)state;
	for (const struct signing *s = signings; s < END(signings); s++) {
		uint8_t signature[600], changed[sizeof(data)];
		CK_ULONG len = sizeof(signature);
		assert_int_equal(once(OPERATION_SIGN, s->mechanism, s->pair->private, data, s->input, signature, &len),
		                 CKR_OK);
		assert_int_equal(len, signature_len_of(s));
		assert_int_equal(verify_once(s->mechanism, s->pair->public, data, s->input, signature, len), CKR_OK);

		memcpy(changed, data, sizeof(changed));
		changed[0] ^= 1;
		if (s->input > 0)
			assert_int_equal(verify_once(s->mechanism, s->pair->public, changed, s->input, signature, len),
			                 CKR_SIGNATURE_INVALID);
		signature[len / 2] ^= 1;
		assert_int_equal(verify_once(s->mechanism, s->pair->public, data, s->input, signature, len),
		                 CKR_SIGNATURE_INVALID);
		assert_int_equal(verify_once(s->mechanism, s->pair->public, data, s->input, signature, len - 1),
		                 CKR_SIGNATURE_LEN_RANGE);
		assert_int_equal(verify_once(s->mechanism, s->pair->public, data, s->input, signature, len + 1),
		                 CKR_SIGNATURE_LEN_RANGE);
		assert_int_equal(verify_once(s->mechanism, s->pair->public, data, s->input, NULL, 0),
		                 CKR_SIGNATURE_LEN_RANGE);
	}
}

/* r || s in libcrypto's own shape, by libcrypto's own means. */
static int der_of(const uint8_t *raw, size_t half, unsigned char **der)
{
	ECDSA_SIG *signature = ECDSA_SIG_new();
	assert_int_equal(
	    ECDSA_SIG_set0(signature, BN_bin2bn(raw, (int)half, NULL), BN_bin2bn(raw + half, (int)half, NULL)), 1);
	int len = i2d_ECDSA_SIG(signature, der);
	ECDSA_SIG_free(signature);
	return len;
}

static void libcrypto_itself_verifies_what_hash_mechanisms_sign(void **state)
{
	(void)state;
	for (const struct signing *s = signings; s < END(signings); s++) {
		if (!s->digest)
			continue;
		uint8_t signature[600];
		CK_ULONG len = sizeof(signature);
		unsigned char *der = NULL;
		EVP_MD_CTX *ctx = EVP_MD_CTX_new();
		EVP_PKEY_CTX *pkey_ctx;

		assert_int_equal(once(OPERATION_SIGN, s->mechanism, s->pair->private, data, s->input, signature, &len),
		                 CKR_OK);
		assert_int_equal(
		    EVP_DigestVerifyInit_ex(ctx, &pkey_ctx, s->digest, ossl, NULL, key_pkey(s->pair->public), NULL), 1);
		if (s->mechanism.pParameter) {
			assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pkey_ctx, RSA_PKCS1_PSS_PADDING), 1);
			assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(pkey_ctx, RSA_PSS_SALTLEN_DIGEST), 1);
		}
		if (s->pair == &rsa) {
			assert_int_equal(EVP_DigestVerify(ctx, signature, len, data, s->input), 1);
		} else {
			int der_len = der_of(signature, len / 2, &der);
			assert_int_equal(EVP_DigestVerify(ctx, der, (size_t)der_len, data, s->input), 1);
		}
		OPENSSL_free(der);
		EVP_MD_CTX_free(ctx);
	}
}

static void parts_sign_and_verify_as_the_whole(void **state)
{
	(void)state;
	for (const struct signing *s = signings; s < END(signings); s++) {
		uint8_t signature[600];
		CK_ULONG len = 0, third = s->input / 3;

		struct operation *o = begin(OPERATION_SIGN, s->mechanism, s->pair->private);
		assert_int_equal(operation_update(o, data, third, NULL, NULL), CKR_OK);
		assert_int_equal(operation_update(o, NULL, 0, NULL, NULL), CKR_OK);
		assert_int_equal(operation_update(o, data + third, s->input - third, NULL, NULL), CKR_OK);
		assert_int_equal(operation_final(o, NULL, &len), CKR_OK);
		assert_int_equal(len, signature_len_of(s));
		len--;
		assert_int_equal(operation_final(o, signature, &len), CKR_BUFFER_TOO_SMALL);
		assert_int_equal(len, signature_len_of(s));
		assert_int_equal(operation_final(o, signature, &len), CKR_OK);
		operation_free(o);

		assert_int_equal(verify_once(s->mechanism, s->pair->public, data, s->input, signature, len), CKR_OK);
		o = begin(OPERATION_VERIFY, s->mechanism, s->pair->public);
		assert_int_equal(operation_update(o, data, s->input, NULL, NULL), CKR_OK);
		assert_int_equal(operation_verify_final(o, signature, len), CKR_OK);
		operation_free(o);
	}
}

static void a_size_query_and_a_short_buffer_change_nothing(void **state)
{
	(void)state;
	for (const struct signing *s = signings; s < END(signings); s++) {
		uint8_t signature[600];
		CK_ULONG len = 12345;
		struct operation *o = begin(OPERATION_SIGN, s->mechanism, s->pair->private);

		CK_RV rv = operation_single(o, data, s->input, NULL, &len);
		assert_int_equal(rv, CKR_OK);
		assert_true(operation_goes_on(rv, NULL));
		assert_int_equal(len, signature_len_of(s));
		memset(signature, 0xa5, sizeof(signature));
		len = 1;
		rv = operation_single(o, data, s->input, signature, &len);
		assert_int_equal(rv, CKR_BUFFER_TOO_SMALL);
		assert_true(operation_goes_on(rv, signature));
		assert_int_equal(signature[0], 0xa5);
		assert_int_equal(len, signature_len_of(s));
		rv = operation_single(o, data, s->input, signature, &len);
		assert_int_equal(rv, CKR_OK);
		assert_false(operation_goes_on(rv, signature));
		assert_int_equal(signature[len], 0xa5);
		operation_free(o);
		assert_int_equal(verify_once(s->mechanism, s->pair->public, data, s->input, signature, len), CKR_OK);
	}
}

static void only_these_answers_leave_an_operation_active(void **state)
{
	CK_BYTE out;

	(void)state;
	assert_true(operation_goes_on(CKR_OK, NULL));
	assert_true(operation_goes_on(CKR_BUFFER_TOO_SMALL, &out));
	assert_false(operation_goes_on(CKR_OK, &out));
	assert_false(operation_goes_on(CKR_FUNCTION_FAILED, NULL));
	assert_false(operation_goes_on(CKR_DATA_LEN_RANGE, &out));
}

static void data_of_the_wrong_length_is_refused(void **state)
{
	const struct {
		CK_MECHANISM mechanism;
		struct pair *pair;
		CK_ULONG len;
	} cases[] = {
	    {MECHANISM(CKM_RSA_PKCS), &rsa, 246},       {MECHANISM(CKM_RSA_PKCS), &rsa, 256},
	    {MECHANISM(CKM_RSA_PKCS), &rsa, 1000},      {MECHANISM(CKM_RSA_PKCS), &rsa, 0},
	    {MECHANISM(CKM_RSA_X_509), &rsa, 0},        {MECHANISM(CKM_RSA_X_509), &rsa, 257},
	    {WITH(CKM_RSA_PKCS_PSS, pss256), &rsa, 31}, {WITH(CKM_RSA_PKCS_PSS, pss256), &rsa, 33},
	    {WITH(CKM_RSA_PKCS_PSS, pss256), &rsa, 0},  {MECHANISM(CKM_ECDSA), &p256, 0},
	};
	uint8_t out[600];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CK_ULONG len = sizeof(out);
		assert_int_equal(
		    once(OPERATION_SIGN, cases[i].mechanism, cases[i].pair->private, data, cases[i].len, out, &len),
		    CKR_DATA_LEN_RANGE);
		assert_int_equal(verify_once(cases[i].mechanism, cases[i].pair->public, data, cases[i].len, out,
		                             cases[i].pair == &rsa ? 256 : 64),
		                 CKR_DATA_LEN_RANGE);
	}
}

static void parts_that_grow_too_long_are_refused_at_once(void **state)
{
	struct operation *o = begin(OPERATION_SIGN, MECHANISM(CKM_RSA_PKCS), rsa.private);

	(void)state;
	assert_int_equal(operation_update(o, data, 245, NULL, NULL), CKR_OK);
	assert_int_equal(operation_update(o, data, 1, NULL, NULL), CKR_DATA_LEN_RANGE);
	operation_free(o);
}

static void ecdsa_uses_the_leftmost_bits_of_long_input(void **state)
{
	uint8_t signature[64];
	CK_ULONG len = sizeof(signature);

	(void)state;
	assert_int_equal(once(OPERATION_SIGN, MECHANISM(CKM_ECDSA), p256.private, data, 1024, signature, &len), CKR_OK);
	assert_int_equal(verify_once(MECHANISM(CKM_ECDSA), p256.public, data, 32, signature, len), CKR_OK);
	assert_int_equal(verify_once(MECHANISM(CKM_ECDSA), p256.public, data, 31, signature, len),
	                 CKR_SIGNATURE_INVALID);
}

static void ecdsa_refuses_zero_and_too_large_halves(void **state)
{
	uint8_t signature[64];

	(void)state;
	memset(signature, 0, sizeof(signature));
	assert_int_equal(verify_once(MECHANISM(CKM_ECDSA), p256.public, data, 32, signature, 64),
	                 CKR_SIGNATURE_INVALID);
	memset(signature, 0xff, sizeof(signature));
	assert_int_equal(verify_once(MECHANISM(CKM_ECDSA), p256.public, data, 32, signature, 64),
	                 CKR_SIGNATURE_INVALID);
}

static void a_whole_after_parts_is_refused(void **state)
{
	uint8_t out[256];
	CK_ULONG len = sizeof(out);

	(void)state;
	struct operation *o = begin(OPERATION_SIGN, MECHANISM(CKM_SHA256_RSA_PKCS), rsa.private);
	assert_int_equal(operation_update(o, data, 5, NULL, NULL), CKR_OK);
	assert_int_equal(operation_single(o, data, 5, out, &len), CKR_OPERATION_ACTIVE);
	operation_free(o);
	o = begin(OPERATION_VERIFY, MECHANISM(CKM_SHA256_RSA_PKCS), rsa.public);
	assert_int_equal(operation_update(o, data, 5, NULL, NULL), CKR_OK);
	assert_int_equal(operation_verify(o, data, 5, out, 256), CKR_OPERATION_ACTIVE);
	operation_free(o);
}

static void calls_of_another_kind_are_refused(void **state)
{
	uint8_t out[256];
	CK_ULONG len = sizeof(out);

	(void)state;
	struct operation *o = begin(OPERATION_VERIFY, MECHANISM(CKM_SHA256_RSA_PKCS), rsa.public);
	assert_int_equal(operation_single(o, data, 5, out, &len), CKR_OPERATION_NOT_INITIALIZED);
	assert_int_equal(operation_final(o, out, &len), CKR_OPERATION_NOT_INITIALIZED);
	operation_free(o);
	o = begin(OPERATION_SIGN, MECHANISM(CKM_SHA256_RSA_PKCS), rsa.private);
	assert_int_equal(operation_verify(o, data, 5, out, 256), CKR_OPERATION_NOT_INITIALIZED);
	assert_int_equal(operation_verify_final(o, out, 256), CKR_OPERATION_NOT_INITIALIZED);
	operation_free(o);
}

static void missing_input_is_refused(void **state)
{
	uint8_t out[256];
	CK_ULONG len = sizeof(out);

	(void)state;
	assert_int_equal(once(OPERATION_SIGN, MECHANISM(CKM_SHA256_RSA_PKCS), rsa.private, NULL, 5, out, &len),
	                 CKR_ARGUMENTS_BAD);
	assert_int_equal(once(OPERATION_SIGN, MECHANISM(CKM_RSA_PKCS), rsa.private, NULL, 5, out, &len),
	                 CKR_ARGUMENTS_BAD);
	assert_int_equal(once(OPERATION_SIGN, MECHANISM(CKM_RSA_PKCS), rsa.private, NULL, 0, out, &len),
	                 CKR_DATA_LEN_RANGE);
}

/* I-15: libcrypto checks each CRT result with the public exponent. */
static void a_fault_in_the_crt_never_reaches_a_signature(void **state)
{
	static const char *const numbers[] = {OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
	                                      OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
	                                      OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
	                                      OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};

	(void)state;
	for (int faulty = 5; faulty < 8; faulty++) {
		uint8_t bytes[8][256], signature[256];
		OSSL_PARAM params[9];
		EVP_PKEY *pkey = NULL;
		struct key *key;

		for (int i = 0; i < 8; i++) {
			BIGNUM *number = NULL;
			assert_int_equal(EVP_PKEY_get_bn_param(key_pkey(rsa.private), numbers[i], &number), 1);
			if (i == faulty)
				assert_int_equal(BN_add_word(number, 2), 1);
			assert_int_equal(BN_bn2nativepad(number, bytes[i], 256), 256);
			params[i] = OSSL_PARAM_construct_BN(numbers[i], bytes[i], 256);
			BN_free(number);
		}
		params[8] = OSSL_PARAM_construct_end();
		EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(ossl, "RSA", NULL);
		assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
		assert_int_equal(EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params), 1);
		EVP_PKEY_CTX_free(ctx);
		assert_int_equal(key_new(pkey, true, KEY_USE_SIGN, &key), CKR_OK);

		for (int i = 0; i < 5; i++) {
			CK_ULONG len = sizeof(signature);
			assert_int_equal(once(OPERATION_SIGN, MECHANISM(CKM_SHA256_RSA_PKCS), key, text, sizeof(text),
			                      signature, &len),
			                 CKR_OK);
			assert_int_equal(
			    verify_once(MECHANISM(CKM_SHA256_RSA_PKCS), rsa.public, text, sizeof(text), signature, len),
			    CKR_OK);
		}
		key_drop(key);
	}
}

/* I-33: the same r would give the key away. */
static void no_nonce_is_used_twice_not_even_after_fork(void **state)
{
	uint8_t parents[64], childs[64];
	CK_ULONG len = 64;
	int fds[2];

	(void)state;
	assert_int_equal(once(OPERATION_SIGN, MECHANISM(CKM_ECDSA), p256.private, data, 32, childs, &len), CKR_OK);
	assert_int_equal(once(OPERATION_SIGN, MECHANISM(CKM_ECDSA), p256.private, data, 32, parents, &len), CKR_OK);
	assert_memory_not_equal(parents, childs, 32);

	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		once(OPERATION_SIGN, MECHANISM(CKM_ECDSA), p256.private, data, 32, childs, &len);
		_exit(write(fds[1], childs, 64) == 64 ? 0 : 1);
	}
	assert_int_equal(once(OPERATION_SIGN, MECHANISM(CKM_ECDSA), p256.private, data, 32, parents, &len), CKR_OK);
	assert_int_equal(read(fds[0], childs, 64), 64);
	assert_memory_not_equal(parents, childs, 32);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(fds[0]);
	close(fds[1]);
}

static void *sign_many(void *failures)
{
	uint8_t signature[256];
	struct operation *kept = NULL;
	CK_MECHANISM mechanism = MECHANISM(CKM_SHA256_RSA_PKCS);

	for (int i = 0; i < 50; i++) {
		CK_ULONG len = sizeof(signature);
		struct operation *o;
		if (operation_begin(OPERATION_SIGN, &mechanism, rsa.private, &by_default, &kept, &o) != CKR_OK ||
		    operation_single(o, data, 100, signature, &len) != CKR_OK ||
		    verify_once(mechanism, rsa.public, data, 100, signature, len) != CKR_OK)
			++*(int *)failures;
		kept = o;
	}
	operation_free(kept);
	return NULL;
}

static void one_key_signs_in_many_threads(void **state)
{
	pthread_t threads[4];
	int failures[4] = {0};

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, sign_many, &failures[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(failures[i], 0);
	}
}

/* --- decryption ----------------------------------------------------------------------------------------------------
 */

static void published_ciphertexts_give_the_published_plaintexts(void **state)
{
	FILE *file = fopen(SKR_TEST_DATA "/crypto/implicit-rejection-2048.txt", "r");
	char line[1024], expected_hex[1024];
	uint8_t ciphertext[256], expected[256], plain[256];
	int vectors = 0;

	(void)state;
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (line[0] == '#')
			continue;
		assert_int_equal(from_hex(line, ciphertext), 256);
		assert_non_null(fgets(expected_hex, sizeof(expected_hex), file));
		size_t expected_len = expected_hex[0] == '.' ? 0 : from_hex(strtok(expected_hex, "\n"), expected);

		CK_ULONG len = sizeof(plain);
		assert_int_equal(
		    once(OPERATION_DECRYPT, MECHANISM(CKM_RSA_PKCS), rsa.private, ciphertext, 256, plain, &len),
		    CKR_OK);
		assert_int_equal(len, expected_len);
		assert_memory_equal(plain, expected, expected_len);
		vectors++;
	}
	fclose(file);
	assert_int_equal(vectors, 6);
}

/* I-14. A ciphertext of a block that we choose, by raw encryption. */
static void a_pkcs1_decryption_never_tells_whether_the_padding_was_right(void **state)
{
	uint8_t block[256], ciphertext[256], plain[256], again[256];

	(void)state;
	for (int round = 0; round < 40; round++) {
		CK_ULONG len = sizeof(ciphertext), plain_len = sizeof(plain), again_len = sizeof(again), query = 0;
		assert_int_equal(random_bytes(block, sizeof(block)).failure, 0);
		block[0] = 0; /* below the modulus */
		assert_int_equal(
		    once(OPERATION_ENCRYPT, MECHANISM(CKM_RSA_X_509), rsa.public, block, 256, ciphertext, &len),
		    CKR_OK);

		struct operation *o = begin(OPERATION_DECRYPT, MECHANISM(CKM_RSA_PKCS), rsa.private);
		assert_int_equal(operation_single(o, ciphertext, 256, NULL, &query), CKR_OK);
		assert_int_equal(query, 245);
		query = 244;
		assert_int_equal(operation_single(o, ciphertext, 256, plain, &query), CKR_BUFFER_TOO_SMALL);
		assert_int_equal(query, 245);
		assert_int_equal(operation_single(o, ciphertext, 256, plain, &plain_len), CKR_OK);
		operation_free(o);
		assert_int_equal(
		    once(OPERATION_DECRYPT, MECHANISM(CKM_RSA_PKCS), rsa.private, ciphertext, 256, again, &again_len),
		    CKR_OK);
		assert_int_equal(plain_len, again_len);
		assert_memory_equal(plain, again, again_len);
	}
}

static void what_is_encrypted_decrypts(void **state)
{
	uint8_t ciphertext[256], plain[256];

	(void)state;
	for (CK_ULONG size = 0; size <= 245; size += 49) {
		CK_ULONG len = sizeof(ciphertext), plain_len = 245;
		assert_int_equal(
		    once(OPERATION_ENCRYPT, MECHANISM(CKM_RSA_PKCS), rsa.public, data, size, ciphertext, &len), CKR_OK);
		assert_int_equal(len, 256);
		assert_int_equal(
		    once(OPERATION_DECRYPT, MECHANISM(CKM_RSA_PKCS), rsa.private, ciphertext, len, plain, &plain_len),
		    CKR_OK);
		assert_int_equal(plain_len, size);
		assert_memory_equal(plain, data, size);
	}
	CK_ULONG len = sizeof(ciphertext);
	assert_int_equal(once(OPERATION_ENCRYPT, MECHANISM(CKM_RSA_PKCS), rsa.public, data, 246, ciphertext, &len),
	                 CKR_DATA_LEN_RANGE);
}

static void ciphertexts_that_are_publicly_wrong_are_refused(void **state)
{
	static const CK_MECHANISM_TYPE types[] = {CKM_RSA_PKCS, CKM_RSA_X_509};
	uint8_t ciphertext[257], plain[256];

	(void)state;
	memset(ciphertext, 0xff, sizeof(ciphertext)); /* not below the modulus */
	for (int i = 0; i < 2; i++) {
		CK_ULONG len = sizeof(plain);
		assert_int_equal(
		    once(OPERATION_DECRYPT, MECHANISM(types[i]), rsa.private, ciphertext, 256, plain, &len),
		    CKR_ENCRYPTED_DATA_INVALID);
		assert_int_equal(
		    once(OPERATION_DECRYPT, MECHANISM(types[i]), rsa.private, ciphertext, 255, plain, &len),
		    CKR_ENCRYPTED_DATA_LEN_RANGE);
		assert_int_equal(
		    once(OPERATION_DECRYPT, MECHANISM(types[i]), rsa.private, ciphertext, 257, plain, &len),
		    CKR_ENCRYPTED_DATA_LEN_RANGE);
		assert_int_equal(once(OPERATION_DECRYPT, MECHANISM(types[i]), rsa.private, NULL, 0, plain, &len),
		                 CKR_ENCRYPTED_DATA_LEN_RANGE);
	}
}

static void oaep_works_with_every_pair_of_digests_and_with_labels(void **state)
{
	static const struct {
		CK_MECHANISM_TYPE hash;
		CK_RSA_PKCS_MGF_TYPE mgf;
		CK_ULONG size;
	} digests[] = {{CKM_SHA_1, CKG_MGF1_SHA1, 20},
	               {CKM_SHA224, CKG_MGF1_SHA224, 28},
	               {CKM_SHA256, CKG_MGF1_SHA256, 32},
	               {CKM_SHA384, CKG_MGF1_SHA384, 48},
	               {CKM_SHA512, CKG_MGF1_SHA512, 64}};
	uint8_t ciphertext[256], plain[256];
	char label[] = "label";

	(void)state;
	for (int h = 0; h < 5; h++) {
		for (int m = 0; m < 5; m++) {
			for (CK_ULONG label_len = 0; label_len <= 5; label_len += 5) {
				CK_RSA_PKCS_OAEP_PARAMS oaep = {digests[h].hash, digests[m].mgf, CKZ_DATA_SPECIFIED,
				                                label, label_len};
				CK_ULONG max = 256 - 2 * digests[h].size - 2, len = 256, plain_len = max;
				assert_int_equal(once(OPERATION_ENCRYPT, WITH(CKM_RSA_PKCS_OAEP, oaep), rsa.public,
				                      data, max, ciphertext, &len),
				                 CKR_OK);
				assert_int_equal(once(OPERATION_DECRYPT, WITH(CKM_RSA_PKCS_OAEP, oaep), rsa.private,
				                      ciphertext, len, plain, &plain_len),
				                 CKR_OK);
				assert_int_equal(plain_len, max);
				assert_memory_equal(plain, data, max);
				len = 256;
				assert_int_equal(once(OPERATION_ENCRYPT, WITH(CKM_RSA_PKCS_OAEP, oaep), rsa.public,
				                      data, max + 1, ciphertext, &len),
				                 CKR_DATA_LEN_RANGE);
			}
		}
	}
}

static void oaep_has_one_answer_for_all_that_can_be_wrong(void **state)
{
	char label[] = "label", other[] = "lebal";
	CK_RSA_PKCS_OAEP_PARAMS right = {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, label, 5};
	CK_RSA_PKCS_OAEP_PARAMS wrong[] = {
	    {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, other, 5},
	    {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, NULL, 0},
	    {CKM_SHA256, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, label, 5},
	    {CKM_SHA384, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, label, 5},
	};
	uint8_t ciphertext[256], plain[256];
	CK_ULONG len = 256;

	(void)state;
	assert_int_equal(
	    once(OPERATION_ENCRYPT, WITH(CKM_RSA_PKCS_OAEP, right), rsa.public, data, 32, ciphertext, &len), CKR_OK);
	for (int i = 0; i < 4; i++) {
		CK_ULONG plain_len = sizeof(plain);
		assert_int_equal(once(OPERATION_DECRYPT, WITH(CKM_RSA_PKCS_OAEP, wrong[i]), rsa.private, ciphertext,
		                      256, plain, &plain_len),
		                 CKR_ENCRYPTED_DATA_INVALID);
	}
	ciphertext[100] ^= 1;
	CK_ULONG plain_len = sizeof(plain);
	assert_int_equal(
	    once(OPERATION_DECRYPT, WITH(CKM_RSA_PKCS_OAEP, right), rsa.private, ciphertext, 256, plain, &plain_len),
	    CKR_ENCRYPTED_DATA_INVALID);
	memset(ciphertext, 0xff, 256);
	assert_int_equal(
	    once(OPERATION_DECRYPT, WITH(CKM_RSA_PKCS_OAEP, right), rsa.private, ciphertext, 256, plain, &plain_len),
	    CKR_ENCRYPTED_DATA_INVALID);
}

static void oaep_needs_no_more_room_than_the_plaintext(void **state)
{
	CK_RSA_PKCS_OAEP_PARAMS oaep = {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, NULL, 0};
	uint8_t ciphertext[256], plain[256];
	CK_ULONG len = 256, plain_len = 31;

	(void)state;
	assert_int_equal(once(OPERATION_ENCRYPT, WITH(CKM_RSA_PKCS_OAEP, oaep), rsa.public, data, 32, ciphertext, &len),
	                 CKR_OK);
	struct operation *o = begin(OPERATION_DECRYPT, WITH(CKM_RSA_PKCS_OAEP, oaep), rsa.private);
	assert_int_equal(operation_single(o, ciphertext, 256, plain, &plain_len), CKR_BUFFER_TOO_SMALL);
	assert_int_equal(plain_len, 32);
	assert_int_equal(operation_single(o, ciphertext, 256, plain, &plain_len), CKR_OK);
	assert_memory_equal(plain, data, 32);
	operation_free(o);
}

static void raw_rsa_pads_with_zeros_on_the_left_and_stays_below_the_modulus(void **state)
{
	uint8_t signature[256], block[256], large[256];
	CK_ULONG len = 256, block_len = 256;

	(void)state;
	assert_int_equal(once(OPERATION_SIGN, MECHANISM(CKM_RSA_X_509), rsa.private, data, 10, signature, &len),
	                 CKR_OK);
	assert_int_equal(
	    once(OPERATION_ENCRYPT, MECHANISM(CKM_RSA_X_509), rsa.public, signature, 256, block, &block_len), CKR_OK);
	for (int i = 0; i < 246; i++)
		assert_int_equal(block[i], 0);
	assert_memory_equal(block + 246, data, 10);

	memset(large, 0xff, sizeof(large));
	assert_int_equal(once(OPERATION_SIGN, MECHANISM(CKM_RSA_X_509), rsa.private, large, 256, signature, &len),
	                 CKR_DATA_INVALID);
	assert_int_equal(once(OPERATION_ENCRYPT, MECHANISM(CKM_RSA_X_509), rsa.public, large, 256, block, &block_len),
	                 CKR_DATA_INVALID);
}

static void rsa_takes_no_parts_for_encryption(void **state)
{
	uint8_t out[256];
	CK_ULONG len = sizeof(out);

	(void)state;
	struct operation *o = begin(OPERATION_ENCRYPT, MECHANISM(CKM_RSA_PKCS), rsa.public);
	assert_int_equal(operation_update(o, data, 10, out, &len), CKR_FUNCTION_NOT_SUPPORTED);
	assert_int_equal(operation_final(o, out, &len), CKR_FUNCTION_NOT_SUPPORTED);
	operation_free(o);
	o = begin(OPERATION_DECRYPT, MECHANISM(CKM_RSA_PKCS), rsa.private);
	assert_int_equal(operation_update(o, data, 10, out, &len), CKR_FUNCTION_NOT_SUPPORTED);
	operation_free(o);
}

/* --- digests -------------------------------------------------------------------------------------------------------
 */

static void digests_of_abc_are_as_published(void **state)
{
	static const struct {
		CK_MECHANISM_TYPE type;
		const char *hex; /* FIPS 180-4 examples */
	} cases[] = {
	    {CKM_SHA_1, "a9993e364706816aba3e25717850c26c9cd0d89d"},
	    {CKM_SHA224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"},
	    {CKM_SHA256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	    {CKM_SHA384,
	     "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"},
	    {CKM_SHA512, "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
	                 "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t expected[64], out[64];
		size_t expected_len = from_hex(cases[i].hex, expected);
		CK_ULONG len = 0;

		struct operation *o = begin(OPERATION_DIGEST, MECHANISM(cases[i].type), NULL);
		assert_int_equal(operation_single(o, (const CK_BYTE *)"abc", 3, NULL, &len), CKR_OK);
		assert_int_equal(len, expected_len);
		assert_int_equal(operation_single(o, (const CK_BYTE *)"abc", 3, out, &len), CKR_OK);
		assert_memory_equal(out, expected, expected_len);
		operation_free(o);

		o = begin(OPERATION_DIGEST, MECHANISM(cases[i].type), NULL);
		assert_int_equal(operation_update(o, (const CK_BYTE *)"ab", 2, NULL, NULL), CKR_OK);
		assert_int_equal(operation_update(o, (const CK_BYTE *)"c", 1, NULL, NULL), CKR_OK);
		assert_int_equal(operation_final(o, out, &len), CKR_OK);
		assert_memory_equal(out, expected, expected_len);
		operation_free(o);
	}
}

/* --- what is refused at the start ----------------------------------------------------------------------------------
 */

/* I-29 */
static void operations_outside_the_key_operations_are_refused(void **state)
{
	static const struct {
		enum operation_kind kind;
		unsigned use;
		bool private;
	} cases[] = {{OPERATION_SIGN, KEY_USE_SIGN, true},
	             {OPERATION_VERIFY, KEY_USE_VERIFY, false},
	             {OPERATION_ENCRYPT, KEY_USE_ENCRYPT, false},
	             {OPERATION_DECRYPT, KEY_USE_DECRYPT, true}};
	CK_MECHANISM mechanism = MECHANISM(CKM_RSA_PKCS);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		EVP_PKEY *pkey = key_pkey(cases[i].private ? rsa.private : rsa.public);
		struct operation *o;
		struct key *key;

		assert_int_equal(EVP_PKEY_up_ref(pkey), 1);
		assert_int_equal(key_new(pkey, cases[i].private, all_uses & ~cases[i].use, &key), CKR_OK);
		assert_int_equal(refusal(cases[i].kind, mechanism, key, &everything), CKR_KEY_FUNCTION_NOT_PERMITTED);
		key_drop(key);
		assert_int_equal(EVP_PKEY_up_ref(pkey), 1);
		assert_int_equal(key_new(pkey, cases[i].private, cases[i].use, &key), CKR_OK);
		assert_int_equal(operation_begin(cases[i].kind, &mechanism, key, &everything, NULL, &o), CKR_OK);
		operation_free(o);
		key_drop(key);
	}
}

static void mechanisms_keys_and_kinds_that_do_not_fit_are_refused(void **state)
{
	(void)state;
	assert_int_equal(refusal(OPERATION_SIGN, MECHANISM(CKM_MD5_RSA_PKCS), rsa.private, &everything),
	                 CKR_MECHANISM_INVALID);
	assert_int_equal(refusal(OPERATION_SIGN, MECHANISM(CKM_SHA256), rsa.private, &everything),
	                 CKR_MECHANISM_INVALID);
	assert_int_equal(refusal(OPERATION_DIGEST, MECHANISM(CKM_ECDSA), NULL, &everything), CKR_MECHANISM_INVALID);
	assert_int_equal(refusal(OPERATION_DECRYPT, MECHANISM(CKM_SHA256_RSA_PKCS), rsa.private, &everything),
	                 CKR_MECHANISM_INVALID);
	assert_int_equal(refusal(OPERATION_SIGN, MECHANISM(CKM_ECDSA), rsa.private, &everything),
	                 CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(refusal(OPERATION_SIGN, MECHANISM(CKM_RSA_PKCS), p256.private, &everything),
	                 CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(refusal(OPERATION_SIGN, MECHANISM(CKM_RSA_PKCS), rsa.public, &everything),
	                 CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(refusal(OPERATION_SIGN, MECHANISM(CKM_RSA_PKCS), NULL, &everything),
	                 CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(refusal(OPERATION_SIGN, MECHANISM(CKM_RSA_PKCS_PSS), rsa.private, &everything),
	                 CKR_MECHANISM_PARAM_INVALID);
}

static void the_policy_decides_on_old_things(void **state)
{
	static const struct mechanism_policy strict = {.rsa_pkcs1_decrypt = false};
	CK_RSA_PKCS_PSS_PARAMS pss1 = {CKM_SHA_1, CKG_MGF1_SHA1, 20};
	CK_MECHANISM verify1 = WITH(CKM_RSA_PKCS_PSS, pss1);
	struct operation *o;

	(void)state;
	assert_int_equal(refusal(OPERATION_SIGN, MECHANISM(CKM_SHA1_RSA_PKCS), rsa.private, &strict),
	                 CKR_MECHANISM_INVALID);
	assert_int_equal(refusal(OPERATION_SIGN, MECHANISM(CKM_ECDSA_SHA1), p256.private, &strict),
	                 CKR_MECHANISM_INVALID);
	assert_int_equal(refusal(OPERATION_SIGN, verify1, rsa.private, &strict), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(refusal(OPERATION_DECRYPT, MECHANISM(CKM_RSA_PKCS), rsa.private, &strict),
	                 CKR_MECHANISM_INVALID);
	assert_int_equal(refusal(OPERATION_SIGN, MECHANISM(CKM_RSA_X_509), rsa.private, &strict),
	                 CKR_MECHANISM_INVALID);
	assert_int_equal(operation_begin(OPERATION_VERIFY, &verify1, rsa.public, &strict, NULL, &o), CKR_OK);
	operation_free(o);
}

/* --- what is kept between operations -------------------------------------------------------------------------------
 */

static struct operation *begin_again(enum operation_kind kind, CK_MECHANISM mechanism, struct key *key,
                                     struct operation **kept)
{
	struct operation *o;
	assert_int_equal(operation_begin(kind, &mechanism, key, &everything, kept, &o), CKR_OK);
	assert_null(*kept);
	return o;
}

static struct operation *finished(enum operation_kind kind, CK_MECHANISM mechanism, struct key *key, CK_ULONG input)
{
	uint8_t out[256];
	CK_ULONG len = sizeof(out);
	struct operation *o = begin(kind, mechanism, key);
	assert_int_equal(operation_single(o, data, input, out, &len), CKR_OK);
	return o;
}

static void the_same_again_reuses_the_contexts(void **state)
{
	(void)state;
	for (const struct signing *s = signings; s < END(signings); s++) {
		uint8_t signature[600];
		struct operation *first = finished(OPERATION_SIGN, s->mechanism, s->pair->private, s->input);
		struct operation *o = first;

		for (int i = 0; i < 3; i++) {
			CK_ULONG len = sizeof(signature);
			o = begin_again(OPERATION_SIGN, s->mechanism, s->pair->private, &o);
			assert_ptr_equal(o, first);
			assert_int_equal(operation_single(o, data, s->input, signature, &len), CKR_OK);
			assert_int_equal(verify_once(s->mechanism, s->pair->public, data, s->input, signature, len),
			                 CKR_OK);
		}
		operation_free(o);
	}
}

static void input_of_an_abandoned_operation_does_not_reach_the_next(void **state)
{
	static const CK_MECHANISM_TYPE types[] = {CKM_RSA_PKCS, CKM_SHA256_RSA_PKCS};
	uint8_t signature[256];

	(void)state;
	for (int i = 0; i < 2; i++) {
		CK_ULONG len = sizeof(signature);
		struct operation *o = begin(OPERATION_SIGN, MECHANISM(types[i]), rsa.private);
		assert_int_equal(operation_update(o, data, 50, NULL, NULL), CKR_OK);
		o = begin_again(OPERATION_SIGN, MECHANISM(types[i]), rsa.private, &o);
		assert_int_equal(operation_single(o, data, 10, signature, &len), CKR_OK);
		operation_free(o);
		assert_int_equal(verify_once(MECHANISM(types[i]), rsa.public, data, 10, signature, len), CKR_OK);
	}
}

static void another_salt_label_key_or_kind_is_not_the_same(void **state)
{
	CK_RSA_PKCS_PSS_PARAMS salt20 = {CKM_SHA256, CKG_MGF1_SHA256, 20};
	char a[] = "a", b[] = "b";
	CK_RSA_PKCS_OAEP_PARAMS label_a = {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, a, 1};
	CK_RSA_PKCS_OAEP_PARAMS label_b = {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, b, 1};
	uint8_t out[256], plain[256];
	CK_ULONG len = 256, plain_len = 256;

	(void)state;
	struct operation *o = finished(OPERATION_SIGN, WITH(CKM_RSA_PKCS_PSS, pss256), rsa.private, 32);
	o = begin_again(OPERATION_SIGN, WITH(CKM_RSA_PKCS_PSS, salt20), rsa.private, &o);
	assert_int_equal(operation_single(o, data, 32, out, &len), CKR_OK);
	operation_free(o);
	assert_int_equal(verify_once(WITH(CKM_RSA_PKCS_PSS, salt20), rsa.public, data, 32, out, 256), CKR_OK);
	assert_int_equal(verify_once(WITH(CKM_RSA_PKCS_PSS, pss256), rsa.public, data, 32, out, 256),
	                 CKR_SIGNATURE_INVALID);

	o = finished(OPERATION_ENCRYPT, WITH(CKM_RSA_PKCS_OAEP, label_a), rsa.public, 32);
	o = begin_again(OPERATION_ENCRYPT, WITH(CKM_RSA_PKCS_OAEP, label_b), rsa.public, &o);
	assert_int_equal(operation_single(o, data, 32, out, &len), CKR_OK);
	o = begin_again(OPERATION_DECRYPT, WITH(CKM_RSA_PKCS_OAEP, label_b), rsa.private, &o);
	assert_int_equal(operation_single(o, out, 256, plain, &plain_len), CKR_OK);
	operation_free(o);

	o = finished(OPERATION_SIGN, MECHANISM(CKM_ECDSA), p256.private, 32);
	o = begin_again(OPERATION_SIGN, MECHANISM(CKM_ECDSA), k1.private, &o);
	len = 256;
	assert_int_equal(operation_single(o, data, 32, out, &len), CKR_OK);
	operation_free(o);
	assert_int_equal(verify_once(MECHANISM(CKM_ECDSA), k1.public, data, 32, out, len), CKR_OK);
}

static void a_kept_operation_keeps_its_key_alive(void **state)
{
	struct pair pair = pair_of(ec_pkey("P-256"));
	uint8_t out[64];
	CK_ULONG len = sizeof(out);

	(void)state;
	struct operation *o = begin(OPERATION_SIGN, MECHANISM(CKM_ECDSA), pair.private);
	key_drop(pair.private);
	assert_int_equal(operation_single(o, data, 32, out, &len), CKR_OK);
	assert_int_equal(verify_once(MECHANISM(CKM_ECDSA), pair.public, data, 32, out, len), CKR_OK);
	operation_free(o);
	key_drop(pair.public);
}

static void a_refused_beginning_consumes_what_was_kept(void **state)
{
	CK_MECHANISM unknown = MECHANISM(CKM_MD5_RSA_PKCS);
	struct operation *kept = finished(OPERATION_SIGN, MECHANISM(CKM_ECDSA), p256.private, 32), *o = NULL;

	(void)state;
	assert_int_equal(operation_begin(OPERATION_SIGN, &unknown, rsa.private, &everything, &kept, &o),
	                 CKR_MECHANISM_INVALID);
	assert_null(kept);
	assert_null(o);
}

static void after_a_failure_contexts_are_made_anew(void **state)
{
	uint8_t signature[256];
	CK_ULONG len = sizeof(signature);

	(void)state;
	struct operation *o, *failed;
	o = failed = begin(OPERATION_VERIFY, MECHANISM(CKM_SHA256_RSA_PKCS), rsa.public);
	memset(signature, 0, sizeof(signature));
	assert_int_equal(operation_verify(o, data, 10, signature, 256), CKR_SIGNATURE_INVALID);
	assert_int_equal(once(OPERATION_SIGN, MECHANISM(CKM_SHA256_RSA_PKCS), rsa.private, data, 10, signature, &len),
	                 CKR_OK);
	o = begin_again(OPERATION_VERIFY, MECHANISM(CKM_SHA256_RSA_PKCS), rsa.public, &o);
	assert_ptr_not_equal(o, failed);
	assert_int_equal(operation_verify(o, data, 10, signature, 256), CKR_OK);
	operation_free(o);
}

static void the_callers_parameters_may_change_after_the_beginning(void **state)
{
	char label[] = "label";
	CK_RSA_PKCS_OAEP_PARAMS oaep = {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, label, 5};
	CK_RSA_PKCS_OAEP_PARAMS as_before = {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, (char[]){"label"}, 5};
	uint8_t out[256], plain[256];
	CK_ULONG len = 256, plain_len = 256;

	(void)state;
	struct operation *o = begin(OPERATION_ENCRYPT, WITH(CKM_RSA_PKCS_OAEP, oaep), rsa.public);
	memset(label, 'x', 5);
	memset(&oaep, 0xff, sizeof(oaep));
	assert_int_equal(operation_single(o, data, 10, out, &len), CKR_OK);
	operation_free(o);
	assert_int_equal(
	    once(OPERATION_DECRYPT, WITH(CKM_RSA_PKCS_OAEP, as_before), rsa.private, out, 256, plain, &plain_len),
	    CKR_OK);
}

static void errors_that_were_there_before_stay(void **state)
{
	uint8_t out[256];
	CK_ULONG len = 256;

	(void)state;
	memset(out, 0xff, sizeof(out));
	ERR_raise(ERR_LIB_USER, 77);
	assert_int_equal(once(OPERATION_DECRYPT, MECHANISM(CKM_RSA_X_509), rsa.private, out, 256, out, &len),
	                 CKR_ENCRYPTED_DATA_INVALID);
	assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()), 77);
	assert_int_equal(ERR_GET_REASON(ERR_get_error()), 77);
	assert_int_equal(ERR_get_error(), 0);
}

/* A forked child whose parent was in the middle of something starts with a new library context. */
static void a_child_with_a_new_library_context_works(void **state)
{
	struct operation *kept = finished(OPERATION_SIGN, MECHANISM(CKM_SHA256_RSA_PKCS), rsa.private, 32);
	struct operation *digest = finished(OPERATION_DIGEST, MECHANISM(CKM_SHA256), NULL, 32);
	const struct operation *inherited = kept, *inherited_digest = digest;
	int status;

	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		if (ossl_renew().failure)
			_exit(1);
		struct pair fresh = pair_of(published_rsa_pkey());
		uint8_t signature[256];
		CK_ULONG len = sizeof(signature);
		struct operation *o = begin_again(OPERATION_SIGN, MECHANISM(CKM_SHA256_RSA_PKCS), fresh.private, &kept);
		if (o == inherited) /* its contexts are the parent's */
			_exit(4);
		if (operation_single(o, data, 32, signature, &len) != CKR_OK)
			_exit(2);
		if (verify_once(MECHANISM(CKM_SHA256_RSA_PKCS), fresh.public, data, 32, signature, len) != CKR_OK)
			_exit(3);
		o = begin_again(OPERATION_DIGEST, MECHANISM(CKM_SHA256), NULL, &digest);
		if (o == inherited_digest)
			_exit(5);
		_exit(operation_single(o, data, 32, signature, &len) == CKR_OK ? 0 : 6);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	operation_free(digest);
	operation_free(kept);
}

/* --- the stack -----------------------------------------------------------------------------------------------------
 */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
enum { DEPTH = 12 * 1024 };

static void __attribute__((noinline)) mark_the_stack(void)
{
	unsigned char below[DEPTH];
	memset(below, 0xa7, sizeof(below));
	__asm__ volatile("" : : "r"(below) : "memory");
}

static size_t __attribute__((noinline)) marks_left(void)
{
#if __has_attribute(uninitialized)
	__attribute__((uninitialized))
#endif
	volatile unsigned char below[DEPTH];
	size_t marks = 0;

	__asm__ volatile("" : : "r"(below) : "memory");
	for (size_t i = 0; i < DEPTH; i++)
		marks += below[i] == 0xa7;
	return marks;
}

/* I-01: what libcrypto spills is overwritten. */
static void the_stack_below_is_overwritten_after_a_private_operation(void **state)
{
	uint8_t out[256];
	CK_ULONG len = sizeof(out);
	struct operation *o = begin(OPERATION_SIGN, MECHANISM(CKM_ECDSA), p256.private);

	(void)state;
	mark_the_stack();
	assert_true(marks_left() > DEPTH / 2); /* the method works */
	mark_the_stack();
	CK_RV rv = operation_single(o, data, 32, out, &len);
	size_t left = marks_left();
	assert_int_equal(rv, CKR_OK);
	assert_in_range(left, 0, 512); /* gaps in our own frames; without the burn it is most of the depth */
	operation_free(o);
}
#endif

#define TEST(name) cmocka_unit_test_teardown(name, look_at_error_queue)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_signed_verifies_and_what_is_changed_does_not),
		TEST(libcrypto_itself_verifies_what_hash_mechanisms_sign),
		TEST(parts_sign_and_verify_as_the_whole),
		TEST(a_size_query_and_a_short_buffer_change_nothing),
		TEST(only_these_answers_leave_an_operation_active),
		TEST(data_of_the_wrong_length_is_refused),
		TEST(parts_that_grow_too_long_are_refused_at_once),
		TEST(ecdsa_uses_the_leftmost_bits_of_long_input),
		TEST(ecdsa_refuses_zero_and_too_large_halves),
		TEST(a_whole_after_parts_is_refused),
		TEST(calls_of_another_kind_are_refused),
		TEST(missing_input_is_refused),
		TEST(a_fault_in_the_crt_never_reaches_a_signature),
		TEST(no_nonce_is_used_twice_not_even_after_fork),
		TEST(one_key_signs_in_many_threads),
		TEST(published_ciphertexts_give_the_published_plaintexts),
		TEST(a_pkcs1_decryption_never_tells_whether_the_padding_was_right),
		TEST(what_is_encrypted_decrypts),
		TEST(ciphertexts_that_are_publicly_wrong_are_refused),
		TEST(oaep_works_with_every_pair_of_digests_and_with_labels),
		TEST(oaep_has_one_answer_for_all_that_can_be_wrong),
		TEST(oaep_needs_no_more_room_than_the_plaintext),
		TEST(raw_rsa_pads_with_zeros_on_the_left_and_stays_below_the_modulus),
		TEST(rsa_takes_no_parts_for_encryption),
		TEST(digests_of_abc_are_as_published),
		TEST(operations_outside_the_key_operations_are_refused),
		TEST(mechanisms_keys_and_kinds_that_do_not_fit_are_refused),
		TEST(the_policy_decides_on_old_things),
		TEST(the_same_again_reuses_the_contexts),
		TEST(input_of_an_abandoned_operation_does_not_reach_the_next),
		TEST(another_salt_label_key_or_kind_is_not_the_same),
		TEST(a_kept_operation_keeps_its_key_alive),
		TEST(a_refused_beginning_consumes_what_was_kept),
		TEST(after_a_failure_contexts_are_made_anew),
		TEST(the_callers_parameters_may_change_after_the_beginning),
		TEST(errors_that_were_there_before_stay),
		TEST(a_child_with_a_new_library_context_works),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
		TEST(the_stack_below_is_overwritten_after_a_private_operation),
#endif
	};
	return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
