#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# skr-pkcs11 policy: a generated policy opens its key on the machine that it was made on, and when the machine changes explain names the claim.
. "$(dirname "$0")/../support/interop.sh"
need p11tool

check_status() { # TEXT STATUS COMMAND… : ends with this status; what it said is in check.out
	local text=$1 wanted=$2 status=0
	shift 2
	"$@" >check.out 2>&1 || status=$?
	[ "$status" = "$wanted" ] || { echo "FAILED: $text: status $status, wanted $wanted"; cat check.out; exit 1; }
	cat check.out >>everything.out
	echo "ok: $text"
}
says() { grep -qE -- "$1" check.out || { echo "FAILED: no \"$1\" in"; cat check.out; exit 1; }; }

# ---- inside a machine ----

# explained CLAIM… : exactly these are not met, and login and doctor fail for the same reason.
explained() {
	local list="not satisfied: $1"
	check_status "$machine: explain names $1" 1 cli policy explain --policy policy.json
	says "^$list\$"
	case $machine in cvm-* | trusted-launch) ;; *) # each of these takes a vTPM seconds
		check_status "$machine: and by the key's address" 1 cli policy explain --key "$key"
		says "^$list\$"
		check_fails "$machine: then the key is not released" p11tool --provider "$module" --login --test-sign "$uri"
		;;
	esac
	check_status "$machine: the key is refused for the same reason" 1 cli doctor
	says "needs $1 = .*, this machine has "
}

hardware() { curl -sSf -d "$1" "$SKR_EMULATOR_CONTROL/hardware" >/dev/null; }

# changes SETTING NEW OLD CLAIM… : the machine changes in one thing, and back.
changes() {
	hardware "{\"$1\":$2}"
	explained "$4"
	hardware "{\"$1\":$3}"
	check_status "$machine: satisfied again" 0 cli policy explain --policy policy.json
}

inside() {
	local bytes strictness=image,workload
	machine=$SKR_EMULATOR_MACHINE
	[ "$machine" != trusted-launch ] || strictness=workload
	# What the played boot measured; a register of zeros is nobody's.
	booted=$(printf '77%.0s' {1..48})
	[ "$machine" != tdx ] || hardware "{\"td_rtmr2\":\"$booted\"}"
	cli() { "$SKR_EMULATOR_DIR/inside" "$build/src/skr-pkcs11" "$@"; }
	key=$SKR_EMULATOR_VAULT/keys/generated uri='pkcs11:token=skr;object=generated;type=private'
	export SKR_PKCS11_CONF=$SKR_RUN/$machine.conf
	write_configuration "$SKR_PKCS11_CONF" skr "key = $key"

	check_status "$machine: a policy is generated, with commands" 0 cli policy generate --strictness $strictness \
		--output policy.json --commands --quiet
	says '--exportable true --policy "\$policy"'
	says "^key=generated\$"
	if [ "$machine" = container ]; then
		check "$machine: the policy alone is on the standard output" cmp policy.json <(cli policy generate --strictness $strictness 2>/dev/null)
		check_status "$machine: a token that is not in the configuration" 2 cli policy explain --key "$key" nobody
		says 'token nobody is not in '
		check_status "$machine: an address that is no key's" 2 cli policy explain --key "${key%/keys/*}"
		says 'must be https://HOST/keys/NAME'
		check_status "$machine: a key that is not there" 2 cli policy explain --key "$key-missing"
		says 'SKR-334 '
		sed 's,^attestation = https://[^.]*,attestation = https://elsewhere,' "$SKR_PKCS11_CONF" >elsewhere.conf
		check_status "$machine: an instance that the policy does not trust" 1 cli policy explain --policy policy.json --config "$SKR_RUN/elsewhere.conf"
		says '^not satisfied: the authority$'
		says '^ +the token is from https://elsewhere\.'
		check_status "$machine: another's claims: Trusted Launch has no image" 2 cli policy generate --token "$SKR_TOP/tests/data/policy/claims/trusted-launch.json" --strictness image
	fi
	create_key "$SKR_EMULATOR_VAULT" generated RSA-HSM:2048 "$(cat policy.json)"
	check "$machine: p11tool signs with a key of this policy" p11tool --provider "$module" --login --test-sign "$uri"
	check_status "$machine: explain is satisfied" 0 cli policy explain --policy policy.json
	says '^satisfied$'
	check "$machine: nothing in the tree has failed" test "$(grep -cE '^  (FAILED|no) ' check.out)" = 0

	bytes=$(printf '5a%.0s' {1..48})
	case $machine in
	container)
		changes host_data "\"${bytes:0:64}\"" "$(host_data)" x-ms-sevsnpvm-hostdata
		changes migration true false x-ms-sevsnpvm-migration-allowed
		;;
	cvm-snp) changes measurement "\"$bytes\"" "$(measurement)" x-ms-isolation-tee.x-ms-sevsnpvm-launchmeasurement ;;
	tdx) changes td_rtmr2 "\"$bytes\"" "\"$booted\"" tdx_rtmr2 ;;
	esac
}
of_machine() { curl -sSf "$SKR_EMULATOR_CONTROL/machine" | sed -n "s/.*\"$1\" *: *\(\"[^\"]*\"\).*/\1/p"; }
host_data() { of_machine host_data; }
measurement() { of_machine measurement; }

if [ -n "${SKR_POLICY_INSIDE:-}" ]; then
	inside
	exit 0
fi

# ---- machines ----

export SKR_POLICY_INSIDE=1
for kind in container tdx cvm-snp trusted-launch; do
	case $kind in cvm-* | trusted-launch) command -v swtpm >/dev/null || continue ;; esac
	"$build/src/skr-emulator" run --machine $kind -- "$SKR_TOP/tests/interop/policy.sh" "$build"
done

# ---- words ----

cat "$SKR_RUN/everything.out" >all.out
check_fails "no token is printed (I-05)" grep -qE 'eyJ[A-Za-z0-9_-]{20}' all.out
check_fails "no escape sequence is written to a file" grep -q $'\033' all.out
summary "skr-pkcs11 policy" "$(version_of gnutls-bin)" "generated policies open their keys on containers, TDX guests, confidential and Trusted Launch VMs; each changed claim is named"
