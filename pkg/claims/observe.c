/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/observe.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "claims/claims_priv.h"
#include "claims/release.h"

enum { ASKING_MAX = 4 /* hands that look for holders at once; who has to wait is looked at with the next list */ };

/* Beside each claim of kubelet's. */
struct sighted {
        char device[DEVICE_ID_MAX];
        struct claim_life life;
        unsigned answers; /* the claim that a hand was asked for may have been followed by another one meanwhile */
        unsigned pass;    /* the last list that found the claim in the ledger */
        bool asking;      /* a hand is looking for holders */
        bool held_said;   /* that its pod is gone and somebody has it open all the same */
};

struct observer {
        struct claims *claims;
        struct sighted *sighted; /* by device */
        size_t n, cap;
        unsigned n_asking, pass, answers;
        const struct pod_list *list; /* during observer_list() */
};

/* ---- what is kept beside the claims ---- */

static size_t place_of(const struct observer *o, const char *device, bool *found)
{
        size_t low = 0, high = o->n;

        *found = false;
        while (low < high) {
                size_t mid = low + (high - low) / 2;
                int order = strcmp(o->sighted[mid].device, device);
                if (order == 0) {
                        *found = true;
                        return mid;
                }
                if (order < 0)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low;
}

static struct sighted *find(const struct observer *o, const char *device)
{
        bool found;
        size_t at = place_of(o, device, &found);

        return found ? &o->sighted[at] : NULL;
}

/* Valid until the next one is made. A new one is as one that is answered now: what an earlier daemon saw does not count. */
static struct sighted *get(struct observer *o, const char *device)
{
        bool found;
        size_t at = place_of(o, device, &found);

        if (found)
                return &o->sighted[at];
        GROW(o->sighted, o->n, o->cap);
        memmove(o->sighted + at + 1, o->sighted + at, (o->n++ - at) * sizeof(*o->sighted));
        o->sighted[at] = (struct sighted){ .answers = ++o->answers };
        (void)str_copy(o->sighted[at].device, sizeof(o->sighted[at].device), device);
        claim_life_answered(&o->sighted[at].life, clock_ms());
        return &o->sighted[at];
}

void observer_answered(struct observer *observer, const char *device)
{
        struct sighted *s = get(observer, device);

        claim_life_answered(&s->life, clock_ms());
        s->answers = ++observer->answers;
        s->asking = false; /* a hand that looks now looks for the claim before, and is not listened to */
        s->held_said = false;
}

static void forget_ended(struct observer *o)
{
        size_t n = 0;

        for (size_t i = 0; i < o->n; i++)
                if (o->sighted[i].pass == o->pass)
                        o->sighted[n++] = o->sighted[i];
        o->n = n;
}

/* ---- the end of a claim ---- */

static bool is_kubelets(const struct claim *claim)
{
        return claim->owner == OWNER_KUBELET && claim->n_devices == 1 && (claim->state == CLAIM_ANSWERED || claim->state == CLAIM_SEEN);
}

static void end_claim(struct observer *o, const struct claim *claim)
{
        _cleanup_claim_ struct claim former = { 0 };

        claim_copy(&former, claim);
        if (!release_claim(o->claims, former.key))
                return; /* the next list says so again */
        if (former.pod[0])
                log_debug("%s: its pod %s/%s is gone, its claim ends", former.devices[0].id, former.pod_namespace, former.pod);
        else
                log_info("%s: it was given to kubelet and no pod has it, its claim ends", former.devices[0].id);
}

struct asked {
        struct observer *observer;
        char device[DEVICE_ID_MAX];
        unsigned answers;
};

static void say_held(struct sighted *s, const struct claim *claim, const char *text)
{
        if (!s->held_said && claim->pod[0])
                log_info("%s: its pod %s/%s is gone, but its claim stays: %s", s->device, claim->pod_namespace, claim->pod, text);
        else if (!s->held_said)
                log_info("%s: no pod has it, but its claim stays: %s", s->device, text);
        s->held_said = true;
}

static void on_holders(void *ctx, const struct hands_result *result)
{
        _cleanup_free_ struct asked *asked = ctx;
        struct observer *o = asked->observer;
        struct sighted *s = find(o, asked->device);
        const struct claim *claim = ledger_claim_of(o->claims->ledger, asked->device);

        o->n_asking--;
        if (!s || s->answers != asked->answers || o->claims->stopping)
                return;
        s->asking = false;
        if (!claim || !is_kubelets(claim))
                return;
        /* Nobody; or it cannot be seen of all. What else a hand may say (it was late, it was lost) is no word on the matter. */
        if (result->end == PLAN_DONE || result->reason == REASON_HOLDERS_UNKNOWN)
                end_claim(o, claim);
        else if (result->reason == REASON_HELD)
                say_held(s, claim, result->text);
}

static void ask_holders_of(struct observer *o, struct sighted *s, const struct device *device)
{
        struct asked *asked = xcalloc(1, sizeof(*asked));
        _cleanup_free_ struct plan *plan = xcalloc(1, sizeof(*plan));

        *asked = (struct asked){ .observer = o, .answers = s->answers };
        (void)str_copy(asked->device, sizeof(asked->device), s->device);
        s->asking = true;
        o->n_asking++;
        plan_ask_holders(&device, 1, plan);
        hands_run(o->claims->hands, plan, o->claims->deadline_ms, NULL, on_holders, asked);
}

/* No pod has it. But a VM may be on its way out still; and what the kernel does not answer for is not let go. */
static void pod_gone(struct observer *o, struct sighted *s, const struct claim *claim)
{
        const struct claims_world *world = &o->claims->world;
        const struct device *device = offer_device(world->offer(world->ctx), s->device);

        if (s->asking || (device && device->reason == REASON_STUCK))
                return;
        if (!device || !world->may_be_held(world->ctx, device))
                end_claim(o, claim);
        else if (o->n_asking < ASKING_MAX)
                ask_holders_of(o, s, device);
}

/* ---- lists ---- */

static void pod_shown(struct observer *o, const struct claim *claim, const struct pod_device *pod)
{
        struct err err;

        if (claim->state == CLAIM_SEEN && streq(claim->pod_namespace, pod->pod_namespace) && streq(claim->pod, pod->pod) &&
            streq(claim->container, pod->container))
                return;
        _cleanup_claim_ struct claim seen = { 0 };
        claim_copy(&seen, claim);
        seen.state = CLAIM_SEEN;
        (void)str_copy(seen.pod_namespace, sizeof(seen.pod_namespace), pod->pod_namespace);
        (void)str_copy(seen.pod, sizeof(seen.pod), pod->pod);
        (void)str_copy(seen.container, sizeof(seen.container), pod->container);
        if (ledger_put_claim(o->claims->ledger, &seen, NULL, NULL, &err) < 0)
                log_error("%s: that pod %s/%s has it is not recorded: %s", pod->id, pod->pod_namespace, pod->pod, err.msg);
}

static void observe(void *ctx, const struct claim *claim)
{
        struct observer *o = ctx;

        if (!is_kubelets(claim))
                return;
        const struct pod_device *pod = pod_list_find(o->list, claim->devices[0].id);
        struct sighted *s = get(o, claim->devices[0].id);
        s->pass = o->pass;
        switch (claim_life_list(&s->life, o->list, pod != NULL)) {
        case SIGHT_SHOWN:
                s->held_said = false;
                pod_shown(o, claim, pod);
                break;
        case SIGHT_GONE:
                pod_gone(o, s, claim);
                break;
        case SIGHT_UNKNOWN:
                break;
        }
}

/* Kubelet says that a pod has it, and there is no record: the state directory is not the one that it was given under. */
static void adopt(struct observer *o, const struct pod_device *pod)
{
        const struct claims_world *world = &o->claims->world;
        const struct device *device = offer_device(world->offer(world->ctx), pod->id);

        if (!device || ledger_claim_of(o->claims->ledger, pod->id))
                return;
        log_info("%s: pod %s/%s has it, says kubelet; there was no record of it", pod->id, pod->pod_namespace, pod->pod);
        (void)claims_record(o->claims, device, pod->resource, device->mode, NULL, NULL);
        struct sighted *s = get(o, pod->id);
        claim_life_answered(&s->life, o->list->asked_ms - 1);
        s->pass = o->pass;
        (void)claim_life_list(&s->life, o->list, true);
        const struct claim *claim = ledger_claim_of(o->claims->ledger, pod->id);
        if (claim)
                pod_shown(o, claim, pod);
}

void observer_list(struct observer *observer, const struct pod_list *list)
{
        if (observer->claims->stopping)
                return;
        observer->list = list;
        observer->pass++;
        ledger_each_claim(observer->claims->ledger, observe, observer);
        for (size_t i = 0; i < list->n_devices; i++)
                adopt(observer, &list->devices[i]);
        forget_ended(observer);
        observer->list = NULL;
}

/* ---- life ---- */

struct observer *observer_new(struct claims *claims)
{
        struct observer *observer = xcalloc(1, sizeof(*observer));

        observer->claims = claims;
        return observer;
}

struct observer *observer_free(struct observer *observer)
{
        if (!observer)
                return NULL;
        free(observer->sighted);
        free(observer);
        return NULL;
}
