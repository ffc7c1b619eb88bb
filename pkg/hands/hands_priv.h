/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon's side of the hands shares: jobs and workers (job.c), jobs of one request (together.c), the zygote and the
 * whole (hands.c). Loop thread. */
#ifndef SLUICE_HANDS_HANDS_PRIV_H
#define SLUICE_HANDS_HANDS_PRIV_H

#include "hands/hands.h"

enum {
        /* Read from one socket before others have their turn. On an error (the peer died with something of ours unread) libuv has
         * stopped the watch: then everything is read, to the end of the stream. */
        MESSAGES_PER_TURN = 64,
};

/* A running plan's end is decided once, by job_finish(); @done is called when its timer has closed. */
struct job {
        struct hands *hands;
        struct job *next; /* in hands.waiting */
        struct plan plan;
        struct worker *worker; /* NULL = waiting, or finished */
        uv_timer_t timer;      /* the deadline */
        unsigned deadline_ms;
        bool begun, undoing; /* what the last report said ... */
        uint32_t step;       /* ... and of which step */
        bool killed;         /* its worker, which had not begun in time */
        /* One of several of a request: */
        bool waits, called_off;
        unsigned stage;       /* 0 until all conditions hold everywhere, 1 until all are done, 2 = is kept */
        uint64_t deadline_at; /* of stages 0 and 1, uv_now() */
        struct hands_result result;
        hands_value_fn *value, *override; /* @override: of each STEP_OVERRIDE, what was there before */
        void (*waiting)(void *ctx);       /* waits for the others, without a deadline of its own */
        hands_done_fn *done;
        void *ctx;
};

/* Warm (no job), at work (job), or abandoned. */
struct worker {
        struct hands *hands;
        struct worker *next;
        pid_t pid;
        int fd;
        uv_poll_t poll;
        struct job *job;
        bool abandoned;
};

struct zygote {
        struct hands *hands;
        pid_t pid;
        int fd;
        uv_poll_t poll;
        unsigned n_wanted; /* workers asked for that have not come yet */
};

struct hands {
        char *program;
        struct wire_hello hello;
        uv_loop_t *loop; /* NULL until attached */
        unsigned n_handles;
        struct zygote *zygote; /* NULL = dead, to be started by @retry */
        uv_timer_t retry;
        uv_timer_t silence;    /* runs while the zygote owes workers */
        unsigned failures;     /* since a plan last ended properly */
        char why[ERR_MSG_MAX]; /* the last of them */
        struct worker *workers;
        struct job *waiting, **waiting_tail;
        bool stopping;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

/* job.c */
struct job *job_new(struct hands *hands, const struct plan *plan, unsigned deadline_ms, hands_done_fn *done, void *ctx);
void job_start(struct job *job);    /* its deadline begins */
void job_go_on(struct job *job);    /* it waits */
void job_call_off(struct job *job); /* at any time; for its undo the deadline begins anew */
__attribute__((format(printf, 4, 5))) void job_finish(struct job *job, enum plan_end end, enum reason reason, const char *fmt, ...);
void job_locate(struct job *job, char *out, size_t size);
struct job *waiting_pop(struct hands *hands);
void worker_new(struct hands *hands, pid_t pid, int fd);
void worker_close(struct worker *worker);
void worker_lost(struct worker *worker, const char *why);
struct worker *warm_worker(struct hands *hands);

/* hands.c */
void hands_dispatch(struct hands *hands);
void hands_retry_later(struct hands *hands, const char *why);
void hands_handle_closed(struct hands *hands);

#endif
