#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# p11-kit: the module as a registered one, found with no option; through its proxy; through its server, from another process.
. "$(dirname "$0")/../support/interop.sh"
need p11-kit p11tool pkcs11-tool openssl
. "$SKR_TOP/tests/support/registered.sh" "$@"
library=$(dirname "$(find /usr/lib -name p11-kit-proxy.so | head -1)")
proxy=$library/p11-kit-proxy.so
certificate rsa2048
certificate p256
released_before=$(releases)
head -c 1000 /dev/urandom >text

check_says "p11-kit lists the module and its tokens" '^ +token: skr' p11-kit list-modules
check_says "p11tool lists the token with no option" 'Label: skr' p11tool --list-tokens
check_says "and still the system's own authorities" 'Label: System Trust' p11tool --list-tokens
check_says "and certificates and public keys" 'object=p256;type=public' p11tool --list-all 'pkcs11:token=skr'
check_releases 0
check_says "private keys after login" 'object=rsa2048;type=private' p11tool --login --list-all 'pkcs11:token=skr'
check_releases 2
for key in rsa2048 p256; do
	check "test-sign with $key" p11tool --login --test-sign "pkcs11:token=skr;object=$key;type=private"
	check_releases 2
done

check_says "the proxy shows the token" 'token label *: skr' pkcs11-tool --module "$proxy" -L
check_releases 0
released_before=$(releases)
rsa=$(key_id skr rsa2048) ec=$(key_id skr p256)
released_before=$(releases)
sign() { # WORD MODULE : pkcs11-tool signs and decrypts by MODULE
	local tool=(pkcs11-tool --module "$2" --token-label skr --login)
	check "$1 signs SHA256-RSA-PKCS" "${tool[@]}" --sign -m SHA256-RSA-PKCS --id "$rsa" -i text -o text.sig
	check "openssl verifies it" openssl dgst -sha256 -verify rsa2048.pem -signature text.sig text
	openssl dgst -sha256 -binary text >hash
	check "$1 signs RSA-PKCS-PSS" "${tool[@]}" --sign -m RSA-PKCS-PSS --hash-algorithm SHA256 --id "$rsa" -i hash -o text.sig
	check "openssl verifies it" openssl dgst -sha256 -verify rsa2048.pem -sigopt rsa_padding_mode:pss -signature text.sig text
	check "$1 signs ECDSA" "${tool[@]}" --sign -m ECDSA --signature-format openssl --id "$ec" -i hash -o text.sig
	check "openssl verifies it" openssl dgst -sha256 -verify p256.pem -signature text.sig text
	echo secret >plain
	openssl pkeyutl -encrypt -pubin -inkey rsa2048.pem -in plain -out box
	check "$1 decrypts RSA-PKCS" "${tool[@]}" --decrypt -m RSA-PKCS --id "$rsa" -i box -o opened
	check "to what was encrypted" cmp plain opened
	check_releases 8 # four processes, two keys each
}
sign "the proxy" "$proxy" # p11tool has p11-kit in itself, which refuses its own proxy

# Each client of the server has a process of its own at the server, and so a login of its own.
p11-kit server --provider "$module" -n "$SKR_RUN/server.sock" -f 'pkcs11:token=skr' >server.out 2>&1 &
children+=($!)
for _ in {1..50}; do [ -S server.sock ] || sleep 0.1; done
export P11_KIT_SERVER_ADDRESS=unix:path=$SKR_RUN/server.sock
client=$library/pkcs11/p11-kit-client.so
check_says "the client shows the token of the server" 'token label *: skr' pkcs11-tool --module "$client" -L
check "and no other" test "$(grep -c 'token label' check.out)" = 1
check_releases 0
sign "the server" "$client"
check "p11tool signs by the server" p11tool --provider "$client" --login --test-sign 'pkcs11:token=skr;object=p256;type=private'
check_releases 2
summary "p11-kit" "$(version_of p11-kit)" "registered module with p11-kit and p11tool; proxy; server and client"
