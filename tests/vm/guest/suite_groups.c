/* SPDX-License-Identifier: Apache-2.0 */
/* Topology groups: what the kernel says of shared groups. */
#include "guest.h"

static void test_functions_behind_ports_without_acs_share_a_group(void **state)
{
        (void)state;
        load_modules("e1000e nvme");
        assert_string_equal(group_of("0000:01:00.0"), group_of("0000:02:00.0"));
        assert_string_equal(group_of("0000:03:00.0"), group_of("0000:04:00.0"));
        assert_string_equal(group_of("0000:05:00.0"), group_of("0000:06:00.0"));
        assert_string_not_equal(group_of("0000:01:00.0"), group_of("0000:03:00.0"));
        assert_string_equal(driver_of("0000:04:00.0"), "e1000e");
        assert_string_equal(driver_of("0000:06:00.0"), "nvme");
}

static void test_bridges_and_ports_in_a_group_need_no_binding(void **state)
{
        static const char *const functions[] = { "0000:07:00.0", "0000:09:01.0" };

        (void)state;
        load_modules("vfio-pci vfio_iommu_type1");
        for (size_t i = 0; i < 2; i++) {
                const char *group = group_of(functions[i]);

                bind_vfio(functions[i]);
                assert_int_equal(use_device(group, functions[i], NULL), VFIO_USABLE);
                restore_function(functions[i], "");
        }
        assert_string_equal(group_of("0000:07:00.0"), group_of("0000:00:05.0"));
}

int suite_groups(void)
{
        const struct CMUnitTest rig[] = {
                cmocka_unit_test(test_functions_behind_ports_without_acs_share_a_group),
                cmocka_unit_test(test_bridges_and_ports_in_a_group_need_no_binding),
        };
        int failed = RUN_SUITE(rig);

        failed += node_suite_groups();
        return failed;
}
