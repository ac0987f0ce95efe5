/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vtpm_nv.h"

#include "base/ossl.h"

#include <tss2/tss2_tpm2_types.h>

#define BUFFER_MAX 1024 /* TPM_PT_NV_BUFFER_MAX, of Azure's and of swtpm */
#define ALG_SHA256 0x000B

enum { CONTINUE_SESSION = 1, ENCRYPTS = 0x60 };
enum {
	RC_VALUE = 0x1C4,        /* TPM_RC_VALUE, parameter 1 */
	RC_BAD_AUTH = 0x9A2,     /* TPM_RC_BAD_AUTH, session 1 */
	RC_ATTRIBUTES = 0x982,   /* TPM_RC_ATTRIBUTES, session 1 */
	RC_AUTH_MISSING = 0x125, /* TPM_RC_AUTH_MISSING */
	RC_AUTHSIZE = 0x144,     /* TPM_RC_AUTHSIZE */
	RC_NV_RANGE = 0x146,     /* TPM_RC_NV_RANGE */
	RC_UNINITIALIZED = 0x14A,
};

uint32_t vtpm_nv_target(const struct frame *command, uint16_t *ret_offset)
{
	uint32_t code = frame_code(command);

	*ret_offset = 0xffff;
	if (code == TPM2_CC_NV_ReadPublic && command->len == TPM_HEADER + 4)
		return frame_get(command->data + TPM_HEADER, 4);
	if (code != TPM2_CC_NV_Read || command->len < TPM_HEADER + 8 + 4)
		return 0;
	*ret_offset = (uint16_t)frame_get(command->data + command->len - 2, 2);
	return frame_get(command->data + TPM_HEADER + 4, 4);
}

/* ---- the public area ---- */

static void put_public(const struct vtpm_nv *nv, struct frame *out)
{
	frame_put(out, nv->index, 4);
	frame_put(out, ALG_SHA256, 2);
	frame_put(out,
	          TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE | TPMA_NV_OWNERREAD | TPMA_NV_PLATFORMCREATE | TPMA_NV_NO_DA |
	              (nv->written ? TPMA_NV_WRITTEN : 0),
	          4);
	frame_put(out, 0, 2); /* no policy */
	frame_put(out, nv->size, 2);
}

static skr_status answer_public(const struct vtpm_nv *nv, struct frame *answer)
{
	struct frame area = {0};
	uint8_t name[32];

	put_public(nv, &area);
	TRY(sha256(area.data, area.len, name));
	frame_begin(answer, TPM_ST_NO_SESSIONS, 0);
	frame_put(answer, (uint32_t)area.len, 2);
	frame_append(answer, area.data, area.len);
	frame_put(answer, 2 + sizeof(name), 2);
	frame_put(answer, ALG_SHA256, 2);
	frame_append(answer, name, sizeof(name));
	frame_end(answer);
	return OK;
}

/* ---- reading ---- */

/* The one authorisation of the command. */
struct session {
	uint32_t handle;
	const uint8_t *nonce, *hmac;
	size_t nonce_len, hmac_len;
	uint8_t attributes;
};

/* False: not exactly one session, or not within its area. */
static bool parse_session(const struct frame *command, struct session *ret, const uint8_t **ret_parameters)
{
	const uint8_t *at = command->data + TPM_HEADER + 8, *end = command->data + command->len;
	size_t area = frame_get(at, 4);

	at += 4;
	if (area > (size_t)(end - at) || area < 9)
		return false;
	end = at + area;
	ret->handle = frame_get(at, 4);
	ret->nonce_len = frame_get(at + 4, 2);
	ret->nonce = at += 6;
	if (ret->nonce_len + 3 > (size_t)(end - at))
		return false;
	at += ret->nonce_len;
	ret->attributes = *at++;
	ret->hmac_len = frame_get(at, 2);
	ret->hmac = at += 2;
	*ret_parameters = end;
	return ret->hmac_len == (size_t)(end - at);
}

/* 0, or the code that refuses it. */
static uint32_t refused(const struct vtpm_nv *nv, const struct frame *command, const struct session *session,
                        uint32_t size, uint32_t offset)
{
	if (frame_get(command->data + TPM_HEADER, 4) != TPM2_RH_OWNER)
		return RC_BAD_AUTH; /* nobody knows the index's own password */
	if (session->handle == TPM_RS_PW && session->hmac_len > 0)
		return RC_BAD_AUTH;
	if (session->handle != TPM_RS_PW && session->attributes & ENCRYPTS)
		return RC_ATTRIBUTES;
	if (size > BUFFER_MAX)
		return RC_VALUE;
	if (!nv->written)
		return RC_UNINITIALIZED;
	if (offset + size > nv->size)
		return RC_NV_RANGE;
	return 0;
}

/* TPM 2.0 part 1, section 19.6.5: HMAC over rpHash, both nonces, attributes; the key is empty. */
static skr_status put_hmac(const struct session *session, const struct frame *parameters, struct frame *answer)
{
	struct frame hashed = {0}, authorised = {0};
	uint8_t nonce[32], hash[32], mac[32];
	size_t mac_len;
	const uint8_t attributes = session->attributes;

	TRY(random_bytes(nonce, sizeof(nonce)));
	frame_put(&hashed, 0, 4);
	frame_put(&hashed, TPM2_CC_NV_Read, 4);
	frame_append(&hashed, parameters->data, parameters->len);
	TRY(sha256(hashed.data, hashed.len, hash));
	frame_append(&authorised, hash, sizeof(hash));
	frame_append(&authorised, nonce, sizeof(nonce));
	frame_append(&authorised, session->nonce, session->nonce_len);
	frame_put(&authorised, attributes, 1);
	if (!EVP_Q_mac(ossl, "HMAC", NULL, "SHA256", NULL, "", 0, authorised.data, authorised.len, mac, sizeof(mac),
	               &mac_len))
		return ossl_fail(599, "HMAC");
	frame_put(answer, sizeof(nonce), 2);
	frame_append(answer, nonce, sizeof(nonce));
	frame_put(answer, attributes, 1);
	frame_put(answer, sizeof(mac), 2);
	frame_append(answer, mac, sizeof(mac));
	return OK;
}

static skr_status answer_read(const struct vtpm_nv *nv, const struct session *session, uint32_t size, uint32_t offset,
                              struct frame *answer)
{
	struct frame parameters = {0};

	frame_put(&parameters, size, 2);
	frame_append(&parameters, nv->data + offset, size);
	frame_begin(answer, TPM_ST_SESSIONS, 0);
	frame_put(answer, (uint32_t)parameters.len, 4);
	frame_append(answer, parameters.data, parameters.len);
	if (session->handle == TPM_RS_PW) {
		frame_put(answer, 0, 2);
		frame_put(answer, CONTINUE_SESSION, 1);
		frame_put(answer, 0, 2);
	} else {
		TRY(put_hmac(session, &parameters, answer));
	}
	frame_end(answer);
	return OK;
}

skr_status vtpm_nv_answer(const struct vtpm_nv *nv, const struct frame *command, struct frame *answer,
                          uint32_t *ret_session)
{
	struct session session = {0};
	const uint8_t *parameters;

	*ret_session = 0;
	if (frame_code(command) == TPM2_CC_NV_ReadPublic)
		return answer_public(nv, answer);
	if (frame_get(command->data, 2) != TPM_ST_SESSIONS) {
		frame_refuse(answer, RC_AUTH_MISSING);
		return OK;
	}
	if (!parse_session(command, &session, &parameters) || command->data + command->len - parameters != 4) {
		frame_refuse(answer, RC_AUTHSIZE);
		return OK;
	}
	uint32_t size = frame_get(parameters, 2), offset = frame_get(parameters + 2, 2);
	uint32_t code = refused(nv, command, &session, size, offset);
	if (code) {
		frame_refuse(answer, code);
		return OK;
	}
	if (session.handle != TPM_RS_PW && !(session.attributes & CONTINUE_SESSION))
		*ret_session = session.handle;
	return answer_read(nv, &session, size, offset, answer);
}
