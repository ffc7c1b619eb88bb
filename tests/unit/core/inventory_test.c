/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/str.h"
#include "core/inventory.h"

static const struct bdf first = { 0, 0x3b, 0, 0 }, second = { 1, 0x04, 0, 0 };
static const char uuid[] = "8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11";

static struct inventory *two_gpus(void)
{
        struct inventory *inv = inventory_new();

        inventory_add_function(inv, second)->group = 7;
        struct function *fn = inventory_add_function(inv, first);
        fn->group = 45;
        (void)str_copy(fn->driver, sizeof(fn->driver), "nvidia");
        (void)str_copy(inventory_add_instance(inv)->uuid, UUID_LEN, uuid);
        inventory_add_driver(inv, "vfio-pci");
        inventory_add_driver(inv, "nvidia");
        inventory_seal(inv);
        return inv;
}

static void test_a_new_function_says_that_nothing_is_known(void **state)
{
        _cleanup_inventory_ struct inventory *inv = inventory_new();
        const struct function *fn = inventory_add_function(inv, first);

        (void)state;
        assert_int_equal(fn->numa_node, -1);
        assert_int_equal(fn->group, -1);
        assert_int_equal(fn->vfio_index, -1);
        assert_int_equal(fn->vf_index, -1);
        assert_int_equal(fn->boot_vga, -1);
        assert_true(bdf_equal(fn->upstream, first) && bdf_equal(fn->root_port, first));
        assert_string_equal(fn->driver, "");
        assert_int_equal(inventory_add_instance(inv)->group, -1);
}

static void test_a_sealed_inventory_is_sorted_and_found_by_name(void **state)
{
        _cleanup_inventory_ struct inventory *inv = two_gpus();

        (void)state;
        assert_true(bdf_equal(inv->functions[0].bdf, first));
        assert_int_equal(inventory_function(inv, second)->group, 7);
        assert_null(inventory_function(inv, (struct bdf){ 0, 0x3b, 0, 1 }));
        assert_non_null(inventory_instance(inv, uuid));
        assert_null(inventory_instance(inv, ""));
        assert_true(inventory_has_driver(inv, "vfio-pci"));
        assert_false(inventory_has_driver(inv, "vfio"));
}

static void test_many_functions_of_several_domains_stay_findable(void **state)
{
        _cleanup_inventory_ struct inventory *inv = inventory_new();

        (void)state;
        for (unsigned i = 0; i < 2000; i++)
                inventory_add_function(inv, (struct bdf){ i * 7919 % 5, (uint8_t)(i * 31), (uint8_t)(i % 32), (uint8_t)(i % 8) })->device =
                        (uint16_t)i;
        inventory_seal(inv);
        for (size_t i = 1; i < inv->n_functions; i++)
                assert_true(bdf_compare(inv->functions[i - 1].bdf, inv->functions[i].bdf) <= 0);
        for (size_t i = 0; i < inv->n_functions; i++)
                assert_non_null(inventory_function(inv, inv->functions[i].bdf));
}

static void test_an_empty_inventory_answers_look_ups(void **state)
{
        _cleanup_inventory_ struct inventory *inv = inventory_new();

        (void)state;
        inventory_seal(inv);
        assert_null(inventory_function(inv, first));
        assert_null(inventory_instance(inv, uuid));
        assert_false(inventory_has_driver(inv, "vfio-pci"));
        assert_null(inventory_unref(NULL));
}

static void test_a_reference_keeps_the_snapshot(void **state)
{
        struct inventory *inv = two_gpus();
        _cleanup_inventory_ struct inventory *kept = inventory_ref(inv);

        (void)state;
        assert_null(inventory_unref(inv));
        assert_non_null(inventory_function(kept, first));
}

static void test_broken_entries_are_cleaned(void **state)
{
        _cleanup_inventory_ struct inventory *inv = inventory_new(), *same = inventory_new();

        (void)state;
        inventory_add_broken(inv, "0000:3b:00.0\n", REASON_GARBAGE, "vendor says \"\x1b[2J\xff\"");
        inventory_add_broken(same, "0000:3b:00.0\n", REASON_GARBAGE, "vendor says \"\x1b[2J\xff\"");
        inventory_seal(inv);
        inventory_seal(same);
        assert_true(inventory_equal(inv, same));
        assert_string_equal(inv->broken[0].name, "0000:3b:00.0?");
        assert_string_equal(inv->broken[0].detail, "vendor says \"?[2J?\"");
}

static void note(void *ctx, const char *name, const char *what)
{
        strbuf_addf(ctx, "%s: %s\n", name, what);
}

static void change_driver(struct inventory *inv)
{
        (void)str_copy(inv->functions[0].driver, DRIVER_LEN, "vfio-pci");
        inv->functions[0].vfio_index = 3;
        inv->functions[0].group_node = true;
}

static void change_bar(struct inventory *inv)
{
        inv->functions[1].bars[2].size = 4096;
}

static void change_identity(struct inventory *inv)
{
        struct function *fn = &inv->functions[0];

        fn->vendor = 0x10de;
        fn->class_code = 0x030200;
        fn->revision = 0xa1;
        fn->upstream = second;
        fn->n_vfs = 4;
        fn->group = -1;
}

static void change_instance(struct inventory *inv)
{
        (void)str_copy(inv->instances[0].type_name, TYPE_LEN, "GRID T4-1B");
}

static void lose_first(struct inventory *inv)
{
        inv->functions++; /* undone by the test */
        inv->n_functions--;
}

static void break_one(struct inventory *inv)
{
        inventory_add_broken(inv, "0000:99:00.0", REASON_VANISHED, "class");
        inventory_seal(inv);
}

static void meet_outsider(struct inventory *inv)
{
        inventory_add_outsider(inv, 45,
                               "70.\x1b"
                               "dma",
                               "platform", "xgene-dma");
        inventory_seal(inv);
}

static void change_flag(struct inventory *inv)
{
        inv->holders_visible = true;
}

static void test_a_change_is_told_in_one_sentence_per_thing(void **state)
{
        static const struct {
                void (*change)(struct inventory *inv);
                const char *told;
        } rows[] = {
                { change_driver, "0000:3b:00.0: driver nvidia -> vfio-pci, group node no -> yes, vfio index none -> 3\n" },
                { change_bar, "0001:04:00.0: BARs changed\n" },
                { change_identity, "0000:3b:00.0: vendor 0000 -> 10de, class 000000 -> 030200, revision 00 -> a1, "
                                   "upstream 0000:3b:00.0 -> 0001:04:00.0, group 45 -> none, VFs 0 -> 4\n" },
                { change_instance, "8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11: type name none -> GRID T4-1B\n" },
                { lose_first, "0000:3b:00.0: gone\n" },
                { break_one, "0000:99:00.0: it disappeared while it was read (class)\n" },
                { meet_outsider, "70.?dma: appeared in IOMMU group 45, and is no PCI function\n" },
                { change_flag, "" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_inventory_ struct inventory *old = two_gpus(), *now = two_gpus();
                _cleanup_strbuf_ struct strbuf told = { 0 };
                struct function *functions = now->functions;

                assert_true(inventory_equal(old, now));
                rows[i].change(now);
                assert_false(inventory_equal(old, now));
                assert_false(inventory_equal(now, old));
                strbuf_add(&told, "");
                inventory_diff(old, now, note, &told);
                assert_string_equal(told.text, rows[i].told);
                now->functions = functions;
        }
}

static void test_everything_is_new_to_nobody_and_gone_from_an_empty_host(void **state)
{
        _cleanup_inventory_ struct inventory *inv = two_gpus(), *empty = inventory_new();
        _cleanup_strbuf_ struct strbuf came = { 0 }, went = { 0 }, same = { 0 };

        (void)state;
        inventory_seal(empty);
        inventory_diff(NULL, inv, note, &came);
        assert_string_equal(came.text, "0000:3b:00.0: appeared\n0001:04:00.0: appeared\n"
                                       "8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11: appeared\n");
        inventory_diff(inv, empty, note, &went);
        assert_string_equal(went.text, "0000:3b:00.0: gone\n0001:04:00.0: gone\n8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11: gone\n");
        inventory_diff(inv, inv, note, &same);
        assert_int_equal(same.len, 0);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_new_function_says_that_nothing_is_known),
                TEST(test_a_sealed_inventory_is_sorted_and_found_by_name),
                TEST(test_many_functions_of_several_domains_stay_findable),
                TEST(test_an_empty_inventory_answers_look_ups),
                TEST(test_a_reference_keeps_the_snapshot),
                TEST(test_broken_entries_are_cleaned),
                TEST(test_a_change_is_told_in_one_sentence_per_thing),
                TEST(test_everything_is_new_to_nobody_and_gone_from_an_empty_host),
        };

        return RUN(tests);
}
