/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/fs.h"
#include "base/str.h"
#include "host/host.h"

/* The last component of @link of the device, "" when there is no such link. False: it cannot be read. */
static bool link_says(const struct tree *tree, const char *directory, const char *name, const char *link, const char *want)
{
        char path[128], text[DRIVER_LEN];
        struct err err;

        str_format(path, sizeof(path), "%s/%s/%s", directory, name, link);
        int r = fs_readlink_last(tree->sys, path, text, sizeof(text), &err);
        if (r < 0)
                return fs_gone(r) && !*want;
        return streq(text, want);
}

static bool is_current(const struct tree *tree, const char *directory, const char *name, const char *driver, int group)
{
        char group_text[16] = "";

        if (group >= 0)
                str_format(group_text, sizeof(group_text), "%d", group);
        return link_says(tree, directory, name, "iommu_group", group_text) && link_says(tree, directory, name, "driver", driver);
}

static bool reads_id(const struct tree *tree, const char *name, const char *attribute, uint16_t want)
{
        char path[64], text[16];
        struct err err;
        uint64_t id;

        str_format(path, sizeof(path), "bus/pci/devices/%s/%s", name, attribute);
        return fs_read_value(tree->sys, path, text, sizeof(text), &err) == 0 && str_to_u64(text, 16, 0xffff, &id) && id == want;
}

/* A card that was exchanged may have its predecessor's driver and the number of its group. */
bool host_function_is_current(const struct tree *tree, const struct function *fn)
{
        char name[BDF_TEXT_MAX];

        return is_current(tree, "bus/pci/devices", bdf_format(fn->bdf, name), fn->driver, fn->group) &&
               reads_id(tree, name, "vendor", fn->vendor) && reads_id(tree, name, "device", fn->device);
}

bool host_instance_is_current(const struct tree *tree, const struct instance *instance)
{
        return is_current(tree, "bus/mdev/devices", instance->uuid, instance->driver, instance->group);
}
