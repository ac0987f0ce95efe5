#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Node's pkcs11js: signing, verifying, decrypting, asynchronous calls.
. "$(dirname "$0")/../support/interop.sh"
need node npm python3 make g++
version=2.1.7
packages=$build/npm
certificate rsa2048
certificate p256

# The package is compiled where it is used, against Node's headers of this machine; kept for the next run.
export NODE_PATH=$packages/node_modules
[ ! -e /usr/include/node/node.h ] || export npm_config_nodedir=/usr
if ! node -e "require('pkcs11js')" 2>/dev/null; then
	mkdir -p "$packages"
	if ! timeout 180 npm install --prefix "$packages" --no-audit --no-fund --no-save pkcs11js@$version >npm.log 2>&1; then
		cat npm.log
		npm ping >/dev/null 2>&1 || { echo "npm cannot reach its registry"; exit 77; }
		exit 1
	fi
fi
program() { node "$SKR_TOP/tests/interop/pkcs11js.js" "$@"; }
check "pkcs11js $version is there" test "$(node -p "require('pkcs11js/package.json').version")" = $version
released_before=$(releases)
check "it signs, verifies and decrypts, also with asynchronous calls" program "$module" skr
check_releases 2
check_refused "a wrong token label is an error" 'no token nosuch' program "$module" nosuch
check_releases 0
azure_refuses
log_seen=$(wc -l <skr-pkcs11.log)
check_refused "a login that Azure refuses is an error" 'CKR_FUNCTION_FAILED' program "$module" skr
check_log "our log says why" 'SKR-331 .*no permission to release the key'
azure_allows
check_refused "a missing module is one" 'missing.so' program "$SKR_RUN/missing.so" skr
summary "pkcs11js" "$version, Node $(node --version)" "list, sign, verify, decrypt, asynchronous calls"
