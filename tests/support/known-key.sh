#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# known-key.sh FILE : makes an RSA key, imports it into the emulated vault as "known" with a token of the same name, and writes
# its private numbers to FILE (8 bytes length, little-endian, then the number; d, p, q, dp, dq, qi). So too two symmetric keys of
# the Managed HSM, "known-aes" and "known-hmac".
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/scripts/emulator.sh"
mapfile -t jwks < <(/usr/bin/python3 - "$1" <<'END'
import base64, json, os, struct, sys
from jwcrypto import jwk
key = json.loads(jwk.JWK.generate(kty="RSA", size=2048).export(private_key=True))
with open(sys.argv[1], "wb") as out:
    for name in ("d", "p", "q", "dp", "dq", "qi"):
        number = base64.urlsafe_b64decode(key[name] + "==")
        out.write(struct.pack("<Q", len(number)) + number)
    secrets = [os.urandom(32), os.urandom(32)]
    for secret in secrets:
        out.write(struct.pack("<Q", len(secret)) + secret)
key["kty"] = "RSA-HSM"
key["key_ops"] = ["sign", "verify", "encrypt", "decrypt"]
print(json.dumps(key))
for secret, ops in zip(secrets, (["encrypt", "decrypt"], ["sign", "verify"])):
    k = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    print(json.dumps({"kty": "oct-HSM", "k": k, "key_ops": ops}))
END
)
import() { # ADDRESS JWK
	vault PUT "$1" "{\"key\":$2,\"Hsm\":true,\"attributes\":{\"exportable\":true},
		\"release_policy\":{\"data\":\"$(release_policy | base64url)\"}}" >/dev/null
}
import "$SKR_EMULATOR_VAULT/keys/known" "${jwks[0]}"
import "$SKR_EMULATOR_HSM/keys/known-aes" "${jwks[1]}"
import "$SKR_EMULATOR_HSM/keys/known-hmac" "${jwks[2]}"
write_token known "key = $SKR_EMULATOR_VAULT/keys/known" "key = $SKR_EMULATOR_HSM/keys/known-aes" \
	"key = $SKR_EMULATOR_HSM/keys/known-hmac" >>"$SKR_PKCS11_CONF"
