/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon has written down, read as the files it is, beside a daemon at work. */
#ifndef SLUICE_TESTS_CRASH_KEPT_H
#define SLUICE_TESTS_CRASH_KEPT_H

#include "scene.h"

/* Is there an original, bound, of each function of the devices in @mask, and no other, and does each remember power (@powered), or
 * none? Else @why says the first that differs. */
bool kept_originals_are(const char *state_dir, const struct scene *scene, unsigned mask, bool powered, char *why, unsigned size);

/* Is there a claim of each device in @mask, granted, at most one of each other device of the scene, and none of anything else? */
bool kept_claims_are(const char *state_dir, const struct scene *scene, unsigned mask, char *why, unsigned size);
/* Is nothing given to anybody? */
bool kept_claims_are_none(const char *state_dir, char *why, unsigned size);

#endif
