# SPDX-License-Identifier: Apache-2.0
# Sourced: installs the Debian packages that are missing. Nothing else on the machine is changed.

packages_to_build="build-essential cmake ninja-build pkg-config libssl-dev libcurl4-openssl-dev libcjson-dev libp11-kit-dev
libmicrohttpd-dev libtss2-dev libcmocka-dev scdoc"
packages_to_demo="ca-certificates curl openssl gnutls-bin opensc p11-kit swtpm"
packages_to_test="tpm2-tools jq nginx-light python3-azure clang libclang-rt-14-dev llvm clang-format valgrind python3 python3-jwcrypto jose libengine-pkcs11-openssl
procps iproute2 mandoc groff-base debootstrap gnupg gpg-agent gnupg-pkcs11-scd openssh-server openssh-client
systemd cryptsetup-bin apache2-bin haproxy stunnel4 postgresql libnss3-tools strongswan-pki
libstrongswan-extra-plugins libstrongswan-standard-plugins openvpn eapoltest hostapd python3-pykcs11 golang-go
golang-github-miekg-pkcs11-dev golang-github-thalesignite-crypto11-dev openjdk-17-jdk-headless"
# Node from elsewhere brings its own npm, which Debian's conflicts with.
command -v npm >/dev/null || packages_to_test="$packages_to_test nodejs npm"

# Servers that the tests start themselves, on ports of their own; those that come with packages installed here stay off.
services_to_leave_off="nginx ssh haproxy postgresql"

# install_packages NAME… : quiet when nothing is missing.
install_packages() {
	local missing=() package
	for package in "$@"; do
		dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	local as_root=()
	if [ "$(id -u)" != 0 ]; then
		if ! command -v sudo >/dev/null; then
			echo "These packages are missing; please install them as root, then run this again:" >&2
			echo "  apt-get install ${missing[*]}" >&2
			return 1
		fi
		as_root=(sudo)
	fi
	echo "Installing ${#missing[@]} Debian packages: ${missing[*]}"
	local log service fresh=() policy=/usr/sbin/policy-rc.d
	for service in $services_to_leave_off; do
		[ -e "/lib/systemd/system/$service.service" ] || fresh+=("$service")
	done
	[ ! -e $policy ] || policy=
	[ -z "$policy" ] || printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin $policy
	log=$(mktemp)
	local failed=
	if ! { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
		tail -20 "$log" >&2
		failed=1
	fi
	rm -f "$log"
	[ -z "$policy" ] || "${as_root[@]}" rm -f $policy
	for service in "${fresh[@]}"; do
		[ ! -e "/lib/systemd/system/$service.service" ] || "${as_root[@]}" systemctl disable --quiet "$service" 2>/dev/null || true
	done
	[ -z "$failed" ]
}
