/* SPDX-License-Identifier: Apache-2.0 */
/* Topology numa: kubelet is told the nodes that the kernel tells. */
#include "node.h"

#include <stdlib.h>

#include "base/str.h"

static void test_list_carries_the_nodes_of_the_cards(void **state)
{
        struct fk_device *list = NULL;

        (void)state;
        load_nvidia("");
        (void)node_start("numa", RULE("ids: [\"10de:26b9\"]"));
        expect_counts(L40S_RESOURCE, 2, 2);
        assert_int_equal(fk_devices(node_kubelet(), L40S_RESOURCE, &list), 2);
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(list[i].n_nodes, 1);
                assert_int_equal(list[i].nodes[0], streq(list[i].id, "0000:41:00.0") ? 0 : 1);
        }
        assert_string_not_equal(list[0].id, list[1].id);
        free(list);
        node_stop();
}

static void test_device_of_the_asked_node_is_bound(void **state)
{
        char text[FK_TEXT_MAX];
        const struct fk_ask ask = { .resource = L40S_RESOURCE, .n = 1, .has_hint = true, .nodes = 1u << 1 };

        (void)state;
        load_nvidia("");
        (void)node_start("numa-hint", RULE("ids: [\"10de:26b9\"]"));
        expect_counts(L40S_RESOURCE, 2, 2);
        if (fk_admit(node_kubelet(), "pod", "main", false, &ask, 1, text) != 0)
                fail_msg("not admitted: %s", text);
        assert_string_equal(driver_of("0000:81:00.0"), "vfio-pci");
        assert_string_equal(driver_of("0000:41:00.0"), "nvidia");
        node_stop();
}

int node_suite_numa(void)
{
        const struct CMUnitTest node[] = {
                NODE_TEST(test_list_carries_the_nodes_of_the_cards),
                NODE_TEST(test_device_of_the_asked_node_is_bound),
        };
        return RUN_SUITE(node);
}
