/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/tpm.h"

#include "evidence/tpm_connection.h"
#include "evidence/tpm_structure.h"

#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>

#include <inttypes.h>
#include <string.h>

#define DECRYPT_ATTEMPTS 8
#define NV_PIECE         1024 /* TPM_PT_NV_BUFFER_MAX of Azure's vTPM, and of swtpm */

/* The empty password, for one handle or two. */
static const TSS2L_SYS_AUTH_COMMAND password = {.count = 1, .auths = {{.sessionHandle = TPM2_RS_PW}}};
static const TSS2L_SYS_AUTH_COMMAND two_passwords = {
    .count = 2, .auths = {{.sessionHandle = TPM2_RS_PW}, {.sessionHandle = TPM2_RS_PW}}};

/* --- Non-volatile memory --- */

static bool is_absent(const struct tpm *tpm, TSS2_RC rc)
{
	return tpm_refused(tpm, rc) && (tpm_kind_of(rc) == TPM2_RC_HANDLE || rc == TPM2_RC_NV_UNINITIALIZED);
}

skr_status tpm_nv_size(struct tpm *tpm, const struct tpm_nv *nv, size_t *ret)
{
	TPM2B_NV_PUBLIC public = {0};
	TPM2B_NAME name = {0};

	TSS2_RC rc = RAW(tpm, NV_ReadPublic, nv->index, NULL, &public, &name, NULL);
	if (is_absent(tpm, rc)) {
		*ret = 0;
		return OK;
	}
	TRY(tpm_finished(tpm, "TPM2_NV_ReadPublic", rc));
	TRY(tpm_consumed(tpm, "TPM2_NV_ReadPublic", SIZE_2B(public) + SIZE_2B(name), NULL));
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
	if (is_absent(tpm, rc))
		return FAIL(nv->absent, "%s, NV index 0x%08" PRIx32 ": %s (0x%03x)", nv->name, nv->index,
		            Tss2_RC_Decode(rc), rc);
	TRY(tpm_finished(tpm, "TPM2_NV_Read", rc));
	TRY(tpm_consumed(tpm, "TPM2_NV_Read", SIZE_2B(piece), &reply));
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
		return tpm_consumed(tpm, command, 0, auths);
	if (!tpm_refused(tpm, rc))
		return tpm_finished(tpm, command, rc);
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
	if (is_absent(tpm, rc))
		return FAIL(134, "the TPM has no key at handle 0x%08" PRIx32 ": it is not the vTPM of an Azure machine",
		            handle);
	TRY(tpm_finished(tpm, "TPM2_ReadPublic", rc));
	TRY(tpm_consumed(tpm, "TPM2_ReadPublic", SIZE_2B(public) + SIZE_2B(name) + SIZE_2B(qualified_name), NULL));
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
	TRY(tpm_consumed(tpm, "TPM2_PCR_Read", PCR_READ_SIZE, NULL));
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
	TRY(tpm_consumed(tpm, "TPM2_CreatePrimary",
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
	TRY(tpm_consumed(tpm, "TPM2_ContextSave",
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
	if (tpm_refused(tpm, rc)) {
		*ret_handle = 0;
		return OK;
	}
	TRY(tpm_finished(tpm, "TPM2_ContextLoad", rc));
	TRY(tpm_consumed(tpm, "TPM2_ContextLoad", 0, NULL));
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
	TRY(tpm_consumed(tpm, command,
	                 SIZE_2B(*attest) + sizeof(signature->sigAlg) + sizeof(rsa->hash) + SIZE_2B(rsa->sig), auths));
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
	TRY(tpm_consumed(tpm, "TPM2_StartAuthSession", SIZE_2B(theirs), NULL));
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

/* What of its codes means the PCRs; nearly all others mean that it was not encrypted to this key in this way. */
static skr_status decrypted(struct tpm *tpm, TSS2_RC rc)
{
	if (!tpm_refused(tpm, rc) || tpm_is_forgotten(rc))
		return tpm_finished(tpm, "TPM2_RSA_Decrypt", rc);
	if (tpm_kind_of(rc) == TPM2_RC_POLICY_FAIL)
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
	TRY(tpm_consumed(tpm, "TPM2_PolicyPCR", 0, NULL));
	TSS2_RC rc = RAW(tpm, RSA_Decrypt, handle, &policy, sealed, scheme, &no_label, &opened, &reply);
	*ret_again = rc == TPM2_RC_PCR_CHANGED;
	if (*ret_again)
		return OK;
	skr_status status = decrypted(tpm, rc);
	if (!status.failure)
		status = tpm_consumed(tpm, "TPM2_RSA_Decrypt", SIZE_2B(opened), &reply);
	if (!status.failure) {
		tpm_let_go(tpm, session); /* continueSession is clear: the TPM ended it */
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
