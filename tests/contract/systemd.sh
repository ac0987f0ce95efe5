#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# systemd.sh BUILD : the units are understood, tight, and agree with each other and with the table of settings. Nothing is
# installed and nothing started.
set -eu
build=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
[ "$(command -v systemd-analyze)" ] || { echo "systemd-analyze is not installed"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
limit=20 # tenths of the exposure that `systemd-analyze security` computes: measured 2.0 as root, 1.7 as the user

fail() {
	echo "$*" >&2
	exit 1
}

value() { # FILE SETTING : its last value
	sed -n "s/^$2=//p" "$1" | tail -1
}

# What the build made of the units, with a program that is there.
mkdir "$work/root" "$work/user" "$work/user/skr-agent@.service.d"
for kind in root user; do
	cp "$root/conf/skr-agent.socket" "$work/$kind/"
	sed 's,^ExecStart=.*,ExecStart=/bin/true,' "$build/conf/skr-agent@.service" >"$work/$kind/skr-agent@.service"
done
cp "$root/conf/examples/skr-agent-user.conf" "$work/user/skr-agent@.service.d/user.conf"

for kind in root user; do
	systemd-analyze verify --man=no "$work/$kind/skr-agent.socket" "$work/$kind/skr-agent@.service" >"$work/said" 2>&1 ||
		{ cat "$work/said" >&2; fail "the units as $kind are not understood"; }
	# A name that systemd does not know is a warning, and its wall is not there.
	! grep -F "$work" "$work/said" >&2 || fail "systemd warns of the units as $kind"
done

# --offline takes no drop-ins: the user's unit is both files in one.
cat "$work/user/skr-agent@.service.d/user.conf" >>"$work/user/skr-agent@.service"
for kind in root user; do
	systemd-analyze security --offline=true --no-pager --threshold=$limit "$work/$kind/skr-agent@.service" >"$work/said" 2>&1 ||
		{ cat "$work/said" >&2; fail "the service as $kind is more exposed than $limit tenths"; }
	tail -1 "$work/said"
done

# Who may ask is said in three places.
service=$root/conf/skr-agent@.service.in socket=$root/conf/skr-agent.socket
group=$(value "$socket" SocketGroup)
"$build/src/skr-pkcs11" config settings | grep -qx "agent_group = $group" || fail "agent_group is by default not the group $group of the socket"
grep -qx "g $group -" "$root/conf/sysusers.conf" || fail "nobody makes the group $group"
[ "$(value "$socket" SocketMode)" = 0660 ] || fail "others than the group may connect"
[ "$(value "$socket" Accept)" = yes ] || fail "the agent serves one connection"

# Root without root's powers; the user with the TPM and nothing else.
grep -qx 'CapabilityBoundingSet=' "$service" || fail "the agent has capabilities"
for wall in NoNewPrivileges=yes MemoryDenyWriteExecute=yes LockPersonality=yes ProtectSystem=strict ProtectKernelTunables=yes \
	DevicePolicy=closed RestrictNamespaces=yes RestrictSUIDSGID=yes RestrictRealtime=yes SystemCallArchitectures=native UMask=0077; do
	grep -qx "$wall" "$service" || fail "$wall is gone" # each weighs too little for the sum
done
[ -z "$(grep '^ReadWritePaths=' "$service" | grep -v '/sys/kernel/config/tsm$')" ] || fail "the agent can write elsewhere"
user=$(value "$root/conf/examples/skr-agent-user.conf" User)
grep -q "^u $user " "$root/conf/sysusers.conf" || fail "nobody makes the user $user"

# The folder of the socket is root's, or others could put a socket in its place; the locks are there before their users.
folder=$(dirname "$(value "$socket" ListenStream)")
grep -qx "d $folder 0755 root root -" "$root/conf/tmpfiles.conf" || fail "the folder $folder is not root's"
for number in 0 1; do
	grep -qx "f $folder/logins/login.$number.lock 0660 root $group -" "$root/conf/tmpfiles.conf" || fail "lock $number is not made"
done
grep -qx "#runtime_dir = $folder/logins" "$root/conf/skr-pkcs11.conf.in" || fail "the sample configuration names another runtime_dir"

# systemd's own tools take both files. In a folder of this test, since neither has a dry run in every version.
if [ "$(id -u)" = 0 ] && command -v systemd-sysusers >/dev/null && command -v systemd-tmpfiles >/dev/null; then
	mkdir -p "$work/new/etc" "$work/new/run"
	systemd-sysusers --root="$work/new" "$root/conf/sysusers.conf" >"$work/said" 2>&1 || { cat "$work/said" >&2; fail "sysusers.conf is not understood"; }
	grep -q "^$group:" "$work/new/etc/group" && grep -q "^$user:" "$work/new/etc/passwd" || fail "sysusers.conf makes no group $group or no user $user"
	systemd-tmpfiles --root="$work/new" --create "$root/conf/tmpfiles.conf" >"$work/said" 2>&1 || { cat "$work/said" >&2; fail "tmpfiles.conf is not understood"; }
	[ "$(stat -c %a "$work/new$folder/logins/login.0.lock")" = 660 ] || fail "tmpfiles.conf makes no lock that the group can open"
fi
echo "the units are understood and tight"
