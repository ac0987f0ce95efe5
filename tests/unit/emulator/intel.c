/* SPDX-License-Identifier: Apache-2.0 */
#include "surroundings.h"

#include "emulator/certificate.h"
#include "emulator/guest_protocol.h"
#include "emulator/intel.h"
#include "emulator/quote.h"

#include <openssl/x509v3.h>

#include <sys/socket.h>
#include <sys/un.h>

/* The played processor: its reports and quotes, which must be what real ones are. */

static const uint8_t question[64] = {'q', 'u', 'e', 's', 't', 'i', 'o', 'n'};

static int open_intel(void **state)
{
	(void)state;
	return make_directory() || intel_open(&emulator).failure || hardware_open(&emulator).failure ? -1 : 0;
}

static int close_intel(void **state)
{
	(void)state;
	hardware_close(&emulator);
	intel_close(&emulator);
	remove_files(test_directory);
	return 0;
}

static void change(const char *settings)
{
	auto_json *request = json_of(settings);
	assert_ok(hardware_change(&emulator, request));
}

static int default_td(void **state)
{
	(void)state;
	change("{\"td_debug\":false,\"td_attributes\":\"0000001000000000\"}");
	return 0;
}

static void quote_of(unsigned version, struct buf *out)
{
	uint8_t report[TD_REPORT_BYTES];
	assert_ok(intel_td_report(&emulator, question, report));
	assert_ok(intel_quote(&emulator, report, version, out));
}

static unsigned little(const uint8_t *data, size_t bytes)
{
	unsigned value = 0;
	while (bytes-- > 0)
		value = value << 8 | data[bytes];
	return value;
}

static bool all_zero(const uint8_t *data, size_t len)
{
	while (len > 0 && data[len - 1] == 0)
		len--;
	return len == 0;
}

/* ---- the report ---- */

static void the_report_has_the_hashes_of_its_own_contents(void **state)
{
	(void)state;
	uint8_t report[TD_REPORT_BYTES], digest[48];
	assert_ok(intel_td_report(&emulator, question, report));
	assert_memory_equal(report, "\x81\0\0\0", 4);
	assert_memory_equal(report + 128, question, sizeof(question));
	assert_int_equal(EVP_Q_digest(ossl, "SHA384", NULL, report + 256, 239, digest, NULL), 1);
	assert_memory_equal(report + 32, digest, sizeof(digest));
	assert_int_equal(EVP_Q_digest(ossl, "SHA384", NULL, report + 512, 512, digest, NULL), 1);
	assert_memory_equal(report + 80, digest, sizeof(digest));
	assert_memory_equal(report + 520, "\xe7\x18\x06\0\0\0\0\0", 8);
}

/* A real report's reserved places are zero; so are ours. */
static void the_report_is_zero_where_a_real_one_is(void **state)
{
	static const struct {
		size_t at, len;
	} reserved[] = {{1, 15}, {192, 32}, {328, 56}, {400, 112}, {576, 144}, {720, 304}};
	(void)state;
	auto_buf real = BUF(PEM_LIMIT);
	uint8_t report[TD_REPORT_BYTES];
	read_data("cvm/tdx-with-quote/hcl-report.bin", &real);
	assert_ok(intel_td_report(&emulator, question, report));
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
		assert_true(all_zero(real.data + 32 + reserved[i].at, reserved[i].len));
		assert_true(all_zero(report + reserved[i].at, reserved[i].len));
	}
}

static void the_settings_stand_in_the_report(void **state)
{
	(void)state;
	uint8_t report[TD_REPORT_BYTES];
	char settings[256] = "", digits[97] = "";
	memset(digits, '7', 96);
	snprintf(settings, sizeof(settings), "{\"td_debug\":true,\"td_rtmr3\":\"%s\"}", digits);
	change(settings);
	assert_ok(intel_td_report(&emulator, question, report));
	assert_memory_equal(report + 512, "\1\0\0\x10\0\0\0\0", 8);
	assert_true(all_zero(report + 720, 144));
	for (int i = 0; i < 48; i++)
		assert_int_equal(report[720 + 144 + i], 0x77);
	memset(digits, '0', 96);
	snprintf(settings, sizeof(settings), "{\"td_rtmr3\":\"%s\"}", digits);
	change(settings);

	auto_json *wrong = json_of("{\"td_mrtd\":\"00\"}");
	assert_refused(hardware_change(&emulator, wrong), 213, "td_mrtd is not a text of 96");
}

/* ---- the quote ---- */

static void only_this_processors_reports_are_quoted(void **state)
{
	(void)state;
	uint8_t report[TD_REPORT_BYTES];
	auto_buf out = BUF(TD_QUOTE_ROOM);
	for (size_t at = 0; at < TD_REPORT_BYTES; at++) {
		assert_ok(intel_td_report(&emulator, question, report));
		report[at] ^= 1;
		if (at >= 495 && at < 512)
			continue; /* between TEE_TCB_INFO and TDINFO: neither hash covers it */
		assert_refused(intel_quote(&emulator, report, 4, &out), 117, at < 256 ? "MAC" : "hashes");
	}
	assert_int_equal(out.len, 0);
}

static void a_report_of_another_machine_is_not_quoted(void **state)
{
	(void)state;
	auto_buf real = BUF(PEM_LIMIT), out = BUF(TD_QUOTE_ROOM);
	read_data("cvm/tdx-with-quote/hcl-report.bin", &real);
	assert_refused(intel_quote(&emulator, real.data + 32, 4, &out), 117, "MAC");
}

/* Where the parts are, read with the offsets of a real quote. */
static void version_4_has_the_form_of_azures(void **state)
{
	(void)state;
	auto_buf real = BUF(PEM_LIMIT), quote = BUF(TD_QUOTE_ROOM);
	read_data("cvm/tdx-with-quote/td-quote.bin", &real);
	quote_of(4, &quote);
	assert_int_equal(real.len, 5006);
	assert_int_equal(quote.len, 5006);
	assert_memory_equal(quote.data, real.data, 28);
	assert_memory_equal(quote.data + 48 + 520, question, sizeof(question));
	assert_memory_equal(quote.data + 764, real.data + 764, 2);
	assert_memory_equal(quote.data + 1218, real.data + 1218, 2 + 32 + 2);
	assert_memory_equal(quote.data + 1258, "-----BEGIN CERTIFICATE-----", 27);

	unsigned signature = little(quote.data + 632, 4), chain = little(quote.data + 1254, 4);
	assert_int_equal(little(quote.data + 766, 4), signature - 64 - 64 - 6);
	assert_int_equal(1258 + chain, 636 + signature);
	assert_true(636 + signature <= 4936);
	assert_true(all_zero(quote.data + 636 + signature, quote.len - 636 - signature));
}

static void version_5_has_the_longer_body(void **state)
{
	(void)state;
	auto_buf quote = BUF(TD_QUOTE_ROOM);
	quote_of(5, &quote);
	assert_int_equal(little(quote.data, 2), 5);
	assert_int_equal(little(quote.data + 48, 2), 3);
	assert_int_equal(little(quote.data + 50, 4), 648);
	assert_memory_equal(quote.data + 54 + 520, question, sizeof(question));
	assert_memory_equal(quote.data + 54 + 584, quote.data + 54, 16);
	assert_int_equal(1258 + 70 + little(quote.data + 1254 + 70, 4), 636 + 70 + little(quote.data + 702, 4));
}

static void other_versions_are_not_made(void **state)
{
	(void)state;
	uint8_t report[TD_REPORT_BYTES];
	auto_buf out = BUF(TD_QUOTE_ROOM);
	assert_ok(intel_td_report(&emulator, question, report));
	assert_refused(intel_quote(&emulator, report, 3, &out), 599, "version 3");
}

/* ---- the authority ---- */

static void chain_of(const struct buf *quote, STACK_OF(X509) **ret)
{
	assert_ok(certificates_from_pem(quote->data + 1258, little(quote->data + 1254, 4), ret));
}

/* OpenSSL's own opinion, strict, from the file that intel_open writes. */
static void the_chain_verifies_from_the_published_root(void **state)
{
	(void)state;
	auto_buf quote = BUF(TD_QUOTE_ROOM), pem = BUF(PEM_LIMIT);
	auto_x509s *chain = NULL, *roots = NULL;
	quote_of(4, &quote);
	chain_of(&quote, &chain);
	assert_int_equal(sk_X509_num(chain), 3);
	assert_ok(emulator_read(&emulator, "intel-root.pem", &pem));
	assert_ok(certificates_from_pem(pem.data, pem.len, &roots));

	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new_ex(ossl, NULL);
	X509_STORE_add_cert(store, sk_X509_value(roots, 0));
	assert_int_equal(X509_STORE_CTX_init(ctx, store, sk_X509_value(chain, 0), chain), 1);
	X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT);
	int good = X509_verify_cert(ctx);
	int error = X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	assert_int_equal(error, X509_V_OK);
	assert_int_equal(good, 1);
}

static void the_certificates_have_the_names_of_intels(void **state)
{
	(void)state;
	auto_buf quote = BUF(TD_QUOTE_ROOM), real = BUF(PEM_LIMIT);
	auto_x509s *chain = NULL, *intels = NULL;
	quote_of(4, &quote);
	read_data("cvm/tdx-with-quote/td-quote.bin", &real);
	chain_of(&quote, &chain);
	chain_of(&real, &intels);
	for (int i = 0; i < 3; i++)
		assert_int_equal(X509_NAME_cmp(X509_get_subject_name(sk_X509_value(chain, i)),
		                               X509_get_subject_name(sk_X509_value(intels, i))),
		                 0);
}

static void the_processor_outlives_a_restart(void **state)
{
	(void)state;
	uint8_t report[TD_REPORT_BYTES];
	auto_buf quote = BUF(TD_QUOTE_ROOM), again = BUF(TD_QUOTE_ROOM);
	assert_ok(intel_td_report(&emulator, question, report));
	assert_ok(intel_quote(&emulator, report, 4, &quote));
	intel_close(&emulator);
	assert_ok(intel_open(&emulator));
	assert_ok(intel_quote(&emulator, report, 4, &again));
	assert_memory_equal(quote.data + 700, again.data + 700, 64);
	assert_memory_equal(quote.data + 1258, again.data + 1258, little(quote.data + 1254, 4));
}

/* A root that was deleted takes those below it along, or nothing would verify. */
static void a_new_root_signs_new_certificates(void **state)
{
	(void)state;
	char path[128];
	intel_close(&emulator);
	snprintf(path, sizeof(path), "%s/intel-root.pem", test_directory);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/intel-root.key", test_directory);
	assert_int_equal(unlink(path), 0);
	assert_ok(intel_open(&emulator));
	the_chain_verifies_from_the_published_root(NULL);
}

/* ---- the guest ---- */

static void receive(int fd, void *data, size_t len)
{
	assert_int_equal(recv(fd, data, len, MSG_WAITALL), (ssize_t)len);
}

/* What DIR/hardware.sock answers; the status. */
static uint32_t ask_mailbox(uint32_t kind, uint32_t vmpl, struct buf *out)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct guest_request request = {.magic = GUEST_PROTOCOL_MAGIC, .kind = kind, .vmpl = vmpl};
	struct guest_answer answer;
	uint8_t *place;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/hardware.sock", test_directory);
	memcpy(request.report_data, question, sizeof(question));
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(send(fd, &request, sizeof(request), 0), sizeof(request));
	receive(fd, &answer, sizeof(answer));
	assert_int_equal(answer.magic, GUEST_PROTOCOL_MAGIC);
	assert_int_equal(answer.table_len, 0);
	assert_ok(buf_reserve(out, answer.report_len, &place));
	receive(fd, place, answer.report_len);
	out->len = answer.report_len;
	close(fd);
	return answer.status;
}

static void a_guest_gets_a_quote_that_verifies(void **state)
{
	(void)state;
	uint8_t report_data[64];
	struct quote_trust trust;
	auto_buf quote = BUF(GUEST_QUOTE_LIMIT);
	auto_json *claims = json_object();
	assert_int_equal(ask_mailbox(GUEST_QUOTE, 0, &quote), 0);
	assert_ok(intel_trust(&emulator, &trust));
	assert_ok(quote_verify(quote.data, quote.len, &trust, report_data, claims));
	assert_memory_equal(report_data, question, sizeof(question));
}

static void a_guest_that_asks_for_something_else_gets_none(void **state)
{
	(void)state;
	auto_buf none = BUF(GUEST_QUOTE_LIMIT);
	assert_int_equal(ask_mailbox(GUEST_QUOTE, 1, &none), 0x16);
	assert_int_equal(ask_mailbox(3, 0, &none), 0x16);
	assert_int_equal(none.len, 0);
}

int main(void)
{
#define TD_TEST(test) cmocka_unit_test_setup(test, default_td)
	const struct CMUnitTest tests[] = {
	    TD_TEST(the_report_has_the_hashes_of_its_own_contents),
	    TD_TEST(the_report_is_zero_where_a_real_one_is),
	    TD_TEST(the_settings_stand_in_the_report),
	    TD_TEST(only_this_processors_reports_are_quoted),
	    TD_TEST(a_report_of_another_machine_is_not_quoted),
	    TD_TEST(version_4_has_the_form_of_azures),
	    TD_TEST(version_5_has_the_longer_body),
	    TD_TEST(other_versions_are_not_made),
	    TD_TEST(the_chain_verifies_from_the_published_root),
	    TD_TEST(the_certificates_have_the_names_of_intels),
	    TD_TEST(the_processor_outlives_a_restart),
	    TD_TEST(a_new_root_signs_new_certificates),
	    TD_TEST(a_guest_gets_a_quote_that_verifies),
	    TD_TEST(a_guest_that_asks_for_something_else_gets_none),
	};
	return cmocka_run_group_tests(tests, open_intel, close_intel);
}
