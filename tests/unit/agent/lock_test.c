/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/lock.h"
#include "base/clock.h"
#include "base/str.h"

static char dir[64];
static int signals = -1;

static int set_up(void **state)
{
        sigset_t none;

        (void)state;
        (void)sigemptyset(&none);
        signals = signalfd(-1, &none, SFD_CLOEXEC | SFD_NONBLOCK);
        str_format(dir, sizeof(dir), "/tmp/sluice-lock.XXXXXX");
        return signals >= 0 && mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
        char path[96];

        (void)state;
        (void)close(signals);
        str_format(path, sizeof(path), "%s/lock", dir);
        return unlink(path) == 0 && rmdir(dir) == 0 ? 0 : -1;
}

/* Is the file that another daemon would open locked? */
static bool is_locked(void)
{
        char path[96];

        str_format(path, sizeof(path), "%s/lock", dir);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        bool locked = flock(fd, LOCK_EX | LOCK_NB) < 0;
        (void)close(fd);
        return locked;
}

/* lock_state in a process of its own, which must end when it gives up: the code it returns. */
static int give_up_after(int wait_s)
{
        int status = 0, fd;
        struct err err;
        pid_t pid = fork();

        if (pid == 0)
                _exit(-lock_state(dir, clock_ms() + wait_s * 1000, signals, &fd, &err));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return -WEXITSTATUS(status);
}

static void test_a_free_lock_is_taken_at_once_and_only_once(void **state)
{
        struct err err;
        int fd = -1;

        (void)state;
        assert_int_equal(lock_state(dir, 0, signals, &fd, &err), 0);
        assert_true(is_locked());
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_int_equal(give_up_after(0), -EAGAIN);
        (void)close(fd);
        assert_false(is_locked());
}

/* While one daemon waits, somebody removes the state directory's files: the lock that it then gets must be the one that the
 * next daemon will find, or both work. */
static void test_a_lock_file_that_was_removed_during_the_wait_protects_nothing(void **state)
{
        char path[96];
        struct err err;
        int holder = -1, fd = -1, status = 0;

        (void)state;
        str_format(path, sizeof(path), "%s/lock", dir);
        assert_int_equal(lock_state(dir, 0, signals, &holder, &err), 0);
        pid_t pid = fork();
        if (pid == 0) { /* shares the holder's lock, so that closing it here alone does not end it */
                (void)usleep(200 * 1000);
                _exit(unlink(path) == 0 && flock(holder, LOCK_UN) == 0 ? 0 : 1);
        }
        ASSERT_OK(lock_state(dir, clock_ms() + 20000, signals, &fd, &err), &err);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(access(path, F_OK), 0);
        assert_true(is_locked());
        (void)close(fd);
        (void)close(holder);
}

/* ... and as long as the holder of the removed file works, it is waited for. */
static void test_a_holder_whose_lock_file_was_removed_is_still_waited_for(void **state)
{
        char path[96];
        struct err err;
        int holder = -1, status = 0;

        (void)state;
        str_format(path, sizeof(path), "%s/lock", dir);
        assert_int_equal(lock_state(dir, 0, signals, &holder, &err), 0);
        pid_t pid = fork();
        if (pid == 0) {
                (void)usleep(200 * 1000);
                int made = unlink(path) == 0 ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
                _exit(made >= 0 ? 0 : 1);
        }
        assert_int_equal(give_up_after(1), -EAGAIN);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        (void)close(holder);
}

static void test_a_directory_that_is_not_there_is_an_error(void **state)
{
        struct err err;
        int fd = -1;

        (void)state;
        assert_int_equal(lock_state("/nonexistent", 0, signals, &fd, &err), -ENOENT);
        assert_non_null(strstr(err.msg, "/nonexistent/lock"));
        assert_int_equal(fd, -1);
}

/* Whichever of them two daemons have in common, one of them waits; and it has taken none when it gives up. */
static void test_one_directory_in_common_is_enough_to_wait(void **state)
{
        static const char *const names[] = { "state",  "run",  "kubelet", "kubelet/device-plugins", "kubelet/plugins_registry",
                                             "state2", "run2", "kubelet2" };
        char paths[N_ELEMENTS(names)][96], lock[128];
        struct locks ours;
        struct err err;

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(names); i++) {
                str_format(paths[i], sizeof(paths[i]), "%s/%s", dir, names[i]);
                assert_int_equal(mkdir(paths[i], 0700), 0);
        }
        const struct lock_dirs dirs = { .state = paths[0], .run = paths[1], .kubelet = paths[2] };
        ASSERT_OK(locks_take(&ours, &dirs, 0, signals, &err), &err);
        for (unsigned common = 0; common < 8; common++) {
                const struct lock_dirs others = { .state = paths[common & 1 ? 0 : 5],
                                                  .run = paths[common & 2 ? 1 : 6],
                                                  .kubelet = paths[common & 4 ? 2 : 7] };
                int status = 0;
                pid_t pid = fork();
                if (pid == 0) {
                        struct locks theirs;
                        _exit(-locks_take(&theirs, &others, 0, signals, &err));
                }
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_int_equal(WEXITSTATUS(status), common ? EAGAIN : 0);
        }
        locks_done(&ours);
        ASSERT_OK(locks_take(&ours, &dirs, 0, signals, &err), &err);
        locks_done(&ours);
        for (size_t i = 0; i < 2; i++) {
                str_format(lock, sizeof(lock), "%s/lock", paths[i ? 5 : 0]);
                assert_int_equal(unlink(lock), 0);
        }
        for (size_t i = N_ELEMENTS(names); i-- > 0;)
                assert_int_equal(rmdir(paths[i]), 0);
        str_format(lock, sizeof(lock), "%s/lock", dir); /* for tear_down */
        (void)close(open(lock, O_CREAT | O_CLOEXEC, 0600));
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
        static const struct CMUnitTest tests[] = {
                ROW(test_a_free_lock_is_taken_at_once_and_only_once),
                ROW(test_a_lock_file_that_was_removed_during_the_wait_protects_nothing),
                ROW(test_a_holder_whose_lock_file_was_removed_is_still_waited_for),
                ROW(test_one_directory_in_common_is_enough_to_wait),
                TEST(test_a_directory_that_is_not_there_is_an_error),
        };

        return RUN(tests);
}
