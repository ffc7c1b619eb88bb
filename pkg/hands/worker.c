/* SPDX-License-Identifier: Apache-2.0 */
#include "hands/worker.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <time.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "hands/steps_priv.h"

/* One plan at work: what the steps need, and who hears of it. */
struct execution {
        struct work work;
        int lock_dir;
        report_fn *report;
        void *ctx;
        bool called_off; /* another plan of the request has failed */
};

enum {
        LOCK_WAIT_MS = 500, /* a hand that only reads is soon done */
        LOCK_PAUSE_MS = 5,
};

struct locks {
        int fds[2 * PLAN_CARDS_MAX];
        uint32_t n;
};

static void locks_done(struct locks *locks)
{
        while (locks->n > 0)
                cleanup_close(&locks->fds[--locks->n]);
}

/* Takes @fd over. */
static int lock_fd(struct locks *locks, int fd, struct bdf card, int how, int64_t until_ms, struct failure *f)
{
        const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000 };

        locks->fds[locks->n++] = fd;
        while (flock(fd, how | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK && errno != EINTR) {
                        f->reason = REASON_STEP_FAILED;
                        return err_set(&f->err, errno, "cannot take the lock of card " BDF_FMT, BDF_ARGS(card));
                }
                if (clock_ms() >= until_ms) {
                        f->reason = REASON_CARD_BUSY;
                        return err_say(&f->err, EBUSY, "another hand is at work on card " BDF_FMT, BDF_ARGS(card));
                }
                (void)nanosleep(&pause, NULL);
        }
        return 0;
}

/* Twice: the run directory has a lock for every card, also for one that is away; the card itself is the same for daemons that
 * have different run directories. Both die with the process, so a hand that hangs in the kernel keeps its card, and one that was
 * killed does not. @how is LOCK_EX or LOCK_SH. */
static int lock_take(struct execution *x, struct locks *locks, struct bdf card, int how, int wait_ms, struct failure *f)
{
        int64_t until_ms = clock_ms() + wait_ms;
        char name[64];

        (void)snprintf(name, sizeof(name), "card-" BDF_FMT ".lock", BDF_ARGS(card));
        int fd = fs_open(x->lock_dir, name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
        if (fd < 0) {
                f->reason = REASON_STEP_FAILED;
                return err_set(&f->err, -fd, "cannot open the lock %s in the run directory", name);
        }
        int r = lock_fd(locks, fd, card, how, until_ms, f);
        if (r < 0)
                return r;
        fd = kernel_open_card(x->work.kernel, card);
        if (fs_gone(fd) || fd == -EROFS || fd == -EACCES)
                return 0;
        if (fd < 0) {
                f->reason = REASON_STEP_FAILED;
                return err_set(&f->err, -fd, "cannot open card " BDF_FMT " to lock it", BDF_ARGS(card));
        }
        return lock_fd(locks, fd, card, how, until_ms, f);
}

static int locks_take(struct execution *x, struct locks *locks, struct failure *f)
{
        const struct plan *plan = x->work.plan;

        for (uint32_t i = 0; i < plan->n_cards; i++) {
                int r = lock_take(x, locks, plan->cards[i], LOCK_EX, LOCK_WAIT_MS, f);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void report(struct execution *x, enum report_kind kind, uint32_t step, int result, enum reason reason, const char *text)
{
        struct report report = { .kind = kind, .step = step, .result = result, .reason = reason };

        str_clean(report.text, sizeof(report.text), text);
        if (!x->report(x->ctx, &report))
                x->called_off = true;
}

/* Not while a plan is at work on the card: its writes hold the device's lock, for as long as a driver takes to let go, and
 * this read would look as if the kernel had hung. Nor after one hung there, whatever daemon started it. */
static int read_beside_plans(struct execution *x, const struct step *step, struct deed *deed, struct failure *f)
{
        _cleanup_(locks_done) struct locks locks = { .n = 0 };

        int r = step_read_look(&x->work, f); /* many milliseconds on a busy node, which no plan should wait for */
        if (r == 0)
                r = lock_take(x, &locks, step->card, LOCK_SH, 0, f);
        if (r == 0)
                r = step_read_wedged(&x->work, step, f);
        return r < 0 ? r : step_ops(step->kind)->act(&x->work, step, deed, f);
}

static int call_off(struct failure *f)
{
        f->reason = REASON_STEP_FAILED;
        return err_say(&f->err, ECANCELED, "another device of the request could not be bound");
}

static int act(struct execution *x, uint32_t i, struct failure *f)
{
        const struct step *step = &x->work.plan->steps[i];

        report(x, REPORT_BEFORE, i, 0, REASON_NONE, "");
        int r = x->called_off                    ? call_off(f)
                : step->kind == STEP_READ_LOCKED ? read_beside_plans(x, step, &x->work.deeds[i], f)
                                                 : step_ops(step->kind)->act(&x->work, step, &x->work.deeds[i], f);
        if (r < 0)
                report(x, REPORT_AFTER, i, r, f->reason, f->err.msg);
        else
                report(x, REPORT_AFTER, i, 0, REASON_NONE,
                       step_tells(step->kind)        ? x->work.value
                       : step->kind == STEP_OVERRIDE ? x->work.deeds[i].before
                                                     : "");
        return step_tells(step->kind) ? 0 : r;
}

static bool is_there(struct execution *x, struct bdf bdf)
{
        char path[64];

        str_format(path, sizeof(path), "bus/pci/devices/" BDF_FMT, BDF_ARGS(bdf));
        return fs_exists(kernel_tree(x->work.kernel)->sys, path) != 0;
}

/* With a device its state is gone too. What is there (again) may have its state still, whatever one access said. */
static int undo(struct execution *x, const struct step *step, struct deed *deed, struct failure *f)
{
        for (int i = 0; i < 2; i++) {
                *f = (struct failure){ 0 };
                int r = step_ops(step->kind)->undo(&x->work, step, deed, f);
                if (r >= 0 || f->reason != REASON_GONE)
                        return r;
                if (!is_there(x, step->bdf))
                        return 0;
        }
        return 0;
}

/* Whoever reads only this sentence is to know what is not as it was. */
static void name_function(struct err *err, struct bdf bdf)
{
        char text[BDF_TEXT_MAX];

        if (!strstr(err->msg, bdf_format(bdf, text)))
                (void)err_prefix(err, "%s", text);
}

/* Undoes what step @i changed, if anything, once. The first failure is kept in @first; the others are reported. */
static void undo_step(struct execution *x, uint32_t i, struct failure *first)
{
        const struct step *step = &x->work.plan->steps[i];
        struct deed *deed = &x->work.deeds[i];
        struct failure f = { 0 };

        if (!deed->changed)
                return;
        deed->changed = false;
        report(x, REPORT_UNDO_BEFORE, i, 0, REASON_NONE, "");
        int r = undo(x, step, deed, &f);
        if (r < 0)
                name_function(&f.err, step->bdf);
        report(x, REPORT_UNDO_AFTER, i, r, r < 0 ? f.reason : REASON_NONE, r < 0 ? f.err.msg : "");
        if (r < 0 && first->reason == REASON_NONE)
                *first = f;
}

static bool acted(const struct execution *x, uint32_t n)
{
        for (uint32_t i = 0; i < n; i++)
                if (x->work.deeds[i].changed && step_acts(x->work.plan->steps[i].kind))
                        return true;
        return false;
}

/* Step @i failed for the reason in @f: undoes what was done, and completes the sentence. */
static enum plan_end give_up(struct execution *x, uint32_t i, struct failure *f)
{
        char step[160];
        struct failure undone = { 0 };
        bool was_acting = acted(x, i + 1);

        for (uint32_t j = i + 1; j-- > 0;)
                undo_step(x, j, &undone);
        step_describe(&x->work.plan->steps[i], step, sizeof(step));
        if (undone.reason != REASON_NONE) {
                struct err why = f->err;
                f->reason = undone.reason == REASON_NOT_RESTORED ? REASON_NOT_RESTORED : REASON_BROKEN_BINDING;
                (void)err_say(&f->err, why.code, "%.160s (step %u of %u, %s), and it could not be undone: %.160s", why.msg, i + 1,
                              x->work.plan->n_steps, step, undone.err.msg);
                return PLAN_BROKEN;
        }
        if (!was_acting)
                return PLAN_REFUSED;
        struct err why = f->err;
        (void)err_say(&f->err, why.code, "%.280s (step %u of %u, %s); everything was undone", why.msg, i + 1, x->work.plan->n_steps, step);
        return PLAN_UNDONE;
}

/* Waits for the other plans of the request, unless the word has come already. */
static void await_word(struct execution *x, enum report_kind kind, uint32_t step)
{
        if (x->work.plan->awaits_word && !x->called_off)
                report(x, kind, step, 0, REASON_NONE, "");
}

/* Returns how it ended; @ret_step is the step that failed, n_steps when none did. */
static enum plan_end run(struct execution *x, uint32_t *ret_step, struct failure *f)
{
        _cleanup_(locks_done) struct locks locks = { .n = 0 };
        const struct plan *plan = x->work.plan;

        *ret_step = plan->n_steps;
        if (locks_take(x, &locks, f) < 0)
                return PLAN_REFUSED;
        bool checked = false;
        for (uint32_t i = 0; i < plan->n_steps; i++) {
                if (!checked && step_acts(plan->steps[i].kind)) {
                        checked = true;
                        await_word(x, REPORT_CHECKED, i);
                }
                if (act(x, i, f) < 0) {
                        *ret_step = i;
                        return give_up(x, i, f);
                }
        }
        await_word(x, REPORT_READY, plan->n_steps);
        if (x->called_off) {
                *ret_step = plan->n_steps - 1;
                (void)call_off(f);
                return give_up(x, plan->n_steps - 1, f);
        }
        return PLAN_DONE;
}

enum plan_end worker_execute(struct kernel *kernel, int lock_dir, const struct plan *plan, report_fn *report_to, void *ctx)
{
        struct execution x = { .work = { .kernel = kernel, .plan = plan }, .lock_dir = lock_dir, .report = report_to, .ctx = ctx };
        struct failure f = { 0 };
        struct report last = { .kind = REPORT_END };

        assert(plan->n_steps <= PLAN_STEPS_MAX && plan->n_cards <= PLAN_CARDS_MAX);
        last.end = run(&x, &last.step, &f);
        if (last.end != PLAN_DONE) {
                last.result = -f.err.code;
                last.reason = f.reason;
                str_clean(last.text, sizeof(last.text), f.err.msg);
        }
        (void)report_to(ctx, &last);
        return last.end;
}
