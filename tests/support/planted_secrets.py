#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Secrets whose bytes are known, and the search for them in everything that was written (I-05).

planted_secrets.py keys FOLDER            makes keys: FOLDER/NAME.jwk to import, their private parts in the list
planted_secrets.py text FOLDER NAME       a secret text from standard input
planted_secrets.py pem FOLDER NAME FILE   the private key of a PEM file
planted_secrets.py forms FOLDER           one line per form of a secret: NAME, tab, the form in hexadecimal
planted_secrets.py search FOLDER PATH...  searches files and folders; status 1 and a line for each find

The list is FOLDER/secrets.json. Bytes are looked for raw in both byte orders, in hexadecimal of either case, with and without
colons, and in base64 and base64url at each of the three alignments; a piece of 18 bytes is enough.
"""
import base64
import json
import os
import re
import sys

from jwcrypto import jwk

PIECE = 18
SHAPES = {
    "a JWT or JWS": rb"eyJ[A-Za-z0-9_-]{16,}",
    "a private key in PEM": rb"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a bearer token": rb"[Bb]earer [A-Za-z0-9_-]{16,}",
    "a form of Entra's with a secret": rb"client_secret=|client_assertion=",
    "a wrapped key": rb"\"ciphertext\" ?: ?\"[A-Za-z0-9_-]{16,}",
}


def load(folder):
    try:
        with open(os.path.join(folder, "secrets.json")) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def add(folder, name, data):
    assert len(data) >= 8, name
    secrets = load(folder)
    secrets[name] = data.hex()
    with open(os.path.join(folder, "secrets.json"), "w") as file:
        json.dump(secrets, file)


def add_jwk(folder, name, key):
    for part in ("d", "p", "q", "dp", "dq", "qi", "k"):
        if part in key:
            add(folder, f"{name}.{part}", base64.urlsafe_b64decode(key[part] + "=="))


def make_keys(folder):
    os.makedirs(folder, exist_ok=True)
    kinds = {
        "planted-rsa": ({"kty": "RSA", "size": 2048}, "RSA-HSM", ["sign", "verify", "encrypt", "decrypt"]),
        "planted-ec": ({"kty": "EC", "crv": "P-256"}, "EC-HSM", ["sign", "verify"]),
        "planted-aes": ({"kty": "oct", "size": 256}, "oct-HSM", ["encrypt", "decrypt"]),
        "planted-hmac": ({"kty": "oct", "size": 256}, "oct-HSM", ["sign", "verify"]),
    }
    for name, (how, kty, ops) in kinds.items():
        key = json.loads(jwk.JWK.generate(**how).export(private_key=True))
        add_jwk(folder, name, key)
        key.update(kty=kty, key_ops=ops)
        with open(os.path.join(folder, name + ".jwk"), "w") as file:
            json.dump(key, file)


def add_pem(folder, name, path):
    with open(path, "rb") as file:
        key = jwk.JWK.from_pem(file.read())
    add_jwk(folder, name, json.loads(key.export(private_key=True)))


def base64_forms(data):
    """What must stand in the base64 of anything that has `data` inside, whatever stands before and behind it."""
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + data)
        begin, end = [0, 2, 3][shift], len(text) - 4 if (len(data) + shift) % 3 else len(text)
        yield text[begin:end]


def forms(data):
    pieces = [data]
    if len(data) > PIECE:
        middle = (len(data) - PIECE) // 2
        pieces = [data[middle:middle + PIECE], data[:PIECE], data[-PIECE:]]
    for piece in pieces:
        yield piece
        yield piece[::-1]
        for order in (piece, piece[::-1]):
            yield order.hex().encode()
            yield order.hex().upper().encode()
            yield order.hex(":").encode()
            yield order.hex(":").upper().encode()
        for text in base64_forms(piece):
            yield text
            yield text.replace(b"+", b"-").replace(b"/", b"_")


def all_forms(folder):
    return {form: name for name, data in load(folder).items() for form in forms(bytes.fromhex(data))}


def files(paths):
    for path in paths:
        if os.path.isdir(path):
            for folder, _, names in os.walk(path):
                yield from (os.path.join(folder, name) for name in names)
        else:
            yield path


def search(folder, paths):
    known, found, count = all_forms(folder), 0, 0
    for path in files(paths):
        if not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            data = file.read()
        count += 1
        joined = data.replace(b"\n", b"")  # text that was folded
        for form, name in known.items():
            if form in data or form in joined:
                print(f"{path} holds {name}")
                found += 1
        for what, shape in SHAPES.items():
            if re.search(shape, data):
                print(f"{path} holds {what}: {re.search(shape, data).group()[:24]!r}")
                found += 1
    print(f"{len(known)} forms of {len(load(folder))} secrets looked for in {count} files: {found} found")
    return found


def main():
    what, folder, rest = sys.argv[1], sys.argv[2], sys.argv[3:]
    if what == "keys":
        make_keys(folder)
    elif what == "text":
        add(folder, rest[0], sys.stdin.buffer.read().strip())
    elif what == "pem":
        add_pem(folder, *rest)
    elif what == "forms":
        for form, name in all_forms(folder).items():
            print(f"{name}\t{form.hex()}")
    elif what == "search":
        sys.exit(1 if search(folder, rest) else 0)
    else:
        sys.exit(f"{what}?")


main()
