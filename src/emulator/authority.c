/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/authority.h"

#include "emulator/certificate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY        (24 * 60 * 60)
#define YEAR       (365 * DAY)
#define PEM_LIMIT  (64 * 1024)
#define NAME_LIMIT (16 * 1024)

/* An issuer of leaves: root, intermediate, and the intermediate's key. */
struct issuer {
	EVP_PKEY *key;
	X509 *intermediate, *root;
};

/* A credential that was asked for once; stays until the end, since callers borrow it. */
struct kept {
	struct kept *next;
	char *name; /* common name of the leaf */
	enum leaf leaf;
	struct credential credential;
};

struct authority {
	pthread_mutex_t lock; /* of everything below */
	struct issuer trusted, unknown;
	EVP_PKEY *tls_key;
	struct kept *kept;
};

/* What a good leaf says. */
struct leaf_names {
	const char *common;      /* subject */
	const char *alternative; /* subjectAltName in openssl.cnf's words */
};

/* Certificates go by the machine's clock, which clients check them with; POST /clock moves only what tokens say. */
static int64_t machine_now(void)
{
	return time(NULL);
}

/* ---- the issuers ---- */

static bool certifies(X509 *certificate, EVP_PKEY *key)
{
	EVP_PKEY *certified = X509_get0_pubkey(certificate);
	return certified && EVP_PKEY_eq(certified, key) == 1;
}

static skr_status stored_certificate(struct emulator *e, const char *name, X509 **ret)
{
	auto_buf pem = BUF(PEM_LIMIT);
	auto_x509s *certificates = NULL;

	TRY(emulator_read(e, name, &pem));
	TRY(certificates_from_pem(pem.data, pem.len, &certificates));
	*ret = sk_X509_shift(certificates);
	return OK;
}

skr_status authority_kept_certificate(struct emulator *e, const char *name, const struct certificate_plan *plan,
                                      X509 **ret)
{
	auto_x509 *certificate = NULL;
	skr_status read = stored_certificate(e, name, &certificate);
	if (!read.failure && certifies(certificate, plan->key)) {
		*ret = TAKE(certificate);
		return OK;
	}

	auto_x509 *issued = NULL;
	auto_buf pem = BUF(PEM_LIMIT);
	TRY(certificate_issue(plan, &issued));
	TRY(certificate_to_pem(issued, &pem));
	TRY(emulator_write(e, name, pem.data, pem.len));
	*ret = TAKE(issued);
	return OK;
}

#define ORGANIZATION "skr-pkcs11 emulator, trust it in tests only"

static const struct certificate_name root_name[] = {{"O", ORGANIZATION}, {"CN", "skr-emulator root"}, {NULL, NULL}};
static const struct certificate_name intermediate_name[] = {
    {"O", ORGANIZATION}, {"CN", "skr-emulator issuer"}, {NULL, NULL}};

static const struct certificate_extension root_extensions[] = {
    {.oid = "basicConstraints", .text = "critical,CA:TRUE"},
    {.oid = "keyUsage", .text = "critical,keyCertSign,cRLSign"},
    {.oid = "subjectKeyIdentifier", .text = "hash"},
    {0},
};
static const struct certificate_extension intermediate_extensions[] = {
    {.oid = "basicConstraints", .text = "critical,CA:TRUE,pathlen:0"},
    {.oid = "keyUsage", .text = "critical,keyCertSign,cRLSign"},
    {.oid = "subjectKeyIdentifier", .text = "hash"},
    {.oid = "authorityKeyIdentifier", .text = "keyid:always"},
    {0},
};

static struct certificate_plan root_plan(EVP_PKEY *key)
{
	return (struct certificate_plan){
	    .subject = root_name,
	    .key = key,
	    .not_before = machine_now() - DAY,
	    .not_after = machine_now() + 10LL * YEAR,
	    .extensions = root_extensions,
	};
}

static struct certificate_plan intermediate_plan(EVP_PKEY *key, X509 *root, EVP_PKEY *root_key)
{
	return (struct certificate_plan){
	    .subject = intermediate_name,
	    .key = key,
	    .issuer = root,
	    .issuer_key = root_key,
	    .not_before = machine_now() - DAY,
	    .not_after = machine_now() + 10LL * YEAR,
	    .extensions = intermediate_extensions,
	};
}

static void issuer_done(struct issuer *issuer)
{
	EVP_PKEY_free(issuer->key);
	X509_free(issuer->intermediate);
	X509_free(issuer->root);
	*issuer = (struct issuer){0};
}

static skr_status trusted_issuer(struct emulator *e, struct issuer *issuer)
{
	auto_pkey *root_key = NULL;
	TRY(emulator_key(e, "authority-root.key", 2048, NULL, &root_key));
	TRY(emulator_key(e, "authority-issuer.key", 2048, NULL, &issuer->key));

	struct certificate_plan root = root_plan(root_key);
	TRY(authority_kept_certificate(e, "ca.pem", &root, &issuer->root));
	struct certificate_plan plan = intermediate_plan(issuer->key, issuer->root, root_key);
	TRY(authority_kept_certificate(e, "authority-issuer.pem", &plan, &issuer->intermediate));
	/* A root that was made anew has not signed the intermediate that is still there. */
	if (!certificate_signed_by(issuer->intermediate, issuer->root, machine_now()).failure)
		return OK;
	X509_free(issuer->intermediate);
	issuer->intermediate = NULL;
	return certificate_issue(&plan, &issuer->intermediate);
}

/* The same names under keys that nobody was told to trust. */
static skr_status unknown_issuer(struct issuer *issuer)
{
	if (issuer->intermediate)
		return OK;
	auto_pkey *root_key = NULL, *key = NULL;
	auto_x509 *root = NULL;
	TRY(key_generate("RSA-2048", &root_key));
	TRY(key_generate("RSA-2048", &key));

	struct certificate_plan plan = root_plan(root_key);
	TRY(certificate_issue(&plan, &root));
	plan = intermediate_plan(key, root, root_key);
	TRY(certificate_issue(&plan, &issuer->intermediate));
	issuer->root = TAKE(root);
	issuer->key = TAKE(key);
	return OK;
}

/* ---- leaves ---- */

static void leaf_dates(enum leaf leaf, struct certificate_plan *plan)
{
	int64_t now = machine_now();
	plan->not_before = leaf == LEAF_EXPIRED   ? now - 90LL * DAY
	                   : leaf == LEAF_NOT_YET ? now + 30LL * DAY
	                                          : now - DAY;
	plan->not_after = leaf == LEAF_EXPIRED ? now - 30LL * DAY : now + YEAR;
}

static skr_status leaf_certificate(const struct issuer *issuer, const struct leaf_names *names, EVP_PKEY *key,
                                   enum leaf leaf, X509 **ret)
{
	bool wrong = leaf == LEAF_WRONG_NAME, self = leaf == LEAF_SELF_SIGNED;
	const struct certificate_name subject[] = {{"CN", wrong ? "wrong.example" : names->common}, {NULL, NULL}};
	const struct certificate_extension extensions[] = {
	    {.oid = "basicConstraints", .text = "critical,CA:FALSE"},
	    {.oid = "keyUsage", .text = "critical,digitalSignature,keyEncipherment"},
	    {.oid = "extendedKeyUsage", .text = "serverAuth,clientAuth"},
	    {.oid = "subjectAltName", .text = wrong ? "DNS:wrong.example" : names->alternative},
	    {.oid = "subjectKeyIdentifier", .text = "hash"},
	    {.oid = self ? NULL : "authorityKeyIdentifier", .text = "keyid:always"},
	    {0},
	};
	struct certificate_plan plan = {
	    .subject = subject,
	    .key = key,
	    .issuer = self ? NULL : issuer->intermediate,
	    .issuer_key = issuer->key,
	    .digest = leaf == LEAF_SHA1 ? "SHA1" : "SHA256",
	    .extensions = extensions,
	};
	leaf_dates(leaf, &plan);
	return certificate_issue(&plan, ret);
}

static skr_status push_reference(STACK_OF(X509) *chain, X509 *certificate)
{
	if (X509_up_ref(certificate) != 1)
		return FAIL(14, "no memory for a chain");
	if (sk_X509_push(chain, certificate) > 0)
		return OK;
	X509_free(certificate);
	return FAIL(14, "no memory for a chain");
}

static void credential_done(struct credential *credential)
{
	EVP_PKEY_free(credential->key);
	sk_X509_pop_free(credential->chain, X509_free);
	*credential = (struct credential){0};
}

static skr_status credential_make(struct authority *a, const struct leaf_names *names, EVP_PKEY *good_key,
                                  enum leaf leaf, struct credential *out)
{
	auto_pkey *weak = NULL;
	auto_x509 *certificate = NULL;
	const struct issuer *issuer = leaf == LEAF_UNKNOWN_CA ? &a->unknown : &a->trusted;
	if (leaf == LEAF_UNKNOWN_CA)
		TRY(unknown_issuer(&a->unknown));
	if (leaf == LEAF_WEAK_KEY)
		TRY(key_generate("RSA-1024", &weak));
	EVP_PKEY *key = weak ? weak : good_key;
	TRY(leaf_certificate(issuer, names, key, leaf, &certificate));

	out->chain = sk_X509_new_null();
	if (!out->chain)
		return FAIL(14, "no memory for a chain");
	TRY(push_reference(out->chain, certificate));
	if (leaf != LEAF_SELF_SIGNED) {
		TRY(push_reference(out->chain, issuer->intermediate));
		TRY(push_reference(out->chain, issuer->root));
	}
	EVP_PKEY_up_ref(key);
	out->key = key;
	return OK;
}

static const struct credential *find(const struct authority *a, const char *name, enum leaf leaf)
{
	for (const struct kept *k = a->kept; k; k = k->next)
		if (k->leaf == leaf && strcmp(k->name, name) == 0)
			return &k->credential;
	return NULL;
}

static void kept_free(struct kept *kept)
{
	credential_done(&kept->credential);
	free(kept->name);
	free(kept);
}

static skr_status make_and_keep(struct authority *a, const struct leaf_names *names, EVP_PKEY *good_key, enum leaf leaf,
                                const struct credential **ret)
{
	struct kept *kept = calloc(1, sizeof(*kept));
	char *name = strdup(names->common);
	if (!kept || !name) {
		free(kept);
		free(name);
		return FAIL(14, "no memory for a credential");
	}
	kept->name = name;
	kept->leaf = leaf;
	skr_status made = credential_make(a, names, good_key, leaf, &kept->credential);
	if (made.failure) {
		kept_free(kept);
		return made;
	}
	kept->next = a->kept;
	a->kept = kept;
	*ret = &kept->credential;
	return OK;
}

/* ---- TLS ---- */

/* maa.md section 1: the codes in shared<CODE>.<CODE>.attest.azure.net. */
static const char *const regions[] = {
    "eus", "eus2",  "wus",   "wus2", "wus3", "cus", "ncus", "scus", "wcus", "neu", "weu", "uks", "ukw",
    "frc", "dewc",  "swn",   "itn",  "noe",  "sec", "plc",  "esc",  "cac",  "cae", "brs", "eau", "sau",
    "cau", "sasia", "easia", "jpe",  "jpw",  "krc", "cin",  "sin",  "uaen", "ilc", "san", "mxc",
};

static skr_status tls_names(struct buf *out)
{
	TRY(buf_append_text(out, "DNS:*.vault.localhost,DNS:*.managedhsm.localhost,DNS:*.attest.localhost"
	                         ",DNS:login.localhost,DNS:localhost,IP:127.0.0.1,IP:::1"
	                         ",DNS:*.vault.azure.net,DNS:*.managedhsm.azure.net,DNS:*.attest.azure.net"
	                         ",DNS:login.microsoftonline.com,DNS:login.windows.net"));
	for (size_t i = 0; i < sizeof(regions) / sizeof(regions[0]); i++)
		TRY(buf_printf(out, ",DNS:*.%s.attest.azure.net", regions[i]));
	return OK;
}

static skr_status tls_locked(struct authority *a, enum leaf leaf, const struct credential **ret)
{
	static const char common[] = "skr-emulator";
	const struct credential *found = find(a, common, leaf);
	if (found) {
		*ret = found;
		return OK;
	}
	auto_buf alternative = BUF(NAME_LIMIT);
	TRY(tls_names(&alternative));
	const struct leaf_names names = {common, buf_text(&alternative)};
	return make_and_keep(a, &names, a->tls_key, leaf, ret);
}

skr_status authority_tls(struct emulator *e, enum leaf leaf, const struct credential **ret)
{
	pthread_mutex_lock(&e->authority->lock);
	skr_status status = tls_locked(e->authority, leaf, ret);
	pthread_mutex_unlock(&e->authority->lock);
	return status;
}

/* ---- who signs release answers ---- */

/* "contoso.vault.localhost" has the domain "localhost" for the word "vault"; NULL: it is not NAME.WORD.DOMAIN. */
static const char *domain_of(const char *host, const char *word)
{
	const char *rest = strchr(host, '.');
	size_t len = strlen(word);
	if (!rest || rest == host || strncmp(rest + 1, word, len) != 0 || rest[1 + len] != '.')
		return NULL;
	return rest + 2 + len;
}

/* Reference akv-release.md section 6.1: the names in the certificates that signed recorded answers. */
static skr_status release_names(const char *host, struct buf *common, struct buf *alternative)
{
	const char *domain = domain_of(host, "vault");
	if (domain) {
		TRY(buf_printf(common, "vault.%s", domain));
		return buf_printf(alternative, "DNS:vault.%s,DNS:*.vault.%s,DNS:*.vaultcore.%s", domain, domain,
		                  domain);
	}
	if (domain_of(host, "managedhsm")) {
		TRY(buf_printf(common, "*.%s", host));
		return buf_printf(alternative, "DNS:*.%s,DNS:%s", host, host);
	}
	if (strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 || strncmp(host, "127.", 4) == 0) {
		TRY(buf_append_text(common, "localhost"));
		return buf_append_text(alternative, "DNS:localhost,DNS:127.0.0.1,IP:127.0.0.1,IP:::1");
	}
	TRY(buf_append_text(common, host));
	return buf_printf(alternative, "DNS:%s", host);
}

/* The host becomes part of a file name and of openssl.cnf's little language. */
static skr_status check_host(const char *host)
{
	size_t len = strlen(host);
	if (strcmp(host, "[::1]") == 0)
		return OK;
	if (len == 0 || len > 62 || strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789.-") != len)
		return FAIL(599, "no certificate can be made for the host %s", host);
	return OK;
}

static skr_status release_locked(struct emulator *e, const char *host, enum leaf leaf, const struct credential **ret)
{
	struct authority *a = e->authority;
	auto_buf common = BUF(NAME_LIMIT), alternative = BUF(NAME_LIMIT), file = BUF(NAME_LIMIT);
	TRY(check_host(host));
	TRY(release_names(host, &common, &alternative));
	const struct credential *found = find(a, buf_text(&common), leaf);
	if (found) {
		*ret = found;
		return OK;
	}

	auto_pkey *key = NULL;
	const char *plain = buf_text(&common)[0] == '*' ? host : buf_text(&common);
	TRY(buf_printf(&file, "release-%s.key", plain));
	TRY(emulator_key(e, buf_text(&file), 2048, NULL, &key));
	const struct leaf_names names = {buf_text(&common), buf_text(&alternative)};
	return make_and_keep(a, &names, key, leaf, ret);
}

skr_status authority_release(struct emulator *e, const char *host, enum leaf leaf, const struct credential **ret)
{
	pthread_mutex_lock(&e->authority->lock);
	skr_status status = release_locked(e, host, leaf, ret);
	pthread_mutex_unlock(&e->authority->lock);
	return status;
}

/* ---- life ---- */

skr_status authority_open(struct emulator *e)
{
	struct authority *a = calloc(1, sizeof(*a));
	if (!a)
		return FAIL(14, "no memory for the authority");
	pthread_mutex_init(&a->lock, NULL);
	e->authority = a;

	skr_status status = trusted_issuer(e, &a->trusted);
	if (!status.failure)
		status = emulator_key(e, "authority-tls.key", 0, "P-256", &a->tls_key);
	if (status.failure)
		authority_close(e);
	return status;
}

void authority_close(struct emulator *e)
{
	struct authority *a = e->authority;
	if (!a)
		return;
	while (a->kept) {
		struct kept *next = a->kept->next;
		kept_free(a->kept);
		a->kept = next;
	}
	issuer_done(&a->trusted);
	issuer_done(&a->unknown);
	EVP_PKEY_free(a->tls_key);
	pthread_mutex_destroy(&a->lock);
	free(a);
	e->authority = NULL;
}
