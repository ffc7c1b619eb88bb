/* SPDX-License-Identifier: Apache-2.0 */
/* What runs in the program sluice-hand: the zygote, and the workers it forks.
 *
 * The zygote is single-threaded and touches no hardware, so that it can always fork: it waits for requests of the daemon,
 * forks a worker for each, hands the daemon its end of the worker's socket, and reports workers that ended. A worker opens the
 * host, waits for its one plan, executes it and ends.
 *
 * Both ignore SIGTERM, SIGINT and SIGHUP: they end when their socket closes, that is, with the daemon; so a worker is not torn
 * from the middle of a plan by a service manager that signals the whole group. A worker whose daemon died (its reports meet
 * EPIPE) carries its plan through to the end, undo included: the card's lock tells the next daemon, and what is there then is
 * a defined state. Of one that waits for the others of its request when the daemon dies: before its first action it begins
 * none; when it is done it keeps what it did. The device is bound whole then, which the next daemon sees and may give to
 * somebody at once, so that nobody may unbind it behind its back.
 * Only SIGKILL ends a worker between two steps. */
#ifndef SLUICE_HANDS_ZYGOTE_H
#define SLUICE_HANDS_ZYGOTE_H

/* main of sluice-hand: @fd is the control socket. Returns the exit status: 0 when the daemon went away. */
int zygote_main(int fd);

#endif
