# SPDX-License-Identifier: Apache-2.0
# Sourced by tests/interop/machine-KIND.sh behind interop.sh: what every kind of machine must do, and refuse.
need p11tool pkcs11-tool openssl
machine=$SKR_EMULATOR_MACHINE
cli() { "$build/src/skr-pkcs11" "$@"; }
tool() { p11tool --provider "$module" "$@"; }

# asked_for_keys : how often the vault was asked for a key so far, with whatever result.
asked_for_keys() { grep -c '"op":"akv.release"' "$SKR_EMULATOR_DIR/requests.jsonl" || true; }

# signs_with_released_keys : both keys of token skr, by two programs; openssl verifies.
signs_with_released_keys() {
	local key mechanism
	released_before=$(releases)
	check_says "$machine: keys are listed after a login" 'object=rsa2048;type=private' tool --login --list-all 'pkcs11:token=skr'
	check_releases 2
	echo "signed on a machine of kind $machine" >text
	for key in rsa2048 p256; do
		check "$machine: p11tool signs with $key" tool --login --test-sign "pkcs11:token=skr;object=$key;type=private"
		check_releases 2
		public_key $key
		released_before=$(releases)
		mechanism=SHA256-RSA-PKCS
		[ $key = rsa2048 ] || mechanism=ECDSA-SHA256
		check "$machine: pkcs11-tool signs with $key" pkcs11-tool --module "$module" --token-label skr --login --sign \
			-m $mechanism --signature-format openssl --id "$(key_id skr $key)" -i text -o $key.sig
		check "$machine: openssl verifies it" openssl dgst -sha256 -verify $key.pem -signature $key.sig text
		released_before=$(releases)
	done
}

# doctor_says PATTERN… : of one login.
doctor_says() {
	local pattern
	check "$machine: doctor makes a login" cli doctor skr
	cp check.out doctor.out
	for pattern in "$@" '^  ok +login +[0-9]+ ms +2 keys'; do
		check_says "$machine: doctor says \"$pattern\"" "$pattern" cat doctor.out
	done
}

# fails_with NUMBER TEXT COMMAND… : the command fails and names SKR-NUMBER; what it said is in said.out.
fails_with() {
	local number=$1 text=$2
	shift 2
	check_refused "$machine: $text" "SKR-$number " "$@"
	cp check.out said.out
}

# refuses_another_machines_key CLAIM : the key of token other, whose policy is for another machine.
refuses_another_machines_key() {
	fails_with 332 "the key of another machine is not released" cli doctor other
	check_says "$machine: the claim that is not met is named" "$1" cat said.out
}

# with_evidence WORD : writes WORD.conf, the configuration with this evidence in place of the machine's.
with_evidence() {
	sed '/^evidence = /d' "$SKR_PKCS11_CONF" | sed "s/^\[token skr\]$/&\nevidence = $1/" >"$1.conf"
}

# refuses_evidence WORD NUMBER TEXT : the login fails so, and the vault is not asked.
refuses_evidence() {
	local before
	before=$(asked_for_keys)
	with_evidence "$1"
	fails_with "$2" "$3" cli doctor --config "$SKR_RUN/$1.conf" skr
	check "$machine: the vault was not asked" test "$(asked_for_keys)" = "$before"
}

# refuses_policy NAME POLICY CLAIM : a key with this policy is not released, and the unmet claim is named.
refuses_policy() {
	create_key "$SKR_EMULATOR_VAULT" "$1" EC-HSM:P-256 "$2"
	write_configuration "$SKR_RUN/$1.conf" skr "key = $SKR_EMULATOR_VAULT/keys/$1"
	fails_with 332 "a key of policy \"$1\" is not released" cli doctor --config "$SKR_RUN/$1.conf" skr
	check_says "$machine: the claim that is not met is named" "$3" cat said.out
}

# policy_of CLAIM=VALUE… : all of these.
policy_of() {
	local claim list=
	for claim in "$@"; do list="$list${list:+,}{\"claim\":\"${claim%%=*}\",\"equals\":\"${claim#*=}\"}"; done
	printf '{"version":"1.0.0","anyOf":[{"authority":"%s","allOf":[%s]}]}' "$SKR_EMULATOR_ATTESTATION" "$list"
}
