# SPDX-License-Identifier: Apache-2.0
"""Microsoft's SDK for Python (Debian's python3-azure), unmodified, against the emulator.

emulator_azure_sdk.py ATTESTATION-TOKEN-FILE  addresses come from the environment.
"""
import json
import os
import socket
import sys

E = {k[len("SKR_EMULATOR_"):]: v for k, v in os.environ.items() if k.startswith("SKR_EMULATOR_")}
os.environ["REQUESTS_CA_BUNDLE"] = E["CA"]
os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = E["IMDS"]
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *a, **k: resolve("127.0.0.1" if str(host).endswith("localhost") else host, *a, **k)

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import CertificateCredential, ClientSecretCredential, ManagedIdentityCredential
from azure.keyvault.certificates import CertificateClient, CertificateContentType, CertificatePolicy
from azure.keyvault.keys import KeyClient, KeyReleasePolicy
from azure.keyvault.secrets import SecretClient

SCOPE = "https://vault.localhost/.default"
LOGIN = {"authority": E["LOGIN"], "instance_discovery": False}
# The SDK compares the challenge's resource with host and port; with a port they never fit.
CHALLENGE = {"verify_challenge_resource": False}


def refused(kind, call, *words):
    try:
        call()
    except kind as error:
        assert all(word in str(error) for word in words), str(error)
        return
    raise AssertionError(f"not refused: {words}")


def credentials():
    for credential in (ClientSecretCredential(E["TENANT"], E["CLIENT"], E["CLIENT_SECRET"], **LOGIN),
                       CertificateCredential(E["TENANT"], E["CLIENT"], os.path.join(E["DIR"], "client.pem"), **LOGIN)):
        assert credential.get_token(SCOPE).token.count(".") == 2
    wrong = ClientSecretCredential(E["TENANT"], E["CLIENT"], "wrong", **LOGIN)
    refused(ClientAuthenticationError, lambda: wrong.get_token(SCOPE), "AADSTS7000215")
    return ManagedIdentityCredential(client_id=E["CLIENT"])


def keys(origin, credential, attestation):
    client = KeyClient(origin, credential, **CHALLENGE)
    policy = KeyReleasePolicy(json.dumps({"version": "1.0.0", "anyOf": [{"authority": E["ATTESTATION"], "allOf": [
        {"claim": "x-ms-attestation-type", "equals": "sevsnpvm"}]}]}).encode())
    key = client.create_rsa_key("sdk", size=2048, hardware_protected=True, exportable=True, release_policy=policy)
    assert key.properties.exportable and json.loads(key.properties.release_policy.encoded_policy)["version"] == "1.0.0"
    assert client.get_key("sdk").id == key.id
    client.create_ec_key("sdk-ec", curve="P-384", hardware_protected=True)
    client.rotate_key("sdk")
    assert len(list(client.list_properties_of_key_versions("sdk", max_page_size=1))) == 2
    assert {"sdk", "sdk-ec"} <= {p.name for p in client.list_properties_of_keys()}
    assert client.update_key_properties("sdk", tags={"a": "b"}, release_policy=policy).properties.tags == {"a": "b"}
    assert client.release_key("sdk", attestation, nonce="x").value.count(".") == 2
    refused(HttpResponseError, lambda: client.release_key("sdk", "a.b.c"), "(Forbidden)", "cannot be verified")
    refused(ResourceNotFoundError, lambda: client.get_key("none"), "(KeyNotFound)")
    client.begin_delete_key("sdk").wait()
    client.begin_recover_deleted_key("sdk").wait()
    client.begin_delete_key("sdk").wait()
    client.purge_deleted_key("sdk")


def main():
    credential = credentials()
    with open(sys.argv[1]) as file:
        attestation = file.read()
    keys(E["VAULT"], credential, attestation)
    keys(E["HSM"], credential, attestation)
    secrets = SecretClient(E["VAULT"], credential, **CHALLENGE)
    secrets.set_secret("s", "v", content_type="text/plain")
    assert secrets.get_secret("s").value == "v"
    certificates = CertificateClient(E["VAULT"], credential, **CHALLENGE)
    with open(os.path.join(E["DIR"], "client.pem"), "rb") as file:
        certificates.import_certificate("c", file.read(), policy=CertificatePolicy(content_type=CertificateContentType.pem))
    assert len(certificates.get_certificate("c").properties.x509_thumbprint) == 20


main()
