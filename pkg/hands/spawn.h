/* SPDX-License-Identifier: Apache-2.0 */
/* Starts the program sluice-hand. */
#ifndef SLUICE_HANDS_SPAWN_H
#define SLUICE_HANDS_SPAWN_H

#include <sys/types.h>

#include "base/err.h"

/* The child finds a SOCK_SEQPACKET socket at WIRE_FD, /dev/null as stdin and stdout, our stderr, and nothing else of ours: no
 * descriptor, no blocked or ignored signal, not our session (a Ctrl-C meant for us is not for it). *@ret_fd is our end,
 * close-on-exec; the caller owns it and reaps *@ret_pid. */
int spawn_hand(const char *program, int *ret_fd, pid_t *ret_pid, struct err *err);

#endif
