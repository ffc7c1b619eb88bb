/* SPDX-License-Identifier: Apache-2.0 */
/* When a claim of kubelet's ends: conversations of answers and lists, at the millisecond. */
#include "../unit.h"

#include "base/str.h"
#include "core/claim_life.h"

enum event { ANSWERED, SHOWS, LACKS };

struct step {
        int64_t ms; /* of the answer; the list was asked for then */
        enum event event;
        unsigned kubelet;
        enum claim_sight sight; /* expected, of a list */
};

static void converse(const struct step *steps, size_t n)
{
        struct claim_life life = { 0 };

        for (size_t i = 0; i < n; i++) {
                if (steps[i].event == ANSWERED) {
                        claim_life_answered(&life, steps[i].ms);
                        continue;
                }
                const struct pod_list list = { .asked_ms = steps[i].ms, .kubelet = steps[i].kubelet };
                enum claim_sight sight = claim_life_list(&life, &list, steps[i].event == SHOWS);
                if (sight != steps[i].sight)
                        fail_msg("step %zu: sight %d, expected %d", i, (int)sight, (int)steps[i].sight);
        }
}
#define CONVERSE(...)                                               \
        do {                                                        \
                static const struct step steps[] = { __VA_ARGS__ }; \
                converse(steps, N_ELEMENTS(steps));                 \
        } while (0)

/* Boundaries are of the numbers that the documentation names. */
enum { T = 1000000, GRACE = 10000, UNSEEN = 300000 };

static void test_a_pod_that_was_shown_is_gone_after_two_lists_a_grace_apart(void **state)
{
        (void)state;
        CONVERSE({ T, ANSWERED, 0, 0 }, { T + 1, SHOWS, 1, SIGHT_SHOWN }, { T + 15000, SHOWS, 1, SIGHT_SHOWN },
                 { T + 30000, LACKS, 1, SIGHT_UNKNOWN }, { T + 30000 + GRACE - 1, LACKS, 1, SIGHT_UNKNOWN },
                 { T + 30000 + GRACE, LACKS, 1, SIGHT_GONE }, { T + 60000, LACKS, 1, SIGHT_GONE });
}

static void test_one_list_is_never_enough(void **state)
{
        (void)state;
        CONVERSE({ T, ANSWERED, 0, 0 }, { T + 1, SHOWS, 1, SIGHT_SHOWN }, { T + 9000000, LACKS, 1, SIGHT_UNKNOWN });
        CONVERSE({ T, ANSWERED, 0, 0 }, { T + 9000000, LACKS, 1, SIGHT_UNKNOWN });
}

static void test_shown_again_in_between_counts_from_the_start(void **state)
{
        (void)state;
        CONVERSE({ T, ANSWERED, 0, 0 }, { T + 1, SHOWS, 1, SIGHT_SHOWN }, { T + 10000, LACKS, 1, SIGHT_UNKNOWN },
                 { T + 15000, SHOWS, 1, SIGHT_SHOWN }, { T + 30000, LACKS, 1, SIGHT_UNKNOWN }, { T + 30000 + GRACE, LACKS, 1, SIGHT_GONE });
}

static void test_a_list_that_was_asked_for_before_the_answer_says_nothing(void **state)
{
        (void)state;
        /* The former pod's. Were it counted, two more without the new pod, which kubelet has not written down yet, would end it. */
        CONVERSE({ T, ANSWERED, 0, 0 }, { T - 5, SHOWS, 1, SIGHT_UNKNOWN }, { T, SHOWS, 1, SIGHT_UNKNOWN },
                 { T + 1, LACKS, 1, SIGHT_UNKNOWN }, { T + 1 + GRACE, LACKS, 1, SIGHT_UNKNOWN });
        CONVERSE({ T, ANSWERED, 0, 0 }, { T - 5, LACKS, 1, SIGHT_UNKNOWN }, { T - 5 + UNSEEN, LACKS, 1, SIGHT_UNKNOWN },
                 { T - 5 + 2 * UNSEEN, LACKS, 1, SIGHT_GONE });
}

static void test_what_is_never_shown_is_gone_after_five_minutes_of_lists(void **state)
{
        (void)state;
        CONVERSE({ T, ANSWERED, 0, 0 }, { T + 15000, LACKS, 1, SIGHT_UNKNOWN }, { T + 15000 + UNSEEN - 1, LACKS, 1, SIGHT_UNKNOWN },
                 { T + 15000 + UNSEEN, LACKS, 1, SIGHT_GONE });
        /* A pod that comes late: its image was not there. */
        CONVERSE({ T, ANSWERED, 0, 0 }, { T + 15000, LACKS, 1, SIGHT_UNKNOWN }, { T + 290000, SHOWS, 1, SIGHT_SHOWN },
                 { T + 400000, LACKS, 1, SIGHT_UNKNOWN }, { T + 400000 + GRACE, LACKS, 1, SIGHT_GONE });
}

static void test_the_same_id_asked_for_again_begins_anew(void **state)
{
        (void)state;
        CONVERSE({ T, ANSWERED, 0, 0 }, { T + 1, SHOWS, 1, SIGHT_SHOWN }, { T + 15000, LACKS, 1, SIGHT_UNKNOWN },
                 { T + 20000, ANSWERED, 0, 0 }, { T + 19999, LACKS, 1, SIGHT_UNKNOWN }, { T + 15000 + GRACE, LACKS, 1, SIGHT_UNKNOWN },
                 { T + 45000, LACKS, 1, SIGHT_UNKNOWN }, { T + 60000, SHOWS, 1, SIGHT_SHOWN });
}

static void test_another_kubelet_must_show_it_or_leave_it_out_for_five_minutes(void **state)
{
        (void)state;
        /* It knows its static pods first: VMs run on, and are in none of its lists. */
        CONVERSE({ T, ANSWERED, 0, 0 }, { T + 1, SHOWS, 1, SIGHT_SHOWN }, { T + 15000, LACKS, 2, SIGHT_UNKNOWN },
                 { T + 15000 + GRACE, LACKS, 2, SIGHT_UNKNOWN }, { T + 45000, LACKS, 2, SIGHT_UNKNOWN },
                 { T + 60000, SHOWS, 2, SIGHT_SHOWN }, { T + 75000, LACKS, 2, SIGHT_UNKNOWN }, { T + 75000 + GRACE, LACKS, 2, SIGHT_GONE });
        CONVERSE({ T, ANSWERED, 0, 0 }, { T + 1, SHOWS, 1, SIGHT_SHOWN }, { T + 15000, LACKS, 2, SIGHT_UNKNOWN },
                 { T + 15000 + UNSEEN, LACKS, 2, SIGHT_GONE });
        /* A list of each: no two of one. */
        CONVERSE({ T, ANSWERED, 0, 0 }, { T + 1, SHOWS, 1, SIGHT_SHOWN }, { T + 15000, LACKS, 1, SIGHT_UNKNOWN },
                 { T + 15000 + GRACE, LACKS, 2, SIGHT_UNKNOWN });
}

static void test_a_daemon_that_starts_does_not_go_by_what_an_earlier_one_saw(void **state)
{
        (void)state;
        CONVERSE({ T, ANSWERED, 0, 0 }, { T + 1, LACKS, 1, SIGHT_UNKNOWN }, { T + 1 + GRACE, LACKS, 1, SIGHT_UNKNOWN },
                 { T + 1 + UNSEEN, LACKS, 1, SIGHT_GONE });
}

static void test_a_device_is_found_in_a_list_by_its_whole_id(void **state)
{
        static const struct pod_device devices[] = { { .id = "0000:18:00.0" }, { .id = "0000:19:00.0" }, { .id = "0000:3a:00.0" } };
        const struct pod_list list = { .devices = devices, .n_devices = 3 };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(devices); i++)
                assert_ptr_equal(pod_list_find(&list, devices[i].id), &devices[i]);
        assert_null(pod_list_find(&list, "0000:18:00"));
        assert_null(pod_list_find(&list, "0000:18:00.00"));
        assert_null(pod_list_find(&list, ""));
        assert_null(pod_list_find(&(struct pod_list){ 0 }, "0000:18:00.0"));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_pod_that_was_shown_is_gone_after_two_lists_a_grace_apart),
                TEST(test_one_list_is_never_enough),
                TEST(test_shown_again_in_between_counts_from_the_start),
                TEST(test_a_list_that_was_asked_for_before_the_answer_says_nothing),
                TEST(test_what_is_never_shown_is_gone_after_five_minutes_of_lists),
                TEST(test_the_same_id_asked_for_again_begins_anew),
                TEST(test_another_kubelet_must_show_it_or_leave_it_out_for_five_minutes),
                TEST(test_a_daemon_that_starts_does_not_go_by_what_an_earlier_one_saw),
                TEST(test_a_device_is_found_in_a_list_by_its_whole_id),
        };

        return RUN(tests);
}
