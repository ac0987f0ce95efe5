# SPDX-License-Identifier: Apache-2.0
# Sourced after interop.sh as: . "$SKR_TOP/tests/support/registered.sh" "$@"
# p11-kit reads the list of modules from the system's folder only. Here the module is on it, as an installation puts it there:
# on a folder that nobody but this script sees, or, where mounting is forbidden, with a file of its own that goes away in the end.
if [ -z "${SKR_REGISTERED:-}" ]; then
	need p11-kit
	modules=/usr/share/p11-kit/modules
	[ -d $modules ] || { echo "FAILED: no folder $modules"; exit 1; }
	[ "$(id -u)" = 0 ] || { echo "FAILED: only root can register a module: run this as root"; exit 1; }
	mkdir registered
	cp -a $modules/p11-kit-trust.module registered/
	echo "module: $module" >registered/skr-pkcs11.module
	if unshare --mount mount --bind registered $modules 2>/dev/null; then
		export SKR_REGISTERED=bind
		exec unshare --mount sh -c "mount --bind registered $modules && exec \"\$@\"" sh "$SKR_TOP/tests/interop/$(basename "$0")" "$@"
	fi
	SKR_REGISTERED=$modules/skr-pkcs11-test-$$.module
	cp registered/skr-pkcs11.module "$SKR_REGISTERED"
	at_exit() { rm -f "$SKR_REGISTERED"; }
fi
