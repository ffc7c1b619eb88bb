/* SPDX-License-Identifier: Apache-2.0 */
/* What a test of a turn of the claims moves by itself: a hand, the disk, and a host with one card, bound by Sluice and given to
 * kubelet. hands_run and the ledger are this file's; plans and offers are real. Included by one file of each program. */
#ifndef SLUICE_TESTS_UNIT_CLAIMS_ONE_CARD_H
#define SLUICE_TESTS_UNIT_CLAIMS_ONE_CARD_H

#include "../unit.h"

#include <errno.h>

#include "../core/world.h"
#include "base/clock.h"
#include "claims/release.h"

/* ---- hands ---- */

static struct {
        hands_done_fn *done;
        void *ctx;
        struct plan plan;
        unsigned n;
} hand;

void hands_run(struct hands *h, const struct plan *plan, unsigned deadline_ms, hands_value_fn *value, hands_done_fn *done, void *ctx)
{
        (void)h;
        (void)value;
        (void)deadline_ms;
        assert_null(hand.done); /* one at a time here */
        hand.plan = *plan;
        hand.done = done;
        hand.ctx = ctx;
        hand.n++;
}

void hands_run_all(struct hands *h, const struct plan *plans, size_t n_plans, unsigned deadline_ms, hands_override_fn *override,
                   hands_each_fn *done, void *ctx)
{
        (void)h;
        (void) override;
        (void)plans;
        (void)n_plans;
        (void)deadline_ms;
        (void)done;
        (void)ctx;
        hand.n++;
}

static void end_plan(enum plan_end end, enum reason reason, const char *text)
{
        struct hands_result result = { .end = end, .reason = reason };
        hands_done_fn *done = hand.done;

        assert_non_null(done);
        hand.done = NULL;
        (void)str_copy(result.text, sizeof(result.text), text);
        done(hand.ctx, &result);
}

static bool plan_has(enum step_kind kind)
{
        for (uint32_t i = 0; i < hand.plan.n_steps; i++)
                if (hand.plan.steps[i].kind == kind)
                        return true;
        return false;
}

/* ---- the ledger ---- */

static struct {
        struct original originals[4];
        size_t n_originals;
        struct claim claim; /* key "" = none */
        struct claim_device device;
        recorded_fn *done;
        void *ctx;
} book;

const struct original *ledger_original(const struct ledger *ledger, struct bdf bdf)
{
        (void)ledger;
        for (size_t i = 0; i < book.n_originals; i++)
                if (bdf_equal(book.originals[i].bdf, bdf))
                        return &book.originals[i];
        return NULL;
}

static void wait_for_disk(recorded_fn *done, void *ctx)
{
        if (!done)
                return;
        assert_null(book.done);
        book.done = done;
        book.ctx = ctx;
}

static void disk_answers(bool well)
{
        recorded_fn *done = book.done;
        struct err err;

        assert_non_null(done);
        book.done = NULL;
        (void)err_say(&err, EIO, "the disk says no");
        done(book.ctx, well ? NULL : &err);
}

int ledger_put_originals(struct ledger *ledger, const struct original *list, size_t n, recorded_fn *done, void *ctx, struct err *err)
{
        (void)err;
        for (size_t i = 0; i < n; i++) {
                struct original *known = (struct original *)ledger_original(ledger, list[i].bdf);
                if (!known) {
                        assert_in_range(book.n_originals, 0, N_ELEMENTS(book.originals) - 1);
                        known = &book.originals[book.n_originals++];
                }
                *known = list[i];
        }
        wait_for_disk(done, ctx);
        return 0;
}

void ledger_remove_originals(struct ledger *ledger, const struct bdf *list, size_t n, recorded_fn *done, void *ctx)
{
        for (size_t i = 0; i < n; i++) {
                struct original *original = (struct original *)ledger_original(ledger, list[i]);
                *original = book.originals[--book.n_originals];
        }
        wait_for_disk(done, ctx);
}

void ledger_each_original(const struct ledger *ledger, original_fn *each, void *ctx)
{
        (void)ledger;
        for (size_t i = 0; i < book.n_originals; i++)
                each(ctx, &book.originals[i]);
}

int ledger_put_claim(struct ledger *ledger, const struct claim *claim, recorded_fn *done, void *ctx, struct err *err)
{
        (void)ledger;
        (void)err;
        book.device = claim->devices[0];
        book.claim = *claim;
        book.claim.devices = &book.device;
        wait_for_disk(done, ctx);
        return 0;
}

void ledger_remove_claim(struct ledger *ledger, const char *key, recorded_fn *done, void *ctx)
{
        (void)ledger;
        assert_string_equal(key, book.claim.key);
        book.claim.key[0] = '\0';
        wait_for_disk(done, ctx);
}

const struct claim *ledger_claim(const struct ledger *ledger, const char *key)
{
        (void)ledger;
        return book.claim.key[0] && streq(key, book.claim.key) ? &book.claim : NULL;
}

const struct claim *ledger_claim_of(const struct ledger *ledger, const char *device)
{
        (void)ledger;
        return book.claim.key[0] && streq(device, book.device.id) ? &book.claim : NULL;
}

void ledger_each_claim(const struct ledger *ledger, claim_fn *each, void *ctx)
{
        (void)ledger;
        if (book.claim.key[0])
                each(ctx, &book.claim);
}

/* ---- the world: one desktop card with its audio function, bound by Sluice ---- */

#define ID  "0000:01:00.0"
#define KEY "kubelet:" ID
#define BOUND                                                                                                                 \
        ID " 10de:2204 0300 vfio-pci g=7 reset=flr model=X\n0000:01:00.1 10de:1aef 0403 vfio-pci g=7\ndriver nvidia\ndriver " \
           "snd_hda_intel\n"
#define GIVEN_BACK                                                                                                               \
        ID " 10de:2204 0300 nvidia g=7 reset=flr model=X\n0000:01:00.1 10de:1aef 0403 snd_hda_intel g=7\ndriver nvidia\ndriver " \
           "snd_hda_intel\n"

static struct {
        struct inventory *inv;
        struct rules rules;
        struct offer *offer;
        char stuck[BDF_TEXT_MAX];
        struct device_mark mark;      /* id "" = none */
        char withheld[DEVICE_ID_MAX]; /* "" = none */
        unsigned n_withheld;
        void (*pods_done)(void *ctx, const char *why_unknown);
        void *pods_ctx;
} w;
static uv_loop_t loop;
static struct claims *claims;

static const char *releasing(void *ctx, const char *device)
{
        (void)ctx;
        return claims ? release_of_device(claims, device) : NULL;
}

static const struct inventory *rescan(void *ctx)
{
        struct offer_input in = { .inventory = w.inv, .rules = &w.rules, .past = w.offer, .releasing = releasing };

        in.marks = &w.mark;
        in.n_marks = w.mark.id[0] != '\0';

        (void)ctx;
        struct offer *offer = offer_decide(&in);
        offer_unref(w.offer);
        w.offer = offer;
        return w.inv;
}

static const struct inventory *see_inventory(void *ctx)
{
        (void)ctx;
        return w.inv;
}

static const struct offer *see_offer(void *ctx)
{
        (void)ctx;
        return w.offer;
}

static const struct rules *see_rules(void *ctx)
{
        (void)ctx;
        return &w.rules;
}

static bool is_current(void *ctx, const struct device *device)
{
        (void)ctx;
        (void)device;
        return true;
}

static void mark(void *ctx, const char *device, enum reason reason, const char *detail)
{
        (void)ctx;
        assert_true(detail[0]);
        w.mark = (struct device_mark){ .reason = reason };
        (void)str_copy(w.mark.id, sizeof(w.mark.id), device);
        (void)str_copy(w.mark.detail, sizeof(w.mark.detail), detail);
}

static void mark_stuck(void *ctx, struct bdf card, const char *detail)
{
        (void)ctx;
        assert_true(detail[0]);
        bdf_format(card, w.stuck);
}

static bool may_be_held(void *ctx, const struct device *device)
{
        (void)ctx;
        (void)device;
        return false;
}

static void withhold(void *ctx, const char *device, bool on)
{
        (void)ctx;
        (void)str_copy(w.withheld, sizeof(w.withheld), on ? device : "");
        w.n_withheld += on;
}

/* Kubelet answers when the test says so. */
static void ask_pods(void *ctx, void (*done)(void *ctx, const char *why_unknown), void *done_ctx)
{
        (void)ctx;
        w.pods_done = done;
        w.pods_ctx = done_ctx;
}

static void host_is(const char *text)
{
        inventory_unref(w.inv);
        w.inv = world_host(text);
        (void)rescan(NULL);
}

static void begin(const char *rule, const char *host)
{
        static const char *const drivers[] = { "nvidia", "snd_hda_intel" };
        const struct claims_world world = { .inventory = see_inventory,
                                            .offer = see_offer,
                                            .rules = see_rules,
                                            .rescan = rescan,
                                            .is_current = is_current,
                                            .mark = mark,
                                            .mark_stuck = mark_stuck,
                                            .may_be_held = may_be_held,
                                            .withhold = withhold,
                                            .ask_pods = ask_pods };

        memset(&w, 0, sizeof(w));
        memset(&hand, 0, sizeof(hand));
        memset(&book, 0, sizeof(book));
        w.rules = world_rules(rule);
        host_is(host);
        for (unsigned i = 0; i < 2; i++) {
                struct original *o = &book.originals[book.n_originals++];
                *o = (struct original){ .bdf = { 0, 1, 0, (uint8_t)i },
                                        .card = { 0, 1, 0, 0 },
                                        .state = ORIGINAL_BOUND,
                                        .vendor = 0x10de,
                                        .device = i ? 0x1aef : 0x2204,
                                        .target = VFIO };
                (void)str_copy(o->driver, sizeof(o->driver), drivers[i]);
        }
        book.device = (struct claim_device){ .id = ID, .card = { 0, 1, 0, 0 }, .group = 7 };
        book.claim = (struct claim){ .key = KEY, .state = CLAIM_SEEN, .devices = &book.device, .n_devices = 1 };
        (void)uv_loop_init(&loop);
        claims = claims_new(&loop, NULL, NULL, &world, 1000);
}

static void on_closed(void *ctx)
{
        *(bool *)ctx = true;
}

static void end(void)
{
        bool closed = false;

        claims_stop(claims, on_closed, &closed);
        if (hand.done)
                end_plan(PLAN_LOST, REASON_HAND_LOST, "Sluice ends");
        if (book.done)
                disk_answers(true);
        if (w.pods_done) {
                w.pods_done(w.pods_ctx, "Sluice ends");
                w.pods_done = NULL;
        }
        assert_true(closed);
        claims = claims_free(claims);
        (void)uv_run(&loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&loop), 0);
        offer_unref(w.offer);
        inventory_unref(w.inv);
        rules_done(&w.rules);
}

#endif
