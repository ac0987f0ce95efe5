# SPDX-License-Identifier: Apache-2.0
"""A client of the emulator that shares no code with it: identity, evidence, attestation, release, unwrapping.

emulator_client.py DIR  leaves tokens and keys in DIR for other tools; addresses come from the environment.
"""
import base64
import hashlib
import json
import os
import socket
import ssl
import struct
import sys
import urllib.parse
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from jwcrypto import jwk, jws

E = {k[len("SKR_EMULATOR_"):]: v for k, v in os.environ.items() if k.startswith("SKR_EMULATOR_")}
TLS = ssl.create_default_context(cafile=E["CA"])
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *a, **k: resolve("127.0.0.1" if str(host).endswith("localhost") else host, *a, **k)


def b64u(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64u(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def ask(method, url, body=None, headers=None):
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=dict(headers or {}))
    if data is not None and "Content-Type" not in request.headers:
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, context=TLS if url.startswith("https") else None) as answer:
        return json.loads(answer.read())


def save(name, text):
    with open(os.path.join(sys.argv[1], name), "w") as file:
        file.write(text)


def verify(name, token, key):
    """Verifies with jwcrypto, keeps token and key for jose; gives the payload."""
    opened = jws.JWS()
    opened.deserialize(token)
    opened.verify(key)
    save(name + ".jws", token)
    save(name + ".jwk", key.export_public())
    return opened.jose_header, json.loads(opened.payload)


def entra_key(token):
    kid = json.loads(unb64u(token.split(".")[0]))["kid"]
    metadata = ask("GET", f"{E['LOGIN']}/{E['TENANT']}/v2.0/.well-known/openid-configuration")
    keys = ask("GET", metadata["jwks_uri"])["keys"]
    return next(jwk.JWK(**{k: v for k, v in key.items() if k in ("kty", "n", "e")}) for key in keys if key["kid"] == kid)


def access_token(resource):
    url = f"{E['IMDS']}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={urllib.parse.quote(resource)}"
    answer = ask("GET", url, headers={"Metadata": "true"})
    assert isinstance(answer["expires_on"], str)
    _, claims = verify("access", answer["access_token"], entra_key(answer["access_token"]))
    assert claims["aud"] == resource and claims["exp"] > claims["nbf"]
    return answer["access_token"]


def report(data):
    """One report of the played hardware (guest_protocol.h)."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.path.join(E["DIR"], "hardware.sock"))
        s.sendall(struct.pack("=III64s", 0x31524B53, 1, 0, data))
        answer = s.makefile("rb")
        _, status, length, _ = struct.unpack("=IIII", answer.read(16))
        assert status == 0 and length == 1184
        return answer.read(length)


def attest(key):
    numbers = key.public_key().public_numbers()
    runtime = json.dumps({"keys": [{
        "kty": "RSA", "kid": "transport", "key_ops": ["encrypt"], "e": "AQAB",
        "n": b64u(numbers.n.to_bytes(256, "big"))}]}).encode()
    thim = ask("GET", f"{E['IMDS']}/metadata/THIM/amd/certification", headers={"Metadata": "true"})
    chain = (thim["vcekCert"] + thim["certificateChain"]).encode()
    with open(os.path.join(E["DIR"], "security-context", "reference-info-base64")) as file:
        endorsement = base64.b64decode(file.read())
    evidence = {
        "SnpReport": b64u(report(hashlib.sha256(runtime).digest())),
        "VcekCertChain": b64u(chain),
        "Endorsements": b64u(json.dumps({"Uvm": [b64u(endorsement)]}).encode())}
    body = {"report": b64u(json.dumps(evidence).encode()), "runtimeData": {"data": b64u(runtime), "dataType": "JSON"}}
    token = ask("POST", f"{E['ATTESTATION']}/attest/SevSnpVm?api-version=2022-08-01", body)["token"]
    kid = json.loads(unb64u(token.split(".")[0]))["kid"]
    metadata = ask("GET", f"{E['ATTESTATION']}/.well-known/openid-configuration")
    entry = next(k for k in ask("GET", metadata["jwks_uri"])["keys"] if k["kid"] == kid)
    certificate = x509.load_der_x509_certificate(base64.b64decode(entry["x5c"][0]))
    _, claims = verify("attestation", token, jwk.JWK.from_pyca(certificate.public_key()))
    assert claims["iss"] == E["ATTESTATION"] and claims["x-ms-compliance-status"] == "azure-compliant-uvm"
    return token, claims


def unwrap(key, key_hsm, digest):
    outer = json.loads(unb64u(key_hsm))
    wrapped = unb64u(outer["ciphertext"])
    oaep = padding.OAEP(padding.MGF1(digest()), digest(), None)
    kek = key.decrypt(wrapped[:256], oaep)
    assert len(kek) == 32 and outer["header"]["kid"] == "transport"
    return keywrap.aes_key_unwrap_with_padding(kek, wrapped[256:])


def release(service, origin, resource, claims, attestation, transport):
    bearer = {"Authorization": "Bearer " + access_token(resource)}
    policy = {"version": "1.0.0", "anyOf": [{"authority": E["ATTESTATION"], "allOf": [
        {"claim": "x-ms-attestation-type", "equals": "sevsnpvm"},
        {"claim": "x-ms-compliance-status", "equals": "azure-compliant-uvm"},
        {"claim": "x-ms-sevsnpvm-hostdata", "equals": claims["x-ms-sevsnpvm-hostdata"]}]}]}
    ask("POST", f"{origin}/keys/k/create?api%2Dversion=7.4", {
        "kty": "EC-HSM", "crv": "P-256", "attributes": {"exportable": True},
        "release_policy": {"data": b64u(json.dumps(policy).encode())}}, bearer)
    for enc, digest in (("CKM_RSA_AES_KEY_WRAP", hashes.SHA1), ("RSA_AES_KEY_WRAP_256", hashes.SHA256),
                        ("RSA_AES_KEY_WRAP_384", hashes.SHA384)):
        token = ask("POST", f"{origin}/keys/k//release?api-version=7.4",
                    {"target": attestation, "enc": enc, "nonce": "n-" + enc}, bearer)["value"]
        chain = [base64.b64decode(c) for c in json.loads(unb64u(token.split(".")[0]))["x5c"]]
        leaf, issuer = (x509.load_der_x509_certificate(c) for c in chain[:2])
        header, payload = verify("release-" + service, token, jwk.JWK.from_pyca(leaf.public_key()))
        assert len(chain) == 3 and header["alg"] == "RS256"
        assert header["x5t#S256"] == b64u(hashlib.sha256(chain[0]).digest())
        assert header["kid"] == (header["x5t#S256"] if service == "hsm" else hashlib.sha1(chain[0]).hexdigest().upper())
        assert payload["request"]["nonce"] == "n-" + enc and payload["request"]["enc"] == enc
        released = payload["response"]["key"]["key"]
        private = serialization.load_der_private_key(unwrap(transport, released["key_hsm"], digest), None)
        numbers = private.public_key().public_numbers()
        assert (b64u(numbers.x.to_bytes(32, "big")), b64u(numbers.y.to_bytes(32, "big"))) == (released["x"], released["y"])
        save(f"release-{service}.leaf.pem", leaf.public_bytes(serialization.Encoding.PEM).decode())
        save(f"release-{service}.issuer.pem", issuer.public_bytes(serialization.Encoding.PEM).decode())


def main():
    transport = rsa.generate_private_key(65537, 2048)
    attestation, claims = attest(transport)
    release("vault", E["VAULT"], "https://vault.localhost", claims, attestation, transport)
    release("hsm", E["HSM"], "https://managedhsm.localhost", claims, attestation, transport)


main()
