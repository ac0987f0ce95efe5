/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Target: release_verify(). Input that starts with '{' is a payload, which is signed here by the right signer, so that
 * what lies behind the signature is reached too; anything else is the whole JWS. The transport key is the published
 * test key.
 */
#include "release/answer.h"

#include "unit/release/vault.h"
#include "base/file.h"

#include <openssl/pem.h>

static struct signer signer;
static EVP_PKEY *transport;
static json *header;

static void start(void)
{
	auto_buf text = BUF(1024 * 1024);
	auto_json *vectors = NULL;

	MUST_OK(ossl_open());
	MUST_OK(file_read(SKR_TEST_DATA "/akv/keywrap-vectors.json", &text));
	MUST_OK(json_parse_large(text.data, text.len, 4096, &vectors));
	const json *vector = json_first(json_get(vectors, "rsa_aes_key_wrap"));
	auto_bio *bio = BIO_new_mem_buf(json_string_or_null(vector, "transport_private_key_pkcs1_pem"), -1);
	transport = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, ossl, NULL);
	MUST(transport);
	signer_make(&signer, VAULT_SAN, NULL);
	header = signer_header(&signer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config config;
	static struct key_config key = {
	    .url = "https://" VAULT_HOST "/keys/www", .host = VAULT_HOST, .name = "www", .label = "www"};
	static struct token_config token = {.label = "web", .keys = &key, .key_count = 1, .enc = VAULT_ENC};
	struct released_key released = {.config = NULL};
	auto_buf jws = BUF(VAULT_LIMIT);

	if (!transport)
		start();
	if (size > 64 * 1024)
		return 0;
	if (size && data[0] == '{')
		MUST_OK(jws_sign(header, data, size, signer.key, &jws));
	else
		MUST_OK(buf_append(&jws, data, size));

	struct release_expectation expected = {.config = &config,
	                                       .token = &token,
	                                       .key = &key,
	                                       .nonce = "the-nonce",
	                                       .transport_kid = "Nvhfuq2cCIOAB8XR4Xi9Pr0NP_9CeMzWQGtW_HALz_w",
	                                       .transport = transport,
	                                       .anchors = signer.anchors,
	                                       .now = TEST_NOW};
	skr_status status = release_verify(&expected, buf_text(&jws), jws.len, &released);
	if (status.failure && (released.key || released.secret.data || released.config))
		__builtin_trap(); /* a refusal hands nothing out */
	if (!status.failure && !released.key && !released.secret.len)
		__builtin_trap();
	EVP_PKEY_free(released.key);
	buf_done(&released.secret);
	return 0;
}
