/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "raw.h"
#include "rig.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

#define LIST "/v1beta1.DevicePlugin/ListAndWatch"

static struct raw *open_stream(struct rig *rig)
{
        unsigned before = rig->n_streams;
        struct raw *raw = raw_open(rig->path, LIST);

        for (int i = 0; i < 10000 && rig->n_streams == before; i++) {
                rig_turn(rig, 2);
                (void)raw_turn(raw, false);
        }
        assert_int_equal(rig->n_streams, before + 1);
        return raw;
}

/* More than the transport takes while the client reads nothing: a send is in flight and does not end. Many lists, because on
 * a busy machine some are overtaken before they are sent. */
static void fill(struct rig *rig)
{
        for (int i = 0; i < 20; i++) {
                assert_int_equal(rig_set(rig, 20000, "x"), 0);
                rig_turn(rig, 5);
        }
}

/* Turns both sides until the last list the client saw starts with @health. */
static bool sees(struct rig *rig, struct raw *raw, const char *health, unsigned ms)
{
        for (int64_t end = clock_ms() + ms; clock_ms() < end;) {
                rig_turn(rig, 1);
                if (streq(raw_turn(raw, true)->last_health, health))
                        return true;
        }
        return false;
}

static bool sees_status(struct rig *rig, struct raw *raw, unsigned ms)
{
        for (int64_t end = clock_ms() + ms; clock_ms() < end;) {
                rig_turn(rig, 1);
                if (raw_turn(raw, true)->status_known)
                        return true;
        }
        return false;
}

static void test_the_first_value_arrives_and_so_does_a_change(void **state)
{
        struct rig *rig = rig_new();
        struct raw *raw = open_stream(rig);

        (void)state;
        assert_int_equal(rig_set(rig, 3, "Healthy"), 0);
        assert_true(sees(rig, raw, "Healthy", 2000));
        assert_int_equal(raw_turn(raw, true)->last_n_devices, 3);
        assert_int_equal(rig_set(rig, 3, "Unhealthy"), 0);
        assert_true(sees(rig, raw, "Unhealthy", 2000));
        assert_int_equal(raw_turn(raw, true)->n_messages, 2);
        raw_close(raw);
        rig_free(rig);
}

static void test_of_five_hundred_updates_the_last_always_arrives(void **state)
{
        struct rig *rig = rig_new();
        struct raw *raw = open_stream(rig);
        char health[32];

        (void)state;
        for (int i = 1; i <= 500; i++) {
                str_format(health, sizeof(health), "%d", i);
                assert_int_equal(rig_set(rig, 200, health), 0);
                if (i % 50 == 0)
                        rig_turn(rig, 2);
        }
        assert_true(sees(rig, raw, "500", 5000));
        assert_true(raw_turn(raw, true)->n_messages < 500); /* what waits is replaced, not queued */
        raw_close(raw);
        rig_free(rig);
}

static void test_a_client_that_does_not_read_gets_the_latest_when_it_does(void **state)
{
        struct rig *rig = rig_new();
        struct raw *raw = open_stream(rig);
        char health[32];

        (void)state;
        for (int i = 1; i <= 40; i++) { /* 10000 devices are 0.6 MB: far beyond the flow-control window */
                str_format(health, sizeof(health), "%d", i);
                assert_int_equal(rig_set(rig, 10000, health), 0);
                rig_turn(rig, 2);
        }
        assert_true(sees(rig, raw, "40", 10000));
        assert_true(raw_turn(raw, true)->n_messages < 20);
        raw_close(raw);
        rig_free(rig);
}

static void test_a_list_above_the_limit_is_refused_and_the_former_stays(void **state)
{
        struct rig *rig = rig_new();
        struct raw *raw = open_stream(rig);

        (void)state;
        assert_int_equal(rig_set(rig, 5, "good"), 0);
        assert_int_equal(rig_set(rig, 80000, "large"), -EMSGSIZE);
        assert_true(sees(rig, raw, "good", 2000));
        assert_int_equal(raw_turn(raw, true)->last_n_devices, 5);
        raw_close(raw);
        rig_free(rig);
}

static void test_a_client_that_leaves_is_noticed(void **state)
{
        struct rig *rig = rig_new();
        struct raw *raw = open_stream(rig);
        int64_t start = clock_ms();

        (void)state;
        assert_int_equal(rig_set(rig, 1, "Healthy"), 0);
        assert_true(sees(rig, raw, "Healthy", 2000));
        raw_close(raw);
        for (int i = 0; i < 5000 && rig->n_closed == 0; i++)
                rig_turn(rig, 2);
        assert_int_equal(rig->n_closed, 1);
        assert_true(clock_ms() - start < 2000);
        rig_free(rig);
}

static void test_a_client_that_leaves_while_a_send_waits_for_it_is_noticed(void **state)
{
        struct rig *rig = rig_new();
        struct raw *raw = open_stream(rig);

        (void)state;
        fill(rig);
        raw_close(raw);
        for (int i = 0; i < 5000 && rig->n_closed == 0; i++)
                rig_turn(rig, 2);
        assert_int_equal(rig->n_closed, 1);
        rig_free(rig);
}

static void test_a_finished_stream_ends_with_its_status(void **state)
{
        struct rig *rig = rig_new();
        struct raw *raw = open_stream(rig);

        (void)state;
        assert_int_equal(rig_set(rig, 1, "Healthy"), 0);
        assert_true(sees(rig, raw, "Healthy", 2000));
        rpc_stream_finish(rig->stream, RPC_UNAVAILABLE, "kubelet restarted");
        rpc_stream_finish(rig->stream, RPC_UNAVAILABLE, "twice is once");
        assert_int_equal(rig_set(rig, 1, "too late"), 0);
        assert_true(sees_status(rig, raw, 2000));
        assert_int_equal(raw_turn(raw, true)->status, RPC_UNAVAILABLE);
        assert_string_equal(raw_turn(raw, true)->details, "kubelet restarted");
        assert_string_equal(raw_turn(raw, true)->last_health, "Healthy");
        for (int i = 0; i < 5000 && rig->n_closed == 0; i++)
                rig_turn(rig, 2);
        assert_int_equal(rig->n_closed, 1);
        raw_close(raw);
        rig_free(rig);
}

static void test_a_cancelled_stream_is_over_even_when_nobody_reads(void **state)
{
        struct rig *rig = rig_new();
        struct raw *raw = open_stream(rig);

        (void)state;
        fill(rig);
        rpc_stream_finish(rig->stream, RPC_UNAVAILABLE, "kubelet restarted");
        rig_turn(rig, 50);
        assert_int_equal(rig->n_closed, 0); /* the send in flight is in the way */
        rpc_stream_cancel(rig->stream);
        for (int i = 0; i < 5000 && rig->n_closed == 0; i++)
                rig_turn(rig, 2);
        assert_int_equal(rig->n_closed, 1);
        raw_close(raw);
        rig_free(rig);
}

static void test_a_stop_ends_open_streams_with_unavailable(void **state)
{
        struct rig *rig = rig_new();
        struct raw *raws[3];
        int64_t start;

        (void)state;
        for (size_t i = 0; i < 3; i++)
                raws[i] = open_stream(rig);
        assert_int_equal(rig_set(rig, 1, "Healthy"), 0);
        start = clock_ms();
        rig_stop_server(rig, 2000);
        for (size_t i = 0; i < 3; i++) {
                assert_true(sees_status(rig, raws[i], 1500));
                assert_int_equal(raw_turn(raws[i], true)->status, RPC_UNAVAILABLE);
        }
        assert_true(rig_until(rig, &rig->server_stopped, 1500));
        assert_true(clock_ms() - start < 1500);
        assert_int_equal(rig->n_closed, 3);
        for (size_t i = 0; i < 3; i++)
                raw_close(raws[i]);
        rig_free(rig);
}

static void test_a_stop_cuts_off_a_client_that_does_not_read_after_the_grace(void **state)
{
        struct rig *rig = rig_new();
        struct raw *raw = open_stream(rig);
        int64_t start;

        (void)state;
        fill(rig);
        start = clock_ms();
        rig_stop_server(rig, 300);
        while (!rig->server_stopped && clock_ms() - start < 20000) {
                rig_turn(rig, 2);
                (void)raw_turn(raw, false); /* turns its transport, reads no message */
        }
        assert_true(rig->server_stopped);
        assert_true(clock_ms() - start >= 290);
        assert_int_equal(rig->n_closed, 1);
        raw_close(raw);
        rig_free(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_the_first_value_arrives_and_so_does_a_change),
                TEST(test_of_five_hundred_updates_the_last_always_arrives),
                TEST(test_a_client_that_does_not_read_gets_the_latest_when_it_does),
                TEST(test_a_list_above_the_limit_is_refused_and_the_former_stays),
                TEST(test_a_client_that_leaves_is_noticed),
                TEST(test_a_client_that_leaves_while_a_send_waits_for_it_is_noticed),
                TEST(test_a_finished_stream_ends_with_its_status),
                TEST(test_a_cancelled_stream_is_over_even_when_nobody_reads),
                TEST(test_a_stop_ends_open_streams_with_unavailable),
                TEST(test_a_stop_cuts_off_a_client_that_does_not_read_after_the_grace),
        };

        return RUN(tests);
}
