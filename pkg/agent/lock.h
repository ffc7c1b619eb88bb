/* SPDX-License-Identifier: Apache-2.0 */
/* The state lock: one daemon per state directory touches anything. */
#ifndef SLUICE_AGENT_LOCK_H
#define SLUICE_AGENT_LOCK_H

#include "base/err.h"

/* Locks @state_dir/lock (close-on-exec, never the hands'). While another daemon has it, waits up to @wait_s seconds (-1 =
 * for ever), saying so once. Returns 0; 1 when it had to wait, so that what was read before may be stale; -EINTR when
 * @signal_fd (a signalfd) told to end, -EAGAIN when the time is up. @ret_fd: keep it open as long as the lock is wanted. */
int lock_state(const char *state_dir, int wait_s, int signal_fd, int *ret_fd, struct err *err);

#endif
