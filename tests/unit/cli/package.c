/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/package.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static const char table[] =
    "Package: nginx-light\nStatus: install ok installed\nVersion: 9\n\n"
    "Package: nginx\nStatus: install ok installed\nDescription: x\n Version: 8\nVersion: 1.22.1-9\n\n"
    "Package: gone\nStatus: deinstall ok config-files\nVersion: 2\n\n"
    "Package: half\nStatus: install ok unpacked\nVersion: 3\n\n"
    "Package: nothing\nStatus: install ok installed\n\n"
    "Package: kept\nStatus: hold ok installed\nVersion: 1:2-3\n";

static void the_version_is_that_of_the_installed_package(void **state)
{
	static const struct {
		const char *package, *version;
	} rows[] = {{"nginx", "1.22.1-9"}, {"nginx-light", "9"}, {"kept", "1:2-3"}, {"gone", ""},
	            {"half", ""},          {"nothing", ""},      {"ngin", ""},      {"", ""}};
	char path[] = "/tmp/skr-package-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, table, sizeof(table) - 1), sizeof(table) - 1);
	close(fd);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		auto_buf version = BUF(64);
		assert_int_equal(package_version(path, rows[i].package, &version), rows[i].version[0] != '\0');
		assert_string_equal(buf_text(&version), rows[i].version);
	}
	unlink(path);
}

static void without_dpkg_nothing_is_installed(void **state)
{
	auto_buf version = BUF(64);

	(void)state;
	assert_false(package_version("/nonexistent/status", "nginx", &version));
	assert_int_equal(version.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_version_is_that_of_the_installed_package),
	    cmocka_unit_test(without_dpkg_nothing_is_installed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
