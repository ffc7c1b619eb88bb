/* SPDX-License-Identifier: Apache-2.0 */
#include "present/messages.h"

#include <limits.h>
#include <string.h>

#include "core/naming.h"

void *pb_make(struct pile *pile, const ProtobufCMessageDescriptor *descriptor)
{
        ProtobufCMessage *message = pile_take(pile, 1, descriptor->sizeof_message);

        descriptor->message_init(message);
        return message;
}

static char *text_of_bdf(struct pile *pile, struct bdf bdf)
{
        char text[BDF_TEXT_MAX];

        return pile_text(pile, bdf_format(bdf, text));
}

pb_reason *pb_reason_of(struct pile *pile, enum reason reason, const char *detail)
{
        if (reason == REASON_NONE)
                return NULL;
        pb_reason *m = pb_new(pile, reason);
        m->word = pb_text(reason_word(reason));
        m->sentence = pb_text(reason_sentence(reason));
        m->remedy = pb_text(reason_remedy(reason));
        m->detail = pb_text(detail);
        return m;
}

static void set_numbers(pb_device *m, const struct device *d)
{
        if (d->group >= 0) {
                m->iommu_group_known_case = SLUICE__NODE__V1__DEVICE__IOMMU_GROUP_KNOWN_IOMMU_GROUP;
                m->iommu_group = d->group;
        }
        if (d->numa_node >= 0) {
                m->numa_node_known_case = SLUICE__NODE__V1__DEVICE__NUMA_NODE_KNOWN_NUMA_NODE;
                m->numa_node = d->numa_node;
        }
        if (d->rule != UINT_MAX) {
                m->rule_known_case = SLUICE__NODE__V1__DEVICE__RULE_KNOWN_RULE;
                m->rule = d->rule;
        }
}

pb_device *pb_device_of(struct pile *pile, const struct inventory *inv, const struct device *d)
{
        const struct function *fn = inventory_function(inv, d->bdf); /* NULL: gone since it was listed */
        pb_device *m = pb_new(pile, device);

        m->id = pb_text(d->id);
        m->kind = pb_text(device_kind_name(d->kind));
        m->mode = pb_text(device_mode_name(d->mode));
        m->bdf = text_of_bdf(pile, d->bdf);
        m->uuid = pb_text(d->kind == DEVICE_VGPU_MDEV ? d->id : "");
        m->card = text_of_bdf(pile, d->card);
        set_numbers(m, d);
        m->vendor_id = pile_textf(pile, "%04x", d->vendor);
        m->device_id = pile_textf(pile, "%04x", d->device_id);
        m->class_ = fn ? pile_textf(pile, "%06x", fn->class_code) : pb_text("");
        m->model = pb_text(d->model);
        m->driver = pb_text(d->driver);
        m->resource = pb_text(d->resource);
        m->state = pb_text(device_state_name(d->state));
        m->reason = pb_reason_of(pile, d->reason, d->detail);
        m->bind = pb_text(bind_policy_name(d->bind));
        m->needs_bind = d->needs_bind;
        return m;
}

pb_pool *pb_pool_of(struct pile *pile, const struct offer *offer, const struct pool *pool)
{
        _cleanup_free_ char *variable = naming_kubevirt_variable(pool->resource, pool->mdev);
        pb_pool *m = pb_new(pile, pool);

        m->resource = pb_text(pool->resource);
        m->variable = pile_text(pile, variable);
        m->topology = pool->topology;
        m->prefer = pb_text(pool->prefer == PREFER_SPREAD ? "spread" : "pack");
        m->devices = pile_take(pile, pool->n_devices, sizeof(*m->devices));
        for (size_t i = 0; i < pool->n_devices; i++) {
                const struct device *d = &offer->devices[pool->devices[i]];

                m->devices[m->n_devices++] = pb_text(d->id);
                m->healthy += d->state == DEVICE_HEALTHY;
        }
        return m;
}

/* ---- the list ---- */

/* Room for all warnings of @n devices: what the page can hold. */
enum { HOST_WARNINGS_MAX = 2, DEVICE_WARNINGS_MAX = 1 + WARNINGS_MAX };

static void add_warning(struct pile *pile, pb_node_list_devices_response *m, const char *device, enum reason reason, const char *detail)
{
        pb_warning *w = pb_new(pile, warning);

        w->device = pb_text(device);
        w->reason = pb_reason_of(pile, reason, detail);
        m->warnings[m->n_warnings++] = w;
}

static void add_warnings_of(struct pile *pile, pb_node_list_devices_response *m, const struct device *d)
{
        if (d->state == DEVICE_HEALTHY && d->reason != REASON_NONE)
                add_warning(pile, m, d->id, d->reason, d->detail);
        for (size_t k = 0; k < WARNINGS_MAX && d->also[k]; k++)
                add_warning(pile, m, d->id, d->also[k], "");
}

/* What is said once: of the host, the pools, what could not be read. */
static void add_head(struct pile *pile, pb_node_list_devices_response *m, const struct inventory *inv, const struct offer *offer)
{
        m->host = pb_new(pile, host);
        m->host->iommu = inv->iommu;
        m->host->vfio_node = inv->vfio_node;
        m->host->iommufd_node = inv->iommufd_node;
        m->host->holders_visible = inv->holders_visible;
        m->pools = pile_take(pile, offer->n_pools, sizeof(*m->pools));
        for (size_t i = 0; i < offer->n_pools; i++)
                m->pools[m->n_pools++] = pb_pool_of(pile, offer, &offer->pools[i]);
        m->broken = pile_take(pile, inv->n_broken, sizeof(*m->broken));
        for (size_t i = 0; i < inv->n_broken; i++) {
                pb_broken *b = m->broken[m->n_broken++] = pb_new(pile, broken);
                b->name = pb_text(inv->broken[i].name);
                b->reason = pb_reason_of(pile, inv->broken[i].reason, inv->broken[i].detail);
        }
        if (!inv->vfio_node || !inventory_has_driver(inv, "vfio-pci"))
                add_warning(pile, m, "", REASON_VFIO_MISSING, "");
        if (!inv->holders_visible)
                add_warning(pile, m, "", REASON_HOLDERS_UNKNOWN, "");
}

pb_node_list_devices_response *pb_devices_of(struct pile *pile, const struct inventory *inv, const struct offer *offer, const char *after,
                                             size_t page_size)
{
        pb_node_list_devices_response *m = pb_new(pile, node_list_devices_response);
        size_t first = 0;

        while (first < offer->n_devices && *after && strcmp(offer->devices[first].id, after) <= 0)
                first++;
        size_t end = offer->n_devices - first > page_size ? first + page_size : offer->n_devices;
        m->devices = pile_take(pile, end - first, sizeof(*m->devices));
        m->warnings = pile_take(pile, HOST_WARNINGS_MAX + (end - first) * DEVICE_WARNINGS_MAX, sizeof(*m->warnings));
        if (!*after)
                add_head(pile, m, inv, offer);
        for (size_t i = first; i < end; i++) {
                m->devices[m->n_devices++] = pb_device_of(pile, inv, &offer->devices[i]);
                add_warnings_of(pile, m, &offer->devices[i]);
        }
        if (end < offer->n_devices)
                m->next_page_token = pb_text(offer->devices[end - 1].id);
        return m;
}
