# SPDX-License-Identifier: Apache-2.0
# Sourced after interop.sh, and after those of openssl-engine.sh, openssl-provider.sh and nginx.sh that a script uses: the
# configurations are what `skr-pkcs11 print-config` prints, and nothing else.

# printed CONSUMER ARGUMENTS… : its lines for the token skr.
printed() {
	local found=()
	[ -z "${provider:-}" ] || found=(OPENSSL_MODULES="$(dirname "$provider")") # it may be under the build folder
	env "${found[@]}" "$build/src/skr-pkcs11" print-config "$1" "${token:-skr}" --module "$module" "${@:2}" 2>print-config.err ||
		{ cat print-config.err >&2; exit 1; }
}

# part WHERE : of lines that were printed, those for one place.
part() { awk -v where="$1" '/^[#;] --- / { on = index($0, where); next } on'; }

engine_configuration() { # FILE
	[ -e /usr/lib/*/engines-3/pkcs11.so ] || { echo "libengine-pkcs11-openssl is not installed"; exit 77; }
	printed openssl --engine >"$1"
}

provider_configuration() { # FILE [default]
	have_provider
	printed openssl --provider >"$1"
	sed -i "${2:+s/^#$2: //}" "$1"
	printf '%s\n' '[req]' 'distinguished_name = names' '[names]' >>"$1"
}

key_file() { printed pem-uri --key "$1" >"$1.uri.pem"; } # KEY

nginx_main_lines() { # MODE
	printed nginx --key rsa2048 $(nginx_way "$1") | part 'above all blocks'
}
nginx_server_lines() { # KEY MODE
	printed nginx --key "$1" $(nginx_way "$2" "$1") | part "in the server's block"
}
nginx_way() { # MODE [KEY]
	case $1 in
	engine) echo --engine ;;
	file) echo "--provider --key-file $SKR_RUN/${2:-rsa2048}.uri.pem" ;;
	esac
}
