#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# skr-pkcs11 status after real logins and failures: for people, as JSON, as metrics. Nobody is asked, nobody logs in.
. "$(dirname "$0")/../support/interop.sh"
skr() { "$build/src/skr-pkcs11" "$@"; }
trail=$SKR_RUN/audit
says() { skr status "${@:2}" --json | jq -e "$1"; } # FILTER ARGUMENTS…
log_in() { p11tool --provider "$module" --login --list-privkeys "pkcs11:token=$1"; }

check_refused 'without a trail it says what to do' 'no audit trail is kept: set audit_file' skr status
sed -i "/^\[skr-pkcs11\]/a audit_file = $trail" "$SKR_PKCS11_CONF"
check_says 'a trail that nobody has written to yet' "nothing is on record in $trail yet" skr status
check_says 'is no failure' 'logins .* none on record' skr status

certificate p256
certificate rsa2048 /CN=rsa.example.org
rm -f "$trail"
check 'a login' log_in skr
check_fails 'a refused one' log_in other
versions=$(jq -r 'select(.released) | .keys[] | .name + "=" + .version' "$trail" | sort)
requests=$(wc -l <"$SKR_EMULATOR_DIR/requests.jsonl")

check_says 'a good token is good' 'ok .* logins .*succeeded' skr status skr
check_says 'its key has its version' "ok .*p256 .*version $(echo "$versions" | sed -n 's/^p256=//p')" skr status skr
check_says 'the certificate has days, and its key' 'note|WARN .*p256.crt .*CN=localhost, valid until .*\((29|30) days\), for key p256' skr status skr
check_refused 'a refused token is not, with advice' 'FAILED .*logins .*failed' skr status other
check_refused 'its failure has a number and advice' 'SKR-332 .*1 times' skr status other
check_refused 'all tokens together' 'token skr' skr status
check 'for programs' says '.tokens[0].token == "skr" and .tokens[0].good and (.tokens[0].keys | map(.name) == ["rsa2048", "p256"]) and .tokens[0].logins.released == 1' skr
check 'versions and hashes' says '.tokens[0].keys | all((.version | length) == 32 and (.last_release | fromdate) > 0)' skr
check 'which certificate is which key' says '[.tokens[0].certificates[] | .key] | sort == ["p256", "rsa2048"]' skr
check_fails 'a failed token fails' skr status --json other
check 'and is described all the same' sh -c "'$build/src/skr-pkcs11' status --json other | jq -e '.tokens[0].failures[0].number == 332 and (.tokens[0].good | not)'"
[ "$(wc -l <"$SKR_EMULATOR_DIR/requests.jsonl")" = "$requests" ] || { echo 'FAILED: status asked somebody'; exit 1; }
echo 'ok: nobody was asked'

# Certificates that are a trouble.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 10 -subj '/CN=soon' -keyout /dev/null -out soon.crt 2>/dev/null
/usr/bin/python3 -c 'import sys
print(open("ca.pem").read()[:200])' >broken.crt
sed -i "/^\[token skr\]/a certificate = $SKR_RUN/soon.crt" "$SKR_PKCS11_CONF"
check_says 'one that ends soon, of a key that was never released' 'WARN .*soon.crt .*CN=soon, valid until .*, for none of the keys on record' skr status skr
sed -i "/^\[token skr\]/a certificate = $SKR_RUN/broken.crt" "$SKR_PKCS11_CONF"
check_refused 'one that cannot be read' 'FAILED .*broken.crt' skr status skr
sed -i "/broken.crt/d" "$SKR_PKCS11_CONF"

# Metrics.
check 'metrics to a file' skr status --prometheus metrics.prom
check 'which all may read' sh -c '[ "$(stat -c %a metrics.prom)" = 644 ]'
check_says 'a sample' 'skr_pkcs11_key_last_release_timestamp_seconds\{token="skr",key="p256",host="[^"]*",version="[0-9a-f]{32}"\} 1[0-9]{9}$' cat metrics.prom
check_says 'a failure' 'skr_pkcs11_failures_total\{token="other",failure="SKR-332"\} 1$' cat metrics.prom
check_says 'a certificate' 'skr_pkcs11_certificate_not_after_timestamp_seconds\{token="skr",file="[^"]*soon.crt",subject="CN=soon"\} 1[0-9]{9}$' cat metrics.prom
if command -v promtool >/dev/null; then
	check 'promtool finds nothing to complain of' sh -c 'promtool check metrics <metrics.prom'
fi
cp metrics.prom before.prom
check_refused 'a folder that is not there is one sentence' 'absent/metrics.prom cannot be written' skr status --prometheus "$SKR_RUN/absent/metrics.prom"
mkdir folder.prom
check_refused 'so is a folder in its place' 'folder.prom cannot be written' skr status --prometheus folder.prom
[ "$(find . -maxdepth 1 -name '*.prom.*' | wc -l)" = 0 ] || { echo 'FAILED: something is left behind'; exit 1; }
echo 'ok: nothing is left behind'
check 'many at once: who reads meanwhile sees a whole file' bash -c "
	for i in 1 2 3 4 5 6 7 8; do '$build/src/skr-pkcs11' status --prometheus metrics.prom & done
	while [ \"\$(jobs -rp)\" ]; do [ \$(wc -l <metrics.prom) = $(wc -l <before.prom) ] || exit 1; done; wait"

# After rotation, and by another way.
mv "$trail" "$trail.1"
check 'the rotated file is read too' says '.tokens[0].logins.released == 1' skr
check_fails 'a login that is refused again' log_in other
check_refused 'counts on' 'SKR-332 .*2 times' skr status other
check 'the trail can come by the standard input, as from journalctl' sh -c "cat '$trail.1' | '$build/src/skr-pkcs11' status --audit - --json skr | jq -e '.tokens[0].logins.released == 1'"

# What is not understood.
status_of() { local code=0; "$@" >out 2>err || code=$?; echo $code; }
for arguments in 'nobody' '--json --prometheus x' '--audit absent' '--audit .' '--config absent.conf' '--frobnicate' 'skr other' '--prometheus'; do
	code=$(status_of skr status $arguments)
	[ "$code" = 2 ] && [ ! -s out ] && [ -s err ] && [ "$(wc -l <err)" -le 3 ] || { echo "FAILED: status $arguments: $code"; cat out err; exit 1; }
	echo "ok: status $arguments is refused"
done
