/* SPDX-License-Identifier: Apache-2.0 */
/* Kubelet's podresources server: which pod has which device, from what was admitted (row F1). */
#include "fk_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "podresources.pb-c.h"

enum { CODE_UNKNOWN = 2, CODE_RESOURCE_EXHAUSTED = 8, CODE_UNAVAILABLE = 14, QPS = 100, BURST = 10 };

/* ---- pods ---- */

static void pod_free(struct fk_pod *pod)
{
        for (size_t i = 0; i < pod->n_containers; i++)
                free(pod->containers[i].name);
        free(pod->containers);
        free(pod->name);
        free(pod);
}

static struct fk_pod **pod_place(struct fk *k, const char *name)
{
        struct fk_pod **at = &k->pods;

        while (*at && !streq((*at)->name, name))
                at = &(*at)->next;
        return at;
}

void fk_pods_admitted(struct fk *k, const char *pod, const char *container, bool init)
{
        struct fk_pod **at = pod_place(k, pod);

        if (*at && (*at)->ended) { /* another one of that name */
                struct fk_pod *old = *at;
                *at = old->next;
                pod_free(old);
                at = pod_place(k, pod);
        }
        if (!*at) {
                *at = xcalloc(1, sizeof(**at));
                (*at)->name = xstrdup(pod);
        }
        struct fk_pod *p = *at;
        for (size_t i = 0; i < p->n_containers; i++)
                if (streq(p->containers[i].name, container))
                        return;
        GROW(p->containers, p->n_containers, p->cap_containers);
        p->containers[p->n_containers++] = (struct fk_container){ .name = xstrdup(container), .init = init };
}

void fk_pods_ended(struct fk *k, const char *pod)
{
        struct fk_pod *p = *pod_place(k, pod);

        if (p)
                p->ended = true;
}

void fk_pods_done(struct fk *k)
{
        for (struct fk_pod *p; (p = k->pods);) {
                k->pods = p->next;
                pod_free(p);
        }
        free(k->last_pod);
}

/* ---- making the messages; protobuf_c_message_free_unpacked() frees them ---- */

static ProtobufCBinaryData bytes_of(const char *s)
{
        return (ProtobufCBinaryData){ .len = strlen(s), .data = (uint8_t *)xstrdup(s) };
}

#define APPEND(array, n, value)                                         \
        do {                                                            \
                (array) = xrealloc((array), (n) + 1, sizeof(*(array))); \
                (array)[(n)++] = (value);                               \
        } while (0)

static void add_device(V1__ContainerResources *to, const char *resource, const char *id, const int64_t *node)
{
        V1__ContainerDevices *d = xcalloc(1, sizeof(*d));

        v1__container_devices__init(d);
        d->resource_name = bytes_of(resource);
        APPEND(d->device_ids, d->n_device_ids, bytes_of(id));
        if (node) {
                V1__NUMANode *numa = xcalloc(1, sizeof(*numa));
                v1__numanode__init(numa);
                numa->id = *node;
                d->topology = xcalloc(1, sizeof(*d->topology));
                v1__numatopology__init(d->topology);
                APPEND(d->topology->nodes, d->topology->n_nodes, numa);
        }
        APPEND(to->devices, to->n_devices, d);
}

static V1__ContainerResources *make_container(const struct fk *k, const struct fk_pod *pod, const char *name)
{
        V1__ContainerResources *c = xcalloc(1, sizeof(*c));

        v1__container_resources__init(c);
        c->name = xstrdup(name);
        for (const struct fk_record *r = k->records; r; r = r->next) {
                if (!streq(r->pod, pod->name) || !streq(r->container, name))
                        continue;
                for (size_t i = 0; i < r->ids.n; i++) {
                        for (size_t n = 0; n < r->devices[i].n_nodes; n++)
                                add_device(c, r->resource, r->ids.ids[i], &r->devices[i].nodes[n]);
                        if (r->devices[i].n_nodes == 0)
                                add_device(c, r->resource, r->ids.ids[i], NULL);
                }
        }
        return c;
}

static V1__PodResources *make_pod(const struct fk *k, const struct fk_pod *pod)
{
        V1__PodResources *p = xcalloc(1, sizeof(*p));
        const char *slash = strchr(pod->name, '/');

        v1__pod_resources__init(p);
        p->name = xstrdup(slash ? slash + 1 : pod->name);
        p->namespace_ = slash ? xstrndup(pod->name, (size_t)(slash - pod->name)) : xstrdup("default");
        for (size_t i = 0; i < pod->n_containers; i++) /* of init containers only those that restart; we have none */
                if (!pod->containers[i].init)
                        APPEND(p->containers, p->n_containers, make_container(k, pod, pod->containers[i].name));
        return p;
}

static V1__PodResources *make_pad(size_t n)
{
        V1__PodResources *p = xcalloc(1, sizeof(*p));

        v1__pod_resources__init(p);
        p->namespace_ = xstrdup("default");
        p->name = xcalloc(1, n + 1);
        memset(p->name, 'x', n);
        return p;
}

static V1__ListPodResourcesResponse *make_list(const struct fk *k)
{
        V1__ListPodResourcesResponse *m = xcalloc(1, sizeof(*m));

        v1__list_pod_resources_response__init(m);
        for (const struct fk_pod *pod = k->pods; pod && k->pods_mode != FK_PODS_UNKNOWN; pod = pod->next)
                if (!pod->ended || !k->profile->active_pods_only)
                        APPEND(m->pod_resources, m->n_pod_resources, make_pod(k, pod));
        if (k->pods_pad > 0)
                APPEND(m->pod_resources, m->n_pod_resources, make_pad(k->pods_pad));
        return m;
}

/* ---- answering ---- */

/* Locked. One bucket for all callers and methods. */
static bool may_ask(struct fk *k)
{
        int64_t now_ms = clock_ms();

        k->pods_tokens += (double)(now_ms - k->pods_ms) * QPS / 1000;
        k->pods_tokens = k->pods_tokens > BURST ? BURST : k->pods_tokens;
        k->pods_ms = now_ms;
        if (k->pods_tokens < 1)
                return false;
        k->pods_tokens -= 1;
        return true;
}

/* Locked. False: kubelet died meanwhile. */
static bool wait_for_the_answer(struct fk_instance *in)
{
        struct fk *k = in->k;
        int64_t until_ms = clock_ms() + k->pods_delay_ms;

        while (!in->dead && (k->pods_mode == FK_PODS_HELD || clock_ms() < until_ms)) {
                fk_unlock(k);
                (void)usleep(2000);
                fk_lock(k);
        }
        return !in->dead;
}

static void on_list(void *ctx, struct wire_request *request)
{
        struct fk_instance *in = ctx;
        struct fk *k = in->k;
        V1__ListPodResourcesResponse *m = NULL;
        V1__PodResources no_list = V1__POD_RESOURCES__INIT; /* its name is where the pods would be */
        static char garbage[] = "\xff\xff\xff\xff";

        no_list.name = garbage;
        fk_lock(k);
        k->calls.list++;
        bool may = may_ask(k);
        bool alive = !may || wait_for_the_answer(in);
        enum fk_pods mode = k->pods_mode;
        if (may && alive && (mode == FK_PODS_TOLD || mode == FK_PODS_UNKNOWN))
                m = make_list(k);
        fk_unlock(k);
        if (!may)
                wire_refuse(request, CODE_RESOURCE_EXHAUSTED, "rejected by rate limit");
        else if (!alive)
                wire_refuse(request, CODE_UNAVAILABLE, "transport is closing");
        else if (m)
                wire_reply(request, &m->base);
        else if (mode == FK_PODS_GARBAGE)
                wire_reply(request, &no_list.base);
        else
                wire_refuse(request, CODE_UNKNOWN, "failed to list pods");
        if (m)
                protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void on_get(void *ctx, struct wire_request *request)
{
        struct fk_instance *in = ctx;
        struct fk *k = in->k;
        const struct wire_bytes *bytes = wire_request_bytes(request);
        V1__GetPodResourcesRequest *rq = v1__get_pod_resources_request__unpack(NULL, bytes->n, bytes->data);
        V1__GetPodResourcesResponse reply = V1__GET_POD_RESOURCES_RESPONSE__INIT;
        char name[FK_TEXT_MAX] = "", text[2 * FK_TEXT_MAX] = "";

        if (rq)
                str_format(name, sizeof(name), "%s%s%s", streq(rq->pod_namespace, "default") ? "" : rq->pod_namespace,
                           streq(rq->pod_namespace, "default") ? "" : "/", rq->pod_name);
        fk_lock(k);
        const struct fk_pod *pod = *pod_place(k, name);
        bool may = may_ask(k);
        if (!k->profile->active_pods_only)
                str_format(text, sizeof(text), "PodResources API Get method disabled");
        else if (!pod) /* one that has ended is there until it is deleted */
                str_format(text, sizeof(text), "pod %s in namespace %s not found", rq ? rq->pod_name : "", rq ? rq->pod_namespace : "");
        else
                reply.pod_resources = make_pod(k, pod);
        fk_unlock(k);
        if (!may)
                wire_refuse(request, CODE_RESOURCE_EXHAUSTED, "rejected by rate limit");
        else if (reply.pod_resources)
                wire_reply(request, &reply.base);
        else
                wire_refuse(request, CODE_UNKNOWN, text);
        if (reply.pod_resources)
                v1__pod_resources__free_unpacked(reply.pod_resources, NULL);
        if (rq)
                v1__get_pod_resources_request__free_unpacked(rq, NULL);
}

static const struct wire_method methods[] = {
        { "/v1.PodResourcesLister/List", on_list },
        { "/v1.PodResourcesLister/Get", on_get },
};

bool fk_pods_start(struct fk_instance *in)
{
        struct fk *k = in->k;

        k->pods_tokens = BURST;
        k->pods_ms = clock_ms();
        (void)mkdir(k->pods_dir, 0750); /* as kubelet does: its root may have been wiped */
        in->pods = wire_server_new(k->pods_socket, 0, methods, N_ELEMENTS(methods), in);
        return in->pods != NULL;
}

void fk_pods_stop(struct fk_instance *in)
{
        wire_server_kill(in->pods);
        wire_server_free(in->pods);
        in->pods = NULL;
}

/* ---- knobs ---- */

void fk_pods(struct fk *k, enum fk_pods pods)
{
        fk_lock(k);
        k->pods_mode = pods;
        fk_unlock(k);
}

void fk_set_pods_delay_ms(struct fk *k, unsigned ms)
{
        fk_lock(k);
        k->pods_delay_ms = ms;
        fk_unlock(k);
}

void fk_set_pods_pad(struct fk *k, size_t n)
{
        fk_lock(k);
        k->pods_pad = n;
        fk_unlock(k);
}
