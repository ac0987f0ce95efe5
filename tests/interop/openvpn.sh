#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# OpenVPN, server and client on loopback without a network device: names of keys, handshakes, restarts, a refused login.
. "$(dirname "$0")/../support/interop.sh"
need openvpn openssl
certificate rsa2048
certificate p256
rsa=$(key_id skr rsa2048) ec=$(key_id skr p256)
released_before=$(releases)

# What users write into their configurations depends on our configuration, and on nothing else.
names() { openvpn --show-pkcs11-ids "$module" | sed -n 's/.*Serialized id: *//p' | sort; }
names >names
serial=$(printf 'skr\n%s\n%s' "$SKR_EMULATOR_VAULT/keys/rsa2048" "$SKR_EMULATOR_VAULT/keys/p256" | sha256sum | cut -c1-16)
for id in $rsa $ec; do
	printf '%s\n' "skr\\x2Dpkcs11/Released\\x20keys/$serial/skr/${id^^}"
done | sort >expected
check "keys are named by manufacturer, model, serial number, token and CKA_ID" diff expected names
check "alike in another folder and with an empty environment" diff names <(cd / &&
	env -i PATH="$PATH" SKR_PKCS11_CONF="$SKR_PKCS11_CONF" module="$module" bash -c "$(declare -f names); names")
cp "$SKR_PKCS11_CONF" first.conf
{
	sed '/^\[token /,$d; s/^log_level = .*/log_level = info/' first.conf
	write_token before "key = $SKR_EMULATOR_VAULT/keys/fragile"
	sed -n '/^\[token skr\]/,/^$/p' first.conf | sed '/^allow_sha1/d'
} >"$SKR_PKCS11_CONF"
check "alike with another token before this one, and other settings" diff names <(names)
cp first.conf "$SKR_PKCS11_CONF"
check_releases 0

port=$(free_port)
configuration() { # NAME KEY LINES…
	local name=$1 id
	id=$(grep -i "/$2\$" names)
	shift 2
	cat >"$name.conf" <<-END
		dev null
		verb 3
		ca $SKR_RUN/ca.pem
		pkcs11-providers $module
		pkcs11-id '$id'
		pkcs11-protected-authentication 1
		log $SKR_RUN/$name.log
	END
	printf '%s\n' "$@" >>"$name.conf"
}
server() { configuration server "$1" "proto tcp-server" "local 127.0.0.1" "port $port" tls-server "dh none" "${@:2}"; }
client() { configuration client "$1" "proto tcp-client" "remote 127.0.0.1 $port" tls-client "connect-retry 1 1" "${@:2}"; }
start() { # NAME : sets NAME_pid
	openvpn --config "$1.conf" >"$1.out" 2>&1 </dev/null &
	eval "$1_pid=$!"
	children+=($!)
}
shows() { # NAME COUNT TEXT : waits until its log has so many of it
	local tries=0
	until [ "$(grep -c -- "$3" "$1.log" 2>/dev/null)" -ge "$2" ]; do
		[ $((tries += 1)) -lt 600 ] || { cat "$1.log"; return 1; }
		sleep 0.1
	done
}
connected() { shows server "$1" 'Initialization Sequence Completed' && shows client "$1" 'Initialization Sequence Completed'; }
end() {
	kill "$server_pid" "$client_pid"
	wait "$server_pid" "$client_pid" || true
	rm -f server.log client.log # what the next two say is not to be taken from these
}

server "$rsa"
client "$ec"
start server
start client
check "a server with an RSA key, a client with an EC key" connected 1
check_says "in TLS 1.3" 'Control Channel: TLSv1.3' cat server.log
check_releases 4
kill -USR1 "$client_pid"
check "they connect again after SIGUSR1" connected 2
kill -HUP "$client_pid"
check "and after SIGHUP, which loads everything anew" connected 3
check_releases 0
end
server "$ec" 'tls-version-max 1.2'
client "$rsa"
start server
start client
check "a server with an EC key, a client with an RSA key" connected 1
check_says "in TLS 1.2" 'Control Channel: TLSv1.2' cat server.log
check_releases 4
end

log_seen=$(wc -l <skr-pkcs11.log)
azure_refuses
server "$rsa"
client "$ec"
start server
start client
check "a login that Azure refuses fails the handshake, not the server" shows server 1 'TLS handshake failed'
check_log "our log says why" 'SKR-331 .*no permission to release the key'
azure_allows
check "the same server and client connect once Azure allows it" connected 1
end
sed -i "s,/[0-9A-Fa-f]*'$,/01'," client.conf
check_fails "a name that no key has stops OpenVPN" openvpn --config client.conf
check_says "with a clear word" 'Cannot load certificate .*/01" using PKCS#11' cat client.log
sed -i s,/skr-pkcs11.so,/missing.so, client.conf
check_fails "and so does a missing module" openvpn --config client.conf
check_says "with its name" 'missing.so' cat client.log
summary "OpenVPN" "$(version_of openvpn)" "server and client, TLS 1.2 and 1.3, restarts"
