#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# I-14: memcheck takes the padding and the message for undefined, and must find no branch and no index that depends on them.
# constant-time.sh BUILD
set -u
program=$1/tests/unit_crypto_pkcs1_ct
command -v valgrind >/dev/null || { echo "valgrind is not installed"; exit 77; }
if grep -q '^SKR_SANITIZE:STRING=..*' "$1/CMakeCache.txt" || ! grep -q 'CMAKE_C_COMPILER:.*\(gcc\|/cc\)' "$1/CMakeCache.txt"; then
	echo "only for the build by gcc without sanitizers"
	exit 0
fi
valgrind --quiet --error-exitcode=9 --track-origins=yes "$program" 2>&1 | tail -40
exit "${PIPESTATUS[0]}"
