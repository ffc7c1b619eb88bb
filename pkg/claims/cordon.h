/* SPDX-License-Identifier: Apache-2.0 */
/* An operator's holds: devices, or all that hangs on a card, that no new pod shall get, until the operator says otherwise; a
 * restart and a reboot do not end them. One record each, of kind "cordon". Loop thread. */
#ifndef SLUICE_CLAIMS_CORDON_H
#define SLUICE_CLAIMS_CORDON_H

#include "claims/recorder.h"
#include "core/device.h"

enum { CORDON_VERSION = 1, CORDON_NOTE_MAX = 201 };

struct cordon {
        char target[DEVICE_ID_MAX]; /* id of a device, or address of a card */
        char note[CORDON_NOTE_MAX]; /* the operator's words, cleaned; "" = none */
        int64_t since_ms;           /* Unix time */
        bool until_restart;         /* not written down: this daemon's own */
};

struct cordons;
/* Reads what is known. Records that cannot be trusted are set aside and logged. */
int cordons_open(int state_dir, struct recorder *recorder, struct cordons **ret, struct err *err);
struct cordons *cordons_free(struct cordons *cordons); /* before recorder_free, when the loop has run out. NULL-safe */

/* In force once @done is called with NULL, and durable then; else nothing has changed. One of the same target is replaced. */
void cordons_put(struct cordons *cordons, const struct cordon *cordon, recorded_fn *done, void *ctx);
void cordons_remove(struct cordons *cordons, const char *target, recorded_fn *done, void *ctx);
/* In force at once, until it is removed or the daemon ends; one of the same target that is there stays as it is. */
void cordons_hold(struct cordons *cordons, const char *target, const char *note, int64_t since_ms);
void cordons_let_go(struct cordons *cordons, const char *target); /* of such a hold; what an operator put stays */

/* NULL = none. Borrowed until the next put or remove is done. */
const struct cordon *cordons_find(const struct cordons *cordons, const char *target);
const struct cordon *cordons_of(const struct cordons *cordons, const struct device *device); /* its own, else its card's */
bool cordon_is_of(const char *target, const struct device *device);                          /* would that withhold it? */

#endif
