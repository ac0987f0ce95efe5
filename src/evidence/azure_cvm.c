/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/azure_cvm.h"

#include "base/file.h"
#include "base/log.h"
#include "evidence/tpm.h"
#include "evidence/tpm_device.h"
#include "evidence/tpm_structure.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define EVENT_LOG          "/sys/kernel/security/tpm0/binary_bios_measurements"
#define EVENT_LOG_LIMIT    (768 * 1024) /* twice in base64, it still fits into a request */

#define CERTIFICATE_LIMIT  (4 * 1024) /* the largest NV index of an Azure vTPM */
#define FIRST_PIECE        1024       /* of the certificate: one command, and most are shorter */
#define CONTEXT_LIMIT      (8 * 1024)
#define SIGNATURE_LIMIT    512

#define USER_DATA_SIZE     64
#define USER_DATA_ATTEMPTS 4
#define REFRESH_MS         10000
#define REFRESH_LEAST_MS   3000 /* the paravisor makes no report twice within 2 s */
#define REFRESH_PAUSE_MS   100
#define REFRESH_PAUSE_MOST 1000
#define TORN_ATTEMPTS      3
#define QUOTE_ATTEMPTS     4

static const struct tpm_nv report_index = {0x01400001, "the paravisor's report", 134};
static const struct tpm_nv user_data_index = {0x01400002, "the guest's input for the report", 133};
static const struct tpm_nv certificate_index = {0x01c101d0, "the attestation key's certificate", 146};

void vtpm_transport_done(struct vtpm_transport *transport)
{
	buf_done(&transport->template);
	buf_done(&transport->public_area);
	buf_done(&transport->context);
	*transport = (struct vtpm_transport){0};
}

void vtpm_machine_done(struct vtpm_machine *machine)
{
	hcl_report_done(&machine->hcl);
	guest_evidence_done(&machine->evidence);
	vtpm_transport_done(&machine->transport);
	*machine = (struct vtpm_machine){0};
}

/* --- The guest's input --- */

/* The index is of 64 bytes afterwards, whether it was missing or of another size. */
static skr_status prepare_user_data(struct tpm *tpm)
{
	size_t size;

	TRY(tpm_nv_size(tpm, &user_data_index, &size));
	if (size == USER_DATA_SIZE)
		return OK;
	if (size)
		TRY(tpm_nv_undefine(tpm, &user_data_index));
	return tpm_nv_define(tpm, &user_data_index, USER_DATA_SIZE);
}

static skr_status write_user_data(struct tpm *tpm, const uint8_t user_data[USER_DATA_SIZE])
{
	skr_status status = tpm_nv_write(tpm, &user_data_index, user_data, USER_DATA_SIZE);

	/* Looked at only now: it nearly always fits. Of a larger one the paravisor takes the first 64 bytes. */
	if (status.failure == user_data_index.absent) {
		status = prepare_user_data(tpm);
		if (!status.failure)
			status = tpm_nv_write(tpm, &user_data_index, user_data, USER_DATA_SIZE);
	}
	if (status.failure != user_data_index.absent)
		return status;
	struct status_record why = *status_last();
	return FAIL(133,
	            "%s; as an administrator: tpm2_nvundefine -C o 0x%08" PRIx32 "; tpm2_nvdefine 0x%08" PRIx32
	            " -C o -s %d -a 'ownerread|ownerwrite|authread|authwrite'",
	            why.sentence, user_data_index.index, user_data_index.index, USER_DATA_SIZE);
}

static skr_status is_still_ours(struct tpm *tpm, const uint8_t user_data[USER_DATA_SIZE], bool *ret)
{
	auto_buf now = BUF(USER_DATA_SIZE);

	TRY(tpm_nv_read(tpm, &user_data_index, 0, USER_DATA_SIZE, &now));
	*ret = memcmp(now.data, user_data, USER_DATA_SIZE) == 0;
	return OK;
}

/* --- The paravisor's report --- */

static skr_status read_report_once(struct tpm *tpm, size_t size, struct hcl_report *ret)
{
	auto_buf bytes = BUF(HCL_REPORT_LIMIT);

	TRY(tpm_nv_read(tpm, &report_index, 0, size, &bytes));
	return hcl_report_parse(bytes.data, bytes.len, ret);
}

/* Another reader may have a new report made between two pieces of ours, and then ours do not fit together. */
static skr_status read_report(struct tpm *tpm, size_t size, struct hcl_report *ret)
{
	for (int attempt = 1;; attempt++) {
		skr_status status = read_report_once(tpm, size, ret);
		if (status.failure != 149 || attempt == TORN_ATTEMPTS)
			return status;
	}
}

static skr_status report_size(struct tpm *tpm, size_t *ret)
{
	size_t size;

	TRY(tpm_nv_size(tpm, &report_index, &size));
	if (size == 0)
		return FAIL(134,
		            "%s, NV index 0x%08" PRIx32
		            ", is not there: this is no confidential VM (a Trusted Launch VM "
		            "needs evidence = trusted-launch)",
		            report_index.name, report_index.index);
	if (size > HCL_REPORT_LIMIT)
		return FAIL(149, "%s has %zu bytes, more than %d", report_index.name, size, HCL_REPORT_LIMIT);
	*ret = size;
	return OK;
}

enum freshness { FRESH, NOT_YET, TAKES_NONE, OVERWRITTEN };

/* The paravisor makes a new report when the first byte is read and the last one is some seconds old. */
static skr_status look_at_report(struct tpm *tpm, size_t size, const uint8_t user_data[USER_DATA_SIZE],
                                 enum freshness *ret_freshness, struct hcl_report *ret)
{
	auto_hcl_report report = {0};
	bool ours;

	TRY(read_report(tpm, size, &report));
	if (report.has_user_data && memcmp(report.user_data, user_data, USER_DATA_SIZE) == 0) {
		*ret_freshness = FRESH;
		*ret = report;
		report = (struct hcl_report){0};
		return OK;
	}
	TRY(is_still_ours(tpm, user_data, &ours));
	if (ours) /* without user-data: an old firmware's, or a newer one's from before the first was written */
		*ret_freshness = report.has_user_data ? NOT_YET : TAKES_NONE;
	else
		*ret_freshness = OVERWRITTEN;
	return OK;
}

static skr_status wait_for_report(struct tpm *tpm, size_t size, const uint8_t user_data[USER_DATA_SIZE],
                                  struct deadline deadline, enum freshness *ret_freshness, struct hcl_report *ret)
{
	struct deadline end = deadline_within(deadline, REFRESH_MS);
	int64_t start = monotonic_ms(), pause = REFRESH_PAUSE_MS;

	for (;;) {
		TRY(look_at_report(tpm, size, user_data, ret_freshness, ret));
		if (*ret_freshness == FRESH || *ret_freshness == OVERWRITTEN)
			return OK;
		if (*ret_freshness == TAKES_NONE && monotonic_ms() - start >= REFRESH_LEAST_MS)
			return FAIL(134,
			            "the paravisor's report has no user-data: the firmware of this machine is too old "
			            "to take any, and its report proves nothing of this login");
		if (!deadline_pause(pause, end))
			return FAIL(135,
			            "the paravisor's report does not carry what we wrote %" PRId64
			            " ms ago into NV index 0x%08" PRIx32,
			            monotonic_ms() - start, user_data_index.index);
		pause = pause < REFRESH_PAUSE_MOST / 2 ? 2 * pause : REFRESH_PAUSE_MOST;
	}
}

/* So that two who overwrite each other's do not go on in step. */
static bool wait_for_the_other(int attempt, struct deadline deadline)
{
	uint16_t random;

	if (random_bytes(&random, sizeof(random)).failure)
		random = 0;
	return deadline_pause(100 * attempt + random % 400, deadline);
}

/* Writes our data and reads a report that has it: evidence bound to other data than ours is never used. */
static skr_status collect_report(struct tpm *tpm, const uint8_t user_data[USER_DATA_SIZE], struct deadline deadline,
                                 struct hcl_report *ret)
{
	enum freshness freshness = NOT_YET;
	size_t size;

	TRY(report_size(tpm, &size));
	for (int attempt = 1;; attempt++) {
		TRY(write_user_data(tpm, user_data));
		TRY(wait_for_report(tpm, size, user_data, deadline, &freshness, ret));
		if (freshness == FRESH)
			return OK;
		if (attempt == USER_DATA_ATTEMPTS || !wait_for_the_other(attempt, deadline))
			return FAIL(136, "another process wrote to NV index 0x%08" PRIx32 " after us, %d times",
			            user_data_index.index, attempt);
		log_line(LOG_LEVEL_INFO, "SKR-136 another process wrote to NV index 0x%08" PRIx32 "; writing again",
		         user_data_index.index);
	}
}

/* --- The attestation key and its certificate --- */

static skr_status read_certificate(struct tpm *tpm, struct buf *ret)
{
	auto_buf der = BUF(CERTIFICATE_LIMIT);
	size_t size, len;

	TRY(tpm_nv_size(tpm, &certificate_index, &size));
	if (size == 0)
		return FAIL(146, "%s, NV index 0x%08" PRIx32 ", is not there", certificate_index.name,
		            certificate_index.index);
	size_t first = size < FIRST_PIECE ? size : FIRST_PIECE;
	TRY(tpm_nv_read(tpm, &certificate_index, 0, first, &der));
	TRY(ak_certificate_length(der.data, der.len, size < CERTIFICATE_LIMIT ? size : CERTIFICATE_LIMIT, &len));
	if (len > first)
		TRY(tpm_nv_read(tpm, &certificate_index, first, len - first, &der));
	der.len = len; /* what stands behind it is zeros */
	buf_move(ret, &der);
	return OK;
}

static void note_certificate(const struct ak_certificate *certificate, struct vtpm_machine *machine)
{
	machine->ak_certificate_state = certificate->state;
	machine->ak_certificate_days = certificate->days;
	memcpy(machine->ak_certificate_issuer, certificate->issuer, sizeof(certificate->issuer));
	if (certificate->state == AK_CERTIFICATE_EXPIRED)
		log_line(LOG_LEVEL_WARNING, "SKR-148 the attestation key's certificate (by %s) expired %d days ago",
		         certificate->issuer, -certificate->days);
	else if (certificate->state == AK_CERTIFICATE_EXPIRES_SOON)
		log_line(LOG_LEVEL_WARNING, "SKR-148 the attestation key's certificate (by %s) expires in %d days",
		         certificate->issuer, certificate->days);
}

/*
 * Whoever owns the TPM can put another key at the handle. A confidential VM's is vouched for by the hardware; where
 * there is none, by the certificate.
 */
static skr_status check_attestation_key(const struct vtpm_machine *machine, const struct ak_certificate *certificate,
                                        EVP_PKEY *key)
{
	auto_pkey *claimed = NULL;

	if (machine->evidence.isolation == ISOLATION_TRUSTED_LAUNCH) {
		if (EVP_PKEY_eq(certificate->key, key) != 1)
			return FAIL(147, "the key at handle 0x%08x is not that of its certificate", TPM_AK_HANDLE);
		return OK;
	}
	TRY(hcl_report_key(&machine->hcl, "HCLAkPub", &claimed));
	if (EVP_PKEY_eq(claimed, key) != 1)
		return FAIL(147, "the key at handle 0x%08x is not the one that the paravisor's claims name",
		            TPM_AK_HANDLE);
	if (EVP_PKEY_eq(certificate->key, key) != 1)
		log_line(LOG_LEVEL_WARNING, "the attestation key's certificate (by %s) is for another key",
		         certificate->issuer);
	return OK;
}

static skr_status collect_attestation_key(struct tpm *tpm, struct vtpm_machine *machine, EVP_PKEY **ret_key)
{
	struct guest_evidence *evidence = &machine->evidence;
	auto_ak_certificate certificate = {0};
	auto_pkey *key = NULL;

	TRY(tpm_read_public(tpm, TPM_AK_HANDLE, &evidence->ak_public));
	TRY(tpm_attestation_key(&evidence->ak_public, &key));
	TRY(read_certificate(tpm, &evidence->ak_certificate));
	TRY(ak_certificate_read(evidence->ak_certificate.data, evidence->ak_certificate.len, time(NULL), &certificate));
	TRY(check_attestation_key(machine, &certificate, key));
	note_certificate(&certificate, machine);
	*ret_key = TAKE(key);
	return OK;
}

/* --- Quote and transport key --- */

/* PCR values and a quote of the same: measured boot may be going on. */
static skr_status collect_quote(struct tpm *tpm, EVP_PKEY *key, struct guest_evidence *evidence, uint8_t ret_digest[32])
{
	bool current;

	for (int attempt = 1;; attempt++) {
		buf_clear(&evidence->quote);
		buf_clear(&evidence->quote_signature);
		TRY(tpm_read_pcrs(tpm, evidence->pcrs));
		TRY(tpm_pcr_digest(evidence->pcrs, GUEST_PCRS, ret_digest));
		TRY(tpm_quote(tpm, TPM_AK_HANDLE, &evidence->quote, &evidence->quote_signature));
		TRY(tpm_quote_check(&evidence->quote, &evidence->quote_signature, key, TPM_GUEST_PCRS, ret_digest,
		                    &current));
		if (current)
			return OK;
		if (attempt == QUOTE_ATTEMPTS)
			return FAIL(138, "PCR 0 to 7 changed between reading and quoting them, %d times", attempt);
	}
}

static skr_status make_transport_key(struct tpm *tpm, const uint8_t policy[32], struct vtpm_transport *transport,
                                     uint32_t *ret_handle)
{
	transport->primaries++;
	TRY(tpm_transport_template(policy, &transport->template));
	TRY(tpm_create_primary(tpm, &transport->template, ret_handle, &transport->public_area));
	TRY(tpm_transport_check(&transport->public_area, policy));
	TRY(tpm_public_name(&transport->public_area, transport->name));
	return tpm_context_save(tpm, *ret_handle, &transport->context);
}

static skr_status collect_transport(struct tpm *tpm, EVP_PKEY *key, const uint8_t pcr_digest[32],
                                    struct vtpm_machine *machine)
{
	struct guest_evidence *evidence = &machine->evidence;
	struct vtpm_transport *transport = &machine->transport;
	uint8_t policy[32];
	uint32_t handle;

	TRY(tpm_pcr_policy(TPM_GUEST_PCRS, pcr_digest, policy));
	TRY(make_transport_key(tpm, policy, transport, &handle));
	TRY(tpm_certify(tpm, handle, TPM_AK_HANDLE, &evidence->certify, &evidence->certify_signature));
	TRY(tpm_certify_check(&evidence->certify, &evidence->certify_signature, key, transport->name));
	/* tpm_transport_check: the modulus is what the structure ends with. */
	memcpy(evidence->transport_modulus, transport->public_area.data + transport->public_area.len - GUEST_TRANSPORT,
	       GUEST_TRANSPORT);
	return buf_append(&evidence->transport_public, transport->public_area.data, transport->public_area.len);
}

/* The log of what was measured into the PCRs. Root's alone; the attestation service may do without. */
static void read_event_log(struct buf *out)
{
	struct status_record before = *status_last();

	if (file_read(EVENT_LOG, out).failure) {
		buf_clear(out); /* part of it is worse than nothing */
		log_line(LOG_LEVEL_INFO, "SKR-151 %s", status_message());
	}
	*status_amend() = before;
}

/* --- The whole --- */

static void set_limits(struct vtpm_machine *machine)
{
	struct guest_evidence *evidence = &machine->evidence;

	machine->transport.template.limit = TPM_PUBLIC_SIZE;
	machine->transport.public_area.limit = TPM_PUBLIC_SIZE;
	machine->transport.context.limit = CONTEXT_LIMIT;
	evidence->claims.limit = HCL_REPORT_LIMIT;
	evidence->ak_certificate.limit = CERTIFICATE_LIMIT;
	evidence->ak_public.limit = TPM_PUBLIC_SIZE;
	evidence->transport_public.limit = TPM_PUBLIC_SIZE;
	evidence->quote.limit = TPM_ATTEST_SIZE;
	evidence->quote_signature.limit = SIGNATURE_LIMIT;
	evidence->certify.limit = TPM_ATTEST_SIZE;
	evidence->certify_signature.limit = SIGNATURE_LIMIT;
	evidence->event_log.limit = EVENT_LOG_LIMIT;
}

static skr_status collect_guest(struct tpm *tpm, struct vtpm_machine *machine)
{
	auto_pkey *key = NULL;
	uint8_t pcr_digest[32];

	TRY(collect_attestation_key(tpm, machine, &key));
	TRY(collect_quote(tpm, key, &machine->evidence, pcr_digest));
	return collect_transport(tpm, key, pcr_digest, machine);
}

static skr_status collect(struct tpm *tpm, enum vtpm_want want, const uint8_t user_data[USER_DATA_SIZE],
                          struct deadline deadline, struct vtpm_machine *machine)
{
	struct guest_evidence *evidence = &machine->evidence;

	if (want != VTPM_TRUSTED_LAUNCH) {
		TRY(collect_report(tpm, user_data, deadline, &machine->hcl));
		evidence->isolation = machine->hcl.isolation;
		TRY(buf_append(&evidence->claims, machine->hcl.claims.data, machine->hcl.claims.len));
	}
	return want == VTPM_REPORT_ALONE ? OK : collect_guest(tpm, machine);
}

skr_status vtpm_collect(const char *tcti, enum vtpm_want want, const uint8_t user_data[64], struct deadline deadline,
                        struct vtpm_machine *ret)
{
	auto_vtpm_machine machine = {0};
	auto_tpm *tpm = NULL;

	set_limits(&machine);
	TRY(tpm_open(tcti, deadline, &tpm));
	TRY(collect(tpm, want, user_data, deadline, &machine));
	tpm_flush(tpm);
	machine.transport.commands = tpm_commands(tpm);
	if (want != VTPM_REPORT_ALONE)
		read_event_log(&machine.evidence.event_log);
	*ret = machine;
	machine = (struct vtpm_machine){0};
	return OK;
}

/* --- Opening what is sealed to the transport key --- */

/* The same template gives the same key as long as the TPM's NULL seed is the same: until its next start. */
static skr_status make_transport_key_again(struct tpm *tpm, struct vtpm_transport *transport, uint32_t *ret_handle)
{
	auto_buf public_area = BUF(TPM_PUBLIC_SIZE);

	transport->primaries++;
	TRY(tpm_create_primary(tpm, &transport->template, ret_handle, &public_area));
	if (public_area.len != transport->public_area.len ||
	    memcmp(public_area.data, transport->public_area.data, public_area.len) != 0)
		return FAIL(139, "the transport key made again is another one");
	return OK;
}

static skr_status open_sealed(struct tpm *tpm, struct vtpm_transport *transport, const char *digest, const void *sealed,
                              size_t len, struct buf *ret)
{
	uint32_t handle;

	TRY(tpm_context_load(tpm, &transport->context, &handle));
	if (!handle)
		TRY(make_transport_key_again(tpm, transport, &handle));
	return tpm_rsa_decrypt(tpm, handle, digest, sealed, len, ret);
}

skr_status vtpm_transport_open(const char *tcti, struct vtpm_transport *transport, const char *digest,
                               const void *sealed, size_t len, struct deadline deadline, struct buf *ret)
{
	auto_tpm *tpm = NULL;

	TRY(tpm_open(tcti, deadline, &tpm));
	skr_status status = open_sealed(tpm, transport, digest, sealed, len, ret);
	tpm_flush(tpm);
	transport->commands += tpm_commands(tpm);
	return status;
}
