# SPDX-License-Identifier: Apache-2.0
# Sourced after interop.sh: OpenSSL's older way to PKCS#11, the engine of libp11.

# engine_configuration FILE : an openssl.cnf that knows the engine; sets engine, its path.
engine_configuration() {
	engine=$(echo /usr/lib/*/engines-3/pkcs11.so)
	[ -e "$engine" ] || { echo "libengine-pkcs11-openssl is not installed"; exit 77; }
	sed "s,^dynamic_path = .*,dynamic_path = $engine,; s,^MODULE_PATH = .*,MODULE_PATH = $module," \
		"$SKR_TOP/conf/examples/openssl-engine.cnf" >"$1"
}

# key_uri KEY : how configurations name it.
key_uri() { echo "pkcs11:token=skr;object=$1;type=private"; }
