#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# curl: the client's key is in the token, named by URI through the engine, or by a PEM-URI file through the provider.
. "$(dirname "$0")/../support/interop.sh"
need curl openssl
. "$SKR_TOP/tests/support/openssl-engine.sh"
. "$SKR_TOP/tests/support/openssl-provider.sh"
. "$SKR_TOP/tests/support/print-config.sh"
certificate rsa2048 '/CN=client rsa2048'
certificate p256 '/CN=client p256'
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -addext 'subjectAltName=DNS:localhost' \
	-keyout server.key -out server.crt 2>/dev/null

port=$(free_port)
OPENSSL_CONF=/dev/null openssl s_server -accept "127.0.0.1:$port" -cert server.crt -key server.key -CAfile ca.pem -Verify 1 \
	-verify_return_error -www >server.log 2>&1 &
children+=($!)
wait_for_port "$port"
get() { curl --silent --show-error --max-time 20 --cacert server.crt "$@" "https://localhost:$port/"; }
check_fails "without a certificate there is no answer" get
released_before=$(releases)

engine_configuration engine.cnf
export OPENSSL_CONF=$SKR_RUN/engine.cnf
for key in rsa2048 p256; do
	for version in '--tlsv1.2 --tls-max 1.2' --tlsv1.3; do
		printed curl --engine --key $key >curl.conf
		check_says "engine, $key, $version" "Subject: CN=client $key" get $version --config curl.conf
		check_releases 2
	done
done
check_says "the certificate from a file" 'Subject: CN=client p256' get --cert p256.crt --key "$(key_uri p256)"
check_says "the engine named" 'Subject: CN=client p256' get --engine pkcs11 --cert p256.crt --key-type ENG --key "$(key_uri p256)"
check_says "a PIN in the URI is no harm" 'Subject: CN=client p256' get --cert p256.crt --key "$(key_uri p256)?pin-value=1234"
released_before=$(releases)
check_refused "a key that is not there" 'private key was not found at: pkcs11:token=skr;object=nothing' \
	get --cert p256.crt --key "$(key_uri nothing)"
check_refused "a token that is not there" 'No matching initialized token was found' \
	get --cert p256.crt --key 'pkcs11:token=nowhere;object=p256;type=private'
check_refused "the key of another certificate" 'does not match the certificate' get --cert p256.crt --key "$(key_uri rsa2048)"
azure_refuses
check_refused "a login that Azure refuses" 'Login to token failed' get --cert p256.crt --key "$(key_uri p256)"
check_log "our log says why" 'SKR-331 .*no permission to release the key'
azure_allows
released_before=$(releases)

provider_configuration provider.cnf
export OPENSSL_CONF=$SKR_RUN/provider.cnf
for key in rsa2048 p256; do
	key_file $key
	printed curl --provider --key $key --key-file "$SKR_RUN/$key.uri.pem" >curl.conf
	for version in '--tlsv1.2 --tls-max 1.2' --tlsv1.3; do
		check_says "provider, $key, $version" "Subject: CN=client $key" get $version --config curl.conf
		check_releases 2
	done
done
summary "curl" "$(version_of curl)" "client key and certificate by URI (engine), client key by PEM-URI file (provider), TLS 1.2 and 1.3"
