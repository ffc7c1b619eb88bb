/* SPDX-License-Identifier: Apache-2.0 */
/* Topology groups: what may be handed out of a shared IOMMU group. */
#include "node.h"

#include <string.h>

#include "base/str.h"

#define FIRST "0000:01:00.0"
#define SECOND "0000:02:00.0"
#define WITH_NIC "0000:03:00.0"
#define NIC "0000:04:00.0"
#define WITH_DISK "0000:05:00.0"
#define DISK "0000:06:00.0"
#define ALONE "0000:07:00.0"
#define BRIDGED "0000:09:01.0"
#define CONSOLE "0000:0a:00.0"

/* Binds whatever it may, at start: the strongest wish that a configuration can have. */
#define EVERYTHING CONFIG_HEAD "rules:\n- select: {ids: [\"10de:*\"]}\n  bind: at-start\n"

static void expect_reason(const char *id, const char *word, const char *part1, const char *part2)
{
        char detail[VALUE_BYTES] = "";
        const char *got = inventory_reason(id, detail);

        if (!streq(got, word) || strstr(detail, part1) == NULL || strstr(detail, part2) == NULL)
                fail_msg("%s: '%s' (%s) instead of '%s' with %s and %s", id, got, detail, word, part1, part2);
}

static void test_two_gpus_of_one_group_are_withheld(void **state)
{
        (void)state;
        load_nvidia("");
        (void)node_start("two-gpus", RULE("addresses: [\"" FIRST "\", \"" SECOND "\"]"));
        expect_never_offered(L40S_RESOURCE);
        expect_reason(FIRST, "group-several-gpus", SECOND, "");
        expect_reason(SECOND, "group-several-gpus", FIRST, "");
        assert_string_equal(driver_of(FIRST), "nvidia");
        node_stop();
}

static void test_two_gpus_of_one_group_are_one_device_by_rule(void **state)
{
        (void)state;
        load_nvidia("");
        (void)node_start("one-device", RULE("addresses: [\"" FIRST "\", \"" SECOND "\"]") "  group: one-device\n");
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_device_becomes_usable("pod", L40S_RESOURCE, L40S_VARIABLE, FIRST);
        assert_string_equal(driver_of(SECOND), "vfio-pci"); /* bound and idle */
        expect_reason(SECOND, "group-follower", "", "");
        node_stop();
}

static void test_network_card_in_the_group_is_named_and_untouched(void **state)
{
        (void)state;
        load_nvidia("");
        load_modules("e1000e");
        assert_string_equal(driver_of(NIC), "e1000e");
        (void)node_start("network-card", EVERYTHING);
        expect_counts("nvidia.com/GH100_H100_SXM5_80GB", 1, 1); /* the start-up binds are over */
        expect_reason(WITH_NIC, "group-foreign-member", NIC, "e1000e");
        assert_string_equal(driver_of(NIC), "e1000e");
        assert_string_equal(driver_of(WITH_NIC), "nvidia");
        assert_string_equal(kernel_read(PCI WITH_NIC "/driver_override"), "(null)");
        node_stop();
}

static void test_disk_in_the_group_is_named_and_untouched(void **state)
{
        (void)state;
        load_nvidia("");
        load_modules("nvme");
        assert_true(await_exists(true, 10000, "/dev/nvme0n1"));
        (void)node_start("disk", EVERYTHING);
        expect_counts("nvidia.com/GH100_H100_SXM5_80GB", 1, 1);
        expect_reason(WITH_DISK, "group-foreign-member", DISK, "nvme");
        assert_string_equal(driver_of(DISK), "nvme");
        assert_string_equal(driver_of(WITH_DISK), "nvidia");
        node_stop();
}

static void test_port_without_acs_in_the_group_does_no_harm(void **state)
{
        (void)state;
        load_nvidia("");
        (void)node_start("port", RULE("addresses: [\"" ALONE "\"]") "  resource: test.example/ALONE\n");
        expect_counts("test.example/ALONE", 1, 1);
        expect_device_becomes_usable("pod", "test.example/ALONE", "PCI_RESOURCE_TEST_EXAMPLE_ALONE", ALONE);
        node_stop();
}

static void test_gpu_behind_a_bridge_is_usable_with_the_bridge_unbound(void **state)
{
        (void)state;
        load_modules("vfio-pci vfio_iommu_type1");
        (void)node_start("bridge", RULE("addresses: [\"" BRIDGED "\"]") "  resource: test.example/BRIDGED\n");
        expect_counts("test.example/BRIDGED", 1, 1);
        expect_device_becomes_usable("pod", "test.example/BRIDGED", "PCI_RESOURCE_TEST_EXAMPLE_BRIDGED", BRIDGED);
        assert_string_not_equal(driver_of("0000:08:00.0"), "vfio-pci");
        node_stop();
}

static void test_card_that_shows_the_console_is_withheld(void **state)
{
        (void)state;
        load_nvidia("");
        assert_string_equal(kernel_read(PCI CONSOLE "/boot_vga"), "1");
        (void)node_start("console", EVERYTHING);
        expect_counts("nvidia.com/GH100_H100_SXM5_80GB", 1, 1);
        expect_reason(CONSOLE, "host-display", "", "");
        assert_string_equal(driver_of(CONSOLE), "nvidia");
        node_stop();
}

int node_suite_groups(void)
{
        const struct CMUnitTest node[] = {
                NODE_TEST(test_two_gpus_of_one_group_are_withheld),
                NODE_TEST(test_two_gpus_of_one_group_are_one_device_by_rule),
                NODE_TEST(test_network_card_in_the_group_is_named_and_untouched),
                NODE_TEST(test_disk_in_the_group_is_named_and_untouched),
                NODE_TEST(test_port_without_acs_in_the_group_does_no_harm),
                NODE_TEST(test_gpu_behind_a_bridge_is_usable_with_the_bridge_unbound),
                NODE_TEST(test_card_that_shows_the_console_is_withheld),
        };
        return RUN_SUITE(node);
}
