/* SPDX-License-Identifier: Apache-2.0 */
#include "support/vtpm.h"
#include "support/module.h"
#include "cmocka_all.h"

#include "base/json.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <sys/socket.h>
#include <unistd.h>

#define RC_RETRY     0x922
#define MESSAGE_MOST 4096

/* ---- the control port ---- */

void vtpm_control(const char *request)
{
	char body[8192];

	snprintf(body, sizeof(body), "%s", request);
	for (char *c = body; *c; c++)
		if (*c == '\'')
			*c = '"';
	emulator_control("POST", "/tpm", body);
}

void vtpm_faults(const char *rules)
{
	char request[8192];

	snprintf(request, sizeof(request), "{'faults':[%s]}", rules);
	vtpm_control(request);
}

void vtpm_clear_counters(void)
{
	vtpm_control("{'counters':0}");
}

static int number(const json *object, const char *name)
{
	int64_t value = 0;

	if (json_integer(object, name, false, &value).failure)
		return 0;
	return (int)value;
}

static json *parsed(const struct vtpm_look *look)
{
	json *tree = NULL;

	if (json_parse(look->text, strlen(look->text), &tree).failure)
		fail_msg("GET /tpm: %s", look->text);
	return tree;
}

void vtpm_look(struct vtpm_look *ret)
{
	char command[4200];

	snprintf(command, sizeof(command), "curl -sSf '%s/tpm'", getenv("SKR_EMULATOR_CONTROL"));
	FILE *from = popen(command, "r");
	assert_non_null(from);
	ret->text[fread(ret->text, 1, sizeof(ret->text) - 1, from)] = '\0';
	assert_int_equal(pclose(from), 0);
	auto_json *tree = parsed(ret);
	const json *handles = json_get(tree, "handles");
	ret->handles =
	    number(handles, "transient") + number(handles, "loaded_sessions") + number(handles, "saved_sessions");
	ret->open = number(tree, "open");
	ret->connections = number(tree, "connections");
	ret->total = number(tree, "total");
	ret->unmet = 0;
	for (const json *fault = json_first(json_get(tree, "faults")); fault; fault = json_next(fault))
		ret->unmet += number(fault, "hit") == 0;
}

int vtpm_count(const struct vtpm_look *look, const char *command)
{
	auto_json *tree = parsed(look);

	return number(json_get(tree, "commands"), command);
}

/* ---- another user ---- */

void vtpm_user_open(struct vtpm_user *user)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
	                              .sin_port = htons((uint16_t)atoi(getenv("SKR_EMULATOR_TPM_PORT"))),
	                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const char greeting = 0; /* a device of its own: the emulator's guest_protocol.h */
	int one = 1;

	user->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(user->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(setsockopt(user->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	assert_int_equal(send(user->fd, &greeting, 1, MSG_NOSIGNAL), 1);
}

void vtpm_user_close(struct vtpm_user *user)
{
	close(user->fd);
}

static int64_t once(int fd, const unsigned char *command, size_t len)
{
	unsigned char reply[MESSAGE_MOST];
	uint32_t size = 0, code;

	if (send(fd, command, len, MSG_NOSIGNAL) != (ssize_t)len || recv(fd, reply, 10, MSG_WAITALL) != 10)
		return -1;
	memcpy(&size, reply + 2, sizeof(size));
	memcpy(&code, reply + 6, sizeof(code));
	size = ntohl(size) - 10;
	if (size > 0 && recv(fd, reply, size < sizeof(reply) ? size : sizeof(reply), MSG_WAITALL) != (ssize_t)size)
		return -1;
	return ntohl(code);
}

int64_t vtpm_user_command(struct vtpm_user *user, const char *command)
{
	unsigned char bytes[MESSAGE_MOST];
	size_t len;
	int64_t code;

	assert_int_equal(OPENSSL_hexstr2buf_ex(bytes, sizeof(bytes), &len, command, '\0'), 1);
	while ((code = once(user->fd, bytes, len)) == RC_RETRY)
		usleep(1000);
	return code;
}
