/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/consumer.h"

#include <openssl/crypto.h>
#include <string.h>
#include <unistd.h>

/* ---- helpers ---- */

/* OpenSSL's own folder for such files, or the one that its environment variable names. */
static const char *openssl_file(const char *variable, int folder, char *path, size_t size)
{
	const char *given = secure_getenv(variable), *built_in = OPENSSL_info(folder);

	snprintf(path, size, "%s/pkcs11.so", given ? given : built_in ? built_in : "");
	return path;
}

static const char *engine_path(void)
{
	static char path[512];
	return openssl_file("OPENSSL_ENGINES", OPENSSL_INFO_ENGINES_DIR, path, sizeof(path));
}

static const char *provider_path(void)
{
	static char path[512];
	return openssl_file("OPENSSL_MODULES", OPENSSL_INFO_MODULES_DIR, path, sizeof(path));
}

static const char *scd_path(void)
{
	return "/usr/bin/gnupg-pkcs11-scd";
}

static const struct helper engine = {"libengine-pkcs11-openssl", "", engine_path};
static const struct helper provider = {"pkcs11-provider", " (Debian 12: from bookworm-backports)", provider_path};
static const struct helper scd = {"gnupg-pkcs11-scd", "", scd_path};

bool helper_is_installed(const struct helper *helper)
{
	return !helper || access(helper->path(), F_OK) == 0;
}

/* ---- programs ---- */

#define MAKE_ENGINE_CONF "skr-pkcs11 print-config openssl --engine@again_module@ >/etc/ssl/skr-pkcs11-engine.cnf\n"
#define MAKE_PROVIDER_CONF \
	"skr-pkcs11 print-config openssl --provider@again_module@ >/etc/ssl/skr-pkcs11-provider.cnf\n"
#define MAKE_KEY_FILE "skr-pkcs11 print-config pem-uri@again@ >@key_file@\n"

const struct consumer consumers[] = {
    {"nginx", WAY_ENGINE, "#", "nginx", "nginx", &engine, NEEDS_CERTIFICATE, NULL,
     "# First: " MAKE_ENGINE_CONF
     "# and in its unit (systemctl edit nginx): Environment=OPENSSL_CONF=/etc/ssl/skr-pkcs11-engine.cnf\n"
     "# --- above all blocks\n"
     "ssl_engine pkcs11;\n"
     "env OPENSSL_CONF;\n"
     "# --- in the server's block\n"
     "ssl_certificate     @certificate@;\n"
     "ssl_certificate_key \"engine:pkcs11:@uri@\";\n"},
    {"nginx", WAY_PROVIDER, "#", "nginx", "nginx", &provider, NEEDS_CERTIFICATE, "/etc/ssl/%s.uri.pem",
     "# First: " MAKE_KEY_FILE "#        " MAKE_PROVIDER_CONF
     "# and in its unit (systemctl edit nginx): Environment=OPENSSL_CONF=/etc/ssl/skr-pkcs11-provider.cnf\n"
     "# --- above all blocks\n"
     "env OPENSSL_CONF;\n"
     "# --- in the server's block\n"
     "ssl_certificate     @certificate@;\n"
     "ssl_certificate_key @key_file@;\n"},
    {"apache", WAY_ENGINE, "#", "Apache httpd", "apache2-bin", &engine, NEEDS_CERTIFICATE, NULL,
     "# First: " MAKE_ENGINE_CONF "# and in /etc/apache2/envvars: export OPENSSL_CONF=/etc/ssl/skr-pkcs11-engine.cnf\n"
     "# --- outside all virtual hosts\n"
     "SSLCryptoDevice pkcs11\n"
     "# --- in the virtual host\n"
     "SSLEngine on\n"
     "SSLCertificateFile    @certificate@\n"
     "SSLCertificateKeyFile \"@uri@\"\n"},
    {"apache", WAY_PROVIDER, "#", "Apache httpd", "apache2-bin", &provider, NEEDS_CERTIFICATE, "/etc/ssl/%s.uri.pem",
     "# First: " MAKE_KEY_FILE "#        " MAKE_PROVIDER_CONF
     "# and in /etc/apache2/envvars: export OPENSSL_CONF=/etc/ssl/skr-pkcs11-provider.cnf\n"
     "# --- in the virtual host\n"
     "SSLEngine on\n"
     "SSLCertificateFile    @certificate@\n"
     "SSLCertificateKeyFile @key_file@\n"},
    {"haproxy", WAY_PROVIDER, "#", "haproxy", "haproxy", &provider, NEEDS_CERTIFICATE, "/etc/haproxy/%s.pem",
     "# First: { cat @certificate@; skr-pkcs11 print-config pem-uri@again@; } >@key_file@\n"
     "#        " MAKE_PROVIDER_CONF
     "# and in its unit (systemctl edit haproxy): Environment=OPENSSL_CONF=/etc/ssl/skr-pkcs11-provider.cnf\n"
     "frontend @name@\n"
     "    bind :443 ssl crt @key_file@\n"},
    {"stunnel", WAY_ENGINE, ";", "stunnel", "stunnel4", &engine, NEEDS_CERTIFICATE, NULL,
     "; --- above all services\n"
     "engine = pkcs11\n"
     "engineCtrl = MODULE_PATH:@module@\n"
     "; --- a service\n"
     "[@name@]\n"
     "accept = 443\n"
     "connect = 127.0.0.1:80\n"
     "engineNum = 1\n"
     "cert = @certificate@\n"
     "key = @uri@\n"},
    {"stunnel", WAY_PROVIDER, ";", "stunnel", "stunnel4", &provider, NEEDS_CERTIFICATE, "/etc/ssl/%s.uri.pem",
     "; First: " MAKE_KEY_FILE ";        " MAKE_PROVIDER_CONF
     "; and in its environment: OPENSSL_CONF=/etc/ssl/skr-pkcs11-provider.cnf\n"
     "[@name@]\n"
     "accept = 443\n"
     "connect = 127.0.0.1:80\n"
     "cert = @certificate@\n"
     "key = @key_file@\n"},
    {"openssl", WAY_ENGINE, "#", "OpenSSL", "openssl", &engine, NEEDS_NOTHING, NULL,
     "# A file of its own, which a program uses that has its path in OPENSSL_CONF.\n"
     "openssl_conf = openssl_init\n"
     "\n"
     "[openssl_init]\n"
     "engines = engines\n"
     "\n"
     "[engines]\n"
     "pkcs11 = pkcs11_engine\n"
     "\n"
     "[pkcs11_engine]\n"
     "engine_id = pkcs11\n"
     "dynamic_path = @helper@\n"
     "MODULE_PATH = @module@\n"
     "init = 0\n"},
    {"openssl", WAY_PROVIDER, "#", "OpenSSL", "openssl", &provider, NEEDS_NOTHING, NULL,
     "# A file of its own, which a program uses that has its path in OPENSSL_CONF. The three lines that begin with\n"
     "# #default: make the token the first choice of the whole process, whatever the program asks for.\n"
     "openssl_conf = openssl_init\n"
     "\n"
     "[openssl_init]\n"
     "providers = providers\n"
     "#default: alg_section = algorithms\n"
     "\n"
     "[providers]\n"
     "default = default_provider\n"
     "pkcs11 = pkcs11_provider\n"
     "\n"
     "[default_provider]\n"
     "activate = 1\n"
     "\n"
     "[pkcs11_provider]\n"
     "module = @helper@\n"
     "pkcs11-module-path = @module@\n"
     "#default: pkcs11-module-block-operations = digest cipher\n"
     "activate = 1\n"
     "\n"
     "[algorithms]\n"
     "#default: default_properties = ?provider=pkcs11\n"},
    {"gnupg", WAY_ITSELF, "#", "GnuPG", "gnupg", &scd, NEEDS_NOTHING, NULL,
     "# --- ~/.gnupg/gpg-agent.conf\n"
     "scdaemon-program @helper@\n"
     "# --- ~/.gnupg/gnupg-pkcs11-scd.conf\n"
     "providers skr\n"
     "provider-skr-library @module@\n"
     "provider-skr-allow-protected-auth\n"},
    {"ssh", WAY_ITSELF, "#", "OpenSSH", "openssh-client", NULL, NEEDS_NOTHING, NULL,
     "# Below the Host of ~/.ssh/config that the keys are for; their public halves: ssh-keygen -D @module@\n"
     "PKCS11Provider @module@\n"},
    {"java", WAY_ITSELF, "#", "Java", NULL, NULL, NEEDS_TOKEN, NULL,
     "# keytool -list -keystore NONE -storetype PKCS11 -providerClass sun.security.pkcs11.SunPKCS11 -providerArg "
     "THIS-FILE -protected\n"
     "name = skr\n"
     "library = @module@\n"
     "slotListIndex = @slot_index@\n"},
    {"curl", WAY_ENGINE, "#", "curl", "curl", &engine, NEEDS_CERTIFICATE, NULL,
     "# First: " MAKE_ENGINE_CONF "# then: OPENSSL_CONF=/etc/ssl/skr-pkcs11-engine.cnf curl --config THIS-FILE URL\n"
     "cert = \"@certificate_uri@\"\n"
     "key = \"@uri@\"\n"},
    {"curl", WAY_PROVIDER, "#", "curl", "curl", &provider, NEEDS_CERTIFICATE, "/etc/ssl/%s.uri.pem",
     "# First: " MAKE_KEY_FILE "#        " MAKE_PROVIDER_CONF
     "# then: OPENSSL_CONF=/etc/ssl/skr-pkcs11-provider.cnf curl --config THIS-FILE URL\n"
     "cert = \"@certificate@\"\n"
     "key = \"@key_file@\"\n"},
    {"pem-uri", WAY_PROVIDER, NULL, "PEM-URI file", NULL, &provider, NEEDS_KEY, NULL, "@pem@"},
    {NULL, WAY_ANY, NULL, NULL, NULL, NULL, NEEDS_NOTHING, NULL, NULL},
};

const struct consumer *consumer_find(const char *name, enum way way)
{
	const struct consumer *found = NULL;

	for (const struct consumer *c = consumers; c->name; c++) {
		if (strcmp(c->name, name) != 0 || (way != WAY_ANY && c->way != way))
			continue;
		if (helper_is_installed(c->helper))
			return c;
		if (!found)
			found = c;
	}
	return found;
}

/* ---- lines ---- */

static const struct {
	const char *name;
	size_t at;
} placeholders[] = {
    {"module", offsetof(struct consumer_values, module)},
    {"again", offsetof(struct consumer_values, again)},
    {"again_module", offsetof(struct consumer_values, again_module)},
    {"name", offsetof(struct consumer_values, name)},
    {"uri", offsetof(struct consumer_values, uri)},
    {"certificate_uri", offsetof(struct consumer_values, certificate_uri)},
    {"certificate", offsetof(struct consumer_values, certificate)},
    {"key_file", offsetof(struct consumer_values, key_file)},
    {"helper", offsetof(struct consumer_values, helper)},
    {"slot_index", offsetof(struct consumer_values, slot_index)},
    {"pem", offsetof(struct consumer_values, pem)},
};

static const char *value_of(const struct consumer_values *values, const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(placeholders) / sizeof(*placeholders); i++)
		if (strlen(placeholders[i].name) == len && memcmp(placeholders[i].name, name, len) == 0)
			return *(const char *const *)((const char *)values + placeholders[i].at);
	return NULL;
}

skr_status consumer_lines(const struct consumer *consumer, const struct consumer_values *values, struct buf *out)
{
	const char *rest = consumer->lines, *name, *value;

	while ((name = strchr(rest, '@'))) {
		size_t len = strcspn(name + 1, "@");
		TRY(buf_append(out, rest, (size_t)(name - rest)));
		if (!(value = value_of(values, name + 1, len)))
			return FAIL(599, "lines for %s: nothing is known of %.*s", consumer->name, (int)len, name + 1);
		TRY(buf_append_text(out, value));
		rest = name + 1 + len + 1;
	}
	return buf_append_text(out, rest);
}
