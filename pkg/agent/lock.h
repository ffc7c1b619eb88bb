/* SPDX-License-Identifier: Apache-2.0 */
/* What keeps two daemons apart. One daemon
 *  - per state directory: a lock on the file "lock" in it;
 *  - per run directory, which stands for the machine's hardware: the locks of the cards are in it. Two kubelets on one machine
 *    would otherwise be offered the same GPUs. A lock on the directory itself: it needs no room and no file;
 *  - per kubelet: two daemons would take each other's registrations. Locks on the directories that the sockets are in, whose
 *    files kubelet wipes at its start: those of both ways of registration, as far as they are there at the start. */
#ifndef SLUICE_AGENT_LOCK_H
#define SLUICE_AGENT_LOCK_H

#include <stdint.h>

#include "base/err.h"

/* Both: close-on-exec, never the hands'. While another daemon has the lock, waits until @until_ms (INT64_MAX = for ever),
 * saying so once. Returns 0; 1 when it had to wait, so that what was read before may be stale; -EINTR when @signal_fd (a
 * signalfd) told to end, -EAGAIN when the time is up. @ret_fd: keep it open as long as the lock is wanted. */
int lock_state(const char *state_dir, int64_t until_ms, int signal_fd, int *ret_fd, struct err *err);
/* Nothing there: 0, and *ret_fd as it was. */
int lock_directory(const char *path, int64_t until_ms, int signal_fd, int *ret_fd, struct err *err);

struct lock_dirs {
        const char *state, *run, *kubelet;
};
struct locks {
        int fds[4];
};
/* All of them, waiting @wait_s seconds (-1 = for ever) in total. On failure none is held. */
int locks_take(struct locks *locks, const struct lock_dirs *dirs, int wait_s, int signal_fd, struct err *err);
void locks_done(struct locks *locks);

#endif
