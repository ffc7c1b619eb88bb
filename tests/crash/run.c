/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "kept.h"
#include "picture.h"

const char *const victim_names[N_VICTIMS] = { "daemon", "daemon, the next one beside the hand", "hand", "both" };

bool victim_fits(enum victim victim, const char *point)
{
        return str_has_prefix(point, "hand ") || victim == VICTIM_DAEMON || victim == VICTIM_BOTH;
}

int run_setup(void **state)
{
        struct run *run = *state;
        void *rig = NULL;

        int r = rig_setup(&rig);
        run->rig = rig;
        return r;
}

int run_teardown(void **state)
{
        struct run *run = *state;
        void *rig = run->rig;

        held_arrange(run->held, NULL);
        if (run->rig->pid > 0) {
                (void)kill(run->rig->pid, SIGKILL);
                (void)waitpid(run->rig->pid, NULL, 0);
                run->rig->pid = 0;
        }
        held_kill_hands(run->held);
        if (run->is_asking)
                (void)pthread_join(run->asking, NULL);
        run->is_asking = false;
        while (waitpid(-1, NULL, 0) > 0) /* whoever was left to us */
                ;
        run->ended(run, run->rig->over);
        return rig_teardown(&rig);
}

/* ---- asking ---- */

static void *ask(void *arg)
{
        struct run *run = arg;
        const char *ids[SCENE_DEVICES_MAX];

        for (unsigned i = 0; i < run->scene->n_ids; i++)
                ids[i] = run->scene->ids[i];
        run->code = fk_raw_allocate(run->rig->k, run->scene->resource, ids, run->scene->n_ids, run->text);
        return NULL;
}

static void begin_asking(struct run *run)
{
        run->is_asking = true;
        assert_int_equal(pthread_create(&run->asking, NULL, ask, run), 0);
}

static void end_asking(struct run *run)
{
        if (run->is_asking)
                assert_int_equal(pthread_join(run->asking, NULL), 0);
        run->is_asking = false;
}

/* ---- looking ---- */

static char *look(struct run *run)
{
        struct err err;
        int64_t next_ms;

        (void)sim_settle(run->rig->sim, &next_ms, &err);
        return picture_of(run->rig->sim_dir);
}

static bool all_locks_free(const struct rig *rig)
{
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct err err;
        bool all_free = true;

        _cleanup_close_ int dir = open(rig->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0 || fs_list(dir, ".", &list, &err) < 0)
                return dir < 0;
        for (size_t i = 0; i < list.n && all_free; i++) {
                if (!str_has_prefix(list.names[i], "card-"))
                        continue;
                _cleanup_close_ int fd = openat(dir, list.names[i], O_RDWR | O_CLOEXEC);
                all_free = fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0;
        }
        return all_free;
}

static unsigned all_of(const struct run *run)
{
        return (1U << run->scene->n_ids) - 1;
}

/* All are bound, for nobody: a claim that never began has its power back. */
static unsigned bare_of(const struct run *run)
{
        return 1U << run->scene->n_ids;
}

/* Which devices are bound, if all of the host is as it was or as their plans leave it: -1 else, with the difference to the nearest
 * of these worlds in @why. */
static int which_world(const struct run *run, const char *now, char *why, unsigned size)
{
        unsigned best = size;

        if (run->scene->bare && streq(now, run->scene->bare))
                return (int)bare_of(run);
        for (unsigned mask = 0; mask < 1U << run->scene->n_ids; mask++) {
                char difference[2048];
                if (streq(now, run->scene->world[mask]))
                        return (int)mask;
                picture_differ(run->scene->world[mask], now, difference, sizeof(difference));
                if (strlen(difference) < best) {
                        best = (unsigned)strlen(difference);
                        str_format(why, size, "%s", difference);
                }
        }
        return -1;
}

static bool records_are_true(const struct run *run, unsigned world, char *why, unsigned size)
{
        bool bare = world == bare_of(run);

        return kept_originals_are(run->rig->state_dir, run->scene, bare ? all_of(run) : world, run->scene->kind->powers && !bare, why,
                                  size);
}

/* Waits until nobody is at work, the host is one of the worlds that it may be, and what is written down is true of it. */
static unsigned settle(struct run *run, const char *when)
{
        char why[2048] = "";

        for (int64_t until = clock_ms() + RIG_SOON_MS;; (void)usleep(1000)) {
                bool idle = all_locks_free(run->rig);
                _cleanup_free_ char *now = look(run);
                int mask = which_world(run, now, why, sizeof(why));
                if (idle && mask >= 0 && records_are_true(run, (unsigned)mask, why, sizeof(why)))
                        return (unsigned)mask;
                if (clock_ms() > until)
                        fail_msg("%s %s:%s", when,
                                 !idle      ? "somebody is still at work on the host"
                                 : mask < 0 ? "the host is neither as before nor as after"
                                            : "the records are not true",
                                 why);
        }
}

/* They are written a moment later than the answer goes. */
static void await_claims(struct run *run, unsigned mask)
{
        char why[512] = "";

        for (int64_t until = clock_ms() + RIG_SOON_MS; !kept_claims_are(run->rig->state_dir, run->scene, mask, why, sizeof(why));
             (void)usleep(2000))
                if (clock_ms() > until)
                        fail_msg("%s", why);
}

/* ---- the course ---- */

static void prepare(struct run *run)
{
        _cleanup_free_ char *config = scene_config(run->scene);
        struct rig *rig = run->rig;
        char fault[96];

        rig_prepare(rig, run->scene->fixture, config);
        scene_make_class(rig->sim_dir);
        rig->suffix = "-held";
        if (run->scene->kind->fails) {
                str_format(fault, sizeof(fault), "drivers_probe %s refuse EINVAL times 1", run->scene->ids[run->scene->n_ids - 1]);
                rig_fault(rig, fault);
        }
        rig_kubelet(rig, "1.34");
}

/* All that the pool had at first, as healthy as it was. */
static void await_list(struct run *run)
{
        rig_ready(run->rig, run->scene->resource, run->scene->n_listed, run->scene->n_healthy);
}

static unsigned n_registrations(struct run *run)
{
        return rig_counts(run->rig, run->scene->resource).registrations;
}

static bool has_registered_since(struct fk *k, void *ctx)
{
        struct run *run = ctx;

        (void)k;
        return n_registrations(run) > run->n_registrations;
}

/* The next daemon is at work, whatever it offers of what the hand has. */
static void start_beside(struct run *run)
{
        run->n_registrations = n_registrations(run);
        rig_daemon(run->rig);
        assert_true(fk_wait(run->rig->k, RIG_SOON_MS, has_registered_since, run));
}

/* Up to the point; the process that is held there. */
static pid_t reach(struct run *run)
{
        held_arrange(run->held, run->point);
        rig_daemon(run->rig);
        if (run->scene->kind->asks) {
                await_list(run);
                begin_asking(run);
        }
        pid_t pid = held_wait(run->held, RIG_SOON_MS);
        held_arrange(run->held, NULL);
        if (pid == 0) {
                end_asking(run);
                fail_msg("nobody came to the point '%s' (answer %d: %s)", run->point, run->code, run->text);
        }
        return pid;
}

static void kill_daemon(struct run *run)
{
        assert_int_equal(kill(run->rig->pid, SIGKILL), 0);
        assert_int_equal(waitpid(run->rig->pid, NULL, 0), run->rig->pid);
        run->rig->pid = 0;
}

/* The daemon does not hear of its hand's end before its own. */
static void kill_both(struct run *run, pid_t hands)
{
        assert_int_equal(kill(run->rig->pid, SIGSTOP), 0);
        assert_int_equal(kill(-hands, SIGKILL), 0);
        kill_daemon(run);
        held_await_hands(hands);
}

static void strike(struct run *run, pid_t held_pid)
{
        bool is_hand = held_pid != run->rig->pid;
        pid_t hands = held_hands(run->held);

        assert_true(hands > 0);
        switch (run->victim) {
        case VICTIM_DAEMON:
                kill_daemon(run);
                if (is_hand)
                        held_go_on(held_pid);
                held_await_hands(hands);
                break;
        case VICTIM_DAEMON_BESIDE:
                kill_daemon(run);
                end_asking(run);
                start_beside(run);
                held_go_on(held_pid);
                held_await_hands(hands);
                break;
        case VICTIM_HAND:
                assert_int_equal(kill(held_pid, SIGKILL), 0);
                break;
        case VICTIM_BOTH:
        default:
                kill_both(run, hands);
        }
        end_asking(run);
}

/* What the scene comes to when nobody is killed: the mask of the devices that are bound. */
static unsigned aim_of(const struct run *run)
{
        return run->scene->kind->ends_bound ? all_of(run) : 0;
}

/* Granted again, all of it, and the host is as the plans leave it. */
static void ask_anew(struct run *run)
{
        rig_fault(run->rig, "");
        begin_asking(run);
        end_asking(run);
        if (run->code != 0)
                fail_msg("a fresh Allocate is refused: %s", run->text);
        assert_int_equal(settle(run, "after a fresh Allocate"), all_of(run));
        await_claims(run, all_of(run));
}

static void await_aim(struct run *run)
{
        unsigned mask = settle(run, "at the end");

        for (int64_t until = clock_ms() + RIG_SOON_MS; mask != aim_of(run); mask = settle(run, "at the end"))
                if (clock_ms() > until)
                        fail_msg("of the devices %x are bound instead of %x", mask, aim_of(run));
}

static void go_undisturbed(struct run *run)
{
        rig_daemon(run->rig);
        await_list(run);
        if (run->scene->kind->asks) {
                begin_asking(run);
                end_asking(run);
                assert_true((run->code == 0) == run->scene->kind->ends_bound);
        }
        await_aim(run);
        held_await_trace(run->held, run->scene->kind->last);
}

void run_play(void **state)
{
        struct run *run = *state;

        if (!run->may_begin()) {
                run->rig->over = true;
                skip();
        }
        prepare(run);
        if (run->trace)
                held_trace(run->held);
        if (run->point[0]) {
                strike(run, reach(run));
                if (run->rig->pid == 0)
                        rig_daemon(run->rig);
        } else {
                go_undisturbed(run);
        }
        if (run->trace)
                *run->trace = held_traced(run->held);
        await_list(run);
        (void)settle(run, "after that");
        await_claims(run, 0);
        if (run->scene->kind->asks)
                ask_anew(run);
        else
                await_aim(run);
        rig_stop(run->rig);
}
