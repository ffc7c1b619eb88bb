/* What says "look again": kernel uevents (netlink, subsystems pci, vfio, mdev, iommu), inotify on /dev/vfio (and its
 * parent and devices/ directory) and, on a simulated host, on the simulation's event file. Descriptors for the loop; the
 * content is only a hint (level-triggered), an overflow is a hint too. */
#ifndef SLUICE_HOST_EVENTS_H
#define SLUICE_HOST_EVENTS_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "base/tree.h"

typedef void host_event_fn(void *ctx, const char *what /* for the debug log */);
struct host_events;
/* @sim: a simulated host at the directory @root: no netlink, its event file instead. A missing right (netlink in a user
 * namespace) is not an error: @ret_blind says so and the timer has to do. */
int host_events_start(struct host_events **ret, uv_loop_t *loop, const struct tree *tree, const char *sim_root, host_event_fn *fn,
                      void *ctx, bool *ret_blind, struct err *err);
void host_events_stop(struct host_events *events); /* closes; frees itself when the loop has let go */

#endif
