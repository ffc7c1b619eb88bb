/* SPDX-License-Identifier: Apache-2.0 */
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
#include "hands/spawn.h"

enum {
        WARM_MAX = 17,        /* workers ready or asked for: one, and one per waiting plan up to 16 */
        RETRY_FIRST_MS = 100, /* pauses before the zygote or a worker is started again: 0, 100, 200, ... */
        RETRY_MAX_MS = 5000,
        ANSWER_MS = 5000, /* a zygote that forks nothing for so long after it was asked to is stopped, or hangs: it forks in a ms */
};

void hands_handle_closed(struct hands *hands)
{
        if (--hands->n_handles == 0 && hands->stopping)
                hands->closed(hands->closed_ctx);
}

/* ---- zygote --------------------------------------------------------------------------------------------------------- */

static void on_zygote_closed(uv_handle_t *handle)
{
        struct zygote *zygote = handle->data;
        struct hands *hands = zygote->hands;

        cleanup_close(&zygote->fd);
        free(zygote);
        hands_handle_closed(hands);
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

        (void)uv_timer_stop(&hands->silence);
        zygote_reap(zygote);
        uv_close((uv_handle_t *)&zygote->poll, on_zygote_closed);
}

static void zygote_lost(struct hands *hands, const char *why)
{
        log_warn("the hands' zygote (pid %d) is lost: %s; starting another", (int)hands->zygote->pid, why);
        zygote_close(hands);
        hands_retry_later(hands, why);
}

static void on_silence(uv_timer_t *timer);

/* From the last word of a zygote that owes us workers. */
static void zygote_expect(struct hands *hands)
{
        if (hands->zygote->n_wanted > 0)
                (void)uv_timer_start(&hands->silence, on_silence, ANSWER_MS, 0);
        else
                (void)uv_timer_stop(&hands->silence);
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
                zygote_expect(hands);
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

static void zygote_listen(struct hands *hands, int n_max)
{
        bool go_on = true;

        for (int i = 0; i < n_max && go_on; i++) {
                _cleanup_close_ int passed = -1;
                struct wire_worker msg;
                struct err err;

                ssize_t n = wire_recv(hands->zygote->fd, &msg, sizeof(msg), &passed);
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
}

static void on_zygote(uv_poll_t *poll, int status, int events)
{
        struct hands *hands = ((struct zygote *)poll->data)->hands;

        (void)events;
        zygote_listen(hands, status < 0 ? INT_MAX : MESSAGES_PER_TURN);
        hands_dispatch(hands);
}

static void on_silence(uv_timer_t *timer)
{
        struct hands *hands = timer->data;
        char why[64];

        /* The loop itself may be late (a stopped or busy process): what was said in time counts. */
        zygote_listen(hands, INT_MAX);
        if (hands->zygote && hands->zygote->n_wanted > 0 && !uv_is_active((uv_handle_t *)timer)) {
                str_format(why, sizeof(why), "it has not answered for %d ms", ANSWER_MS);
                zygote_lost(hands, why);
        }
        hands_dispatch(hands);
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
                if (hands->zygote->n_wanted++ == 0)
                        zygote_expect(hands);
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
                hands_retry_later(hands, err.msg);
                return;
        }
        hands_dispatch(hands);
}

static void on_timer_closed(uv_handle_t *handle)
{
        hands_handle_closed(handle->data);
}

/* Starts what is missing again: at once the first time, then after growing pauses. */
void hands_retry_later(struct hands *hands, const char *why)
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
void hands_dispatch(struct hands *hands)
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
            !str_copy(hands->hello.mounts, sizeof(hands->hello.mounts), config->mounts ? config->mounts : "") ||
            !str_copy(hands->hello.lock_dir, sizeof(hands->hello.lock_dir), config->lock_dir))
                r = err_say(err, ENAMETOOLONG, "the path of the simulation, of the mounts or of the run directory is too long for a hand");
        if (r == 0)
                r = zygote_start(hands, err);
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
        (void)uv_timer_init(loop, &hands->silence);
        hands->retry.data = hands->silence.data = hands;
        hands->n_handles += 2;
        if (zygote_watch(hands, &err) < 0) {
                zygote_drop(hands);
                hands_retry_later(hands, err.msg);
        } else {
                hands_dispatch(hands); /* no plan yet: asks for a worker */
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
        uv_close((uv_handle_t *)&hands->retry, on_timer_closed);
        uv_close((uv_handle_t *)&hands->silence, on_timer_closed);
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
