/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/signalfd.h>

#include "agent/notify.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

enum { RETRY_MS = 500 };

int lock_state(const char *state_dir, int wait_s, int signal_fd, int *ret_fd, struct err *err)
{
        _cleanup_free_ char *path = xasprintf("%s/lock", state_dir);
        bool said = false;

        _cleanup_close_ int fd = fs_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
        if (fd < 0)
                return err_set(err, -fd, "cannot open %s", path);
        int64_t until_ms = clock_ms() + wait_s * INT64_C(1000);
        while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                struct pollfd signals = { .fd = signal_fd, .events = POLLIN };

                if (errno != EWOULDBLOCK && errno != EINTR)
                        return err_set(err, errno, "cannot lock %s", path);
                if (wait_s >= 0 && clock_ms() >= until_ms)
                        return err_say(err, EAGAIN, "another sluiced holds %s", path);
                if (!said) {
                        log_info("another sluiced holds %s: waiting for it to end, touching nothing meanwhile", path);
                        notify_service_manager("STATUS=waiting for another sluiced to end");
                }
                said = true;
                struct signalfd_siginfo info;
                if (poll(&signals, 1, RETRY_MS) > 0 && read(signal_fd, &info, sizeof(info)) == sizeof(info) &&
                    info.ssi_signo != SIGHUP)
                        return err_say(err, EINTR, "told to end while waiting for %s", path);
        }
        *ret_fd = TAKE_FD(fd);
        return said;
}
