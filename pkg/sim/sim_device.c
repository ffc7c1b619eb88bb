/* SPDX-License-Identifier: Apache-2.0 */
/* What binding, unbinding, adding and removing do to the tree. Everything here may be cut short and done again: each step
 * looks whether it is still to be done, and the link that says who is bound is removed last. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "core/bdf.h"
#include "sim/sim_priv.h"

/* Drivers by vendor and class, for functions whose own driver the source does not know (captured on vfio-pci). */
static const struct {
        const char *vendor, *class_prefix, *driver;
} own_drivers[] = {
        { "0x10de", "0x03", "nvidia" },    { "0x1002", "0x03", "amdgpu" }, { "0x1002", "0x12", "amdgpu" }, { "0x8086", "0x03", "i915" },
        { "", "0x0403", "snd_hda_intel" }, { "", "0x0c0330", "xhci_hcd" }, { "", "0x0108", "nvme" },
};

bool sim_driver_is_vfio(const char *driver)
{
        return streq(driver, "vfio-pci") || strstr(driver, "vfio_pci") || strstr(driver, "vfio-pci");
}

/* Drivers whose remove function disables SR-IOV; below the others the VFs stay (seen with nvme). */
static bool driver_removes_vfs(const char *driver)
{
        return sim_driver_is_vfio(driver) || streq(driver, "nvidia") || streq(driver, "gim") || streq(driver, "i915") ||
               streq(driver, "xe");
}

void sim_driver_of(const struct sim *sim, const char *bdf, char out[SIM_NAME])
{
        char path[SIM_PATH];

        str_format(path, sizeof(path), "sys/bus/pci/devices/%s/driver", bdf);
        sim_last(sim, path, out);
}

void sim_driver_inside(const struct sim *sim, const char *key, char out[SIM_NAME])
{
        char dir[SIM_PATH], path[SIM_PATH];

        out[0] = '\0';
        if (sim_device_dir(sim, key, dir) < 0)
                return;
        str_format(path, sizeof(path), "%s/driver", dir);
        sim_last(sim, path, out);
        if (!*out)
                sim_driver_leaving(sim, key, out);
}

bool sim_driver_registered(const struct sim *sim, const char *driver)
{
        char path[SIM_PATH];

        str_format(path, sizeof(path), "sys/bus/pci/drivers/%s", driver);
        return *driver && !strchr(driver, '/') && sim_there(sim, path);
}

static void get_attribute(const struct sim *sim, const char *bdf, const char *attribute, char *out, size_t size)
{
        char path[SIM_PATH];

        str_format(path, sizeof(path), "sys/bus/pci/devices/%s/%s", bdf, attribute);
        sim_get(sim, path, out, size);
}

/* The driver of @bdf in the source, "" = none. */
static void source_driver(const struct sim *sim, const char *bdf, char out[SIM_NAME])
{
        char link[SIM_PATH], dir[SIM_PATH], path[SIM_PATH];

        *out = '\0';
        str_format(link, sizeof(link), "sys/bus/pci/devices/%s", bdf);
        const struct capture_entry *e = capture_find(sim->source, link);
        if (e && !sim_resolve(link, e->value, dir))
                return;
        str_format(path, sizeof(path), "%s/driver", e ? dir : link);
        e = capture_find(sim->source, path);
        if (e && strrchr(e->value, '/'))
                (void)str_copy(out, SIM_NAME, strrchr(e->value, '/') + 1);
}

void sim_driver_for(const struct sim *sim, const char *bdf, char out[SIM_NAME])
{
        char override[SIM_NAME], vendor[16], class_code[16];

        get_attribute(sim, bdf, "driver_override", override, sizeof(override));
        if (*override && !streq(override, "(null)")) {
                str_format(out, SIM_NAME, "%s", sim_driver_registered(sim, override) ? override : "");
                return;
        }
        source_driver(sim, bdf, out);
        if (*out && !sim_driver_is_vfio(out) && sim_driver_registered(sim, out))
                return;
        get_attribute(sim, bdf, "vendor", vendor, sizeof(vendor));
        get_attribute(sim, bdf, "class", class_code, sizeof(class_code));
        for (size_t i = 0; i < N_ELEMENTS(own_drivers); i++)
                if (str_has_prefix(vendor, own_drivers[i].vendor) && str_has_prefix(class_code, own_drivers[i].class_prefix) &&
                    sim_driver_registered(sim, own_drivers[i].driver)) {
                        str_format(out, SIM_NAME, "%s", own_drivers[i].driver);
                        return;
                }
        *out = '\0';
}

/* ---- groups and nodes ---- */

static void group_of(const struct sim *sim, const char *dir, char group[SIM_NAME], char node[SIM_PATH])
{
        char path[SIM_PATH], name[64];

        str_format(path, sizeof(path), "%s/iommu_group", dir);
        sim_last(sim, path, group);
        str_format(path, sizeof(path), "sys/kernel/iommu_groups/%s/name", group);
        sim_get(sim, path, name, sizeof(name));
        str_format(node, SIM_PATH, "dev/vfio/%s%s", streq(name, "vfio-noiommu") ? "noiommu-" : "", group);
}

/* Does another member of the group need its node? */
static bool group_in_use(const struct sim *sim, const char *group, const char *but)
{
        _cleanup_fs_list_ struct fs_list members = { 0 };
        char path[SIM_PATH];

        str_format(path, sizeof(path), "sys/kernel/iommu_groups/%s/devices", group);
        sim_names(sim, path, &members);
        for (size_t i = 0; i < members.n; i++) {
                _cleanup_fs_list_ struct fs_list vfio = { 0 };
                if (streq(members.names[i], but))
                        continue;
                str_format(path, sizeof(path), "sys/kernel/iommu_groups/%s/devices/%s/%s", group, members.names[i],
                           str_is_uuid(members.names[i]) ? "driver" : "vfio-dev");
                if (str_is_uuid(members.names[i]) && sim_there(sim, path))
                        return true;
                sim_names(sim, path, &vfio);
                if (vfio.n > 0)
                        return true;
        }
        return false;
}

static void vfio_event(const struct sim *sim, const char *action, const char *group)
{
        char device[SIM_PATH];

        str_format(device, sizeof(device), "sys/devices/virtual/vfio/%s", group);
        sim_event(sim, action, device, "vfio", "");
}

/* drivers/vfio/pci/vfio_pci_core.c: pm_runtime_allow() when it takes a device, pm_runtime_forbid() when it leaves it. */
static int put_power_control(const struct sim *sim, const char *dir, const char *value)
{
        char path[SIM_PATH];

        str_format(path, sizeof(path), "%s/power/control", dir);
        return sim_there(sim, path) ? sim_put(sim, path, value) : 0;
}

/* The kernel's order: group node, then the device's own (drivers/vfio/vfio_main.c). */
static int vfio_register(const struct sim *sim, const char *dir)
{
        char group[SIM_NAME], node[SIM_PATH], path[SIM_PATH], to[SIM_PATH];
        int r = 0;

        group_of(sim, dir, group, node);
        if (!sim_there(sim, node)) {
                r = sim_touch(sim, node);
                vfio_event(sim, "add", strrchr(node, '/') + 1);
        }
        _cleanup_fs_list_ struct fs_list have = { 0 };
        str_format(path, sizeof(path), "%s/vfio-dev", dir);
        sim_names(sim, path, &have);
        unsigned index = 0;
        if (have.n > 0) /* done again after a crash */
                (void)sscanf(have.names[0], "vfio%u", &index);
        else
                do
                        str_format(path, sizeof(path), "sys/class/vfio-dev/vfio%u", index);
                while (sim_there(sim, path) && ++index);
        str_format(to, sizeof(to), "%s/vfio-dev/vfio%u", dir, index);
        str_format(path, sizeof(path), "sys/class/vfio-dev/vfio%u", index);
        if (r == 0)
                r = sim_make_dir(sim, to);
        if (r == 0)
                r = sim_link(sim, path, to);
        str_format(path, sizeof(path), "dev/vfio/devices/vfio%u", index);
        if (r == 0 && (sim_there(sim, "dev/iommu") || sim_there(sim, "dev/vfio/devices")))
                r = sim_touch(sim, path);
        sim_event(sim, "add", to, "vfio-dev", "");
        return r;
}

static int vfio_unregister(const struct sim *sim, const char *key, const char *dir)
{
        _cleanup_fs_list_ struct fs_list have = { 0 };
        char group[SIM_NAME], node[SIM_PATH], path[SIM_PATH], device[SIM_PATH];
        int r = 0;

        str_format(path, sizeof(path), "%s/vfio-dev", dir);
        sim_names(sim, path, &have);
        for (size_t i = 0; i < have.n && r == 0; i++) {
                str_format(device, sizeof(device), "%s/vfio-dev/%s", dir, have.names[i]);
                str_format(path, sizeof(path), "sys/class/vfio-dev/%s", have.names[i]);
                r = sim_drop(sim, path);
                str_format(path, sizeof(path), "dev/vfio/devices/%s", have.names[i]);
                if (r == 0)
                        r = sim_drop(sim, path);
                if (r == 0)
                        r = sim_drop(sim, device);
                sim_event(sim, "remove", device, "vfio-dev", "");
        }
        str_format(path, sizeof(path), "%s/vfio-dev", dir);
        if (r == 0)
                r = sim_drop(sim, path);
        group_of(sim, dir, group, node);
        if (r == 0 && *group && sim_there(sim, node) && !group_in_use(sim, group, key)) {
                r = sim_drop(sim, node);
                vfio_event(sim, "remove", strrchr(node, '/') + 1);
        }
        return r;
}

/* ---- what a host driver makes and takes away ---- */

struct belongings {
        const char *bdf, *dir;
        char proc[SIM_NAME + 32], mdev_bus[SIM_NAME + 32];
};

bool sim_path_below(const char *path, const char *dir)
{
        size_t n = strlen(dir);

        return strncmp(path, dir, n) == 0 && path[n] == '/';
}

static bool is_belonging(void *ctx, const struct capture_entry *e)
{
        static const char *const subs[] = { "/drm/", "/nvidia/", "/mdev_supported_types/" };
        const struct belongings *b = ctx;

        if (sim_path_below(e->path, b->proc) || streq(e->path, b->mdev_bus))
                return true;
        for (size_t i = 0; i < N_ELEMENTS(subs); i++)
                if (sim_path_below(e->path, b->dir) && str_has_prefix(e->path + strlen(b->dir), subs[i]))
                        return true;
        return false;
}

static void set_belongings(struct belongings *b, const char *bdf, const char *dir)
{
        *b = (struct belongings){ .bdf = bdf, .dir = dir };
        str_format(b->proc, sizeof(b->proc), "proc/driver/nvidia/gpus/%s", bdf);
        str_format(b->mdev_bus, sizeof(b->mdev_bus), "sys/class/mdev_bus/%s", bdf);
}

/* drm nodes are made and removed with the directories that name them. */
static int drm_nodes(const struct sim *sim, const char *dir, bool make)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        char path[SIM_PATH];
        int r = 0;

        str_format(path, sizeof(path), "%s/drm", dir);
        sim_names(sim, path, &names);
        for (size_t i = 0; i < names.n && r == 0; i++) {
                str_format(path, sizeof(path), "dev/dri/%s", names.names[i]);
                r = make ? sim_touch(sim, path) : sim_drop(sim, path);
        }
        return r;
}

/* The host's own driver is back: what it made in the source is there again, without vGPU types and instances. */
static int driver_made(const struct sim *sim, const char *bdf, const char *dir, const char *driver)
{
        struct belongings b;
        struct err ignored;
        char path[SIM_PATH], was[SIM_NAME];

        source_driver(sim, bdf, was);
        if (!streq(was, driver))
                return 0;
        set_belongings(&b, bdf, dir);
        int r = capture_create("source", sim->source, sim->root, true, is_belonging, &b, &ignored);
        if (r == 0)
                r = drm_nodes(sim, dir, true);
        str_format(path, sizeof(path), "%s/nvidia/current_vgpu_type", dir);
        if (r == 0 && sim_there(sim, path)) {
                r = sim_put(sim, path, "0");
                if (r == 0)
                        r = vfio_register(sim, dir);
        }
        return r;
}

static int driver_took_away(const struct sim *sim, const char *bdf, const char *dir)
{
        static const char *const subs[] = { "drm", "nvidia", "mdev_supported_types" };
        _cleanup_fs_list_ struct fs_list names = { 0 };
        struct belongings b;
        char path[SIM_PATH];
        int r = 0;

        sim_names(sim, dir, &names);
        for (size_t i = 0; i < names.n && r == 0; i++)
                if (str_is_uuid(names.names[i]))
                        r = sim_mdev_remove(sim, names.names[i]);
        if (r == 0)
                r = drm_nodes(sim, dir, false);
        set_belongings(&b, bdf, dir);
        if (r == 0)
                r = sim_drop(sim, b.mdev_bus);
        if (r == 0)
                r = sim_drop(sim, b.proc);
        for (size_t i = 0; i < N_ELEMENTS(subs) && r == 0; i++) {
                str_format(path, sizeof(path), "%s/%s", dir, subs[i]);
                r = sim_drop(sim, path);
        }
        return r;
}

/* ---- bind, unbind ---- */

void sim_pci_event(const struct sim *sim, const char *action, const char *bdf, const char *dir, const char *driver)
{
        char more[2 * SIM_NAME + 32];

        str_format(more, sizeof(more), "PCI_SLOT_NAME=%s%s%s", bdf, *driver ? " DRIVER=" : "", driver);
        sim_event(sim, action, dir, "pci", more);
}

static bool is_vendor_vfio(const struct sim *sim, const char *dir)
{
        char path[SIM_PATH];

        str_format(path, sizeof(path), "%s/nvidia/current_vgpu_type", dir);
        return capture_find(sim->source, path) != NULL;
}

int sim_bind_check(const struct sim *sim, const char *bdf, const char *driver)
{
        char dir[SIM_PATH], path[SIM_PATH], class_code[16];

        int r = sim_device_dir(sim, bdf, dir);
        if (r < 0)
                return r;
        if (!sim_driver_registered(sim, driver))
                return -ENODEV;
        if (!sim_driver_is_vfio(driver))
                return 0;
        get_attribute(sim, bdf, "class", class_code, sizeof(class_code));
        if (str_has_prefix(class_code, "0x0604") || str_has_prefix(class_code, "0x0600") || is_vendor_vfio(sim, dir))
                return -EINVAL;
        str_format(path, sizeof(path), "%s/iommu_group", dir);
        if (!sim_there(sim, path))
                return -EINVAL; /* no IOMMU */
        return sim_vfs_count(sim, bdf) > 0 ? -EBUSY : 0;
}

int sim_bind(const struct sim *sim, const char *bdf, const char *driver)
{
        char dir[SIM_PATH], path[SIM_PATH], to[SIM_PATH];

        int r = sim_device_dir(sim, bdf, dir);
        if (r < 0)
                return r;
        str_format(to, sizeof(to), "sys/bus/pci/drivers/%s", driver);
        str_format(path, sizeof(path), "%s/driver", dir);
        r = sim_link(sim, path, to);
        str_format(path, sizeof(path), "sys/bus/pci/drivers/%s/%s", driver, bdf);
        if (r == 0)
                r = sim_link(sim, path, dir);
        if (r == 0)
                r = sim_driver_is_vfio(driver) ? vfio_register(sim, dir) : driver_made(sim, bdf, dir, driver);
        if (r == 0 && sim_driver_is_vfio(driver))
                r = put_power_control(sim, dir, "auto");
        if (r == 0)
                sim_pci_event(sim, "bind", bdf, dir, driver);
        return r;
}

int sim_driver_hide(const struct sim *sim, const char *bdf, const char *driver)
{
        char dir[SIM_PATH], path[SIM_PATH];

        int r = sim_device_dir(sim, bdf, dir);
        if (r < 0)
                return r;
        str_format(path, sizeof(path), "sys/bus/pci/drivers/%s/%s", driver, bdf);
        r = sim_drop(sim, path);
        str_format(path, sizeof(path), "%s/driver", dir);
        return r == 0 ? sim_drop(sim, path) : r;
}

int sim_unbind(const struct sim *sim, const char *bdf, const char *driver)
{
        char dir[SIM_PATH];

        int r = sim_device_dir(sim, bdf, dir);
        if (r < 0)
                return r;
        if (driver_removes_vfs(driver))
                r = sim_vfs_remove(sim, bdf);
        if (r == 0)
                r = vfio_unregister(sim, bdf, dir);
        if (r == 0)
                r = sim_driver_is_vfio(driver) ? put_power_control(sim, dir, "on") : driver_took_away(sim, bdf, dir);
        if (r == 0)
                r = sim_driver_hide(sim, bdf, driver);
        if (r == 0)
                sim_pci_event(sim, "unbind", bdf, dir, driver);
        return r;
}

/* ---- members of groups, mediated devices ---- */

int sim_group_leave(const struct sim *sim, const char *key, const char *dir)
{
        _cleanup_fs_list_ struct fs_list members = { 0 };
        char group[SIM_NAME], path[SIM_PATH];

        str_format(path, sizeof(path), "%s/iommu_group", dir);
        sim_last(sim, path, group);
        if (*group == '\0')
                return 0;
        str_format(path, sizeof(path), "sys/kernel/iommu_groups/%s/devices/%s", group, key);
        int r = sim_drop(sim, path);
        *strrchr(path, '/') = '\0';
        sim_names(sim, path, &members);
        str_format(path, sizeof(path), "sys/kernel/iommu_groups/%s", group);
        return r == 0 && members.n == 0 ? sim_drop(sim, path) : r;
}

int sim_mdev_remove(const struct sim *sim, const char *uuid)
{
        char dir[SIM_PATH], path[SIM_PATH];

        int r = sim_device_dir(sim, uuid, dir);
        if (r < 0)
                return r;
        str_format(path, sizeof(path), "%s/driver", dir); /* gone first: the group's node asks for it */
        r = sim_drop(sim, path);
        if (r == 0)
                r = vfio_unregister(sim, uuid, dir);
        if (r == 0)
                r = sim_group_leave(sim, uuid, dir);
        if (r == 0)
                r = sim_drop(sim, dir);
        str_format(path, sizeof(path), "sys/bus/mdev/devices/%s", uuid);
        if (r == 0)
                r = sim_drop(sim, path);
        if (r == 0)
                sim_event(sim, "remove", dir, "mdev", "");
        return r;
}
