/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "core/group.h"

static int by_id(const void *a, const void *b)
{
        return strcmp((*(const struct device *const *)a)->id, (*(const struct device *const *)b)->id);
}

/* What a request may name although it is not healthy. */
struct leave {
        bool cordoned;  /* a cordon is for new pods: the container of one that has the device may start again */
        bool releasing; /* it is going to wait for its turn, and that comes after the release's */
};

static bool has_leave(const struct leave *leave, const struct device *device)
{
        return (leave->cordoned && device->reason == REASON_CORDONED) || (leave->releasing && device->reason == REASON_RELEASING);
}

static enum reason check_device(const struct offer *offer, const struct pool *pool, const char *id, const struct leave *leave,
                                const struct device **ret, struct err *err)
{
        char clean[2 * DEVICE_ID_MAX];

        const struct device *device = offer_pool_device(offer, pool, id);
        if (!device) {
                str_clean(clean, sizeof(clean), id);
                (void)err_say(err, ENOENT, "device \"%s\" is not in pool %s", clean, pool->resource);
                return REASON_UNKNOWN_DEVICE;
        }
        if (device->state != DEVICE_HEALTHY && !has_leave(leave, device)) {
                (void)err_say(err, EBUSY, "device %s of %s is not healthy: %s (%s)%s%s; %s", device->id, pool->resource,
                              reason_sentence(device->reason), reason_word(device->reason), device->detail[0] ? ": " : "", device->detail,
                              reason_remedy(device->reason));
                return REASON_NOT_HEALTHY;
        }
        *ret = device;
        return REASON_NONE;
}

static enum reason check(const struct offer *offer, const struct claim_request *request, bool early, const struct device **ret,
                         struct err *err)
{
        char clean[RESOURCE_MAX];

        const struct pool *pool = offer_pool(offer, request->resource);
        if (!pool) {
                str_clean(clean, sizeof(clean), request->resource);
                (void)err_say(err, ENOENT, "there is no pool %s", clean);
                return REASON_UNKNOWN_DEVICE;
        }
        if (request->n_devices == 0) {
                (void)err_say(err, EINVAL, "the request for %s names no device", pool->resource);
                return REASON_EMPTY_REQUEST;
        }
        if (request->n_devices > REQUEST_DEVICES_MAX) {
                (void)err_say(err, E2BIG, "the request for %s names %zu devices, at most %d are possible", pool->resource,
                              request->n_devices, REQUEST_DEVICES_MAX);
                return REASON_TOO_MANY_DEVICES;
        }
        const struct leave leave = { .cordoned = request->verify_only, .releasing = early };
        const struct device *found[REQUEST_DEVICES_MAX];
        for (size_t i = 0; i < request->n_devices; i++) {
                enum reason reason = check_device(offer, pool, request->devices[i], &leave, &found[i], err);
                if (reason)
                        return reason;
        }
        /* cppcheck-suppress uninitvar ; the loop above filled the first n_devices, which are not none */
        qsort(found, request->n_devices, sizeof(found[0]), by_id);
        for (size_t i = 1; i < request->n_devices; i++)
                if (found[i] == found[i - 1]) {
                        (void)err_say(err, EINVAL, "the request names device %s of %s twice", found[i]->id, pool->resource);
                        return REASON_DUPLICATE_DEVICE;
                }
        memcpy(ret, found, request->n_devices * sizeof(found[0]));
        return REASON_NONE;
}

enum reason request_check(const struct offer *offer, const struct claim_request *request, const struct device **ret, struct err *err)
{
        return check(offer, request, false, ret, err);
}

enum reason request_check_early(const struct offer *offer, const struct claim_request *request, const struct device **ret, struct err *err)
{
        return check(offer, request, true, ret, err);
}

static size_t add_card(struct bdf *cards, size_t n, size_t max, struct bdf card)
{
        size_t at = 0;

        while (at < n && bdf_compare(cards[at], card) < 0)
                at++;
        if ((at < n && bdf_equal(cards[at], card)) || n == max)
                return n;
        memmove(cards + at + 1, cards + at, (n - at) * sizeof(*cards));
        cards[at] = card;
        return n + 1;
}

size_t request_cards(const struct inventory *inv, const struct device *const *devices, size_t n_devices, struct bdf *ret, size_t max)
{
        size_t n = 0;

        for (size_t i = 0; i < n_devices; i++) {
                n = add_card(ret, n, max, devices[i]->card);
                if (devices[i]->group < 0)
                        continue;
                for (size_t k = 0; k < inv->n_functions; k++) {
                        const struct function *fn = &inv->functions[k];
                        if (fn->group == devices[i]->group && fn->class_code >> 16 != 0x06)
                                n = add_card(ret, n, max, card_of(fn));
                }
        }
        return n;
}

struct concerned {
        struct bdf cards[PLAN_CARDS_MAX]; /* a device with more of them fits no plan */
        size_t n;
};

static bool share_a_card(const struct concerned *a, const struct concerned *b)
{
        for (size_t i = 0; i < a->n; i++)
                for (size_t k = 0; k < b->n; k++)
                        if (bdf_equal(a->cards[i], b->cards[k]))
                                return true;
        return false;
}

void request_units(const struct inventory *inv, const struct device *const *devices, size_t n_devices, size_t *ret)
{
        _cleanup_free_ struct concerned *of = xcalloc(n_devices, sizeof(*of));

        for (size_t i = 0; i < n_devices; i++) {
                of[i].n = request_cards(inv, &devices[i], 1, of[i].cards, PLAN_CARDS_MAX);
                ret[i] = i;
                for (size_t k = 0; k < i; k++) {
                        size_t unit = ret[i], other = ret[k];
                        if (unit == other || !share_a_card(&of[i], &of[k]))
                                continue;
                        for (size_t j = 0; j <= i; j++) /* two units become one, that of the earlier first device */
                                if (ret[j] == unit || ret[j] == other)
                                        ret[j] = unit < other ? unit : other;
                }
        }
}

/* The driver that @plan found @bdf on: every function that a plan binds has a probe step, and an unbind step if it had one. */
static const char *found_on(const struct plan *plan, struct bdf bdf)
{
        for (uint32_t i = 0; i < plan->n_steps; i++)
                if (plan->steps[i].kind == STEP_UNBIND && bdf_equal(plan->steps[i].bdf, bdf))
                        return plan->steps[i].text;
        return "";
}

bool request_group_is_broken(const struct inventory *inv, const struct plan *plan, int group)
{
        for (uint32_t i = 0; i < plan->n_steps; i++) {
                if (plan->steps[i].kind != STEP_PROBE)
                        continue;
                const struct function *fn = inventory_function(inv, plan->steps[i].bdf);
                if (fn && fn->group == group && !streq(fn->driver, found_on(plan, fn->bdf)))
                        return true;
        }
        return false;
}
