/* SPDX-License-Identifier: Apache-2.0 */
/* Records written off the loop: a disk that is slow, full or hung delays what waits for the record, not the daemon. One job at
 * a time and in order, so that two changes of one record cannot overtake each other. Loop thread. */
#ifndef SLUICE_CLAIMS_RECORDER_H
#define SLUICE_CLAIMS_RECORDER_H

#include <uv.h>

#include "claims/records.h"

/* @err NULL: it is on the disk. Called on the loop, never before recorder_put or recorder_remove has returned. */
typedef void recorded_fn(void *ctx, const struct err *err);

struct recorder;
struct recorder *recorder_new(uv_loop_t *loop);

/* @records is borrowed until @done; @key and @text are copied. */
void recorder_put(struct recorder *recorder, struct records *records, const char *key, const char *text, recorded_fn *done, void *ctx);
void recorder_remove(struct recorder *recorder, struct records *records, const char *key, recorded_fn *done, void *ctx); /* likewise */

/* What was asked for keeps the loop alive until it is written or refused by the disk: then. */
struct recorder *recorder_free(struct recorder *recorder);

#endif
