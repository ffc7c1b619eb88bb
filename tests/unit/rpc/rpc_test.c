/* SPDX-License-Identifier: Apache-2.0 */
/* The loop waits in gRPC's queue: it must hear of its own descriptors there. */
#include "../unit.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rig.h"

enum { ROUNDS = 200, GUARD_MS = 20000 };

struct talk {
        uv_poll_t poll;
        int fds[2]; /* ours, the other thread's */
        unsigned n;
        bool over;
};

/* Sends back what it gets, at its own time: the loop waits by then. */
static void *echo(void *arg)
{
        const struct talk *talk = arg;
        char byte;

        while (read(talk->fds[1], &byte, 1) == 1 && write(talk->fds[1], &byte, 1) == 1)
                ;
        return NULL;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
        struct talk *talk = poll->data;
        char byte;

        assert_int_equal(status, 0);
        assert_int_equal(events, UV_READABLE);
        assert_int_equal(read(talk->fds[0], &byte, 1), 1);
        talk->over = ++talk->n == ROUNDS;
        if (!talk->over)
                assert_int_equal(write(talk->fds[0], &byte, 1), 1);
}

static void on_guard(uv_timer_t *guard)
{
        *(bool *)guard->data = true;
}

static void test_the_loop_hears_of_its_descriptors_while_it_waits_for_grpc(void **state)
{
        struct rig *rig = rig_new();
        struct talk talk = { .n = 0 };
        uv_timer_t guard;
        pthread_t thread;
        bool late = false;

        (void)state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, talk.fds), 0);
        assert_int_equal(pthread_create(&thread, NULL, echo, &talk), 0);
        assert_int_equal(uv_poll_init(&rig->loop, &talk.poll, talk.fds[0]), 0);
        talk.poll.data = &talk;
        assert_int_equal(uv_poll_start(&talk.poll, UV_READABLE, on_readable), 0);
        assert_int_equal(uv_timer_init(&rig->loop, &guard), 0);
        guard.data = &late;
        assert_int_equal(uv_timer_start(&guard, on_guard, GUARD_MS, 0), 0);

        assert_int_equal(write(talk.fds[0], "x", 1), 1);
        while (!talk.over && !late)
                (void)uv_run(&rig->loop, UV_RUN_ONCE);
        assert_false(late); /* the guard would have been what ended a wait */
        assert_int_equal(talk.n, ROUNDS);

        /* And gRPC is served all the same. */
        rig_allocate(rig, 5000);
        assert_int_equal(rig->code, RPC_OK);
        uv_close((uv_handle_t *)&talk.poll, NULL);
        uv_close((uv_handle_t *)&guard, NULL);
        assert_int_equal(close(talk.fds[0]), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(close(talk.fds[1]), 0);
        rig_free(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_the_loop_hears_of_its_descriptors_while_it_waits_for_grpc),
        };

        return RUN(tests);
}
