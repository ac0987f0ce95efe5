#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Go's crypto11, over miekg/pkcs11: signing, decrypting, many goroutines, TLS servers and clients.
. "$(dirname "$0")/../support/interop.sh"
need go
[ -d /usr/share/gocode/src/github.com/ThalesIgnite/crypto11 ] ||
	{ echo "golang-github-thalesignite-crypto11-dev is not installed"; exit 77; }
certificate rsa2048
certificate p256
check "a Go program with crypto11 is built" env GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE="$build/go-cache" GOFLAGS=-p=2 \
	go build -o "$SKR_RUN/program" "$SKR_TOP/tests/interop/go-crypto11/main.go"
released_before=$(releases)
check "it signs, decrypts and speaks TLS with keys in the token" ./program "$module" skr ca.pem
check_releases 2
check_refused "a wrong token label is an error" 'could not find PKCS#11 token' ./program "$module" nosuch ca.pem
check_releases 0
log_seen=$(wc -l <skr-pkcs11.log)
check_refused "a token whose release is refused is an error" 'CKR_FUNCTION_FAILED' ./program "$module" other ca.pem
check_log "our log says why" 'key elsewhere: its policy needs'
check_refused "a missing module is one" 'could not open PKCS#11' ./program "$SKR_RUN/missing.so" skr ca.pem
summary "Go crypto11" "$(version_of golang-github-thalesignite-crypto11-dev)" "sign, decrypt, 16 goroutines, TLS 1.2 and 1.3 server and client"
