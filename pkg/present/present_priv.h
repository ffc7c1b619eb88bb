/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this room: JSON trees, their two texts, and text tables. */
#ifndef SLUICE_PRESENT_PRESENT_PRIV_H
#define SLUICE_PRESENT_PRESENT_PRIV_H

#include <jansson.h>

#include "present/present.h"

#define _cleanup_json_ _cleanup_(json_decrefp)

/* Builders of tree nodes that end the process when memory is out. Values are stolen. */
json_t *node_made(json_t *value); /* @value, never NULL */
json_t *node_text(const char *s); /* null for ""; cleaned */
void node_put(json_t *object, const char *key, json_t *value);
void node_push(json_t *array, json_t *value);
json_t *node_message(const ProtobufCMessage *message); /* field by field */

/* @format is PRESENT_JSON or PRESENT_YAML. Appends whole or, on failure, nothing. */
int tree_text(const json_t *tree, enum present_format format, struct strbuf *out, struct err *err);
int tree_yaml(const json_t *tree, struct strbuf *out, struct err *err);

/* "3h"; "?" = not known. */
void present_age(int64_t since_ms, int64_t now_ms, char *out, size_t size);
void present_pod(const pb_pod *pod, struct strbuf *out); /* "namespace/name/container"; NULL: "" */

struct column {
        const char *title;
        bool right; /* a number */
};
struct text_table;
int text_table_new(struct text_table **ret, const struct column *columns, size_t n, struct err *err);
struct text_table *text_table_free(struct text_table *table);
DEFINE_CLEANUP(struct text_table *, text_table_free)
#define _cleanup_text_table_ _cleanup_(text_table_freep)
int text_table_add(struct text_table *table, const char *const *cells, struct err *err); /* "" and NULL show as '-' */
int text_table_print(struct text_table *table, struct strbuf *out, struct err *err);

#endif
