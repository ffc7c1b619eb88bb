/* SPDX-License-Identifier: Apache-2.0 */
#include "present/explanation.h"
#include "present/present_priv.h"

static const struct column titles[] = { { "DEVICE", false }, { "POD", false },      { "STATE", false }, { "SINCE", true },
                                        { "OWNER", false },  { "RESOURCE", false }, { "BOOT", false } };
enum { N_NARROW = 4 };

static int add_claim(struct text_table *table, const pb_claim *claim, int64_t now_ms, struct err *err)
{
        _cleanup_strbuf_ struct strbuf devices = { 0 }, pod = { 0 };
        char age[24];

        strbuf_add(&devices, "");
        for (size_t i = 0; i < claim->n_devices; i++)
                strbuf_addf(&devices, "%s%s", i ? "," : "", claim->devices[i]);
        present_pod(claim->pod, &pod);
        present_age(claim->since_ms, now_ms, age, sizeof(age));
        const char *const cells[] = { devices.text, pod.text, claim->state, age, claim->owner, claim->resource, claim->boot_id };
        return text_table_add(table, cells, err);
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
                r = add_claim(table, list->claims[i], now_ms, err);
        return r < 0 ? r : text_table_print(table, out, err);
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
