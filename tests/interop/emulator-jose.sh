#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The emulator's answers read by JOSE tools, a wrapper of keys and a verifier of chains that are not ours: Debian's jose,
# python3-jwcrypto, python3-cryptography, openssl. emulator-jose.sh BUILD
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
build=$(realpath "$1")
for tool in curl jose openssl; do
	command -v $tool >/dev/null || { echo "skipped: no $tool" && exit 77; }
done
python=
for candidate in python3 /usr/bin/python3; do
	"$candidate" -c 'import jwcrypto, cryptography' 2>/dev/null && python=$candidate && break
done
[ -n "$python" ] || { echo "skipped: no python3-jwcrypto" && exit 77; }

work=$(mktemp -d)
trap 'kill $emulator 2>/dev/null || true; wait; rm -rf "$work"' EXIT
"$build/src/skr-emulator" --dir "$work/emulator" >"$work/out" 2>"$work/err" &
emulator=$!
for _ in $(seq 300); do
	grep -qs ready "$work/out" && break
	sleep 0.05
done
. "$work/emulator/endpoints"
export SKR_EMULATOR_DIR SKR_EMULATOR_CA SKR_EMULATOR_VAULT SKR_EMULATOR_HSM SKR_EMULATOR_ATTESTATION SKR_EMULATOR_LOGIN \
	SKR_EMULATOR_IMDS SKR_EMULATOR_TENANT SKR_EMULATOR_CLIENT SKR_EMULATOR_CLIENT_SECRET
failed=0
check() {
	local what=$1
	shift
	if "$@" >"$work/said" 2>&1; then
		echo "ok      $what"
	else
		echo "FAILED  $what"
		sed 's/^/        /' "$work/said"
		failed=1
	fi
}
check_fails() {
	local what=$1
	shift
	if "$@" >"$work/said" 2>&1; then
		echo "FAILED  $what"
		failed=1
	else
		echo "ok      $what"
	fi
}

cd "$work"
check "jwcrypto and cryptography follow a release from identity to key" \
	"$python" "$top/support/emulator_client.py" "$work"
verify() { jose jws ver -i "$1" -k "$2" -O /dev/null; }
for token in access attestation release-vault release-hsm; do
	check "jose verifies $token" verify $token.jws $token.jwk
	awk -F. '{ c = substr($2, 41, 1) == "A" ? "B" : "A"; print $1 "." substr($2, 1, 40) c substr($2, 42) "." $3 }' $token.jws >tampered.jws
	check_fails "jose refuses $token with a byte changed" verify tampered.jws $token.jwk
done
for service in vault hsm; do
	check "openssl verifies the chain of the release of $service" openssl verify -x509_strict -CAfile "$SKR_EMULATOR_CA" \
		-untrusted release-$service.issuer.pem release-$service.leaf.pem
done
check "the leaf of the vault's release is its host's" openssl x509 -in release-vault.leaf.pem -noout -checkhost \
	contoso.vault.localhost
check "openssl verifies the played AMD chain" openssl verify -CAfile emulator/amd-ark.pem -untrusted emulator/amd-ask.pem \
	emulator/vcek.pem
check "curl trusts the https port by every name" bash -c '
	for url in $SKR_EMULATOR_VAULT/keys $SKR_EMULATOR_HSM/keys $SKR_EMULATOR_ATTESTATION/certs \
		$SKR_EMULATOR_LOGIN/common/discovery/keys https://localhost:${SKR_EMULATOR_VAULT##*:}/keys \
		https://127.0.0.1:${SKR_EMULATOR_VAULT##*:}/keys; do
		curl -sS --cacert "$SKR_EMULATOR_CA" -o /dev/null "$url" || exit 1
	done
	for name in x.vault.azure.net x.managedhsm.azure.net login.microsoftonline.com login.windows.net sharedneu.neu.attest.azure.net; do
		curl -sS --cacert "$SKR_EMULATOR_CA" -o /dev/null --connect-to "::127.0.0.1:${SKR_EMULATOR_VAULT##*:}" "https://$name/" || exit 1
	done'
check "the log has no token" bash -c '! grep -q eyJ emulator/requests.jsonl'
exit $failed
