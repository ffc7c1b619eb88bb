/* The write call of the hands: the one place where Sluice writes to /sys and /proc. On the machine it is a write(2); with
 * --host the simulated kernel lies under it. One executor above it in both cases. Worker processes only. */
#ifndef SLUICE_HANDS_KERNEL_H
#define SLUICE_HANDS_KERNEL_H

#include "base/err.h"
#include "base/tree.h"

struct kernel;
/* @sim_dir NULL: the machine. @root: where /sys, /proc and /dev are ("/" normally). */
int kernel_open(struct kernel **ret, const char *sim_dir, struct err *err);
struct kernel *kernel_free(struct kernel *kernel);
const struct tree *kernel_tree(struct kernel *kernel); /* settled before it is returned */
int kernel_write_sys(struct kernel *kernel, const char *path, const char *value, struct err *err);
int kernel_write_proc(struct kernel *kernel, const char *path, const char *value, struct err *err);

#endif
