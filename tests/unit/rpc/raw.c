/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "raw.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
#include "deviceplugin.pb-c.h"

enum tag { TAG_SENT = 1, TAG_MESSAGE, TAG_STATUS };

struct raw {
        grpc_completion_queue *queue;
        grpc_channel *channel;
        grpc_call *call;
        grpc_metadata_array initial, trailing;
        grpc_byte_buffer *message;
        grpc_status_code status;
        grpc_slice details;
        bool reading;
        const char *then; /* the method to call when the present call has ended */
        struct raw_seen seen;
};

static void start(struct raw *raw, const grpc_op *ops, size_t n, enum tag tag)
{
        assert_int_equal(grpc_call_start_batch(raw->call, ops, n, (void *)(uintptr_t)tag, NULL), GRPC_CALL_OK);
}

/* Starts a call with an empty request. */
static void begin(struct raw *raw, const char *method)
{
        grpc_slice path = grpc_slice_from_copied_string(method);
        grpc_slice nothing = grpc_empty_slice();
        grpc_byte_buffer *request = grpc_raw_byte_buffer_create(&nothing, 1);

        raw->call = grpc_channel_create_call(raw->channel, NULL, GRPC_PROPAGATE_DEFAULTS, raw->queue, path, NULL,
                                             gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        grpc_metadata_array_init(&raw->initial);
        grpc_metadata_array_init(&raw->trailing);
        raw->details = grpc_empty_slice();
        grpc_op ops[4] = { { .op = GRPC_OP_SEND_INITIAL_METADATA },
                           { .op = GRPC_OP_SEND_MESSAGE },
                           { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT },
                           { .op = GRPC_OP_RECV_INITIAL_METADATA } };
        ops[1].data.send_message.send_message = request;
        ops[3].data.recv_initial_metadata.recv_initial_metadata = &raw->initial;
        start(raw, ops, 4, TAG_SENT);
        grpc_op status = { .op = GRPC_OP_RECV_STATUS_ON_CLIENT };
        status.data.recv_status_on_client.trailing_metadata = &raw->trailing;
        status.data.recv_status_on_client.status = &raw->status;
        status.data.recv_status_on_client.status_details = &raw->details;
        start(raw, &status, 1, TAG_STATUS);
        grpc_byte_buffer_destroy(request);
        grpc_slice_unref(path);
}

static void end(struct raw *raw)
{
        grpc_call_unref(raw->call);
        grpc_metadata_array_destroy(&raw->initial);
        grpc_metadata_array_destroy(&raw->trailing);
        grpc_slice_unref(raw->details);
}

static struct raw *connect_to(const char *unix_path)
{
        struct raw *raw = xcalloc(1, sizeof(*raw));
        char *target = xasprintf("unix:%s", unix_path);
        grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
        /* Each has a connection of its own, and what it has not asked for stays with the server but for 64 KiB. */
        grpc_arg list[] = { { .type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, .value.integer = 1 },
                            { .type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_HTTP2_BDP_PROBE, .value.integer = 0 } };
        grpc_channel_args args = { .num_args = N_ELEMENTS(list), .args = list };

        raw->queue = grpc_completion_queue_create_for_next(NULL);
        raw->channel = grpc_channel_create(target, credentials, &args);
        grpc_channel_credentials_release(credentials);
        free(target);
        return raw;
}

struct raw *raw_open(const char *unix_path, const char *method)
{
        struct raw *raw = connect_to(unix_path);

        begin(raw, method);
        return raw;
}

struct raw *raw_open_as_kubelet(const char *unix_path, const char *method)
{
        struct raw *raw = connect_to(unix_path);

        begin(raw, "/v1beta1.DevicePlugin/GetDevicePluginOptions");
        raw_read(raw);
        raw->then = method;
        return raw;
}

void raw_read(struct raw *raw)
{
        grpc_op op = { .op = GRPC_OP_RECV_MESSAGE };

        if (raw->reading || raw->seen.end || raw->then)
                return;
        raw->reading = true;
        op.data.recv_message.recv_message = &raw->message;
        start(raw, &op, 1, TAG_MESSAGE);
}

static void take_message(struct raw *raw)
{
        grpc_byte_buffer_reader reader;

        raw->reading = false;
        if (raw->then) { /* the options */
                grpc_byte_buffer_destroy(raw->message);
                raw->message = NULL;
                return;
        }
        if (!raw->message) {
                raw->seen.end = true;
                return;
        }
        assert_true(grpc_byte_buffer_reader_init(&reader, raw->message));
        grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
        V1beta1__ListAndWatchResponse *list =
                v1beta1__list_and_watch_response__unpack(NULL, GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice));
        assert_non_null(list);
        raw->seen.n_messages++;
        raw->seen.last_n_devices = list->n_devices;
        str_format(raw->seen.last_health, sizeof(raw->seen.last_health), "%s", list->n_devices ? list->devices[0]->health : "");
        raw->seen.last_numa = list->n_devices && list->devices[0]->topology ? (long)list->devices[0]->topology->nodes[0]->id : -1;
        v1beta1__list_and_watch_response__free_unpacked(list, NULL);
        grpc_slice_unref(slice);
        grpc_byte_buffer_destroy(raw->message);
        raw->message = NULL;
}

static void take_status(struct raw *raw)
{
        if (raw->then) {
                assert_int_equal(raw->status, GRPC_STATUS_OK);
                end(raw);
                begin(raw, raw->then);
                raw->then = NULL;
                return;
        }
        char *details = grpc_slice_to_c_string(raw->details);

        raw->seen.status_known = true;
        raw->seen.status = (int)raw->status;
        str_format(raw->seen.details, sizeof(raw->seen.details), "%s", details);
        gpr_free(details);
}

static bool take(struct raw *raw, int wait_ms)
{
        gpr_timespec deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(wait_ms, GPR_TIMESPAN));
        grpc_event event = grpc_completion_queue_next(raw->queue, deadline, NULL);

        if (event.type != GRPC_OP_COMPLETE)
                return false;
        if ((uintptr_t)event.tag == TAG_MESSAGE)
                take_message(raw);
        if ((uintptr_t)event.tag == TAG_STATUS)
                take_status(raw);
        return true;
}

const struct raw_seen *raw_turn(struct raw *raw, bool follow)
{
        do {
                if (follow)
                        raw_read(raw);
        } while (take(raw, 2));
        return &raw->seen;
}

void raw_close(struct raw *raw)
{
        (void)grpc_call_cancel(raw->call, NULL);
        grpc_completion_queue_shutdown(raw->queue);
        for (grpc_event event;
             (event = grpc_completion_queue_next(raw->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL)).type != GRPC_QUEUE_SHUTDOWN;)
                if ((uintptr_t)event.tag == TAG_MESSAGE && raw->message)
                        take_message(raw);
        end(raw);
        grpc_channel_destroy(raw->channel);
        grpc_completion_queue_destroy(raw->queue);
        free(raw);
}
