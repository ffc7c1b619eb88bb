/* SPDX-License-Identifier: Apache-2.0 */
/* PCI functions that come and go: hot-plug and SR-IOV. As in sim_device.c everything may be cut short and done again. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/str.h"
#include "core/bdf.h"
#include "host/value.h"
#include "sim/sim_priv.h"

/* Where the kernel put its memory BARs, in the registers from 0x10 on; a VF has none. */
static void put_bars(const struct sim *sim, const char *dir, char bytes[static 64])
{
        struct bar bars[N_BARS];
        char path[SIM_PATH], text[4096];
        struct err unused;

        str_format(path, sizeof(path), "%s/physfn", dir);
        bool is_vf = sim_there(sim, path);
        str_format(path, sizeof(path), "%s/resource", dir);
        if (is_vf || fs_read(sim->root, path, text, sizeof(text), NULL, &unused) < 0 || !value_resource(text, bars))
                return;
        for (size_t i = 0; i < N_BARS; i++) {
                bool wide = bars[i].flags & 0x100000; /* IORESOURCE_MEM_64 */
                for (size_t k = 0; bars[i].size > 0 && (bars[i].flags & 0x200) && k < (wide ? 8 : 4) && 4 * i + k < 4 * N_BARS; k++)
                        bytes[0x10 + 4 * i + k] = (char)((bars[i].start | (k == 0 && wide ? 4 : 0)) >> 8 * k);
        }
}

/* The first 64 bytes of its configuration space, as far as somebody looks at them: ids, revision, class and BARs. */
static int put_config(const struct sim *sim, const char *dir, bool dead)
{
        static const struct {
                const char *name;
                size_t offset, size;
        } fields[] = { { "vendor", 0, 2 }, { "device", 2, 2 }, { "revision", 8, 1 }, { "class", 9, 3 } };
        char bytes[64] = { 0 }, path[SIM_PATH], text[32];
        uint64_t value;

        if (dead)
                memset(bytes, 0xff, sizeof(bytes));
        for (size_t i = 0; i < N_ELEMENTS(fields) && !dead; i++) {
                str_format(path, sizeof(path), "%s/%s", dir, fields[i].name);
                sim_get(sim, path, text, sizeof(text));
                if (str_to_u64(text, 16, 0xffffff, &value))
                        for (size_t k = 0; k < fields[i].size; k++)
                                bytes[fields[i].offset + k] = (char)(value >> 8 * k);
        }
        if (!dead)
                put_bars(sim, dir, bytes);
        str_format(path, sizeof(path), "%s/config", dir);
        return sim_store(sim, path, bytes, sizeof(bytes));
}

int sim_function_forget_bars(const struct sim *sim, const char *bdf)
{
        char dir[SIM_PATH], path[SIM_PATH], bytes[64];
        struct err unused;

        int r = sim_device_dir(sim, bdf, dir);
        if (r < 0)
                return r;
        str_format(path, sizeof(path), "%s/config", dir);
        if (fs_read_at(sim->root, path, 0, bytes, sizeof(bytes), &unused) != sizeof(bytes))
                return -EIO;
        memset(bytes + 0x10, 0, sizeof(uint32_t) * N_BARS);
        return sim_store(sim, path, bytes, sizeof(bytes));
}

int sim_function_die(const struct sim *sim, const char *bdf)
{
        char dir[SIM_PATH];

        int r = sim_device_dir(sim, bdf, dir);
        return r < 0 ? r : put_config(sim, dir, true);
}

static int put_new(const struct sim *sim, const char *dir, const char *attribute, const char *value)
{
        char path[SIM_PATH];

        str_format(path, sizeof(path), "%s/%s", dir, attribute);
        return sim_there(sim, path) ? 0 : sim_put(sim, path, value);
}

/* What VFIO lets sleep, and a host's driver mostly does not. */
static int put_power(const struct sim *sim, const char *dir, const char *driver)
{
        char path[SIM_PATH];

        str_format(path, sizeof(path), "%s/power", dir);
        int r = sim_make_dir(sim, path);
        if (r == 0)
                r = put_new(sim, dir, "power/control", sim_driver_is_vfio(driver) ? "auto" : "on");
        return r < 0 ? r : put_new(sim, dir, "d3cold_allowed", "1");
}

int sim_function_complete(const struct sim *sim, const char *bdf)
{
        _cleanup_fs_list_ struct fs_list vfio = { 0 };
        char dir[SIM_PATH], path[SIM_PATH], to[SIM_PATH], number[16];

        int r = sim_device_dir(sim, bdf, dir);
        if (r < 0 || !sim_there(sim, dir))
                return 0; /* a bus that names what is not there: so be it */
        r = put_new(sim, dir, "driver_override", "(null)");
        if (r == 0)
                r = put_config(sim, dir, false);
        str_format(path, sizeof(path), "%s/physfn", dir);
        bool is_vf = sim_there(sim, path);
        str_format(path, sizeof(path), "%s/rescan", dir);
        if (r == 0 && !is_vf)
                r = sim_touch(sim, path);
        str_format(path, sizeof(path), "%s/sriov_totalvfs", dir);
        if (r == 0 && sim_there(sim, path)) {
                str_format(path, sizeof(path), "%s/sriov_numvfs", dir);
                str_format(number, sizeof(number), "%u", sim_vfs_count(sim, bdf));
                r = sim_put(sim, path, number);
        }
        char driver[SIM_NAME];
        sim_driver_of(sim, bdf, driver);
        if (r == 0)
                r = put_power(sim, dir, driver);
        if (r == 0 && sim_driver_registered(sim, driver)) {
                str_format(path, sizeof(path), "sys/bus/pci/drivers/%s/%s", driver, bdf);
                r = sim_link(sim, path, dir);
        }
        str_format(path, sizeof(path), "%s/vfio-dev", dir);
        sim_names(sim, path, &vfio);
        for (size_t i = 0; i < vfio.n && r == 0; i++) {
                str_format(to, sizeof(to), "%s/vfio-dev/%s", dir, vfio.names[i]);
                str_format(path, sizeof(path), "sys/class/vfio-dev/%s", vfio.names[i]);
                r = sim_link(sim, path, to);
        }
        return r;
}

/* The virtfnN link by which the PF names its VF @bdf; @dir may be gone, but all VFs come from the source. */
static int forget_vf(const struct sim *sim, const char *bdf, const char *dir)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        char path[SIM_PATH], pf[SIM_PATH], vf[SIM_NAME];

        str_format(path, sizeof(path), "%s/physfn", dir);
        const struct capture_entry *e = capture_find(sim->source, path);
        if (!e || !sim_resolve(path, e->value, pf))
                return 0;
        sim_names(sim, pf, &names);
        for (size_t i = 0; i < names.n; i++) {
                if (!str_has_prefix(names.names[i], "virtfn"))
                        continue;
                str_format(path, sizeof(path), "%s/%s", pf, names.names[i]);
                sim_last(sim, path, vf);
                if (streq(vf, bdf))
                        return sim_drop(sim, path);
        }
        return 0;
}

/* @keep_link: whoever removes all VFs of a PF finds them by its virtfnN links, and removes each after its VF. */
static int remove_function(const struct sim *sim, const char *bdf, bool keep_link)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        char dir[SIM_PATH], path[SIM_PATH], driver[SIM_NAME];
        struct bdf child;

        int r = sim_device_dir(sim, bdf, dir);
        if (r < 0)
                return r;
        sim_names(sim, dir, &names);
        for (size_t i = 0; i < names.n && r == 0; i++) /* what is below a bridge goes first */
                if (bdf_parse(names.names[i], &child))
                        r = sim_function_remove(sim, names.names[i]);
        if (r == 0)
                r = sim_vfs_remove(sim, bdf);
        sim_driver_inside(sim, bdf, driver);
        if (r == 0 && *driver)
                r = sim_unbind(sim, bdf, driver);
        if (r == 0)
                r = sim_group_leave(sim, bdf, dir);
        if (r == 0)
                r = sim_drop(sim, dir);
        if (r == 0 && !keep_link)
                r = forget_vf(sim, bdf, dir);
        str_format(path, sizeof(path), "sys/bus/pci/devices/%s", bdf);
        if (r == 0)
                r = sim_drop(sim, path); /* last: by it the function is found when this is done again */
        if (r == 0)
                sim_pci_event(sim, "remove", bdf, dir, "");
        return r;
}

int sim_function_remove(const struct sim *sim, const char *bdf)
{
        return remove_function(sim, bdf, false);
}

struct function_filter {
        char link[SIM_PATH], dir[SIM_PATH], group[SIM_PATH];
        const char *bdf;
};

/* Of the source: the function's own directory without what drivers made, its place on the bus and in its group. */
static bool is_function(void *ctx, const struct capture_entry *e)
{
        static const char *const made[] = {
                "driver", "drm", "nvidia", "mdev_supported_types", "vfio-dev", "driver_override", "sriov_numvfs"
        };
        const struct function_filter *f = ctx;
        char first[SIM_NAME];
        struct bdf child;

        if (streq(e->path, f->link) || streq(e->path, f->dir))
                return true;
        if (*f->group && sim_path_below(e->path, f->group)) {
                const char *rest = e->path + strlen(f->group) + 1;
                return !str_has_prefix(rest, "devices/") || streq(rest + strlen("devices/"), f->bdf);
        }
        if (!sim_path_below(e->path, f->dir))
                return false;
        const char *rest = e->path + strlen(f->dir) + 1;
        str_format(first, sizeof(first), "%.*s", (int)strcspn(rest, "/"), rest);
        for (size_t i = 0; i < N_ELEMENTS(made); i++)
                if (streq(first, made[i]))
                        return false;
        return !bdf_parse(first, &child) && !str_is_uuid(first) && !str_has_prefix(first, "virtfn");
}

int sim_function_add(const struct sim *sim, const char *bdf)
{
        struct function_filter f = { .bdf = bdf };
        char path[SIM_PATH];
        struct err ignored;

        str_format(f.link, sizeof(f.link), "sys/bus/pci/devices/%s", bdf);
        const struct capture_entry *e = capture_find(sim->source, f.link);
        if (e && !sim_resolve(f.link, e->value, f.dir))
                return -ENOENT;
        str_format(path, sizeof(path), "%s/vendor", e ? f.dir : f.link);
        if (!capture_find(sim->source, path))
                return -ENOENT;
        if (!e)
                (void)str_copy(f.dir, sizeof(f.dir), f.link);
        str_format(path, sizeof(path), "%s/iommu_group", f.dir);
        e = capture_find(sim->source, path);
        if (e && !sim_resolve(path, e->value, f.group))
                return -ENOENT;
        int r = capture_create("source", sim->source, sim->root, true, is_function, &f, &ignored);
        if (r == 0)
                r = sim_function_complete(sim, bdf);
        if (r == 0)
                sim_pci_event(sim, "add", bdf, f.dir, "");
        return r;
}

/* ---- SR-IOV ---- */

unsigned sim_vfs_count(const struct sim *sim, const char *pf)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        char path[SIM_PATH];
        unsigned n = 0;

        str_format(path, sizeof(path), "sys/bus/pci/devices/%s", pf);
        sim_names(sim, path, &names);
        for (size_t i = 0; i < names.n; i++)
                n += str_has_prefix(names.names[i], "virtfn");
        return n;
}

static int put_numvfs(const struct sim *sim, const char *pf, unsigned n)
{
        char path[SIM_PATH], number[16];

        str_format(path, sizeof(path), "sys/bus/pci/devices/%s/sriov_numvfs", pf);
        str_format(number, sizeof(number), "%u", n);
        return sim_there(sim, path) ? sim_put(sim, path, number) : 0;
}

int sim_vfs_remove(const struct sim *sim, const char *pf)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        char path[SIM_PATH], vf[SIM_NAME];
        int r = 0;

        str_format(path, sizeof(path), "sys/bus/pci/devices/%s", pf);
        sim_names(sim, path, &names);
        for (size_t i = 0; i < names.n && r == 0; i++) {
                if (!str_has_prefix(names.names[i], "virtfn"))
                        continue;
                str_format(path, sizeof(path), "sys/bus/pci/devices/%s/%s", pf, names.names[i]);
                sim_last(sim, path, vf);
                r = remove_function(sim, vf, true);
                if (r == 0 || r == -ENODEV)
                        r = sim_drop(sim, path);
        }
        return r == 0 ? put_numvfs(sim, pf, 0) : r;
}

/* VFs that the source had come back as they were; without drivers, which is what follows. */
int sim_vfs_add(const struct sim *sim, const char *pf, unsigned n)
{
        char dir[SIM_PATH], path[SIM_PATH], driver[SIM_NAME];

        int r = sim_device_dir(sim, pf, dir);
        for (unsigned i = 0; i < n && r == 0; i++) {
                str_format(path, sizeof(path), "%s/virtfn%u", dir, i);
                const struct capture_entry *e = capture_find(sim->source, path);
                const char *vf = e && strrchr(e->value, '/') ? strrchr(e->value, '/') + 1 : NULL;
                if (!vf)
                        return -ENOMEM; /* as a host without room for more VFs says */
                r = sim_function_add(sim, vf);
                if (r == 0)
                        r = fs_symlink(e->value, sim->root, path);
                if (r == -EEXIST)
                        r = 0;
                sim_driver_for(sim, vf, driver);
                if (r == 0 && *driver && sim_bind_check(sim, vf, driver) == 0)
                        r = sim_bind(sim, vf, driver);
        }
        return r == 0 ? put_numvfs(sim, pf, n) : r;
}
