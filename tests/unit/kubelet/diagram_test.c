/* SPDX-License-Identifier: Apache-2.0 */
/* docs/architecture.md has a table of what pkg/kubelet/lifecycle.c does in every state with every event: here each is tried,
 * and the table written from it compared with the document's, word for word. */
#include "../unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "kubelet/lifecycle.h"

static const struct life_epoch kubelet = { .dev = 1, .ino = 7, .born_ns = 7 }, next_kubelet = { .dev = 1, .ino = 8, .born_ns = 8 };
static const struct life_now start = { .ms = 1000 };

/* ---- the states: each reached by events, after a first try that came to nothing, so that a retry is not "at once" ---- */

static void to_nothing(struct life *life)
{
        life_init(life);
}

static void to_listening(struct life *life)
{
        life_init(life);
        (void)life_kubelet(life, start, kubelet);
        life->failures = 1;
}

static void to_registering(struct life *life)
{
        to_listening(life);
        (void)life_listening(life, start, NULL);
}

static void to_registering_listed(struct life *life)
{
        to_registering(life);
        (void)life_stream_opened(life, start);
}

static void to_registering_left(struct life *life)
{
        to_registering_listed(life);
        (void)life_stream_closed(life, start);
}

static void to_registering_void(struct life *life)
{
        to_registering(life);
        (void)life_kubelet(life, start, (struct life_epoch){ 0 });
}

static void to_waiting(struct life *life)
{
        to_registering(life);
        (void)life_registered(life, start, life->attempt, RPC_OK, "");
}

static void to_serving(struct life *life)
{
        to_waiting(life);
        (void)life_stream_opened(life, start);
}

static void to_draining(struct life *life)
{
        to_serving(life);
        (void)life_socket_gone(life, start);
        (void)life_listening(life, start, NULL);
}

static void to_backoff(struct life *life)
{
        to_registering(life);
        (void)life_registered(life, start, life->attempt, RPC_UNAVAILABLE, "");
}

static void to_backoff_refused(struct life *life)
{
        to_registering(life);
        (void)life_registered(life, start, life->attempt, RPC_UNKNOWN, "failed to dial device plugin");
}

static void to_refused(struct life *life)
{
        to_registering(life);
        (void)life_registered(life, start, life->attempt, RPC_UNKNOWN, "the ResourceName \"x\" is invalid");
}

static const struct {
        enum life_state state;
        const char *when; /* what distinguishes it among those of the same state */
        void (*reach)(struct life *life);
} states[] = {
        { LIFE_INIT, "", to_nothing },
        { LIFE_LISTENING, "", to_listening },
        { LIFE_LISTENING, "an old stream is open", to_draining },
        { LIFE_REGISTERING, "", to_registering },
        { LIFE_REGISTERING, "the list was asked for", to_registering_listed },
        { LIFE_REGISTERING, "that stream has ended again", to_registering_left },
        { LIFE_REGISTERING, "kubelet.sock is gone", to_registering_void },
        { LIFE_WAIT, "", to_waiting },
        { LIFE_SERVING, "", to_serving },
        { LIFE_BACKOFF, "the call was lost", to_backoff },
        { LIFE_BACKOFF, "kubelet refused", to_backoff_refused },
        { LIFE_REFUSED, "", to_refused },
};

/* ---- the events ---- */

static unsigned on_new(struct life *life)
{
        return life_kubelet(life, start, next_kubelet);
}

static unsigned on_gone(struct life *life)
{
        return life_kubelet(life, start, (struct life_epoch){ 0 });
}

static unsigned on_ours_gone(struct life *life)
{
        return life_socket_gone(life, start);
}

static unsigned on_made(struct life *life)
{
        return life_listening(life, start, NULL);
}

static unsigned on_not_made(struct life *life)
{
        return life_listening(life, start, "no space");
}

static unsigned on_ok(struct life *life)
{
        return life_registered(life, start, life->attempt, RPC_OK, "");
}

static unsigned on_lost(struct life *life)
{
        return life_registered(life, start, life->attempt, RPC_UNAVAILABLE, "");
}

static unsigned on_refusal(struct life *life)
{
        return life_registered(life, start, life->attempt, RPC_UNKNOWN, "failed to dial device plugin");
}

static unsigned on_final(struct life *life)
{
        return life_registered(life, start, life->attempt, RPC_UNKNOWN, "the ResourceName \"x\" is invalid");
}

static unsigned on_former(struct life *life)
{
        return life_registered(life, start, life->attempt - 1, RPC_OK, "");
}

static unsigned on_opened(struct life *life)
{
        return life_stream_opened(life, start);
}

static unsigned on_closed(struct life *life)
{
        return life->streams > 0 ? life_stream_closed(life, start) : 0;
}

static unsigned on_due(struct life *life)
{
        return life_tick(life, (struct life_now){ .ms = life->due_ms });
}

static const struct {
        const char *name;
        unsigned (*happens)(struct life *life);
} events[] = {
        { "a new kubelet.sock is there", on_new },
        { "kubelet.sock is gone", on_gone },
        { "our socket is gone", on_ours_gone },
        { "our new socket is made", on_made },
        { "it cannot be made", on_not_made },
        { "Register is answered", on_ok },
        { "Register is lost, or its time is up", on_lost },
        { "Register is refused", on_refusal },
        { "Register is refused for good", on_final },
        { "a Register that was dropped is answered", on_former },
        { "kubelet asks for the list", on_opened },
        { "kubelet's stream ends", on_closed },
        { "its time is up", on_due },
};

/* ---- the table ---- */

static void add_actions(struct strbuf *b, unsigned actions)
{
        static const char *const names[] = { "drop Register", "finish the streams", "cut the streams off", "listen on a fresh socket",
                                             "call Register" };
        const char *between = "";

        for (size_t i = 0; i < N_ELEMENTS(names); i++)
                if (actions & 1u << i) {
                        strbuf_addf(b, "%s%s", between, names[i]);
                        between = ", ";
                }
}

/* What changes nothing has no row. */
static void add_row(struct strbuf *b, size_t state, size_t event)
{
        struct life life;

        states[state].reach(&life);
        assert_int_equal(life.state, states[state].state);
        int64_t due_ms = life.due_ms;
        unsigned actions = events[event].happens(&life);
        if (actions == 0 && life.state == states[state].state && (life.due_ms == due_ms || events[event].happens == on_due))
                return;
        const char *when = states[state].when;
        strbuf_addf(b, "| %s%s%s | %s | %s | ", life_state_name(states[state].state), *when ? ", " : "", when, events[event].name,
                    life_state_name(life.state));
        add_actions(b, actions);
        strbuf_add(b, actions ? " |\n" : "|\n");
}

static char *table(void)
{
        struct strbuf b = { 0 };

        strbuf_add(&b, "| state | event | then | what is done |\n|---|---|---|---|\n");
        for (size_t i = 0; i < N_ELEMENTS(states); i++)
                for (size_t j = 0; j < N_ELEMENTS(events); j++)
                        add_row(&b, i, j);
        return strbuf_take(&b);
}

static char *document(void)
{
        FILE *f = fopen("docs/architecture.md", "re");
        struct strbuf b = { 0 };
        char chunk[4096];

        assert_non_null(f);
        for (size_t n; (n = fread(chunk, 1, sizeof(chunk), f)) > 0;)
                strbuf_add_n(&b, chunk, n);
        (void)fclose(f);
        return strbuf_take(&b);
}

static void test_the_document_says_what_the_code_does(void **state)
{
        _cleanup_free_ char *expected = table();
        _cleanup_free_ char *text = document();

        (void)state;
        if (strstr(text, expected))
                return;
        (void)printf("%s", expected); /* to be put there */
        fail_msg("the table of docs/architecture.md is not this one");
}

/* Every state is left by some event, and entered by some. */
static void test_no_state_is_a_trap(void **state)
{
        bool entered[LIFE_REFUSED + 1] = { [LIFE_INIT] = true }, left[LIFE_REFUSED + 1] = { false };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(states); i++)
                for (size_t j = 0; j < N_ELEMENTS(events); j++) {
                        struct life life;
                        states[i].reach(&life);
                        (void)events[j].happens(&life);
                        left[states[i].state] |= life.state != states[i].state;
                        entered[life.state] |= life.state != states[i].state;
                }
        for (size_t i = 0; i <= LIFE_REFUSED; i++)
                if (!entered[i] || !left[i])
                        fail_msg("%s is %s", life_state_name((enum life_state)i), entered[i] ? "never left" : "never reached");
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_the_document_says_what_the_code_does),
                TEST(test_no_state_is_a_trap),
        };

        return RUN(tests);
}
