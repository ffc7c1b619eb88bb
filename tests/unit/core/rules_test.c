/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/alloc.h"
#include "base/str.h"
#include "core/rules.h"

static void test_id_patterns_are_four_digits_or_a_star_on_each_side(void **state)
{
        static const struct {
                const char *text;
                bool ok;
                struct id_pattern pattern;
        } rows[] = {
                { "10de:26b9", true, { false, false, 0x10de, 0x26b9 } },
                { "10DE:26B9", true, { false, false, 0x10de, 0x26b9 } },
                { "10de:*", true, { false, true, 0x10de, 0 } },
                { "*:26b9", true, { true, false, 0, 0x26b9 } },
                { "*:*", true, { true, true, 0, 0 } },
                { "", false, { 0 } },
                { "10de", false, { 0 } },
                { "10de:", false, { 0 } },
                { ":26b9", false, { 0 } },
                { "10de:26b", false, { 0 } },
                { "10de:26b99", false, { 0 } },
                { "0x10:26b9", false, { 0 } },
                { "10dg:26b9", false, { 0 } },
                { "10d*:26b9", false, { 0 } },
                { "10de:26b9 ", false, { 0 } },
                { "10de-26b9", false, { 0 } },
                { "**:26b9", false, { 0 } },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct id_pattern p = { true, false, 7, 7 };

                if (id_pattern_parse(rows[i].text, &p) != rows[i].ok)
                        fail_msg("%s", rows[i].text);
                if (rows[i].ok) {
                        assert_int_equal(p.any_vendor, rows[i].pattern.any_vendor);
                        assert_int_equal(p.any_device, rows[i].pattern.any_device);
                        assert_int_equal(p.vendor, rows[i].pattern.vendor);
                        assert_int_equal(p.device, rows[i].pattern.device);
                } else {
                        assert_true(p.any_vendor && p.vendor == 7 && p.device == 7);
                }
        }
}

static void test_four_classes_are_gpus_unless_configured(void **state)
{
        static const struct {
                uint32_t class_code;
                bool gpu;
        } rows[] = {
                { 0x030000, true },  { 0x030001, true },  { 0x030200, true },   { 0x038000, true },
                { 0x120000, true },  { 0x030100, false }, { 0x040300, false },  { 0x068000, false },
                { 0x060400, false }, { 0x020000, false }, { 0x1030000, false },
        };
        struct rules rules;

        (void)state;
        rules_init(&rules);
        assert_true(rules.implicit);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                assert_int_equal(rules_class_is_gpu(&rules, rows[i].class_code), rows[i].gpu);
        rules.classes[0] = 0x0680;
        assert_true(rules_class_is_gpu(&rules, 0x068000));
        assert_false(rules_class_is_gpu(&rules, 0x030000));
        rules_done(&rules);
}

static void test_a_fresh_rule_touches_nothing(void **state)
{
        struct rule rule;

        (void)state;
        rule_init(&rule);
        assert_int_equal(rule.bind, BIND_NEVER);
        assert_int_equal(rule.group, GROUP_WITHHOLD);
        assert_int_equal(rule.topology, TOPOLOGY_DROP);
        assert_int_equal(rule.prefer, PREFER_PACK);
        assert_false(rule.deny);
        rule_done(&rule);
}

/* The functions that selectors are tried on. */
static const struct function l40s = {
        .bdf = { 0, 0x3b, 0, 0 },
        .vendor = 0x10de,
        .device = 0x26b9,
        .subvendor = 0x10de,
        .subdevice = 0x1851,
        .class_code = 0x030200,
        .model = "AD102GL [L40S]",
        .driver = "vfio-pci",
        .numa_node = 1,
        .is_pf = true,
};
static const struct function l40s_vf = {
        .bdf = { 0, 0x3b, 0, 4 },
        .vendor = 0x10de,
        .device = 0x26b9,
        .class_code = 0x030200,
        .model = "AD102GL [L40S]",
        .driver = "nvidia",
        .numa_node = -1,
        .is_vf = true,
        .vf_index = 3,
        .vgpu_type = 1155,
        .vgpu_name = "NVIDIA L40S-24Q",
};
static const struct function nameless_vf = {
        .bdf = { 0, 0x3b, 0, 5 },
        .vendor = 0x10de,
        .device = 0x2235,
        .class_code = 0x030200,
        .model = "GA102GL [A40]",
        .driver = "nvidia",
        .is_vf = true,
        .vgpu_type = 557,
};
static const struct function nvswitch = {
        .bdf = { 0, 5, 0, 0 },
        .vendor = 0x10de,
        .device = 0x22a3,
        .class_code = 0x068000,
        .numa_node = 0,
};
static const struct instance mdev = {
        .uuid = "8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11",
        .parent = { 0, 0x3b, 0, 0 },
        .type_name = "GRID T4-1B",
        .driver = "nvidia-vgpu-vfio",
};

/* Selector of one row: texts are one list entry each, "" = list empty. */
struct row {
        const char *title;
        const char *id, *subsystem, *address, *driver, *model;
        unsigned class_top;
        bool has_numa;
        int numa;
        enum sriov_role role;
        bool has_range;
        unsigned vf_first, vf_last;
        const struct function *fn;
        const struct instance *instance;
        bool match, by_address;
};

static char **one(const char *s, size_t *n)
{
        if (!s)
                return NULL;
        char **list = xcalloc(1, sizeof(*list));
        list[0] = xstrdup(s);
        *n = 1;
        return list;
}

static struct id_pattern *one_id(const char *s, size_t *n)
{
        if (!s)
                return NULL;
        struct id_pattern *p = xcalloc(1, sizeof(*p));
        assert_true(id_pattern_parse(s, p));
        *n = 1;
        return p;
}

static void fill(struct rules *rules, const struct row *row)
{
        rules_init(rules);
        rules->rules = xcalloc(1, sizeof(*rules->rules));
        rules->n_rules = 1;
        rule_init(&rules->rules[0]);
        struct selector *s = &rules->rules[0].select;
        s->ids = one_id(row->id, &s->n_ids);
        s->subsystems = one_id(row->subsystem, &s->n_subsystems);
        s->addresses = one(row->address, &s->n_addresses);
        s->drivers = one(row->driver, &s->n_drivers);
        s->models = one(row->model, &s->n_models);
        if (row->class_top) {
                uint16_t top = (uint16_t)row->class_top;
                s->classes = xmemdup(&top, sizeof(top));
                s->n_classes = 1;
        }
        if (row->has_numa) {
                s->numa_nodes = xmemdup(&row->numa, sizeof(row->numa));
                s->n_numa_nodes = 1;
        }
        s->role = row->role;
        if (row->has_range) {
                s->has_vf_range = true;
                s->vf_first = row->vf_first;
                s->vf_last = row->vf_last;
        }
}

static const struct row rows[] = {
        { .title = "an empty selector takes every GPU", .fn = &l40s, .match = true },
        { .title = "an empty selector leaves other classes alone", .fn = &nvswitch, .match = false },
        { .title = "an id", .fn = &l40s, .id = "10de:26b9", .match = true },
        { .title = "another id", .fn = &l40s, .id = "10de:26b5", .match = false },
        { .title = "a vendor", .fn = &l40s, .id = "10de:*", .match = true },
        { .title = "another vendor", .fn = &l40s, .id = "1002:*", .match = false },
        { .title = "a vendor does not reach outside the classes", .fn = &nvswitch, .id = "10de:*", .match = false },
        { .title = "a whole id reaches outside the classes", .fn = &nvswitch, .id = "10de:22a3", .match = true },
        { .title = "an address reaches outside the classes",
          .fn = &nvswitch,
          .address = "0000:05:00.0",
          .match = true,
          .by_address = true },
        { .title = "a glob does not reach outside the classes", .fn = &nvswitch, .address = "0000:05:*", .match = false },
        { .title = "a class does not reach outside the classes", .fn = &nvswitch, .class_top = 0x0680, .match = false },
        { .title = "a subsystem does not reach outside the classes", .fn = &nvswitch, .subsystem = "0000:0000", .match = false },
        { .title = "an address that is named", .fn = &l40s, .address = "0000:3b:00.0", .match = true, .by_address = true },
        { .title = "an address that is not named", .fn = &l40s, .address = "0000:3b:00.?", .match = true },
        { .title = "another address", .fn = &l40s, .address = "0000:3c:00.0", .match = false },
        { .title = "a subsystem", .fn = &l40s, .subsystem = "10de:1851", .match = true },
        { .title = "another subsystem", .fn = &l40s, .subsystem = "10de:1852", .match = false },
        { .title = "a class", .fn = &l40s, .class_top = 0x0302, .match = true },
        { .title = "another class", .fn = &l40s, .class_top = 0x0300, .match = false },
        { .title = "a driver", .fn = &l40s, .driver = "vfio-pci", .match = true },
        { .title = "no driver", .fn = &l40s, .driver = "none", .match = false },
        { .title = "an unbound function has no driver", .fn = &nvswitch, .id = "10de:22a3", .driver = "none", .match = true },
        { .title = "a NUMA node", .fn = &l40s, .has_numa = true, .numa = 1, .match = true },
        { .title = "another NUMA node", .fn = &l40s, .has_numa = true, .numa = 0, .match = false },
        { .title = "an unknown NUMA node", .fn = &l40s_vf, .has_numa = true, .numa = -1, .match = true },
        { .title = "a PF", .fn = &l40s, .role = ROLE_PF, .match = true },
        { .title = "a PF is no VF", .fn = &l40s, .role = ROLE_VF, .match = false },
        { .title = "a VF", .fn = &l40s_vf, .role = ROLE_VF, .match = true },
        { .title = "a VF is no PF", .fn = &l40s_vf, .role = ROLE_PF, .match = false },
        { .title = "a VF in the range", .fn = &l40s_vf, .has_range = true, .vf_first = 3, .vf_last = 3, .match = true },
        { .title = "a VF above the range", .fn = &l40s_vf, .has_range = true, .vf_first = 0, .vf_last = 2, .match = false },
        { .title = "a VF below the range", .fn = &l40s_vf, .has_range = true, .vf_first = 4, .vf_last = 9, .match = false },
        { .title = "a PF is in no VF range", .fn = &l40s, .has_range = true, .vf_first = 0, .vf_last = 63, .match = false },
        { .title = "a model that is cut differently", .fn = &l40s, .model = "*[L4?]", .match = false },
        { .title = "a model by glob", .fn = &l40s, .model = "*L40S*", .match = true },
        { .title = "a profile on a VF", .fn = &l40s_vf, .model = "NVIDIA L40S-24Q", .match = true },
        { .title = "an instance by its UUID",
          .fn = &l40s,
          .instance = &mdev,
          .address = "8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11",
          .match = true,
          .by_address = true },
        { .title = "an instance by its parent",
          .fn = &l40s,
          .instance = &mdev,
          .address = "0000:3b:00.0",
          .match = true,
          .by_address = true },
        { .title = "an instance by its profile", .fn = &l40s, .instance = &mdev, .model = "GRID T4-*", .match = true },
        { .title = "a vGPU type without a name, by its ids", .fn = &nameless_vf, .model = "2235-557", .match = true },
        { .title = "another type of that board", .fn = &nameless_vf, .model = "2235-558", .match = false },
        { .title = "a type that has a name, by its ids", .fn = &l40s_vf, .model = "26b9-1155", .match = false },
        { .title = "no type at all", .fn = &l40s, .model = "26b9-0", .match = false },
        { .title = "an instance by its driver", .fn = &l40s, .instance = &mdev, .driver = "nvidia-vgpu-vfio", .match = true },
        { .title = "not by its parent's driver", .fn = &l40s, .instance = &mdev, .driver = "vfio-pci", .match = false },
        { .title = "all lists together",
          .fn = &l40s,
          .id = "10de:26b9",
          .address = "0000:3b:*",
          .driver = "vfio-pci",
          .model = "*",
          .class_top = 0x0302,
          .has_numa = true,
          .numa = 1,
          .role = ROLE_PF,
          .match = true },
        { .title = "one list that does not match",
          .fn = &l40s,
          .id = "10de:26b9",
          .address = "0000:3b:*",
          .driver = "nvidia",
          .match = false },
};

static void test_a_selector_takes_what_all_its_lists_take(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct rules rules;
                bool by_address = !rows[i].by_address;

                fill(&rules, &rows[i]);
                unsigned number = rules_match(&rules, rows[i].fn, rows[i].instance, &by_address);
                if (number != (unsigned)rows[i].match || by_address != rows[i].by_address)
                        fail_msg("%s: rule %u, by address %d", rows[i].title, number, by_address);
                rules_done(&rules);
        }
}

static void test_any_entry_of_a_list_is_enough(void **state)
{
        struct rules rules;
        bool by_address;

        (void)state;
        fill(&rules, &(struct row){ .address = "0000:05:*" });
        struct selector *s = &rules.rules[0].select;
        s->addresses = xrealloc(s->addresses, 3, sizeof(*s->addresses));
        s->addresses[1] = xstrdup("0000:3b:00.0");
        s->addresses[2] = xstrdup("0000:3b:*");
        s->n_addresses = 3;
        assert_int_equal(rules_match(&rules, &l40s, NULL, &by_address), 1);
        assert_true(by_address);
        rules_done(&rules);
}

static void test_the_first_rule_that_selects_wins(void **state)
{
        struct rules rules;

        (void)state;
        fill(&rules, &(struct row){ .id = "1002:*" });
        rules.rules = xrealloc(rules.rules, 3, sizeof(*rules.rules));
        for (size_t i = 1; i < 3; i++)
                rule_init(&rules.rules[i]);
        rules.n_rules = 3;
        assert_int_equal(rules_match(&rules, &l40s, NULL, NULL), 2);
        rules.n_rules = 1;
        assert_int_equal(rules_match(&rules, &l40s, NULL, NULL), 0);
        rules.n_rules = 3;
        rules_done(&rules);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_id_patterns_are_four_digits_or_a_star_on_each_side),
                TEST(test_four_classes_are_gpus_unless_configured),
                TEST(test_a_fresh_rule_touches_nothing),
                TEST(test_a_selector_takes_what_all_its_lists_take),
                TEST(test_any_entry_of_a_list_is_enough),
                TEST(test_the_first_rule_that_selects_wins),
        };

        return RUN(tests);
}
