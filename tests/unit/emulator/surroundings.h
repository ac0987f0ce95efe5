/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TEST_EMULATOR_SURROUNDINGS_H
#define SKR_TEST_EMULATOR_SURROUNDINGS_H

/* An emulator without ports, in a directory of its own, for the tests of what it plays. */

#include "base/base64.h"
#include "base/file.h"
#include "emulator/emulator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PEM_LIMIT (64 * 1024)

/* The failure's own sentence, where a test expects none. */
#define assert_ok(call)                                                                    \
	do {                                                                               \
		skr_status done_ = (call);                                                 \
		if (done_.failure)                                                         \
			fail_msg("%s: SKR-%d %s", #call, done_.failure, status_message()); \
	} while (0)

/* The call fails with this number, and its sentence has these words in it. */
#define assert_refused(call, number, words)                                                         \
	do {                                                                                        \
		skr_status done_ = (call);                                                          \
		if (done_.failure != (number) || !strstr(status_message(), (words)))                \
			fail_msg("%s: SKR-%d \"%s\", not SKR-%d with \"%s\"", #call, done_.failure, \
			         done_.failure ? status_message() : "", (number), (words));         \
	} while (0)

static char test_directory[64];
static struct emulator emulator;

static inline int make_directory(void)
{
	if (ossl_open().failure)
		return -1;
	strcpy(test_directory, "/tmp/skr-emulator-XXXXXX");
	if (!mkdtemp(test_directory))
		return -1;
	emulator = (struct emulator){.dir = test_directory};
	return 0;
}

static inline void remove_files(const char *directory)
{
	DIR *listing = opendir(directory);
	for (struct dirent *entry; listing && (entry = readdir(listing));) {
		char path[512];
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		if (entry->d_name[0] == '.')
			continue;
		if (entry->d_type == DT_DIR)
			remove_files(path);
		else
			unlink(path);
	}
	if (listing)
		closedir(listing);
	rmdir(directory);
}

/* A file of tests/data, appended. */
static inline void read_data(const char *name, struct buf *out)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", SKR_TEST_DATA, name);
	assert_ok(file_read(path, out));
}

/* The certificates of a PEM file of tests/data, behind those that `chain` has. */
static inline void read_chain(const char *name, STACK_OF(X509) *chain)
{
	auto_buf pem = BUF(PEM_LIMIT);
	auto_x509s *read = NULL;
	read_data(name, &pem);
	assert_ok(certificates_from_pem(pem.data, pem.len, &read));
	while (sk_X509_num(read) > 0)
		assert_true(sk_X509_push(chain, sk_X509_shift(read)) > 0);
}

/* What a JSON text says, owned by the caller. */
static inline json *json_of(const char *text)
{
	json *parsed = NULL;
	assert_ok(json_parse(text, strlen(text), &parsed));
	return parsed;
}

#endif
