/* SPDX-License-Identifier: Apache-2.0 */
/* What the ledger remembers of functions, held against the host (core/recover.h): the host is right, and what is not so any more is
 * forgotten, and said. Loop thread. */
#ifndef SLUICE_CLAIMS_STOCK_H
#define SLUICE_CLAIMS_STOCK_H

#include "claims/claims.h"

/* All originals there are. The caller frees *@ret, here as below; NULL = none. */
size_t stock_all(const struct claims *claims, struct original **ret);

/* At start. What is over is forgotten; what is under way stays, since a hand may be at work on it still. Returns those that are left. Says
 * also what looks like somebody else's binding, and which claims are not what their holders were told. */
size_t stock_take(struct claims *claims, struct original **ret);

/* No hand is at work on @list: those that are not ours any more are forgotten; the others are moved to its beginning, and counted. */
size_t stock_forget(struct claims *claims, struct original *list, size_t n);

/* After a look at the host: what somebody has taken, or exchanged, meanwhile is his, and so is what he binds to VFIO afterwards. A
 * function that is out of sight is waited for: a look may have missed it. */
void stock_forget_taken(struct claims *claims);

#endif
