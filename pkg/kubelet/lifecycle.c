/* SPDX-License-Identifier: Apache-2.0 */
#include "kubelet/lifecycle.h"

#include <string.h>

#include "base/str.h"

static const int64_t NEVER = INT64_MAX;

const char *life_state_name(enum life_state state)
{
        static const char *const names[] = {
                [LIFE_INIT] = "no-kubelet", [LIFE_LISTENING] = "listening", [LIFE_REGISTERING] = "registering", [LIFE_WAIT] = "waiting",
                [LIFE_SERVING] = "serving", [LIFE_BACKOFF] = "backoff",     [LIFE_REFUSED] = "refused",
        };

        return names[state];
}

int64_t life_delay_ms(unsigned failures, unsigned jitter)
{
        if (failures == 0)
                return 0;
        unsigned doublings = failures - 1 > 14 ? 14 : failures - 1;
        int64_t base = (int64_t)LIFE_RETRY_MS << doublings;
        if (base > LIFE_BACKOFF_MAX_MS)
                base = LIFE_BACKOFF_MAX_MS;
        return base * 3 / 4 + base / 4 * (int64_t)jitter / 1024;
}

bool life_epoch_equal(struct life_epoch a, struct life_epoch b)
{
        return a.dev == b.dev && a.ino == b.ino && a.born_ns == b.born_ns;
}

static bool kubelet_is_there(const struct life *life)
{
        return !life_epoch_equal(life->epoch, (struct life_epoch){ 0 });
}

void life_init(struct life *life)
{
        *life = (struct life){ .state = LIFE_INIT, .due_ms = NEVER };
}

static void enter(struct life *life, enum life_state state, int64_t due_ms)
{
        life->state = state;
        life->due_ms = due_ms;
}

/* A new try: a new socket, and no old stream. */
static unsigned begin(struct life *life, struct life_now now)
{
        unsigned actions = LIFE_LISTEN;

        if (life->state == LIFE_REGISTERING)
                actions |= LIFE_DROP_REGISTER;
        if (life->streams > 0)
                actions |= LIFE_FINISH_STREAMS;
        life->listening = false;
        enter(life, LIFE_LISTENING, life->streams > 0 ? now.ms + LIFE_DRAIN_MS : NEVER);
        return actions;
}

static unsigned retry(struct life *life, struct life_now now)
{
        if (!kubelet_is_there(life)) {
                enter(life, LIFE_INIT, NEVER);
                return 0;
        }
        int64_t delay_ms = life_delay_ms(life->failures, now.jitter);
        if (life->failures < 64)
                life->failures++;
        enter(life, LIFE_BACKOFF, now.ms + delay_ms);
        return delay_ms == 0 ? begin(life, now) : 0;
}

static unsigned serve(struct life *life, struct life_now now)
{
        enter(life, LIFE_SERVING, NEVER);
        life->serving_since_ms = now.ms;
        life->problem[0] = '\0';
        return 0;
}

/* LISTENING: Register as soon as there is a socket and the last old stream has ended. */
static unsigned register_if_ready(struct life *life)
{
        if (!life->listening || life->streams > 0)
                return 0;
        enter(life, LIFE_REGISTERING, NEVER); /* the call has a deadline of its own */
        life->asked = life->epoch;
        life->attempt++;
        life->ended = false;
        return LIFE_REGISTER;
}

unsigned life_kubelet(struct life *life, struct life_now now, struct life_epoch epoch)
{
        if (life_epoch_equal(epoch, life->epoch))
                return 0;
        life->epoch = epoch;
        if (!kubelet_is_there(life)) {
                /* What is in flight or open belongs to a kubelet that may still live: it will end by itself. */
                if (life->state == LIFE_BACKOFF || life->state == LIFE_REFUSED || life->state == LIFE_LISTENING)
                        enter(life, LIFE_INIT, NEVER);
                return 0;
        }
        life->failures = 0;
        life->refused = false;
#ifdef SLUICE_BREAK_EPOCH_CHECK
        if (life->state == LIFE_REGISTERING || life->state == LIFE_WAIT)
                return 0;
#endif
        return begin(life, now);
}

unsigned life_socket_gone(struct life *life, struct life_now now)
{
        if (!kubelet_is_there(life))
                return 0; /* Its start, which will make a new socket of its own, is still to come. */
        switch (life->state) {
        case LIFE_LISTENING:
        case LIFE_REGISTERING:
        case LIFE_WAIT:
        case LIFE_SERVING:
                return begin(life, now);
        default:
                return 0; /* The next try makes a new one anyway. */
        }
}

unsigned life_listening(struct life *life, struct life_now now, const char *problem)
{
        if (life->state != LIFE_LISTENING)
                return 0;
        if (problem) {
                str_clean(life->problem, sizeof(life->problem), problem);
                return retry(life, now);
        }
        life->listening = true;
        return register_if_ready(life);
}

/* The two refusals that a retry cannot change. Kubelet gives every refusal code UNKNOWN; only the text tells. */
static bool is_permanent(enum rpc_code code, const char *text)
{
        return code == RPC_UNKNOWN && ((strstr(text, "the ResourceName") && strstr(text, "is invalid")) ||
                                       (strstr(text, "requested API version") && strstr(text, "is not supported by kubelet")));
}

static unsigned register_failed(struct life *life, struct life_now now, enum rpc_code code, const char *text)
{
        str_clean(life->problem, sizeof(life->problem), text);
        life->refused = code == RPC_UNKNOWN;
        if (is_permanent(code, text)) {
                enter(life, LIFE_REFUSED, NEVER);
                return 0;
        }
        /* The call was lost, kubelet went on. (A refusal, in contrast, has made kubelet forget whoever was there.) */
        if (!life->refused && life->streams > 0)
                return serve(life, now);
        return retry(life, now);
}

unsigned life_registered(struct life *life, struct life_now now, unsigned attempt, enum rpc_code code, const char *text)
{
        if (attempt != life->attempt || life->state != LIFE_REGISTERING)
                return 0; /* Dropped meanwhile. */
#ifndef SLUICE_BREAK_EPOCH_CHECK
        if (!life_epoch_equal(life->asked, life->epoch))
                return retry(life, now); /* The answer of a kubelet that is no more. */
        if (code == RPC_OK && life->ended && life->streams == 0)
                return retry(life, now); /* It has asked for the list and left already. */
#endif
        if (code != RPC_OK)
                return register_failed(life, now, code, text);
        life->registrations++;
        life->refused = false;
        life->problem[0] = '\0';
        if (life->streams > 0)
                return serve(life, now);
        enter(life, LIFE_WAIT, now.ms + LIFE_WAIT_MS);
        return 0;
}

unsigned life_stream_opened(struct life *life, struct life_now now)
{
        life->streams++;
        switch (life->state) {
        case LIFE_LISTENING: /* From the kubelet that we are about to leave. */
                if (life->due_ms == NEVER)
                        life->due_ms = now.ms + LIFE_DRAIN_MS;
                return LIFE_FINISH_STREAMS;
        case LIFE_BACKOFF:
                return life->refused ? 0 : serve(life, now);
        case LIFE_INIT:
        case LIFE_WAIT:
                return serve(life, now);
        default:
                return 0;
        }
}

unsigned life_stream_closed(struct life *life, struct life_now now)
{
        life->streams--;
        life->ended = true;
        if (life->state == LIFE_LISTENING)
                return register_if_ready(life);
        if (life->state != LIFE_SERVING)
                return 0;
        if (now.ms - life->serving_since_ms >= LIFE_STABLE_MS)
                life->failures = 0;
        return retry(life, now);
}

unsigned life_tick(struct life *life, struct life_now now)
{
        if (now.ms < life->due_ms)
                return 0;
        life->due_ms = NEVER;
        switch (life->state) {
        case LIFE_LISTENING:
                return LIFE_CANCEL_STREAMS;
        case LIFE_WAIT:
                (void)str_copy(life->problem, sizeof(life->problem), "kubelet took the registration and did not ask for the list");
                return retry(life, now);
        case LIFE_BACKOFF:
                return begin(life, now);
        default:
                return 0;
        }
}
