/* SPDX-License-Identifier: Apache-2.0 */
/* NodeListPrepared: a page of the claims, by their keys; where it is wanted with who has their devices open. One hand after the other
 * is asked for that, since each walks all processes, and the page is made of the claims of the moment when the last one has told. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "node/node_priv.h"

enum {
        PAGE_MAX = 1024,
        ASKED_MAX = 64,     /* claims in a page with holders, and devices that are asked for */
        ASKING_MS = ASK_MS, /* a hand is asked no later than this; it has ASK_MS then */
};

struct told {
        char device[DEVICE_ID_MAX];
        struct ask_answer *answer;
};

struct listing {
        struct node *node;
        struct rpc_call *call;
        char after[CLAIM_KEY_MAX];
        size_t page_size;
        bool with_holders;
        struct told told[ASKED_MAX];
        size_t n_wanted, n_told;
        int64_t until_ms;
};

/* ---- the claims of the page ---- */

struct gathering {
        const struct claim **list;
        size_t n, cap;
        const char *after;
};

static void gather(void *ctx, const struct claim *claim)
{
        struct gathering *g = ctx;

        if (strcmp(claim->key, g->after) <= 0)
                return;
        GROW(g->list, g->n, g->cap);
        g->list[g->n++] = claim;
}

static int by_key(const void *a, const void *b)
{
        return strcmp((*(const struct claim *const *)a)->key, (*(const struct claim *const *)b)->key);
}

/* Of all that come after the page's token, in order; the caller frees the list. */
static struct gathering claims_of(const struct listing *listing)
{
        const struct node_world *world = &listing->node->world;
        struct gathering found = { .after = listing->after };

        ledger_each_claim(world->ledger(world->ctx), gather, &found);
        if (found.n > 0)
                qsort(found.list, found.n, sizeof(*found.list), by_key);
        return found;
}

/* ---- the answer ---- */

static const struct ask_answer *told_of(const struct listing *listing, const char *device)
{
        static const struct ask_answer nobody = {
                .why_not = "nobody looked: it was given while others were looked at, or there are too many"
        };

        for (size_t i = 0; i < listing->n_told; i++)
                if (streq(listing->told[i].device, device))
                        return listing->told[i].answer;
        return &nobody;
}

static pb_holders *holders_of(struct pile *pile, const struct listing *listing, const struct claim *claim)
{
        pb_holders *m = pb_new(pile, holders);

        m->complete = true;
        for (size_t i = 0; i < claim->n_devices; i++)
                node_add_holders(pile, m, told_of(listing, claim->devices[i].id));
        return m;
}

static void answer(const struct listing *listing)
{
        struct gathering found = claims_of(listing);
        _cleanup_pile_ struct pile pile = { 0 };
        pb_node_list_prepared_response *m = pb_new(&pile, node_list_prepared_response);
        size_t n = found.n < listing->page_size ? found.n : listing->page_size;

        m->claims = pile_take(&pile, n, sizeof(*m->claims));
        for (size_t i = 0; i < n; i++) {
                pb_claim *claim = m->claims[m->n_claims++] = pb_claim_of(&pile, found.list[i]);
                if (listing->with_holders)
                        claim->holders = holders_of(&pile, listing, found.list[i]);
        }
        if (n < found.n)
                m->next_page_token = pb_text(found.list[n - 1]->key);
        node_reply(listing->call, &m->base);
        free(found.list);
}

/* ---- asking ---- */

static struct listing *listing_free(struct listing *listing)
{
        for (size_t i = 0; i < listing->n_told; i++)
                free(listing->told[i].answer);
        free(listing);
        return NULL;
}

static bool may_ask(const struct listing *listing, const struct device *device, char why_not[static ERR_MSG_MAX])
{
        if (listing->node->stopping)
                str_format(why_not, ERR_MSG_MAX, "nobody looked: sluiced is ending");
        else if (clock_ms() > listing->until_ms)
                str_format(why_not, ERR_MSG_MAX, "nobody looked: it took too long for the devices before it");
        else
                return node_may_look(device, why_not);
        return false;
}

static void on_holders(void *ctx, const struct ask_answer *told);

static void ask_next(struct listing *listing)
{
        const struct node_world *world = &listing->node->world;

        for (; listing->n_told < listing->n_wanted; listing->n_told++) {
                struct told *told = &listing->told[listing->n_told];
                const struct device *device = offer_device(world->offer(world->ctx), told->device);
                struct ask_answer unasked = { .n_holders = 0 };

                if (may_ask(listing, device, unasked.why_not)) {
                        world->ask_holders(world->ctx, device, on_holders, listing);
                        return;
                }
                told->answer = xmemdup(&unasked, sizeof(unasked));
        }
        answer(listing);
        listing_free(listing);
}

static void on_holders(void *ctx, const struct ask_answer *told)
{
        struct listing *listing = ctx;

        listing->told[listing->n_told++].answer = xmemdup(told, sizeof(*told));
        ask_next(listing);
}

static void want_holders(struct listing *listing)
{
        struct gathering found = claims_of(listing);

        for (size_t i = 0; i < found.n && i < listing->page_size; i++)
                for (size_t k = 0; k < found.list[i]->n_devices && listing->n_wanted < ASKED_MAX; k++)
                        (void)str_copy(listing->told[listing->n_wanted++].device, DEVICE_ID_MAX, found.list[i]->devices[k].id);
        free(found.list);
}

void node_list_prepared(struct node *node, struct rpc_call *call, const pb_node_list_prepared_request *request)
{
        struct listing *listing = xcalloc(1, sizeof(*listing));

        *listing = (struct listing){ .node = node,
                                     .call = call,
                                     .page_size = node_page_size(request->page_size, request->holders ? ASKED_MAX : PAGE_MAX),
                                     .with_holders = request->holders,
                                     .until_ms = clock_ms() + ASKING_MS };
        if (!str_copy(listing->after, sizeof(listing->after), request->page_token)) {
                rpc_fail(call, RPC_INVALID_ARGUMENT, "page_token is none that an answer had");
                listing_free(listing);
                return;
        }
        if (listing->with_holders)
                want_holders(listing);
        ask_next(listing);
}
