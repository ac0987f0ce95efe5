/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/event_log.h"

#include "base/ossl.h"

#include <string.h>

enum { EV_NO_ACTION = 3, EV_EFI_VARIABLE_DRIVER_CONFIG = 0x80000001U };
enum { ALG_SHA256 = 0x000B, BANKS_LIMIT = 16, SHA1_BYTES = 20 };

/* What is left to read, little-endian. Reading beyond the end gives zeros and is remembered. */
struct reader {
	const uint8_t *at;
	size_t left;
	bool beyond;
};

struct bank {
	uint16_t algorithm, bytes;
};

struct log {
	struct reader rest;
	struct bank banks[BANKS_LIMIT];
	size_t bank_count;
	unsigned events; /* read so far */
};

struct event {
	uint32_t pcr, type;
	const uint8_t *sha256; /* NULL: it has no such digest */
	const uint8_t *data;
	size_t len;
};

static const uint8_t *take(struct reader *r, size_t len)
{
	const uint8_t *at = r->at;
	if (r->left < len) {
		r->beyond = true;
		r->left = 0;
		return NULL;
	}
	r->at += len;
	r->left -= len;
	return at;
}

static uint64_t take_number(struct reader *r, size_t bytes)
{
	const uint8_t *at = take(r, bytes);
	uint64_t number = 0;
	for (size_t i = bytes; at && i > 0; i--)
		number = number << 8 | at[i - 1];
	return number;
}

/* ---- events ---- */

/* TCG_EfiSpecIdEvent: which digests every event has, and how long each is. */
static skr_status read_banks(struct reader *spec, struct log *out)
{
	const uint8_t *signature = take(spec, 16);
	if (!signature || memcmp(signature, "Spec ID Event03", 16) != 0)
		return FAIL(213, "the log is not of the crypto-agile form");
	take(spec, 4 + 1 + 1 + 1 + 1); /* platform class, version, errata, size of a machine word */
	out->bank_count = take_number(spec, 4);
	if (out->bank_count == 0 || out->bank_count > BANKS_LIMIT)
		return FAIL(213, "the log has %zu digests for an event", out->bank_count);
	for (size_t i = 0; i < out->bank_count; i++) {
		out->banks[i].algorithm = (uint16_t)take_number(spec, 2);
		out->banks[i].bytes = (uint16_t)take_number(spec, 2);
		if (out->banks[i].algorithm == ALG_SHA256 && out->banks[i].bytes != EVENT_LOG_DIGEST)
			return FAIL(213, "the log has SHA-256 digests of %u bytes", out->banks[i].bytes);
	}
	take(spec, take_number(spec, 1)); /* of the vendor */
	return spec->beyond ? FAIL(213, "the log's first event ends in the middle") : OK;
}

static skr_status log_open(const void *bytes, size_t len, struct log *ret)
{
	struct log log = {.rest = {bytes, len, false}};
	take_number(&log.rest, 4);
	uint32_t type = (uint32_t)take_number(&log.rest, 4);
	take(&log.rest, SHA1_BYTES);
	size_t size = take_number(&log.rest, 4);
	struct reader spec = {take(&log.rest, size), size, false};
	if (log.rest.beyond || type != EV_NO_ACTION)
		return FAIL(213, "the log does not begin with the event that names its digests");
	TRY(read_banks(&spec, &log));
	*ret = log;
	return OK;
}

static const struct bank *bank_of(const struct log *log, uint16_t algorithm)
{
	for (size_t i = 0; i < log->bank_count; i++)
		if (log->banks[i].algorithm == algorithm)
			return &log->banks[i];
	return NULL;
}

static skr_status take_digests(struct log *log, struct event *out)
{
	size_t count = take_number(&log->rest, 4);
	if (count > log->bank_count)
		return FAIL(213, "event %u has %zu digests, the log said %zu", log->events, count, log->bank_count);
	for (size_t i = 0; i < count; i++) {
		uint16_t algorithm = (uint16_t)take_number(&log->rest, 2);
		const struct bank *bank = bank_of(log, algorithm);
		if (!bank)
			return FAIL(213, "event %u has a digest 0x%04x that the log did not announce", log->events,
			            algorithm);
		const uint8_t *digest = take(&log->rest, bank->bytes);
		if (algorithm == ALG_SHA256)
			out->sha256 = digest;
	}
	return OK;
}

/* The next event; `*ret_more` false at the end, where `ret` is not set. */
static skr_status log_next(struct log *log, struct event *ret, bool *ret_more)
{
	struct event event = {0};
	*ret_more = log->rest.left > 0;
	if (!*ret_more)
		return OK;
	log->events++;
	event.pcr = (uint32_t)take_number(&log->rest, 4);
	event.type = (uint32_t)take_number(&log->rest, 4);
	TRY(take_digests(log, &event));
	event.len = take_number(&log->rest, 4);
	event.data = take(&log->rest, event.len);
	if (log->rest.beyond)
		return FAIL(213, "event %u ends in the middle", log->events);
	if (event.type != EV_NO_ACTION && (event.pcr >= EVENT_LOG_PCRS || !event.sha256))
		return FAIL(213, "event %u is of PCR %u, %s SHA-256 digest", log->events, event.pcr,
		            event.sha256 ? "with a" : "without");
	*ret = event;
	return OK;
}

/* ---- replay ---- */

/* The last byte of PCR 0 after a start from another locality than 0. */
static void start(const struct event *event, uint8_t pcr0[EVENT_LOG_DIGEST])
{
	static const char signature[16] = "StartupLocality";
	if (event->len == sizeof(signature) + 1 && memcmp(event->data, signature, sizeof(signature)) == 0)
		pcr0[EVENT_LOG_DIGEST - 1] = event->data[sizeof(signature)];
}

static skr_status extend(uint8_t pcr[EVENT_LOG_DIGEST], const uint8_t *digest)
{
	uint8_t both[2 * EVENT_LOG_DIGEST];
	memcpy(both, pcr, EVENT_LOG_DIGEST);
	memcpy(both + EVENT_LOG_DIGEST, digest, EVENT_LOG_DIGEST);
	return sha256(both, sizeof(both), pcr);
}

skr_status event_log_replay(const void *bytes, size_t len, uint8_t ret[EVENT_LOG_PCRS][EVENT_LOG_DIGEST])
{
	uint8_t pcrs[EVENT_LOG_PCRS][EVENT_LOG_DIGEST] = {0};
	struct event event;
	struct log log;
	bool more, extended = false;

	memset(pcrs[17], 0xFF, 6 * sizeof(pcrs[17])); /* what only a dynamic launch resets */
	TRY(log_open(bytes, len, &log));
	for (;;) {
		TRY(log_next(&log, &event, &more));
		if (!more)
			break;
		if (event.type != EV_NO_ACTION) {
			TRY(extend(pcrs[event.pcr], event.sha256));
			extended = true;
		} else if (!extended) {
			start(&event, pcrs[0]);
		}
	}
	memcpy(ret, pcrs, sizeof(pcrs));
	return OK;
}

/* ---- secure boot ---- */

/* UEFI_VARIABLE_DATA: GUID, length of the name in 16-bit characters, length of the value, name, value. */
static bool is_secure_boot(const struct event *event, bool *ret_on)
{
	static const uint8_t head[] = {
	    0x61, 0xDF, 0xE4, 0x8B, 0xCA, 0x93, 0xD2, 0x11, 0xAA, 0x0D, 0x00, 0xE0, 0x98,
	    0x03, 0x2B, 0x8C, 10,   0,    0,    0,    0,    0,    0,    0}; /* EFI_GLOBAL_VARIABLE, and ten characters
	                                                                     */
	static const uint8_t name[] = {'S', 0, 'e', 0, 'c', 0, 'u', 0, 'r', 0, 'e', 0, 'B', 0, 'o', 0, 'o', 0, 't', 0};
	struct reader r = {event->data, event->len, false};
	const uint8_t *found_head = take(&r, sizeof(head));
	uint64_t value_len = take_number(&r, 8);
	const uint8_t *found_name = take(&r, sizeof(name));

	if (event->pcr != 7 || event->type != EV_EFI_VARIABLE_DRIVER_CONFIG || r.beyond ||
	    memcmp(found_head, head, sizeof(head)) != 0 || memcmp(found_name, name, sizeof(name)) != 0)
		return false;
	*ret_on = value_len == 1 && r.left == 1 && r.at[0] == 1;
	return true;
}

static skr_status check_data(const struct event *event, unsigned number)
{
	uint8_t digest[EVENT_LOG_DIGEST];
	TRY(sha256(event->data, event->len, digest));
	if (memcmp(digest, event->sha256, sizeof(digest)) != 0)
		return FAIL(213, "event %u is not what its digest stands for", number);
	return OK;
}

skr_status event_log_secure_boot(const void *bytes, size_t len, bool *ret)
{
	bool more, on, found = false, all_on = true;
	struct event event;
	struct log log;

	TRY(log_open(bytes, len, &log));
	for (;;) {
		TRY(log_next(&log, &event, &more));
		if (!more)
			break;
		if (!is_secure_boot(&event, &on))
			continue;
		TRY(check_data(&event, log.events));
		found = true;
		all_on &= on;
	}
	*ret = found && all_on;
	return OK;
}
