/* SPDX-License-Identifier: Apache-2.0 */
/* Plans under way and the workers that execute them, as the daemon sees them. */
#include "hands/hands_priv.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"

/* ---- jobs ----------------------------------------------------------------------------------------------------------- */

static void on_job_closed(uv_handle_t *handle)
{
        struct job *job = handle->data;
        struct hands *hands = job->hands;

        job->done(job->ctx, &job->result);
        free(job);
        hands_handle_closed(hands);
}

void job_finish(struct job *job, enum plan_end end, enum reason reason, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(job->result.text, sizeof(job->result.text), fmt, args);
        va_end(args);
        job->result.end = end;
        job->result.reason = reason;
        if (job->worker)
                job->worker->job = NULL;
        job->worker = NULL;
        uv_close((uv_handle_t *)&job->timer, on_job_closed);
}

/* Where the plan was when it was last heard of: "in step 5 of 9 (unbind ...)". Also sets the result's step. */
void job_locate(struct job *job, char *out, size_t size)
{
        char step[160];

        job->result.step = job->begun ? job->step : job->plan.n_steps;
        if (!job->begun || job->waits || job->step == job->plan.n_steps) {
                str_format(out, size, "%s", job->begun ? "while it waited for the other devices of the request" : "before the first step");
                return;
        }
        step_describe(&job->plan.steps[job->step], step, sizeof(step));
        str_format(out, size, "%s step %u of %u (%s)", job->undoing ? "while undoing" : "in", job->step + 1, job->plan.n_steps, step);
}

struct job *waiting_pop(struct hands *hands)
{
        struct job *job = hands->waiting;

        hands->waiting = job->next;
        if (!hands->waiting)
                hands->waiting_tail = &hands->waiting;
        return job;
}

/* False: it did not wait. */
static bool waiting_remove(struct job *job)
{
        struct hands *hands = job->hands;
        struct job **p = &hands->waiting;

        while (*p && *p != job)
                p = &(*p)->next;
        if (!*p)
                return false;
        *p = job->next;
        if (hands->waiting_tail == &job->next)
                hands->waiting_tail = p;
        return true;
}

static void worker_listen(struct worker *worker, int n_max);

enum { KILLED_MS = 1000 /* what has not begun ends at once when it is killed */ };

static void on_deadline(uv_timer_t *timer)
{
        struct job *job = timer->data;
        char where[256];

        /* The loop itself may be late (a stopped or busy process): what was said in time counts. */
        if (job->worker)
                worker_listen(job->worker, INT_MAX);
        if (uv_is_closing((uv_handle_t *)timer) || uv_is_active((uv_handle_t *)timer) || job->waits)
                return; /* it has ended, (a reading plan) is further than it was, or it waits for others that have a deadline */

        if (!job->worker) {
                (void)waiting_remove(job);
                job_finish(job, PLAN_LOST, REASON_HAND_LOST, "no hand was ready within %u ms%s%.200s; nothing was touched",
                           job->deadline_ms, *job->hands->why ? ": " : "", job->hands->why);
                return;
        }
        /* It has not come to the first step, so no device keeps it (a node without memory or processor time does): it must not
         * begin any more. Its end is heard by worker_lost(). */
        if (!job->begun && !job->killed) {
                job->killed = true;
                (void)kill(job->worker->pid, SIGKILL);
                (void)uv_timer_start(timer, on_deadline, KILLED_MS, 0);
                return;
        }
        static const char stop = WIRE_STOP;

        job->worker->abandoned = true;
        (void)wire_send(job->worker->fd, &stop, sizeof(stop), -1);
        job_locate(job, where, sizeof(where));
        job_finish(job, PLAN_STUCK, REASON_DEADLINE, "the kernel did not return within %u ms, %s", job->deadline_ms, where);
}

static void on_refused(uv_timer_t *timer)
{
        struct job *job = timer->data;

        if (job->hands->stopping)
                job_finish(job, PLAN_LOST, REASON_TOO_LATE, "Sluice is shutting down; nothing was touched");
        else
                job_finish(job, PLAN_LOST, REASON_HAND_LOST,
                           "%u hands hang in the kernel, no further one is started; "
                           "nothing was touched",
                           hands_stuck(job->hands));
}

struct job *job_new(struct hands *hands, const struct plan *plan, unsigned deadline_ms, hands_done_fn *done, void *ctx)
{
        struct job *job = xcalloc(1, sizeof(*job));

        assert(hands->loop);
        job->hands = hands;
        job->plan = *plan;
        job->deadline_ms = deadline_ms;
        job->done = done;
        job->ctx = ctx;
        job->result.step = plan->n_steps;
        (void)uv_timer_init(hands->loop, &job->timer);
        job->timer.data = job;
        hands->n_handles++;
        return job;
}

void job_start(struct job *job)
{
        struct hands *hands = job->hands;

        if (hands->stopping || hands_stuck(hands) >= HANDS_MAX_STUCK) {
                (void)uv_timer_start(&job->timer, on_refused, 0, 0);
                return;
        }
        job->deadline_at = uv_now(hands->loop) + job->deadline_ms;
        (void)uv_timer_start(&job->timer, on_deadline, job->deadline_ms, 0);
        *hands->waiting_tail = job;
        hands->waiting_tail = &job->next;
        hands_dispatch(hands);
}

static void job_tell(struct job *job, char word, uint64_t time_ms)
{
        job->waits = false;
        (void)wire_send(job->worker->fd, &word, sizeof(word), -1);
        (void)uv_timer_start(&job->timer, on_deadline, time_ms, 0);
}

void job_go_on(struct job *job)
{
        uint64_t now = uv_now(job->hands->loop);

        if (!job->worker)
                return; /* it has ended, which is heard next */
        /* In the last stage there is only an end to be said. */
        job_tell(job, WIRE_GO, ++job->stage == 2 ? job->deadline_ms : job->deadline_at > now ? job->deadline_at - now : 0);
}

void job_call_off(struct job *job)
{
        if (!job->worker && waiting_remove(job))
                job_finish(job, PLAN_REFUSED, REASON_STEP_FAILED, "another device of the request could not be bound; nothing was touched");
        if (!job->worker || job->killed)
                return;
        job->called_off = true;
        job_tell(job, WIRE_UNDO, job->deadline_ms);
}

void hands_run(struct hands *hands, const struct plan *plan, unsigned deadline_ms, hands_value_fn *value, hands_done_fn *done, void *ctx)
{
        struct job *job = job_new(hands, plan, deadline_ms, done, ctx);

        job->value = value;
        job_start(job);
}

/* ---- workers -------------------------------------------------------------------------------------------------------- */

unsigned hands_stuck(const struct hands *hands)
{
        unsigned n = 0;

        for (const struct worker *w = hands->workers; w; w = w->next)
                n += w->abandoned;
        return n;
}

static void on_worker_closed(uv_handle_t *handle)
{
        struct worker *worker = handle->data;
        struct hands *hands = worker->hands;

        cleanup_close(&worker->fd);
        free(worker);
        hands_handle_closed(hands);
}

void worker_close(struct worker *worker)
{
        struct worker **p = &worker->hands->workers;

        while (*p != worker)
                p = &(*p)->next;
        *p = worker->next;
        uv_close((uv_handle_t *)&worker->poll, on_worker_closed);
}

/* The process has ended, or says things nobody understands. */
void worker_lost(struct worker *worker, const char *why)
{
        struct job *job = worker->job;
        char where[256];

        if (job) {
                job_locate(job, where, sizeof(where));
                job_finish(job, PLAN_LOST, REASON_HAND_LOST, "the hand (pid %d) %.160s, %s", (int)worker->pid, why, where);
        } else if (!worker->abandoned) {
                hands_retry_later(worker->hands, "a hand ended before it had a plan");
        }
        worker_close(worker);
}

/* A plan that awaits words waits once in each of the first two stages, for nothing else, and is done in the third only. */
static bool in_turn(const struct job *job, const struct report *report)
{
        switch (report->kind) {
        case REPORT_CHECKED:
                return job->plan.awaits_word && !job->waits && job->stage == 0;
        case REPORT_READY:
                return job->plan.awaits_word && !job->waits && job->stage == 1;
        case REPORT_END:
                return !job->plan.awaits_word || (report->end == PLAN_DONE) == (job->stage == 2);
        default:
                return !job->waits;
        }
}

/* The result of the plan names only the first. */
static void say_not_undone(const struct step *step, const char *why)
{
        char what[160];

        step_describe(step, what, sizeof(what));
        log_error("not undone: %s: %s", what, why);
}

static void worker_heard(struct worker *worker, const struct report *report)
{
        struct job *job = worker->job;

        if (report->kind == REPORT_END) {
                worker->hands->failures = 0;
                *worker->hands->why = '\0';
                job->result.step = report->step;
                job_finish(job, report->end, report->reason, "%s", report->text);
                worker_close(worker);
                return;
        }
        if (job->value)
                (void)uv_timer_start(&job->timer, on_deadline, job->deadline_ms, 0);
        job->begun = true;
        job->step = report->step;
        job->undoing = report->kind == REPORT_UNDO_BEFORE || report->kind == REPORT_UNDO_AFTER;
        if (report->kind == REPORT_UNDO_AFTER && report->result < 0)
                say_not_undone(&job->plan.steps[job->step], report->text);
        if (report->kind == REPORT_CHECKED || report->kind == REPORT_READY) {
                if (job->called_off)
                        return; /* it has not heard yet */
                job->waits = true;
                (void)uv_timer_stop(&job->timer);
                job->waiting(job->ctx);
                return;
        }
        if (report->kind == REPORT_AFTER && step_tells(job->plan.steps[job->step].kind) && job->value)
                job->value(job->ctx, report->step, report->result, report->text);
        if (report->kind == REPORT_AFTER && job->plan.steps[job->step].kind == STEP_OVERRIDE && report->result == 0 && job->override)
                job->override(job->ctx, report->step, report->result, report->text);
}

static void worker_listen(struct worker *worker, int n_max)
{
        struct report report;
        struct err err;

        for (int i = 0; i < n_max && !uv_is_closing((uv_handle_t *)&worker->poll); i++) {
                ssize_t n = wire_recv(worker->fd, &report, sizeof(report), NULL);
                if (n == -EAGAIN)
                        break;
                if (n <= 0 && n != -EMSGSIZE)
                        worker_lost(worker, "ended");
                else if (worker->abandoned)
                        continue;
                else if (!worker->job)
                        worker_lost(worker, "spoke without a plan");
                else if (wire_report_valid(&report, n < 0 ? 0 : (size_t)n, worker->job->plan.n_steps, &err) < 0)
                        worker_lost(worker, err.msg);
                else if (!in_turn(worker->job, &report))
                        worker_lost(worker, "spoke out of turn");
                else
                        worker_heard(worker, &report);
        }
}

static void on_worker(uv_poll_t *poll, int status, int events)
{
        (void)events;
        worker_listen(poll->data, status < 0 ? INT_MAX : MESSAGES_PER_TURN);
}

void worker_new(struct hands *hands, pid_t pid, int fd)
{
        struct worker *worker = xcalloc(1, sizeof(*worker));

        if (uv_poll_init(hands->loop, &worker->poll, fd) < 0) {
                free(worker);
                (void)close(fd);
                hands_retry_later(hands, "a hand's socket cannot be watched");
                return;
        }
        worker->hands = hands;
        worker->pid = pid;
        worker->fd = fd;
        worker->poll.data = worker;
        worker->next = hands->workers;
        hands->workers = worker;
        hands->n_handles++;
        (void)uv_poll_start(&worker->poll, UV_READABLE, on_worker);
}

struct worker *warm_worker(struct hands *hands)
{
        for (struct worker *w = hands->workers; w; w = w->next)
                if (!w->job && !w->abandoned)
                        return w;
        return NULL;
}
