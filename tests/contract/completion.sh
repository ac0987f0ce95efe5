#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# completion.sh BUILD : what bash and zsh offer is what the commands' own help says, no more and no less.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
bash_file=$top/conf/completion/skr-pkcs11.bash
zsh_file=$top/conf/completion/_skr-pkcs11
program=$1/src/skr-pkcs11
[ -x "$program" ] || { echo "skr-pkcs11 is not built" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong=0 checks=0

same() { # TEXT WANTED FOUND : the same words, in whatever order
	checks=$((checks + 1))
	[ "$(grep . <<<"$2" | sort -u)" = "$(grep . <<<"$3" | sort -u)" ] && return
	echo "$1: the help has" $2, "the completion" $3 >&2
	wrong=1
}

bash -n "$bash_file"
. "$bash_file"
offered() { # WORD… : what bash offers in the place of the last one, a line each
	COMP_WORDS=("$program" "$@") COMP_CWORD=$#
	_skr_pkcs11
	printf '%s\n' "${COMPREPLY[@]}"
}
if command -v zsh >/dev/null; then
	zsh -n "$zsh_file"
	checks=$((checks + 1))
fi
zsh_options() { # COMMAND : the options in its case of the zsh file
	awk -v name="$1" '{ line = $0; gsub(/^\t+|\047/, "", line) }
		index(line, name ")") == 1 { on = 1 } on { print } on && /;;/ { exit }' "$zsh_file" | grep -oE -- '--[a-z][a-z-]*' || true
}

# What the program itself says.
"$program" --help | sed -nE 's/^  ([a-z][a-z-]*( [a-z]+)?)  +[a-z].*/\1/p' >"$work/commands"
[ "$(wc -l <"$work/commands")" -ge 7 ] || { echo "--help lists no commands" >&2; exit 1; }
same "first words" "$(cut -d' ' -f1 "$work/commands"; printf '%s\n' --help --version)" "$(offered '')"
same "first words of zsh" "$(cut -d' ' -f1 "$work/commands")" "$(sed -n "/first=(/,/^\t)/s/^\t\t'\([a-z][a-z-]*\):.*/\1/p" "$zsh_file")"

while read -r command; do
	set -- $command
	"$program" "$@" --help >"$work/help"
	options=$(sed -n 1p "$work/help" | grep -oE -- '--[a-z][a-z-]*' || true)
	same "$command" "$options"$'\n--help' "$(offered "$@" --)"
	same "$command in zsh" "$options" "$(zsh_options "$command")"
	if [ $# = 2 ]; then
		same "second words of $1" "$(sed -n "s/^$1 //p" "$work/commands")" "$(offered "$1" '')"
		checks=$((checks + 1))
		grep -qE "^[[:space:]]+$1\) compadd( [a-z]+)* $2( |;|$)" "$zsh_file" || { echo "zsh: $1 has no $2" >&2; wrong=1; }
	fi
	# Each option has its line in the help, and there is an example.
	for option in $options; do
		checks=$((checks + 1))
		grep -qE -- "^  (--[a-z-]+, )*$option( |,|$)" "$work/help" || { echo "$command --help says nothing of $option" >&2; wrong=1; }
	done
	checks=$((checks + 1))
	grep -q "^Example" "$work/help" || { echo "$command --help has no example" >&2; wrong=1; }
done <"$work/commands"

# Values: of programs those that print-config knows, of tokens and keys those of the configuration.
same "consumers" "$("$program" print-config 2>&1 | sed -n '1s/.*One of //p' | tr -d , | tr ' ' '\n')" "$(offered print-config '')"
same "consumers in zsh" "$(offered print-config '')" "$(sed -n 's/.*:consumer:(\([^)]*\)).*/\1/p' "$zsh_file" | tr ' ' '\n')"
same "digests" "$("$program" csr --subject /CN=x --digest md5 2>&1 | sed -n '1s/.*--digest is //p' | grep -oE 'sha[0-9]+')" "$(offered csr --digest '')"
cat >"$work/program" <<-'END'
	#!/bin/sh
	case $1 in
	tokens) printf 'token web\n  pkcs11:token=web\n\ntoken two words\n' ;;
	config) printf '  key          https://v/keys/www/0123\n  key          https://v/keys/x  label a b  public key pinned\n' ;;
	esac
END
chmod +x "$work/program"
program=$work/program
same "tokens" $'web\ntwo words' "$(offered doctor '')"
same "keys" $'www\na b' "$(offered csr web --key '')"
same "a token after its consumer" web "$(offered print-config nginx w)"
same "nothing after the last word" '' "$(offered doctor web '')"
[ $wrong = 0 ] && echo "$checks checks of the completions"
exit $wrong
