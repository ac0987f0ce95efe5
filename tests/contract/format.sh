#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every C file is as clang-format 14 (Debian 12's) lays it out by the project's .clang-format.
cd "$(dirname "$0")/../.." || exit 1
command -v clang-format >/dev/null || { echo "clang-format is not installed"; exit 77; }
clang-format --version | grep -q 'version 14' || { echo "another version of clang-format lays out differently"; exit 77; }
find src include tests -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run --Werror 2>&1 | grep -E 'error' | head -20
[ "${PIPESTATUS[1]}" = 0 ]
