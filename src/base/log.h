/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_LOG_H
#define SKR_BASE_LOG_H

#include "base/status.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/*
 * Where lines go: "syslog" (facility authpriv, without openlog, which would rename the host's own lines), "stderr",
 * "none", or an absolute path of a file that is opened for each line (O_APPEND|O_CLOEXEC|O_NOFOLLOW, mode 0600) and
 * closed again, so that no descriptor of ours lives in the host. `who` names the program in the line ("skr-pkcs11",
 * "skr-agent"); borrowed, static. Not thread-safe against log_line; called while nobody else runs.
 */
void log_open(const char *where, enum log_level level, const char *who);
/* True if a line of this level would be written. */
int log_wants(enum log_level level);
/* One line, at most 2 KiB; control characters are replaced. errno is kept. Never a secret: sensitive types have no
 * printer. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The line of this thread's last failure, at the level of its family. Only the outermost function logs. */
void log_failure(void);

#endif
