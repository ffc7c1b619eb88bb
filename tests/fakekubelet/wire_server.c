/* SPDX-License-Identifier: Apache-2.0 */
/* The server half of wire.h: an own listener, one thread that takes calls in, one thread per call. */
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "wire_priv.h"

struct wire_server {
        const struct wire_method *methods;
        size_t n_methods;
        void *ctx;
        grpc_server *server;
        grpc_server_credentials *creds;
        grpc_completion_queue *cq;
        pthread_t taker, accepter;
        int listener, stop_fd;
        unsigned refuse_ms;
        bool muted, killed;

        pthread_mutex_t mu;
        pthread_cond_t idle;
        size_t n_calls; /* handler threads */
        int *fds;       /* duplicates of what was accepted, to cut the connections */
        size_t n_fds, cap_fds;
};

struct wire_request {
        struct wire_server *server;
        const struct wire_method *method;
        grpc_completion_queue *cq;
        grpc_call *call;
        grpc_call_details details;
        grpc_metadata_array metadata;
        struct wire_bytes bytes;
        char *authority;
        int64_t until_ms;
        int cancelled;
        bool gone, closing, started, ended;
};

static void *op_tag(struct wire_request *rq)
{
        return rq;
}
static void *close_tag(struct wire_request *rq)
{
        return &rq->cancelled;
}

/* Accepting */

static void fds_cut(struct wire_server *s)
{
        pthread_mutex_lock(&s->mu);
        for (size_t i = 0; i < s->n_fds; i++) {
                (void)shutdown(s->fds[i], SHUT_RDWR);
                (void)close(s->fds[i]);
        }
        s->n_fds = 0;
        pthread_mutex_unlock(&s->mu);
}

static void accept_one(struct wire_server *s)
{
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);

        if (fd < 0)
                return;
        pthread_mutex_lock(&s->mu);
        if (copy >= 0) {
                GROW(s->fds, s->n_fds, s->cap_fds);
                s->fds[s->n_fds++] = copy;
        }
        pthread_mutex_unlock(&s->mu);
        grpc_server_add_channel_from_fd(s->server, fd, s->creds);
}

static void *accepter_main(void *arg)
{
        struct wire_server *s = arg;
        struct pollfd stop = { .fd = s->stop_fd, .events = POLLIN };

        /* The file is visible and nobody listens: connect() answers ECONNREFUSED. */
        if (s->refuse_ms > 0 && poll(&stop, 1, (int)s->refuse_ms) != 0)
                return NULL;
        if (listen(s->listener, 128) < 0)
                return NULL;
        for (;;) {
                struct pollfd fds[2] = { stop, { .fd = s->listener, .events = POLLIN } };
                if (poll(fds, 2, -1) < 0 && errno != EINTR)
                        return NULL;
                if (fds[0].revents)
                        return NULL;
                if (fds[1].revents)
                        accept_one(s);
        }
}

/* Taking calls in */

static void request_free(struct wire_request *rq)
{
        grpc_metadata_array_destroy(&rq->metadata);
        grpc_call_details_destroy(&rq->details);
        if (rq->call)
                grpc_call_unref(rq->call);
        wire_queue_free(rq->cq);
        wire_bytes_done(&rq->bytes);
        free(rq->authority);
        free(rq);
}

static void request_more(struct wire_server *s)
{
        struct wire_request *rq = xcalloc(1, sizeof(*rq));

        rq->server = s;
        rq->cq = grpc_completion_queue_create_for_pluck(NULL);
        grpc_call_details_init(&rq->details);
        grpc_metadata_array_init(&rq->metadata);
        if (grpc_server_request_call(s->server, &rq->call, &rq->details, &rq->metadata, rq->cq, s->cq, rq) != GRPC_CALL_OK)
                request_free(rq);
}

static bool request_batch(struct wire_request *rq, grpc_op *ops, size_t n)
{
        if (grpc_call_start_batch(rq->call, ops, n, op_tag(rq), NULL) != GRPC_CALL_OK)
                return false;
        return grpc_completion_queue_pluck(rq->cq, op_tag(rq), gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).success != 0;
}

static void request_watch_close(struct wire_request *rq)
{
        grpc_op op = { 0 };

        op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
        op.data.recv_close_on_server.cancelled = &rq->cancelled;
        rq->closing = grpc_call_start_batch(rq->call, &op, 1, close_tag(rq), NULL) == GRPC_CALL_OK;
}

static void request_receive(struct wire_request *rq)
{
        grpc_byte_buffer *in = NULL;
        grpc_op op = { 0 };

        op.op = GRPC_OP_RECV_MESSAGE;
        op.data.recv_message.recv_message = &in;
        (void)request_batch(rq, &op, 1);
        rq->bytes = wire_read(in);
        if (in)
                grpc_byte_buffer_destroy(in);
}

static void *request_main(void *arg)
{
        struct wire_request *rq = arg;
        struct wire_server *s = rq->server;

        request_watch_close(rq);
        request_receive(rq);
        if (rq->method)
                rq->method->handler(s->ctx, rq);
        else
                wire_refuse(rq, GRPC_STATUS_UNIMPLEMENTED, "unknown method");
        if (rq->closing && !rq->gone)
                (void)grpc_completion_queue_pluck(rq->cq, close_tag(rq), gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        request_free(rq);
        pthread_mutex_lock(&s->mu);
        s->n_calls--;
        pthread_cond_broadcast(&s->idle);
        pthread_mutex_unlock(&s->mu);
        return NULL;
}

static void request_start(struct wire_server *s, struct wire_request *rq)
{
        pthread_t thread;

        char *host = grpc_slice_to_c_string(rq->details.host);
        rq->authority = xstrdup(host);
        gpr_free(host);
        rq->until_ms = INT64_MAX;
        gpr_timespec deadline = gpr_convert_clock_type(rq->details.deadline, GPR_CLOCK_MONOTONIC);
        if (gpr_time_cmp(deadline, gpr_inf_future(GPR_CLOCK_MONOTONIC)) != 0) {
                gpr_timespec left = gpr_time_sub(deadline, gpr_now(GPR_CLOCK_MONOTONIC));
                rq->until_ms = clock_ms() + gpr_time_to_millis(left);
        }
        for (size_t i = 0; i < s->n_methods; i++)
                if (grpc_slice_str_cmp(rq->details.method, s->methods[i].path) == 0)
                        rq->method = &s->methods[i];
        pthread_mutex_lock(&s->mu);
        s->n_calls++;
        pthread_mutex_unlock(&s->mu);
        if (pthread_create(&thread, NULL, request_main, rq) != 0)
                abort(); /* out of threads: no test can go on */
        (void)pthread_detach(thread);
}

static void *taker_main(void *arg)
{
        struct wire_server *s = arg;

        request_more(s);
        for (;;) {
                grpc_event e = grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
                if (e.type == GRPC_QUEUE_SHUTDOWN)
                        return NULL;
                if (e.tag == s) { /* the server's own shutdown */
                        grpc_completion_queue_shutdown(s->cq);
                        continue;
                }
                if (!e.success) {
                        request_free(e.tag);
                        continue;
                }
                request_more(s);
                request_start(s, e.tag);
        }
}

static int bind_path(const char *path)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0 || !str_copy(a.sun_path, sizeof(a.sun_path), path) || (unlink(path) < 0 && errno != ENOENT) ||
            bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
                int error = errno;
                if (fd >= 0)
                        (void)close(fd);
                errno = error;
                return -1;
        }
        return fd;
}

struct wire_server *wire_server_new(const char *path, unsigned refuse_ms, const struct wire_method *methods, size_t n, void *ctx)
{
        int listener = bind_path(path);

        if (listener < 0)
                return NULL;
        struct wire_server *s = xcalloc(1, sizeof(*s));
        *s = (struct wire_server){ .methods = methods, .n_methods = n, .ctx = ctx, .listener = listener, .refuse_ms = refuse_ms };
        s->stop_fd = eventfd(0, EFD_CLOEXEC);
        s->creds = grpc_insecure_server_credentials_create();
        s->server = grpc_server_create(NULL, NULL);
        s->cq = grpc_completion_queue_create_for_next(NULL);
        pthread_mutex_init(&s->mu, NULL);
        pthread_cond_init(&s->idle, NULL);
        grpc_server_register_completion_queue(s->server, s->cq, NULL);
        grpc_server_start(s->server);
        if (refuse_ms == 0) /* be there when the caller returns */
                (void)listen(listener, 128);
        if (pthread_create(&s->taker, NULL, taker_main, s) != 0 || pthread_create(&s->accepter, NULL, accepter_main, s) != 0)
                abort(); /* out of threads: no test can go on */
        return s;
}

void wire_server_mute(struct wire_server *server)
{
        if (server->muted)
                return;
        server->muted = true;
        (void)eventfd_write(server->stop_fd, 1);
        (void)pthread_join(server->accepter, NULL);
        (void)close(server->listener);
        (void)close(server->stop_fd);
}

void wire_server_kill(struct wire_server *server)
{
        wire_server_mute(server);
        if (server->killed)
                return;
        server->killed = true;
        fds_cut(server);
        grpc_server_shutdown_and_notify(server->server, server->cq, server);
        grpc_server_cancel_all_calls(server->server);
}

void wire_server_drain(struct wire_server *server)
{
        pthread_mutex_lock(&server->mu);
        while (server->n_calls > 0)
                pthread_cond_wait(&server->idle, &server->mu);
        pthread_mutex_unlock(&server->mu);
}

void wire_server_free(struct wire_server *server)
{
        if (!server)
                return;
        wire_server_kill(server);
        (void)pthread_join(server->taker, NULL); /* first: until then it may start another handler */
        wire_server_drain(server);
        grpc_server_destroy(server->server);
        grpc_completion_queue_destroy(server->cq);
        grpc_server_credentials_release(server->creds);
        pthread_mutex_destroy(&server->mu);
        pthread_cond_destroy(&server->idle);
        free(server->fds);
        free(server);
}

/* Answering */

const struct wire_bytes *wire_request_bytes(const struct wire_request *request)
{
        return &request->bytes;
}

const char *wire_request_authority(const struct wire_request *request)
{
        return request->authority;
}

int64_t wire_request_until_ms(const struct wire_request *request)
{
        return request->until_ms;
}

bool wire_request_gone(const struct wire_request *request)
{
        struct wire_request *rq = (struct wire_request *)request; /* plucking is not a change that the caller sees */

        if (rq->closing && !rq->gone) {
                grpc_event e = grpc_completion_queue_pluck(rq->cq, close_tag(rq), gpr_time_0(GPR_CLOCK_MONOTONIC), NULL);
                rq->gone = e.type == GRPC_OP_COMPLETE;
        }
        return rq->gone;
}

static void status_op(grpc_op *op, int code, grpc_slice *text)
{
        op->op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        op->data.send_status_from_server.status = (grpc_status_code)code;
        op->data.send_status_from_server.status_details = text;
}

void wire_end(struct wire_request *request, int code, const char *text)
{
        grpc_slice details = grpc_slice_from_copied_string(text);
        grpc_op ops[2] = { { 0 } };
        size_t n = 0;

        if (!request->started)
                ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
        status_op(&ops[n++], code, &details);
        request->started = request->ended = true;
        (void)request_batch(request, ops, n);
        grpc_slice_unref(details);
}

bool wire_send(struct wire_request *request, const ProtobufCMessage *message)
{
        grpc_op ops[2] = { { 0 } };
        size_t n = 0;

        if (wire_request_gone(request))
                return false;
        grpc_byte_buffer *out = wire_buffer(message);
        if (!request->started)
                ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = out;
        request->started = true;
        bool ok = request_batch(request, ops, n);
        grpc_byte_buffer_destroy(out);
        return ok;
}

void wire_reply(struct wire_request *request, const ProtobufCMessage *message)
{
        (void)wire_send(request, message);
        wire_end(request, GRPC_STATUS_OK, "");
}

void wire_refuse(struct wire_request *request, int code, const char *text)
{
        wire_end(request, code, text);
}
