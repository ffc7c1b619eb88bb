/* SPDX-License-Identifier: Apache-2.0 */
/* What became of devices that were to be given back. */
#include "present/explanation.h"
#include "present/present_priv.h"

static const char *driver_of(const pb_original *original)
{
        return *original->driver ? original->driver : "no driver";
}

/* "nvidia (0000:18:00.1 to snd_hda_intel)": the device's own first. */
static void add_drivers(const pb_release_outcome *outcome, struct strbuf *out)
{
        if (outcome->n_originals == 0)
                return;
        strbuf_addf(out, " to %s", driver_of(outcome->originals[0]));
        for (size_t i = 1; i < outcome->n_originals; i++)
                strbuf_addf(out, "%s%s to %s", i > 1 ? ", " : " (", outcome->originals[i]->bdf, driver_of(outcome->originals[i]));
        if (outcome->n_originals > 1)
                strbuf_add(out, ")");
}

static void add_plan(const pb_plan *plan, struct strbuf *out)
{
        for (size_t i = 0; plan && i < plan->n_steps; i++)
                strbuf_addf(out, "  %2zu. %c %s\n", i + 1, plan->steps[i]->acts ? '*' : ' ', plan->steps[i]->sentence);
}

static bool is(const pb_release_outcome *outcome, const char *word)
{
        return streq(outcome->outcome, word);
}

static void add_outcome(const pb_release_outcome *outcome, struct strbuf *out)
{
        const pb_reason *reason = outcome->reason;

        strbuf_addf(out, "%s  ", outcome->device);
        if (is(outcome, "given-back") || is(outcome, "would-be-given-back")) {
                strbuf_add(out, is(outcome, "given-back") ? "given back" : "would be given back");
                add_drivers(outcome, out);
                strbuf_add(out, outcome->plan ? ":\n" : "\n");
                add_plan(outcome->plan, out);
        } else if (reason) {
                strbuf_addf(out, "left: %s: %s%s%s\n  %s\n", reason->word, reason->sentence, *reason->detail ? ": " : "", reason->detail,
                            reason->remedy);
        } else {
                strbuf_addf(out, "%s: %s\n", is(outcome, "nothing-to-do") ? "nothing to do" : outcome->outcome, outcome->note);
        }
}

static void add_sum(size_t n_back, size_t n_left, bool dry_run, struct strbuf *out)
{
        if (dry_run)
                strbuf_addf(out, "\n%zu would be given back, %zu would be left. (* changes something)\n", n_back, n_left);
        else
                strbuf_addf(out, "\n%zu given back, %zu left.\n", n_back, n_left);
        if (n_back > 0 && !dry_run)
                strbuf_add(out,
                           "What was given back is withheld from new pods until 'sluicectl uncordon', or until sluiced starts again.\n");
}

static void release_text(const pb_node_release_idle_response *m, bool dry_run, struct strbuf *out)
{
        size_t n_back = 0, n_left = present_release_left(m);

        for (size_t i = 0; i < m->n_outcomes; i++) {
                add_outcome(m->outcomes[i], out);
                n_back += is(m->outcomes[i], "given-back") || is(m->outcomes[i], "would-be-given-back");
        }
        if (m->n_outcomes == 0)
                strbuf_add(out, "Nothing on this node is bound by Sluice.\n");
        else if (n_back + n_left > 0)
                add_sum(n_back, n_left, dry_run, out);
}

size_t present_release_left(const pb_node_release_idle_response *m)
{
        size_t n = 0;

        for (size_t i = 0; i < m->n_outcomes; i++)
                n += !is(m->outcomes[i], "given-back") && !is(m->outcomes[i], "would-be-given-back") &&
                     !is(m->outcomes[i], "nothing-to-do"); /* a word that is not known is the worst of all */
        return n;
}

int present_release(const pb_node_release_idle_response *m, bool dry_run, enum present_format format, struct strbuf *out, struct err *err)
{
        if (format == PRESENT_TABLE || format == PRESENT_WIDE) {
                release_text(m, dry_run, out);
                return 0;
        }
        _cleanup_json_ json_t *tree = node_message(&m->base);
        return tree_text(tree, format, out, err);
}
