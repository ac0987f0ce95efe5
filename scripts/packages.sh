# SPDX-License-Identifier: Apache-2.0
# Sourced: installs the Debian packages that are missing. Nothing else on the machine is changed.

packages_to_build="build-essential cmake ninja-build pkg-config libssl-dev libcurl4-openssl-dev libcjson-dev libp11-kit-dev
libmicrohttpd-dev libcmocka-dev"
packages_to_demo="ca-certificates curl openssl gnutls-bin opensc p11-kit"
packages_to_test="clang libclang-rt-14-dev clang-format valgrind python3 python3-jwcrypto jose libengine-pkcs11-openssl
procps iproute2 mandoc"

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
	local log
	log=$(mktemp)
	if ! { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
		tail -20 "$log" >&2
		rm -f "$log"
		return 1
	fi
	rm -f "$log"
}
