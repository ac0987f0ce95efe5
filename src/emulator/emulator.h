/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_EMULATOR_H
#define SKR_EMULATOR_EMULATOR_H

#include "base/json.h"
#include "base/ossl.h"

#include <pthread.h>
#include <stdatomic.h>

struct authority; /* authority.c: every certificate that is shown to somebody */
struct hardware;  /* what the played machine is: authority.c and its neighbours */
struct maa;       /* the attestation instances */
struct vaults;    /* vault.c */
struct entra;     /* entra.c */
struct faults;    /* faults.c */
struct requestlog;
struct server;
struct vtpm;  /* vtpm.c */
struct intel; /* intel.c */

/* What kind of machine is played: which interfaces the guest has, and what attests it. */
enum machine_kind {
	MACHINE_CONTAINER,      /* confidential container: SNP device, security context */
	MACHINE_CVM_SNP,        /* confidential VM on AMD: vTPM with a paravisor's report */
	MACHINE_CVM_TDX,        /* the same on Intel */
	MACHINE_TRUSTED_LAUNCH, /* vTPM, no hardware report */
	MACHINE_TDX,            /* a TD that has configfs-tsm for itself */
	MACHINE_SIDECAR,        /* no device at all, and Microsoft's SKR sidecar beside it */
};

/* One emulator: everything it plays. Parts open in the order of the members and close in the opposite one. */
struct emulator {
	const char *dir;           /* DIR of the command line, absolute */
	const char *hardware_file; /* JSON of --hardware, as POST /hardware takes; NULL: the default machine */
	char tenant[40], client[40], secret[64];
	enum machine_kind kind;
	uint16_t https_port, imds_port, control_port, sidecar_port;
	uint16_t tpm_port;            /* of the vTPM's relay; 0: the machine has none */
	_Atomic int64_t clock_offset; /* seconds, POST /clock */

	pthread_mutex_t lock; /* held while a route's handler runs: handlers see one request at a time */
	struct authority *authority;
	struct intel *intel; /* before the hardware, whose guests ask it */
	struct hardware *hardware;
	struct vtpm *vtpm; /* NULL: the machine has none */
	struct maa *maa;
	struct entra *entra;
	struct vaults *vaults;
	struct faults *faults;
	struct requestlog *log;
	struct server *server;
};

/* The emulator's wall clock, seconds since 1970: the machine's plus POST /clock. Every iat, nbf, exp goes by it. */
int64_t emulator_now(const struct emulator *e);

/* Writes DIR/name whole (a new file, then rename), mode 0600. SKR-017. */
skr_status emulator_write(const struct emulator *e, const char *name, const void *data, size_t len) MUST_CHECK;
/* Reads DIR/name, appended to `out`. SKR-001 if it is not there. */
skr_status emulator_read(const struct emulator *e, const char *name, struct buf *out) MUST_CHECK;
/*
 * The private key in DIR/name (PEM, PKCS#8), made there if it is missing: RSA of `bits`, or EC on `curve` if that is
 * not NULL. So the second start in a directory makes no keys. `ret` owned by the caller.
 */
skr_status emulator_key(const struct emulator *e, const char *name, int bits, const char *curve,
                        EVP_PKEY **ret) MUST_CHECK;
/* A random GUID, lower case; `out` has room for 37. */
void emulator_guid(char out[37]);

/* ---- What authority.c supplies ---------------------------------------------------------------------------------- */

/* A key and its certificate, then the issuers up to and including the root. */
struct credential {
	EVP_PKEY *key;
	STACK_OF(X509) *chain; /* leaf first, root last: 3 certificates where it is signed by our authority */
};

/* A leaf as it should be, or wrong in exactly one way. */
enum leaf {
	LEAF_GOOD,
	LEAF_EXPIRED,
	LEAF_NOT_YET,
	LEAF_SELF_SIGNED,
	LEAF_WRONG_NAME,
	LEAF_UNKNOWN_CA, /* the same shape under another root */
	LEAF_WEAK_KEY,   /* RSA-1024 */
	LEAF_SHA1,       /* signed with SHA-1 */
};

/*
 * Makes or loads (DIR/authority…) the root that clients trust, DIR/ca.pem, the leaf for TLS, and the AMD-like hierarchy
 * with DIR/amd-ark.pem, amd-ask.pem, vcek.pem. Sets e->authority.
 */
skr_status authority_open(struct emulator *e) MUST_CHECK;
void authority_close(struct emulator *e);

/*
 * What the https port shows, one leaf for all names: *.vault.localhost, *.managedhsm.localhost, *.attest.localhost,
 * login.localhost, localhost, 127.0.0.1, ::1, *.vault.azure.net, *.managedhsm.azure.net, *.attest.azure.net and
 * *.REGION.attest.azure.net of the regions in maa.md section 1, login.microsoftonline.com, login.windows.net. Wrong
 * ones are made when first asked for. Borrowed. Thread-safe.
 */
skr_status authority_tls(struct emulator *e, enum leaf leaf, const struct credential **ret) MUST_CHECK;
/*
 * What signs the release answers of `host` (lower case, no port): for vaults one leaf per domain (CN vault.localhost,
 * SANs it and *.vault.localhost; for localhost and 127.0.0.1 those names), for Managed HSM one per instance
 * (akv-release.md section 6.1). RSA, chain of 3. Borrowed. Thread-safe.
 */
skr_status authority_release(struct emulator *e, const char *host, enum leaf leaf,
                             const struct credential **ret) MUST_CHECK;

/* Opens the played machine (e->hardware): default or e->hardware_file, DIR/security-context, DIR/hardware.sock. */
skr_status hardware_open(struct emulator *e) MUST_CHECK;
void hardware_close(struct emulator *e);
/* POST /hardware: changes what the next report says. SKR-213 names the member that is wrong; then nothing changed. */
skr_status hardware_change(struct emulator *e, const json *request) MUST_CHECK;
/* THIM's answer: {"vcekCert","tcbm","certificateChain","cacheControl"}; owned by the caller. */
skr_status hardware_thim(struct emulator *e, json **ret) MUST_CHECK;

/* ---- What maa.c supplies ---------------------------------------------------------------------------------------- */

skr_status maa_open(struct emulator *e) MUST_CHECK;
void maa_close(struct emulator *e);
/*
 * What the vaults ask of an attestation token (akv-release.md section 11.3): signed by the key of an instance of ours,
 * iss that instance, nbf and exp around emulator_now(). `ret_claims` owned by the caller. SKR-340 says which failed.
 */
skr_status maa_token_claims(struct emulator *e, const char *token, json **ret_claims) MUST_CHECK;

#endif
