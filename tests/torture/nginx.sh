#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# nginx.sh BUILD [SECONDS] : full handshakes without a pause for ten minutes, a reload every second, one login, none fails.
. "$(dirname "$0")/../support/interop.sh"
. "$SKR_TOP/tests/support/nginx.sh"
duration=${2:-600}
prepare_nginx
sed "s,^dynamic_path = .*,dynamic_path = $(echo /usr/lib/*/engines-3/pkcs11.so),; s,^MODULE_PATH = .*,MODULE_PATH = $module," \
	"$SKR_TOP/conf/examples/openssl-engine.cnf" >engine.cnf
export OPENSSL_CONF=$SKR_RUN/engine.cnf
port=$(free_port)
nginx_configuration engine 2 "$port"
nginx_run
check_releases 2
memory() { awk '/^RssAnon/ { print $2 }' "/proc/$(nginx_master)/status"; }
reload
before=$(memory)
reloads=0
reload_until_the_end() {
	local end=$((SECONDS + duration))
	while [ $SECONDS -lt $end ]; do
		reload
		reloads=$((reloads + 1))
		sleep 1
	done
}
under_load "$duration seconds of load and reloads" reload_until_the_end
echo "$reloads reloads, the master has grown from $before to $(memory) KiB"
check_releases 0
