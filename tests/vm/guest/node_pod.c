/* SPDX-License-Identifier: Apache-2.0 */
/* Topology gpu, sluiced with the rights that the Helm chart gives it in each variant, and no other: what they are enough for. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cards.h"
#include "node.h"

#define CLAIM NODE_STATE_DIR "/claims/kubelet:" L40S ".record"
#define SEES  "0000000000080004" /* CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH */
#define NONE  "0000000000000000"

#define AT_START_RULE CONFIG_HEAD "rules:\n- select: {ids: [\"10de:26b9\"]}\n  bind: at-start\n"

/* The daemon and its hand. */
static void expect_capabilities(const char *want)
{
        char line[64], path[64];

        str_format(line, sizeof(line), "CapEff:\t%s", want);
        int hand = atoi(kernel_read("/proc/%d/task/%d/children", (int)daemon_pid(), (int)daemon_pid()));
        assert_string_equal(kernel_read("/proc/%d/comm", hand), "sluice-hand");
        const int pids[] = { (int)daemon_pid(), hand };
        for (size_t i = 0; i < 2; i++) {
                char output[OUTPUT_BYTES];
                str_format(path, sizeof(path), "/proc/%d/status", pids[i]);
                assert_int_equal(RUN_PROGRAM(output, "grep", "CapEff", path), 0);
                if (strstr(output, line) == NULL)
                        fail_msg("process %d has %s instead of %s", pids[i], output, line);
        }
}

static void test_pod_that_sees_holders_names_them_and_binds_what_is_idle(void **state)
{
        (void)state;
        load_nvidia("");
        daemon_set_pod("passthrough");
        struct process holder = hold_node("/dev/nvidia0");
        (void)node_start("pod", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_capabilities(SEES);
        expect_refused("held", L40S_RESOURCE, "holder", "/dev/nvidia0");
        assert_string_equal(driver_of(L40S), "nvidia");
        (void)stop_process(&holder, SIGKILL);
        expect_device_becomes_usable("pod", L40S_RESOURCE, L40S_VARIABLE, L40S);
        assert_string_equal(driver_of(L40S), "vfio-pci");
        node_stop();
}

/* The node appears after the pod's mounts were made, and the removed one turns the device unhealthy: all of /dev is mounted. */
static void test_pod_without_any_capability_binds_and_hands_out(void **state)
{
        (void)state;
        load_nvidia("");
        daemon_set_pod("passthroughBlind");
        (void)node_start("pod-blind", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_capabilities(NONE);
        expect_device_becomes_usable("pod", L40S_RESOURCE, L40S_VARIABLE, L40S);
        assert_string_equal(driver_of(L40S), "vfio-pci");
        node_stop();
}

static void test_pod_without_sight_takes_nothing_from_a_driver_without_a_gate(void **state)
{
        (void)state;
        load_nvidia("");
        load_modules("snd-hda-intel");
        daemon_set_pod("passthroughBlind");
        (void)node_start("pod-blind-audio", NAMED_RULE("10de:2204", GEFORCE_RESOURCE));
        expect_counts(GEFORCE_RESOURCE, 1, 1);
        expect_refused("pod", GEFORCE_RESOURCE, "holders-unknown", GEFORCE_AUDIO);
        assert_string_equal(driver_of(GEFORCE_AUDIO), "snd_hda_intel");
        node_stop();
}

static void test_read_only_pod_hands_out_what_is_bound(void **state)
{
        (void)state;
        load_nvidia("");
        bind_vfio(L40S);
        daemon_set_pod("readOnly");
        (void)node_start("pod-read-only", NULL);
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_capabilities(NONE);
        expect_device_becomes_usable("pod", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
}

static void test_read_only_pod_that_is_told_to_bind_refuses_and_changes_nothing(void **state)
{
        (void)state;
        load_nvidia("");
        daemon_set_pod("readOnly");
        (void)node_start("pod-read-only-bind", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_refused("pod", L40S_RESOURCE, "Read-only file system", NULL);
        assert_string_equal(driver_of(L40S), "nvidia");
        assert_string_equal(kernel_read(PCI L40S "/driver_override"), "(null)");
        node_stop();
}

static void expect_left(const char *word, const char *why)
{
        char text[OUTPUT_BYTES];

        int status = RUN_PROGRAM(text, "sluicectl", "release", "--idle");
        if (status != 5 || strstr(text, word) == NULL || strstr(text, why) == NULL)
                fail_msg("release --idle: status %d: %s", status, text);
        assert_string_equal(driver_of(L40S), "vfio-pci");
}

static void test_read_only_pod_gives_nothing_back_of_what_another_variant_bound(void **state)
{
        (void)state;
        load_nvidia("");
        (void)node_start("pod-read-only-idle", AT_START_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        unsigned before = fk_registers(node_kubelet());
        daemon_stop(SIGTERM);
        daemon_set_pod("readOnly");
        daemon_start();
        await_registered(before);
        expect_left("left: step-failed: ", "Read-only file system");
        expect_counts(L40S_RESOURCE, 1, 1);
        node_stop();
}

/* It sees nobody's descriptors; whether somebody has the device enabled the kernel itself says. */
static void test_blind_pod_gives_back_what_nobody_has_enabled(void **state)
{
        char text[OUTPUT_BYTES];

        (void)state;
        load_nvidia("");
        daemon_set_pod("passthroughBlind");
        (void)node_start("pod-blind-idle", AT_START_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        struct process user = hold_device(group_of(L40S), L40S);
        expect_left("left: holders-unknown: ", L40S);
        (void)stop_process(&user, SIGKILL);
        assert_int_equal(RUN_PROGRAM(text, "sluicectl", "release", "--idle"), 0);
        assert_string_equal(driver_of(L40S), "nvidia");
        node_stop();
}

/* Without more rights than for a bind: the VM's process is seen, and when it has closed the device both writes are made. */
static void test_pod_that_sees_holders_resets_and_gives_back_what_is_closed(void **state)
{
        struct fk_run run = { 0 };

        (void)state;
        load_nvidia("");
        daemon_set_pod("passthrough");
        daemon_set_quick_pods();
        (void)node_start("pod-release", L40S_RULE "  release: reset+restore\n");
        expect_counts(L40S_RESOURCE, 1, 1);
        allocate("pod", L40S_RESOURCE, 1, &run);
        fk_run_done(&run);
        struct process user = hold_device(group_of(L40S), L40S);
        sleep_ms(1000); /* it is seen */
        fk_pod_end(node_kubelet(), "pod");
        sleep_ms(2000);
        assert_string_equal(driver_of(L40S), "vfio-pci");
        (void)stop_process(&user, SIGKILL);
        assert_true(await_driver(L40S, "nvidia", 30000));
        assert_true(await_exists(false, 30000, CLAIM));
        assert_int_equal(RUN_PROGRAM(NULL, "grep", "-qF", L40S " was reset (flr)", "/share/log/pod-release.log"), 0);
        expect_counts(L40S_RESOURCE, 1, 1);
        node_stop();
}

int node_suite_pod(void)
{
        const struct CMUnitTest pod[] = {
                NODE_TEST(test_pod_that_sees_holders_names_them_and_binds_what_is_idle),
                NODE_TEST(test_pod_that_sees_holders_resets_and_gives_back_what_is_closed),
                NODE_TEST(test_pod_without_any_capability_binds_and_hands_out),
                NODE_TEST(test_pod_without_sight_takes_nothing_from_a_driver_without_a_gate),
                NODE_TEST(test_read_only_pod_hands_out_what_is_bound),
                NODE_TEST(test_read_only_pod_that_is_told_to_bind_refuses_and_changes_nothing),
                NODE_TEST(test_read_only_pod_gives_nothing_back_of_what_another_variant_bound),
                NODE_TEST(test_blind_pod_gives_back_what_nobody_has_enabled),
        };
        return RUN_SUITE(pod);
}
