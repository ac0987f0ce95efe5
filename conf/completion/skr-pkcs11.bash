# SPDX-License-Identifier: Apache-2.0
# Completion of skr-pkcs11(1) for bash. Nothing that is offered costs a login or a question to anybody.

# What a command takes: options, those with a value as --option=KIND, and the words without dashes as KIND, in their
# order; KIND... is the last, and repeats. Options that exclude each other are all offered.
_skr_pkcs11_takes() { # COMMAND
	case $1 in
	'config check') echo 'FILE' ;;
	'config settings') ;;
	tokens) echo '--module=FILE --login' ;;
	attest) echo '--config=FILE --direct --no-service --json --token TOKEN' ;;
	doctor) echo '--config=FILE --json TOKEN' ;;
	'policy explain') echo '--policy=FILE --key=TEXT --token=FILE --config=FILE TOKEN' ;;
	'policy generate') echo '--strictness=STRICTNESS --token=FILE --output=FILE --commands --quiet --config=FILE TOKEN' ;;
	'policy diff') echo 'FILE FILE' ;;
	print-config) echo '--key=KEY --engine --provider --certificate=FILE --key-file=FILE --module=FILE CONSUMER TOKEN' ;;
	csr) echo '--key=KEY --subject=TEXT --san=NAMES --digest=DIGEST --pss --output=FILE --module=FILE TOKEN' ;;
	cert) echo '--login --export=KEY --chain --output=FILE --module=FILE TOKEN' ;;
	status) echo '--audit=FILE --json --prometheus=FILE --config=FILE TOKEN' ;;
	'audit verify') echo '--head=TEXT FILE...' ;;
	esac
}

# The first words, and what stands behind those that have a second.
_skr_pkcs11_words() { # [FIRST-WORD]
	case ${1-} in
	'') echo 'config tokens attest doctor policy print-config csr cert status audit --help --version' ;;
	config) echo 'check settings' ;;
	policy) echo 'explain generate diff' ;;
	audit) echo 'verify' ;;
	esac
}

# What there is of a kind, a line each. PROGRAM is the command as it was typed.
_skr_pkcs11_values() { # PROGRAM KIND
	case $2 in
	TOKEN) "$1" tokens 2>/dev/null | sed -n 's/^token //p' ;;
	KEY) "$1" config check 2>/dev/null | awk '/^  key  / {
		sub(/^  key +/, ""); sub(/  public key pinned$/, "")
		if (at = index($0, "  label ")) { print substr($0, at + 8) } else { sub(/.*\/keys\//, ""); sub(/\/.*/, ""); print } }' ;;
	CONSUMER) printf '%s\n' nginx apache haproxy stunnel openssl gnupg ssh java curl pem-uri ;;
	DIGEST) printf '%s\n' sha256 sha384 sha512 ;;
	NAMES) printf '%s\n' DNS: IP: email: URI: ;;
	STRICTNESS) printf '%s\n' platform image workload ;;
	esac
}

_skr_pkcs11_offer() { # PROGRAM KIND BEGINNING
	local IFS=$'\n'
	case $2 in
	FILE)
		compopt -o filenames 2>/dev/null
		COMPREPLY=($(compgen -f -- "$3"))
		;;
	NAMES)
		compopt -o nospace 2>/dev/null
		COMPREPLY=($(compgen -W "$(_skr_pkcs11_values "$1" "$2")" -- "$3"))
		;;
	*) COMPREPLY=($(compgen -W "$(_skr_pkcs11_values "$1" "$2")" -- "$3")) ;;
	esac
}

_skr_pkcs11() {
	local program=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]-} first=2 takes item kinds=() options=() i
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		COMPREPLY=($(compgen -W "$(_skr_pkcs11_words)" -- "$current"))
		return
	fi
	if [ -n "$(_skr_pkcs11_words "$command")" ] && [ -n "$command" ]; then
		if [ "$COMP_CWORD" = 2 ]; then
			COMPREPLY=($(compgen -W "$(_skr_pkcs11_words "$command")" -- "$current"))
			return
		fi
		command="$command ${COMP_WORDS[2]}"
		first=3
	fi

	takes=$(_skr_pkcs11_takes "$command")
	for item in $takes; do
		case $item in
		--*=*)
			options+=("${item%%=*}")
			if [ "$previous" = "${item%%=*}" ]; then
				_skr_pkcs11_offer "$program" "${item#*=}" "$current"
				return
			fi
			;;
		--*) options+=("$item") ;;
		*) kinds+=("$item") ;;
		esac
	done
	case $current in
	-*)
		COMPREPLY=($(compgen -W "${options[*]} --help" -- "$current"))
		return
		;;
	esac

	# The words without dashes that are there already take the first kinds.
	for ((i = first; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-*) case " $takes " in *" ${COMP_WORDS[i]}="*) i=$((i + 1)) ;; esac ;;
		*) case ${kinds[0]-} in *...) ;; *) kinds=("${kinds[@]:1}") ;; esac ;;
		esac
	done
	if [ -n "${kinds[0]-}" ]; then
		_skr_pkcs11_offer "$program" "${kinds[0]%...}" "$current"
	fi
}
complete -F _skr_pkcs11 skr-pkcs11
