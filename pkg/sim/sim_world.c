/* SPDX-License-Identifier: Apache-2.0 */
/* The world outside the kernel: devices that are pulled and plugged, processes that hold nodes open. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/str.h"
#include "sim/sim_priv.h"

bool sim_node_held(const struct sim *sim, const char *node)
{
        _cleanup_fs_list_ struct fs_list pids = { 0 };
        char path[SIM_PATH], target[SIM_PATH];
        struct err ignored;

        sim_names(sim, "proc", &pids);
        for (size_t i = 0; i < pids.n; i++) {
                _cleanup_fs_list_ struct fs_list fds = { 0 };
                if (pids.names[i][strspn(pids.names[i], "0123456789")] != '\0')
                        continue;
                str_format(path, sizeof(path), "proc/%s/fd", pids.names[i]);
                sim_names(sim, path, &fds);
                for (size_t k = 0; k < fds.n; k++) {
                        str_format(path, sizeof(path), "proc/%s/fd/%s", pids.names[i], fds.names[k]);
                        if (fs_readlink(sim->root, path, target, sizeof(target), &ignored) == 0 && *target == '/' &&
                            streq(target + 1, node))
                                return true;
                }
        }
        return false;
}

/* Nodes of what VFIO registered for the device in @dir: its group's and its own. */
static bool vfio_held(const struct sim *sim, const char *dir)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        char path[SIM_PATH], group[SIM_NAME];

        str_format(path, sizeof(path), "%s/iommu_group", dir);
        sim_last(sim, path, group);
        str_format(path, sizeof(path), "dev/vfio/%s", group);
        if (*group && sim_node_held(sim, path))
                return true;
        str_format(path, sizeof(path), "dev/vfio/noiommu-%s", group);
        if (*group && sim_node_held(sim, path))
                return true;
        str_format(path, sizeof(path), "%s/vfio-dev", dir);
        sim_names(sim, path, &names);
        for (size_t i = 0; i < names.n; i++) {
                str_format(path, sizeof(path), "dev/vfio/devices/%s", names.names[i]);
                if (sim_node_held(sim, path))
                        return true;
        }
        return false;
}

/* NVIDIA's driver does not let go while its node is open (the remove path loops on the usage count). */
static bool nvidia_held(const struct sim *sim, const char *bdf)
{
        static const char KEY[] = "Device Minor:";
        char path[SIM_PATH], information[4096];
        struct err ignored;
        unsigned minor;

        str_format(path, sizeof(path), "proc/driver/nvidia/gpus/%s/information", bdf);
        if (fs_read(sim->root, path, information, sizeof(information), NULL, &ignored) < 0)
                return false;
        const char *at = strstr(information, KEY);
        if (!at || sscanf(at + strlen(KEY), "%u", &minor) != 1)
                return false;
        str_format(path, sizeof(path), "dev/nvidia%u", minor);
        return sim_node_held(sim, path);
}

bool sim_device_held(const struct sim *sim, const char *key)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        char dir[SIM_PATH], driver[SIM_NAME], path[SIM_PATH], sub[SIM_NAME];

        if (sim_device_dir(sim, key, dir) < 0)
                return false;
        sim_driver_inside(sim, key, driver);
        str_format(path, sizeof(path), "%s/vfio-dev", dir);
        if (*driver && (sim_driver_is_vfio(driver) || sim_there(sim, path) || str_is_uuid(key)) && vfio_held(sim, dir))
                return true;
        if (streq(driver, "nvidia") && nvidia_held(sim, key))
                return true;
        sim_names(sim, dir, &names); /* its VFs and mediated devices go with it */
        for (size_t i = 0; i < names.n; i++) {
                if (str_has_prefix(names.names[i], "virtfn")) {
                        str_format(path, sizeof(path), "%s/%s", dir, names.names[i]);
                        sim_last(sim, path, sub);
                } else if (str_is_uuid(names.names[i])) {
                        str_format(sub, sizeof(sub), "%s", names.names[i]);
                } else {
                        continue;
                }
                if (sim_device_held(sim, sub))
                        return true;
        }
        return false;
}

int sim_bus_plug(const struct sim *sim, const char *bdf)
{
        char link[SIM_PATH], dir[SIM_PATH], path[SIM_PATH];

        int r = sim_function_add(sim, bdf);
        if (r < 0)
                return r;
        /* The driver that it had: the same as in the source, be it a VFIO driver that an override once chose. */
        str_format(link, sizeof(link), "sys/bus/pci/devices/%s", bdf);
        const struct capture_entry *e = capture_find(sim->source, link);
        str_format(dir, sizeof(dir), "%s", link);
        if (e && !sim_resolve(link, e->value, dir))
                return 0;
        str_format(path, sizeof(path), "%s/driver", dir);
        e = capture_find(sim->source, path);
        const char *driver = e && strrchr(e->value, '/') ? strrchr(e->value, '/') + 1 : "";
        return *driver && sim_bind_check(sim, bdf, driver) == 0 ? sim_bind(sim, bdf, driver) : 0;
}

/* Recorded like a write: the process that does it may be killed in the middle. */
static int act_now(const struct sim *sim, const char *row, enum sim_act act, const char *bdf)
{
        struct sim_pending p = { .fd = -1, .row = sim_row_named(row), .decided = true, .action.act = act };

        str_format(p.key, sizeof(p.key), "%s", bdf);
        str_format(p.action.key, sizeof(p.action.key), "%s", bdf);
        int r = sim_source_load(sim);
        if (r == 0)
                r = sim_pending_create(sim, &p);
        if (r == 0)
                r = sim_pending_finish(sim, &p);
        sim_pending_done(&p);
        return r;
}

int sim_bus_rescan(const struct sim *sim)
{
        static const char PREFIX[] = "sys/bus/pci/devices/";

        for (size_t i = 0; i < sim->source->n; i++) {
                const char *path = sim->source->entries[i].path;
                const char *bdf = path + strlen(PREFIX);
                if (!str_has_prefix(path, PREFIX) || strchr(bdf, '/') || sim_there(sim, path))
                        continue;
                int r = act_now(sim, "pci-rescan", ACT_PLUG, bdf); /* its own record: half a function is there, and not found */
                if (r < 0 && r != -ENOENT)
                        return r;
        }
        return 0;
}

int sim_unplug(struct sim *sim, const char *bdf, struct err *err)
{
        char dir[SIM_PATH];

        _cleanup_close_ int lock = sim_lock(sim);
        if (lock < 0)
                return err_set(err, -lock, "cannot lock %s", sim->path);
        int r = sim_device_dir(sim, bdf, dir);
        if (r == 0)
                r = act_now(sim, "pci-remove", ACT_REMOVE, bdf);
        return r < 0 ? err_set(err, -r, "cannot unplug %s", bdf) : 0;
}

int sim_plug(struct sim *sim, const char *bdf, struct err *err)
{
        char dir[SIM_PATH];

        _cleanup_close_ int lock = sim_lock(sim);
        if (lock < 0)
                return err_set(err, -lock, "cannot lock %s", sim->path);
        if (sim_device_dir(sim, bdf, dir) == 0)
                return err_say(err, EEXIST, "cannot plug %s: it is there", bdf);
        int r = act_now(sim, "pci-rescan", ACT_PLUG, bdf);
        if (r == -ENOENT)
                return err_say(err, ENOENT, "cannot plug %s: this host never had it", bdf);
        return r < 0 ? err_set(err, -r, "cannot plug %s", bdf) : 0;
}

static int release(const struct sim *sim, const char *node, int pid)
{
        _cleanup_fs_list_ struct fs_list fds = { 0 };
        char dir[SIM_PATH], path[SIM_PATH], target[SIM_PATH];
        struct err ignored;
        size_t left = 0;
        int r = -ENOENT;

        str_format(dir, sizeof(dir), "proc/%d/fd", pid);
        sim_names(sim, dir, &fds);
        for (size_t i = 0; i < fds.n; i++) {
                str_format(path, sizeof(path), "%s/%s", dir, fds.names[i]);
                bool same =
                        fs_readlink(sim->root, path, target, sizeof(target), &ignored) == 0 && *target == '/' && streq(target + 1, node);
                if (same)
                        r = sim_drop(sim, path);
                left += !same;
        }
        str_format(dir, sizeof(dir), "proc/%d", pid);
        return r == 0 && left == 0 ? sim_drop(sim, dir) : r;
}

static int hold(const struct sim *sim, const char *node, int pid, const char *comm)
{
        char path[SIM_PATH], target[SIM_PATH];
        int fd = 3;

        str_format(path, sizeof(path), "proc/%d/fd", pid);
        int r = sim_make_dir(sim, path);
        str_format(path, sizeof(path), "proc/%d/comm", pid);
        if (r == 0)
                r = sim_put(sim, path, comm ? comm : "holder");
        do
                str_format(path, sizeof(path), "proc/%d/fd/%d", pid, fd++);
        while (sim_there(sim, path));
        str_format(target, sizeof(target), "/%s", node);
        return r == 0 ? fs_symlink(target, sim->root, path) : r;
}

int sim_hold(struct sim *sim, const char *node, int pid, const char *comm, struct err *err)
{
        if (*node == '/')
                node++;
        _cleanup_close_ int lock = sim_lock(sim);
        if (lock < 0)
                return err_set(err, -lock, "cannot lock %s", sim->path);
        if (pid == 0 || !str_has_prefix(node, "dev/") || strstr(node, "/../"))
                return err_say(err, EINVAL, "cannot hold %s: a holder is a process and a node below /dev", node);
        int r = pid < 0 ? release(sim, node, -pid) : sim_there(sim, node) ? hold(sim, node, pid, comm) : -ENOENT;
        return r < 0 ? err_set(err, -r, "cannot %s /%s", pid < 0 ? "release" : "hold", node) : 0;
}
