/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failure matrix section 3, V-12 to V-20, through the whole product: a confidential VM's and a Trusted Launch VM's
 * login with a vTPM that is busy, restarted, replaced, lying, or used by others at the same time. SKR_EMULATOR_MACHINE
 * decides which of the tests there are. Each row ends with nothing left in the TPM and a login that works.
 */
#include "support/matrix.h"
#include "support/vtpm.h"
#include "cmocka_all.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN         "faulty"
#define KEY           "fragile" /* its one key */
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static bool machine_is(const char *kind)
{
	return strcmp(getenv("SKR_EMULATOR_MACHINE"), kind) == 0;
}

/* ---- one login ---- */

struct outcome {
	CK_RV rv;
	unsigned long failure;
	double seconds;
	bool key;         /* an object of it is there */
	int attestations; /* asked for */
	struct vtpm_look tpm;
	char line[1024];
};

static void clean_slate(CK_SESSION_HANDLE session)
{
	CK_RV rv = p11->C_Logout(session); /* forgets the failure as well as the key */

	if (rv != CKR_OK && rv != CKR_USER_NOT_LOGGED_IN)
		fail_msg("C_Logout: %s", rv_name(rv));
}

static void login(struct outcome *ret)
{
	CK_SESSION_HANDLE session = module_session(TOKEN);

	clean_slate(session);
	emulator_requests_reset();
	vtpm_clear_counters();
	double start = now_ms();
	ret->rv = p11->C_Login(session, CKU_USER, NULL, 0);
	ret->seconds = (now_ms() - start) / 1000;
	ret->failure = module_failure(TOKEN, ret->line, sizeof(ret->line));
	ret->key = module_find(session, CKO_PRIVATE_KEY, KEY) != 0;
	ret->attestations = emulator_requests("maa.attest");
	vtpm_look(&ret->tpm);
	clean_slate(session);
	assert_ok(p11->C_CloseSession(session));
}

static void print_outcome(const char *what, const struct outcome *outcome)
{
	printf(
	    "%s: %s, SKR-%03lu, %.1f s, key %s, %d attestations, %d handles left, %d open, %d faults unmet\n    %s\n",
	    what, rv_name(outcome->rv), outcome->failure, outcome->seconds, outcome->key ? "there" : "absent",
	    outcome->attestations, outcome->tpm.handles, outcome->tpm.open, outcome->tpm.unmet, outcome->line);
}

/* What holds after every login, whatever happened in it. */
static bool leaves_nothing(const struct outcome *outcome)
{
	return outcome->key == (outcome->rv == CKR_OK) && outcome->tpm.handles == 0 && outcome->tpm.open == 0 &&
	       (outcome->rv == CKR_OK) == (outcome->failure == 0);
}

static int wrong_clean_login(const char *after)
{
	struct outcome outcome;

	login(&outcome);
	if (outcome.rv == CKR_OK && leaves_nothing(&outcome))
		return 0;
	print_outcome(after, &outcome);
	printf("    … that was the clean login after it\n");
	return 1;
}

/* ---- rows ---- */

struct fault_row {
	const char *id;
	const char *other;  /* command of another user before it */
	const char *before; /* POST /tpm before the login */
	const char *tpm;    /* faults of the vTPM */
	const char *azure;  /* faults of the services */
	const char *device; /* faults of the devices */
	CK_RV rv;
	unsigned long failure;
	const char *said; /* in the sentence */
	const char *logged;
	double seconds;     /* at most; 0: 6 */
	double and_no_less; /* seconds */
	int attestations;   /* asked for; 0: not looked at, but none if the evidence fails */
	const char *after;  /* POST /tpm before the clean login */
};

#define PASSES(i, ...)                             \
	{                                          \
		.id = i, .rv = CKR_OK, __VA_ARGS__ \
	}
#define REFUSED(i, number, ...)                                                    \
	{                                                                          \
		.id = i, .rv = CKR_FUNCTION_FAILED, .failure = number, __VA_ARGS__ \
	}
#define LATER(i, number, ...)                                                   \
	{                                                                       \
		.id = i, .rv = CKR_DEVICE_ERROR, .failure = number, __VA_ARGS__ \
	}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void device_fault(const char *fault)
{
	write_file(expand("$SKR_EMULATOR_DIR/device-fault"), fault);
}

static long log_size(void)
{
	struct stat about;

	return stat(expand("$SKR_RUN/skr-pkcs11.log"), &about) == 0 ? about.st_size : 0;
}

static bool log_says(long since, const char *what)
{
	static char text[1 << 20];
	FILE *file = fopen(expand("$SKR_RUN/skr-pkcs11.log"), "r");

	assert_non_null(file);
	assert_int_equal(fseek(file, since, SEEK_SET), 0);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	return strstr(text, what) != NULL;
}

static void others_command(const char *command)
{
	struct vtpm_user user;

	vtpm_user_open(&user);
	int64_t code = vtpm_user_command(&user, command);
	vtpm_user_close(&user);
	assert_int_equal(code, 0);
}

static void prepare(const struct fault_row *row)
{
	if (row->other)
		others_command(row->other);
	if (row->before)
		vtpm_control(row->before);
	if (row->device)
		device_fault(row->device);
	emulator_faults(row->azure ? row->azure : "");
	vtpm_faults(row->tpm ? row->tpm : "");
}

static void restore(const struct fault_row *row)
{
	emulator_faults("");
	vtpm_faults("");
	if (row->device && strstr(row->device, "tpm-"))
		device_fault(""); /* what hides the boot log stays for the clean login */
	if (row->after)
		vtpm_control(row->after);
}

/* Evidence that fails is never sent: I-34. */
static bool right_attestations(const struct fault_row *row, int asked)
{
	if (row->attestations)
		return asked == row->attestations;
	return row->failure == 0 || row->failure >= 200 || row->failure == 138 || row->failure == 139 || row->azure ||
	       asked == 0;
}

static bool right_words(const struct fault_row *row, const struct outcome *outcome, long log_before)
{
	return (!row->said || strstr(outcome->line, row->said)) && (!row->logged || log_says(log_before, row->logged));
}

static bool right_time(const struct fault_row *row, double seconds)
{
	return seconds <= (row->seconds > 0 ? row->seconds : 6) && seconds >= row->and_no_less;
}

static int wrong_row(const struct fault_row *row)
{
	struct outcome outcome;
	long log_before = log_size();

	prepare(row);
	login(&outcome);
	bool right = outcome.rv == row->rv && outcome.failure == row->failure && leaves_nothing(&outcome) &&
	             right_time(row, outcome.seconds) && right_words(row, &outcome, log_before) &&
	             right_attestations(row, outcome.attestations) && outcome.tpm.unmet == 0;
	if (!right)
		print_outcome(row->id, &outcome);
	restore(row);
	int wrong = !right + wrong_clean_login(row->id);
	if (row->device)
		device_fault("");
	return wrong;
}

static void run_rows(const struct fault_row *rows, size_t count)
{
	int wrong = 0;

	for (size_t i = 0; i < count; i++)
		wrong += wrong_row(&rows[i]);
	assert_int_equal(wrong, 0);
}

#define RULE(on, ...)   "{'on':'" on "'," __VA_ARGS__ "}"
#define RESPOND(on, rc) RULE(on, "'do':'respond','value':'" #rc "'")
#define ONCE(on, rc)    RULE(on, "'do':'respond','nth':1,'value':'" #rc "'")
#define REPORT          "'handle':'0x01400001',"
#define CERTIFICATE     "'handle':'0x01c101d0',"
#define AK_AGAIN        "{'restart':true,'ak_certificate':'good'}"
#define REPORT_AGAIN    "{'restart':true}" /* else the bad one stays for two seconds */

/* ---- any machine: the device, and what the TPM says ---- */

/* clang-format off */
static const struct fault_row device_rows[] = {
    PASSES("V-12 busy for a while", .device = "tpm-EBUSY:2"),
    LATER("V-12 busy", 130, .device = "tpm-EBUSY", .said = "another process has it open"),
    REFUSED("V-12 no TPM", 100, .device = "tpm-ENOENT"),
    REFUSED("V-12 no rights", 101, .device = "tpm-EACCES", .said = "/dev/tpmrm0"),
    REFUSED("V-12 hidden from the service", 21, .device = "tpm-EPERM"),
    LATER("V-12 refuses connections", 130, .tpm = RULE("connect", "'do':'refuse'")),
};

static const struct fault_row code_rows[] = {
    PASSES("V-13 RETRY", .tpm = ONCE("Quote", 0x922)),
    PASSES("V-13 YIELDED", .tpm = ONCE("CreatePrimary", 0x908)),
    PASSES("V-13 TESTING", .tpm = ONCE("Certify", 0x90a)),
    PASSES("V-13 NV_RATE", .tpm = ONCE("NV_Read", 0x920)),
    PASSES("V-13 NV_UNAVAILABLE", .tpm = ONCE("NV_Read", 0x923)),
    PASSES("V-13 MEMORY", .tpm = ONCE("RSA_Decrypt", 0x904)),
    PASSES("V-13 OBJECT_MEMORY", .tpm = ONCE("ContextLoad", 0x902)),
    PASSES("V-13 SESSION_MEMORY", .tpm = ONCE("StartAuthSession", 0x903)),
    LATER("V-13 for ever", 131, .tpm = RESPOND("Quote", 0x922), .said = "8 times", .seconds = 9, .and_no_less = 5),
    LATER("V-13 not foreseen", 131, .tpm = RESPOND("Quote", 0x101), .said = "TPM2_Quote"),
    REFUSED("V-14 at the quote", 132, .tpm = RESPOND("Quote", 0x921), .said = "lockout"),
    REFUSED("V-14 at the key", 132, .tpm = RESPOND("CreatePrimary", 0x921)),
    REFUSED("V-14 at loading", 132, .tpm = RESPOND("ContextLoad", 0x921), .attestations = 1),
    REFUSED("V-14 at opening", 132, .tpm = RESPOND("RSA_Decrypt", 0x921), .attestations = 1),
    REFUSED("a password on the hierarchy", 101, .tpm = RESPOND("Certify", 0x98e)),
    REFUSED("V-16 no attestation key", 134, .tpm = RESPOND("ReadPublic", 0x18b), .said = "0x81000003"),
    LATER("V-16 no certificate's index", 146, .tpm = RULE("NV_ReadPublic", CERTIFICATE "'do':'respond','value':'0x18b'")),
    LATER("V-16 certificate never written", 146, .tpm = RULE("NV_Read", CERTIFICATE "'do':'respond','value':'0x14a'")),
    REFUSED("V-19 short", 137, .tpm = RULE("PCR_Read", "'do':'truncate','value':40"), .said = "40 bytes"),
    REFUSED("V-19 no header", 137, .tpm = RULE("RSA_Decrypt", "'do':'truncate','value':6"), .attestations = 1),
    LATER("V-19 nothing", 130, .tpm = RULE("Quote", "'do':'drop'")),
    LATER("V-19 nothing, but it was done", 130, .tpm = RULE("CreatePrimary", "'do':'drop-after'")),
    REFUSED("V-19 long", 137, .tpm = RULE("Quote", "'do':'lengthen','value':9")),
    REFUSED("V-19 wrong tag", 137, .tpm = RULE("Quote", "'do':'write','at':0,'value':'4854'"), .said = "offset 0"),
    REFUSED("V-19 lying size", 137, .tpm = RULE("Certify", "'do':'write','at':2,'value':'00000011'"), .said = "offset 2"),
    REFUSED("V-19 endless size", 137, .tpm = RULE("Certify", "'do':'write','at':2,'value':'ffffffff'"), .said = "offset 2"),
    REFUSED("V-19 garbled", 137, .tpm = RULE("ReadPublic", "'do':'write','at':10,'value':'ffffffffffffffff'")),
    REFUSED("V-19 another key's name", 137, .tpm = RULE("CreatePrimary", "'do':'flip','at':100")),
    REFUSED("I-34 quote changed", 150, .tpm = RULE("Quote", "'do':'flip','at':60")),
    REFUSED("I-34 certified name changed", 150, .tpm = RULE("Certify", "'do':'flip','at':60")),
    REFUSED("I-34 quote by another key", 150, .tpm = RULE("Quote", "'do':'replace-ak'"), .after = AK_AGAIN),
    REFUSED("I-34 certified by another key", 150, .tpm = RULE("Certify", "'do':'replace-ak'"), .after = AK_AGAIN),
    REFUSED("the attestation key was replaced", 147, .before = "{'ak':'replace'}", .said = "0x81000003", .after = AK_AGAIN),
};

/* What the attestation service sealed to the TPM's key. */
static const struct fault_row sealed_rows[] = {
    REFUSED("A-04 tag", 323, .azure = "maa.attest mutate(sealed.AuthenticationData,flip)"),
    REFUSED("A-04 short tag", 323, .azure = "maa.attest mutate(sealed.AuthenticationData,AAAA)"),
    REFUSED("A-04 for another key", 323, .azure = "maa.attest mutate(sealed.EncryptedInnerKey,flip)"),
    REFUSED("A-04 short key", 323, .azure = "maa.attest mutate(sealed.EncryptedInnerKey,AAAA)"),
    REFUSED("A-04 short IV", 323, .azure = "maa.attest mutate(sealed.EncryptionParams.Iv,AAAAAAAAAAA)"),
    REFUSED("A-04 no IV", 323, .azure = "maa.attest mutate(sealed.EncryptionParams.Iv)"),
    REFUSED("A-04 cipher", 323, .azure = "maa.attest mutate(sealed.EncryptionParams.Cipher,RC4)"),
    REFUSED("A-04 token", 323, .azure = "maa.attest mutate(sealed.Jwt,flip)"),
    REFUSED("A-04 nonce", 323, .azure = "maa.attest mutate(jwt.payload.x-ms-runtime.client-payload.nonce,another)"),
    REFUSED("A-04 key in the token", 323, .azure = "maa.attest mutate(jwt.payload.x-ms-runtime.keys.0.n,flip)"),
};

/* What moved between two commands. */
static const struct fault_row moving_rows[] = {
    PASSES("0x128 once", .tpm = RULE("RSA_Decrypt", "'do':'extend','value':10,'nth':1"), .attestations = 1),
    PASSES("0x128 at each opening", .tpm = RULE("RSA_Decrypt", "'do':'extend','value':10,'nth':1") "," RULE("RSA_Decrypt", "'do':'extend','value':14,'nth':2") "," RULE("RSA_Decrypt", "'do':'extend','value':11,'nth':4")),
    LATER("0x128 for ever", 131, .tpm = RULE("RSA_Decrypt", "'do':'extend','value':10"), .said = "8 times", .attestations = 1),
    PASSES("PCR 0 between reading and quoting", .device = "event-log-EACCES", .tpm = RULE("Quote", "'do':'extend','value':0,'nth':1"), .attestations = 1),
    LATER("PCR 0 each time", 138, .device = "event-log-EACCES", .tpm = RULE("Quote", "'do':'extend','value':0"), .said = "4 times"),
    PASSES("PCR 7 before the service's answer", .device = "event-log-EACCES", .tpm = RULE("ContextLoad", "'do':'extend','value':7,'nth':1"), .attestations = 2, .logged = "collecting the evidence again"),
    PASSES("PCR 7 within the session", .device = "event-log-EACCES", .tpm = RULE("RSA_Decrypt", "'do':'extend','value':7,'nth':1"), .attestations = 2),
    LATER("PCR 7 before each answer", 138, .device = "event-log-EACCES", .tpm = RULE("ContextLoad", "'do':'extend','value':7"), .attestations = 2),
    LATER("PCR 7 before the key is opened", 138, .device = "event-log-EACCES", .tpm = RULE("ContextLoad", "'do':'extend','value':7,'nth':2"), .said = "the attested PCRs changed since the attestation", .attestations = 1),
    REFUSED("PCR 7 and a log that does not say so", 320, .before = "{'restart':true}", .tpm = RULE("ContextLoad", "'do':'extend','value':7,'nth':1"), .attestations = 2, .after = "{'restart':true}"),
    PASSES("restarted before the service's answer", .tpm = RULE("ContextLoad", "'do':'restart','nth':1"), .attestations = 2),
    LATER("restarted before the key is opened", 139, .tpm = RULE("ContextLoad", "'do':'restart','nth':2"), .attestations = 1),
    LATER("restarted before each answer", 139, .tpm = RULE("ContextLoad", "'do':'restart'"), .attestations = 2),
    LATER("restarted with the key loaded", 139, .tpm = RULE("RSA_Decrypt", "'do':'restart','nth':2"), .attestations = 1),
};

/* ---- a Trusted Launch VM alone ---- */

static const struct fault_row launch_rows[] = {
    LATER("certificate not yet", 146, .before = "{'ak_certificate':'placeholder'}", .after = "{'ak_certificate':'good'}"),
    LATER("no certificate", 146, .before = "{'ak_certificate':'absent'}", .after = "{'ak_certificate':'good'}"),
    PASSES("certificate about to expire", .before = "{'ak_certificate':'expiring'}", .logged = "SKR-148", .after = "{'ak_certificate':'good'}"),
    REFUSED("certificate expired", 320, .before = "{'ak_certificate':'expired'}", .logged = "expired 1 days ago", .after = "{'ak_certificate':'good'}"),
    PASSES("certificate renewed", .before = "{'ak_certificate':'renew'}"),
};

/* ---- a confidential VM: the paravisor's report ---- */

static const struct fault_row report_rows[] = {
    PASSES("V-15 no place for the input", .other = TPM_UNDEFINE_INPUT),
    REFUSED("V-15 it may not be defined", 133, .other = TPM_UNDEFINE_INPUT, .tpm = RESPOND("NV_DefineSpace", 0x9a2), .said = "tpm2_nvdefine 0x01400002"),
    REFUSED("V-15 it may not be written", 133, .tpm = RESPOND("NV_Write", 0x149), .said = "tpm2_nvundefine -C o 0x01400002"),
    REFUSED("V-16 no report's index", 134, .tpm = RULE("NV_ReadPublic", REPORT "'do':'respond','value':'0x18b'"), .said = "trusted-launch"),
    REFUSED("V-16 report never written", 134, .tpm = RULE("NV_Read", REPORT "'do':'respond','value':'0x14a'"), .said = "0x01400001"),
    PASSES("V-17 late", .tpm = RULE("report", "'do':'stale','nth':1")),
    LATER("V-17 never", 135, .tpm = RULE("report", "'do':'stale'"), .seconds = 13, .and_no_less = 9),
    PASSES("V-18 overwritten once", .tpm = RULE("NV_Write", "'do':'overwrite','nth':1"), .seconds = 9),
    LATER("V-18 overwritten each time", 136, .tpm = RULE("NV_Write", "'do':'overwrite'"), .said = "4 times", .seconds = 15),
    REFUSED("empty index", 134, .tpm = RULE("NV_ReadPublic", REPORT "'do':'write','at':24,'value':'0000'")),
    REFUSED("report truncated", 149, .tpm = RULE("NV_ReadPublic", REPORT "'do':'write','at':24,'value':'0100'"), .said = "256 bytes"),
    REFUSED("claims truncated", 149, .tpm = RULE("NV_ReadPublic", REPORT "'do':'write','at':24,'value':'0600'"), .said = "claims size"),
    REFUSED("report oversized", 149, .tpm = RULE("NV_ReadPublic", REPORT "'do':'write','at':24,'value':'2000'"), .said = "8192 bytes"),
    REFUSED("wrong magic", 149, .tpm = RULE("report", "'do':'write','at':0,'value':'48434c42'"), .said = "HCLA", .after = REPORT_AGAIN),
    REFUSED("version", 149, .tpm = RULE("report", "'do':'write','at':4,'value':'03'"), .said = "version 3", .after = REPORT_AGAIN),
    REFUSED("claims size lies", 149, .tpm = RULE("report", "'do':'write','at':1232,'value':'ffffffff'"), .said = "4294967295", .after = REPORT_AGAIN),
    REFUSED("claims size is short", 149, .tpm = RULE("report", "'do':'write','at':1232,'value':'10000000'"), .said = "claims size 16", .after = REPORT_AGAIN),
    REFUSED("data size lies", 149, .tpm = RULE("report", "'do':'write','at':1216,'value':'01000000'"), .said = "data size 1 ", .after = REPORT_AGAIN),
    REFUSED("report type VBS", 134, .tpm = RULE("report", "'do':'write','at':1224,'value':'01'"), .said = "no hardware isolates", .after = REPORT_AGAIN),
    REFUSED("report type unknown", 149, .tpm = RULE("report", "'do':'write','at':1224,'value':'09'"), .said = "report type 9", .after = REPORT_AGAIN),
    REFUSED("hash type", 149, .tpm = RULE("report", "'do':'write','at':1228,'value':'02'"), .said = "hash type 2", .after = REPORT_AGAIN),
    REFUSED("claims of another report", 149, .tpm = RULE("report", "'do':'flip','at':1300"), .said = "SHA-256 of the claims", .after = REPORT_AGAIN),
    REFUSED("another attestation key in the claims", 147, .tpm = RULE("report", "'do':'other-ak'"), .said = "claims name", .after = REPORT_AGAIN),
};

static const struct fault_row snp_rows[] = {
    REFUSED("of another type of processor", 149, .tpm = RULE("report", "'do':'write','at':1224,'value':'04'"), .after = REPORT_AGAIN),
    REFUSED("measurement changed", 117, .tpm = RULE("report", "'do':'flip','at':176"), .after = REPORT_AGAIN),
    REFUSED("another chip's report", 117, .tpm = RULE("report", "'do':'flip','at':448"), .said = "another chip", .after = REPORT_AGAIN),
    REFUSED("signature changed", 117, .tpm = RULE("report", "'do':'flip','at':704"), .after = REPORT_AGAIN),
    REFUSED("report version", 116, .tpm = RULE("report", "'do':'write','at':32,'value':'09'"), .after = REPORT_AGAIN),
    LATER("V-22 THIM's TCB", 142, .azure = "thim.certification mutate(tcbm,0000000000000000)", .seconds = 12),
    PASSES("certificate expired", .before = "{'ak_certificate':'expired'}", .logged = "SKR-148", .after = "{'ak_certificate':'good'}"),
    LATER("certificate not yet", 146, .before = "{'ak_certificate':'placeholder'}", .after = "{'ak_certificate':'good'}"),
};

/* ---- a confidential VM on TDX: the host's quote ---- */

static const struct fault_row quote_rows[] = {
    REFUSED("V-20 400", 140, .azure = "imds.tdquote status(400)"),
    REFUSED("V-20 404", 140, .azure = "imds.tdquote status(404)", .seconds = 8),
    PASSES("V-20 429 once", .azure = "imds.tdquote[1] status(429)"),
    PASSES("V-20 500 once", .azure = "imds.tdquote[1] status(500)"),
    LATER("V-20 500", 240, .azure = "imds.tdquote status(500)", .seconds = 25),
    REFUSED("V-20 garbage", 140, .azure = "imds.tdquote body(<html>no</html>)"),
    REFUSED("V-20 no quote", 140, .azure = "imds.tdquote mutate(quote)"),
    REFUSED("V-20 a short quote", 116, .azure = "imds.tdquote mutate(quote,BAAC)"),
    REFUSED("V-20 another quote", 117, .azure = "imds.tdquote mutate(quote,flip)"),
    LATER("V-20 silence", 240, .azure = "imds.tdquote stall", .seconds = 20.5),
};
/* clang-format on */

static void a_device_that_does_not_open_has_its_number(void **state)
{
	(void)state;
	run_rows(device_rows, LENGTH(device_rows));
}

/* V-13, V-14, V-16, V-19 */
static void whatever_the_tpm_says_has_its_number(void **state)
{
	(void)state;
	run_rows(code_rows, LENGTH(code_rows));
}

static void a_sealed_token_that_is_changed_is_not_for_us(void **state)
{
	(void)state;
	run_rows(sealed_rows, LENGTH(sealed_rows));
}

static void what_moves_meanwhile_is_noticed(void **state)
{
	(void)state;
	run_rows(moving_rows, LENGTH(moving_rows));
}

static void certificates_of_the_attestation_key_are_told_apart(void **state)
{
	(void)state;
	run_rows(launch_rows, LENGTH(launch_rows));
}

/* V-15 to V-18 */
static void no_changed_report_gives_a_key(void **state)
{
	(void)state;
	run_rows(report_rows, LENGTH(report_rows));
	run_rows(snp_rows, LENGTH(snp_rows));
}

/* V-20 */
static void whatever_the_quote_service_says_has_its_number(void **state)
{
	(void)state;
	run_rows(quote_rows, LENGTH(quote_rows));
}

/* ---- the commands of a login that nothing disturbs ---- */

/* Of one key; the report is read in pieces of 1024 bytes. FlushContext is behind each connection's last. */
static const char *const of_report[] = {"NV_ReadPublic", "NV_Write", "NV_Read", "NV_Read", "NV_Read"};
static const char *const of_evidence[] = {"ReadPublic",    "NV_ReadPublic", "NV_Read", "PCR_Read",    "Quote",
                                          "CreatePrimary", "ContextSave",   "Certify", "FlushContext"};
static const char *const of_opening[] = {"ContextLoad", "StartAuthSession", "PolicyPCR", "RSA_Decrypt", "FlushContext"};

static const char *course[64];
static int course_len;

static void course_add(const char *const *commands, size_t count)
{
	for (size_t i = 0; i < count; i++)
		course[course_len++] = commands[i];
}

static void course_make(void)
{
	if (!machine_is("trusted-launch"))
		course_add(of_report, LENGTH(of_report));
	course_add(of_evidence, LENGTH(of_evidence));
	course_add(of_opening, LENGTH(of_opening)); /* what the attestation service sealed */
	course_add(of_opening, LENGTH(of_opening)); /* what the vault wrapped */
}

static int times_in_course(const char *command, int first)
{
	int times = 0;

	for (int i = 0; i < first; i++)
		times += strcmp(course[i], command) == 0;
	return times;
}

static void a_quiet_login_takes_so_many_commands_and_no_more(void **state)
{
	(void)state;
	struct outcome outcome;
	int wrong = 0;

	sleep(3); /* the paravisor makes a new report when the last one is old enough: no second look is needed */
	login(&outcome);
	assert_int_equal(outcome.rv, CKR_OK);
	for (int i = 0; i < course_len; i++) {
		int wanted = times_in_course(course[i], course_len), seen = vtpm_count(&outcome.tpm, course[i]);
		if (times_in_course(course[i], i) > 0)
			continue;
		printf("%4d %s\n", seen, course[i]);
		if (seen != wanted)
			printf("     … and not %d\n", wanted);
		wrong += seen != wanted;
	}
	printf("%4d in %d connections\n", outcome.tpm.total, outcome.tpm.connections);
	assert_int_equal(outcome.tpm.total, course_len);
	assert_int_equal(outcome.tpm.connections, 3); /* evidence, the service's answer, the vault's */
	assert_int_equal(wrong, 0);
}

static void *one_login(void *with)
{
	login(with);
	return NULL;
}

/* While the services think, the TPM is not held. */
static void the_tpm_is_open_only_while_it_works(void **state)
{
	(void)state;
	struct outcome outcome;
	struct vtpm_look look;
	pthread_t thread;
	int looks = 0, open = 0;

	emulator_faults("maa.attest delay(2000)\nakv.release delay(2000)");
	double start = now_ms();
	assert_int_equal(pthread_create(&thread, NULL, one_login, &outcome), 0);
	for (; now_ms() - start < 4000; looks++) {
		vtpm_look(&look);
		open += look.open > 0;
	}
	pthread_join(thread, NULL);
	assert_int_equal(outcome.rv, CKR_OK);
	assert_int_equal(outcome.tpm.connections, 3);
	printf("open at %d of %d looks within 4 s\n", open, looks);
	assert_true(looks >= 8 && open * 2 < looks);
}

/* ---- a fault at each command ---- */

static bool is_flush(const char *command)
{
	return strcmp(command, "FlushContext") == 0;
}

static bool passes(const struct outcome *outcome, const char *command)
{
	(void)command;
	return outcome->rv == CKR_OK;
}

/* What is not flushed is said in the log, and is no reason to fail. */
static bool fails_as(const struct outcome *outcome, const char *command, unsigned long number)
{
	return is_flush(command) ? outcome->rv == CKR_OK : outcome->failure == number;
}

static bool is_malformed(const struct outcome *outcome, const char *command)
{
	return fails_as(outcome, command, 137);
}

static bool is_silent(const struct outcome *outcome, const char *command)
{
	return fails_as(outcome, command, 130);
}

static bool is_locked(const struct outcome *outcome, const char *command)
{
	return fails_as(outcome, command, 132);
}

static bool notices_pcrs(const struct outcome *outcome, const char *command)
{
	(void)command;
	return outcome->rv == CKR_OK || outcome->failure == 138;
}

static bool notices_restart(const struct outcome *outcome, const char *command)
{
	(void)command;
	return outcome->rv == CKR_OK || outcome->failure == 139 || outcome->failure == 150;
}

static const struct action {
	const char *what, *rule;
	bool (*right)(const struct outcome *outcome, const char *command);
	bool restarts; /* or the boot log would not replay any more */
} actions[] = {
    {"0x922", "'do':'respond','value':'0x922'", passes, false},
    {"lockout", "'do':'respond','value':'0x921'", is_locked, false},
    {"wrong tag", "'do':'write','at':0,'value':'4854'", is_malformed, false},
    {"too long", "'do':'lengthen','value':1", is_malformed, false},
    {"silence", "'do':'drop'", is_silent, false},
    {"PCR 10 moves", "'do':'extend','value':10", passes, false},
    {"PCR 7 moves", "'do':'extend','value':7", notices_pcrs, true},
    {"restart", "'do':'restart'", notices_restart, true},
    {"restart behind it", "'do':'restart-after'", notices_restart, true},
};

static bool needs_authorisation(const char *command)
{
	static const char *const commands[] = {"NV_Write",      "NV_Read", "Quote",
	                                       "CreatePrimary", "Certify", "RSA_Decrypt"};

	for (size_t i = 0; i < LENGTH(commands); i++)
		if (strcmp(command, commands[i]) == 0)
			return true;
	return false;
}

/* V-14: after a refusal by lockout nothing is sent that could count as another failed attempt. */
static int authorised_behind(const struct outcome *outcome, int at)
{
	int behind = 0;

	for (int i = 0; i < course_len; i++)
		if (needs_authorisation(course[i]) && times_in_course(course[i], i) == 0)
			behind += vtpm_count(&outcome->tpm, course[i]) - times_in_course(course[i], at + 1);
	return behind;
}

static int wrong_at(const struct action *action, int at)
{
	char rule[256], what[128];
	struct outcome outcome;

	snprintf(rule, sizeof(rule), "{'on':'*','nth':%d,%s}", at + 1, action->rule);
	snprintf(what, sizeof(what), "%s at command %d, %s", action->what, at + 1, course[at]);
	vtpm_faults(rule);
	login(&outcome);
	vtpm_faults("");
	bool right = action->right(&outcome, course[at]) && leaves_nothing(&outcome) && outcome.seconds < 15 &&
	             outcome.tpm.unmet == 0;
	if (action->right == is_locked && !is_flush(course[at]))
		right = right && authorised_behind(&outcome, at) == 0;
	if (!right)
		print_outcome(what, &outcome);
	if (action->restarts)
		vtpm_control("{'restart':true}");
	return !right + (outcome.rv == CKR_OK ? 0 : wrong_clean_login(what));
}

static int wrong_actions(const struct action *first, size_t count)
{
	int wrong = 0;

	for (size_t i = 0; i < count; i++) {
		device_fault(first[i].restarts ? "event-log-EACCES" : "");
		for (int at = 0; at < course_len; at++)
			wrong += wrong_at(&first[i], at);
	}
	device_fault("");
	return wrong;
}

static void a_fault_at_any_command_ends_well(void **state)
{
	(void)state;
	assert_int_equal(wrong_actions(actions, LENGTH(actions)), 0);
}

/* On a confidential VM, where more is read. */
static void a_restart_at_any_command_ends_well(void **state)
{
	(void)state;
	assert_int_equal(wrong_actions(&actions[LENGTH(actions) - 2], 2), 0);
}

static void configure(const char *more)
{
	char globals[4200];

	snprintf(globals, sizeof(globals), "agent = exec:%s/skr-agent\nlogin_deadline = 20\n%s",
	         getenv("SKR_EMULATOR_DIR"), more);
	matrix_configure(globals, "");
}

/*
 * Where no resource manager clears up behind a connection, it is ourselves who do. (By this transport each command has
 * a connection of its own, so what a silent TPM made nobody can know.)
 */
static void nothing_is_left_where_nobody_clears_up(void **state)
{
	(void)state;
	configure(expand("tpm = $SKR_EMULATOR_TPM"));
	int wrong = wrong_clean_login("without a resource manager");
	wrong += wrong_actions(&actions[0], 4);
	configure("");
	assert_int_equal(wrong, 0);
}

/* ---- others use the TPM too ---- */

struct neighbour {
	const char *const *commands; /* NULL behind the last */
	unsigned pause_us;           /* at most */
	atomic_bool stop;
	int done, failed;
	pthread_t thread;
};

static void *neighbour_works(void *with)
{
	struct neighbour *neighbour = with;
	struct vtpm_user user;
	unsigned seed = (unsigned)getpid();

	vtpm_user_open(&user);
	while (!atomic_load(&neighbour->stop))
		for (size_t i = 0; neighbour->commands[i]; i++) {
			int64_t code = vtpm_user_command(&user, neighbour->commands[i]);
			neighbour->failed += code != 0;
			neighbour->done++;
			usleep(neighbour->pause_us ? (useconds_t)rand_r(&seed) % neighbour->pause_us : 0);
		}
	vtpm_user_close(&user);
	return NULL;
}

static void neighbour_begin(struct neighbour *neighbour)
{
	assert_int_equal(pthread_create(&neighbour->thread, NULL, neighbour_works, neighbour), 0);
}

static void neighbour_end(struct neighbour *neighbour)
{
	atomic_store(&neighbour->stop, true);
	pthread_join(neighbour->thread, NULL);
	assert_int_equal(neighbour->failed, 0);
	assert_true(neighbour->done > 0);
}

/* Handles and connections are the neighbour's while it works. */
static int wrong_beside(int logins, const char *what, bool (*right)(const struct outcome *outcome))
{
	struct outcome outcome;
	int wrong = 0;

	for (int i = 0; i < logins; i++) {
		login(&outcome);
		if (right(&outcome) && outcome.key == (outcome.rv == CKR_OK) && outcome.seconds < 15)
			continue;
		print_outcome(what, &outcome);
		wrong++;
	}
	return wrong;
}

static bool succeeds(const struct outcome *outcome)
{
	return outcome->rv == CKR_OK;
}

static void a_second_user_of_the_tpm_disturbs_nobody(void **state)
{
	(void)state;
	static const char *const commands[] = {TPM_GET_RANDOM, TPM_QUOTE, NULL};
	struct neighbour neighbour = {.commands = commands};

	neighbour_begin(&neighbour);
	int wrong = wrong_beside(20, "beside a second user", succeeds);
	neighbour_end(&neighbour);
	printf("20 logins beside %d commands of another process\n", neighbour.done);
	assert_int_equal(wrong, 0);
	assert_int_equal(wrong_clean_login("alone again"), 0);
}

/* IMA, for one: 0x128 is not rare then. */
static void a_pcr_that_is_extended_all_the_time_disturbs_nobody(void **state)
{
	(void)state;
	static const char *const commands[] = {TPM_EXTEND_PCR_10, NULL};
	struct neighbour neighbour = {.commands = commands, .pause_us = 10000};
	struct outcome outcome;
	int again = 0, wrong = 0;

	neighbour_begin(&neighbour);
	for (int i = 0; i < 10; i++) {
		login(&outcome);
		again += vtpm_count(&outcome.tpm, "PolicyRestart");
		if (outcome.rv != CKR_OK)
			print_outcome("while PCR 10 is extended", &outcome);
		wrong += outcome.rv != CKR_OK;
	}
	neighbour_end(&neighbour);
	printf("10 logins beside %d extensions, %d policy sessions begun again\n", neighbour.done, again);
	assert_int_equal(wrong, 0);
	assert_int_equal(wrong_clean_login("when it is over"), 0);
}

/* V-18, I-34: evidence for what somebody else wrote is never sent. */
static bool is_ours_or_nobodys(const struct outcome *outcome)
{
	return outcome->rv == CKR_OK ? outcome->attestations == 1
	                             : outcome->failure == 136 && outcome->attestations == 0;
}

static void who_writes_into_the_input_gets_no_evidence(void **state)
{
	(void)state;
	static const char *const commands[] = {TPM_WRITE_INPUT, NULL};
	struct neighbour neighbour = {.commands = commands, .pause_us = 2500000};

	neighbour_begin(&neighbour);
	int wrong = wrong_beside(6, "beside a racing writer", is_ours_or_nobodys);
	neighbour_end(&neighbour);
	assert_int_equal(wrong, 0);
	assert_int_equal(wrong_clean_login("when it is over"), 0);
}

static int set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	module_load();
	configure("");
	course_make();
	/* PCRs that are extended here are not in the boot log, so it is hidden. */
	emulator_control("POST", "/hardware", "{\"secure_boot_without_log\":true}");
	return wrong_clean_login("the first of all");
}

static int tear_down(void **state)
{
	(void)state;
	emulator_faults("");
	vtpm_control("{'faults':[],'restart':true,'ak_certificate':'good'}");
	device_fault("");
	return 0;
}

int main(void)
{
	static const struct CMUnitTest launch[] = {
	    cmocka_unit_test_teardown(a_device_that_does_not_open_has_its_number, tear_down),
	    cmocka_unit_test_teardown(whatever_the_tpm_says_has_its_number, tear_down),
	    cmocka_unit_test_teardown(a_sealed_token_that_is_changed_is_not_for_us, tear_down),
	    cmocka_unit_test_teardown(what_moves_meanwhile_is_noticed, tear_down),
	    cmocka_unit_test_teardown(certificates_of_the_attestation_key_are_told_apart, tear_down),
	    cmocka_unit_test_teardown(a_quiet_login_takes_so_many_commands_and_no_more, tear_down),
	    cmocka_unit_test_teardown(the_tpm_is_open_only_while_it_works, tear_down),
	    cmocka_unit_test_teardown(a_fault_at_any_command_ends_well, tear_down),
	    cmocka_unit_test_teardown(nothing_is_left_where_nobody_clears_up, tear_down),
	    cmocka_unit_test_teardown(a_second_user_of_the_tpm_disturbs_nobody, tear_down),
	    cmocka_unit_test_teardown(a_pcr_that_is_extended_all_the_time_disturbs_nobody, tear_down),
	};
	static const struct CMUnitTest snp[] = {
	    cmocka_unit_test_teardown(no_changed_report_gives_a_key, tear_down),
	    cmocka_unit_test_teardown(a_quiet_login_takes_so_many_commands_and_no_more, tear_down),
	    cmocka_unit_test_teardown(a_restart_at_any_command_ends_well, tear_down),
	    cmocka_unit_test_teardown(who_writes_into_the_input_gets_no_evidence, tear_down),
	};
	static const struct CMUnitTest tdx[] = {
	    cmocka_unit_test_teardown(whatever_the_quote_service_says_has_its_number, tear_down),
	    cmocka_unit_test_teardown(a_quiet_login_takes_so_many_commands_and_no_more, tear_down),
	};

	if (machine_is("trusted-launch"))
		return cmocka_run_group_tests_name("integration.vtpm", launch, set_up, NULL);
	if (machine_is("cvm-snp"))
		return cmocka_run_group_tests_name("integration.vtpm", snp, set_up, NULL);
	return cmocka_run_group_tests_name("integration.vtpm", tdx, set_up, NULL);
}
