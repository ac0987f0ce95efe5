#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# skr-emulator run: a command inside a machine of each kind; exit codes, signals, what is left behind.
. "$(dirname "$0")/../support/interop.sh"
need p11tool pgrep
emulator=$build/src/skr-emulator
unset XDG_RUNTIME_DIR
export HOME=$SKR_RUN
run() { timeout 60 "$emulator" run "$@"; }
status_of() { # COMMAND… : prints its exit status
	local status=0
	"$@" >run.out 2>&1 || status=$?
	echo $status
}

for kind in container cvm-snp cvm-tdx trusted-launch tdx sidecar; do
	case $kind in cvm-* | trusted-launch) command -v swtpm >/dev/null || continue ;; esac
	for key in www signing; do
		check "$kind: p11tool signs with $key" run --machine $kind -- sh -c \
			"p11tool --provider \$SKR_EMULATOR_MODULE --login --test-sign 'pkcs11:token=web;object=$key;type=private'"
	done
	check_says "$kind is what the command is told" "^$kind\$" run --machine $kind sh -c 'echo $SKR_EMULATOR_MACHINE'
done

check "exit status of the command" test "$(status_of run -- sh -c 'exit 42')" = 42
check "a command that a signal ends" test "$(status_of run -- sh -c 'kill -KILL $$')" = 137
check "no such command" test "$(status_of run -- /nowhere/command)" = 127
check "a command that is none" test "$(status_of run -- /etc/passwd)" = 126
check "no command" test "$(status_of run)" = 2
check "an option of the command stays its own" test "$(status_of run sh -c 'exit 3' --machine nonsense)" = 3
check "no such machine" test "$(status_of run --machine vm -- true)" = 2
check_says "and they are listed" 'container, cvm-snp, cvm-tdx, trusted-launch, tdx, sidecar' cat run.out
check "no swtpm" test "$(PATH=/nowhere status_of "$emulator" run --machine cvm-snp -- /bin/true)" = 1
check_says "and what to install" 'apt-get install swtpm' cat run.out
mkdir -m 777 shared
check "not below a folder that others may write to" test "$(status_of run --dir shared -- true)" = 1
check_says "as the module would say" 'SKR-003 ' cat run.out

# Signals: a Ctrl-C goes to the whole group, SIGTERM to the emulator alone; either way the command decides.
started() { for _ in {1..300}; do [ ! -s started ] || return 0; sleep 0.1; done; return 1; }
kind=cvm-snp
command -v swtpm >/dev/null || kind=container
for signal in INT TERM HUP; do
	rm -f started
	setsid "$emulator" run --machine $kind -- sh -c 'trap "exit 9" INT TERM HUP; echo "$SKR_EMULATOR_DIR" >started; while :; do sleep 0.1; done' &
	pid=$!
	children+=($pid)
	started
	if [ $signal = INT ]; then kill -INT -- -$pid; else kill -$signal $pid; fi
	status=0
	wait $pid || status=$?
	check "SIG$signal reaches the command, which ends as it wants" test $status = 9
	check "and leaves nothing behind" test ! -e "$(cat started)"
	check_fails "nor any process, not even the TPM's" pgrep -f "$(cat started)"
done

folder=$(run sh -c 'echo "$SKR_EMULATOR_DIR"')
check "the folder of one run is in a safe place" only_ours "$(dirname "$folder")"
check "and gone with it" test ! -e "$folder"
check "a folder that is named is kept" run --dir kept -- sh -c 'test "$SKR_EMULATOR_DIR" = "$PWD/kept"'
check "with its certificates" test -e kept/ca.pem
check "which a second run finds again" run --dir kept -- sh -c 'cmp "$SKR_EMULATOR_CA" kept/ca.pem'
summary "skr-emulator run" "$(version_of gnutls-bin)" "p11tool signs on every kind of machine; exit codes, signals"
