/* SPDX-License-Identifier: Apache-2.0 */
/* Blocking gRPC for the fake kubelet, straight on the C core and independent of pkg/rpc: a mistake of ours is not mirrored.
 *
 * A connection's calls block the calling thread on a queue of their own; a server runs every handler on a thread of its
 * own. Nothing here is fast, everything is plain. wire_init() before anything else, wire_done() last. */
#ifndef SLUICE_TESTS_FAKEKUBELET_WIRE_H
#define SLUICE_TESTS_FAKEKUBELET_WIRE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WIRE_TEXT_MAX = 1024, WIRE_MESSAGE_MAX = 4 << 20, WIRE_BACKSTOP_MS = 120000 };

struct wire_status {
        int code; /* gRPC status code; 0 = OK */
        char text[WIRE_TEXT_MAX];
};
const char *wire_code_name(int code); /* as grpc-go prints it: "FailedPrecondition" */

void wire_init(void);
void wire_done(void);

/* A client connection to a unix socket. Any thread; closing it fails every call in progress with Canceled. */
struct wire_conn;
struct wire_conn *wire_conn_new(const char *path, const char *authority);
/* Waits until the peer has answered HTTP/2 (as grpc-go's blocking dial does). False: @until_ms passed, or closed. */
bool wire_conn_dial(struct wire_conn *conn, int64_t until_ms);
void wire_conn_close(struct wire_conn *conn);
void wire_conn_free(struct wire_conn *conn); /* no call may be in progress */

/* One unary call. @until_ms < 0: no deadline is sent; a silent peer then ends the wait after WIRE_BACKSTOP_MS. On OK *ret is
 * the unpacked reply (caller: protobuf_c_message_free_unpacked) and *ret_bytes (may be NULL) its packed form. */
struct wire_bytes {
        uint8_t *data;
        size_t n;
};
bool wire_call(struct wire_conn *conn, const char *method, const ProtobufCMessage *request, const ProtobufCMessageDescriptor *reply,
               int64_t until_ms, ProtobufCMessage **ret, struct wire_bytes *ret_bytes, struct wire_status *status);

/* A server stream: open, next until false, close. @status is why it ended. */
struct wire_stream;
struct wire_stream *wire_stream_open(struct wire_conn *conn, const char *method, const ProtobufCMessage *request);
bool wire_stream_next(struct wire_stream *stream, struct wire_bytes *ret, struct wire_status *status);
void wire_stream_cancel(struct wire_stream *stream);
void wire_stream_free(struct wire_stream *stream);

/* A server on a unix socket. The path is bound, stays unserved (connection refused) for @refuse_ms, then listens: as a
 * restarting kubelet looks from outside. */
struct wire_request;
typedef void wire_handler(void *ctx, struct wire_request *request);
struct wire_method {
        const char *path;
        wire_handler *handler; /* thread of its own; must answer exactly once with wire_reply, wire_refuse or wire_end */
};
struct wire_server;
struct wire_server *wire_server_new(const char *path, unsigned refuse_ms, const struct wire_method *methods, size_t n, void *ctx);
/* Closes the listener and cuts every connection at once, as the death of the process would. Handlers still running are
 * waited for by wire_server_free. The file stays. */
void wire_server_kill(struct wire_server *server);
void wire_server_mute(struct wire_server *server);  /* only the listener is closed: connections live on */
void wire_server_drain(struct wire_server *server); /* waits until no handler runs */
void wire_server_free(struct wire_server *server);

const struct wire_bytes *wire_request_bytes(const struct wire_request *request);
const char *wire_request_authority(const struct wire_request *request);
int64_t wire_request_until_ms(const struct wire_request *request); /* CLOCK_MONOTONIC; INT64_MAX = no deadline */
bool wire_request_gone(const struct wire_request *request);        /* the client left or the call was cut */
void wire_reply(struct wire_request *request, const ProtobufCMessage *message);
void wire_refuse(struct wire_request *request, int code, const char *text);
/* Server streams: any number of messages, then wire_end. False: the client is gone. */
bool wire_send(struct wire_request *request, const ProtobufCMessage *message);
void wire_end(struct wire_request *request, int code, const char *text);

void wire_bytes_done(struct wire_bytes *bytes);
struct wire_bytes wire_pack(const ProtobufCMessage *message);

#endif
