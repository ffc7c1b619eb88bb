/* SPDX-License-Identifier: Apache-2.0 */
/* There and back on captured hosts: a bind that ends after any of its steps, as a killed hand's does, and the plan that gives
 * back what it had done. */
#include "../unit.h"

#include "core/claim.h"
#include "core/group.h"
#include "hands/worker.h"
#include "hands/wire.h"
#include "host.h"
#include "host/host.h"

static bool take(void *ctx, const struct report *report)
{
        struct report *last = ctx;

        *last = *report;
        return true;
}

static enum plan_end execute(struct host *host, const struct plan *plan, struct report *last)
{
        _cleanup_kernel_ struct kernel *kernel = NULL;
        struct err err;

        ASSERT_OK(wire_plan_valid(plan, sizeof(*plan), &err), &err);
        ASSERT_OK(kernel_open(&kernel, host->sim_dir, &err), &err);
        return worker_execute(kernel, host->locks, plan, take, last);
}

static struct inventory *look(struct host *host)
{
        struct inventory *inv;
        struct err err;

        ASSERT_OK(host_scan(sim_tree(host->sim), NULL, true, &inv, &err), &err);
        return inv;
}

static void make(struct host *host, const char *fixture)
{
        static char text[1 << 20];
        char path[128];
        struct err err;
        size_t n;

        (void)snprintf(path, sizeof(path), "tests/fixtures/hosts/%s.capture", fixture);
        ASSERT_OK(fs_read(AT_FDCWD, path, text, sizeof(text), &n, &err), &err);
        host_make_of(host, text, n);
        /* A class outlives its devices, so that it would differ after the first bind. */
        (void)fs_mkdir(host->dir, "sys/class", 0755);
        assert_int_equal(fs_mkdir(host->dir, "sys/class/vfio-dev", 0755), 0);
}

static void plan_to_bind(const struct inventory *inv, const char *id, struct plan *ret)
{
        struct rules rules;
        struct device device = { .kind = DEVICE_GPU, .rule = 1, .bind = BIND_ON_ALLOCATE };
        const struct device *pointer = &device;
        struct err err;

        str_format(device.id, sizeof(device.id), "%s", id);
        assert_true(bdf_parse(id, &device.bdf));
        rules_init(&rules);
        rules.implicit = false;
        rules.rules = xcalloc(1, sizeof(*rules.rules));
        rules.n_rules = 1;
        rule_init(rules.rules);
        rules.rules->bind = BIND_ON_ALLOCATE;
        if (plan_bind(inv, &rules, &pointer, 1, true, ret, &err) != REASON_NONE)
                fail_msg("%s", err.msg);
        rules_done(&rules);
}

enum { ORIGINALS_MAX = 16 };

/* What is known before the first write: every function that the plan probes. */
static size_t originals_of(const struct inventory *inv, const struct plan *plan, struct original *ret)
{
        size_t n = 0;

        for (uint32_t i = 0; i < plan->n_steps; i++) {
                if (plan->steps[i].kind != STEP_PROBE)
                        continue;
                const struct function *fn = inventory_function(inv, plan->steps[i].bdf);
                assert_true(n < ORIGINALS_MAX);
                ret[n] = (struct original){ .bdf = fn->bdf,
                                            .card = card_of(fn),
                                            .state = ORIGINAL_BINDING,
                                            .vendor = fn->vendor,
                                            .device = fn->device,
                                            .subvendor = fn->subvendor,
                                            .subdevice = fn->subdevice,
                                            .target = "vfio-pci" };
                (void)str_copy(ret[n].driver, sizeof(ret[n].driver), fn->driver);
                n++;
        }
        return n;
}

static void give_back(struct host *host, const struct original *originals, size_t n, const char *what)
{
        _cleanup_inventory_ struct inventory *inv = look(host);
        const struct original *pointers[ORIGINALS_MAX];
        struct plan plan;
        struct report last;
        struct err err;

        for (size_t i = 0; i < n; i++)
                pointers[i] = &originals[i];
        if (plan_restore(inv, pointers, n, &plan, &err) != REASON_NONE)
                fail_msg("%s: %s", what, err.msg);
        if (execute(host, &plan, &last) != PLAN_DONE)
                fail_msg("%s: %s", what, last.text);
}

/* Ends the bind of @id after its first @n_steps steps. False: it has no more. */
static bool there_and_back(const char *fixture, const char *id, uint32_t n_steps)
{
        struct host host;
        struct original originals[ORIGINALS_MAX];
        struct plan plan;
        struct report last;
        char what[96];

        (void)snprintf(what, sizeof(what), "%s, %s, after %u steps", fixture, id, n_steps);
        make(&host, fixture);
        struct inventory *inv = look(&host);
        plan_to_bind(inv, id, &plan);
        size_t n = originals_of(inv, &plan, originals);
        bool more = n_steps < plan.n_steps;
        plan.n_steps = n_steps < plan.n_steps ? n_steps : plan.n_steps;
        inventory_unref(inv);
        _cleanup_free_ char *before = host_picture(&host);
        if (execute(&host, &plan, &last) != PLAN_DONE)
                fail_msg("%s: %s", what, last.text);
        give_back(&host, originals, n, what);
        assert_host_unchanged(&host, before, what);
        give_back(&host, originals, n, what); /* again: a restore that was cut short is planned anew */
        assert_host_unchanged(&host, before, what);
        host_done(&host);
        return more;
}

static const struct {
        const char *fixture, *id;
} hosts[] = {
        { "l40s-8", "0000:18:00.0" },
        { "desktop-3090", "0000:01:00.0" },
        { "quadro-4fn", "0000:61:00.0" },
};

static void test_a_bind_that_ends_anywhere_can_be_given_back(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(hosts); i++)
                for (uint32_t n = 0; there_and_back(hosts[i].fixture, hosts[i].id, n); n++)
                        ;
}

/* Ends the way back after its first @n_steps steps, and goes it again. False: it has no more. */
static bool back_in_two(const char *fixture, const char *id, uint32_t n_steps)
{
        struct host host;
        struct original originals[ORIGINALS_MAX];
        const struct original *pointers[ORIGINALS_MAX];
        struct plan plan;
        struct report last;
        struct err err;
        char what[96];

        (void)snprintf(what, sizeof(what), "%s, %s, back after %u steps", fixture, id, n_steps);
        make(&host, fixture);
        struct inventory *inv = look(&host);
        plan_to_bind(inv, id, &plan);
        size_t n = originals_of(inv, &plan, originals);
        inventory_unref(inv);
        for (size_t i = 0; i < n; i++) {
                originals[i].state = ORIGINAL_RESTORING;
                pointers[i] = &originals[i];
        }
        _cleanup_free_ char *before = host_picture(&host);
        assert_int_equal(execute(&host, &plan, &last), PLAN_DONE);
        inv = look(&host);
        assert_int_equal(plan_restore(inv, pointers, n, &plan, &err), REASON_NONE);
        inventory_unref(inv);
        bool more = n_steps < plan.n_steps;
        plan.n_steps = n_steps < plan.n_steps ? n_steps : plan.n_steps;
        if (execute(&host, &plan, &last) != PLAN_DONE)
                fail_msg("%s: %s", what, last.text);
        give_back(&host, originals, n, what);
        /* The lock is the driver's state of this instance: it went with the driver. */
        assert_host_unchanged(&host, before, what);
        host_done(&host);
        return more;
}

static void test_a_way_back_that_ends_anywhere_is_gone_again(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(hosts); i++)
                for (uint32_t n = 0; back_in_two(hosts[i].fixture, hosts[i].id, n); n++)
                        ;
}

/* @spoil makes the restore of a bound card fail; it must be as before then, bound. */
static void check_refused(void (*spoil)(struct host *host), enum plan_end end, enum reason reason, const char *says)
{
        struct host host;
        struct original originals[ORIGINALS_MAX];
        const struct original *pointers[ORIGINALS_MAX];
        struct plan plan;
        struct report last;
        struct err err;

        make(&host, "desktop-3090");
        struct inventory *inv = look(&host);
        plan_to_bind(inv, "0000:01:00.0", &plan);
        size_t n = originals_of(inv, &plan, originals);
        for (size_t i = 0; i < n; i++)
                pointers[i] = &originals[i];
        inventory_unref(inv);
        assert_int_equal(execute(&host, &plan, &last), PLAN_DONE);
        inv = look(&host);
        assert_int_equal(plan_restore(inv, pointers, n, &plan, &err), REASON_NONE);
        inventory_unref(inv);
        spoil(&host);
        _cleanup_free_ char *before = host_picture(&host);
        enum plan_end got = execute(&host, &plan, &last);
        if (got != end || last.reason != reason || !strstr(last.text, says))
                fail_msg("%s, %s: %s", plan_end_name(got), reason_word(last.reason), last.text);
        assert_host_unchanged(&host, before, says);
        host_done(&host);
}

static void held(struct host *host)
{
        _cleanup_inventory_ struct inventory *inv = look(host);
        char node[32];
        struct err err;

        (void)snprintf(node, sizeof(node), "/dev/vfio/%d", inventory_function(inv, (struct bdf){ 0, 1, 0, 0 })->group);
        ASSERT_OK(sim_hold(host->sim, node, 4711, "qemu", &err), &err);
}

static void overridden(struct host *host)
{
        struct err err;

        ASSERT_OK(sim_write(host->sim, "bus/pci/devices/0000:01:00.0/driver_override", "nouveau", &err), &err);
}

static void stubborn(struct host *host)
{
        /* Once: the way back to VFIO goes through a probe, too. */
        host_fault(host, "drivers_probe 0000:01:00.0 ignore times 1");
}

static void test_what_must_not_be_given_back_stays_as_it_is(void **state)
{
        (void)state;
        check_refused(held, PLAN_REFUSED, REASON_HELD, "pid 4711 (qemu)");
        check_refused(overridden, PLAN_UNDONE, REASON_FOREIGN_OWNER, "somebody has set driver_override of 0000:01:00.0 to nouveau");
        check_refused(stubborn, PLAN_UNDONE, REASON_STEP_FAILED, "no driver instead of nvidia");
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_bind_that_ends_anywhere_can_be_given_back),
                TEST(test_a_way_back_that_ends_anywhere_is_gone_again),
                TEST(test_what_must_not_be_given_back_stays_as_it_is),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
