/* The simulated kernel: a directory that reacts to attribute writes as the real kernel does.
 *
 * The directory (--sim-dir) holds sys/ proc/ dev/ and .sim/: version, lock, faults, pending reactions, event log. Everything
 * is on disk: daemon, hand, tests and sluicectl see one world; it survives SIGKILL of any of them and is re-opened, not
 * unpacked again. Reactions run in the writing process under a lock on .sim/lock. Which writes it knows, and what each does,
 * is the table in sim.c; every row of it is proven again on a real kernel (tests/vm).
 *
 * Faults, one per line in .sim/faults (docs/simulation.md):
 *   <attribute> <bdf|*> refuse ERRNO | ignore | delay MS | hang | vanish  [times N]
 * `delay`: the write blocks MS; `hang`: it never returns until the line is removed; both reactions stay on disk as pending
 * and are completed (delay) by whoever looks next if the writer died. */
#ifndef SLUICE_SIM_SIM_H
#define SLUICE_SIM_SIM_H

#include <stdint.h>

#include "base/err.h"
#include "base/tree.h"

struct sim;

/* Makes @dir a simulated host from @source (a capture file or a directory with sys/ proc/ dev/, copied, never modified);
 * a directory that already is one is only opened, and @source may be NULL then. */
int sim_prepare(const char *source, const char *dir, struct err *err);
int sim_open(struct sim **ret, const char *dir, struct err *err);
struct sim *sim_free(struct sim *sim);
const struct tree *sim_tree(const struct sim *sim);

/* write(2) of @value to the attribute @path (relative to sys/): 0 or -errno as the kernel would. */
int sim_write(struct sim *sim, const char *path, const char *value, struct err *err);
/* As above for /proc (unbindLock). */
int sim_write_proc(struct sim *sim, const char *path, const char *value, struct err *err);
/* Completes pending reactions that are due. Call before looking. Returns ms until the next one is due, -1 = none. */
int sim_settle(struct sim *sim, int64_t *ret_next_ms, struct err *err);

/* The outside world acts on the simulated host (tests, demo, `sluicectl sim`). */
int sim_unplug(struct sim *sim, const char *bdf, struct err *err);
int sim_plug(struct sim *sim, const char *bdf, struct err *err); /* back, as it was in the source */
int sim_fault(struct sim *sim, const char *line, struct err *err); /* adds one line; "" clears all */
int sim_hold(struct sim *sim, const char *node, int pid, const char *comm, struct err *err); /* a process opens a node; pid < 0 releases */

#endif
