/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The failure matrix, row by row: a fault in one service, and what C_Login says of it: return value, SKR number, how
 * many requests were made, how long it took. Each row ends with a clean login, which must work at once.
 */
#include "support/module.h"
#include "cmocka_all.h"

static const struct row {
	const char *id, *rules;
	CK_RV rv;
	unsigned long failure; /* 0: must succeed */
	const char *counted;   /* operation whose requests are counted; NULL: not */
	int least, most;
	double seconds; /* at most */
} rows[] = {
    /* id        rules                                          rv                   SKR  operation       least most s
     */
    {"H-05 maa", "maa.attest[1] reset(headers)", CKR_OK, 0, "maa.attest", 2, 2, 8},
    {"H-06 akv", "akv.release[1] close(0)", CKR_OK, 0, "akv.release", 2, 2, 8},
    {"H-11", "maa.attest status(204)", CKR_FUNCTION_FAILED, 210, "maa.attest", 1, 1, 5},
    {"H-12", "akv.release redirect(https://127.0.0.1:1/elsewhere)", CKR_FUNCTION_FAILED, 211, "akv.release", 1, 1, 5},
    {"H-10", "maa.attest garble(7)", CKR_FUNCTION_FAILED, 209, "maa.attest", 1, 1, 5},
    {"H-19", "akv.release[1..2] status(503)", CKR_OK, 0, "akv.release", 3, 3, 12},
    {"H-20", "akv.release[1] status(429,Retry-After: 1)", CKR_OK, 0, "akv.release", 2, 2, 6},
    {"H-20 absurd", "akv.release status(429,Retry-After: 4000)", CKR_DEVICE_ERROR, 337, "akv.release", 1, 1, 5},
    {"M-02", "imds.token status(400)", CKR_FUNCTION_FAILED, 301, "imds.token", 1, 1, 5},
    {"M-03", "imds.token status(403)", CKR_FUNCTION_FAILED, 302, "imds.token", 1, 1, 5},
    {"M-04", "imds.token[1] status(404)", CKR_OK, 0, "imds.token", 2, 2, 8},
    {"A-01", "maa.attest status(400)", CKR_FUNCTION_FAILED, 320, "maa.attest", 1, 1, 5},
    {"A-02", "maa.attest status(404)", CKR_FUNCTION_FAILED, 321, "maa.attest", 1, 1, 5},
    {"A-03", "maa.attest[1] status(500)", CKR_OK, 0, "maa.attest", 2, 2, 8},
    {"K-01", "akv.release[1] status(401)", CKR_OK, 0, "akv.release", 2, 2, 6},
    {"K-01 for ever", "akv.release status(401)", CKR_FUNCTION_FAILED, 330, "akv.release", 2, 2, 6},
    {"K-05", "akv.release status(404)", CKR_FUNCTION_FAILED, 334, "akv.release", 1, 1, 5},
    {"K-09", "akv.release[1] status(500)", CKR_OK, 0, "akv.release", 2, 2, 8},
    {"K-10", "akv.release mutate(jws.raw.payload,x)", CKR_FUNCTION_FAILED, 340, "akv.release", 1, 1, 5},
    {"K-12", "akv.release mutate(jws.payload.response.key.key.x,AAAA)", CKR_FUNCTION_FAILED, 342, "akv.release", 1, 1,
     5},
    {"K-15 nonce", "akv.release mutate(jws.payload.request.nonce,other)", CKR_FUNCTION_FAILED, 343, "akv.release", 1, 1,
     5},
};

static CK_SESSION_HANDLE session;

static void clean_slate(void)
{
	/* C_Logout clears the negative cache as well as the key. */
	CK_RV rv = p11->C_Logout(session);
	if (rv != CKR_OK && rv != CKR_USER_NOT_LOGGED_IN)
		fail_msg("C_Logout: %s", rv_name(rv));
}

static int set_up(void **state)
{
	(void)state;
	module_load();
	module_initialize();
	session = module_session("faulty");
	return 0;
}

static int run_row(const struct row *row)
{
	char line[1024];

	clean_slate();
	emulator_faults(row->rules);
	emulator_requests_reset();
	double start = now_ms();
	CK_RV rv = p11->C_Login(session, CKU_USER, NULL, 0);
	double seconds = (now_ms() - start) / 1000;
	unsigned long failure = module_failure("faulty", line, sizeof(line));
	int requests = row->counted ? emulator_requests(row->counted) : 0;
	CK_OBJECT_HANDLE key = module_find(session, CKO_PRIVATE_KEY, "fragile");
	emulator_faults("");

	int wrong = rv != row->rv || failure != row->failure ||
	            (row->counted && (requests < row->least || requests > row->most)) || seconds > row->seconds ||
	            (key != 0) != (rv == CKR_OK);
	if (wrong)
		printf("%s (%s): %s, SKR-%03lu, %d requests, %.1f s, key %s\n           %s\n", row->id, row->rules,
		       rv_name(rv), failure, requests, seconds, key ? "there" : "absent", line);
	clean_slate();
	rv = p11->C_Login(session, CKU_USER, NULL, 0);
	if (rv != CKR_OK || module_failure("faulty", line, sizeof(line)) != 0) {
		printf("%s: the clean login after it: %s %s\n", row->id, rv_name(rv), line);
		wrong = 1;
	}
	return wrong;
}

static void each_fault_gets_its_number(void **state)
{
	(void)state;
	int wrong = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		wrong += run_row(&rows[i]);
	assert_int_equal(wrong, 0);
}

/* C-05, SKR-090 */
static void retries_in_a_loop_send_nothing(void **state)
{
	(void)state;
	clean_slate();
	emulator_faults("maa.attest status(400)");
	emulator_requests_reset();
	for (int i = 0; i < 200; i++)
		assert_rv(p11->C_Login(session, CKU_USER, NULL, 0), CKR_FUNCTION_FAILED);
	assert_int_equal(emulator_requests("maa.attest"), 1);
	emulator_faults("");
}

/* K-03: the sentence names the claim, what the policy wants and what the machine has. */
static void a_refused_policy_names_the_claim(void **state)
{
	(void)state;
	char line[1024];
	CK_SESSION_HANDLE other = module_session("other");

	assert_rv(p11->C_Login(other, CKU_USER, NULL, 0), CKR_FUNCTION_FAILED);
	assert_int_equal(module_failure("other", line, sizeof(line)), 332);
	if (!strstr(line, "x-ms-sevsnpvm-hostdata"))
		fail_msg("%s", line);
	assert_ok(p11->C_CloseSession(other));
}

/* C-20, I-31, SKR-411 */
static void a_failed_relogin_keeps_the_key(void **state)
{
	(void)state;
	unsigned char hash[32] = {1}, signature[64];
	CK_ULONG len = sizeof(signature);
	CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};

	clean_slate();
	module_login(session);
	emulator_faults("maa.attest status(400)");
	assert_rv(p11->C_Login(session, CKU_USER, NULL, 0), CKR_USER_ALREADY_LOGGED_IN);
	assert_ok(p11->C_SignInit(session, &mechanism, module_find(session, CKO_PRIVATE_KEY, "fragile")));
	assert_ok(p11->C_Sign(session, hash, sizeof(hash), signature, &len));
	emulator_faults("");
}

/* rule 2 of consumers: open, log in, close, again and again, costs one release */
static void reopened_sessions_cost_one_release(void **state)
{
	(void)state;
	clean_slate();
	assert_ok(p11->C_CloseSession(session));
	emulator_requests_reset();
	for (int i = 0; i < 13; i++) {
		CK_SESSION_HANDLE again = module_session("faulty");
		module_login(again);
		assert_int_not_equal(module_find(again, CKO_PRIVATE_KEY, "fragile"), 0);
		assert_ok(p11->C_CloseSession(again));
	}
	assert_int_equal(emulator_requests("akv.release"), 1);
	session = module_session("faulty");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_fault_gets_its_number),         cmocka_unit_test(retries_in_a_loop_send_nothing),
	    cmocka_unit_test(a_refused_policy_names_the_claim),   cmocka_unit_test(a_failed_relogin_keeps_the_key),
	    cmocka_unit_test(reopened_sessions_cost_one_release),
	};
	return cmocka_run_group_tests_name("integration.faults", tests, set_up, NULL);
}
