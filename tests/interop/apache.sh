#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Apache httpd: RSA and EC keys of the token at once, through the engine and through the provider; children of another user; reloads.
. "$(dirname "$0")/../support/interop.sh"
need apache2 curl openssl
. "$SKR_TOP/tests/support/openssl-engine.sh"
. "$SKR_TOP/tests/support/openssl-provider.sh"
. "$SKR_TOP/tests/support/print-config.sh"
certificate rsa2048
certificate p256
engine_configuration engine.cnf
provider_configuration provider.cnf
for key in rsa2048 p256; do key_file $key; done
uri_pem "$(key_uri nothing)" nothing.uri.pem
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -CA ca.pem -CAkey ca.key -nodes -subj /CN=client -keyout client.key -out client.crt 2>/dev/null
echo "hello from httpd" >index.html
user=$([ "$(id -u)" = 0 ] && echo www-data || id -un)

group=$(id -gn $user)

lines() { # WAY [KEY] : what print-config prints, with a file of the key in our folder
	local key=${2:-rsa2048} file=()
	[ "$1" = engine ] || file=(--key-file "$SKR_RUN/$key.uri.pem")
	printed apache "--$1" --key "${key/nothing/rsa2048}" "${file[@]}" | sed "s/object=rsa2048/object=${key}/"
}
configure() { # WAY PORT [KEY]
	local key name
	{
		printf '%s\n' "ServerRoot $SKR_RUN" "DefaultRuntimeDir $SKR_RUN" "ServerName localhost" "Listen 127.0.0.1:$2" "PidFile $SKR_RUN/$1.pid" \
			"ErrorLog $SKR_RUN/$1.log" "User $user" "Group $group" "DocumentRoot $SKR_RUN"
		for name in mpm_event authz_core dir ssl; do
			echo "LoadModule ${name}_module /usr/lib/apache2/modules/mod_$name.so"
		done
		printf '%s\n' "StartServers 3" "MinSpareThreads 50" "ThreadsPerChild 25" "SSLCACertificateFile $SKR_RUN/ca.pem" \
			"SSLVerifyClient optional"
		lines "$1" | part 'outside all virtual hosts'
		for key in ${3:-rsa2048 p256}; do lines "$1" "$key" | part 'in the virtual host'; done
	} >"$1.conf"
}
start() { # WAY PORT : httpd with $WAY.conf
	OPENSSL_CONF=$SKR_RUN/$1.cnf apache2 -f "$SKR_RUN/$1.conf" -DFOREGROUND >"$1.out" 2>&1 &
	server=$!
	children+=($server)
	wait_for_port "$2" || { cat "$1.log" "$1.out"; exit 1; }
}
does_not_start() { # WAY : neither by itself nor by a signal; what it said is printed
	local status=0
	rm -f "$1.log"
	OPENSSL_CONF=$SKR_RUN/$1.cnf timeout 20 apache2 -f "$SKR_RUN/$1.conf" -DFOREGROUND || status=$?
	cat "$1.log"
	return $status
}
get() { # RSA|ECDSA PORT [curl's arguments…] : one handshake of TLS 1.2 with that kind of key
	curl --silent --show-error --max-time 20 --cacert ca.pem --tls-max 1.2 --ciphers "ECDHE-$1-AES128-GCM-SHA256" "https://localhost:$2/" "${@:3}"
}
handshakes() { # FILE PORT : until FILE.stop is there; counts into FILE
	local good=0 bad=0
	until [ -e "$1.stop" ]; do
		for kind in RSA ECDSA; do get $kind "$2" >/dev/null 2>>"$1.err" && good=$((good + 1)) || bad=$((bad + 1)); done
	done
	echo "$good good, $bad bad" >"$1"
}

declare -A no_key=([engine]='private key was not found at: pkcs11:token=skr;object=nothing' [provider]='check .*/nothing.uri.pem')
declare -A no_login=([engine]='Login to token failed' [provider]='check .*/rsa2048.uri.pem')
for way in engine provider; do
	port=$(free_port)
	configure $way "$port"
	released_before=$(releases)
	start $way "$port"
	for kind in RSA ECDSA; do
		check_says "$way: TLS 1.2 with the $kind key" 'hello from httpd' get $kind "$port"
		check_says "$way: with the client's certificate" 'hello from httpd' get $kind "$port" --cert client.crt --key client.key
	done
	check_says "$way: TLS 1.3" 'hello from httpd' curl -sS --cacert ca.pem --tlsv1.3 "https://localhost:$port/"
	check "its children are $user's" test "$(ps -o user:20= --ppid $server | sort -u)" = $user
	check_releases 2 # read twice, three children, one login

	handshakes load "$port" &
	load=$!
	children+=($load)
	azure_refuses # which nobody notices: a reload asks nothing
	for _ in 1 2 3; do
		kill -USR1 $server
		sleep 1.5
	done
	azure_allows
	touch load.stop
	wait $load
	check_says "$way: no handshake fails in three reloads" '^[0-9]+ good, 0 bad' cat load
	rm load.stop
	check "every reload succeeded" test "$(grep -c 'resuming normal operations' $way.log)" = 4
	check_releases 0
	kill $server
	wait $server || true

	# What goes wrong at a start; a reload cannot meet the second.
	configure $way "$port" nothing
	check_refused "$way: httpd does not start with a key that is not there" "${no_key[$way]}" does_not_start $way
	azure_refuses
	configure $way "$port"
	check_refused "$way: nor when Azure refuses the login" "${no_login[$way]}" does_not_start $way
	check_log "our log says why" 'SKR-331 .*no permission to release the key'
	azure_allows
done
summary "Apache httpd" "$(version_of apache2-bin)" \
	"RSA and EC keys at once by engine and by PEM-URI file, client certificates, three reloads under load"
