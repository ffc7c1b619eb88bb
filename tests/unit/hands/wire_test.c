/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "hands/wire.h"

static struct plan good_plan(void)
{
        struct plan plan = { .n_steps = 2, .n_cards = 2, .cards = { { 0, 0x3b, 0, 0 }, { 0, 0x3c, 0, 0 } } };

        plan.steps[0] = (struct step){ .kind = STEP_OVERRIDE, .bdf = { 0, 0x3b, 0, 0 }, .text = "vfio-pci" };
        plan.steps[1] = (struct step){ .kind = STEP_READ_LOCKED, .bdf = { 0, 0x3b, 0, 0 }, .text = "nvidia/current_vgpu_type" };
        return plan;
}

#define SPOIL(name, statement)           \
        static void name(struct plan *p) \
        {                                \
                statement;               \
        }
SPOIL(nothing, (void)p)
SPOIL(too_many_steps, p->n_steps = PLAN_STEPS_MAX + 1)
SPOIL(too_many_cards, p->n_cards = PLAN_CARDS_MAX + 1)
SPOIL(unsorted_cards, p->cards[1].bus = 0x3a)
SPOIL(same_card_twice, p->cards[1] = p->cards[0])
SPOIL(impossible_card, p->cards[1].function = 8)
SPOIL(unknown_kind, memset(&p->steps[0].kind, 0x7f, sizeof(p->steps[0].kind)))
SPOIL(impossible_address, p->steps[1].bdf.device = 0x20)
SPOIL(long_wait, p->steps[0].wait_ms = 60001)
SPOIL(negative_wait, p->steps[0].wait_ms = -1)
SPOIL(endless_text, memset(p->steps[0].text, 'x', sizeof(p->steps[0].text)))
SPOIL(two_lines, strcpy(p->steps[0].text, "vfio-pci\nnvidia"))
SPOIL(a_path_as_driver, strcpy(p->steps[0].text, "../remove"))
SPOIL(no_utf8, strcpy(p->steps[0].text, "vfio\xff"))
SPOIL(attribute_upwards, strcpy(p->steps[1].text, "../0000:3c:00.0/remove"))
SPOIL(attribute_from_the_root, strcpy(p->steps[1].text, "/etc/shadow"))
SPOIL(attribute_with_an_empty_part, strcpy(p->steps[1].text, "nvidia//x"))
SPOIL(attribute_that_ends_in_a_slash, strcpy(p->steps[1].text, "nvidia/"))
SPOIL(no_attribute, p->steps[1].text[0] = '\0')
SPOIL(nameless_driver, (p->steps[0].kind = STEP_NEED_DRIVER, p->steps[0].text[0] = '\0'))
SPOIL(action_without_card, p->n_cards = 0)
SPOIL(waits_and_does_not_act, (p->steps[0].kind = STEP_AWAIT_DRIVER, p->awaits_word = 1))
SPOIL(awaits_what, p->awaits_word = 2)
SPOIL(awaits_a_word, p->awaits_word = 1)
SPOIL(resets, (p->steps[0].kind = STEP_RESET, strcpy(p->steps[0].text, "flr"), strcpy(p->steps[0].about, "flr af_flr")))
SPOIL(resets_by_new_methods, (resets(p), strcpy(p->steps[0].text, "CXL-2"), strcpy(p->steps[0].about, "flr CXL-2 bus0")))
SPOIL(resets_by_two_lines, (resets(p), strcpy(p->steps[0].about, "flr\nbus")))
SPOIL(resets_by_a_path, (resets(p), strcpy(p->steps[0].about, "../remove")))
SPOIL(resets_by_nothing, (resets(p), p->steps[0].about[0] = '\0'))
SPOIL(resets_back_to_nothing, (resets(p), p->steps[0].text[0] = '\0'))
SPOIL(probing_without_card, (p->steps[0].kind = STEP_AWAIT_DRIVER, p->n_cards = 0))

static void test_a_plan_is_checked_whole_before_it_is_used(void **state)
{
        static const struct {
                void (*spoil)(struct plan *plan);
                const char *says; /* NULL = valid */
        } rows[] = {
                { nothing, NULL },
                { too_many_steps, "a plan of" },
                { too_many_cards, "a plan of" },
                { unsorted_cards, "card 2" },
                { same_card_twice, "card 2" },
                { impossible_card, "card 2" },
                { unknown_kind, "step 1 is of unknown kind" },
                { impossible_address, "step 2 is out of bounds" },
                { long_wait, "step 1 is out of bounds" },
                { negative_wait, "step 1 is out of bounds" },
                { endless_text, "step 1 is out of bounds" },
                { two_lines, "the text of step 1" },
                { a_path_as_driver, "the text of step 1" },
                { no_utf8, "step 1 is out of bounds" },
                { attribute_upwards, "the text of step 2" },
                { attribute_from_the_root, "the text of step 2" },
                { attribute_with_an_empty_part, "the text of step 2" },
                { attribute_that_ends_in_a_slash, "the text of step 2" },
                { no_attribute, "the text of step 2" },
                { nameless_driver, "without a name" },
                { action_without_card, "names no card" },
                { probing_without_card, NULL },
                { waits_and_does_not_act, "does not act, and awaits a word" },
                { awaits_what, "awaits a word (2)" },
                { awaits_a_word, NULL },
                { resets, NULL },
                { resets_by_new_methods, NULL },
                { resets_by_two_lines, "the text of step 1" },
                { resets_by_a_path, "the text of step 1" },
                { resets_by_nothing, "the text of step 1" },
                { resets_back_to_nothing, "the text of step 1" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct plan plan = good_plan();
                struct err err = { 0 };
                rows[i].spoil(&plan);
                int r = wire_plan_valid(&plan, sizeof(plan), &err);
                assert_int_equal(r, rows[i].says ? -EPROTO : 0);
                if (rows[i].says && !strstr(err.msg, rows[i].says))
                        fail_msg("row %zu says '%s', not '%s'", i, err.msg, rows[i].says);
                assert_int_equal(wire_plan_valid(&plan, sizeof(plan) - 1, &err), -EPROTO);
        }
}

static void test_a_report_is_checked_against_its_plan(void **state)
{
        static const struct {
                struct report report;
                bool ok;
        } rows[] = {
                { { .kind = REPORT_BEFORE, .step = 8 }, true },
                { { .kind = REPORT_BEFORE, .step = 9 }, false },
                { { .kind = REPORT_END, .step = 9, .end = PLAN_BROKEN }, true },
                { { .kind = REPORT_END, .step = 10 }, false },
                { { .kind = REPORT_END, .step = 9, .end = PLAN_STUCK }, false },
                { { .kind = REPORT_CHECKED, .step = 8 }, true },
                { { .kind = REPORT_CHECKED, .step = 9 }, false },
                { { .kind = REPORT_READY, .step = 9 }, true },
                { { .kind = REPORT_READY, .step = 8 }, false },
                { { .kind = REPORT_READY + 1 }, false },
                { { .kind = REPORT_AFTER, .result = 1 }, false },
                { { .kind = REPORT_AFTER, .result = -EBUSY, .reason = REASON_HELD }, true },
                { { .kind = REPORT_AFTER, .reason = REASON_MAX }, false },
                { { .kind = REPORT_AFTER, .text = "\xc3\x28" }, false },
        };
        struct report endless = { .kind = REPORT_AFTER };
        struct err err;

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                if ((wire_report_valid(&rows[i].report, sizeof(struct report), 9, &err) == 0) != rows[i].ok)
                        fail_msg("row %zu", i);
        memset(endless.text, 'x', sizeof(endless.text));
        assert_int_equal(wire_report_valid(&endless, sizeof(endless), 9, &err), -EPROTO);
        assert_int_equal(wire_report_valid(&rows[0].report, 4, 9, &err), -EPROTO);
}

static void test_a_greeting_of_another_build_says_so(void **state)
{
        struct wire_hello hello = {
                .version = WIRE_VERSION,
                .plan_size = sizeof(struct plan),
                .report_size = sizeof(struct report),
                .lock_dir = "/run/x",
        };
        struct err err;

        (void)state;
        ASSERT_OK(wire_hello_valid(&hello, sizeof(hello), &err), &err);
        hello.plan_size++;
        assert_int_equal(wire_hello_valid(&hello, sizeof(hello), &err), -EPROTO);
        assert_non_null(strstr(err.msg, "one build"));
        hello.plan_size--;
        hello.version++;
        assert_int_equal(wire_hello_valid(&hello, sizeof(hello) - 8, &err), -EPROTO);
        assert_non_null(strstr(err.msg, "version 4"));
        hello.version--;
        memset(hello.mounts, 'x', sizeof(hello.mounts)); /* without an end */
        assert_int_equal(wire_hello_valid(&hello, sizeof(hello), &err), -EPROTO);
        hello.mounts[0] = '\0';
        hello.lock_dir[0] = '\0';
        assert_int_equal(wire_hello_valid(&hello, sizeof(hello), &err), -EPROTO);
        assert_int_equal(wire_hello_valid(&hello, 3, &err), -EPROTO);
}

static void test_a_worker_message_is_whole(void **state)
{
        struct wire_worker msg = { .kind = WIRE_WORKER, .pid = 7 };
        struct err err;

        (void)state;
        ASSERT_OK(wire_worker_valid(&msg, sizeof(msg), &err), &err);
        msg.pid = 0;
        assert_int_equal(wire_worker_valid(&msg, sizeof(msg), &err), -EPROTO);
        msg.kind = WIRE_FAILED;
        ASSERT_OK(wire_worker_valid(&msg, sizeof(msg), &err), &err);
        memset(msg.text, 'x', sizeof(msg.text));
        assert_int_equal(wire_worker_valid(&msg, sizeof(msg), &err), -EPROTO);
        msg.text[0] = '\0';
        msg.kind = WIRE_FAILED + 1;
        assert_int_equal(wire_worker_valid(&msg, sizeof(msg), &err), -EPROTO);
}

static void test_messages_keep_their_borders_and_carry_a_descriptor(void **state)
{
        int pair[2], passed = -1;
        char buf[4];

        (void)state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(wire_send(pair[0], "ab", 2, pair[0]), 0);
        assert_int_equal(wire_send(pair[0], "too long", 8, -1), 0);
        assert_int_equal(wire_send(pair[0], "c", 1, pair[0]), 0);
        assert_int_equal(wire_recv(pair[1], buf, sizeof(buf), &passed), 2);
        assert_true(passed >= 0);
        assert_true(fcntl(passed, F_GETFD) & FD_CLOEXEC);
        (void)close(passed);
        assert_int_equal(wire_recv(pair[1], buf, sizeof(buf), &passed), -EMSGSIZE);
        /* A descriptor nobody asked for does not stay. */
        int before = dup(pair[0]);
        (void)close(before);
        assert_int_equal(wire_recv(pair[1], buf, sizeof(buf), NULL), 1);
        int after = dup(pair[0]);
        (void)close(after);
        assert_int_equal(before, after);

        (void)close(pair[1]);
        assert_int_equal(wire_send(pair[0], "d", 1, -1), -EPIPE); /* and no SIGPIPE */
        (void)close(pair[0]);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_plan_is_checked_whole_before_it_is_used),
                TEST(test_a_report_is_checked_against_its_plan),
                TEST(test_a_greeting_of_another_build_says_so),
                TEST(test_a_worker_message_is_whole),
                TEST(test_messages_keep_their_borders_and_carry_a_descriptor),
        };

        return RUN(tests);
}
