/* SPDX-License-Identifier: Apache-2.0 */
/* A YAML document walked by tables of keys. The only place that includes <yaml.h>; every problem gets its line.
 *
 * A table row names a key and the function that takes its value into a target struct. Unknown and duplicate keys are
 * problems; so are anchors, aliases, tags and a second document, which a configuration has no use for. */
#ifndef SLUICE_CONFIG_YAML_H
#define SLUICE_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct yaml;      /* a parsed document and its list of problems */
struct yaml_node; /* a node of it, borrowed from the document */

/* Where a value stands, for problems: "rules[2].select.ids". */
enum { YAML_PATH_MAX = 128, YAML_SCALAR_MAX = 1024, YAML_LIST_MAX = 1024, YAML_PROBLEMS_MAX = 100 };

/* NULL when @text is no YAML document of one mapping; @problems then says why. @file and @problems are borrowed. */
struct yaml *yaml_open(const char *file, const char *text, size_t n, struct strbuf *problems);
struct yaml *yaml_close(struct yaml *yaml);
const struct yaml_node *yaml_root(const struct yaml *yaml);

/* Adds the line `file:line: path: sentence`. */
void yaml_problem(struct yaml *yaml, const struct yaml_node *node, const char *path, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
/* As yaml_problem, for what is found out after the walk: @line as yaml_line() gave it. */
void yaml_problem_at(struct yaml *yaml, unsigned line, const char *path, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
unsigned yaml_n_problems(const struct yaml *yaml);
unsigned yaml_line(const struct yaml_node *node);

struct yaml_key {
        const char *name;
        void (*take)(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target);
        bool required;
};
/* Walks a mapping: each known key is taken once, in the order of the document. */
void yaml_mapping(struct yaml *yaml, const struct yaml_node *node, const char *path, const struct yaml_key *keys, size_t n_keys,
                  void *target);

/* Calls @each for every element of a list, with the path "path[i]". */
void yaml_list(struct yaml *yaml, const struct yaml_node *node, const char *path,
               void (*each)(struct yaml *yaml, const struct yaml_node *item, const char *path, void *target), void *target);

/* A scalar's text: valid UTF-8 without control bytes, at most YAML_SCALAR_MAX bytes. NULL after a problem. Borrowed. */
const char *yaml_scalar(struct yaml *yaml, const struct yaml_node *node, const char *path);

/* One of @names; returns its index, or -1 after a problem that lists them. */
int yaml_choice(struct yaml *yaml, const struct yaml_node *node, const char *path, const char *const *names, size_t n_names);
bool yaml_bool(struct yaml *yaml, const struct yaml_node *node, const char *path, bool *ret); /* true or false, nothing else */
/* "500ms", "10s", "5m" within [@min, @max] milliseconds. */
bool yaml_duration(struct yaml *yaml, const struct yaml_node *node, const char *path, unsigned min, unsigned max, unsigned *ret);

#endif
