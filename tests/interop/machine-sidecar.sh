#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A container without any device beside the SKR sidecar, which attests and releases in its place.
export SKR_TEST_MACHINE=sidecar
. "$(dirname "$0")/../support/interop.sh"
. "$SKR_TOP/tests/support/machine.sh"

doctor_says 'evidence .* sidecar: it attests, this machine does not' 'attestation .* left to the sidecar' 'release .* by the sidecar'
signs_with_released_keys
fails_with 161 "the key of another machine is not released" cli doctor other
check_says "sidecar: its own words say why" 'does not meet key release policy requirements' cat said.out
refuses_evidence auto 100 "without the sidecar this container cannot attest"

# The version that the vault shows is the one that is released: a rotation in between is no attack.
check "the sidecar is asked for the vault's version" grep -qE '"op":"akv.release".*/keys/rsa2048/[0-9a-f]{32}/release' "$SKR_EMULATOR_DIR/requests.jsonl"
check_fails "and never for any" grep -E '"op":"akv.release".*/keys/rsa2048/release' "$SKR_EMULATOR_DIR/requests.jsonl"

faults() { curl -sSf -o /dev/null -X "$1" ${2:+--data-binary "$2"} "$SKR_EMULATOR_CONTROL/faults"; }
faults POST 'sidecar.release[1] status(503,message=busy)'
check "a sidecar that is busy once is asked again" cli doctor skr
faults POST 'sidecar.release status(403,message=no certificates)'
fails_with 161 "a sidecar that cannot attest says so" cli doctor skr
check_says "sidecar: in its own words" 'no certificates' cat said.out
faults DELETE
sed "s,^sidecar = .*,sidecar = http://localhost:$(free_port)," "$SKR_PKCS11_CONF" >nobody.conf
fails_with 160 "nobody listens on the sidecar's port" cli doctor --config "$SKR_RUN/nobody.conf" skr
check "a clean login straight afterwards" cli doctor skr
summary "machine: SKR sidecar" "$(version_of gnutls-bin)" "p11tool, pkcs11-tool sign; other machines' keys, a busy, an incapable and an absent sidecar"
