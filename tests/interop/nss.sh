#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# NSS and its tools: modutil, certutil, CMS signed and decrypted, a TLS server and a TLS client certificate.
. "$(dirname "$0")/../support/interop.sh"
need modutil certutil cmsutil selfserv tstclnt openssl
db=sql:$SKR_RUN/db
certificate rsa2048
certificate p256
echo hello >text
mkdir db
check "a database without a password" certutil -N -d $db --empty-password
check "modutil adds the module" modutil -dbdir $db -add skr -libfile "$module" -force
check_says "modutil shows its tokens" 'token=skr;manufacturer=skr-pkcs11' modutil -dbdir $db -list
check "the test authority is trusted" certutil -A -d $db -n authority -t CT,C,C -i ca.pem
released_before=$(releases)

# Each of these programs is a process of its own, and logs in once, for two keys.
check_says "certutil -L lists the certificates, as those of a user with the key" 'skr:rsa2048 +u,u,u' certutil -L -d $db -h skr
check_releases 2
check_says "certutil -K lists the keys" 'rsa .* rsa2048' certutil -K -d $db -h skr
check_says "certutil -K lists both of them" 'ec .* p256' certutil -K -d $db -h skr
check_releases 4
for key in rsa2048 p256; do
	check_says "the certificate of $key is valid" 'certificate is valid' certutil -V -d $db -n skr:$key -u V
	check "CMS signed with $key" cmsutil -S -d $db -N skr:$key -G -H SHA256 -i text -o signed.der
	check_says "NSS verifies it" '^hello$' cmsutil -D -d $db -i signed.der
	check_says "openssl verifies it" '^hello$' openssl cms -verify -inform DER -in signed.der -CAfile ca.pem -purpose any
done
openssl cms -encrypt -aes256 -binary -in text -outform DER -out boxed.der rsa2048.crt
check_releases 8 # for each key certutil and cmsutil -S; verifying needs no login
check_says "CMS that openssl encrypted to rsa2048 is decrypted" '^hello$' cmsutil -D -d $db -i boxed.der
check_releases 3 # NSS looks for the key in every token, and so logs in to "faulty" as well

printf 'GET / HTTP/1.0\r\n\r\n' >request
for key in rsa2048 p256; do
	port=$(free_port)
	selfserv -d $db -n skr:$key -p "$port" -V tls1.2:tls1.3 -rr </dev/null >"server-$key.log" 2>&1 &
	server=$!
	children+=($server)
	wait_for_port "$port" || { cat "server-$key.log"; exit 1; }
	for version in tls1.2 tls1.3; do
		check_says "a server and a client with $key, $version" '200 OK' \
			timeout 60 tstclnt -d $db -h localhost -p "$port" -n skr:$key -V $version:$version <request
	done
	check_releases 7 # each client 2, the server once for both: 2, and 1 where it looks for the key of the client's certificate in every token
	check_fails "without the client's key the server does not answer" \
		timeout 60 openssl s_client -connect "localhost:$port" -CAfile ca.pem -tls1_2 </dev/null
	check_releases 0
	kill $server
done

check_fails "a wrong name of a key is refused" cmsutil -S -d $db -N skr:nosuch -i text -o signed.der
check_refused "a token whose release is refused lists no key" 'could not authenticate to token other' certutil -K -d $db -h other
check_log "and the log says why" "key elsewhere: its policy needs"
summary "NSS" "$(version_of libnss3-tools)" "modutil, certutil, CMS sign, verify and decrypt, TLS 1.2 and 1.3 server and client"
