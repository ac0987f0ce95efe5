#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A TD that makes its own reports: configfs-tsm with provider tdx_guest.
export SKR_TEST_MACHINE=tdx
. "$(dirname "$0")/../support/interop.sh"
. "$SKR_TOP/tests/support/machine.sh"

doctor_says 'evidence .* tdx-configfs, quote of [0-9]+ bytes'
signs_with_released_keys
refuses_another_machines_key 'tdx_mrtd'
refuses_policy guest "$(policy_of x-ms-isolation-tee.x-ms-attestation-type=tdxvm)" 'x-ms-isolation-tee.x-ms-attestation-type'
refuses_evidence snp 122 "what configfs-tsm has is none of AMD's"
summary "machine: TD" "$(version_of gnutls-bin)" "p11tool, pkcs11-tool sign; other machines' and guests' policies, other evidence refused"
