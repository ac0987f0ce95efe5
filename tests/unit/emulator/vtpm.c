/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vtpm.h"

#include "emulator/certificate.h"
#include "emulator/event_log.h"
#include "emulator/guest_protocol.h"
#include "emulator/hcl_maker.h"
#include "emulator/intel.h"
#include "emulator/vtpm_frame.h"
#include "emulator/vtpm_provision.h"

#include "surroundings.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <tss2/tss2_tpm2_types.h>

/* ---- the played machine ---- */

static void open_vtpm(enum machine_kind kind)
{
	strcpy(emulator.client, "0f8fad5b-d9cb-469f-a165-70867728950e");
	emulator.kind = kind;
	assert_ok(vtpm_open(&emulator));
}

static int open_machine(enum machine_kind kind)
{
	if (make_directory() != 0)
		return -1;
	assert_ok(hardware_open(&emulator));
	if (kind == MACHINE_CVM_TDX)
		assert_ok(intel_open(&emulator));
	open_vtpm(kind);
	return 0;
}

static int open_snp(void **state)
{
	(void)state;
	return open_machine(MACHINE_CVM_SNP);
}

static int open_tdx(void **state)
{
	(void)state;
	return open_machine(MACHINE_CVM_TDX);
}

static int open_trusted_launch(void **state)
{
	(void)state;
	return open_machine(MACHINE_TRUSTED_LAUNCH);
}

static int close_machine(void **state)
{
	(void)state;
	vtpm_close(&emulator);
	if (emulator.intel)
		intel_close(&emulator);
	hardware_close(&emulator);
	remove_files(test_directory);
	return 0;
}

static void change(const char *text)
{
	auto_json *request = json_of(text);
	assert_ok(vtpm_change(&emulator, request));
}

/* No faults, nothing counted, the good certificate. */
static int reset(void **state)
{
	(void)state;
	change("{\"faults\":[],\"counters\":0}");
	return 0;
}

static json *described(void)
{
	json *shown;
	assert_ok(vtpm_describe(&emulator, &shown));
	return shown;
}

static int64_t described_number(const char *object, const char *name)
{
	auto_json *shown = described();
	int64_t number = 0;
	const json *where = object ? json_get(shown, object) : shown;
	if (json_get(where, name))
		assert_ok(json_integer(where, name, false, &number));
	return number;
}

static void assert_nothing_is_left(void)
{
	assert_int_equal(described_number("handles", "transient"), 0);
	assert_int_equal(described_number("handles", "loaded_sessions"), 0);
	assert_int_equal(described_number("handles", "saved_sessions"), 0);
}

/* ---- a guest ---- */

static int connect_tpm(void)
{
	const struct sockaddr_in address = {
	    .sin_family = AF_INET, .sin_port = htons(emulator.tpm_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct timeval limit = {.tv_sec = 30};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

/* As the preloaded library opens /dev/tpmrm0. */
static int open_device(void)
{
	const uint8_t greeting = GUEST_TPM_GREETING;
	int fd = connect_tpm();
	assert_int_equal(send(fd, &greeting, 1, 0), 1);
	return fd;
}

/* One read is one answer, as of the device; 0: the connection has ended. */
static size_t exchange(int fd, struct frame *command, struct frame *answer)
{
	frame_end(command);
	assert_int_equal(send(fd, command->data, command->len, MSG_NOSIGNAL), command->len);
	ssize_t got = recv(fd, answer->data, sizeof(answer->data), 0);
	answer->len = got > 0 ? (size_t)got : 0;
	return answer->len;
}

static uint32_t ask(int fd, struct frame *command, struct frame *answer)
{
	do {
		assert_true(exchange(fd, command, answer) >= TPM_HEADER);
	} while (frame_code(answer) == TPM2_RC_RETRY);
	return frame_code(answer);
}

static uint32_t nv_read(int fd, uint32_t index, uint32_t size, uint32_t offset, struct frame *answer)
{
	struct frame command;
	frame_begin(&command, TPM_ST_SESSIONS, TPM2_CC_NV_Read);
	frame_put(&command, TPM2_RH_OWNER, 4);
	frame_put(&command, index, 4);
	frame_put_password(&command);
	frame_put(&command, size, 2);
	frame_put(&command, offset, 2);
	return ask(fd, &command, answer);
}

static void read_index(int fd, uint32_t index, size_t size, struct buf *out)
{
	struct frame answer;
	for (size_t at = 0; at < size; at += 512) {
		size_t part = size - at < 512 ? size - at : 512;
		assert_int_equal(nv_read(fd, index, (uint32_t)part, (uint32_t)at, &answer), 0);
		assert_ok(buf_append(out, answer.data + TPM_HEADER + 6, part));
	}
}

static uint32_t index_size(int fd, uint32_t index, uint32_t *ret_attributes)
{
	struct frame command, answer;
	uint8_t name[32];
	frame_begin(&command, TPM_ST_NO_SESSIONS, TPM2_CC_NV_ReadPublic);
	frame_put(&command, index, 4);
	if (ask(fd, &command, &answer) != 0)
		return 0;
	const uint8_t *area = answer.data + TPM_HEADER + 2;
	assert_ok(sha256(area, 14, name));
	assert_memory_equal(area + 14 + 4, name, 32); /* ESYS refuses another name */
	*ret_attributes = frame_get(area + 6, 4);
	return frame_get(area + 12, 2);
}

static void write_user_data(int fd, uint8_t byte)
{
	struct frame command, answer;
	uint32_t attributes;
	if (!index_size(fd, VTPM_USER_DATA, &attributes)) {
		frame_begin(&command, TPM_ST_SESSIONS, TPM2_CC_NV_DefineSpace);
		frame_put(&command, TPM2_RH_OWNER, 4);
		frame_put_password(&command);
		frame_put(&command, 0, 2);
		frame_put(&command, 14, 2);
		frame_put(&command, VTPM_USER_DATA, 4);
		frame_put(&command, TPM2_ALG_SHA256, 2);
		frame_put(&command, 0x00060006, 4); /* owner and index may read and write */
		frame_put(&command, 0, 2);
		frame_put(&command, 64, 2);
		assert_int_equal(ask(fd, &command, &answer), 0);
	}
	frame_begin(&command, TPM_ST_SESSIONS, TPM2_CC_NV_Write);
	frame_put(&command, TPM2_RH_OWNER, 4);
	frame_put(&command, VTPM_USER_DATA, 4);
	frame_put_password(&command);
	frame_put(&command, 64, 2);
	for (size_t i = 0; i < 64; i++)
		frame_put(&command, byte, 1);
	frame_put(&command, 0, 2);
	assert_int_equal(ask(fd, &command, &answer), 0);
}

/* A primary key in the NULL hierarchy: ECC, which takes milliseconds. The name of the key. */
static uint32_t create_primary(int fd, uint32_t *ret_handle, uint8_t ret_name[32])
{
	struct frame command, answer;
	frame_begin(&command, TPM_ST_SESSIONS, TPM2_CC_CreatePrimary);
	frame_put(&command, TPM2_RH_NULL, 4);
	frame_put_password(&command);
	frame_put(&command, 4, 2); /* no password, no data */
	frame_put(&command, 0, 4);
	frame_put(&command, 26, 2); /* TPMT_PUBLIC */
	frame_put(&command, TPM2_ALG_ECC, 2);
	frame_put(&command, TPM2_ALG_SHA256, 2);
	frame_put(&command, 0x00030472, 4);
	frame_put(&command, 0, 2);
	frame_put(&command, TPM2_ALG_AES, 2);
	frame_put(&command, 128, 2);
	frame_put(&command, TPM2_ALG_CFB, 2);
	frame_put(&command, TPM2_ALG_NULL, 2);
	frame_put(&command, TPM2_ECC_NIST_P256, 2);
	frame_put(&command, TPM2_ALG_NULL, 2);
	frame_put(&command, 0, 4); /* unique */
	frame_put(&command, 0, 2); /* outsideInfo */
	frame_put(&command, 0, 4); /* creationPCR */
	uint32_t code = ask(fd, &command, &answer);
	if (code == 0) {
		*ret_handle = frame_get(answer.data + TPM_HEADER, 4);
		uint32_t size = frame_get(answer.data + TPM_HEADER + 8, 2);
		assert_ok(sha256(answer.data + TPM_HEADER + 10, size, ret_name));
	}
	return code;
}

static uint32_t read_public(int fd, uint32_t handle, struct frame *answer)
{
	struct frame command;
	frame_begin(&command, TPM_ST_NO_SESSIONS, TPM2_CC_ReadPublic);
	frame_put(&command, handle, 4);
	return ask(fd, &command, answer);
}

static void ak_modulus(int fd, uint8_t out[256])
{
	struct frame answer;
	assert_int_equal(read_public(fd, VTPM_AK, &answer), 0);
	size_t size = frame_get(answer.data + TPM_HEADER, 2);
	memcpy(out, answer.data + TPM_HEADER + 2 + size - 256, 256);
}

static uint32_t start_session(int fd, uint32_t *ret_handle)
{
	struct frame command, answer;
	frame_begin(&command, TPM_ST_NO_SESSIONS, TPM2_CC_StartAuthSession);
	frame_put(&command, TPM2_RH_NULL, 4);
	frame_put(&command, TPM2_RH_NULL, 4);
	frame_put(&command, 16, 2);
	for (size_t i = 0; i < 4; i++)
		frame_put(&command, 0x12345678, 4);
	frame_put(&command, 0, 2);
	frame_put(&command, TPM2_SE_POLICY, 1);
	frame_put(&command, TPM2_ALG_NULL, 2);
	frame_put(&command, TPM2_ALG_SHA256, 2);
	uint32_t code = ask(fd, &command, &answer);
	*ret_handle = frame_get(answer.data + TPM_HEADER, 4);
	return code;
}

static uint32_t flush(int fd, uint32_t handle)
{
	struct frame command, answer;
	frame_begin(&command, TPM_ST_NO_SESSIONS, TPM2_CC_FlushContext);
	frame_put(&command, handle, 4);
	return ask(fd, &command, &answer);
}

static void read_pcr(int fd, uint32_t pcr, uint8_t out[32])
{
	struct frame command, answer;
	frame_begin(&command, TPM_ST_NO_SESSIONS, TPM2_CC_PCR_Read);
	frame_put(&command, 1, 4);
	frame_put(&command, TPM2_ALG_SHA256, 2);
	frame_put(&command, 3, 1);
	for (uint32_t byte = 0; byte < 3; byte++)
		frame_put(&command, pcr / 8 == byte ? 1U << pcr % 8 : 0, 1);
	assert_int_equal(ask(fd, &command, &answer), 0);
	memcpy(out, answer.data + answer.len - 32, 32);
}

/* ---- the paravisor's report ---- */

/* Little-endian, as it is in there. */
static size_t report_number(const struct buf *report, size_t at)
{
	return (size_t)report->data[at] | (size_t)report->data[at + 1] << 8 | (size_t)report->data[at + 2] << 16;
}

/* Its claims, which the hardware signed, and their text. */
static json *claims_of(const struct buf *report, size_t report_data_at, char user_data[129])
{
	uint8_t hash[64] = {0};
	json *claims = NULL;
	size_t size = report_number(report, 1232);
	assert_ok(sha256(report->data + 1236, size, hash));
	assert_memory_equal(report->data + 32 + report_data_at, hash, 64);
	assert_ok(json_parse(report->data + 1236, size, &claims));
	const char *text;
	assert_ok(json_string(claims, "user-data", &text));
	snprintf(user_data, 129, "%s", text);
	return claims;
}

static void read_claims(int fd, char user_data[129], json **ret)
{
	auto_buf report = BUF(4096);
	read_index(fd, VTPM_REPORT, HCL_INDEX_SIZE, &report);
	json *claims = claims_of(&report, emulator.kind == MACHINE_CVM_TDX ? 128 : 0x50, user_data);
	if (ret)
		*ret = claims;
	else
		json_free(claims);
}

static void wait_for_the_paravisor(void)
{
	usleep(2100 * 1000);
}

/* V-17: two seconds, and at offset 0 alone. */
static void the_report_is_made_anew_when_the_last_one_is_two_seconds_old(void **state)
{
	(void)state;
	char first[129], second[129];
	struct frame answer;
	int fd = open_device();
	wait_for_the_paravisor();
	write_user_data(fd, 0xab);
	read_claims(fd, first, NULL);
	write_user_data(fd, 0xcd);
	read_claims(fd, second, NULL);
	assert_string_equal(first, second);
	assert_memory_equal(first, "ABABABAB", 8);
	wait_for_the_paravisor();
	assert_int_equal(nv_read(fd, VTPM_REPORT, 512, 512, &answer), 0);
	assert_int_equal(nv_read(fd, VTPM_REPORT, 1, 2599, &answer), 0);
	read_claims(fd, second, NULL);
	assert_memory_equal(second, "CDCDCDCD", 8);
	close(fd);
}

static void the_claims_name_the_key_at_the_handle(void **state)
{
	(void)state;
	char user_data[129];
	uint8_t modulus[256];
	auto_json *claims = NULL;
	auto_buf encoded = BUF(1024);
	const char *kid, *n;
	int fd = open_device();
	read_claims(fd, user_data, &claims);
	ak_modulus(fd, modulus);
	assert_ok(base64url_encode(modulus, sizeof(modulus), &encoded));
	const json *ak = json_first(json_get(claims, "keys"));
	assert_ok(json_string(ak, "kid", &kid));
	assert_ok(json_string(ak, "n", &n));
	assert_string_equal(kid, "HCLAkPub");
	assert_string_equal(n, buf_text(&encoded));
	close(fd);
}

static void a_part_behind_the_end_of_an_index_is_refused(void **state)
{
	(void)state;
	struct frame answer;
	int fd = open_device();
	assert_int_equal(nv_read(fd, VTPM_REPORT, 512, 2600 - 511, &answer), TPM2_RC_NV_RANGE);
	assert_int_equal(nv_read(fd, VTPM_REPORT, 1025, 0, &answer), 0x1C4);
	close(fd);
}

static void the_report_can_be_wrong(void **state)
{
	(void)state;
	char user_data[129];
	uint8_t modulus[256];
	auto_buf report = BUF(4096), encoded = BUF(1024);
	auto_json *claims = NULL;
	const char *n;
	int fd = open_device();
	wait_for_the_paravisor();
	change("{\"faults\":[{\"on\":\"report\",\"do\":\"write\",\"at\":0,\"value\":\"58585858\"}]}");
	read_index(fd, VTPM_REPORT, HCL_INDEX_SIZE, &report);
	assert_memory_equal(report.data, "XXXX", 4);
	wait_for_the_paravisor();
	change("{\"faults\":[{\"on\":\"report\",\"do\":\"other-ak\"}]}");
	read_claims(fd, user_data, &claims);
	ak_modulus(fd, modulus);
	assert_ok(base64url_encode(modulus, sizeof(modulus), &encoded));
	assert_ok(json_string(json_first(json_get(claims, "keys")), "n", &n));
	assert_string_not_equal(n, buf_text(&encoded));
	change("{\"faults\":[{\"on\":\"report\",\"do\":\"stale\"}]}");
	wait_for_the_paravisor();
	write_user_data(fd, 0x77);
	read_claims(fd, user_data, NULL);
	assert_memory_not_equal(user_data, "7777", 4);
	close(fd);
}

/* ---- measurements ---- */

static void the_registers_are_those_of_the_log(void **state)
{
	(void)state;
	auto_buf log = BUF(EVENT_LOG_LIMIT);
	struct event_log_state replayed;
	uint8_t value[32];
	assert_ok(emulator_read(&emulator, "binary_bios_measurements", &log));
	assert_ok(event_log_replay(log.data, log.len, &replayed));
	assert_true(replayed.secure_boot_measured && replayed.secure_boot);
	int fd = connect_tpm();
	for (uint32_t pcr = 0; pcr < EVENT_LOG_PCRS; pcr++) {
		read_pcr(fd, pcr, value);
		assert_memory_equal(value, replayed.pcr[pcr], 32);
	}
	close(fd);
}

static void a_register_is_extended_just_before_a_command(void **state)
{
	(void)state;
	uint8_t before[32], after[32];
	int fd = open_device();
	read_pcr(fd, 10, before);
	change("{\"faults\":[{\"on\":\"PCR_Read\",\"nth\":2,\"do\":\"extend\",\"value\":10}]}");
	read_pcr(fd, 10, after);
	assert_memory_equal(before, after, 32);
	read_pcr(fd, 10, after);
	assert_memory_not_equal(before, after, 32);
	read_pcr(fd, 10, before);
	assert_memory_equal(before, after, 32);
	close(fd);
}

/* ---- the certificate ---- */

static void read_certificate(X509 **ret)
{
	auto_buf data = BUF(4096);
	uint32_t attributes;
	int fd = open_device();
	size_t size = index_size(fd, VTPM_CERTIFICATE, &attributes);
	read_index(fd, VTPM_CERTIFICATE, size, &data);
	close(fd);
	const uint8_t *at = data.data;
	*ret = d2i_X509(NULL, &at, (long)data.len);
	assert_non_null(*ret);
	if (emulator.kind == MACHINE_TRUSTED_LAUNCH)
		assert_ptr_equal(at, data.data + data.len);
}

static void the_certificate_is_of_the_key_and_of_our_authority(void **state)
{
	(void)state;
	auto_x509 *certificate = NULL;
	X509 *authority;
	uint8_t modulus[256], certified[256];
	auto_bn *n = NULL;
	int fd = open_device();
	ak_modulus(fd, modulus);
	close(fd);
	read_certificate(&certificate);
	assert_ok(vtpm_authority(&emulator, &authority));
	assert_ok(certificate_signed_by(certificate, authority, emulator_now(&emulator)));
	assert_int_equal(EVP_PKEY_get_bn_param(X509_get0_pubkey(certificate), "n", &n), 1);
	BN_bn2binpad(n, certified, sizeof(certified));
	assert_memory_equal(certified, modulus, 256);
	EXTENDED_KEY_USAGE *usage = X509_get_ext_d2i(certificate, NID_ext_key_usage, NULL, NULL);
	char oid[32];
	OBJ_obj2txt(oid, sizeof(oid), sk_ASN1_OBJECT_value(usage, 0), 1);
	assert_string_equal(oid, "2.23.133.8.3");
	EXTENDED_KEY_USAGE_free(usage);
}

static void the_certificate_can_be_missing_or_old(void **state)
{
	(void)state;
	struct frame answer;
	char issuer[80];
	auto_x509 *placeholder = NULL, *expired = NULL, *expiring = NULL, *renewed = NULL;
	time_t soon = time(NULL) + 90 * 24 * 60 * 60;
	change("{\"ak_certificate\":\"absent\"}");
	int fd = open_device();
	assert_int_equal(nv_read(fd, VTPM_CERTIFICATE, 64, 0, &answer), 0x14A);
	close(fd);
	change("{\"ak_certificate\":\"placeholder\"}");
	read_certificate(&placeholder);
	certificate_common_name(X509_get_issuer_name(placeholder), issuer, sizeof(issuer));
	assert_string_equal(issuer, "MICROSOFT AZURE TRUSTED VM RSA");
	change("{\"ak_certificate\":\"expired\"}");
	read_certificate(&expired);
	assert_true(X509_cmp_current_time(X509_get0_notAfter(expired)) < 0);
	change("{\"ak_certificate\":\"expiring\"}");
	read_certificate(&expiring);
	assert_true(X509_cmp_current_time(X509_get0_notAfter(expiring)) > 0);
	assert_true(X509_cmp_time(X509_get0_notAfter(expiring), &soon) < 0);
	change("{\"ak_certificate\":\"renew\"}");
	read_certificate(&renewed);
	assert_true(X509_cmp_time(X509_get0_notAfter(renewed), &soon) > 0);
}

/* ---- boots ---- */

static void after_a_restart_the_key_is_the_same_and_the_null_hierarchy_another(void **state)
{
	(void)state;
	uint8_t ak[256], ak_after[256], name[32], again[32], after[32];
	uint32_t key;
	int fd = open_device();
	ak_modulus(fd, ak);
	assert_int_equal(create_primary(fd, &key, name), 0);
	assert_int_equal(create_primary(fd, &key, again), 0);
	assert_memory_equal(name, again, 32);
	change("{\"restart\":true}");
	struct frame answer;
	assert_int_equal(read_public(fd, key, &answer), 0x18B); /* TPM_RC_HANDLE: it is gone */
	assert_int_equal(create_primary(fd, &key, after), 0);
	assert_memory_not_equal(name, after, 32);
	ak_modulus(fd, ak_after);
	assert_memory_equal(ak, ak_after, 256);
	close(fd);
	assert_nothing_is_left();
}

static void a_replaced_key_lasts_until_the_next_boot(void **state)
{
	(void)state;
	uint8_t ak[256], other[256];
	int fd = open_device();
	ak_modulus(fd, ak);
	change("{\"ak\":\"replace\"}");
	ak_modulus(fd, other);
	assert_memory_not_equal(ak, other, 256);
	change("{\"restart\":true}");
	ak_modulus(fd, other);
	assert_memory_equal(ak, other, 256);
	close(fd);
}

static void another_start_in_the_directory_finds_the_same_keys(void **state)
{
	(void)state;
	uint8_t ak[256], again[256];
	int fd = open_device();
	ak_modulus(fd, ak);
	close(fd);
	vtpm_close(&emulator);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
	open_vtpm(emulator.kind);
	fd = open_device();
	ak_modulus(fd, again);
	close(fd);
	assert_memory_equal(ak, again, 256);
}

/* ---- the resource manager ---- */

static void two_devices_have_all_the_slots_each(void **state)
{
	(void)state;
	uint32_t handles[2][3], session[2];
	uint8_t name[32];
	struct frame answer;
	int fds[] = {open_device(), open_device()};
	for (size_t i = 0; i < 3; i++)
		for (size_t who = 0; who < 2; who++)
			assert_int_equal(create_primary(fds[who], &handles[who][i], name), 0);
	for (size_t who = 0; who < 2; who++)
		assert_int_equal(start_session(fds[who], &session[who]), 0);
	for (size_t i = 0; i < 3; i++)
		for (size_t who = 0; who < 2; who++)
			assert_int_equal(read_public(fds[who], handles[who][i], &answer), 0);
	assert_int_equal(create_primary(fds[0], &handles[0][0], name), TPM2_RC_OBJECT_MEMORY);
	assert_int_equal(described_number("handles", "transient"), 6);
	assert_int_equal(described_number("handles", "loaded_sessions"), 2);
	assert_int_equal(flush(fds[0], session[0]), 0);
	assert_int_equal(flush(fds[0], handles[0][1]), 0);
	assert_int_equal(described_number("handles", "transient"), 5);
	assert_int_equal(described_number("handles", "loaded_sessions"), 1);
	close(fds[0]);
	assert_int_equal(described_number("handles", "transient"), 3);
	assert_int_equal(read_public(fds[1], handles[1][2], &answer), 0);
	close(fds[1]);
	assert_nothing_is_left();
	assert_int_equal(described_number(NULL, "open"), 0);
}

static void a_session_that_its_device_saved_outlives_it(void **state)
{
	(void)state;
	uint32_t session;
	struct frame command, answer;
	int fd = open_device();
	assert_int_equal(start_session(fd, &session), 0);
	frame_begin(&command, TPM_ST_NO_SESSIONS, TPM2_CC_ContextSave);
	frame_put(&command, session, 4);
	assert_int_equal(ask(fd, &command, &answer), 0);
	close(fd);
	assert_int_equal(described_number("handles", "saved_sessions"), 1);
	fd = open_device();
	assert_int_equal(flush(fd, session), 0);
	close(fd);
	assert_nothing_is_left();
}

static void a_client_without_resource_manager_leaves_what_it_does_not_flush(void **state)
{
	(void)state;
	uint32_t handle;
	uint8_t name[32];
	int fd = connect_tpm();
	assert_int_equal(create_primary(fd, &handle, name), 0);
	close(fd);
	assert_int_equal(described_number("handles", "transient"), 1);
	fd = connect_tpm();
	assert_int_equal(flush(fd, handle), 0);
	close(fd);
	assert_nothing_is_left();
}

/* ---- faults ---- */

static void commands_are_counted_by_name(void **state)
{
	(void)state;
	uint8_t value[32];
	int fd = open_device();
	read_pcr(fd, 0, value);
	read_pcr(fd, 0, value);
	close(fd);
	assert_int_equal(described_number("commands", "PCR_Read"), 2);
	assert_int_equal(described_number(NULL, "total"), 2);
	assert_int_equal(described_number(NULL, "connections"), 1);
}

static size_t random_answer(int fd, struct frame *answer)
{
	struct frame command;
	frame_begin(&command, TPM_ST_NO_SESSIONS, TPM2_CC_GetRandom);
	frame_put(&command, 8, 2);
	return exchange(fd, &command, answer);
}

/* V-13, V-19 */
static void an_answer_can_be_another(void **state)
{
	(void)state;
	struct frame answer;
	int fd = open_device();
	change("{\"faults\":[{\"on\":\"GetRandom\",\"nth\":2,\"do\":\"respond\",\"value\":\"0x922\"}]}");
	assert_true(random_answer(fd, &answer) == 20 && frame_code(&answer) == 0);
	assert_true(random_answer(fd, &answer) == 10 && frame_code(&answer) == TPM2_RC_RETRY);
	assert_true(random_answer(fd, &answer) == 20 && frame_code(&answer) == 0);
	change("{\"faults\":[{\"on\":\"*\",\"do\":\"truncate\",\"value\":6}]}");
	assert_int_equal(random_answer(fd, &answer), 6);
	change("{\"faults\":[{\"on\":\"*\",\"do\":\"lengthen\",\"value\":100}]}");
	assert_int_equal(random_answer(fd, &answer), 120);
	change("{\"faults\":[{\"on\":\"GetRandom\",\"do\":\"write\",\"at\":2,\"value\":\"ffffffff\"}]}");
	random_answer(fd, &answer);
	assert_int_equal(frame_get(answer.data + 2, 4), 0xffffffff);
	change("{\"faults\":[{\"on\":\"GetRandom\",\"do\":\"flip\",\"at\":1}]}");
	random_answer(fd, &answer);
	assert_int_equal(frame_get(answer.data, 2), 0x8000);
	change("{\"faults\":[{\"on\":\"GetRandom\",\"do\":\"drop\"}]}");
	assert_int_equal(random_answer(fd, &answer), 0);
	close(fd);
}

/* V-12 */
static void a_busy_tpm_takes_no_connection(void **state)
{
	(void)state;
	char byte;
	change("{\"faults\":[{\"on\":\"connect\",\"nth\":1,\"do\":\"refuse\"}]}");
	int fd = connect_tpm();
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
	struct frame answer;
	fd = open_device();
	assert_int_equal(random_answer(fd, &answer), 20);
	close(fd);
}

/* V-18 */
static void another_process_overwrites_the_question(void **state)
{
	(void)state;
	struct frame answer;
	static const uint8_t ours[64] = {[0 ... 63] = 0x33};
	int fd = open_device();
	write_user_data(fd, 0x11);
	change("{\"faults\":[{\"on\":\"NV_Write\",\"handle\":\"0x01400002\",\"nth\":1,\"do\":\"overwrite\"}]}");
	write_user_data(fd, 0x33);
	assert_int_equal(nv_read(fd, VTPM_USER_DATA, 64, 0, &answer), 0);
	assert_memory_not_equal(answer.data + TPM_HEADER + 6, ours, 64);
	write_user_data(fd, 0x33);
	assert_int_equal(nv_read(fd, VTPM_USER_DATA, 64, 0, &answer), 0);
	assert_memory_equal(answer.data + TPM_HEADER + 6, ours, 64);
	close(fd);
}

static void the_machine_restarts_at_a_command(void **state)
{
	(void)state;
	uint32_t handle;
	uint8_t name[32];
	struct frame answer;
	int fd = open_device();
	assert_int_equal(create_primary(fd, &handle, name), 0);
	change("{\"faults\":[{\"on\":\"ReadPublic\",\"nth\":1,\"do\":\"restart\"}]}");
	assert_int_equal(read_public(fd, handle, &answer), 0x18B);
	close(fd);
	assert_nothing_is_left();
}

static void a_bad_rule_changes_nothing(void **state)
{
	(void)state;
	static const char *const bad[][2] = {
	    {"{\"faults\":{}}", "not an array"},
	    {"{\"faults\":[{\"on\":\"Nothing\",\"do\":\"drop\"}]}", "no such command"},
	    {"{\"faults\":[{\"on\":\"connect\",\"do\":\"respond\",\"value\":1}]}", "cannot be done"},
	    {"{\"faults\":[{\"on\":\"Quote\",\"do\":\"respond\",\"value\":\"many\"}]}", "not a number"},
	    {"{\"faults\":[{\"on\":\"Quote\",\"do\":\"flip\",\"at\":4096}]}", "at a place above"},
	    {"{\"faults\":[{\"on\":\"Quote\",\"do\":\"write\",\"at\":1,\"value\":\"xy\"}]}", "not hexadecimal"},
	    {"{\"ak_certificate\":\"perfect\"}", "no such word"},
	    {"{\"extend\":24}", "number of a PCR"},
	    {"{\"weather\":\"fine\"}", "has no weather"},
	};
	change("{\"faults\":[{\"on\":\"Quote\",\"do\":\"drop\"}]}");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		auto_json *request = json_of(bad[i][0]);
		assert_refused(vtpm_change(&emulator, request), 213, bad[i][1]);
	}
	auto_json *shown = described();
	assert_int_equal(json_count(json_get(shown, "faults")), 1);
}

/* ---- the other machines ---- */

static void a_trusted_launch_machine_has_no_report(void **state)
{
	(void)state;
	struct frame answer;
	uint32_t attributes;
	int fd = open_device();
	assert_int_equal(nv_read(fd, VTPM_REPORT, 64, 0, &answer), 0x28B); /* TPM_RC_HANDLE, second handle */
	struct frame command;
	frame_begin(&command, TPM_ST_NO_SESSIONS, TPM2_CC_NV_ReadPublic);
	frame_put(&command, VTPM_REPORT, 4);
	assert_int_equal(ask(fd, &command, &answer), 0x18B);
	assert_true(index_size(fd, VTPM_CERTIFICATE, &attributes) < 1500);
	assert_int_equal(attributes & 0x40000000, 0); /* the owner's */
	assert_int_equal(read_public(fd, VTPM_AK, &answer), 0);
	assert_int_equal(frame_get(answer.data + TPM_HEADER, 2), 312); /* 32 bytes of policy more than elsewhere */
	close(fd);
}

static void a_td_has_its_report_in_the_paravisors(void **state)
{
	(void)state;
	char user_data[129];
	auto_buf report = BUF(4096);
	int fd = open_device();
	read_index(fd, VTPM_REPORT, HCL_INDEX_SIZE, &report);
	assert_int_equal(report_number(&report, 1224), HCL_TDX);
	json_free(claims_of(&report, 128, user_data));
	close(fd);
}

static void a_machine_without_tpm_has_nothing_to_change(void **state)
{
	(void)state;
	struct emulator none = {0};
	X509 *authority;
	auto_json *request = json_of("{}");
	assert_refused(vtpm_change(&none, request), 213, "no vTPM");
	assert_ok(vtpm_authority(&none, &authority));
	assert_null(authority);
}

int main(void)
{
	const struct CMUnitTest snp[] = {
	    cmocka_unit_test_setup(the_report_is_made_anew_when_the_last_one_is_two_seconds_old, reset),
	    cmocka_unit_test_setup(the_claims_name_the_key_at_the_handle, reset),
	    cmocka_unit_test_setup(a_part_behind_the_end_of_an_index_is_refused, reset),
	    cmocka_unit_test_setup(the_report_can_be_wrong, reset),
	    cmocka_unit_test_setup(the_registers_are_those_of_the_log, reset),
	    cmocka_unit_test_setup(a_register_is_extended_just_before_a_command, reset),
	    cmocka_unit_test_setup(the_certificate_is_of_the_key_and_of_our_authority, reset),
	    cmocka_unit_test_setup(the_certificate_can_be_missing_or_old, reset),
	    cmocka_unit_test_setup(after_a_restart_the_key_is_the_same_and_the_null_hierarchy_another, reset),
	    cmocka_unit_test_setup(a_replaced_key_lasts_until_the_next_boot, reset),
	    cmocka_unit_test_setup(another_start_in_the_directory_finds_the_same_keys, reset),
	    cmocka_unit_test_setup(two_devices_have_all_the_slots_each, reset),
	    cmocka_unit_test_setup(a_session_that_its_device_saved_outlives_it, reset),
	    cmocka_unit_test_setup(a_client_without_resource_manager_leaves_what_it_does_not_flush, reset),
	    cmocka_unit_test_setup(commands_are_counted_by_name, reset),
	    cmocka_unit_test_setup(an_answer_can_be_another, reset),
	    cmocka_unit_test_setup(a_busy_tpm_takes_no_connection, reset),
	    cmocka_unit_test_setup(another_process_overwrites_the_question, reset),
	    cmocka_unit_test_setup(the_machine_restarts_at_a_command, reset),
	    cmocka_unit_test_setup(a_bad_rule_changes_nothing, reset),
	    cmocka_unit_test(a_machine_without_tpm_has_nothing_to_change),
	};
	const struct CMUnitTest trusted_launch[] = {
	    cmocka_unit_test(a_trusted_launch_machine_has_no_report),
	    cmocka_unit_test(the_certificate_is_of_the_key_and_of_our_authority),
	    cmocka_unit_test(the_certificate_can_be_missing_or_old),
	};
	const struct CMUnitTest tdx[] = {cmocka_unit_test(a_td_has_its_report_in_the_paravisors)};

	int failed = cmocka_run_group_tests(snp, open_snp, close_machine);
	failed += cmocka_run_group_tests(trusted_launch, open_trusted_launch, close_machine);
	return failed + cmocka_run_group_tests(tdx, open_tdx, close_machine);
}
