#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# OpenSSL through pkcs11-provider of bookworm-backports: keys by URI and by PEM-URI file, also as the default provider (I-21, C-17).
. "$(dirname "$0")/../support/interop.sh"
. "$SKR_TOP/tests/support/openssl-provider.sh"
. "$SKR_TOP/tests/support/print-config.sh"
check_openssl_provider "Debian 12"
