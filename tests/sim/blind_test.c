/* SPDX-License-Identifier: Apache-2.0 */
/* A daemon that may not look into other processes (no ptrace right, or the /proc of its own pid namespace): what is bound already
 * is given on kubelet's word, since nothing is touched; no host driver is let go of but by its own gate. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"

#define GPU0     "0000:18:00.0"
#define FLEX     "0000:4d:00.0"
#define FLEX_RES "intel.com/ATSM_DATA_CENTER_GPU_FLEX_170"
enum { FAILED_PRECONDITION = 9 };

static void begin(struct rig *rig, const char *fixture, const char *config)
{
        rig_prepare(rig, fixture, config);
        _cleanup_free_ char *self = xasprintf("%s/proc/self", rig->sim_dir); /* without the rights that it would tell of */
        assert_int_equal(mkdir(self, 0755), 0);
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
}

static void test_what_is_bound_is_given_on_kubelets_word(void **state)
{
        static const char *const id = GPU0;
        struct rig *rig = *state;
        struct err err;

        begin(rig, "l40s-8-vfio", NULL);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_raw_allocate(rig->k, L40S, &id, 1, rig->text), 0);
        ASSERT_OK(sim_hold(rig->sim, "dev/vfio/23", 4712, "qemu-kvm", &err), &err);
        _cleanup_free_ char *before = rig_tree(rig);
        int64_t start = clock_ms();
        assert_int_equal(fk_raw_allocate(rig->k, L40S, &id, 1, rig->text), 0);
        assert_true(clock_ms() - start < 1500); /* nothing to wait for */
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        rig_stop(rig);
}

static void test_no_host_driver_is_let_go_of_blindly(void **state)
{
        static const char *const id = FLEX;
        struct rig *rig = *state;

        begin(rig, "flex-170", CONFIG "rules:\n  - bind: on-allocate\n");
        rig_ready(rig, FLEX_RES, 1, 1);
        _cleanup_free_ char *before = rig_tree(rig);
        assert_int_equal(fk_raw_allocate(rig->k, FLEX_RES, &id, 1, rig->text), FAILED_PRECONDITION);
        assert_non_null(strstr(rig->text, "[holders-unknown]"));
        assert_non_null(strstr(rig->text, FLEX));
        assert_non_null(strstr(rig->text, "CAP_SYS_PTRACE")); /* what to do */
        assert_driver(rig, FLEX, "i915");
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        rig_stop(rig);
}

static void test_a_driver_with_a_gate_of_its_own_is_asked(void **state)
{
        static const char *const id = GPU0;
        struct rig *rig = *state;

        begin(rig, "l40s-8", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_raw_allocate(rig->k, L40S, &id, 1, rig->text), 0); /* unbindLock said idle */
        assert_driver(rig, GPU0, "vfio-pci");
        rig_stop(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_what_is_bound_is_given_on_kubelets_word),
                RIG_TEST(test_no_host_driver_is_let_go_of_blindly),
                RIG_TEST(test_a_driver_with_a_gate_of_its_own_is_asked),
        };

        return RUN(tests);
}
