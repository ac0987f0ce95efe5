#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# surroundings.sh BUILD NAME COMMAND… : runs COMMAND with an emulated Azure of its own, keys in it, and a configuration.
#
# Token "skr" has one key of every kind the module offers; "other" has one that is released only to another machine;
# "faulty" has one key of its own, for tests that break things. SKR_TEST_MACHINE is the kind of machine that is played, or
# a NAME of vtpm-KIND says it. SKR_MODULE, SKR_PKCS11_CONF and SKR_EMULATOR_… are set.
set -eu
build=$(realpath "$1") name=$2
shift 2
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/scripts/emulator.sh"

case $name in vtpm-*) SKR_TEST_MACHINE=${name#vtpm-} SKR_TEST_FEW_KEYS=1 ;; esac
run=$(run_folder "$build/run/$name")
trap 'stop_emulator' EXIT
start_emulator "$run/azure" ${SKR_TEST_MACHINE:+--machine "$SKR_TEST_MACHINE"}
create_key "$SKR_EMULATOR_VAULT" rsa2048 RSA-HSM:2048
create_key "$SKR_EMULATOR_VAULT" p256 EC-HSM:P-256
if [ -z "${SKR_TEST_FEW_KEYS:-}" ]; then
	create_key "$SKR_EMULATOR_VAULT" rsa3072 RSA-HSM:3072
	create_key "$SKR_EMULATOR_HSM" rsa4096 RSA-HSM:4096
	create_key "$SKR_EMULATOR_VAULT" p384 EC-HSM:P-384
	create_key "$SKR_EMULATOR_VAULT" p521 EC-HSM:P-521
	create_key "$SKR_EMULATOR_HSM" p256k EC-HSM:P-256K
fi
create_key "$SKR_EMULATOR_VAULT" elsewhere RSA-HSM:2048 "$(release_policy "$(printf x | sha256sum | cut -d' ' -f1)")"
create_key "$SKR_EMULATOR_VAULT" fragile EC-HSM:P-256

export SKR_PKCS11_CONF=$run/skr-pkcs11.conf SKR_MODULE=$build/src/skr-pkcs11.so SKR_RUN=$run SKR_BUILD=$build SKR_TOP=$top
lines=("key = $SKR_EMULATOR_VAULT/keys/rsa2048" "key = $SKR_EMULATOR_VAULT/keys/p256")
if [ -z "${SKR_TEST_FEW_KEYS:-}" ]; then
	lines+=("key = $SKR_EMULATOR_VAULT/keys/rsa3072" "key = $SKR_EMULATOR_HSM/keys/rsa4096"
		"key = $SKR_EMULATOR_VAULT/keys/p384" "key = $SKR_EMULATOR_VAULT/keys/p521" "key = $SKR_EMULATOR_HSM/keys/p256k")
fi
log_level=debug write_configuration "$SKR_PKCS11_CONF" skr "${lines[@]}" 'allow_sha1 = yes'
write_token other "key = $SKR_EMULATOR_VAULT/keys/elsewhere" >>"$SKR_PKCS11_CONF"
write_token faulty "key = $SKR_EMULATOR_VAULT/keys/fragile" >>"$SKR_PKCS11_CONF"

status=0
"$@" || status=$?
if [ "$status" != 0 ] && [ "$status" != 77 ]; then
	echo "--- the module's log ($run/skr-pkcs11.log)" >&2
	tail -20 "$run/skr-pkcs11.log" >&2 || true
	cat "$run/azure/emulator.err" >&2 || true
fi
exit "$status"
