/* SPDX-License-Identifier: Apache-2.0 */
/* The registration state machine as conversations: what happens, when, and what must be done then. */
#include "../unit.h"

#include <string.h>

#include "base/str.h"
#include "kubelet/lifecycle.h"

enum event {
        KUBELET, /* a look at kubelet.sock: arg is its inode, 0 = absent */
        GONE,    /* our socket is gone */
        LISTENS, /* the new socket: arg 0 = there, 1 = failed */
        ANSWER,  /* Register number arg is answered with code and text */
        OPENED,
        CLOSED,
        TICK
};

struct step {
        int64_t ms; /* time of the event */
        enum event event;
        unsigned arg;
        enum rpc_code code;
        const char *text;
        unsigned actions; /* expected */
        enum life_state state;
};

static unsigned feed(struct life *life, const struct step *step)
{
        struct life_now now = { .ms = step->ms, .jitter = 1023 };
        struct life_epoch epoch = { .dev = step->arg ? 1 : 0, .ino = step->arg, .born_ns = step->arg };

        switch (step->event) {
        case KUBELET:
                return life_kubelet(life, now, epoch);
        case GONE:
                return life_socket_gone(life, now);
        case LISTENS:
                return life_listening(life, now, step->arg ? "no space" : NULL);
        case ANSWER:
                return life_registered(life, now, step->arg, step->code, step->text ? step->text : "");
        case OPENED:
                return life_stream_opened(life, now);
        case CLOSED:
                return life_stream_closed(life, now);
        default:
                return life_tick(life, now);
        }
}

static void converse(struct life *life, const struct step *steps, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                unsigned actions = feed(life, &steps[i]);
                if (actions != steps[i].actions || life->state != steps[i].state)
                        fail_msg("step %zu: actions %#x, expected %#x; state %s, expected %s", i, actions, steps[i].actions,
                                 life_state_name(life->state), life_state_name(steps[i].state));
        }
}
#define CONVERSE(life, ...)                                                 \
        do {                                                                \
                static const struct step steps_[] = { __VA_ARGS__ };        \
                converse(life, steps_, sizeof(steps_) / sizeof(steps_[0])); \
        } while (0)

/* The way to SERVING with kubelet number 7 and Register number 1. */
#define UNTIL_SERVING                                                                                                         \
        { 0, KUBELET, 7, 0, NULL, LIFE_LISTEN, LIFE_LISTENING }, { 0, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING }, \
                { 5, ANSWER, 1, RPC_OK, NULL, 0, LIFE_WAIT },                                                                 \
        {                                                                                                                     \
                6, OPENED, 0, 0, NULL, 0, LIFE_SERVING                                                                        \
        }

static void test_register_follows_the_socket_and_the_list_follows_register(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        CONVERSE(&life, { 0, KUBELET, 0, 0, NULL, 0, LIFE_INIT }, UNTIL_SERVING);
        assert_int_equal(life.registrations, 1);
        assert_string_equal(life.problem, "");
        assert_true(life.due_ms == INT64_MAX); /* nothing to wake up for */
}

static void test_the_list_may_be_asked_for_before_register_is_answered(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        CONVERSE(&life, { 0, KUBELET, 7, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                 { 0, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING }, { 3, OPENED, 0, 0, NULL, 0, LIFE_REGISTERING },
                 { 5, ANSWER, 1, RPC_OK, NULL, 0, LIFE_SERVING });
}

static void test_nothing_is_done_while_kubelet_is_absent_for_hours(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        for (int64_t ms = 0; ms < INT64_C(3) * 3600 * 1000; ms += 5000) {
                assert_int_equal(life_kubelet(&life, (struct life_now){ ms, 0 }, (struct life_epoch){ 0 }), 0);
                assert_int_equal(life_tick(&life, (struct life_now){ ms, 0 }), 0);
        }
        CONVERSE(&life, UNTIL_SERVING);
}

static void test_retries_come_at_once_then_within_two_ms_then_ever_slower(void **state)
{
        static const struct {
                int64_t least, most;
        } expected[] = { { 0, 0 },       { 1, 2 },       { 3, 4 },         { 6, 8 },         { 12, 16 },      { 24, 32 },
                         { 48, 64 },     { 96, 128 },    { 192, 256 },     { 384, 512 },     { 768, 1024 },   { 1536, 2048 },
                         { 3072, 4096 }, { 6144, 8192 }, { 12288, 16384 }, { 22500, 30000 }, { 22500, 30000 } };
        struct life life;
        int64_t ms = 1000;

        (void)state;
        for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
                assert_int_equal(life_delay_ms((unsigned)i, 0), expected[i].least);
                assert_in_range(life_delay_ms((unsigned)i, 1023), expected[i].least, expected[i].most);
                assert_true(i <= 2 || life_delay_ms((unsigned)i, 1023) > expected[i].least); /* jitter does something */
        }
        assert_in_range(life_delay_ms(1000000, 1023), 22500, 30000);

        /* The same seen from outside: every try is lost. */
        life_init(&life);
        assert_int_equal(life_kubelet(&life, (struct life_now){ ms, 512 }, (struct life_epoch){ 1, 7, 7 }), LIFE_LISTEN);
        for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
                struct life_now now = { ms, 512 };
                assert_int_equal(life_listening(&life, now, NULL), LIFE_REGISTER);
                unsigned actions = life_registered(&life, now, life.attempt, RPC_UNAVAILABLE, "nobody there");
                assert_int_equal(actions, i == 0 ? LIFE_LISTEN : 0);
                if (i == 0)
                        continue;
                assert_int_equal(life.state, LIFE_BACKOFF);
                assert_in_range(life.due_ms - ms, expected[i].least, expected[i].most);
                assert_int_equal(life_tick(&life, (struct life_now){ life.due_ms - 1, 0 }), 0);
                ms = life.due_ms;
                assert_int_equal(life_tick(&life, (struct life_now){ ms, 0 }), LIFE_LISTEN);
        }
        /* A new kubelet makes the schedule start anew. */
        assert_int_equal(life_listening(&life, (struct life_now){ ms, 0 }, NULL), LIFE_REGISTER);
        assert_int_equal(life_registered(&life, (struct life_now){ ms, 0 }, life.attempt, RPC_UNAVAILABLE, ""), 0);
        assert_int_equal(life_kubelet(&life, (struct life_now){ ms + 1, 0 }, (struct life_epoch){ 1, 8, 8 }), LIFE_LISTEN);
        assert_int_equal(life.failures, 0);
}

static void test_a_stream_that_ends_means_registering_again_at_once(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        CONVERSE(&life, UNTIL_SERVING, { 100, CLOSED, 0, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                 { 100, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING });
}

static void test_a_kubelet_that_closes_every_stream_does_not_make_us_spin(void **state)
{
        struct life life;
        int64_t ms = 10;
        unsigned tries = 0;

        (void)state;
        life_init(&life);
        CONVERSE(&life, UNTIL_SERVING);
        while (ms < 60000) {
                struct life_now now = { ms, 1023 };
                unsigned actions = life_stream_closed(&life, now);
                if (!actions) {
                        now.ms = ms = life.due_ms;
                        actions = life_tick(&life, now);
                }
                assert_int_equal(actions, LIFE_LISTEN);
                assert_int_equal(life_listening(&life, now, NULL), LIFE_REGISTER);
                assert_int_equal(life_registered(&life, now, life.attempt, RPC_OK, ""), 0);
                assert_int_equal(life_stream_opened(&life, now), 0);
                tries++;
        }
        assert_in_range(tries, 5, 16);
        /* One that has lived for a while is a new beginning. */
        assert_int_equal(life_stream_closed(&life, (struct life_now){ ms + LIFE_STABLE_MS, 0 }), LIFE_LISTEN);
}

static void test_old_streams_have_ended_before_register_is_called_again(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        CONVERSE(&life, UNTIL_SERVING, { 50, KUBELET, 8, 0, NULL, LIFE_FINISH_STREAMS | LIFE_LISTEN, LIFE_LISTENING },
                 { 50, LISTENS, 0, 0, NULL, 0, LIFE_LISTENING }, /* the socket is there, the old stream is still open */
                 { 60, TICK, 0, 0, NULL, 0, LIFE_LISTENING }, { 70, CLOSED, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING });
}

static void test_a_stream_that_does_not_end_is_cut_off_within_two_seconds(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        CONVERSE(&life, UNTIL_SERVING, { 6, OPENED, 0, 0, NULL, 0, LIFE_SERVING }, /* two of them */
                 { 50, KUBELET, 8, 0, NULL, LIFE_FINISH_STREAMS | LIFE_LISTEN, LIFE_LISTENING },
                 { 50, LISTENS, 0, 0, NULL, 0, LIFE_LISTENING }, { 60, CLOSED, 0, 0, NULL, 0, LIFE_LISTENING },
                 { 1549, TICK, 0, 0, NULL, 0, LIFE_LISTENING }, { 1550, TICK, 0, 0, NULL, LIFE_CANCEL_STREAMS, LIFE_LISTENING },
                 { 1551, CLOSED, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING });
        assert_true(LIFE_DRAIN_MS < 2000);
}

static void test_a_stream_opened_while_the_old_ones_end_is_ended_too(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        CONVERSE(&life, UNTIL_SERVING, { 50, GONE, 0, 0, NULL, LIFE_FINISH_STREAMS | LIFE_LISTEN, LIFE_LISTENING },
                 { 50, LISTENS, 0, 0, NULL, 0, LIFE_LISTENING }, { 51, OPENED, 0, 0, NULL, LIFE_FINISH_STREAMS, LIFE_LISTENING },
                 { 52, CLOSED, 0, 0, NULL, 0, LIFE_LISTENING }, { 53, CLOSED, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING });
}

static void test_an_answer_of_a_kubelet_that_is_no_more_counts_for_nothing(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        /* The old kubelet holds its answer until the new kubelet.sock is there. */
        CONVERSE(&life, { 0, KUBELET, 7, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                 { 0, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING },
                 { 10, KUBELET, 8, 0, NULL, LIFE_DROP_REGISTER | LIFE_LISTEN, LIFE_LISTENING },
                 { 10, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING },
                 { 11, ANSWER, 1, RPC_OK, NULL, 0, LIFE_REGISTERING }, /* the old one's: ignored */
                 { 12, ANSWER, 2, RPC_OK, NULL, 0, LIFE_WAIT }, { 13, OPENED, 0, 0, NULL, 0, LIFE_SERVING });
        assert_int_equal(life.registrations, 1);
}

static void test_an_answer_after_kubelet_sock_went_away_means_waiting_for_the_next_one(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        CONVERSE(&life, { 0, KUBELET, 7, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                 { 0, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING }, { 5, KUBELET, 0, 0, NULL, 0, LIFE_REGISTERING },
                 { 6, ANSWER, 1, RPC_OK, NULL, 0, LIFE_INIT }, { 7, KUBELET, 8, 0, NULL, LIFE_LISTEN, LIFE_LISTENING });
}

static void test_a_stream_that_came_and_went_before_the_answer_means_registering_again(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        CONVERSE(&life, { 0, KUBELET, 7, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                 { 0, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING }, { 3, OPENED, 0, 0, NULL, 0, LIFE_REGISTERING },
                 { 4, CLOSED, 0, 0, NULL, 0, LIFE_REGISTERING }, { 5, ANSWER, 1, RPC_OK, NULL, LIFE_LISTEN, LIFE_LISTENING });
}

static void test_a_wiped_directory_means_a_new_socket_and_registering_again(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        CONVERSE(&life, { 0, KUBELET, 7, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                 { 0, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING },
                 /* inside Register: kubelet would dial a socket that is gone, for ten seconds */
                 { 1, GONE, 0, 0, NULL, LIFE_DROP_REGISTER | LIFE_LISTEN, LIFE_LISTENING },
                 { 1, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING }, { 5, ANSWER, 2, RPC_OK, NULL, 0, LIFE_WAIT },
                 { 6, OPENED, 0, 0, NULL, 0, LIFE_SERVING },
                 /* wiped first, the new kubelet.sock later: nothing to do in between */
                 { 50, KUBELET, 0, 0, NULL, 0, LIFE_SERVING }, { 50, GONE, 0, 0, NULL, 0, LIFE_SERVING },
                 { 51, CLOSED, 0, 0, NULL, 0, LIFE_INIT }, { 60, KUBELET, 8, 0, NULL, LIFE_LISTEN, LIFE_LISTENING });
}

static void test_a_late_list_after_a_lost_register_is_accepted(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        CONVERSE(&life, { 0, KUBELET, 7, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                 { 0, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING },
                 { 15000, ANSWER, 1, RPC_DEADLINE_EXCEEDED, "late", LIFE_LISTEN, LIFE_LISTENING },
                 { 15000, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING },
                 { 30000, ANSWER, 2, RPC_DEADLINE_EXCEEDED, "late", 0, LIFE_BACKOFF }, { 30002, OPENED, 0, 0, NULL, 0, LIFE_SERVING },
                 { 30020, TICK, 0, 0, NULL, 0, LIFE_SERVING });
        assert_string_equal(life.problem, "");

        /* Or it is there already when the call times out. */
        life_init(&life);
        CONVERSE(&life, { 0, KUBELET, 7, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                 { 0, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING }, { 14000, OPENED, 0, 0, NULL, 0, LIFE_REGISTERING },
                 { 15000, ANSWER, 1, RPC_DEADLINE_EXCEEDED, "late", 0, LIFE_SERVING });
}

static void test_after_a_refusal_registering_goes_on_although_a_stream_is_open(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        /* A failed Register makes kubelet up to 1.36 forget the client whose stream it still reads. */
        CONVERSE(&life, { 0, KUBELET, 7, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                 { 0, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING }, { 1, OPENED, 0, 0, NULL, 0, LIFE_REGISTERING },
                 { 2, ANSWER, 1, RPC_UNKNOWN, "failed to dial device plugin: context deadline exceeded", LIFE_FINISH_STREAMS | LIFE_LISTEN,
                   LIFE_LISTENING },
                 { 2, LISTENS, 0, 0, NULL, 0, LIFE_LISTENING }, { 3, CLOSED, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING },
                 { 4, ANSWER, 2, RPC_UNKNOWN, "device plugin already connected: x", 0, LIFE_BACKOFF },
                 { 5, OPENED, 0, 0, NULL, 0, LIFE_BACKOFF });
}

static void test_no_list_within_fifteen_seconds_means_registering_again(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        CONVERSE(&life, { 0, KUBELET, 7, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                 { 0, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING }, { 5, ANSWER, 1, RPC_OK, NULL, 0, LIFE_WAIT },
                 { 15004, TICK, 0, 0, NULL, 0, LIFE_WAIT }, { 15005, TICK, 0, 0, NULL, LIFE_LISTEN, LIFE_LISTENING });
        assert_non_null(strstr(life.problem, "did not ask"));
}

static void test_the_two_final_refusals_stop_a_resource_until_kubelet_restarts(void **state)
{
        static const char *const texts[] = {
                "the ResourceName \"gpu\" is invalid",
                "requested API version \"v1beta1\" is not supported by kubelet. Supported version is [\"v2\"]",
        };

        (void)state;
        for (size_t i = 0; i < 2; i++) {
                struct life life;
                life_init(&life);
                CONVERSE(&life, { 0, KUBELET, 7, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                         { 0, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING });
                assert_int_equal(life_registered(&life, (struct life_now){ 5, 0 }, 1, RPC_UNKNOWN, texts[i]), 0);
                assert_int_equal(life.state, LIFE_REFUSED);
                assert_string_equal(life.problem, texts[i]);
                CONVERSE(&life, { 1000000, TICK, 0, 0, NULL, 0, LIFE_REFUSED }, { 1000000, GONE, 0, 0, NULL, 0, LIFE_REFUSED },
                         { 1000001, KUBELET, 8, 0, NULL, LIFE_LISTEN, LIFE_LISTENING });
        }
}

static void test_every_other_refusal_is_tried_again(void **state)
{
        static const struct {
                enum rpc_code code;
                const char *text;
        } rows[] = {
                { RPC_UNKNOWN, "failed to dial device plugin: context deadline exceeded" },
                { RPC_UNKNOWN, "failed to get device plugin options: rpc error: code = Unavailable desc = x" },
                { RPC_UNKNOWN, "device plugin already connected: /var/lib/kubelet/device-plugins/x.sock" },
                { RPC_UNAVAILABLE, "connection refused" },
                { RPC_DEADLINE_EXCEEDED, "Deadline Exceeded" },
                { RPC_INTERNAL, "the ResourceName \"x\" is invalid" }, /* the text, but not from kubelet's handler */
        };

        (void)state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct life life;
                life_init(&life);
                CONVERSE(&life, { 0, KUBELET, 7, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                         { 0, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING });
                assert_int_equal(life_registered(&life, (struct life_now){ 5, 0 }, 1, rows[i].code, rows[i].text), LIFE_LISTEN);
                assert_string_equal(life.problem, rows[i].text);
        }
}

static void test_a_socket_that_cannot_be_made_is_tried_again(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        CONVERSE(&life, { 0, KUBELET, 7, 0, NULL, LIFE_LISTEN, LIFE_LISTENING }, { 0, LISTENS, 1, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                 { 0, LISTENS, 1, 0, NULL, 0, LIFE_BACKOFF }, { 10, TICK, 0, 0, NULL, LIFE_LISTEN, LIFE_LISTENING },
                 { 10, LISTENS, 0, 0, NULL, LIFE_REGISTER, LIFE_REGISTERING });
        assert_string_equal(life.problem, "no space");
}

static void test_kubelet_restarting_every_second_is_followed_every_time(void **state)
{
        struct life life;

        (void)state;
        life_init(&life);
        for (unsigned i = 1; i <= 60; i++) {
                struct life_now now = { i * INT64_C(1000), 100 };
                unsigned expected = LIFE_LISTEN | (i > 1 ? LIFE_FINISH_STREAMS : 0);
                assert_int_equal(life_kubelet(&life, now, (struct life_epoch){ 1, 7 /* the inode is used again */, i }), expected);
                unsigned actions = life_listening(&life, now, NULL);
                if (i > 1)
                        actions = life_stream_closed(&life, now);
                assert_int_equal(actions, LIFE_REGISTER);
                assert_int_equal(life_registered(&life, now, i, RPC_OK, ""), 0);
                assert_int_equal(life_stream_opened(&life, now), 0);
                assert_int_equal(life.state, LIFE_SERVING);
        }
        assert_int_equal(life.registrations, 60);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_register_follows_the_socket_and_the_list_follows_register),
                TEST(test_the_list_may_be_asked_for_before_register_is_answered),
                TEST(test_nothing_is_done_while_kubelet_is_absent_for_hours),
                TEST(test_retries_come_at_once_then_within_two_ms_then_ever_slower),
                TEST(test_a_stream_that_ends_means_registering_again_at_once),
                TEST(test_a_kubelet_that_closes_every_stream_does_not_make_us_spin),
                TEST(test_old_streams_have_ended_before_register_is_called_again),
                TEST(test_a_stream_that_does_not_end_is_cut_off_within_two_seconds),
                TEST(test_a_stream_opened_while_the_old_ones_end_is_ended_too),
                TEST(test_an_answer_of_a_kubelet_that_is_no_more_counts_for_nothing),
                TEST(test_an_answer_after_kubelet_sock_went_away_means_waiting_for_the_next_one),
                TEST(test_a_stream_that_came_and_went_before_the_answer_means_registering_again),
                TEST(test_a_wiped_directory_means_a_new_socket_and_registering_again),
                TEST(test_a_late_list_after_a_lost_register_is_accepted),
                TEST(test_after_a_refusal_registering_goes_on_although_a_stream_is_open),
                TEST(test_no_list_within_fifteen_seconds_means_registering_again),
                TEST(test_the_two_final_refusals_stop_a_resource_until_kubelet_restarts),
                TEST(test_every_other_refusal_is_tried_again),
                TEST(test_a_socket_that_cannot_be_made_is_tried_again),
                TEST(test_kubelet_restarting_every_second_is_followed_every_time),
        };

        return RUN(tests);
}
