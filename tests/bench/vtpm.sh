#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vtpm.sh BUILD : what a login asks of a vTPM, on each kind of machine that has one: commands, keys made, connections, time.
# The emulated TPM is a fast one; a command of Azure's takes some milliseconds, CreatePrimary tenths of a second.
set -eu
build=$1
top=$(cd "$(dirname "$0")/../.." && pwd)
if [ -z "${SKR_RUN:-}" ]; then
	printf '%-16s %5s %9s %14s %12s %11s\n' machine keys commands CreatePrimary connections milliseconds
	for machine in trusted-launch cvm-snp cvm-tdx; do
		SKR_TEST_FEW_KEYS=1 "$top/tests/support/surroundings.sh" "$build" "vtpm-$machine" "$0" "$build"
	done
	exit
fi
cd "$SKR_RUN"
tpm() { curl -sSf ${1:+-d "$1"} "$SKR_EMULATOR_CONTROL/tpm"; }
# number NAME : of what the vTPM says of itself.
number() { tpm | grep -o "\"$1\":[0-9]*" | cut -d: -f2; }
cli=$SKR_BUILD/src/skr-pkcs11
"$cli" doctor faulty >/dev/null # the emulator makes its own keys, and the index for the input is defined
for token in faulty skr; do
	sleep 2.5 # a paravisor's report is not made anew before
	tpm '{"counters":0}' >/dev/null
	"$cli" doctor $token >doctor.out
	ms=$(awk '$2 == "transport-key" { key = $3 } $2 == "login" { all = $3 } END { print all - key }' doctor.out)
	printf '%-16s %5s %9s %14s %12s %11s\n' "$SKR_EMULATOR_MACHINE" "$(grep -c '^  ok *key ' doctor.out)" \
		"$(number total)" "$(number CreatePrimary)" "$(number connections)" "$ms"
	rm doctor.out
done
