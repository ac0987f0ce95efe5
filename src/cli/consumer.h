/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_CONSUMER_H
#define SKR_CLI_CONSUMER_H

#include "base/buf.h"

#include <stdbool.h>

/* How a program reaches the module. */
enum way {
	WAY_ANY,      /* whichever is installed */
	WAY_ENGINE,   /* OpenSSL's engine of libp11 */
	WAY_PROVIDER, /* OpenSSL's pkcs11-provider */
	WAY_ITSELF,   /* the program loads the module */
};

/* A Debian package that a program needs beside the module, and the file by which it is known to be there. */
struct helper {
	const char *package;
	const char *from; /* where to get it, behind "apt-get install PACKAGE"; "" where that is all */
	const char *(*path)(void);
};

/* What the lines of a consumer name. */
enum consumer_needs { NEEDS_NOTHING, NEEDS_TOKEN, NEEDS_KEY, NEEDS_CERTIFICATE /* and key */ };

/*
 * A program that uses keys, and the lines that make it do so. In them @name@ stands for a member of consumer_values.
 * A line "# --- WHERE" begins what belongs to one place, if there are several. docs/interop.md has the same lines.
 */
struct consumer {
	const char *name;
	enum way way;
	const char *comment;         /* what begins a comment; NULL: there are none */
	const char *program;         /* as people call it */
	const char *package;         /* Debian's, for its version; NULL: it has many */
	const struct helper *helper; /* NULL: none */
	enum consumer_needs needs;
	const char
	    *key_file; /* where the PEM-URI file of a key is unless told otherwise; %s: the key; NULL: has none */
	const char *lines;
};
extern const struct consumer consumers[]; /* ends with a NULL name */

/* Each is text; what a consumer does not need may be NULL. */
struct consumer_values {
	const char *module;
	const char *again;        /* the words behind "skr-pkcs11 print-config pem-uri" that name this key */
	const char *again_module; /* " --module FILE", or "" */
	const char *name;         /* of the key, with nothing but letters, digits, - . _ */
	const char *uri;          /* of the private key */
	const char *certificate_uri;
	const char *certificate; /* file */
	const char *key_file;    /* PEM-URI file */
	const char *helper;      /* path of the helper's file */
	const char *slot_index;  /* the token's place in the configuration, from 0 */
	const char *pem;         /* the PEM-URI file itself */
};

/* The row for that name and way; of several the first whose helper is installed, else the first. NULL: none. */
const struct consumer *consumer_find(const char *name, enum way way);

bool helper_is_installed(const struct helper *helper); /* takes NULL: true */

/* Appends the lines to `out`. SKR-599 where they name what is not among the values. */
skr_status consumer_lines(const struct consumer *consumer, const struct consumer_values *values,
                          struct buf *out) MUST_CHECK;

#endif
