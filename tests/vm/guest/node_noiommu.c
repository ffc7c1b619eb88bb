/* SPDX-License-Identifier: Apache-2.0 */
/* Topology noiommu. */
#include "node.h"

#define GPU "0000:01:00.0"

static void test_without_iommu_nothing_is_offered_and_the_reason_is_said(void **state)
{
        (void)state;
        load_nvidia("");
        (void)node_start("no-iommu", CONFIG_HEAD "rules:\n- select: {ids: [\"10de:*\"]}\n  bind: at-start\n");
        expect_never_offered(L40S_RESOURCE);
        assert_string_equal(inventory_reason(GPU, NULL), "no-iommu-group");
        assert_int_equal(fk_registers(node_kubelet()), 0);
        assert_string_equal(driver_of(GPU), "nvidia");
        assert_string_equal(kernel_read(PCI GPU "/driver_override"), "(null)");
        node_stop();
}

int node_suite_noiommu(void)
{
        const struct CMUnitTest node[] = {
                NODE_TEST(test_without_iommu_nothing_is_offered_and_the_reason_is_said),
        };
        return RUN_SUITE(node);
}
