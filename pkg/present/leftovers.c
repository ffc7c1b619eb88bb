/* SPDX-License-Identifier: Apache-2.0 */
#include "present/leftovers.h"

#include "present/present_priv.h"

static json_t *node_leftover(const struct leftover *l)
{
        json_t *node = node_made(json_object());

        node_put(node, "word", node_text(leftover_word(l->kind)));
        node_put(node, "counts", node_made(json_boolean(leftover_counts(l->kind))));
        node_put(node, "what", node_text(l->what));
        node_put(node, "detail", node_text(l->text));
        node_put(node, "remedy", node_text(leftover_remedy(l->kind)));
        return node;
}

static json_t *node_leftovers(const struct leftovers *leftovers)
{
        json_t *node = node_made(json_object()), *list = node_made(json_array());

        for (size_t i = 0; i < leftovers->n; i++)
                node_push(list, node_leftover(&leftovers->list[i]));
        node_put(node, "left", node_made(json_integer((json_int_t)leftovers_counted(leftovers))));
        node_put(node, "untold", node_made(json_integer((json_int_t)leftovers->n_more)));
        node_put(node, "leftovers", list);
        return node;
}

static void add_kind(const struct leftovers *leftovers, enum leftover_kind kind, struct strbuf *out)
{
        bool any = false;

        for (size_t i = 0; i < leftovers->n; i++) {
                const struct leftover *l = &leftovers->list[i];
                if (l->kind != kind)
                        continue;
                if (!any)
                        strbuf_addf(out, "%s%s\n", leftover_word(kind), leftover_counts(kind) ? ":" : " (no harm):");
                any = true;
                strbuf_addf(out, "  %s  %s\n", l->what, l->text);
        }
        if (any)
                strbuf_addf(out, "  -> %s\n", leftover_remedy(kind));
}

static void leftovers_text(const struct leftovers *leftovers, struct strbuf *out)
{
        size_t n = leftovers_counted(leftovers);

        for (int kind = 0; kind < LEFTOVER_KINDS; kind++)
                add_kind(leftovers, (enum leftover_kind)kind, out);
        if (leftovers->n_more > 0)
                strbuf_addf(out, "and %zu more\n", leftovers->n_more);
        if (n == 0)
                strbuf_add(out, "Nothing of Sluice is left on this node.\n");
        else
                strbuf_addf(out, "%zu left.\n", n);
}

int present_leftovers(const struct leftovers *leftovers, enum present_format format, struct strbuf *out, struct err *err)
{
        if (format == PRESENT_TABLE || format == PRESENT_WIDE) {
                leftovers_text(leftovers, out);
                return 0;
        }
        _cleanup_json_ json_t *tree = node_leftovers(leftovers);
        return tree_text(tree, format, out, err);
}
