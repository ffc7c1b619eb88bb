/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel that does not answer, hands that outlive their daemon, and many callers at once. */
#include "rig.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/fs.h"
#include "base/str.h"

#define GPU0  "0000:18:00.0"
#define OTHER "0000:bb:00.0"
enum { DEADLINE_EXCEEDED = 4, FAILED_PRECONDITION = 9, ABORTED = 10, INTERNAL = 13 };

static int allocate(struct rig *rig, const char *id)
{
        return fk_raw_allocate(rig->k, L40S, &id, 1, rig->text);
}

static void test_a_read_that_hangs_makes_its_card_stuck_and_no_other(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8", ON_ALLOCATE);
        rig_fault(rig, "read:driver_override " GPU0 " hang");
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        /* The probing hand hangs there already: nobody else touches the card meanwhile, and other cards do not wait. */
        _cleanup_free_ char *lock = xasprintf("%s/card-" GPU0 ".lock", rig->run_dir);
        for (int64_t until = clock_ms() + RIG_SOON_MS; fs_exists(AT_FDCWD, lock) != 1 || rig_worker(rig, GPU0) == 0; (void)usleep(1000))
                assert_true(clock_ms() < until);
        assert_int_equal(allocate(rig, GPU0), ABORTED);
        int64_t before = clock_ms();
        assert_int_equal(allocate(rig, OTHER), 0);
        assert_true(clock_ms() - before < 2500);
        assert_driver(rig, GPU0, "nvidia");
        assert_true(rig_wait_health(rig, L40S, GPU0, "Unhealthy", RIG_SOON_MS));
        rig_ready(rig, L40S, 8, 7);
        assert_int_equal(allocate(rig, GPU0), FAILED_PRECONDITION);
        assert_non_null(strstr(rig->text, "(stuck)"));
        /* It does not recover by being looked at, not even by leaving and coming back. */
        rig_unplug(rig, GPU0);
        assert_true(rig_logged(rig, "host: " GPU0 " gone", RIG_SOON_MS));
        rig_plug(rig, GPU0);
        assert_true(rig_logged(rig, "host: " GPU0 " appeared", RIG_SOON_MS));
        assert_string_equal(rig_health(rig, L40S, GPU0), "Unhealthy");
        rig_fault(rig, "");
        rig_stop(rig);
}

static void boot(struct rig *rig, const char *boot_id)
{
        _cleanup_free_ char *path = xasprintf("%s/proc/sys/kernel/random/boot_id", rig->sim_dir);
        struct err err;

        ASSERT_OK(fs_write(AT_FDCWD, path, boot_id, &err), &err);
}

/* What one daemon gave up, the next one of the same boot does not touch either, however well it looks; after a reboot it does. */
static void test_a_stuck_card_stays_so_for_the_next_daemon_until_the_reboot(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8", ON_ALLOCATE);
        boot(rig, "11111111-1111-4111-8111-111111111111");
        rig_fault(rig, "read:driver_override " GPU0 " hang");
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 7);
        _cleanup_free_ char *record = xasprintf("%s/stuck/" GPU0 ".record", rig->state_dir);
        for (int64_t until = clock_ms() + RIG_SOON_MS; fs_exists(AT_FDCWD, record) != 1; (void)usleep(10 * 1000))
                assert_true(clock_ms() < until);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        rig_fault(rig, "");

        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 7);
        assert_int_equal(allocate(rig, GPU0), FAILED_PRECONDITION);
        assert_non_null(strstr(rig->text, "(stuck)"));
        assert_driver(rig, GPU0, "nvidia");
        assert_int_equal(rig_end(rig, SIGTERM), 0);

        /* Nor does a daemon that did not find it there when it started. */
        rig_unplug(rig, GPU0);
        rig_daemon(rig);
        rig_ready(rig, L40S, 7, 7);
        rig_plug(rig, GPU0);
        rig_ready(rig, L40S, 8, 7);
        assert_string_equal(rig_health(rig, L40S, GPU0), "Unhealthy");
        assert_int_equal(allocate(rig, GPU0), FAILED_PRECONDITION);
        assert_non_null(strstr(rig->text, "(stuck)"));
        assert_driver(rig, GPU0, "nvidia");
        assert_int_equal(rig_end(rig, SIGTERM), 0);

        boot(rig, "22222222-2222-4222-8222-222222222222");
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(allocate(rig, GPU0), 0);
        assert_int_equal(fs_exists(AT_FDCWD, record), 0);
        rig_stop(rig);
}

struct job {
        struct rig *rig;
        const char *id;
        int code;
        char text[FK_TEXT_MAX];
};

static void *allocate_thread(void *arg)
{
        struct job *job = arg;

        job->code = fk_raw_allocate(job->rig->k, L40S, &job->id, 1, job->text);
        return NULL;
}

/* The driver needs longer to let go than a read may take: the new daemon must not take that for a hang of the kernel. */
static void test_a_daemon_that_finds_a_slow_hand_at_work_waits_for_it(void **state)
{
        struct rig *rig = *state;
        struct job job = { .rig = rig, .id = GPU0 };
        pthread_t thread;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        rig_fault(rig, "unbind " GPU0 " delay 7000 times 1");
        assert_int_equal(pthread_create(&thread, NULL, allocate_thread, &job), 0);
        (void)usleep(700 * 1000);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        assert_int_equal(pthread_join(thread, NULL), 0);
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(allocate(rig, GPU0), ABORTED);
        for (int64_t until = clock_ms() + 2 * RIG_SOON_MS; allocate(rig, GPU0) != 0;) {
                if (clock_ms() > until)
                        fail_msg("%s", rig->text);
                (void)usleep(200 * 1000);
        }
        assert_driver(rig, GPU0, "vfio-pci");
        assert_string_equal(rig_health(rig, L40S, GPU0), "Healthy");
        assert_int_equal(rig_log_count(rig, "stuck"), 0);
        rig_stop(rig);
}

/* Somebody else's unbind hangs: the kernel shows no driver any more, and the device is not simply one without a driver. */
static void test_a_driver_that_hangs_out_of_sight_makes_its_card_stuck(void **state)
{
        static const char config[] = CONFIG "rules:\n  - select: {addresses: [\"" GPU0 "\"]}\n    bind: on-allocate\n"
                                            "  - select: {ids: [\"10de:26b9\"]}\n";
        static const char *const gpus[] = { GPU0, OTHER };
        struct rig *rig = *state;
        pid_t writers[2];
        struct err err;

        rig_open(rig, "l40s-8", "1.34", config);
        rig_ready(rig, L40S, 1, 1);
        for (size_t i = 0; i < N_ELEMENTS(gpus); i++) {
                char line[64], path[64];
                str_format(line, sizeof(line), "unbind %s hang", gpus[i]);
                str_format(path, sizeof(path), "bus/pci/devices/%s/driver/unbind", gpus[i]);
                rig_fault(rig, line);
                writers[i] = fork();
                if (writers[i] == 0)
                        _exit(sim_write(rig->sim, path, gpus[i], &err) < 0);
        }
        assert_true(rig_wait_health(rig, L40S, GPU0, "Unhealthy", RIG_SOON_MS));
        assert_driver(rig, GPU0, "");
        assert_int_equal(allocate(rig, GPU0), FAILED_PRECONDITION);
        assert_non_null(strstr(rig->text, "(stuck)"));
        assert_true(rig_logged(rig, "device " OTHER ": withheld: the kernel did not return from a step on it", RIG_SOON_MS));
        rig_fault(rig, "");
        for (size_t i = 0; i < N_ELEMENTS(gpus); i++)
                assert_int_equal(rig_reap(writers[i], RIG_SOON_MS), 0);
        rig_stop(rig);
}

static void test_what_could_not_be_undone_is_healthy_again_when_somebody_mended_it(void **state)
{
        struct rig *rig = *state;
        struct err err;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE "bindDeadline: 4s\n");
        rig_ready(rig, L40S, 8, 8);
        rig_fault(rig, "drivers_probe " GPU0 " ignore");
        assert_int_equal(allocate(rig, GPU0), FAILED_PRECONDITION);
        assert_non_null(strstr(rig->text, "could not be undone"));
        assert_true(rig_wait_health(rig, L40S, GPU0, "Unhealthy", RIG_SOON_MS));
        rig_fault(rig, "");
        assert_int_equal(allocate(rig, GPU0), FAILED_PRECONDITION);
        assert_non_null(strstr(rig->text, "binding-failed"));
        ASSERT_OK(sim_write(rig->sim, "bus/pci/drivers_probe", GPU0, &err), &err);
        assert_true(rig_wait_health(rig, L40S, GPU0, "Healthy", RIG_SOON_MS));
        assert_int_equal(allocate(rig, GPU0), 0);
        rig_stop(rig);
}

/* A list that cannot be written to is nobody's fault but the mount's. */
static void test_a_read_only_sys_refuses_and_leaves_the_device_healthy(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *before = rig_tree(rig);
        rig_fault(rig, "driver_override " GPU0 " refuse EPERM");
        assert_int_not_equal(allocate(rig, GPU0), 0);
        assert_non_null(strstr(rig->text, "everything was undone"));
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        assert_string_equal(rig_health(rig, L40S, GPU0), "Healthy");
        assert_int_equal(rig_log_count(rig, "refused"), 1);
        rig_stop(rig);
}

/* ---- eight devices in one Allocate ---- */

static const char *const gpus[] = { "0000:18:00.0", "0000:19:00.0", "0000:3a:00.0", "0000:3b:00.0",
                                    "0000:9a:00.0", "0000:9b:00.0", "0000:ba:00.0", "0000:bb:00.0" };

static int allocate_all(struct rig *rig, char *text)
{
        return fk_raw_allocate(rig->k, L40S, gpus, 8, text);
}

static void *allocate_all_thread(void *arg)
{
        struct job *job = arg;

        job->code = allocate_all(job->rig, job->text);
        return NULL;
}

static void wait_for_driver(struct rig *rig, const char *bdf, const char *driver)
{
        char now[64] = "";

        for (int64_t until = clock_ms() + RIG_SOON_MS; !streq(now, driver); (void)usleep(20 * 1000)) {
                rig_driver(rig, bdf, now, sizeof(now));
                if (clock_ms() > until)
                        fail_msg("%s is on '%s' instead of '%s'", bdf, now, driver);
        }
}

/* Made by the simulated kernel with the first VFIO device, and left there. */
static void make_class(struct rig *rig)
{
        _cleanup_free_ char *class = xasprintf("%s/sys/class", rig->sim_dir), *vfio_dev = xasprintf("%s/vfio-dev", class);

        assert_int_equal(mkdir(class, 0755), 0);
        assert_int_equal(mkdir(vfio_dev, 0755), 0);
}

static void wait_for_tree(struct rig *rig, const char *want)
{
        for (int64_t until = clock_ms() + RIG_SOON_MS;; (void)usleep(50 * 1000)) {
                _cleanup_free_ char *now = rig_tree(rig);
                if (streq(now, want))
                        return;
                if (clock_ms() > until)
                        assert_string_equal(now, want);
        }
}

/* Starts an Allocate of all eight in which GPU0's driver is the slow one, and waits until all others are bound. */
static pthread_t allocate_all_slowly(struct job *job, const char *fault)
{
        pthread_t thread;

        rig_fault(job->rig, fault);
        assert_int_equal(pthread_create(&thread, NULL, allocate_all_thread, job), 0);
        for (unsigned i = 1; i < 8; i++)
                wait_for_driver(job->rig, gpus[i], "vfio-pci");
        assert_driver(job->rig, GPU0, ""); /* it lets go, out of sight */
        return thread;
}

static void retry_all(struct rig *rig)
{
        for (int64_t until = clock_ms() + 2 * RIG_SOON_MS; allocate_all(rig, rig->text) != 0; (void)usleep(200 * 1000))
                if (clock_ms() > until)
                        fail_msg("%s", rig->text);
        for (unsigned i = 0; i < 8; i++)
                assert_driver(rig, gpus[i], "vfio-pci");
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(rig_log_count(rig, "stuck"), 0);
}

/* One after the other they would take longer than the deadline of the request. */
static void test_eight_slow_drivers_take_the_time_of_one(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        rig_fault(rig, "unbind * delay 2000");
        int64_t before = clock_ms();
        if (allocate_all(rig, rig->text) != 0)
                fail_msg("%s", rig->text);
        assert_in_range(clock_ms() - before, 2000, 10000);
        for (unsigned i = 0; i < 8; i++)
                assert_driver(rig, gpus[i], "vfio-pci");
        rig_stop(rig);
}

static void test_one_that_hangs_of_eight_is_stuck_alone_and_the_others_are_put_back(void **state)
{
        struct rig *rig = *state;
        struct job job = { .rig = rig };

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE "bindDeadline: 6s\n");
        rig_ready(rig, L40S, 8, 8);
        int64_t start = clock_ms();
        pthread_t thread = allocate_all_slowly(&job, "unbind " GPU0 " hang");
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_in_range(clock_ms() - start, 5900, 9000); /* the undo of the others does not make it longer */
        assert_int_equal(job.code, DEADLINE_EXCEEDED);
        assert_non_null(strstr(job.text, "unbind " GPU0 " from nvidia"));
        assert_non_null(strstr(job.text, "the request's other devices are put back as they were"));
        assert_int_equal(rig_log_count(rig, " refused: "), 1);
        rig_ready(rig, L40S, 8, 7);
        assert_string_equal(rig_health(rig, L40S, GPU0), "Unhealthy");
        for (unsigned i = 1; i < 8; i++)
                wait_for_driver(rig, gpus[i], "nvidia");
        if (fk_raw_allocate(rig->k, L40S, &gpus[1], 7, rig->text) != 0) /* waits for the end of the undo, if need be */
                fail_msg("%s", rig->text);
        for (unsigned i = 1; i < 8; i++)
                assert_driver(rig, gpus[i], "vfio-pci");
        rig_fault(rig, "");
        rig_stop(rig);
}

static void test_one_that_fails_of_eight_leaves_the_host_as_it_was(void **state)
{
        struct rig *rig = *state;
        struct job job = { .rig = rig };

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        make_class(rig);
        _cleanup_free_ char *before = rig_tree(rig);
        rig_fault(rig, "drivers_probe " GPU0 " refuse EINVAL times 1");
        pthread_t thread = allocate_all_slowly(&job, "unbind " GPU0 " delay 1500 times 1");
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(job.code, INTERNAL);
        assert_non_null(strstr(job.text, GPU0));
        wait_for_tree(rig, before);
        retry_all(rig);
        rig_stop(rig);
}

static void test_one_that_is_held_of_eight_touches_none(void **state)
{
        struct rig *rig = *state;
        struct err err;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        ASSERT_OK(sim_hold(rig->sim, "dev/nvidia7", 4711, "xorg-server", &err), &err);
        _cleanup_free_ char *before = rig_tree(rig);
        assert_int_equal(allocate_all(rig, rig->text), FAILED_PRECONDITION);
        assert_non_null(strstr(rig->text, "4711 (xorg-server) has /dev/nvidia7 open"));
        wait_for_tree(rig, before);
        assert_int_equal(rig_log_count(rig, "driver nvidia"), 0); /* none was taken from its driver, not for a moment */
        ASSERT_OK(sim_hold(rig->sim, "dev/nvidia7", -4711, "", &err), &err);
        retry_all(rig);
        rig_stop(rig);
}

static void test_a_daemon_killed_while_some_of_eight_are_bound_finds_its_way(void **state)
{
        struct rig *rig = *state;
        struct job job = { .rig = rig };

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        pthread_t thread = allocate_all_slowly(&job, "unbind " GPU0 " delay 3000 times 1");
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_not_equal(job.code, 0);
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        for (unsigned i = 1; i < 8; i++) /* what was bound stays bound: it may be given at once */
                assert_driver(rig, gpus[i], "vfio-pci");
        if (fk_raw_allocate(rig->k, L40S, &gpus[1], 7, rig->text) != 0)
                fail_msg("%s", rig->text);
        retry_all(rig);
        rig_stop(rig);
}

/* @victim: whose hand is killed, at work (GPU0) or waiting for the others. */
static void kill_one_hand(struct rig *rig, const char *victim, const char *its_driver)
{
        struct job job = { .rig = rig };

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        pthread_t thread = allocate_all_slowly(&job, "unbind " GPU0 " delay 3000 times 1");
        (void)usleep(200 * 1000);
        pid_t worker = rig_worker(rig, victim);
        assert_true(worker > 0);
        assert_int_equal(kill(worker, SIGKILL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(job.code, ABORTED);
        assert_non_null(strstr(job.text, "the hand"));
        for (unsigned i = 0; i < 8; i++)
                wait_for_driver(rig, gpus[i], streq(gpus[i], victim) ? its_driver : "nvidia");
        retry_all(rig);
        rig_stop(rig);
}

static void test_a_hand_killed_at_work_on_one_of_eight(void **state)
{
        kill_one_hand(*state, GPU0, "nvidia"); /* cleaned up after (recovery_test.c) */
}

static void test_a_hand_killed_while_it_waits_for_the_slowest_of_eight(void **state)
{
        kill_one_hand(*state, OTHER, "vfio-pci");
}

/* ---- one device that is two GPUs ---- */

#define FIRST  "0000:03:00.0"
#define SECOND "0000:04:00.0" /* in the group of the first */
#define ALONE  "0000:05:00.0"
#define ONE_DEVICE                                                                                          \
        CONFIG "rules:\n  - select: {ids: [\"10de:26b9\"]}\n    group: one-device\n    bind: on-allocate\n" \
               "bindDeadline: 5s\n"

static void give_to_host(struct rig *rig, const char *bdf)
{
        _cleanup_free_ char *override = xasprintf("bus/pci/devices/%s/driver_override", bdf);
        struct err err;

        ASSERT_OK(sim_write(rig->sim, override, "nvidia", &err), &err);
        ASSERT_OK(sim_write(rig->sim, "bus/pci/drivers/vfio-pci/unbind", bdf, &err), &err);
        ASSERT_OK(sim_write(rig->sim, "bus/pci/drivers_probe", bdf, &err), &err);
        ASSERT_OK(sim_write(rig->sim, override, "\n", &err), &err);
        assert_driver(rig, bdf, "nvidia");
}

/* The fixture's three GPUs, on their host driver. */
static void open_two_in_a_group(struct rig *rig)
{
        rig_prepare(rig, "two-gpus-one-group", ONE_DEVICE);
        _cleanup_free_ char *driver = xasprintf("%s/sys/bus/pci/drivers/nvidia", rig->sim_dir);
        assert_int_equal(mkdir(driver, 0755), 0);
        give_to_host(rig, FIRST);
        give_to_host(rig, SECOND);
        give_to_host(rig, ALONE);
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, L40S, 2, 2);
}

static int allocate_both(struct rig *rig)
{
        static const char *const ids[] = { FIRST, ALONE };

        return fk_raw_allocate(rig->k, L40S, ids, 2, rig->text);
}

static void test_the_second_gpu_of_a_device_fails_and_the_first_is_put_back(void **state)
{
        struct rig *rig = *state;

        open_two_in_a_group(rig);
        _cleanup_free_ char *before = rig_tree(rig);
        rig_fault(rig, "drivers_probe " SECOND " refuse EINVAL times 1");
        assert_int_equal(allocate_both(rig), INTERNAL);
        assert_non_null(strstr(rig->text, "probe drivers for " SECOND));
        wait_for_tree(rig, before);
        assert_int_equal(allocate_both(rig), 0);
        assert_driver(rig, FIRST, "vfio-pci");
        assert_driver(rig, SECOND, "vfio-pci");
        assert_driver(rig, ALONE, "vfio-pci");
        rig_stop(rig);
}

static void test_the_second_gpu_of_a_device_hangs_and_the_device_is_stuck(void **state)
{
        struct rig *rig = *state;

        open_two_in_a_group(rig);
        rig_fault(rig, "unbind " SECOND " hang");
        assert_int_equal(allocate_both(rig), DEADLINE_EXCEEDED);
        assert_non_null(strstr(rig->text, "unbind " SECOND));
        assert_true(rig_wait_health(rig, L40S, FIRST, "Unhealthy", RIG_SOON_MS));
        wait_for_driver(rig, ALONE, "nvidia");
        assert_string_equal(rig_health(rig, L40S, ALONE), "Healthy");
        assert_int_equal(allocate(rig, FIRST), FAILED_PRECONDITION);
        assert_non_null(strstr(rig->text, "(stuck)"));
        if (allocate(rig, ALONE) != 0)
                fail_msg("%s", rig->text);
        rig_fault(rig, "");
        rig_stop(rig);
}

static void test_the_second_gpu_of_a_device_is_not_put_back_and_the_device_is_broken(void **state)
{
        struct rig *rig = *state;

        open_two_in_a_group(rig);
        rig_fault(rig, "drivers_probe " SECOND " refuse EINVAL");
        assert_int_equal(allocate_both(rig), FAILED_PRECONDITION);
        assert_non_null(strstr(rig->text, "could not be undone"));
        assert_true(rig_wait_health(rig, L40S, FIRST, "Unhealthy", RIG_SOON_MS));
        assert_driver(rig, FIRST, "nvidia"); /* all that could be */
        wait_for_driver(rig, ALONE, "nvidia");
        assert_string_equal(rig_health(rig, L40S, ALONE), "Healthy");
        rig_fault(rig, "");
        rig_stop(rig);
}

/* ---- NVIDIA's lock ---- */

static void test_an_unbind_lock_that_hangs_is_stuck_before_anything_was_touched(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE "bindDeadline: 4s\n");
        rig_ready(rig, L40S, 8, 8);
        rig_fault(rig, "unbindLock " GPU0 " hang");
        assert_int_equal(allocate_all(rig, rig->text), DEADLINE_EXCEEDED);
        assert_non_null(strstr(rig->text, "take NVIDIA's unbindLock of " GPU0));
        rig_ready(rig, L40S, 8, 7);
        assert_int_equal(rig_log_count(rig, "driver nvidia"), 0);
        rig_fault(rig, "");
        rig_stop(rig);
}

static void test_an_unbind_lock_left_behind_by_a_killed_hand_is_taken_again(void **state)
{
        static const char lock[] = "driver/nvidia/gpus/" GPU0 "/unbindLock";
        struct rig *rig = *state;
        struct job job = { .rig = rig, .id = GPU0 };
        char value[16] = "";
        pthread_t thread;
        struct err err;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        rig_fault(rig, "driver_override " GPU0 " hang");
        assert_int_equal(pthread_create(&thread, NULL, allocate_thread, &job), 0);
        for (int64_t until = clock_ms() + RIG_SOON_MS; !streq(value, "1") && clock_ms() < until; (void)usleep(20 * 1000))
                ASSERT_OK(fs_read_value(sim_tree(rig->sim)->proc, lock, value, sizeof(value), &err), &err);
        (void)usleep(200 * 1000);
        assert_int_equal(kill(rig_worker(rig, GPU0), SIGKILL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(job.code, ABORTED);
        ASSERT_OK(fs_read_value(sim_tree(rig->sim)->proc, lock, value, sizeof(value), &err), &err);
        assert_string_equal(value, "1"); /* docs/limits.md */
        assert_driver(rig, GPU0, "nvidia");
        rig_fault(rig, "");
        if (allocate(rig, GPU0) != 0)
                fail_msg("%s", rig->text);
        assert_driver(rig, GPU0, "vfio-pci");
        rig_stop(rig);
}

/* ---- many callers ---- */

enum { CALLERS = 12, CALLS = 15 };

struct caller {
        struct rig *rig;
        unsigned seed, n_granted, n_refused;
        char wrong[FK_TEXT_MAX]; /* what should not have happened, "" = nothing */
        pthread_t thread;
};

static void *call_often(void *arg)
{
        struct caller *caller = arg;
        char text[FK_TEXT_MAX];

        for (unsigned i = 0; i < CALLS; i++) {
                const char *ids[] = { gpus[rand_r(&caller->seed) % 8], gpus[rand_r(&caller->seed) % 8] };
                size_t n = 1 + (size_t)rand_r(&caller->seed) % 2;
                int code = fk_raw_allocate(caller->rig->k, L40S, ids, n, text);
                bool twice = n == 2 && ids[0] == ids[1];
                caller->n_granted += code == 0;
                caller->n_refused += code != 0;
                if (code == 0 && twice)
                        (void)str_copy(caller->wrong, sizeof(caller->wrong), "a device twice in one answer");
                /* Each may have been unplugged; nothing else may go wrong. */
                if (code != 0 && !twice && !strstr(text, "[gone]") && !strstr(text, "[not-healthy]") && !strstr(text, "[vanished]"))
                        (void)str_copy(caller->wrong, sizeof(caller->wrong), text);
        }
        return NULL;
}

static void test_many_callers_while_devices_come_and_go(void **state)
{
        struct rig *rig = *state;
        struct caller callers[CALLERS];
        unsigned granted = 0, refused = 0;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        for (unsigned i = 0; i < CALLERS; i++) {
                callers[i] = (struct caller){ .rig = rig, .seed = i };
                assert_int_equal(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
        }
        for (unsigned i = 0; i < 20; i++) {
                rig_unplug(rig, gpus[i % 8]);
                (void)usleep(20 * 1000);
                rig_plug(rig, gpus[i % 8]);
                (void)usleep(80 * 1000);
        }
        for (unsigned i = 0; i < CALLERS; i++) {
                assert_int_equal(pthread_join(callers[i].thread, NULL), 0);
                if (callers[i].wrong[0])
                        fail_msg("%s", callers[i].wrong);
                granted += callers[i].n_granted;
                refused += callers[i].n_refused;
        }
        assert_true(granted > CALLERS);
        assert_int_equal(rig_log_count(rig, " refused: "), refused); /* one line each, none for the others */
        rig_ready(rig, L40S, 8, 8);
        for (unsigned i = 0; i < 8; i++) {
                if (allocate(rig, gpus[i]) != 0)
                        fail_msg("%s", rig->text);
                assert_driver(rig, gpus[i], "vfio-pci");
        }
        rig_stop(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_a_read_that_hangs_makes_its_card_stuck_and_no_other),
                RIG_TEST(test_a_driver_that_hangs_out_of_sight_makes_its_card_stuck),
                RIG_TEST(test_a_stuck_card_stays_so_for_the_next_daemon_until_the_reboot),
                RIG_TEST(test_a_daemon_that_finds_a_slow_hand_at_work_waits_for_it),
                RIG_TEST(test_what_could_not_be_undone_is_healthy_again_when_somebody_mended_it),
                RIG_TEST(test_a_read_only_sys_refuses_and_leaves_the_device_healthy),
                RIG_TEST(test_eight_slow_drivers_take_the_time_of_one),
                RIG_TEST(test_one_that_hangs_of_eight_is_stuck_alone_and_the_others_are_put_back),
                RIG_TEST(test_one_that_fails_of_eight_leaves_the_host_as_it_was),
                RIG_TEST(test_one_that_is_held_of_eight_touches_none),
                RIG_TEST(test_a_daemon_killed_while_some_of_eight_are_bound_finds_its_way),
                RIG_TEST(test_a_hand_killed_at_work_on_one_of_eight),
                RIG_TEST(test_a_hand_killed_while_it_waits_for_the_slowest_of_eight),
                RIG_TEST(test_the_second_gpu_of_a_device_fails_and_the_first_is_put_back),
                RIG_TEST(test_the_second_gpu_of_a_device_hangs_and_the_device_is_stuck),
                RIG_TEST(test_the_second_gpu_of_a_device_is_not_put_back_and_the_device_is_broken),
                RIG_TEST(test_an_unbind_lock_that_hangs_is_stuck_before_anything_was_touched),
                RIG_TEST(test_an_unbind_lock_left_behind_by_a_killed_hand_is_taken_again),
                RIG_TEST(test_many_callers_while_devices_come_and_go),
        };

        return RUN(tests);
}
