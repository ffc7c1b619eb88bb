/* SPDX-License-Identifier: Apache-2.0 */
/* Crash everywhere: for each kind of plan on each captured host where it applies, a run in which nobody is killed says which points it
 * passes; then each point, and for each whoever may be killed there, is a run (run.c). Works in several processes: a run mostly waits.
 * CRASH_EVERY=N takes each N-th run of a scene and whatever is the first of its place, CRASH_EVERY=point each point with one victim,
 * in turn; CRASH_ONLY='glob' those whose name ("KIND HOST: POINT: VICTIM") fits. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "core/plan.h"
#include "tmp.h"

enum {
        WORKERS_MAX = 64,
        KINDS_MAX = 24,
        RUNS_MAX = 4096,
        FAILURES_MAX = 10,
        PLACES_MAX = 4096,
        PARTS = 4 /* of a scene: one with eight cards is long */
};

/* What all processes count together. */
struct counts {
        atomic_uint next_scene;
        atomic_uint n_scenes[KINDS_MAX], n_points[KINDS_MAX], n_runs[KINDS_MAX];
        atomic_uint kills[STEP_KINDS][N_VICTIMS]; /* in runs that went well */
        atomic_uint record_kills[N_VICTIMS];      /* at a record of the daemon */
        atomic_uint n_passed, n_failed;
        atomic_uint places[PLACES_MAX]; /* hashes of the places of points, with a victim, that a sample has */
};

static struct counts *counts;
static struct scene *scenes;
static size_t n_scenes;

/* What a mutant must not survive (tests/mutants): CASE names one. */
static const struct {
        const char *name, *only;
} cases[] = {
        { "test_what_is_bound_is_written_down_as_bound", "bind l40s-8 *: nobody" },
        { "test_another_card_in_the_slot_is_left_alone", "recover-replaced l40s-8 *: nobody" },
        { "test_what_is_begun_is_on_the_disk_first", "bind l40s-8 *: hand * unbind written-unbind *: both" },
};

/* The runs that are wanted, as a glob; NULL = all. */
static const char *only_these(void)
{
        const char *name = getenv("CASE");

        for (size_t i = 0; name && i < N_ELEMENTS(cases); i++)
                if (streq(cases[i].name, name))
                        return cases[i].only;
        return getenv("CRASH_ONLY");
}

static unsigned env_number(const char *name, unsigned otherwise)
{
        const char *text = getenv(name);
        uint64_t n;

        return text && str_to_u64(text, 10, 1000000, &n) && n > 0 ? (unsigned)n : otherwise;
}

/* ---- points ---- */

/* Does @point belong to @scene? Its plan's, of the devices it is about (the look at start takes in the whole host), or the daemon's own. */
static bool is_of(const struct scene *scene, const char *point)
{
        bool asks = strstr(point, " list-holders ");
        bool looks = asks || strstr(point, " look ") || strstr(point, " read-locked ");

        if (streq(scene->kind->what, "list-holders"))
                return asks;
        if (asks || looks != streq(scene->kind->what, "look"))
                return false;
        if (!looks || strstr(point, " look "))
                return true;
        return strstr(point, scene->ids[0]) != NULL;
}

static int compare_points(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The distinct points of @trace, which is cut into them. */
static size_t points_of(const struct scene *scene, char *trace, char **ret, size_t max)
{
        size_t n = 0, n_distinct = 0;
        char *save = NULL;

        for (char *line = strtok_r(trace, "\n", &save); line && n < max; line = strtok_r(NULL, "\n", &save))
                if (is_of(scene, line))
                        ret[n++] = line;
        qsort(ret, n, sizeof(*ret), compare_points);
        for (size_t i = 0; i < n; i++)
                if (n_distinct == 0 || !streq(ret[n_distinct - 1], ret[i]))
                        ret[n_distinct++] = ret[i];
        return n_distinct;
}

/* "hand BDF STEP KIND PLACE" */
static void count_kill(const struct run *run)
{
        char kind[32] = "";

        if (run->passed_by)
                return;
        if (str_has_prefix(run->point, "daemon ")) {
                atomic_fetch_add(&counts->record_kills[run->victim], 1);
                return;
        }
        if (sscanf(run->point, "hand %*s %*s %31s", kind) != 1)
                return;
        for (unsigned k = 0; k < STEP_KINDS; k++)
                if (streq(kind, step_kind_name((enum step_kind)k)))
                        atomic_fetch_add(&counts->kills[k][run->victim], 1);
}

/* ---- a scene ---- */

static void name_run(const struct run *run, char *out, size_t size)
{
        str_format(out, size, "%s %s %s: %s: %s", run->scene->kind->name, run->scene->fixture, run->scene->ids[0],
                   run->point[0] ? run->point : "nothing", run->point[0] ? victim_names[run->victim] : "nobody");
}

static struct CMUnitTest test_of(struct run *run, char name[256])
{
        name_run(run, name, 256);
        return (struct CMUnitTest){ name, run_play, run_setup, run_teardown, run };
}

static void ended(const struct run *run, bool well)
{
        atomic_fetch_add(well ? &counts->n_passed : &counts->n_failed, 1);
        if (well)
                count_kill(run);
}

static bool may_begin(void)
{
        return atomic_load(&counts->n_failed) < FAILURES_MAX;
}

static void play_all(struct run *runs, size_t n)
{
        struct CMUnitTest *tests = xcalloc(n, sizeof(*tests));
        char(*names)[256] = xcalloc(n, sizeof(*names));

        for (size_t i = 0; i < n; i++) {
                runs[i].ended = ended;
                runs[i].may_begin = may_begin;
                tests[i] = test_of(&runs[i], names[i]);
        }
        if (n > 0)
                (void)_cmocka_run_group_tests("crash", tests, n, NULL, NULL);
        free(names);
        free(tests);
}

static uint32_t hash_of(const char *text)
{
        uint32_t hash = 2166136261U;

        for (; *text; text++)
                hash = (hash ^ (uint8_t)*text) * 16777619U;
        return hash;
}

/* A sample has each place ("unbind written-unbind") with each victim, wherever that comes first. */
static bool is_first_of_its_place(const struct run *run)
{
        char what[32] = "", place[64] = "", text[128];

        if (sscanf(run->point, "hand %*s %*s %31s %63s", what, place) != 2)
                return false;
        str_format(text, sizeof(text), "%s %s %d", what, place, (int)run->victim);
        uint32_t hash = hash_of(text) | 1; /* 0 = free */
        for (size_t i = 0; i < PLACES_MAX; i++) {
                unsigned expected = 0;
                if (atomic_compare_exchange_strong(&counts->places[i], &expected, hash))
                        return true;
                if (expected == hash)
                        return false;
        }
        return false;
}

/* Which of those who may be killed at @point is, when one is to do. */
static enum victim victim_of(const struct scene *scene, const char *point)
{
        enum victim fit[N_VICTIMS];
        char text[256];
        unsigned n = 0;

        for (unsigned victim = 0; victim < N_VICTIMS; victim++)
                if (victim_fits((enum victim)victim, point))
                        fit[n++] = (enum victim)victim;
        str_format(text, sizeof(text), "%s %s %s", scene->kind->name, scene->fixture, point);
        return n > 0 ? fit[hash_of(text) % n] : N_VICTIMS;
}

static size_t choose_runs(struct scene *scene, unsigned part, struct held *held, char *const *points, size_t n_points, struct run *ret)
{
        static uint32_t turn; /* goes on from scene to scene, spread so that each N-th is not always the same victim's */
        const char *only = only_these(), *how = getenv("CRASH_EVERY");
        bool one_victim = how && streq(how, "point");
        unsigned every = env_number("CRASH_EVERY", 1);
        size_t n = 0;

        for (size_t i = 0; i < n_points; i++)
                for (unsigned victim = 0; victim < N_VICTIMS && n < RUNS_MAX; victim++) {
                        struct run run = { .scene = scene, .held = held, .victim = (enum victim)victim };
                        char name[256];
                        str_format(run.point, sizeof(run.point), "%s", points[i]);
                        name_run(&run, name, sizeof(name));
                        if (!victim_fits(run.victim, run.point) || hash_of(name) % PARTS != part)
                                continue;
                        bool in_turn = one_victim ? run.victim == victim_of(scene, run.point) : (turn++ * 2654435761U >> 8) % every == 0;
                        if (only ? str_glob(only, name) : is_first_of_its_place(&run) || in_turn)
                                ret[n++] = run;
                }
        return n;
}

/* Can the name of a run of @scene begin as the glob does up to its first wildcard? */
static bool may_fit(struct scene *scene)
{
        const struct run run = { .scene = scene };
        const char *only = only_these();
        char name[256];
        size_t n;

        if (!only)
                return true;
        name_run(&run, name, sizeof(name));
        n = strcspn(only, "*?");
        return strncmp(only, name, n < strcspn(name, ":") ? n : strcspn(name, ":")) == 0;
}

static void play_scene(struct scene *scene, unsigned part, struct held *held)
{
        static struct run runs[RUNS_MAX];
        static char *points[RUNS_MAX];
        _cleanup_free_ char *trace = NULL;
        size_t kind = (size_t)(scene->kind - scene_kinds);

        if (!may_fit(scene))
                return;
        scene_draw(scene);
        runs[0] = (struct run){ .scene = scene, .held = held, .trace = &trace };
        play_all(runs, 1);
        if (trace) {
                size_t n_points = points_of(scene, trace, points, RUNS_MAX);
                size_t n = choose_runs(scene, part, held, points, n_points, runs);
                atomic_fetch_add(&counts->n_scenes[kind], part == 0);
                atomic_fetch_add(&counts->n_points[kind], part == 0 ? (unsigned)n_points : 0);
                atomic_fetch_add(&counts->n_runs[kind], (unsigned)n);
                play_all(runs, n);
        }
        scene_done(scene);
}

/* ---- processes ---- */

static void work(void)
{
        struct held held;

        held_open(&held);
        for (unsigned i; may_begin() && (i = atomic_fetch_add(&counts->next_scene, 1)) < n_scenes * PARTS;)
                play_scene(&scenes[i / PARTS], i % PARTS, &held);
        held_close(&held);
}

static pid_t start_worker(const char *log)
{
        (void)fflush(stdout);
        pid_t pid = fork();

        if (pid != 0)
                return pid;
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
                _exit(2);
        work();
        (void)fflush(stdout);
        _exit(0);
}

/* What failed, from one worker's TAP. */
static void show_failures(const char *log)
{
        FILE *f = fopen(log, "re");
        char line[1024];
        bool failed = false;

        while (f && fgets(line, sizeof(line), f)) {
                bool is_result = str_has_prefix(line, "ok ") || str_has_prefix(line, "not ok ");
                failed = is_result ? str_has_prefix(line, "not ok ") : failed && !str_has_prefix(line, "1..");
                if (failed || (!is_result && line[0] != '#' && !str_has_prefix(line, "1..")))
                        (void)fputs(line, stdout);
        }
        if (f)
                (void)fclose(f);
}

static bool report(void)
{
        bool all = true;

        (void)printf("  %-16s %7s %7s %7s\n", "kind of plan", "scenes", "points", "runs");
        for (size_t k = 0; k < scene_n_kinds; k++)
                (void)printf("  %-16s %7u %7u %7u\n", scene_kinds[k].name, counts->n_scenes[k], counts->n_points[k], counts->n_runs[k]);
        (void)printf("  %-16s %7s %7s %7s %7s\n", "killed at", "daemon", "beside", "hand", "both");
        for (unsigned k = 0; k < STEP_KINDS; k++) {
                (void)printf("  %-16s", step_kind_name((enum step_kind)k));
                for (unsigned v = 0; v < N_VICTIMS; v++) {
                        (void)printf(" %7u", counts->kills[k][v]);
                        all = all && counts->kills[k][v] > 0;
                }
                (void)printf("\n");
        }
        (void)printf("  %-16s %7u %7s %7s %7u\n", "a record", counts->record_kills[VICTIM_DAEMON], "", "",
                     counts->record_kills[VICTIM_BOTH]);
        return all;
}

static void find_scenes(void)
{
        _cleanup_fs_list_ struct fs_list list = { 0 };
        size_t cap = 0;
        struct err err;

        if (fs_list(AT_FDCWD, "tests/fixtures/hosts", &list, &err) < 0)
                abort();
        for (size_t i = 0; i < list.n; i++)
                if (str_has_suffix(list.names[i], ".capture")) {
                        list.names[i][strlen(list.names[i]) - strlen(".capture")] = '\0';
                        scenes_of(list.names[i], &scenes, &n_scenes, &cap);
                }
}

/* main NAME: of the stage. */
int main(int argc, char **argv)
{
        unsigned n_workers = env_number("CRASH_JOBS", 4 * (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
        char logs[WORKERS_MAX][48];
        pid_t pids[WORKERS_MAX];
        int64_t start = clock_ms();

        (void)setenv("CMOCKA_MESSAGE_OUTPUT", "TAP", 1);
        counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (counts == MAP_FAILED)
                return 2;
        find_scenes();
        n_workers = n_workers > WORKERS_MAX ? WORKERS_MAX : n_workers;
        for (unsigned i = 0; i < n_workers; i++) {
                str_format(logs[i], sizeof(logs[i]), "%s/sluice-crash-%d-%u.tap", tmp_base(), (int)getpid(), i);
                pids[i] = start_worker(logs[i]);
        }
        for (unsigned i = 0; i < n_workers; i++) {
                int status = 0;
                (void)waitpid(pids[i], &status, 0);
                show_failures(logs[i]);
                (void)unlink(logs[i]);
                if (status != 0) {
                        (void)printf("a process of the campaign ended with status %d\n", status);
                        counts->n_failed++;
                }
        }
        bool all = report();
        if (!may_begin())
                (void)printf("ended early: %d runs have failed\n", FAILURES_MAX);
        if (!all && !only_these()) {
                (void)printf("a kind of step was never a kill point for each victim\n");
                counts->n_failed++;
        }
        (void)printf("%u runs in %lld s\n", counts->n_passed + counts->n_failed, (long long)(clock_ms() - start) / 1000);
        if (getenv("CASE"))
                (void)printf("%s 1 - %s\n", counts->n_failed ? "not ok" : "ok", getenv("CASE"));
        (void)printf("%s: %u passed, %u failed, 0 skipped\n", argc > 1 ? argv[1] : "test-crash", counts->n_passed, counts->n_failed);
        return counts->n_failed > 0 || counts->n_passed == 0;
}
