#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# I-32: the shipped module is what threat model section 12 says. object.sh BUILD
set -u
module=$1/src/skr-pkcs11.so
wrong=0
claim() { # TEXT, then a command that must succeed
	local text=$1
	shift
	"$@" || { echo "not so: $text" >&2; wrong=1; }
}
dynamic=$(readelf -dW "$module")
segments=$(readelf -lW "$module")
symbols=$(nm -D --defined-only "$module")
undefined=$(nm -D --undefined-only "$module")
has() { grep -qE "$2" <<<"$1"; }
hasnt() { ! grep -qE "$2" <<<"$1"; }

claim "RELRO" has "$segments" 'GNU_RELRO'
claim "bound at load" has "$dynamic" 'BIND_NOW|FLAGS_1.*NOW'
claim "never unloaded" has "$dynamic" 'NODELETE'
claim "no executable stack" hasnt "$(grep GNU_STACK <<<"$segments")" 'RWE'
claim "no text relocations" hasnt "$dynamic" 'TEXTREL'
claim "no run path" hasnt "$dynamic" 'RPATH|RUNPATH'
claim "stack protector" has "$undefined" '__stack_chk_fail'
ours=$(for archive in "$1"/src/libskr_*.a; do
	case $archive in *_cli.a | *_emulator.a) ;; *) nm --undefined-only "$archive" 2>/dev/null ;; esac
done)
claim "frees nothing that libc allocated, since a host may have given libc another allocator (base/buf.h)" \
	hasnt "$ours" ' U (__)?(strn?dup|v?asprintf|getline|getdelim|open_memstream|scandir|getcwd|glob)(_chk)?$'
claim "fortified calls" has "$undefined" '__(memcpy|snprintf|vsnprintf)_chk'
needed=$(sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' <<<"$dynamic" | sort | tr '\n' ' ')
claim "needs libc and cJSON only, not: $needed" hasnt "$needed" '(^| )lib(crypto|ssl|curl|tss2|gnutls|p11-kit|nss)'
claim "needs nothing else: $needed" test -z "$(tr ' ' '\n' <<<"$needed" | grep -vE '^(libc\.so\.6|libcjson\.so\.1|ld-linux.*|)$')"
exported=$(awk '{print $3}' <<<"$symbols" | sort)
claim "exports nothing but C_ functions" hasnt "$exported" '^[^C]|^C[^_]'
wanted=$(cat <<'END'
C_CancelFunction C_CloseAllSessions C_CloseSession C_CopyObject C_CreateObject C_Decrypt C_DecryptDigestUpdate C_DecryptFinal
C_DecryptInit C_DecryptUpdate C_DecryptVerifyUpdate C_DeriveKey C_DestroyObject C_Digest C_DigestEncryptUpdate C_DigestFinal
C_DigestInit C_DigestKey C_DigestUpdate C_Encrypt C_EncryptFinal C_EncryptInit C_EncryptUpdate C_Finalize C_FindObjects
C_FindObjectsFinal C_FindObjectsInit C_GenerateKey C_GenerateKeyPair C_GenerateRandom C_GetAttributeValue C_GetFunctionList
C_GetFunctionStatus C_GetInfo C_GetInterface C_GetInterfaceList C_GetMechanismInfo C_GetMechanismList C_GetObjectSize
C_GetOperationState C_GetSessionInfo C_GetSlotInfo C_GetSlotList C_GetTokenInfo C_InitPIN C_InitToken C_Initialize C_Login
C_Logout C_OpenSession C_SeedRandom C_SetAttributeValue C_SetOperationState C_SetPIN C_Sign C_SignEncryptUpdate C_SignFinal
C_SignInit C_SignRecover C_SignRecoverInit C_SignUpdate C_UnwrapKey C_Verify C_VerifyFinal C_VerifyInit C_VerifyRecover
C_VerifyRecoverInit C_VerifyUpdate C_WaitForSlotEvent C_WrapKey
END
)
for name in $wanted; do claim "exports $name" grep -qx "$name" <<<"$exported"; done
claim "says nothing of verification switched off" hasnt "$(strings "$module" | grep -v ossl_)" '(insecure|skip_verif|no_verify|disable_verif|SKR_TEST)'
for program in skr-agent skr-pkcs11; do
	claim "$program is position independent" has "$(readelf -hW "$1/src/$program")" 'DYN'
	claim "$program is bound at load" has "$(readelf -dW "$1/src/$program")" 'BIND_NOW|FLAGS_1.*NOW'
done
# Neither program links the other's half.
claim "the agent has no PKCS#11" hasnt "$(nm "$1/src/skr-agent" 2>/dev/null)" ' [Tt] C_'
exit $wrong
