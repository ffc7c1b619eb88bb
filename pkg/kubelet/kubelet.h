/* SPDX-License-Identifier: Apache-2.0 */
/* Kubelet's device plugin side: one server, listener and registration state machine per pool.
 *
 * Takes offers, keeps kubelet told (ListAndWatch: first change at once, followers gathered for 250 ms, latest value wins),
 * answers Allocate, PreStartContainer and GetPreferredAllocation through the door (claims), registers and re-registers.
 * Facts: device plugin API v1beta1; life cycle in docs/architecture.md. Loop thread. */
#ifndef SLUICE_KUBELET_KUBELET_H
#define SLUICE_KUBELET_KUBELET_H

#include <uv.h>

#include "claims/claims.h"
#include "config/config.h"
#include "rpc/rpc.h"

struct kubelet_config {
        const char *dir; /* kubelet's root, default /var/lib/kubelet; device-plugins/ and plugins_registry/ below it */
        enum registration registration;
        const char *sim_node; /* a simulated host's answers name this harmless host_path for every node; NULL = the real one */
};
struct kubelet;
/* Is the directory short enough for socket paths (107 bytes, names included)? */
int kubelet_check(const struct kubelet_config *config, struct err *err);
/* Fails as kubelet_check does, or when the directory cannot be watched. Kubelet, and its directories, may be absent for as
 * long as they like. */
int kubelet_start(struct kubelet **ret, uv_loop_t *loop, struct rpc *rpc, struct claims *claims, const struct kubelet_config *config,
                  struct err *err);
/* The offer from now on (takes a reference). Pools are added; a pool is never dropped while Sluice runs: its devices turn
 * Unhealthy (the offer sees to that). */
void kubelet_offer(struct kubelet *kubelet, struct offer *offer);

struct kubelet_status {
        const char *resource;
        const char *state;      /* "no-kubelet", "listening", "registering", "waiting", "serving", "backoff", "refused" */
        const char *problem;    /* last refusal or error, "" = none */
        unsigned registrations; /* successful ones since start */
};
size_t kubelet_status(const struct kubelet *kubelet, struct kubelet_status *ret, size_t max); /* count of pools */

/* Asks kubelet which pods have what; claims_observe() is told before @done is called, once, maybe at once: with NULL, or why kubelet
 * does not say. A node without kubelet's sockets has no pods. */
void kubelet_ask_pods(struct kubelet *kubelet, void (*done)(void *ctx, const char *why_not), void *ctx);

/* Ends streams, removes our sockets, stops servers; then @closed. Unbinds nothing. Calls that wait for the claims hold it
 * up: stop those too. */
void kubelet_stop(struct kubelet *kubelet, void (*closed)(void *ctx), void *ctx);
struct kubelet *kubelet_free(struct kubelet *kubelet);

#endif
