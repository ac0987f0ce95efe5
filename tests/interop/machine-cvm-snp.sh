#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A confidential VM on AMD SEV-SNP: evidence by the vTPM, keys wrapped to the TPM's key.
export SKR_TEST_MACHINE=cvm-snp
. "$(dirname "$0")/../support/interop.sh"
need swtpm
. "$SKR_TOP/tests/support/machine.sh"

doctor_says 'evidence .* azure-cvm \(AMD SEV-SNP\), endorsements from thim, [0-9]+ TPM commands$'
signs_with_released_keys
refuses_another_machines_key 'x-ms-isolation-tee.x-ms-sevsnpvm-launchmeasurement'

# What the paravisor itself would show, at the top: no guest's token has it.
refuses_policy paravisor "$(policy_of x-ms-attestation-type=sevsnpvm x-ms-compliance-status=azure-compliant-cvm)" \
	'x-ms-compliance-status'
refuses_policy tdx "$(policy_of x-ms-isolation-tee.x-ms-attestation-type=tdxvm)" 'x-ms-isolation-tee.x-ms-attestation-type'

# Who asks for less by name gets a token that says less, and no key of a confidential VM.
with_evidence trusted-launch
fails_with 332 "as a Trusted Launch VM it gets no key of a confidential one" cli doctor --config "$SKR_RUN/trusted-launch.conf" skr
check_says "$machine: the claim that is not met is named" 'x-ms-isolation-tee.x-ms-attestation-type' cat said.out

refuses_evidence azure-cvm-direct 145 "the paravisor's report alone does not release keys"
refuses_evidence snp 100 "there is no device of a container"
refuses_evidence tdx 100 "there is no configfs-tsm of a TD"

summary "machine: confidential VM, SNP" "swtpm $(version_of swtpm)" "p11tool, pkcs11-tool sign; other machines', paravisor's and TDX policies, other evidence refused"
