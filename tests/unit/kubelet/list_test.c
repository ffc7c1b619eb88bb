/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "stage.h"

#include "base/clock.h"
#include "kubelet/kubelet_priv.h"

/* A stage with a pool of @n devices, registered, and a stream that has its first list. */
static struct raw *open_stream(struct stage *stage, size_t n, const char *health)
{
        stage_kubelet_up(stage);
        assert_true(stage_until(stage, stage_registered, 3000));
        struct raw *raw = raw_open(stage_endpoint(stage), LIST);
        assert_true(stage_sees(stage, raw, n, health, 3000));
        return raw;
}

static void test_the_first_list_is_complete_with_health_and_numa_node(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        stage_offer(stage, 8, 8);
        struct raw *raw = open_stream(stage, 8, "Healthy");
        assert_int_equal(raw_turn(raw, true)->last_numa, 1);
        assert_int_equal(raw_turn(raw, true)->n_messages, 1);
        raw_close(raw);
        stage_free(stage);
}

static void test_unknown_numa_nodes_are_never_sent(void **state)
{
        struct device devices[2] = { { .id = "a", .state = DEVICE_HEALTHY, .numa_node = -1 },
                                     { .id = "b", .state = DEVICE_UNHEALTHY, .numa_node = 3 } };
        size_t indexes[2] = { 0, 1 };
        struct offer offer = { .devices = devices, .n_devices = 2 };
        struct pool pool = { .devices = indexes, .n_devices = 2, .topology = true };
        _cleanup_list_ struct list list;

        (void)state;
        list_make(&list, &offer, &pool, false);
        assert_int_equal(list.msg.n_devices, 2); /* the sick one, too */
        assert_null(list.msg.devices[0]->topology);
        assert_int_equal(list.msg.devices[1]->topology->nodes[0]->id, 3);
        assert_string_equal(list.msg.devices[0]->health, "Healthy");
        assert_string_equal(list.msg.devices[1]->health, "Unhealthy");
        list_done(&list);
        pool.topology = false; /* mixed: none at all */
        list_make(&list, &offer, &pool, false);
        assert_null(list.msg.devices[1]->topology);
}

static void test_a_change_is_sent_at_once_and_its_followers_are_gathered(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        stage_offer(stage, 8, 8);
        struct raw *raw = open_stream(stage, 8, "Healthy");
        stage_turn(stage, GATHER_MS + 20);
        unsigned before = raw_turn(raw, true)->n_messages;
        int64_t start = clock_ms();
        stage_offer(stage, 8, 0);
        assert_true(stage_sees(stage, raw, 8, "Unhealthy", 2000));
        assert_true(clock_ms() - start < GATHER_MS / 2);
        for (unsigned i = 0; i < 21; i++)
                stage_offer(stage, 8, i % 2 ? 0 : 8);
        assert_true(stage_sees(stage, raw, 8, "Healthy", 2000));
        assert_in_range(clock_ms() - start, GATHER_MS - 5, 2000);
        assert_int_equal(raw_turn(raw, true)->n_messages, before + 2); /* twenty-one changes are one list */
        raw_close(raw);
        stage_free(stage);
}

/* Neither what was offered while nobody listened nor the list that a stream begins with is a change to wait for. */
static void test_a_change_right_after_registration_is_sent_at_once(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        stage_offer(stage, 8, 8);
        struct raw *raw = open_stream(stage, 8, "Healthy");
        int64_t start = clock_ms();
        stage_offer(stage, 8, 0);
        assert_true(stage_sees(stage, raw, 8, "Unhealthy", 2000));
        assert_true(clock_ms() - start < GATHER_MS / 2);
        raw_close(raw);
        stage_free(stage);
}

static void test_an_offer_that_changes_nothing_sends_nothing(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        stage_offer(stage, 8, 8);
        struct raw *raw = open_stream(stage, 8, "Healthy");
        for (int i = 0; i < 5; i++)
                stage_offer(stage, 8, 8);
        stage_turn(stage, GATHER_MS + 50);
        assert_int_equal(raw_turn(raw, true)->n_messages, 1);
        raw_close(raw);
        stage_free(stage);
}

static void test_a_pool_that_is_offered_no_more_stays_listed_unhealthy(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        stage_offer(stage, 8, 8);
        struct raw *raw = open_stream(stage, 8, "Healthy");
        stage_offer_nothing(stage);
        assert_true(stage_sees(stage, raw, 8, "Unhealthy", 2000));
        stage_offer(stage, 8, 8);
        assert_true(stage_sees(stage, raw, 8, "Healthy", 2000));
        raw_close(raw);
        stage_free(stage);
}

static void test_a_list_that_kubelet_would_choke_on_is_not_sent(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        stage_offer(stage, 8, 8);
        struct raw *raw = open_stream(stage, 8, "Healthy");
        stage_offer(stage, 120000, 0);
        stage_turn(stage, GATHER_MS + 100);
        assert_int_equal(raw_turn(raw, true)->n_messages, 1);
        assert_int_equal(raw_turn(raw, true)->last_n_devices, 8);
        stage_offer(stage, 9, 9);
        assert_true(stage_sees(stage, raw, 9, "Healthy", 2000));
        raw_close(raw);
        stage_free(stage);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_the_first_list_is_complete_with_health_and_numa_node),
                TEST(test_unknown_numa_nodes_are_never_sent),
                TEST(test_a_change_is_sent_at_once_and_its_followers_are_gathered),
                TEST(test_a_change_right_after_registration_is_sent_at_once),
                TEST(test_an_offer_that_changes_nothing_sends_nothing),
                TEST(test_a_pool_that_is_offered_no_more_stays_listed_unhealthy),
                TEST(test_a_list_that_kubelet_would_choke_on_is_not_sent),
        };

        return RUN(tests);
}
