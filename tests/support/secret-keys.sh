#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# secret-keys.sh FILE : imports symmetric keys of known bytes into the emulated Managed HSM ("aes" to encrypt, "wrapper" to wrap,
# "hmac" to sign, 32 bytes each, written to FILE in this order), makes an EC key that derives and an RSA key that unwraps, and
# adds token "secret" with all of them.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/scripts/emulator.sh"

settings="\"attributes\":{\"exportable\":true},\"release_policy\":{\"data\":\"$(release_policy | base64url)\"}"
: >"$1"
lines=()
import() { # NAME KEY_OPS
	head -c 32 /dev/urandom >"$1.bytes"
	cat "$1.bytes" >>"$out"
	vault PUT "$SKR_EMULATOR_HSM/keys/$1" "{\"key\":{\"kty\":\"oct-HSM\",\"k\":\"$(base64url <"$1.bytes")\",\"key_ops\":[$2]},$settings}" >/dev/null
	rm "$1.bytes"
	lines+=("key = $SKR_EMULATOR_HSM/keys/$1")
}
make() { # NAME KEY
	vault POST "$SKR_EMULATOR_HSM/keys/$1/create" "{$2,$settings}" >/dev/null
	lines+=("key = $SKR_EMULATOR_HSM/keys/$1")
}
out=$(realpath "$1")
cd "$(dirname "$out")"
import aes '"encrypt","decrypt"'
import wrapper '"wrapKey","unwrapKey"'
import hmac '"sign","verify"'
make ecdh '"kty":"EC-HSM","crv":"P-256","key_ops":["sign","verify","deriveKey"]'
make unwrapper '"kty":"RSA-HSM","key_size":2048,"key_ops":["wrapKey","unwrapKey"]'
make usual '"kty":"oct-HSM","key_size":256'
write_token secret "${lines[@]}" >>"$SKR_PKCS11_CONF"
