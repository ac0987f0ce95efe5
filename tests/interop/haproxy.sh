#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# haproxy: RSA and EC keys of the token by PEM-URI files, in a worker of another user, in a chroot; reloads, also refused ones.
. "$(dirname "$0")/../support/interop.sh"
need haproxy curl openssl
. "$SKR_TOP/tests/support/openssl-engine.sh"
. "$SKR_TOP/tests/support/openssl-provider.sh"
. "$SKR_TOP/tests/support/print-config.sh"
certificate rsa2048
certificate p256
provider_configuration provider.cnf
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -CA ca.pem -CAkey ca.key -nodes -subj /CN=client -keyout client.key -out client.crt 2>/dev/null
certificate_and_key() { # CERTIFICATE KEY FILE
	if [ "$2" = nothing ]; then uri_pem "$(key_uri nothing)" nothing.uri.pem; else key_file "$2"; fi
	cat "$1.crt" "$2.uri.pem" >"$3"
}
certificate_and_key rsa2048 rsa2048 both.pem.rsa
certificate_and_key p256 p256 both.pem.ecdsa

port=$(free_port)
mkdir -p empty
configure() { # FILE : haproxy as Debian configures it, with a certificate from that file
	cat >haproxy.cfg <<-END
		global
		    $([ "$(id -u)" != 0 ] || printf '%s\n    ' "user haproxy" "group haproxy" "chroot $SKR_RUN/empty")
		    nbthread 2
		    ssl-default-bind-options ssl-min-ver TLSv1.2
		defaults
		    mode http
		    timeout connect 5s
		    timeout client 20s
		    timeout server 20s
		$(printed haproxy --key rsa2048 --key-file "$1" |
		sed "s,bind :443 .*,& ca-file $SKR_RUN/ca.pem verify optional,; s,bind :443,bind 127.0.0.1:$port,")
		    http-request return status 200 content-type text/plain string "hello from haproxy"
	END
}
get() { # RSA|ECDSA [curl's arguments…] : one handshake of TLS 1.2 with that kind of key
	curl --silent --show-error --max-time 20 --cacert ca.pem --tls-max 1.2 --ciphers "ECDHE-$1-AES128-GCM-SHA256" "https://localhost:$port/" "${@:2}"
}
proxy() { OPENSSL_CONF=$SKR_RUN/provider.cnf haproxy -f haproxy.cfg "$@"; }
reload() { # WORD : the master's answer after it
	local before tries=0
	sleep 0.5 # the master that has just said so does not hear a signal yet
	before=$(grep -c "$1" haproxy.log || true)
	kill -USR2 $server
	until [ "$(grep -c "$1" haproxy.log)" -gt "$before" ]; do
		[ $((tries += 1)) -lt 150 ] || return 1
		sleep 0.1
	done
}
handshakes() { # FILE : until FILE.stop is there; counts into FILE
	local good=0 bad=0
	until [ -e "$1.stop" ]; do
		for kind in RSA ECDSA; do get $kind >/dev/null 2>>"$1.err" && good=$((good + 1)) || bad=$((bad + 1)); done
	done
	echo "$good good, $bad bad" >"$1"
}

configure "$SKR_RUN/both.pem"
released_before=$(releases)
check "haproxy finds its configuration good" proxy -c
check_releases 2
OPENSSL_CONF=$SKR_RUN/provider.cnf haproxy -W -f haproxy.cfg -p haproxy.pid >haproxy.log 2>&1 &
server=$!
children+=($server)
wait_for_port "$port" || { cat haproxy.log; exit 1; }
for kind in RSA ECDSA; do
	check_says "TLS 1.2 with the $kind key" 'hello from haproxy' get $kind
	check_says "with the client's certificate" 'hello from haproxy' get $kind --cert client.crt --key client.key
done
check_says "TLS 1.3" 'hello from haproxy' curl -sS --cacert ca.pem --tlsv1.3 "https://localhost:$port/"
check_releases 2 # the worker has them from the process that started it

# A reload starts the program again in the same process, so it is a login.
handshakes load &
load=$!
children+=($load)
for _ in 1 2; do check "reload" reload 'Loading success'; done
check_releases 4
azure_refuses
check "Azure refuses a reload" reload 'Loading failure'
check "haproxy names the file" grep -q "No Private Key found in '$SKR_RUN/both.pem.rsa" haproxy.log
check_log "our log says why" 'SKR-331 .*no permission to release the key'
check_says "and the old worker serves on" 'hello from haproxy' get RSA
azure_allows
check "a later reload" reload 'Loading success'
check_releases 2
touch load.stop
wait $load
check_says "no handshake failed in all of it" '^[0-9]+ good, 0 bad' cat load
kill $server
wait $server || true

# What goes wrong at a start.
azure_refuses
check_refused "haproxy does not start when Azure refuses the login" "No Private Key found in '$SKR_RUN/both.pem.rsa" proxy
check_log "our log says why" 'SKR-331 .*no permission to release the key'
azure_allows
certificate_and_key rsa2048 nothing nothing.pem
configure "$SKR_RUN/nothing.pem"
check_refused "nor with a key that is not there" "No Private Key found in '$SKR_RUN/nothing.pem" proxy
certificate_and_key p256 rsa2048 other.pem
configure "$SKR_RUN/other.pem"
check_refused "nor with the certificate of another key" "inconsistencies between private key and certificate" proxy
summary "haproxy" "$(version_of haproxy)" "RSA and EC keys at once by PEM-URI files, client certificates, chroot, reloads, a refused reload"
