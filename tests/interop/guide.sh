#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# docs/guide.md, followed by a new user on a machine of each kind: its marked commands run as they stand, against an emulated Azure
# under Azure's own names, in the end nginx serves with the released key. And each az line of the page is one that there is.
. "$(dirname "$0")/../support/interop.sh"
need nginx curl openssl unshare ip python3
[ "$(id -u)" = 0 ] || { echo "only root can play a machine of its own: run this as root"; exit 77; }
mkdir probe
unshare --mount --net sh -c 'mount -t tmpfs probe probe && mkdir probe/upper probe/work &&
	mount -t overlay probe -o lowerdir=/etc,upperdir=probe/upper,workdir=probe/work /etc' 2>/dev/null ||
	{ echo "namespaces or layers over folders are forbidden here"; exit 77; }
[ -n "$(find /usr/lib -path '*/engines-3/pkcs11.so')" ] || { echo "libengine-pkcs11-openssl is not installed"; exit 77; }

# Every az command of the page, one a line: continued lines are joined, what stands in $(…) gets a line of its own.
sed -n '/^```sh/,/^```/p' "$SKR_TOP/docs/guide.md" | sed ':again; /\\$/{N; s/\\\n *//; b again}' |
	sed 's/\(.*\)$(\(az [^()]*\))\(.*\)/\1X\3\n\2/; s/$([^()]*)/X/g' | grep -o '\baz [a-z][^|)#;>]*' >az-lines
check_says "az is on the page" '^[2-9][0-9]$' sh -c 'wc -l <az-lines'
while read -r line; do
	check "$line" bash -c "set -- ${line#az }; exec \"$SKR_TOP/tests/support/guide-az\" --check \"\$@\""
done <az-lines

# KIND:TAG, two at a time.
kinds=(tdx:vm container:aci)
! command -v swtpm >/dev/null || kinds=(cvm-snp:vm cvm-tdx:vm cvm-snp:aks trusted-launch:vm "${kinds[@]}")
printf '%s\n' "${kinds[@]}" | tr : ' ' | xargs -L1 -P2 unshare --mount --net "$SKR_TOP/tests/support/guide.sh"
releases() { cat "$SKR_RUN"/*/azure/requests.jsonl | grep '"op":"akv.release"' | grep -c '"status":200'; } # of all these machines
summary "docs/guide.md" "$(version_of nginx)" "its commands, from the vault to nginx, in ${#kinds[@]} ways"
