/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/idle_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "claims/recovery.h"
#include "core/group.h"

static void on_start(struct turn *turn);
static void on_stop(struct turn *turn);
static bool changes(const struct turn *turn, struct bdf card, bool ended);
static const struct turn_ops IDLE_OPS = { on_start, on_stop, changes };

static struct unit *unit_of(const struct turn *turn)
{
        return container_of(turn, struct unit, turn);
}

static bool changes(const struct turn *turn, struct bdf card, bool ended)
{
        const struct unit *unit = unit_of(turn);

        for (size_t i = 0; (unit->at_work || (ended && unit->just_ended)) && i < turn->n_cards; i++)
                if (bdf_equal(turn->cards[i], card))
                        return true;
        return false;
}

/* ---- what is of a unit ---- */

/* What is remembered of its functions by now. The caller frees *@ret. */
static size_t collect(const struct unit *unit, struct original **ret)
{
        struct original *list = xcalloc(unit->n_functions, sizeof(*list));
        size_t n = 0;

        for (size_t i = 0; i < unit->n_functions; i++) {
                const struct original *original = ledger_original(unit->idle->claims->ledger, unit->functions[i]);
                if (original && original_is_bound_by_us(original))
                        list[n++] = *original;
        }
        *ret = list;
        return n;
}

static void withhold(struct unit *unit, bool on)
{
        const struct claims_world *world = &unit->idle->claims->world;
        const struct device *device;

        for (size_t at = 0; (device = unit_next_device(unit, &at));) {
                char id[DEVICE_ID_MAX];
                (void)str_copy(id, sizeof(id), device->id); /* the offer is another one afterwards, of the same devices */
                world->withhold(world->ctx, id, on);
        }
        unit->withheld = on;
}

/* ---- the end ---- */

static void idle_free(struct idle *idle)
{
        for (size_t i = 0; i < idle->n_units; i++) {
                struct unit *unit = &idle->units[i];
                free(unit->functions);
                free(unit->cards);
                free(unit->plan);
                free(unit->outcome.originals);
        }
        free(idle->units);
        free(idle->nothing);
        free(idle);
}

static void finish(struct idle *idle)
{
        struct idle_outcome *list = xcalloc(idle->n_units + idle->n_nothing + 1, sizeof(*list));

        for (size_t i = 0; i < idle->n_units; i++)
                list[i] = idle->units[i].outcome;
        memcpy(list + idle->n_units, idle->nothing, idle->n_nothing * sizeof(*list));
        idle->done(idle->ctx, list, idle->n_units + idle->n_nothing);
        free(list);
        idle_free(idle);
}

/* @unit has come to its end, and maybe with it the call. */
static void conclude(struct unit *unit)
{
        struct idle *idle = unit->idle;
        struct claims *claims = idle->claims;

        if (unit->withheld && unit->outcome.end == IDLE_LEFT)
                withhold(unit, false);
        claims->n_idle--;
        turn_leave(claims, &unit->turn);
        if (--idle->n_open == 0)
                finish(idle);
        if (!claims->stopping)
                turns_pump(claims);
}

static void leave(struct unit *unit, enum reason reason, const char *text)
{
        unit->outcome.end = IDLE_LEFT;
        unit->outcome.reason = reason;
        (void)str_copy(unit->outcome.text, sizeof(unit->outcome.text), text);
        if (!unit->idle->dry_run)
                log_info("%s is not given back: %s [%s]", unit->outcome.name, *text ? text : reason_sentence(reason), reason_word(reason));
        conclude(unit);
}

static void on_forgotten(void *ctx, const struct err *err)
{
        struct unit *unit = ctx;

        unit->recording = false;
        if (err) /* the ledger goes on trying; what it says then is that the function is on its former driver */
                log_warn("%s is given back, and its record is still there: %s", unit->outcome.name, err->msg);
        conclude(unit);
}

static void given_back(struct unit *unit)
{
        unit->outcome.end = IDLE_GIVEN_BACK;
        if (unit->idle->dry_run) {
                unit->outcome.plan = unit->plan;
                conclude(unit);
                return;
        }
        for (size_t i = 0; i < unit->outcome.n_originals; i++) {
                const struct original *original = &unit->outcome.originals[i];
                log_info(BDF_FMT " is given back to %s", BDF_ARGS(original->bdf), *original->driver ? original->driver : "no driver");
        }
        unit->recording = true;
        ledger_remove_originals(unit->idle->claims->ledger, unit->functions, unit->n_functions, on_forgotten, unit);
}

/* ---- the hand ---- */

static void put_originals(struct unit *unit, enum original_state state, recorded_fn *done)
{
        _cleanup_free_ struct original *list = NULL;
        struct err unused;

        size_t n = collect(unit, &list);
        for (size_t i = 0; i < n; i++)
                list[i].state = state;
        if (n > 0) /* they are in the ledger: there is room */
                (void)ledger_put_originals(unit->idle->claims->ledger, list, n, done, unit, &unused);
        else if (done)
                done(unit, NULL);
}

static void mark_broken(const struct unit *unit, const char *detail)
{
        const struct claims_world *world = &unit->idle->claims->world;
        const struct device *device;

        for (size_t at = 0; (device = unit_next_device(unit, &at));)
                world->mark(world->ctx, device->id, REASON_BROKEN_BINDING, detail);
}

static void on_done(void *ctx, const struct hands_result *result)
{
        struct unit *unit = ctx;
        struct claims *claims = unit->idle->claims;
        const struct claims_world *world = &claims->world;

        unit->at_work = false;
        unit->just_ended = true;
        for (size_t i = 0; result->end == PLAN_STUCK && i < unit->turn.n_cards; i++)
                world->mark_stuck(world->ctx, unit->cards[i], result->text);
        if (result->end == PLAN_BROKEN)
                mark_broken(unit, result->text);
        (void)world->rescan(world->ctx);
        unit->just_ended = false;
        switch (result->end) {
        case PLAN_DONE:
                given_back(unit);
                return;
        case PLAN_REFUSED:
        case PLAN_UNDONE:
                if (!unit->idle->dry_run)
                        put_originals(unit, ORIGINAL_BOUND, NULL);
                leave(unit, result->reason ? result->reason : REASON_STEP_FAILED, result->text);
                return;
        case PLAN_LOST: /* between any two steps: recovery goes on with it */
                if (!unit->idle->dry_run)
                        recovery_of(claims, unit->functions, unit->n_functions);
                leave(unit, claims->stopping ? REASON_TOO_LATE : REASON_HAND_LOST, result->text);
                return;
        case PLAN_BROKEN: /* the next daemon goes on with it, or who mends it */
                leave(unit, REASON_BROKEN_BINDING, result->text);
                return;
        case PLAN_STUCK:
                leave(unit, REASON_STUCK, result->text);
                return;
        }
}

static void run(struct unit *unit, const struct plan *plan)
{
        struct claims *claims = unit->idle->claims;

        unit->at_work = !unit->idle->dry_run;
        hands_run(claims->hands, plan, claims->deadline_ms, NULL, on_done, unit);
}

static void on_intended(void *ctx, const struct err *err)
{
        struct unit *unit = ctx;

        unit->recording = false;
        if (!err && !unit->idle->claims->stopping) {
                run(unit, unit->plan);
                return;
        }
        put_originals(unit, ORIGINAL_BOUND, NULL);
        leave(unit, err ? REASON_NO_RECORD : REASON_TOO_LATE, err ? err->msg : "");
}

/* The conditions of its plan: nothing of them changes anything. */
static void try_conditions(struct unit *unit)
{
        _cleanup_free_ struct plan *conditions = xmemdup(unit->plan, sizeof(*unit->plan));

        for (uint32_t i = 0; i < conditions->n_steps; i++)
                if (step_acts(conditions->steps[i].kind))
                        conditions->n_steps = i;
        if (conditions->n_steps > 0)
                run(unit, conditions);
        else
                given_back(unit);
}

/* ---- its turn ---- */

static enum reason say_claim(const struct claims *claims, const struct claim *claim, const struct device *device, struct err *err)
{
        if (claim->state == CLAIM_RELEASING) {
                (void)err_say(err, EBUSY, "%s", device->detail);
                return REASON_RELEASING;
        }
        (void)claims;
        if (*claim->pod)
                (void)err_say(err, EBUSY, "pod %s/%s has %s", claim->pod_namespace, claim->pod, device->id);
        else
                (void)err_say(err, EBUSY, "%s was given to %s", device->id, claim_owner_name(claim->owner));
        return REASON_CLAIMED;
}

/* What is known without a hand. */
static enum reason why_not(const struct unit *unit, const struct original *list, size_t n, struct err *err)
{
        const struct claims *claims = unit->idle->claims;
        const struct device *device;

        for (size_t at = 0; (device = unit_next_device(unit, &at));) {
                const struct claim *claim = ledger_claim_of(claims->ledger, device->id);
                if (device->reason == REASON_STUCK || device->reason == REASON_BROKEN_BINDING) {
                        (void)err_say(err, EIO, "%s", device->detail);
                        return device->reason;
                }
                if (claim)
                        return say_claim(claims, claim, device, err);
        }
        for (size_t i = 0; i < n; i++)
                if (list[i].state != ORIGINAL_BOUND) {
                        (void)err_say(err, EBUSY,
                                      "what was under way on " BDF_FMT " when a sluiced or its hand ended is not dealt with yet",
                                      BDF_ARGS(list[i].bdf));
                        return REASON_CARD_BUSY;
                }
        if (!unit->idle->pods_known) {
                (void)err_say(err, EBUSY, "%s", unit->idle->why_unknown);
                return REASON_PODS_UNKNOWN;
        }
        return REASON_NONE;
}

static enum reason make_plan(struct unit *unit, struct original *list, size_t n, struct err *err)
{
        const struct claims_world *world = &unit->idle->claims->world;
        _cleanup_free_ const struct original **originals = xcalloc(n, sizeof(*originals));

        for (size_t i = 0; i < n; i++)
                originals[i] = &list[i];
        unit->plan = xcalloc(1, sizeof(*unit->plan));
        enum reason reason = plan_restore(world->inventory(world->ctx), originals, n, unit->plan, err);
        if (reason == REASON_NONE)
                plan_limit_waits(unit->plan, (int32_t)(unit->idle->claims->deadline_ms / 4));
        return reason;
}

static bool is_claimed(const struct unit *unit)
{
        const struct device *device;

        for (size_t at = 0; (device = unit_next_device(unit, &at));)
                if (ledger_claim_of(unit->idle->claims->ledger, device->id))
                        return true;
        return false;
}

static void withhold_unclaimed(struct unit *unit)
{
        if (!unit->idle->dry_run && !unit->withheld && !is_claimed(unit))
                withhold(unit, true);
}

/* Its release, say, was before us: it is as it shall be, and stays so. */
static void nothing_left(struct unit *unit)
{
        unit->outcome.end = IDLE_NOTHING;
        str_format(unit->outcome.text, sizeof(unit->outcome.text), "nothing of it is left to be given back%s",
                   unit->withheld ? "; it is withheld from new pods until 'sluicectl uncordon', or until sluiced starts again" : "");
        conclude(unit);
}

static void on_start(struct turn *turn)
{
        struct unit *unit = unit_of(turn);
        struct claims *claims = unit->idle->claims;
        struct original *list = NULL;
        struct err err;

        (void)claims->world.rescan(claims->world.ctx);
        withhold_unclaimed(unit); /* whose claim ended meanwhile: with kubelet's list, or a turn before this one */
        size_t n = collect(unit, &list);
        unit->outcome.originals = list;
        unit->outcome.n_originals = n;
        if (n == 0) {
                nothing_left(unit);
                return;
        }
        enum reason reason = why_not(unit, list, n, &err);
        if (reason == REASON_NONE)
                reason = make_plan(unit, list, n, &err);
        if (reason == REASON_CARD_BUSY && !unit->idle->dry_run) /* nobody goes on with a plan that broke, until it is mended */
                recovery_of(claims, unit->functions, unit->n_functions);
        if (reason) {
                leave(unit, reason, err.msg);
        } else if (unit->idle->dry_run) {
                try_conditions(unit);
        } else if (unit->plan->n_steps == 0) {
                given_back(unit);
        } else {
                unit->recording = true;
                put_originals(unit, ORIGINAL_RESTORING, on_intended);
        }
}

static void on_stop(struct turn *turn)
{
        struct unit *unit = unit_of(turn);

        if (turn->waits) /* else the disk or its hand has the word */
                leave(unit, REASON_TOO_LATE, "");
}

/* ---- the beginning ---- */

/* Kubelet has told of its pods, or why it does not: NULL = it has. */
static void on_pods(void *ctx, const char *why_unknown)
{
        struct idle *idle = ctx;
        struct claims *claims = idle->claims;
        size_t n = idle->n_units;

        idle->pods_known = !why_unknown;
        str_clean(idle->why_unknown, sizeof(idle->why_unknown), why_unknown ? why_unknown : "");
        for (size_t i = 0; i < n; i++) {
                idle->units[i].turn.ops = &IDLE_OPS;
                turn_join(claims, &idle->units[i].turn);
        }
        if (claims->stopping) /* those that have joined were not told */
                for (size_t i = 0; i < n; i++)
                        on_stop(&idle->units[i].turn); /* the last one ends the call */
        else
                turns_pump(claims);
}

static void add_nothing(struct idle *idle, const char *name)
{
        const struct claims_world *world = &idle->claims->world;
        const struct device *device = offer_device(world->offer(world->ctx), name);
        const struct function *fn = device ? inventory_function(world->inventory(world->ctx), device->bdf) : NULL;
        struct idle_outcome *outcome = &idle->nothing[idle->n_nothing++];

        (void)str_copy(outcome->name, sizeof(outcome->name), name);
        if (fn && group_on_vfio(fn))
                str_format(outcome->text, sizeof(outcome->text),
                           "it is on %s, and no record says that Sluice bound it: it counts as an administrator's", fn->driver);
        else
                str_format(outcome->text, sizeof(outcome->text), "Sluice has not bound it");
}

static void name_the_rest(struct idle *idle, const struct idle_request *request)
{
        idle->nothing = xcalloc(request->n_names + 1, sizeof(*idle->nothing));
        for (size_t i = 0; i < request->n_names; i++) {
                bool found = false;
                for (size_t k = 0; k < idle->n_units && !found; k++)
                        found = unit_is_named(&idle->units[k], request->names[i]);
                for (size_t k = 0; k < idle->n_nothing && !found; k++)
                        found = streq(idle->nothing[k].name, request->names[i]);
                if (!found)
                        add_nothing(idle, request->names[i]);
        }
}

int idle_release(struct claims *claims, const struct idle_request *request, idle_fn *done, void *ctx, struct err *err)
{
        struct idle *idle = xcalloc(1, sizeof(*idle));

        *idle = (struct idle){ .claims = claims, .dry_run = request->dry_run, .done = done, .ctx = ctx };
        idle->units = xcalloc(IDLE_UNITS_MAX + 1, sizeof(*idle->units));
        (void)claims->world.rescan(claims->world.ctx);
        int r = idle_make_units(idle, request, err);
        if (r == 0 && claims->n_idle + idle->n_units > IDLE_UNITS_MAX)
                r = err_say(err, EAGAIN, "%zu devices are being given back already, %d at once are the most: ask again when that is done",
                            claims->n_idle, IDLE_UNITS_MAX);
        if (r < 0) {
                idle_free(idle);
                return r;
        }
        name_the_rest(idle, request);
        idle->n_open = idle->n_units;
        claims->n_idle += idle->n_units;
        if (idle->n_units == 0) {
                finish(idle);
                return 0;
        }
        /* Before kubelet is asked: whoever gets one of them from now on would not be in its list. */
        for (size_t i = 0; i < idle->n_units; i++)
                withhold_unclaimed(&idle->units[i]);
        claims->world.ask_pods(claims->world.ctx, on_pods, idle);
        return 0;
}
