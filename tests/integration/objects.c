/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secret keys released from a Managed HSM, and session objects beside them, through the loaded module, checked by the
 * machine's own libcrypto. The HSM's symmetric keys are imported ones whose bytes the test knows.
 */
#include "support/module.h"
#include "cmocka_all.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

static CK_SESSION_HANDLE session;
static struct {
	unsigned char aes[32], wrapper[32], hmac[32];
} known;

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static CK_OBJECT_CLASS class_secret = CKO_SECRET_KEY;
static CK_KEY_TYPE type_aes = CKK_AES, type_generic = CKK_GENERIC_SECRET;
static CK_ULONG len32 = 32;
static unsigned char text[] = "what goes in is what comes out, and nothing else";
enum { TEXT = sizeof(text) - 1 };

#define VALUE(type_, value_)                     \
	{                                        \
		type_, &(value_), sizeof(value_) \
	}

static int set_up(void **state)
{
	(void)state;
	char command[4096], file[4096];

	snprintf(file, sizeof(file), "%s/secret-keys", getenv("SKR_RUN"));
	snprintf(command, sizeof(command), "%s/tests/support/secret-keys.sh %s", getenv("SKR_TOP"), file);
	assert_int_equal(system(command), 0);
	FILE *f = fopen(file, "rb");
	assert_int_equal(fread(&known, sizeof(known), 1, f), 1);
	fclose(f);

	module_load();
	module_initialize();
	session = module_session("secret");
	module_login(session);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_ok(p11->C_Finalize(NULL));
	return 0;
}

static CK_OBJECT_HANDLE secret(const char *label)
{
	CK_OBJECT_HANDLE key = module_find(session, CKO_SECRET_KEY, label);
	assert_true(key != 0);
	return key;
}

static bool flag(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type)
{
	CK_BBOOL value = CK_FALSE;
	CK_ATTRIBUTE t = {type, &value, 1};

	assert_ok(p11->C_GetAttributeValue(session, object, &t, 1));
	return value;
}

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

/* ---- ciphers and MACs ---- */

static size_t openssl_gcm(const unsigned char *key, const unsigned char *iv, unsigned char *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int len = 0;

	assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, iv), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &len, (const unsigned char *)"aad", 3), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, out, &len, text, TEXT), 1);
	assert_int_equal(EVP_EncryptFinal_ex(ctx, out + len, &len), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, 16, out + TEXT), 1);
	EVP_CIPHER_CTX_free(ctx);
	return TEXT + 16;
}

static void gcm_with_a_key_of_the_hsm_is_openssls(void **state)
{
	(void)state;
	unsigned char iv[12] = "twelve bytes", expected[TEXT + 16], out[TEXT + 32];
	CK_GCM_PARAMS params = {
	    .pIv = iv, .ulIvLen = 12, .ulIvBits = 96, .pAAD = (CK_BYTE *)"aad", .ulAADLen = 3, .ulTagBits = 128};
	CK_MECHANISM gcm = {CKM_AES_GCM, &params, sizeof(params)};
	CK_ULONG len = sizeof(out);
	size_t expected_len = openssl_gcm(known.aes, iv, expected);

	assert_ok(p11->C_EncryptInit(session, &gcm, secret("aes")));
	assert_ok(p11->C_Encrypt(session, text, TEXT, out, &len));
	assert_int_equal(len, expected_len);
	assert_memory_equal(out, expected, expected_len);

	CK_ULONG plain_len = sizeof(out);
	assert_ok(p11->C_DecryptInit(session, &gcm, secret("aes")));
	assert_ok(p11->C_Decrypt(session, expected, expected_len, out, &plain_len));
	assert_int_equal(plain_len, TEXT);
	assert_memory_equal(out, text, TEXT);
	expected[7] ^= 1;
	plain_len = sizeof(out);
	assert_ok(p11->C_DecryptInit(session, &gcm, secret("aes")));
	assert_rv(p11->C_Decrypt(session, expected, expected_len, out, &plain_len), CKR_ENCRYPTED_DATA_INVALID);
}

static void hmac_with_a_key_of_the_hsm_is_openssls(void **state)
{
	(void)state;
	static const struct {
		CK_MECHANISM_TYPE type;
		const char *digest;
	} macs[] = {{CKM_SHA_1_HMAC, "SHA1"},
	            {CKM_SHA224_HMAC, "SHA224"},
	            {CKM_SHA256_HMAC, "SHA256"},
	            {CKM_SHA384_HMAC, "SHA384"},
	            {CKM_SHA512_HMAC, "SHA512"}};
	unsigned char expected[64], mac[64];

	for (size_t i = 0; i < sizeof(macs) / sizeof(macs[0]); i++) {
		CK_MECHANISM mechanism = {macs[i].type, NULL, 0};
		CK_ULONG len = sizeof(mac);
		size_t expected_len = 0;
		assert_non_null(EVP_Q_mac(NULL, "HMAC", NULL, macs[i].digest, NULL, known.hmac, 32, text, TEXT,
		                          expected, sizeof(expected), &expected_len));
		assert_ok(p11->C_SignInit(session, &mechanism, secret("hmac")));
		assert_ok(p11->C_Sign(session, text, TEXT, mac, &len));
		assert_int_equal(len, expected_len);
		assert_memory_equal(mac, expected, len);
		assert_ok(p11->C_VerifyInit(session, &mechanism, secret("hmac")));
		assert_ok(p11->C_Verify(session, text, TEXT, mac, len));
		mac[0] ^= 1;
		assert_ok(p11->C_VerifyInit(session, &mechanism, secret("hmac")));
		assert_rv(p11->C_Verify(session, text, TEXT, mac, len), CKR_SIGNATURE_INVALID);
	}
}

/* ---- ECDH ---- */

static void ecdh_with_a_token_key_is_openssls(void **state)
{
	(void)state;
	unsigned char point[65], expected[32], value[64];
	size_t point_len = 0, expected_len = sizeof(expected);
	EVP_PKEY *peer = EVP_EC_gen("P-256"), *ours = public_key("ecdh");
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(peer, NULL);
	static const CK_MECHANISM_TYPE types[] = {CKM_ECDH1_DERIVE, CKM_ECDH1_COFACTOR_DERIVE};

	assert_int_equal(
	    EVP_PKEY_get_octet_string_param(peer, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point, sizeof(point), &point_len),
	    1);
	assert_true(EVP_PKEY_derive_init(ctx) > 0 && EVP_PKEY_derive_set_peer(ctx, ours) > 0);
	assert_true(EVP_PKEY_derive(ctx, expected, &expected_len) > 0);

	for (int i = 0; i < 2; i++) {
		CK_ECDH1_DERIVE_PARAMS params = {CKD_NULL, 0, NULL, point_len, point};
		CK_MECHANISM ecdh = {types[i], &params, sizeof(params)};
		CK_ATTRIBUTE template[] = {VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_generic),
		                           VALUE(CKA_SENSITIVE, no), VALUE(CKA_EXTRACTABLE, yes)},
		             read = {CKA_VALUE, value, sizeof(value)};
		CK_OBJECT_HANDLE key;
		assert_ok(
		    p11->C_DeriveKey(session, &ecdh, module_find(session, CKO_PRIVATE_KEY, "ecdh"), template, 4, &key));
		assert_ok(p11->C_GetAttributeValue(session, key, &read, 1));
		assert_int_equal(read.ulValueLen, expected_len);
		assert_memory_equal(value, expected, expected_len);
		assert_false(flag(key, CKA_ALWAYS_SENSITIVE));
		point[40] ^= 1; /* no longer on the curve */
		assert_rv(
		    p11->C_DeriveKey(session, &ecdh, module_find(session, CKO_PRIVATE_KEY, "ecdh"), template, 4, &key),
		    CKR_MECHANISM_PARAM_INVALID);
		point[40] ^= 1;
	}
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(peer);
	EVP_PKEY_free(ours);
}

/* ---- wrapping ---- */

static CK_OBJECT_HANDLE new_key(CK_BBOOL *sensitive)
{
	CK_MECHANISM generate = {CKM_AES_KEY_GEN, NULL, 0};
	CK_ATTRIBUTE template[] = {
	    VALUE(CKA_VALUE_LEN, len32), VALUE(CKA_EXTRACTABLE, yes), {CKA_SENSITIVE, sensitive, 1}};
	CK_OBJECT_HANDLE key;

	assert_ok(p11->C_GenerateKey(session, &generate, template, 3, &key));
	return key;
}

static CK_RV unwrap(CK_MECHANISM *mechanism, CK_OBJECT_HANDLE by, unsigned char *wrapped, CK_ULONG len,
                    CK_OBJECT_HANDLE *ret)
{
	CK_ATTRIBUTE template[] = {VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes)};
	return p11->C_UnwrapKey(session, mechanism, by, wrapped, len, template, 2, ret);
}

static void check_value(CK_OBJECT_HANDLE key, unsigned char out[3])
{
	CK_ATTRIBUTE t = {CKA_CHECK_VALUE, out, 3};
	assert_ok(p11->C_GetAttributeValue(session, key, &t, 1));
}

static void a_token_key_wraps_as_openssl_unwraps(void **state)
{
	(void)state;
	CK_MECHANISM kw = {CKM_AES_KEY_WRAP, NULL, 0};
	CK_OBJECT_HANDLE open = new_key(&no), back;
	unsigned char wrapped[64], value[32], unwrapped[64], check[3], check_back[3];
	CK_ULONG len = sizeof(wrapped);
	CK_ATTRIBUTE read = {CKA_VALUE, value, sizeof(value)};
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int unwrapped_len = 0;

	assert_ok(p11->C_GetAttributeValue(session, open, &read, 1));
	assert_ok(p11->C_WrapKey(session, &kw, secret("wrapper"), open, wrapped, &len));
	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	assert_int_equal(EVP_DecryptInit_ex(ctx, EVP_aes_256_wrap(), NULL, known.wrapper, NULL), 1);
	assert_int_equal(EVP_DecryptUpdate(ctx, unwrapped, &unwrapped_len, wrapped, (int)len), 1);
	EVP_CIPHER_CTX_free(ctx);
	assert_int_equal(unwrapped_len, 32);
	assert_memory_equal(unwrapped, value, 32);

	assert_ok(unwrap(&kw, secret("wrapper"), wrapped, len, &back));
	check_value(open, check);
	check_value(back, check_back);
	assert_memory_equal(check, check_back, 3);
	assert_true(flag(back, CKA_SENSITIVE));
}

static void a_token_rsa_key_unwraps_what_openssl_wraps(void **state)
{
	(void)state;
	EVP_PKEY *key = public_key("unwrapper");
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	CK_RSA_PKCS_OAEP_PARAMS params = {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, NULL, 0};
	CK_MECHANISM oaep = {CKM_RSA_PKCS_OAEP, &params, sizeof(params)}, ecb = {CKM_AES_ECB, NULL, 0};
	unsigned char wrapped[256], block[16] = {0}, expected[32], out[16];
	size_t len = sizeof(wrapped);
	CK_ULONG out_len = sizeof(out);
	CK_OBJECT_HANDLE back, private = module_find(session, CKO_PRIVATE_KEY, "unwrapper");

	assert_true(EVP_PKEY_encrypt_init(ctx) > 0 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0);
	assert_true(EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, "SHA256", NULL) > 0);
	assert_true(EVP_PKEY_encrypt(ctx, wrapped, &len, known.hmac, 32) > 0);
	assert_ok(unwrap(&oaep, private, wrapped, len, &back));
	assert_ok(p11->C_EncryptInit(session, &ecb, back));
	assert_ok(p11->C_Encrypt(session, block, 16, out, &out_len));

	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	int n = 0;
	assert_int_equal(EVP_EncryptInit_ex(cipher, EVP_aes_256_ecb(), NULL, known.hmac, NULL), 1);
	assert_int_equal(EVP_EncryptUpdate(cipher, expected, &n, block, 16), 1);
	EVP_CIPHER_CTX_free(cipher);
	assert_memory_equal(out, expected, 16);
	/* It unwraps, and so it does not decrypt. */
	assert_rv(p11->C_DecryptInit(session, &oaep, private), CKR_KEY_FUNCTION_NOT_PERMITTED);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(key);
}

/* ---- attacks ---- */

/* I-28: no mechanism the token lists, with any wrapping key there is, wraps a key of the token out. */
static void nothing_wraps_a_token_key_out(void **state)
{
	(void)state;
	static const char *const secrets[] = {"aes", "wrapper", "hmac", "usual"}, *const privates[] = {"ecdh",
	                                                                                               "unwrapper"};
	CK_MECHANISM_TYPE mechanisms[128];
	CK_ULONG count = 128;
	CK_MECHANISM generate = {CKM_AES_KEY_GEN, NULL, 0};
	CK_ATTRIBUTE wraps[] = {VALUE(CKA_VALUE_LEN, len32), VALUE(CKA_WRAP, yes), VALUE(CKA_UNWRAP, yes)};
	CK_OBJECT_HANDLE wrapping[6];
	unsigned char iv[16] = {0}, out[4096];

	assert_ok(p11->C_GenerateKey(session, &generate, wraps, 3, &wrapping[0]));
	for (int i = 0; i < 4; i++)
		wrapping[1 + i] = secret(secrets[i]);
	wrapping[5] = module_find(session, CKO_PUBLIC_KEY, "unwrapper");
	assert_ok(p11->C_GetMechanismList(module_slot("secret"), mechanisms, &count));
	for (CK_ULONG m = 0; m < count; m++)
		for (int w = 0; w < 6; w++)
			for (int k = 0; k < 6; k++) {
				CK_OBJECT_HANDLE key =
				    k < 4 ? secret(secrets[k]) : module_find(session, CKO_PRIVATE_KEY, privates[k - 4]);
				CK_MECHANISM with[] = {{mechanisms[m], NULL, 0}, {mechanisms[m], iv, sizeof(iv)}};
				for (int p = 0; p < 2; p++) {
					CK_ULONG len = sizeof(out);
					assert_true(p11->C_WrapKey(session, &with[p], wrapping[w], key, out, &len) !=
					            CKR_OK);
				}
			}
}

/* Azure's usual key_ops are both: such a key decrypts, so that what it wraps would be read by C_Decrypt; it does not
 * wrap. */
static void a_key_that_decrypts_does_not_wrap(void **state)
{
	(void)state;
	CK_MECHANISM kw = {CKM_AES_KEY_WRAP, NULL, 0}, ecb = {CKM_AES_ECB, NULL, 0};
	CK_OBJECT_HANDLE usual = secret("usual"), back;
	unsigned char out[64];
	CK_ULONG len = sizeof(out);

	assert_true(flag(usual, CKA_DECRYPT) && !flag(usual, CKA_WRAP) && !flag(usual, CKA_UNWRAP));
	assert_rv(p11->C_WrapKey(session, &kw, usual, new_key(&yes), out, &len), CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_rv(unwrap(&kw, usual, out, 40, &back), CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_rv(p11->C_EncryptInit(session, &ecb, secret("wrapper")), CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_rv(p11->C_DecryptInit(session, &ecb, secret("wrapper")), CKR_KEY_FUNCTION_NOT_PERMITTED);
}

/* Wrapped by the token, unwrapped by it with flags that would give it away. */
static void what_the_token_unwraps_cannot_be_read(void **state)
{
	(void)state;
	CK_MECHANISM kw = {CKM_AES_KEY_WRAP, NULL, 0};
	CK_OBJECT_HANDLE sensitive = new_key(&yes), back;
	unsigned char out[64];
	CK_ULONG len = sizeof(out);
	CK_ATTRIBUTE open[] = {VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes), VALUE(CKA_SENSITIVE, no),
	                       VALUE(CKA_EXTRACTABLE, yes)};

	assert_ok(p11->C_WrapKey(session, &kw, secret("wrapper"), sensitive, out, &len));
	assert_rv(p11->C_UnwrapKey(session, &kw, secret("wrapper"), out, len, open, 4, &back),
	          CKR_TEMPLATE_INCONSISTENT);
	open[2].type = CKA_WRAP;
	open[2].pValue = &yes;
	assert_rv(p11->C_UnwrapKey(session, &kw, secret("wrapper"), out, len, open, 3, &back),
	          CKR_TEMPLATE_INCONSISTENT);
}

static void ids_of_secret_keys_are_those_of_their_addresses(void **state)
{
	(void)state;
	char address[512];
	unsigned char expected[20], id[20];
	CK_ATTRIBUTE t = {CKA_ID, id, sizeof(id)};

	snprintf(address, sizeof(address), "%s/keys/aes", getenv("SKR_EMULATOR_HSM"));
	assert_int_equal(EVP_Q_digest(NULL, "SHA1", NULL, address, strlen(address), expected, NULL), 1);
	assert_ok(p11->C_GetAttributeValue(session, secret("aes"), &t, 1));
	assert_memory_equal(id, expected, 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(gcm_with_a_key_of_the_hsm_is_openssls),
	    cmocka_unit_test(hmac_with_a_key_of_the_hsm_is_openssls),
	    cmocka_unit_test(ecdh_with_a_token_key_is_openssls),
	    cmocka_unit_test(a_token_key_wraps_as_openssl_unwraps),
	    cmocka_unit_test(a_token_rsa_key_unwraps_what_openssl_wraps),
	    cmocka_unit_test(nothing_wraps_a_token_key_out),
	    cmocka_unit_test(a_key_that_decrypts_does_not_wrap),
	    cmocka_unit_test(what_the_token_unwraps_cannot_be_read),
	    cmocka_unit_test(ids_of_secret_keys_are_those_of_their_addresses),
	};
	return cmocka_run_group_tests_name("integration.objects", tests, set_up, tear_down);
}
