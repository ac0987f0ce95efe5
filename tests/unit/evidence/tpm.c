/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to the TPM (failure matrix V-12 to V-14, V-19), and what the structures of real machines say
 * (tests/data/cvm/README.md).
 */
#include "evidence/tpm.h"
#include "evidence/hcl.h"
#include "evidence/tpm_structure.h"
#include "played_tpm.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define ALL_PCRS 0xffffffU

/* --- Captured quotes: signature and TPMS_ATTEST, each behind its length; a count, 24 PCR values --- */

struct captured_quote {
	struct buf signature, attest;
	uint8_t pcrs[24][32];
};

static void take_part(const struct buf *from, size_t *at, struct buf *out)
{
	uint64_t len = 0;

	for (int i = 7; i >= 0; i--)
		len = len << 8 | from->data[*at + (size_t)i];
	*at += 8;
	assert_true(len <= 512 && *at + len <= from->len);
	assert_ok(buf_append(out, from->data + *at, len));
	*at += len;
}

static void quote_done(struct captured_quote *quote)
{
	buf_done(&quote->signature);
	buf_done(&quote->attest);
}

static struct captured_quote read_quote(const char *name)
{
	struct captured_quote quote = {.signature = BUF(512), .attest = BUF(512)};
	auto_buf bytes = BUF(4096);
	size_t at = 0;

	read_cvm(name, &bytes);
	take_part(&bytes, &at, &quote.signature);
	take_part(&bytes, &at, &quote.attest);
	at += 8;
	assert_int_equal(bytes.len, at + sizeof(quote.pcrs));
	memcpy(quote.pcrs, bytes.data + at, sizeof(quote.pcrs));
	return quote;
}
#define auto_quote __attribute__((cleanup(quote_done))) struct captured_quote

static EVP_PKEY *claimed_key(const char *name)
{
	auto_buf bytes = BUF(4096);
	auto_hcl_report report = {0};
	EVP_PKEY *key = NULL;

	read_cvm(name, &bytes);
	assert_ok(hcl_report_parse(bytes.data, bytes.len, &report));
	assert_ok(hcl_report_key(&report, "HCLAkPub", &key));
	return key;
}

static EVP_PKEY *pem_key(const char *name)
{
	auto_buf bytes = BUF(4096);

	read_cvm(name, &bytes);
	auto_bio *bio = BIO_new_mem_buf(bytes.data, (int)bytes.len);
	EVP_PKEY *key = PEM_read_bio_PUBKEY_ex(bio, NULL, NULL, NULL, ossl, NULL);
	assert_non_null(key);
	return key;
}

static skr_status check_quote(const struct captured_quote *quote, EVP_PKEY *key, uint32_t mask, bool *ret_current)
{
	uint8_t digest[32];

	TRY(tpm_pcr_digest(quote->pcrs, 24, digest));
	return tpm_quote_check(&quote->attest, &quote->signature, key, mask, digest, ret_current);
}

static void captured_quotes_verify_with_the_key_of_their_machine_alone(void **state)
{
	(void)state;
	static const char *const quotes[] = {"snp-hdr1-vcek/quote.bin", "tdx-with-quote/quote.bin",
	                                     "quote-akpub/quote.bin"};
	EVP_PKEY *keys[] = {claimed_key("snp-hdr1-vcek/hcl-report.bin"), claimed_key("tdx-with-quote/hcl-report.bin"),
	                    pem_key("quote-akpub/akpub.pem")};

	for (int q = 0; q < 3; q++) {
		auto_quote quote = read_quote(quotes[q]);
		for (int k = 0; k < 3; k++) {
			bool current = false;
			if (q != k) {
				assert_fails(check_quote(&quote, keys[k], ALL_PCRS, &current), 150, "not signed");
				continue;
			}
			assert_ok(check_quote(&quote, keys[k], ALL_PCRS, &current));
			assert_true(current);
		}
	}
	for (int k = 0; k < 3; k++)
		EVP_PKEY_free(keys[k]);
}

/* Of another machine, whatever the collection's description says. */
static void a_quote_of_an_unknown_key_is_refused(void **state)
{
	(void)state;
	auto_quote quote = read_quote("snp-hdr1-vcek/quote.bin");
	auto_pkey *key = claimed_key("snp-hdr1-vcek/hcl-report.bin");
	bool current;

	quote.attest.len = quote.signature.len = 0;
	read_cvm("snp-hdr1-vcek/tpm-quote.msg", &quote.attest);
	read_cvm("snp-hdr1-vcek/tpm-quote.sig", &quote.signature);
	assert_fails(check_quote(&quote, key, ALL_PCRS, &current), 150, "not signed");
}

static void a_quote_says_which_pcrs_and_whether_they_are_these(void **state)
{
	(void)state;
	auto_quote quote = read_quote("snp-hdr1-vcek/quote.bin");
	auto_pkey *key = claimed_key("snp-hdr1-vcek/hcl-report.bin");
	bool current = true;

	assert_fails(check_quote(&quote, key, TPM_GUEST_PCRS, &current), 150, "other PCRs");
	assert_true(current);
	quote.pcrs[23][31] ^= 1;
	assert_ok(check_quote(&quote, key, ALL_PCRS, &current));
	assert_false(current);
}

static void a_flipped_bit_of_a_quote_is_noticed(void **state)
{
	(void)state;
	auto_quote quote = read_quote("snp-hdr1-vcek/quote.bin");
	auto_pkey *key = claimed_key("snp-hdr1-vcek/hcl-report.bin");
	bool current;

	for (size_t at = 0; at < quote.attest.len; at++) {
		quote.attest.data[at] ^= 4;
		assert_fails(check_quote(&quote, key, ALL_PCRS, &current), 150, "not signed");
		quote.attest.data[at] ^= 4;
	}
	for (size_t at = 0; at < quote.signature.len; at += 15) {
		quote.signature.data[at] ^= 4;
		assert_fails(check_quote(&quote, key, ALL_PCRS, &current), 150, "not signed");
		quote.signature.data[at] ^= 4;
	}
	quote.signature.len = 255;
	assert_fails(check_quote(&quote, key, ALL_PCRS, &current), 150, "not signed");
}

/* --- A whole request of a Trusted Launch VM (Windows, so more PCRs) --- */

struct request {
	struct buf ak_certificate, ak_public, quote, quote_signature, transport_public, certify, certify_signature;
	uint8_t pcrs[24][32];
	size_t pcr_count;
	uint32_t mask;
};

static void take_member(const json *from, const char *name, struct buf *out)
{
	const char *text;

	*out = BUF(4096);
	assert_ok(json_string(from, name, &text));
	assert_ok(base64_decode(text, strlen(text), out));
}

static struct request read_request(void)
{
	struct request request = {0};
	auto_buf bytes = BUF(16 * 1024);
	auto_json *info = NULL;

	read_cvm("trustedlaunch-azureguest/TpmInfo.json", &bytes);
	assert_ok(json_parse(bytes.data, bytes.len, &info));
	take_member(info, "AikCert", &request.ak_certificate);
	take_member(info, "AikPub", &request.ak_public);
	take_member(info, "PcrQuote", &request.quote);
	take_member(info, "PcrSignature", &request.quote_signature);
	take_member(info, "EncKeyPub", &request.transport_public);
	take_member(info, "EncKeyCertifyInfo", &request.certify);
	take_member(info, "EncKeyCertifyInfoSignature", &request.certify_signature);
	for (const json *pcr = json_first(json_get(info, "PCRs")); pcr; pcr = json_next(pcr)) {
		auto_buf value = {0};
		int64_t index;
		take_member(pcr, "Digest", &value);
		assert_int_equal(value.len, 32);
		assert_ok(json_integer(pcr, "Index", false, &index));
		request.mask |= 1U << index;
		memcpy(request.pcrs[request.pcr_count++], value.data, 32);
	}
	return request;
}

static void request_done(struct request *request)
{
	buf_done(&request->ak_certificate);
	buf_done(&request->ak_public);
	buf_done(&request->quote);
	buf_done(&request->quote_signature);
	buf_done(&request->transport_public);
	buf_done(&request->certify);
	buf_done(&request->certify_signature);
}
#define auto_request __attribute__((cleanup(request_done))) struct request

static void a_captured_request_passes_every_check(void **state)
{
	(void)state;
	auto_request request = read_request();
	auto_pkey *key = NULL;
	uint8_t digest[32], policy[32], name[TPM_NAME_SIZE];
	bool current = false;

	assert_int_equal(request.mask, 0x78ff);
	assert_ok(tpm_attestation_key(&request.ak_public, &key));
	assert_ok(tpm_pcr_digest(request.pcrs, request.pcr_count, digest));
	assert_ok(tpm_quote_check(&request.quote, &request.quote_signature, key, request.mask, digest, &current));
	assert_true(current);
	assert_ok(tpm_pcr_policy(request.mask, digest, policy));
	assert_ok(tpm_transport_check(&request.transport_public, policy));
	assert_ok(tpm_public_name(&request.transport_public, name));
	assert_ok(tpm_certify_check(&request.certify, &request.certify_signature, key, name));

	const uint8_t *at = request.ak_certificate.data;
	auto_x509 *certificate = X509_new_ex(ossl, NULL);
	assert_non_null(d2i_X509(&certificate, &at, (long)request.ak_certificate.len));
	assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(certificate), key), 1);
}

static void a_captured_request_fails_with_what_is_not_its_own(void **state)
{
	(void)state;
	auto_request request = read_request();
	auto_pkey *key = NULL;
	uint8_t digest[32], policy[32], name[TPM_NAME_SIZE];
	bool current;

	assert_ok(tpm_attestation_key(&request.ak_public, &key));
	assert_ok(tpm_pcr_digest(request.pcrs, request.pcr_count, digest));
	assert_ok(tpm_pcr_policy(TPM_GUEST_PCRS, digest, policy));
	assert_fails(tpm_transport_check(&request.transport_public, policy), 150, "0x00020432");
	assert_ok(tpm_public_name(&request.ak_public, name));
	assert_fails(tpm_certify_check(&request.certify, &request.certify_signature, key, name), 150, "another key");
	/* One in place of the other: signed by the right key, but no such structure. */
	assert_fails(tpm_certify_check(&request.quote, &request.quote_signature, key, name), 150, "8018");
	assert_fails(tpm_quote_check(&request.certify, &request.certify_signature, key, request.mask, digest, &current),
	             150, "8017");
}

static void public_areas_end_where_they_say(void **state)
{
	(void)state;
	auto_request request = read_request();
	auto_pkey *key = NULL;
	uint8_t name[TPM_NAME_SIZE];
	size_t whole = request.ak_public.len;

	for (size_t len = 0; len < whole; len++) {
		request.ak_public.len = len;
		assert_fails(tpm_attestation_key(&request.ak_public, &key), 137, "");
	}
	request.ak_public.len = whole;
	assert_ok(buf_append(&request.ak_public, "", 1));
	assert_fails(tpm_public_name(&request.ak_public, name), 137, "");
	request.ak_public.data[1]++;
	assert_fails(tpm_public_name(&request.ak_public, name), 137, "");
	assert_null(key);
}

/* AikPub: size 0, type 2, nameAlg 4, attributes 6, authPolicy 10 (2 + 32), symmetric 44, scheme 46, hash 48, bits 50.
 */
static void a_key_that_signs_anything_is_no_attestation_key(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		uint8_t to;
		int failure;
		const char *words;
	} cases[] = {
	    {7, 0x04, 147, "0x00040472"},    /* not restricted: signs what looks like a quote */
	    {7, 0x07, 147, "0x00070472"},    /* decrypts too */
	    {9, 0x70, 147, "0x00050470"},    /* may be in several TPMs */
	    {9, 0x62, 147, "0x00050462"},    /* may move to another parent */
	    {8, 0x04 | 0x00, 0, ""},         /* as it was */
	    {9, 0x52, 147, "0x00050452"},    /* brought in from outside */
	    {47, 0x16, 147, "scheme 0016"},  /* RSAPSS */
	    {49, 0x0c, 147, "with 000c"},    /* SHA-384 */
	    {50, 0x0c, 147, "bits"},         /* 3072 bits */
	    {5, 0x0c, 147, "names by 000c"}, /* SHA-384 */
	    {58, 0x01, 147, "bits"},         /* a short modulus */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		auto_request request = read_request();
		auto_pkey *key = NULL;
		request.ak_public.data[cases[i].at] = cases[i].to;
		skr_status status = tpm_attestation_key(&request.ak_public, &key);
		if (status.failure != cases[i].failure || !strstr(status_message(), cases[i].words))
			fail_msg("case %zu: SKR-%03d %s", i, status.failure, status_message());
		status_clear();
	}
}

static void a_transport_key_is_the_one_asked_for(void **state)
{
	(void)state;
	auto_request request = read_request();
	uint8_t digest[32], policy[32];

	assert_ok(tpm_pcr_digest(request.pcrs, request.pcr_count, digest));
	assert_ok(tpm_pcr_policy(request.mask, digest, policy));
	/* Every byte before the modulus counts, and the first of it. */
	for (size_t at = 2; at < request.transport_public.len - 255; at++) {
		request.transport_public.data[at] ^= 0x80;
		skr_status status = tpm_transport_check(&request.transport_public, policy);
		if (status.failure != 150 && status.failure != 137)
			fail_msg("byte %zu: SKR-%03d", at, status.failure);
		request.transport_public.data[at] ^= 0x80;
	}
	assert_ok(tpm_transport_check(&request.transport_public, policy));
}

static void templates_differ_and_are_transport_keys_but_for_the_modulus(void **state)
{
	(void)state;
	static const uint8_t policy[32] = "policy";
	auto_buf first = BUF(TPM_PUBLIC_SIZE), second = BUF(TPM_PUBLIC_SIZE);

	assert_ok(tpm_transport_template(policy, &first));
	assert_ok(tpm_transport_template(policy, &second));
	assert_int_equal(first.len, 312);
	assert_memory_equal(first.data, second.data, first.len - 256);
	assert_memory_not_equal(first.data + first.len - 256, second.data + second.len - 256, 256); /* I-12 */
	first.data[first.len - 256] |= 0x80;
	assert_ok(tpm_transport_check(&first, policy));
}

/* --- The way to it: V-12 --- */

static skr_status open_only(const char *tcti, int64_t ms)
{
	auto_tpm *tpm = NULL;

	return tpm_open(tcti, deadline_in(ms), &tpm);
}

static void what_is_no_device_is_said_to_be_absent(void **state)
{
	(void)state;
	char path[] = "/tmp/skr-no-tpm-XXXXXX", tcti[64];

	assert_fails(open_only("device:/dev/skr-no-such-device", 1000), 100, "No such file");
	assert_non_null(mkdtemp(path));
	snprintf(tcti, sizeof(tcti), "device:%s", path);
	assert_fails(open_only(tcti, 1000), 100, "Is a directory");
	rmdir(path);
}

/* Runs `call` in a child without root's rights; its failure's number, and its words in `ret_words`. */
static int as_nobody(skr_status (*call)(const char *), const char *argument, char ret_words[640])
{
	int status;
	char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child = fork();

	if (child == 0) {
		if (setgid(65534) != 0 || setuid(65534) != 0)
			_exit(255);
		int failure = call(argument).failure;
		snprintf(shared, 640, "%s", status_message());
		_exit(failure % 255);
	}
	waitpid(child, &status, 0);
	memcpy(ret_words, shared, 640);
	munmap(shared, 4096);
	return WEXITSTATUS(status);
}

static skr_status open_within_two_seconds(const char *tcti)
{
	return open_only(tcti, 2000);
}

static void a_device_without_rights_names_who_may_use_it(void **state)
{
	(void)state;
	char path[] = "/tmp/skr-tpm-XXXXXX", tcti[64], words[640];

	if (geteuid() != 0)
		skip();
	int fd = mkstemp(path);
	assert_int_equal(fchmod(fd, 0600), 0);
	close(fd);
	snprintf(tcti, sizeof(tcti), "device:%s", path);
	assert_int_equal(as_nobody(open_within_two_seconds, tcti, words), 101); /* V-12 */
	assert_non_null(strstr(words, "uid 65534"));
	assert_non_null(strstr(words, "group root"));
	assert_non_null(strstr(words, "tss"));
	unlink(path);
}

static void a_busy_device_is_tried_four_times(void **state)
{
	(void)state;
	char tcti[96], words[640];

	if (geteuid() != 0)
		skip();
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_int_equal(fchmod(slave, 0666), 0);
	assert_int_equal(ioctl(slave, TIOCEXCL), 0);
	snprintf(tcti, sizeof(tcti), "device:%s", ptsname(master));
	int64_t before = monotonic_ms();
	assert_int_equal(as_nobody(open_within_two_seconds, tcti, words), 130); /* V-12 */
	assert_non_null(strstr(words, "busy"));
	assert_true(monotonic_ms() - before >= 700 && monotonic_ms() - before < 1900); /* 100 + 200 + 400 ms */
	close(slave);
	close(master);
}

static void a_socket_that_nobody_listens_at_is_said(void **state)
{
	(void)state;
	assert_fails(open_only("swtpm:host=127.0.0.1,port=1", 1000), 130, "Connection refused");
}

static void tpm2_tss_prints_nothing(void **state)
{
	(void)state;
	char path[] = "/tmp/skr-tpm-stderr-XXXXXX", printed[64] = "";
	int file = mkstemp(path), before = dup(STDERR_FILENO);

	dup2(file, STDERR_FILENO);
	skr_status status = open_only("swtpm:host=localhost,port=1", 1000);
	dup2(before, STDERR_FILENO);
	assert_int_equal(status.failure, 130);
	assert_non_null(strstr(status_message(), "swtpm:host=localhost,port=1"));
	assert_int_equal(pread(file, printed, sizeof(printed) - 1, 0), 0);
	close(before);
	close(file);
	unlink(path);
}

/* --- Its answers: V-13, V-14, V-19 --- */

static const struct tpm_nv certificate_index = {INDEX_CERTIFICATE, "the certificate", 146};

static skr_status make_key(struct tpm *tpm, uint32_t *ret_handle)
{
	static const uint8_t policy[32] = "policy";
	auto_buf template = BUF(TPM_PUBLIC_SIZE), public_area = BUF(TPM_PUBLIC_SIZE);

	TRY(tpm_transport_template(policy, &template));
	return tpm_create_primary(tpm, &template, ret_handle, &public_area);
}

static skr_status one_certify(int64_t ms)
{
	auto_tpm *tpm = NULL;
	auto_buf certify = BUF(TPM_ATTEST_SIZE), signature = BUF(512);
	uint32_t handle;

	TRY(tpm_open(played.device, deadline_in(ms), &tpm));
	TRY(make_key(tpm, &handle));
	return tpm_certify(tpm, handle, TPM_AK_HANDLE, &certify, &signature);
}

static void what_asks_to_try_later_is_tried_again(void **state)
{
	NEED_TPM();
	static const struct {
		uint32_t code;
		const char *words; /* tpm2-tss's for it */
	} codes[] = {
	    {0x922, "not able to start"},
	    {0x908, "suspended operation"},
	    {0x90a, "selftests"},
	    {0x920, "rate limiting"},
	    {0x902, "object contexts"},
	    {0x903, "session contexts"},
	    {0x904, "out of"},
	    {0x905, "session handles"},
	    {0x923, "NV"},
	    {0xb0902, "object contexts"}, /* a resource manager's */
	};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct fault fault = {.command = CC_CERTIFY, .times = 2, .kind = FAULT_CODE, .code = codes[i].code};
		strike(&played, fault);
		assert_ok(one_certify(5000));
		fault.times = 99;
		strike(&played, fault);
		assert_fails(one_certify(600), 131, "TPM2_Certify"); /* V-13 */
		assert_non_null(strstr(status_message(), codes[i].words));
		assert_nothing_left(&played);
	}
}

static void it_is_tried_eight_times_and_counted(void **state)
{
	NEED_TPM();
	auto_tpm *tpm = NULL;
	uint8_t pcrs[GUEST_PCRS][32];
	int64_t before = monotonic_ms();

	strike(&played, (struct fault){.command = CC_PCR_READ, .times = 99, .kind = FAULT_CODE, .code = 0x922});
	assert_ok(tpm_open(played.device, deadline_in(20000), &tpm));
	assert_fails(tpm_read_pcrs(tpm, pcrs), 131, "8 times"); /* V-13 */
	assert_int_equal(tpm_commands(tpm), 8);
	assert_int_equal(played.commands, 8);
	assert_true(monotonic_ms() - before >= 5100 && monotonic_ms() - before < 6500);
}

static void lockout_is_said_with_its_interval_and_nothing_authorised_follows(void **state)
{
	NEED_TPM();
	strike(&played, (struct fault){.command = CC_CERTIFY, .times = 99, .kind = FAULT_CODE, .code = 0x921});
	assert_fails(one_certify(5000), 132, "every"); /* V-14 */
	/* The key, its certification, the interval, the flush. */
	assert_int_equal(played.commands, 4);
	assert_int_equal(played.seen[2], CC_GET_CAPABILITY);
	assert_int_equal(played.seen[3], CC_FLUSH);
	assert_nothing_left(&played);
}

static void a_password_on_the_hierarchy_is_said(void **state)
{
	NEED_TPM();
	auto_tpm *tpm = NULL;
	auto_buf bytes = BUF(64);

	tools(&played, "tpm2_changeauth -c owner secret");
	assert_ok(tpm_open(played.device, deadline_in(5000), &tpm));
	assert_fails(tpm_nv_read(tpm, &certificate_index, 0, 16, &bytes), 101, "password");
	tools(&played, "tpm2_changeauth -c owner -p secret");
}

static skr_status one_of_each(struct tpm *tpm)
{
	uint8_t pcrs[GUEST_PCRS][32];
	uint32_t handle, loaded;
	size_t size;
	auto_buf bytes = BUF(16 * 1024), context = BUF(8 * 1024), attest = BUF(2048), signature = BUF(1024);

	TRY(tpm_nv_size(tpm, &certificate_index, &size));
	TRY(tpm_nv_read(tpm, &certificate_index, 0, 64, &bytes));
	TRY(tpm_read_public(tpm, TPM_AK_HANDLE, &bytes));
	TRY(tpm_read_pcrs(tpm, pcrs));
	TRY(make_key(tpm, &handle));
	TRY(tpm_context_save(tpm, handle, &context));
	TRY(tpm_context_load(tpm, &context, &loaded));
	TRY(tpm_certify(tpm, handle, TPM_AK_HANDLE, &attest, &signature));
	return tpm_quote(tpm, TPM_AK_HANDLE, &attest, &signature);
}

/* An inverted byte anywhere in the first hundred of each answer: noticed here, or by the checks of what was signed. */
static void answers_with_a_wrong_byte_never_hang_and_leave_nothing(void **state)
{
	NEED_TPM();
	static const uint32_t commands[] = {CC_NV_READ_PUBLIC, CC_NV_READ,        CC_READ_PUBLIC,
	                                    CC_PCR_READ,       CC_CREATE_PRIMARY, CC_CONTEXT_SAVE,
	                                    CC_CONTEXT_LOAD,   CC_CERTIFY,        CC_QUOTE};
	int refused = 0;

	for (size_t c = 0; c < sizeof(commands) / sizeof(commands[0]); c++)
		for (uint32_t at = 0; at < 50; at += at < 16 ? 1 : 7) {
			auto_tpm *tpm = NULL;
			int64_t before = monotonic_ms();
			strike(&played,
			       (struct fault){.command = commands[c], .times = 1, .kind = FAULT_FLIP, .code = at});
			assert_ok(tpm_open(played.device, deadline_in(1000), &tpm));
			refused += one_of_each(tpm).failure != 0; /* V-19 */
			assert_true(monotonic_ms() - before < 4000);
			tpm_close(TAKE(tpm));
			client_gone(&played); /* a handle with a wrong byte cannot be flushed by us */
		}
	assert_true(refused > 100);
	print_message("%d answers refused\n", refused);
	assert_nothing_left(&played);
}

static void a_reply_that_breaks_off_is_malformed(void **state)
{
	NEED_TPM();
	auto_tpm *tpm = NULL;
	uint8_t pcrs[GUEST_PCRS][32];
	int64_t before = monotonic_ms();

	strike(&played, (struct fault){.command = CC_PCR_READ, .times = 1, .kind = FAULT_TRUNCATE, .code = 5});
	assert_ok(tpm_open(played.device, deadline_in(20000), &tpm));
	assert_fails(tpm_read_pcrs(tpm, pcrs), 137, "ended after"); /* V-19 */
	assert_true(monotonic_ms() - before < 3500);
}

static void a_tpm_that_never_answers_does_not_outlast_the_deadline(void **state)
{
	NEED_TPM();
	strike(&played, (struct fault){.command = CC_CREATE_PRIMARY, .times = 1, .kind = FAULT_SILENCE});
	int64_t before = monotonic_ms();
	assert_fails(one_certify(700), 130, "TPM2_CreatePrimary"); /* V-12 */
	assert_true(monotonic_ms() - before < 1500);
}

static void nor_does_one_behind_a_socket(void **state)
{
	NEED_TPM();
	auto_tpm *tpm = NULL;
	uint8_t pcrs[GUEST_PCRS][32];

	assert_ok(tpm_open(played.swtpm_tcti, deadline_in(700), &tpm));
	kill(played.swtpm, SIGSTOP);
	int64_t before = monotonic_ms();
	skr_status status = tpm_read_pcrs(tpm, pcrs);
	tpm_close(TAKE(tpm));
	int64_t took = monotonic_ms() - before;
	kill(played.swtpm, SIGCONT);
	assert_fails(status, 130, "does not answer");
	assert_true(took < 1500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, each)
	    TEST(tpm2_tss_prints_nothing), /* the first: tpm2-tss asks once whether it may */
	    TEST(captured_quotes_verify_with_the_key_of_their_machine_alone),
	    TEST(a_quote_of_an_unknown_key_is_refused),
	    TEST(a_quote_says_which_pcrs_and_whether_they_are_these),
	    TEST(a_flipped_bit_of_a_quote_is_noticed),
	    TEST(a_captured_request_passes_every_check),
	    TEST(a_captured_request_fails_with_what_is_not_its_own),
	    TEST(public_areas_end_where_they_say),
	    TEST(a_key_that_signs_anything_is_no_attestation_key),
	    TEST(a_transport_key_is_the_one_asked_for),
	    TEST(templates_differ_and_are_transport_keys_but_for_the_modulus),
	    TEST(what_is_no_device_is_said_to_be_absent),
	    TEST(a_device_without_rights_names_who_may_use_it),
	    TEST(a_busy_device_is_tried_four_times),
	    TEST(a_socket_that_nobody_listens_at_is_said),
	    TEST(what_asks_to_try_later_is_tried_again),
	    TEST(it_is_tried_eight_times_and_counted),
	    TEST(lockout_is_said_with_its_interval_and_nothing_authorised_follows),
	    TEST(a_password_on_the_hierarchy_is_said),
	    TEST(answers_with_a_wrong_byte_never_hang_and_leave_nothing),
	    TEST(a_reply_that_breaks_off_is_malformed),
	    TEST(a_tpm_that_never_answers_does_not_outlast_the_deadline),
	    TEST(nor_does_one_behind_a_socket),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
