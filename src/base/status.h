/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_STATUS_H
#define SKR_BASE_STATUS_H

#include "base/failures.h"

#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))

/*
 * The result of every fallible function below the PKCS#11 face. A struct, so that neither an int nor a CK_RV nor
 * OpenSSL's 1 is taken for one. What happened is in this thread's record until the next failure.
 */
typedef struct {
	int failure; /* 0: none; else SKR-<failure>, for ever the same number */
} skr_status;

#define OK ((skr_status){0})

/* Records number and sentence (printf) in this thread's record and returns the status. */
#define FAIL(nnn, ...) status_fail((nnn), __FILE__, __LINE__, __VA_ARGS__)

#define TRY(call)                        \
	do {                             \
		skr_status st_ = (call); \
		if (st_.failure)         \
			return st_;      \
	} while (0)

/*
 * What is known of the last failure of this thread. Strings are cut to their size, and bytes that are not printable
 * ASCII are replaced, since services and files supply them.
 */
struct status_record {
	int failure;
	char sentence[640];    /* what was asked, of whom, what came back */
	char step[24];         /* evidence, attestation, identity, release, … ; empty: none */
	char host[256];        /* host and port; empty: none */
	int attempt, attempts; /* 0: no attempts were counted */
	int http;              /* HTTP status; 0: none */
	char svc_code[129];    /* the service's own error code */
	char reqid[80];        /* the service's request id */
	char origin[64];       /* source file and line, for debug logs only */
};

skr_status status_fail(int failure, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5), cold));

/* Like status_fail, for a failure that another process reported: takes the whole record. */
skr_status status_adopt(const struct status_record *record);

/* This thread's record; never NULL. Valid until the thread's next failure. */
const struct status_record *status_last(void);

/* For those who know more than the failing function: fill fields of this thread's record after a failure. */
struct status_record *status_amend(void);

/* Adds "PREFIX: " before the sentence and returns the same status. */
skr_status status_prefix(skr_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The sentence of this thread's last failure; "" if there was none. */
const char *status_message(void);

/* Forgets this thread's record. */
void status_clear(void);

/*
 * One line for log and diagnostics: "SKR-nnn step=… host=… attempt=i/n http=… svc_code=… reqid=… : sentence : hint".
 * Fields that are not known are left out. Always terminated; returns what snprintf would.
 */
int status_line(const struct status_record *record, char *out, size_t size);

#endif
