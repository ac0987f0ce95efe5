/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/event_log.h"

#include "surroundings.h"

static int open_library(void **state)
{
	(void)state;
	return ossl_open().failure;
}

static void replay_made(bool secure_boot, struct event_log_state *ret)
{
	auto_buf log = BUF(EVENT_LOG_LIMIT);
	assert_ok(event_log_make(secure_boot, &log));
	assert_ok(event_log_replay(log.data, log.len, ret));
}

static void secure_boot_is_read_from_what_was_measured(void **state)
{
	(void)state;
	struct event_log_state on, off;
	replay_made(true, &on);
	replay_made(false, &off);
	assert_true(on.secure_boot_measured && on.secure_boot);
	assert_true(off.secure_boot_measured && !off.secure_boot);
	assert_memory_not_equal(on.pcr[7], off.pcr[7], 32);
	assert_memory_equal(on.pcr[0], off.pcr[0], 32);
	assert_int_equal(on.extended & 0xff, 0xff);
}

static void registers_of_a_dynamic_launch_are_all_ones(void **state)
{
	(void)state;
	static const uint8_t ones[32] = {[0 ... 31] = 0xff}, zeros[32];
	struct event_log_state replayed;
	replay_made(true, &replayed);
	assert_memory_equal(replayed.pcr[16], zeros, 32);
	assert_memory_equal(replayed.pcr[17], ones, 32);
	assert_memory_equal(replayed.pcr[22], ones, 32);
	assert_memory_equal(replayed.pcr[23], zeros, 32);
}

/* Made and replayed by others: tests/data/cvm/README.md. */
static void a_foreign_log_gives_its_registers(void **state)
{
	(void)state;
	auto_buf log = BUF(EVENT_LOG_LIMIT), text = BUF(64 * 1024);
	auto_json *registers = NULL;
	struct event_log_state replayed;
	read_data("cvm/generated/azureguest-requests/binary_bios_measurements", &log);
	read_data("cvm/generated/azureguest-requests/pcrs.json", &text);
	assert_ok(json_parse(text.data, text.len, &registers));
	assert_ok(event_log_replay(log.data, log.len, &replayed));
	assert_true(json_count(registers) >= 8);
	for (size_t i = 0; i < 8; i++) {
		char name[8], hex[65];
		const char *expected;
		snprintf(name, sizeof(name), "%zu", i);
		for (size_t at = 0; at < 32; at++)
			snprintf(hex + 2 * at, 3, "%02x", replayed.pcr[i][at]);
		assert_ok(json_string(registers, name, &expected));
		assert_string_equal(hex, expected);
	}
	assert_true(replayed.secure_boot);
}

static void a_log_that_ends_within_an_event_is_refused(void **state)
{
	(void)state;
	auto_buf log = BUF(EVENT_LOG_LIMIT);
	struct event_log_reader reader;
	struct event_log_event event;
	struct event_log_state replayed;
	bool more = true;
	size_t boundaries = 0, accepted = 0;
	assert_ok(event_log_make(true, &log));
	for (reader = EVENT_LOG_READER(log.data, log.len); more; boundaries++)
		assert_ok(event_log_next(&reader, &event, &more));
	for (size_t len = 0; len <= log.len; len++) {
		/* Of the exact size, so that a sanitizer sees a byte read behind it. */
		uint8_t *cut = malloc(len ? len : 1);
		memcpy(cut, log.data, len);
		accepted += !event_log_replay(cut, len, &replayed).failure;
		free(cut);
	}
	assert_int_equal(accepted, boundaries);
}

static void an_event_whose_digest_is_not_of_its_data_is_refused(void **state)
{
	(void)state;
	static const uint8_t name[] = {'B', 0, 'o', 0, 'o', 0, 't', 0};
	auto_buf log = BUF(EVENT_LOG_LIMIT);
	struct event_log_state replayed;
	assert_ok(event_log_make(false, &log));
	uint8_t *value = memmem(log.data, log.len, name, sizeof(name));
	assert_non_null(value);
	value[sizeof(name)] = 1;
	assert_refused(event_log_replay(log.data, log.len, &replayed), 213, "digest is not of its data");
}

static void a_log_of_the_old_form_or_of_nothing_known_is_refused(void **state)
{
	(void)state;
	auto_buf log = BUF(EVENT_LOG_LIMIT);
	struct event_log_state replayed;
	assert_refused(event_log_replay("", 0, &replayed), 213, "ends inside");
	assert_ok(event_log_make(true, &log));
	log.data[32 + 14] = '2'; /* Spec ID Event02 */
	assert_refused(event_log_replay(log.data, log.len, &replayed), 213, "Spec ID Event03");
	log.data[32 + 14] = '3';
	log.data[32 + 24] = 9;
	assert_refused(event_log_replay(log.data, log.len, &replayed), 213, "9 kinds of digests");
	log.data[32 + 24] = 2;
	log.data[32 + 28 + 6] = 20; /* SHA-256 of 20 bytes */
	assert_refused(event_log_replay(log.data, log.len, &replayed), 213, "of 20 bytes");
}

static void an_event_of_no_register_is_refused(void **state)
{
	(void)state;
	auto_buf log = BUF(EVENT_LOG_LIMIT);
	struct event_log_state replayed;
	assert_ok(event_log_make(true, &log));
	size_t second = 32 + 37;
	log.data[second] = 24;
	assert_refused(event_log_replay(log.data, log.len, &replayed), 213, "of PCR 24");
	log.data[second] = 0;
	log.data[second + 8] = 3;
	assert_refused(event_log_replay(log.data, log.len, &replayed), 213, "3 digests");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(secure_boot_is_read_from_what_was_measured),
	    cmocka_unit_test(registers_of_a_dynamic_launch_are_all_ones),
	    cmocka_unit_test(a_foreign_log_gives_its_registers),
	    cmocka_unit_test(a_log_that_ends_within_an_event_is_refused),
	    cmocka_unit_test(an_event_whose_digest_is_not_of_its_data_is_refused),
	    cmocka_unit_test(a_log_of_the_old_form_or_of_nothing_known_is_refused),
	    cmocka_unit_test(an_event_of_no_register_is_refused),
	};
	return cmocka_run_group_tests(tests, open_library, NULL);
}
