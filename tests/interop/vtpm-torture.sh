#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Logins with a vTPM one after the other, beside tpm2-tools, without a resource manager, and with agents killed at whatever
# point: nothing may stay in the TPM. SKR_TORTURE is how many logins (30); a quarter as many agents are killed, but 20 at least.
# scripts/torture runs it for long, and on a confidential VM too.
export SKR_TEST_MACHINE=${SKR_TEST_MACHINE:-trusted-launch}
. "$(dirname "$0")/../support/interop.sh"
need swtpm tpm2_quote curl
logins=${SKR_TORTURE:-30}
kills=$((logins / 4 > 20 ? logins / 4 : 20))
machine=$SKR_EMULATOR_MACHINE
cli=$build/src/skr-pkcs11

tpm() { curl -sSf ${1:+-d "$1"} "$SKR_EMULATOR_CONTROL/tpm"; }
# number NAME : of what the vTPM says of itself.
number() { tpm | grep -o "\"$1\":[0-9]*" | cut -d: -f2; }

nothing_left() { # TEXT
	local kind
	for kind in transient loaded_sessions saved_sessions; do
		[ "$(number $kind)" = 0 ] || { echo "FAILED: $1: $kind are left in the TPM: $(tpm)"; exit 1; }
	done
	[ "$(number open)" = 0 ] || { echo "FAILED: $1: a connection is still open"; exit 1; }
	echo "ok: $1: nothing is left in the TPM"
}

# many_logins N [OPTION…] : one program each; stops at the first that fails, or takes more than 20 s.
many_logins() {
	local count=$1 i
	shift
	for ((i = 0; i < count; i++)); do
		timeout 20 "$cli" doctor "$@" faulty >login.out 2>&1 || { echo "login $i: status $?"; cat login.out; return 1; }
	done
}

# variant NAME SED-EXPRESSION : a configuration like ours, but.
variant() { sed "$2" "$SKR_PKCS11_CONF" >"$1.conf"; }

# ---- one after the other ----
check "$machine: the first login" many_logins 1
tpm '{"counters":0}' >/dev/null
started=$SECONDS
check "$machine: $logins logins" many_logins "$logins"
echo "$logins logins in $((SECONDS - started)) s: $(number total) TPM commands, $(number CreatePrimary) of them CreatePrimary, $(number connections) connections"
check "one CreatePrimary each" test "$(number CreatePrimary)" = "$logins"
check "three connections each" test "$(number connections)" = $((3 * logins))
nothing_left "after $logins logins"

# ---- without a resource manager: nobody but the agent flushes ----
few=$((logins / 3))
variant direct "s|^\[skr-pkcs11\]$|&\ntpm = $SKR_EMULATOR_TPM|"
check "$few logins without a resource manager" many_logins "$few" --config "$SKR_RUN/direct.conf"
nothing_left "after $few logins without a resource manager"

# ---- beside tpm2-tools, which share the TPM and flush what they made ----
second_user() {
	export TPM2TOOLS_TCTI=$SKR_EMULATOR_TPM
	while :; do
		if tpm2_getrandom 16 >/dev/null 2>>second.err; then echo random; fi
		if tpm2_quote -Q -c 0x81000003 -l sha256:0,1,2,3,4,5,6,7 -g sha256 -m second.msg -s second.sig 2>>second.err; then echo quote; fi
	done >second.out
}
: >second.err
second_user &
children+=($!)
sleep 0.5
check "$few logins beside tpm2-tools" many_logins "$few"
kill "${children[-1]}"
wait "${children[-1]}" 2>/dev/null || true
unset 'children[-1]'
check "tpm2-tools got its random bytes and quotes" grep -q quote second.out
check "and no error" test ! -s second.err
echo "beside them: $(grep -c random second.out) times random bytes, $(grep -c quote second.out) quotes"
sleep 0.3
TPM2TOOLS_TCTI=$SKR_EMULATOR_TPM tpm2_flushcontext -l 2>/dev/null || true # it may have been killed between two commands
nothing_left "after the second user"

# ---- agents killed at whatever point ----
cat >agent <<-END
	#!/bin/bash
	echo \$\$ >>"$SKR_RUN/agent.pids"
	exec "$SKR_EMULATOR_DIR/skr-agent"
END
chmod 755 agent
variant killed "s|^agent = .*|agent = exec:$SKR_RUN/agent|"
killed=0 failed=0
for ((i = 0; i < kills; i++)); do
	: >agent.pids
	"$cli" doctor --config "$SKR_RUN/killed.conf" faulty >login.out 2>&1 &
	login=$!
	until [ -s agent.pids ] || ! kill -0 $login 2>/dev/null; do sleep 0.01; done
	sleep "0.$(printf %03d $((RANDOM % 900)))"
	kill -KILL "$(head -1 agent.pids)" 2>/dev/null && killed=$((killed + 1))
	status=0
	wait $login || status=$?
	[ $status = 0 ] || failed=$((failed + 1))
	[ $status -lt 128 ] || { echo "FAILED: the login ended with status $status"; exit 1; }
done
echo "$kills agents, $killed of them killed in time, $failed logins failed (a second agent is tried once)"
check "agents were killed" test "$killed" -gt 0
check "none failed: each was replaced" test "$failed" = 0
nothing_left "after $killed killed agents"
check "a login right after" many_logins 1

# ---- a TPM that is in lockout: what we use is not protected that way ----
export TPM2TOOLS_TCTI=$SKR_EMULATOR_TPM
tpm2_nvdefine -Q -C o -s 8 -p right -a 'authread|authwrite' 0x01500001
for _ in $(seq 40); do
	tpm2_nvread -C 0x01500001 -P wrong 0x01500001 >/dev/null 2>locked.err || true
	! grep -q 0x921 locked.err || break
done
check "the TPM is in lockout" grep -q 0x921 locked.err
check "a login is possible all the same" many_logins 1
tpm2_dictionarylockout -Q -c
tpm2_nvundefine -Q -C o 0x01500001
tpm2_flushcontext -l 2>/dev/null || true # sessions of the tools
nothing_left "at the end"
summary "vTPM tortured: $machine" "swtpm $(version_of swtpm)" "$((logins + 2 * few)) logins, $killed agents killed; nothing stays in the TPM"
