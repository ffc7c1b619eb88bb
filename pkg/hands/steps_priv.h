/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the steps share: steps.c (the table, and the steps of a bind), steps_release.c (those of a
 * release), steps_bars.c, guard_wedged.c and steps_persistence.c. */
#ifndef SLUICE_HANDS_STEPS_PRIV_H
#define SLUICE_HANDS_STEPS_PRIV_H

#include "hands/steps.h"

/* Polling with growing pauses: `do look(); while (step_patience_left(&p));` looks at once, then after 10, 20, 50, 100 ms, ... */
struct patience {
        int64_t until;
        unsigned round;
};
bool step_patience_left(struct patience *p);

__attribute__((format(printf, 4, 5))) int step_refuse(struct failure *f, enum reason reason, int code, const char *fmt, ...);
/* Ends a function whose access failed with f->err, to what every device has: when it was not there, neither was the device,
 * whatever is at its address by now. */
int step_missed(struct bdf b, struct failure *f);
/* Of a free attribute, without its newline. */
int step_read_attribute(struct work *work, struct bdf b, const char *attribute, char *buf, size_t size, struct failure *f);
int step_write_attribute(struct work *work, struct bdf b, const char *attribute, const char *value, struct failure *f);

int step_reset(struct work *work, const struct step *s, struct deed *deed, struct failure *f);
int step_undo_reset(struct work *work, const struct step *s, struct deed *deed, struct failure *f);
int step_setting(struct work *work, const struct step *s, struct deed *deed, struct failure *f);
int step_undo_setting(struct work *work, const struct step *s, struct deed *deed, struct failure *f);
int step_await_answer(struct work *work, const struct step *s, struct deed *deed, struct failure *f);
int step_compare_bars(struct work *work, const struct step *s, struct deed *deed, struct failure *f);

int step_guard_wedged(struct work *work, const struct step *s, struct deed *deed, struct failure *f);
/* Looks for tasks that hang in the removal of a device, once for all reads of a plan. */
int step_read_look(struct work *work, struct failure *f);
/* After it: may the attribute that @s reads be read? -EDEADLK: a task hangs with that device, and the read would too. */
int step_read_wedged(struct work *work, const struct step *s, struct failure *f);

int step_persistence_off(struct work *work, const struct step *s, struct deed *deed, struct failure *f);
int step_undo_persistence_off(struct work *work, const struct step *s, struct deed *deed, struct failure *f);

int step_load_module(struct work *work, const struct step *s, struct deed *deed, struct failure *f);

/* NVIDIA's unbindLock (steps_unbind_lock.c). */
int step_guard_unbind_lock(struct work *work, const struct step *s, struct deed *deed, struct failure *f);
int step_undo_unbind_lock(struct work *work, const struct step *s, struct deed *deed, struct failure *f);
int step_release_unbind_lock(struct work *work, const struct step *s, struct deed *deed, struct failure *f);

void step_pause_ms(int64_t ms);
/* Ends a function whose access failed with f->err: says so in other words when the device itself is gone. */
int step_failed(struct work *work, struct bdf b, struct failure *f);

#endif
