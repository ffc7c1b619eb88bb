/* SPDX-License-Identifier: Apache-2.0 */
/* One run of the campaign: a scene, a point at which a process is held, and who is killed there; then the next daemon, and what must be
 * so afterwards. cmocka tests: what goes wrong is said by fail_msg(). */
#ifndef SLUICE_TESTS_CRASH_RUN_H
#define SLUICE_TESTS_CRASH_RUN_H

#include "unit.h"

#include <pthread.h>

#include "held.h"
#include "rig.h"
#include "scene.h"

enum victim {
        VICTIM_DAEMON,        /* the hands go on to their end, then comes the next daemon */
        VICTIM_DAEMON_BESIDE, /* the next daemon comes while the hand is where it was held, which goes on after that */
        VICTIM_HAND,          /* the daemon lives */
        VICTIM_BOTH,          /* everything at once: a container */
        N_VICTIMS
};
extern const char *const victim_names[N_VICTIMS];
bool victim_fits(enum victim victim, const char *point); /* no hand is at work where the daemon is held */

enum { POINT_MAX = 192 };
struct run {
        struct scene *scene;
        struct held *held;
        char point[POINT_MAX]; /* "" = the scene as it goes when nobody is killed */
        enum victim victim;
        char **trace;            /* where the points go that it passes, one a line; NULL = nowhere */
        bool (*may_begin)(void); /* false: the campaign has failed, and says so soon */
        void (*ended)(const struct run *run, bool well);
        struct rig *rig;
        char *left;       /* what the host looked like when another card had come */
        pthread_t asking; /* the Allocate at work */
        bool is_asking;
        bool passed_by; /* nobody came to the point, and need not have */
        int code;
        unsigned n_registrations;
        char text[FK_TEXT_MAX];
};

int run_setup(void **state);
int run_teardown(void **state);
void run_play(void **state); /* the test: *state is a struct run */

#endif
