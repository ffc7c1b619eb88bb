/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a device whose pod has gone, by its rule: sluiced, hands and kubelet's lists are real, and quick. */
#include "rig.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"

#define GPU0       "0000:18:00.0"
#define AWAKE      "    power: on\n"
#define BACK_AGAIN ON_ALLOCATE "    release: reset+restore\n"

static void start_daemon(struct rig *rig)
{
        static char program[512];
        const char *bin = getenv("SLUICE_BIN");

        str_format(program, sizeof(program), "%s/sluiced-quick-pods", bin ? bin : "build/asan/bin");
        rig->program = program;
        rig_daemon(rig);
}

static bool says(struct rig *rig, const char *dir, const char *text)
{
        _cleanup_free_ char *path = xasprintf("%s/%s", rig->state_dir, dir);
        _cleanup_fs_list_ struct fs_list list = { 0 };
        char content[8192];
        struct err err;

        if (fs_list(AT_FDCWD, path, &list, &err) < 0)
                return false;
        for (size_t i = 0; i < list.n; i++) {
                _cleanup_free_ char *record = xasprintf("%s/%s", path, list.names[i]);
                if (fs_read(AT_FDCWD, record, content, sizeof(content), NULL, &err) >= 0 && strstr(content, text))
                        return true;
        }
        return false;
}

static void wait_says(struct rig *rig, const char *dir, const char *text, bool want)
{
        for (int64_t until = clock_ms() + RIG_SOON_MS; says(rig, dir, text) != want; (void)usleep(10 * 1000))
                if (clock_ms() > until)
                        fail_msg("%s %s: %s", dir, want ? "never said" : "still says", text);
}

static void wait_driver(struct rig *rig, const char *driver)
{
        char now[64];

        for (int64_t until = clock_ms() + RIG_SOON_MS; rig_driver(rig, GPU0, now, sizeof(now)), !streq(now, driver);
             (void)usleep(10 * 1000))
                if (clock_ms() > until)
                        fail_msg("%s is on \"%s\" instead of \"%s\"", GPU0, now, driver);
}

static void wait_value(struct rig *rig, const char *attribute, const char *want)
{
        _cleanup_free_ char *path = xasprintf("%s/sys/bus/pci/devices/" GPU0 "/%s", rig->sim_dir, attribute);
        char now[64] = "";
        struct err err;

        for (int64_t until = clock_ms() + RIG_SOON_MS; fs_read_value(AT_FDCWD, path, now, sizeof(now), &err) < 0 || !streq(now, want);
             (void)usleep(10 * 1000))
                if (clock_ms() > until)
                        fail_msg("%s of %s says \"%s\" instead of \"%s\"", attribute, GPU0, now, want);
}

static void wait_power(struct rig *rig, const char *control, const char *d3cold)
{
        wait_value(rig, "power/control", control);
        wait_value(rig, "d3cold_allowed", d3cold);
}

/* All eight of the host in one pod, so that GPU0 is among them. */
static void begin_prepared(struct rig *rig)
{
        rig_kubelet(rig, "1.34");
        start_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        struct fk_run run = rig_run(rig, "vms/vm-a", L40S, 8);
        fk_run_done(&run);
        wait_driver(rig, "vfio-pci");
        wait_says(rig, "claims", "\"state\":\"seen\"", true);
}

static void begin_on(struct rig *rig, const char *host, const char *config)
{
        rig_prepare(rig, host, config);
        begin_prepared(rig);
}

static void begin(struct rig *rig, const char *config)
{
        begin_on(rig, "l40s-8", config);
}

static void assert_given_back(struct rig *rig)
{
        wait_says(rig, "claims", GPU0, false);
        wait_says(rig, "originals", GPU0, false);
        wait_driver(rig, "nvidia");
        rig_ready(rig, L40S, 8, 8);
}

static void test_a_device_is_reset_and_given_back_when_its_pod_is_gone(void **state)
{
        struct rig *rig = *state;

        begin(rig, BACK_AGAIN);
        fk_pod_end(rig->k, "vms/vm-a");
        assert_given_back(rig);
        assert_true(rig_logged(rig, GPU0 " was reset (flr)", RIG_SOON_MS));
        struct fk_run run = rig_run(rig, "vms/vm-b", L40S, 8); /* and taken again */
        fk_run_done(&run);
        wait_driver(rig, "vfio-pci");
        rig_stop(rig);
}

static void test_it_is_unhealthy_while_that_goes_on_and_never_absent(void **state)
{
        struct rig *rig = *state;

        begin(rig, ON_ALLOCATE "    release: reset\nbindDeadline: 60s\n");
        rig_fault(rig, "reset " GPU0 " hang");
        fk_pod_end(rig->k, "vms/vm-a");
        rig_ready(rig, L40S, 8, 7);
        assert_true(rig_wait_health(rig, L40S, GPU0, "Unhealthy", RIG_SOON_MS));
        assert_true(says(rig, "claims", "\"state\":\"releasing\""));
        rig_fault(rig, "");
        assert_true(rig_wait_health(rig, L40S, GPU0, "Healthy", RIG_SOON_MS));
        wait_says(rig, "claims", GPU0, false);
        wait_driver(rig, "vfio-pci"); /* reset, and kept */
        rig_stop(rig);
}

static void check_not_offered(struct rig *rig, const char *fault, const char *word)
{
        begin(rig, ON_ALLOCATE "    release: reset\n");
        rig_fault(rig, fault);
        fk_pod_end(rig->k, "vms/vm-a");
        assert_true(rig_logged(rig, word, RIG_SOON_MS));
        assert_true(rig_wait_health(rig, L40S, GPU0, "Unhealthy", RIG_SOON_MS));
        rig_ready(rig, L40S, 8, 7);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        start_daemon(rig); /* nor by the next daemon */
        rig_ready(rig, L40S, 8, 7);
        assert_true(says(rig, "claims", "\"state\":\"releasing\""));
        rig_stop(rig);
}

static void test_a_device_that_does_not_come_back_from_its_reset_is_not_offered(void **state)
{
        check_not_offered(*state, "reset " GPU0 " dead", "no-answer");
}

static void test_a_device_whose_reset_left_its_bars_elsewhere_is_not_offered(void **state)
{
        check_not_offered(*state, "reset " GPU0 " forget", "bars-changed");
}

/* The daemon is killed while a hand is in the middle of giving the GPU back; the next one finishes it. */
static void check_killed(struct rig *rig, const char *fault, const char *driver_then)
{
        begin(rig, BACK_AGAIN "bindDeadline: 60s\n");
        rig_fault(rig, fault);
        fk_pod_end(rig->k, "vms/vm-a");
        wait_says(rig, "originals", "\"state\":\"restoring\"", true);
        wait_driver(rig, driver_then);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        rig_fault(rig, "");
        start_daemon(rig);
        assert_given_back(rig);
        rig_stop(rig);
}

static void test_a_release_that_was_killed_in_its_reset_is_finished(void **state)
{
        check_killed(*state, "reset " GPU0 " hang", "vfio-pci");
}

static void test_a_release_that_was_killed_without_driver_is_finished(void **state)
{
        check_killed(*state, "drivers_probe " GPU0 " hang", "");
}

struct job {
        struct rig *rig;
        int code;
        char text[FK_TEXT_MAX];
};

static void *allocate_thread(void *arg)
{
        static const char *const id = GPU0;
        struct job *job = arg;

        job->code = fk_raw_allocate(job->rig->k, L40S, &id, 1, job->text);
        return NULL;
}

/* The release comes first, whole; then the device is bound anew for the next pod. */
static void test_an_allocate_that_comes_meanwhile_waits_and_is_bound_anew(void **state)
{
        struct rig *rig = *state;
        struct job job = { .rig = rig };
        pthread_t thread;

        begin(rig, BACK_AGAIN "bindDeadline: 60s\n");
        rig_fault(rig, "reset " GPU0 " delay 3000 times 1");
        fk_pod_end(rig->k, "vms/vm-a");
        assert_true(rig_wait_health(rig, L40S, GPU0, "Unhealthy", RIG_SOON_MS));
        wait_says(rig, "originals", "\"state\":\"restoring\"", true);
        assert_int_equal(pthread_create(&thread, NULL, allocate_thread, &job), 0);
        (void)usleep(300 * 1000);
        assert_driver(rig, GPU0, "vfio-pci"); /* neither given nor given back */
        assert_true(says(rig, "claims", "\"state\":\"releasing\""));
        assert_int_equal(pthread_join(thread, NULL), 0);
        if (job.code != 0)
                fail_msg("%s", job.text);
        assert_true(rig_logged(rig, GPU0 " was reset (flr)", 0));
        assert_driver(rig, GPU0, "vfio-pci");
        wait_says(rig, "claims", GPU0, true);
        wait_says(rig, "claims", "\"state\":\"releasing\"", false);
        wait_says(rig, "originals", "\"driver\":\"nvidia\"", true);
        rig_stop(rig);
}

static void test_a_device_is_kept_awake_until_its_claim_ends_and_stays_bound(void **state)
{
        struct rig *rig = *state;

        begin(rig, ON_ALLOCATE AWAKE);
        wait_power(rig, "on", "0");
        assert_true(says(rig, "originals", "\"power_control\":\"auto\""));
        fk_pod_end(rig->k, "vms/vm-a");
        wait_power(rig, "auto", "1");
        wait_driver(rig, "vfio-pci");
        wait_says(rig, "originals", "\"power_control\"", false);
        wait_says(rig, "originals", GPU0, true); /* bound by Sluice still */
        struct fk_run run = rig_run(rig, "vms/vm-b", L40S, 8);
        fk_run_done(&run);
        wait_power(rig, "on", "0");
        rig_stop(rig);
}

static void test_power_goes_back_with_the_driver(void **state)
{
        struct rig *rig = *state;

        begin(rig, BACK_AGAIN AWAKE);
        wait_power(rig, "on", "0");
        fk_pod_end(rig->k, "vms/vm-a");
        assert_given_back(rig);
        wait_power(rig, "on", "1"); /* what vfio-pci leaves */
        rig_stop(rig);
}

static void test_what_an_administrator_bound_is_kept_awake_and_left_bound(void **state)
{
        struct rig *rig = *state;

        begin_on(rig, "l40s-8-vfio", CONFIG "rules:\n  - select: {ids: [\"10de:26b9\"]}\n" AWAKE);
        wait_power(rig, "on", "0");
        assert_true(says(rig, "originals", "\"d3cold_allowed\":\"1\""));
        fk_pod_end(rig->k, "vms/vm-a");
        wait_power(rig, "auto", "1");
        wait_says(rig, "originals", "vfio-pci", false);
        wait_driver(rig, "vfio-pci");
        rig_stop(rig);
}

static void restart(struct rig *rig)
{
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        rig_fault(rig, "");
        start_daemon(rig);
}

static void test_power_outlives_a_daemon_that_is_killed_and_is_given_back_by_the_next(void **state)
{
        struct rig *rig = *state;

        begin(rig, ON_ALLOCATE AWAKE);
        wait_power(rig, "on", "0");
        restart(rig);
        rig_ready(rig, L40S, 8, 8);
        wait_power(rig, "on", "0"); /* its pod is there */
        rig_fault(rig, "control " GPU0 " hang");
        fk_pod_end(rig->k, "vms/vm-a");
        wait_says(rig, "claims", GPU0, false);
        wait_value(rig, "power/control", "on");
        restart(rig);
        wait_power(rig, "auto", "1");
        wait_says(rig, "originals", "\"power_control\"", false);
        wait_driver(rig, "vfio-pci");
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

/* A kubelet that tells nothing of pods heals nothing: what the next daemon knows is on the disk. */
static void check_kept_awake_over_a_kill(struct rig *rig)
{
        fk_pods(rig->k, FK_PODS_REFUSED);
        restart(rig);
        rig_ready(rig, L40S, 8, 8);
        wait_power(rig, "on", "0");
        assert_int_equal(rig_log_count(rig, GPU0 " has its power states back"), 0);
        assert_true(says(rig, "claims", GPU0));
        fk_pods(rig->k, FK_PODS_TOLD);
        wait_says(rig, "claims", "\"state\":\"seen\"", true);
        wait_power(rig, "on", "0");
        rig_stop(rig);
}

static void test_a_kill_right_after_the_answer_takes_no_claim_and_no_power(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8", ON_ALLOCATE AWAKE);
        rig_kubelet(rig, "1.34");
        start_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_admit_one(rig->k, "vms/vm-a", L40S, 8, rig->text), 0);
        check_kept_awake_over_a_kill(rig);
}

/* The next pod's answer needs no plan: the device is awake still for the pod that has gone. */
static void test_nor_where_power_of_a_former_claim_serves_the_next_one(void **state)
{
        struct rig *rig = *state;
        struct job job = { .rig = rig };
        pthread_t thread;

        begin(rig, ON_ALLOCATE "    release: reset\n" AWAKE "bindDeadline: 60s\n");
        wait_power(rig, "on", "0");
        rig_fault(rig, "reset " GPU0 " delay 3000 times 1");
        fk_pod_end(rig->k, "vms/vm-a");
        assert_true(rig_wait_health(rig, L40S, GPU0, "Unhealthy", RIG_SOON_MS));
        assert_int_equal(pthread_create(&thread, NULL, allocate_thread, &job), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        fk_pods(rig->k, FK_PODS_REFUSED);
        restart(rig);
        if (job.code != 0)
                fail_msg("%s", job.text);
        rig_ready(rig, L40S, 8, 8);
        wait_power(rig, "on", "0");
        assert_true(says(rig, "claims", GPU0));
        assert_int_equal(rig_log_count(rig, GPU0 " has its power states back"), 0);
        fk_pods(rig->k, FK_PODS_TOLD); /* no pod has it: that is the end of the claim, and of its power */
        wait_says(rig, "claims", GPU0, false);
        wait_power(rig, "auto", "1");
        rig_stop(rig);
}

/* The first method may reset nothing, so another one is used, and the kernel is left only that for the moment. Daemon and hand are killed
 * there; then the rules say @then. */
static void kill_where_it_is_narrowed(struct rig *rig, const char *then)
{
        rig_prepare(rig, "l40s-8", ON_ALLOCATE "    release: reset\nbindDeadline: 60s\n");
        rig_doubt_resets(rig->sim_dir);
        begin_prepared(rig);
        wait_value(rig, "reset_method", "pm flr bus");
        rig_fault(rig, "reset " GPU0 " hang");
        fk_pod_end(rig->k, "vms/vm-a");
        wait_value(rig, "reset_method", "flr");
        assert_true(says(rig, "originals", "\"reset_methods\":\"pm flr bus\""));
        pid_t hand = rig_worker(rig, GPU0);
        assert_true(hand > 0);
        assert_int_equal(kill(rig->pid, SIGSTOP), 0); /* it does not hear of its hand's end before its own */
        assert_int_equal(kill(hand, SIGKILL), 0);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        rig_fault(rig, "");
        wait_value(rig, "reset_method", "flr");
        rig_config(rig, then);
        start_daemon(rig);
}

static void check_methods_are_back(struct rig *rig)
{
        wait_value(rig, "reset_method", "pm flr bus");
        wait_says(rig, "originals", "\"reset_methods\"", false);
        wait_says(rig, "claims", GPU0, false);
        wait_driver(rig, "vfio-pci");
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static void test_reset_methods_outlive_a_hand_that_is_killed_in_mid_reset(void **state)
{
        struct rig *rig = *state;

        kill_where_it_is_narrowed(rig, ON_ALLOCATE "    release: reset\n");
        assert_true(rig_logged(rig, GPU0 " was reset (flr)", RIG_SOON_MS));
        check_methods_are_back(rig);
}

static void test_reset_methods_are_given_back_where_no_reset_is_asked_for_any_more(void **state)
{
        struct rig *rig = *state;

        kill_where_it_is_narrowed(rig, ON_ALLOCATE);
        assert_true(rig_logged(rig, GPU0 " has its reset methods back", RIG_SOON_MS));
        check_methods_are_back(rig);
        assert_false(rig_logged(rig, GPU0 " was reset", 0));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_a_device_is_reset_and_given_back_when_its_pod_is_gone),
                RIG_TEST(test_it_is_unhealthy_while_that_goes_on_and_never_absent),
                RIG_TEST(test_a_device_that_does_not_come_back_from_its_reset_is_not_offered),
                RIG_TEST(test_a_device_whose_reset_left_its_bars_elsewhere_is_not_offered),
                RIG_TEST(test_an_allocate_that_comes_meanwhile_waits_and_is_bound_anew),
                RIG_TEST(test_a_release_that_was_killed_in_its_reset_is_finished),
                RIG_TEST(test_a_release_that_was_killed_without_driver_is_finished),
                RIG_TEST(test_reset_methods_outlive_a_hand_that_is_killed_in_mid_reset),
                RIG_TEST(test_reset_methods_are_given_back_where_no_reset_is_asked_for_any_more),
                RIG_TEST(test_a_device_is_kept_awake_until_its_claim_ends_and_stays_bound),
                RIG_TEST(test_power_goes_back_with_the_driver),
                RIG_TEST(test_what_an_administrator_bound_is_kept_awake_and_left_bound),
                RIG_TEST(test_power_outlives_a_daemon_that_is_killed_and_is_given_back_by_the_next),
                RIG_TEST(test_a_kill_right_after_the_answer_takes_no_claim_and_no_power),
                RIG_TEST(test_nor_where_power_of_a_former_claim_serves_the_next_one),
        };

        return RUN(tests);
}
