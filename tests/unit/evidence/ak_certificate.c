/* SPDX-License-Identifier: Apache-2.0 */
/* The attestation key's certificate: its length among zeros, its state (SKR-146, SKR-148). */
#include "evidence/ak_certificate.h"
#include "cvm_vectors.h"

#include <openssl/x509v3.h>

#define DAY 86400

static int start(void **state)
{
	(void)state;
	assert_ok(ossl_open());
	return 0;
}

/* The certificate of a real Trusted Launch VM, valid from 2024-02-07 to 2025-10-30. */
static void read_captured(struct buf *out)
{
	auto_buf bytes = BUF(16 * 1024);
	auto_json *info = NULL;
	const char *text;

	read_cvm("trustedlaunch-azureguest/TpmInfo.json", &bytes);
	assert_ok(json_parse(bytes.data, bytes.len, &info));
	assert_ok(json_string(info, "AikCert", &text));
	assert_ok(base64_decode(text, strlen(text), out));
}

#define END 1761782400 /* 2025-10-30 00:00:00 UTC */

static void a_captured_certificate_is_read(void **state)
{
	(void)state;
	auto_buf der = BUF(4096);
	auto_ak_certificate certificate = {0};
	size_t len;

	read_captured(&der);
	assert_int_equal(der.len, 991);
	assert_ok(ak_certificate_length(der.data, der.len, 4096, &len));
	assert_int_equal(len, 991);
	assert_ok(ak_certificate_read(der.data, der.len, END - 100 * DAY, &certificate));
	assert_string_equal(certificate.issuer, "CN=Global Virtual TPM CA - 01");
	assert_int_equal(certificate.state, AK_CERTIFICATE_GOOD);
	assert_int_equal(certificate.days, 100);
	assert_int_equal(EVP_PKEY_get_bits(certificate.key), 2048);
}

static void its_state_is_one_of_the_day(void **state)
{
	(void)state;
	static const struct {
		time_t now;
		enum ak_certificate_state state;
		int days;
	} cases[] = {
	    {END - 31 * DAY, AK_CERTIFICATE_GOOD, 31},
	    {END - 30 * DAY, AK_CERTIFICATE_GOOD, 30},
	    {END - 30 * DAY + 1, AK_CERTIFICATE_EXPIRES_SOON, 29},
	    {END - 1, AK_CERTIFICATE_EXPIRES_SOON, 0},
	    {END + 1, AK_CERTIFICATE_EXPIRED, 0},
	    {END + 10 * DAY, AK_CERTIFICATE_EXPIRED, -10},
	};
	auto_buf der = BUF(4096);

	read_captured(&der);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		auto_ak_certificate certificate = {0};
		assert_ok(ak_certificate_read(der.data, der.len, cases[i].now, &certificate));
		assert_int_equal(certificate.state, cases[i].state);
		assert_int_equal(certificate.days, cases[i].days);
	}
}

static void zeros_behind_it_are_not_part_of_it(void **state)
{
	(void)state;
	auto_buf der = BUF(4096);
	uint8_t index[4096] = {0};
	size_t len;

	read_captured(&der);
	memcpy(index, der.data, der.len);
	assert_ok(ak_certificate_length(index, 1024, sizeof(index), &len));
	assert_int_equal(len, der.len);
	assert_ok(ak_certificate_length(index, 4, der.len, &len));
	assert_fails(ak_certificate_length(index, 4, der.len - 1, &len), 137, "says it has 991 bytes, there are 990");
}

static void what_is_no_certificate_is_told_from_one_that_is_still_to_come(void **state)
{
	(void)state;
	static const uint8_t zeros[1024], text[] = "certificate", small[] = {0x30, 0x81, 0x80, 0};
	auto_buf der = BUF(4096);
	auto_ak_certificate certificate = {0};
	size_t len = 77;

	assert_fails(ak_certificate_length(zeros, sizeof(zeros), sizeof(zeros), &len), 146, "zeros");
	assert_fails(ak_certificate_length(text, sizeof(text), sizeof(text), &len), 137, "begin");
	assert_fails(ak_certificate_length(small, sizeof(small), 4096, &len), 137, "begin");
	assert_fails(ak_certificate_length(zeros, 3, 3, &len), 137, "begin");
	assert_int_equal(len, 77);

	read_captured(&der);
	assert_fails(ak_certificate_read(der.data, der.len - 1, END, &certificate), 137, "");
	assert_ok(buf_append(&der, "", 1));
	assert_fails(ak_certificate_read(der.data, der.len, END, &certificate), 137, "");
	der.data[4] ^= 0xff;
	assert_fails(ak_certificate_read(der.data, der.len - 1, END, &certificate), 137, "");
	assert_null(certificate.key);
}

static void by_issuer(const char *const *names, uint8_t **ret_der, int *ret_len)
{
	auto_pkey *key = EVP_PKEY_Q_keygen(ossl, NULL, "EC", "P-256");
	auto_x509 *certificate = X509_new_ex(ossl, NULL);
	X509_NAME *issuer = X509_NAME_new();

	for (; names[0]; names += 2)
		X509_NAME_add_entry_by_txt(issuer, names[0], MBSTRING_ASC, (const uint8_t *)names[1], -1, -1, 0);
	X509_set_issuer_name(certificate, issuer);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 1000000);
	X509_set_pubkey(certificate, key);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	X509_NAME_free(issuer);
	*ret_der = NULL;
	*ret_len = i2d_X509(certificate, ret_der);
}

static void the_one_of_before_is_known_by_its_issuer(void **state)
{
	(void)state;
	static const struct {
		const char *names[6];
		int failure;
		const char *issuer;
	} cases[] = {
	    {{"CN", "MICROSOFT AZURE TRUSTED VM RSA"}, 146, ""},
	    {{"CN", "MICROSOFT AZURE TRUSTED VM RSA 2022", "O", "Microsoft"}, 146, ""},
	    {{"CN", "Global Virtual TPM CA - 03"}, 0, "CN=Global Virtual TPM CA - 03"},
	    {{"C", "US", "O", "Microsoft", "CN", "Azure Cloud Virtual TPM CA - 11"},
	     0,
	     "CN=Azure Cloud Virtual TPM CA - 11,O=Microsoft,C=US"},
	    {{"CN", "MICROSOFT AZURE"}, 0, "CN=MICROSOFT AZURE"},
	    {{"O", "MICROSOFT AZURE TRUSTED VM RSA"}, 0, "O=MICROSOFT AZURE TRUSTED VM RSA"},
	    {{NULL}, 0, ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		auto_ak_certificate certificate = {0};
		uint8_t *der;
		int len;
		const char *names[7] = {NULL};
		memcpy(names, cases[i].names, sizeof(cases[i].names));
		by_issuer(names, &der, &len);
		assert_fails(ak_certificate_read(der, (size_t)len, time(NULL), &certificate), cases[i].failure,
		             cases[i].failure ? "MICROSOFT AZURE TRUSTED VM RSA" : "");
		if (!cases[i].failure)
			assert_string_equal(certificate.issuer, cases[i].issuer);
		OPENSSL_free(der);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_captured_certificate_is_read),
	    cmocka_unit_test(its_state_is_one_of_the_day),
	    cmocka_unit_test(zeros_behind_it_are_not_part_of_it),
	    cmocka_unit_test(what_is_no_certificate_is_told_from_one_that_is_still_to_come),
	    cmocka_unit_test(the_one_of_before_is_known_by_its_issuer),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
