/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime: the loop waits in gRPC's completion queue instead of in its own poll, so that a call is read, decided and
 * answered by one thread, without being handed on. Its timers are the deadline of that wait; for its descriptors a second
 * thread, the ringer, sits in poll() on the loop's own descriptor and puts a bell's sound into the queue. */
#include "rpc/rpc.h"

#include <assert.h>
#include <errno.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/cpu.h>
#include <grpc/support/time.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

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

/* Debian builds abseil without NDEBUG: each lock that gRPC takes is entered in a graph in which abseil looks for deadlocks; it
 * costs a sixth of gRPC's instructions in a call, and memory for each lock. Weak: an abseil of another name or version is left
 * as it is. */
void absl_set_deadlock_detection(int mode) __asm__("_ZN4absl7debian329SetMutexDeadlockDetectionModeENS0_15OnDeadlockCycleE")
        __attribute__((weak));
enum { ABSL_DEADLOCK_IGNORE = 0 };

/* Stands for the parts of gRPC that a static link leaves out (RPC_LEFT_OUT in the Makefile). */
void rpc_left_out(void *builder);
void rpc_left_out(void *builder)
{
        (void)builder;
}

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

/* ---- the ringer ---- */

static void leash_tug(struct rpc *rpc)
{
        const uint64_t one = 1;

        if (write(rpc->leash, &one, sizeof(one)) != sizeof(one))
                abort(); /* An eventfd of ours, far from full. */
}

/* The thread. Let go once for each wait of the loop, it rings at most once for it; it decides nothing. */
static void *ring(void *arg)
{
        struct rpc *rpc = arg;
        struct pollfd fds[] = { { .fd = uv_backend_fd(rpc->loop), .events = POLLIN }, { .fd = rpc->leash, .events = POLLIN } };
        uint64_t tugs;

        for (;;) {
                if (read(rpc->leash, &tugs, sizeof(tugs)) < 0)
                        continue; /* Interrupted. */
                if (!atomic_load(&rpc->ended))
                        (void)poll(fds, N_ELEMENTS(fds), -1); /* Interrupted: the loop looks once for nothing. */
                if (atomic_load(&rpc->ended))
                        return NULL;
                (void)grpc_call_start_batch(rpc->bell, NULL, 0, &rpc->rung, NULL);
        }
}

static void on_rung(struct op *op, bool ok)
{
        (void)ok;
        container_of(op, struct rpc, rung)->ringer_out = false; /* The loop looks at its descriptors as soon as we return. */
}

/* A call that nobody will ever answer: an empty batch on it completes at once, from any thread. */
static void bell_make(struct rpc *rpc)
{
        grpc_channel *lame = grpc_lame_client_channel_create("", GRPC_STATUS_UNAVAILABLE, "");

        rpc->bell = grpc_channel_create_call(lame, NULL, GRPC_PROPAGATE_DEFAULTS, rpc->queue, grpc_slice_from_static_string("/"), NULL,
                                             gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        grpc_channel_destroy(lame);
        rpc->rung.done = on_rung;
}

/* ---- the loop's wait ---- */

static void on_closed(uv_handle_t *handle)
{
        struct rpc *rpc = container_of((uv_idle_t *)(void *)handle, struct rpc, idle);
        void (*stopped)(void *ctx) = rpc->stopped;
        void *ctx = rpc->stopped_ctx;

        grpc_server_credentials_release(rpc->server_credentials);
        grpc_channel_credentials_release(rpc->channel_credentials);
        grpc_shutdown_blocking();
        (void)close(rpc->leash);
        free(rpc);
        stopped(ctx);
}

static void on_drained(struct rpc *rpc)
{
        grpc_completion_queue_destroy(rpc->queue);
        uv_close((uv_handle_t *)&rpc->idle, on_closed);
}

/* How long the loop may wait: until its next timer, not at all when it has something to do. libuv (1.44 at least) counts as that
 * also descriptors that are not yet in its epoll set, in which the ringer would not see them. */
static gpr_timespec wait_until(struct rpc *rpc, uv_idle_cb cb)
{
        uv_update_time(rpc->loop);
        (void)uv_idle_stop(&rpc->idle); /* Our own handle would make it 0. */
        int ms = uv_backend_timeout(rpc->loop);
        (void)uv_idle_start(&rpc->idle, cb);
        if (ms != 0 && !rpc->ringer_out) {
                rpc->ringer_out = true;
                leash_tug(rpc);
        }
        if (ms < 0)
                return gpr_inf_future(GPR_CLOCK_MONOTONIC);
        if (ms == 0)
                return gpr_inf_past(GPR_CLOCK_MONOTONIC); /* "Now" would be rounded up to a millisecond. */
        return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

/* Called in each turn of the loop, which after it looks at its descriptors without waiting. One operation a turn: neither
 * side waits for the other. */
static void on_idle(uv_idle_t *idle)
{
        struct rpc *rpc = container_of(idle, struct rpc, idle);

        grpc_event event = grpc_completion_queue_next(rpc->queue, wait_until(rpc, on_idle), NULL);
        uv_update_time(rpc->loop);
        if (event.type == GRPC_OP_COMPLETE) {
                struct op *op = event.tag;
                op->done(op, event.success != 0);
        } else if (event.type == GRPC_QUEUE_SHUTDOWN) {
                on_drained(rpc);
        }
}

/* gRPC's threads and ours inherit the mask: signals are the loop's. */
static pthread_t thread_new(void *(*fn)(void *), void *arg)
{
        sigset_t all, before;
        pthread_t thread;

        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        int r = pthread_create(&thread, NULL, fn, arg);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r != 0)
                abort(); /* As an allocation that fails: nothing useful can run. */
        return thread;
}

/* The thread that starts gRPC, and ends. */
static void *begin(void *arg)
{
        struct rpc *rpc = arg;

        if (absl_set_deadlock_detection)
                absl_set_deadlock_detection(ABSL_DEADLOCK_IGNORE);
        grpc_init();
        rpc->queue = grpc_completion_queue_create_for_next(NULL);
        rpc->server_credentials = grpc_insecure_server_credentials_create();
        rpc->channel_credentials = grpc_insecure_credentials_create();
        bell_make(rpc);
        return NULL;
}

int rpc_start(struct rpc **ret, struct err *err)
{
        forget_environment(); /* Not from the thread: others read it meanwhile. */

        int leash = eventfd(0, EFD_CLOEXEC);
        if (leash < 0)
                return err_set(err, errno, "cannot make an eventfd");
        struct rpc *rpc = xcalloc(1, sizeof(*rpc));
        rpc->leash = leash;
        rpc->starter = thread_new(begin, rpc);
        *ret = rpc;
        return 0;
}

void rpc_attach(struct rpc *rpc, uv_loop_t *loop)
{
        (void)pthread_join(rpc->starter, NULL);
        rpc->loop = loop;
        rpc->ringer = thread_new(ring, rpc);
        (void)pthread_setname_np(rpc->ringer, "ringer");
        (void)uv_idle_init(loop, &rpc->idle);
        (void)uv_idle_start(&rpc->idle, on_idle);
}

void rpc_use(struct rpc *rpc)
{
        rpc->users++;
}

void rpc_release(struct rpc *rpc)
{
        assert(rpc->users > 0);
        if (--rpc->users > 0 || !rpc->stopping)
                return;
        atomic_store(&rpc->ended, true);
        leash_tug(rpc);
        (void)pthread_join(rpc->ringer, NULL);
        grpc_call_unref(rpc->bell);
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
