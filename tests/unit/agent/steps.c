/* SPDX-License-Identifier: Apache-2.0 */
/* The order of the steps, what they tell, and the bytes that the hardware vouches for. */
#include "agent/steps.h"

#include "evidence/attest.h"

#include "base/file.h"
#include "base/ossl.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define LIMIT (64 * 1024)

static void runtime_data_is_what_the_reference_client_sends(void **state)
{
	(void)state;
	auto_buf file = BUF(LIMIT), out = BUF(LIMIT);
	auto_json *vectors = NULL, *expected = NULL, *jwk = NULL;

	assert_int_equal(file_read(SKR_TEST_DATA "/akv/keywrap-vectors.json", &file).failure, 0);
	assert_int_equal(json_parse_large(file.data, file.len, 10000, &vectors).failure, 0);
	const char *text = json_string_or_null(json_first(json_get(vectors, "runtime_jwks")), "jwks_utf8");
	assert_non_null(text);
	assert_int_equal(json_parse(text, strlen(text), &expected).failure, 0);
	/* The transport key as it may come: members in another order, and more of them. */
	const json *theirs = json_first(json_get(expected, "keys"));
	jwk = json_object();
	json_set_string(jwk, "n", json_string_or_null(theirs, "n"));
	json_set_string(jwk, "use", "enc");
	json_set_string(jwk, "kty", "RSA");
	json_set_string(jwk, "kid", json_string_or_null(theirs, "kid"));
	json_set_string(jwk, "e", json_string_or_null(theirs, "e"));

	assert_int_equal(runtime_data_print(jwk, &out).failure, 0);
	assert_string_equal(buf_text(&out), text);
}

static void a_transport_key_without_its_members_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
	    "{}",
	    "{\"kty\":\"RSA\",\"n\":\"AA\",\"e\":\"AQAB\"}",
	    "{\"kty\":\"RSA\",\"n\":\"\",\"e\":\"AQAB\",\"kid\":\"k\"}",
	    "{\"kty\":\"RSA\",\"n\":7,\"e\":\"AQAB\",\"kid\":\"k\"}",
	    "{\"kty\":\"EC\",\"n\":\"AA\",\"e\":\"AQAB\",\"kid\":\"k\"}",
	    "[]",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		auto_json *jwk = NULL;
		auto_buf out = BUF(LIMIT);
		assert_int_equal(json_parse(bad[i], strlen(bad[i]), &jwk).failure, 0);
		if (runtime_data_print(jwk, &out).failure != 504 || out.len != 0)
			fail_msg("%s", bad[i]);
	}
}

/* ---- a course on a machine without a TEE ---- */

struct heard {
	int count;
	enum agent_message_type types[8];
	char names[8][24];
	int refuse_at; /* the message that cannot be told; 0: none */
};

static skr_status hear(const struct agent_message *message, void *with)
{
	struct heard *heard = with;

	assert_true(heard->count < 8);
	heard->types[heard->count] = message->type;
	snprintf(heard->names[heard->count], sizeof(heard->names[0]), "%s", message->name);
	heard->count++;
	return heard->count == heard->refuse_at ? FAIL(503, "nobody listens") : OK;
}

static skr_status course(struct heard *heard, const char *ca_file)
{
	struct key_config key = {.host = "127.0.0.1:1", .name = "www"};
	struct token_config token = {.label = "web",
	                             .attestation = "https://127.0.0.1:1",
	                             .evidence = "auto",
	                             .endorsements = "auto",
	                             .keys = &key,
	                             .key_count = 1};
	struct config config = {.imds = "http://127.0.0.1:1", .tpm = "device:/dev/tpmrm0", .ca_file = ca_file};
	auto_agent_request request = {.token = "web", .nonce = "n", .transport_key = json_object()};

	json_set_string(request.transport_key, "kty", "RSA");
	json_set_string(request.transport_key, "n", "AAAA");
	json_set_string(request.transport_key, "e", "AQAB");
	json_set_string(request.transport_key, "kid", "k");
	return steps_run(&(struct steps_errand){.config = &config,
	                                        .token = &token,
	                                        .request = &request,
	                                        .deadline = deadline_in(2000),
	                                        .tell = hear,
	                                        .with = heard});
}

static char ca_file[] = "/tmp/skr-steps-XXXXXX";

static void evidence_comes_first_and_its_failure_says_so(void **state)
{
	(void)state;
	struct heard heard = {0};

	if (access("/dev/sev-guest", F_OK) == 0 || access("/dev/sev", F_OK) == 0 ||
	    access("/sys/kernel/config/tsm", F_OK) == 0 || access("/dev/tpmrm0", F_OK) == 0)
		skip(); /* this machine has what the test expects to miss */
	skr_status status = course(&heard, ca_file);
	assert_in_range(status.failure, 100, 144);
	assert_string_equal(status_last()->step, "evidence");
	assert_int_equal(heard.count, 1);
	assert_int_equal(heard.types[0], AGENT_STEP);
	assert_string_equal(heard.names[0], "evidence");
}

static void without_authorities_no_step_begins(void **state)
{
	(void)state;
	struct heard heard = {0};

	assert_int_equal(course(&heard, "/nonexistent").failure, 7); /* E-07 */
	assert_int_equal(heard.count, 0);
}

static void a_module_that_is_gone_ends_the_steps(void **state)
{
	(void)state;
	struct heard heard = {.refuse_at = 1};

	assert_int_equal(course(&heard, ca_file).failure, 503);
	assert_int_equal(heard.count, 1);
}

static int set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	int fd = mkstemp(ca_file);
	if (fd < 0 || write(fd, "-", 1) != 1 || close(fd) != 0)
		return -1;
	return ossl_open().failure;
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(ca_file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(runtime_data_is_what_the_reference_client_sends),
	    cmocka_unit_test(a_transport_key_without_its_members_is_refused),
	    cmocka_unit_test(evidence_comes_first_and_its_failure_says_so),
	    cmocka_unit_test(without_authorities_no_step_begins),
	    cmocka_unit_test(a_module_that_is_gone_ends_the_steps),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
