/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include "crypto/key.h"
#include "token/rules.h"

/* The rules of key separation, for every set of uses there is. */

#define WRAPS  (KEY_USE_WRAP | KEY_USE_UNWRAP)
#define OTHERS (KEY_USE_SIGN | KEY_USE_VERIFY | KEY_USE_ENCRYPT | KEY_USE_DECRYPT | KEY_USE_DERIVE)

static const enum template_use makes[] = {TO_CREATE, TO_GENERATE, TO_UNWRAP, TO_DERIVE};

static void no_key_wraps_and_does_anything_else(void **state)
{
	(void)state;
	for (unsigned uses = 0; uses < 512; uses++)
		for (int i = 0; i < 4; i++)
			for (int extractable = 0; extractable < 2; extractable++) {
				CK_RV rv = rules_separation(makes[i], uses & (WRAPS | OTHERS), true, extractable);
				bool right = !(uses & WRAPS) || (!(uses & OTHERS) && !extractable &&
				                                 makes[i] != TO_UNWRAP && makes[i] != TO_DERIVE);
				assert_int_equal(rv, right ? CKR_OK : CKR_TEMPLATE_INCONSISTENT);
			}
}

static void only_what_is_unwrapped_must_be_sensitive(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(rules_separation(makes[i], KEY_USE_DECRYPT, false, true),
		                 makes[i] == TO_UNWRAP ? CKR_TEMPLATE_INCONSISTENT : CKR_OK);
}

static void a_token_key_keeps_one_side_of_its_key_ops(void **state)
{
	(void)state;
	for (unsigned ops = 0; ops < 512; ops++) {
		unsigned left = rules_separated(ops);
		assert_int_equal(left & ~ops, 0);
		assert_false(left & WRAPS && left & OTHERS);
		assert_int_equal(left, ops & OTHERS ? ops & OTHERS : ops & WRAPS);
	}
}

static void a_key_that_is_to_wrap_gets_no_other_use_by_default(void **state)
{
	(void)state;
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE wrap = {CKA_WRAP, &yes, 1}, sign = {CKA_SIGN, &yes, 1};

	assert_int_equal(rules_uses(KIND_SECRET, CKK_AES, &wrap, 1), KEY_USE_WRAP);
	assert_int_equal(rules_uses(KIND_SECRET, CKK_AES, NULL, 0),
	                 KEY_USE_SIGN | KEY_USE_VERIFY | KEY_USE_ENCRYPT | KEY_USE_DECRYPT);
	assert_int_equal(rules_uses(KIND_SECRET, CKK_GENERIC_SECRET, &sign, 1), KEY_USE_SIGN | KEY_USE_VERIFY);
	assert_int_equal(rules_uses(KIND_EC_PRIVATE, CKK_EC, NULL, 0), KEY_USE_SIGN);
}

/* What tells a key's history, and its uses, cannot be given afterwards, whatever the kind. */
static void history_and_uses_are_never_set(void **state)
{
	(void)state;
	static const CK_ATTRIBUTE_TYPE fixed[] = {
	    CKA_LOCAL,  CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_CLASS,   CKA_WRAP,
	    CKA_UNWRAP, CKA_ENCRYPT,          CKA_DECRYPT,           CKA_SIGN,    CKA_VERIFY,
	    CKA_DERIVE, CKA_KEY_TYPE,         CKA_TRUSTED,           CKA_MODULUS, CKA_VALUE};
	CK_BBOOL yes = CK_TRUE;

	for (unsigned kind = KIND_DATA; kind <= KIND_SECRET; kind <<= 1)
		for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
			CK_ATTRIBUTE t = {fixed[i], &yes, 1};
			CK_RV change = rules_check(kind, TO_CHANGE, &t, 1), copy = rules_check(kind, TO_COPY, &t, 1);
			assert_true(change == CKR_ATTRIBUTE_READ_ONLY || change == CKR_ATTRIBUTE_TYPE_INVALID);
			assert_int_equal(copy, change);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_key_wraps_and_does_anything_else),
	    cmocka_unit_test(only_what_is_unwrapped_must_be_sensitive),
	    cmocka_unit_test(a_token_key_keeps_one_side_of_its_key_ops),
	    cmocka_unit_test(a_key_that_is_to_wrap_gets_no_other_use_by_default),
	    cmocka_unit_test(history_and_uses_are_never_set),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
