/* SPDX-License-Identifier: Apache-2.0 */
/* Topology numa. */
#include "guest.h"

static void test_kernel_knows_the_nodes_of_the_cards(void **state)
{
        (void)state;
        assert_string_equal(kernel_read(PCI "0000:41:00.0/numa_node"), "0");
        assert_string_equal(kernel_read(PCI "0000:81:00.0/numa_node"), "1");
}

int suite_numa(void)
{
        const struct CMUnitTest rig[] = {
                cmocka_unit_test(test_kernel_knows_the_nodes_of_the_cards),
        };
        int failed = RUN_SUITE(rig);

        failed += node_suite_numa();
        return failed;
}
