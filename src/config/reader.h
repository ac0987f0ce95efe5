/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CONFIG_READER_H
#define SKR_CONFIG_READER_H

/* What the files of this layer share while a configuration is read. Nobody else includes this. */

#include "config/config.h"
#include "config/ini.h"

/* A host that must be on the allow-list; checked at the end, since allow_custom_endpoint may stand below it. */
struct pending_endpoint {
	struct pending_endpoint *next;
	const char *setting, *host;
	unsigned kinds;
	int line;
};

struct config_reader {
	struct config *config;
	struct token_config *token; /* of the section in hand; NULL: in [skr-pkcs11] */
	const struct ini_line *line;
	void *target;                       /* what the settings of the section in hand are written to */
	uint64_t given;                     /* settings of the section in hand that have been read, by row */
	int global_line;                    /* of [skr-pkcs11]; 0: not seen */
	struct pending_endpoint *endpoints; /* owned by the configuration's memory */
};

/* Zeroed memory that config_free releases with the rest; NULL without memory. */
void *config_alloc(struct config *config, size_t size);
/* A copy of `len` bytes of text that the configuration owns. SKR-014. */
skr_status config_keep(struct config *config, const char *text, size_t len, const char **ret) MUST_CHECK;

/* Readers of values that have files of their own: `key`, `pin_hash`, `pin`. */
setting_fn setting_read_key, setting_read_pin_hash, setting_read_tls_pin;

struct range {
	unsigned least, most;
};
/* True if the text is decimal digits only, and the number in the range. */
bool setting_parse_number(const char *text, const struct range *range, unsigned *ret);

#endif
