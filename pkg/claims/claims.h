/* SPDX-License-Identifier: Apache-2.0 */
/* THE door: who was given what. Device plugin, node API, reconcile and later DRA come through here and nowhere else.
 *
 * claims_prepare checks the whole request before anything is touched, plans, records what it is about to do, runs the plan on
 * the queue of the cards it concerns (one plan per card at a time), records that it is done, and answers. Loop thread; @done is called
 * exactly once, possibly before claims_prepare returns when no plan is needed. */
#ifndef SLUICE_CLAIMS_CLAIMS_H
#define SLUICE_CLAIMS_CLAIMS_H

#include <uv.h>

#include "claims/ledger.h"
#include "core/answer.h"
#include "core/claim_life.h"
#include "core/offer.h"
#include "hands/hands.h"

struct claim_request {
        enum claim_owner owner;
        const char *key;      /* node API: the caller's claim id; kubelet: NULL, the devices are the key */
        const char *resource; /* the pool */
        char *const *devices; /* ids, any order */
        size_t n_devices;
        enum device_mode mode;
        bool verify_only; /* PreStartContainer: verify, re-bind if needed, no new claim */
};

struct claim_result {
        enum reason reason;          /* REASON_NONE: @answer is valid */
        const char *text;            /* a sentence for the person who reads the pod's event; "" when granted */
        const struct answer *answer; /* borrowed for the call; NULL when refused or verify_only */
};
typedef void claims_done_fn(void *ctx, const struct claim_result *result);

struct claims;
/* What the claims see of the world; all borrowed, loop thread. */
struct claims_world {
        void *ctx;
        const struct inventory *(*inventory)(void *ctx); /* current */
        const struct offer *(*offer)(void *ctx);
        const struct rules *(*rules)(void *ctx);
        const struct inventory *(*rescan)(void *ctx);               /* look now: after a plan ran */
        bool (*is_current)(void *ctx, const struct device *device); /* still the card, driver and group of the snapshot? */
        void (*mark)(void *ctx, const char *device, enum reason reason, const char *detail); /* broken */
        /* All that hangs on the card, or shares a group with it, for this boot. */
        void (*mark_stuck)(void *ctx, struct bdf card, const char *detail);
        /* May a process have the device open? Told by a read or two; false also where holders cannot be seen at all. */
        bool (*may_be_held)(void *ctx, const struct device *device);
        /* For what is given back at an operator's word (idle.h). No new pod gets @device, until this daemon ends or somebody says
         * otherwise; or again, as before. */
        void (*withhold)(void *ctx, const char *device, bool on);
        /* Asks kubelet anew which pods have what. @done is called once, maybe at once: with NULL when claims_observe() has had the answer,
         * else with why there is none. */
        void (*ask_pods)(void *ctx, void (*done)(void *ctx, const char *why_unknown), void *done_ctx);
};
/* @ledger is borrowed until claims_free. */
struct claims *claims_new(uv_loop_t *loop, struct hands *hands, struct ledger *ledger, const struct claims_world *world,
                          unsigned deadline_ms);
void claims_prepare(struct claims *claims, const struct claim_request *request, claims_done_fn *done, void *ctx);
bool claims_at_work(const struct claims *claims, struct bdf card); /* is a plan at work on it? */
/* Is it ours what changes on @card? Also true in the look at what the last plan did. */
bool claims_change(const struct claims *claims, struct bdf card);

/* Who has what, and what Sluice bound: ledger.h. */
void claims_each(const struct claims *claims, claim_fn *each, void *ctx);
const struct claim *claims_of_device(const struct claims *claims, const char *device); /* NULL = nobody's */
bool claims_of_kubelet(const struct claims *claims, const char *resource);             /* is there one, from that pool? NULL = from any */
const struct original *claims_original(const struct claims *claims, struct bdf bdf);   /* NULL = not bound by Sluice */

/* What pods have, says kubelet: observe.h. */
void claims_observe(struct claims *claims, const struct pod_list *list);

void claims_set_deadline(struct claims *claims, unsigned deadline_ms);
void claims_stop(struct claims *claims, void (*closed)(void *ctx), void *ctx); /* pending requests: TOO_LATE */
struct claims *claims_free(struct claims *claims);

#endif
