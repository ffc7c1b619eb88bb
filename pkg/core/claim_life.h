/* SPDX-License-Identifier: Apache-2.0 */
/* How long kubelet's claims live: nobody says that a device is given back, so podresources' lists of what pods have are all
 * there is to go by. A list that could not be had is no list: unknown is not free.
 *
 *  - A list that was asked for before the answer says nothing of the claim: it may still show the device's former pod.
 *  - Shown by this kubelet since the answer, and then not, twice, CLAIM_GRACE_MS apart: its pod is gone.
 *  - Never shown by this kubelet: gone when its lists have left it out for CLAIM_UNSEEN_MS. Allocate is answered before
 *    kubelet writes the device down, and its pod may yet be refused; and a kubelet that has just started knows its static pods
 *    before those of the API server. So another kubelet starts the life anew, and so does another daemon.
 *
 * Pure. Times are monotonic milliseconds: nothing here goes by the wall clock. */
#ifndef SLUICE_CORE_CLAIM_LIFE_H
#define SLUICE_CORE_CLAIM_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/claim.h"

#ifndef CLAIM_TIMES
#define CLAIM_TIMES
enum { CLAIM_GRACE_MS = 10000, CLAIM_UNSEEN_MS = 300000 };
#endif

/* One device that a list shows; a device on several NUMA nodes is one all the same. */
struct pod_device {
        char id[DEVICE_ID_MAX];
        char resource[RESOURCE_MAX];
        char pod_namespace[NAMESPACE_MAX], pod[POD_NAME_MAX], container[CONTAINER_MAX];
};

/* A whole list: what it does not name no pod has. */
struct pod_list {
        int64_t asked_ms;                 /* when it was asked for */
        unsigned kubelet;                 /* number of the kubelet that answered: every start of one has its own. Never 0 */
        const struct pod_device *devices; /* by id, each once */
        size_t n_devices;
};
const struct pod_device *pod_list_find(const struct pod_list *list, const char *id); /* NULL = no pod has it */

/* Beside a claim of kubelet's, for as long as the daemon lives. */
struct claim_life {
        int64_t answered_ms; /* the last answer, or the daemon's start */
        unsigned kubelet;    /* whose lists the rest is of; 0 = none yet */
        bool shown;          /* by one of them */
        bool missing;        /* the last of them did not show it, */
        int64_t missing_ms;  /* and this was the first in a row that did not */
};

void claim_life_answered(struct claim_life *life, int64_t now_ms); /* begins, or begins anew: the same id was asked for again */

enum claim_sight {
        SIGHT_UNKNOWN, /* the list says nothing yet */
        SIGHT_SHOWN,   /* a pod has it */
        SIGHT_GONE     /* no pod has it any more; said again by every further list */
};
/* @shown: is the claim's device in @list? */
enum claim_sight claim_life_list(struct claim_life *life, const struct pod_list *list, bool shown);

#endif
