/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"

static void on_allocate(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        struct rig *rig = ctx;
        const V1beta1__AllocateRequest *request = (const V1beta1__AllocateRequest *)(const void *)msg;
        V1beta1__AllocateResponse response = V1BETA1__ALLOCATE_RESPONSE__INIT;
        V1beta1__ContainerAllocateResponse container = V1BETA1__CONTAINER_ALLOCATE_RESPONSE__INIT;
        _cleanup_free_ V1beta1__ContainerAllocateResponse **containers = xcalloc(rig->n_more + 1, sizeof(*containers));

        rig->n_allocates++;
        rig->n_containers = request->n_container_requests;
        if (rig->hold) {
                rig->held = call;
                return;
        }
        if (rig->fail != RPC_OK) {
                rpc_fail(call, rig->fail, rig->fail_text);
                return;
        }
        response.n_container_responses = rig->n_more + 1;
        for (size_t i = 0; i <= rig->n_more; i++)
                containers[i] = &container;
        response.container_responses = containers;
        rpc_reply(call, &response.base);
}

static void on_stream_closed(void *ctx, struct rpc_stream *stream)
{
        struct rig *rig = ctx;

        rig->n_closed++;
        if (rig->stream == stream)
                rig->stream = NULL;
}

static void on_list(void *ctx, struct rpc_stream *stream, const ProtobufCMessage *msg)
{
        struct rig *rig = ctx;

        (void)msg;
        rig->n_streams++;
        rig->stream = stream;
        rpc_stream_on_close(stream, on_stream_closed, rig);
}

static const struct rpc_method methods[] = {
        { .path = "/v1beta1.DevicePlugin/Allocate", .request = &v1beta1__allocate_request__descriptor, .unary = on_allocate },
        { .path = "/v1beta1.DevicePlugin/ListAndWatch", .request = &v1beta1__empty__descriptor, .stream = on_list },
};

static void on_accept(void *ctx, int fd)
{
        rpc_server_adopt(((struct rig *)ctx)->server, fd);
}

struct rig *rig_new(void)
{
        return rig_new_within(&(struct rpc_limits){ 0 });
}

struct rig *rig_new_within(const struct rpc_limits *limits)
{
        struct rig *rig = xcalloc(1, sizeof(*rig));
        struct err err = { 0 };

        str_format(rig->dir, sizeof(rig->dir), "/tmp/sluice-rpc.XXXXXX");
        assert_non_null(mkdtemp(rig->dir));
        str_format(rig->path, sizeof(rig->path), "%s/s.sock", rig->dir);
        assert_int_equal(uv_loop_init(&rig->loop), 0);
        ASSERT_OK(rpc_start(&rig->rpc, &err), &err);
        rpc_attach(rig->rpc, &rig->loop);
        rig->server = rpc_server_new_within(rig->rpc, methods, N_ELEMENTS(methods), limits, rig);
        ASSERT_OK(listener_open(&rig->listener, &rig->loop, rig->path, on_accept, NULL, rig, &err), &err);
        rig->client = rpc_client_new(rig->rpc, rig->path, 0);
        return rig;
}

static void set_flag(void *ctx)
{
        *(bool *)ctx = true;
}

void rig_stop_server(struct rig *rig, unsigned grace_ms)
{
        rpc_server_stop(rig->server, grace_ms, set_flag, &rig->server_stopped);
        rig->server = NULL;
}

void rig_free(struct rig *rig)
{
        rig->client = rpc_client_free(rig->client);
        listener_close(rig->listener);
        if (rig->server)
                rig_stop_server(rig, 0);
        rpc_stop(rig->rpc, set_flag, &rig->rpc_stopped);
        assert_true(rig_until(rig, &rig->rpc_stopped, 5000));
        assert_true(rig->server_stopped);
        assert_int_equal(uv_run(&rig->loop, UV_RUN_NOWAIT), 0);
        assert_int_equal(uv_loop_close(&rig->loop), 0);
        assert_int_equal(rmdir(rig->dir), 0); /* The socket file is gone. */
        free(rig);
}

static void on_tick(uv_timer_t *timer)
{
        (void)timer;
}

static void on_tick_closed(uv_handle_t *handle)
{
        free(handle);
}

bool rig_until(struct rig *rig, const bool *flag, unsigned ms)
{
        uv_timer_t *tick = xcalloc(1, sizeof(*tick));
        int64_t end = clock_ms() + ms;

        assert_int_equal(uv_timer_init(&rig->loop, tick), 0);
        assert_int_equal(uv_timer_start(tick, on_tick, 5, 5), 0);
        while (!*flag && clock_ms() < end)
                (void)uv_run(&rig->loop, UV_RUN_ONCE);
        uv_close((uv_handle_t *)tick, on_tick_closed);
        (void)uv_run(&rig->loop, UV_RUN_NOWAIT);
        return *flag;
}

void rig_turn(struct rig *rig, unsigned ms)
{
        static const bool never = false;

        (void)rig_until(rig, &never, ms);
}

static void on_reply(void *ctx, enum rpc_code code, const char *text, const ProtobufCMessage *msg)
{
        struct rig *rig = ctx;

        rig->replied = true;
        rig->code = code;
        str_format(rig->text, sizeof(rig->text), "%s", text);
        if (msg)
                rig->n_responses = ((const V1beta1__AllocateResponse *)(const void *)msg)->n_container_responses;
}

struct rpc_pending *rig_call(struct rig *rig, const char *method, const ProtobufCMessage *request, unsigned deadline_ms)
{
        rig->replied = false;
        rig->n_responses = 0;
        return rpc_client_call(rig->client, method, request, &v1beta1__allocate_response__descriptor, deadline_ms, on_reply, rig);
}

void rig_allocate(struct rig *rig, unsigned deadline_ms)
{
        char id[] = "0000:3b:00.0", *ids[] = { id };
        V1beta1__ContainerAllocateRequest container = V1BETA1__CONTAINER_ALLOCATE_REQUEST__INIT, *containers[] = { &container };
        V1beta1__AllocateRequest request = V1BETA1__ALLOCATE_REQUEST__INIT;

        container.n_devices_ids = 1;
        container.devices_ids = ids;
        request.n_container_requests = 1;
        request.container_requests = containers;
        (void)rig_call(rig, "/v1beta1.DevicePlugin/Allocate", &request.base, deadline_ms);
        assert_true(rig_until(rig, &rig->replied, 10000));
}

int rig_set(struct rig *rig, size_t n_devices, const char *health)
{
        char id[] = "0000:3b:00.0-0123456789012345678901234567890123456789";
        V1beta1__Device device = V1BETA1__DEVICE__INIT;
        V1beta1__Device **devices = xcalloc(n_devices + 1, sizeof(*devices));
        V1beta1__ListAndWatchResponse list = V1BETA1__LIST_AND_WATCH_RESPONSE__INIT;
        char text[64];

        str_format(text, sizeof(text), "%s", health);
        device.id = id;
        device.health = text;
        for (size_t i = 0; i < n_devices; i++)
                devices[i] = &device;
        list.n_devices = n_devices;
        list.devices = devices;
        int r = rpc_stream_set(rig->stream, &list.base);
        free(devices);
        return r;
}
