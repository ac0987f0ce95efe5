#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each kind of identity, through whole logins.
. "$(dirname "$0")/../support/interop.sh"
doctor() { "$build/src/skr-pkcs11" doctor skr; }
identity() { # VALUE, of token skr
	sed -i "/^\[token skr\]/,/^\[token other\]/{/^\(identity\|tenant\|client\|authority\) = /d}" "$SKR_PKCS11_CONF"
	sed -i "/^\[token skr\]/a identity = $1" "$SKR_PKCS11_CONF"
}
named() { # after identity: tenant, client and authority in the configuration
	sed -i "/^\[token skr\]/a tenant = $SKR_EMULATOR_TENANT\nclient = $SKR_EMULATOR_CLIENT\nauthority = $SKR_EMULATOR_LOGIN" "$SKR_PKCS11_CONF"
}
workload=(env AZURE_CLIENT_ID="$SKR_EMULATOR_CLIENT" AZURE_TENANT_ID="$SKR_EMULATOR_TENANT"
	AZURE_FEDERATED_TOKEN_FILE="$SKR_EMULATOR_DIR/federated-token" AZURE_AUTHORITY_HOST="$SKR_EMULATOR_LOGIN/")

identity managed
check_says "the system-assigned identity" 'identity .* managed identity' doctor
identity "managed:$SKR_EMULATOR_CLIENT"
check_says "a user-assigned identity" 'identity .* managed identity' doctor
identity managed:00000000-0000-0000-0000-000000000000
check_fails "an identity that does not exist" doctor
grep -q SKR-301 "$SKR_RUN/check.out"
identity auto
check_says "App Service's endpoint" 'identity .*App Service' env IDENTITY_ENDPOINT="$SKR_EMULATOR_IMDS/msi/token" \
	IDENTITY_HEADER="$SKR_EMULATOR_CLIENT_SECRET" "$build/src/skr-pkcs11" doctor skr
check_says "AKS workload identity, found by its variables" 'identity .*workload identity' "${workload[@]}" "$build/src/skr-pkcs11" doctor skr
curl -sSf -o /dev/null -X POST --data-binary '{"lifetime":-3600}' "$SKR_EMULATOR_CONTROL/federated-token"
check_fails "an expired federated token" "${workload[@]}" "$build/src/skr-pkcs11" doctor skr
grep -q SKR-311 "$SKR_RUN/check.out"
curl -sSf -o /dev/null -X POST --data-binary '{"lifetime":3600}' "$SKR_EMULATOR_CONTROL/federated-token"
check_says "the token file is read anew" 'login .* 2 keys' "${workload[@]}" "$build/src/skr-pkcs11" doctor skr
printf %s "$SKR_EMULATOR_CLIENT_SECRET" >secret
chmod 600 secret
identity "secret:$SKR_RUN/secret"
named
check_says "a client secret from a file" 'login .* 2 keys' doctor
echo wrong >secret
check_fails "a wrong secret" doctor
grep -q 'AADSTS' "$SKR_RUN/check.out"
! grep -q "$SKR_EMULATOR_CLIENT_SECRET" "$SKR_RUN/check.out" "$SKR_RUN/skr-pkcs11.log"
identity "certificate:$SKR_EMULATOR_DIR/client.pem"
named
check_says "a client certificate from a file" 'login .* 2 keys' doctor
