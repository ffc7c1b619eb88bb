/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime: one completion queue, one thread that sits in it, one list on which completed operations travel to the
 * loop. A wake-up is sent only when the list was empty. */
#include "rpc/rpc.h"

#include <assert.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/cpu.h>
#include <grpc/support/time.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "rpc/rpc_priv.h"

#ifndef SLUICE_GRPC_ALL_CPUS /* build switch: define it to leave the number of threads to gRPC */
/* gRPC 1.51 starts clamp(CPUs, 2, 32) event_engine threads and offers no option; we serve one kubelet. It finds these
 * before its own (statically linked: always; dynamically linked: with -Wl,--export-dynamic-symbol for both). */
unsigned gpr_cpu_num_cores(void)
{
        return 2;
}
unsigned gpr_cpu_current_cpu(void)
{
        return 0; /* An index below the number above. */
}
#endif

/* gRPC is not built with ThreadSanitizer, which therefore does not see that a tag passes through its queue. */
#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *p);
void __tsan_release(void *p);
#define TAG_LEAVES(op)  __tsan_release(op)
#define TAG_ARRIVES(op) __tsan_acquire(op)
#else
#define TAG_LEAVES(op)  (void)(op)
#define TAG_ARRIVES(op) (void)(op)
#endif

extern char **environ;

/* The environment must not change how gRPC behaves (poll strategy, tracing, fork support). */
static void forget_environment(void)
{
        for (char **e = environ; *e;) {
                _cleanup_free_ char *name = str_has_prefix(*e, "GRPC_") ? xstrndup(*e, strcspn(*e, "=")) : NULL;
                if (name && unsetenv(name) == 0)
                        e = environ; /* The array has moved. */
                else
                        e++;
        }
}

static void post(struct rpc *rpc, struct op *op)
{
        op->next = NULL;
        (void)pthread_mutex_lock(&rpc->mutex);
        bool was_empty = !rpc->head;
        *rpc->tail = op;
        rpc->tail = &op->next;
        (void)pthread_mutex_unlock(&rpc->mutex);
        if (was_empty)
                (void)uv_async_send(&rpc->wake);
}

static void *transport(void *arg)
{
        struct rpc *rpc = arg;

        for (;;) {
                grpc_event event = grpc_completion_queue_next(rpc->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
                if (event.type == GRPC_QUEUE_SHUTDOWN)
                        break;
                if (event.type != GRPC_OP_COMPLETE)
                        continue;
                struct op *op = event.tag;
                TAG_ARRIVES(op);
                op->ok = event.success != 0;
                if (op->direct)
                        op->done(op, op->ok);
                else
                        post(rpc, op);
        }
        post(rpc, &rpc->drained);
        return NULL;
}

static void on_wake(uv_async_t *wake)
{
        struct rpc *rpc = container_of(wake, struct rpc, wake);

        (void)pthread_mutex_lock(&rpc->mutex);
        struct op *op = rpc->head;
        rpc->head = NULL;
        rpc->tail = &rpc->head;
        (void)pthread_mutex_unlock(&rpc->mutex);

        while (op) {
                struct op *next = op->next; /* @done may free it or send it off again. */
                op->done(op, op->ok);
                op = next;
        }
}

static void on_closed(uv_handle_t *handle)
{
        struct rpc *rpc = container_of((uv_async_t *)(void *)handle, struct rpc, wake);
        void (*stopped)(void *ctx) = rpc->stopped;
        void *ctx = rpc->stopped_ctx;

        grpc_server_credentials_release(rpc->server_credentials);
        grpc_channel_credentials_release(rpc->channel_credentials);
        grpc_shutdown_blocking();
        (void)pthread_mutex_destroy(&rpc->mutex);
        free(rpc);
        stopped(ctx);
}

static void on_drained(struct op *op, bool ok)
{
        struct rpc *rpc = container_of(op, struct rpc, drained);

        (void)ok;
        (void)pthread_join(rpc->thread, NULL);
        grpc_completion_queue_destroy(rpc->queue);
        uv_close((uv_handle_t *)&rpc->wake, on_closed);
}

int rpc_start(struct rpc **ret, uv_loop_t *loop, struct err *err)
{
        forget_environment();

        struct rpc *rpc = xcalloc(1, sizeof(*rpc));
        rpc->loop = loop;
        rpc->tail = &rpc->head;
        rpc->drained.done = on_drained;
        int r = uv_async_init(loop, &rpc->wake, on_wake);
        if (r < 0) {
                free(rpc);
                return err_say(err, -r, "cannot make the loop's wake-up: %s", uv_strerror(r));
        }
        (void)pthread_mutex_init(&rpc->mutex, NULL);

        /* gRPC's threads and ours inherit the mask: signals are the loop's. */
        sigset_t all, before;
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        grpc_init();
        rpc->queue = grpc_completion_queue_create_for_next(NULL);
        rpc->server_credentials = grpc_insecure_server_credentials_create();
        rpc->channel_credentials = grpc_insecure_credentials_create();
        r = pthread_create(&rpc->thread, NULL, transport, rpc);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r != 0)
                abort(); /* As an allocation that fails: nothing useful can run. */
        (void)pthread_setname_np(rpc->thread, "rpc");

        *ret = rpc;
        return 0;
}

void rpc_use(struct rpc *rpc)
{
        rpc->users++;
}

void rpc_release(struct rpc *rpc)
{
        assert(rpc->users > 0);
        if (--rpc->users == 0 && rpc->stopping)
                grpc_completion_queue_shutdown(rpc->queue);
}

void rpc_stop(struct rpc *rpc, void (*stopped)(void *ctx), void *ctx)
{
        assert(!rpc->stopping);
        rpc->stopped = stopped;
        rpc->stopped_ctx = ctx;
        rpc_use(rpc);
        rpc->stopping = true;
        rpc_release(rpc);
}

void op_start(struct op *op, grpc_call *call, const grpc_op *ops, size_t n)
{
        TAG_LEAVES(op);
        grpc_call_error error = grpc_call_start_batch(call, ops, n, op, NULL);
        if (error != GRPC_CALL_OK)
                abort(); /* A malformed batch: its completion would never come. */
}

grpc_byte_buffer *bytes_pack(const ProtobufCMessage *msg)
{
        grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(msg));

        (void)protobuf_c_message_pack(msg, GRPC_SLICE_START_PTR(slice));
        grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
        return buffer;
}

ProtobufCMessage *bytes_decode(grpc_byte_buffer *buffer, const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
                               const char **why)
{
        grpc_byte_buffer_reader reader;

        if (!buffer) {
                *why = "no message came, or it was too large";
                return NULL;
        }
        /* Our channels do not decompress: a small message must not become a large one. */
        if (buffer->type != GRPC_BB_RAW || buffer->data.raw.compression != GRPC_COMPRESS_NONE) {
                *why = "compressed messages are not accepted";
                return NULL;
        }
        if (!grpc_byte_buffer_reader_init(&reader, buffer)) {
                *why = "the message cannot be read";
                return NULL;
        }
        grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
        ProtobufCMessage *msg = decode_message(descriptor, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice), arena, why);
        grpc_slice_unref(slice); /* Everything in @msg is a copy. */
        return msg;
}

grpc_slice bytes_text(const char *text)
{
        char clean[STATUS_TEXT_MAX];

        str_clean(clean, sizeof(clean), text);
        return grpc_slice_from_copied_string(clean);
}
