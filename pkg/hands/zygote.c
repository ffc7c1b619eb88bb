/* SPDX-License-Identifier: Apache-2.0 */
#include "hands/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "hands/worker.h"

enum { STATUS_PROTOCOL = 3, STATUS_SYSTEM = 4 };

/* ---- worker --------------------------------------------------------------------------------------------------------- */

/* Nobody may be listening any more: the plan goes on all the same, and what it did is kept (zygote.h); but it does not begin to
 * act. A daemon that has given the plan up says so, and what the guards saw then is long past: the hand ends between two
 * steps. */
static bool send_report(void *ctx, const struct report *report)
{
        int fd = *(const int *)ctx;
        bool waits = report->kind == REPORT_CHECKED || report->kind == REPORT_READY;
        char word = report->kind == REPORT_CHECKED ? WIRE_UNDO : WIRE_GO;

        (void)wire_send(fd, report, sizeof(*report), -1);
        /* A daemon that died with reports unread resets the connection; what it said before is still there to be read. */
        while (recv(fd, &word, sizeof(word), waits ? 0 : MSG_DONTWAIT) < 0 && (errno == EINTR || errno == ECONNRESET))
                ;
        if (word == WIRE_STOP)
                _exit(0);
        return word != WIRE_UNDO;
}

/* The plan was not begun. */
static void send_refusal(int fd, const struct plan *plan, const struct err *why)
{
        struct report report = { .kind = REPORT_END, .end = PLAN_REFUSED, .reason = REASON_STEP_FAILED, .result = -why->code };

        report.step = plan->n_steps <= PLAN_STEPS_MAX ? plan->n_steps : 0;
        str_clean(report.text, sizeof(report.text), why->msg);
        (void)send_report(&fd, &report);
}

/* Somebody may have swept the run directory away (the daemon lives on without): it is made again. */
static int open_lock_dir(const char *path, struct err *err)
{
        int fd = fs_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);

        if (fd == -ENOENT && (fd = fs_mkdir(AT_FDCWD, path, 0700)) == 0)
                fd = fs_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
        return fd < 0 ? err_set(err, -fd, "cannot open %s", path) : fd;
}

static bool is_deleted(int dir)
{
        struct stat st;

        return fstat(dir, &st) == 0 && st.st_nlink == 0;
}

/* Opens the host, and touches the memory of the plan, before the plan is here: that time is nobody's. */
static int worker_main(int fd, const struct wire_hello *hello)
{
        _cleanup_kernel_ struct kernel *kernel = NULL;
        _cleanup_close_ int lock_dir = -1;
        struct plan plan = { 0 };
        struct err err;

        int opened = *hello->mounts ? kernel_open_mounts(&kernel, hello->mounts, &err) : kernel_open(&kernel, hello->sim_dir, &err);
        if (opened == 0)
                lock_dir = opened = open_lock_dir(hello->lock_dir, &err);

        ssize_t n = wire_recv(fd, &plan, sizeof(plan), NULL);
        if (n <= 0)
                return n == 0 || n == -ECONNRESET ? 0 : STATUS_SYSTEM;
        if (opened >= 0 && is_deleted(lock_dir)) {
                (void)close(lock_dir);
                lock_dir = opened = open_lock_dir(hello->lock_dir, &err);
        }
        if (opened >= 0)
                opened = wire_plan_valid(&plan, (size_t)n, &err);
        if (opened < 0) {
                send_refusal(fd, &plan, &err);
                return STATUS_PROTOCOL;
        }
        (void)worker_execute(kernel, lock_dir, &plan, send_report, &fd);
        return 0;
}

/* In the child: nothing of the zygote stays but its settings and stderr. Never returns. */
__attribute__((noreturn)) static void worker_begin(int fd, const struct wire_hello *hello)
{
        sigset_t none;

        (void)prctl(PR_SET_NAME, "sluice-hand:w");
        (void)sigemptyset(&none);
        if (sigprocmask(SIG_SETMASK, &none, NULL) < 0 || dup2(fd, WIRE_FD) < 0 || close_range(WIRE_FD + 1, ~0U, 0) < 0)
                _exit(STATUS_SYSTEM);
        _exit(worker_main(WIRE_FD, hello));
}

/* ---- zygote --------------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static int give_up(int fd, const char *fmt, ...)
{
        struct wire_worker msg = { .kind = WIRE_FAILED };
        char text[ERR_MSG_MAX];
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        str_clean(msg.text, sizeof(msg.text), text);
        (void)wire_send(fd, &msg, sizeof(msg), -1);
        (void)fprintf(stderr, "sluice-hand: %s\n", msg.text);
        return STATUS_PROTOCOL;
}

/* 0, or the exit status. */
static int fork_worker(int fd, const struct wire_hello *hello)
{
        struct wire_worker msg = { .kind = WIRE_WORKER };
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return give_up(fd, "cannot make a socket pair: %s", strerror(errno));
        _cleanup_close_ int ours = pair[0];
        _cleanup_close_ int theirs = pair[1];
        pid_t pid = fork();
        if (pid < 0)
                return give_up(fd, "cannot fork a worker: %s", strerror(errno));
        if (pid == 0)
                worker_begin(theirs, hello);
        msg.pid = pid;
        return wire_send(fd, &msg, sizeof(msg), ours) < 0 ? STATUS_SYSTEM : 0;
}

static void report_exits(int fd)
{
        struct wire_worker msg = { .kind = WIRE_EXIT };

        while ((msg.pid = waitpid(-1, &msg.status, WNOHANG)) > 0)
                (void)wire_send(fd, &msg, sizeof(msg), -1);
}

/* One request. False ends the zygote with *@ret_status. */
static bool serve(int fd, const struct wire_hello *hello, int *ret_status)
{
        char request[8];

        ssize_t n = wire_recv(fd, request, sizeof(request), NULL);
        *ret_status = 0;
        if (n == 0 || n == -ECONNRESET)
                return false; /* the daemon is gone */
        if (n != 1 || request[0] != WIRE_WANT)
                *ret_status = give_up(fd, "sluiced asked for something unknown: install both from one build");
        else
                *ret_status = fork_worker(fd, hello);
        return *ret_status == 0;
}

static int hello_take(int fd, struct wire_hello *ret, struct err *err)
{
        ssize_t n = wire_recv(fd, ret, sizeof(*ret), NULL);

        if (n < 0)
                return err_set(err, (int)-n, "cannot read the greeting of sluiced");
        return wire_hello_valid(ret, (size_t)n, err);
}

int zygote_main(int fd)
{
        struct wire_hello hello;
        struct err err;
        sigset_t child;

        (void)prctl(PR_SET_NAME, "sluice-hand");
        (void)signal(SIGTERM, SIG_IGN);
        (void)signal(SIGINT, SIG_IGN);
        (void)signal(SIGHUP, SIG_IGN);
        (void)signal(SIGPIPE, SIG_IGN);
        if (hello_take(fd, &hello, &err) < 0)
                return give_up(fd, "%s", err.msg);
        (void)sigemptyset(&child);
        (void)sigaddset(&child, SIGCHLD);
        (void)sigprocmask(SIG_BLOCK, &child, NULL);
        _cleanup_close_ int exits = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
        if (exits < 0)
                return give_up(fd, "cannot watch for workers: %s", strerror(errno));

        int status = 0;
        for (bool go_on = true; go_on;) {
                struct pollfd fds[] = { { .fd = fd, .events = POLLIN }, { .fd = exits, .events = POLLIN } };
                struct signalfd_siginfo info;

                if (poll(fds, 2, -1) < 0 && errno != EINTR)
                        return give_up(fd, "cannot wait: %s", strerror(errno));
                while (read(exits, &info, sizeof(info)) > 0)
                        ;
                report_exits(fd);
                if (fds[0].revents)
                        go_on = serve(fd, &hello, &status);
        }
        return status;
}
