/* What daemon, zygote and worker say to each other over SOCK_SEQPACKET socket pairs; programs of one build only (the first
 * message carries WIRE_VERSION and the size of struct plan; a mismatch ends the hand with a message).
 *
 *   daemon -> zygote: struct wire_hello (once), then one byte per wanted worker
 *   zygote -> daemon: struct wire_worker {pid} + SCM_RIGHTS: the daemon's end of the new worker's socket pair;
 *                     struct wire_exit {pid, status} when a worker ended
 *   daemon -> worker: one struct plan
 *   worker -> daemon: struct report, before and after each step and undo, and one REPORT_END */
#ifndef SLUICE_HANDS_WIRE_H
#define SLUICE_HANDS_WIRE_H

#include "core/plan.h"
#include "core/reason.h"

enum { WIRE_VERSION = 1 };

enum report_kind { REPORT_BEFORE, REPORT_AFTER, REPORT_UNDO_BEFORE, REPORT_UNDO_AFTER, REPORT_END };

/* How a plan ended. */
enum plan_end {
        PLAN_DONE,    /* every step done and read back */
        PLAN_REFUSED, /* a condition or guard refused: nothing was changed */
        PLAN_UNDONE,  /* a step failed; everything was undone and read back */
        PLAN_BROKEN,  /* a step failed and the undo failed too: look at the message */
        PLAN_STUCK,   /* deadline passed (said by the daemon, never by a worker) */
        PLAN_LOST     /* the worker or zygote died (said by the daemon) */
};
const char *plan_end_name(enum plan_end end);

struct report {
        uint32_t kind;   /* enum report_kind */
        uint32_t step;   /* index into plan.steps */
        int32_t result;  /* 0 or -errno; after a step */
        uint32_t reason; /* enum reason of a failure */
        uint32_t end;    /* enum plan_end, with REPORT_END */
        char text[ERR_MSG_MAX]; /* sentence of a failure, or the value of STEP_READ_LOCKED; UTF-8 */
};

struct wire_hello {
        uint32_t version, plan_size, report_size;
        char sim_dir[512];  /* "" = the machine */
        char lock_dir[512]; /* directory of the card locks */
};
enum { WIRE_WORKER = 1, WIRE_EXIT = 2, WIRE_FAILED = 3 };
struct wire_worker {
        uint32_t kind; /* WIRE_WORKER, WIRE_EXIT, WIRE_FAILED */
        int32_t pid, status;
        char text[256];
};

#endif
