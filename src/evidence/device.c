/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/device.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static skr_status no_right(const struct device *device, int error)
{
	struct stat about;

	if (stat(device->path, &about) != 0)
		return FAIL(101, "%s: %s (this is uid %ld)", device->path, strerror(error), (long)geteuid());
	const struct group *group = getgrgid(about.st_gid);
	return FAIL(
	    101, "%s: %s (this is uid %ld; the device is uid %ld's and group %s's (gid %ld) with mode %04o)%s%s",
	    device->path, strerror(error), (long)geteuid(), (long)about.st_uid, group ? group->gr_name : "?",
	    (long)about.st_gid, (unsigned)about.st_mode & 07777, about.st_gid == 0 && device->advice ? "; " : "",
	    about.st_gid == 0 && device->advice ? device->advice : "");
}

skr_status device_refused(const struct device *device, int error)
{
	switch (error) {
	case ENOENT:
		if (device->in_sysfs && access(device->in_sysfs, F_OK) == 0)
			return FAIL(21, "%s is not there, though the driver is (%s)", device->path, device->in_sysfs);
		return FAIL(100, "%s: %s", device->path, strerror(error));
	case EACCES:
		return no_right(device, error);
	case EPERM: /* the device controller of a service's control group */
	case EROFS:
		return FAIL(21, "%s: %s", device->path, strerror(error));
	case EMFILE:
	case ENFILE:
		return FAIL(16, "opening %s: %s", device->path, strerror(error));
	case EBUSY:
		return FAIL(device->busy, "%s: %s: another process has it open", device->path, strerror(error));
	default: /* ENXIO, ENODEV: a node without a driver */
		return FAIL(100, "%s: %s", device->path, strerror(error));
	}
}
