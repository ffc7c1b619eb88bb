/* SPDX-License-Identifier: Apache-2.0 */
/* The program sluice-hand, spoken to directly: greeting, requests, a worker's one plan. */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "hands/spawn.h"
#include "hands/wire.h"
#include "program.h"

static char *program;

struct zygote {
        int fd;
        pid_t pid;
};

static void start(struct zygote *zygote)
{
        struct err err;

        ASSERT_OK(spawn_hand(program, &zygote->fd, &zygote->pid, &err), &err);
}

static void greet_with(const struct zygote *zygote, const char *mounts)
{
        struct wire_hello hello = {
                .version = WIRE_VERSION,
                .plan_size = sizeof(struct plan),
                .report_size = sizeof(struct report),
                .lock_dir = "/tmp",
        };

        (void)snprintf(hello.mounts, sizeof(hello.mounts), "%s", mounts);
        assert_int_equal(wire_send(zygote->fd, &hello, sizeof(hello), -1), 0);
}

static void greet(const struct zygote *zygote)
{
        greet_with(zygote, "");
}

/* The next message; fails when none comes. */
static ssize_t hear(int fd, void *buf, size_t size, int *ret_passed)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };

        assert_int_equal(poll(&p, 1, 10000), 1);
        return wire_recv(fd, buf, size, ret_passed);
}

static int status_of(struct zygote *zygote)
{
        int status = 0;

        assert_int_equal(waitpid(zygote->pid, &status, 0), zygote->pid);
        assert_true(WIFEXITED(status));
        (void)close(zygote->fd);
        return WEXITSTATUS(status);
}

static int worker_of(const struct zygote *zygote, pid_t *ret_pid)
{
        struct wire_worker msg;
        struct err err;
        int fd = -1;

        assert_int_equal(wire_send(zygote->fd, "w", 1, -1), 0);
        assert_int_equal(hear(zygote->fd, &msg, sizeof(msg), &fd), sizeof(msg));
        ASSERT_OK(wire_worker_valid(&msg, sizeof(msg), &err), &err);
        assert_int_equal(msg.kind, WIRE_WORKER);
        assert_true(fd >= 0);
        *ret_pid = msg.pid;
        return fd;
}

static void assert_gives_up(struct zygote *zygote, const char *says)
{
        struct wire_worker msg;
        int fd;

        assert_int_equal(hear(zygote->fd, &msg, sizeof(msg), &fd), sizeof(msg));
        assert_int_equal(msg.kind, WIRE_FAILED);
        if (!strstr(msg.text, says))
                fail_msg("'%s' does not say '%s'", msg.text, says);
        assert_int_equal(status_of(zygote), 3);
}

static void test_a_greeting_of_another_build_ends_the_zygote_with_a_message(void **state)
{
        struct wire_hello hello = { .version = WIRE_VERSION + 1 };
        struct zygote zygote;

        (void)state;
        start(&zygote);
        assert_int_equal(wire_send(zygote.fd, &hello, sizeof(hello), -1), 0);
        assert_gives_up(&zygote, "install both from one build");
        start(&zygote);
        assert_int_equal(wire_send(zygote.fd, "garbage", 7, -1), 0);
        assert_gives_up(&zygote, "install both from one build");
}

static void test_an_unknown_request_ends_the_zygote_with_a_message(void **state)
{
        static const char *const requests[] = { "x", "ww", "much too long for a request" };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(requests); i++) {
                struct zygote zygote;
                start(&zygote);
                greet(&zygote);
                assert_int_equal(wire_send(zygote.fd, requests[i], strlen(requests[i]), -1), 0);
                assert_gives_up(&zygote, "something unknown");
        }
}

static void test_a_worker_refuses_a_plan_that_is_none(void **state)
{
        struct zygote zygote;
        struct wire_worker msg;
        struct report report;
        struct plan plan = { .n_steps = 1 };
        pid_t pid;
        int unused;

        (void)state;
        plan.steps[0] = (struct step){ .kind = STEP_UNBIND }; /* acts, but names no card */
        start(&zygote);
        greet(&zygote);
        int fd = worker_of(&zygote, &pid);
        assert_int_equal(wire_send(fd, &plan, sizeof(plan), -1), 0);
        assert_int_equal(hear(fd, &report, sizeof(report), NULL), sizeof(report));
        assert_int_equal(report.kind, REPORT_END);
        assert_int_equal(report.end, PLAN_REFUSED);
        assert_non_null(strstr(report.text, "names no card"));
        assert_int_equal(hear(fd, &report, sizeof(report), NULL), 0);
        (void)close(fd);
        assert_int_equal(hear(zygote.fd, &msg, sizeof(msg), &unused), sizeof(msg));
        assert_int_equal(msg.kind, WIRE_EXIT);
        assert_int_equal(msg.pid, pid);
        (void)close(zygote.fd);
        zygote.fd = -1;
        assert_int_equal(status_of(&zygote), 0);
}

static void test_a_worker_works_on_the_mounts_that_it_was_told_of(void **state)
{
        const struct plan plan = { .n_steps = 0 };
        struct zygote zygote;
        struct report report;
        pid_t pid;

        (void)state;
        start(&zygote);
        greet_with(&zygote, "/nowhere");
        int fd = worker_of(&zygote, &pid);
        assert_int_equal(wire_send(fd, &plan, sizeof(plan), -1), 0);
        assert_int_equal(hear(fd, &report, sizeof(report), NULL), sizeof(report));
        assert_int_equal(report.end, PLAN_REFUSED);
        assert_non_null(strstr(report.text, "cannot open directory /nowhere"));
        (void)close(fd);
        (void)close(zygote.fd);
        zygote.fd = -1;
        assert_int_equal(status_of(&zygote), 0);
}

static void test_the_zygote_and_idle_workers_end_with_the_daemon_and_not_before(void **state)
{
        struct zygote zygote;
        struct report report;
        pid_t pid;

        (void)state;
        start(&zygote);
        greet(&zygote);
        int fd = worker_of(&zygote, &pid);
        int other = worker_of(&zygote, &pid);
        (void)usleep(50000);
        for (int i = 0; i < 3; i++) { /* a service manager signals the whole group; the daemon may still be at work */
                static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
                assert_int_equal(kill(pid, signals[i]), 0);
                assert_int_equal(kill(zygote.pid, signals[i]), 0);
        }
        (void)usleep(50000);
        const struct plan plan = { .n_steps = 0 };
        assert_int_equal(wire_send(other, &plan, sizeof(plan), -1), 0);
        assert_int_equal(hear(other, &report, sizeof(report), NULL), sizeof(report));
        assert_int_equal(report.end, PLAN_DONE);
        (void)close(other);

        int status;
        (void)close(zygote.fd);
        assert_int_equal(waitpid(zygote.pid, &status, 0), zygote.pid);
        assert_int_equal(status, 0);
        struct pollfd p = { .fd = fd, .events = POLLIN };
        assert_int_equal(poll(&p, 1, 100), 0); /* the idle worker waits for its plan ... */
        (void)close(fd);                       /* ... until the daemon is gone, too */
}

static void test_started_by_hand_it_says_what_it_is(void **state)
{
        int status;

        (void)state;
        pid_t pid = fork();
        if (pid == 0) {
                (void)close(WIRE_FD);
                (void)close(STDERR_FILENO);
                (void)execl(program, "sluice-hand", NULL);
                _exit(99);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WEXITSTATUS(status), 2);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_greeting_of_another_build_ends_the_zygote_with_a_message),
                TEST(test_an_unknown_request_ends_the_zygote_with_a_message),
                TEST(test_a_worker_refuses_a_plan_that_is_none),
                TEST(test_a_worker_works_on_the_mounts_that_it_was_told_of),
                TEST(test_the_zygote_and_idle_workers_end_with_the_daemon_and_not_before),
                TEST(test_started_by_hand_it_says_what_it_is),
        };

        program = find_program();
        int failed = RUN(tests);
        free(program);
        return failed;
}
