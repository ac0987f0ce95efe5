/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_PACKAGE_H
#define SKR_CLI_PACKAGE_H

#include "base/buf.h"

#include <stdbool.h>

/*
 * The version of an installed Debian package, out of dpkg's own table, `status` (NULL: /var/lib/dpkg/status). False,
 * and nothing appended, where it is not installed, or dpkg is not at home.
 */
bool package_version(const char *status, const char *package, struct buf *out);

#endif
