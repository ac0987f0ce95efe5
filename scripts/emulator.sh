# SPDX-License-Identifier: Apache-2.0
# Sourced: the emulated Azure for demo and tests. Needs $build, a build folder.

# only_ours FOLDER : true if neither it nor a folder above it can be written by others, as the module demands of its configuration.
only_ours() {
	local folder owner mode
	folder=$(realpath -m "$1")
	while :; do
		if [ -e "$folder" ]; then
			read -r owner mode < <(stat -c '%u %a' "$folder")
			[ "$owner" = 0 ] || [ "$owner" = "$(id -u)" ] || return 1
			[ $((0$mode & 022)) = 0 ] || return 1
		fi
		[ "$folder" != / ] || return 0
		folder=$(dirname "$folder")
	done
}

# run_folder FOLDER : makes an empty folder and prints its name: FOLDER, or, where others may write above it (a clone in /tmp) or
# its name leaves no room for a socket's, one in /var/lib or at home.
run_folder() {
	local folder=$1 base=/var/lib
	if ! only_ours "$folder" || [ ${#folder} -gt 80 ]; then
		[ "$(id -u)" = 0 ] || base=$HOME
		folder=$base/skr-pkcs11-run/$(printf %s "$1" | cksum | cut -d' ' -f1)-$(basename "$1")
	fi
	rm -rf "$folder"
	(umask 022 && mkdir -p "$folder")
	echo "$folder"
}

# start_emulator FOLDER [arguments…] : starts it there, waits until it is ready, sets SKR_EMULATOR_* and emulator_pid.
start_emulator() {
	local folder=$1 waited=0
	shift
	mkdir -p "$folder"
	chmod go-w "$folder"
	# What DIR/skr-agent, the agent inside the played hardware, loads first; sanitizers want to be that.
	printf %s "${agent_preload:-}" >"$folder/agent-preload"
	"$build/src/skr-emulator" --dir "$folder" "$@" >"$folder/emulator.out" 2>"$folder/emulator.err" &
	emulator_pid=$!
	until grep -q '^ready' "$folder/emulator.out" 2>/dev/null; do
		if ! kill -0 "$emulator_pid" 2>/dev/null || [ $((waited += 1)) -gt 300 ]; then
			echo "skr-emulator did not start:" >&2
			cat "$folder/emulator.err" >&2
			return 1
		fi
		sleep 0.1
	done
	set -a
	. "$folder/endpoints"
	set +a
}

stop_emulator() {
	[ -n "${emulator_pid:-}" ] || return 0
	kill "$emulator_pid" 2>/dev/null || true
	wait "$emulator_pid" 2>/dev/null || true
	emulator_pid=
}

# emulator_curl arguments… : curl that trusts the emulator and nobody else, and fails on an HTTP error with the body shown.
emulator_curl() {
	curl --silent --show-error --fail-with-body --cacert "$SKR_EMULATOR_CA" "$@"
}

# access_token AUDIENCE : a token of the played machine's managed identity.
access_token() {
	emulator_curl -H 'Metadata: true' \
		"$SKR_EMULATOR_IMDS/metadata/identity/oauth2/token?api-version=2018-02-01&resource=$1" |
		sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p'
}

audience_of() { # https://NAME.vault.localhost:PORT -> https://vault.localhost
	local host=${1#https://}
	host=${host%%[:/]*}
	echo "https://${host#*.}"
}

# vault METHOD URL [JSON] : one call to the emulated vault or Managed HSM; api-version is added.
vault() {
	local method=$1 url=$2 body=${3:-} audience
	audience=$(audience_of "$url")
	case $url in *\?*) ;; *) url="$url?api-version=7.4" ;; esac
	emulator_curl -X "$method" -H "Authorization: Bearer $(access_token "$audience")" -H 'Content-Type: application/json' \
		${body:+--data-binary "$body"} "$url"
}

base64url() { base64 -w0 | tr '+/' '-_' | tr -d '='; }

# release_policy [VALUE] : a policy that fits the played machine; with VALUE, one for the machine whose host data (containers),
# launch measurement (confidential VMs) or id (Trusted Launch) that is.
release_policy() { emulator_curl "$SKR_EMULATOR_CONTROL/machine/policy${1:+?value=$1}"; }

# create_key VAULT NAME KIND [POLICY] : KIND is RSA-HSM:2048, EC-HSM:P-256, oct-HSM:256. Prints nothing; fails with Azure's words.
create_key() {
	local kty=${3%%:*} size=${3#*:} extra answer
	case $kty in EC*) extra="\"crv\":\"$size\"" ;; *) extra="\"key_size\":$size" ;; esac
	answer=$(vault POST "$1/keys/$2/create" "{\"kty\":\"$kty\",$extra,\"attributes\":{\"exportable\":true},
		\"release_policy\":{\"contentType\":\"application/json; charset=utf-8\",
		\"data\":\"$(printf %s "${4:-$(release_policy)}" | base64url)\"}}") || {
		echo "creating key $2: $answer" >&2
		return 1
	}
}

# write_configuration FILE TOKEN LINES… : a configuration for the emulator with one token; more tokens may be appended.
write_configuration() {
	local file=$1 token=$2
	shift 2
	(
		umask 022
		cat >"$file" <<-END
			[skr-pkcs11]
			log = ${log_to:-$(dirname "$file")/skr-pkcs11.log}
			log_level = ${log_level:-info}
			agent = exec:$SKR_EMULATOR_DIR/skr-agent
			allow_custom_endpoint = yes
			imds = $SKR_EMULATOR_IMDS
			ca_file = $SKR_EMULATOR_CA

		END
		write_token "$token" "$@" >>"$file"
	)
}

write_token() { # TOKEN LINES…
	echo "[token $1]"
	shift
	echo "attestation = $SKR_EMULATOR_ATTESTATION"
	[ "$SKR_EMULATOR_EVIDENCE" = auto ] || echo "evidence = $SKR_EMULATOR_EVIDENCE"
	[ "$SKR_EMULATOR_EVIDENCE" != sidecar ] || echo "sidecar = $SKR_EMULATOR_SIDECAR"
	printf '%s\n' "$@" ''
}

# releases : how many keys the emulator has released so far.
releases() { grep '"op":"akv.release"' "$SKR_EMULATOR_DIR/requests.jsonl" 2>/dev/null | grep -c '"status":200' || true; }

# key_id TOKEN LABEL : the CKA_ID, as pkcs11-tool wants it; its --label does not choose the key that signs.
key_id() {
	pkcs11-tool --module "$module" --token-label "$1" --login -O --type privkey 2>/dev/null |
		awk -v label="$2" '$1 == "label:" { found = $2 == label } $1 == "ID:" && found { print $2; exit }'
}

# free_port : a port of 127.0.0.1 that nobody listens on, nor can be given to a connection before somebody does
# (net.ipv4.ip_local_port_range begins at 32768).
free_port() {
	local port
	while port=$((10000 + RANDOM % 20000)); do
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo $port; return; }
	done
}
