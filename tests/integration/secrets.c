/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I-01, I-02, I-03 (by its cause): keys whose numbers are known are imported into the emulated vault and released; then
 * this process searches its own memory for them: while logged in they lie only in pages that are kept out of core
 * files, after logout and finalize nowhere.
 */
#include "support/module.h"
#include "cmocka_all.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECE = 24, PARTS = 8 };

/* Pieces of the private numbers, both byte orders, kept so that the copy for comparing is not itself found: masked. */
static unsigned char pieces[PARTS][2][PIECE];
static const unsigned char mask = 0x5c;

static const char *const part_names[PARTS] = {OSSL_PKEY_PARAM_RSA_D,
                                              OSSL_PKEY_PARAM_RSA_FACTOR1,
                                              OSSL_PKEY_PARAM_RSA_FACTOR2,
                                              OSSL_PKEY_PARAM_RSA_EXPONENT1,
                                              OSSL_PKEY_PARAM_RSA_EXPONENT2,
                                              OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
                                              "AES key",
                                              "HMAC key"};

/* Written by the set-up process to a file of its own: 8 bytes length, number, eight times. */
static void remember(int fd)
{
	for (int i = 0; i < PARTS; i++) {
		unsigned char number[512];
		uint64_t len;
		assert_int_equal(read(fd, &len, sizeof(len)), sizeof(len));
		assert_true(len >= PIECE + 8 && len <= sizeof(number));
		assert_int_equal(read(fd, number, len), (ssize_t)len);
		for (int k = 0; k < PIECE; k++) {
			pieces[i][0][k] = number[8 + k] ^ mask;
			pieces[i][1][k] = number[8 + PIECE - 1 - k] ^ mask;
		}
		explicit_bzero(number, sizeof(number));
	}
}

struct found {
	int dumpable, guarded;
	bool seen[PARTS];
	char where[256];
};

static int matches(const unsigned char *at, const unsigned char *masked)
{
	for (int i = 0; i < PIECE; i++)
		if ((at[i] ^ mask) != masked[i])
			return 0;
	return 1;
}

static void search_range(const unsigned char *start, const unsigned char *end, bool dumpable, const char *name,
                         struct found *found)
{
	for (const unsigned char *at = start; at + PIECE <= end; at++)
		for (int i = 0; i < PARTS; i++)
			for (int order = 0; order < 2; order++) {
				if ((at[0] ^ mask) != pieces[i][order][0] || !matches(at, pieces[i][order]))
					continue;
				if (dumpable)
					snprintf(found->where, sizeof(found->where), "%s of the key in %.200s",
					         part_names[i], name);
				*(dumpable ? &found->dumpable : &found->guarded) += 1;
				found->seen[i] = true;
			}
}

/* Every readable private mapping of this process, by smaps; "dd" is what MADV_DONTDUMP leaves there. */
static struct found search(void)
{
	struct range {
		unsigned long start, end;
		bool readable, dumpable;
		char name[128];
	};
	static struct range ranges[4096];
	size_t count = 0;
	struct found found = {0};
	char line[512], mode[8];
	FILE *maps = fopen("/proc/self/smaps", "r");

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		struct range *r = &ranges[count];
		int name_at = 0;
		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %n", &r->start, &r->end, mode, &name_at) >= 3 && name_at) {
			line[strcspn(line, "\n")] = '\0';
			snprintf(r->name, sizeof(r->name), "%.120s",
			         line[name_at] ? line + name_at : "anonymous memory");
			r->readable = mode[0] == 'r' && strncmp(r->name, "[v", 2) != 0;
			r->dumpable = true;
			assert_true(++count < 4096);
		} else if (strncmp(line, "VmFlags:", 8) == 0 && count) {
			ranges[count - 1].dumpable = strstr(line, " dd") == NULL;
		}
	}
	fclose(maps);
	for (size_t i = 0; i < count; i++)
		if (ranges[i].readable)
			search_range((const unsigned char *)ranges[i].start, (const unsigned char *)ranges[i].end,
			             ranges[i].dumpable, ranges[i].name, &found);
	return found;
}

static CK_SESSION_HANDLE session;

static void encrypt_some(void)
{
	unsigned char iv[16] = {7}, text[64] = {3}, out[96];
	CK_MECHANISM cbc = {CKM_AES_CBC_PAD, iv, sizeof(iv)}, hmac = {CKM_SHA256_HMAC, NULL, 0};

	for (int i = 0; i < 20; i++) {
		CK_ULONG len = sizeof(out), back = sizeof(out);
		assert_ok(p11->C_EncryptInit(session, &cbc, module_find(session, CKO_SECRET_KEY, "known-aes")));
		assert_ok(p11->C_Encrypt(session, text, sizeof(text), out, &len));
		assert_ok(p11->C_DecryptInit(session, &cbc, module_find(session, CKO_SECRET_KEY, "known-aes")));
		assert_ok(p11->C_Decrypt(session, out, len, out, &back));
		len = sizeof(out);
		assert_ok(p11->C_SignInit(session, &hmac, module_find(session, CKO_SECRET_KEY, "known-hmac")));
		assert_ok(p11->C_Sign(session, text, sizeof(text), out, &len));
	}
}

static void sign_some(void)
{
	unsigned char hash[32] = {3}, signature[256], plain[256];
	CK_RSA_PKCS_PSS_PARAMS parameters = {CKM_SHA256, CKG_MGF1_SHA256, 32};
	CK_MECHANISM pss = {CKM_RSA_PKCS_PSS, &parameters, sizeof(parameters)}, pkcs1 = {CKM_RSA_PKCS, NULL, 0};
	CK_OBJECT_HANDLE key = module_find(session, CKO_PRIVATE_KEY, "known");

	for (int i = 0; i < 20; i++) {
		CK_ULONG len = sizeof(signature);
		assert_ok(p11->C_SignInit(session, &pss, key));
		assert_ok(p11->C_Sign(session, hash, sizeof(hash), signature, &len));
		len = sizeof(plain);
		signature[0] = 0;
		assert_ok(p11->C_DecryptInit(session, &pkcs1, key));
		assert_ok(p11->C_Decrypt(session, signature, sizeof(signature), plain, &len));
	}
}

static void a_released_key_lies_only_in_guarded_memory(void **state)
{
	(void)state;
	/* Negative control: the search finds what is in ordinary memory. */
	unsigned char *control = malloc(PIECE);
	for (int i = 0; i < PIECE; i++)
		control[i] = pieces[1][0][i] ^ mask;
	assert_true(search().dumpable >= 1);
	explicit_bzero(control, PIECE);
	free(control);
	assert_int_equal(search().dumpable, 0);

	module_load();
	module_initialize();
	session = module_session("known");
	module_login(session);
	sign_some();
	encrypt_some();
	struct found in = search();
	if (in.dumpable)
		fail_msg("logged in: %s", in.where);
	for (int i = 0; i < PARTS; i++) /* else the search would prove nothing */
		assert_true(in.seen[i]);

	assert_ok(p11->C_Logout(session));
	struct found out = search();
	if (out.dumpable + out.guarded)
		fail_msg("after logout: %d and %d copies, %s", out.dumpable, out.guarded, out.where);

	module_login(session);
	sign_some();
	encrypt_some();
	assert_ok(p11->C_Finalize(NULL));
	out = search();
	if (out.dumpable + out.guarded)
		fail_msg("after finalize: %d and %d copies, %s", out.dumpable, out.guarded, out.where);
}

/* In a process of its own: makes the key, writes its numbers to the pipe and its JWK (by the shell) to the vault. */
static void make_known_key(const char *path)
{
	char command[512];

	snprintf(command, sizeof(command), "%s/tests/support/known-key.sh '%s'", getenv("SKR_TOP"), path);
	if (system(command) != 0)
		fail_msg("known-key.sh failed");
}

static int set_up(void **state)
{
	(void)state;
	char path[4096];

	snprintf(path, sizeof(path), "%s/known.numbers", getenv("SKR_RUN"));
	make_known_key(path);
	int fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	remember(fd);
	close(fd);
	unlink(path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_released_key_lies_only_in_guarded_memory),
	};
	return cmocka_run_group_tests_name("integration.secrets", tests, set_up, NULL);
}
