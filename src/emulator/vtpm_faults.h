/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_VTPM_FAULTS_H
#define SKR_EMULATOR_VTPM_FAULTS_H

#include "base/json.h"
#include "emulator/vtpm_frame.h"

/* What goes wrong in the vTPM, and when (docs/emulator.md, "The vTPM"). */

enum fault_event { FAULT_ON_COMMAND, FAULT_ON_CONNECT, FAULT_ON_REPORT };

/* When an action takes place. */
enum fault_moment {
	FAULT_WAIT,    /* before the command, while the lock is free */
	FAULT_BEFORE,  /* just before it runs */
	FAULT_INSTEAD, /* it does not run */
	FAULT_AFTER,   /* just after it ran */
	FAULT_ANSWER,  /* its answer is changed */
	FAULT_REPORT,  /* the paravisor's report is made */
};

struct vtpm_fault {
	enum fault_event event;
	const struct fault_action *action;
	uint32_t command; /* code; 0: any */
	uint32_t handle;  /* one that the command must have; 0: any */
	int64_t nth;      /* the only one that is hit; 0: all */
	int64_t met, hit; /* how many fitted, how many of them were hit */
	int64_t number;   /* "value" if it is a number or hexadecimal with 0x */
	int64_t at;
	uint8_t bytes[64]; /* "value" if it is hexadecimal */
	size_t len;
};

#define VTPM_FAULTS 32
struct vtpm_faults {
	struct vtpm_fault rules[VTPM_FAULTS];
	size_t count;
};

/* In place of those that were there; all or none. SKR-213 names what is wrong. */
skr_status vtpm_faults_set(struct vtpm_faults *faults, const json *rules) MUST_CHECK;
/* What was set, with how often each was met and hit; owned by the caller. */
json *vtpm_faults_list(const struct vtpm_faults *faults);

/* Counts the event and copies the rules that it hits; `due` has room for VTPM_FAULTS. `command`: NULL if it is none. */
size_t vtpm_faults_due(struct vtpm_faults *faults, enum fault_event event, const struct frame *command, size_t handles,
                       struct vtpm_fault *due);

/* What an action works on. */
struct fault_scene {
	struct vtpm_wire *wire;
	void *machine; /* for these two */
	skr_status (*restart)(void *machine);
	skr_status (*replace_ak)(void *machine);
	struct frame *answer;
	struct buf *report;
	int64_t wait_ms;
	bool drop, stale, other_ak;
};
/* Runs those of the rules whose moment this is. */
skr_status vtpm_faults_run(const struct vtpm_fault *due, size_t count, enum fault_moment moment,
                           struct fault_scene *scene) MUST_CHECK;
bool vtpm_faults_have(const struct vtpm_fault *due, size_t count, enum fault_moment moment);

/* "RSA_Decrypt" for 0x159; `out` has room for 32: hexadecimal if the name is not known. */
void vtpm_command_name(uint32_t code, char out[32]);

#endif
