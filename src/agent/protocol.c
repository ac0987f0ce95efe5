/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/protocol.h"

#include "base/base64.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define POLL_SLICE_MS 200 /* how late a cancellation may be noticed */

/* One row per message type: its members beside "type", all of them required. */
#define MEMBERS_MAX 10
struct message_shape {
	const char *type;
	const char *members[MEMBERS_MAX];
};

static const struct message_shape request_shape = {"request",
                                                   {"version", "token", "transport_key", "nonce", "deadline_ms"}};

static const struct message_shape open_shape = {"open", {"index", "wrapped"}};

static const struct message_shape answer_shapes[] = {
    [AGENT_STEP] = {"step", {"name"}},
    [AGENT_DONE] = {"done", {"name", "ms", "detail"}},
    [AGENT_FACTS] = {"facts", {"facts"}},
    [AGENT_TRANSPORT] = {"transport", {"kid", "size"}},
    [AGENT_KEY] = {"key", {"index", "jws"}},
    [AGENT_OPENED] = {"opened", {"index", "wrapped"}},
    [AGENT_HANDED] = {"handed", {"index", "bundle", "wrapped"}},
    [AGENT_FAILURE] = {"failure",
                       {"failure", "sentence", "step", "host", "attempt", "attempts", "http", "svc_code", "reqid"}},
    [AGENT_END] = {"end", {NULL}},
};
#define ANSWER_SHAPES (sizeof(answer_shapes) / sizeof(answer_shapes[0]))

void agent_request_done(struct agent_request *request)
{
	json_free(request->transport_key);
	request->transport_key = NULL;
}

void agent_message_done(struct agent_message *message)
{
	buf_done(&message->jws);
	buf_done(&message->wrapped);
	json_free(message->bundle);
	json_free(message->facts);
	message->bundle = message->facts = NULL;
}

void agent_open_done(struct agent_open *open)
{
	buf_done(&open->wrapped);
}

/* The readers of base/json.h say SKR-213, as of a service; from our own other half it is SKR-504. */
static skr_status from_the_other_half(skr_status status)
{
	return status.failure == 213 ? FAIL(504, "%s", status_message()) : status;
}

static bool shape_has(const struct message_shape *shape, const char *name)
{
	for (size_t i = 0; i < MEMBERS_MAX && shape->members[i]; i++)
		if (strcmp(shape->members[i], name) == 0)
			return true;
	return false;
}

static skr_status check_members(const json *message, const struct message_shape *shape)
{
	for (const json *member = json_first(message); member; member = json_next(member))
		if (strcmp(json_name(member), "type") != 0 && !shape_has(shape, json_name(member)))
			return FAIL(504, "message %s has an unknown member %s", shape->type, json_name(member));
	for (size_t i = 0; i < MEMBERS_MAX && shape->members[i]; i++)
		if (!json_get(message, shape->members[i]))
			return FAIL(504, "message %s lacks %s", shape->type, shape->members[i]);
	return OK;
}

/* Text that must be there and fit its place, the zero byte included. */
static skr_status read_text(const json *message, const char *name, char *ret, size_t size)
{
	const char *text;

	TRY(json_string(message, name, &text));
	if (strlen(text) >= size)
		return FAIL(504, "%s has %zu bytes, at most %zu are allowed", name, strlen(text), size - 1);
	memcpy(ret, text, strlen(text) + 1);
	return OK;
}

static skr_status read_number(const json *message, const char *name, int64_t least, int64_t most, int64_t *ret)
{
	int64_t value;

	TRY(json_integer(message, name, false, &value));
	if (value < least || value > most)
		return FAIL(504, "%s is out of range", name);
	*ret = value;
	return OK;
}

static skr_status read_int(const json *message, const char *name, int most, int *ret)
{
	int64_t value;

	TRY(read_number(message, name, 0, most, &value));
	*ret = (int)value;
	return OK;
}

/* Base64url of 1 to `limit` bytes. */
static skr_status read_bytes(const json *message, const char *name, size_t limit, struct buf *ret)
{
	const char *text;
	auto_buf bytes = BUF(limit);

	TRY(json_string(message, name, &text));
	if (base64url_decode(text, strlen(text), &bytes).failure || bytes.len == 0)
		return FAIL(504, "%s is not base64url of 1 to %zu bytes", name, limit);
	buf_move(ret, &bytes);
	return OK;
}

static skr_status set_bytes(json *message, const char *name, const struct buf *bytes)
{
	auto_buf text = BUF(PROTOCOL_ANSWER_LIMIT);

	TRY(base64url_encode(bytes->data, bytes->len, &text));
	json_set_string(message, name, buf_text(&text));
	return OK;
}

static skr_status read_index(const json *message, int64_t *ret)
{
	return read_number(message, "index", 0, INT32_MAX, ret);
}

/* ---- request ---- */

/* Before the members are looked at: another version may have others. */
static skr_status check_version(const json *message)
{
	int64_t version;

	TRY(json_integer(message, "version", false, &version));
	if (version != PROTOCOL_VERSION)
		return FAIL(505, "the module speaks version %lld, the agent version %d", (long long)version,
		            PROTOCOL_VERSION);
	return OK;
}

static skr_status check_transport_key(const json *key)
{
	static const char *const names[] = {"kty", "n", "e", "kid"};
	const char *text;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		TRY(json_string(key, names[i], &text));
	return OK;
}

static skr_status request_read(const json *message, struct agent_request *ret)
{
	const char *type;

	TRY(json_string(message, "type", &type));
	if (strcmp(type, request_shape.type) != 0)
		return FAIL(504, "a request was expected, not %.32s", type);
	TRY(check_version(message));
	TRY(check_members(message, &request_shape));
	TRY(read_text(message, "token", ret->token, sizeof(ret->token)));
	TRY(read_text(message, "nonce", ret->nonce, sizeof(ret->nonce)));
	TRY(read_number(message, "deadline_ms", 0, 3600 * 1000, &ret->deadline_ms));
	TRY(check_transport_key(json_get(message, "transport_key")));
	ret->transport_key = json_copy(json_get(message, "transport_key"));
	return ret->transport_key ? OK : FAIL(14, "a copy of the transport key");
}

skr_status agent_request_parse(const void *data, size_t len, struct agent_request *ret)
{
	auto_json *message = NULL;
	struct agent_request request = {.token = ""};

	TRY(from_the_other_half(json_parse(data, len, &message)));
	TRY(from_the_other_half(request_read(message, &request)));
	*ret = request;
	return OK;
}

skr_status agent_request_print(const struct agent_request *request, struct buf *out)
{
	auto_json *message = json_object();

	json_set_string(message, "type", request_shape.type);
	json_set_number(message, "version", PROTOCOL_VERSION);
	json_set_string(message, "token", request->token);
	json_set(message, "transport_key", json_copy(request->transport_key));
	json_set_string(message, "nonce", request->nonce);
	json_set_number(message, "deadline_ms", request->deadline_ms);
	return json_print(message, out);
}

/* ---- open ---- */

static skr_status open_read(const json *message, struct agent_open *ret)
{
	const char *type;

	TRY(json_string(message, "type", &type));
	if (strcmp(type, open_shape.type) != 0)
		return FAIL(504, "open was expected, not %.32s", type);
	TRY(check_members(message, &open_shape));
	TRY(read_index(message, &ret->index));
	return read_bytes(message, "wrapped", PROTOCOL_OPEN_LIMIT, &ret->wrapped);
}

skr_status agent_open_parse(const void *data, size_t len, struct agent_open *ret)
{
	auto_json *message = NULL;
	auto_agent_open open = {.index = 0};

	TRY(from_the_other_half(json_parse(data, len, &message)));
	TRY(from_the_other_half(open_read(message, &open)));
	*ret = open;
	open.wrapped = (struct buf){.data = NULL};
	return OK;
}

skr_status agent_open_print(const struct agent_open *open, struct buf *out)
{
	auto_json *message = json_object();

	json_set_string(message, "type", open_shape.type);
	json_set_number(message, "index", open->index);
	TRY(set_bytes(message, "wrapped", &open->wrapped));
	return json_print(message, out);
}

/* ---- answer ---- */

static skr_status read_step_name(const json *message, struct agent_message *ret)
{
	TRY(read_text(message, "name", ret->name, sizeof(ret->name)));
	if (!ret->name[0] || ret->name[strspn(ret->name, "abcdefghijklmnopqrstuvwxyz-")])
		return FAIL(504, "not the name of a step: %s", ret->name);
	return OK;
}

static skr_status read_done(const json *message, struct agent_message *ret)
{
	TRY(read_step_name(message, ret));
	TRY(read_number(message, "ms", 0, INT32_MAX, &ret->ms));
	return read_text(message, "detail", ret->detail, sizeof(ret->detail));
}

static skr_status check_fact(const json *fact)
{
	const char *name = json_name(fact), *text = json_text(fact);

	if (!*name || strlen(name) >= PROTOCOL_FACT_NAME_SIZE ||
	    name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")])
		return FAIL(504, "not the name of a fact: %.64s", name);
	if (!text || strlen(text) >= PROTOCOL_FACT_SIZE)
		return FAIL(504, "fact %s is no text of at most %d bytes", name, PROTOCOL_FACT_SIZE - 1);
	for (const char *c = text; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			return FAIL(504, "fact %s is not printable", name);
	return OK;
}

static skr_status read_facts(const json *message, struct agent_message *ret)
{
	const json *facts = json_get(message, "facts");

	if (json_kind(facts) != JSON_OBJECT || json_count(facts) > PROTOCOL_FACTS_LIMIT)
		return FAIL(504, "facts is no object of at most %d members", PROTOCOL_FACTS_LIMIT);
	for (const json *fact = json_first(facts); fact; fact = json_next(fact))
		TRY(check_fact(fact));
	ret->facts = json_copy(facts);
	return ret->facts ? OK : FAIL(14, "a copy of facts");
}

static skr_status read_key(const json *message, struct agent_message *ret)
{
	const char *jws;

	TRY(read_index(message, &ret->index));
	TRY(json_string(message, "jws", &jws));
	ret->jws = BUF(PROTOCOL_ANSWER_LIMIT);
	return buf_append_text(&ret->jws, jws);
}

static skr_status read_transport(const json *message, struct agent_message *ret)
{
	TRY(read_text(message, "kid", ret->kid, sizeof(ret->kid)));
	return read_number(message, "size", 1, PROTOCOL_OPEN_LIMIT, &ret->size);
}

static skr_status read_opened(const json *message, struct agent_message *ret)
{
	TRY(read_index(message, &ret->index));
	return read_bytes(message, "wrapped", PROTOCOL_OPEN_LIMIT, &ret->wrapped);
}

static skr_status read_handed(const json *message, struct agent_message *ret)
{
	TRY(read_index(message, &ret->index));
	TRY(read_bytes(message, "wrapped", PROTOCOL_WRAPPED_LIMIT, &ret->wrapped));
	if (json_kind(json_get(message, "bundle")) != JSON_OBJECT)
		return FAIL(504, "bundle is not an object");
	ret->bundle = json_copy(json_get(message, "bundle"));
	return ret->bundle ? OK : FAIL(14, "a copy of a key's bundle");
}

/* Notes are no failures; and what is said of cancelling and of PINs makes a program ask its user, or give up. */
static bool is_not_an_agents(int failure)
{
	return failure_row(failure)->family == FAMILY_NOTE || failure == 403 || failure == 410 || failure == 412;
}

static skr_status read_failure(const json *message, struct agent_message *ret)
{
	struct status_record *failure = &ret->failure;

	TRY(read_int(message, "failure", 599, &failure->failure));
	if (failure->failure == 0 || failure_row(failure->failure)->number != failure->failure)
		return FAIL(504, "there is no failure SKR-%03d", failure->failure);
	if (is_not_an_agents(failure->failure))
		return FAIL(504, "SKR-%03d is not for an agent to say", failure->failure);
	TRY(read_text(message, "sentence", failure->sentence, sizeof(failure->sentence)));
	TRY(read_text(message, "step", failure->step, sizeof(failure->step)));
	TRY(read_text(message, "host", failure->host, sizeof(failure->host)));
	TRY(read_int(message, "attempt", 1000, &failure->attempt));
	TRY(read_int(message, "attempts", 1000, &failure->attempts));
	TRY(read_int(message, "http", 999, &failure->http));
	TRY(read_text(message, "svc_code", failure->svc_code, sizeof(failure->svc_code)));
	return read_text(message, "reqid", failure->reqid, sizeof(failure->reqid));
}

static skr_status read_nothing(const json *message, struct agent_message *ret)
{
	(void)message;
	(void)ret;
	return OK;
}

static skr_status message_read(const json *message, struct agent_message *ret)
{
	static skr_status (*const readers[ANSWER_SHAPES])(const json *, struct agent_message *) = {
	    [AGENT_STEP] = read_step_name,      [AGENT_DONE] = read_done,       [AGENT_FACTS] = read_facts,
	    [AGENT_TRANSPORT] = read_transport, [AGENT_KEY] = read_key,         [AGENT_OPENED] = read_opened,
	    [AGENT_HANDED] = read_handed,       [AGENT_FAILURE] = read_failure, [AGENT_END] = read_nothing,
	};
	const char *type;

	TRY(json_string(message, "type", &type));
	for (size_t i = 0; i < ANSWER_SHAPES; i++) {
		if (strcmp(type, answer_shapes[i].type) != 0)
			continue;
		TRY(check_members(message, &answer_shapes[i]));
		ret->type = (enum agent_message_type)i;
		return readers[i](message, ret);
	}
	return FAIL(504, "unknown message %.32s", type);
}

skr_status agent_message_parse(const void *data, size_t len, struct agent_message *ret)
{
	auto_json *tree = NULL;
	auto_agent_message message = {.type = AGENT_END};

	TRY(from_the_other_half(json_parse(data, len, &tree)));
	TRY(from_the_other_half(message_read(tree, &message)));
	*ret = message;
	message.jws = message.wrapped = (struct buf){.data = NULL};
	message.bundle = message.facts = NULL;
	return OK;
}

static void set_failure(json *message, const struct status_record *failure)
{
	json_set_number(message, "failure", failure->failure);
	json_set_string(message, "sentence", failure->sentence);
	json_set_string(message, "step", failure->step);
	json_set_string(message, "host", failure->host);
	json_set_number(message, "attempt", failure->attempt);
	json_set_number(message, "attempts", failure->attempts);
	json_set_number(message, "http", failure->http);
	json_set_string(message, "svc_code", failure->svc_code);
	json_set_string(message, "reqid", failure->reqid);
}

skr_status agent_message_print(const struct agent_message *message, struct buf *out)
{
	auto_json *tree = json_object();

	json_set_string(tree, "type", answer_shapes[message->type].type);
	switch (message->type) {
	case AGENT_STEP:
		json_set_string(tree, "name", message->name);
		break;
	case AGENT_DONE:
		json_set_string(tree, "name", message->name);
		json_set_number(tree, "ms", message->ms);
		json_set_string(tree, "detail", message->detail);
		break;
	case AGENT_FACTS:
		json_set(tree, "facts", json_copy(message->facts));
		break;
	case AGENT_KEY:
		json_set_number(tree, "index", message->index);
		json_set_string(tree, "jws", buf_text(&message->jws));
		break;
	case AGENT_TRANSPORT:
		json_set_string(tree, "kid", message->kid);
		json_set_number(tree, "size", message->size);
		break;
	case AGENT_OPENED:
		json_set_number(tree, "index", message->index);
		TRY(set_bytes(tree, "wrapped", &message->wrapped));
		break;
	case AGENT_HANDED:
		json_set_number(tree, "index", message->index);
		json_set(tree, "bundle", json_copy(message->bundle));
		TRY(set_bytes(tree, "wrapped", &message->wrapped));
		break;
	case AGENT_FAILURE:
		set_failure(tree, &message->failure);
		break;
	case AGENT_END:
		break;
	}
	return json_print(tree, out);
}

/* ---- frames ---- */

/* What the operating system says of the other end. */
static skr_status peer_failed(const char *what)
{
	if (errno == EBADF || errno == ENOTSOCK)
		return FAIL(405, "%s: descriptor is not ours any more (errno %d)", what, errno);
	return FAIL(503, "%s: the other end is gone (errno %d)", what, errno);
}

static skr_status wait_for(int fd, short events, struct deadline deadline, int (*cancelled)(void *), void *with)
{
	for (;;) {
		struct pollfd ready = {.fd = fd, .events = events};
		int64_t left = deadline_left(deadline);

		if (cancelled && cancelled(with))
			return FAIL(403, "while waiting for the other end");
		if (left == 0)
			return FAIL(506, "nothing came before the deadline");
		int count = poll(&ready, 1, left < POLL_SLICE_MS ? (int)left : POLL_SLICE_MS);
		if (count > 0 && ready.revents & POLLNVAL)
			return FAIL(405, "the descriptor was closed meanwhile");
		if (count > 0)
			return OK;
		if (count < 0 && errno != EINTR)
			return FAIL(503, "poll: errno %d", errno);
	}
}

static skr_status send_all(int fd, const uint8_t *data, size_t len, struct deadline deadline)
{
	while (len > 0) {
		ssize_t sent = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent >= 0) {
			data += sent;
			len -= (size_t)sent;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			TRY(wait_for(fd, POLLOUT, deadline, NULL, NULL));
		} else if (errno != EINTR) {
			return peer_failed("send");
		}
	}
	return OK;
}

static skr_status receive_all(int fd, uint8_t *data, size_t len, struct deadline deadline, int (*cancelled)(void *),
                              void *with)
{
	while (len > 0) {
		TRY(wait_for(fd, POLLIN, deadline, cancelled, with));
		ssize_t got = recv(fd, data, len, MSG_DONTWAIT);
		if (got == 0)
			return FAIL(503, "the other end closed the connection");
		if (got > 0) {
			data += got;
			len -= (size_t)got;
		} else if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) {
			return peer_failed("recv");
		}
	}
	return OK;
}

skr_status frame_send(int fd, const struct buf *body, struct deadline deadline)
{
	uint8_t head[4] = {(uint8_t)(body->len >> 24), (uint8_t)(body->len >> 16), (uint8_t)(body->len >> 8),
	                   (uint8_t)body->len};

	TRY(send_all(fd, head, sizeof(head), deadline));
	return send_all(fd, body->data, body->len, deadline);
}

skr_status frame_receive(int fd, struct buf *body, struct deadline deadline, int (*cancelled)(void *), void *with)
{
	uint8_t head[4], *place;

	TRY(receive_all(fd, head, sizeof(head), deadline, cancelled, with));
	size_t len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
	if (len == 0 || len > body->limit)
		return FAIL(504, "a message of %zu bytes, at most %zu are allowed", len, body->limit);
	buf_clear(body);
	TRY(buf_reserve(body, len, &place));
	TRY(receive_all(fd, place, len, deadline, cancelled, with));
	body->len = len;
	return OK;
}
