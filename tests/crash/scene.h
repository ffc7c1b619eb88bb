/* SPDX-License-Identifier: Apache-2.0 */
/* What is interrupted: a kind of plan on a captured host. For each host one scene per kind and shape of plan (the kinds of its steps
 * in order), so that the eight equal cards of a node are one. */
#ifndef SLUICE_TESTS_CRASH_SCENE_H
#define SLUICE_TESTS_CRASH_SCENE_H

#include "core/device.h"
#include "core/plan.h"

enum { SCENE_DEVICES_MAX = 3, SCENE_FUNCTIONS_MAX = 16, SCENE_POINT_MAX = 192 };

/* What begins the plan that is interrupted. */
enum scene_cause {
        CAUSE_ALLOCATE,
        CAUSE_START,    /* of the daemon */
        CAUSE_RELEASE,  /* the pod has gone that was given the devices */
        CAUSE_RECOVERY, /* the daemon starts after one that was killed, with its hand, in the middle of a bind */
        CAUSE_QUESTION  /* sluicectl explain */
};

struct scene_kind {
        const char *name;
        enum scene_cause cause;
        const char *bind;         /* of the rule: "on-allocate", "at-start" */
        const char *release;      /* of the rule; NULL = keep */
        const char *what;         /* which points belong to it: "plan", "look", "list-holders" */
        unsigned n_devices;       /* asked for in one Allocate, or bound at start; of several cards, as many as there are up to it */
        bool fails;               /* the first probe of the last device's function fails */
        bool powers;              /* the rule says 'power: on' */
        bool narrows;             /* the first way to reset is none: another one is used, and reset_method is given back after it */
        bool unloaded;            /* the module vfio-pci is not loaded when it begins */
        bool replaced;            /* CAUSE_RECOVERY: another card is in the slot when the daemon starts */
        enum step_kind killed_in; /* CAUSE_RECOVERY: after the last step of this kind */
        bool ends_bound;
        const char *last; /* ends the name of the last point */
};
extern const struct scene_kind scene_kinds[];
extern const size_t scene_n_kinds;

struct scene {
        const struct scene_kind *kind;
        char fixture[48];
        char resource[RESOURCE_MAX];
        char ids[SCENE_DEVICES_MAX][DEVICE_ID_MAX];
        unsigned n_listed, n_healthy;                                 /* in the pool */
        unsigned n_ids;                                               /* each of a card of its own: a plan each */
        struct bdf functions[SCENE_DEVICES_MAX][SCENE_FUNCTIONS_MAX]; /* that the plan of each device binds */
        unsigned n_functions[SCENE_DEVICES_MAX];
        char killed_at[SCENE_POINT_MAX];     /* CAUSE_RECOVERY: the point */
        char *world[1 << SCENE_DEVICES_MAX]; /* picture_of() the host with the devices of this mask bound; see scene_draw() */
        char *bare;                          /* all bound, and power as their drivers wrote it; NULL unless the kind powers */
        char *loaded;                        /* none bound, and the module is loaded; NULL unless it was not at first */
};

/* sys/class/vfio-dev comes with the first VFIO device and stays; a host has it from the beginning, so that undone is as before. */
void scene_make_class(const char *sim_dir);

void scene_make_host(const struct scene *scene, const char *sim_dir); /* what else the host is to have */
/* What a module that is not loaded has not made. False: somebody uses it. */
bool scene_unload_vfio_pci(const char *sim_dir);

char *scene_config(const struct scene *scene); /* the caller frees it */

/* Fills @world and @bare: executes the plans, in this process, on hosts of its own. */
void scene_draw(struct scene *scene);
void scene_done(struct scene *scene); /* forgets them */

/* All scenes of the captured host @fixture; *ret grows. Looks at it and plans as the daemon does. */
void scenes_of(const char *fixture, struct scene **ret, size_t *n, size_t *cap);

#endif
