/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 print-config`: the lines of consumer.c, filled in with what is on this machine. */
#include "cli/arguments.h"
#include "cli/certificate.h"
#include "cli/consumer.h"
#include "cli/module.h"
#include "cli/package.h"
#include "cli/uri.h"

#include <ctype.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#define COMMAND    "print-config"
#define TEXT_LIMIT (8 * 1024)

const char print_config_help[] =
    "Prints the lines that make a program use a key of the token: those that docs/interop.md has, with the paths, "
    "URIs\n"
    "and versions of this machine. What is missing here, and how to get it, is said on the standard error.\n"
    "\n"
    "  CONSUMER              nginx, apache, haproxy, stunnel, openssl, gnupg, ssh, java or curl; pem-uri: the file "
    "that\n"
    "                        programs read through OpenSSL's provider in the place of a private key\n"
    "  TOKEN                 needed where the configuration has several\n"
    "  --key LABEL           needed where the token has several\n"
    "  --engine, --provider  the way through OpenSSL; default: what is installed\n"
    "  --certificate FILE    default: the certificate = that the module takes for the key's\n"
    "  --key-file FILE       where you put the PEM-URI file; for haproxy with the certificate in front of it\n"
    "  --module FILE         the module; default: the installed one\n"
    "\n"
    "Example:\n"
    "  skr-pkcs11 print-config openssl --engine >/etc/ssl/skr-pkcs11-engine.cnf\n"
    "  skr-pkcs11 print-config nginx web --key www --engine";

/* What was asked for. */
struct options {
	struct terminal *t;
	const char *consumer, *token, *key, *certificate, *key_file, *module;
	bool engine, provider;
};

/* What was found, and where the values live until the lines are printed. */
struct answer {
	const struct consumer *consumer;
	const struct token_config *token; /* NULL: not needed */
	const struct key_config *key;     /* the same */
	struct consumer_values values;
	char module[PATH_MAX], helper[PATH_MAX], certificate[PATH_MAX], key_file[PATH_MAX], name[256], slot_index[16];
	struct buf again, again_module, uri, certificate_uri, pem;
};

static void answer_done(struct answer *a)
{
	buf_done(&a->again);
	buf_done(&a->again_module);
	buf_done(&a->uri);
	buf_done(&a->certificate_uri);
	buf_done(&a->pem);
}

__attribute__((format(printf, 2, 3))) static void remark(const struct options *o, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(o->t->err, format, args);
	va_end(args);
	fputc('\n', o->t->err);
}

static enum exit_code fail(const struct options *o)
{
	terminal_error(o->t, status_last());
	return EXIT_BAD;
}

#define misused(o, ...) command_misused((o)->t, command_find(COMMAND), __VA_ARGS__)

/* ---- which lines ---- */

static enum exit_code say_consumers(const struct options *o)
{
	auto_buf names = BUF(TEXT_LIMIT);

	for (const struct consumer *c = consumers; c->name; c++)
		if ((c == consumers || strcmp(c[-1].name, c->name) != 0) &&
		    buf_printf(&names, "%s%s", c == consumers ? "" : ", ", c->name).failure)
			return fail(o);
	if (!o->consumer)
		return misused(o, "which program? One of %s", buf_text(&names));
	return misused(o, "nothing is known of \"%s\"; there are %s", o->consumer, buf_text(&names));
}

static enum exit_code choose_consumer(const struct options *o, struct answer *a)
{
	enum way way = o->engine ? WAY_ENGINE : o->provider ? WAY_PROVIDER : WAY_ANY;

	if (o->engine && o->provider)
		return misused(o, "either --engine or --provider");
	if (!o->consumer || !consumer_find(o->consumer, WAY_ANY))
		return say_consumers(o);
	a->consumer = consumer_find(o->consumer, way);
	if (!a->consumer)
		return misused(o, "%s does not use %s: leave --%s out", o->consumer,
		               o->engine ? "OpenSSL's engine" : "OpenSSL's provider",
		               o->engine ? "engine" : "provider");
	if (o->key_file && !a->consumer->key_file)
		return misused(o, "no file of a key is needed there: leave --key-file out");
	return EXIT_GOOD;
}

/* ---- which token, which key ---- */

static enum exit_code choose_token(const struct options *o, const struct config *config, struct answer *a)
{
	if (config->token_count == 0) {
		remark(o, "%s names no tokens: skr-pkcs11 config check", config->path);
		return EXIT_BAD;
	}
	if (!o->token && config->token_count > 1)
		return misused(o, "%s has several tokens: name one, such as %s", config->path, config->tokens[0].label);
	a->token = o->token ? config_token(config, o->token) : &config->tokens[0];
	if (!a->token) {
		remark(o, "there is no token %s in %s", o->token, config->path);
		return EXIT_BAD;
	}
	snprintf(a->slot_index, sizeof(a->slot_index), "%zu", (size_t)(a->token - config->tokens));
	return EXIT_GOOD;
}

static enum exit_code choose_key(const struct options *o, struct answer *a)
{
	const struct token_config *token = a->token;

	if (!o->key && token->key_count > 1)
		return misused(o, "token %s has several keys: name one by --key, such as --key %s", token->label,
		               token->keys[0].label);
	for (size_t i = 0; i < token->key_count; i++)
		if (!o->key || strcmp(o->key, token->keys[i].label) == 0)
			a->key = &token->keys[i];
	if (a->key)
		return EXIT_GOOD;
	remark(o, "token %s has no key %s in its configuration", token->label, o->key ? o->key : "at all");
	return EXIT_BAD;
}

/* ---- values ---- */

/* Names of files go into the configurations of many programs, each of which quotes in its own way. */
static bool is_plain(const char *path)
{
	for (; *path; path++)
		if (!isalnum((unsigned char)*path) && !strchr("/._-+@~", *path))
			return false;
	return true;
}

static enum exit_code keep_path(const struct options *o, const char *option, const char *path, char keep[PATH_MAX])
{
	if (path[0] != '/' || !is_plain(path) || strlen(path) >= PATH_MAX)
		return misused(o,
		               "%s %s: configurations take absolute names of files, of letters, digits, / . _ - + @ ~",
		               option, path);
	snprintf(keep, PATH_MAX, "%s", path);
	return EXIT_GOOD;
}

/* The label as a part of the name of a file or a section. */
static void plain_name(const char *label, char *ret, size_t size)
{
	snprintf(ret, size, "%s", label);
	for (char *c = ret; *c; c++)
		if (!isalnum((unsigned char)*c) && (!strchr("-._", *c) || c == ret))
			*c = '_';
}

/* A word for a shell. */
static skr_status append_word(struct buf *out, const char *word)
{
	bool plain = *word && is_plain(word);

	if (plain && *word != '~')
		return buf_printf(out, " %s", word);
	TRY(buf_append_text(out, " '"));
	for (; *word; word++)
		TRY(*word == '\'' ? buf_append_text(out, "'\\''") : buf_append(out, word, 1));
	return buf_append_text(out, "'");
}

static skr_status name_key(const struct options *o, struct answer *a)
{
	plain_name(a->key->label, a->name, sizeof(a->name));
	TRY(uri_of_label(a->token->label, a->key->label, CKO_PRIVATE_KEY, &a->uri));
	TRY(uri_of_label(a->token->label, a->key->label, CKO_CERTIFICATE, &a->certificate_uri));
	TRY(uri_to_pem(buf_text(&a->uri), &a->pem));
	if (!o->token && !o->key)
		return OK; /* they are clear without being named */
	TRY(append_word(&a->again, a->token->label));
	TRY(buf_append_text(&a->again, " --key"));
	return append_word(&a->again, a->key->label);
}

/* The file of the configuration whose certificate the module shows as this key's; false: none is known. */
static bool find_certificate(const struct options *o, const struct answer *a, const char **ret)
{
	auto_module m = {.t = o->t};
	auto_module_token token = {0};

	if (!module_open(o->t, a->module, &m) || module_token_find(&m, a->token->label, &token) != EXIT_GOOD)
		return false;
	auto_x509 *certificate = certificate_of_key(&token, a->key->label);
	const char *path = certificate ? certificate_file(a->token, certificate) : NULL;
	if (path)
		*ret = path;
	return path != NULL;
}

static enum exit_code name_certificate(const struct options *o, struct answer *a)
{
	const char *path = o->certificate;

	if (path || find_certificate(o, a, &path))
		return keep_path(o, "--certificate", path, a->certificate);
	snprintf(a->certificate, sizeof(a->certificate), "/etc/ssl/certs/%s.pem", a->name);
	remark(o, "no certificate = of token %s is that of key %s: put yours in the place of %s", a->token->label,
	       a->key->label, a->certificate);
	return EXIT_GOOD;
}

static enum exit_code name_key_file(const struct options *o, struct answer *a)
{
	if (o->key_file)
		return keep_path(o, "--key-file", o->key_file, a->key_file);
	if (a->consumer->key_file) {
		const char *place = strstr(a->consumer->key_file, "%s");
		snprintf(a->key_file, sizeof(a->key_file), "%.*s%s%s", (int)(place - a->consumer->key_file),
		         a->consumer->key_file, a->name, place + 2);
	}
	return EXIT_GOOD;
}

static enum exit_code name_module(const struct options *o, struct answer *a)
{
	if (keep_path(o, "--module", o->module ? o->module : SKR_MODULE_PATH, a->module) != EXIT_GOOD)
		return EXIT_USAGE;
	if (access(a->module, R_OK) != 0)
		remark(o, "there is no module at %s: install it, or name it with --module", a->module);
	return o->module && buf_printf(&a->again_module, " --module %s", a->module).failure ? fail(o) : EXIT_GOOD;
}

static void say_what_is_missing(const struct options *o, const struct consumer *c)
{
	if (!helper_is_installed(c->helper))
		remark(o, "%s is not installed, there is no %s: apt-get install %s%s", c->helper->package,
		       c->helper->path(), c->helper->package, c->helper->from);
}

/* ---- the command ---- */

static skr_status append_version(struct buf *out, const char *name, const char *package)
{
	TRY(buf_append_text(out, name));
	if (!package)
		return OK;
	size_t before = out->len;
	TRY(buf_append_text(out, " "));
	if (!package_version(NULL, package, out))
		out->len = before;
	return OK;
}

/* "# For nginx 1.22.1-9 with libengine-pkcs11-openssl 0.4.12-0.1, by skr-pkcs11 0.1.0." */
static skr_status append_heading(const struct consumer *c, struct buf *out)
{
	if (!c->comment)
		return OK;
	TRY(buf_printf(out, "%s For ", c->comment));
	TRY(append_version(out, c->program, c->package));
	if (c->helper) {
		TRY(buf_append_text(out, " with "));
		TRY(append_version(out, c->helper->package, c->helper->package));
	}
	return buf_printf(out, ", by skr-pkcs11 %s\n", SKR_VERSION);
}

static enum exit_code print_lines(const struct options *o, struct answer *a)
{
	auto_buf text = BUF(64 * 1024);

	a->values = (struct consumer_values){
	    .module = a->module,
	    .again = buf_text(&a->again),
	    .again_module = buf_text(&a->again_module),
	    .name = a->name,
	    .uri = buf_text(&a->uri),
	    .certificate_uri = buf_text(&a->certificate_uri),
	    .certificate = a->certificate,
	    .key_file = a->key_file,
	    .helper = a->helper,
	    .slot_index = a->slot_index,
	    .pem = buf_text(&a->pem),
	};
	if (append_heading(a->consumer, &text).failure || consumer_lines(a->consumer, &a->values, &text).failure)
		return fail(o);
	fputs(buf_text(&text), o->t->out);
	return EXIT_GOOD;
}

/* Finds what the consumer's lines name of the configuration. */
static enum exit_code find_values(const struct options *o, const struct config *config, struct answer *a)
{
	enum consumer_needs needs = a->consumer->needs;
	enum exit_code code = choose_token(o, config, a);

	if (code == EXIT_GOOD && needs >= NEEDS_KEY)
		code = choose_key(o, a);
	if (code == EXIT_GOOD && needs >= NEEDS_KEY && name_key(o, a).failure)
		code = fail(o);
	if (code == EXIT_GOOD && needs >= NEEDS_KEY)
		code = name_key_file(o, a);
	if (code == EXIT_GOOD && needs >= NEEDS_CERTIFICATE)
		code = name_certificate(o, a);
	return code;
}

static enum exit_code answer(const struct options *o, struct answer *a)
{
	auto_config *config = NULL;

	enum exit_code code = choose_consumer(o, a);
	if (code == EXIT_GOOD && a->consumer->helper)
		code = keep_path(o, a->consumer->helper->package, a->consumer->helper->path(), a->helper);
	if (code == EXIT_GOOD)
		code = name_module(o, a);
	if (code == EXIT_GOOD && a->consumer->needs >= NEEDS_TOKEN) {
		if (ossl_open().failure || command_config(NULL, &config).failure)
			return fail(o);
		code = find_values(o, config, a);
	}
	if (code != EXIT_GOOD)
		return code;
	say_what_is_missing(o, a->consumer);
	return print_lines(o, a);
}

enum exit_code print_config(struct terminal *t, int argc, char **argv)
{
	struct options o = {.t = t};
	const struct argument known[] = {{"", .value = &o.consumer},
	                                 {"", .value = &o.token},
	                                 {"--key", .value = &o.key},
	                                 {"--certificate", .value = &o.certificate},
	                                 {"--key-file", .value = &o.key_file},
	                                 {"--module", .value = &o.module},
	                                 {"--engine", .flag = &o.engine},
	                                 {"--provider", .flag = &o.provider},
	                                 {.name = NULL}};
	__attribute__((cleanup(answer_done))) struct answer a = {.again = BUF(TEXT_LIMIT),
	                                                         .again_module = BUF(TEXT_LIMIT),
	                                                         .uri = BUF(TEXT_LIMIT),
	                                                         .certificate_uri = BUF(TEXT_LIMIT),
	                                                         .pem = BUF(TEXT_LIMIT)};

	return arguments_read(t, COMMAND, argc, argv, known) == EXIT_GOOD ? answer(&o, &a) : EXIT_USAGE;
}
