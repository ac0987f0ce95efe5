/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/emulator.h"

#include "base/file.h"

#include <openssl/pem.h>
#include <openssl/rand.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int64_t emulator_now(const struct emulator *e)
{
	return (int64_t)time(NULL) + atomic_load(&e->clock_offset);
}

static skr_status file_path(const struct emulator *e, const char *name, const char *suffix, char *out, size_t size)
{
	int len = snprintf(out, size, "%s/%s%s", e->dir, name, suffix);

	if (len < 0 || (size_t)len >= size)
		return FAIL(17, "path too long: %s/%s", e->dir, name);
	return OK;
}

static skr_status write_all(const char *path, const uint8_t *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return FAIL(17, "open %s: %s", path, strerror(errno));
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			skr_status status = FAIL(17, "write %s: %s", path, strerror(errno));
			close(fd);
			return status;
		}
		data += n;
		len -= (size_t)n;
	}
	if (close(fd) != 0)
		return FAIL(17, "close %s: %s", path, strerror(errno));
	return OK;
}

skr_status emulator_write(const struct emulator *e, const char *name, const void *data, size_t len)
{
	char path[4096], fresh[4096];

	TRY(file_path(e, name, "", path, sizeof(path)));
	TRY(file_path(e, name, ".new", fresh, sizeof(fresh)));
	TRY(write_all(fresh, data, len));
	if (rename(fresh, path) != 0)
		return FAIL(17, "rename %s to %s: %s", fresh, path, strerror(errno));
	return OK;
}

skr_status emulator_read(const struct emulator *e, const char *name, struct buf *out)
{
	char path[4096];

	TRY(file_path(e, name, "", path, sizeof(path)));
	return file_read(path, out);
}

static skr_status key_make(int bits, const char *curve, EVP_PKEY **ret)
{
	EVP_PKEY *key =
	    curve ? EVP_PKEY_Q_keygen(ossl, NULL, "EC", curve) : EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)bits);
	if (!key)
		return ossl_fail(599, "making a key");
	*ret = key;
	return OK;
}

static skr_status key_save(const struct emulator *e, const char *name, EVP_PKEY *key)
{
	auto_bio *bio = BIO_new(BIO_s_mem());
	char *pem;

	if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		return ossl_fail(599, "writing a key as PEM");
	long len = BIO_get_mem_data(bio, &pem);
	return emulator_write(e, name, pem, (size_t)len);
}

static skr_status key_load(const struct emulator *e, const char *name, EVP_PKEY **ret)
{
	auto_buf pem = BUF(16 * 1024);

	TRY(emulator_read(e, name, &pem));
	auto_bio *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, ossl, NULL) : NULL;
	if (!key)
		return ossl_fail(4, name);
	*ret = key;
	return OK;
}

skr_status emulator_key(const struct emulator *e, const char *name, int bits, const char *curve, EVP_PKEY **ret)
{
	auto_pkey *key = NULL;

	skr_status loaded = key_load(e, name, &key);
	if (loaded.failure && loaded.failure != 1)
		return loaded;
	if (loaded.failure) {
		TRY(key_make(bits, curve, &key));
		TRY(key_save(e, name, key));
	}
	*ret = TAKE(key);
	return OK;
}

void emulator_guid(char out[37])
{
	uint8_t b[16] = {0};

	RAND_bytes_ex(ossl, b, sizeof(b), 0);
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
	         b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}
