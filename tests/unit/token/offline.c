/* SPDX-License-Identifier: Apache-2.0 */
#include "token/token.h"

#include "base/log.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Which certificate is whose: four keys of our own, certificates and public keys of them in files. */
static EVP_PKEY *keys[4];
static uint8_t hashes[4][32];
static unsigned char ids[4][20];

static void write_certificate(FILE *f, EVP_PKEY *key, const char *name, bool is_authority)
{
	auto_x509 *certificate = X509_new_ex(ossl, NULL);

	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (const unsigned char *)name,
	                           -1, -1, 0);
	X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	if (is_authority) {
		X509_EXTENSION *ca = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
		X509_add_ext(certificate, ca, -1);
		X509_EXTENSION_free(ca);
	}
	X509_sign(certificate, key, EVP_sha256());
	PEM_write_X509(f, certificate);
}

static void write_one(const char *path, int key, const char *name, bool is_authority)
{
	FILE *f = fopen(path, "w");
	write_certificate(f, keys[key], name, is_authority);
	fclose(f);
}

static int start(void **state)
{
	(void)state;
	log_open("none", LOG_LEVEL_ERROR, "test");
	if (arena_open(ARENA_LOCK_OFF).failure || ossl_open().failure)
		return -1;
	for (int i = 0; i < 4; i++) {
		struct public_half half;
		keys[i] = EVP_PKEY_Q_keygen(ossl, NULL, "EC", "P-256");
		if (public_half_of(keys[i], &half).failure)
			return -1;
		memcpy(hashes[i], half.sha256, 32);
		memcpy(ids[i], half.id, 20);
		public_half_done(&half);
	}
	return 0;
}

static int stop(void **state)
{
	(void)state;
	static const char *const files[] = {"offline-a.pem",   "offline-b.pem",   "offline-k1.crt", "offline-chain.pem",
	                                    "offline-pub.pem", "offline-bad.pem", "offline-K1.crt", "offline-k0.pem",
	                                    "offline-k1.pem",  "offline-k2.pem"};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlink(files[i]);
	for (int i = 0; i < 4; i++)
		EVP_PKEY_free(keys[i]);
	return 0;
}

static struct objects objects_of(struct key_config *key, size_t key_count, const char **certificates, size_t count)
{
	struct token_config settings = {.label = "t",
	                                .keys = key,
	                                .key_count = key_count,
	                                .certificates = certificates,
	                                .certificate_count = count};
	struct objects list = {0};

	assert_int_equal(offline_objects("0123456789abcdef", &settings, &list).failure, 0);
	return list;
}

/* The label under which the object of this class and key is shown; "" if it is not. */
static const char *label_of(const struct objects *list, CK_OBJECT_CLASS class, int key)
{
	static char label[64];
	const struct object *object = objects_with_id(list, class, ids[key], 20);

	label[0] = '\0';
	if (object) {
		const CK_ATTRIBUTE *a = attributes_get(&object->attributes, CKA_LABEL);
		snprintf(label, sizeof(label), "%.*s", (int)a->ulValueLen, (const char *)a->pValue);
	}
	return label;
}

#define KEY(name_)                                                                         \
	{                                                                                  \
		.url = "https://v/keys/" name_, .host = "v", .name = name_, .label = name_ \
	}

static void in_the_order_of_the_keys(void **state)
{
	(void)state;
	struct key_config key[] = {KEY("k0"), KEY("k1")};
	const char *files[] = {"offline-a.pem", "offline-b.pem"};

	write_one(files[0], 0, "zero", false);
	write_one(files[1], 1, "one", false);
	auto_objects list = objects_of(key, 2, files, 2);
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 0), "k0");
	assert_string_equal(label_of(&list, CKO_PUBLIC_KEY, 0), "k0");
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 1), "k1");
}

static void by_the_name_of_the_file(void **state)
{
	(void)state;
	struct key_config key[] = {KEY("k0"), KEY("offline-k1")};
	const char *files[] = {"offline-k1.crt", "offline-a.pem"};

	write_one(files[0], 1, "one", false);
	write_one(files[1], 0, "zero", false);
	auto_objects list = objects_of(key, 2, files, 2);
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 0), "k0");
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 1), "offline-k1");
}

/* Whatever the order of the files, labels stay where they belong. */
static void files_named_like_keys_may_come_in_any_order(void **state)
{
	(void)state;
	struct key_config key[] = {KEY("offline-k0"), KEY("offline-k1"), KEY("offline-k2")};
	const char *files[] = {"offline-k2.pem", "offline-k0.pem", "offline-k1.pem"};
	const int whose[] = {2, 0, 1};
	char expected[] = "offline-k0";

	key[1].name = "other"; /* so that it is the label */
	for (int i = 0; i < 3; i++)
		write_one(files[i], whose[i], "anybody", false);
	auto_objects list = objects_of(key, 3, files, 3);
	for (int i = 0; i < 3; i++) {
		expected[9] = (char)('0' + i);
		assert_string_equal(label_of(&list, CKO_CERTIFICATE, i), expected);
		assert_string_equal(label_of(&list, CKO_PUBLIC_KEY, i), expected);
	}
}

static void the_case_of_a_file_name_matters(void **state)
{
	(void)state;
	struct key_config key[] = {KEY("k0"), KEY("offline-k1")};
	const char *files[] = {"offline-K1.crt", "offline-a.pem"};

	write_one(files[0], 0, "zero", false);
	write_one(files[1], 1, "one", false);
	auto_objects list = objects_of(key, 2, files, 2);
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 0), "k0");
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 1), "offline-k1");
}

static void by_the_pin_before_all_else(void **state)
{
	(void)state;
	struct key_config key[] = {KEY("offline-k1"), KEY("k0")};
	const char *files[] = {"offline-k1.crt", "offline-a.pem"};

	key[0].pinned = true;
	memcpy(key[0].public_key_sha256, hashes[0], 32);
	write_one(files[0], 1, "one", false);
	write_one(files[1], 0, "zero", false);
	auto_objects list = objects_of(key, 2, files, 2);
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 0), "offline-k1");
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 1), "k0");
}

/* A pinned key never gets the certificate of another key, even if no other is there. */
static void a_pinned_key_takes_no_other_certificate(void **state)
{
	(void)state;
	struct key_config key[] = {KEY("k0")};
	const char *files[] = {"offline-a.pem"};

	key[0].pinned = true;
	memcpy(key[0].public_key_sha256, hashes[3], 32);
	write_one(files[0], 0, "zero", false);
	auto_objects list = objects_of(key, 1, files, 1);
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 0), "zero");
	assert_string_equal(label_of(&list, CKO_PUBLIC_KEY, 0), "");
}

static void a_chain_is_shown_but_its_issuers_have_no_key(void **state)
{
	(void)state;
	struct key_config key[] = {KEY("k0"), KEY("k1")};
	const char *files[] = {"offline-chain.pem"};
	FILE *f = fopen(files[0], "w");
	CK_ULONG category = 2;
	CK_ATTRIBUTE authority = {CKA_CERTIFICATE_CATEGORY, &category, sizeof(category)};

	write_certificate(f, keys[0], "leaf", false);
	write_certificate(f, keys[2], "issuer", true);
	fclose(f);
	auto_objects list = objects_of(key, 2, files, 1);
	assert_int_equal(list.count, 3);
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 0), "k0");
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 2), "issuer");
	assert_string_equal(label_of(&list, CKO_PUBLIC_KEY, 2), "");
	struct object *issuer = objects_with_id(&list, CKO_CERTIFICATE, ids[2], 20),
	              *leaf = objects_with_id(&list, CKO_CERTIFICATE, ids[0], 20);
	assert_true(attributes_match(&issuer->attributes, &authority, 1));
	assert_false(attributes_match(&leaf->attributes, &authority, 1));
}

static void a_self_signed_test_certificate_is_taken_last(void **state)
{
	(void)state;
	struct key_config key[] = {KEY("k0"), KEY("k1")};
	const char *files[] = {"offline-a.pem", "offline-b.pem"};

	write_one(files[0], 1, "ca", true);
	write_one(files[1], 0, "zero", false);
	auto_objects list = objects_of(key, 2, files, 2);
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 0), "k0");
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 1), "k1");
}

static void a_public_key_file_stands_in_for_a_certificate(void **state)
{
	(void)state;
	struct key_config key[] = {KEY("k0")};
	const char *files[] = {"offline-pub.pem"};
	struct token_config settings = {
	    .label = "t", .keys = key, .key_count = 1, .public_keys = files, .public_key_count = 1};
	auto_objects list = {0};
	FILE *f = fopen(files[0], "w");

	PEM_write_PUBKEY(f, keys[0]);
	fclose(f);
	assert_int_equal(offline_objects("0123456789abcdef", &settings, &list).failure, 0);
	assert_int_equal(list.count, 1);
	assert_string_equal(label_of(&list, CKO_PUBLIC_KEY, 0), "k0");
}

static void a_file_that_cannot_be_read_takes_nothing_else_away(void **state)
{
	(void)state;
	struct key_config key[] = {KEY("k0"), KEY("k1")};
	const char *files[] = {"/nonexistent/x.pem", "offline-bad.pem", "offline-a.pem"};
	FILE *f = fopen(files[1], "w");

	fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", f);
	fclose(f);
	write_one(files[2], 0, "zero", false);
	auto_objects list = objects_of(key, 2, files, 3);
	assert_int_equal(list.count, 2);
	assert_string_equal(label_of(&list, CKO_CERTIFICATE, 0), "k0");
}

/* Architecture section 5, points 3 and 5. */
static void handles_are_the_same_every_time_and_differ_between_tokens(void **state)
{
	(void)state;
	struct key_config key[] = {KEY("k0")};
	const char *files[] = {"offline-a.pem"};
	struct token_config settings = {
	    .label = "t", .keys = key, .key_count = 1, .certificates = files, .certificate_count = 1};
	auto_objects first = {0}, again = {0}, other = {0};

	write_one(files[0], 0, "zero", false);
	assert_int_equal(offline_objects("0123456789abcdef", &settings, &first).failure, 0);
	assert_int_equal(offline_objects("0123456789abcdef", &settings, &again).failure, 0);
	assert_int_equal(offline_objects("fedcba9876543210", &settings, &other).failure, 0);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(first.item[i]->handle, again.item[i]->handle);
		assert_int_not_equal(first.item[i]->handle, other.item[i]->handle);
		assert_int_equal(handle_class(first.item[i]->handle), first.item[i]->class);
	}
}

static CK_ULONG length_of(const struct object *object, CK_ATTRIBUTE_TYPE type)
{
	const CK_ATTRIBUTE *a = attributes_get(&object->attributes, type);
	return a ? a->ulValueLen : CK_UNAVAILABLE_INFORMATION;
}

static void a_certificate_has_all_that_clients_read_and_search(void **state)
{
	(void)state;
	static const CK_ATTRIBUTE_TYPE filled[] = {CKA_CLASS,
	                                           CKA_TOKEN,
	                                           CKA_PRIVATE,
	                                           CKA_LABEL,
	                                           CKA_MODIFIABLE,
	                                           CKA_COPYABLE,
	                                           CKA_DESTROYABLE,
	                                           CKA_CERTIFICATE_TYPE,
	                                           CKA_CERTIFICATE_CATEGORY,
	                                           CKA_TRUSTED,
	                                           CKA_SUBJECT,
	                                           CKA_ISSUER,
	                                           CKA_SERIAL_NUMBER,
	                                           CKA_VALUE,
	                                           CKA_CHECK_VALUE,
	                                           CKA_ID,
	                                           CKA_PUBLIC_KEY_INFO,
	                                           CKA_START_DATE,
	                                           CKA_END_DATE};
	struct key_config key[] = {KEY("k0")};
	const char *files[] = {"offline-a.pem"};

	write_one(files[0], 0, "zero", false);
	auto_objects list = objects_of(key, 1, files, 1);
	for (size_t i = 0; i < sizeof(filled) / sizeof(filled[0]); i++)
		if (length_of(list.item[0], filled[i]) == CK_UNAVAILABLE_INFORMATION ||
		    !length_of(list.item[0], filled[i]))
			fail_msg("attribute 0x%lx is missing or empty", filled[i]);
	assert_int_equal(length_of(list.item[0], CKA_URL), 0);
	assert_int_equal(length_of(list.item[0], CKA_START_DATE), 8);
	assert_int_equal(length_of(list.item[0], CKA_CHECK_VALUE), 3);
	/* The public key knows the name its certificate gives it. */
	assert_int_equal(length_of(list.item[1], CKA_SUBJECT), length_of(list.item[0], CKA_SUBJECT));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(in_the_order_of_the_keys),
	    cmocka_unit_test(by_the_name_of_the_file),
	    cmocka_unit_test(files_named_like_keys_may_come_in_any_order),
	    cmocka_unit_test(the_case_of_a_file_name_matters),
	    cmocka_unit_test(by_the_pin_before_all_else),
	    cmocka_unit_test(a_pinned_key_takes_no_other_certificate),
	    cmocka_unit_test(a_chain_is_shown_but_its_issuers_have_no_key),
	    cmocka_unit_test(a_self_signed_test_certificate_is_taken_last),
	    cmocka_unit_test(a_public_key_file_stands_in_for_a_certificate),
	    cmocka_unit_test(a_file_that_cannot_be_read_takes_nothing_else_away),
	    cmocka_unit_test(handles_are_the_same_every_time_and_differ_between_tokens),
	    cmocka_unit_test(a_certificate_has_all_that_clients_read_and_search),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
