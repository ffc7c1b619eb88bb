/* SPDX-License-Identifier: Apache-2.0 */
/* Rows D (allocation) and E (plugin watcher). */
#include "selftest.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

/* D1-D7 */

static void test_each_container_and_resource_is_one_allocate_in_random_order(void **state)
{
        struct world w;
        bool shuffled = false;

        (void)state;
        world_open(&w, "1.34", 6);
        registered(&w, 6);
        for (unsigned i = 0; i < 8 && !shuffled; i++) {
                assert_int_equal(fk_admit_one(w.k, "pod", GPU, 6, w.text), 0);
                shuffled = !streq(fk_calls(w.k).allocate_ids, "d0,d1,d2,d3,d4,d5");
                assert_int_equal(fk_calls(w.k).allocate, i + 1);
                assert_int_equal(fk_admit_one(w.k, "late", GPU, 1, w.text), -1);
                assert_string_equal(w.text, "Allocate failed due to requested number of devices unavailable for example.com/gpu. "
                                            "Requested: 1, Available: 0, which is unexpected");
                fk_pod_end(w.k, "pod"); /* free at once */
        }
        assert_true(shuffled);
        world_close(&w, false);
}

static void test_preferred_allocation_is_asked_with_and_without_a_hint(void **state)
{
        struct fk_ask hinted = { .resource = GPU, .n = 1, .has_hint = true, .nodes = 1u << 1 };
        struct world w;
        char(*ids)[FK_ID_MAX];

        (void)state;
        world_open(&w, "1.34", 4); /* d1 and d3 on node 1 */
        registered(&w, 4);
        w.p.n_preferred = 2;
        w.p.preferred_answer[0] = "unknown"; /* dropped */
        w.p.preferred_answer[1] = "d2";
        assert_int_equal(fk_admit_one(w.k, "one", GPU, 1, w.text), 0);
        assert_string_equal(fk_calls(w.k).allocate_ids, "d2");
        assert_int_equal(fk_calls(w.k).available, 4);
        assert_int_equal(fk_calls(w.k).must, 0);
        assert_int_equal(fk_calls(w.k).size, 1);

        /* d1 and d3 are aligned; d2's wish is outside of them and is cut away. */
        assert_int_equal(fk_admit(w.k, "two", "main", false, &hinted, 1, w.text), 0);
        assert_int_equal(fk_calls(w.k).available, 2);
        assert_int_equal(fk_pod_devices(w.k, "two", "main", GPU, &ids), 1);
        assert_true(streq(ids[0], "d1") || streq(ids[0], "d3"));
        free(ids);

        /* More than is aligned: all of it first, then the plugin is asked for the rest. */
        fk_pod_end(w.k, "one");
        fk_pod_end(w.k, "two");
        hinted.n = 3;
        assert_int_equal(fk_admit(w.k, "three", "main", false, &hinted, 1, w.text), 0);
        assert_int_equal(fk_calls(w.k).must, 2);
        assert_int_equal(fk_calls(w.k).size, 3);
        assert_int_equal(fk_pod_devices(w.k, "three", "main", GPU, &ids), 3);
        assert_string_equal(ids[0], "d1");
        assert_string_equal(ids[1], "d2");
        assert_string_equal(ids[2], "d3");
        free(ids);
        fk_pod_end(w.k, "three");

        w.p.preferred_code = 3;
        assert_int_equal(fk_admit_one(w.k, "four", GPU, 1, w.text), -1);
        assert_non_null(
                strstr(w.text, "GetPreferredAllocation rpc failed with err: rpc error: code = InvalidArgument desc = cannot prefer"));
        assert_int_equal(fk_calls(w.k).allocate, 3);
        world_close(&w, false);
}

static void test_a_plugin_without_preferences_is_not_asked(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 4);
        w.p.no_preferred = true;
        w.p.preferred_code = 13;
        registered(&w, 4);
        assert_int_equal(fk_admit_one(w.k, "pod", GPU, 1, w.text), 0);
        assert_int_equal(fk_calls(w.k).preferred, 0);
        world_close(&w, false);
}

static void test_an_init_containers_devices_are_allocated_again(void **state)
{
        struct fk_ask ask = { .resource = GPU, .n = 2 };
        struct world w;
        char(*init)[FK_ID_MAX], (*app)[FK_ID_MAX];

        (void)state;
        world_open(&w, "1.34", 3);
        registered(&w, 3);
        assert_int_equal(fk_admit(w.k, "pod", "init", true, &ask, 1, w.text), 0);
        assert_int_equal(fk_admit(w.k, "pod", "main", false, &ask, 1, w.text), 0);
        assert_int_equal(fk_calls(w.k).allocate, 2);
        assert_int_equal(fk_pod_devices(w.k, "pod", "init", GPU, &init), 2);
        assert_int_equal(fk_pod_devices(w.k, "pod", "main", GPU, &app), 2);
        assert_string_equal(init[0], app[0]);
        assert_string_equal(init[1], app[1]);
        free(init);
        free(app);
        /* Asked again for a record it has, kubelet does nothing. */
        assert_int_equal(fk_admit(w.k, "pod", "main", false, &ask, 1, w.text), 0);
        assert_int_equal(fk_calls(w.k).allocate, 2);
        ask.n = 1;
        assert_int_equal(fk_admit(w.k, "pod", "main", false, &ask, 1, w.text), -1);
        assert_non_null(strstr(w.text, "changed request for resource"));
        world_close(&w, false);
}

static void test_prestart_runs_at_every_start_and_its_error_fails_the_start(void **state)
{
        struct world w;
        struct fk_run run;

        (void)state;
        world_open(&w, "1.34", 3);
        registered(&w, 3);
        assert_int_equal(fk_admit_one(w.k, "pod", GPU, 1, w.text), 0);
        for (unsigned i = 1; i <= 2; i++) {
                assert_int_equal(fk_container_start(w.k, "pod", "main", &run, w.text), 0);
                fk_run_done(&run);
                assert_int_equal(fk_calls(w.k).prestart, i);
        }
        w.p.prestart_code = 9;
        assert_int_equal(fk_container_start(w.k, "pod", "main", &run, w.text), -1);
        assert_string_equal(w.text,
                            "device plugin PreStartContainer rpc failed with err: rpc error: code = FailedPrecondition desc = not yet");
        world_close(&w, false);
}

static void test_an_allocate_error_fails_the_pod_and_frees_its_devices(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 1);
        registered(&w, 1);
        w.p.allocate_code = 9;
        assert_int_equal(fk_admit_one(w.k, "pod", GPU, 1, w.text), -1);
        assert_string_equal(w.text,
                            "Allocate failed due to rpc error: code = FailedPrecondition desc = device d0 is on fire, which is unexpected");
        w.p.allocate_code = 0;
        w.p.empty_answer = true;
        assert_int_equal(fk_admit_one(w.k, "pod", GPU, 1, w.text), -1);
        assert_string_equal(w.text, "Allocate failed due to no containers return in allocation response , which is unexpected");
        w.p.empty_answer = false;
        assert_int_equal(fk_admit_one(w.k, "pod", GPU, 1, w.text), -1); /* it stays taken */
        assert_non_null(strstr(w.text, "Requested: 1, Available: 0"));
        assert_int_equal(fk_admit_one(w.k, "other", "example.com/never-heard-of", 1, w.text), 0); /* and runs without */
        world_close(&w, false);
}

static void test_an_id_dropped_during_its_allocate_crashes_kubelet_from_1_34_on(void **state)
{
        static const struct {
                const char *profile;
                bool crashes;
        } rows[] = { { "1.26", false }, { "1.33", false }, { "1.34", true }, { "1.37", true } };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct world w;
                world_open(&w, rows[i].profile, 2);
                registered(&w, 2);
                w.p.drop_on_allocate = true;
                assert_int_equal(fk_admit_one(w.k, "pod", GPU, 1, w.text), rows[i].crashes ? -1 : 0);
                assert_int_equal(fk_crash(w.k)[0] != '\0', rows[i].crashes);
                world_close(&w, rows[i].crashes);
        }
}

static void test_answers_of_several_resources_merge_first_wins(void **state)
{
        struct fk_ask asks[] = { { .resource = GPU, .n = 1 }, { .resource = NIC, .n = 1 } };
        struct world w;
        struct plugin other;
        unsigned first_gpu = 0, first_nic = 0;

        (void)state;
        world_open(&w, "1.34", 1);
        registered(&w, 1);
        plugin_start(&other, w.dir, NIC, "nic.sock", 1);
        assert_int_equal(plugin_register(&other, SOON, w.text), 0);
        assert_true(fk_wait_devices(w.k, NIC, 1, 1, SOON));
        assert_int_equal(fk_admit(w.k, "pod", "main", false, asks, 2, w.text), 0);
        for (unsigned i = 0; i < 30 && !(first_gpu && first_nic); i++) {
                struct fk_run run;
                assert_int_equal(fk_container_start(w.k, "pod", "main", &run, w.text), 0);
                assert_int_equal(run.n_envs, 1);
                assert_int_equal(run.n_devices, 1);
                assert_int_equal(run.conflicts, 1); /* the variable; the same node twice is none */
                assert_string_equal(run.permissions, "mrw");
                first_gpu += streq(fk_run_env(&run, "SHARED"), GPU);
                first_nic += streq(fk_run_env(&run, "SHARED"), NIC);
                fk_run_done(&run);
        }
        assert_true(first_gpu && first_nic);
        plugin_stop(&other);
        world_close(&w, false);
}

/* E1-E2 */

static void test_the_watcher_asks_registers_and_tells(void **state)
{
        static const char *const profiles[] = { "1.26", "1.31", "1.37" };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(profiles); i++) {
                struct world w;
                char raw[256];
                world_open(&w, profiles[i], 2);
                plugin_watch_socket(&w.p, "gpu-reg.sock");
                assert_true(fk_wait_devices(w.k, GPU, 2, 2, SOON));
                for (int64_t until = clock_ms() + SOON; fk_calls(w.k).notify_ok == 0 && clock_ms() < until;)
                        usleep(5000);
                assert_true(w.p.registered);
                str_format(raw, sizeof(raw), "%s/plugins_registry/gpu-reg.sock", w.dir);
                if (i == 0)
                        assert_string_equal(w.p.authority, raw);
                else
                        assert_true(str_has_prefix(w.p.authority, "%2Ftmp%2Ffk-selftest"));
                assert_string_equal(w.p.watch_authority, "localhost");
                /* Rescan at start: nothing was wiped there, nobody did anything. */
                unlink(w.p.path);
                assert_true(fk_restart(w.k, 0));
                world_close(&w, false);
        }
}

static bool was_told_once(struct fk *k, void *ctx)
{
        (void)ctx;
        return fk_calls(k).notify_failed >= 1;
}

static bool was_told(struct fk *k, void *ctx)
{
        (void)ctx;
        return fk_calls(k).notify_failed >= 2;
}

static bool asked_twice(struct fk *k, void *ctx)
{
        (void)ctx;
        return fk_calls(k).get_info >= 2;
}

static void test_the_watcher_tells_of_failures_and_tries_again(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 2);
        fk_set_backoff_ms(w.k, 50);
        w.p.type = "CSIPlugin";
        plugin_watch_socket(&w.p, "gpu-reg.sock");
        assert_true(fk_wait(w.k, SOON, was_told, NULL));
        assert_true(w.p.refused);
        w.p.type = NULL;
        assert_true(fk_wait_devices(w.k, GPU, 2, 2, SOON));
        world_close(&w, false);
}

static void test_a_plugin_slower_than_a_second_is_not_registered(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 2);
        w.p.slow_info_ms = 1300;
        plugin_watch_socket(&w.p, "gpu-reg.sock");
        assert_true(fk_wait(w.k, SOON, asked_twice, NULL));
        assert_false(counts(&w, GPU).known);
        world_close(&w, false);
}

static bool deregistered(struct fk *k, void *ctx)
{
        struct fk_counts c;

        (void)ctx;
        (void)fk_counts(k, GPU, &c);
        return c.known && !c.running;
}

static void test_a_failing_notify_or_a_removed_socket_deregisters(void **state)
{
        struct world w;
        char path[160];

        (void)state;
        world_open(&w, "1.36", 2);
        fk_set_backoff_ms(w.k, 300);
        w.p.notify_fails = true;
        plugin_watch_socket(&w.p, "gpu-reg.sock");
        assert_true(fk_wait(w.k, SOON, deregistered, NULL));
        w.p.notify_fails = false;
        assert_true(fk_wait_devices(w.k, GPU, 2, 2, SOON));
        unsigned asked = fk_calls(w.k).get_info;
        str_format(path, sizeof(path), "%s/plugins_registry/gpu-reg.sock", w.dir);
        assert_int_equal(unlink(path), 0);
        assert_true(fk_wait_devices(w.k, GPU, 2, 0, SOON));
        plugin_watch_socket(&w.p, "gpu-reg.sock"); /* re-created */
        assert_true(fk_wait_devices(w.k, GPU, 2, 2, SOON));
        assert_true(fk_calls(w.k).get_info > asked);
        world_close(&w, false);
}

static void test_until_1_34_a_service_out_of_reach_is_not_tried_again(void **state)
{
        static const char *const profiles[] = { "1.26", "1.34", "1.36" };

        (void)state;
        for (size_t i = 0; i < 3; i++) {
                struct world w;
                world_open(&w, profiles[i], 2);
                fk_set_backoff_ms(w.k, 50);
                fk_set_dial_ms(w.k, 300);
                w.p.options_code = 14;
                plugin_watch_socket(&w.p, "gpu-reg.sock");
                assert_true(fk_wait(w.k, SOON, was_told_once, NULL));
                w.p.options_code = 0;
                (void)usleep(1500 * 1000);
                assert_int_equal(counts(&w, GPU).allocatable, i == 2 ? 2 : 0);
                plugin_watch_socket(&w.p, "gpu-reg.sock"); /* re-created */
                assert_true(fk_wait_devices(w.k, GPU, 2, 2, SOON));
                world_close(&w, false);
        }
}

int selftest_pods(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_each_container_and_resource_is_one_allocate_in_random_order),
                TEST(test_preferred_allocation_is_asked_with_and_without_a_hint),
                TEST(test_a_plugin_without_preferences_is_not_asked),
                TEST(test_an_init_containers_devices_are_allocated_again),
                TEST(test_prestart_runs_at_every_start_and_its_error_fails_the_start),
                TEST(test_an_allocate_error_fails_the_pod_and_frees_its_devices),
                TEST(test_an_id_dropped_during_its_allocate_crashes_kubelet_from_1_34_on),
                TEST(test_answers_of_several_resources_merge_first_wins),
                TEST(test_the_watcher_asks_registers_and_tells),
                TEST(test_the_watcher_tells_of_failures_and_tries_again),
                TEST(test_a_plugin_slower_than_a_second_is_not_registered),
                TEST(test_a_failing_notify_or_a_removed_socket_deregisters),
                TEST(test_until_1_34_a_service_out_of_reach_is_not_tried_again),
        };

        return RUN(tests);
}
