/* SPDX-License-Identifier: Apache-2.0 */
/* What is collected from the vTPM of an Azure machine, and what is opened by it (failure matrix V-12 to V-19, I-34). */
#include "evidence/azure_cvm.h"
#include "evidence/tpm_structure.h"
#include "played_tpm.h"

#include <openssl/rsa.h>

#define DEADLINE deadline_in(20000)

static const uint8_t ours[64] = "the SHA-512 of the runtime data, as the caller has computed it..";

static skr_status collect(enum vtpm_want want, struct vtpm_machine *ret)
{
	return vtpm_collect(played.device, want, ours, DEADLINE, ret);
}

static skr_status collect_and_forget(enum vtpm_want want)
{
	auto_vtpm_machine machine = {0};

	return collect(want, &machine);
}

/* --- What is collected --- */

static EVP_PKEY *transport_key(const struct vtpm_machine *machine)
{
	const struct buf *public_area = &machine->evidence.transport_public;
	BIGNUM *n = BN_bin2bn(public_area->data + public_area->len - 256, 256, NULL);
	EVP_PKEY *key = NULL;
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_name(ossl, "RSA", NULL);
	uint8_t modulus[256];
	unsigned exponent = 65537;
	OSSL_PARAM params[] = {OSSL_PARAM_construct_BN("n", modulus, sizeof(modulus)),
	                       OSSL_PARAM_construct_uint("e", &exponent), OSSL_PARAM_construct_end()};

	assert_int_equal(BN_bn2nativepad(n, modulus, sizeof(modulus)), 256);
	BN_free(n);
	assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
	assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
	return key;
}

/* As a service encrypts: `digest` NULL is PKCS#1 v1.5. */
static void seal_to(const struct vtpm_machine *machine, const char *digest, const char *text, uint8_t out[256])
{
	auto_pkey *key = transport_key(machine);
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, key, NULL);
	size_t len = 256;

	assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, digest ? RSA_PKCS1_OAEP_PADDING : RSA_PKCS1_PADDING), 1);
	if (digest)
		assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, digest, NULL), 1);
	assert_int_equal(EVP_PKEY_encrypt(ctx, out, &len, (const uint8_t *)text, strlen(text)), 1);
	assert_int_equal(len, 256);
}

static skr_status open_text(struct vtpm_machine *machine, const char *digest, const uint8_t sealed[256],
                            const char *expected)
{
	auto_buf opened = BUF(512);
	skr_status status =
	    vtpm_transport_open(played.device, &machine->transport, digest, sealed, 256, DEADLINE, &opened);

	if (!status.failure)
		assert_string_equal(buf_text(&opened), expected);
	return status;
}

static void a_confidential_machine_is_collected_with_the_fewest_commands(void **state)
{
	NEED_TPM();
	auto_vtpm_machine machine = {0};
	const struct guest_evidence *evidence = &machine.evidence;

	assert_ok(collect_and_forget(VTPM_CONFIDENTIAL)); /* defines the input's index */
	calm(&played);
	assert_ok(collect(VTPM_CONFIDENTIAL, &machine));
	assert_int_equal(evidence->isolation, ISOLATION_SNP);
	assert_memory_equal(machine.hcl.user_data, ours, 64);
	assert_int_equal(evidence->claims.len, machine.hcl.claims.len);
	assert_int_equal(evidence->ak_public.len, 282);
	assert_int_equal(evidence->quote.len, 113);
	assert_int_equal(evidence->quote_signature.len, 256);
	assert_int_equal(evidence->transport_public.len, 312);
	assert_int_equal(evidence->certify.len, 141);
	assert_int_equal(evidence->certify_signature.len, 256);
	assert_memory_equal(evidence->pcrs[0], evidence->pcrs[7], 32); /* each was extended with the same */
	assert_int_equal(machine.ak_certificate_state, AK_CERTIFICATE_GOOD);
	assert_int_equal(machine.ak_certificate_days, 300);
	assert_string_equal(machine.ak_certificate_issuer, "CN=Global Virtual TPM CA - 03");

	/*
	 * Size and three pieces of the report, writing of the input, AK, size and piece of its certificate,
	 * PCRs, quote, primary, context, certify, flush.
	 */
	assert_int_equal(machine.transport.commands, 14);
	assert_int_equal(played.commands, 14);
	assert_int_equal(machine.transport.primaries, 1);
	assert_nothing_left(&played);
}

static void what_is_sealed_to_the_transport_key_opens(void **state)
{
	NEED_TPM();
	static const char *const digests[] = {NULL, "SHA1", "SHA256", "SHA384", "SHA512"};
	auto_vtpm_machine machine = {0};
	uint8_t sealed[256];

	assert_ok(collect(VTPM_CONFIDENTIAL, &machine));
	unsigned before = machine.transport.commands;
	for (int i = 0; i < 5; i++) {
		seal_to(&machine, digests[i], "thirty-two bytes of an inner key", sealed);
		assert_ok(open_text(&machine, digests[i], sealed, "thirty-two bytes of an inner key"));
		assert_nothing_left(&played);
	}
	/* Context, session, policy, decryption, flush of the object; the session ends by itself. */
	assert_int_equal(machine.transport.commands, before + 5 * 5);
	assert_int_equal(machine.transport.primaries, 1);
}

static void each_collection_has_a_transport_key_of_its_own(void **state)
{
	NEED_TPM();
	auto_vtpm_machine first = {0}, second = {0};
	uint8_t sealed[256];

	assert_ok(collect(VTPM_CONFIDENTIAL, &first));
	assert_ok(collect(VTPM_CONFIDENTIAL, &second));
	assert_memory_not_equal(first.transport.name, second.transport.name, 34); /* I-12 */
	seal_to(&first, "SHA256", "of the first", sealed);
	assert_fails(open_text(&second, "SHA256", sealed, ""), 341, "TPM2_RSA_Decrypt");
	assert_nothing_left(&played);
}

static void collect_and_open_by(const char *tcti)
{
	auto_vtpm_machine machine = {0};
	auto_buf opened = BUF(512);
	uint8_t sealed[256];

	assert_ok(vtpm_collect(tcti, VTPM_CONFIDENTIAL, ours, DEADLINE, &machine));
	seal_to(&machine, "SHA256", "an AES key", sealed);
	assert_ok(vtpm_transport_open(tcti, &machine.transport, "SHA256", sealed, 256, DEADLINE, &opened));
	assert_string_equal(buf_text(&opened), "an AES key");
	assert_int_equal(machine.transport.commands, 13 + 5); /* the report has two pieces here */
	assert_nothing_left(&played);
}

static void a_tpm_is_reached_by_a_socket_and_by_tpm2_tss(void **state)
{
	NEED_TPM();
	char by_tpm2_tss[64];

	played.plays_paravisor = false;
	played.report_size = 2048;
	install_report(&played, ours);
	played.report_size = 2600;
	collect_and_open_by(played.swtpm_tcti);
	snprintf(by_tpm2_tss, sizeof(by_tpm2_tss), "swtpm:host=localhost,port=%d", played.port); /* a name */
	collect_and_open_by(by_tpm2_tss);
}

static void the_report_alone_needs_no_key_of_the_tpm(void **state)
{
	NEED_TPM();
	auto_vtpm_machine machine = {0};

	assert_ok(collect(VTPM_REPORT_ALONE, &machine));
	assert_true(machine.evidence.claims.len > 0);
	assert_int_equal(machine.evidence.quote.len, 0);
	assert_int_equal(machine.transport.primaries, 0);
	assert_nothing_left(&played);
}

static void trusted_launch_looks_for_no_report(void **state)
{
	NEED_TPM();
	auto_vtpm_machine machine = {0};

	assert_ok(collect(VTPM_TRUSTED_LAUNCH, &machine));
	assert_int_equal(machine.evidence.isolation, ISOLATION_TRUSTED_LAUNCH);
	assert_int_equal(machine.evidence.claims.len, 0);
	assert_true(machine.evidence.ak_certificate.len > 256);
	for (int i = 0; i < played.commands; i++)
		assert_true(played.seen[i] != CC_NV_WRITE);
	assert_nothing_left(&played);
}

/* --- The report and the guest's input: V-15 to V-18 --- */

static void without_a_report_it_is_no_confidential_vm(void **state)
{
	NEED_TPM();
	played.plays_paravisor = false;
	run_tools(&played, "tpm2_nvundefine -C o 0x01400001");
	assert_fails(collect_and_forget(VTPM_CONFIDENTIAL), 134, "evidence = trusted-launch"); /* V-16, 0x18B */
	tools(&played, "tpm2_nvdefine -C o -s 2048 -a 'ownerread|ownerwrite|authread|authwrite' 0x01400001");
	assert_fails(collect_and_forget(VTPM_CONFIDENTIAL), 134, "0x14a"); /* V-16 */
	assert_nothing_left(&played);
}

static void the_input_is_defined_where_it_is_missing_or_has_another_size(void **state)
{
	NEED_TPM();
	run_tools(&played, "tpm2_nvundefine -C o 0x01400002");
	assert_ok(collect_and_forget(VTPM_CONFIDENTIAL)); /* V-15 */
	tools(&played, "tpm2_nvundefine -C o 0x01400002\n"
	               "tpm2_nvdefine -C o -s 48 -a 'ownerread|ownerwrite|authread|authwrite' 0x01400002");
	assert_ok(collect_and_forget(VTPM_CONFIDENTIAL));
	tools(&played, "tpm2_nvundefine -C o 0x01400002\n"
	               "tpm2_nvdefine -C o -s 100 -a 'ownerread|ownerwrite|authread|authwrite' 0x01400002");
	assert_ok(collect_and_forget(VTPM_CONFIDENTIAL)); /* enough of it */
	tools(&played, "tpm2_nvundefine -C o 0x01400002");
	assert_ok(collect_and_forget(VTPM_CONFIDENTIAL));
}

static void an_input_that_may_not_be_defined_is_an_administrators_matter(void **state)
{
	NEED_TPM();
	run_tools(&played, "tpm2_nvundefine -C o 0x01400002");
	strike(&played, (struct fault){.command = CC_NV_DEFINE, .times = 1, .kind = FAULT_CODE, .code = 0x14b});
	assert_fails(collect_and_forget(VTPM_CONFIDENTIAL), 133, "tpm2_nvdefine 0x01400002 -C o -s 64");
	assert_ok(collect_and_forget(VTPM_CONFIDENTIAL));
	strike(&played, (struct fault){.command = CC_NV_WRITE, .times = 2, .kind = FAULT_CODE, .code = 0x148});
	assert_fails(collect_and_forget(VTPM_CONFIDENTIAL), 133, "TPM2_NV_Write");
	assert_nothing_left(&played);
}

static void a_report_that_comes_late_is_waited_for(void **state)
{
	NEED_TPM();
	played.refresh_ms = 1200;
	assert_ok(collect_and_forget(VTPM_CONFIDENTIAL)); /* V-17 */
}

static void a_report_that_never_comes_is_not_replaced_by_an_old_one(void **state)
{
	NEED_TPM();
	uint8_t others[64] = "another login's";
	auto_vtpm_machine machine = {0};

	memcpy(played.input, others, 64);
	played.refresh_ms = 1000000;
	int64_t before = monotonic_ms();
	assert_fails(collect(VTPM_CONFIDENTIAL, &machine), 135, "0x01400002"); /* V-17, I-34 */
	assert_true(monotonic_ms() - before < 12000);
	assert_int_equal(machine.evidence.claims.len, 0);
	before = monotonic_ms();
	assert_fails(vtpm_collect(played.device, VTPM_CONFIDENTIAL, ours, deadline_in(500), &machine), 135, "");
	assert_true(monotonic_ms() - before < 1500);
}

static void firmware_that_takes_no_input_is_too_old(void **state)
{
	NEED_TPM();
	played.omits_user_data = true;
	assert_fails(collect_and_forget(VTPM_CONFIDENTIAL), 134, "too old"); /* V-16 */
}

/* Of a paravisor that leaves out what is empty: its report of before the first input is made anew like any other. */
static void a_report_without_input_yet_is_waited_for(void **state)
{
	NEED_TPM();
	auto_vtpm_machine machine = {0};

	played.omits_user_data = true;
	assert_fails(vtpm_collect(played.device, VTPM_CONFIDENTIAL, ours, deadline_in(300), &machine), 135, "");
	played.omits_user_data = false;
	played.refresh_ms = 500;
	assert_ok(collect_and_forget(VTPM_CONFIDENTIAL)); /* V-17 */
}

static void what_another_process_writes_is_written_over(void **state)
{
	NEED_TPM();
	auto_vtpm_machine machine = {0};

	played.racing_writes = 3;
	assert_ok(collect(VTPM_CONFIDENTIAL, &machine)); /* V-18 */
	assert_memory_equal(machine.hcl.user_data, ours, 64);
	played.racing_writes = 1000;
	assert_fails(collect_and_forget(VTPM_CONFIDENTIAL), 136, "4 times"); /* V-18, I-34 */
	assert_nothing_left(&played);
}

/* --- The attestation key: SKR-146 to 148 --- */

static void a_key_that_the_claims_do_not_name_is_refused(void **state)
{
	NEED_TPM();
	played.names_another_ak = true;
	assert_fails(collect_and_forget(VTPM_CONFIDENTIAL), 147, "claims");
	assert_nothing_left(&played);
}

static void certificates_are_told_apart(void **state)
{
	NEED_TPM();
	auto_pkey *another = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048);
	const struct {
		struct certificate_plan plan;
		enum vtpm_want want;
		int failure;
		enum ak_certificate_state state;
	} cases[] = {
	    {{.days = 300, .index = 2048}, VTPM_CONFIDENTIAL, 0, AK_CERTIFICATE_GOOD}, /* zeros behind it */
	    {{.days = 29}, VTPM_CONFIDENTIAL, 0, AK_CERTIFICATE_EXPIRES_SOON},
	    {{.days = -10}, VTPM_CONFIDENTIAL, 0, AK_CERTIFICATE_EXPIRED},
	    {{.days = 300, .key = another}, VTPM_CONFIDENTIAL, 0, AK_CERTIFICATE_GOOD}, /* the claims name it */
	    {{.days = 300, .key = another}, VTPM_TRUSTED_LAUNCH, 147, AK_CERTIFICATE_GOOD},
	    {{.days = 300, .issuer = "MICROSOFT AZURE TRUSTED VM RSA 2023"},
	     VTPM_CONFIDENTIAL,
	     146,
	     AK_CERTIFICATE_GOOD},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		auto_vtpm_machine machine = {0};
		install_certificate(&played, &cases[i].plan);
		skr_status status = collect(cases[i].want, &machine);
		if (status.failure != cases[i].failure)
			fail_msg("case %zu: SKR-%03d %s", i, status.failure, status_message());
		assert_int_equal(machine.ak_certificate_state, cases[i].state);
		if (!status.failure)
			assert_true(abs(machine.ak_certificate_days - cases[i].plan.days) <= 1);
	}
	tools(&played, "tpm2_nvundefine -C o 0x01c101d0");
	assert_fails(collect_and_forget(VTPM_CONFIDENTIAL), 146, "not there");
	tools(&played, "tpm2_nvdefine -C o -s 991 -a 'ownerread|ownerwrite|authread|authwrite' 0x01c101d0");
	assert_fails(collect_and_forget(VTPM_CONFIDENTIAL), 146, "0x14a");
	install_certificate(&played, &(struct certificate_plan){.days = 300});
	assert_nothing_left(&played);
}

static void a_tpm_without_attestation_key_is_not_azures(void **state)
{
	NEED_TPM();
	strike(&played, (struct fault){.command = CC_READ_PUBLIC, .times = 1, .kind = FAULT_CODE, .code = 0x18b});
	assert_fails(collect_and_forget(VTPM_TRUSTED_LAUNCH), 134, "0x81000003");
}

/* --- PCRs that move --- */

static void pcrs_that_move_before_the_quote_are_read_again(void **state)
{
	NEED_TPM();
	strike(&played, (struct fault){.command = CC_QUOTE, .times = 2, .kind = FAULT_EXTEND, .code = 5});
	assert_ok(collect_and_forget(VTPM_CONFIDENTIAL));
	strike(&played, (struct fault){.command = CC_QUOTE, .times = 100, .kind = FAULT_EXTEND, .code = 5});
	assert_fails(collect_and_forget(VTPM_CONFIDENTIAL), 138, "4 times");
	assert_nothing_left(&played);
}

static void attested_pcrs_that_changed_since_are_said_to(void **state)
{
	NEED_TPM();
	auto_vtpm_machine machine = {0};
	uint8_t sealed[256];

	assert_ok(collect(VTPM_CONFIDENTIAL, &machine));
	seal_to(&machine, "SHA256", "text", sealed);
	extend_pcr(&played, 14);
	assert_ok(open_text(&machine, "SHA256", sealed, "text")); /* not attested */
	extend_pcr(&played, 7);
	assert_fails(open_text(&machine, "SHA256", sealed, ""), 138, "0x99d");
	assert_nothing_left(&played);
}

static void other_pcrs_that_move_in_the_session_are_no_matter(void **state)
{
	NEED_TPM();
	auto_vtpm_machine machine = {0};
	uint8_t sealed[256];

	assert_ok(collect(VTPM_CONFIDENTIAL, &machine));
	seal_to(&machine, NULL, "text", sealed);
	strike(&played, (struct fault){.command = CC_RSA_DECRYPT, .times = 7, .kind = FAULT_EXTEND, .code = 10});
	assert_ok(open_text(&machine, NULL, sealed, "text")); /* 0x128 */
	strike(&played, (struct fault){.command = CC_RSA_DECRYPT, .times = 8, .kind = FAULT_EXTEND, .code = 10});
	assert_fails(open_text(&machine, NULL, sealed, ""), 131, "8 times");
	assert_nothing_left(&played);
	strike(&played, (struct fault){.command = CC_RSA_DECRYPT, .times = 1, .kind = FAULT_EXTEND, .code = 3});
	assert_fails(open_text(&machine, NULL, sealed, ""), 138, "");
	assert_nothing_left(&played);
}

/* --- What does not open --- */

static void what_is_not_sealed_to_the_key_does_not_open(void **state)
{
	NEED_TPM();
	auto_vtpm_machine machine = {0};
	uint8_t sealed[256];
	auto_buf opened = BUF(512);

	assert_ok(collect(VTPM_CONFIDENTIAL, &machine));
	seal_to(&machine, "SHA256", "text", sealed);
	assert_fails(open_text(&machine, "SHA384", sealed, ""), 341, "");
	sealed[200] ^= 1;
	assert_fails(open_text(&machine, "SHA256", sealed, ""), 341, "");
	/* Not the other way round: of 256 OAEP ciphertexts one looks like PKCS#1 v1.5. */
	seal_to(&machine, NULL, "text", sealed);
	assert_fails(open_text(&machine, "SHA256", sealed, ""), 341, "");
	memset(sealed, 0xff, sizeof(sealed));
	assert_fails(open_text(&machine, "SHA256", sealed, ""), 341, "");
	assert_fails(vtpm_transport_open(played.device, &machine.transport, "SHA256", sealed, 255, DEADLINE, &opened),
	             341, "255 bytes");
	assert_int_equal(opened.len, 0);
	assert_nothing_left(&played);
}

static void a_context_that_does_not_load_is_made_again(void **state)
{
	NEED_TPM();
	auto_vtpm_machine machine = {0};
	uint8_t sealed[256];

	assert_ok(collect(VTPM_CONFIDENTIAL, &machine));
	seal_to(&machine, "SHA256", "text", sealed);
	strike(&played, (struct fault){.command = CC_CONTEXT_LOAD, .times = 1, .kind = FAULT_CODE, .code = 0x1df});
	assert_ok(open_text(&machine, "SHA256", sealed, "text"));
	assert_int_equal(machine.transport.primaries, 2);
	assert_nothing_left(&played);
}

static void a_restart_of_the_tpm_is_said_to(void **state)
{
	NEED_TPM();
	auto_vtpm_machine machine = {0};
	uint8_t sealed[256];

	assert_ok(collect(VTPM_CONFIDENTIAL, &machine));
	seal_to(&machine, "SHA256", "text", sealed);
	restart_swtpm(&played);
	for (uint32_t pcr = 0; pcr < 8; pcr++)
		extend_pcr(&played, pcr);
	assert_fails(open_text(&machine, "SHA256", sealed, ""), 139, "another one");
	assert_nothing_left(&played);
}

/* Between two commands of one opening. */
static void what_the_tpm_has_forgotten_is_a_restart_too(void **state)
{
	NEED_TPM();
	static const uint32_t codes[] = {0x910, 0x918, 0x18b}; /* REFERENCE_H0, REFERENCE_S0, HANDLE */
	auto_vtpm_machine machine = {0};
	uint8_t sealed[256];

	assert_ok(collect(VTPM_CONFIDENTIAL, &machine));
	seal_to(&machine, "SHA256", "text", sealed);
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		strike(&played,
		       (struct fault){.command = CC_RSA_DECRYPT, .times = 1, .kind = FAULT_CODE, .code = codes[i]});
		assert_fails(open_text(&machine, "SHA256", sealed, ""), 139, "forgotten");
		assert_nothing_left(&played);
	}
}

/* V-14: making the key again would be an authorised command. */
static void a_context_refused_by_lockout_is_not_made_again(void **state)
{
	NEED_TPM();
	auto_vtpm_machine machine = {0};
	uint8_t sealed[256];

	assert_ok(collect(VTPM_CONFIDENTIAL, &machine));
	seal_to(&machine, "SHA256", "text", sealed);
	strike(&played, (struct fault){.command = CC_CONTEXT_LOAD, .times = 1, .kind = FAULT_CODE, .code = 0x921});
	assert_fails(open_text(&machine, "SHA256", sealed, ""), 132, "");
	assert_int_equal(machine.transport.primaries, 1);
	assert_nothing_left(&played);
}

static void a_restart_between_two_commands_is_said_to(void **state)
{
	NEED_TPM();
	auto_vtpm_machine machine = {0};
	uint8_t sealed[256];

	assert_ok(collect(VTPM_CONFIDENTIAL, &machine));
	seal_to(&machine, "SHA256", "text", sealed);
	/* As a TPM answers that has lost the key, the session, or both. */
	strike(&played, (struct fault){.command = CC_CERTIFY, .times = 1, .kind = FAULT_CODE, .code = 0x18b});
	assert_fails(collect_and_forget(VTPM_CONFIDENTIAL), 139, "TPM2_Certify");
	strike(&played, (struct fault){.command = CC_POLICY_PCR, .times = 1, .kind = FAULT_CODE, .code = 0x918});
	assert_fails(open_text(&machine, "SHA256", sealed, ""), 139, "TPM2_PolicyPCR");
	assert_nothing_left(&played);
}

/* --- Nothing is left, whatever happens --- */

static const uint32_t collecting[] = {CC_NV_READ_PUBLIC, CC_NV_READ,      CC_NV_WRITE,
                                      CC_READ_PUBLIC,    CC_PCR_READ,     CC_QUOTE,
                                      CC_CREATE_PRIMARY, CC_CONTEXT_SAVE, CC_CERTIFY};
static const uint32_t opening[] = {CC_CONTEXT_LOAD, CC_START_SESSION, CC_POLICY_PCR, CC_RSA_DECRYPT};
#define COLLECTING (sizeof(collecting) / sizeof(collecting[0]))
#define OPENING    (sizeof(opening) / sizeof(opening[0]))

static void nothing_is_left_after_a_failure_of_any_command(void **state)
{
	NEED_TPM();
	static const struct fault faults[] = {
	    {.kind = FAULT_CODE, .code = 0x101},
	    {.kind = FAULT_CODE, .code = 0x921},
	    {.kind = FAULT_SHORTEN, .code = 1},
	    {.kind = FAULT_GROW, .code = 3},
	    {.kind = FAULT_EXTRA},
	    {.kind = FAULT_FLIP, .code = 0},
	};
	auto_vtpm_machine machine = {0};
	uint8_t sealed[256];

	assert_ok(collect(VTPM_CONFIDENTIAL, &machine));
	seal_to(&machine, "SHA256", "text", sealed);
	for (size_t f = 0; f < sizeof(faults) / sizeof(faults[0]); f++)
		for (size_t c = 0; c < COLLECTING + OPENING; c++) {
			struct fault fault = faults[f];
			fault.command = c < COLLECTING ? collecting[c] : opening[c - COLLECTING];
			fault.times = 1;
			strike(&played, fault);
			skr_status status = c < COLLECTING ? collect_and_forget(VTPM_CONFIDENTIAL)
			                                   : open_text(&machine, "SHA256", sealed, "text");
			/* A context that does not load is made again; a write that fails is repeated once. */
			bool cured = fault.command == CC_CONTEXT_LOAD || fault.command == CC_NV_WRITE;
			if (!status.failure && !(cured && fault.kind == FAULT_CODE))
				fail_msg("fault %zu of command %03x goes unnoticed", f, (unsigned)fault.command);
			if (fault.kind != FAULT_CODE && status.failure != 137)
				fail_msg("fault %zu of command %03x: SKR-%03d %s", f, (unsigned)fault.command,
				         status.failure, status_message());
			if (count_all(&played))
				fail_msg("fault %zu of command %03x leaves something", f, (unsigned)fault.command);
		}
}

static void nothing_is_left_after_many_logins(void **state)
{
	NEED_TPM();
	const char *wanted = getenv("SKR_TEST_LOGINS");
	int logins = wanted ? atoi(wanted) : 10;
	uint8_t sealed[256];

	for (int i = 0; i < logins; i++) {
		auto_vtpm_machine machine = {0};
		assert_ok(collect(VTPM_CONFIDENTIAL, &machine));
		seal_to(&machine, NULL, "inner key", sealed);
		assert_ok(open_text(&machine, NULL, sealed, "inner key"));
		seal_to(&machine, "SHA256", "wrapped key", sealed);
		assert_ok(open_text(&machine, "SHA256", sealed, "wrapped key"));
	}
	assert_nothing_left(&played);
}

/* What a killed process leaves, the kernel's resource manager takes away when its descriptor closes, as is played here.
 */
static void a_killed_process_leaves_what_the_resource_manager_takes_away(void **state)
{
	NEED_TPM();
	int left = 0;

	for (int i = 0; i < 20; i++) {
		pid_t child = fork();
		if (child == 0) {
			for (;;)
				if (collect_and_forget(VTPM_CONFIDENTIAL).failure)
					_exit(1);
		}
		usleep(20000 + (useconds_t)(i * 37911) % 400000);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		usleep(20000); /* a command may still be under way */
		left += client_gone(&played);
		assert_nothing_left(&played);
	}
	print_message("%d objects and sessions were left by 20 killed processes\n", left);
	assert_ok(collect_and_forget(VTPM_CONFIDENTIAL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, each)
	    TEST(a_confidential_machine_is_collected_with_the_fewest_commands),
	    TEST(what_is_sealed_to_the_transport_key_opens),
	    TEST(each_collection_has_a_transport_key_of_its_own),
	    TEST(a_tpm_is_reached_by_a_socket_and_by_tpm2_tss),
	    TEST(the_report_alone_needs_no_key_of_the_tpm),
	    TEST(trusted_launch_looks_for_no_report),
	    TEST(without_a_report_it_is_no_confidential_vm),
	    TEST(the_input_is_defined_where_it_is_missing_or_has_another_size),
	    TEST(an_input_that_may_not_be_defined_is_an_administrators_matter),
	    TEST(a_report_that_comes_late_is_waited_for),
	    TEST(a_report_that_never_comes_is_not_replaced_by_an_old_one),
	    TEST(firmware_that_takes_no_input_is_too_old),
	    TEST(a_report_without_input_yet_is_waited_for),
	    TEST(what_another_process_writes_is_written_over),
	    TEST(a_key_that_the_claims_do_not_name_is_refused),
	    TEST(certificates_are_told_apart),
	    TEST(a_tpm_without_attestation_key_is_not_azures),
	    TEST(pcrs_that_move_before_the_quote_are_read_again),
	    TEST(attested_pcrs_that_changed_since_are_said_to),
	    TEST(other_pcrs_that_move_in_the_session_are_no_matter),
	    TEST(what_is_not_sealed_to_the_key_does_not_open),
	    TEST(a_context_that_does_not_load_is_made_again),
	    TEST(a_restart_of_the_tpm_is_said_to),
	    TEST(what_the_tpm_has_forgotten_is_a_restart_too),
	    TEST(a_context_refused_by_lockout_is_not_made_again),
	    TEST(a_restart_between_two_commands_is_said_to),
	    TEST(nothing_is_left_after_a_failure_of_any_command),
	    TEST(nothing_is_left_after_many_logins),
	    TEST(a_killed_process_leaves_what_the_resource_manager_takes_away),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
