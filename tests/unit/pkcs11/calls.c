/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/functions.h"

#include "base/file.h"
#include "base/log.h"
#include "token/token.h"
#include "unit/pkcs11/played_release.h"

#include <openssl/pem.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include <skr_pkcs11.h>

/* The whole of what a program sees, with release/ played: tests/unit/pkcs11/played_release.h. */

static CK_FUNCTION_LIST *p11;
static char folder[256], conf[300], rsa_pem[300];

#define assert_rv(call, expected)                                                        \
	do {                                                                             \
		CK_RV rv_ = (call);                                                      \
		if (rv_ != (expected))                                                   \
			fail_msg("%s: 0x%lx, not 0x%lx", #call, rv_, (CK_RV)(expected)); \
	} while (0)
#define assert_ok(call) assert_rv(call, CKR_OK)

/* ---- surroundings ---- */

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	fputs(text, f);
	fclose(f);
	chmod(path, 0644);
}

static const char plain[] = "[skr-pkcs11]\n"
                            "log = none\n"
                            "[token web]\n"
                            "attestation = https://sharedneu.neu.attest.azure.net\n"
                            "key = https://contoso.vault.azure.net/keys/rsa\n"
                            "key = https://contoso.vault.azure.net/keys/ec\n"
                            "certificate = %s\n"
                            "%s\n"
                            "[token other]\n"
                            "attestation = https://sharedneu.neu.attest.azure.net\n"
                            "key = https://contoso.vault.azure.net/keys/ec-other\n";

/* `more`: further lines of token web. */
static void configure(const char *more)
{
	char text[4096];

	snprintf(text, sizeof(text), plain, rsa_pem, more);
	write_file(conf, text);
}

static void initialize(void)
{
	CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
	assert_ok(p11->C_Initialize(&args));
}

static CK_SESSION_HANDLE open_session(CK_SLOT_ID slot)
{
	CK_SESSION_HANDLE session = 0;
	assert_ok(p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session));
	return session;
}

static CK_RV login(CK_SESSION_HANDLE session)
{
	return p11->C_Login(session, CKU_USER, NULL, 0);
}

/* Each test begins with a fresh configuration and nothing played, and ends finalised. */
static int before(void **state)
{
	(void)state;
	played.calls = played.most_at_once = 0;
	played.failure = played.delay_ms = 0;
	played.deaf = false;
	played.version = "0123456789abcdef0123456789abcdef";
	configure("");
	setenv("SKR_PKCS11_CONF", conf, 1);
	return 0;
}

static int after(void **state)
{
	(void)state;
	p11->C_Finalize(NULL);
	return 0;
}

static CK_ULONG find(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *out,
                     CK_ULONG max)
{
	CK_ULONG found = 0;

	assert_ok(p11->C_FindObjectsInit(session, template, count));
	assert_ok(p11->C_FindObjects(session, out, max, &found));
	assert_ok(p11->C_FindObjectsFinal(session));
	return found;
}

static CK_OBJECT_HANDLE find_one(CK_SESSION_HANDLE session, CK_OBJECT_CLASS class, const char *label)
{
	CK_ATTRIBUTE t[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_LABEL, (char *)label, strlen(label)}};
	CK_OBJECT_HANDLE found[4] = {0};

	return find(session, t, 2, found, 4) == 1 ? found[0] : 0;
}

static CK_ULONG count_of(CK_SESSION_HANDLE session, CK_OBJECT_CLASS class)
{
	CK_ATTRIBUTE t = {CKA_CLASS, &class, sizeof(class)};
	CK_OBJECT_HANDLE found[64];
	return find(session, &t, 1, found, 64);
}

static CK_RV sign(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
	CK_MECHANISM mechanism = {CKM_SHA256_RSA_PKCS, NULL, 0};
	CK_BYTE signature[1024];
	CK_ULONG len = sizeof(signature);
	CK_RV rv = p11->C_SignInit(session, &mechanism, key);

	return rv == CKR_OK ? p11->C_Sign(session, (CK_BYTE *)"abc", 3, signature, &len) : rv;
}

/* Runs `body` in a child made by fork; it must return true. */
static void in_child(bool (*body)(CK_SESSION_HANDLE), CK_SESSION_HANDLE session)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(body(session) ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- life ---- */

static void nothing_works_before_initialize_but_discovery(void **state)
{
	(void)state;
	CK_INFO info;
	CK_ULONG count = 0;
	CK_INTERFACE *interface;

	assert_rv(p11->C_GetInfo(&info), CKR_CRYPTOKI_NOT_INITIALIZED);
	assert_rv(p11->C_GetSlotList(CK_TRUE, NULL, &count), CKR_CRYPTOKI_NOT_INITIALIZED);
	assert_rv(p11->C_Finalize(NULL), CKR_CRYPTOKI_NOT_INITIALIZED);
	assert_ok(C_GetInterface(NULL, NULL, &interface, 0));
}

static void initialize_takes_what_hosts_pass(void **state)
{
	(void)state;
	CK_RV (*some)(void) = (CK_RV(*)(void))abort;
	CK_C_INITIALIZE_ARGS unknown = {.flags = 1 << 5}, one = {.CreateMutex = (void *)some},
	                     callbacks = {(void *)some, (void *)some, (void *)some, (void *)some, 0, NULL};

	assert_rv(p11->C_Initialize(&unknown), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_Initialize(&one), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_Initialize(&callbacks), CKR_CANT_LOCK);
	callbacks.flags = CKF_OS_LOCKING_OK | CKF_LIBRARY_CANT_CREATE_OS_THREADS;
	callbacks.pReserved = (char[]){"configdir='sql:/etc/pki'"};
	assert_ok(p11->C_Initialize(&callbacks));
	assert_rv(p11->C_Initialize(NULL), CKR_CRYPTOKI_ALREADY_INITIALIZED);
	assert_rv(p11->C_Finalize(&unknown), CKR_ARGUMENTS_BAD);
	assert_ok(p11->C_Finalize(NULL));
	assert_ok(p11->C_Initialize(NULL));
}

static void the_reserved_string_names_the_configuration(void **state)
{
	(void)state;
	char text[400];
	CK_C_INITIALIZE_ARGS args = {.pReserved = text};
	CK_ULONG count = 0;

	setenv("SKR_PKCS11_CONF", "/nonexistent/skr.conf", 1);
	snprintf(text, sizeof(text), "skr_conf=%s", conf);
	assert_ok(p11->C_Initialize(&args));
	assert_ok(p11->C_GetSlotList(CK_TRUE, NULL, &count));
	assert_int_equal(count, 2);
}

/* E-01, E-04: architecture section 5, point 1. The first test that runs: a configuration once read is kept. */
static void without_a_good_configuration_there_are_no_slots_and_a_reason(void **state)
{
	(void)state;
	CK_ULONG count = 77;
	CK_INTERFACE *interface;
	struct skr_failure failure;

	assert_ok(C_GetInterface((CK_UTF8CHAR *)SKR_INTERFACE_NAME, NULL, &interface, 0));
	struct skr_diagnostics *diagnostics = interface->pFunctionList;

	setenv("SKR_PKCS11_CONF", "/nonexistent/skr.conf", 1);
	assert_ok(p11->C_Initialize(NULL));
	assert_ok(p11->C_GetSlotList(CK_TRUE, NULL, &count));
	assert_int_equal(count, 0);
	assert_ok(diagnostics->configuration_failure(&failure));
	assert_int_equal(failure.number, 1);
	assert_ok(p11->C_Finalize(NULL));

	setenv("SKR_PKCS11_CONF", conf, 1);
	configure("no_such_key = 1");
	assert_ok(p11->C_Initialize(NULL));
	assert_ok(p11->C_GetSlotList(CK_TRUE, NULL, &count));
	assert_int_equal(count, 0);
	assert_ok(diagnostics->configuration_failure(&failure));
	assert_int_equal(failure.number, 4);
	assert_non_null(strstr(failure.line, "no_such_key"));
	assert_ok(p11->C_Finalize(NULL));

	configure("");
	assert_ok(p11->C_Initialize(NULL));
	assert_ok(diagnostics->configuration_failure(&failure));
	assert_int_equal(failure.number, 0);
}

/* Consumers, rule 8: what was read stays when the file cannot be read any more. */
static void a_configuration_once_read_stays(void **state)
{
	(void)state;
	CK_ULONG count = 0;

	initialize();
	assert_ok(p11->C_Finalize(NULL));
	assert_int_equal(unlink(conf), 0);
	initialize();
	assert_ok(p11->C_GetSlotList(CK_TRUE, NULL, &count));
	assert_int_equal(count, 2);
}

/* ---- discovery ---- */

static void the_list_is_2_40_and_complete(void **state)
{
	(void)state;
	assert_int_equal(p11->version.major, 2);
	assert_int_equal(p11->version.minor, 40);
#define CHECK(name_) assert_ptr_equal(p11->name_, name_);
	FUNCTIONS(CHECK)
	assert_rv(C_GetFunctionList(NULL), CKR_ARGUMENTS_BAD);
}

static void interfaces_are_found_by_name_and_version(void **state)
{
	(void)state;
	CK_ULONG count = 0;
	CK_INTERFACE list[8], *interface = NULL;
	CK_VERSION v2_40 = {2, 40}, v3 = {3, 0}, v9 = {9, 0};

	assert_ok(C_GetInterfaceList(NULL, &count));
	assert_true(count >= 2 && count <= 8);
	CK_ULONG small = 1;
	assert_rv(C_GetInterfaceList(list, &small), CKR_BUFFER_TOO_SMALL);
	assert_int_equal(small, count);
	assert_ok(C_GetInterfaceList(list, &count));
	assert_rv(C_GetInterfaceList(NULL, NULL), CKR_ARGUMENTS_BAD);

	assert_ok(C_GetInterface((CK_UTF8CHAR *)"PKCS 11", &v2_40, &interface, 0));
	assert_ptr_equal(interface->pFunctionList, p11);
	assert_ok(C_GetInterface((CK_UTF8CHAR *)"PKCS 11", NULL, &interface, 0));
	assert_ptr_equal(interface->pFunctionList, p11);
	assert_ok(C_GetInterface((CK_UTF8CHAR *)"PKCS 11", &v3, &interface, 0));
	const struct function_list_3_0 *list_3_0 = interface->pFunctionList;
	assert_int_equal(list_3_0->v2_40.version.major, 3);
#define CHECK_2_40(name_) assert_ptr_equal(list_3_0->v2_40.name_, name_);
#define CHECK_3_0(name_)  assert_ptr_equal(list_3_0->name_, name_);
	FUNCTIONS(CHECK_2_40)
	FUNCTIONS_3_0(CHECK_3_0)
	assert_rv(C_GetInterface((CK_UTF8CHAR *)"PKCS 11", &v9, &interface, 0), CKR_FUNCTION_FAILED);
	assert_rv(C_GetInterface((CK_UTF8CHAR *)"Vendor nobody", NULL, &interface, 0), CKR_FUNCTION_FAILED);
	assert_rv(C_GetInterface(NULL, NULL, NULL, 0), CKR_ARGUMENTS_BAD);
}

static void slots_and_tokens_say_what_clients_rely_on(void **state)
{
	(void)state;
	CK_SLOT_ID slots[2];
	CK_ULONG count = 1;
	CK_TOKEN_INFO token;
	CK_SLOT_INFO slot;
	CK_INFO info, again;

	initialize();
	assert_rv(p11->C_GetSlotList(CK_TRUE, slots, &count), CKR_BUFFER_TOO_SMALL);
	assert_int_equal(count, 2);
	assert_ok(p11->C_GetSlotList(CK_TRUE, slots, &count));
	assert_ok(p11->C_GetSlotInfo(slots[0], &slot));
	assert_true(slot.flags & CKF_TOKEN_PRESENT);
	assert_ok(p11->C_GetTokenInfo(slots[0], &token));
	assert_memory_equal(token.label, "web                             ", 32);
	assert_true(token.flags & CKF_PROTECTED_AUTHENTICATION_PATH);
	assert_true(token.flags & CKF_LOGIN_REQUIRED && token.flags & CKF_TOKEN_INITIALIZED);
	unsigned char serial[16];
	memcpy(serial, token.serialNumber, 16);
	assert_rv(p11->C_GetTokenInfo(2, &token), CKR_SLOT_ID_INVALID);
	assert_ok(p11->C_GetInfo(&info));

	assert_ok(p11->C_Finalize(NULL));
	initialize();
	assert_ok(p11->C_GetTokenInfo(slots[0], &token));
	assert_memory_equal(token.serialNumber, serial, 16);
	assert_ok(p11->C_GetInfo(&again));
	assert_memory_equal(&info, &again, sizeof(info));
}

/* ---- objects ---- */

static void certificates_and_public_keys_are_seen_before_login(void **state)
{
	(void)state;
	initialize();
	CK_SESSION_HANDLE session = open_session(0);

	assert_true(find_one(session, CKO_CERTIFICATE, "rsa") != 0);
	assert_true(find_one(session, CKO_PUBLIC_KEY, "rsa") != 0);
	assert_int_equal(count_of(session, CKO_PRIVATE_KEY), 0);
	assert_int_equal(played.calls, 0);
}

static void the_three_of_a_kind_have_one_id_of_20_bytes(void **state)
{
	(void)state;
	CK_OBJECT_CLASS classes[] = {CKO_CERTIFICATE, CKO_PUBLIC_KEY, CKO_PRIVATE_KEY};
	unsigned char ids[3][64];

	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	for (int i = 0; i < 3; i++) {
		CK_ATTRIBUTE id = {CKA_ID, ids[i], sizeof(ids[i])};
		assert_ok(p11->C_GetAttributeValue(session, find_one(session, classes[i], "rsa"), &id, 1));
		assert_int_equal(id.ulValueLen, 20);
		assert_memory_equal(ids[i], ids[0], 20);
	}
}

static void the_private_key_tells_its_public_numbers_and_no_secret(void **state)
{
	(void)state;
	static const CK_ATTRIBUTE_TYPE secrets[] = {CKA_PRIVATE_EXPONENT, CKA_PRIME_1,    CKA_PRIME_2,
	                                            CKA_EXPONENT_1,       CKA_EXPONENT_2, CKA_COEFFICIENT};
	unsigned char modulus[512], exponent[8], secret[512], point[128], params[32];
	CK_BBOOL flags[6];

	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	CK_OBJECT_HANDLE rsa = find_one(session, CKO_PRIVATE_KEY, "rsa"), ec = find_one(session, CKO_PRIVATE_KEY, "ec");
	CK_ATTRIBUTE numbers[] = {{CKA_MODULUS, modulus, sizeof(modulus)},
	                          {CKA_PUBLIC_EXPONENT, exponent, sizeof(exponent)},
	                          {CKA_SENSITIVE, &flags[0], 1},
	                          {CKA_EXTRACTABLE, &flags[1], 1},
	                          {CKA_COPYABLE, &flags[2], 1},
	                          {CKA_ALWAYS_AUTHENTICATE, &flags[3], 1},
	                          {CKA_SIGN, &flags[4], 1},
	                          {CKA_PRIVATE, &flags[5], 1}};
	assert_ok(p11->C_GetAttributeValue(session, rsa, numbers, 8));
	assert_int_equal(numbers[0].ulValueLen, 256);
	assert_int_equal(numbers[1].ulValueLen, 3);
	CK_BBOOL expected[] = {CK_TRUE, CK_FALSE, CK_FALSE, CK_FALSE, CK_TRUE, CK_TRUE};
	assert_memory_equal(flags, expected, 6);

	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
		CK_ATTRIBUTE t = {secrets[i], secret, sizeof(secret)};
		assert_rv(p11->C_GetAttributeValue(session, rsa, &t, 1), CKR_ATTRIBUTE_SENSITIVE);
		assert_int_equal(t.ulValueLen, CK_UNAVAILABLE_INFORMATION);
	}
	CK_ATTRIBUTE value = {CKA_VALUE, secret, sizeof(secret)};
	assert_rv(p11->C_GetAttributeValue(session, ec, &value, 1), CKR_ATTRIBUTE_SENSITIVE);
	CK_ATTRIBUTE curve[] = {{CKA_EC_POINT, point, sizeof(point)}, {CKA_EC_PARAMS, params, sizeof(params)}};
	assert_ok(p11->C_GetAttributeValue(session, ec, curve, 2));
	assert_int_equal(curve[0].ulValueLen, 67);
	assert_memory_equal(point, "\x04\x41\x04", 3);
	assert_memory_equal(params, "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", 10);
}

/* Consumers, rule 11: NSS, Java and others search for what we do not have. */
static void searches_for_strangers_are_empty(void **state)
{
	(void)state;
	CK_OBJECT_CLASS strange[] = {0xce534353, 0xce534354, 9, CKO_DATA};

	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(count_of(session, strange[i]), 0);
	CK_ATTRIBUTE vendor = {CKA_VENDOR_DEFINED | 7, (char[]){"x"}, 1};
	CK_OBJECT_HANDLE found;
	assert_int_equal(find(session, &vendor, 1, &found, 1), 0);
	assert_true(find(session, NULL, 0, &found, 1) == 1);
}

static void a_search_is_over_when_it_is_ended(void **state)
{
	(void)state;
	CK_OBJECT_HANDLE found[8];
	CK_ULONG count = 8;

	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_rv(p11->C_FindObjects(session, found, 8, &count), CKR_OPERATION_NOT_INITIALIZED);
	assert_rv(p11->C_FindObjectsFinal(session), CKR_OPERATION_NOT_INITIALIZED);
	assert_ok(p11->C_FindObjectsInit(session, NULL, 0));
	assert_rv(p11->C_FindObjectsInit(session, NULL, 0), CKR_OPERATION_ACTIVE);
	for (;;) {
		assert_ok(p11->C_FindObjects(session, found, 1, &count));
		if (count == 0)
			break;
	}
	assert_ok(p11->C_FindObjectsFinal(session));
	assert_ok(p11->C_FindObjectsInit(session, NULL, 0));
}

static void token_objects_cannot_be_changed_copied_destroyed_or_made(void **state)
{
	(void)state;
	CK_BBOOL no = CK_FALSE, yes = CK_TRUE;
	CK_ATTRIBUTE extractable = {CKA_EXTRACTABLE, &yes, 1}, session_object = {CKA_TOKEN, &no, 1},
	             token_object = {CKA_TOKEN, &yes, 1};
	CK_OBJECT_HANDLE made;

	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	CK_OBJECT_HANDLE key = find_one(session, CKO_PRIVATE_KEY, "rsa");
	assert_rv(p11->C_SetAttributeValue(session, key, &extractable, 1), CKR_ACTION_PROHIBITED);
	assert_rv(p11->C_CopyObject(session, key, &session_object, 1, &made), CKR_ACTION_PROHIBITED);
	assert_rv(p11->C_DestroyObject(session, key), CKR_ACTION_PROHIBITED);
	assert_rv(p11->C_DestroyObject(session, 12345), CKR_OBJECT_HANDLE_INVALID);
	assert_rv(p11->C_CreateObject(session, &token_object, 1, &made), CKR_TOKEN_WRITE_PROTECTED);
	assert_true(find_one(session, CKO_PRIVATE_KEY, "rsa") == key);
}

/* ---- login ---- */

static void any_pin_opens_and_a_second_login_says_so(void **state)
{
	(void)state;
	CK_UTF8CHAR pin[] = "1234";

	initialize();
	CK_SESSION_HANDLE session = open_session(0), second = open_session(0);
	assert_rv(p11->C_Login(session, CKU_SO, NULL, 0), CKR_USER_TYPE_INVALID);
	assert_rv(p11->C_Login(session, CKU_CONTEXT_SPECIFIC, NULL, 0), CKR_OPERATION_NOT_INITIALIZED);
	assert_rv(p11->C_Login(session, 99, NULL, 0), CKR_USER_TYPE_INVALID);
	assert_rv(p11->C_Login(session, CKU_USER, NULL, 4), CKR_ARGUMENTS_BAD);
	assert_ok(p11->C_Login(session, CKU_USER, pin, 4));
	assert_rv(p11->C_Login(second, CKU_USER, pin, 0), CKR_USER_ALREADY_LOGGED_IN);
	assert_int_equal(played.calls, 1);
	CK_SESSION_INFO info;
	assert_ok(p11->C_GetSessionInfo(second, &info));
	assert_int_equal(info.state, CKS_RW_USER_FUNCTIONS);
}

/* Consumers, rule 2: p11tool's open, login, close, once for each object. */
static void closing_the_last_session_logs_out_but_keeps_the_keys_for_a_while(void **state)
{
	(void)state;
	initialize();
	for (int i = 0; i < 13; i++) {
		CK_SESSION_HANDLE session = open_session(0);
		assert_int_equal(count_of(session, CKO_PRIVATE_KEY), 0);
		assert_ok(login(session));
		assert_ok(sign(session, find_one(session, CKO_PRIVATE_KEY, "rsa")));
		assert_ok(p11->C_CloseSession(session));
	}
	assert_int_equal(played.calls, 1);
}

static void without_grace_the_keys_go_with_the_last_session(void **state)
{
	(void)state;
	configure("relogin_grace = 0");
	initialize();
	for (int i = 0; i < 2; i++) {
		CK_SESSION_HANDLE session = open_session(0);
		assert_ok(login(session));
		assert_ok(p11->C_CloseAllSessions(0));
	}
	assert_int_equal(played.calls, 2);
}

static void logout_erases_at_once_and_ends_what_uses_the_keys(void **state)
{
	(void)state;
	CK_MECHANISM mechanism = {CKM_SHA256_RSA_PKCS, NULL, 0};
	CK_BYTE signature[512];
	CK_ULONG len = sizeof(signature);

	initialize();
	CK_SESSION_HANDLE session = open_session(0), other = open_session(0);
	assert_rv(p11->C_Logout(session), CKR_USER_NOT_LOGGED_IN);
	assert_ok(login(session));
	CK_OBJECT_HANDLE key = find_one(session, CKO_PRIVATE_KEY, "rsa");
	assert_ok(p11->C_SignInit(other, &mechanism, key));
	assert_ok(p11->C_Logout(session));
	assert_rv(p11->C_Sign(other, signature, 3, signature, &len), CKR_OPERATION_NOT_INITIALIZED);
	assert_rv(p11->C_SignInit(other, &mechanism, key), CKR_USER_NOT_LOGGED_IN);
	CK_ULONG size;
	assert_rv(p11->C_GetObjectSize(session, key, &size), CKR_OBJECT_HANDLE_INVALID);
	assert_int_equal(count_of(session, CKO_PRIVATE_KEY), 0);

	assert_ok(login(session));
	assert_int_equal(played.calls, 2);
	assert_true(find_one(session, CKO_PRIVATE_KEY, "rsa") == key); /* the same key, so the same number */
}

/* K-14, I-30 */
static void after_key_max_age_nobody_is_logged_in(void **state)
{
	(void)state;
	configure("key_max_age = 1");
	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	CK_OBJECT_HANDLE key = find_one(session, CKO_PRIVATE_KEY, "rsa");
	assert_ok(sign(session, key));
	usleep(1100 * 1000);
	assert_rv(sign(session, key), CKR_USER_NOT_LOGGED_IN);
	assert_int_equal(count_of(session, CKO_PRIVATE_KEY), 0);
	assert_ok(login(session));
	assert_ok(sign(session, key));
	assert_int_equal(played.calls, 2);
}

/* Failure-matrix section 1: the families, and no packet in a tight loop (C-05). */
static void a_failure_is_named_once_and_then_suppressed(void **state)
{
	(void)state;
	static const struct {
		int failure;
		CK_RV rv;
	} rows[] = {{332, CKR_FUNCTION_FAILED}, {340, CKR_FUNCTION_FAILED}, {203, CKR_DEVICE_ERROR}};
	CK_INTERFACE *interface;
	struct skr_failure failure;

	assert_ok(C_GetInterface((CK_UTF8CHAR *)SKR_INTERFACE_NAME, NULL, &interface, 0));
	struct skr_diagnostics *diagnostics = interface->pFunctionList;
	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	for (size_t i = 0; i < 3; i++) {
		played.calls = 0;
		played.failure = rows[i].failure;
		for (int n = 0; n < 50; n++)
			assert_rv(login(session), rows[i].rv);
		assert_int_equal(played.calls, 1);
		assert_ok(diagnostics->last_failure(0, &failure));
		assert_int_equal(failure.number, rows[i].failure);
		assert_non_null(strstr(failure.line, "token web"));
		assert_int_equal(count_of(session, CKO_PRIVATE_KEY), 0);
		assert_rv(p11->C_Logout(session), CKR_USER_NOT_LOGGED_IN); /* lets it be tried again */
	}
	played.failure = 0;
	assert_ok(login(session));
	assert_ok(diagnostics->last_failure(0, &failure));
	assert_int_equal(failure.number, 0);
}

static void configure_audit(const char *file, const char *policy, const char *more)
{
	char text[4096], whole[4500];

	snprintf(text, sizeof(text), plain, rsa_pem, more);
	snprintf(whole, sizeof(whole), "[skr-pkcs11]\naudit_file = %s\naudit = %s\n%s", file, policy,
	         text + strlen("[skr-pkcs11]\n"));
	write_file(conf, whole);
}

/* E-15, E-14 */
static void what_is_not_on_record_is_not_released(void **state)
{
	(void)state;
	configure_audit("/dev/full", "required", "");
	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_rv(login(session), CKR_FUNCTION_FAILED);
	assert_int_equal(played.calls, 0);
	assert_ok(p11->C_Finalize(NULL));

	configure_audit("/dev/full", "best-effort", "");
	initialize();
	assert_ok(login(open_session(0)));
	assert_int_equal(played.calls, 1);
}

/* Threat model section 11. */
static void the_audit_trail_tells_of_logins_failures_and_logouts(void **state)
{
	(void)state;
	char trail[300];
	auto_buf text = BUF(64 * 1024);

	snprintf(trail, sizeof(trail), "%s/audit", folder);
	configure_audit(trail, "required", "");
	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	assert_ok(p11->C_Logout(session));
	played.failure = 340;
	assert_rv(login(session), CKR_FUNCTION_FAILED);
	assert_int_equal(file_read(trail, &text).failure, 0);
	unlink(trail);

	static const char *const events[] = {"login-begins", "login", "logout", "login-begins", "security"};
	char *rest = (char *)text.data, *line;
	for (size_t i = 0; i < 5; i++) {
		auto_json *record = NULL;
		line = strsep(&rest, "\n");
		assert_int_equal(json_parse(line, strlen(line), &record).failure, 0);
		assert_string_equal(json_string_or_null(record, "event"), events[i]);
		assert_string_equal(json_string_or_null(record, "token"), "web");
		/* What the agent told is on record for good logins and bad ones; the keys are for all. */
		const json *told = json_get(record, "told_by_agent");
		bool login_ended = i == 1 || i == 4;
		assert_int_equal(json_kind(told), login_ended ? JSON_OBJECT : JSON_NONE);
		if (login_ended)
			assert_string_equal(json_string_or_null(told, "tee"), "played");
		assert_int_equal(json_count(json_get(record, "keys")) > 0, i != 2);
	}
	assert_string_equal(rest, "");
}

static void assert_last_record(const char *trail, const char *event, const char *reason)
{
	auto_buf text = BUF(64 * 1024);
	auto_json *record = NULL;

	assert_int_equal(file_read(trail, &text).failure, 0);
	unlink(trail);
	const char *last = (const char *)memrchr(text.data, '\n', text.len - 1) + 1;
	assert_int_equal(json_parse(last, strlen(last) - 1, &record).failure, 0);
	assert_string_equal(json_string_or_null(record, "event"), event);
	assert_string_equal(json_string_or_null(record, "reason"), reason);
}

static void erasures_are_on_record_with_their_reason(void **state)
{
	(void)state;
	static const struct {
		const char *setting, *event, *reason;
	} cases[] = {{"", "logout", "C_Logout"},
	             {"key_max_age = 1", "erased", "key_max_age"},
	             {"relogin_grace = 0", "erased", "relogin_grace"}};
	char trail[300];

	snprintf(trail, sizeof(trail), "%s/audit", folder);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		configure_audit(trail, "best-effort", cases[i].setting);
		initialize();
		CK_SESSION_HANDLE session = open_session(0);
		assert_ok(login(session));
		if (i == 1)
			usleep(1100 * 1000);
		if (i == 2)
			assert_ok(p11->C_CloseAllSessions(0));
		else
			assert_rv(p11->C_Logout(session), i ? CKR_USER_NOT_LOGGED_IN : CKR_OK);
		assert_last_record(trail, cases[i].event, cases[i].reason);
		assert_ok(p11->C_Finalize(NULL));
	}
}

/* A wrong PIN is a failed login; who goes on guessing is a security event. */
static void guessing_at_the_pin_is_a_security_event(void **state)
{
	(void)state;
	CK_UTF8CHAR pin[] = "wrong";
	char trail[300];
	auto_buf text = BUF(64 * 1024);

	snprintf(trail, sizeof(trail), "%s/audit", folder);
	configure_audit(trail, "best-effort",
	                "pin_hash = "
	                "scrypt:16384:8:1:U29kaXVtQ2hsb3JpZGUhIQ:UmYyNDO_YRuFmsgA6JK5baM1qTJw1bFvX2are1D2OBc");
	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	for (int i = 0; i < 5; i++)
		assert_rv(p11->C_Login(session, CKU_USER, pin, 5), CKR_PIN_INCORRECT);
	assert_rv(p11->C_Login(session, CKU_USER, pin, 5), CKR_PIN_LOCKED);
	assert_int_equal(file_read(trail, &text).failure, 0);
	unlink(trail);

	char *rest = (char *)text.data;
	for (int i = 0; i < 6; i++) {
		auto_json *record = NULL;
		int64_t failure = 0;
		char *line = strsep(&rest, "\n");
		assert_int_equal(json_parse(line, strlen(line), &record).failure, 0);
		assert_string_equal(json_string_or_null(record, "event"), i < 5 ? "login" : "security");
		assert_int_equal(json_integer(record, "failure", false, &failure).failure, 0);
		assert_int_equal(failure, i < 5 ? 410 : 412);
		assert_null(json_get(record, "told_by_agent")); /* nobody was asked */
	}
	assert_string_equal(rest, "");
	assert_int_equal(played.calls, 0);
}

/* Consumers, rule 15: nginx's workers initialise anew for every handshake. */
static void suppression_outlives_finalize(void **state)
{
	(void)state;
	played.failure = 332;
	for (int i = 0; i < 5; i++) {
		initialize();
		assert_rv(login(open_session(0)), CKR_FUNCTION_FAILED);
		assert_ok(p11->C_Finalize(NULL));
	}
	assert_int_equal(played.calls, 1);
}

static void a_pin_is_asked_for_where_one_is_configured(void **state)
{
	(void)state;
	CK_TOKEN_INFO info;
	CK_UTF8CHAR pin[] = "pleaseletmein";

	configure("pin_hash = scrypt:16384:8:1:U29kaXVtQ2hsb3JpZGUhIQ:UmYyNDO_YRuFmsgA6JK5baM1qTJw1bFvX2are1D2OBc");
	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(p11->C_GetTokenInfo(0, &info));
	assert_false(info.flags & CKF_PROTECTED_AUTHENTICATION_PATH);
	assert_rv(login(session), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_Login(session, CKU_USER, pin, 5), CKR_PIN_INCORRECT);
	assert_int_equal(played.calls, 0);
	assert_ok(p11->C_Login(session, CKU_USER, pin, 13));
	assert_ok(p11->C_CloseAllSessions(0));
	session = open_session(0);
	assert_rv(p11->C_Login(session, CKU_USER, pin, 5), CKR_PIN_INCORRECT); /* kept keys are behind the PIN too */
	assert_ok(p11->C_Login(session, CKU_USER, pin, 13));
	assert_int_equal(played.calls, 1);
}

static void *login_in_thread(void *session)
{
	return (void *)login((CK_SESSION_HANDLE)(uintptr_t)session);
}

/* C-01, I-24 */
static void many_threads_share_one_login(void **state)
{
	(void)state;
	pthread_t threads[16];
	int done = 0, already = 0;

	played.delay_ms = 100;
	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	for (int i = 0; i < 16; i++)
		pthread_create(&threads[i], NULL, login_in_thread, (void *)(uintptr_t)session);
	for (int i = 0; i < 16; i++) {
		void *rv;
		pthread_join(threads[i], &rv);
		done += (CK_RV)rv == CKR_OK;
		already += (CK_RV)rv == CKR_USER_ALREADY_LOGGED_IN;
	}
	assert_int_equal(done, 1);
	assert_int_equal(already, 15);
	assert_int_equal(played.calls, 1);
}

static void two_tokens_release_one_after_the_other(void **state)
{
	(void)state;
	pthread_t thread;
	void *rv;

	played.delay_ms = 100;
	initialize();
	pthread_create(&thread, NULL, login_in_thread, (void *)(uintptr_t)open_session(1));
	assert_ok(login(open_session(0)));
	pthread_join(thread, &rv);
	assert_int_equal((CK_RV)rv, CKR_OK);
	assert_int_equal(played.calls, 2);
	assert_int_equal(played.most_at_once, 1);
}

/* A login that waits for another token's release is cancelled as any other, and never makes a request. */
static void a_login_that_waits_its_turn_can_be_cancelled(void **state)
{
	(void)state;
	pthread_t first, second;
	void *rv;

	played.delay_ms = 500;
	initialize();
	CK_SESSION_HANDLE waits = open_session(0);
	pthread_create(&first, NULL, login_in_thread, (void *)(uintptr_t)open_session(1));
	while (played.now == 0)
		usleep(1000);
	pthread_create(&second, NULL, login_in_thread, (void *)(uintptr_t)waits);
	usleep(50 * 1000);
	assert_ok(p11->C_CloseAllSessions(0));
	pthread_join(second, &rv);
	assert_int_equal((CK_RV)rv, CKR_FUNCTION_CANCELED);
	assert_int_equal(played.now, 1);
	pthread_join(first, &rv);
	assert_int_equal((CK_RV)rv, CKR_OK);
	assert_int_equal(played.calls, 1);
}

/* C-09 */
static void closing_all_sessions_cancels_a_login(void **state)
{
	(void)state;
	pthread_t thread;
	void *rv;

	played.delay_ms = 5000;
	initialize();
	pthread_create(&thread, NULL, login_in_thread, (void *)(uintptr_t)open_session(0));
	while (played.now == 0)
		usleep(1000);
	assert_ok(p11->C_CloseAllSessions(0));
	pthread_join(thread, &rv);
	assert_int_equal((CK_RV)rv, CKR_FUNCTION_CANCELED);
	played.delay_ms = 0;
	assert_ok(login(open_session(0)));
}

/* The agent may answer before it is dropped: what nobody wants any more must not appear. */
static void a_result_that_comes_too_late_is_thrown_away(void **state)
{
	(void)state;
	pthread_t thread;
	void *rv;

	played.delay_ms = 200;
	played.deaf = true;
	initialize();
	pthread_create(&thread, NULL, login_in_thread, (void *)(uintptr_t)open_session(0));
	while (played.now == 0)
		usleep(1000);
	assert_ok(p11->C_CloseAllSessions(0));
	CK_SESSION_HANDLE session = open_session(0);
	pthread_join(thread, &rv);
	assert_int_equal((CK_RV)rv, CKR_FUNCTION_CANCELED);
	assert_int_equal(count_of(session, CKO_PRIVATE_KEY), 0);
	assert_ok(login(session));
	assert_int_equal(played.calls, 2);
}

static void finalize_cancels_a_login(void **state)
{
	(void)state;
	pthread_t thread;
	void *rv;

	played.delay_ms = 5000;
	initialize();
	pthread_create(&thread, NULL, login_in_thread, (void *)(uintptr_t)open_session(0));
	while (played.now == 0)
		usleep(1000);
	int64_t start = monotonic_ms();
	assert_ok(p11->C_Finalize(NULL));
	assert_true(monotonic_ms() - start < 1000);
	pthread_join(thread, &rv);
	assert_int_equal((CK_RV)rv, CKR_FUNCTION_CANCELED);
	played.delay_ms = 0;
	initialize();
	assert_ok(login(open_session(0)));
}

/* K-13: never two versions mixed. */
static void a_new_version_replaces_the_old_one_at_the_next_login(void **state)
{
	(void)state;
	char kid[256];
	CK_ATTRIBUTE id = {CKA_SKR_KEY_ID, kid, sizeof(kid)};

	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	CK_ULONG before_rotation = count_of(session, CKO_PRIVATE_KEY);
	assert_ok(p11->C_Logout(session));
	played.version = "ffffffffffffffffffffffffffffffff";
	assert_ok(login(session));
	assert_int_equal(count_of(session, CKO_PRIVATE_KEY), before_rotation);
	assert_ok(p11->C_GetAttributeValue(session, find_one(session, CKO_PRIVATE_KEY, "ec"), &id, 1));
	assert_memory_equal(kid + id.ulValueLen - 4, "ffff", 4);
}

/* ---- operations ---- */

static void a_signature_verifies_and_a_size_query_goes_on(void **state)
{
	(void)state;
	CK_MECHANISM mechanism = {CKM_SHA256_RSA_PKCS, NULL, 0};
	CK_BYTE signature[512], text[] = "some text";
	CK_ULONG len = 0;

	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	assert_ok(p11->C_SignInit(session, &mechanism, find_one(session, CKO_PRIVATE_KEY, "rsa")));
	assert_ok(p11->C_Sign(session, text, 9, NULL, &len));
	assert_int_equal(len, 256);
	len = 10;
	assert_rv(p11->C_Sign(session, text, 9, signature, &len), CKR_BUFFER_TOO_SMALL);
	assert_int_equal(len, 256);
	assert_ok(p11->C_Sign(session, text, 9, signature, &len));
	assert_rv(p11->C_Sign(session, text, 9, signature, &len), CKR_OPERATION_NOT_INITIALIZED);

	CK_OBJECT_HANDLE public = find_one(session, CKO_PUBLIC_KEY, "rsa");
	assert_ok(p11->C_VerifyInit(session, &mechanism, public));
	assert_ok(p11->C_VerifyUpdate(session, text, 4));
	assert_ok(p11->C_VerifyUpdate(session, text + 4, 5));
	assert_ok(p11->C_VerifyFinal(session, signature, len));
	assert_ok(p11->C_VerifyInit(session, &mechanism, public));
	signature[7] ^= 1;
	assert_rv(p11->C_Verify(session, text, 9, signature, len), CKR_SIGNATURE_INVALID);
}

/* Architecture section 5, point 7. */
static void an_operation_never_sticks(void **state)
{
	(void)state;
	CK_MECHANISM mechanism = {CKM_RSA_PKCS, NULL, 0};
	CK_BYTE big[1024] = {0}, signature[512];
	CK_ULONG len = sizeof(signature);

	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	CK_OBJECT_HANDLE key = find_one(session, CKO_PRIVATE_KEY, "rsa");
	for (int i = 0; i < 3; i++) {
		assert_ok(p11->C_SignInit(session, &mechanism, key));
		assert_rv(p11->C_SignInit(session, &mechanism, key), CKR_OPERATION_ACTIVE);
		assert_rv(p11->C_Sign(session, big, sizeof(big), signature, &len), CKR_DATA_LEN_RANGE);
	}
	assert_ok(p11->C_SignInit(session, &mechanism, key));
	assert_rv(p11->C_Sign(session, NULL, 7, signature, &len), CKR_ARGUMENTS_BAD);
	assert_ok(p11->C_SignInit(session, &mechanism, key));
	assert_rv(p11->C_Sign(session, big, 20, signature, NULL), CKR_ARGUMENTS_BAD);
	assert_ok(p11->C_SignInit(session, &mechanism, key));
	assert_ok(p11->C_SignInit(session, NULL, 0)); /* cancels */
	assert_ok(p11->C_SignInit(session, &mechanism, key));
}

static void a_key_does_what_its_half_does(void **state)
{
	(void)state;
	CK_MECHANISM mechanism = {CKM_SHA256_RSA_PKCS, NULL, 0};

	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	CK_OBJECT_HANDLE private = find_one(session, CKO_PRIVATE_KEY, "rsa"),
	                 public = find_one(session, CKO_PUBLIC_KEY, "rsa"),
	                 certificate = find_one(session, CKO_CERTIFICATE, "rsa");
	assert_rv(p11->C_SignInit(session, &mechanism, public), CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_rv(p11->C_VerifyInit(session, &mechanism, private), CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_rv(p11->C_SignInit(session, &mechanism, certificate), CKR_KEY_HANDLE_INVALID);
	assert_rv(p11->C_SignInit(session, &mechanism, 0), CKR_KEY_HANDLE_INVALID);
}

/* I-29 */
static void operations_outside_key_ops_are_refused(void **state)
{
	(void)state;
	CK_MECHANISM pkcs = {CKM_RSA_PKCS, NULL, 0};

	played.ops = KEY_OP_SIGN;
	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	CK_OBJECT_HANDLE key = find_one(session, CKO_PRIVATE_KEY, "rsa");
	CK_BBOOL decrypt = CK_TRUE;
	CK_ATTRIBUTE t = {CKA_DECRYPT, &decrypt, 1};
	assert_ok(p11->C_GetAttributeValue(session, key, &t, 1));
	assert_int_equal(decrypt, CK_FALSE);
	assert_rv(p11->C_DecryptInit(session, &pkcs, key), CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_ok(p11->C_SignInit(session, &pkcs, key));
	played.ops = KEY_OP_SIGN | KEY_OP_VERIFY | KEY_OP_DECRYPT | KEY_OP_ENCRYPT;
}

/* PKCS#11 3.0. */
static void a_session_forgets_what_is_cancelled(void **state)
{
	(void)state;
	CK_MECHANISM sha = {CKM_SHA256, NULL, 0}, rsa = {CKM_SHA256_RSA_PKCS, NULL, 0};
	CK_BYTE out[256];
	CK_ULONG len = sizeof(out);

	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(C_LoginUser(session, CKU_USER, NULL, 0, (CK_UTF8CHAR *)"anybody", 7));
	assert_rv(C_LoginUser(session, CKU_USER, NULL, 0, NULL, 0), CKR_USER_ALREADY_LOGGED_IN);
	assert_rv(C_LoginUser(session, CKU_USER, NULL, 0, NULL, 7), CKR_ARGUMENTS_BAD);
	assert_ok(p11->C_DigestInit(session, &sha));
	assert_ok(p11->C_SignInit(session, &rsa, find_one(session, CKO_PRIVATE_KEY, "rsa")));
	assert_ok(p11->C_FindObjectsInit(session, NULL, 0));
	assert_ok(C_SessionCancel(session, CKF_SIGN | 0x40));
	assert_rv(p11->C_Sign(session, out, 3, out, &len), CKR_OPERATION_NOT_INITIALIZED);
	assert_rv(p11->C_FindObjectsFinal(session), CKR_OPERATION_NOT_INITIALIZED);
	assert_ok(p11->C_Digest(session, out, 3, out, &len));
	assert_ok(C_SessionCancel(session, CKF_SIGN | CKF_DIGEST));
	assert_rv(C_SessionCancel(session + 1, CKF_SIGN), CKR_SESSION_HANDLE_INVALID);
	assert_rv(C_MessageEncryptInit(session, &sha, 1), CKR_FUNCTION_NOT_SUPPORTED);
	assert_rv(C_MessageEncryptInit(session + 1, &sha, 1), CKR_SESSION_HANDLE_INVALID);
}

/* ---- fork ---- */

static bool child_is_a_stranger(CK_SESSION_HANDLE session)
{
	CK_SESSION_INFO info;
	CK_FUNCTION_LIST *list;

	return p11->C_GetSessionInfo(session, &info) == CKR_CRYPTOKI_NOT_INITIALIZED &&
	       p11->C_Finalize(NULL) == CKR_CRYPTOKI_NOT_INITIALIZED && C_GetFunctionList(&list) == CKR_OK;
}

static bool signs_without_asking(CK_SESSION_HANDLE parents)
{
	CK_SESSION_HANDLE session;
	CK_SESSION_INFO info;
	int calls = played.calls;

	if (p11->C_Initialize(NULL) != CKR_OK || p11->C_GetSessionInfo(parents, &info) != CKR_SESSION_HANDLE_INVALID)
		return false;
	session = open_session(0);
	if (session == parents || count_of(session, CKO_PRIVATE_KEY) != 0 || login(session) != CKR_OK)
		return false;
	return sign(session, find_one(session, CKO_PRIVATE_KEY, "rsa")) == CKR_OK && played.calls == calls &&
	       p11->C_Finalize(NULL) == CKR_OK;
}

static bool finalizes_first(CK_SESSION_HANDLE parents)
{
	return p11->C_Finalize(NULL) == CKR_CRYPTOKI_NOT_INITIALIZED && signs_without_asking(parents);
}

static bool grandchild_signs_without_asking(CK_SESSION_HANDLE parents)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(signs_without_asking(parents) ? 0 : 1);
	return waitpid(pid, &status, 0) == pid && status == 0;
}

/* I-06, C-07, C-08: nginx's workers are grandchildren of the process that logged in. */
static void children_inherit_the_keys_in_every_order(void **state)
{
	(void)state;
	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	CK_OBJECT_HANDLE key = find_one(session, CKO_PRIVATE_KEY, "rsa");
	in_child(child_is_a_stranger, session);
	in_child(signs_without_asking, session);
	in_child(finalizes_first, session);
	in_child(grandchild_signs_without_asking, session);
	assert_ok(sign(session, key));
}

/* C-09: stuck in a device call; its late result must not become anybody's. */
static void finalize_leaves_a_login_behind_that_does_not_end(void **state)
{
	(void)state;
	pthread_t thread;
	void *rv;

	played.delay_ms = 3000;
	played.deaf = true;
	initialize();
	pthread_create(&thread, NULL, login_in_thread, (void *)(uintptr_t)open_session(0));
	while (played.now == 0)
		usleep(1000);
	assert_ok(p11->C_Finalize(NULL));
	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	pthread_join(thread, &rv);
	assert_int_equal((CK_RV)rv, CKR_FUNCTION_CANCELED);
	assert_int_equal(count_of(session, CKO_PRIVATE_KEY), 0);
	played.delay_ms = 0;
	assert_ok(login(session));
	in_child(signs_without_asking, session); /* and nobody counts as inside any more */
}

static bool has_to_ask(CK_SESSION_HANDLE parents)
{
	(void)parents;
	if (p11->C_Initialize(NULL) != CKR_OK)
		return false;
	CK_SESSION_HANDLE session = open_session(0);
	int calls = played.calls;
	return login(session) == CKR_OK && played.calls == calls + 1 &&
	       sign(session, find_one(session, CKO_PRIVATE_KEY, "rsa")) == CKR_OK;
}

static void with_fork_wipe_a_child_logs_in_by_itself(void **state)
{
	(void)state;
	char text[4096], whole[4200];

	snprintf(text, sizeof(text), plain, rsa_pem, "");
	snprintf(whole, sizeof(whole), "[skr-pkcs11]\nfork = wipe\n%s", text + strlen("[skr-pkcs11]\n"));
	write_file(conf, whole);
	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	in_child(has_to_ask, session);
	assert_ok(sign(session, find_one(session, CKO_PRIVATE_KEY, "rsa")));
}

/* C-06 */
static void a_child_of_a_login_in_flight_starts_afresh(void **state)
{
	(void)state;
	pthread_t thread;
	void *rv;

	played.delay_ms = 500;
	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	pthread_create(&thread, NULL, login_in_thread, (void *)(uintptr_t)session);
	while (played.now == 0)
		usleep(1000);
	int64_t start = monotonic_ms();
	in_child(has_to_ask, session);
	assert_true(monotonic_ms() - start < 5000);
	pthread_join(thread, &rv);
	assert_int_equal((CK_RV)rv, CKR_OK);
	assert_ok(sign(session, find_one(session, CKO_PRIVATE_KEY, "rsa")));
}

struct signer {
	CK_SESSION_HANDLE session;
	CK_OBJECT_HANDLE key;
	atomic_bool stop;
	atomic_int failed, signatures;
};

static void *sign_until_stopped(void *with)
{
	struct signer *signer = with;

	while (!signer->stop) {
		if (sign(signer->session, signer->key) != CKR_OK)
			signer->failed++;
		signer->signatures++;
	}
	return NULL;
}

/* I-23: whether inherited or not, a child of a busy process works, and its parent goes on. */
static bool works_somehow(CK_SESSION_HANDLE parents)
{
	(void)parents;
	alarm(20);
	if (p11->C_Initialize(NULL) != CKR_OK)
		return false;
	CK_SESSION_HANDLE session = open_session(0);
	return login(session) == CKR_OK && sign(session, find_one(session, CKO_PRIVATE_KEY, "rsa")) == CKR_OK;
}

static void forks_while_other_threads_sign(void **state)
{
	(void)state;
	struct signer signers[3] = {0};
	pthread_t threads[3];

	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	for (int i = 0; i < 3; i++) {
		signers[i].session = open_session(0);
		signers[i].key = find_one(session, CKO_PRIVATE_KEY, "rsa");
		pthread_create(&threads[i], NULL, sign_until_stopped, &signers[i]);
	}
	for (int i = 0; i < 20; i++)
		in_child(works_somehow, session);
	for (int i = 0; i < 3; i++) {
		signers[i].stop = true;
		pthread_join(threads[i], NULL);
		assert_int_equal(signers[i].failed, 0);
	}
}

/* C-19, I-16: one erases while others sign. */
static void signing_and_logging_out_race_without_harm(void **state)
{
	(void)state;
	struct signer signers[2] = {0};
	pthread_t threads[2];

	initialize();
	CK_SESSION_HANDLE session = open_session(0);
	assert_ok(login(session));
	for (int i = 0; i < 2; i++) {
		signers[i].session = open_session(0);
		signers[i].key = find_one(session, CKO_PRIVATE_KEY, "rsa");
		pthread_create(&threads[i], NULL, sign_until_stopped, &signers[i]);
	}
	for (int i = 0; i < 20; i++) {
		assert_ok(p11->C_Logout(session));
		assert_ok(login(session));
		usleep(2000);
	}
	for (int i = 0; i < 2; i++) {
		signers[i].stop = true;
		pthread_join(threads[i], NULL);
	}
	assert_ok(sign(session, signers[0].key));
}

/* ---- wrong arguments ---- */

static void the_rest_answers_as_a_read_only_token_does(void **state)
{
	(void)state;
	CK_BYTE bytes[64] = {0};
	CK_ULONG len = sizeof(bytes);
	CK_MECHANISM mechanism = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
	CK_SLOT_ID slot;

	initialize();
	CK_SESSION_HANDLE s = open_session(0), read_only;
	assert_ok(p11->C_OpenSession(0, CKF_SERIAL_SESSION, NULL, NULL, &read_only));
	assert_rv(p11->C_InitToken(0, bytes, 4, bytes), CKR_TOKEN_WRITE_PROTECTED);
	assert_rv(p11->C_InitToken(9, bytes, 4, bytes), CKR_SLOT_ID_INVALID);
	assert_rv(p11->C_InitPIN(s, bytes, 4), CKR_USER_NOT_LOGGED_IN);
	assert_rv(p11->C_SetPIN(s, bytes, 4, bytes, 4), CKR_TOKEN_WRITE_PROTECTED);
	assert_rv(p11->C_SetPIN(read_only, bytes, 4, bytes, 4), CKR_SESSION_READ_ONLY);
	assert_rv(p11->C_GetOperationState(s, bytes, &len), CKR_FUNCTION_NOT_SUPPORTED);
	assert_rv(p11->C_SignRecoverInit(s, &mechanism, 1), CKR_FUNCTION_NOT_SUPPORTED);
	assert_rv(p11->C_DigestEncryptUpdate(s, bytes, 1, bytes, &len), CKR_FUNCTION_NOT_SUPPORTED);
	assert_rv(p11->C_GetFunctionStatus(s), CKR_FUNCTION_NOT_PARALLEL);
	assert_rv(p11->C_CancelFunction(s), CKR_FUNCTION_NOT_PARALLEL);
	assert_rv(p11->C_WaitForSlotEvent(CKF_DONT_BLOCK, &slot, NULL), CKR_NO_EVENT);
	assert_rv(p11->C_WaitForSlotEvent(0, &slot, NULL), CKR_NO_EVENT);
	assert_rv(p11->C_OpenSession(0, CKF_RW_SESSION, NULL, NULL, &s), CKR_SESSION_PARALLEL_NOT_SUPPORTED);
	assert_ok(p11->C_SeedRandom(s, bytes, sizeof(bytes)));
	assert_ok(p11->C_GenerateRandom(s, bytes, sizeof(bytes)));
	assert_rv(p11->C_GenerateRandom(s, bytes, (CK_ULONG)-1), CKR_ARGUMENTS_BAD);
}

/* I-16: every function with NULL and zero behind handles of every origin. Every answer is a code, never a crash. */
typedef CK_RV (*any_function)(CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG);
struct named {
	const char *name;
	any_function function;
};
#define NAMED(name_) {#name_, (any_function)(void *)name_},
static const struct named functions[] = {FUNCTIONS(NAMED) FUNCTIONS_3_0(NAMED)};

/* The others begin with a number: a handle, a slot, flags. */
static bool takes_a_pointer_first(const char *name)
{
	return strcmp(name, "C_GetInterfaceList") == 0 || strcmp(name, "C_GetInterface") == 0 ||
	       strcmp(name, "C_Initialize") == 0 || strcmp(name, "C_Finalize") == 0 ||
	       strcmp(name, "C_GetFunctionList") == 0 || strcmp(name, "C_GetInfo") == 0;
}

static void no_null_and_no_handle_crashes(void **state)
{
	(void)state;
	initialize();
	CK_SESSION_HANDLE good = open_session(0), stale = open_session(0);
	assert_ok(p11->C_CloseSession(stale));
	assert_ok(login(good));
	const CK_ULONG handles[] = {0, 1, good, stale, good ^ 1, good ^ (CK_ULONG)1 << 40, (CK_ULONG)-1};
	for (size_t f = 0; f < sizeof(functions) / sizeof(functions[0]); f++) {
		if (takes_a_pointer_first(functions[f].name))
			continue;
		for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++) {
			CK_RV rv = functions[f].function(handles[i], 0, 0, 0, 0, 0, 0, 0, 0);
			if (handles[i] == stale && rv == CKR_OK)
				fail_msg("%s took a stale handle", functions[f].name);
		}
	}
}

/* I-16: lengths that no buffer has. */
static void no_length_is_believed_blindly(void **state)
{
	(void)state;
	const CK_ULONG huge = (CK_ULONG)-1;
	CK_BYTE bytes[512] = {0}, out[512];
	CK_ULONG len = sizeof(out);
	CK_MECHANISM sha = {CKM_SHA256, NULL, 0}, rsa = {CKM_SHA256_RSA_PKCS, NULL, 0}, pkcs = {CKM_RSA_PKCS, NULL, 0},
	             pss = {CKM_RSA_PKCS_PSS, bytes, huge},
	             nothing = {CKM_RSA_PKCS_PSS, NULL, sizeof(CK_RSA_PKCS_PSS_PARAMS)};
	CK_ATTRIBUTE attribute = {CKA_LABEL, bytes, huge};

	initialize();
	CK_SESSION_HANDLE s = open_session(0);
	assert_ok(login(s));
	CK_OBJECT_HANDLE key = find_one(s, CKO_PRIVATE_KEY, "rsa"), public = find_one(s, CKO_PUBLIC_KEY, "rsa"), made;
	assert_rv(p11->C_Login(s, CKU_USER, bytes, huge), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_SeedRandom(s, bytes, huge), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_GenerateRandom(s, bytes, huge), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_FindObjectsInit(s, &attribute, 1), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_FindObjectsInit(s, &attribute, huge), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_GetAttributeValue(s, key, &attribute, huge), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_CreateObject(s, &attribute, huge, &made), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_SignInit(s, &pss, key), CKR_MECHANISM_PARAM_INVALID);
	assert_rv(p11->C_SignInit(s, &nothing, key), CKR_MECHANISM_PARAM_INVALID);

	assert_ok(p11->C_DigestInit(s, &sha));
	assert_rv(p11->C_Digest(s, bytes, huge, out, &len), CKR_ARGUMENTS_BAD);
	assert_ok(p11->C_DigestInit(s, &sha));
	assert_rv(p11->C_DigestUpdate(s, bytes, huge), CKR_ARGUMENTS_BAD);
	assert_ok(p11->C_SignInit(s, &rsa, key));
	assert_rv(p11->C_Sign(s, bytes, huge, out, &len), CKR_ARGUMENTS_BAD);
	assert_ok(p11->C_SignInit(s, &rsa, key));
	assert_rv(p11->C_SignUpdate(s, bytes, huge), CKR_ARGUMENTS_BAD);
	assert_ok(p11->C_VerifyInit(s, &rsa, public));
	assert_rv(p11->C_Verify(s, bytes, 3, bytes, huge), CKR_ARGUMENTS_BAD);
	assert_ok(p11->C_EncryptInit(s, &pkcs, public));
	assert_rv(p11->C_Encrypt(s, bytes, huge, out, &len), CKR_ARGUMENTS_BAD);
	assert_ok(p11->C_DecryptInit(s, &pkcs, key));
	assert_rv(p11->C_Decrypt(s, bytes, huge, out, &len), CKR_ARGUMENTS_BAD);
	len = huge; /* room: only what is needed is written */
	assert_ok(p11->C_DigestInit(s, &sha));
	assert_ok(p11->C_Digest(s, bytes, 3, out, &len));
	assert_int_equal(len, 32);
}

static CK_RV seen_by_handler;

static void call_from_handler(int signal)
{
	CK_ULONG count;
	(void)signal;
	seen_by_handler = p11->C_GetSlotList(CK_TRUE, NULL, &count);
}

/* C-11, I-19: a handler that calls us from within our own call is refused, and does not wait for itself. */
static void re_entry_is_refused_without_waiting(void **state)
{
	(void)state;
	pthread_t thread;
	void *rv;

	initialize();
	played.delay_ms = 300;
	seen_by_handler = 77;
	signal(SIGUSR1, call_from_handler);
	pthread_create(&thread, NULL, login_in_thread, (void *)(uintptr_t)open_session(0));
	while (played.now == 0)
		usleep(1000);
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, &rv);
	assert_int_equal((CK_RV)rv, CKR_OK);
	assert_int_equal(seen_by_handler, CKR_FUNCTION_FAILED);
	signal(SIGUSR1, SIG_DFL);
}

static void sessions_are_limited_and_come_back(void **state)
{
	(void)state;
	CK_SESSION_HANDLE session, first = 0;
	CK_TOKEN_INFO info;
	CK_ULONG opened = 0;

	initialize();
	while (p11->C_OpenSession(0, CKF_SERIAL_SESSION, NULL, NULL, &session) == CKR_OK) {
		first = first ? first : session;
		opened++;
	}
	assert_ok(p11->C_GetTokenInfo(0, &info));
	assert_int_equal(opened, info.ulMaxSessionCount);
	assert_int_equal(info.ulSessionCount, opened);
	assert_rv(p11->C_OpenSession(0, CKF_SERIAL_SESSION, NULL, NULL, &session), CKR_SESSION_COUNT);
	assert_ok(p11->C_CloseSession(first));
	assert_ok(p11->C_OpenSession(0, CKF_SERIAL_SESSION, NULL, NULL, &session));
	assert_true(session != first);
	assert_rv(p11->C_CloseSession(first), CKR_SESSION_HANDLE_INVALID);
	assert_ok(p11->C_CloseAllSessions(0));
	assert_rv(p11->C_CloseSession(session), CKR_SESSION_HANDLE_INVALID);
}

/* ---- */

/* A certificate of the played key "rsa", so that all three belong together. Called once libcrypto is ours. */
static void write_certificate(void)
{
	auto_pkey *key = played_key("rsa");
	auto_x509 *certificate = X509_new_ex(ossl, NULL);
	FILE *f = fopen(rsa_pem, "w");

	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (unsigned char *)"www", -1,
	                           -1, 0);
	X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	X509_sign(certificate, key, EVP_sha256());
	PEM_write_X509(f, certificate);
	fclose(f);
}

static int start(void **state)
{
	(void)state;
	/* The configuration's folders must be nobody else's: not /tmp. */
	snprintf(folder, sizeof(folder), "%.200s/.skr-test-XXXXXX", getenv("HOME") ? getenv("HOME") : "/root");
	if (!mkdtemp(folder) || C_GetFunctionList(&p11) != CKR_OK)
		return -1;
	snprintf(conf, sizeof(conf), "%s/skr.conf", folder);
	snprintf(rsa_pem, sizeof(rsa_pem), "%s/rsa.pem", folder);
	log_open("none", LOG_LEVEL_ERROR, "test");
	if (arena_open(ARENA_LOCK_OFF).failure || ossl_open().failure)
		return -1;
	write_certificate();
	return 0;
}

static int stop(void **state)
{
	(void)state;
	unlink(conf);
	unlink(rsa_pem);
	return rmdir(folder);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, before, after)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(nothing_works_before_initialize_but_discovery),
	    TEST(without_a_good_configuration_there_are_no_slots_and_a_reason),
	    TEST(initialize_takes_what_hosts_pass),
	    TEST(the_reserved_string_names_the_configuration),
	    TEST(a_configuration_once_read_stays),
	    TEST(the_list_is_2_40_and_complete),
	    TEST(interfaces_are_found_by_name_and_version),
	    TEST(slots_and_tokens_say_what_clients_rely_on),
	    TEST(certificates_and_public_keys_are_seen_before_login),
	    TEST(the_three_of_a_kind_have_one_id_of_20_bytes),
	    TEST(the_private_key_tells_its_public_numbers_and_no_secret),
	    TEST(searches_for_strangers_are_empty),
	    TEST(a_search_is_over_when_it_is_ended),
	    TEST(token_objects_cannot_be_changed_copied_destroyed_or_made),
	    TEST(any_pin_opens_and_a_second_login_says_so),
	    TEST(closing_the_last_session_logs_out_but_keeps_the_keys_for_a_while),
	    TEST(without_grace_the_keys_go_with_the_last_session),
	    TEST(logout_erases_at_once_and_ends_what_uses_the_keys),
	    TEST(after_key_max_age_nobody_is_logged_in),
	    TEST(a_failure_is_named_once_and_then_suppressed),
	    TEST(what_is_not_on_record_is_not_released),
	    TEST(the_audit_trail_tells_of_logins_failures_and_logouts),
	    TEST(guessing_at_the_pin_is_a_security_event),
	    TEST(erasures_are_on_record_with_their_reason),
	    TEST(suppression_outlives_finalize),
	    TEST(a_pin_is_asked_for_where_one_is_configured),
	    TEST(many_threads_share_one_login),
	    TEST(two_tokens_release_one_after_the_other),
	    TEST(a_login_that_waits_its_turn_can_be_cancelled),
	    TEST(closing_all_sessions_cancels_a_login),
	    TEST(a_result_that_comes_too_late_is_thrown_away),
	    TEST(finalize_cancels_a_login),
	    TEST(finalize_leaves_a_login_behind_that_does_not_end),
	    TEST(a_new_version_replaces_the_old_one_at_the_next_login),
	    TEST(a_signature_verifies_and_a_size_query_goes_on),
	    TEST(an_operation_never_sticks),
	    TEST(a_key_does_what_its_half_does),
	    TEST(operations_outside_key_ops_are_refused),
	    TEST(a_session_forgets_what_is_cancelled),
	    TEST(children_inherit_the_keys_in_every_order),
	    TEST(with_fork_wipe_a_child_logs_in_by_itself),
	    TEST(a_child_of_a_login_in_flight_starts_afresh),
	    TEST(forks_while_other_threads_sign),
	    TEST(signing_and_logging_out_race_without_harm),
	    TEST(the_rest_answers_as_a_read_only_token_does),
	    TEST(no_null_and_no_handle_crashes),
	    TEST(no_length_is_believed_blindly),
	    TEST(re_entry_is_refused_without_waiting),
	    TEST(sessions_are_limited_and_come_back),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
