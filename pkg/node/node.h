/* SPDX-License-Identifier: Apache-2.0 */
/* The node API (api/node/v1): Identity and Node on RUN_DIR/node.sock. It tells what the daemon knows and passes an operator's
 * hold on; it reaches no hardware by itself. Loop thread.
 *
 * The run directory's lock (agent/lock.h) is held, so that a node.sock on which nobody listens is a killed daemon's: it is
 * removed. Where somebody does listen, or the file has gone, node_check() tries again. */
#ifndef SLUICE_NODE_NODE_H
#define SLUICE_NODE_NODE_H

#include <stdbool.h>
#include <sys/types.h>

#include "claims/ask.h"
#include "claims/cordon.h"
#include "claims/idle.h"
#include "claims/ledger.h"
#include "core/offer.h"
#include "rpc/rpc.h"

struct node_world {
        void *ctx;
        const struct inventory *(*inventory)(void *ctx); /* of the last look: there has been one before node_start() */
        const struct offer *(*offer)(void *ctx);
        const struct rules *(*rules)(void *ctx);
        const struct ledger *(*ledger)(void *ctx);
        struct cordons *(*cordons)(void *ctx);
        void (*cordons_changed)(void *ctx);      /* decide anew; offer() tells it afterwards */
        const char *(*why_not_ready)(void *ctx); /* a sentence; NULL = kubelet has registered every pool */
        void (*ask_holders)(void *ctx, const struct device *device, ask_fn *done, void *done_ctx);                          /* ask.h */
        int (*release_idle)(void *ctx, const struct idle_request *request, idle_fn *done, void *done_ctx, struct err *err); /* idle.h */
};

struct node_config {
        const char *run_dir;
        bool simulated;
        bool has_group; /* @group may connect, too */
        gid_t group;
};

struct node;
struct node *node_start(uv_loop_t *loop, struct rpc *rpc, const struct node_world *world, const struct node_config *config);
void node_check(struct node *node); /* is the socket there still? From time to time */
/* Takes no more calls, removes the socket; @closed when the calls have ended, which a question to a hand may delay. */
void node_stop(struct node *node, void (*closed)(void *ctx), void *ctx);
struct node *node_free(struct node *node); /* after @closed. NULL-safe, returns NULL */

#endif
