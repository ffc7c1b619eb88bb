/* SPDX-License-Identifier: Apache-2.0 */
#include "hands/hands.h"

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
#include "hands/spawn.h"

enum {
        WARM_MAX = 17,        /* workers ready or asked for: one, and one per waiting plan up to 16 */
        RETRY_FIRST_MS = 100, /* pauses before the zygote or a worker is started again: 0, 100, 200, ... */
        RETRY_MAX_MS = 5000,
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
        struct bdf at;       /* the function it is at work on */
        bool begun, undoing; /* what the last report said ... */
        uint32_t step;       /* ... and of which step */
        struct hands_result result;
        hands_value_fn *value;
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
        unsigned failures;     /* since a plan last ended properly */
        char why[ERR_MSG_MAX]; /* the last of them */
        struct worker *workers;
        struct job *waiting, **waiting_tail;
        bool stopping;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static void dispatch(struct hands *hands);
static void retry_later(struct hands *hands, const char *why);

static void handle_closed(struct hands *hands)
{
        if (--hands->n_handles == 0 && hands->stopping)
                hands->closed(hands->closed_ctx);
}

/* ---- jobs ----------------------------------------------------------------------------------------------------------- */

static void on_job_closed(uv_handle_t *handle)
{
        struct job *job = handle->data;
        struct hands *hands = job->hands;

        job->done(job->ctx, &job->result);
        free(job);
        handle_closed(hands);
}

__attribute__((format(printf, 4, 5))) static void job_finish(struct job *job, enum plan_end end, enum reason reason, const char *fmt, ...)
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
static void job_locate(struct job *job, char *out, size_t size)
{
        char step[160];

        job->result.step = job->begun ? job->step : job->plan.n_steps;
        if (!job->begun) {
                str_format(out, size, "before the first step");
                return;
        }
        step_describe(&job->plan.steps[job->step], step, sizeof(step));
        str_format(out, size, "%s step %u of %u (%s)", job->undoing ? "while undoing" : "in", job->step + 1, job->plan.n_steps, step);
}

static struct job *waiting_pop(struct hands *hands)
{
        struct job *job = hands->waiting;

        hands->waiting = job->next;
        if (!hands->waiting)
                hands->waiting_tail = &hands->waiting;
        return job;
}

static void waiting_remove(struct job *job)
{
        struct hands *hands = job->hands;
        struct job **p = &hands->waiting;

        while (*p != job)
                p = &(*p)->next;
        *p = job->next;
        if (hands->waiting_tail == &job->next)
                hands->waiting_tail = p;
}

static void worker_listen(struct worker *worker, int n_max);

static void on_deadline(uv_timer_t *timer)
{
        struct job *job = timer->data;
        char where[256];

        /* The loop itself may be late (a stopped or busy process): what was said in time counts. */
        if (job->worker)
                worker_listen(job->worker, INT_MAX);
        if (uv_is_closing((uv_handle_t *)timer) || uv_is_active((uv_handle_t *)timer))
                return; /* it has ended, or (a reading plan) is further than it was */

        if (!job->worker) {
                waiting_remove(job);
                job_finish(job, PLAN_LOST, REASON_HAND_LOST, "no hand was ready within %u ms%s%.200s; nothing was touched",
                           job->deadline_ms, *job->hands->why ? ": " : "", job->hands->why);
                return;
        }
        job->worker->abandoned = true;
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

void hands_run(struct hands *hands, const struct plan *plan, unsigned deadline_ms, hands_value_fn *value, hands_done_fn *done, void *ctx)
{
        struct job *job = xcalloc(1, sizeof(*job));

        assert(hands->loop);
        job->hands = hands;
        job->plan = *plan;
        job->deadline_ms = deadline_ms;
        job->value = value;
        job->done = done;
        job->ctx = ctx;
        job->result.step = plan->n_steps;
        (void)uv_timer_init(hands->loop, &job->timer);
        job->timer.data = job;
        hands->n_handles++;
        if (hands->stopping || hands_stuck(hands) >= HANDS_MAX_STUCK) {
                (void)uv_timer_start(&job->timer, on_refused, 0, 0);
                return;
        }
        (void)uv_timer_start(&job->timer, on_deadline, deadline_ms, 0);
        *hands->waiting_tail = job;
        hands->waiting_tail = &job->next;
        dispatch(hands);
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
        handle_closed(hands);
}

static void worker_close(struct worker *worker)
{
        struct worker **p = &worker->hands->workers;

        while (*p != worker)
                p = &(*p)->next;
        *p = worker->next;
        uv_close((uv_handle_t *)&worker->poll, on_worker_closed);
}

/* The process has ended, or says things nobody understands. */
static void worker_lost(struct worker *worker, const char *why)
{
        struct job *job = worker->job;
        char where[256];

        if (job) {
                job_locate(job, where, sizeof(where));
                job_finish(job, PLAN_LOST, REASON_HAND_LOST, "the hand (pid %d) %.160s, %s", (int)worker->pid, why, where);
        } else if (!worker->abandoned) {
                retry_later(worker->hands, "a hand ended before it had a plan");
        }
        worker_close(worker);
}

static bool same_slot(struct bdf a, struct bdf b)
{
        return a.domain == b.domain && a.bus == b.bus && a.device == b.device;
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
        if (job->value || (job->begun && !same_slot(job->at, job->plan.steps[report->step].bdf)))
                (void)uv_timer_start(&job->timer, on_deadline, job->deadline_ms, 0);
        job->begun = true;
        job->step = report->step;
        job->at = job->plan.steps[report->step].bdf;
        job->undoing = report->kind == REPORT_UNDO_BEFORE || report->kind == REPORT_UNDO_AFTER;
        if (report->kind == REPORT_AFTER && job->plan.steps[job->step].kind == STEP_READ_LOCKED && job->value)
                job->value(job->ctx, report->step, report->result, report->text);
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
                else
                        worker_heard(worker, &report);
        }
}

static void on_worker(uv_poll_t *poll, int status, int events)
{
        (void)events;
        worker_listen(poll->data, status < 0 ? INT_MAX : MESSAGES_PER_TURN);
}

static void worker_new(struct hands *hands, pid_t pid, int fd)
{
        struct worker *worker = xcalloc(1, sizeof(*worker));

        if (uv_poll_init(hands->loop, &worker->poll, fd) < 0) {
                free(worker);
                (void)close(fd);
                retry_later(hands, "a hand's socket cannot be watched");
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

static struct worker *warm_worker(struct hands *hands)
{
        for (struct worker *w = hands->workers; w; w = w->next)
                if (!w->job && !w->abandoned)
                        return w;
        return NULL;
}

/* ---- zygote --------------------------------------------------------------------------------------------------------- */

static void on_zygote_closed(uv_handle_t *handle)
{
        struct zygote *zygote = handle->data;
        struct hands *hands = zygote->hands;

        cleanup_close(&zygote->fd);
        free(zygote);
        handle_closed(hands);
}

/* The zygote touches no hardware, so that SIGKILL ends it at once and waiting for it does not block. Its workers live on. */
static void zygote_reap(struct zygote *zygote)
{
        (void)kill(zygote->pid, SIGKILL);
        while (waitpid(zygote->pid, NULL, 0) < 0 && errno == EINTR)
                ;
}

static void zygote_close(struct hands *hands)
{
        struct zygote *zygote = TAKE_PTR(hands->zygote);

        zygote_reap(zygote);
        uv_close((uv_handle_t *)&zygote->poll, on_zygote_closed);
}

static void zygote_lost(struct hands *hands, const char *why)
{
        log_warn("the hands' zygote (pid %d) is lost: %s; starting another", (int)hands->zygote->pid, why);
        zygote_close(hands);
        retry_later(hands, why);
}

/* False: the zygote is lost. */
static bool zygote_heard(struct hands *hands, const struct wire_worker *msg, int *passed)
{
        switch (msg->kind) {
        case WIRE_WORKER:
                if (*passed < 0 || hands->zygote->n_wanted == 0) {
                        zygote_lost(hands, "it sent a worker without socket, or that nobody asked for");
                        return false;
                }
                hands->zygote->n_wanted--;
                worker_new(hands, msg->pid, TAKE_FD(*passed));
                return true;
        case WIRE_EXIT:
                /* The worker's socket has told the loop already; here is only how it ended. */
                if (WIFSIGNALED(msg->status))
                        log_warn("hand %d was ended by signal %d", msg->pid, WTERMSIG(msg->status));
                return true;
        default:
                zygote_lost(hands, msg->text);
                return false;
        }
}

static void on_zygote(uv_poll_t *poll, int status, int events)
{
        struct zygote *zygote = poll->data;
        struct hands *hands = zygote->hands;
        bool go_on = true;

        (void)events;
        for (int i = 0; (i < MESSAGES_PER_TURN || status < 0) && go_on; i++) {
                _cleanup_close_ int passed = -1;
                struct wire_worker msg;
                struct err err;

                ssize_t n = wire_recv(zygote->fd, &msg, sizeof(msg), &passed);
                if (n == -EAGAIN)
                        break;
                go_on = false;
                if (n <= 0 && n != -EMSGSIZE)
                        zygote_lost(hands, "it ended");
                else if (wire_worker_valid(&msg, n < 0 ? 0 : (size_t)n, &err) < 0)
                        zygote_lost(hands, err.msg);
                else
                        go_on = zygote_heard(hands, &msg, &passed);
        }
        dispatch(hands);
}

static int zygote_watch(struct hands *hands, struct err *err)
{
        struct zygote *zygote = hands->zygote;

        int r = uv_poll_init(hands->loop, &zygote->poll, zygote->fd);
        if (r < 0)
                return err_set(err, -r, "cannot watch the hands' zygote");
        zygote->poll.data = zygote;
        hands->n_handles++;
        (void)uv_poll_start(&zygote->poll, UV_READABLE, on_zygote);
        return 0;
}

static void zygote_drop(struct hands *hands)
{
        struct zygote *zygote = TAKE_PTR(hands->zygote);

        zygote_reap(zygote);
        cleanup_close(&zygote->fd);
        free(zygote);
}

static int zygote_start(struct hands *hands, struct err *err)
{
        struct zygote *zygote = xcalloc(1, sizeof(*zygote));

        zygote->hands = hands;
        int r = spawn_hand(hands->program, &zygote->fd, &zygote->pid, err);
        if (r < 0) {
                free(zygote);
                return r;
        }
        hands->zygote = zygote;
        r = wire_send(zygote->fd, &hands->hello, sizeof(hands->hello), -1);
        if (r < 0)
                (void)err_set(err, -r, "%s ended at once", hands->program);
        else if (hands->loop)
                r = zygote_watch(hands, err);
        if (r < 0)
                zygote_drop(hands);
        return r;
}

/* Asks for as many workers as should be ready: one, and one for each waiting plan. False: the zygote is gone. */
static bool want_workers(struct hands *hands)
{
        static const char request = WIRE_WANT;
        unsigned want = 1, have = hands->zygote->n_wanted;

        for (const struct job *j = hands->waiting; j && want < WARM_MAX; j = j->next)
                want++;
        for (const struct worker *w = hands->workers; w; w = w->next)
                have += !w->job && !w->abandoned;
        for (; have < want; have++) {
                if (wire_send(hands->zygote->fd, &request, sizeof(request), -1) < 0)
                        return false;
                hands->zygote->n_wanted++;
        }
        return true;
}

/* ---- putting them together ------------------------------------------------------------------------------------------ */

static void on_retry(uv_timer_t *timer)
{
        struct hands *hands = timer->data;
        struct err err;

        if (!hands->zygote && zygote_start(hands, &err) < 0) {
                if (hands->failures == 1)
                        log_error("no hand can be started: %s", err.msg);
                retry_later(hands, err.msg);
                return;
        }
        dispatch(hands);
}

static void on_retry_closed(uv_handle_t *handle)
{
        handle_closed(handle->data);
}

/* Starts what is missing again: at once the first time, then after growing pauses. */
static void retry_later(struct hands *hands, const char *why)
{
        uint64_t pause = 0;

        if (hands->stopping)
                return;
        str_format(hands->why, sizeof(hands->why), "%s", why);
        if (hands->failures > 0)
                pause = (uint64_t)RETRY_FIRST_MS << (hands->failures < 7 ? hands->failures - 1 : 6);
        hands->failures++;
        (void)uv_timer_start(&hands->retry, on_retry, pause < RETRY_MAX_MS ? pause : RETRY_MAX_MS, 0);
}

/* Gives waiting plans to warm workers, and keeps one warm. */
static void dispatch(struct hands *hands)
{
        struct worker *worker;

        if (hands->stopping)
                return;
        while (hands->waiting && (worker = warm_worker(hands))) {
                if (wire_send(worker->fd, &hands->waiting->plan, sizeof(struct plan), -1) < 0) {
                        worker_lost(worker, "ended");
                        continue;
                }
                worker->job = waiting_pop(hands);
                worker->job->worker = worker;
        }
        if (hands->zygote && !uv_is_active((uv_handle_t *)&hands->retry) && !want_workers(hands))
                zygote_lost(hands, "it does not listen");
}

int hands_start(struct hands **ret, const struct hands_config *config, struct err *err)
{
        struct hands *hands = xcalloc(1, sizeof(*hands));

        hands->waiting_tail = &hands->waiting;
        hands->program = xstrdup(config->program);
        hands->hello = (struct wire_hello){
                .version = WIRE_VERSION,
                .plan_size = sizeof(struct plan),
                .report_size = sizeof(struct report),
        };
        int r = 0;
        if (!str_copy(hands->hello.sim_dir, sizeof(hands->hello.sim_dir), config->sim_dir ? config->sim_dir : "") ||
            !str_copy(hands->hello.lock_dir, sizeof(hands->hello.lock_dir), config->lock_dir))
                r = err_say(err, ENAMETOOLONG, "the path of the simulation or run directory is too long for a hand");
        if (r == 0)
                r = zygote_start(hands, err);
        if (r == 0 && !want_workers(hands))
                r = err_say(err, EPIPE, "%s ended at once", config->program);
        if (r < 0) {
                hands_free(hands);
                return r;
        }
        *ret = hands;
        return 0;
}

void hands_attach(struct hands *hands, uv_loop_t *loop)
{
        struct err err;

        assert(!hands->loop);
        hands->loop = loop;
        (void)uv_timer_init(loop, &hands->retry);
        hands->retry.data = hands;
        hands->n_handles++;
        if (zygote_watch(hands, &err) < 0) {
                zygote_drop(hands);
                retry_later(hands, err.msg);
        }
}

void hands_stop(struct hands *hands, void (*closed)(void *ctx), void *ctx)
{
        assert(hands->loop && !hands->stopping);
        hands->stopping = true;
        hands->closed = closed;
        hands->closed_ctx = ctx;
        while (hands->waiting)
                job_finish(waiting_pop(hands), PLAN_LOST, REASON_TOO_LATE, "Sluice is shutting down; nothing was touched");
        while (hands->workers) {
                struct job *job = hands->workers->job;
                char where[256];

                if (job) {
                        job_locate(job, where, sizeof(where));
                        job_finish(job, PLAN_LOST, REASON_TOO_LATE, "Sluice is shutting down; the hand goes on alone, %s", where);
                }
                worker_close(hands->workers);
        }
        if (hands->zygote)
                zygote_close(hands);
        uv_close((uv_handle_t *)&hands->retry, on_retry_closed);
}

struct hands *hands_free(struct hands *hands)
{
        if (!hands)
                return NULL;
        assert(!hands->loop || hands->n_handles == 0);
        if (hands->zygote)
                zygote_drop(hands);
        free(hands->program);
        free(hands);
        return NULL;
}
