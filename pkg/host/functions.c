/* SPDX-License-Identifier: Apache-2.0 */
/* The functions on the PCI bus, each read whole through one descriptor of its directory, or accounted for as broken. */
#include "host/scan_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "base/str.h"
#include "core/gpu_ids.h"
#include "host/attribute.h"
#include "host/value.h"

enum { VENDOR_NVIDIA = 0x10de, RESOURCE_TEXT_MAX = 4096 };

static unsigned base_class(const struct function *fn)
{
        return fn->class_code >> 16;
}

/* Bridges (06xx, but not 0680: NVSwitches) are members of groups and nothing else: the rest is not read. */
static bool is_bridge(const struct function *fn)
{
        return base_class(fn) == 0x06 && fn->class_code >> 8 != 0x0680;
}

/* A link that says "none" by its absence. */
static int read_link(int dir, const char *name, char *buf, size_t size, struct err *err)
{
        int r = fs_readlink_last(dir, name, buf, size, err);

        if (r < 0)
                buf[0] = '\0';
        return r < 0 && fs_gone(r) ? 0 : r;
}

/* One hexadecimal attribute; absent is 0 unless @needed. */
static int read_id(int dir, const char *name, uint64_t max, bool needed, uint64_t *ret, struct err *err)
{
        int r = attribute_number(dir, name, 16, max, ret, err);

        if (r < 0 && (needed || !fs_gone(r)))
                return r;
        if (r < 0)
                *ret = 0;
        return 0;
}

/* Hand-made hosts have no modalias, or not every other file. */
static int read_ids_singly(int dir, struct value_ids *ret, struct err *err)
{
        uint64_t class_code, vendor, device, subvendor, subdevice;
        int r;

        if ((r = read_id(dir, "class", 0xffffff, true, &class_code, err)) < 0 ||
            (r = read_id(dir, "vendor", 0xffff, true, &vendor, err)) < 0 || (r = read_id(dir, "device", 0xffff, true, &device, err)) < 0 ||
            (r = read_id(dir, "subsystem_vendor", 0xffff, false, &subvendor, err)) < 0 ||
            (r = read_id(dir, "subsystem_device", 0xffff, false, &subdevice, err)) < 0)
                return r;
        *ret = (struct value_ids){
                .vendor = (uint16_t)vendor,
                .device = (uint16_t)device,
                .subvendor = (uint16_t)subvendor,
                .subdevice = (uint16_t)subdevice,
                .class_code = (uint32_t)class_code,
        };
        return 0;
}

/* modalias says in one read, of one moment, what five other files say: a third of a look's system calls. */
static int read_ids(int dir, struct function *fn, struct err *err)
{
        char modalias[128];
        struct value_ids ids;
        uint64_t revision;
        int r;

        if (attribute_read(dir, "modalias", modalias, sizeof(modalias), err) < 0 || !value_modalias(modalias, &ids)) {
                r = read_ids_singly(dir, &ids, err);
                if (r < 0)
                        return r;
        }
        fn->class_code = ids.class_code;
        fn->vendor = ids.vendor;
        fn->device = ids.device;
        if (is_bridge(fn))
                return 0;
        fn->subvendor = ids.subvendor;
        fn->subdevice = ids.subdevice;
        r = read_id(dir, "revision", 0xff, false, &revision, err);
        if (r == 0)
                fn->revision = (uint8_t)revision;
        return r;
}

static int read_numa(int dir, struct function *fn, struct err *err)
{
        char text[64];

        int r = attribute_read(dir, "numa_node", text, sizeof(text), err);
        if (r < 0)
                return fs_gone(r) ? 0 : r; /* a kernel without NUMA */
        return value_numa(text, &fn->numa_node) ? 0 : err_say(err, EBADMSG, "numa_node says \"%.60s\"", text);
}

/* A host made by hand may have a plain directory here: the place is unknown then. */
static int read_place(const struct scan *scan, const char *name, struct function *fn, struct err *err)
{
        char target[PATH_MAX];
        struct value_place place;

        int r = fs_readlink(scan->bus, name, target, sizeof(target), err);
        if (r == -EINVAL)
                return 0;
        if (r < 0)
                return r;
        if (!value_place(target, fn->bdf, &place))
                return err_say(err, EBADMSG, "its link points to \"%.120s\"", target);
        (void)str_copy(fn->root, sizeof(fn->root), place.root);
        fn->root_port = place.root_port;
        fn->upstream = place.upstream;
        return 0;
}

static int read_group(struct scan *scan, int dir, struct function *fn, struct err *err)
{
        struct group_fact fact = { 0 };

        int r = groups_read(scan, dir, "iommu_group", &fn->group, &fact, err);
        if (r == 0) {
                fn->noiommu = fact.noiommu;
                fn->group_node = fact.node;
        }
        return r;
}

static int read_vfio(struct scan *scan, int dir, struct function *fn, struct err *err)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        char node[64];

        int r = scan_list(dir, "vfio-dev", &names, err);
        for (size_t i = 0; r == 0 && i < names.n; i++) {
                if (!value_index(names.names[i], "vfio", &fn->vfio_index) || !scan_has(&scan->vfio_cdevs, names.names[i]))
                        continue;
                str_format(node, sizeof(node), "vfio/devices/%s", names.names[i]);
                r = groups_node_exists(scan, node, &fn->cdev_node, err);
        }
        return r;
}

static int read_bars(int dir, struct function *fn, struct err *err)
{
        char text[RESOURCE_TEXT_MAX];

        /* Not attribute_read, which makes one line of it. */
        assert(host_attribute_is_free("resource"));
        int r = fs_read(dir, "resource", text, sizeof(text), NULL, err);
        if (r < 0)
                return fs_gone(r) ? 0 : r;
        return value_resource(text, fn->bars) ? 0 : err_say(err, EBADMSG, "resource says \"%.60s\"", text);
}

static int read_boot_vga(int dir, struct function *fn, struct err *err)
{
        uint64_t value;

        if (fn->class_code >> 8 != 0x0300)
                return 0; /* the kernel makes the file for VGA only */
        int r = attribute_number(dir, "boot_vga", 10, 1, &value, err);
        if (r < 0)
                return fs_gone(r) ? 0 : r;
        fn->boot_vga = (int)value;
        return 0;
}

static int read_reset(int dir, struct function *fn, struct err *err)
{
        int r = attribute_read(dir, "reset_method", fn->reset_methods, sizeof(fn->reset_methods), err);

        if (r < 0)
                fn->reset_methods[0] = '\0';
        return r < 0 && fs_gone(r) ? 0 : r; /* absent before 5.15, and where no method works */
}

/* Absent where the kernel has no power management. */
static int read_power(int dir, struct function *fn, struct err *err)
{
        int r = attribute_read(dir, "power/control", fn->power_control, sizeof(fn->power_control), err);

        if (r < 0)
                fn->power_control[0] = '\0';
        if (r == 0 || fs_gone(r))
                r = attribute_read(dir, "d3cold_allowed", fn->d3cold_allowed, sizeof(fn->d3cold_allowed), err);
        if (r < 0)
                fn->d3cold_allowed[0] = '\0';
        return r < 0 && fs_gone(r) ? 0 : r;
}

/* Vendor-VFIO: a vGPU type that is set stays known by its number; its name where the built-in table has it. */
static int read_vgpu(int dir, struct function *fn, struct err *err)
{
        uint64_t type;

        if (fn->vendor != VENDOR_NVIDIA)
                return 0;
        int r = attribute_number(dir, "nvidia/current_vgpu_type", 10, UINT32_MAX, &type, err);
        if (r < 0)
                return fs_gone(r) ? 0 : r;
        fn->vgpu_capable = true;
        fn->vgpu_type = (uint32_t)type;
        const char *name = type ? gpu_ids_vgpu_type(fn->device, fn->vgpu_type) : NULL;
        str_clean(fn->vgpu_name, sizeof(fn->vgpu_name), name ? name : "");
        return 0;
}

static int read_unbind_lock(const struct scan *scan, const char *name, struct function *fn, struct err *err)
{
        char path[64];

        if (fn->vendor != VENDOR_NVIDIA || !scan_has(&scan->nvidia_gpus, name))
                return 0;
        str_format(path, sizeof(path), "driver/nvidia/gpus/%s/unbindLock", name);
        int r = fs_exists(scan->tree->proc, path);
        if (r < 0)
                return err_set(err, -r, "cannot look at /proc/%s", path);
        fn->unbind_lock = r > 0;
        return 0;
}

static int read_endpoint(struct scan *scan, int dir, const char *name, struct function *fn, struct err *err)
{
        int r;

        if ((r = read_numa(dir, fn, err)) < 0 || (r = read_vfio(scan, dir, fn, err)) < 0 || (r = sriov_read(scan, dir, fn, err)) < 0 ||
            (r = read_bars(dir, fn, err)) < 0 || (r = read_boot_vga(dir, fn, err)) < 0 || (r = read_reset(dir, fn, err)) < 0 ||
            (r = read_power(dir, fn, err)) < 0 || (r = read_vgpu(dir, fn, err)) < 0 || (r = read_unbind_lock(scan, name, fn, err)) < 0)
                return r;
        fn->mdev_parent = scan_has(&scan->mdev_parents, name);
        return 0;
}

/* A GPU by class, or on VFIO: what a host is looked at for. The system's pci.ids, which costs 9 ms to parse, is opened for these
 * only, and the members of these groups only are listed. */
static bool is_of_interest(const struct function *fn)
{
        unsigned base = base_class(fn);

        return base == 0x03 || base == 0x0b || base == 0x12 || (base == 0x06 && fn->vendor == VENDOR_NVIDIA) || fn->vfio_index >= 0 ||
               strstr(fn->driver, "vfio");
}

static void name(struct names *names, struct function *fn)
{
        if (!names || is_bridge(fn))
                return;
        bool all = is_of_interest(fn);
        const char *model = all ? names_device(names, fn->vendor, fn->device) : names_peek(names, fn->vendor, fn->device);
        const char *vendor = all ? names_vendor(names, fn->vendor) : NULL;
        str_clean(fn->model, sizeof(fn->model), model ? model : "");
        str_clean(fn->vendor_name, sizeof(fn->vendor_name), vendor ? vendor : "");
}

static int read_whole(struct scan *scan, int dir, const char *address, struct function *fn, struct err *err)
{
        int r;

        if ((r = read_ids(dir, fn, err)) < 0 || (r = read_place(scan, address, fn, err)) < 0 ||
            (r = read_link(dir, "driver", fn->driver, sizeof(fn->driver), err)) < 0 || (r = read_group(scan, dir, fn, err)) < 0)
                return r;
        if (!is_bridge(fn) && (r = read_endpoint(scan, dir, address, fn, err)) < 0)
                return r;
        /* Absent files above may have been absent because the device went away. @dir is of the device that was opened,
         * whatever has its address by now. */
        r = fs_exists(dir, "vendor");
        if (r != 1)
                return err_set(err, r ? -r : ENODEV, "it was removed");
        name(scan->names, fn);
        return 0;
}

static int read_one(struct scan *scan, const char *address, struct err *err)
{
        char text[BDF_TEXT_MAX];
        struct bdf bdf;

        if (!bdf_parse(address, &bdf) || !streq(bdf_format(bdf, text), address))
                return err_say(err, EBADMSG, "its name in bus/pci/devices is no PCI address");
        _cleanup_close_ int dir = fs_open(scan->bus, address, O_RDONLY | O_DIRECTORY, 0);
        if (dir < 0)
                return err_set(err, -dir, "cannot open its directory");
        size_t n_vfs = scan->n_vfs;
        struct function *fn = inventory_add_function(scan->inv, bdf);
        int r = read_whole(scan, dir, address, fn, err);
        if (r < 0) {
                scan->inv->n_functions--; /* whole or not at all */
                scan->n_vfs = n_vfs;
        }
        return r;
}

/* Not the device's fault: what was seen before stays in force. */
static bool is_our_shortage(int r)
{
        return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

static int note_outsiders(struct scan *scan, int group, struct err *err)
{
        char name[32];
        struct err why;

        int r = groups_outsiders(scan, group, &why);
        if (is_our_shortage(r))
                return err_say(err, -r, "cannot list the members of group %d: %.300s", group, why.msg);
        if (r < 0) { /* Who is in it nobody knows, so that it is not to be handed out. */
                str_format(name, sizeof(name), "iommu_groups/%d", group);
                scan_broken(scan, name, false, &why);
                scan->inv->broken[scan->inv->n_broken - 1].group = group;
        }
        return 0;
}

int functions_read(struct scan *scan, struct err *err)
{
        for (size_t i = 0; i < scan->functions.n; i++) {
                const char *address = scan->functions.names[i];
                struct err why;
                int r = read_one(scan, address, &why);
                if (is_our_shortage(r))
                        return err_say(err, -r, "cannot read %.60s: %.300s", address, why.msg);
                if (r < 0)
                        scan_broken(scan, address, fs_gone(r) && fs_exists(scan->bus, address) == 0, &why);
        }
        sriov_number(scan);
        int r = groups_of_broken(scan, err);
        for (size_t i = 0; r == 0 && i < scan->inv->n_functions; i++)
                if (is_of_interest(&scan->inv->functions[i]))
                        r = note_outsiders(scan, scan->inv->functions[i].group, err);
        return r;
}
