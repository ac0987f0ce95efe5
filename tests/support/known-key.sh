#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# known-key.sh FILE : makes an RSA key, imports it into the emulated vault as "known" with a token of the same name, and writes
# its private numbers to FILE (8 bytes length, little-endian, then the number; d, p, q, dp, dq, qi).
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/scripts/emulator.sh"
jwk=$(/usr/bin/python3 - "$1" <<'END'
import base64, json, struct, sys
from jwcrypto import jwk
key = json.loads(jwk.JWK.generate(kty="RSA", size=2048).export(private_key=True))
with open(sys.argv[1], "wb") as out:
    for name in ("d", "p", "q", "dp", "dq", "qi"):
        number = base64.urlsafe_b64decode(key[name] + "==")
        out.write(struct.pack("<Q", len(number)) + number)
key["kty"] = "RSA-HSM"
key["key_ops"] = ["sign", "verify", "encrypt", "decrypt"]
print(json.dumps(key))
END
)
vault PUT "$SKR_EMULATOR_VAULT/keys/known" "{\"key\":$jwk,\"Hsm\":true,\"attributes\":{\"exportable\":true},
	\"release_policy\":{\"data\":\"$(release_policy | base64url)\"}}" >/dev/null
write_token known "key = $SKR_EMULATOR_VAULT/keys/known" >>"$SKR_PKCS11_CONF"
