/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a request's preparation share: prepare.c has the door, the checks and the answer, prepare_holders.c asks who has
 * a device open, prepare_bind.c has them bound behind a record. Loop thread. */
#ifndef SLUICE_CLAIMS_PREPARE_PRIV_H
#define SLUICE_CLAIMS_PREPARE_PRIV_H

#include "claims/binding.h"
#include "claims/claims_priv.h"
#include "claims/intent.h"
#include "claims/request.h"

enum { JOB_CARDS_MAX = 2 * REQUEST_DEVICES_MAX };

enum job_state {
        JOB_WAITING,
        JOB_HELD,       /* until a descriptor is closed, or it is tried again */
        JOB_RUNNING,    /* hands are at work */
        JOB_INTENDING,  /* its intent is being written */
        JOB_COMPLETING, /* it is done, which is being written */
        JOB_ENDING,
};

struct job {
        struct turn turn;
        struct claims *claims;
        enum job_state state;
        enum claim_owner owner;
        bool verify_only;
        enum device_mode mode;
        char resource[RESOURCE_MAX];
        char **devices;
        size_t n_devices;
        struct bdf cards[JOB_CARDS_MAX];
        struct binding *binding; /* NULL = nothing is being bound */
        struct intent *intent;   /* of @binding */
        unsigned n_bindings;     /* how often one was made */
        size_t n_recording;      /* records that its completion waits for */
        bool *begun;             /* its claims have been put already, for each device: is there no former one? NULL = not yet */
        bool stale;              /* what the binding was planned from is not so any more */
        int64_t deadline_at_ms;  /* of all */
        int64_t record_until_ms; /* the disk may take */
        int64_t held_until_ms;   /* 0 = not waited yet */
        bool nobody_holds;       /* a hand has asked every process */
        claims_done_fn *done;
        void *ctx;
};

struct job *job_of_turn(struct turn *turn); /* NULL = it is the turn of something else */

/* Against what is offered now. @devices: of the request, by id. */
enum reason job_check(struct job *job, const struct device **devices, struct err *err);
void job_wait_again(struct job *job); /* its turn is started again */

/* The caller hears the first of these, and no further one. job_grant() and job_reply_refusal() leave the job as it is; the others end
 * it and free it. */
void job_grant(struct job *job, const struct device *const *devices);
void job_answer(struct job *job, const struct device *const *devices);
void job_reply_refusal(struct job *job, enum reason reason, const struct err *err);
void job_refuse(struct job *job, enum reason reason, const struct err *err);
void job_end(struct job *job, enum reason reason, const char *text, const struct answer *answer);

/* Puts the claims before the answer: what was done to the kernel for a pod is on the disk with whose it is, so that no daemon that
 * starts anew takes it for nobody's. Returns for how many of them @done(job) will be called. A refusal drops them again. */
size_t job_begin_claims(struct job *job, const struct device *const *devices, recorded_fn *done);
void job_drop_claims(struct job *job);

/* True: a hand asks who has them open, and the job goes on when it has answered. What has to be bound is not asked for: its plan asks. */
bool job_asks_holders(struct job *job, const struct device *const *devices);
/* Of the binding that it has: written down, run, written down as done, answered. */
void job_bind(struct job *job);
void job_complete(struct job *job); /* the end of that: what it has is done; written down, answered */

#endif
