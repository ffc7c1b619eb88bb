/* SPDX-License-Identifier: Apache-2.0 */
/* What is left below kubelet's directory when Sluice is gone: sockets, and what kubelet remembers in its checkpoint. Nothing is changed.
 * The checkpoint is kubelet's own: it has no version and may look otherwise tomorrow, so that it is only hinted from. */
#ifndef SLUICE_KUBELET_LEFTOVERS_H
#define SLUICE_KUBELET_LEFTOVERS_H

#include "base/err.h"
#include "core/leftover.h"

/* Is @id, or anything given under @resource, Sluice's as far as is known? */
typedef bool kubelet_is_ours_fn(void *ctx, const char *resource, const char *id);

void kubelet_sockets_left(const char *dir, bool running, struct leftovers *leftovers);
/* No checkpoint is fine. */
int kubelet_checkpoint_left(const char *dir, kubelet_is_ours_fn *is_ours, void *ctx, struct leftovers *leftovers, struct err *err);

#endif
