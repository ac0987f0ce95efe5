/* SPDX-License-Identifier: Apache-2.0 */
/* Target: agent_message_parse(): what the module reads from the agent, which it trusts in nothing. */
#include "agent/protocol.h"

#include "base/ossl.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_agent_message message = {.type = AGENT_END}, again = {.type = AGENT_END};
	auto_buf text = BUF(4 * PROTOCOL_ANSWER_LIMIT);

	if (ossl_open().failure || size > PROTOCOL_ANSWER_LIMIT)
		return 0;
	if (agent_message_parse(data, size, &message).failure) {
		if (message.jws.data)
			__builtin_trap(); /* a refusal hands nothing out */
		return 0;
	}
	if (agent_message_print(&message, &text).failure || agent_message_parse(text.data, text.len, &again).failure ||
	    message.type != again.type || strcmp(message.name, again.name) != 0 || message.jws.len != again.jws.len)
		__builtin_trap(); /* what was taken can be said again */
	return 0;
}
