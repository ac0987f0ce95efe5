/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/wrap.h"

#include "crypto/cipher.h"
#include "crypto/operation.h"
#include "unit/crypto/surroundings.h"

#include <openssl/rsa.h>

enum { MOST = 8192 };

static const uint8_t bytes[KEY_SECRET_MAX] = {7, 6, 5, 4};
static CK_BYTE iv[16] = {3, 1};
static char label[] = "label";
static CK_RSA_PKCS_OAEP_PARAMS oaep = {CKM_SHA256, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, label, 5};
static struct rsa_aes_key_wrap_params rsa_aes = {256, &oaep};
static struct pair rsa, ec;
static struct key *aes;

#define MECHANISM(type_)     ((CK_MECHANISM){(type_), NULL, 0})
#define WITH(type_, params_) ((CK_MECHANISM){(type_), &(params_), sizeof(params_)})

struct wrapper {
	CK_MECHANISM mechanism;
	bool is_rsa, takes_pairs;
};

static const struct wrapper wrappers[] = {
    {{CKM_AES_KEY_WRAP, NULL, 0}, false, false},
    {{CKM_AES_KEY_WRAP_KWP, NULL, 0}, false, true},
    {{CKM_AES_KEY_WRAP_PAD, NULL, 0}, false, true},
    {{CKM_AES_CBC_PAD, iv, sizeof(iv)}, false, true},
    {{CKM_RSA_PKCS, NULL, 0}, true, false},
    {{CKM_RSA_PKCS_OAEP, &oaep, sizeof(oaep)}, true, false},
    {{CKM_RSA_AES_KEY_WRAP, &rsa_aes, sizeof(rsa_aes)}, true, true},
};
#define END(table) ((table) + sizeof(table) / sizeof((table)[0]))

static struct key *seals(const struct wrapper *w)
{
	return w->is_rsa ? rsa.public : aes;
}

static struct key *opens(const struct wrapper *w)
{
	return w->is_rsa ? rsa.private : aes;
}

static struct key_wanted secret(CK_KEY_TYPE type, size_t len)
{
	return (struct key_wanted){CKO_SECRET_KEY, type, len, KEY_USE_SIGN};
}

static CK_ULONG wrap(const struct wrapper *w, const struct key *key, uint8_t *out)
{
	CK_ULONG len = MOST, exact = 0, less;

	assert_int_equal(key_wrap(&w->mechanism, &by_default, seals(w), key, NULL, &exact), CKR_OK);
	less = exact - 1;
	out[0] = 0xa5;
	assert_int_equal(key_wrap(&w->mechanism, &by_default, seals(w), key, out, &less), CKR_BUFFER_TOO_SMALL);
	assert_int_equal(less, exact);
	assert_int_equal(out[0], 0xa5);
	len = exact;
	out[exact] = 0xa5;
	assert_int_equal(key_wrap(&w->mechanism, &by_default, seals(w), key, out, &len), CKR_OK);
	assert_int_equal(len, exact);
	assert_int_equal(out[exact], 0xa5);
	return len;
}

static CK_RV unwrap(const struct wrapper *w, const uint8_t *in, CK_ULONG len, struct key_wanted wanted,
                    struct key **ret)
{
	return key_unwrap(&w->mechanism, &by_default, opens(w), in, len, &wanted, ret);
}

/* --- what comes back -----------------------------------------------------------------------------------------------
 */

static void published_vectors_wrap_and_unwrap(void **state)
{
	FILE *file = fopen(SKR_TEST_DATA "/crypto/keywrap.txt", "r");
	char line[1024], *fields[4];
	int vectors = 0;

	(void)state;
	assert_non_null(file);
	for (; next_vector(file, line, sizeof(line), fields, 4); vectors++) {
		uint8_t kek_bytes[32], value[64], wrapped[64], out[64];
		size_t kek_len = from_field(fields[1], kek_bytes), len = from_field(fields[2], value);
		size_t wrapped_len = from_field(fields[3], wrapped);
		CK_MECHANISM mechanism = MECHANISM(fields[0][2] ? CKM_AES_KEY_WRAP_KWP : CKM_AES_KEY_WRAP);
		struct key *kek = secret_of(kek_bytes, kek_len, CKK_AES);
		struct key *key = secret_of(value, len, CKK_GENERIC_SECRET), *again;
		struct key_wanted wanted = secret(CKK_GENERIC_SECRET, 0);
		CK_ULONG out_len = sizeof(out);

		assert_int_equal(key_wrap(&mechanism, &by_default, kek, key, out, &out_len), CKR_OK);
		assert_int_equal(out_len, wrapped_len);
		assert_memory_equal(out, wrapped, wrapped_len);
		assert_int_equal(key_unwrap(&mechanism, &by_default, kek, wrapped, wrapped_len, &wanted, &again),
		                 CKR_OK);
		assert_int_equal(key_size(again), len);
		assert_memory_equal(key_secret(again), value, len);
		key_drop(kek);
		key_drop(key);
		key_drop(again);
	}
	fclose(file);
	assert_int_equal(vectors, 8);
}

static void secret_keys_come_back_with_and_without_a_length(void **state)
{
	static const struct {
		CK_KEY_TYPE type;
		size_t len;
	} keys[] = {{CKK_AES, 16}, {CKK_AES, 24}, {CKK_AES, 32}, {CKK_GENERIC_SECRET, 48}, {CKK_SHA256_HMAC, 64}};
	uint8_t wrapped[MOST];

	(void)state;
	for (const struct wrapper *w = wrappers; w < END(wrappers); w++) {
		for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
			struct key *key = secret_of(bytes, keys[i].len, keys[i].type), *again;
			CK_ULONG len = wrap(w, key, wrapped);
			for (size_t said = 0; said <= keys[i].len; said += keys[i].len) {
				assert_int_equal(unwrap(w, wrapped, len, secret(keys[i].type, said), &again), CKR_OK);
				assert_int_equal(key_type(again), keys[i].type);
				assert_int_equal(key_size(again), keys[i].len);
				assert_int_equal(key_uses(again), KEY_USE_SIGN);
				assert_memory_equal(key_secret(again), bytes, keys[i].len);
				key_drop(again);
			}
			key_drop(key);
		}
	}
}

static void private_keys_come_back_as_they_were(void **state)
{
	const struct key *keys[] = {rsa.private, ec.private};
	const CK_KEY_TYPE types[] = {CKK_RSA, CKK_EC};
	uint8_t wrapped[MOST];

	(void)state;
	for (const struct wrapper *w = wrappers; w < END(wrappers); w++) {
		for (int i = 0; w->takes_pairs && i < 2; i++) {
			struct key_wanted wanted = {CKO_PRIVATE_KEY, types[i], 0, KEY_USE_SIGN};
			struct key *again;
			CK_ULONG len = wrap(w, keys[i], wrapped);
			assert_int_equal(unwrap(w, wrapped, len, wanted, &again), CKR_OK);
			assert_true(key_is_private(again));
			assert_int_equal(key_uses(again), KEY_USE_SIGN);
			assert_int_equal(EVP_PKEY_eq(key_pkey(again), key_pkey(keys[i])), 1);
			key_drop(again);
		}
	}
}

static void libcrypto_itself_reads_the_aes_key_of_rsa_aes(void **state)
{
	uint8_t wrapped[MOST], kek[256], plain[MOST];
	const struct wrapper *w = END(wrappers) - 1;
	struct key *key = secret_of(bytes, 50, CKK_GENERIC_SECRET);
	CK_ULONG len = wrap(w, key, wrapped), kek_len = sizeof(kek);
	CK_MECHANISM mechanism = WITH(CKM_RSA_PKCS_OAEP, oaep);
	struct operation *o;
	size_t plain_len;

	(void)state;
	assert_int_equal(operation_begin(OPERATION_DECRYPT, &mechanism, rsa.private, &by_default, NULL, &o), CKR_OK);
	assert_int_equal(operation_single(o, wrapped, 256, kek, &kek_len), CKR_OK);
	operation_free(o);
	assert_int_equal(kek_len, 32);
	assert_int_equal(
	    cipher_once("WRAP-PAD", kek, kek_len, NULL, false, wrapped + 256, len - 256, plain, &plain_len), CKR_OK);
	assert_int_equal(plain_len, 50);
	assert_memory_equal(plain, bytes, 50);
	key_drop(key);
}

/* --- what stays ----------------------------------------------------------------------------------------------------
 */

static void a_key_without_leave_is_never_wrapped_nor_shown(void **state)
{
	struct key *stays[3], *leaves = secret_of(bytes, 32, CKK_AES);
	uint8_t out[MOST];
	auto_buf value = BUF(64);

	(void)state;
	assert_int_equal(key_with_uses(aes, all_uses | KEY_USE_DERIVE | 128, &stays[0]), CKR_OK); /* "export", too */
	assert_int_equal(key_with_uses(ec.private, all_uses, &stays[1]), CKR_OK);
	assert_int_equal(key_with_uses(rsa.private, all_uses, &stays[2]), CKR_OK);
	for (const struct wrapper *w = wrappers; w < END(wrappers); w++) {
		for (int i = 0; i < 3; i++) {
			if (i > 0 && w->is_rsa && !w->takes_pairs)
				continue;
			CK_ULONG len = MOST;
			assert_int_equal(key_wrap(&w->mechanism, &by_default, seals(w), stays[i], out, &len),
			                 CKR_KEY_UNEXTRACTABLE);
			assert_int_equal(key_wrap(&w->mechanism, &by_default, seals(w), stays[i], NULL, &len),
			                 CKR_KEY_UNEXTRACTABLE);
		}
	}
	assert_int_equal(key_value(stays[0], &value), CKR_KEY_UNEXTRACTABLE);
	assert_int_equal(key_value(rsa.private, &value), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(key_value(leaves, &value), CKR_OK);
	assert_int_equal(value.len, 32);
	assert_memory_equal(value.data, bytes, 32);
	key_drop(leaves);
	for (int i = 0; i < 3; i++)
		key_drop(stays[i]);
}

static void keys_that_the_mechanism_does_not_wrap_are_refused(void **state)
{
	const struct wrapper *kw = &wrappers[0], *pkcs1 = &wrappers[4], *with_oaep = &wrappers[5];
	struct key *odd = secret_of(bytes, 17, CKK_GENERIC_SECRET), *little = secret_of(bytes, 8, CKK_GENERIC_SECRET);
	struct key *long_one = secret_of(bytes, 246, CKK_GENERIC_SECRET);
	uint8_t out[MOST];
	CK_ULONG len = MOST;

	(void)state;
	assert_int_equal(key_wrap(&kw->mechanism, &by_default, aes, odd, out, &len), CKR_KEY_SIZE_RANGE);
	assert_int_equal(key_wrap(&kw->mechanism, &by_default, aes, little, out, &len), CKR_KEY_SIZE_RANGE);
	assert_int_equal(key_wrap(&pkcs1->mechanism, &by_default, rsa.public, long_one, out, &len), CKR_KEY_SIZE_RANGE);
	assert_int_equal(key_wrap(&with_oaep->mechanism, &by_default, rsa.public, long_one, out, &len),
	                 CKR_KEY_SIZE_RANGE);
	assert_int_equal(key_wrap(&pkcs1->mechanism, &by_default, rsa.public, ec.private, out, &len),
	                 CKR_KEY_NOT_WRAPPABLE);
	assert_int_equal(key_wrap(&with_oaep->mechanism, &by_default, rsa.public, ec.private, out, &len),
	                 CKR_KEY_NOT_WRAPPABLE);
	assert_int_equal(key_wrap(&wrappers[1].mechanism, &by_default, aes, ec.public, out, &len),
	                 CKR_KEY_NOT_WRAPPABLE);
	key_drop(odd);
	key_drop(little);
	key_drop(long_one);
}

/* I-29 */
static void wrapping_keys_of_other_types_and_uses_are_refused(void **state)
{
	struct key *generic = secret_of(bytes, 32, CKK_GENERIC_SECRET), *encrypts, *key = secret_of(bytes, 32, CKK_AES);
	static const struct mechanism_policy no_pkcs1 = {.rsa_pkcs1_decrypt = false};
	struct key_wanted wanted = secret(CKK_AES, 32);
	uint8_t wrapped[MOST];
	CK_ULONG len = MOST;

	(void)state;
	for (const struct wrapper *w = wrappers; w < END(wrappers); w++) {
		const struct key *wrong[] = {w->is_rsa ? aes : rsa.public, generic, ec.public};
		CK_ULONG real_len = wrap(w, key, wrapped);
		for (int i = 0; i < 3; i++)
			assert_int_equal(key_wrap(&w->mechanism, &by_default, wrong[i], key, wrapped, &len),
			                 CKR_WRAPPING_KEY_TYPE_INCONSISTENT);
		wrong[0] = w->is_rsa ? rsa.public : rsa.private;
		for (int i = 0; i < 3; i++)
			assert_int_equal(
			    key_unwrap(&w->mechanism, &by_default, wrong[i], wrapped, real_len, &wanted, &encrypts),
			    CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT);

		assert_int_equal(key_with_uses(seals(w), all_uses & ~(unsigned)KEY_USE_WRAP, &encrypts), CKR_OK);
		assert_int_equal(key_wrap(&w->mechanism, &by_default, encrypts, key, wrapped, &len),
		                 CKR_KEY_FUNCTION_NOT_PERMITTED);
		key_drop(encrypts);
		assert_int_equal(key_with_uses(opens(w), all_uses & ~(unsigned)KEY_USE_UNWRAP, &encrypts), CKR_OK);
		assert_int_equal(key_unwrap(&w->mechanism, &by_default, encrypts, wrapped, real_len, &wanted, &generic),
		                 CKR_KEY_FUNCTION_NOT_PERMITTED);
		key_drop(encrypts);
	}
	CK_MECHANISM encrypting = WITH(CKM_AES_CBC, iv), pkcs1 = MECHANISM(CKM_RSA_PKCS);
	assert_int_equal(key_wrap(&encrypting, &by_default, aes, key, wrapped, &len), CKR_MECHANISM_INVALID);
	assert_int_equal(key_unwrap(&pkcs1, &no_pkcs1, rsa.private, wrapped, 256, &wanted, &encrypts),
	                 CKR_MECHANISM_INVALID);
	key_drop(generic);
	key_drop(key);
}

/* --- what does not open --------------------------------------------------------------------------------------------
 */

static void what_is_changed_does_not_open_where_it_is_authenticated(void **state)
{
	struct key *key = secret_of(bytes, 32, CKK_AES), *again = (struct key *)state;
	uint8_t wrapped[MOST];

	for (const struct wrapper *w = wrappers; w < END(wrappers); w++) {
		if (w->mechanism.mechanism == CKM_RSA_PKCS || w->mechanism.mechanism == CKM_AES_CBC_PAD)
			continue;
		CK_ULONG len = wrap(w, key, wrapped);
		for (CK_ULONG i = 0; i < len; i += 5) {
			wrapped[i] ^= 1;
			assert_int_equal(unwrap(w, wrapped, len, secret(CKK_AES, 0), &again), CKR_WRAPPED_KEY_INVALID);
			wrapped[i] ^= 1;
		}
		assert_int_equal(unwrap(w, wrapped, len - 1, secret(CKK_AES, 0), &again), CKR_WRAPPED_KEY_LEN_RANGE);
		assert_int_equal(unwrap(w, wrapped, 0, secret(CKK_AES, 0), &again), CKR_WRAPPED_KEY_LEN_RANGE);
		assert_int_equal(unwrap(w, NULL, len, secret(CKK_AES, 0), &again), CKR_WRAPPED_KEY_LEN_RANGE);
		assert_int_equal(unwrap(w, wrapped, MOST * 4, secret(CKK_AES, 0), &again), CKR_WRAPPED_KEY_LEN_RANGE);
		assert_int_equal(unwrap(w, wrapped, len, secret(CKK_AES, 16), &again), CKR_WRAPPED_KEY_INVALID);
	}
	assert_ptr_equal(again, state); /* untouched */
	assert_int_equal(ERR_peek_error(), 0);
	key_drop(key);
}

static CK_ULONG seal_bytes(const void *data, size_t len, uint8_t *out)
{
	size_t sealed;
	assert_int_equal(cipher_once("CBC", key_secret(aes), key_size(aes), iv, true, data, len, out, &sealed), CKR_OK);
	return sealed;
}

/* Whatever CBC_PAD makes of wrong bytes has one answer, from a wrong padding to numbers that do not fit together. */
static void everything_wrong_with_a_private_key_has_one_answer(void **state)
{
	const struct wrapper *w = &wrappers[3];
	struct key_wanted wanted = {CKO_PRIVATE_KEY, CKK_EC, 0, KEY_USE_SIGN}, rsa_wanted = wanted;
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key_pkey(ec.private));
	unsigned char *der = NULL;
	int der_len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
	uint8_t wrapped[MOST], changed[512];
	struct key *again = (struct key *)state;

	rsa_wanted.type = CKK_RSA;
	assert_in_range(der_len, 100, 500);
	CK_ULONG len = seal_bytes(der, (size_t)der_len, wrapped);
	assert_int_equal(unwrap(w, wrapped, len, rsa_wanted, &again), CKR_WRAPPED_KEY_INVALID); /* another type */
	wrapped[len - 17] ^= 0x55;
	assert_int_equal(unwrap(w, wrapped, len, wanted, &again), CKR_WRAPPED_KEY_INVALID); /* padding */
	memcpy(changed, der, (size_t)der_len);
	changed[der_len] = 0;
	len = seal_bytes(changed, (size_t)der_len + 1, wrapped);
	assert_int_equal(unwrap(w, wrapped, len, wanted, &again), CKR_WRAPPED_KEY_INVALID); /* a byte behind it */
	len = seal_bytes(changed, (size_t)der_len - 1, wrapped);
	assert_int_equal(unwrap(w, wrapped, len, wanted, &again), CKR_WRAPPED_KEY_INVALID);
	changed[40] ^= 1; /* in the private number: the point is another one's */
	len = seal_bytes(changed, (size_t)der_len, wrapped);
	assert_int_equal(unwrap(w, wrapped, len, wanted, &again), CKR_WRAPPED_KEY_INVALID);
	assert_ptr_equal(again, state);
	assert_int_equal(ERR_peek_error(), 0);
	PKCS8_PRIV_KEY_INFO_free(info);
	OPENSSL_free(der);
}

static void classes_and_types_that_are_not_unwrapped_are_refused(void **state)
{
	static const struct key_wanted bad[] = {
	    {CKO_PUBLIC_KEY, CKK_RSA, 0, 0},  {CKO_SECRET_KEY, CKK_RSA, 0, 0},
	    {CKO_SECRET_KEY, CKK_AES, 17, 0}, {CKO_PRIVATE_KEY, CKK_AES, 0, 0},
	    {CKO_PRIVATE_KEY, CKK_DSA, 0, 0}, {CKO_SECRET_KEY, CKK_GENERIC_SECRET, 2000, 0},
	};
	static const struct key_wanted pair = {CKO_PRIVATE_KEY, CKK_EC, 0, 0};
	uint8_t wrapped[512] = {0};
	struct key *key;

	(void)state;
	for (const struct wrapper *w = wrappers; w < END(wrappers); w++) {
		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
			assert_int_equal(unwrap(w, wrapped, 256, bad[i], &key), CKR_TEMPLATE_INCONSISTENT);
		if (w->is_rsa && !w->takes_pairs)
			assert_int_equal(unwrap(w, wrapped, 256, pair, &key), CKR_TEMPLATE_INCONSISTENT);
	}
	assert_int_equal(unwrap(&wrappers[4], wrapped, 256, secret(CKK_GENERIC_SECRET, 246), &key),
	                 CKR_TEMPLATE_INCONSISTENT);
}

/* I-14. A ciphertext of a block that we choose, by raw encryption. */
static void seal_block(const uint8_t block[256], uint8_t out[256])
{
	CK_MECHANISM raw = MECHANISM(CKM_RSA_X_509);
	CK_ULONG len = 256;
	struct operation *o;

	assert_int_equal(operation_begin(OPERATION_ENCRYPT, &raw, rsa.public, &everything, NULL, &o), CKR_OK);
	assert_int_equal(operation_single(o, block, 256, out, &len), CKR_OK);
	operation_free(o);
}

static void pkcs1_unwrapping_never_tells_whether_the_padding_was_right(void **state)
{
	const struct wrapper *w = &wrappers[4];
	const struct key_wanted wanted[] = {secret(CKK_AES, 0), secret(CKK_AES, 24), secret(CKK_GENERIC_SECRET, 0),
	                                    secret(CKK_GENERIC_SECRET, 245), secret(CKK_SHA256_HMAC, 1)};
	uint8_t block[256], wrapped[256];

	(void)state;
	for (int round = 0; round < 60; round++) {
		assert_int_equal(random_bytes(block, sizeof(block)).failure, 0);
		block[0] = 0;
		if (round % 3 == 0) { /* right, but of a length that no such key has: nothing at all, or 17 bytes */
			block[1] = 2;
			for (int i = 2; i < 256; i++)
				block[i] |= 1;
			block[round % 2 ? 255 : 238] = 0;
		}
		seal_block(block, wrapped);
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
			struct key *one, *again;
			assert_int_equal(unwrap(w, wrapped, 256, wanted[i], &one), CKR_OK);
			assert_int_equal(unwrap(w, wrapped, 256, wanted[i], &again), CKR_OK);
			assert_int_equal(key_size(one), key_size(again));
			assert_memory_equal(key_secret(one), key_secret(again), key_size(one));
			if (wanted[i].len)
				assert_int_equal(key_size(one), wanted[i].len);
			key_drop(one);
			key_drop(again);
		}
	}
	memset(wrapped, 0xff, sizeof(wrapped)); /* not below the modulus, which everybody sees */
	struct key *key;
	assert_int_equal(unwrap(w, wrapped, 256, secret(CKK_AES, 0), &key), CKR_WRAPPED_KEY_INVALID);
	assert_int_equal(unwrap(w, wrapped, 255, secret(CKK_AES, 0), &key), CKR_WRAPPED_KEY_LEN_RANGE);
}

static void wrong_parameters_are_refused(void **state)
{
	struct rsa_aes_key_wrap_params odd = {100, &oaep}, none = {256, NULL};
	const struct wrapper bad[] = {
	    {MECHANISM(CKM_RSA_AES_KEY_WRAP), true, true},  {WITH(CKM_RSA_AES_KEY_WRAP, odd), true, true},
	    {WITH(CKM_RSA_AES_KEY_WRAP, none), true, true}, {MECHANISM(CKM_AES_CBC_PAD), false, true},
	    {WITH(CKM_AES_KEY_WRAP, iv), false, true},      {WITH(CKM_RSA_PKCS, iv), true, false},
	    {MECHANISM(CKM_RSA_PKCS_OAEP), true, false},
	};
	struct key *key = secret_of(bytes, 32, CKK_AES), *again;
	uint8_t out[MOST];

	(void)state;
	for (const struct wrapper *w = bad; w < END(bad); w++) {
		CK_ULONG len = MOST;
		assert_int_equal(key_wrap(&w->mechanism, &by_default, seals(w), key, out, &len),
		                 CKR_MECHANISM_PARAM_INVALID);
		assert_int_equal(unwrap(w, out, 256, secret(CKK_AES, 0), &again), CKR_MECHANISM_PARAM_INVALID);
	}
	key_drop(key);
}

/* Takes over `pair`; all its uses, and leave. */
static struct pair may_leave(struct pair pair)
{
	struct pair ret = {.public = pair.public};
	assert_int_equal(key_with_uses(pair.private, all_uses | KEY_USE_LEAVE, &ret.private), CKR_OK);
	key_drop(pair.private);
	return ret;
}

static int set_up(void **state)
{
	if (open_libcrypto(state))
		return -1;
	rsa = may_leave(pair_of(published_rsa_pkey()));
	ec = may_leave(pair_of(ec_pkey("P-256")));
	aes = secret_of(bytes, 32, CKK_AES);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	pair_drop(rsa);
	pair_drop(ec);
	key_drop(aes);
	return ERR_peek_error() == 0 ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(published_vectors_wrap_and_unwrap),
	    cmocka_unit_test(secret_keys_come_back_with_and_without_a_length),
	    cmocka_unit_test(private_keys_come_back_as_they_were),
	    cmocka_unit_test(libcrypto_itself_reads_the_aes_key_of_rsa_aes),
	    cmocka_unit_test(a_key_without_leave_is_never_wrapped_nor_shown),
	    cmocka_unit_test(keys_that_the_mechanism_does_not_wrap_are_refused),
	    cmocka_unit_test(wrapping_keys_of_other_types_and_uses_are_refused),
	    cmocka_unit_test(what_is_changed_does_not_open_where_it_is_authenticated),
	    cmocka_unit_test(everything_wrong_with_a_private_key_has_one_answer),
	    cmocka_unit_test(classes_and_types_that_are_not_unwrapped_are_refused),
	    cmocka_unit_test(pkcs1_unwrapping_never_tells_whether_the_padding_was_right),
	    cmocka_unit_test(wrong_parameters_are_refused),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
