#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# matrix.sh [BUILD] : which test speaks for which row of the failure matrix (E V H M N A K C G) and which invariant (I, the
# table of docs/security.md). Every one is cited by a test, or is listed below with the reason why not.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1
wrong=0

# Rows of things that are not built.
not_built='
C-18 no such row
'
# Rows of things that are built and that no test shows yet.
open='
E-11 each allocation failing in turn: needs a shim over mmap and malloc in the host process
C-03 a fleet that starts at once: the emulator has no token bucket; what the agent does at 429 is K-08
C-04 limits of the metadata service: the same; what the agent does at 429 is M-04
'

all() {
	local family
	for family in E:20 V:23 H:22 M:5 N:4 A:5 K:15 C:20 G:9 I:34; do
		seq -f "${family%%:*}-%02g" 1 "${family##*:}"
	done
}

# "I-01 … I-04" of the documents means the two between as well.
claimed() {
	sed -E 's/([A-Z])-([0-9]{2}) … [A-Z]-([0-9]{2})/\1 \2 \3/g' docs/security.md | grep '^|' |
		grep -oE '\b[EVHMNAKCGI]( [0-9]{2} [0-9]{2}|-[0-9]{2})\b' | while read -r family from to; do
			if [ -n "${to:-}" ]; then seq -f "$family-%02g" "$((10#$from))" "$((10#$to))"; else echo "$family"; fi
		done | sort -u
}

# ID and file of each citation in a test; this script lists, it does not test.
citations=$(grep -roE --include='*.c' --include='*.sh' --include='*.py' --exclude=matrix.sh '\b[EVHMNAKCGI]-[0-9]{2}\b' tests |
	awk -F: '{print $2, $1}' | sort -u)
# "I-17 to I-20", "C-06 to C-08": those between are meant too.
citations+=$'\n'$(grep -rE --include='*.c' --include='*.sh' --exclude=matrix.sh '[A-Z]-[0-9]{2} to [A-Z]-[0-9]{2}' tests |
	sed -E 's/^([^:]*):.*([A-Z])-([0-9]{2}) to [A-Z]-([0-9]{2}).*/\1 \2 \3 \4/' | while read -r file family from to; do
		seq -f "$family-%02g $file" "$((10#$from))" "$((10#$to))"
	done)

listed() { grep -qE "^$1 " <<<"$2"; }
covered=0
for id in $(all); do
	files=$(awk -v id="$id" '$1 == id {print $2}' <<<"$citations" | sort -u | tr '\n' ' ')
	if listed "$id" "$not_built" || listed "$id" "$open"; then
		[ -z "$files" ] || { echo "$id is cited by $files, but listed as not covered" >&2; wrong=1; }
		echo "$id  -"
	elif [ -z "$files" ]; then
		echo "$id has no test" >&2
		wrong=1
	else
		echo "$id  $files"
		covered=$((covered + 1))
	fi
done
for id in $(claimed); do
	if listed "$id" "$open" || listed "$id" "$not_built"; then
		echo "docs/security.md claims $id, which no test shows" >&2
		wrong=1
	fi
done
[ "$(claimed | wc -l)" -ge 30 ] || { echo "docs/security.md: its table of invariants was not found" >&2; wrong=1; }
echo "$covered rows have tests"
exit $wrong
