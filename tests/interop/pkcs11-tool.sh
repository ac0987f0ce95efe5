#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# OpenSC's pkcs11-tool: listing, every mechanism it can sign with, decryption, its own tests.
. "$(dirname "$0")/../support/interop.sh"
need pkcs11-tool openssl
tool() { pkcs11-tool --module "$module" --token-label skr "$@"; }

check_says "slots are listed" 'token label *: skr' pkcs11-tool --module "$module" -L
check_says "mechanisms are listed" 'RSA-PKCS-PSS' pkcs11-tool --module "$module" -M
check_releases 0
check_says "objects are listed" 'Private Key Object; RSA' tool --login -O
check_releases 2
public_key rsa2048
public_key p256
rsa=$(key_id skr rsa2048) ec=$(key_id skr p256)
head -c 1000 /dev/urandom >text
for hash in 224 256 384 512; do
	check "SHA$hash-RSA-PKCS" tool --login --sign -m SHA$hash-RSA-PKCS --id "$rsa" -i text -o text.sig
	check "openssl verifies it" openssl dgst -sha$hash -verify rsa2048.pem -signature text.sig text
	check "ECDSA-SHA$hash" tool --login --sign -m ECDSA-SHA$hash --signature-format openssl --id "$ec" -i text -o text.sig
	check "openssl verifies it" openssl dgst -sha$hash -verify p256.pem -signature text.sig text
done
check "SHA1-RSA-PKCS, where the configuration allows it" tool --login --sign -m SHA1-RSA-PKCS --id "$rsa" -i text -o text.sig
for hash in 256 384 512; do
	check "SHA$hash-RSA-PKCS-PSS" tool --login --sign -m SHA$hash-RSA-PKCS-PSS --id "$rsa" -i text -o text.sig
	check "openssl verifies it" openssl dgst -sha$hash -verify rsa2048.pem -sigopt rsa_padding_mode:pss -signature text.sig text
	openssl dgst -sha$hash -binary text >hash
	check "RSA-PKCS-PSS of a SHA$hash digest" tool --login --sign -m RSA-PKCS-PSS --hash-algorithm SHA$hash --id "$rsa" -i hash -o text.sig
	check "openssl verifies it" openssl dgst -sha$hash -verify rsa2048.pem -sigopt rsa_padding_mode:pss -signature text.sig text
done
openssl dgst -sha256 -binary text >hash
check "ECDSA of a digest" tool --login --sign -m ECDSA --signature-format openssl --id "$ec" -i hash -o text.sig
check "openssl verifies it" openssl pkeyutl -verify -pubin -inkey p256.pem -in hash -sigfile text.sig

echo secret >plain
openssl pkeyutl -encrypt -pubin -inkey rsa2048.pem -in plain -out box
check "RSA-PKCS decrypts" tool --login --decrypt -m RSA-PKCS --id "$rsa" -i box -o opened
check "to what was encrypted" cmp plain opened
for hash in sha1 sha256 sha384 sha512; do
	openssl pkeyutl -encrypt -pubin -inkey rsa2048.pem -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:$hash \
		-pkeyopt rsa_mgf1_md:$hash -in plain -out box
	name=$(tr a-z A-Z <<<$hash)
	[ $hash != sha1 ] || name=SHA-1
	check "OAEP with $hash decrypts" tool --login --decrypt -m RSA-PKCS-OAEP --hash-algorithm "$name" --mgf "MGF1-${name/SHA-1/SHA1}" \
		--id "$rsa" -i box -o opened
	check "to what was encrypted" cmp plain opened
done
check_says "its own tests find nothing wrong" 'No errors' tool --login --test --allow-sw
check "its fork test" tool --login --test-fork
check "its thread test" pkcs11-tool --module "$module" --test-threads ILGISLT0 --test-threads ILGISLT0 --test-threads IN -L
summary "pkcs11-tool" "$(version_of opensc)" "list, sign with every mechanism, decrypt, its own tests"
