/* SPDX-License-Identifier: Apache-2.0 */
/* What says "look again": kernel uevents (netlink, subsystems pci, vfio, mdev, iommu), inotify on /dev/vfio (and its
 * parent and devices/ directory), on the vGPU types of virtual functions and, on a simulated host, on the simulation's event
 * file. Descriptors for the loop; the content is only a hint (level-triggered), an overflow is a hint too. Why not libudev:
 * docs/decisions/uevents-netlink.md.
 *
 * Loop thread. */
#ifndef SLUICE_HOST_EVENTS_H
#define SLUICE_HOST_EVENTS_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "base/tree.h"
#include "core/inventory.h"

/* Once per wake-up, however many messages waited. @what is borrowed for the call: "bind pci 0000:3b:00.0 (and 3 more)".
 * May call host_events_stop. */
typedef void host_event_fn(void *ctx, const char *what /* for the debug log */);
struct host_events;
/* @sim_root: a simulated host at that directory: no netlink, its event file .sim/events instead; NULL = the machine. @tree
 * is borrowed for the call. A missing right (netlink in a user namespace, no inotify instance left) is not an error:
 * @ret_blind says so and the timer has to do. */
int host_events_start(struct host_events **ret, uv_loop_t *loop, const struct tree *tree, const char *sim_root, host_event_fn *fn,
                      void *ctx, bool *ret_blind, struct err *err);
/* After each look: follows the vGPU type of every function of @inv that has one. A type is set by a write to sysfs, of which the
 * kernel sends no uevent; inotify tells of it where the writer's sysfs is the one that we see (not that of another network
 * namespace). True: one is followed since now, and what was written since the look is not told of: look again. NULL-safe. */
bool host_events_follow_types(struct host_events *events, const struct tree *tree, const struct inventory *inv);
void host_events_stop(struct host_events *events); /* NULL-safe; no call of fn after it; frees itself when the loop has let go */

#endif
