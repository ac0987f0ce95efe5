/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens when memory runs out: each allocation in turn fails, once per run, until a run needs no more of them.
 * Leaks show in the builds with a sanitizer.
 */
#include "crypto/cipher.h"
#include "crypto/components.h"
#include "crypto/derive.h"
#include "crypto/generate.h"
#include "crypto/operation.h"
#include "crypto/wrap.h"

#include "unit/crypto/surroundings.h"

#include <openssl/core_names.h>

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* The allocation that fails; 0: none. */
static _Thread_local long fails_at, allocations;

static bool must_fail(void)
{
	return fails_at && ++allocations == fails_at;
}

static void *take(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return must_fail() ? NULL : malloc(size);
}

static void *resize(void *block, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return must_fail() ? NULL : realloc(block, size);
}

static void give_back(void *block, const char *file, int line)
{
	(void)file;
	(void)line;
	free(block);
}

static struct pair rsa, p256;
static struct key *aes, *generic;
static uint8_t signature[256], ciphertext[256], padded[32];

static CK_RSA_PKCS_PSS_PARAMS pss = {CKM_SHA256, CKG_MGF1_SHA256, 32};
static char label[] = "label";
static CK_RSA_PKCS_OAEP_PARAMS oaep = {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, label, 5};

static CK_BYTE iv[16];
static CK_GCM_PARAMS gcm = {iv, 12, 96, (CK_BYTE *)label, 5, 128};

static CK_RV whole(enum operation_kind kind, CK_MECHANISM mechanism, struct key *key, const uint8_t *in,
                   CK_ULONG in_len)
{
	struct operation *o = NULL;
	uint8_t out[256];
	CK_ULONG len = sizeof(out);

	CK_RV rv = operation_begin(kind, &mechanism, key, &everything, NULL, &o);
	if (rv != CKR_OK) {
		assert_null(o);
		return rv;
	}
	if (kind == OPERATION_VERIFY)
		rv = operation_verify(o, in, in_len, signature, sizeof(signature));
	else if (kind == OPERATION_DECRYPT && mechanism.mechanism == CKM_AES_CBC_PAD)
		rv = operation_single(o, in, in_len, out, (CK_ULONG[]){31}); /* which is decrypted apart */
	else
		rv = operation_single(o, in, in_len, out, &len);
	operation_free(o);
	return rv;
}

static void every_failing_allocation_is_answered_and_passes(void **state)
{
	static const uint8_t hash[32] = {1};
	const struct {
		const char *name;
		enum operation_kind kind;
		CK_MECHANISM mechanism;
		struct key *key;
		const uint8_t *in;
		CK_ULONG in_len;
	} cases[] = {
	    {"sign", OPERATION_SIGN, {CKM_SHA256_RSA_PKCS, NULL, 0}, rsa.private, hash, 32},
	    {"sign with PSS", OPERATION_SIGN, {CKM_RSA_PKCS_PSS, &pss, sizeof(pss)}, rsa.private, hash, 32},
	    {"sign with ECDSA", OPERATION_SIGN, {CKM_ECDSA, NULL, 0}, p256.private, hash, 32},
	    {"verify", OPERATION_VERIFY, {CKM_SHA256_RSA_PKCS, NULL, 0}, rsa.public, hash, 32},
	    {"encrypt", OPERATION_ENCRYPT, {CKM_RSA_PKCS_OAEP, &oaep, sizeof(oaep)}, rsa.public, hash, 32},
	    {"decrypt", OPERATION_DECRYPT, {CKM_RSA_PKCS, NULL, 0}, rsa.private, ciphertext, 256},
	    {"MAC", OPERATION_SIGN, {CKM_AES_CMAC, NULL, 0}, aes, hash, 32},
	    {"HMAC", OPERATION_SIGN, {CKM_SHA256_HMAC, NULL, 0}, generic, hash, 32},
	    {"GCM", OPERATION_ENCRYPT, {CKM_AES_GCM, &gcm, sizeof(gcm)}, aes, hash, 32},
	    {"CBC", OPERATION_ENCRYPT, {CKM_AES_CBC_PAD, iv, 16}, aes, hash, 32},
	    {"CBC back", OPERATION_DECRYPT, {CKM_AES_CBC_PAD, iv, 16}, aes, padded, 32},
	    {"digest", OPERATION_DIGEST, {CKM_SHA512, NULL, 0}, NULL, hash, 32},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CK_RV rv;
		long n = 0;
		do {
			allocations = 0;
			fails_at = ++n;
			rv = whole(cases[i].kind, cases[i].mechanism, cases[i].key, cases[i].in, cases[i].in_len);
			bool fired = allocations >= fails_at;
			fails_at = 0;
			if (rv != CKR_OK && !fired)
				fail_msg("%s: 0x%lx without a cause", cases[i].name, rv);
			if (ERR_peek_error() != 0)
				fail_msg("%s: errors stay behind allocation %ld", cases[i].name, n);
			assert_int_equal(
			    whole(cases[i].kind, cases[i].mechanism, cases[i].key, cases[i].in, cases[i].in_len),
			    CKR_OK);
			if (!fired)
				break;
		} while (n < 10000);
		assert_in_range(n, 3, 9999);
	}
}

static void a_key_without_memory_is_not_made(void **state)
{
	struct key *key = NULL;

	(void)state;
	for (long n = 1;; n++) {
		EVP_PKEY *pkey = published_rsa_pkey();
		allocations = 0;
		fails_at = n;
		CK_RV rv = key_new(pkey, true, all_uses, &key);
		bool fired = allocations >= fails_at;
		fails_at = 0;
		assert_int_equal(ERR_peek_error(), 0);
		if (rv == CKR_OK)
			key_drop(TAKE(key));
		assert_null(key);
		assert_true(fired || rv == CKR_OK);
		if (!fired)
			break;
	}
}

/* --- keys that are made -------------------------------------------------------------------------------------------
 */

static struct key *halves[2];

/*
 * Made anew for each failure: libcrypto 3.0 may be left with a blinding whose two halves do not belong together, and
 * then the key opens nothing until the blinding is renewed, after 32 uses.
 */
static struct pair unblinded;

static CK_RV generated_secret(void)
{
	CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
	struct key_wanted wanted = {CKO_SECRET_KEY, CKK_AES, 32, 0};
	return key_generate(&mechanism, &wanted, &halves[0]);
}

static CK_RV generated_pair(void)
{
	struct component curve = ec_curve_params("prime256v1");
	CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
	struct pair_wanted wanted = {.ec_params = curve.data, .ec_params_len = curve.len};
	return key_pair_generate(&mechanism, &wanted, &halves[0], &halves[1]);
}

static uint8_t point[65];

static CK_RV derived(void)
{
	CK_ECDH1_DERIVE_PARAMS params = {CKD_SHA256_KDF, 5, (CK_BYTE *)label, sizeof(point), point};
	CK_MECHANISM mechanism = {CKM_ECDH1_DERIVE, &params, sizeof(params)};
	struct key_wanted wanted = {CKO_SECRET_KEY, CKK_AES, 32, 0};
	return key_derive(&mechanism, p256.private, &wanted, &halves[0]);
}

static CK_RV from_a_number(void)
{
	static const uint8_t value[] = {1, 2, 3};
	return key_from_ec_private(ec_curve_params("secp384r1"), (struct component){value, 3}, 0, &halves[0]);
}

static CK_RV wrapped_and_back(const CK_MECHANISM *mechanism, struct key *wrapping, struct key *key,
                              CK_OBJECT_CLASS class)
{
	struct key_wanted wanted = {class, key_type(key), 0, 0};
	uint8_t wrapped[512];
	CK_ULONG len = sizeof(wrapped);

	CK_RV rv = key_wrap(mechanism, &everything, wrapping, key, wrapped, &len);
	return rv == CKR_OK ? key_unwrap(mechanism, &everything, wrapping, wrapped, len, &wanted, &halves[0]) : rv;
}

static CK_RV secret_by_kwp(void)
{
	CK_MECHANISM mechanism = {CKM_AES_KEY_WRAP_KWP, NULL, 0};
	return wrapped_and_back(&mechanism, aes, generic, CKO_SECRET_KEY);
}

static CK_RV private_by_cbc(void)
{
	CK_MECHANISM mechanism = {CKM_AES_CBC_PAD, iv, sizeof(iv)};
	return wrapped_and_back(&mechanism, aes, p256.private, CKO_PRIVATE_KEY);
}

static CK_RV secret_by_pkcs1(void)
{
	CK_MECHANISM mechanism = {CKM_RSA_PKCS, NULL, 0};
	return wrapped_and_back(&mechanism, unblinded.private, generic, CKO_SECRET_KEY);
}

static CK_RV secret_by_rsa_aes(void)
{
	struct rsa_aes_key_wrap_params params = {256, &oaep};
	CK_MECHANISM mechanism = {CKM_RSA_AES_KEY_WRAP, &params, sizeof(params)};
	return wrapped_and_back(&mechanism, unblinded.private, generic, CKO_SECRET_KEY);
}

static void a_key_is_made_or_leaves_nothing(void **state)
{
	static const struct {
		const char *name;
		CK_RV (*make)(void);
		bool blinds;
	} cases[] = {{"secret", generated_secret, false}, {"pair", generated_pair, false},
	             {"derive", derived, false},          {"number", from_a_number, false},
	             {"KWP", secret_by_kwp, false},       {"CBC", private_by_cbc, false},
	             {"PKCS #1", secret_by_pkcs1, true},  {"RSA AES", secret_by_rsa_aes, true}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool fired = true;
		for (long n = 1; fired; n++) {
			if (cases[i].blinds)
				unblinded = pair_of(published_rsa_pkey());
			allocations = 0;
			fails_at = n;
			CK_RV rv = cases[i].make();
			fired = allocations >= fails_at;
			fails_at = 0;
			if (rv != CKR_OK && !fired)
				fail_msg("%s: 0x%lx without a cause", cases[i].name, rv);
			if (rv != CKR_OK && (halves[0] || halves[1]))
				fail_msg("%s: a key in spite of 0x%lx", cases[i].name, rv);
			if (ERR_peek_error() != 0)
				fail_msg("%s: errors stay behind allocation %ld", cases[i].name, n);
			assert_true(fired || rv == CKR_OK);
			key_drop(TAKE(halves[0]));
			key_drop(TAKE(halves[1]));
			pair_drop(unblinded);
			unblinded = (struct pair){NULL, NULL};
		}
	}
}

/* In a child, since the library contexts that are replaced leak on purpose. */
static int begin_while_digests_are_missing(void)
{
	CK_MECHANISM sign = {CKM_RSA_PKCS_PSS, &pss, sizeof(pss)};
	int refused = 0;

	for (long n = 1; n < 1000; n++) {
		struct operation *o = NULL;
		if (ossl_renew().failure)
			return 1;
		struct pair fresh = pair_of(published_rsa_pkey());
		allocations = 0;
		fails_at = n;
		CK_RV rv = operation_begin(OPERATION_SIGN, &sign, fresh.private, &everything, NULL, &o);
		bool fired = allocations >= fails_at;
		fails_at = 0;
		uint8_t out[256];
		CK_ULONG len = sizeof(out);
		if (rv != CKR_OK)
			refused++;
		else if (operation_single(o, out, 20, out, &len) != CKR_DATA_LEN_RANGE) /* not SHA-256 after all */
			return 2;
		operation_free(o);
		pair_drop(fresh);
		if (!fired)
			return refused > 10 ? 0 : 3;
	}
	return 4;
}

static void a_missing_digest_is_not_replaced_by_libcryptos_default(void **state)
{
	int status;

	(void)state;
	pid_t pid = fork();
	if (pid == 0)
		_exit(begin_while_digests_are_missing());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int make_keys(void **state)
{
	CK_MECHANISM sign = {CKM_SHA256_RSA_PKCS, NULL, 0}, encrypt = {CKM_RSA_PKCS, NULL, 0};
	static const uint8_t hash[32] = {1};
	struct operation *o;
	CK_ULONG len = 256;

	if (!CRYPTO_set_mem_functions(take, resize, give_back) || open_libcrypto(state))
		return -1;
	struct pair bound = pair_of(ec_pkey("P-256"));
	static const uint8_t bytes[32] = {1};
	size_t point_len;
	rsa = pair_of(published_rsa_pkey());
	p256.public = bound.public;
	if (key_with_uses(bound.private, all_uses | KEY_USE_DERIVE | KEY_USE_LEAVE, &p256.private) != CKR_OK)
		return -1;
	key_drop(bound.private);
	aes = secret_of(bytes, 32, CKK_AES);
	generic = secret_of(bytes, 32, CKK_GENERIC_SECRET);
	if (!EVP_PKEY_get_octet_string_param(key_pkey(p256.public), OSSL_PKEY_PARAM_PUB_KEY, point, 65, &point_len))
		return -1;
	if (cipher_once("CBC", bytes, 32, iv, true, bytes, 20, padded, &point_len) != CKR_OK)
		return -1;
	if (operation_begin(OPERATION_SIGN, &sign, rsa.private, &everything, NULL, &o) != CKR_OK ||
	    operation_single(o, hash, 32, signature, &len) != CKR_OK)
		return -1;
	operation_free(o);
	if (operation_begin(OPERATION_ENCRYPT, &encrypt, rsa.public, &everything, NULL, &o) != CKR_OK ||
	    operation_single(o, hash, 32, ciphertext, &len) != CKR_OK)
		return -1;
	operation_free(o);
	return 0;
}

static int drop_keys(void **state)
{
	(void)state;
	pair_drop(rsa);
	pair_drop(p256);
	key_drop(aes);
	key_drop(generic);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_failing_allocation_is_answered_and_passes),
	    cmocka_unit_test(a_key_without_memory_is_not_made),
	    cmocka_unit_test(a_key_is_made_or_leaves_nothing),
	    cmocka_unit_test(a_missing_digest_is_not_replaced_by_libcryptos_default),
	};
	return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
