/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC C core behind one face: ProtobufCMessage in, ProtobufCMessage out, status code, deadline. The only folder that
 * includes <grpc/...>. Everything here is called on, and calls back on, the loop thread, which waits in gRPC's completion queue.
 *
 * Servers have no port of their own: the listener (rpc/listener.h) accepts, checks the peer and hands the socket over. */
#ifndef SLUICE_RPC_RPC_H
#define SLUICE_RPC_RPC_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <uv.h>

#include "base/err.h"

/* gRPC status codes (a subset; values are the wire's). */
enum rpc_code {
        RPC_OK = 0,
        RPC_CANCELLED = 1,
        RPC_UNKNOWN = 2,
        RPC_INVALID_ARGUMENT = 3,
        RPC_DEADLINE_EXCEEDED = 4,
        RPC_NOT_FOUND = 5,
        RPC_RESOURCE_EXHAUSTED = 8,
        RPC_FAILED_PRECONDITION = 9,
        RPC_ABORTED = 10,
        RPC_UNIMPLEMENTED = 12,
        RPC_INTERNAL = 13,
        RPC_UNAVAILABLE = 14
};

struct rpc;
/* Begins to start gRPC, on a thread of its own: it takes half a millisecond, in which the caller has better things to do. GRPC_* of
 * the environment is removed. Signals must be blocked before. What was started is to be attached, also to be stopped. */
int rpc_start(struct rpc **ret, struct err *err);
/* Waits until gRPC has started. From now on, until rpc_stop has ended, @loop waits here, in each mode of uv_run, also in
 * UV_RUN_NOWAIT. */
void rpc_attach(struct rpc *rpc, uv_loop_t *loop);
/* When all servers are stopped and all clients freed (it waits for the servers): drains, joins, grpc_shutdown_blocking;
 * then frees and calls @stopped from the loop. Nothing new may be started after this call. */
void rpc_stop(struct rpc *rpc, void (*stopped)(void *ctx), void *ctx);

/* ---- server ---- */
struct rpc_server;
struct rpc_call;   /* a unary call that waits for its reply */
struct rpc_stream; /* a server stream: latest value wins */

struct rpc_method {
        const char *path; /* "/v1beta1.DevicePlugin/Allocate" */
        const ProtobufCMessageDescriptor *request;
        /* Exactly one of the two is set. @msg is borrowed for the call, decoded in an arena bounded to RPC_DECODE_MAX; strings in it
         * are valid UTF-8 as they came. The handler owns @call until rpc_reply or rpc_fail, which may come later. A stream belongs to the
         * server; @closed of rpc_stream_on_close tells its end. */
        void (*unary)(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg);
        void (*stream)(void *ctx, struct rpc_stream *stream, const ProtobufCMessage *msg);
        /* Instead of both for bytes that are no such message, @why being a static sentence; the call, a stream's too, is to be
         * failed. NULL, or no bytes came at all (the caller has left): it is failed with INVALID_ARGUMENT and @why. */
        void (*malformed)(void *ctx, struct rpc_call *call, const char *path, const char *why);
};
enum { RPC_MESSAGE_MAX = 1 << 20 /* we receive */, RPC_DECODE_MAX = 8 << 20, RPC_SEND_MAX = 3670016 /* 3.5 MiB, kubelet takes 4 */ };

/* @methods and @ctx are borrowed until the server has stopped. Unknown methods answer UNIMPLEMENTED. */
struct rpc_server *rpc_server_new(struct rpc *rpc, const struct rpc_method *methods, size_t n_methods, void *ctx);
/* What a server bears; 0 = the default. */
struct rpc_limits {
        unsigned calls;          /* unary calls at once, each until its answer is on its way to the caller; default 256 */
        unsigned per_connection; /* calls at once over one connection, further ones wait at the caller; default: all */
        unsigned message_max;    /* bytes of a request; default RPC_MESSAGE_MAX */
        unsigned unread_ms;      /* who has not taken its answer by then is cut off; default: never */
};
struct rpc_server *rpc_server_new_within(struct rpc *rpc, const struct rpc_method *methods, size_t n_methods,
                                         const struct rpc_limits *limits, void *ctx);
/* Takes @fd (connected, checked) over. */
void rpc_server_adopt(struct rpc_server *server, int fd);
/* Takes no more calls, finishes every stream with UNAVAILABLE, lets unary calls end, cancels the rest after @grace_ms; then
 * the server is freed and @stopped called once. A unary call that a handler still owns must be answered all the same:
 * the stop waits for it, even when its peer has been cut off. */
void rpc_server_stop(struct rpc_server *server, unsigned grace_ms, void (*stopped)(void *ctx), void *ctx);

/* A mark on the connection that a call came over, for as long as it lasts: what came over the same one can be told. */
void rpc_call_mark(struct rpc_call *call);
bool rpc_stream_marked(const struct rpc_stream *stream);

void rpc_reply(struct rpc_call *call, const ProtobufCMessage *msg);         /* packs at once; ends @call */
void rpc_fail(struct rpc_call *call, enum rpc_code code, const char *text); /* text is cleaned; ends @call */

/* Replaces what has not been sent yet. Returns -EMSGSIZE (nothing changed) when packed larger than RPC_SEND_MAX. */
int rpc_stream_set(struct rpc_stream *stream, const ProtobufCMessage *msg);
/* Ends the stream after what is being sent. A client that does not read can hold this up: then cancel. */
void rpc_stream_finish(struct rpc_stream *stream, enum rpc_code code, const char *text);
void rpc_stream_cancel(struct rpc_stream *stream); /* cuts it off at once; @closed follows */
/* @closed: the client left or the stream was finished; the stream is invalid after it returns. Set it in the handler. */
void rpc_stream_on_close(struct rpc_stream *stream, void (*closed)(void *ctx, struct rpc_stream *stream), void *ctx);

/* ---- client ---- */
struct rpc_client;
struct rpc_pending;
/* Lazy: nothing is connected until a call. @receive_max bytes (0 = 4 MiB). Own subchannel pool, no proxy, short reconnect. */
struct rpc_client *rpc_client_new(struct rpc *rpc, const char *unix_path, size_t receive_max);
struct rpc_client *rpc_client_free(struct rpc_client *client); /* pending calls are cancelled first by their owner */
/* Lets the connection go (calls in flight keep theirs). The next call connects afresh and at once; so does every call
 * after one that failed with UNAVAILABLE: there is no backoff but the caller's. */
void rpc_client_reset(struct rpc_client *client);

/* @msg is the decoded reply, NULL unless code is RPC_OK; @text the peer's status text, cleaned. Borrowed for the call. */
typedef void rpc_reply_fn(void *ctx, enum rpc_code code, const char *text, const ProtobufCMessage *msg);
struct rpc_pending *rpc_client_call(struct rpc_client *client, const char *method, const ProtobufCMessage *request,
                                    const ProtobufCMessageDescriptor *response, unsigned deadline_ms, rpc_reply_fn *fn, void *ctx);
void rpc_pending_cancel(struct rpc_pending *pending); /* @fn still comes, with RPC_CANCELLED */

#endif
