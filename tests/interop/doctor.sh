#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Broken situations, one after the other: doctor names the cause of each, and a command that helps.
export SKR_TEST_FEW_KEYS=1
. "$(dirname "$0")/../support/interop.sh"
need openssl curl
cli() { "$build/src/skr-pkcs11" "$@"; }
vault=$SKR_EMULATOR_VAULT
situations=0

# doctor looks by itself too: inside the played machine it sees the played device.
inside() {
	LD_PRELOAD=$build/src/skr-guest-preload.so SKR_GUEST_SOCKET=$SKR_EMULATOR_DIR/hardware.sock SKR_GUEST_DEVICES=${devices:-sev-guest} \
		SKR_GUEST_FAULT=$(cat "$SKR_EMULATOR_DIR/device-fault" 2>/dev/null) SKR_GUEST_TPM=${SKR_EMULATOR_TPM_PORT:-} \
		SKR_GUEST_EVENT_LOG=$SKR_EMULATOR_DIR/binary_bios_measurements UVM_SECURITY_CONTEXT_DIR=${context-$SKR_EMULATOR_DIR/security-context} \
		"$build/src/skr-pkcs11" "$@"
}
fault() { curl -sSf -o /dev/null --data-binary "$1" "$SKR_EMULATOR_CONTROL/faults"; }
no_fault() { curl -sSf -o /dev/null -X DELETE "$SKR_EMULATOR_CONTROL/faults"; }
hardware() { curl -sSf -o /dev/null --data-binary "$1" "$SKR_EMULATOR_CONTROL/hardware"; }
clock() { curl -sSf -o /dev/null --data-binary "{\"offset\":$1}" "$SKR_EMULATOR_CONTROL/clock"; }

# conf NAME KEY [LINES of the token…] : NAME.conf with a token "one"; `general` has lines of the first section.
conf() {
	local name=$1 key=$2
	shift 2
	write_configuration "$SKR_RUN/$name.conf" one "key = $key" "$@"
	sed -i "s,^allow_custom,login_deadline = 6\n${general:-}&," "$name.conf"
}
replace() { sed "$3" "$2.conf" >"$1.conf"; } # replace NEW OLD SCRIPT : a configuration like another

# says WORD PATTERN : the last output has such a line.
says() {
	grep -qE -- "$2" said.out || {
		echo "FAILED: $situation: no $1 \"$2\" in"
		cat said.out
		exit 1
	}
}

# run_doctor STATUS CONF : as this user, or by `as`.
run_doctor() {
	local status=0
	${as:-inside} doctor --config "$SKR_RUN/$2.conf" >said.out 2>&1 || status=$?
	{ echo "### $situation"; cat said.out; } >>everything.out
	[ "$status" = "$1" ] || {
		echo "FAILED: $situation: status $status, not $1"
		cat said.out
		exit 1
	}
	[ "$1" != 0 ] || ! grep -q '^  FAILED' said.out || { echo "FAILED: $situation: status 0 and a failure"; cat said.out; exit 1; }
}

# broken TEXT NUMBER CONF CAUSE FIX : doctor fails, names number and cause, and has a command.
broken() {
	situation=$1
	run_doctor "${status:-1}" "$3"
	says number "SKR-$2 "
	says cause "$4"
	says advice 'what to do: .'
	says fix "^ +try: .*$5"
	echo "ok: $1"
	situations=$((situations + 1))
}

# warned TEXT CONF CAUSE FIX : doctor makes its login, and warns.
warned() {
	situation=$1
	run_doctor "${status:-0}" "$2"
	says warning "^  ${mark:-WARN}  .*$3"
	says fix "${4:+^ +try: .*$4}"
	says login '^  ok +login '
	echo "ok: $1"
	situations=$((situations + 1))
}

condition() { # CLAIM VALUE… : a policy of these, for this instance
	local list=
	while [ $# -gt 0 ]; do
		list="$list${list:+,}{\"claim\":\"$1\",\"equals\":\"$2\"}"
		shift 2
	done
	printf '{"version":"1.0.0","anyOf":[{"authority":"%s","allOf":[%s]}]}' "$SKR_EMULATOR_ATTESTATION" "$list"
}
key_of() { create_key "$vault" "$1" EC-HSM:P-256 "$(condition "${@:2}")"; }
attributes() { vault PATCH "$vault/keys/$1" "{\"attributes\":$2}" >/dev/null; }

# --- nothing is broken ---
conf good "$vault/keys/p256"
situation="nothing is broken"
run_doctor 0 good
for line in 'ok +configuration' 'ok +agent' 'ok +device +/dev/sev-guest' 'ok +evidence +[0-9]+ ms' 'ok +attestation +[0-9]+ ms' 'ok +identity' \
	'ok +release' 'ok +verify' 'ok +sign' 'ok +login' 'ok +clock' 'ok +debugging' 'ok +policy +key p256'; do
	says line "^  $line"
done
warned "an attestation instance for everybody" good 'instance +shared' 'az attestation create'
check "the same for machines" inside doctor --config "$SKR_RUN/good.conf" --json
cp check.out good.json
check "it is one document" python3 -c 'import json,sys
d=json.load(open("good.json")); assert d["exit"]==0 and d["failed"]==0 and d["warnings"]==1, d
assert {"login","sign","clock"} <= {c["name"] for c in d["checks"]}; assert all(c["verdict"] in ("ok","note","warning","failed") for c in d["checks"])'
as=cli run_doctor 0 good
situation="without rights to the device" says note '^  note +debugging +not looked at: .*SKR-100'

# --- configuration and files ---
replace syntax good 's,^log = .*,log = loud,'
status=2 broken "a line that is not understood" 004 syntax 'syntax.conf:[0-9]+: log: loud' "sudoedit $SKR_RUN/syntax.conf .*skr-pkcs11 config check"
replace open good ''
chmod 666 open.conf
status=2 broken "a configuration that others can write" 003 open 'open.conf' "chmod go-w $SKR_RUN/open.conf"
status=2 broken "no configuration" 001 absent 'absent.conf' 'sudoedit'
replace no-agent good 's,^agent = .*,agent = exec:/nowhere/skr-agent,'
broken "an agent that is not there" 500 no-agent '/nowhere/skr-agent' 'reinstall'
says "what is still possible" 'what can still be looked at'
says "evidence by doctor itself" '^  ok +evidence'
says "attestation by doctor itself" '^  ok +attestation'
says "identity by doctor itself" '^  ok +identity .* object id [0-9a-f-]{36}'
says "policy by doctor itself" '^  ok +policy +key p256 is satisfied'
replace no-trail good "s,^log = .*,&\naudit = required\naudit_file = $SKR_RUN/nowhere/trail,"
broken "a trail that is required and cannot be written" 018 no-trail 'nowhere/: No such file' 'sudo install -d .*nowhere/trail'
replace lost-trail good "s,^log = .*,&\naudit_file = $SKR_RUN/nowhere/trail,"
warned "a trail that cannot be written" lost-trail 'audit_file' 'sudo install -d .*nowhere/trail'
replace no-crt good "s,^\[token one\],&\ncertificate = $SKR_RUN/nowhere.pem,"
broken "a certificate that is not there" 008 no-crt 'nowhere.pem: No such file' 'ls -l .*nowhere.pem'
install -m 777 "$SKR_EMULATOR_DIR/skr-agent" loose-agent
replace loose good "s,^agent = .*,agent = exec:$SKR_RUN/loose-agent,"
broken "an agent that others can write" 500 loose 'loose-agent' 'chmod go-w'
replace no-socket good 's,^agent = .*,agent = unix:/nowhere/agent.sock,'
broken "a socket that is not there" 502 no-socket '/nowhere/agent.sock' 'systemctl enable --now skr-agent.socket'
replace lock good 's,^agent = .*,&\nmemory_lock = require,'
if [ "$(id -u)" = 0 ]; then
	unlockable() { (ulimit -l 0 && setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock "$build/src/skr-pkcs11" "$@"); }
	as=unlockable broken "memory that must be locked and cannot" 011 lock 'cannot be locked' 'LimitMEMLOCK'
fi
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=Stranger' -keyout other.key -out other.pem 2>/dev/null
replace ca good "s,^ca_file = .*,ca_file = $SKR_RUN/other.pem,"
broken "an authority that is not trusted" 220 ca 'issuer' 'openssl s_client -connect'

# --- rights of real users ---
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$build/src/skr-pkcs11" "$@"; }
	cp azure/ca.pem client-ca.pem
	chmod 644 client-ca.pem
	python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.bind("group.sock"); s.listen()'
	chgrp daemon group.sock && chmod 660 group.sock
	replace group good "s,^agent = .*,agent = unix:$SKR_RUN/group.sock,; s,^ca_file = .*,ca_file = $SKR_RUN/client-ca.pem,"
	as=nobody broken "a user outside the group of the socket" 502 group 'group.sock' 'usermod -aG daemon nobody'
	device=/dev/skr-test-$$ # a file is enough: nobody gets to open it
	at_exit() { rm -f "/dev/skr-test-$$"; }
	: >"$device" && chgrp daemon $device && chmod 660 $device
	install -m 755 "$build/src/skr-agent" own-agent
	replace rights good "s,^agent = .*,agent = exec:$SKR_RUN/own-agent\ntpm = device:$device,; s,^ca_file = .*,ca_file = $SKR_RUN/client-ca.pem,; s,^\[token one\],&\nevidence = azure-cvm,"
	as=nobody broken "a user outside the group of the TPM" 101 rights "$device.* of root:daemon with mode 0660: not for user nobody" 'usermod -aG daemon nobody'
fi

# --- the machine ---
echo none >"$SKR_EMULATOR_DIR/devices"
devices=none broken "no device" 100 good 'No such file' 'ls -l /dev/sev-guest'
echo sev-guest >"$SKR_EMULATOR_DIR/devices"
echo EACCES >"$SKR_EMULATOR_DIR/device-fault"
replace ioctl good 's,^\[token one\],&\nevidence = snp-ioctl,'
situation="a device that may not be opened"
run_doctor 1 ioctl
says number 'SKR-101 '
says cause '/dev/sev-guest.*(Permission|errno)'
says fix 'try: ls -l /dev/sev-guest'
situations=$((situations + 1))
echo "ok: $situation"
rm "$SKR_EMULATOR_DIR/device-fault"
replace thim good 's,^\[token one\],&\nendorsements = thim,'
fault 'thim.certification status(404)'
broken "THIM is down" 141 thim '404' 'metadata/THIM/amd/certification'
says "what is still possible" '^  ok +identity'
says "what is still possible" '^  ok +policy'
no_fault
hardware '{"thim_tcb":"7308000000000002"}'
broken "endorsements of another TCB" 142 thim '7308000000000002' 'tcbm'
hardware '{"thim_tcb":null}' || hardware '{"thim_tcb":"7308000000000003"}'

# --- attestation, clock ---
fault 'maa.attest status(400,code=InvalidParameter,message=bad evidence)'
broken "the attestation service refuses the evidence" 320 good 'bad evidence' 'skr-pkcs11 attest --no-service one'
says "what is still possible" '^  ok +identity'
no_fault
fault 'maa.attest status(404)'
broken "an attestation instance that is none" 321 good '404' 'az attestation list'
no_fault
replace instance good "s,sharedemu,elsewhere,"
broken "another attestation instance than the policy's" 332 instance 'trusts https://sharedemu' "attestation = $SKR_EMULATOR_ATTESTATION"
clock 7200
broken "a clock that is two hours behind" 019 good 'clock is 7[12][0-9]{2} s behind' 'timedatectl'
clock -200000
broken "a clock that is two days ahead" 019 good 'clock is (19|20)[0-9]{4} s ahead' 'timedatectl'
clock 0
fault 'maa.attest status(429,Retry-After: 60)'
broken "the attestation service throttles" 322 good '429' 'attest'
no_fault

# --- identity ---
conf stranger "$vault/keys/p256" 'identity = managed:00000000-0000-0000-0000-000000000000'
broken "an identity that this machine does not have" 301 stranger 'identity' 'az vm identity assign'
says "what is still possible" '^  ok +vault .* answers'
fault 'imds.token status(400,code=invalid_request,message=Multiple user assigned identities exist\, please specify the clientId / resourceId of the identity in the token request)' ||
	fault 'imds.token status(400,code=invalid_request,message=Multiple user assigned identities exist)'
broken "several identities" 301 good 'Multiple user assigned' 'az identity list .*identity = managed:CLIENT-ID'
no_fault
printf wrong >secret && chmod 600 secret
conf secret "$vault/keys/p256" "identity = secret:$SKR_RUN/secret" "tenant = $SKR_EMULATOR_TENANT" "client = $SKR_EMULATOR_CLIENT" "authority = $SKR_EMULATOR_LOGIN"
broken "a client secret that is wrong" '31[24]' secret 'AADSTS' 'az ad app'
printf %s "$SKR_EMULATOR_CLIENT_SECRET" >secret && chmod 644 secret
warned "a client secret that others can read" secret 'mode 0644' "chmod go= $SKR_RUN/secret"

# --- the vault ---
azure_refuses
broken "the role is missing" 331 good 'p256' 'az role assignment create --role "Key Vault Crypto Service Release User" --assignee-object-id [0-9a-f-]{36}'
says "the object id that was refused" "assignee-object-id $(grep -oE 'oid=[0-9a-f-]{36}' said.out | cut -d= -f2) "
inside doctor --config "$SKR_RUN/good.conf" --json >refused.json || true
check "the same for machines" python3 -c 'import json
d=json.load(open("refused.json")); f=[c for c in d["checks"] if c["verdict"]=="failed"]
assert d["exit"]==1 and d["failed"]==1 and len(f)==1, d
assert f[0]["token"]=="one" and f[0]["failure"]["number"]=="SKR-331" and f[0]["failure"]["http"]==403 and f[0]["fix"].startswith("az role assignment"), f'
azure_allows
fault 'akv.release status(403,code=Forbidden,inner=ForbiddenByFirewall,message=Client address is not authorized by its firewall)'
broken "the vault's firewall" 331 good 'irewall' 'az keyvault network-rule add --vault-name contoso'
no_fault
for state in '{"enabled":false}|disabled|--enabled true' '{"exp":1600000000}|expired|--expires' '{"nbf":4000000000}|valid only|--not-before'; do
	IFS='|' read -r change cause fix <<<"$state"
	create_key "$vault" "state-${cause%% *}" EC-HSM:P-256
	attributes "state-${cause%% *}" "$change"
	conf state "$vault/keys/state-${cause%% *}"
	broken "a key: $cause" 333 state "$cause" "az keyvault key set-attributes --vault-name contoso --name state-${cause%% *} $fix"
done
create_key "$vault" gone EC-HSM:P-256
vault DELETE "$vault/keys/gone" >/dev/null
conf gone "$vault/keys/gone"
broken "a deleted key" 334 gone 'gone' 'az keyvault key recover --vault-name contoso --name gone'
vault POST "$vault/keys/rigid/create" '{"kty":"EC-HSM","crv":"P-256"}' >/dev/null
conf rigid "$vault/keys/rigid"
broken "a key that is not exportable" 336 rigid 'rigid' 'az keyvault key create .*--exportable true'
conf misspelt "https://contosso.vault.invalid/keys/p256"
broken "a vault that is misspelt" '20[01]' misspelt 'contosso.vault.invalid' 'getent hosts contosso.vault.invalid  '
says "what is still possible" '^  ok +clock'
fault 'akv.release status(429,Retry-After: 60)'
broken "the vault throttles" 337 good '429' 'sleep 60; skr-pkcs11 doctor one'
no_fault
conf pinned "$vault/keys/p256 public_key_sha256=$(printf '00%.0s' {1..32})"
broken "the hash of another key is pinned" 342 pinned 'p256' 'public_key_sha256='

# --- the release policy: each kind of claim ---
unmet() { # NAME CLAIM VALUE
	key_of "$1" x-ms-attestation-type sevsnpvm "$2" "$3"
	conf "$1" "$vault/keys/$1"
	broken "policy: $2" 332 "$1" "needs $2 = ${3:0:20}.*this machine has" "skr-pkcs11 policy explain --key $vault/keys/$1 one"
}
unmet hostdata x-ms-sevsnpvm-hostdata "$(printf '00%.0s' {1..32})"
unmet measurement x-ms-sevsnpvm-launchmeasurement "$(printf '00%.0s' {1..48})"
unmet compliance x-ms-compliance-status azure-compliant-cvm
unmet vmpl x-ms-sevsnpvm-vmpl 1
unmet vmid x-ms-azurevm-vmid 54B9C28E-0850-468C-AF6A-33CB14C86C34
says "what the machine has" 'x-ms-azurevm-vmid = .*this machine has none'
key_of weak x-ms-attestation-type sevsnpvm x-ms-compliance-status azure-compliant-uvm
conf weak "$vault/keys/weak"
warned "a policy that everybody's machines satisfy" weak 'policy +key weak' 'skr-pkcs11 policy generate'
hardware '{"debug":true}'
key_of nodebug x-ms-sevsnpvm-is-debuggable false x-ms-sevsnpvm-vmpl 0
conf nodebug "$vault/keys/nodebug"
broken "policy: x-ms-sevsnpvm-is-debuggable" 332 nodebug 'needs x-ms-sevsnpvm-is-debuggable = false, this machine has true' 'policy explain'
says warning '^  WARN +debugging'
key_of anydebug x-ms-sevsnpvm-vmpl 0
conf anydebug "$vault/keys/anydebug"
warned "a machine that its host may debug" anydebug 'debugging .*no secret' ''
hardware '{"debug":false}'

# --- certificates ---
public_half() { vault GET "$vault/keys/p256" | python3 "$SKR_TOP/tests/support/jwk_pem.py"; }
cert() { # NAME DAYS PUBLIC-KEY : signed by a test authority; without DAYS it is there already
	[ -z "${2:-}" ] || openssl x509 -req -in any.csr -force_pubkey "$3" -CA other.pem -CAkey other.key -days "$2" -out "$1.crt" 2>/dev/null
	sed "s,^\[token one\],&\ncertificate = $SKR_RUN/$1.crt," good.conf >"$1.conf"
}
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout any.key -out any.csr 2>/dev/null
openssl pkey -in any.key -pubout -out any.pub
public_half >p256.pub
cert fitting 365 p256.pub
situation="a certificate that fits" run_doctor 0 fitting
situation="a certificate that fits" says line '^  ok +certificate .* is valid until .*, 36[45] days'
cert foreign 365 any.pub
warned "a certificate for another key" foreign "foreign.crt is for none of this token's keys" 'skr-pkcs11 csr'
cert soon 20 p256.pub
warned "a certificate that expires soon" soon 'soon.crt expires on .*, in (19|20) days' 'skr-pkcs11 csr'
printf '[ca]\ndefault_ca = d\n[d]\ndatabase = ca.index\nnew_certs_dir = .\nserial = ca.serial\ndefault_md = sha256\npolicy = p\n[p]\ncommonName = supplied\n' >ca.cnf
: >ca.index
echo 01 >ca.serial
openssl ca -batch -notext -config ca.cnf -cert other.pem -keyfile other.key -in any.csr -out late.crt -startdate 20200101000000Z \
	-enddate 20250101000000Z 2>/dev/null
cert late
status=1 mark='FAILED' warned "a certificate that has expired" late 'late.crt expired on' 'skr-pkcs11 csr'
replace broken-crt fitting "s,fitting.crt,other.key,"
broken "a file that is no certificate" 004 broken-crt 'other.key' 'config check'

# --- beside a sidecar ---
replace sidecar good "s,^\[token one\],&\nevidence = sidecar\nsidecar = http://127.0.0.1:$(free_port),"
broken "a sidecar that does not answer" 160 sidecar '127.0.0.1' 'curl -i http://127.0.0.1:[0-9]+/status'

# --- a confidential VM ---
replace cvm good 's,^\[token one\],&\nevidence = azure-cvm,'
broken "a container that is taken for a confidential VM" 100 cvm 'tpmrm0' 'ls -l /dev/sev-guest'
if command -v swtpm >/dev/null; then
	stop_emulator
	start_emulator "$SKR_RUN/cvm" --machine cvm-snp
	devices=tpm,event-log context=
	vault=$SKR_EMULATOR_VAULT
	create_key "$vault" p256 EC-HSM:P-256
	conf vm "$vault/keys/p256"
	situation="a confidential VM" run_doctor 0 vm
	situation="a confidential VM" says device '^  ok +device +/dev/tpmrm0: vTPM'
	tpm() { curl -sSf -o /dev/null --data-binary "$1" "$SKR_EMULATOR_CONTROL/tpm"; }
	situation="a confidential VM" says endorsements "^  note +endorsements +from thim, for the report's TCB 7308000000000003, .* not a vendor's"
	tpm '{"ak_certificate":"expiring"}'
	situation="a vTPM's certificate that expires" run_doctor 0 vm
	situation="a vTPM's certificate that expires" says warning '^  WARN +vTPM'
	situation="a vTPM's certificate that expires" says cause '(19|20) days are left of the one by CN='
	situation="a vTPM's certificate that expires" says fix 'try: sudo reboot'
	situations=$((situations + 1))
	tpm '{"ak_certificate":"placeholder"}'
	broken "a machine that is not certified yet" 146 vm 'certif' 'sleep 600; skr-pkcs11 doctor one'
	tpm '{"ak_certificate":"good"}'
	conf named "$vault/keys/p256"
	sed -i '/^evidence/d; s/^\[token one\]/&\nevidence = trusted-launch/' named.conf
	broken "a confidential VM that is called a Trusted Launch VM" '(134|332)' named 'x-ms-isolation-tee|134' '.'
	says "what is odd" '^  WARN +evidence +trusted-launch'
	says "what to change" 'evidence = auto, if this is a confidential VM'
	conf direct "$vault/keys/p256"
	sed -i '/^evidence/d; s/^\[token one\]/&\nevidence = azure-cvm-direct/' direct.conf
	broken "evidence that cannot release" 145 direct 'azure-cvm-direct' 'evidence = azure-cvm'
	tpm '{"ak":"replace"}'
	broken "a TPM whose key was replaced" 147 vm 'handle|key' 'sudo reboot'
fi

check_fails "no escape sequence is written to a file" grep -q $'\033' everything.out
check_fails "no token is printed (I-05)" grep -qE 'eyJ[A-Za-z0-9_-]{20}' everything.out
check_fails "nor a client secret" grep -qF "$SKR_EMULATOR_CLIENT_SECRET" everything.out
check "at least 25 situations" test "$situations" -ge 25
echo "$situations situations"
