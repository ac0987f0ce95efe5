/* SPDX-License-Identifier: Apache-2.0 */
/* AES, by way of operations. */
#include "crypto/cipher.h"
#include "crypto/operation.h"

#include "unit/crypto/surroundings.h"

enum { LINE = 2048, MOST = 512 };

static const uint8_t key_bytes[32] = {1, 2, 3, 4, 5};
static const uint8_t text[100] = "what is encrypted, in more than one block, and not in whole blocks";
static CK_BYTE iv[16] = {9, 8, 7};
static struct key *aes;

static struct operation *begin(enum operation_kind kind, CK_MECHANISM mechanism, struct key *key)
{
	struct operation *o = NULL;
	assert_int_equal(operation_begin(kind, &mechanism, key, &by_default, NULL, &o), CKR_OK);
	return o;
}

static CK_RV once(enum operation_kind kind, CK_MECHANISM mechanism, struct key *key, const void *in, CK_ULONG in_len,
                  void *out, CK_ULONG *out_len)
{
	struct operation *o = begin(kind, mechanism, key);
	CK_RV rv = operation_single(o, in, in_len, out, out_len);
	operation_free(o);
	return rv;
}

/* In parts of so many bytes, each into a buffer that is just as large as the query says. */
static CK_RV in_parts(enum operation_kind kind, CK_MECHANISM mechanism, struct key *key, const uint8_t *in,
                      CK_ULONG in_len, CK_ULONG part, uint8_t *out, CK_ULONG *out_len)
{
	struct operation *o = begin(kind, mechanism, key);
	CK_ULONG done = 0, len;
	CK_RV rv = CKR_OK;

	for (CK_ULONG at = 0; rv == CKR_OK && at < in_len; at += part) {
		CK_ULONG size = part < in_len - at ? part : in_len - at;
		assert_int_equal(operation_update(o, in + at, size, NULL, &len), CKR_OK);
		if (len > 0) {
			CK_ULONG less = len - 1;
			assert_int_equal(operation_update(o, in + at, size, out + done, &less), CKR_BUFFER_TOO_SMALL);
			assert_int_equal(less, len);
		}
		CK_ULONG exact = len;
		rv = operation_update(o, in + at, size, out + done, &len);
		assert_int_equal(len, exact);
		done += len;
	}
	if (rv == CKR_OK) {
		len = MOST;
		rv = operation_final(o, out + done, &len);
		done += len;
	}
	operation_free(o);
	*out_len = done;
	return rv;
}

#define MECHANISM(type_)     ((CK_MECHANISM){(type_), NULL, 0})
#define WITH(type_, params_) ((CK_MECHANISM){(type_), &(params_), sizeof(params_)})

/* --- vectors -------------------------------------------------------------------------------------------------------
 */

struct vector {
	uint8_t key[32], iv[128], aad[64], plain[MOST], sealed[MOST];
	size_t key_len, iv_len, aad_len, plain_len, sealed_len;
	CK_AES_CTR_PARAMS ctr;
	CK_GCM_PARAMS gcm;
	CK_MECHANISM mechanism;
};

static void read_vector(char **fields, struct vector *v)
{
	v->key_len = from_field(fields[1], v->key);
	v->iv_len = from_field(fields[2], v->iv);
	v->aad_len = from_field(fields[3], v->aad);
	v->plain_len = from_field(fields[4], v->plain);
	v->sealed_len = from_field(fields[5], v->sealed);
	v->ctr = (CK_AES_CTR_PARAMS){.ulCounterBits = 128};
	memcpy(v->ctr.cb, v->iv, 16);
	v->gcm = (CK_GCM_PARAMS){v->iv, v->iv_len, 8 * v->iv_len, v->aad, v->aad_len, 128};
	if (strcmp(fields[0], "ECB") == 0)
		v->mechanism = MECHANISM(CKM_AES_ECB);
	else if (strcmp(fields[0], "CBC") == 0)
		v->mechanism = (CK_MECHANISM){CKM_AES_CBC, v->iv, 16};
	else if (strcmp(fields[0], "CTR") == 0)
		v->mechanism = WITH(CKM_AES_CTR, v->ctr);
	else
		v->mechanism = WITH(CKM_AES_GCM, v->gcm);
}

static void check_vector(const struct vector *v)
{
	struct key *key = secret_of(v->key, v->key_len, CKK_AES);
	uint8_t out[2 * MOST];
	CK_ULONG len = v->sealed_len;

	assert_int_equal(once(OPERATION_ENCRYPT, v->mechanism, key, v->plain, v->plain_len, out, &len), CKR_OK);
	assert_int_equal(len, v->sealed_len);
	assert_memory_equal(out, v->sealed, len);
	len = v->plain_len;
	assert_int_equal(once(OPERATION_DECRYPT, v->mechanism, key, v->sealed, v->sealed_len, out, &len), CKR_OK);
	assert_int_equal(len, v->plain_len);
	assert_memory_equal(out, v->plain, len);
	for (CK_ULONG part = 1; part < 40; part += 3) {
		assert_int_equal(
		    in_parts(OPERATION_ENCRYPT, v->mechanism, key, v->plain, v->plain_len, part, out, &len), CKR_OK);
		assert_int_equal(len, v->sealed_len);
		assert_memory_equal(out, v->sealed, len);
		assert_int_equal(
		    in_parts(OPERATION_DECRYPT, v->mechanism, key, v->sealed, v->sealed_len, part, out, &len), CKR_OK);
		assert_int_equal(len, v->plain_len);
		assert_memory_equal(out, v->plain, len);
	}
	key_drop(key);
}

static void published_vectors_come_out_whole_and_in_parts(void **state)
{
	FILE *file = fopen(SKR_TEST_DATA "/crypto/aes.txt", "r");
	char line[LINE], *fields[6];
	struct vector v;
	int vectors = 0;

	(void)state;
	assert_non_null(file);
	for (; next_vector(file, line, sizeof(line), fields, 6); vectors++) {
		read_vector(fields, &v);
		check_vector(&v);
	}
	fclose(file);
	assert_int_equal(vectors, 16);
}

/* --- lengths -------------------------------------------------------------------------------------------------------
 */

static void every_length_comes_back_from_under_the_padding(void **state)
{
	CK_MECHANISM mechanism = WITH(CKM_AES_CBC_PAD, iv);
	uint8_t sealed[128], parts[128], plain[128];

	(void)state;
	for (CK_ULONG size = 0; size <= 50; size++) {
		CK_ULONG len = sizeof(sealed), plain_len = size, parts_len;
		assert_int_equal(once(OPERATION_ENCRYPT, mechanism, aes, text, size, sealed, &len), CKR_OK);
		assert_int_equal(len, size / 16 * 16 + 16);
		assert_int_equal(once(OPERATION_DECRYPT, mechanism, aes, sealed, len, plain, &plain_len), CKR_OK);
		assert_int_equal(plain_len, size);
		assert_memory_equal(plain, text, size);
		for (CK_ULONG part = 1; part <= 33; part += 8) {
			assert_int_equal(
			    in_parts(OPERATION_ENCRYPT, mechanism, aes, text, size, part, parts, &parts_len), CKR_OK);
			assert_int_equal(parts_len, len);
			assert_memory_equal(parts, sealed, len);
			assert_int_equal(
			    in_parts(OPERATION_DECRYPT, mechanism, aes, sealed, len, part, plain, &plain_len), CKR_OK);
			assert_int_equal(plain_len, size);
			assert_memory_equal(plain, text, size);
		}
	}
}

static void a_short_buffer_changes_nothing_not_even_behind_the_padding(void **state)
{
	CK_MECHANISM mechanism = WITH(CKM_AES_CBC_PAD, iv);
	uint8_t sealed[64], plain[64];
	CK_ULONG len = 64, query = 0;

	(void)state;
	assert_int_equal(once(OPERATION_ENCRYPT, mechanism, aes, text, 40, sealed, &len), CKR_OK);
	struct operation *o = begin(OPERATION_DECRYPT, mechanism, aes);
	assert_int_equal(operation_single(o, sealed, len, NULL, &query), CKR_OK);
	assert_in_range(query, 40, 48);
	memset(plain, 0xa5, sizeof(plain));
	query = 39;
	CK_RV rv = operation_single(o, sealed, len, plain, &query);
	assert_int_equal(rv, CKR_BUFFER_TOO_SMALL);
	assert_true(operation_goes_on(rv, plain));
	assert_int_equal(query, 40);
	assert_int_equal(plain[0], 0xa5);
	assert_int_equal(operation_single(o, sealed, len, plain, &query), CKR_OK);
	assert_int_equal(query, 40);
	assert_memory_equal(plain, text, 40);
	assert_int_equal(plain[40], 0xa5);
	operation_free(o);

	o = begin(OPERATION_DECRYPT, mechanism, aes);
	CK_ULONG done = sizeof(plain);
	assert_int_equal(operation_update(o, sealed, len, plain, &done), CKR_OK);
	assert_int_equal(done, 32);
	query = 7;
	assert_int_equal(operation_final(o, plain + 32, &query), CKR_BUFFER_TOO_SMALL);
	assert_int_equal(query, 8);
	assert_int_equal(operation_final(o, plain + 32, &query), CKR_OK);
	assert_memory_equal(plain, text, 40);
	operation_free(o);
}

static void lengths_that_are_no_whole_blocks_are_refused(void **state)
{
	const CK_MECHANISM whole[] = {MECHANISM(CKM_AES_ECB), WITH(CKM_AES_CBC, iv)};
	uint8_t out[64];

	(void)state;
	for (int i = 0; i < 2; i++) {
		CK_ULONG len = sizeof(out);
		assert_int_equal(once(OPERATION_ENCRYPT, whole[i], aes, text, 17, out, &len), CKR_DATA_LEN_RANGE);
		assert_int_equal(once(OPERATION_DECRYPT, whole[i], aes, text, 17, out, &len),
		                 CKR_ENCRYPTED_DATA_LEN_RANGE);
		assert_int_equal(in_parts(OPERATION_ENCRYPT, whole[i], aes, text, 17, 5, out, &len),
		                 CKR_DATA_LEN_RANGE);
		assert_int_equal(in_parts(OPERATION_DECRYPT, whole[i], aes, text, 17, 5, out, &len),
		                 CKR_ENCRYPTED_DATA_LEN_RANGE);
	}
	CK_MECHANISM padded = WITH(CKM_AES_CBC_PAD, iv);
	for (CK_ULONG size = 0; size <= 17; size += 17) {
		CK_ULONG len = sizeof(out);
		assert_int_equal(once(OPERATION_DECRYPT, padded, aes, text, size, out, &len),
		                 CKR_ENCRYPTED_DATA_LEN_RANGE);
		assert_int_equal(in_parts(OPERATION_DECRYPT, padded, aes, text, size, 5, out, &len),
		                 CKR_ENCRYPTED_DATA_LEN_RANGE);
	}
}

static void a_wrong_padding_has_one_answer_and_leaves_nothing(void **state)
{
	CK_MECHANISM plainly = WITH(CKM_AES_CBC, iv), padded = WITH(CKM_AES_CBC_PAD, iv);
	static const uint8_t ends[][3] = {{0, 0, 0}, {1, 1, 17}, {9, 3, 3}, {2, 2, 0xff}, {1, 3, 2}};
	uint8_t block[32], sealed[32], out[64];

	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		CK_ULONG len = sizeof(sealed);
		memset(block, 0x77, sizeof(block));
		memcpy(block + 29, ends[i], 3);
		assert_int_equal(once(OPERATION_ENCRYPT, plainly, aes, block, 32, sealed, &len), CKR_OK);
		for (CK_ULONG room = 16; room <= 64; room += 16) { /* both ways of working */
			memset(out, 0, sizeof(out));
			CK_ULONG out_len = room;
			assert_int_equal(once(OPERATION_DECRYPT, padded, aes, sealed, 32, out, &out_len),
			                 CKR_ENCRYPTED_DATA_INVALID);
			for (int b = 0; b < 64; b++)
				assert_int_equal(out[b], 0);
		}
		CK_ULONG out_len;
		assert_int_equal(in_parts(OPERATION_DECRYPT, padded, aes, sealed, 32, 32, out, &out_len),
		                 CKR_ENCRYPTED_DATA_INVALID);
	}
	assert_int_equal(ERR_peek_error(), 0);
}

static void output_may_take_the_place_of_input(void **state)
{
	CK_AES_CTR_PARAMS ctr = {.ulCounterBits = 128};
	const CK_MECHANISM mechanisms[] = {WITH(CKM_AES_CBC_PAD, iv), WITH(CKM_AES_CTR, ctr), MECHANISM(CKM_AES_ECB)};
	uint8_t buffer[128], apart[128];

	(void)state;
	for (int i = 0; i < 3; i++) {
		CK_ULONG len = sizeof(buffer), apart_len = sizeof(apart), first, second;
		assert_int_equal(once(OPERATION_ENCRYPT, mechanisms[i], aes, text, 64, apart, &apart_len), CKR_OK);
		memcpy(buffer, text, 64);
		assert_int_equal(once(OPERATION_ENCRYPT, mechanisms[i], aes, buffer, 64, buffer, &len), CKR_OK);
		assert_memory_equal(buffer, apart, apart_len);
		assert_int_equal(once(OPERATION_DECRYPT, mechanisms[i], aes, buffer, len, buffer, &len), CKR_OK);
		assert_memory_equal(buffer, text, 64);

		/* The second part finds bytes of the first one held back. */
		struct operation *o = begin(OPERATION_ENCRYPT, mechanisms[i], aes);
		first = second = sizeof(buffer);
		uint8_t head[16];
		assert_int_equal(operation_update(o, text, 5, head, &first), CKR_OK);
		memcpy(buffer, text + 5, 59);
		assert_int_equal(operation_update(o, buffer, 59, buffer, &second), CKR_OK);
		assert_memory_equal(buffer, apart + first, second);
		operation_free(o);
	}
}

/* --- CTR -----------------------------------------------------------------------------------------------------------
 */

static void a_counter_never_comes_round(void **state)
{
	static const struct {
		CK_ULONG bits, allowed;
		uint8_t last[2];
	} cases[] = {{8, 16, {0, 0xff}}, {8, 48, {0, 0xfd}},     {1, 16, {0, 1}},        {1, 32, {0, 0}},
	             {9, 16, {1, 0xff}}, {16, 16, {0xff, 0xff}}, {12, 32, {0xaf, 0xfe}}, {4, 32, {0, 0x0e}}};
	static const uint8_t data[200];
	uint8_t out[200];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CK_AES_CTR_PARAMS ctr = {.ulCounterBits = cases[i].bits};
		memset(ctr.cb, 0xff, 14);
		memcpy(ctr.cb + 14, cases[i].last, 2);
		CK_MECHANISM mechanism = WITH(CKM_AES_CTR, ctr);
		CK_ULONG len = sizeof(out), allowed = cases[i].allowed;

		assert_int_equal(once(OPERATION_ENCRYPT, mechanism, aes, data, allowed, out, &len), CKR_OK);
		len = sizeof(out);
		assert_int_equal(once(OPERATION_ENCRYPT, mechanism, aes, data, allowed + 1, out, &len),
		                 CKR_DATA_LEN_RANGE);
		assert_int_equal(once(OPERATION_DECRYPT, mechanism, aes, data, allowed + 1, out, &len),
		                 CKR_ENCRYPTED_DATA_LEN_RANGE);
		for (CK_ULONG part = 1; part < 20; part += 6) {
			assert_int_equal(in_parts(OPERATION_ENCRYPT, mechanism, aes, data, allowed, part, out, &len),
			                 CKR_OK);
			assert_int_equal(
			    in_parts(OPERATION_ENCRYPT, mechanism, aes, data, allowed + 1, part, out, &len),
			    CKR_DATA_LEN_RANGE);
		}
	}
	CK_AES_CTR_PARAMS widest = {.ulCounterBits = 128};
	memset(widest.cb, 0xff, 16);
	CK_ULONG len = sizeof(out);
	assert_int_equal(once(OPERATION_ENCRYPT, WITH(CKM_AES_CTR, widest), aes, data, 17, out, &len),
	                 CKR_DATA_LEN_RANGE);
}

/* --- GCM -----------------------------------------------------------------------------------------------------------
 */

static CK_GCM_PARAMS gcm(CK_ULONG tag_bits)
{
	return (CK_GCM_PARAMS){iv, 12, 96, (CK_BYTE *)text, 20, tag_bits};
}

static void nothing_is_given_out_before_the_tag_is_right(void **state)
{
	CK_GCM_PARAMS params = gcm(128);
	uint8_t sealed[64], out[64], zeros[64] = {0};
	CK_ULONG len = sizeof(sealed);

	(void)state;
	assert_int_equal(once(OPERATION_ENCRYPT, WITH(CKM_AES_GCM, params), aes, text, 40, sealed, &len), CKR_OK);
	assert_int_equal(len, 56);
	for (int bit = 0; bit < 56 * 8; bit += 7) {
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		CK_ULONG out_len = sizeof(out), none = sizeof(out);
		memset(out, 0, sizeof(out));
		assert_int_equal(once(OPERATION_DECRYPT, WITH(CKM_AES_GCM, params), aes, sealed, 56, out, &out_len),
		                 CKR_ENCRYPTED_DATA_INVALID);
		assert_memory_equal(out, zeros, sizeof(out));

		struct operation *o = begin(OPERATION_DECRYPT, WITH(CKM_AES_GCM, params), aes);
		assert_int_equal(operation_update(o, sealed, 30, out, &none), CKR_OK);
		assert_int_equal(none, 0);
		none = sizeof(out);
		assert_int_equal(operation_update(o, sealed + 30, 26, out, &none), CKR_OK);
		assert_int_equal(none, 0);
		out_len = sizeof(out);
		assert_int_equal(operation_final(o, out, &out_len), CKR_ENCRYPTED_DATA_INVALID);
		operation_free(o);
		assert_memory_equal(out, zeros, sizeof(out));
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	params.aad_len--; /* what was authenticated besides counts, too */
	len = sizeof(out);
	assert_int_equal(once(OPERATION_DECRYPT, WITH(CKM_AES_GCM, params), aes, sealed, 56, out, &len),
	                 CKR_ENCRYPTED_DATA_INVALID);
}

static void less_than_a_tag_is_refused(void **state)
{
	CK_GCM_PARAMS params = gcm(96);
	uint8_t out[64];
	CK_ULONG len = sizeof(out);

	(void)state;
	assert_int_equal(once(OPERATION_DECRYPT, WITH(CKM_AES_GCM, params), aes, text, 11, out, &len),
	                 CKR_ENCRYPTED_DATA_LEN_RANGE);
	assert_int_equal(in_parts(OPERATION_DECRYPT, WITH(CKM_AES_GCM, params), aes, text, 11, 4, out, &len),
	                 CKR_ENCRYPTED_DATA_LEN_RANGE);
}

static void a_shorter_tag_is_the_beginning_of_the_whole_one(void **state)
{
	CK_GCM_PARAMS whole = gcm(128);
	uint8_t sealed[64], shorter[64], plain[64];
	CK_ULONG len = sizeof(sealed);

	(void)state;
	assert_int_equal(once(OPERATION_ENCRYPT, WITH(CKM_AES_GCM, whole), aes, text, 30, sealed, &len), CKR_OK);
	for (CK_ULONG bits = 96; bits <= 128; bits += 8) {
		CK_GCM_PARAMS params = gcm(bits);
		CK_ULONG shorter_len = 30 + bits / 8, plain_len = 30;
		assert_int_equal(
		    once(OPERATION_ENCRYPT, WITH(CKM_AES_GCM, params), aes, text, 30, shorter, &shorter_len), CKR_OK);
		assert_memory_equal(shorter, sealed, shorter_len);
		assert_int_equal(
		    once(OPERATION_DECRYPT, WITH(CKM_AES_GCM, params), aes, shorter, shorter_len, plain, &plain_len),
		    CKR_OK);
		assert_memory_equal(plain, text, 30);
	}
}

static CK_RV refusal(CK_MECHANISM mechanism, struct key *key)
{
	struct operation *o = NULL;
	CK_RV rv = operation_begin(OPERATION_ENCRYPT, &mechanism, key, &by_default, NULL, &o);
	assert_null(o);
	return rv;
}

static void wrong_parameters_are_refused(void **state)
{
	CK_GCM_PARAMS good = gcm(128), bad[] = {good, good, good, good, good, good, good, good};
	CK_AES_CTR_PARAMS none = {.ulCounterBits = 0}, more = {.ulCounterBits = 129};
	CK_BYTE short_iv[15] = {0};

	(void)state;
	bad[0].tag_bits = 0;
	bad[1].tag_bits = 64;
	bad[2].tag_bits = 97;
	bad[3].tag_bits = 136;
	bad[4].iv_ptr = NULL;
	bad[5].iv_len = 0;
	bad[6].iv_len = 129;
	bad[7].aad_ptr = NULL;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(refusal(WITH(CKM_AES_GCM, bad[i]), aes), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(refusal(MECHANISM(CKM_AES_GCM), aes), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(refusal(WITH(CKM_AES_CTR, none), aes), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(refusal(WITH(CKM_AES_CTR, more), aes), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(refusal(MECHANISM(CKM_AES_CTR), aes), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(refusal(WITH(CKM_AES_CBC, short_iv), aes), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(refusal(MECHANISM(CKM_AES_CBC_PAD), aes), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(refusal(WITH(CKM_AES_ECB, iv), aes), CKR_MECHANISM_PARAM_INVALID);
}

/* As callers have them that were written for PKCS#11 2.40 before its errata. */
static void gcm_parameters_without_iv_bits_are_taken(void **state)
{
	struct {
		CK_BYTE *iv;
		CK_ULONG iv_len;
		CK_BYTE *aad;
		CK_ULONG aad_len, tag_bits;
	} older = {iv, 12, (CK_BYTE *)text, 20, 128};
	CK_GCM_PARAMS params = gcm(128);
	uint8_t a[64], b[64];
	CK_ULONG a_len = 64, b_len = 64;

	(void)state;
	assert_int_equal(once(OPERATION_ENCRYPT, WITH(CKM_AES_GCM, params), aes, text, 40, a, &a_len), CKR_OK);
	assert_int_equal(once(OPERATION_ENCRYPT, WITH(CKM_AES_GCM, older), aes, text, 40, b, &b_len), CKR_OK);
	assert_int_equal(a_len, b_len);
	assert_memory_equal(a, b, a_len);
}

/* --- keys ----------------------------------------------------------------------------------------------------------
 */

/* I-29 */
static void keys_of_other_types_and_uses_are_refused(void **state)
{
	struct key *generic = secret_of(key_bytes, 32, CKK_GENERIC_SECRET), *only_signs;

	(void)state;
	assert_int_equal(key_new_secret(key_bytes, 32, CKK_AES, KEY_USE_SIGN | KEY_USE_DECRYPT, &only_signs), CKR_OK);
	assert_int_equal(refusal(MECHANISM(CKM_AES_ECB), generic), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(refusal(MECHANISM(CKM_AES_ECB), NULL), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(refusal(MECHANISM(CKM_RSA_PKCS), aes), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(refusal(MECHANISM(CKM_AES_ECB), only_signs), CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_int_equal(refusal(MECHANISM(CKM_AES_KEY_WRAP), aes), CKR_MECHANISM_INVALID); /* for keys alone */
	key_drop(generic);
	key_drop(only_signs);
}

static void a_finished_operation_starts_anew_with_the_first_block(void **state)
{
	CK_GCM_PARAMS params = gcm(128);
	const CK_MECHANISM mechanisms[] = {WITH(CKM_AES_CBC_PAD, iv), WITH(CKM_AES_GCM, params),
	                                   MECHANISM(CKM_AES_ECB)};
	uint8_t first[128], again[128];

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct operation *kept = NULL, *o;
		CK_ULONG len = sizeof(first);
		assert_int_equal(once(OPERATION_ENCRYPT, mechanisms[i], aes, text, 64, first, &len), CKR_OK);
		for (int round = 0; round < 3; round++) {
			assert_int_equal(
			    operation_begin(OPERATION_ENCRYPT, &mechanisms[i], aes, &by_default, &kept, &o), CKR_OK);
			CK_ULONG part = sizeof(again), rest;
			assert_int_equal(operation_update(o, text, 30, again, &part), CKR_OK);
			rest = sizeof(again) - part;
			assert_int_equal(operation_update(o, text + 30, 34, again + part, &rest), CKR_OK);
			part += rest;
			rest = sizeof(again) - part;
			assert_int_equal(operation_final(o, again + part, &rest), CKR_OK);
			assert_int_equal(part + rest, len);
			assert_memory_equal(again, first, len);
			kept = o;
		}
		operation_free(kept);
	}
}

static void a_new_iv_is_a_new_operation(void **state)
{
	CK_BYTE other[16] = {1};
	CK_MECHANISM one = WITH(CKM_AES_CBC, iv), two = WITH(CKM_AES_CBC, other);
	struct operation *kept = begin(OPERATION_ENCRYPT, one, aes), *o;
	uint8_t out[32], expected[32];
	CK_ULONG len = 32;

	(void)state;
	assert_int_equal(operation_single(kept, text, 32, out, &len), CKR_OK);
	assert_int_equal(operation_begin(OPERATION_ENCRYPT, &two, aes, &by_default, &kept, &o), CKR_OK);
	assert_int_equal(operation_single(o, text, 32, out, &len), CKR_OK);
	operation_free(o);
	assert_int_equal(once(OPERATION_ENCRYPT, two, aes, text, 32, expected, &len), CKR_OK);
	assert_memory_equal(out, expected, 32);
}

static int set_up(void **state)
{
	if (open_libcrypto(state))
		return -1;
	aes = secret_of(key_bytes, 32, CKK_AES);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	key_drop(aes);
	return ERR_peek_error() == 0 ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(published_vectors_come_out_whole_and_in_parts),
	    cmocka_unit_test(every_length_comes_back_from_under_the_padding),
	    cmocka_unit_test(a_short_buffer_changes_nothing_not_even_behind_the_padding),
	    cmocka_unit_test(lengths_that_are_no_whole_blocks_are_refused),
	    cmocka_unit_test(a_wrong_padding_has_one_answer_and_leaves_nothing),
	    cmocka_unit_test(output_may_take_the_place_of_input),
	    cmocka_unit_test(a_counter_never_comes_round),
	    cmocka_unit_test(nothing_is_given_out_before_the_tag_is_right),
	    cmocka_unit_test(less_than_a_tag_is_refused),
	    cmocka_unit_test(a_shorter_tag_is_the_beginning_of_the_whole_one),
	    cmocka_unit_test(wrong_parameters_are_refused),
	    cmocka_unit_test(gcm_parameters_without_iv_bits_are_taken),
	    cmocka_unit_test(keys_of_other_types_and_uses_are_refused),
	    cmocka_unit_test(a_finished_operation_starts_anew_with_the_first_block),
	    cmocka_unit_test(a_new_iv_is_a_new_operation),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
