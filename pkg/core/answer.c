/* SPDX-License-Identifier: Apache-2.0 */
#include "core/answer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
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

__attribute__((format(printf, 4, 5))) static enum reason refuse(enum reason reason, struct err *err, int code, const char *fmt, ...)
{
        char text[ERR_MSG_MAX];
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        (void)err_say(err, code, "%s", text);
        return reason;
}

/* The last line of defence before the address leaves: what the offer said a moment ago may have changed since. */
static enum reason check_function(const struct device *device, const struct function *fn, struct err *err)
{
        if (bdf_domain_is_wide(fn->bdf))
                return refuse(REASON_DOMAIN_WIDE, err, EINVAL, "%s: %s", device->id, reason_sentence(REASON_DOMAIN_WIDE));
        if (fn->n_vfs > 0)
                return refuse(REASON_PF_HAS_VFS, err, ENODEV, "%s has %u virtual functions enabled and cannot be handed out", device->id,
                              fn->n_vfs);
        if (fn->group < 0)
                return refuse(REASON_NO_GROUP, err, ENODEV, "%s has no IOMMU group", device->id);
        if (fn->noiommu)
                return refuse(REASON_NOIOMMU, err, ENODEV, "%s is in a no-IOMMU group without any isolation", device->id);
        if (device->kind == DEVICE_VGPU_VF && fn->vgpu_type == 0)
                return refuse(REASON_NO_VGPU_TYPE, err, ENODEV, "%s has no vGPU type any more", device->id);
        if (device->kind != DEVICE_VGPU_VF && !group_on_vfio(fn))
                return refuse(REASON_NOT_BOUND, err, ENODEV, "%s is not on a VFIO driver (driver %s)", device->id,
                              *fn->driver ? fn->driver : "none");
        return REASON_NONE;
}

static enum reason locate_function(const struct inventory *inv, const struct device *device, struct part *ret, struct err *err)
{
        const struct function *fn = inventory_function(inv, device->bdf);

        if (!fn)
                return refuse(REASON_GONE, err, ENODEV, "%s is no longer on the host", device->id);
        enum reason reason = check_function(device, fn, err);
        if (reason)
                return reason;

        bool has_cdev = fn->vfio_index >= 0 && fn->cdev_node;
        if (!fn->group_node && !has_cdev)
                return refuse(REASON_NODE_MISSING, err, ENODEV, "%s: its node /dev/vfio/%d does not exist", device->id, fn->group);
        *ret = (struct part){
                .device = device, .fn = fn, .group = fn->group_node ? fn->group : -1, .cdev = has_cdev ? fn->vfio_index : -1
        };
        return REASON_NONE;
}

static enum reason locate_instance(const struct inventory *inv, const struct device *device, struct part *ret, struct err *err)
{
        const struct instance *instance = inventory_instance(inv, device->id);

        if (!instance)
                return refuse(REASON_GONE, err, ENODEV, "the vGPU %s is no longer on the host", device->id);
        if (instance->group < 0)
                return refuse(REASON_NO_GROUP, err, ENODEV, "the vGPU %s has no IOMMU group", device->id);
        if (!instance->group_node)
                return refuse(REASON_NODE_MISSING, err, ENODEV, "the vGPU %s: its node /dev/vfio/%d does not exist", device->id,
                              instance->group);
        *ret = (struct part){ .device = device, .group = instance->group, .cdev = -1 };
        return REASON_NONE;
}

static enum reason locate_all(const struct inventory *inv, const struct device *const *devices, size_t n, struct part *parts,
                              struct err *err)
{
        bool mdev = devices[0]->kind == DEVICE_VGPU_MDEV;

        for (size_t i = 0; i < n; i++) {
                /* Two kinds would need both of KubeVirt's prefixes, and then every device counts twice. */
                if ((devices[i]->kind == DEVICE_VGPU_MDEV) != mdev)
                        return refuse(REASON_UNKNOWN_DEVICE, err, EINVAL,
                                      "mediated and PCI devices cannot be answered for together (%s, %s)", devices[0]->id, devices[i]->id);
                enum reason reason =
                        mdev ? locate_instance(inv, devices[i], &parts[i], err) : locate_function(inv, devices[i], &parts[i], err);
                if (reason)
                        return reason;
        }
        qsort(parts, n, sizeof(*parts), compare_parts);
        for (size_t i = 1; i < n; i++)
                if (streq(parts[i - 1].device->id, parts[i].device->id))
                        return refuse(REASON_DUPLICATE_DEVICE, err, EINVAL, "%s is named twice", parts[i].device->id);
        return REASON_NONE;
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

enum reason answer_make(const struct inventory *inv, const char *resource, const struct device *const *devices, size_t n_devices,
                        struct answer *ret, struct err *err)
{
        _cleanup_strbuf_ struct strbuf value = { 0 };

        if (n_devices == 0)
                return refuse(REASON_EMPTY_REQUEST, err, EINVAL, "the request for %s names no device", resource);
        /* Listed but absent, it would fail the container; left out, KubeVirt gives QEMU no access to the group nodes. */
        if (!inv->vfio_node)
                return refuse(REASON_VFIO_MISSING, err, ENODEV, "%s: /dev/vfio/vfio does not exist", devices[0]->id);

        _cleanup_free_ struct part *parts = xcalloc(n_devices, sizeof(*parts));
        enum reason reason = locate_all(inv, devices, n_devices, parts, err);
        if (reason)
                return reason;

        struct answer answer = { .env_name = naming_kubevirt_variable(resource, devices[0]->kind == DEVICE_VGPU_MDEV) };
        add_nodes(&answer, parts, n_devices);
        for (size_t i = 0; i < n_devices; i++)
                strbuf_addf(&value, "%s%s", i ? "," : "", parts[i].device->id);
        answer.env_value = strbuf_take(&value);
        *ret = answer;
        return REASON_NONE;
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
