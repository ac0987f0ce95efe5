#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The agent as a service (G-03, G-08): under systemd where the machine has it, else behind what hands over an accepted
# socket in the same way. Real other users ask; nothing is installed.
. "$(dirname "$0")/../support/interop.sh"
need p11tool systemd-socket-activate setpriv
[ "$(id -u)" = 0 ] || { echo "only root can ask as other users: run this as root"; exit 77; }
group=daemon # of every distribution; in the place of skr-pkcs11
gid=$(getent group $group | cut -d: -f3)
socket=$SKR_RUN/agent.sock

# What the service reads, and what its clients do: the same, but for where they log.
sed -i "s,^agent = .*,agent = unix:$socket\nagent_group = $group,; s,^log = .*,log = $SKR_RUN/agent.log," "$SKR_PKCS11_CONF"
install -d -o 65534 -m 755 client
cp azure/ca.pem client-ca.pem
chmod 644 client-ca.pem
sed "s,^log = .*,log = $SKR_RUN/client/log,; s,^ca_file = .*,ca_file = $SKR_RUN/client-ca.pem," "$SKR_PKCS11_CONF" >client.conf
chmod 644 client.conf

unit=skr-test-$$
if [ -d /run/systemd/system ]; then
	echo "under systemd $(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')"
	at_exit() {
		systemctl stop $unit.socket || true
		rm -f /run/systemd/system/$unit.socket "/run/systemd/system/$unit@.service"
		systemctl daemon-reload
	}
	sed "s,^ListenStream=.*,ListenStream=$socket,; s,^SocketGroup=.*,SocketGroup=$group," "$SKR_TOP/conf/skr-agent.socket" \
		>/run/systemd/system/$unit.socket
	# The walls are those of the unit, but for the folder where the test's agent logs, and the emulator's device lies.
	{
		sed "s,^ExecStart=.*,ExecStart=$SKR_EMULATOR_DIR/skr-agent,; s,^ProtectHome=.*,ProtectHome=no," "$build/conf/skr-agent@.service"
		echo "Environment=SKR_PKCS11_CONF=$SKR_PKCS11_CONF"
		echo "ReadWritePaths=$SKR_RUN"
	} >"/run/systemd/system/$unit@.service"
	systemctl daemon-reload
	check "the socket's unit starts" systemctl start $unit.socket
else
	echo "no systemd here: systemd-socket-activate in its place"
	systemd-socket-activate --accept --inetd --setenv=SKR_PKCS11_CONF --listen="$socket" "$SKR_EMULATOR_DIR/skr-agent" >service.log 2>&1 &
	children+=($!)
	for _ in {1..50}; do [ -S "$socket" ] || sleep 0.1; done
	chgrp $group "$socket"
	chmod 660 "$socket"
fi

as() { # "GROUPS of setpriv" : p11tool signs as nobody
	setpriv --reuid 65534 $1 env SKR_PKCS11_CONF="${conf:-$SKR_RUN/client.conf}" \
		p11tool --provider "$module" --login --test-sign 'pkcs11:token=skr;object=p256;type=private'
}
member="--regid 65534 --groups $gid"
primary="--regid $gid --clear-groups"
outsider="--regid 65534 --clear-groups"

check_client() { # TEXT PATTERN : the client's log has such a line, and then no other
	grep -qE -- "$2" client/log || { echo "FAILED: $1: no \"$2\" in the client's log"; cat client/log; exit 1; }
	rm client/log
	echo "ok: $1"
}
check_agent() { # TEXT PATTERN
	grep -qE -- "$2" agent.log || { echo "FAILED: $1: no \"$2\" in the agent's log"; cat agent.log; exit 1; }
	echo "ok: $1"
}

check_releases 0
check "a member of the group signs" as "$member"
check_releases 2
check "and so does who has the group as the first" as "$primary"
check_releases 2
check_agent "the agent's log says who asked" 'asked for by process [0-9]+, user 65534, group 65534'
rm client/log

# The socket's mode keeps others out before the agent is there.
check_fails "nobody else may connect" as "$outsider"
check_client "and the log says what to do (G-03)" "SKR-502 .*$socket: errno 13 .*group"

# And so does the agent, where the mode does not.
chmod 666 "$socket"
rm agent.log
check_fails "a user outside the group is refused by the agent" as "$outsider"
check_client "with numbers (G-08)" "SKR-507 .*user 65534 and group 65534 may not ask: .* not in group $group"
check_agent "the agent's log has the same line" 'SKR-507 .*user 65534 and group 65534 may not ask'
check_fails "and no request" grep -q 'asked for by' agent.log
check_fails "with root's group only, too" as "--regid 0 --clear-groups"
check_client "it is the user that counts" 'SKR-507 .*user 65534 and group 0 may not ask'
sed -i "s,^agent_group = .*,agent_group = no-such-group," "$SKR_PKCS11_CONF"
check_fails "a group that does not exist has no members" as "$member"
check_client "and that is said" 'SKR-507 .*there is no group no-such-group'
check_releases 0
cp "$SKR_PKCS11_CONF" whole.conf
echo 'nonsense = yes' >>"$SKR_PKCS11_CONF"
check_fails "what is wrong with the configuration" as "$outsider"
check_client "a stranger is not told" 'SKR-507 .*user 65534'
cat whole.conf >"$SKR_PKCS11_CONF"
check "root may ask nevertheless" p11tool --provider "$module" --login --test-sign 'pkcs11:token=skr;object=p256;type=private'
check_releases 2

# Somebody else in the service's place: the module hangs up before it says a word.
setpriv --reuid 65534 --regid 65534 --clear-groups systemd-socket-activate --accept --inetd --listen="$SKR_RUN/client/fake.sock" \
	/bin/sh -c "cat >$SKR_RUN/client/heard" >fake.log 2>&1 &
children+=($!)
for _ in {1..50}; do [ -S client/fake.sock ] || sleep 0.1; done
sed "s,^agent = .*,agent = unix:$SKR_RUN/client/fake.sock," client.conf >fake.conf
chmod 666 client/fake.sock
conf=$SKR_RUN/fake.conf check_fails "a service of another user is refused by the module" as "$member"
check_client "with its number (G-08)" 'SKR-507 .*who listens has uid 65534 .*the configuration says uid 0'
check_fails "and has heard nothing" test -s client/heard
check_releases 0
