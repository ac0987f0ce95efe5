# SPDX-License-Identifier: Apache-2.0
# Sourced by tests/interop/*.sh as: . "$(dirname "$0")/../support/interop.sh" "$@"
# Starts the script again inside surroundings of its own, then gives it what all of them need.
set -eu
if [ -z "${SKR_RUN:-}" ]; then
	SKR_TEST_FEW_KEYS=${SKR_TEST_FEW_KEYS-1}
	export SKR_TEST_FEW_KEYS
	exec "$(dirname "$0")/../support/surroundings.sh" "$1" "interop-$(basename "$0" .sh)" "$0" "$@"
fi
. "$SKR_TOP/scripts/emulator.sh"
build=$SKR_BUILD
module=$SKR_MODULE
cd "$SKR_RUN"
children=()
at_exit() { :; } # a script may say what else to stop
stop_children() { # by process id; who does not end within two seconds is made to
	local child tries=0
	for child in "${children[@]:-}"; do [ -z "$child" ] || kill "$child" 2>/dev/null || true; done
	for child in "${children[@]:-}"; do
		while [ -n "$child" ] && [ $tries -lt 40 ] && kill -0 "$child" 2>/dev/null; do
			[ $((tries += 1)) -lt 20 ] || kill -KILL "$child" 2>/dev/null || true
			sleep 0.1
		done
	done
}
trap 'at_exit; stop_emulator; stop_children' EXIT # an emulator that the script started beside that of its surroundings

need() { # PROGRAM… : skips where a program cannot be had
	local program
	for program in "$@"; do
		command -v "$program" >/dev/null || { echo "$program is not installed"; exit 77; }
	done
}

check() { # TEXT COMMAND… : must succeed; its output is shown only if it does not
	local text=$1
	shift
	if "$@" >"$SKR_RUN/check.out" 2>&1; then
		echo "ok: $text"
	else
		echo "FAILED: $text ($*), status $?"
		cat "$SKR_RUN/check.out"
		exit 1
	fi
}

check_fails() { # TEXT COMMAND… : must fail, and not by a signal
	local text=$1 status=0
	shift
	"$@" >"$SKR_RUN/check.out" 2>&1 || status=$?
	if [ "$status" = 0 ] || { [ "$status" -ge 128 ] && [ "$status" -le 192 ]; }; then # 255 is exit(-1)
		echo "FAILED: $text ($*), status $status"
		cat "$SKR_RUN/check.out"
		exit 1
	fi
	echo "ok: $text"
}

check_says() { # TEXT PATTERN COMMAND… : must succeed and print the pattern
	local text=$1 pattern=$2
	shift 2
	check "$text" "$@"
	grep -qE -- "$pattern" "$SKR_RUN/check.out" || {
		echo "FAILED: $text: no \"$pattern\" in"
		cat "$SKR_RUN/check.out"
		exit 1
	}
}

check_refused() { # TEXT PATTERN COMMAND… : must fail, not by a signal, and print the pattern
	local text=$1 pattern=$2
	shift 2
	check_fails "$text" "$@"
	grep -qE -- "$pattern" "$SKR_RUN/check.out" || {
		echo "FAILED: $text: no \"$pattern\" in"
		cat "$SKR_RUN/check.out"
		exit 1
	}
}

check_releases() { # N : so many keys were released since the last call
	local now
	now=$(releases)
	[ $((now - ${released_before:-0})) = "$1" ] || {
		echo "FAILED: $((now - ${released_before:-0})) keys released, not $1"
		exit 1
	}
	released_before=$now
	echo "ok: $1 keys released"
}

# azure_refuses, azure_allows : the machine's identity loses, or gets back, its right to release keys.
azure_refuses() { curl -sSf -d '{"identity":"system","allow":false}' "$SKR_EMULATOR_CONTROL/access" >/dev/null; }
azure_allows() { curl -sSf -d '{"identity":"system","allow":true}' "$SKR_EMULATOR_CONTROL/access" >/dev/null; }

# check_log TEXT PATTERN : the module's log has such a line since the last call.
check_log() {
	tail -n "+$((${log_seen:-0} + 1))" skr-pkcs11.log >check.out
	log_seen=$(wc -l <skr-pkcs11.log)
	grep -qE -- "$2" check.out || {
		echo "FAILED: $1: no \"$2\" in the log"
		cat check.out
		exit 1
	}
	echo "ok: $1"
}

# public_key LABEL : writes LABEL.pem, the public half as a token object gives it.
# (pkcs11-tool 0.23 reads memory that it has freed when it writes an EC key, and then fails at times.)
public_key() {
	p11tool --provider "$module" --login --export "pkcs11:token=skr;object=$1;type=public" 2>p11tool.err >"$1.exported" &&
		openssl pkey -pubin -in "$1.exported" -out "$1.pem" || { cat p11tool.err; exit 1; }
}

# test_ca : makes ca.pem and ca.key once.
test_ca() {
	[ -e ca.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=Test CA' \
		-addext 'keyUsage=critical,keyCertSign,cRLSign,digitalSignature' -keyout ca.key -out ca.pem 2>/dev/null
}

# certificate LABEL [SUBJECT] : writes LABEL.crt for the key in the token, signed by the test authority, and names it in the configuration.
certificate() {
	local label=$1 subject=${2:-/CN=localhost}
	test_ca
	public_key "$label"
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" -keyout unused.key \
		-addext 'subjectAltName=DNS:localhost,IP:127.0.0.1,email:user@example.org' -out "$label.csr" 2>/dev/null
	openssl x509 -req -in "$label.csr" -force_pubkey "$label.pem" -CA ca.pem -CAkey ca.key -days 30 -copy_extensions copy \
		-out "$label.crt" 2>/dev/null
	rm -f unused.key
	sed -i "/^\[token skr\]/a certificate = $SKR_RUN/$label.crt" "$SKR_PKCS11_CONF"
}

wait_for_port() { # PORT
	local tries=0
	until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do
		[ $((tries += 1)) -lt 300 ] || { echo "nobody listens on port $1"; return 1; }
		sleep 0.1
	done
}

# summary CONSUMER VERSION OPERATIONS : the line of this script in the table that scripts/test prints and docs/interop.md shows.
# Called last, so a consumer is in the table only if everything before it went well.
summary() {
	mkdir -p "$SKR_BUILD/interop"
	printf '| %s | %s | %s | %s | works |\n' "$1" "$2" "$3" "$(releases)" >"$SKR_BUILD/interop/$(basename "$0" .sh)"
}

version_of() { dpkg-query -W -f='${Version}' "$1" 2>/dev/null; }
