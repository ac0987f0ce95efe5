/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_DEVICE_H
#define SKR_CLI_DEVICE_H

#include "config/config.h"

#include <stdio.h>

/* A device by which hardware vouches for this machine, and this process's rights to it. Nothing is opened. */
struct device {
	const char *path;
	const char *what; /* "AMD SEV-SNP guest device" */
	bool present, usable;
	unsigned mode;
	char owner[33], group[33];
};

/* The `index`th that there may be; false behind the last. `config` says where the vTPM is. */
bool device_look(const struct config *config, size_t index, struct device *ret);

/*
 * A command that gives this user the rights to a device that is there: into its group, or, where the group has none
 * either, an agent with root's rights. With no such device, one that shows which there are.
 */
void device_remedy(const struct config *config, char *out, size_t size);

/* The same for a failure that is about rights (SKR-100, 101, 021), as lines; nothing for others. */
void device_advise(FILE *out, const struct status_record *record, const struct config *config);

/* The name of this process's user, or its number. */
void user_name(char out[33]);

#endif
