/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger: all claims and all originals, in memory and, one record each, below the state directory (kinds "claims" and
 * "originals"). What is put is true in memory at once and written off the loop; a record that is changed again while it is being
 * written is written once more, as it is by then. What the disk refuses is tried again every LEDGER_RETRY_MS, until it is
 * written or changed. Loop thread. */
#ifndef SLUICE_CLAIMS_LEDGER_H
#define SLUICE_CLAIMS_LEDGER_H

#include "claims/recorder.h"
#include "core/claim.h"

enum { LEDGER_VERSION = 1 };
#ifndef LEDGER_TIMES
#define LEDGER_TIMES
enum {
        LEDGER_LAZY_MS = 100, /* what nobody waits for is gathered for so long */
        LEDGER_RETRY_MS = 5000,
};
#endif

struct ledger;

/* Reads what is there. Records that cannot be trusted are set aside (records.h) and logged. */
int ledger_open(int state_dir, uv_loop_t *loop, struct recorder *recorder, struct ledger **ret, struct err *err);
/* Writes what is not written yet, and tries nothing again from now on; what is put from now on is written at once. The loop
 * runs on until all is. NULL-safe. */
void ledger_stop(struct ledger *ledger);
struct ledger *ledger_free(struct ledger *ledger); /* stopped, and the loop has run out (or never ran). NULL-safe, returns NULL */

/* @done (may be NULL: nobody waits, and LEDGER_LAZY_MS later is soon enough) is called once, from the loop, later: with NULL
 * when all is on the disk, or with what the disk said first; memory stays as put in both cases. A put that would exceed
 * RECORDS_MAX of its kind: -ENOSPC, nothing is changed and @done not called. */
int ledger_put_claim(struct ledger *ledger, const struct claim *claim, recorded_fn *done, void *ctx, struct err *err);
void ledger_remove_claim(struct ledger *ledger, const char *key, recorded_fn *done, void *ctx);
int ledger_put_originals(struct ledger *ledger, const struct original *list, size_t n, recorded_fn *done, void *ctx, struct err *err);
void ledger_remove_originals(struct ledger *ledger, const struct bdf *list, size_t n, recorded_fn *done, void *ctx);

/* Borrowed until that record is changed. NULL = none. */
const struct claim *ledger_claim(const struct ledger *ledger, const char *key);
const struct claim *ledger_claim_of(const struct ledger *ledger, const char *device); /* the claim that names it */
const struct original *ledger_original(const struct ledger *ledger, struct bdf bdf);

/* All, in no order. What is called may put (what is put meanwhile may be left out) and remove. */
typedef void claim_fn(void *ctx, const struct claim *claim);
typedef void original_fn(void *ctx, const struct original *original);
void ledger_each_claim(const struct ledger *ledger, claim_fn *each, void *ctx);
void ledger_each_original(const struct ledger *ledger, original_fn *each, void *ctx);

#endif
