/* SPDX-License-Identifier: Apache-2.0 */
/* The door. A request becomes a job; a job waits until no earlier job concerns one of its cards, is checked again against
 * the world of that moment, and then either answers at once (bound already) or has its devices bound (binding.c). */
#include "claims/claims.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "claims/binding.h"
#include "claims/request.h"

enum {
        JOBS_MAX = 256,      /* waiting and running together; beyond it OVERLOAD */
        HELD_WAIT_MS = 2000, /* design 4.5: a former user's descriptor may be open for a moment */
        HELD_RETRY_MS = 100,
        BINDINGS_MAX = 3, /* plans that a request is worth when the host changes under them */
        JOB_CARDS_MAX = 2 * REQUEST_DEVICES_MAX,
};

enum job_state { JOB_WAITING, JOB_HELD, JOB_RUNNING, JOB_ENDING };

struct job {
        struct claims *claims;
        struct job *next;
        enum job_state state;
        enum claim_owner owner;
        bool verify_only;
        enum device_mode mode;
        char resource[RESOURCE_MAX];
        char **devices;
        size_t n_devices;
        struct bdf cards[JOB_CARDS_MAX];
        size_t n_cards;
        struct binding *binding; /* NULL = nothing is being bound */
        unsigned n_bindings;     /* how often one was made */
        bool stale;              /* what the binding was planned from is not so any more */
        int64_t deadline_at_ms;  /* of all */
        int64_t held_until_ms;   /* 0 = not waited yet */
        bool nobody_holds;       /* a hand has asked every process */
        claims_done_fn *done;
        void *ctx;
};

struct claims {
        uv_loop_t *loop;
        struct hands *hands;
        struct store *store;
        struct claims_world world;
        unsigned deadline_ms;
        struct job *jobs; /* in order of arrival */
        size_t n_jobs;
        uv_timer_t *retry; /* wakes jobs in JOB_HELD */
        bool stopping, pumping;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static void pump(struct claims *claims);

bool claims_at_work(const struct claims *claims, struct bdf card)
{
        for (const struct job *job = claims->jobs; job; job = job->next)
                if (job->binding && binding_at_work(job->binding, card))
                        return true;
        return false;
}

bool claims_change(const struct claims *claims, struct bdf card)
{
        for (const struct job *job = claims->jobs; job; job = job->next)
                if (job->binding && binding_concerns(job->binding, card))
                        return true;
        return false;
}

static void record_key(char *out, size_t size, const struct job *job)
{
        str_format(out, size, "kubelet:%s", job->devices[0]);
}

/* ---- jobs ---- */

static void unlink_job(struct claims *claims, struct job *job)
{
        struct job **at = &claims->jobs;

        while (*at && *at != job)
                at = &(*at)->next;
        if (*at) {
                *at = job->next;
                claims->n_jobs--;
        }
}

static struct job *job_free(struct job *job)
{
        for (size_t i = 0; i < job->n_devices; i++)
                free(job->devices[i]);
        free(job->devices);
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

        unlink_job(claims, job);
        job_reply(job, reason, text, answer);
        job_free(job);
        if (claims->stopping && claims->n_jobs == 0 && claims->closed) {
                void (*closed)(void *) = claims->closed;
                claims->closed = NULL;
                closed(claims->closed_ctx);
        }
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

/* Everything is bound: render the answer from the newest look at the world. */
static void job_answer(struct job *job, const struct device *const *devices)
{
        struct claims *claims = job->claims;
        _cleanup_answer_ struct answer answer = { 0 };
        struct err err;

        enum reason reason = answer_make(claims->world.inventory(claims->world.ctx), job->resource, devices, job->n_devices, &answer, &err);
        if (reason) {
                job_refuse(job, reason, &err);
                return;
        }
        job_end(job, REASON_NONE, "", job->verify_only ? NULL : &answer);
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

static void try_again(struct job *job)
{
        job->stale = false;
        job->state = JOB_WAITING;
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

static void binding_over(void *ctx, bool done)
{
        struct job *job = ctx;
        struct claims *claims = job->claims;
        const struct device *devices[REQUEST_DEVICES_MAX];
        char key[sizeof(((struct claim_record *)0)->key)];
        struct err err;

        job->state = JOB_ENDING;
        if (done)
                (void)claims->world.rescan(claims->world.ctx);
        job->binding = binding_free(job->binding);
        record_key(key, sizeof(key), job);
        if (!done) {
                (void)claims->store->ops->drop(claims->store, key, &err);
                if (job->stale)
                        try_again(job);
                else
                        job_end(job, REASON_NONE, "", NULL); /* refused already */
                pump(claims);
                return;
        }
        int r = claims->store->ops->complete(claims->store, key, &err);
        enum reason reason = r < 0 ? REASON_STEP_FAILED : check(job, devices, &err);
        if (reason) {
                job_refuse(job, reason, &err);
        } else if (needs_bind(devices, job->n_devices) && may_try_again(job)) {
                try_again(job);
        } else {
                job_answer(job, devices);
        }
        pump(claims);
}

static void job_bind(struct job *job)
{
        struct claims *claims = job->claims;
        struct claim_record record = { .n_devices = job->n_devices };
        struct err err;
        size_t n_plans;

        record_key(record.key, sizeof(record.key), job);
        (void)str_copy(record.resource, sizeof(record.resource), job->resource);
        record.devices = xcalloc(job->n_devices, sizeof(*record.devices));
        for (size_t i = 0; i < job->n_devices; i++)
                (void)str_copy(record.devices[i], sizeof(record.devices[i]), job->devices[i]);
        const struct plan *plans = binding_plans(job->binding, &n_plans);
        int r = claims->store->ops->intent(claims->store, &record, plans, n_plans, &err);
        free(record.devices);
        if (r < 0) {
                job_refuse(job, REASON_STEP_FAILED, &err);
                return;
        }
        job->state = JOB_RUNNING;
        if (job->n_bindings++ == 0)
                job->deadline_at_ms = clock_ms() + claims->deadline_ms;
        binding_run(job->binding, claims->hands, time_left_ms(job), binding_failed, binding_over, job);
}

/* ---- holders ---- */

static void on_retry(uv_timer_t *timer)
{
        struct claims *claims = timer->data;

        for (struct job *job = claims->jobs; job; job = job->next)
                if (job->state == JOB_HELD)
                        job->state = JOB_WAITING;
        pump(claims);
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

        job->state = JOB_WAITING;
        if (result->end == PLAN_DONE || result->reason == REASON_HOLDERS_UNKNOWN) {
                /* Nobody; or it cannot be seen of all: then kubelet's word counts, nothing is touched. */
                job->nobody_holds = true;
        } else if (result->reason == REASON_HELD) {
                job_held(job, result);
        } else {
                (void)err_say(&err, EIO, "%s", result->text);
                job_refuse(job, result->reason ? result->reason : REASON_STEP_FAILED, &err);
        }
        pump(claims);
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

/* ---- the queue ---- */

static bool all_current(const struct job *job, const struct device *const *devices)
{
        const struct claims_world *world = &job->claims->world;

        for (size_t i = 0; i < job->n_devices; i++)
                if (!world->is_current(world->ctx, devices[i]))
                        return false;
        return true;
}

/* Checks the request against the host as it is now: a binding may have been lost, a group renumbered, since the last look.
 * Two links tell that cheaply; PreStartContainer has the time for a whole look. */
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

static void job_start(struct job *job)
{
        struct claims *claims = job->claims;
        const struct device *devices[REQUEST_DEVICES_MAX];
        struct err err;

        if (claims->stopping) { /* it was asked who holds its devices when the end was asked for */
                (void)err_say(&err, ESHUTDOWN, "Sluice is shutting down");
                job_refuse(job, REASON_TOO_LATE, &err);
                return;
        }
        enum reason reason = check_fresh(job, devices, &err);
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

static bool share_a_card(const struct job *a, const struct job *b)
{
        for (size_t i = 0; i < a->n_cards; i++)
                for (size_t k = 0; k < b->n_cards; k++)
                        if (bdf_equal(a->cards[i], b->cards[k]))
                                return true;
        return false;
}

static bool may_start(const struct claims *claims, const struct job *job)
{
        if (job->state == JOB_RUNNING || job->state == JOB_ENDING)
                return false;
        for (const struct job *earlier = claims->jobs; earlier != job; earlier = earlier->next)
                if (share_a_card(earlier, job))
                        return false;
        return true;
}

static struct job *find_startable(const struct claims *claims)
{
        for (struct job *job = claims->jobs; job; job = job->next)
                if (job->state == JOB_WAITING && may_start(claims, job))
                        return job;
        return NULL;
}

/* Starts what may start. A start can end its job (and others, through the caller), so the search begins anew each time. */
static void pump(struct claims *claims)
{
        if (claims->pumping)
                return;
        claims->pumping = true;
        for (struct job *job; (job = find_startable(claims));)
                job_start(job);
        claims->pumping = false;
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
        } else if (claims->n_jobs >= JOBS_MAX) {
                (void)err_say(&err, EAGAIN, "%d requests are waiting already", JOBS_MAX);
                reason = REASON_OVERLOAD;
        } else {
                reason = request_check(world->offer(world->ctx), request, devices, &err);
        }

        struct job *job = xcalloc(1, sizeof(*job));
        *job = (struct job){
                .claims = claims,
                .owner = request->owner,
                .verify_only = request->verify_only,
                .mode = request->mode,
                .done = done,
                .ctx = ctx,
        };
        (void)str_copy(job->resource, sizeof(job->resource), request->resource);
        if (reason) {
                job_refuse(job, reason, &err);
                return;
        }
        job->devices = xcalloc(request->n_devices, sizeof(*job->devices));
        job->n_devices = request->n_devices;
        for (size_t i = 0; i < job->n_devices; i++)
                job->devices[i] = xstrdup(devices[i]->id);
        job->n_cards = request_cards(world->inventory(world->ctx), devices, job->n_devices, job->cards, JOB_CARDS_MAX);
        if (job->n_cards == JOB_CARDS_MAX) { /* maybe not all of them: exclusion could not be promised */
                (void)err_say(&err, E2BIG, "%s and %zu more devices concern more than %d cards", job->devices[0], job->n_devices - 1,
                              JOB_CARDS_MAX - 1);
                job_refuse(job, REASON_PLAN_TOO_LARGE, &err);
                return;
        }

        struct job **at = &claims->jobs;
        while (*at)
                at = &(*at)->next;
        *at = job;
        claims->n_jobs++;
        pump(claims);
}

/* ---- life ---- */

struct claims *claims_new(uv_loop_t *loop, struct hands *hands, struct store *store, const struct claims_world *world, unsigned deadline_ms)
{
        struct claims *claims = xcalloc(1, sizeof(*claims));

        claims->loop = loop;
        claims->hands = hands;
        claims->store = store;
        claims->world = *world;
        claims->deadline_ms = deadline_ms;
        claims->retry = xcalloc(1, sizeof(*claims->retry));
        (void)uv_timer_init(loop, claims->retry);
        claims->retry->data = claims;
        return claims;
}

void claims_set_deadline(struct claims *claims, unsigned deadline_ms)
{
        claims->deadline_ms = deadline_ms;
}

void claims_stop(struct claims *claims, void (*closed)(void *ctx), void *ctx)
{
        struct err err;

        claims->stopping = true;
        (void)err_say(&err, ESHUTDOWN, "Sluice is shutting down");
        for (struct job *job = claims->jobs, *next; job; job = next) {
                next = job->next;
                if (job->state != JOB_RUNNING && job->state != JOB_ENDING)
                        job_refuse(job, REASON_TOO_LATE, &err);
        }
        if (claims->n_jobs == 0) {
                closed(ctx);
                return;
        }
        claims->closed = closed; /* plans at work end first: hands_stop sees to it */
        claims->closed_ctx = ctx;
}

static void on_timer_closed(uv_handle_t *handle)
{
        free(handle);
}

struct claims *claims_free(struct claims *claims)
{
        if (!claims)
                return NULL;
        assert(claims->n_jobs == 0);
        uv_close((uv_handle_t *)claims->retry, on_timer_closed);
        free(claims);
        return NULL;
}
