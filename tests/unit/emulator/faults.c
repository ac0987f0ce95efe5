/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/faults.h"
#include "unit/emulator/surroundings.h"

static int open_faults(void **state)
{
	(void)state;
	emulator = (struct emulator){0};
	return ossl_open().failure || faults_open(&emulator).failure ? -1 : 0;
}

static int close_faults(void **state)
{
	(void)state;
	faults_close(&emulator);
	return 0;
}

static struct fault_plan plan_for(const char *operation)
{
	struct fault_plan plan;

	assert_ok(faults_plan(&emulator, operation, &plan));
	return plan;
}

static void ranges_count_the_requests_since_the_rule_was_set(void **state)
{
	(void)state;
	static const struct {
		const char *rule;
		bool acts[4];
	} cases[] = {
	    {"akv.release stall", {true, true, true, true}},
	    {"akv.release[2] stall", {false, true, false, false}},
	    {"F: akv.release[1..2] stall", {true, true, false, false}},
	    {"akv.release[3..] stall", {false, false, true, true}},
	    {"akv.*[1] stall", {true, false, false, false}},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		faults_clear(&emulator);
		assert_ok(faults_add(&emulator, cases[i].rule));
		for (int n = 0; n < 4; n++) {
			struct fault_plan other = plan_for("maa.attest"), plan = plan_for("akv.release");
			assert_false(other.wire.stall);
			if (plan.wire.stall != cases[i].acts[n])
				fail_msg("%s, request %d", cases[i].rule, n + 1);
			fault_plan_done(&plan);
			fault_plan_done(&other);
		}
	}
}

static void actions_say_what_they_say(void **state)
{
	(void)state;
	assert_ok(faults_add(
	    &emulator, "# a comment\n\n"
	               "akv.release status(429,Retry-After: 1) delay(20)\n"
	               "akv.get status(403,code=Forbidden,inner=ForbiddenByRbac,message=no, ForbiddenByFirewall)\n"
	               "entra.token status(401,70021)\n"
	               "maa.attest truncate(7) mutate(jwt.payload.iss,https://evil.example) mutate(a)\n"
	               "maa.certs raw(HTTP/1.1 200 OK\\r\\n\\(x\\)) drip(1)\n"));
	struct fault_plan plan = plan_for("akv.release");
	assert_int_equal(plan.status, 429);
	assert_int_equal(plan.delay_ms, 20);
	assert_string_equal(plan.headers.items[0].name, "Retry-After");
	assert_string_equal(plan.headers.items[0].value, "1");
	fault_plan_done(&plan);

	plan = plan_for("akv.get");
	assert_string_equal(plan.code, "Forbidden");
	assert_string_equal(plan.inner, "ForbiddenByFirewall");
	assert_string_equal(plan.message, "no");
	fault_plan_done(&plan);

	plan = plan_for("entra.token");
	assert_string_equal(plan.inner, "70021");
	fault_plan_done(&plan);

	plan = plan_for("maa.attest");
	assert_int_equal(plan.wire.body_at, 7);
	assert_string_equal(plan.mutations->path, "jwt.payload.iss");
	assert_string_equal(plan.mutations->value, "https://evil.example");
	assert_string_equal(plan.mutations->next->path, "a");
	assert_null(plan.mutations->next->value);
	fault_plan_done(&plan);

	plan = plan_for("maa.certs");
	assert_string_equal(plan.wire.raw, "HTTP/1.1 200 OK\r\n(x)");
	assert_int_equal(plan.wire.drip, 1);
	fault_plan_done(&plan);
}

static void connection_faults_go_by_service_and_leave_requests_alone(void **state)
{
	(void)state;
	assert_ok(faults_add(&emulator, "akv.release[2] tls(expired)\nmaa.* reset(handshake)"));
	struct fault_plan plan = plan_for("akv.release");
	assert_string_equal(plan.text, "");
	fault_plan_done(&plan);
	assert_int_equal(faults_connect(&emulator, "akv").leaf, LEAF_GOOD);
	assert_int_equal(faults_connect(&emulator, "akv").leaf, LEAF_EXPIRED);
	assert_int_equal(faults_connect(&emulator, "akv").leaf, LEAF_GOOD);
	struct connect_plan connect = faults_connect(&emulator, "maa");
	assert_true(connect.refuse && connect.handshake && connect.reset);
}

static void what_is_no_rule_is_refused_and_changes_nothing(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
	    {"akv.release", "no action"},
	    {"akv.release explode", "no such action"},
	    {"akv.release status(99)", "does not take"},
	    {"akv.release status(600)", "does not take"},
	    {"akv.release status(429,colour=red)", "does not take"},
	    {"akv.release status(429", "no closing parenthesis"},
	    {"akv.release delay(-1)", "does not take"},
	    {"akv.release delay(1x)", "does not take"},
	    {"akv.release drip(0)", "does not take"},
	    {"akv.release tls(purple)", "does not take"},
	    {"akv.release stall(1)", "does not take"},
	    {"akv.release mutate()", "does not take"},
	    {"akv.release mutate(,x)", "does not take"},
	    {"akv.release[0] stall", "empty range"},
	    {"akv.release[3..2] stall", "empty range"},
	    {"akv.release[x] stall", "not [N]"},
	    {"akv release stall", "not SERVICE.OPERATION"},
	    {"dns.any stall", "no such service"},
	    {"akv.get stall\nakv.get what", "line 2"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_refused(faults_add(&emulator, cases[i][0]), 4, cases[i][1]);
	auto_json *list = faults_list(&emulator);
	assert_int_equal(json_count(list), 0);
}

static void the_list_tells_how_often_a_rule_matched(void **state)
{
	(void)state;
	assert_ok(faults_add(&emulator, "akv.get[5] stall"));
	for (int i = 0; i < 3; i++) {
		struct fault_plan plan = plan_for("akv.get");
		fault_plan_done(&plan);
	}
	auto_json *list = faults_list(&emulator);
	int64_t matched;
	assert_ok(json_integer(json_first(list), "matched", false, &matched));
	assert_int_equal(matched, 3);
	assert_string_equal(json_string_or_null(json_first(list), "rule"), "akv.get[5] stall");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(ranges_count_the_requests_since_the_rule_was_set, open_faults,
	                                    close_faults),
	    cmocka_unit_test_setup_teardown(actions_say_what_they_say, open_faults, close_faults),
	    cmocka_unit_test_setup_teardown(connection_faults_go_by_service_and_leave_requests_alone, open_faults,
	                                    close_faults),
	    cmocka_unit_test_setup_teardown(what_is_no_rule_is_refused_and_changes_nothing, open_faults, close_faults),
	    cmocka_unit_test_setup_teardown(the_list_tells_how_often_a_rule_matched, open_faults, close_faults),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
