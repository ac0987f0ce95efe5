#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Java's SunPKCS11: keytool, jarsigner, signing and verifying in the token, threads, TLS servers and clients.
. "$(dirname "$0")/../support/interop.sh"
. "$SKR_TOP/tests/support/print-config.sh"
need java javac jar keytool jarsigner openssl
certificate rsa2048
certificate p256
printed java >p11.cfg
token=other printed java >other.cfg
sed "s,^library = .*,library = $SKR_RUN/missing.so," p11.cfg >missing.cfg
on_token() { # PROGRAM CONFIGURATION ARGUMENTS…
	local program=$1 file=$2
	shift 2
	"$program" -keystore NONE -storetype PKCS11 -providerClass sun.security.pkcs11.SunPKCS11 -providerArg "$SKR_RUN/$file" "$@" </dev/null
}
verified() { # JAR
	jarsigner -verify -keystore trust.p12 -storepass public "$1" >verified.out
	cat verified.out
	! grep -q 'chain is invalid' verified.out
}
check "the test program is compiled" javac -Xlint:all -Werror -d . "$SKR_TOP/tests/interop/java/Token.java"
keytool -importcert -noprompt -file ca.pem -alias authority -keystore trust.p12 -storepass public >/dev/null 2>&1
released_before=$(releases)

check_says "keytool lists the keys, without a password" 'contains 2 entries' on_token keytool p11.cfg -protected -list
check_releases 2
check_says "any password will do" 'contains 2 entries' on_token keytool p11.cfg -storepass any -list
check_releases 2
check "keytool makes a request" on_token keytool p11.cfg -storepass any -certreq -alias rsa2048 -file request.csr
check "openssl verifies it" openssl req -in request.csr -verify -noout
echo data >data
jar cf plain.jar data
for key in rsa2048 p256; do
	check "jarsigner signs with $key" on_token jarsigner p11.cfg -protected -signedjar $key.jar plain.jar $key
	check_says "jarsigner verifies, and trusts" '^jar verified\.$' verified $key.jar
done
check_releases 6

export CLASSPATH=$SKR_RUN
check "sign and verify in the token, decrypt, threads, TLS 1.2 and 1.3" java Token p11.cfg ca.pem last
check_releases 2
check "the same with the token before all other providers" java Token p11.cfg ca.pem first
check_releases 2

openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=client -keyout client.key -out client.csr 2>/dev/null
openssl x509 -req -in client.csr -CA ca.pem -CAkey ca.key -days 30 -out client.crt 2>/dev/null
for key in rsa2048 p256; do
	java Token p11.cfg ca.pem serve $key >port-$key 2>server.log &
	children+=($!)
	server=$!
	tries=0
	until [ -s port-$key ]; do
		[ $((tries += 1)) -lt 300 ] || { cat server.log; exit 1; }
		sleep 0.1
	done
	for version in -tls1_2 -tls1_3; do
		check_says "openssl with a client certificate reads from a Java server with $key, $version" '^hello' \
			openssl s_client -connect "127.0.0.1:$(cat port-$key)" -CAfile ca.pem -verify_return_error -cert client.crt -key client.key $version -quiet </dev/null
	done
	kill $server
	check_releases 2
done

check_refused "a token whose release is refused lists nothing" 'CKR_FUNCTION_FAILED|load failed' on_token keytool other.cfg -protected -list
check_log "our log says why" 'key elsewhere: its policy needs'
check_refused "a missing module is named" 'missing.so' on_token keytool missing.cfg -protected -list
summary "Java SunPKCS11" "$(version_of openjdk-17-jdk-headless)" "keytool, jarsigner, sign, verify, decrypt, threads, TLS 1.2 and 1.3 server and client"
