/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "config/config.h"

#define HEAD "apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\n"

static void test_every_problem_is_said_with_line_and_key(void **state)
{
        static const struct {
                const char *text;
                const char *problems[4]; /* parts of lines, in order */
        } rows[] = {
                { "", { "f:1: it is empty" } },
                { "- a\n", { "f:1: a mapping is expected" } },
                { "a: [\n", { "f:2: " } },
                { "kind: NodeConfig\n", { "f:1: the key \"apiVersion\" is missing" } },
                { HEAD "colour: red\n", { "f:3: unknown key \"colour\" (known: apiVersion, kind, classes" } },
                { HEAD "rescan: 10s\nrescan: 10s\n", { "f:4: rescan: the key is given twice" } },
                { HEAD "rescan: 1s\nbindDeadline: 2\nregistration: both\n",
                  { "f:3: rescan: 1s is not between 5000ms and 600000ms", "f:4: bindDeadline: \"2\" is no duration",
                    "f:5: registration: \"both\" is none of socket, watcher, none" } },
                { HEAD "nodeSocketGroup: 0\n", { "f:3: nodeSocketGroup: \"0\" is no number of a group, from 1 to 4294967294" } },
                { HEAD "nodeSocketGroup: 4294967295\n", { "f:3: nodeSocketGroup: \"4294967295\" is no number of a group" } },
                { HEAD "nodeSocketGroup: kvm\n", { "f:3: nodeSocketGroup: \"kvm\" is no number of a group" } },
                { "apiVersion: v1\nkind: Pod\n", { "f:1: apiVersion: \"v1\" is not understood", "f:2: kind: \"Pod\" is not understood" } },
                { HEAD "classes: []\n", { "f:3: classes: it is empty" } },
                { HEAD "classes: [\"0302\", \"0200\", \"0108\", \"0604\"]\n",
                  { "f:3: classes[1]: 0200 is a class of storage, network or bridge functions",
                    "f:3: classes[2]: ", "f:3: classes[3]: " } },
                { HEAD "classes: [\"302\", \"0302\", 0x03]\n", { "f:3: classes[0]: ", "f:3: classes[2]: " } },
                { HEAD "rules:\n  - select:\n      ids: [\"10de:26b\", \"10de:*\"]\n      roles: pf\n",
                  { "f:5: rules[0].select.ids[0]: \"10de:26b\" is no vendor:device", "f:6: rules[0].select: unknown key \"roles\"" } },
                { HEAD "rules:\n  - {}\n  - bind: always\n", { "f:5: rules[1].bind: \"always\" is none of never, on-allocate, at-start" } },
                { HEAD "rules:\n  - mode: container\n", { "f:4: rules[0].mode: \"container\" is not possible" } },
                { HEAD "rules:\n  - deny: true\n    bind: at-start\n", { "f:4: rules[0]: a rule that denies" } },
                { HEAD "rules:\n  - deny: yes\n", { "f:4: rules[0].deny: \"yes\" is none of false, true" } },
                { HEAD "rules:\n  - deny: true\n    release: reset\n", { "f:4: rules[0]: a rule that denies" } },
                { HEAD "rules:\n  - deny: true\n    power: on\n", { "f:4: rules[0]: a rule that denies" } },
                { HEAD "rules:\n  - deny: true\n    persistence: off\n", { "f:4: rules[0]: a rule that denies" } },
                { HEAD "rules:\n  - release: scrub\n  - power: true\n",
                  { "f:4: rules[0].release: \"scrub\" is none of keep, restore, reset, reset+restore",
                    "f:5: rules[1].power: \"true\" is none of leave, on" } },
                { HEAD "rules:\n  - release: restore\n  - {bind: at-start, release: reset+restore}\n",
                  { "f:4: rules[0]: 'release: restore' gives a device back to the driver that 'bind: on-allocate' took it from",
                    "f:5: rules[1]: 'release: reset+restore' gives a device back" } },
                { HEAD "rules:\n  - resource: gpu\n", { "f:4: rules[0].resource: it is no resource name" } },
                { HEAD "rules:\n  - resource: a.com/x\n    alias: y\n", { "f:4: rules[0]: 'resource' is the whole name" } },
                { HEAD "rules:\n  - alias: -x\n  - prefix: NVIDIA.com\n", { "f:4: rules[0].alias: ", "f:5: rules[1].prefix: " } },
                { HEAD "rules:\n  - resource: a.com/x.y\n  - resource: a.com/X_Y\n",
                  { "f:5: rules[1]: a.com/X_Y and a.com/x.y (rules[0]) become the same KubeVirt variable PCI_RESOURCE_A_COM_X_Y" } },
                { HEAD "rules:\n  - {}\n  - {prefix: a.com, alias: x-y}\n  - resource: a.com/X-Y\n",
                  { "f:6: rules[2]: a.com/X-Y and a.com/x-y (rules[1]) become the same" } },
                { HEAD "rules:\n  - {resource: a.com/x, prefer: spread}\n  - {}\n  - {prefix: a.com, alias: x}\n",
                  { "f:6: rules[2]: it says 'prefer: pack' of a.com/x, and rules[0] says 'spread': a pool has one" } },
                { HEAD "rules:\n  - deny: true\n    group: one-device\n", { "f:4: rules[0]: a rule that denies" } },
                { HEAD "rules:\n  - select:\n      addresses: [\"3b:00.0\", \"0000:3b:00.8\", \"0000:3b:*\", \"GPU-*\", \"\"]\n",
                  { "addresses[0]: \"3b:00.0\" is no PCI address", "addresses[1]: ", "addresses[3]: ", "addresses[4]: " } },
                { HEAD "rules:\n  - select: {addresses: [4b20d080-1b54-4048-85b3-a6a62d165c0, 4b20d080-1b54-4048-85b3-a6a62d165c01a]}\n",
                  { "addresses[0]: ", "addresses[1]: " } },
                { HEAD "rules:\n  - select: {vfRange: 7-0}\n  - select: {numaNodes: [64]}\n",
                  { "f:4: rules[0].select.vfRange: ", "f:5: rules[1].select.numaNodes[0]: " } },
                { HEAD "aliases:\n  - id: \"10de:*\"\n    name: x\n  - id: \"10de:26b9\"\n",
                  { "f:4: aliases[0].id: ", "f:6: aliases[1]: the key \"name\" is missing" } },
                /* What a template makes of a value that was not given must not widen a rule. */
                { HEAD "rules:\n  - select: {ids: []}\n  - select: {numaNodes: [], models: []}\n",
                  { "f:4: rules[0].select.ids: it is empty: leave the key out", "f:5: rules[1].select.numaNodes: it is empty",
                    "f:5: rules[1].select.models: it is empty" } },
                { HEAD "rules:\n  - resource: \"\"\n  - {prefix: \"\", alias: \"\"}\n",
                  { "f:4: rules[0].resource: it is empty", "f:5: rules[1].prefix: it is empty", "f:5: rules[1].alias: it is empty" } },
                { HEAD "pciIds: pci.ids\n", { "f:3: pciIds: \"pci.ids\" is no absolute path" } },
                { HEAD "rules: &a []\n", { "f:3: anchors and aliases are not allowed" } },
                { HEAD "rules: !!seq []\n", { "f:3: tags are not allowed" } },
                { HEAD "---\na: b\n", { "f:4: a second document is not allowed" } },
                { HEAD "pciIds: \"/a\\0b\"\n", { "f:3: pciIds: it holds a control character" } },
                { "\xff\xfe", { "f:1: it is not valid UTF-8" } },
                { HEAD "rules: {}\n", { "f:3: rules: a list is expected" } },
                { HEAD "rules: [x]\n", { "f:3: rules[0]: a mapping of keys is expected" } },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_strbuf_ struct strbuf problems = { 0 };
                struct config *config = NULL;
                assert_int_equal(config_parse("f", rows[i].text, strlen(rows[i].text), &config, &problems), -EINVAL);
                assert_null(config);
                const char *from = problems.text;
                assert_non_null(from);
                for (size_t k = 0; k < 4 && rows[i].problems[k]; k++) {
                        const char *found = strstr(from, rows[i].problems[k]);
                        if (!found)
                                fail_msg("row %zu: \"%s\" is not in:\n%s", i, rows[i].problems[k], problems.text);
                        from = found + 1;
                }
        }
}

static void test_what_is_printed_parses_to_the_same(void **state)
{
        static const char text[] = HEAD
                "classes: [\"0302\", \"1200\"]\nnameRule: strip-brand\nregistration: watcher\nbindDeadline: 1500ms\nnodeSocketGroup: 107\n"
                "rescan: 1m\npciIds: /etc/pci \"x\".ids\naliases:\n  - {id: \"10DE:2321\", name: H100_94GB}\n"
                "rules:\n  - select: {ids: [\"10de:*\", \"*:26b9\"], subsystems: [\"10de:1851\"], addresses: [\"0000:3b:*\"],\n"
                "      classes: [\"0302\"], drivers: [none], role: vf, vfRange: 3, numaNodes: [-1, 0], models: [\"*L40S*\"]}\n"
                "    prefix: gpu.example\n    alias: big\n    bind: on-allocate\n    release: reset+restore\n    power: on\n    "
                "persistence: off\n    "
                "group: one-device\n    topology: split\n"
                "    prefer: spread\n  - deny: true\nloadModules: true\n";
        _cleanup_strbuf_ struct strbuf problems = { 0 };
        struct config *a = NULL, *b = NULL;

        (void)state;
        if (config_parse("f", text, strlen(text), &a, &problems) < 0)
                fail_msg("%s", problems.text);
        assert_int_equal(a->rules.n_rules, 2);
        assert_false(a->rules.implicit);
        assert_true(a->rules.load_modules);
        const struct rule *rule = &a->rules.rules[0];
        assert_int_equal(rule->line, 13);
        assert_int_equal(a->node_group, 107);
        assert_int_equal(rule->select.vf_first, 3);
        assert_int_equal(rule->select.vf_last, 3);
        assert_int_equal(rule->select.numa_nodes[0], -1);
        assert_int_equal(rule->bind, BIND_ON_ALLOCATE);
        assert_int_equal(rule->release, RELEASE_RESET_RESTORE);
        assert_int_equal(rule->power, POWER_ON);
        assert_int_equal(rule->persistence, PERSISTENCE_TURN_OFF);
        assert_int_equal(a->bind_deadline_ms, 1500);
        assert_int_equal(a->rules.n_classes, 2);
        _cleanup_free_ char *once = config_print(a);
        if (config_parse("f", once, strlen(once), &b, &problems) < 0)
                fail_msg("%s\n%s", once, problems.text);
        _cleanup_free_ char *twice = config_print(b);
        assert_string_equal(once, twice);
        config_free(a);
        config_free(b);
}

static void test_no_rules_mean_the_implicit_one(void **state)
{
        static const char *const texts[] = { HEAD, HEAD "rules: []\n", HEAD "classes: [\"0302\"]\n" };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
                _cleanup_strbuf_ struct strbuf problems = { 0 };
                struct config *config = NULL;
                assert_int_equal(config_parse("f", texts[i], strlen(texts[i]), &config, &problems), 0);
                assert_true(config->rules.implicit);
                config_free(config);
        }
        struct config *config = config_default();
        assert_true(config->rules.implicit);
        assert_int_equal(config->rules.n_classes, 4);
        config_free(config);
}

static void test_sizes_are_bounded(void **state)
{
        _cleanup_strbuf_ struct strbuf text = { 0 }, problems = { 0 };
        struct config *config = NULL;

        (void)state;
        strbuf_add(&text, HEAD "rules:\n");
        for (int i = 0; i < CONFIG_MAX_RULES + 1; i++)
                strbuf_add(&text, "  - {}\n");
        assert_int_equal(config_parse("f", text.text, text.len, &config, &problems), -EINVAL);
        assert_non_null(strstr(problems.text, "more than 256 rules"));
        assert_int_equal(config_load("/nonexistent/config.yaml", &config, &problems), -ENOENT);
}

static void test_addresses_are_lowered_so_that_they_match(void **state)
{
        static const char text[] =
                HEAD "rules:\n  - select: {addresses: [\"0000:3B:00.0\", \"10000:E1:*\", 4B20D080-1b54-4048-85b3-a6a62d165c01]}\n";
        static const char *const expected[] = { "0000:3b:00.0", "10000:e1:*", "4b20d080-1b54-4048-85b3-a6a62d165c01" };
        _cleanup_strbuf_ struct strbuf problems = { 0 };
        struct config *config = NULL;

        (void)state;
        if (config_parse("f", text, strlen(text), &config, &problems) < 0)
                fail_msg("%s", problems.text);
        assert_int_equal(config->rules.rules[0].select.n_addresses, N_ELEMENTS(expected));
        for (size_t i = 0; i < N_ELEMENTS(expected); i++)
                assert_string_equal(config->rules.rules[0].select.addresses[i], expected[i]);
        config_free(config);
}

/* The document is read from the source tree: tests run from its top. */
static char *read_doc(const char *path)
{
        char *text = xcalloc(1, 1 << 20);
        struct err err;

        ASSERT_OK(fs_read(AT_FDCWD, path, text, 1 << 20, NULL, &err), &err);
        return text;
}

struct documented {
        const char *doc;
        unsigned keys;
};

static void expect_row(void *ctx, const char *path)
{
        struct documented *d = ctx;

        _cleanup_free_ char *row = xasprintf("\n| `%s` | ", path);
        if (!strstr(d->doc, row))
                fail_msg("docs/config.md has no row for %s", path);
        d->keys++;
}

static void test_the_reference_has_every_key_and_no_other(void **state)
{
        _cleanup_free_ char *doc = read_doc("docs/config.md");
        struct documented d = { .doc = doc };
        unsigned rows = 0;

        (void)state;
        config_each_key(expect_row, &d);
        for (const char *at = doc; (at = strstr(at, "\n| `")); at++)
                rows++;
        assert_int_equal(rows, d.keys);
}

static void expect_in_the_chart(void *ctx, const char *path)
{
        const char *dot = strrchr(path, '.');
        _cleanup_free_ char *key = xasprintf("\"%s\": {", dot ? dot + 1 : path);

        if (!strstr(ctx, key))
                fail_msg("charts/sluice/values.schema.json lacks %s: the chart would refuse it (make test-chart looks at more)", path);
}

static void test_the_chart_knows_every_key(void **state)
{
        _cleanup_free_ char *schema = read_doc("charts/sluice/values.schema.json");

        (void)state;
        config_each_key(expect_in_the_chart, schema);
}

/* What --print-config says of a configuration with one empty rule is what the reference's third column says. */
static void test_the_reference_gives_the_defaults_that_are_in_force(void **state)
{
        static const char *const keys[] = { "classes",         "nameRule",         "registration",        "bindDeadline",
                                            "rescan",          "rules[].deny",     "rules[].bind",        "rules[].mode",
                                            "rules[].group",   "rules[].topology", "rules[].prefer",      "rules[].select.role",
                                            "rules[].release", "rules[].power",    "rules[].persistence", "loadModules" };
        _cleanup_free_ char *doc = read_doc("docs/config.md");
        _cleanup_strbuf_ struct strbuf problems = { 0 };
        struct config *config = NULL;

        (void)state;
        assert_int_equal(config_parse("f", HEAD "rules: [{}]\n", strlen(HEAD "rules: [{}]\n"), &config, &problems), 0);
        _cleanup_free_ char *printed = config_print(config);
        config_free(config);
        for (size_t i = 0; i < N_ELEMENTS(keys); i++) {
                const char *name = strrchr(keys[i], '.') ? strrchr(keys[i], '.') + 1 : keys[i];
                _cleanup_free_ char *key = xasprintf("%s: ", name), *start = xasprintf("\n| `%s` | ", keys[i]);
                const char *value = strstr(printed, key), *row = strstr(doc, start);
                assert_non_null(value);
                assert_non_null(row);
                value += strlen(key);
                _cleanup_free_ char *cell = xasprintf(" | `%.*s` | ", (int)strcspn(value, "\n"), value);
                _cleanup_free_ char *line = xstrndup(row + 1, strcspn(row + 1, "\n"));
                if (!strstr(line, cell))
                        fail_msg("docs/config.md: the default of %s is not '%s'", keys[i], cell);
        }
}

static void test_the_examples_of_the_reference_are_valid(void **state)
{
        _cleanup_free_ char *doc = read_doc("docs/config.md");
        unsigned n = 0;

        (void)state;
        for (char *at = doc; (at = strstr(at, "```yaml\n")); n++) {
                _cleanup_strbuf_ struct strbuf problems = { 0 };
                struct config *config = NULL;
                at += strlen("```yaml\n");
                char *end = strstr(at, "```");
                assert_non_null(end);
                if (config_parse("example", at, (size_t)(end - at), &config, &problems) < 0)
                        fail_msg("%s", problems.text);
                config_free(config);
        }
        assert_true(n > 0);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_every_problem_is_said_with_line_and_key),  TEST(test_what_is_printed_parses_to_the_same),
                TEST(test_no_rules_mean_the_implicit_one),           TEST(test_sizes_are_bounded),
                TEST(test_the_reference_has_every_key_and_no_other), TEST(test_the_chart_knows_every_key),
                TEST(test_addresses_are_lowered_so_that_they_match), TEST(test_the_reference_gives_the_defaults_that_are_in_force),
                TEST(test_the_examples_of_the_reference_are_valid),
        };

        return RUN(tests);
}
