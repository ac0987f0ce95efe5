/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/module.h"

#include "cli/uri.h"

#include <dlfcn.h>
#include <string.h>

/* What C_GetInterface gives (PKCS#11 3.0 section 3.6), which the pkcs11.h of 2.40 lacks. */
struct interface {
	CK_UTF8CHAR *name;
	void *functions;
	CK_FLAGS flags;
};
typedef CK_RV get_interface_fn(CK_UTF8CHAR *name, CK_VERSION *version, struct interface **ret, CK_FLAGS flags);

static bool load(struct module *m)
{
	CK_C_GetFunctionList get_list;
	get_interface_fn *get_interface;
	CK_UTF8CHAR name[] = SKR_INTERFACE_NAME;
	struct interface *interface;
	void *library = dlopen(m->path, RTLD_NOW | RTLD_LOCAL);

	if (!library || !(get_list = (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList"))) {
		fprintf(m->t->err, "cannot load %s: %s\nwhat to do: install the module, or name it with --module\n",
		        m->path, dlerror());
		return false;
	}
	if (get_list(&m->call) != CKR_OK) {
		fprintf(m->t->err, "%s gives no list of functions\n", m->path);
		return false;
	}
	get_interface = (get_interface_fn *)dlsym(library, "C_GetInterface");
	if (get_interface && get_interface(name, NULL, &interface, 0) == CKR_OK)
		m->diagnostics = interface->functions;
	return true;
}

bool module_open(struct terminal *t, const char *path, struct module *ret_module)
{
	struct module m = {.t = t, .path = path ? path : SKR_MODULE_PATH};

	if (!load(&m))
		return false;
	CK_RV rv = m.call->C_Initialize(NULL);
	if (rv != CKR_OK) {
		fprintf(t->err, "C_Initialize failed: 0x%lx\n", rv);
		return false;
	}
	*ret_module = m;
	return true;
}

void module_close(struct module *m)
{
	if (m->call)
		m->call->C_Finalize(NULL);
	m->call = NULL;
}

struct module_words module_explain(const struct module *m, const char *function, CK_RV rv, CK_SLOT_ID slot)
{
	struct skr_failure failure = {.number = 0};
	struct module_words words;

	if (m->diagnostics && m->diagnostics->last_failure(slot, &failure) == CKR_OK && failure.number)
		snprintf(words.text, sizeof(words.text), "%s", failure.line);
	else
		snprintf(words.text, sizeof(words.text), "%s failed: 0x%lx", function, rv);
	return words;
}

size_t module_slots(const struct module *m, CK_SLOT_ID ret_slots[MODULE_SLOTS_MAX])
{
	struct skr_failure failure = {.number = 0};
	CK_ULONG count = MODULE_SLOTS_MAX;

	if (m->call->C_GetSlotList(CK_TRUE, ret_slots, &count) == CKR_OK && count > 0)
		return count;
	fprintf(m->t->err, "%s shows no tokens\n", m->path);
	if (m->diagnostics && m->diagnostics->configuration_failure(&failure) == CKR_OK)
		fprintf(m->t->err, "%s\n", failure.number ? failure.line : "its configuration names none");
	return 0;
}

static bool say_failure(const struct module *m, const char *function, CK_RV rv, CK_SLOT_ID slot)
{
	struct module_words words = module_explain(m, function, rv, slot);

	fprintf(m->t->err, "%s\n", words.text);
	return false;
}

/* The token as described by C_GetTokenInfo, without a session. */
static bool describe(const struct module *m, CK_SLOT_ID slot, struct module_token *token)
{
	*token = (struct module_token){.module = m, .slot = slot};
	CK_RV rv = m->call->C_GetTokenInfo(slot, &token->info);
	if (rv != CKR_OK)
		return say_failure(m, "C_GetTokenInfo", rv, slot);
	memcpy(token->label, token->info.label, uri_field_length(token->info.label, sizeof(token->info.label)));
	return true;
}

static bool open_session(struct module_token *token)
{
	const struct module *m = token->module;
	CK_RV rv = m->call->C_OpenSession(token->slot, CKF_SERIAL_SESSION, NULL, NULL, &token->session);

	return rv == CKR_OK || say_failure(m, "C_OpenSession", rv, token->slot);
}

bool module_token_open(const struct module *m, CK_SLOT_ID slot, struct module_token *ret_token)
{
	struct module_token token;

	if (!describe(m, slot, &token) || !open_session(&token))
		return false;
	*ret_token = token;
	return true;
}

void module_token_close(struct module_token *token)
{
	if (token->module && token->module->call)
		token->module->call->C_CloseSession(token->session);
	token->module = NULL;
}

static void say_labels(const struct module *m, const CK_SLOT_ID *slots, size_t count)
{
	struct module_token token;

	for (size_t i = 0; i < count; i++)
		if (describe(m, slots[i], &token))
			fprintf(m->t->err, "%s %s", i ? "," : ":", token.label);
	fputc('\n', m->t->err);
}

enum exit_code module_token_find(const struct module *m, const char *label, struct module_token *ret_token)
{
	CK_SLOT_ID slots[MODULE_SLOTS_MAX];
	struct module_token token;
	size_t count = module_slots(m, slots);

	if (count == 0)
		return EXIT_BAD;
	if (!label && count > 1) {
		fputs("there are several tokens, name one", m->t->err);
		say_labels(m, slots, count);
		return EXIT_USAGE;
	}
	for (size_t i = 0; i < count; i++) {
		if (!describe(m, slots[i], &token))
			return EXIT_BAD;
		if (!label || strcmp(token.label, label) == 0)
			return module_token_open(m, slots[i], ret_token) ? EXIT_GOOD : EXIT_BAD;
	}
	fprintf(m->t->err, "there is no token %s; there is", label);
	say_labels(m, slots, count);
	return EXIT_BAD;
}

bool module_token_login(const struct module_token *token)
{
	CK_RV rv = token->module->call->C_Login(token->session, CKU_USER, NULL, 0);

	return rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN ||
	       say_failure(token->module, "C_Login", rv, token->slot);
}

/* False for an object without a class, which none is. */
static bool read_object(const struct module_token *token, CK_OBJECT_HANDLE handle, struct module_object *ret)
{
	struct module_object object = {.handle = handle};
	CK_ATTRIBUTE template[] = {{CKA_CLASS, &object.class, sizeof(object.class)},
	                           {CKA_ID, object.id, sizeof(object.id)},
	                           {CKA_LABEL, object.label, sizeof(object.label) - 1}};

	/* Attributes that are missing have the length CK_UNAVAILABLE_INFORMATION; the others are there all the same. */
	token->module->call->C_GetAttributeValue(token->session, handle, template, 3);
	if (template[0].ulValueLen != sizeof(object.class))
		return false;
	object.id_len = template[1].ulValueLen <= sizeof(object.id) ? template[1].ulValueLen : 0;
	object.label[template[2].ulValueLen < sizeof(object.label) ? template[2].ulValueLen : 0] = '\0';
	*ret = object;
	return true;
}

size_t module_objects(const struct module_token *token, struct module_object ret_objects[MODULE_OBJECTS_MAX])
{
	CK_OBJECT_HANDLE handles[MODULE_OBJECTS_MAX];
	CK_FUNCTION_LIST *call = token->module->call;
	CK_ULONG found = 0;
	size_t count = 0;

	if (call->C_FindObjectsInit(token->session, NULL, 0) != CKR_OK)
		return 0;
	call->C_FindObjects(token->session, handles, MODULE_OBJECTS_MAX, &found);
	call->C_FindObjectsFinal(token->session);
	for (CK_ULONG i = 0; i < found; i++)
		count += read_object(token, handles[i], &ret_objects[count]);
	return count;
}

bool module_attribute(const struct module_token *token, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                      struct buf *ret_value)
{
	CK_ATTRIBUTE attribute = {type, NULL, 0};
	CK_FUNCTION_LIST *call = token->module->call;
	uint8_t *place;

	if (call->C_GetAttributeValue(token->session, object, &attribute, 1) != CKR_OK ||
	    buf_reserve(ret_value, attribute.ulValueLen, &place).failure)
		return false;
	attribute.pValue = place;
	if (call->C_GetAttributeValue(token->session, object, &attribute, 1) != CKR_OK)
		return false;
	ret_value->len += attribute.ulValueLen;
	return true;
}
