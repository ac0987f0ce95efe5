/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures per second through our code, as ratios to libcrypto's own EVP_PKEY_sign with a context that is kept: what
 * the fastest program could reach without us.
 *
 *     bench_sign            the crypto layer, with keys made here
 *     bench_sign MODULE     the private keys of the first token of a PKCS#11 module, against fresh keys of the same
 * kind
 *
 * Each number is a median over many short rounds in which the two sides take turns, so that a busy machine disturbs
 * both.
 */
#include "crypto/operation.h"

#include <openssl/err.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { ROUNDS = 15, ROUND_MS = 100, MAX_KEYS = 16, MAX_THREADS = 2 };

#define DIE(...)                              \
	do {                                  \
		fprintf(stderr, __VA_ARGS__); \
		fputc('\n', stderr);          \
		exit(1);                      \
	} while (0)

/* One key of ours, and its equal for libcrypto alone. */
struct contest {
	char name[32];
	CK_MECHANISM_TYPE mechanism;
	size_t input_len;
	EVP_PKEY *raw;
	struct key *key;         /* of the layer */
	CK_OBJECT_HANDLE object; /* of the module */
};

static CK_FUNCTION_LIST *module; /* NULL: the layer itself is measured */
static CK_SLOT_ID slot;

static const uint8_t input[64] = {0x30, 0x31, 0x30, 0x0d};
static const struct mechanism_policy policy = {.rsa_pkcs1_decrypt = true};

/* --- who signs -----------------------------------------------------------------------------------------------------
 */

/* What one thread signs with. */
struct signer {
	const struct contest *contest;
	bool (*sign)(struct signer *signer);
	EVP_PKEY_CTX *ctx;         /* raw */
	struct operation *kept;    /* layer */
	CK_SESSION_HANDLE session; /* module */
};

static bool sign_raw(struct signer *s)
{
	uint8_t out[1024];
	size_t len = sizeof(out);
	return EVP_PKEY_sign(s->ctx, out, &len, input, s->contest->input_len) > 0;
}

static bool sign_layer(struct signer *s)
{
	CK_MECHANISM mechanism = {s->contest->mechanism, NULL, 0};
	struct operation *o;
	uint8_t out[1024];
	CK_ULONG len = sizeof(out);

	if (operation_begin(OPERATION_SIGN, &mechanism, s->contest->key, &policy, &s->kept, &o) != CKR_OK)
		return false;
	s->kept = o;
	return operation_single(o, input, s->contest->input_len, out, &len) == CKR_OK;
}

static bool sign_module(struct signer *s)
{
	CK_MECHANISM mechanism = {s->contest->mechanism, NULL, 0};
	uint8_t out[1024];
	CK_ULONG len = sizeof(out);

	return module->C_SignInit(s->session, &mechanism, s->contest->object) == CKR_OK &&
	       module->C_Sign(s->session, (CK_BYTE *)input, s->contest->input_len, out, &len) == CKR_OK;
}

static struct signer signer_raw(const struct contest *c)
{
	struct signer s = {.contest = c, .sign = sign_raw, .ctx = EVP_PKEY_CTX_new_from_pkey(ossl, c->raw, NULL)};
	if (!s.ctx || EVP_PKEY_sign_init(s.ctx) <= 0)
		DIE("libcrypto does not sign with %s", c->name);
	return s;
}

static struct signer signer_ours(const struct contest *c)
{
	struct signer s = {.contest = c, .sign = module ? sign_module : sign_layer};
	if (module && module->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &s.session) != CKR_OK)
		DIE("C_OpenSession fails");
	return s;
}

static void signer_done(struct signer *s)
{
	EVP_PKEY_CTX_free(s->ctx);
	operation_free(s->kept);
	if (s->session)
		module->C_CloseSession(s->session);
}

/* --- how fast ------------------------------------------------------------------------------------------------------
 */

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

struct run {
	struct signer *signer;
	pthread_barrier_t *start;
	double rate;  /* signatures per second */
	double waits; /* per 1000 signatures */
};

static long times_slept(void)
{
	struct rusage usage;
	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

static void *run(void *arg)
{
	struct run *r = arg;
	long done = 0;
	double now, begin;

	pthread_barrier_wait(r->start);
	long slept = times_slept();
	begin = seconds();
	do {
		if (!r->signer->sign(r->signer))
			DIE("a signature with %s fails", r->signer->contest->name);
		done++;
		now = seconds();
	} while (now - begin < ROUND_MS / 1000.0);
	r->rate = (double)done / (now - begin);
	r->waits = 1000.0 * (double)(times_slept() - slept) / (double)done;
	return NULL;
}

/* Signatures per second of all threads together; the waits of the worst of them. */
static double rate(struct signer *signers, int threads, double *waits)
{
	struct run runs[MAX_THREADS];
	pthread_t ids[MAX_THREADS];
	pthread_barrier_t start;
	double sum = 0;

	*waits = 0;
	pthread_barrier_init(&start, NULL, (unsigned)threads);
	for (int i = 0; i < threads; i++) {
		runs[i] = (struct run){.signer = &signers[i], .start = &start};
		if (pthread_create(&ids[i], NULL, run, &runs[i]))
			DIE("no thread");
	}
	for (int i = 0; i < threads; i++) {
		pthread_join(ids[i], NULL);
		sum += runs[i].rate;
		if (runs[i].waits > *waits)
			*waits = runs[i].waits;
	}
	pthread_barrier_destroy(&start);
	return sum;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *values)
{
	qsort(values, ROUNDS, sizeof(*values), by_size);
	return values[ROUNDS / 2];
}

static void hold(const struct contest *c)
{
	double raw[ROUNDS], ours[ROUNDS], ratio[ROUNDS], raw_scale[ROUNDS], scale[ROUNDS], waits[ROUNDS], unused;
	struct signer raw_signers[2] = {signer_raw(c), signer_raw(c)};
	struct signer our_signers[2] = {signer_ours(c), signer_ours(c)};

	rate(raw_signers, 2, &unused); /* caches, blinding, clock frequency */
	rate(our_signers, 2, &unused);
	for (int i = 0; i < ROUNDS; i++) {
		raw[i] = rate(raw_signers, 1, &unused);
		ours[i] = rate(our_signers, 1, &unused);
		ratio[i] = ours[i] / raw[i];
		raw_scale[i] = rate(raw_signers, 2, &unused) / raw[i];
		scale[i] = rate(our_signers, 2, &waits[i]) / ours[i];
	}
	printf("%-10s %10.0f %10.0f %10.3f %10.2f %10.2f %10.2f\n", c->name, median(raw), median(ours), median(ratio),
	       median(raw_scale), median(scale), median(waits));
	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		signer_done(&raw_signers[i]);
		signer_done(&our_signers[i]);
	}
}

/* --- which keys ----------------------------------------------------------------------------------------------------
 */

static const struct curve {
	const char *name;
	const char *oid; /* DER, as in CKA_EC_PARAMS */
	size_t oid_len;
} curves[] = {
    {"P-256", "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", 10},
    {"P-384", "\x06\x05\x2b\x81\x04\x00\x22", 7},
    {"P-521", "\x06\x05\x2b\x81\x04\x00\x23", 7},
    {"secp256k1", "\x06\x05\x2b\x81\x04\x00\x0a", 7},
};

static struct contest contest_rsa(size_t bits)
{
	struct contest c = {
	    .mechanism = CKM_RSA_PKCS, .input_len = 51, .raw = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", bits)};
	snprintf(c.name, sizeof(c.name), "RSA-%zu", bits);
	return c;
}

static struct contest contest_ec(const char *curve)
{
	struct contest c = {.mechanism = CKM_ECDSA, .input_len = 32, .raw = EVP_PKEY_Q_keygen(ossl, NULL, "EC", curve)};
	snprintf(c.name, sizeof(c.name), "%s", curve);
	return c;
}

static void head(void)
{
	printf("%-10s %10s %10s %10s %10s %10s %10s\n", "key", "EVP/s", "ours/s", "ratio", "EVP x2", "ours x2",
	       "waits");
}

static void measure_layer(void)
{
	struct contest contests[] = {contest_rsa(2048), contest_rsa(3072), contest_ec("P-256"), contest_ec("P-384")};

	head();
	for (size_t i = 0; i < sizeof(contests) / sizeof(contests[0]); i++) {
		struct contest *c = &contests[i];
		if (!EVP_PKEY_up_ref(c->raw) || key_new(c->raw, true, KEY_USE_SIGN, &c->key) != CKR_OK)
			DIE("%s is refused", c->name);
		hold(c);
		key_drop(c->key);
		EVP_PKEY_free(c->raw);
	}
}

/* An equal of the module's key; a name of "" if it is of no kind we know. */
static struct contest contest_of_object(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
	CK_KEY_TYPE type = 0;
	uint8_t modulus[2048], params[64];
	CK_ATTRIBUTE key_type_attribute = {CKA_KEY_TYPE, &type, sizeof(type)};
	CK_ATTRIBUTE modulus_attribute = {CKA_MODULUS, modulus, sizeof(modulus)};
	CK_ATTRIBUTE params_attribute = {CKA_EC_PARAMS, params, sizeof(params)};

	module->C_GetAttributeValue(session, object, &key_type_attribute, 1);
	if (type == CKK_RSA && module->C_GetAttributeValue(session, object, &modulus_attribute, 1) == CKR_OK)
		return contest_rsa(8 * modulus_attribute.ulValueLen);
	if (type == CKK_EC && module->C_GetAttributeValue(session, object, &params_attribute, 1) == CKR_OK)
		for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
			if (params_attribute.ulValueLen == curves[i].oid_len &&
			    memcmp(params, curves[i].oid, curves[i].oid_len) == 0)
				return contest_ec(curves[i].name);
	return (struct contest){0};
}

static CK_ULONG find_private_keys(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE objects[MAX_KEYS])
{
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_ATTRIBUTE wanted = {CKA_CLASS, &class, sizeof(class)};
	CK_ULONG found = 0;

	if (module->C_FindObjectsInit(session, &wanted, 1) != CKR_OK ||
	    module->C_FindObjects(session, objects, MAX_KEYS, &found) != CKR_OK ||
	    module->C_FindObjectsFinal(session) != CKR_OK || found == 0)
		DIE("no private keys");
	return found;
}

/* --- the module ----------------------------------------------------------------------------------------------------
 */

/* KiB of this process in memory: all, and without what is shared with files. */
static void resident(long *all, long *anonymous)
{
	FILE *status = fopen("/proc/self/status", "r");
	char line[128];

	while (status && fgets(line, sizeof(line), status)) {
		sscanf(line, "VmRSS: %ld", all);
		sscanf(line, "RssAnon: %ld", anonymous);
	}
	if (status)
		fclose(status);
}

static CK_SESSION_HANDLE open_module(const char *path)
{
	CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
	CK_SESSION_HANDLE session;
	CK_SLOT_ID list[64];
	CK_ULONG slots = 64;

	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		DIE("%s", dlerror());
	CK_C_GetFunctionList get_list = (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList");
	if (!get_list || get_list(&module) != CKR_OK)
		DIE("%s has no function list", path);
	if (module->C_Initialize(&args) != CKR_OK)
		DIE("C_Initialize fails");
	if (module->C_GetSlotList(CK_TRUE, list, &slots) != CKR_OK || slots == 0)
		DIE("no slot with a token");
	slot = list[0];
	if (module->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session) != CKR_OK)
		DIE("C_OpenSession fails");
	const char *pin = getenv("BENCH_PIN"); /* for other modules than ours */
	CK_RV rv = module->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, pin ? strlen(pin) : 0);
	if (rv != CKR_OK)
		DIE("C_Login fails: 0x%lx", rv);
	return session;
}

static void measure_memory(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, long all_before, long anonymous_before)
{
	static const CK_MECHANISM_TYPE types[] = {CKM_RSA_PKCS, CKM_ECDSA};
	long all = 0, anonymous = 0;
	int signatures = 0;

	for (int i = 0; i < 200; i++) { /* one of the two fits the key */
		struct contest c = {.mechanism = types[i % 2], .input_len = 32, .object = object};
		struct signer s = {.contest = &c, .session = session};
		signatures += sign_module(&s);
	}
	resident(&all, &anonymous);
	printf("memory: %.1f MiB more than before the module was loaded, of them %.1f MiB not file pages (%d "
	       "signatures)\n",
	       (double)(all - all_before) / 1024, (double)(anonymous - anonymous_before) / 1024, signatures);
}

static void measure_module(const char *path)
{
	CK_OBJECT_HANDLE objects[MAX_KEYS];
	long all = 0, anonymous = 0;

	resident(&all, &anonymous); /* libcrypto of this program is open already, and not counted */
	CK_SESSION_HANDLE session = open_module(path);
	CK_ULONG found = find_private_keys(session, objects);
	measure_memory(session, objects[0], all, anonymous);

	head();
	for (CK_ULONG i = 0; i < found; i++) {
		struct contest c = contest_of_object(session, objects[i]);
		if (!c.raw)
			continue;
		c.object = objects[i];
		hold(&c);
		EVP_PKEY_free(c.raw);
	}
	module->C_Finalize(NULL);
}

int main(int argc, char **argv)
{
	if (argc > 2)
		DIE("usage: bench_sign [MODULE]");
	if (ossl_open().failure)
		DIE("%s", status_message());
	printf("%s, one process, medians of %d rounds of %d ms\n", OpenSSL_version(OPENSSL_VERSION), ROUNDS, ROUND_MS);

	if (argc > 1)
		measure_module(argv[1]);
	else
		measure_layer();
	return 0;
}
