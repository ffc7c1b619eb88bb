/* SPDX-License-Identifier: Apache-2.0 */
/* A request becomes a job; a job waits until no earlier turn has one of its cards, is checked again against the world of that
 * moment, and then either answers at once (bound already) or writes down what it is about to do (intent.c), has its devices
 * bound (binding.c), writes down that it is done, and answers. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "claims/binding.h"
#include "claims/claims_priv.h"
#include "claims/intent.h"
#include "claims/observe.h"
#include "claims/recovery.h"
#include "claims/request.h"

enum {
        JOBS_MAX = 256,      /* turns, waiting and at work together; beyond it OVERLOAD */
        HELD_WAIT_MS = 2000, /* design 4.5: a former user's descriptor may be open for a moment */
        HELD_RETRY_MS = 100,
        COMPLETION_MS = 2000, /* the disk has to take that it is done */
        BINDINGS_MAX = 3,     /* plans that a request is worth when the host changes under them */
        JOB_CARDS_MAX = 2 * REQUEST_DEVICES_MAX,
};

enum job_state {
        JOB_WAITING,
        JOB_HELD,       /* until a descriptor is closed, or it is tried again */
        JOB_RUNNING,    /* hands are at work */
        JOB_INTENDING,  /* its intent is being written */
        JOB_COMPLETING, /* it is done, which is being written */
        JOB_ENDING,
};

struct job {
        struct turn turn;
        struct claims *claims;
        enum job_state state;
        enum claim_owner owner;
        bool verify_only;
        enum device_mode mode;
        char resource[RESOURCE_MAX];
        char **devices;
        size_t n_devices;
        struct bdf cards[JOB_CARDS_MAX];
        struct binding *binding; /* NULL = nothing is being bound */
        struct intent *intent;   /* of @binding */
        unsigned n_bindings;     /* how often one was made */
        bool stale;              /* what the binding was planned from is not so any more */
        int64_t deadline_at_ms;  /* of all */
        int64_t record_until_ms; /* the disk may take */
        int64_t held_until_ms;   /* 0 = not waited yet */
        bool nobody_holds;       /* a hand has asked every process */
        claims_done_fn *done;
        void *ctx;
};

static void job_start(struct turn *turn);
static void job_stop(struct turn *turn);
static bool job_changes(const struct turn *turn, struct bdf card, bool ended);
static const struct turn_ops JOB_OPS = { job_start, job_stop, job_changes };

static struct job *job_of(const struct turn *turn)
{
        return container_of(turn, struct job, turn);
}

static bool job_changes(const struct turn *turn, struct bdf card, bool ended)
{
        const struct binding *binding = job_of(turn)->binding;

        return binding && (ended ? binding_concerns(binding, card) : binding_at_work(binding, card));
}

/* ---- jobs ---- */

static struct job *job_free(struct job *job)
{
        for (size_t i = 0; i < job->n_devices; i++)
                free(job->devices[i]);
        free(job->devices);
        intent_free(job->intent);
        binding_free(job->binding);
        free(job);
        return NULL;
}

/* Once: @done is NULL when the caller has heard. */
static void job_reply(struct job *job, enum reason reason, const char *text, const struct answer *answer)
{
        const struct claim_result result = { .reason = reason, .text = text, .answer = answer };
        claims_done_fn *done = TAKE_PTR(job->done);

        if (done)
                done(job->ctx, &result);
}

static void job_end(struct job *job, enum reason reason, const char *text, const struct answer *answer)
{
        struct claims *claims = job->claims;

        job_reply(job, reason, text, answer);
        turn_leave(claims, &job->turn);
        job_free(job);
}

enum { REFUSAL_MAX = ERR_MSG_MAX + 320 };

static void refusal(char out[static REFUSAL_MAX], enum reason reason, const struct err *err)
{
        assert(reason != REASON_NONE);
        str_format(out, REFUSAL_MAX, "%s [%s] %s", err->msg, reason_word(reason), reason_remedy(reason));
}

static void job_reply_refusal(struct job *job, enum reason reason, const struct err *err)
{
        char text[REFUSAL_MAX];

        refusal(text, reason, err);
        job_reply(job, reason, text, NULL);
}

static void job_refuse(struct job *job, enum reason reason, const struct err *err)
{
        char text[REFUSAL_MAX];

        refusal(text, reason, err);
        job_end(job, reason, text, NULL);
}

/* ---- the answer ---- */

static struct claim_device device_as_answered(const struct device *device)
{
        struct claim_device d = { .card = device->card, .group = device->group, .vendor = device->vendor, .device = device->device_id };

        (void)str_copy(d.id, sizeof(d.id), device->id);
        return d;
}

static int64_t unix_ms(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

void claims_record(struct claims *claims, const struct device *device, const char *resource, enum device_mode mode)
{
        struct claim_device told = device_as_answered(device);
        struct claim claim = {
                .owner = OWNER_KUBELET,
                .state = CLAIM_ANSWERED,
                .mode = mode,
                .devices = &told,
                .n_devices = 1,
                .since_ms = unix_ms(),
        };
        struct err err;

        claim_key_of_kubelet(device->id, claim.key);
        (void)str_copy(claim.resource, sizeof(claim.resource), resource);
        (void)str_copy(claim.boot_id, sizeof(claim.boot_id), claims->world.inventory(claims->world.ctx)->boot_id);
        if (ledger_put_claim(claims->ledger, &claim, NULL, NULL, &err) < 0)
                log_error("the claim of %s is not recorded: %s", device->id, err.msg);
}

/* One claim for each device: kubelet frees and gives them again one by one. After the answer: kubelet keeps its own record of
 * what it was answered, and this one must not keep a pod waiting. */
static void record_claims(const struct job *job, const struct device *const *devices)
{
        for (size_t i = 0; i < job->n_devices; i++) {
                claims_record(job->claims, devices[i], job->resource, job->mode);
                observer_answered(job->claims->observer, devices[i]->id);
        }
}

/* Everything is bound: the answer is rendered from the newest look at the world. The job goes on. */
static void job_grant(struct job *job, const struct device *const *devices)
{
        const struct claims_world *world = &job->claims->world;
        _cleanup_answer_ struct answer answer = { 0 };
        struct err err;

        enum reason reason = answer_make(world->inventory(world->ctx), job->resource, devices, job->n_devices, &answer, &err);
        if (reason) {
                job_reply_refusal(job, reason, &err);
                return;
        }
        job_reply(job, REASON_NONE, "", job->verify_only ? NULL : &answer);
        if (job->owner == OWNER_KUBELET && !job->verify_only)
                record_claims(job, devices);
}

static void job_answer(struct job *job, const struct device *const *devices)
{
        job_grant(job, devices);
        job_end(job, REASON_NONE, "", NULL);
}

static enum reason check(struct job *job, const struct device **devices, struct err *err)
{
        const struct claims *claims = job->claims;
        const struct claim_request request = {
                .owner = job->owner,
                .resource = job->resource,
                .devices = job->devices,
                .n_devices = job->n_devices,
                .mode = job->mode,
                .verify_only = job->verify_only,
        };

        return request_check(claims->world.offer(claims->world.ctx), &request, devices, err);
}

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

static void wait_again(struct job *job)
{
        job->state = JOB_WAITING;
        job->turn.waits = true;
}

static void try_again(struct job *job)
{
        job->stale = false;
        wait_again(job);
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
        enum reason reason = check(job, devices, &err);
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
        if (job->state == JOB_ENDING) /* it was overdue, and is answered */
                job_end(job, REASON_NONE, "", NULL);
        else
                binding_completed(job);
        turns_pump(claims);
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
        job->state = JOB_COMPLETING;
        intent_complete(job->intent, claims->ledger, on_completion_recorded, job);
        limit_recording(job, COMPLETION_MS);
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

static void job_bind(struct job *job)
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
        reason = check(job, devices, &err);
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
                struct job *job = job_of(turn);
                if (turn->ops != &JOB_OPS || !job->done || (job->state != JOB_INTENDING && job->state != JOB_COMPLETING))
                        continue;
                if (now >= job->record_until_ms)
                        job_overdue(job);
                else
                        limit_recording(job, (unsigned)(job->record_until_ms - now));
        }
}

/* ---- holders ---- */

static void on_retry(uv_timer_t *timer)
{
        struct claims *claims = timer->data;

        for (struct turn *turn = claims->turns; turn; turn = turn->next)
                if (turn->ops == &JOB_OPS && job_of(turn)->state == JOB_HELD)
                        wait_again(job_of(turn));
        turns_pump(claims);
}

/* Somebody has a device open that is usable as it is: waits a moment for a former VM to go, then refuses with its name. */
static void job_held(struct job *job, const struct hands_result *result)
{
        struct claims *claims = job->claims;
        struct err err;

        int64_t now = clock_ms();
        if (job->held_until_ms == 0)
                job->held_until_ms = now + HELD_WAIT_MS;
        if (now < job->held_until_ms && !claims->stopping) {
                job->state = JOB_HELD;
                (void)uv_timer_start(claims->retry, on_retry, HELD_RETRY_MS, 0);
                return;
        }
        (void)err_say(&err, EBUSY, "%s", result->text);
        job_refuse(job, REASON_HELD, &err);
}

static void holders_asked(void *ctx, const struct hands_result *result)
{
        struct job *job = ctx;
        struct claims *claims = job->claims;
        struct err err;

        if (result->end == PLAN_DONE || result->reason == REASON_HOLDERS_UNKNOWN) {
                /* Nobody; or it cannot be seen of all: then kubelet's word counts, nothing is touched. */
                job->nobody_holds = true;
                wait_again(job);
        } else if (result->reason == REASON_HELD) {
                job_held(job, result);
        } else {
                (void)err_say(&err, EIO, "%s", result->text);
                job_refuse(job, result->reason ? result->reason : REASON_STEP_FAILED, &err);
        }
        turns_pump(claims);
}

/* True: a hand asks, and the job goes on when it has answered. Not for what has to be bound (its plan asks), nor for
 * verification: the container that is about to start may be the holder's own pod. */
static bool job_asks_holders(struct job *job, const struct device *const *devices)
{
        const struct claims_world *world = &job->claims->world;
        const struct device *open[REQUEST_DEVICES_MAX];
        struct plan plan;
        size_t n = 0;

        if (job->owner == OWNER_RECONCILE || job->verify_only || job->nobody_holds)
                return false;
        for (size_t i = 0; i < job->n_devices; i++)
                if (!devices[i]->needs_bind && world->may_be_held(world->ctx, devices[i]))
                        open[n++] = devices[i];
        if (n == 0)
                return false;
        plan_ask_holders(open, n, &plan);
        job->state = JOB_RUNNING;
        hands_run(job->claims->hands, &plan, job->claims->deadline_ms, NULL, holders_asked, job);
        return true;
}

static bool all_current(const struct job *job, const struct device *const *devices)
{
        const struct claims_world *world = &job->claims->world;

        for (size_t i = 0; i < job->n_devices; i++)
                if (!world->is_current(world->ctx, devices[i]))
                        return false;
        return true;
}

/* Checks the request against the host as it is now: a binding may have been lost, a group renumbered, since the last look.
 * Two links and the ids tell that cheaply; PreStartContainer has the time for a whole look. */
static enum reason check_fresh(struct job *job, const struct device **devices, struct err *err)
{
        const struct claims_world *world = &job->claims->world;

        if (!job->verify_only) {
                enum reason reason = check(job, devices, err);
                if (reason || all_current(job, devices))
                        return reason;
        }
        (void)world->rescan(world->ctx);
        return check(job, devices, err);
}

/* Kubelet repeats an answer for as long as the pod lives, over reboots: is what it said then so still? */
static enum reason check_answer(const struct job *job, const struct device *const *devices, struct err *err)
{
        char key[CLAIM_KEY_MAX];

        for (size_t i = 0; i < job->n_devices; i++) {
                const struct device *d = devices[i];
                claim_key_of_kubelet(d->id, key);
                const struct claim *claim = ledger_claim(job->claims->ledger, key);
                const struct claim_device *told = claim ? claim_device(claim, d->id) : NULL;
                if (!told || claim_device_is(told, d))
                        continue;
                (void)err_say(err, ESTALE,
                              "the pod was answered that device %s is %04x:%04x in IOMMU group %d, and it is %04x:%04x in group %d now",
                              d->id, told->vendor, told->device, told->group, d->vendor, d->device_id, d->group);
                return REASON_OUTDATED;
        }
        return REASON_NONE;
}

static void job_start(struct turn *turn)
{
        struct job *job = job_of(turn);
        struct claims *claims = job->claims;
        const struct device *devices[REQUEST_DEVICES_MAX];
        struct err err;

        if (claims->stopping) { /* it was asked who holds its devices when the end was asked for */
                (void)err_say(&err, ESHUTDOWN, "Sluice is shutting down");
                job_refuse(job, REASON_TOO_LATE, &err);
                return;
        }
        enum reason reason = check_fresh(job, devices, &err);
        if (!reason && job->verify_only)
                reason = check_answer(job, devices, &err);
        if (reason) {
                job_refuse(job, reason, &err);
                return;
        }
        if (job_asks_holders(job, devices))
                return;
        reason = binding_new(&job->binding, &claims->world, devices, job->n_devices, &err);
        if (reason)
                job_refuse(job, reason, &err);
        else if (!job->binding)
                job_answer(job, devices);
        else
                job_bind(job);
}

static void job_stop(struct turn *turn)
{
        struct job *job = job_of(turn);
        struct err err;

        (void)err_say(&err, ESHUTDOWN, "Sluice is shutting down");
        if (job->state == JOB_WAITING || job->state == JOB_HELD)
                job_refuse(job, REASON_TOO_LATE, &err);
        else if (job->state == JOB_INTENDING)
                job_reply_refusal(job, REASON_TOO_LATE, &err); /* what is being written is taken back when it is */
}

/* Before it has a turn. */
static void job_turn_away(struct job *job, enum reason reason, const struct err *err)
{
        job_reply_refusal(job, reason, err);
        job_free(job);
}

void claims_prepare(struct claims *claims, const struct claim_request *request, claims_done_fn *done, void *ctx)
{
        const struct claims_world *world = &claims->world;
        const struct device *devices[REQUEST_DEVICES_MAX];
        struct err err;
        enum reason reason;

        if (claims->stopping) {
                (void)err_say(&err, ESHUTDOWN, "Sluice is shutting down");
                reason = REASON_TOO_LATE;
        } else if (claims->n_turns >= JOBS_MAX) {
                (void)err_say(&err, EAGAIN, "%d requests are waiting already", JOBS_MAX);
                reason = REASON_OVERLOAD;
        } else {
                reason = request_check_early(world->offer(world->ctx), request, devices, &err);
        }

        struct job *job = xcalloc(1, sizeof(*job));
        *job = (struct job){
                .turn = { .ops = &JOB_OPS },
                .claims = claims,
                .owner = request->owner,
                .verify_only = request->verify_only,
                .mode = request->mode,
                .done = done,
                .ctx = ctx,
        };
        (void)str_copy(job->resource, sizeof(job->resource), request->resource);
        if (reason) {
                job_turn_away(job, reason, &err);
                return;
        }
        job->devices = xcalloc(request->n_devices, sizeof(*job->devices));
        job->n_devices = request->n_devices;
        for (size_t i = 0; i < job->n_devices; i++)
                job->devices[i] = xstrdup(devices[i]->id);
        job->turn.cards = job->cards;
        job->turn.n_cards = request_cards(world->inventory(world->ctx), devices, job->n_devices, job->cards, JOB_CARDS_MAX);
        if (job->turn.n_cards == JOB_CARDS_MAX) { /* maybe not all of them: exclusion could not be promised */
                (void)err_say(&err, E2BIG, "%s and %zu more devices concern more than %d cards", job->devices[0], job->n_devices - 1,
                              JOB_CARDS_MAX - 1);
                job_turn_away(job, REASON_PLAN_TOO_LARGE, &err);
                return;
        }

        turn_join(claims, &job->turn);
        turns_pump(claims);
}
