/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "raw.h"
#include "rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"

static void test_a_unary_call_is_answered(void **state)
{
        struct rig *rig = rig_new();

        (void)state;
        for (int i = 0; i < 20; i++) {
                rig_allocate(rig, 5000);
                assert_int_equal(rig->code, RPC_OK);
                assert_int_equal(rig->n_responses, 1);
                assert_int_equal(rig->n_containers, 1);
        }
        assert_int_equal(rig->n_allocates, 20);
        rig_free(rig);
}

static void test_a_failure_arrives_with_its_code_and_a_clean_text(void **state)
{
        struct rig *rig = rig_new();

        (void)state;
        rig->fail = RPC_FAILED_PRECONDITION;
        rig->fail_text = "0000:3b:00.0 is h\xc3\xa9ld 100%\nby\xff qemu";
        rig_allocate(rig, 5000);
        assert_int_equal(rig->code, RPC_FAILED_PRECONDITION);
        assert_string_equal(rig->text, "0000:3b:00.0 is h\xc3\xa9ld 100%?by? qemu");
        rig_free(rig);
}

static void send_bytes(struct rig *rig, size_t n_containers)
{
        V1beta1__ContainerAllocateRequest container = V1BETA1__CONTAINER_ALLOCATE_REQUEST__INIT;
        V1beta1__ContainerAllocateRequest **containers = xcalloc(n_containers, sizeof(*containers));
        V1beta1__AllocateRequest request = V1BETA1__ALLOCATE_REQUEST__INIT;

        for (size_t i = 0; i < n_containers; i++)
                containers[i] = &container; /* two bytes each on the wire */
        request.n_container_requests = n_containers;
        request.container_requests = containers;
        (void)rig_call(rig, "/v1beta1.DevicePlugin/Allocate", &request.base, 5000);
        free(containers);
        assert_true(rig_until(rig, &rig->replied, 10000));
}

/* Two callers that read nothing have all the places; when their time is up they have none. */
static void test_who_does_not_take_his_answer_is_cut_off_and_makes_room(void **state)
{
        struct rig *rig = rig_new_within(&(struct rpc_limits){ .calls = 2, .unread_ms = 400 });
        struct raw *raw[2];

        (void)state;
        rig->n_more = 1 << 20;
        for (size_t i = 0; i < N_ELEMENTS(raw); i++)
                raw[i] = raw_open(rig->path, "/v1beta1.DevicePlugin/Allocate");
        for (int64_t end = clock_ms() + 10000; rig->n_allocates < 2 && clock_ms() < end;) {
                (void)raw_turn(raw[0], false);
                (void)raw_turn(raw[1], false);
                rig_turn(rig, 1);
        }
        assert_int_equal(rig->n_allocates, 2);
        rig->n_more = 0;
        rig_allocate(rig, 5000);
        assert_int_equal(rig->code, RPC_RESOURCE_EXHAUSTED);
        assert_int_equal(rig->n_allocates, 2);
        rig_turn(rig, 600);
        rig_allocate(rig, 5000);
        assert_int_equal(rig->code, RPC_OK);
        for (size_t i = 0; i < N_ELEMENTS(raw); i++)
                raw_close(raw[i]);
        rig_free(rig);
}

static void test_a_request_may_be_as_long_as_its_server_says(void **state)
{
        struct rig *rig = rig_new_within(&(struct rpc_limits){ .message_max = 1000 });

        (void)state;
        send_bytes(rig, 400);
        assert_int_equal(rig->code, RPC_OK);
        send_bytes(rig, 600);
        assert_int_equal(rig->code, RPC_RESOURCE_EXHAUSTED);
        rig_free(rig);
}

static void test_an_unknown_method_is_unimplemented_at_once(void **state)
{
        struct rig *rig = rig_new();
        V1beta1__Empty empty = V1BETA1__EMPTY__INIT;
        int64_t start = clock_ms();

        (void)state;
        for (int i = 0; i < 3; i++) {
                (void)rig_call(rig, "/v1beta1.DevicePlugin/Unheard", &empty.base, 5000);
                assert_true(rig_until(rig, &rig->replied, 10000));
                assert_int_equal(rig->code, RPC_UNIMPLEMENTED);
        }
        assert_true(clock_ms() - start < 2500);
        rig_free(rig);
}

static void test_too_large_a_message_is_refused_and_the_server_lives(void **state)
{
        struct rig *rig = rig_new();

        (void)state;
        send_bytes(rig, RPC_MESSAGE_MAX / 2 + 8);
        assert_int_equal(rig->code, RPC_RESOURCE_EXHAUSTED);
        assert_int_equal(rig->n_allocates, 0);
        rig_allocate(rig, 5000);
        assert_int_equal(rig->code, RPC_OK);
        rig_free(rig);
}

static void test_a_bomb_of_empty_parts_is_refused_and_the_server_lives(void **state)
{
        struct rig *rig = rig_new();

        (void)state;
        send_bytes(rig, RPC_MESSAGE_MAX / 2 - 8);
        assert_int_equal(rig->code, RPC_INVALID_ARGUMENT);
        assert_non_null(strstr(rig->text, "too many parts"));
        assert_int_equal(rig->n_allocates, 0);
        rig_allocate(rig, 5000);
        assert_int_equal(rig->code, RPC_OK);
        rig_free(rig);
}

static void test_ill_formed_utf8_never_reaches_a_handler(void **state)
{
        struct rig *rig = rig_new();
        char id[] = "0000:3b:00.\xff", *ids[] = { id };
        V1beta1__ContainerAllocateRequest container = V1BETA1__CONTAINER_ALLOCATE_REQUEST__INIT, *containers[] = { &container };
        V1beta1__AllocateRequest request = V1BETA1__ALLOCATE_REQUEST__INIT;

        (void)state;
        container.n_devices_ids = 1;
        container.devices_ids = ids;
        request.n_container_requests = 1;
        request.container_requests = containers;
        (void)rig_call(rig, "/v1beta1.DevicePlugin/Allocate", &request.base, 5000);
        assert_true(rig_until(rig, &rig->replied, 10000));
        assert_int_equal(rig->code, RPC_INVALID_ARGUMENT);
        assert_non_null(strstr(rig->text, "UTF-8"));
        assert_int_equal(rig->n_allocates, 0);
        rig_free(rig);
}

static void test_garbage_on_the_socket_ends_that_connection_only(void **state)
{
        static const char *const garbage[] = { "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x01\x02\x03",
                                               "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff" };
        struct rig *rig = rig_new();

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(garbage); i++) {
                struct sockaddr_un address = { .sun_family = AF_UNIX };
                int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
                str_format(address.sun_path, sizeof(address.sun_path), "%s", rig->path);
                assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)), 0);
                assert_true(send(fd, garbage[i], strlen(garbage[i]), MSG_NOSIGNAL) > 0);
                rig_turn(rig, 30);
                rig_allocate(rig, 5000);
                assert_int_equal(rig->code, RPC_OK);
                (void)close(fd);
        }
        rig_free(rig);
}

static void test_an_answer_after_the_callers_deadline_is_harmless(void **state)
{
        struct rig *rig = rig_new();
        V1beta1__AllocateResponse response = V1BETA1__ALLOCATE_RESPONSE__INIT;

        (void)state;
        rig->hold = true;
        rig_allocate(rig, 1000); /* long enough for a busy machine to deliver it */
        assert_int_equal(rig->code, RPC_DEADLINE_EXCEEDED);
        assert_non_null(rig->held);
        rpc_reply(rig->held, &response.base);
        rig->hold = false;
        rig_allocate(rig, 5000);
        assert_int_equal(rig->code, RPC_OK);
        rig_free(rig);
}

static void test_the_stop_waits_for_a_call_that_a_handler_owns(void **state)
{
        struct rig *rig = rig_new();
        V1beta1__AllocateRequest request = V1BETA1__ALLOCATE_REQUEST__INIT;
        V1beta1__AllocateResponse response = V1BETA1__ALLOCATE_RESPONSE__INIT;

        (void)state;
        rig->hold = true;
        (void)rig_call(rig, "/v1beta1.DevicePlugin/Allocate", &request.base, 5000);
        for (int i = 0; i < 2000 && !rig->held; i++)
                rig_turn(rig, 5);
        assert_non_null(rig->held);
        rig_stop_server(rig, 60000);
        rig_turn(rig, 50);
        assert_false(rig->server_stopped);
        rpc_reply(rig->held, &response.base); /* within the grace: the caller still gets its answer */
        assert_true(rig_until(rig, &rig->server_stopped, 2000));
        assert_true(rig_until(rig, &rig->replied, 2000));
        assert_int_equal(rig->code, RPC_OK);
        rig_free(rig);
}

static void test_past_the_grace_the_caller_is_cut_off_and_the_late_answer_is_harmless(void **state)
{
        struct rig *rig = rig_new();
        V1beta1__AllocateRequest request = V1BETA1__ALLOCATE_REQUEST__INIT;

        (void)state;
        rig->hold = true;
        (void)rig_call(rig, "/v1beta1.DevicePlugin/Allocate", &request.base, 5000);
        for (int i = 0; i < 2000 && !rig->held; i++)
                rig_turn(rig, 5);
        rig_stop_server(rig, 10);
        assert_true(rig_until(rig, &rig->replied, 2000));
        assert_int_not_equal(rig->code, RPC_OK);
        assert_false(rig->server_stopped);
        rpc_fail(rig->held, RPC_UNAVAILABLE, "late");
        assert_true(rig_until(rig, &rig->server_stopped, 2000));
        rig_free(rig);
}

static void test_an_idle_server_stops_at_once(void **state)
{
        struct rig *rig = rig_new();
        int64_t start = clock_ms();

        (void)state;
        rig_allocate(rig, 5000);
        rig_stop_server(rig, 2000);
        assert_true(rig_until(rig, &rig->server_stopped, 5000));
        assert_true(clock_ms() - start < 1500);
        rig_free(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_unary_call_is_answered),
                TEST(test_a_failure_arrives_with_its_code_and_a_clean_text),
                TEST(test_who_does_not_take_his_answer_is_cut_off_and_makes_room),
                TEST(test_a_request_may_be_as_long_as_its_server_says),
                TEST(test_an_unknown_method_is_unimplemented_at_once),
                TEST(test_too_large_a_message_is_refused_and_the_server_lives),
                TEST(test_a_bomb_of_empty_parts_is_refused_and_the_server_lives),
                TEST(test_ill_formed_utf8_never_reaches_a_handler),
                TEST(test_garbage_on_the_socket_ends_that_connection_only),
                TEST(test_an_answer_after_the_callers_deadline_is_harmless),
                TEST(test_the_stop_waits_for_a_call_that_a_handler_owns),
                TEST(test_past_the_grace_the_caller_is_cut_off_and_the_late_answer_is_harmless),
                TEST(test_an_idle_server_stops_at_once),
        };

        return RUN(tests);
}
