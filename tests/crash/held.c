/* SPDX-License-Identifier: Apache-2.0 */
#include "held.h"

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/str.h"
#include "tmp.h"

static void path_of(const struct held *held, const char *name, char out[static 64])
{
        str_format(out, 64, "%s/%s", held->dir, name);
}

void held_open(struct held *held)
{
        char path[64];

        str_format(held->dir, sizeof(held->dir), "%s/sluice-held-XXXXXX", tmp_base());
        if (!mkdtemp(held->dir) || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || setenv("SLUICE_HOLD", held->dir, 1) < 0)
                abort();
        path_of(held, "points", path);
        if (mkfifo(path, 0600) < 0)
                abort();
        held->fifo = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

void held_close(struct held *held)
{
        static const char *const names[] = { "points", "at", "trace", "zygotes" };
        char path[64];

        (void)close(held->fifo);
        for (size_t i = 0; i < N_ELEMENTS(names); i++) {
                path_of(held, names[i], path);
                (void)unlink(path);
        }
        (void)rmdir(held->dir);
}

static void write_file(const struct held *held, const char *name, const char *text)
{
        char path[64];

        path_of(held, name, path);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

void held_arrange(struct held *held, const char *point)
{
        char left[256];

        while (read(held->fifo, left, sizeof(left)) > 0)
                ;
        write_file(held, "at", point ? point : "");
}

void held_trace(struct held *held)
{
        write_file(held, "trace", "");
}

static char *read_all(const char *path)
{
        struct strbuf b = { 0 };
        char chunk[4096];

        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        for (ssize_t n; fd >= 0 && (n = read(fd, chunk, sizeof(chunk))) > 0;)
                strbuf_add_n(&b, chunk, (size_t)n);
        return strbuf_take(&b);
}

char *held_traced(const struct held *held)
{
        char path[64];

        path_of(held, "trace", path);
        return read_all(path);
}

void held_await_trace(const struct held *held, const char *last)
{
        _cleanup_free_ char *line_end = xasprintf("%s\n", last);

        for (int64_t until = clock_ms() + 20000;; (void)usleep(1000)) {
                _cleanup_free_ char *text = held_traced(held);
                if (strstr(text, line_end))
                        return;
                if (clock_ms() > until)
                        fail_msg("nobody came to '%s'", last);
        }
}

pid_t held_wait(struct held *held, unsigned timeout_ms)
{
        struct pollfd poll_fd = { .fd = held->fifo, .events = POLLIN };
        char line[256] = "";

        if (poll(&poll_fd, 1, (int)timeout_ms) <= 0 || read(held->fifo, line, sizeof(line) - 1) <= 0)
                return 0;
        return (pid_t)strtol(line, NULL, 10);
}

/* @each of all zygotes' pids; returns the last. */
static pid_t each_zygote(const struct held *held, void (*each)(pid_t pid))
{
        char path[64];
        pid_t pid = 0;

        path_of(held, "zygotes", path);
        _cleanup_free_ char *text = read_all(path);
        for (char *at = text; *at; at += strcspn(at, "\n") + 1) {
                pid = (pid_t)strtol(at, NULL, 10);
                if (each)
                        each(pid);
        }
        return pid;
}

pid_t held_hands(struct held *held)
{
        pid_t pid;

        for (int64_t until = clock_ms() + 20000; (pid = each_zygote(held, NULL)) == 0 && clock_ms() < until; (void)usleep(500))
                ;
        return pid;
}

static void kill_group(pid_t pid)
{
        (void)kill(-pid, SIGKILL);
}

void held_kill_hands(struct held *held)
{
        (void)each_zygote(held, kill_group);
        write_file(held, "zygotes", "");
}

/* '\0' = there is none. @ret_group: of processes; may be NULL. */
static char state_of(pid_t pid, pid_t *ret_group)
{
        char path[32], text[256] = "";

        str_format(path, sizeof(path), "/proc/%d/stat", (int)pid);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
                return '\0';
        const char *name_end = strrchr(text, ')');
        if (!name_end || !name_end[1])
                return '\0';
        if (ret_group && sscanf(name_end + 1, " %*c %*d %d", ret_group) != 1)
                *ret_group = 0;
        return name_end[2];
}

/* It says that it will stop, and stops: a SIGCONT between would be lost. */
void held_go_on(pid_t pid)
{
        for (int64_t until = clock_ms() + 5000; state_of(pid, NULL) != 'T'; (void)usleep(200))
                assert_true(clock_ms() < until);
        assert_int_equal(kill(pid, SIGCONT), 0);
}

/* Only who is stopped: a signal in the middle of a leak check, when it ends, would hang it. */
static void go_on_all(pid_t group)
{
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct err err;

        if (fs_list(AT_FDCWD, "/proc", &list, &err) < 0)
                return;
        for (size_t i = 0; i < list.n; i++) {
                pid_t pid = (pid_t)strtol(list.names[i], NULL, 10), its_group = 0;
                if (pid > 0 && state_of(pid, &its_group) == 'T' && its_group == group)
                        (void)kill(pid, SIGCONT);
        }
}

void held_await_hands(pid_t group)
{
        unsigned turn = 0;

        for (int64_t until = clock_ms() + 30000; waitpid(-group, NULL, WNOHANG) >= 0 || errno == EINTR; (void)usleep(200)) {
                if (++turn % 500 == 0) /* another one may have come to the same point before it was no more to be stopped at */
                        go_on_all(group);
                if (clock_ms() > until)
                        fail_msg("a hand has not ended");
        }
}
