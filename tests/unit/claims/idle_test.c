/* SPDX-License-Identifier: Apache-2.0 */
/* Giving back what is idle, against a hand, a disk and a kubelet that the test moves. */
#include "one_card.h"

#include "claims/idle.h"

#define RULE "any bind=on-allocate"

static struct {
        struct idle_outcome last;
        size_t n;
        unsigned times;
        bool had_plan;
} answer;

static void on_answer(void *ctx, const struct idle_outcome *list, size_t n)
{
        (void)ctx;
        answer.times++;
        answer.n = n;
        answer.had_plan = n > 0 && list[0].plan != NULL;
        if (n > 0)
                answer.last = list[0];
        answer.last.originals = NULL;
        answer.last.plan = NULL;
}

/* Bound, and nobody's. */
static void begin_idle(const char *host)
{
        begin(RULE, host);
        book.claim.key[0] = '\0';
        memset(&answer, 0, sizeof(answer));
}

static void ask(bool dry_run)
{
        const struct idle_request request = { .dry_run = dry_run };
        struct err err;

        ASSERT_OK(idle_release(claims, &request, on_answer, NULL, &err), &err);
}

static void kubelet_says(const char *why_unknown)
{
        void (*done)(void *, const char *) = w.pods_done;

        assert_non_null(done);
        w.pods_done = NULL;
        done(w.pods_ctx, why_unknown);
}

#define ASSERT_LEFT(want)                                            \
        do {                                                         \
                assert_int_equal(answer.times, 1);                   \
                assert_int_equal(answer.n, 1);                       \
                assert_string_equal(answer.last.name, ID);           \
                assert_int_equal(answer.last.end, IDLE_LEFT);        \
                assert_int_equal(answer.last.reason, REASON_##want); \
                assert_string_equal(w.withheld, "");                 \
        } while (0)

static void test_it_is_withheld_asked_for_recorded_done_and_forgotten_in_this_order(void **state)
{
        (void)state;
        begin_idle(BOUND);
        ask(false);
        assert_string_equal(w.withheld, ID); /* before kubelet is asked */
        assert_null(book.done);
        kubelet_says(NULL);
        assert_null(hand.done);
        assert_int_equal(book.originals[0].state, ORIGINAL_RESTORING);
        assert_int_equal(book.originals[1].state, ORIGINAL_RESTORING);
        disk_answers(true);
        assert_true(plan_has(STEP_GUARD_NODES) && plan_has(STEP_UNBIND) && plan_has(STEP_AWAIT_DRIVER));
        host_is(GIVEN_BACK);
        end_plan(PLAN_DONE, REASON_NONE, "");
        assert_int_equal(answer.times, 0); /* the record is on the disk still */
        assert_int_equal(book.n_originals, 0);
        disk_answers(true);
        assert_int_equal(answer.times, 1);
        assert_int_equal(answer.last.end, IDLE_GIVEN_BACK);
        assert_string_equal(w.withheld, ID);
        end();
}

static void test_a_disk_that_refuses_leaves_it_untouched(void **state)
{
        (void)state;
        begin_idle(BOUND);
        ask(false);
        kubelet_says(NULL);
        disk_answers(false);
        ASSERT_LEFT(NO_RECORD);
        assert_int_equal(hand.n, 0);
        assert_int_equal(book.originals[0].state, ORIGINAL_BOUND);
        end();
}

static void test_what_the_hand_ends_with_is_the_reason(void **state)
{
        static const struct {
                enum plan_end end;
                enum reason reason, want;
                enum original_state state; /* on the disk afterwards */
        } rows[] = {
                { PLAN_REFUSED, REASON_HELD, REASON_HELD, ORIGINAL_BOUND },
                { PLAN_REFUSED, REASON_HOLDERS_UNKNOWN, REASON_HOLDERS_UNKNOWN, ORIGINAL_BOUND },
                { PLAN_UNDONE, REASON_STEP_FAILED, REASON_STEP_FAILED, ORIGINAL_BOUND },
                { PLAN_BROKEN, REASON_STEP_FAILED, REASON_BROKEN_BINDING, ORIGINAL_RESTORING },
                { PLAN_STUCK, REASON_DEADLINE, REASON_STUCK, ORIGINAL_RESTORING },
                { PLAN_LOST, REASON_HAND_LOST, REASON_HAND_LOST, ORIGINAL_RESTORING }, /* recovery goes on */
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                begin_idle(BOUND);
                ask(false);
                kubelet_says(NULL);
                disk_answers(true);
                end_plan(rows[i].end, rows[i].reason, "so it is");
                assert_int_equal(answer.times, 1);
                assert_int_equal(answer.last.end, IDLE_LEFT);
                assert_int_equal(answer.last.reason, rows[i].want);
                assert_string_equal(w.withheld, "");
                assert_int_equal(book.originals[0].state, rows[i].state);
                end();
        }
}

static void test_who_is_claimed_is_left_and_never_withheld(void **state)
{
        (void)state;
        begin(RULE, BOUND);
        memset(&answer, 0, sizeof(answer));
        (void)str_copy(book.claim.pod, sizeof(book.claim.pod), "vm-a");
        (void)str_copy(book.claim.pod_namespace, sizeof(book.claim.pod_namespace), "vms");
        ask(false);
        kubelet_says(NULL);
        ASSERT_LEFT(CLAIMED);
        assert_string_equal(answer.last.text, "pod vms/vm-a has " ID);
        assert_int_equal(w.n_withheld, 0);
        assert_int_equal(hand.n, 0);
        end();
}

/* Kubelet's answer shows a pod that had it all along. */
static void test_a_claim_that_comes_with_the_list_counts(void **state)
{
        (void)state;
        begin_idle(BOUND);
        ask(false);
        (void)str_copy(book.claim.key, sizeof(book.claim.key), KEY);
        kubelet_says(NULL);
        ASSERT_LEFT(CLAIMED);
        end();
}

/* Its pod is gone, says the very list that the call asked for. */
static void test_a_claim_that_ends_with_the_list_is_withheld_all_the_same(void **state)
{
        (void)state;
        begin(RULE, BOUND);
        memset(&answer, 0, sizeof(answer));
        ask(false);
        assert_string_equal(w.withheld, "");
        book.claim.key[0] = '\0';
        kubelet_says(NULL);
        assert_string_equal(w.withheld, ID); /* before anything is done */
        disk_answers(true);
        host_is(GIVEN_BACK);
        end_plan(PLAN_DONE, REASON_NONE, "");
        disk_answers(true);
        assert_int_equal(answer.last.end, IDLE_GIVEN_BACK);
        assert_string_equal(w.withheld, ID);
        end();
        begin(RULE, BOUND); /* in use after all */
        memset(&answer, 0, sizeof(answer));
        ask(false);
        book.claim.key[0] = '\0';
        kubelet_says(NULL);
        disk_answers(true);
        end_plan(PLAN_REFUSED, REASON_HELD, "qemu has it open");
        ASSERT_LEFT(HELD);
        end();
}

static void test_what_a_release_gave_back_before_is_withheld_and_the_answer_says_so(void **state)
{
        (void)state;
        for (int dry_run = 0; dry_run < 2; dry_run++) {
                begin(RULE, BOUND);
                memset(&answer, 0, sizeof(answer));
                book.claim.state = CLAIM_RELEASING;
                ask(dry_run);
                book.claim.key[0] = '\0';
                book.n_originals = 0;
                host_is(GIVEN_BACK);
                kubelet_says(NULL);
                assert_int_equal(answer.times, 1);
                assert_int_equal(answer.last.end, IDLE_NOTHING);
                assert_string_equal(w.withheld, dry_run ? "" : ID);
                assert_int_equal(strstr(answer.last.text, "it is withheld") == NULL, dry_run);
                assert_int_equal(hand.n, 0);
                end();
        }
}

static void test_what_is_not_known_is_not_free(void **state)
{
        (void)state;
        begin_idle(BOUND);
        ask(false);
        kubelet_says("kubelet sleeps");
        ASSERT_LEFT(PODS_UNKNOWN);
        assert_string_equal(answer.last.text, "kubelet sleeps");
        end();
        begin_idle(BOUND);
        book.originals[1].state = ORIGINAL_BINDING; /* a daemon died here */
        ask(false);
        kubelet_says(NULL);
        ASSERT_LEFT(CARD_BUSY);
        assert_true(plan_has(STEP_READ_LOCKED)); /* only looked at: by its recovery */
        end();
}

static void ask_again(bool dry_run)
{
        memset(&answer, 0, sizeof(answer));
        ask(dry_run);
        kubelet_says(NULL);
}

/* A plan broke, and has nobody who goes on with it; then an administrator mended the binding. */
static void test_who_asks_again_when_it_is_mended_has_it_dealt_with(void **state)
{
        (void)state;
        begin_idle(BOUND);
        ask(false);
        kubelet_says(NULL);
        disk_answers(true);
        end_plan(PLAN_BROKEN, REASON_STEP_FAILED, "so it is");
        ask_again(false);
        assert_int_equal(answer.last.reason, REASON_BROKEN_BINDING);
        assert_int_equal(hand.n, 1); /* no hand goes there before it is mended */

        w.mark.id[0] = '\0';
        host_is(BOUND);
        ask_again(true);
        ASSERT_LEFT(CARD_BUSY);
        assert_int_equal(hand.n, 1);
        ask_again(false);
        ASSERT_LEFT(CARD_BUSY);
        assert_int_equal(hand.n, 2);
        assert_true(plan_has(STEP_READ_LOCKED)); /* is a hand at work there? */
        end_plan(PLAN_DONE, REASON_NONE, "");
        assert_int_equal(book.originals[0].state, ORIGINAL_BOUND);

        ask_again(false);
        disk_answers(true);
        assert_true(plan_has(STEP_UNBIND));
        host_is(GIVEN_BACK);
        end_plan(PLAN_DONE, REASON_NONE, "");
        disk_answers(true);
        assert_int_equal(answer.last.end, IDLE_GIVEN_BACK);
        end();
}

static void test_a_dry_run_tries_the_conditions_and_nothing_else(void **state)
{
        (void)state;
        begin_idle(BOUND);
        ask(true);
        kubelet_says(NULL);
        assert_int_equal(w.n_withheld, 0);
        assert_true(plan_has(STEP_GUARD_NODES));
        for (uint32_t i = 0; i < hand.plan.n_steps; i++)
                assert_false(step_acts(hand.plan.steps[i].kind));
        end_plan(PLAN_DONE, REASON_NONE, "");
        assert_int_equal(answer.last.end, IDLE_GIVEN_BACK);
        assert_true(answer.had_plan);
        assert_int_equal(book.originals[0].state, ORIGINAL_BOUND);
        assert_null(book.done);
        end();
}

static void test_at_the_end_of_sluice_every_call_has_its_answer(void **state)
{
        (void)state;
        for (int when = 0; when < 3; when++) {
                begin_idle(BOUND);
                ask(false);
                if (when > 0)
                        kubelet_says(NULL);
                if (when > 1)
                        disk_answers(true);
                end();
                assert_int_equal(answer.times, 1);
                assert_int_equal(answer.last.end, IDLE_LEFT);
                assert_int_equal(answer.last.reason, REASON_TOO_LATE);
        }
}

static unsigned n_refused;
static enum reason refused;

static void on_prepared(void *ctx, const struct claim_result *result)
{
        (void)ctx;
        n_refused += result->reason != REASON_NONE;
        refused = result->reason;
}

static void prepare(void)
{
        char id[] = ID;
        char *ids[] = { id };

        claims_prepare(claims,
                       &(struct claim_request){ .owner = OWNER_KUBELET,
                                                .resource = offer_device(w.offer, ID)->resource,
                                                .devices = ids,
                                                .n_devices = 1,
                                                .mode = MODE_VFIO },
                       on_prepared, NULL);
}

/* All wait behind the first one's record. */
static void test_calls_have_a_bound_of_their_own_and_turn_no_request_away(void **state)
{
        const struct idle_request request = { 0 };
        struct err err;

        (void)state;
        begin_idle(BOUND);
        for (unsigned i = 0; i < IDLE_UNITS_MAX; i++) {
                ask(false);
                kubelet_says(NULL);
        }
        assert_int_equal(idle_release(claims, &request, on_answer, NULL, &err), -EAGAIN);
        assert_int_equal(answer.times, 0);
        n_refused = 0;
        for (unsigned i = 0; i < 256; i++)
                prepare();
        assert_int_equal(n_refused, 0);
        prepare();
        assert_int_equal(n_refused, 1);
        assert_int_equal(refused, REASON_OVERLOAD);
        end();
        assert_int_equal(answer.times, IDLE_UNITS_MAX);
        assert_int_equal(n_refused, 257);
        assert_int_equal(refused, REASON_TOO_LATE);

        begin_idle(BOUND); /* those that have ended do not count */
        for (unsigned i = 0; i < 2 * IDLE_UNITS_MAX; i++) {
                ask(false);
                kubelet_says("kubelet sleeps");
        }
        assert_int_equal(answer.times, 2 * IDLE_UNITS_MAX);
        end();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_it_is_withheld_asked_for_recorded_done_and_forgotten_in_this_order),
                TEST(test_a_disk_that_refuses_leaves_it_untouched),
                TEST(test_what_the_hand_ends_with_is_the_reason),
                TEST(test_who_is_claimed_is_left_and_never_withheld),
                TEST(test_a_claim_that_comes_with_the_list_counts),
                TEST(test_a_claim_that_ends_with_the_list_is_withheld_all_the_same),
                TEST(test_what_a_release_gave_back_before_is_withheld_and_the_answer_says_so),
                TEST(test_what_is_not_known_is_not_free),
                TEST(test_who_asks_again_when_it_is_mended_has_it_dealt_with),
                TEST(test_a_dry_run_tries_the_conditions_and_nothing_else),
                TEST(test_calls_have_a_bound_of_their_own_and_turn_no_request_away),
                TEST(test_at_the_end_of_sluice_every_call_has_its_answer),
        };

        return RUN(tests);
}
