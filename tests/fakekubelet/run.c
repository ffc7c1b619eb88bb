/* SPDX-License-Identifier: Apache-2.0 */
/* Container starts: PreStartContainer, the stored answers replayed and merged; and requests that kubelet never makes. */
#include "fk_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "deviceplugin.pb-c.h"

enum { PRE_START_MS = 30000 };

static bool prestart_call(struct fk_client *c, char *const *ids, size_t n, struct wire_status *status)
{
        V1beta1__PreStartContainerRequest rq = V1BETA1__PRE_START_CONTAINER_REQUEST__INIT;
        ProtobufCMessage *reply;

        rq.devices_ids = (char **)ids;
        rq.n_devices_ids = n;
        bool ok = wire_call(c->conn, "/v1beta1.DevicePlugin/PreStartContainer", &rq.base,
                            &v1beta1__pre_start_container_response__descriptor, clock_ms() + PRE_START_MS, &reply, NULL, status);
        if (ok)
                protobuf_c_message_free_unpacked(reply, NULL);
        return ok;
}

/* Locked on entry and return. Skipped silently while kubelet has no options for the resource. */
static int prestart(struct fk *k, const struct fk_record *rec, char text[FK_TEXT_MAX])
{
        const struct fk_resource *r = fk_resource_get(k, rec->resource);
        struct wire_status status;
        struct idset ids = { 0 };

        if (!r->known) {
                str_format(text, FK_TEXT_MAX, "endpoint not found in cache for a registered resource: %s", rec->resource);
                return -1;
        }
        if (!r->has_options || !r->pre_start)
                return 0;
        if (r->stopped || !r->endpoint) {
                str_format(text, FK_TEXT_MAX, "device plugin PreStartContainer rpc failed with err: endpoint %s has been stopped",
                           r->endpoint ? r->endpoint->path : rec->resource);
                return -1;
        }
        k->calls.prestart++;
        idset_add_all(&ids, &rec->ids);
        fk_shuffle(k, ids.ids, ids.n);
        struct fk_client *client = fk_client_ref(r->endpoint);
        fk_unlock(k);
        bool ok = prestart_call(client, ids.ids, ids.n, &status);
        fk_lock(k);
        fk_client_unref(client);
        idset_done(&ids);
        if (!ok)
                str_format(text, FK_TEXT_MAX, "device plugin PreStartContainer rpc failed with err: rpc error: code = %s desc = %s",
                           wire_code_name(status.code), status.text);
        return ok ? 0 : -1;
}

static void pair_add(struct fk_run *run, struct fk_pair **list, size_t *n, const char *key, const char *value)
{
        for (size_t i = 0; i < *n; i++)
                if (streq((*list)[i].key, key)) { /* first wins */
                        run->conflicts += !streq((*list)[i].value, value);
                        return;
                }
        *list = xrealloc(*list, *n + 1, sizeof(**list));
        (*list)[*n] = (struct fk_pair){ xstrdup(key), xstrdup(value) };
        (*n)++;
}

static void merge(struct fk *k, struct fk_run *run, const struct wire_bytes *answer)
{
        V1beta1__ContainerAllocateResponse *m = v1beta1__container_allocate_response__unpack(NULL, answer->n, answer->data);

        if (!m)
                abort(); /* we packed it */
        for (size_t i = 0; i < m->n_envs; i++)
                pair_add(run, &run->envs, &run->n_envs, m->envs[i]->key, m->envs[i]->value);
        for (size_t i = 0; i < m->n_annotations; i++)
                pair_add(run, &run->annotations, &run->n_annotations, m->annotations[i]->key, m->annotations[i]->value);
        for (size_t i = 0; i < m->n_mounts; i++)
                pair_add(run, &run->mounts, &run->n_mounts, m->mounts[i]->container_path, m->mounts[i]->host_path);
        for (size_t i = 0; i < m->n_devices; i++) {
                if (run->n_devices == 0)
                        str_format(run->permissions, sizeof(run->permissions), "%s", m->devices[i]->permissions);
                else if (!streq(run->permissions, m->devices[i]->permissions))
                        run->permissions[0] = '\0';
                pair_add(run, &run->devices, &run->n_devices, m->devices[i]->container_path, m->devices[i]->host_path);
        }
        for (size_t i = 0; k->profile->cdi && i < m->n_cdi_devices; i++)
                pair_add(run, &run->cdi, &run->n_cdi, m->cdi_devices[i]->name, "");
        v1beta1__container_allocate_response__free_unpacked(m, NULL);
}

static size_t records_of(struct fk *k, const char *pod, const char *container, const struct fk_record **ret, size_t max)
{
        size_t n = 0;

        for (const struct fk_record *r = k->records; r && n < max; r = r->next)
                if (streq(r->pod, pod) && streq(r->container, container))
                        ret[n++] = r;
        fk_shuffle(k, (char **)ret, n);
        return n;
}

int fk_container_start(struct fk *k, const char *pod, const char *container, struct fk_run *ret, char text[FK_TEXT_MAX])
{
        const struct fk_record *records[64];
        int r = 0;

        text[0] = '\0';
        *ret = (struct fk_run){ 0 };
        fk_lock(k);
        size_t n = records_of(k, pod, container, records, N_ELEMENTS(records));
        if (n == 0) {
                str_format(text, FK_TEXT_MAX, "pod %s has no record for container %s: admit it again", pod, container);
                r = -1;
        }
        for (size_t i = 0; i < n && r == 0; i++)
                r = prestart(k, records[i], text);
        for (size_t i = 0; i < n && r == 0; i++)
                merge(k, ret, &records[i]->answer);
        fk_unlock(k);
        return r;
}

static void pairs_free(struct fk_pair *list, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                free(list[i].key);
                free(list[i].value);
        }
        free(list);
}

void fk_run_done(struct fk_run *run)
{
        pairs_free(run->envs, run->n_envs);
        pairs_free(run->devices, run->n_devices);
        pairs_free(run->mounts, run->n_mounts);
        pairs_free(run->annotations, run->n_annotations);
        pairs_free(run->cdi, run->n_cdi);
        *run = (struct fk_run){ 0 };
}

const char *fk_run_env(const struct fk_run *run, const char *name)
{
        for (size_t i = 0; i < run->n_envs; i++)
                if (streq(run->envs[i].key, name))
                        return run->envs[i].value;
        return NULL;
}

/* Requests that kubelet never makes */

static struct fk_client *running(struct fk *k, const char *resource, char text[FK_TEXT_MAX])
{
        fk_lock(k);
        const struct fk_resource *r = fk_resource_find(k, resource);
        struct fk_client *c = r && r->known && !r->stopped && r->endpoint ? fk_client_ref(r->endpoint) : NULL;
        fk_unlock(k);
        if (!c)
                str_format(text, FK_TEXT_MAX, "no running endpoint for %s", resource);
        return c;
}

static void release(struct fk *k, struct fk_client *c)
{
        fk_lock(k);
        fk_client_unref(c);
        fk_unlock(k);
}

int fk_raw_allocate(struct fk *k, const char *resource, const char *const *ids, size_t n, char text[FK_TEXT_MAX])
{
        struct fk_client *c = running(k, resource, text);
        struct wire_bytes answer = { 0 };
        int code = -1;

        if (!c)
                return -1;
        (void)fk_allocate_call(k, c, resource, ids, n, &answer, text, &code);
        wire_bytes_done(&answer);
        release(k, c);
        return code;
}

int fk_raw_prestart(struct fk *k, const char *resource, const char *const *ids, size_t n, char text[FK_TEXT_MAX])
{
        struct fk_client *c = running(k, resource, text);
        struct wire_status status = { 0 };

        if (!c)
                return -1;
        (void)prestart_call(c, (char *const *)ids, n, &status);
        str_format(text, FK_TEXT_MAX, "%s", status.text);
        release(k, c);
        return status.code;
}

int fk_raw_preferred(struct fk *k, const char *resource, const char *const *available, size_t n_available, const char *const *must,
                     size_t n_must, int size, char *ret_ids, size_t ret_size, char text[FK_TEXT_MAX])
{
        V1beta1__ContainerPreferredAllocationRequest one = V1BETA1__CONTAINER_PREFERRED_ALLOCATION_REQUEST__INIT, *list = &one;
        V1beta1__PreferredAllocationRequest rq = V1BETA1__PREFERRED_ALLOCATION_REQUEST__INIT;
        struct fk_client *c = running(k, resource, text);
        struct wire_status status = { 0 };
        ProtobufCMessage *reply;

        if (!c)
                return -1;
        rq.n_container_requests = 1;
        rq.container_requests = &list;
        one.available_deviceids = (char **)available;
        one.n_available_deviceids = n_available;
        one.must_include_deviceids = (char **)must;
        one.n_must_include_deviceids = n_must;
        one.allocation_size = size;
        ret_ids[0] = '\0';
        if (wire_call(c->conn, "/v1beta1.DevicePlugin/GetPreferredAllocation", &rq.base,
                      &v1beta1__preferred_allocation_response__descriptor, -1, &reply, NULL, &status)) {
                const V1beta1__PreferredAllocationResponse *m = (const V1beta1__PreferredAllocationResponse *)reply;
                size_t at = 0;
                for (size_t i = 0; m->n_container_responses > 0 && i < m->container_responses[0]->n_deviceids && at < ret_size; i++)
                        at += (size_t)snprintf(ret_ids + at, ret_size - at, "%s%s", i ? "," : "", m->container_responses[0]->deviceids[i]);
                protobuf_c_message_free_unpacked(reply, NULL);
        }
        str_format(text, FK_TEXT_MAX, "%s", status.text);
        release(k, c);
        return status.code;
}
