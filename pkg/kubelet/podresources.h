/* SPDX-License-Identifier: Apache-2.0 */
/* Asks kubelet, time and again, which pod has which of our devices (podresources v1, List): nobody else says that a device
 * is free again. Never asked for the sake of a call: an Allocate does not wait for it, nor it for an Allocate.
 *
 * Kubelet may be absent, start anew, be slow, refuse or answer nonsense for as long as it likes: then there is no list, and
 * nothing follows from that. Each call has a connection of its own, to the socket that is there at that moment. Loop thread. */
#ifndef SLUICE_KUBELET_PODRESOURCES_H
#define SLUICE_KUBELET_PODRESOURCES_H

#include <uv.h>

#include "core/claim_life.h"
#include "podresources.pb-c.h"
#include "rpc/rpc.h"

#ifndef PODRESOURCES_TIMES
#define PODRESOURCES_TIMES
enum {
        PODRESOURCES_POLL_MS = 15000,     /* an eighth more or less */
        PODRESOURCES_DEADLINE_MS = 10000, /* List waits for the lock of kubelet's device manager */
};
#endif
enum {
        PODRESOURCES_RECEIVE_MAX = 16 << 20,
        PODRESOURCES_DEVICES_MAX = 8192, /* of ours in one list */
        PODRESOURCES_SLOWER_MAX = 3,     /* kubelet that is asked too often: twice, four and eight times the pause */
};

struct podresources_config {
        const char *dir;                                        /* kubelet's root */
        unsigned poll_ms, deadline_ms;                          /* 0 = those above */
        unsigned (*every)(void *ctx);                           /* ask each time (1), each n-th time; 0 = there is nothing to learn now */
        bool (*is_ours)(void *ctx, const char *resource);       /* the rest is not kept */
        void (*listed)(void *ctx, const struct pod_list *list); /* borrowed */
        void *ctx;
};

struct podresources;
struct podresources *podresources_start(uv_loop_t *loop, struct rpc *rpc, const struct podresources_config *config);
void podresources_stop(struct podresources *podresources, void (*closed)(void *ctx), void *ctx); /* frees */

/* Asks now, whatever the timer says; a question that is under way counts not, what came after it may not be in the answer. @done is
 * called once, maybe at once: with NULL after listed(), else with why there is no list. */
typedef void podresources_fn(void *ctx, const char *why_not);
void podresources_ask(struct podresources *podresources, podresources_fn *done, void *ctx);

/* The devices of our resources in @msg, by id, each once; ids that can be none of ours are left out. Caller frees *@ret. -E2BIG: more
 * than PODRESOURCES_DEVICES_MAX; *@ret is untouched. Pure. */
int podresources_read(const V1__ListPodResourcesResponse *msg, bool (*is_ours)(void *ctx, const char *resource), void *ctx,
                      struct pod_device **ret, size_t *ret_n);

#endif
