/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/recovery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "claims/patient.h"
#include "claims/settings.h"
#include "claims/remedy.h"
#include "claims/stock.h"
#include "core/recover.h"

enum {
        BUSY_RETRY_MS = 50,  /* another hand is at work: the cards are kept meanwhile ... */
        BUSY_KEPT_MS = 2000, /* ... for so long */
};

/* One unit that was under way. */
struct recovery {
        struct patient patient;
        struct claims *claims;
        struct bdf *functions, *cards; /* cards are sorted and without repeats */
        size_t n_functions;
        bool at_work;
        enum remedy remedy; /* of its plan */
        bool just_ended;    /* the look at what its plan did is under way */
        bool busy;          /* another hand has one of the cards' locks */
        int64_t kept_until_ms;
        bool waited_for; /* by recovery_start */
};

static void on_start(struct turn *turn);
static void on_stop(struct turn *turn);
static bool changes(const struct turn *turn, struct bdf card, bool ended);
static const struct turn_ops RECOVERY_OPS = { on_start, on_stop, changes };

static struct recovery *recovery_of_turn(const struct turn *turn)
{
        return container_of(turn, struct recovery, patient.turn);
}

static bool changes(const struct turn *turn, struct bdf card, bool ended)
{
        const struct recovery *recovery = recovery_of_turn(turn);

        for (size_t i = 0; (recovery->at_work || (ended && recovery->just_ended)) && i < turn->n_cards; i++)
                if (bdf_equal(turn->cards[i], card))
                        return true;
        return false;
}

/* ---- life ---- */

/* Its first attempt is over: whoever waits for all of them to have come so far. */
static void had_its_chance(struct recovery *recovery)
{
        struct claims *claims = recovery->claims;

        if (!recovery->waited_for)
                return;
        recovery->waited_for = false;
        if (--claims->n_recovering > 0 || !claims->recovered)
                return;
        void (*recovered)(void *) = TAKE_PTR(claims->recovered);
        recovered(claims->recovered_ctx);
}

/* Ends it: dealt with, or not to be tried again. */
static void conclude(struct recovery *recovery)
{
        struct claims *claims = recovery->claims;

        patient_end(&recovery->patient);
        had_its_chance(recovery);
        free(recovery->functions);
        free(recovery->cards);
        free(recovery);
        if (!claims->stopping) /* then each turn is told in its turn */
                turns_pump(claims);
}

/* Others may have the cards meanwhile. @why is said when it is another reason than the last time. */
static void try_later(struct recovery *recovery, const char *why)
{
        struct claims *claims = recovery->claims;

        if (claims->stopping) {
                conclude(recovery);
                return;
        }
        if (patient_step_aside(&recovery->patient, why))
                log_warn("what was under way on " BDF_FMT " when a sluiced or its hand ended is not dealt with yet: %s",
                         BDF_ARGS(recovery->functions[0]), why);
        had_its_chance(recovery);
        turns_pump(claims);
}

static void on_stop(struct turn *turn)
{
        struct recovery *recovery = recovery_of_turn(turn);

        if (patient_is_idle(&recovery->patient)) /* else its hand has the word */
                conclude(recovery);
}

/* ---- dealing with it ---- */

static void mark_broken(struct recovery *recovery, const char *detail)
{
        const struct claims_world *world = &recovery->claims->world;
        const struct offer *offer = world->offer(world->ctx);

        for (size_t i = 0; i < offer->n_devices; i++)
                for (size_t k = 0; k < recovery->n_functions; k++)
                        if (bdf_equal(offer->devices[i].bdf, recovery->functions[k]))
                                world->mark(world->ctx, offer->devices[i].id, REASON_BROKEN_BINDING, detail);
}

static void on_ended(void *ctx, const struct hands_result *result)
{
        struct recovery *recovery = ctx;
        struct claims *claims = recovery->claims;

        recovery->at_work = false;
        if (result->end == PLAN_DONE)
                remedy_done(claims, recovery->functions, recovery->n_functions, recovery->remedy);
        for (size_t i = 0; result->end == PLAN_STUCK && i < recovery->patient.turn.n_cards; i++)
                claims->world.mark_stuck(claims->world.ctx, recovery->cards[i], result->text);
        if (result->end == PLAN_BROKEN)
                mark_broken(recovery, result->text);
        recovery->just_ended = true;
        (void)claims->world.rescan(claims->world.ctx);
        recovery->just_ended = false;
        if (result->end == PLAN_REFUSED || result->end == PLAN_UNDONE || result->end == PLAN_LOST)
                try_later(recovery, result->text);
        else
                conclude(recovery);
}

/* No hand is at work on its cards, and the world has been looked at since. */
static void decide(struct recovery *recovery)
{
        struct claims *claims = recovery->claims;
        _cleanup_free_ struct plan *plan = xcalloc(1, sizeof(*plan));
        struct err err;

        enum reason reason = remedy_decide(claims, recovery->functions, recovery->n_functions, &recovery->remedy, plan, &err);
        if (reason) {
                try_later(recovery, err.msg);
        } else if (recovery->remedy == REMEDY_NONE) {
                conclude(recovery);
        } else {
                recovery->at_work = true;
                hands_run(claims->hands, plan, claims->deadline_ms, NULL, on_ended, recovery);
        }
}

/* ---- asking whether a hand is at work ---- */

static void on_read(void *ctx, uint32_t step, int result, const char *text)
{
        struct recovery *recovery = ctx;

        (void)step;
        (void)text;
        recovery->busy = recovery->busy || result == -EBUSY;
}

static void on_asked(void *ctx, const struct hands_result *result)
{
        struct recovery *recovery = ctx;
        struct claims *claims = recovery->claims;

        if (result->end == PLAN_STUCK) {
                for (size_t i = 0; i < recovery->patient.turn.n_cards; i++)
                        claims->world.mark_stuck(claims->world.ctx, recovery->cards[i], result->text);
                (void)claims->world.rescan(claims->world.ctx);
                conclude(recovery);
        } else if (result->end != PLAN_DONE || claims->stopping) {
                try_later(recovery, result->text);
        } else if (!recovery->busy) {
                (void)claims->world.rescan(claims->world.ctx);
                decide(recovery);
        } else if (clock_ms() < recovery->kept_until_ms) {
                patient_again_in(&recovery->patient, BUSY_RETRY_MS);
        } else {
                try_later(recovery, "a hand that outlived its sluiced is still at work on it");
        }
}

static bool is_stuck(const struct recovery *recovery)
{
        const struct claims_world *world = &recovery->claims->world;
        const struct offer *offer = world->offer(world->ctx);

        for (size_t i = 0; i < offer->n_devices; i++)
                for (size_t k = 0; k < recovery->patient.turn.n_cards; k++)
                        if (offer->devices[i].reason == REASON_STUCK && bdf_equal(offer->devices[i].card, recovery->cards[k]))
                                return true;
        return false;
}

/* Any read that respects the card's lock does; this one also is what the undo will have to know. */
static void on_start(struct turn *turn)
{
        struct recovery *recovery = recovery_of_turn(turn);
        _cleanup_free_ struct plan *plan = xcalloc(1, sizeof(*plan));
        _cleanup_free_ struct original *list = NULL;

        /* Somebody else has dealt with it, or nobody may. */
        if (!remedy_needed(recovery->claims, recovery->functions, recovery->n_functions) || is_stuck(recovery)) {
                conclude(recovery);
                return;
        }
        if (recovery->kept_until_ms == 0)
                recovery->kept_until_ms = clock_ms() + BUSY_KEPT_MS;
        recovery->busy = false;
        size_t n = remedy_originals(recovery->claims, recovery->functions, recovery->n_functions, &list);
        for (size_t i = 0; i < n && i < PLAN_STEPS_MAX; i++) {
                plan->steps[i] = (struct step){ .kind = STEP_READ_LOCKED, .bdf = list[i].bdf, .card = list[i].card };
                (void)str_copy(plan->steps[i].text, sizeof(plan->steps[i].text), "driver_override");
                plan->n_steps++;
        }
        hands_run(recovery->claims->hands, plan, recovery->claims->deadline_ms, on_read, on_asked, recovery);
}

/* ---- what there is to recover ---- */

static int by_address(const void *a, const void *b)
{
        return bdf_compare(*(const struct bdf *)a, *(const struct bdf *)b);
}

/* Those of one card come together when they are sorted. */
static size_t cards_of(const struct claims *claims, const struct bdf *functions, size_t n, struct bdf *ret)
{
        size_t n_cards = 0;

        for (size_t i = 0; i < n; i++) {
                const struct original *original = ledger_original(claims->ledger, functions[i]);
                ret[i] = original ? original->card : functions[i];
        }
        qsort(ret, n, sizeof(*ret), by_address);
        for (size_t i = 0; i < n; i++)
                if (n_cards == 0 || !bdf_equal(ret[n_cards - 1], ret[i]))
                        ret[n_cards++] = ret[i];
        return n_cards;
}

static bool has(const struct bdf *functions, size_t n, struct bdf bdf)
{
        for (size_t i = 0; i < n; i++)
                if (bdf_equal(functions[i], bdf))
                        return true;
        return false;
}

/* One that has a function of @functions, and is idle where @idle says so; NULL = none. */
static struct recovery *find(const struct claims *claims, const struct bdf *functions, size_t n, bool idle)
{
        for (struct patient *patient = claims->patients; patient; patient = patient->next) {
                struct recovery *recovery = patient->turn.ops == &RECOVERY_OPS ? recovery_of_turn(&patient->turn) : NULL;
                for (size_t i = 0; recovery && (!idle || patient_is_idle(patient)) && i < n; i++)
                        if (has(recovery->functions, recovery->n_functions, functions[i]))
                                return recovery;
        }
        return NULL;
}

static struct recovery *recovery_new(struct claims *claims, const struct bdf *functions, size_t n)
{
        struct recovery *recovery = xcalloc(1, sizeof(*recovery));

        *recovery = (struct recovery){ .claims = claims, .n_functions = n };
        recovery->functions = xmemdup(functions, n * sizeof(*functions));
        recovery->cards = xcalloc(n, sizeof(*recovery->cards));
        size_t n_cards = cards_of(claims, functions, n, recovery->cards);
        patient_begin(&recovery->patient, claims, &RECOVERY_OPS, recovery->cards, n_cards);
        return recovery;
}

void recovery_of(struct claims *claims, const struct bdf *functions, size_t n)
{
        struct recovery *former;

        if (n == 0 || claims->stopping)
                return;
        struct bdf *all = xmemdup(functions, n * sizeof(*functions));
        while ((former = find(claims, all, n, true))) { /* what waited for something else has this to do now */
                all = xrealloc(all, n + former->n_functions, sizeof(*all));
                for (size_t i = 0; i < former->n_functions; i++)
                        if (!has(all, n, former->functions[i]))
                                all[n++] = former->functions[i];
                conclude(former);
        }
        (void)recovery_new(claims, all, n);
        free(all);
        turns_pump(claims);
}

/* A turn for each function: companions are few, and wait for each other. */
void recovery_of_settings(struct claims *claims)
{
        _cleanup_free_ struct original *list = NULL;
        bool any = false;

        if (claims->stopping)
                return;
        size_t n = stock_all(claims, &list);
        for (size_t i = 0; i < n; i++) {
                if (!settings_owed(claims, &list[i]) || find(claims, &list[i].bdf, 1, false))
                        continue;
                (void)recovery_new(claims, &list[i].bdf, 1);
                any = true;
        }
        if (any)
                turns_pump(claims);
}

void recovery_start(struct claims *claims, void (*done)(void *ctx), void *ctx)
{
        _cleanup_free_ struct original *list = NULL;

        size_t n = stock_take(claims, &list);
        _cleanup_free_ size_t *unit = xcalloc(n + 1, sizeof(*unit));
        _cleanup_free_ struct bdf *functions = xcalloc(n + 1, sizeof(*functions));
        original_units(claims->world.inventory(claims->world.ctx), list, n, unit);
        for (size_t first = 0; first < n; first++) {
                bool under_way = false;
                size_t n_functions = 0;
                for (size_t i = first; i < n; i++)
                        if (unit[i] == first) {
                                functions[n_functions++] = list[i].bdf;
                                under_way = under_way || list[i].state != ORIGINAL_BOUND || settings_owed(claims, &list[i]);
                        }
                if (unit[first] != first || !under_way)
                        continue;
                recovery_new(claims, functions, n_functions)->waited_for = true;
                claims->n_recovering++;
        }
        if (claims->n_recovering == 0) {
                done(ctx);
                return;
        }
        claims->recovered = done;
        claims->recovered_ctx = ctx;
        turns_pump(claims);
}
