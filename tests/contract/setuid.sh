#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# setuid.sh BUILD : in a set-uid program the environment does not choose the configuration (I-27, E-06).
set -eu
grep -q "^SKR_SANITIZE:[A-Z]*=." "$1/CMakeCache.txt" && { echo "not with sanitizers"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "needs root"; exit 77; }
command -v setpriv >/dev/null || { echo "needs setpriv"; exit 77; }
work=$(mktemp -d /var/lib/skr-setuid-XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cp "$1/src/skr-pkcs11" "$work/plain"
cp "$1/src/skr-pkcs11" "$work/raised"
chmod 755 "$work/plain"
chmod 4755 "$work/raised"

# Which file the command reads when somebody else runs it with the variable set.
read_by() {
	SKR_PKCS11_CONF=$work/chosen setpriv --reuid 65534 --regid 65534 --clear-groups "$work/$1" config check 2>&1 || true
}

read_by plain | grep -qF "$work/chosen" || { echo "the variable has no effect in a plain program" >&2; exit 1; }
if read_by raised | grep -qF "$work/chosen"; then
	echo "the variable has an effect in a set-uid program" >&2
	exit 1
fi
read_by raised | grep -qF /etc/skr-pkcs11.conf || { read_by raised >&2; exit 1; }
echo "a set-uid program reads its default configuration only"
