#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Our own command against the emulator: config check, tokens, doctor; what it says, what it never says, and its exit status.
. "$(dirname "$0")/../support/interop.sh"
cli() { "$build/src/skr-pkcs11" "$@"; }

check_status() { # TEXT STATUS PATTERN COMMAND… : ends with this status and says the pattern, on either stream
	local text=$1 wanted=$2 pattern=$3 status=0
	shift 3
	"$@" >"$SKR_RUN/check.out" 2>&1 || status=$?
	if [ "$status" != "$wanted" ] || ! grep -qE -- "$pattern" "$SKR_RUN/check.out"; then
		echo "FAILED: $text: status $status, wanted $wanted and \"$pattern\" in"
		cat "$SKR_RUN/check.out"
		exit 1
	fi
	cp "$SKR_RUN/check.out" "$SKR_RUN/said"
	cat "$SKR_RUN/said" >>"$SKR_RUN/everything.out"
	echo "ok: $text"
}

# A configuration of our own, with one token.
write_configuration "$SKR_RUN/own.conf" skr "key = $SKR_EMULATOR_VAULT/keys/rsa2048" "key = $SKR_EMULATOR_VAULT/keys/p256"
export SKR_PKCS11_CONF=$SKR_RUN/own.conf

check_status "the configuration is good" 0 'is good: 1 token' cli config check
check_status "the same file by its name" 0 'is good: 1 token' cli config check "$SKR_PKCS11_CONF"

# tokens: what programs see, before and after a login
check_status "the token is shown with its URI" 0 '^  pkcs11:.*token=skr$' cli tokens --module "$module"
check_releases 0
check_fails "no private key is shown before a login" grep -q 'type=private' "$SKR_RUN/said"
check_status "private keys are shown after a login" 0 'private key .*object=rsa2048;type=private' cli tokens --module "$module" --login
check_releases 2
uri=$(grep -oE 'pkcs11:[^ ]*object=rsa2048;type=private' "$SKR_RUN/said" | head -1)
if command -v p11tool >/dev/null; then
	check "p11tool understands the URI that is shown" p11tool --provider "$module" --login --test-sign "$uri"
	check_releases 2
fi

# doctor: a login step by step
check_status "doctor makes a login" 0 '^  ok +login +[0-9]+ ms' cli doctor
check_releases 2
for step in configuration agent transport-key evidence attestation identity release verify unwrap; do
	check "doctor tells of $step" grep -qE "^  ok +$step " "$SKR_RUN/said"
done
check "doctor gives the hash of each key, to pin it" test "$(grep -cE 'public_key_sha256=[0-9a-f]{64}$' "$SKR_RUN/said")" = 2
check_status "doctor of one token" 0 '^token skr' cli doctor skr
check_status "doctor of a token that is not there" 2 'FAILED +token' cli doctor nobody

# and where it fails: number, sentence, advice
good=$SKR_PKCS11_CONF
sed 's,/keys/rsa2048,/keys/missing,' "$good" >"$SKR_RUN/missing.conf"
check_status "a key that is not in the vault" 1 'SKR-334 ' cli doctor --config "$SKR_RUN/missing.conf"
check "the step that failed is named" grep -qE '^  FAILED +release ' "$SKR_RUN/said"
check "there is advice" grep -q 'what to do: ' "$SKR_RUN/said"
create_key "$SKR_EMULATOR_VAULT" refused EC-HSM:P-256 "$(release_policy "$(printf '00%.0s' {1..32})")"
sed 's,/keys/rsa2048,/keys/refused,' "$good" >"$SKR_RUN/refused.conf"
check_status "a policy that this machine does not satisfy" 1 'SKR-332 ' cli doctor --config "$SKR_RUN/refused.conf"
check "the claim is named" grep -q 'x-ms-sevsnpvm-hostdata' "$SKR_RUN/said"
sed 's,^agent = .*,agent = exec:/nowhere/skr-agent,' "$good" >"$SKR_RUN/agent.conf"
check_status "an agent that is not there (G-01)" 1 'SKR-500 ' cli doctor --config "$SKR_RUN/agent.conf"
check "then no login is tried" grep -q 'no login was tried' "$SKR_RUN/said"
sed 's,^agent = .*,agent = unix:/nowhere/agent.sock,' "$good" >"$SKR_RUN/socket.conf"
check_status "a socket that is not there (G-03)" 1 'SKR-502 ' cli doctor --config "$SKR_RUN/socket.conf"
sed 's,^log = .*,log = loud,' "$good" >"$SKR_RUN/bad.conf"
check_status "a bad line is named (E-04)" 1 "bad.conf:[0-9]+: log: loud is neither" cli config check "$SKR_RUN/bad.conf"
check_status "tokens says why there are none" 1 "bad.conf:[0-9]+: log: loud is neither" \
	env SKR_PKCS11_CONF="$SKR_RUN/bad.conf" "$build/src/skr-pkcs11" tokens --module "$module"
cp "$good" "$SKR_RUN/open.conf" && chmod 666 "$SKR_RUN/open.conf"
check_status "a file that others can write (E-03)" 1 'SKR-003 ' cli config check "$SKR_RUN/open.conf"
check_status "a clean login straight afterwards" 0 '^  ok +login ' cli doctor

# What cannot be locked is told: a note, or a failure where it is required (E-08, E-09).
sed 's,^agent = .*,&\nmemory_lock = require,' "$good" >"$SKR_RUN/lock.conf"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && [ "$(wc -l </proc/swaps)" = 1 ]; then
	unlockable() { (ulimit -l 0 && setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock "$build/src/skr-pkcs11" doctor "$@"); }
	check_status "memory that cannot be locked" 0 '^  note +memory lock' unlockable
	check_status "memory that must be locked and cannot" 1 'SKR-011 ' unlockable --config "$SKR_RUN/lock.conf"
fi

# The agent as a service: one process per connection, as skr-agent.socket starts it.
if command -v systemd-socket-activate >/dev/null; then
	systemd-socket-activate --accept --inetd --setenv=SKR_PKCS11_CONF --listen="$SKR_RUN/agent.sock" \
		"$SKR_EMULATOR_DIR/skr-agent" >"$SKR_RUN/socket.log" 2>&1 &
	children+=($!)
	for _ in {1..50}; do [ -S "$SKR_RUN/agent.sock" ] || sleep 0.1; done
	sed "s,^agent = .*,agent = unix:$SKR_RUN/agent.sock," "$good" >"$SKR_RUN/service.conf"
	check_status "a login by the agent's service" 0 '^  ok +login ' cli doctor --config "$SKR_RUN/service.conf"
	sed "s,^agent = .*,&\nagent_uid = 12345," "$SKR_RUN/service.conf" >"$SKR_RUN/stranger.conf"
	check_status "a service of another user is refused (G-08)" 1 'SKR-507 ' cli doctor --config "$SKR_RUN/stranger.conf"
fi

check_fails "no escape sequence is written to a file" grep -q $'\033' "$SKR_RUN/everything.out"
check_fails "no token is printed (I-05)" grep -qE 'eyJ[A-Za-z0-9_-]{20}' "$SKR_RUN/everything.out"
