/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_PKCS11_H
#define SKR_PKCS11_H

/*
 * What skr-pkcs11 adds to PKCS#11. No program needs any of it to use a key.
 *
 * Include a pkcs11.h (p11-kit's, or any of PKCS#11 2.40 or later) first.
 */

/* "SKR" in the vendor space. */
#define CKA_SKR (CKA_VENDOR_DEFINED | 0x534b5200UL)
/* Text, on private, public and secret keys: https://HOST/keys/NAME/VERSION as the vault signed it. After login only. */
#define CKA_SKR_KEY_ID (CKA_SKR | 0x01UL)
/* 32 bytes: SHA-256 of the DER SubjectPublicKeyInfo. */
#define CKA_SKR_PUBLIC_KEY_HASH (CKA_SKR | 0x02UL)

/*
 * The diagnostics interface: C_GetInterface("Vendor skr-pkcs11", NULL, &interface, 0) and cast
 * interface->pFunctionList. Discovery only: it changes nothing, and it hands out no secret.
 */
#define SKR_INTERFACE_NAME "Vendor skr-pkcs11"

struct skr_failure {
	unsigned long number; /* SKR-<number>; 0: the last C_Login of this slot in this process did not fail */
	char line[1024];      /* "SKR-nnn step=… : sentence : hint", terminated */
};

struct skr_diagnostics {
	CK_VERSION version; /* 1.0 */
	/* The last failure of a C_Login on this slot in this process. CKR_SLOT_ID_INVALID, CKR_ARGUMENTS_BAD. */
	CK_RV (*last_failure)(CK_SLOT_ID slot, struct skr_failure *failure);
	/* Why there are no slots: the failure of reading the configuration; number 0 if it was read. */
	CK_RV (*configuration_failure)(struct skr_failure *failure);
	/* Version of the libcrypto inside, "OpenSSL 3.0.x …"; static. */
	const char *(*crypto_version)(void);
};

#endif
