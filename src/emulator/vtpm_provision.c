/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vtpm_provision.h"

#include "emulator/event_log.h"
#include "emulator/vtpm_frame.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>

#include <stdio.h>
#include <string.h>

#define CALL(call)                                                        \
	do {                                                              \
		TSS2_RC code_ = (call);                                   \
		if (code_ != TSS2_RC_SUCCESS)                             \
			return FAIL(130, "swtpm: %s: %#x", #call, code_); \
	} while (0)
#define NO_MORE_SESSIONS ESYS_TR_NONE, ESYS_TR_NONE
#define BY_PASSWORD      ESYS_TR_PASSWORD, NO_MORE_SESSIONS
#define NO_SESSION       ESYS_TR_NONE, NO_MORE_SESSIONS

/* ---- templates ---- */

#define AK_ATTRIBUTES  0x00050472U /* fixedTPM fixedParent sensitiveDataOrigin userWithAuth noDA restricted sign */
#define SRK_ATTRIBUTES 0x00030472U /* the same with decrypt */
#define EK_ATTRIBUTES  0x000300B2U /* adminWithPolicy, userWithAuth clear */

static const uint8_t ek_policy[32] = {0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc,
                                      0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52,
                                      0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa};
static const uint8_t trusted_launch_policy[32] = {0x9d, 0xff, 0xcb, 0xf3, 0x6c, 0x38, 0x3a, 0xe6, 0x99, 0xfb, 0x98,
                                                  0x68, 0xdc, 0x6d, 0xcb, 0x89, 0xd7, 0x15, 0x38, 0x84, 0xbe, 0x28,
                                                  0x03, 0x92, 0x2c, 0x12, 0x41, 0x58, 0xbf, 0xad, 0x22, 0xae};

static TPM2B_PUBLIC rsa_template(uint32_t attributes, const uint8_t *policy)
{
	TPM2B_PUBLIC template = {0};
	TPMT_PUBLIC *area = &template.publicArea;
	TPMS_RSA_PARMS *rsa = &area->parameters.rsaDetail;

	area->type = TPM2_ALG_RSA;
	area->nameAlg = TPM2_ALG_SHA256;
	area->objectAttributes = attributes;
	if (policy) {
		area->authPolicy.size = 32;
		memcpy(area->authPolicy.buffer, policy, 32);
	}
	rsa->keyBits = 2048;
	area->unique.rsa.size = 256;
	rsa->symmetric.algorithm = TPM2_ALG_NULL;
	rsa->scheme.scheme = TPM2_ALG_NULL;
	if (attributes & TPMA_OBJECT_SIGN_ENCRYPT) {
		rsa->scheme.scheme = TPM2_ALG_RSASSA;
		rsa->scheme.details.rsassa.hashAlg = TPM2_ALG_SHA256;
	} else {
		rsa->symmetric.algorithm = TPM2_ALG_AES;
		rsa->symmetric.keyBits.aes = 128;
		rsa->symmetric.mode.aes = TPM2_ALG_CFB;
	}
	return template;
}

static const TPM2B_SENSITIVE_CREATE no_secret;
static const TPM2B_DATA no_data;
static const TPML_PCR_SELECTION no_pcr;

/* ---- keys ---- */

static skr_status handle_exists(ESYS_CONTEXT *esys, uint32_t handle, bool *ret)
{
	TPMS_CAPABILITY_DATA *found = NULL;
	TPMI_YES_NO more;

	CALL(Esys_GetCapability(esys, NO_SESSION, TPM2_CAP_HANDLES, handle, 1, &more, &found));
	*ret = found->data.handles.count == 1 && found->data.handles.handle[0] == handle;
	Esys_Free(found);
	return OK;
}

/* The object at `handle`; ESYS_TR_NONE: there is none. */
static skr_status find(ESYS_CONTEXT *esys, uint32_t handle, ESYS_TR *ret)
{
	bool there;

	*ret = ESYS_TR_NONE;
	TRY(handle_exists(esys, handle, &there));
	if (there)
		CALL(Esys_TR_FromTPMPublic(esys, handle, NO_SESSION, ret));
	return OK;
}

static skr_status evict(ESYS_CONTEXT *esys, uint32_t handle)
{
	ESYS_TR object, gone;

	TRY(find(esys, handle, &object));
	if (object == ESYS_TR_NONE)
		return OK;
	CALL(Esys_EvictControl(esys, ESYS_TR_RH_OWNER, object, BY_PASSWORD, handle, &gone));
	/* Else ESYS goes on knowing the handle by the old name. */
	CALL(Esys_TR_Close(esys, &object));
	return OK;
}

/* Makes the transient key persistent; the transient one is flushed in any case. */
static skr_status persist(ESYS_CONTEXT *esys, ESYS_TR key, uint32_t handle)
{
	ESYS_TR kept = ESYS_TR_NONE;

	TSS2_RC code = Esys_EvictControl(esys, ESYS_TR_RH_OWNER, key, BY_PASSWORD, handle, &kept);
	CALL(Esys_FlushContext(esys, key));
	if (code != TSS2_RC_SUCCESS)
		return FAIL(130, "swtpm: EvictControl of %#x: %#x", handle, code);
	CALL(Esys_TR_Close(esys, &kept));
	return OK;
}

static skr_status make_primary(ESYS_CONTEXT *esys, ESYS_TR hierarchy, const TPM2B_PUBLIC *template, uint32_t handle)
{
	ESYS_TR key;

	CALL(Esys_CreatePrimary(esys, hierarchy, BY_PASSWORD, &no_secret, template, &no_data, &no_pcr, &key, NULL, NULL,
	                        NULL, NULL));
	return persist(esys, key, handle);
}

static skr_status make_child(ESYS_CONTEXT *esys, ESYS_TR parent, const TPM2B_PUBLIC *template, uint32_t handle)
{
	TPM2B_PRIVATE *secret = NULL;
	TPM2B_PUBLIC *public = NULL;
	ESYS_TR key;

	CALL(Esys_Create(esys, parent, BY_PASSWORD, &no_secret, template, &no_data, &no_pcr, &secret, &public, NULL,
	                 NULL, NULL));
	TSS2_RC code = Esys_Load(esys, parent, BY_PASSWORD, secret, public, &key);
	Esys_Free(secret);
	Esys_Free(public);
	if (code != TSS2_RC_SUCCESS)
		return FAIL(130, "swtpm: Load: %#x", code);
	return persist(esys, key, handle);
}

static skr_status ensure_primary(ESYS_CONTEXT *esys, ESYS_TR hierarchy, const TPM2B_PUBLIC *template, uint32_t handle)
{
	bool there;

	TRY(handle_exists(esys, handle, &there));
	return there ? OK : make_primary(esys, hierarchy, template, handle);
}

static skr_status make_ak(ESYS_CONTEXT *esys, bool trusted_launch)
{
	const TPM2B_PUBLIC template = rsa_template(AK_ATTRIBUTES, trusted_launch ? trusted_launch_policy : NULL);
	ESYS_TR srk;
	bool there;

	/* The paravisor makes its AK anew at every boot, so that one that a guest put there is gone. */
	if (!trusted_launch) {
		TRY(evict(esys, VTPM_AK));
		return make_primary(esys, ESYS_TR_RH_ENDORSEMENT, &template, VTPM_AK);
	}
	TRY(handle_exists(esys, VTPM_AK, &there));
	if (there)
		return OK;
	TRY(find(esys, VTPM_SRK, &srk));
	return make_child(esys, srk, &template, VTPM_AK);
}

static skr_status make_keys(ESYS_CONTEXT *esys, bool trusted_launch)
{
	const TPM2B_PUBLIC srk = rsa_template(SRK_ATTRIBUTES, NULL), ek = rsa_template(EK_ATTRIBUTES, ek_policy);

	TRY(ensure_primary(esys, ESYS_TR_RH_OWNER, &srk, VTPM_SRK));
	TRY(ensure_primary(esys, ESYS_TR_RH_ENDORSEMENT, &ek, VTPM_EK));
	return make_ak(esys, trusted_launch);
}

static skr_status rsa_key(const TPM2B_PUBLIC_KEY_RSA *modulus, EVP_PKEY **ret)
{
	auto_bn *n = BN_bin2bn(modulus->buffer, modulus->size, NULL);
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_name(ossl, "RSA", NULL);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY *key = NULL;

	if (build && n && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
	    OSSL_PARAM_BLD_push_uint(build, OSSL_PKEY_PARAM_RSA_E, 65537))
		params = OSSL_PARAM_BLD_to_param(build);
	if (params && ctx && EVP_PKEY_fromdata_init(ctx) == 1)
		EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	if (!key)
		return ossl_fail(599, "a public key of the TPM");
	*ret = key;
	return OK;
}

static skr_status read_key(ESYS_CONTEXT *esys, uint32_t handle, EVP_PKEY **ret)
{
	TPM2B_PUBLIC *public = NULL;
	ESYS_TR key;

	TRY(find(esys, handle, &key));
	CALL(Esys_ReadPublic(esys, key, NO_SESSION, &public, NULL, NULL));
	skr_status status = rsa_key(&public->publicArea.unique.rsa, ret);
	Esys_Free(public);
	return status;
}

void vtpm_keys_done(struct vtpm_keys *keys)
{
	EVP_PKEY_free(keys->ak);
	EVP_PKEY_free(keys->ek);
	*keys = (struct vtpm_keys){0};
}

/* ---- NV indices ---- */

static skr_status define_index(ESYS_CONTEXT *esys, ESYS_TR hierarchy, uint32_t index, uint32_t attributes, size_t size,
                               const TPM2B_AUTH *auth, ESYS_TR *ret)
{
	const TPM2B_NV_PUBLIC public = {.nvPublic = {
	                                    .nvIndex = index,
	                                    .nameAlg = TPM2_ALG_SHA256,
	                                    .attributes = attributes,
	                                    .dataSize = (uint16_t)size,
	                                }};

	CALL(Esys_NV_DefineSpace(esys, hierarchy, BY_PASSWORD, auth, &public, ret));
	return OK;
}

#define PLATFORM_INDEX \
	(TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE | TPMA_NV_OWNERREAD | TPMA_NV_PLATFORMCREATE | TPMA_NV_NO_DA)
#define OWNER_INDEX (TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE | TPMA_NV_OWNERREAD | TPMA_NV_OWNERWRITE)

/*
 * The paravisor's indices. swtpm's are at most 2048 bytes, so the relay answers for what is in them; here they only
 * hold the place, for lists of handles, and for those who try to remove them.
 */
static skr_status hold_places(ESYS_CONTEXT *esys)
{
	static const uint32_t indices[] = {VTPM_REPORT, VTPM_CERTIFICATE};

	for (size_t i = 0; i < sizeof(indices) / sizeof(indices[0]); i++) {
		TPM2B_AUTH secret = {.size = 8};
		ESYS_TR made;
		bool there;
		TRY(handle_exists(esys, indices[i], &there));
		if (there)
			continue;
		TRY(random_bytes(secret.buffer, secret.size));
		TRY(define_index(esys, ESYS_TR_RH_PLATFORM, indices[i], PLATFORM_INDEX, 8, &secret, &made));
	}
	return OK;
}

static skr_status write_index(ESYS_CONTEXT *esys, ESYS_TR index, const uint8_t *data, size_t len)
{
	for (size_t at = 0; at < len; at += TPM2_MAX_NV_BUFFER_SIZE / 4) {
		TPM2B_MAX_NV_BUFFER part = {0};
		part.size = (uint16_t)(len - at < TPM2_MAX_NV_BUFFER_SIZE / 4 ? len - at : TPM2_MAX_NV_BUFFER_SIZE / 4);
		memcpy(part.buffer, data + at, part.size);
		CALL(Esys_NV_Write(esys, ESYS_TR_RH_OWNER, index, BY_PASSWORD, &part, (uint16_t)at));
	}
	return OK;
}

static skr_status replace_certificate(ESYS_CONTEXT *esys, const void *der, size_t len)
{
	static const TPM2B_AUTH empty;
	ESYS_TR index;

	TRY(find(esys, VTPM_CERTIFICATE, &index));
	if (index != ESYS_TR_NONE)
		CALL(Esys_NV_UndefineSpace(esys, ESYS_TR_RH_OWNER, index, BY_PASSWORD));
	TRY(define_index(esys, ESYS_TR_RH_OWNER, VTPM_CERTIFICATE, OWNER_INDEX, len ? len : 1024, &empty, &index));
	return write_index(esys, index, der, len);
}

/* ---- measurements ---- */

static skr_status extend_event(ESYS_CONTEXT *esys, const struct event_log_event *event)
{
	TPML_DIGEST_VALUES digests = {.count = 2};

	digests.digests[0].hashAlg = TPM2_ALG_SHA1;
	memcpy(digests.digests[0].digest.sha1, event->sha1, 20);
	digests.digests[1].hashAlg = TPM2_ALG_SHA256;
	memcpy(digests.digests[1].digest.sha256, event->sha256, 32);
	CALL(Esys_PCR_Extend(esys, ESYS_TR_PCR0 + event->pcr, BY_PASSWORD, &digests));
	return OK;
}

static skr_status measure(ESYS_CONTEXT *esys, const struct buf *log)
{
	struct event_log_reader reader = EVENT_LOG_READER(log->data, log->len);
	struct event_log_event event;
	bool more;

	for (;;) {
		TRY(event_log_next(&reader, &event, &more));
		if (!more)
			return OK;
		if (event_log_is_extended(&event))
			TRY(extend_event(esys, &event));
	}
}

/* ---- the whole ---- */

static skr_status close_platform(ESYS_CONTEXT *esys)
{
	CALL(Esys_HierarchyControl(esys, ESYS_TR_RH_PLATFORM, BY_PASSWORD, ESYS_TR_RH_PLATFORM, TPM2_NO));
	return OK;
}

static skr_status provision(ESYS_CONTEXT *esys, bool trusted_launch, const struct buf *log, struct vtpm_keys *keys)
{
	TRY(make_keys(esys, trusted_launch));
	TRY(read_key(esys, VTPM_AK, &keys->ak));
	TRY(read_key(esys, VTPM_EK, &keys->ek));
	if (!trusted_launch)
		TRY(hold_places(esys));
	TRY(measure(esys, log));
	return close_platform(esys);
}

skr_status vtpm_provision(struct vtpm_wire *wire, bool trusted_launch, const struct buf *log, struct vtpm_keys *ret)
{
	struct vtpm_keys keys = {0};
	struct wire_esys *session;
	ESYS_CONTEXT *esys;

	TRY(wire_esys_open(wire, &session, &esys));
	skr_status status = provision(esys, trusted_launch, log, &keys);
	wire_esys_close(session);
	if (status.failure) {
		vtpm_keys_done(&keys);
		return status;
	}
	vtpm_keys_done(ret);
	*ret = keys;
	return OK;
}

skr_status vtpm_write_certificate(struct vtpm_wire *wire, const void *der, size_t len)
{
	struct wire_esys *session;
	ESYS_CONTEXT *esys;

	TRY(wire_esys_open(wire, &session, &esys));
	skr_status status = replace_certificate(esys, der, len);
	wire_esys_close(session);
	return status;
}

static skr_status replace_ak(ESYS_CONTEXT *esys)
{
	TPM2B_PUBLIC template = rsa_template(AK_ATTRIBUTES, NULL);

	/* The same template but for this: so another key of the same shape. */
	TRY(random_bytes(template.publicArea.unique.rsa.buffer, 32));
	TRY(evict(esys, VTPM_AK));
	return make_primary(esys, ESYS_TR_RH_OWNER, &template, VTPM_AK);
}

skr_status vtpm_replace_ak(struct vtpm_wire *wire)
{
	struct wire_esys *session;
	ESYS_CONTEXT *esys;

	TRY(wire_esys_open(wire, &session, &esys));
	skr_status status = replace_ak(esys);
	wire_esys_close(session);
	return status;
}

skr_status vtpm_extend(struct vtpm_wire *wire, uint32_t pcr)
{
	struct frame command, answer;
	uint8_t digests[20 + 32];

	TRY(random_bytes(digests, sizeof(digests)));
	frame_begin(&command, TPM_ST_SESSIONS, TPM2_CC_PCR_Extend);
	frame_put(&command, pcr, 4);
	frame_put_password(&command);
	frame_put(&command, 2, 4);
	frame_put(&command, TPM2_ALG_SHA1, 2);
	frame_append(&command, digests, 20);
	frame_put(&command, TPM2_ALG_SHA256, 2);
	frame_append(&command, digests + 20, 32);
	frame_end(&command);
	TRY(frame_transact(wire, &command, &answer));
	if (frame_code(&answer) != 0)
		return FAIL(213, "PCR %u cannot be extended: %#x", pcr, frame_code(&answer));
	return OK;
}
