/* SPDX-License-Identifier: Apache-2.0 */
/* The hand itself: executes one plan, step by step, with read-back and undo. Runs in a sluice-hand worker process, reports
 * through a callback; the same function runs in unit tests on a simulated host.
 *
 * Locks first: flock on <lock_dir>/card-<bdf>.lock of every card of the plan and on the card itself (kernel_open_card), in the plan's
 * (sorted) order, hardly waiting (CARD_BUSY). Held until the process ends or the plan has; given back before REPORT_END, so that who hears
 * it may send the next plan at once. Then each step: report before, act, read back, report after. On a failure the undo of every step that
 * changed something runs in reverse order, each read back and reported:
 *
 *   a condition or guard failed, and no action came before it   PLAN_REFUSED (an unbindLock taken is given back)
 *   an action or read-back failed, all undone                   PLAN_UNDONE
 *   an undo failed too (the others were tried all the same)     PLAN_BROKEN
 *
 * A device that is gone has nothing left to undo. A step that only tells and fails is reported and the plan goes on.
 *
 * One of several plans of a request (awaits_word) waits for the others twice, locks held: when all conditions hold, before its
 * first action, and when it is done. It is called off when another one fails: before its next step it undoes what it did. */
#ifndef SLUICE_HANDS_WORKER_H
#define SLUICE_HANDS_WORKER_H

#include "hands/kernel.h"
#include "hands/wire.h"

/* @report is borrowed for the call. Returns whether the plan goes on: false calls it off. REPORT_CHECKED and REPORT_READY
 * return when that is decided. */
typedef bool report_fn(void *ctx, const struct report *report);

/* @plan must have passed wire_plan_valid(); @lock_dir is a directory descriptor. Returns what REPORT_END said. */
enum plan_end worker_execute(struct kernel *kernel, int lock_dir, const struct plan *plan, report_fn *report, void *ctx);

#endif
