/* SPDX-License-Identifier: Apache-2.0 */
/* Target: agent_request_parse(): what the agent reads first, from whoever may open its socket. */
#include "agent/protocol.h"

#include "base/ossl.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_agent_request request = {.token = ""}, again = {.token = ""};
	auto_buf text = BUF(2 * PROTOCOL_REQUEST_LIMIT);

	if (ossl_open().failure || size > PROTOCOL_REQUEST_LIMIT)
		return 0;
	if (agent_request_parse(data, size, &request).failure) {
		if (request.transport_key)
			__builtin_trap(); /* a refusal hands nothing out */
		return 0;
	}
	if (agent_request_print(&request, &text).failure || agent_request_parse(text.data, text.len, &again).failure ||
	    strcmp(request.token, again.token) != 0 || strcmp(request.nonce, again.nonce) != 0)
		__builtin_trap(); /* what was taken can be said again */
	return 0;
}
