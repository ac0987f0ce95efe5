#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# skr-pkcs11 attest on each kind of machine: fields by name, the service's claims, the token alone, and what is missing.
export SKR_TEST_FEW_KEYS=1
. "$(dirname "$0")/../support/interop.sh"
need swtpm python3

# Inside the played machine: attest looks with its own rights.
attest() {
	LD_PRELOAD=$build/src/skr-guest-preload.so SKR_GUEST_SOCKET=$SKR_EMULATOR_DIR/hardware.sock SKR_GUEST_DEVICES=$devices \
		SKR_GUEST_FAULT=${device_fault:-} SKR_GUEST_TPM=${SKR_EMULATOR_TPM_PORT:-} \
		SKR_GUEST_EVENT_LOG=$SKR_EMULATOR_DIR/binary_bios_measurements UVM_SECURITY_CONTEXT_DIR=$context \
		"$build/src/skr-pkcs11" attest "$@"
}
fault() { curl -sSf -o /dev/null --data-binary "$1" "$SKR_EMULATOR_CONTROL/faults"; }
no_fault() { curl -sSf -o /dev/null -X DELETE "$SKR_EMULATOR_CONTROL/faults"; }
shows() { # TEXT PATTERN… : of the last output
	local text=$1 pattern
	shift
	for pattern in "$@"; do
		grep -qE -- "$pattern" said.out || { echo "FAILED: $text: no \"$pattern\" in"; cat said.out; exit 1; }
	done
	echo "ok: $text"
}
run() { # STATUS ARGUMENTS… : said.out, and err.out
	local wanted=$1 status=0
	shift
	attest "$@" >said.out 2>err.out || status=$?
	[ "$status" = "$wanted" ] || { echo "FAILED: attest $*: status $status, not $wanted"; cat said.out err.out; exit 1; }
}
asked() { grep -c '"op":"maa.attest"' "$SKR_EMULATOR_DIR/requests.jsonl" || true; }

# --- a container ---
devices=sev-guest context=$SKR_EMULATOR_DIR/security-context
run 0 skr
shows "an SNP report by name" '^evidence$' '^SNP report$' '^  version  +3$' '^  vmpl  +0$' \
	'^  policy  +0x3001f: smt allowed yes, .*debug allowed no' '^  reported tcb  +7308000000000003: boot loader 3, tee 0, snp 8, microcode 115' \
	'^  measurement  +[0-9a-f]{96}$' '^  host data  +[0-9a-f]{64}$' '^  chip id  +[0-9a-f]{128}$' '^  signed by  +VCEK'
shows "whose root it is" '^  certificates  +SEV-VCEK' 'ARK-Milan' "^  root  +not a vendor's .*genuine no" 'the report verifies'
shows "the service's claims, by the names of policies" '^  x-ms-attestation-type +sevsnpvm$' '^  x-ms-compliance-status +azure-compliant-uvm$' \
	'^  x-ms-sevsnpvm-is-debuggable +false$' '^  x-ms-sevsnpvm-uvm-endorsement.x-ms-sevsnpvm-guestsvn +100$' '^  exp .* UTC\)$'
check "claims are sorted" sh -c "sed -n '/^what the attestation/,\$p' said.out | tail -n +2 | cut -d' ' -f3 | LC_ALL=C sort -c"
check_releases 0
run 0 --json skr
check "the same as one document" python3 -c 'import json
d=json.load(open("said.out"))
assert d["report"]["policy"]["debug_allowed"] is False and d["verification"]["root"]["genuine"] is False
assert d["report"]["measurement"]==d["claims"]["x-ms-sevsnpvm-launchmeasurement"]
assert d["report"]["host_data"]==d["claims"]["x-ms-sevsnpvm-hostdata"]'
run 0 --token skr
check "the token alone" sh -c 'test "$(wc -l <said.out)" = 1 && grep -qE "^eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$" said.out'
before=$(asked)
run 0 --no-service skr
shows "evidence alone" '^SNP report$'
check "no service was asked" test "$(asked)" = "$before"
check_fails "and there are no claims" grep -q 'x-ms-' said.out
for product in Genoa Turin; do
	curl -sSf -o /dev/null --data-binary "{\"product\":\"$product\"}" "$SKR_EMULATOR_CONTROL/hardware"
	run 0 --no-service skr
	shows "a machine of $product" "^  processor +$product " "ARK-$product"
done
shows "Turin's TCB has another layout" '^  reported tcb .*: fmc [0-9]+, boot loader'
curl -sSf -o /dev/null --data-binary '{"product":"Milan"}' "$SKR_EMULATOR_CONTROL/hardware"

# --- what goes wrong ---
fault 'maa.attest status(400,code=InvalidParameter,message=no)'
run 1 skr
shows "what was found is shown though the service refuses it" '^SNP report$' 'the report verifies'
check "and the refusal is told" grep -q 'SKR-320' err.out
run 1 --json skr
check "in the document too" python3 -c 'import json; d=json.load(open("said.out")); assert d["failure"]["number"]=="SKR-320" and d["report"]'
run 1 --token skr
check_fails "no half token" test -s said.out
no_fault
sed 's/^\[token skr\]/&\nendorsements = thim/' "$SKR_PKCS11_CONF" >thim.conf
fault 'thim.certification status(404)'
run 1 --config "$SKR_RUN/thim.conf" --no-service skr
shows "a report without endorsements is shown, and said not to be verified" '^SNP report$' '^  measurement ' '^  signature +NOT verified'
check "and why" grep -q 'SKR-141' err.out
no_fault
device_fault=EACCES run 1 skr
check "missing rights are named" grep -qE 'SKR-101|/dev/sev-guest' err.out
check "and what would help" grep -q 'Run this as root' err.out
run 2 nobody
check "a token that is not there" grep -q 'there is no \[token nobody\]' err.out
run 2 --config /nowhere.conf
check "a configuration that is not there" grep -q 'SKR-001' err.out
run 2 --token --json
SKR_PKCS11_CONF=/nowhere.conf run 2 skr
SKR_PKCS11_CONF=/nowhere.conf run 2 --token
if [ ! -e /etc/skr-pkcs11.conf ]; then
	SKR_PKCS11_CONF=/nowhere.conf run 0
	shows "without any configuration the evidence is shown" '^SNP report$'
fi
check_fails "a reader that goes away" sh -c "'$build/src/skr-pkcs11' attest --help >/dev/full"

# --- the other machines ---
machine() { # KIND DEVICES
	stop_emulator
	start_emulator "$SKR_RUN/$1" --machine "$1"
	devices=$2 context=
	write_configuration "$SKR_RUN/$1.conf" one "key = $SKR_EMULATOR_VAULT/keys/www"
	export SKR_PKCS11_CONF=$SKR_RUN/$1.conf
}
machine cvm-snp tpm,event-log
run 0
shows "a confidential VM of AMD's" '^SNP report$' '^vTPM$' '^  ak certificate issuer +.*Virtual TPM CA' '^  ak certificate days left +36[45]$' '^  pcr0 +[0-9a-f]{64}$' \
	'^  pcr7 ' '^  boot log +[0-9]+ bytes' '^what the paravisor claims$' '^  keys\[0\].kid +HCLAkPub$' '^  vm-configuration.secure-boot +true$' \
	'^  x-ms-isolation-tee.x-ms-attestation-type +sevsnpvm$' '^  x-ms-isolation-tee.x-ms-compliance-status +azure-compliant-cvm$' '^  secureboot +true$' \
	'^  x-ms-azurevm-attested-pcrs +0, 1, 2, 3, 4, 5, 6, 7$'
run 0 --direct
shows "the direct form: the paravisor's report alone" 'azure-cvm-direct' '^  x-ms-attestation-type +sevsnpvm$' '^  x-ms-compliance-status +azure-compliant-cvm$'
check_fails "without the vTPM" grep -q '^vTPM$' said.out
fault 'thim.certification status(404)'
run 1 --no-service
shows "the paravisor's report without endorsements" '^SNP report$' 'NOT verified' '^  keys\[0\].kid +HCLAkPub$'
no_fault
curl -sSf -o /dev/null --data-binary '{"ak_certificate":"expiring"}' "$SKR_EMULATOR_CONTROL/tpm"
run 0 --no-service
shows "a certificate that expires" '^  ak certificate +expires soon$' '^  ak certificate days left +(19|20)$'
machine cvm-tdx tpm,event-log
run 0
shows "a confidential VM of Intel's" '^TD quote$' '^  mrtd +[0-9a-f]{96}$' '^  rtmr3 +[0-9a-f]{96}$' '^  debug +no$' 'the quote verifies' 'Root CA' \
	'^  x-ms-isolation-tee.x-ms-attestation-type +tdxvm$'
run 0 --direct
shows "its direct form" 'azure-cvm-direct' '^  x-ms-attestation-type +tdxvm$'
fault 'imds.tdquote status(404)'
run 1 --no-service
shows "a TD's claims without a quote" 'NOT verified: the host gives no quote' '^  keys\[0\].kid +HCLAkPub$'
check "and why there is none" grep -q 'SKR-140' err.out
no_fault
machine trusted-launch tpm,event-log
run 0
shows "Trusted Launch: a vTPM and no hardware's word" '^vTPM$' '^  x-ms-attestation-type +azurevm$'
check_fails "no report" grep -qE '^(SNP report|TD quote)$' said.out
machine tdx configfs-tdx
run 0
shows "a TD that chooses its own report data" '^TD quote$' '^  x-ms-attestation-type +tdxvm$'
machine sidecar none
run 1
check "beside a sidecar it is the sidecar that attests" grep -q 'it is the sidecar at http' err.out
check "no key was released to attest" test "$(releases)" = 0
