#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# OpenSSL through libp11's engine: dgst, pkeyutl, req, cms, s_server, s_client; also with the engine as the default one (I-21, C-17).
. "$(dirname "$0")/../support/interop.sh"
. "$SKR_TOP/tests/support/print-config.sh"
need openssl
certificate rsa2048
certificate p256
configuration() { # DEFAULT-ALGORITHMS
	engine_configuration engine.cnf
	sed -i "s/^init = 0/${1:+default_algorithms = $1\\n}&/" engine.cnf
	printf '%s\n' '[req]' 'distinguished_name = names' '[names]' >>engine.cnf
}
export OPENSSL_CONF=$SKR_RUN/engine.cnf
head -c 1000 /dev/urandom >text
for default in '' ALL; do
	configuration "$default"
	for key in rsa2048 p256; do
		uri="pkcs11:token=skr;object=$key;type=private"
		check "dgst with $key${default:+, engine as default}" openssl dgst -engine pkcs11 -keyform engine -sign "$uri" -sha256 -out text.sig text
		check "verified without the engine" env OPENSSL_CONF=/dev/null openssl dgst -sha256 -verify $key.pem -signature text.sig text
		check "a request by $key" openssl req -new -engine pkcs11 -keyform engine -key "$uri" -subj /CN=token -out token.csr
		check "verified" env OPENSSL_CONF=/dev/null openssl req -in token.csr -verify -noout
		check "cms by $key" openssl cms -sign -engine pkcs11 -keyform engine -inkey "$uri" -signer $key.crt -in text -out text.cms -outform DER -binary -nodetach
		check "verified" env OPENSSL_CONF=/dev/null openssl cms -verify -inform DER -in text.cms -CAfile ca.pem -purpose any -binary -out /dev/null
	done
	echo secret >plain
	env OPENSSL_CONF=/dev/null openssl pkeyutl -encrypt -pubin -inkey rsa2048.pem -in plain -out box
	check "pkeyutl decrypts" openssl pkeyutl -decrypt -engine pkcs11 -keyform engine -inkey 'pkcs11:token=skr;object=rsa2048;type=private' -in box -out opened
	check "to what was encrypted" cmp plain opened
done
configuration ''
for key in rsa2048 p256; do
	for version in -tls1_2 -tls1_3; do
		port=$(free_port)
		# The first connection is the probe of wait_for_port.
		openssl s_server -engine pkcs11 -keyform engine -key "pkcs11:token=skr;object=$key;type=private" -cert $key.crt \
			-CAfile ca.pem -Verify 1 -accept "127.0.0.1:$port" -naccept 2 -quiet </dev/null >"server$version.log" 2>&1 &
		children+=($!)
		wait_for_port "$port" || { cat "server$version.log"; exit 1; }
		check_says "s_client and s_server with $key, $version" 'Verification: OK' \
			openssl s_client -engine pkcs11 -keyform engine -key "pkcs11:token=skr;object=$key;type=private" -cert $key.crt \
			-connect "127.0.0.1:$port" -CAfile ca.pem $version -brief </dev/null
	done
done
summary "OpenSSL engine" "$(version_of libengine-pkcs11-openssl)" "dgst, req, cms, pkeyutl, s_server, s_client; as default engine"
