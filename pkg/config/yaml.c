/* SPDX-License-Identifier: Apache-2.0 */
#include "config/yaml.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/alloc.h"

struct yaml {
        const char *file;
        struct strbuf *problems;
        unsigned n_problems;
        yaml_document_t document;
};

/* struct yaml_node is libyaml's node by another name, so that <yaml.h> stays in this file. */
static const yaml_node_t *own(const struct yaml_node *node)
{
        return (const yaml_node_t *)(const void *)node;
}

static const struct yaml_node *at(const struct yaml *yaml, int index)
{
        yaml_document_t *document = (yaml_document_t *)&yaml->document;

        return (const struct yaml_node *)(const void *)yaml_document_get_node(document, index);
}

unsigned yaml_line(const struct yaml_node *node)
{
        return (unsigned)own(node)->start_mark.line + 1;
}

unsigned yaml_n_problems(const struct yaml *yaml)
{
        return yaml->n_problems;
}

__attribute__((format(printf, 4, 0))) static void complain(struct yaml *yaml, size_t line, const char *path, const char *fmt, va_list args)
{
        char text[512], clean[512];

        if (++yaml->n_problems > YAML_PROBLEMS_MAX)
                return;
        (void)vsnprintf(text, sizeof(text), fmt, args);
        str_clean(clean, sizeof(clean), text);
        strbuf_addf(yaml->problems, "%s:%zu: %s%s%s\n", yaml->file, line, path, *path ? ": " : "", clean);
        if (yaml->n_problems == YAML_PROBLEMS_MAX)
                strbuf_addf(yaml->problems, "%s: more problems are not listed\n", yaml->file);
}

void yaml_problem(struct yaml *yaml, const struct yaml_node *node, const char *path, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        complain(yaml, yaml_line(node), path, fmt, args);
        va_end(args);
}

void yaml_problem_at(struct yaml *yaml, unsigned line, const char *path, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        complain(yaml, line, path, fmt, args);
        va_end(args);
}

/* ---- opening ---- */

/* What libyaml's document hides: anchors and aliases are followed, tags are resolved. */
static void refuse_fancy(struct yaml *yaml, const char *text, size_t n)
{
        yaml_parser_t parser;
        bool more = true;

        if (!yaml_parser_initialize(&parser))
                return;
        yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
        while (more) {
                yaml_token_t token;
                if (!yaml_parser_scan(&parser, &token))
                        break; /* the loader says what is wrong */
                size_t line = token.start_mark.line + 1;
                if (token.type == YAML_ANCHOR_TOKEN || token.type == YAML_ALIAS_TOKEN)
                        yaml_problem_at(yaml, (unsigned)line, "", "anchors and aliases are not allowed");
                else if (token.type == YAML_TAG_TOKEN || token.type == YAML_TAG_DIRECTIVE_TOKEN)
                        yaml_problem_at(yaml, (unsigned)line, "", "tags are not allowed");
                more = token.type != YAML_STREAM_END_TOKEN && yaml->n_problems < YAML_PROBLEMS_MAX;
                yaml_token_delete(&token);
        }
        yaml_parser_delete(&parser);
}

static void refuse_second(struct yaml *yaml, yaml_parser_t *parser)
{
        yaml_document_t second;

        if (!yaml_parser_load(parser, &second)) {
                yaml_problem_at(yaml, (unsigned)(parser->problem_mark.line + 1), "", "%s", parser->problem ? parser->problem : "no YAML");
                return;
        }
        yaml_node_t *root = yaml_document_get_root_node(&second);
        if (root)
                yaml_problem_at(yaml, (unsigned)(root->start_mark.line + 1), "", "a second document is not allowed");
        yaml_document_delete(&second);
}

static bool load(struct yaml *yaml, const char *text, size_t n)
{
        yaml_parser_t parser;

        if (!yaml_parser_initialize(&parser))
                return false;
        yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
        bool loaded = yaml_parser_load(&parser, &yaml->document) == 1;
        if (!loaded)
                yaml_problem_at(yaml, (unsigned)(parser.problem_mark.line + 1), "", "%s", parser.problem ? parser.problem : "no YAML");
        else
                refuse_second(yaml, &parser);
        yaml_parser_delete(&parser);
        return loaded;
}

struct yaml *yaml_open(const char *file, const char *text, size_t n, struct strbuf *problems)
{
        struct yaml *yaml = xcalloc(1, sizeof(*yaml));

        yaml->file = file;
        yaml->problems = problems;
        if (!str_is_utf8(text, n)) {
                yaml_problem_at(yaml, 1, "", "it is not valid UTF-8");
        } else if (memchr(text, '\0', n)) {
                yaml_problem_at(yaml, 1, "", "it holds a NUL byte");
        } else {
                refuse_fancy(yaml, text, n);
                if (yaml->n_problems == 0 && load(yaml, text, n)) {
                        yaml_node_t *root = yaml_document_get_root_node(&yaml->document);
                        if (root && root->type == YAML_MAPPING_NODE)
                                return yaml;
                        yaml_problem_at(yaml, (unsigned)(root ? root->start_mark.line + 1 : 1), "", "%s",
                                        root ? "a mapping is expected" : "it is empty");
                        yaml_document_delete(&yaml->document);
                }
        }
        free(yaml);
        return NULL;
}

struct yaml *yaml_close(struct yaml *yaml)
{
        if (!yaml)
                return NULL;
        yaml_document_delete(&yaml->document);
        free(yaml);
        return NULL;
}

const struct yaml_node *yaml_root(const struct yaml *yaml)
{
        return at(yaml, 1);
}

/* ---- walking ---- */

static const struct yaml_key *find_key(const struct yaml_key *keys, size_t n_keys, const char *name)
{
        for (size_t i = 0; i < n_keys; i++)
                if (streq(keys[i].name, name))
                        return &keys[i];
        return NULL;
}

static void complain_unknown(struct yaml *yaml, const struct yaml_node *key, const char *path, const char *name,
                             const struct yaml_key *keys, size_t n_keys)
{
        _cleanup_strbuf_ struct strbuf known = { 0 };

        for (size_t i = 0; i < n_keys; i++)
                strbuf_addf(&known, "%s%s", i ? ", " : "", keys[i].name);
        yaml_problem(yaml, key, path, "unknown key \"%.64s\" (known: %s)", name, known.text);
}

static bool seen_before(const struct yaml *yaml, const yaml_node_t *node, const yaml_node_pair_t *pair, const char *name)
{
        for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; p < pair; p++) {
                const yaml_node_t *key = own(at(yaml, p->key));
                if (key->type == YAML_SCALAR_NODE && streq((const char *)key->data.scalar.value, name))
                        return true;
        }
        return false;
}

void yaml_mapping(struct yaml *yaml, const struct yaml_node *node, const char *path, const struct yaml_key *keys, size_t n_keys,
                  void *target)
{
        const yaml_node_t *map = own(node);
        char below[YAML_PATH_MAX];
        bool taken[32] = { false };

        if (map->type != YAML_MAPPING_NODE) {
                yaml_problem(yaml, node, path, "a mapping of keys is expected");
                return;
        }
        for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
                const struct yaml_node *key_node = at(yaml, p->key);
                const char *name = yaml_scalar(yaml, key_node, path);
                if (!name)
                        continue;
                const struct yaml_key *key = find_key(keys, n_keys, name);
                if (!key) {
                        complain_unknown(yaml, key_node, path, name, keys, n_keys);
                        continue;
                }
                str_format(below, sizeof(below), "%s%s%s", path, *path ? "." : "", name);
                if (seen_before(yaml, map, p, name)) {
                        yaml_problem(yaml, key_node, below, "the key is given twice");
                        continue;
                }
                if ((size_t)(key - keys) < N_ELEMENTS(taken))
                        taken[key - keys] = true;
                key->take(yaml, at(yaml, p->value), below, target);
        }
        for (size_t i = 0; i < n_keys && i < N_ELEMENTS(taken); i++)
                if (keys[i].required && !taken[i])
                        yaml_problem(yaml, node, path, "the key \"%s\" is missing", keys[i].name);
}

void yaml_list(struct yaml *yaml, const struct yaml_node *node, const char *path,
               void (*each)(struct yaml *yaml, const struct yaml_node *item, const char *path, void *target), void *target)
{
        const yaml_node_t *list = own(node);
        char below[YAML_PATH_MAX];

        if (list->type != YAML_SEQUENCE_NODE) {
                yaml_problem(yaml, node, path, "a list is expected");
                return;
        }
        size_t n = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
        if (n > YAML_LIST_MAX) {
                yaml_problem(yaml, node, path, "%zu entries, at most %d are allowed", n, YAML_LIST_MAX);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                str_format(below, sizeof(below), "%s[%zu]", path, i);
                each(yaml, at(yaml, list->data.sequence.items.start[i]), below, target);
        }
}

const char *yaml_scalar(struct yaml *yaml, const struct yaml_node *node, const char *path)
{
        const yaml_node_t *scalar = own(node);

        if (scalar->type != YAML_SCALAR_NODE) {
                yaml_problem(yaml, node, path, "a single value is expected");
                return NULL;
        }
        const char *text = (const char *)scalar->data.scalar.value;
        size_t n = scalar->data.scalar.length;
        if (n > YAML_SCALAR_MAX) {
                yaml_problem(yaml, node, path, "%zu bytes, at most %d are allowed", n, YAML_SCALAR_MAX);
                return NULL;
        }
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
                        yaml_problem(yaml, node, path, "it holds a control character");
                        return NULL;
                }
        return text;
}

int yaml_choice(struct yaml *yaml, const struct yaml_node *node, const char *path, const char *const *names, size_t n_names)
{
        const char *text = yaml_scalar(yaml, node, path);

        if (!text)
                return -1;
        for (size_t i = 0; i < n_names; i++)
                if (streq(text, names[i]))
                        return (int)i;
        _cleanup_strbuf_ struct strbuf known = { 0 };
        for (size_t i = 0; i < n_names; i++)
                strbuf_addf(&known, "%s%s", i ? ", " : "", names[i]);
        yaml_problem(yaml, node, path, "\"%.64s\" is none of %s", text, known.text);
        return -1;
}

bool yaml_bool(struct yaml *yaml, const struct yaml_node *node, const char *path, bool *ret)
{
        static const char *const names[] = { "false", "true" };

        int i = yaml_choice(yaml, node, path, names, N_ELEMENTS(names));
        if (i < 0)
                return false;
        *ret = i == 1;
        return true;
}

bool yaml_duration(struct yaml *yaml, const struct yaml_node *node, const char *path, unsigned min, unsigned max, unsigned *ret)
{
        static const struct {
                const char *unit;
                uint64_t ms;
        } units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60 * 1000 } };
        char digits[16];
        uint64_t value;

        const char *text = yaml_scalar(yaml, node, path);
        if (!text)
                return false;
        size_t n = strspn(text, "0123456789");
        str_format(digits, sizeof(digits), "%.*s", (int)(n < sizeof(digits) ? n : sizeof(digits) - 1), text);
        for (size_t i = 0; i < N_ELEMENTS(units) && n > 0 && n < 10; i++)
                if (streq(text + n, units[i].unit) && str_to_u64(digits, 10, UINT32_MAX, &value)) {
                        if (value * units[i].ms < min || value * units[i].ms > max) {
                                yaml_problem(yaml, node, path, "%.32s is not between %ums and %ums", text, min, max);
                                return false;
                        }
                        *ret = (unsigned)(value * units[i].ms);
                        return true;
                }
        yaml_problem(yaml, node, path, "\"%.32s\" is no duration such as 500ms, 10s or 5m", text);
        return false;
}
