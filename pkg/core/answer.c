/* SPDX-License-Identifier: Apache-2.0 */
#include "core/answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "core/group.h"
#include "core/naming.h"

/* One requested device, and where its nodes are. */
struct part {
        const struct device *device;
        const struct function *fn; /* NULL for an mdev */
        int group;                 /* group node to list, -1 = none */
        int cdev;                  /* vfioN to list, -1 = none */
};

/* Addresses in order of their numbers, so that 10000:.. does not sort before 2000:..; UUIDs as text. */
static int compare_parts(const void *a, const void *b)
{
        const struct part *x = a, *y = b;

        if (x->fn && y->fn)
                return bdf_compare(x->fn->bdf, y->fn->bdf);
        return strcmp(x->device->id, y->device->id);
}

/* The last line of defence before the address leaves: what the offer said a moment ago may have changed since. */
static int check_function(const struct device *device, const struct function *fn, struct err *err)
{
        if (bdf_domain_is_wide(fn->bdf))
                return err_say(err, EINVAL, "%s: %s", device->id, reason_sentence(REASON_DOMAIN_WIDE));
        if (fn->n_vfs > 0)
                return err_say(err, ENODEV, "%s has %u virtual functions enabled and cannot be handed out", device->id, fn->n_vfs);
        if (fn->group < 0)
                return err_say(err, ENODEV, "%s has no IOMMU group", device->id);
        if (fn->noiommu)
                return err_say(err, ENODEV, "%s is in a no-IOMMU group without any isolation", device->id);
        if (device->kind == DEVICE_VGPU_VF && fn->vgpu_type == 0)
                return err_say(err, ENODEV, "%s has no vGPU type any more", device->id);
        if (device->kind != DEVICE_VGPU_VF && !group_on_vfio(fn))
                return err_say(err, ENODEV, "%s is not on a VFIO driver (driver %s)", device->id,
                               *fn->driver ? fn->driver : "none");
        return 0;
}

static int locate_function(const struct inventory *inv, const struct device *device, struct part *ret, struct err *err)
{
        const struct function *fn = inventory_function(inv, device->bdf);

        if (!fn)
                return err_say(err, ENODEV, "%s is no longer on the host", device->id);
        int r = check_function(device, fn, err);
        if (r < 0)
                return r;

        bool has_cdev = fn->vfio_index >= 0 && fn->cdev_node;
        if (!fn->group_node && !has_cdev)
                return err_say(err, ENODEV, "%s: its node /dev/vfio/%d does not exist", device->id, fn->group);
        *ret = (struct part){ .device = device, .fn = fn, .group = fn->group_node ? fn->group : -1,
                              .cdev = has_cdev ? fn->vfio_index : -1 };
        return 0;
}

static int locate_instance(const struct inventory *inv, const struct device *device, struct part *ret, struct err *err)
{
        const struct instance *instance = inventory_instance(inv, device->id);

        if (!instance)
                return err_say(err, ENODEV, "the vGPU %s is no longer on the host", device->id);
        if (instance->group < 0)
                return err_say(err, ENODEV, "the vGPU %s has no IOMMU group", device->id);
        if (!instance->group_node)
                return err_say(err, ENODEV, "the vGPU %s: its node /dev/vfio/%d does not exist", device->id, instance->group);
        *ret = (struct part){ .device = device, .group = instance->group, .cdev = -1 };
        return 0;
}

static int locate_all(const struct inventory *inv, const struct device *const *devices, size_t n, struct part *parts,
                      struct err *err)
{
        bool mdev = devices[0]->kind == DEVICE_VGPU_MDEV;

        for (size_t i = 0; i < n; i++) {
                /* Two kinds would need both of KubeVirt's prefixes, and then every device counts twice. */
                if ((devices[i]->kind == DEVICE_VGPU_MDEV) != mdev)
                        return err_say(err, EINVAL, "mediated and PCI devices cannot be answered for together (%s, %s)",
                                       devices[0]->id, devices[i]->id);
                int r = mdev ? locate_instance(inv, devices[i], &parts[i], err)
                             : locate_function(inv, devices[i], &parts[i], err);
                if (r < 0)
                        return r;
        }
        qsort(parts, n, sizeof(*parts), compare_parts);
        for (size_t i = 1; i < n; i++)
                if (streq(parts[i - 1].device->id, parts[i].device->id))
                        return err_say(err, EINVAL, "%s is named twice", parts[i].device->id);
        return 0;
}

static void add_node(struct answer *answer, const char *dir, const char *prefix, int number)
{
        char *path = number < 0 ? xstrdup(dir) : xasprintf("%s%s%d", dir, prefix, number);

        for (size_t i = 0; i < answer->n_nodes; i++)
                if (streq(answer->nodes[i], path)) {
                        free(path);
                        return;
                }
        answer->nodes[answer->n_nodes++] = path;
}

static void add_nodes(struct answer *answer, const struct part *parts, size_t n)
{
        answer->nodes = xcalloc(1 + 2 * n, sizeof(*answer->nodes));
        add_node(answer, "/dev/vfio/vfio", "", -1);
        for (size_t i = 0; i < n; i++)
                if (parts[i].group >= 0)
                        add_node(answer, "/dev/vfio/", "", parts[i].group);
        for (size_t i = 0; i < n; i++)
                if (parts[i].cdev >= 0)
                        add_node(answer, "/dev/vfio/devices/", "vfio", parts[i].cdev);
}

int answer_make(const struct inventory *inv, const char *resource, const struct device *const *devices, size_t n_devices,
                struct answer *ret, struct err *err)
{
        _cleanup_strbuf_ struct strbuf value = { 0 };

        if (n_devices == 0)
                return err_say(err, EINVAL, "the request names no device");
        /* Listed but absent, it would fail the container; left out, KubeVirt gives QEMU no access to the group nodes. */
        if (!inv->vfio_node)
                return err_say(err, ENODEV, "/dev/vfio/vfio does not exist: load the vfio module on the host");

        _cleanup_free_ struct part *parts = xcalloc(n_devices, sizeof(*parts));
        int r = locate_all(inv, devices, n_devices, parts, err);
        if (r < 0)
                return r;

        struct answer answer = { .env_name = naming_kubevirt_variable(resource, devices[0]->kind == DEVICE_VGPU_MDEV) };
        add_nodes(&answer, parts, n_devices);
        for (size_t i = 0; i < n_devices; i++)
                strbuf_addf(&value, "%s%s", i ? "," : "", parts[i].device->id);
        answer.env_value = strbuf_take(&value);
        *ret = answer;
        return 0;
}

void answer_done(struct answer *answer)
{
        free(answer->env_name);
        free(answer->env_value);
        for (size_t i = 0; i < answer->n_nodes; i++)
                free(answer->nodes[i]);
        free(answer->nodes);
        *answer = (struct answer){ 0 };
}
