/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every mechanism with every key it is for, through the loaded module, checked by the machine's own libcrypto: what the
 * module signs, OpenSSL verifies; what OpenSSL encrypts, the module decrypts; and the other way round.
 */
#include "support/module.h"
#include "cmocka_all.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

static const struct {
	const char *label;
	CK_KEY_TYPE type;
	int field; /* bytes of modulus or field */
} keys[] = {
    {"rsa2048", CKK_RSA, 256}, {"rsa3072", CKK_RSA, 384}, {"rsa4096", CKK_RSA, 512}, {"p256", CKK_EC, 32},
    {"p384", CKK_EC, 48},      {"p521", CKK_EC, 66},      {"p256k", CKK_EC, 32},
};
enum { KEYS = sizeof(keys) / sizeof(keys[0]) };

static CK_SESSION_HANDLE session;
static EVP_PKEY *publics[KEYS];

/* The key as OpenSSL has it, from CKA_PUBLIC_KEY_INFO of the public object. */
static EVP_PKEY *public_key(const char *label)
{
	unsigned char info[2048];
	const unsigned char *at = info;
	CK_ATTRIBUTE wanted = {CKA_PUBLIC_KEY_INFO, info, sizeof(info)};

	assert_ok(p11->C_GetAttributeValue(session, module_find(session, CKO_PUBLIC_KEY, label), &wanted, 1));
	EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)wanted.ulValueLen);
	assert_non_null(key);
	return key;
}

static int set_up(void **state)
{
	(void)state;
	module_load();
	module_initialize();
	session = module_session("skr");
	module_login(session);
	for (int i = 0; i < KEYS; i++)
		publics[i] = public_key(keys[i].label);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (int i = 0; i < KEYS; i++)
		EVP_PKEY_free(publics[i]);
	assert_ok(p11->C_Finalize(NULL));
	return 0;
}

/* r||s as PKCS#11 has it, to the DER that OpenSSL wants. */
static size_t ecdsa_to_der(const unsigned char *raw, size_t len, unsigned char *der)
{
	ECDSA_SIG *sig = ECDSA_SIG_new();

	assert_int_equal(len % 2, 0);
	ECDSA_SIG_set0(sig, BN_bin2bn(raw, (int)len / 2, NULL), BN_bin2bn(raw + len / 2, (int)len / 2, NULL));
	int der_len = i2d_ECDSA_SIG(sig, &der);
	ECDSA_SIG_free(sig);
	assert_true(der_len > 0);
	return (size_t)der_len;
}

static int openssl_verifies(EVP_PKEY *key, const char *digest, bool pss, const unsigned char *text, size_t text_len,
                            const unsigned char *signature, size_t len)
{
	unsigned char der[256];
	EVP_PKEY_CTX *how;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	assert_int_equal(EVP_DigestVerifyInit_ex(ctx, &how, digest, NULL, NULL, key, NULL), 1);
	if (pss)
		assert_true(EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) > 0);
	if (EVP_PKEY_is_a(key, "EC")) {
		len = ecdsa_to_der(signature, len, der);
		signature = der;
	}
	int verified = EVP_DigestVerify(ctx, signature, len, text, text_len);
	EVP_MD_CTX_free(ctx);
	return verified == 1;
}

struct hashing {
	const char *digest;
	CK_MECHANISM_TYPE rsa, ecdsa, pss, hash, mgf;
	CK_ULONG len;
};
static const struct hashing hashings[] = {
    {"SHA1", CKM_SHA1_RSA_PKCS, CKM_ECDSA_SHA1, 0, CKM_SHA_1, CKG_MGF1_SHA1, 20},
    {"SHA224", CKM_SHA224_RSA_PKCS, CKM_ECDSA_SHA224, 0, CKM_SHA224, CKG_MGF1_SHA224, 28},
    {"SHA256", CKM_SHA256_RSA_PKCS, CKM_ECDSA_SHA256, CKM_SHA256_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, 32},
    {"SHA384", CKM_SHA384_RSA_PKCS, CKM_ECDSA_SHA384, CKM_SHA384_RSA_PKCS_PSS, CKM_SHA384, CKG_MGF1_SHA384, 48},
    {"SHA512", CKM_SHA512_RSA_PKCS, CKM_ECDSA_SHA512, CKM_SHA512_RSA_PKCS_PSS, CKM_SHA512, CKG_MGF1_SHA512, 64},
};

static const unsigned char text[] = "what is signed, in two parts of different length";
enum { TEXT = sizeof(text) - 1, FIRST = 11 };

/* Signs text at once and in parts, checks both by OpenSSL and by C_Verify, and that a changed text is refused. */
static void both_ways(int key, CK_MECHANISM *mechanism, const char *digest, bool pss)
{
	unsigned char signature[512], parts[512], changed[TEXT];
	CK_ULONG len = sizeof(signature), parts_len = sizeof(parts), asked = 0;
	CK_OBJECT_HANDLE private = module_find(session, CKO_PRIVATE_KEY, keys[key].label),
	                 public = module_find(session, CKO_PUBLIC_KEY, keys[key].label);

	assert_ok(p11->C_SignInit(session, mechanism, private));
	assert_ok(p11->C_Sign(session, (CK_BYTE *)text, TEXT, NULL, &asked));
	assert_ok(p11->C_Sign(session, (CK_BYTE *)text, TEXT, signature, &len));
	assert_true(asked >= len);
	assert_int_equal(len, keys[key].type == CKK_RSA ? keys[key].field : 2 * keys[key].field);
	if (!openssl_verifies(publics[key], digest, pss, text, TEXT, signature, len))
		fail_msg("%s with mechanism 0x%lx: OpenSSL does not verify", keys[key].label, mechanism->mechanism);

	assert_ok(p11->C_SignInit(session, mechanism, private));
	assert_ok(p11->C_SignUpdate(session, (CK_BYTE *)text, FIRST));
	assert_ok(p11->C_SignUpdate(session, (CK_BYTE *)text + FIRST, TEXT - FIRST));
	assert_ok(p11->C_SignFinal(session, parts, &parts_len));
	assert_true(openssl_verifies(publics[key], digest, pss, text, TEXT, parts, parts_len));

	assert_ok(p11->C_VerifyInit(session, mechanism, public));
	assert_ok(p11->C_Verify(session, (CK_BYTE *)text, TEXT, parts, parts_len));
	assert_ok(p11->C_VerifyInit(session, mechanism, public));
	assert_ok(p11->C_VerifyUpdate(session, (CK_BYTE *)text, FIRST));
	assert_ok(p11->C_VerifyUpdate(session, (CK_BYTE *)text + FIRST, TEXT - FIRST));
	assert_ok(p11->C_VerifyFinal(session, signature, len));

	memcpy(changed, text, TEXT);
	changed[3] ^= 1;
	assert_ok(p11->C_VerifyInit(session, mechanism, public));
	assert_rv(p11->C_Verify(session, changed, TEXT, signature, len), CKR_SIGNATURE_INVALID);
	assert_ok(p11->C_VerifyInit(session, mechanism, public));
	assert_rv(p11->C_Verify(session, (CK_BYTE *)text, TEXT, signature, len - 1), CKR_SIGNATURE_LEN_RANGE);
}

static void hashing_mechanisms_sign_what_openssl_verifies(void **state)
{
	(void)state;
	for (int key = 0; key < KEYS; key++)
		for (size_t i = 0; i < sizeof(hashings) / sizeof(hashings[0]); i++) {
			const struct hashing *h = &hashings[i];
			CK_MECHANISM plain = {keys[key].type == CKK_RSA ? h->rsa : h->ecdsa, NULL, 0};
			both_ways(key, &plain, h->digest, false);
			if (keys[key].type != CKK_RSA || !h->pss)
				continue;
			CK_RSA_PKCS_PSS_PARAMS parameters = {h->hash, h->mgf, h->len};
			CK_MECHANISM pss = {h->pss, &parameters, sizeof(parameters)};
			both_ways(key, &pss, h->digest, true);
		}
}

static void digest_of(const char *name, unsigned char *out)
{
	assert_int_equal(EVP_Q_digest(NULL, name, NULL, text, TEXT, out, NULL), 1);
}

static void a_digest_made_by_the_caller_is_signed(void **state)
{
	(void)state;
	unsigned char hash[64], signature[512];

	digest_of("SHA256", hash);
	for (int key = 0; key < KEYS; key++) {
		CK_OBJECT_HANDLE private = module_find(session, CKO_PRIVATE_KEY, keys[key].label);
		CK_RSA_PKCS_PSS_PARAMS parameters = {CKM_SHA256, CKG_MGF1_SHA256, 32};
		CK_MECHANISM pss = {CKM_RSA_PKCS_PSS, &parameters, sizeof(parameters)}, ecdsa = {CKM_ECDSA, NULL, 0};
		CK_MECHANISM *mechanism = keys[key].type == CKK_RSA ? &pss : &ecdsa;
		CK_ULONG len = sizeof(signature);
		assert_ok(p11->C_SignInit(session, mechanism, private));
		assert_ok(p11->C_Sign(session, hash, 32, signature, &len));
		assert_true(
		    openssl_verifies(publics[key], "SHA256", keys[key].type == CKK_RSA, text, TEXT, signature, len));
	}
}

static void digest_info_made_by_the_caller_is_signed(void **state)
{
	(void)state;
	static const unsigned char prefix[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
	                                       0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
	unsigned char info[sizeof(prefix) + 32], signature[512];
	CK_MECHANISM mechanism = {CKM_RSA_PKCS, NULL, 0};

	memcpy(info, prefix, sizeof(prefix));
	digest_of("SHA256", info + sizeof(prefix));
	for (int key = 0; key < 3; key++) {
		CK_ULONG len = sizeof(signature);
		assert_ok(p11->C_SignInit(session, &mechanism, module_find(session, CKO_PRIVATE_KEY, keys[key].label)));
		assert_ok(p11->C_Sign(session, info, sizeof(info), signature, &len));
		assert_true(openssl_verifies(publics[key], "SHA256", false, text, TEXT, signature, len));
	}
}

static size_t openssl_encrypts(EVP_PKEY *key, int padding, const char *digest, const char *label, unsigned char *out)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	size_t len = 512;

	assert_true(EVP_PKEY_encrypt_init(ctx) > 0 && EVP_PKEY_CTX_set_rsa_padding(ctx, padding) > 0);
	if (digest) {
		assert_true(EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, digest, NULL) > 0);
		assert_true(EVP_PKEY_CTX_set_rsa_mgf1_md_name(ctx, digest, NULL) > 0);
		if (label)
			assert_true(EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, OPENSSL_strdup(label), (int)strlen(label)) >
			            0);
	}
	assert_true(EVP_PKEY_encrypt(ctx, out, &len, text, 20) > 0);
	EVP_PKEY_CTX_free(ctx);
	return len;
}

static void decrypts_to_text(int key, CK_MECHANISM *mechanism, unsigned char *ciphertext, size_t len)
{
	unsigned char plain[512];
	CK_ULONG plain_len = sizeof(plain);

	assert_ok(p11->C_DecryptInit(session, mechanism, module_find(session, CKO_PRIVATE_KEY, keys[key].label)));
	assert_ok(p11->C_Decrypt(session, ciphertext, len, plain, &plain_len));
	assert_int_equal(plain_len, 20);
	assert_memory_equal(plain, text, 20);
}

static void what_openssl_encrypts_is_decrypted(void **state)
{
	(void)state;
	static const struct {
		const char *digest;
		CK_MECHANISM_TYPE hash, mgf;
	} oaep[] = {{"SHA1", CKM_SHA_1, CKG_MGF1_SHA1},
	            {"SHA256", CKM_SHA256, CKG_MGF1_SHA256},
	            {"SHA384", CKM_SHA384, CKG_MGF1_SHA384},
	            {"SHA512", CKM_SHA512, CKG_MGF1_SHA512}};
	unsigned char ciphertext[512];
	CK_MECHANISM pkcs1 = {CKM_RSA_PKCS, NULL, 0};

	for (int key = 0; key < 3; key++) {
		size_t len = openssl_encrypts(publics[key], RSA_PKCS1_PADDING, NULL, NULL, ciphertext);
		decrypts_to_text(key, &pkcs1, ciphertext, len);
		for (int i = 0; i < 8; i++) {
			char label[] = "label";
			CK_RSA_PKCS_OAEP_PARAMS parameters = {oaep[i / 2].hash, oaep[i / 2].mgf, CKZ_DATA_SPECIFIED,
			                                      i % 2 ? label : NULL, i % 2 ? 5 : 0};
			CK_MECHANISM mechanism = {CKM_RSA_PKCS_OAEP, &parameters, sizeof(parameters)};
			len = openssl_encrypts(publics[key], RSA_PKCS1_OAEP_PADDING, oaep[i / 2].digest,
			                       i % 2 ? label : NULL, ciphertext);
			decrypts_to_text(key, &mechanism, ciphertext, len);
			ciphertext[9] ^= 1;
			unsigned char plain[512];
			CK_ULONG plain_len = sizeof(plain);
			assert_ok(p11->C_DecryptInit(session, &mechanism,
			                             module_find(session, CKO_PRIVATE_KEY, keys[key].label)));
			assert_rv(p11->C_Decrypt(session, ciphertext, len, plain, &plain_len),
			          CKR_ENCRYPTED_DATA_INVALID);
		}
	}
}

static void a_key_of_another_type_is_refused(void **state)
{
	(void)state;
	CK_MECHANISM rsa = {CKM_RSA_PKCS, NULL, 0}, ecdsa = {CKM_ECDSA, NULL, 0}, raw = {CKM_RSA_X_509, NULL, 0};
	CK_OBJECT_HANDLE rsa_key = module_find(session, CKO_PRIVATE_KEY, "rsa2048"),
	                 ec_key = module_find(session, CKO_PRIVATE_KEY, "p256");

	assert_int_not_equal(p11->C_SignInit(session, &rsa, ec_key), CKR_OK);
	assert_int_not_equal(p11->C_SignInit(session, &ecdsa, rsa_key), CKR_OK);
	assert_rv(p11->C_SignInit(session, &raw, rsa_key), CKR_MECHANISM_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hashing_mechanisms_sign_what_openssl_verifies),
	    cmocka_unit_test(a_digest_made_by_the_caller_is_signed),
	    cmocka_unit_test(digest_info_made_by_the_caller_is_signed),
	    cmocka_unit_test(what_openssl_encrypts_is_decrypted),
	    cmocka_unit_test(a_key_of_another_type_is_refused),
	};
	return cmocka_run_group_tests_name("integration.sign", tests, set_up, tear_down);
}
