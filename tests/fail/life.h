/* SPDX-License-Identifier: Apache-2.0 */
/* What is gone through again and again while one access of the daemon fails: a daemon's life with one kind of plan in it. */
#ifndef SLUICE_TESTS_FAIL_LIFE_H
#define SLUICE_TESTS_FAIL_LIFE_H

#include "unit.h"

#include "order.h"
#include "rig.h"
#include "scene.h"

enum life_course {
        COURSE_CLAIM,    /* an Allocate, and the end of its claim; the daemon lives on */
        COURSE_START,    /* the daemon starts and binds */
        COURSE_RECOVERY, /* the daemon starts after one that was killed with its hand in the middle of a bind */
        COURSE_QUESTION  /* sluicectl explain; the daemon lives on */
};

struct life_kind {
        const char *name;
        enum life_course course;
        const char *rule; /* of all GPUs; lines of the configuration */
        unsigned n_ids;   /* asked for in one Allocate */
        bool fails;       /* the first probe of the last device fails: the Allocate is refused and undone */
        bool ends_bound;
};
extern const struct life_kind life_kinds[];
extern const size_t life_n_kinds;

struct life {
        const struct life_kind *kind;
        unsigned burst; /* so many accesses fail, from the one on */
        bool strayed;   /* it was told that a file is not there that is, and believed it: what is compared from then on is another host */
        struct order *order;
        char order_path[64];
        struct rig *rig;
        struct scene scene;     /* as far as kept.h asks for it */
        char *before, *after;   /* what the host looks like then: picture_of() */
        unsigned n_accesses;    /* of a whole course */
        unsigned n_refused;     /* answers and starts that an access turned into an error */
        int64_t longest_ms;     /* that a course took */
        char last_refusal[256]; /* what it said */
};

void life_begin(struct life *life); /* the daemon is there, one course has been gone through; asserts, as all here */
/* Once more, and its @n-th access fails with @error. False: there were not so many. */
bool life_go(struct life *life, unsigned n, int error);
void life_end(struct life *life); /* well */

int life_setup(struct life *life);
int life_teardown(struct life *life); /* however it ended */

#endif
