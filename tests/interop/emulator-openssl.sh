#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What the emulator signs, checked by the openssl command alone: the played chip's certificates and report, TLS, an
# attestation token, and the chain and signature of a release.
. "$(dirname "$0")/../support/interop.sh"
need openssl curl python3 od

azure=$SKR_EMULATOR_DIR

# decode_base64url < TEXT : either alphabet, with or without padding.
decode_base64url() {
	local text
	text=$(tr -d '\n=' | tr -- '-_' '+/')
	while [ $((${#text} % 4)) != 0 ]; do text="$text="; done
	printf %s "$text" | base64 -d
}

member() { # FILE EXPRESSION : what a JSON file has there, as Python writes it: ['keys'][0]['kid']
	python3 -c "import json, sys; print(json.load(open(sys.argv[1]))$2)" "$1"
}

number() { # FILE OFFSET LENGTH : little-endian bytes as a hexadecimal number
	od -An -v -tx1 -w1 -j "$2" -N "$3" "$1" | tac | tr -d ' \n'
}

# take_report FILE DATA : a report whose first 32 bytes of report data are SHA-256 of the file DATA, from the firmware's socket.
take_report() {
	python3 - "$azure/hardware.sock" "$1" "$2" <<-'END'
		import hashlib, socket, struct, sys
		where, report, data = sys.argv[1:]
		digest = hashlib.sha256(open(data, "rb").read()).digest()
		s = socket.socket(socket.AF_UNIX)
		s.connect(where)
		s.sendall(struct.pack("=III64s", 0x31524B53, 1, 0, digest))
		answer = b"".join(iter(lambda: s.recv(65536), b""))
		magic, status, size, table = struct.unpack("=IIII", answer[:16])
		assert (magic, status, size) == (0x31524B53, 0, 1184), (magic, status, size)
		open(report, "wb").write(answer[16:16 + size])
	END
}

# --- the played chip

check_says 'VCEK, ASK, ARK verify' 'vcek.pem: OK' \
	openssl verify -CAfile "$azure/amd-ark.pem" -untrusted "$azure/amd-ask.pem" "$azure/vcek.pem"
check_fails 'the VCEK does not verify under the TLS authority' \
	openssl verify -CAfile "$SKR_EMULATOR_CA" -untrusted "$azure/amd-ask.pem" "$azure/vcek.pem"
check_says 'certificates are signed as AMD signs them' 'Salt Length: 0x30' openssl x509 -in "$azure/vcek.pem" -noout -text

# A transport key, as JWK; the modulus printed by openssl.
openssl genrsa -out transport.key 2048 2>/dev/null
openssl rsa -in transport.key -noout -modulus | sed 's/.*=//' | python3 -c '
import base64, json, sys
n = base64.urlsafe_b64encode(bytes.fromhex(sys.stdin.read().strip())).rstrip(b"=").decode()
print(json.dumps({"keys": [{"kty": "RSA", "kid": "transport", "key_ops": ["encrypt"], "e": "AQAB", "n": n}]}), end="")' >runtime.json
take_report report.bin runtime.json

head -c 672 report.bin >signed.bin
printf 'asn1=SEQUENCE:s\n[s]\nr=INTEGER:0x%s\ns=INTEGER:0x%s\n' "$(number report.bin 672 48)" "$(number report.bin 744 48)" >signature.cnf
openssl asn1parse -genconf signature.cnf -noout -out signature.der
openssl x509 -in "$azure/vcek.pem" -noout -pubkey >vcek.pub
check_says 'the report verifies with the VCEK' 'Verified OK' \
	openssl dgst -sha384 -verify vcek.pub -signature signature.der signed.bin
byte=$(od -An -tu1 -j80 -N1 signed.bin)
printf "\\$(printf %o $((byte ^ 1)))" | dd of=signed.bin bs=1 seek=80 conv=notrunc status=none
check_fails 'a changed report does not verify' openssl dgst -sha384 -verify vcek.pub -signature signature.der signed.bin

# --- TLS

port=${SKR_EMULATOR_VAULT##*:}
for url in "$SKR_EMULATOR_VAULT" "$SKR_EMULATOR_HSM" "$SKR_EMULATOR_ATTESTATION" "$SKR_EMULATOR_LOGIN" \
	https://x.vault.azure.net:1 https://sharedneu.neu.attest.azure.net:1 https://login.microsoftonline.com:1; do
	host=${url#https://}
	host=${host%:*}
	check "TLS is good for $host" openssl s_client -connect "127.0.0.1:$port" -servername "$host" \
		-CAfile "$SKR_EMULATOR_CA" -verify_hostname "$host" -verify_return_error </dev/null
done
check_fails 'TLS is not good for another name' openssl s_client -connect "127.0.0.1:$port" \
	-CAfile "$SKR_EMULATOR_CA" -verify_hostname vault.example -verify_return_error </dev/null
check_fails 'TLS is not good without the authority' openssl s_client -connect "127.0.0.1:$port" \
	-verify_return_error -CAfile "$azure/amd-ark.pem" </dev/null

# --- the attestation token

# attest MORE : posts evidence for runtime.json; MORE is put into the body. Writes token.
attest() {
	local chain evidence
	chain=$(cat "$azure/vcek.pem" "$azure/amd-ask.pem" "$azure/amd-ark.pem" | base64url)
	evidence=$(printf '{"SnpReport":"%s","VcekCertChain":"%s","Endorsements":"%s"}' "$(base64url <report.bin)" "$chain" \
		"$(printf '{"Uvm":["%s"]}' "$(cat "$azure/security-context/reference-info-base64")" | base64url)" | base64url)
	printf '{"report":"%s","runtimeData":{"data":"%s","dataType":"JSON"}%s}' "$evidence" "$(base64url <runtime.json)" "$1" >body.json
	emulator_curl -H 'Content-Type: application/json' --data-binary @body.json \
		"$SKR_EMULATOR_ATTESTATION/attest/SevSnpVM?api-version=2020-10-01" >answer.json || return
	printf %s "$(member answer.json "['token']")" >token
}

# split_jws FILE : its parts as header.json, payload.json, signature.bin, signed.txt.
split_jws() {
	cut -d. -f1 "$1" | decode_base64url >header.json
	cut -d. -f2 "$1" | decode_base64url >payload.json
	cut -d. -f3 "$1" | decode_base64url >signature.bin
	cut -d. -f1,2 "$1" | tr -d '\n' >signed.txt
}

check 'evidence is attested' attest ',"nonce":18446744073709551615'
split_jws token
emulator_curl "$SKR_EMULATOR_ATTESTATION/certs" >certs.json
[ "$(member certs.json "['keys'][0]['kid']")" = "$(member header.json "['kid']")" ]
member certs.json "['keys'][0]['x5c'][0]" | base64 -d >signer.der
openssl x509 -inform DER -in signer.der -noout -pubkey >signer.pub
check_says 'the token verifies with the published certificate' 'Verified OK' \
	openssl dgst -sha256 -verify signer.pub -signature signature.bin signed.txt
[ "$(member payload.json "['nonce']")" = 18446744073709551615 ]
[ "$(member payload.json "['x-ms-compliance-status']")" = azure-compliant-uvm ]
check_fails 'a report for other data is not attested' eval 'echo >>runtime.json && attest ""'
truncate -s -1 runtime.json

# --- the release

# release VAULT KEY : the release JWS in jws, its certificates in leaf.pem, issuer.pem, root.pem.
release() {
	local number=0 name
	vault POST "$1/keys/$2/release" "{\"target\":\"$(cat token)\",\"enc\":\"RSA_AES_KEY_WRAP_256\"}" >released.json
	member released.json "['value']" >jws
	split_jws jws
	for name in leaf issuer root; do
		member header.json "['x5c'][$number]" | base64 -d | openssl x509 -inform DER -out "$name.pem"
		number=$((number + 1))
	done
}

check_release() { # VAULT KEY
	local host=${1#https://}
	attest ''
	check "a key of $host is released" release "$1" "$2"
	check_says "its chain verifies for $host" 'leaf.pem: OK' openssl verify -x509_strict -purpose sslserver \
		-verify_hostname "${host%:*}" -CAfile "$SKR_EMULATOR_CA" -untrusted issuer.pem leaf.pem
	openssl x509 -in leaf.pem -noout -pubkey >leaf.pub
	check_says 'its signature verifies' 'Verified OK' \
		openssl dgst -sha256 -verify leaf.pub -signature signature.bin signed.txt
}

check_release "$SKR_EMULATOR_VAULT" rsa2048
create_key "$SKR_EMULATOR_HSM" openssl RSA-HSM:2048
check_release "$SKR_EMULATOR_HSM" openssl
