/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/guest_attestation.h"

#include "base/base64.h"
#include "emulator/certificate.h"
#include "emulator/event_log.h"
#include "emulator/guest_request.h"
#include "emulator/maa.h"
#include "jose/jwk.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define FIRMWARE_PCRS 0x00FFU /* 0 to 7: what the firmware's boot log tells of */
#define WINDOWS_PCRS  0x7800U /* 11 to 14 */

/* ---- the attestation key ---- */

/* Only a key of this form signs nothing but what the TPM itself says. */
static skr_status check_ak_template(const struct tpm_public *ak)
{
	const uint32_t wanted = TPM_FIXED_TPM | TPM_FIXED_PARENT | TPM_SENSITIVE_DATA_ORIGIN | TPM_USER_WITH_AUTH |
	                        TPM_NO_DA | TPM_RESTRICTED | TPM_SIGN;
	if (ak->attributes != wanted)
		return FAIL(117, "AikPub has the attributes 0x%08x, not 0x%08x of an attestation key", ak->attributes,
		            wanted);
	if (ak->scheme != TPM_RSASSA || ak->scheme_hash != TPM_SHA256)
		return FAIL(117, "AikPub signs by scheme 0x%04x with hash 0x%04x, not RSASSA with SHA-256", ak->scheme,
		            ak->scheme_hash);
	return OK;
}

/* The NV index is larger than the certificate: zero bytes may follow. */
static skr_status read_ak_certificate(const struct buf *nv, X509 **ret)
{
	const uint8_t *end = nv->data;
	auto_x509 *certificate = X509_new_ex(ossl, NULL);
	if (!certificate || !d2i_X509(&certificate, &end, (long)nv->len))
		return ossl_fail(117, "AikCert");
	for (; end < nv->data + nv->len; end++)
		if (*end)
			return FAIL(117, "AikCert: something other than zero bytes stands behind the certificate");
	*ret = TAKE(certificate);
	return OK;
}

static skr_status check_ak(const struct guest_request *request, struct tpm_public *ak, X509 **ret_certificate)
{
	auto_x509 *certificate = NULL;
	skr_status status = tpm_public_read(request->ak_public.data, request->ak_public.len, ak);
	if (status.failure)
		return status_prefix(status, "AikPub");
	TRY(check_ak_template(ak));
	TRY(read_ak_certificate(&request->ak_certificate, &certificate));
	EVP_PKEY *certified = X509_get0_pubkey(certificate);
	if (!certified || EVP_PKEY_eq(certified, ak->key) != 1) {
		ERR_clear_error();
		return FAIL(117, "AikCert is for another key than AikPub");
	}
	*ret_certificate = TAKE(certificate);
	return OK;
}

/* ---- who vouches for it ---- */

static skr_status check_authority(X509 *ak_certificate, const struct guest_trust *trust)
{
	if (!trust->vtpm_authority)
		return FAIL(117, "AikCert: no authority of attestation keys is trusted here");
	skr_status status = certificate_signed_by(ak_certificate, trust->vtpm_authority, trust->now);
	return status.failure ? status_prefix(status, "AikCert") : OK;
}

static const json *key_of_kid(const json *runtime, const char *kid)
{
	for (const json *jwk = json_first(json_get(runtime, "keys")); jwk; jwk = json_next(jwk)) {
		const char *found = json_string_or_null(jwk, "kid");
		if (found && strcmp(found, kid) == 0)
			return jwk;
	}
	return NULL;
}

static skr_status check_paravisor_vouches(const json *runtime, EVP_PKEY *ak)
{
	auto_pkey *vouched = NULL;
	const json *jwk = key_of_kid(runtime, "HCLAkPub");
	if (!jwk)
		return FAIL(117, "RunTimeData has no key HCLAkPub");
	skr_status status = jwk_public_key(jwk, &vouched);
	if (status.failure)
		return status_prefix(status, "RunTimeData: HCLAkPub");
	if (EVP_PKEY_eq(vouched, ak) != 1) {
		ERR_clear_error();
		return FAIL(117, "AikPub is not HCLAkPub of RunTimeData");
	}
	return OK;
}

static skr_status snp_claims(const struct guest_request *request, const struct guest_trust *trust, json *tee)
{
	const struct buf *report = &request->report;
	auto_x509s *chain = NULL;
	enum product product;
	if (certificates_from_pem(request->chain_pem.data, request->chain_pem.len, &chain).failure)
		return FAIL(213, "VcekCertChain: no PEM certificates");
	TRY(report_verify(report->data, report->len, chain, &trust->amd, &product));
	TRY(report_binds(report->data, request->runtime_bytes.data, request->runtime_bytes.len));

	json_set_string(tee, "x-ms-attestation-type", "sevsnpvm");
	if (maa_paravisor_report(report->data) && report_u32(report->data, REPORT_VMPL) == 0)
		json_set_string(tee, "x-ms-compliance-status", "azure-compliant-cvm");
	return maa_report_claims(report->data, product, tee);
}

static skr_status tdx_claims(const struct guest_request *request, const struct guest_trust *trust, json *tee)
{
	uint8_t said[64], wanted[64] = {0};
	TRY(quote_verify(request->td_quote.data, request->td_quote.len, &trust->intel, said, tee));
	TRY(sha256(request->runtime_bytes.data, request->runtime_bytes.len, wanted));
	if (memcmp(said, wanted, sizeof(said)) != 0)
		return FAIL(117, "the TD quote's report data is not SHA-256 of RunTimeData and 32 zero bytes");
	if (!json_bool(tee, "tdx_td_attributes_debug", true))
		json_set_string(tee, "x-ms-compliance-status", "azure-compliant-cvm");
	return OK;
}

/* The claims of x-ms-isolation-tee; NULL on Trusted Launch. */
static skr_status check_isolation(const struct guest_request *request, const struct guest_trust *trust, EVP_PKEY *ak,
                                  X509 *ak_certificate, json **ret_tee)
{
	auto_json *tee = NULL;
	if (request->isolation == ISOLATION_NONE)
		return check_authority(ak_certificate, trust);
	tee = json_object();
	TRY(request->isolation == ISOLATION_SNP ? snp_claims(request, trust, tee) : tdx_claims(request, trust, tee));
	TRY(check_paravisor_vouches(request->runtime, ak));
	json_set(tee, "x-ms-runtime", json_copy(request->runtime));
	*ret_tee = TAKE(tee);
	return OK;
}

/* ---- PCRs and the boot log ---- */

static skr_status check_quote(const struct guest_request *request, EVP_PKEY *ak)
{
	struct tpm_attest quote;
	uint8_t digest[TPM_DIGEST];

	if ((request->pcrs & FIRMWARE_PCRS) != FIRMWARE_PCRS)
		return FAIL(213, "PcrSet lacks some of PCR 0 to 7");
	if (request->pcrs & ~(FIRMWARE_PCRS | WINDOWS_PCRS))
		return FAIL(213, "PcrSet has more than PCR 0 to 7 and 11 to 14");
	skr_status status = tpm_signed(ak, &request->quote, &request->quote_signature);
	if (status.failure)
		return status_prefix(status, "PcrQuote, PcrSignature");
	status = tpm_quote_read(request->quote.data, request->quote.len, &quote);
	if (status.failure)
		return status_prefix(status, "PcrQuote");
	if (quote.pcrs != request->pcrs)
		return FAIL(117, "PcrQuote is over other PCRs than PcrSet");
	TRY(tpm_pcr_digest(request->pcrs, request->pcr_values, digest));
	if (memcmp(digest, quote.digest, sizeof(digest)) != 0)
		return FAIL(117, "PCRs do not have the pcrDigest of PcrQuote");
	return OK;
}

/*
 * The firmware's PCRs must be what the log makes of them. The others go on after the log has ended: the boot loader and
 * the operating system extend them.
 */
static skr_status check_log(const struct guest_request *request, const struct guest_trust *trust, bool *ret_secure)
{
	struct event_log_state boot;
	if (request->log.len == 0) {
		*ret_secure = trust->secure_boot_without_log;
		return OK;
	}
	skr_status status = event_log_replay(request->log.data, request->log.len, &boot);
	if (status.failure)
		return status_prefix(status, "TcgLogs");
	for (unsigned i = 0; i < TPM_PCRS; i++)
		if (FIRMWARE_PCRS >> i & 1 && memcmp(boot.pcr[i], request->pcr_values[i], TPM_DIGEST) != 0)
			return FAIL(117, "TcgLogs does not replay to PCR %u", i);
	*ret_secure = boot.secure_boot_measured && boot.secure_boot;
	return OK;
}

/* ---- the key that answers are sealed to ---- */

static skr_status check_key_attributes(uint32_t attributes)
{
	const uint32_t wanted = TPM_DECRYPT | TPM_FIXED_TPM | TPM_FIXED_PARENT;
	if ((attributes & wanted) != wanted)
		return FAIL(117, "EncKeyPub has the attributes 0x%08x, without all of decrypt, fixedTPM, fixedParent",
		            attributes);
	if (attributes & TPM_RESTRICTED)
		return FAIL(117, "EncKeyPub is restricted: it does not decrypt what we send");
	if (attributes & TPM_USER_WITH_AUTH)
		return FAIL(117, "EncKeyPub can be used without its policy");
	return OK;
}

static skr_status check_key_policy(const struct guest_request *request, const struct tpm_public *key)
{
	uint8_t digest[TPM_DIGEST], policy[TPM_DIGEST];
	TRY(tpm_pcr_digest(request->pcrs, request->pcr_values, digest));
	TRY(tpm_policy_pcr(request->pcrs, digest, policy));
	if (key->policy_len != sizeof(policy) || memcmp(key->policy, policy, sizeof(policy)) != 0)
		return FAIL(117, "the authPolicy of EncKeyPub is not PolicyPCR over PCRs");
	return OK;
}

static skr_status check_key(const struct guest_request *request, EVP_PKEY *ak, struct tpm_public *key)
{
	struct tpm_attest certified;
	skr_status status = tpm_public_read(request->key_public.data, request->key_public.len, key);
	if (status.failure)
		return status_prefix(status, "EncKeyPub");
	TRY(check_key_attributes(key->attributes));
	TRY(check_key_policy(request, key));
	status = tpm_signed(ak, &request->certify, &request->certify_signature);
	if (status.failure)
		return status_prefix(status, "EncKeyCertifyInfo, EncKeyCertifyInfoSignature");
	status = tpm_certify_read(request->certify.data, request->certify.len, &certified);
	if (status.failure)
		return status_prefix(status, "EncKeyCertifyInfo");
	if (memcmp(certified.name, key->name, sizeof(key->name)) != 0)
		return FAIL(117, "EncKeyCertifyInfo names another key than EncKeyPub");
	return OK;
}

/* ---- claims ---- */

#define VM(name) "x-ms-azurevm-" name

/* What a boot log and the service's own knowledge of good firmware say of the operating system; played as Azure's. */
static void boot_claims(bool secure_boot, json *claims)
{
	static const char *const off[] = {VM("bootdebug-enabled"),       VM("flightsigning-enabled"),
	                                  VM("hypervisordebug-enabled"), VM("kerneldebug-enabled"),
	                                  VM("testsigning-enabled"),     VM("elam-enabled")};
	static const char *const on[] = {VM("debuggersdisabled"), VM("signingdisabled")};
	static const char *const validated[] = {VM("dbvalidated"), VM("dbxvalidated"),
	                                        VM("default-securebootkeysvalidated")};

	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
		json_set_bool(claims, off[i], false);
	for (size_t i = 0; i < sizeof(on) / sizeof(on[0]); i++)
		json_set_bool(claims, on[i], true);
	for (size_t i = 0; i < sizeof(validated) / sizeof(validated[0]); i++)
		json_set_bool(claims, validated[i], secure_boot);
	json_set_number(claims, VM("hvci-policy"), 0);
	json_set_bool(claims, "secureboot", secure_boot);
}

/* The paravisor says which machine it is. On Trusted Launch it is ours to name: by the TPM's attestation key. */
static void set_machine_id(const json *runtime, const struct tpm_public *ak, json *claims)
{
	const uint8_t *b = ak->name + 2;
	char made[37];
	const char *told = json_string_or_null(json_get(runtime, "vm-configuration"), "vmUniqueId");
	snprintf(made, sizeof(made), "%02X%02X%02X%02X-%02X%02X-%02X%02X-%02X%02X-%02X%02X%02X%02X%02X%02X", b[0], b[1],
	         b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
	if (told || !runtime)
		json_set_string(claims, VM("vmid"), told ? told : made);
}

static void machine_claims(const struct guest_request *request, json *claims)
{
	json *pcrs = json_array();
	for (unsigned i = 0; i < TPM_PCRS; i++)
		if (request->pcrs >> i & 1)
			json_push(pcrs, json_of_number(i));
	json_set(claims, VM("attested-pcrs"), pcrs);
	json_set_string(claims, VM("attestation-protocol-ver"), request->protocol);
	json_set_string(claims, VM("ostype"), buf_text(&request->os_type));
	json_set_string(claims, VM("osdistro"), buf_text(&request->os_distro));
	json_set_string(claims, VM("osbuild"), buf_text(&request->os_build));
	json_set_number(claims, VM("osversion-major"), request->os_major);
	json_set_number(claims, VM("osversion-minor"), request->os_minor);
	json_set_bool(claims, VM("is-windows"), strcasecmp(buf_text(&request->os_type), "Windows") == 0);
}

/* The top level's x-ms-runtime, whose first key is what a vault wraps to. */
static skr_status runtime_claims(const struct guest_request *request, const struct tpm_public *key, json **ret)
{
	auto_json *runtime = json_object(), *jwk = NULL;
	json *keys = json_array(), *ops = json_array();

	TRY(jwk_from_key(key->key, &jwk));
	json_push(ops, json_of_string("encrypt"));
	json_set(jwk, "key_ops", ops);
	json_set_string(jwk, "kid", "TpmEphemeralEncryptionKey");
	json_push(keys, TAKE(jwk));
	if (request->client_payload)
		json_set(runtime, "client-payload", json_copy(request->client_payload));
	json_set(runtime, "keys", keys);
	*ret = TAKE(runtime);
	return OK;
}

skr_status guest_evaluate(const void *body, size_t len, const struct guest_trust *trust, json *claims,
                          EVP_PKEY **ret_key)
{
	auto_guest_request request = {0};
	auto_tpm_public ak = {0}, key = {0};
	auto_x509 *ak_certificate = NULL;
	auto_json *tee = NULL, *runtime = NULL;
	bool secure_boot;

	TRY(guest_request_parse(body, len, &request));
	TRY(check_ak(&request, &ak, &ak_certificate));
	TRY(check_isolation(&request, trust, ak.key, ak_certificate, &tee));
	TRY(check_quote(&request, ak.key));
	TRY(check_key(&request, ak.key, &key));
	TRY(check_log(&request, trust, &secure_boot));
	TRY(runtime_claims(&request, &key, &runtime));

	json_set_string(claims, "x-ms-attestation-type", "azurevm");
	machine_claims(&request, claims);
	boot_claims(secure_boot, claims);
	set_machine_id(request.runtime, &ak, claims);
	json_set(claims, "x-ms-runtime", TAKE(runtime));
	if (tee)
		json_set(claims, "x-ms-isolation-tee", TAKE(tee));
	*ret_key = TAKE(key.key);
	return OK;
}

/* ---- the answer ---- */

static skr_status seal_inner_key(EVP_PKEY *key, const uint8_t inner[32], struct buf *out)
{
	size_t len = 512;
	uint8_t *place;
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, key, NULL);
	TRY(buf_reserve(out, len, &place));
	if (!ctx || EVP_PKEY_encrypt_init(ctx) != 1 || EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) != 1 ||
	    EVP_PKEY_encrypt(ctx, place, &len, inner, 32) != 1)
		return ossl_fail(599, "sealing to the TPM's key");
	out->len += len;
	return OK;
}

/* AES-256-GCM with the 13 bytes that the guest's library goes by as what is authenticated beside the text. */
static skr_status encrypt(const uint8_t key[32], const uint8_t iv[12], const char *text, size_t text_len,
                          struct buf *out, uint8_t tag[16])
{
	static const uint8_t beside[] = {'T', 'r', 'a', 'n', 's', 'p', 'o', 'r', 't', ' ', 'K', 'e', 'y'};
	int len = 0, rest = 0;
	uint8_t *place;
	auto_cipher_ctx *ctx = EVP_CIPHER_CTX_new();
	auto_cipher *cipher = EVP_CIPHER_fetch(ossl, "AES-256-GCM", NULL);

	TRY(buf_reserve(out, text_len, &place));
	if (!ctx || !cipher || EVP_EncryptInit_ex2(ctx, cipher, key, iv, NULL) != 1 ||
	    EVP_EncryptUpdate(ctx, NULL, &len, beside, sizeof(beside)) != 1 ||
	    EVP_EncryptUpdate(ctx, place, &len, (const uint8_t *)text, (int)text_len) != 1 ||
	    EVP_EncryptFinal_ex(ctx, place + len, &rest) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, tag) != 1)
		return ossl_fail(599, "sealing a token");
	out->len += (size_t)(len + rest);
	return OK;
}

static skr_status set_base64(json *object, const char *name, const void *data, size_t len)
{
	auto_buf text = BUF(2 * GUEST_REQUEST_LIMIT);
	TRY(base64_encode(data, len, &text));
	json_set_string(object, name, buf_text(&text));
	return OK;
}

static skr_status parameters(const uint8_t iv[12], json **ret)
{
	auto_json *object = json_object();
	json_set_string(object, "BlockMode", "ChainingModeGCM");
	json_set_string(object, "BlockPadding", "PKCS7");
	json_set_string(object, "Cipher", "AES");
	json_set_number(object, "KeySizeInBits", 256);
	TRY(set_base64(object, "Iv", iv, 12));
	*ret = TAKE(object);
	return OK;
}

skr_status guest_seal(EVP_PKEY *key, const char *token, size_t len, json **ret_envelope)
{
	uint8_t iv[12], tag[16];
	auto_buf inner = BUF(32), sealed_key = BUF(512), sealed = BUF(GUEST_REQUEST_LIMIT);
	auto_json *envelope = json_object();
	uint8_t *place;
	json *params;

	TRY(buf_reserve(&inner, 32, &place));
	TRY(random_bytes(place, 32));
	inner.len = 32;
	TRY(random_bytes(iv, sizeof(iv)));
	TRY(seal_inner_key(key, inner.data, &sealed_key));
	TRY(encrypt(inner.data, iv, token, len, &sealed, tag));

	/* in the order of the real service's answer */
	TRY(set_base64(envelope, "Jwt", sealed.data, sealed.len));
	TRY(set_base64(envelope, "EncryptedInnerKey", sealed_key.data, sealed_key.len));
	TRY(parameters(iv, &params));
	json_set(envelope, "EncryptionParams", params);
	TRY(set_base64(envelope, "AuthenticationData", tag, sizeof(tag)));
	*ret_envelope = TAKE(envelope);
	return OK;
}
