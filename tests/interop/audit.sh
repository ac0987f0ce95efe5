#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The audit trail of real logins: what is in the lines, chained over processes and rotation, to syslog, to journald.
. "$(dirname "$0")/../support/interop.sh"
skr() { "$build/src/skr-pkcs11" "$@"; }
trail=$SKR_RUN/audit
global() { # LINE… : replaces what the trail's settings were
	sed -i '/^audit/d' "$SKR_PKCS11_CONF"
	local line
	for line in "$@"; do sed -i "/^\[skr-pkcs11\]/a $line" "$SKR_PKCS11_CONF"; done
}
log_in() { p11tool --provider "$module" --login --list-privkeys "pkcs11:token=${1:-skr}"; }
# line FILTER : the last line of the trail, as jq sees it.
says() { tail -n 1 "$trail" | jq -e "$1"; }

global "audit_file = $trail" 'audit_chain = yes' 'audit = required'
check 'a login' log_in
check 'the intent is on record before the release' sh -c "head -n 1 '$trail' | jq -e '.event == \"login-begins\" and .seq == 1 and (.keys | length) == 2'"
check 'the login is' sh -c "grep '\"released\":true' '$trail' | tail -n 1 >'$trail.login' && [ -s '$trail.login' ]"
check 'time, process, program, token, slot' jq -e '(.time | fromdate) > 0 and .monotonic > 0 and .pid > 0 and .uid >= 0 and .program == "p11tool" and .token == "skr" and .slot == 0' "$trail.login"
check 'vault, name, version, hash of the public key' jq -e '.keys | all((.host | length) > 0 and (.name | length) > 0 and (.version | length) == 32 and (.public_key_sha256 | length) == 64)' "$trail.login"
check 'attestation instance, kind of TEE, evidence, endorsements' jq -e '(.attestation | startswith("https://")) and .told_by_agent.tee == "AMD SEV-SNP" and .told_by_agent.evidence == "snp-ioctl" and .told_by_agent.endorsements == "security-context"' "$trail.login"
check 'claims' jq -e '.told_by_agent | .["x-ms-attestation-type"] == "sevsnpvm" and .["x-ms-compliance-status"] == "azure-compliant-uvm" and (.["x-ms-sevsnpvm-hostdata"] | length) == 64 and (.["x-ms-sevsnpvm-launchmeasurement"] | length) == 96 and .["x-ms-sevsnpvm-is-debuggable"] == "false"' "$trail.login"
check 'the requests, by the services'"' "'own ids' jq -e '.told_by_agent | (.["request-attestation"] | length) > 8 and (.["request-release.rsa2048"] | length) > 8 and (.["request-release.p256"] | length) > 8' "$trail.login"
check 'result, duration, steps' jq -e '.result == "ok" and .released and .ms > 0 and (.steps | length) >= 7' "$trail.login"
check 'the key is that of the token' sh -c "p11tool --provider '$module' --login --export 'pkcs11:token=skr;object=p256;type=public' 2>/dev/null |
	openssl pkey -pubin -outform DER | sha256sum | cut -c1-64 >'$trail.hash' &&
	jq -e --arg hash \"\$(cat '$trail.hash')\" 'any(.keys[]; .name == \"p256\" and .public_key_sha256 == \$hash)' '$trail.login'"

"$SKR_TOP/tests/support/known-key.sh" known.numbers >/dev/null
rm known.numbers
check 'symmetric keys' log_in known
check 'have no public key, nor its hash' sh -c "grep '\"known-aes\"' '$trail' | grep '\"released\":true' | jq -e '.keys | length == 3 and (map(select(.public_key_sha256)) | map(.name)) == [\"known\"]'"
check_fails 'a release that is refused' log_in other
check_says 'is on record, with the claims that were not enough' true says '.event == "login" and .result == "failed" and .failure == 332 and .http == 403 and (.request_id | length) > 8 and .attempts == 1 and .step == "release" and (.keys[0].name == "elsewhere") and (.told_by_agent["x-ms-sevsnpvm-hostdata"] | length) == 64'
curl -sSf -o /dev/null -d 'akv.release mutate(jws.raw.signature,flip)' "$SKR_EMULATOR_CONTROL/faults"
check_fails 'a release that does not verify' log_in faulty
check_says 'is a security event' true says '.event == "security" and .failure == 340'
curl -sSf -o /dev/null -X DELETE "$SKR_EMULATOR_CONTROL/faults"

check 'the chain holds' skr audit verify "$trail"
head=$(skr audit verify "$trail" | sed -n 's/^head *//p')
mv "$trail" "$trail.1"
for i in 1 2 3 4; do log_in >/dev/null 2>&1 & children+=($!); done
wait "${children[@]}"
children=()
check_says 'four processes at once, after rotation: one chain over both files' unbroken skr audit verify "$trail.1" "$trail"
check_says 'the head noted before is in it' 'found, (8|1[0-9]|9) lines' skr audit verify --head "$head" "$trail.1" "$trail"
check_says 'the new file alone names the old one' "after  $head" skr audit verify "$trail"
sed '2s/"ok"/"no"/;2s/"skr"/"web"/' "$trail.1" >"$trail.changed"
check_refused 'a changed line is found' 'changed, line 3 does not fit: the line before it was changed' skr audit verify "$trail.changed"
sed 3d "$trail.1" >"$trail.missing"
check_refused 'a missing line is found' 'line 3 does not fit: its number is 4 where 3 belongs: lines before it are missing' skr audit verify "$trail.missing"
sed '$d' "$trail" >"$trail.cut"
check 'a missing end is not found by the chain' skr audit verify "$trail.1" "$trail.cut"
check_refused 'but by the head' 'is the hash of no line' skr audit verify --head "$(skr audit verify "$trail" | sed -n 's/^head *//p')" "$trail.1" "$trail.cut"
check 'sha256sum computes the same head' sh -c "[ \"\$(tail -n 1 '$trail' | tr -d '\\n' | sha256sum | cut -c1-64)\" = \"\$('$build/src/skr-pkcs11' audit verify '$trail' | sed -n 's/^head *//p')\" ]"

# Who holds the lock delays a login by a tenth of a second, and with audit = required there is none.
/usr/bin/python3 -c 'import fcntl, sys, time, struct
f = open(sys.argv[1], "r")
fcntl.fcntl(f, 37, struct.pack("hhqqi4x", 0, 0, 0, 0, 0))  # F_OFD_SETLK, F_RDLCK
print("held", flush=True)
time.sleep(60)' "$trail" >held &
children+=($!)
until grep -q held held; do sleep 0.05; done
check_fails 'a trail that somebody holds refuses the login' log_in
check_log 'with its number' 'SKR-018 .*somebody else held the lock for 100 ms'
kill "${children[0]}"
wait "${children[0]}" 2>/dev/null || true
children=()
check 'and then it goes on' log_in

# Sockets of our own in place of the system's.
cat >receive.py <<'END'
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
out = open(sys.argv[2], "ab", buffering=0)
while True:
    out.write(s.recv(1 << 20) + b"\n--\n")
END
for kind in syslog journald; do
	global "audit_to = $kind:$SKR_RUN/$kind.socket" 'audit = required'
	check_fails "nobody at the socket of $kind: no login" log_in
	check_log 'with its number' "SKR-018 .*connecting to .*$kind.socket"
	/usr/bin/python3 receive.py "$SKR_RUN/$kind.socket" "$SKR_RUN/$kind.got" &
	children+=($!)
	until [ -S "$kind.socket" ]; do sleep 0.05; done
	check "a login told to $kind" log_in
done
check 'syslog got lines' sh -c "grep -aE '^<85>[A-Z][a-z][a-z] [ 0-9][0-9] [0-9:]{8} skr-pkcs11\[[0-9]+\]: \{\"time\"' syslog.got | sed 's/^[^{]*//' | jq -se 'map(.event) | index(\"login-begins\") == 0 and index(\"login\") == 1'"
check 'journald got fields' /usr/bin/python3 -c '
import json, struct
data = open("journald.got", "rb").read()
entries = []
while data:
    fields = {}
    while not data.startswith(b"--\n") and data != b"":
        if data.startswith(b"\n--\n"):
            data = data[1:]
            break
        name, data = data.split(b"\n", 1)
        size = struct.unpack("<Q", data[:8])[0]
        fields[name.decode()] = data[8:8 + size].decode()
        data = data[8 + size + 1:]
    data = data[3:]
    entries.append(fields)
events = [json.loads(e["MESSAGE"])["event"] for e in entries]
assert events[:2] == ["login-begins", "login"], events
assert entries[1]["SKR_RESULT"] == "ok" and entries[1]["SKR_TOKEN"] == "skr" and entries[1]["SYSLOG_FACILITY"] == "10"
'

# Who is turned away by the agent's service is on record there, whatever their own module writes.
if [ "$(id -u)" = 0 ] && command -v systemd-socket-activate >/dev/null; then
	global "audit_file = $SKR_RUN/service.audit"
	sed "s,^agent = .*,agent = unix:$SKR_RUN/agent.sock,; s,^log = .*,log = none,; /^audit/d; s,^ca_file = .*,ca_file = $SKR_RUN/client-ca.pem," "$SKR_PKCS11_CONF" >client.conf
	install -m 644 azure/ca.pem client-ca.pem
	chmod 644 client.conf
	systemd-socket-activate --accept --inetd --setenv=SKR_PKCS11_CONF --listen="$SKR_RUN/agent.sock" "$SKR_EMULATOR_DIR/skr-agent" >service.log 2>&1 &
	children+=($!)
	until [ -S agent.sock ]; do sleep 0.05; done
	chmod 666 agent.sock
	check_fails 'an outsider asks the service' setpriv --reuid 65534 --regid 65534 --clear-groups env SKR_PKCS11_CONF="$SKR_RUN/client.conf" p11tool --provider "$module" --login --list-privkeys 'pkcs11:token=skr'
	check 'which is a security event with their numbers' jq -e '.event == "security" and .failure == 507 and .token == "skr" and .peer_uid == 65534 and .peer_gid == 65534 and .peer_pid > 0 and .program == "skr-agent"' service.audit
fi
