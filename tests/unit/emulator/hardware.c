/* SPDX-License-Identifier: Apache-2.0 */
#include "surroundings.h"

#include "emulator/certificate.h"
#include "emulator/cose.h"
#include "emulator/guest_protocol.h"
#include "emulator/hardware.h"

#include <openssl/x509v3.h>

#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static int open_hardware(void **state)
{
	(void)state;
	return make_directory() || hardware_open(&emulator).failure ? -1 : 0;
}

static int close_hardware(void **state)
{
	(void)state;
	hardware_close(&emulator);
	remove_files(test_directory);
	return 0;
}

static skr_status change(const char *settings)
{
	auto_json *request = json_of(settings);
	return hardware_change(&emulator, request);
}

/* The machine as a start without settings has it. */
static int default_machine(void **state)
{
	(void)state;
	return change("{\"product\":\"Milan\",\"debug\":false,\"mask_chip_id\":false,\"certificate_table\":false,"
	              "\"thim_tcb\":null,\"context_tcb\":null,\"accept_real_amd\":false}")
	    .failure;
}

static const uint8_t report_data[64] = {1, 2, 3};

static void take_report(uint8_t report[REPORT_SIZE])
{
	assert_ok(hardware_report(&emulator, report_data, 0, report));
}

/* VCEK, ASK, ARK as THIM gives them. */
static STACK_OF(X509) *thim_chain(char tcbm[32])
{
	auto_json *answer = NULL;
	auto_buf pem = BUF(PEM_LIMIT);
	STACK_OF(X509) *chain = NULL;
	assert_ok(hardware_thim(&emulator, &answer));
	assert_ok(buf_append_text(&pem, json_string_or_null(answer, "vcekCert")));
	assert_ok(buf_append_text(&pem, json_string_or_null(answer, "certificateChain")));
	assert_ok(certificates_from_pem(pem.data, pem.len, &chain));
	if (tcbm)
		snprintf(tcbm, 32, "%s", json_string_or_null(answer, "tcbm"));
	assert_string_equal(json_string_or_null(answer, "cacheControl"), "86400");
	return chain;
}

static skr_status verify(const uint8_t *report, const STACK_OF(X509) *chain, bool accept_real_amd)
{
	auto_rules rules = {0};
	enum product product;
	TRY(hardware_attestation_rules(&emulator, &rules));
	const struct report_trust trust = {.ark = rules.ark, .accept_real_amd = accept_real_amd, .now = time(NULL)};
	return report_verify(report, REPORT_SIZE, chain, &trust, &product);
}

/* ---- the played chip ---- */

static void every_product_makes_reports_that_verify(void **state)
{
	static const char *const settings[] = {"{\"product\":\"Milan\"}",
	                                       "{\"product\":\"Milan\",\"version\":2}",
	                                       "{\"product\":\"Genoa\"}",
	                                       "{\"product\":\"Genoa\",\"version\":2}",
	                                       "{\"product\":\"Turin\"}",
	                                       "{\"product\":\"Turin\",\"version\":4}",
	                                       "{\"tcb\":{\"microcode\":219,\"snp\":255}}",
	                                       "{\"tcb\":\"db08000000000003\",\"product\":\"Milan\"}"};
	(void)state;
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		uint8_t report[REPORT_SIZE];
		assert_ok(change(settings[i]));
		take_report(report);
		auto_x509s *chain = thim_chain(NULL);
		skr_status status = verify(report, chain, false);
		if (status.failure)
			fail_msg("%s: %s", settings[i], status_message());
	}
}

static void the_default_report_is_as_the_contract_says(void **state)
{
	(void)state;
	uint8_t report[REPORT_SIZE], digest[32], policy_bytes[32];
	char tcbm[32];
	auto_x509s *chain = thim_chain(tcbm);
	auto_buf policy = BUF(PEM_LIMIT), text = BUF(PEM_LIMIT);
	take_report(report);
	assert_int_equal(report_u32(report, REPORT_VERSION), 3);
	assert_int_equal(report_u64(report, REPORT_POLICY), 0x3001f);
	assert_memory_equal(report + REPORT_REPORT_DATA, report_data, 64);
	assert_memory_equal(report + REPORT_REPORTED_TCB, "\x03\x00\x00\x00\x00\x00\x08\x73", 8);
	assert_string_equal(tcbm, "7308000000000003");
	assert_int_equal(sk_X509_num(chain), 3);

	assert_ok(emulator_read(&emulator, "security-context/security-policy-base64", &text));
	assert_ok(base64_decode(buf_text(&text), text.len, &policy));
	assert_ok(sha256(policy.data, policy.len, digest));
	memcpy(policy_bytes, report + REPORT_HOST_DATA, 32);
	assert_memory_equal(policy_bytes, digest, 32);
}

static void compare_with_amd(STACK_OF(X509) *ours, STACK_OF(X509) *theirs)
{
	X509 *our_vcek = sk_X509_value(ours, 0), *their_vcek = sk_X509_value(theirs, 0);
	assert_int_equal(X509_get_ext_count(our_vcek), X509_get_ext_count(their_vcek));
	for (int i = 0; i < X509_get_ext_count(our_vcek); i++)
		assert_int_equal(OBJ_cmp(X509_EXTENSION_get_object(X509_get_ext(our_vcek, i)),
		                         X509_EXTENSION_get_object(X509_get_ext(their_vcek, i))),
		                 0);
	assert_int_equal(ASN1_INTEGER_get(X509_get_serialNumber(our_vcek)), 0);
	for (int i = 0; i < 3; i++) {
		char name[2][256];
		X509_NAME_oneline(X509_get_subject_name(sk_X509_value(ours, i)), name[0], sizeof(name[0]));
		X509_NAME_oneline(X509_get_subject_name(sk_X509_value(theirs, i)), name[1], sizeof(name[1]));
		assert_string_equal(name[0], name[1]);
	}
}

static void certificates_look_as_amd_makes_them(void **state)
{
	(void)state;
	auto_x509s *milan = thim_chain(NULL), *real_milan = sk_X509_new_null(), *real_turin = sk_X509_new_null();
	read_chain("snp/milan-v2-aci/chain-vcek-ask-ark.pem", real_milan);
	compare_with_amd(milan, real_milan);

	assert_ok(change("{\"product\":\"Turin\"}"));
	auto_x509s *turin = thim_chain(NULL);
	read_chain("snp/turin-v5-aci/vcek.pem", real_turin);
	read_chain("snp/amd-roots/turin-vcek-ask-ark.pem", real_turin);
	compare_with_amd(turin, real_turin);
}

static void any_changed_byte_of_a_report_is_noticed(void **state)
{
	(void)state;
	uint8_t report[REPORT_SIZE];
	auto_x509s *chain = thim_chain(NULL);
	take_report(report);
	for (size_t at = 0; at < 0x330; at += 3) {
		report[at] ^= 0x40;
		if (!verify(report, chain, false).failure)
			fail_msg("byte 0x%zx: not noticed", at);
		report[at] ^= 0x40;
	}
	assert_ok(verify(report, chain, false));
}

/* Fields that are looked at before the signature say what they are, each in its own words. */
static void fields_that_make_no_report_are_named(void **state)
{
	static const struct {
		enum report_offset at;
		uint8_t value;
		int number;
		const char *words;
	} rows[] = {
	    {REPORT_VERSION, 0, 116, "version 0"},
	    {REPORT_VERSION, 1, 116, "version 1"},
	    {REPORT_VERSION, 6, 116, "version 6"},
	    {REPORT_SIGNATURE_ALGO, 2, 116, "algorithm 2"},
	    {REPORT_KEY_FLAGS, 1 << 2, 117, "signed by key 1"},
	    {REPORT_CPUID, 0x17, 117, "no product has"},
	    {REPORT_CPUID, 0x1a, 117, "needs SEV-Turin"},
	    {REPORT_REPORTED_TCB, 4, 117, "boot loader 4"},
	    {REPORT_REPORTED_TCB + 7, 0x74, 117, "microcode 116"},
	    {REPORT_CHIP_ID, 0, 117, "another chip"},
	    {REPORT_CHIP_ID + 63, 0, 117, "another chip"},
	    {REPORT_SIGNATURE_R + 60, 1, 117, "does not verify"},
	    {REPORT_SIGNATURE_S + 71, 1, 117, "does not verify"},
	};
	(void)state;
	auto_x509s *chain = thim_chain(NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t report[REPORT_SIZE];
		take_report(report);
		report[rows[i].at] = report[rows[i].at] == rows[i].value ? 0xee : rows[i].value;
		assert_refused(verify(report, chain, false), rows[i].number, rows[i].words);
	}
}

static void a_report_of_another_length_is_refused(void **state)
{
	(void)state;
	uint8_t report[REPORT_SIZE + 1] = {0};
	enum product product;
	auto_rules rules = {0};
	auto_x509s *chain = thim_chain(NULL), *empty = sk_X509_new_null();
	assert_ok(hardware_attestation_rules(&emulator, &rules));
	const struct report_trust trust = {.ark = rules.ark, .now = time(NULL)};
	take_report(report);
	assert_refused(report_verify(report, REPORT_SIZE - 1, chain, &trust, &product), 116, "1183 bytes");
	assert_refused(report_verify(report, REPORT_SIZE + 1, chain, &trust, &product), 116, "1185 bytes");
	assert_refused(report_verify(report, 0, chain, &trust, &product), 116, "0 bytes");
	assert_refused(report_verify(report, REPORT_SIZE, empty, &trust, &product), 117, "no VCEK");
}

static void a_masked_chip_id_cannot_be_matched(void **state)
{
	(void)state;
	uint8_t report[REPORT_SIZE];
	assert_ok(change("{\"mask_chip_id\":true}"));
	take_report(report);
	auto_x509s *chain = thim_chain(NULL);
	assert_refused(verify(report, chain, false), 117, "hides its chip id");
}

static void chains_that_are_not_whole_or_not_in_time_are_refused(void **state)
{
	(void)state;
	uint8_t report[REPORT_SIZE];
	enum product product;
	auto_rules rules = {0};
	auto_x509s *chain = thim_chain(NULL);
	take_report(report);
	assert_ok(hardware_attestation_rules(&emulator, &rules));
	struct report_trust trust = {.ark = rules.ark, .now = time(NULL) + 8LL * 365 * 24 * 60 * 60};
	assert_refused(report_verify(report, REPORT_SIZE, chain, &trust, &product), 117, "expired");
	trust.now = time(NULL) - 100LL * 24 * 60 * 60;
	assert_refused(report_verify(report, REPORT_SIZE, chain, &trust, &product), 117, "not valid yet");

	auto_x509 *ark = sk_X509_pop(chain);
	assert_refused(verify(report, chain, false), 117, "do not make a chain");
	X509_free(sk_X509_pop(chain)); /* the ASK */
	sk_X509_push(chain, TAKE(ark));
	assert_refused(verify(report, chain, false), 117, "do not make a chain");
}

/* The machine's ASK, issued again by the same ARK in another manner. */
static X509 *other_ask(const char *constraints, bool pss)
{
	auto_x509s *chain = thim_chain(NULL);
	auto_pkey *ark_key = NULL, *ask_key = NULL;
	X509 *ask = NULL;
	const struct certificate_name subject[] = {
	    {"OU", "Engineering"},           {"C", "US"},         {"L", "Santa Clara"}, {"ST", "CA"},
	    {"O", "Advanced Micro Devices"}, {"CN", "SEV-Milan"}, {NULL, NULL}};
	const struct certificate_extension extensions[] = {{.oid = "basicConstraints", .text = constraints}, {0}};
	assert_ok(emulator_key(&emulator, "amd-ark-Milan.key", 2048, NULL, &ark_key));
	assert_ok(emulator_key(&emulator, "amd-ask-Milan.key", 2048, NULL, &ask_key));
	const struct certificate_plan plan = {.subject = subject,
	                                      .key = ask_key,
	                                      .issuer = sk_X509_value(chain, 2),
	                                      .issuer_key = ark_key,
	                                      .digest = "SHA384",
	                                      .pss = pss,
	                                      .not_before = time(NULL) - 1000,
	                                      .not_after = time(NULL) + 1000,
	                                      .extensions = extensions};
	assert_ok(certificate_issue(&plan, &ask));
	return ask;
}

static void an_ask_that_is_no_authority_or_signed_otherwise_is_refused(void **state)
{
	static const struct {
		const char *constraints;
		bool pss;
		const char *words;
	} rows[] = {
	    {"critical,CA:TRUE", true, ""},
	    {"critical,CA:FALSE", true, "not the certificate of an authority"},
	    {"critical,CA:TRUE", false, "not signed with RSASSA-PSS"},
	};
	(void)state;
	uint8_t report[REPORT_SIZE];
	take_report(report);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_x509s *chain = thim_chain(NULL);
		X509_free(sk_X509_delete(chain, 1));
		sk_X509_insert(chain, other_ask(rows[i].constraints, rows[i].pss), 1);
		if (*rows[i].words)
			assert_refused(verify(report, chain, false), 117, rows[i].words);
		else
			assert_ok(verify(report, chain, false));
	}
}

/* A chip of somebody who copied every name. */
static void a_report_under_another_root_is_refused(void **state)
{
	(void)state;
	char directory[96];
	snprintf(directory, sizeof(directory), "%s/x", test_directory);
	assert_int_equal(mkdir(directory, 0700), 0);
	struct emulator other = {.dir = directory};
	auto_json *answer = NULL;
	auto_buf pem = BUF(PEM_LIMIT);
	auto_x509s *chain = NULL;
	uint8_t report[REPORT_SIZE];
	assert_ok(hardware_open(&other));
	assert_ok(hardware_report(&other, report_data, 0, report));
	assert_ok(hardware_thim(&other, &answer));
	hardware_close(&other);
	assert_ok(buf_append_text(&pem, json_string_or_null(answer, "vcekCert")));
	assert_ok(buf_append_text(&pem, json_string_or_null(answer, "certificateChain")));
	assert_ok(certificates_from_pem(pem.data, pem.len, &chain));
	assert_refused(verify(report, chain, true), 117, "root of the VCEK's chain is not trusted");

	auto_x509s *ours = thim_chain(NULL);
	X509_free(sk_X509_delete(chain, 2));
	sk_X509_push(chain, X509_dup(sk_X509_value(ours, 2)));
	assert_refused(verify(report, chain, true), 117, "did not sign");
}

/* ---- real chips ---- */

struct real_report {
	const char *report, *vcek, *chain;
};

static void real_chain(const struct real_report *real, STACK_OF(X509) *chain)
{
	if (strstr(real->vcek, ".der")) {
		auto_buf der = BUF(PEM_LIMIT);
		X509 *vcek = NULL;
		read_data(real->vcek, &der);
		assert_ok(certificate_from_der(der.data, der.len, &vcek));
		sk_X509_push(chain, vcek);
	} else {
		read_chain(real->vcek, chain);
	}
	read_chain(real->chain, chain);
}

static const struct real_report real_reports[] = {
    {"snp/milan-v2-aci/report.bin", "snp/milan-v2-aci/vcek.pem", "snp/amd-roots/milan-vcek-ask-ark.pem"},
    {"snp/milan-v2-bare/report.bin", "snp/milan-v2-bare/vcek.der", "snp/milan-v2-bare/ask-ark.pem"},
    {"snp/turin-v5-aci/report.bin", "snp/turin-v5-aci/vcek.pem", "snp/amd-roots/turin-vcek-ask-ark.pem"},
};

static void real_reports_verify_with_their_own_vcek_alone_and_only_when_told(void **state)
{
	(void)state;
	for (size_t r = 0; r < 3; r++)
		for (size_t c = 0; c < 3; c++) {
			auto_buf report = BUF(REPORT_SIZE);
			auto_x509s *chain = sk_X509_new_null();
			read_data(real_reports[r].report, &report);
			real_chain(&real_reports[c], chain);
			bool verified = !verify(report.data, chain, true).failure;
			if (verified != (r == c))
				fail_msg("%s with %s: %s", real_reports[r].report, real_reports[c].vcek,
				         verified ? "verified" : status_message());
			if (verified)
				assert_refused(verify(report.data, chain, false), 117, "was not told to accept it");
		}
}

static void a_flipped_bit_in_a_real_report_is_noticed(void **state)
{
	(void)state;
	auto_buf report = BUF(REPORT_SIZE);
	auto_x509s *chain = sk_X509_new_null();
	read_data(real_reports[2].report, &report);
	real_chain(&real_reports[2], chain);
	for (size_t at = 0; at < 0x330; at += 7) {
		report.data[at] ^= 1;
		if (!verify(report.data, chain, true).failure)
			fail_msg("byte 0x%zx: not noticed", at);
		report.data[at] ^= 1;
	}
}

static void a_real_vcek_under_another_products_ask_is_refused(void **state)
{
	(void)state;
	auto_buf report = BUF(REPORT_SIZE);
	auto_x509s *chain = sk_X509_new_null();
	const struct real_report mixed = {NULL, "snp/milan-v2-aci/vcek.pem", "snp/amd-roots/genoa-vcek-ask-ark.pem"};
	read_data("snp/milan-v2-aci/report.bin", &report);
	real_chain(&mixed, chain);
	assert_refused(verify(report.data, chain, true), 117, "do not make a chain");
}

static void real_report_and_host_data_bind_what_the_vectors_readme_says(void **state)
{
	(void)state;
	auto_buf report = BUF(REPORT_SIZE), runtime = BUF(4096), text = BUF(PEM_LIMIT), policy = BUF(PEM_LIMIT);
	read_data("snp/milan-v2-aci/report.bin", &report);
	read_data("snp/milan-v2-aci/runtime-data.json", &runtime);
	read_data("snp/milan-v2-aci/security-policy-base64", &text);
	assert_ok(base64_decode_any(buf_text(&text), text.len, &policy));
	assert_ok(report_binds(report.data, runtime.data, runtime.len));
	assert_ok(report_launched_with(report.data, policy.data, policy.len));
	assert_refused(report_binds(report.data, runtime.data, runtime.len - 1), 117, "does not begin");
	assert_refused(report_launched_with(report.data, policy.data, policy.len - 1), 117, "is not SHA-256");
	report.data[REPORT_REPORT_DATA + 63] = 1;
	assert_refused(report_binds(report.data, runtime.data, runtime.len), 117, "32 zero bytes");
}

/* ---- what the host says ---- */

/* V-22: the certificates are for another TCB than the report's. */
static void stale_certificates_are_for_the_tcb_they_name(void **state)
{
	(void)state;
	uint8_t report[REPORT_SIZE];
	char tcbm[32];
	assert_ok(change("{\"thim_tcb\":{\"microcode\":114}}"));
	auto_x509s *stale = thim_chain(tcbm);
	assert_string_equal(tcbm, "7208000000000003");
	take_report(report);
	assert_refused(verify(report, stale, false), 117, "microcode 115, the VCEK is for 114");

	assert_ok(change("{\"thim_tcb\":null,\"context_tcb\":{\"microcode\":114}}"));
	auto_x509s *fresh = thim_chain(tcbm);
	assert_string_equal(tcbm, "7308000000000003");
	assert_ok(verify(report, fresh, false));
	auto_buf text = BUF(PEM_LIMIT), certificates = BUF(PEM_LIMIT);
	assert_ok(emulator_read(&emulator, "security-context/host-amd-cert-base64", &text));
	assert_ok(base64_decode(buf_text(&text), text.len, &certificates));
	assert_non_null(strstr(buf_text(&certificates), "\"7208000000000003\""));
}

static void the_reference_info_endorses_the_measurement(void **state)
{
	(void)state;
	char zeros[97] = "", settings[160];
	auto_buf text = BUF(COSE_LIMIT), document = BUF(COSE_LIMIT);
	auto_cose parsed = {0};
	auto_rules rules = {0};
	memset(zeros, 'a', 96);
	snprintf(settings, sizeof(settings), "{\"measurement\":\"%s\",\"svn\":104}", zeros);
	assert_ok(change(settings));
	assert_ok(emulator_read(&emulator, "security-context/reference-info-base64", &text));
	assert_ok(base64_decode(buf_text(&text), text.len, &document));
	assert_ok(cose_parse(document.data, document.len, &parsed));
	assert_ok(hardware_attestation_rules(&emulator, &rules));
	const struct cose_trust trust = {
	    .roots = (const uint8_t(*)[32])rules.uvm_roots, .root_count = rules.uvm_root_count, .now = time(NULL)};
	assert_ok(cose_verify(&parsed, &trust));
	assert_non_null(memmem(parsed.payload.data, parsed.payload.len, zeros, 96));
	assert_non_null(memmem(parsed.payload.data, parsed.payload.len, "\"104\"", 5));
}

static uint32_t little_endian(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void the_certificate_table_holds_the_chain_or_nothing(void **state)
{
	(void)state;
	static const uint8_t end[24];
	auto_buf none = BUF(GUEST_TABLE_LIMIT), table = BUF(GUEST_TABLE_LIMIT);
	assert_ok(hardware_certificate_table(&emulator, &none));
	assert_int_equal(none.len, 0);

	uint8_t report[REPORT_SIZE];
	assert_ok(change("{\"certificate_table\":true}"));
	assert_ok(hardware_certificate_table(&emulator, &table));
	auto_x509s *chain = sk_X509_new_null();
	for (const uint8_t *entry = table.data; memcmp(entry, end, 24) != 0; entry += 24) {
		X509 *certificate = NULL;
		uint32_t at = little_endian(entry + 16), len = little_endian(entry + 20);
		assert_true(at >= 96 && (size_t)at + len <= table.len);
		assert_ok(certificate_from_der(table.data + at, len, &certificate));
		sk_X509_push(chain, certificate);
	}
	take_report(report);
	assert_ok(verify(report, chain, false));
}

/* ---- settings ---- */

static void settings_that_are_wrong_are_named_and_change_nothing(void **state)
{
	static const struct {
		const char *settings, *words;
	} rows[] = {
	    {"[]", "not an object"},
	    {"{\"debug\":true,\"colour\":1}", "no setting colour"},
	    {"{\"debug\":true,\"product\":\"Rome\"}", "product"},
	    {"{\"debug\":true,\"host_data\":\"00\"}", "host_data is not a text of 64"},
	    {"{\"debug\":true,\"measurement\":7}", "measurement"},
	    {"{\"debug\":true,\"tcb\":\"00\"}", "16 hexadecimal"},
	    {"{\"debug\":true,\"tcb\":{\"snp\":256}}", "snp is not a number 0 to 255"},
	    {"{\"debug\":true,\"tcb\":true}", "tcb is neither"},
	    {"{\"debug\":true,\"version\":-1}", "version"},
	    {"{\"debug\":1}", "debug is not true or false"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t report[REPORT_SIZE];
		assert_refused(change(rows[i].settings), 213, rows[i].words);
		take_report(report);
		assert_int_equal(report_u64(report, REPORT_POLICY) & REPORT_POLICY_DEBUG, 0);
	}
}

static void host_data_follows_the_policy_unless_it_is_given(void **state)
{
	(void)state;
	uint8_t report[REPORT_SIZE], digest[32], given[32];
	assert_ok(change("{\"security_policy\":\"package x\"}"));
	take_report(report);
	assert_ok(sha256("package x", 9, digest));
	assert_memory_equal(report + REPORT_HOST_DATA, digest, 32);

	memset(given, 0x11, sizeof(given));
	assert_ok(change("{\"security_policy\":\"package y\",\"host_data\":"
	                 "\"1111111111111111111111111111111111111111111111111111111111111111\"}"));
	take_report(report);
	assert_memory_equal(report + REPORT_HOST_DATA, given, 32);
}

static void a_restart_is_the_same_chip(void **state)
{
	(void)state;
	uint8_t before[REPORT_SIZE], after[REPORT_SIZE];
	take_report(before);
	auto_x509s *chain = thim_chain(NULL);
	hardware_close(&emulator);
	assert_ok(hardware_open(&emulator));
	take_report(after);
	assert_memory_equal(before + REPORT_CHIP_ID, after + REPORT_CHIP_ID, 64);
	assert_ok(verify(after, chain, false));
}

/* ---- DIR/hardware.sock ---- */

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/hardware.sock", test_directory);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static struct guest_answer ask(int fd, struct guest_request request)
{
	struct guest_answer answer = {0};
	assert_int_equal(send(fd, &request, sizeof(request), 0), sizeof(request));
	assert_int_equal(recv(fd, &answer, sizeof(answer), MSG_WAITALL), sizeof(answer));
	assert_int_equal(answer.magic, GUEST_PROTOCOL_MAGIC);
	return answer;
}

static void the_socket_answers_a_guest_with_a_report(void **state)
{
	(void)state;
	uint8_t report[REPORT_SIZE], more;
	struct guest_request request = {.magic = GUEST_PROTOCOL_MAGIC, .kind = GUEST_REPORT, .vmpl = 2};
	memcpy(request.report_data, report_data, sizeof(report_data));
	assert_ok(change("{\"certificate_table\":true}"));
	auto_x509s *chain = thim_chain(NULL);

	int fd = dial();
	struct guest_answer answer = ask(fd, request);
	assert_int_equal(answer.status, 0);
	assert_int_equal(answer.report_len, REPORT_SIZE);
	assert_true(answer.table_len > 96 && answer.table_len <= GUEST_TABLE_LIMIT);
	assert_int_equal(recv(fd, report, sizeof(report), MSG_WAITALL), sizeof(report));
	auto_buf table = BUF(GUEST_TABLE_LIMIT);
	uint8_t *place;
	assert_ok(buf_reserve(&table, answer.table_len, &place));
	assert_int_equal(recv(fd, place, answer.table_len, MSG_WAITALL), answer.table_len);
	assert_int_equal(recv(fd, &more, 1, 0), 0);
	close(fd);
	assert_ok(verify(report, chain, false));
	assert_int_equal(report_u32(report, REPORT_VMPL), 2);
}

static void the_socket_refuses_what_the_firmware_would(void **state)
{
	static const struct guest_request requests[] = {
	    {.magic = GUEST_PROTOCOL_MAGIC, .kind = GUEST_REPORT, .vmpl = 4},
	    {.magic = GUEST_PROTOCOL_MAGIC, .kind = 9},
	};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		int fd = dial();
		struct guest_answer answer = ask(fd, requests[i]);
		assert_int_equal(answer.status, 0x16);
		assert_int_equal(answer.report_len, 0);
		assert_int_equal(answer.table_len, 0);
		close(fd);
	}
}

static void the_socket_hangs_up_on_strangers_and_serves_the_next(void **state)
{
	(void)state;
	struct guest_request stranger = {.magic = 1, .kind = GUEST_REPORT};
	struct guest_request guest = {.magic = GUEST_PROTOCOL_MAGIC, .kind = GUEST_REPORT};
	uint8_t byte;
	int fd = dial();
	assert_int_equal(send(fd, &stranger, sizeof(stranger), 0), sizeof(stranger));
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
	fd = dial(); /* says nothing and goes away */
	close(fd);
	fd = dial();
	assert_int_equal(ask(fd, guest).status, 0);
	close(fd);
}

static void a_directory_too_long_for_a_socket_is_refused(void **state)
{
	(void)state;
	char directory[200] = "";
	snprintf(directory, sizeof(directory), "%s/%0100d", test_directory, 0);
	assert_int_equal(mkdir(directory, 0700), 0);
	struct emulator other = {.dir = directory};
	assert_refused(hardware_open(&other), 17, "longer than a unix socket's name");
	assert_null(other.hardware);
}

int main(void)
{
#define MACHINE_TEST(test) cmocka_unit_test_setup(test, default_machine)
	const struct CMUnitTest tests[] = {
	    MACHINE_TEST(the_default_report_is_as_the_contract_says),
	    MACHINE_TEST(every_product_makes_reports_that_verify),
	    MACHINE_TEST(certificates_look_as_amd_makes_them),
	    MACHINE_TEST(any_changed_byte_of_a_report_is_noticed),
	    MACHINE_TEST(fields_that_make_no_report_are_named),
	    MACHINE_TEST(a_report_of_another_length_is_refused),
	    MACHINE_TEST(a_masked_chip_id_cannot_be_matched),
	    MACHINE_TEST(chains_that_are_not_whole_or_not_in_time_are_refused),
	    MACHINE_TEST(an_ask_that_is_no_authority_or_signed_otherwise_is_refused),
	    MACHINE_TEST(a_report_under_another_root_is_refused),
	    MACHINE_TEST(real_reports_verify_with_their_own_vcek_alone_and_only_when_told),
	    MACHINE_TEST(a_flipped_bit_in_a_real_report_is_noticed),
	    MACHINE_TEST(a_real_vcek_under_another_products_ask_is_refused),
	    MACHINE_TEST(real_report_and_host_data_bind_what_the_vectors_readme_says),
	    MACHINE_TEST(stale_certificates_are_for_the_tcb_they_name),
	    MACHINE_TEST(the_reference_info_endorses_the_measurement),
	    MACHINE_TEST(the_certificate_table_holds_the_chain_or_nothing),
	    MACHINE_TEST(settings_that_are_wrong_are_named_and_change_nothing),
	    MACHINE_TEST(host_data_follows_the_policy_unless_it_is_given),
	    MACHINE_TEST(a_restart_is_the_same_chip),
	    MACHINE_TEST(the_socket_answers_a_guest_with_a_report),
	    MACHINE_TEST(the_socket_refuses_what_the_firmware_would),
	    MACHINE_TEST(the_socket_hangs_up_on_strangers_and_serves_the_next),
	    MACHINE_TEST(a_directory_too_long_for_a_socket_is_refused),
	};
	return cmocka_run_group_tests(tests, open_hardware, close_hardware);
}
