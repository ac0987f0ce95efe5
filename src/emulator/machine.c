/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/machine.h"

#include "base/base64.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ---- kinds ---- */

/* clang-format off */
static const struct machine_traits kinds[] = {
	[MACHINE_CONTAINER]      = {"container",      "sev-guest",     "auto",           "Standard_DC4as_cc_v5", .container = true},
	[MACHINE_CVM_SNP]        = {"cvm-snp",        "tpm,event-log", "auto",           "Standard_DC4as_v5",    .tpm = true},
	[MACHINE_CVM_TDX]        = {"cvm-tdx",        "tpm,event-log", "auto",           "Standard_DC4es_v5",    .tpm = true},
	[MACHINE_TRUSTED_LAUNCH] = {"trusted-launch", "tpm,event-log", "trusted-launch", "Standard_D4s_v5",      .tpm = true},
	[MACHINE_TDX]            = {"tdx",            "configfs-tdx",  "auto",           "Standard_DC4es_v6",    .tpm = false},
	[MACHINE_SIDECAR]        = {"sidecar",        "none",          "sidecar",        "Standard_DC4as_cc_v5", .container = true},
};
/* clang-format on */
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

const struct machine_traits *machine_traits(enum machine_kind kind)
{
	return &kinds[kind];
}

bool machine_kind_of_name(const char *name, enum machine_kind *ret)
{
	for (size_t i = 0; i < KINDS; i++) {
		if (strcmp(kinds[i].name, name) == 0) {
			*ret = (enum machine_kind)i;
			return true;
		}
	}
	return false;
}

const char *machine_kind_names(void)
{
	return "container, cvm-snp, cvm-tdx, trusted-launch, tdx, sidecar";
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

#define TD_SETTING(name_, kind_, member_)                                                                              \
	{                                                                                                              \
		"td_" name_, kind_, offsetof(struct machine, td.member_), sizeof(((struct machine *)NULL)->td.member_) \
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
    SETTING(accept_real_intel, SET_BOOL),
    SETTING(certs_with_numbers, SET_BOOL),
    SETTING(secure_boot_without_log, SET_BOOL),
    SETTING(token_lifetime, SET_NUMBER),
    SETTING(family_id, SET_HEX),
    SETTING(image_id, SET_HEX),
    SETTING(measurement, SET_HEX),
    SETTING(endorsed_measurement, SET_HEX),
    SETTING(id_key_digest, SET_HEX),
    SETTING(host_data, SET_HEX),
    SETTING(feed, SET_TEXT),
    SETTING(security_policy, SET_TEXT),
    TD_SETTING("debug", SET_BOOL, debug),
    TD_SETTING("attributes", SET_HEX, attributes),
    TD_SETTING("xfam", SET_HEX, xfam),
    TD_SETTING("tee_tcb_svn", SET_HEX, tee_tcb_svn),
    TD_SETTING("mrseam", SET_HEX, mrseam),
    TD_SETTING("mrsignerseam", SET_HEX, mrsignerseam),
    TD_SETTING("mrtd", SET_HEX, mrtd),
    TD_SETTING("mrconfigid", SET_HEX, mrconfigid),
    TD_SETTING("mrowner", SET_HEX, mrowner),
    TD_SETTING("mrownerconfig", SET_HEX, mrownerconfig),
    TD_SETTING("rtmr0", SET_HEX, rtmr[0]),
    TD_SETTING("rtmr1", SET_HEX, rtmr[1]),
    TD_SETTING("rtmr2", SET_HEX, rtmr[2]),
    TD_SETTING("rtmr3", SET_HEX, rtmr[3]),
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

skr_status machine_set(struct machine *m, const json *request)
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

static skr_status digest_of(const char *text, uint8_t out[48])
{
	if (!EVP_Q_digest(ossl, "SHA384", NULL, text, strlen(text), out, NULL))
		return ossl_fail(599, "the measurement");
	return OK;
}

/* A utility VM: Microsoft endorses its measurement, and HOST_DATA is the policy of its containers. */
static skr_status container_default(struct machine *m)
{
	m->guest_svn = 2;
	m->svn = 100;
	snprintf(m->feed, sizeof(m->feed), "ContainerPlat-AMD-UVM");
	snprintf(m->security_policy, sizeof(m->security_policy), "%s", default_policy);
	TRY(digest_of("skr-emulator utility VM", m->measurement));
	return follow_policy(m);
}

/* A paravisor: its image is signed by a key whose digest stands in the report. */
static skr_status vm_default(struct machine *m)
{
	m->guest_svn = 12;
	TRY(digest_of("skr-emulator paravisor's signer", m->id_key_digest));
	return digest_of("skr-emulator paravisor", m->measurement);
}

/* A paravisor's TD as on Azure: what the paravisor does not use is zero. */
static skr_status default_td(struct td *td)
{
	static const uint8_t xfam[8] = {0xe7, 0x18, 0x06}, svn[16] = {0x07, 0x01, 0x03};
	td->attributes[3] = 0x10; /* SEPT_VE_DISABLE */
	memcpy(td->xfam, xfam, sizeof(xfam));
	memcpy(td->tee_tcb_svn, svn, sizeof(svn));
	TRY(digest_of("skr-emulator TDX module", td->mrseam));
	return digest_of("skr-emulator paravisor", td->mrtd);
}

skr_status machine_default(enum machine_kind kind, struct machine *m)
{
	set_product(m, PRODUCT_MILAN);
	m->token_lifetime = 8 * 60 * 60;
	m->smt = true;
	m->family_id[0] = 1;
	m->image_id[0] = 2;
	TRY(machine_traits(kind)->container ? container_default(m) : vm_default(m));
	memcpy(m->endorsed_measurement, m->measurement, sizeof(m->measurement));
	return default_td(&m->td);
}
