/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "rig.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

static void test_nobody_there_is_unavailable_at_once_and_the_next_call_connects_at_once(void **state)
{
        struct rig *rig = rig_new();
        char absent[128];

        (void)state;
        str_format(absent, sizeof(absent), "%s.absent", rig->path);
        struct rpc_client *good = rig->client;
        rig->client = rpc_client_new(rig->rpc, absent, 0);
        int64_t start = clock_ms();
        for (int i = 0; i < 5; i++) {
                rig_allocate(rig, 5000);
                assert_int_equal(rig->code, RPC_UNAVAILABLE);
        }
        assert_true(clock_ms() - start < 500); /* no backoff of gRPC's in between */

        /* Somebody appears under that name: the very next call reaches him. */
        assert_int_equal(symlink(rig->path, absent), 0);
        start = clock_ms();
        rig_allocate(rig, 5000);
        assert_int_equal(rig->code, RPC_OK);
        assert_true(clock_ms() - start < 150);
        assert_int_equal(unlink(absent), 0);
        rig->client = rpc_client_free(rig->client);
        rig->client = good;
        rig_free(rig);
}

static void test_a_reset_lets_the_connection_go_and_the_next_call_makes_another(void **state)
{
        struct rig *rig = rig_new();

        (void)state;
        for (int i = 0; i < 5; i++) {
                rig_allocate(rig, 5000);
                assert_int_equal(rig->code, RPC_OK);
                rpc_client_reset(rig->client);
        }
        rpc_client_reset(rig->client);
        rig_free(rig);
}

static void test_a_cancelled_call_comes_back_as_cancelled(void **state)
{
        struct rig *rig = rig_new();
        V1beta1__AllocateRequest request = V1BETA1__ALLOCATE_REQUEST__INIT;

        (void)state;
        rig->hold = true;
        struct rpc_pending *pending = rig_call(rig, "/v1beta1.DevicePlugin/Allocate", &request.base, 60000);
        for (int i = 0; i < 2000 && !rig->held; i++)
                rig_turn(rig, 5);
        rpc_pending_cancel(pending);
        assert_false(rig->replied); /* from the loop, not from within */
        assert_true(rig_until(rig, &rig->replied, 2000));
        assert_int_equal(rig->code, RPC_CANCELLED);
        rpc_fail(rig->held, RPC_UNAVAILABLE, "late");
        rig_free(rig);
}

static void test_a_client_may_be_freed_before_its_call_is_back(void **state)
{
        struct rig *rig = rig_new();
        V1beta1__AllocateRequest request = V1BETA1__ALLOCATE_REQUEST__INIT;

        (void)state;
        struct rpc_pending *pending = rig_call(rig, "/v1beta1.DevicePlugin/Allocate", &request.base, 60000);
        rpc_pending_cancel(pending);
        rig->client = rpc_client_free(rig->client);
        assert_true(rig_until(rig, &rig->replied, 2000));
        assert_int_equal(rig->code, RPC_CANCELLED);
        rig_free(rig);
}

static void test_a_reply_that_is_no_such_message_is_an_error(void **state)
{
        struct rig *rig = rig_new();
        V1beta1__AllocateRequest request = V1BETA1__ALLOCATE_REQUEST__INIT;

        (void)state;
        rig->hold = true;
        (void)rig_call(rig, "/v1beta1.DevicePlugin/Allocate", &request.base, 5000);
        for (int i = 0; i < 2000 && !rig->held; i++)
                rig_turn(rig, 5);
        V1beta1__RegisterRequest wrong = V1BETA1__REGISTER_REQUEST__INIT; /* field 1 is a string that is no message */
        char version[] = "\x7f";
        wrong.version = version;
        rpc_reply(rig->held, &wrong.base);
        assert_true(rig_until(rig, &rig->replied, 2000));
        assert_int_equal(rig->code, RPC_INTERNAL);
        assert_non_null(strstr(rig->text, "cannot be decoded"));
        rig_free(rig);
}

static void test_the_environment_cannot_change_grpc(void **state)
{
        (void)state;
        assert_int_equal(setenv("GRPC_POLL_STRATEGY", "none", 1), 0);
        assert_int_equal(setenv("GRPC_VERBOSITY", "debug", 1), 0);
        struct rig *rig = rig_new();
        assert_null(getenv("GRPC_POLL_STRATEGY"));
        assert_null(getenv("GRPC_VERBOSITY"));
        rig_allocate(rig, 5000);
        assert_int_equal(rig->code, RPC_OK);
        rig_free(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_nobody_there_is_unavailable_at_once_and_the_next_call_connects_at_once),
                TEST(test_a_reset_lets_the_connection_go_and_the_next_call_makes_another),
                TEST(test_a_cancelled_call_comes_back_as_cancelled),
                TEST(test_a_client_may_be_freed_before_its_call_is_back),
                TEST(test_a_reply_that_is_no_such_message_is_an_error),
                TEST(test_the_environment_cannot_change_grpc),
        };

        return RUN(tests);
}
