/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 tokens`: asks the module what any other program would ask it, through PKCS#11 and nothing else. */
#include "cli/command.h"
#include "cli/uri.h"

#include <dlfcn.h>
#include <string.h>

#include <skr_pkcs11.h>

#define SLOTS_MAX   64
#define OBJECTS_MAX 1024
#define LABEL_MAX   256

/* What C_GetInterface gives (PKCS#11 3.0 section 3.6), which the pkcs11.h of 2.40 lacks. */
struct interface {
	CK_UTF8CHAR *name;
	void *functions;
	CK_FLAGS flags;
};
typedef CK_RV get_interface_fn(CK_UTF8CHAR *name, CK_VERSION *version, struct interface **ret, CK_FLAGS flags);

/* The loaded module. */
struct module {
	struct terminal *t;
	const char *path;
	CK_FUNCTION_LIST *call;
	const struct skr_diagnostics *diagnostics; /* NULL: another vendor's module */
};

static bool module_open(struct module *m)
{
	CK_C_GetFunctionList get_list;
	get_interface_fn *get_interface;
	CK_UTF8CHAR name[] = SKR_INTERFACE_NAME;
	struct interface *interface;
	void *library = dlopen(m->path, RTLD_NOW | RTLD_LOCAL); /* never closed: the program ends soon */

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

/* The module's own words for a failure if it has some, else the number of PKCS#11. */
static void print_call_failure(const struct module *m, const char *function, CK_RV rv, CK_SLOT_ID slot)
{
	struct skr_failure failure = {.number = 0};

	if (m->diagnostics && m->diagnostics->last_failure(slot, &failure) == CKR_OK && failure.number)
		terminal_below(m->t, "%s", failure.line);
	else
		terminal_below(m->t, "%s failed: 0x%lx", function, rv);
}

static const char *class_name(CK_OBJECT_CLASS class)
{
	switch (class) {
	case CKO_PRIVATE_KEY:
		return "private key";
	case CKO_PUBLIC_KEY:
		return "public key";
	case CKO_CERTIFICATE:
		return "certificate";
	case CKO_SECRET_KEY:
		return "secret key";
	default:
		return "object";
	}
}

/* False for classes that are of no use to a person (profiles and the like). */
static bool is_shown(CK_OBJECT_CLASS class)
{
	return strcmp(class_name(class), "object") != 0;
}

static void show_object(const struct module *m, const CK_TOKEN_INFO *token, CK_SESSION_HANDLE session,
                        CK_OBJECT_HANDLE handle)
{
	CK_BYTE id[64], label[LABEL_MAX];
	CK_OBJECT_CLASS class = 0;
	CK_ATTRIBUTE template[] = {
	    {CKA_CLASS, &class, sizeof(class)}, {CKA_ID, id, sizeof(id)}, {CKA_LABEL, label, sizeof(label)}};
	auto_buf uri = BUF(8 * 1024);

	/* Attributes that are missing have the length CK_UNAVAILABLE_INFORMATION; the others are there all the same. */
	m->call->C_GetAttributeValue(session, handle, template, 3);
	if (template[0].ulValueLen != sizeof(class) || !is_shown(class))
		return;
	struct uri_object object = {.class = class, .id = id, .label = label};
	object.id_len = template[1].ulValueLen <= sizeof(id) ? template[1].ulValueLen : 0;
	object.label_len = template[2].ulValueLen <= sizeof(label) ? template[2].ulValueLen : 0;
	if (!uri_of_object(token, &object, &uri).failure)
		fprintf(m->t->out, "  %-12s  %s\n", class_name(class), buf_text(&uri));
}

static void show_objects(const struct module *m, const CK_TOKEN_INFO *token, CK_SESSION_HANDLE session)
{
	CK_OBJECT_HANDLE handles[OBJECTS_MAX];
	CK_ULONG count = 0;

	if (m->call->C_FindObjectsInit(session, NULL, 0) != CKR_OK)
		return;
	m->call->C_FindObjects(session, handles, OBJECTS_MAX, &count);
	m->call->C_FindObjectsFinal(session);
	for (CK_ULONG i = 0; i < count; i++)
		show_object(m, token, session, handles[i]);
	if (count == 0)
		fputs("  nothing is visible\n", m->t->out);
}

static enum exit_code show_token(const struct module *m, CK_SLOT_ID slot, bool login)
{
	CK_TOKEN_INFO token;
	CK_SESSION_HANDLE session;
	auto_buf uri = BUF(4 * 1024);
	enum exit_code code = EXIT_GOOD;
	CK_RV rv = m->call->C_GetTokenInfo(slot, &token);

	if (rv != CKR_OK) {
		print_call_failure(m, "C_GetTokenInfo", rv, slot);
		return EXIT_BAD;
	}
	terminal_heading(m->t, "token %.*s", (int)uri_field_length(token.label, sizeof(token.label)),
	                 (const char *)token.label);
	if (!uri_of_token(&token, &uri).failure)
		fprintf(m->t->out, "  %s\n", buf_text(&uri));
	if ((rv = m->call->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session)) != CKR_OK) {
		print_call_failure(m, "C_OpenSession", rv, slot);
		return EXIT_BAD;
	}
	if (login && (rv = m->call->C_Login(session, CKU_USER, NULL, 0)) != CKR_OK) {
		print_call_failure(m, "C_Login", rv, slot);
		code = EXIT_BAD;
	}
	show_objects(m, &token, session);
	m->call->C_CloseSession(session);
	return code;
}

static enum exit_code show_slots(const struct module *m, bool login)
{
	CK_SLOT_ID slots[SLOTS_MAX];
	CK_ULONG count = SLOTS_MAX;
	struct skr_failure failure = {.number = 0};
	enum exit_code code = EXIT_GOOD;

	if (m->call->C_GetSlotList(CK_TRUE, slots, &count) != CKR_OK)
		count = 0;
	if (count == 0) {
		fprintf(m->t->err, "%s shows no tokens\n", m->path);
		if (m->diagnostics && m->diagnostics->configuration_failure(&failure) == CKR_OK)
			fprintf(m->t->err, "%s\n", failure.number ? failure.line : "its configuration names none");
		return EXIT_BAD;
	}
	for (CK_ULONG i = 0; i < count; i++)
		if (show_token(m, slots[i], login) != EXIT_GOOD)
			code = EXIT_BAD;
	if (!login)
		fprintf(m->t->out, "\nPrivate keys appear after a login: skr-pkcs11 tokens --login\n");
	return code;
}

enum exit_code tokens_show(struct terminal *t, int argc, char **argv)
{
	struct module m = {.t = t, .path = SKR_MODULE_PATH};
	bool login = false;

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--login") == 0)
			login = true;
		else if (strcmp(argv[i], "--module") == 0 && i + 1 < argc)
			m.path = argv[++i];
		else
			return command_misused(t, command_find("tokens"), "\"%s\" is not understood", argv[i]);
	}
	if (!module_open(&m))
		return EXIT_BAD;
	CK_RV rv = m.call->C_Initialize(NULL);
	if (rv != CKR_OK) {
		fprintf(t->err, "C_Initialize failed: 0x%lx\n", rv);
		return EXIT_BAD;
	}
	enum exit_code code = show_slots(&m, login);
	m.call->C_Finalize(NULL);
	return code;
}
