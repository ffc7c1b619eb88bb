/* SPDX-License-Identifier: Apache-2.0 */
/* Every row of the fake kubelet: shown to behave, and shown to catch a plugin that does it wrong. */
#include "selftest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

void world_open(struct world *w, const char *profile, size_t n_devices)
{
        *w = (struct world){ 0 };
        str_format(w->dir, sizeof(w->dir), "/tmp/fk-selftest-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        w->k = fk_start(w->dir, fk_profile(profile));
        assert_non_null(w->k);
        plugin_start(&w->p, w->dir, GPU, "gpu-1.sock", n_devices);
}

void world_close(struct world *w, bool crashed)
{
        char command[128];

        assert_int_equal(fk_stop(w->k), !crashed);
        plugin_stop(&w->p);
        str_format(command, sizeof(command), "rm -rf %s", w->dir);
        assert_int_equal(system(command), 0);
}

void registered(struct world *w, size_t n)
{
        assert_int_equal(plugin_register(&w->p, SOON, w->text), 0);
        assert_true(fk_wait_devices(w->k, GPU, (unsigned)n, (unsigned)n, SOON));
}

struct fk_counts counts(struct world *w, const char *resource)
{
        struct fk_counts c;

        (void)fk_counts(w->k, resource, &c);
        return c;
}

/* A1-A7 */

static void test_register_dials_and_asks_options_before_it_answers(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 2);
        w.p.slow_options_ms = 150;
        int64_t before = clock_ms();
        registered(&w, 2);
        assert_true(clock_ms() - before >= 150);
        assert_int_equal(fk_calls(w.k).options, 1);
        assert_string_equal(w.p.watch_authority, "localhost");
        /* The request said no to both options; GetDevicePluginOptions counts. */
        assert_true(counts(&w, GPU).pre_start && counts(&w, GPU).preferred);
        world_close(&w, false);
}

static void test_register_of_a_socket_nobody_serves_fails_after_the_dial(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 2);
        fk_set_dial_ms(w.k, 300);
        str_format(w.p.name, sizeof(w.p.name), "nobody.sock");
        int64_t before = clock_ms();
        assert_int_equal(plugin_register(&w.p, SOON, w.text), 2);
        assert_true(clock_ms() - before >= 290);
        assert_string_equal(w.text, "failed to dial device plugin: context deadline exceeded");
        assert_false(counts(&w, GPU).known);
        world_close(&w, false);
}

static bool one_stream(struct fk *k, void *ctx)
{
        struct fk_counts c;

        (void)ctx;
        return fk_counts(k, GPU, &c) && c.streams == 1;
}

static void test_the_list_comes_before_or_after_the_reply(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 2);
        fk_order(w.k, FK_ORDER_LIST_FIRST);
        assert_int_equal(plugin_register(&w.p, SOON, w.text), 0);
        assert_int_equal(counts(&w, GPU).lists, 1);
        plugin_end_streams(&w.p);
        assert_true(fk_wait_devices(w.k, GPU, 2, 0, SOON));
        fk_order(w.k, FK_ORDER_REPLY_FIRST);
        assert_int_equal(plugin_register(&w.p, SOON, w.text), 0);
        assert_true(fk_wait(w.k, SOON, one_stream, NULL));
        world_close(&w, false);
}

static void test_a_passed_deadline_of_register_matters_from_1_35_on(void **state)
{
        static const struct {
                const char *profile;
                bool finishes;
        } rows[] = { { "1.26", true }, { "1.34", true }, { "1.35", false }, { "1.37", false } };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct world w;
                world_open(&w, rows[i].profile, 2);
                w.p.slow_options_ms = 400;
                assert_int_equal(plugin_register(&w.p, 150, w.text), 4);
                assert_int_equal(fk_wait_devices(w.k, GPU, 2, 2, rows[i].finishes ? SOON : 1000), rows[i].finishes);
                world_close(&w, false);
        }
}

static void test_refusals_have_code_unknown_and_kubelets_words(void **state)
{
        static const char *const names[] = {
                "gpu", "kubernetes.io/gpu", "NVIDIA.com/gpu", "nvidia.com/a/b", "nvidia.com/-x", "requests.x.com/gpu", "a.b/"
        };
        struct world w;
        char want[FK_TEXT_MAX];

        (void)state;
        world_open(&w, "1.34", 2);
        for (size_t i = 0; i < N_ELEMENTS(names); i++) {
                str_format(w.p.resource, sizeof(w.p.resource), "%s", names[i]);
                assert_int_equal(plugin_register(&w.p, SOON, w.text), 2);
                str_format(want, sizeof(want), "the ResourceName \"%s\" is invalid", names[i]);
                assert_string_equal(w.text, want);
        }
        str_format(w.p.resource, sizeof(w.p.resource), "nvidia.com/GP102GL_Tesla_P40");
        assert_int_equal(plugin_register(&w.p, SOON, w.text), 0);
        str_format(w.p.resource, sizeof(w.p.resource), "%s", GPU);
        fk_refuse(w.k, GPU, 14, "come back later", 1);
        assert_int_equal(plugin_register(&w.p, SOON, w.text), 14);
        assert_string_equal(w.text, "come back later");
        registered(&w, 2);
        world_close(&w, false);
}

static void test_failing_options_mean_no_list(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 2);
        w.p.options_code = 13;
        assert_int_equal(plugin_register(&w.p, SOON, w.text), 2);
        assert_string_equal(w.text, "failed to get device plugin options: rpc error: code = Internal desc = no options today");
        assert_false(fk_wait_devices(w.k, GPU, 2, 2, 200));
        assert_false(counts(&w, GPU).known);
        world_close(&w, false);
}

static void test_reregistering_with_the_old_stream_open_is_punished_until_1_36(void **state)
{
        static const struct {
                const char *profile;
                unsigned allocatable;
        } rows[] = { { "1.26", 0 }, { "1.36", 0 }, { "1.37", 2 } };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct world w;
                struct plugin again;
                world_open(&w, rows[i].profile, 2);
                registered(&w, 2);
                plugin_start(&again, w.dir, GPU, "gpu-2.sock", 2);
                assert_int_equal(plugin_register(&again, SOON, w.text), 0);
                assert_true(fk_wait_devices(w.k, GPU, 2, 2, SOON));
                plugin_end_streams(&w.p); /* the old one */
                assert_int_equal(fk_wait_devices(w.k, GPU, 2, 0, rows[i].allocatable ? 300 : SOON), rows[i].allocatable == 0);
                assert_int_equal(counts(&w, GPU).allocatable, rows[i].allocatable);
                plugin_stop(&again);
                world_close(&w, false);
        }
}

static void test_the_same_socket_twice_is_refused_by_1_37(void **state)
{
        struct world w;
        char want[256];

        (void)state;
        world_open(&w, "1.37", 2);
        registered(&w, 2);
        assert_int_equal(plugin_register(&w.p, SOON, w.text), 2);
        str_format(want, sizeof(want), "device plugin already connected: %s", w.p.path);
        assert_string_equal(w.text, want);
        plugin_end_streams(&w.p);
        assert_true(fk_wait_devices(w.k, GPU, 2, 0, SOON));
        registered(&w, 2);
        world_close(&w, false);
}

static void test_a_failed_reregistration_leaves_devices_on_a_dead_endpoint(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.36", 2);
        registered(&w, 2);
        w.p.options_code = 13;
        assert_int_equal(plugin_register(&w.p, SOON, w.text), 2);
        plugin_end_streams(&w.p);
        assert_false(fk_wait_devices(w.k, GPU, 2, 0, 300));
        assert_int_equal(counts(&w, GPU).streams, 0);
        world_close(&w, false);
}

/* B1-B3 */

static void test_the_end_of_a_stream_takes_allocatable_and_later_capacity(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 3);
        fk_set_grace_ms(w.k, 600);
        registered(&w, 3);
        plugin_end_streams(&w.p);
        assert_true(fk_wait_devices(w.k, GPU, 3, 0, SOON));
        assert_true(fk_wait_devices(w.k, GPU, 0, 0, SOON));
        assert_int_equal(counts(&w, GPU).streams, 0); /* never tried again */
        world_close(&w, false);
}

static int connect_errno(const char *path)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)str_copy(a.sun_path, sizeof(a.sun_path), path);
        int r = connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? errno : 0;
        (void)close(fd);
        return r;
}

static void test_a_restart_wipes_and_binds_before_it_listens(void **state)
{
        static const struct {
                const char *profile;
                bool files;
        } rows[] = { { "1.26", true }, { "1.32", true }, { "1.33", false }, { "1.36", false } };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct world w;
                char file[160], checkpoint[160], socket[160];
                world_open(&w, rows[i].profile, 2);
                str_format(file, sizeof(file), "%s/device-plugins/a-file", w.dir);
                str_format(checkpoint, sizeof(checkpoint), "%s/device-plugins/kubelet_internal_checkpoint", w.dir);
                str_format(socket, sizeof(socket), "%s/device-plugins/kubelet.sock", w.dir);
                (void)close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
                (void)close(open(checkpoint, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
                registered(&w, 2);
                assert_true(fk_restart(w.k, 300));
                assert_int_equal(access(w.p.path, F_OK), -1);
                assert_int_equal(access(file, F_OK), rows[i].files ? -1 : 0);
                assert_int_equal(access(checkpoint, F_OK), 0);
                assert_int_equal(access(socket, F_OK), 0);
                assert_int_equal(connect_errno(socket), ECONNREFUSED);
                /* From the checkpoint: known, nothing there. */
                assert_true(counts(&w, GPU).known);
                assert_false(counts(&w, GPU).running);
                assert_int_equal(counts(&w, GPU).capacity, 0);
                world_close(&w, false);
        }
}

static void test_after_a_restart_stored_answers_are_replayed_without_prestart(void **state)
{
        struct world w;
        struct fk_run run;

        (void)state;
        world_open(&w, "1.34", 2);
        registered(&w, 2);
        assert_int_equal(fk_admit_one(w.k, "pod", GPU, 1, w.text), 0);
        assert_int_equal(fk_container_start(w.k, "pod", "main", &run, w.text), 0);
        fk_run_done(&run);
        assert_int_equal(fk_calls(w.k).prestart, 1);
        assert_true(fk_restart(w.k, 0));
        assert_int_equal(fk_container_start(w.k, "pod", "main", &run, w.text), 0);
        assert_string_equal(fk_run_env(&run, "SHARED"), GPU);
        fk_run_done(&run);
        assert_int_equal(fk_calls(w.k).prestart, 1);
        assert_int_equal(fk_calls(w.k).allocate, 1);
        /* A stream that ended under a running kubelet is another matter: the call fails. */
        plugin_stop(&w.p);
        plugin_start(&w.p, w.dir, GPU, "gpu-2.sock", 2);
        registered(&w, 2);
        plugin_end_streams(&w.p);
        assert_true(fk_wait_devices(w.k, GPU, 2, 0, SOON));
        assert_int_equal(fk_container_start(w.k, "pod", "main", &run, w.text), -1);
        assert_non_null(strstr(w.text, "has been stopped"));
        world_close(&w, false);
}

static void *register_thread(void *arg)
{
        struct world *w = arg;

        return (void *)(intptr_t)plugin_register(&w->p, SOON, w->text);
}

static bool holding(struct fk *k, void *ctx)
{
        (void)ctx;
        return fk_held(k) == 1;
}

static void test_a_held_reply_of_the_old_kubelet_arrives_under_the_new_one(void **state)
{
        struct world w;
        pthread_t thread;
        void *code;

        (void)state;
        world_open(&w, "1.34", 2);
        fk_hold(w.k, FK_HOLD_REPLY);
        assert_int_equal(pthread_create(&thread, NULL, register_thread, &w), 0);
        assert_true(fk_wait(w.k, SOON, holding, NULL));
        assert_true(fk_restart(w.k, 0));
        fk_release(w.k);
        assert_int_equal(pthread_join(thread, &code), 0);
        assert_int_equal((intptr_t)code, 0);           /* the plugin was told that all is well */
        assert_int_equal(counts(&w, GPU).capacity, 0); /* and the new kubelet knows nothing */
        assert_false(fk_wait_devices(w.k, GPU, 2, 2, 300));
        world_close(&w, false);
}

static void test_a_hanging_register_ends_with_the_process(void **state)
{
        struct world w;
        pthread_t thread;
        void *code;

        (void)state;
        world_open(&w, "1.34", 2);
        fk_hold(w.k, FK_HOLD_ENTRY);
        assert_int_equal(pthread_create(&thread, NULL, register_thread, &w), 0);
        assert_true(fk_wait(w.k, SOON, holding, NULL));
        assert_int_equal(fk_calls(w.k).options, 0);
        fk_down(w.k);
        assert_int_equal(pthread_join(thread, &code), 0);
        assert_int_not_equal((intptr_t)code, 0);
        world_close(&w, false);
}

/* C1-C4 */

static void test_a_list_replaces_everything(void **state)
{
        struct world w;
        struct fk_device *list;

        (void)state;
        world_open(&w, "1.34", 4);
        registered(&w, 4);
        plugin_health(&w.p, 1, "Sick");
        assert_true(fk_wait_devices(w.k, GPU, 4, 3, SOON));
        w.p.n_devices = 3;
        str_format(w.p.devices[2].id, FK_ID_MAX, "d0"); /* as healthy and as not: counts twice */
        str_format(w.p.devices[2].health, sizeof(w.p.devices[2].health), "Unhealthy");
        plugin_push(&w.p);
        assert_true(fk_wait_devices(w.k, GPU, 3, 1, SOON));
        assert_int_equal(fk_duplicates(w.k, GPU), 1);
        size_t n = fk_devices(w.k, GPU, &list);
        assert_int_equal(n, 3);
        assert_string_equal(list[1].health, "Sick");
        assert_int_equal(list[1].n_nodes, 1);
        assert_int_equal(list[1].nodes[0], 1);
        free(list);
        w.p.list_nothing = true;
        plugin_push(&w.p);
        assert_true(fk_wait_devices(w.k, GPU, 0, 0, SOON));
        assert_true(counts(&w, GPU).running);
        assert_int_equal(fk_admit_one(w.k, "pod", GPU, 1, w.text), -1);
        assert_string_equal(w.text, "Allocate failed due to no healthy devices present; cannot allocate unhealthy devices example.com/gpu, "
                                    "which is unexpected");
        assert_int_equal(counts(&w, GPU).lists, 4);
        world_close(&w, false);
}

static void test_a_message_over_4_mib_ends_the_stream(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 2);
        registered(&w, 2);
        w.p.pad = 40000; /* of about 130 bytes */
        plugin_push(&w.p);
        assert_true(fk_wait_devices(w.k, GPU, 2, 0, SOON));
        assert_int_equal(counts(&w, GPU).streams, 0);
        world_close(&w, false);
}

static void test_invalid_utf_8_ends_the_stream_from_1_34_on(void **state)
{
        static const struct {
                const char *profile;
                unsigned allocatable;
        } rows[] = { { "1.26", 2 }, { "1.33", 2 }, { "1.34", 0 }, { "1.36", 0 } };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct world w;
                world_open(&w, rows[i].profile, 3);
                registered(&w, 3);
                plugin_health(&w.p, 2, "caf\xe9");
                assert_true(fk_wait_devices(w.k, GPU, 3, rows[i].allocatable, SOON));
                world_close(&w, false);
        }
}

static void test_list_messages_are_counted(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 2);
        registered(&w, 2);
        for (unsigned i = 0; i < 5; i++) { /* no coalescing: each flip is a message */
                plugin_health(&w.p, 0, i % 2 ? "Healthy" : "Unhealthy");
                assert_true(fk_wait_devices(w.k, GPU, 2, i % 2 ? 2 : 1, SOON));
        }
        assert_int_equal(counts(&w, GPU).lists, 6);
        world_close(&w, false);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_register_dials_and_asks_options_before_it_answers),
                TEST(test_register_of_a_socket_nobody_serves_fails_after_the_dial),
                TEST(test_the_list_comes_before_or_after_the_reply),
                TEST(test_a_passed_deadline_of_register_matters_from_1_35_on),
                TEST(test_refusals_have_code_unknown_and_kubelets_words),
                TEST(test_failing_options_mean_no_list),
                TEST(test_reregistering_with_the_old_stream_open_is_punished_until_1_36),
                TEST(test_the_same_socket_twice_is_refused_by_1_37),
                TEST(test_a_failed_reregistration_leaves_devices_on_a_dead_endpoint),
                TEST(test_the_end_of_a_stream_takes_allocatable_and_later_capacity),
                TEST(test_a_restart_wipes_and_binds_before_it_listens),
                TEST(test_after_a_restart_stored_answers_are_replayed_without_prestart),
                TEST(test_a_held_reply_of_the_old_kubelet_arrives_under_the_new_one),
                TEST(test_a_hanging_register_ends_with_the_process),
                TEST(test_a_list_replaces_everything),
                TEST(test_a_message_over_4_mib_ends_the_stream),
                TEST(test_invalid_utf_8_ends_the_stream_from_1_34_on),
                TEST(test_list_messages_are_counted),
        };
        int failed = RUN(tests);

        return failed + selftest_pods() + selftest_podresources();
}
