/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine with its epoch check taken out: the registration that lifecycle_test saves is lost here. Without this
 * nobody would know whether that test could fail. */
#include "../unit.h"

#define SLUICE_BREAK_EPOCH_CHECK
#include "../../../pkg/kubelet/lifecycle.c" /* its own copy, built broken */

static void test_without_the_epoch_check_the_registration_is_lost(void **state)
{
        struct life life;
        const struct life_now now = { 10, 0 };

        (void)state;
        life_init(&life);
        assert_int_equal(life_kubelet(&life, (struct life_now){ 0, 0 }, (struct life_epoch){ 1, 7, 7 }), LIFE_LISTEN);
        assert_int_equal(life_listening(&life, (struct life_now){ 0, 0 }, NULL), LIFE_REGISTER);
        assert_int_equal(life_stream_opened(&life, now), 0);
        /* The new kubelet.sock is there, the old kubelet ends its stream, then answers. */
        assert_int_equal(life_kubelet(&life, now, (struct life_epoch){ 1, 8, 8 }), 0);
        assert_int_equal(life_stream_closed(&life, now), 0);
        assert_int_equal(life_registered(&life, now, 1, RPC_OK, ""), 0);
        for (int64_t ms = now.ms; ms < now.ms + LIFE_WAIT_MS; ms += 100)
                assert_int_equal(life_tick(&life, (struct life_now){ ms, 0 }), 0);
        assert_int_equal(life.state, LIFE_WAIT); /* for a list that the new kubelet will never ask for */
}

int main(void)
{
        static const struct CMUnitTest tests[] = { TEST(test_without_the_epoch_check_the_registration_is_lost) };

        return RUN(tests);
}
