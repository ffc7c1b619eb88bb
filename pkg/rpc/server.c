/* SPDX-License-Identifier: Apache-2.0 */
/* Servers and unary calls. A call is freed by the completion of its last batch. */
#include "rpc/rpc.h"

#include <assert.h>
#include <grpc/byte_buffer.h>
#include <grpc/grpc_posix.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "rpc/rpc_priv.h"

/* One kubelet asks one thing per container; more than this at once is a peer gone wrong. */
enum { CALLS_MAX = 256, STREAMS_MAX = 64 };

void call_free(struct rpc_call *call)
{
        if (call->payload)
                grpc_byte_buffer_destroy(call->payload);
        grpc_metadata_array_destroy(&call->metadata);
        grpc_call_details_destroy(&call->details);
        if (call->grpc)
                grpc_call_unref(call->grpc);
        free(call);
}

/* ---- answers under way ---- */

static void on_unread(uv_timer_t *timer);

static void arm_unread(struct rpc_server *server)
{
        const struct rpc_call *first = server->answers;

        while (first && first->unread_ms == 0)
                first = first->after;
        if (server->stopping)
                return; /* the timer is the grace period's now */
        if (!first) {
                (void)uv_timer_stop(&server->timer);
                return;
        }
        int64_t in_ms = first->unread_ms - (int64_t)uv_now(server->rpc->loop);
        (void)uv_timer_start(&server->timer, on_unread, in_ms > 0 ? (uint64_t)in_ms : 0, 0);
}

/* A caller that does not read holds memory and a place among the calls. */
static void on_unread(uv_timer_t *timer)
{
        struct rpc_server *server = container_of(timer, struct rpc_server, timer);
        int64_t now_ms = (int64_t)uv_now(server->rpc->loop);

        for (struct rpc_call *call = server->answers; call; call = call->after)
                if (call->unread_ms > 0 && call->unread_ms <= now_ms) {
                        call->unread_ms = 0;
                        (void)grpc_call_cancel(call->grpc, NULL); /* its end follows */
                }
        arm_unread(server);
}

static void answer_begun(struct rpc_call *call)
{
        struct rpc_server *server = call->slot->server;
        struct rpc_call **at = &server->answers;

        if (!call->counted || server->limits.unread_ms == 0)
                return;
        while (*at)
                at = &(*at)->after;
        *at = call;
        call->unread_ms = (int64_t)uv_now(server->rpc->loop) + server->limits.unread_ms;
        arm_unread(server);
}

static void answer_over(struct rpc_call *call)
{
        if (!call->counted)
                return; /* and no reference: its server may be gone */
        struct rpc_server *server = call->slot->server;
        for (struct rpc_call **at = &server->answers; *at; at = &(*at)->after)
                if (*at == call) {
                        *at = call->after;
                        arm_unread(server);
                        break;
                }
        server->n_calls--;
        server_unref(server);
}

static void count(struct rpc_call *call)
{
        call->counted = true;
        call->slot->server->n_calls++;
        call->slot->server->refs++;
}

/* ---- the end of a call ---- */

static void on_ended(struct op *op, bool ok)
{
        struct rpc_call *call = container_of(op, struct rpc_call, op);

        (void)ok; /* Sent, or the peer is gone: over either way. */
        answer_over(call);
        call_free(call);
}

static void call_end(struct rpc_call *call, enum rpc_code code, const char *text, grpc_byte_buffer *reply)
{
        grpc_slice details = bytes_text(text);
        grpc_op ops[4] = { { .op = GRPC_OP_SEND_INITIAL_METADATA }, { .op = GRPC_OP_RECV_CLOSE_ON_SERVER } };
        size_t n = 2;

        ops[1].data.recv_close_on_server.cancelled = &call->cancelled;
        if (reply) {
                ops[n].op = GRPC_OP_SEND_MESSAGE;
                ops[n++].data.send_message.send_message = reply;
        }
        ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        ops[n].data.send_status_from_server.status = (grpc_status_code)code;
        ops[n++].data.send_status_from_server.status_details = &details;

        /* The batch has its own hold on the reply's slices. */
        call->op = (struct op){ .done = on_ended };
        answer_begun(call);
        op_start(&call->op, call->grpc, ops, n);
        grpc_slice_unref(details);
        if (reply)
                grpc_byte_buffer_destroy(reply);
}

/* Sends a status alone and frees the call when it is gone. */
static void call_refuse(struct rpc_call *call, enum rpc_code code, const char *text)
{
        call_end(call, code, text, NULL);
}

void rpc_reply(struct rpc_call *call, const ProtobufCMessage *msg)
{
        call_end(call, RPC_OK, "", bytes_pack(msg));
}

void rpc_fail(struct rpc_call *call, enum rpc_code code, const char *text)
{
        assert(code != RPC_OK);
        call_end(call, code, text, NULL);
}

static void malformed(struct rpc_call *call, const char *why)
{
        const struct rpc_method *method = call->slot->method;

        if (!method->malformed || !call->payload) { /* no message: mostly a caller that has left, which is nothing to report */
                call_refuse(call, RPC_INVALID_ARGUMENT, why);
                return;
        }
        count(call);
        method->malformed(call->slot->server->ctx, call, method->path, why);
}

static void dispatch(struct rpc_call *call)
{
        struct rpc_server *server = call->slot->server;
        const struct rpc_method *method = call->slot->method;
        _cleanup_arena_ struct arena arena;
        const char *why = NULL;

        arena_init(&arena, RPC_DECODE_MAX);
        if (!method) {
                call_refuse(call, RPC_UNIMPLEMENTED, "unknown method");
                return;
        }
        if (method->unary ? server->n_calls >= server->limits.calls : server->n_streams >= STREAMS_MAX) {
                call_refuse(call, RPC_RESOURCE_EXHAUSTED, "too many calls at once");
                return;
        }
        ProtobufCMessage *msg = bytes_decode(call->payload, method->request, &arena, &why);
        if (!msg) {
                malformed(call, why);
                return;
        }
        grpc_byte_buffer_destroy(call->payload);
        call->payload = NULL;
        if (method->stream) {
                stream_open(call, msg);
                return;
        }
        count(call);
        method->unary(server->ctx, call, msg);
}

static void arm(struct slot *slot);

static void on_arrived(struct op *op, bool ok)
{
        struct rpc_call *call = container_of(op, struct rpc_call, op);
        struct rpc_server *server = call->slot->server;

        if (!ok) {
                call_free(call); /* Shutting down: this request never got a call. */
        } else if (server->stopping) {
                call_refuse(call, RPC_UNAVAILABLE, "shutting down");
        } else {
                arm(call->slot);
                dispatch(call);
        }
        server_unref(server);
}

/* Offers gRPC one more call of @slot. */
static void arm(struct slot *slot)
{
        struct rpc_server *server = slot->server;
        grpc_completion_queue *queue = server->rpc->queue;
        struct rpc_call *call = xcalloc(1, sizeof(*call));
        grpc_call_error error;

        call->slot = slot;
        call->op.done = on_arrived;
        grpc_metadata_array_init(&call->metadata);
        grpc_call_details_init(&call->details);
        if (slot->method)
                error = grpc_server_request_registered_call(server->grpc, slot->registered, &call->grpc, &call->deadline, &call->metadata,
                                                            &call->payload, queue, queue, &call->op);
        else
                error = grpc_server_request_call(server->grpc, &call->grpc, &call->details, &call->metadata, queue, queue, &call->op);
        if (error != GRPC_CALL_OK)
                abort(); /* Our mistake: its completion would never come. */
        server->refs++;
}

struct rpc_server *rpc_server_new(struct rpc *rpc, const struct rpc_method *methods, size_t n_methods, void *ctx)
{
        return rpc_server_new_within(rpc, methods, n_methods, &(struct rpc_limits){ 0 }, ctx);
}

struct rpc_server *rpc_server_new_within(struct rpc *rpc, const struct rpc_method *methods, size_t n_methods,
                                         const struct rpc_limits *limits, void *ctx)
{
        struct rpc_server *server = xcalloc(1, sizeof(*server));
        int message_max = limits->message_max > 0 ? (int)limits->message_max : RPC_MESSAGE_MAX;
        /* No keepalive, no age or idle limit: a GOAWAY would end ListAndWatch, and kubelet does not come back. */
        grpc_arg args[] = {
                { .type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, .value.integer = message_max },
                { .type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, .value.integer = 0 },
                { .type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_MAX_CONCURRENT_STREAMS, .value.integer = (int)limits->per_connection },
        };
        grpc_channel_args channel_args = { .num_args = N_ELEMENTS(args) - (limits->per_connection == 0), .args = args };

        server->rpc = rpc;
        server->limits = *limits;
        if (server->limits.calls == 0)
                server->limits.calls = CALLS_MAX;
        server->ctx = ctx;
        server->refs = 1;
        server->grpc = grpc_server_create(&channel_args, NULL);
        grpc_server_register_completion_queue(server->grpc, rpc->queue, NULL);
        server->n_slots = n_methods + 1;
        server->slots = xcalloc(server->n_slots, sizeof(*server->slots));
        for (size_t i = 0; i < server->n_slots; i++) {
                struct slot *slot = &server->slots[i];
                slot->server = server;
                if (i == n_methods)
                        continue; /* The catch-all: without it an unknown method hangs until the caller's deadline. */
                assert(!methods[i].unary != !methods[i].stream);
                slot->method = &methods[i];
                /* No host: kubelet's authority may be anything. */
                slot->registered =
                        grpc_server_register_method(server->grpc, methods[i].path, NULL, GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
                if (!slot->registered)
                        abort(); /* The same path twice: our mistake. */
        }
        (void)uv_timer_init(rpc->loop, &server->timer);
        grpc_server_start(server->grpc);
        for (size_t i = 0; i < server->n_slots; i++)
                arm(&server->slots[i]);
        rpc_use(rpc);
        return server;
}

void rpc_server_adopt(struct rpc_server *server, int fd)
{
        if (server->stopping) {
                (void)close(fd);
                return;
        }
        if ((size_t)fd < server->n_marked)
                server->marked[fd] = false; /* The number was another connection's before. */
        grpc_server_add_channel_from_fd(server->grpc, fd, server->rpc->server_credentials);
}

/* The descriptor that @call came over: gRPC calls an adopted one "fd:N". -1: it does not. */
static int connection(const struct rpc_call *call)
{
        char *peer = grpc_call_get_peer(call->grpc);
        uint64_t fd;
        bool ok = str_has_prefix(peer, "fd:") && str_to_u64(peer + strlen("fd:"), 10, INT_MAX, &fd);

        gpr_free(peer);
        return ok ? (int)fd : -1;
}

void rpc_call_mark(struct rpc_call *call)
{
        struct rpc_server *server = call->slot->server;
        int fd = connection(call);

        if (fd < 0)
                return;
        size_t n = (size_t)fd + 1;
        if (n > server->n_marked) {
                server->marked = xrealloc(server->marked, n, sizeof(*server->marked));
                memset(server->marked + server->n_marked, 0, (n - server->n_marked) * sizeof(*server->marked));
                server->n_marked = n;
        }
        server->marked[fd] = true;
}

bool rpc_stream_marked(const struct rpc_stream *stream)
{
        const struct rpc_server *server = stream->call->slot->server;
        int fd = connection(stream->call);

        return fd >= 0 && (size_t)fd < server->n_marked && server->marked[fd];
}

static void on_timer_closed(uv_handle_t *handle)
{
        struct rpc_server *server = container_of((uv_timer_t *)(void *)handle, struct rpc_server, timer);
        struct rpc *rpc = server->rpc;
        void (*stopped)(void *ctx) = server->stopped;
        void *ctx = server->stopped_ctx;

        free(server->slots);
        free(server->marked);
        free(server);
        stopped(ctx);
        rpc_release(rpc);
}

void server_unref(struct rpc_server *server)
{
        assert(server->refs > 0);
        if (--server->refs == 0)
                uv_close((uv_handle_t *)&server->timer, on_timer_closed);
}

static void on_shutdown(struct op *op, bool ok)
{
        struct rpc_server *server = container_of(op, struct rpc_server, shutdown);

        (void)ok;
        grpc_server_destroy(server->grpc);
        server->grpc = NULL;
        (void)uv_timer_stop(&server->timer);
        server_unref(server);
}

static void on_grace_over(uv_timer_t *timer)
{
        struct rpc_server *server = container_of(timer, struct rpc_server, timer);

        if (server->grpc)
                grpc_server_cancel_all_calls(server->grpc);
}

void rpc_server_stop(struct rpc_server *server, unsigned grace_ms, void (*stopped)(void *ctx), void *ctx)
{
        assert(!server->stopping);
        server->stopping = true;
        server->stopped = stopped;
        server->stopped_ctx = ctx;
        server->shutdown.done = on_shutdown;
        grpc_server_shutdown_and_notify(server->grpc, server->rpc->queue, &server->shutdown);
        for (struct rpc_stream *stream = server->streams; stream; stream = stream->next)
                rpc_stream_finish(stream, RPC_UNAVAILABLE, "the plugin is shutting down");
        (void)uv_timer_start(&server->timer, on_grace_over, grace_ms, 0);
}
