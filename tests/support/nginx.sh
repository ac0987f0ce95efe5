# SPDX-License-Identifier: Apache-2.0
# Sourced after interop.sh: nginx with the token's RSA and EC keys, daemonised, its workers another user.

# key_line KEY MODE : what stands after ssl_certificate_key, as the documents have it.
key_line() {
	case $2 in
	engine) echo "\"engine:pkcs11:pkcs11:token=skr;object=$1;type=private\"" ;;
	file) echo "$SKR_RUN/$1.uri.pem" ;;
	store) echo "\"store:pkcs11:token=skr;object=$1;type=private\"" ;;
	plain) echo "$SKR_RUN/$1.key" ;; # the measure of all others
	esac
}

# What makes nginx use the token: in the block of the program, and for each key in that of a server.
nginx_main_lines() { # MODE
	[ "$1" != engine ] || echo 'ssl_engine pkcs11;'
	echo 'env OPENSSL_CONF;'
}
nginx_server_lines() { # KEY MODE
	echo "ssl_certificate     $SKR_RUN/$1.crt;"
	echo "ssl_certificate_key $(key_line "$1" "$2");"
}

# nginx_configuration MODE WORKERS PORT [LINES…] : nginx.conf here; LINES go into the server's block.
nginx_configuration() {
	local mode=$1 workers=$2 port=$3 http2_listen='' http2_line='' temporary
	shift 3
	if nginx -v 2>&1 | grep -q 'nginx/1\.2[0-4]'; then http2_listen=' http2'; else http2_line='http2 on;'; fi
	cat >nginx.conf <<-END
		$(nginx_main_lines "$mode")
		env SKR_PKCS11_CONF;
		user www-data;
		worker_processes $workers;
		pid $SKR_RUN/nginx.pid;
		error_log $SKR_RUN/nginx.log;
		events {
		}
		http {
			access_log off;
			$(for temporary in client_body proxy fastcgi uwsgi scgi; do echo "${temporary}_temp_path $SKR_RUN/nginx-$temporary;"; done)
			server {
				listen 127.0.0.1:$port ssl$http2_listen;
				$http2_line
				$(nginx_server_lines rsa2048 "$mode")
				$(nginx_server_lines p256 "$mode")
				ssl_protocols       TLSv1.2 TLSv1.3;
				ssl_client_certificate $SKR_RUN/ca.pem;
				ssl_verify_client   optional;
				default_type        text/plain;
				location / {
					return 200 "\$pid\n";
				}
				location /client {
					return 200 "\$ssl_client_verify \$ssl_client_s_dn \$server_protocol\n";
				}
				$(printf '%s\n' "$@")
			}
		}
	END
}

# nginx_run ARGUMENTS… : nginx in our folder; what it says before it reads its configuration goes to nginx.log too.
nginx_run() { "$(command -v nginx)" -p "$SKR_RUN" -c "$SKR_RUN/nginx.conf" -e "$SKR_RUN/nginx.log" "$@"; }

nginx_master() { cat nginx.pid; }

# nginx_workers [MASTER] : those that accept connections.
nginx_workers() { pgrep -P "${1:-$(nginx_master)}" -f 'nginx: worker process$' || true; }

wait_until() { # TEXT COMMAND… : up to ten seconds
	local text=$1 tries=0
	shift
	until "$@" >/dev/null 2>&1; do
		[ $((tries += 1)) -lt 200 ] || { echo "FAILED: never: $text"; exit 1; }
		sleep 0.05
	done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

nginx_stop() {
	local master
	[ -s nginx.pid ] || return 0
	master=$(nginx_master)
	kill -QUIT "$master"
	wait_until "nginx ends" gone "$master"
}

tls_load=$SKR_BUILD/tests/bench/tls_load
value_of() { sed -n "s/.* $1=\([0-9]*\).*/\1/p" load.out; }

# under_load TEXT COMMAND… : no handshake fails while the command runs.
under_load() {
	local text=$1 status=0 loader
	shift
	"$tls_load" -s 900 -t 8 -a ca.pem "$port" >load.out 2>load.err &
	loader=$!
	children+=($loader)
	sleep 0.5
	check "$text" "$@"
	sleep 0.5
	kill -INT "$loader"
	wait "$loader" || status=$?
	[ "$status" = 0 ] || { echo "FAILED: handshakes failed: $text"; cat load.out load.err nginx.log; exit 1; }
	echo "ok: meanwhile $(sed 's/ .*//' load.out), none failed"
}

reload() { # waits until the workers are new ones
	local before
	before=$(nginx_workers | sort)
	kill -HUP "$(nginx_master)"
	wait_until "new workers" eval '[ -n "$(nginx_workers)" ] && [ -z "$(comm -12 <(nginx_workers | sort) <(echo "$before"))" ]'
}

reload_often() { # N
	local i
	for i in $(seq "$1"); do
		reload
	done
}

# The program file is started again by the old master, and takes over its sockets.
upgrade() {
	local old
	old=$(nginx_master)
	kill -USR2 "$old"
	wait_until "a second master" eval '[ -s nginx.pid.oldbin ] && [ -s nginx.pid ] && [ "$(cat nginx.pid)" != '"$old"' ]'
	wait_until "its workers" eval '[ -n "$(nginx_workers)" ]'
	kill -QUIT "$old"
	wait_until "the old master ends" gone "$old"
}

# every_worker_is_fast WORKERS : the first handshake in a worker is where a login of its own would be seen.
every_worker_is_fast() {
	local tries=0
	reload
	check "$1 workers' first handshakes" "$tls_load" -a ca.pem -n 800 -t 32 "$port"
	cp check.out load.out
	cat load.out
	[ "$(value_of processes)" = "$1" ] || { echo "FAILED: not every worker had one"; exit 1; }
	[ "$(value_of first_median_ms)" -lt 400 ] || { echo "FAILED: the first handshake of a worker is slow"; exit 1; }
	echo "ok: the first handshake of every worker is fast"
}

# check_nginx MODE RELEASES : all of it; RELEASES of one login (two keys).
check_nginx() {
	local mode=$1 kind version
	port=$(free_port)
	nginx_configuration "$mode" 2 "$port"
	: >nginx.log
	check "nginx starts, $mode" nginx_run
	wait_for_port "$port" || { cat nginx.log; exit 1; }
	check_releases 2
	check_says "its workers are another user" '^www-data' ps -o user= -p "$(nginx_workers | head -1)"
	# Whatever comes now, up to the binary upgrade, comes without an agent that could log in again.
	mv "$SKR_EMULATOR_DIR/skr-agent" "$SKR_EMULATOR_DIR/skr-agent.away"
	for version in 1.2 1.3; do
		for kind in rsa ec; do
			check_says "TLS $version with the $kind key" 'failed=0 ' "$tls_load" -a ca.pem -n 50 -t 4 -v $version -k $kind "$port"
		done
	done
	check_says "a client certificate, HTTP/2" 'SUCCESS CN=client HTTP/2.0' env OPENSSL_CONF=/dev/null \
		curl -sS --http2 --cacert ca.pem --cert client.pem "https://localhost:$port/client"
	check_says "no client certificate, HTTP/1.1" 'NONE  HTTP/1.1' env OPENSSL_CONF=/dev/null \
		curl -sS --http1.1 --cacert ca.pem "https://localhost:$port/client"
	under_load "20 reloads under load" reload_often 20
	nginx_configuration "$mode" 8 "$port"
	under_load "8 workers by a reload" reload
	check "they are 8" test "$(nginx_workers | wc -l)" = 8
	every_worker_is_fast 8
	under_load "3 reloads with 8 workers" reload_often 3
	mv "$SKR_EMULATOR_DIR/skr-agent.away" "$SKR_EMULATOR_DIR/skr-agent"
	check_releases 0 # for all of that
	under_load "a binary upgrade" upgrade
	check_releases 2 # by the new program
}

stop_all() {
	local child
	for child in "${children[@]:-}"; do
		[ -z "$child" ] || kill "$child" 2>/dev/null || true
	done
	nginx_stop
}

# prepare_nginx : the certificates of the token's keys, and a client's.
prepare_nginx() {
	need nginx curl pgrep pkcs11-tool python3
	[ "$(id -u)" = 0 ] || { echo "nginx needs root, so that its workers are another user"; exit 77; }
	[ -x "$tls_load" ] || ninja -C "$SKR_BUILD" tls_load >ninja.log || { cat ninja.log; exit 1; }
	certificate rsa2048
	certificate p256
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=client -keyout client.key -out client.csr 2>/dev/null
	openssl x509 -req -in client.csr -CA ca.pem -CAkey ca.key -days 30 -out client.crt 2>/dev/null
	cat client.crt client.key >client.pem
	openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout stranger.key -out stranger.crt 2>/dev/null
	released_before=$(releases)
	trap stop_all EXIT
}

# other_key KEY-LINE [CERTIFICATE] : nginx.conf with another RSA key than the one that is served.
other_key() { sed -i "0,/ssl_certificate_key .*/s||ssl_certificate_key $1;|; 0,/rsa2048.crt/s||${2:-rsa2048}.crt|" nginx.conf; }

says() { # TEXT PATTERN FILE
	grep -qE -- "$2" "$3" || { echo "FAILED: $1: no \"$2\" in"; cat "$3"; exit 1; }
	echo "ok: $1"
}

# check_nginx_mistakes MODE : what nginx shows, and what our log adds; the server of check_nginx still runs.
check_nginx_mistakes() {
	local mode=$1 workers key="object=rsa2048"
	workers=$(nginx_workers | sort)
	mistake() { # URI-PART… : the line with another URI
		nginx_configuration "$mode" 8 "$port"
		case $mode in
		file)
			uri_pem "pkcs11:$1;type=private" mistake.uri.pem
			other_key "$SKR_RUN/mistake.uri.pem"
			;;
		*) other_key "$(key_line rsa2048 "$mode" | sed "s/token=skr;object=rsa2048/$1/")" ;;
		esac
	}
	refuses() { # TEXT PATTERN
		check_fails "$1" nginx_run -t
		says "nginx says so" "$2" "$SKR_RUN/check.out"
	}
	mistake 'token=skr;object=nothing'
	refuses "a key that is not there" 'cannot load certificate key.*(nothing|mistake)'
	mistake 'token=nowhere;object=rsa2048'
	refuses "a token that is not there" 'cannot load certificate key.*(nowhere|mistake)'
	mistake 'token=other;object=elsewhere'
	refuses "a key that Azure does not release: at start" 'cannot load certificate key.*(elsewhere|mistake)'
	says "our log has the reason" 'skr-pkcs11\[[0-9]+\] error: SKR-332 .*key elsewhere: its policy needs' skr-pkcs11.log
	: >nginx.log
	kill -HUP "$(nginx_master)"
	wait_until "the reload's error" grep -q 'cannot load certificate key' nginx.log
	check "at a reload: the old workers go on" test "$(nginx_workers | sort)" = "$workers"
	check_says "and serve" 'failed=0 ' "$tls_load" -a ca.pem -n 20 -t 4 "$port"
	nginx_configuration "$mode" 8 "$port"
	other_key "$(key_line rsa2048 "$mode")" stranger
	refuses "a certificate of another key" 'key values mismatch|SSL_CTX_use_PrivateKey|key type mismatch'
	nginx_configuration "$mode" 8 "$port"
	sed "s,^\(MODULE_PATH\|pkcs11-module-path\) = .*,\1 = /nonexistent/skr-pkcs11.so," "$OPENSSL_CONF" >missing.cnf
	OPENSSL_CONF=$SKR_RUN/missing.cnf
	refuses "a module that is not there" 'cannot load certificate key'
}
