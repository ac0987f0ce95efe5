/* SPDX-License-Identifier: Apache-2.0 */
/* Target: keywrap_open() and keywrap_open_aes(): the wrapped blob of a release. The first byte chooses enc and half. */
#include "jose/keywrap.h"

#include "base/file.h"
#include "base/json.h"

#include <openssl/pem.h>

#include <stdlib.h>
#include <string.h>

static EVP_PKEY *transport;

static void start(void)
{
	auto_buf text = BUF(1024 * 1024);
	auto_json *vectors = NULL;

	if (ossl_open().failure || file_read(SKR_TEST_DATA "/akv/keywrap-vectors.json", &text).failure ||
	    json_parse_large(text.data, text.len, 4096, &vectors).failure)
		abort();
	const json *vector = json_first(json_get(vectors, "rsa_aes_key_wrap"));
	auto_bio *bio = BIO_new_mem_buf(json_string_or_null(vector, "transport_private_key_pkcs1_pem"), -1);
	transport = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, ossl, NULL);
	if (!transport)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const encs[] = {"CKM_RSA_AES_KEY_WRAP", "RSA_AES_KEY_WRAP_256", "RSA_AES_KEY_WRAP_384"};
	auto_buf target = BUF(8 * 1024);
	skr_status status;

	if (!transport)
		start();
	if (size < 33)
		return 0;
	if (data[0] & 4)
		status = keywrap_open_aes(data + 1, 32, data + 33, size - 33, &target);
	else
		status = keywrap_open(encs[data[0] % 3], transport, data + 1, size - 1, &target);
	if (status.failure && (status.failure != 341 || target.len))
		__builtin_trap(); /* one number for all causes, and nothing handed out */
	return 0;
}
