/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/functions.h"
#include "pkcs11/module.h"

#include "token/login.h"

#include <openssl/crypto.h>
#include <skr_pkcs11.h>
#include <stdio.h>
#include <string.h>

/*
 * How a program finds our functions. These work at any time, in a child too, and change nothing.
 *
 * C_GetFunctionList gives version 2.40, for ever: programs of today read a list by its version, those of yesterday take
 * any list for a 2.x one.
 */

#define ENTRY(name_) .name_ = name_,
static CK_FUNCTION_LIST functions_2_40 = {.version = {2, 40}, FUNCTIONS(ENTRY)};

EXPORT CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
	if (!list)
		return CKR_ARGUMENTS_BAD;
	*list = &functions_2_40;
	return CKR_OK;
}

static struct function_list_3_0 functions_3_0 = {.v2_40 = {.version = {3, 0}, FUNCTIONS(ENTRY)}, FUNCTIONS_3_0(ENTRY)};

/* ---- diagnostics ---- */

static void failure_of(const struct status_record *record, struct skr_failure *ret)
{
	*ret = (struct skr_failure){.number = (unsigned long)record->failure};
	if (record->failure)
		status_line(record, ret->line, sizeof(ret->line));
}

static CK_RV last_failure(CK_SLOT_ID slot, struct skr_failure *failure)
{
	auto_call call = {0};
	struct status_record record;
	CK_RV rv = call_enter(&call);

	if (rv != CKR_OK)
		return rv;
	if (!failure)
		return CKR_ARGUMENTS_BAD;
	struct token *token = token_in_slot(slot);
	if (!token)
		return CKR_SLOT_ID_INVALID;
	login_last_failure(token, &record);
	failure_of(&record, failure);
	return CKR_OK;
}

static CK_RV configuration_failure(struct skr_failure *failure)
{
	auto_call call = {0};
	struct status_record record;
	CK_RV rv = call_enter(&call);

	if (rv != CKR_OK)
		return rv;
	if (!failure)
		return CKR_ARGUMENTS_BAD;
	module_configuration_failure(&record);
	failure_of(&record, failure);
	return CKR_OK;
}

static const char *crypto_version(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}

static struct skr_diagnostics diagnostics = {
    .version = {1, 0},
    .last_failure = last_failure,
    .configuration_failure = configuration_failure,
    .crypto_version = crypto_version,
};

/* ---- interfaces ---- */

/*
 * The first row is what a program gets that names none. None is CKF_INTERFACE_FORK_SAFE, which would promise a child
 * its parent's sessions (PKCS#11 3.0 section 5.4.5): here a child initialises anew, and inherits keys.
 */
static CK_INTERFACE interfaces[] = {
    {(CK_UTF8CHAR *)"PKCS 11", &functions_2_40, 0},
    {(CK_UTF8CHAR *)"PKCS 11", &functions_3_0, 0},
    {(CK_UTF8CHAR *)SKR_INTERFACE_NAME, &diagnostics, 0},
};
#define INTERFACES (sizeof(interfaces) / sizeof(interfaces[0]))

EXPORT CK_RV C_GetInterfaceList(CK_INTERFACE *list, CK_ULONG *count)
{
	if (!count)
		return CKR_ARGUMENTS_BAD;
	CK_ULONG room = *count;
	*count = INTERFACES;
	if (!list)
		return CKR_OK;
	if (room < INTERFACES)
		return CKR_BUFFER_TOO_SMALL;
	memcpy(list, interfaces, sizeof(interfaces));
	return CKR_OK;
}

static bool is_wanted(const CK_INTERFACE *interface, const CK_UTF8CHAR *name, const CK_VERSION *version, CK_FLAGS flags)
{
	const CK_VERSION *has = interface->pFunctionList;

	if (name && strcmp((const char *)name, (const char *)interface->pInterfaceName) != 0)
		return false;
	if (version && (version->major != has->major || version->minor != has->minor))
		return false;
	return (flags & ~interface->flags) == 0;
}

EXPORT CK_RV C_GetInterface(CK_UTF8CHAR *name, CK_VERSION *version, CK_INTERFACE **interface, CK_FLAGS flags)
{
	if (!interface)
		return CKR_ARGUMENTS_BAD;
	for (size_t i = 0; i < INTERFACES; i++) {
		if (is_wanted(&interfaces[i], name, version, flags)) {
			*interface = &interfaces[i];
			return CKR_OK;
		}
	}
	return CKR_FUNCTION_FAILED;
}
