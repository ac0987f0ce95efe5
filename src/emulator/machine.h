/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_MACHINE_H
#define SKR_EMULATOR_MACHINE_H

#include "emulator/emulator.h"
#include "emulator/report_verify.h"

/* What belongs to a kind of machine. */
struct machine_traits {
	const char *name;     /* of --machine */
	const char *devices;  /* SKR_GUEST_DEVICES: the interfaces that its guest has */
	const char *evidence; /* what a token's evidence = must say there */
	const char *vm_size;  /* of the metadata service */
	bool tpm;             /* has a vTPM */
	bool container;       /* a container group: security context, and room for the SKR sidecar */
};
const struct machine_traits *machine_traits(enum machine_kind kind);
bool machine_kind_of_name(const char *name, enum machine_kind *ret);
/* "container, cvm-snp, …" */
const char *machine_kind_names(void);

/*
 * What the played machine is: settings, of --hardware and POST /hardware. A member that is not given stays as it was:
 *
 *   product               "Milan", "Genoa", "Turin"; sets version and tcb to what is usual for it
 *   version               of the report, 2 to 5, or any other for a fault
 *   tcb                   16 hex digits as THIM's tcbm, or {"fmc","bootloader","tee","snp","microcode"}
 *   host_data             64 hex digits; measurement, id_key_digest, 96; family_id, image_id, 32
 *   guest_svn             number
 *   debug, migration, smt booleans of the guest policy
 *   mask_chip_id          true: the report hides its chip id
 *   certificate_table     true: extended reports carry VCEK, ASK, ARK; false, as on Azure: an empty table
 *   thim_tcb, context_tcb as tcb: THIM's answer, the security context, are for that other TCB; null: for the right one
 *   security_policy       text of the security context; HOST_DATA follows, unless host_data is given too
 *   feed, svn             of the utility VM's endorsement
 *   endorsed_measurement  96 hex digits: what the endorsement says; follows measurement unless it is given too
 *   accept_real_amd       true: attestation also accepts reports under AMD's own roots and Microsoft's own endorsements
 *   td_debug              true: the TD's debug attribute
 *   td_attributes, td_xfam 16 hex digits, bytes as the report has them; td_tee_tcb_svn, 32; td_mrtd, td_mrseam,
 *                         td_mrsignerseam, td_mrconfigid, td_mrowner, td_mrownerconfig, td_rtmr0 to td_rtmr3, 96
 *   accept_real_intel     true: attestation also accepts quotes under Intel's own SGX root
 *   secure_boot_without_log true: attestation believes that secure boot was on when a vTPM's guest sends no boot log
 *   token_lifetime        of attestation tokens, seconds; 28800
 *   certs_with_numbers    true: /certs gives n and e beside x5c; false, as on Azure: x5c alone
 */
#define SECURITY_POLICY_LIMIT (16 * 1024)

/* What a TD's own report says, byte by byte. */
struct td {
	bool debug;
	uint8_t attributes[8], xfam[8], tee_tcb_svn[16];
	uint8_t mrseam[48], mrsignerseam[48], mrtd[48], mrconfigid[48], mrowner[48], mrownerconfig[48], rtmr[4][48];
};

struct machine {
	enum product product;
	uint32_t version, guest_svn, svn, token_lifetime;
	struct tcb tcb, thim_tcb, context_tcb;
	bool thim_differs, context_differs;
	bool debug, migration, smt, mask_chip_id, certificate_table;
	bool accept_real_amd, accept_real_intel, certs_with_numbers, secure_boot_without_log;
	struct td td;
	uint8_t family_id[16], image_id[16], measurement[48], endorsed_measurement[48], id_key_digest[48],
	    host_data[32];
	char feed[64];
	char security_policy[SECURITY_POLICY_LIMIT];
};

/* The machine of a start without settings: Milan, with the report that Azure's machines of this kind have. */
skr_status machine_default(enum machine_kind kind, struct machine *ret) MUST_CHECK;
/* Changes what `request` names. SKR-213 with the member that is wrong; then `m` is half changed and of no use. */
skr_status machine_set(struct machine *m, const json *request) MUST_CHECK;

#endif
