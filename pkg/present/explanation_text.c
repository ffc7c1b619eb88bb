/* SPDX-License-Identifier: Apache-2.0 */
/* An explanation for people: what it is, why it is as it is, who has it, what would be done. */
#include <errno.h>
#include <inttypes.h>

#include "present/explanation.h"
#include "present/present_priv.h"

void present_age(int64_t since_ms, int64_t now_ms, char *out, size_t size)
{
        int64_t s = (now_ms - since_ms) / 1000;

        if (since_ms <= 0 || s < 0)
                str_format(out, size, "?");
        else if (s < 120)
                str_format(out, size, "%" PRId64 "s", s);
        else if (s < 120 * 60)
                str_format(out, size, "%" PRId64 "m", s / 60);
        else if (s < 48 * 3600)
                str_format(out, size, "%" PRId64 "h", s / 3600);
        else
                str_format(out, size, "%" PRId64 "d", s / 86400);
}

void present_pod(const pb_pod *pod, struct strbuf *out)
{
        if (pod)
                strbuf_addf(out, "%s/%s/%s", pod->namespace_, pod->name, pod->container);
        else
                strbuf_add(out, "");
}

static const char *or_dash(const char *s)
{
        return *s ? s : "-";
}

static void add_reason(const char *indent, const pb_reason *reason, struct strbuf *out)
{
        strbuf_addf(out, "%s%s: %s%s%s\n%s  %s\n", indent, reason->word, reason->sentence, *reason->detail ? ": " : "", reason->detail,
                    indent, reason->remedy);
}

static void add_device(const pb_node_explain_response *m, struct strbuf *out)
{
        const pb_device *d = m->device;

        strbuf_addf(out, "%s  %s, %s\n", d->id, *d->model ? d->model : "unknown model", d->state);
        strbuf_addf(out, "  %s on card %s, %s:%s, driver %s", d->kind, d->card, d->vendor_id, d->device_id, or_dash(d->driver));
        if (d->numa_node_known_case)
                strbuf_addf(out, ", NUMA node %d", d->numa_node);
        strbuf_add(out, "\n");
        if (m->pool)
                strbuf_addf(out, "  in %s: %zu devices, %u healthy; KubeVirt looks in %s\n", m->pool->resource, m->pool->n_devices,
                            m->pool->healthy, m->pool->variable);
        if (d->reason)
                add_reason("  ", d->reason, out);
        for (size_t i = 0; i < m->n_warnings; i++)
                add_reason("  ", m->warnings[i], out);
}

static int add_group(const pb_group *group, struct strbuf *out, struct err *err)
{
        static const struct column columns[] = { { "  MEMBER", false },      { "ROLE", false },   { "DRIVER", false },
                                                 { "VFIO TAKES IT", false }, { "RESETS", false }, { "MODEL", false } };
        _cleanup_text_table_ struct text_table *table = NULL;

        if (!group) {
                strbuf_add(out, "\nNo IOMMU group\n");
                return 0;
        }
        strbuf_addf(out, "\nIOMMU group %d: %s", group->number, group->viable ? "may be handed out" : "may not be handed out");
        if (group->viable && group->to_bind > 0)
                strbuf_addf(out, ", %u to be bound first", group->to_bind);
        strbuf_add(out, "\n");
        if (group->verdict)
                add_reason("  ", group->verdict, out);
        if (group->n_members == 0)
                return 0;
        int r = text_table_new(&table, columns, N_ELEMENTS(columns), err);
        for (size_t i = 0; i < group->n_members && r == 0; i++) {
                const pb_group_member *member = group->members[i];
                _cleanup_strbuf_ struct strbuf name = { 0 };
                strbuf_addf(&name, "  %s", member->name);
                const char *const cells[] = { name.text,      member->role, member->driver, member->accepted ? "yes" : "no",
                                              member->resets, member->model };
                r = text_table_add(table, cells, err);
        }
        return r < 0 ? r : text_table_print(table, out, err);
}

static void add_rule(const pb_rule *rule, struct strbuf *out)
{
        if (!rule)
                strbuf_add(out, "\nRule: none selects it\n");
        else if (rule->number == 0)
                strbuf_add(out, "\nRule: none is written; what VFIO can use already is offered, nothing is bound\n");
        else
                strbuf_addf(out, "\nRule: number %u, in line %u: %s%s%s%s\n", rule->number, rule->line, rule->deny ? "deny" : "bind ",
                            rule->deny ? "" : rule->bind, rule->deny ? "" : ", release ", rule->deny ? "" : rule->release);
}

static void add_use(const pb_node_explain_response *m, int64_t now_ms, struct strbuf *out)
{
        char age[24];

        if (m->cordon) {
                present_age(m->cordon->since_ms, now_ms, age, sizeof(age));
                strbuf_addf(out, "\nCordoned for %s as %s%s%s\n", age, m->cordon->target, *m->cordon->note ? ": " : "", m->cordon->note);
        }
        strbuf_add(out, m->n_claims ? "\nClaimed:\n" : "\nClaimed by nobody\n");
        for (size_t i = 0; i < m->n_claims; i++) {
                const pb_claim *claim = m->claims[i];
                present_age(claim->since_ms, now_ms, age, sizeof(age));
                strbuf_addf(out, "  %s for %s, by %s", claim->state, age, claim->owner);
                strbuf_add(out, claim->pod ? " for " : "");
                present_pod(claim->pod, out);
                strbuf_add(out, "\n");
        }
        for (size_t i = 0; m->holders && i < m->holders->n_holders; i++) {
                const pb_holder *holder = m->holders->holders[i];
                strbuf_addf(out, "Open: %s by pid %u (%s)\n", holder->node, holder->pid, or_dash(holder->comm));
        }
        if (m->holders && m->holders->complete && m->holders->n_holders == 0)
                strbuf_add(out, "Open by nobody\n");
        else if (m->holders && !m->holders->complete)
                strbuf_addf(out, "Who %shas it open is not known: %s\n", m->holders->n_holders ? "else " : "", m->holders->why_not);
        for (size_t i = 0; i < m->n_originals; i++) {
                const pb_original *o = m->originals[i];
                strbuf_addf(out, "%s: %s to %s by Sluice; before, driver %s, driver_override %s\n", o->bdf, o->state, o->target,
                            or_dash(o->driver), or_dash(o->driver_override));
        }
}

struct plan_words {
        const char *refused, *nothing, *steps;
};

static void add_plan(const pb_plan *plan, const struct plan_words *words, struct strbuf *out)
{
        if (!plan)
                return;
        if (plan->refusal) {
                strbuf_addf(out, "\n%s:\n", words->refused);
                add_reason("  ", plan->refusal, out);
                return;
        }
        strbuf_addf(out, "\n%s\n", plan->n_steps ? words->steps : words->nothing);
        for (size_t i = 0; i < plan->n_steps; i++)
                strbuf_addf(out, "  %2zu. %c %s\n", i + 1, plan->steps[i]->acts ? '*' : ' ', plan->steps[i]->sentence);
        if (plan->n_steps > 0)
                strbuf_add(out, "      (* changes something)\n");
}

static int explanation_text(const pb_node_explain_response *m, int64_t now_ms, struct strbuf *out, struct err *err)
{
        static const struct plan_words allocate = { "Allocate would refuse it", "Allocate would answer at once: nothing has to be done",
                                                    "Allocate would do this, and undo it when a step fails:" };
        static const struct plan_words release = { "When its pod is gone, it cannot be released as its rule says",
                                                   "When its pod is gone, it stays as it is", "When its pod is gone, this is done:" };
        _cleanup_strbuf_ struct strbuf text = { 0 };

        add_device(m, &text);
        int r = add_group(m->group, &text, err);
        if (r < 0)
                return r;
        add_rule(m->rule, &text);
        add_use(m, now_ms, &text);
        add_plan(m->allocate, &allocate, &text);
        add_plan(m->release, &release, &text);
        strbuf_add_n(out, text.text, text.len);
        return 0;
}

int present_explanation(const pb_node_explain_response *m, enum present_format format, int64_t now_ms, struct strbuf *out, struct err *err)
{
        if (!m->device)
                return err_say(err, EPROTO, "the answer names no device");
        if (format == PRESENT_TABLE || format == PRESENT_WIDE)
                return explanation_text(m, now_ms, out, err);
        _cleanup_json_ json_t *tree = node_message(&m->base);
        return tree_text(tree, format, out, err);
}
