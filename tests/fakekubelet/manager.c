/* SPDX-License-Identifier: Apache-2.0 */
/* What the fake kubelet knows of resources, and how tests ask and wait for it. */
#include "fk_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"

const struct fk_profile fk_profiles[] = {
        { "1.26", .wipe_all = true },
        { "1.30", .wipe_all = true, .keeps_last = true, .percent_authority = true, .cdi = true },
        { "1.31", .wipe_all = true, .percent_authority = true, .cdi = true },
        { "1.32", .wipe_all = true, .percent_authority = true, .cdi = true },
        { "1.33", .percent_authority = true, .cdi = true },
        { "1.34", .abort_on_dropped = true, .check_utf8 = true, .active_pods_only = true, .percent_authority = true, .cdi = true },
        { "1.35", .register_context = true, .abort_on_dropped = true, .check_utf8 = true, .active_pods_only = true,
          .percent_authority = true, .cdi = true },
        { "1.36", .register_context = true, .abort_on_dropped = true, .check_utf8 = true, .active_pods_only = true,
          .percent_authority = true, .cdi = true, .watcher_retries = true },
        { "1.37", .register_context = true, .abort_on_dropped = true, .key_by_path = true, .check_utf8 = true, .active_pods_only = true,
          .percent_authority = true, .cdi = true, .watcher_retries = true },
};
const size_t fk_n_profiles = N_ELEMENTS(fk_profiles);

const struct fk_profile *fk_profile(const char *name)
{
        for (size_t i = 0; i < fk_n_profiles; i++)
                if (streq(fk_profiles[i].name, name))
                        return &fk_profiles[i];
        return NULL;
}

/* Sets */

static size_t idset_place(const struct idset *set, const char *id, bool *found)
{
        size_t low = 0, high = set->n;

        *found = false;
        while (low < high) {
                size_t mid = low + (high - low) / 2;
                int order = strcmp(set->ids[mid], id);
                if (order == 0)
                        *found = true;
                if (order < 0)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low;
}

bool idset_has(const struct idset *set, const char *id)
{
        bool found;

        (void)idset_place(set, id, &found);
        return found;
}

void idset_add(struct idset *set, const char *id)
{
        bool found;
        size_t at = idset_place(set, id, &found);

        if (found)
                return;
        GROW(set->ids, set->n, set->cap);
        memmove(set->ids + at + 1, set->ids + at, (set->n - at) * sizeof(*set->ids));
        set->ids[at] = xstrdup(id);
        set->n++;
}

void idset_drop(struct idset *set, const char *id)
{
        bool found;
        size_t at = idset_place(set, id, &found);

        if (!found)
                return;
        free(set->ids[at]);
        set->n--;
        memmove(set->ids + at, set->ids + at + 1, (set->n - at) * sizeof(*set->ids));
}

void idset_add_all(struct idset *set, const struct idset *other)
{
        for (size_t i = 0; i < other->n; i++)
                idset_add(set, other->ids[i]);
}

void idset_done(struct idset *set)
{
        for (size_t i = 0; i < set->n; i++)
                free(set->ids[i]);
        free(set->ids);
        *set = (struct idset){ 0 };
}

/* Lock, threads, chance */

void fk_lock(struct fk *k)
{
        pthread_mutex_lock(&k->mu);
}

void fk_unlock(struct fk *k)
{
        pthread_cond_broadcast(&k->changed);
        pthread_mutex_unlock(&k->mu);
}

void fk_say(struct fk *k, const char *fmt, ...)
{
        char text[FK_TEXT_MAX];
        va_list ap;

        if (!k->trace)
                return;
        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        (void)fprintf(stderr, "kubelet %s %lld.%03lld: %s\n", k->profile->name, (long long)(clock_ms() / 1000 % 10000),
                      (long long)(clock_ms() % 1000), text);
}

unsigned fk_random(struct fk *k, unsigned below)
{
        k->seed = k->seed * 1103515245U + 12345U;
        return (k->seed >> 8) % below;
}

void fk_shuffle(struct fk *k, char **ids, size_t n)
{
        for (size_t i = n; i > 1; i--) {
                size_t j = fk_random(k, (unsigned)i);
                char *id = ids[i - 1];
                ids[i - 1] = ids[j];
                ids[j] = id;
        }
}

void fk_spawn(struct fk *k, void *(*run)(void *), void *arg)
{
        pthread_t thread;

        fk_lock(k);
        k->n_threads++;
        fk_unlock(k);
        if (pthread_create(&thread, NULL, run, arg) != 0)
                abort(); /* out of threads: no test can go on */
        (void)pthread_detach(thread);
}

void fk_thread_end(struct fk *k)
{
        fk_lock(k);
        k->n_threads--;
        fk_unlock(k);
}

bool fk_text_ok(const char *s)
{
        const unsigned char *p = (const unsigned char *)s;

        while (*p) {
                unsigned n = *p < 0x80 ? 0 : *p >= 0xc2 && *p < 0xe0 ? 1 : (*p & 0xf0) == 0xe0 ? 2 : *p >= 0xf0 && *p < 0xf5 ? 3 : 9;
                if (n == 9 || (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) ||
                    (*p == 0xf4 && p[1] > 0x8f))
                        return false;
                for (p++; n > 0; n--, p++)
                        if ((*p & 0xc0) != 0x80)
                                return false;
        }
        return true;
}

/* Resources */

struct fk_resource *fk_resource_find(struct fk *k, const char *name)
{
        for (struct fk_resource *r = k->resources; r; r = r->next)
                if (streq(r->name, name))
                        return r;
        return NULL;
}

struct fk_resource *fk_resource_get(struct fk *k, const char *name)
{
        struct fk_resource **at = &k->resources;

        while (*at && strcmp((*at)->name, name) < 0)
                at = &(*at)->next;
        if (*at && streq((*at)->name, name))
                return *at;
        struct fk_resource *r = xcalloc(1, sizeof(*r));
        str_format(r->name, sizeof(r->name), "%s", name);
        r->next = *at;
        *at = r;
        return r;
}

bool fk_resource_expired(struct fk *k, const struct fk_resource *r)
{
        return !r->known || (r->stopped && clock_ms() - r->stop_ms > k->grace_ms);
}

const struct known_device *fk_known(const struct fk_resource *r, const char *id)
{
        for (size_t low = 0, high = r->n_devices; low < high;) {
                size_t mid = low + (high - low) / 2;
                int order = strcmp(r->devices[mid].id, id);
                if (order == 0)
                        return &r->devices[mid];
                if (order < 0)
                        low = mid + 1;
                else
                        high = mid;
        }
        return NULL;
}

void fk_checkpoint(struct fk *k)
{
        for (struct fk_resource *r = k->resources; r; r = r->next) {
                bool known = !fk_resource_expired(k, r) && r->has_devices;
                if (r->endpoint)
                        fk_client_unref(r->endpoint);
                r->endpoint = NULL;
                r->known = r->stopped = r->has_devices = known;
                r->stop_ms = clock_ms();
                r->has_options = r->pre_start = r->preferred = false;
                free(r->devices);
                r->devices = NULL;
                r->n_devices = 0;
        }
}

/* Questions */

bool fk_counts(struct fk *k, const char *resource, struct fk_counts *ret)
{
        fk_lock(k);
        const struct fk_resource *r = fk_resource_find(k, resource);
        struct fk_counts c = { 0 };
        if (r) {
                c = (struct fk_counts){ .lists = r->lists,
                                        .registrations = r->registrations,
                                        .streams = r->streams,
                                        .pre_start = r->pre_start,
                                        .preferred = r->preferred };
                if (!fk_resource_expired(k, r) && k->instance) {
                        c.known = true;
                        c.running = !r->stopped;
                        c.capacity = (unsigned)r->n_devices;
                        for (size_t i = 0; i < r->n_devices; i++)
                                c.allocatable += r->devices[i].healthy;
                }
                if (r->endpoint)
                        str_format(c.endpoint, sizeof(c.endpoint), "%s", r->endpoint->path);
        }
        pthread_mutex_unlock(&k->mu);
        *ret = c;
        return r != NULL;
}

unsigned fk_registers(struct fk *k)
{
        pthread_mutex_lock(&k->mu);
        unsigned n = k->n_registers;
        pthread_mutex_unlock(&k->mu);
        return n;
}

struct fk_calls fk_calls(struct fk *k)
{
        pthread_mutex_lock(&k->mu);
        struct fk_calls calls = k->calls;
        pthread_mutex_unlock(&k->mu);
        return calls;
}

size_t fk_resources(struct fk *k, char (*ret)[FK_RESOURCE_MAX], size_t max)
{
        size_t n = 0;

        pthread_mutex_lock(&k->mu);
        for (const struct fk_resource *r = k->resources; r; r = r->next) {
                if (fk_resource_expired(k, r))
                        continue;
                if (n < max)
                        str_format(ret[n], sizeof(ret[n]), "%s", r->name);
                n++;
        }
        pthread_mutex_unlock(&k->mu);
        return n;
}

size_t fk_devices(struct fk *k, const char *resource, struct fk_device **ret)
{
        pthread_mutex_lock(&k->mu);
        const struct fk_resource *r = fk_resource_find(k, resource);
        size_t n = r ? r->n_list : 0;
        *ret = xcalloc(n + 1, sizeof(**ret));
        if (n)
                memcpy(*ret, r->list, n * sizeof(**ret));
        pthread_mutex_unlock(&k->mu);
        return n;
}

unsigned fk_duplicates(struct fk *k, const char *resource)
{
        pthread_mutex_lock(&k->mu);
        const struct fk_resource *r = fk_resource_find(k, resource);
        unsigned n = r ? r->duplicates : 0;
        pthread_mutex_unlock(&k->mu);
        return n;
}

const char *fk_crash(struct fk *k)
{
        return k->crash;
}

bool fk_wait(struct fk *k, unsigned timeout_ms, fk_cond *cond, void *ctx)
{
        int64_t until = clock_ms() + timeout_ms;
        bool ok;

        pthread_mutex_lock(&k->mu);
        while (!(ok = cond(k, ctx)) && clock_ms() < until) {
                /* Some conditions depend on time (grace), so no wait is longer than this. */
                struct timespec at;
                (void)clock_gettime(CLOCK_MONOTONIC, &at);
                int64_t ns = at.tv_nsec + 20000000;
                at.tv_sec += ns / 1000000000;
                at.tv_nsec = ns % 1000000000;
                (void)pthread_cond_timedwait(&k->changed, &k->mu, &at);
        }
        pthread_mutex_unlock(&k->mu);
        return ok;
}

struct want {
        const char *resource;
        unsigned capacity, allocatable;
};

static bool has_devices(struct fk *k, void *ctx)
{
        const struct want *w = ctx;
        struct fk_counts c;

        (void)fk_counts(k, w->resource, &c);
        return c.capacity == w->capacity && c.allocatable == w->allocatable;
}

bool fk_wait_devices(struct fk *k, const char *resource, unsigned capacity, unsigned allocatable, unsigned timeout_ms)
{
        struct want want = { resource, capacity, allocatable };

        return fk_wait(k, timeout_ms, has_devices, &want);
}

/* Knobs */

void fk_set_dial_ms(struct fk *k, unsigned ms)
{
        fk_lock(k);
        k->dial_ms = ms;
        fk_unlock(k);
}

void fk_set_grace_ms(struct fk *k, unsigned ms)
{
        fk_lock(k);
        k->grace_ms = ms;
        fk_unlock(k);
}

void fk_set_backoff_ms(struct fk *k, unsigned ms)
{
        fk_lock(k);
        k->backoff_ms = ms;
        fk_unlock(k);
}

void fk_set_message_max(struct fk *k, size_t n)
{
        fk_lock(k);
        k->message_max = n;
        fk_unlock(k);
}

void fk_refuse_connect(struct fk *k, unsigned times)
{
        fk_lock(k);
        k->fail_connect = times;
        fk_unlock(k);
}

void fk_fail_notify(struct fk *k, unsigned times)
{
        fk_lock(k);
        k->fail_notify = times;
        fk_unlock(k);
}

void fk_set_seed(struct fk *k, unsigned seed)
{
        fk_lock(k);
        k->seed = seed;
        fk_unlock(k);
}

void fk_set_trace(struct fk *k, bool on)
{
        fk_lock(k);
        k->trace = on;
        fk_unlock(k);
}

void fk_set_wipe(struct fk *k, bool on)
{
        fk_lock(k);
        k->no_wipe = !on;
        fk_unlock(k);
}

void fk_order(struct fk *k, enum fk_order order)
{
        fk_lock(k);
        k->order = order;
        fk_unlock(k);
}
