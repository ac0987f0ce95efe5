/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TESTS_UNIT_PKCS11_PLAYED_RELEASE_H
#define SKR_TESTS_UNIT_PKCS11_PLAYED_RELEASE_H

/*
 * release/release.h played: no agent, no network. Every key of a token is an RSA or (its name begins with "ec") a P-256
 * key, the same for the same name within one process; or a symmetric one ("aes", "hmac", "wrap") whose bytes are
 * played_secret. What the next logins meet is set in `played`.
 */
#include "release/release.h"

#include "jose/jwk.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
	atomic_int calls;             /* of release_run, all processes that share the memory counted apart */
	atomic_int now, most_at_once; /* inside release_run */
	int failure;                  /* what release_run FAILs with */
	int delay_ms;                 /* how long it takes; looks at `cancelled` meanwhile */
	bool deaf;                    /* takes no notice of `cancelled` */
	unsigned ops;
	const char *version;
} played = {.ops = KEY_OP_SIGN | KEY_OP_VERIFY | KEY_OP_DECRYPT | KEY_OP_ENCRYPT,
            .version = "0123456789abcdef0123456789abcdef"};

/* Private keys as PKCS#8, by name: a key stays the same over logins. */
static struct {
	char name[128];
	unsigned char *der;
	int len;
} played_keys[8];

static EVP_PKEY *played_key(const char *name)
{
	size_t i = 0;

	while (played_keys[i].der && strcmp(played_keys[i].name, name) != 0)
		i++;
	if (!played_keys[i].der) {
		EVP_PKEY *fresh = strncmp(name, "ec", 2) == 0 ? EVP_PKEY_Q_keygen(ossl, NULL, "EC", "P-256")
		                                              : EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048);
		snprintf(played_keys[i].name, sizeof(played_keys[i].name), "%s", name);
		unsigned char *der = NULL;
		played_keys[i].len = i2d_PrivateKey(fresh, &der);
		played_keys[i].der = malloc((size_t)played_keys[i].len); /* outlives a renewed arena */
		memcpy(played_keys[i].der, der, (size_t)played_keys[i].len);
		OPENSSL_free(der);
		return fresh;
	}
	const unsigned char *p = played_keys[i].der;
	return d2i_AutoPrivateKey_ex(NULL, &p, played_keys[i].len, ossl, NULL);
}

static const unsigned char played_secret[32] = {0xb5, 0x1e, 0xd0, 0x6f, 0x93, 0x27, 0x4c, 0x88, 0x01, 0xfa, 0x3d,
                                                0x70, 0xc4, 0xe9, 0x5a, 0x12, 0x6b, 0x8d, 0x90, 0xa7, 0x34, 0xcf,
                                                0x5e, 0x21, 0x79, 0xd8, 0x46, 0xbb, 0x0c, 0xe5, 0x9a, 0x63};

static bool played_release_secret(const char *name, struct released_key *ret)
{
	if (strncmp(name, "aes", 3) == 0) /* what Azure gives such a key that is made without key_ops */
		ret->ops = KEY_OP_ENCRYPT | KEY_OP_DECRYPT | KEY_OP_WRAP | KEY_OP_UNWRAP;
	else if (strncmp(name, "wrap", 4) == 0)
		ret->ops = KEY_OP_WRAP | KEY_OP_UNWRAP;
	else if (strncmp(name, "hmac", 4) == 0)
		ret->ops = KEY_OP_SIGN | KEY_OP_VERIFY;
	else
		return false;
	ret->secret = BUF(64);
	return !buf_append(&ret->secret, played_secret, sizeof(played_secret)).failure;
}

static void played_release_key(const struct key_config *config, struct released_key *ret)
{
	unsigned char *spki = NULL;

	ret->config = config;
	snprintf(ret->version, sizeof(ret->version), "%s", played.version);
	snprintf(ret->kid, sizeof(ret->kid), "%.400s/%s", config->url, played.version);
	if (played_release_secret(config->name, ret))
		return;
	ret->key = played_key(config->name);
	ret->ops = played.ops;
	int len = i2d_PUBKEY(ret->key, &spki);
	(void)!sha256(spki, (size_t)len, ret->public_key_sha256).failure;
	OPENSSL_free(spki);
}

static bool played_wait(const struct release_options *options)
{
	for (int waited = 0; waited < played.delay_ms; waited += 5) {
		if (!played.deaf && options->cancelled && options->cancelled(options->with))
			return false;
		usleep(5000);
	}
	return true;
}

skr_status release_run(const struct config *config, const struct token_config *token,
                       const struct release_options *options, struct release *ret)
{
	(void)config;
	played.calls++;
	int now = ++played.now;
	if (now > played.most_at_once)
		played.most_at_once = now;
	if (options->facts)
		json_set_string(options->facts, "tee", "played");
	bool waited = played_wait(options);
	played.now--;
	if (!waited)
		return FAIL(403, "played");
	if (played.failure)
		return FAIL(played.failure, "played: token %s", token->label);
	ret->keys = calloc(token->key_count, sizeof(*ret->keys));
	for (size_t i = 0; i < token->key_count; i++)
		played_release_key(&token->keys[i], &ret->keys[ret->key_count++]);
	return OK;
}

void release_done(struct release *release)
{
	for (size_t i = 0; i < release->key_count; i++)
		EVP_PKEY_free(release->keys[i].key);
	for (size_t i = 0; i < release->key_count; i++)
		buf_done(&release->keys[i].secret);
	free(release->keys);
	*release = (struct release){0};
}

void release_capture_environment(const char *config_path)
{
	(void)config_path;
}

#endif
