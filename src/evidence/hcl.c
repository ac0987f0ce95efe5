/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/hcl.h"

#include "base/base64.h"
#include "jose/jwk.h"

#include <inttypes.h>
#include <string.h>

/* The header of 32 bytes, the hardware report, the header of the claims, the claims. */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 4, /* report_size at 8 is not read: some count the header into it, and nothing depends on it */
	AT_HARDWARE = 32,
	AT_DATA_SIZE = 1216,
	AT_DATA_VERSION = 1220,
	AT_REPORT_TYPE = 1224,
	AT_HASH_TYPE = 1228,
	AT_CLAIMS_SIZE = 1232,
	AT_CLAIMS = 1236,
	DATA_HEADER_SIZE = AT_CLAIMS - AT_DATA_SIZE,
};

enum { REPORT_TYPE_VBS = 1, REPORT_TYPE_SNP = 2, REPORT_TYPE_TRUSTED_VM = 3, REPORT_TYPE_TDX = 4 };

#define HASH_TYPE_SHA256 1

/* In the SNP report, AMD 56860 table 22. */
#define SNP_REPORT_DATA 0x50

/* In TDREPORT: REPORTMACSTRUCT, TEE_TCB_INFO, TDINFO_STRUCT (Intel TDX module ABI specification). */
enum {
	TD_REPORT_TYPE = 0,
	TD_TCB_INFO_HASH = 32,
	TD_INFO_HASH = 80,
	TD_REPORT_DATA = 128,
	TD_TCB_INFO = 256,
	TD_TCB_INFO_SIZE = 239,
	TD_INFO = 512,
	TD_INFO_SIZE = 512,
	TD_TYPE = 0x81,
};

void hcl_report_done(struct hcl_report *report)
{
	buf_done(&report->claims);
	json_free(report->tree);
	*report = (struct hcl_report){0};
}

static uint32_t number_at(const uint8_t *at)
{
	return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static skr_status check_header(const uint8_t *in, size_t len)
{
	if (len > HCL_REPORT_LIMIT)
		return FAIL(149, "the paravisor's report has %zu bytes, more than %d", len, HCL_REPORT_LIMIT);
	if (len < AT_CLAIMS)
		return FAIL(149, "the paravisor's report has %zu bytes, its headers alone have %d", len, AT_CLAIMS);
	if (memcmp(in + AT_MAGIC, "HCLA", 4) != 0)
		return FAIL(149, "the paravisor's report: signature %08" PRIx32 " instead of 'HCLA'",
		            number_at(in + AT_MAGIC));
	uint32_t version = number_at(in + AT_VERSION);
	if (version != 1 && version != 2)
		return FAIL(149, "the paravisor's report: version %" PRIu32 ", neither 1 nor 2", version);
	return OK;
}

static skr_status read_isolation(const uint8_t *in, enum isolation *ret)
{
	uint32_t type = number_at(in + AT_REPORT_TYPE);

	switch (type) {
	case REPORT_TYPE_SNP:
		*ret = ISOLATION_SNP;
		return OK;
	case REPORT_TYPE_TDX:
		*ret = ISOLATION_TDX;
		return OK;
	case REPORT_TYPE_VBS:
	case REPORT_TYPE_TRUSTED_VM:
		return FAIL(134,
		            "the paravisor's report is of type %" PRIu32 " (%s): no hardware isolates this machine",
		            type, type == REPORT_TYPE_VBS ? "VBS" : "Trusted VM");
	default:
		return FAIL(149, "the paravisor's report: report type %" PRIu32 ", neither 2 (SEV-SNP) nor 4 (TDX)",
		            type);
	}
}

/* Where the claims end is said twice. */
static skr_status check_data_header(const uint8_t *in, size_t len, size_t *ret_claims_len)
{
	uint32_t version = number_at(in + AT_DATA_VERSION), hash = number_at(in + AT_HASH_TYPE);
	uint32_t data_size = number_at(in + AT_DATA_SIZE), claims_size = number_at(in + AT_CLAIMS_SIZE);

	if (version != 1) /* in 2 the claims begin elsewhere */
		return FAIL(149, "the paravisor's report: data version %" PRIu32 " instead of 1", version);
	if (hash != HASH_TYPE_SHA256)
		return FAIL(149, "the paravisor's report: hash type %" PRIu32 " instead of 1 (SHA-256)", hash);
	if (claims_size > len - AT_CLAIMS)
		return FAIL(149, "the paravisor's report: claims size %" PRIu32 ", only %zu bytes are there",
		            claims_size, len - AT_CLAIMS);
	if (data_size != claims_size + DATA_HEADER_SIZE)
		return FAIL(149, "the paravisor's report: data size %" PRIu32 " with claims size %" PRIu32, data_size,
		            claims_size);
	*ret_claims_len = claims_size;
	return OK;
}

static skr_status check_td_hash(const uint8_t *td_report, int hash_at, int at, size_t len, const char *what)
{
	uint8_t digest[48];

	if (!EVP_Q_digest(ossl, "SHA384", NULL, td_report + at, len, digest, NULL))
		return ossl_fail(599, "SHA-384");
	if (memcmp(digest, td_report + hash_at, sizeof(digest)) != 0)
		return FAIL(149, "the TD report's %s is not the one whose hash it carries", what);
	return OK;
}

/* The MAC behind it only the machine itself can check; what the MAC covers indirectly is checked here. */
static skr_status check_td_report(const uint8_t *td_report)
{
	if (td_report[TD_REPORT_TYPE] != TD_TYPE)
		return FAIL(149, "the TD report: report type 0x%02x instead of 0x81", td_report[TD_REPORT_TYPE]);
	TRY(check_td_hash(td_report, TD_TCB_INFO_HASH, TD_TCB_INFO, TD_TCB_INFO_SIZE, "TEE_TCB_INFO"));
	return check_td_hash(td_report, TD_INFO_HASH, TD_INFO, TD_INFO_SIZE, "TDINFO");
}

/* The hardware vouches for the claims by their SHA-256 and 32 zero bytes. */
static skr_status check_binding(const struct hcl_report *report)
{
	uint8_t expected[64] = {0};
	const uint8_t *report_data =
	    report->hardware + (report->isolation == ISOLATION_TDX ? TD_REPORT_DATA : SNP_REPORT_DATA);

	TRY(sha256(report->claims.data, report->claims.len, expected));
	if (memcmp(report_data, expected, 32) != 0)
		return FAIL(149, "the hardware report's report data is not the SHA-256 of the claims");
	if (memcmp(report_data + 32, expected + 32, 32) != 0)
		return FAIL(149, "the second half of the hardware report's report data is not zero");
	return OK;
}

/* Upper case on every machine seen, lower case in the paravisor's published source, absent in old ones. */
static skr_status read_user_data(struct hcl_report *report)
{
	auto_buf bytes = BUF(sizeof(report->user_data));
	const json *member = json_get(report->tree, "user-data");

	if (!member)
		return OK;
	const char *text = json_text(member);
	size_t digits = text ? strlen(text) : 0;
	if (digits != 2 * sizeof(report->user_data) || hex_decode(text, digits, &bytes).failure)
		return FAIL(149, "the paravisor's claims: user-data is not 128 hexadecimal digits");
	memcpy(report->user_data, bytes.data, sizeof(report->user_data));
	report->has_user_data = true;
	return OK;
}

static skr_status read_claims(struct hcl_report *report)
{
	if (json_parse(report->claims.data, report->claims.len, &report->tree).failure)
		return FAIL(149, "the paravisor's claims: %s", status_message());
	if (json_kind(report->tree) != JSON_OBJECT)
		return FAIL(149, "the paravisor's claims: no JSON object");
	return read_user_data(report);
}

skr_status hcl_report_parse(const void *data, size_t len, struct hcl_report *ret)
{
	const uint8_t *in = data;
	size_t claims_len;
	auto_hcl_report report = {.claims = BUF(HCL_REPORT_LIMIT)};

	TRY(check_header(in, len));
	TRY(read_isolation(in, &report.isolation));
	TRY(check_data_header(in, len, &claims_len));
	memcpy(report.hardware, in + AT_HARDWARE, sizeof(report.hardware));
	TRY(buf_append(&report.claims, in + AT_CLAIMS, claims_len));
	if (report.isolation == ISOLATION_TDX)
		TRY(check_td_report(report.hardware));
	TRY(check_binding(&report));
	TRY(read_claims(&report));
	*ret = report;
	report = (struct hcl_report){0};
	return OK;
}

skr_status hcl_report_key(const struct hcl_report *report, const char *kid, EVP_PKEY **ret)
{
	const json *found = NULL;
	auto_pkey *key = NULL;

	for (const json *jwk = json_first(json_get(report->tree, "keys")); jwk; jwk = json_next(jwk)) {
		const char *name = json_string_or_null(jwk, "kid");
		if (!name || strcmp(name, kid) != 0)
			continue;
		if (found)
			return FAIL(149, "the paravisor's claims: more than one key '%s'", kid);
		found = jwk;
	}
	if (!found)
		return FAIL(149, "the paravisor's claims: no key '%s'", kid);
	if (jwk_public_key(found, &key).failure)
		return FAIL(149, "the paravisor's claims: key '%s': %s", kid, status_message());
	if (!EVP_PKEY_is_a(key, "RSA"))
		return FAIL(149, "the paravisor's claims: key '%s' is no RSA key", kid);
	*ret = TAKE(key);
	return OK;
}
