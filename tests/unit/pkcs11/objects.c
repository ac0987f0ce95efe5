/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/functions.h"

#include "base/file.h"
#include "base/log.h"
#include "token/session_object.h"
#include "unit/pkcs11/played_release.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include <skr_pkcs11.h>

/* Session objects and secret keys, as a program sees them, with release/ played. */

static CK_FUNCTION_LIST *p11;
static char folder[256], conf[300];
static CK_SESSION_HANDLE session; /* R/O, logged in, of a token with every kind of key */

#define assert_rv(call, expected)                                                        \
	do {                                                                             \
		CK_RV rv_ = (call);                                                      \
		if (rv_ != (expected))                                                   \
			fail_msg("%s: 0x%lx, not 0x%lx", #call, rv_, (CK_RV)(expected)); \
	} while (0)
#define assert_ok(call) assert_rv(call, CKR_OK)

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static CK_OBJECT_CLASS class_secret = CKO_SECRET_KEY, class_private = CKO_PRIVATE_KEY, class_public = CKO_PUBLIC_KEY,
                       class_data = CKO_DATA, class_certificate = CKO_CERTIFICATE;
static CK_KEY_TYPE type_aes = CKK_AES, type_generic = CKK_GENERIC_SECRET, type_rsa = CKK_RSA;
static CK_CERTIFICATE_TYPE type_x509 = CKC_X_509;
static CK_ULONG len16 = 16, len32 = 32;
static CK_BYTE p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};

/* clang-format off */
#define FLAG(type_, value_)   {type_, (value_) ? &yes : &no, 1}
#define VALUE(type_, value_)  {type_, &(value_), sizeof(value_)}
#define BYTES(type_, text_)   {type_, (char[]){text_}, sizeof(text_) - 1}
/* clang-format on */
#define COUNT(array_)       (sizeof(array_) / sizeof(array_[0]))
#define CREATE(ret_, ...)   create((CK_ATTRIBUTE[]){__VA_ARGS__}, COUNT(((CK_ATTRIBUTE[]){__VA_ARGS__})), ret_)
#define GENERATE(ret_, ...) generate((CK_ATTRIBUTE[]){__VA_ARGS__}, COUNT(((CK_ATTRIBUTE[]){__VA_ARGS__})), ret_)
#define AES(ret_, ...)      GENERATE(ret_, VALUE(CKA_VALUE_LEN, len32), __VA_ARGS__)
#define CHANGE(object_, ...)                                                      \
	p11->C_SetAttributeValue(session, object_, (CK_ATTRIBUTE[]){__VA_ARGS__}, \
	                         COUNT(((CK_ATTRIBUTE[]){__VA_ARGS__})))
#define COPY(object_, ret_, ...) \
	p11->C_CopyObject(session, object_, (CK_ATTRIBUTE[]){__VA_ARGS__}, COUNT(((CK_ATTRIBUTE[]){__VA_ARGS__})), ret_)

static CK_RV create(CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret)
{
	return p11->C_CreateObject(session, template, count, ret);
}

static CK_RV generate(CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret)
{
	CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
	return p11->C_GenerateKey(session, &mechanism, template, count, ret);
}

static bool flag(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type)
{
	CK_BBOOL value = 77;
	CK_ATTRIBUTE t = {type, &value, 1};

	assert_ok(p11->C_GetAttributeValue(session, object, &t, 1));
	assert_true(value == CK_TRUE || value == CK_FALSE);
	return value;
}

static CK_RV value_of(CK_OBJECT_HANDLE object, CK_BYTE out[64], CK_ULONG *len)
{
	CK_ATTRIBUTE t = {CKA_VALUE, out, 64};
	CK_RV rv = p11->C_GetAttributeValue(session, object, &t, 1);

	*len = t.ulValueLen;
	return rv;
}

static CK_OBJECT_HANDLE find_in(CK_SESSION_HANDLE s, CK_OBJECT_CLASS class, const char *label)
{
	CK_ATTRIBUTE t[] = {VALUE(CKA_CLASS, class), {CKA_LABEL, (char *)label, strlen(label)}};
	CK_OBJECT_HANDLE found[2] = {0};
	CK_ULONG count = 0;

	assert_ok(p11->C_FindObjectsInit(s, t, 2));
	assert_ok(p11->C_FindObjects(s, found, 2, &count));
	assert_ok(p11->C_FindObjectsFinal(s));
	return count == 1 ? found[0] : 0;
}

static CK_SESSION_HANDLE open_session(void)
{
	CK_SESSION_HANDLE s = 0;
	assert_ok(p11->C_OpenSession(0, CKF_SERIAL_SESSION, NULL, NULL, &s));
	return s;
}

/* Each test begins logged in, in a read-only session, and ends finalised. */
static int before(void **state)
{
	(void)state;
	assert_ok(p11->C_Initialize(NULL));
	session = open_session();
	assert_ok(p11->C_Login(session, CKU_USER, NULL, 0));
	return 0;
}

static int after(void **state)
{
	(void)state;
	p11->C_Finalize(NULL);
	return 0;
}

/* ---- templates ---- */

static void data_is_kept_found_changed_and_destroyed(void **state)
{
	(void)state;
	CK_OBJECT_HANDLE object, copy;
	CK_BYTE value[64];
	CK_ULONG len, size = 0;

	assert_ok(CREATE(&object, VALUE(CKA_CLASS, class_data), BYTES(CKA_LABEL, "note"), BYTES(CKA_VALUE, "abc"),
	                 BYTES(CKA_APPLICATION, "test")));
	assert_true(find_in(session, CKO_DATA, "note") == object);
	assert_ok(value_of(object, value, &len));
	assert_int_equal(len, 3);
	assert_false(flag(object, CKA_TOKEN) || flag(object, CKA_PRIVATE));
	assert_ok(p11->C_GetObjectSize(session, object, &size));
	assert_true(size > 3);

	assert_ok(CHANGE(object, BYTES(CKA_LABEL, "renamed")));
	assert_true(find_in(session, CKO_DATA, "renamed") == object);
	assert_rv(CHANGE(object, BYTES(CKA_VALUE, "x")), CKR_ATTRIBUTE_READ_ONLY);
	assert_ok(COPY(object, &copy, BYTES(CKA_LABEL, "copy"), FLAG(CKA_MODIFIABLE, false)));
	assert_rv(CHANGE(copy, BYTES(CKA_LABEL, "again")), CKR_ACTION_PROHIBITED);
	assert_ok(p11->C_DestroyObject(session, object));
	assert_rv(p11->C_DestroyObject(session, object), CKR_OBJECT_HANDLE_INVALID);
	assert_rv(p11->C_GetObjectSize(session, object, &size), CKR_OBJECT_HANDLE_INVALID);
	assert_true(find_in(session, CKO_DATA, "copy") == copy);
}

static void templates_that_do_not_fit_are_refused(void **state)
{
	(void)state;
	CK_OBJECT_HANDLE object = 4711;
	CK_OBJECT_CLASS strange = CKO_DOMAIN_PARAMETERS;
	CK_KEY_TYPE des = CKK_DES3;
	CK_BYTE two = 2;

	assert_rv(CREATE(&object, BYTES(CKA_VALUE, "abc")), CKR_TEMPLATE_INCOMPLETE);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, strange)), CKR_ATTRIBUTE_VALUE_INVALID);
	assert_rv(CREATE(&object, {CKA_CLASS, &class_data, 4}), CKR_ATTRIBUTE_VALUE_INVALID);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_data), FLAG(CKA_TOKEN, true)), CKR_SESSION_READ_ONLY);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_data), FLAG(CKA_SENSITIVE, true)), CKR_ATTRIBUTE_TYPE_INVALID);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_data), BYTES(CKA_VENDOR_DEFINED | 5, "x")),
	          CKR_ATTRIBUTE_TYPE_INVALID);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_data), {CKA_PRIVATE, &two, 1}), CKR_ATTRIBUTE_VALUE_INVALID);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_data), {CKA_PRIVATE, NULL, 0}), CKR_ATTRIBUTE_VALUE_INVALID);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_data), BYTES(CKA_LABEL, "a"), BYTES(CKA_LABEL, "b")),
	          CKR_TEMPLATE_INCONSISTENT);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_secret), BYTES(CKA_VALUE, "0123456789abcdef")),
	          CKR_TEMPLATE_INCOMPLETE);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes)),
	          CKR_TEMPLATE_INCOMPLETE);
	assert_rv(
	    CREATE(&object, VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes), BYTES(CKA_VALUE, "short")),
	    CKR_ATTRIBUTE_VALUE_INVALID);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, des),
	                 BYTES(CKA_VALUE, "0123456789abcdef01234567")),
	          CKR_ATTRIBUTE_VALUE_INVALID);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes),
	                 BYTES(CKA_VALUE, "0123456789abcdef"), FLAG(CKA_ALWAYS_SENSITIVE, true)),
	          CKR_ATTRIBUTE_READ_ONLY);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes),
	                 BYTES(CKA_VALUE, "0123456789abcdef"), FLAG(CKA_TRUSTED, true)),
	          CKR_ATTRIBUTE_VALUE_INVALID);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_public), VALUE(CKA_KEY_TYPE, type_rsa)),
	          CKR_TEMPLATE_INCOMPLETE);
	assert_rv(GENERATE(&object, FLAG(CKA_ENCRYPT, true)), CKR_TEMPLATE_INCOMPLETE);
	assert_rv(GENERATE(&object, VALUE(CKA_VALUE_LEN, len16), VALUE(CKA_CLASS, class_private)),
	          CKR_TEMPLATE_INCONSISTENT);
	assert_rv(GENERATE(&object, VALUE(CKA_VALUE_LEN, len16), VALUE(CKA_KEY_TYPE, type_generic)),
	          CKR_TEMPLATE_INCONSISTENT);
	assert_rv(GENERATE(&object, VALUE(CKA_VALUE_LEN, len16), BYTES(CKA_VALUE, "0123456789abcdef")),
	          CKR_ATTRIBUTE_READ_ONLY);
	assert_int_equal(object, 4711);
}

static void a_certificate_is_what_it_says(void **state)
{
	(void)state;
	CK_BYTE der[2048], subject[512];
	CK_OBJECT_HANDLE object;
	auto_pkey *key = played_key("ec");
	auto_x509 *certificate = X509_new_ex(ossl, NULL);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (unsigned char *)"www", -1,
	                           -1, 0);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	X509_sign(certificate, key, EVP_sha256());
	CK_BYTE *at = der, *subject_at = subject;
	CK_ULONG len = (CK_ULONG)i2d_X509(certificate, &at),
	         subject_len = (CK_ULONG)i2d_X509_NAME(X509_get_subject_name(certificate), &subject_at);

	assert_ok(CREATE(&object, VALUE(CKA_CLASS, class_certificate), VALUE(CKA_CERTIFICATE_TYPE, type_x509),
	                 {CKA_VALUE, der, len}, {CKA_SUBJECT, subject, subject_len}, BYTES(CKA_LABEL, "mine")));
	CK_BYTE read[512];
	CK_ATTRIBUTE t = {CKA_SUBJECT, read, sizeof(read)};
	assert_ok(p11->C_GetAttributeValue(session, object, &t, 1));
	assert_int_equal(t.ulValueLen, subject_len);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_certificate), VALUE(CKA_CERTIFICATE_TYPE, type_x509),
	                 {CKA_VALUE, der, len}, BYTES(CKA_SUBJECT, "somebody else")),
	          CKR_TEMPLATE_INCONSISTENT);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_certificate), VALUE(CKA_CERTIFICATE_TYPE, type_x509),
	                 {CKA_VALUE, der, len - 1}),
	          CKR_ATTRIBUTE_VALUE_INVALID);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_certificate), VALUE(CKA_CERTIFICATE_TYPE, type_x509)),
	          CKR_TEMPLATE_INCOMPLETE);
}

/* ---- whose they are ---- */

/* PKCS#11 2.40, and Java, which makes a key in one session and uses it in another. */
static void all_sessions_with_a_token_use_an_object_until_its_own_ends(void **state)
{
	(void)state;
	CK_MECHANISM ecb = {CKM_AES_ECB, NULL, 0};
	CK_OBJECT_HANDLE object, key, copy;
	CK_BYTE value[64], block[16] = {0};
	CK_ULONG len = sizeof(block);
	CK_ATTRIBUTE t = {CKA_VALUE, value, sizeof(value)};
	CK_SESSION_HANDLE other = open_session(), stranger = 0;

	assert_ok(p11->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, &stranger));
	assert_ok(CREATE(&object, VALUE(CKA_CLASS, class_data), BYTES(CKA_LABEL, "mine"), BYTES(CKA_VALUE, "abc")));
	assert_ok(AES(&key, BYTES(CKA_LABEL, "key")));
	assert_true(find_in(other, CKO_DATA, "mine") == object);
	assert_ok(p11->C_GetAttributeValue(other, object, &t, 1));
	assert_ok(p11->C_CopyObject(other, object, (CK_ATTRIBUTE[]){BYTES(CKA_LABEL, "others")}, 1, &copy));
	assert_ok(p11->C_EncryptInit(other, &ecb, key));

	assert_int_equal(find_in(stranger, CKO_DATA, "mine"), 0);
	assert_rv(p11->C_GetAttributeValue(stranger, object, &t, 1), CKR_OBJECT_HANDLE_INVALID);
	assert_rv(p11->C_EncryptInit(stranger, &ecb, key), CKR_USER_NOT_LOGGED_IN);
	assert_rv(p11->C_DestroyObject(stranger, object), CKR_OBJECT_HANDLE_INVALID);

	assert_ok(p11->C_CloseSession(session));
	session = other;
	assert_int_equal(find_in(other, CKO_DATA, "mine"), 0);
	assert_rv(p11->C_GetAttributeValue(other, object, &t, 1), CKR_OBJECT_HANDLE_INVALID);
	assert_rv(p11->C_DestroyObject(other, object), CKR_OBJECT_HANDLE_INVALID);
	assert_ok(p11->C_Encrypt(other, block, 16, block, &len)); /* what is under way has its key */
	assert_rv(p11->C_EncryptInit(other, &ecb, key), CKR_KEY_HANDLE_INVALID);
	assert_true(find_in(other, CKO_DATA, "others") == copy);
	assert_ok(p11->C_DestroyObject(other, copy));
}

static void a_logout_ends_the_private_objects_of_every_session(void **state)
{
	(void)state;
	CK_MECHANISM ecb = {CKM_AES_ECB, NULL, 0};
	CK_OBJECT_HANDLE key;
	CK_SESSION_HANDLE other = open_session();

	assert_ok(AES(&key, BYTES(CKA_LABEL, "key")));
	assert_ok(p11->C_EncryptInit(other, &ecb, key));
	assert_ok(p11->C_Logout(other));
	assert_int_equal(find_in(session, CKO_SECRET_KEY, "key"), 0);
	assert_ok(p11->C_Login(other, CKU_USER, NULL, 0));
	assert_int_equal(find_in(session, CKO_SECRET_KEY, "key"), 0);
	assert_rv(p11->C_EncryptInit(session, &ecb, key), CKR_KEY_HANDLE_INVALID);
	assert_rv(p11->C_EncryptInit(other, &ecb, key), CKR_KEY_HANDLE_INVALID);
}

/* One thread makes and destroys what the others use, for a race detector. */
static atomic_bool over;

static void *use_what_others_make(void *unused)
{
	CK_MECHANISM ecb = {CKM_AES_ECB, NULL, 0};
	CK_ATTRIBUTE class = VALUE(CKA_CLASS, class_secret);
	CK_BYTE block[16] = {0};
	CK_ULONG len, count;
	CK_OBJECT_HANDLE found[16];
	CK_SESSION_HANDLE s = open_session();

	while (!atomic_load(&over)) {
		p11->C_FindObjectsInit(s, &class, 1);
		count = 0;
		p11->C_FindObjects(s, found, COUNT(found), &count);
		p11->C_FindObjectsFinal(s);
		for (CK_ULONG i = 0; i < count; i++) {
			CK_OBJECT_HANDLE copy;
			len = sizeof(block);
			if (p11->C_EncryptInit(s, &ecb, found[i]) == CKR_OK)
				p11->C_Encrypt(s, block, sizeof(block), block, &len);
			if (p11->C_CopyObject(s, found[i], NULL, 0, &copy) == CKR_OK)
				p11->C_DestroyObject(s, copy);
		}
	}
	p11->C_CloseSession(s);
	return unused;
}

static void objects_end_while_others_use_them(void **state)
{
	(void)state;
	pthread_t threads[3];
	CK_OBJECT_HANDLE key;

	atomic_store(&over, false);
	for (size_t i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use_what_others_make, NULL), 0);
	for (int round = 0; round < 100; round++) {
		CK_SESSION_HANDLE outer = session;
		session = open_session();
		assert_ok(AES(&key, BYTES(CKA_LABEL, "one")));
		assert_ok(AES(&key, BYTES(CKA_LABEL, "two")));
		assert_ok(CHANGE(key, BYTES(CKA_LABEL, "changed")));
		assert_ok(p11->C_DestroyObject(session, key));
		if (round % 10 == 0) {
			assert_ok(p11->C_Logout(session));
			assert_ok(p11->C_Login(session, CKU_USER, NULL, 0));
		}
		assert_ok(p11->C_CloseSession(session));
		session = outer;
	}
	atomic_store(&over, true);
	for (size_t i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
}

static void private_session_objects_end_with_the_login(void **state)
{
	(void)state;
	CK_MECHANISM ecb = {CKM_AES_ECB, NULL, 0};
	CK_BYTE block[16] = {0};
	CK_ULONG len = sizeof(block);
	CK_OBJECT_HANDLE private, public, made;

	assert_ok(AES(&private, BYTES(CKA_LABEL, "private")));
	assert_ok(AES(&public, BYTES(CKA_LABEL, "public"), FLAG(CKA_PRIVATE, false)));
	assert_true(flag(private, CKA_PRIVATE));
	assert_ok(p11->C_EncryptInit(session, &ecb, private));
	assert_ok(p11->C_Logout(session));
	assert_rv(p11->C_Encrypt(session, block, 16, block, &len), CKR_OPERATION_NOT_INITIALIZED);
	assert_int_equal(find_in(session, CKO_SECRET_KEY, "private"), 0);
	assert_rv(p11->C_EncryptInit(session, &ecb, private), CKR_USER_NOT_LOGGED_IN);
	assert_ok(p11->C_EncryptInit(session, &ecb, public));

	assert_rv(AES(&made, FLAG(CKA_PRIVATE, true)), CKR_USER_NOT_LOGGED_IN);
	assert_ok(AES(&made, BYTES(CKA_LABEL, "made")));
	assert_false(flag(made, CKA_PRIVATE));
	assert_rv(COPY(made, &public, FLAG(CKA_PRIVATE, true)), CKR_USER_NOT_LOGGED_IN);
}

static void a_session_has_only_so_many(void **state)
{
	(void)state;
	static CK_BYTE much[64 * 1024];
	CK_OBJECT_HANDLE object;
	CK_RV rv = CKR_OK;
	int made = 0;

	for (; made < 2 * SESSION_OBJECTS_MAX && rv == CKR_OK; made++)
		rv = CREATE(&object, VALUE(CKA_CLASS, class_data));
	assert_int_equal(rv, CKR_DEVICE_MEMORY);
	assert_int_equal(made - 1, SESSION_OBJECTS_MAX);
	assert_ok(p11->C_CloseSession(session));
	session = open_session();

	for (made = 0, rv = CKR_OK; made < SESSION_OBJECTS_MAX && rv == CKR_OK; made++)
		rv = CREATE(&object, VALUE(CKA_CLASS, class_data), {CKA_VALUE, much, sizeof(much)});
	assert_int_equal(rv, CKR_DEVICE_MEMORY);
	assert_true(made > 32 && made < 100);
	assert_rv(CREATE(&object, VALUE(CKA_CLASS, class_data), {CKA_VALUE, much, sizeof(much) + 1}),
	          CKR_ARGUMENTS_BAD);
}

static void a_child_has_none(void **state)
{
	(void)state;
	CK_OBJECT_HANDLE object;
	int status = 0;

	assert_ok(AES(&object, BYTES(CKA_LABEL, "parents")));
	pid_t pid = fork();
	if (pid == 0) {
		bool right = p11->C_Initialize(NULL) == CKR_OK;
		CK_SESSION_HANDLE s = open_session();
		right = right && p11->C_Login(s, CKU_USER, NULL, 0) == CKR_OK;
		right = right && find_in(s, CKO_SECRET_KEY, "parents") == 0 && find_in(s, CKO_SECRET_KEY, "aes") != 0;
		_exit(right ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(flag(object, CKA_SENSITIVE));
}

/* ---- flags ---- */

static void flags_tell_the_history_of_a_key(void **state)
{
	(void)state;
	CK_OBJECT_HANDLE generated, created, open;
	CK_BYTE value[64];
	CK_ULONG len;
	CK_MECHANISM_TYPE how = 0;

	assert_ok(AES(&generated, FLAG(CKA_EXTRACTABLE, false)));
	assert_true(flag(generated, CKA_LOCAL) && flag(generated, CKA_SENSITIVE));
	assert_true(flag(generated, CKA_ALWAYS_SENSITIVE) && flag(generated, CKA_NEVER_EXTRACTABLE));
	CK_ATTRIBUTE t = VALUE(CKA_KEY_GEN_MECHANISM, how);
	assert_ok(p11->C_GetAttributeValue(session, generated, &t, 1));
	assert_int_equal(how, CKM_AES_KEY_GEN);
	assert_rv(value_of(generated, value, &len), CKR_ATTRIBUTE_SENSITIVE);

	assert_ok(CREATE(&created, VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes),
	                 BYTES(CKA_VALUE, "0123456789abcdef")));
	assert_false(flag(created, CKA_LOCAL) || flag(created, CKA_ALWAYS_SENSITIVE) ||
	             flag(created, CKA_NEVER_EXTRACTABLE));
	assert_rv(value_of(created, value, &len), CKR_ATTRIBUTE_SENSITIVE);

	assert_ok(AES(&open, FLAG(CKA_SENSITIVE, false), FLAG(CKA_EXTRACTABLE, true)));
	assert_ok(value_of(open, value, &len));
	assert_int_equal(len, 32);
	assert_ok(CHANGE(open, FLAG(CKA_SENSITIVE, true)));
	assert_rv(value_of(open, value, &len), CKR_ATTRIBUTE_SENSITIVE);
	assert_false(flag(open, CKA_ALWAYS_SENSITIVE) || flag(open, CKA_NEVER_EXTRACTABLE));
}

/* Tookan, "sensitive key loses its protection" and "copy with weaker flags". */
static void flags_change_in_one_direction(void **state)
{
	(void)state;
	CK_OBJECT_HANDLE key, copy, fixed;

	assert_ok(AES(&key, FLAG(CKA_EXTRACTABLE, true)));
	assert_rv(CHANGE(key, FLAG(CKA_SENSITIVE, false)), CKR_ATTRIBUTE_READ_ONLY);
	assert_rv(COPY(key, &copy, FLAG(CKA_SENSITIVE, false)), CKR_TEMPLATE_INCONSISTENT);
	assert_rv(COPY(key, &copy, FLAG(CKA_PRIVATE, false)), CKR_TEMPLATE_INCONSISTENT);
	assert_ok(COPY(key, &copy, FLAG(CKA_EXTRACTABLE, false), FLAG(CKA_COPYABLE, false)));
	assert_rv(CHANGE(copy, FLAG(CKA_EXTRACTABLE, true)), CKR_ATTRIBUTE_READ_ONLY);
	assert_rv(CHANGE(copy, FLAG(CKA_COPYABLE, true)), CKR_ATTRIBUTE_READ_ONLY);
	assert_rv(COPY(copy, &fixed, BYTES(CKA_LABEL, "x")), CKR_ACTION_PROHIBITED);
	assert_false(flag(copy, CKA_NEVER_EXTRACTABLE));
	assert_true(flag(copy, CKA_LOCAL));

	static const CK_ATTRIBUTE_TYPE uses[] = {CKA_WRAP,   CKA_UNWRAP, CKA_DECRYPT, CKA_ENCRYPT,
	                                         CKA_DERIVE, CKA_SIGN,   CKA_LOCAL,   CKA_NEVER_EXTRACTABLE};
	for (size_t i = 0; i < COUNT(uses); i++) {
		assert_rv(CHANGE(key, {uses[i], &yes, 1}), CKR_ATTRIBUTE_READ_ONLY);
		assert_rv(COPY(key, &fixed, {uses[i], &yes, 1}), CKR_ATTRIBUTE_READ_ONLY);
	}
	assert_ok(CHANGE(key, FLAG(CKA_DESTROYABLE, false)));
	assert_rv(p11->C_DestroyObject(session, key), CKR_ACTION_PROHIBITED);
}

/* I-28: of no key of the token, of no type, does any attribute change; nor is one copied, destroyed or wrapped out. */
static void nothing_about_token_keys_is_changed_copied_or_wrapped(void **state)
{
	(void)state;
	static const char *const names[] = {"rsa", "ec", "aes", "wrap", "hmac"};
	CK_OBJECT_HANDLE wrapping, copy;
	CK_MECHANISM kwp = {CKM_AES_KEY_WRAP_PAD, NULL, 0};
	CK_BYTE out[4096];

	assert_ok(AES(&wrapping, FLAG(CKA_WRAP, true), FLAG(CKA_UNWRAP, true)));
	for (size_t i = 0; i < COUNT(names); i++) {
		CK_OBJECT_HANDLE key = find_in(session, i < 2 ? CKO_PRIVATE_KEY : CKO_SECRET_KEY, names[i]);
		assert_true(key != 0);
		for (CK_ATTRIBUTE_TYPE type = 0; type < 0x700; type++) {
			CK_ATTRIBUTE t = {type, &yes, 1};
			assert_rv(p11->C_SetAttributeValue(session, key, &t, 1), CKR_ACTION_PROHIBITED);
		}
		assert_rv(COPY(key, &copy, FLAG(CKA_TOKEN, false)), CKR_ACTION_PROHIBITED);
		assert_rv(p11->C_DestroyObject(session, key), CKR_ACTION_PROHIBITED);
		CK_ULONG len = sizeof(out);
		assert_rv(p11->C_WrapKey(session, &kwp, wrapping, key, out, &len), CKR_KEY_UNEXTRACTABLE);
		len = sizeof(out);
		CK_OBJECT_HANDLE token_wrap = find_in(session, CKO_SECRET_KEY, "wrap");
		assert_rv(p11->C_WrapKey(session, &kwp, token_wrap, key, out, &len), CKR_KEY_UNEXTRACTABLE);
		assert_true(flag(key, CKA_SENSITIVE) && !flag(key, CKA_EXTRACTABLE));
	}
}

/* I-28: whatever is asked, of whichever type, the bytes of the key are in no answer. */
static void no_attribute_holds_a_token_secret(void **state)
{
	(void)state;
	static const char *const names[] = {"aes", "wrap", "hmac"};
	CK_BYTE answer[4096];

	for (size_t i = 0; i < COUNT(names); i++) {
		CK_OBJECT_HANDLE key = find_in(session, CKO_SECRET_KEY, names[i]);
		for (CK_ATTRIBUTE_TYPE type = 0; type < 0x80000; type = type == 0x7ff ? 0x40000000 >> 12 : type + 1) {
			CK_ATTRIBUTE t = {type, answer, sizeof(answer)};
			memset(answer, 0, sizeof(answer));
			CK_RV rv = p11->C_GetAttributeValue(session, key, &t, 1);
			assert_true(rv == CKR_OK || rv == CKR_ATTRIBUTE_SENSITIVE || rv == CKR_ATTRIBUTE_TYPE_INVALID);
			assert_null(memmem(answer, sizeof(answer), played_secret, 8));
			assert_true(type != CKA_VALUE || rv == CKR_ATTRIBUTE_SENSITIVE);
		}
	}
}

/* ---- secret keys of the token ---- */

static void symmetric_keys_are_what_their_key_ops_say(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		CK_KEY_TYPE type;
		bool encrypts, signs, wraps;
	} expected[] = {{"aes", CKK_AES, true, false, false},
	                {"wrap", CKK_AES, false, false, true},
	                {"hmac", CKK_GENERIC_SECRET, false, true, false}};

	for (size_t i = 0; i < COUNT(expected); i++) {
		CK_OBJECT_HANDLE key = find_in(session, CKO_SECRET_KEY, expected[i].name);
		CK_KEY_TYPE type = 77;
		CK_ULONG len = 0;
		CK_BYTE id[64], check[3];
		CK_ATTRIBUTE t[] = {VALUE(CKA_KEY_TYPE, type), VALUE(CKA_VALUE_LEN, len), VALUE(CKA_ID, id),
		                    VALUE(CKA_CHECK_VALUE, check)};
		assert_ok(p11->C_GetAttributeValue(session, key, t, 4));
		assert_int_equal(type, expected[i].type);
		assert_int_equal(len, 32);
		assert_int_equal(t[2].ulValueLen, 20);
		assert_int_equal(t[3].ulValueLen, 3);
		assert_int_equal(flag(key, CKA_ENCRYPT), expected[i].encrypts);
		assert_int_equal(flag(key, CKA_DECRYPT), expected[i].encrypts);
		assert_int_equal(flag(key, CKA_SIGN), expected[i].signs);
		assert_int_equal(flag(key, CKA_VERIFY), expected[i].signs);
		assert_int_equal(flag(key, CKA_WRAP), expected[i].wraps);
		assert_int_equal(flag(key, CKA_UNWRAP), expected[i].wraps);
		assert_true(flag(key, CKA_TOKEN) && flag(key, CKA_PRIVATE) && flag(key, CKA_SENSITIVE));
		assert_false(flag(key, CKA_EXTRACTABLE) || flag(key, CKA_ALWAYS_SENSITIVE) || flag(key, CKA_LOCAL));
	}
	assert_ok(p11->C_Logout(session));
	assert_int_equal(find_in(session, CKO_SECRET_KEY, "aes"), 0);
}

/* I-29: every operation with every key of the token; the key's flag and the answer say the same. */
static void operations_outside_key_ops_are_refused(void **state)
{
	(void)state;
	static const char *const names[] = {"aes", "wrap", "hmac"};
	CK_BYTE iv[16] = {0}, out[64];
	CK_MECHANISM cbc = {CKM_AES_CBC, iv, sizeof(iv)}, hmac = {CKM_SHA256_HMAC, NULL, 0},
	             cmac = {CKM_AES_CMAC, NULL, 0}, kw = {CKM_AES_KEY_WRAP, NULL, 0};
	CK_OBJECT_HANDLE payload, made;
	CK_ATTRIBUTE unwrapped[] = {VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes)};

	assert_ok(AES(&payload, FLAG(CKA_EXTRACTABLE, true)));
	for (size_t i = 0; i < COUNT(names); i++) {
		CK_OBJECT_HANDLE key = find_in(session, CKO_SECRET_KEY, names[i]);
		CK_MECHANISM *mac = strcmp(names[i], "hmac") == 0 ? &hmac : &cmac;
		CK_ULONG len = sizeof(out);
		assert_int_equal(p11->C_EncryptInit(session, &cbc, key) == CKR_OK, flag(key, CKA_ENCRYPT));
		assert_int_equal(p11->C_DecryptInit(session, &cbc, key) == CKR_OK, flag(key, CKA_DECRYPT));
		assert_int_equal(p11->C_SignInit(session, mac, key) == CKR_OK, flag(key, CKA_SIGN));
		assert_int_equal(p11->C_VerifyInit(session, mac, key) == CKR_OK, flag(key, CKA_VERIFY));
		assert_int_equal(p11->C_WrapKey(session, &kw, key, payload, out, &len) == CKR_OK, flag(key, CKA_WRAP));
		CK_RV rv = p11->C_UnwrapKey(session, &kw, key, out, 40, unwrapped, 2, &made);
		assert_int_equal(rv == CKR_OK, flag(key, CKA_UNWRAP));
		p11->C_EncryptInit(session, NULL, 0);
		p11->C_DecryptInit(session, NULL, 0);
		p11->C_SignInit(session, NULL, 0);
		p11->C_VerifyInit(session, NULL, 0);
	}
}

static void a_key_made_for_some_mechanisms_does_no_others(void **state)
{
	(void)state;
	CK_MECHANISM_TYPE only[] = {CKM_AES_CMAC};
	CK_MECHANISM cmac = {CKM_AES_CMAC, NULL, 0}, ecb = {CKM_AES_ECB, NULL, 0};
	CK_OBJECT_HANDLE key;

	assert_ok(AES(&key, VALUE(CKA_ALLOWED_MECHANISMS, only)));
	assert_rv(p11->C_EncryptInit(session, &ecb, key), CKR_MECHANISM_INVALID);
	assert_ok(p11->C_SignInit(session, &cmac, key));
}

/* ---- the published attacks (Clulow 2003; Delaune, Kremer, Steel 2008; Bortolozzo et al. 2010) ---- */

/* Wrap a key, then decrypt the wrapped key with the key that wrapped it. */
static void no_key_wraps_and_decrypts(void **state)
{
	(void)state;
	CK_OBJECT_HANDLE key;

	assert_rv(AES(&key, FLAG(CKA_WRAP, true), FLAG(CKA_DECRYPT, true)), CKR_TEMPLATE_INCONSISTENT);
	assert_rv(AES(&key, FLAG(CKA_UNWRAP, true), FLAG(CKA_ENCRYPT, true)), CKR_TEMPLATE_INCONSISTENT);
	assert_rv(AES(&key, FLAG(CKA_WRAP, true), FLAG(CKA_SIGN, true)), CKR_TEMPLATE_INCONSISTENT);
	assert_rv(CREATE(&key, VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes),
	                 BYTES(CKA_VALUE, "0123456789abcdef"), FLAG(CKA_WRAP, true), FLAG(CKA_DECRYPT, true)),
	          CKR_TEMPLATE_INCONSISTENT);
	assert_ok(AES(&key, FLAG(CKA_WRAP, true), FLAG(CKA_UNWRAP, true)));
	assert_false(flag(key, CKA_DECRYPT) || flag(key, CKA_ENCRYPT) || flag(key, CKA_SIGN));

	/* A key of the token whose key_ops are both, as Azure makes them, decrypts and does not wrap. */
	CK_OBJECT_HANDLE token = find_in(session, CKO_SECRET_KEY, "aes"), payload;
	CK_MECHANISM kw = {CKM_AES_KEY_WRAP, NULL, 0};
	CK_BYTE out[64];
	CK_ULONG len = sizeof(out);
	assert_ok(AES(&payload, FLAG(CKA_EXTRACTABLE, true)));
	assert_rv(p11->C_WrapKey(session, &kw, token, payload, out, &len), CKR_KEY_FUNCTION_NOT_PERMITTED);
}

/* Unwrap what was wrapped under other flags: readable, or for the other use. */
static void what_is_unwrapped_stays_sensitive_and_wraps_nothing(void **state)
{
	(void)state;
	CK_MECHANISM kw = {CKM_AES_KEY_WRAP, NULL, 0};
	CK_OBJECT_HANDLE wrapping, payload, back;
	CK_BYTE out[64], value[64];
	CK_ULONG len = sizeof(out), value_len;
	CK_ATTRIBUTE plain[] = {VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes),
	                        FLAG(CKA_SENSITIVE, false), FLAG(CKA_EXTRACTABLE, true)},
	             wraps[] = {VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes), FLAG(CKA_WRAP, true)},
	             unwraps[] = {VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes),
	                          FLAG(CKA_UNWRAP, true)},
	             usual[] = {VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes)};

	assert_ok(AES(&wrapping, FLAG(CKA_WRAP, true), FLAG(CKA_UNWRAP, true)));
	assert_ok(AES(&payload, FLAG(CKA_EXTRACTABLE, true)));
	assert_ok(p11->C_WrapKey(session, &kw, wrapping, payload, out, &len));
	assert_int_equal(len, 40);
	assert_rv(p11->C_UnwrapKey(session, &kw, wrapping, out, len, plain, 4, &back), CKR_TEMPLATE_INCONSISTENT);
	assert_rv(p11->C_UnwrapKey(session, &kw, wrapping, out, len, wraps, 3, &back), CKR_TEMPLATE_INCONSISTENT);
	assert_rv(p11->C_UnwrapKey(session, &kw, wrapping, out, len, unwraps, 3, &back), CKR_TEMPLATE_INCONSISTENT);
	assert_ok(p11->C_UnwrapKey(session, &kw, wrapping, out, len, usual, 2, &back));
	assert_true(flag(back, CKA_SENSITIVE) && !flag(back, CKA_EXTRACTABLE));
	assert_false(flag(back, CKA_ALWAYS_SENSITIVE) || flag(back, CKA_NEVER_EXTRACTABLE) || flag(back, CKA_LOCAL));
	assert_rv(value_of(back, value, &value_len), CKR_ATTRIBUTE_SENSITIVE);
	out[3] ^= 1;
	assert_rv(p11->C_UnwrapKey(session, &kw, wrapping, out, len, usual, 2, &back), CKR_WRAPPED_KEY_INVALID);
}

/* Give a wrapping key a second life, by wrapping it and unwrapping it for decryption. */
static void wrapping_keys_are_not_extractable(void **state)
{
	(void)state;
	CK_OBJECT_HANDLE key;

	assert_rv(AES(&key, FLAG(CKA_WRAP, true), FLAG(CKA_EXTRACTABLE, true)), CKR_TEMPLATE_INCONSISTENT);
	assert_rv(AES(&key, FLAG(CKA_UNWRAP, true), FLAG(CKA_EXTRACTABLE, true)), CKR_TEMPLATE_INCONSISTENT);
}

/* Wrap a sensitive key under one whose value is known. */
static void a_known_key_wraps_nothing_sensitive(void **state)
{
	(void)state;
	CK_MECHANISM kw = {CKM_AES_KEY_WRAP, NULL, 0}, oaep;
	CK_RSA_PKCS_OAEP_PARAMS params = {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, NULL, 0};
	CK_OBJECT_HANDLE known, sensitive, open, public, private;
	CK_BYTE out[512];
	CK_ULONG len = sizeof(out), bits = 2048;
	CK_MECHANISM pair = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
	CK_ATTRIBUTE publics[] = {VALUE(CKA_MODULUS_BITS, bits), FLAG(CKA_WRAP, true)},
	             privates[] = {FLAG(CKA_SENSITIVE, false), FLAG(CKA_EXTRACTABLE, true)};

	oaep = (CK_MECHANISM){CKM_RSA_PKCS_OAEP, &params, sizeof(params)};
	assert_ok(CREATE(&known, VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes),
	                 BYTES(CKA_VALUE, "0123456789abcdef"), FLAG(CKA_WRAP, true)));
	assert_ok(p11->C_GenerateKeyPair(session, &pair, publics, 2, privates, 2, &public, &private));
	assert_ok(AES(&sensitive, FLAG(CKA_EXTRACTABLE, true)));
	assert_ok(AES(&open, FLAG(CKA_EXTRACTABLE, true), FLAG(CKA_SENSITIVE, false)));
	assert_rv(p11->C_WrapKey(session, &kw, known, sensitive, out, &len), CKR_KEY_NOT_WRAPPABLE);
	assert_rv(p11->C_WrapKey(session, &oaep, public, sensitive, out, &len), CKR_KEY_NOT_WRAPPABLE);
	assert_ok(p11->C_WrapKey(session, &kw, known, open, out, &len));
	len = sizeof(out);
	assert_ok(p11->C_WrapKey(session, &oaep, public, open, out, &len));
	assert_rv(p11->C_WrapKey(session, &kw, known, public, out, &len), CKR_KEY_NOT_WRAPPABLE);
	assert_rv(p11->C_WrapKey(session, &kw, private, open, out, &len), CKR_KEY_FUNCTION_NOT_PERMITTED);

	assert_ok(CHANGE(open, FLAG(CKA_WRAP_WITH_TRUSTED, true)));
	len = sizeof(out);
	assert_rv(p11->C_WrapKey(session, &kw, known, open, out, &len), CKR_KEY_NOT_WRAPPABLE);
	assert_rv(CHANGE(open, FLAG(CKA_WRAP_WITH_TRUSTED, false)), CKR_ATTRIBUTE_READ_ONLY);
}

/* A padding oracle on C_UnwrapKey (Bardou et al. 2012). */
static void sensitive_keys_do_not_tell_about_paddings(void **state)
{
	(void)state;
	CK_BYTE iv[16] = {0}, out[64];
	CK_MECHANISM pad = {CKM_AES_CBC_PAD, iv, sizeof(iv)};
	CK_OBJECT_HANDLE wrapping, payload, back, token = find_in(session, CKO_SECRET_KEY, "wrap");
	CK_ULONG len = sizeof(out);
	CK_ATTRIBUTE usual[] = {VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes)};

	assert_ok(AES(&wrapping, FLAG(CKA_WRAP, true), FLAG(CKA_UNWRAP, true)));
	assert_ok(AES(&payload, FLAG(CKA_EXTRACTABLE, true), FLAG(CKA_SENSITIVE, false)));
	assert_rv(p11->C_WrapKey(session, &pad, wrapping, payload, out, &len), CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_rv(p11->C_UnwrapKey(session, &pad, wrapping, out, 48, usual, 2, &back), CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_rv(p11->C_UnwrapKey(session, &pad, token, out, 48, usual, 2, &back), CKR_KEY_FUNCTION_NOT_PERMITTED);
}

/* Derive one key twice, for wrapping and for decryption; take a key apart into pieces. */
static void derived_keys_wrap_nothing_and_pieces_are_not_had(void **state)
{
	(void)state;
	CK_BYTE point[65];
	CK_ULONG point_len = 0, bits = 0;
	auto_pkey *peer = EVP_PKEY_Q_keygen(ossl, NULL, "EC", "P-256");
	EVP_PKEY_get_octet_string_param(peer, "encoded-pub-key", point, sizeof(point), &point_len);
	CK_ECDH1_DERIVE_PARAMS params = {CKD_NULL, 0, NULL, point_len, point};
	CK_MECHANISM ecdh = {CKM_ECDH1_DERIVE, &params, sizeof(params)}, pair = {CKM_EC_KEY_PAIR_GEN, NULL, 0},
	             pieces[] = {{CKM_EXTRACT_KEY_FROM_KEY, &bits, sizeof(bits)},
	                         {CKM_XOR_BASE_AND_DATA, NULL, 0},
	                         {CKM_CONCATENATE_BASE_AND_DATA, NULL, 0}};
	CK_ATTRIBUTE curve[] = {VALUE(CKA_EC_PARAMS, p256)}, derives[] = {FLAG(CKA_DERIVE, true)},
	             readable[] = {VALUE(CKA_KEY_TYPE, type_aes), FLAG(CKA_SENSITIVE, false),
	                           FLAG(CKA_EXTRACTABLE, true)},
	             hidden[] = {VALUE(CKA_KEY_TYPE, type_aes)},
	             wraps[] = {VALUE(CKA_KEY_TYPE, type_aes), FLAG(CKA_WRAP, true)};
	CK_OBJECT_HANDLE public, private, key, token = find_in(session, CKO_SECRET_KEY, "aes");
	CK_BYTE value[64];
	CK_ULONG len;

	assert_ok(p11->C_GenerateKeyPair(session, &pair, curve, 1, derives, 1, &public, &private));
	assert_ok(p11->C_DeriveKey(session, &ecdh, private, readable, 3, &key));
	assert_ok(value_of(key, value, &len));
	assert_int_equal(len, 32);
	assert_false(flag(key, CKA_LOCAL) || flag(key, CKA_ALWAYS_SENSITIVE) || flag(key, CKA_NEVER_EXTRACTABLE));
	assert_ok(p11->C_DeriveKey(session, &ecdh, private, hidden, 1, &key));
	assert_true(flag(key, CKA_ALWAYS_SENSITIVE) && flag(key, CKA_NEVER_EXTRACTABLE));
	assert_rv(p11->C_DeriveKey(session, &ecdh, private, wraps, 2, &key), CKR_TEMPLATE_INCONSISTENT);
	assert_rv(p11->C_DeriveKey(session, &ecdh, find_in(session, CKO_PRIVATE_KEY, "ec"), hidden, 1, &key),
	          CKR_KEY_FUNCTION_NOT_PERMITTED);
	for (size_t i = 0; i < COUNT(pieces); i++)
		assert_true(p11->C_DeriveKey(session, &pieces[i], token, readable, 3, &key) != CKR_OK);
}

/* ---- pairs ---- */

static void a_generated_pair_signs_and_tells_what_it_may(void **state)
{
	(void)state;
	CK_MECHANISM pair = {CKM_EC_KEY_PAIR_GEN, NULL, 0}, ecdsa = {CKM_ECDSA_SHA256, NULL, 0};
	CK_ATTRIBUTE curve[] = {VALUE(CKA_EC_PARAMS, p256), BYTES(CKA_LABEL, "pair")},
	             open[] = {FLAG(CKA_SENSITIVE, false), FLAG(CKA_EXTRACTABLE, true)},
	             token[] = {FLAG(CKA_TOKEN, true)};
	CK_OBJECT_HANDLE public, private, again;
	CK_BYTE signature[64], value[64];
	CK_ULONG len = sizeof(signature), value_len;

	assert_ok(p11->C_GenerateKeyPair(session, &pair, curve, 2, open, 2, &public, &private));
	assert_ok(p11->C_SignInit(session, &ecdsa, private));
	assert_ok(p11->C_Sign(session, (CK_BYTE *)"abc", 3, signature, &len));
	assert_ok(p11->C_VerifyInit(session, &ecdsa, public));
	assert_ok(p11->C_Verify(session, (CK_BYTE *)"abc", 3, signature, len));
	assert_rv(p11->C_SignInit(session, &ecdsa, public), CKR_KEY_FUNCTION_NOT_PERMITTED);

	/* The number, given back as a new key, is the same key. */
	assert_ok(value_of(private, value, &value_len));
	assert_int_equal(value_len, 32);
	assert_ok(CREATE(&again, VALUE(CKA_CLASS, class_private), VALUE(CKA_KEY_TYPE, *(CK_KEY_TYPE[]){CKK_EC}),
	                 VALUE(CKA_EC_PARAMS, p256), {CKA_VALUE, value, value_len}));
	assert_ok(p11->C_SignInit(session, &ecdsa, again));
	len = sizeof(signature);
	assert_ok(p11->C_Sign(session, (CK_BYTE *)"abc", 3, signature, &len));
	assert_ok(p11->C_VerifyInit(session, &ecdsa, public));
	assert_ok(p11->C_Verify(session, (CK_BYTE *)"abc", 3, signature, len));
	assert_rv(value_of(again, value, &value_len), CKR_ATTRIBUTE_SENSITIVE);

	assert_rv(p11->C_GenerateKeyPair(session, &pair, curve, 2, token, 1, &public, &private), CKR_SESSION_READ_ONLY);
	assert_int_equal(find_in(session, CKO_PUBLIC_KEY, "pair"), public);
}

/* Java verifies on the token: consumers, rule 13. */
static void an_imported_public_key_verifies(void **state)
{
	(void)state;
	CK_OBJECT_HANDLE private = find_in(session, CKO_PRIVATE_KEY, "rsa"), imported;
	CK_BYTE modulus[512], exponent[8], signature[512];
	CK_ATTRIBUTE numbers[] = {VALUE(CKA_MODULUS, modulus), VALUE(CKA_PUBLIC_EXPONENT, exponent)};
	CK_MECHANISM mechanism = {CKM_SHA256_RSA_PKCS, NULL, 0};
	CK_ULONG len = sizeof(signature);

	assert_ok(p11->C_GetAttributeValue(session, private, numbers, 2));
	assert_ok(
	    CREATE(&imported, VALUE(CKA_CLASS, class_public), VALUE(CKA_KEY_TYPE, type_rsa), numbers[0], numbers[1]));
	/* As pkcs11-provider does it before it verifies. */
	assert_ok(CREATE(&imported, VALUE(CKA_CLASS, class_public), VALUE(CKA_KEY_TYPE, type_rsa),
	                 FLAG(CKA_ENCRYPT, true), FLAG(CKA_VERIFY, true), FLAG(CKA_WRAP, true), numbers[0], numbers[1],
	                 FLAG(CKA_TOKEN, false)));
	assert_ok(p11->C_SignInit(session, &mechanism, private));
	assert_ok(p11->C_Sign(session, (CK_BYTE *)"abc", 3, signature, &len));
	assert_ok(p11->C_VerifyInit(session, &mechanism, imported));
	assert_ok(p11->C_Verify(session, (CK_BYTE *)"abc", 3, signature, len));
	assert_ok(p11->C_VerifyInit(session, &mechanism, imported));
	assert_rv(p11->C_Verify(session, (CK_BYTE *)"abd", 3, signature, len), CKR_SIGNATURE_INVALID);
}

static void rsa_numbers_of_an_open_key_are_told_and_taken(void **state)
{
	(void)state;
	CK_ULONG bits = 2048;
	CK_MECHANISM pair = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0}, mechanism = {CKM_SHA256_RSA_PKCS, NULL, 0};
	CK_ATTRIBUTE size[] = {VALUE(CKA_MODULUS_BITS, bits)},
	             open[] = {FLAG(CKA_SENSITIVE, false), FLAG(CKA_EXTRACTABLE, true)};
	CK_BYTE n[256], e[8], d[256], p[128], q[128], dp[128], dq[128], qi[128], signature[256];
	CK_ATTRIBUTE t[] = {VALUE(CKA_CLASS, class_private), VALUE(CKA_KEY_TYPE, type_rsa),  VALUE(CKA_MODULUS, n),
	                    VALUE(CKA_PUBLIC_EXPONENT, e),   VALUE(CKA_PRIVATE_EXPONENT, d), VALUE(CKA_PRIME_1, p),
	                    VALUE(CKA_PRIME_2, q),           VALUE(CKA_EXPONENT_1, dp),      VALUE(CKA_EXPONENT_2, dq),
	                    VALUE(CKA_COEFFICIENT, qi)};
	CK_OBJECT_HANDLE public, private, again;
	CK_ULONG len = sizeof(signature);

	assert_ok(p11->C_GenerateKeyPair(session, &pair, size, 1, open, 2, &public, &private));
	assert_ok(p11->C_GetAttributeValue(session, private, t, COUNT(t)));
	assert_ok(create(t, COUNT(t), &again));
	assert_ok(p11->C_SignInit(session, &mechanism, again));
	assert_ok(p11->C_Sign(session, (CK_BYTE *)"abc", 3, signature, &len));
	assert_ok(p11->C_VerifyInit(session, &mechanism, public));
	assert_ok(p11->C_Verify(session, (CK_BYTE *)"abc", 3, signature, len));
	q[5] ^= 1;
	assert_rv(create(t, COUNT(t), &again), CKR_ATTRIBUTE_VALUE_INVALID);
}

/* ---- wrong arguments ---- */

/* I-16: lengths that no buffer has, and none at all. */
static void no_length_is_believed_blindly(void **state)
{
	(void)state;
	const CK_ULONG huge = (CK_ULONG)-1;
	CK_BYTE bytes[64] = {0};
	CK_ATTRIBUTE much = {CKA_LABEL, bytes, huge}, nothing = {CKA_LABEL, NULL, 7},
	             flagless = {CKA_SENSITIVE, NULL, 0};
	CK_MECHANISM kw = {CKM_AES_KEY_WRAP, NULL, 0}, oaep = {CKM_RSA_PKCS_OAEP, bytes, huge},
	             ecdh = {CKM_ECDH1_DERIVE, NULL, 48};
	CK_OBJECT_HANDLE object, token = find_in(session, CKO_SECRET_KEY, "wrap");
	CK_ATTRIBUTE usual[] = {VALUE(CKA_CLASS, class_secret), VALUE(CKA_KEY_TYPE, type_aes)};
	CK_ULONG len = huge;

	assert_rv(p11->C_CreateObject(session, &much, 1, &object), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_CreateObject(session, &nothing, 1, &object), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_CreateObject(session, NULL, 3, &object), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_UnwrapKey(session, &kw, token, bytes, huge, usual, 2, &object), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_UnwrapKey(session, &kw, token, bytes, 0, usual, 2, &object), CKR_WRAPPED_KEY_LEN_RANGE);
	assert_rv(p11->C_UnwrapKey(session, &oaep, token, bytes, 40, usual, 2, &object), CKR_MECHANISM_PARAM_INVALID);
	assert_rv(p11->C_DeriveKey(session, &ecdh, token, usual, 2, &object), CKR_MECHANISM_PARAM_INVALID);
	assert_rv(p11->C_GenerateKey(session, &kw, usual, huge, &object), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_GenerateKey(session, &kw, usual, 2, &object), CKR_MECHANISM_INVALID);
	assert_rv(p11->C_GenerateKeyPair(session, &kw, usual, 2, usual, huge, &object, &object), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_WrapKey(session, &oaep, token, token, bytes, &len), CKR_MECHANISM_PARAM_INVALID);
	assert_rv(p11->C_WrapKey(session, &kw, token, token, bytes, NULL), CKR_ARGUMENTS_BAD);
	assert_rv(p11->C_WrapKey(session, &kw, 4711, token, bytes, &len), CKR_WRAPPING_KEY_HANDLE_INVALID);
	assert_rv(p11->C_WrapKey(session, &kw, token, 4711, bytes, &len), CKR_KEY_HANDLE_INVALID);
	assert_rv(p11->C_UnwrapKey(session, &kw, 4711, bytes, 40, usual, 2, &object),
	          CKR_UNWRAPPING_KEY_HANDLE_INVALID);

	assert_ok(AES(&object, FLAG(CKA_EXTRACTABLE, true)));
	assert_rv(p11->C_SetAttributeValue(session, object, &flagless, 1), CKR_ATTRIBUTE_VALUE_INVALID);
	assert_rv(p11->C_SetAttributeValue(session, object, NULL, 0), CKR_ARGUMENTS_BAD);
	assert_ok(CHANGE(object, {CKA_LABEL, NULL, 0}));
	/* The length of what is wrapped is told, and a buffer that is too small is left alone. */
	len = 0;
	assert_ok(p11->C_WrapKey(session, &kw, token, object, NULL, &len));
	assert_int_equal(len, 40);
	len = 39;
	assert_rv(p11->C_WrapKey(session, &kw, token, object, bytes, &len), CKR_BUFFER_TOO_SMALL);
	assert_int_equal(len, 40);
	assert_int_equal(bytes[0], 0);
	len = huge;
	assert_ok(p11->C_WrapKey(session, &kw, token, object, bytes, &len));
	assert_int_equal(len, 40);
}

/* ---- threads ---- */

struct worker {
	pthread_t thread;
	CK_OBJECT_HANDLE shared;
	int done;
};

/* Any answer is right that means "it is gone"; the rest must be CKR_OK. */
static bool gone(CK_RV rv)
{
	return rv == CKR_KEY_HANDLE_INVALID || rv == CKR_OBJECT_HANDLE_INVALID || rv == CKR_USER_NOT_LOGGED_IN ||
	       rv == CKR_OPERATION_NOT_INITIALIZED || rv == CKR_ATTRIBUTE_VALUE_INVALID;
}

static bool work_once(const struct worker *worker)
{
	CK_MECHANISM make = {CKM_AES_KEY_GEN, NULL, 0}, ecb = {CKM_AES_ECB, NULL, 0};
	CK_ATTRIBUTE template[] = {VALUE(CKA_VALUE_LEN, len32), FLAG(CKA_PRIVATE, worker->done % 2)},
	             label = BYTES(CKA_LABEL, "renamed");
	CK_SESSION_HANDLE s = open_session();
	CK_OBJECT_HANDLE own = 0, copy = 0;
	CK_BYTE block[16] = {0};
	CK_ULONG len = sizeof(block);

	CK_RV rv = p11->C_GenerateKey(s, &make, template, 2, &own);
	if (rv == CKR_OK)
		rv = p11->C_CopyObject(s, own, &label, 1, &copy);
	if (rv == CKR_OK)
		rv = p11->C_SetAttributeValue(s, worker->shared, &label, 1);
	if (rv == CKR_OK)
		rv = p11->C_EncryptInit(s, &ecb, worker->shared);
	if (rv == CKR_OK)
		rv = p11->C_Encrypt(s, block, 16, block, &len);
	if (rv == CKR_OK)
		rv = p11->C_DestroyObject(s, own);
	return p11->C_CloseSession(s) == CKR_OK && (rv == CKR_OK || gone(rv));
}

static void *work(void *with)
{
	struct worker *worker = with;

	while (worker->done < 100 && work_once(worker))
		worker->done++;
	return NULL;
}

static void many_sessions_make_use_and_destroy_at_once(void **state)
{
	(void)state;
	struct worker workers[4] = {0};
	CK_OBJECT_HANDLE shared;

	assert_ok(AES(&shared, FLAG(CKA_PRIVATE, false)));
	for (size_t i = 0; i < COUNT(workers); i++) {
		workers[i].shared = shared;
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	for (int i = 0; i < 10; i++) {
		assert_ok(p11->C_Logout(session));
		assert_ok(p11->C_Login(session, CKU_USER, NULL, 0));
	}
	for (size_t i = 0; i < COUNT(workers); i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].done, 100);
	}
	assert_true(find_in(session, CKO_SECRET_KEY, "renamed") == shared);
}

/* ---- set-up ---- */

static int start(void **state)
{
	(void)state;
	/* The configuration's folder must be nobody else's: not /tmp. */
	snprintf(folder, sizeof(folder), "%.200s/.skr-test-XXXXXX", getenv("HOME") ? getenv("HOME") : "/root");
	if (!mkdtemp(folder) || C_GetFunctionList(&p11) != CKR_OK)
		return -1;
	snprintf(conf, sizeof(conf), "%s/skr.conf", folder);
	FILE *f = fopen(conf, "w");
	fprintf(f, "[skr-pkcs11]\nlog = none\n[token web]\nattestation = https://sharedneu.neu.attest.azure.net\n");
	static const char *const names[] = {"rsa", "ec", "aes", "wrap", "hmac"};
	for (size_t i = 0; i < COUNT(names); i++)
		fprintf(f, "key = https://contoso.managedhsm.azure.net/keys/%s\n", names[i]);
	fprintf(f, "[token stranger]\nattestation = https://sharedneu.neu.attest.azure.net\n"
	           "key = https://contoso.managedhsm.azure.net/keys/other\n");
	fclose(f);
	chmod(conf, 0644);
	setenv("SKR_PKCS11_CONF", conf, 1);
	log_open("none", LOG_LEVEL_ERROR, "test");
	return arena_open(ARENA_LOCK_OFF).failure || ossl_open().failure ? -1 : 0;
}

static int stop(void **state)
{
	(void)state;
	unlink(conf);
	return rmdir(folder);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, before, after)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(data_is_kept_found_changed_and_destroyed),
	    TEST(templates_that_do_not_fit_are_refused),
	    TEST(a_certificate_is_what_it_says),
	    TEST(all_sessions_with_a_token_use_an_object_until_its_own_ends),
	    TEST(a_logout_ends_the_private_objects_of_every_session),
	    TEST(objects_end_while_others_use_them),
	    TEST(private_session_objects_end_with_the_login),
	    TEST(a_session_has_only_so_many),
	    TEST(a_child_has_none),
	    TEST(flags_tell_the_history_of_a_key),
	    TEST(flags_change_in_one_direction),
	    TEST(nothing_about_token_keys_is_changed_copied_or_wrapped),
	    TEST(no_attribute_holds_a_token_secret),
	    TEST(symmetric_keys_are_what_their_key_ops_say),
	    TEST(operations_outside_key_ops_are_refused),
	    TEST(a_key_made_for_some_mechanisms_does_no_others),
	    TEST(no_key_wraps_and_decrypts),
	    TEST(what_is_unwrapped_stays_sensitive_and_wraps_nothing),
	    TEST(wrapping_keys_are_not_extractable),
	    TEST(a_known_key_wraps_nothing_sensitive),
	    TEST(sensitive_keys_do_not_tell_about_paddings),
	    TEST(derived_keys_wrap_nothing_and_pieces_are_not_had),
	    TEST(a_generated_pair_signs_and_tells_what_it_may),
	    TEST(an_imported_public_key_verifies),
	    TEST(rsa_numbers_of_an_open_key_are_told_and_taken),
	    TEST(no_length_is_believed_blindly),
	    TEST(many_sessions_make_use_and_destroy_at_once),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
