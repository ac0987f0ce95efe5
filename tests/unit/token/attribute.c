/* SPDX-License-Identifier: Apache-2.0 */
#include "token/attribute.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct attributes an_object(void)
{
	struct attributes a = {0};

	attributes_add_ulong(&a, CKA_CLASS, CKO_PRIVATE_KEY);
	attributes_add_text(&a, CKA_LABEL, "www");
	attributes_add_bool(&a, CKA_SIGN, true);
	attributes_add(&a, CKA_START_DATE, NULL, 0);
	attributes_add_secret(&a, CKA_PRIVATE_EXPONENT);
	assert_false(a.failed);
	return a;
}

static void a_null_value_asks_for_the_length(void **state)
{
	(void)state;
	struct attributes a = an_object();
	CK_ATTRIBUTE t[] = {{CKA_LABEL, NULL, 77}, {CKA_START_DATE, NULL, 77}};

	assert_int_equal(attributes_read(&a, t, 2), CKR_OK);
	assert_int_equal(t[0].ulValueLen, 3);
	assert_int_equal(t[1].ulValueLen, 0);
	attributes_free(&a);
}

static void a_value_is_copied_and_its_length_set(void **state)
{
	(void)state;
	struct attributes a = an_object();
	char label[8] = "xxxxxxx";
	CK_ATTRIBUTE t = {CKA_LABEL, label, sizeof(label)};

	assert_int_equal(attributes_read(&a, &t, 1), CKR_OK);
	assert_int_equal(t.ulValueLen, 3);
	assert_string_equal(label, "wwwxxxx");
	attributes_free(&a);
}

/* I-28, and PKCS#11 2.40 section 5.7: an error in one item must not keep the others from being answered. */
static void every_item_is_answered_whatever_the_others_are(void **state)
{
	(void)state;
	struct attributes a = an_object();
	char small[2], label[3];
	unsigned char secret[512] = {0};
	CK_BBOOL sign = CK_FALSE;
	CK_ATTRIBUTE t[] = {
	    {CKA_LABEL, small, sizeof(small)},
	    {CKA_PRIVATE_EXPONENT, secret, sizeof(secret)},
	    {CKA_VENDOR_DEFINED | 1, small, sizeof(small)},
	    {CKA_LABEL, label, sizeof(label)},
	    {CKA_SIGN, &sign, sizeof(sign)},
	};

	assert_int_equal(attributes_read(&a, t, 5), CKR_BUFFER_TOO_SMALL);
	assert_int_equal(t[0].ulValueLen, CK_UNAVAILABLE_INFORMATION);
	assert_int_equal(t[1].ulValueLen, CK_UNAVAILABLE_INFORMATION);
	assert_int_equal(t[2].ulValueLen, CK_UNAVAILABLE_INFORMATION);
	assert_int_equal(t[3].ulValueLen, 3);
	assert_memory_equal(label, "www", 3);
	assert_int_equal(sign, CK_TRUE);
	attributes_free(&a);
}

static void a_secret_is_sensitive_and_a_stranger_is_invalid(void **state)
{
	(void)state;
	struct attributes a = an_object();
	CK_ATTRIBUTE secret = {CKA_PRIVATE_EXPONENT, NULL, 0}, stranger = {CKA_MODULUS, NULL, 0};

	assert_int_equal(attributes_read(&a, &secret, 1), CKR_ATTRIBUTE_SENSITIVE);
	assert_int_equal(attributes_read(&a, &stranger, 1), CKR_ATTRIBUTE_TYPE_INVALID);
	attributes_free(&a);
}

static void a_search_matches_all_or_nothing(void **state)
{
	(void)state;
	struct attributes a = an_object();
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_ATTRIBUTE t[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_LABEL, (char[]){"www"}, 3}};

	assert_true(attributes_match(&a, NULL, 0));
	assert_true(attributes_match(&a, t, 2));
	t[1].ulValueLen = 2;
	assert_false(attributes_match(&a, t, 2));
	t[1].ulValueLen = 3;
	t[1].type = CKA_ID;
	assert_false(attributes_match(&a, t, 2));
	t[1] = (CK_ATTRIBUTE){CKA_START_DATE, NULL, 0};
	assert_true(attributes_match(&a, t, 2));
	attributes_free(&a);
}

/* A search must not answer what a value is that may not be read. */
static void a_secret_never_matches(void **state)
{
	(void)state;
	struct attributes a = an_object();
	CK_ATTRIBUTE empty = {CKA_PRIVATE_EXPONENT, NULL, 0};
	CK_ATTRIBUTE unavailable = {CKA_PRIVATE_EXPONENT, NULL, CK_UNAVAILABLE_INFORMATION};

	assert_false(attributes_match(&a, &empty, 1));
	assert_false(attributes_match(&a, &unavailable, 1));
	attributes_free(&a);
}

static void templates_beyond_the_limits_are_refused(void **state)
{
	(void)state;
	CK_ATTRIBUTE t[TEMPLATE_COUNT_MAX + 1] = {{0}};

	assert_int_equal(template_check(NULL, 0), CKR_OK);
	assert_int_equal(template_check(NULL, 1), CKR_ARGUMENTS_BAD);
	assert_int_equal(template_check(t, TEMPLATE_COUNT_MAX), CKR_OK);
	assert_int_equal(template_check(t, TEMPLATE_COUNT_MAX + 1), CKR_ARGUMENTS_BAD);
	assert_int_equal(template_check(t, (CK_ULONG)-1), CKR_ARGUMENTS_BAD);
	t[0].ulValueLen = 1;
	assert_int_equal(template_check(t, 1), CKR_ARGUMENTS_BAD);
	t[0].pValue = t;
	t[0].ulValueLen = TEMPLATE_VALUE_MAX + 1;
	assert_int_equal(template_check(t, 1), CKR_ARGUMENTS_BAD);
}

static void a_copy_keeps_secrets_secret_and_a_change_leaves_the_rest(void **state)
{
	(void)state;
	struct attributes a = an_object(), copy = attributes_copy(&a);
	CK_BBOOL no = CK_FALSE;

	assert_true(attributes_flag(&copy, CKA_SIGN));
	assert_true(attributes_is_secret(&copy, CKA_PRIVATE_EXPONENT));
	attributes_set(&copy, CKA_SIGN, &no, sizeof(no));
	attributes_set(&copy, CKA_LABEL, NULL, 0);
	attributes_set(&copy, CKA_ID, "id", 2);
	assert_false(copy.failed);
	assert_false(attributes_flag(&copy, CKA_SIGN));
	assert_int_equal(attributes_get(&copy, CKA_LABEL)->ulValueLen, 0);
	assert_int_equal(attributes_get(&copy, CKA_ID)->ulValueLen, 2);
	assert_int_equal(copy.count, a.count + 1);
	assert_true(attributes_flag(&a, CKA_SIGN));
	assert_false(attributes_flag(&a, CKA_LABEL));
	attributes_free(&copy);
	attributes_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_null_value_asks_for_the_length),
	    cmocka_unit_test(a_value_is_copied_and_its_length_set),
	    cmocka_unit_test(every_item_is_answered_whatever_the_others_are),
	    cmocka_unit_test(a_secret_is_sensitive_and_a_stranger_is_invalid),
	    cmocka_unit_test(a_search_matches_all_or_nothing),
	    cmocka_unit_test(a_secret_never_matches),
	    cmocka_unit_test(a_copy_keeps_secrets_secret_and_a_change_leaves_the_rest),
	    cmocka_unit_test(templates_beyond_the_limits_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
