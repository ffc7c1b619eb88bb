/* SPDX-License-Identifier: Apache-2.0 */
/* Releases against hands and a disk that the test moves. */
#include "one_card.h"

#include "claims/patient.h"

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

/* How often the log has @text; what it said since log_begin(). */
static FILE *log_file;
static int former_stderr;

static void log_begin(void)
{
        (void)fflush(stderr);
        log_file = tmpfile();
        former_stderr = dup(STDERR_FILENO);
        assert_non_null(log_file);
        assert_true(former_stderr >= 0 && dup2(fileno(log_file), STDERR_FILENO) >= 0);
}

static unsigned log_end(const char *text)
{
        char line[1024];
        unsigned n = 0;

        assert_true(dup2(former_stderr, STDERR_FILENO) >= 0);
        (void)close(former_stderr);
        rewind(log_file);
        while (fgets(line, sizeof(line), log_file))
                n += strstr(line, text) != NULL;
        (void)fclose(log_file);
        return n;
}

/* Each attempt writes down what it would narrow, and forgets it: that is said of none. */
static void test_a_held_release_does_not_say_at_each_attempt_that_nothing_is_left(void **state)
{
        (void)state;
        begin("any bind=on-allocate release=reset", ONE("pm+flr"));
        book.n_originals = 0;
        log_begin();
        assert_true(release_claim(claims, KEY));
        for (unsigned i = 0; i < 3; i++) {
                if (!disk_is_asked())
                        run_until(disk_is_asked);
                disk_answers(true);
                if (disk_is_asked())
                        disk_answers(true);
                end_plan(PLAN_REFUSED, REASON_HELD, "0000:01:00.0 is in use: pid 7 (qemu) has /dev/vfio/7 open");
                assert_int_equal(book.n_originals, 0);
        }
        assert_int_equal(log_end("is left to be given back"), 0);
        run_until(disk_is_asked);
        disk_answers(true);
        end_plan(PLAN_DONE, REASON_NONE, "");
        ASSERT_ENDED();
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

/* A recovery that has stepped aside will give the card back; its companion, without a driver by then, keeps no group from being viable. */
static void test_what_is_to_be_given_back_is_not_given_away_half_way(void **state)
{
        static const char half[] = ID " 10de:2204 0300 vfio-pci g=7 model=X\n0000:01:00.1 10de:1aef 0403 - g=7\ndriver nvidia\n";
        static const struct {
                enum original_state state;
                const char *host;
                enum reason reason;
        } rows[] = {
                { ORIGINAL_BINDING, half, REASON_CARD_BUSY },
                { ORIGINAL_RESTORING, half, REASON_CARD_BUSY },
                { ORIGINAL_BOUND, half, REASON_NONE },
                { ORIGINAL_BINDING, BOUND, REASON_NONE }, /* whole, whoever began it: it will be adopted */
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct outcome o = { 0 };
                begin("any bind=on-allocate", rows[i].host);
                book.claim.key[0] = '\0';
                for (size_t k = 0; k < book.n_originals; k++)
                        book.originals[k].state = rows[i].state;
                allocate(&o);
                assert_int_equal(o.n, 1);
                assert_int_equal(o.reason, rows[i].reason);
                if (rows[i].reason)
                        assert_non_null(strstr(o.text, "is not dealt with yet"));
                assert_int_equal(hand.n, rows[i].reason != REASON_NONE); /* the recovery tries at once */
                if (book.done)
                        disk_answers(true);
                end();
        }
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
                TEST(test_a_held_release_does_not_say_at_each_attempt_that_nothing_is_left),
                TEST(test_what_an_administrator_bound_is_remembered_while_it_is_narrowed),
                TEST(test_what_a_reset_left_narrowed_is_given_back_without_one),
                TEST(test_without_a_record_nothing_is_touched),
                TEST(test_what_is_to_be_given_back_is_not_given_away_half_way),
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
