/* SPDX-License-Identifier: Apache-2.0 */
#include "surroundings.h"

#include <openssl/x509v3.h>

#include <sys/stat.h>

static int open_authority(void **state)
{
	(void)state;
	return make_directory() || authority_open(&emulator).failure ? -1 : 0;
}

static int close_authority(void **state)
{
	(void)state;
	authority_close(&emulator);
	remove_files(test_directory);
	return 0;
}

/* X509_V_OK, or why a client that trusts ca.pem refuses the chain for `host`. */
static int verdict(const struct credential *credential, const char *host)
{
	auto_buf pem = BUF(PEM_LIMIT);
	auto_x509s *roots = NULL;
	assert_ok(emulator_read(&emulator, "ca.pem", &pem));
	assert_ok(certificates_from_pem(pem.data, pem.len, &roots));

	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new_ex(ossl, NULL);
	X509_STORE_add_cert(store, sk_X509_value(roots, 0));
	assert_int_equal(X509_STORE_CTX_init(ctx, store, sk_X509_value(credential->chain, 0), credential->chain), 1);
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_auth_level(param, 2);
	X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
	if (host && X509_VERIFY_PARAM_set1_ip_asc(param, host) != 1)
		X509_VERIFY_PARAM_set1_host(param, host, 0);
	int error = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return error;
}

static void tls_leaf_is_good_for_every_name_of_the_contract(void **state)
{
	static const char *const hosts[] = {"contoso.vault.localhost",
	                                    "contoso.managedhsm.localhost",
	                                    "sharedemu.attest.localhost",
	                                    "login.localhost",
	                                    "localhost",
	                                    "127.0.0.1",
	                                    "::1",
	                                    "contoso.vault.azure.net",
	                                    "contoso.managedhsm.azure.net",
	                                    "login.microsoftonline.com",
	                                    "sharedneu.neu.attest.azure.net",
	                                    "mine.sasia.attest.azure.net"};
	(void)state;
	const struct credential *credential;
	assert_ok(authority_tls(&emulator, LEAF_GOOD, &credential));
	assert_int_equal(sk_X509_num(credential->chain), 3);
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		if (verdict(credential, hosts[i]) != X509_V_OK)
			fail_msg("%s: %s", hosts[i], X509_verify_cert_error_string(verdict(credential, hosts[i])));
	assert_int_not_equal(verdict(credential, "vault.example"), X509_V_OK);
}

static void wrong_leaves_are_wrong_in_their_one_way(void **state)
{
	static const struct {
		enum leaf leaf;
		int error;
	} rows[] = {
	    {LEAF_EXPIRED, X509_V_ERR_CERT_HAS_EXPIRED},
	    {LEAF_NOT_YET, X509_V_ERR_CERT_NOT_YET_VALID},
	    {LEAF_SELF_SIGNED, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT},
	    {LEAF_WRONG_NAME, X509_V_ERR_HOSTNAME_MISMATCH},
	    {LEAF_UNKNOWN_CA, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN},
	    {LEAF_WEAK_KEY, X509_V_ERR_EE_KEY_TOO_SMALL},
	    {LEAF_SHA1, X509_V_ERR_CA_MD_TOO_WEAK},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct credential *tls, *release;
		assert_ok(authority_tls(&emulator, rows[i].leaf, &tls));
		assert_ok(authority_release(&emulator, "contoso.vault.localhost", rows[i].leaf, &release));
		int tls_error = verdict(tls, "contoso.vault.localhost");
		int release_error = verdict(release, "contoso.vault.localhost");
		if (tls_error != rows[i].error || release_error != rows[i].error)
			fail_msg("leaf %d: TLS %s, release %s", (int)rows[i].leaf,
			         X509_verify_cert_error_string(tls_error),
			         X509_verify_cert_error_string(release_error));
	}
}

static void wrong_signers_but_the_weak_one_sign_with_the_good_key(void **state)
{
	(void)state;
	const struct credential *good, *unknown, *weak;
	assert_ok(authority_release(&emulator, "contoso.vault.localhost", LEAF_GOOD, &good));
	assert_ok(authority_release(&emulator, "contoso.vault.localhost", LEAF_UNKNOWN_CA, &unknown));
	assert_ok(authority_release(&emulator, "contoso.vault.localhost", LEAF_WEAK_KEY, &weak));
	assert_int_equal(EVP_PKEY_eq(good->key, unknown->key), 1);
	assert_int_equal(EVP_PKEY_get_bits(good->key), 2048);
	assert_int_equal(EVP_PKEY_get_bits(weak->key), 1024);
}

static void release_leaves_carry_the_names_of_recorded_ones(void **state)
{
	static const struct {
		const char *host, *common, *covers, *not_covers;
	} rows[] = {
	    {"contoso.vault.localhost", "vault.localhost", "other.vault.localhost", "contoso.managedhsm.localhost"},
	    {"contoso.vault.localhost", "vault.localhost", "contoso.vaultcore.localhost", "vault.azure.net"},
	    {"contoso.vault.azure.net", "vault.azure.net", "vault.azure.net", "contoso.vault.localhost"},
	    {"contoso.managedhsm.localhost", "*.contoso.managedhsm.localhost", "contoso.managedhsm.localhost",
	     "fabrikam.managedhsm.localhost"},
	    {"127.0.0.1", "localhost", "127.0.0.1", "contoso.vault.localhost"},
	    {"[::1]", "localhost", "::1", "contoso.vault.localhost"},
	    {"localhost", "localhost", "127.0.0.1", "contoso.vault.localhost"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct credential *credential;
		char common[80] = "";
		assert_ok(authority_release(&emulator, rows[i].host, LEAF_GOOD, &credential));
		X509_NAME_get_text_by_NID(X509_get_subject_name(sk_X509_value(credential->chain, 0)), NID_commonName,
		                          common, sizeof(common));
		assert_string_equal(common, rows[i].common);
		assert_int_equal(verdict(credential, rows[i].covers), X509_V_OK);
		assert_int_not_equal(verdict(credential, rows[i].not_covers), X509_V_OK);
	}
}

static void one_domain_has_one_signer(void **state)
{
	(void)state;
	const struct credential *one, *other, *again;
	assert_ok(authority_release(&emulator, "contoso.vault.localhost", LEAF_GOOD, &one));
	assert_ok(authority_release(&emulator, "fabrikam.vault.localhost", LEAF_GOOD, &again));
	assert_ok(authority_release(&emulator, "fabrikam.managedhsm.localhost", LEAF_GOOD, &other));
	assert_ptr_equal(one, again);
	assert_ptr_not_equal(one, other);
}

static void a_host_that_would_leave_the_directory_is_refused(void **state)
{
	static const char *const hosts[] = {"", "../../etc/passwd", "a b.vault.localhost", "x,DNS:evil.vault.localhost",
	                                    "0123456789012345678901234567890123456789012345678901234567890123"};
	(void)state;
	const struct credential *credential;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		assert_refused(authority_release(&emulator, hosts[i], LEAF_GOOD, &credential), 599, "no certificate");
}

static void a_second_start_keeps_root_and_keys(void **state)
{
	(void)state;
	auto_buf before = BUF(PEM_LIMIT), after = BUF(PEM_LIMIT);
	const struct credential *credential;
	assert_ok(authority_release(&emulator, "contoso.vault.localhost", LEAF_GOOD, &credential));
	auto_pkey *key = credential->key;
	EVP_PKEY_up_ref(key);
	assert_ok(emulator_read(&emulator, "ca.pem", &before));

	authority_close(&emulator);
	assert_ok(authority_open(&emulator));
	assert_ok(emulator_read(&emulator, "ca.pem", &after));
	assert_string_equal(buf_text(&before), buf_text(&after));
	assert_ok(authority_release(&emulator, "contoso.vault.localhost", LEAF_GOOD, &credential));
	assert_int_equal(EVP_PKEY_eq(key, credential->key), 1);
	assert_int_equal(verdict(credential, "contoso.vault.localhost"), X509_V_OK);
}

static void a_root_that_is_gone_is_made_anew_with_all_below(void **state)
{
	(void)state;
	char path[128];
	const struct credential *credential;
	snprintf(path, sizeof(path), "%s/authority-root.key", test_directory);
	authority_close(&emulator);
	assert_int_equal(unlink(path), 0);
	assert_ok(authority_open(&emulator));
	assert_ok(authority_release(&emulator, "contoso.vault.localhost", LEAF_GOOD, &credential));
	assert_int_equal(verdict(credential, "contoso.vault.localhost"), X509_V_OK);
}

static void nobody_else_reads_the_keys(void **state)
{
	static const char *const names[] = {"authority-root.key", "authority-issuer.key", "authority-tls.key"};
	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[128];
		struct stat found;
		snprintf(path, sizeof(path), "%s/%s", test_directory, names[i]);
		assert_int_equal(stat(path, &found), 0);
		assert_int_equal(found.st_mode & 077, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tls_leaf_is_good_for_every_name_of_the_contract),
	    cmocka_unit_test(wrong_leaves_are_wrong_in_their_one_way),
	    cmocka_unit_test(wrong_signers_but_the_weak_one_sign_with_the_good_key),
	    cmocka_unit_test(release_leaves_carry_the_names_of_recorded_ones),
	    cmocka_unit_test(one_domain_has_one_signer),
	    cmocka_unit_test(a_host_that_would_leave_the_directory_is_refused),
	    cmocka_unit_test(a_second_start_keeps_root_and_keys),
	    cmocka_unit_test(a_root_that_is_gone_is_made_anew_with_all_below),
	    cmocka_unit_test(nobody_else_reads_the_keys),
	};
	return cmocka_run_group_tests(tests, open_authority, close_authority);
}
