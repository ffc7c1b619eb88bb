/* SPDX-License-Identifier: Apache-2.0 */
/* PCI functions of any identity for an unmodified QEMU: a library to preload.
 *
 *   LD_PRELOAD=xpci.so qemu-system-x86_64 ... \
 *     -device xpci,bus=rp1,addr=0.0,multifunction=on,x-ids=10de:26b9:030200:10de:1851,x-vfs=8,x-vf-device=0x26b9
 *     -device xpci,bus=rp1,addr=0.1,x-ids=10de:22ba:040300
 *   monitor: qom-set /machine/peripheral/ID x-dead true      off the bus: configuration and BARs read as all ones
 *
 * Distributions' QEMU exports its symbols for its own modules, so a preloaded library can register a QOM type. None of
 * QEMU's headers is needed: what is used of its interface is declared here (the same in 7.2 to 10.0), and where
 * PCIDeviceClass lies in a class is found by looking at the class of the device "edu", whose ids are known. */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* QEMU's structures, as far as they are used. */
struct qom_interface {
        const char *type;
};
struct qom_type {
        const char *name, *parent;
        size_t instance_size, instance_align;
        void (*instance_init)(void *), (*instance_post_init)(void *), (*instance_finalize)(void *);
        bool abstract;
        size_t class_size;
        void (*class_init)(void *, void *), (*class_base_init)(void *, void *);
        void *class_data;
        struct qom_interface *interfaces;
};
struct region_ops {
        uint64_t (*read)(void *opaque, uint64_t at, unsigned n);
        void (*write)(void *opaque, uint64_t at, uint64_t value, unsigned n);
        void *read_attrs, *write_attrs;
        int endianness; /* 2: little */
        struct {
                unsigned min, max;
                bool unaligned;
                void *accepts;
        } valid;
        struct {
                unsigned min, max;
                bool unaligned;
        } impl;
};
/* The tail of PCIDeviceClass. */
struct pci_class {
        void (*realize)(void *device, void *error);
        void (*exit)(void *device);
        uint32_t (*config_read)(void *device, uint32_t at, int n);
        void (*config_write)(void *device, uint32_t at, uint32_t value, int n);
        uint16_t vendor, device;
        uint8_t revision;
        uint16_t class_id, subvendor, subdevice;
};
typedef void property_fn(void *object, void *visitor, const char *name, void *opaque, void *error);

/* QEMU's functions, all exported by the executable. */
void *type_register_static(const struct qom_type *type);
void *object_class_by_name(const char *name);
void *object_class_property_add(void *klass, const char *name, const char *type, property_fn *get, property_fn *set, void *release,
                                void *opaque);
bool visit_type_bool(void *visitor, const char *name, bool *value, void *error);
bool visit_type_uint32(void *visitor, const char *name, uint32_t *value, void *error);
bool visit_type_str(void *visitor, const char *name, char **value, void *error);
uint32_t pci_default_read_config(void *device, uint32_t at, int n);
void pci_default_write_config(void *device, uint32_t at, uint32_t value, int n);
int pcie_endpoint_cap_init(void *device, uint8_t at);
void pcie_cap_deverr_init(void *device);
void pcie_cap_flr_init(void *device);
void pcie_cap_flr_write_config(void *device, uint32_t at, uint32_t value, int n);
void pcie_cap_exit(void *device);
void pcie_ari_init(void *device, uint16_t at, uint16_t next);
int pcie_aer_init(void *device, uint8_t version, uint16_t at, uint16_t size, void *error);
void pcie_aer_write_config(void *device, uint32_t at, uint32_t value, int n);
void pcie_aer_exit(void *device);
void pcie_sriov_pf_init(void *device, uint16_t at, const char *vf_type, uint16_t vf_id, uint16_t initial, uint16_t total,
                        uint16_t vf_offset, uint16_t vf_stride, void *error);
void pcie_sriov_pf_exit(void *device);
void pcie_sriov_pf_init_vf_bar(void *device, int bar, uint8_t type, uint64_t size);
void pcie_sriov_vf_register_bar(void *device, int bar, void *region);
void pcie_sriov_config_write(void *device, uint32_t at, uint32_t value, int n);
void *pcie_sriov_get_pf(void *device);
void pci_register_bar(void *device, int bar, uint8_t type, void *region);
void memory_region_init_ram(void *region, void *owner, const char *name, uint64_t size, void *error);
void memory_region_init_io(void *region, void *owner, const struct region_ops *ops, void *opaque, const char *name, uint64_t size);

enum {
        INSTANCE_SIZE = 32768,
        STATE_AT = 12288,   /* beyond the end of any PCIDevice */
        REGION_SIZE = 1024, /* at least sizeof(MemoryRegion) */
        CAP_EXPRESS = 0x80,
        CAP_AER = 0x100,
        CAP_AER_SIZE = 0x48,
        CAP_ARI = 0x150,
        CAP_SRIOV = 0x160,
        BAR_MEM64_PREFETCH = 0x0c,
        PF_BAR0_SIZE = 16 << 20,
        VF_BAR0_SIZE = 1 << 20, /* MMIO: RAM behind a VF's BAR would be migrated memory, which QEMU refuses */
        BOOT_0 = 0x192000a1,    /* first register of an Ada GPU: what a VFIO user reads to see that it is there */
};

struct state {
        uint32_t vendor, device, class_code, subvendor, subdevice;
        uint32_t n_vfs, vf_device, vf_offset, bar1_mb;
        bool flr, dead;
        uint8_t bar0[REGION_SIZE] __attribute__((aligned(16))); /* MemoryRegion has a 128-bit integer */
        uint8_t bar1[REGION_SIZE] __attribute__((aligned(16)));
};

static struct state *state_of(void *device)
{
        return (struct state *)(void *)((char *)device + STATE_AT);
}

static struct pci_class *pci_class_of(void *klass)
{
        /* config ids of "edu": vendor 1234, device 11e8, revision 10 */
        static const uint8_t edu[] = { 0x34, 0x12, 0xe8, 0x11, 0x10 };
        static size_t at;

        if (at == 0) {
                const uint8_t *known = object_class_by_name("edu");

                for (size_t i = offsetof(struct pci_class, vendor); known != NULL && i < 1024; i += 2)
                        if (memcmp(known + i, edu, sizeof(edu)) == 0) {
                                at = i - offsetof(struct pci_class, vendor);
                                break;
                        }
                if (at == 0) {
                        (void)fprintf(stderr, "xpci: cannot find PCIDeviceClass in this QEMU\n");
                        exit(1);
                }
        }
        return (void *)((char *)klass + at);
}

/* Identity comes from the state, so that one QOM type serves every id; the rest is QEMU's. */
static uint8_t config_byte(void *device, uint32_t at)
{
        const struct state *s = state_of(device);

        switch (at) {
        case 0x00:
        case 0x01:
                return (uint8_t)(s->vendor >> 8 * at);
        case 0x02:
        case 0x03:
                return (uint8_t)(s->device >> 8 * (at - 0x02));
        case 0x08:
                return 0xa1;
        case 0x09:
        case 0x0a:
        case 0x0b:
                return (uint8_t)(s->class_code >> 8 * (at - 0x09));
        case 0x2c:
        case 0x2d:
                return (uint8_t)(s->subvendor >> 8 * (at - 0x2c));
        case 0x2e:
        case 0x2f:
                return (uint8_t)(s->subdevice >> 8 * (at - 0x2e));
        default:
                return (uint8_t)pci_default_read_config(device, at, 1);
        }
}

static uint32_t config_read(void *device, uint32_t at, int n)
{
        uint32_t value = 0;

        for (int i = 0; i < n; i++)
                value |= (uint32_t)(state_of(device)->dead ? 0xff : config_byte(device, at + (uint32_t)i)) << 8 * i;
        return value;
}

static void config_write(void *device, uint32_t at, uint32_t value, int n)
{
        const struct state *s = state_of(device);

        if (s->dead)
                return;
        if (s->n_vfs > 0)
                pcie_sriov_config_write(device, at, value, n);
        pci_default_write_config(device, at, value, n);
        if (s->flr)
                pcie_cap_flr_write_config(device, at, value, n);
        pcie_aer_write_config(device, at, value, n);
}

static uint64_t bar_read(void *device, uint64_t at, unsigned n)
{
        (void)n;
        if (state_of(device)->dead)
                return UINT64_MAX;
        return at == 0 ? BOOT_0 : 0;
}

static void bar_write(void *device, uint64_t at, uint64_t value, unsigned n)
{
        (void)device;
        (void)at;
        (void)value;
        (void)n;
}

static const struct region_ops bar_ops = {
        .read = bar_read,
        .write = bar_write,
        .endianness = 2,
        .valid = { .min = 1, .max = 8, .unaligned = true },
        .impl = { .min = 1, .max = 8, .unaligned = true },
};

static void pf_realize(void *device, void *error)
{
        struct state *s = state_of(device);

        (void)pcie_endpoint_cap_init(device, CAP_EXPRESS);
        pcie_cap_deverr_init(device);
        if (s->flr)
                pcie_cap_flr_init(device);
        (void)pcie_aer_init(device, 2, CAP_AER, CAP_AER_SIZE, error);
        memory_region_init_io(s->bar0, device, &bar_ops, device, "xpci-bar0", PF_BAR0_SIZE);
        pci_register_bar(device, 0, 0, s->bar0);
        if (s->bar1_mb > 0) {
                memory_region_init_ram(s->bar1, device, "xpci-bar1", (uint64_t)s->bar1_mb << 20, error);
                pci_register_bar(device, 1, BAR_MEM64_PREFETCH, s->bar1);
        }
        if (s->n_vfs > 0) {
                pcie_ari_init(device, CAP_ARI, 1);
                pcie_sriov_pf_init(device, CAP_SRIOV, "xpci-vf", (uint16_t)s->vf_device, (uint16_t)s->n_vfs, (uint16_t)s->n_vfs,
                                   (uint16_t)s->vf_offset, 1, error);
                pcie_sriov_pf_init_vf_bar(device, 0, 0, VF_BAR0_SIZE);
        }
}

static void pf_exit(void *device)
{
        if (state_of(device)->n_vfs > 0)
                pcie_sriov_pf_exit(device);
        pcie_aer_exit(device);
        pcie_cap_exit(device);
}

static void vf_realize(void *device, void *error)
{
        struct state *s = state_of(device);
        const struct state *pf = state_of(pcie_sriov_get_pf(device));

        *s = (struct state){
                .vendor = 0xffff, /* a VF's own id registers read as ones; the PF's capability names them */
                .device = 0xffff,
                .class_code = pf->class_code,
                .subvendor = pf->subvendor,
                .subdevice = pf->subdevice,
                .flr = true,
        };
        (void)pcie_endpoint_cap_init(device, CAP_EXPRESS);
        pcie_cap_deverr_init(device);
        pcie_cap_flr_init(device);
        (void)pcie_aer_init(device, 2, CAP_AER, CAP_AER_SIZE, error);
        pcie_ari_init(device, CAP_ARI, 1);
        memory_region_init_io(s->bar0, device, &bar_ops, device, "xpci-vf-bar0", VF_BAR0_SIZE);
        pcie_sriov_vf_register_bar(device, 0, s->bar0);
}

static void vf_exit(void *device)
{
        pcie_aer_exit(device);
        pcie_cap_exit(device);
}

/* Properties: @opaque is the offset of the member in struct state. */
static void property_u32(void *object, void *visitor, const char *name, void *opaque, void *error)
{
        (void)visit_type_uint32(visitor, name, (void *)((char *)state_of(object) + (size_t)opaque), error);
}

static void property_bool(void *object, void *visitor, const char *name, void *opaque, void *error)
{
        (void)visit_type_bool(visitor, name, (void *)((char *)state_of(object) + (size_t)opaque), error);
}

static void ids_get(void *object, void *visitor, const char *name, void *opaque, void *error)
{
        const struct state *s = state_of(object);
        char text[64], *p = text;

        (void)opaque;
        (void)snprintf(text, sizeof(text), "%04x:%04x:%06x:%04x:%04x", s->vendor, s->device, s->class_code, s->subvendor, s->subdevice);
        (void)visit_type_str(visitor, name, &p, error);
}

static void ids_set(void *object, void *visitor, const char *name, void *opaque, void *error)
{
        struct state *s = state_of(object);
        char *text = NULL;

        (void)opaque;
        if (!visit_type_str(visitor, name, &text, error))
                return;
        s->subvendor = s->subdevice = 0;
        if (sscanf(text, "%x:%x:%x:%x:%x", &s->vendor, &s->device, &s->class_code, &s->subvendor, &s->subdevice) < 3) {
                (void)fprintf(stderr, "xpci: x-ids=%s is not VENDOR:DEVICE:CLASS[:SUBVENDOR:SUBDEVICE]\n", text);
                exit(1);
        }
        free(text);
}

static void add_property(void *klass, const char *name, const char *type, property_fn *fn, size_t member)
{
        (void)object_class_property_add(klass, name, type, fn, fn, NULL, (void *)member);
}

static void class_common(void *klass, void (*realize)(void *, void *), void (*unrealize)(void *), uint16_t device)
{
        struct pci_class *c = pci_class_of(klass);

        c->realize = realize;
        c->exit = unrealize;
        c->config_read = config_read;
        c->config_write = config_write;
        c->vendor = 0x10de;
        c->device = device;
        c->class_id = 0x0302;
        add_property(klass, "x-dead", "bool", property_bool, offsetof(struct state, dead));
}

static void pf_class_init(void *klass, void *data)
{
        (void)data;
        class_common(klass, pf_realize, pf_exit, 0x26b9);
        add_property(klass, "x-vfs", "uint32", property_u32, offsetof(struct state, n_vfs));
        add_property(klass, "x-vf-device", "uint32", property_u32, offsetof(struct state, vf_device));
        add_property(klass, "x-vf-offset", "uint32", property_u32, offsetof(struct state, vf_offset));
        add_property(klass, "x-bar1-mb", "uint32", property_u32, offsetof(struct state, bar1_mb));
        add_property(klass, "x-flr", "bool", property_bool, offsetof(struct state, flr));
        (void)object_class_property_add(klass, "x-ids", "str", ids_get, ids_set, NULL, NULL);
}

static void vf_class_init(void *klass, void *data)
{
        (void)data;
        class_common(klass, vf_realize, vf_exit, 0xffff);
}

static void pf_init(void *device)
{
        *state_of(device) = (struct state){
                .vendor = 0x10de,
                .device = 0x26b9,
                .class_code = 0x030200,
                .subvendor = 0x10de,
                .subdevice = 0x1851,
                .vf_device = 0x26b9,
                .vf_offset = 4,
                .flr = true,
        };
}

__attribute__((constructor)) static void xpci_register(void)
{
        static struct qom_interface express[] = { { "pci-express-device" }, { NULL } };
        static const struct qom_type pf = {
                .name = "xpci",
                .parent = "pci-device",
                .instance_size = INSTANCE_SIZE,
                .instance_init = pf_init,
                .class_init = pf_class_init,
                .interfaces = express,
        };
        static const struct qom_type vf = {
                .name = "xpci-vf",
                .parent = "pci-device",
                .instance_size = INSTANCE_SIZE,
                .class_init = vf_class_init,
                .interfaces = express,
        };

        /* Also preloaded into whatever QEMU starts. */
        if (strncmp(program_invocation_short_name, "qemu-system", strlen("qemu-system")) != 0)
                return;
        (void)type_register_static(&pf);
        (void)type_register_static(&vf);
}
