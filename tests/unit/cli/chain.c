/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/chain.h"

#include "cli/certificate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include <openssl/x509v3.h>

#define DAY (24L * 60 * 60)

/* A root, what it issued, what that issued; a stranger with the middle's name. */
static EVP_PKEY *keys[4];
static X509 *root, *middle, *leaf, *stranger;

/* Valid from `from` to `to`, in seconds from now; NULL issuer: its own. */
static X509 *make(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, bool authority, long from,
                  long to)
{
	X509 *c = X509_new_ex(ossl, NULL);
	X509_NAME *subject = X509_get_subject_name(c);
	X509_EXTENSION *constraints =
	    X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, authority ? "CA:TRUE" : "CA:FALSE");

	assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)name, -1, -1, 0), 1);
	X509_set_version(c, 2);
	X509_set_issuer_name(c, issuer ? X509_get_subject_name(issuer) : subject);
	X509_gmtime_adj(X509_getm_notBefore(c), from);
	X509_gmtime_adj(X509_getm_notAfter(c), to);
	X509_set_pubkey(c, key);
	X509_add_ext(c, constraints, -1);
	X509_EXTENSION_free(constraints);
	assert_true(X509_sign(c, issuer_key, EVP_sha256()) > 0);
	return c;
}

static int make_all(void **state)
{
	(void)state;
	if (ossl_open().failure)
		return -1;
	for (size_t i = 0; i < 4; i++)
		keys[i] = EVP_PKEY_Q_keygen(ossl, NULL, "EC", "P-256");
	root = make("root", keys[0], NULL, keys[0], true, -DAY, 100 * DAY);
	middle = make("middle", keys[1], root, keys[0], true, -DAY, 100 * DAY);
	leaf = make("leaf", keys[2], middle, keys[1], false, -DAY, 100 * DAY);
	stranger = make("middle", keys[3], root, keys[0], true, -DAY, 100 * DAY);
	return 0;
}

static int free_all(void **state)
{
	X509 *all[] = {root, middle, leaf, stranger};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		X509_free(all[i]);
		EVP_PKEY_free(keys[i]);
	}
	return 0;
}

static STACK_OF(X509) *stack_of(X509 *a, X509 *b, X509 *c)
{
	STACK_OF(X509) *stack = sk_X509_new_null();
	X509 *all[] = {a, b, c};

	for (size_t i = 0; i < 3 && all[i]; i++)
		X509_add_cert(stack, all[i], X509_ADD_FLAG_UP_REF);
	return stack;
}

static void a_chain_is_judged_by_who_issued_whom(void **state)
{
	const struct {
		X509 *given[3];
		int count, in_order;
		bool self_issued, anchored_alone, anchored;
	} rows[] = {
	    {{leaf, middle, root}, 3, 3, true, true, true},
	    {{leaf, middle, NULL}, 2, 2, false, false, true},
	    {{leaf, NULL, NULL}, 1, 1, false, false, false},
	    {{leaf, root, middle}, 3, 1, false, false, false},
	    {{middle, leaf, root}, 3, 1, false, false, true},
	    {{leaf, stranger, root}, 3, 1, false, false, false}, /* the right name, another key */
	    {{root, NULL, NULL}, 1, 1, true, true, true},
	    {{leaf, middle, leaf}, 3, 2, false, false, true},
	};
	X509_STORE *authorities = X509_STORE_new();

	(void)state;
	X509_STORE_add_cert(authorities, root);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		auto_x509s *given = stack_of(rows[i].given[0], rows[i].given[1], rows[i].given[2]);
		struct chain_look alone = chain_look(given, NULL), look = chain_look(given, authorities);
		if (look.count != rows[i].count || look.in_order != rows[i].in_order ||
		    look.self_issued != rows[i].self_issued || look.anchored != rows[i].anchored ||
		    alone.anchored != rows[i].anchored_alone)
			fail_msg("row %zu: %d %d %d %d %d", i, look.count, look.in_order, look.self_issued,
			         look.anchored, alone.anchored);
	}
	X509_STORE_free(authorities);
}

static void a_chain_is_built_from_any_order(void **state)
{
	auto_x509s *pool = stack_of(root, stranger, middle), *short_pool = stack_of(root, stranger, NULL),
	           *chain = NULL, *alone = NULL;

	(void)state;
	assert_int_equal(chain_build(leaf, pool, &chain).failure, 0);
	assert_int_equal(sk_X509_num(chain), 3);
	assert_ptr_equal(sk_X509_value(chain, 1), middle);
	assert_ptr_equal(sk_X509_value(chain, 2), root);
	assert_int_equal(chain_build(leaf, short_pool, &alone).failure, 0);
	assert_int_equal(sk_X509_num(alone), 1);
}

static void two_that_issued_each_other_make_no_endless_chain(void **state)
{
	/* "a" is issued by "b", and "b" by "a". */
	X509 *name_of_b = make("b", keys[1], NULL, keys[1], true, -DAY, DAY);
	X509 *a = make("a", keys[0], name_of_b, keys[1], true, -DAY, DAY);
	X509 *b = make("b", keys[1], a, keys[0], true, -DAY, DAY);
	auto_x509s *pool = stack_of(a, b, NULL), *chain = NULL;

	(void)state;
	assert_int_equal(chain_build(a, pool, &chain).failure, 0);
	assert_in_range(sk_X509_num(chain), 2, 16);
	X509_free(a);
	X509_free(b);
	X509_free(name_of_b);
}

static void days_are_counted_to_the_end(void **state)
{
	static const struct {
		long from, to;
		int days;
		bool begun;
	} rows[] = {
	    {-DAY, 30 * DAY + 60, 30, true}, {-DAY, 30 * DAY - 60, 29, true},     {-DAY, 60, 0, true},
	    {-2 * DAY, -60, -1, true},       {-9 * DAY, -2 * DAY - 60, -2, true}, {DAY, 2 * DAY + 60, 2, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		auto_x509 *c = make("x", keys[0], NULL, keys[0], false, rows[i].from, rows[i].to);
		assert_int_equal(certificate_days_left(c), rows[i].days);
		assert_int_equal(certificate_has_begun(c), rows[i].begun);
	}
}

static void a_certificate_is_told_in_words(void **state)
{
	auto_x509 *c = make("www", keys[0], root, keys[0], false, 0, DAY);
	auto_buf name = BUF(256), names = BUF(256), date = BUF(64), pem = BUF(16 * 1024), tiny = BUF(2);
	ASN1_TIME *time = ASN1_TIME_new();
	auto_x509s *one = stack_of(c, NULL, NULL), *again = NULL;

	(void)state;
	assert_int_equal(certificate_name(X509_get_issuer_name(c), &name).failure, 0);
	assert_string_equal(buf_text(&name), "CN=root");
	assert_int_equal(certificate_name(X509_get_issuer_name(c), &tiny).failure, 208);
	assert_int_equal(certificate_alternative_names(c, &names).failure, 0);
	assert_int_equal(names.len, 0);
	X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:a,IP:192.0.2.1");
	X509_add_ext(c, san, -1);
	X509_EXTENSION_free(san);
	assert_int_equal(certificate_alternative_names(c, &names).failure, 0);
	assert_string_equal(buf_text(&names), "DNS:a, IP Address:192.0.2.1");
	assert_int_equal(ASN1_TIME_set_string_X509(time, "310203040506Z"), 1);
	assert_int_equal(certificate_date(time, &date).failure, 0);
	assert_string_equal(buf_text(&date), "2031-02-03");
	ASN1_TIME_free(time);
	assert_int_equal(certificates_to_pem(one, &pem).failure, 0);
	assert_int_equal(certificates_from_pem(pem.data, pem.len, &again).failure, 0);
	assert_int_equal(X509_cmp(sk_X509_value(again, 0), c), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_chain_is_judged_by_who_issued_whom),
	    cmocka_unit_test(a_chain_is_built_from_any_order),
	    cmocka_unit_test(two_that_issued_each_other_make_no_endless_chain),
	    cmocka_unit_test(days_are_counted_to_the_end),
	    cmocka_unit_test(a_certificate_is_told_in_words),
	};
	return cmocka_run_group_tests(tests, make_all, free_all);
}
