/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/hardware.h"

#include "base/base64.h"
#include "base/file.h"
#include "emulator/certificate.h"
#include "emulator/chip.h"
#include "emulator/cose.h"
#include "emulator/guest_protocol.h"
#include "emulator/machine.h"
#include "emulator/mailbox.h"
#include "emulator/uvm.h"

#include <openssl/ecdsa.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PEM_LIMIT   (64 * 1024)
#define CONTEXT_DIR "security-context"

/* A machine with everything that is made from its settings. Replaced as a whole. */
struct state {
	struct machine machine;
	struct amd amd;
	struct vcek vcek, thim, context; /* for the three TCBs */
};

struct hardware {
	pthread_mutex_t lock; /* of `state` */
	struct state *state;
	struct uvm_signer uvm;
	uint8_t chip_id[CHIP_ID_SIZE];
	uint8_t report_id[32]; /* this run of the guest */
	struct mailbox *mailbox;
};

/* ---- what the host says of the machine ---- */

static skr_status thim_answer(const struct state *state, const struct vcek *vcek, struct tcb tcb, json **ret)
{
	char tcbm[17];
	auto_buf leaf = BUF(PEM_LIMIT), chain = BUF(PEM_LIMIT);
	TRY(certificate_to_pem(vcek->certificate, &leaf));
	TRY(certificate_to_pem(state->amd.ask, &chain));
	TRY(certificate_to_pem(state->amd.ark, &chain));
	tcbm_text(state->machine.product, tcb, tcbm);

	json *answer = json_object();
	json_set_string(answer, "vcekCert", buf_text(&leaf));
	json_set_string(answer, "tcbm", tcbm);
	json_set_string(answer, "certificateChain", buf_text(&chain));
	json_set_string(answer, "cacheControl", "86400");
	*ret = answer;
	return OK;
}

static skr_status put_entry(struct buf *table, const uint8_t guid[16], size_t offset, size_t len)
{
	uint8_t entry[24];
	memcpy(entry, guid, 16);
	for (int i = 0; i < 4; i++) {
		entry[16 + i] = (uint8_t)(offset >> 8 * i);
		entry[20 + i] = (uint8_t)(len >> 8 * i);
	}
	return buf_append(table, entry, sizeof(entry));
}

/* GHCB 56421 section 4.1.8.1; the bytes of a GUID stand as it is written. */
static skr_status certificate_table(const struct state *state, struct buf *out)
{
	static const uint8_t guids[3][16] = {
	    {0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd}, /* VCEK */
	    {0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82}, /* ASK */
	    {0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0, 0xae}, /* ARK */
	};
	X509 *const certificates[3] = {state->vcek.certificate, state->amd.ask, state->amd.ark};
	static const uint8_t end[24];
	auto_buf blobs = BUF(GUEST_TABLE_LIMIT);

	for (int i = 0; i < 3; i++) {
		size_t before = blobs.len;
		TRY(certificate_to_der(certificates[i], &blobs));
		TRY(put_entry(out, guids[i], 4 * sizeof(end) + before, blobs.len - before));
	}
	TRY(buf_append(out, end, sizeof(end)));
	return buf_append(out, blobs.data, blobs.len);
}

/* ---- the files ---- */

static skr_status write_base64(struct emulator *e, const char *name, const void *data, size_t len)
{
	auto_buf text = BUF(2 * COSE_LIMIT);
	TRY(base64_encode(data, len, &text));
	return emulator_write(e, name, text.data, text.len);
}

static skr_status write_security_context(struct emulator *e, const struct state *state)
{
	const struct machine *m = &state->machine;
	auto_buf info = BUF(COSE_LIMIT), certificates = BUF(PEM_LIMIT);
	auto_json *answer = NULL;
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", e->dir, CONTEXT_DIR);
	if (mkdir(path, 0755) != 0 && errno != EEXIST)
		return FAIL(17, "mkdir %s: %s", path, strerror(errno));
	TRY(thim_answer(state, &state->context, m->context_differs ? m->context_tcb : m->tcb, &answer));
	TRY(json_print(answer, &certificates));
	TRY(uvm_reference_info(&e->hardware->uvm, m->feed, m->svn, m->endorsed_measurement, &info));
	TRY(write_base64(e, CONTEXT_DIR "/host-amd-cert-base64", certificates.data, certificates.len));
	TRY(write_base64(e, CONTEXT_DIR "/reference-info-base64", info.data, info.len));
	return write_base64(e, CONTEXT_DIR "/security-policy-base64", m->security_policy, strlen(m->security_policy));
}

static skr_status write_certificate(struct emulator *e, const char *name, X509 *certificate)
{
	auto_buf pem = BUF(PEM_LIMIT);
	TRY(certificate_to_pem(certificate, &pem));
	return emulator_write(e, name, pem.data, pem.len);
}

static skr_status write_files(struct emulator *e, const struct state *state)
{
	TRY(write_certificate(e, "amd-ark.pem", state->amd.ark));
	TRY(write_certificate(e, "amd-ask.pem", state->amd.ask));
	TRY(write_certificate(e, "vcek.pem", state->vcek.certificate));
	return machine_traits(e->kind)->container ? write_security_context(e, state) : OK;
}

/* ---- a machine and what hangs on it ---- */

static void state_free(struct state *state)
{
	if (!state)
		return;
	amd_done(&state->amd);
	vcek_done(&state->vcek);
	vcek_done(&state->thim);
	vcek_done(&state->context);
	free(state);
}

static void state_done(struct state **state)
{
	state_free(*state);
}
#define auto_state __attribute__((cleanup(state_done))) struct state

static skr_status state_fill(struct emulator *e, struct state *s)
{
	const struct machine *m = &s->machine;
	TRY(amd_open(e, m->product, &s->amd));
	TRY(vcek_open(e, &s->amd, m->product, e->hardware->chip_id, m->tcb, &s->vcek));
	TRY(vcek_open(e, &s->amd, m->product, e->hardware->chip_id, m->thim_differs ? m->thim_tcb : m->tcb, &s->thim));
	return vcek_open(e, &s->amd, m->product, e->hardware->chip_id, m->context_differs ? m->context_tcb : m->tcb,
	                 &s->context);
}

skr_status hardware_change(struct emulator *e, const json *request)
{
	struct hardware *h = e->hardware;
	auto_state *fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		return FAIL(14, "no memory for the machine");
	if (h->state)
		fresh->machine = h->state->machine;
	else
		TRY(machine_default(e->kind, &fresh->machine));
	TRY(machine_set(&fresh->machine, request));
	TRY(state_fill(e, fresh));
	TRY(write_files(e, fresh));

	pthread_mutex_lock(&h->lock);
	struct state *old = h->state;
	h->state = TAKE(fresh);
	pthread_mutex_unlock(&h->lock);
	state_free(old);
	return OK;
}

/* ---- the report ---- */

static void put_u32(uint8_t *report, enum report_offset at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		report[at + i] = (uint8_t)(value >> 8 * i);
}

static uint64_t guest_policy(const struct machine *m)
{
	return 0x1f /* ABI minor version */ | REPORT_POLICY_MUST_BE_1 | (m->smt ? REPORT_POLICY_SMT : 0) |
	       (m->migration ? REPORT_POLICY_MIGRATION : 0) | (m->debug ? REPORT_POLICY_DEBUG : 0);
}

static void put_identity(uint8_t *report, const struct hardware *h, const struct machine *m)
{
	static const uint8_t cpuid[][3] = {[PRODUCT_MILAN] = {0x19, 0x01, 0x01},
	                                   [PRODUCT_GENOA] = {0x19, 0x11, 0x01},
	                                   [PRODUCT_TURIN] = {0x1a, 0x02, 0x01}};
	memcpy(report + REPORT_FAMILY_ID, m->family_id, sizeof(m->family_id));
	memcpy(report + REPORT_IMAGE_ID, m->image_id, sizeof(m->image_id));
	memcpy(report + REPORT_MEASUREMENT, m->measurement, sizeof(m->measurement));
	memcpy(report + REPORT_HOST_DATA, m->host_data, sizeof(m->host_data));
	memcpy(report + REPORT_ID_KEY_DIGEST, m->id_key_digest, sizeof(m->id_key_digest));
	memcpy(report + REPORT_REPORT_ID, h->report_id, sizeof(h->report_id));
	memset(report + REPORT_REPORT_ID_MA, 0xff, 32);
	if (m->version >= 3)
		memcpy(report + REPORT_CPUID, cpuid[m->product], 3);
	if (!m->mask_chip_id)
		memcpy(report + REPORT_CHIP_ID, h->chip_id, chip_id_len(m->product));
}

static void put_tcbs(uint8_t *report, const struct machine *m)
{
	static const enum report_offset places[] = {REPORT_CURRENT_TCB, REPORT_REPORTED_TCB, REPORT_COMMITTED_TCB,
	                                            REPORT_LAUNCH_TCB};
	static const uint8_t firmware[3] = {21, 55, 1}; /* build, minor, major: 1.55 */
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		tcb_write(m->product, m->tcb, report + places[i]);
	memcpy(report + REPORT_CURRENT_BUILD, firmware, sizeof(firmware));
	memcpy(report + REPORT_COMMITTED_BUILD, firmware, sizeof(firmware));
}

static skr_status sign_report(uint8_t *report, EVP_PKEY *key)
{
	uint8_t der[128];
	size_t len = sizeof(der);
	auto_md_ctx *md = EVP_MD_CTX_new();
	if (!md || EVP_DigestSignInit_ex(md, NULL, "SHA384", ossl, NULL, key, NULL) != 1 ||
	    EVP_DigestSign(md, der, &len, report, REPORT_SIGNED) != 1)
		return ossl_fail(599, "signing a report");

	const uint8_t *p = der;
	ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &p, (long)len);
	if (!signature)
		return ossl_fail(599, "signing a report");
	BN_bn2lebinpad(ECDSA_SIG_get0_r(signature), report + REPORT_SIGNATURE_R, 72);
	BN_bn2lebinpad(ECDSA_SIG_get0_s(signature), report + REPORT_SIGNATURE_S, 72);
	ECDSA_SIG_free(signature);
	return OK;
}

static skr_status report_locked(const struct hardware *h, const uint8_t report_data[64], uint32_t vmpl, uint8_t *report)
{
	const struct machine *m = &h->state->machine;
	uint64_t policy = guest_policy(m);

	memset(report, 0, REPORT_SIZE);
	put_u32(report, REPORT_VERSION, m->version);
	put_u32(report, REPORT_GUEST_SVN, m->guest_svn);
	put_u32(report, REPORT_POLICY, (uint32_t)policy);
	put_u32(report, REPORT_VMPL, vmpl);
	put_u32(report, REPORT_SIGNATURE_ALGO, 1);
	put_u32(report, REPORT_PLATFORM_INFO, m->smt ? 3 : 2); /* SMT, TSME */
	memcpy(report + REPORT_REPORT_DATA, report_data, 64);
	put_identity(report, h, m);
	put_tcbs(report, m);
	return sign_report(report, h->state->vcek.key);
}

skr_status hardware_report(struct emulator *e, const uint8_t report_data[64], uint32_t vmpl, uint8_t ret[REPORT_SIZE])
{
	pthread_mutex_lock(&e->hardware->lock);
	skr_status status = report_locked(e->hardware, report_data, vmpl, ret);
	pthread_mutex_unlock(&e->hardware->lock);
	return status;
}

void hardware_settings(struct emulator *e, struct machine *ret)
{
	pthread_mutex_lock(&e->hardware->lock);
	*ret = e->hardware->state->machine;
	pthread_mutex_unlock(&e->hardware->lock);
}

skr_status hardware_certificate_table(struct emulator *e, struct buf *out)
{
	const struct hardware *h = e->hardware;
	pthread_mutex_lock(&e->hardware->lock);
	skr_status status = h->state->machine.certificate_table ? certificate_table(h->state, out) : OK;
	pthread_mutex_unlock(&e->hardware->lock);
	return status;
}

skr_status hardware_thim(struct emulator *e, json **ret)
{
	pthread_mutex_lock(&e->hardware->lock);
	const struct state *s = e->hardware->state;
	const struct machine *m = &s->machine;
	skr_status status = thim_answer(s, &s->thim, m->thim_differs ? m->thim_tcb : m->tcb, ret);
	pthread_mutex_unlock(&e->hardware->lock);
	return status;
}

/* Microsoft Supply Chain RSA Root CA 2022, the end of the chains in tests/data/snp and in CCF's list of roots. */
static const char real_uvm_root[] = "I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s";

skr_status hardware_attestation_rules(struct emulator *e, struct attestation_rules *ret)
{
	struct hardware *h = e->hardware;
	auto_buf real = BUF(32);
	TRY(base64url_decode(real_uvm_root, strlen(real_uvm_root), &real));

	pthread_mutex_lock(&h->lock);
	const struct machine *m = &h->state->machine;
	struct attestation_rules rules = {
	    .ark = h->state->amd.ark,
	    .uvm_root_count = m->accept_real_amd ? 2 : 1,
	    .accept_real_amd = m->accept_real_amd,
	    .accept_real_intel = m->accept_real_intel,
	    .certs_with_numbers = m->certs_with_numbers,
	    .secure_boot_without_log = m->secure_boot_without_log,
	    .token_lifetime = m->token_lifetime,
	};
	X509_up_ref(rules.ark);
	pthread_mutex_unlock(&h->lock);

	memcpy(rules.uvm_roots[0], h->uvm.root, 32);
	memcpy(rules.uvm_roots[1], real.data, 32);
	*ret = rules;
	return OK;
}

/* ---- life ---- */

static skr_status chip_id(struct emulator *e, uint8_t id[64])
{
	auto_buf stored = BUF(64);
	if (!emulator_read(e, "chip-id", &stored).failure && stored.len == 64) {
		memcpy(id, stored.data, 64);
		return OK;
	}
	TRY(random_bytes(id, 64));
	return emulator_write(e, "chip-id", id, 64);
}

static skr_status first_settings(struct emulator *e, json **ret)
{
	auto_buf text = BUF(64 * 1024);
	if (!e->hardware_file) {
		*ret = json_object();
		return OK;
	}
	TRY(file_read(e->hardware_file, &text));
	return json_parse(text.data, text.len, ret);
}

static skr_status open_parts(struct emulator *e)
{
	auto_json *first = NULL;
	TRY(random_bytes(e->hardware->report_id, sizeof(e->hardware->report_id)));
	TRY(chip_id(e, e->hardware->chip_id));
	TRY(uvm_open(e, &e->hardware->uvm));
	TRY(first_settings(e, &first));
	TRY(hardware_change(e, first));
	return mailbox_open(e, &e->hardware->mailbox);
}

skr_status hardware_open(struct emulator *e)
{
	struct hardware *h = calloc(1, sizeof(*h));
	if (!h)
		return FAIL(14, "no memory for the machine");
	pthread_mutex_init(&h->lock, NULL);
	e->hardware = h;

	skr_status status = open_parts(e);
	if (status.failure)
		hardware_close(e);
	return status;
}

void hardware_close(struct emulator *e)
{
	struct hardware *h = e->hardware;
	if (!h)
		return;
	mailbox_close(h->mailbox);
	state_free(h->state);
	uvm_done(&h->uvm);
	pthread_mutex_destroy(&h->lock);
	free(h);
	e->hardware = NULL;
}
