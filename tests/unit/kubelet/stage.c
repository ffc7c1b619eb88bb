/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "stage.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

void stage_leave_dead_socket(const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(str_copy(address.sun_path, sizeof(address.sun_path), path));
        assert_int_equal(bind(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)), 0);
        (void)close(fd);
}

char *stage_path(const struct stage *stage, const char *below)
{
        static char path[256];

        str_format(path, sizeof(path), "%s/%s", stage->dir, below);
        return path;
}

char *stage_endpoint(const struct stage *stage)
{
        static char path[256];

        str_format(path, sizeof(path), "%s/device-plugins/%s", stage->dir, stage->endpoint);
        return path;
}

/* ---- the stand-in for kubelet ---- */

static void on_register(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        struct stage *stage = ctx;
        const V1beta1__RegisterRequest *request = (const V1beta1__RegisterRequest *)(const void *)msg;
        V1beta1__Empty empty = V1BETA1__EMPTY__INIT;

        stage->n_registers++;
        str_format(stage->version, sizeof(stage->version), "%s", request->version);
        str_format(stage->endpoint, sizeof(stage->endpoint), "%s", request->endpoint);
        str_format(stage->resource, sizeof(stage->resource), "%s", request->resource_name);
        if (stage->hold)
                stage->held = call;
        else if (stage->fail != RPC_OK)
                rpc_fail(call, stage->fail, stage->fail_text);
        else
                rpc_reply(call, &empty.base);
}

static const struct rpc_method methods[] = {
        { "/v1beta1.Registration/Register", &v1beta1__register_request__descriptor, on_register, NULL, NULL },
};

static void on_accept(void *ctx, int fd)
{
        rpc_server_adopt(((struct stage *)ctx)->server, fd);
}

void stage_kubelet_up(struct stage *stage)
{
        struct err err = { 0 };

        (void)unlink(stage_path(stage, "device-plugins/kubelet.sock"));
        stage->server = rpc_server_new(stage->rpc, methods, N_ELEMENTS(methods), stage);
        ASSERT_OK(listener_open(&stage->listener, &stage->loop, stage_path(stage, "device-plugins/kubelet.sock"), on_accept, NULL, stage,
                                &err),
                  &err);
}

static void set_flag(void *ctx)
{
        *(bool *)ctx = true;
}

static bool is_server_stopped(const struct stage *stage)
{
        return stage->server_stopped;
}

void stage_kubelet_down(struct stage *stage)
{
        V1beta1__Empty empty = V1BETA1__EMPTY__INIT;

        /* A killed process leaves its file: keep it alive by a second name while the listener goes. */
        char *from = xstrdup(stage_path(stage, "device-plugins/kubelet.sock")), *to = xstrdup(stage_path(stage, "kept"));
        assert_int_equal(rename(from, to), 0);
        listener_close(stage->listener);
        assert_int_equal(rename(to, from), 0);
        free(from);
        free(to);
        stage->listener = NULL;
        if (stage->held)
                rpc_reply(stage->held, &empty.base);
        stage->held = NULL;
        stage->server_stopped = false;
        rpc_server_stop(stage->server, 0, set_flag, &stage->server_stopped);
        stage->server = NULL;
        assert_true(stage_until(stage, is_server_stopped, 3000));
}

void stage_wipe(struct stage *stage)
{
        char *path = xstrdup(stage_path(stage, "device-plugins"));
        DIR *dir = opendir(path);

        assert_non_null(dir);
        for (const struct dirent *entry; (entry = readdir(dir));) {
                char *file = xasprintf("%s/%s", path, entry->d_name);
                if (entry->d_name[0] != '.')
                        (void)unlink(file);
                free(file);
        }
        (void)closedir(dir);
        free(path);
}

/* ---- the stage ---- */

struct stage *stage_new(enum registration registration)
{
        struct stage *stage = xcalloc(1, sizeof(*stage));
        struct err err = { 0 };

        stand_in = (struct stand_in){ 0 };
        str_format(stage->dir, sizeof(stage->dir), "/tmp/sluice-kubelet.XXXXXX");
        assert_non_null(mkdtemp(stage->dir));
        assert_int_equal(mkdir(stage_path(stage, "device-plugins"), 0750), 0);
        assert_int_equal(mkdir(stage_path(stage, "plugins_registry"), 0750), 0);
        assert_int_equal(uv_loop_init(&stage->loop), 0);
        ASSERT_OK(rpc_start(&stage->rpc, &err), &err);
        rpc_attach(stage->rpc, &stage->loop);
        const struct kubelet_config config = { .dir = stage->dir, .registration = registration };
        ASSERT_OK(kubelet_start(&stage->kubelet, &stage->loop, stage->rpc, NULL, &config, &err), &err);
        return stage;
}

static bool is_closed(const struct stage *stage)
{
        return stage->kubelet_closed;
}

void stage_stop(struct stage *stage)
{
        kubelet_stop(stage->kubelet, set_flag, &stage->kubelet_closed);
        assert_true(stage_until(stage, is_closed, 5000));
        stage->kubelet = kubelet_free(stage->kubelet);
}

static bool is_rpc_stopped(const struct stage *stage)
{
        return stage->rpc_stopped;
}

void stage_free(struct stage *stage)
{
        if (stage->server) {
                stage_kubelet_down(stage);
                (void)unlink(stage_path(stage, "device-plugins/kubelet.sock"));
        }
        if (stage->kubelet)
                stage_stop(stage);
        rpc_stop(stage->rpc, set_flag, &stage->rpc_stopped);
        assert_true(stage_until(stage, is_rpc_stopped, 5000));
        assert_int_equal(uv_loop_close(&stage->loop), 0);
        (void)unlink(stage_path(stage, "device-plugins/kubelet.sock"));
        (void)rmdir(stage_path(stage, "plugins/sluice"));
        (void)rmdir(stage_path(stage, "plugins"));
        /* No socket of ours is left behind. */
        assert_int_equal(rmdir(stage_path(stage, "device-plugins")), 0);
        assert_int_equal(rmdir(stage_path(stage, "plugins_registry")), 0);
        assert_int_equal(rmdir(stage->dir), 0);
        if (stage->reply)
                protobuf_c_message_free_unpacked(stage->reply, NULL);
        free(stage);
}

static void on_tick(uv_timer_t *timer)
{
        (void)timer;
}

static void on_tick_closed(uv_handle_t *handle)
{
        free(handle);
}

bool stage_until(struct stage *stage, bool (*is)(const struct stage *stage), unsigned ms)
{
        uv_timer_t *tick = xcalloc(1, sizeof(*tick));
        int64_t end = clock_ms() + ms;

        assert_int_equal(uv_timer_init(&stage->loop, tick), 0);
        assert_int_equal(uv_timer_start(tick, on_tick, 2, 2), 0);
        while (!(is && is(stage)) && clock_ms() < end)
                (void)uv_run(&stage->loop, UV_RUN_ONCE);
        uv_close((uv_handle_t *)tick, on_tick_closed);
        (void)uv_run(&stage->loop, UV_RUN_NOWAIT);
        return is && is(stage);
}

void stage_turn(struct stage *stage, unsigned ms)
{
        (void)stage_until(stage, NULL, ms);
}

bool stage_registered(const struct stage *stage)
{
        return stage->n_registers > 0;
}

struct kubelet_status stage_status(const struct stage *stage)
{
        struct kubelet_status status = { 0 };

        assert_int_equal(kubelet_status(stage->kubelet, &status, 1), 1);
        return status;
}

/* ---- offers ---- */

void stage_offer_nothing(struct stage *stage)
{
        struct offer *offer = xcalloc(1, sizeof(*offer));

        offer->refs = 1;
        kubelet_offer(stage->kubelet, offer);
        (void)offer_unref(offer);
}

void stage_offer(struct stage *stage, size_t n, size_t n_healthy)
{
        struct offer *offer = xcalloc(1, sizeof(*offer));

        offer->refs = 1;
        offer->n_devices = n;
        offer->devices = xcalloc(n, sizeof(*offer->devices));
        offer->n_pools = 1;
        offer->pools = xcalloc(1, sizeof(*offer->pools));
        struct pool *pool = &offer->pools[0];
        (void)str_copy(pool->resource, sizeof(pool->resource), RESOURCE);
        pool->devices = xcalloc(n, sizeof(*pool->devices));
        pool->n_devices = n;
        pool->topology = true;
        for (size_t i = 0; i < n; i++) {
                struct device *device = &offer->devices[i];
                str_format(device->id, sizeof(device->id), "%04zx:%02zx:%02zx.0", i >> 13, (i >> 5) & 255, i & 31);
                device->state = i < n_healthy ? DEVICE_HEALTHY : DEVICE_UNHEALTHY;
                device->numa_node = 1;
                (void)str_copy(device->resource, sizeof(device->resource), RESOURCE);
                pool->devices[i] = i;
        }
        kubelet_offer(stage->kubelet, offer);
        (void)offer_unref(offer);
}

/* ---- calls ---- */

static const ProtobufCMessageDescriptor *expected;

static void on_reply(void *ctx, enum rpc_code code, const char *text, const ProtobufCMessage *msg)
{
        struct stage *stage = ctx;

        stage->replied = true;
        stage->code = code;
        str_format(stage->text, sizeof(stage->text), "%s", text);
        if (!msg)
                return;
        size_t n = protobuf_c_message_get_packed_size(msg);
        uint8_t *bytes = xcalloc(1, n + 1);
        (void)protobuf_c_message_pack(msg, bytes);
        stage->reply = protobuf_c_message_unpack(expected, NULL, n, bytes);
        free(bytes);
}

static bool is_replied(const struct stage *stage)
{
        return stage->replied;
}

void stage_call(struct stage *stage, const char *path, const char *method, const ProtobufCMessage *request,
                const ProtobufCMessageDescriptor *response)
{
        struct rpc_client *client = rpc_client_new(stage->rpc, path, 0);

        if (stage->reply)
                protobuf_c_message_free_unpacked(stage->reply, NULL);
        stage->reply = NULL;
        stage->replied = false;
        expected = response;
        (void)rpc_client_call(client, method, request, response, 5000, on_reply, stage);
        assert_true(stage_until(stage, is_replied, 6000));
        (void)rpc_client_free(client);
}

bool stage_sees(struct stage *stage, struct raw *raw, size_t n_devices, const char *first_health, unsigned ms)
{
        for (int64_t end = clock_ms() + ms; clock_ms() < end;) {
                stage_turn(stage, 1);
                const struct raw_seen *seen = raw_turn(raw, true);
                if (seen->n_messages > 0 && seen->last_n_devices == n_devices && streq(seen->last_health, first_health))
                        return true;
        }
        return false;
}
