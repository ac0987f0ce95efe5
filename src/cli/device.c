/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/device.h"

#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	const char *path, *what;
} places[] = {
    {"/dev/sev-guest", "AMD SEV-SNP guest device"},
    {"/dev/sev", "AMD SEV device of older kernels"},
    {"/sys/kernel/config/tsm/report", "configfs-tsm (SEV-SNP or TDX)"},
    {NULL, "vTPM"}, /* where the configuration says */
};

/* "device:/dev/tpmrm0" -> "/dev/tpmrm0"; NULL: it is reached in another way. */
static const char *tpm_path(const struct config *config)
{
	return strncmp(config->tpm, "device:", 7) == 0 ? config->tpm + 7 : NULL;
}

static void name_owner(const struct stat *about, struct device *ret)
{
	const struct passwd *user = getpwuid(about->st_uid);
	const struct group *group = getgrgid(about->st_gid);

	snprintf(ret->owner, sizeof(ret->owner), "%s", user ? user->pw_name : "");
	if (!user)
		snprintf(ret->owner, sizeof(ret->owner), "%lu", (unsigned long)about->st_uid);
	snprintf(ret->group, sizeof(ret->group), "%s", group ? group->gr_name : "");
	if (!group)
		snprintf(ret->group, sizeof(ret->group), "%lu", (unsigned long)about->st_gid);
}

bool device_look(const struct config *config, size_t index, struct device *ret)
{
	struct device device = {.path = NULL};
	struct stat about;

	if (index >= sizeof(places) / sizeof(places[0]))
		return false;
	device.path = places[index].path ? places[index].path : tpm_path(config);
	device.what = places[index].what;
	if (device.path && stat(device.path, &about) == 0) {
		device.present = true;
		device.usable = access(device.path, S_ISDIR(about.st_mode) ? W_OK | X_OK : R_OK | W_OK) == 0;
		device.mode = about.st_mode & 07777;
		name_owner(&about, &device);
	}
	*ret = device;
	return true;
}

void user_name(char out[33])
{
	const struct passwd *user = getpwuid(geteuid());

	snprintf(out, 33, "%s", user ? user->pw_name : "");
	if (!user)
		snprintf(out, 33, "%lu", (unsigned long)geteuid());
}

/* Root's own group gives nobody else anything. */
static bool group_helps(const struct device *device)
{
	return (device->mode & 0060) == 0060 && strcmp(device->group, "root") != 0;
}

void device_remedy(const struct config *config, char *out, size_t size)
{
	struct device device;
	char user[33];

	out[0] = '\0';
	user_name(user);
	for (size_t i = 0; device_look(config, i, &device); i++) {
		if (!device.present || device.usable)
			continue;
		if (group_helps(&device)) {
			snprintf(out, size, "sudo usermod -aG %s %s    # then log in again, or restart the service",
			         device.group, user);
			return;
		}
		if (!out[0])
			snprintf(out, size,
			         "sudo systemctl enable --now skr-agent.socket    # and agent = "
			         "unix:/run/skr-pkcs11/agent.sock");
	}
	if (!out[0])
		snprintf(out, size,
		         "ls -l /dev/sev-guest /dev/tpmrm0 /sys/kernel/config/tsm/report    # whose are they?");
}

void device_advise(FILE *out, const struct status_record *record, const struct config *config)
{
	struct device device;
	bool refused = false;

	if (record->failure != 100 && record->failure != 101 && record->failure != 21)
		return;
	for (size_t i = 0; device_look(config, i, &device); i++) {
		if (!device.present || device.usable)
			continue;
		refused = true;
		fprintf(out, "%s (%s) belongs to %s:%s, mode %04o\n", device.path, device.what, device.owner,
		        device.group, device.mode);
	}
	if (!refused && record->failure == 100)
		return;
	if (config->agent_is_socket)
		fputs("The agent is a service with rights of its own; this command has only yours.\n", out);
	fputs("Run this as root, or as a member of the group that the device belongs to (tss for a vTPM).\n", out);
}
