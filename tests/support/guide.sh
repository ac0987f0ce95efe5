#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# guide.sh KIND TAG : a machine of its own, played in namespaces of its own, on which the commands of docs/guide.md that are
# marked with TAG run as they stand, under Azure's own names. Started by tests/interop/guide.sh, by unshare --mount --net.
kind=$1 tag=$2
export SKR_RUN=$SKR_RUN/$kind-$tag
mkdir "$SKR_RUN"
. "$(dirname "$0")/interop.sh"
mkdir "$SKR_RUN/layers" "$SKR_RUN/home" "$SKR_RUN/bin"

# What is written to the system's folders is written to a layer that goes away with this process.
mount -t tmpfs layers "$SKR_RUN/layers"
for folder in usr etc var; do
	mkdir "$SKR_RUN/layers/$folder" "$SKR_RUN/layers/$folder.work"
	mount -t overlay "$folder" -o "lowerdir=/$folder,upperdir=$SKR_RUN/layers/$folder,workdir=$SKR_RUN/layers/$folder.work" /$folder
done
mount -t tmpfs run /run
ip link set lo up
ip address add 169.254.169.254/32 dev lo

# Azure, on ::1, so that a server can have 443 of every IPv4 address.
start_emulator "$SKR_RUN/azure" --machine "$kind" --listen ::1 --port 443
children+=("$emulator_pid")
echo "::1 contoso.vault.azure.net sharedneu.neu.attest.azure.net login.microsoftonline.com" >>/etc/hosts
cat "$SKR_EMULATOR_CA" >>/etc/ssl/certs/ca-certificates.crt
python3 "$SKR_TOP/tests/support/forward.py" 169.254.169.254 80 "$SKR_EMULATOR_IMDS" &
children+=($!)

# The installation, and the agent within the played hardware. Commands ask the hardware themselves.
unset SKR_PKCS11_CONF
rm -f /etc/skr-pkcs11.conf
cmake --install "$build" >install.log || { cat install.log; exit 1; }
agent=$(skr-pkcs11 config settings | sed -n 's/^agent = exec://p')
cp "$SKR_EMULATOR_DIR/skr-agent" "$agent"
printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$SKR_EMULATOR_DIR/inside" "$(command -v skr-pkcs11)" >"$SKR_RUN/bin/skr-pkcs11"
cp "$SKR_TOP/tests/support/guide-az" "$SKR_RUN/bin/az"
cp "$SKR_TOP/tests/support/guide-kubectl" "$SKR_RUN/bin/kubectl"
cat >"$SKR_RUN/bin/systemctl" <<'END'
#!/bin/sh
case $* in
daemon-reload) exit ;;
'restart nginx') [ ! -e /run/nginx.pid ] || { kill "$(cat /run/nginx.pid)"; while [ -e /run/nginx.pid ]; do sleep 0.1; done; } ;;
*) echo "systemctl $*: not played" >&2; exit 2 ;;
esac
env $(sed -n 's/^Environment=//p' /etc/systemd/system/nginx.service.d/*.conf) nginx
END
chmod 755 "$SKR_RUN/bin/"*
export PATH=$SKR_RUN/bin:$PATH
at_exit() {
	[ ! -e /run/nginx.pid ] || kill "$(cat /run/nginx.pid)" || true
	[ ! -e "$SKR_RUN/image.pid" ] || kill "$(cat "$SKR_RUN/image.pid")" 2>/dev/null || true
}
if [ "$tag" != vm ]; then # what the Dockerfile does
	cp "$SKR_TOP/conf/examples/container/skr-pkcs11.conf" /etc/skr-pkcs11.conf
	rm -f /etc/nginx/sites-enabled/default
fi
cd "$SKR_RUN/home"
ln -s "$SKR_TOP/conf" conf

# The guide's blocks, one after the other in one shell, as a person would paste them.
awk -v tag="$tag" '/^<!-- try: / { wanted = index($0 " ", " " tag " ") } /^```/ { inside = wanted && !inside; if (!inside) wanted = 0; next }
	inside' "$SKR_TOP/docs/guide.md" >../blocks
case $kind in # what section 7 says of them
trusted-launch) sed -i 's/^\[token web\]$/&\nevidence = trusted-launch/' ../blocks ;;
tdx) sed -i 's/policy generate/& --strictness image/' ../blocks ;;
esac
check "$kind, $tag: the commands of docs/guide.md" bash -eux ../blocks
check_says "$kind, $tag: nginx serves with the released key" '^subject=CN = www.example.com' sh -c \
	'openssl s_client -connect 127.0.0.1:443 -servername www.example.com -CAfile ca.pem -verify_return_error </dev/null'
check "$kind, $tag: no private key lies in any file that was written" sh -c \
	'! grep -rlE "PRIVATE KEY-----" "$SKR_RUN/layers" "$SKR_RUN/home" --exclude=ca.key'
check_says "$kind, $tag: keys were released" '^[1-9]' releases
