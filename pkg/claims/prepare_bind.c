/* SPDX-License-Identifier: Apache-2.0 */
/* The devices of a request are bound: what is meant is on the disk before a hand begins, and that it is done before the answer. */
#include "claims/prepare_priv.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "claims/recovery.h"

enum {
        COMPLETION_MS = 2000, /* the disk has to take that it is done */
        BINDINGS_MAX = 3,     /* plans that a request is worth when the host changes under them */
};

static unsigned time_left_ms(const struct job *job)
{
        int64_t left = job->deadline_at_ms - clock_ms();

        return left > 0 ? (unsigned)left : 0;
}

/* A refusal is final for its pod, so what has changed meanwhile is worth another plan; but none that would have too little time. */
static bool may_try_again(const struct job *job)
{
        return job->n_bindings < BINDINGS_MAX && time_left_ms(job) > job->claims->deadline_ms / 2;
}

static void try_again(struct job *job)
{
        job->stale = false;
        job_drop_claims(job);
        job_wait_again(job);
}

/* Done, and yet: unplugged and back, or rebound by somebody, while the plan ran, while it waited for the request's other plans or just
 * after it. */
static bool needs_bind(const struct device *const *devices, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (devices[i]->needs_bind)
                        return true;
        return false;
}

/* The caller hears it now, unless a second plan is worth it: the hand of a killed daemon may have gone on until now. The job
 * stays, and its cards with it, until what the other plans did is undone. */
static void binding_failed(void *ctx, const struct hands_result *result)
{
        struct job *job = ctx;
        struct err err;
        size_t n;

        bool as_it_was = result->end == PLAN_REFUSED || result->end == PLAN_UNDONE;

        job->stale = as_it_was && result->reason == REASON_IDENTITY && may_try_again(job);
        if (job->stale)
                return;
        (void)binding_plans(job->binding, &n);
        (void)err_say(&err, EIO, "%.440s%s", result->text, n > 1 ? "; the request's other devices are put back as they were" : "");
        job_reply_refusal(job, result->reason ? result->reason : REASON_STEP_FAILED, &err);
}

static void prepare_on_overdue(uv_timer_t *timer);

/* What is meant, or is done, is on the disk before anything goes on; but a disk that hangs is not waited for for ever. */
static void limit_recording(struct job *job, unsigned for_ms)
{
        uv_timer_t *overdue = job->claims->overdue;

        job->record_until_ms = clock_ms() + for_ms;
        if (!uv_is_active((uv_handle_t *)overdue) || uv_timer_get_due_in(overdue) > for_ms)
                (void)uv_timer_start(overdue, prepare_on_overdue, for_ms, 0);
}

static void withdraw_all(struct job *job)
{
        size_t n;

        (void)binding_plans(job->binding, &n);
        for (size_t i = 0; i < n; i++)
                intent_withdraw(job->intent, job->claims->ledger, i);
        job->intent = intent_free(job->intent);
        job->binding = binding_free(job->binding);
}

/* Done, and written down as far as the disk let us. */
static void binding_completed(struct job *job)
{
        const struct device *devices[REQUEST_DEVICES_MAX];
        struct err err;

        job->state = JOB_ENDING;
        job->intent = intent_free(job->intent);
        enum reason reason = job_check(job, devices, &err);
        if (reason)
                job_refuse(job, reason, &err);
        else if (needs_bind(devices, job->n_devices) && may_try_again(job))
                try_again(job);
        else
                job_answer(job, devices);
}

/* A disk that does not take it: the ledger has said so, and a daemon that starts anew finds the device bound. */
static void on_completion_recorded(void *ctx, const struct err *err)
{
        struct job *job = ctx;
        struct claims *claims = job->claims;

        (void)err;
        if (--job->n_recording > 0)
                return;
        if (job->state == JOB_ENDING) /* it was overdue, and is answered */
                job_end(job, REASON_NONE, "", NULL);
        else
                binding_completed(job);
        turns_pump(claims);
}

/* The claims after what was done for them: a daemon that finds the one without the other gives it back. */
void job_complete(struct job *job)
{
        struct claims *claims = job->claims;
        const struct device *devices[REQUEST_DEVICES_MAX];
        struct err unused;

        job->state = JOB_COMPLETING;
        if (job->n_bindings == 0)
                job->deadline_at_ms = clock_ms() + claims->deadline_ms;
        job->n_recording = job->intent != NULL;
        if (job->intent)
                intent_complete(job->intent, claims->ledger, on_completion_recorded, job);
        if (job_check(job, devices, &unused) == REASON_NONE && !needs_bind(devices, job->n_devices))
                job->n_recording += job_begin_claims(job, devices, on_completion_recorded);
        if (job->n_recording > 0)
                limit_recording(job, COMPLETION_MS);
        else
                binding_completed(job);
}

/* Of each plan that is not done: what it undid, or never touched, is not ours. What a hand that died left behind is, until it has
 * been looked at (recovery.c); what is broken or stuck, until somebody mends it or the boot ends. */
static void binding_undone(struct job *job)
{
        struct claims *claims = job->claims;
        struct bdf functions[PLAN_STEPS_MAX];
        size_t n;

        (void)binding_plans(job->binding, &n);
        for (size_t i = 0; i < n; i++) {
                enum plan_end end = binding_end(job->binding, i);
                if (end == PLAN_REFUSED || end == PLAN_UNDONE)
                        intent_withdraw(job->intent, claims->ledger, i);
                if (end == PLAN_LOST)
                        recovery_of(claims, functions, intent_functions(job->intent, i, functions));
        }
        job->intent = intent_free(job->intent);
        job->binding = binding_free(job->binding);
        if (job->stale)
                try_again(job);
        else
                job_end(job, REASON_NONE, "", NULL); /* refused already */
}

static void binding_over(void *ctx, bool done)
{
        struct job *job = ctx;
        struct claims *claims = job->claims;

        job->state = JOB_ENDING;
        if (!done) {
                binding_undone(job);
                turns_pump(claims);
                return;
        }
        (void)claims->world.rescan(claims->world.ctx);
        job->binding = binding_free(job->binding);
        job_complete(job);
}

static void refuse_unrecorded(struct job *job, const char *why)
{
        struct err err;

        (void)err_say(&err, EIO, "%s cannot be bound: %.400s; nothing was touched", job->devices[0], why);
        job_refuse(job, REASON_NO_RECORD, &err);
}

static void on_override(void *ctx, struct bdf bdf, const char *before)
{
        struct job *job = ctx;

        intent_override_was(job->intent, job->claims->ledger, bdf, before);
}

static void on_intent_recorded(void *ctx, const struct err *err)
{
        struct job *job = ctx;
        struct claims *claims = job->claims;

        if (!job->done || err) { /* overdue, or Sluice ends: the caller has heard */
                withdraw_all(job);
                if (job->done)
                        refuse_unrecorded(job, err->msg);
                else
                        job_end(job, REASON_NONE, "", NULL);
                turns_pump(claims);
                return;
        }
        job->state = JOB_RUNNING;
        binding_run(job->binding, claims->hands, time_left_ms(job), on_override, binding_failed, binding_over, job);
}

void job_bind(struct job *job)
{
        struct claims *claims = job->claims;
        struct err err;
        size_t n_plans;

        const struct plan *plans = binding_plans(job->binding, &n_plans);
        job->intent = intent_new(claims->ledger, claims->world.inventory(claims->world.ctx), plans, n_plans);
        if (job->n_bindings++ == 0)
                job->deadline_at_ms = clock_ms() + claims->deadline_ms;
        job->state = JOB_INTENDING;
        if (intent_put(job->intent, claims->ledger, on_intent_recorded, job, &err) < 0)
                refuse_unrecorded(job, err.msg);
        else
                limit_recording(job, time_left_ms(job));
}

/* The job stays until the disk has answered after all. */
static void job_overdue(struct job *job)
{
        const struct device *devices[REQUEST_DEVICES_MAX];
        struct err err;
        enum reason reason;

        if (job->state == JOB_INTENDING) {
                (void)err_say(&err, ETIMEDOUT, "%s cannot be bound: the disk of the state directory does not answer; nothing was touched",
                              job->devices[0]);
                job_reply_refusal(job, REASON_NO_RECORD, &err);
                return;
        }
        log_error("the disk of the state directory does not answer: that %s is bound is not recorded yet", job->devices[0]);
        job->state = JOB_ENDING;
        reason = job_check(job, devices, &err);
        if (reason)
                job_reply_refusal(job, reason, &err);
        else
                job_grant(job, devices);
}

static void prepare_on_overdue(uv_timer_t *timer)
{
        struct claims *claims = timer->data;
        int64_t now = clock_ms();

        for (struct turn *turn = claims->turns; turn; turn = turn->next) {
                struct job *job = job_of_turn(turn);
                if (!job || !job->done || (job->state != JOB_INTENDING && job->state != JOB_COMPLETING))
                        continue;
                if (now >= job->record_until_ms)
                        job_overdue(job);
                else
                        limit_recording(job, (unsigned)(job->record_until_ms - now));
        }
}
