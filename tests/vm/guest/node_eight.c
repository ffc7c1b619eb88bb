/* SPDX-License-Identifier: Apache-2.0 */
/* Topology eight: a node with eight cards. What one of them does must not be felt by the others. */
#include "node.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

#define CARD(n)        "0000:0" #n ":00.0"
#define FIRST          CARD(1)
#define FIRST_RESOURCE "test.example/FIRST"
/* The first card under a name of its own, so that a test knows which one it is given. */
#define RULES                                                                                                               \
        CONFIG_HEAD "rules:\n- select: {addresses: [\"" FIRST "\"]}\n  bind: on-allocate\n  resource: " FIRST_RESOURCE "\n" \
                    "- select: {ids: [\"10de:26b9\"]}\n  bind: on-allocate\n"

static const char *const cards[] = { CARD(1), CARD(2), CARD(3), CARD(4), CARD(5), CARD(6), CARD(7), CARD(8) };
enum { CARDS = 8 };

static unsigned n_bound(void)
{
        unsigned n = 0;

        for (size_t i = 0; i < CARDS; i++)
                n += streq(driver_of(cards[i]), "vfio-pci");
        return n;
}

/* Milliseconds until a pod with one device of @resource is admitted. */
static int64_t time_admission(const char *pod, const char *resource)
{
        struct fk_run run = { 0 };
        int64_t start = now_ms();

        allocate(pod, resource, 1, &run);
        int64_t took = now_ms() - start;
        fk_run_done(&run);
        return took;
}

/* The gate says idle although somebody has the card open, and Sluice may not see who: the driver then waits in its remove for
 * the holder, uninterruptibly, with the card's device lock held. */
static void test_remove_that_hangs_on_a_holder_costs_one_card_and_delays_none(void **state)
{
        struct admission first;

        (void)state;
        load_nvidia("lying_lock=1");
        daemon_set_blind();
        (void)node_start("eight-hang", RULES "bindDeadline: 15s\n");
        expect_counts(FIRST_RESOURCE, 1, 1);
        expect_counts(L40S_RESOURCE, 7, 7);
        const int64_t usual_ms = time_admission("usual", L40S_RESOURCE);

        struct process holder = hold_node("/dev/nvidia0");
        int64_t start = now_ms();
        admission_start(&first, "unlucky", FIRST_RESOURCE);
        assert_true(await_driver(FIRST, "", 10000)); /* the link goes before the driver is asked */
        for (char pod[] = "pod-2"; pod[4] < '8'; pod[4]++) {
                int64_t took_ms = time_admission(pod, L40S_RESOURCE);
                if (took_ms > 3 * usual_ms + 1000)
                        fail_msg("%s waited %lld ms, without the hang it was %lld ms", pod, (long long)took_ms, (long long)usual_ms);
        }
        assert_int_equal(n_bound(), 7);
        assert_true(now_ms() - start < 15000); /* while the first one's hand was still being waited for */
        assert_false(admission_end(&first));
        if (strstr(first.text, FIRST) == NULL || strstr(first.text, "[deadline]") == NULL)
                fail_msg("not about the card and its time: %s", first.text);
        expect_counts(FIRST_RESOURCE, 1, 0);
        expect_counts(L40S_RESOURCE, 7, 7);

        /* A task that nothing can end is no reason not to end, or not to begin. */
        start = now_ms();
        daemon_stop(SIGTERM);
        assert_true(now_ms() - start < 10000);
        unsigned before = fk_registers(node_kubelet());
        daemon_start();
        await_registered(before);
        expect_counts(L40S_RESOURCE, 7, 7);
        expect_counts(FIRST_RESOURCE, 1, 0); /* remembered */
        expect_refused("again", FIRST_RESOURCE, NULL, NULL);
        fk_pod_end(node_kubelet(), "usual");
        (void)time_admission("after", L40S_RESOURCE);

        (void)stop_process(&holder, SIGKILL);
        await_hand(FIRST); /* the hand comes back; the card is not trusted again in this boot */
        expect_refused("still", FIRST_RESOURCE, NULL, NULL);
        expect_counts(FIRST_RESOURCE, 1, 0);
        node_stop();
}

static void test_one_request_for_eight_cards_takes_the_time_of_one(void **state)
{
        struct fk_run run = { 0 };

        (void)state;
        load_nvidia("slow_remove_ms=2000");
        (void)node_start("eight-at-once", RULE("ids: [\"10de:26b9\"]"));
        expect_counts(L40S_RESOURCE, CARDS, CARDS);
        int64_t start = now_ms();
        allocate("pod", L40S_RESOURCE, CARDS, &run);
        int64_t took_ms = now_ms() - start;
        assert_string_equal(fk_run_env(&run, L40S_VARIABLE),
                            CARD(1) "," CARD(2) "," CARD(3) "," CARD(4) "," CARD(5) "," CARD(6) "," CARD(7) "," CARD(8));
        assert_int_equal(run.n_devices, 1 + CARDS);
        fk_run_done(&run);
        assert_int_equal(n_bound(), CARDS);
        assert_true(took_ms >= 2000 && took_ms < (CARDS - 1) * 2000); /* one after the other: 16 s; the machine may be busy */
        (void)printf("# 8 cards of 2 s each were bound by one request in %.1f s\n", (double)took_ms / 1000);
        assert_int_equal(use_device(group_of(CARD(8)), CARD(8), NULL), VFIO_USABLE);
        node_stop();
}

/* ---- figures, for `make bench` ---- */

enum { FIGURE_ROUNDS = 5 };

static double now_us(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
        return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

static double median(double *v, size_t n)
{
        qsort(v, n, sizeof(*v), by_value);
        return v[n / 2];
}

static void *bind_by_hand(void *bdf)
{
        (void)kernel_write("vfio-pci", PCI "%s/driver_override", (const char *)bdf);
        (void)kernel_write(bdf, PCI "%s/driver/unbind", (const char *)bdf);
        (void)kernel_write(bdf, "/sys/bus/pci/drivers_probe");
        return NULL;
}

static void restore_cards(void)
{
        for (size_t i = 0; i < CARDS; i++)
                restore_function(cards[i], "nvidia");
}

/* What the kernel takes for the first @n cards, each written to by a thread of its own, as the hands do. */
static double kernel_us(size_t n)
{
        double took[FIGURE_ROUNDS];
        pthread_t threads[CARDS];

        for (size_t round = 0; round < FIGURE_ROUNDS; round++) {
                double start = now_us();
                for (size_t i = 0; i < n; i++)
                        assert_int_equal(pthread_create(&threads[i], NULL, bind_by_hand, (void *)(uintptr_t)cards[i]), 0);
                for (size_t i = 0; i < n; i++)
                        (void)pthread_join(threads[i], NULL);
                took[round] = now_us() - start;
                assert_int_equal(n_bound(), n);
                restore_cards();
        }
        return median(took, FIGURE_ROUNDS);
}

static double allocate_us(size_t n)
{
        double took[FIGURE_ROUNDS];
        char text[FK_TEXT_MAX];

        for (size_t round = 0; round < FIGURE_ROUNDS; round++) {
                expect_counts(L40S_RESOURCE, CARDS, CARDS);
                sleep_ms(300); /* lint: the hand for the next plan is made ready */
                double start = now_us();
                if (fk_admit_one(node_kubelet(), "pod", L40S_RESOURCE, n, text) != 0)
                        fail_msg("the pod is not admitted: %s", text);
                took[round] = now_us() - start;
                assert_int_equal(n_bound(), n);
                fk_pod_end(node_kubelet(), "pod");
                restore_cards();
        }
        return median(took, FIGURE_ROUNDS);
}

/* The same binds by plain writes and by Allocate: the difference is Sluice's, and the socket's. */
static void test_figures_of_a_bind_and_of_eight(void **state)
{
        (void)state;
        load_nvidia("");
        double kernel_1 = kernel_us(1), kernel_8 = kernel_us(CARDS);
        daemon_set_quiet();
        (void)node_start("eight-figures", RULE("ids: [\"10de:26b9\"]"));
        double allocate_1 = allocate_us(1), allocate_8 = allocate_us(CARDS);
        (void)printf("# figure bind-1-kernel %.2f\n# figure bind-1-allocate %.2f\n", kernel_1 / 1e3, allocate_1 / 1e3);
        (void)printf("# figure bind-8-kernel %.2f\n# figure bind-8-allocate %.2f\n", kernel_8 / 1e3, allocate_8 / 1e3);
        node_stop();
}

int node_suite_eight(void)
{
        const struct CMUnitTest node[] = {
                NODE_TEST(test_remove_that_hangs_on_a_holder_costs_one_card_and_delays_none),
                NODE_TEST(test_one_request_for_eight_cards_takes_the_time_of_one),
                NODE_TEST(test_figures_of_a_bind_and_of_eight),
        };
        return RUN_SUITE(node);
}
