/* SPDX-License-Identifier: Apache-2.0 */
/* Admission: which devices a container gets, and the RPCs that kubelet makes meanwhile. */
#include "fk_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "deviceplugin.pb-c.h"

static int fail(char text[FK_TEXT_MAX], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(char text[FK_TEXT_MAX], const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(text, FK_TEXT_MAX, fmt, ap);
        va_end(ap);
        return -1;
}

static struct fk_record *record_find(struct fk *k, const char *pod, const char *container, const char *resource)
{
        for (struct fk_record *r = k->records; r; r = r->next)
                if (streq(r->pod, pod) && streq(r->container, container) && streq(r->resource, resource))
                        return r;
        return NULL;
}

static void record_free(struct fk_record *r)
{
        free(r->pod);
        free(r->container);
        free(r->resource);
        idset_done(&r->ids);
        wire_bytes_done(&r->answer);
        free(r->devices);
        free(r);
}

static void reuse_clear(struct fk *k, const char *except_pod)
{
        for (struct fk_reuse **at = &k->reuse; *at;) {
                struct fk_reuse *u = *at;
                if (except_pod && streq(u->pod, except_pod)) {
                        at = &u->next;
                        continue;
                }
                *at = u->next;
                free(u->pod);
                free(u->resource);
                idset_done(&u->ids);
                free(u);
        }
}

static struct idset *reuse_of(struct fk *k, const char *pod, const char *resource)
{
        for (struct fk_reuse *u = k->reuse; u; u = u->next)
                if (streq(u->pod, pod) && streq(u->resource, resource))
                        return &u->ids;
        struct fk_reuse *u = xcalloc(1, sizeof(*u));
        *u = (struct fk_reuse){ .pod = xstrdup(pod), .resource = xstrdup(resource), .next = k->reuse };
        k->reuse = u;
        return &u->ids;
}

void fk_records_done(struct fk *k)
{
        for (struct fk_record *r; (r = k->records);) {
                k->records = r->next;
                record_free(r);
        }
        reuse_clear(k, NULL);
}

void fk_recompute(struct fk *k)
{
        for (struct fk_resource *r = k->resources; r; r = r->next)
                idset_done(&r->allocated);
        for (const struct fk_record *rec = k->records; rec; rec = rec->next)
                idset_add_all(&fk_resource_get(k, rec->resource)->allocated, &rec->ids);
}

/* Locked. */
static void free_devices(struct fk *k, const char *pod)
{
        bool had = false;

        for (struct fk_record **at = &k->records; *at;) {
                struct fk_record *r = *at;
                if (!streq(r->pod, pod)) {
                        at = &r->next;
                        continue;
                }
                *at = r->next;
                record_free(r);
                had = true;
        }
        if (had) /* kubelet counts anew when a pod with devices is gone, or an Allocate has failed, and only then */
                fk_recompute(k);
}

void fk_pod_end(struct fk *k, const char *pod)
{
        fk_lock(k);
        fk_pods_ended(k, pod);
        if (k->profile->keeps_last && k->last_pod && streq(k->last_pod, pod))
                k->last_ended = true;
        else
                free_devices(k, pod);
        fk_unlock(k);
}

/* Locked. */
static void begin_admission(struct fk *k, const char *pod)
{
        if (k->last_ended)
                free_devices(k, k->last_pod);
        k->last_ended = false;
        free(k->last_pod);
        k->last_pod = xstrdup(pod);
}

size_t fk_pod_devices(struct fk *k, const char *pod, const char *container, const char *resource, char (**ret)[FK_ID_MAX])
{
        fk_lock(k);
        const struct fk_record *r = record_find(k, pod, container, resource);
        size_t n = r ? r->ids.n : 0;
        *ret = xcalloc(n + 1, sizeof(**ret));
        for (size_t i = 0; i < n; i++)
                (void)str_copy((*ret)[i], FK_ID_MAX, r->ids.ids[i]);
        fk_unlock(k);
        return n;
}

/* Choosing */

struct choice {
        struct fk *k;
        struct fk_resource *r;
        size_t needed, required;
        struct idset chosen;
};

static bool choose(struct choice *c, const struct idset *from)
{
        for (size_t i = 0; i < from->n && c->needed > 0; i++) {
                if (idset_has(&c->chosen, from->ids[i]))
                        continue;
                idset_add(&c->chosen, from->ids[i]);
                idset_add(&c->r->allocated, from->ids[i]);
                c->needed--;
        }
        return c->needed == 0;
}

static void set_intersect(struct idset *set, const struct idset *with)
{
        for (size_t i = set->n; i > 0; i--)
                if (!idset_has(with, set->ids[i - 1]))
                        idset_drop(set, set->ids[i - 1]);
}

struct split {
        struct idset aligned, unaligned, no_affinity;
};

static void split_done(struct split *s)
{
        idset_done(&s->aligned);
        idset_done(&s->unaligned);
        idset_done(&s->no_affinity);
}

static void split_by_hint(const struct fk_resource *r, const struct fk_ask *ask, const struct idset *available, struct split *ret)
{
        for (size_t i = 0; i < available->n; i++) {
                const struct known_device *d = fk_known(r, available->ids[i]);
                if (!ask->has_hint || !d || d->n_nodes == 0) {
                        idset_add(&ret->no_affinity, available->ids[i]);
                        continue;
                }
                bool in = false;
                for (size_t j = 0; j < d->n_nodes; j++)
                        in |= d->nodes[j] >= 0 && d->nodes[j] < 64 && (ask->nodes >> d->nodes[j] & 1);
                idset_add(in ? &ret->aligned : &ret->unaligned, available->ids[i]);
        }
}

/* Locked on entry and return, unlocked over the RPC. */
static int ask_preferred(struct choice *c, const struct idset *from, struct idset *ret, char text[FK_TEXT_MAX])
{
        struct fk *k = c->k;
        V1beta1__ContainerPreferredAllocationRequest one = V1BETA1__CONTAINER_PREFERRED_ALLOCATION_REQUEST__INIT, *list = &one;
        V1beta1__PreferredAllocationRequest rq = V1BETA1__PREFERRED_ALLOCATION_REQUEST__INIT;
        struct wire_status status;
        ProtobufCMessage *reply;

        if (!c->r->endpoint || !c->r->has_options || !c->r->preferred)
                return 0;
        if (c->r->stopped)
                return fail(text, "device plugin GetPreferredAllocation rpc failed with err: endpoint %s has been stopped",
                            c->r->endpoint->path);
        struct idset offered = { 0 };
        idset_add_all(&offered, from);
        idset_add_all(&offered, &c->chosen);
        fk_shuffle(k, offered.ids, offered.n);
        rq.n_container_requests = 1;
        rq.container_requests = &list;
        one.available_deviceids = offered.ids;
        one.n_available_deviceids = offered.n;
        one.must_include_deviceids = c->chosen.ids;
        one.n_must_include_deviceids = c->chosen.n;
        one.allocation_size = (int32_t)c->required;
        k->calls.preferred++;
        k->calls.available = offered.n;
        k->calls.must = c->chosen.n;
        k->calls.size = c->required;
        struct fk_client *client = fk_client_ref(c->r->endpoint);
        fk_unlock(k);
        bool ok = wire_call(client->conn, "/v1beta1.DevicePlugin/GetPreferredAllocation", &rq.base,
                            &v1beta1__preferred_allocation_response__descriptor, -1, &reply, NULL, &status);
        fk_lock(k);
        fk_client_unref(client);
        idset_done(&offered);
        if (!ok)
                return fail(text, "device plugin GetPreferredAllocation rpc failed with err: rpc error: code = %s desc = %s",
                            wire_code_name(status.code), status.text);
        const V1beta1__PreferredAllocationResponse *m = (const V1beta1__PreferredAllocationResponse *)reply;
        for (size_t i = 0; m->n_container_responses > 0 && i < m->container_responses[0]->n_deviceids; i++)
                idset_add(ret, m->container_responses[0]->deviceids[i]);
        protobuf_c_message_free_unpacked(reply, NULL);
        return 0;
}

static int choose_preferred(struct choice *c, const struct idset *from, char text[FK_TEXT_MAX])
{
        struct idset preferred = { 0 };
        int r = ask_preferred(c, from, &preferred, text);

        if (r == 0) {
                set_intersect(&preferred, from);
                (void)choose(c, &preferred);
        }
        idset_done(&preferred);
        return r;
}

static int choose_rest(struct choice *c, const struct fk_ask *ask, const struct idset *available, char text[FK_TEXT_MAX])
{
        struct split s = { 0 };
        int r;

        split_by_hint(c->r, ask, available, &s);
        if (c->needed < s.aligned.n) {
                r = choose_preferred(c, &s.aligned, text);
                (void)(r == 0 && choose(c, &s.aligned));
        } else {
                (void)choose(c, &s.aligned);
                r = c->needed > 0 ? choose_preferred(c, available, text) : 0;
                (void)(r == 0 && (choose(c, &s.unaligned) || choose(c, &s.no_affinity)));
        }
        split_done(&s);
        if (r == 0 && c->needed > 0)
                r = fail(text, "unexpectedly allocated less resources than required. Requested: %zu, Got: %zu", c->required,
                         c->required - c->needed);
        return r;
}

/* Locked. 0 and an empty set: nothing to do, the record stands. */
static int devices_to_allocate(struct fk *k, const char *pod, const char *container, const struct fk_ask *ask, struct idset *ret,
                               char text[FK_TEXT_MAX])
{
        struct fk_resource *r = fk_resource_get(k, ask->resource);
        const struct fk_record *past = record_find(k, pod, container, ask->resource);
        struct choice c = { .k = k, .r = r, .needed = ask->n, .required = ask->n };
        struct idset available = { 0 };
        size_t healthy = 0, previous_ok = 0;

        if (past && past->ids.n != ask->n)
                return fail(text, "pod \"%s\" container \"%s\" changed request for resource \"%s\" from %zu to %zu", pod, container,
                            ask->resource, past->ids.n, ask->n);
        if (!r->has_devices)
                return 0; /* no resource of a plugin, as far as kubelet knows: the pod runs without */
        for (size_t i = 0; i < r->n_devices; i++) {
                if (!r->devices[i].healthy)
                        continue;
                healthy++;
                previous_ok += past && idset_has(&past->ids, r->devices[i].id);
                if (!idset_has(&r->allocated, r->devices[i].id))
                        idset_add(&available, r->devices[i].id);
        }
        int result = 0;
        if (healthy == 0)
                result = fail(text, "no healthy devices present; cannot allocate unhealthy devices %s", ask->resource);
        else if (past && previous_ok != past->ids.n)
                result = fail(text, "previously allocated devices are no longer healthy; cannot allocate unhealthy devices %s",
                              ask->resource);
        else if (!past && !choose(&c, reuse_of(k, pod, ask->resource))) {
                if (available.n < c.needed)
                        result = fail(text, "requested number of devices unavailable for %s. Requested: %zu, Available: %zu", ask->resource,
                                      c.needed, available.n);
                else
                        result = choose_rest(&c, ask, &available, text);
        }
        idset_done(&available);
        if (result == 0)
                *ret = c.chosen;
        else
                idset_done(&c.chosen);
        return result;
}

/* Allocate */

/* As gogo's messages print themselves; those of 1.34 and later print as nothing. */
#define EMPTY_RESPONSE "&AllocateResponse{ContainerResponses:[]*ContainerAllocateResponse{},}"

static bool answer_text_ok(const V1beta1__ContainerAllocateResponse *m)
{
        bool ok = true;

        for (size_t i = 0; i < m->n_envs; i++)
                ok = ok && fk_text_ok(m->envs[i]->key) && fk_text_ok(m->envs[i]->value);
        for (size_t i = 0; i < m->n_devices; i++)
                ok = ok && fk_text_ok(m->devices[i]->host_path) && fk_text_ok(m->devices[i]->container_path);
        return ok;
}

bool fk_allocate_call(struct fk *k, struct fk_client *c, const char *resource, const char *const *ids, size_t n, struct wire_bytes *ret,
                      char text[FK_TEXT_MAX], int *ret_code)
{
        V1beta1__ContainerAllocateRequest one = V1BETA1__CONTAINER_ALLOCATE_REQUEST__INIT, *list = &one;
        V1beta1__AllocateRequest rq = V1BETA1__ALLOCATE_REQUEST__INIT;
        struct wire_status status;
        ProtobufCMessage *reply;

        rq.n_container_requests = 1;
        rq.container_requests = &list;
        one.devices_ids = (char **)ids;
        one.n_devices_ids = n;
        bool ok = wire_call(c->conn, "/v1beta1.DevicePlugin/Allocate", &rq.base, &v1beta1__allocate_response__descriptor, -1, &reply, NULL,
                            &status);
        *ret_code = status.code;
        if (!ok) {
                (void)fail(text, "rpc error: code = %s desc = %s", wire_code_name(status.code), status.text);
                return false;
        }
        const V1beta1__AllocateResponse *m = (const V1beta1__AllocateResponse *)reply;
        if (m->n_container_responses == 0) {
                (void)fail(text, "no containers return in allocation response %s", k->profile->check_utf8 ? "" : EMPTY_RESPONSE);
                ok = false;
        } else if (k->profile->check_utf8 && !answer_text_ok(m->container_responses[0])) {
                (void)fail(text, "rpc error: code = Internal desc = grpc: failed to unmarshal the received message: string field contains "
                                 "invalid UTF-8");
                ok = false;
        } else {
                *ret = wire_pack(&m->container_responses[0]->base);
        }
        fk_say(k, "%s: Allocate of %zu: %s", resource, n, ok ? "granted" : text);
        protobuf_c_message_free_unpacked(reply, NULL);
        return ok;
}

static void remember_ids(struct fk *k, char *const *ids, size_t n)
{
        size_t at = 0;

        k->calls.allocate++;
        k->calls.allocate_ids[0] = '\0';
        for (size_t i = 0; i < n && at < sizeof(k->calls.allocate_ids) - FK_ID_MAX; i++)
                at += (size_t)snprintf(k->calls.allocate_ids + at, sizeof(k->calls.allocate_ids) - at, "%s%s", i ? "," : "", ids[i]);
}

/* Locked. Kubelet reads allDevices[resource][id].Topology after the reply: a map of pointers since 1.34. */
static int check_not_dropped(struct fk *k, const struct fk_resource *r, const struct idset *ids, char text[FK_TEXT_MAX])
{
        for (size_t i = 0; k->profile->abort_on_dropped && i < ids->n; i++) {
                if (fk_known(r, ids->ids[i]))
                        continue;
                (void)fail(k->crash, "kubelet crashed: %s left the list of %s while its Allocate was under way", ids->ids[i], r->name);
                (void)fprintf(stderr, "%s\n", k->crash);
                return fail(text, "%s", k->crash);
        }
        return 0;
}

static void record_add(struct fk *k, const char *pod, const char *container, const char *resource, const struct idset *ids,
                       struct wire_bytes answer)
{
        struct fk_record *rec = xcalloc(1, sizeof(*rec));

        *rec = (struct fk_record){
                .pod = xstrdup(pod), .container = xstrdup(container), .resource = xstrdup(resource), .answer = answer, .next = k->records
        };
        idset_add_all(&rec->ids, ids);
        rec->devices = xcalloc(ids->n, sizeof(*rec->devices));
        for (size_t i = 0; i < ids->n; i++) {
                const struct known_device *d = fk_known(fk_resource_get(k, resource), rec->ids.ids[i]);
                if (d)
                        rec->devices[i] = *d;
        }
        k->records = rec;
}

/* Locked, @ids non-empty. */
static int allocate(struct fk *k, const char *pod, const char *container, const char *resource, const struct idset *ids,
                    char text[FK_TEXT_MAX])
{
        struct fk_resource *r = fk_resource_get(k, resource);
        struct wire_bytes answer = { 0 };
        int code;

        if (!r->known)
                return fail(text, "unknown Device Plugin %s", resource);
        if (r->stopped || !r->endpoint)
                return fail(text, "endpoint %s has been stopped", r->endpoint ? r->endpoint->path : resource);
        struct idset order = { 0 };
        idset_add_all(&order, ids);
        fk_shuffle(k, order.ids, order.n);
        remember_ids(k, order.ids, order.n);
        struct fk_client *client = fk_client_ref(r->endpoint);
        fk_unlock(k);
        bool ok = fk_allocate_call(k, client, resource, (const char *const *)order.ids, order.n, &answer, text, &code);
        fk_lock(k);
        fk_client_unref(client);
        idset_done(&order);
        if (!ok) {
                if (code != 0) /* after an answer without containers the ids stay taken until the next count */
                        fk_recompute(k);
                return -1;
        }
        if (check_not_dropped(k, r, ids, text) < 0) {
                wire_bytes_done(&answer);
                return -1;
        }
        record_add(k, pod, container, resource, ids, answer);
        return 0;
}

static int admit_resource(struct fk *k, const char *pod, const char *container, const struct fk_ask *ask, char text[FK_TEXT_MAX])
{
        struct idset ids = { 0 };
        int r = devices_to_allocate(k, pod, container, ask, &ids, text);

        if (r == 0 && ids.n > 0)
                r = allocate(k, pod, container, ask->resource, &ids, text);
        idset_done(&ids);
        return r;
}

static void reuse_update(struct fk *k, const char *pod, const char *container, bool init)
{
        for (const struct fk_record *rec = k->records; rec; rec = rec->next) {
                if (!streq(rec->pod, pod) || !streq(rec->container, container))
                        continue;
                struct idset *reuse = reuse_of(k, pod, rec->resource);
                for (size_t i = 0; i < rec->ids.n; i++)
                        if (init)
                                idset_add(reuse, rec->ids.ids[i]);
                        else
                                idset_drop(reuse, rec->ids.ids[i]);
        }
}

int fk_admit(struct fk *k, const char *pod, const char *container, bool init, const struct fk_ask *asks, size_t n, char text[FK_TEXT_MAX])
{
        size_t *order = xcalloc(n + 1, sizeof(*order));
        int r = 0;

        text[0] = '\0';
        fk_lock(k);
        begin_admission(k, pod);
        reuse_clear(k, pod);
        for (size_t i = 0; i < n; i++)
                order[i] = i;
        for (size_t i = n; i > 1; i--) { /* limits are a map: any order */
                size_t j = fk_random(k, (unsigned)i), t = order[i - 1];
                order[i - 1] = order[j];
                order[j] = t;
        }
        for (size_t i = 0; i < n && r == 0; i++)
                r = admit_resource(k, pod, container, &asks[order[i]], text);
        if (r == 0) {
                reuse_update(k, pod, container, init);
                fk_pods_admitted(k, pod, container, init);
        }
        fk_unlock(k);
        free(order);
        if (r < 0) {
                char why[FK_TEXT_MAX];
                memcpy(why, text, sizeof(why));
                str_format(text, FK_TEXT_MAX, "Allocate failed due to %s, which is unexpected", why);
                fk_pod_end(k, pod); /* UnexpectedAdmissionError: failed for good */
        }
        return r;
}

int fk_admit_one(struct fk *k, const char *pod, const char *resource, size_t n, char text[FK_TEXT_MAX])
{
        struct fk_ask ask = { .resource = resource, .n = n };

        return fk_admit(k, pod, "main", false, &ask, 1, text);
}
