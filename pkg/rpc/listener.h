/* SPDX-License-Identifier: Apache-2.0 */
/* Our own listening unix sockets: mode 0600, the peer must be root (or, for a daemon
 * that is not root, its own user, and where it is granted, of a group), fresh names, and only what we bound is unlinked (device and inode
 * compared). Accepts on the loop and hands each connection on. */
#ifndef SLUICE_RPC_LISTENER_H
#define SLUICE_RPC_LISTENER_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"

enum { SOCKET_PATH_MAX = 107 };

struct listener;
typedef void listener_accept_fn(void *ctx, int fd); /* takes @fd */
/* Called for every peer that was turned away because it is neither; the caller limits what it logs. */
typedef void listener_refused_fn(void *ctx, unsigned uid);
/* Binds and listens on @path. ENAMETOOLONG beyond SOCKET_PATH_MAX bytes; EADDRINUSE when anything of that name exists. */
int listener_open(struct listener **ret, uv_loop_t *loop, const char *path, listener_accept_fn *accept, listener_refused_fn *refused,
                  void *ctx, struct err *err);
/* The same, and processes of the group @gid may connect, too: mode 0660, and the directory, which is ours, lets them through
 * (0710). */
int listener_open_to_group(struct listener **ret, uv_loop_t *loop, const char *path, gid_t gid, listener_accept_fn *accept,
                           listener_refused_fn *refused, void *ctx, struct err *err);
const char *listener_path(const struct listener *listener);
/* Is the file at the path still ours? (kubelet wipes its directory at start.) */
bool listener_intact(const struct listener *listener);
void listener_close(struct listener *listener); /* stops accepting, unlinks if intact, frees when the loop has let go */

/* Removes sockets "<prefix>*.sock" in @dir on which nobody listens (connect says ECONNREFUSED): left by a killed daemon. */
void listener_sweep(const char *dir, const char *prefix);

#endif
