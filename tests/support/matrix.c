/* SPDX-License-Identifier: Apache-2.0 */
#include "support/matrix.h"
#include "cmocka_all.h"

#include <ctype.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- configuration ---- */

const char *expand(const char *text)
{
	static char *made[2048];
	static size_t count;
	char out[16384], name[64];
	size_t at = 0;

	while (*text && at + 1 < sizeof(out)) {
		size_t len = 0;
		if (*text != '$') {
			out[at++] = *text++;
			continue;
		}
		for (text++; (isupper((unsigned char)*text) || *text == '_' || isdigit((unsigned char)*text)) &&
		             len + 1 < sizeof(name);)
			name[len++] = *text++;
		name[len] = '\0';
		const char *value = getenv(name);
		if (!value)
			fail_msg("%s is not set", name);
		at += (size_t)snprintf(out + at, sizeof(out) - at, "%s", value);
	}
	out[at] = '\0';
	assert_true(count < sizeof(made) / sizeof(made[0]));
	made[count] = strdup(out);
	return made[count++];
}

/* True if `globals` sets the name of this line again. */
static bool set_again(const char *globals, const char *line)
{
	size_t len = strcspn(line, " =");

	for (const char *at = globals; at && *at; at = strchr(at, '\n'), at = at ? at + 1 : NULL)
		if (strncmp(at, line, len) == 0 && (at[len] == ' ' || at[len] == '='))
			return true;
	return false;
}

void matrix_configure(const char *globals, const char *sections)
{
	static char original[4096];
	char path[4200], line[4096];
	bool global = false;

	if (!original[0])
		snprintf(original, sizeof(original), "%s", getenv("SKR_PKCS11_CONF"));
	snprintf(path, sizeof(path), "%s.test", original);
	FILE *from = fopen(original, "r"), *to = fopen(path, "w");
	assert_non_null(from);
	assert_non_null(to);
	while (fgets(line, sizeof(line), from)) {
		if (line[0] == '[')
			global = strncmp(line, "[skr-pkcs11]", 12) == 0;
		if (global && line[0] != '[' && set_again(globals, line))
			continue;
		fputs(line, to);
		if (global && line[0] == '[')
			fprintf(to, "%s\n", globals);
	}
	fprintf(to, "%s\n", sections);
	fclose(from);
	assert_int_equal(fclose(to), 0);
	assert_int_equal(chmod(path, 0644), 0);
	setenv("SKR_PKCS11_CONF", path, 1);
	CK_RV rv = p11->C_Finalize(NULL);
	if (rv != CKR_OK && rv != CKR_CRYPTOKI_NOT_INITIALIZED)
		fail_msg("C_Finalize: %s", rv_name(rv));
	module_initialize();
}

/* ---- a login ---- */

static void clean_slate(CK_SESSION_HANDLE session)
{
	CK_RV rv = p11->C_Logout(session); /* clears the negative cache as well as the key */

	if (rv != CKR_OK && rv != CKR_USER_NOT_LOGGED_IN)
		fail_msg("C_Logout: %s", rv_name(rv));
}

CK_RV matrix_login(const char *token, unsigned long *ret_failure, char *line, size_t size)
{
	CK_SESSION_HANDLE session = module_session(token);

	clean_slate(session);
	CK_RV rv = p11->C_Login(session, CKU_USER, NULL, 0);
	*ret_failure = module_failure(token, line, size);
	clean_slate(session); /* or the key would stay for relogin_grace */
	assert_ok(p11->C_CloseSession(session));
	return rv;
}

static CK_OBJECT_HANDLE private_key(CK_SESSION_HANDLE session)
{
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_ATTRIBUTE template = {CKA_CLASS, &class, sizeof(class)};
	CK_OBJECT_HANDLE key = 0;
	CK_ULONG count;

	assert_ok(p11->C_FindObjectsInit(session, &template, 1));
	assert_ok(p11->C_FindObjects(session, &key, 1, &count));
	assert_ok(p11->C_FindObjectsFinal(session));
	return count ? key : 0;
}

CK_RV matrix_sign(CK_SESSION_HANDLE session)
{
	unsigned char hash[32] = {5}, signature[64];
	CK_ULONG len = sizeof(signature);
	CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};

	CK_RV rv = p11->C_SignInit(session, &mechanism, private_key(session));
	return rv == CKR_OK ? p11->C_Sign(session, hash, sizeof(hash), signature, &len) : rv;
}

/* ---- what must stay as it is ---- */

static int descriptors, threads;

static int entries(const char *path)
{
	int count = 0;
	DIR *dir = opendir(path);

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

void matrix_begin(const char *const tokens[], size_t count)
{
	unsigned long failure;
	char line[1024];

	emulator_faults("");
	for (size_t i = 0; i < count; i++)
		if (matrix_login(tokens[i], &failure, line, sizeof(line)) != CKR_OK)
			fail_msg("token %s without any fault: %s", tokens[i], line);
	descriptors = entries("/proc/self/fd");
	threads = entries("/proc/self/task");
}

/* ---- rows ---- */

static bool wrong_row(const struct row *row)
{
	char line[1024];
	unsigned long failure = 0;
	CK_SESSION_HANDLE session = module_session(row->token);

	clean_slate(session);
	emulator_faults(row->rules);
	emulator_requests_reset();
	double start = now_ms();
	CK_RV rv = p11->C_Login(session, CKU_USER, NULL, 0);
	double seconds = (now_ms() - start) / 1000;
	failure = module_failure(row->token, line, sizeof(line));
	int requests = row->counted ? emulator_requests(row->counted) : 0;
	bool key = private_key(session) != 0;
	emulator_faults("");
	clean_slate(session);
	assert_ok(p11->C_CloseSession(session));

	bool wrong = rv != row->rv || failure != row->failure || seconds > row->seconds || key != (rv == CKR_OK) ||
	             (row->counted && (requests < row->least || requests > row->most)) || seconds < row->and_no_less;
	if (wrong)
		printf("%s, %s (%s): %s, SKR-%03lu, %d requests, %.1f s, key %s\n    %s\n", row->id, row->token,
		       row->rules, rv_name(rv), failure, requests, seconds, key ? "there" : "absent", line);
	return wrong;
}

static bool wrong_afterwards(const struct row *row)
{
	char line[1024];
	unsigned long failure;
	CK_RV rv = matrix_login(row->token, &failure, line, sizeof(line));

	if (rv != CKR_OK || failure)
		printf("%s, %s (%s): the clean login after it: %s %s\n", row->id, row->token, row->rules, rv_name(rv),
		       line);
	int files = entries("/proc/self/fd"), tasks = entries("/proc/self/task");
	if (files != descriptors || tasks != threads)
		printf("%s, %s (%s): %d descriptors instead of %d, %d threads instead of %d\n", row->id, row->token,
		       row->rules, files, descriptors, tasks, threads);
	return rv != CKR_OK || failure || files != descriptors || tasks != threads;
}

int matrix_run(const struct row *rows, size_t count)
{
	int wrong = 0;

	for (size_t i = 0; i < count; i++) {
		wrong += wrong_row(&rows[i]);
		wrong += wrong_afterwards(&rows[i]);
	}
	return wrong;
}
