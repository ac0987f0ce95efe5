#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# nginx with the engine of libp11, and with PEM-URI files through pkcs11-provider: one login serves the start, all
# workers and all reloads, and no handshake fails meanwhile. The lines about keys are those that print-config prints.
. "$(dirname "$0")/../support/interop.sh"
. "$SKR_TOP/tests/support/openssl-provider.sh"
. "$SKR_TOP/tests/support/nginx.sh"
. "$SKR_TOP/tests/support/print-config.sh"
engine=$(echo /usr/lib/*/engines-3/pkcs11.so)
[ -e "$engine" ] || { echo "libengine-pkcs11-openssl is not installed"; exit 77; }
prepare_nginx

echo "# the engine"
engine_configuration engine.cnf
export OPENSSL_CONF=$SKR_RUN/engine.cnf
example='s,listen 443,listen 127.0.0.1:443,; s,/etc/ssl/certs/www.pem,'$SKR_RUN'/rsa2048.crt,; s,token=web;object=www,token=skr;object=rsa2048,'
sed "$example" "$SKR_TOP/conf/examples/nginx.conf" >example.conf
check "nginx takes the example of the documents" nginx -t -p "$SKR_RUN" -c "$SKR_RUN/example.conf" -e "$SKR_RUN/nginx.log" -g "pid $SKR_RUN/example.pid;"
check_releases 2 # nginx -t is a program of its own
check_nginx engine
check_nginx_mistakes engine
nginx_stop

echo "# PEM-URI files"
released_before=$(releases)
for key in rsa2048 p256; do
	key_file $key
done
provider_configuration provider.cnf
export OPENSSL_CONF=$SKR_RUN/provider.cnf
check_nginx file
check_nginx_mistakes file
summary "nginx, engine and provider" "$(nginx -v 2>&1 | sed 's,.*/,,')" "RSA and EC, 2 and 8 workers, 46 reloads and binary upgrades under load, TLS 1.2 and 1.3, HTTP/2, client certificates"
