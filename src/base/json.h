/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_JSON_H
#define SKR_BASE_JSON_H

#include "base/buf.h"

#include <stdbool.h>

/*
 * JSON as the outside sends it: cJSON's tree behind a strict reader of our own, which goes over the text first and
 * refuses what cJSON lets pass: duplicate names, bad UTF-8, NUL, anything after the value, depth above 16, more than
 * 512 members in all, strings above 64 KiB, numbers out of +-2^53 (unless JSON_BIG_NUMBERS). Linear time, bounded
 * stack.
 */
typedef struct cJSON json;

#define auto_json __attribute__((cleanup(json_done))) json
static inline void json_done(json **j);

/* Parses `len` bytes. SKR-213 with the offset. `ret` is owned by the caller (json_free), untouched on failure. */
skr_status json_parse(const void *text, size_t len, json **ret) MUST_CHECK;
/* The same for the first value alone, whatever stands behind it: some services append a second one by mistake. */
skr_status json_parse_first(const void *text, size_t len, json **ret) MUST_CHECK;
/* For documents of our own emulator's users: the same rules with room for `members` members and strings of 1 MiB. */
skr_status json_parse_large(const void *text, size_t len, size_t members, json **ret) MUST_CHECK;
void json_free(json *j); /* wipes every text in it; takes NULL */

enum json_kind { JSON_NONE, JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };
enum json_kind json_kind(const json *j); /* JSON_NONE for NULL */

/* Reading. Names are case-sensitive. What is returned is borrowed from the tree. NULL: not there (or j is NULL or no
 * object). */
const json *json_get(const json *object, const char *name);
/* A string that must be there: SKR-213 names what is missing or of another type. */
skr_status json_string(const json *object, const char *name, const char **ret) MUST_CHECK;
/* The string, or NULL if it is missing or of another type. */
const char *json_string_or_null(const json *object, const char *name);
/* An integer that must be there, within +-2^53, no fraction. Decimal text in a string is taken too if `or_text`. */
skr_status json_integer(const json *object, const char *name, bool or_text, int64_t *ret) MUST_CHECK;
/* The boolean, or `otherwise` if missing or of another type. */
bool json_bool(const json *object, const char *name, bool otherwise);
/* A value as itself: text of a string node, NULL if it is none; integer of a number node. */
const char *json_text(const json *j);
skr_status json_number(const json *j, int64_t *ret) MUST_CHECK;
/* A string as it is, true and false, a whole number in decimal (in `room`); NULL for anything else. Borrowed. */
const char *json_scalar_text(const json *j, char room[24]);
bool json_is_true(const json *j);

/* Members of an object or items of an array, in order: for (const json *i = json_first(j); i; i = json_next(i)). */
const json *json_first(const json *j);
const json *json_next(const json *item);
const char *json_name(const json *member); /* NULL for an item of an array */
size_t json_count(const json *j);

/* Building. A NULL anywhere (no memory) makes json_print fail, so callers check once, there. */
json *json_object(void);
json *json_array(void);
void json_set_string(json *object, const char *name, const char *value);
void json_set_number(json *object, const char *name, int64_t value);
void json_set_bool(json *object, const char *name, bool value);
void json_set_null(json *object, const char *name);
void json_set(json *object, const char *name, json *value); /* takes ownership; replaces */
void json_remove(json *object, const char *name);
void json_push(json *array, json *value); /* takes ownership */
json *json_of_string(const char *value);
json *json_of_number(int64_t value);
json *json_copy(const json *j);
void json_sort(json *object); /* members in byte order of their names, recursively: as MAA and Managed HSM print */

/* Compact text, appended to `out`. */
skr_status json_print(const json *j, struct buf *out) MUST_CHECK;

static inline void json_done(json **j)
{
	json_free(*j);
}

#endif
