/* SPDX-License-Identifier: Apache-2.0 */
#include "kubelet/podresources.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "kubelet/kubelet_priv.h"

enum { TRIES_MAX = 5 /* a connection that a loaded node does not take up within 200 ms has failed to gRPC */ };
enum { WORTH_SAYING = 4 /* failures in a row: a minute. A kubelet that restarts is back by then */ };

/* Somebody who waits for a list. */
struct asker {
        struct asker *next;
        podresources_fn *done;
        void *ctx;
};

struct podresources {
        struct podresources_config config;
        char *sock;
        struct rpc_client *client;
        struct rpc_pending *pending; /* the List in flight */
        uv_timer_t timer;
        int64_t asked_ms;
        struct life_epoch epoch; /* of the socket that was last asked at, */
        unsigned kubelet;        /* and the number of the kubelet behind it */
        unsigned failures;       /* in a row */
        unsigned too_often;      /* RESOURCE_EXHAUSTED in a row */
        unsigned passed;         /* times it could have asked since it did */
        struct asker *askers;    /* for the next question, */
        struct asker *in_flight; /* and for that which is under way */
        unsigned tries;          /* for these: connections that were not taken up */
        bool said;
        bool timer_closed;
        void (*closed)(void *ctx); /* set: it stops */
        void *closed_ctx;
};

/* ---- reading a list ---- */

/* False: longer than @size, or not a text at all; then it is not what it would be compared with. */
static bool take_text(char *out, size_t size, const ProtobufCBinaryData *data)
{
        if (data->len >= size || (data->len > 0 && memchr(data->data, '\0', data->len)))
                return false;
        if (data->len > 0)
                memcpy(out, data->data, data->len);
        out[data->len] = '\0';
        return true;
}

struct reading {
        bool (*is_ours)(void *ctx, const char *resource);
        void *ctx;
        char foreign[RESOURCE_MAX]; /* the last one that was not ours: others come in their thousands */
        struct pod_device *devices;
        size_t n, cap;
};

static bool wants(struct reading *reading, const char *resource)
{
        if (streq(resource, reading->foreign))
                return false;
        if (reading->is_ours(reading->ctx, resource))
                return true;
        (void)str_copy(reading->foreign, sizeof(reading->foreign), resource);
        return false;
}

static int read_devices(struct reading *reading, const struct pod_device *like, const V1__ContainerDevices *msg)
{
        for (size_t i = 0; i < msg->n_device_ids; i++) {
                struct pod_device device = *like;
                if (!take_text(device.id, sizeof(device.id), &msg->device_ids[i]) || device.id[0] == '\0')
                        continue;
                if (reading->n == PODRESOURCES_DEVICES_MAX)
                        return -E2BIG;
                GROW(reading->devices, reading->n, reading->cap);
                reading->devices[reading->n++] = device;
        }
        return 0;
}

static int by_id_and_pod(const void *a, const void *b)
{
        const struct pod_device *x = a, *y = b;
        int order = strcmp(x->id, y->id);

        order = order ? order : strcmp(x->pod_namespace, y->pod_namespace);
        order = order ? order : strcmp(x->pod, y->pod);
        return order ? order : strcmp(x->container, y->container);
}

static void sort_and_drop_repeats(struct reading *reading)
{
        size_t n = 0;

        if (reading->n == 0)
                return;
        qsort(reading->devices, reading->n, sizeof(*reading->devices), by_id_and_pod);
        for (size_t i = 0; i < reading->n; i++)
                if (n == 0 || !streq(reading->devices[n - 1].id, reading->devices[i].id))
                        reading->devices[n++] = reading->devices[i];
        reading->n = n;
}

int podresources_read(const V1__ListPodResourcesResponse *msg, bool (*is_ours)(void *ctx, const char *resource), void *ctx,
                      struct pod_device **ret, size_t *ret_n)
{
        struct reading reading = { .is_ours = is_ours, .ctx = ctx };
        int r = 0;

        for (size_t i = 0; i < msg->n_pod_resources && r == 0; i++) {
                const V1__PodResources *pod = msg->pod_resources[i];
                for (size_t k = 0; k < pod->n_containers && r == 0; k++) {
                        const V1__ContainerResources *container = pod->containers[k];
                        struct pod_device like = { 0 };
                        str_clean(like.pod_namespace, sizeof(like.pod_namespace), pod->namespace_);
                        str_clean(like.pod, sizeof(like.pod), pod->name);
                        str_clean(like.container, sizeof(like.container), container->name);
                        for (size_t j = 0; j < container->n_devices && r == 0; j++)
                                if (take_text(like.resource, sizeof(like.resource), &container->devices[j]->resource_name) &&
                                    wants(&reading, like.resource))
                                        r = read_devices(&reading, &like, container->devices[j]);
                }
        }
        if (r < 0) {
                free(reading.devices);
                return r;
        }
        sort_and_drop_repeats(&reading);
        *ret = reading.devices;
        *ret_n = reading.n;
        return 0;
}

/* ---- asking ---- */

static void on_timer(uv_timer_t *timer);
static void ask(struct podresources *p);

/* Many nodes, and many clients of one kubelet, do not ask in step. */
static uint64_t pause_ms(const struct podresources *p)
{
        uint64_t pause = (uint64_t)p->config.poll_ms << p->too_often;
        uint32_t random = 0;

        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
                random = 0;
        return pause - pause / 8 + random % (pause / 4 + 1);
}

static void arm(struct podresources *p)
{
        uv_update_time(p->timer.loop);
        (void)uv_timer_start(&p->timer, on_timer, pause_ms(p), 0);
}

/* What kubelet does not tell stays as it is; that it does not is worth a word when it goes on, once. */
static void failed(struct podresources *p, enum rpc_code code, const char *why)
{
        p->failures++;
        p->too_often = code != RPC_RESOURCE_EXHAUSTED ? 0 : p->too_often < PODRESOURCES_SLOWER_MAX ? p->too_often + 1 : p->too_often;
        log_debug("podresources: no list: %s", why);
        if (p->failures < WORTH_SAYING || p->said)
                return;
        log_warn("kubelet does not tell which pods have devices, so claims of pods that have ended stay: %s", why);
        p->said = true;
}

/* NULL, or why it is no list. */
static const char *take_list(struct podresources *p, const V1__ListPodResourcesResponse *msg)
{
        struct pod_list list = { .asked_ms = p->asked_ms, .kubelet = p->kubelet };
        struct pod_device *devices;

        if (podresources_read(msg, p->config.is_ours, p->config.ctx, &devices, &list.n_devices) < 0)
                return "its list names more of our devices than there can be";
        if (p->said)
                log_info("kubelet tells again which pods have devices");
        p->said = false;
        p->failures = p->too_often = 0;
        list.devices = devices;
        p->config.listed(p->config.ctx, &list);
        free(devices);
        return NULL;
}

/* What is called may ask again: that is a later question's. */
static void tell(struct asker **askers, const char *why_not)
{
        for (struct asker *asker = TAKE_PTR(*askers), *next; asker; asker = next) {
                next = asker->next;
                asker->done(asker->ctx, why_not);
                free(asker);
        }
}

static void end_if_closed(struct podresources *p)
{
        void (*closed)(void *) = p->closed;
        void *ctx = p->closed_ctx;

        if (!p->timer_closed || p->pending)
                return;
        (void)rpc_client_free(p->client);
        free(p->sock);
        free(p);
        closed(ctx);
}

static void on_reply(void *ctx, enum rpc_code code, const char *text, const ProtobufCMessage *msg)
{
        struct podresources *p = ctx;

        p->pending = NULL;
        if (p->closed) {
                end_if_closed(p);
                return;
        }
        rpc_client_reset(p->client);
        const char *why_not = text;
        /* Whose list it is when kubelet has started anew meanwhile, nobody knows. */
        if (code == RPC_OK)
                why_not = life_epoch_equal(kubelet_socket_epoch(p->sock), p->epoch)
                                  ? take_list(p, (const V1__ListPodResourcesResponse *)(const void *)msg)
                                  : "kubelet has started anew meanwhile";
        if (code == RPC_UNAVAILABLE && p->in_flight && !p->askers && ++p->tries < TRIES_MAX) {
                p->askers = TAKE_PTR(p->in_flight);
                ask(p);
                return;
        }
        p->tries = 0;
        if (why_not)
                failed(p, code, why_not);
        tell(&p->in_flight, why_not);
        if (p->askers)
                ask(p);
        else
                arm(p);
}

/* False: there is no socket; @why says so. */
static bool find_kubelet(struct podresources *p, struct err *why)
{
        struct life_epoch epoch = kubelet_socket_epoch(p->sock);

        if (life_epoch_equal(epoch, (struct life_epoch){ 0 })) {
                (void)err_say(why, ENOENT, "there is no %s (in a pod its directory must be mounted)", p->sock);
                return false;
        }
        if (!life_epoch_equal(epoch, p->epoch))
                p->kubelet++;
        p->epoch = epoch;
        return true;
}

static bool is_due(struct podresources *p)
{
        unsigned every = p->config.every(p->config.ctx);

        if (p->passed < UINT_MAX)
                p->passed++;
        return every > 0 && p->passed >= every;
}

static void ask(struct podresources *p)
{
        V1__ListPodResourcesRequest request = V1__LIST_POD_RESOURCES_REQUEST__INIT;
        struct err why;

        p->passed = 0;
        p->in_flight = TAKE_PTR(p->askers);
        if (!find_kubelet(p, &why)) {
                failed(p, RPC_UNAVAILABLE, why.msg);
                arm(p);
                tell(&p->in_flight, why.msg);
        } else {
                (void)uv_timer_stop(&p->timer);
                p->asked_ms = clock_ms();
                p->pending = rpc_client_call(p->client, "/v1.PodResourcesLister/List", &request.base,
                                             &v1__list_pod_resources_response__descriptor, p->config.deadline_ms, on_reply, p);
        }
}

static void on_timer(uv_timer_t *timer)
{
        struct podresources *p = container_of(timer, struct podresources, timer);

        if (is_due(p))
                ask(p);
        else
                arm(p);
}

void podresources_ask(struct podresources *podresources, podresources_fn *done, void *ctx)
{
        struct asker *asker = xcalloc(1, sizeof(*asker));

        *asker = (struct asker){ .next = podresources->askers, .done = done, .ctx = ctx };
        podresources->askers = asker;
        if (!podresources->pending)
                ask(podresources);
}

/* ---- start and stop ---- */

struct podresources *podresources_start(uv_loop_t *loop, struct rpc *rpc, const struct podresources_config *config)
{
        struct podresources *p = xcalloc(1, sizeof(*p));

        p->config = *config;
        if (p->config.poll_ms == 0)
                p->config.poll_ms = PODRESOURCES_POLL_MS;
        if (p->config.deadline_ms == 0)
                p->config.deadline_ms = PODRESOURCES_DEADLINE_MS;
        p->sock = xasprintf("%s/pod-resources/kubelet.sock", config->dir);
        p->config.dir = NULL;
        p->client = rpc_client_new(rpc, p->sock, PODRESOURCES_RECEIVE_MAX);
        (void)uv_timer_init(loop, &p->timer);
        p->passed = UINT_MAX; /* the first list is wanted soon in any case */
        arm(p);
        return p;
}

static void on_timer_closed(uv_handle_t *handle)
{
        struct podresources *p = container_of((uv_timer_t *)(void *)handle, struct podresources, timer);

        p->timer_closed = true;
        end_if_closed(p);
}

void podresources_stop(struct podresources *podresources, void (*closed)(void *ctx), void *ctx)
{
        podresources->closed = closed;
        podresources->closed_ctx = ctx;
        tell(&podresources->in_flight, "sluiced is ending");
        tell(&podresources->askers, "sluiced is ending");
        uv_close((uv_handle_t *)&podresources->timer, on_timer_closed);
        if (podresources->pending)
                rpc_pending_cancel(podresources->pending);
}
