/* SPDX-License-Identifier: Apache-2.0 */
/* Short names for the messages of api/node/v1, and what is known here as such a message. sluiced sends them, sluicectl shows
 * them, whether they came over the socket or were made from a look of its own: there is one way to show a thing. Pure.
 *
 * What is made lies in the given pile and borrows texts of the inventory, offer, rules and claims it was made from: it is valid
 * for as long as all of them. */
#ifndef SLUICE_PRESENT_MESSAGES_H
#define SLUICE_PRESENT_MESSAGES_H

#include "base/pile.h"
#include "core/offer.h"
#include "node.pb-c.h"

#define PB_NAME(Name, name) typedef Sluice__Node__V1__##Name pb_##name
PB_NAME(Reason, reason);
PB_NAME(Host, host);
PB_NAME(Device, device);
PB_NAME(Pool, pool);
PB_NAME(Broken, broken);
PB_NAME(Warning, warning);
PB_NAME(NodeListDevicesRequest, node_list_devices_request);
PB_NAME(NodeListDevicesResponse, node_list_devices_response);
PB_NAME(Pod, pod);
PB_NAME(Claim, claim);
PB_NAME(NodeListPreparedRequest, node_list_prepared_request);
PB_NAME(NodeListPreparedResponse, node_list_prepared_response);
PB_NAME(NodeExplainRequest, node_explain_request);
PB_NAME(NodeExplainResponse, node_explain_response);
PB_NAME(GroupMember, group_member);
PB_NAME(Group, group);
PB_NAME(Rule, rule);
PB_NAME(Cordon, cordon);
PB_NAME(Holder, holder);
PB_NAME(Holders, holders);
PB_NAME(Original, original);
PB_NAME(Step, step);
PB_NAME(Plan, plan);
PB_NAME(NodeCordonRequest, node_cordon_request);
PB_NAME(NodeCordonResponse, node_cordon_response);
PB_NAME(NodeUncordonRequest, node_uncordon_request);
PB_NAME(NodeUncordonResponse, node_uncordon_response);
PB_NAME(NodeReleaseIdleRequest, node_release_idle_request);
PB_NAME(ReleaseOutcome, release_outcome);
PB_NAME(NodeReleaseIdleResponse, node_release_idle_response);
PB_NAME(GetPluginInfoRequest, get_plugin_info_request);
PB_NAME(GetPluginInfoResponse, get_plugin_info_response);
PB_NAME(ProbeRequest, probe_request);
PB_NAME(ProbeResponse, probe_response);
#undef PB_NAME

/* A fresh one, as by its INIT: pb_new(pile, device). */
#define pb_new(pile, name) ((pb_##name *)pb_make(pile, &sluice__node__v1__##name##__descriptor))
void *pb_make(struct pile *pile, const ProtobufCMessageDescriptor *descriptor);

/* protobuf-c's texts are not const; nobody writes to them. */
static inline char *pb_text(const char *s)
{
        return (char *)(uintptr_t)s;
}

pb_reason *pb_reason_of(struct pile *pile, enum reason reason, const char *detail); /* NULL for REASON_NONE */
pb_device *pb_device_of(struct pile *pile, const struct inventory *inv, const struct device *device);
pb_pool *pb_pool_of(struct pile *pile, const struct offer *offer, const struct pool *pool);

enum { DEVICES_PAGE_MAX = 512 };
/* The page of at most @page_size (1 to DEVICES_PAGE_MAX) devices that come after the id @after ("" = the first page). */
pb_node_list_devices_response *pb_devices_of(struct pile *pile, const struct inventory *inv, const struct offer *offer, const char *after,
                                             size_t page_size);

#endif
