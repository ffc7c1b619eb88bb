/* SPDX-License-Identifier: Apache-2.0 */
/* A plan: the steps (each with its undo) that take a card from one state to another. Data: decided here, purely; executed
 * by a hand (hands/worker.h), which reports each step. Fixed size and free of pointers: it travels whole over a socket
 * between programs of one build. */
#ifndef SLUICE_CORE_PLAN_H
#define SLUICE_CORE_PLAN_H

#include "base/err.h"
#include "core/claim.h"
#include "core/group.h"
#include "core/offer.h"

enum step_kind {
        /* Conditions: change nothing. */
        STEP_NEED_DRIVER,       /* PCI driver @text is registered, and /dev/vfio/vfio exists */
        STEP_LOAD_MODULE,       /* the PCI driver @text is registered, or its module is loaded now. It stays loaded */
        STEP_NEED_IDENTITY,     /* vendor:device of @bdf is still @number (vendor << 16 | device) */
        STEP_PERSISTENCE_OFF,   /* nvidia-persistenced, if one runs, does not keep @bdf initialised (and open). undo: it does so again */
        STEP_GUARD_NODES,       /* no process has a node of @bdf open (its own: /dev/vfio/<group>, cdev, dri, nvidia<minor>); with
                                 * @text "group" (an mdev, whose nodes are not its parent's): of IOMMU group @number */
        STEP_GUARD_WEDGED,      /* no other task hangs in the kernel with a device of this plan, for longer than @wait_ms */
        STEP_GUARD_UNBIND_LOCK, /* write 1 to NVIDIA's unbindLock of @bdf, read 1 back (5 tries). undo: write 0 */
        /* Actions. */
        STEP_OVERRIDE, /* driver_override of @bdf <- @text ("" = clear); refused when another driver than @text, @about or the
                        * one that the plan awaits for @bdf is named there. undo: the value read before */
        STEP_UNBIND,   /* driver/unbind <- @bdf (nothing to do when it has no driver), gone within @wait_ms. undo: drivers_probe,
                        * @text bound again within @wait_ms */
        STEP_PROBE,    /* drivers_probe <- @bdf. undo: unbind from what bound it, gone within @wait_ms */
        STEP_RESET,    /* resets @bdf by method @text, where it is not the first one only if @number is 1: somebody has written down what
                        * reset_method said. It says @about again after that, as far as the kernel takes it. undo: the same; a reset
                        * has none */
        STEP_SETTING,  /* attribute @about of @bdf (power/control, d3cold_allowed; reset_method, as far as the kernel takes it) <- @text.
                        * undo: the value read before */
        STEP_RELEASE_UNBIND_LOCK, /* write 0 to NVIDIA's unbindLock of @bdf, which an interrupted plan took. undo: none */
        /* Read-back. */
        STEP_AWAIT_DRIVER, /* the driver link of @bdf says @text, within @wait_ms */
        STEP_AWAIT_NODE,   /* /dev/vfio/<number> (the group's node) exists, within @wait_ms */
        STEP_AWAIT_ANSWER, /* the configuration space of @bdf says vendor @number >> 16 and device @number & 0xffff (both 0: any but all
                            * ones), within @wait_ms, and its power_state is no error */
        STEP_COMPARE_BARS, /* the BARs of @bdf are where, and as large as, the kernel assigned them */
        /* Probing (locked reads; the value comes back in the report). */
        STEP_READ_LOCKED,  /* reads attribute @text of @bdf, unless a hand has plans with @card (-EBUSY), or another task hangs with
                            * the device (-EDEADLK) */
        STEP_LIST_HOLDERS, /* who has a node of @bdf open (nodes as of STEP_GUARD_NODES): "all" or, where not every process can be
                            * seen or named here, "some", then "; PID NODE COMM" for each */
};
enum { STEP_KINDS = STEP_LIST_HOLDERS + 1 };
const char *step_kind_name(enum step_kind kind); /* "need-driver", "override", ... */
/* It only tells something: its value is in the report, and that it fails stops nothing. */
static inline bool step_tells(enum step_kind kind)
{
        return kind == STEP_READ_LOCKED || kind == STEP_LIST_HOLDERS;
}
static inline bool step_acts(enum step_kind kind)
{
        return kind >= STEP_OVERRIDE && kind <= STEP_RELEASE_UNBIND_LOCK;
}

/* 32 functions, such as 8 cards of four, or 16 with a companion each. No plan has more than 13 steps for one of them: binding it on a host
 * driver with its own VFIO driver's module to be loaded, persistence, unbindLock and power; resetting it and giving it, its power and
 * its reset methods back takes 12. What is bound can so be released. */
enum {
        PLAN_FUNCTIONS_MAX = 32,
        PLAN_STEPS_MAX = 13 * PLAN_FUNCTIONS_MAX + 1 /* the look for tasks that hang */,
        PLAN_CARDS_MAX = 32,
        STEP_TEXT_MAX = 64,
        READ_BACK_MS = 2000
};

struct step {
        enum step_kind kind;
        struct bdf bdf;
        struct bdf card; /* STEP_READ_LOCKED only; other plans name their cards as a whole */
        uint32_t number;
        int32_t wait_ms;
        char text[STEP_TEXT_MAX];
        char about[STEP_TEXT_MAX];
};

struct plan {
        uint32_t n_steps, n_cards;
        struct bdf cards[PLAN_CARDS_MAX]; /* locks to take, sorted */
        struct step steps[PLAN_STEPS_MAX];
        uint32_t awaits_word; /* 1: one of several plans of a request, which wait for each other (hands/together.c) */
};

/* One sentence for a step: "unbind 0000:3b:00.0 from nvidia". */
void step_describe(const struct step *step, char *out, size_t size);

/* A hand that waits for a link to change is not one that hangs in the kernel: no step waits longer than @longest_ms, so that it
 * has seen that in vain, and undone, before it is given up. */
void plan_limit_waits(struct plan *plan, int32_t longest_ms);

/* The plan that only asks whether somebody has one of @devices open, at most PLAN_STEPS_MAX of them. */
void plan_ask_holders(const struct device *const *devices, size_t n_devices, struct plan *ret);

/* The plan that tells who has @device open: one STEP_LIST_HOLDERS. */
void plan_list_holders(const struct device *device, struct plan *ret);

/* The plan that makes @devices usable through vfio-pci: for each group, every member that needs it (GPU and companions). For a
 * claim (@claim; a bind at start is for nobody yet) each is then kept awake where the rule says 'power: on'.
 * Order: all conditions and guards, then per member override, unbind, probe, driver read-back; group nodes; power.
 * Nothing to do: n_steps == 0 and n_cards == 0. vGPU devices never need a plan. Holders that cannot be seen
 * (inventory.holders_visible false): unbinding a host driver is refused (HOLDERS_UNKNOWN) unless NVIDIA's unbindLock
 * exists for it. A driver_override that somebody else set is refused (FOREIGN_OWNER), and more functions than a plan holds
 * (PLAN_TOO_LARGE: PLAN_FUNCTIONS_MAX). The group is judged again: the offer may be a moment old. Returns REASON_NONE, or why not, with
 * @err filled and @ret untouched: nothing may be touched. */
enum reason plan_bind(const struct inventory *inv, const struct rules *rules, const struct device *const *devices, size_t n_devices,
                      bool claim, struct plan *ret, struct err *err);

/* The plan that makes the functions of @originals (several groups are fine) what they were before: those on the driver that they
 * were bound to, those that lost their driver on the way, those that were never unbound. What is gone from the host has nothing
 * to give back. Order: conditions and guards of all; then, companions first, override and unbind, so that no group is half on
 * VFIO when a host driver comes; then, the GPU first, probe and read-back. Before all that, what a claim, or its release, had set of power
 * and reset_method. In use is the hand's to find out. Refused, with @err filled and @ret untouched: IDENTITY (another function is at the
 * address), TAKEN_OVER (it is on a driver that is neither the former nor ours), FOREIGN_OWNER (the override is somebody else's),
 * FORMER_DRIVER (that is not registered), PLAN_TOO_LARGE. Nothing to do: n_steps == 0 and n_cards == 0. @originals are of this boot. */
enum reason plan_restore(const struct inventory *inv, const struct original *const *originals, size_t n_originals, struct plan *ret,
                         struct err *err);

/* The plan that releases @devices by the rules that hold now: those whose rule resets are reset, each function by a method that
 * reaches nothing else (core/reset.h: the GPUs must have one, companions may), and asked whether they answer; then the functions
 * of @originals (those of the devices' groups) go back when the rule restores. 'keep' has no steps, and so has a vGPU: its
 * vendor's driver cleans up. Refused, with @err filled and @ret untouched: HOLDERS_UNKNOWN (where holders cannot be seen, only
 * 'keep' is possible), NO_RESET, and what plan_restore() refuses. */
enum reason plan_release(const struct inventory *inv, const struct rules *rules, const struct device *const *devices, size_t n_devices,
                         const struct original *const *originals, size_t n_originals, struct plan *ret, struct err *err);

/* The plan that gives back what @originals remember of power and of reset_method, and nothing else: their functions stay on the drivers
 * that they are on. Refused, with @err filled and @ret untouched: PLAN_TOO_LARGE. Nothing to do: n_steps == 0 and n_cards == 0. @originals
 * are of this boot. */
enum reason plan_settings_back(const struct inventory *inv, const struct original *const *originals, size_t n_originals, struct plan *ret,
                               struct err *err);

/* Why the rule of @fn cannot be kept that asks for a reset: NO_RESET with @detail (it has no way, or its group has more functions than a
 * plan holds), or REASON_NONE. */
enum reason plan_release_possible(const struct inventory *inv, const struct function *fn, enum release_policy policy, char *detail,
                                  size_t detail_size);

#endif
