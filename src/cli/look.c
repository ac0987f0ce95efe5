/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/look.h"

#include "jose/jwk.h"
#include "jose/jws.h"

#include <signal.h>

#include <openssl/rsa.h>

#define RUNTIME_DATA_LIMIT (8 * 1024)
#define TRANSPORT_BITS     2048

void look_done(struct look *look)
{
	http_close(look->http);
	buf_done(&look->runtime_data);
	evidence_done(&look->evidence);
	buf_done(&look->attestation);
	*look = (struct look){.http = NULL};
}

skr_status look_open(const struct config *config, const struct token_config *token, struct look *ret)
{
	signal(SIGPIPE, SIG_IGN); /* libssl may raise it */
	TRY(ossl_open());
	TRY(http_open(config, &ret->http));
	ret->token = *token;
	ret->runtime_data = BUF(RUNTIME_DATA_LIMIT);
	ret->attestation = BUF(JWT_LIMIT);
	ret->azure = (struct azure){.config = config,
	                            .token = &ret->token,
	                            .http = ret->http,
	                            .deadline = deadline_in((int64_t)config->login_deadline * 1000)};
	return OK;
}

/* The private half ends here: what is attested for a look can open nothing. */
static skr_status make_runtime_data(struct buf *out)
{
	auto_pkey *key = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)TRANSPORT_BITS);
	auto_json *jwk = NULL;
	auto_buf kid = BUF(64);

	if (!key)
		return ossl_fail(599, "a transport key");
	TRY(jwk_from_key(key, &jwk));
	TRY(jwk_thumbprint(jwk, &kid));
	json_set_string(jwk, "kid", buf_text(&kid));
	buf_clear(out);
	return runtime_data_print(jwk, out);
}

skr_status look_at_evidence(struct look *look)
{
	TRY(make_runtime_data(&look->runtime_data));
	evidence_done(&look->evidence);
	return evidence_collect(&look->azure, look->runtime_data.data, look->runtime_data.len, &look->evidence);
}

skr_status look_at_attestation(struct look *look)
{
	if (look->evidence.form == EVIDENCE_DIRECT_SNP || look->evidence.form == EVIDENCE_DIRECT_TDX)
		return evidence_attest_direct(&look->azure, &look->evidence, &look->attestation);
	return evidence_attest(&look->azure, &look->runtime_data, &look->evidence, &look->attestation);
}
