/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TOKEN_OBJECT_H
#define SKR_TOKEN_OBJECT_H

#include "base/ossl.h"
#include "crypto/key.h"
#include "release/release.h"
#include "token/attribute.h"

/*
 * One thing on a token, or of a session: a certificate, a public, private or secret key, data. A token's is immutable
 * once it is published, but for the public key's `key`, which is made at its first use. A session's is in the pool
 * (pool.h), under its lock.
 *
 * A token object's handle is a hash of what it is (token, class, label, value), the class in the low four bits. So
 * parent and child of a fork give it the same number without talking about it, a number never comes to mean something
 * else, a key that was logged out and in again is found under the number it had, and a new version of a key has a new
 * one.
 *
 * Session objects' handles are drawn at random, above every number of a token object's.
 *
 * CKA_ID is the SHA-1 of the subjectPublicKey bits (RFC 5280 section 4.2.1.2, method 1): 20 bytes, computed alike from
 * a certificate, a public and a private key, which is how clients find them together. A symmetric key, which has no
 * public half, has the SHA-1 of its address without version.
 */
struct object {
	CK_OBJECT_HANDLE handle;
	CK_OBJECT_CLASS class;
	struct attributes attributes;
	struct key *key; /* private, secret: always; public: once used; others: NULL */
	bool released;   /* came with a login, not from a file */
	bool is_private; /* CKA_PRIVATE */
	/* Of a session object: */
	const struct session *owner;
	unsigned long epoch; /* of the login it was made under */
};

#define SESSION_OBJECT ((CK_OBJECT_HANDLE)1 << 60)

struct objects {
	struct object **item;
	size_t count;
};

/* The public half in the forms that attributes need. Plain data. */
struct public_half {
	uint8_t *spki; /* DER SubjectPublicKeyInfo, EC points uncompressed */
	size_t spki_len;
	uint8_t id[20];
	uint8_t sha256[32]; /* of spki */
};
#define auto_public_half __attribute__((cleanup(public_half_done))) struct public_half
void public_half_done(struct public_half *half);
/* Reads it from a key; makes the key encode points uncompressed. SKR-599, SKR-014. */
skr_status public_half_of(EVP_PKEY *pkey, struct public_half *ret) MUST_CHECK;

/* `token` is the token's serial: what keeps equal objects of two tokens apart. `ret` is owned by the caller. */
skr_status object_of_certificate(const char *token, X509 *certificate, const char *label, bool is_authority,
                                 struct object **ret) MUST_CHECK;
/* `subject`: DER name, or NULL; borrowed. `kid` NULL: not from a login. */
skr_status object_of_public_key(const char *token, EVP_PKEY *pkey, const char *label, const CK_ATTRIBUTE *subject,
                                const char *kid, struct object **ret) MUST_CHECK;
/* Takes one more reference of the released EVP_PKEY. SKR-341 for a key that libcrypto will not use. */
skr_status object_of_released_key(const char *token, const struct released_key *released, const CK_ATTRIBUTE *subject,
                                  struct object **ret) MUST_CHECK;
/* The same for a symmetric one: AES, unless it may only sign and verify. */
skr_status object_of_released_secret(const char *token, const struct released_key *released,
                                     struct object **ret) MUST_CHECK;
void object_free(struct object *object); /* takes NULL; drops the key */

/* Parts of the attributes, for session objects. */
void attributes_add_public_half(struct attributes *a, const EVP_PKEY *pkey, const struct public_half *half);
void attributes_add_uses(struct attributes *a, CK_OBJECT_CLASS class, unsigned uses);
void attributes_add_secret_names(struct attributes *a, CK_KEY_TYPE type);
void attributes_add_certificate(struct attributes *a, const X509 *certificate, bool is_authority);

/* Makes the key of a public key object, if it has none yet; borrowed. CKR_HOST_MEMORY, CKR_FUNCTION_FAILED. */
CK_RV object_public_key(struct object *object, struct key **ret);

/*
 * As C_GetAttributeValue. What a session key keeps secret is told if it is extractable and not sensitive; no token key
 * is.
 */
CK_RV object_read(const struct object *object, CK_ATTRIBUTE *template, CK_ULONG count);

/* The key of an object, held, and what its attributes say that decides about its use. */
struct key_view {
	struct key *key;
	CK_OBJECT_CLASS class;
	CK_KEY_TYPE type;
	bool of_token, is_private;
	bool sensitive, extractable, always_sensitive, never_extractable, wrap_with_trusted;
};
static inline void key_view_done(struct key_view *view)
{
	key_drop(view->key);
}
#define auto_key_view __attribute__((cleanup(key_view_done))) struct key_view
#define ANY_MECHANISM ((CK_MECHANISM_TYPE)CK_UNAVAILABLE_INFORMATION) /* the key is not used, but wrapped */
/* CKR_KEY_HANDLE_INVALID for what is no key; CKR_MECHANISM_INVALID if CKA_ALLOWED_MECHANISMS does not name it;
 * as object_public_key. */
CK_RV object_key_view(struct object *object, CK_MECHANISM_TYPE mechanism, struct key_view *ret);

bool object_is_private(const struct object *object);
/* The class a handle was made for, whether or not there is such an object. */
CK_OBJECT_CLASS handle_class(CK_OBJECT_HANDLE handle);

/* Lists own their objects. An object that is there already (the same handle, so the same content) is not added twice.
 */
skr_status objects_add(struct objects *list, struct object *object) MUST_CHECK;   /* takes it, also on failure */
struct object *objects_find(const struct objects *list, CK_OBJECT_HANDLE handle); /* NULL: none */
/* The first object of a class with this CKA_ID; NULL: none. */
struct object *objects_with_id(const struct objects *list, CK_OBJECT_CLASS class, const void *id, size_t len);
/* Moves the objects that `which` says out of `list` to `removed` (room is made first; without memory they are freed at
 * once). */
void objects_remove(struct objects *list, bool (*which)(const struct object *), struct objects *removed);
/*
 * Puts `added` in the place of what `which` says: all, or with SKR-014 nothing. Afterwards `added` holds what is no
 * longer in the list, or was there already.
 */
skr_status objects_replace(struct objects *list, bool (*which)(const struct object *),
                           struct objects *added) MUST_CHECK;
/* Takes one out, and frees it. */
void objects_drop(struct objects *list, const struct object *object);
void objects_free(struct objects *list); /* empties it */
#define auto_objects __attribute__((cleanup(objects_free))) struct objects

#endif
