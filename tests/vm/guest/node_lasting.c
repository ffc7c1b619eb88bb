/* SPDX-License-Identifier: Apache-2.0 */
/* Topology gpu: what must last when something ends in the middle: a card that is pulled out, a daemon that is killed while its
 * device is in use or its hand in the kernel, a disk that takes no more records. */
#include "cards.h"
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

#define PLUG_H100 "device_add xpci,id=gpu4,bus=rp4,x-ids=10de:2330:030200:10de:16c1"

/* Minors follow the order in which the kernel came to know the cards. */
static void hold_remove_of(const char *bdf)
{
        static const char word[] = "Device Minor: \t ";
        const char *minor = strstr(kernel_read("/proc/driver/nvidia/gpus/%s/information", bdf), word);

        assert_non_null(minor);
        set_nvidia("hold_remove", minor + strlen(word));
}

/* The kernel's removal of the card waits for the same device lock as the hand's next write: either may be first. */
static void test_card_pulled_out_in_the_middle_of_its_bind_is_not_given(void **state)
{
        struct admission pod;
        struct fk_run run = { 0 };
        char text[FK_TEXT_MAX] = "";

        (void)state;
        load_nvidia("");
        hold_remove_of(H100);
        (void)node_start("pulled-out", NAMED_RULE("10de:2330", H100_RESOURCE) "- select: {ids: [\"10de:26b9\"]}\n  bind: on-allocate\n"
                                                                              "bindDeadline: 30s\n");
        expect_counts(H100_RESOURCE, 1, 1);
        admission_start(&pod, "pod", H100_RESOURCE);
        assert_true(await_driver(H100, "", 10000));
        host_do("device_del gpu4");
        sleep_ms(1000);
        set_nvidia("hold_remove", "-1");
        if (admission_end(&pod)) {
                if (fk_container_start(node_kubelet(), "pod", "main", &run, text) == 0)
                        fail_msg("the container starts without its card");
                str_format(pod.text, sizeof(pod.text), "%s", text);
        }
        if (strstr(pod.text, H100) == NULL)
                fail_msg("does not name the card: %s", pod.text);
        assert_true(await_exists(false, 60000, PCI H100));
        expect_counts(H100_RESOURCE, 1, 0);
        expect_device_becomes_usable("other", L40S_RESOURCE, L40S_VARIABLE, L40S);
        fk_pod_end(node_kubelet(), "pod");
        host_do(PLUG_H100);
        expect_counts(H100_RESOURCE, 1, 1);
        expect_device_becomes_usable("after", H100_RESOURCE, H100_VARIABLE, H100);
        node_stop();
}

static void expect_still_held(const struct process *user, const char *pod)
{
        assert_string_equal(driver_of(L40S), "vfio-pci");
        assert_string_equal(kernel_read(PCI L40S "/driver_override"), "vfio-pci");
        assert_int_equal(kill(user->pid, 0), 0);
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_refused(pod, L40S_RESOURCE, "vfio_user", "/dev/vfio/");
        assert_string_equal(driver_of(L40S), "vfio-pci");
}

static void restart(int signal_number)
{
        unsigned before = fk_registers(node_kubelet());

        daemon_stop(signal_number);
        daemon_start();
        await_registered(before);
}

/* The pod's end is kubelet's word that the device is free; the descriptor's word counts more, whichever daemon asks it. */
static void test_open_vfio_device_stays_its_holders_over_restart_and_kill(void **state)
{
        struct fk_run run = { 0 };

        (void)state;
        load_nvidia("");
        (void)node_start("held-over-restarts", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        allocate("first", L40S_RESOURCE, 1, &run);
        fk_run_done(&run);
        struct process user = hold_device(group_of(L40S), L40S);
        fk_pod_end(node_kubelet(), "first");
        expect_still_held(&user, "second");
        restart(SIGTERM);
        expect_still_held(&user, "third");
        restart(SIGKILL);
        expect_still_held(&user, "fourth");
        (void)stop_process(&user, SIGKILL);
        expect_device_becomes_usable("fifth", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
}

#define CLAIM NODE_STATE_DIR "/claims/kubelet:" L40S ".record"

/* Kubelet's lists leave the pod out ten times a second; this kernel's vfio-pci, and /proc, say that somebody has the group open. */
static void test_claim_outlives_its_pod_until_the_device_is_closed(void **state)
{
        struct fk_run run = { 0 };

        (void)state;
        load_nvidia("");
        daemon_set_quick_pods();
        (void)node_start("pod-gone", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        allocate("first", L40S_RESOURCE, 1, &run);
        fk_run_done(&run);
        struct process user = hold_device(group_of(L40S), L40S);
        assert_true(await_exists(true, 10000, CLAIM));
        sleep_ms(1000); /* it is seen */
        fk_pod_end(node_kubelet(), "first");
        assert_false(await_exists(false, 4000, CLAIM));
        (void)stop_process(&user, SIGKILL);
        assert_true(await_exists(false, 30000, CLAIM));
        assert_string_equal(driver_of(L40S), "vfio-pci");
        expect_device_becomes_usable("second", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
}

/* The new pod of an upgrade: it has the state directory the moment the old daemon is gone, and the old one's hand is still at
 * work in the kernel. */
static void test_waiting_daemon_takes_over_from_one_that_is_killed_in_the_middle_of_a_plan(void **state)
{
        struct admission pod;

        (void)state;
        load_nvidia("hold_remove=0");
        (void)node_start("upgrade-old", L40S_RULE "bindDeadline: 60s\n");
        expect_counts(L40S_RESOURCE, 1, 1);
        struct process second = daemon_start_second("upgrade-new");
        admission_start(&pod, "pod", L40S_RESOURCE);
        assert_true(await_driver(L40S, "", 30000));
        unsigned before = fk_registers(node_kubelet());
        daemon_stop(SIGKILL);
        assert_false(admission_end(&pod));
        await_registered(before);
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_refused("too-early", L40S_RESOURCE, L40S, "another hand");
        assert_string_equal(driver_of(L40S), "");
        set_nvidia("hold_remove", "-1");
        await_hand(L40S);
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_device_becomes_usable("after", L40S_RESOURCE, L40S_VARIABLE, L40S);
        assert_int_equal(stop_process(&second, SIGTERM), 0);
        node_stop();
}

static bool is_original_recorded(void)
{
        return RUN_PROGRAM(NULL, "sh", "-c", "ls " NODE_STATE_DIR "/originals/* > /dev/null 2>&1") == 0;
}

/* As in a container: with the daemon its hand ends, and what it was about to do next is not done. */
static void test_hand_that_dies_with_its_daemon_between_two_steps_is_undone_by_the_next(void **state)
{
        struct admission pod;

        (void)state;
        load_nvidia("hold_remove=0");
        (void)node_start("died-together", L40S_RULE "bindDeadline: 60s\n");
        expect_counts(L40S_RESOURCE, 1, 1);
        admission_start(&pod, "pod", L40S_RESOURCE);
        assert_true(await_driver(L40S, "", 30000));
        assert_true(is_original_recorded());
        daemon_stop(SIGKILL);
        (void)RUN_PROGRAM(NULL, "killall", "-9", "sluice-hand"); /* it ends when the kernel lets it */
        assert_false(admission_end(&pod));
        set_nvidia("hold_remove", "-1");
        await_hand(L40S);
        assert_string_equal(driver_of(L40S), "");
        assert_string_equal(kernel_read(PCI L40S "/driver_override"), "vfio-pci");
        unsigned before = fk_registers(node_kubelet());
        daemon_start();
        await_registered(before);
        assert_true(await_driver(L40S, "nvidia", 30000));
        assert_string_equal(kernel_read(PCI L40S "/driver_override"), "(null)");
        assert_string_equal(kernel_read(UNBIND_LOCK), "0");
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_device_becomes_usable("after", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
}

/* Takes the last byte of the state directory's file system, or its last inode. */
static void fill_up(bool bytes)
{
        static const char zeros[4096];
        char path[64];

        for (unsigned i = 0;; i++) {
                str_format(path, sizeof(path), NODE_STATE_DIR "/filler-%u", i);
                _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                if (fd < 0 || (bytes && write(fd, zeros, sizeof(zeros)) < 0)) {
                        assert_int_equal(errno, ENOSPC);
                        return;
                }
        }
}

static void make_room(void)
{
        assert_int_equal(RUN_PROGRAM(NULL, "sh", "-c", "rm " NODE_STATE_DIR "/filler-*"), 0);
}

static void expect_refused_untouched(const char *pod)
{
        expect_refused(pod, L40S_RESOURCE, "[not-recorded]", NULL);
        assert_string_equal(driver_of(L40S), "nvidia");
        assert_string_equal(kernel_read(PCI L40S "/driver_override"), "(null)");
        assert_string_equal(kernel_read(UNBIND_LOCK), "0");
        expect_counts(L40S_RESOURCE, 1, 1);
}

static void test_without_room_for_a_record_nothing_is_touched(void **state)
{
        (void)state;
        load_nvidia("");
        node_mount_state("size=128k,nr_inodes=100");
        (void)node_start("state-full", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        fill_up(true);
        expect_refused_untouched("no-bytes");
        make_room();
        fill_up(false);
        expect_refused_untouched("no-inodes");
        make_room();
        expect_device_becomes_usable("after", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
}

#define ORIGINAL NODE_STATE_DIR "/originals/" L40S ".record"

/* Ours, and what it was before is not forgotten. */
static void expect_bound_by_us(void)
{
        assert_true(await_driver(L40S, "vfio-pci", 30000));
        assert_string_equal(kernel_read(PCI L40S "/driver_override"), "vfio-pci");
        assert_int_equal(RUN_PROGRAM(NULL, "grep", "-qF", "\"driver\":\"nvidia\"", ORIGINAL), 0);
}

static void remove_vfio_pci(void)
{
        assert_int_equal(RUN_PROGRAM(NULL, "rmmod", "vfio_pci"), 0); /* nobody has a device open, so the kernel lets it go */
        assert_string_equal(driver_of(L40S), "");
}

/* By an administrator, who updates it: with Sluice running, and stopped. The override that stays brings the device back. */
static void test_vfio_pci_that_is_removed_and_loaded_again_has_its_devices_back(void **state)
{
        struct fk_run run = { 0 };

        (void)state;
        load_nvidia("");
        (void)node_start("vfio-pci-reloaded", L40S_RULE);
        expect_counts(L40S_RESOURCE, 1, 1);
        allocate("first", L40S_RESOURCE, 1, &run);
        fk_run_done(&run);
        fk_pod_end(node_kubelet(), "first");
        remove_vfio_pci();
        expect_counts(L40S_RESOURCE, 1, 0);
        load_modules("vfio-pci");
        expect_bound_by_us();
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_device_becomes_usable("second", L40S_RESOURCE, L40S_VARIABLE, L40S);
        fk_pod_end(node_kubelet(), "second");

        unsigned before = fk_registers(node_kubelet());
        daemon_stop(SIGTERM);
        remove_vfio_pci();
        daemon_start();
        await_registered(before);
        expect_counts(L40S_RESOURCE, 1, 0);
        load_modules("vfio-pci");
        expect_bound_by_us();
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_device_becomes_usable("third", L40S_RESOURCE, L40S_VARIABLE, L40S);
        fk_pod_end(node_kubelet(), "third");

        before = fk_registers(node_kubelet());
        daemon_stop(SIGKILL);
        remove_vfio_pci();
        load_modules("vfio-pci");
        daemon_start();
        await_registered(before);
        expect_bound_by_us();
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_device_becomes_usable("fourth", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
}

/* What a VM has is not the driver's any more, so that it does not notice; the driver's other card is given as ever. */
static void test_host_driver_that_is_reloaded_touches_nothing_of_ours(void **state)
{
        struct fk_run run = { 0 };

        (void)state;
        load_nvidia("");
        (void)node_start("host-driver-reloaded",
                         NAMED_RULE("10de:2330", H100_RESOURCE) "- select: {ids: [\"10de:26b9\"]}\n  bind: on-allocate\n");
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_counts(H100_RESOURCE, 1, 1);
        allocate("first", L40S_RESOURCE, 1, &run);
        fk_run_done(&run);
        struct process user = hold_device(group_of(L40S), L40S);
        unload_nvidia();
        assert_string_equal(driver_of(H100), "");
        sleep_ms(1000);
        expect_bound_by_us();
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_counts(H100_RESOURCE, 1, 1); /* idle without a driver is as good */
        load_nvidia("");
        assert_true(await_driver(H100, "nvidia", 10000));
        expect_bound_by_us();
        fk_pod_end(node_kubelet(), "first");
        expect_still_held(&user, "second");
        expect_device_becomes_usable("other", H100_RESOURCE, H100_VARIABLE, H100);
        (void)stop_process(&user, SIGKILL);
        expect_device_becomes_usable("third", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
}

int node_suite_lasting(void)
{
        const struct CMUnitTest lasting[] = {
                NODE_TEST(test_card_pulled_out_in_the_middle_of_its_bind_is_not_given),
                NODE_TEST(test_open_vfio_device_stays_its_holders_over_restart_and_kill),
                NODE_TEST(test_claim_outlives_its_pod_until_the_device_is_closed),
                NODE_TEST(test_waiting_daemon_takes_over_from_one_that_is_killed_in_the_middle_of_a_plan),
                NODE_TEST(test_hand_that_dies_with_its_daemon_between_two_steps_is_undone_by_the_next),
                NODE_TEST(test_without_room_for_a_record_nothing_is_touched),
                NODE_TEST(test_vfio_pci_that_is_removed_and_loaded_again_has_its_devices_back),
                NODE_TEST(test_host_driver_that_is_reloaded_touches_nothing_of_ours),
        };
        return RUN_SUITE(lasting);
}
