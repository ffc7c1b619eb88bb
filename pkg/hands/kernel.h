/* SPDX-License-Identifier: Apache-2.0 */
/* The write call of the hands: the one place where Sluice writes to /sys and /proc. On the machine it is a write(2); with
 * --host the simulated kernel lies under it. One executor above it in both cases. Worker processes only. */
#ifndef SLUICE_HANDS_KERNEL_H
#define SLUICE_HANDS_KERNEL_H

#include "base/cleanup.h"
#include "base/err.h"
#include "base/tree.h"
#include "core/bdf.h"

struct kernel;
/* @sim_dir NULL or "": the machine; else a simulated host that sim_prepare() made. */
int kernel_open(struct kernel **ret, const char *sim_dir, struct err *err);

/* The machine from a container with the host's directories mounted below @mounts (tree_open_mounts). What is written below
 * /sys goes below @mounts/sys, since a container's own is read-only; the /proc that is written is the container's own. */
int kernel_open_mounts(struct kernel **ret, const char *mounts, struct err *err);
struct kernel *kernel_free(struct kernel *kernel); /* NULL-safe, returns NULL */
DEFINE_CLEANUP(struct kernel *, kernel_free)
#define _cleanup_kernel_ _cleanup_(kernel_freep)

/* For reading, borrowed until kernel_free. Reactions of a simulated host that are due are completed first, so ask again
 * before each look. */
const struct tree *kernel_tree(struct kernel *kernel);

/* What to put before the path of a socket of the host ("/run/..."): "" on the machine, where it is mounted in a container, the
 * directory of a simulated host. Borrowed until kernel_free. */
const char *kernel_root(const struct kernel *kernel);

/* A descriptor of the card that all daemons of the machine have in common, whatever directories they were given: to be
 * locked (flock), never read or written. -ENOENT: this machine has none for it (no function 0, or an old kernel), or the card has
 * left; -EROFS, -EACCES: nothing can be written here. */
int kernel_open_card(struct kernel *kernel, struct bdf card);

/* Reads an attribute that takes the device's lock (host/attribute.h), without its newline; @path is relative to /sys. May
 * never return, as a write may not. 0 or -errno. */
int kernel_read_locked(struct kernel *kernel, const char *path, char *buf, size_t size, struct err *err);

/* @n bytes of a device's configuration space from @offset on, or as many as it has for us; the kernel wakes what is above it for that,
 * so this too may never return. The count, or -errno. */
ssize_t kernel_read_config(struct kernel *kernel, struct bdf bdf, uint32_t offset, void *buf, size_t n, struct err *err);

/* One write(2) of @value to an existing attribute; @path is relative to /sys, or to /proc. May never return: the kernel
 * holds a device lock meanwhile. 0 or -errno as the kernel said. */
int kernel_write_sys(struct kernel *kernel, const char *path, const char *value, struct err *err);
int kernel_write_proc(struct kernel *kernel, const char *path, const char *value, struct err *err);

/* Loads the module @name (a PCI driver's: - and _ are the same), with what it needs, by the host's modprobe; waits for it. -ENOENT:
 * no modprobe here. On a simulated host: one of its module tree. */
int kernel_load_module(struct kernel *kernel, const char *name, struct err *err);

#endif
