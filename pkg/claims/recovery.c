/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/recovery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "claims/claims_priv.h"
#include "claims/power.h"
#include "core/group.h"
#include "core/plan.h"
#include "core/recover.h"

enum {
        BUSY_RETRY_MS = 50,  /* another hand is at work: the cards are kept meanwhile ... */
        BUSY_KEPT_MS = 2000, /* ... for so long */
        PAUSE_MIN_MS = 1000, /* until the next attempt; doubles */
        PAUSE_MAX_MS = 300000,
};

/* One unit that was under way. */
struct recovery {
        struct turn turn;
        struct recovery *next; /* in claims->recoveries */
        struct claims *claims;
        struct bdf *functions, *cards; /* cards are sorted and without repeats */
        size_t n_functions;
        uv_timer_t *timer; /* the next attempt */
        bool in_queue, at_work;
        bool gives_power_back; /* its plan does, and nothing else */
        bool just_ended;       /* the look at what its plan did is under way */
        bool busy;             /* another hand has one of the cards' locks */
        int64_t kept_until_ms;
        int64_t pause_ms;
        char said[ERR_MSG_MAX]; /* why the last attempt was none; said once */
        bool waited_for;        /* by recovery_start */
};

static void on_start(struct turn *turn);
static void on_stop(struct turn *turn);
static bool changes(const struct turn *turn, struct bdf card, bool ended);
static const struct turn_ops RECOVERY_OPS = { on_start, on_stop, changes };

static struct recovery *recovery_of_turn(const struct turn *turn)
{
        return container_of(turn, struct recovery, turn);
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

static void on_timer_closed(uv_handle_t *handle)
{
        free(handle);
}

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

static void leave_queue(struct recovery *recovery)
{
        if (!recovery->in_queue)
                return;
        recovery->in_queue = false;
        turn_leave(recovery->claims, &recovery->turn);
}

/* Ends it: dealt with, or not to be tried again. */
static void conclude(struct recovery *recovery)
{
        struct claims *claims = recovery->claims;
        struct recovery **at = &claims->recoveries;

        while (*at != recovery)
                at = &(*at)->next;
        *at = recovery->next;
        uv_close((uv_handle_t *)recovery->timer, on_timer_closed);
        leave_queue(recovery);
        had_its_chance(recovery);
        free(recovery->functions);
        free(recovery->cards);
        free(recovery);
        if (!claims->stopping) /* then each turn is told in its turn */
                turns_pump(claims);
}

static void on_retry(uv_timer_t *timer)
{
        struct recovery *recovery = timer->data;

        if (recovery->in_queue) {
                recovery->turn.waits = true;
        } else {
                recovery->in_queue = true;
                turn_join(recovery->claims, &recovery->turn);
        }
        turns_pump(recovery->claims);
}

/* Others may have the cards meanwhile. @why is said when it is another reason than the last time. */
static void try_later(struct recovery *recovery, const char *why)
{
        struct claims *claims = recovery->claims;

        if (claims->stopping) {
                conclude(recovery);
                return;
        }
        if (!streq(recovery->said, why))
                log_warn("what was under way on " BDF_FMT " when a sluiced or its hand ended is not dealt with yet: %s",
                         BDF_ARGS(recovery->functions[0]), why);
        (void)str_copy(recovery->said, sizeof(recovery->said), why);
        leave_queue(recovery);
        (void)uv_timer_start(recovery->timer, on_retry, (uint64_t)recovery->pause_ms, 0);
        recovery->pause_ms = recovery->pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : recovery->pause_ms * 2;
        had_its_chance(recovery);
        turns_pump(claims);
}

static void on_stop(struct turn *turn)
{
        if (turn->waits)
                conclude(recovery_of_turn(turn)); /* else its hand has the word */
}

void recovery_stop(struct claims *claims)
{
        for (struct recovery *recovery = claims->recoveries, *next; recovery; recovery = next) {
                next = recovery->next;
                if (!recovery->in_queue || uv_is_active((uv_handle_t *)recovery->timer))
                        conclude(recovery);
        }
}

/* ---- dealing with it ---- */

/* What is still remembered of its functions; the caller frees *@ret. */
static size_t collect(const struct recovery *recovery, struct original **ret)
{
        struct original *list = xcalloc(recovery->n_functions, sizeof(*list));
        size_t n = 0;

        for (size_t i = 0; i < recovery->n_functions; i++) {
                const struct original *original = ledger_original(recovery->claims->ledger, recovery->functions[i]);
                if (original)
                        list[n++] = *original;
        }
        *ret = list;
        return n;
}

static void remove_originals(struct claims *claims, const struct original *list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                ledger_remove_originals(claims->ledger, &list[i].bdf, 1, NULL, NULL);
}

/* Forgets what is not ours any more, saying why; returns how many are left at the beginning of @list. */
static size_t forget(struct claims *claims, struct original *list, size_t n)
{
        const struct inventory *inv = claims->world.inventory(claims->world.ctx);
        char text[ERR_MSG_MAX];
        size_t n_left = 0;

        for (size_t i = 0; i < n; i++) {
                const struct function *fn = inventory_function(inv, list[i].bdf);
                enum original_fate fate = original_judge(&list[i], fn, inv->boot_id);
                if (!fate_is_forgotten(fate)) {
                        list[n_left++] = list[i];
                        continue;
                }
                original_say(&list[i], fn, fate, text, sizeof(text));
                log_info("%s", text);
                ledger_remove_originals(claims->ledger, &list[i].bdf, 1, NULL, NULL);
        }
        return n_left;
}

static bool any_under_way(const struct original *list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (list[i].state != ORIGINAL_BOUND)
                        return true;
        return false;
}

static bool all_ours(struct claims *claims, const struct original *list, size_t n)
{
        const struct inventory *inv = claims->world.inventory(claims->world.ctx);

        for (size_t i = 0; i < n; i++)
                if (original_judge(&list[i], inventory_function(inv, list[i].bdf), inv->boot_id) != FATE_OURS)
                        return false;
        return true;
}

static void adopt(struct claims *claims, struct original *list, size_t n)
{
        struct err unused;

        log_info("the bind of " BDF_FMT " that was under way is complete: it stays bound to %s", BDF_ARGS(list[0].bdf), list[0].target);
        for (size_t i = 0; i < n; i++)
                list[i].state = ORIGINAL_BOUND;
        (void)ledger_put_originals(claims->ledger, list, n, NULL, NULL, &unused); /* they are in the ledger: there is room */
}

static void mark_broken(struct recovery *recovery, const char *detail)
{
        const struct claims_world *world = &recovery->claims->world;
        const struct offer *offer = world->offer(world->ctx);

        for (size_t i = 0; i < offer->n_devices; i++)
                for (size_t k = 0; k < recovery->n_functions; k++)
                        if (bdf_equal(offer->devices[i].bdf, recovery->functions[k]))
                                world->mark(world->ctx, offer->devices[i].id, REASON_BROKEN_BINDING, detail);
}

static void say_restored(struct recovery *recovery, const struct original *list, size_t n)
{
        log_info("what was under way on " BDF_FMT " is undone: it is on %s again", BDF_ARGS(recovery->functions[0]),
                 n > 0 && *list[0].driver ? list[0].driver : "no driver");
        remove_originals(recovery->claims, list, n);
}

static void on_ended(void *ctx, const struct hands_result *result)
{
        struct recovery *recovery = ctx;
        struct claims *claims = recovery->claims;
        _cleanup_free_ struct original *list = NULL;

        recovery->at_work = false;
        size_t n = collect(recovery, &list);
        if (result->end == PLAN_DONE && recovery->gives_power_back)
                power_given_back(claims, list, power_owed_of(claims, list, n));
        else if (result->end == PLAN_DONE)
                say_restored(recovery, list, n);
        for (size_t i = 0; result->end == PLAN_STUCK && i < recovery->turn.n_cards; i++)
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

static void run(struct recovery *recovery, const struct plan *plan, bool gives_power_back)
{
        struct claims *claims = recovery->claims;

        recovery->at_work = true;
        recovery->gives_power_back = gives_power_back;
        hands_run(claims->hands, plan, claims->deadline_ms, NULL, on_ended, recovery);
}

static void restore(struct recovery *recovery, const struct original *list, size_t n)
{
        struct claims *claims = recovery->claims;
        const struct claims_world *world = &claims->world;
        _cleanup_free_ const struct original **originals = xcalloc(n, sizeof(*originals));
        _cleanup_free_ struct plan *plan = xcalloc(1, sizeof(*plan));
        struct err err;

        for (size_t i = 0; i < n; i++)
                originals[i] = &list[i];
        enum reason reason = plan_restore(world->inventory(world->ctx), originals, n, plan, &err);
        if (reason) {
                try_later(recovery, err.msg);
        } else if (plan->n_steps == 0) {
                remove_originals(claims, list, n);
                conclude(recovery);
        } else {
                run(recovery, plan, false);
        }
}

static void give_power_back(struct recovery *recovery, struct original *list, size_t n)
{
        struct claims *claims = recovery->claims;
        const struct claims_world *world = &claims->world;
        _cleanup_free_ const struct original **originals = xcalloc(n, sizeof(*originals));
        _cleanup_free_ struct plan *plan = xcalloc(1, sizeof(*plan));
        struct err err;

        n = power_owed_of(claims, list, n);
        for (size_t i = 0; i < n; i++)
                originals[i] = &list[i];
        if (plan_power_back(world->inventory(world->ctx), originals, n, plan, &err)) {
                try_later(recovery, err.msg);
        } else if (plan->n_steps == 0) {
                power_given_back(claims, list, n);
                conclude(recovery);
        } else {
                run(recovery, plan, true);
        }
}

/* No hand is at work on its cards, and the world has been looked at since. */
static void decide(struct recovery *recovery)
{
        struct claims *claims = recovery->claims;
        _cleanup_free_ struct original *list = NULL;

        size_t n = collect(recovery, &list);
        n = forget(claims, list, n);
        bool under_way = any_under_way(list, n);
        if (n == 0) {
                conclude(recovery);
        } else if (under_way && !all_ours(claims, list, n)) {
                restore(recovery, list, n);
        } else {
                if (under_way)
                        adopt(claims, list, n);
                give_power_back(recovery, list, n);
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
                for (size_t i = 0; i < recovery->turn.n_cards; i++)
                        claims->world.mark_stuck(claims->world.ctx, recovery->cards[i], result->text);
                (void)claims->world.rescan(claims->world.ctx);
                conclude(recovery);
        } else if (result->end != PLAN_DONE || claims->stopping) {
                try_later(recovery, result->text);
        } else if (!recovery->busy) {
                (void)claims->world.rescan(claims->world.ctx);
                decide(recovery);
        } else if (clock_ms() < recovery->kept_until_ms) {
                (void)uv_timer_start(recovery->timer, on_retry, BUSY_RETRY_MS, 0);
        } else {
                try_later(recovery, "a hand that outlived its sluiced is still at work on it");
        }
}

static bool is_stuck(const struct recovery *recovery)
{
        const struct claims_world *world = &recovery->claims->world;
        const struct offer *offer = world->offer(world->ctx);

        for (size_t i = 0; i < offer->n_devices; i++)
                for (size_t k = 0; k < recovery->turn.n_cards; k++)
                        if (offer->devices[i].reason == REASON_STUCK && bdf_equal(offer->devices[i].card, recovery->cards[k]))
                                return true;
        return false;
}

static bool any_to_do(const struct claims *claims, const struct original *list, size_t n)
{
        bool any = any_under_way(list, n);

        for (size_t i = 0; i < n; i++)
                any = any || power_is_owed(claims, &list[i]);
        return any;
}

/* Any read that respects the card's lock does; this one also is what the undo will have to know. */
static void on_start(struct turn *turn)
{
        struct recovery *recovery = recovery_of_turn(turn);
        _cleanup_free_ struct plan *plan = xcalloc(1, sizeof(*plan));
        _cleanup_free_ struct original *list = NULL;

        size_t n = collect(recovery, &list);
        if (!any_to_do(recovery->claims, list, n) || is_stuck(recovery)) { /* somebody else has dealt with it, or nobody may */
                conclude(recovery);
                return;
        }
        if (recovery->kept_until_ms == 0)
                recovery->kept_until_ms = clock_ms() + BUSY_KEPT_MS;
        recovery->busy = false;
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

static struct recovery *recovery_new(struct claims *claims, const struct bdf *functions, size_t n)
{
        struct recovery *recovery = xcalloc(1, sizeof(*recovery));
        size_t n_cards = 0;

        *recovery = (struct recovery){ .turn = { .ops = &RECOVERY_OPS }, .claims = claims, .n_functions = n, .pause_ms = PAUSE_MIN_MS };
        recovery->functions = xmemdup(functions, n * sizeof(*functions));
        recovery->cards = xcalloc(n, sizeof(*recovery->cards));
        for (size_t i = 0; i < n; i++) {
                const struct original *original = ledger_original(claims->ledger, functions[i]);
                recovery->cards[n_cards++] = original ? original->card : functions[i];
        }
        qsort(recovery->cards, n_cards, sizeof(*recovery->cards), by_address);
        for (size_t i = 0; i < n_cards; i++)
                if (recovery->turn.n_cards == 0 || !bdf_equal(recovery->cards[recovery->turn.n_cards - 1], recovery->cards[i]))
                        recovery->cards[recovery->turn.n_cards++] = recovery->cards[i];
        recovery->turn.cards = recovery->cards;
        recovery->timer = xcalloc(1, sizeof(*recovery->timer));
        (void)uv_timer_init(claims->loop, recovery->timer);
        recovery->timer->data = recovery;
        recovery->next = claims->recoveries;
        claims->recoveries = recovery;
        recovery->in_queue = true;
        turn_join(claims, &recovery->turn);
        return recovery;
}

void recovery_of(struct claims *claims, const struct bdf *functions, size_t n)
{
        if (n == 0 || claims->stopping)
                return;
        (void)recovery_new(claims, functions, n);
        turns_pump(claims);
}

struct originals {
        struct original *list;
        size_t n, cap;
};

static void add_original(void *ctx, const struct original *original)
{
        struct originals *originals = ctx;

        GROW(originals->list, originals->n, originals->cap);
        originals->list[originals->n++] = *original;
}

static bool is_in_recovery(const struct claims *claims, struct bdf bdf)
{
        for (const struct recovery *recovery = claims->recoveries; recovery; recovery = recovery->next)
                for (size_t i = 0; i < recovery->n_functions; i++)
                        if (bdf_equal(recovery->functions[i], bdf))
                                return true;
        return false;
}

/* A turn for each function: companions are few, and wait for each other. */
void recovery_of_power(struct claims *claims)
{
        struct originals all = { 0 };
        bool any = false;

        if (claims->stopping)
                return;
        ledger_each_original(claims->ledger, add_original, &all);
        for (size_t i = 0; i < all.n; i++) {
                if (!power_is_owed(claims, &all.list[i]) || is_in_recovery(claims, all.list[i].bdf))
                        continue;
                (void)recovery_new(claims, &all.list[i].bdf, 1);
                any = true;
        }
        free(all.list);
        if (any)
                turns_pump(claims);
}

/* Of what is not under way: forgets and says; what is kept without being bound is said too. The others stay in @all. */
static void take_stock(struct claims *claims, struct originals *all)
{
        const struct inventory *inv = claims->world.inventory(claims->world.ctx);
        size_t n_left = 0, n_old = 0, n_ours = 0;
        char text[ERR_MSG_MAX];

        for (size_t i = 0; i < all->n; i++) {
                const struct original *original = &all->list[i];
                const struct function *fn = inventory_function(inv, original->bdf);
                enum original_fate fate = original_judge(original, fn, inv->boot_id);
                bool under_way = original->state != ORIGINAL_BOUND;
                if (!fate_is_forgotten(fate) || (fate == FATE_TAKEN && under_way)) {
                        n_ours += fate == FATE_OURS && !under_way;
                        if (fate == FATE_UNBOUND) {
                                original_say(original, fn, fate, text, sizeof(text));
                                log_warn("%s", text);
                        }
                        all->list[n_left++] = *original;
                        continue;
                }
                n_old += fate == FATE_OTHER_BOOT;
                original_say(original, fn, fate, text, sizeof(text));
                if (fate == FATE_OTHER_BOOT)
                        log_debug("%s", text);
                else
                        log_info("%s", text);
                ledger_remove_originals(claims->ledger, &original->bdf, 1, NULL, NULL);
        }
        all->n = n_left;
        if (n_old > 0)
                log_info("the host has rebooted: %zu bindings of before are forgotten", n_old);
        if (n_ours > 0)
                log_info("%zu functions are bound by an earlier sluiced: adopted", n_ours);
}

static void forget_taken(void *ctx, const struct original *original)
{
        struct claims *claims = ctx;
        const struct inventory *inv = claims->world.inventory(claims->world.ctx);
        const struct function *fn = inventory_function(inv, original->bdf);
        enum original_fate fate = original_judge(original, fn, inv->boot_id);
        const struct bdf bdf = original->bdf;
        char text[ERR_MSG_MAX];

        if (original->state != ORIGINAL_BOUND || (fate != FATE_TAKEN && fate != FATE_REPLACED) || turns_any_on(claims, &original->card, 1))
                return;
        original_say(original, fn, fate, text, sizeof(text));
        log_info("%s", text);
        ledger_remove_originals(claims->ledger, &bdf, 1, NULL, NULL);
}

void recovery_forget_taken(struct claims *claims)
{
        if (!claims->stopping)
                ledger_each_original(claims->ledger, forget_taken, claims);
}

/* A state directory that was lost looks like this too: what Sluice cannot know to be its own is an administrator's. */
static void say_foreign(struct claims *claims)
{
        const struct inventory *inv = claims->world.inventory(claims->world.ctx);
        size_t n = 0;

        for (size_t i = 0; i < inv->n_functions; i++)
                n += group_on_vfio(&inv->functions[i]) && !claims_original(claims, inv->functions[i].bdf);
        if (n > 0)
                log_info("%zu functions are on a VFIO driver and no record says that Sluice bound them: they count as an administrator's",
                         n);
}

/* Kubelet does not ask again for what it has given; where it skips PreStartContainer too, this is the only word of it. */
static void say_outdated(void *ctx, const struct claim *claim)
{
        const struct claims *claims = ctx;
        const struct offer *offer = claims->world.offer(claims->world.ctx);

        for (size_t i = 0; i < claim->n_devices && claim->state != CLAIM_RELEASING; i++) { /* else its pod has gone */
                const struct claim_device *told = &claim->devices[i];
                const struct device *now = offer_device(offer, told->id);
                if (now && claim_device_is(told, now))
                        continue;
                log_warn("device %s of %s, given to %s%s%s, was %04x:%04x in IOMMU group %d then and %s: a pod that still has it must be "
                         "deleted",
                         told->id, claim->resource, *claim->pod ? claim->pod_namespace : "a pod", *claim->pod ? "/" : "", claim->pod,
                         told->vendor, told->device, told->group, now ? "is not now" : "is not there now");
        }
}

void recovery_start(struct claims *claims, void (*done)(void *ctx), void *ctx)
{
        struct originals all = { 0 };

        ledger_each_original(claims->ledger, add_original, &all);
        take_stock(claims, &all);
        say_foreign(claims);
        ledger_each_claim(claims->ledger, say_outdated, claims);

        _cleanup_free_ size_t *unit = xcalloc(all.n + 1, sizeof(*unit));
        _cleanup_free_ struct bdf *functions = xcalloc(all.n + 1, sizeof(*functions));
        original_units(claims->world.inventory(claims->world.ctx), all.list, all.n, unit);
        for (size_t first = 0; first < all.n; first++) {
                bool under_way = false;
                size_t n = 0;
                for (size_t i = first; i < all.n; i++)
                        if (unit[i] == first) {
                                functions[n++] = all.list[i].bdf;
                                under_way = under_way || all.list[i].state != ORIGINAL_BOUND || power_is_owed(claims, &all.list[i]);
                        }
                if (unit[first] != first || !under_way)
                        continue;
                recovery_new(claims, functions, n)->waited_for = true;
                claims->n_recovering++;
        }
        free(all.list);
        if (claims->n_recovering == 0) {
                done(ctx);
                return;
        }
        claims->recovered = done;
        claims->recovered_ctx = ctx;
        turns_pump(claims);
}
