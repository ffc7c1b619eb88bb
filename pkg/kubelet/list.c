/* SPDX-License-Identifier: Apache-2.0 */
/* A pool as kubelet's list. Made when it is sent and dropped at once: the offer is the only copy that stays. */
#include <stdlib.h>

#include "base/alloc.h"
#include "kubelet/kubelet_priv.h"

struct row {
        V1beta1__Device device;
        V1beta1__TopologyInfo topology;
        V1beta1__NUMANode node;
        V1beta1__NUMANode *nodes[1];
};

static void fill_row(struct row *row, const struct device *device, bool topology, bool withdrawn)
{
        static char healthy[] = "Healthy", unhealthy[] = "Unhealthy";

        v1beta1__device__init(&row->device);
        row->device.id = (char *)(uintptr_t)device->id;
        row->device.health = device->state == DEVICE_HEALTHY && !withdrawn ? healthy : unhealthy;
        /* Unknown is never sent as node 0. */
        if (!topology || device->numa_node < 0)
                return;
        v1beta1__numanode__init(&row->node);
        row->node.id = device->numa_node;
        row->nodes[0] = &row->node;
        v1beta1__topology_info__init(&row->topology);
        row->topology.n_nodes = 1;
        row->topology.nodes = row->nodes;
        row->device.topology = &row->topology;
}

void list_make(struct list *ret, const struct offer *offer, const struct pool *pool, bool withdrawn)
{
        size_t n = pool ? pool->n_devices : 0;
        struct block {
                V1beta1__Device **devices;
                struct row rows[];
        } *block = xcalloc(1, sizeof(*block) + n * (sizeof(struct row) + sizeof(V1beta1__Device *)));

        block->devices = (V1beta1__Device **)(void *)(block->rows + n);
        for (size_t i = 0; i < n; i++) {
                fill_row(&block->rows[i], &offer->devices[pool->devices[i]], pool->topology, withdrawn);
                block->devices[i] = &block->rows[i].device;
        }
        v1beta1__list_and_watch_response__init(&ret->msg);
        ret->msg.n_devices = n;
        ret->msg.devices = block->devices;
        ret->block = block;
}

void list_done(struct list *list)
{
        free(list->block);
}
