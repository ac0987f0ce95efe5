/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 tokens`: asks the module what any other program would ask it, through PKCS#11 and nothing else. */
#include "cli/arguments.h"
#include "cli/module.h"
#include "cli/uri.h"

#include <string.h>

const char tokens_help[] =
    "Loads the module as any program does, and lists what it shows: certificates and public keys, and behind a login\n"
    "private keys, each with the PKCS#11 URI by which programs name it.\n"
    "\n"
    "  --module FILE    the module; default: the installed one\n"
    "  --login          log in to each token, which releases its keys to this process\n"
    "\n"
    "Exit status: 0 all is well, 1 something is wrong.\n"
    "\n"
    "Example:\n"
    "  skr-pkcs11 tokens --login";

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
		return NULL; /* of no use to a person: profiles and the like */
	}
}

static void show_object(const struct module_token *token, const struct module_object *object)
{
	const char *class = class_name(object->class);
	struct uri_object named = {.class = object->class,
	                           .id = object->id,
	                           .id_len = object->id_len,
	                           .label = (const uint8_t *)object->label,
	                           .label_len = strlen(object->label)};
	auto_buf uri = BUF(8 * 1024);

	if (class && !uri_of_object(&token->info, &named, &uri).failure)
		fprintf(token->module->t->out, "  %-12s  %s\n", class, buf_text(&uri));
}

static void show_objects(const struct module_token *token)
{
	struct module_object objects[MODULE_OBJECTS_MAX];
	size_t count = module_objects(token, objects);

	for (size_t i = 0; i < count; i++)
		show_object(token, &objects[i]);
	if (count == 0)
		fputs("  nothing is visible\n", token->module->t->out);
}

static enum exit_code show_token(const struct module *m, CK_SLOT_ID slot, bool login)
{
	auto_module_token token = {0};
	auto_buf uri = BUF(4 * 1024);
	CK_RV rv = CKR_OK;

	if (!module_token_open(m, slot, &token))
		return EXIT_BAD;
	terminal_heading(m->t, "token %s", token.label);
	if (!uri_of_token(&token.info, &uri).failure)
		fprintf(m->t->out, "  %s\n", buf_text(&uri));
	if (login && (rv = m->call->C_Login(token.session, CKU_USER, NULL, 0)) != CKR_OK)
		terminal_below(m->t, "%s", module_explain(m, "C_Login", rv, slot).text);
	show_objects(&token);
	return rv == CKR_OK ? EXIT_GOOD : EXIT_BAD;
}

static enum exit_code show_slots(const struct module *m, bool login)
{
	CK_SLOT_ID slots[MODULE_SLOTS_MAX];
	size_t count = module_slots(m, slots);
	enum exit_code code = count ? EXIT_GOOD : EXIT_BAD;

	for (size_t i = 0; i < count; i++)
		if (show_token(m, slots[i], login) != EXIT_GOOD)
			code = EXIT_BAD;
	if (!login && count)
		fprintf(m->t->out, "\nPrivate keys appear after a login: skr-pkcs11 tokens --login\n");
	return code;
}

enum exit_code tokens_show(struct terminal *t, int argc, char **argv)
{
	const char *path = NULL;
	bool login = false;
	const struct argument known[] = {
	    {.name = "--module", .value = &path}, {.name = "--login", .flag = &login}, {.name = NULL}};
	auto_module m = {.t = t};

	if (arguments_read(t, "tokens", argc, argv, known) != EXIT_GOOD)
		return EXIT_USAGE;
	return module_open(t, path, &m) ? show_slots(&m, login) : EXIT_BAD;
}
