#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# layers.sh LAYER ALLOWED… : fails if a file of src/LAYER includes a header of a layer that is not in ALLOWED.
# "protocol" allows agent/protocol.h alone.
set -eu
cd "$(dirname "$0")/../src"
layer=$1
shift
allowed=" $layer $* "
status=0
for file in "$layer"/*.[ch]; do
	[ -e "$file" ] || continue
	for include in $(sed -n 's/^[[:space:]]*#[[:space:]]*include "\([a-z0-9_]*\/[^"]*\)".*/\1/p' "$file"); do
		used=${include%%/*}
		[ "$include" = agent/protocol.h ] && case "$allowed" in *" protocol "*) continue ;; esac
		case "$allowed" in
		*" $used "*) ;;
		*)
			echo "src/$file includes \"$include\", but src/CMakeLists.txt does not let $layer use $used" >&2
			status=1
			;;
		esac
	done
done
exit $status
