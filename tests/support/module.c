/* SPDX-License-Identifier: Apache-2.0 */
#include "support/module.h"
#include "cmocka_all.h"

#include <dlfcn.h>
#include <time.h>
#include <unistd.h>

CK_FUNCTION_LIST_PTR p11;
static void *library;

static const char *environment(const char *name)
{
	const char *value = getenv(name);

	if (!value) {
		fprintf(stderr, "%s is not set: run this through tests/support/surroundings.sh\n", name);
		exit(1);
	}
	return value;
}

void module_load(void)
{
	CK_C_GetFunctionList get;

	library = dlopen(environment("SKR_MODULE"), RTLD_NOW | RTLD_LOCAL);
	if (!library)
		fail_msg("%s", dlerror());
	get = (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList");
	assert_non_null(get);
	assert_ok(get(&p11));
}

void module_unload(void)
{
	assert_int_equal(dlclose(library), 0);
	p11 = NULL;
}

void module_initialize(void)
{
	CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
	assert_ok(p11->C_Initialize(&arguments));
}

CK_SLOT_ID module_slot(const char *token_label)
{
	CK_SLOT_ID slots[16];
	CK_ULONG count = 16;
	CK_TOKEN_INFO info;
	char padded[33];

	snprintf(padded, sizeof(padded), "%-32s", token_label);
	assert_ok(p11->C_GetSlotList(CK_TRUE, slots, &count));
	for (CK_ULONG i = 0; i < count; i++) {
		assert_ok(p11->C_GetTokenInfo(slots[i], &info));
		if (memcmp(info.label, padded, 32) == 0)
			return slots[i];
	}
	fail_msg("no token %s among %lu slots", token_label, count);
	return 0;
}

CK_SESSION_HANDLE module_session(const char *token_label)
{
	CK_SESSION_HANDLE session;
	assert_ok(p11->C_OpenSession(module_slot(token_label), CKF_SERIAL_SESSION, NULL, NULL, &session));
	return session;
}

void module_login(CK_SESSION_HANDLE session)
{
	CK_RV rv = p11->C_Login(session, CKU_USER, NULL, 0);
	if (rv != CKR_OK)
		fail_msg("C_Login: %s", rv_name(rv));
}

CK_OBJECT_HANDLE module_find(CK_SESSION_HANDLE session, CK_OBJECT_CLASS class, const char *label)
{
	CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_LABEL, (void *)label, strlen(label)}};
	CK_OBJECT_HANDLE object = 0;
	CK_ULONG count;

	assert_ok(p11->C_FindObjectsInit(session, template, 2));
	assert_ok(p11->C_FindObjects(session, &object, 1, &count));
	assert_ok(p11->C_FindObjectsFinal(session));
	return count ? object : 0;
}

const char *rv_name(CK_RV rv)
{
	static char number[32];
#define NAME(code) \
	case code: \
		return #code
	switch (rv) {
		NAME(CKR_OK);
		NAME(CKR_HOST_MEMORY);
		NAME(CKR_SLOT_ID_INVALID);
		NAME(CKR_GENERAL_ERROR);
		NAME(CKR_FUNCTION_FAILED);
		NAME(CKR_ARGUMENTS_BAD);
		NAME(CKR_CANT_LOCK);
		NAME(CKR_ATTRIBUTE_SENSITIVE);
		NAME(CKR_ATTRIBUTE_TYPE_INVALID);
		NAME(CKR_DATA_LEN_RANGE);
		NAME(CKR_DEVICE_ERROR);
		NAME(CKR_FUNCTION_CANCELED);
		NAME(CKR_FUNCTION_NOT_SUPPORTED);
		NAME(CKR_KEY_HANDLE_INVALID);
		NAME(CKR_KEY_FUNCTION_NOT_PERMITTED);
		NAME(CKR_MECHANISM_INVALID);
		NAME(CKR_MECHANISM_PARAM_INVALID);
		NAME(CKR_OBJECT_HANDLE_INVALID);
		NAME(CKR_OPERATION_ACTIVE);
		NAME(CKR_OPERATION_NOT_INITIALIZED);
		NAME(CKR_PIN_INCORRECT);
		NAME(CKR_PIN_LOCKED);
		NAME(CKR_SESSION_HANDLE_INVALID);
		NAME(CKR_SIGNATURE_INVALID);
		NAME(CKR_SIGNATURE_LEN_RANGE);
		NAME(CKR_USER_ALREADY_LOGGED_IN);
		NAME(CKR_USER_NOT_LOGGED_IN);
		NAME(CKR_BUFFER_TOO_SMALL);
		NAME(CKR_CRYPTOKI_NOT_INITIALIZED);
		NAME(CKR_CRYPTOKI_ALREADY_INITIALIZED);
		NAME(CKR_ENCRYPTED_DATA_INVALID);
		NAME(CKR_ENCRYPTED_DATA_LEN_RANGE);
	default:
		snprintf(number, sizeof(number), "CK_RV 0x%lx", rv);
		return number;
	}
#undef NAME
}

/* PKCS#11 3.0 section 5.4; the header of p11-kit 0.24 has 2.40 only. */
struct ck_interface {
	char *name;
	void *functions;
	CK_FLAGS flags;
};
typedef CK_RV (*get_interface)(CK_UTF8CHAR *, CK_VERSION *, struct ck_interface **, CK_FLAGS);

unsigned long module_failure(const char *token_label, char *line, size_t size)
{
	get_interface get = (get_interface)dlsym(library, "C_GetInterface");
	struct ck_interface *interface = NULL;
	struct skr_failure failure;

	assert_non_null(get);
	assert_ok(get((CK_UTF8CHAR *)(uintptr_t)SKR_INTERFACE_NAME, NULL, &interface, 0));
	struct skr_diagnostics *diagnostics = interface->functions;
	assert_ok(diagnostics->last_failure(module_slot(token_label), &failure));
	if (line)
		snprintf(line, size, "%s", failure.line);
	return failure.number;
}

void emulator_control(const char *method, const char *path, const char *body)
{
	char command[8192], file[] = "/tmp/skr-control-XXXXXX";
	int fd = mkstemp(file);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, body, strlen(body)), strlen(body));
	close(fd);
	snprintf(command, sizeof(command), "curl -sSf -o /dev/null -X %s --data-binary @%s '%s%s'", method, file,
	         environment("SKR_EMULATOR_CONTROL"), path);
	int status = system(command);
	unlink(file);
	if (status != 0)
		fail_msg("%s %s: %s", method, path, body);
}

void emulator_faults(const char *rules)
{
	emulator_control("DELETE", "/faults", "");
	if (rules[0])
		emulator_control("POST", "/faults", rules);
}

static long log_start;

static FILE *request_log(void)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/requests.jsonl", environment("SKR_EMULATOR_DIR"));
	return fopen(path, "r");
}

void emulator_requests_reset(void)
{
	FILE *file = request_log();

	log_start = 0;
	if (!file)
		return;
	fseek(file, 0, SEEK_END);
	log_start = ftell(file);
	fclose(file);
}

int emulator_requests(const char *operation)
{
	char line[8192], op[80];
	int count = 0;
	FILE *file = request_log();

	if (!file)
		return 0;
	snprintf(op, sizeof(op), "\"op\":\"%s", operation); /* a prefix: "" counts all */
	fseek(file, log_start, SEEK_SET);
	while (fgets(line, sizeof(line), file))
		if (strstr(line, op))
			count++;
	fclose(file);
	return count;
}

double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}
