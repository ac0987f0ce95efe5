#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# OpenSSH: keys listed, user keys by the module and by ssh-agent, certificates signed by the token, host keys by an agent.
. "$(dirname "$0")/../support/interop.sh"
. "$SKR_TOP/tests/support/print-config.sh"
need ssh ssh-keygen ssh-agent ssh-add
sshd=/usr/sbin/sshd
[ -x $sshd ] || { echo "openssh-server is not installed"; exit 77; }
certificate rsa2048
certificate p256
printed ssh >ssh_config
released_before=$(releases)
unset SSH_AUTH_SOCK SSH_ASKPASS
at_exit() { [ -z "${SSH_AGENT_PID:-}" ] || kill "$SSH_AGENT_PID" 2>/dev/null || true; }

check "ssh-keygen lists the keys" ssh-keygen -D "$module"
grep -E '^(ssh-rsa|ecdsa-sha2-nistp256) ' check.out >authorized_keys
check "an RSA and a P-256 one" test "$(wc -l <authorized_keys)" = 2
check_releases 0 # certificates and public keys are visible without a login
grep '^ssh-rsa' authorized_keys >rsa2048.pub
grep '^ecdsa' authorized_keys >p256.pub

# A server of our own, for the user who runs this.
me=$(id -un)
ssh-keygen -q -t ed25519 -N '' -f host_key
ssh-keygen -q -t ed25519 -N '' -f file_key
mkdir -p /run/sshd 2>/dev/null || true # its privilege separation asks for it
serve() { # PORT LINES… : starts sshd with these lines
	local port=$1
	shift
	cat >sshd_config <<-END
		ListenAddress 127.0.0.1
		Port $port
		PidFile none
		UsePAM no
		StrictModes no
		PasswordAuthentication no
		KbdInteractiveAuthentication no
		PermitRootLogin prohibit-password
		AuthorizedKeysFile $SKR_RUN/authorized_keys
	END
	printf '%s\n' "$@" >>sshd_config
	$sshd -D -f sshd_config -E sshd.log &
	children+=($!)
	wait_for_port "$port"
}
login() { # PORT OPTIONS… : with lines of the file $ssh_lines, if it is set
	local port=$1
	shift
	ssh -F "${ssh_lines:-none}" "$@" -o BatchMode=yes -o UserKnownHostsFile="$SKR_RUN/known_hosts" -o IdentityFile=none -p "$port" \
		"$me@127.0.0.1" echo logged in || return 1
}
port=$(free_port)
serve "$port" "HostKey $SKR_RUN/host_key"
echo "[127.0.0.1]:$port $(cat host_key.pub)" >known_hosts

check_refused "without a key there is no login" 'Permission denied' login "$port"
released_before=$(releases)
for algorithm in rsa-sha2-256 rsa-sha2-512 ecdsa-sha2-nistp256; do
	ssh_lines=ssh_config check_says "ssh with a key of the module, $algorithm" '^logged in' login "$port" -o BatchMode=no -o PubkeyAcceptedAlgorithms=$algorithm
	check_releases 2
done


azure_refuses
ssh_lines=ssh_config check_refused "refused by Azure, ssh cannot log in to the token" 'PKCS#11 login failed: error 6' login "$port" -o BatchMode=no
check_log "our log says why" 'SKR-331 .*no permission to release the key'
azure_allows

# An authority for users' certificates, which the server trusts and no file has the private half of.
for key in rsa2048 p256; do
	check "ssh-keygen makes a certificate signed by $key" ssh-keygen -q -s "$key.pub" -D "$module" -I "by $key" -n "$me" -V +1h file_key.pub
	check_says "which names its signer" "Signing CA: .* $(ssh-keygen -lf "$key.pub" | cut -d' ' -f2 | sed 's/+/./g')" ssh-keygen -L -f file_key-cert.pub
	check_releases 2
	port=$(free_port)
	mkdir -p ca
	serve "$port" "HostKey $SKR_RUN/host_key" "TrustedUserCAKeys $SKR_RUN/$key.pub" "AuthorizedKeysFile none"
	echo "[127.0.0.1]:$port $(cat host_key.pub)" >>known_hosts
	check_says "a server that trusts $key lets it in" '^logged in' login "$port" -i file_key -o CertificateFile="$SKR_RUN/file_key-cert.pub" -o IdentitiesOnly=yes
done

# ssh-agent insists on a PIN and on a path it is told of; any PIN does. It logs in to every token of the module.
sed '/^\[token other\]/,$d' "$SKR_PKCS11_CONF" >alone.conf
export SKR_PKCS11_CONF=$SKR_RUN/alone.conf
printf '#!/bin/sh\necho any\n' >askpass
chmod 755 askpass
eval "$(ssh-agent -s -P "$(realpath "$module")")" >/dev/null
add() { SSH_ASKPASS=$SKR_RUN/askpass SSH_ASKPASS_REQUIRE=force ssh-add -s "$module"; }
check "ssh-add takes the token into the agent" add
check_releases 2
check "it has both keys" test "$(ssh-add -L | cut -d' ' -f1,2 | sort)" = "$(cut -d' ' -f1,2 authorized_keys | sort)"
for key in rsa2048 p256; do
	check_says "ssh with $key of the agent" '^logged in' login "$port" -o IdentityFile="$SKR_RUN/$key.pub" -o IdentitiesOnly=yes
done
port=$(free_port)
serve "$port" "HostKeyAgent $SSH_AUTH_SOCK" "HostKey $SKR_RUN/rsa2048.pub" "HostKey $SKR_RUN/p256.pub"
for key in rsa2048 p256; do
	echo "[127.0.0.1]:$port $(cat "$key.pub")" >>known_hosts
done
for algorithm in rsa-sha2-512 rsa-sha2-256 ecdsa-sha2-nistp256; do
	check_says "the server shows a host key of the agent, $algorithm" '^logged in' login "$port" -o StrictHostKeyChecking=yes -o HostKeyAlgorithms=$algorithm -o IdentityFile="$SKR_RUN/p256.pub" -o IdentitiesOnly=yes
done
check_releases 0
check "ssh-add -e takes them away" ssh-add -e "$module"
check_fails "and the agent has no key" ssh-add -l
summary "OpenSSH" "$(version_of openssh-client)" "ssh-keygen -D, ssh, certificates signed, ssh-agent, host keys by HostKeyAgent"
