#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# PyKCS11: listing, signing, verifying, decrypting, threads, a child process.
. "$(dirname "$0")/../support/interop.sh"
need /usr/bin/python3 openssl
/usr/bin/python3 -c 'import PyKCS11' 2>/dev/null || { echo "python3-pykcs11 is not installed"; exit 77; }
program() { /usr/bin/python3 "$SKR_TOP/tests/interop/pykcs11.py" "$module" "$1"; }
certificate rsa2048
certificate p256
released_before=$(releases)

check "tokens, certificates and public keys without a login" program listing
check_releases 0
check "keys sign, verify and decrypt, in threads and in a child" program keys
check_releases 2
printf hello >text
check "openssl verifies PKCS#1" openssl dgst -sha256 -verify rsa2048.pem -signature rsa.sig text
check "openssl verifies PSS" openssl dgst -sha256 -verify rsa2048.pem -sigopt rsa_padding_mode:pss -signature pss.sig text
azure_refuses
log_seen=$(wc -l <skr-pkcs11.log)
check_refused "a login that Azure refuses is an exception" 'CKR_FUNCTION_FAILED' program refused
check_log "our log says why" 'SKR-331 .*no permission to release the key'
azure_allows
check_refused "a missing module is one" 'CKR_GENERAL_ERROR|missing.so' /usr/bin/python3 "$SKR_TOP/tests/interop/pykcs11.py" "$SKR_RUN/missing.so" listing
summary "PyKCS11" "$(version_of python3-pykcs11)" "list, sign, verify, encrypt, decrypt, digest; threads, fork"
