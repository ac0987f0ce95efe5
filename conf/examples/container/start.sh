#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The first program of a container: nginx with a released key. Without a certificate it prints a request for one, and waits.
set -eu
name=www.example.com
certificate=/run/www/www.pem

if ! grep -qs 'BEGIN CERTIFICATE' $certificate; then
	skr-pkcs11 csr web --key www --subject "/CN=$name" --san "DNS:$name"
	exec sleep infinity
fi

export OPENSSL_CONF=/etc/ssl/skr-pkcs11-engine.cnf
skr-pkcs11 print-config openssl --engine >$OPENSSL_CONF
skr-pkcs11 print-config nginx web --key www --engine --certificate $certificate >/etc/nginx/lines
sed '/^# --- in the server/,$d' /etc/nginx/lines >/etc/nginx/modules-enabled/90-skr-pkcs11.conf
{
	echo "server { listen 443 ssl; server_name $name;"
	sed -n '/^# --- in the server/,$p' /etc/nginx/lines
	echo '}'
} >/etc/nginx/conf.d/www.conf
exec nginx -g 'daemon off;'
