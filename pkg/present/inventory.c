/* SPDX-License-Identifier: Apache-2.0 */
#include "present/present.h"

#include "base/alloc.h"
#include "present/present_priv.h"

bool present_format_parse(const char *s, enum present_format *ret)
{
        static const char *const names[] = {
                [PRESENT_TABLE] = "table", [PRESENT_WIDE] = "wide", [PRESENT_JSON] = "json", [PRESENT_YAML] = "yaml"
        };

        for (size_t i = 0; i < N_ELEMENTS(names); i++)
                if (streq(s, names[i])) {
                        *ret = (enum present_format)i;
                        return true;
                }
        return false;
}

static json_t *inventory_tree(const pb_node_list_devices_response *list)
{
        json_t *root = node_message(&list->base);

        (void)json_object_del(root, "next_page_token"); /* of the conversation, not of the host */
        return root;
}

/* ---- tables ---- */

enum cell { MODEL, BDF, DRIVER, GROUP, NUMA, RESOURCE, STATE, REASON, ID, KIND, IDS, CARD, BIND, DETAIL, N_CELLS };

static const struct column titles[N_CELLS] = {
        [MODEL] = { "MODEL", false }, [BDF] = { "BDF", false },           [DRIVER] = { "DRIVER", false },
        [GROUP] = { "GROUP", true },  [NUMA] = { "NUMA", true },          [RESOURCE] = { "RESOURCE", false },
        [STATE] = { "STATE", false }, [REASON] = { "REASON", false },     [ID] = { "ID", false },
        [KIND] = { "KIND", false },   [IDS] = { "VENDOR:DEVICE", false }, [CARD] = { "CARD", false },
        [BIND] = { "BIND", false },   [DETAIL] = { "DETAIL", false },
};
static const enum cell narrow[] = { MODEL, BDF, DRIVER, GROUP, NUMA, RESOURCE, STATE, REASON };
static const enum cell wide[] = { ID, KIND, MODEL, BDF, CARD, IDS, DRIVER, GROUP, NUMA, BIND, RESOURCE, STATE, REASON, DETAIL };

struct view {
        struct text_table *table;
        const enum cell *cells;
        size_t n_cells;
        const pb_reason **used; /* words that the legend explains, in order of appearance, each once */
        size_t n_used, cap_used;
};

static void view_done(struct view *view)
{
        text_table_free(view->table);
        free(view->used);
}

static void use(struct view *view, const pb_reason *reason)
{
        for (size_t i = 0; i < view->n_used; i++)
                if (streq(view->used[i]->word, reason->word))
                        return;
        GROW(view->used, view->n_used, view->cap_used);
        view->used[view->n_used++] = reason;
}

/* The table's line from the text of every cell that there is; NULL = '-'. */
static int add_line(struct view *view, const char *const texts[static N_CELLS], struct err *err)
{
        const char *line[N_CELLS];

        for (size_t i = 0; i < view->n_cells; i++)
                line[i] = texts[view->cells[i]];
        return text_table_add(view->table, line, err);
}

/* The narrow table has one column for the reason: the word, and the case where it says more. */
static void reason_cell(struct view *view, const pb_reason *reason, struct strbuf *out)
{
        strbuf_add(out, "");
        if (!reason)
                return;
        use(view, reason);
        strbuf_add(out, reason->word);
        if (view->cells == narrow && *reason->detail)
                strbuf_addf(out, ": %s", reason->detail);
}

/* Further warnings, behind the first. */
static void further_cell(struct view *view, const pb_node_list_devices_response *list, const pb_device *d, struct strbuf *out)
{
        for (size_t i = 0; i < list->n_warnings && d->reason; i++) {
                const pb_warning *w = list->warnings[i];

                if (!w->reason || !streq(w->device, d->id) || streq(w->reason->word, d->reason->word))
                        continue;
                strbuf_addf(out, ", %s", w->reason->word);
                use(view, w->reason);
        }
}

static void number_cell(char *out, size_t size, bool known, int number)
{
        out[0] = '\0';
        if (known)
                str_format(out, size, "%d", number);
}

static int add_device(struct view *view, const pb_node_list_devices_response *list, const pb_device *d, struct err *err)
{
        _cleanup_strbuf_ struct strbuf ids = { 0 }, reason = { 0 };
        char group[16], numa[16];

        number_cell(group, sizeof(group), d->iommu_group_known_case != 0, d->iommu_group);
        number_cell(numa, sizeof(numa), d->numa_node_known_case != 0, d->numa_node);
        strbuf_addf(&ids, "%s:%s", d->vendor_id, d->device_id);
        reason_cell(view, d->reason, &reason);
        further_cell(view, list, d, &reason);

        const char *const texts[N_CELLS] = {
                [MODEL] = d->model,   [BDF] = d->bdf,
                [DRIVER] = d->driver, [GROUP] = group,
                [NUMA] = numa,        [RESOURCE] = d->resource,
                [STATE] = d->state,   [REASON] = reason.text,
                [ID] = d->id,         [KIND] = d->kind,
                [IDS] = ids.text,     [CARD] = d->card,
                [BIND] = d->bind,     [DETAIL] = d->reason ? d->reason->detail : "",
        };
        return add_line(view, texts, err);
}

static int add_broken(struct view *view, const pb_broken *b, struct err *err)
{
        _cleanup_strbuf_ struct strbuf reason = { 0 };

        reason_cell(view, b->reason, &reason);

        const char *const texts[N_CELLS] = {
                [BDF] = b->name,
                [ID] = b->name,
                [STATE] = device_state_name(DEVICE_WITHHELD),
                [REASON] = reason.text,
                [DETAIL] = b->reason ? b->reason->detail : "",
        };
        return add_line(view, texts, err);
}

static void explain(const pb_reason *reason, struct strbuf *out)
{
        strbuf_addf(out, "  %s: %s\n      %s\n", reason->word, reason->sentence, reason->remedy);
}

static void add_legend(const struct view *view, const pb_node_list_devices_response *list, struct strbuf *out)
{
        const char *title = "\nThis host:\n";

        for (size_t i = 0; i < view->n_used; i++) {
                strbuf_add(out, i == 0 ? "\nReasons, and what to do:\n" : "");
                explain(view->used[i], out);
        }
        for (size_t i = 0; i < list->n_warnings; i++) {
                if (*list->warnings[i]->device || !list->warnings[i]->reason)
                        continue;
                strbuf_add(out, title);
                explain(list->warnings[i]->reason, out);
                title = "";
        }
}

static int fill_view(struct view *view, const pb_node_list_devices_response *list, struct err *err)
{
        for (size_t i = 0; i < list->n_devices; i++) {
                int r = add_device(view, list, list->devices[i], err);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < list->n_broken; i++) {
                int r = add_broken(view, list->broken[i], err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int inventory_table(const pb_node_list_devices_response *list, bool is_wide, struct strbuf *out, struct err *err)
{
        _cleanup_(view_done) struct view view = { .cells = is_wide ? wide : narrow,
                                                  .n_cells = is_wide ? N_ELEMENTS(wide) : N_ELEMENTS(narrow) };
        _cleanup_strbuf_ struct strbuf text = { 0 };
        struct column columns[N_CELLS];

        for (size_t i = 0; i < view.n_cells; i++)
                columns[i] = titles[view.cells[i]];
        int r = text_table_new(&view.table, columns, view.n_cells, err);
        if (r == 0)
                r = fill_view(&view, list, err);
        if (r < 0)
                return r;
        if (list->n_devices + list->n_broken == 0)
                strbuf_add(&text, "No GPU on this host.\n");
        else if ((r = text_table_print(view.table, &text, err)) < 0)
                return r;
        add_legend(&view, list, &text);
        strbuf_add_n(out, text.text, text.len);
        return 0;
}

int present_devices(const pb_node_list_devices_response *list, enum present_format format, struct strbuf *out, struct err *err)
{
        if (format == PRESENT_TABLE || format == PRESENT_WIDE)
                return inventory_table(list, format == PRESENT_WIDE, out, err);
        _cleanup_json_ json_t *tree = inventory_tree(list);
        return tree_text(tree, format, out, err);
}
