/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 csr`: a certificate request for a key of the token, signed by it in the token. */
#include "cli/arguments.h"
#include "cli/module.h"
#include "cli/output.h"
#include "cli/request.h"

#include <string.h>
#include <sys/stat.h>

#define COMMAND "csr"

const char csr_help[] =
    "Logs in to the token and prints a certificate request (PKCS#10, PEM) that its key has signed. The private key\n"
    "stays where it is. Key usage is digitalSignature, and keyEncipherment where the vault lets the key decrypt.\n"
    "\n"
    "  TOKEN              needed where there are several\n"
    "  --key LABEL        needed where the token has several\n"
    "  --subject NAME     /TYPE=VALUE/TYPE=VALUE…, as openssl req -subj has it: CN O OU C ST L street postalCode\n"
    "                     serialNumber emailAddress GN SN title UID DC businessCategory jurisdictionC, ST, L;\n"
    "                     \\/ \\\\ and \\+ stand for the character itself\n"
    "  --san LIST         DNS:NAME, IP:ADDRESS, email:NAME@HOST, URI:…, separated by commas; may be repeated\n"
    "  --digest NAME      sha256, sha384 or sha512; default: as strong as the key\n"
    "  --pss              sign with RSA-PSS instead of PKCS#1\n"
    "  --output FILE      write it to FILE, whole or not at all\n"
    "  --module FILE      the module; default: the installed one\n"
    "\n"
    "Exit status: 0 it is made, 1 the token, the key or the login fails, 2 the subject or another option is not "
    "understood.\n"
    "\n"
    "Example:\n"
    "  skr-pkcs11 csr web --key www --subject /CN=www.example.com/O=Example --san DNS:www.example.com --output www.csr";

struct options {
	struct terminal *t;
	const char *token, *key, *subject, *digest, *output, *module;
	struct argument_values names;
	bool pss;
};

/* A private key of the token. */
struct key {
	const struct module_token *token;
	const struct module_object *object;
	const struct request *request;
};

#define misused(o, ...) command_misused((o)->t, command_find(COMMAND), __VA_ARGS__)

static enum exit_code fail(const struct options *o)
{
	terminal_error(o->t, status_last());
	return EXIT_BAD;
}

/* ---- the key ---- */

static bool is_true(const struct module_token *token, const struct module_object *object, CK_ATTRIBUTE_TYPE type)
{
	auto_buf value = BUF(sizeof(CK_BBOOL));
	return module_attribute(token, object->handle, type, &value) && value.len == 1 && value.data[0];
}

/* The private key of that label; NULL: the only one. */
static enum exit_code find_key(const struct options *o, const struct module_token *token, struct module_object *ret)
{
	struct module_object objects[MODULE_OBJECTS_MAX];
	size_t count = module_objects(token, objects), found = 0;
	const struct module_object *key = NULL;

	for (size_t i = 0; i < count; i++) {
		if (objects[i].class != CKO_PRIVATE_KEY || (o->key && strcmp(objects[i].label, o->key) != 0))
			continue;
		key = &objects[i];
		found++;
	}
	if (found > 1 && !o->key)
		return misused(o, "token %s has several keys: name one by --key, such as --key %s", token->label,
		               key->label);
	if (!key) {
		fprintf(o->t->err, "token %s has no private key %s: skr-pkcs11 tokens --login lists them\n",
		        token->label, o->key ? o->key : "at all");
		return EXIT_BAD;
	}
	if (!is_true(token, key, CKA_SIGN)) {
		fprintf(o->t->err, "key %s may not sign: in the vault \"sign\" is none of its operations\n",
		        key->label);
		return EXIT_BAD;
	}
	*ret = *key;
	return EXIT_GOOD;
}

static EVP_PKEY *public_half(const struct module_token *token, const struct module_object *object)
{
	auto_buf der = BUF(8 * 1024);

	if (!module_attribute(token, object->handle, CKA_PUBLIC_KEY_INFO, &der))
		return NULL;
	const uint8_t *bytes = der.data;
	return d2i_PUBKEY_ex(NULL, &bytes, (long)der.len, ossl, NULL);
}

/* ---- the signature ---- */

static CK_RSA_PKCS_PSS_PARAMS pss_params(const struct request_digest *digest)
{
	switch (digest->nid) {
	case NID_sha384:
		return (CK_RSA_PKCS_PSS_PARAMS){CKM_SHA384, CKG_MGF1_SHA384, digest->size};
	case NID_sha512:
		return (CK_RSA_PKCS_PSS_PARAMS){CKM_SHA512, CKG_MGF1_SHA512, digest->size};
	default:
		return (CK_RSA_PKCS_PSS_PARAMS){CKM_SHA256, CKG_MGF1_SHA256, digest->size};
	}
}

/* The mechanisms that need no hashing inside are those that every way to the module passes on (p11-kit's client). */
static skr_status sign(const struct buf *input, struct buf *ret_signature, void *with)
{
	const struct key *key = with;
	const struct module_token *token = key->token;
	CK_FUNCTION_LIST *call = token->module->call;
	CK_RSA_PKCS_PSS_PARAMS pss = pss_params(key->request->digest);
	CK_MECHANISM mechanism = {CKM_RSA_PKCS, NULL, 0};
	CK_ULONG len = 1024;
	uint8_t *place;

	if (EVP_PKEY_get_base_id(key->request->key) == EVP_PKEY_EC)
		mechanism.mechanism = CKM_ECDSA;
	else if (key->request->padding == REQUEST_PSS)
		mechanism = (CK_MECHANISM){CKM_RSA_PKCS_PSS, &pss, sizeof(pss)};
	TRY(buf_reserve(ret_signature, len, &place));
	CK_RV rv = call->C_SignInit(token->session, &mechanism, key->object->handle);
	if (rv == CKR_OK)
		rv = call->C_Sign(token->session, input->data, input->len, place, &len);
	if (rv != CKR_OK)
		return FAIL(599, "key %s does not sign: %s", key->object->label,
		            module_explain(token->module, "C_Sign", rv, token->slot).text);
	ret_signature->len += len;
	return OK;
}

/* ---- the command ---- */

static enum exit_code print_request(const struct options *o, const struct buf *pem)
{
	if (!o->output)
		fputs(buf_text(pem), o->t->out);
	else if (output_write(o->output, pem).failure)
		return fail(o);
	return EXIT_GOOD;
}

static enum exit_code make(const struct options *o, const struct module_token *token, struct request *request)
{
	struct module_object object;
	auto_buf pem = BUF(256 * 1024);

	if (!module_token_login(token))
		return EXIT_BAD;
	enum exit_code code = find_key(o, token, &object);
	if (code != EXIT_GOOD)
		return code;
	auto_pkey *half = public_half(token, &object);
	if (!half) {
		fprintf(o->t->err, "%s does not show the public half of key %s\n", token->module->path, object.label);
		return EXIT_BAD;
	}
	bool rsa = EVP_PKEY_get_base_id(half) == EVP_PKEY_RSA;
	if (o->pss && !rsa)
		return misused(o, "--pss is for RSA, key %s is none", object.label);
	request->key = half;
	request->encipherment = rsa && is_true(token, &object, CKA_DECRYPT);
	if (!request->digest)
		request->digest = request_digest_for(half);
	struct key key = {.token = token, .object = &object, .request = request};
	if (request_make(request, &(struct request_signer){sign, &key}, &pem).failure)
		return fail(o);
	return print_request(o, &pem);
}

static enum exit_code run(const struct options *o, struct request *request)
{
	auto_module m = {.t = o->t};
	auto_module_token token = {0};

	if (!module_open(o->t, o->module, &m))
		return EXIT_BAD;
	enum exit_code code = module_token_find(&m, o->token, &token);
	return code == EXIT_GOOD ? make(o, &token, request) : code;
}

/* What can be wrong without a look at the token; before anything is loaded or released. */
static enum exit_code check(const struct options *o, struct request *request)
{
	struct stat about;

	if (o->digest && !(request->digest = request_digest_find(o->digest)))
		return misused(o, "--digest is sha256, sha384 or sha512, not %s", o->digest);
	if (o->output && stat(o->output, &about) == 0 && !S_ISREG(about.st_mode))
		return misused(o, "%s is not a file that could be replaced", o->output);
	request->padding = o->pss ? REQUEST_PSS : REQUEST_PKCS1;
	return EXIT_GOOD;
}

static enum exit_code understand(const struct options *o)
{
	struct request_problem problem;
	struct request request = {.digest = NULL};
	auto_x509_name *subject = NULL;
	auto_general_names *names = GENERAL_NAMES_new();

	if (ossl_open().failure)
		return fail(o);
	if (!o->subject)
		return misused(o, "--subject is missing: whom shall the certificate name?");
	if (!request_subject(o->subject, &subject, &problem))
		return misused(o, "%s", problem.text);
	for (size_t i = 0; i < o->names.count; i++)
		if (!request_names(o->names.text[i], names, &problem))
			return misused(o, "%s", problem.text);
	request.subject = subject;
	request.names = names;
	enum exit_code code = check(o, &request);
	return code == EXIT_GOOD ? run(o, &request) : code;
}

enum exit_code csr(struct terminal *t, int argc, char **argv)
{
	struct options o = {.t = t};
	const struct argument known[] = {
	    {"", .value = &o.token},          {"--key", .value = &o.key},       {"--subject", .value = &o.subject},
	    {"--san", .values = &o.names},    {"--digest", .value = &o.digest}, {"--pss", .flag = &o.pss},
	    {"--output", .value = &o.output}, {"--module", .value = &o.module}, {.name = NULL}};

	return arguments_read(t, COMMAND, argc, argv, known) == EXIT_GOOD ? understand(&o) : EXIT_USAGE;
}
