/* SPDX-License-Identifier: Apache-2.0 */
/* Topology gpu: the main job on cards that are alone in their groups. Allocate arrives over the unix socket, sluice-hand does
 * the writing. */
#include "node.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

#define L40S "0000:01:00.0"
#define QUADRO "0000:02:00."
#define QUADRO_RESOURCE "test.example/QUADRO"
#define GEFORCE "0000:03:00.0"
#define GEFORCE_AUDIO "0000:03:00.1"
#define GEFORCE_RESOURCE "test.example/GEFORCE"
#define H100 "0000:04:00.0"
#define H100_RESOURCE "test.example/H100"
#define ODD "0000:05:00.0"
#define ODD_COMPANION "0000:05:00.1"
#define ODD_RESOURCE "test.example/ODD"
#define UNBIND_LOCK "/proc/driver/nvidia/gpus/" L40S "/unbindLock"

#define L40S_RULE RULE("ids: [\"10de:26b9\"]")
#define NAMED_RULE(ids, resource) CONFIG_HEAD "rules:\n- select: {ids: [\"" ids "\"]}\n  bind: on-allocate\n  resource: " resource "\n"

static void test_gpu_of_a_host_driver_is_allocated_bound_and_usable(void **state)
{
        char output[OUTPUT_BYTES];
        struct fk_run run = { 0 };

        (void)state;
        load_nvidia("");
        assert_string_equal(driver_of(L40S), "nvidia");
        (void)node_start("allocate", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        assert_string_equal(driver_of(L40S), "nvidia"); /* offering touches nothing */

        allocate("pod", L40S_RESOURCE, 1, &run);
        expect_answer(&run, L40S_VARIABLE, L40S, group_of(L40S));
        fk_run_done(&run);
        assert_string_equal(driver_of(L40S), "vfio-pci");
        assert_int_equal(use_device(group_of(L40S), L40S, output), VFIO_USABLE);
        assert_string_equal(output, "viable\ndma 1 MiB\nids 10de:26b9\nbar0 192000a1\nreset\n");
        assert_string_equal(driver_of(H100), "nvidia"); /* the rule does not speak of it */

        node_stop();
        assert_string_equal(driver_of(L40S), "vfio-pci"); /* the end of sluiced unbinds nothing */
        restore_function(L40S, "nvidia");
}

static void test_card_with_four_functions_is_bound_as_a_whole(void **state)
{
        (void)state;
        load_nvidia("");
        (void)node_start("four-functions", NAMED_RULE("10de:1e30", QUADRO_RESOURCE));
        expect_counts(QUADRO_RESOURCE, 1, 1);
        expect_device_becomes_usable("pod", QUADRO_RESOURCE, "PCI_RESOURCE_TEST_EXAMPLE_QUADRO", QUADRO "0");
        for (char f = '0'; f <= '3'; f++) {
                char bdf[] = QUADRO "0";

                bdf[strlen(bdf) - 1] = f;
                assert_string_equal(driver_of(bdf), "vfio-pci");
        }
        node_stop();
        for (char f = '3'; f >= '0'; f--) {
                char bdf[] = QUADRO "0";

                bdf[strlen(bdf) - 1] = f;
                restore_function(bdf, f == '0' ? "nvidia" : "");
        }
}

static void test_audio_companion_is_taken_from_its_host_driver(void **state)
{
        (void)state;
        load_nvidia("");
        load_modules("snd-hda-intel");
        assert_string_equal(driver_of(GEFORCE_AUDIO), "snd_hda_intel");
        (void)node_start("audio", NAMED_RULE("10de:2204", GEFORCE_RESOURCE));
        expect_counts(GEFORCE_RESOURCE, 1, 1);
        expect_device_becomes_usable("pod", GEFORCE_RESOURCE, "PCI_RESOURCE_TEST_EXAMPLE_GEFORCE", GEFORCE);
        assert_string_equal(driver_of(GEFORCE_AUDIO), "vfio-pci");
        node_stop();
        restore_function(GEFORCE_AUDIO, "snd_hda_intel");
        restore_function(GEFORCE, "nvidia");
}

static void test_without_configuration_only_what_is_on_vfio_is_offered_and_nothing_bound(void **state)
{
        (void)state;
        load_nvidia("");
        bind_vfio(L40S);
        (void)node_start("implicit", NULL);
        expect_counts(L40S_RESOURCE, 1, 1);
        assert_int_equal(fk_resources(node_kubelet(), NULL, 0), 1);
        expect_device_becomes_usable("pod", L40S_RESOURCE, L40S_VARIABLE, L40S);
        assert_string_equal(driver_of(H100), "nvidia");
        assert_string_equal(driver_of(GEFORCE), "nvidia");
        node_stop();
        restore_function(L40S, "nvidia");
}

static void test_at_start_binds_before_any_pod_asks(void **state)
{
        (void)state;
        load_nvidia("");
        (void)node_start("at-start", CONFIG_HEAD "rules:\n- select: {ids: [\"10de:26b9\"]}\n  bind: at-start\n");
        expect_counts(L40S_RESOURCE, 1, 1);
        assert_string_equal(driver_of(L40S), "vfio-pci");
        expect_device_becomes_usable("pod", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
        restore_function(L40S, "nvidia");
}

/* The same allocation with sluice-hand out of reach: refused, and the kernel was not written to. So it is the hand that
 * writes in all the other tests. */
static void test_without_the_hand_nothing_is_bound(void **state)
{
        (void)state;
        load_nvidia("");
        assert_int_equal(RUN_PROGRAM(NULL, "cp", "/share/bin/sluice-hand", "/run/sluice-hand"), 0);
        daemon_set_hand("/run/sluice-hand");
        (void)node_start("no-hand", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        assert_int_equal(unlink("/run/sluice-hand"), 0);
        assert_int_equal(RUN_PROGRAM(NULL, "killall", "-9", "sluice-hand"), 0);
        expect_refused("pod", L40S_RESOURCE, "cannot start /run/sluice-hand", "nothing was touched");
        assert_string_equal(driver_of(L40S), "nvidia");
        assert_string_equal(kernel_read(PCI L40S "/driver_override"), "(null)");
        node_stop();
}

static void test_driver_that_is_slow_to_let_go_is_waited_for(void **state)
{
        (void)state;
        load_nvidia("slow_remove_ms=3000");
        (void)node_start("slow", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        int64_t start = now_ms();
        expect_device_becomes_usable("pod", L40S_RESOURCE, L40S_VARIABLE, L40S);
        assert_true(now_ms() - start >= 3000);
        node_stop();
        set_nvidia("slow_remove_ms", "0");
        restore_function(L40S, "nvidia");
}

/* The hand sits in the kernel, uninterruptibly. The daemon goes on: the device is stuck, the others are served. */
static void test_driver_that_does_not_let_go_in_time_makes_only_its_device_stuck(void **state)
{
        (void)state;
        load_nvidia("slow_remove_ms=8000");
        (void)node_start("stuck", CONFIG_HEAD "bindDeadline: 2s\nrules:\n- select: {ids: [\"10de:26b9\"]}\n  bind: on-allocate\n"
                                              "- select: {ids: [\"10de:2330\"]}\n  resource: " H100_RESOURCE "\n"
                                              "  bind: on-allocate\n");
        expect_counts(L40S_RESOURCE, 1, 1);
        int64_t start = now_ms();
        expect_refused("pod", L40S_RESOURCE, L40S, NULL);
        assert_true(now_ms() - start >= 2000 && now_ms() - start < 6000);
        expect_counts(L40S_RESOURCE, 1, 0);
        set_nvidia("slow_remove_ms", "0");
        expect_device_becomes_usable("other", H100_RESOURCE, "PCI_RESOURCE_TEST_EXAMPLE_H100", H100);
        node_stop();
        assert_true(await_driver(L40S, "", 30000) || await_driver(L40S, "vfio-pci", 1000));
        sleep_ms(500); /* an abandoned hand may still finish its plan */
        restore_function(L40S, "nvidia");
        restore_function(H100, "nvidia");
}

/* The companion's ids are on vfio-pci's list of devices that it refuses. */
static void test_failed_bind_of_a_companion_is_rolled_back_to_the_host_driver(void **state)
{
        (void)state;
        load_nvidia("");
        (void)node_start("roll-back", NAMED_RULE("10de:2231", ODD_RESOURCE));
        expect_counts(ODD_RESOURCE, 1, 1);
        expect_refused("pod", ODD_RESOURCE, ODD_COMPANION, "vfio-pci");
        assert_string_equal(driver_of(ODD), "nvidia");
        assert_string_equal(driver_of(ODD_COMPANION), "");
        assert_string_equal(kernel_read(PCI ODD "/driver_override"), "(null)");
        assert_string_equal(kernel_read(PCI ODD_COMPANION "/driver_override"), "(null)");
        node_stop();
}

static void test_host_driver_that_does_not_come_back_is_said(void **state)
{
        char text[FK_TEXT_MAX] = "";

        (void)state;
        load_nvidia("");
        (void)node_start("not-restored", NAMED_RULE("10de:2231", ODD_RESOURCE));
        expect_counts(ODD_RESOURCE, 1, 1);
        set_nvidia("fail_probe", "5");
        assert_int_not_equal(fk_admit_one(node_kubelet(), "pod", ODD_RESOURCE, 1, text), 0);
        set_nvidia("fail_probe", "0");
        if (strstr(text, ODD) == NULL || strstr(text, "nvidia") == NULL)
                fail_msg("does not name the device and its driver: %s", text);
        assert_string_equal(driver_of(ODD), "");
        assert_string_equal(kernel_read(PCI ODD "/driver_override"), "(null)");
        node_stop();
        restore_function(ODD, "nvidia");
}

static void test_holder_of_the_host_drivers_node_is_named_and_nothing_touched(void **state)
{
        (void)state;
        load_nvidia("");
        struct process holder = hold_node("/dev/nvidia0");
        (void)node_start("held", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_refused("pod", L40S_RESOURCE, "holder", "/dev/nvidia0");
        assert_string_equal(driver_of(L40S), "nvidia");
        assert_string_equal(kernel_read(PCI L40S "/driver_override"), "(null)");
        assert_string_equal(kernel_read(UNBIND_LOCK), "0");
        (void)stop_process(&holder, SIGKILL);
        expect_device_becomes_usable("after", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
        restore_function(L40S, "nvidia");
}

static void test_second_pod_is_refused_while_the_first_ones_user_holds_the_group(void **state)
{
        struct fk_run run = { 0 };

        (void)state;
        load_nvidia("");
        (void)node_start("group-held", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        allocate("first", L40S_RESOURCE, 1, &run);
        fk_run_done(&run);
        struct process user = hold_device(group_of(L40S), L40S);
        fk_pod_end(node_kubelet(), "first");
        expect_refused("second", L40S_RESOURCE, "vfio_user", "/dev/vfio/");
        (void)stop_process(&user, SIGKILL);
        expect_device_becomes_usable("third", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
        restore_function(L40S, "nvidia");
}

static void test_unplugged_idle_device_turns_unhealthy_and_comes_back(void **state)
{
        (void)state;
        load_nvidia("");
        (void)node_start("unplug", NAMED_RULE("10de:2330", H100_RESOURCE));
        expect_counts(H100_RESOURCE, 1, 1);
        host_do("device_del gpu4");
        expect_counts(H100_RESOURCE, 1, 0);
        assert_false(kernel_exists(PCI H100));
        host_do("device_add xpci,id=gpu4,bus=rp4,x-ids=10de:2330:030200:10de:16c1");
        expect_counts(H100_RESOURCE, 1, 1);
        expect_device_becomes_usable("pod", H100_RESOURCE, "PCI_RESOURCE_TEST_EXAMPLE_H100", H100);
        node_stop();
        restore_function(H100, "nvidia");
}

static void test_killed_daemon_comes_back_to_the_bound_device(void **state)
{
        struct fk_run run = { 0 };

        (void)state;
        load_nvidia("");
        (void)node_start("killed", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        allocate("pod", L40S_RESOURCE, 1, &run);
        fk_run_done(&run);
        struct process user = hold_device(group_of(L40S), L40S);
        unsigned before = fk_registers(node_kubelet());
        daemon_stop(SIGKILL);
        daemon_start();
        while (fk_registers(node_kubelet()) == before)
                sleep_ms(50);
        expect_counts(L40S_RESOURCE, 1, 1);
        assert_string_equal(driver_of(L40S), "vfio-pci");
        (void)stop_process(&user, SIGKILL);
        fk_pod_end(node_kubelet(), "pod");
        expect_device_becomes_usable("after", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
        restore_function(L40S, "nvidia");
}

int node_suite_gpu(void)
{
        const struct CMUnitTest node[] = {
                NODE_TEST(test_gpu_of_a_host_driver_is_allocated_bound_and_usable),
                NODE_TEST(test_without_the_hand_nothing_is_bound),
                NODE_TEST(test_card_with_four_functions_is_bound_as_a_whole),
                NODE_TEST(test_audio_companion_is_taken_from_its_host_driver),
                NODE_TEST(test_without_configuration_only_what_is_on_vfio_is_offered_and_nothing_bound),
                NODE_TEST(test_at_start_binds_before_any_pod_asks),
                NODE_TEST(test_driver_that_is_slow_to_let_go_is_waited_for),
                NODE_TEST(test_driver_that_does_not_let_go_in_time_makes_only_its_device_stuck),
                NODE_TEST(test_failed_bind_of_a_companion_is_rolled_back_to_the_host_driver),
                NODE_TEST(test_host_driver_that_does_not_come_back_is_said),
                NODE_TEST(test_holder_of_the_host_drivers_node_is_named_and_nothing_touched),
                NODE_TEST(test_second_pod_is_refused_while_the_first_ones_user_holds_the_group),
                NODE_TEST(test_unplugged_idle_device_turns_unhealthy_and_comes_back),
                NODE_TEST(test_killed_daemon_comes_back_to_the_bound_device),
        };
        return RUN_SUITE(node);
}
