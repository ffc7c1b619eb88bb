/* SPDX-License-Identifier: Apache-2.0 */
/* Fail everywhere, the daemon's part: for each kind of life (life.c) and each error, the n-th access to the file system fails, for
 * every n. FAIL_EVERY=N takes each N-th; FAIL_ONLY='glob' those whose name ("KIND: ERROR") fits. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "life.h"
#include "tmp.h"

static const int errors[] = { ENOENT, EBUSY, EIO, ENOSPC, EPERM, EINTR };

enum { N_ERRORS = N_ELEMENTS(errors), PARTS = 8, WORKERS_MAX = 64, KINDS_MAX = 16, FAILURES_MAX = 10, ACCESSES_MAX = 20000 };

/* What all processes count together. */
static struct counts {
        atomic_uint next_job, n_passed, n_failed;
        atomic_uint accesses[KINDS_MAX], runs[KINDS_MAX], refused[KINDS_MAX];
        atomic_uint longest_ms[KINDS_MAX];
} * counts;

/* A part of the accesses of one kind of life with one error. */
struct job {
        struct life life;
        unsigned kind, error, n, every;
        bool over;
};

static unsigned env_number(const char *name, unsigned otherwise)
{
        const char *text = getenv(name);
        uint64_t n;

        return text && str_to_u64(text, 10, 1000000, &n) && n > 0 ? (unsigned)n : otherwise;
}

static int setup(void **state)
{
        return life_setup(&((struct job *)*state)->life);
}

static int teardown(void **state)
{
        struct job *job = *state;
        int64_t longest_ms = job->life.longest_ms;

        if (longest_ms > atomic_load(&counts->longest_ms[job->kind]))
                atomic_store(&counts->longest_ms[job->kind], (unsigned)longest_ms);
        atomic_fetch_add(&counts->refused[job->kind], job->life.n_refused);
        if (!job->life.rig->over)
                atomic_fetch_add(&counts->n_failed, 1);
        int r = life_teardown(&job->life);
        while (waitpid(-1, NULL, 0) > 0) /* whoever was left to us */
                ;
        return r;
}

/* From where it is on. What fails ends this test, and the next one goes on behind it. */
static void play(void **state)
{
        struct job *job = *state;
        bool tells = getenv("FAIL_TELL");

        life_begin(&job->life);
        unsigned n_accesses = job->life.n_accesses;
        if (n_accesses > atomic_load(&counts->accesses[job->kind]))
                atomic_store(&counts->accesses[job->kind], n_accesses);
        for (; !job->over && job->n < ACCESSES_MAX && atomic_load(&counts->n_failed) < FAILURES_MAX;) {
                unsigned n = job->n, refused = job->life.n_refused;
                job->n += job->every;
                job->over = !life_go(&job->life, n, errors[job->error]) && n > n_accesses;
                if (job->over)
                        break;
                atomic_fetch_add(&counts->runs[job->kind], 1);
                atomic_fetch_add(&counts->n_passed, 1);
                if (job->life.strayed) /* a new host */
                        break;
                if (tells && job->life.n_refused > refused)
                        (void)printf("# %u %s: %s\n", n, job->life.order->failed, job->life.last_refusal);
        }
        life_end(&job->life);
}

static void do_job(unsigned number)
{
        const char *only = getenv("FAIL_ONLY");
        unsigned every = env_number("FAIL_EVERY", 1);
        struct job job = { .kind = number / PARTS / N_ERRORS, .error = number / PARTS % N_ERRORS };
        char name[96];

        job.life.kind = &life_kinds[job.kind];
        job.life.burst = env_number("FAIL_BURST", 1);
        str_format(name, sizeof(name), "%s: %s", life_kinds[job.kind].name, strerrorname_np(errors[job.error]));
        if (only && !str_glob(only, name))
                return;
        job.every = every * PARTS;
        job.n = 1 + (number % PARTS * every + number / PARTS) % job.every;
        if (getenv("FAIL_AT")) {
                job.n = env_number("FAIL_AT", 1);
                job.every = ACCESSES_MAX;
        }
        while (!job.over && atomic_load(&counts->n_failed) < FAILURES_MAX && job.n < ACCESSES_MAX) {
                unsigned before = job.n;
                const struct CMUnitTest test = { name, play, setup, teardown, &job };
                (void)_cmocka_run_group_tests("fail", &test, 1, NULL, NULL);
                job.over = job.over || job.n == before; /* it did not even begin */
                job.life = (struct life){ .kind = job.life.kind, .burst = job.life.burst };
        }
}

static pid_t start_worker(const char *log)
{
        (void)fflush(stdout);
        pid_t pid = fork();

        if (pid != 0)
                return pid;
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                _exit(2);
        for (unsigned i; (i = atomic_fetch_add(&counts->next_job, 1)) < life_n_kinds * N_ERRORS * PARTS;)
                do_job(i);
        (void)fflush(stdout);
        _exit(0);
}

/* What failed, and what was told, from one worker's TAP. */
static void show(const char *log)
{
        FILE *f = fopen(log, "re");
        char line[1024];
        bool failed = false;

        while (f && fgets(line, sizeof(line), f)) {
                bool is_result = str_has_prefix(line, "ok ") || str_has_prefix(line, "not ok ");
                failed = is_result ? str_has_prefix(line, "not ok ") : failed && !str_has_prefix(line, "1..");
                if (failed || (!is_result && !str_has_prefix(line, "1..") && !str_has_prefix(line, "# ok")))
                        (void)fputs(line, stdout);
        }
        if (f)
                (void)fclose(f);
}

static void report(void)
{
        (void)printf("  %-28s %8s %8s %8s %10s\n", "kind of life", "accesses", "failed", "refused", "longest ms");
        for (size_t k = 0; k < life_n_kinds; k++)
                (void)printf("  %-28s %8u %8u %8u %10u\n", life_kinds[k].name, counts->accesses[k], counts->runs[k], counts->refused[k],
                             counts->longest_ms[k]);
}

/* main NAME: of the stage. */
int main(int argc, char **argv)
{
        unsigned n_workers = env_number("FAIL_JOBS", 6 * (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
        char logs[WORKERS_MAX][48];
        pid_t pids[WORKERS_MAX];
        int64_t start = clock_ms();

        (void)setenv("CMOCKA_MESSAGE_OUTPUT", "TAP", 1);
        counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (counts == MAP_FAILED)
                return 2;
        n_workers = n_workers > WORKERS_MAX ? WORKERS_MAX : n_workers;
        for (unsigned i = 0; i < n_workers; i++) {
                str_format(logs[i], sizeof(logs[i]), "%s/sluice-fail-%d-%u.tap", tmp_base(), (int)getpid(), i);
                pids[i] = start_worker(logs[i]);
        }
        for (unsigned i = 0; i < n_workers; i++) {
                int status = 0;
                (void)waitpid(pids[i], &status, 0);
                show(logs[i]);
                (void)unlink(logs[i]);
                if (status != 0) {
                        (void)printf("a process of the sweep ended with status %d\n", status);
                        counts->n_failed++;
                }
        }
        report();
        if (counts->n_failed >= FAILURES_MAX)
                (void)printf("ended early: %d accesses have failed badly\n", FAILURES_MAX);
        (void)printf("%u accesses in %lld s\n", counts->n_passed + counts->n_failed, (long long)(clock_ms() - start) / 1000);
        (void)printf("%s: %u passed, %u failed, 0 skipped\n", argc > 1 ? argv[1] : "test-fail", counts->n_passed, counts->n_failed);
        return counts->n_failed > 0 || counts->n_passed == 0;
}
