/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/faults.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct action {
	const struct verb *verb;
	char *arguments; /* between the parentheses, "" if there are none */
};

struct rule {
	char *text;
	char service[16], operation[24];
	int64_t first, last, matched;
	struct action actions[8];
	size_t action_count;
	struct rule *next;
};

struct faults {
	pthread_mutex_t lock;
	struct rule *rules;
};

/* Verbs act on requests, or on connections before there is a request. Each says if it understood its arguments. */
struct verb {
	const char *name;
	bool (*plan)(const char *arguments, struct fault_plan *plan);
	bool (*connect)(const char *arguments, struct connect_plan *plan);
};

static bool number(const char *text, int64_t min, int64_t *ret)
{
	char *end;

	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno || end == text || *end || value < min)
		return false;
	*ret = value;
	return true;
}

static bool set_text(char **to, const char *text)
{
	free(*to);
	*to = strdup(text);
	return *to != NULL;
}

static bool add_pair(struct pairs *pairs, const char *name, const char *value)
{
	struct pair *items = realloc(pairs->items, (pairs->count + 1) * sizeof(*items));

	if (!items)
		return false;
	pairs->items = items;
	items[pairs->count] = (struct pair){strdup(name), strdup(value)};
	return items[pairs->count].name && items[pairs->count++].value;
}

/* Takes the next argument of a list off `*rest`, without the blanks around it; NULL at the end. Changes the text. */
static char *next_argument(char **rest)
{
	if (!*rest)
		return NULL;
	char *from = *rest, *comma = strchr(from, ',');
	*rest = comma ? comma + 1 : NULL;
	if (comma)
		*comma = '\0';
	while (isspace((unsigned char)*from))
		from++;
	for (size_t len = strlen(from); len > 0 && isspace((unsigned char)from[len - 1]);)
		from[--len] = '\0';
	return from;
}

/* "Retry-After: 1" is a header, "code=Throttled" a part of the body, a bare word the service's inner code or number. */
static bool status_argument(char *argument, struct fault_plan *plan)
{
	char *colon = strchr(argument, ':'), *equals = strchr(argument, '=');

	if (equals && (!colon || equals < colon)) {
		*equals++ = '\0';
		if (strcmp(argument, "code") == 0)
			return set_text(&plan->code, equals);
		if (strcmp(argument, "inner") == 0)
			return set_text(&plan->inner, equals);
		return strcmp(argument, "message") == 0 && set_text(&plan->message, equals);
	}
	if (!colon)
		return set_text(&plan->inner, argument);
	*colon++ = '\0';
	return add_pair(&plan->headers, argument, colon + strspn(colon, " "));
}

static bool plan_status(const char *arguments, struct fault_plan *plan)
{
	auto_text *copy = strdup(arguments);
	char *rest = copy, *argument = next_argument(&rest);
	int64_t code;

	if (!argument || !number(argument, 100, &code) || code > 599)
		return false;
	if (code < 200) {
		char prefix[64];
		snprintf(prefix, sizeof(prefix), "HTTP/1.1 %d Interim\r\n\r\n", (int)code);
		return set_text(&plan->wire.prefix, prefix);
	}
	plan->status = (int)code;
	while ((argument = next_argument(&rest)))
		if (!status_argument(argument, plan))
			return false;
	return true;
}

static bool plan_delay(const char *arguments, struct fault_plan *plan)
{
	return number(arguments, 0, &plan->delay_ms);
}

static bool plan_drip(const char *arguments, struct fault_plan *plan)
{
	return number(arguments, 1, &plan->wire.drip);
}

static bool plan_stall(const char *arguments, struct fault_plan *plan)
{
	plan->wire.stall = true;
	return *arguments == '\0';
}

static bool is_connect_stage(const char *word)
{
	return strcmp(word, "connect") == 0 || strcmp(word, "handshake") == 0;
}

static bool plan_cut(const char *where, struct wire *wire)
{
	if (strcmp(where, "request") == 0 || *where == '\0')
		wire->cut_at = 0;
	else if (strcmp(where, "headers") == 0)
		wire->cut_at = 24;
	else if (strcmp(where, "body") == 0)
		wire->cut_at = AT_BODY;
	else
		return number(where, 0, &wire->cut_at);
	return true;
}

static bool plan_end(const char *arguments, struct fault_plan *plan)
{
	auto_text *copy = strdup(arguments);
	char *rest = copy, *where = next_argument(&rest), *how = next_argument(&rest);

	if (!where || (how && strcmp(how, "abrupt") != 0))
		return false;
	plan->wire.abrupt = how != NULL;
	return plan_cut(where, &plan->wire);
}

static bool plan_close(const char *arguments, struct fault_plan *plan)
{
	return is_connect_stage(arguments) || plan_end(arguments, plan);
}

static bool plan_reset(const char *arguments, struct fault_plan *plan)
{
	if (is_connect_stage(arguments))
		return true;
	plan->wire.reset = true;
	if (strcmp(arguments, "upload") == 0) {
		plan->early = true;
		plan->wire.cut_at = AT_END;
		return true;
	}
	return plan_end(arguments, plan);
}

static bool connect_end(const char *arguments, struct connect_plan *plan, bool reset)
{
	if (!is_connect_stage(arguments))
		return false;
	plan->refuse = true;
	plan->handshake = strcmp(arguments, "handshake") == 0;
	plan->reset = reset;
	return true;
}

static bool connect_close(const char *arguments, struct connect_plan *plan)
{
	return connect_end(arguments, plan, false);
}

static bool connect_reset(const char *arguments, struct connect_plan *plan)
{
	return connect_end(arguments, plan, true);
}

static const struct {
	const char *name;
	enum leaf leaf;
} leaves[] = {
    {"expired", LEAF_EXPIRED},
    {"notyet", LEAF_NOT_YET},
    {"selfsigned", LEAF_SELF_SIGNED},
    {"wrongname", LEAF_WRONG_NAME},
    {"unknownca", LEAF_UNKNOWN_CA},
    {"weak", LEAF_WEAK_KEY},
    {"sha1", LEAF_SHA1},
};

static bool find_leaf(const char *name, enum leaf *ret)
{
	for (size_t i = 0; i < sizeof(leaves) / sizeof(*leaves); i++) {
		if (strcmp(leaves[i].name, name) == 0) {
			*ret = leaves[i].leaf;
			return true;
		}
	}
	return false;
}

static bool connect_tls(const char *arguments, struct connect_plan *plan)
{
	if (strcmp(arguments, "tls11") == 0)
		return plan->tls11 = true;
	if (strcmp(arguments, "alert") == 0)
		return plan->alert = true;
	if (strcmp(arguments, "badmac") == 0)
		return plan->bad_record = true;
	return find_leaf(arguments, &plan->leaf);
}

static bool plan_signer(const char *arguments, struct fault_plan *plan)
{
	return find_leaf(arguments, &plan->signer);
}

static bool plan_truncate(const char *arguments, struct fault_plan *plan)
{
	return number(arguments, 0, &plan->wire.body_at);
}

static bool plan_grow(const char *arguments, struct fault_plan *plan)
{
	if (strcmp(arguments, "endless") == 0)
		return plan->endless = true;
	return number(arguments, 1, &plan->grow) && plan->grow <= 64 * 1024 * 1024;
}

static bool plan_garble(const char *arguments, struct fault_plan *plan)
{
	int64_t seed;

	if (!number(arguments, 1, &seed))
		return false;
	plan->wire.garble = (uint64_t)seed;
	return true;
}

static bool plan_header(const char *path, const char *value, struct fault_plan *plan)
{
	return add_pair(&plan->headers, path + strlen("header."), value ? value : "");
}

static bool plan_mutate(const char *arguments, struct fault_plan *plan)
{
	auto_text *path = strdup(arguments);
	char *value = path ? strchr(path, ',') : NULL;

	if (!path || *path == '\0' || value == path)
		return false;
	if (value) {
		*value++ = '\0';
		value += strspn(value, " ");
	}
	if (strncmp(path, "header.", strlen("header.")) == 0)
		return plan_header(path, value, plan);

	struct mutation *m = calloc(1, sizeof(*m)), **end = &plan->mutations;
	if (!m)
		return false;
	while (*end)
		end = &(*end)->next;
	*end = m;
	return set_text(&m->path, path) && (!value || set_text(&m->value, value));
}

static bool plan_redirect(const char *arguments, struct fault_plan *plan)
{
	return *arguments && set_text(&plan->redirect, arguments);
}

/* \r, \n, \t, and \ before any other character stands for that character. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		if (*from != '\\' || !from[1]) {
			*to++ = *from;
			continue;
		}
		from++;
		*to++ = *from == 'r' ? '\r' : *from == 'n' ? '\n' : *from == 't' ? '\t' : *from;
	}
	*to = '\0';
}

static bool plan_body(const char *arguments, struct fault_plan *plan)
{
	if (!set_text(&plan->body, arguments))
		return false;
	unescape(plan->body);
	return true;
}

static bool plan_raw(const char *arguments, struct fault_plan *plan)
{
	if (!set_text(&plan->wire.raw, arguments))
		return false;
	unescape(plan->wire.raw);
	return true;
}

static bool plan_replay(const char *arguments, struct fault_plan *plan)
{
	plan->swap = SWAP_REPLAY;
	return *arguments == '\0';
}

static bool plan_swap(const char *arguments, struct fault_plan *plan)
{
	plan->swap = SWAP_PAIR;
	return *arguments == '\0';
}

static const struct verb verbs[] = {
    {"status", plan_status, NULL},
    {"delay", plan_delay, NULL},
    {"drip", plan_drip, NULL},
    {"stall", plan_stall, NULL},
    {"close", plan_close, connect_close},
    {"reset", plan_reset, connect_reset},
    {"truncate", plan_truncate, NULL},
    {"grow", plan_grow, NULL},
    {"garble", plan_garble, NULL},
    {"tls", NULL, connect_tls},
    {"mutate", plan_mutate, NULL},
    {"redirect", plan_redirect, NULL},
    {"body", plan_body, NULL},
    {"raw", plan_raw, NULL},
    {"signer", plan_signer, NULL},
    {"replay", plan_replay, NULL},
    {"swap", plan_swap, NULL},
};

void fault_plan_done(struct fault_plan *plan)
{
	free(plan->code);
	free(plan->inner);
	free(plan->message);
	free(plan->redirect);
	free(plan->body);
	free(plan->wire.raw);
	free(plan->wire.prefix);
	for (size_t i = 0; i < plan->headers.count; i++) {
		free(plan->headers.items[i].name);
		free(plan->headers.items[i].value);
	}
	free(plan->headers.items);
	for (struct mutation *m = plan->mutations, *next; m; m = next) {
		next = m->next;
		free(m->path);
		free(m->value);
		free(m);
	}
	*plan = (struct fault_plan){0};
}

static struct fault_plan no_faults(void)
{
	return (struct fault_plan){.wire = {.cut_at = AT_NOWHERE, .body_at = AT_NOWHERE}};
}

/* ---- reading rules ---- */

static void rule_free(struct rule *rule)
{
	for (size_t i = 0; i < rule->action_count; i++)
		free(rule->actions[i].arguments);
	free(rule->text);
	free(rule);
}

static void rules_free(struct rule *rules)
{
	for (struct rule *next; rules; rules = next) {
		next = rules->next;
		rule_free(rules);
	}
}

static const struct verb *find_verb(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (strlen(verbs[i].name) == len && strncmp(verbs[i].name, name, len) == 0)
			return &verbs[i];
	return NULL;
}

/* The closing parenthesis that belongs to the opening one at text[0]; NULL if there is none. \( and \) do not count. */
static const char *closing(const char *text)
{
	int depth = 0;

	for (; *text; text++) {
		if (*text == '\\' && text[1])
			text++;
		else if (*text == '(')
			depth++;
		else if (*text == ')' && --depth == 0)
			return text;
	}
	return NULL;
}

/* True if the verb takes the arguments, on requests or connections. */
static bool action_fits(const struct action *action)
{
	struct fault_plan plan = no_faults();
	struct connect_plan connect = {0};
	bool fits = action->verb->plan && action->verb->plan(action->arguments, &plan);

	fault_plan_done(&plan);
	return fits || (action->verb->connect && action->verb->connect(action->arguments, &connect));
}

static skr_status parse_action(const char **at, struct rule *rule)
{
	size_t len = strcspn(*at, " \t(");
	const struct verb *verb = find_verb(*at, len);

	if (!verb)
		return FAIL(4, "no such action: %.*s", (int)len, *at);
	if (rule->action_count == sizeof(rule->actions) / sizeof(*rule->actions))
		return FAIL(4, "more than %zu actions", rule->action_count);
	const char *from = *at + len, *end = from;
	if (*from == '(') {
		end = closing(from);
		if (!end)
			return FAIL(4, "%s: no closing parenthesis", verb->name);
		from++;
	}
	struct action action = {verb, strndup(from, (size_t)(end - from))};
	if (!action.arguments)
		return FAIL(14, "a rule");
	rule->actions[rule->action_count++] = action;
	if (!action_fits(&action))
		return FAIL(4, "%s does not take (%s)", verb->name, action.arguments);
	*at = end + (*end == ')');
	return OK;
}

static skr_status parse_range(const char **at, struct rule *rule)
{
	int used = 0;
	long long first, last;

	rule->first = 1;
	rule->last = INT64_MAX;
	if (**at != '[')
		return OK;
	if (sscanf(*at, "[%18lld..%18lld]%n", &first, &last, &used) == 2 && used > 0) {
		rule->last = last;
	} else if (sscanf(*at, "[%18lld..]%n", &first, &used) == 1 && used > 0) {
		rule->last = INT64_MAX;
	} else if (sscanf(*at, "[%18lld]%n", &first, &used) == 1 && used > 0) {
		rule->last = first;
	} else {
		return FAIL(4, "not [N], [N..M] or [N..]: %.24s", *at);
	}
	rule->first = first;
	if (rule->first < 1 || rule->last < rule->first)
		return FAIL(4, "empty range %.24s", *at);
	*at += used;
	return OK;
}

static skr_status parse_target(const char **at, struct rule *rule)
{
	static const char *const services[] = {"imds", "thim", "entra", "maa", "akv", "sidecar"};
	int used = 0;

	if (sscanf(*at, "%15[a-z].%23[a-z*]%n", rule->service, rule->operation, &used) != 2)
		return FAIL(4, "not SERVICE.OPERATION: %.40s", *at);
	for (size_t i = 0; i < sizeof(services) / sizeof(*services); i++) {
		if (strcmp(services[i], rule->service) == 0) {
			*at += used;
			return OK;
		}
	}
	return FAIL(4, "no such service: %s", rule->service);
}

static const char *skip_blanks(const char *at)
{
	return at + strspn(at, " \t\r");
}

static skr_status parse_rule(const char *text, struct rule *rule)
{
	const char *at = skip_blanks(text);

	if (strncmp(at, "F:", 2) == 0)
		at = skip_blanks(at + 2);
	TRY(parse_target(&at, rule));
	TRY(parse_range(&at, rule));
	for (at = skip_blanks(at); *at; at = skip_blanks(at))
		TRY(parse_action(&at, rule));
	return rule->action_count ? OK : FAIL(4, "no action");
}

static skr_status parse_line(const char *line, struct rule ***end)
{
	struct rule *rule = calloc(1, sizeof(*rule));

	if (!rule || !(rule->text = strdup(line))) {
		free(rule);
		return FAIL(14, "a rule");
	}
	**end = rule;
	*end = &rule->next;
	return parse_rule(line, rule);
}

static skr_status parse_lines(const char *text, struct rule **ret)
{
	struct rule **end = ret;

	for (int line_number = 1; *text; line_number++) {
		size_t len = strcspn(text, "\n");
		auto_text *line = strndup(text, len);
		if (!line)
			return FAIL(14, "a rule");
		const char *first = skip_blanks(line);
		if (*first && *first != '#') {
			skr_status status = parse_line(line, &end);
			if (status.failure)
				return status_prefix(status, "rule in line %d", line_number);
		}
		text += len + (text[len] == '\n');
	}
	return OK;
}

skr_status faults_add(struct emulator *e, const char *text)
{
	struct rule *rules = NULL;

	skr_status status = parse_lines(text, &rules);
	if (status.failure) {
		rules_free(rules);
		return status;
	}
	pthread_mutex_lock(&e->faults->lock);
	struct rule **end = &e->faults->rules;
	while (*end)
		end = &(*end)->next;
	*end = rules;
	pthread_mutex_unlock(&e->faults->lock);
	return OK;
}

skr_status faults_open(struct emulator *e)
{
	e->faults = calloc(1, sizeof(*e->faults));
	if (!e->faults)
		return FAIL(14, "the fault rules");
	pthread_mutex_init(&e->faults->lock, NULL);
	return OK;
}

void faults_clear(struct emulator *e)
{
	pthread_mutex_lock(&e->faults->lock);
	struct rule *rules = e->faults->rules;
	e->faults->rules = NULL;
	pthread_mutex_unlock(&e->faults->lock);
	rules_free(rules);
}

void faults_close(struct emulator *e)
{
	if (!e->faults)
		return;
	faults_clear(e);
	pthread_mutex_destroy(&e->faults->lock);
	free(TAKE(e->faults));
}

json *faults_list(struct emulator *e)
{
	json *list = json_array();

	pthread_mutex_lock(&e->faults->lock);
	for (const struct rule *rule = e->faults->rules; rule; rule = rule->next) {
		json *item = json_object();
		json_set_string(item, "rule", rule->text);
		json_set_number(item, "matched", rule->matched);
		json_push(list, item);
	}
	pthread_mutex_unlock(&e->faults->lock);
	return list;
}

/* ---- acting ---- */

static bool on_connections(const struct rule *rule)
{
	for (size_t i = 0; i < rule->action_count; i++) {
		const struct action *action = &rule->actions[i];
		struct connect_plan plan = {0};
		if (action->verb->connect && action->verb->connect(action->arguments, &plan))
			return true;
	}
	return false;
}

/* Counts a match; true if it is one of those that the rule's range means. */
static bool counts(struct rule *rule)
{
	rule->matched++;
	return rule->matched >= rule->first && rule->matched <= rule->last;
}

static bool is_about(const struct rule *rule, const char *operation)
{
	size_t len = strlen(rule->service);

	return strncmp(rule->service, operation, len) == 0 && operation[len] == '.' &&
	       (strcmp(rule->operation, "*") == 0 || strcmp(rule->operation, operation + len + 1) == 0);
}

static bool plan_rule(const struct rule *rule, struct fault_plan *plan)
{
	size_t at = strlen(plan->text);

	snprintf(plan->text + at, sizeof(plan->text) - at, "%s%s", at ? "; " : "", rule->text);
	for (size_t i = 0; i < rule->action_count; i++)
		if (!rule->actions[i].verb->plan || !rule->actions[i].verb->plan(rule->actions[i].arguments, plan))
			return false;
	return true;
}

skr_status faults_plan(struct emulator *e, const char *operation, struct fault_plan *ret)
{
	struct fault_plan plan = no_faults();
	bool planned = true;

	pthread_mutex_lock(&e->faults->lock);
	for (struct rule *rule = e->faults->rules; rule && planned; rule = rule->next)
		if (is_about(rule, operation) && !on_connections(rule) && counts(rule))
			planned = plan_rule(rule, &plan);
	pthread_mutex_unlock(&e->faults->lock);
	if (!planned) {
		fault_plan_done(&plan);
		return FAIL(14, "the plan of a fault");
	}
	*ret = plan;
	return OK;
}

struct connect_plan faults_connect(struct emulator *e, const char *service)
{
	struct connect_plan plan = {0};

	pthread_mutex_lock(&e->faults->lock);
	for (struct rule *rule = e->faults->rules; rule; rule = rule->next) {
		if (strcmp(rule->service, service) != 0 || !on_connections(rule) || !counts(rule))
			continue;
		for (size_t i = 0; i < rule->action_count; i++)
			if (rule->actions[i].verb->connect)
				rule->actions[i].verb->connect(rule->actions[i].arguments, &plan);
	}
	pthread_mutex_unlock(&e->faults->lock);
	return plan;
}
