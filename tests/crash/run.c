/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
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
        free(run->left);
        run->left = NULL;
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
        if ((run->scene->loaded && streq(now, run->scene->loaded)) || (run->left && streq(now, run->left)))
                return 0;
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

/* A look takes in some thousand files: not again at once. */
static void pause_before_look(unsigned *pause_us)
{
        (void)usleep(*pause_us);
        *pause_us = *pause_us < 32000 ? 2 * *pause_us : *pause_us;
}

/* Waits until nobody is at work, the host is one of the worlds that it may be, and what is written down is true of it. */
static unsigned settle(struct run *run, const char *when)
{
        char why[2048] = "";
        unsigned pause_us = 1000;

        for (int64_t until = clock_ms() + RIG_SOON_MS;; pause_before_look(&pause_us)) {
                bool idle = all_locks_free(run->rig);
                bool is_late = clock_ms() > until;
                if (!idle && !is_late)
                        continue;
                _cleanup_free_ char *now = look(run);
                int mask = which_world(run, now, why, sizeof(why));
                if (idle && mask >= 0 && records_are_true(run, (unsigned)mask, why, sizeof(why)))
                        return (unsigned)mask;
                if (is_late)
                        fail_msg("%s %s:%s", when,
                                 !idle      ? "somebody is still at work on the host"
                                 : mask < 0 ? "the host is neither as before nor as after"
                                            : "the records are not true",
                                 why);
        }
}

/* What was given has been taken back, and nobody has asked since. */
static void await_no_claims(struct run *run)
{
        char why[512] = "";

        for (int64_t until = clock_ms() + RIG_SOON_MS; !kept_claims_are_none(run->rig->state_dir, why, sizeof(why)); (void)usleep(2000))
                if (clock_ms() > until)
                        fail_msg("%s", why);
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

static const char *quick_program(void)
{
        static char program[512];

        str_format(program, sizeof(program), "%s/sluiced-held-quick", getenv("SLUICE_BIN"));
        return program;
}

static void prepare(struct run *run)
{
        _cleanup_free_ char *config = scene_config(run->scene);
        struct rig *rig = run->rig;
        char fault[96];

        rig_prepare(rig, run->scene->fixture, config);
        scene_make_host(run->scene, rig->sim_dir);
        rig->suffix = "-held";
        if (run->scene->kind->cause == CAUSE_RELEASE)
                rig->program = quick_program();
        if (run->scene->kind->fails) {
                str_format(fault, sizeof(fault), "drivers_probe %s refuse EINVAL times 1", run->scene->ids[run->scene->n_ids - 1]);
                rig_fault(rig, fault);
        }
        rig_kubelet(rig, "1.34");
        fk_pods(rig->k, FK_PODS_REFUSED); /* else what is asked for here, and no pod has, would be taken back */
        held_trace(run->held);
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

/* The next daemon is at work, whatever it offers: what kubelet lists until then is the former one's. */
static void start_next(struct run *run)
{
        run->n_registrations = n_registrations(run);
        rig_daemon(run->rig);
        assert_true(fk_wait(run->rig->k, RIG_SOON_MS, has_registered_since, run));
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

/* ---- what begins it ---- */

/* Granted, all of it, and the host is as the plans leave it. */
static void ask_and_get(struct run *run)
{
        begin_asking(run);
        end_asking(run);
        if (run->code != 0)
                fail_msg("an Allocate is refused: %s", run->text);
        assert_int_equal(settle(run, "after the Allocate"), all_of(run));
        await_claims(run, all_of(run));
}

/* Devices are bound and given; what passes points for that has passed them. */
static void give(struct run *run)
{
        _cleanup_free_ char *last = xasprintf("daemon claims/kubelet:%s put end", run->scene->ids[0]);

        rig_daemon(run->rig);
        await_list(run);
        ask_and_get(run);
        held_await_trace(run->held, last);
        held_await_trace(run->held, run->scene->kind->last);
}

/* A bind is interrupted, with everything. */
static void leave_half_done(struct run *run)
{
        held_arrange(run->held, run->scene->killed_at);
        rig_daemon(run->rig);
        await_list(run);
        begin_asking(run);
        if (held_wait(run->held, RIG_SOON_MS) == 0)
                fail_msg("nobody came to the point '%s'", run->scene->killed_at);
        kill_both(run, held_hands(run->held));
        end_asking(run);
        run->code = 0;
        held_kill_hands(run->held);
}

/* While nobody is there. What the former card's record says is not about this one, which stays as it is. */
static void replace_card(struct run *run)
{
        _cleanup_free_ char *path = xasprintf("%s/sys/bus/pci/devices/%s/subsystem_device", run->rig->sim_dir, run->scene->ids[0]);
        struct err err;

        ASSERT_OK(fs_replace(AT_FDCWD, path, "0x1999\n", 7, 0444, &err), &err);
        run->left = look(run);
}

static void *put_question(void *arg)
{
        struct run *run = arg;
        const char *bin = getenv("SLUICE_BIN");
        char command[512];

        str_format(command, sizeof(command), "%s/sluicectl explain --run-dir %s %s >/dev/null 2>&1", bin, run->rig->run_dir,
                   run->scene->ids[0]);
        run->code = system(command);
        return NULL;
}

static void begin_question(struct run *run)
{
        run->is_asking = true;
        assert_int_equal(pthread_create(&run->asking, NULL, put_question, run), 0);
}

/* From here on the points are those of what is to be interrupted. */
static void begin(struct run *run)
{
        enum scene_cause cause = run->scene->kind->cause;

        if (cause == CAUSE_RELEASE)
                give(run);
        if (cause == CAUSE_RECOVERY)
                leave_half_done(run);
        if (run->scene->kind->replaced)
                replace_card(run);
        held_trace(run->held);
        held_arrange(run->held, run->point[0] ? run->point : NULL);
        if (cause == CAUSE_RELEASE) {
                fk_pods(run->rig->k, FK_PODS_TOLD);
                return;
        }
        rig_daemon(run->rig);
        if (cause == CAUSE_ALLOCATE || cause == CAUSE_QUESTION)
                await_list(run);
        if (cause == CAUSE_ALLOCATE)
                begin_asking(run);
        if (cause == CAUSE_QUESTION)
                begin_question(run);
}

/* What changes while it is written is written once more, not twice: a later write of a record comes only if the former is over by then. */
static bool need_not_come(const struct run *run)
{
        return str_has_prefix(run->point, "daemon ") && strchr(run->point, '#');
}

static bool is_over(const struct run *run)
{
        _cleanup_free_ char *line_end = xasprintf("%s\n", run->scene->kind->last), *trace = held_traced(run->held);

        return strstr(trace, line_end) != NULL;
}

static pid_t await_point(struct run *run)
{
        pid_t pid = 0;

        if (!need_not_come(run))
                return held_wait(run->held, RIG_SOON_MS);
        for (unsigned i = 0, after = 0; i < RIG_SOON_MS / 500 && pid == 0 && after < 3; i++) {
                after += is_over(run);
                pid = held_wait(run->held, 500);
        }
        run->passed_by = pid == 0;
        return pid;
}

/* The process that is held at the point; 0: it has passed by. */
static pid_t reach(struct run *run)
{
        begin(run);
        pid_t pid = await_point(run);
        held_arrange(run->held, NULL);
        if (pid == 0 && run->passed_by) {
                end_asking(run);
        } else if (pid == 0) {
                end_asking(run);
                fail_msg("nobody came to the point '%s' (answer %d: %s)", run->point, run->code, run->text);
        }
        return pid;
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
                start_next(run);
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
        const struct scene_kind *kind = run->scene->kind;

        if (kind->cause == CAUSE_RELEASE && kind->powers && kind->ends_bound)
                return bare_of(run);
        return kind->ends_bound ? all_of(run) : 0;
}

static void await_aim(struct run *run)
{
        unsigned mask = settle(run, "at the end");

        unsigned pause_us = 1000;

        for (int64_t until = clock_ms() + RIG_SOON_MS; mask != aim_of(run); mask = settle(run, "at the end")) {
                if (clock_ms() > until)
                        fail_msg("of the devices %x are bound instead of %x", mask, aim_of(run));
                pause_before_look(&pause_us);
        }
}

static void go_undisturbed(struct run *run)
{
        const struct scene_kind *kind = run->scene->kind;

        begin(run);
        end_asking(run);
        if (kind->cause == CAUSE_ALLOCATE)
                assert_true((run->code == 0) == kind->ends_bound);
        else
                assert_int_equal(run->code, 0);
        if (kind->cause == CAUSE_RELEASE)
                await_no_claims(run);
        await_aim(run);
        held_await_trace(run->held, kind->last);
}

/* Whoever was killed: in the end all is as it would have been, but that an Allocate may have to be made again. */
static void look_what_became(struct run *run)
{
        enum scene_cause cause = run->scene->kind->cause;

        if (cause == CAUSE_RELEASE)
                await_no_claims(run);
        await_list(run);
        (void)settle(run, "after that");
        await_claims(run, 0);
        if (cause != CAUSE_ALLOCATE)
                await_aim(run);
        if (cause == CAUSE_START || run->scene->kind->replaced)
                return;
        rig_fault(run->rig, "");
        fk_pods(run->rig->k, FK_PODS_REFUSED);
        ask_and_get(run);
}

void run_play(void **state)
{
        struct run *run = *state;

        if (!run->may_begin()) {
                run->rig->over = true;
                skip();
        }
        prepare(run);
        if (run->point[0]) {
                pid_t pid = reach(run);
                if (pid > 0)
                        strike(run, pid);
                if (run->rig->pid == 0)
                        start_next(run);
        } else {
                go_undisturbed(run);
        }
        if (run->trace)
                *run->trace = held_traced(run->held);
        look_what_became(run);
        rig_stop(run->rig);
}
