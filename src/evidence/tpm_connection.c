/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/tpm_connection.h"

#include "base/file.h"
#include "base/log.h"

#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS      8 /* of one command, while the TPM asks to try later */
#define PAUSE_MS      50
#define PAUSE_MS_MOST 2000
#define FLUSH_MS      500

static uint32_t number_at(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* --- What the connection has made in the TPM, as seen in the replies: known even if they are not taken. --- */

static void hold(struct tpm *tpm, uint32_t handle)
{
	for (size_t i = 0; i < TPM_HELD_MOST; i++) {
		if (tpm->held[i])
			continue;
		tpm->held[i] = handle;
		return;
	}
}

void tpm_let_go(struct tpm *tpm, uint32_t handle)
{
	for (size_t i = 0; i < TPM_HELD_MOST; i++)
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
		tpm_let_go(tpm, number_at(tpm->command + TPM_MESSAGE_HEADER));
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

/* A resource manager (the kernel's: layer 11) marks the codes that it gives in the TPM's place. They mean the same. */
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
	uint32_t layer = number_at(reply + 6) & TSS2_RC_LAYER_MASK;
	if (layer == TSS2_RESMGR_RC_LAYER || layer == TSS2_RESMGR_TPM_RC_LAYER)
		reply[7] = 0;
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
		if (attempt == ATTEMPTS || !deadline_pause(pause, tpm->deadline))
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

TSS2_RC tpm_kind_of(TSS2_RC rc)
{
	return rc & TPM2_RC_FMT1 ? rc & (TPM2_RC_FMT1 | 0x3f) : rc;
}

static bool is_of_tpm(TSS2_RC rc)
{
	return (rc & TSS2_RC_LAYER_MASK) == TSS2_TPM_RC_LAYER;
}

bool tpm_is_forgotten(TSS2_RC rc)
{
	return tpm_kind_of(rc) == TPM2_RC_HANDLE || (rc >= TPM2_RC_REFERENCE_H0 && rc <= TPM2_RC_REFERENCE_S6);
}

bool tpm_refused(const struct tpm *tpm, TSS2_RC rc)
{
	return rc && is_of_tpm(rc) && rc != TPM2_RC_LOCKOUT && !tpm->failed.failure;
}

skr_status tpm_finished(struct tpm *tpm, const char *command, TSS2_RC rc)
{
	if (!rc)
		return OK;
	if (tpm->failed.failure)
		return status_prefix(tpm->failed, "%s", command);
	if (!is_of_tpm(rc))
		return FAIL(137, "%s: what came back is not understood: %s (0x%x)", command, Tss2_RC_Decode(rc), rc);
	if (tpm_is_forgotten(rc))
		return FAIL(139, "%s: %s (0x%03x): the TPM has forgotten what was made in it", command,
		            Tss2_RC_Decode(rc), rc);
	switch (tpm_kind_of(rc)) {
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

skr_status tpm_consumed(struct tpm *tpm, const char *command, size_t parameters, const TSS2L_SYS_AUTH_RESPONSE *auths)
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
	for (size_t i = 0; i < TPM_HELD_MOST; i++) {
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
