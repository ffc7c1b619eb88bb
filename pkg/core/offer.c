/* SPDX-License-Identifier: Apache-2.0 */
#include "core/offer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "core/offer_priv.h"

/* ---- the object ---- */

struct offer *offer_ref(struct offer *offer)
{
        assert(offer->refs > 0);
        offer->refs++;
        return offer;
}

struct offer *offer_unref(struct offer *offer)
{
        if (!offer || --offer->refs > 0)
                return NULL;
        for (size_t i = 0; i < offer->n_pools; i++)
                free(offer->pools[i].devices);
        free(offer->pools);
        free(offer->devices);
        free(offer);
        return NULL;
}

static int compare_devices(const void *a, const void *b)
{
        return strcmp(((const struct device *)a)->id, ((const struct device *)b)->id);
}

static struct device *find_device(const struct offer *offer, const char *id)
{
        size_t first = 0, end = offer->n_devices;

        while (first < end) {
                size_t middle = first + (end - first) / 2;
                int r = strcmp(id, offer->devices[middle].id);

                if (r == 0)
                        return &offer->devices[middle];
                if (r < 0)
                        end = middle;
                else
                        first = middle + 1;
        }
        return NULL;
}

const struct device *offer_device(const struct offer *offer, const char *id)
{
        return find_device(offer, id);
}

const struct pool *offer_pool(const struct offer *offer, const char *resource)
{
        for (size_t i = 0; i < offer->n_pools; i++)
                if (streq(offer->pools[i].resource, resource))
                        return &offer->pools[i];
        return NULL;
}

const struct device *offer_pool_device(const struct offer *offer, const struct pool *pool, const char *id)
{
        size_t first = 0, end = pool->n_devices;

        while (first < end) {
                size_t middle = first + (end - first) / 2;
                const struct device *device = &offer->devices[pool->devices[middle]];
                int r = strcmp(id, device->id);

                if (r == 0)
                        return device;
                if (r < 0)
                        end = middle;
                else
                        first = middle + 1;
        }
        return NULL;
}

bool offer_pool_equal(const struct offer *a, const struct pool *pa, const struct offer *b, const struct pool *pb)
{
        if (!streq(pa->resource, pb->resource) || pa->n_devices != pb->n_devices || pa->topology != pb->topology)
                return false;
        for (size_t i = 0; i < pa->n_devices; i++) {
                const struct device *x = &a->devices[pa->devices[i]], *y = &b->devices[pb->devices[i]];

                if (!streq(x->id, y->id) || x->state != y->state || (pa->topology && x->numa_node != y->numa_node))
                        return false;
        }
        return true;
}

const struct device *offer_listed(const struct offer *past, const char *id)
{
        const struct device *device = past ? offer_device(past, id) : NULL;

        return device && device->state != DEVICE_WITHHELD ? device : NULL;
}

/* ---- deciding ---- */

static void set_unhealthy(struct device *device, enum reason reason, const char *detail)
{
        device->state = DEVICE_UNHEALTHY;
        device->reason = reason;
        memset(device->also, 0, sizeof(device->also));
        str_format(device->detail, sizeof(device->detail), "%s", detail);
}

static void judge_all(const struct offer_input *in, struct offer *offer)
{
        const struct inventory *inv = in->inventory;

        offer->devices = xcalloc(inv->n_functions + inv->n_instances + (in->past ? in->past->n_devices : 0) + 1, sizeof(*offer->devices));
        for (size_t i = 0; i < inv->n_functions; i++)
                if (judge_is_candidate(in->rules, &inv->functions[i]))
                        judge_function(inv, in->rules, &inv->functions[i], &offer->devices[offer->n_devices++]);
        for (size_t i = 0; i < inv->n_instances; i++)
                judge_instance(inv, in->rules, &inv->instances[i], &offer->devices[offer->n_devices++]);
        qsort(offer->devices, offer->n_devices, sizeof(*offer->devices), compare_devices);
}

/* Still what was listed under this id? A name that a pci.ids or a configuration gives is no part of that. */
static bool is_same(const struct device *then, const struct device *now)
{
        if (then->kind != now->kind || then->vendor != now->vendor || then->device_id != now->device_id)
                return false;
        /* Type ids are the driver's and may move with its version; names stay. Either says that it is the same profile. */
        return streq(then->type, now->type) || (*then->model && streq(then->model, now->model));
}

static void say_what_it_became(const struct device *then, struct device *now)
{
        char detail[DETAIL_MAX];

        str_format(detail, sizeof(detail), "it was listed as %s %s and is now %s %s", device_kind_name(then->kind), then->model,
                   device_kind_name(now->kind), now->model);
        set_unhealthy(now, REASON_NO_LONGER_OFFERED, detail);
}

static void say_why_not(struct device *now)
{
        char detail[DETAIL_MAX];

        str_format(detail, sizeof(detail), "%s%s%s", reason_word(now->reason), *now->detail ? ": " : "", now->detail);
        set_unhealthy(now, REASON_NO_LONGER_OFFERED, detail);
}

/* A device that was listed and is a candidate today: it stays listed, as what it was. */
static void keep_listed(const struct device *then, struct device *now)
{
        if (now->state == DEVICE_WITHHELD)
                say_why_not(now);
        else if (!is_same(then, now))
                say_what_it_became(then, now);
        if (is_same(then, now))
                return;
        /* Or the next look would compare it with what it became, and find it healthy under the old name. */
        now->kind = then->kind;
        now->vendor = then->vendor;
        now->device_id = then->device_id;
        str_format(now->model, sizeof(now->model), "%s", then->model);
        str_format(now->type, sizeof(now->type), "%s", then->type);
}

static const struct broken *find_broken(const struct inventory *inv, const char *id)
{
        for (size_t i = 0; i < inv->n_broken; i++)
                if (streq(inv->broken[i].name, id))
                        return &inv->broken[i];
        return NULL;
}

/* A device that was listed and is nowhere in the inventory: kubelet may have given it to someone. */
static struct device make_gone(const struct inventory *inv, const struct device *then)
{
        const struct broken *broken = find_broken(inv, then->id);
        struct device gone = *then;

        gone.needs_bind = false;
        gone.rule = RULE_NONE; /* The number was one of the rules of then. */
        set_unhealthy(&gone, broken ? broken->reason : REASON_GONE, broken ? broken->detail : "");
        return gone;
}

static void keep_past(const struct offer_input *in, struct offer *offer)
{
        size_t n_known = offer->n_devices;

        if (!in->past)
                return;
        for (size_t i = 0; i < in->past->n_devices; i++) {
                const struct device *then = &in->past->devices[i];
                if (then->state == DEVICE_WITHHELD)
                        continue;

                const struct offer known = { .devices = offer->devices, .n_devices = n_known };
                struct device *now = find_device(&known, then->id);
                if (now)
                        keep_listed(then, now);
                else
                        offer->devices[offer->n_devices++] = make_gone(in->inventory, then);
        }
        offer->devices = xrealloc(offer->devices, offer->n_devices, sizeof(*offer->devices)); /* room was for both times' */
        qsort(offer->devices, offer->n_devices, sizeof(*offer->devices), compare_devices);
}

/* What was listed has its place; the rest has what is left, by id. */
static void limit_ids(const struct offer_input *in, struct offer *offer)
{
        size_t n = 0;

        for (size_t i = 0; i < offer->n_devices; i++)
                n += offer_listed(in->past, offer->devices[i].id) != NULL;
        for (size_t i = 0; i < offer->n_devices; i++) {
                struct device *device = &offer->devices[i];

                if (device->state == DEVICE_WITHHELD || offer_listed(in->past, device->id) || n++ < OFFER_IDS_MAX)
                        continue;
                device->state = DEVICE_WITHHELD;
                device->reason = REASON_TOO_MANY_IDS;
                device->needs_bind = false;
                str_format(device->detail, sizeof(device->detail), "%d ids were listed", OFFER_IDS_MAX);
        }
}

/* A driver that hangs while it lets go is no longer to be seen: "not bound" would be bad advice. */
static bool explains_more(enum reason mark, const struct device *withheld)
{
        return mark == REASON_STUCK && (withheld->reason == REASON_NOT_BOUND || withheld->reason == REASON_GROUP_MEMBER_UNBOUND);
}

/* What the daemon knows is said instead of what sysfs shows, of everything that is there and listed. */
static void apply_marks(const struct offer_input *in, struct offer *offer)
{
        for (size_t i = 0; i < in->n_marks; i++) {
                struct device *device = find_device(offer, in->marks[i].id);
                enum reason mark = in->marks[i].reason;

                if (!device || device->reason == REASON_GONE || (device->state == DEVICE_WITHHELD && !explains_more(mark, device)))
                        continue;
                if (device->state != DEVICE_WITHHELD)
                        device->state = DEVICE_UNHEALTHY;
                device->reason = mark;
                memset(device->also, 0, sizeof(device->also));
                str_format(device->detail, sizeof(device->detail), "%s", in->marks[i].detail);
        }
}

static void apply_cordons(const struct offer_input *in, struct offer *offer)
{
        for (size_t i = 0; in->cordoned && i < offer->n_devices; i++) {
                struct device *device = &offer->devices[i];
                const char *note = device->state == DEVICE_HEALTHY ? in->cordoned(in->ctx, device) : NULL;

                if (!note)
                        continue;
                device->state = DEVICE_UNHEALTHY;
                device->reason = REASON_CORDONED;
                memset(device->also, 0, sizeof(device->also));
                str_format(device->detail, sizeof(device->detail), "%s", note);
        }
}

static void overlook_half_way(const struct offer_input *in, struct offer *offer)
{
        for (size_t i = 0; in->at_work && i < offer->n_devices; i++) {
                struct device *now = &offer->devices[i];
                const struct device *then = offer_listed(in->past, now->id);

                if (now->reason != REASON_NODE_MISSING || !then || then->state != DEVICE_HEALTHY || !in->at_work(in->ctx, now->card))
                        continue;
                now->state = DEVICE_HEALTHY;
                now->reason = then->reason;
                memcpy(now->also, then->also, sizeof(now->also));
                str_format(now->detail, sizeof(now->detail), "%s", then->detail);
        }
}

/* Its last user is gone, the next one must not have it yet. What is withheld, gone or broken is no better for it. */
static void apply_releases(const struct offer_input *in, struct offer *offer)
{
        for (size_t i = 0; in->releasing && i < offer->n_devices; i++) {
                struct device *device = &offer->devices[i];
                const char *detail =
                        device->state == DEVICE_WITHHELD || device->reason == REASON_GONE ? NULL : in->releasing(in->ctx, device->id);

                if (detail)
                        set_unhealthy(device, REASON_RELEASING, detail);
        }
}

struct offer *offer_decide(const struct offer_input *in)
{
        struct offer *offer = xcalloc(1, sizeof(*offer));

        offer->refs = 1;
        judge_all(in, offer);
        keep_past(in, offer);
        limit_ids(in, offer);
        overlook_half_way(in, offer);
        apply_releases(in, offer);
        apply_marks(in, offer);
        apply_cordons(in, offer);
        pools_gather(in, offer);
        return offer;
}
