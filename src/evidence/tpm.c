/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/tpm.h"

#include "base/file.h"
#include "base/log.h"
#include "evidence/tpm_device.h"
#include "evidence/tpm_structure.h"

#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_sys.h>
#include <tss2/tss2_tctildr.h>

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS         8 /* of one command, while the TPM asks to try later */
#define PAUSE_MS         50
#define PAUSE_MS_MOST    2000
#define DECRYPT_ATTEMPTS 8
#define FLUSH_MS         500
#define NV_PIECE         1024 /* TPM_PT_NV_BUFFER_MAX of Azure's vTPM, and of swtpm */
#define HELD_MOST        4    /* objects and sessions of one connection; we use two */

struct tpm {
	TSS2_TCTI_CONTEXT_COMMON_V2 tcti; /* what tpm2-tss sends by: the first member, so that it can be cast back */
	int fd;                           /* of device or socket; -1: */
	TSS2_TCTI_CONTEXT *other;         /* any other way to a TPM */
	TSS2_SYS_CONTEXT *sys;
	size_t sys_size;
	struct deadline deadline;
	unsigned commands;
	uint8_t command[TPM_MESSAGE_LIMIT]; /* kept, to be sent again */
	size_t command_len, reply_len;
	skr_status failed; /* why the last command has no reply; its words are in the thread's record */
	bool silent;       /* a reply is still to come: nothing can be sent */
	uint32_t held[HELD_MOST];
};

static uint32_t number_at(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* --- What the connection has made in the TPM, as seen in the replies: known even if they are not taken. --- */

static void hold(struct tpm *tpm, uint32_t handle)
{
	for (size_t i = 0; i < HELD_MOST; i++) {
		if (tpm->held[i])
			continue;
		tpm->held[i] = handle;
		return;
	}
}

static void let_go(struct tpm *tpm, uint32_t handle)
{
	for (size_t i = 0; i < HELD_MOST; i++)
		if (tpm->held[i] == handle)
			tpm->held[i] = 0;
}

static bool makes_handle(uint32_t command)
{
	return command == TPM2_CC_CreatePrimary || command == TPM2_CC_ContextLoad ||
	       command == TPM2_CC_StartAuthSession;
}

static void note_handle(struct tpm *tpm, const uint8_t *reply)
{
	uint32_t command = number_at(tpm->command + 6);

	if (number_at(reply + 6) != TPM2_RC_SUCCESS)
		return;
	if (makes_handle(command))
		hold(tpm, number_at(reply + TPM_MESSAGE_HEADER));
	else if (command == TPM2_CC_FlushContext)
		let_go(tpm, number_at(tpm->command + TPM_MESSAGE_HEADER));
}

/* --- The transport that tpm2-tss is given: counts, repeats, and holds the deadline --- */

static skr_status other_exchange(struct tpm *tpm, uint8_t *reply, size_t *ret_len)
{
	TSS2_TCTI_POLL_HANDLE waiting[4];
	size_t count = sizeof(waiting) / sizeof(waiting[0]), len = TPM_MESSAGE_LIMIT;

	TSS2_RC rc = Tss2_Tcti_Transmit(tpm->other, tpm->command_len, tpm->command);
	if (rc)
		return FAIL(130, "sending to the TPM: %s", Tss2_RC_Decode(rc));
	tpm->silent = true;
	/* They hold no deadline; where this is not known either, the module's own ends the agent. */
	int64_t left = deadline_left(tpm->deadline);
	if (Tss2_Tcti_GetPollHandles(tpm->other, waiting, &count) == TSS2_RC_SUCCESS &&
	    poll(waiting, count, left > INT32_MAX ? INT32_MAX : (int)left) == 0)
		return FAIL(130, "the TPM does not answer: %" PRId64 " ms until the deadline", left);
	rc = Tss2_Tcti_Receive(tpm->other, &len, reply, TSS2_TCTI_TIMEOUT_BLOCK);
	if (rc)
		return FAIL(130, "the TPM's reply: %s", Tss2_RC_Decode(rc));
	TRY(tpm_reply_check(reply, len));
	*ret_len = len;
	return OK;
}

static skr_status exchange(struct tpm *tpm, uint8_t *reply, size_t *ret_len)
{
	tpm->commands++;
	if (tpm->fd < 0) {
		TRY(other_exchange(tpm, reply, ret_len));
	} else {
		TRY(tpm_device_send(tpm->fd, tpm->command, tpm->command_len, tpm->deadline));
		tpm->silent = true;
		TRY(tpm_device_receive(tpm->fd, tpm->deadline, reply, ret_len));
	}
	tpm->silent = false;
	return OK;
}

/*
 * "The command was not started", or room is short that others take up and give back: the same bytes are sent again.
 * Part 2 section 6.6, RC_WARN.
 */
static bool asks_to_try_later(uint32_t code)
{
	switch (code) {
	case TPM2_RC_RETRY:
	case TPM2_RC_YIELDED:
	case TPM2_RC_TESTING:
	case TPM2_RC_CANCELED:
	case TPM2_RC_NV_RATE:
	case TPM2_RC_NV_UNAVAILABLE:
	case TPM2_RC_MEMORY:
	case TPM2_RC_OBJECT_MEMORY:
	case TPM2_RC_OBJECT_HANDLES:
	case TPM2_RC_SESSION_MEMORY:
	case TPM2_RC_SESSION_HANDLES:
		return true;
	default:
		return false;
	}
}

static skr_status exchange_patiently(struct tpm *tpm, uint8_t *reply, size_t *ret_len)
{
	int64_t pause = PAUSE_MS;

	for (int attempt = 1;; attempt++) {
		TRY(exchange(tpm, reply, ret_len));
		uint32_t code = number_at(reply + 6);
		if (!asks_to_try_later(code))
			return OK;
		if (attempt == ATTEMPTS || !tpm_pause(pause, tpm->deadline))
			return FAIL(131, "%s (0x%03" PRIx32 "), %d times", Tss2_RC_Decode(code), code, attempt);
		pause = pause < PAUSE_MS_MOST / 2 ? 2 * pause : PAUSE_MS_MOST;
	}
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *tcti, size_t size, const uint8_t *command)
{
	struct tpm *tpm = (struct tpm *)tcti;

	if (size < TPM_MESSAGE_HEADER || size > sizeof(tpm->command))
		return TSS2_TCTI_RC_BAD_VALUE;
	memcpy(tpm->command, command, size);
	tpm->command_len = size;
	return TSS2_RC_SUCCESS;
}

/* What tpm2-tss is given where there is none, TPM_RC_FAILURE: after an error here it would take no further command. */
static const uint8_t no_reply[TPM_MESSAGE_HEADER] = {0x80, 0x01, 0, 0, 0, TPM_MESSAGE_HEADER, 0, 0, 0x01, 0x01};

static TSS2_RC receive(TSS2_TCTI_CONTEXT *tcti, size_t *size, uint8_t *reply, int32_t timeout)
{
	struct tpm *tpm = (struct tpm *)tcti;

	(void)timeout; /* the deadline counts */
	if (!reply || *size < TPM_MESSAGE_LIMIT) {
		*size = TPM_MESSAGE_LIMIT;
		return reply ? TSS2_TCTI_RC_INSUFFICIENT_BUFFER : TSS2_RC_SUCCESS;
	}
	memset(reply, 0, TPM_MESSAGE_HEADER + sizeof(uint32_t));
	tpm->failed = exchange_patiently(tpm, reply, size);
	if (tpm->failed.failure == 137)
		tpm->silent = false; /* it did come, such as it is */
	if (!tpm->silent)
		note_handle(tpm, reply);
	tpm->reply_len = *size;
	if (tpm->failed.failure) {
		memcpy(reply, no_reply, sizeof(no_reply));
		*size = sizeof(no_reply);
	}
	return TSS2_RC_SUCCESS;
}

/* --- What a command's end means --- */

static skr_status locked_out(struct tpm *tpm, const char *command)
{
	TPMS_CAPABILITY_DATA data = {0};
	TPMI_YES_NO more;
	const TPML_TAGGED_TPM_PROPERTY *found = &data.data.tpmProperties;

	TSS2_RC rc = Tss2_Sys_GetCapability(tpm->sys, NULL, TPM2_CAP_TPM_PROPERTIES, TPM2_PT_LOCKOUT_INTERVAL, 1, &more,
	                                    &data, NULL);
	if (rc || found->count != 1 || found->tpmProperty[0].property != TPM2_PT_LOCKOUT_INTERVAL)
		return FAIL(132, "%s: the TPM is in lockout", command);
	return FAIL(132, "%s: the TPM is in lockout; it forgives one failed authorisation every %" PRIu32 " s", command,
	            found->tpmProperty[0].value);
}

/* A code of format 1 says which handle, parameter or session is meant; without that. Part 2 section 6.6.2. */
static TSS2_RC kind_of(TSS2_RC rc)
{
	return rc & TPM2_RC_FMT1 ? rc & (TPM2_RC_FMT1 | 0x3f) : rc;
}

static bool is_of_tpm(TSS2_RC rc)
{
	return (rc & TSS2_RC_LAYER_MASK) == TSS2_TPM_RC_LAYER;
}

/* A handle that stood for something a moment ago: no other process can take it from us, a restart can. */
static bool is_forgotten(TSS2_RC rc)
{
	return kind_of(rc) == TPM2_RC_HANDLE || (rc >= TPM2_RC_REFERENCE_H0 && rc <= TPM2_RC_REFERENCE_S6);
}

static skr_status finished(struct tpm *tpm, const char *command, TSS2_RC rc)
{
	if (!rc)
		return OK;
	if (tpm->failed.failure)
		return status_prefix(tpm->failed, "%s", command);
	if (!is_of_tpm(rc))
		return FAIL(137, "%s: what came back is not understood: %s (0x%x)", command, Tss2_RC_Decode(rc), rc);
	if (is_forgotten(rc))
		return FAIL(139, "%s: %s (0x%03x): the TPM has forgotten what was made in it", command,
		            Tss2_RC_Decode(rc), rc);
	switch (kind_of(rc)) {
	case TPM2_RC_LOCKOUT:
		return locked_out(tpm, command);
	case TPM2_RC_BAD_AUTH:
	case TPM2_RC_AUTH_FAIL:
	case TPM2_RC_AUTH_UNAVAILABLE:
	case TPM2_RC_HIERARCHY:
		return FAIL(101, "%s: %s (0x%03x): the TPM wants a password, or the owner's hierarchy is disabled",
		            command, Tss2_RC_Decode(rc), rc);
	default:
		return FAIL(131, "%s: %s (0x%03x)", command, Tss2_RC_Decode(rc), rc);
	}
}

/* Every command through this, so that what an earlier one left is not taken for its own. */
#define CALL(tpm, name, ...) \
	((tpm)->failed = OK, finished((tpm), "TPM2_" #name, Tss2_Sys_##name((tpm)->sys, __VA_ARGS__)))
#define RAW(tpm, name, ...) ((tpm)->failed = OK, Tss2_Sys_##name((tpm)->sys, __VA_ARGS__))

#define SIZE_2B(sized)      (sizeof(UINT16) + (sized).size) /* of any TPM2B as it is sent */

/*
 * tpm2-tss does not look whether the reply ends where its last field does: `parameters` is what those that were
 * understood take, `auths` the sessions' part (NULL: none).
 */
static skr_status consumed(struct tpm *tpm, const char *command, size_t parameters,
                           const TSS2L_SYS_AUTH_RESPONSE *auths)
{
	size_t len = TPM_MESSAGE_HEADER + parameters;

	if (makes_handle(number_at(tpm->command + 6)))
		len += sizeof(TPM2_HANDLE);
	if (auths)
		len += sizeof(UINT32);
	for (int i = 0; auths && i < auths->count; i++)
		len += sizeof(TPMA_SESSION) + SIZE_2B(auths->auths[i].nonce) + SIZE_2B(auths->auths[i].hmac);
	if (len != tpm->reply_len)
		return FAIL(137, "%s: the reply has %zu bytes, %zu are understood", command, tpm->reply_len, len);
	return OK;
}

/* --- Opening and closing --- */

/* What follows the word and its colon; NULL: another word. */
static const char *after(const char *word, const char *tcti)
{
	return strncmp(tcti, word, strlen(word)) == 0 ? tcti + strlen(word) : NULL;
}

static skr_status connect_to(struct tpm *tpm, const char *tcti)
{
	const char *device = after("device:", tcti), *socket = after("swtpm:", tcti);

	if (device)
		return tpm_device_open(device, tpm->deadline, &tpm->fd);
	if (socket && tpm_socket_understands(socket))
		return tpm_socket_open(socket, tpm->deadline, &tpm->fd);
	TSS2_RC rc = Tss2_TctiLdr_Initialize(tcti, &tpm->other);
	if (rc)
		return FAIL(130, "%s: %s (0x%x)", tcti, Tss2_RC_Decode(rc), rc);
	return OK;
}

skr_status tpm_open(const char *tcti, struct deadline deadline, struct tpm **ret)
{
	TSS2_ABI_VERSION abi = TSS2_ABI_VERSION_CURRENT;
	auto_tpm *tpm = calloc(1, sizeof(*tpm));

	if (!tpm)
		return FAIL(14, "a connection to the TPM");
	/* tpm2-tss prints to stderr what we say ourselves. Whoever set it wants to see that. */
	setenv("TSS2_LOG", "all+none", 0);
	*tpm = (struct tpm){
	    .tcti.v1 = {.magic = 0x534b5254504d0001, .version = 2, .transmit = transmit, .receive = receive},
	    .fd = -1,
	    .deadline = deadline,
	    .sys_size = Tss2_Sys_GetContextSize(TPM_MESSAGE_LIMIT),
	};
	tpm->sys = calloc(1, tpm->sys_size);
	if (!tpm->sys)
		return FAIL(14, "a connection to the TPM");
	TSS2_RC rc = Tss2_Sys_Initialize(tpm->sys, tpm->sys_size, (TSS2_TCTI_CONTEXT *)tpm, &abi);
	if (rc)
		return FAIL(599, "tpm2-tss: %s", Tss2_RC_Decode(rc));
	TRY(connect_to(tpm, tcti));
	*ret = TAKE(tpm);
	return OK;
}

void tpm_flush(struct tpm *tpm)
{
	for (size_t i = 0; i < HELD_MOST; i++) {
		if (!tpm->held[i] || tpm->silent)
			continue;
		struct status_record before = *status_last();
		skr_status status = CALL(tpm, FlushContext, tpm->held[i]);
		if (status.failure && status.failure != 139)
			log_line(LOG_LEVEL_WARNING, "object %08" PRIx32 " stays in the TPM: %s", tpm->held[i],
			         status_message());
		*status_amend() = before;
	}
}

void tpm_close(struct tpm *tpm)
{
	if (!tpm)
		return;
	if (deadline_left(tpm->deadline) < FLUSH_MS)
		tpm->deadline = deadline_in(FLUSH_MS);
	tpm_flush(tpm);
	Tss2_TctiLdr_Finalize(&tpm->other);
	fd_done(&tpm->fd);
	if (tpm->sys)
		explicit_bzero(tpm->sys, tpm->sys_size); /* the last command and reply */
	free(tpm->sys);
	free(tpm);
}

unsigned tpm_commands(const struct tpm *tpm)
{
	return tpm->commands;
}

/* The empty password, for one handle or two. */
static const TSS2L_SYS_AUTH_COMMAND password = {.count = 1, .auths = {{.sessionHandle = TPM2_RS_PW}}};
static const TSS2L_SYS_AUTH_COMMAND two_passwords = {
    .count = 2, .auths = {{.sessionHandle = TPM2_RS_PW}, {.sessionHandle = TPM2_RS_PW}}};

/* --- Non-volatile memory --- */

static bool is_absent(TSS2_RC rc)
{
	return is_of_tpm(rc) && (kind_of(rc) == TPM2_RC_HANDLE || rc == TPM2_RC_NV_UNINITIALIZED);
}

skr_status tpm_nv_size(struct tpm *tpm, const struct tpm_nv *nv, size_t *ret)
{
	TPM2B_NV_PUBLIC public = {0};
	TPM2B_NAME name = {0};

	TSS2_RC rc = RAW(tpm, NV_ReadPublic, nv->index, NULL, &public, &name, NULL);
	if (is_absent(rc)) {
		*ret = 0;
		return OK;
	}
	TRY(finished(tpm, "TPM2_NV_ReadPublic", rc));
	TRY(consumed(tpm, "TPM2_NV_ReadPublic", SIZE_2B(public) + SIZE_2B(name), NULL));
	if (public.nvPublic.nvIndex != nv->index)
		return FAIL(137, "TPM2_NV_ReadPublic: %s: the answer is about index 0x%08" PRIx32, nv->name,
		            public.nvPublic.nvIndex);
	*ret = public.nvPublic.dataSize;
	return OK;
}

static skr_status read_piece(struct tpm *tpm, const struct tpm_nv *nv, size_t offset, size_t len, struct buf *out)
{
	TPM2B_MAX_NV_BUFFER piece = {0};
	TSS2L_SYS_AUTH_RESPONSE reply;

	TSS2_RC rc =
	    RAW(tpm, NV_Read, TPM2_RH_OWNER, nv->index, &password, (UINT16)len, (UINT16)offset, &piece, &reply);
	if (is_absent(rc))
		return FAIL(nv->absent, "%s, NV index 0x%08" PRIx32 ": %s (0x%03x)", nv->name, nv->index,
		            Tss2_RC_Decode(rc), rc);
	TRY(finished(tpm, "TPM2_NV_Read", rc));
	TRY(consumed(tpm, "TPM2_NV_Read", SIZE_2B(piece), &reply));
	if (piece.size != len)
		return FAIL(137, "TPM2_NV_Read: %s: %u bytes came of the %zu asked for at offset %zu", nv->name,
		            piece.size, len, offset);
	return buf_append(out, piece.buffer, piece.size);
}

skr_status tpm_nv_read(struct tpm *tpm, const struct tpm_nv *nv, size_t offset, size_t len, struct buf *out)
{
	for (size_t done = 0; done < len;) {
		size_t piece = len - done < NV_PIECE ? len - done : NV_PIECE;
		TRY(read_piece(tpm, nv, offset + done, piece, out));
		done += piece;
	}
	return OK;
}

/* What the TPM itself refuses, an administrator has to look at. */
static skr_status changed(struct tpm *tpm, const struct tpm_nv *nv, const char *command, TSS2_RC rc,
                          const TSS2L_SYS_AUTH_RESPONSE *auths)
{
	if (!rc)
		return consumed(tpm, command, 0, auths);
	if (tpm->failed.failure || !is_of_tpm(rc) || rc == TPM2_RC_LOCKOUT)
		return finished(tpm, command, rc);
	return FAIL(nv->absent, "%s of %s, NV index 0x%08" PRIx32 ": %s (0x%03x)", command, nv->name, nv->index,
	            Tss2_RC_Decode(rc), rc);
}

skr_status tpm_nv_define(struct tpm *tpm, const struct tpm_nv *nv, size_t size)
{
	static const TPM2B_AUTH none;
	const TPM2B_NV_PUBLIC public = {
	    .nvPublic = {.nvIndex = nv->index,
	                 .nameAlg = TPM2_ALG_SHA256,
	                 .attributes = TPMA_NV_OWNERREAD | TPMA_NV_OWNERWRITE | TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE,
	                 .dataSize = (UINT16)size},
	};
	TSS2L_SYS_AUTH_RESPONSE reply;

	return changed(tpm, nv, "TPM2_NV_DefineSpace",
	               RAW(tpm, NV_DefineSpace, TPM2_RH_OWNER, &password, &none, &public, &reply), &reply);
}

skr_status tpm_nv_undefine(struct tpm *tpm, const struct tpm_nv *nv)
{
	TSS2L_SYS_AUTH_RESPONSE reply;

	return changed(tpm, nv, "TPM2_NV_UndefineSpace",
	               RAW(tpm, NV_UndefineSpace, TPM2_RH_OWNER, nv->index, &password, &reply), &reply);
}

skr_status tpm_nv_write(struct tpm *tpm, const struct tpm_nv *nv, const void *data, size_t len)
{
	TPM2B_MAX_NV_BUFFER piece = {.size = (UINT16)len};
	TSS2L_SYS_AUTH_RESPONSE reply;

	if (len > NV_PIECE)
		return FAIL(599, "%s: %zu bytes at once", nv->name, len);
	memcpy(piece.buffer, data, len);
	return changed(tpm, nv, "TPM2_NV_Write",
	               RAW(tpm, NV_Write, TPM2_RH_OWNER, nv->index, &password, &piece, 0, &reply), &reply);
}

/* --- Objects --- */

static skr_status append_public(const TPM2B_PUBLIC *public, struct buf *out)
{
	uint8_t *place;
	size_t at = 0;

	TRY(buf_reserve(out, sizeof(*public), &place));
	TSS2_RC rc = Tss2_MU_TPM2B_PUBLIC_Marshal(public, place, sizeof(*public), &at);
	if (rc)
		return FAIL(137, "a public area: %s", Tss2_RC_Decode(rc));
	out->len += at;
	return OK;
}

/* The public area as bytes, which are the object's name hashed. */
static skr_status take_public(const TPM2B_PUBLIC *public, const TPM2B_NAME *name, struct buf *out)
{
	uint8_t computed[TPM_NAME_SIZE];
	auto_buf bytes = BUF(TPM_PUBLIC_SIZE);

	TRY(append_public(public, &bytes));
	TRY(tpm_public_name(&bytes, computed));
	if (name->size != sizeof(computed) || memcmp(name->name, computed, sizeof(computed)) != 0)
		return FAIL(137, "the name that the TPM gives an object is not that of its public area");
	return buf_append(out, bytes.data, bytes.len);
}

skr_status tpm_read_public(struct tpm *tpm, uint32_t handle, struct buf *out)
{
	TPM2B_PUBLIC public = {0};
	TPM2B_NAME name = {0}, qualified_name = {0};

	TSS2_RC rc = RAW(tpm, ReadPublic, handle, NULL, &public, &name, &qualified_name, NULL);
	if (is_absent(rc))
		return FAIL(134, "the TPM has no key at handle 0x%08" PRIx32 ": it is not the vTPM of an Azure machine",
		            handle);
	TRY(finished(tpm, "TPM2_ReadPublic", rc));
	TRY(consumed(tpm, "TPM2_ReadPublic", SIZE_2B(public) + SIZE_2B(name) + SIZE_2B(qualified_name), NULL));
	return take_public(&public, &name, out);
}

static const TPML_PCR_SELECTION attested_pcrs = {
    .count = 1,
    .pcrSelections = {{.hash = TPM2_ALG_SHA256, .sizeofSelect = 3, .pcrSelect = {TPM_GUEST_PCRS}}},
};

/* Counter of updates; selection of one bank; as many digests. */
#define PCR_READ_SIZE (4 + (4 + 2 + 1 + 3) + (4 + GUEST_PCRS * (2 + 32)))

skr_status tpm_read_pcrs(struct tpm *tpm, uint8_t ret[GUEST_PCRS][32])
{
	UINT32 updates;
	TPML_PCR_SELECTION given = {0};
	TPML_DIGEST values = {0};

	TRY(CALL(tpm, PCR_Read, NULL, &attested_pcrs, &updates, &given, &values, NULL));
	if (given.count != 1 || given.pcrSelections[0].hash != TPM2_ALG_SHA256 ||
	    given.pcrSelections[0].sizeofSelect != attested_pcrs.pcrSelections[0].sizeofSelect ||
	    given.pcrSelections[0].pcrSelect[0] != TPM_GUEST_PCRS || values.count != GUEST_PCRS)
		return FAIL(137, "TPM2_PCR_Read: %" PRIu32 " values came, not the %d of the SHA-256 bank asked for",
		            values.count, GUEST_PCRS);
	for (int i = 0; i < GUEST_PCRS; i++)
		if (values.digests[i].size != sizeof(ret[i]))
			return FAIL(137, "TPM2_PCR_Read: PCR %d has %u bytes", i, values.digests[i].size);
	TRY(consumed(tpm, "TPM2_PCR_Read", PCR_READ_SIZE, NULL));
	for (int i = 0; i < GUEST_PCRS; i++)
		memcpy(ret[i], values.digests[i].buffer, sizeof(ret[i]));
	return OK;
}

skr_status tpm_create_primary(struct tpm *tpm, const struct buf *template, uint32_t *ret_handle,
                              struct buf *public_area)
{
	static const TPM2B_SENSITIVE_CREATE no_password;
	static const TPM2B_DATA nothing;
	static const TPML_PCR_SELECTION no_pcrs;
	TPM2B_PUBLIC asked = {0}, public = {0};
	TPM2B_CREATION_DATA creation = {0};
	TPM2B_DIGEST creation_hash = {0};
	TPMT_TK_CREATION ticket = {0};
	TPM2B_NAME name = {0};
	TPM2_HANDLE handle;
	TSS2L_SYS_AUTH_RESPONSE reply;
	size_t at = 0;

	if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(template->data, template->len, &at, &asked))
		return FAIL(599, "the transport key's template");
	asked.size = 0; /* tpm2-tss fills it in, and insists */
	TRY(CALL(tpm, CreatePrimary, TPM2_RH_NULL, &password, &no_password, &asked, &nothing, &no_pcrs, &handle,
	         &public, &creation, &creation_hash, &ticket, &name, &reply));
	TRY(consumed(tpm, "TPM2_CreatePrimary",
	             SIZE_2B(public) + SIZE_2B(creation) + SIZE_2B(creation_hash) + sizeof(ticket.tag) +
	                 sizeof(ticket.hierarchy) + SIZE_2B(ticket.digest) + SIZE_2B(name),
	             &reply));
	TRY(take_public(&public, &name, public_area));
	*ret_handle = handle;
	return OK;
}

skr_status tpm_context_save(struct tpm *tpm, uint32_t handle, struct buf *out)
{
	TPMS_CONTEXT context = {0};
	uint8_t *place;
	size_t at = 0;

	TRY(CALL(tpm, ContextSave, handle, &context));
	TRY(consumed(tpm, "TPM2_ContextSave",
	             sizeof(context.sequence) + sizeof(context.savedHandle) + sizeof(context.hierarchy) +
	                 SIZE_2B(context.contextBlob),
	             NULL));
	TRY(buf_reserve(out, sizeof(context), &place));
	TSS2_RC rc = Tss2_MU_TPMS_CONTEXT_Marshal(&context, place, sizeof(context), &at);
	if (rc)
		return FAIL(137, "TPM2_ContextSave: %s", Tss2_RC_Decode(rc));
	out->len += at;
	return OK;
}

skr_status tpm_context_load(struct tpm *tpm, const struct buf *context, uint32_t *ret_handle)
{
	TPMS_CONTEXT saved = {0};
	TPMI_DH_CONTEXT handle;
	size_t at = 0;

	if (Tss2_MU_TPMS_CONTEXT_Unmarshal(context->data, context->len, &at, &saved))
		return FAIL(599, "the transport key's context");
	TSS2_RC rc = RAW(tpm, ContextLoad, &saved, &handle);
	if (rc && is_of_tpm(rc) && rc != TPM2_RC_LOCKOUT && !tpm->failed.failure) {
		*ret_handle = 0;
		return OK;
	}
	TRY(finished(tpm, "TPM2_ContextLoad", rc));
	TRY(consumed(tpm, "TPM2_ContextLoad", 0, NULL));
	*ret_handle = handle;
	return OK;
}

/* --- Signing --- */

static skr_status take_attest(struct tpm *tpm, const char *command, const TSS2L_SYS_AUTH_RESPONSE *auths,
                              const TPM2B_ATTEST *attest, const TPMT_SIGNATURE *signature, struct buf *out,
                              struct buf *out_signature)
{
	const TPMS_SIGNATURE_RSA *rsa = &signature->signature.rsassa;

	if (signature->sigAlg != TPM2_ALG_RSASSA || rsa->hash != TPM2_ALG_SHA256)
		return FAIL(147, "%s: the attestation key signs by scheme %04x, not RSASSA with SHA-256", command,
		            signature->sigAlg);
	TRY(consumed(tpm, command, SIZE_2B(*attest) + sizeof(signature->sigAlg) + sizeof(rsa->hash) + SIZE_2B(rsa->sig),
	             auths));
	TRY(buf_append(out, attest->attestationData, attest->size));
	return buf_append(out_signature, rsa->sig.buffer, rsa->sig.size);
}

static const TPM2B_DATA no_qualifying_data;
static const TPMT_SIG_SCHEME scheme_of_key = {.scheme = TPM2_ALG_NULL};

skr_status tpm_certify(struct tpm *tpm, uint32_t handle, uint32_t signer, struct buf *certify, struct buf *signature)
{
	TPM2B_ATTEST attest = {0};
	TPMT_SIGNATURE made = {0};
	TSS2L_SYS_AUTH_RESPONSE reply;

	TRY(CALL(tpm, Certify, handle, signer, &two_passwords, &no_qualifying_data, &scheme_of_key, &attest, &made,
	         &reply));
	return take_attest(tpm, "TPM2_Certify", &reply, &attest, &made, certify, signature);
}

skr_status tpm_quote(struct tpm *tpm, uint32_t signer, struct buf *quote, struct buf *signature)
{
	TPM2B_ATTEST attest = {0};
	TPMT_SIGNATURE made = {0};
	TSS2L_SYS_AUTH_RESPONSE reply;

	TRY(CALL(tpm, Quote, signer, &password, &no_qualifying_data, &scheme_of_key, &attested_pcrs, &attest, &made,
	         &reply));
	return take_attest(tpm, "TPM2_Quote", &reply, &attest, &made, quote, signature);
}

/* --- Decrypting --- */

static skr_status start_policy_session(struct tpm *tpm, uint32_t *ret_session)
{
	static const TPM2B_ENCRYPTED_SECRET no_salt;
	static const TPMT_SYM_DEF no_encryption = {.algorithm = TPM2_ALG_NULL};
	TPM2B_NONCE ours = {.size = 16}, theirs = {0};
	TPMI_SH_AUTH_SESSION session;

	TRY(random_bytes(ours.buffer, ours.size));
	TRY(CALL(tpm, StartAuthSession, TPM2_RH_NULL, TPM2_RH_NULL, NULL, &ours, &no_salt, TPM2_SE_POLICY,
	         &no_encryption, TPM2_ALG_SHA256, &session, &theirs, NULL));
	TRY(consumed(tpm, "TPM2_StartAuthSession", SIZE_2B(theirs), NULL));
	*ret_session = session;
	return OK;
}

static skr_status rsa_scheme(const char *digest, TPMT_RSA_DECRYPT *ret)
{
	static const struct {
		const char *name;
		TPM2_ALG_ID id;
	} digests[] = {{"SHA1", TPM2_ALG_SHA1},
	               {"SHA256", TPM2_ALG_SHA256},
	               {"SHA384", TPM2_ALG_SHA384},
	               {"SHA512", TPM2_ALG_SHA512}};

	*ret = (TPMT_RSA_DECRYPT){.scheme = TPM2_ALG_RSAES};
	if (!digest)
		return OK;
	for (size_t i = 0; i < sizeof(digests) / sizeof(digests[0]); i++) {
		if (strcmp(digest, digests[i].name) != 0)
			continue;
		*ret = (TPMT_RSA_DECRYPT){.scheme = TPM2_ALG_OAEP, .details.oaep.hashAlg = digests[i].id};
		return OK;
	}
	return FAIL(599, "OAEP with %s in the TPM", digest);
}

/* RSA_Decrypt by policy says by codes of its own what is wrong; */
static skr_status decrypted(struct tpm *tpm, TSS2_RC rc)
{
	if (!rc || tpm->failed.failure || !is_of_tpm(rc) || rc == TPM2_RC_LOCKOUT || is_forgotten(rc))
		return finished(tpm, "TPM2_RSA_Decrypt", rc);
	if (kind_of(rc) == TPM2_RC_POLICY_FAIL)
		return FAIL(138, "TPM2_RSA_Decrypt: %s (0x%03x): PCR 0 to 7 are not what they were", Tss2_RC_Decode(rc),
		            rc);
	return FAIL(341, "TPM2_RSA_Decrypt: %s (0x%03x)", Tss2_RC_Decode(rc), rc);
}

/* One try with the session; `ret_again`: some PCR was extended meanwhile, not one of the policy as far as is known. */
static skr_status decrypt_once(struct tpm *tpm, uint32_t handle, uint32_t session, const TPM2B_PUBLIC_KEY_RSA *sealed,
                               const TPMT_RSA_DECRYPT *scheme, struct buf *out, bool *ret_again)
{
	static const TPM2B_DIGEST whatever_they_are;
	static const TPM2B_DATA no_label;
	const TSS2L_SYS_AUTH_COMMAND policy = {.count = 1, .auths = {{.sessionHandle = session}}};
	TPM2B_PUBLIC_KEY_RSA opened = {0};
	TSS2L_SYS_AUTH_RESPONSE reply;

	TRY(CALL(tpm, PolicyPCR, session, NULL, &whatever_they_are, &attested_pcrs, NULL));
	TRY(consumed(tpm, "TPM2_PolicyPCR", 0, NULL));
	TSS2_RC rc = RAW(tpm, RSA_Decrypt, handle, &policy, sealed, scheme, &no_label, &opened, &reply);
	*ret_again = rc == TPM2_RC_PCR_CHANGED;
	if (*ret_again)
		return OK;
	skr_status status = decrypted(tpm, rc);
	if (!status.failure)
		status = consumed(tpm, "TPM2_RSA_Decrypt", SIZE_2B(opened), &reply);
	if (!status.failure) {
		let_go(tpm, session); /* continueSession is clear: the TPM ended it */
		status = buf_append(out, opened.buffer, opened.size);
	}
	explicit_bzero(&opened, sizeof(opened));
	return status;
}

skr_status tpm_rsa_decrypt(struct tpm *tpm, uint32_t handle, const char *digest, const void *sealed, size_t len,
                           struct buf *out)
{
	TPM2B_PUBLIC_KEY_RSA input = {.size = (UINT16)len};
	TPMT_RSA_DECRYPT scheme;
	uint32_t session;
	bool again;

	if (len != GUEST_TRANSPORT)
		return FAIL(341, "%zu bytes are not encrypted to the TPM's key, which has %d", len, GUEST_TRANSPORT);
	memcpy(input.buffer, sealed, len);
	TRY(rsa_scheme(digest, &scheme));
	TRY(start_policy_session(tpm, &session));
	for (int attempt = 1;; attempt++) {
		TRY(decrypt_once(tpm, handle, session, &input, &scheme, out, &again));
		if (!again)
			return OK;
		if (attempt == DECRYPT_ATTEMPTS)
			return FAIL(131, "TPM2_RSA_Decrypt: some PCR was extended (TPM_RC_PCR_CHANGED), %d times",
			            attempt);
		TRY(CALL(tpm, PolicyRestart, session, NULL, NULL));
	}
}
