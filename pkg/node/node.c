/* SPDX-License-Identifier: Apache-2.0 */
/* The socket and its life. */
#include "node/node.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "node/node_priv.h"

enum { UNREAD_MS = 30 * 1000, STOP_GRACE_MS = 1000 };

static void on_accept(void *ctx, int fd)
{
        rpc_server_adopt(((struct node *)ctx)->server, fd);
}

static void on_refused(void *ctx, unsigned uid)
{
        const struct node *node = ctx;

        log_debug("a process of user %u connected to %s and was turned away: it may not", uid, listener_path(node->listener));
}

/* A problem is said once, until it is over. */
static void open_socket(struct node *node)
{
        _cleanup_free_ char *path = xasprintf("%s/node.sock", node->run_dir);
        struct err err;
        int r;

        listener_sweep(node->run_dir, "node");
        if (node->config.has_group)
                r = listener_open_to_group(&node->listener, node->loop, path, node->config.group, on_accept, on_refused, node, &err);
        else
                r = listener_open(&node->listener, node->loop, path, on_accept, on_refused, node, &err);
        if (r < 0 && !node->problem_said)
                log_error("the node API is not served, sluicectl has nobody to ask: %s%s", err.msg,
                          r == -EADDRINUSE ? "; another process listens there, or it is no socket" : "");
        if (r == 0 && node->problem_said)
                log_info("the node API is served on %s", path);
        node->problem_said = r < 0;
}

struct node *node_start(uv_loop_t *loop, struct rpc *rpc, const struct node_world *world, const struct node_config *config)
{
        /* Few ask, and whoever asks much waits: what is not read stays in memory. */
        static const struct rpc_limits limits = { .calls = 64, .per_connection = 16, .message_max = 64 << 10, .unread_ms = UNREAD_MS };
        struct node *node = xcalloc(1, sizeof(*node));

        *node = (struct node){ .loop = loop, .world = *world, .config = *config, .run_dir = xstrdup(config->run_dir) };
        node->server = rpc_server_new_within(rpc, node_methods, node_n_methods, &limits, node);
        open_socket(node);
        return node;
}

void node_check(struct node *node)
{
        if (node->stopping || (node->listener && listener_intact(node->listener)))
                return;
        if (node->listener)
                log_warn("%s has gone and is made anew", listener_path(node->listener));
        listener_close(node->listener);
        node->listener = NULL;
        open_socket(node);
}

static void on_stopped(void *ctx)
{
        struct node *node = ctx;

        node->server = NULL;
        node->closed(node->closed_ctx);
}

void node_stop(struct node *node, void (*closed)(void *ctx), void *ctx)
{
        assert(!node->stopping);
        node->stopping = true;
        node->closed = closed;
        node->closed_ctx = ctx;
        listener_close(node->listener);
        node->listener = NULL;
        rpc_server_stop(node->server, STOP_GRACE_MS, on_stopped, node);
}

struct node *node_free(struct node *node)
{
        if (!node)
                return NULL;
        assert(!node->server);
        free(node->run_dir);
        free(node);
        return NULL;
}
