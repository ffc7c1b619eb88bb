/* SPDX-License-Identifier: Apache-2.0 */
#include "present/present_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"

json_t *node_made(json_t *value)
{
        return alloc_check(value);
}

json_t *node_text(const char *s)
{
        size_t size = strlen(s) + 1;

        if (size == 1)
                return json_null();
        _cleanup_free_ char *text = xcalloc(size, 1);
        str_clean(text, size, s); /* json_string() is NULL on ill-formed UTF-8 */
        return node_made(json_string(text));
}

void node_put(json_t *object, const char *key, json_t *value)
{
        (void)alloc_check(json_object_set_new(object, key, value) == 0 ? object : NULL);
}

void node_push(json_t *array, json_t *value)
{
        (void)alloc_check(json_array_append_new(array, value) == 0 ? array : NULL);
}

int tree_text(const json_t *tree, enum present_format format, struct strbuf *out, struct err *err)
{
        if (format == PRESENT_YAML)
                return tree_yaml(tree, out, err);
        _cleanup_free_ char *text = json_dumps(tree, JSON_INDENT(2));
        if (!text)
                return err_set(err, ENOMEM, "cannot write JSON");
        strbuf_add(out, text);
        strbuf_add(out, "\n");
        return 0;
}
