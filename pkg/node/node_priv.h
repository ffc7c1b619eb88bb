/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share. */
#ifndef SLUICE_NODE_NODE_PRIV_H
#define SLUICE_NODE_NODE_PRIV_H

#include "node/node.h"
#include "present/explanation.h"
#include "rpc/listener.h"

struct node {
        uv_loop_t *loop;
        struct rpc_server *server;
        struct listener *listener; /* NULL = it could not be opened */
        struct node_world world;
        struct node_config config;
        char *run_dir;
        bool problem_said, stopping;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

extern const struct rpc_method node_methods[];
extern const size_t node_n_methods;

/* Ends @call: with the message, or when that is larger than a client takes, with a refusal. */
void node_reply(struct rpc_call *call, const ProtobufCMessage *message);

/* As many as the caller wants, and at most @most; 0 = as many as may be. */
static inline size_t node_page_size(uint32_t wanted, size_t most)
{
        return wanted == 0 || wanted > most ? most : wanted;
}

/* explain.c */
void node_explain(struct node *node, struct rpc_call *call, const pb_node_explain_request *request);
/* May a hand be asked who has @device (NULL: it is gone) open? Else @why_not says why nobody is. */
bool node_may_look(const struct device *device, char why_not[static ERR_MSG_MAX]);
void node_add_holders(struct pile *pile, pb_holders *m, const struct ask_answer *answer); /* to what @m, a complete one at first, has */

/* prepared.c */
void node_list_prepared(struct node *node, struct rpc_call *call, const pb_node_list_prepared_request *request);

/* hold.c */
void node_cordon(struct node *node, struct rpc_call *call, const pb_node_cordon_request *request);
void node_uncordon(struct node *node, struct rpc_call *call, const pb_node_uncordon_request *request);

/* idle.c */
void node_release_idle(struct node *node, struct rpc_call *call, const pb_node_release_idle_request *request);

/* NOT_FOUND: there is no @what of that name, and what is near. */
void node_not_found(struct node *node, struct rpc_call *call, const char *what, const char *id);

/* nearest.c: the ids of @offer that look most like @id, at most three, as a list in words; "" when none comes near. Pure. */
enum { NEAREST_TEXT_MAX = 160 };
void node_nearest(const struct offer *offer, const char *id, char ret[static NEAREST_TEXT_MAX]);

#endif
