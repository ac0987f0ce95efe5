# SPDX-License-Identifier: Apache-2.0
# Run by pykcs11.sh as: pykcs11.py MODULE STEP
import hashlib
import os
import sys
import threading

import PyKCS11 as p

TEXT = b"hello"


def slot_of(label):
    return {lib.getTokenInfo(slot).label.strip(): slot for slot in lib.getSlotList(tokenPresent=True)}[label]


def open_token(label, flags=p.CKF_SERIAL_SESSION):
    return lib.openSession(slot_of(label), flags)


def find(session, kind, label):
    (found,) = session.findObjects([(p.CKA_CLASS, kind), (p.CKA_LABEL, label)])
    return found


def write(name, data):
    with open(name, "wb") as file:
        file.write(bytes(data))


def listing():
    session = open_token("skr")
    assert session.findObjects([(p.CKA_CLASS, p.CKO_PRIVATE_KEY)]) == []
    for kind in p.CKO_CERTIFICATE, p.CKO_PUBLIC_KEY:
        for label in "rsa2048", "p256":
            assert find(session, kind, label).to_dict()["CKA_LABEL"] == label
    token = lib.getTokenInfo(slot_of("skr"))
    assert "CKF_PROTECTED_AUTHENTICATION_PATH" in token.flags2text(), token
    assert "CKM_ECDSA" in lib.getMechanismList(slot_of("skr"))
    assert "CKF_SIGN" in lib.getMechanismInfo(slot_of("skr"), "CKM_ECDSA").flags2text()


def keys():
    session = open_token("skr")
    session.login(None)
    for label in "rsa2048", "p256":
        key, public = (find(session, kind, label) for kind in (p.CKO_PRIVATE_KEY, p.CKO_PUBLIC_KEY))
        attributes = key.to_dict()
        assert attributes["CKA_ID"] == public.to_dict()["CKA_ID"] != ()
        assert attributes["CKA_SENSITIVE"] and attributes["CKA_PRIVATE"] and attributes["CKA_TOKEN"]
        assert attributes["CKA_COPYABLE"] == (0,)  # this version does not know that it is a truth value
    rsa, rsa_public = find(session, p.CKO_PRIVATE_KEY, "rsa2048"), find(session, p.CKO_PUBLIC_KEY, "rsa2048")
    ec, ec_public = find(session, p.CKO_PRIVATE_KEY, "p256"), find(session, p.CKO_PUBLIC_KEY, "p256")

    pss = p.RSA_PSS_Mechanism(p.CKM_SHA256_RSA_PKCS_PSS, p.CKM_SHA256, p.CKG_MGF1_SHA256, 32)
    pkcs1 = p.Mechanism(p.CKM_SHA256_RSA_PKCS)
    for mechanism in pkcs1, pss:
        signature = session.sign(rsa, TEXT, mechanism)
        assert session.verify(rsa_public, TEXT, signature, mechanism)
        assert not session.verify(rsa_public, b"other", signature, mechanism)
    write("rsa.sig", session.sign(rsa, TEXT, pkcs1))
    write("pss.sig", session.sign(rsa, TEXT, pss))
    for mechanism, data in (p.CKM_ECDSA_SHA256, TEXT), (p.CKM_ECDSA, hashlib.sha256(TEXT).digest()):
        signature = session.sign(ec, data, p.Mechanism(mechanism))
        assert len(signature) == 64 and session.verify(ec_public, data, signature, p.Mechanism(mechanism))

    for mechanism in p.Mechanism(p.CKM_RSA_PKCS), p.RSAOAEPMechanism(p.CKM_SHA256, p.CKG_MGF1_SHA256):
        box = session.encrypt(rsa_public, TEXT, mechanism)
        assert bytes(session.decrypt(rsa, box, mechanism)) == TEXT
    assert bytes(session.digest(TEXT, p.Mechanism(p.CKM_SHA256))) == hashlib.sha256(TEXT).digest()
    assert session.generateRandom(32) != session.generateRandom(32)

    def sign_often():
        own = open_token("skr")
        for _ in range(50):
            assert own.verify(ec_public, TEXT, own.sign(ec, TEXT, p.Mechanism(p.CKM_ECDSA_SHA256)), p.Mechanism(p.CKM_ECDSA_SHA256))
            signed.append(True)

    signed = []
    threads = [threading.Thread(target=sign_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(signed) == 200

    # A child that initialises and logs in again, as multiprocessing programs do.
    child = os.fork()
    if child == 0:
        try:
            lib.lib.C_Initialize()
            session = open_token("skr")
            session.login(None)
            key, public = find(session, p.CKO_PRIVATE_KEY, "rsa2048"), find(session, p.CKO_PUBLIC_KEY, "rsa2048")
            os._exit(0 if session.verify(public, TEXT, session.sign(key, TEXT, pss), pss) else 2)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    # Closing the last session is a logout that keeps the keys for a while; whatever PIN comes next is fine.
    for pin in "", "any":
        lib.closeAllSessions(slot_of("skr"))
        session = open_token("skr", p.CKF_SERIAL_SESSION | p.CKF_RW_SESSION)
        session.login(pin)


def refused():
    session = open_token("skr")
    try:
        session.login(None)
    except p.PyKCS11Error as error:
        print(error)
        sys.exit(1)


def missing():
    try:
        open_token("nosuch")
    except KeyError as error:
        print("no token", error)
        sys.exit(1)


lib = p.PyKCS11Lib()
lib.load(sys.argv[1])
globals()[sys.argv[2]]()
