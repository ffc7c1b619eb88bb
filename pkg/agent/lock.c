/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/notify.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

/* The wait for the lock, in a thread of its own: flock cannot be polled for, and an upgrade shall not wait for a clock. Static:
 * when the wait is given up the process ends, and the thread with it. */
static struct waiting {
        int fd;   /* to be locked */
        int done; /* eventfd; written when it is, or cannot be */
        int error;
} waiting;

static void *wait_for_lock(void *arg)
{
        struct waiting *w = arg;

        while (flock(w->fd, LOCK_EX) < 0)
                if (errno != EINTR) {
                        w->error = errno;
                        break;
                }
        (void)eventfd_write(w->done, 1);
        return NULL;
}

/* SIGHUP is no reason to end: what it asks for is done when the turn has come. */
static bool told_to_end(int signal_fd)
{
        struct signalfd_siginfo info;

        return read(signal_fd, &info, sizeof(info)) == sizeof(info) && info.ssi_signo != SIGHUP;
}

/* Until the thread is done: 0, -EINTR when told to end, -EAGAIN when the time is up. */
static int wait_for_thread(int64_t until_ms, int signal_fd)
{
        struct pollfd fds[] = { { .fd = waiting.done, .events = POLLIN }, { .fd = signal_fd, .events = POLLIN } };

        for (;;) {
                int64_t left_ms = until_ms - clock_ms();
                if (left_ms <= 0)
                        return -EAGAIN;
                if (poll(fds, N_ELEMENTS(fds), until_ms == INT64_MAX ? -1 : (int)left_ms) < 0 && errno != EINTR)
                        return -errno;
                if (fds[0].revents)
                        return 0;
                if (fds[1].revents && told_to_end(signal_fd))
                        return -EINTR;
        }
}

static int wait_our_turn(int fd, const char *path, int64_t until_ms, int signal_fd, struct err *err)
{
        pthread_t thread;

        waiting = (struct waiting){ .fd = fd, .done = eventfd(0, EFD_CLOEXEC) };
        if (waiting.done < 0)
                return err_set(err, errno, "cannot wait for %s", path);
        int r = pthread_create(&thread, NULL, wait_for_lock, &waiting);
        if (r != 0)
                return err_set(err, r, "cannot wait for %s", path);
        r = wait_for_thread(until_ms, signal_fd);
        if (r == -EAGAIN)
                return err_say(err, EAGAIN, "another sluiced holds %s", path);
        if (r < 0)
                return err_say(err, -r, "told to end while waiting for %s", path);
        (void)pthread_join(thread, NULL);
        (void)close(waiting.done);
        return waiting.error ? err_set(err, waiting.error, "cannot lock %s", path) : 0;
}

/* Is what is at @path still what is open at @fd? A lock on something that was removed keeps nobody out. */
static bool is_there(int fd, const char *path)
{
        struct stat ours, theirs;

        return fstat(fd, &ours) == 0 && fs_stat(AT_FDCWD, path, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
               ours.st_ino == theirs.st_ino;
}

/* 0, or 1 when it had to wait. */
static int lock_open(int fd, const char *path, int64_t until_ms, int signal_fd, struct err *err)
{
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
                return 0;
        if (errno != EWOULDBLOCK)
                return err_set(err, errno, "cannot lock %s", path);
        log_info("another sluiced holds %s: waiting for it to end, touching nothing meanwhile", path);
        notify_service_manager("STATUS=waiting for another sluiced to end");
        int r = wait_our_turn(fd, path, until_ms, signal_fd, err);
        return r < 0 ? r : 1;
}

static int lock_path(const char *path, int flags, int64_t until_ms, int signal_fd, int *ret_fd, struct err *err)
{
        bool waited = false;

        for (;;) {
                _cleanup_close_ int fd = fs_open(AT_FDCWD, path, flags, 0600);
                if (fd < 0)
                        return err_set(err, -fd, "cannot open %s", path);
                int r = lock_open(fd, path, until_ms, signal_fd, err);
                if (r < 0)
                        return r;
                waited |= r > 0;
                if (is_there(fd, path)) {
                        *ret_fd = TAKE_FD(fd);
                        return waited;
                }
        }
}

int lock_state(const char *state_dir, int64_t until_ms, int signal_fd, int *ret_fd, struct err *err)
{
        _cleanup_free_ char *path = xasprintf("%s/lock", state_dir);

        return lock_path(path, O_RDWR | O_CREAT | O_NOFOLLOW, until_ms, signal_fd, ret_fd, err);
}

int lock_directory(const char *path, int64_t until_ms, int signal_fd, int *ret_fd, struct err *err)
{
        int r = lock_path(path, O_RDONLY | O_DIRECTORY, until_ms, signal_fd, ret_fd, err);

        return r == -ENOENT ? 0 : r;
}

/* Always in this order, so that two that want some of the same do not wait for each other. */
int locks_take(struct locks *locks, const struct lock_dirs *dirs, int wait_s, int signal_fd, struct err *err)
{
        static const char *const below_kubelet[] = { "device-plugins", "plugins_registry" };
        int64_t until_ms = wait_s < 0 ? INT64_MAX : clock_ms() + wait_s * INT64_C(1000);

        *locks = (struct locks){ { -1, -1, -1, -1 } };
        int r = lock_state(dirs->state, until_ms, signal_fd, &locks->fds[0], err);
        bool waited = r > 0;
        if (r >= 0)
                r = lock_directory(dirs->run, until_ms, signal_fd, &locks->fds[1], err);
        waited |= r > 0;
        for (size_t i = 0; i < N_ELEMENTS(below_kubelet) && r >= 0; i++) {
                _cleanup_free_ char *path = xasprintf("%s/%s", dirs->kubelet, below_kubelet[i]);
                r = lock_directory(path, until_ms, signal_fd, &locks->fds[2 + i], err);
                waited |= r > 0;
        }
        if (r < 0)
                locks_done(locks);
        return r < 0 ? r : waited;
}

void locks_done(struct locks *locks)
{
        for (size_t i = 0; i < N_ELEMENTS(locks->fds); i++) {
                if (locks->fds[i] >= 0)
                        (void)close(locks->fds[i]);
                locks->fds[i] = -1;
        }
}
