/* SPDX-License-Identifier: Apache-2.0 */
/* Server streams: the latest value wins. One send is in flight at most; what is set meanwhile replaces what waits.
 *
 * The batch that waits for the client's end is started first and alone: it is the only sign that a client has left. The
 * stream is over when that batch and the last send are both back. */
#include "rpc/rpc.h"

#include <errno.h>
#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "rpc/rpc_priv.h"

static void stream_unlink(struct rpc_stream *stream)
{
        struct rpc_server *server = stream->call->slot->server;

        for (struct rpc_stream **at = &server->streams; *at; at = &(*at)->next)
                if (*at == stream) {
                        *at = stream->next;
                        break;
                }
        server->n_streams--;
}

static void stream_drop_value(struct rpc_stream *stream)
{
        if (stream->value)
                grpc_byte_buffer_destroy(stream->value);
        stream->value = NULL;
}

static void stream_end_if_over(struct rpc_stream *stream)
{
        struct rpc_server *server = stream->call->slot->server;

        if (!stream->closed_back || stream->sending)
                return;
        stream_unlink(stream);
        if (stream->on_close)
                stream->on_close(stream->on_close_ctx, stream);
        stream_drop_value(stream);
        call_free(stream->call);
        free(stream->text);
        free(stream);
        server_unref(server);
}

/* Sends what there is to send, unless a send is in flight. */
static void stream_flush(struct rpc_stream *stream)
{
        grpc_op ops[3] = { 0 };
        size_t n = 0;
        grpc_slice details;
        bool ending = stream->finishing;

        if (stream->sending || stream->gone || (!stream->value && !ending))
                return;
        if (!stream->greeted)
                ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
        if (ending) {
                details = bytes_text(stream->text);
                ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
                ops[n].data.send_status_from_server.status = (grpc_status_code)stream->code;
                ops[n++].data.send_status_from_server.status_details = &details;
                stream->gone = true; /* Nothing may follow; the end is known when both batches are back. */
        } else {
                ops[n].op = GRPC_OP_SEND_MESSAGE;
                ops[n++].data.send_message.send_message = stream->value;
        }
        stream->greeted = true;
        stream->sending = true;
        op_start(&stream->sent, stream->call->grpc, ops, n);
        if (ending)
                grpc_slice_unref(details);
        else
                stream_drop_value(stream); /* The batch has its own hold on the slices. */
}

static void on_sent(struct op *op, bool ok)
{
        struct rpc_stream *stream = container_of(op, struct rpc_stream, sent);

        (void)ok; /* A failed send means that the client left: the closing batch says so. */
        stream->sending = false;
        stream_flush(stream);
        stream_end_if_over(stream);
}

static void on_closed(struct op *op, bool ok)
{
        struct rpc_stream *stream = container_of(op, struct rpc_stream, closed);

        (void)ok;
        stream->closed_back = true;
        stream->gone = true;
        stream_end_if_over(stream);
}

void stream_open(struct rpc_call *call, const ProtobufCMessage *msg)
{
        struct rpc_server *server = call->slot->server;
        struct rpc_stream *stream = xcalloc(1, sizeof(*stream));
        grpc_op close = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER };

        stream->call = call;
        stream->sent.done = on_sent;
        stream->closed.done = on_closed;
        stream->next = server->streams;
        server->streams = stream;
        server->n_streams++;
        server->refs++;
        close.data.recv_close_on_server.cancelled = &call->cancelled;
        op_start(&stream->closed, call->grpc, &close, 1);
        call->slot->method->stream(server->ctx, stream, msg);
}

int rpc_stream_set(struct rpc_stream *stream, const ProtobufCMessage *msg)
{
        if (protobuf_c_message_get_packed_size(msg) > RPC_SEND_MAX)
                return -EMSGSIZE;
        if (stream->gone || stream->finishing)
                return 0; /* Nobody will read it; @closed is on its way. */
        stream_drop_value(stream);
        stream->value = bytes_pack(msg);
        stream_flush(stream);
        return 0;
}

void rpc_stream_finish(struct rpc_stream *stream, enum rpc_code code, const char *text)
{
        if (stream->finishing || stream->gone)
                return;
        stream->finishing = true;
        stream->code = code;
        stream->text = xstrdup(text);
        stream_drop_value(stream);
        stream_flush(stream);
}

void rpc_stream_cancel(struct rpc_stream *stream)
{
        (void)grpc_call_cancel(stream->call->grpc, NULL);
}

void rpc_stream_on_close(struct rpc_stream *stream, void (*closed)(void *ctx, struct rpc_stream *stream), void *ctx)
{
        stream->on_close = closed;
        stream->on_close_ctx = ctx;
}
