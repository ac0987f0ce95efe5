/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/uvm.h"

#include "base/base64.h"
#include "emulator/authority.h"
#include "emulator/certificate.h"
#include "emulator/cose.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY          (24 * 60 * 60)
#define YEAR         (365LL * DAY)

#define UVM_EKU      "1.3.6.1.4.1.311.76.59.1."
#define UVM_EKU_ACI  UVM_EKU "2"
#define UVM_EKU_KATA UVM_EKU "5"

static skr_status uvm_certificate(struct emulator *e, const char *common, EVP_PKEY *key, X509 *issuer,
                                  EVP_PKEY *issuer_key, const struct certificate_extension *extensions, X509 **ret)
{
	const struct certificate_name subject[] = {{"O", "skr-pkcs11 emulator"}, {"CN", common}, {NULL, NULL}};
	struct certificate_plan plan = {
	    .subject = subject,
	    .key = key,
	    .issuer = issuer,
	    .issuer_key = issuer_key,
	    .digest = "SHA384",
	    .not_before = time(NULL) - DAY,
	    .not_after = time(NULL) + 10 * YEAR,
	    .extensions = extensions,
	};
	char name[64];
	snprintf(name, sizeof(name), "uvm-%s.pem", common);
	return authority_kept_certificate(e, name, &plan, ret);
}

static skr_status push(STACK_OF(X509) *chain, X509 *certificate)
{
	if (sk_X509_push(chain, certificate) > 0)
		return OK;
	X509_free(certificate);
	return FAIL(14, "no memory for a chain");
}

skr_status uvm_open(struct emulator *e, struct uvm_signer *out)
{
	static const struct certificate_extension authority[] = {
	    {.oid = "basicConstraints", .text = "critical,CA:TRUE"},
	    {.oid = "keyUsage", .text = "critical,keyCertSign,cRLSign"},
	    {.oid = "subjectKeyIdentifier", .text = "hash"},
	    {0},
	};
	static const struct certificate_extension signer[] = {
	    {.oid = "keyUsage", .text = "critical,digitalSignature"},
	    {.oid = "extendedKeyUsage", .text = UVM_EKU "1," UVM_EKU_ACI "," UVM_EKU_KATA},
	    {.oid = "basicConstraints", .text = "critical,CA:FALSE"},
	    {0},
	};
	auto_pkey *root_key = NULL, *issuer_key = NULL;
	auto_x509 *root = NULL, *issuer = NULL, *leaf = NULL;
	TRY(emulator_key(e, "uvm-root.key", 0, "P-384", &root_key));
	TRY(emulator_key(e, "uvm-issuer.key", 0, "P-384", &issuer_key));
	TRY(emulator_key(e, "uvm-ContainerPlat.key", 2048, NULL, &out->key));
	TRY(uvm_certificate(e, "root", root_key, NULL, NULL, authority, &root));
	TRY(uvm_certificate(e, "issuer", issuer_key, root, root_key, authority, &issuer));
	TRY(uvm_certificate(e, "ContainerPlat", out->key, issuer, issuer_key, signer, &leaf));
	TRY(certificate_sha256(root, out->root));

	out->chain = sk_X509_new_null();
	if (!out->chain)
		return FAIL(14, "no memory for a chain");
	TRY(push(out->chain, TAKE(leaf)));
	TRY(push(out->chain, TAKE(issuer)));
	return push(out->chain, TAKE(root));
}

void uvm_done(struct uvm_signer *signer)
{
	EVP_PKEY_free(signer->key);
	sk_X509_pop_free(signer->chain, X509_free);
}

skr_status uvm_reference_info(const struct uvm_signer *signer, const char *feed, uint32_t svn,
                              const uint8_t measurement[48], struct buf *out)
{
	auto_buf digits = BUF(128), payload = BUF(512);
	TRY(hex_encode(measurement, 48, &digits));
	TRY(buf_printf(&payload,
	               "{\n  \"x-ms-sevsnpvm-guestsvn\": \"%u\",\n  \"x-ms-sevsnpvm-launchmeasurement\": \"%s\"\n}",
	               svn, buf_text(&digits)));
	const struct cose_plan plan = {
	    .key = signer->key,
	    .algorithm = COSE_PS384,
	    .chain = signer->chain,
	    .eku = strcmp(feed, "ConfAKS-AMD-UVM") == 0 ? UVM_EKU_KATA : UVM_EKU_ACI,
	    .feed = feed,
	    .payload = buf_text(&payload),
	    .signing_time = time(NULL),
	};
	return cose_sign(&plan, out);
}
