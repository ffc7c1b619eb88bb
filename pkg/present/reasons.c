/* SPDX-License-Identifier: Apache-2.0 */
#include "present/reasons.h"

#include "core/reason.h"
#include "present/present_priv.h"

/* Text of a table cell: a bar would end the cell. */
static void add_cell(struct strbuf *out, const char *text)
{
        strbuf_add(out, " ");
        for (; *text; text++) {
                if (*text == '|')
                        strbuf_add(out, "\\");
                strbuf_add_n(out, text, 1);
        }
        strbuf_add(out, " |");
}

static void add_row(struct strbuf *out, enum reason reason)
{
        strbuf_addf(out, "| `%s` |", reason_word(reason));
        add_cell(out, reason_sentence(reason));
        add_cell(out, reason_remedy(reason));
        strbuf_add(out, "\n");
}

void present_reasons_markdown(struct strbuf *out)
{
        static const struct {
                enum reason_use use;
                const char *title, *text;
        } sections[] = {
                { REASON_USE_WITHHELD, "Withheld", "The device is on the host and is not offered to kubelet." },
                { REASON_USE_UNHEALTHY, "Unhealthy",
                  "The device is listed, so that what holds it is not lost, and kubelet gives it to no new pod." },
                { REASON_USE_REFUSAL, "Refusals",
                  "A request was refused, and nothing on the host has changed. The text becomes the pod's message." },
                { REASON_USE_WARNING, "Warnings", "The device is offered, and there is something to know about it." },
        };

        strbuf_add(out,
                   "# Reasons\n\n"
                   "Every device that is not offered, is unhealthy, was refused or deserves a warning carries one word of this\n"
                   "table. The words are stable: scripts may rely on them. `sluicectl inventory` shows the word, the sentence and the\n"
                   "case behind it; `sluicectl reasons` prints this table.\n\n"
                   "This page is generated from `pkg/core/reason.h` by `sluicectl reasons --output markdown`.\n");
        for (size_t i = 0; i < N_ELEMENTS(sections); i++) {
                strbuf_addf(out, "\n## %s\n\n%s\n\n| Word | What is the case | What to do |\n| --- | --- | --- |\n", sections[i].title,
                            sections[i].text);
                for (enum reason r = REASON_NONE + 1; r < REASON_MAX; r++)
                        if (reason_use(r) == sections[i].use)
                                add_row(out, r);
        }
}

static json_t *reasons_tree(void)
{
        json_t *list = node_made(json_array());

        for (enum reason r = REASON_NONE + 1; r < REASON_MAX; r++) {
                json_t *o = node_made(json_object());

                node_put(o, "word", node_text(reason_word(r)));
                node_put(o, "use", node_text(reason_use_name(reason_use(r))));
                node_put(o, "sentence", node_text(reason_sentence(r)));
                node_put(o, "remedy", node_text(reason_remedy(r)));
                node_push(list, o);
        }
        return list;
}

static int reasons_table(bool wide, struct strbuf *out, struct err *err)
{
        static const struct column columns[] = { { "WORD", false }, { "USE", false }, { "SENTENCE", false }, { "REMEDY", false } };
        _cleanup_text_table_ struct text_table *table = NULL;
        int r = text_table_new(&table, columns, wide ? 4 : 3, err);

        if (r < 0)
                return r;
        for (enum reason reason = REASON_NONE + 1; reason < REASON_MAX; reason++) {
                const char *const cells[] = { reason_word(reason), reason_use_name(reason_use(reason)), reason_sentence(reason),
                                              reason_remedy(reason) };
                r = text_table_add(table, cells, err);
                if (r < 0)
                        return r;
        }
        return text_table_print(table, out, err);
}

int present_reasons(enum present_format format, struct strbuf *out, struct err *err)
{
        if (format == PRESENT_TABLE || format == PRESENT_WIDE)
                return reasons_table(format == PRESENT_WIDE, out, err);
        _cleanup_json_ json_t *tree = reasons_tree();
        return tree_text(tree, format, out, err);
}
