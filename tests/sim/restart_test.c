/* SPDX-License-Identifier: Apache-2.0 */
/* Kubelet and the daemon come and go. */
#include "rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"

static bool sockets_are(struct rig *rig, unsigned n)
{
        _cleanup_free_ char *path = xasprintf("%s/device-plugins", rig->kubelet_dir);
        DIR *dir = opendir(path);
        unsigned found = 0;

        for (struct dirent *e; dir && (e = readdir(dir));)
                found += str_has_suffix(e->d_name, ".sock") && !streq(e->d_name, "kubelet.sock");
        if (dir)
                (void)closedir(dir);
        return found == n;
}

static void ten_restarts(struct rig *rig, const char *profile)
{
        unsigned seed = 7;

        rig_open(rig, "l40s-8-vfio", profile, NULL);
        rig_ready(rig, L40S, 8, 8);
        for (unsigned i = 0; i < 10; i++) {
                seed = seed * 1103515245U + 12345U;
                (void)usleep((seed >> 16) % 60000); /* any moment: also in the middle of the last registration */
                fk_down(rig->k);
                (void)usleep((seed >> 8) % 30000);
                assert_true(fk_up(rig->k, (seed >> 12) % 20)); /* the socket is visible before anybody listens */
        }
        rig_ready(rig, L40S, 8, 8);
        struct fk_run run = rig_run(rig, "pod", L40S, 1);
        fk_run_done(&run);
        assert_true(fk_restart(rig->k, 0));
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_container_start(rig->k, "pod", "main", &run, rig->text), 0); /* replayed, PreStart asked */
        fk_run_done(&run);
        assert_true(sockets_are(rig, 1));
        rig_stop(rig);
}

#define TEN_RESTARTS(id, profile)                                   \
        static void test_ten_kubelet_restarts_as_##id(void **state) \
        {                                                           \
                ten_restarts(*state, profile);                      \
        }
TEN_RESTARTS(1_26, "1.26")
TEN_RESTARTS(1_30, "1.30")
TEN_RESTARTS(1_33, "1.33")
TEN_RESTARTS(1_34, "1.34")
TEN_RESTARTS(1_36, "1.36")
TEN_RESTARTS(1_37, "1.37")

static void test_a_wiped_directory_is_noticed_while_kubelet_runs_on(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        unsigned before = fk_registers(rig->k);
        fk_wipe(rig->k); /* kubelet.sock goes too: nobody can be told yet */
        assert_true(fk_restart(rig->k, 0));
        rig_ready(rig, L40S, 8, 8);
        assert_true(fk_registers(rig->k) > before);
        assert_true(sockets_are(rig, 1));
        rig_stop(rig);
}

/* A node that is reset: kubelet's root is removed as a whole, and made anew when kubelet comes back. The look by the clock is
 * five seconds away. */
static void test_a_root_made_anew_is_noticed_at_once(void **state)
{
        struct rig *rig = *state;
        _cleanup_free_ char *plugins = xasprintf("%s/device-plugins", rig->kubelet_dir);
        _cleanup_free_ char *empty = xasprintf("rm -f %s/*", plugins);
        _cleanup_free_ char *remove = xasprintf("rm -r %s", rig->kubelet_dir);

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        int held = open(plugins, O_PATH | O_CLOEXEC); /* as an open socket in it does: its end is not told */
        assert_true(held >= 0);
        fk_down(rig->k);
        assert_int_equal(kill(rig->pid, SIGSTOP), 0); /* else it might make a socket in the middle of that */
        assert_int_equal(system(empty), 0);
        assert_int_equal(kill(rig->pid, SIGCONT), 0);
        (void)usleep(300 * 1000); /* it has seen that */
        assert_int_equal(system(remove), 0);
        (void)usleep(300 * 1000);
        assert_int_equal(mkdir(rig->kubelet_dir, 0755), 0);
        assert_int_equal(mkdir(plugins, 0755), 0);
        int64_t before = clock_ms();
        assert_true(fk_up(rig->k, 0));
        rig_ready(rig, L40S, 8, 8);
        assert_true(clock_ms() - before < 4000);
        (void)close(held);
        rig_stop(rig);
}

/* A second Register to one kubelet, up to 1.36, is what it forgets the plugin over: so the first one must have been meant for
 * it, though the end of the old one's stream is heard of before its socket. The daemon sleeps while both happen. */
static void test_a_kubelet_is_asked_once(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.36", NULL);
        rig_ready(rig, L40S, 8, 8);
        unsigned before = fk_registers(rig->k);
        for (unsigned i = 1; i <= 10; i++) {
                assert_int_equal(kill(rig->pid, SIGSTOP), 0);
                assert_true(fk_restart(rig->k, 0));
                assert_int_equal(kill(rig->pid, SIGCONT), 0);
                rig_ready(rig, L40S, 8, 8);
                assert_int_equal(fk_registers(rig->k), before + i);
        }
        rig_stop(rig);
}

/* Up to 1.36 a second Register while the old stream is open costs the new one, when the old one ends: it must end first. */
static void test_a_removed_socket_is_made_again_and_stays_registered(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.36", NULL);
        rig_ready(rig, L40S, 8, 8);
        for (unsigned i = 1; i <= 5; i++) {
                struct fk_counts c = rig_counts(rig, L40S);
                assert_int_equal(unlink(c.endpoint), 0);
                for (int64_t until = clock_ms() + RIG_SOON_MS; rig_counts(rig, L40S).registrations == i && clock_ms() < until;)
                        (void)usleep(5000);
                rig_ready(rig, L40S, 8, 8);
                assert_string_not_equal(rig_counts(rig, L40S).endpoint, c.endpoint); /* a fresh name per registration */
        }
        (void)usleep(500 * 1000);
        struct fk_counts c = rig_counts(rig, L40S);
        assert_int_equal(c.streams, 1);
        assert_int_equal(c.allocatable, 8);
        assert_int_equal(c.registrations, 6); /* each time once: none was lost and made up for */
        assert_true(sockets_are(rig, 1));
        rig_stop(rig);
}

static void test_a_kubelet_that_comes_late_finds_us(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", NULL, NULL);
        assert_true(rig_logged(rig, "kubelet is not there yet: no ", RIG_SOON_MS));
        (void)usleep(800 * 1000);
        rig_kubelet(rig, "1.34");
        rig_ready(rig, L40S, 8, 8);
        assert_true(fk_restart(rig->k, 0)); /* gone for a moment, which is nothing to say */
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(rig_log_count(rig, "kubelet is not there yet"), 1);
        rig_stop(rig);
}

static void test_a_refusing_kubelet_is_asked_until_it_agrees(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8-vfio", NULL);
        rig_kubelet(rig, "1.34");
        fk_refuse(rig->k, NULL, 2, "failed to dial device plugin: context deadline exceeded", 3);
        fk_refuse(rig->k, NULL, 14, "try later", 2);
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        assert_true(fk_registers(rig->k) >= 6);
        rig_stop(rig);
}

static void test_a_name_kubelet_will_never_take_is_not_asked_again(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8-vfio", NULL);
        rig_kubelet(rig, "1.34");
        fk_refuse(rig->k, NULL, 2, "the ResourceName \"" L40S "\" is invalid", 1);
        rig_daemon(rig);
        assert_true(rig_logged(rig, "is invalid", RIG_SOON_MS));
        (void)usleep(700 * 1000);
        assert_int_equal(fk_registers(rig->k), 1);
        assert_true(fk_restart(rig->k, 0)); /* another kubelet may think otherwise */
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static bool one_held(struct fk *k, void *ctx)
{
        (void)ctx;
        return fk_held(k) >= 1;
}

static void test_a_hanging_register_does_not_keep_the_daemon_from_anything(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8-vfio", NULL);
        rig_kubelet(rig, "1.34");
        fk_hold(rig->k, FK_HOLD_ENTRY);
        rig_daemon(rig);
        assert_true(fk_wait(rig->k, RIG_SOON_MS, one_held, NULL));
        assert_true(fk_restart(rig->k, 0)); /* in the middle of it */
        assert_true(fk_wait(rig->k, RIG_SOON_MS, one_held, NULL));
        fk_release(rig->k);
        rig_ready(rig, L40S, 8, 8);
        fk_hold(rig->k, FK_HOLD_ENTRY);
        assert_true(fk_restart(rig->k, 0));
        assert_true(fk_wait(rig->k, RIG_SOON_MS, one_held, NULL));
        assert_int_equal(rig_end(rig, SIGTERM), 0); /* ends in time all the same */
        rig_stop(rig);
}

/* The old kubelet answers a Register after the new one's socket has appeared (and after its wipe, so that only the socket's
 * identity tells). Is the daemon registered with the new one soon? */
static bool survives_the_lost_registration(struct rig *rig, enum fk_order order)
{
        rig_prepare(rig, "l40s-8-vfio", NULL);
        rig_kubelet(rig, "1.34");
        fk_order(rig->k, order);
        fk_hold(rig->k, FK_HOLD_REPLY);
        rig_daemon(rig);
        assert_true(fk_wait(rig->k, RIG_SOON_MS, one_held, NULL));
        fk_set_wipe(rig->k, false);
        assert_true(fk_restart(rig->k, 0));
        (void)usleep(300 * 1000); /* it sees the new socket */
        fk_release(rig->k);       /* and now the old answer comes: all is well, it says */
        return fk_wait_devices(rig->k, L40S, 8, 8, 8000);
}

static void test_the_answer_of_an_old_kubelet_does_not_count_for_the_new_one(void **state)
{
        struct rig *rig = *state;

        assert_true(survives_the_lost_registration(rig, FK_ORDER_REPLY_FIRST));
        rig_stop(rig);
}

static void test_the_answer_and_the_list_of_an_old_kubelet_do_not_count_either(void **state)
{
        struct rig *rig = *state;

        assert_true(survives_the_lost_registration(rig, FK_ORDER_LIST_FIRST));
        rig_stop(rig);
}

static void test_without_the_epoch_check_the_registration_is_lost(void **state)
{
        struct rig *rig = *state;
        const char *bin = getenv("SLUICE_BIN");
        _cleanup_free_ char *program = xasprintf("%s/sluiced-no-epoch", bin ? bin : "build/asan/bin");

        rig->program = program;
        assert_false(survives_the_lost_registration(rig, FK_ORDER_REPLY_FIRST));
        rig->program = NULL;
        rig_stop(rig);
}

static void test_a_killed_daemon_comes_back_with_the_same_ids(void **state)
{
        struct rig *rig = *state;
        struct fk_device *before, *after;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        size_t n = fk_devices(rig->k, L40S, &before);
        struct fk_run run = rig_run(rig, "pod", L40S, 2);
        fk_run_done(&run);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        rig_ready(rig, L40S, 8, 0);
        assert_true(sockets_are(rig, 1)); /* left behind */
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        assert_true(sockets_are(rig, 1)); /* swept, and a new one made */
        assert_int_equal(fk_devices(rig->k, L40S, &after), n);
        for (size_t i = 0; i < n; i++)
                assert_string_equal(before[i].id, after[i].id);
        free(before);
        free(after);
        assert_int_equal(fk_container_start(rig->k, "pod", "main", &run, rig->text), 0);
        fk_run_done(&run);
        rig_stop(rig);
}

static void test_a_second_daemon_waits_and_touches_nothing(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        unsigned before = fk_registers(rig->k);
        _cleanup_free_ char *tree = rig_tree(rig);
        _cleanup_free_ char *log = xasprintf("%s/log2", rig->dir);
        pid_t second = rig_spawn(rig, log);
        (void)usleep(1500 * 1000);
        assert_int_equal(fk_registers(rig->k), before);
        assert_true(sockets_are(rig, 1));
        assert_int_equal(kill(second, 0), 0);
        _cleanup_free_ char *same = rig_tree(rig);
        assert_string_equal(tree, same);
        assert_int_equal(rig_end(rig, SIGTERM), 0); /* the first one leaves, as in an upgrade */
        rig->pid = second;
        for (int64_t until = clock_ms() + RIG_SOON_MS; fk_registers(rig->k) == before && clock_ms() < until;)
                (void)usleep(5000);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static void test_a_waiting_daemon_ends_on_sigterm(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *log = xasprintf("%s/log2", rig->dir);
        pid_t second = rig_spawn(rig, log);
        (void)usleep(700 * 1000);
        assert_int_equal(kill(second, SIGTERM), 0);
        assert_int_equal(rig_reap(second, RIG_SOON_MS), 0);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_ten_kubelet_restarts_as_1_26),
                RIG_TEST(test_ten_kubelet_restarts_as_1_30),
                RIG_TEST(test_ten_kubelet_restarts_as_1_33),
                RIG_TEST(test_ten_kubelet_restarts_as_1_34),
                RIG_TEST(test_ten_kubelet_restarts_as_1_36),
                RIG_TEST(test_ten_kubelet_restarts_as_1_37),
                RIG_TEST(test_a_wiped_directory_is_noticed_while_kubelet_runs_on),
                RIG_TEST(test_a_root_made_anew_is_noticed_at_once),
                RIG_TEST(test_a_kubelet_is_asked_once),
                RIG_TEST(test_a_removed_socket_is_made_again_and_stays_registered),
                RIG_TEST(test_a_kubelet_that_comes_late_finds_us),
                RIG_TEST(test_a_refusing_kubelet_is_asked_until_it_agrees),
                RIG_TEST(test_a_name_kubelet_will_never_take_is_not_asked_again),
                RIG_TEST(test_a_hanging_register_does_not_keep_the_daemon_from_anything),
                RIG_TEST(test_the_answer_of_an_old_kubelet_does_not_count_for_the_new_one),
                RIG_TEST(test_the_answer_and_the_list_of_an_old_kubelet_do_not_count_either),
                RIG_TEST(test_without_the_epoch_check_the_registration_is_lost),
                RIG_TEST(test_a_killed_daemon_comes_back_with_the_same_ids),
                RIG_TEST(test_a_second_daemon_waits_and_touches_nothing),
                RIG_TEST(test_a_waiting_daemon_ends_on_sigterm),
        };

        return RUN(tests);
}
