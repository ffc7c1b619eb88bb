/* SPDX-License-Identifier: Apache-2.0 */
#include "present/explanation.h"
#include "present/present_priv.h"

static const struct column titles[] = { { "DEVICE", false },  { "POD", false },   { "STATE", false },    { "SINCE", true },
                                        { "HOLDERS", false }, { "OWNER", false }, { "RESOURCE", false }, { "BOOT", false } };
enum { N_NARROW = 5 };

/* "4242,4243"; "?" = there may be others. An older sluiced tells nothing of them. */
static void add_holders(const pb_holders *holders, bool wide, struct strbuf *out)
{
        strbuf_add(out, "");
        for (size_t i = 0; holders && i < holders->n_holders; i++) {
                const pb_holder *holder = holders->holders[i];
                strbuf_addf(out, "%s%u", i ? "," : "", holder->pid);
                if (wide && *holder->comm)
                        strbuf_addf(out, " (%s)", holder->comm);
        }
        if (!holders || !holders->complete)
                strbuf_add(out, holders && holders->n_holders > 0 ? ",?" : "?");
}

static int add_claim(struct text_table *table, const pb_claim *claim, bool wide, int64_t now_ms, struct err *err)
{
        _cleanup_strbuf_ struct strbuf devices = { 0 }, pod = { 0 }, holders = { 0 };
        char age[24];

        strbuf_add(&devices, "");
        for (size_t i = 0; i < claim->n_devices; i++)
                strbuf_addf(&devices, "%s%s", i ? "," : "", claim->devices[i]);
        present_pod(claim->pod, &pod);
        present_age(claim->since_ms, now_ms, age, sizeof(age));
        add_holders(claim->holders, wide, &holders);
        const char *const cells[] = {
                devices.text, pod.text, claim->state, age, holders.text, claim->owner, claim->resource, claim->boot_id
        };
        return text_table_add(table, cells, err);
}

/* What each "?" is for; the same once. */
static void add_unknown(const pb_node_list_prepared_response *list, struct strbuf *out)
{
        const char *said = "";

        for (size_t i = 0; i < list->n_claims; i++) {
                const pb_holders *holders = list->claims[i]->holders;
                const char *why_not = !holders ? "this sluiced does not tell" : holders->complete ? "" : holders->why_not;
                if (*why_not && !streq(why_not, said))
                        strbuf_addf(out, "%s? who has it open is not known: %s\n", *said ? "" : "\n", why_not);
                said = *why_not ? why_not : said;
        }
}

static int claims_table(const pb_node_list_prepared_response *list, bool wide, int64_t now_ms, struct strbuf *out, struct err *err)
{
        _cleanup_text_table_ struct text_table *table = NULL;

        if (list->n_claims == 0) {
                strbuf_add(out, "Nothing is claimed.\n");
                return 0;
        }
        int r = text_table_new(&table, titles, wide ? N_ELEMENTS(titles) : N_NARROW, err);
        for (size_t i = 0; i < list->n_claims && r == 0; i++)
                r = add_claim(table, list->claims[i], wide, now_ms, err);
        if (r == 0)
                r = text_table_print(table, out, err);
        if (r == 0)
                add_unknown(list, out);
        return r;
}

int present_claims(const pb_node_list_prepared_response *list, enum present_format format, int64_t now_ms, struct strbuf *out,
                   struct err *err)
{
        if (format == PRESENT_TABLE || format == PRESENT_WIDE)
                return claims_table(list, format == PRESENT_WIDE, now_ms, out, err);
        _cleanup_json_ json_t *tree = node_message(&list->base);
        (void)json_object_del(tree, "next_page_token");
        return tree_text(tree, format, out, err);
}
