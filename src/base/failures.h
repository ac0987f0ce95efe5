/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_FAILURES_H
#define SKR_BASE_FAILURES_H

/*
 * One row per thing that can go wrong. The log line, the CK_RV, `skr-pkcs11 doctor` and docs/troubleshooting.md read
 * these rows. A number is given once and for ever; a row that is no longer needed stays, so that its number is never
 * reused.
 *
 * Family: who has to act. TRANSIENT: nobody, later may help. REFUSED: configuration, identity, policy or key state must
 * change. UNTRUSTED: something that must verify did not, treated as an attack. LOCAL: this process or its arguments.
 * NOTE: not a failure, a numbered line of the log.
 */
enum failure_family { FAMILY_NONE, FAMILY_TRANSIENT, FAMILY_REFUSED, FAMILY_UNTRUSTED, FAMILY_LOCAL, FAMILY_NOTE };

/* clang-format off */
#define FAILURES(X) \
	/* configuration and local environment */ \
	X(1,   REFUSED,   "no configuration file", "write /etc/skr-pkcs11.conf, or name another in SKR_PKCS11_CONF") \
	X(2,   REFUSED,   "configuration not readable", "let the user of this process read the file") \
	X(3,   REFUSED,   "configuration not safe to use", "owner must be root or this user, and neither the file nor a parent directory writable by others") \
	X(4,   REFUSED,   "configuration not understood", "run: skr-pkcs11 config check") \
	X(5,   REFUSED,   "endpoint outside the allow-list", "check the spelling; for an endpoint that is not Azure's set allow_custom_endpoint = yes") \
	X(6,   NOTE,      "environment ignored", "this program runs with raised privileges, so only the default configuration is used") \
	X(7,   REFUSED,   "no certificate authorities to trust", "install ca-certificates, or set ca_file") \
	X(8,   REFUSED,   "file named in the configuration not usable", "put the file there for this user to read, or correct its path in the configuration") \
	X(10,  NOTE,      "secrets are not locked in memory", "raise the limit: ulimit -l, or LimitMEMLOCK= in the service's unit") \
	X(11,  LOCAL,     "cannot lock secrets in memory", "raise the limit: ulimit -l, or LimitMEMLOCK= in the service's unit") \
	X(12,  LOCAL,     "cannot keep secrets out of core files", "a security module forbids madvise; allow it") \
	X(13,  NOTE,      "this kernel cannot wipe memory on fork", "process ids are compared instead") \
	X(14,  LOCAL,     "out of memory", "free memory, or raise the limit of this process") \
	X(15,  TRANSIENT, "no randomness from the kernel", "a security module forbids getrandom; allow it") \
	X(16,  TRANSIENT, "out of file descriptors", "raise the limit: ulimit -n, or LimitNOFILE= in the service's unit") \
	X(17,  NOTE,      "audit record not written", "look at the space and the permissions of the audit file, or at who listens to the socket of audit_to") \
	X(18,  REFUSED,   "audit record required but not written", "look at the space and the permissions of the audit file, or at who listens to the socket of audit_to") \
	X(19,  UNTRUSTED, "the clock of this machine and the peer's disagree", "set the clock") \
	X(20,  NOTE,      "workload identity variables are absent", "start the program with the environment the AKS webhook gives") \
	X(21,  REFUSED,   "device hidden from this service", "look at PrivateDevices=, DeviceAllow= and ReadWritePaths= in the service's unit") \
	X(22,  REFUSED,   "a security module forbids a needed call", "look at the seccomp, AppArmor or SELinux profile of this service") \
	X(90,  TRANSIENT, "suppressed after an earlier failure", "the earlier failure is shown; the next attempt is made after the time given") \
	/* evidence */ \
	X(100, REFUSED,   "no TEE interface found", "this is not a confidential container or VM, or its device is not passed in") \
	X(101, REFUSED,   "no access to the TEE device", "let the user of this process, or of the agent service, into the device's group") \
	X(110, TRANSIENT, "the host throttles attestation reports", "try again later") \
	X(111, REFUSED,   "the guest driver has shut its channel to the security processor", "only a restart of the machine helps") \
	X(112, REFUSED,   "the guest driver's channel key is disabled", "only a restart of the machine helps; look for sev-guest in the kernel log") \
	X(113, REFUSED,   "the certificate table of the report is too large", "report it: the host offers more than 64 KiB of certificates") \
	X(114, TRANSIENT, "the guest device is busy", "try again later") \
	X(115, UNTRUSTED, "the report is not the one we asked for", "another process uses the device at the same time, or the host interferes") \
	X(116, UNTRUSTED, "the report is malformed", "report it: the firmware never makes such a report") \
	X(117, UNTRUSTED, "the report does not verify", "endorsements of another machine, or a host that interferes") \
	X(118, REFUSED,   "no endorsements for the report", "mount the security context directory, or let THIM on the metadata service be reached") \
	X(120, TRANSIENT, "configfs-tsm is busy or changed under us", "another process uses it at the same time; try again") \
	X(121, NOTE,      "configfs-tsm entries of dead processes removed", "nothing to do") \
	X(122, REFUSED,   "configfs-tsm refuses a report", "look at the kernel log for tsm or sev-guest") \
	X(130, TRANSIENT, "the vTPM is busy or absent", "use the resource-managed device /dev/tpmrm0") \
	X(131, TRANSIENT, "the vTPM asks to try later", "try again later") \
	X(132, REFUSED,   "the vTPM is locked against guessing", "wait for the lockout interval, or reset it") \
	X(133, REFUSED,   "the vTPM has no place for report data", "define the NV index as an administrator") \
	X(134, REFUSED,   "the vTPM holds no attestation report", "this is not a confidential VM, or it is too old") \
	X(135, TRANSIENT, "the vTPM's report was not refreshed", "try again") \
	X(136, TRANSIENT, "another process overwrites the report data", "try again") \
	X(137, UNTRUSTED, "the vTPM's answer is malformed", "report it: an honest vTPM never sends this") \
	X(138, TRANSIENT, "the attested PCRs changed since the attestation", "log in again; if it happens each time, something measures into PCR 0 to 7 while the system runs") \
	X(139, TRANSIENT, "the vTPM was restarted since the attestation", "log in again") \
	X(140, REFUSED,   "no TDX quote from the host", "look at the host's quote service") \
	X(141, TRANSIENT, "THIM certificates not available", "the metadata service must be reachable at its link-local address") \
	X(142, TRANSIENT, "endorsements do not match the report's TCB", "the host's firmware was updated meanwhile; try again") \
	X(143, REFUSED,   "endorsements not understood", "report it: what answers on the metadata address is not Azure's THIM") \
	X(144, REFUSED,   "security context directory not usable", "check UVM_SECURITY_CONTEXT_DIR and the files in it") \
	X(145, REFUSED,   "this form of evidence cannot release keys", "the vault would wrap the key to one that the vTPM does not let us use; set evidence = azure-cvm") \
	X(146, TRANSIENT, "the vTPM's attestation key is not certified yet", "the machine is new: its certificate comes some minutes after the first start") \
	X(147, UNTRUSTED, "the vTPM's attestation key is not the one vouched for", "the key at handle 0x81000003 was replaced: restart the machine, and find out by whom") \
	X(148, NOTE,      "the attestation key's certificate expires soon", "the paravisor renews it by itself when the machine runs for a day; restart the machine if it does not") \
	X(149, UNTRUSTED, "the paravisor's report contradicts itself", "report it: an honest paravisor never makes such a report") \
	X(150, UNTRUSTED, "the vTPM's quote does not verify", "something stands between this machine and its vTPM") \
	X(151, NOTE,      "the measured boot log cannot be read", "it is root's alone; without it the attestation service may not know whether secure boot was on") \
	X(160, TRANSIENT, "the SKR sidecar cannot be reached", "is it running beside this container, and on the port of sidecar =?") \
	X(161, REFUSED,   "the SKR sidecar refuses the key", "the sidecar's own words say why") \
	X(162, UNTRUSTED, "the SKR sidecar's key is not the vault's", "what answers in the sidecar's place gives another key") \
	/* HTTP, TLS, names */ \
	X(200, TRANSIENT, "name resolution failed", "look at the resolver of this machine") \
	X(201, REFUSED,   "host name does not exist", "vault deleted or misspelt, or private DNS zone missing") \
	X(203, TRANSIENT, "could not connect", "is there a route, a firewall, a private link?") \
	X(204, TRANSIENT, "connection broken", "try again; a proxy or firewall may cut connections") \
	X(205, TRANSIENT, "connection closed early", "try again; a proxy or firewall may cut connections") \
	X(206, TRANSIENT, "answer too slow", "the service or the network is overloaded") \
	X(207, TRANSIENT, "no answer in time", "the service or the network is overloaded") \
	X(208, REFUSED,   "answer above the limit", "the host is right but what answers is not Azure") \
	X(209, REFUSED,   "answer is not HTTP", "what answers is not Azure") \
	X(210, REFUSED,   "unexpected HTTP status", "what answers is not Azure") \
	X(211, REFUSED,   "redirection refused", "Azure does not redirect; a captive portal or a proxy may") \
	X(212, REFUSED,   "answer is not of the type expected", "if it is HTML, a captive portal or a proxy answers in Azure's place") \
	X(213, REFUSED,   "JSON not understood", "what answers is not Azure, or speaks another version") \
	X(220, UNTRUSTED, "TLS certificate not trusted", "check the clock, ca_file, and whether something intercepts TLS") \
	X(221, REFUSED,   "TLS handshake failed", "something between here and the service does not speak TLS 1.2 or later") \
	X(222, UNTRUSTED, "TLS key pin does not match", "the service has a new key, or something intercepts TLS") \
	X(230, TRANSIENT, "proxy failed", "look at https_proxy in the configuration, and at the proxy's log") \
	X(231, REFUSED,   "proxy refuses", "look at https_proxy in the configuration, and at the proxy's log") \
	X(240, TRANSIENT, "the service is not available", "try again later") \
	X(241, TRANSIENT, "the service asks to slow down", "spread the starts of your machines") \
	X(242, REFUSED,   "the service refuses the request", "the service's own words say why") \
	/* services */ \
	X(300, REFUSED,   "metadata service not reachable", "not an Azure machine, or a firewall or network policy blocks 169.254.169.254") \
	X(301, REFUSED,   "managed identity not found", "assign the identity to this machine; with several, set identity = managed:CLIENT-ID") \
	X(302, REFUSED,   "metadata service refuses this process", "the guest proxy agent's access rules deny it") \
	X(303, TRANSIENT, "metadata service not ready", "try again later") \
	X(304, REFUSED,   "access token not usable", "report it: the identity service gave a token that is expired or for somebody else") \
	X(305, REFUSED,   "no identity found", "set identity = ... in the configuration") \
	X(310, REFUSED,   "federated token file not usable", "look at AZURE_FEDERATED_TOKEN_FILE and the pod's service account") \
	X(311, REFUSED,   "federated token expired", "the kubelet no longer renews the token file") \
	X(312, REFUSED,   "Entra ID refuses the identity", "look the AADSTS number up; a new federated credential needs minutes to spread") \
	X(313, TRANSIENT, "Entra ID not available", "try again later") \
	X(314, REFUSED,   "client secret or certificate not usable", "look at the file named in identity =") \
	X(320, REFUSED,   "evidence refused by the attestation service", "the service's own words say why") \
	X(321, REFUSED,   "wrong attestation instance or version", "look at attestation = in the configuration") \
	X(322, TRANSIENT, "attestation service not available", "try again later") \
	X(323, UNTRUSTED, "attestation token is not for us", "wrong instance, or something answers in its place") \
	X(324, TRANSIENT, "attestation token expired on the way", "try again") \
	X(330, REFUSED,   "vault does not accept the access token", "is the identity in the vault's tenant?") \
	X(331, REFUSED,   "no permission to release the key", "give the identity the role Key Vault Crypto Service Release User; a new role needs minutes to spread") \
	X(332, REFUSED,   "the key's release policy is not satisfied by this machine", "see which condition is not met: skr-pkcs11 policy explain --key URL; the policy must name what this machine is") \
	X(333, REFUSED,   "key disabled, expired or not yet valid", "enable the key, or release another version") \
	X(334, REFUSED,   "key not found in the vault", "check the key's address, and whether it was deleted") \
	X(335, TRANSIENT, "key is being changed", "try again later") \
	X(336, REFUSED,   "vault refuses to release the key", "the key must be exportable and have a release policy") \
	X(337, TRANSIENT, "vault asks to slow down", "spread the starts of your machines") \
	X(338, TRANSIENT, "vault not available", "try again later") \
	X(340, UNTRUSTED, "release answer does not verify", "something answers in the vault's place; report it") \
	X(341, UNTRUSTED, "wrapped key does not open", "report it: an honest vault never sends this") \
	X(342, UNTRUSTED, "released key is not the one announced", "report it: an honest vault never sends this") \
	X(343, UNTRUSTED, "release answer is for another request", "something replays answers; report it") \
	X(350, NOTE,      "key has a new version", "this process keeps the version it has until its next login") \
	X(351, NOTE,      "key_max_age reached", "log in again") \
	/* processes, threads, load */ \
	X(400, NOTE,      "another thread logs in already", "its result is taken") \
	X(401, NOTE,      "waited for another process's login", "nothing to do") \
	X(402, NOTE,      "forked during a login", "the child logs in by itself") \
	X(403, LOCAL,     "login cancelled", "the library was finalized, or all sessions closed, meanwhile") \
	X(404, TRANSIENT, "the machine was stopped for longer than the deadline", "try again") \
	X(405, TRANSIENT, "our descriptor was closed by the program", "try again") \
	X(406, NOTE,      "called from inside our own call", "the program's configuration loads this module twice") \
	X(410, LOCAL,     "PIN refused", "this token has a pin_hash: give that PIN") \
	X(411, NOTE,      "re-login failed, the loaded key stays", "as the failure before says") \
	X(412, LOCAL,     "PIN locked", "wait for the time given") \
	/* the agent */ \
	X(500, REFUSED,   "agent not usable", "install skr-agent, owned by root and writable by nobody else; see agent = in the configuration") \
	X(501, REFUSED,   "agent cannot be started", "where a service may not start programs use agent = unix:/run/skr-pkcs11/agent.sock") \
	X(502, REFUSED,   "agent's socket not usable", "enable skr-agent.socket, and let this user into its group") \
	X(503, TRANSIENT, "agent ended before it answered", "look at the log for what it said last") \
	X(504, UNTRUSTED, "agent's answer not understood", "agent and module must be of one installation") \
	X(505, REFUSED,   "agent of another version", "install module and agent of one version") \
	X(506, TRANSIENT, "agent did not answer in time", "the step named was under way; see the rows of that step") \
	X(507, REFUSED,   "the peer of the agent's socket is somebody else", "check the owner of the socket, and of the service") \
	X(508, TRANSIENT, "too many agents at once", "try again later, or raise MaxConnections= in skr-agent.socket") \
	X(509, REFUSED,   "agent does not know the token", "module and agent must read the same configuration") \
	X(599, LOCAL,     "internal error", "report it with this line")
/* clang-format on */

struct failure_row {
	int number;
	enum failure_family family;
	const char *sentence;
	const char *hint;
};

/* The row of a number; the row 599 for a number that has none. Static. */
const struct failure_row *failure_row(int number);

/* All rows, for documentation and tests; ends with a row of number 0. */
extern const struct failure_row failure_rows[];

#endif
