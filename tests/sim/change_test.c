/* SPDX-License-Identifier: Apache-2.0 */
/* The world and the configuration change under a running daemon; and registration by the plugin watcher. */
#include "rig.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/tree.h"

static const char GPU0[] = "0000:18:00.0", GPU1[] = "0000:19:00.0";

static void test_a_gpu_that_vanishes_turns_unhealthy_and_comes_back(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", CONFIG "rescan: 10m\n"); /* only events can tell */
        rig_ready(rig, L40S, 8, 8);
        rig_unplug(rig, GPU0);
        rig_ready(rig, L40S, 8, 7); /* never dropped: capacity stays */
        assert_string_equal(rig_health(rig, L40S, GPU0), "Unhealthy");
        (void)usleep(700 * 1000);
        assert_int_equal(rig_counts(rig, L40S).lists, 2); /* one change, one message */
        rig_plug(rig, GPU0);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static void test_a_gpu_that_comes_back_is_healthy_again(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        for (unsigned i = 0; i < 3; i++) {
                rig_unplug(rig, GPU0);
                rig_ready(rig, L40S, 8, 7);
                rig_plug(rig, GPU0);
                rig_ready(rig, L40S, 8, 8);
        }
        struct fk_run run = rig_run(rig, "pod", L40S, 8);
        fk_run_done(&run);
        rig_stop(rig);
}

/* Events only make it faster: what none tells of is seen, and told to kubelet, at the next look by the clock. */
static void test_what_no_event_tells_of_is_found_by_the_rescan(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", CONFIG "rescan: 5s\n");
        rig_ready(rig, L40S, 8, 8);
        (void)usleep(500 * 1000); /* what the start itself looks again for */
        int sys = sim_tree(rig->sim)->sys;
        assert_int_equal(renameat(sys, "bus/pci/devices/0000:18:00.0", sys, "bus/pci/elsewhere"), 0);
        int64_t before = clock_ms();
        rig_ready(rig, L40S, 8, 7);
        assert_string_equal(rig_health(rig, L40S, GPU0), "Unhealthy");
        assert_in_range(clock_ms() - before, 500, 8000);
        assert_int_equal(renameat(sys, "bus/pci/elsewhere", sys, "bus/pci/devices/0000:18:00.0"), 0);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static void test_an_id_in_flight_is_never_dropped(void **state)
{
        struct rig *rig = *state;

        /* 1.34 and later crash on it: the fake does too, and rig_stop would say so. Before, the pod got a device that
         * nobody had any more. */
        static const char *const profiles[] = { "1.36", "1.33" };
        for (size_t p = 0; p < N_ELEMENTS(profiles); p++) {
                if (p > 0) {
                        assert_int_equal(rig_teardown(state), 0);
                        assert_int_equal(rig_setup(state), 0);
                        rig = *state;
                }
                rig_open(rig, "l40s-8", profiles[p], ON_ALLOCATE);
                rig_ready(rig, L40S, 8, 8);
                rig_fault(rig, "unbind * delay 400");
                for (unsigned i = 0; i < 4; i++) {
                        char pod[8];
                        str_format(pod, sizeof(pod), "p%u", i);
                        rig_unplug(rig, GPU1);
                        (void)fk_admit_one(rig->k, pod, L40S, 2, rig->text); /* granted or refused, both are right */
                        assert_true(rig_wait_health(rig, L40S, GPU1, "Unhealthy", RIG_SOON_MS));
                        assert_int_equal(rig_counts(rig, L40S).capacity, 8);
                        rig_plug(rig, GPU1);
                        fk_pod_end(rig->k, pod);
                }
                assert_string_equal(fk_crash(rig->k), "");
                rig_stop(rig);
        }
}

/* The only thing that says so is the write itself: the next look by the clock is far away. */
static void test_a_vgpu_type_that_is_set_by_hand_is_offered_at_once(void **state)
{
        static const char name[] = "nvidia.com/NVIDIA_L40S-24Q";
        struct rig *rig = *state;

        rig_open(rig, "vgpu-l40s", "1.34", CONFIG "rescan: 10m\nrules:\n  - select: {}\n");
        rig_ready(rig, name, 2, 2);
        (void)usleep(2000 * 1000); /* what hands read at the start leads to a look, too */
        _cleanup_free_ char *path = xasprintf("%s/sys/bus/pci/devices/0000:26:00.6/nvidia/current_vgpu_type", rig->sim_dir);
        FILE *file = fopen(path, "we");
        assert_non_null(file);
        assert_true(fputs("1155\n", file) >= 0);
        assert_int_equal(fclose(file), 0);
        rig_ready(rig, name, 3, 3);
        rig_stop(rig);
}

static void test_a_burst_of_changes_is_a_few_messages(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        unsigned before = rig_counts(rig, L40S).lists;
        int64_t start = clock_ms();
        for (unsigned i = 0; i < 25; i++) { /* 50 changes */
                rig_unplug(rig, GPU0);
                rig_plug(rig, GPU0);
        }
        rig_unplug(rig, GPU1);
        rig_ready(rig, L40S, 8, 7);
        (void)usleep(600 * 1000);
        unsigned messages = rig_counts(rig, L40S).lists - before;
        unsigned allowed = 2 + (unsigned)((clock_ms() - start) / 250);
        if (messages > allowed || messages >= 25)
                fail_msg("%u messages for 51 changes, %u are the most in this time", messages, allowed);
        assert_string_equal(rig_health(rig, L40S, GPU0), "Healthy"); /* the latest value wins */
        assert_string_equal(rig_health(rig, L40S, GPU1), "Unhealthy");
        rig_stop(rig);
}

static bool driver_is(struct rig *rig, const char *bdf, const char *driver)
{
        char now[64];

        rig_driver(rig, bdf, now, sizeof(now));
        return streq(now, driver);
}

static void test_at_start_binds_all_cards_in_parallel_before_the_first_list(void **state)
{
        static const char *const others[] = { "0000:19:00.0", "0000:3a:00.0", "0000:3b:00.0", "0000:9a:00.0",
                                              "0000:9b:00.0", "0000:ba:00.0", "0000:bb:00.0" };
        struct rig *rig = *state;
        const char *ids[] = { GPU0 };

        rig_prepare(rig, "l40s-8", AT_START "bindDeadline: 60s\n");
        rig_fault(rig, "unbind 0000:18:00.0 hang");
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        for (size_t i = 0; i < N_ELEMENTS(others); i++) { /* they do not wait for the first */
                for (int64_t until = clock_ms() + RIG_SOON_MS; !driver_is(rig, others[i], "vfio-pci") && clock_ms() < until;)
                        (void)usleep(5000);
                assert_driver(rig, others[i], "vfio-pci");
        }
        assert_driver(rig, GPU0, ""); /* out of sight, and still there */
        assert_int_equal(fk_registers(rig->k), 0);
        rig_fault(rig, ""); /* the driver lets go at last */
        rig_ready(rig, L40S, 8, 8);
        assert_driver(rig, GPU0, "vfio-pci");
        assert_int_equal(rig_counts(rig, L40S).lists, 1);
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), 0);
        rig_stop(rig);
}

static void test_a_bind_at_start_that_fails_does_not_keep_the_others(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8", AT_START);
        rig_fault(rig, "unbind 0000:18:00.0 refuse EIO");
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        assert_true(rig_wait_health(rig, L40S, GPU1, "Healthy", RIG_SOON_MS));
        assert_driver(rig, GPU0, "nvidia");
        assert_driver(rig, GPU1, "vfio-pci");
        rig_stop(rig);
}

static void test_a_good_configuration_is_put_in_force_by_sighup(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8", "1.34", NULL);
        assert_true(rig_logged(rig, "nothing is offered", RIG_SOON_MS));
        rig_config(rig, ON_ALLOCATE);
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        rig_ready(rig, L40S, 8, 8);
        rig_config(rig, CONFIG "rules:\n  - select: {addresses: [\"0000:18:00.0\"]}\n    deny: true\n"
                               "  - select: {ids: [\"10de:26b9\"]}\n    bind: on-allocate\n");
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        rig_ready(rig, L40S, 8, 7); /* it was listed, so it stays, Unhealthy */
        assert_string_equal(rig_health(rig, L40S, GPU0), "Unhealthy");
        rig_stop(rig);
}

static void test_a_bad_configuration_keeps_the_old_one_in_force(void **state)
{
        struct rig *rig = *state;
        const char *ids[] = { GPU0 };

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        rig_config(rig, CONFIG "rulez: []\nrules:\n  - bind: sometimes\n");
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        assert_true(rig_logged(rig, "rulez", RIG_SOON_MS));
        assert_true(rig_logged(rig, "sometimes", RIG_SOON_MS));
        assert_true(rig_logged(rig, "stays", RIG_SOON_MS));
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), 0);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static void test_a_new_name_takes_effect_at_the_next_start_only(void **state)
{
        struct rig *rig = *state;
        char names[4][FK_RESOURCE_MAX];

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        rig_config(rig, CONFIG "rules:\n  - resource: example.com/big\n");
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        assert_true(rig_logged(rig, "in force", RIG_SOON_MS));
        (void)usleep(500 * 1000);
        assert_int_equal(fk_resources(rig->k, names, 4), 1);
        rig_ready(rig, L40S, 8, 8);
        assert_true(rig_logged(rig, "example.com/big", RIG_SOON_MS)); /* said */
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        rig_daemon(rig);
        rig_ready(rig, "example.com/big", 8, 8);
        assert_int_equal(rig_counts(rig, L40S).allocatable, 0);
        rig_stop(rig);
}

/* ---- what changes between the list and the Allocate, and nobody has told ---- */

static void write_file(struct rig *rig, const char *path, const char *text)
{
        _cleanup_free_ char *whole = xasprintf("%s/%s", rig->sim_dir, path);
        FILE *file = fopen(whole, "we");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void assert_refused(struct rig *rig, const char *id, const char *why)
{
        if (fk_raw_allocate(rig->k, L40S, &id, 1, rig->text) == 0 || !strstr(rig->text, why))
                fail_msg("%s instead of %s: %s", id, why, rig->text);
}

static void open_unheard(struct rig *rig, const char *fixture, const char *config)
{
        rig_open(rig, fixture, "1.34", config);
        rig_ready(rig, L40S, 8, 8);
        (void)usleep(500 * 1000); /* what the start itself looks again for */
}

/* By hand, as a link is changed: no event tells of it. */
static void take_by_driver(struct rig *rig, const char *bdf, const char *driver)
{
        _cleanup_free_ char *link = xasprintf("bus/pci/devices/%s/driver", bdf), *to = xasprintf("../../../../bus/pci/drivers/%s", driver);
        _cleanup_free_ char *cdev = xasprintf("bus/pci/devices/%s/vfio-dev", bdf), *was = xasprintf("bus/pci/devices/%s/vfio-was", bdf);
        int sys = sim_tree(rig->sim)->sys;

        assert_int_equal(renameat(sys, cdev, sys, was), 0);
        assert_int_equal(unlinkat(sys, link, 0), 0);
        assert_int_equal(symlinkat(to, sys, link), 0);
}

static void test_a_driver_that_changed_since_the_list_is_seen_by_the_allocate(void **state)
{
        struct rig *rig = *state;

        open_unheard(rig, "l40s-8-vfio", CONFIG "rescan: 10m\n");
        take_by_driver(rig, GPU0, "nvidia");
        assert_refused(rig, GPU0, "not-bound");
        assert_true(rig_wait_health(rig, L40S, GPU0, "Unhealthy", RIG_SOON_MS));
        assert_int_equal(fk_raw_allocate(rig->k, L40S, (const char *const[]){ GPU1 }, 1, rig->text), 0);
        rig_stop(rig);
}

/* Where a rule lets it be bound, it is bound again. */
static void test_a_driver_that_changed_since_the_list_is_bound_again_where_a_rule_says_so(void **state)
{
        struct rig *rig = *state;
        const char *const id = GPU0;

        open_unheard(rig, "l40s-8", ON_ALLOCATE "rescan: 10m\n");
        assert_int_equal(fk_raw_allocate(rig->k, L40S, &id, 1, rig->text), 0);
        assert_driver(rig, GPU0, "vfio-pci");
        (void)usleep(500 * 1000);
        take_by_driver(rig, GPU0, "nvidia");
        if (fk_raw_allocate(rig->k, L40S, &id, 1, rig->text) != 0)
                fail_msg("%s", rig->text);
        assert_driver(rig, GPU0, "vfio-pci");
        rig_stop(rig);
}

static void test_a_card_that_moved_since_the_list_is_not_given_under_its_old_address(void **state)
{
        struct rig *rig = *state;

        open_unheard(rig, "l40s-8-vfio", CONFIG "rescan: 10m\n");
        int sys = sim_tree(rig->sim)->sys;
        assert_int_equal(renameat(sys, "bus/pci/devices/0000:18:00.0", sys, "bus/pci/devices/0000:28:00.0"), 0);
        assert_refused(rig, GPU0, "gone");
        assert_true(rig_wait_health(rig, L40S, GPU0, "Unhealthy", RIG_SOON_MS));
        assert_int_equal(fk_raw_allocate(rig->k, L40S, (const char *const[]){ GPU1 }, 1, rig->text), 0);
        rig_stop(rig);
}

/* On its predecessor's driver, in a group of the same number. */
static void test_another_card_at_its_address_is_not_given_for_it(void **state)
{
        struct rig *rig = *state;

        open_unheard(rig, "l40s-8-vfio", CONFIG "rescan: 10m\n");
        write_file(rig, "sys/bus/pci/devices/0000:18:00.0/device", "0x2235\n");
        assert_refused(rig, GPU0, "no-longer-offered");
        assert_true(rig_wait_health(rig, L40S, GPU0, "Unhealthy", RIG_SOON_MS));
        assert_int_equal(fk_raw_allocate(rig->k, L40S, (const char *const[]){ GPU1 }, 1, rig->text), 0);
        rig_stop(rig);
}

/* Path B */

#define WATCHER CONFIG "registration: watcher\n"

static void watcher_works(struct rig *rig, const char *profile)
{
        rig_open(rig, "l40s-8-vfio", profile, WATCHER);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_registers(rig->k), 0); /* one way per resource */
        for (int64_t until = clock_ms() + RIG_SOON_MS; fk_calls(rig->k).notify_ok == 0 && clock_ms() < until;)
                (void)usleep(5000);
        assert_int_equal(fk_calls(rig->k).notify_ok, 1);
        struct fk_run run = rig_run(rig, "pod", L40S, 2);
        assert_int_equal(run.n_envs, 1);
        fk_run_done(&run);
        assert_true(fk_restart(rig->k, 0));
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_registers(rig->k), 0);
        rig_stop(rig);
}

static void test_the_watcher_of_1_26_registers_us(void **state)
{
        watcher_works(*state, "1.26");
}

static void test_the_watcher_of_1_34_registers_us(void **state)
{
        watcher_works(*state, "1.34");
}

static void test_the_watcher_of_1_37_registers_us(void **state)
{
        watcher_works(*state, "1.37");
}

static void test_a_killed_daemon_is_registered_again_by_the_watcher(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", WATCHER);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        rig_ready(rig, L40S, 8, 0);
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_a_gpu_that_vanishes_turns_unhealthy_and_comes_back),
                RIG_TEST(test_a_gpu_that_comes_back_is_healthy_again),
                RIG_TEST(test_what_no_event_tells_of_is_found_by_the_rescan),
                RIG_TEST(test_an_id_in_flight_is_never_dropped),
                RIG_TEST(test_a_vgpu_type_that_is_set_by_hand_is_offered_at_once),
                RIG_TEST(test_a_burst_of_changes_is_a_few_messages),
                RIG_TEST(test_at_start_binds_all_cards_in_parallel_before_the_first_list),
                RIG_TEST(test_a_bind_at_start_that_fails_does_not_keep_the_others),
                RIG_TEST(test_a_good_configuration_is_put_in_force_by_sighup),
                RIG_TEST(test_a_bad_configuration_keeps_the_old_one_in_force),
                RIG_TEST(test_a_new_name_takes_effect_at_the_next_start_only),
                RIG_TEST(test_a_driver_that_changed_since_the_list_is_seen_by_the_allocate),
                RIG_TEST(test_a_driver_that_changed_since_the_list_is_bound_again_where_a_rule_says_so),
                RIG_TEST(test_a_card_that_moved_since_the_list_is_not_given_under_its_old_address),
                RIG_TEST(test_another_card_at_its_address_is_not_given_for_it),
                RIG_TEST(test_the_watcher_of_1_26_registers_us),
                RIG_TEST(test_the_watcher_of_1_34_registers_us),
                RIG_TEST(test_the_watcher_of_1_37_registers_us),
                RIG_TEST(test_a_killed_daemon_is_registered_again_by_the_watcher),
        };

        return RUN(tests);
}
