/* SPDX-License-Identifier: Apache-2.0 */
/* A daemon that starts on the records of one that was killed: what it finishes, what it undoes, what it leaves alone, and when it
 * dares to. hands_run and plan_restore are this file's own; the ledger and the queue are the real ones. */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "claims/claims.h"
#include "claims/observe.h"
#include "claims/recovery.h"
#include "claims/stock.h"

/* ---- hands and plans that the test moves ---- */

static struct {
        struct plan plan;
        hands_value_fn *value;
        hands_done_fn *done;
        void *ctx;
        unsigned n; /* how many were begun */
} hand;

void hands_run(struct hands *hands, const struct plan *plan, unsigned deadline_ms, hands_value_fn *value, hands_done_fn *done, void *ctx)
{
        (void)hands;
        assert_int_equal(deadline_ms, 1000);
        hand.plan = *plan;
        hand.value = value;
        hand.done = done;
        hand.ctx = ctx;
        hand.n++;
}

static struct {
        enum reason reason;
        size_t n_originals;
} restore;

enum reason plan_restore(const struct inventory *inv, const struct original *const *originals, size_t n_originals, struct plan *ret,
                         struct err *err)
{
        (void)inv;
        restore.n_originals = n_originals;
        if (restore.reason) {
                (void)err_say(err, EPERM, "the plan says no");
                return restore.reason;
        }
        *ret = (struct plan){ .n_steps = 1, .steps = { { .kind = STEP_PROBE, .bdf = originals[0]->bdf } } };
        return REASON_NONE;
}

/* Podresources has no part in this. */
struct observer *observer_new(struct claims *claims)
{
        (void)claims;
        return NULL;
}

struct observer *observer_free(struct observer *observer)
{
        return observer;
}

void observer_list(struct observer *observer, const struct pod_list *list)
{
        (void)observer;
        (void)list;
}

/* The hand that was begun last ends. */
static void end_hand(enum plan_end end, const char *text)
{
        struct hands_result result = { .end = end };

        (void)str_copy(result.text, sizeof(result.text), text);
        assert_non_null(hand.done);
        hands_done_fn *done = hand.done;
        hand.done = NULL;
        done(hand.ctx, &result);
}

static void look(bool busy)
{
        assert_true(hand.plan.n_steps > 0 && hand.plan.steps[0].kind == STEP_READ_LOCKED);
        assert_non_null(hand.value);
        hand.value(hand.ctx, 0, busy ? -EBUSY : 0, "");
        end_hand(PLAN_DONE, "");
}

/* ---- a host: a GPU 3b:00.0 with its companion 3b:00.1 in one group, a GPU 5e:00.0 in another ---- */

enum { GPU, MATE, OTHER, N_FUNCTIONS };
static const struct bdf BDFS[N_FUNCTIONS] = { { .bus = 0x3b }, { .bus = 0x3b, .function = 1 }, { .bus = 0x5e } };

static struct {
        char path[32];
        int dir;
        uv_loop_t loop;
        struct recorder *recorder;
        struct ledger *ledger;
        struct claims *claims;
        struct inventory *inv;
        struct offer offer;
        struct device device; /* of the GPU */
        enum reason marked;
        unsigned n_stuck, n_recovered;
        bool changed_in_look; /* GPU, when the host was looked at last */
} f;

static const struct inventory *see_inventory(void *ctx)
{
        (void)ctx;
        return f.inv;
}

static const struct inventory *look_again(void *ctx)
{
        f.changed_in_look = f.claims && claims_change(f.claims, BDFS[GPU]);
        return see_inventory(ctx);
}

static const struct offer *see_offer(void *ctx)
{
        (void)ctx;
        return &f.offer;
}

static void mark(void *ctx, const char *device, enum reason reason, const char *detail)
{
        (void)ctx;
        (void)detail;
        assert_string_equal(device, "0000:3b:00.0");
        f.marked = reason;
}

static void mark_stuck(void *ctx, struct bdf card, const char *detail)
{
        (void)ctx;
        (void)detail;
        assert_true(bdf_equal(card, BDFS[GPU]));
        f.n_stuck++;
}

static void set_driver(int i, const char *driver)
{
        struct function *fn = &f.inv->functions[i];

        (void)str_copy(fn->driver, sizeof(fn->driver), driver);
        fn->group_node = streq(driver, "vfio-pci");
}

static void on_recovered(void *ctx)
{
        (void)ctx;
        f.n_recovered++;
}

static void open_claims(void)
{
        const struct claims_world world = {
                .inventory = see_inventory, .offer = see_offer, .rescan = look_again, .mark = mark, .mark_stuck = mark_stuck
        };
        struct err err;

        ASSERT_OK(ledger_open(f.dir, &f.loop, f.recorder, &f.ledger, &err), &err);
        f.claims = claims_new(&f.loop, NULL, f.ledger, &world, 1000);
}

static void on_closed(void *ctx)
{
        *(bool *)ctx = true;
}

static void close_claims(void)
{
        bool closed = false;

        claims_stop(f.claims, on_closed, &closed);
        if (hand.done) {
                assert_false(closed);
                end_hand(PLAN_LOST, "Sluice is shutting down");
        }
        assert_true(closed);
        claims_free(f.claims);
        ledger_stop(f.ledger);
        assert_int_equal(uv_run(&f.loop, UV_RUN_DEFAULT), 0);
        ledger_free(f.ledger);
}

static int setup(void **state)
{
        (void)state;
        memset(&f, 0, sizeof(f));
        memset(&hand, 0, sizeof(hand));
        memset(&restore, 0, sizeof(restore));
        (void)str_copy(f.path, sizeof(f.path), "/dev/shm/sluice-rec-XXXXXX");
        assert_non_null(mkdtemp(f.path));
        f.dir = open(f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(uv_loop_init(&f.loop), 0);
        f.recorder = recorder_new(&f.loop);
        f.inv = inventory_new();
        for (int i = 0; i < N_FUNCTIONS; i++) {
                struct function *fn = inventory_add_function(f.inv, BDFS[i]);
                fn->vendor = 0x10de;
                fn->device = 0x26b9;
                fn->group = i == OTHER ? 46 : 45;
        }
        (void)str_copy(f.inv->boot_id, sizeof(f.inv->boot_id), "b1");
        inventory_seal(f.inv);
        f.device = (struct device){
                .id = "0000:3b:00.0", .bdf = BDFS[GPU], .card = BDFS[GPU], .group = 45, .vendor = 0x10de, .device_id = 0x26b9
        };
        f.offer = (struct offer){ .refs = 1, .devices = &f.device, .n_devices = 1 };
        open_claims();
        return 0;
}

static int teardown(void **state)
{
        _cleanup_free_ char *command = xasprintf("rm -rf %s", f.path);

        (void)state;
        close_claims();
        recorder_free(f.recorder);
        assert_int_equal(uv_loop_close(&f.loop), 0);
        (void)close(f.dir);
        inventory_unref(f.inv);
        return system(command); /* lint: a test's own directory */
}

static void record(int i, enum original_state state, const char *boot_id)
{
        struct original o = {
                .bdf = BDFS[i], .state = state, .vendor = 0x10de, .device = 0x26b9, .driver = "nvidia", .target = "vfio-pci"
        };
        struct err err;

        o.card = BDFS[i == MATE ? GPU : i];
        (void)str_copy(o.boot_id, sizeof(o.boot_id), boot_id);
        ASSERT_OK(ledger_put_originals(f.ledger, &o, 1, NULL, NULL, &err), &err);
}

/* The GPU and its companion, half-way. */
static void record_half(enum original_state state)
{
        record(GPU, state, "b1");
        record(MATE, state, "b1");
        set_driver(GPU, "vfio-pci");
        set_driver(MATE, "");
}

/* -1 = forgotten. */
static int state_of(int i)
{
        const struct original *o = ledger_original(f.ledger, BDFS[i]);

        return o ? (int)o->state : -1;
}

/* The daemon was killed; the next one reads what is on the disk. */
static void begin(void)
{
        close_claims();
        open_claims();
        recovery_start(f.claims, on_recovered, NULL);
}

static void run_until_hand(unsigned n)
{
        int64_t until = clock_ms() + 10000;

        while (hand.n < n && clock_ms() < until)
                (void)uv_run(&f.loop, UV_RUN_ONCE);
        assert_int_equal(hand.n, n);
}

/* ---- tests ---- */

static void test_what_is_bound_is_adopted_and_what_is_over_is_forgotten(void **state)
{
        (void)state;
        record(GPU, ORIGINAL_BOUND, "b1");
        record(MATE, ORIGINAL_BOUND, "b0");
        record(OTHER, ORIGINAL_BOUND, "b1");
        set_driver(GPU, "vfio-pci");
        set_driver(MATE, "vfio-pci");
        set_driver(OTHER, "nvidia"); /* an administrator's doing */
        begin();
        assert_int_equal(f.n_recovered, 1);
        assert_int_equal(state_of(GPU), ORIGINAL_BOUND);
        assert_int_equal(state_of(MATE), -1);
        assert_int_equal(state_of(OTHER), -1);
        assert_int_equal(hand.n, 0); /* nothing is touched, not even read */
}

/* While the daemon runs: what an administrator binds to VFIO later is his then. */
static void test_what_somebody_took_and_bound_again_is_his(void **state)
{
        (void)state;
        record(GPU, ORIGINAL_BOUND, "b1");
        record(MATE, ORIGINAL_RESTORING, "b1");
        record(OTHER, ORIGINAL_BOUND, "b1");
        set_driver(GPU, "nvidia");
        set_driver(MATE, "snd_hda_intel");
        set_driver(OTHER, "vfio-pci");
        stock_forget_taken(f.claims);
        assert_int_equal(state_of(GPU), -1);
        assert_int_equal(state_of(MATE), ORIGINAL_RESTORING); /* a hand's doing, maybe */
        assert_int_equal(state_of(OTHER), ORIGINAL_BOUND);
        set_driver(OTHER, ""); /* the VFIO module is being reloaded */
        stock_forget_taken(f.claims);
        assert_int_equal(state_of(OTHER), ORIGINAL_BOUND);
        f.inv->functions[OTHER].device = 0x2335;
        stock_forget_taken(f.claims);
        assert_int_equal(state_of(OTHER), -1);
}

static void test_a_bind_that_is_complete_is_kept_whoever_began_it(void **state)
{
        static const enum original_state states[] = { ORIGINAL_BINDING, ORIGINAL_RESTORING };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(states); i++) {
                record_half(states[i]);
                set_driver(MATE, "vfio-pci");
                hand.n = f.n_recovered = 0;
                begin();
                assert_int_equal(hand.n, 1);
                assert_int_equal(f.n_recovered, 0);
                assert_int_equal(hand.plan.n_cards, 0); /* it takes no lock for good */
                look(false);
                assert_int_equal(hand.n, 1); /* no undoing */
                assert_int_equal(f.n_recovered, 1);
                assert_int_equal(state_of(GPU), ORIGINAL_BOUND);
                assert_int_equal(state_of(MATE), ORIGINAL_BOUND);
        }
}

static void test_a_bind_that_is_half_done_is_undone(void **state)
{
        (void)state;
        record_half(ORIGINAL_BINDING);
        record(OTHER, ORIGINAL_BOUND, "b1");
        set_driver(OTHER, "vfio-pci");
        begin();
        assert_false(claims_at_work(f.claims, BDFS[GPU]));
        look(false);
        assert_int_equal(hand.n, 2);
        assert_int_equal(restore.n_originals, 2);
        assert_int_equal(hand.plan.steps[0].kind, STEP_PROBE);
        assert_true(claims_at_work(f.claims, BDFS[GPU]));
        assert_false(claims_at_work(f.claims, BDFS[OTHER]));
        assert_int_equal(state_of(GPU), ORIGINAL_BINDING); /* until it is done */
        assert_int_equal(f.n_recovered, 0);
        end_hand(PLAN_DONE, "");
        assert_int_equal(state_of(GPU), -1);
        assert_int_equal(state_of(MATE), -1);
        assert_int_equal(state_of(OTHER), ORIGINAL_BOUND);
        assert_int_equal(f.n_recovered, 1);
        assert_false(claims_at_work(f.claims, BDFS[GPU]));
        assert_true(f.changed_in_look); /* what was read before does not count */
        assert_false(claims_change(f.claims, BDFS[GPU]));
}

/* Two VFs of one card are two tenants'. */
static void test_what_is_bound_in_another_group_of_the_card_stays(void **state)
{
        struct original other;
        struct err err;

        (void)state;
        record_half(ORIGINAL_BINDING);
        record(OTHER, ORIGINAL_BOUND, "b1");
        set_driver(OTHER, "vfio-pci");
        other = *ledger_original(f.ledger, BDFS[OTHER]);
        other.card = BDFS[GPU];
        ASSERT_OK(ledger_put_originals(f.ledger, &other, 1, NULL, NULL, &err), &err);
        begin();
        look(false);
        assert_int_equal(restore.n_originals, 2);
        end_hand(PLAN_DONE, "");
        assert_int_equal(state_of(GPU), -1);
        assert_int_equal(state_of(OTHER), ORIGINAL_BOUND);
}

static void test_a_hand_that_outlived_its_daemon_is_waited_for(void **state)
{
        (void)state;
        record_half(ORIGINAL_BINDING);
        begin();
        look(true);
        assert_int_equal(state_of(GPU), ORIGINAL_BINDING);
        run_until_hand(2);
        set_driver(MATE, "vfio-pci"); /* it has ended its plan */
        look(false);
        assert_int_equal(state_of(MATE), ORIGINAL_BOUND);
        assert_int_equal(hand.n, 2);
        assert_int_equal(f.n_recovered, 1);
}

static void test_what_is_in_use_is_left_and_tried_again(void **state)
{
        (void)state;
        record_half(ORIGINAL_BINDING);
        begin();
        look(false);
        end_hand(PLAN_REFUSED, "0000:3b:00.0 is in use: pid 1 (qemu)");
        assert_int_equal(f.n_recovered, 1);
        assert_int_equal(state_of(GPU), ORIGINAL_BINDING);
        run_until_hand(3);
        restore.reason = REASON_FORMER_DRIVER;
        look(false);
        assert_int_equal(state_of(GPU), ORIGINAL_BINDING);
        restore.reason = REASON_NONE;
        run_until_hand(4);
        look(false);
        end_hand(PLAN_DONE, "");
        assert_int_equal(state_of(GPU), -1);
        assert_int_equal(f.n_recovered, 1);
}

/* While it paused, a request has bound the devices after all, and a pod has them. */
static void test_what_a_request_has_dealt_with_meanwhile_is_not_undone(void **state)
{
        (void)state;
        record_half(ORIGINAL_BINDING);
        begin();
        end_hand(PLAN_REFUSED, "another hand is at work");
        record(GPU, ORIGINAL_BOUND, "b1");
        record(MATE, ORIGINAL_BOUND, "b1"); /* and has lost its driver since */
        for (int64_t until = clock_ms() + 1500; clock_ms() < until; (void)usleep(10 * 1000))
                (void)uv_run(&f.loop, UV_RUN_NOWAIT);
        assert_int_equal(hand.n, 1);
        assert_int_equal(state_of(GPU), ORIGINAL_BOUND);
}

static void test_what_hangs_is_stuck_and_what_breaks_is_marked(void **state)
{
        (void)state;
        record_half(ORIGINAL_BINDING);
        begin();
        end_hand(PLAN_STUCK, "the kernel did not return");
        assert_int_equal(f.n_stuck, 1);
        assert_int_equal(f.n_recovered, 1);
        begin();
        look(false);
        end_hand(PLAN_STUCK, "the kernel did not return");
        assert_int_equal(f.n_stuck, 2);
        begin();
        look(false);
        end_hand(PLAN_BROKEN, "not undone");
        assert_int_equal(f.marked, REASON_BROKEN_BINDING);
        assert_int_equal(state_of(GPU), ORIGINAL_BINDING); /* the next daemon has another look */
        f.device.reason = REASON_STUCK;                    /* but not at what is stuck */
        hand.n = 0;
        begin();
        assert_int_equal(hand.n, 0);
        assert_int_equal(f.n_recovered, 4);
        f.device.reason = REASON_NONE;
}

static void test_what_somebody_took_half_way_is_his(void **state)
{
        (void)state;
        record_half(ORIGINAL_BINDING);
        set_driver(GPU, "nouveau");
        begin();
        assert_int_equal(state_of(GPU), ORIGINAL_BINDING); /* a hand may be at it still */
        look(false);
        assert_int_equal(state_of(GPU), -1);
        assert_int_equal(restore.n_originals, 1); /* the companion is given back */
        end_hand(PLAN_DONE, "");
        assert_int_equal(state_of(MATE), -1);
}

static void test_what_a_dead_hand_left_is_dealt_with_by_the_same_daemon(void **state)
{
        (void)state;
        record_half(ORIGINAL_BINDING);
        recovery_of(f.claims, BDFS, 2);
        assert_int_equal(hand.n, 1);
        look(false);
        end_hand(PLAN_DONE, "");
        assert_int_equal(state_of(GPU), -1);
        recovery_of(f.claims, BDFS, 2); /* somebody has dealt with it */
        assert_int_equal(hand.n, 2);
        assert_int_equal(f.n_recovered, 0);
}

/* A hand dies again on what a recovery waits for already: one recovery goes on, for all the functions of both. */
static void test_a_function_has_one_recovery(void **state)
{
        (void)state;
        record_half(ORIGINAL_BINDING);
        restore.reason = REASON_FORMER_DRIVER;
        recovery_of(f.claims, &BDFS[GPU], 1);
        look(false);
        recovery_of(f.claims, &BDFS[MATE], 1); /* another function's is its own */
        look(false);
        assert_int_equal(hand.n, 2);
        recovery_of(f.claims, BDFS, 2);
        assert_int_equal(hand.n, 3); /* not after their pauses */
        look(false);
        assert_int_equal(restore.n_originals, 2);
        for (int64_t until = clock_ms() + 1500; clock_ms() < until; (void)usleep(10 * 1000)) {
                (void)uv_run(&f.loop, UV_RUN_NOWAIT);
                if (hand.done)
                        look(false);
        }
        assert_int_equal(hand.n, 4);
        restore.reason = REASON_NONE;
}

static void test_the_end_leaves_what_is_under_way_to_the_next_daemon(void **state)
{
        (void)state;
        record_half(ORIGINAL_BINDING);
        begin();
        look(false);
        begin(); /* the hand is heard last */
        assert_int_equal(state_of(GPU), ORIGINAL_BINDING);
        look(true); /* now it waits for another look */
        begin();
        look(false);
        end_hand(PLAN_REFUSED, "in use"); /* and now for another try */
        begin();
        assert_int_equal(state_of(MATE), ORIGINAL_BINDING);
}

static void record_power(int i, const char *driver)
{
        struct original o = *ledger_original(f.ledger, BDFS[i]);
        struct err err;

        (void)str_copy(o.driver, sizeof(o.driver), driver);
        (void)str_copy(o.power_control, sizeof(o.power_control), "auto");
        (void)str_copy(o.d3cold_allowed, sizeof(o.d3cold_allowed), "1");
        ASSERT_OK(ledger_put_originals(f.ledger, &o, 1, NULL, NULL, &err), &err);
}

static bool remembers_power(int i)
{
        const struct original *o = ledger_original(f.ledger, BDFS[i]);

        return o && original_has_settings(o);
}

static void put_claim(void)
{
        struct claim_device device = { .group = 7 };
        struct claim claim = { .devices = &device, .n_devices = 1, .resource = "a.com/x" };
        struct err err;

        bdf_format(BDFS[GPU], device.id);
        claim_key_of_kubelet(device.id, claim.key);
        ASSERT_OK(ledger_put_claim(f.ledger, &claim, NULL, NULL, &err), &err);
}

/* A GPU that Sluice bound, and its companion, which an administrator did. */
static void record_powered(void)
{
        record(GPU, ORIGINAL_BOUND, "b1");
        record(MATE, ORIGINAL_BOUND, "b1");
        record_power(GPU, "nvidia");
        record_power(MATE, "vfio-pci");
        set_driver(GPU, "vfio-pci");
        set_driver(MATE, "vfio-pci");
}

static void test_power_that_nobody_claims_any_more_is_given_back(void **state)
{
        (void)state;
        record_powered();
        begin();
        assert_int_equal(f.n_recovered, 0);
        look(false);
        assert_int_equal(hand.plan.steps[hand.plan.n_steps - 1].kind, STEP_SETTING);
        end_hand(PLAN_REFUSED, "it said no");
        assert_int_equal(f.n_recovered, 1);
        assert_true(remembers_power(GPU)); /* until it is done */
        assert_true(remembers_power(MATE));

        hand.n = 0;
        begin();
        look(false);
        end_hand(PLAN_DONE, "");
        assert_int_equal(hand.n, 2);
        assert_int_equal(state_of(GPU), ORIGINAL_BOUND); /* and stays on VFIO */
        assert_false(remembers_power(GPU));
        assert_int_equal(state_of(MATE), -1); /* nothing else was to be remembered */
        assert_int_equal(restore.n_originals, 0);
}

static void test_power_that_is_claimed_stays_until_the_claim_ends(void **state)
{
        char id[BDF_TEXT_MAX], key[CLAIM_KEY_MAX];

        (void)state;
        record_powered();
        put_claim();
        begin();
        recovery_of_settings(f.claims);
        assert_int_equal(hand.n, 0);
        assert_int_equal(f.n_recovered, 1);

        claim_key_of_kubelet(bdf_format(BDFS[GPU], id), key);
        ledger_remove_claim(f.ledger, key, NULL, NULL);
        recovery_of_settings(f.claims);
        recovery_of_settings(f.claims); /* what is begun already is not begun twice */
        for (int i = 0; i < 2; i++) {
                look(false);
                end_hand(PLAN_DONE, "");
        }
        assert_int_equal(hand.n, 4);
        assert_false(remembers_power(GPU));
        assert_int_equal(state_of(MATE), -1);
}

/* A daemon and its hand were killed in the middle of a reset, and the claim has ended since: the release was no more to be done. */
static void test_reset_methods_that_a_release_left_narrowed_are_given_back(void **state)
{
        struct function *fn = &f.inv->functions[GPU];

        (void)state;
        record(GPU, ORIGINAL_BOUND, "b1");
        struct original o = *ledger_original(f.ledger, BDFS[GPU]);
        struct err err;
        (void)str_copy(o.reset_methods, sizeof(o.reset_methods), "pm flr");
        ASSERT_OK(ledger_put_originals(f.ledger, &o, 1, NULL, NULL, &err), &err);
        set_driver(GPU, "vfio-pci");
        (void)str_copy(fn->reset_methods, sizeof(fn->reset_methods), "flr");
        put_claim();
        begin();
        assert_int_equal(hand.n, 0); /* its release has the word */

        ledger_remove_claim(f.ledger, "kubelet:0000:3b:00.0", NULL, NULL);
        recovery_of_settings(f.claims);
        look(false);
        const struct step *last = &hand.plan.steps[hand.plan.n_steps - 1];
        assert_int_equal(last->kind, STEP_SETTING);
        assert_string_equal(last->about, "reset_method");
        assert_string_equal(last->text, "pm flr");
        end_hand(PLAN_DONE, "");
        assert_string_equal(ledger_original(f.ledger, BDFS[GPU])->reset_methods, "");
        assert_int_equal(state_of(GPU), ORIGINAL_BOUND);

        ASSERT_OK(ledger_put_originals(f.ledger, &o, 1, NULL, NULL, &err), &err);
        (void)str_copy(fn->reset_methods, sizeof(fn->reset_methods), "acpi"); /* somebody has set it */
        hand.n = 0;
        recovery_of_settings(f.claims);
        look(false);
        assert_int_equal(hand.n, 1);
        assert_string_equal(ledger_original(f.ledger, BDFS[GPU])->reset_methods, "");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_what_is_bound_is_adopted_and_what_is_over_is_forgotten),
                CASE(test_what_somebody_took_and_bound_again_is_his),
                CASE(test_a_bind_that_is_complete_is_kept_whoever_began_it),
                CASE(test_a_bind_that_is_half_done_is_undone),
                CASE(test_what_is_bound_in_another_group_of_the_card_stays),
                CASE(test_a_hand_that_outlived_its_daemon_is_waited_for),
                CASE(test_what_is_in_use_is_left_and_tried_again),
                CASE(test_what_a_request_has_dealt_with_meanwhile_is_not_undone),
                CASE(test_what_hangs_is_stuck_and_what_breaks_is_marked),
                CASE(test_what_somebody_took_half_way_is_his),
                CASE(test_what_a_dead_hand_left_is_dealt_with_by_the_same_daemon),
                CASE(test_power_that_nobody_claims_any_more_is_given_back),
                CASE(test_power_that_is_claimed_stays_until_the_claim_ends),
                CASE(test_reset_methods_that_a_release_left_narrowed_are_given_back),
                CASE(test_a_function_has_one_recovery),
                CASE(test_the_end_leaves_what_is_under_way_to_the_next_daemon),
        };

        return RUN(tests);
}
