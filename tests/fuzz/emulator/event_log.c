/* SPDX-License-Identifier: Apache-2.0 */
/* Target: event_log_next(), event_log_replay(). The input is a boot log, as the guest sends it to be attested. */
#include "base/ossl.h"
#include "emulator/event_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct event_log_reader reader = EVENT_LOG_READER(data, size);
	struct event_log_event event;
	struct event_log_state state;
	bool more = true;

	if (ossl_open().failure)
		__builtin_trap();
	while (more && !event_log_next(&reader, &event, &more).failure)
		if (more && (event.data < data || event.len > size || event.data + event.len > data + size))
			__builtin_trap(); /* an event lies inside its log */
	if (!event_log_replay(data, size, &state).failure && state.secure_boot && !state.secure_boot_measured)
		__builtin_trap();
	return 0;
}
