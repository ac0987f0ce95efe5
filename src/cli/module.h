/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_MODULE_H
#define SKR_CLI_MODULE_H

#include "cli/command.h"

#include "base/buf.h"

#include <p11-kit/pkcs11.h>
#include <skr_pkcs11.h>

#define MODULE_SLOTS_MAX   64
#define MODULE_OBJECTS_MAX 1024
#define MODULE_LABEL_MAX   256

/* A PKCS#11 module, loaded and asked as any other program does. */
struct module {
	struct terminal *t;
	const char *path; /* borrowed */
	CK_FUNCTION_LIST *call;
	const struct skr_diagnostics *diagnostics; /* NULL: another vendor's module */
};

/* Loads and initialises it; NULL: the installed one. False after it has said on t->err what is wrong. */
bool module_open(struct terminal *t, const char *path, struct module *ret_module) MUST_CHECK;
/* Finalises it, which erases the keys. Takes one that was not opened. The library stays: the program ends soon. */
void module_close(struct module *m);
#define auto_module __attribute__((cleanup(module_close))) struct module

/* The module's own words for a call that failed if it has some, else the number of PKCS#11. */
struct module_words {
	char text[1024];
};
struct module_words module_explain(const struct module *m, const char *function, CK_RV rv, CK_SLOT_ID slot);

/* The slots with a token. 0 after it has said on t->err why there is none. */
size_t module_slots(const struct module *m, CK_SLOT_ID ret_slots[MODULE_SLOTS_MAX]);

/* A token with a session of ours. */
struct module_token {
	const struct module *module;
	CK_SLOT_ID slot;
	CK_TOKEN_INFO info;
	char label[33]; /* info's, terminated, without the blanks */
	CK_SESSION_HANDLE session;
};

/* False after it has said on t->err what failed. */
bool module_token_open(const struct module *m, CK_SLOT_ID slot, struct module_token *ret_token) MUST_CHECK;
void module_token_close(struct module_token *token); /* takes one that was not opened */
#define auto_module_token __attribute__((cleanup(module_token_close))) struct module_token

/*
 * The token of that label; NULL: the only one there is. EXIT_BAD or, where there are several to choose from,
 * EXIT_USAGE, after it has said on t->err what is wrong.
 */
enum exit_code module_token_find(const struct module *m, const char *label, struct module_token *ret_token) MUST_CHECK;

/* What private keys need. False after it has said on t->err what failed. */
bool module_token_login(const struct module_token *token) MUST_CHECK;

struct module_object {
	CK_OBJECT_CLASS class;
	CK_OBJECT_HANDLE handle;
	uint8_t id[64];
	size_t id_len;
	char label[MODULE_LABEL_MAX]; /* terminated */
};

/* What is visible now, with CKA_CLASS, CKA_ID and CKA_LABEL. Returns how many. */
size_t module_objects(const struct module_token *token, struct module_object ret_objects[MODULE_OBJECTS_MAX]);

/* One attribute; false if the object has none. */
bool module_attribute(const struct module_token *token, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                      struct buf *ret_value) MUST_CHECK;

#endif
