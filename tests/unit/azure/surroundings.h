/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TESTS_AZURE_SURROUNDINGS_H
#define SKR_TESTS_AZURE_SURROUNDINGS_H

/* A scripted service and a client that talks to it, for the tests of azure/. */
#include "azure/service.h"
#include "base/base64.h"
#include "http/http.h"

#include "support/http_server.h"

#include <setjmp.h>
#include <cmocka.h>

static struct test_certificate certificate;
static char ca_file[] = "/tmp/skr-azure-ca-XXXXXX";

static inline int surroundings_set_up(void **state)
{
	(void)state;
	log_open("none", LOG_LEVEL_ERROR, "test");
	if (ossl_open().failure)
		return -1;
	test_certificate_make(&certificate);
	test_certificate_write(&certificate, ca_file);
	return 0;
}

static inline int surroundings_tear_down(void **state)
{
	(void)state;
	unlink(ca_file);
	test_certificate_free(&certificate);
	return 0;
}

struct stage {
	struct http_server *server;
	char url[64], host[64]; /* https://localhost:PORT (or http), localhost:PORT */
	struct config config;
	struct token_config token;
	struct key_config key;
	struct azure azure;
};

static inline struct stage *stage_open(const struct scene *scenes, size_t count, bool tls, int64_t deadline_ms)
{
	struct stage *s = calloc(1, sizeof(*s));

	MUST(s);
	s->server = server_start(scenes, count, tls ? &certificate : NULL, 0);
	snprintf(s->host, sizeof(s->host), "%s:%d", tls ? "localhost" : "127.0.0.1", s->server->port);
	snprintf(s->url, sizeof(s->url), "%s://%s", tls ? "https" : "http", s->host);
	s->config = (struct config){.ca_file = ca_file, .imds = s->url, .allow_custom_endpoint = true};
	s->key = (struct key_config){.host = s->host, .name = "www", .label = "www"};
	s->token = (struct token_config){.label = "web",
	                                 .attestation = s->url,
	                                 .authority = s->url,
	                                 .enc = "RSA_AES_KEY_WRAP_256",
	                                 .keys = &s->key,
	                                 .key_count = 1};
	s->azure = (struct azure){.config = &s->config, .token = &s->token, .deadline = deadline_in(deadline_ms)};
	MUST(!http_open(&s->config, &s->azure.http).failure);
	return s;
}

static inline void stage_close(struct stage *s)
{
	http_close(s->azure.http);
	server_stop(s->server);
	free(s);
}

/* A compact JWS of which nobody verifies the signature. */
static inline void token_print(const char *header, const char *claims, struct buf *out)
{
	MUST(!base64url_encode(header, strlen(header), out).failure && !buf_append_text(out, ".").failure);
	MUST(!base64url_encode(claims, strlen(claims), out).failure && !buf_append_text(out, ".c2ln").failure);
}

static inline void expect_failure(skr_status status, int failure, const char *said)
{
	if (status.failure != failure || (said && !strstr(status_message(), said)))
		fail_msg("expected SKR-%d with \"%s\", got SKR-%d: %s", failure, said ? said : "", status.failure,
		         status_message());
}

#endif
