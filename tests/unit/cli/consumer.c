/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/consumer.h"
#include "cli/uri.h"

#include "base/ossl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const struct consumer_values everything = {.module = "/m.so",
                                                  .again = " web --key www",
                                                  .again_module = " --module /m.so",
                                                  .name = "www",
                                                  .uri = "pkcs11:token=web;object=www;type=private",
                                                  .certificate_uri = "pkcs11:token=web;object=www;type=cert",
                                                  .certificate = "/c.pem",
                                                  .key_file = "/k.pem",
                                                  .helper = "/h.so",
                                                  .slot_index = "3",
                                                  .pem = "-----BEGIN"};

static void every_consumer_has_all_that_its_lines_name(void **state)
{
	(void)state;
	for (const struct consumer *c = consumers; c->name; c++) {
		auto_buf text = BUF(64 * 1024);
		if (consumer_lines(c, &everything, &text).failure)
			fail_msg("%s: %s", c->name, status_message());
		if (strchr(buf_text(&text), '@') || !text.len)
			fail_msg("%s: %s", c->name, buf_text(&text));
		assert_true(!c->key_file || strstr(c->key_file, "%s"));
	}
}

/* Needs and lines belong together: what the lines name is looked for, and nothing else is. */
static void what_is_needed_is_what_the_lines_name(void **state)
{
	(void)state;
	for (const struct consumer *c = consumers; c->name; c++) {
		bool key = strstr(c->lines, "uri@") || strstr(c->lines, "@key_file@") || strstr(c->lines, "@pem@");
		bool certificate = strstr(c->lines, "@certificate@") || strstr(c->lines, "@certificate_uri@");
		if (key != (c->needs >= NEEDS_KEY) || certificate != (c->needs >= NEEDS_CERTIFICATE) ||
		    (strstr(c->lines, "@slot_index@") && c->needs < NEEDS_TOKEN) ||
		    (strstr(c->lines, "@helper@") && !c->helper) || (c->key_file && !strstr(c->lines, "@key_file@")) ||
		    (strstr(c->lines, "@key_file@") && !c->key_file))
			fail_msg("%s", c->name);
	}
}

static void what_is_not_known_is_not_printed(void **state)
{
	struct consumer_values values = everything;
	auto_buf text = BUF(64 * 1024);

	(void)state;
	values.certificate = NULL;
	assert_int_equal(consumer_lines(consumer_find("nginx", WAY_ENGINE), &values, &text).failure, 599);
	assert_non_null(strstr(status_message(), "certificate"));
}

static void the_way_is_the_one_asked_for_or_that_is_installed(void **state)
{
	(void)state;
	assert_int_equal(consumer_find("nginx", WAY_ENGINE)->way, WAY_ENGINE);
	assert_int_equal(consumer_find("nginx", WAY_PROVIDER)->way, WAY_PROVIDER);
	assert_null(consumer_find("haproxy", WAY_ENGINE));
	assert_null(consumer_find("gopher", WAY_ANY));
	assert_null(consumer_find("ngin", WAY_ANY));

	/* A folder that has pkcs11.so, and one that has not, in the places of engines and providers. */
	char folder[] = "/tmp/skr-consumer-XXXXXX", file[64];
	assert_non_null(mkdtemp(folder));
	snprintf(file, sizeof(file), "%s/pkcs11.so", folder);
	fclose(fopen(file, "w"));
	setenv("OPENSSL_ENGINES", "/nonexistent", 1);
	setenv("OPENSSL_MODULES", folder, 1);
	assert_int_equal(consumer_find("nginx", WAY_ANY)->way, WAY_PROVIDER);
	assert_string_equal(consumer_find("nginx", WAY_ANY)->helper->path(), file);
	setenv("OPENSSL_MODULES", "/nonexistent", 1);
	assert_int_equal(consumer_find("nginx", WAY_ANY)->way, WAY_ENGINE);
	assert_false(helper_is_installed(consumer_find("nginx", WAY_ANY)->helper));
	setenv("OPENSSL_ENGINES", folder, 1);
	assert_true(helper_is_installed(consumer_find("nginx", WAY_ANY)->helper));
	assert_true(helper_is_installed(NULL));
	unlink(file);
	rmdir(folder);
	unsetenv("OPENSSL_ENGINES");
	unsetenv("OPENSSL_MODULES");
}

static void a_label_is_a_uri_of_three_parts(void **state)
{
	auto_buf uri = BUF(1024), certificate = BUF(1024);

	(void)state;
	assert_int_equal(uri_of_label("a b", "it's;50%", CKO_PRIVATE_KEY, &uri).failure, 0);
	assert_string_equal(buf_text(&uri), "pkcs11:token=a%20b;object=it%27s%3B50%25;type=private");
	assert_int_equal(uri_of_label("web", "www", CKO_CERTIFICATE, &certificate).failure, 0);
	assert_string_equal(buf_text(&certificate), "pkcs11:token=web;object=www;type=cert");
}

/* Made by: openssl asn1parse -genconf of SEQUENCE { VISIBLESTRING, UTF8String }, openssl base64 (docs/interop.md). */
static void a_pem_uri_file_is_what_openssl_makes_of_the_recipe(void **state)
{
	auto_buf pem = BUF(1024), full = BUF(100);

	(void)state;
	assert_int_equal(uri_to_pem("pkcs11:token=skr;object=rsa2048;type=private", &pem).failure, 0);
	assert_string_equal(buf_text(&pem), "-----BEGIN PKCS#11 PROVIDER URI-----\n"
	                                    "MEkaGVBLQ1MjMTEgUHJvdmlkZXIgVVJJIHYxLjAMLHBrY3MxMTp0b2tlbj1za3I7\n"
	                                    "b2JqZWN0PXJzYTIwNDg7dHlwZT1wcml2YXRl\n"
	                                    "-----END PKCS#11 PROVIDER URI-----\n");
	assert_int_equal(uri_to_pem("pkcs11:token=skr;object=rsa2048;type=private", &full).failure, 208);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_consumer_has_all_that_its_lines_name),
	    cmocka_unit_test(what_is_needed_is_what_the_lines_name),
	    cmocka_unit_test(what_is_not_known_is_not_printed),
	    cmocka_unit_test(the_way_is_the_one_asked_for_or_that_is_installed),
	    cmocka_unit_test(a_label_is_a_uri_of_three_parts),
	    cmocka_unit_test(a_pem_uri_file_is_what_openssl_makes_of_the_recipe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
