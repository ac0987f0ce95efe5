/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failure matrix section 4, through the whole product: every fault of names, connections, TLS and HTTP against each
 * service it applies to. Tokens: "near" asks IMDS, "far" THIM, the attestation service, Entra ID and the vault.
 */
#include "support/matrix.h"
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const tokens[] = {"near", "far"};

/* ---- a canary: listens, and nobody may come ---- */

static int canary = -1, canary_port;

static void canary_start(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	char port[16];

	canary = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(canary, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(canary, 16), 0);
	assert_int_equal(getsockname(canary, (struct sockaddr *)&address, &len), 0);
	canary_port = ntohs(address.sin_port);
	snprintf(port, sizeof(port), "%d", canary_port);
	setenv("CANARY", port, 1);
}

static bool canary_saw_somebody(void)
{
	int fd = accept(canary, NULL, NULL);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* ---- set up ---- */

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static const char *sections(void)
{
	return expand("[token near]\n"
	              "attestation = $SKR_EMULATOR_ATTESTATION\n"
	              "key = $SKR_EMULATOR_VAULT/keys/fragile\n"
	              "[token far]\n"
	              "attestation = $SKR_EMULATOR_ATTESTATION\n"
	              "key = $SKR_EMULATOR_VAULT/keys/fragile\n"
	              "endorsements = thim\n"
	              "identity = secret:$SKR_RUN/secret\n"
	              "tenant = $SKR_EMULATOR_TENANT\n"
	              "client = $SKR_EMULATOR_CLIENT\n"
	              "authority = $SKR_EMULATOR_LOGIN\n"
	              "[token nowhere]\n"
	              "attestation = https://sharedemu.attest.localhost:1\n"
	              "key = $SKR_EMULATOR_VAULT/keys/fragile\n");
}

static int set_up(void **state)
{
	(void)state;
	write_file(expand("$SKR_RUN/secret"), getenv("SKR_EMULATOR_CLIENT_SECRET"));
	canary_start();
	module_load();
	matrix_configure("login_deadline = 30", sections());
	matrix_begin(tokens, 2);
	return 0;
}

static int without_faults(void **state)
{
	(void)state;
	emulator_faults("");
	return 0;
}

/* ---- what passes at the second attempt: all services of a token have the fault at once, which is also each pair ----
 */

static const char *const operations[] = {"imds.token", "thim.certification", "maa.attest", "entra.token",
                                         "akv.release"};
static const char *const owners[] = {"near", "far", "far", "far", "far"};
enum { OPERATIONS = 5 };

enum { VARIANTS = 5 };

/* Each service gets one of the ways, and each way is some service's. */
static const struct passing {
	const char *id;
	bool posts_only; /* has a meaning for requests with a body alone */
	const char *ways[VARIANTS + 1];
} passing[] = {
    {"H-05", false, {"reset(request)", "reset(headers)", "reset(body)"}},
    {"H-06", false, {"close(0)", "close(headers)", "close(body)", "close(body,abrupt)"}},
    {"H-14", false, {"truncate(9)", "truncate(1)"}},
    {"H-19", false, {"status(408)", "status(500)", "status(502)", "status(503)", "status(504)"}},
    {"H-20",
     false,
     {"status(429)", "status(429,Retry-After: -5)", "status(429,Retry-After: Thu Jan  1 00:00:00 1970)",
      "status(429,Retry-After: soon)"}},
    {"H-22", true, {"reset(upload)"}},
};

static const char *way(const char *const ways[], int which)
{
	int count = 0;

	while (ways[count])
		count++;
	return ways[which % count];
}

static bool takes_part(int operation, const char *token, const struct passing *fault)
{
	return strcmp(owners[operation], token) == 0 && !(fault->posts_only && operation < 2);
}

static int passes(const struct passing *fault, const char *token)
{
	char rules[1024] = "", line[1024];
	unsigned long failure;
	int wrong = 0, services = 0;

	for (int i = 0; i < OPERATIONS; i++)
		if (takes_part(i, token, fault)) {
			snprintf(rules + strlen(rules), sizeof(rules) - strlen(rules), "%s[1] %s\n", operations[i],
			         way(fault->ways, i));
			services++;
		}
	if (!services)
		return 0;
	emulator_faults(rules);
	emulator_requests_reset();
	double start = now_ms();
	CK_RV rv = matrix_login(token, &failure, line, sizeof(line));
	double took = now_ms() - start;
	/* One delay of 0.8 s times 0.8 to 1.3 for each. */
	if (rv != CKR_OK || failure || took < services * 640 || took > services * 1300 + 10000) {
		printf("%s, %s: %s: %s %s, %.0f ms\n", fault->id, token, rules, rv_name(rv), line, took);
		wrong++;
	}
	for (int i = 0; i < OPERATIONS; i++)
		if (takes_part(i, token, fault) && emulator_requests(operations[i]) != 2) {
			printf("%s, %s: %s: %d requests\n", fault->id, operations[i], way(fault->ways, i),
			       emulator_requests(operations[i]));
			wrong++;
		}
	return wrong;
}

static void one_hiccup_of_each_service_is_survived(void **state)
{
	(void)state;
	int wrong = 0;

	for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
		wrong += passes(&passing[i], "near") + passes(&passing[i], "far");
	assert_int_equal(wrong, 0);
}

/* H-05, H-06: the connection ends before there is a request, so nothing of it is in the emulator's log. H-03: every
 * name here has the addresses ::1, where nobody listens, and 127.0.0.1. */
static void broken_connections_are_made_again(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"H-05 connect", "far", "maa.*[1] reset(connect)\nakv.*[1] reset(connect)\nentra.*[1] reset(connect)",
	     CKR_OK, 0, "akv.release", 1, 1, 9, 0},
	    {"H-05 handshake", "far",
	     "maa.*[1] reset(handshake)\nakv.*[1] reset(handshake)\nentra.*[1] reset(handshake)", CKR_OK, 0,
	     "akv.release", 1, 1, 9, 0},
	    {"H-06 connect", "far", "maa.*[1] close(connect)\nakv.*[1] close(connect)", CKR_OK, 0, "akv.release", 1, 1,
	     9, 0},
	    {"H-06 handshake", "far", "maa.*[1] close(handshake)\nakv.*[1] close(handshake)", CKR_OK, 0, "akv.release",
	     1, 1, 9, 0},
	    /* The head passes at this rate, the body does not: five seconds, then the rate rule. */
	    {"H-07", "far", "maa.attest[1] drip(150)", CKR_OK, 0, "maa.attest", 2, 2, 14, 5.6},
	    {"H-08", "near", "imds.token[1] stall", CKR_OK, 0, "imds.token", 2, 2, 14, 5.6},
	    /* H-05 and H-19 in one login: pairs at different services */
	    {"H-05 H-19", "far", "maa.attest[1] reset(body)\nakv.release[1] status(503)", CKR_OK, 0, "akv.release", 2,
	     2, 9, 1.2},
	    {"H-06 H-20", "near", "imds.token[1] close(body)\nakv.release[1] status(429,Retry-After: 2)", CKR_OK, 0,
	     "akv.release", 2, 2, 9, 2.6},
	};
	assert_int_equal(matrix_run(rows, sizeof(rows) / sizeof(rows[0])), 0);
}

/* ---- what is refused at once ---- */

static const struct refusal {
	const char *id;
	unsigned long numbers[OPERATIONS]; /* imds, thim, maa, entra, akv; 0: does not apply */
	const char *ways[VARIANTS + 1];    /* each service gets one, each is some service's */
} refusals[] = {
#define ALL(n)                           \
	{                                \
		(n), (n), (n), (n), (n), \
	}
#define BODY(n)                          \
	{                                \
		(n), 143, (n), (n), (n), \
	} /* THIM: whatever is wrong with the endorsements is one number, V-23 */
#define JSON_HEAD "raw(HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\n"
    {"H-09", BODY(208), {"grow(300000)"}},
    {"H-09 I-25",
     BODY(208),
     {"grow(endless)", "grow(endless)", JSON_HEAD "Content-Length: 99999999999\\r\\n\\r\\n)",
      JSON_HEAD "Content-Length: 2\\r\\nContent-Length: 3\\r\\n\\r\\n{}\\n)", "grow(endless)"}},
    {"H-10", ALL(209), {"raw(SSH-2.0-OpenSSH_9.2\\r\\n)", "raw(HTTP/1.1 2x0 OK\\r\\n\\r\\n{})"}},
    {"H-11", ALL(210), {"status(204)", "status(202)", "status(206)"}},
    {"H-12 I-09",
     ALL(211),
     {"redirect(https://127.0.0.1:$CANARY/elsewhere)", "status(302,Location: http://127.0.0.1:$CANARY/elsewhere)",
      "status(308,Location: //127.0.0.1:$CANARY/elsewhere)"}},
    {"H-13", BODY(212), {"mutate(header.Content-Type,text/html)", "mutate(header.Content-Encoding,gzip)"}},
    {"H-14",
     BODY(213),
     {"body({\"token\":\"a\",\"token\":\"b\"})", "body({} {})", "body(<html>hello</html>)",
      "body([[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]])", "body({\"value\":1e400})"}},
    {"H-21", {242, 0, 321, 312, 336}, {"status(405)"}},
    {"H-21", {242, 0, 320, 312, 336}, {"status(413)"}},
};

static int refused(const struct refusal *refusal, int service)
{
	char rules[512];

	snprintf(rules, sizeof(rules), "%s %s", operations[service], expand(way(refusal->ways, service)));
	struct row row = {.id = refusal->id,
	                  .token = owners[service],
	                  .rules = rules,
	                  .rv = CKR_FUNCTION_FAILED,
	                  .failure = refusal->numbers[service],
	                  .counted = operations[service],
	                  .least = 1,
	                  .most = 1,
	                  .seconds = 10};
	return row.failure ? matrix_run(&row, 1) : 0;
}

static void what_is_no_answer_is_refused_at_once(void **state)
{
	(void)state;
	int wrong = 0;

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		for (int service = 0; service < OPERATIONS; service++)
			wrong += refused(&refusals[i], service);
	assert_false(canary_saw_somebody());
	assert_int_equal(wrong, 0);
}

/* I-09, I-11, K-01: where a release's header or a challenge points, nobody is asked, and no token is sent. */
static void addresses_in_answers_are_not_followed(void **state)
{
	(void)state;
	const struct row rows[] = {
	    {"I-09 jku", "near",
	     expand("akv.release mutate(jws.header.jku,https://127.0.0.1:$CANARY/keys) "
	            "mutate(jws.header.x5u,https://127.0.0.1:$CANARY/chain)"),
	     CKR_OK, 0, "akv.release", 1, 1, 10, 0},
	    {"I-09 challenge", "far",
	     expand("akv.release[1] status(401,WWW-Authenticate: Bearer "
	            "authorization=\"https://127.0.0.1:$CANARY/tenant\" "
	            "resource=\"https://127.0.0.1:$CANARY\")"),
	     CKR_OK, 0, "akv.release", 2, 2, 10, 0},
	    {"I-09 challenge", "far",
	     expand(
	         "akv.release status(401,WWW-Authenticate: Bearer authorization=\"https://127.0.0.1:$CANARY/tenant\" "
	         "resource=\"https://127.0.0.1:$CANARY\")"),
	     CKR_FUNCTION_FAILED, 330, "entra.token", 2, 2, 10, 0},
	    {"I-09 issuer", "far", expand("maa.attest mutate(jwt.header.jku,https://127.0.0.1:$CANARY/certs)"), CKR_OK,
	     0, "maa.", 1, 1, 10, 0},
	};
	assert_int_equal(matrix_run(rows, sizeof(rows) / sizeof(rows[0])), 0);
	assert_false(canary_saw_somebody());
}

static void an_interim_answer_is_passed_over(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"H-11 1xx", "far", "maa.attest status(103)\nakv.release status(103)", CKR_OK, 0, "akv.release", 1, 1, 4,
	     0},
	};
	assert_int_equal(matrix_run(rows, 1), 0);
}

/* ---- TLS ---- */

static void certificates_must_be_right(void **state)
{
	(void)state;
	static const char *const kinds[] = {"expired",   "notyet", "selfsigned", "wrongname",
	                                    "unknownca", "weak",   "sha1"};
	static const char *const services[] = {"maa", "entra", "akv"};
	int wrong = 0;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		for (size_t s = 0; s < 3; s++) {
			if (i % 3 != s && strcmp(kinds[i], "selfsigned") != 0)
				continue; /* one service each is enough; what needs no trust at all, all */
			char rules[64], counted[64];
			snprintf(rules, sizeof(rules), "%s.* tls(%s)", services[s], kinds[i]);
			snprintf(counted, sizeof(counted), "%s.", services[s]);
			struct row row = {"H-15", "far", rules, CKR_FUNCTION_FAILED, 220, counted, 0, 0, 10, 0};
			wrong += matrix_run(&row, 1);
		}
	assert_int_equal(wrong, 0);
}

static void tls_must_be_new_enough(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"H-16 version", "far", "maa.* tls(tls11)", CKR_FUNCTION_FAILED, 221, "maa.", 0, 0, 10, 0},
	    {"H-16 version", "far", "akv.* tls(tls11)", CKR_FUNCTION_FAILED, 221, "akv.", 0, 0, 10, 0},
	    {"H-16 alert", "far", "entra.* tls(alert)", CKR_FUNCTION_FAILED, 221, "entra.", 0, 0, 10, 0},
	    {"H-16 alert", "far", "akv.* tls(alert)", CKR_FUNCTION_FAILED, 221, "akv.", 0, 0, 10, 0},
	};
	assert_int_equal(matrix_run(rows, sizeof(rows) / sizeof(rows[0])), 0);
}

/* ---- what the environment says ---- */

/* H-18, I-10, I-09: the agent's environment is our own choice, and libcurl is told not to look at it either. */
static void proxies_of_the_environment_are_ignored(void **state)
{
	(void)state;
	static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"};
	char line[1024];
	unsigned long failure;

	for (size_t i = 0; i < 5; i++)
		setenv(names[i], expand("http://127.0.0.1:$CANARY"), 1);
	matrix_configure("login_deadline = 30", sections());
	for (size_t i = 0; i < 2; i++)
		if (matrix_login(tokens[i], &failure, line, sizeof(line)) != CKR_OK)
			fail_msg("%s", line);
	for (size_t i = 0; i < 5; i++)
		unsetenv(names[i]);
	assert_false(canary_saw_somebody());
}

/* I-10, H-17: a proxy of the configuration is for the services; never for the metadata address. */
static void a_configured_proxy_is_not_for_the_metadata_service(void **state)
{
	(void)state;
	char line[1024];
	unsigned long failure;

	matrix_configure(expand("login_deadline = 6\nhttps_proxy = 127.0.0.1:1"), sections());
	emulator_requests_reset();
	assert_rv(matrix_login("far", &failure, line, sizeof(line)), CKR_DEVICE_ERROR);
	assert_int_equal(failure, 230);
	assert_int_equal(emulator_requests("thim."), 1);
	assert_int_equal(emulator_requests("maa."), 0);
	assert_int_equal(emulator_requests("akv."), 0);
	assert_non_null(strstr(line, "127.0.0.1:1"));
}

/* ---- used-up time: three attempts fit into eight seconds ---- */

static void an_outage_uses_the_time_up_and_no_more(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"H-05", "far", "akv.release reset(headers)", CKR_DEVICE_ERROR, 204, "akv.release", 2, 4, 9, 0.64},
	    {"H-08", "far", "akv.release stall", CKR_DEVICE_ERROR, 207, "akv.release", 1, 1, 9, 0},
	    {"H-19 M-04", "near", "imds.token status(503)", CKR_DEVICE_ERROR, 303, "imds.token", 2, 4, 9, 0.64},
	    {"H-19 A-03", "far", "maa.attest status(503)", CKR_DEVICE_ERROR, 322, "maa.attest", 2, 4, 9, 0.64},
	    {"H-19 N-04", "far", "entra.token status(503)", CKR_DEVICE_ERROR, 313, "entra.token", 2, 4, 9, 0.64},
	    {"H-19 K-09", "far", "akv.release status(503)", CKR_DEVICE_ERROR, 338, "akv.release", 2, 4, 9, 0.64},
	    {"H-19 V-21", "far", "thim.certification status(503)", CKR_DEVICE_ERROR, 141, "thim.", 2, 4, 9, 0.64},
	};

	matrix_configure("login_deadline = 8", sections());
	assert_int_equal(matrix_run(rows, sizeof(rows) / sizeof(rows[0])), 0);
}

/* H-04: nobody listens; there is nothing that could be made good for a login afterwards. */
static void a_service_that_is_not_there_is_told(void **state)
{
	(void)state;
	char line[1024];
	unsigned long failure;

	matrix_configure("login_deadline = 5", sections());
	double start = now_ms();
	assert_rv(matrix_login("nowhere", &failure, line, sizeof(line)), CKR_DEVICE_ERROR);
	assert_true(now_ms() - start < 6000);
	if (failure != 203 || !strstr(line, "Connection refused"))
		fail_msg("%s", line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(broken_connections_are_made_again, without_faults),
	    cmocka_unit_test_teardown(what_is_no_answer_is_refused_at_once, without_faults),
	    cmocka_unit_test_teardown(addresses_in_answers_are_not_followed, without_faults),
	    cmocka_unit_test_teardown(an_interim_answer_is_passed_over, without_faults),
	    cmocka_unit_test_teardown(certificates_must_be_right, without_faults),
	    cmocka_unit_test_teardown(tls_must_be_new_enough, without_faults),
	    cmocka_unit_test_teardown(proxies_of_the_environment_are_ignored, without_faults),
	    cmocka_unit_test_teardown(a_configured_proxy_is_not_for_the_metadata_service, without_faults),
	    cmocka_unit_test_teardown(a_service_that_is_not_there_is_told, without_faults),
	    cmocka_unit_test_teardown(an_outage_uses_the_time_up_and_no_more, without_faults),
	    cmocka_unit_test_teardown(one_hiccup_of_each_service_is_survived, without_faults),
	};
	return cmocka_run_group_tests_name("integration.network", tests, set_up, NULL);
}
