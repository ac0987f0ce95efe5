/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vtpm_faults.h"

#include "base/ossl.h"
#include "emulator/vtpm_provision.h"

#include <stdio.h>
#include <stdlib.h>
#include <tss2/tss2_tpm2_types.h>

/* ---- names of commands ---- */

#define COMMAND(name)                 \
	{                             \
		TPM2_CC_##name, #name \
	}
static const struct {
	uint32_t code;
	const char *name;
} command_names[] = {
    COMMAND(NV_UndefineSpaceSpecial),
    COMMAND(EvictControl),
    COMMAND(HierarchyControl),
    COMMAND(NV_UndefineSpace),
    COMMAND(Clear),
    COMMAND(ClearControl),
    COMMAND(HierarchyChangeAuth),
    COMMAND(NV_DefineSpace),
    COMMAND(CreatePrimary),
    COMMAND(NV_Increment),
    COMMAND(NV_SetBits),
    COMMAND(NV_Extend),
    COMMAND(NV_Write),
    COMMAND(NV_WriteLock),
    COMMAND(DictionaryAttackLockReset),
    COMMAND(PCR_Event),
    COMMAND(PCR_Reset),
    COMMAND(SequenceComplete),
    COMMAND(SelfTest),
    COMMAND(Startup),
    COMMAND(Shutdown),
    COMMAND(StirRandom),
    COMMAND(ActivateCredential),
    COMMAND(Certify),
    COMMAND(PolicyNV),
    COMMAND(CertifyCreation),
    COMMAND(NV_Read),
    COMMAND(ObjectChangeAuth),
    COMMAND(PolicySecret),
    COMMAND(Create),
    COMMAND(Load),
    COMMAND(Quote),
    COMMAND(RSA_Decrypt),
    COMMAND(Sign),
    COMMAND(Unseal),
    COMMAND(PolicySigned),
    COMMAND(ContextLoad),
    COMMAND(ContextSave),
    COMMAND(FlushContext),
    COMMAND(LoadExternal),
    COMMAND(MakeCredential),
    COMMAND(NV_ReadPublic),
    COMMAND(PolicyAuthorize),
    COMMAND(PolicyAuthValue),
    COMMAND(PolicyCommandCode),
    COMMAND(PolicyOR),
    COMMAND(ReadPublic),
    COMMAND(RSA_Encrypt),
    COMMAND(StartAuthSession),
    COMMAND(VerifySignature),
    COMMAND(GetCapability),
    COMMAND(GetRandom),
    COMMAND(GetTestResult),
    COMMAND(Hash),
    COMMAND(PCR_Read),
    COMMAND(PolicyPCR),
    COMMAND(PolicyRestart),
    COMMAND(ReadClock),
    COMMAND(PCR_Extend),
    COMMAND(PolicyGetDigest),
    COMMAND(TestParms),
    COMMAND(PolicyPassword),
};

void vtpm_command_name(uint32_t code, char out[32])
{
	snprintf(out, 32, "%#x", code);
	for (size_t i = 0; i < sizeof(command_names) / sizeof(command_names[0]); i++)
		if (command_names[i].code == code)
			snprintf(out, 32, "%s", command_names[i].name);
}

/* 0: neither a name nor a number. */
static uint32_t command_code(const char *word)
{
	for (size_t i = 0; i < sizeof(command_names) / sizeof(command_names[0]); i++)
		if (strcmp(command_names[i].name, word) == 0)
			return command_names[i].code;
	return (uint32_t)strtoul(word, NULL, 0);
}

/* ---- actions ---- */

static skr_status respond(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	frame_refuse(scene->answer, (uint32_t)fault->number);
	return OK;
}

static skr_status wait(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	scene->wait_ms += fault->number;
	return OK;
}

static skr_status drop(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	(void)fault;
	scene->drop = true;
	return OK;
}

static skr_status extend(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	return vtpm_extend(scene->wire, (uint32_t)fault->number);
}

static skr_status restart(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	(void)fault;
	return scene->restart(scene->machine);
}

static skr_status replace_ak(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	(void)fault;
	return scene->replace_ak(scene->machine);
}

/* Another process of the guest writes its own question over ours. */
static skr_status overwrite(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	struct frame command, answer;
	uint8_t question[64];

	(void)fault;
	TRY(random_bytes(question, sizeof(question)));
	frame_begin(&command, TPM_ST_SESSIONS, TPM2_CC_NV_Write);
	frame_put(&command, TPM2_RH_OWNER, 4);
	frame_put(&command, VTPM_USER_DATA, 4);
	frame_put_password(&command);
	frame_put(&command, sizeof(question), 2);
	frame_append(&command, question, sizeof(question));
	frame_put(&command, 0, 2);
	frame_end(&command);
	return frame_transact(scene->wire, &command, &answer);
}

static skr_status truncate_answer(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	if ((size_t)fault->number < scene->answer->len)
		scene->answer->len = (size_t)fault->number;
	return OK;
}

/* Bytes behind the end; the size field stays true. */
static skr_status lengthen(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	for (int64_t i = 0; i < fault->number; i++)
		frame_put(scene->answer, 0xA5, 1);
	return OK;
}

static size_t room_at(const struct vtpm_fault *fault, size_t len)
{
	size_t at = (size_t)fault->at;

	return at >= len ? 0 : len - at < fault->len ? len - at : fault->len;
}

static skr_status write_answer(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	memcpy(scene->answer->data + fault->at, fault->bytes, room_at(fault, scene->answer->len));
	return OK;
}

static skr_status flip_answer(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	if ((size_t)fault->at < scene->answer->len)
		scene->answer->data[fault->at] ^= 1;
	return OK;
}

static skr_status write_report(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	if (scene->report)
		memcpy(scene->report->data + fault->at, fault->bytes, room_at(fault, scene->report->len));
	return OK;
}

static skr_status flip_report(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	if (scene->report && (size_t)fault->at < scene->report->len)
		scene->report->data[fault->at] ^= 1;
	return OK;
}

static skr_status claim_other_ak(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	(void)fault;
	scene->other_ak = true;
	return OK;
}

static skr_status keep_report(const struct vtpm_fault *fault, struct fault_scene *scene)
{
	(void)fault;
	scene->stale = true;
	return OK;
}

/* What the action needs besides. */
enum { NEEDS_NUMBER = 1, NEEDS_BYTES = 2, NEEDS_AT = 4 };

static const struct fault_action {
	const char *word;
	enum fault_event event;
	enum fault_moment moment;
	unsigned needs;
	skr_status (*run)(const struct vtpm_fault *fault, struct fault_scene *scene);
} actions[] = {
    {"refuse", FAULT_ON_CONNECT, FAULT_INSTEAD, 0, drop},
    {"respond", FAULT_ON_COMMAND, FAULT_INSTEAD, NEEDS_NUMBER, respond},
    {"drop", FAULT_ON_COMMAND, FAULT_INSTEAD, 0, drop},
    {"delay", FAULT_ON_COMMAND, FAULT_WAIT, NEEDS_NUMBER, wait},
    {"extend", FAULT_ON_COMMAND, FAULT_BEFORE, NEEDS_NUMBER, extend},
    {"restart", FAULT_ON_COMMAND, FAULT_BEFORE, 0, restart},
    {"replace-ak", FAULT_ON_COMMAND, FAULT_BEFORE, 0, replace_ak},
    {"extend-after", FAULT_ON_COMMAND, FAULT_AFTER, NEEDS_NUMBER, extend},
    {"restart-after", FAULT_ON_COMMAND, FAULT_AFTER, 0, restart},
    {"overwrite", FAULT_ON_COMMAND, FAULT_AFTER, 0, overwrite},
    {"drop-after", FAULT_ON_COMMAND, FAULT_AFTER, 0, drop},
    {"truncate", FAULT_ON_COMMAND, FAULT_ANSWER, NEEDS_NUMBER, truncate_answer},
    {"lengthen", FAULT_ON_COMMAND, FAULT_ANSWER, NEEDS_NUMBER, lengthen},
    {"write", FAULT_ON_COMMAND, FAULT_ANSWER, NEEDS_BYTES | NEEDS_AT, write_answer},
    {"flip", FAULT_ON_COMMAND, FAULT_ANSWER, NEEDS_AT, flip_answer},
    {"write", FAULT_ON_REPORT, FAULT_REPORT, NEEDS_BYTES | NEEDS_AT, write_report},
    {"flip", FAULT_ON_REPORT, FAULT_REPORT, NEEDS_AT, flip_report},
    {"other-ak", FAULT_ON_REPORT, FAULT_REPORT, 0, claim_other_ak},
    {"stale", FAULT_ON_REPORT, FAULT_REPORT, 0, keep_report},
};

skr_status vtpm_faults_run(const struct vtpm_fault *due, size_t count, enum fault_moment moment,
                           struct fault_scene *scene)
{
	for (size_t i = 0; i < count; i++)
		if (due[i].action->moment == moment)
			TRY(due[i].action->run(&due[i], scene));
	return OK;
}

bool vtpm_faults_have(const struct vtpm_fault *due, size_t count, enum fault_moment moment)
{
	for (size_t i = 0; i < count; i++)
		if (due[i].action->moment == moment)
			return true;
	return false;
}

/* ---- rules ---- */

static skr_status parse_event(const json *rule, struct vtpm_fault *fault)
{
	const char *on;

	TRY(json_string(rule, "on", &on));
	fault->event = strcmp(on, "connect") == 0  ? FAULT_ON_CONNECT
	               : strcmp(on, "report") == 0 ? FAULT_ON_REPORT
	                                           : FAULT_ON_COMMAND;
	if (fault->event == FAULT_ON_COMMAND && strcmp(on, "*") != 0) {
		fault->command = command_code(on);
		if (fault->command == 0)
			return FAIL(213, "faults: no such command: %s", on);
	}
	return OK;
}

static skr_status parse_action(const json *rule, struct vtpm_fault *fault)
{
	const char *word;

	TRY(json_string(rule, "do", &word));
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (actions[i].event == fault->event && strcmp(actions[i].word, word) == 0) {
			fault->action = &actions[i];
			return OK;
		}
	return FAIL(213, "faults: %s cannot be done on %s", word, json_string_or_null(rule, "on"));
}

static skr_status parse_bytes(const char *text, struct vtpm_fault *fault)
{
	size_t len;

	if (OPENSSL_hexstr2buf_ex(fault->bytes, sizeof(fault->bytes), &len, text, '\0') != 1)
		return FAIL(213, "faults: value is not hexadecimal, or too long: %s", text);
	fault->len = len;
	return OK;
}

static skr_status parse_number(const json *rule, const char *name, int64_t *ret)
{
	const char *text = json_string_or_null(rule, name);
	char *end;

	if (!text)
		return json_integer(rule, name, false, ret);
	*ret = (int64_t)strtoull(text, &end, 0);
	if (!*text || *end)
		return FAIL(213, "faults: %s is not a number: %s", name, text);
	return OK;
}

static skr_status parse_values(const json *rule, struct vtpm_fault *fault)
{
	const char *bytes;

	if (fault->action->needs & NEEDS_NUMBER)
		TRY(parse_number(rule, "value", &fault->number));
	if (fault->action->needs & NEEDS_AT)
		TRY(parse_number(rule, "at", &fault->at));
	if (fault->action->needs & NEEDS_BYTES) {
		TRY(json_string(rule, "value", &bytes));
		TRY(parse_bytes(bytes, fault));
	}
	if (fault->number < 0 || fault->at < 0 || fault->at >= TPM_FRAME_LIMIT)
		return FAIL(213, "faults: a number below 0, or at a place above %d", TPM_FRAME_LIMIT - 1);
	return OK;
}

static skr_status parse_rule(const json *rule, struct vtpm_fault *ret)
{
	struct vtpm_fault fault = {0};
	int64_t handle = 0;

	TRY(parse_event(rule, &fault));
	TRY(parse_action(rule, &fault));
	TRY(parse_values(rule, &fault));
	if (json_get(rule, "nth"))
		TRY(parse_number(rule, "nth", &fault.nth));
	if (json_get(rule, "handle"))
		TRY(parse_number(rule, "handle", &handle));
	fault.handle = (uint32_t)handle;
	*ret = fault;
	return OK;
}

skr_status vtpm_faults_set(struct vtpm_faults *faults, const json *rules)
{
	struct vtpm_faults fresh = {0};

	if (json_kind(rules) != JSON_ARRAY || json_count(rules) > VTPM_FAULTS)
		return FAIL(213, "faults: not an array of at most %d rules", VTPM_FAULTS);
	for (const json *rule = json_first(rules); rule; rule = json_next(rule))
		TRY(parse_rule(rule, &fresh.rules[fresh.count++]));
	*faults = fresh;
	return OK;
}

json *vtpm_faults_list(const struct vtpm_faults *faults)
{
	static const char *const events[] = {"", "connect", "report"};
	json *list = json_array();

	for (size_t i = 0; i < faults->count; i++) {
		const struct vtpm_fault *fault = &faults->rules[i];
		char name[32] = "*";
		json *shown = json_object();
		if (fault->command)
			vtpm_command_name(fault->command, name);
		json_set_string(shown, "on", fault->event == FAULT_ON_COMMAND ? name : events[fault->event]);
		json_set_string(shown, "do", fault->action->word);
		json_set_number(shown, "met", fault->met);
		json_set_number(shown, "hit", fault->hit);
		json_push(list, shown);
	}
	return list;
}

static bool fits(const struct vtpm_fault *fault, const struct frame *command, size_t handles)
{
	if (!command)
		return true;
	if (fault->command && fault->command != frame_code(command))
		return false;
	for (size_t i = 0; fault->handle && i < handles; i++)
		if (frame_get(command->data + TPM_HEADER + 4 * i, 4) == fault->handle)
			return true;
	return !fault->handle;
}

size_t vtpm_faults_due(struct vtpm_faults *faults, enum fault_event event, const struct frame *command, size_t handles,
                       struct vtpm_fault *due)
{
	size_t count = 0;

	for (size_t i = 0; i < faults->count; i++) {
		struct vtpm_fault *fault = &faults->rules[i];
		if (fault->event != event || !fits(fault, command, handles))
			continue;
		fault->met++;
		if (fault->nth && fault->nth != fault->met)
			continue;
		fault->hit++;
		due[count++] = *fault;
	}
	return count;
}
