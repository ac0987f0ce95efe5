/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CONFIG_ENDPOINT_H
#define SKR_CONFIG_ENDPOINT_H

#include "config/reader.h"

enum endpoint_kind { ENDPOINT_VAULT = 1, ENDPOINT_ATTESTATION = 2, ENDPOINT_AUTHORITY = 4, ENDPOINT_IMDS = 8 };

#define IMDS_ADDRESS "169.254.169.254"
#define HOST_LIMIT   253

/*
 * True if `text` is a host name of at most 253 letters, digits, inner dots and hyphens, and behind it nothing, or a
 * colon and a port. Sets the length of the name, and the port (0: none given).
 */
bool endpoint_split(const char *text, size_t len, size_t *ret_name_len, unsigned *ret_port);

/*
 * Takes SCHEME://HOST[:PORT][/…] apart: host and port in lower case, without a port that is `usual`, and what stands
 * behind. The host is remembered for endpoint_check_all; `setting->with` points to the kinds it may be of. SKR-004.
 */
skr_status endpoint_read(struct config_reader *reader, const struct setting *setting, const char *url,
                         const char *scheme, unsigned usual, const char **ret_host, const char **ret_rest) MUST_CHECK;

/* Compares all hosts of the file with the allow-list. SKR-005. */
skr_status endpoint_check_all(const struct config_reader *reader) MUST_CHECK;

#endif
