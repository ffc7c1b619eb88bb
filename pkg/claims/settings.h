/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes that were set for a claim (power), or for its release (reset_method): whose are they, and what is written down when they
 * are given back. The work is a recovery's (recovery.h): an original that remembers one, with no claim that wants it, is something
 * that is not done yet, whether its claim has just ended or a daemon was killed. Loop thread. */
#ifndef SLUICE_CLAIMS_SETTINGS_H
#define SLUICE_CLAIMS_SETTINGS_H

#include "claims/claims.h"

/* Does @original remember what no claim on a device of its group wants any more? A release has its claim until it is over. */
bool settings_owed(const struct claims *claims, const struct original *original);

/* Does what was set for an earlier claim serve one of @devices, whose claim is about to begin? */
bool settings_owed_for(const struct claims *claims, const struct device *const *devices, size_t n_devices);

/* Those of @list that are owed, moved to its beginning; returns how many. */
size_t settings_owed_of(const struct claims *claims, struct original *list, size_t n);

/* They have it back: that is forgotten, and with it the originals of what Sluice did not bind. */
void settings_given_back(struct claims *claims, const struct original *list, size_t n);

#endif
