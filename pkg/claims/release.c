/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/release.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "claims/patient.h"
#include "claims/recovery.h"
#include "claims/release_intent.h"
#include "claims/request.h"
#include "core/plan.h"

enum { CARDS_MAX = 2 * CLAIM_DEVICES_MAX };

struct release {
        struct patient patient;
        struct claims *claims;
        char key[CLAIM_KEY_MAX];
        struct bdf cards[CARDS_MAX];
        struct plan *plan; /* that is being recorded, or is at work */
        bool recording;    /* the disk has the word */
        bool at_work, just_ended;
        int64_t held_until_ms; /* 0 = nobody has been seen to have it open in this attempt */
};

static void on_start(struct turn *turn);
static void on_stop(struct turn *turn);
static bool changes(const struct turn *turn, struct bdf card, bool ended);
static const struct turn_ops RELEASE_OPS = { on_start, on_stop, changes };

static struct release *release_of(const struct turn *turn)
{
        return container_of(turn, struct release, patient.turn);
}

static bool changes(const struct turn *turn, struct bdf card, bool ended)
{
        const struct release *release = release_of(turn);

        if (!release->at_work && !(ended && release->just_ended))
                return false;
        for (uint32_t i = 0; i < release->plan->n_cards; i++)
                if (bdf_equal(release->plan->cards[i], card))
                        return true;
        return false;
}

/* ---- what it is about ---- */

struct subjects {
        const struct device *devices[CLAIM_DEVICES_MAX]; /* those that are still candidates; of the current offer */
        size_t n_devices;
        struct original *originals; /* all there are: plan_release() takes those of the devices' groups */
        const struct original **pointers;
        size_t n_originals, cap;
};

static void subjects_done(struct subjects *s)
{
        free(s->originals);
        free(s->pointers);
}

static void add_original(void *ctx, const struct original *original)
{
        struct subjects *s = ctx;

        GROW(s->originals, s->n_originals, s->cap);
        s->originals[s->n_originals++] = *original;
}

static void subjects_get(const struct claims *claims, const struct claim *claim, struct subjects *ret)
{
        const struct offer *offer = claims->world.offer(claims->world.ctx);

        for (size_t i = 0; i < claim->n_devices; i++) {
                const struct device *device = offer_device(offer, claim->devices[i].id);
                if (device && device->reason != REASON_GONE)
                        ret->devices[ret->n_devices++] = device;
        }
        ledger_each_original(claims->ledger, add_original, ret);
        ret->pointers = xcalloc(ret->n_originals + 1, sizeof(*ret->pointers));
        for (size_t i = 0; i < ret->n_originals; i++)
                ret->pointers[i] = &ret->originals[i];
}

static enum reason make_plan(const struct claims *claims, const struct claim *claim, struct plan *ret, struct err *err)
{
        const struct claims_world *world = &claims->world;
        _cleanup_(subjects_done) struct subjects s = { 0 };

        subjects_get(claims, claim, &s);
        return plan_release(world->inventory(world->ctx), world->rules(world->ctx), s.devices, s.n_devices, s.pointers, s.n_originals, ret,
                            err);
}

/* Makes it again from another look where what one could not see would end the claim without what its rule asks for. */
static enum reason make_plan_surely(struct claims *claims, const char *key, struct plan *ret, struct err *err)
{
        enum reason reason = make_plan(claims, ledger_claim(claims->ledger, key), ret, err);

        if (reason != REASON_HOLDERS_UNKNOWN)
                return reason;
        (void)claims->world.rescan(claims->world.ctx);
        return make_plan(claims, ledger_claim(claims->ledger, key), ret, err);
}

/* ---- life ---- */

/* Ends it. The claim, if it is still there, is gone on with by the next daemon. */
static void conclude(struct release *release)
{
        struct claims *claims = release->claims;

        patient_end(&release->patient);
        free(release->plan);
        free(release);
        if (claims->stopping) /* then each turn is told in its turn */
                return;
        (void)claims->world.rescan(claims->world.ctx);
        turns_pump(claims);
}

/* The claim has ended, and its devices are as its rule wants them, or as they were. */
static void end_claim(struct claims *claims, const char *key)
{
        char copy[CLAIM_KEY_MAX];

        (void)str_copy(copy, sizeof(copy), key); /* may be the claim's own */
        ledger_remove_claim(claims->ledger, copy, NULL, NULL);
        recovery_of_settings(claims);
}

static void finish(struct release *release)
{
        end_claim(release->claims, release->key);
        conclude(release);
}

/* Others may have the cards meanwhile. @why is said when it is another reason than the last time. */
static void try_later(struct release *release, const char *why)
{
        struct claims *claims = release->claims;

        if (claims->stopping) {
                conclude(release);
                return;
        }
        release->held_until_ms = 0;
        if (patient_step_aside(&release->patient, why)) {
                log_warn("the release of %s has to wait: %s", release->key, why);
                (void)claims->world.rescan(claims->world.ctx);
        }
        turns_pump(claims);
}

static void on_stop(struct turn *turn)
{
        struct release *release = release_of(turn);

        if (patient_is_idle(&release->patient)) /* else the disk or the hand has the word */
                conclude(release);
}

/* ---- the hand ---- */

/* Keeps the cards for a moment: a VM that ends closes its descriptors one by one. */
static void wait_for_holder(struct release *release, const char *why)
{
        int64_t now = clock_ms();

        if (release->held_until_ms == 0)
                release->held_until_ms = now + RELEASE_HELD_MS;
        if (now >= release->held_until_ms || release->claims->stopping)
                try_later(release, why);
        else
                patient_again_in(&release->patient, RELEASE_HELD_RETRY_MS);
}

static void mark_devices(struct release *release, enum reason reason, const char *detail)
{
        const struct claims_world *world = &release->claims->world;
        const struct claim *claim = ledger_claim(release->claims->ledger, release->key);

        for (size_t i = 0; claim && i < claim->n_devices; i++)
                world->mark(world->ctx, claim->devices[i].id, reason, detail);
}

/* It is as it was before the plan. */
static void not_released(struct release *release, const struct hands_result *result)
{
        release_intent_withdraw(release->claims, release->plan);
        switch (result->reason) {
        case REASON_HELD:
        case REASON_CARD_BUSY:
                wait_for_holder(release, result->text);
                return;
        case REASON_HOLDERS_UNKNOWN: /* only 'keep' is possible where holders cannot be seen */
                log_warn("%s is kept as it is, its release did not run: %s", release->key, result->text);
                finish(release);
                return;
        case REASON_NO_ANSWER: /* marks end with this daemon: the next one resets it again, by the claim that is left */
        case REASON_BARS_CHANGED:
                mark_devices(release, result->reason, result->text);
                conclude(release);
                return;
        default:
                try_later(release, result->text);
        }
}

static void say_released(const struct release *release)
{
        for (uint32_t i = 0; i < release->plan->n_steps; i++) {
                const struct step *step = &release->plan->steps[i];
                if (step->kind == STEP_RESET)
                        log_info(BDF_FMT " was reset (%s) after its last user", BDF_ARGS(step->bdf), step->text);
                else if (step->kind == STEP_AWAIT_DRIVER)
                        log_info(BDF_FMT " is given back to %s", BDF_ARGS(step->bdf), *step->text ? step->text : "no driver");
        }
}

static void on_done(void *ctx, const struct hands_result *result)
{
        struct release *release = ctx;
        struct claims *claims = release->claims;
        const struct claims_world *world = &claims->world;

        release->at_work = false;
        release->just_ended = true;
        for (uint32_t i = 0; result->end == PLAN_STUCK && i < release->plan->n_cards; i++)
                world->mark_stuck(world->ctx, release->plan->cards[i], result->text);
        if (result->end == PLAN_BROKEN)
                mark_devices(release, REASON_BROKEN_BINDING, result->text);
        (void)world->rescan(world->ctx);
        release->just_ended = false;
        switch (result->end) {
        case PLAN_DONE:
                say_released(release);
                release_intent_complete(claims, release->plan);
                finish(release);
                return;
        case PLAN_REFUSED:
        case PLAN_UNDONE:
                not_released(release, result);
                return;
        case PLAN_LOST:   /* between any two steps: the next plan is made of what is there then, */
        case PLAN_BROKEN: /* and when somebody has mended it: on_start() */
                try_later(release, result->text);
                return;
        case PLAN_STUCK: /* the next boot's */
                log_error("the release of %s failed: %s", release->key, result->text);
                conclude(release);
                return;
        }
}

static void run(struct release *release)
{
        struct claims *claims = release->claims;

        release->at_work = true;
        plan_limit_waits(release->plan, (int32_t)(claims->deadline_ms / 4));
        hands_run(claims->hands, release->plan, claims->deadline_ms, NULL, on_done, release);
}

static void on_intended(void *ctx, const struct err *err)
{
        struct release *release = ctx;

        release->recording = false;
        if (!err && !release->claims->stopping) {
                run(release);
                return;
        }
        release_intent_withdraw(release->claims, release->plan);
        try_later(release, err ? err->msg : "Sluice is shutting down");
}

/* ---- its turn ---- */

static bool any_is(const struct claims *claims, const struct claim *claim, enum reason reason)
{
        const struct offer *offer = claims->world.offer(claims->world.ctx);

        for (size_t i = 0; i < claim->n_devices; i++) {
                const struct device *device = offer_device(offer, claim->devices[i].id);
                if (device && device->reason == reason)
                        return true;
        }
        return false;
}

/* Another look may find it otherwise. */
static bool may_be_mended(enum reason reason)
{
        return reason == REASON_FORMER_DRIVER || reason == REASON_GARBAGE;
}

/* No plan can be made. What time may mend is waited for; else the device is kept as it is, and what it is then is said of it. */
static void not_planned(struct release *release, enum reason reason, const struct err *err)
{
        if (may_be_mended(reason)) {
                try_later(release, err->msg);
                return;
        }
        log_warn("%s is kept as it is, its release did not run: %s [%s]", release->key, err->msg, reason_word(reason));
        finish(release);
}

static void on_start(struct turn *turn)
{
        struct release *release = release_of(turn);
        struct claims *claims = release->claims;
        struct err err;

        (void)claims->world.rescan(claims->world.ctx);
        const struct claim *claim = ledger_claim(claims->ledger, release->key);
        if (claims->stopping || !claim || claim->state != CLAIM_RELEASING || any_is(claims, claim, REASON_STUCK)) {
                conclude(release);
                return;
        }
        if (any_is(claims, claim, REASON_BROKEN_BINDING)) { /* no hand goes there again before somebody has mended it */
                try_later(release, "its binding is broken");
                return;
        }
        enum reason reason = make_plan_surely(claims, release->key, release->plan, &err);
        if (reason) {
                not_planned(release, reason, &err);
        } else if (release->plan->n_steps == 0) {
                finish(release);
        } else {
                release->recording = true;
                int r = release_intent_put(claims, release->plan, on_intended, release, &err);
                if (r <= 0)
                        on_intended(release, r < 0 ? &err : NULL);
        }
}

/* ---- beginning ---- */

static struct release *release_new(struct claims *claims, const char *key, const struct bdf *cards, size_t n_cards)
{
        struct release *release = xcalloc(1, sizeof(*release));

        release->claims = claims;
        (void)str_copy(release->key, sizeof(release->key), key);
        memcpy(release->cards, cards, n_cards * sizeof(*cards));
        release->plan = xcalloc(1, sizeof(*release->plan));
        patient_begin(&release->patient, claims, &RELEASE_OPS, release->cards, n_cards);
        return release;
}

static void on_recorded(void *ctx, const struct err *err)
{
        struct release *release = ctx;
        struct claims *claims = release->claims;

        release->recording = false;
        if (claims->stopping) {
                conclude(release);
        } else if (err) {
                try_later(release, err->msg);
        } else {
                patient_again(&release->patient);
        }
}

static size_t cards_of(const struct claims *claims, const struct claim *claim, struct bdf ret[static CARDS_MAX])
{
        const struct claims_world *world = &claims->world;
        _cleanup_(subjects_done) struct subjects s = { 0 };

        subjects_get(claims, claim, &s);
        return request_cards(world->inventory(world->ctx), s.devices, s.n_devices, ret, CARDS_MAX);
}

/* Its rule asks for nothing, or for what cannot be done: it ends at once. */
static bool ends_at_once(struct claims *claims, const struct claim *claim)
{
        _cleanup_free_ struct plan *plan = xcalloc(1, sizeof(*plan));
        struct err err;

        enum reason reason = make_plan_surely(claims, claim->key, plan, &err);
        if (reason && !may_be_mended(reason))
                log_warn("%s is kept as it is, its release did not run: %s [%s]", claim->key, err.msg, reason_word(reason));
        if (reason ? may_be_mended(reason) : plan->n_steps > 0)
                return false;
        end_claim(claims, claim->key);
        return true;
}

bool release_claim(struct claims *claims, const char *key)
{
        const struct claim *claim = ledger_claim(claims->ledger, key);
        struct bdf cards[CARDS_MAX];
        struct err err;

        if (!claim || claim->state == CLAIM_RELEASING)
                return true;
        size_t n_cards = cards_of(claims, claim, cards);
        if (claims->stopping || turns_any_on(claims, cards, n_cards))
                return false;
        if (ends_at_once(claims, claim))
                return true;

        _cleanup_claim_ struct claim releasing = { 0 };
        claim_copy(&releasing, claim);
        releasing.state = CLAIM_RELEASING;
        struct release *release = release_new(claims, key, cards, n_cards);
        release->patient.turn.waits = false;
        release->recording = true;
        if (ledger_put_claim(claims->ledger, &releasing, on_recorded, release, &err) < 0)
                on_recorded(release, &err);
        (void)claims->world.rescan(claims->world.ctx);
        return true;
}

static void resume(void *ctx, const struct claim *claim)
{
        struct claims *claims = ctx;
        struct bdf cards[CARDS_MAX];

        if (claim->state != CLAIM_RELEASING)
                return;
        log_info("the release of %s, which an earlier sluiced had begun, goes on", claim->key);
        size_t n_cards = cards_of(claims, claim, cards);
        (void)release_new(claims, claim->key, cards, n_cards);
}

void release_resume(struct claims *claims)
{
        ledger_each_claim(claims->ledger, resume, claims);
        turns_pump(claims);
}

const char *release_of_device(const struct claims *claims, const char *device)
{
        const struct claim *claim = ledger_claim_of(claims->ledger, device);

        if (!claim || claim->state != CLAIM_RELEASING)
                return NULL;
        for (const struct patient *patient = claims->patients; patient; patient = patient->next) {
                const struct release *release = patient->turn.ops == &RELEASE_OPS ? release_of(&patient->turn) : NULL;
                if (release && streq(release->key, claim->key))
                        return patient->said;
        }
        return "";
}
