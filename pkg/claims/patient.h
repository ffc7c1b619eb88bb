/* SPDX-License-Identifier: Apache-2.0 */
/* A turn on the queue of the cards that comes again until its work is done: between two attempts it steps aside, for pauses that
 * grow, or keeps its cards for the moment that something is about to end. Loop thread.
 *
 * Its owner has it as a member, and frees itself after patient_end(). The owner's turn_ops.stop() ends what is idle; what a hand or
 * the disk has the word of ends when they have spoken. */
#ifndef SLUICE_CLAIMS_PATIENT_H
#define SLUICE_CLAIMS_PATIENT_H

#include "claims/claims_priv.h"

#ifndef PATIENT_TIMES
#define PATIENT_TIMES
enum {
        PATIENT_PAUSE_MIN_MS = 1000, /* until the next attempt; doubles */
        PATIENT_PAUSE_MAX_MS = 300000,
};
#endif

struct patient {
        struct turn turn;
        struct patient *next; /* in claims->patients */
        struct claims *claims;
        uv_timer_t *timer; /* the next attempt */
        bool in_queue;
        int64_t pause_ms;
        char said[ERR_MSG_MAX]; /* why the last attempt was none; "" = there was none */
};

/* In the queue, at its end; turns_pump() starts it. @cards are borrowed until patient_end(). */
void patient_begin(struct patient *patient, struct claims *claims, const struct turn_ops *ops, const struct bdf *cards, size_t n_cards);
void patient_end(struct patient *patient);

/* The next attempt, if it is in the queue with the cards that it has. */
void patient_again(struct patient *patient);
void patient_again_in(struct patient *patient, unsigned ms);
/* Others may have the cards meanwhile. Is @why another reason than the last time? The caller says it then. */
bool patient_step_aside(struct patient *patient, const char *why);

/* Nobody has the word: it waits for its cards, or for a time. */
bool patient_is_idle(const struct patient *patient);

/* turn_ops.stop() of each that is aside, and so on no queue. */
void patients_stop(struct claims *claims);

#endif
