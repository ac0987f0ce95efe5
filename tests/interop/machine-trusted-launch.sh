#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A Trusted Launch VM: only when it is asked for by name, never in place of a confidential VM.
export SKR_TEST_MACHINE=trusted-launch
. "$(dirname "$0")/../support/interop.sh"
need swtpm
. "$SKR_TOP/tests/support/machine.sh"

doctor_says 'evidence .* trusted-launch \(Trusted Launch\), endorsements from none, [0-9]+ TPM commands$'
signs_with_released_keys
refuses_another_machines_key 'x-ms-azurevm-vmid'
refuses_policy confidential "$(policy_of x-ms-isolation-tee.x-ms-attestation-type=sevsnpvm)" \
	'x-ms-isolation-tee.x-ms-attestation-type'
refuses_evidence azure-cvm 134 "a Trusted Launch VM is not taken for a confidential one"
refuses_evidence auto 134 "nor if the machine is to decide"
refuses_evidence azure-cvm-direct 134 "and has no report to show"
summary "machine: Trusted Launch" "swtpm $(version_of swtpm)" "p11tool, pkcs11-tool sign; other machines' and confidential VMs' policies, other evidence refused"
