#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The same as openssl-provider.sh with the OpenSSL and the pkcs11-provider of Debian 13 (trixie).
. "$(dirname "$0")/../support/interop.sh"
. "$SKR_TOP/tests/support/chroot.sh"
enter_chroot trixie
. "$SKR_TOP/tests/support/openssl-provider.sh"
check_openssl_provider "Debian 13"
