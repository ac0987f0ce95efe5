/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 cert`: the certificates of the configuration beside the keys they are for, as the module pairs them. */
#include "cli/arguments.h"
#include "cli/certificate.h"
#include "cli/chain.h"
#include "cli/module.h"
#include "cli/output.h"

#include <openssl/x509v3.h>
#include <stdarg.h>
#include <string.h>

#define COMMAND     "cert"
#define DAYS_TO_ACT 30
#define TEXT_LIMIT  (4 * 1024)

const char cert_help[] =
    "Shows each certificate of the configuration: the key it is for, whom it names, who issued it, how long it is "
    "valid,\n"
    "and whether its file is the whole chain in the order that servers send. Warns of a certificate without a key, a "
    "key\n"
    "without a certificate, and 30 days before it expires. Needs no network; whether a certificate is really that of "
    "the\n"
    "released key shows after a login, or at once for keys with public_key_sha256.\n"
    "\n"
    "  TOKEN            default: every token; --export needs it where there are several\n"
    "  --login          log in, which releases the keys to this process, and compare them\n"
    "  --export LABEL   print that key's certificate as PEM\n"
    "  --chain          and behind it the issuers that the configuration has, in order\n"
    "  --output FILE    write it to FILE, whole or not at all\n"
    "  --module FILE    the module; default: the installed one\n"
    "\n"
    "Exit status: 0 all is well, 1 a certificate is not valid now, not that of its key, or not to be had.\n"
    "\n"
    "Example:\n"
    "  skr-pkcs11 cert web --login\n"
    "  skr-pkcs11 cert web --export www --chain --output /etc/ssl/certs/www-chain.pem";

struct options {
	struct terminal *t;
	const char *token, *export, *output, *module;
	bool login, chain;
};

/* What is known of one token. */
struct view {
	struct terminal *t;
	const struct token_config *settings;
	const struct module_token *token;
	struct module_object objects[MODULE_OBJECTS_MAX];
	size_t count;
	bool logged_in;
	X509_STORE *authorities;
	int bad;
};

AUTO_OSSL(store, X509_STORE, X509_STORE_free)
#define auto_store __attribute__((cleanup(store_done))) X509_STORE

/* What a line has to tell: the worst verdict, and one sentence for each thing that is wrong. */
struct opinion {
	enum verdict verdict;
	struct buf text;
};
#define auto_opinion __attribute__((cleanup(opinion_done))) struct opinion
static void opinion_done(struct opinion *o)
{
	buf_done(&o->text);
}

/* A sentence that is too long for the rest of the line is left out. */
__attribute__((format(printf, 3, 4))) static void say(struct opinion *o, enum verdict verdict, const char *format, ...)
{
	char sentence[512];
	va_list args;

	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	o->verdict = verdict > o->verdict ? verdict : o->verdict;
	if (buf_printf(&o->text, "%s%s", o->text.len ? "; " : "", sentence).failure)
		o->verdict = VERDICT_BAD;
}

/* ---- a certificate and its key ---- */

static const struct module_object *find_object(const struct view *v, CK_OBJECT_CLASS class, const char *label)
{
	for (size_t i = 0; i < v->count; i++)
		if (v->objects[i].class == class && strcmp(v->objects[i].label, label) == 0)
			return &v->objects[i];
	return NULL;
}

/* The object that the module made of this certificate. */
static const struct module_object *find_certificate(const struct view *v, const X509 *certificate)
{
	for (size_t i = 0; i < v->count; i++) {
		auto_x509 *shown = certificate_of_object(v->token, &v->objects[i]);
		if (shown && X509_cmp(shown, certificate) == 0)
			return &v->objects[i];
	}
	return NULL;
}

static const struct key_config *find_key(const struct view *v, const char *label)
{
	for (size_t i = 0; i < v->settings->key_count; i++)
		if (strcmp(v->settings->keys[i].label, label) == 0)
			return &v->settings->keys[i];
	return NULL;
}

/* CKA_ID is made of the public half: the same means the same key. */
static void judge_key(const struct view *v, const struct module_object *object, struct opinion *o)
{
	const struct key_config *key = find_key(v, object->label);
	const struct module_object *released = find_object(v, CKO_PRIVATE_KEY, object->label);

	if (!key)
		say(o, VERDICT_NOTE, "it is for no key of this token");
	else if (released && (released->id_len != object->id_len || memcmp(released->id, object->id, object->id_len)))
		say(o, VERDICT_BAD, "the key that is released as %s is another one", key->label);
	else if (released)
		say(o, VERDICT_GOOD, "it is that of the released key");
	else if (v->logged_in)
		say(o, VERDICT_BAD, "no private key is released as %s", key->label);
	else if (key->pinned)
		say(o, VERDICT_GOOD, "it is that of the pinned key");
	else
		say(o, VERDICT_GOOD, "taken for that of key %s: --login compares them", key->label);
}

static void judge_time(const X509 *certificate, struct opinion *o)
{
	int days = certificate_days_left(certificate);

	if (!certificate_has_begun(certificate))
		say(o, VERDICT_BAD, "not yet valid");
	else if (days < 0)
		say(o, VERDICT_BAD, "it has expired");
	else
		say(o, days <= DAYS_TO_ACT ? VERDICT_NOTE : VERDICT_GOOD, "%d day%s left", days, days == 1 ? "" : "s");
}

static void judge_chain(const struct view *v, const STACK_OF(X509) *file, struct opinion *o)
{
	struct chain_look look = chain_look(file, v->authorities);

	if (look.in_order < look.count)
		say(o, VERDICT_NOTE, "certificate %d of %d is not the issuer of the one before it", look.in_order + 1,
		    look.count);
	else if (look.anchored)
		say(o, VERDICT_GOOD, "%d certificate%s, in order and complete", look.count, look.count == 1 ? "" : "s");
	else
		say(o, VERDICT_NOTE,
		    "%d certificate%s, in order; the last one's issuer is neither in the file nor among this machine's "
		    "authorities",
		    look.count, look.count == 1 ? "" : "s");
}

/* ---- lines ---- */

__attribute__((format(printf, 3, 4))) static void below(const struct view *v, const char *name, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	terminal_below(v->t, "%-8s %s", name, text);
}

static skr_status show_details(const struct view *v, const X509 *certificate, const struct opinion *time)
{
	auto_buf issuer = BUF(TEXT_LIMIT), names = BUF(64 * 1024), from = BUF(TEXT_LIMIT), to = BUF(TEXT_LIMIT);

	TRY(certificate_name(X509_get_issuer_name(certificate), &issuer));
	TRY(certificate_alternative_names(certificate, &names));
	TRY(certificate_date(X509_get0_notBefore(certificate), &from));
	TRY(certificate_date(X509_get0_notAfter(certificate), &to));
	below(v, "issuer", "%s", buf_text(&issuer));
	if (names.len)
		below(v, "names", "%s", buf_text(&names));
	below(v, "valid", "%s to %s, %s", buf_text(&from), buf_text(&to), buf_text(&time->text));
	return OK;
}

static skr_status show_certificate(struct view *v, const char *path, const STACK_OF(X509) *file)
{
	X509 *certificate = sk_X509_value(file, 0);
	const struct module_object *object = find_certificate(v, certificate);
	auto_buf subject = BUF(TEXT_LIMIT);
	auto_opinion key = {.text = BUF(TEXT_LIMIT)}, time = {.text = BUF(TEXT_LIMIT)},
	             chain = {.text = BUF(TEXT_LIMIT)};

	TRY(certificate_name(X509_get_subject_name(certificate), &subject));
	judge_time(certificate, &time);
	judge_chain(v, file, &chain);
	if (object)
		judge_key(v, object, &key);
	else
		say(&key, VERDICT_BAD, "the module does not show it: it reads another configuration?");

	enum verdict worst = key.verdict > time.verdict ? key.verdict : time.verdict;
	worst = chain.verdict > worst ? chain.verdict : worst;
	v->bad += worst == VERDICT_BAD;
	terminal_check(v->t, worst, object ? object->label : "?", -1, "%s", buf_text(&subject));
	below(v, "key", "%s", buf_text(&key.text));
	TRY(show_details(v, certificate, &time));
	below(v, "file", "%s", path);
	below(v, "", "%s", buf_text(&chain.text));
	return OK;
}

static void show_file(struct view *v, const char *path)
{
	auto_x509s *file = NULL;
	skr_status status = certificates_of_file(path, &file);

	if (!status.failure)
		status = show_certificate(v, path, file);
	if (!status.failure)
		return;
	v->bad++;
	terminal_check(v->t, VERDICT_BAD, "certificate", -1, "%s", "");
	terminal_failure(v->t, status_last());
}

static void show_bare_keys(const struct view *v)
{
	for (size_t i = 0; i < v->settings->key_count; i++) {
		const char *label = v->settings->keys[i].label;
		/* After a login it is known that a key is secret, and has none. */
		bool secret = v->logged_in && find_object(v, CKO_SECRET_KEY, label);
		if (!secret && !find_object(v, CKO_CERTIFICATE, label))
			terminal_check(v->t, VERDICT_NOTE, label, -1,
			               "no certificate: skr-pkcs11 csr makes a request for one");
	}
}

static enum exit_code show_token(const struct options *given, const struct module *m,
                                 const struct token_config *settings)
{
	auto_module_token token = {0};
	auto_store *authorities = X509_STORE_new();
	struct view v = {.t = given->t, .settings = settings, .token = &token, .authorities = authorities};

	if (module_token_find(m, settings->label, &token) != EXIT_GOOD)
		return EXIT_BAD;
	terminal_heading(given->t, "token %s", settings->label);
	if (authorities)
		X509_STORE_set_default_paths_ex(authorities, ossl, NULL);
	if (given->login && !(v.logged_in = module_token_login(&token)))
		v.bad++;
	v.count = module_objects(&token, v.objects);
	for (size_t i = 0; i < settings->certificate_count; i++)
		show_file(&v, settings->certificates[i]);
	show_bare_keys(&v);
	return v.bad ? EXIT_BAD : EXIT_GOOD;
}

static enum exit_code show(const struct options *given, const struct module *m, const struct config *config)
{
	enum exit_code code = EXIT_GOOD;

	if (config->token_count == 0 || (given->token && !config_token(config, given->token))) {
		fprintf(given->t->err, "there is no token%s%s in %s\n", given->token ? " " : "",
		        given->token ? given->token : "", config->path);
		return EXIT_BAD;
	}
	for (size_t i = 0; i < config->token_count; i++)
		if ((!given->token || strcmp(given->token, config->tokens[i].label) == 0) &&
		    show_token(given, m, &config->tokens[i]) != EXIT_GOOD)
			code = EXIT_BAD;
	return code;
}

/* ---- export ---- */

/* All certificates of the token; what its files have, in no order. */
static skr_status pool_of(const struct module_token *token, STACK_OF(X509) **ret)
{
	struct module_object objects[MODULE_OBJECTS_MAX];
	size_t count = module_objects(token, objects);
	auto_x509s *pool = sk_X509_new_null();

	for (size_t i = 0; i < count; i++) {
		auto_x509 *certificate = certificate_of_object(token, &objects[i]);
		if (certificate && !X509_add_cert(pool, certificate, X509_ADD_FLAG_UP_REF))
			return FAIL(14, "certificates");
	}
	*ret = TAKE(pool);
	return OK;
}

static skr_status write_out(const struct options *given, const STACK_OF(X509) *certificates)
{
	auto_buf pem = BUF(1024 * 1024);

	TRY(certificates_to_pem(certificates, &pem));
	if (given->output)
		return output_write(given->output, &pem);
	fputs(buf_text(&pem), given->t->out);
	return OK;
}

static skr_status export_chain(const struct options *given, const struct module_token *token, X509 *certificate)
{
	auto_x509s *pool = NULL, *chain = NULL;
	auto_store *authorities = X509_STORE_new();

	if (authorities)
		X509_STORE_set_default_paths_ex(authorities, ossl, NULL);
	TRY(pool_of(token, &pool));
	TRY(chain_build(certificate, given->chain ? pool : NULL, &chain));
	if (given->chain && !chain_look(chain, authorities).anchored)
		fprintf(
		    given->t->err,
		    "the chain ends early: the issuer of its last certificate is in no certificate = of the token\n");
	return write_out(given, chain);
}

static enum exit_code export_certificate(const struct options *given, const struct module *m)
{
	auto_module_token token = {0};
	enum exit_code code = module_token_find(m, given->token, &token);

	if (code != EXIT_GOOD)
		return code;
	auto_x509 *certificate = certificate_of_key(&token, given->export);
	if (!certificate) {
		fprintf(given->t->err, "token %s shows no certificate %s: skr-pkcs11 cert %s lists them\n", token.label,
		        given->export, token.label);
		return EXIT_BAD;
	}
	if (!export_chain(given, &token, certificate).failure)
		return EXIT_GOOD;
	terminal_error(given->t, status_last());
	return EXIT_BAD;
}

enum exit_code cert(struct terminal *t, int argc, char **argv)
{
	struct options given = {.t = t};
	const struct argument known[] = {{"", .value = &given.token},
	                                 {"--login", .flag = &given.login},
	                                 {"--export", .value = &given.export},
	                                 {"--chain", .flag = &given.chain},
	                                 {"--output", .value = &given.output},
	                                 {"--module", .value = &given.module},
	                                 {.name = NULL}};
	auto_module m = {.t = t};
	auto_config *config = NULL;

	if (arguments_read(t, COMMAND, argc, argv, known) != EXIT_GOOD)
		return EXIT_USAGE;
	if (!given.export && (given.chain || given.output))
		return command_misused(t, command_find(COMMAND), "--chain and --output go with --export");
	if (given.export && given.login)
		return command_misused(t, command_find(COMMAND), "--export needs no --login");
	if (ossl_open().failure || command_config(NULL, &config).failure) {
		terminal_error(t, status_last());
		return EXIT_BAD;
	}
	if (!module_open(t, given.module, &m))
		return EXIT_BAD;
	return given.export ? export_certificate(&given, &m) : show(&given, &m, config);
}
