#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The nginx of Debian 14, which takes the key's URI itself ("store:"), with its OpenSSL and pkcs11-provider.
. "$(dirname "$0")/../support/interop.sh"
. "$SKR_TOP/tests/support/chroot.sh"
enter_chroot forky
. "$SKR_TOP/tests/support/openssl-provider.sh"
. "$SKR_TOP/tests/support/nginx.sh"
prepare_nginx
provider_configuration provider.cnf
export OPENSSL_CONF=$SKR_RUN/provider.cnf
check_nginx store
check_nginx_mistakes store
summary "nginx, store:" "$(nginx -v 2>&1 | sed 's,.*/,,'), provider $provider_version" "RSA and EC, 2 and 8 workers, 23 reloads and a binary upgrade under load, TLS 1.2 and 1.3, HTTP/2, client certificates"
