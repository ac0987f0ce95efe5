/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/security_context.h"
#include "evidence/endorsement.h"
#include "played_hardware.h"

#include <sys/stat.h>
#include <unistd.h>

static char directory[64];

static void put(const char *name, const char *text)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *file = fopen(path, "w");
	fputs(text, file);
	fclose(file);
}

static int fresh(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/skr-context-XXXXXX");
	check(mkdtemp(directory) != NULL, "mkdtemp");
	setenv("UVM_SECURITY_CONTEXT_DIR", directory, 1);
	unsetenv("UVM_REFERENCE_INFO");
	unsetenv("UVM_HOST_AMD_CERTIFICATE");
	return 0;
}

static int gone(void **state)
{
	(void)state;
	char path[160];
	const char *names[] = {"host-amd-cert-base64", "reference-info-base64"};

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	return rmdir(directory);
}

static void the_sample_directory_is_read(void **state)
{
	(void)state;
	auto_security_context context = {0};
	auto_endorsement endorsement = {0};

	setenv("UVM_SECURITY_CONTEXT_DIR", SKR_TEST_DATA "/snp/security-context-sample", 1);
	assert_ok(security_context_read(&context));
	assert_string_equal(json_string_or_null(context.amd_certificates, "tcbm"), "7308000000000003");
	assert_int_equal(context.reference_info.data[0], 0xd2);
	assert_ok(endorsement_from_thim(context.amd_certificates, "security-context", &endorsement));
	assert_int_equal(sk_X509_num(endorsement.chain), 3);
}

static void the_aci_files_are_what_they_encode(void **state)
{
	(void)state;
	auto_security_context context = {0};
	auto_buf cose = BUF(64 * 1024);

	setenv("UVM_SECURITY_CONTEXT_DIR", SKR_TEST_DATA "/snp/milan-v2-aci", 1);
	assert_ok(security_context_read(&context));
	read_vector("milan-v2-aci/reference-info.cose", &cose);
	assert_int_equal(context.reference_info.len, cose.len);
	assert_memory_equal(context.reference_info.data, cose.data, cose.len);
}

static void nothing_there_is_no_failure(void **state)
{
	(void)state;
	auto_security_context context = {0}, without = {0};

	assert_ok(security_context_read(&context)); /* an empty directory */
	assert_null(context.amd_certificates);
	assert_int_equal(context.reference_info.len, 0);
	unsetenv("UVM_SECURITY_CONTEXT_DIR");
	assert_ok(security_context_read(&without));
	assert_null(without.amd_certificates);
}

/* AKS gives the reference info alone. */
static void one_file_alone_is_enough(void **state)
{
	(void)state;
	auto_security_context context = {0};
	auto_buf text = BUF(64 * 1024);

	read_vector("milan-v2-aci/reference-info-base64", &text);
	put("reference-info-base64", buf_text(&text));
	assert_ok(security_context_read(&context));
	assert_null(context.amd_certificates);
	assert_int_equal(context.reference_info.len, 10864);
}

static void white_space_at_the_end_is_let_pass(void **state)
{
	(void)state;
	auto_security_context context = {0};

	put("reference-info-base64", "0oRDoQEmoED2QA==\n");
	put("host-amd-cert-base64", "e30=\r\n ");
	assert_ok(security_context_read(&context));
	assert_int_equal(context.reference_info.len, 10);
	assert_int_equal(json_kind(context.amd_certificates), JSON_OBJECT);
}

static void the_older_variables_stand_in_for_missing_files(void **state)
{
	(void)state;
	auto_security_context context = {0}, with_file = {0};

	setenv("UVM_REFERENCE_INFO", "0oRDoQEmoED2QA==", 1);
	setenv("UVM_HOST_AMD_CERTIFICATE", "eyJ0Y2JtIjoiMSJ9", 1);
	assert_ok(security_context_read(&context));
	assert_int_equal(context.reference_info.len, 10);
	assert_string_equal(json_string_or_null(context.amd_certificates, "tcbm"), "1");
	put("host-amd-cert-base64", "eyJ0Y2JtIjoiMiJ9");
	assert_ok(security_context_read(&with_file));
	assert_string_equal(json_string_or_null(with_file.amd_certificates, "tcbm"), "2");
}

static void a_named_directory_must_be_there(void **state)
{
	(void)state;
	auto_security_context context = {0};

	setenv("UVM_SECURITY_CONTEXT_DIR", "/nonexistent/security-context", 1);
	assert_fails(security_context_read(&context), 144, "/nonexistent/security-context");
	setenv("UVM_SECURITY_CONTEXT_DIR", "/etc/passwd", 1);
	assert_fails(security_context_read(&context), 144, "no directory");
}

static void broken_files_are_refused(void **state)
{
	(void)state;
	auto_security_context context = {0};

	put("host-amd-cert-base64", "!!!!");
	assert_fails(security_context_read(&context), 144, "host-amd-cert: no base64");
	put("host-amd-cert-base64", "bm8ganNvbg==");
	assert_fails(security_context_read(&context), 144, "host-amd-cert");
	put("host-amd-cert-base64", "e30=");
	put("reference-info-base64", "e30=");
	assert_fails(security_context_read(&context), 144, "2 bytes that are no COSE_Sign1");
	put("reference-info-base64", "0oVD"); /* an array of five */
	assert_fails(security_context_read(&context), 144, "no COSE_Sign1");
	put("reference-info-base64", "04RD"); /* another tag */
	assert_fails(security_context_read(&context), 144, "no COSE_Sign1");
	put("reference-info-base64", "0oQB"); /* a number where the protected header should be */
	assert_fails(security_context_read(&context), 144, "no COSE_Sign1");
	assert_null(context.amd_certificates);
}

static void what_is_too_large_is_refused(void **state)
{
	(void)state;
	auto_security_context context = {0};
	char *text = malloc(100 * 1024);

	memset(text, 'A', 100 * 1024);
	text[100 * 1024 - 1] = '\0';
	put("reference-info-base64", text);
	assert_fails(security_context_read(&context), 144, "limit of");
	text[90 * 1024] = '\0'; /* within the limit of the file, beyond that of what it encodes */
	put("reference-info-base64", text);
	assert_fails(security_context_read(&context), 144, "limit of");
	free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh, gone)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_sample_directory_is_read),       TEST(the_aci_files_are_what_they_encode),
	    TEST(nothing_there_is_no_failure),        TEST(one_file_alone_is_enough),
	    TEST(white_space_at_the_end_is_let_pass), TEST(the_older_variables_stand_in_for_missing_files),
	    TEST(a_named_directory_must_be_there),    TEST(broken_files_are_refused),
	    TEST(what_is_too_large_is_refused),
	};

	if (ossl_open().failure)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
