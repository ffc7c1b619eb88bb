/* SPDX-License-Identifier: Apache-2.0 */
/* What a hand costs: round trips of plans through the loop to a warm worker on a simulated host, against an empty plan
 * (the mechanism alone) and back to back (each waits for its worker to be forked). */
#include "../unit/unit.h"

#include <uv.h>

#include "../unit/hands/host.h"
#include "../unit/hands/program.h"
#include "hands/hands.h"

enum { ROUNDS = 400, REST_MS = 3 };

static bool done;
static struct strbuf figures; /* for `make bench`, after the table */

static void on_done(void *ctx, const struct hands_result *result)
{
        (void)ctx;
        if (result->end != PLAN_DONE) {
                (void)fprintf(stderr, "%s: %s\n", plan_end_name(result->end), result->text);
                exit(1);
        }
        done = true;
}

static void on_rest(uv_timer_t *timer)
{
        (void)timer;
        done = true;
}

static void turn(uv_loop_t *loop)
{
        while (!done)
                (void)uv_run(loop, UV_RUN_ONCE);
        done = false;
}

static int by_value(const void *a, const void *b)
{
        return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

/* @plans in turn, @rest_ms between them for the next worker to be ready. @figure: its name in docs/benchmarks.md, NULL = not there. */
static void measure(const char *name, const char *figure, struct hands *hands, uv_timer_t *timer, const struct plan *plans, size_t n_plans,
                    unsigned rest_ms)
{
        static double us[ROUNDS];

        for (size_t i = 0; i < ROUNDS; i++) {
                struct timespec a, b;
                if (rest_ms > 0) {
                        (void)uv_timer_start(timer, on_rest, rest_ms, 0);
                        turn(timer->loop);
                }
                (void)clock_gettime(CLOCK_MONOTONIC, &a);
                hands_run(hands, &plans[i % n_plans], 10000, NULL, on_done, NULL);
                turn(timer->loop);
                (void)clock_gettime(CLOCK_MONOTONIC, &b);
                us[i] = (double)(b.tv_sec - a.tv_sec) * 1e6 + (double)(b.tv_nsec - a.tv_nsec) / 1e3;
        }
        qsort(us, ROUNDS, sizeof(us[0]), by_value);
        (void)printf("| %-52s | %8.0f | %8.0f |\n", name, us[ROUNDS / 2], us[ROUNDS * 99 / 100]);
        if (figure)
                strbuf_addf(&figures, "# figure %s-p50 %.0f\n", figure, us[ROUNDS / 2]);
}

static void on_closed(void *ctx)
{
        (void)ctx;
        done = true;
}

static void rebind(struct plan *plan, const char *from, const char *override, const char *to)
{
        *plan = (struct plan){ .n_cards = 1, .cards = { GPU } };
        (void)str_copy(plan_add(plan, STEP_OVERRIDE, GPU, override)->about, STEP_TEXT_MAX, from);
        plan_add(plan, STEP_UNBIND, GPU, from);
        plan_add(plan, STEP_PROBE, GPU, "");
        plan_add(plan, STEP_AWAIT_DRIVER, GPU, to)->wait_ms = READ_BACK_MS;
}

int main(void)
{
        static struct plan empty, writes[2];
        _cleanup_free_ char *program = find_program();
        struct host host;
        struct hands *hands;
        uv_loop_t loop;
        uv_timer_t timer;
        struct err err;

        host_make(&host);
        const struct hands_config config = { .program = program, .sim_dir = host.sim_dir, .lock_dir = host.lock_dir };
        (void)uv_loop_init(&loop);
        (void)uv_timer_init(&loop, &timer);
        if (hands_start(&hands, &config, &err) < 0) {
                (void)fprintf(stderr, "%s\n", err.msg);
                return 1;
        }
        hands_attach(hands, &loop);
        rebind(&writes[0], "nvidia", "vfio-pci", "vfio-pci");
        rebind(&writes[1], "vfio-pci", "", "nvidia");
        (void)printf("| plan | p50 us | p99 us |\n|---|---|---|\n");
        measure("empty plan, warm worker", "hand-empty", hands, &timer, &empty, 1, REST_MS);
        measure("empty plan, back to back", NULL, hands, &timer, &empty, 1, 0);
        measure("3 writes (simulated kernel) read back, warm worker", "hand-writes", hands, &timer, writes, 2, REST_MS);
        (void)printf("\n%s", figures.text);
        strbuf_done(&figures);
        hands_stop(hands, on_closed, NULL);
        turn(&loop);
        hands_free(hands);
        uv_close((uv_handle_t *)&timer, NULL);
        (void)uv_run(&loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&loop);
        host_done(&host);
        return 0;
}
