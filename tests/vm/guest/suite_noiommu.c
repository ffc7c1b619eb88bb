/* SPDX-License-Identifier: Apache-2.0 */
/* Topology noiommu. */
#include "guest.h"

#include "reactions.h"

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

const struct reaction_word noiommu_words[] = {
        { "$BARE", GPU },
        { "$BAREDRIVER", "nvidia" },
        { NULL, NULL },
};

int suite_noiommu(void)
{
        int failed = 0;
        const struct CMUnitTest rig[] = {
                cmocka_unit_test(test_without_iommu_the_writes_succeed_and_nothing_is_bound),
        };
        failed += RUN_SUITE(rig);
        load_nvidia("");
        failed += run_reactions("reactions", noiommu_words, NULL);
        failed += node_suite_noiommu();
        return failed;
}
