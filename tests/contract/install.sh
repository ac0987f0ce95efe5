#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh BUILD : cmake --install puts every file where it belongs, and leaves a configuration alone that is there.
set -eu
build=$1
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
wrong=0

fail() {
	echo "$*" >&2
	wrong=1
}

# The value of a variable of the build's cache.
cached() {
	sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"
}

# A path as installed: below the prefix unless it is absolute.
placed() {
	case $1 in
	/*) echo "$stage$1" ;;
	*) echo "$stage$(cached CMAKE_INSTALL_PREFIX)/$1" ;;
	esac
}

install_here() {
	DESTDIR=$stage cmake --install "$build" "$@" >"$stage/log" 2>&1 || { cat "$stage/log" >&2; exit 1; }
}

expect() { # PATH MODE
	[ -f "$1" ] || { fail "missing: ${1#"$stage"}"; return; }
	[ "$(stat -c %a "$1")" = "$2" ] || fail "${1#"$stage"} has mode $(stat -c %a "$1"), not $2"
}

for program in skr-pkcs11.so skr-pkcs11 skr-agent; do
	if [ ! -e "$build/src/$program" ]; then
		echo "$program is not built" >&2
		exit 1
	fi
done

install_here
module=$(placed "$(cached SKR_PKCS11_DIR)")/skr-pkcs11.so
expect "$module" 644
expect "$(placed "$(cached CMAKE_INSTALL_LIBEXECDIR)")/skr-pkcs11/skr-agent" 755
expect "$(placed "$(cached CMAKE_INSTALL_BINDIR)")/skr-pkcs11" 755
expect "$(placed "$(cached CMAKE_INSTALL_INCLUDEDIR)")/skr_pkcs11.h" 644
expect "$(placed "$(cached SKR_P11KIT_DIR)")/skr-pkcs11.module" 644
expect "$(placed "$(cached SKR_SYSTEMD_DIR)")/skr-agent.socket" 644
expect "$(placed "$(cached SKR_SYSTEMD_DIR)")/skr-agent@.service" 644
expect "$(placed "$(cached SKR_SYSUSERS_DIR)")/skr-pkcs11.conf" 644
expect "$(placed "$(cached SKR_TMPFILES_DIR)")/skr-pkcs11.conf" 644
expect "$stage$(cached SKR_CONF_DIR)/skr-pkcs11.conf" 644
expect "$(placed "$(cached SKR_BASH_COMPLETION_DIR)")/skr-pkcs11" 644
expect "$(placed "$(cached SKR_ZSH_COMPLETION_DIR)")/_skr-pkcs11" 644
man=$(placed "$(cached CMAKE_INSTALL_MANDIR)")
[ "$(cached CMAKE_INSTALL_MANDIR)" ] || man=$(placed share/man)
expect "$man/man1/skr-pkcs11.1" 644
expect "$man/man5/skr-pkcs11.conf.5" 644
expect "$man/man7/skr-pkcs11.7" 644
expect "$man/man8/skr-agent.8" 644

# p11-kit must find the module file, and the module by what the file says.
configs=$(pkg-config --variable=p11_module_configs p11-kit-1)
[ "$(placed "$(cached SKR_P11KIT_DIR)")" = "$stage$configs" ] ||
	fail "the module file goes to $(cached SKR_P11KIT_DIR), but p11-kit looks in $configs"
named=$(sed -n 's/^module: *//p' "$(placed "$(cached SKR_P11KIT_DIR)")/skr-pkcs11.module")
case $named in
/*) [ "$stage$named" = "$module" ] || fail "the module file names $named, which is not installed there" ;;
*) [ "$(pkg-config --variable=p11_module_path p11-kit-1)/$named" = "${module#"$stage"}" ] ||
	fail "the module file names $named, which p11-kit does not find" ;;
esac

# The unit starts the agent that is installed.
agent=$(sed -n 's/^ExecStart=//p' "$(placed "$(cached SKR_SYSTEMD_DIR)")/skr-agent@.service")
[ -x "$stage$agent" ] || fail "the unit starts $agent, which is not installed"

# The configuration that is installed is good, and gives no tokens.
grep -v '^#' "$stage$(cached SKR_CONF_DIR)/skr-pkcs11.conf" | grep -q . && fail "the installed configuration is not all comments"

# The emulator is a component of its own.
find "$stage" -name 'skr-emulator' -o -name 'skr-guest-preload.so' | grep -q . && fail "the emulator is installed with the rest"

# A second installation keeps the administrator's configuration.
echo '# mine' >"$stage$(cached SKR_CONF_DIR)/skr-pkcs11.conf"
install_here
[ "$(cat "$stage$(cached SKR_CONF_DIR)/skr-pkcs11.conf")" = '# mine' ] || fail "an existing configuration was overwritten"

# Nothing of the build tree is named in what is installed.
grep -rlF "$build" "$stage" --include='*.module' --include='*.service' --include='*.conf' && fail "installed files name the build tree"

if [ -e "$build/src/skr-emulator" ] && [ -e "$build/src/skr-guest-preload.so" ]; then
	install_here --component emulator
	expect "$(placed "$(cached CMAKE_INSTALL_BINDIR)")/skr-emulator" 755
	expect "$(placed "$(cached CMAKE_INSTALL_LIBDIR)")/skr-pkcs11/skr-guest-preload.so" 644
	expect "$man/man1/skr-emulator.1" 644
fi
[ $wrong -eq 0 ] && echo "every file is where it belongs"
exit $wrong
