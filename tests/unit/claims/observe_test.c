/* SPDX-License-Identifier: Apache-2.0 */
/* What lists of pods make of the claims, on a real ledger, with a clock that the lists bring along and hands that the test
 * moves. hands_run is this file's own. */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "claims/claims_priv.h"
#include "claims/observe.h"

#define POOL "nvidia.com/AD102GL_L40S"
enum { DEVICES = 6, GRACE = CLAIM_GRACE_MS, UNSEEN = CLAIM_UNSEEN_MS };

/* ---- hands that the test moves ---- */

static struct {
        hands_done_fn *done[8];
        void *ctx[8];
        struct bdf bdf[8];
        size_t n; /* asked, and not answered yet */
} hands;

void hands_run(struct hands *h, const struct plan *plan, unsigned deadline_ms, hands_value_fn *value, hands_done_fn *done, void *ctx)
{
        (void)h;
        (void)deadline_ms;
        (void)value;
        assert_int_equal(plan->n_steps, 1);
        assert_int_equal(plan->steps[0].kind, STEP_GUARD_NODES);
        assert_true(hands.n < N_ELEMENTS(hands.done));
        hands.bdf[hands.n] = plan->steps[0].bdf;
        hands.ctx[hands.n] = ctx;
        hands.done[hands.n++] = done;
}

void hands_run_all(struct hands *h, const struct plan *plans, size_t n_plans, unsigned deadline_ms, hands_override_fn *override,
                   hands_each_fn *done, void *ctx)
{
        (void)h, (void)plans, (void)deadline_ms, (void) override, (void)done, (void)ctx;
        fail_msg("%zu plans", n_plans); /* nothing is bound here */
}

/* The hand that was asked first comes back. */
static void hand_says(enum plan_end end, enum reason reason)
{
        const struct hands_result result = { .end = end, .reason = reason, .text = "it says so" };

        assert_true(hands.n > 0);
        hands_done_fn *done = hands.done[0];
        void *ctx = hands.ctx[0];
        hands.n--;
        memmove(hands.done, hands.done + 1, hands.n * sizeof(hands.done[0]));
        memmove(hands.ctx, hands.ctx + 1, hands.n * sizeof(hands.ctx[0]));
        done(ctx, &result);
}

/* ---- a node with six devices ---- */

struct node {
        char path[32];
        int dir;
        uv_loop_t loop;
        struct recorder *recorder;
        struct ledger *ledger;
        struct claims *claims;
        struct inventory inventory;
        struct offer offer;
        struct device devices[DEVICES];
        bool may_be_held;
        int64_t start_ms;
};

static const char *id_of(size_t i)
{
        static const char *const ids[DEVICES] = { "0000:10:00.0", "0000:11:00.0", "0000:12:00.0",
                                                  "0000:13:00.0", "0000:14:00.0", "0000:15:00.0" };
        return ids[i];
}

static const struct inventory *see_inventory(void *ctx)
{
        return &((struct node *)ctx)->inventory;
}

static const struct offer *see_offer(void *ctx)
{
        return &((struct node *)ctx)->offer;
}

/* None: every device is kept (release_test.c has the others). */
static const struct rules *see_rules(void *ctx)
{
        static const struct rules rules = { .implicit = true };

        (void)ctx;
        return &rules;
}

static bool may_be_held(void *ctx, const struct device *device)
{
        (void)device;
        return ((struct node *)ctx)->may_be_held;
}

static void begin(struct node *node)
{
        const struct claims_world world = {
                .ctx = node, .inventory = see_inventory, .offer = see_offer, .rules = see_rules, .may_be_held = may_be_held
        };
        struct err err;

        ASSERT_OK(ledger_open(node->dir, &node->loop, node->recorder, &node->ledger, &err), &err);
        node->claims = claims_new(&node->loop, NULL, node->ledger, &world, 1000);
}

static void set_true(void *ctx)
{
        *(bool *)ctx = true;
}

static void end(struct node *node)
{
        bool closed = false;

        while (hands.n > 0)
                hand_says(PLAN_REFUSED, REASON_HAND_LOST);
        claims_stop(node->claims, set_true, &closed);
        assert_true(closed);
        claims_free(node->claims);
        ledger_stop(node->ledger);
        assert_int_equal(uv_run(&node->loop, UV_RUN_DEFAULT), 0);
        ledger_free(node->ledger);
}

static int setup(void **state)
{
        struct node *node = xcalloc(1, sizeof(*node));

        memset(&hands, 0, sizeof(hands));
        (void)str_copy(node->path, sizeof(node->path), "/dev/shm/sluice-obs-XXXXXX");
        assert_non_null(mkdtemp(node->path));
        node->dir = open(node->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(node->dir >= 0);
        assert_int_equal(uv_loop_init(&node->loop), 0);
        node->recorder = recorder_new(&node->loop);
        (void)str_copy(node->inventory.boot_id, sizeof(node->inventory.boot_id), "a-boot");
        for (size_t i = 0; i < DEVICES; i++) {
                struct device *d = &node->devices[i];
                (void)str_copy(d->id, sizeof(d->id), id_of(i));
                (void)bdf_parse(d->id, &d->bdf);
                d->card = d->bdf;
                d->state = DEVICE_HEALTHY;
        }
        node->offer.devices = node->devices;
        node->offer.n_devices = DEVICES;
        begin(node);
        *state = node;
        return 0;
}

static int teardown(void **state)
{
        struct node *node = *state;
        _cleanup_free_ char *command = xasprintf("rm -rf %s", node->path);

        end(node);
        recorder_free(node->recorder);
        assert_int_equal(uv_loop_close(&node->loop), 0);
        (void)close(node->dir);
        free(node);
        return system(command); /* lint: a test's own directory */
}

/* Allocate is answered. Lists' times count from here. */
static void answer(struct node *node, size_t device)
{
        (void)claims_record(node->claims, &node->devices[device], POOL, MODE_VFIO, NULL, NULL);
        observer_answered(node->claims->observer, id_of(device));
        node->start_ms = clock_ms();
}

/* A list that was asked for @ms after the last answer: @pods[i] has device i, NULL = nobody. */
static void list(struct node *node, int64_t ms, const char *const pods[DEVICES])
{
        struct pod_device devices[DEVICES];
        struct pod_list l = { .asked_ms = node->start_ms + ms, .kubelet = 1, .devices = devices };

        for (size_t i = 0; i < DEVICES; i++) {
                if (!pods[i])
                        continue;
                struct pod_device *d = &devices[l.n_devices++];
                *d = (struct pod_device){ .resource = POOL, .pod_namespace = "vms", .container = "compute" };
                (void)str_copy(d->id, sizeof(d->id), id_of(i));
                (void)str_copy(d->pod, sizeof(d->pod), pods[i]);
        }
        claims_observe(node->claims, &l);
}
#define LIST(node, ms, ...) list((node), (ms), (const char *const[DEVICES]){ __VA_ARGS__ })

static const struct claim *claim_of(struct node *node, size_t device)
{
        return claims_of_device(node->claims, id_of(device));
}

static void assert_claim(struct node *node, size_t device, enum claim_state state, const char *pod)
{
        const struct claim *claim = claim_of(node, device);

        assert_non_null(claim);
        assert_int_equal(claim->state, state);
        assert_string_equal(claim->pod, pod);
        assert_string_equal(claim->pod_namespace, pod[0] ? "vms" : "");
        assert_string_equal(claim->container, pod[0] ? "compute" : "");
        assert_string_equal(claim->resource, POOL);
        assert_string_equal(claim->boot_id, "a-boot");
}

static void test_the_pod_that_has_it_stands_in_the_claim(void **state)
{
        struct node *node = *state;

        answer(node, 0);
        assert_claim(node, 0, CLAIM_ANSWERED, "");
        LIST(node, 1, "vm-a");
        assert_claim(node, 0, CLAIM_SEEN, "vm-a");
        int64_t since = claim_of(node, 0)->since_ms;
        LIST(node, 2, "vm-b"); /* kubelet says so */
        assert_claim(node, 0, CLAIM_SEEN, "vm-b");
        assert_int_equal(claim_of(node, 0)->since_ms, since);
        end(node);
        begin(node); /* and is on the disk */
        assert_claim(node, 0, CLAIM_SEEN, "vm-b");
}

static void test_a_claim_ends_when_its_pod_is_gone_and_nobody_has_it_open(void **state)
{
        struct node *node = *state;

        answer(node, 0);
        answer(node, 1);
        LIST(node, 1, "vm-a", "vm-b");
        LIST(node, 20000, NULL, "vm-b");
        assert_claim(node, 0, CLAIM_SEEN, "vm-a");
        LIST(node, 20000 + GRACE, NULL, "vm-b");
        assert_null(claim_of(node, 0));
        assert_claim(node, 1, CLAIM_SEEN, "vm-b");
        assert_int_equal(hands.n, 0);
        end(node);
        begin(node);
        assert_null(claim_of(node, 0));
}

static void gone(struct node *node)
{
        node->may_be_held = true;
        answer(node, 0);
        LIST(node, 1, "vm-a");
        LIST(node, 20000, NULL);
        assert_int_equal(hands.n, 0);
        LIST(node, 20000 + GRACE, NULL);
        assert_int_equal(hands.n, 1);
        assert_true(bdf_equal(hands.bdf[0], node->devices[0].bdf));
        assert_claim(node, 0, CLAIM_SEEN, "vm-a");
}

static void test_a_hand_finds_that_nobody_has_it_open(void **state)
{
        struct node *node = *state;

        gone(node);
        LIST(node, 21000 + GRACE, NULL);
        assert_int_equal(hands.n, 1); /* one hand is enough */
        hand_says(PLAN_DONE, REASON_NONE);
        assert_null(claim_of(node, 0));
}

static void test_a_claim_stays_while_somebody_has_it_open(void **state)
{
        struct node *node = *state;

        gone(node);
        for (int64_t ms = 40000; ms < 100000; ms += 15000) {
                hand_says(PLAN_REFUSED, REASON_HELD);
                assert_claim(node, 0, CLAIM_SEEN, "vm-a");
                LIST(node, ms, NULL);
                assert_int_equal(hands.n, 1); /* asked anew with each list */
        }
        hand_says(PLAN_DONE, REASON_NONE);
        assert_null(claim_of(node, 0));
}

static void test_where_holders_cannot_be_seen_kubelets_word_is_enough(void **state)
{
        struct node *node = *state;

        gone(node);
        hand_says(PLAN_REFUSED, REASON_HOLDERS_UNKNOWN);
        assert_null(claim_of(node, 0));
}

static void test_a_hand_that_fails_says_nothing(void **state)
{
        struct node *node = *state;

        gone(node);
        hand_says(PLAN_LOST, REASON_DEADLINE);
        assert_claim(node, 0, CLAIM_SEEN, "vm-a");
        LIST(node, 60000, NULL);
        hand_says(PLAN_REFUSED, REASON_HAND_LOST);
        assert_claim(node, 0, CLAIM_SEEN, "vm-a");
        LIST(node, 80000, NULL);
        assert_int_equal(hands.n, 1);
}

static void test_a_pod_that_was_answered_meanwhile_keeps_its_claim(void **state)
{
        struct node *node = *state;

        gone(node);
        answer(node, 0); /* the next pod */
        hand_says(PLAN_DONE, REASON_NONE);
        assert_claim(node, 0, CLAIM_ANSWERED, "");
        LIST(node, 1, NULL);
        LIST(node, 1 + GRACE, NULL);
        assert_claim(node, 0, CLAIM_ANSWERED, "");
        LIST(node, 2 + GRACE, "vm-c");
        assert_claim(node, 0, CLAIM_SEEN, "vm-c");
}

static void test_a_hand_that_was_overtaken_by_an_answer_is_not_the_last_that_looks(void **state)
{
        struct node *node = *state;

        gone(node);
        answer(node, 0); /* the next pod */
        hand_says(PLAN_DONE, REASON_NONE);
        LIST(node, 1, "vm-c");
        LIST(node, 2, NULL);
        LIST(node, 2 + GRACE, NULL);
        assert_int_equal(hands.n, 1);
        hand_says(PLAN_DONE, REASON_NONE);
        assert_null(claim_of(node, 0));
}

static void test_a_list_from_before_the_answer_names_no_pod(void **state)
{
        struct node *node = *state;

        answer(node, 0);
        LIST(node, 1, "vm-a");
        answer(node, 0); /* kubelet has freed it */
        LIST(node, -50, "vm-a");
        assert_claim(node, 0, CLAIM_ANSWERED, "");
}

static void test_what_no_pod_ever_has_ends_after_five_minutes(void **state)
{
        struct node *node = *state;

        answer(node, 0);
        LIST(node, 1, NULL);
        LIST(node, UNSEEN, NULL);
        assert_claim(node, 0, CLAIM_ANSWERED, "");
        LIST(node, 1 + UNSEEN, NULL);
        assert_null(claim_of(node, 0));
}

static void test_a_new_daemon_does_not_go_by_what_the_last_one_saw(void **state)
{
        struct node *node = *state;

        answer(node, 0);
        LIST(node, 1, "vm-a");
        end(node);
        begin(node);
        node->start_ms = clock_ms() + 1000;
        LIST(node, 1, NULL);
        LIST(node, 1 + GRACE, NULL);
        LIST(node, 40000, NULL);
        assert_claim(node, 0, CLAIM_SEEN, "vm-a");
}

static void put(struct node *node, size_t device, enum claim_owner owner, enum claim_state claim_state)
{
        struct claim_device d = { 0 };
        struct claim claim = { .owner = owner, .state = claim_state, .devices = &d, .n_devices = 1, .pod = "vm-a" };
        struct err err;

        (void)str_copy(d.id, sizeof(d.id), id_of(device));
        (void)str_copy(claim.resource, sizeof(claim.resource), POOL);
        claim_key_of_kubelet(d.id, claim.key);
        ASSERT_OK(ledger_put_claim(node->ledger, &claim, NULL, NULL, &err), &err);
}

static void test_what_is_not_kubelets_or_not_its_any_more_is_left_alone(void **state)
{
        struct node *node = *state;

        node->start_ms = clock_ms() + 1000;
        put(node, 0, OWNER_NODE_API, CLAIM_ANSWERED);
        put(node, 1, OWNER_KUBELET, CLAIM_RELEASING);
        put(node, 2, OWNER_KUBELET, CLAIM_PREPARING);
        LIST(node, 1, NULL);
        LIST(node, 10 + UNSEEN, NULL);
        LIST(node, 20 + UNSEEN, "vm-x", "vm-y", "vm-z");
        assert_int_equal(claim_of(node, 0)->state, CLAIM_ANSWERED);
        assert_int_equal(claim_of(node, 1)->state, CLAIM_RELEASING);
        assert_int_equal(claim_of(node, 2)->state, CLAIM_PREPARING);
        for (size_t i = 0; i < 3; i++)
                assert_string_equal(claim_of(node, i)->pod, "vm-a");
}

static void test_a_claim_that_no_record_tells_of_is_taken_from_kubelet(void **state)
{
        struct node *node = *state;

        node->start_ms = clock_ms();
        LIST(node, 1, NULL, "vm-b");
        assert_null(claim_of(node, 0));
        assert_claim(node, 1, CLAIM_SEEN, "vm-b");
        LIST(node, 15000, NULL);
        LIST(node, 15000 + GRACE, NULL);
        assert_null(claim_of(node, 1));
        /* No device of ours. */
        const struct pod_device foreign = { .id = "0000:99:00.0", .resource = POOL, .pod_namespace = "n", .pod = "p" };
        const struct pod_list l = { .asked_ms = node->start_ms + 60000, .kubelet = 1, .devices = &foreign, .n_devices = 1 };
        claims_observe(node->claims, &l);
        assert_null(claims_of_device(node->claims, foreign.id));
}

static void test_a_stuck_device_is_not_let_go_nor_looked_at(void **state)
{
        struct node *node = *state;

        node->may_be_held = true;
        node->devices[0].reason = REASON_STUCK;
        answer(node, 0);
        LIST(node, 1, "vm-a");
        for (int64_t ms = 20000; ms < 900000; ms += 15000)
                LIST(node, ms, NULL);
        assert_int_equal(hands.n, 0);
        assert_claim(node, 0, CLAIM_SEEN, "vm-a");
}

static void test_a_device_that_is_not_there_any_more_is_held_by_nobody(void **state)
{
        struct node *node = *state;

        node->may_be_held = true;
        answer(node, 5);
        LIST(node, 1, NULL, NULL, NULL, NULL, NULL, "vm-a");
        node->offer.n_devices = 5;
        LIST(node, 20000, NULL);
        LIST(node, 20000 + GRACE, NULL);
        assert_int_equal(hands.n, 0);
        assert_null(claim_of(node, 5));
}

static void test_no_more_than_four_hands_look_at_once(void **state)
{
        struct node *node = *state;

        node->may_be_held = true;
        for (size_t i = 0; i < DEVICES; i++)
                answer(node, i);
        LIST(node, 1, "a", "b", "c", "d", "e", "f");
        LIST(node, 20000, NULL);
        LIST(node, 20000 + GRACE, NULL);
        assert_int_equal(hands.n, 4);
        while (hands.n > 0)
                hand_says(PLAN_DONE, REASON_NONE);
        LIST(node, 45000, NULL);
        assert_int_equal(hands.n, 2); /* the others' turn */
        while (hands.n > 0)
                hand_says(PLAN_DONE, REASON_NONE);
        for (size_t i = 0; i < DEVICES; i++)
                assert_null(claim_of(node, i));
}

static void test_the_names_of_pools_that_are_given_from_are_known(void **state)
{
        struct node *node = *state;

        assert_false(claims_of_kubelet(node->claims, NULL));
        put(node, 1, OWNER_NODE_API, CLAIM_ANSWERED);
        assert_false(claims_of_kubelet(node->claims, NULL));
        answer(node, 0);
        assert_true(claims_of_kubelet(node->claims, NULL));
        assert_true(claims_of_kubelet(node->claims, POOL));
        assert_false(claims_of_kubelet(node->claims, "nvidia.com/AD102GL"));
}

int main(void)
{
#define NODE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        static const struct CMUnitTest tests[] = {
                NODE_TEST(test_the_pod_that_has_it_stands_in_the_claim),
                NODE_TEST(test_a_claim_ends_when_its_pod_is_gone_and_nobody_has_it_open),
                NODE_TEST(test_a_hand_finds_that_nobody_has_it_open),
                NODE_TEST(test_a_claim_stays_while_somebody_has_it_open),
                NODE_TEST(test_where_holders_cannot_be_seen_kubelets_word_is_enough),
                NODE_TEST(test_a_hand_that_fails_says_nothing),
                NODE_TEST(test_a_pod_that_was_answered_meanwhile_keeps_its_claim),
                NODE_TEST(test_a_hand_that_was_overtaken_by_an_answer_is_not_the_last_that_looks),
                NODE_TEST(test_a_list_from_before_the_answer_names_no_pod),
                NODE_TEST(test_what_no_pod_ever_has_ends_after_five_minutes),
                NODE_TEST(test_a_new_daemon_does_not_go_by_what_the_last_one_saw),
                NODE_TEST(test_what_is_not_kubelets_or_not_its_any_more_is_left_alone),
                NODE_TEST(test_a_claim_that_no_record_tells_of_is_taken_from_kubelet),
                NODE_TEST(test_a_stuck_device_is_not_let_go_nor_looked_at),
                NODE_TEST(test_a_device_that_is_not_there_any_more_is_held_by_nobody),
                NODE_TEST(test_no_more_than_four_hands_look_at_once),
                NODE_TEST(test_the_names_of_pools_that_are_given_from_are_known),
        };

        return RUN(tests);
}
