/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of the cards, and the life of the door. What goes through it is in prepare.c. */
#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
#include "claims/claims_priv.h"
#include "claims/observe.h"
#include "claims/patient.h"

/* ---- the queue ---- */

static bool has_one_of(const struct turn *turn, const struct bdf *cards, size_t n_cards)
{
        for (size_t i = 0; i < turn->n_cards; i++)
                for (size_t k = 0; k < n_cards; k++)
                        if (bdf_equal(turn->cards[i], cards[k]))
                                return true;
        return false;
}

bool turns_any_on(const struct claims *claims, const struct bdf *cards, size_t n_cards)
{
        for (const struct turn *turn = claims->turns; turn; turn = turn->next)
                if (has_one_of(turn, cards, n_cards))
                        return true;
        return false;
}

static bool may_start(const struct claims *claims, const struct turn *turn)
{
        if (!turn->waits)
                return false;
        for (const struct turn *earlier = claims->turns; earlier != turn; earlier = earlier->next)
                if (has_one_of(earlier, turn->cards, turn->n_cards))
                        return false;
        return true;
}

static struct turn *find_startable(const struct claims *claims)
{
        for (struct turn *turn = claims->turns; turn; turn = turn->next)
                if (may_start(claims, turn))
                        return turn;
        return NULL;
}

/* Starts what may start. A start can end its turn (and others, through the caller), so the search begins anew each time. */
void turns_pump(struct claims *claims)
{
        if (claims->pumping)
                return;
        claims->pumping = true;
        for (struct turn *turn; (turn = find_startable(claims));) {
                turn->waits = false;
                turn->ops->start(turn);
        }
        claims->pumping = false;
}

void turn_join(struct claims *claims, struct turn *turn)
{
        struct turn **at = &claims->turns;

        while (*at)
                at = &(*at)->next;
        turn->next = NULL;
        turn->waits = true;
        *at = turn;
        claims->n_turns++;
}

void turn_leave(struct claims *claims, struct turn *turn)
{
        struct turn **at = &claims->turns;

        while (*at && *at != turn)
                at = &(*at)->next;
        assert(*at);
        *at = turn->next;
        claims->n_turns--;
        if (claims->n_turns == 0 && claims->closed) {
                void (*closed)(void *) = TAKE_PTR(claims->closed);
                closed(claims->closed_ctx);
        }
}

static bool any_changes(const struct claims *claims, struct bdf card, bool ended)
{
        for (const struct turn *turn = claims->turns; turn; turn = turn->next)
                if (turn->ops->changes(turn, card, ended))
                        return true;
        return false;
}

bool claims_at_work(const struct claims *claims, struct bdf card)
{
        return any_changes(claims, card, false);
}

bool claims_change(const struct claims *claims, struct bdf card)
{
        return any_changes(claims, card, true);
}

/* ---- questions ---- */

void claims_each(const struct claims *claims, claim_fn *each, void *ctx)
{
        ledger_each_claim(claims->ledger, each, ctx);
}

const struct claim *claims_of_device(const struct claims *claims, const char *device)
{
        return ledger_claim_of(claims->ledger, device);
}

struct search {
        const char *resource;
        bool found;
};

static void look_at(void *ctx, const struct claim *claim)
{
        struct search *search = ctx;

        search->found |= claim->owner == OWNER_KUBELET && (!search->resource || streq(claim->resource, search->resource));
}

bool claims_of_kubelet(const struct claims *claims, const char *resource)
{
        struct search search = { .resource = resource };

        ledger_each_claim(claims->ledger, look_at, &search);
        return search.found;
}

void claims_observe(struct claims *claims, const struct pod_list *list)
{
        observer_list(claims->observer, list);
}

const struct original *claims_original(const struct claims *claims, struct bdf bdf)
{
        const struct original *original = ledger_original(claims->ledger, bdf);

        return original && original_is_bound_by_us(original) ? original : NULL;
}

/* ---- life ---- */

static uv_timer_t *timer_new(struct claims *claims)
{
        uv_timer_t *timer = xcalloc(1, sizeof(*timer));

        (void)uv_timer_init(claims->loop, timer);
        timer->data = claims;
        return timer;
}

struct claims *claims_new(uv_loop_t *loop, struct hands *hands, struct ledger *ledger, const struct claims_world *world,
                          unsigned deadline_ms)
{
        struct claims *claims = xcalloc(1, sizeof(*claims));

        claims->loop = loop;
        claims->hands = hands;
        claims->ledger = ledger;
        claims->world = *world;
        claims->deadline_ms = deadline_ms;
        claims->retry = timer_new(claims);
        claims->overdue = timer_new(claims);
        claims->observer = observer_new(claims);
        return claims;
}

void claims_set_deadline(struct claims *claims, unsigned deadline_ms)
{
        claims->deadline_ms = deadline_ms;
}

void claims_stop(struct claims *claims, void (*closed)(void *ctx), void *ctx)
{
        claims->stopping = true;
        patients_stop(claims);
        for (struct turn *turn = claims->turns, *next; turn; turn = next) {
                next = turn->next;
                turn->ops->stop(turn);
        }
        if (claims->n_turns == 0) {
                closed(ctx);
                return;
        }
        claims->closed = closed; /* plans at work end first: hands_stop sees to it */
        claims->closed_ctx = ctx;
}

static void on_timer_closed(uv_handle_t *handle)
{
        free(handle);
}

struct claims *claims_free(struct claims *claims)
{
        if (!claims)
                return NULL;
        assert(claims->n_turns == 0);
        uv_close((uv_handle_t *)claims->retry, on_timer_closed);
        uv_close((uv_handle_t *)claims->overdue, on_timer_closed);
        observer_free(claims->observer);
        free(claims);
        return NULL;
}
