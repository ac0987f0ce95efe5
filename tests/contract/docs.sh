#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# docs.sh BUILD : the documents say what the code has. The built command prints the table of settings.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
command=$1/src/skr-pkcs11
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/wrong"
checks=0

# has FILE TEXT WHAT : the file must contain the text, literally.
has() {
	checks=$((checks + 1))
	grep -qF -- "$2" "$root/$1" || echo "$1: $3" >>"$work/wrong"
}

# Settings: NAME, default, meaning. In the build tree the agent's path depends on the prefix.
"$command" config settings | sed 's,exec:.*/libexec/,exec:PREFIX/libexec/,' >"$work/settings"
settings=$(sed -n 's/^\([a-z0-9_]*\) =.*/\1/p' "$work/settings")
[ -n "$settings" ] || { echo "config settings prints nothing" >&2; exit 1; }
for name in $settings; do
	fallback=$(sed -n "s/^$name = \(.*\)/\1/p" "$work/settings")
	meaning=$(sed -n "/^$name =/{n;s/^ *//;p;}" "$work/settings")
	has docs/configuration.md "| \`$name\` | ${fallback:+\`$fallback\`} | $meaning" "setting $name with default \"$fallback\" and its meaning"
	has docs/man/skr-pkcs11.conf.5.scd "*$name*" "setting $name"
	has docs/man/skr-pkcs11.conf.5.scd "	$meaning" "meaning of $name"
	sample=$(printf '%s' "$fallback" | sed 's,exec:PREFIX.*,exec:@SKR_AGENT_PATH@,')
	if [ -n "$fallback" ]; then
		has conf/skr-pkcs11.conf.in "#$name = $sample" "setting $name with its default"
		has docs/man/skr-pkcs11.conf.5.scd "	Default: _$(printf '%s' "$fallback" | sed 's,PREFIX,/usr,')_" "default of $name"
	else
		has conf/skr-pkcs11.conf.in "#$name = " "setting $name"
	fi
done
# And nothing that the code does not have.
for name in $(sed -n 's/^#\([a-z0-9_]*\) = .*/\1/p' "$root/conf/skr-pkcs11.conf.in" | sort -u) \
	$(sed -n 's/^| `\([a-z0-9_]*\)` | .*/\1/p' "$root/docs/configuration.md") \
	$(sed -n 's/^\*\([a-z0-9_]*\)\*$/\1/p' "$root/docs/man/skr-pkcs11.conf.5.scd"); do
	checks=$((checks + 1))
	case " $(echo $settings) attestation authority imds auto workload managed " in
	*" $name "*) ;;
	*) echo "a setting $name is documented that does not exist" >>"$work/wrong" ;;
	esac
done

# Failures: every row of the table, number and sentence, and no number that is not in it.
sed -n 's/.*X(\([0-9]*\), *[A-Z]*, *"\([^"]*\)".*/\1|\2/p' "$root/src/base/failures.h" >"$work/failures"
while IFS='|' read -r number sentence; do
	has docs/troubleshooting.md "### SKR-$(printf %03d "$number") $sentence" "SKR-$(printf %03d "$number") $sentence"
done <"$work/failures"
for number in $(grep -rho 'SKR-[0-9][0-9][0-9]' "$root/README.md" "$root/docs" | sort -u | sed 's/SKR-0*//'); do
	checks=$((checks + 1))
	grep -q "^$number|" "$work/failures" || echo "SKR-$number is documented and does not exist" >>"$work/wrong"
done

# A number that is said to be never reported is not.
for number in $(grep -A2 '^### SKR-' "$root/docs/troubleshooting.md" | grep -B2 '^Reserved\.' | sed -n 's/^### SKR-0*\([0-9]*\) .*/\1/p'); do
	checks=$((checks + 1))
	grep -rqE "FAIL\($number,|\"SKR-$(printf %03d "$number") |return $number;|(unreachable|throttled|down) = $number," \
		--include='*.c' --exclude-dir=emulator "$root/src" &&
		echo "SKR-$number is said to be never reported, but it is" >>"$work/wrong"
done

# Mechanisms: every one that the module's table offers.
for mechanism in $(grep -rhoE '\{\s*CKM_[A-Z0-9_]+' "$root/src/crypto/mechanism.c" | grep -oE 'CKM_[A-Z0-9_]+' | sort -u); do
	has docs/interop.md "\`$mechanism\`" "mechanism $mechanism"
done

# Commands, and the numbers of invariants and residual risks.
"$command" --help | sed -n 's/^  \([a-z]\+\(-[a-z]\+\)\?\( [a-z]\+\)\?\)  .*/\1/p' >"$work/commands"
[ -s "$work/commands" ] || { echo "no commands in what --help prints" >&2; exit 1; }
while read -r words; do
	usage=$("$command" $words --help | sed -n '1s/^usage: skr-pkcs11 //p')
	checks=$((checks + 1))
	grep -qxF "## ${usage% }" "$root/docs/man/skr-pkcs11.1.scd" || echo "docs/man/skr-pkcs11.1.scd: \"## $usage\"" >>"$work/wrong"
done <"$work/commands"
for id in 1 2 3 4 5 6 7; do
	has docs/security.md "R-$id" "residual risk R-$id"
done

# Links between documents lead somewhere, those to a heading too.
headings() { sed -n 's/^#* //p' "$1" | tr 'A-Z ' 'a-z-' | tr -dc 'a-z0-9_\n-'; }
for file in "$root"/README.md "$root"/docs/*.md; do
	for target in $(grep -oE '\]\([^)]+' "$file" | sed 's/^](//' | grep -v '^http' | sort -u); do
		checks=$((checks + 1))
		place=$(dirname "$file")/${target%#*}
		[ "${target#\#}" = "$target" ] || place=$file
		{ [ -e "$place" ] && case $target in *\#*) headings "$place" | grep -qx "${target#*\#}" ;; esac; } ||
			echo "${file#"$root"/}: link to $target leads nowhere" >>"$work/wrong"
	done
done

# Manual pages render without a word of complaint, and each has an example.
for page in "$root"/docs/man/*.scd; do
	name=$(basename "$page" .scd)
	checks=$((checks + 1))
	scdoc <"$page" >"$work/$name" 2>>"$work/wrong" || { echo "docs/man/$name.scd is no page for scdoc" >>"$work/wrong"; continue; }
	mandoc -T lint -W error "$work/$name" >>"$work/wrong" || true
	groff -man -Tutf8 -ww -z "$work/$name" 2>>"$work/wrong" || true
	grep -qx '# EXAMPLES' "$page" || echo "docs/man/$name.scd has no examples" >>"$work/wrong"
done

# What the guide says to install is what scripts/packages.sh has, and the container's image installs it too.
for package in $(bash -c ". \"$root/scripts/packages.sh\"; echo \$packages_to_build"); do
	for file in docs/guide.md conf/examples/container/Dockerfile; do
		has $file "$package" "package $package, which is needed to build"
	done
done

if [ -s "$work/wrong" ]; then
	cat "$work/wrong" >&2
	exit 1
fi
echo "$checks checks of the documents"
