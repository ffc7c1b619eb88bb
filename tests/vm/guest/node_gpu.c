/* SPDX-License-Identifier: Apache-2.0 */
/* Topology gpu: the main job on cards that are alone in their groups. Allocate arrives over the unix socket, sluice-hand does
 * the writing. */
#include "cards.h"
#include "node.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

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
        const char *child = kernel_read("/proc/%d/task/%d/children", (int)daemon_pid(), (int)daemon_pid());
        assert_string_equal(kernel_read("/proc/%d/comm", atoi(child)), "sluice-hand"); /* its first and only child */

        allocate("pod", L40S_RESOURCE, 1, &run);
        expect_answer(&run, L40S_VARIABLE, L40S, group_of(L40S));
        fk_run_done(&run);
        assert_string_equal(driver_of(L40S), "vfio-pci");
        assert_int_equal(use_device(group_of(L40S), L40S, output), VFIO_USABLE);
        assert_string_equal(output, "viable\ndma 1 MiB\nids 10de:26b9\nbar0 192000a1\nreset\n");
        assert_string_equal(driver_of(H100), "nvidia"); /* the rule does not speak of it */

        node_stop();
        assert_string_equal(driver_of(L40S), "vfio-pci"); /* the end of sluiced unbinds nothing */
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
}

static void test_companion_that_an_administrator_forgot_is_bound_with_the_next_pod(void **state)
{
        (void)state;
        load_nvidia("");
        load_modules("snd-hda-intel");
        bind_vfio(GEFORCE);
        assert_string_equal(driver_of(GEFORCE_AUDIO), "snd_hda_intel");
        (void)node_start("forgotten", NAMED_RULE("10de:2204", GEFORCE_RESOURCE));
        expect_counts(GEFORCE_RESOURCE, 1, 1);
        expect_device_becomes_usable("pod", GEFORCE_RESOURCE, "PCI_RESOURCE_TEST_EXAMPLE_GEFORCE", GEFORCE);
        assert_string_equal(driver_of(GEFORCE_AUDIO), "vfio-pci");
        node_stop();
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
}

/* The hand sits in the kernel, uninterruptibly. The daemon goes on: the device is stuck, the others are served. */
static void test_driver_that_does_not_let_go_in_time_makes_only_its_device_stuck(void **state)
{
        (void)state;
        load_nvidia("hold_remove=0");
        (void)node_start("stuck", CONFIG_HEAD "bindDeadline: 2s\nrules:\n- select: {ids: [\"10de:26b9\"]}\n  bind: on-allocate\n"
                                              "- select: {ids: [\"10de:2330\"]}\n  resource: " H100_RESOURCE "\n"
                                              "  bind: on-allocate\n");
        expect_counts(L40S_RESOURCE, 1, 1);
        int64_t start = now_ms();
        expect_refused("pod", L40S_RESOURCE, L40S, NULL);
        assert_true(now_ms() - start >= 2000 && now_ms() - start < 6000);
        expect_counts(L40S_RESOURCE, 1, 0);
        expect_device_becomes_usable("other", H100_RESOURCE, "PCI_RESOURCE_TEST_EXAMPLE_H100", H100);
        set_nvidia("hold_remove", "-1");
        await_hand(L40S);
        expect_counts(L40S_RESOURCE, 1, 0); /* stuck is stuck until the node boots again */
        expect_refused("again", L40S_RESOURCE, NULL, NULL);
        daemon_stop(SIGKILL); /* nor does the next daemon of this boot touch it */
        daemon_start();
        expect_counts(H100_RESOURCE, 1, 1);
        expect_counts(L40S_RESOURCE, 1, 0);
        node_stop();
}

/* The links go before the driver's own code is entered. */
static void await_remove_of(pid_t pid)
{
        for (int64_t end = now_ms() + 30000; !strstr(kernel_read("/proc/%d/stack", (int)pid), "remove"); sleep_ms(50))
                assert_true(now_ms() < end);
}

/* The kernel shows neither which device the task is at nor, any more, the device's driver. */
static void test_unbind_by_somebody_else_that_hangs_is_named_and_no_hand_joins_it(void **state)
{
        static const char *const unbind[] = { "sh", "-c", "echo " L40S " > /sys/bus/pci/drivers/nvidia/unbind", NULL };

        (void)state;
        load_nvidia("hold_remove=0");
        (void)node_start("wedged", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        struct process admin = start_program(NULL, unbind);
        assert_true(await_driver(L40S, "", 30000));
        await_remove_of(admin.pid);
        expect_refused("pod", L40S_RESOURCE, "(sh) hangs in the kernel", "has no driver and may be it");
        expect_counts(L40S_RESOURCE, 1, 1); /* nobody is stuck */
        set_nvidia("hold_remove", "-1");
        assert_int_equal(stop_process(&admin, 0), 0);
        expect_device_becomes_usable("after", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
}

/* By the modprobe of the machine, which this guest has elsewhere. */
static void test_vfio_pci_that_is_not_loaded_is_loaded_where_the_configuration_says_so(void **state)
{
        (void)state;
        load_nvidia("");
        assert_int_equal(RUN_PROGRAM(NULL, "mkdir", "-p", "/sbin"), 0);
        assert_int_equal(RUN_PROGRAM(NULL, "ln", "-sf", "/bin/busybox", "/sbin/modprobe"), 0);
        assert_int_equal(RUN_PROGRAM(NULL, "rmmod", "vfio_pci"), 0);
        assert_false(kernel_exists("/sys/bus/pci/drivers/vfio-pci"));
        (void)node_start("modules", CONFIG_HEAD "loadModules: true\nrules:\n- select: {ids: [\"10de:26b9\"]}\n  bind: on-allocate\n");
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_device_becomes_usable("pod", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
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
        /* What spares the walk over every process (holders_none_on_vfio): vfio-pci enables the device while it is open. */
        assert_string_equal(kernel_read(PCI L40S "/enable"), "0");
        struct process user = hold_device(group_of(L40S), L40S);
        assert_string_equal(kernel_read(PCI L40S "/enable"), "1");
        fk_pod_end(node_kubelet(), "first");
        expect_refused("second", L40S_RESOURCE, "vfio_user", "/dev/vfio/");
        (void)stop_process(&user, SIGKILL);
        assert_string_equal(kernel_read(PCI L40S "/enable"), "0");
        expect_device_becomes_usable("third", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
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
        await_registered(before);
        expect_counts(L40S_RESOURCE, 1, 1);
        assert_string_equal(driver_of(L40S), "vfio-pci");
        (void)stop_process(&user, SIGKILL);
        fk_pod_end(node_kubelet(), "pod");
        expect_device_becomes_usable("after", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
}

/* The hand is in the kernel when the daemon ends; the next daemon takes the device as it finds it. */
static void end_in_the_middle_of_a_plan(const char *label, int signal_number)
{
        struct admission pod;

        load_nvidia("hold_remove=0");
        (void)node_start(label, L40S_RULE "bindDeadline: 60s\n");
        expect_counts(L40S_RESOURCE, 1, 1);
        admission_start(&pod, "pod", L40S_RESOURCE);
        /* The link goes before the driver is asked. Nothing but links may be read now: driver_override would hang. */
        assert_true(await_driver(L40S, "", 30000));
        int64_t start = now_ms();
        daemon_stop(signal_number);            /* with SIGTERM: ends with 0 */
        assert_true(now_ms() - start < 30000); /* and does not wait for the kernel */
        assert_false(admission_end(&pod));

        unsigned before = fk_registers(node_kubelet());
        daemon_start();
        await_registered(before);
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_refused("too-early", L40S_RESOURCE, L40S, "another hand"); /* the former daemon's hand still has the card */
        set_nvidia("hold_remove", "-1");
        await_hand(L40S);
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_device_becomes_usable("after", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
}

static void test_daemon_killed_in_the_middle_of_a_plan_serves_the_device_again(void **state)
{
        (void)state;
        end_in_the_middle_of_a_plan("killed-in-plan", SIGKILL);
}

static void test_daemon_told_to_end_does_not_wait_for_a_hand_in_the_kernel(void **state)
{
        (void)state;
        end_in_the_middle_of_a_plan("ended-in-plan", SIGTERM);
}

/* Four cards whose driver takes 3 s each. */
static void test_cards_are_bound_in_parallel_at_start(void **state)
{
        static const char *const cards[] = { L40S, QUADRO "0", GEFORCE, H100 };
        int64_t start, end;

        (void)state;
        load_nvidia("slow_remove_ms=3000");
        load_modules("snd-hda-intel");
        start = now_ms();
        (void)node_start("parallel", CONFIG_HEAD "rules:\n- select: {ids: [\"10de:26b9\", \"10de:1e30\", \"10de:2204\", \"10de:2330\"]}\n"
                                                 "  bind: at-start\n  resource: test.example/ANY\n");
        expect_counts("test.example/ANY", 4, 4);
        end = now_ms();
        for (size_t i = 0; i < N_ELEMENTS(cards); i++)
                assert_string_equal(driver_of(cards[i]), "vfio-pci");
        assert_true(end - start >= 3000 && end - start < 4 * 3000);
        (void)printf("# 4 cards of 3 s each were bound and offered after %.1f s\n", (double)(end - start) / 1000);
        node_stop();
}

static void test_one_failing_card_undoes_the_whole_request(void **state)
{
        char text[FK_TEXT_MAX] = "";

        (void)state;
        load_nvidia("");
        (void)node_start("whole-request", NAMED_RULE("10de:26b9\", \"10de:2231", "test.example/BOTH"));
        expect_counts("test.example/BOTH", 2, 2);
        assert_int_not_equal(fk_admit_one(node_kubelet(), "pod", "test.example/BOTH", 2, text), 0);
        assert_string_equal(driver_of(L40S), "nvidia");
        assert_string_equal(driver_of(ODD), "nvidia");
        assert_string_equal(kernel_read(PCI L40S "/driver_override"), "(null)");
        assert_string_equal(kernel_read(UNBIND_LOCK), "0");
        node_stop();
}

static void test_second_daemon_waits_and_touches_nothing(void **state)
{
        (void)state;
        load_nvidia("");
        (void)node_start("first", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        unsigned before = fk_registers(node_kubelet());
        struct process second = daemon_start_second("second");
        sleep_ms(2000);
        assert_int_equal(fk_registers(node_kubelet()), before);
        expect_device_becomes_usable("pod", L40S_RESOURCE, L40S_VARIABLE, L40S); /* the first one serves on */
        fk_pod_end(node_kubelet(), "pod");
        daemon_stop(SIGTERM);
        await_registered(before);
        expect_counts(L40S_RESOURCE, 1, 1);
        assert_int_equal(stop_process(&second, SIGTERM), 0);
        node_stop();
}

/* Without the right to see other processes' descriptors: NVIDIA's own gate is evidence, its absence is not. */
static void test_blind_daemon_trusts_the_unbind_lock(void **state)
{
        (void)state;
        load_nvidia("");
        daemon_set_blind();
        struct process holder = hold_node("/dev/nvidia0");
        (void)node_start("blind-lock", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_refused("pod", L40S_RESOURCE, "nvidia-unbind-lock", NULL);
        assert_string_equal(driver_of(L40S), "nvidia");
        (void)stop_process(&holder, SIGKILL);
        expect_device_becomes_usable("after", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
}

static void test_blind_daemon_takes_nothing_from_a_driver_without_a_gate(void **state)
{
        (void)state;
        load_nvidia("");
        load_modules("snd-hda-intel");
        daemon_set_blind();
        (void)node_start("blind-audio", NAMED_RULE("10de:2204", GEFORCE_RESOURCE));
        expect_counts(GEFORCE_RESOURCE, 1, 1);
        expect_refused("pod", GEFORCE_RESOURCE, "holders-unknown", GEFORCE_AUDIO);
        assert_string_equal(driver_of(GEFORCE_AUDIO), "snd_hda_intel");
        assert_string_equal(driver_of(GEFORCE), "nvidia");
        node_stop();
}

int node_suite_gpu(void)
{
        const struct CMUnitTest node[] = {
                NODE_TEST(test_gpu_of_a_host_driver_is_allocated_bound_and_usable),
                NODE_TEST(test_without_the_hand_nothing_is_bound),
                NODE_TEST(test_card_with_four_functions_is_bound_as_a_whole),
                NODE_TEST(test_audio_companion_is_taken_from_its_host_driver),
                NODE_TEST(test_companion_that_an_administrator_forgot_is_bound_with_the_next_pod),
                NODE_TEST(test_without_configuration_only_what_is_on_vfio_is_offered_and_nothing_bound),
                NODE_TEST(test_at_start_binds_before_any_pod_asks),
                NODE_TEST(test_driver_that_is_slow_to_let_go_is_waited_for),
                NODE_TEST(test_driver_that_does_not_let_go_in_time_makes_only_its_device_stuck),
                NODE_TEST(test_vfio_pci_that_is_not_loaded_is_loaded_where_the_configuration_says_so),
                NODE_TEST(test_unbind_by_somebody_else_that_hangs_is_named_and_no_hand_joins_it),
                NODE_TEST(test_failed_bind_of_a_companion_is_rolled_back_to_the_host_driver),
                NODE_TEST(test_host_driver_that_does_not_come_back_is_said),
                NODE_TEST(test_holder_of_the_host_drivers_node_is_named_and_nothing_touched),
                NODE_TEST(test_second_pod_is_refused_while_the_first_ones_user_holds_the_group),
                NODE_TEST(test_unplugged_idle_device_turns_unhealthy_and_comes_back),
                NODE_TEST(test_killed_daemon_comes_back_to_the_bound_device),
                NODE_TEST(test_daemon_killed_in_the_middle_of_a_plan_serves_the_device_again),
                NODE_TEST(test_daemon_told_to_end_does_not_wait_for_a_hand_in_the_kernel),
                NODE_TEST(test_cards_are_bound_in_parallel_at_start),
                NODE_TEST(test_one_failing_card_undoes_the_whole_request),
                NODE_TEST(test_second_daemon_waits_and_touches_nothing),
                NODE_TEST(test_blind_daemon_trusts_the_unbind_lock),
                NODE_TEST(test_blind_daemon_takes_nothing_from_a_driver_without_a_gate),
        };
        return RUN_SUITE(node);
}
