/* SPDX-License-Identifier: Apache-2.0 */
/* NodeCordon and NodeUncordon: on the disk first, then in force, then answered. */
#include <errno.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "node/node_priv.h"

struct holding {
        struct node *node;
        struct rpc_call *call;
        char target[DEVICE_ID_MAX];
        bool removed;
};

/* The devices that a hold on @target is of, in a list for an answer. */
static char **devices_of(struct pile *pile, const struct offer *offer, const char *target, size_t *ret_n)
{
        char **list = pile_take(pile, offer->n_devices, sizeof(*list));

        *ret_n = 0;
        for (size_t i = 0; i < offer->n_devices; i++)
                if (cordon_is_of(target, &offer->devices[i]))
                        list[(*ret_n)++] = pb_text(offer->devices[i].id);
        return list;
}

static void answer(const struct holding *holding)
{
        const struct node_world *world = &holding->node->world;
        _cleanup_pile_ struct pile pile = { 0 };
        pb_node_cordon_response held = SLUICE__NODE__V1__NODE_CORDON_RESPONSE__INIT;
        pb_node_uncordon_response freed = SLUICE__NODE__V1__NODE_UNCORDON_RESPONSE__INIT;

        held.devices = freed.devices = devices_of(&pile, world->offer(world->ctx), holding->target, &held.n_devices);
        freed.n_devices = held.n_devices;
        rpc_reply(holding->call, holding->removed ? &freed.base : &held.base);
}

static void on_recorded(void *ctx, const struct err *err)
{
        _cleanup_free_ struct holding *holding = ctx;
        const struct node_world *world = &holding->node->world;
        char text[ERR_MSG_MAX + 128];

        if (!err) {
                log_info("%s is %s", holding->target, holding->removed ? "uncordoned" : "cordoned: new pods do not get what hangs on it");
                world->cordons_changed(world->ctx);
                answer(holding);
                return;
        }
        str_format(text, sizeof(text), "%s cannot be %s, nothing has changed: it cannot be written down: %s", holding->target,
                   holding->removed ? "uncordoned" : "cordoned", err->msg);
        rpc_fail(holding->call, err->code == ENOSPC ? RPC_RESOURCE_EXHAUSTED : RPC_INTERNAL, text);
}

static struct holding *holding_new(struct node *node, struct rpc_call *call, const char *target, bool removed)
{
        struct holding *holding = xcalloc(1, sizeof(*holding));

        *holding = (struct holding){ .node = node, .call = call, .removed = removed };
        (void)str_copy(holding->target, sizeof(holding->target), target);
        return holding;
}

void node_cordon(struct node *node, struct rpc_call *call, const pb_node_cordon_request *request)
{
        const struct node_world *world = &node->world;
        const struct offer *offer = world->offer(world->ctx);
        struct cordon cordon = { .since_ms = clock_unix_ms() };
        bool known = false;

        for (size_t i = 0; i < offer->n_devices; i++)
                known = known || cordon_is_of(request->target, &offer->devices[i]);
        if (!known || !str_copy(cordon.target, sizeof(cordon.target), request->target)) {
                node_not_found(node, call, "device or card", request->target);
                return;
        }
        if (!str_copy(cordon.note, sizeof(cordon.note), request->note)) {
                rpc_fail(call, RPC_INVALID_ARGUMENT, "the note is longer than 200 bytes");
                return;
        }
        cordons_put(world->cordons(world->ctx), &cordon, on_recorded, holding_new(node, call, cordon.target, false));
}

void node_uncordon(struct node *node, struct rpc_call *call, const pb_node_uncordon_request *request)
{
        struct cordons *cordons = node->world.cordons(node->world.ctx);

        if (!cordons_find(cordons, request->target)) {
                char clean[2 * DEVICE_ID_MAX], text[ERR_MSG_MAX];
                str_clean(clean, sizeof(clean), request->target);
                str_format(text, sizeof(text), "\"%s\" is not cordoned; explain says of a device under which name it is", clean);
                rpc_fail(call, RPC_NOT_FOUND, text);
                return;
        }
        cordons_remove(cordons, request->target, on_recorded, holding_new(node, call, request->target, true));
}
