/* SPDX-License-Identifier: Apache-2.0 */
#include "kubelet/leftovers.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"

enum { CHECKPOINT_MAX = 16 << 20 };

/* ---- sockets ---- */

void kubelet_sockets_left(const char *dir, bool running, struct leftovers *leftovers)
{
        static const char *const below[] = { "device-plugins", "plugins_registry", "plugins/sluice" };
        struct err unused;

        for (size_t i = 0; i < N_ELEMENTS(below) && !running; i++) {
                _cleanup_free_ char *path = xasprintf("%s/%s", dir, below[i]);
                _cleanup_fs_list_ struct fs_list list = { 0 };
                if (fs_list(AT_FDCWD, path, &list, &unused) < 0)
                        continue; /* none is there; what may not be read the checkpoint will say */
                for (size_t k = 0; k < list.n; k++) {
                        _cleanup_free_ char *file = xasprintf("%s/%s", path, list.names[k]);
                        if (str_has_prefix(list.names[k], "sluice-") && str_has_suffix(list.names[k], ".sock"))
                                leftovers_add(leftovers, LEFTOVER_SOCKET, file, "kubelet's way to a sluiced that is not there");
                }
        }
}

/* ---- the checkpoint ---- */

struct reading {
        kubelet_is_ours_fn *is_ours;
        void *ctx;
        struct leftovers *leftovers;
};

static bool is_ours(const struct reading *reading, const char *resource, const json_t *id)
{
        return json_is_string(id) && reading->is_ours(reading->ctx, resource, json_string_value(id));
}

/* "DeviceIDs": {"0": ["0000:3b:00.0"]}, by NUMA node. */
static void read_pod(const struct reading *reading, json_t *entry)
{
        const char *uid, *container, *resource, *node;
        json_t *nodes, *ids, *id;
        size_t i;

        if (json_unpack(entry, "{s:s, s:s, s:s, s:o}", "PodUID", &uid, "ContainerName", &container, "ResourceName", &resource, "DeviceIDs",
                        &nodes) < 0)
                return;
        json_object_foreach(nodes, node, ids)
        {
                json_array_foreach(ids, i, id)
                {
                        if (is_ours(reading, resource, id))
                                leftovers_add(reading->leftovers, LEFTOVER_POD, json_string_value(id),
                                              "%s, container %s of the pod with uid %s", resource, container, uid);
                }
        }
}

static void read_resources(const struct reading *reading, json_t *resources)
{
        const char *resource;
        json_t *ids, *id;
        size_t i;

        json_object_foreach(resources, resource, ids)
        {
                /* Of a plugin whose stream has ended it keeps the name alone, for five minutes. */
                bool ours = json_array_size(ids) == 0 || reading->is_ours(reading->ctx, resource, "");
                json_array_foreach(ids, i, id)
                {
                        ours = ours || is_ours(reading, resource, id);
                }
                if (ours)
                        leftovers_add(reading->leftovers, LEFTOVER_RESOURCE, resource,
                                      "in kubelet's checkpoint, with %zu healthy devices%s", json_array_size(ids),
                                      json_array_size(ids) == 0 ? ": Sluice's, or another plugin's that has ended" : "");
        }
}

int kubelet_checkpoint_left(const char *dir, kubelet_is_ours_fn *is_ours_fn, void *ctx, struct leftovers *leftovers, struct err *err)
{
        const struct reading reading = { .is_ours = is_ours_fn, .ctx = ctx, .leftovers = leftovers };
        _cleanup_free_ char *path = xasprintf("%s/device-plugins/kubelet_internal_checkpoint", dir);
        json_error_t where;
        json_t *data, *entry;
        size_t n = 0, i;

        if (fs_exists(AT_FDCWD, path) == 0)
                return 0;
        _cleanup_free_ char *text = xcalloc(CHECKPOINT_MAX, 1);
        int r = fs_read(AT_FDCWD, path, text, CHECKPOINT_MAX, &n, err);
        if (r < 0)
                return r;
        json_auto_t *tree = json_loads(text, 0, &where);
        data = json_object_get(tree, "Data");
        if (!json_is_object(data))
                return err_say(err, EBADMSG, "%s is not what kubelet wrote up to 1.36: %s", path, tree ? "it has no Data" : where.text);
        json_array_foreach(json_object_get(data, "PodDeviceEntries"), i, entry)
        {
                read_pod(&reading, entry);
        }
        read_resources(&reading, json_object_get(data, "RegisteredDevices"));
        return 0;
}
