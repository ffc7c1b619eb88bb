/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "rpc/listener.h"

struct seen {
        unsigned accepted, refused, uid;
};

static void on_accept(void *ctx, int fd)
{
        ((struct seen *)ctx)->accepted++;
        (void)close(fd);
}

static void on_refused(void *ctx, unsigned uid)
{
        ((struct seen *)ctx)->refused++;
        ((struct seen *)ctx)->uid = uid;
}

static uv_loop_t loop;
static char dir[64];

static int set_up(void **state)
{
        (void)state;
        str_format(dir, sizeof(dir), "/tmp/sluice-listen.XXXXXX");
        return mkdtemp(dir) && uv_loop_init(&loop) == 0 && chmod(dir, 0755) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
        (void)state;
        (void)uv_run(&loop, UV_RUN_NOWAIT);
        return uv_loop_close(&loop) == 0 && rmdir(dir) == 0 ? 0 : -1; /* Nothing may be left behind. */
}

static const char *in_dir(const char *name)
{
        static char path[256];

        str_format(path, sizeof(path), "%s/%s", dir, name);
        return path;
}

static struct listener *open_or_die(const char *name, struct seen *seen)
{
        struct listener *listener = NULL;
        struct err err = { 0 };

        ASSERT_OK(listener_open(&listener, &loop, in_dir(name), on_accept, on_refused, seen, &err), &err);
        return listener;
}

static int dial(const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        str_format(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (connect(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)) < 0) {
                (void)close(fd);
                return -1;
        }
        return fd;
}

static void test_the_socket_is_private_whatever_the_umask(void **state)
{
        static const mode_t masks[] = { 0, 022, 077 };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(masks); i++) {
                struct stat st;
                mode_t before = umask(masks[i]);
                struct listener *listener = open_or_die("a.sock", NULL);
                (void)umask(before);
                assert_int_equal(stat(listener_path(listener), &st), 0);
                assert_int_equal(st.st_mode & 07777, 0600);
                listener_close(listener);
        }
}

static void test_a_peer_is_accepted_when_it_is_root_and_turned_away_otherwise(void **state)
{
        struct seen seen = { 0 };
        struct listener *listener = open_or_die("a.sock", &seen);
        int fd = dial(listener_path(listener));

        (void)state;
        assert_true(fd >= 0);
        (void)uv_run(&loop, UV_RUN_ONCE);
        assert_int_equal(seen.accepted, 1);
        (void)close(fd);
        if (geteuid() != 0) {
                listener_close(listener);
                print_message("# skipped: another user's connection needs root\n");
                skip();
        }
        assert_int_equal(chmod(listener_path(listener), 0666), 0);
        pid_t pid = fork();
        if (pid == 0)
                _exit(setresuid(4711, 4711, 4711) == 0 && dial(listener_path(listener)) >= 0 ? 0 : 1);
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        (void)uv_run(&loop, UV_RUN_ONCE);
        assert_int_equal(seen.accepted, 1);
        assert_int_equal(seen.refused, 1);
        assert_int_equal(seen.uid, 4711);
        listener_close(listener);
}

/* Connects as user 4711 with the given groups, 0 = none more. */
static void dial_as(const char *path, gid_t group, gid_t further)
{
        int status = 0;
        pid_t pid = fork();

        if (pid == 0) {
                bool done =
                        setgroups(further != 0, &further) == 0 && setresgid(group, group, group) == 0 && setresuid(4711, 4711, 4711) == 0;
                _exit(done && dial(path) >= 0 ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        (void)uv_run(&loop, UV_RUN_ONCE);
}

static void test_a_group_that_is_granted_may_connect_and_no_other(void **state)
{
        struct seen seen = { 0 };
        struct listener *listener = NULL;
        struct err err = { 0 };
        struct stat st;

        (void)state;
        if (geteuid() != 0) {
                print_message("# skipped: other users' connections need root\n");
                skip();
        }
        ASSERT_OK(listener_open_to_group(&listener, &loop, in_dir("a.sock"), 4800, on_accept, on_refused, &seen, &err), &err);
        assert_int_equal(stat(listener_path(listener), &st), 0);
        assert_true((st.st_mode & 07777) == 0660 && st.st_gid == 4800 && st.st_uid == 0);
        assert_int_equal(stat(dir, &st), 0);
        assert_true((st.st_mode & 07777) == 0710 && st.st_gid == 4800 && st.st_uid == 0);
        dial_as(listener_path(listener), 4800, 0);
        assert_int_equal(seen.accepted, 1);
        dial_as(listener_path(listener), 4711, 4800);
        assert_int_equal(seen.accepted, 2);
        /* Whatever the file lets through, the peer is asked for itself. */
        assert_int_equal(chmod(listener_path(listener), 0666) + chmod(dir, 0755), 0);
        dial_as(listener_path(listener), 4711, 4712);
        assert_int_equal(seen.accepted, 2);
        assert_int_equal(seen.refused, 1);
        listener_close(listener);
}

/* Opens descriptors until there are no more; returns how many. */
static size_t take_all(int *fds, size_t max)
{
        size_t n = 0;

        while (n < max && (fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
                n++;
        assert_true(n < max);
        return n;
}

static void give_back(const int *fds, size_t n)
{
        for (size_t i = 0; i < n; i++)
                (void)close(fds[i]);
}

/* The spare descriptor may get lost to another thread; then, and the next time that descriptors are out, nobody may wait for
 * ever and the loop may not spin. */
static void test_a_lost_spare_descriptor_is_replaced(void **state)
{
        struct seen seen = { 0 };
        struct rlimit before, few;
        int fds[64];
        char byte;

        (void)state;
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        few = before;
        few.rlim_cur = 48;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        size_t n = take_all(fds, N_ELEMENTS(fds));
        (void)close(fds[--n]); /* for the socket; none is left for the spare */
        struct listener *listener = open_or_die("a.sock", &seen);
        give_back(fds, n);

        int first = dial(listener_path(listener));
        (void)uv_run(&loop, UV_RUN_ONCE);
        assert_int_equal(seen.accepted, 1);
        int second = dial(listener_path(listener));
        n = take_all(fds, N_ELEMENTS(fds));
        (void)uv_run(&loop, UV_RUN_NOWAIT);
        assert_int_equal(seen.accepted, 1);
        assert_int_equal(recv(second, &byte, 1, MSG_DONTWAIT), 0); /* turned away, not left waiting */
        give_back(fds, n);
        (void)close(first);
        (void)close(second);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        listener_close(listener);
}

static void test_a_path_of_107_bytes_is_the_longest(void **state)
{
        char path[256];
        struct listener *listener = NULL;
        struct err err = { 0 };

        (void)state;
        str_format(path, sizeof(path), "%s/%0*d", dir, (int)(107 - strlen(dir) - 1), 0);
        assert_int_equal(strlen(path), 107);
        ASSERT_OK(listener_open(&listener, &loop, path, on_accept, NULL, NULL, &err), &err);
        listener_close(listener);
        str_format(path, sizeof(path), "%s/%0*d", dir, (int)(108 - strlen(dir) - 1), 0);
        assert_int_equal(listener_open(&listener, &loop, path, on_accept, NULL, NULL, &err), -ENAMETOOLONG);
}

static void test_a_name_that_exists_is_left_alone(void **state)
{
        struct listener *first = open_or_die("a.sock", NULL), *second = NULL;
        struct err err = { 0 };

        (void)state;
        assert_int_equal(listener_open(&second, &loop, in_dir("a.sock"), on_accept, NULL, NULL, &err), -EADDRINUSE);
        assert_null(second);
        assert_true(listener_intact(first));
        listener_close(first);
}

static void test_only_our_own_file_is_unlinked(void **state)
{
        struct seen seen = { 0 };
        struct listener *first = open_or_die("a.sock", NULL);

        (void)state;
        assert_int_equal(unlink(in_dir("a.sock")), 0);
        assert_false(listener_intact(first));
        struct listener *second = open_or_die("a.sock", &seen);
        assert_false(listener_intact(first));
        listener_close(first);
        assert_true(listener_intact(second)); /* The newer socket of the same name survives. */
        int fd = dial(in_dir("a.sock"));
        assert_true(fd >= 0);
        (void)uv_run(&loop, UV_RUN_ONCE);
        assert_int_equal(seen.accepted, 1);
        (void)close(fd);
        listener_close(second);
}

static void test_a_sweep_takes_dead_sockets_of_ours_and_nothing_else(void **state)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct listener *alive = open_or_die("sluice-alive.sock", NULL);
        static const char *const dead[] = { "sluice-dead.sock", "other-dead.sock" };
        int file;

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(dead); i++) {
                int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
                str_format(address.sun_path, sizeof(address.sun_path), "%s", in_dir(dead[i]));
                assert_int_equal(bind(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)), 0);
                (void)close(fd);
        }
        file = open(in_dir("sluice-file.sock"), O_CREAT | O_CLOEXEC | O_WRONLY, 0600);
        assert_true(file >= 0);
        (void)close(file);

        listener_sweep(dir, "sluice-");
        assert_true(listener_intact(alive));
        assert_int_equal(access(in_dir("sluice-dead.sock"), F_OK), -1);
        assert_int_equal(unlink(in_dir("other-dead.sock")), 0);  /* not ours: still there */
        assert_int_equal(unlink(in_dir("sluice-file.sock")), 0); /* no socket: still there */
        listener_close(alive);
        listener_sweep("/nonexistent", "sluice-");
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
        static const struct CMUnitTest tests[] = {
                ROW(test_the_socket_is_private_whatever_the_umask),
                ROW(test_a_peer_is_accepted_when_it_is_root_and_turned_away_otherwise),
                ROW(test_a_path_of_107_bytes_is_the_longest),
                ROW(test_a_name_that_exists_is_left_alone),
                ROW(test_only_our_own_file_is_unlinked),
                ROW(test_a_group_that_is_granted_may_connect_and_no_other),
                ROW(test_a_lost_spare_descriptor_is_replaced),
                ROW(test_a_sweep_takes_dead_sockets_of_ours_and_nothing_else),
        };

        return RUN(tests);
}
