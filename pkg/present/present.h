/* SPDX-License-Identifier: Apache-2.0 */
/* How things are shown: tables for people, JSON and YAML for programs, all from the same data. Pure: text goes into a
 * buffer, who prints it is the caller's business. Any thread. */
#ifndef SLUICE_PRESENT_PRESENT_H
#define SLUICE_PRESENT_PRESENT_H

#include "base/err.h"
#include "base/str.h"
#include "core/offer.h"

enum present_format { PRESENT_TABLE, PRESENT_WIDE /* a table with more columns */, PRESENT_JSON, PRESENT_YAML };
bool present_format_parse(const char *s, enum present_format *ret); /* "table", "wide", "json", "yaml" */

/* What is on the host, what of it is offered, and why the rest is not. Appends to @out; on failure (-ENOMEM, -EIO of a
 * library) nothing is appended.
 *
 * JSON and YAML (keys in this order, all always present; null = unknown or none, never a made-up value):
 *   host: {iommu, vfio_node, iommufd_node, holders_visible}
 *   devices[]: {id, kind, mode, bdf, uuid, card, iommu_group, numa_node, vendor_id, device_id, class, model, driver, resource,
 *               state, reason, bind, needs_bind, rule}
 *     id, bdf, card are lower-case addresses, or a UUID (id of an mdev, whose bdf is its parent's); vendor_id, device_id and
 *     class are hexadecimal text without 0x (4, 4 and 6 digits); reason is null or {word, sentence, remedy, detail}; a
 *     healthy device's reason is its first warning; rule is the number of the rule that decided, 0 = the implicit one, null = none.
 *   pools[]: {resource, variable, topology, prefer, healthy, devices[]}; variable is the one that KubeVirt looks for
 *   broken[]: {name, reason}: what was there and could not be read whole
 *   warnings[]: {device, reason}: device null = concerns the host; a device may have several, the first with its detail
 * Tables show '-' for unknown and explain each reason word below. */
int present_inventory(const struct inventory *inv, const struct offer *offer, enum present_format format, struct strbuf *out,
                      struct err *err);

/* The table of reasons: [{word, use, sentence, remedy}]. */
int present_reasons(enum present_format format, struct strbuf *out, struct err *err);

#endif
