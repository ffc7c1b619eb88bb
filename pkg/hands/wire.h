/* SPDX-License-Identifier: Apache-2.0 */
/* What daemon, zygote and worker say to each other over SOCK_SEQPACKET socket pairs; programs of one build only (the first
 * message carries WIRE_VERSION and the sizes of the messages; a mismatch ends the hand with a message).
 *
 *   daemon -> zygote: struct wire_hello (once), then one byte WIRE_WANT per wanted worker
 *   zygote -> daemon: struct wire_worker: WIRE_WORKER {pid} + SCM_RIGHTS: the daemon's end of the new worker's socket pair;
 *                     WIRE_EXIT {pid, status} when a worker ended; WIRE_FAILED {text} before the zygote gives up
 *   daemon -> worker: one struct plan; later one byte, WIRE_GO as the answer to REPORT_CHECKED and REPORT_READY, WIRE_UNDO or
 *                     WIRE_STOP at any time
 *   worker -> daemon: struct report, before and after each step and undo; if the plan awaits a word, REPORT_CHECKED before its
 *                     first action and REPORT_READY after its last step, each of which waits; one REPORT_END
 *
 * Messages are plain structs of fixed size. Whoever receives one checks it with its wire_*_valid() before use. */
#ifndef SLUICE_HANDS_WIRE_H
#define SLUICE_HANDS_WIRE_H

#include "core/plan.h"
#include "core/reason.h"

enum {
        WIRE_VERSION = 4,
        WIRE_WANT = 'w',
        WIRE_STOP = 's', /* to a worker: no further step, no undo */
        WIRE_UNDO = 'u', /* to a worker: another plan of the request has failed, undo this one */
        WIRE_GO = 'g',   /* to a worker that waits: all others of the request are as far as it is */
        WIRE_FD = 3      /* where zygote and worker find their socket */
};

enum report_kind { REPORT_BEFORE, REPORT_AFTER, REPORT_UNDO_BEFORE, REPORT_UNDO_AFTER, REPORT_END, REPORT_CHECKED, REPORT_READY };

/* How a plan ended. */
enum plan_end {
        PLAN_DONE,    /* every step done and read back */
        PLAN_REFUSED, /* a condition or guard refused: nothing was changed */
        PLAN_UNDONE,  /* a step failed; everything was undone and read back */
        PLAN_BROKEN,  /* a step failed and the undo failed too: look at the message */
        PLAN_STUCK,   /* deadline passed (said by the daemon, never by a worker) */
        PLAN_LOST     /* the worker or zygote died (said by the daemon) */
};
const char *plan_end_name(enum plan_end end); /* "done", "refused", ... */

struct report {
        uint32_t kind;          /* enum report_kind */
        uint32_t step;          /* index into plan.steps; n_steps with REPORT_READY, and with REPORT_END when no step failed */
        int32_t result;         /* 0 or -errno; with REPORT_AFTER, REPORT_UNDO_AFTER and REPORT_END */
        uint32_t reason;        /* enum reason of a failure, REASON_NONE without */
        uint32_t end;           /* enum plan_end up to PLAN_BROKEN, with REPORT_END */
        char text[ERR_MSG_MAX]; /* sentence of a failure, or what a step tells; UTF-8 */
};

struct wire_hello {
        uint32_t version, plan_size, report_size;
        char sim_dir[512];  /* "" = the machine */
        char lock_dir[512]; /* directory of the card locks */
        char mounts[512];   /* where the host's directories are mounted in a container; "" = none, on the host itself */
};
enum { WIRE_WORKER = 1, WIRE_EXIT = 2, WIRE_FAILED = 3 };
struct wire_worker {
        uint32_t kind;       /* WIRE_WORKER, WIRE_EXIT, WIRE_FAILED */
        int32_t pid, status; /* status as of waitpid(2), with WIRE_EXIT */
        char text[256];
};

/* Is the message of @n bytes at @buf whole and within its bounds? 0, or -EPROTO and what is wrong with it. @buf of a plan is
 * aligned as a struct plan. */
int wire_hello_valid(const void *buf, size_t n, struct err *err);
int wire_worker_valid(const void *buf, size_t n, struct err *err);
int wire_plan_valid(const void *buf, size_t n, struct err *err);
int wire_report_valid(const void *buf, size_t n, uint32_t n_steps, struct err *err);

/* One message; never SIGPIPE. @pass >= 0 goes along as a descriptor (the caller keeps his). 0 or -errno. */
int wire_send(int fd, const void *msg, size_t n, int pass);

/* One message, its length returned; 0 = the peer is gone; -errno otherwise (-EMSGSIZE: longer than @size, dropped).
 * A descriptor that came along is in *@ret_passed (close-on-exec, the caller owns it), else -1; with @ret_passed NULL none is
 * accepted. */
ssize_t wire_recv(int fd, void *buf, size_t size, int *ret_passed);

#endif
