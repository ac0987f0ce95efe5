#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Microsoft's unmodified SDK for Python against the emulator. Debian has it as python3-azure (540 MB, so not among what
# the tests install); skipped without. emulator-azure-sdk.sh BUILD
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
build=$(realpath "$1")
python=
for candidate in python3 /usr/bin/python3; do
	"$candidate" -c 'import azure.keyvault.keys, azure.identity, cryptography, jwcrypto' 2>/dev/null && python=$candidate && break
done
[ -n "$python" ] || { echo "skipped: no python3-azure, python3-jwcrypto" && exit 77; }

work=$(mktemp -d)
trap 'kill $emulator 2>/dev/null || true; wait; rm -rf "$work"' EXIT
"$build/src/skr-emulator" --dir "$work/emulator" >"$work/out" 2>"$work/err" &
emulator=$!
for _ in $(seq 300); do
	grep -qs ready "$work/out" && break
	sleep 0.05
done
set -a
. "$work/emulator/endpoints"
set +a
"$python" "$top/support/emulator_client.py" "$work"
"$python" "$top/support/emulator_azure_sdk.py" "$work/attestation.jws"
echo "ok      the SDK makes, lists, changes, releases, deletes and recovers keys"
