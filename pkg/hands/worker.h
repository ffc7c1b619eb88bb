/* The hand itself: executes one plan, step by step, with read-back and undo. Runs in a sluice-hand worker process, reports
 * through a callback; the same function runs in unit tests on a simulated host.
 *
 * Locks first: flock on <lock_dir>/card-<bdf>.lock of every card of the plan, sorted, not waiting (CARD_BUSY). Held until
 * the process ends or the plan has. Then each step: report before, act, read back, report after. On a failure of an action or
 * read-back, the undo of every action done so far runs in reverse order, each reported. */
#ifndef SLUICE_HANDS_WORKER_H
#define SLUICE_HANDS_WORKER_H

#include "hands/kernel.h"
#include "hands/wire.h"

typedef void report_fn(void *ctx, const struct report *report);
enum plan_end worker_execute(struct kernel *kernel, int lock_dir, const struct plan *plan, report_fn *report, void *ctx);

/* main of sluice-hand: @fd is the control socket (3 by convention). Returns the exit status. */
int zygote_main(int fd);

#endif
