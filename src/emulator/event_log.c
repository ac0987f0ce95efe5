/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/event_log.h"

#include "base/ossl.h"

#include <string.h>

enum {
	EV_NO_ACTION = 0x3,
	EV_SEPARATOR = 0x4,
	EV_S_CRTM_VERSION = 0x8,
	EV_IPL = 0xd,
	EV_EFI_VARIABLE_DRIVER_CONFIG = 0x80000001,
	EV_EFI_BOOT_SERVICES_APPLICATION = 0x80000003,
	EV_EFI_ACTION = 0x80000007,
	EV_EFI_PLATFORM_FIRMWARE_BLOB = 0x80000008,
	EV_EFI_VARIABLE_AUTHORITY = 0x800000e0,
};
enum { ALG_SHA1 = 0x4, ALG_SHA256 = 0xb };

static const char spec_signature[16] = "Spec ID Event03";
static const char locality_signature[16] = "StartupLocality";

/* EFI_GLOBAL_VARIABLE 8be4df61-93ca-11d2-aa0d-00e098032b8c and EFI_IMAGE_SECURITY_DATABASE_GUID
 * d719b2cb-3d3a-4596-a3bc-dad00e67656f, as they lie in memory. */
static const uint8_t global_variable[16] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                            0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
static const uint8_t security_database[16] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                              0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f};

/* ---- making ---- */

static skr_status put_le(struct buf *out, uint64_t value, size_t bytes)
{
	uint8_t text[8];

	for (size_t i = 0; i < bytes; i++)
		text[i] = (uint8_t)(value >> 8 * i);
	return buf_append(out, text, bytes);
}

static skr_status digest(const char *name, const void *data, size_t len, uint8_t out[32])
{
	size_t size;

	if (EVP_Q_digest(ossl, name, NULL, data, len, out, &size) != 1)
		return ossl_fail(599, name);
	return OK;
}

static skr_status put_head(struct buf *out)
{
	auto_buf event = BUF(256);

	TRY(buf_append(&event, spec_signature, sizeof(spec_signature)));
	TRY(put_le(&event, 0, 4));          /* platform class: client */
	TRY(put_le(&event, 0x02000200, 4)); /* version 2.0, no errata, UINTN of 8 bytes */
	TRY(put_le(&event, 2, 4));
	TRY(put_le(&event, ALG_SHA1, 2));
	TRY(put_le(&event, 20, 2));
	TRY(put_le(&event, ALG_SHA256, 2));
	TRY(put_le(&event, 32, 2));
	TRY(put_le(&event, 0, 1)); /* no vendor information */

	static const uint8_t no_digest[20];
	TRY(put_le(out, 0, 4));
	TRY(put_le(out, EV_NO_ACTION, 4));
	TRY(buf_append(out, no_digest, sizeof(no_digest)));
	TRY(put_le(out, event.len, 4));
	return buf_append(out, event.data, event.len);
}

/* An event whose digests are those of `measured`, which is mostly its data but for images. */
static skr_status put_event(struct buf *out, uint32_t pcr, uint32_t type, const struct buf *measured,
                            const struct buf *data)
{
	uint8_t sha1[32], sha_256[32];

	TRY(digest("SHA1", measured->data, measured->len, sha1));
	TRY(digest("SHA256", measured->data, measured->len, sha_256));
	TRY(put_le(out, pcr, 4));
	TRY(put_le(out, type, 4));
	TRY(put_le(out, 2, 4));
	TRY(put_le(out, ALG_SHA1, 2));
	TRY(buf_append(out, sha1, 20));
	TRY(put_le(out, ALG_SHA256, 2));
	TRY(buf_append(out, sha_256, 32));
	TRY(put_le(out, data->len, 4));
	return buf_append(out, data->data, data->len);
}

static skr_status put_utf16(struct buf *out, const char *text)
{
	for (; *text; text++)
		TRY(put_le(out, (uint8_t)*text, 2));
	return OK;
}

/* UEFI_VARIABLE_DATA */
static skr_status put_variable(struct buf *log, uint32_t type, const uint8_t guid[16], const char *name,
                               const char *value, size_t len)
{
	auto_buf data = BUF(4096);

	TRY(buf_append(&data, guid, 16));
	TRY(put_le(&data, strlen(name), 8));
	TRY(put_le(&data, len, 8));
	TRY(put_utf16(&data, name));
	TRY(buf_append(&data, value, len));
	return put_event(log, 7, type, &data, &data);
}

static skr_status put_text(struct buf *log, uint32_t pcr, uint32_t type, const char *text, size_t len)
{
	auto_buf data = BUF(4096);

	TRY(buf_append(&data, text, len));
	return put_event(log, pcr, type, &data, &data);
}

/* GRUB's events have a zero at their end, and perhaps a word before, that are not measured. */
static skr_status put_grub(struct buf *log, uint32_t pcr, const char *text, const char *measured)
{
	auto_buf data = BUF(4096), content = BUF(4096);

	TRY(buf_append(&data, text, strlen(text) + 1));
	TRY(buf_append_text(&content, measured));
	return put_event(log, pcr, EV_IPL, &content, &data);
}

static skr_status put_version(struct buf *log)
{
	auto_buf data = BUF(256);

	TRY(put_utf16(&data, "Hyper-V UEFI Release v4.1"));
	TRY(put_le(&data, 0, 2));
	return put_event(log, 0, EV_S_CRTM_VERSION, &data, &data);
}

/* EFI_PLATFORM_FIRMWARE_BLOB, EFI_IMAGE_LOAD_EVENT: where the thing lay; what is measured is the thing. */
static skr_status put_blob(struct buf *log, uint32_t pcr, uint32_t type, const char *thing)
{
	auto_buf place = BUF(64), content = BUF(256);

	TRY(buf_append_text(&content, thing));
	TRY(put_le(&place, 0x820000, 8));
	TRY(put_le(&place, 0x1000 * (uint64_t)strlen(thing), 8));
	if (type == EV_EFI_BOOT_SERVICES_APPLICATION) {
		TRY(put_le(&place, 0, 8));          /* linked at */
		TRY(put_le(&place, 4, 8));          /* bytes of the device path: its end alone */
		TRY(put_le(&place, 0x0004ff7f, 4)); /* end of the entire path */
	}
	return put_event(log, pcr, type, &content, &place);
}

static skr_status put_secure_boot(struct buf *log, bool on)
{
	const uint32_t config = EV_EFI_VARIABLE_DRIVER_CONFIG;

	TRY(put_variable(log, config, global_variable, "SecureBoot", on ? "\1" : "\0", 1));
	TRY(put_variable(log, config, global_variable, "PK", "", 0));
	TRY(put_variable(log, config, global_variable, "KEK", "", 0));
	TRY(put_variable(log, config, security_database, "db", "", 0));
	return put_variable(log, config, security_database, "dbx", "", 0);
}

#define WORDS(text) (text), sizeof(text) - 1 /* actions are measured without the terminating zero */

skr_status event_log_make(bool secure_boot, struct buf *out)
{
	TRY(put_head(out));
	TRY(put_version(out));
	TRY(put_blob(out, 0, EV_EFI_PLATFORM_FIRMWARE_BLOB, "firmware volume: PEI"));
	TRY(put_blob(out, 0, EV_EFI_PLATFORM_FIRMWARE_BLOB, "firmware volume: DXE"));
	TRY(put_secure_boot(out, secure_boot));
	TRY(put_text(out, 7, EV_SEPARATOR, "\0\0\0\0", 4));
	TRY(put_text(out, 4, EV_EFI_ACTION, WORDS("Calling EFI Application from Boot Option")));
	for (uint32_t pcr = 0; pcr < 7; pcr++)
		TRY(put_text(out, pcr, EV_SEPARATOR, "\0\0\0\0", 4));
	if (secure_boot)
		TRY(put_variable(out, EV_EFI_VARIABLE_AUTHORITY, security_database, "db", "certificate of shim", 19));
	TRY(put_blob(out, 4, EV_EFI_BOOT_SERVICES_APPLICATION, "shim"));
	TRY(put_blob(out, 4, EV_EFI_BOOT_SERVICES_APPLICATION, "grub"));
	TRY(put_grub(out, 8, "grub_cmd: linux /boot/vmlinuz root=LABEL=cloudimg-rootfs ro",
	             "linux /boot/vmlinuz root=LABEL=cloudimg-rootfs ro"));
	TRY(put_grub(out, 9, "/boot/vmlinuz", "what is in the file"));
	TRY(put_blob(out, 4, EV_EFI_BOOT_SERVICES_APPLICATION, "vmlinuz"));
	TRY(put_text(out, 5, EV_EFI_ACTION, WORDS("Exit Boot Services Invocation")));
	return put_text(out, 5, EV_EFI_ACTION, WORDS("Exit Boot Services Returned with Success"));
}

/* ---- reading ---- */

static skr_status take(struct event_log_reader *reader, size_t len, const uint8_t **ret)
{
	if (len > (size_t)(reader->end - reader->at))
		return FAIL(213, "the event log ends inside an event, %zu bytes before its end",
		            (size_t)(reader->end - reader->at));
	*ret = reader->at;
	reader->at += len;
	return OK;
}

static skr_status take_number(struct event_log_reader *reader, size_t bytes, uint32_t *ret)
{
	const uint8_t *at = NULL;
	uint32_t value = 0;

	TRY(take(reader, bytes, &at));
	for (size_t i = bytes; i-- > 0;)
		value = value << 8 | at[i];
	*ret = value;
	return OK;
}

/* The first event has the old form: PCR, type, SHA-1 digest, size; its data says which digests the others have. */
static skr_status take_head(struct event_log_reader *reader)
{
	const uint8_t *skipped = NULL;
	uint32_t pcr, type, size, count;

	TRY(take_number(reader, 4, &pcr));
	TRY(take_number(reader, 4, &type));
	TRY(take(reader, 20, &skipped));
	TRY(take_number(reader, 4, &size));

	struct event_log_reader event = {.at = reader->at, .end = reader->at};
	TRY(take(reader, size, &skipped));
	event.end += size;
	TRY(take(&event, 24, &skipped));
	if (pcr != 0 || type != EV_NO_ACTION || memcmp(skipped, spec_signature, sizeof(spec_signature)) != 0)
		return FAIL(213, "the event log does not begin with Spec ID Event03");
	TRY(take_number(&event, 4, &count));
	if (count == 0 || count > sizeof(reader->algorithm) / sizeof(reader->algorithm[0]))
		return FAIL(213, "the event log has %u kinds of digests", count);
	for (size_t i = 0; i < count; i++) {
		uint32_t id, bytes;
		TRY(take_number(&event, 2, &id));
		TRY(take_number(&event, 2, &bytes));
		if ((id == ALG_SHA1 && bytes != 20) || (id == ALG_SHA256 && bytes != 32) || bytes == 0 || bytes > 64)
			return FAIL(213, "the event log has digests %#x of %u bytes", id, bytes);
		reader->algorithm[i].id = (uint16_t)id;
		reader->algorithm[i].size = (uint16_t)bytes;
	}
	reader->algorithms = count;
	reader->begun = true;
	return OK;
}

static skr_status take_digest(struct event_log_reader *reader, struct event_log_event *event)
{
	const uint8_t *bytes;
	uint32_t id;
	size_t i = 0;

	TRY(take_number(reader, 2, &id));
	while (i < reader->algorithms && reader->algorithm[i].id != id)
		i++;
	if (i == reader->algorithms)
		return FAIL(213, "an event has a digest %#x, which the head of the log does not name", id);
	TRY(take(reader, reader->algorithm[i].size, &bytes));
	if (id == ALG_SHA1)
		event->sha1 = bytes;
	if (id == ALG_SHA256)
		event->sha256 = bytes;
	return OK;
}

skr_status event_log_next(struct event_log_reader *reader, struct event_log_event *ret, bool *ret_more)
{
	struct event_log_event event = {0};
	uint32_t digests, len;

	if (!reader->begun)
		TRY(take_head(reader));
	if (reader->at == reader->end) {
		*ret_more = false;
		return OK;
	}
	TRY(take_number(reader, 4, &event.pcr));
	TRY(take_number(reader, 4, &event.type));
	TRY(take_number(reader, 4, &digests));
	if (event.pcr >= EVENT_LOG_PCRS && event.type != EV_NO_ACTION)
		return FAIL(213, "an event is of PCR %u", event.pcr);
	if (digests > reader->algorithms)
		return FAIL(213, "an event has %u digests", digests);
	for (uint32_t i = 0; i < digests; i++)
		TRY(take_digest(reader, &event));
	TRY(take_number(reader, 4, &len));
	TRY(take(reader, len, &event.data));
	event.len = len;
	*ret = event;
	*ret_more = true;
	return OK;
}

bool event_log_is_extended(const struct event_log_event *event)
{
	return event->type != EV_NO_ACTION;
}

/* ---- replaying ---- */

/* PCR 17 to 22 are for a dynamic launch, which there was none of. */
static void reset(struct event_log_state *state)
{
	memset(state, 0, sizeof(*state));
	for (size_t i = 17; i <= 22; i++)
		memset(state->pcr[i], 0xff, 32);
}

static skr_status extend(uint8_t pcr[32], const uint8_t sha_256[32])
{
	uint8_t both[64];

	memcpy(both, pcr, 32);
	memcpy(both + 32, sha_256, 32);
	return sha256(both, sizeof(both), pcr);
}

/* Events whose data is what was measured, so that a digest of something else is a lie. */
static skr_status check_digest(const struct event_log_event *event)
{
	uint8_t expected[32];

	if (event->type != EV_EFI_VARIABLE_DRIVER_CONFIG && event->type != EV_EFI_VARIABLE_AUTHORITY &&
	    event->type != EV_SEPARATOR && event->type != EV_EFI_ACTION)
		return OK;
	TRY(sha256(event->data, event->len, expected));
	if (memcmp(expected, event->sha256, 32) != 0)
		return FAIL(213, "the event log has an event %#x in PCR %u whose digest is not of its data",
		            event->type, event->pcr);
	return OK;
}

static bool is_secure_boot(const struct event_log_event *event)
{
	static const uint8_t name[] = "S\0e\0c\0u\0r\0e\0B\0o\0o\0t"; /* and the zero of the last letter */

	return event->pcr == 7 && event->type == EV_EFI_VARIABLE_DRIVER_CONFIG && event->len == 32 + 20 + 1 &&
	       memcmp(event->data, global_variable, 16) == 0 && memcmp(event->data + 32, name, 20) == 0;
}

static skr_status replay_event(struct event_log_state *state, const struct event_log_event *event)
{
	if (!event_log_is_extended(event)) {
		/* Source: TCG PC Client Platform Firmware Profile 1.05, section 10.4.5.3 "Startup Locality Event". */
		if (event->pcr == 0 && event->len == 17 && memcmp(event->data, locality_signature, 16) == 0)
			state->pcr[0][31] = event->data[16];
		return OK;
	}
	if (!event->sha256)
		return FAIL(213, "the event log has an event without SHA-256 digest in PCR %u", event->pcr);
	TRY(check_digest(event));
	if (is_secure_boot(event)) {
		state->secure_boot_measured = true;
		state->secure_boot = event->data[52] == 1;
	}
	state->extended |= 1U << event->pcr;
	return extend(state->pcr[event->pcr], event->sha256);
}

skr_status event_log_replay(const void *log, size_t len, struct event_log_state *ret)
{
	struct event_log_reader reader = EVENT_LOG_READER(log, len);
	struct event_log_event event;
	struct event_log_state state;
	bool more;

	reset(&state);
	for (;;) {
		TRY(event_log_next(&reader, &event, &more));
		if (!more)
			break;
		TRY(replay_event(&state, &event));
	}
	*ret = state;
	return OK;
}
