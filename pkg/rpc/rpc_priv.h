/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of pkg/rpc share: the operation (the only kind of completion-queue tag), the runtime, and bytes. */
#ifndef SLUICE_RPC_RPC_PRIV_H
#define SLUICE_RPC_RPC_PRIV_H

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "rpc/decode.h"
#include "rpc/rpc.h"

/* Every tag is one of these, embedded in what it is about. An op is in flight at most once. */
struct op {
        void (*done)(struct op *op, bool ok);
};

struct rpc {
        uv_loop_t *loop;
        uv_idle_t idle; /* where the loop waits */
        grpc_completion_queue *queue;
        grpc_server_credentials *server_credentials;
        grpc_channel_credentials *channel_credentials;

        pthread_t starter; /* until it is attached */
        pthread_t ringer;
        int leash;         /* an eventfd: lets the ringer go once */
        bool ringer_out;   /* it was let go and has not rung */
        atomic_bool ended; /* it shall end */
        grpc_call *bell;
        struct op rung;

        unsigned users; /* servers: they still start batches. Each lives until its last call is answered */
        bool stopping;
        void (*stopped)(void *ctx);
        void *stopped_ctx;
};
void rpc_use(struct rpc *rpc);
void rpc_release(struct rpc *rpc); /* may begin the shutdown that rpc_stop asked for */

/* Starts @ops on @call; @op completes later. Our batches are well-formed, so a refusal is our mistake. */
void op_start(struct op *op, grpc_call *call, const grpc_op *ops, size_t n);

grpc_byte_buffer *bytes_pack(const ProtobufCMessage *msg);
/* Decodes @buffer (may be NULL: no message came) into @arena; NULL with a static sentence in @why. */
ProtobufCMessage *bytes_decode(grpc_byte_buffer *buffer, const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
                               const char **why);
enum { STATUS_TEXT_MAX = 1024 };
grpc_slice bytes_text(const char *text); /* cleaned, for a status; the caller unrefs */

/* ---- between server.c and stream.c ---- */
struct slot { /* a method of a server; the catch-all has no method */
        struct rpc_server *server;
        const struct rpc_method *method;
        void *registered;
};

struct rpc_call {
        struct op op; /* its arrival, then its end */
        struct slot *slot;
        grpc_call *grpc;
        gpr_timespec deadline;
        grpc_metadata_array metadata;
        grpc_call_details details;
        grpc_byte_buffer *payload;
        int cancelled;
        bool counted;           /* one of the server's n_calls, with a reference to it */
        struct rpc_call *after; /* the next of the server's answers under way */
        int64_t unread_ms;      /* when its caller is cut off, on the loop's clock */
};
void call_free(struct rpc_call *call); /* once no op of it is in flight */

struct rpc_server {
        struct rpc *rpc;
        grpc_server *grpc;
        struct slot *slots; /* the last one is the catch-all */
        size_t n_slots;
        void *ctx;
        struct rpc_limits limits;
        unsigned refs; /* armed requests, calls until their answer is sent, streams, and the server itself until grpc has let go */
        unsigned n_calls, n_streams;
        struct rpc_call *answers; /* under way, the first one longest; only where unread ones are cut off */
        struct rpc_stream *streams;
        bool *marked; /* by the descriptor of the connection, which is also gRPC's name for it */
        size_t n_marked;
        bool stopping;
        struct op shutdown;
        uv_timer_t timer; /* of the first unread answer, then of the grace period of the stop */
        void (*stopped)(void *ctx);
        void *stopped_ctx;
};
void server_unref(struct rpc_server *server);

struct rpc_stream {
        struct rpc_stream *next;
        struct rpc_call *call;
        struct op sent, closed;
        grpc_byte_buffer *value; /* the latest, not yet on its way */
        bool greeted;            /* initial metadata is on its way */
        bool sending;            /* a send batch is in flight */
        bool finishing;          /* @code and @text are to be sent, or have been */
        bool gone;               /* nothing more may be sent: the client left, or our status is on its way */
        bool closed_back;        /* the batch that waits for the client's end has completed */
        enum rpc_code code;
        char *text;
        void (*on_close)(void *ctx, struct rpc_stream *stream);
        void *on_close_ctx;
};
void stream_open(struct rpc_call *call, const ProtobufCMessage *msg); /* takes @call */

#endif
