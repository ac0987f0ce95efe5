#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# GnuTLS and its tools: listing, signing, a TLS server and a TLS client certificate.
. "$(dirname "$0")/../support/interop.sh"
need p11tool gnutls-serv gnutls-cli certtool openssl
tool() { p11tool --provider "$module" "$@"; }

check_says "the token is listed without login" 'Label: skr' tool --list-tokens
check_releases 0
check_says "private keys are listed after login" 'object=rsa2048;type=private' tool --login --list-all 'pkcs11:token=skr'
check_releases 2 # two keys, one login, whatever p11tool opens and closes
for key in rsa2048 p256; do
	check "test-sign with $key" tool --login --test-sign "pkcs11:token=skr;object=$key;type=private"
done
certificate rsa2048
certificate p256
released_before=$(releases)
check_says "objects are listed without login" 'object=p256;type=public' tool --list-all 'pkcs11:token=skr'
check_releases 0
check_says "certificates are visible before login" 'object=p256;type=cert' tool --list-all-certs 'pkcs11:token=skr'
for key in rsa2048 p256; do
	check "the certificate named $key is exported" tool --export "pkcs11:token=skr;object=$key;type=cert" --outfile exported.crt
	check "and is that of the key" cmp <(openssl x509 -in exported.crt -noout -pubkey) $key.pem
done
check "certtool makes a request signed by the token" certtool --provider "$module" --generate-request --no-text \
	--load-privkey 'pkcs11:token=skr;object=p256;type=private' --template /dev/stdin --outfile request.csr <<<'cn = "token"'
check "openssl verifies that request" openssl req -in request.csr -verify -noout

for key in rsa2048 p256; do
	port=$(free_port)
	gnutls-serv --echo --port "$port" --provider "$module" --x509certfile $key.crt --x509cafile ca.pem --require-client-cert \
		--x509keyfile "pkcs11:token=skr;object=$key;type=private" </dev/null >"serv-$key.log" 2>&1 &
	children+=($!)
	wait_for_port "$port"
	check_says "TLS 1.3 with $key on both sides" 'Handshake was completed' \
		gnutls-cli --provider "$module" --x509cafile ca.pem --x509certfile $key.crt \
		--x509keyfile "pkcs11:token=skr;object=$key;type=private" --priority NORMAL:-VERS-ALL:+VERS-TLS1.3 \
		--port "$port" localhost </dev/null
	check_fails "without the client's key there is no handshake" timeout 10 \
		openssl s_client -connect "127.0.0.1:$port" -CAfile ca.pem -tls1_2 </dev/null
done
summary "p11tool, GnuTLS" "$(version_of gnutls-bin)" "list, test-sign, certtool, TLS 1.3 server and client"
