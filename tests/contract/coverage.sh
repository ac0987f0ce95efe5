#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The corpora of the parsers of hardware evidence reach what they aim at.
set -u
for tool in clang llvm-cov llvm-profdata; do
	command -v "$tool" >/dev/null || { echo "$tool is not installed"; exit 77; }
done
exec "$(dirname "$0")/../../scripts/coverage" "${1:-build/gcc}/coverage"
