/* SPDX-License-Identifier: Apache-2.0 */
/* CMAC and HMAC, by way of operations. */
#include "crypto/operation.h"

#include "unit/crypto/surroundings.h"

static const uint8_t bytes[32] = {5, 4, 3};
static const uint8_t text[] = "what is signed";

static const struct {
	const char *name;
	CK_MECHANISM_TYPE whole, general;
	CK_KEY_TYPE own;
	CK_ULONG size;
} macs[] = {
    {"CMAC", CKM_AES_CMAC, CKM_AES_CMAC_GENERAL, CKK_AES, 16},
    {"SHA1", CKM_SHA_1_HMAC, CKM_SHA_1_HMAC_GENERAL, CKK_SHA_1_HMAC, 20},
    {"SHA224", CKM_SHA224_HMAC, CKM_SHA224_HMAC_GENERAL, CKK_SHA224_HMAC, 28},
    {"SHA256", CKM_SHA256_HMAC, CKM_SHA256_HMAC_GENERAL, CKK_SHA256_HMAC, 32},
    {"SHA384", CKM_SHA384_HMAC, CKM_SHA384_HMAC_GENERAL, CKK_SHA384_HMAC, 48},
    {"SHA512", CKM_SHA512_HMAC, CKM_SHA512_HMAC_GENERAL, CKK_SHA512_HMAC, 64},
};
enum { MACS = sizeof(macs) / sizeof(macs[0]) };

static int find(const char *name)
{
	for (int i = 0; i < MACS; i++)
		if (strcmp(macs[i].name, name) == 0)
			return i;
	fail_msg("%s", name);
	return 0;
}

static struct key *key_for(int i)
{
	return secret_of(bytes, sizeof(bytes), i == 0 ? CKK_AES : CKK_GENERIC_SECRET);
}

static CK_RV sign(CK_MECHANISM mechanism, struct key *key, const void *in, CK_ULONG in_len, uint8_t *out, CK_ULONG *len)
{
	struct operation *o = NULL;
	CK_RV rv = operation_begin(OPERATION_SIGN, &mechanism, key, &by_default, NULL, &o);
	if (rv == CKR_OK)
		rv = operation_single(o, in, in_len, out, len);
	operation_free(o);
	return rv;
}

static CK_RV verify(CK_MECHANISM mechanism, struct key *key, const void *in, CK_ULONG in_len, const uint8_t *mac,
                    CK_ULONG len)
{
	struct operation *o = NULL;
	CK_RV rv = operation_begin(OPERATION_VERIFY, &mechanism, key, &by_default, NULL, &o);
	if (rv == CKR_OK)
		rv = operation_verify(o, in, in_len, mac, len);
	operation_free(o);
	return rv;
}

static void check_vector(char **fields)
{
	uint8_t key_bytes[256], message[256], expected[64], mac[64];
	int i = find(fields[0]);
	size_t key_len = from_field(fields[1], key_bytes), len = from_field(fields[2], message);
	CK_ULONG size = from_field(fields[3], expected), mac_len = size;
	CK_MECHANISM general = {macs[i].general, &size, sizeof(size)}, whole = {macs[i].whole, NULL, 0};
	struct key *key = secret_of(key_bytes, key_len, macs[i].own);

	assert_int_equal(sign(general, key, message, len, mac, &mac_len), CKR_OK);
	assert_int_equal(mac_len, size);
	assert_memory_equal(mac, expected, size);
	assert_int_equal(verify(general, key, message, len, expected, size), CKR_OK);
	if (size == macs[i].size) {
		mac_len = sizeof(mac);
		assert_int_equal(sign(whole, key, message, len, mac, &mac_len), CKR_OK);
		assert_int_equal(mac_len, size);
		assert_memory_equal(mac, expected, size);
		assert_int_equal(verify(whole, key, message, len, expected, size), CKR_OK);
	}
	key_drop(key);
}

static void published_vectors_come_out_and_verify(void **state)
{
	FILE *file = fopen(SKR_TEST_DATA "/crypto/mac.txt", "r");
	char line[1024], *fields[4];
	int vectors = 0;

	(void)state;
	assert_non_null(file);
	for (; next_vector(file, line, sizeof(line), fields, 4); vectors++)
		check_vector(fields);
	fclose(file);
	assert_int_equal(vectors, 26);
}

static void what_is_changed_does_not_verify(void **state)
{
	(void)state;
	for (int i = 0; i < MACS; i++) {
		CK_MECHANISM mechanism = {macs[i].whole, NULL, 0};
		struct key *key = key_for(i);
		uint8_t mac[64];
		CK_ULONG len = sizeof(mac);

		assert_int_equal(sign(mechanism, key, text, 10, mac, &len), CKR_OK);
		assert_int_equal(verify(mechanism, key, text, 10, mac, len), CKR_OK);
		assert_int_equal(verify(mechanism, key, text, 9, mac, len), CKR_SIGNATURE_INVALID);
		assert_int_equal(verify(mechanism, key, text, 10, mac, len - 1), CKR_SIGNATURE_LEN_RANGE);
		assert_int_equal(verify(mechanism, key, text, 10, mac, len + 1), CKR_SIGNATURE_LEN_RANGE);
		assert_int_equal(verify(mechanism, key, text, 10, mac, 0), CKR_SIGNATURE_LEN_RANGE);
		mac[len - 1] ^= 1;
		assert_int_equal(verify(mechanism, key, text, 10, mac, len), CKR_SIGNATURE_INVALID);
		key_drop(key);
	}
}

static void parts_and_used_contexts_give_the_same(void **state)
{
	(void)state;
	for (int i = 0; i < MACS; i++) {
		CK_MECHANISM mechanism = {macs[i].whole, NULL, 0};
		struct key *key = key_for(i);
		struct operation *kept = NULL, *o;
		uint8_t mac[64], whole[64];
		CK_ULONG len = sizeof(mac);

		assert_int_equal(sign(mechanism, key, text, 14, whole, &len), CKR_OK);
		for (int round = 0; round < 3; round++) {
			assert_int_equal(operation_begin(OPERATION_SIGN, &mechanism, key, &by_default, &kept, &o),
			                 CKR_OK);
			assert_int_equal(operation_update(o, text, 4, NULL, NULL), CKR_OK);
			assert_int_equal(operation_update(o, NULL, 0, NULL, NULL), CKR_OK);
			assert_int_equal(operation_update(o, text + 4, 10, NULL, NULL), CKR_OK);
			assert_int_equal(operation_final(o, NULL, &len), CKR_OK);
			assert_int_equal(len, macs[i].size);
			len--;
			assert_int_equal(operation_final(o, mac, &len), CKR_BUFFER_TOO_SMALL);
			assert_int_equal(operation_final(o, mac, &len), CKR_OK);
			assert_memory_equal(mac, whole, len);
			kept = o;
		}
		operation_free(kept);
		key_drop(key);
	}
}

static void a_length_of_nothing_or_of_more_than_there_is_is_refused(void **state)
{
	(void)state;
	for (int i = 0; i < MACS; i++) {
		struct key *key = key_for(i);
		CK_ULONG lengths[] = {0, macs[i].size + 1, (CK_ULONG)-1}, len;
		uint8_t mac[64];
		for (int j = 0; j < 3; j++) {
			CK_MECHANISM general = {macs[i].general, &lengths[j], sizeof(CK_ULONG)};
			assert_int_equal(sign(general, key, text, 5, mac, &len), CKR_MECHANISM_PARAM_INVALID);
		}
		CK_MECHANISM none = {macs[i].general, NULL, 0}, half = {macs[i].general, &lengths[0], 4};
		CK_MECHANISM needless = {macs[i].whole, &lengths[0], sizeof(CK_ULONG)};
		assert_int_equal(sign(none, key, text, 5, mac, &len), CKR_MECHANISM_PARAM_INVALID);
		assert_int_equal(sign(half, key, text, 5, mac, &len), CKR_MECHANISM_PARAM_INVALID);
		assert_int_equal(sign(needless, key, text, 5, mac, &len), CKR_MECHANISM_PARAM_INVALID);
		key_drop(key);
	}
}

/* I-29 */
static void keys_of_other_types_and_uses_are_refused(void **state)
{
	CK_MECHANISM cmac = {CKM_AES_CMAC, NULL, 0}, hmac = {CKM_SHA256_HMAC, NULL, 0};
	struct key *aes = key_for(0), *generic = key_for(1), *other = secret_of(bytes, 32, CKK_SHA384_HMAC), *verifies;
	uint8_t mac[64];
	CK_ULONG len = sizeof(mac);

	(void)state;
	assert_int_equal(key_new_secret(bytes, 32, CKK_GENERIC_SECRET, KEY_USE_VERIFY, &verifies), CKR_OK);
	assert_int_equal(sign(cmac, generic, text, 5, mac, &len), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(sign(hmac, aes, text, 5, mac, &len), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(sign(hmac, other, text, 5, mac, &len), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(sign(hmac, verifies, text, 5, mac, &len), CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_int_equal(sign(hmac, generic, text, 5, mac, &len), CKR_OK);
	assert_int_equal(verify(hmac, verifies, text, 5, mac, len), CKR_OK);
	key_drop(aes);
	key_drop(generic);
	key_drop(other);
	key_drop(verifies);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(published_vectors_come_out_and_verify),
	    cmocka_unit_test(what_is_changed_does_not_verify),
	    cmocka_unit_test(parts_and_used_contexts_give_the_same),
	    cmocka_unit_test(a_length_of_nothing_or_of_more_than_there_is_is_refused),
	    cmocka_unit_test(keys_of_other_types_and_uses_are_refused),
	};
	return cmocka_run_group_tests(tests, open_libcrypto, NULL);
}
