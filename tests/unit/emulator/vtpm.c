/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vtpm.h"

#include "surroundings.h"

static int open_machine(void **state)
{
	(void)state;
	if (make_directory() != 0)
		return -1;
	strcpy(emulator.client, "0f8fad5b-d9cb-469f-a165-70867728950e");
	emulator.kind = MACHINE_CVM_SNP;
	assert_ok(hardware_open(&emulator));
	assert_ok(vtpm_open(&emulator));
	return 0;
}

static int close_machine(void **state)
{
	(void)state;
	vtpm_close(&emulator);
	hardware_close(&emulator);
	remove_files(test_directory);
	return 0;
}

static void opens(void **state)
{
	(void)state;
	assert_true(emulator.tpm_port > 0);
	if (getenv("HOLD")) {
		printf("port %u dir %s\n", emulator.tpm_port, test_directory);
		fflush(stdout);
		sleep((unsigned)atoi(getenv("HOLD")));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(opens)};
	return cmocka_run_group_tests(tests, open_machine, close_machine);
}
