/* SPDX-License-Identifier: Apache-2.0 */
/* The client half of wire.h. */
#include "wire.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <pthread.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "wire_priv.h"

struct wire_call {
        grpc_call *call;
        struct wire_call *next, **link; /* in conn->calls */
};

struct wire_conn {
        grpc_channel *channel;
        pthread_mutex_t mu;
        struct wire_call *calls;
        bool closed;
};

const char *wire_code_name(int code)
{
        static const char *const names[] = { "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
                                             "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
                                             "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
                                             "DataLoss", "Unauthenticated" };

        return code >= 0 && (size_t)code < N_ELEMENTS(names) ? names[code] : "Code?";
}

void wire_init(void)
{
        grpc_init();
}

void wire_done(void)
{
        grpc_shutdown_blocking();
}

gpr_timespec wire_until(int64_t until_ms)
{
        if (until_ms < 0 || until_ms == INT64_MAX)
                return gpr_inf_future(GPR_CLOCK_MONOTONIC);
        return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(until_ms - clock_ms(), GPR_TIMESPAN));
}

void wire_bytes_done(struct wire_bytes *bytes)
{
        free(bytes->data);
        *bytes = (struct wire_bytes){ 0 };
}

struct wire_bytes wire_pack(const ProtobufCMessage *message)
{
        struct wire_bytes b = { .n = protobuf_c_message_get_packed_size(message) };

        b.data = xcalloc(1, b.n + 1);
        (void)protobuf_c_message_pack(message, b.data);
        return b;
}

grpc_byte_buffer *wire_buffer(const ProtobufCMessage *message)
{
        struct wire_bytes b = wire_pack(message);
        grpc_slice slice = grpc_slice_from_copied_buffer((const char *)b.data, b.n);
        grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);

        grpc_slice_unref(slice);
        wire_bytes_done(&b);
        return buffer;
}

struct wire_bytes wire_read(grpc_byte_buffer *buffer)
{
        struct wire_bytes b = { 0 };
        grpc_byte_buffer_reader reader;

        if (!buffer || !grpc_byte_buffer_reader_init(&reader, buffer)) {
                b.data = xcalloc(1, 1);
                return b;
        }
        grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
        b.n = GRPC_SLICE_LENGTH(slice);
        b.data = xcalloc(1, b.n + 1);
        memcpy(b.data, GRPC_SLICE_START_PTR(slice), b.n);
        grpc_slice_unref(slice);
        grpc_byte_buffer_reader_destroy(&reader);
        return b;
}

void wire_queue_free(grpc_completion_queue *cq)
{
        grpc_completion_queue_shutdown(cq);
        while (grpc_completion_queue_pluck(cq, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type != GRPC_QUEUE_SHUTDOWN)
                ;
        grpc_completion_queue_destroy(cq);
}

struct wire_conn *wire_conn_new(const char *path, const char *authority)
{
        struct wire_conn *conn = xcalloc(1, sizeof(*conn));
        char target[256];
        /* grpc-go's dial: first retry after 1 s, factor 1.6; one connection per client, never a shared one. */
        grpc_arg args[] = {
                { .type = GRPC_ARG_STRING, .key = (char *)GRPC_ARG_DEFAULT_AUTHORITY, .value.string = (char *)authority },
                { .type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, .value.integer = 1 },
                { .type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, .value.integer = WIRE_MESSAGE_MAX },
                { .type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, .value.integer = 1000 },
                { .type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, .value.integer = 1000 },
                { .type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_HTTP_PROXY, .value.integer = 0 },
                { .type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_RETRIES, .value.integer = 0 },
        };
        grpc_channel_args list = { .num_args = N_ELEMENTS(args), .args = args };
        grpc_channel_credentials *creds = grpc_insecure_credentials_create();

        str_format(target, sizeof(target), "unix:%s", path);
        conn->channel = grpc_channel_create(target, creds, &list);
        grpc_channel_credentials_release(creds);
        pthread_mutex_init(&conn->mu, NULL);
        return conn;
}

static bool conn_closed(struct wire_conn *conn)
{
        pthread_mutex_lock(&conn->mu);
        bool closed = conn->closed;
        pthread_mutex_unlock(&conn->mu);
        return closed;
}

bool wire_conn_dial(struct wire_conn *conn, int64_t until_ms)
{
        grpc_completion_queue *cq = grpc_completion_queue_create_for_pluck(NULL);
        bool ready = false;

        while (!conn_closed(conn)) {
                grpc_connectivity_state state = grpc_channel_check_connectivity_state(conn->channel, 1);
                ready = state == GRPC_CHANNEL_READY;
                int64_t now = clock_ms();
                if (ready || now >= until_ms)
                        break;
                /* Short slices, so that closing the connection ends the wait. */
                int64_t slice = now + 50 < until_ms ? now + 50 : until_ms;
                grpc_channel_watch_connectivity_state(conn->channel, state, wire_until(slice), cq, conn);
                (void)grpc_completion_queue_pluck(cq, conn, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        }
        wire_queue_free(cq);
        return ready;
}

static bool call_start(struct wire_conn *conn, struct wire_call *call, const char *method, int64_t until_ms, grpc_completion_queue *cq)
{
        pthread_mutex_lock(&conn->mu);
        bool open = !conn->closed;
        if (open) {
                grpc_slice path = grpc_slice_from_copied_string(method);
                call->call =
                        grpc_channel_create_call(conn->channel, NULL, GRPC_PROPAGATE_DEFAULTS, cq, path, NULL, wire_until(until_ms), NULL);
                grpc_slice_unref(path);
                call->next = conn->calls;
                call->link = &conn->calls;
                if (call->next)
                        call->next->link = &call->next;
                conn->calls = call;
        }
        pthread_mutex_unlock(&conn->mu);
        return open;
}

static void call_end(struct wire_conn *conn, struct wire_call *call)
{
        pthread_mutex_lock(&conn->mu);
        *call->link = call->next;
        if (call->next)
                call->next->link = call->link;
        pthread_mutex_unlock(&conn->mu);
        grpc_call_unref(call->call);
}

void wire_conn_close(struct wire_conn *conn)
{
        pthread_mutex_lock(&conn->mu);
        conn->closed = true;
        for (struct wire_call *c = conn->calls; c; c = c->next)
                (void)grpc_call_cancel(c->call, NULL);
        pthread_mutex_unlock(&conn->mu);
}

void wire_conn_free(struct wire_conn *conn)
{
        if (!conn)
                return;
        grpc_channel_destroy(conn->channel);
        pthread_mutex_destroy(&conn->mu);
        free(conn);
}

static bool status_set(struct wire_status *status, int code, const char *text)
{
        status->code = code;
        str_format(status->text, sizeof(status->text), "%s", text);
        return false;
}

static void status_take(struct wire_status *status, grpc_status_code code, grpc_slice details)
{
        size_t n = GRPC_SLICE_LENGTH(details);

        status->code = (int)code;
        if (n >= sizeof(status->text))
                n = sizeof(status->text) - 1;
        memcpy(status->text, GRPC_SLICE_START_PTR(details), n);
        status->text[n] = '\0';
        grpc_slice_unref(details);
}

/* What one unary call needs while its batch is under way. */
struct unary {
        grpc_metadata_array initial, trailing;
        grpc_byte_buffer *out, *in;
        grpc_status_code code;
        grpc_slice details;
};

static void unary_run(grpc_call *call, grpc_completion_queue *cq, struct unary *u, bool backstop)
{
        grpc_op ops[6] = { { 0 } };

        ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
        ops[1].op = GRPC_OP_SEND_MESSAGE;
        ops[1].data.send_message.send_message = u->out;
        ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
        ops[3].data.recv_initial_metadata.recv_initial_metadata = &u->initial;
        ops[4].op = GRPC_OP_RECV_MESSAGE;
        ops[4].data.recv_message.recv_message = &u->in;
        ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
        ops[5].data.recv_status_on_client.trailing_metadata = &u->trailing;
        ops[5].data.recv_status_on_client.status = &u->code;
        ops[5].data.recv_status_on_client.status_details = &u->details;
        if (grpc_call_start_batch(call, ops, N_ELEMENTS(ops), u, NULL) != GRPC_CALL_OK)
                abort(); /* our own misuse */
        gpr_timespec wait = backstop ? wire_until(clock_ms() + WIRE_BACKSTOP_MS) : gpr_inf_future(GPR_CLOCK_MONOTONIC);
        if (grpc_completion_queue_pluck(cq, u, wait, NULL).type == GRPC_QUEUE_TIMEOUT) {
                (void)grpc_call_cancel_with_status(call, GRPC_STATUS_DEADLINE_EXCEEDED, "the plugin never answered (test backstop)", NULL);
                (void)grpc_completion_queue_pluck(cq, u, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        }
}

static bool unary_reply(struct unary *u, const ProtobufCMessageDescriptor *reply, ProtobufCMessage **ret, struct wire_bytes *ret_bytes,
                        struct wire_status *status)
{
        status_take(status, u->code, u->details);
        if (status->code != 0)
                return false;
        struct wire_bytes bytes = wire_read(u->in);
        ProtobufCMessage *message = protobuf_c_message_unpack(reply, NULL, bytes.n, bytes.data);
        if (!message) {
                wire_bytes_done(&bytes);
                return status_set(status, GRPC_STATUS_INTERNAL, "grpc: failed to unmarshal the received message");
        }
        *ret = message;
        if (ret_bytes)
                *ret_bytes = bytes;
        else
                wire_bytes_done(&bytes);
        return true;
}

bool wire_call(struct wire_conn *conn, const char *method, const ProtobufCMessage *request, const ProtobufCMessageDescriptor *reply,
               int64_t until_ms, ProtobufCMessage **ret, struct wire_bytes *ret_bytes, struct wire_status *status)
{
        grpc_completion_queue *cq = grpc_completion_queue_create_for_pluck(NULL);
        struct wire_call call = { 0 };

        if (!call_start(conn, &call, method, until_ms, cq)) {
                wire_queue_free(cq);
                return status_set(status, GRPC_STATUS_CANCELLED, "grpc: the client connection is closing");
        }
        struct unary u = { .out = wire_buffer(request) };
        grpc_metadata_array_init(&u.initial);
        grpc_metadata_array_init(&u.trailing);
        unary_run(call.call, cq, &u, until_ms < 0);
        bool ok = unary_reply(&u, reply, ret, ret_bytes, status);
        grpc_byte_buffer_destroy(u.out);
        if (u.in)
                grpc_byte_buffer_destroy(u.in);
        grpc_metadata_array_destroy(&u.initial);
        grpc_metadata_array_destroy(&u.trailing);
        call_end(conn, &call);
        wire_queue_free(cq);
        return ok;
}

struct wire_stream {
        struct wire_conn *conn;
        struct wire_call call;
        grpc_completion_queue *cq;
        grpc_metadata_array initial, trailing;
        grpc_status_code code;
        grpc_slice details;
        bool ended;
};

struct wire_stream *wire_stream_open(struct wire_conn *conn, const char *method, const ProtobufCMessage *request)
{
        struct wire_stream *s = xcalloc(1, sizeof(*s));
        grpc_op ops[4] = { { 0 } }, last = { 0 };

        s->conn = conn;
        s->cq = grpc_completion_queue_create_for_pluck(NULL);
        if (!call_start(conn, &s->call, method, -1, s->cq)) {
                wire_queue_free(s->cq);
                free(s);
                return NULL;
        }
        grpc_metadata_array_init(&s->initial);
        grpc_metadata_array_init(&s->trailing);
        grpc_byte_buffer *out = wire_buffer(request);
        ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
        ops[1].op = GRPC_OP_SEND_MESSAGE;
        ops[1].data.send_message.send_message = out;
        ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
        ops[3].data.recv_initial_metadata.recv_initial_metadata = &s->initial;
        last.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
        last.data.recv_status_on_client.trailing_metadata = &s->trailing;
        last.data.recv_status_on_client.status = &s->code;
        last.data.recv_status_on_client.status_details = &s->details;
        if (grpc_call_start_batch(s->call.call, &last, 1, &s->ended, NULL) != GRPC_CALL_OK ||
            grpc_call_start_batch(s->call.call, ops, N_ELEMENTS(ops), s, NULL) != GRPC_CALL_OK)
                abort(); /* our own misuse */
        (void)grpc_completion_queue_pluck(s->cq, s, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        grpc_byte_buffer_destroy(out);
        return s;
}

bool wire_stream_next(struct wire_stream *stream, struct wire_bytes *ret, struct wire_status *status)
{
        grpc_byte_buffer *in = NULL;
        grpc_op op = { 0 };

        op.op = GRPC_OP_RECV_MESSAGE;
        op.data.recv_message.recv_message = &in;
        if (grpc_call_start_batch(stream->call.call, &op, 1, stream, NULL) != GRPC_CALL_OK)
                abort(); /* our own misuse */
        (void)grpc_completion_queue_pluck(stream->cq, stream, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (in) {
                *ret = wire_read(in);
                grpc_byte_buffer_destroy(in);
                return true;
        }
        (void)grpc_completion_queue_pluck(stream->cq, &stream->ended, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        stream->ended = true;
        status_take(status, stream->code, stream->details);
        return false;
}

void wire_stream_cancel(struct wire_stream *stream)
{
        (void)grpc_call_cancel(stream->call.call, NULL);
}

void wire_stream_free(struct wire_stream *stream)
{
        if (!stream)
                return;
        if (!stream->ended) {
                wire_stream_cancel(stream);
                (void)grpc_completion_queue_pluck(stream->cq, &stream->ended, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
                grpc_slice_unref(stream->details);
        }
        grpc_metadata_array_destroy(&stream->initial);
        grpc_metadata_array_destroy(&stream->trailing);
        call_end(stream->conn, &stream->call);
        wire_queue_free(stream->cq);
        free(stream);
}
