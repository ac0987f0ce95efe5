/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/machine.h"
#include "emulator/control.h"
#include "emulator/policy.h"
#include "emulator/programs.h"
#include "emulator/release_policy.h"
#include "unit/emulator/client.h"

#include <sys/stat.h>

/* An emulator of this kind, far enough to have hardware. All share a folder, and with it the keys of the hardware. */
static void open_kind(enum machine_kind kind)
{
	char context[128];
	snprintf(context, sizeof(context), "%s/security-context", test_directory);
	remove_files(context);
	emulator = (struct emulator){.dir = test_directory, .kind = kind, .https_port = 4711};
	assert_ok(hardware_open(&emulator));
}

static void close_kind(void)
{
	hardware_close(&emulator);
}

static int open_folder(void **state)
{
	(void)state;
	return make_directory();
}

static int close_folder(void **state)
{
	(void)state;
	remove_files(test_directory);
	return 0;
}

static bool there_is(const char *name)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", test_directory, name);
	return access(path, F_OK) == 0;
}

static void every_kind_is_known_by_the_name_that_is_listed(void **state)
{
	(void)state;
	char list[128];
	int count = 0;
	char *rest = list;
	snprintf(list, sizeof(list), "%s", machine_kind_names());
	for (char *name; (name = strsep(&rest, ","));) {
		enum machine_kind kind;
		name += strspn(name, " ");
		assert_true(machine_kind_of_name(name, &kind));
		assert_int_equal(kind, count++);
		assert_string_equal(machine_traits(kind)->name, name);
	}
	assert_int_equal(count, MACHINE_SIDECAR + 1);
	enum machine_kind untouched = MACHINE_TDX;
	assert_false(machine_kind_of_name("cvm", &untouched));
	assert_false(machine_kind_of_name("", &untouched));
	assert_false(machine_kind_of_name("Container", &untouched));
	assert_int_equal(untouched, MACHINE_TDX);
}

static void a_confidential_vm_has_the_report_of_a_paravisor(void **state)
{
	(void)state;
	static const uint8_t zeros[64], report_data[64] = {1};
	uint8_t report[REPORT_SIZE], family[16] = {1}, image[16] = {2};
	struct machine container = {0};
	open_kind(MACHINE_CVM_SNP);
	assert_ok(hardware_report(&emulator, report_data, 0, report));
	assert_int_equal(report_u64(report, REPORT_POLICY), 0x3001f);
	assert_int_equal(report_u32(report, REPORT_VMPL), 0);
	assert_memory_equal(report + REPORT_FAMILY_ID, family, 16);
	assert_memory_equal(report + REPORT_IMAGE_ID, image, 16);
	assert_memory_equal(report + REPORT_HOST_DATA, zeros, 32);
	assert_memory_not_equal(report + REPORT_ID_KEY_DIGEST, zeros, 48);
	assert_ok(machine_default(MACHINE_CONTAINER, &container));
	assert_memory_not_equal(report + REPORT_MEASUREMENT, container.measurement, 48);
	assert_false(there_is("security-context"));
	close_kind();
}

static void a_container_group_has_a_security_context_whatever_its_devices(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		open_kind(i ? MACHINE_SIDECAR : MACHINE_CONTAINER);
		assert_true(there_is("security-context/security-policy-base64"));
		close_kind();
	}
}

/* ---- release policies ---- */

static bool satisfies(const char *claims, const char *value)
{
	auto_buf text = BUF(8192);
	auto_json *tree = json_of(claims), *policy = NULL;
	char reason[700];
	assert_ok(release_policy_print(&emulator, value, &text));
	assert_ok(json_parse(text.data, text.len, &policy));
	return policy_holds(policy, tree, reason, sizeof(reason));
}

#define ISS   "\"iss\":\"https://sharedemu.attest.localhost:4711\""
#define SNP   "\"x-ms-attestation-type\":\"sevsnpvm\",\"x-ms-compliance-status\":\"azure-compliant-cvm\""
#define TDX   "\"x-ms-attestation-type\":\"tdxvm\",\"x-ms-compliance-status\":\"azure-compliant-cvm\""
#define GUEST ISS ",\"x-ms-attestation-type\":\"azurevm\",\"secureboot\":true"

static void a_policy_for_a_confidential_vm_asks_for_the_nested_claims(void **state)
{
	(void)state;
	open_kind(MACHINE_CVM_SNP);
	assert_true(satisfies("{" GUEST ",\"x-ms-isolation-tee\":{" SNP "}}", NULL));
	assert_false(satisfies("{" GUEST ",\"x-ms-isolation-tee\":{" TDX "}}", NULL));
	assert_false(satisfies("{" GUEST "}", NULL));
	assert_false(satisfies("{" ISS "," SNP "}", NULL)); /* what the paravisor itself would show */
	assert_false(satisfies("{" GUEST ",\"x-ms-isolation-tee\":{" SNP "}}", "00"));
	assert_true(
	    satisfies("{" GUEST ",\"x-ms-isolation-tee\":{" SNP ",\"x-ms-sevsnpvm-launchmeasurement\":\"00\"}}", "00"));
	close_kind();
	open_kind(MACHINE_CVM_TDX);
	assert_true(satisfies("{" GUEST ",\"x-ms-isolation-tee\":{" TDX "}}", NULL));
	assert_false(satisfies("{" GUEST ",\"x-ms-isolation-tee\":{" SNP "}}", NULL));
	assert_true(satisfies("{" GUEST ",\"x-ms-isolation-tee\":{" TDX ",\"tdx_mrtd\":\"00\"}}", "00"));
	close_kind();
}

static void a_policy_for_trusted_launch_asks_for_secure_boot(void **state)
{
	(void)state;
	open_kind(MACHINE_TRUSTED_LAUNCH);
	assert_true(satisfies("{" GUEST "}", NULL));
	assert_false(satisfies("{" ISS ",\"x-ms-attestation-type\":\"azurevm\",\"secureboot\":false}", NULL));
	assert_false(satisfies("{" GUEST ",\"x-ms-azurevm-vmid\":\"A\"}", "B"));
	assert_true(satisfies("{" GUEST ",\"x-ms-azurevm-vmid\":\"B\"}", "B"));
	close_kind();
}

static void a_policy_for_a_td_asks_for_it_at_the_top(void **state)
{
	(void)state;
	open_kind(MACHINE_TDX);
	assert_true(satisfies("{" ISS "," TDX "}", NULL));
	assert_false(satisfies("{" GUEST ",\"x-ms-isolation-tee\":{" TDX "}}", NULL));
	close_kind();
}

static void a_policy_for_containers_asks_for_this_groups_policy(void **state)
{
	(void)state;
	open_kind(MACHINE_CONTAINER);
	auto_json *settings =
	    json_of("{\"host_data\":\"1111111111111111111111111111111111111111111111111111111111111111\"}");
	assert_ok(hardware_change(&emulator, settings));
	static const char good[] =
	    "{" ISS ",\"x-ms-attestation-type\":\"sevsnpvm\",\"x-ms-compliance-status\":\"azure-compliant-uvm\","
	    "\"x-ms-sevsnpvm-hostdata\":\"1111111111111111111111111111111111111111111111111111111111111111\"}";
	assert_true(satisfies(good, NULL));
	assert_false(satisfies(good, "2222222222222222222222222222222222222222222222222222222222222222"));
	close_kind();
}

/* ---- what is written for users ---- */

static void the_agents_command_has_the_machines_interfaces(void **state)
{
	static const struct {
		enum machine_kind kind;
		const char *devices;
		bool tpm, context;
	} rows[] = {
	    {MACHINE_CONTAINER, "devices='sev-guest'\n", false, true},
	    {MACHINE_CVM_SNP, "devices='tpm,event-log'\n", true, false},
	    {MACHINE_CVM_TDX, "devices='tpm,event-log'\n", true, false},
	    {MACHINE_TRUSTED_LAUNCH, "devices='tpm,event-log'\n", true, false},
	    {MACHINE_TDX, "devices='configfs-tdx'\n", false, false},
	    {MACHINE_SIDECAR, "devices='none'\n", false, true},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char path[128];
		struct stat about;
		auto_buf text = BUF(16 * 1024);
		open_kind(rows[i].kind);
		emulator.tpm_port = 4712;
		assert_ok(program_write_commands(&emulator));
		assert_ok(emulator_read(&emulator, "inside", &text));
		assert_non_null(strstr(buf_text(&text), rows[i].devices));
		assert_int_equal(strstr(buf_text(&text), "SKR_GUEST_TPM=4712 ") != NULL, rows[i].tpm);
		assert_int_equal(strstr(buf_text(&text), "UVM_SECURITY_CONTEXT_DIR=") != NULL, rows[i].context);
		snprintf(path, sizeof(path), "%s/skr-agent", test_directory);
		assert_int_equal(stat(path, &about), 0);
		assert_int_equal(about.st_mode & 07777, 0755);
		close_kind();
	}
}

static void a_folder_with_a_quote_in_its_name_is_still_one_word(void **state)
{
	(void)state;
	char inner[128], command[1024], line[512] = "";
	open_kind(MACHINE_CONTAINER);
	snprintf(inner, sizeof(inner), "%s/it's $HOME", test_directory);
	assert_int_equal(mkdir(inner, 0700), 0);
	const struct emulator quoted = {.dir = inner};
	assert_ok(program_write_commands(&quoted));
	snprintf(command, sizeof(command),
	         "sh -c '. /dev/stdin; echo \"$dir\"' <<END\n$(sed -n /^dir=/p \"%s/it's \\$HOME/inside\")\nEND\n",
	         test_directory);
	FILE *shell = popen(command, "r");
	assert_non_null(shell);
	assert_non_null(fgets(line, sizeof(line), shell));
	pclose(shell);
	line[strcspn(line, "\n")] = '\0';
	assert_string_equal(line, inner);
	close_kind();
}

static void the_endpoints_name_what_the_machine_has(void **state)
{
	static const struct {
		enum machine_kind kind;
		uint16_t tpm_port, sidecar_port;
		const char *has, *lacks;
	} rows[] = {
	    {MACHINE_CVM_SNP, 4712, 0, "SKR_EMULATOR_TPM=swtpm:host=127.0.0.1,port=4712\nSKR_EMULATOR_TPM_PORT=4712\n",
	     "SKR_EMULATOR_SIDECAR"},
	    {MACHINE_SIDECAR, 0, 4713, "SKR_EMULATOR_SIDECAR=http://localhost:4713\n", "SKR_EMULATOR_TPM"},
	    {MACHINE_TRUSTED_LAUNCH, 4712, 0,
	     "SKR_EMULATOR_MACHINE=trusted-launch\nSKR_EMULATOR_EVIDENCE=trusted-launch\n", "SKR_EMULATOR_SIDECAR"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_buf text = BUF(16 * 1024);
		open_kind(rows[i].kind);
		emulator.tpm_port = rows[i].tpm_port;
		emulator.sidecar_port = rows[i].sidecar_port;
		assert_ok(control_write_endpoints(&emulator, "127.0.0.1"));
		assert_ok(emulator_read(&emulator, "endpoints", &text));
		assert_non_null(strstr(buf_text(&text), rows[i].has));
		assert_null(strstr(buf_text(&text), rows[i].lacks));
		close_kind();
	}
}

static void programs_are_found_by_path_alone(void **state)
{
	(void)state;
	char path[256];
	assert_non_null(program_find("sh", path, sizeof(path)));
	assert_int_equal(access(path, X_OK), 0);
	assert_null(program_find("no-such-program-is-there", path, sizeof(path)));
	setenv("PATH", ":/nowhere:", 1);
	assert_null(program_find("sh", path, sizeof(path)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_kind_is_known_by_the_name_that_is_listed),
	    cmocka_unit_test(a_confidential_vm_has_the_report_of_a_paravisor),
	    cmocka_unit_test(a_container_group_has_a_security_context_whatever_its_devices),
	    cmocka_unit_test(a_policy_for_a_confidential_vm_asks_for_the_nested_claims),
	    cmocka_unit_test(a_policy_for_trusted_launch_asks_for_secure_boot),
	    cmocka_unit_test(a_policy_for_a_td_asks_for_it_at_the_top),
	    cmocka_unit_test(a_policy_for_containers_asks_for_this_groups_policy),
	    cmocka_unit_test(the_agents_command_has_the_machines_interfaces),
	    cmocka_unit_test(a_folder_with_a_quote_in_its_name_is_still_one_word),
	    cmocka_unit_test(the_endpoints_name_what_the_machine_has),
	    cmocka_unit_test(programs_are_found_by_path_alone), /* last: it takes PATH away */
	};
	return cmocka_run_group_tests(tests, open_folder, close_folder);
}
