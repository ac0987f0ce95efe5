#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every file of ours says its licence, and nothing names the place it was written at.
set -u
cd "$(dirname "$0")/../.." || exit 1
wrong=0
files() { git ls-files 2>/dev/null || find . -type f -not -path './build*' -not -path './.git/*' | sed 's,^\./,,'; }
while read -r file; do
	[ -f "$file" ] || continue
	case $file in
	tests/data/* | LICENSE | .gitignore | *.svg | *.json) continue ;; # formats without comments
	*.md) continue ;; # documents: the README says it for them
	esac
	head -5 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || {
		echo "no SPDX line in $file"
		wrong=1
	}
done < <(files)
exit $wrong
