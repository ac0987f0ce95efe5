/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/programs.h"

#include "emulator/machine.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The folder that this program is in; "" if the kernel does not say. */
static const char *own_folder(void)
{
	static _Thread_local char folder[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", folder, sizeof(folder) - 1);

	folder[len > 0 ? len : 0] = '\0';
	char *slash = strrchr(folder, '/');
	if (slash)
		*slash = '\0';
	return folder;
}

const char *program_path(enum program program)
{
	static const struct {
		const char *name, *installed;
	} rows[] = {
	    [PROGRAM_MODULE] = {"skr-pkcs11.so", SKR_MODULE_PATH},
	    [PROGRAM_AGENT] = {"skr-agent", SKR_AGENT_PATH},
	    [PROGRAM_PRELOAD] = {"skr-guest-preload.so", SKR_PRELOAD_PATH},
	};
	static _Thread_local char path[PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/%s", own_folder(), rows[program].name);
	return access(path, R_OK) == 0 ? path : rows[program].installed;
}

const char *program_find(const char *name, char *room, size_t size)
{
	const char *at = getenv("PATH");

	while (at && *at) {
		size_t len = strcspn(at, ":");
		snprintf(room, size, "%.*s/%s", (int)len, at, name);
		if (len > 0 && access(room, X_OK) == 0)
			return room;
		at += len + (at[len] == ':');
	}
	return NULL;
}

/* 'TEXT' for a shell. */
static skr_status quoted(const char *text, struct buf *out)
{
	TRY(buf_append(out, "'", 1));
	for (; *text; text++) {
		if (*text == '\'')
			TRY(buf_append_text(out, "'\\''"));
		else
			TRY(buf_append(out, text, 1));
	}
	return buf_append(out, "'", 1);
}

static skr_status assign(struct buf *out, const char *name, const char *value)
{
	TRY(buf_printf(out, "%s=", name));
	TRY(quoted(value, out));
	return buf_append(out, "\n", 1);
}

static skr_status print_inside(const struct emulator *e, struct buf *out)
{
	const struct machine_traits *traits = machine_traits(e->kind);

	TRY(buf_append_text(out, "#!/bin/sh\n# A command inside the played machine: docs/emulator.md\n"));
	TRY(assign(out, "dir", e->dir));
	TRY(assign(out, "devices", traits->devices));
	TRY(assign(out, "preload", program_path(PROGRAM_PRELOAD)));
	TRY(buf_append_text(out, "SKR_GUEST_SOCKET=$dir/hardware.sock\n"
	                         "SKR_GUEST_DEVICES=$(cat \"$dir/devices\" 2>/dev/null || echo \"$devices\")\n"
	                         "SKR_GUEST_FAULT=$(cat \"$dir/device-fault\" 2>/dev/null)\n"
	                         "export SKR_GUEST_SOCKET SKR_GUEST_DEVICES SKR_GUEST_FAULT\n"));
	if (traits->tpm)
		TRY(buf_printf(out,
		               "SKR_GUEST_TPM=%u SKR_GUEST_EVENT_LOG=$dir/binary_bios_measurements\n"
		               "export SKR_GUEST_TPM SKR_GUEST_EVENT_LOG\n",
		               e->tpm_port));
	if (traits->container)
		TRY(buf_append_text(
		    out, "UVM_SECURITY_CONTEXT_DIR=$dir/security-context\nexport UVM_SECURITY_CONTEXT_DIR\n"));
	return buf_append_text(out, "first=$(cat \"$dir/agent-preload\" 2>/dev/null)\n"
	                            "export LD_PRELOAD=\"${first:+$first }$preload\"\n"
	                            "exec \"$@\"\n");
}

static skr_status print_agent(const struct emulator *e, struct buf *out)
{
	auto_buf path = BUF(PATH_MAX + 32);

	TRY(buf_printf(&path, "%s/inside", e->dir));
	TRY(buf_append_text(out, "#!/bin/sh\nexec "));
	TRY(quoted(buf_text(&path), out));
	TRY(buf_append_text(out, " "));
	TRY(quoted(program_path(PROGRAM_AGENT), out));
	return buf_append(out, "\n", 1);
}

static skr_status write_command(const struct emulator *e, const char *name,
                                skr_status (*print)(const struct emulator *e, struct buf *out))
{
	auto_buf text = BUF(64 * 1024);
	char path[PATH_MAX + 32];

	TRY(print(e, &text));
	TRY(emulator_write(e, name, text.data, text.len));
	snprintf(path, sizeof(path), "%s/%s", e->dir, name);
	return chmod(path, 0755) == 0 ? OK : FAIL(17, "chmod %s: %s", path, strerror(errno));
}

skr_status program_write_commands(const struct emulator *e)
{
	TRY(write_command(e, "inside", print_inside));
	return write_command(e, "skr-agent", print_agent);
}
