/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/hardware.h"

#include "base/base64.h"
#include "base/file.h"
#include "base/log.h"
#include "emulator/authority.h"
#include "emulator/certificate.h"
#include "emulator/cose.h"
#include "emulator/guest_protocol.h"

#include <openssl/ecdsa.h>

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DAY          (24 * 60 * 60)
#define YEAR         (365LL * DAY)
#define PEM_LIMIT    (64 * 1024)
#define TABLE_LIMIT  GUEST_TABLE_LIMIT
#define CONTEXT_DIR  "security-context"
#define POLICY_LIMIT (16 * 1024)

/* What POST /hardware can change. */
struct machine {
	enum product product;
	uint32_t version, guest_svn, svn, token_lifetime;
	struct tcb tcb, thim_tcb, context_tcb;
	bool thim_differs, context_differs;
	bool debug, migration, smt, mask_chip_id, certificate_table;
	bool accept_real_amd, certs_with_numbers;
	uint8_t family_id[16], image_id[16], measurement[48], endorsed_measurement[48], host_data[32];
	char feed[64];
	char security_policy[POLICY_LIMIT];
};

/* A chip's key for one TCB, and AMD's word for it. */
struct vcek {
	EVP_PKEY *key;
	X509 *certificate;
};

struct amd {
	EVP_PKEY *ask_key;
	X509 *ark, *ask;
};

/* A machine with everything that is made from its settings. Replaced as a whole. */
struct state {
	struct machine machine;
	struct amd amd;
	struct vcek vcek, thim, context; /* for the three TCBs */
};

struct uvm_signer {
	EVP_PKEY *key;
	STACK_OF(X509) *chain;
	uint8_t root[32];
};

struct hardware {
	pthread_mutex_t lock; /* of `state` */
	struct state *state;
	struct uvm_signer uvm;
	uint8_t chip_id[64];   /* of the first product; others derive theirs */
	uint8_t report_id[32]; /* this run of the guest */
	int listener, stop;    /* -1: not there */
	bool serving;
	pthread_t server;
};

/* ---- AMD's authority ---- */

static const char organization[] = "Advanced Micro Devices";

/* The distinguished name as AMD writes it; go-sev-guest insists on every part. */
#define AMD_NAME(common)                                                                                     \
	{                                                                                                    \
		{"OU", "Engineering"}, {"C", "US"}, {"L", "Santa Clara"}, {"ST", "CA"}, {"O", organization}, \
		    {"CN", common},                                                                          \
		{                                                                                            \
			NULL, NULL                                                                           \
		}                                                                                            \
	}

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
static skr_status amd_open(struct emulator *e, enum product product, struct amd *out)
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

static void amd_done(struct amd *amd)
{
	EVP_PKEY_free(amd->ask_key);
	X509_free(amd->ark);
	X509_free(amd->ask);
}

/* ---- VCEKs ---- */

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

/* Turin's hardware id is the first eight bytes. */
static size_t chip_id_len(enum product product)
{
	return product == PRODUCT_TURIN ? 8 : 64;
}

#define ARC "1.3.6.1.4.1.3704.1."

/* In the order of AMD's own certificates (tests/data/snp). */
static skr_status vcek_certificate(struct emulator *e, const struct amd *amd, enum product product, struct tcb tcb,
                                   const char *name, EVP_PKEY *key, X509 **ret)
{
	static const char *const steppings[] = {"Milan-B0", "Genoa-B1", "Turin"};
	static const struct certificate_name subject[] = AMD_NAME("SEV-VCEK");
	bool turin = product == PRODUCT_TURIN;
	const struct small_der layout = der_integer(turin), stepping = der_ia5string(steppings[product]),
	                       fmc = der_integer(tcb.fmc), bootloader = der_integer(tcb.bootloader),
	                       tee = der_integer(tcb.tee), snp = der_integer(tcb.snp), zero = der_integer(0),
	                       microcode = der_integer(tcb.microcode);
#define VALUE(suffix, der)                               \
	{                                                \
		ARC suffix, NULL, (der).bytes, (der).len \
	}
	const struct certificate_extension chip = {ARC "4", NULL, e->hardware->chip_id, chip_id_len(product)};
	const struct certificate_extension older_extensions[] = {
	    VALUE("1", layout),
	    VALUE("2", stepping),
	    VALUE("3.1", bootloader),
	    VALUE("3.2", tee),
	    VALUE("3.4", zero),
	    VALUE("3.5", zero),
	    VALUE("3.6", zero),
	    VALUE("3.7", zero),
	    VALUE("3.3", snp),
	    VALUE("3.8", microcode),
	    chip,
	    {0},
	};
	const struct certificate_extension turin_extensions[] = {
	    VALUE("1", layout),
	    VALUE("2", stepping),
	    VALUE("3.9", fmc),
	    VALUE("3.1", bootloader),
	    VALUE("3.2", tee),
	    VALUE("3.3", snp),
	    VALUE("3.5", zero),
	    VALUE("3.6", zero),
	    VALUE("3.7", zero),
	    VALUE("3.8", microcode),
	    chip,
	    {0},
	};
#undef VALUE
	struct certificate_plan plan = amd_plan(subject, key, 7);
	plan.issuer = amd->ask;
	plan.issuer_key = amd->ask_key;
	plan.serial_zero = true;
	plan.extensions = turin ? turin_extensions : older_extensions;
	return authority_kept_certificate(e, name, &plan, ret);
}

/* THIM's spelling of a TCB: the eight bytes as a little-endian number. */
static void tcbm_text(enum product product, struct tcb tcb, char out[17])
{
	uint8_t bytes[8];
	tcb_write(product, tcb, bytes);
	for (int i = 0; i < 8; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[7 - i]);
}

/* As on the chip, each TCB has a key of its own. */
static skr_status vcek_open(struct emulator *e, const struct amd *amd, enum product product, struct tcb tcb,
                            struct vcek *out)
{
	char tcbm[17], name[64];
	tcbm_text(product, tcb, tcbm);
	snprintf(name, sizeof(name), "amd-vcek-%s-%s.key", product_name(product), tcbm);
	TRY(emulator_key(e, name, 0, "P-384", &out->key));
	snprintf(name, sizeof(name), "amd-vcek-%s-%s.pem", product_name(product), tcbm);
	return vcek_certificate(e, amd, product, tcb, name, out->key, &out->certificate);
}

static void vcek_done(struct vcek *vcek)
{
	EVP_PKEY_free(vcek->key);
	X509_free(vcek->certificate);
}

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
	auto_buf blobs = BUF(TABLE_LIMIT);

	for (int i = 0; i < 3; i++) {
		size_t before = blobs.len;
		TRY(certificate_to_der(certificates[i], &blobs));
		TRY(put_entry(out, guids[i], 4 * sizeof(end) + before, blobs.len - before));
	}
	TRY(buf_append(out, end, sizeof(end)));
	return buf_append(out, blobs.data, blobs.len);
}

/* ---- the utility VM's endorsement ---- */

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

static skr_status uvm_open(struct emulator *e, struct uvm_signer *out)
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

static skr_status reference_info(const struct uvm_signer *signer, const struct machine *machine, struct buf *out)
{
	auto_buf measurement = BUF(128), payload = BUF(512);
	TRY(hex_encode(machine->endorsed_measurement, sizeof(machine->endorsed_measurement), &measurement));
	TRY(buf_printf(&payload,
	               "{\n  \"x-ms-sevsnpvm-guestsvn\": \"%u\",\n  \"x-ms-sevsnpvm-launchmeasurement\": \"%s\"\n}",
	               machine->svn, buf_text(&measurement)));
	const struct cose_plan plan = {
	    .key = signer->key,
	    .algorithm = COSE_PS384,
	    .chain = signer->chain,
	    .eku = strcmp(machine->feed, "ConfAKS-AMD-UVM") == 0 ? UVM_EKU_KATA : UVM_EKU_ACI,
	    .feed = machine->feed,
	    .payload = buf_text(&payload),
	    .signing_time = time(NULL),
	};
	return cose_sign(&plan, out);
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
	TRY(reference_info(&e->hardware->uvm, m, &info));
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
	return write_security_context(e, state);
}

/* ---- settings ---- */

enum setting_kind { SET_BOOL, SET_NUMBER, SET_HEX, SET_TEXT };

struct setting {
	const char *name;
	enum setting_kind kind;
	size_t offset, size; /* of the member of struct machine */
};

#define SETTING(name_, kind_)                                                                           \
	{                                                                                               \
#name_, kind_, offsetof(struct machine, name_), sizeof(((struct machine *)NULL)->name_) \
	}

static const struct setting settings[] = {
    SETTING(version, SET_NUMBER),
    SETTING(guest_svn, SET_NUMBER),
    SETTING(svn, SET_NUMBER),
    SETTING(debug, SET_BOOL),
    SETTING(migration, SET_BOOL),
    SETTING(smt, SET_BOOL),
    SETTING(mask_chip_id, SET_BOOL),
    SETTING(certificate_table, SET_BOOL),
    SETTING(accept_real_amd, SET_BOOL),
    SETTING(certs_with_numbers, SET_BOOL),
    SETTING(token_lifetime, SET_NUMBER),
    SETTING(family_id, SET_HEX),
    SETTING(image_id, SET_HEX),
    SETTING(measurement, SET_HEX),
    SETTING(endorsed_measurement, SET_HEX),
    SETTING(host_data, SET_HEX),
    SETTING(feed, SET_TEXT),
    SETTING(security_policy, SET_TEXT),
};

static skr_status set_bool(const struct setting *s, const json *value, void *place)
{
	if (json_kind(value) != JSON_BOOL)
		return FAIL(213, "%s is not true or false", s->name);
	*(bool *)place = json_is_true(value);
	return OK;
}

static skr_status set_number(const struct setting *s, const json *value, void *place)
{
	int64_t number;
	if (json_number(value, &number).failure || number < 0 || number > UINT32_MAX)
		return FAIL(213, "%s is not a number of 32 bits", s->name);
	*(uint32_t *)place = (uint32_t)number;
	return OK;
}

static skr_status set_hex(const struct setting *s, const json *value, void *place)
{
	const char *text = json_text(value);
	auto_buf bytes = BUF(64);
	if (!text || hex_decode(text, strlen(text), &bytes).failure || bytes.len != s->size)
		return FAIL(213, "%s is not a text of %zu hexadecimal digits", s->name, 2 * s->size);
	memcpy(place, bytes.data, s->size);
	return OK;
}

static skr_status set_text(const struct setting *s, const json *value, void *place)
{
	const char *text = json_text(value);
	if (!text || strlen(text) >= s->size)
		return FAIL(213, "%s is not a text of less than %zu bytes", s->name, s->size);
	memset(place, 0, s->size);
	memcpy(place, text, strlen(text));
	return OK;
}

static skr_status set_level(const json *object, const char *name, uint8_t *level)
{
	int64_t number = *level;
	if (json_get(object, name))
		TRY(json_integer(object, name, false, &number));
	if (number < 0 || number > 255)
		return FAIL(213, "tcb: %s is not a number 0 to 255", name);
	*level = (uint8_t)number;
	return OK;
}

/* As THIM writes it, or level by level; levels that are not named stay. */
static skr_status set_tcb(enum product product, const json *value, struct tcb *tcb)
{
	const char *text = json_text(value);
	if (text) {
		uint8_t bytes[8];
		auto_buf number = BUF(8);
		if (hex_decode(text, strlen(text), &number).failure || number.len != sizeof(bytes))
			return FAIL(213, "tcb is not a text of 16 hexadecimal digits");
		for (int i = 0; i < 8; i++)
			bytes[i] = number.data[7 - i];
		*tcb = tcb_read(product, bytes);
		return OK;
	}
	if (json_kind(value) != JSON_OBJECT)
		return FAIL(213, "tcb is neither 16 hexadecimal digits nor an object of levels");
	TRY(set_level(value, "fmc", &tcb->fmc));
	TRY(set_level(value, "bootloader", &tcb->bootloader));
	TRY(set_level(value, "tee", &tcb->tee));
	TRY(set_level(value, "snp", &tcb->snp));
	return set_level(value, "microcode", &tcb->microcode);
}

static skr_status set_other_tcb(const struct machine *m, const json *value, bool *differs, struct tcb *tcb)
{
	*differs = json_kind(value) != JSON_NULL;
	*tcb = m->tcb;
	return *differs ? set_tcb(m->product, value, tcb) : OK;
}

static void set_product(struct machine *m, enum product product)
{
	static const struct {
		uint32_t version;
		struct tcb tcb;
	} usual[] = {
	    [PRODUCT_MILAN] = {3, {.bootloader = 3, .tee = 0, .snp = 8, .microcode = 0x73}},
	    [PRODUCT_GENOA] = {3, {.bootloader = 9, .tee = 0, .snp = 20, .microcode = 0x48}},
	    [PRODUCT_TURIN] = {5, {.fmc = 1, .bootloader = 1, .tee = 1, .snp = 4, .microcode = 0x51}},
	};
	m->product = product;
	m->version = usual[product].version;
	m->tcb = usual[product].tcb;
	m->thim_differs = m->context_differs = false;
}

static skr_status set_member(struct machine *m, const json *member)
{
	static skr_status (*const setters[])(const struct setting *, const json *, void *) = {
	    [SET_BOOL] = set_bool, [SET_NUMBER] = set_number, [SET_HEX] = set_hex, [SET_TEXT] = set_text};
	const char *name = json_name(member);

	if (strcmp(name, "product") == 0 || strcmp(name, "tcb") == 0)
		return OK; /* the others depend on them: set before */
	if (strcmp(name, "thim_tcb") == 0)
		return set_other_tcb(m, member, &m->thim_differs, &m->thim_tcb);
	if (strcmp(name, "context_tcb") == 0)
		return set_other_tcb(m, member, &m->context_differs, &m->context_tcb);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (strcmp(name, settings[i].name) == 0)
			return setters[settings[i].kind](&settings[i], member, (uint8_t *)m + settings[i].offset);
	return FAIL(213, "the machine has no setting %s", name);
}

static skr_status follow_policy(struct machine *m)
{
	return sha256(m->security_policy, strlen(m->security_policy), m->host_data);
}

static skr_status machine_set(struct machine *m, const json *request)
{
	const json *product = json_get(request, "product");
	enum product chosen;
	if (json_kind(request) != JSON_OBJECT)
		return FAIL(213, "the machine's settings are not an object");
	if (product && (!json_text(product) || !product_of_name(json_text(product), &chosen)))
		return FAIL(213, "product is none of Milan, Genoa, Turin");
	if (product)
		set_product(m, chosen);
	if (json_get(request, "tcb"))
		TRY(set_tcb(m->product, json_get(request, "tcb"), &m->tcb));

	for (const json *member = json_first(request); member; member = json_next(member))
		TRY(set_member(m, member));
	if (json_get(request, "measurement") && !json_get(request, "endorsed_measurement"))
		memcpy(m->endorsed_measurement, m->measurement, sizeof(m->measurement));
	if (json_get(request, "security_policy") && !json_get(request, "host_data"))
		TRY(follow_policy(m));
	return OK;
}

/* What allows everything, in the words of the confidential container tools. */
static const char default_policy[] = "package policy\n\n"
                                     "api_version := \"0.10.0\"\n\n"
                                     "mount_device := {\"allowed\": true}\n"
                                     "create_container := {\"allowed\": true}\n"
                                     "exec_in_container := {\"allowed\": true}\n";

static skr_status machine_default(struct machine *m)
{
	set_product(m, PRODUCT_MILAN);
	m->guest_svn = 2;
	m->svn = 100;
	m->token_lifetime = 8 * 60 * 60;
	m->smt = true;
	m->family_id[0] = 1;
	m->image_id[0] = 2;
	snprintf(m->feed, sizeof(m->feed), "ContainerPlat-AMD-UVM");
	snprintf(m->security_policy, sizeof(m->security_policy), "%s", default_policy);
	if (!EVP_Q_digest(ossl, "SHA384", NULL, "skr-emulator utility VM", 23, m->measurement, NULL))
		return ossl_fail(599, "the measurement");
	memcpy(m->endorsed_measurement, m->measurement, sizeof(m->measurement));
	return follow_policy(m);
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
	TRY(vcek_open(e, &s->amd, m->product, m->tcb, &s->vcek));
	TRY(vcek_open(e, &s->amd, m->product, m->thim_differs ? m->thim_tcb : m->tcb, &s->thim));
	return vcek_open(e, &s->amd, m->product, m->context_differs ? m->context_tcb : m->tcb, &s->context);
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
		TRY(machine_default(&fresh->machine));
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
	    .certs_with_numbers = m->certs_with_numbers,
	    .token_lifetime = m->token_lifetime,
	};
	X509_up_ref(rules.ark);
	pthread_mutex_unlock(&h->lock);

	memcpy(rules.uvm_roots[0], h->uvm.root, 32);
	memcpy(rules.uvm_roots[1], real.data, 32);
	*ret = rules;
	return OK;
}

/* ---- DIR/hardware.sock ---- */

static bool receive_all(int fd, void *data, size_t len)
{
	for (uint8_t *at = data; len > 0;) {
		ssize_t n = recv(fd, at, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static bool send_all(int fd, const void *data, size_t len)
{
	for (const uint8_t *at = data; len > 0;) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

#define FIRMWARE_INVALID_PARAMETER 0x16

static void answer(struct emulator *e, int fd, const struct guest_request *request)
{
	struct guest_answer answer = {.magic = GUEST_PROTOCOL_MAGIC, .status = FIRMWARE_INVALID_PARAMETER};
	uint8_t report[REPORT_SIZE];
	auto_buf table = BUF(TABLE_LIMIT);

	bool asked_well = request->kind == GUEST_REPORT && request->vmpl <= 3;
	if (asked_well && !hardware_report(e, request->report_data, request->vmpl, report).failure &&
	    !hardware_certificate_table(e, &table).failure) {
		answer.status = 0;
		answer.report_len = REPORT_SIZE;
		answer.table_len = (uint32_t)table.len;
	}
	if (send_all(fd, &answer, sizeof(answer)) && send_all(fd, report, answer.report_len))
		send_all(fd, table.data, answer.table_len);
}

static void serve_one(struct emulator *e, int fd)
{
	const struct timeval patience = {.tv_sec = 5};
	struct guest_request request;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (receive_all(fd, &request, sizeof(request)) && request.magic == GUEST_PROTOCOL_MAGIC)
		answer(e, fd, &request);
}

/* One guest at a time, as the secure processor has one mailbox. */
static void *serve(void *argument)
{
	struct emulator *e = argument;
	struct hardware *h = e->hardware;
	struct pollfd watched[2] = {{.fd = h->listener, .events = POLLIN}, {.fd = h->stop, .events = POLLIN}};

	for (;;) {
		if (poll(watched, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (watched[1].revents)
			return NULL;
		int fd = watched[0].revents ? accept4(h->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
		if (fd < 0)
			continue;
		serve_one(e, fd);
		close(fd);
	}
}

static skr_status socket_address(const struct emulator *e, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	int len = snprintf(out->sun_path, sizeof(out->sun_path), "%s/hardware.sock", e->dir);
	if (len < 0 || (size_t)len >= sizeof(out->sun_path))
		return FAIL(17, "%s/hardware.sock is longer than a unix socket's name may be, %zu bytes", e->dir,
		            sizeof(out->sun_path) - 1);
	return OK;
}

static skr_status socket_open(struct emulator *e)
{
	struct hardware *h = e->hardware;
	struct sockaddr_un address;
	TRY(socket_address(e, &address));
	unlink(address.sun_path);

	h->stop = eventfd(0, EFD_CLOEXEC);
	h->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->stop < 0 || h->listener < 0 ||
	    bind(h->listener, (const struct sockaddr *)&address, sizeof(address)) != 0 || listen(h->listener, 64) != 0)
		return FAIL(17, "listen on %s: %s", address.sun_path, strerror(errno));
	int error = pthread_create(&h->server, NULL, serve, e);
	if (error)
		return FAIL(599, "a thread for %s: %s", address.sun_path, strerror(error));
	h->serving = true;
	return OK;
}

static void socket_close(struct emulator *e)
{
	struct hardware *h = e->hardware;
	struct sockaddr_un address;

	if (h->serving) {
		eventfd_write(h->stop, 1);
		pthread_join(h->server, NULL);
		if (!socket_address(e, &address).failure)
			unlink(address.sun_path);
	}
	if (h->listener >= 0)
		close(h->listener);
	if (h->stop >= 0)
		close(h->stop);
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
	return socket_open(e);
}

skr_status hardware_open(struct emulator *e)
{
	struct hardware *h = calloc(1, sizeof(*h));
	if (!h)
		return FAIL(14, "no memory for the machine");
	pthread_mutex_init(&h->lock, NULL);
	h->listener = h->stop = -1;
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
	socket_close(e);
	state_free(h->state);
	EVP_PKEY_free(h->uvm.key);
	sk_X509_pop_free(h->uvm.chain, X509_free);
	pthread_mutex_destroy(&h->lock);
	free(h);
	e->hardware = NULL;
}
