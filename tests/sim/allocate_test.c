/* SPDX-License-Identifier: Apache-2.0 */
/* Allocate and PreStartContainer, from the answer of a bound device to a bind through the hand. */
#include "rig.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"

/* gRPC codes */
enum { INVALID_ARGUMENT = 3, DEADLINE_EXCEEDED = 4, NOT_FOUND = 5, FAILED_PRECONDITION = 9, ABORTED = 10, INTERNAL = 13 };

static const char GPU0[] = "0000:18:00.0", GPU1[] = "0000:19:00.0";

static void assert_answer(const struct fk_run *run, const char *name, const char *value, const char *const *nodes, size_t n_nodes)
{
        assert_int_equal(run->n_envs, 1);
        assert_string_equal(run->envs[0].key, name);
        assert_string_equal(run->envs[0].value, value);
        for (size_t i = 0; i < n_nodes; i++)
                if (!rig_has_node(run, nodes[i]))
                        fail_msg("%s is not among the nodes", nodes[i]);
        assert_int_equal(run->n_devices, n_nodes);
        assert_string_equal(run->permissions, "mrw");
        assert_int_equal(run->n_mounts + run->n_annotations + run->n_cdi, 0);
}

/* The log line is cut at 2 KiB: a name of that size must not push out why. */
static void test_an_endless_id_does_not_hide_the_refusal_in_the_log(void **state)
{
        struct rig *rig = *state;
        char endless[4001] = "";
        const char *ids[] = { endless };

        memset(endless, 'x', sizeof(endless) - 1);
        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), NOT_FOUND);
        assert_true(rig_logged(rig, "unknown-device", RIG_SOON_MS));
        rig_stop(rig);
}

static void test_a_bound_device_gives_exactly_kubevirts_answer_and_touches_nothing(void **state)
{
        static const char *const nodes[] = { "/dev/vfio/vfio", "/dev/vfio/23", "/dev/vfio/devices/vfio0" };
        struct rig *rig = *state;
        const char *ids[] = { GPU0 };

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *before = rig_tree(rig);
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), 0);
        for (unsigned i = 0; i < 8; i++) {
                struct fk_run run = rig_run(rig, "pod", L40S, 8);
                fk_run_done(&run);
                fk_pod_end(rig->k, "pod");
        }
        fk_set_seed(rig->k, 4);
        struct fk_ask ask = { .resource = L40S, .n = 1, .has_hint = true, .nodes = 1 };
        assert_int_equal(fk_admit(rig->k, "one", "main", false, &ask, 1, rig->text), 0);
        struct fk_run run;
        assert_int_equal(fk_container_start(rig->k, "one", "main", &run, rig->text), 0);
        if (streq(fk_run_env(&run, L40S_ENV), GPU0))
                assert_answer(&run, L40S_ENV, GPU0, nodes, 3);
        assert_int_equal(run.n_devices, 3);
        fk_run_done(&run);
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        rig_stop(rig);
}

static void test_all_eight_come_sorted_with_every_node_once(void **state)
{
        static const char *const nodes[] = { "/dev/vfio/vfio",
                                             "/dev/vfio/23",
                                             "/dev/vfio/25",
                                             "/dev/vfio/29",
                                             "/dev/vfio/31",
                                             "/dev/vfio/35",
                                             "/dev/vfio/37",
                                             "/dev/vfio/41",
                                             "/dev/vfio/43",
                                             "/dev/vfio/devices/vfio0",
                                             "/dev/vfio/devices/vfio1",
                                             "/dev/vfio/devices/vfio2",
                                             "/dev/vfio/devices/vfio3",
                                             "/dev/vfio/devices/vfio4",
                                             "/dev/vfio/devices/vfio5",
                                             "/dev/vfio/devices/vfio6",
                                             "/dev/vfio/devices/vfio7" };
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        struct fk_run run = rig_run(rig, "pod", L40S, 8);
        assert_answer(&run, L40S_ENV,
                      "0000:18:00.0,0000:19:00.0,0000:3a:00.0,0000:3b:00.0,0000:9a:00.0,0000:9b:00.0,0000:ba:00.0,0000:bb:00.0", nodes,
                      N_ELEMENTS(nodes));
        fk_run_done(&run);
        rig_stop(rig);
}

static void test_allocate_binds_a_host_drivers_device(void **state)
{
        struct rig *rig = *state;
        char override[64], group[64];

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        assert_driver(rig, GPU0, "nvidia");
        struct fk_run run = rig_run(rig, "pod", L40S, 2);
        const char *value = fk_run_env(&run, L40S_ENV);
        assert_non_null(value);
        char first[16], second[16];
        assert_int_equal(sscanf(value, "%12[^,],%12s", first, second), 2);
        assert_true(strcmp(first, second) < 0);
        assert_driver(rig, first, "vfio-pci");
        assert_driver(rig, second, "vfio-pci");
        assert_true(rig_has_node(&run, "/dev/vfio/vfio"));
        str_format(override, sizeof(override), "sys/bus/pci/devices/%s/iommu_group", first);
        rig_link(rig, override, group, sizeof(group));
        str_format(override, sizeof(override), "/dev/vfio/%s", group);
        assert_true(rig_has_node(&run, override));
        fk_run_done(&run);
        /* The others were left alone, and stay listed as healthy. */
        unsigned on_host = 0;
        static const char *const all[] = { "0000:18:00.0", "0000:19:00.0", "0000:3a:00.0", "0000:3b:00.0",
                                           "0000:9a:00.0", "0000:9b:00.0", "0000:ba:00.0", "0000:bb:00.0" };
        for (size_t i = 0; i < N_ELEMENTS(all); i++) {
                char driver[64];
                rig_driver(rig, all[i], driver, sizeof(driver));
                on_host += streq(driver, "nvidia");
        }
        assert_int_equal(on_host, 6);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(rig_log_count(rig, "host: 0000:"), 0); /* what it did itself is no news */
        rig_stop(rig);
        assert_driver(rig, first, "vfio-pci"); /* the end of the daemon unbinds nothing */
}

static void test_companions_are_bound_with_their_gpu(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "desktop-3090-second", "1.34",
                 CONFIG "rules:\n  - select: {addresses: [\"0000:02:00.0\"]}\n    resource: example.com/gpu\n    bind: on-allocate\n  - "
                        "deny: true\n");
        rig_ready(rig, "example.com/gpu", 1, 1);
        struct fk_run run = rig_run(rig, "pod", "example.com/gpu", 1);
        assert_string_equal(fk_run_env(&run, "PCI_RESOURCE_EXAMPLE_COM_GPU"), "0000:02:00.0");
        assert_int_equal(run.n_envs, 1);
        assert_true(rig_has_node(&run, "/dev/vfio/13"));
        fk_run_done(&run);
        assert_driver(rig, "0000:02:00.0", "vfio-pci");
        assert_driver(rig, "0000:02:00.1", "vfio-pci");
        assert_driver(rig, "0000:01:00.0", "nvidia"); /* the console's GPU and its audio */
        assert_driver(rig, "0000:01:00.1", "snd_hda_intel");
        rig_stop(rig);
}

static void test_repeated_allocates_touch_nothing(void **state)
{
        struct rig *rig = *state;
        struct fk_ask ask = { .resource = L40S, .n = 1 };
        const char *ids[1];
        char(*pod)[FK_ID_MAX];
        struct fk_run run;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_admit(rig->k, "pod", "init", true, &ask, 1, rig->text), 0);
        _cleanup_free_ char *before = rig_tree(rig);
        assert_int_equal(fk_admit(rig->k, "pod", "main", false, &ask, 1, rig->text), 0); /* init container's device again */
        assert_int_equal(fk_calls(rig->k).allocate, 2);
        assert_int_equal(fk_pod_devices(rig->k, "pod", "main", L40S, &pod), 1);
        ids[0] = pod[0];
        for (unsigned i = 0; i < 5; i++) {
                assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), 0);
                assert_int_equal(fk_container_start(rig->k, "pod", "main", &run, rig->text), 0);
                fk_run_done(&run);
        }
        free(pod);
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        rig_stop(rig);
}

static void test_requests_that_are_wrong_are_refused_whole(void **state)
{
        const char *unknown[] = { GPU0, "0000:ff:00.0" }, *twice[] = { GPU0, "0000:3a:00.0", GPU0 }, *sick[] = { GPU0, GPU1 };
        const char *bytes[] = { "caf\xc3\xa9\n\x01" };
        struct rig *rig = *state;
        struct {
                const char *const *ids;
                size_t n;
                int code;
                const char *says;
        } rows[] = { { unknown, 2, NOT_FOUND, "0000:ff:00.0" },
                     { twice, 3, INVALID_ARGUMENT, GPU0 },
                     { NULL, 0, INVALID_ARGUMENT, "no device" },
                     { sick, 2, FAILED_PRECONDITION, GPU1 },
                     { bytes, 1, NOT_FOUND, L40S } };

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        rig_unplug(rig, GPU1);
        rig_ready(rig, L40S, 8, 7);
        _cleanup_free_ char *before = rig_tree(rig);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                int code = fk_raw_allocate(rig->k, L40S, rows[i].ids, rows[i].n, rig->text);
                if (code != rows[i].code || !strstr(rig->text, rows[i].says))
                        fail_msg("row %zu: code %d, \"%s\"", i, code, rig->text);
                for (const char *c = rig->text; *c; c++)
                        assert_true((unsigned char)*c >= ' ');
        }
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        rig_stop(rig);
}

static void test_a_held_device_is_refused_by_the_holders_name(void **state)
{
        struct rig *rig = *state;
        const char *ids[] = { GPU0 };
        struct err err;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        ASSERT_OK(sim_hold(rig->sim, "dev/nvidia0", 4711, "xorg-server", &err), &err);
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), FAILED_PRECONDITION);
        assert_non_null(strstr(rig->text, "xorg-server"));
        assert_non_null(strstr(rig->text, "4711"));
        assert_driver(rig, GPU0, "nvidia");
        ASSERT_OK(sim_hold(rig->sim, "dev/nvidia0", -4711, "", &err), &err);
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), 0);
        assert_driver(rig, GPU0, "vfio-pci");
        rig_stop(rig);
}

static void test_a_bound_device_that_is_still_open_waits_and_is_refused(void **state)
{
        struct rig *rig = *state;
        const char *ids[] = { GPU0 };
        struct err err;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), 0);
        ASSERT_OK(sim_hold(rig->sim, "dev/vfio/23", 4712, "qemu-kvm", &err), &err);
        int64_t before = clock_ms();
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), FAILED_PRECONDITION);
        assert_true(clock_ms() - before >= 1500); /* up to 2 s for the former VM to end */
        assert_non_null(strstr(rig->text, "qemu-kvm"));
        ASSERT_OK(sim_hold(rig->sim, "dev/vfio/23", -4712, "", &err), &err);
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), 0);
        rig_stop(rig);
}

static void test_a_probe_that_fails_is_rolled_back(void **state)
{
        struct rig *rig = *state;
        const char *ids[] = { GPU0 };

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *before = rig_tree(rig);
        rig_fault(rig, "drivers_probe 0000:18:00.0 ignore times 1");
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), INTERNAL);
        assert_non_null(strstr(rig->text, GPU0));
        assert_driver(rig, GPU0, "nvidia");
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        assert_true(rig_wait_health(rig, L40S, GPU0, "Healthy", RIG_SOON_MS));
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), 0); /* the second try goes through */
        assert_driver(rig, GPU0, "vfio-pci");
        rig_stop(rig);
}

static void test_a_slow_driver_is_waited_for_within_the_deadline(void **state)
{
        struct rig *rig = *state;
        const char *ids[] = { GPU0 }, *other[] = { "0000:bb:00.0" };

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        rig_fault(rig, "unbind 0000:18:00.0 delay 1500 times 1");
        int64_t before = clock_ms();
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), 0);
        assert_true(clock_ms() - before >= 1400);
        assert_driver(rig, GPU0, "vfio-pci");
        assert_int_equal(fk_raw_allocate(rig->k, L40S, other, 1, rig->text), 0);
        rig_stop(rig);
}

struct job {
        struct rig *rig;
        const char *id;
        int code;
        atomic_bool over;
        char text[FK_TEXT_MAX];
};

static void *allocate_thread(void *arg)
{
        struct job *job = arg;

        job->code = fk_raw_allocate(job->rig->k, L40S, &job->id, 1, job->text);
        atomic_store(&job->over, true);
        return NULL;
}

/* Has it been answered in time? If not, what hangs is let go of, so that the test comes to its end. */
static bool answered(struct job *job, pthread_t thread)
{
        for (int64_t until = clock_ms() + RIG_SOON_MS; !atomic_load(&job->over) && clock_ms() < until;)
                (void)usleep(5000);
        bool over = atomic_load(&job->over);
        if (!over)
                rig_fault(job->rig, "");
        assert_int_equal(pthread_join(thread, NULL), 0);
        return over;
}

static void test_a_hung_unbind_makes_one_device_stuck_and_the_rest_work(void **state)
{
        struct rig *rig = *state;
        const char *ids[] = { GPU0 };
        struct job job = { .rig = rig, .id = GPU0 }, other = { .rig = rig, .id = "0000:bb:00.0" };
        pthread_t thread, other_thread;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE "bindDeadline: 5s\n");
        rig_ready(rig, L40S, 8, 8);
        rig_fault(rig, "unbind 0000:18:00.0 hang");
        assert_int_equal(pthread_create(&thread, NULL, allocate_thread, &job), 0);
        (void)usleep(300 * 1000);
        /* Meanwhile the loop answers and other cards work. */
        assert_int_equal(pthread_create(&other_thread, NULL, allocate_thread, &other), 0);
        bool other_answered = answered(&other, other_thread), before = !atomic_load(&job.over);
        bool given_up = answered(&job, thread);
        assert_true(other_answered && before);
        assert_int_equal(other.code, 0);
        assert_driver(rig, "0000:bb:00.0", "vfio-pci");
        assert_true(given_up);
        assert_int_equal(job.code, DEADLINE_EXCEEDED);
        assert_non_null(strstr(job.text, GPU0));
        rig_ready(rig, L40S, 8, 7);
        assert_string_equal(rig_health(rig, L40S, GPU0), "Unhealthy");
        /* Never again in this boot, not even looked at: refused by name. */
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), FAILED_PRECONDITION);
        assert_non_null(strstr(rig->text, "stuck"));
        rig_fault(rig, ""); /* let the hand go, so that nothing outlives the test */
        rig_stop(rig);
}

static void test_an_allocate_under_way_at_sigterm_is_answered(void **state)
{
        struct rig *rig = *state;
        struct job job = { .rig = rig, .id = GPU0 };
        pthread_t thread;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        rig_fault(rig, "unbind 0000:18:00.0 delay 700 times 1");
        assert_int_equal(pthread_create(&thread, NULL, allocate_thread, &job), 0);
        (void)usleep(200 * 1000);
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        /* The plan at work came to its end in time, so kubelet got its answer before the streams ended. */
        if (job.code != 0)
                fail_msg("code %d: %s", job.code, job.text);
        assert_driver(rig, GPU0, "vfio-pci");
        rig_stop(rig);
}

static void test_a_hand_that_dies_is_said_and_the_next_request_works(void **state)
{
        struct rig *rig = *state;
        const char *ids[] = { GPU0 };
        struct job job = { .rig = rig, .id = GPU0 };
        pthread_t thread;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        rig_fault(rig, "unbind 0000:18:00.0 delay 1200 times 1");
        assert_int_equal(pthread_create(&thread, NULL, allocate_thread, &job), 0);
        (void)usleep(400 * 1000);
        pid_t worker = rig_worker(rig, GPU0);
        assert_true(worker > 0);
        assert_int_equal(kill(worker, SIGKILL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(job.code, ABORTED);
        assert_non_null(strstr(job.text, GPU0));
        (void)usleep(1500 * 1000); /* the kernel's own work goes on without the writer */
        assert_true(rig_wait_health(rig, L40S, GPU0, "Healthy", RIG_SOON_MS));
        if (fk_raw_allocate(rig->k, L40S, ids, 1, rig->text) != 0)
                fail_msg("the next Allocate: %s", rig->text);
        assert_driver(rig, GPU0, "vfio-pci");
        rig_stop(rig);
}

static void test_a_daemon_killed_in_the_middle_of_a_bind_finds_its_way(void **state)
{
        struct rig *rig = *state;
        const char *ids[] = { GPU0 };
        struct job job = { .rig = rig, .id = GPU0 };
        pthread_t thread;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        rig_fault(rig, "unbind 0000:18:00.0 delay 800 times 1");
        assert_int_equal(pthread_create(&thread, NULL, allocate_thread, &job), 0);
        (void)usleep(300 * 1000);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_not_equal(job.code, 0);
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        /* The hand of the dead daemon may still be at work and hold the card's lock: then it says so and nothing else. */
        for (int64_t until = clock_ms() + RIG_SOON_MS; (job.code = fk_raw_allocate(rig->k, L40S, ids, 1, rig->text)) != 0;) {
                if (clock_ms() > until)
                        fail_msg("code %d: %s", job.code, rig->text);
                (void)usleep(100 * 1000);
        }
        assert_driver(rig, GPU0, "vfio-pci");
        rig_stop(rig);
}

static void test_a_freed_device_goes_to_the_next_pod_at_once(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        for (unsigned i = 0; i < 3; i++) {
                struct fk_run run = rig_run(rig, "pod", L40S, 8);
                fk_run_done(&run);
                fk_pod_end(rig->k, "pod");
        }
        rig_stop(rig);
}

static void test_two_resources_in_one_container_do_not_contradict(void **state)
{
        struct fk_ask asks[] = { { .resource = "nvidia.com/AD102GL_L40S", .n = 2 }, { .resource = "nvidia.com/AD104GL_L4", .n = 1 } };
        struct rig *rig = *state;
        struct fk_run run;

        rig_open(rig, "gpus-64-of-16-vfio", "1.34", NULL);
        rig_ready(rig, asks[0].resource, 4, 4);
        rig_ready(rig, asks[1].resource, 4, 4);
        assert_int_equal(fk_admit(rig->k, "pod", "main", false, asks, 2, rig->text), 0);
        assert_int_equal(fk_container_start(rig->k, "pod", "main", &run, rig->text), 0);
        assert_int_equal(run.n_envs, 2);
        assert_int_equal(run.conflicts, 0);
        assert_true(rig_has_node(&run, "/dev/vfio/vfio")); /* in both answers */
        fk_run_done(&run);
        rig_stop(rig);
}

static void test_prestart_binds_again_what_was_lost(void **state)
{
        struct rig *rig = *state;
        struct fk_run run;
        struct err err;

        rig_open(rig, "l40s-8", "1.34",
                 CONFIG "rules:\n  - select: {addresses: [\"0000:18:00.0\"]}\n    resource: example.com/gpu\n    bind: on-allocate\n");
        rig_ready(rig, "example.com/gpu", 1, 1);
        assert_int_equal(fk_admit_one(rig->k, "pod", "example.com/gpu", 1, rig->text), 0);
        assert_driver(rig, GPU0, "vfio-pci");
        /* Somebody takes it off its driver between two starts of the container. */
        ASSERT_OK(sim_write(rig->sim, "bus/pci/drivers/vfio-pci/unbind", GPU0, &err), &err);
        assert_int_equal(fk_container_start(rig->k, "pod", "main", &run, rig->text), 0);
        fk_run_done(&run);
        assert_driver(rig, GPU0, "vfio-pci");
        assert_int_equal(rig_log_count(rig, "info sluiced: host: 0000:18:00.0 driver vfio-pci -> none"), 1); /* what others did is */
        assert_int_equal(rig_log_count(rig, "-> vfio-pci"), 0);
        rig_stop(rig);
}

static void test_two_gpus_of_one_group_are_one_device_by_rule(void **state)
{
        struct rig *rig = *state;
        struct fk_device *list;

        rig_open(rig, "two-gpus-one-group", "1.34", CONFIG "rules:\n  - group: one-device\n");
        rig_ready(rig, L40S, 2, 2);
        size_t n = fk_devices(rig->k, L40S, &list);
        assert_int_equal(n, 2);
        assert_string_equal(list[0].id, "0000:03:00.0");
        assert_string_equal(list[1].id, "0000:05:00.0");
        free(list);
        struct fk_run run = rig_run(rig, "pod", L40S, 2);
        assert_string_equal(fk_run_env(&run, L40S_ENV), "0000:03:00.0,0000:05:00.0");
        assert_true(rig_has_node(&run, "/dev/vfio/20") && rig_has_node(&run, "/dev/vfio/22"));
        fk_run_done(&run);
        rig_stop(rig);
}

static void test_mdev_instances_are_given_by_uuid(void **state)
{
        static const char *const nodes[] = { "/dev/vfio/vfio", "/dev/vfio/120", "/dev/vfio/121" };
        struct rig *rig = *state;

        rig_open(rig, "mdev-a2", "1.34", NULL);
        rig_ready(rig, "nvidia.com/NVIDIA_A2-4Q", 2, 2);
        struct fk_run run = rig_run(rig, "pod", "nvidia.com/NVIDIA_A2-4Q", 2);
        assert_answer(&run, "MDEV_PCI_RESOURCE_NVIDIA_COM_NVIDIA_A2-4Q",
                      "6bd3d5f6-1d4c-4c0a-9a53-0a3a7f1e5b01,c1f0a6de-52b7-4a7e-8f5d-3b9d6c2e7a02", nodes, 3);
        fk_run_done(&run);
        rig_stop(rig);
}

static void test_vendor_vfio_functions_are_given_by_address(void **state)
{
        static const char *const nodes[] = { "/dev/vfio/vfio", "/dev/vfio/160", "/dev/vfio/161", "/dev/vfio/devices/vfio0",
                                             "/dev/vfio/devices/vfio1" };
        struct rig *rig = *state;

        rig_open(rig, "vgpu-l40s", "1.34", NULL);
        rig_ready(rig, "nvidia.com/NVIDIA_L40S-24Q", 2, 2);
        struct fk_run run = rig_run(rig, "pod", "nvidia.com/NVIDIA_L40S-24Q", 2);
        assert_answer(&run, "PCI_RESOURCE_NVIDIA_COM_NVIDIA_L40S-24Q", "0000:26:00.4,0000:26:00.5", nodes, 5);
        fk_run_done(&run);
        assert_driver(rig, "0000:26:00.4", "nvidia"); /* stays on its driver */
        rig_stop(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_an_endless_id_does_not_hide_the_refusal_in_the_log),
                RIG_TEST(test_a_bound_device_gives_exactly_kubevirts_answer_and_touches_nothing),
                RIG_TEST(test_all_eight_come_sorted_with_every_node_once),
                RIG_TEST(test_allocate_binds_a_host_drivers_device),
                RIG_TEST(test_companions_are_bound_with_their_gpu),
                RIG_TEST(test_repeated_allocates_touch_nothing),
                RIG_TEST(test_requests_that_are_wrong_are_refused_whole),
                RIG_TEST(test_a_held_device_is_refused_by_the_holders_name),
                RIG_TEST(test_a_bound_device_that_is_still_open_waits_and_is_refused),
                RIG_TEST(test_a_probe_that_fails_is_rolled_back),
                RIG_TEST(test_a_slow_driver_is_waited_for_within_the_deadline),
                RIG_TEST(test_a_hung_unbind_makes_one_device_stuck_and_the_rest_work),
                RIG_TEST(test_an_allocate_under_way_at_sigterm_is_answered),
                RIG_TEST(test_a_hand_that_dies_is_said_and_the_next_request_works),
                RIG_TEST(test_a_daemon_killed_in_the_middle_of_a_bind_finds_its_way),
                RIG_TEST(test_a_freed_device_goes_to_the_next_pod_at_once),
                RIG_TEST(test_two_resources_in_one_container_do_not_contradict),
                RIG_TEST(test_prestart_binds_again_what_was_lost),
                RIG_TEST(test_two_gpus_of_one_group_are_one_device_by_rule),
                RIG_TEST(test_mdev_instances_are_given_by_uuid),
                RIG_TEST(test_vendor_vfio_functions_are_given_by_address),
        };

        return RUN(tests);
}
