/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/uri.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static CK_TOKEN_INFO token_named(const char *label)
{
	CK_TOKEN_INFO token;

	memset(&token, ' ', sizeof(token));
	memcpy(token.label, label, strlen(label));
	memcpy(token.manufacturerID, "skr-pkcs11", 10);
	memcpy(token.model, "SKR", 3);
	memcpy(token.serialNumber, "0123456789abcdef", 16);
	return token;
}

static void a_token_is_named_by_model_manufacturer_serial_and_label(void **state)
{
	CK_TOKEN_INFO token = token_named("web");
	auto_buf uri = BUF(1024);

	(void)state;
	assert_int_equal(uri_of_token(&token, &uri).failure, 0);
	assert_string_equal(buf_text(&uri),
	                    "pkcs11:model=SKR;manufacturer=skr-pkcs11;serial=0123456789abcdef;token=web");
}

static void what_is_no_plain_character_is_percent_encoded(void **state)
{
	CK_TOKEN_INFO token = token_named("a b;c=d/\xc3\xbc%");
	auto_buf uri = BUF(1024);

	(void)state;
	assert_int_equal(uri_of_token(&token, &uri).failure, 0);
	assert_non_null(strstr(buf_text(&uri), ";token=a%20b%3Bc%3Dd%2F%C3%BC%25"));
}

static void an_object_has_id_label_and_type_and_leaves_out_what_it_lacks(void **state)
{
	CK_TOKEN_INFO token = token_named("web");
	struct uri_object key = {.class = CKO_PRIVATE_KEY,
	                         .id = (const uint8_t *)"A\0",
	                         .id_len = 2,
	                         .label = (const uint8_t *)"www",
	                         .label_len = 3};
	struct uri_object nameless = {.class = CKO_CERTIFICATE};
	auto_buf uri = BUF(1024), other = BUF(1024);

	(void)state;
	assert_int_equal(uri_of_object(&token, &key, &uri).failure, 0);
	assert_non_null(strstr(buf_text(&uri), ";token=web;id=%41%00;object=www;type=private"));
	assert_int_equal(uri_of_object(&token, &nameless, &other).failure, 0);
	assert_non_null(strstr(buf_text(&other), ";token=web;type=cert"));
}

static void a_token_without_any_field_is_still_a_uri(void **state)
{
	CK_TOKEN_INFO token;
	auto_buf uri = BUF(1024);
	struct uri_object key = {.class = CKO_PUBLIC_KEY};

	(void)state;
	memset(&token, ' ', sizeof(token));
	assert_int_equal(uri_of_object(&token, &key, &uri).failure, 0);
	assert_string_equal(buf_text(&uri), "pkcs11:type=public");
}

static void a_field_full_to_its_end_is_taken_whole(void **state)
{
	CK_TOKEN_INFO token = token_named("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	auto_buf uri = BUF(1024), small = BUF(20);

	(void)state;
	assert_int_equal(uri_of_token(&token, &uri).failure, 0);
	assert_non_null(strstr(buf_text(&uri), ";token=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"));
	assert_int_equal(uri_of_token(&token, &small).failure, 208);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_token_is_named_by_model_manufacturer_serial_and_label),
	    cmocka_unit_test(what_is_no_plain_character_is_percent_encoded),
	    cmocka_unit_test(an_object_has_id_label_and_type_and_leaves_out_what_it_lacks),
	    cmocka_unit_test(a_token_without_any_field_is_still_a_uri),
	    cmocka_unit_test(a_field_full_to_its_end_is_taken_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
