/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Target: hcl_report_parse(), hcl_report_key(). The NV index is the vTPM's to fill. Each input is taken as it stands,
 * and once more with hashes that fit, for what lies behind them.
 */
#include "evidence/hcl.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_key(const struct hcl_report *report, const char *kid)
{
	auto_pkey *key = NULL;
	skr_status status = hcl_report_key(report, kid, &key);

	if (status.failure ? status.failure != 149 || key : !key || !EVP_PKEY_is_a(key, "RSA"))
		__builtin_trap();
}

static size_t report_data_at(enum isolation isolation)
{
	return isolation == ISOLATION_TDX ? 128 : 0x50;
}

static void parse(const uint8_t *data, size_t size)
{
	static const uint8_t zeros[64];
	uint8_t digest[32];
	auto_hcl_report report = {0};
	skr_status status = hcl_report_parse(data, size, &report);

	if (status.failure) {
		if ((status.failure != 149 && status.failure != 134) || report.tree || report.claims.data)
			__builtin_trap(); /* a refusal hands nothing out */
		return;
	}
	if (report.isolation != ISOLATION_SNP && report.isolation != ISOLATION_TDX)
		__builtin_trap();
	const uint8_t *report_data = report.hardware + report_data_at(report.isolation);
	if (report.claims.len > size || sha256(report.claims.data, report.claims.len, digest).failure ||
	    memcmp(digest, report_data, 32) != 0 || memcmp(zeros, report_data + 32, 32) != 0)
		__builtin_trap();
	if (!report.has_user_data && memcmp(report.user_data, zeros, sizeof(zeros)) != 0)
		__builtin_trap();
	check_key(&report, "HCLAkPub");
	check_key(&report, "HCLEkPub");
}

static void fit(uint8_t *report, size_t size)
{
	uint32_t claims = (uint32_t)report[1232] | (uint32_t)report[1233] << 8;
	uint8_t *hardware = report + 32;
	enum isolation isolation = report[1224] == 4 ? ISOLATION_TDX : ISOLATION_SNP;

	if (claims > size - 1236)
		return;
	if (sha256(report + 1236, claims, hardware + report_data_at(isolation)).failure)
		__builtin_trap();
	if (isolation != ISOLATION_TDX)
		return;
	if (!EVP_Q_digest(ossl, "SHA384", NULL, hardware + 256, 239, hardware + 32, NULL) ||
	    !EVP_Q_digest(ossl, "SHA384", NULL, hardware + 512, 512, hardware + 80, NULL))
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t copy[HCL_REPORT_LIMIT];

	if (ossl_open().failure)
		__builtin_trap();
	parse(data, size);
	if (size < 1236 || size > sizeof(copy))
		return 0;
	memcpy(copy, data, size);
	fit(copy, size);
	parse(copy, size);
	return 0;
}
