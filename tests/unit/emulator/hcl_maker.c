/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/hcl_maker.h"

#include "emulator/certificate.h"

#include "surroundings.h"

static EVP_PKEY *ak, *ek;

static int make_keys(void **state)
{
	(void)state;
	return ossl_open().failure || key_generate("RSA-2048", &ak).failure || key_generate("RSA-2048", &ek).failure;
}

static int free_keys(void **state)
{
	(void)state;
	EVP_PKEY_free(ak);
	EVP_PKEY_free(ek);
	return 0;
}

static void make(struct buf *claims, uint8_t report_data[64])
{
	struct hcl_claims plan = {
	    .ak = ak, .ek = ek, .secure_boot = true, .vm_id = "0f8fad5b-d9cb-469f-a165-70867728950e"};
	memset(plan.user_data, 0xa5, sizeof(plan.user_data));
	assert_ok(hcl_claims_make(&plan, claims, report_data));
}

/* Names and their order, and every character that is not a value. */
static void shape(const json *j, struct buf *out)
{
	for (const json *member = json_first(j); member; member = json_next(member)) {
		assert_ok(buf_printf(out, "%s(", json_name(member) ? json_name(member) : ""));
		shape(member, out);
		assert_ok(buf_append_text(out, ")"));
	}
}

/* A captured one: tests/data/cvm/README.md. */
static void the_claims_have_the_shape_of_a_real_machines(void **state)
{
	(void)state;
	auto_buf captured = BUF(4096), claims = BUF(4096), ours = BUF(4096), theirs = BUF(4096);
	auto_json *real = NULL, *made = NULL;
	uint8_t report_data[64];
	read_data("cvm/tdx-hdr2/hcl-report.bin", &captured);
	assert_ok(json_parse(captured.data + 1236, 1202, &real));
	make(&claims, report_data);
	assert_ok(json_parse(claims.data, claims.len, &made));
	shape(real, &theirs);
	shape(made, &ours);
	assert_string_equal(buf_text(&ours), buf_text(&theirs));
}

static void the_report_data_is_the_hash_of_the_claims_and_zeros(void **state)
{
	(void)state;
	auto_buf claims = BUF(4096);
	uint8_t report_data[64], expected[64] = {0};
	assert_ok(buf_append_text(&claims, "before")); /* what was there before is not hashed */
	make(&claims, report_data);
	assert_ok(sha256(claims.data + 6, claims.len - 6, expected));
	assert_memory_equal(report_data, expected, 64);
}

static void identifiers_and_user_data_are_in_upper_case(void **state)
{
	(void)state;
	auto_buf claims = BUF(4096);
	uint8_t report_data[64];
	make(&claims, report_data);
	assert_non_null(strstr(buf_text(&claims), "\"vmUniqueId\":\"0F8FAD5B-D9CB-469F-A165-70867728950E\""));
	assert_non_null(strstr(buf_text(&claims), "\"user-data\":\"A5A5A5"));
	assert_null(strstr(buf_text(&claims), "a5a5"));
}

/* A captured report taken apart and put together again is the same report. */
static void a_real_report_is_made_again_from_its_parts(void **state)
{
	(void)state;
	auto_buf captured = BUF(4096), claims = BUF(4096), report = BUF(4096);
	read_data("cvm/tdx-hdr2/hcl-report.bin", &captured);
	assert_ok(buf_append(&claims, captured.data + 1236, 1202));
	assert_ok(hcl_report_make(HCL_TDX, captured.data + 32, 1024, &claims, &report));
	assert_int_equal(report.len, 2438);
	assert_memory_equal(report.data, captured.data, report.len);
}

static void a_hardware_report_that_does_not_fit_is_refused(void **state)
{
	(void)state;
	static const uint8_t large[HCL_HARDWARE_AREA + 1];
	auto_buf claims = BUF(16), report = BUF(4096);
	assert_refused(hcl_report_make(HCL_SNP, large, sizeof(large), &claims, &report), 599, "1185 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_claims_have_the_shape_of_a_real_machines),
	    cmocka_unit_test(the_report_data_is_the_hash_of_the_claims_and_zeros),
	    cmocka_unit_test(identifiers_and_user_data_are_in_upper_case),
	    cmocka_unit_test(a_real_report_is_made_again_from_its_parts),
	    cmocka_unit_test(a_hardware_report_that_does_not_fit_is_refused),
	};
	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
