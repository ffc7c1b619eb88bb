/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share: the claims themselves and the queue of the cards. Loop thread. */
#ifndef SLUICE_CLAIMS_CLAIMS_PRIV_H
#define SLUICE_CLAIMS_CLAIMS_PRIV_H

#include "claims/claims.h"

struct turn;
struct turn_ops {
        void (*start)(struct turn *turn); /* no earlier turn has one of its cards: they are its own until turn_leave() */
        void (*stop)(struct turn *turn);  /* Sluice ends: what has not begun does not, what has leaves when it is over. May leave */
        /* Is a plan of it at work on @card; with @ended also: was one, and the world has not been looked at since? */
        bool (*changes)(const struct turn *turn, struct bdf card, bool ended);
};

/* One who waits for its cards, or has them; part of what it is the turn of. Who came first has them first. */
struct turn {
        const struct turn_ops *ops;
        struct turn *next;
        const struct bdf *cards; /* borrowed until turn_leave() */
        size_t n_cards;
        bool waits; /* to be started when its cards are free; set again by who wants to be started again */
};

struct observer;
struct patient;

struct claims {
        uv_loop_t *loop;
        struct hands *hands;
        struct ledger *ledger;
        struct claims_world world;
        unsigned deadline_ms;
        struct observer *observer;
        struct turn *turns; /* in order of arrival */
        size_t n_turns;
        size_t n_jobs;            /* of them, requests (prepare.c) */
        size_t n_idle;            /* units of the calls of idle_release() that have not ended */
        uv_timer_t *retry;        /* wakes those that wait for a descriptor to be closed */
        uv_timer_t *overdue;      /* who waits for the disk waits no longer */
        struct patient *patients; /* patient.h */
        size_t n_recovering;      /* of those that recovery_start() began, and that have not had their chance */
        void (*recovered)(void *ctx);
        void *recovered_ctx;
        bool stopping, pumping;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

/* Puts the claim of @device, which kubelet was answered, or is when @done has been called (ledger_put_claim()). False: there is no room,
 * which is logged, and @done is not called. */
bool claims_record(struct claims *claims, const struct device *device, const char *resource, enum device_mode mode, recorded_fn *done,
                   void *ctx);

void turn_join(struct claims *claims, struct turn *turn); /* it waits; turns_pump() starts it */
void turn_leave(struct claims *claims, struct turn *turn);
void turns_pump(struct claims *claims);
bool turns_any_on(const struct claims *claims, const struct bdf *cards, size_t n_cards); /* does one wait for, or have, one of @cards? */

#endif
