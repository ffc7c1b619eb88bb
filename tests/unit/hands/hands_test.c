/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's side against the real sluice-hand process on a simulated host. */
#include "../unit.h"

#include <dirent.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/log.h"
#include "hands/hands.h"
#include "host.h"
#include "program.h"

enum { PATIENCE_MS = 20000 };

static char *program;

struct bench {
        struct host host;
        uv_loop_t loop;
        uv_timer_t guard;
        struct hands *hands;
        bool closed;
};

struct outcome {
        struct bench *bench;
        unsigned n_done;
        struct hands_result result;
        char values[128];
};

static void on_guard(uv_timer_t *timer)
{
        (void)timer;
        fail_msg("nothing happened for %d ms", PATIENCE_MS);
}

static void bench_make(struct bench *bench)
{
        struct err err;

        *bench = (struct bench){ 0 };
        host_make(&bench->host);
        assert_int_equal(uv_loop_init(&bench->loop), 0);
        const struct hands_config config = {
                .program = program,
                .sim_dir = bench->host.sim_dir,
                .lock_dir = bench->host.lock_dir,
        };
        ASSERT_OK(hands_start(&bench->hands, &config, &err), &err);
        hands_attach(bench->hands, &bench->loop);
        (void)uv_timer_init(&bench->loop, &bench->guard);
}

static void on_closed(void *ctx)
{
        ((struct bench *)ctx)->closed = true;
}

/* Runs the loop until @flag. */
static void wait_for(struct bench *bench, const bool *flag)
{
        (void)uv_timer_start(&bench->guard, on_guard, PATIENCE_MS, 0);
        while (!*flag)
                (void)uv_run(&bench->loop, UV_RUN_ONCE);
        (void)uv_timer_stop(&bench->guard);
}

static void bench_done(struct bench *bench)
{
        hands_stop(bench->hands, on_closed, bench);
        wait_for(bench, &bench->closed);
        bench->hands = hands_free(bench->hands);
        uv_close((uv_handle_t *)&bench->guard, NULL);
        (void)uv_run(&bench->loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&bench->loop), 0);
        host_done(&bench->host);
}

static void on_done(void *ctx, const struct hands_result *result)
{
        struct outcome *outcome = ctx;

        outcome->n_done++;
        outcome->result = *result;
}

static void on_value(void *ctx, uint32_t step, int result, const char *text)
{
        struct outcome *outcome = ctx;

        str_format(outcome->values + strlen(outcome->values), sizeof(outcome->values) - strlen(outcome->values), "%u %d %s;", step, result,
                   result ? "" : text);
}

static void wait_done(struct bench *bench, const struct outcome *outcome, unsigned n)
{
        (void)uv_timer_start(&bench->guard, on_guard, PATIENCE_MS, 0);
        while (outcome->n_done < n)
                (void)uv_run(&bench->loop, UV_RUN_ONCE);
        (void)uv_timer_stop(&bench->guard);
        assert_int_equal(outcome->n_done, n);
}

static void run_plan(struct bench *bench, const struct plan *plan, unsigned deadline_ms, struct outcome *outcome)
{
        *outcome = (struct outcome){ .bench = bench };
        hands_run(bench->hands, plan, deadline_ms, plan->steps[0].kind == STEP_READ_LOCKED ? on_value : NULL, on_done, outcome);
        assert_int_equal(outcome->n_done, 0); /* later, from the loop */
        wait_done(bench, outcome, 1);
}

static void run_for(struct bench *bench, unsigned ms)
{
        int64_t until = clock_ms() + ms;

        while (clock_ms() < until) {
                (void)uv_run(&bench->loop, UV_RUN_NOWAIT);
                (void)usleep(2000);
        }
}

#define ASSERT_ENDED(outcome, want)                                                                     \
        do {                                                                                            \
                if ((outcome).result.end != (want))                                                     \
                        fail_msg("%s: %s", plan_end_name((outcome).result.end), (outcome).result.text); \
        } while (0)
#define ASSERT_TELLS(outcome, want)                                                      \
        do {                                                                             \
                if (!strstr((outcome).result.text, want))                                \
                        fail_msg("'%s' does not say '%s'", (outcome).result.text, want); \
        } while (0)

/* Processes called @name below this one's session of children: the zygote is our child, workers are its. */
static size_t find_hands(const char *name, pid_t parent, pid_t *ret, size_t max)
{
        DIR *proc = opendir("/proc");
        size_t n = 0;

        assert_non_null(proc);
        for (struct dirent *e; (e = readdir(proc));) {
                char path[300], stat[512];
                struct err err;
                uint64_t pid;
                if (!str_to_u64(e->d_name, 10, INT32_MAX, &pid))
                        continue;
                (void)snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
                if (fs_read(AT_FDCWD, path, stat, sizeof(stat), NULL, &err) < 0)
                        continue;
                char *open = strchr(stat, '('), *close = strrchr(stat, ')'), state;
                int ppid;
                if (!open || !close || sscanf(close + 1, " %c %d", &state, &ppid) != 2 || state == 'Z')
                        continue;
                *close = '\0';
                if (streq(open + 1, name) && ppid == parent && n < max)
                        ret[n++] = (pid_t)pid;
        }
        (void)closedir(proc);
        return n;
}

static pid_t find_zygote(void)
{
        pid_t pid;

        assert_int_equal(find_hands("sluice-hand", getpid(), &pid, 1), 1);
        return pid;
}

static size_t count_fds(void)
{
        size_t n = 0;
        DIR *dir = opendir("/proc/self/fd");

        while (readdir(dir))
                n++;
        (void)closedir(dir);
        return n;
}

/* Until the process has ended; it may stay a zombie until its parent's loop runs. */
static void kill_and_wait_gone(pid_t pid)
{
        char path[64], stat[512];
        struct err err;

        (void)kill(pid, SIGKILL);
        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        for (int i = 0; i < 5000; i++) {
                if (fs_read(AT_FDCWD, path, stat, sizeof(stat), NULL, &err) < 0 || strstr(stat, ") Z "))
                        return;
                (void)usleep(2000);
        }
        fail_msg("process %d does not end", (int)pid);
}

/* The worker that is warm, when there is one and no other. */
static pid_t wait_for_warm_worker(struct bench *bench)
{
        pid_t zygote = find_zygote(), workers[2];

        for (int i = 0; i < 1000; i++) {
                run_for(bench, i == 0 ? 200 : 10); /* the zygote's message about it is to be heard, too */
                if (find_hands("sluice-hand:w", zygote, workers, 2) == 1)
                        return workers[0];
        }
        fail_msg("no worker, or too many");
        return -1;
}

/* Until the plan has got as far as its unbind, where faults wait. @bench NULL: it runs in another process. */
static void wait_for_override(const struct host *host, struct bench *bench)
{
        char value[64] = "";
        struct err err;

        for (int i = 0; i < 2000; i++) {
                if (fs_read_value(host->dir, GPU_DIR "/driver_override", value, sizeof(value), &err) == 0 && streq(value, "vfio-pci"))
                        return;
                if (bench)
                        run_for(bench, 5);
                else
                        (void)usleep(5000);
        }
        fail_msg("the plan does not begin");
}

static void one_read(struct plan *plan)
{
        *plan = (struct plan){ 0 };
        plan_add(plan, STEP_READ_LOCKED, GPU, "driver_override");
}

/* What a fault on "unbind" makes slow. */
static void one_slow_write(struct plan *plan)
{
        *plan = (struct plan){ .n_cards = 1, .cards = { GPU } };
        plan_add(plan, STEP_OVERRIDE, GPU, "vfio-pci");
        plan_add(plan, STEP_UNBIND, GPU, "nvidia");
        plan_add(plan, STEP_PROBE, GPU, "");
        plan_add(plan, STEP_AWAIT_DRIVER, GPU, "vfio-pci")->wait_ms = READ_BACK_MS;
}

/* Six reads of which each takes @ms. */
static void slow_reads(struct bench *bench, struct plan *plan, unsigned ms)
{
        char line[96];

        *plan = (struct plan){ 0 };
        for (int i = 0; i < 6; i++)
                plan_add(plan, STEP_READ_LOCKED, i % 2 ? AUDIO : GPU, "driver_override");
        str_format(line, sizeof(line), "read:driver_override * delay %u", ms);
        host_fault(&bench->host, line);
}

static void test_a_long_walk_of_reads_is_measured_step_by_step(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome;

        (void)state;
        bench_make(&bench);
        slow_reads(&bench, &plan, 400);
        run_plan(&bench, &plan, 2000, &outcome);
        ASSERT_ENDED(outcome, PLAN_DONE);
        bench_done(&bench);
}

/* Each of the two devices takes 1.5 s; each alone is in time, both together are not. */
static void test_the_deadline_is_for_the_whole_plan(void **state)
{
        struct bdf second = { 0, 0xaf, 0, 0 };
        struct bench bench;
        struct plan plan;
        struct outcome outcome;

        (void)state;
        bench_make(&bench);
        one_slow_write(&plan);
        plan_add(&plan, STEP_READ_LOCKED, second, "driver_override")->card = second; /* there is none: it fails, slowly */
        plan_add(&plan, STEP_READ_LOCKED, GPU, "driver_override")->card = (struct bdf){ 0, 1, 0, 0 };
        host_fault(&bench.host, "unbind 0000:3b:00.0 delay 1500");
        host_fault(&bench.host, "read:driver_override 0000:af:00.0 delay 1500");
        outcome = (struct outcome){ .bench = &bench };
        hands_run(bench.hands, &plan, 2500, NULL, on_done, &outcome);
        wait_done(&bench, &outcome, 1);
        ASSERT_ENDED(outcome, PLAN_STUCK);
        host_fault(&bench.host, "");
        bench_done(&bench);
}

/* ---- plans of one request ------------------------------------------------------------------------------------------- */

/* The audio function with a plan and a lock of its own, as if it were a second card; the GPU's is the slow one. */
enum { QUICK, SLOW, N_PLANS };

static void two_plans(struct plan plans[static N_PLANS])
{
        plans[QUICK] = (struct plan){ .n_cards = 1, .cards = { AUDIO } };
        plan_add_bind(&plans[QUICK], AUDIO, "snd_hda_intel");
        plans[SLOW] = (struct plan){ .n_cards = 1, .cards = { GPU } };
        plan_add_bind(&plans[SLOW], GPU, "nvidia");
}

struct outcomes {
        unsigned n_done, order[N_PLANS];
        struct outcome each[N_PLANS];
        char override[N_PLANS][16]; /* as it was before, by the hands' word */
};

static void on_override(void *ctx, size_t index, uint32_t step, const char *before)
{
        struct outcomes *all = ctx;

        assert_true(index < N_PLANS && step == 0 && all->n_done == 0);
        str_format(all->override[index], sizeof(all->override[index]), "was '%s'", before);
}

static void on_each(void *ctx, size_t index, const struct hands_result *result)
{
        struct outcomes *all = ctx;

        assert_true(index < N_PLANS && all->n_done < N_PLANS);
        all->order[all->n_done++] = (unsigned)index;
        on_done(&all->each[index], result);
}

static void start_both(struct bench *bench, unsigned deadline_ms, struct outcomes *all)
{
        struct plan plans[N_PLANS];

        two_plans(plans);
        *all = (struct outcomes){ 0 };
        hands_run_all(bench->hands, plans, N_PLANS, deadline_ms, on_override, on_each, all);
        assert_int_equal(all->n_done, 0);
}

static void wait_both(struct bench *bench, struct outcomes *all)
{
        (void)uv_timer_start(&bench->guard, on_guard, PATIENCE_MS, 0);
        while (all->n_done < N_PLANS)
                (void)uv_run(&bench->loop, UV_RUN_ONCE);
        (void)uv_timer_stop(&bench->guard);
        for (int i = 0; i < N_PLANS; i++)
                assert_int_equal(all->each[i].n_done, 1);
}

/* @bench NULL: it runs in another process. */
static void wait_for_driver(const struct host *host, struct bench *bench, struct bdf b, const char *driver)
{
        for (int i = 0; i < 2000 && !streq(host_driver((struct host *)host, b), driver); i++) {
                if (bench)
                        run_for(bench, 5);
                else
                        (void)usleep(5000);
        }
        assert_string_equal(host_driver((struct host *)host, b), driver);
}

static bool audio_lock_is_free(const struct host *host)
{
        _cleanup_close_ int fd = fs_open(host->locks, "card-0000:3b:00.1.lock", O_RDWR | O_CREAT, 0600);

        return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static void test_plans_of_one_request_are_kept_when_the_last_is_done(void **state)
{
        struct bench bench;
        struct outcomes all;
        struct err err;

        (void)state;
        bench_make(&bench);
        ASSERT_OK(sim_write(bench.host.sim, "bus/pci/devices/0000:3b:00.1/driver_override", "vfio-pci", &err), &err);
        host_fault(&bench.host, "unbind 0000:3b:00.0 delay 2500 times 1");
        start_both(&bench, 8000, &all);
        wait_for_driver(&bench.host, &bench, AUDIO, "vfio-pci");
        run_for(&bench, 300);
        assert_int_equal(all.n_done, 0);
        assert_string_not_equal(host_driver(&bench.host, GPU), "vfio-pci"); /* side by side */
        assert_false(audio_lock_is_free(&bench.host));
        wait_both(&bench, &all);
        ASSERT_ENDED(all.each[QUICK], PLAN_DONE);
        ASSERT_ENDED(all.each[SLOW], PLAN_DONE);
        assert_string_equal(host_driver(&bench.host, GPU), "vfio-pci");
        assert_string_equal(host_driver(&bench.host, AUDIO), "vfio-pci");
        assert_string_equal(all.override[QUICK], "was 'vfio-pci'");
        assert_string_equal(all.override[SLOW], "was ''");
        assert_true(host_lock_is_free(&bench.host) && audio_lock_is_free(&bench.host));
        bench_done(&bench);
}

static void test_a_plan_that_fails_has_the_others_undone(void **state)
{
        struct bench bench;
        struct outcomes all;

        (void)state;
        bench_make(&bench);
        _cleanup_free_ char *before = host_picture(&bench.host);
        host_fault(&bench.host, "unbind 0000:3b:00.0 delay 500 times 1");
        host_fault(&bench.host, "drivers_probe 0000:3b:00.0 refuse EINVAL times 1");
        start_both(&bench, 8000, &all);
        wait_both(&bench, &all);
        assert_int_equal(all.order[0], SLOW); /* first the one that tells why */
        ASSERT_ENDED(all.each[SLOW], PLAN_UNDONE);
        ASSERT_TELLS(all.each[SLOW], "Invalid argument");
        ASSERT_ENDED(all.each[QUICK], PLAN_UNDONE);
        assert_host_unchanged(&bench.host, before, "the request");
        assert_true(host_lock_is_free(&bench.host) && audio_lock_is_free(&bench.host));
        bench_done(&bench);
}

static void test_a_plan_that_hangs_has_the_others_undone_and_is_stuck_alone(void **state)
{
        struct bench bench;
        struct outcomes all;

        (void)state;
        bench_make(&bench);
        host_fault(&bench.host, "unbind 0000:3b:00.0 hang");
        start_both(&bench, 2000, &all);
        wait_both(&bench, &all);
        assert_int_equal(all.order[0], SLOW);
        ASSERT_ENDED(all.each[SLOW], PLAN_STUCK);
        ASSERT_TELLS(all.each[SLOW], "unbind 0000:3b:00.0");
        ASSERT_ENDED(all.each[QUICK], PLAN_UNDONE);
        assert_int_equal(hands_stuck(bench.hands), 1);
        assert_string_equal(host_driver(&bench.host, AUDIO), "snd_hda_intel");
        assert_true(audio_lock_is_free(&bench.host));
        assert_false(host_lock_is_free(&bench.host));
        host_fault(&bench.host, "");
        bench_done(&bench);
}

static void test_an_undo_that_hangs_is_stuck_after_a_deadline_of_its_own(void **state)
{
        struct bench bench;
        struct outcomes all;

        (void)state;
        bench_make(&bench);
        host_fault(&bench.host, "unbind 0000:3b:00.0 delay 1500 times 1");
        host_fault(&bench.host, "drivers_probe 0000:3b:00.0 refuse EINVAL times 1");
        start_both(&bench, 2500, &all);
        wait_for_driver(&bench.host, &bench, AUDIO, "vfio-pci");
        host_fault(&bench.host, "unbind 0000:3b:00.1 hang");
        wait_both(&bench, &all);
        ASSERT_ENDED(all.each[SLOW], PLAN_UNDONE);
        ASSERT_ENDED(all.each[QUICK], PLAN_STUCK);
        ASSERT_TELLS(all.each[QUICK], "did not return within 2500 ms, while undoing step 3 of 4");
        host_fault(&bench.host, "");
        bench_done(&bench);
}

/* Nothing is undone of a plan whose hand is gone; but what it did was done whole. */
static void test_a_hand_killed_while_it_waits_for_the_others(void **state)
{
        struct bench bench;
        struct outcomes all;

        (void)state;
        bench_make(&bench);
        host_fault(&bench.host, "unbind 0000:3b:00.0 delay 4000 times 1");
        pid_t quick = wait_for_warm_worker(&bench); /* the first plan's */
        start_both(&bench, 10000, &all);
        wait_for_driver(&bench.host, &bench, AUDIO, "vfio-pci");
        run_for(&bench, 200);
        kill_and_wait_gone(quick);
        wait_both(&bench, &all);
        assert_int_equal(all.order[0], QUICK);
        ASSERT_ENDED(all.each[QUICK], PLAN_LOST);
        ASSERT_TELLS(all.each[QUICK], "while it waited for the other devices");
        ASSERT_ENDED(all.each[SLOW], PLAN_UNDONE);
        assert_string_equal(host_driver(&bench.host, AUDIO), "vfio-pci");
        assert_string_equal(host_driver(&bench.host, GPU), "nvidia");
        assert_true(host_lock_is_free(&bench.host) && audio_lock_is_free(&bench.host));
        bench_done(&bench);
}

static void test_a_hand_killed_at_work_has_the_others_undone(void **state)
{
        struct plan plans[N_PLANS], slow_first[N_PLANS];
        struct bench bench;
        struct outcomes all = { 0 };

        (void)state;
        bench_make(&bench);
        host_fault(&bench.host, "unbind 0000:3b:00.0 hang");
        two_plans(plans);
        slow_first[0] = plans[SLOW];
        slow_first[1] = plans[QUICK];
        pid_t slow = wait_for_warm_worker(&bench);
        hands_run_all(bench.hands, slow_first, N_PLANS, 8000, NULL, on_each, &all);
        wait_for_driver(&bench.host, &bench, AUDIO, "vfio-pci");
        wait_for_override(&bench.host, &bench);
        kill_and_wait_gone(slow);
        wait_both(&bench, &all);
        ASSERT_ENDED(all.each[0], PLAN_LOST);
        ASSERT_ENDED(all.each[1], PLAN_UNDONE);
        assert_string_equal(host_driver(&bench.host, AUDIO), "snd_hda_intel");
        host_fault(&bench.host, "");
        bench_done(&bench);
}

static void test_a_plan_without_a_hand_is_called_off_untouched(void **state)
{
        struct plan plans[N_PLANS], checked;
        struct bench bench;
        struct outcomes all = { 0 };

        (void)state;
        bench_make(&bench);
        (void)wait_for_warm_worker(&bench);
        two_plans(plans);
        checked = (struct plan){ .n_cards = 1, .cards = { AUDIO } };
        plan_add(&checked, STEP_NEED_IDENTITY, AUDIO, "")->number = 0x10de0001;
        plan_add_bind(&checked, AUDIO, "snd_hda_intel");
        plans[QUICK] = checked;
        pid_t zygote = find_zygote();
        assert_int_equal(kill(zygote, SIGSTOP), 0); /* one hand is there, no second one comes */
        hands_run_all(bench.hands, plans, N_PLANS, 8000, NULL, on_each, &all);
        wait_both(&bench, &all);
        assert_int_equal(all.order[0], QUICK);
        ASSERT_ENDED(all.each[QUICK], PLAN_REFUSED);
        ASSERT_ENDED(all.each[SLOW], PLAN_REFUSED);
        ASSERT_TELLS(all.each[SLOW], "nothing was touched");
        assert_int_equal(kill(zygote, SIGCONT), 0);
        bench_done(&bench);
}

static void test_no_plan_begins_before_the_last_one_has_a_hand(void **state)
{
        struct bench bench;
        struct outcomes all;

        (void)state;
        bench_make(&bench);
        _cleanup_free_ char *before = host_picture(&bench.host);
        (void)wait_for_warm_worker(&bench);
        pid_t zygote = find_zygote();
        assert_int_equal(kill(zygote, SIGSTOP), 0);
        start_both(&bench, 1000, &all);
        wait_both(&bench, &all);
        assert_int_equal(kill(zygote, SIGCONT), 0);
        assert_int_equal(all.order[0], SLOW);
        ASSERT_ENDED(all.each[SLOW], PLAN_LOST);
        ASSERT_ENDED(all.each[QUICK], PLAN_REFUSED);
        assert_host_unchanged(&bench.host, before, "a plan whose others have no hand");
        bench_done(&bench);
}

/* The slow one is slow in a condition. */
static void two_plans_with_a_slow_check(struct plan plans[static N_PLANS])
{
        struct plan checked = { .n_cards = 1, .cards = { GPU } };

        two_plans(plans);
        plan_add(&checked, STEP_GUARD_UNBIND_LOCK, GPU, "");
        plan_add_bind(&checked, GPU, "nvidia");
        plans[SLOW] = checked;
}

static void test_no_plan_begins_before_the_conditions_of_all_hold(void **state)
{
        struct plan plans[N_PLANS];
        struct bench bench;
        struct outcomes all = { 0 };

        (void)state;
        bench_make(&bench);
        _cleanup_free_ char *before = host_picture(&bench.host);
        host_fault(&bench.host, "unbindLock 0000:3b:00.0 delay 1000 times 1");
        two_plans_with_a_slow_check(plans);
        hands_run_all(bench.hands, plans, N_PLANS, 8000, NULL, on_each, &all);
        run_for(&bench, 600);
        assert_false(audio_lock_is_free(&bench.host));
        assert_host_unchanged(&bench.host, before, "a plan that waits for the others' conditions");
        wait_both(&bench, &all);
        for (int i = 0; i < N_PLANS; i++)
                ASSERT_ENDED(all.each[i], PLAN_DONE);
        bench_done(&bench);
}

/* With what is left of the deadline a driver that is slow to let go would look like one that hangs. */
static void test_plans_whose_conditions_took_too_long_do_not_begin(void **state)
{
        struct plan plans[N_PLANS];
        struct bench bench;
        struct outcomes all = { 0 };

        (void)state;
        bench_make(&bench);
        _cleanup_free_ char *before = host_picture(&bench.host);
        host_fault(&bench.host, "unbindLock 0000:3b:00.0 delay 2000 times 1");
        two_plans_with_a_slow_check(plans);
        hands_run_all(bench.hands, plans, N_PLANS, 3000, NULL, on_each, &all);
        wait_both(&bench, &all);
        for (int i = 0; i < N_PLANS; i++) {
                ASSERT_ENDED(all.each[i], PLAN_REFUSED);
                ASSERT_TELLS(all.each[i], "not all devices of the request were looked at within 1500 ms; nothing was touched");
        }
        assert_host_unchanged(&bench.host, before, "the request");
        assert_int_equal(hands_stuck(bench.hands), 0);
        bench_done(&bench);
}

/* This program as a zygote whose workers say what is in $LYING_HAND, whatever their plan is: b(efore step 1), c(hecked), r(eady),
 * d(one). */
static void lying_worker(int fd)
{
        static const char kinds[] = "bcrd";
        static const uint32_t of[] = { REPORT_BEFORE, REPORT_CHECKED, REPORT_READY, REPORT_END };
        struct plan plan;

        if (wire_recv(fd, &plan, sizeof(plan), NULL) != sizeof(plan))
                _exit(0);
        for (const char *what = getenv("LYING_HAND"); *what; what++) {
                struct report report = { .kind = of[strchr(kinds, *what) - kinds] };
                report.step = report.kind == REPORT_READY || report.kind == REPORT_END ? plan.n_steps : 0;
                (void)wire_send(fd, &report, sizeof(report), -1);
        }
        char word;
        while (wire_recv(fd, &word, sizeof(word), NULL) > 0)
                ;
        _exit(0);
}

static int lying_zygote(void)
{
        struct wire_hello hello;
        char request;

        (void)wire_recv(WIRE_FD, &hello, sizeof(hello), NULL);
        while (wire_recv(WIRE_FD, &request, sizeof(request), NULL) > 0) {
                struct wire_worker msg = { .kind = WIRE_WORKER };
                int pair[2];
                if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
                        return 1;
                msg.pid = fork();
                if (msg.pid == 0) {
                        (void)close(pair[0]);
                        lying_worker(pair[1]);
                }
                (void)close(pair[1]);
                (void)wire_send(WIRE_FD, &msg, sizeof(msg), pair[0]);
                (void)close(pair[0]);
        }
        return 0;
}

/* Else the others would wait for it without end, or a device be given that nobody has bound. */
static void test_a_hand_that_speaks_out_of_turn_is_lost(void **state)
{
        static const char *const lies[] = { "bd", "br", "bcc", "r" };
        char *real = program;

        (void)state;
        program = realpath("/proc/self/exe", NULL);
        for (size_t i = 0; i < N_ELEMENTS(lies); i++) {
                struct bench bench;
                struct outcomes all;
                assert_int_equal(setenv("LYING_HAND", lies[i], 1), 0);
                bench_make(&bench);
                start_both(&bench, 8000, &all);
                wait_both(&bench, &all);
                ASSERT_ENDED(all.each[all.order[0]], PLAN_LOST);
                ASSERT_TELLS(all.each[all.order[0]], "spoke out of turn");
                assert_int_not_equal(all.each[all.order[1]].result.end, PLAN_DONE);
                bench_done(&bench);
        }
        /* A plan that is the only one of its request waits for nobody. */
        struct bench bench;
        struct plan plan;
        struct outcome outcome;
        assert_int_equal(setenv("LYING_HAND", "bc", 1), 0);
        bench_make(&bench);
        one_read(&plan);
        run_plan(&bench, &plan, 8000, &outcome);
        ASSERT_ENDED(outcome, PLAN_LOST);
        ASSERT_TELLS(outcome, "spoke out of turn");
        bench_done(&bench);
        assert_int_equal(unsetenv("LYING_HAND"), 0);
        free(program);
        program = real;
}

static void test_a_read_that_hangs_is_stuck_at_its_step(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome;

        (void)state;
        bench_make(&bench);
        slow_reads(&bench, &plan, 0);
        host_fault(&bench.host, "");
        host_fault(&bench.host, "read:driver_override 0000:3b:00.1 hang");
        run_plan(&bench, &plan, 400, &outcome);
        ASSERT_ENDED(outcome, PLAN_STUCK);
        assert_int_equal(outcome.result.step, 1);
        ASSERT_TELLS(outcome, "read driver_override of 0000:3b:00.1");
        host_fault(&bench.host, "");
        bench_done(&bench);
}

/* A daemon that was stopped, or got no time: the hand was in time, the loop was not. */
static void test_a_loop_that_is_late_blames_no_hand(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome = { .bench = &bench };

        (void)state;
        bench_make(&bench);
        one_read(&plan);
        run_plan(&bench, &plan, 5000, &outcome);
        run_for(&bench, 100); /* the next worker is warm */
        plan_of_host(&plan);
        outcome = (struct outcome){ .bench = &bench };
        hands_run(bench.hands, &plan, 2500, NULL, on_done, &outcome);
        (void)usleep(3000 * 1000);
        wait_done(&bench, &outcome, 1);
        ASSERT_ENDED(outcome, PLAN_DONE);
        bench_done(&bench);
}

static void test_a_plan_runs_in_another_process_and_answers(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome;

        (void)state;
        bench_make(&bench);
        plan_of_host(&plan);
        fs_fail_at(1, EIO); /* in this process */
        run_plan(&bench, &plan, 5000, &outcome);
        fs_fail_at(0, 0);
        ASSERT_ENDED(outcome, PLAN_DONE);
        assert_string_equal(outcome.result.text, "");
        assert_int_equal(outcome.result.step, plan.n_steps);
        assert_string_equal(host_driver(&bench.host, GPU), "vfio-pci");
        one_read(&plan);
        run_plan(&bench, &plan, 5000, &outcome);
        ASSERT_ENDED(outcome, PLAN_DONE);
        assert_string_equal(outcome.values, "0 0 vfio-pci;");
        bench_done(&bench);
}

static void test_a_refusal_carries_step_reason_and_sentence(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome;

        (void)state;
        bench_make(&bench);
        plan_of_host(&plan);
        plan.steps[1].number = 0x10de2236;
        run_plan(&bench, &plan, 5000, &outcome);
        ASSERT_ENDED(outcome, PLAN_REFUSED);
        assert_int_equal(outcome.result.step, 1);
        assert_int_equal(outcome.result.reason, REASON_IDENTITY);
        ASSERT_TELLS(outcome, "is now 10de:26b9 instead of 10de:2236");
        bench_done(&bench);
}

static void test_past_its_deadline_a_hand_is_stuck_and_the_next_plan_runs_at_once(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome;

        (void)state;
        bench_make(&bench);
        plan_of_host(&plan);
        host_fault(&bench.host, "unbind 0000:3b:00.0 hang");
        run_plan(&bench, &plan, 300, &outcome);
        ASSERT_ENDED(outcome, PLAN_STUCK);
        assert_int_equal(outcome.result.reason, REASON_DEADLINE);
        assert_int_equal(outcome.result.step, 7);
        ASSERT_TELLS(outcome, "did not return within 300 ms, in step 8 of 15 (unbind 0000:3b:00.0");
        assert_int_equal(hands_stuck(bench.hands), 1);
        assert_false(host_lock_is_free(&bench.host)); /* the hand keeps its card */

        plan_of_host(&plan);
        run_plan(&bench, &plan, 5000, &outcome);
        ASSERT_ENDED(outcome, PLAN_REFUSED);
        assert_int_equal(outcome.result.reason, REASON_CARD_BUSY);
        int64_t start = clock_ms();
        one_read(&plan);
        plan.steps[0].bdf = AUDIO;
        run_plan(&bench, &plan, 5000, &outcome);
        ASSERT_ENDED(outcome, PLAN_DONE);
        assert_true(clock_ms() - start < 3000);

        /* The kernel comes back after all: the process ends, and is no longer counted. */
        host_fault(&bench.host, "");
        for (int i = 0; i < 1000 && hands_stuck(bench.hands) > 0; i++)
                run_for(&bench, 10);
        assert_int_equal(hands_stuck(bench.hands), 0);
        assert_true(host_lock_is_free(&bench.host));
        bench_done(&bench);
}

static void test_beyond_a_number_of_stuck_hands_no_further_plan_is_started(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcomes[HANDS_MAX_STUCK] = { 0 }, outcome;

        (void)state;
        bench_make(&bench);
        host_fault(&bench.host, "driver_override 0000:3b:00.0 hang");
        for (uint8_t i = 0; i < HANDS_MAX_STUCK; i++) {
                plan = (struct plan){ .n_cards = 1, .cards = { { 0, i, 0, 0 } } }; /* cards of their own: no lock in the way */
                plan_add(&plan, STEP_OVERRIDE, GPU, "vfio-pci");
                hands_run(bench.hands, &plan, 4000, NULL, on_done, &outcomes[i]);
        }
        for (uint8_t i = 0; i < HANDS_MAX_STUCK; i++) {
                wait_done(&bench, &outcomes[i], 1);
                ASSERT_ENDED(outcomes[i], PLAN_STUCK);
        }
        assert_int_equal(hands_stuck(bench.hands), HANDS_MAX_STUCK);
        one_read(&plan);
        run_plan(&bench, &plan, 5000, &outcome);
        ASSERT_ENDED(outcome, PLAN_LOST);
        ASSERT_TELLS(outcome, "32 hands hang in the kernel");
        host_fault(&bench.host, "");
        for (int i = 0; i < 1000 && hands_stuck(bench.hands) > 0; i++)
                run_for(&bench, 10);
        run_plan(&bench, &plan, 5000, &outcome);
        ASSERT_ENDED(outcome, PLAN_DONE);
        bench_done(&bench);
}

static void test_a_killed_worker_is_lost_with_its_step(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome = { 0 };

        (void)state;
        bench_make(&bench);
        pid_t worker = wait_for_warm_worker(&bench);
        host_fault(&bench.host, "unbind 0000:3b:00.0 hang");
        one_slow_write(&plan);
        hands_run(bench.hands, &plan, 60000, NULL, on_done, &outcome);
        wait_for_override(&bench.host, &bench);
        run_for(&bench, 100);
        assert_int_equal(outcome.n_done, 0);
        kill_and_wait_gone(worker);
        wait_done(&bench, &outcome, 1);
        ASSERT_ENDED(outcome, PLAN_LOST);
        assert_int_equal(outcome.result.reason, REASON_HAND_LOST);
        assert_int_equal(outcome.result.step, 1);
        ASSERT_TELLS(outcome, "ended, in step 2 of 4 (unbind");
        assert_true(host_lock_is_free(&bench.host));
        host_fault(&bench.host, "");
        one_read(&plan);
        run_plan(&bench, &plan, 5000, &outcome);
        ASSERT_ENDED(outcome, PLAN_DONE);
        bench_done(&bench);
}

static void test_a_worker_that_never_read_its_plan_is_lost_before_the_first_step(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome = { 0 };

        (void)state;
        bench_make(&bench);
        pid_t worker = wait_for_warm_worker(&bench);
        assert_int_equal(kill(worker, SIGSTOP), 0);
        plan_of_host(&plan);
        hands_run(bench.hands, &plan, 10000, NULL, on_done, &outcome);
        run_for(&bench, 50);
        kill_and_wait_gone(worker);
        wait_done(&bench, &outcome, 1);
        ASSERT_ENDED(outcome, PLAN_LOST);
        assert_int_equal(outcome.result.step, plan.n_steps);
        ASSERT_TELLS(outcome, "ended, before the first step");
        bench_done(&bench);
}

static void test_a_killed_zygote_is_replaced_and_disturbs_no_plan(void **state)
{
        struct bench bench;
        struct plan slow, plan;
        struct outcome at_work, outcome;

        (void)state;
        bench_make(&bench);
        host_fault(&bench.host, "unbind 0000:3b:00.0 delay 1000 times 1");
        one_slow_write(&slow);
        at_work = (struct outcome){ .bench = &bench };
        hands_run(bench.hands, &slow, 60000, NULL, on_done, &at_work);
        wait_for_override(&bench.host, &bench);
        pid_t first = find_zygote();
        assert_int_equal(kill(first, SIGSTOP), 0);
        one_read(&plan);
        plan.steps[0].bdf = AUDIO;
        run_plan(&bench, &plan, 5000, &outcome); /* the warm worker takes it; the request for another one is never read */
        ASSERT_ENDED(outcome, PLAN_DONE);
        kill_and_wait_gone(first);
        run_plan(&bench, &plan, 5000, &outcome); /* this one needs a new zygote */
        ASSERT_ENDED(outcome, PLAN_DONE);
        assert_int_not_equal(find_zygote(), first);
        wait_done(&bench, &at_work, 1);
        ASSERT_ENDED(at_work, PLAN_DONE);
        bench_done(&bench);
}

static void test_a_zygote_that_does_not_answer_is_replaced(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome;

        (void)state;
        bench_make(&bench);
        one_read(&plan);
        (void)wait_for_warm_worker(&bench);
        pid_t first = find_zygote();
        assert_int_equal(kill(first, SIGSTOP), 0);
        run_plan(&bench, &plan, 60000, &outcome); /* the warm worker's */
        ASSERT_ENDED(outcome, PLAN_DONE);
        run_plan(&bench, &plan, 60000, &outcome); /* waits for a hand */
        ASSERT_ENDED(outcome, PLAN_DONE);
        assert_int_not_equal(find_zygote(), first);
        bench_done(&bench);
}

static void test_a_zygote_that_dies_again_and_again_does_not_stop_the_plans(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome;

        (void)state;
        bench_make(&bench);
        one_read(&plan);
        for (int i = 0; i < 3; i++) {
                pid_t pid;
                for (int j = 0; j < 500 && find_hands("sluice-hand", getpid(), &pid, 1) == 0; j++)
                        run_for(&bench, 10);
                kill_and_wait_gone(find_zygote());
                run_for(&bench, 20);
        }
        run_plan(&bench, &plan, 8000, &outcome);
        ASSERT_ENDED(outcome, PLAN_DONE);
        bench_done(&bench);
}

static void test_plans_wait_for_a_hand_and_each_gets_one(void **state)
{
        enum { N = 24 };
        struct bench bench;
        struct plan plan;
        struct outcome outcomes[N] = { 0 };

        (void)state;
        bench_make(&bench);
        one_read(&plan);
        for (int i = 0; i < N; i++)
                hands_run(bench.hands, &plan, 10000, on_value, on_done, &outcomes[i]);
        for (int i = 0; i < N; i++) {
                wait_done(&bench, &outcomes[i], 1);
                ASSERT_ENDED(outcomes[i], PLAN_DONE);
                assert_string_equal(outcomes[i].values, "0 0 (null);");
        }
        bench_done(&bench);
}

/* A node without memory or processor time: no device is to blame, and none may be touched later. */
static void test_a_hand_that_does_not_begin_is_killed_and_blames_no_device(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome;

        (void)state;
        bench_make(&bench);
        assert_int_equal(kill(wait_for_warm_worker(&bench), SIGSTOP), 0);
        plan_of_host(&plan);
        run_plan(&bench, &plan, 1000, &outcome);
        ASSERT_ENDED(outcome, PLAN_LOST);
        ASSERT_TELLS(outcome, "before the first step");
        assert_int_equal(hands_stuck(bench.hands), 0);
        assert_string_equal(host_driver(&bench.host, GPU), "nvidia");
        run_plan(&bench, &plan, 10000, &outcome);
        ASSERT_ENDED(outcome, PLAN_DONE);
        bench_done(&bench);
}

/* What its guards saw is long past when the kernel returns. */
static void test_an_abandoned_hand_takes_no_further_step(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome;

        (void)state;
        bench_make(&bench);
        plan_of_host(&plan);
        host_fault(&bench.host, "unbind 0000:3b:00.0 hang");
        run_plan(&bench, &plan, 1000, &outcome);
        ASSERT_ENDED(outcome, PLAN_STUCK);
        host_fault(&bench.host, "");
        for (int i = 0; i < 500 && hands_stuck(bench.hands) > 0; i++)
                run_for(&bench, 20);
        assert_int_equal(hands_stuck(bench.hands), 0);
        assert_string_equal(host_driver(&bench.host, GPU), "");
        assert_string_equal(host_driver(&bench.host, AUDIO), "snd_hda_intel");
        assert_true(host_lock_is_free(&bench.host));
        bench_done(&bench);
}

static void test_a_run_directory_that_was_swept_away_is_made_again(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome;

        (void)state;
        bench_make(&bench);
        (void)wait_for_warm_worker(&bench);
        assert_int_equal(nftw(bench.host.lock_dir, host_remove, 8, FTW_DEPTH | FTW_PHYS), 0);
        plan_of_host(&plan);
        run_plan(&bench, &plan, 5000, &outcome);
        ASSERT_ENDED(outcome, PLAN_DONE);
        bench_done(&bench);
}

static void test_a_hundred_plans_leave_no_descriptor_and_no_process(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome;
        pid_t pids[8];

        (void)state;
        bench_make(&bench);
        one_read(&plan);
        run_plan(&bench, &plan, 5000, &outcome);
        (void)wait_for_warm_worker(&bench);
        run_for(&bench, 50);
        size_t before = count_fds();
        plan.n_cards = 1; /* the lock is free again whenever an end was heard */
        plan.cards[0] = GPU;
        for (int i = 0; i < 100; i++) {
                run_plan(&bench, &plan, 5000, &outcome);
                ASSERT_ENDED(outcome, PLAN_DONE);
        }
        (void)wait_for_warm_worker(&bench);
        for (int i = 0; i < 500 && count_fds() != before; i++)
                run_for(&bench, 10);
        assert_int_equal(count_fds(), before);
        bench_done(&bench);
        assert_int_equal(find_hands("sluice-hand", getpid(), pids, 8), 0);
}

static void assert_clean_process(pid_t pid, const char *blocked)
{
        char path[64], status[4096], line[64];
        struct err err;

        (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
        ASSERT_OK(fs_read(AT_FDCWD, path, status, sizeof(status), NULL, &err), &err);
        (void)snprintf(line, sizeof(line), "\nSigBlk:\t%s\n", blocked);
        if (!strstr(status, line))
                fail_msg("blocked signals other than %s:%s", blocked, status);
        (void)snprintf(path, sizeof(path), "/proc/%d/fd/123", (int)pid);
        assert_int_equal(fs_exists(AT_FDCWD, path), 0);
        assert_int_equal(getsid(pid) == getsid(0), 0);
}

static void test_a_hand_inherits_no_descriptor_no_blocked_signal_and_no_session(void **state)
{
        struct bench bench;
        sigset_t mask, old;

        (void)state;
        int null = fs_open(AT_FDCWD, "/dev/null", O_RDONLY, 0);
        assert_int_equal(dup2(null, 123), 123); /* as a library would leave it: not close-on-exec */
        (void)close(null);
        (void)sigemptyset(&mask);
        (void)sigaddset(&mask, SIGCHLD);
        (void)sigaddset(&mask, SIGUSR1);
        (void)sigprocmask(SIG_BLOCK, &mask, &old);
        bench_make(&bench);
        (void)sigprocmask(SIG_SETMASK, &old, NULL);
        pid_t zygote = find_zygote(), worker = wait_for_warm_worker(&bench);
        assert_clean_process(zygote, "0000000000010000"); /* SIGCHLD comes by a descriptor */
        assert_clean_process(worker, "0000000000000000");
        (void)close(123);
        bench_done(&bench);
}

static void test_stopping_ends_every_plan_once_and_leaves_the_hand_at_work(void **state)
{
        struct bench bench;
        struct plan slow, plan;
        struct outcome at_work = { 0 }, waiting[20] = { 0 }, late = { 0 };

        (void)state;
        bench_make(&bench);
        host_fault(&bench.host, "unbind 0000:3b:00.0 delay 1000 times 1");
        one_slow_write(&slow);
        hands_run(bench.hands, &slow, 60000, NULL, on_done, &at_work);
        wait_for_override(&bench.host, &bench);
        one_read(&plan);
        for (int i = 0; i < 20; i++)
                hands_run(bench.hands, &plan, 10000, NULL, on_done, &waiting[i]);
        hands_stop(bench.hands, on_closed, &bench);
        hands_run(bench.hands, &plan, 10000, NULL, on_done, &late);
        wait_for(&bench, &bench.closed);
        assert_int_equal(at_work.n_done, 1);
        ASSERT_ENDED(at_work, PLAN_LOST);
        ASSERT_TELLS(at_work, "the hand goes on alone");
        for (int i = 0; i < 20; i++) {
                assert_int_equal(waiting[i].n_done, 1);
                ASSERT_ENDED(waiting[i], PLAN_LOST);
        }
        assert_int_equal(late.n_done, 1);
        assert_int_equal(late.result.reason, REASON_TOO_LATE);
        for (int i = 0; i < 1000 && !host_lock_is_free(&bench.host); i++)
                (void)usleep(5000);
        assert_string_equal(host_driver(&bench.host, GPU), "vfio-pci");
        hands_free(bench.hands);
        uv_close((uv_handle_t *)&bench.guard, NULL);
        (void)uv_run(&bench.loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&bench.loop), 0);
        host_done(&bench.host);
}

/* A daemon of its own that dies in the middle: what remains of it is the hand, or two of them. */
static void daemon_main(const struct host *host, void (*make)(struct plan plans[static N_PLANS]))
{
        struct bench bench = { .host = *host };
        struct plan plan, plans[N_PLANS];
        struct outcome outcome = { 0 };
        struct outcomes all = { 0 };
        struct err err;
        const struct hands_config config = { .program = program, .sim_dir = host->sim_dir, .lock_dir = host->lock_dir };

        plan_of_host(&plan);
        if (uv_loop_init(&bench.loop) < 0 || hands_start(&bench.hands, &config, &err) < 0)
                _exit(1);
        hands_attach(bench.hands, &bench.loop);
        if (make)
                make(plans);
        if (make)
                hands_run_all(bench.hands, plans, N_PLANS, 60000, NULL, on_each, &all);
        else
                hands_run(bench.hands, &plan, 60000, NULL, on_done, &outcome);
        (void)uv_run(&bench.loop, UV_RUN_DEFAULT);
        _exit(0);
}

static void test_a_hand_outlives_a_killed_daemon_and_gives_the_lock_back(void **state)
{
        struct host host;

        (void)state;
        host_make(&host);
        host_fault(&host, "unbind 0000:3b:00.0 delay 1000 times 1");
        pid_t daemon = fork();
        if (daemon == 0)
                daemon_main(&host, NULL);
        wait_for_override(&host, NULL);
        (void)kill(daemon, SIGKILL);
        assert_int_equal(waitpid(daemon, NULL, 0), daemon);
        assert_false(host_lock_is_free(&host)); /* the next daemon sees that a hand is at work */
        for (int i = 0; i < 2000 && !host_lock_is_free(&host); i++)
                (void)usleep(5000);
        assert_true(host_lock_is_free(&host));
        assert_string_equal(host_driver(&host, GPU), "vfio-pci");
        assert_string_equal(host_driver(&host, AUDIO), "vfio-pci");
        host_done(&host);
}

/* A device that the next daemon sees bound it may give away at once: from then on nobody may unbind it. */
static void test_what_waits_for_the_others_is_kept_when_the_daemon_is_killed(void **state)
{
        struct host host;

        (void)state;
        host_make(&host);
        host_fault(&host, "unbind 0000:3b:00.0 delay 2000 times 1");
        pid_t daemon = fork();
        if (daemon == 0)
                daemon_main(&host, two_plans);
        wait_for_driver(&host, NULL, AUDIO, "vfio-pci");
        wait_for_override(&host, NULL);
        (void)usleep(100 * 1000);
        assert_false(audio_lock_is_free(&host));
        (void)kill(daemon, SIGKILL);
        assert_int_equal(waitpid(daemon, NULL, 0), daemon);
        for (int i = 0; i < 2000 && !audio_lock_is_free(&host); i++)
                (void)usleep(5000);
        assert_true(audio_lock_is_free(&host)); /* nothing keeps it any longer */
        for (int i = 0; i < 2000 && !host_lock_is_free(&host); i++)
                (void)usleep(5000);
        assert_string_equal(host_driver(&host, AUDIO), "vfio-pci");
        assert_string_equal(host_driver(&host, GPU), "vfio-pci");
        host_done(&host);
}

static void test_what_has_not_begun_is_not_begun_when_the_daemon_is_killed(void **state)
{
        struct host host;

        (void)state;
        host_make(&host);
        _cleanup_free_ char *before = host_picture(&host);
        host_fault(&host, "unbindLock 0000:3b:00.0 delay 1500 times 1");
        pid_t daemon = fork();
        if (daemon == 0)
                daemon_main(&host, two_plans_with_a_slow_check);
        for (int i = 0; i < 2000 && (host_lock_is_free(&host) || audio_lock_is_free(&host)); i++)
                (void)usleep(5000);
        (void)usleep(300 * 1000);
        assert_false(host_lock_is_free(&host) || audio_lock_is_free(&host));
        (void)kill(daemon, SIGKILL);
        assert_int_equal(waitpid(daemon, NULL, 0), daemon);
        for (int i = 0; i < 2000 && !(host_lock_is_free(&host) && audio_lock_is_free(&host)); i++)
                (void)usleep(5000);
        assert_true(host_lock_is_free(&host) && audio_lock_is_free(&host));
        assert_host_unchanged(&host, before, "the request of a killed daemon");
        host_done(&host);
}

static void test_a_program_that_cannot_start_is_said_at_once(void **state)
{
        struct hands *hands = NULL;
        struct err err;
        const struct hands_config missing = { .program = "/nonexistent/sluice-hand", .lock_dir = "/tmp" };
        char too_long[1024] = "";

        (void)state;
        assert_int_equal(hands_start(&hands, &missing, &err), -ENOENT);
        assert_non_null(strstr(err.msg, "/nonexistent/sluice-hand"));
        memset(too_long, 'x', 1000);
        const struct hands_config config = { .program = program, .lock_dir = too_long };
        assert_int_equal(hands_start(&hands, &config, &err), -ENAMETOOLONG);
        assert_null(hands);
}

static void test_a_host_that_cannot_be_opened_refuses_every_plan(void **state)
{
        struct bench bench;
        struct plan plan;
        struct outcome outcome;
        char moved[96];

        (void)state;
        bench_make(&bench);
        one_read(&plan);
        run_plan(&bench, &plan, 5000, &outcome); /* that one's worker was opened before */
        run_for(&bench, 100);
        (void)snprintf(moved, sizeof(moved), "%s/moved", bench.host.root);
        assert_int_equal(rename(bench.host.lock_dir, moved), 0);
        assert_int_equal(symlink("/dev/null", bench.host.lock_dir), 0); /* nothing that could be made again */
        run_plan(&bench, &plan, 5000, &outcome);                        /* and this one's */
        run_plan(&bench, &plan, 5000, &outcome);
        assert_int_equal(unlink(bench.host.lock_dir), 0);
        assert_int_equal(rename(moved, bench.host.lock_dir), 0);
        ASSERT_ENDED(outcome, PLAN_REFUSED);
        ASSERT_TELLS(outcome, "cannot open");
        bench_done(&bench);
}

/* A zygote that says what nobody understands. */
static void test_garbage_from_the_zygote_loses_no_plan_before_its_deadline(void **state)
{
        static const char script[] = "#!/bin/sh\nprintf garbage >&3\nread x <&3\n";
        struct bench bench;
        struct plan plan;
        struct outcome outcome;
        struct err err;
        char path[96];

        (void)state;
        char *real = program;
        host_make(&bench.host);
        (void)snprintf(path, sizeof(path), "%s/garbage", bench.host.root);
        ASSERT_OK(fs_replace(AT_FDCWD, path, script, sizeof(script) - 1, 0755, &err), &err);
        struct host other = bench.host;
        program = path;
        bench_make(&bench);
        program = real;
        one_read(&plan);
        run_plan(&bench, &plan, 400, &outcome);
        ASSERT_ENDED(outcome, PLAN_LOST);
        assert_int_equal(outcome.result.reason, REASON_HAND_LOST);
        ASSERT_TELLS(outcome, "no hand was ready within 400 ms: a message of 7 bytes");
        bench_done(&bench);
        host_done(&other);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_plan_runs_in_another_process_and_answers),
                TEST(test_a_long_walk_of_reads_is_measured_step_by_step),
                TEST(test_the_deadline_is_for_the_whole_plan),
                TEST(test_plans_of_one_request_are_kept_when_the_last_is_done),
                TEST(test_a_plan_that_fails_has_the_others_undone),
                TEST(test_a_plan_that_hangs_has_the_others_undone_and_is_stuck_alone),
                TEST(test_an_undo_that_hangs_is_stuck_after_a_deadline_of_its_own),
                TEST(test_a_hand_killed_while_it_waits_for_the_others),
                TEST(test_a_hand_killed_at_work_has_the_others_undone),
                TEST(test_a_plan_without_a_hand_is_called_off_untouched),
                TEST(test_no_plan_begins_before_the_last_one_has_a_hand),
                TEST(test_no_plan_begins_before_the_conditions_of_all_hold),
                TEST(test_plans_whose_conditions_took_too_long_do_not_begin),
                TEST(test_a_hand_that_speaks_out_of_turn_is_lost),
                TEST(test_what_waits_for_the_others_is_kept_when_the_daemon_is_killed),
                TEST(test_what_has_not_begun_is_not_begun_when_the_daemon_is_killed),
                TEST(test_a_read_that_hangs_is_stuck_at_its_step),
                TEST(test_a_loop_that_is_late_blames_no_hand),
                TEST(test_a_refusal_carries_step_reason_and_sentence),
                TEST(test_past_its_deadline_a_hand_is_stuck_and_the_next_plan_runs_at_once),
                TEST(test_beyond_a_number_of_stuck_hands_no_further_plan_is_started),
                TEST(test_a_killed_worker_is_lost_with_its_step),
                TEST(test_a_worker_that_never_read_its_plan_is_lost_before_the_first_step),
                TEST(test_a_killed_zygote_is_replaced_and_disturbs_no_plan),
                TEST(test_a_zygote_that_does_not_answer_is_replaced),
                TEST(test_a_zygote_that_dies_again_and_again_does_not_stop_the_plans),
                TEST(test_plans_wait_for_a_hand_and_each_gets_one),
                TEST(test_a_hand_that_does_not_begin_is_killed_and_blames_no_device),
                TEST(test_an_abandoned_hand_takes_no_further_step),
                TEST(test_a_run_directory_that_was_swept_away_is_made_again),
                TEST(test_a_hundred_plans_leave_no_descriptor_and_no_process),
                TEST(test_a_hand_inherits_no_descriptor_no_blocked_signal_and_no_session),
                TEST(test_stopping_ends_every_plan_once_and_leaves_the_hand_at_work),
                TEST(test_a_hand_outlives_a_killed_daemon_and_gives_the_lock_back),
                TEST(test_garbage_from_the_zygote_loses_no_plan_before_its_deadline),
                TEST(test_a_program_that_cannot_start_is_said_at_once),
                TEST(test_a_host_that_cannot_be_opened_refuses_every_plan),
        };

        if (getenv("LYING_HAND"))
                return lying_zygote();
        log_setup("hands_test", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
        program = find_program();
        int failed = RUN(tests);
        free(program);
        return failed;
}
