#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The played TD's quotes, checked by the openssl command alone: the PCK certificates' chain, the signatures of the quoting
# enclave's report and of the quote, what binds the one to the other; the metadata service's quote and its attestation; and
# configfs-tsm as an unmodified program sees it.
. "$(dirname "$0")/../support/interop.sh"
need openssl curl python3

azure=$SKR_EMULATOR_DIR
preload=$SKR_BUILD/src/skr-guest-preload.so

# split_quote QUOTE VERSION NAME : its parts as NAME.* , signatures as DER, the attestation key as PEM.
split_quote() {
	python3 - "$@" <<-'END'
		import base64, hashlib, struct, sys
		quote, version, name = open(sys.argv[1], "rb").read(), int(sys.argv[2]), sys.argv[3]
		body = {4: 48 + 584, 5: 48 + 6 + 648}[version]
		assert struct.unpack_from("<HHI", quote) == (version, 2, 0x81)
		size, = struct.unpack_from("<I", quote, body)
		signature = quote[body + 4:body + 4 + size]
		assert not any(quote[body + 4 + size:]), "zero bytes at the end"
		assert struct.unpack_from("<HI", signature, 128) == (6, size - 134)
		qe = signature[134:]
		auth, = struct.unpack_from("<H", qe, 448)
		kind, length = struct.unpack_from("<HI", qe, 450 + auth)
		assert (kind, length) == (5, len(qe) - 456 - auth)
		assert qe[320:384] == hashlib.sha256(signature[64:128] + qe[450:450 + auth]).digest() + bytes(32)

		def integer(data):
		    data = data.lstrip(b"\0")
		    data = b"\0" + data if data[0] & 0x80 else data
		    return b"\2" + bytes([len(data)]) + data
		def der(raw):
		    pair = integer(raw[:32]) + integer(raw[32:])
		    return b"\x30" + bytes([len(pair)]) + pair
		def write(what, data):
		    open(name + what, "wb").write(data)
		write(".signed", quote[:body])
		write(".signature", der(signature[:64]))
		write(".qe", qe[:384])
		write(".qe-signature", der(qe[384:448]))
		spki = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200" "04") + signature[64:128]
		write(".key", b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(spki) + b"-----END PUBLIC KEY-----\n")
		end = b"-----END CERTIFICATE-----\n"
		certificates = [c + end for c in qe[456 + auth:].rstrip(b"\0").split(end)[:-1]]
		assert len(certificates) == 3
		for what, certificate in zip((".pck", ".platform", ".root"), certificates):
		    write(what, certificate)
		print(quote[48 + (6 if version == 5 else 0):][520:584].hex())
	END
}

# check_quote NAME : OpenSSL's word on every signature of the parts.
check_quote() {
	check_says "$1: PCK certificate, platform CA, root verify" "$1.pck: OK" \
		openssl verify -x509_strict -CAfile "$azure/intel-root.pem" -untrusted "$1.platform" "$1.pck"
	check_fails "$1: the PCK certificate does not verify under the TLS authority" \
		openssl verify -CAfile "$SKR_EMULATOR_CA" -untrusted "$1.platform" "$1.pck"
	openssl x509 -in "$1.pck" -noout -pubkey >"$1.pck-key"
	check_says "$1: the PCK key signed the enclave's report" 'Verified OK' \
		openssl dgst -sha256 -verify "$1.pck-key" -signature "$1.qe-signature" "$1.qe"
	check_says "$1: the attestation key signed the quote" 'Verified OK' \
		openssl dgst -sha256 -verify "$1.key" -signature "$1.signature" "$1.signed"
	printf x >>"$1.signed"
	check_fails "$1: and nothing else" openssl dgst -sha256 -verify "$1.key" -signature "$1.signature" "$1.signed"
}

# --- configfs-tsm

cat >guest.py <<'END'
import os, sys
entry = "/sys/kernel/config/tsm/report/interop"
os.mkdir(entry)
def take(name):
    fd = os.open(entry + "/" + name, os.O_RDONLY)
    data = b"".join(iter(lambda: os.read(fd, 4096), b""))
    os.close(fd)
    return data
def ask(question):
    fd = os.open(entry + "/inblob", os.O_WRONLY)
    os.write(fd, question)
    os.close(fd)
    return take("outblob")
assert take("provider") == b"tdx_guest\n"
assert sorted(n for n in os.listdir(entry) if n[0] != ".") == ["generation", "inblob", "outblob", "provider"]
try:
    ask(b"too short")
    sys.exit("a question of 9 bytes was answered")
except OSError as error:
    assert error.errno == 22, error
open(sys.argv[1], "wb").write(ask(b"i" * 64))
assert take("generation") == b"2\n"
os.rmdir(entry)
END
guest() { LD_PRELOAD=$preload SKR_GUEST_SOCKET=$azure/hardware.sock SKR_GUEST_DEVICES=configfs-tdx python3 guest.py "$1"; }
check 'a program gets a quote from configfs-tsm' guest tsm.quote
split_quote tsm.quote 4 tsm >tsm.data
check 'which answers its question' grep -qx "$(printf 'i%.0s' {1..64} | od -An -v -tx1 | tr -d ' \n')" tsm.data
check_quote tsm

# --- attestation of that quote

url=$SKR_EMULATOR_ATTESTATION/attest/TdxVm?api-version=2023-04-01-preview
python3 - <<'END'
import base64, json
quote = base64.urlsafe_b64encode(open("tsm.quote", "rb").read()).rstrip(b"=").decode()
json.dump({"quote": quote, "runtimeData": {"data": "", "dataType": "JSON"}}, open("attest.json", "w"))
json.dump({"quote": "A" + quote[1:]}, open("wrong.json", "w"))
END
post() { curl -sS --fail-with-body --cacert "$SKR_EMULATOR_CA" -H 'Content-Type: application/json' -d "@$1" "$url" -o "$2"; }
check 'the quote is attested' post attest.json answer.json
check 'the token says so' python3 - <<'END'
import base64, json
token = json.load(open("answer.json"))["token"].split(".")
claims = json.loads(base64.urlsafe_b64decode(token[1] + "=="))
assert claims["x-ms-attestation-type"] == "tdxvm" and claims["tdx_report_data"] == "69" * 64, claims
assert "x-ms-runtime" not in claims and claims["tdx_td_attributes_debug"] is False, claims
END
check_fails 'a quote that is none is refused' post wrong.json refused.json

# --- the metadata service

check_refused 'a report with another MAC gets no quote' '400' \
	curl -sS --fail -H 'Content-Type: application/json' -d "{\"report\":\"$(head -c 1024 /dev/zero | base64 -w0)\"}" \
	"$SKR_EMULATOR_IMDS/acc/tdquote"
