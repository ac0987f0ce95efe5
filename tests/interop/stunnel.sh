#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# stunnel: the server's key and the client's in the token, through the engine and through the provider; many connections, one login.
. "$(dirname "$0")/../support/interop.sh"
need stunnel4 openssl python3
. "$SKR_TOP/tests/support/openssl-engine.sh"
. "$SKR_TOP/tests/support/openssl-provider.sh"
. "$SKR_TOP/tests/support/print-config.sh"
certificate rsa2048
certificate p256
engine_configuration engine.cnf
provider_configuration provider.cnf
for key in rsa2048 p256; do key_file $key; done

# What is behind the tunnel: says hello to everybody.
behind=$(free_port)
python3 -c '
import socketserver, sys
class Hello(socketserver.BaseRequestHandler):
    def handle(self): self.request.recv(64); self.request.sendall(b"hello from behind\n")
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Hello).serve_forever()' "$behind" &
children+=($!)
wait_for_port "$behind"

tunnel() { # NAME ENGINE|PROVIDER KEY LINES… : starts stunnel with that key
	local name=$1 way=$2 key=$3 file=()
	shift 3
	[ "$way" = engine ] || file=(--key-file "$SKR_RUN/$key.uri.pem")
	{
		echo "foreground = yes"
		echo "pid ="
		echo "output = $SKR_RUN/$name.log"
		printed stunnel "--$way" --key "${key/nothing/rsa2048}" "${file[@]}" |
			sed "s/^\\[.*\\]/[$name]/; /^accept = /d; /^connect = /d; s/object=rsa2048/object=$key/"
		printf '%s\n' "$@"
	} >"$name.conf"
	local conf=/dev/null
	[ "$way" != provider ] || conf=$SKR_RUN/provider.cnf
	OPENSSL_CONF=$conf stunnel4 "$name.conf" >"$name.out" 2>&1 &
	children+=($!)
}
all() {
	local pids=() pid
	rm -f hellos
	for _ in {1..20}; do
		hello "$client" >>hellos &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid"; done
}
# The client speaks first: stunnel 5.68 waits for ever, now and then, when all that comes lies in what the handshake has read already.
hello() { python3 -c '
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
s.sendall(b"hello\n")
print(s.makefile().readline(), end="")' "$1"; }

verify=("CAfile = $SKR_RUN/ca.pem" "verifyChain = yes")
for way in engine provider; do
	for key in rsa2048 p256; do
		released_before=$(releases)
		server=$(free_port)
		client=$(free_port)
		tunnel "server-$way-$key" $way $key "accept = 127.0.0.1:$server" "connect = 127.0.0.1:$behind" "${verify[@]}"
		wait_for_port "$server" || { cat "server-$way-$key."*; exit 1; }
		tunnel "client-$way-$key" $way $key "client = yes" "accept = 127.0.0.1:$client" "connect = 127.0.0.1:$server" "${verify[@]}"
		wait_for_port "$client" || { cat "client-$way-$key."*; exit 1; }
		check_says "a word through two tunnels, $way, $key" 'hello from behind' hello "$client"
		check "20 at once" all
		check "all of them got through" test "$(grep -c 'hello from behind' hellos)" = 20
		check_releases 4 # server and client, two keys each
	done
done

# What goes wrong at a start.
does_not_start() { # WAY KEY
	local status=0
	tunnel refused "$1" "$2" "accept = 127.0.0.1:$(free_port)" "connect = 127.0.0.1:$behind"
	wait "${children[-1]}" || status=$?
	unset 'children[-1]'
	cat refused.out
	return $status
}
cp rsa2048.crt nothing.crt
check_refused "a key that is not there" 'private key was not found at: pkcs11:token=skr;object=nothing' does_not_start engine nothing
azure_refuses
check_refused "a login that Azure refuses, engine" 'Login to token failed' does_not_start engine p256
check_log "our log says why" 'SKR-331 .*no permission to release the key'
check_refused "a login that Azure refuses, provider" 'p256.uri.pem' does_not_start provider p256
check_log "our log says why" 'SKR-331 .*no permission to release the key'
azure_allows
summary "stunnel" "$(version_of stunnel4)" "server and client keys by engine and by PEM-URI file, 20 connections at once"
