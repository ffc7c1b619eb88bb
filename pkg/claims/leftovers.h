/* SPDX-License-Identifier: Apache-2.0 */
/* What is left in a state directory that no daemon uses any more, read without changing a byte of it. */
#ifndef SLUICE_CLAIMS_LEFTOVERS_H
#define SLUICE_CLAIMS_LEFTOVERS_H

#include "base/err.h"
#include "core/leftover.h"

struct state_left {
        struct original *originals;
        size_t n_originals, cap_originals;
        struct claim *claims;
        size_t n_claims, cap_claims;
};
/* Its records, and what is to be said of other files in it. @dir: for messages. No such directory is fine. */
int state_left_read(int state_dir, const char *dir, struct state_left *ret, struct leftovers *leftovers, struct err *err);
void state_left_done(struct state_left *left);

#endif
