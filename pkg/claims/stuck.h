/* SPDX-License-Identifier: Apache-2.0 */
/* Stuck cards, remembered across daemons: what the kernel did not answer for is not touched again in this boot, whoever asks.
 * One record per card, of kind "stuck", with the boot it belongs to; a reboot ends it. Loop thread. */
#ifndef SLUICE_CLAIMS_STUCK_H
#define SLUICE_CLAIMS_STUCK_H

#include "claims/recorder.h"
#include "core/bdf.h"

enum { STUCK_VERSION = 1 };

struct stuck;
typedef void stuck_fn(void *ctx, struct bdf card, const char *detail);

/* Reads what is known and calls @each for the cards of this boot; those of another boot are forgotten. @boot_id "" (it cannot
 * be read): they all count. Records that cannot be trusted are set aside and logged. */
int stuck_open(int state_dir, struct recorder *recorder, const char *boot_id, stuck_fn *each, void *ctx, struct stuck **ret,
               struct err *err);

/* @detail names the step that did not come back. A failure to write it down is logged: it holds for this daemon then. */
void stuck_add(struct stuck *stuck, struct bdf card, const char *detail);
struct stuck *stuck_free(struct stuck *stuck); /* before recorder_free, when the loop has run out */

#endif
