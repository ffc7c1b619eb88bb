/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/patient.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"

static void on_timer_closed(uv_handle_t *handle)
{
        free(handle);
}

static void join(struct patient *patient)
{
        patient->in_queue = true;
        turn_join(patient->claims, &patient->turn);
}

static void leave(struct patient *patient)
{
        if (!patient->in_queue)
                return;
        patient->in_queue = false;
        turn_leave(patient->claims, &patient->turn);
}

void patient_begin(struct patient *patient, struct claims *claims, const struct turn_ops *ops, const struct bdf *cards, size_t n_cards)
{
        *patient = (struct patient){ .turn = { .ops = ops, .cards = cards, .n_cards = n_cards },
                                     .next = claims->patients,
                                     .claims = claims,
                                     .pause_ms = PATIENT_PAUSE_MIN_MS };
        claims->patients = patient;
        patient->timer = xcalloc(1, sizeof(*patient->timer));
        (void)uv_timer_init(claims->loop, patient->timer);
        patient->timer->data = patient;
        join(patient);
}

void patient_end(struct patient *patient)
{
        struct patient **at = &patient->claims->patients;

        while (*at != patient)
                at = &(*at)->next;
        *at = patient->next;
        uv_close((uv_handle_t *)patient->timer, on_timer_closed);
        leave(patient);
}

void patient_again(struct patient *patient)
{
        if (patient->in_queue)
                patient->turn.waits = true;
        else
                join(patient);
        turns_pump(patient->claims);
}

static void on_time(uv_timer_t *timer)
{
        patient_again(timer->data);
}

void patient_again_in(struct patient *patient, unsigned ms)
{
        (void)uv_timer_start(patient->timer, on_time, ms, 0);
}

bool patient_step_aside(struct patient *patient, const char *why)
{
        int64_t longer_ms = patient->pause_ms * 2;
        bool news = !streq(patient->said, why);

        (void)str_copy(patient->said, sizeof(patient->said), why);
        leave(patient);
        patient_again_in(patient, (unsigned)patient->pause_ms);
        patient->pause_ms = longer_ms > PATIENT_PAUSE_MAX_MS ? PATIENT_PAUSE_MAX_MS : longer_ms;
        return news;
}

bool patient_is_idle(const struct patient *patient)
{
        return !patient->in_queue || patient->turn.waits || uv_is_active((const uv_handle_t *)patient->timer);
}

void patients_stop(struct claims *claims)
{
        for (struct patient *patient = claims->patients, *next; patient; patient = next) {
                next = patient->next;
                if (!patient->in_queue)
                        patient->turn.ops->stop(&patient->turn);
        }
}
