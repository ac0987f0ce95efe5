/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_SERVICE_H
#define SKR_AZURE_SERVICE_H

#include "base/deadline.h"
#include "base/json.h"
#include "config/config.h"

struct http;

/* What every errand to Azure shares: one agent, one token, one login. */
struct azure {
	const struct config *config;
	const struct token_config *token;
	struct http *http; /* connections are reused within it */
	struct deadline deadline;
};

#endif
