/* SPDX-License-Identifier: Apache-2.0 */
/* The door against hands that the test moves: which requests are refused before anything is touched, which wait for which,
 * and what each answer says. plan_bind, step_describe, hands_run and hands_run_all are this file's own. */
#include "../unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "claims/claims.h"
#include "claims/recovery.h"
#include "claims/release.h"
#include "claims/request.h"

/* ---- hands that the test moves ---- */

static struct {
        hands_done_fn *done[8];
        hands_each_fn *each[8]; /* of several, instead of done */
        size_t index[8];
        void *ctx[8];
        struct plan plans[8];
        unsigned deadline_ms[8];
        hands_override_fn *override;
        size_t n;
} hands;

enum { DEADLINE_MS = 1234 };

void hands_run(struct hands *h, const struct plan *plan, unsigned deadline_ms, hands_value_fn *value, hands_done_fn *done, void *ctx)
{
        (void)h;
        (void)value;
        assert_int_equal(deadline_ms, DEADLINE_MS);
        assert_true(hands.n < N_ELEMENTS(hands.done));
        hands.plans[hands.n] = *plan;
        hands.done[hands.n] = done;
        hands.ctx[hands.n++] = ctx;
}

void hands_run_all(struct hands *h, const struct plan *plans, size_t n_plans, unsigned deadline_ms, hands_override_fn *override,
                   hands_each_fn *done, void *ctx)
{
        (void)h;
        hands.override = override;
        assert_true(n_plans > 0 && hands.n + n_plans <= N_ELEMENTS(hands.done));
        for (size_t i = 0; i < n_plans; i++, hands.n++) {
                hands.plans[hands.n] = plans[i];
                hands.each[hands.n] = done;
                hands.index[hands.n] = i;
                hands.ctx[hands.n] = ctx;
                hands.deadline_ms[hands.n] = deadline_ms;
        }
}

void step_describe(const struct step *step, char *out, size_t size)
{
        str_format(out, size, "step of " BDF_FMT, BDF_ARGS(step->bdf));
}

/* ---- a ledger whose disk the test moves ---- */

struct waiting {
        recorded_fn *done;
        void *ctx;
};

static struct {
        struct original originals[16];
        size_t n_originals;
        struct claim claims[16]; /* one device each, of its own */
        struct claim_device devices[16];
        size_t n_claims;
        struct waiting waiting[16];
        size_t n_waiting;
        unsigned n_puts;
        bool slow; /* the disk answers when the test says so */
        int error; /* what it answers */
        bool full; /* the ledger refuses */
        bool may_remove;
} book;

/* The disk answers. */
static void disk_answers(void)
{
        struct err err;

        while (book.n_waiting > 0) {
                const struct waiting first = book.waiting[0];
                memmove(book.waiting, book.waiting + 1, --book.n_waiting * sizeof(first));
                (void)err_say(&err, book.error ? book.error : EIO, "the disk says no");
                first.done(first.ctx, book.error ? &err : NULL);
        }
}

static void settle(void)
{
        if (!book.slow)
                disk_answers();
}

static void wait_for_disk(recorded_fn *done, void *ctx)
{
        if (done)
                book.waiting[book.n_waiting++] = (struct waiting){ done, ctx };
}

static struct original *find_original(struct bdf bdf)
{
        for (size_t i = 0; i < book.n_originals; i++)
                if (bdf_equal(book.originals[i].bdf, bdf))
                        return &book.originals[i];
        return NULL;
}

const struct original *ledger_original(const struct ledger *ledger, struct bdf bdf)
{
        (void)ledger;
        return find_original(bdf);
}

int ledger_put_originals(struct ledger *ledger, const struct original *list, size_t n, recorded_fn *done, void *ctx, struct err *err)
{
        (void)ledger;
        assert_true(n > 0);
        if (book.full)
                return err_say(err, ENOSPC, "the ledger is full");
        for (size_t i = 0; i < n; i++) {
                struct original *o = find_original(list[i].bdf);
                *(o ? o : &book.originals[book.n_originals++]) = list[i];
        }
        book.n_puts++;
        wait_for_disk(done, ctx);
        return 0;
}

void ledger_remove_originals(struct ledger *ledger, const struct bdf *list, size_t n, recorded_fn *done, void *ctx)
{
        (void)ledger;
        for (size_t i = 0; i < n; i++) {
                struct original *o = find_original(list[i]);
                if (o)
                        *o = book.originals[--book.n_originals];
        }
        wait_for_disk(done, ctx);
}

int ledger_put_claim(struct ledger *ledger, const struct claim *claim, recorded_fn *done, void *ctx, struct err *err)
{
        size_t i = 0;

        (void)ledger;
        (void)err;
        while (i < book.n_claims && !streq(book.claims[i].key, claim->key))
                i++;
        assert_true(i < N_ELEMENTS(book.claims) && claim->n_devices == 1);
        if (i == book.n_claims)
                book.n_claims++;
        book.claims[i] = *claim;
        book.devices[i] = claim->devices[0];
        book.claims[i].devices = &book.devices[i];
        wait_for_disk(done, ctx);
        return 0;
}

const struct claim *ledger_claim(const struct ledger *ledger, const char *key)
{
        (void)ledger;
        for (size_t i = 0; i < book.n_claims; i++)
                if (streq(book.claims[i].key, key))
                        return &book.claims[i];
        return NULL;
}

const struct claim *ledger_claim_of(const struct ledger *ledger, const char *device)
{
        char key[CLAIM_KEY_MAX];

        claim_key_of_kubelet(device, key);
        return ledger_claim(ledger, key);
}

void ledger_each_claim(const struct ledger *ledger, claim_fn *each, void *ctx)
{
        (void)ledger;
        for (size_t i = 0; i < book.n_claims; i++)
                each(ctx, &book.claims[i]);
}

void ledger_remove_claim(struct ledger *ledger, const char *key, recorded_fn *done, void *ctx)
{
        (void)ledger;
        (void)done;
        (void)ctx;
        if (!book.may_remove)
                fail_msg("%s is removed", key); /* observe_test.c sees when that may be */
        for (size_t i = 0; i < book.n_claims; i++)
                if (streq(book.claims[i].key, key))
                        book.n_claims--, memmove(&book.claims[i], &book.claims[i + 1], (book.n_claims - i) * sizeof(*book.claims));
}

void ledger_each_original(const struct ledger *ledger, original_fn *each, void *ctx)
{
        (void)ledger;
        for (size_t i = 0; i < book.n_originals; i++)
                each(ctx, &book.originals[i]);
}

/* ---- who is asked to look after what a dead hand left ---- */

static struct {
        unsigned n;
        struct bdf function;
} recovered;

void recovery_of(struct claims *of, const struct bdf *functions, size_t n)
{
        (void)of;
        assert_int_equal(n, 1);
        recovered.n++;
        recovered.function = functions[0];
}

void recovery_of_settings(struct claims *of)
{
        (void)of;
}

/* Nothing is released here: release_test.c. */
bool release_claim(struct claims *of, const char *key)
{
        (void)of;
        fail_msg("%s is released", key);
        return true;
}

/* ---- a world of three cards: 0 and 1 alone, 2 with a companion; resource a.com/x; all on their host driver ---- */

static struct {
        struct inventory *inv;
        struct offer offer;
        struct pool pool;
        struct device devices[3];
        size_t index[3];
        struct rules rules;
        bool may_be_held; /* what world.may_be_held answers */
        bool stale;       /* the next look shows the devices bound */
        unsigned looks;
        char marked[DEVICE_ID_MAX];
        enum reason mark_reason;
        unsigned n_marks;
        enum reason plan_reason;
        const char *plan_reason_of; /* the device that it is for; NULL = any */
} w;

enum reason plan_bind(const struct inventory *inv, const struct rules *rules, const struct device *const *devices, size_t n_devices,
                      bool claim, struct plan *ret, struct err *err)
{
        (void)inv;
        (void)rules;
        (void)claim;
        *ret = (struct plan){ 0 };
        for (size_t i = 0; i < n_devices && w.plan_reason; i++) {
                if (w.plan_reason_of && !streq(devices[i]->id, w.plan_reason_of))
                        continue;
                (void)err_say(err, EPERM, "the plan says no");
                return w.plan_reason;
        }
        for (size_t i = 0; i < n_devices; i++)
                if (devices[i]->needs_bind) {
                        ret->steps[ret->n_steps++] = (struct step){ .kind = STEP_OVERRIDE, .bdf = devices[i]->bdf, .text = "vfio-pci" };
                        ret->steps[ret->n_steps++] = (struct step){ .kind = STEP_UNBIND, .bdf = devices[i]->bdf, .text = "nvidia" };
                        ret->steps[ret->n_steps++] = (struct step){ .kind = STEP_PROBE, .bdf = devices[i]->bdf };
                        ret->cards[ret->n_cards++] = devices[i]->card;
                }
        return REASON_NONE;
}

/* Else the archive's comes, and all other plans with it. */
enum reason plan_release_possible(const struct inventory *inv, const struct function *fn, enum release_policy policy, char *detail,
                                  size_t detail_size)
{
        (void)inv;
        (void)fn;
        (void)policy;
        (void)detail;
        (void)detail_size;
        return REASON_NONE;
}

void plan_ask_holders(const struct device *const *devices, size_t n_devices, struct plan *ret)
{
        *ret = (struct plan){ 0 };
        for (size_t i = 0; i < n_devices; i++)
                ret->steps[ret->n_steps++] = (struct step){ .kind = STEP_GUARD_NODES, .bdf = devices[i]->bdf };
}

static void bind_world(bool bound)
{
        inventory_unref(w.inv);
        w.inv = inventory_new();
        w.inv->vfio_node = true;
        for (unsigned i = 0; i < 4; i++) {
                struct bdf bdf = { 0, (uint8_t)(i < 3 ? i + 1 : 3), 0, i == 3 };
                struct function *fn = inventory_add_function(w.inv, bdf);
                fn->vendor = 0x10de;
                fn->device = 0x26b9;
                fn->class_code = i == 3 ? 0x040300 : 0x030200;
                fn->group = i < 3 ? (int)i + 10 : 12;
                fn->group_node = bound;
                fn->vfio_index = bound ? (int)i : -1;
                (void)str_copy(fn->driver, sizeof(fn->driver), bound ? "vfio-pci" : "nvidia");
        }
        inventory_seal(w.inv);
        for (unsigned i = 0; i < 3; i++) {
                struct device *d = &w.devices[i];
                *d = (struct device){ .kind = DEVICE_GPU,
                                      .state = DEVICE_HEALTHY,
                                      .bdf = { 0, (uint8_t)(i + 1), 0, 0 },
                                      .group = (int)i + 10,
                                      .numa_node = -1,
                                      .bind = BIND_ON_ALLOCATE,
                                      .needs_bind = !bound };
                d->card = d->bdf;
                bdf_format(d->bdf, d->id);
                (void)str_copy(d->resource, sizeof(d->resource), "a.com/x");
                (void)str_copy(d->driver, sizeof(d->driver), bound ? "vfio-pci" : "nvidia");
                w.index[i] = i;
        }
        (void)str_copy(w.pool.resource, sizeof(w.pool.resource), "a.com/x");
        w.pool.devices = w.index;
        w.pool.n_devices = 3;
        w.offer = (struct offer){ .refs = 1, .devices = w.devices, .n_devices = 3, .pools = &w.pool, .n_pools = 1 };
}

static const struct inventory *see_inventory(void *ctx)
{
        (void)ctx;
        return w.inv;
}
static const struct offer *see_offer(void *ctx)
{
        (void)ctx;
        return &w.offer;
}
static const struct rules *see_rules(void *ctx)
{
        (void)ctx;
        return &w.rules;
}
static const struct inventory *rescan(void *ctx)
{
        (void)ctx;
        w.looks++;
        if (w.stale)
                bind_world(false);
        return w.inv;
}
static bool is_current(void *ctx, const struct device *device)
{
        (void)ctx;
        (void)device;
        return !w.stale || w.looks > 0;
}
static void mark(void *ctx, const char *device, enum reason reason, const char *detail)
{
        (void)ctx;
        assert_true(detail[0]);
        w.n_marks++;
        (void)str_copy(w.marked, sizeof(w.marked), device);
        w.mark_reason = reason;
}
static void mark_stuck(void *ctx, struct bdf card, const char *detail)
{
        char id[DEVICE_ID_MAX];

        mark(ctx, bdf_format(card, id), REASON_STUCK, detail);
}
static bool may_be_held(void *ctx, const struct device *device)
{
        (void)ctx;
        (void)device;
        return w.may_be_held;
}

/* ---- requests ---- */

struct outcome {
        unsigned n;
        enum reason reason;
        char text[1024], env[256];
        size_t n_nodes;
        bool answered;
};

static void on_done(void *ctx, const struct claim_result *result)
{
        struct outcome *o = ctx;

        o->n++;
        o->reason = result->reason;
        (void)str_copy(o->text, sizeof(o->text), result->text);
        o->answered = result->answer != NULL;
        if (result->answer) {
                str_format(o->env, sizeof(o->env), "%s=%s", result->answer->env_name, result->answer->env_value);
                o->n_nodes = result->answer->n_nodes;
        }
}

static uv_loop_t loop;
static struct claims *claims;

static int setup(void **state)
{
        const struct claims_world world = {
                .inventory = see_inventory,
                .offer = see_offer,
                .rules = see_rules,
                .rescan = rescan,
                .is_current = is_current,
                .mark = mark,
                .mark_stuck = mark_stuck,
                .may_be_held = may_be_held,
        };

        (void)state;
        memset(&w, 0, sizeof(w));
        memset(&hands, 0, sizeof(hands));
        rules_init(&w.rules);
        bind_world(false);
        (void)uv_loop_init(&loop);
        memset(&book, 0, sizeof(book));
        memset(&recovered, 0, sizeof(recovered));
        claims = claims_new(&loop, NULL, NULL, &world, DEADLINE_MS);
        return 0;
}

static void on_closed(void *ctx)
{
        *(bool *)ctx = true;
}

static int teardown(void **state)
{
        bool closed = false;

        (void)state;
        claims_stop(claims, on_closed, &closed);
        assert_true(closed);
        claims_free(claims);
        (void)uv_run(&loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&loop);
        inventory_unref(w.inv);
        rules_done(&w.rules);
        return 0;
}

static void ask(struct outcome *o, enum claim_owner owner, bool verify, const char *a, const char *b)
{
        char *ids[] = { (char *)a, (char *)b };

        claims_prepare(
                claims,
                &(struct claim_request){
                        .owner = owner, .resource = "a.com/x", .devices = ids, .n_devices = a ? b ? 2 : 1 : 0, .verify_only = verify },
                on_done, o);
        settle();
}

static void end_plan(size_t i, enum plan_end end, enum reason reason, const char *text)
{
        struct hands_result result = { .end = end, .reason = reason, .step = end == PLAN_DONE ? hands.plans[i].n_steps : 0 };

        (void)str_copy(result.text, sizeof(result.text), text);
        if (hands.each[i])
                hands.each[i](hands.ctx[i], hands.index[i], &result);
        else
                hands.done[i](hands.ctx[i], &result);
        settle();
}

#define CARD0 "0000:01:00.0"
#define CARD1 "0000:02:00.0"
#define CARD2 "0000:03:00.0"

static void test_bad_requests_are_refused_and_touch_nothing(void **state)
{
        static const struct {
                const char *a, *b;
                enum reason reason;
                const char *says;
        } rows[] = {
                { NULL, NULL, REASON_EMPTY_REQUEST, "names no device" },
                { CARD0, CARD0, REASON_DUPLICATE_DEVICE, CARD0 " of a.com/x twice" },
                { "0000:09:00.0", NULL, REASON_UNKNOWN_DEVICE, "\"0000:09:00.0\" is not in pool a.com/x" },
                { CARD0, "x\n\xff", REASON_UNKNOWN_DEVICE, "\"x??\"" },
                { CARD1, CARD2, REASON_NOT_HEALTHY, CARD2 " of a.com/x is not healthy" },
        };

        (void)state;
        w.devices[2].state = DEVICE_UNHEALTHY;
        w.devices[2].reason = REASON_GONE;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct outcome o = { 0 };
                ask(&o, OWNER_KUBELET, false, rows[i].a, rows[i].b);
                assert_int_equal(o.n, 1);
                assert_int_equal(o.reason, rows[i].reason);
                if (!strstr(o.text, rows[i].says) || !strstr(o.text, reason_word(rows[i].reason)))
                        fail_msg("row %zu says: %s", i, o.text);
                assert_true(str_is_utf8(o.text, strlen(o.text)));
        }
        struct outcome o = { 0 };
        char *ids[] = { (char *)CARD0 };
        claims_prepare(claims, &(struct claim_request){ .resource = "b.com/y", .devices = ids, .n_devices = 1 }, on_done, &o);
        assert_int_equal(o.reason, REASON_UNKNOWN_DEVICE);
        assert_int_equal(hands.n, 0);
}

static void test_a_bound_device_is_answered_at_once_without_a_hand(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        bind_world(true);
        ask(&o, OWNER_KUBELET, false, CARD1, CARD0);
        assert_int_equal(o.reason, REASON_NONE);
        assert_string_equal(o.env, "PCI_RESOURCE_A_COM_X=" CARD0 "," CARD1);
        assert_int_equal(hands.n, 0);
        assert_int_equal(w.looks, 0); /* two links were read, not the whole host */
}

static void test_an_unbound_device_is_answered_after_its_plan(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        assert_int_equal(o.n, 0);
        assert_int_equal(hands.n, 1);
        bind_world(true);
        end_plan(0, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(o.n, 1);
        assert_int_equal(o.reason, REASON_NONE);
        assert_true(w.looks > 0);
}

static void test_a_device_that_lost_its_binding_is_bound_anew(void **state)
{
        struct outcome o = { 0 }, lost = { 0 };

        (void)state;
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        end_plan(0, PLAN_DONE, REASON_NONE, ""); /* the world says that it is on its host driver */
        assert_int_equal(o.n, 0);
        assert_int_equal(hands.n, 2);
        bind_world(true);
        end_plan(1, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(o.n, 1);
        assert_int_equal(o.reason, REASON_NONE);

        bind_world(false);
        ask(&lost, OWNER_KUBELET, false, CARD0, NULL);
        end_plan(2, PLAN_DONE, REASON_NONE, "");
        end_plan(3, PLAN_DONE, REASON_NONE, "");
        end_plan(4, PLAN_DONE, REASON_NONE, ""); /* not for ever */
        assert_int_equal(lost.n, 1);
        assert_int_equal(lost.reason, REASON_NOT_BOUND);
        assert_int_equal(hands.n, 5);
        for (size_t i = 3; i < 5; i++) /* one deadline for all */
                assert_true(hands.deadline_ms[i] <= hands.deadline_ms[i - 1]);
}

/* The hand of a killed daemon has gone on: what the plan was made from is not so any more when its turn comes. */
static void test_what_is_not_as_planned_is_planned_anew(void **state)
{
        struct outcome o = { 0 }, lost = { 0 };

        (void)state;
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        bind_world(true);
        end_plan(0, PLAN_UNDONE, REASON_IDENTITY, "is on vfio-pci now, no longer on nvidia");
        assert_int_equal(o.n, 1);
        assert_int_equal(o.reason, REASON_NONE); /* bound already, as it turns out */
        assert_int_equal(hands.n, 1);

        bind_world(false);
        ask(&lost, OWNER_KUBELET, false, CARD0, NULL);
        end_plan(1, PLAN_REFUSED, REASON_IDENTITY, "is now 10de:26b9");
        assert_int_equal(lost.n, 0);
        end_plan(2, PLAN_REFUSED, REASON_IDENTITY, "is now 10de:26b9");
        assert_int_equal(lost.n, 0);
        end_plan(3, PLAN_REFUSED, REASON_IDENTITY, "is now 10de:26b9"); /* not for ever */
        assert_int_equal(lost.n, 1);
        assert_int_equal(lost.reason, REASON_IDENTITY);
        assert_int_equal(hands.n, 4);
}

static void test_with_little_time_left_nothing_is_bound_anew(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        (void)usleep(DEADLINE_MS * 1000 / 2 + 50 * 1000);
        end_plan(0, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(o.reason, REASON_NOT_BOUND);
        assert_int_equal(hands.n, 1);
}

static void test_requests_for_one_card_wait_for_each_other_and_others_do_not(void **state)
{
        struct outcome a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };

        (void)state;
        ask(&a, OWNER_KUBELET, false, CARD0, NULL);
        ask(&b, OWNER_KUBELET, false, CARD0, CARD1); /* waits for a */
        ask(&c, OWNER_KUBELET, false, CARD1, NULL);  /* waits for b: it came first */
        ask(&d, OWNER_KUBELET, false, CARD2, NULL);  /* waits for nobody */
        assert_int_equal(hands.n, 2);
        end_plan(0, PLAN_UNDONE, REASON_STEP_FAILED, "no luck");
        assert_int_equal(a.reason, REASON_STEP_FAILED);
        assert_non_null(strstr(a.text, "no luck"));
        assert_int_equal(hands.n, 4); /* b runs, a plan for each of its cards */
        bind_world(true);
        end_plan(2, PLAN_DONE, REASON_NONE, "");
        end_plan(3, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(b.n, 1);
        assert_int_equal(c.n, 1); /* bound meanwhile: answered without a plan */
        assert_int_equal(c.reason, REASON_NONE);
        assert_int_equal(hands.n, 4);
        end_plan(1, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(d.n, 1);
}

static void test_a_request_is_checked_again_when_its_turn_comes(void **state)
{
        struct outcome a = { 0 }, b = { 0 };

        (void)state;
        ask(&a, OWNER_KUBELET, false, CARD0, NULL);
        ask(&b, OWNER_KUBELET, false, CARD0, NULL);
        w.devices[0].state = DEVICE_UNHEALTHY;
        w.devices[0].reason = REASON_STUCK;
        end_plan(0, PLAN_STUCK, REASON_DEADLINE, "the kernel did not answer in 10 s");
        assert_int_equal(a.reason, REASON_DEADLINE);
        assert_int_equal(b.reason, REASON_NOT_HEALTHY);
        assert_string_equal(w.marked, CARD0);
        assert_int_equal(w.mark_reason, REASON_STUCK);
        assert_int_equal(hands.n, 1);
}

static void test_how_a_plan_ends_decides_the_mark(void **state)
{
        static const struct {
                enum plan_end end;
                enum reason mark;
        } rows[] = {
                { PLAN_REFUSED, REASON_NONE }, { PLAN_UNDONE, REASON_NONE },           { PLAN_LOST, REASON_NONE },
                { PLAN_STUCK, REASON_STUCK },  { PLAN_BROKEN, REASON_BROKEN_BINDING },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct outcome o = { 0 };
                w.mark_reason = REASON_NONE;
                ask(&o, OWNER_KUBELET, false, CARD0, NULL);
                end_plan(i, rows[i].end, REASON_HELD, "why");
                assert_int_equal(o.reason, REASON_HELD);
                assert_int_equal(w.mark_reason, rows[i].mark);
        }
}

static void test_of_a_unit_that_cannot_be_restored_only_the_broken_group_is_marked(void **state)
{
        struct outcome o = { 0 };
        struct function *fn = &w.inv->functions[1];

        (void)state;
        w.devices[1].card = w.devices[0].card;
        ask(&o, OWNER_KUBELET, false, CARD0, CARD1);
        assert_int_equal(hands.n, 1);
        fn->driver[0] = '\0'; /* the other one is on its driver again */
        end_plan(0, PLAN_BROKEN, REASON_NOT_RESTORED, "no luck");
        assert_string_equal(w.marked, CARD1);
        assert_int_equal(w.n_marks, 1);
}

static void test_without_a_record_of_the_intent_nothing_is_touched(void **state)
{
        struct outcome o = { 0 }, full = { 0 };

        (void)state;
        book.error = ENOSPC;
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        assert_int_equal(o.reason, REASON_NO_RECORD);
        assert_non_null(strstr(o.text, CARD0 " cannot be bound: the disk says no; nothing was touched"));
        book.full = true;
        ask(&full, OWNER_KUBELET, false, CARD0, NULL);
        assert_int_equal(full.reason, REASON_NO_RECORD);
        assert_non_null(strstr(full.text, "the ledger is full"));
        assert_int_equal(hands.n, 0);
        assert_int_equal(book.n_originals, 0);
}

static void test_the_intent_is_on_the_disk_before_a_hand_begins(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        book.slow = true;
        ask(&o, OWNER_KUBELET, false, CARD0, CARD2);
        assert_int_equal(hands.n, 0);
        assert_int_equal(book.n_originals, 2);
        assert_int_equal(book.originals[0].state, ORIGINAL_BINDING);
        assert_string_equal(book.originals[0].driver, "nvidia");
        assert_string_equal(book.originals[0].target, "vfio-pci");
        disk_answers();
        assert_int_equal(hands.n, 2);
        bind_world(true);
        end_plan(0, PLAN_DONE, REASON_NONE, "");
        end_plan(1, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(book.originals[0].state, ORIGINAL_BOUND);
        assert_int_equal(book.originals[1].state, ORIGINAL_BOUND);
        assert_int_equal(o.n, 0); /* that it is done is not on the disk yet */
        disk_answers();
        assert_int_equal(o.n, 1);
        assert_int_equal(o.reason, REASON_NONE);
}

/* It was not known yet what driver_override had been. */
static void test_what_the_hand_read_of_the_override_is_remembered(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        assert_false(book.originals[0].override_known);
        assert_int_equal(hands.plans[0].steps[0].kind, STEP_OVERRIDE);
        hands.override(hands.ctx[0], 0, 0, "vfio-pci");
        assert_true(book.originals[0].override_known);
        bind_world(true);
        end_plan(0, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(book.originals[0].state, ORIGINAL_BOUND);
        assert_string_equal(book.originals[0].driver_override, "vfio-pci");
        assert_true(book.originals[0].override_known);
}

static void test_what_is_done_is_granted_although_the_disk_refuses_to_know(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        bind_world(true);
        book.error = EIO;
        end_plan(0, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(o.reason, REASON_NONE);
        assert_true(o.answered);
        assert_int_equal(book.originals[0].state, ORIGINAL_BOUND);
}

/* How each plan of a request ends decides what is remembered of its functions. */
static void test_what_is_undone_is_forgotten_and_what_is_left_behind_is_not(void **state)
{
        static const struct {
                enum plan_end end;
                size_t n_left;
        } rows[] = { { PLAN_REFUSED, 0 }, { PLAN_UNDONE, 0 }, { PLAN_BROKEN, 1 }, { PLAN_LOST, 1 }, { PLAN_STUCK, 1 } };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct outcome o = { 0 };
                book.n_originals = 0;
                hands.n = 0;
                ask(&o, OWNER_KUBELET, false, CARD0, CARD1);
                end_plan(0, rows[i].end, REASON_STEP_FAILED, "why");
                end_plan(1, PLAN_UNDONE, REASON_STEP_FAILED, "called off");
                assert_int_equal(book.n_originals, rows[i].n_left);
                assert_int_equal(recovered.n, rows[i].end == PLAN_LOST);
                recovered.n = 0;
                assert_true(rows[i].n_left == 0 || book.originals[0].state == ORIGINAL_BINDING);
                assert_true(rows[i].n_left == 0 || bdf_equal(book.originals[0].bdf, w.devices[0].bdf));
                assert_true(rows[i].end != PLAN_LOST || bdf_equal(recovered.function, w.devices[0].bdf));
        }
}

/* A device of ours that lost its driver is bound again, in vain: what it was at first is not forgotten over it. */
static void test_an_undone_rebind_leaves_what_was_remembered_before(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        book.originals[0] = (struct original){ .bdf = w.devices[0].bdf,
                                               .state = ORIGINAL_BOUND,
                                               .vendor = 0x10de,
                                               .device = 0x26b9,
                                               .driver = "nouveau",
                                               .target = "vfio-pci" };
        book.n_originals = 1;
        w.inv->functions[0].driver[0] = '\0';
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        assert_int_equal(book.originals[0].state, ORIGINAL_BINDING);
        assert_string_equal(book.originals[0].driver, "nouveau");
        end_plan(0, PLAN_UNDONE, REASON_STEP_FAILED, "why");
        assert_int_equal(book.n_originals, 1);
        assert_int_equal(book.originals[0].state, ORIGINAL_BOUND);
        assert_string_equal(book.originals[0].driver, "nouveau");
}

static void run_until(const unsigned *n)
{
        int64_t until = clock_ms() + 10000;

        while (*n == 0 && clock_ms() < until)
                (void)uv_run(&loop, UV_RUN_ONCE);
        assert_int_equal(*n, 1);
}

static void test_a_disk_that_hangs_is_not_waited_for_beyond_the_deadline(void **state)
{
        struct outcome o = { 0 }, next = { 0 };

        (void)state;
        book.slow = true;
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        run_until(&o.n);
        assert_int_equal(o.reason, REASON_NO_RECORD);
        assert_non_null(strstr(o.text, "does not answer"));
        ask(&next, OWNER_KUBELET, false, CARD0, NULL);
        assert_int_equal(book.n_puts, 1); /* the card is the first one's until the disk has answered */
        disk_answers();
        assert_int_equal(hands.n, 1); /* of the second */
        assert_int_equal(o.n, 1);
        bind_world(true);
        end_plan(0, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(next.n, 0);
        run_until(&next.n); /* it hangs again: bound is bound */
        assert_int_equal(next.reason, REASON_NONE);
        assert_true(next.answered);
        disk_answers();
        assert_int_equal(next.n, 1);
}

static void test_a_job_that_is_being_recorded_when_the_end_comes_touches_nothing(void **state)
{
        struct outcome o = { 0 };
        bool closed = false;

        (void)state;
        book.slow = true;
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        claims_stop(claims, on_closed, &closed);
        assert_int_equal(o.reason, REASON_TOO_LATE);
        assert_false(closed);
        disk_answers();
        assert_true(closed);
        assert_int_equal(hands.n, 0);
        assert_int_equal(book.n_originals, 0);
        assert_int_equal(o.n, 1);
}

static void test_kubelet_s_claims_are_recorded_one_for_each_device(void **state)
{
        struct outcome o = { 0 }, verified = { 0 }, reconciled = { 0 };

        (void)state;
        bind_world(true);
        ask(&reconciled, OWNER_RECONCILE, false, CARD2, NULL);
        ask(&verified, OWNER_KUBELET, true, CARD2, NULL);
        assert_int_equal(book.n_claims, 0);
        book.slow = true; /* the answer waits for no disk */
        ask(&o, OWNER_KUBELET, false, CARD1, CARD0);
        assert_int_equal(o.n, 1);
        assert_int_equal(book.n_waiting, 0);
        assert_int_equal(book.n_claims, 2);
        const struct claim *claim = claims_of_device(claims, CARD1);
        assert_non_null(claim);
        assert_string_equal(claim->key, "kubelet:" CARD1);
        assert_int_equal(claim->state, CLAIM_ANSWERED);
        assert_string_equal(claim->resource, "a.com/x");
        assert_int_equal(claim->devices[0].group, 11);
        assert_true(claim->since_ms > INT64_C(1600000000000));
}

/* Else the next daemon would find what was done for nobody. */
static void test_whose_it_is_is_on_the_disk_before_the_answer_to_who_had_it_bound(void **state)
{
        struct outcome o = { 0 }, verified = { 0 }, reconciled = { 0 };

        (void)state;
        ask(&reconciled, OWNER_RECONCILE, false, CARD2, NULL);
        ask(&verified, OWNER_KUBELET, true, CARD1, NULL);
        book.slow = true;
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        disk_answers();
        bind_world(true);
        end_plan(0, PLAN_DONE, REASON_NONE, "");
        end_plan(1, PLAN_DONE, REASON_NONE, "");
        disk_answers();
        assert_int_equal(book.n_claims, 0);
        assert_true(reconciled.n == 1 && verified.n == 1);
        end_plan(2, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(book.n_claims, 1);
        assert_int_equal(book.originals[2].state, ORIGINAL_BOUND); /* and that comes before it */
        assert_int_equal(book.n_waiting, 2);
        assert_int_equal(o.n, 0);
        disk_answers();
        assert_true(o.n == 1 && o.answered);
        assert_int_equal(book.n_waiting, 0);
        assert_int_equal(ledger_claim_of(NULL, CARD0)->state, CLAIM_ANSWERED);
}

static void test_a_refusal_after_all_drops_the_claims_that_were_begun_and_no_former_one(void **state)
{
        struct outcome o = { 0 }, again = { 0 };

        (void)state;
        book.slow = book.may_remove = true;
        for (int i = 0; i < 2; i++) {
                struct outcome *out = i ? &again : &o;
                bind_world(i > 0);
                if (i) { /* CARD0 is given, and lost its driver */
                        ask(&(struct outcome){ 0 }, OWNER_KUBELET, false, CARD0, NULL);
                        bind_world(false);
                }
                ask(out, OWNER_KUBELET, false, CARD0, CARD1);
                disk_answers();
                bind_world(true);
                for (size_t k = 0; k < 2; k++)
                        end_plan(hands.n - 2 + k, PLAN_DONE, REASON_NONE, "");
                assert_int_equal(book.n_claims, 2);
                w.devices[1].state = DEVICE_UNHEALTHY;
                w.devices[1].reason = REASON_CORDONED;
                disk_answers();
                assert_true(out->n == 1 && out->reason == REASON_NOT_HEALTHY);
                assert_int_equal(book.n_claims, i);
        }
        assert_string_equal(book.claims[0].key, "kubelet:" CARD0);
}

/* The release of the claim before has ended, and its power has not been given back yet. */
static void test_a_device_that_is_awake_for_a_former_claim_is_answered_when_the_new_one_is_on_the_disk(void **state)
{
        struct outcome o = { 0 }, other = { 0 };

        (void)state;
        bind_world(true);
        book.originals[0] = (struct original){
                .bdf = w.devices[0].bdf, .state = ORIGINAL_BOUND, .target = "vfio-pci", .driver = "nvidia", .power_control = "auto"
        };
        book.n_originals = 1;
        book.slow = true;
        ask(&other, OWNER_KUBELET, false, CARD1, NULL);
        assert_true(other.n == 1 && book.n_waiting == 0);
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        assert_int_equal(book.n_claims, 2);
        assert_true(o.n == 0 && book.n_waiting == 1);
        disk_answers();
        assert_true(o.n == 1 && o.answered);
        ask(&o, OWNER_KUBELET, false, CARD0, NULL); /* it has a claim by now */
        assert_true(o.n == 2 && book.n_waiting == 0);
}

/* Kubelet repeats the answer of before a reboot, and asks only for verification. */
static void test_an_answer_that_is_no_longer_true_is_not_verified(void **state)
{
        struct outcome given = { 0 }, same = { 0 }, moved = { 0 }, replaced = { 0 }, anew = { 0 };

        (void)state;
        bind_world(true);
        ask(&given, OWNER_KUBELET, false, CARD0, NULL);
        ask(&same, OWNER_KUBELET, true, CARD0, NULL);
        assert_int_equal(same.reason, REASON_NONE);
        w.devices[0].group = 77;
        ask(&moved, OWNER_KUBELET, true, CARD0, NULL);
        assert_int_equal(moved.reason, REASON_OUTDATED);
        assert_non_null(strstr(moved.text, "IOMMU group 10"));
        assert_non_null(strstr(moved.text, "group 77"));
        assert_non_null(strstr(moved.text, "delete the pod"));
        w.devices[0].group = 10;
        w.devices[0].device_id = 0x2330;
        ask(&replaced, OWNER_KUBELET, true, CARD0, NULL);
        assert_int_equal(replaced.reason, REASON_OUTDATED);
        assert_non_null(strstr(replaced.text, "2330"));
        ask(&anew, OWNER_KUBELET, false, CARD0, NULL); /* the successor */
        assert_int_equal(anew.reason, REASON_NONE);
        ask(&anew, OWNER_KUBELET, true, CARD0, NULL);
        assert_int_equal(anew.reason, REASON_NONE);
}

static void test_a_refused_plan_starts_no_hand(void **state)
{
        struct outcome o = { 0 }, two = { 0 };

        (void)state;
        w.plan_reason = REASON_HOLDERS_UNKNOWN;
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        assert_int_equal(o.reason, REASON_HOLDERS_UNKNOWN);
        assert_int_equal(hands.n, 0);
        w.plan_reason_of = CARD1; /* nor does another one of the same request */
        ask(&two, OWNER_KUBELET, false, CARD0, CARD1);
        assert_int_equal(two.reason, REASON_HOLDERS_UNKNOWN);
        assert_int_equal(hands.n, 0);
}

/* ---- several plans ---- */

static void test_each_card_has_a_plan_and_the_last_one_answers(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        w.devices[2].needs_bind = false;
        char *ids[] = { (char *)CARD0, (char *)CARD1, (char *)CARD2 };
        claims_prepare(claims, &(struct claim_request){ .resource = "a.com/x", .devices = ids, .n_devices = 3 }, on_done, &o);
        settle();
        assert_int_equal(hands.n, 2); /* none for what is bound */
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(hands.plans[i].n_cards, 1);
                assert_true(bdf_equal(hands.plans[i].cards[0], w.devices[i].card));
                assert_in_range(hands.deadline_ms[i], DEADLINE_MS - 100, DEADLINE_MS);
        }
        bind_world(true);
        end_plan(1, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(o.n, 0);
        end_plan(0, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(o.n, 1);
        assert_int_equal(o.reason, REASON_NONE);
        assert_string_equal(o.env, "PCI_RESOURCE_A_COM_X=" CARD0 "," CARD1 "," CARD2);
}

static void test_the_first_failure_answers_and_the_cards_are_free_when_the_last_is_undone(void **state)
{
        struct outcome o = { 0 }, next = { 0 };
        const struct bdf *card1 = &w.devices[1].card;

        (void)state;
        ask(&o, OWNER_KUBELET, false, CARD0, CARD1);
        end_plan(0, PLAN_STUCK, REASON_DEADLINE, "the kernel did not return, unbind " CARD0);
        assert_int_equal(o.n, 1);
        assert_int_equal(o.reason, REASON_DEADLINE);
        assert_non_null(strstr(o.text, "unbind " CARD0 "; the request's other devices are put back as they were [deadline]"));
        assert_true(claims_at_work(claims, *card1));
        assert_false(claims_at_work(claims, w.devices[0].card));
        ask(&next, OWNER_KUBELET, false, CARD1, NULL);
        assert_int_equal(hands.n, 2); /* it waits */
        end_plan(1, PLAN_UNDONE, REASON_STEP_FAILED, "called off");
        assert_int_equal(o.n, 1); /* once */
        assert_int_equal(w.n_marks, 1);
        assert_string_equal(w.marked, CARD0);
        assert_int_equal(hands.n, 3);
        bind_world(true);
        end_plan(2, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(next.reason, REASON_NONE);
}

/* Each plan's end marks its own devices, also when it is not the one that failed the request. */
static void test_an_undo_that_fails_later_marks_its_own_device(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        ask(&o, OWNER_KUBELET, false, CARD0, CARD1);
        end_plan(0, PLAN_REFUSED, REASON_HELD, "in use");
        assert_int_equal(w.n_marks, 0);
        end_plan(1, PLAN_BROKEN, REASON_BROKEN_BINDING, "not undone");
        assert_int_equal(o.reason, REASON_HELD);
        assert_int_equal(w.n_marks, 1);
        assert_string_equal(w.marked, CARD1);
        assert_int_equal(w.mark_reason, REASON_BROKEN_BINDING);
}

static void test_the_end_waits_for_what_is_being_undone(void **state)
{
        struct outcome o = { 0 };
        bool closed = false;

        (void)state;
        ask(&o, OWNER_KUBELET, false, CARD0, CARD1);
        end_plan(1, PLAN_LOST, REASON_HAND_LOST, "gone");
        claims_stop(claims, on_closed, &closed);
        assert_false(closed);
        end_plan(0, PLAN_UNDONE, REASON_STEP_FAILED, "called off");
        assert_true(closed);
        assert_int_equal(o.n, 1);
}

/* ---- units ---- */

static void test_devices_that_share_a_card_or_a_group_are_one_unit(void **state)
{
        /* bus.function and group; 03:00.1 is a bridge */
        static const struct {
                uint8_t bus, function;
                int group;
        } functions[] = { { 1, 0, 1 }, { 2, 0, 2 }, { 2, 1, 1 }, { 3, 0, 3 }, { 4, 0, 4 }, { 5, 0, 4 }, { 6, 0, 6 }, { 3, 1, 6 } };
        static const struct {
                size_t of[5];
                size_t n, want[5];
        } rows[] = {
                { { 0, 1 }, 2, { 0, 0 } },                   /* over the group of 02:00.1 */
                { { 0, 3 }, 2, { 0, 1 } },                   /* nothing in common */
                { { 3, 4, 5 }, 3, { 0, 1, 1 } },             /* one group */
                { { 3, 6 }, 2, { 0, 1 } },                   /* a bridge joins nothing */
                { { 4, 3, 1, 5, 0 }, 5, { 0, 1, 2, 0, 2 } }, /* in any order */
                { { 2, 1 }, 2, { 0, 0 } },                   /* two functions of a card, each in a group of its own */
        };
        struct inventory *inv = inventory_new();
        struct device devices[N_ELEMENTS(functions)];

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(functions); i++) {
                struct bdf bdf = { 0, functions[i].bus, 0, functions[i].function };
                devices[i] = (struct device){ .bdf = bdf, .card = { 0, bdf.bus, 0, 0 }, .group = functions[i].group };
                struct function *fn = inventory_add_function(inv, bdf);
                fn->class_code = i == 7 ? 0x060400 : 0x030200;
                fn->group = functions[i].group;
        }
        inventory_seal(inv);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                const struct device *asked[5];
                size_t unit[5];
                for (size_t k = 0; k < rows[i].n; k++)
                        asked[k] = &devices[rows[i].of[k]];
                request_units(inv, asked, rows[i].n, unit);
                for (size_t k = 0; k < rows[i].n; k++)
                        if (unit[k] != rows[i].want[k])
                                fail_msg("row %zu: device %zu is in unit %zu instead of %zu", i, k, unit[k], rows[i].want[k]);
        }
        inventory_unref(inv);
}

static void test_a_device_that_may_be_open_is_asked_about_by_a_hand(void **state)
{
        struct outcome o = { 0 }, other = { 0 }, blind = { 0 };

        (void)state;
        bind_world(true);
        w.may_be_held = true;
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        assert_int_equal(o.n, 0);
        assert_int_equal(hands.n, 1);
        assert_int_equal(hands.plans[0].n_steps, 1);
        assert_int_equal(hands.plans[0].steps[0].kind, STEP_GUARD_NODES);
        assert_int_equal(hands.plans[0].n_cards, 0); /* looking needs no lock */
        ask(&other, OWNER_KUBELET, false, CARD1, NULL);
        assert_int_equal(hands.n, 2); /* not delayed by it */
        end_plan(0, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(o.n, 1);
        assert_int_equal(o.reason, REASON_NONE);
        end_plan(1, PLAN_REFUSED, REASON_GONE, CARD1 " is gone");
        assert_int_equal(other.reason, REASON_GONE);
        /* Where not every process can be seen kubelet's word counts: nothing is touched. */
        ask(&blind, OWNER_KUBELET, false, CARD0, NULL);
        end_plan(2, PLAN_REFUSED, REASON_HOLDERS_UNKNOWN, "not all can be seen");
        assert_int_equal(blind.reason, REASON_NONE);
}

static void test_a_device_that_is_open_is_waited_for_and_then_refused_by_name(void **state)
{
        struct outcome o = { 0 };
        unsigned asked = 0;

        (void)state;
        bind_world(true);
        w.may_be_held = true;
        int64_t start = clock_ms();
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        while (o.n == 0) {
                if (hands.n > 0) {
                        assert_int_equal(hands.n, 1);
                        hands.n = 0;
                        asked++;
                        end_plan(0, PLAN_REFUSED, REASON_HELD, CARD0 " is in use: qemu (pid 7, /dev/vfio/10)");
                        continue;
                }
                (void)uv_run(&loop, UV_RUN_ONCE);
        }
        assert_int_equal(o.reason, REASON_HELD);
        assert_non_null(strstr(o.text, "qemu (pid 7, /dev/vfio/10)"));
        assert_true(asked > 1);
        assert_true(clock_ms() - start >= 2000); /* a former VM's time to go */
}

static void test_a_device_that_is_let_go_in_time_is_given(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        bind_world(true);
        w.may_be_held = true;
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        end_plan(0, PLAN_REFUSED, REASON_HELD, "still open");
        assert_int_equal(o.n, 0);
        w.may_be_held = false;
        while (o.n == 0)
                (void)uv_run(&loop, UV_RUN_ONCE);
        assert_int_equal(o.reason, REASON_NONE);
        assert_int_equal(hands.n, 1);
}

static void test_the_same_id_again_is_answered_again_the_same(void **state)
{
        struct outcome a = { 0 }, b = { 0 };

        (void)state;
        bind_world(true);
        ask(&a, OWNER_KUBELET, false, CARD0, NULL);
        ask(&b, OWNER_KUBELET, false, CARD0, NULL); /* init container, retry, or a new pod */
        assert_int_equal(a.reason, REASON_NONE);
        assert_int_equal(b.reason, REASON_NONE);
        assert_string_equal(a.env, b.env);
        assert_int_equal(hands.n, 0);
}

static void test_verification_asks_no_holder_and_binds_again(void **state)
{
        struct outcome o = { 0 }, again = { 0 };

        (void)state;
        bind_world(true);
        w.may_be_held = true;
        ask(&o, OWNER_KUBELET, true, CARD0, NULL);
        assert_int_equal(o.n, 1);
        assert_int_equal(o.reason, REASON_NONE);
        assert_false(o.answered);
        assert_int_equal(hands.n, 0);
        bind_world(false);
        ask(&again, OWNER_KUBELET, true, CARD0, NULL);
        assert_int_equal(hands.n, 1);
        bind_world(true);
        end_plan(0, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(again.reason, REASON_NONE);
}

static void test_a_device_that_is_no_longer_as_it_was_seen_is_looked_at_again(void **state)
{
        struct outcome o = { 0 };

        (void)state;
        bind_world(true);
        w.stale = true; /* somebody gave it back to its host driver a moment ago */
        ask(&o, OWNER_KUBELET, false, CARD0, NULL);
        assert_int_equal(w.looks, 1);
        assert_int_equal(o.n, 0);
        assert_int_equal(hands.n, 1); /* not answered as bound: a plan binds it again */
        w.stale = false;
        bind_world(true);
        end_plan(0, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(o.reason, REASON_NONE);
}

static void test_binding_at_start_asks_no_holder(void **state)
{
        struct outcome o = { 0 }, bound = { 0 };

        (void)state;
        ask(&o, OWNER_RECONCILE, false, CARD0, NULL);
        bind_world(true);
        end_plan(0, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(o.reason, REASON_NONE);
        w.may_be_held = true;
        ask(&bound, OWNER_RECONCILE, false, CARD0, NULL);
        assert_int_equal(bound.reason, REASON_NONE);
        assert_int_equal(hands.n, 1);
}

static void test_a_group_brings_the_cards_of_all_its_members(void **state)
{
        const struct device *devices[] = { &w.devices[2] };
        struct bdf cards[4];

        (void)state;
        assert_int_equal(request_cards(w.inv, devices, 1, cards, 4), 1); /* the companion is of the same card */
        const struct device *two[] = { &w.devices[1], &w.devices[0] };
        assert_int_equal(request_cards(w.inv, two, 2, cards, 4), 2);
        assert_true(bdf_compare(cards[0], cards[1]) < 0);
}

static void test_the_end_refuses_who_waits_and_lets_plans_end(void **state)
{
        struct outcome a = { 0 }, b = { 0 }, c = { 0 };
        bool closed = false;

        (void)state;
        ask(&a, OWNER_KUBELET, false, CARD0, NULL);
        ask(&b, OWNER_KUBELET, false, CARD0, NULL);
        claims_stop(claims, on_closed, &closed);
        assert_int_equal(b.reason, REASON_TOO_LATE);
        assert_false(closed);
        ask(&c, OWNER_KUBELET, false, CARD1, NULL);
        assert_int_equal(c.reason, REASON_TOO_LATE);
        end_plan(0, PLAN_LOST, REASON_HAND_LOST, "gone");
        assert_int_equal(a.n, 1);
        assert_true(closed);
}

/* Meanwhile the device was bound away: that is nothing to begin with at the end. */
static void test_the_end_refuses_who_was_asking_for_holders(void **state)
{
        struct outcome a = { 0 };
        bool closed = false;

        (void)state;
        bind_world(true);
        w.may_be_held = true;
        ask(&a, OWNER_KUBELET, false, CARD0, NULL);
        assert_int_equal(hands.n, 1);
        claims_stop(claims, on_closed, &closed);
        bind_world(false);
        end_plan(0, PLAN_DONE, REASON_NONE, "");
        assert_int_equal(a.reason, REASON_TOO_LATE);
        assert_int_equal(hands.n, 1);
        assert_true(closed);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        static const struct CMUnitTest tests[] = {
                CASE(test_bad_requests_are_refused_and_touch_nothing),
                CASE(test_a_bound_device_is_answered_at_once_without_a_hand),
                CASE(test_an_unbound_device_is_answered_after_its_plan),
                CASE(test_a_device_that_lost_its_binding_is_bound_anew),
                CASE(test_what_is_not_as_planned_is_planned_anew),
                CASE(test_with_little_time_left_nothing_is_bound_anew),
                CASE(test_requests_for_one_card_wait_for_each_other_and_others_do_not),
                CASE(test_a_request_is_checked_again_when_its_turn_comes),
                CASE(test_how_a_plan_ends_decides_the_mark),
                CASE(test_of_a_unit_that_cannot_be_restored_only_the_broken_group_is_marked),
                CASE(test_without_a_record_of_the_intent_nothing_is_touched),
                CASE(test_the_intent_is_on_the_disk_before_a_hand_begins),
                CASE(test_what_the_hand_read_of_the_override_is_remembered),
                CASE(test_what_is_done_is_granted_although_the_disk_refuses_to_know),
                CASE(test_what_is_undone_is_forgotten_and_what_is_left_behind_is_not),
                CASE(test_an_undone_rebind_leaves_what_was_remembered_before),
                CASE(test_a_disk_that_hangs_is_not_waited_for_beyond_the_deadline),
                CASE(test_a_job_that_is_being_recorded_when_the_end_comes_touches_nothing),
                CASE(test_kubelet_s_claims_are_recorded_one_for_each_device),
                CASE(test_whose_it_is_is_on_the_disk_before_the_answer_to_who_had_it_bound),
                CASE(test_a_refusal_after_all_drops_the_claims_that_were_begun_and_no_former_one),
                CASE(test_a_device_that_is_awake_for_a_former_claim_is_answered_when_the_new_one_is_on_the_disk),
                CASE(test_an_answer_that_is_no_longer_true_is_not_verified),
                CASE(test_a_refused_plan_starts_no_hand),
                CASE(test_each_card_has_a_plan_and_the_last_one_answers),
                CASE(test_the_first_failure_answers_and_the_cards_are_free_when_the_last_is_undone),
                CASE(test_an_undo_that_fails_later_marks_its_own_device),
                CASE(test_the_end_waits_for_what_is_being_undone),
                CASE(test_devices_that_share_a_card_or_a_group_are_one_unit),
                CASE(test_a_device_that_is_open_is_waited_for_and_then_refused_by_name),
                CASE(test_a_device_that_may_be_open_is_asked_about_by_a_hand),
                CASE(test_a_device_that_is_let_go_in_time_is_given),
                CASE(test_the_same_id_again_is_answered_again_the_same),
                CASE(test_verification_asks_no_holder_and_binds_again),
                CASE(test_a_device_that_is_no_longer_as_it_was_seen_is_looked_at_again),
                CASE(test_binding_at_start_asks_no_holder),
                CASE(test_a_group_brings_the_cards_of_all_its_members),
                CASE(test_the_end_refuses_who_waits_and_lets_plans_end),
                CASE(test_the_end_refuses_who_was_asking_for_holders),
        };

        return RUN(tests);
}
