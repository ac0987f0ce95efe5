#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# p11kit.sh BUILD : installed for real, p11tool finds the token with no option, and the command finds module and configuration. Done on
# copies of /usr and /etc that only this test sees; skipped where such cannot be made.
set -eu
build=$1
grep -q "^SKR_SANITIZE:[A-Z]*=." "$1/CMakeCache.txt" && { echo "not with sanitizers"; exit 77; }
if [ "${2:-}" != inside ]; then
	[ "$(id -u)" = 0 ] && command -v p11tool >/dev/null || { echo "needs root and p11tool"; exit 77; }
	grep -qw overlay /proc/filesystems || { echo "needs overlay mounts"; exit 77; }
	# In a chroot the root is no mount point whose propagation could be changed; nothing of ours is shared from one anyway.
	unshare --mount true 2>/dev/null || exec unshare --mount --propagation unchanged "$0" "$build" inside
	exec unshare --mount "$0" "$build" inside
fi

work=/mnt
# Where a mount could be seen outside after all, it must not stay there.
trap 'umount -l /etc /usr $work 2>/dev/null' EXIT
mount -t tmpfs none $work 2>/dev/null || { echo "cannot mount"; exit 77; }
for folder in usr etc; do
	mkdir $work/$folder $work/$folder.work
	mount -t overlay none -o "lowerdir=/$folder,upperdir=$work/$folder,workdir=$work/$folder.work" /$folder 2>/dev/null ||
		{ echo "cannot mount an overlay"; exit 77; }
done
rm -f /etc/skr-pkcs11.conf
cmake --install "$build" >$work/install.log
prefix=$(sed -n 's/^CMAKE_INSTALL_PREFIX:[A-Z]*=//p' "$build/CMakeCache.txt")
command=$prefix/bin/skr-pkcs11

wrong=0
expect() { # TEXT PATTERN COMMAND… : what it prints on either stream has the pattern
	local text=$1 pattern=$2 said
	shift 2
	said=$(env -u SKR_PKCS11_CONF "$@" 2>&1) || true
	grep -qE -- "$pattern" <<<"$said" || { printf 'not so: %s\n%s\n' "$text" "$said" >&2; wrong=1; }
}

expect "the installed configuration is good and names no token" 'is good: 0 tokens' "$command" config check
expect "without tokens other modules still work" 'System Trust' p11tool --list-tokens
expect "the command says why it shows no token" 'names none' "$command" tokens
cat >/etc/skr-pkcs11.conf <<'END'
[token web]
attestation = https://sharedneu.neu.attest.azure.net
key = https://contoso.vault.azure.net/keys/www
END
expect "p11tool finds the token with no option" '^	Label: web$' p11tool --list-tokens
expect "the command finds the installed module" 'token=web$' "$command" tokens
expect "the installed agent is the one that is used" "^  ok +agent +$prefix/libexec/skr-pkcs11/skr-agent" "$command" doctor
[ $wrong -eq 0 ] && echo "found by p11-kit as installed"
exit $wrong
