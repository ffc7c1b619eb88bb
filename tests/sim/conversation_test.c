/* SPDX-License-Identifier: Apache-2.0 */
/* What kubelet does that a plugin may stumble over, row by row, told by the fake kubelet to the real daemon. Rows that
 * concern a pod's devices (D) are in allocate_test.c, restarts (B2) and the lost registration in restart_test.c. */
#include "rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"

enum { STAYS_MS = 600 }; /* long enough for what would follow */

static void again(struct rig **rig, void **state)
{
        assert_int_equal(rig_teardown(state), 0);
        assert_int_equal(rig_setup(state), 0);
        *rig = *state;
}

static void a_pod_gets_one(struct rig *rig, const char *pod)
{
        struct fk_run run = rig_run(rig, pod, L40S, 1);

        assert_non_null(fk_run_env(&run, L40S_ENV));
        fk_run_done(&run);
}

/* Registered anew at another socket than @before, and it stays so: an old kubelet punishes late. */
static void ready_anew(struct rig *rig, const struct fk_counts *before)
{
        for (int64_t until = clock_ms() + RIG_SOON_MS; clock_ms() < until; (void)usleep(5000)) {
                struct fk_counts now = rig_counts(rig, L40S);
                if (now.registrations > before->registrations && now.running && !streq(now.endpoint, before->endpoint))
                        break;
        }
        rig_ready(rig, L40S, 8, 8);
        (void)usleep(STAYS_MS * 1000);
        rig_ready(rig, L40S, 8, 8);
        struct fk_counts c = rig_counts(rig, L40S);
        assert_int_equal(c.streams, 1);
        assert_int_equal(c.registrations, before->registrations + 1);
        assert_string_not_equal(c.endpoint, before->endpoint);
}

static void test_the_job_is_the_same_under_every_kubelet(void **state)
{
        struct rig *rig = *state;

        for (size_t i = 0; i < fk_n_profiles; i++) {
                struct fk_run run;
                rig_open(rig, "l40s-8", fk_profiles[i].name, ON_ALLOCATE);
                rig_ready(rig, L40S, 8, 8);
                run = rig_run(rig, "first", L40S, 2);
                assert_string_equal(fk_run_env(&run, L40S_ENV), "0000:18:00.0,0000:19:00.0");
                fk_run_done(&run);
                assert_true(fk_restart(rig->k, 0));
                rig_ready(rig, L40S, 8, 8);
                a_pod_gets_one(rig, "second");
                rig_stop(rig);
                if (i + 1 < fk_n_profiles)
                        again(&rig, state);
        }
}

/* A2 */
static void test_the_list_may_come_before_or_after_the_answer(void **state)
{
        static const enum fk_order orders[] = { FK_ORDER_LIST_FIRST, FK_ORDER_REPLY_FIRST };
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8-vfio", NULL);
        rig_kubelet(rig, "1.34");
        fk_order(rig->k, orders[0]);
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        for (unsigned i = 1; i < 6; i++) {
                fk_order(rig->k, orders[i % 2]);
                assert_true(fk_restart(rig->k, 0));
                rig_ready(rig, L40S, 8, 8);
                (void)usleep(100 * 1000);
                assert_int_equal(rig_counts(rig, L40S).registrations, i + 1); /* neither order makes us ask twice */
        }
        rig_stop(rig);
}

/* A3 */
static bool asked_twice(struct fk *k, void *ctx)
{
        (void)ctx;
        return fk_registers(k) >= 2;
}

static void a_register_past_its_deadline(struct rig *rig, const char *profile)
{
        rig_prepare(rig, "l40s-8-vfio", NULL);
        rig_kubelet(rig, profile);
        fk_hold(rig->k, FK_HOLD_ENTRY);
        rig_daemon(rig);
        assert_true(fk_wait(rig->k, 3 * RIG_SOON_MS, asked_twice, NULL)); /* its deadline is 15 s */
        fk_release(rig->k); /* kubelet goes on with both, or gives the first one up, as its version does */
        rig_ready(rig, L40S, 8, 8);
        (void)usleep(STAYS_MS * 1000);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(rig_counts(rig, L40S).streams, 1);
        a_pod_gets_one(rig, "pod");
        rig_stop(rig);
}

static void test_a_register_past_its_deadline_that_kubelet_finishes(void **state)
{
        a_register_past_its_deadline(*state, "1.34");
}

static void test_a_register_past_its_deadline_that_kubelet_gives_up(void **state)
{
        a_register_past_its_deadline(*state, "1.35");
}

/* A5, A6: kubelet up to 1.36 takes the new connection down when the old stream ends; 1.37 refuses the same path. */
static void test_registering_again_beside_an_open_stream_lasts(void **state)
{
        static const char *const profiles[] = { "1.26", "1.33", "1.36", "1.37" };
        struct rig *rig = *state;

        for (size_t i = 0; i < N_ELEMENTS(profiles); i++) {
                if (i > 0)
                        again(&rig, state);
                rig_open(rig, "l40s-8-vfio", profiles[i], NULL);
                rig_ready(rig, L40S, 8, 8);
                struct fk_counts before = rig_counts(rig, L40S);
                assert_int_equal(unlink(before.endpoint), 0); /* the stream stays open */
                ready_anew(rig, &before);
                a_pod_gets_one(rig, "pod");
                rig_stop(rig);
        }
}

/* A7: the refusal has thrown the old client away, its devices seem to be there. */
static void test_a_refused_second_registration_is_made_up_for(void **state)
{
        static const char *const profiles[] = { "1.26", "1.36", "1.37" };
        struct rig *rig = *state;

        for (size_t i = 0; i < N_ELEMENTS(profiles); i++) {
                if (i > 0)
                        again(&rig, state);
                rig_open(rig, "l40s-8-vfio", profiles[i], NULL);
                rig_ready(rig, L40S, 8, 8);
                struct fk_counts before = rig_counts(rig, L40S);
                fk_refuse(rig->k, L40S, 2, "failed to get device plugin options: rpc error: code = Unavailable", 2);
                assert_int_equal(unlink(before.endpoint), 0);
                ready_anew(rig, &before);
                a_pod_gets_one(rig, "pod");
                rig_stop(rig);
        }
}

/* A7 after A3: the list of a Register that had timed out is being read when the next one fails. Kubelet has forgotten that
 * reader by then, and would not notice its end: not a registration to rest on. */
static bool one_held(struct fk *k, void *ctx)
{
        (void)ctx;
        return fk_held(k) >= 1;
}

static bool two_held(struct fk *k, void *ctx)
{
        (void)ctx;
        return fk_held(k) >= 2;
}

static bool one_streams(struct fk *k, void *ctx)
{
        struct fk_counts c;

        (void)ctx;
        return fk_counts(k, L40S, &c) && c.streams == 1 && c.allocatable == 8;
}

static void test_a_late_list_is_not_rested_on_when_the_next_register_fails(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8-vfio", NULL);
        rig_kubelet(rig, "1.34");
        fk_order(rig->k, FK_ORDER_REPLY_FIRST);
        fk_hold(rig->k, FK_HOLD_REPLY);
        rig_daemon(rig);
        assert_true(fk_wait(rig->k, RIG_SOON_MS, one_held, NULL)); /* kubelet is connected, and says nothing */
        fk_refuse(rig->k, L40S, 2, "failed to get device plugin options: rpc error: code = Unavailable", 1);
        assert_true(fk_wait(rig->k, 3 * RIG_SOON_MS, two_held, NULL)); /* the first has passed its deadline of 15 s */
        fk_release_one(rig->k);
        assert_true(fk_wait(rig->k, RIG_SOON_MS, one_streams, NULL));
        struct fk_counts before = rig_counts(rig, L40S);
        fk_release(rig->k);
        ready_anew(rig, &before);
        a_pod_gets_one(rig, "pod");
        rig_stop(rig);
}

/* B1 */
static void test_a_daemon_that_comes_after_the_grace_period_is_offered_again(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        fk_set_grace_ms(rig->k, 700);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        rig_ready(rig, L40S, 8, 0);
        rig_ready(rig, L40S, 0, 0);
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

/* B3 */
static void test_a_container_that_restarts_before_we_are_registered_has_its_answer(void **state)
{
        struct rig *rig = *state;
        struct fk_run run;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        run = rig_run(rig, "pod", L40S, 2);
        fk_run_done(&run);
        struct fk_calls before = fk_calls(rig->k);
        fk_hold(rig->k, FK_HOLD_ENTRY);
        assert_true(fk_restart(rig->k, 0));
        assert_true(fk_wait(rig->k, RIG_SOON_MS, one_held, NULL));
        rig_ready(rig, L40S, 0, 0); /* kubelet's checkpoint knows the name and no device */
        assert_int_equal(fk_container_start(rig->k, "pod", "main", &run, rig->text), 0);
        assert_string_equal(fk_run_env(&run, L40S_ENV), "0000:18:00.0,0000:19:00.0");
        fk_run_done(&run);
        assert_int_equal(fk_calls(rig->k).prestart, before.prestart); /* nobody is there to ask */
        fk_release(rig->k);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_container_start(rig->k, "pod", "main", &run, rig->text), 0);
        fk_run_done(&run);
        assert_int_equal(fk_calls(rig->k).prestart, before.prestart + 1);
        assert_int_equal(fk_calls(rig->k).allocate, before.allocate); /* replayed, not asked again */
        rig_stop(rig);
}

/* C3: 1.34 and later end the stream of who sends bytes that are not UTF-8. */
static void test_bytes_of_a_names_file_that_are_no_text_do_not_reach_kubelet(void **state)
{
        struct rig *rig = *state;
        char names[4][FK_RESOURCE_MAX];
        struct err err;

        _cleanup_free_ char *ids = xasprintf("%s/pci.ids", rig->dir);
        static const char latin[] = "10de  NVIDIA Corporation\n\t26b9  L\xe4nge [\xff\xc0"
                                    "40S]\n";
        ASSERT_OK(fs_replace(AT_FDCWD, ids, latin, sizeof(latin) - 1, 0644, &err), &err);
        _cleanup_free_ char *config = xasprintf(CONFIG "pciIds: %s\n", ids);
        rig_prepare(rig, "l40s-8-vfio", config);
        rig_kubelet(rig, "1.37");
        rig_daemon(rig);
        for (int64_t until = clock_ms() + RIG_SOON_MS; fk_resources(rig->k, names, 4) == 0 && clock_ms() < until;)
                (void)usleep(5000);
        assert_int_equal(fk_resources(rig->k, names, 4), 1);
        for (const char *c = names[0]; *c; c++)
                assert_true((unsigned char)*c < 0x80);
        rig_ready(rig, names[0], 8, 8);
        (void)usleep(STAYS_MS * 1000);
        assert_int_equal(rig_counts(rig, names[0]).registrations, 1);
        rig_stop(rig);
}

/* C2: sluiced is told of a smaller limit (small_list.h), kubelet has the same. */
static void test_a_list_too_large_for_kubelet_is_not_sent(void **state)
{
        static const char *const late[] = { "0000:3a:00.0", "0000:9a:00.0", "0000:ba:00.0" };
        struct rig *rig = *state;
        const char *bin = getenv("SLUICE_BIN");

        _cleanup_free_ char *program = xasprintf("%s/sluiced-small-list", bin ? bin : "build/asan/bin");
        rig->program = program;
        rig_prepare(rig, "l40s-8-vfio", NULL);
        for (size_t i = 0; i < N_ELEMENTS(late); i++)
                rig_unplug(rig, late[i]);
        rig_kubelet(rig, "1.34");
        fk_set_message_max(rig->k, 220);
        rig_daemon(rig);
        rig_ready(rig, L40S, 5, 5);
        for (size_t i = 0; i < N_ELEMENTS(late); i++)
                rig_plug(rig, late[i]);
        assert_true(rig_logged(rig, "larger than kubelet accepts", RIG_SOON_MS));
        (void)usleep(STAYS_MS * 1000);
        struct fk_counts c = rig_counts(rig, L40S);
        assert_int_equal(c.streams, 1);
        assert_int_equal(c.registrations, 1);
        assert_in_range(c.allocatable, 5, 6); /* six are the most that fit */
        a_pod_gets_one(rig, "pod");
        rig_stop(rig);
        rig->program = NULL;
}

/* E2 */
static unsigned remove_sockets(struct rig *rig, const char *below)
{
        _cleanup_free_ char *path = xasprintf("%s/%s", rig->kubelet_dir, below);
        DIR *dir = opendir(path);
        unsigned n = 0;

        assert_non_null(dir);
        for (struct dirent *e; (e = readdir(dir));)
                if (str_has_suffix(e->d_name, ".sock")) {
                        assert_int_equal(unlinkat(dirfd(dir), e->d_name, 0), 0);
                        n++;
                }
        (void)closedir(dir);
        return n;
}

static void test_sockets_of_the_watcher_that_are_removed_are_made_again(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", CONFIG "registration: watcher\n");
        rig_ready(rig, L40S, 8, 8);
        unsigned asked = fk_calls(rig->k).get_info;
        assert_int_equal(remove_sockets(rig, "plugins_registry"), 1); /* kubelet takes that for our goodbye */
        for (int64_t until = clock_ms() + RIG_SOON_MS; fk_calls(rig->k).get_info == asked && clock_ms() < until;)
                (void)usleep(5000);
        rig_ready(rig, L40S, 8, 8);
        assert_true(fk_calls(rig->k).get_info > asked);
        struct fk_counts before = rig_counts(rig, L40S);
        assert_int_equal(remove_sockets(rig, "plugins/sluice"), 1);
        assert_int_equal(remove_sockets(rig, "plugins_registry"), 1);
        ready_anew(rig, &before);
        a_pod_gets_one(rig, "pod");
        rig_stop(rig);
}

static void test_a_watcher_that_cannot_reach_the_service_is_heard_and_tries_again(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8-vfio", CONFIG "registration: watcher\n");
        rig->k = fk_new(rig->kubelet_dir, fk_profile("1.34"));
        assert_non_null(rig->k);
        fk_set_dial_ms(rig->k, 300);
        fk_set_backoff_ms(rig->k, 200);
        rig_daemon(rig);
        _cleanup_free_ char *registry = xasprintf("%s/plugins_registry", rig->kubelet_dir);
        for (int64_t until = clock_ms() + RIG_SOON_MS; clock_ms() < until; (void)usleep(5000)) {
                _cleanup_fs_list_ struct fs_list list = { 0 };
                struct err err;
                if (fs_list(AT_FDCWD, registry, &list, &err) >= 0 && list.n == 1)
                        break;
        }
        assert_int_equal(remove_sockets(rig, "plugins/sluice"), 1);
        assert_true(fk_up(rig->k, 0));
        assert_true(rig_logged(rig, "not registered, trying again", RIG_SOON_MS)); /* NotifyRegistrationStatus(false) */
        rig_ready(rig, L40S, 8, 8);
        assert_true(fk_calls(rig->k).notify_failed >= 1);
        rig_stop(rig);
}

/* Up to 1.34 kubelet says that it could not connect, and does not come back: the socket must become another one. */
static void test_a_watcher_that_gives_up_is_made_to_ask_again(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8-vfio", CONFIG "registration: watcher\n");
        rig_kubelet(rig, "1.34");
        fk_refuse_connect(rig->k, 1);
        rig_daemon(rig);
        assert_true(rig_logged(rig, "not registered, trying again", RIG_SOON_MS));
        assert_true(fk_wait_devices(rig->k, L40S, 8, 8, 3 * RIG_SOON_MS)); /* after 15 s */
        assert_int_equal(fk_calls(rig->k).get_info, 2);
        a_pod_gets_one(rig, "pod");
        rig_stop(rig);
}

/* Kubelet asks, serves itself, fails to say so, lets go, and asks again: nothing for us to do, least of all a new socket,
 * which would be a new plugin. */
static void test_a_watcher_that_cannot_tell_of_its_success_is_let_try_again(void **state)
{
        struct rig *rig = *state;
        struct stat before, after;
        unsigned n = 0;

        rig_prepare(rig, "l40s-8-vfio", CONFIG "registration: watcher\n");
        rig_kubelet(rig, "1.36");
        fk_set_backoff_ms(rig->k, 200);
        fk_fail_notify(rig->k, 3);
        rig_daemon(rig);
        _cleanup_free_ char *registry = xasprintf("%s/plugins_registry", rig->kubelet_dir);
        for (int64_t until = clock_ms() + RIG_SOON_MS; fk_calls(rig->k).notify_ok == 0 && clock_ms() < until; (void)usleep(5000)) {
                _cleanup_fs_list_ struct fs_list list = { 0 };
                struct err err;
                if (n > 0 || fs_list(AT_FDCWD, registry, &list, &err) < 0 || list.n == 0)
                        continue;
                _cleanup_free_ char *path = xasprintf("%s/%s", registry, list.names[0]);
                n = stat(path, &before) == 0;
        }
        assert_int_equal(fk_calls(rig->k).notify_ok, 1);
        assert_int_equal(fk_calls(rig->k).get_info, 4);
        rig_ready(rig, L40S, 8, 8);
        (void)usleep(STAYS_MS * 1000);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(rig_counts(rig, L40S).streams, 1);
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct err err;
        ASSERT_OK(fs_list(AT_FDCWD, registry, &list, &err), &err);
        assert_int_equal(list.n, 1);
        _cleanup_free_ char *path = xasprintf("%s/%s", registry, list.names[0]);
        assert_int_equal(stat(path, &after), 0);
        assert_true(n == 1 && before.st_ino == after.st_ino && before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
        a_pod_gets_one(rig, "pod");
        rig_stop(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_the_job_is_the_same_under_every_kubelet),
                RIG_TEST(test_the_list_may_come_before_or_after_the_answer),
                RIG_TEST(test_a_register_past_its_deadline_that_kubelet_finishes),
                RIG_TEST(test_a_register_past_its_deadline_that_kubelet_gives_up),
                RIG_TEST(test_registering_again_beside_an_open_stream_lasts),
                RIG_TEST(test_a_refused_second_registration_is_made_up_for),
                RIG_TEST(test_a_late_list_is_not_rested_on_when_the_next_register_fails),
                RIG_TEST(test_a_daemon_that_comes_after_the_grace_period_is_offered_again),
                RIG_TEST(test_a_container_that_restarts_before_we_are_registered_has_its_answer),
                RIG_TEST(test_bytes_of_a_names_file_that_are_no_text_do_not_reach_kubelet),
                RIG_TEST(test_a_list_too_large_for_kubelet_is_not_sent),
                RIG_TEST(test_sockets_of_the_watcher_that_are_removed_are_made_again),
                RIG_TEST(test_a_watcher_that_cannot_reach_the_service_is_heard_and_tries_again),
                RIG_TEST(test_a_watcher_that_gives_up_is_made_to_ask_again),
                RIG_TEST(test_a_watcher_that_cannot_tell_of_its_success_is_let_try_again),
        };

        return RUN(tests);
}
