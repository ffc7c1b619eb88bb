/* SPDX-License-Identifier: Apache-2.0 */
/* Unary client. A channel on which a call found nobody is not kept: the next call makes a new one and connects at once,
 * so that the retry schedule is the caller's and not gRPC's. */
#include "rpc/rpc.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <limits.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
#include "rpc/rpc_priv.h"

enum { RECEIVE_DEFAULT = 4 << 20 };

struct rpc_client {
        struct rpc *rpc;
        char *target; /* "unix:/path" */
        size_t receive_max;
        grpc_channel *channel;       /* NULL until a call needs it */
        struct rpc_pending *pending; /* in flight */
};

struct rpc_pending {
        struct op op;
        struct rpc_client *client; /* NULL once the client is freed */
        struct rpc_pending *next;
        grpc_channel *channel; /* only compared: is the client still using the one this call was made on? */
        grpc_call *grpc;
        const ProtobufCMessageDescriptor *response;
        size_t decode_max;
        bool cancelled;
        rpc_reply_fn *fn;
        void *ctx;

        grpc_metadata_array initial, trailing;
        grpc_byte_buffer *reply;
        grpc_status_code status;
        grpc_slice details;
        const char *error_string;
};

struct rpc_client *rpc_client_new(struct rpc *rpc, const char *unix_path, size_t receive_max)
{
        struct rpc_client *client = xcalloc(1, sizeof(*client));

        client->rpc = rpc;
        client->target = xasprintf("unix:%s", unix_path);
        client->receive_max = receive_max > 0 && receive_max <= INT_MAX / 8 ? receive_max : RECEIVE_DEFAULT;
        return client;
}

void rpc_client_reset(struct rpc_client *client)
{
        if (client->channel)
                grpc_channel_destroy(client->channel); /* Calls in flight have their own hold on it. */
        client->channel = NULL;
}

struct rpc_client *rpc_client_free(struct rpc_client *client)
{
        if (!client)
                return NULL;
        for (struct rpc_pending *p = client->pending; p; p = p->next)
                p->client = NULL;
        rpc_client_reset(client);
        free(client->target);
        free(client);
        return NULL;
}

static void client_connect(struct rpc_client *client)
{
#define INTEGER_ARG(name, number) { .type = GRPC_ARG_INTEGER, .key = (char *)(name), .value.integer = (number) }
        grpc_arg args[] = {
                INTEGER_ARG(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)client->receive_max),
                INTEGER_ARG(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1), /* no shared backoff */
                INTEGER_ARG(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200),
                INTEGER_ARG(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 200),
                INTEGER_ARG(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000),
                INTEGER_ARG(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
                INTEGER_ARG(GRPC_ARG_ENABLE_RETRIES, 0),
                INTEGER_ARG(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0),
        };
#undef INTEGER_ARG
        grpc_channel_args channel_args = { .num_args = N_ELEMENTS(args), .args = args };

        if (!client->channel)
                client->channel = grpc_channel_create(client->target, client->rpc->channel_credentials, &channel_args);
}

static void pending_unlink(struct rpc_pending *pending)
{
        struct rpc_client *client = pending->client;

        if (!client)
                return;
        for (struct rpc_pending **at = &client->pending; *at; at = &(*at)->next)
                if (*at == pending) {
                        *at = pending->next;
                        break;
                }
        if (pending->status == GRPC_STATUS_UNAVAILABLE && client->channel == pending->channel)
                rpc_client_reset(client);
}

static void pending_free(struct rpc_pending *pending)
{
        grpc_metadata_array_destroy(&pending->initial);
        grpc_metadata_array_destroy(&pending->trailing);
        if (pending->reply)
                grpc_byte_buffer_destroy(pending->reply);
        grpc_slice_unref(pending->details);
        gpr_free((void *)(uintptr_t)pending->error_string);
        grpc_call_unref(pending->grpc);
        free(pending);
}

static void pending_deliver(struct rpc_pending *pending)
{
        _cleanup_arena_ struct arena arena;
        const char *why = NULL;
        ProtobufCMessage *msg = NULL;

        arena_init(&arena, pending->decode_max);
        if (pending->cancelled) {
                pending->fn(pending->ctx, RPC_CANCELLED, "cancelled", NULL);
                return;
        }
        if (pending->status == GRPC_STATUS_OK)
                msg = bytes_decode(pending->reply, pending->response, &arena, &why);
        if (msg) {
                pending->fn(pending->ctx, RPC_OK, "", msg);
                return;
        }
        char text[STATUS_TEXT_MAX];
        char *details = grpc_slice_to_c_string(pending->details);
        str_clean(text, sizeof(text), why ? why : details);
        gpr_free(details);
        pending->fn(pending->ctx, why ? RPC_INTERNAL : (enum rpc_code)pending->status, text, NULL);
}

static void on_reply(struct op *op, bool ok)
{
        struct rpc_pending *pending = container_of(op, struct rpc_pending, op);

        (void)ok; /* A batch that receives a status always succeeds. */
        pending_unlink(pending);
        pending_deliver(pending);
        pending_free(pending);
}

struct rpc_pending *rpc_client_call(struct rpc_client *client, const char *method, const ProtobufCMessage *request,
                                    const ProtobufCMessageDescriptor *response, unsigned deadline_ms, rpc_reply_fn *fn, void *ctx)
{
        struct rpc_pending *pending = xcalloc(1, sizeof(*pending));
        gpr_timespec deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(deadline_ms, GPR_TIMESPAN));
        grpc_slice path = grpc_slice_from_copied_string(method);

        client_connect(client);
        pending->op.done = on_reply;
        pending->client = client;
        pending->next = client->pending;
        client->pending = pending;
        pending->channel = client->channel;
        pending->response = response;
        pending->decode_max = 8 * client->receive_max;
        pending->fn = fn;
        pending->ctx = ctx;
        pending->details = grpc_empty_slice();
        grpc_metadata_array_init(&pending->initial);
        grpc_metadata_array_init(&pending->trailing);
        pending->grpc =
                grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, client->rpc->queue, path, NULL, deadline, NULL);
        grpc_slice_unref(path);

        grpc_byte_buffer *message = bytes_pack(request);
        grpc_op ops[6] = { { .op = GRPC_OP_SEND_INITIAL_METADATA },  { .op = GRPC_OP_SEND_MESSAGE },
                           { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT }, { .op = GRPC_OP_RECV_INITIAL_METADATA },
                           { .op = GRPC_OP_RECV_MESSAGE },           { .op = GRPC_OP_RECV_STATUS_ON_CLIENT } };
        ops[1].data.send_message.send_message = message;
        ops[3].data.recv_initial_metadata.recv_initial_metadata = &pending->initial;
        ops[4].data.recv_message.recv_message = &pending->reply;
        ops[5].data.recv_status_on_client.trailing_metadata = &pending->trailing;
        ops[5].data.recv_status_on_client.status = &pending->status;
        ops[5].data.recv_status_on_client.status_details = &pending->details;
        ops[5].data.recv_status_on_client.error_string = &pending->error_string;
        op_start(&pending->op, pending->grpc, ops, N_ELEMENTS(ops));
        grpc_byte_buffer_destroy(message);
        return pending;
}

void rpc_pending_cancel(struct rpc_pending *pending)
{
        pending->cancelled = true;
        (void)grpc_call_cancel(pending->grpc, NULL);
}
