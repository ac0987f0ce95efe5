/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/device.h"
#include "cli/doctor.h"

#include <string.h>
#include <sys/utsname.h>

static void show_device(struct visit *v, const struct device *device)
{
	char fix[256] = "", user[33];

	if (device->usable) {
		visit_found(v, VERDICT_GOOD, "device", NULL, "%s: %s", device->path, device->what);
		return;
	}
	user_name(user);
	if (!v->config->agent_is_socket)
		device_remedy(v->config, fix, sizeof(fix));
	visit_found(v, VERDICT_NOTE, "device", fix, "%s: %s, of %s:%s with mode %04o: not for user %s%s", device->path,
	            device->what, device->owner, device->group, device->mode, user,
	            v->config->agent_is_socket ? "; the agent is a service with rights of its own" : "");
}

/* No failure by itself: it is the agent that must see a device, and a sidecar needs none. */
void doctor_machine(struct visit *v)
{
	struct utsname kernel;
	struct device device;
	size_t present = 0;

	visit_found(v, VERDICT_GOOD, "kernel", NULL, "%s",
	            uname(&kernel) == 0 ? kernel.release : "of a version that it does not tell");
	for (size_t i = 0; device_look(v->config, i, &device); i++) {
		if (!device.present)
			continue;
		present++;
		show_device(v, &device);
	}
	if (!present)
		visit_found(v, VERDICT_NOTE, "device", NULL,
		            "this process sees none that vouches for the machine: /dev/sev-guest, /dev/tpmrm0, "
		            "configfs-tsm");
}
