#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# I-05: secrets whose bytes are known pass through logins that succeed and logins that fail, with log_level = debug, through every
# command and several consumers; then everything that any of them wrote is searched: log, audit trail, what went to the
# terminal, reports, metrics, the emulator's record of requests.
. "$(dirname "$0")/../support/interop.sh"
planted=$SKR_RUN/planted wrote=$SKR_RUN/wrote
secrets() { /usr/bin/python3 "$SKR_TOP/tests/support/planted_secrets.py" "$1" "$planted" "${@:2}"; }
mkdir -p "$planted" "$wrote"
chmod 700 "$planted"

# ---- what is planted

secrets keys
settings="\"attributes\":{\"exportable\":true},\"release_policy\":{\"data\":\"$(release_policy | base64url)\"}"
for name in planted-rsa planted-ec planted-aes planted-hmac; do
	case $name in *aes | *hmac) at=$SKR_EMULATOR_HSM ;; *) at=$SKR_EMULATOR_VAULT ;; esac
	vault PUT "$at/keys/$name" "{\"key\":$(cat "$planted/$name.jwk"),\"Hsm\":true,$settings}" >/dev/null
	rm "$planted/$name.jwk"
done
pin=planted-PIN-4711 wrong_pin=planted-wrong-PIN wrong_secret=planted-wrong-client-secret header=planted-identity-header
pin_hash=$(/usr/bin/python3 -c 'import base64, hashlib, sys
b64 = lambda data: base64.urlsafe_b64encode(data).decode().rstrip("=")
salt = b"0123456789abcdef"
print("scrypt:16384:8:1:%s:%s" % (b64(salt), b64(hashlib.scrypt(sys.argv[1].encode(), salt=salt, n=16384, r=8, p=1, dklen=32))))' $pin)
printf %s "$SKR_EMULATOR_CLIENT_SECRET" | tee "$planted/secret" | secrets text client-secret
printf %s $wrong_secret | tee "$planted/wrong" | secrets text wrong-client-secret
for name in pin wrong_pin header; do printf %s "${!name}" | secrets text "$name"; done
secrets text federated-assertion <"$SKR_EMULATOR_DIR/federated-token"
sed 's/.*\.//' "$SKR_EMULATOR_DIR/federated-token" | secrets text federated-signature
secrets pem client-key "$SKR_EMULATOR_DIR/client.pem"
access_token https://vault.localhost | secrets text access-token
chmod 600 "$planted"/*
echo "ok: $(secrets forms | cut -f1 | sort -u | wc -l) secrets are planted"

application="tenant = $SKR_EMULATOR_TENANT
client = $SKR_EMULATOR_CLIENT
authority = $SKR_EMULATOR_LOGIN"
keys="key = $SKR_EMULATOR_VAULT/keys/planted-rsa
key = $SKR_EMULATOR_VAULT/keys/planted-ec"
sed -i "/^\[skr-pkcs11\]/a audit_file = $wrote/audit\naudit_chain = yes" "$SKR_PKCS11_CONF"
sed -i "s,^log = .*,log = $wrote/log," "$SKR_PKCS11_CONF"
sed -i '/^\[skr-pkcs11\]/a login_deadline = 5' "$SKR_PKCS11_CONF" # what is tried again is not tried for long
{
	write_token planted "$keys" "key = $SKR_EMULATOR_HSM/keys/planted-aes" "key = $SKR_EMULATOR_HSM/keys/planted-hmac" 'identity = managed'
	write_token secret "$keys" "$application" "identity = secret:$planted/secret"
	write_token wrong "$keys" "$application" "identity = secret:$planted/wrong"
	write_token certificate "$keys" "$application" "identity = certificate:$SKR_EMULATOR_DIR/client.pem"
	write_token workload "$keys" "$application" 'identity = workload'
	write_token pin "$keys" 'identity = managed' "pin_hash = $pin_hash"
} >>"$SKR_PKCS11_CONF"
export AZURE_FEDERATED_TOKEN_FILE=$SKR_EMULATOR_DIR/federated-token AZURE_CLIENT_SECRET=$wrong_secret MSI_SECRET=$header

# ---- what is done; each run's words go to a file of their own, and how it ends does not matter here

runs=0
run() {
	runs=$((runs + 1))
	timeout 60 "$@" >"$wrote/$runs.out" 2>"$wrote/$runs.err" </dev/null || true
}
skr() { run "$build/src/skr-pkcs11" "$@"; }
tokens='planted secret wrong certificate workload pin other'
head -c 32 /dev/urandom >digest

for token in $tokens; do
	skr doctor $token
	run p11tool --provider "$module" --login --set-pin $pin -d 9 --list-all "pkcs11:token=$token"
done
skr doctor --json planted
skr attest planted
skr attest --json planted
run "$SKR_EMULATOR_DIR/inside" "$build/src/skr-pkcs11" attest planted
run "$SKR_EMULATOR_DIR/inside" "$build/src/skr-pkcs11" attest --json planted
run "$SKR_EMULATOR_DIR/inside" "$build/src/skr-pkcs11" doctor planted
run "$SKR_EMULATOR_DIR/inside" "$build/src/skr-pkcs11" policy generate planted
run "$SKR_EMULATOR_DIR/inside" "$build/src/skr-pkcs11" policy explain --key "$SKR_EMULATOR_VAULT/keys/planted-rsa" planted
skr tokens --module "$module" --login
skr csr planted --key planted-ec --subject /CN=planted --module "$module" --output "$wrote/csr.pem"
skr cert planted --login --module "$module"
for consumer in nginx apache haproxy stunnel openssl gnupg ssh java curl; do
	skr print-config $consumer planted --key planted-rsa --module "$module"
done
skr config check
skr config settings
run pkcs11-tool -v --module "$module" --token-label pin --login --pin $wrong_pin -O
run pkcs11-tool -v --module "$module" --token-label pin --login --pin $pin -O
run pkcs11-tool -v --module "$module" --token-label planted --login --pin $wrong_pin -O
run pkcs11-tool -v --module "$module" --token-label planted --login --so-pin $wrong_pin -O
run pkcs11-tool -v --module "$module" --token-label planted --login --sign --mechanism RSA-PKCS-PSS --hash-algorithm SHA256 --id "$(key_id planted planted-rsa)" --input-file digest --output-file "$wrote/signature"
run pkcs11-tool -v --module "$module" --token-label planted --login --decrypt --mechanism RSA-PKCS --id "$(key_id planted planted-rsa)" --input-file "$wrote/signature"
run pkcs11-tool -v --module "$module" --token-label planted --login --read-object --type privkey --id "$(key_id planted planted-rsa)"
cat >guess.py <<'END'
import sys
import PyKCS11
library = PyKCS11.PyKCS11Lib()
library.load(sys.argv[1])
slot = next(s for s in library.getSlotList(True) if library.getTokenInfo(s).label.strip() == "pin")
session = library.openSession(slot)
for attempt in range(7):
    try:
        session.login(sys.argv[2])
    except PyKCS11.PyKCS11Error as error:
        print(error)
END
run /usr/bin/python3 guess.py "$module" $wrong_pin

# Answers that are spoilt on the way: what cannot be understood is what one is tempted to print.
while read -r rule; do
	curl -sSf -o /dev/null -X DELETE "$SKR_EMULATOR_CONTROL/faults"
	curl -sSf -o /dev/null -d "$rule" "$SKR_EMULATOR_CONTROL/faults"
	case $rule in imds*) token=planted ;; *) token=secret ;; esac
	run p11tool --provider "$module" --login -d 9 --list-privkeys "pkcs11:token=$token"
done <<'END'
imds.token mutate(token_type,pop)
entra.token mutate(token_type,pop)
entra.token mutate(expires_in)
entra.token truncate(700)
entra.token status(401,7000215)
entra.token mutate(header.Content-Type,text/html)
maa.attest mutate(jwt.payload.iss,https://elsewhere.example)
maa.attest mutate(header.Content-Type,text/html)
akv.release status(400)
akv.release status(401)
akv.release status(403,ForbiddenByPolicy)
akv.release mutate(key_hsm.ciphertext,flip)
akv.release mutate(jws.raw.signature,flip)
akv.release truncate(2000)
akv.release mutate(header.Content-Type,text/html)
END
curl -sSf -o /dev/null -X DELETE "$SKR_EMULATOR_CONTROL/faults"
IDENTITY_ENDPOINT=$SKR_EMULATOR_IMDS/msi/token IDENTITY_HEADER=$header run p11tool --provider "$module" --login --list-privkeys 'pkcs11:token=planted'
sed -i "s,^log = .*,log = stderr," "$SKR_PKCS11_CONF"
for token in $tokens; do run p11tool --provider "$module" --login --set-pin $pin --list-all "pkcs11:token=$token"; done
skr status
skr status --json
skr status --prometheus "$wrote/metrics.prom"
skr audit verify "$wrote/audit"

# ---- what they wrote

lines_of() { grep -c "$1" "$wrote/audit" || true; }
check 'commands looked at the machine from inside' grep -lq azure-compliant-uvm "$wrote"/*.out
check_says 'and signed' 'BEGIN CERTIFICATE REQUEST' cat "$wrote/csr.pem"
check 'the runs did what they should: releases, refusals, security events' [ "$(lines_of '"released":true')" -ge 8 -a "$(lines_of '"result":"failed"')" -ge 20 -a "$(lines_of '"event":"security"')" -ge 3 ]
check 'the log is at its most talkative' sh -c "grep -q ' debug: ' '$wrote/log' && grep -q ' skr-agent\[' '$wrote/log'"
check 'PINs were locked out' grep -q '"failure":412' "$wrote/audit"
check 'that is a security event' sh -c "grep '\"failure\":412' '$wrote/audit' | grep -q '\"event\":\"security\"'"
cp "$SKR_EMULATOR_DIR/requests.jsonl" "$SKR_EMULATOR_DIR/emulator.out" "$SKR_EMULATOR_DIR/emulator.err" "$wrote"
! [ -e skr-pkcs11.log ] || cp skr-pkcs11.log "$wrote"
check_says "nothing that is secret is in what $runs runs wrote" ' 0 found' secrets search "$wrote"

# The search itself: each form of each secret is found where it was written.
mkdir control
secrets forms | while IFS=$'\t' read -r name form; do printf '%s %s\n' "$name" "$form"; done >control.list
/usr/bin/python3 - <<'END'
import collections
for number, line in enumerate(open("control.list")):
    name, form = line.split()
    with open(f"control/{number}", "wb") as out:
        out.write(b"2026-11-22 debug: something went wrong: " + bytes.fromhex(form) + b" and so on\n")
END
secrets search control >control.out || true
[ "$(cut -d' ' -f1 control.out | grep -c '^control/')" -ge "$(wc -l <control.list)" ] &&
	[ "$(sed -n 's,^control/\([0-9]*\) .*,\1,p' control.out | sort -u | wc -l)" = "$(wc -l <control.list)" ] || {
	echo "FAILED: planted secrets were not found: $(tail -n 1 control.out)"
	exit 1
}
echo "ok: each of $(wc -l <control.list) forms is found where it is written"
rm -rf control
cp "$SKR_EMULATOR_DIR/federated-token" "$SKR_EMULATOR_DIR/client.pem" "$wrote"
check_refused 'a token and a key that somebody leaves there are found' 'client.pem holds client-key.d' secrets search "$wrote"
grep -q 'federated-token holds federated-signature' check.out || { echo 'FAILED: the token was not found'; exit 1; }
rm "$wrote/federated-token" "$wrote/client.pem"
