/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "deviceplugin.pb-c.h"
#include "rpc/decode.h"
#include "rpc/rpc.h"

static void test_a_message_is_decoded_into_the_arena(void **state)
{
        static const uint8_t bytes[] = { 0x0a, 0x05, 0x0a, 0x03, 'a', 0xc3, 0xa9 };
        _cleanup_arena_ struct arena arena;
        const char *why = NULL;

        (void)state;
        arena_init(&arena, RPC_DECODE_MAX);
        const V1beta1__AllocateRequest *rq = (const V1beta1__AllocateRequest *)(const void *)decode_message(
                &v1beta1__allocate_request__descriptor, bytes, sizeof(bytes), &arena, &why);
        assert_non_null(rq);
        assert_int_equal(rq->n_container_requests, 1);
        assert_string_equal(rq->container_requests[0]->devices_ids[0], "a\xc3\xa9");
        assert_null(arena.chunks); /* A small request needs no malloc. */
}

static void test_a_bomb_of_empty_parts_is_refused_in_bounded_memory(void **state)
{
        size_t n = RPC_MESSAGE_MAX;
        uint8_t *bytes = xcalloc(n, 1);
        _cleanup_arena_ struct arena arena;
        const char *why = NULL;

        (void)state;
        for (size_t i = 0; i < n; i += 2)
                bytes[i] = 0x0a;
        arena_init(&arena, RPC_DECODE_MAX);
        assert_null(decode_message(&v1beta1__allocate_request__descriptor, bytes, n, &arena, &why));
        assert_non_null(strstr(why, "too many parts"));
        assert_true(arena.used <= RPC_DECODE_MAX);
        free(bytes);
}

static void test_a_request_with_ten_thousand_ids_fits(void **state)
{
        enum { N = 10000 };
        char id[] = "0000:3b:00.0-0123456789012345678901234567890123456789";
        char **ids = xcalloc(N, sizeof(*ids));
        V1beta1__ContainerPreferredAllocationRequest container = V1BETA1__CONTAINER_PREFERRED_ALLOCATION_REQUEST__INIT;
        V1beta1__ContainerPreferredAllocationRequest *containers[] = { &container };
        V1beta1__PreferredAllocationRequest rq = V1BETA1__PREFERRED_ALLOCATION_REQUEST__INIT;
        _cleanup_arena_ struct arena arena;
        const char *why = NULL;

        (void)state;
        for (size_t i = 0; i < N; i++)
                ids[i] = id;
        container.n_available_deviceids = N;
        container.available_deviceids = ids;
        rq.n_container_requests = 1;
        rq.container_requests = containers;
        size_t n = protobuf_c_message_get_packed_size(&rq.base);
        assert_true(n < RPC_MESSAGE_MAX);
        uint8_t *bytes = xcalloc(1, n);
        (void)protobuf_c_message_pack(&rq.base, bytes);
        arena_init(&arena, RPC_DECODE_MAX);
        const V1beta1__PreferredAllocationRequest *again = (const V1beta1__PreferredAllocationRequest *)(const void *)decode_message(
                &v1beta1__preferred_allocation_request__descriptor, bytes, n, &arena, &why);
        assert_non_null(again);
        assert_int_equal(again->container_requests[0]->n_available_deviceids, N);
        assert_string_equal(again->container_requests[0]->available_deviceids[N - 1], id);
        free(bytes);
        free(ids);
}

static void test_strings_that_are_no_text_are_refused_wherever_they_are(void **state)
{
        static const struct {
                const ProtobufCMessageDescriptor *descriptor;
                uint8_t bytes[16];
                size_t n;
        } rows[] = {
                { &v1beta1__register_request__descriptor, { 0x0a, 1, 0xff }, 3 },                               /* a plain string */
                { &v1beta1__pre_start_container_request__descriptor, { 0x0a, 1, 'a', 0x0a, 2, 0xc3, '(' }, 7 }, /* a list */
                { &v1beta1__allocate_request__descriptor, { 0x0a, 3, 0x0a, 1, 0x80 }, 5 }, /* below a list of messages */
                { &v1beta1__container_allocate_response__descriptor, { 0x0a, 6, 0x0a, 1, 'k', 0x12, 1, 0xff }, 8 }, /* a map */
                { &v1beta1__allocate_request__descriptor, { 0x0a, 5, 0x0a, 3, 'a', 0, 'b' }, 7 },                   /* a hidden tail */
                { &v1beta1__allocate_request__descriptor, { 0x12, 1, 0, 0x0a, 4, 0x0a, 2, 'a', 0 }, 9 }, /* after an unknown field */
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_arena_ struct arena arena;
                const char *why = NULL;
                arena_init(&arena, RPC_DECODE_MAX);
                assert_null(decode_message(rows[i].descriptor, rows[i].bytes, rows[i].n, &arena, &why));
                assert_non_null(strstr(why, "UTF-8"));
        }
}

static void test_cut_and_wrong_bytes_are_refused(void **state)
{
        static const uint8_t rows[][4] = { { 0x0a, 0x05, 0x0a, 0x03 }, { 0x0a, 0xff, 0xff, 0xff }, { 0x0f, 0, 0, 0 } };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_arena_ struct arena arena;
                const char *why = NULL;
                arena_init(&arena, RPC_DECODE_MAX);
                assert_null(decode_message(&v1beta1__allocate_request__descriptor, rows[i], sizeof(rows[i]), &arena, &why));
                assert_non_null(why);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_message_is_decoded_into_the_arena),  TEST(test_a_bomb_of_empty_parts_is_refused_in_bounded_memory),
                TEST(test_a_request_with_ten_thousand_ids_fits), TEST(test_strings_that_are_no_text_are_refused_wherever_they_are),
                TEST(test_cut_and_wrong_bytes_are_refused),
        };

        return RUN(tests);
}
