/* SPDX-License-Identifier: Apache-2.0 */
/* Existing mediated devices. */
#include "host/scan_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "base/str.h"
#include "host/attribute.h"
#include "host/value.h"

/* The parent is the last component but one of the link's target. False: it is no PCI function (mdevs exist on channel
 * devices and on test devices too), and none of ours. */
static bool parent_of(const char *target, struct bdf *ret)
{
        const char *last = strrchr(target, '/');
        char parent[PATH_MAX];

        if (!last)
                return false;
        (void)str_copy(parent, sizeof(parent), target);
        parent[last - target] = '\0';
        const char *slash = strrchr(parent, '/');
        return bdf_parse(slash ? slash + 1 : parent, ret);
}

static int read_type(int dir, struct instance *instance, struct err *err)
{
        int r = fs_readlink_last(dir, "mdev_type", instance->type_id, sizeof(instance->type_id), err);
        if (r < 0)
                return r;
        r = attribute_read(dir, "mdev_type/name", instance->type_name, sizeof(instance->type_name), err);
        if (r < 0 && !fs_gone(r))
                return r;
        if (r < 0 || !*instance->type_name)
                (void)str_copy(instance->type_name, sizeof(instance->type_name), instance->type_id);
        return 0;
}

static int read_instance(struct scan *scan, int dir, struct instance *instance, struct err *err)
{
        struct group_fact fact = { 0 };

        int r = read_type(dir, instance, err);
        if (r < 0)
                return r;
        r = fs_readlink_last(dir, "driver", instance->driver, sizeof(instance->driver), err);
        if (r < 0 && !fs_gone(r))
                return r;
        if (r < 0)
                instance->driver[0] = '\0';
        r = groups_read(scan, dir, "iommu_group", &instance->group, &fact, err);
        if (r < 0)
                return r;
        instance->group_node = fact.node;
        /* Still the same device: its type link goes with it. */
        r = fs_exists(dir, "mdev_type");
        return r == 1 ? 0 : err_set(err, r ? -r : ENODEV, "it was removed");
}

static int read_one(struct scan *scan, int bus, const char *uuid, struct err *err)
{
        char target[PATH_MAX];
        struct bdf parent;

        int r = fs_readlink(bus, uuid, target, sizeof(target), err);
        if (r < 0)
                return r;
        if (!parent_of(target, &parent))
                return 0;
        if (!str_is_uuid(uuid))
                return err_say(err, EBADMSG, "its name is no UUID");
        _cleanup_close_ int dir = fs_open(bus, uuid, O_RDONLY | O_DIRECTORY, 0);
        if (dir < 0)
                return err_set(err, -dir, "cannot open its directory");
        struct instance *instance = inventory_add_instance(scan->inv);
        instance->parent = parent;
        (void)str_copy(instance->uuid, sizeof(instance->uuid), uuid);
        r = read_instance(scan, dir, instance, err);
        if (r < 0)
                scan->inv->n_instances--; /* whole or not at all */
        return r;
}

int mdev_read(struct scan *scan, struct err *err)
{
        _cleanup_fs_list_ struct fs_list uuids = { 0 };

        _cleanup_close_ int bus = fs_open(scan->tree->sys, "bus/mdev/devices", O_RDONLY | O_DIRECTORY, 0);
        if (bus < 0)
                return fs_gone(bus) ? 0 : err_set(err, -bus, "cannot open bus/mdev/devices");
        int r = fs_list(bus, ".", &uuids, err);
        if (r < 0)
                return err_prefix(err, "cannot list bus/mdev/devices");
        for (size_t i = 0; i < uuids.n; i++) {
                struct err why;
                r = read_one(scan, bus, uuids.names[i], &why);
                if (r < 0)
                        scan_broken(scan, uuids.names[i], fs_gone(r) && fs_exists(bus, uuids.names[i]) == 0, &why);
        }
        return 0;
}
