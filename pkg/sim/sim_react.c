/* SPDX-License-Identifier: Apache-2.0 */
/* The table of writes that the simulated kernel reacts to. Each row has cases in tests/reactions.h, which also run on a real
 * kernel. Sources: drivers/base/{bus,dd,driver}.c, drivers/pci/{pci-sysfs,iov}.c, drivers/vfio, and what was seen on Debian's
 * 6.1 kernel where these leave it to the driver. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/bdf.h"
#include "sim/sim_priv.h"

static const char *const act_names[] = {
        [ACT_NOTHING] = "nothing",
        [ACT_OVERRIDE] = "override",
        [ACT_SET] = "set",
        [ACT_BIND] = "bind",
        [ACT_UNBIND] = "unbind",
        [ACT_UNBIND_LOCK] = "unbind-lock",
        [ACT_MDEV_REMOVE] = "mdev-remove",
        [ACT_NUMVFS] = "numvfs",
        [ACT_REMOVE] = "remove",
        [ACT_RESCAN] = "rescan",
        [ACT_PLUG] = "plug",
};

const char *sim_act_name(enum sim_act act)
{
        return act_names[act];
}

bool sim_act_parse(const char *s, enum sim_act *ret)
{
        for (size_t i = 0; i < N_ELEMENTS(act_names); i++)
                if (streq(s, act_names[i])) {
                        *ret = (enum sim_act)i;
                        return true;
                }
        return false;
}

/* The @index-th component of a path, from 0. */
static void component(const char *path, unsigned index, char out[SIM_NAME])
{
        for (; index > 0 && path; index--)
                path = strchr(path, '/') ? strchr(path, '/') + 1 : NULL;
        str_format(out, SIM_NAME, "%.*s", path ? (int)strcspn(path, "/") : 0, path ? path : "");
}

static void act(struct sim_action *a, enum sim_act what, const char *key, const char *text)
{
        a->act = what;
        str_format(a->key, sizeof(a->key), "%s", key);
        str_format(a->text, sizeof(a->text), "%s", text);
}

static bool is_function(const struct sim *sim, const char *name)
{
        char path[SIM_PATH];

        if (*name == '\0' || *name == '.' || strchr(name, '/'))
                return false;
        str_format(path, sizeof(path), "sys/bus/pci/devices/%s", name);
        return sim_there(sim, path);
}

/* driver_set_override(): a lone newline clears. */
static int decide_override(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        char bdf[SIM_NAME];

        component(q->path, 4, bdf);
        if (!is_function(sim, bdf))
                return -ENOENT;
        act(ret, ACT_OVERRIDE, bdf, *q->value ? q->value : "(null)");
        return 0;
}

/* drivers_probe_store(): the write succeeds whatever the probe says; only an unknown name is an error. */
static int decide_probe(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        char driver[SIM_NAME];

        if (!is_function(sim, q->value))
                return -ENODEV;
        act(ret, ACT_NOTHING, q->value, "");
        sim_driver_inside(sim, q->value, driver);
        if (*driver)
                return 0;
        sim_driver_for(sim, q->value, driver);
        if (*driver && sim_bind_check(sim, q->value, driver) == 0)
                act(ret, ACT_BIND, q->value, driver);
        return 0;
}

/* unbind_store(): ENODEV unless the named device is bound to this very driver. */
static int decide_unbind_from(const struct sim *sim, const char *driver, const char *bdf, struct sim_action *ret)
{
        char bound[SIM_NAME];

        if (!is_function(sim, bdf))
                return -ENODEV;
        sim_driver_inside(sim, bdf, bound);
        if (!streq(bound, driver))
                return -ENODEV;
        act(ret, ACT_UNBIND, bdf, driver);
        return 0;
}

static int decide_device_unbind(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        char bdf[SIM_NAME], driver[SIM_NAME];

        component(q->path, 4, bdf);
        sim_driver_of(sim, bdf, driver);
        if (*driver == '\0')
                return -ENOENT; /* no driver, no directory "driver" to write in */
        return decide_unbind_from(sim, driver, q->value, ret);
}

static int decide_driver_unbind(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        char driver[SIM_NAME];

        component(q->path, 4, driver);
        return sim_driver_registered(sim, driver) ? decide_unbind_from(sim, driver, q->value, ret) : -ENOENT;
}

/* bind_store(): ENODEV when the driver does not match, EBUSY when there is one, else what its probe says. */
static int decide_driver_bind(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        char driver[SIM_NAME], wanted[SIM_NAME], bound[SIM_NAME];

        component(q->path, 4, driver);
        if (!sim_driver_registered(sim, driver))
                return -ENOENT;
        if (!is_function(sim, q->value))
                return -ENODEV;
        sim_driver_for(sim, q->value, wanted);
        if (!streq(wanted, driver))
                return -ENODEV;
        sim_driver_of(sim, q->value, bound);
        if (*bound)
                return -EBUSY;
        act(ret, ACT_BIND, q->value, driver);
        return sim_bind_check(sim, q->value, driver);
}

static bool driver_makes_vfs(const struct sim *sim, const char *driver)
{
        static const char *const able[] = { "nvidia", "i915", "xe", "nvme", "mlx5_core" };
        char value[8];

        for (size_t i = 0; i < N_ELEMENTS(able); i++)
                if (streq(driver, able[i]))
                        return true;
        sim_get(sim, "sys/module/vfio_pci/parameters/enable_sriov", value, sizeof(value));
        return sim_driver_is_vfio(driver) && *value == 'Y';
}

/* sriov_numvfs_store(), in its order. */
static int decide_numvfs(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        char bdf[SIM_NAME], path[SIM_PATH], text[32], driver[SIM_NAME];
        uint64_t wanted, total;

        component(q->path, 4, bdf);
        str_format(path, sizeof(path), "sys/bus/pci/devices/%s/sriov_totalvfs", bdf);
        sim_get(sim, path, text, sizeof(text));
        if (!str_to_u64(text, 10, UINT16_MAX, &total))
                return -ENOENT;
        if (!str_to_u64(q->value, 10, UINT16_MAX, &wanted))
                return -EINVAL;
        if (wanted > total)
                return -ERANGE;
        act(ret, ACT_NOTHING, bdf, q->value);
        unsigned now = sim_vfs_count(sim, bdf);
        if (wanted == now)
                return 0;
        sim_driver_inside(sim, bdf, driver);
        if (*driver == '\0' || !driver_makes_vfs(sim, driver))
                return -ENOENT;
        if (wanted > 0 && now > 0)
                return -EBUSY;
        act(ret, ACT_NUMVFS, bdf, q->value);
        return 0;
}

static int decide_mdev_remove(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        char uuid[SIM_NAME], dir[SIM_PATH];

        component(q->path, 4, uuid);
        if (sim_device_dir(sim, uuid, dir) < 0)
                return -ENOENT;
        if (!streq(q->value, "0") && !streq(q->value, "1"))
                return -EINVAL;
        act(ret, streq(q->value, "1") ? ACT_MDEV_REMOVE : ACT_NOTHING, uuid, "");
        return 0;
}

static int decide_set(struct sim_action *ret, const char *bdf, const char *attribute, const char *value)
{
        char text[SIM_VALUE];

        str_format(text, sizeof(text), "%s %s", attribute, value);
        act(ret, ACT_SET, bdf, text);
        return 0;
}

static bool has_word(const char *list, const char *word, size_t n)
{
        for (const char *at = list + strspn(list, " "); *at; at += strspn(at, " ")) {
                size_t length = strcspn(at, " ");
                if (length == n && strncmp(at, word, n) == 0)
                        return true;
                at += length;
        }
        return false;
}

/* pci_parent_bus_reset(): not while another function is on the bus. */
static bool bus_is_shared(const struct sim *sim, const char *bdf)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        size_t n = strcspn(bdf, ".") - 2; /* "0000:3b:" */

        sim_names(sim, "sys/bus/pci/devices", &names);
        for (size_t i = 0; i < names.n; i++)
                if (strncmp(names.names[i], bdf, n) == 0 && !streq(names.names[i], bdf))
                        return true;
        return false;
}

/* reset_method_store(): an empty line switches all off, "default" is what there was; else each must be one that the device has. */
static int decide_reset_method(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        char bdf[SIM_NAME], dir[SIM_PATH], path[SIM_PATH];

        component(q->path, 4, bdf);
        int r = sim_device_dir(sim, bdf, dir);
        str_format(path, sizeof(path), "%s/reset_method", dir);
        if (r < 0 || !sim_there(sim, path))
                return -ENOENT;
        char had[SIM_VALUE];
        const struct capture_entry *source = capture_find(sim->source, path);
        str_format(had, sizeof(had), "%.*s", source ? (int)strcspn(source->value, "\n") : 0, source ? source->value : "");
        char *bus = str_has_suffix(had, "bus") && !str_has_suffix(had, "cxl_bus") && bus_is_shared(sim, bdf) ? strrchr(had, 'b') : NULL;
        if (bus) /* the last that the kernel lists */
                bus[bus > had ? -1 : 0] = '\0';
        if (streq(q->value, "default"))
                return decide_set(ret, bdf, "reset_method", had);
        for (const char *at = q->value + strspn(q->value, " "); *at; at += strspn(at, " ")) {
                size_t n = strcspn(at, " ");
                if (!has_word(had, at, n))
                        return -EINVAL;
                at += n;
        }
        return decide_set(ret, bdf, "reset_method", q->value);
}

/* control_store() in drivers/base/power/sysfs.c. */
static int decide_power_control(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        char bdf[SIM_NAME];

        component(q->path, 4, bdf);
        if (!is_function(sim, bdf))
                return -ENOENT;
        if (!streq(q->value, "auto") && !streq(q->value, "on"))
                return -EINVAL;
        return decide_set(ret, bdf, "power/control", q->value);
}

static int decide_d3cold(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        char bdf[SIM_NAME];
        uint64_t number;

        component(q->path, 4, bdf);
        if (!is_function(sim, bdf))
                return -ENOENT;
        if (!str_to_u64(q->value, 10, UINT32_MAX, &number))
                return -EINVAL;
        return decide_set(ret, bdf, "d3cold_allowed", number ? "1" : "0");
}

/* reset_store(): the file is there only with a way to reset. */
static int decide_reset(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        char bdf[SIM_NAME], path[SIM_PATH], methods[SIM_NAME];

        component(q->path, 4, bdf);
        str_format(path, sizeof(path), "sys/bus/pci/devices/%s/reset_method", bdf);
        if (!sim_there(sim, path))
                return -ENOENT;
        sim_get(sim, path, methods, sizeof(methods));
        if (!streq(q->value, "1"))
                return -EINVAL;
        if (*methods == '\0')
                return -ENOTTY; /* switched off */
        act(ret, ACT_NOTHING, bdf, "");
        return 0;
}

static int decide_remove(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        char bdf[SIM_NAME];

        component(q->path, 4, bdf);
        if (!is_function(sim, bdf))
                return -ENOENT;
        if (!streq(q->value, "0") && !streq(q->value, "1"))
                return -EINVAL;
        act(ret, streq(q->value, "1") ? ACT_REMOVE : ACT_NOTHING, bdf, "");
        return 0;
}

static int decide_rescan(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        (void)sim;
        if (!streq(q->value, "0") && !streq(q->value, "1"))
                return -EINVAL;
        act(ret, streq(q->value, "1") ? ACT_RESCAN : ACT_NOTHING, "", "");
        return 0;
}

/* NVIDIA's gate: the write always succeeds; reading back says whether no one has the device open. */
static int decide_unbind_lock(const struct sim *sim, const struct sim_request *q, struct sim_action *ret)
{
        char bdf[SIM_NAME], path[SIM_PATH];

        component(q->path, 4, bdf);
        str_format(path, sizeof(path), "%s", q->path);
        if (!sim_there(sim, path))
                return -ENOENT;
        if (!streq(q->value, "0") && !streq(q->value, "1"))
                return -EINVAL;
        bool busy = streq(q->value, "1") && sim_device_held(sim, bdf);
        act(ret, busy ? ACT_NOTHING : ACT_UNBIND_LOCK, bdf, q->value);
        return 0;
}

static const struct sim_row rows[] = {
        { "override", "sys/bus/pci/devices/*/driver_override", "driver_override", decide_override, ROW_LOCKS },
        { "device-unbind", "sys/bus/pci/devices/*/driver/unbind", "unbind", decide_device_unbind, ROW_LOCKS | ROW_WAITS },
        { "driver-unbind", "sys/bus/pci/drivers/*/unbind", "unbind", decide_driver_unbind, ROW_LOCKS | ROW_WAITS },
        { "driver-bind", "sys/bus/pci/drivers/*/bind", "bind", decide_driver_bind, ROW_LOCKS },
        { "probe", "sys/bus/pci/drivers_probe", "drivers_probe", decide_probe, ROW_LOCKS },
        { "numvfs", "sys/bus/pci/devices/*/sriov_numvfs", "sriov_numvfs", decide_numvfs, ROW_LOCKS | ROW_WAITS },
        { "mdev-remove", "sys/bus/mdev/devices/*/remove", "remove", decide_mdev_remove, ROW_LOCKS | ROW_WAITS },
        { "reset", "sys/bus/pci/devices/*/reset", "reset", decide_reset, ROW_LOCKS },
        { "reset-method", "sys/bus/pci/devices/*/reset_method", "reset_method", decide_reset_method, 0 },
        { "power-control", "sys/bus/pci/devices/*/power/control", "control", decide_power_control, ROW_LOCKS },
        { "d3cold", "sys/bus/pci/devices/*/d3cold_allowed", "d3cold_allowed", decide_d3cold, 0 },
        { "pci-remove", "sys/bus/pci/devices/*/remove", "remove", decide_remove, ROW_LOCKS | ROW_WAITS },
        { "pci-rescan", "sys/bus/pci/rescan", "rescan", decide_rescan, 0 },
        { "unbind-lock", "proc/driver/nvidia/gpus/*/unbindLock", "unbindLock", decide_unbind_lock, 0 },
};

const char *const *sim_reactions(size_t *ret_n)
{
        static const char *names[N_ELEMENTS(rows)];

        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                names[i] = rows[i].name;
        *ret_n = N_ELEMENTS(rows);
        return names;
}

const struct sim_row *sim_row_find(const char *path)
{
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                if (str_glob(rows[i].pattern, path))
                        return &rows[i];
        return NULL;
}

const struct sim_row *sim_row_named(const char *name)
{
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                if (streq(rows[i].name, name))
                        return &rows[i];
        return NULL;
}

int sim_request_make(const char *top, const char *path, const char *value, struct sim_request *ret)
{
        char part[SIM_NAME];
        struct bdf bdf;

        if (strlen(path) > CAPTURE_MAX_PATH)
                return -ENAMETOOLONG;
        if (strlen(value) >= sizeof(ret->value))
                return -EINVAL;
        str_format(ret->path, sizeof(ret->path), "%s/%s", top, path);
        for (const char *p = path; streq(top, "sys") && *p;) {
                size_t n = strcspn(p, "/");
                str_format(part, sizeof(part), "%.*s", (int)(n < sizeof(part) ? n : 0), p);
                p += n;
                if (*p == '\0')
                        break;
                p++;
                if (bdf_parse(part, &bdf))
                        str_format(ret->path, sizeof(ret->path), "sys/bus/pci/devices/%s/%s", part, p);
                else if (str_is_uuid(part))
                        str_format(ret->path, sizeof(ret->path), "sys/bus/mdev/devices/%s/%s", part, p);
        }
        str_format(ret->value, sizeof(ret->value), "%s", value);
        size_t n = strlen(ret->value); /* one newline, as sysfs_streq() and kstrto*() allow */
        if (n > 0 && ret->value[n - 1] == '\n')
                ret->value[n - 1] = '\0';
        for (const char *p = ret->value; *p; p++)
                if ((unsigned char)*p < ' ')
                        return -EINVAL;
        return 0;
}

static int apply_override(const struct sim *sim, const struct sim_action *a)
{
        char path[SIM_PATH];

        str_format(path, sizeof(path), "sys/bus/pci/devices/%s/driver_override", a->key);
        return sim_put(sim, path, a->text);
}

static int apply_set(const struct sim *sim, const struct sim_action *a)
{
        char path[SIM_PATH];
        size_t n = strcspn(a->text, " ");

        str_format(path, sizeof(path), "sys/bus/pci/devices/%s/%.*s", a->key, (int)n, a->text);
        return sim_put(sim, path, a->text + n + (a->text[n] == ' '));
}

static int apply_unbind_lock(const struct sim *sim, const struct sim_action *a)
{
        char path[SIM_PATH];

        str_format(path, sizeof(path), "proc/driver/nvidia/gpus/%s/unbindLock", a->key);
        return sim_put(sim, path, a->text);
}

static int apply_numvfs(const struct sim *sim, const struct sim_action *a)
{
        uint64_t n = 0;

        (void)str_to_u64(a->text, 10, UINT16_MAX, &n);
        return n ? sim_vfs_add(sim, a->key, (unsigned)n) : sim_vfs_remove(sim, a->key);
}

int sim_apply(const struct sim *sim, const struct sim_action *a)
{
        switch (a->act) {
        case ACT_NOTHING:
                return 0;
        case ACT_OVERRIDE:
                return apply_override(sim, a);
        case ACT_SET:
                return apply_set(sim, a);
        case ACT_BIND:
                return sim_bind(sim, a->key, a->text);
        case ACT_UNBIND:
                return sim_unbind(sim, a->key, a->text);
        case ACT_UNBIND_LOCK:
                return apply_unbind_lock(sim, a);
        case ACT_MDEV_REMOVE:
                return sim_mdev_remove(sim, a->key);
        case ACT_NUMVFS:
                return apply_numvfs(sim, a);
        case ACT_REMOVE:
                return sim_function_remove(sim, a->key);
        case ACT_RESCAN:
                return sim_bus_rescan(sim);
        case ACT_PLUG:
                return sim_bus_plug(sim, a->key);
        }
        return -EINVAL;
}
