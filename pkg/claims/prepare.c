/* SPDX-License-Identifier: Apache-2.0 */
/* A request becomes a job; a job waits until no earlier turn has one of its cards, is checked again against the world of that
 * moment, asks who has its devices open (prepare_holders.c), and then either answers at once (bound already) or writes down what
 * it is about to do, has its devices bound, writes down that it is done, and answers (prepare_bind.c). */
#include "claims/prepare_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "claims/observe.h"
#include "claims/recovery.h"
#include "claims/remedy.h"
#include "claims/settings.h"

enum { JOBS_MAX = 256 /* waiting and at work together; beyond it OVERLOAD. Who else is in the queue does not count */ };

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

struct job *job_of_turn(struct turn *turn)
{
        return turn->ops == &JOB_OPS ? job_of(turn) : NULL;
}

/* ---- jobs ---- */

static struct job *job_free(struct job *job)
{
        for (size_t i = 0; i < job->n_devices; i++)
                free(job->devices[i]);
        free(job->devices);
        free(job->begun);
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

        if (!done)
                return;
        if (reason)
                job_drop_claims(job);
        done(job->ctx, &result);
}

void job_end(struct job *job, enum reason reason, const char *text, const struct answer *answer)
{
        struct claims *claims = job->claims;

        job_reply(job, reason, text, answer);
        bool has_bound = job->n_bindings > 0;
        claims->n_jobs--;
        turn_leave(claims, &job->turn);
        job_free(job);
        if (has_bound) /* for whom there is no claim after all */
                recovery_of_settings(claims);
}

enum { REFUSAL_MAX = ERR_MSG_MAX + 320 };

static void refusal(char out[static REFUSAL_MAX], enum reason reason, const struct err *err)
{
        assert(reason != REASON_NONE);
        str_format(out, REFUSAL_MAX, "%s [%s] %s", err->msg, reason_word(reason), reason_remedy(reason));
}

void job_reply_refusal(struct job *job, enum reason reason, const struct err *err)
{
        char text[REFUSAL_MAX];

        refusal(text, reason, err);
        job_reply(job, reason, text, NULL);
}

void job_refuse(struct job *job, enum reason reason, const struct err *err)
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

bool claims_record(struct claims *claims, const struct device *device, const char *resource, enum device_mode mode, recorded_fn *done,
                   void *ctx)
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
        if (ledger_put_claim(claims->ledger, &claim, done, ctx, &err) == 0)
                return true;
        log_error("the claim of %s is not recorded: %s", device->id, err.msg);
        return false;
}

/* One claim for each device: kubelet frees and gives them again one by one. Where the kernel was not written to, after the answer:
 * kubelet keeps its own record of what it was answered, and this one must not keep a pod waiting. */
static void record_claims(const struct job *job, const struct device *const *devices)
{
        for (size_t i = 0; i < job->n_devices; i++) {
                const struct claim *claim = ledger_claim_of(job->claims->ledger, devices[i]->id);
                if (!job->begun || !claim || claim->state != CLAIM_ANSWERED) /* a list may have shown its former pod meanwhile */
                        (void)claims_record(job->claims, devices[i], job->resource, job->mode, NULL, NULL);
                observer_answered(job->claims->observer, devices[i]->id);
        }
}

size_t job_begin_claims(struct job *job, const struct device *const *devices, recorded_fn *done)
{
        struct claims *claims = job->claims;
        size_t n = 0;

        if (job->owner != OWNER_KUBELET || job->verify_only)
                return 0;
        job->begun = xcalloc(job->n_devices, sizeof(*job->begun));
        for (size_t i = 0; i < job->n_devices; i++) {
                bool had = ledger_claim_of(claims->ledger, devices[i]->id) != NULL;
                bool puts = claims_record(claims, devices[i], job->resource, job->mode, done, job);
                job->begun[i] = puts && !had;
                n += puts;
        }
        return n;
}

void job_drop_claims(struct job *job)
{
        for (size_t i = 0; job->begun && i < job->n_devices; i++) {
                char key[CLAIM_KEY_MAX];
                claim_key_of_kubelet(job->devices[i], key);
                if (job->begun[i])
                        ledger_remove_claim(job->claims->ledger, key, NULL, NULL);
        }
        free(TAKE_PTR(job->begun));
}

/* Everything is bound: the answer is rendered from the newest look at the world. The job goes on. */
void job_grant(struct job *job, const struct device *const *devices)
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

void job_answer(struct job *job, const struct device *const *devices)
{
        job_grant(job, devices);
        job_end(job, REASON_NONE, "", NULL);
}

enum reason job_check(struct job *job, const struct device **devices, struct err *err)
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

        enum reason reason = request_check(claims->world.offer(claims->world.ctx), &request, devices, err);
        if (reason != REASON_NOT_HEALTHY)
                return reason;
        (void)claims->world.rescan(claims->world.ctx); /* a refusal is final for its pod: not for what one look could not read */
        return request_check(claims->world.offer(claims->world.ctx), &request, devices, err);
}

void job_wait_again(struct job *job)
{
        job->state = JOB_WAITING;
        job->turn.waits = true;
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
                enum reason reason = job_check(job, devices, err);
                if (reason || all_current(job, devices))
                        return reason;
        }
        (void)world->rescan(world->ctx);
        return job_check(job, devices, err);
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

/* A container that is about to start has one already. */
static bool is_for_claim(const struct job *job)
{
        return job->owner != OWNER_RECONCILE && !job->verify_only;
}

/* Not what a recovery will give back. It tries at once, if it waits for a better time; of a plan that broke there is none yet. */
static enum reason check_not_half(struct job *job, const struct device *const *devices, struct err *err)
{
        struct bdf half[PLAN_FUNCTIONS_MAX];
        size_t n = remedy_half(job->claims, devices, job->n_devices, half);

        if (n == 0)
                return REASON_NONE;
        recovery_of(job->claims, half, n);
        (void)err_say(err, EBUSY, "what was under way on " BDF_FMT " when a sluiced or its hand ended is not dealt with yet",
                      BDF_ARGS(half[0]));
        return REASON_CARD_BUSY;
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
        reason = binding_new(&job->binding, &claims->world, devices, job->n_devices, is_for_claim(job), &err);
        if (reason == REASON_HOLDERS_UNKNOWN) { /* as in job_check(): not for what one look could not see */
                (void)claims->world.rescan(claims->world.ctx);
                reason = job_check(job, devices, &err);
                if (!reason)
                        reason = binding_new(&job->binding, &claims->world, devices, job->n_devices, is_for_claim(job), &err);
        }
        if (!reason && !job->binding && is_for_claim(job))
                reason = check_not_half(job, devices, &err);
        if (reason)
                job_refuse(job, reason, &err);
        else if (job->binding)
                job_bind(job);
        else if (settings_owed_for(claims, devices, job->n_devices))
                job_complete(job);
        else
                job_answer(job, devices);
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
        } else if (claims->n_jobs >= JOBS_MAX) {
                (void)err_say(&err, EAGAIN, "%d requests are waiting already", JOBS_MAX);
                reason = REASON_OVERLOAD;
        } else {
                reason = request_check_early(world->offer(world->ctx), request, devices, &err);
                if (reason == REASON_NOT_HEALTHY) {
                        (void)world->rescan(world->ctx);
                        reason = request_check_early(world->offer(world->ctx), request, devices, &err);
                }
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

        claims->n_jobs++;
        turn_join(claims, &job->turn);
        turns_pump(claims);
}
