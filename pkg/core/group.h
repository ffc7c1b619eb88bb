/* SPDX-License-Identifier: Apache-2.0 */
/* The isolation verdict: may the IOMMU group be handed out, and if not, who spoils it. Pure.
 *
 * Facts: kernel VFIO group viability (a group is viable when every non-bridge member is on a VFIO driver, pci-stub or
 * without driver; since 5.19 pcieport and other DMA-less drivers are tolerated). Bridges (classes 0600, 0604, 0607, 0609:
 * host bridge and header type not 0) are ignored and never bound. 0680 with vendor 10de is an NVSwitch, not a bridge. A
 * member that is no PCI function (on Arm a platform device) is foreign. */
#ifndef SLUICE_CORE_GROUP_H
#define SLUICE_CORE_GROUP_H

#include "core/rules.h"

enum member_role {
        MEMBER_GPU,       /* a GPU by class and vendor, or by rule */
        MEMBER_COMPANION, /* audio, USB, UCSI, further display functions in the slot of a GPU of the group */
        MEMBER_BRIDGE,    /* ignored */
        MEMBER_FOREIGN    /* stays with the host, never bound by us: storage, network, the host's display and BMC graphics
                           * (unless a rule names their address), a GPU that carries VFs or vGPU instances, what a rule
                           * denies, and anything else */
};

struct group_verdict {
        enum reason reason;             /* REASON_NONE: viable now (n_to_bind == 0), or once n_to_bind members are bound. Else NO_GROUP,
                                         * NOIOMMU, GROUP_FOREIGN, GROUP_SEVERAL or GROUP_FOLLOWER */
        const struct function *culprit; /* who spoils it; with REASON_NONE the first other member on a host driver;
                                         * NULL = nobody, or a member that could not be read or is no PCI function. Borrowed from
                                         * the inventory */
        unsigned n_gpus, n_members;     /* members without bridges, @fn included */
        unsigned n_to_bind;             /* members to bind: @fn unless it is on VFIO, GPUs and companions on a host driver */
        char detail[DETAIL_MAX];        /* the culprit: "0000:01:00.1 (class 0200, driver ixgbe)"; "" = no culprit */
};

const char *member_role_name(enum member_role role); /* "gpu", "companion", "bridge", "foreign" */
enum member_role group_member_role(const struct inventory *inv, const struct rules *rules, const struct function *member);

/* True for vfio-pci, any *vfio_pci* and *-vfio-pci variant, and for a function with a vfio-dev entry. */
bool group_on_vfio(const struct function *fn);

/* True when VFIO accepts the member as it is: on VFIO, pci-stub, or without driver. */
bool group_member_accepted(const struct function *fn);

/* Shows the host's console: boot VGA, or owner of the firmware framebuffer. */
bool group_is_host_display(const struct function *fn);

/* Graphics of a management controller (ASPEED, Matrox). */
bool group_is_bmc(const struct function *fn);

/* Judges the group of @fn for handing out @fn whole. Two GPUs: GROUP_SEVERAL, or with GROUP_ONE_DEVICE the lowest address is
 * the device and the others are GROUP_FOLLOWER. A foreign member on a host driver spoils the group; one that is already set
 * aside (VFIO driver, pci-stub, or no driver and not the host's display) spoils it only when something would have to be
 * bound: a group with a foreign member is never bound by us, but one that an administrator prepared whole may be used. For a
 * vendor-VFIO VF pass @vendor_vfio: it stays on its driver, nothing is bound, its group must have no other member. */
struct group_verdict group_judge(const struct inventory *inv, const struct rules *rules, const struct function *fn, enum group_rule rule,
                                 bool vendor_vfio);

/* Card of a function: function 0 of its slot, for a VF of its PF's slot (also when there is no function 0). */
struct bdf card_of(const struct function *fn);

#endif
