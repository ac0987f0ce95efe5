#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The public half of a key's bundle (GET of a vault, on standard input) as PEM. P-256 alone.
import base64, json, sys

jwk = json.load(sys.stdin)["key"]
x, y = (base64.urlsafe_b64decode(jwk[name] + "==").rjust(32, b"\0") for name in ("x", "y"))
der = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04" + x + y
print("-----BEGIN PUBLIC KEY-----", base64.b64encode(der).decode(), "-----END PUBLIC KEY-----", sep="\n")
