/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/chain.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#define LENGTH_MAX 16

AUTO_OSSL(store_ctx, X509_STORE_CTX, X509_STORE_CTX_free)
#define auto_store_ctx __attribute__((cleanup(store_ctx_done))) X509_STORE_CTX

/* By name, key identifiers and the right to issue; and by the signature, since names can be equal. */
static bool issued(X509 *issuer, X509 *certificate)
{
	EVP_PKEY *key = X509_get0_pubkey(issuer);
	bool good = X509_check_issued(issuer, certificate) == X509_V_OK && key && X509_verify(certificate, key) == 1;

	ERR_clear_error();
	return good;
}

static bool issued_by_authority(X509 *certificate, X509_STORE *authorities)
{
	auto_store_ctx *search = X509_STORE_CTX_new_ex(ossl, NULL);
	X509 *found = NULL;

	if (!search || !X509_STORE_CTX_init(search, authorities, NULL, NULL))
		return false;
	bool good = X509_STORE_CTX_get1_issuer(&found, search, certificate) == 1;
	auto_x509 *issuer = found;
	return good && issued(issuer, certificate);
}

struct chain_look chain_look(const STACK_OF(X509) *given, X509_STORE *authorities)
{
	struct chain_look look = {.count = sk_X509_num(given), .in_order = 1};

	while (look.in_order < look.count &&
	       issued(sk_X509_value(given, look.in_order), sk_X509_value(given, look.in_order - 1)))
		look.in_order++;
	X509 *last = sk_X509_value(given, look.in_order - 1);
	look.self_issued = issued(last, last);
	look.anchored = look.self_issued || (authorities && issued_by_authority(last, authorities));
	return look;
}

static X509 *find_issuer(X509 *certificate, const STACK_OF(X509) *pool)
{
	for (int i = 0; i < sk_X509_num(pool); i++)
		if (issued(sk_X509_value(pool, i), certificate))
			return sk_X509_value(pool, i);
	return NULL;
}

skr_status chain_build(X509 *first, const STACK_OF(X509) *pool, STACK_OF(X509) **ret)
{
	auto_x509s *chain = sk_X509_new_null();

	for (X509 *next = first; next && sk_X509_num(chain) < LENGTH_MAX;) {
		if (!chain || !X509_add_cert(chain, next, X509_ADD_FLAG_UP_REF))
			return FAIL(14, "a chain of certificates");
		next = issued(next, next) ? NULL : find_issuer(next, pool);
	}
	*ret = TAKE(chain);
	return OK;
}
