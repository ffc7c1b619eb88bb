/* SPDX-License-Identifier: Apache-2.0 */
/* What idle.c (the turns) and idle_units.c (what there is to give back) share. */
#ifndef SLUICE_CLAIMS_IDLE_PRIV_H
#define SLUICE_CLAIMS_IDLE_PRIV_H

#include "claims/claims_priv.h"
#include "claims/idle.h"

struct idle;

/* What is bound and given back together. */
struct unit {
        struct turn turn;
        struct idle *idle;
        struct bdf *functions, *cards; /* cards are sorted and without repeats */
        size_t n_functions;
        struct plan *plan;
        bool withheld;            /* by this unit, from new pods */
        bool at_work, just_ended; /* its plan; the look at what that did is under way */
        bool recording;           /* the disk has the word */
        struct idle_outcome outcome;
};

/* One call. */
struct idle {
        struct claims *claims;
        bool dry_run;
        bool pods_known;
        char why_unknown[ERR_MSG_MAX];
        struct unit *units;
        size_t n_units, n_open;
        struct idle_outcome *nothing; /* of names that no unit has */
        size_t n_nothing;
        idle_fn *done;
        void *ctx;
};

/* Those that @request wants, at most IDLE_UNITS_MAX: idle->units has room for one more. -E2BIG: there are more. */
int idle_make_units(struct idle *idle, const struct idle_request *request, struct err *err);

/* The next device of the unit in the offer, from *@at on; NULL = no more. */
const struct device *unit_next_device(const struct unit *unit, size_t *at);
bool unit_is_named(const struct unit *unit, const char *name); /* by the id of a device, or the address of a function */

#endif
