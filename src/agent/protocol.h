/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AGENT_PROTOCOL_H
#define SKR_AGENT_PROTOCOL_H

#include "base/buf.h"
#include "base/deadline.h"
#include "base/json.h"

/*
 * What module and agent say to each other, over a socketpair or a unix socket.
 *
 * Every message is 4 bytes length, big-endian, then that many bytes of one JSON object with a string member "type".
 * Unknown types and unknown members are refused: both ends are of one installation.
 *
 *   module → agent   request   {version, token, transport_key (public JWK with kid), nonce, deadline_ms}
 *   agent → module   step      {name}              a step begins: evidence, attestation, identity, release
 *                    done      {name, ms, detail}  it ended well; detail is one line for people, may be ""
 *                    facts     {facts}             for the audit trail: names and short texts, which the module cannot
 *                                                  verify and decides nothing by
 *                    transport {kid, size}         the vault wraps to another key than the module's, one that this
 *                                                  machine's TPM keeps: its kid, and the bytes of what it encrypts
 *                    key       {index, jws}        one per key of the token, in the configuration's order
 *                    opened    {index, wrapped}    the answer to `open`
 *                    handed    {index, bundle, wrapped}   in place of `key`, from a sidecar: the vault's public view
 *                                                  of the key, and the private key wrapped to the module's transport
 *                                                  key
 *                    failure   {failure, sentence, step, host, attempt, attempts, http, svc_code, reqid}   the last
 *                    end       {}                  success, the last message
 *   module → agent   open      {index, wrapped}    after a `key`, where `transport` was told: the first `size` bytes of
 *                                                  the wrapped key, once the JWS was verified. The agent has the TPM
 *                                                  open them and gives them back encrypted to the module's transport
 *                                                  key, so that nothing secret is ever on the socket.
 */
#define PROTOCOL_VERSION        2
#define PROTOCOL_REQUEST_LIMIT  (16 * 1024)
#define PROTOCOL_ANSWER_LIMIT   (128 * 1024)
#define PROTOCOL_MESSAGES_LIMIT 256 /* of one answer */
#define PROTOCOL_WRAPPED_LIMIT  (16 * 1024)
#define PROTOCOL_OPEN_LIMIT     1024 /* bytes of an outer layer: RSA-8192 */
#define PROTOCOL_FACTS_LIMIT    24   /* of one message */
#define PROTOCOL_FACT_NAME_SIZE 160  /* [A-Za-z0-9._-], a key's name in it, and the zero byte */
#define PROTOCOL_FACT_SIZE      128  /* printable ASCII, and the zero byte */

struct agent_request {
	char token[33];
	char nonce[65]; /* base64url text, sent to Key Vault as it is */
	json *transport_key;
	int64_t deadline_ms; /* left when the request was sent */
};
#define auto_agent_request __attribute__((cleanup(agent_request_done))) struct agent_request
void agent_request_done(struct agent_request *request);

enum agent_message_type {
	AGENT_STEP,
	AGENT_DONE,
	AGENT_FACTS,
	AGENT_TRANSPORT,
	AGENT_KEY,
	AGENT_OPENED,
	AGENT_HANDED,
	AGENT_FAILURE,
	AGENT_END,
};

struct agent_message {
	enum agent_message_type type;
	char name[24];                /* step, done */
	int64_t ms;                   /* done */
	char detail[256];             /* done */
	json *facts;                  /* facts */
	char kid[65];                 /* transport */
	int64_t size;                 /* transport */
	int64_t index;                /* key, opened, handed */
	struct buf jws;               /* key: text */
	struct buf wrapped;           /* opened, handed: bytes */
	json *bundle;                 /* handed */
	struct status_record failure; /* failure */
};
#define auto_agent_message __attribute__((cleanup(agent_message_done))) struct agent_message
void agent_message_done(struct agent_message *message);

struct agent_open {
	int64_t index;
	struct buf wrapped; /* bytes */
};
#define auto_agent_open __attribute__((cleanup(agent_open_done))) struct agent_open
void agent_open_done(struct agent_open *open);

/* Bytes to struct and back: pure functions, what fuzzing aims at. SKR-504, or SKR-505 for another version. */
skr_status agent_request_parse(const void *data, size_t len, struct agent_request *ret) MUST_CHECK;
skr_status agent_request_print(const struct agent_request *request, struct buf *out) MUST_CHECK;
skr_status agent_open_parse(const void *data, size_t len, struct agent_open *ret) MUST_CHECK;
skr_status agent_open_print(const struct agent_open *open, struct buf *out) MUST_CHECK;
skr_status agent_message_parse(const void *data, size_t len, struct agent_message *ret) MUST_CHECK;
skr_status agent_message_print(const struct agent_message *message, struct buf *out) MUST_CHECK;

/*
 * One framed message over a descriptor, waiting with poll until the deadline; MSG_NOSIGNAL, EINTR repeated. SKR-504 for
 * a length above `body`'s limit, SKR-503 when the other end closes, SKR-506 at the deadline. `cancelled` (may be NULL)
 * is asked at least every 200 ms; true ends with SKR-403.
 */
skr_status frame_send(int fd, const struct buf *body, struct deadline deadline) MUST_CHECK;
skr_status frame_receive(int fd, struct buf *body, struct deadline deadline, int (*cancelled)(void *),
                         void *with) MUST_CHECK;

#endif
