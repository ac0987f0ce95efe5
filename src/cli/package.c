/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/package.h"

#include "cli/command.h"

#include <stdio.h>
#include <string.h>

static void close_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

/* What stands behind "NAME: " on the line, without its end; NULL: another line. */
static const char *field(char *line, const char *name)
{
	size_t len = strlen(name);

	if (strncmp(line, name, len) != 0 || strncmp(line + len, ": ", 2) != 0)
		return NULL;
	line[strcspn(line, "\n")] = '\0';
	return line + len + 2;
}

/* Paragraphs of lines "Field: value", an empty line between them; Package comes first, Status before Version. */
bool package_version(const char *status, const char *package, struct buf *out)
{
	__attribute__((cleanup(close_file))) FILE *table = fopen(status ? status : "/var/lib/dpkg/status", "re");
	auto_text *line = NULL;
	size_t size = 0;
	bool ours = false, installed = false;

	while (table && getline(&line, &size, table) > 0) {
		const char *value;
		if ((value = field(line, "Package"))) {
			ours = strcmp(value, package) == 0;
			installed = false;
		} else if (ours && (value = field(line, "Status"))) {
			installed =
			    strcmp(value, "install ok installed") == 0 || strcmp(value, "hold ok installed") == 0;
		} else if (ours && installed && (value = field(line, "Version"))) {
			return !buf_append_text(out, value).failure;
		}
	}
	return false;
}
