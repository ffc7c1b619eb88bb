/* SPDX-License-Identifier: Apache-2.0 */
/* Releases against hands and a disk that the test moves. hands_run and the ledger are this file's own; plans and offers are real. */
#include "../unit.h"

#include <errno.h>

#include "../core/world.h"
#include "base/clock.h"
#include "claims/patient.h"
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
        struct original *original = (struct original *)ledger_original(ledger, list[0]);

        assert_int_equal(n, 1);
        *original = book.originals[--book.n_originals];
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
        struct device_mark mark; /* id "" = none */
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
                                            .may_be_held = may_be_held };

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
        assert_true(closed);
        claims = claims_free(claims);
        (void)uv_run(&loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&loop), 0);
        offer_unref(w.offer);
        inventory_unref(w.inv);
        rules_done(&w.rules);
}

static const struct device *device(void)
{
        return offer_device(w.offer, ID);
}

#define ASSERT_RELEASING()                                            \
        do {                                                          \
                assert_int_equal(device()->state, DEVICE_UNHEALTHY);  \
                assert_int_equal(device()->reason, REASON_RELEASING); \
                assert_int_equal(book.claim.state, CLAIM_RELEASING);  \
        } while (0)

#define ASSERT_ENDED()                                             \
        do {                                                       \
                assert_string_equal(book.claim.key, "");           \
                assert_int_equal(device()->state, DEVICE_HEALTHY); \
                assert_null(release_of_device(claims, ID));        \
        } while (0)

/* Runs the loop until @done says so; a generous while. */
static void run_until(bool (*done)(void))
{
        int64_t until = clock_ms() + 20000;

        while (!done() && clock_ms() < until)
                (void)uv_run(&loop, UV_RUN_ONCE);
        assert_true(done());
}

static void on_time(uv_timer_t *timer)
{
        uv_close((uv_handle_t *)timer, NULL);
}

static void run_for(unsigned ms)
{
        uv_timer_t timer;

        (void)uv_timer_init(&loop, &timer);
        (void)uv_timer_start(&timer, on_time, ms, 0);
        while (uv_is_active((uv_handle_t *)&timer))
                (void)uv_run(&loop, UV_RUN_ONCE);
}

static bool hand_is_at_work(void)
{
        return hand.done != NULL;
}

static bool disk_is_asked(void)
{
        return book.done != NULL;
}

/* ---- tests ---- */

static void test_what_is_kept_is_free_at_once(void **state)
{
        (void)state;
        begin("any bind=on-allocate", BOUND);
        assert_true(release_claim(claims, KEY));
        ASSERT_ENDED();
        assert_int_equal(hand.n, 0);
        assert_int_equal(book.n_originals, 2);
        end();
}

static void test_a_reset_waits_for_its_record_and_shuts_the_device_meanwhile(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=reset", BOUND);
        assert_true(release_claim(claims, KEY));
        ASSERT_RELEASING();
        assert_int_equal(hand.n, 0);
        disk_answers(true);
        assert_true(plan_has(STEP_RESET));
        assert_false(plan_has(STEP_UNBIND));
        ASSERT_RELEASING();
        assert_true(claims_at_work(claims, (struct bdf){ 0, 1, 0, 0 }));
        end_plan(PLAN_DONE, REASON_NONE, "");
        ASSERT_ENDED();
        assert_int_equal(book.n_originals, 2); /* it stays bound */
        assert_false(claims_at_work(claims, (struct bdf){ 0, 1, 0, 0 }));
        assert_true(release_claim(claims, KEY)); /* said again: nothing */
        assert_int_equal(hand.n, 1);
        end();
}

static void test_what_is_given_back_is_on_the_disk_before_a_hand_begins(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=reset+restore", BOUND);
        assert_true(release_claim(claims, KEY));
        disk_answers(true);
        assert_int_equal(hand.n, 0);
        assert_int_equal(book.originals[0].state, ORIGINAL_RESTORING);
        assert_int_equal(book.originals[1].state, ORIGINAL_RESTORING);
        disk_answers(true);
        assert_true(plan_has(STEP_RESET));
        assert_true(plan_has(STEP_UNBIND));
        ASSERT_RELEASING();
        host_is(GIVEN_BACK);
        end_plan(PLAN_DONE, REASON_NONE, "");
        ASSERT_ENDED();
        assert_int_equal(book.n_originals, 0);
        end();
}

#define ONE(methods) ID " 10de:2204 0300 vfio-pci g=7 reset=" methods " model=X\n"

/* Its reset is by a method that is not the first: what reset_method said is on the disk before a hand narrows it. */
static void test_what_a_reset_narrows_is_on_the_disk_before_a_hand_begins(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=reset", ONE("pm+flr"));
        book.n_originals = 1;
        assert_true(release_claim(claims, KEY));
        disk_answers(true);
        assert_int_equal(hand.n, 0);
        assert_int_equal(book.originals[0].state, ORIGINAL_BOUND);
        assert_string_equal(book.originals[0].reset_methods, "pm flr");
        disk_answers(true);
        assert_int_equal(hand.n, 1);
        host_is(ONE("flr")); /* it dies there */
        end_plan(PLAN_LOST, REASON_HAND_LOST, "it was killed");
        assert_string_equal(book.originals[0].reset_methods, "pm flr");
        run_until(disk_is_asked);
        disk_answers(true);
        end_plan(PLAN_REFUSED, REASON_STEP_FAILED, "nothing was touched this time");
        assert_string_equal(book.originals[0].reset_methods, "pm flr"); /* not given back yet */
        run_until(disk_is_asked);
        disk_answers(true);
        host_is(ONE("pm+flr"));
        end_plan(PLAN_DONE, REASON_NONE, "");
        ASSERT_ENDED();
        assert_int_equal(book.n_originals, 1);
        assert_string_equal(book.originals[0].reset_methods, "");
        end();
}

static void test_what_an_administrator_bound_is_remembered_while_it_is_narrowed(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=reset", ONE("pm+flr"));
        book.n_originals = 0;
        assert_true(release_claim(claims, KEY));
        disk_answers(true);
        assert_int_equal(book.n_originals, 1);
        assert_string_equal(book.originals[0].reset_methods, "pm flr");
        assert_false(original_is_bound_by_us(&book.originals[0]));
        disk_answers(false);
        assert_int_equal(book.n_originals, 0);
        run_until(disk_is_asked);
        disk_answers(true);
        assert_int_equal(hand.n, 1);
        end_plan(PLAN_DONE, REASON_NONE, "");
        ASSERT_ENDED();
        assert_int_equal(book.n_originals, 0);
        end();
}

/* The rule asks for no reset any more. */
static void test_what_a_reset_left_narrowed_is_given_back_without_one(void **state)
{
        (void)state;
        begin("any bind=on-allocate", ONE("flr"));
        book.n_originals = 1;
        (void)str_copy(book.originals[0].reset_methods, sizeof(book.originals[0].reset_methods), "pm flr");
        book.claim.state = CLAIM_RELEASING;
        release_resume(claims);
        ASSERT_ENDED();
        assert_int_equal(hand.plan.steps[0].kind, STEP_READ_LOCKED); /* a recovery's: recovery_test.c */
        end_plan(PLAN_DONE, REASON_NONE, "");
        assert_int_equal(hand.plan.steps[hand.plan.n_steps - 1].kind, STEP_SETTING);
        host_is(ONE("pm+flr"));
        end_plan(PLAN_DONE, REASON_NONE, "");
        assert_string_equal(book.originals[0].reset_methods, "");
        end();
}

static void test_without_a_record_nothing_is_touched(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=restore", BOUND);
        assert_true(release_claim(claims, KEY));
        disk_answers(false);
        assert_int_equal(hand.n, 0);
        assert_string_equal(release_of_device(claims, ID), "the disk says no");
        assert_string_equal(device()->detail, "the disk says no");
        run_until(disk_is_asked); /* tried again, the claim's record is the ledger's to repeat: now the originals' */
        disk_answers(false);
        assert_int_equal(hand.n, 0);
        assert_int_equal(book.originals[0].state, ORIGINAL_BOUND);
        end();
}

struct outcome {
        unsigned n;
        enum reason reason;
        char text[1024];
};

static void on_answer(void *ctx, const struct claim_result *result)
{
        struct outcome *o = ctx;

        o->n++;
        o->reason = result->reason;
        (void)str_copy(o->text, sizeof(o->text), result->text);
}

static void allocate(struct outcome *o)
{
        char id[] = ID, *ids[] = { id };

        claims_prepare(claims,
                       &(struct claim_request){ .owner = OWNER_KUBELET, .resource = device()->resource, .devices = ids, .n_devices = 1 },
                       on_answer, o);
}

static void test_an_allocate_waits_behind_the_release(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        begin("any bind=on-allocate release=reset", BOUND);
        assert_true(release_claim(claims, KEY));
        allocate(&o);
        assert_int_equal(o.n, 0);
        disk_answers(true);
        assert_int_equal(o.n, 0);
        end_plan(PLAN_DONE, REASON_NONE, "");
        assert_int_equal(o.n, 1);
        assert_int_equal(o.reason, REASON_NONE);
        assert_int_equal(book.claim.state, CLAIM_ANSWERED); /* the next one's */
        assert_int_equal(device()->state, DEVICE_HEALTHY);
        end();
}

static void test_a_release_does_not_overtake_a_request(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        begin("any bind=on-allocate release=reset", BOUND);
        assert_true(release_claim(claims, KEY));
        allocate(&o);
        disk_answers(true);
        end_plan(PLAN_REFUSED, REASON_FOREIGN_OWNER, "somebody has set it"); /* it waits aside, the request has its turn */
        assert_int_equal(o.n, 1);
        assert_int_equal(o.reason, REASON_NOT_HEALTHY);
        assert_non_null(strstr(o.text, "somebody has set it"));
        assert_int_equal(book.claim.state, CLAIM_RELEASING);
        end();
}

static void test_a_holder_is_waited_for_and_named(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        begin("any bind=on-allocate release=reset", BOUND);
        assert_true(release_claim(claims, KEY));
        disk_answers(true);
        allocate(&o);
        int64_t since = clock_ms();
        while (o.n == 0) {
                end_plan(PLAN_REFUSED, REASON_HELD, "0000:01:00.0 is in use: pid 7 (qemu) has /dev/vfio/7 open");
                if (o.n == 0)
                        run_until(hand_is_at_work);
        }
        assert_in_range(clock_ms() - since, RELEASE_HELD_MS - 200, RELEASE_HELD_MS + 8000);
        assert_true(hand.n >= 3);
        assert_int_equal(o.reason, REASON_NOT_HEALTHY);
        assert_non_null(strstr(o.text, "pid 7 (qemu)"));
        ASSERT_RELEASING();
        assert_non_null(strstr(device()->detail, "pid 7 (qemu)"));
        run_until(hand_is_at_work); /* and tried again */
        end_plan(PLAN_DONE, REASON_NONE, "");
        ASSERT_ENDED();
        end();
}

static void test_a_release_that_is_undone_is_tried_again(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=restore", BOUND);
        assert_true(release_claim(claims, KEY));
        disk_answers(true);
        disk_answers(true);
        end_plan(PLAN_UNDONE, REASON_STEP_FAILED, "nvidia does not take it");
        ASSERT_RELEASING();
        assert_string_equal(device()->detail, "nvidia does not take it");
        assert_int_equal(book.originals[0].state, ORIGINAL_BOUND);
        run_until(disk_is_asked);
        disk_answers(true);
        assert_int_equal(hand.n, 2);
        host_is(GIVEN_BACK);
        end_plan(PLAN_DONE, REASON_NONE, "");
        ASSERT_ENDED();
        end();
}

/* A mark ends with its daemon: the claim is what the next one knows of it by. */
static void test_a_device_that_does_not_answer_is_asked_again_by_the_next_daemon(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=reset", BOUND);
        assert_true(release_claim(claims, KEY));
        disk_answers(true);
        end_plan(PLAN_REFUSED, REASON_NO_ANSWER, "it does not answer");
        assert_string_equal(w.mark.id, ID);
        assert_int_equal(device()->reason, REASON_NO_ANSWER);
        assert_int_equal(book.claim.state, CLAIM_RELEASING);
        w.mark.id[0] = '\0';
        release_resume(claims);
        assert_int_equal(hand.n, 2);
        assert_true(plan_has(STEP_AWAIT_ANSWER));
        end_plan(PLAN_DONE, REASON_NONE, "");
        ASSERT_ENDED();
        end();
}

static void test_a_device_whose_reset_left_its_bars_elsewhere_is_marked(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=reset", BOUND);
        assert_true(release_claim(claims, KEY));
        disk_answers(true);
        end_plan(PLAN_REFUSED, REASON_BARS_CHANGED, "BAR 1 is at 0x0");
        assert_string_equal(w.mark.id, ID);
        assert_int_equal(w.mark.reason, REASON_BARS_CHANGED);
        assert_int_equal(book.claim.state, CLAIM_RELEASING);
        end();
}

static void test_what_hangs_is_marked_and_left_to_the_next_boot(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=restore", BOUND);
        assert_true(release_claim(claims, KEY));
        disk_answers(true);
        disk_answers(true);
        end_plan(PLAN_STUCK, REASON_DEADLINE, "unbind hangs");
        assert_string_equal(w.stuck, ID);
        assert_int_equal(book.claim.state, CLAIM_RELEASING);
        assert_int_equal(book.originals[0].state, ORIGINAL_RESTORING);
        end();
}

static void test_what_breaks_is_left_alone_until_somebody_has_mended_it(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=restore", BOUND);
        assert_true(release_claim(claims, KEY));
        disk_answers(true);
        disk_answers(true);
        end_plan(PLAN_BROKEN, REASON_BROKEN_BINDING, "neither here nor there");
        assert_int_equal(device()->reason, REASON_BROKEN_BINDING);
        assert_int_equal(book.claim.state, CLAIM_RELEASING);
        run_for(PATIENT_PAUSE_MIN_MS + 200);
        assert_int_equal(hand.n, 1);
        w.mark.id[0] = '\0';
        host_is(GIVEN_BACK);
        run_until(disk_is_asked);
        disk_answers(true);
        assert_int_equal(hand.n, 2);
        end_plan(PLAN_DONE, REASON_NONE, "");
        ASSERT_ENDED();
        assert_int_equal(book.n_originals, 0);
        end();
}

static void test_where_nobody_can_be_seen_only_keep_is_done(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=reset", BOUND "!holders");
        assert_int_equal(device()->state, DEVICE_HEALTHY);
        assert_int_equal(device()->reason, REASON_RELEASE_BLIND);
        assert_true(release_claim(claims, KEY));
        ASSERT_ENDED();
        assert_int_equal(hand.n, 0);
        end();
}

static void test_a_daemon_that_starts_goes_on_with_it(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=restore", BOUND);
        book.claim.state = CLAIM_RELEASING;
        book.originals[0].state = ORIGINAL_RESTORING;
        host_is(ID " 10de:2204 0300 - g=7 model=X\n0000:01:00.1 10de:1aef 0403 vfio-pci g=7\ndriver nvidia\ndriver snd_hda_intel\n");
        assert_int_equal(device()->reason, REASON_RELEASING);
        release_resume(claims);
        disk_answers(true);
        assert_true(plan_has(STEP_PROBE));
        host_is(GIVEN_BACK);
        end_plan(PLAN_DONE, REASON_NONE, "");
        ASSERT_ENDED();
        assert_int_equal(book.n_originals, 0);
        end();
}

static void test_the_end_comes_in_the_middle(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=restore", BOUND); /* while the claim is written */
        assert_true(release_claim(claims, KEY));
        end();
        assert_int_equal(hand.n, 0);

        begin("any bind=on-allocate release=restore", BOUND); /* while the originals are */
        assert_true(release_claim(claims, KEY));
        disk_answers(true);
        end();
        assert_int_equal(hand.n, 0);
        assert_int_equal(book.originals[0].state, ORIGINAL_BOUND);

        begin("any bind=on-allocate release=restore", BOUND); /* while a hand is at work */
        assert_true(release_claim(claims, KEY));
        disk_answers(true);
        disk_answers(true);
        end();
        assert_int_equal(book.claim.state, CLAIM_RELEASING);
        assert_int_equal(book.originals[0].state, ORIGINAL_RESTORING);

        begin("any bind=on-allocate release=reset", BOUND); /* while it waits aside */
        assert_true(release_claim(claims, KEY));
        disk_answers(true);
        end_plan(PLAN_UNDONE, REASON_STEP_FAILED, "no");
        end();
        assert_int_equal(book.claim.state, CLAIM_RELEASING);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_what_is_kept_is_free_at_once),
                TEST(test_a_reset_waits_for_its_record_and_shuts_the_device_meanwhile),
                TEST(test_what_is_given_back_is_on_the_disk_before_a_hand_begins),
                TEST(test_what_a_reset_narrows_is_on_the_disk_before_a_hand_begins),
                TEST(test_what_an_administrator_bound_is_remembered_while_it_is_narrowed),
                TEST(test_what_a_reset_left_narrowed_is_given_back_without_one),
                TEST(test_without_a_record_nothing_is_touched),
                TEST(test_an_allocate_waits_behind_the_release),
                TEST(test_a_release_does_not_overtake_a_request),
                TEST(test_a_holder_is_waited_for_and_named),
                TEST(test_a_release_that_is_undone_is_tried_again),
                TEST(test_a_device_that_does_not_answer_is_asked_again_by_the_next_daemon),
                TEST(test_a_device_whose_reset_left_its_bars_elsewhere_is_marked),
                TEST(test_what_hangs_is_marked_and_left_to_the_next_boot),
                TEST(test_what_breaks_is_left_alone_until_somebody_has_mended_it),
                TEST(test_where_nobody_can_be_seen_only_keep_is_done),
                TEST(test_a_daemon_that_starts_goes_on_with_it),
                TEST(test_the_end_comes_in_the_middle),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
