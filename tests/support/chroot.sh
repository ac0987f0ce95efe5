# SPDX-License-Identifier: Apache-2.0
# Sourced after interop.sh: runs the rest of a script inside a newer Debian, with the module that was built here.
#
#   enter_chroot trixie      the script starts again in there, and comes past this line
#
# A chroot is made once, by debootstrap from the mirror that this machine's apt uses, and kept in $SKR_CHROOTS.
# Runs see it read-only, each with mounts and processes of its own that end with the run, so that any number of them can
# share it; the emulated Azure stays outside and is reached over loopback. The folder of the build and that of the
# sources are where they are outside.

# What every script that runs in the suite needs; a list that grew is installed into a chroot that is there already.
chroot_packages_common="ca-certificates libcjson1 openssl opensc gnutls-bin pkcs11-provider curl nginx procps python3-minimal"
chroot_packages_of_agent="libcurl4t64 libtss2-sys1t64 libtss2-mu-4.0.1-0t64 libtss2-tctildr0t64 libtss2-rc0t64"
chroot_packages_trixie="$chroot_packages_of_agent bind9-dnsutils bind9-utils"
chroot_packages_forky="$chroot_packages_of_agent"

chroot_folder() {
	if [ -n "${SKR_CHROOTS:-}" ]; then
		echo "$SKR_CHROOTS"
	elif [ "$(id -u)" = 0 ]; then
		echo /var/cache/skr-pkcs11-chroots
	else
		echo "${XDG_CACHE_HOME:-$SKR_BUILD/cache}/skr-pkcs11-chroots"
	fi
}

# debian_mirror : where this machine's apt gets its own Debian from.
debian_mirror() {
	local codename
	codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
	apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN)' 'Created-By: Packages' |
		awk -v codename="$codename" '$2 == codename && $3 == "Debian" { print $1; exit }'
}

# apt_settings : how this machine's apt reaches its mirror (proxies, time-outs, checks).
apt_settings() { apt-config dump Acquire | grep -v 'IndexTargets\|""'; }

# make_chroot SUITE FOLDER PACKAGES… : in a mount namespace of its own, so that nothing stays mounted.
make_chroot() {
	local suite=$1 folder=$2 mirror script
	shift 2
	if [ ! -e "$folder/usr" ]; then
		mirror=$(debian_mirror)
		[ -n "$mirror" ] || { echo "apt knows no Debian mirror: apt-get update" >&2; return 1; }
		script=/usr/share/debootstrap/scripts/$suite
		[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid # newer than this debootstrap
		rm -rf --one-file-system "$folder.new"
		debootstrap --variant=minbase "$suite" "$folder.new" "$mirror" "$script" || return 1
		echo "deb $mirror $suite main" >"$folder.new/etc/apt/sources.list"
		printf '#!/bin/sh\nexit 101\n' >"$folder.new/usr/sbin/policy-rc.d" # no service starts by being installed
		chmod +x "$folder.new/usr/sbin/policy-rc.d"
		mv "$folder.new" "$folder"
	fi
	apt_settings >"$folder/etc/apt/apt.conf.d/90skr-pkcs11"
	cp /etc/resolv.conf /etc/hosts "$folder/etc/"
	unshare --mount --propagation unchanged bash -euc '
		folder=$1
		shift
		trap "umount -R -l \"$folder\" 2>/dev/null || true" EXIT
		mount --bind "$folder" "$folder"
		mount --make-private "$folder"
		mount -t proc proc "$folder/proc"
		mount --rbind /dev "$folder/dev"
		mount --make-rslave "$folder/dev"
		export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
		chroot "$folder" apt-get -q update
		chroot "$folder" apt-get -q -y --no-install-recommends install "$@"
	' make_chroot "$folder" "$@" || return 1
	echo "$*" >"$folder/packages"
}

# The chroot of SUITE is there and complete; file descriptor 9 keeps others from changing it while it is used.
have_chroot() {
	local suite=$1 folder=$2 log packages
	packages="$chroot_packages_common $(eval "echo \$chroot_packages_$suite")"
	mkdir -p "$(dirname "$folder")"
	exec 9>"$folder.lock"
	flock --shared 9
	[ "$(cat "$folder/packages" 2>/dev/null)" != "$packages" ] || return 0
	flock --unlock 9
	flock --exclusive 9
	if [ "$(cat "$folder/packages" 2>/dev/null)" != "$packages" ]; then
		log=$folder.log
		echo "making a chroot of Debian $suite in $folder"
		make_chroot "$suite" "$folder" $packages >"$log" 2>&1 || { tail -20 "$log"; return 1; }
	fi
	flock --shared 9
}

# enter_chroot SUITE : returns only inside it.
enter_chroot() {
	[ -z "${SKR_CHROOT:-}" ] || return 0
	local suite=$1 folder environment=() name status=0
	[ "$(id -u)" = 0 ] || { echo "a chroot needs root"; exit 77; }
	need debootstrap unshare flock
	folder=$(chroot_folder)/$suite
	have_chroot "$suite" "$folder" || { echo "FAILED: there is no chroot of Debian $suite"; exit 1; }
	for name in $(compgen -e SKR_); do
		environment+=("$name=${!name}")
	done
	unshare --mount --pid --fork --kill-child --propagation unchanged bash -euc '
		folder=$1 script=$2 build=$3 top=$4
		shift 4
		root=$(mktemp -d /tmp/skr-chroot.XXXXXX)
		trap "umount -R -l \"$root\" 2>/dev/null || true; rmdir \"$root\"" EXIT
		mount --bind "$folder" "$root"
		mount --make-private "$root"
		mkdir -p "$folder/$build" "$folder/$top"
		mount -o remount,bind,ro "$root"
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount --make-rslave "$root/dev"
		mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
		for writable in run var/log var/lib/nginx; do
			mount -t tmpfs -o mode=755 tmpfs "$root/$writable"
		done
		mount --bind "$top" "$root/$top"
		mount --bind "$build" "$root/$build"
		chroot "$root" /usr/bin/env -i "$@" "$script" "$build"
	' enter_chroot "$folder" "$SKR_TOP/tests/interop/$(basename "$0")" "$SKR_BUILD" "$SKR_TOP" \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
		"${environment[@]}" "SKR_CHROOT=$suite" || status=$?
	exit "$status"
}
