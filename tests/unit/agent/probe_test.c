/* SPDX-License-Identifier: Apache-2.0 */
/* The walk over what only hands may read, against hands that the test moves: whom it asks, whom it asks again, and whom it
 * never touches any more. hands_run is this file's own. */
#include "../unit.h"

#include <errno.h>

#include "agent/probe.h"
#include "base/alloc.h"
#include "base/str.h"

static struct {
        struct plan plan;
        hands_value_fn *value;
        hands_done_fn *done;
        void *ctx;
        unsigned n_runs;
} hands;

void hands_run(struct hands *h, const struct plan *plan, unsigned deadline_ms, hands_value_fn *value, hands_done_fn *done, void *ctx)
{
        (void)h;
        assert_int_equal(deadline_ms, PROBE_STEP_MS);
        hands.plan = *plan;
        hands.value = value;
        hands.done = done;
        hands.ctx = ctx;
        hands.n_runs++;
}

/* Two GPUs with their audio functions (groups 10 and 11), a NIC alone in group 12, a bridge in group 10. */
static struct {
        struct inventory *inv;
        struct rules rules;
        struct probe *probe;
        unsigned n_news, n_stuck;
        struct bdf stuck;
        char text[ERR_MSG_MAX];
        int64_t now_ms;
        uint8_t at_work; /* a plan of ours, on the card at this bus; 0 = none */
} w;

static void add(uint8_t bus, uint8_t function, uint32_t class_code, int group)
{
        struct function *fn = inventory_add_function(w.inv, (struct bdf){ 0, bus, 0, function });

        fn->vendor = 0x10de;
        fn->device = 0x26b9;
        fn->class_code = class_code;
        fn->group = group;
        (void)str_copy(fn->driver, sizeof(fn->driver), "nvidia");
}

static void on_news(void *ctx)
{
        (void)ctx;
        w.n_news++;
}

static void on_stuck(void *ctx, struct bdf card, const char *text)
{
        (void)ctx;
        assert_true(text[0]);
        str_format(w.text, sizeof(w.text), "%s", text);
        w.stuck = card;
        w.n_stuck++;
}

static bool at_work(void *ctx, struct bdf card)
{
        (void)ctx;
        return w.at_work && card.bus == w.at_work;
}

static int setup(void **state)
{
        (void)state;
        memset(&w, 0, sizeof(w));
        memset(&hands, 0, sizeof(hands));
        w.now_ms = 1000;
        w.inv = inventory_new();
        add(0, 0, 0x060400, 10);
        add(1, 0, 0x030200, 10);
        add(1, 1, 0x040300, 10);
        add(2, 0, 0x030200, 11);
        add(2, 1, 0x040300, 11);
        add(3, 0, 0x020000, 12);
        inventory_seal(w.inv);
        rules_init(&w.rules);
        w.probe = probe_new(NULL, on_news, on_stuck, at_work, NULL);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        probe_free(w.probe);
        rules_done(&w.rules);
        inventory_unref(w.inv);
        return 0;
}

/* Whom the walk asks: "01.0 01.1"; "" = no walk begins. */
static const char *walk(void)
{
        static char asked[256];
        unsigned before = hands.n_runs;

        probe_walk(w.probe, w.inv, &w.rules, w.now_ms);
        *asked = '\0';
        for (uint32_t i = 0; hands.n_runs > before && i < hands.plan.n_steps; i++) {
                const struct step *s = &hands.plan.steps[i];
                assert_int_equal(s->kind, STEP_READ_LOCKED);
                assert_string_equal(s->text, "driver_override");
                assert_int_equal(s->card.bus, s->bdf.bus);
                assert_int_equal(s->card.function, 0);
                str_format(asked + strlen(asked), sizeof(asked) - strlen(asked), "%s%02x.%x", i ? " " : "", s->bdf.bus, s->bdf.function);
        }
        return asked;
}

static void say(uint32_t step, int result, const char *text)
{
        hands.value(hands.ctx, step, result, text);
}

static void end(enum plan_end how, uint32_t step)
{
        struct hands_result result = { .end = how, .step = step };

        (void)str_copy(result.text, sizeof(result.text), how == PLAN_DONE ? "" : "why");
        hands.done(hands.ctx, &result);
}

static void answer_all(void)
{
        uint32_t n = hands.plan.n_steps;

        for (uint32_t i = 0; i < n; i++)
                say(i, 0, "(null)");
        end(PLAN_DONE, n);
}

#define EVERYBODY "01.0 01.1 02.0 02.1"

static void test_the_groups_of_gpus_are_asked_once_and_again_when_old(void **state)
{
        (void)state;
        assert_string_equal(walk(), EVERYBODY);
        assert_string_equal(walk(), ""); /* one at a time */
        answer_all();
        assert_int_equal(w.n_news, 1);
        assert_string_equal(walk(), "");
        w.now_ms += PROBE_AGE_MS;
        assert_string_equal(walk(), EVERYBODY);
        answer_all();
        assert_int_equal(w.n_news, 1); /* the same as before is no news */
}

static void test_what_was_read_is_written_into_the_inventory(void **state)
{
        (void)state;
        assert_string_equal(walk(), EVERYBODY);
        say(0, 0, "vfio-pci");
        say(1, 0, "(null)");
        say(2, -ENODEV, "gone");
        end(PLAN_DONE, 4);
        probe_apply(w.probe, w.inv);
        for (size_t i = 0; i < w.inv->n_functions; i++) {
                const struct function *fn = &w.inv->functions[i];
                assert_int_equal(fn->override_known, fn->bdf.bus == 1);
                assert_string_equal(fn->driver_override, fn->bdf.bus == 1 && fn->bdf.function == 0 ? "vfio-pci" : "");
        }
}

static void test_a_card_that_hangs_is_never_asked_again_and_those_behind_it_are(void **state)
{
        (void)state;
        assert_string_equal(walk(), EVERYBODY);
        say(0, 0, "(null)");
        end(PLAN_STUCK, 1);
        assert_int_equal(w.n_stuck, 1);
        assert_int_equal(w.stuck.bus, 1);
        assert_int_equal(w.stuck.function, 0);
        assert_int_equal(w.n_news, 1);
        assert_string_equal(walk(), "02.0 02.1");
        answer_all();
        w.now_ms += PROBE_AGE_MS;
        assert_string_equal(walk(), "02.0 02.1");
        answer_all();
        assert_int_equal(w.n_stuck, 1);
}

static void test_a_card_that_a_plan_hangs_at_is_left_alone(void **state)
{
        (void)state;
        probe_leave_alone(w.probe, (struct bdf){ 0, 2, 0, 0 });
        probe_leave_alone(w.probe, (struct bdf){ 0, 2, 0, 0 });
        assert_string_equal(walk(), "01.0 01.1");
        answer_all();
        assert_int_equal(w.n_stuck, 0);
}

static void test_a_card_at_work_is_asked_at_the_next_look(void **state)
{
        (void)state;
        assert_string_equal(walk(), EVERYBODY);
        say(0, -EBUSY, "another hand");
        say(1, -EBUSY, "another hand");
        say(2, 0, "(null)");
        say(3, 0, "(null)");
        end(PLAN_DONE, 4);
        w.now_ms += PROBE_BUSY_MS - 1;
        assert_string_equal(walk(), "01.0 01.1");
        say(0, -EBUSY, "another hand");
        say(1, 0, "(null)");
        end(PLAN_DONE, 2);
        assert_string_equal(walk(), "01.0");
        answer_all(); /* it ended, so the time begins anew */
        w.now_ms += PROBE_AGE_MS;
        assert_string_equal(walk(), EVERYBODY);
        say(0, -EBUSY, "another hand");
        end(PLAN_DONE, 4);
        assert_int_equal(w.n_stuck, 0);
}

static void test_a_card_at_work_for_too_long_is_stuck(void **state)
{
        (void)state;
        for (int i = 0; i < 2; i++) {
                (void)walk();
                say(0, -EBUSY, "another hand");
                say(1, -EBUSY, "another hand");
                end(PLAN_DONE, 4);
                assert_int_equal(w.n_stuck, i);
                w.now_ms += PROBE_BUSY_MS;
        }
        assert_int_equal(w.stuck.bus, 1);
        w.now_ms += PROBE_AGE_MS;
        assert_string_equal(walk(), "02.0 02.1");
        answer_all();
}

static void test_a_card_with_which_a_task_hangs_for_too_long_is_stuck_and_the_task_named(void **state)
{
        (void)state;
        for (int i = 0; i < 2; i++) {
                (void)walk();
                say(0, -EDEADLK, "task 77 (driverctl) hangs");
                end(PLAN_DONE, 4);
                assert_int_equal(w.n_stuck, i);
                w.now_ms += PROBE_BUSY_MS;
        }
        assert_int_equal(w.stuck.bus, 1);
        assert_string_equal(w.text, "task 77 (driverctl) hangs for 30 s");
}

/* A bind and its undo may take longer than PROBE_BUSY_MS. */
static void test_a_card_that_our_own_plan_is_at_work_on_is_not_asked(void **state)
{
        (void)state;
        (void)walk();
        say(0, -EBUSY, "another hand"); /* which began a moment ago */
        end(PLAN_DONE, 4);
        w.at_work = 1;
        w.now_ms += PROBE_AGE_MS;
        assert_string_equal(walk(), "02.0 02.1");
        end(PLAN_DONE, 2);
        w.at_work = 0;
        w.now_ms += PROBE_BUSY_MS;
        assert_string_equal(walk(), "01.0 01.1");
        say(0, -EBUSY, "another hand"); /* and another one */
        end(PLAN_DONE, 2);
        assert_int_equal(w.n_stuck, 0);
}

/* What a hand that died had left half-done was read, and is put right by this plan. */
static void test_what_was_read_before_a_plan_of_ours_is_not_believed_after_it(void **state)
{
        (void)state;
        (void)walk();
        say(0, 0, "nvidia");
        end(PLAN_DONE, 4);
        probe_apply(w.probe, w.inv);
        assert_true(w.inv->functions[1].override_known);
        w.inv->functions[1].override_known = false; /* a look begins with what it reads itself */
        w.at_work = 1;
        probe_apply(w.probe, w.inv);
        assert_false(w.inv->functions[1].override_known);
        w.at_work = 0;
        probe_apply(w.probe, w.inv);
        assert_false(w.inv->functions[1].override_known);
        assert_string_equal(walk(), "01.0"); /* asked again, though it is not old */
}

static void test_a_walk_that_got_no_hand_is_made_again(void **state)
{
        (void)state;
        assert_string_equal(walk(), EVERYBODY);
        end(PLAN_LOST, 4);
        assert_int_equal(w.n_stuck, 0);
        assert_string_equal(walk(), EVERYBODY);
        say(0, 0, "(null)");
        say(1, 0, "(null)");
        end(PLAN_LOST, 1); /* the hand died in the second step */
        assert_string_equal(walk(), "02.0 02.1");
        answer_all();
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
        static const struct CMUnitTest tests[] = {
                CASE(test_the_groups_of_gpus_are_asked_once_and_again_when_old),
                CASE(test_what_was_read_is_written_into_the_inventory),
                CASE(test_a_card_that_hangs_is_never_asked_again_and_those_behind_it_are),
                CASE(test_a_card_that_a_plan_hangs_at_is_left_alone),
                CASE(test_a_card_at_work_is_asked_at_the_next_look),
                CASE(test_a_card_at_work_for_too_long_is_stuck),
                CASE(test_a_card_with_which_a_task_hangs_for_too_long_is_stuck_and_the_task_named),
                CASE(test_a_card_that_our_own_plan_is_at_work_on_is_not_asked),
                CASE(test_what_was_read_before_a_plan_of_ours_is_not_believed_after_it),
                CASE(test_a_walk_that_got_no_hand_is_made_again),
        };

        return RUN(tests);
}
