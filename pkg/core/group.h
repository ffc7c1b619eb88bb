/* SPDX-License-Identifier: Apache-2.0 */
/* The isolation verdict: may the IOMMU group be handed out, and if not, who spoils it.
 *
 * Facts: kernel VFIO group viability (a group is viable when every non-bridge member is on a VFIO driver, pci-stub or
 * without driver; since 5.19 pcieport and other DMA-less drivers are tolerated). Bridges (class 0604, 0600; header type
 * not 0) are ignored and never bound. 0680 with vendor 10de is an NVSwitch, not a bridge. */
#ifndef SLUICE_CORE_GROUP_H
#define SLUICE_CORE_GROUP_H

#include "core/rules.h"

enum member_role {
        MEMBER_GPU,       /* a GPU by class or rule */
        MEMBER_COMPANION, /* audio, USB, UCSI in the slot of a GPU of the group */
        MEMBER_BRIDGE,    /* ignored */
        MEMBER_FOREIGN    /* storage, network, boot VGA, anything else: never bound */
};

struct group_verdict {
        enum reason reason; /* REASON_NONE: viable now, or after binding (n_to_bind > 0) when @bindable */
        const struct function *culprit; /* who spoils it; NULL when viable */
        unsigned n_gpus, n_members;     /* members without bridges */
        unsigned n_to_bind;             /* members on a host driver that would have to be bound */
        char detail[DETAIL_MAX];        /* "0000:01:00.1 (class 0200, driver ixgbe)", "" = nothing to add */
};

enum member_role group_member_role(const struct inventory *inv, const struct rules *rules, const struct function *member);

/* True for vfio-pci, any *vfio_pci* / *vfio-pci variant, and for a function with a vfio-dev entry. */
bool group_on_vfio(const struct function *fn);

/* Judges the group of @fn for handing out @fn whole. GROUP_SEVERAL unless @rule is GROUP_ONE_DEVICE. For a vendor-VFIO VF
 * pass @vendor_vfio: it stays on its driver, its group must have no other member. */
struct group_verdict group_judge(const struct inventory *inv, const struct rules *rules, const struct function *fn,
                                 enum group_rule rule, bool vendor_vfio);

/* Card of a function: its PF for a VF, function 0 of the slot otherwise (also when function 0 is absent). */
struct bdf card_of(const struct function *fn);

#endif
