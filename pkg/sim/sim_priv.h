/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the simulated kernel. All paths are below the simulation's directory: "sys/bus/pci/...", "dev/...",
 * ".sim/...". A path is at most SIM_PATH - 1 bytes: a device's directory has at most CAPTURE_MAX_PATH, names at most 255.
 * Unless said otherwise functions return 0 or -errno and are called with .sim/lock held. */
#ifndef SLUICE_SIM_SIM_PRIV_H
#define SLUICE_SIM_SIM_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fs.h"
#include "sim/capture.h"
#include "sim/sim.h"

enum { SIM_PATH = 2048, SIM_NAME = 256, SIM_VALUE = 256 };

struct sim {
        char *path; /* of the directory, for sentences */
        int root;   /* descriptor of it */
        struct tree tree;
        struct capture *source; /* the host as it was in the beginning; empty until sim_source_load() */
};

/* ---- sim.c ---- */

/* Reads @sim->source, once: what every reaction to a change needs, and who only looks does not. */
int sim_source_load(const struct sim *sim);

/* ---- sim_file.c: files of the simulation ---- */

int sim_lock(const struct sim *sim); /* descriptor: close() unlocks; waits */
bool sim_there(const struct sim *sim, const char *path);
void sim_get(const struct sim *sim, const char *path, char *out, size_t size);      /* content without its newline, "" = absent */
void sim_last(const struct sim *sim, const char *path, char out[SIM_NAME]);         /* last component of a link, "" = absent */
int sim_store(const struct sim *sim, const char *path, const char *data, size_t n); /* a whole file, replaced at once */
int sim_put(const struct sim *sim, const char *path, const char *value);            /* the same: a value and its newline */
int sim_touch(const struct sim *sim, const char *path);                             /* empty file; there already: left alone */
int sim_make_dir(const struct sim *sim, const char *path);                          /* with parents */
int sim_link(const struct sim *sim, const char *path, const char *to);              /* relative; there already: left alone */
int sim_drop(const struct sim *sim, const char *path);                              /* a tree, never through links; absent is 0 */
void sim_names(const struct sim *sim, const char *path, struct fs_list *ret);       /* absent: empty */
/* One line of .sim/events. @device is a directory of the tree ("sys/devices/..."). */
void sim_event(const struct sim *sim, const char *action, const char *device, const char *subsystem, const char *more);
/* The directory that @link leads to, without asking the tree. False: it is no relative link. */
bool sim_resolve(const char *link, const char *target, char out[SIM_PATH]);
/* Directory of the PCI function or mediated device @key. -ENODEV when there is none. */
int sim_device_dir(const struct sim *sim, const char *key, char out[SIM_PATH]);

/* ---- sim_device.c: what binding, unbinding, adding and removing do to the tree. Each may be repeated after a crash ---- */

bool sim_driver_is_vfio(const char *driver);
bool sim_driver_registered(const struct sim *sim, const char *driver);
bool sim_path_below(const char *path, const char *dir);
void sim_pci_event(const struct sim *sim, const char *action, const char *bdf, const char *dir, const char *driver);
void sim_driver_of(const struct sim *sim, const char *bdf, char out[SIM_NAME]); /* as the link says */
/* As the kernel has it: also while the driver lets go of the device, when no link says so any more. A mediated device may be asked
 * for too. */
void sim_driver_inside(const struct sim *sim, const char *key, char out[SIM_NAME]);
/* The driver that would bind @bdf by itself: driver_override, else by its ids. "" = none. */
void sim_driver_for(const struct sim *sim, const char *bdf, char out[SIM_NAME]);
int sim_bind_check(const struct sim *sim, const char *bdf, const char *driver); /* what the driver's probe would say */
int sim_bind(const struct sim *sim, const char *bdf, const char *driver);
int sim_unbind(const struct sim *sim, const char *bdf, const char *driver);
int sim_driver_hide(const struct sim *sim, const char *bdf, const char *driver); /* the links that say who is bound */
int sim_mdev_remove(const struct sim *sim, const char *uuid);
int sim_group_leave(const struct sim *sim, const char *key, const char *dir); /* its last member takes the group along */

/* ---- sim_function.c ---- */

int sim_function_complete(const struct sim *sim, const char *bdf);    /* what a capture does not say but a kernel has */
int sim_function_die(const struct sim *sim, const char *bdf);         /* its configuration space reads all ones */
int sim_function_forget_bars(const struct sim *sim, const char *bdf); /* its BARs read zero */
int sim_function_remove(const struct sim *sim, const char *bdf);
int sim_function_add(const struct sim *sim, const char *bdf); /* from the source, without driver */
int sim_vfs_remove(const struct sim *sim, const char *pf);
int sim_vfs_add(const struct sim *sim, const char *pf, unsigned n);
unsigned sim_vfs_count(const struct sim *sim, const char *pf);

/* ---- sim_world.c ---- */

bool sim_node_held(const struct sim *sim, const char *node); /* "dev/vfio/12" open in some simulated process? */
/* A node of the function is held so that letting go of it (unbind, mdev remove) blocks in the kernel. */
bool sim_device_held(const struct sim *sim, const char *key);
int sim_bus_rescan(const struct sim *sim);
int sim_bus_plug(const struct sim *sim, const char *bdf); /* -ENOENT: the source never had it */

/* ---- sim_react.c: the table ---- */

/* What a write comes to. Small, and safe to carry out twice. */
enum sim_act {
        ACT_NOTHING,
        ACT_OVERRIDE,
        ACT_SET, /* text: "ATTRIBUTE VALUE" */
        ACT_BIND,
        ACT_UNBIND,
        ACT_UNBIND_LOCK,
        ACT_MDEV_REMOVE,
        ACT_NUMVFS,
        ACT_REMOVE,
        ACT_RESCAN,
        ACT_PLUG
};
struct sim_action {
        enum sim_act act;
        char key[SIM_NAME];   /* PCI function or mediated device */
        char text[SIM_VALUE]; /* driver, value, number */
};
struct sim_request {
        char path[SIM_PATH];   /* as the table's patterns have it */
        char value[SIM_VALUE]; /* without the newline */
};
struct sim_row {
        const char *name;
        const char *pattern;   /* of the path; '*' for any run of bytes */
        const char *attribute; /* how faults call it */
        /* What this write would come to now: looks, changes nothing. */
        int (*decide)(const struct sim *sim, const struct sim_request *request, struct sim_action *ret);
        unsigned flags;
};
enum {
        ROW_LOCKS = 1, /* takes the device's lock: waits for older writes to the same device */
        ROW_WAITS = 2, /* lets go of the device: blocks while it is held */
};
const struct sim_row *sim_row_find(const char *path); /* NULL = no reaction to a write there */
const struct sim_row *sim_row_named(const char *name);
/* Writes a path the way the table has it: "devices/.../<bdf>/x" and "bus/pci/drivers/d/<bdf>/x" are both one device's x. */
int sim_request_make(const char *top, const char *path, const char *value, struct sim_request *ret);
int sim_apply(const struct sim *sim, const struct sim_action *action);
const char *sim_act_name(enum sim_act act);
bool sim_act_parse(const char *s, enum sim_act *ret);

/* ---- sim_fault.c ---- */

enum sim_verb { FAULT_NONE, FAULT_REFUSE, FAULT_IGNORE, FAULT_DELAY, FAULT_HANG, FAULT_VANISH, FAULT_DEAD, FAULT_FORGET };
struct sim_fault {
        enum sim_verb verb;
        int error; /* positive errno of FAULT_REFUSE */
        unsigned delay_ms;
        unsigned times; /* 0 = always */
        char attribute[SIM_NAME], key[SIM_NAME];
};
int sim_fault_parse(const char *line, struct sim_fault *ret, struct err *err);
/* The first line that fits; counts its `times` down. */
int sim_fault_take(const struct sim *sim, const char *attribute, const char *key, struct sim_fault *ret);
bool sim_fault_hangs(const struct sim *sim, const char *attribute, const char *key);

/* ---- sim_pending.c: writes at work, on disk ---- */

struct sim_pending {
        char name[SIM_NAME]; /* in .sim/pending; sorts by age */
        int fd;              /* locked by the writer while it lives; -1 */
        const struct sim_row *row;
        struct sim_request request;
        char key[SIM_NAME];
        int64_t due_ms; /* monotonic; 0 = at once */
        bool hang;
        bool begun;   /* @action, an unbind, has the device's lock: no one sees the driver any more */
        bool decided; /* @action is being done */
        struct sim_action action;
};
int sim_pending_create(const struct sim *sim, struct sim_pending *p); /* fills name and fd */
bool sim_pending_ready(const struct sim *sim, const struct sim_pending *p, int64_t now_ms);
/* When the write has to wait, but not for another write: does what shows before it returns. */
int sim_pending_begin(const struct sim *sim, struct sim_pending *p);
/* The driver that is letting go of the device and has not come back; "" = none. */
void sim_driver_leaving(const struct sim *sim, const char *key, char out[SIM_NAME]);
/* Is an older write to the same device at work, or hanging? Then the device's lock is taken. */
bool sim_pending_locked(const struct sim *sim, const char *key, const char *before);
/* Decides (once, on disk), does it and forgets the record: what the write returns. */
int sim_pending_finish(const struct sim *sim, struct sim_pending *p);
void sim_pending_done(struct sim_pending *p);
/* Completes what is ready and has no living writer. @ret_next_ms as sim_settle(). */
int sim_pending_settle(const struct sim *sim, int64_t now_ms, int64_t *ret_next_ms);

#endif
