/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated kernel: a directory that reacts to attribute writes as the real kernel does (docs/simulation.md).
 *
 * The directory (--sim-dir) holds sys/ proc/ dev/ and .sim/: version, lock, source, faults, pending writes, event log.
 * Everything is on disk: daemon, hand, tests and sluicectl see one world; it survives SIGKILL of any of them and is
 * re-opened, not unpacked again. Reactions run in the writing process under a lock on .sim/lock. Which writes it knows is the
 * table in sim_react.c; every row of it is proven again on a real kernel (tests/reactions.h, tests/vm).
 *
 * Faults, one per line in .sim/faults:
 *   <attribute> <bdf|*> refuse ERRNO | ignore | delay MS | hang | vanish | dead | forget  [times N]
 * `delay`: the write blocks MS; `hang`: it never returns until the line is removed; both are on disk as pending and are
 * completed by whoever looks next if the writer died. */
#ifndef SLUICE_SIM_SIM_H
#define SLUICE_SIM_SIM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/tree.h"

struct sim;

/* Makes @dir (made if absent; else empty) a simulated host from @source: a capture file, or a directory with sys/ proc/
 * dev/, which is copied and never modified. A directory that already is one is left as it is, and @source may be NULL then;
 * one whose making was interrupted is made again. */
int sim_prepare(const char *source, const char *dir, struct err *err);
int sim_open(struct sim **ret, const char *dir, struct err *err);
struct sim *sim_free(struct sim *sim);
const struct tree *sim_tree(const struct sim *sim); /* borrowed until sim_free() */

/* write(2) of @value to the attribute @path (relative to sys/): 0 or -errno as the kernel would. Blocks as long as the
 * kernel would: while another write to the same device is at work, while a device that is to be let go of is held, and as
 * faults say. */
int sim_write(struct sim *sim, const char *path, const char *value, struct err *err);
/* As above for /proc (unbindLock). */
int sim_write_proc(struct sim *sim, const char *path, const char *value, struct err *err);
/* read(2) of an attribute that takes the device's lock: blocks while a write to the same device is at work, and as faults on
 * "read:<attribute>" say. @path is relative to sys/. The value without its newline. */
int sim_read(struct sim *sim, const char *path, char *buf, size_t size, struct err *err);
/* Completes pending writes that are due and whose writer is dead. Call before looking. @ret_next_ms: ms until the next such
 * is due, -1 = none. */
int sim_settle(struct sim *sim, int64_t *ret_next_ms, struct err *err);

/* The outside world acts on the simulated host (tests, demo, `sluicectl sim`). */
int sim_unplug(struct sim *sim, const char *bdf, struct err *err); /* at once, even when held: a device that fell off */
/* Back, as it was in the source, its driver bound; without VFs, mediated devices and functions below it. */
int sim_plug(struct sim *sim, const char *bdf, struct err *err);
int sim_fault(struct sim *sim, const char *line, struct err *err); /* adds one line; "" clears all */
/* The process @pid, called @comm, opens the node "/dev/..." ("dev/..." is the same); -@pid closes it again, and the process
 * ends with its last node. @comm may be NULL. */
int sim_hold(struct sim *sim, const char *node, int pid, const char *comm, struct err *err);

/* modprobe: the driver of a module that the host's module tree names, or vfio-pci, is registered. -ENOENT: no such module. */
int sim_load_module(struct sim *sim, const char *name, struct err *err);

/* Names of the table's rows, for tests. */
const char *const *sim_reactions(size_t *ret_n);

#endif
