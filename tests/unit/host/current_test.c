/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"
#include "fixture.h"

#include "base/str.h"
#include "host/holders.h"
#include "host/host.h"

static const struct fixture_function gpu = {
        "pci0000:3a/0000:3a:00.0", "0000:3b:00.0", "0x10de\n", "0x26b9\n", "0x030200\n", "vfio-pci", 45
};
#define DEVICE   "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0"
#define INSTANCE "sys/bus/mdev/devices/4b20d080-1b54-4048-85b3-a6a62d165c01"

static void test_a_function_is_current_while_driver_group_and_card_are_those_of_the_snapshot(void **state)
{
        struct function fn = { .bdf = { 0, 0x3b, 0, 0 }, .driver = "vfio-pci", .group = 45, .vendor = 0x10de, .device = 0x26b9 };
        struct fixture f;

        (void)state;
        fixture_make(&f);
        fixture_function(&f, &gpu);
        assert_true(host_function_is_current(&f.tree, &fn));
        fixture_file(&f, DEVICE "/device", "0x2235\n"); /* another card in its slot */
        assert_false(host_function_is_current(&f.tree, &fn));
        fixture_file(&f, DEVICE "/device", "0x26b9\n");
        fixture_file(&f, DEVICE "/vendor", "0x1002\n");
        assert_false(host_function_is_current(&f.tree, &fn));
        fixture_file(&f, DEVICE "/vendor", "0x10de\n");
        assert_true(host_function_is_current(&f.tree, &fn));
        fixture_link(&f, DEVICE "/driver", "../../../bus/pci/drivers/nvidia");
        assert_false(host_function_is_current(&f.tree, &fn));
        fixture_remove(&f, DEVICE "/driver");
        assert_false(host_function_is_current(&f.tree, &fn));
        fn.driver[0] = '\0';
        assert_true(host_function_is_current(&f.tree, &fn));                        /* unbound then and now */
        fixture_link(&f, DEVICE "/iommu_group", "../../../kernel/iommu_groups/46"); /* renumbered */
        assert_false(host_function_is_current(&f.tree, &fn));
        fixture_remove(&f, "sys/bus/pci/devices/0000:3b:00.0");
        assert_false(host_function_is_current(&f.tree, &fn));
        fixture_done(&f);
}

static void test_an_instance_is_current_while_it_is_there(void **state)
{
        struct instance instance = { .uuid = "4b20d080-1b54-4048-85b3-a6a62d165c01", .driver = "nvidia-vgpu-vfio", .group = 88 };
        struct fixture f;

        (void)state;
        fixture_make(&f);
        fixture_dir(&f, INSTANCE);
        fixture_link(&f, INSTANCE "/driver", "../../../../bus/mdev/drivers/nvidia-vgpu-vfio");
        fixture_link(&f, INSTANCE "/iommu_group", "../../../../kernel/iommu_groups/88");
        assert_true(host_instance_is_current(&f.tree, &instance));
        fixture_remove(&f, INSTANCE);
        assert_false(host_instance_is_current(&f.tree, &instance));
        fixture_done(&f);
}

static void test_a_device_that_is_not_enabled_is_held_by_nobody(void **state)
{
        struct fixture f;
        struct bdf bdf = { 0, 0x3b, 0, 0 };

        (void)state;
        fixture_make(&f);
        fixture_function(&f, &gpu);
        assert_false(holders_none_on_vfio(&f.tree, bdf)); /* no such file: not known */
        fixture_file(&f, DEVICE "/enable", "0\n");
        assert_true(holders_none_on_vfio(&f.tree, bdf));
        fixture_file(&f, DEVICE "/enable", "1\n");
        assert_false(holders_none_on_vfio(&f.tree, bdf));
        fixture_file(&f, DEVICE "/enable", "\n");
        assert_false(holders_none_on_vfio(&f.tree, bdf));
        fixture_done(&f);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_function_is_current_while_driver_group_and_card_are_those_of_the_snapshot),
                TEST(test_an_instance_is_current_while_it_is_there),
                TEST(test_a_device_that_is_not_enabled_is_held_by_nobody),
        };

        return RUN(tests);
}
