/* SPDX-License-Identifier: Apache-2.0 */
/* Topology noiommu. */
#include "guest.h"

#define GPU "0000:01:00.0"

static void test_without_iommu_the_writes_succeed_and_nothing_is_bound(void **state)
{
        (void)state;
        load_modules("vfio-pci");
        assert_string_equal(group_of(GPU), "");
        assert_int_equal(kernel_write("vfio-pci", PCI GPU "/driver_override"), 0);
        assert_int_equal(kernel_write(GPU, "/sys/bus/pci/drivers_probe"), 0);
        assert_string_equal(driver_of(GPU), "");
        restore_function(GPU, "");
}

int suite_noiommu(void)
{
        const struct CMUnitTest rig[] = {
                cmocka_unit_test(test_without_iommu_the_writes_succeed_and_nothing_is_bound),
        };
        return RUN_SUITE(rig);
}
