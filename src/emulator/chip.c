/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/chip.h"

#include "emulator/authority.h"
#include "emulator/certificate.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY  (24 * 60 * 60)
#define YEAR (365LL * DAY)

static const char organization[] = "Advanced Micro Devices";

/* The distinguished name as AMD writes it; go-sev-guest insists on every part. */
/* clang-format off */
#define AMD_NAME(common) { \
	{"OU", "Engineering"}, {"C", "US"}, {"L", "Santa Clara"}, {"ST", "CA"}, {"O", organization}, {"CN", common}, \
	{NULL, NULL}}
/* clang-format on */

static const struct certificate_extension ark_extensions[] = {
    {.oid = "subjectKeyIdentifier", .text = "hash"},
    {.oid = "basicConstraints", .text = "critical,CA:TRUE"},
    {.oid = "keyUsage", .text = "critical,keyCertSign,cRLSign"},
    {0},
};
static const struct certificate_extension ask_extensions[] = {
    {.oid = "subjectKeyIdentifier", .text = "hash"},
    {.oid = "authorityKeyIdentifier", .text = "keyid:always"},
    {.oid = "basicConstraints", .text = "critical,CA:TRUE,pathlen:0"},
    {.oid = "keyUsage", .text = "critical,keyCertSign"},
    {0},
};

static struct certificate_plan amd_plan(const struct certificate_name *subject, EVP_PKEY *key, int years)
{
	return (struct certificate_plan){
	    .subject = subject,
	    .key = key,
	    .digest = "SHA384",
	    .pss = true,
	    .not_before = time(NULL) - DAY,
	    .not_after = time(NULL) + years * YEAR,
	};
}

/* RSA-2048 where AMD has 4096: the first start in a directory should not take seconds. */
skr_status amd_open(struct emulator *e, enum product product, struct amd *out)
{
	const char *line = product_name(product);
	char ark_common[16], ask_common[16], name[64];
	auto_pkey *ark_key = NULL;
	snprintf(ark_common, sizeof(ark_common), "ARK-%s", line);
	snprintf(ask_common, sizeof(ask_common), "SEV-%s", line);
	const struct certificate_name ark_name[] = AMD_NAME(ark_common), ask_name[] = AMD_NAME(ask_common);

	snprintf(name, sizeof(name), "amd-ark-%s.key", line);
	TRY(emulator_key(e, name, 2048, NULL, &ark_key));
	snprintf(name, sizeof(name), "amd-ask-%s.key", line);
	TRY(emulator_key(e, name, 2048, NULL, &out->ask_key));

	struct certificate_plan plan = amd_plan(ark_name, ark_key, 25);
	plan.extensions = ark_extensions;
	snprintf(name, sizeof(name), "amd-ark-%s.pem", line);
	TRY(authority_kept_certificate(e, name, &plan, &out->ark));

	plan = amd_plan(ask_name, out->ask_key, 25);
	plan.extensions = ask_extensions;
	plan.issuer = out->ark;
	plan.issuer_key = ark_key;
	snprintf(name, sizeof(name), "amd-ask-%s.pem", line);
	return authority_kept_certificate(e, name, &plan, &out->ask);
}

void amd_done(struct amd *amd)
{
	EVP_PKEY_free(amd->ask_key);
	X509_free(amd->ark);
	X509_free(amd->ask);
}

/* DER of the numbers and texts in AMD's extensions. */
struct small_der {
	uint8_t bytes[16];
	size_t len;
};

static struct small_der der_integer(uint8_t value)
{
	if (value < 128)
		return (struct small_der){{0x02, 1, value}, 3};
	return (struct small_der){{0x02, 2, 0, value}, 4};
}

static struct small_der der_ia5string(const char *text)
{
	struct small_der der = {{0x16, (uint8_t)strlen(text)}, 2 + strlen(text)};
	memcpy(der.bytes + 2, text, strlen(text));
	return der;
}

size_t chip_id_len(enum product product)
{
	return product == PRODUCT_TURIN ? 8 : 64;
}

void tcbm_text(enum product product, struct tcb tcb, char out[17])
{
	uint8_t bytes[8];
	tcb_write(product, tcb, bytes);
	for (int i = 0; i < 8; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[7 - i]);
}

#define ARC    "1.3.6.1.4.1.3704.1."

#define LEVELS 8

struct level {
	const char *oid;
	uint8_t value;
};

/* The extensions of the TCB, in the order of AMD's own certificates (tests/data/snp). `der` keeps their values. */
static void level_extensions(enum product product, struct tcb tcb, struct small_der der[LEVELS],
                             struct certificate_extension out[LEVELS])
{
	const struct level older[LEVELS] = {{ARC "3.1", tcb.bootloader},
	                                    {ARC "3.2", tcb.tee},
	                                    {ARC "3.4", 0},
	                                    {ARC "3.5", 0},
	                                    {ARC "3.6", 0},
	                                    {ARC "3.7", 0},
	                                    {ARC "3.3", tcb.snp},
	                                    {ARC "3.8", tcb.microcode}};
	const struct level turin[LEVELS] = {{ARC "3.9", tcb.fmc}, {ARC "3.1", tcb.bootloader},
	                                    {ARC "3.2", tcb.tee}, {ARC "3.3", tcb.snp},
	                                    {ARC "3.5", 0},       {ARC "3.6", 0},
	                                    {ARC "3.7", 0},       {ARC "3.8", tcb.microcode}};
	const struct level *levels = product == PRODUCT_TURIN ? turin : older;

	for (size_t i = 0; i < LEVELS; i++) {
		der[i] = der_integer(levels[i].value);
		out[i] = (struct certificate_extension){levels[i].oid, NULL, der[i].bytes, der[i].len};
	}
}

static skr_status vcek_certificate(struct emulator *e, const struct amd *amd, enum product product,
                                   const uint8_t chip_id[CHIP_ID_SIZE], struct tcb tcb, EVP_PKEY *key, X509 **ret)
{
	static const char *const steppings[] = {"Milan-B0", "Genoa-B1", "Turin"};
	static const struct certificate_name subject[] = AMD_NAME("SEV-VCEK");
	const struct small_der structure = der_integer(product == PRODUCT_TURIN);
	const struct small_der stepping = der_ia5string(steppings[product]);
	struct small_der levels[LEVELS];
	struct certificate_extension extensions[2 + LEVELS + 2] = {
	    {ARC "1", NULL, structure.bytes, structure.len},
	    {ARC "2", NULL, stepping.bytes, stepping.len},
	};
	level_extensions(product, tcb, levels, extensions + 2);
	extensions[2 + LEVELS] = (struct certificate_extension){ARC "4", NULL, chip_id, chip_id_len(product)};

	struct certificate_plan plan = amd_plan(subject, key, 7);
	plan.issuer = amd->ask;
	plan.issuer_key = amd->ask_key;
	plan.serial_zero = true;
	plan.extensions = extensions;

	char tcbm[17], name[64];
	tcbm_text(product, tcb, tcbm);
	snprintf(name, sizeof(name), "amd-vcek-%s-%s.pem", product_name(product), tcbm);
	return authority_kept_certificate(e, name, &plan, ret);
}

/* As on the chip, each TCB has a key of its own. */
skr_status vcek_open(struct emulator *e, const struct amd *amd, enum product product,
                     const uint8_t chip_id[CHIP_ID_SIZE], struct tcb tcb, struct vcek *ret)
{
	char tcbm[17], name[64];
	tcbm_text(product, tcb, tcbm);
	snprintf(name, sizeof(name), "amd-vcek-%s-%s.key", product_name(product), tcbm);
	TRY(emulator_key(e, name, 0, "P-384", &ret->key));
	return vcek_certificate(e, amd, product, chip_id, tcb, ret->key, &ret->certificate);
}

void vcek_done(struct vcek *vcek)
{
	EVP_PKEY_free(vcek->key);
	X509_free(vcek->certificate);
}
