/* SPDX-License-Identifier: Apache-2.0 */
/* Text tables, through libsmartcols. Never cut to a terminal's width: an address that is cut is worse than a long line. */
#include "present/present_priv.h"

#include <errno.h>
#include <libsmartcols/libsmartcols.h>
#include <stdlib.h>

#include "base/alloc.h"

struct text_table {
        struct libscols_table *table;
        size_t n_columns;
};

int text_table_new(struct text_table **ret, const struct column *columns, size_t n, struct err *err)
{
        _cleanup_text_table_ struct text_table *table = xcalloc(1, sizeof(*table));

        table->n_columns = n;
        table->table = scols_new_table();
        if (!table->table)
                return err_set(err, ENOMEM, "cannot make a table");
        (void)scols_table_set_termforce(table->table, SCOLS_TERMFORCE_NEVER);
        for (size_t i = 0; i < n; i++)
                if (!scols_table_new_column(table->table, columns[i].title, 0, columns[i].right ? SCOLS_FL_RIGHT : 0))
                        return err_set(err, ENOMEM, "cannot make a table");
        *ret = TAKE_PTR(table);
        return 0;
}

struct text_table *text_table_free(struct text_table *table)
{
        if (table)
                scols_unref_table(table->table);
        free(table);
        return NULL;
}

int text_table_add(struct text_table *table, const char *const *cells, struct err *err)
{
        struct libscols_line *line = scols_table_new_line(table->table, NULL);

        if (!line)
                return err_set(err, ENOMEM, "cannot add a line");
        for (size_t i = 0; i < table->n_columns; i++) {
                int r = scols_line_set_data(line, i, cells[i] && *cells[i] ? cells[i] : "-");
                if (r < 0)
                        return err_set(err, -r, "cannot fill a cell");
        }
        return 0;
}

int text_table_print(struct text_table *table, struct strbuf *out, struct err *err)
{
        _cleanup_free_ char *text = NULL;
        int r = scols_print_table_to_string(table->table, &text);

        if (r < 0)
                return err_set(err, -r, "cannot print a table");
        strbuf_add(out, text ? text : "");
        strbuf_add(out, "\n"); /* The library leaves the last one to us. */
        return 0;
}
