#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# PostgreSQL: the server's key by a PEM-URI file, one login for all backends; libpq's client key by the engine.
. "$(dirname "$0")/../support/interop.sh"
need openssl systemd-socket-activate
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
[ -x "$bin/postgres" ] || { echo "postgresql is not installed"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "FAILED: the server does not run as $(id -un) and this test needs user postgres: run it as root"; exit 1; }
. "$SKR_TOP/tests/support/openssl-engine.sh"
. "$SKR_TOP/tests/support/openssl-provider.sh"
certificate rsa2048 '/CN=postgres'
certificate p256 '/CN=postgres'
engine_configuration engine.cnf
provider_configuration provider.cnf

# The server is nobody who may open the machine's devices: it asks the agent's service, as it would with systemd.
install -d -o postgres postgres
cp azure/ca.pem postgres/azure.pem
sed -i 's,^agent = .*,&\nagent_group = postgres,' "$SKR_PKCS11_CONF"
SKR_PKCS11_CONF=$SKR_PKCS11_CONF systemd-socket-activate --accept --inetd --setenv=SKR_PKCS11_CONF --listen="$SKR_RUN/agent.sock" \
	"$SKR_EMULATOR_DIR/skr-agent" >agent.log 2>&1 &
children+=($!)
for _ in {1..50}; do [ -S agent.sock ] || sleep 0.1; done
chmod 666 agent.sock
sed "s,^agent = .*,agent = unix:$SKR_RUN/agent.sock,; s,^log = .*,log = $SKR_RUN/postgres/skr-pkcs11.log,
	s,^ca_file = .*,ca_file = $SKR_RUN/postgres/azure.pem," "$SKR_PKCS11_CONF" >server.conf
chmod 644 postgres/azure.pem
data=$SKR_RUN/postgres/data
at_exit() { [ ! -e "$data/postmaster.pid" ] || kill -INT "$(head -1 "$data/postmaster.pid")"; }
as_postgres() { runuser -u postgres -- env SKR_PKCS11_CONF="$SKR_RUN/server.conf" OPENSSL_CONF="$SKR_RUN/provider.cnf" "$@"; }
check "a cluster is made" as_postgres "$bin/initdb" -D "$data" --auth=trust --no-sync --no-locale
cp ca.pem rsa2048.crt p256.crt "$data"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -CA ca.pem -CAkey ca.key -nodes -subj /CN=postgres -keyout client.key -out client.crt 2>/dev/null
for key in rsa2048 p256 nothing; do
	uri_pem "$(key_uri $key)" "$data/$key.key"
	chown postgres "$data/$key.key"
	chmod 600 "$data/$key.key"
done
cat >"$data/pg_hba.conf" <<END
local all all trust
hostssl all all 127.0.0.1/32 cert
END
port=$(free_port)
cat >>"$data/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$SKR_RUN/postgres'
fsync = off
ssl = on
ssl_ca_file = 'ca.pem'
include = 'key.conf'
END
ask_with_file() { # NAME : the same with a key in a file
	OPENSSL_CONF=/dev/null psql -At "$connection sslcert=$SKR_RUN/$1.crt sslkey=$SKR_RUN/$1.key" -c "$question"
}
use_key() { printf "ssl_cert_file = '%s.crt'\nssl_key_file = '%s.key'\n" "$1" "$1" >"$data/key.conf"; }
connection="host=localhost hostaddr=127.0.0.1 port=$port user=postgres dbname=postgres sslmode=verify-full sslrootcert=$SKR_RUN/ca.pem"
question='select version, client_dn from pg_stat_ssl where pid = pg_backend_pid()'
ask() { # KEY : a question over TLS, with a certificate and a key of the token
	OPENSSL_CONF=$SKR_RUN/engine.cnf psql -At "$connection sslcert=$SKR_RUN/$1.crt sslkey=pkcs11:$(key_uri "$1")" -c "$question"
}
ask_with_file() { # NAME : the same with a key in a file
	OPENSSL_CONF=/dev/null psql -At "$connection sslcert=$SKR_RUN/$1.crt sslkey=$SKR_RUN/$1.key" -c "$question"
}
use_key() { printf "ssl_cert_file = '%s.crt'\nssl_key_file = '%s.key'\n" "$1" "$1" >"$data/key.conf"; }
ask() { # KEY : a question over TLS, with the client's certificate and that key
	SKR_PKCS11_CONF=$SKR_PKCS11_CONF OPENSSL_CONF=$SKR_RUN/engine.cnf psql -At "host=localhost hostaddr=127.0.0.1 port=$port user=postgres dbname=postgres \
		sslmode=verify-full sslrootcert=$SKR_RUN/ca.pem sslcert=$SKR_RUN/$1.crt sslkey=pkcs11:$(key_uri "$1")" \
		-c "select version, client_dn from pg_stat_ssl where pid = pg_backend_pid()"
}
many() { # COMMAND… : twenty backends at once
	local pids=() pid
	for _ in {1..20}; do
		"$@" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid"; done
}
postgres() { as_postgres "$bin/postgres" -D "$data" "$@"; }

use_key rsa2048
released_before=$(releases)
postgres >postgres.log 2>&1 &
server=$!
children+=($server)
wait_for_port "$port" || { cat postgres.log; exit 1; }
check_releases 2
check_says "a connection" "TLSv1.3\|/CN=postgres" ask_with_file client
check "20 connections at once" many ask_with_file client
check_releases 0 # each is a process of its own, and none makes a login of its own
for key in rsa2048 p256; do
	check_says "libpq with its key in the token, $key" 'TLSv1.3\|/CN=postgres' ask $key
	check_releases 2
done

azure_refuses # which nobody notices: a reload asks nothing
use_key p256
kill -HUP "$(head -1 "$data/postmaster.pid")"
served_by_p256() { openssl s_client -starttls postgres -connect "127.0.0.1:$port" -CAfile ca.pem </dev/null 2>/dev/null | openssl x509 -noout -pubkey | cmp - p256.pem; }
for _ in {1..50}; do served_by_p256 >/dev/null 2>&1 && break || sleep 0.1; done
check "a reload takes the other key" served_by_p256
check "20 connections at once, with clients' certificates" many ask_with_file client
check_releases 0
check_refused "libpq says that it cannot load a key that is refused" 'could not read private SSL key|could not load private SSL key' ask p256
check_log "our log says why" 'SKR-331 .*no permission to release the key'
kill -INT "$(head -1 "$data/postmaster.pid")"
wait $server || true

# What goes wrong at a start.
check_refused "postgres does not start when Azure refuses the login" 'could not load private key file "p256.key"' postgres
check "our log says why" grep -q 'SKR-331 .*no permission to release the key' postgres/skr-pkcs11.log
azure_allows
cp "$data/rsa2048.crt" "$data/nothing.crt"
use_key nothing
check_refused "nor with a key that is not there" 'could not load private key file "nothing.key"' postgres
summary "PostgreSQL, libpq" "$(version_of "postgresql-$(basename "$(dirname "$bin")")")" \
	"server key by PEM-URI file, 40 backends, reload with another key; client key by URI (engine)"
