#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each action of the emulator's faults as curl, which knows nothing of it, meets it. emulator-faults.sh BUILD
set -euo pipefail
build=$(realpath "$1")
command -v curl >/dev/null || { echo "skipped: no curl" && exit 77; }

work=$(mktemp -d)
trap 'kill $emulator 2>/dev/null || true; wait; rm -rf "$work"' EXIT
"$build/src/skr-emulator" --dir "$work/emulator" >"$work/out" 2>"$work/err" &
emulator=$!
for _ in $(seq 300); do
	grep -qs ready "$work/out" && break
	sleep 0.05
done
. "$work/emulator/endpoints"
cd "$work"
failed=0

# meets RULE EXIT-CODES-OF-CURL PATTERN-OF-OUTPUT [CURL-OPTION…]: the answer to GET /keys without a token, head included.
meets() {
	local rule=$1 code=$2 pattern=$3 got=0 path=${path:-keys}
	shift 3
	curl -sS -X DELETE "$SKR_EMULATOR_CONTROL/faults"
	curl -sS --fail-with-body -d "$rule" "$SKR_EMULATOR_CONTROL/faults"
	curl -sS -i -m 5 --cacert "$SKR_EMULATOR_CA" "$@" "$SKR_EMULATOR_VAULT/$path?api-version=7.4" >body 2>said || got=$?
	if [[ " $code " == *" $got "* ]] && { head -c 4000 body && cat said; } | tr -d '\0' | grep -E "$pattern" >matched; then
		echo "ok      $rule"
	else
		echo "FAILED  $rule: curl says $got, not $code"
		head -c 600 body said
		failed=1
	fi
}
whole='AKV10000: Request is missing'

meets 'maa.* status(500)' 0 "$whole"
meets 'akv.list[2] status(500)' 0 "$whole"
meets 'akv.list status(429,Retry-After: 7)' 0 'Retry-After: 7'
meets 'akv.list status(403,code=Forbidden,inner=ForbiddenByFirewall,message=no way)' 0 '"message":"no way","innererror":\{"code":"ForbiddenByFirewall"'
meets 'akv.list status(204)' 0 '204 No Content'
meets 'akv.list status(103)' 0 '103 Interim'
meets 'akv.list redirect(https://canary.example/)' 0 'Location: https://canary.example/'
meets 'akv.list mutate(error.code,Xyz)' 0 '"code":"Xyz"'
meets 'akv.list mutate(error.message)' 0 '\{"error":\{"code":"Unauthorized"\}\}'
meets 'akv.list mutate(header.Content-Type,text/html)' 0 'Content-Type: text/html'
meets 'akv.list body(<html>\n<p>sign in \(here\)</p>)' 0 'sign in \(here\)'
meets 'akv.list grow(100000)' 0 'Content-Length: 100097'
meets 'akv.list grow(endless)' 28 'Transfer-Encoding: chunked' -m 0.5
meets 'akv.list raw(HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello)' 18 'hello'
meets 'akv.list garble(7)' 1 'HTTP/0.9'
meets 'akv.list truncate(10)' 18 '^\{"error":\{'
meets 'akv.list close(request)' 52 'Empty reply'
meets 'akv.list close(body)' 18 'AKV10'
meets 'akv.list close(body,abrupt)' 18 'AKV10'
meets 'akv.list reset(request)' 56 'reset by peer'
meets 'akv.list reset(body)' 56 'AKV10'
meets 'akv.list stall' 28 'timed out' -m 0.5
meets 'akv.list drip(20)' 28 '^HTTP/1.1 401' -m 2
meets 'akv.list delay(700)' 28 'timed out' -m 0.5
meets 'akv.list delay(100)' 0 "$whole"
meets 'akv.* close(connect)' 35 'SSL'
meets 'akv.* reset(connect)' 35 'reset'
meets 'akv.* reset(handshake)' '35 56' 'reset' # curl sees it while it writes, or while it reads
meets 'akv.* tls(expired)' 60 'has expired'
meets 'akv.* tls(notyet)' 60 'not yet valid'
meets 'akv.* tls(selfsigned)' 60 'self-signed'
meets 'akv.* tls(wrongname)' 60 'does not match|no alternative certificate subject name matches'
meets 'akv.* tls(unknownca)' 60 'issuer certificate'
meets 'akv.* tls(weak)' 60 'too weak'
meets 'akv.* tls(sha1)' 60 'digest algorithm too weak'
meets 'akv.* tls(tls11)' 35 'SSL'
meets 'akv.* tls(alert)' 35 'handshake failure'
meets 'akv.* tls(badmac)' 56 'bad record mac'
head -c 3000000 /dev/zero >upload
path=keys/a/create meets 'akv.* reset(upload)' 0 '503 Service' -X POST -H 'Expect:' --data-binary @upload
curl -sS -X DELETE "$SKR_EMULATOR_CONTROL/faults"

refused() {
	local what=$1
	shift
	if "$@" >said 2>&1; then
		echo "FAILED  $what"
		failed=1
	else
		echo "ok      $what: $(tail -1 said)"
	fi
}
refused "a rule that is none" curl -sS --fail-with-body -d 'akv.get explode' "$SKR_EMULATOR_CONTROL/faults"
for address in 0.0.0.0 192.0.2.1 :: 2001:db8::1 localhost; do
	refused "listening on $address" "$build/src/skr-emulator" --dir "$work/second" --listen $address
done
refused "a port that is none" "$build/src/skr-emulator" --dir "$work/second" --port 70000
exit $failed
