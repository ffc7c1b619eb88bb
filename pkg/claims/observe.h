/* SPDX-License-Identifier: Apache-2.0 */
/* What follows for kubelet's claims from the lists of what pods have: whose they are, which have ended (core/claim_life.h),
 * and which no record tells of, since the state directory was lost. A claim whose pod is gone ends when nobody has the device
 * open any more; where that cannot be seen, kubelet's word is enough. Loop thread. */
#ifndef SLUICE_CLAIMS_OBSERVE_H
#define SLUICE_CLAIMS_OBSERVE_H

#include "claims/claims.h"

struct observer;
struct observer *observer_new(struct claims *claims);
struct observer *observer_free(struct observer *observer); /* no hand is at work any more. NULL-safe, returns NULL */

/* Kubelet was answered that @device is a pod's: to be called each time, also when it had been answered so before. */
void observer_answered(struct observer *observer, const char *device);
void observer_list(struct observer *observer, const struct pod_list *list);

#endif
