/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/security_context.h"

#include "base/base64.h"
#include "base/file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define AKS_DIRECTORY "/opt/confidential-containers/share/kata-containers"
#define FILE_LIMIT    (96 * 1024) /* base64 of what is let in */

void security_context_done(struct security_context *context)
{
	json_free(context->amd_certificates);
	buf_done(&context->reference_info);
	*context = (struct security_context){0};
}

static bool is_directory(const char *path)
{
	struct stat about;

	return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* The first by name, so that two of them do not depend on the file system's order. */
static void find_in_root(char *path, size_t size)
{
	char best[256] = "";
	DIR *root = opendir("/");

	for (struct dirent *entry; root && (entry = readdir(root));) {
		if (!strstr(entry->d_name, "security-context-"))
			continue;
		if (!best[0] || strcmp(entry->d_name, best) < 0)
			snprintf(best, sizeof(best), "%s", entry->d_name);
	}
	if (root)
		closedir(root);
	if (best[0])
		snprintf(path, size, "/%s", best);
}

/* Leaves "" if there is none. */
static skr_status find_directory(char *path, size_t size)
{
	const char *named = secure_getenv("UVM_SECURITY_CONTEXT_DIR");

	path[0] = '\0';
	if (named && named[0]) {
		if (strlen(named) >= size || !is_directory(named))
			return FAIL(144, "UVM_SECURITY_CONTEXT_DIR names %.200s, which is no directory", named);
		snprintf(path, size, "%s", named);
		return OK;
	}
	find_in_root(path, size);
	if (!path[0] && is_directory(AKS_DIRECTORY))
		snprintf(path, size, "%s", AKS_DIRECTORY);
	return OK;
}

/* Empty if the file is not there. */
static skr_status read_file(const char *directory, const char *name, struct buf *out)
{
	char path[1200];

	if (!directory[0])
		return OK;
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	skr_status status = file_read(path, out);
	if (status.failure == 1)
		return OK; /* AKS has the reference info alone */
	if (status.failure)
		return FAIL(144, "%s", status_message());
	return OK;
}

skr_status security_context_certificates(const char *base64, size_t len, json **ret)
{
	auto_buf text = BUF(REFERENCE_INFO_LIMIT);

	if (base64_decode_any(base64, len, &text).failure)
		return FAIL(144, "host-amd-cert: %s", status_message());
	if (json_parse(text.data, text.len, ret).failure)
		return FAIL(144, "host-amd-cert: %s", status_message());
	return OK;
}

skr_status security_context_reference(const char *base64, size_t len, struct buf *ret)
{
	auto_buf cose = BUF(REFERENCE_INFO_LIMIT);

	if (base64_decode_any(base64, len, &cose).failure)
		return FAIL(144, "reference-info: %s", status_message());
	/* RFC 9052 section 4.2: tag 18, an array of 4, whose first item is a byte string. The service verifies the
	 * rest. */
	if (cose.len < 3 || cose.data[0] != 0xd2 || cose.data[1] != 0x84 || cose.data[2] >> 5 != 2)
		return FAIL(144, "reference-info: %zu bytes that are no COSE_Sign1", cose.len);
	buf_move(ret, &cose);
	return OK;
}

/* The file's text, or the older variable's. */
static skr_status read_either(const char *directory, const char *file, const char *variable, struct buf *out)
{
	TRY(read_file(directory, file, out));
	const char *older = secure_getenv(variable);
	if (out->len || !older)
		return OK;
	if (buf_append_text(out, older).failure)
		return FAIL(144, "%s holds more than %d bytes", variable, FILE_LIMIT);
	return OK;
}

skr_status security_context_read(struct security_context *ret)
{
	char directory[1024];
	auto_buf certificates = BUF(FILE_LIMIT), reference = BUF(FILE_LIMIT);
	auto_security_context context = {.reference_info = BUF(REFERENCE_INFO_LIMIT)};

	TRY(find_directory(directory, sizeof(directory)));
	TRY(read_either(directory, "host-amd-cert-base64", "UVM_HOST_AMD_CERTIFICATE", &certificates));
	TRY(read_either(directory, "reference-info-base64", "UVM_REFERENCE_INFO", &reference));
	if (certificates.len)
		TRY(security_context_certificates(buf_text(&certificates), certificates.len,
		                                  &context.amd_certificates));
	if (reference.len)
		TRY(security_context_reference(buf_text(&reference), reference.len, &context.reference_info));

	*ret = context;
	context = (struct security_context){0};
	return OK;
}
