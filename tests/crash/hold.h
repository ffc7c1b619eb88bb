/* SPDX-License-Identifier: Apache-2.0 */
/* Points at which the campaign stops a process, to kill it exactly there. They are put around calls of sluiced and sluice-hand when
 * these are linked (crash.mk, --wrap): what runs is the release's object code, with one function call more between two files of it.
 *
 * $SLUICE_HOLD names a directory, the campaign's side of which is held.h:
 *   at       the point to stop at, one line, with wildcards those (str_glob); absent or empty: none. A point that is stopped at sends
 *            itself SIGSTOP
 *   points   a FIFO: "PID NAME\n" of a process that is about to stop
 *   trace    appended to, if it is there: the name of every point that is passed
 *   zygotes  their pids, one a line; each leads the process group of all its hands
 * Without the variable a point is nothing. */
#ifndef SLUICE_TESTS_CRASH_HOLD_H
#define SLUICE_TESTS_CRASH_HOLD_H

/* A point is known by its name and by how often this process has passed it: "#2" is added the second time. */
__attribute__((format(printf, 1, 2))) void hold_at(const char *fmt, ...);

void hold_note_zygote(void); /* the calling process is it */

#endif
