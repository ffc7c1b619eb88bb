/* SPDX-License-Identifier: Apache-2.0 */
#include "life.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "kept.h"
#include "picture.h"
#include "tmp.h"

#define GPU0 "0000:01:00.0"
#define GPU1 "0000:02:00.0"

enum { LIED_MS = 3000 };

#define RULES CONFIG "rules:\n  - group: one-device\n    persistence: off\n"

const struct life_kind life_kinds[] = {
        { "bind, power, reset, restore", COURSE_CLAIM, "    bind: on-allocate\n    power: on\n    release: reset+restore\n", .n_ids = 1 },
        { "bind-several, restore", COURSE_CLAIM, "    bind: on-allocate\n    release: restore\n", .n_ids = 2 },
        { "bind-undone", COURSE_CLAIM, "    bind: on-allocate\n    release: restore\n", .n_ids = 1, .fails = true },
        { "power, reset", COURSE_CLAIM, "    bind: on-allocate\n    power: on\n    release: reset\n", .n_ids = 1, .ends_bound = true },
        { "bind-at-start", COURSE_START, "    bind: at-start\n", .n_ids = 1, .ends_bound = true },
        { "recover", COURSE_RECOVERY, "    bind: on-allocate\n    release: restore\n", .n_ids = 1 },
        { "question", COURSE_QUESTION, "    bind: on-allocate\n", .n_ids = 1 },
};
const size_t life_n_kinds = N_ELEMENTS(life_kinds);

static void fill_scene(struct scene *scene, const struct life_kind *kind)
{
        static const struct bdf functions[2][2] = { { { 0, 1, 0, 0 }, { 0, 1, 0, 1 } }, { { 0, 2, 0, 0 } } };

        *scene = (struct scene){ .n_ids = kind->course == COURSE_START ? 2 : kind->n_ids, .n_functions = { 2, 1 } };
        (void)str_copy(scene->ids[0], sizeof(scene->ids[0]), GPU0);
        (void)str_copy(scene->ids[1], sizeof(scene->ids[1]), GPU1);
        memcpy(scene->functions[0], functions[0], sizeof(functions[0]));
        memcpy(scene->functions[1], functions[1], sizeof(functions[1]));
}

/* ---- orders ---- */

static void make_order(struct life *life)
{
        str_format(life->order_path, sizeof(life->order_path), "%s/sluice-order-XXXXXX", tmp_base());
        int fd = mkstemp(life->order_path);

        assert_true(fd >= 0 && ftruncate(fd, sizeof(*life->order)) == 0);
        life->order = mmap(NULL, sizeof(*life->order), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_true(life->order != MAP_FAILED);
        (void)close(fd);
        assert_int_equal(setenv("SLUICE_ACCESSES", life->order_path, 1), 0);
}

static void arm(struct life *life, unsigned n, int error)
{
        life->order->failed[0] = '\0';
        atomic_store(&life->order->n, 0);
        atomic_store(&life->order->error, error);
        atomic_store(&life->order->burst, life->burst);
        atomic_store(&life->order->fail_at, n);
        atomic_store(&life->order->counts, 1);
}

static unsigned disarm(struct life *life)
{
        atomic_store(&life->order->counts, 0);
        return atomic_load(&life->order->n);
}

static bool has_failed(const struct life *life)
{
        unsigned fail_at = atomic_load(&life->order->fail_at);

        return fail_at > 0 && atomic_load(&life->order->n) >= fail_at;
}

/* ---- looking ---- */

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

/* In this course, or in the one before: a file was said not to be there that is. */
static bool was_lied_to(const struct life *life)
{
        return atomic_load(&life->order->error) == ENOENT;
}

static void assert_alive(struct life *life)
{
        int status;

        if (waitpid(life->rig->pid, &status, WNOHANG) == 0)
                return;
        life->rig->pid = 0;
        fail_msg("sluiced has ended with status %x", (unsigned)status);
}

/* Until nobody is at work and the host is as wanted, and what is written down is true of it. @mask: of the devices that are bound;
 * @no_claims: none is written down. */
static void await_world(struct life *life, const char *want, unsigned mask, bool powered, bool no_claims, const char *when)
{
        bool lied = was_lied_to(life);
        char why[2048] = "";
        const char *what = "";

        for (int64_t until = clock_ms() + (lied ? LIED_MS : RIG_SOON_MS); clock_ms() < until && !life->strayed; (void)usleep(1000)) {
                struct err err;
                int64_t next_ms;
                assert_alive(life);
                what = "somebody is at work";
                if (!all_locks_free(life->rig))
                        continue;
                (void)sim_settle(life->rig->sim, &next_ms, &err);
                _cleanup_free_ char *now = picture_of(life->rig->sim_dir);
                what = "the host differs";
                if (!streq(now, want)) {
                        picture_differ(want, now, why, sizeof(why));
                        continue;
                }
                what = "the records are not true";
                if (kept_originals_are(life->rig->state_dir, &life->scene, mask, powered, why, sizeof(why)) &&
                    (!no_claims || kept_claims_are_none(life->rig->state_dir, why, sizeof(why))))
                        return;
        }
        life->strayed = life->strayed || lied;
        if (!life->strayed)
                fail_msg("%s, %s: %s", when, what, why);
}

static unsigned all_of(const struct life *life)
{
        return (1U << life->scene.n_ids) - 1;
}

static bool is_powered(const struct life *life)
{
        return strstr(life->kind->rule, "power: on");
}

static void await_given(struct life *life)
{
        await_world(life, life->after, all_of(life), is_powered(life), false, "after the answer");
}

static void await_taken_back(struct life *life)
{
        bool bound = life->kind->ends_bound;

        await_world(life, life->before, bound ? all_of(life) : 0, false, true, "at the end");
}

static void await_offer(struct life *life)
{
        rig_ready(life->rig, L40S, 2, 2);
}

/* ---- courses ---- */

static int ask(struct life *life)
{
        const char *ids[SCENE_DEVICES_MAX];

        for (unsigned i = 0; i < life->kind->n_ids; i++)
                ids[i] = life->scene.ids[i];
        life->rig->text[0] = '\0';
        return fk_raw_allocate(life->rig->k, L40S, ids, life->kind->n_ids, life->rig->text);
}

static void note_refusal(struct life *life, const char *text)
{
        life->n_refused++;
        str_format(life->last_refusal, sizeof(life->last_refusal), "%s", text);
}

static void begin_probe_failure(struct life *life)
{
        char fault[96];

        str_format(fault, sizeof(fault), "drivers_probe %s refuse EINVAL times 1", life->scene.ids[life->kind->n_ids - 1]);
        rig_fault(life->rig, fault);
}

static void end_claims(struct life *life)
{
        fk_pods(life->rig->k, FK_PODS_TOLD);
        await_taken_back(life);
        fk_pods(life->rig->k, FK_PODS_HELD);
}

/* An Allocate that nothing disturbs, and what follows it. */
static void claim_well(struct life *life)
{
        await_offer(life);
        if (ask(life) != 0)
                fail_msg("after the failure an Allocate is refused: %s", life->rig->text);
        await_given(life);
        end_claims(life);
}

/* @text says what it was, with a word of docs/reasons.md. */
static bool is_clear(const char *text)
{
        const char *bracket = strrchr(text, '[');

        return strlen(text) > 30 && bracket && strchr(bracket, ']');
}

static void claim(struct life *life, unsigned n, int error)
{
        await_offer(life);
        if (life->kind->fails)
                begin_probe_failure(life);
        arm(life, n, error);
        int code = ask(life);
        bool refused = code != 0;
        if (refused) {
                await_taken_back(life);
                life->strayed = life->strayed || (!has_failed(life) && was_lied_to(life));
                if (!is_clear(life->rig->text) || (!has_failed(life) && !life->kind->fails && !life->strayed))
                        fail_msg("the refusal: %d: %s", code, life->rig->text);
        } else {
                assert_false(life->kind->fails);
                await_given(life);
        }
        end_claims(life);
        (void)disarm(life);
        if (life->kind->fails)
                rig_fault(life->rig, "");
        if (!refused || life->strayed)
                return;
        if (!life->kind->fails)
                note_refusal(life, life->rig->text);
        claim_well(life);
}

static void question(struct life *life, unsigned n, int error)
{
        const char *bin = getenv("SLUICE_BIN");
        char command[512], text[2048] = "";

        await_offer(life);
        str_format(command, sizeof(command), "%s/sluicectl explain --run-dir %s %s 2>&1", bin, life->rig->run_dir, GPU0);
        arm(life, n, error);
        FILE *f = popen(command, "re");
        assert_non_null(f);
        size_t len = fread(text, 1, sizeof(text) - 1, f);
        int status = pclose(f);
        (void)disarm(life);
        if (len == 0 || (status != 0 && !has_failed(life)))
                fail_msg("sluicectl explain ends with %x: %s", (unsigned)status, text);
        if (status != 0)
                note_refusal(life, text);
        assert_alive(life);
}

static void shell(const char *command)
{
        if (system(command) != 0)
                fail_msg("%s", command);
}

/* The host and the state directory as they were when the course began. */
static void lay(struct life *life)
{
        _cleanup_free_ char *command =
                xasprintf("cd %s && rm -rf host state run && cp -a kept/host host && cp -a kept/state state", life->rig->dir);

        shell(command);
}

static void keep(struct life *life)
{
        _cleanup_free_ char *command = xasprintf("cd %s && mkdir -p state kept && cp -a host state kept/", life->rig->dir);

        shell(command);
}

static unsigned n_registrations(struct life *life)
{
        return rig_counts(life->rig, L40S).registrations;
}

struct newcomer {
        struct life *life;
        unsigned former;
        bool ended;
        int status;
};

static bool has_come(struct fk *k, void *ctx)
{
        struct newcomer *c = ctx;

        (void)k;
        return n_registrations(c->life) > c->former;
}

/* True: it serves. False: it has ended, and said why. */
static bool await_newcomer(struct life *life, unsigned former)
{
        struct newcomer c = { .life = life, .former = former };

        for (int64_t until = clock_ms() + RIG_SOON_MS; clock_ms() < until;) {
                if (fk_wait(life->rig->k, 20, has_come, &c))
                        return true;
                if (waitpid(life->rig->pid, &c.status, WNOHANG) == 0)
                        continue;
                life->rig->pid = 0;
                if (!WIFEXITED(c.status) || WEXITSTATUS(c.status) == 0 || !has_failed(life))
                        fail_msg("sluiced has ended with status %x", (unsigned)c.status);
                note_refusal(life, "it did not start");
                return false;
        }
        fail_msg("sluiced neither serves nor ends");
        return false;
}

static void start(struct life *life, unsigned n, int error)
{
        bool recovers = life->kind->course == COURSE_RECOVERY;

        if (life->rig->pid)
                assert_int_equal(rig_end(life->rig, SIGTERM), 0);
        lay(life);
        unsigned former = n_registrations(life);
        arm(life, n, error);
        rig_daemon(life->rig);
        if (!await_newcomer(life, former)) {
                (void)disarm(life);
                lay(life);
                rig_daemon(life->rig);
                assert_true(await_newcomer(life, former));
        }
        if (recovers)
                await_taken_back(life);
        else
                await_given(life);
        await_offer(life);
        (void)disarm(life);
        if (life->strayed)
                return;
        if (ask(life) != 0) {
                life->strayed = was_lied_to(life) && is_clear(life->rig->text);
                if (!life->strayed)
                        fail_msg("after that an Allocate is refused: %s", life->rig->text);
                note_refusal(life, life->rig->text);
        } else if (recovers) {
                await_given(life);
        }
}

static void go(struct life *life, unsigned n, int error)
{
        switch (life->kind->course) {
        case COURSE_CLAIM:
                claim(life, n, error);
                break;
        case COURSE_QUESTION:
                question(life, n, error);
                break;
        case COURSE_START:
        case COURSE_RECOVERY:
        default:
                start(life, n, error);
        }
}

bool life_go(struct life *life, unsigned n, int error)
{
        int64_t begun_ms = clock_ms();

        go(life, n, error);
        int64_t took_ms = clock_ms() - begun_ms;
        life->longest_ms = took_ms > life->longest_ms ? took_ms : life->longest_ms;
        return has_failed(life);
}

/* ---- its beginning and its end ---- */

static void *ask_thread(void *arg)
{
        (void)ask(arg);
        return NULL;
}

/* A bind is killed when its first function has no driver: what is to be recovered. */
static void leave_half_done(struct life *life)
{
        struct rig *rig = life->rig;
        char driver[64] = "";
        pthread_t thread;

        await_offer(life);
        rig_fault(rig, "unbind " GPU0 " delay 300 times 1");
        assert_int_equal(pthread_create(&thread, NULL, ask_thread, life), 0);
        for (int64_t until = clock_ms() + RIG_SOON_MS; rig_driver(rig, GPU0, driver, sizeof(driver)), driver[0]; (void)usleep(1000))
                assert_true(clock_ms() < until);
        pid_t worker = rig_worker(rig, GPU0);
        assert_true(worker > 0);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        (void)kill(worker, SIGKILL);
        assert_int_equal(pthread_join(thread, NULL), 0);
        while (!all_locks_free(rig))
                (void)usleep(1000);
        rig_fault(rig, "");
}

static char *look(struct life *life)
{
        struct err err;
        int64_t next_ms;

        (void)sim_settle(life->rig->sim, &next_ms, &err);
        return picture_of(life->rig->sim_dir);
}

/* What it looks like when nothing goes on any more. */
static char *look_at_rest(struct life *life)
{
        char *now = look(life);

        for (unsigned same = 0; same < 10; (void)usleep(20000)) {
                char *next = look(life);
                same = streq(now, next) && all_locks_free(life->rig) ? same + 1 : 0;
                free(now);
                now = next;
        }
        return now;
}

/* What the host looks like when its devices are bound is learnt from an Allocate that nothing disturbs. */
static void learn(struct life *life)
{
        rig_daemon(life->rig);
        await_offer(life);
        if (ask(life) != 0)
                fail_msg("an Allocate is refused: %s", life->rig->text);
        char why[512];
        while (!kept_claims_are(life->rig->state_dir, &life->scene, (1U << life->kind->n_ids) - 1, why, sizeof(why)))
                (void)usleep(1000);
        life->after = look_at_rest(life);
        bool ends = life->kind->course == COURSE_CLAIM || life->kind->course == COURSE_RECOVERY;
        if (ends)
                fk_pods(life->rig->k, FK_PODS_TOLD);
        while (ends && !kept_claims_are_none(life->rig->state_dir, why, sizeof(why)))
                (void)usleep(1000);
        fk_pods(life->rig->k, FK_PODS_HELD);
        if (ends) {
                free(life->before); /* drivers write power/control when they let go: not as it was captured */
                life->before = look_at_rest(life);
        }
}

void life_begin(struct life *life)
{
        static char program[512];
        struct rig *rig = life->rig;
        _cleanup_free_ char *config = xasprintf(RULES "%s", life->kind->rule);

        fill_scene(&life->scene, life->kind);
        str_format(program, sizeof(program), "%s/sluiced-failing", getenv("SLUICE_BIN"));
        rig_prepare(rig, "../../fail/two-cards", config);
        rig->program = program;
        life->before = look(life);
        rig_kubelet(rig, "1.34");
        fk_pods(rig->k, FK_PODS_HELD); /* else what is asked for here, and no pod has, would be taken back */
        if (life->kind->course == COURSE_START)
                keep(life);
        learn(life);
        if (life->kind->course == COURSE_RECOVERY) {
                leave_half_done(life);
                keep(life);
        }
        go(life, 0, 0);
        life->n_accesses = atomic_load(&life->order->n);
}

void life_end(struct life *life)
{
        (void)disarm(life);
        rig_stop(life->rig);
}

int life_setup(struct life *life)
{
        void *rig = NULL;

        make_order(life);
        int r = rig_setup(&rig);
        life->rig = rig;
        return r;
}

int life_teardown(struct life *life)
{
        void *rig = life->rig;

        if (!life->rig->over)
                (void)printf("# the access that failed: %u with %s: %s\n", atomic_load(&life->order->fail_at),
                             strerror(atomic_load(&life->order->error)), life->order->failed);
        free(life->before);
        free(life->after);
        life->before = life->after = NULL;
        (void)munmap(life->order, sizeof(*life->order));
        (void)unlink(life->order_path);
        return rig_teardown(&rig);
}
