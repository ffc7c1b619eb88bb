/* SPDX-License-Identifier: Apache-2.0 */
/* Topology amd: the main job with AMD's IOMMU. */
#include "node.h"

#define GPU "0000:01:00.0"

static void test_gpu_is_allocated_behind_an_amd_iommu(void **state)
{
        (void)state;
        load_nvidia("");
        (void)node_start("amd", RULE("ids: [\"10de:26b9\"]"));
        expect_counts(L40S_RESOURCE, 1, 1);
        assert_string_equal(driver_of(GPU), "nvidia");
        expect_device_becomes_usable("pod", L40S_RESOURCE, L40S_VARIABLE, GPU);
        node_stop();
}

int node_suite_amd(void)
{
        const struct CMUnitTest node[] = {
                NODE_TEST(test_gpu_is_allocated_behind_an_amd_iommu),
        };
        return RUN_SUITE(node);
}
