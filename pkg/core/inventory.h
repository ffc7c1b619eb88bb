/* SPDX-License-Identifier: Apache-2.0 */
/* One immutable snapshot of a host's PCI, VFIO and mdev world, as pkg/host read it.
 *
 * Plain data: no descriptor, no decision. Built once (inventory_new, fill, inventory_seal), then only read, shared by
 * reference count and replaced whole. The loop thread owns the count. Every string in it is valid UTF-8 without control
 * bytes. What the host does not say is -1, "" or false as stated per field: unknown is never turned into a value. */
#ifndef SLUICE_CORE_INVENTORY_H
#define SLUICE_CORE_INVENTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "core/bdf.h"
#include "core/reason.h"

enum {
        DRIVER_LEN = 64,
        MODEL_LEN = 128,
        UUID_LEN = 37,
        MEMBER_LEN = 64,
        SUBSYSTEM_LEN = 32,
        TYPE_LEN = 64,
        ROOT_LEN = 16,
        RESET_LEN = 64,
        N_BARS = 6,
        BOOT_ID_LEN = 37,
        POWER_LEN = 8,
        OWNER_LEN = 96,
        VARIANT_ALIAS_LEN = 80,
};

struct bar {
        uint64_t start, size; /* bytes; size 0 = not implemented. start 0 with flags set = unassigned */
        uint64_t flags;       /* IORESOURCE_* as in the file "resource" */
};

/* A PCI function, from /sys/bus/pci/devices/<bdf>. */
struct function {
        struct bdf bdf;
        uint16_t vendor, device, subvendor, subdevice;
        uint32_t class_code; /* 0xCCSSPP */
        uint8_t revision;
        char vendor_name[MODEL_LEN]; /* from pci.ids, "" = unknown */
        char model[MODEL_LEN];       /* device name from pci.ids, "" = unknown id */
        char driver[DRIVER_LEN];     /* bound driver, "" = none */
        int numa_node;               /* -1 = unknown */

        char root[ROOT_LEN];  /* "pci0000:60", the nearest root above (behind a VMD: its own); "" = unknown */
        struct bdf root_port; /* first BDF below the root; equals bdf for a function on the root bus */
        struct bdf upstream;  /* the bridge directly above; equals bdf for a function on the root bus */

        int group;       /* IOMMU group, -1 = none */
        bool noiommu;    /* the group's name is vfio-noiommu: no protection */
        bool group_node; /* /dev/vfio/<group> (or noiommu-<group>) exists */
        int vfio_index;  /* N of vfio-dev/vfioN, -1 = not on a VFIO driver (or a kernel before 6.1) */
        bool cdev_node;  /* /dev/vfio/devices/vfioN exists */

        bool is_pf;         /* has sriov_totalvfs: SR-IOV capable, with or without VFs */
        unsigned total_vfs; /* sriov_totalvfs */
        unsigned n_vfs;     /* virtfnN links found (sriov_numvfs is a locked attribute and not read here) */
        bool is_vf;         /* has physfn */
        struct bdf physfn;  /* of a VF */
        int vf_index;       /* of a VF: its virtfnN number, -1 = unknown */

        int boot_vga;                   /* 1 / 0 / -1 = file absent */
        bool framebuffer;               /* a firmware framebuffer (/sys/class/graphics/fb*, or /proc/iomem inside a BAR) is its */
        char reset_methods[RESET_LEN];  /* space list; "" = none or unknown */
        char power_control[POWER_LEN];  /* "on" = never suspended, "auto"; "" = unknown */
        char d3cold_allowed[POWER_LEN]; /* "0", "1"; "" = unknown */
        struct bar bars[N_BARS];

        bool mdev_parent;         /* /sys/class/mdev_bus/<bdf> exists */
        bool vgpu_capable;        /* vendor-VFIO: nvidia/current_vgpu_type exists */
        uint32_t vgpu_type;       /* its content; 0 = no type set */
        char vgpu_name[TYPE_LEN]; /* name of vgpu_type ("NVIDIA L40S-24Q"), "" = not known */
        bool unbind_lock;         /* /proc/driver/nvidia/gpus/<bdf>/unbindLock exists */

        /* Locked attributes, known only after a hand's probe (see host/attribute.h). */
        bool override_known;
        char driver_override[DRIVER_LEN]; /* "" = none */
        char override_owner[OWNER_LEN];   /* of one that is no VFIO driver: "driverctl (...)"; "" = unknown */
};

/* An existing mediated device, from /sys/bus/mdev/devices/<uuid>. */
struct instance {
        char uuid[UUID_LEN];
        struct bdf parent;        /* the PCI function it hangs on (PF or VF) */
        char type_id[TYPE_LEN];   /* "nvidia-222" */
        char type_name[TYPE_LEN]; /* "GRID T4-1B"; the type_id where the type has no name file */
        char driver[DRIVER_LEN];
        int group; /* -1 = none */
        bool group_node;
};

/* Something that was there and could not be read whole: vanished or garbage in the middle of the read. */
struct broken {
        char name[64]; /* BDF or UUID as the directory said it, cleaned */
        enum reason reason;
        char detail[192];
        int group; /* the IOMMU group that it is known to be in: nobody knows what it does there; -1 = none, or unknown */
};

/* A member of an IOMMU group that is no PCI function (on Arm a platform device). Known of the groups of GPUs and of what is on
 * VFIO, where /sys/kernel/iommu_groups can be seen. */
struct outsider {
        int group;
        char name[MEMBER_LEN];
        char subsystem[SUBSYSTEM_LEN]; /* "platform"; "" = unknown */
        char driver[DRIVER_LEN];       /* "" = none; "?" = could not be read */
};

/* What a module of the running kernel says it can do as a VFIO driver: one of its aliases. */
struct variant {
        char module[DRIVER_LEN];       /* "nvgrace_gpu_vfio_pci" */
        char alias[VARIANT_ALIAS_LEN]; /* "vfio_pci:v000010DEd00002342sv*sd*bc*sc*i*" */
};

struct inventory {
        unsigned refs;
        struct function *functions; /* sorted by BDF */
        size_t n_functions;
        struct instance *instances; /* sorted by uuid */
        size_t n_instances;
        struct broken *broken;
        size_t n_broken;
        struct outsider *outsiders; /* sorted by group and name */
        size_t n_outsiders;
        char (*drivers)[DRIVER_LEN]; /* PCI drivers registered (/sys/bus/pci/drivers), sorted */
        size_t n_drivers;
        struct variant *variants; /* sorted; none where the module tree cannot be seen (inventory_set_variants) */
        size_t n_variants;
        bool iommu;                /* at least one IOMMU group exists */
        bool vfio_node;            /* /dev/vfio/vfio exists */
        bool iommufd_node;         /* /dev/iommu exists */
        bool holders_visible;      /* /proc/<pid>/fd of other processes can be read */
        char boot_id[BOOT_ID_LEN]; /* "" = unknown */
        /* Capacity of the arrays while being filled; 0 once sealed. */
        size_t cap_functions, cap_instances, cap_broken, cap_outsiders, cap_drivers;
};

struct inventory *inventory_new(void);                                          /* one reference */
struct function *inventory_add_function(struct inventory *inv, struct bdf bdf); /* unknowns preset; valid until the next add */
struct instance *inventory_add_instance(struct inventory *inv);                 /* group -1; valid until the next add */
/* Texts are cleaned and cut to fit. */
void inventory_add_broken(struct inventory *inv, const char *name, enum reason reason, const char *detail);
void inventory_add_outsider(struct inventory *inv, int group, const char *name, const char *subsystem, const char *driver);
void inventory_add_driver(struct inventory *inv, const char *driver);
void inventory_seal(struct inventory *inv); /* sorts; after this it is read only, but for what others know */
/* Copies @list. It comes from elsewhere than the look (host/modules.h), so of a sealed inventory, before it is shared. */
void inventory_set_variants(struct inventory *inv, const struct variant *list, size_t n);

struct inventory *inventory_ref(struct inventory *inv);
struct inventory *inventory_unref(struct inventory *inv); /* NULL-safe, returns NULL */
DEFINE_CLEANUP(struct inventory *, inventory_unref)
#define _cleanup_inventory_ _cleanup_(inventory_unrefp)

/* Look-ups in a sealed inventory; NULL = not there. Borrowed as long as the caller's reference. */
const struct function *inventory_function(const struct inventory *inv, struct bdf bdf);
const struct instance *inventory_instance(const struct inventory *inv, const char *uuid);
/* It is there, and could not be read: nobody knows what it is now. */
const struct broken *inventory_unread(const struct inventory *inv, struct bdf bdf);
bool inventory_has_driver(const struct inventory *inv, const char *driver);

/* The same world, whatever the references? Everything is compared: an answer must not come from an older snapshot. */
bool inventory_equal(const struct inventory *a, const struct inventory *b);

/* What changed from @old (may be NULL: everything is new) to @now: one call per function, instance or broken entry,
 * in order: functions, instances, broken, outsiders. @what is a short sentence, borrowed for the call ("appeared",
 * "driver nvidia -> vfio-pci, group none -> 45", "gone"); a broken entry's says its reason's sentence and detail. Both
 * inventories are sealed. */
typedef void inventory_change_fn(void *ctx, const char *name, const char *what);
void inventory_diff(const struct inventory *old, const struct inventory *now, inventory_change_fn *each, void *ctx);

#endif
