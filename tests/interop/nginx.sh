#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# nginx with the engine of libp11: RSA and EC keys, workers of another user that inherit the keys, a reload.
. "$(dirname "$0")/../support/interop.sh"
need nginx openssl
engine=$(echo /usr/lib/*/engines-3/pkcs11.so)
[ -e "$engine" ] || { echo "libengine-pkcs11-openssl is not installed"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "needs root, so that workers are another user"; exit 77; }
certificate rsa2048
certificate p256
# One token alone, as people have it: a program that opens every token must not wait for others here.
sed -i '/^\[token [^s]/,$d' "$SKR_PKCS11_CONF"
sed "s,^dynamic_path = .*,dynamic_path = $engine,; s,^MODULE_PATH = .*,MODULE_PATH = $module," \
	"$SKR_TOP/conf/examples/openssl-engine.cnf" >engine.cnf
port=$(free_port)
# The example of the documents, with this machine's paths, two workers, and one server per key.
{
	echo "daemon off; worker_processes 2; user nobody nogroup; pid $SKR_RUN/nginx.pid; error_log $SKR_RUN/nginx.log;"
	sed "s,listen 443 ssl,listen 127.0.0.1:$port ssl,; s,/etc/ssl/certs/www.pem,$SKR_RUN/rsa2048.crt,
		s,token=web;object=www,token=skr;object=rsa2048,
		/ssl_certificate /{p;s,rsa2048,p256,;}
		/ssl_certificate_key/{p;s,rsa2048,p256,;}
		s,^http {,http { access_log off;," "$SKR_TOP/conf/examples/nginx.conf"
} >nginx.conf
before=$(releases || true)
OPENSSL_CONF=$SKR_RUN/engine.cnf nginx -p "$SKR_RUN" -c "$SKR_RUN/nginx.conf" >nginx.out 2>&1 &
server=$!
children+=($server)
wait_for_port "$port" || { cat nginx.out nginx.log; exit 1; }

handshake() { # ARGUMENTS… : one handshake that verifies the server
	OPENSSL_CONF=/dev/null openssl s_client -connect "127.0.0.1:$port" -servername localhost -CAfile ca.pem -verify_return_error "$@" </dev/null
}
for version in 1_2 1_3; do
	case $version in
	1_2) rsa="-cipher ECDHE-RSA-AES128-GCM-SHA256" ec="-cipher ECDHE-ECDSA-AES128-GCM-SHA256" ;;
	*) rsa="-sigalgs rsa_pss_rsae_sha256" ec="-sigalgs ecdsa_secp256r1_sha256" ;;
	esac
	for round in 1 2 3 4; do # both workers get some
		check_says "TLS $version with the RSA key, $round" 'Verify return code: 0' handshake -tls$version $rsa
		check_says "TLS $version with the EC key, $round" 'Verify return code: 0' handshake -tls$version $ec
	done
done
check "two keys were released once, not once per worker" test $(($(releases) - ${before:-0})) = 2
kill -HUP $server
sleep 1
check_says "after a reload" 'Verify return code: 0' handshake -tls1_3
check "a reload releases nothing again" test $(($(releases) - ${before:-0})) = 2
kill $server
wait $server || true
check_fails "nothing crashed" grep -qE 'exited on signal|alert' nginx.log
