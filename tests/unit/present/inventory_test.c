/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <jansson.h>
#include <limits.h>
#include <strings.h>
#include <yaml.h>

#include "base/alloc.h"
#include "present/present.h"

/* A host with one of everything that is shown: a healthy GPU with a warning, a withheld one, an mdev instance, one that is
 * gone, something broken; half of the facts unknown. */
struct world {
        struct inventory *inv;
        struct offer offer;
        struct device devices[4];
        struct pool pools[2];
        size_t first[2], second[1];
};

static const char uuid[] = "8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11";

static void make_inventory(struct world *w)
{
        w->inv = inventory_new();
        struct function *fn = inventory_add_function(w->inv, (struct bdf){ 0, 0x3b, 0, 0 });
        fn->class_code = 0x030200;
        inventory_add_function(w->inv, (struct bdf){ 0, 0x41, 0, 0 })->class_code = 0x030000;
        inventory_add_broken(w->inv, "0000:99:00.0", REASON_VANISHED, "class: No such device");
        inventory_add_driver(w->inv, "vfio-pci");
        w->inv->iommu = w->inv->vfio_node = true;
        inventory_seal(w->inv);
}

static void make_devices(struct world *w)
{
        w->devices[0] = (struct device){
                .id = "0000:3b:00.0",
                .kind = DEVICE_GPU,
                .state = DEVICE_HEALTHY,
                .reason = REASON_FABRIC,
                .also = { REASON_NUMA_HIGH, REASON_PREFER_MIXED },
                .bdf = { 0, 0x3b, 0, 0 },
                .card = { 0, 0x3b, 0, 0 },
                .group = 45,
                .numa_node = 0,
                .resource = "nvidia.com/AD102GL_L40S",
                .model = "AD102GL [L40S]",
                .vendor = 0x10de,
                .device_id = 0x26b9,
                .driver = "vfio-pci",
                .bind = BIND_NEVER,
                .rule = 0,
        };
        w->devices[1] = (struct device){
                .id = "0000:41:00.0",
                .kind = DEVICE_GPU,
                .state = DEVICE_WITHHELD,
                .reason = REASON_GROUP_FOREIGN,
                .detail = "0000:42:00.0 (class 0108, driver nvme)",
                .bdf = { 0, 0x41, 0, 0 },
                .card = { 0, 0x41, 0, 0 },
                .group = 7,
                .numa_node = -1,
                .vendor = 0x1002,
                .device_id = 0x75a0,
                .bind = BIND_ON_ALLOCATE,
                .needs_bind = true,
                .rule = 2,
        };
        w->devices[2] = (struct device){
                .kind = DEVICE_VGPU_MDEV,
                .state = DEVICE_HEALTHY,
                .bdf = { 0, 0x3b, 0, 4 },
                .card = { 0, 0x3b, 0, 0 },
                .group = 101,
                .numa_node = 1,
                .resource = "nvidia.com/GRID_T4-1B",
                .model = "GRID T4-1B",
                .vendor = 0x10de,
                .device_id = 0x1eb8,
                .driver = "nvidia-vgpu-vfio",
                .rule = UINT_MAX,
        };
        (void)str_copy(w->devices[2].id, DEVICE_ID_MAX, uuid);
        w->devices[3] = (struct device){
                .id = "0001:c8:00.2",
                .kind = DEVICE_VF,
                .state = DEVICE_UNHEALTHY,
                .reason = REASON_GONE,
                .bdf = { 1, 0xc8, 0, 2 },
                .card = { 1, 0xc8, 0, 0 },
                .group = -1,
                .numa_node = -1,
                .resource = "nvidia.com/AD102GL_L40S",
                .model = "AD102GL [L40S]",
                .vendor = 0x10de,
                .device_id = 0x26b9,
                .rule = 0,
        };
}

static void make_world(struct world *w)
{
        *w = (struct world){ .first = { 0, 3 }, .second = { 2 } };
        make_inventory(w);
        make_devices(w);
        w->pools[0] = (struct pool){ .resource = "nvidia.com/AD102GL_L40S", .devices = w->first, .n_devices = 2, .prefer = PREFER_SPREAD };
        w->pools[1] =
                (struct pool){ .resource = "nvidia.com/GRID_T4-1B", .devices = w->second, .n_devices = 1, .topology = true, .mdev = true };
        w->offer = (struct offer){ .refs = 1, .devices = w->devices, .n_devices = 4, .pools = w->pools, .n_pools = 2 };
}

static int by_id(const void *a, const void *b)
{
        return strcmp(((const struct device *)a)->id, ((const struct device *)b)->id);
}

static char *shown(const struct inventory *inv, const struct offer *offer, enum present_format format)
{
        _cleanup_strbuf_ struct strbuf out = { 0 };
        struct err err;

        _cleanup_pile_ struct pile pile = { 0 };
        ASSERT_OK(present_devices(pb_devices_of(&pile, inv, offer, "", DEVICES_PAGE_MAX), format, &out, &err), &err);
        return strbuf_take(&out);
}

static void test_formats_are_parsed_by_their_whole_name(void **state)
{
        enum present_format format = PRESENT_WIDE;

        (void)state;
        assert_true(present_format_parse("table", &format) && format == PRESENT_TABLE);
        assert_true(present_format_parse("wide", &format) && format == PRESENT_WIDE);
        assert_true(present_format_parse("yaml", &format) && format == PRESENT_YAML);
        assert_true(present_format_parse("json", &format) && format == PRESENT_JSON);
        assert_false(present_format_parse("js", &format) || present_format_parse("", &format) || format != PRESENT_JSON);
}

/* The lines of the table itself, without the legend. */
static char *table_lines(enum present_format format)
{
        struct world w;

        make_world(&w);
        _cleanup_inventory_ struct inventory *inv = w.inv;
        char *text = shown(inv, &w.offer, format);
        char *legend = strstr(text, "\nReasons, ");
        assert_non_null(legend);
        *legend = '\0';
        return text;
}

static void test_the_table_says_what_is_offered_and_why_the_rest_is_not(void **state)
{
        _cleanup_free_ char *text = table_lines(PRESENT_TABLE);

        (void)state;
        assert_string_equal(
                text, "MODEL          BDF          DRIVER           GROUP NUMA RESOURCE                STATE     REASON\n"
                      "AD102GL [L40S] 0000:3b:00.0 vfio-pci            45    0 nvidia.com/AD102GL_L40S healthy   fabric-partition-unknown, "
                      "numa-node-too-high, prefer-mixed\n"
                      "-              0000:41:00.0 -                    7    - -                       withheld  "
                      "group-foreign-member: 0000:42:00.0 (class 0108, driver nvme)\n"
                      "GRID T4-1B     0000:3b:00.4 nvidia-vgpu-vfio   101    1 nvidia.com/GRID_T4-1B   healthy   -\n"
                      "AD102GL [L40S] 0001:c8:00.2 -                    -    - nvidia.com/AD102GL_L40S unhealthy gone\n"
                      "-              0000:99:00.0 -                    -    - -                       withheld  "
                      "vanished: class: No such device\n");
}

static void test_the_wide_table_has_every_column(void **state)
{
        _cleanup_free_ char *text = table_lines(PRESENT_WIDE);

        (void)state;
        assert_true(str_has_prefix(text, "ID                                   KIND      MODEL          BDF          "
                                         "CARD         VENDOR:DEVICE DRIVER           GROUP NUMA BIND        "
                                         "RESOURCE                STATE     REASON"
                                         "                                                     DETAIL\n"));
        assert_non_null(strstr(text, "\n0000:41:00.0                         gpu       -              0000:41:00.0 "
                                     "0000:41:00.0 1002:75a0     -                    7    - on-allocate -"));
        assert_non_null(strstr(text, "\n8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11 vgpu-mdev GRID T4-1B     0000:3b:00.4 0000:3b:00.0 "));
        assert_non_null(
                strstr(text, " group-foreign-member                                       0000:42:00.0 (class 0108, driver nvme)\n"));
}

static void test_each_reason_is_explained_once_below_the_table(void **state)
{
        static const enum reason there[] = { REASON_FABRIC, REASON_NUMA_HIGH, REASON_PREFER_MIXED,   REASON_GROUP_FOREIGN,
                                             REASON_GONE,   REASON_VANISHED,  REASON_HOLDERS_UNKNOWN };
        struct world w;

        (void)state;
        make_world(&w);
        _cleanup_inventory_ struct inventory *inv = w.inv;
        w.devices[2].state = DEVICE_UNHEALTHY;
        w.devices[2].reason = REASON_GONE;
        _cleanup_free_ char *text = shown(inv, &w.offer, PRESENT_TABLE);
        for (size_t i = 0; i < N_ELEMENTS(there); i++) {
                _cleanup_free_ char *line =
                        xasprintf("\n  %s: %s\n      %s\n", reason_word(there[i]), reason_sentence(there[i]), reason_remedy(there[i]));
                const char *found = strstr(text, line);
                if (!found || strstr(found + 1, line))
                        fail_msg("'%s' is not explained exactly once in\n%s", reason_word(there[i]), text);
        }
        assert_null(strstr(text, reason_word(REASON_NO_GROUP)));
}

static void test_a_host_without_gpus_says_so(void **state)
{
        _cleanup_inventory_ struct inventory *inv = inventory_new();
        const struct offer nothing = { .refs = 1 };

        (void)state;
        inv->vfio_node = inv->holders_visible = true;
        inventory_add_driver(inv, "vfio-pci");
        inventory_seal(inv);
        _cleanup_free_ char *text = shown(inv, &nothing, PRESENT_TABLE);
        assert_string_equal(text, "No GPU on this host.\n");
        _cleanup_free_ char *json = shown(inv, &nothing, PRESENT_JSON);
        assert_non_null(strstr(json, "\"devices\": []"));
        assert_non_null(strstr(json, "\"warnings\": []"));
}

static void test_a_host_without_vfio_is_told_so(void **state)
{
        _cleanup_inventory_ struct inventory *inv = inventory_new();
        const struct offer nothing = { .refs = 1 };

        (void)state;
        inv->holders_visible = true;
        inventory_seal(inv);
        _cleanup_free_ char *text = shown(inv, &nothing, PRESENT_TABLE);
        assert_non_null(strstr(text, "\nThis host:\n  vfio-not-available: "));
        assert_null(strstr(text, "holders-unknown"));
}

static json_t *loaded(enum present_format format)
{
        struct world w;

        make_world(&w);
        _cleanup_inventory_ struct inventory *inv = w.inv;
        _cleanup_free_ char *text = shown(inv, &w.offer, format);
        json_error_t error;
        json_t *tree = json_loads(text, JSON_REJECT_DUPLICATES, &error);
        if (!tree)
                fail_msg("%s at line %d of\n%s", error.text, error.line, text);
        return tree;
}

static void assert_keys(json_t *object, const char *expected)
{
        _cleanup_strbuf_ struct strbuf keys = { 0 };
        const char *key;
        json_t *value;

        json_object_foreach(object, key, value) strbuf_addf(&keys, "%s%s", keys.len ? " " : "", key);
        assert_string_equal(keys.text, expected);
}

static void test_json_has_its_documented_keys_in_their_order(void **state)
{
        json_t *tree = loaded(PRESENT_JSON);
        json_t *devices = json_object_get(tree, "devices");

        (void)state;
        assert_keys(tree, "host devices pools broken warnings");
        assert_keys(json_object_get(tree, "host"), "iommu vfio_node iommufd_node holders_visible");
        assert_int_equal(json_array_size(devices), 4);
        for (size_t i = 0; i < 4; i++)
                assert_keys(json_array_get(devices, i),
                            "id kind mode bdf uuid card iommu_group numa_node vendor_id device_id class model driver resource state "
                            "reason bind needs_bind rule");
        assert_keys(json_object_get(json_array_get(devices, 0), "reason"), "word sentence remedy detail");
        assert_keys(json_array_get(json_object_get(tree, "pools"), 0), "resource variable topology prefer healthy devices");
        assert_keys(json_array_get(json_object_get(tree, "broken"), 0), "name reason");
        assert_keys(json_array_get(json_object_get(tree, "warnings"), 0), "device reason");
        json_decref(tree);
}

/* @text is JSON: what the value at the path must be. */
static void assert_value(const json_t *tree, const char *list, size_t i, const char *key, const char *text)
{
        json_t *expected = json_loads(text, JSON_DECODE_ANY, NULL);
        const json_t *value = json_object_get(json_array_get(json_object_get(tree, list), i), key);

        assert_non_null(expected);
        if (!json_equal(value, expected))
                fail_msg("%s[%zu].%s is not %s", list, i, key, text);
        json_decref(expected);
}

static void test_json_says_null_for_what_is_unknown(void **state)
{
        static const struct {
                size_t device;
                const char *key, *text;
        } rows[] = {
                { 0, "id", "\"0000:3b:00.0\"" },
                { 0, "kind", "\"gpu\"" },
                { 0, "mode", "\"vfio\"" },
                { 0, "uuid", "null" },
                { 0, "iommu_group", "45" },
                { 0, "numa_node", "0" },
                { 0, "vendor_id", "\"10de\"" },
                { 0, "device_id", "\"26b9\"" },
                { 0, "class", "\"030200\"" },
                { 0, "state", "\"healthy\"" },
                { 0, "needs_bind", "false" },
                { 0, "rule", "0" },
                { 1, "numa_node", "null" },
                { 1, "model", "null" },
                { 1, "driver", "null" },
                { 1, "resource", "null" },
                { 1, "bind", "\"on-allocate\"" },
                { 1, "needs_bind", "true" },
                { 1, "rule", "2" },
                { 1, "state", "\"withheld\"" },
                { 2, "bdf", "\"0000:3b:00.4\"" },
                { 2, "card", "\"0000:3b:00.0\"" },
                { 2, "reason", "null" },
                { 2, "rule", "null" },
                { 2, "uuid", "\"8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11\"" },
                { 3, "iommu_group", "null" },
                { 3, "class", "null" },
                { 3, "state", "\"unhealthy\"" },
        };
        json_t *tree = loaded(PRESENT_JSON);

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                assert_value(tree, "devices", rows[i].device, rows[i].key, rows[i].text);
        assert_value(tree, "pools", 0, "variable", "\"PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S\"");
        assert_value(tree, "pools", 0, "devices", "[\"0000:3b:00.0\", \"0001:c8:00.2\"]");
        assert_value(tree, "pools", 0, "healthy", "1");
        assert_value(tree, "pools", 0, "prefer", "\"spread\"");
        assert_value(tree, "pools", 1, "variable", "\"MDEV_PCI_RESOURCE_NVIDIA_COM_GRID_T4-1B\"");
        assert_value(tree, "pools", 1, "topology", "true");
        assert_value(tree, "broken", 0, "name", "\"0000:99:00.0\"");
        assert_value(tree, "warnings", 0, "device", "null");
        assert_value(tree, "warnings", 1, "device", "\"0000:3b:00.0\"");
        assert_value(tree, "warnings", 2, "device", "\"0000:3b:00.0\"");
        json_t *third = json_object_get(json_array_get(json_object_get(tree, "warnings"), 3), "reason");
        assert_string_equal(json_string_value(json_object_get(third, "word")), "prefer-mixed");
        assert_int_equal(json_array_size(json_object_get(tree, "warnings")), 4);
        json_decref(tree);
}

static void test_pages_have_every_device_once_and_the_head_on_the_first(void **state)
{
        struct world w;
        const char *after = "";
        _cleanup_pile_ struct pile pile = { 0 };

        (void)state;
        make_world(&w);
        _cleanup_inventory_ struct inventory *inv = w.inv;
        qsort(w.devices, 4, sizeof(w.devices[0]), by_id);
        for (size_t i = 0; i < 4; i++) {
                const pb_node_list_devices_response *page = pb_devices_of(&pile, inv, &w.offer, after, 1);
                assert_int_equal(page->n_devices, 1);
                assert_string_equal(page->devices[0]->id, w.devices[i].id);
                assert_true((page->host != NULL) == (i == 0) && (page->n_pools > 0) == (i == 0) && (page->n_broken > 0) == (i == 0));
                for (size_t k = 0; k < page->n_warnings; k++)
                        assert_true(i == 0 ? true : streq(page->warnings[k]->device, w.devices[i].id));
                assert_string_equal(page->next_page_token, i == 3 ? "" : w.devices[i].id);
                after = page->next_page_token;
        }
        /* A device that has gone between two pages takes none along. */
        assert_string_equal(pb_devices_of(&pile, inv, &w.offer, "0000:3b:00.1", 1)->devices[0]->id, w.devices[1].id);
        assert_int_equal(pb_devices_of(&pile, inv, &w.offer, "zz", 1)->n_devices, 0);
}

/* YAML back to a tree, as a reader of YAML 1.1 or 1.2 would: quoted is text; a bare word is text unless it says something. */
static json_t *from_yaml(yaml_document_t *document, int index)
{
        yaml_node_t *node = yaml_document_get_node(document, index);
        json_t *tree = NULL;

        if (node->type == YAML_SCALAR_NODE) {
                const char *text = (const char *)node->data.scalar.value;
                uint64_t n;
                if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
                        return json_string(text);
                static const char *const truths[] = { "true", "yes", "on", "y", "false", "no", "off", "n" };
                for (size_t i = 0; i < N_ELEMENTS(truths); i++)
                        if (strcasecmp(text, truths[i]) == 0)
                                return json_boolean(i < 4);
                if (streq(text, "null") || streq(text, "~"))
                        return json_null();
                return str_to_u64(text, 10, INT32_MAX, &n) ? json_integer((json_int_t)n) : json_string(text);
        }
        if (node->type == YAML_SEQUENCE_NODE) {
                tree = json_array();
                for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++)
                        json_array_append_new(tree, from_yaml(document, *i));
                return tree;
        }
        tree = json_object();
        for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
                const yaml_node_t *key = yaml_document_get_node(document, p->key);
                json_object_set_new(tree, (const char *)key->data.scalar.value, from_yaml(document, p->value));
        }
        return tree;
}

static void test_yaml_says_the_same_as_json(void **state)
{
        struct world w;
        yaml_parser_t parser;
        yaml_document_t document;

        (void)state;
        make_world(&w);
        _cleanup_inventory_ struct inventory *inv = w.inv;
        /* Words that a reader would take for something else than text. */
        static const char *const tricky[] = { "no", "0x10", "1e5", "null", "NVIDIA: a # b", "~", "Yes", "true" };
        for (size_t i = 0; i < N_ELEMENTS(tricky); i++) {
                (void)str_copy(w.devices[i % 4].model, MODEL_LEN, tricky[i]);
                _cleanup_free_ char *json = shown(inv, &w.offer, PRESENT_JSON), *yaml = shown(inv, &w.offer, PRESENT_YAML);
                assert_true(yaml_parser_initialize(&parser));
                yaml_parser_set_input_string(&parser, (const unsigned char *)yaml, strlen(yaml));
                assert_true(yaml_parser_load(&parser, &document));
                json_t *expected = json_loads(json, 0, NULL);
                json_t *tree = from_yaml(&document, 1);
                if (!json_equal(tree, expected))
                        fail_msg("not the same with '%s':\n%s", tricky[i], yaml);
                json_decref(tree);
                json_decref(expected);
                yaml_document_delete(&document);
                yaml_parser_delete(&parser);
        }
}

static void test_the_reasons_are_shown_in_every_format(void **state)
{
        _cleanup_strbuf_ struct strbuf json = { 0 }, yaml = { 0 }, table = { 0 }, wide = { 0 };
        struct err err;

        (void)state;
        ASSERT_OK(present_reasons(PRESENT_JSON, &json, &err), &err);
        ASSERT_OK(present_reasons(PRESENT_YAML, &yaml, &err), &err);
        ASSERT_OK(present_reasons(PRESENT_TABLE, &table, &err), &err);
        ASSERT_OK(present_reasons(PRESENT_WIDE, &wide, &err), &err);
        json_t *list = json_loads(json.text, JSON_REJECT_DUPLICATES, NULL);
        assert_int_equal(json_array_size(list), REASON_MAX - 1);
        assert_keys(json_array_get(list, 0), "word use sentence remedy");
        json_decref(list);
        for (enum reason r = REASON_NONE + 1; r < REASON_MAX; r++) {
                assert_non_null(strstr(yaml.text, reason_word(r)));
                assert_non_null(strstr(table.text, reason_sentence(r)));
                assert_non_null(strstr(wide.text, reason_remedy(r)));
        }
        assert_true(str_has_prefix(table.text, "WORD ") && !strstr(table.text, "REMEDY") && strstr(wide.text, "REMEDY"));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_formats_are_parsed_by_their_whole_name),
                TEST(test_the_table_says_what_is_offered_and_why_the_rest_is_not),
                TEST(test_the_wide_table_has_every_column),
                TEST(test_each_reason_is_explained_once_below_the_table),
                TEST(test_a_host_without_gpus_says_so),
                TEST(test_a_host_without_vfio_is_told_so),
                TEST(test_json_has_its_documented_keys_in_their_order),
                TEST(test_json_says_null_for_what_is_unknown),
                TEST(test_pages_have_every_device_once_and_the_head_on_the_first),
                TEST(test_yaml_says_the_same_as_json),
                TEST(test_the_reasons_are_shown_in_every_format),
        };

        return RUN(tests);
}
