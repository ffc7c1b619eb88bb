/* SPDX-License-Identifier: Apache-2.0 */
/* What a device is bound to, and what keeps it from being bound. */
#include "rig.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"

#define GH200       "nvidia.com/GH100_GH200_120GB___480GB"
#define GH200_ENV   "PCI_RESOURCE_NVIDIA_COM_GH100_GH200_120GB___480GB"
#define ANY_GPU     CONFIG "rules:\n  - select: {ids: [\"10de:*\"]}\n    bind: on-allocate\n"
#define ANY_AT_ONCE CONFIG "rules:\n  - select: {ids: [\"10de:*\"]}\n    bind: at-start\n"

enum { DEADLINE_EXCEEDED = 4, FAILED_PRECONDITION = 9 };

static const char GRACE0[] = "0009:01:00.0", GRACE1[] = "0019:01:00.0";

static void test_a_device_goes_to_the_vfio_driver_that_is_made_for_it(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "grace-gh200-host", "1.34", ANY_GPU);
        rig_ready(rig, GH200, 2, 2);
        assert_driver(rig, GRACE0, "nvidia");
        struct fk_run run = rig_run(rig, "pod", GH200, 2);
        assert_string_equal(fk_run_env(&run, GH200_ENV), "0009:01:00.0,0019:01:00.0");
        assert_driver(rig, GRACE0, "nvgrace_gpu_vfio_pci");
        assert_driver(rig, GRACE1, "nvgrace_gpu_vfio_pci");
        assert_true(rig_has_node(&run, "/dev/vfio/5"));
        fk_run_done(&run);
        rig_stop(rig);
}

static void test_a_variant_that_is_not_loaded_is_waited_for_and_not_passed_over(void **state)
{
        struct rig *rig = *state;
        char driver[160];

        rig_prepare(rig, "grace-gh200-host", ANY_AT_ONCE);
        str_format(driver, sizeof(driver), "%s/sys/bus/pci/drivers/nvgrace_gpu_vfio_pci", rig->sim_dir);
        char hidden[200];
        str_format(hidden, sizeof(hidden), "%s/nvgrace", rig->dir);
        assert_int_equal(rename(driver, hidden), 0);
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, GH200, 2, 0);
        assert_true(rig_logged(rig, "variant-driver-not-loaded", RIG_SOON_MS));
        assert_driver(rig, GRACE0, "nvidia");
        assert_int_equal(rename(hidden, driver), 0); /* modprobe */
        assert_true(rig_wait_health(rig, GH200, GRACE0, "Healthy", RIG_SOON_MS));
        rig_ready(rig, GH200, 2, 2);
        assert_true(rig_logged(rig, "0009:01:00.0 is bound", RIG_SOON_MS));
        assert_driver(rig, GRACE0, "nvgrace_gpu_vfio_pci");
        rig_stop(rig);
}

static void test_a_module_that_is_missing_is_loaded_where_that_is_allowed(void **state)
{
        struct rig *rig = *state;
        char path[160];

        rig_prepare(rig, "grace-gh200-host", CONFIG "loadModules: true\nrules:\n  - select: {ids: [\"10de:*\"]}\n    bind: on-allocate\n");
        str_format(path, sizeof(path), "%s/sys/bus/pci/drivers/nvgrace_gpu_vfio_pci", rig->sim_dir);
        char hidden[200];
        str_format(hidden, sizeof(hidden), "%s/nvgrace", rig->dir);
        assert_int_equal(rename(path, hidden), 0);
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, GH200, 2, 2);
        struct fk_run run = rig_run(rig, "pod", GH200, 1);
        const char *id = fk_run_env(&run, GH200_ENV);
        assert_non_null(id);
        assert_driver(rig, id, "nvgrace_gpu_vfio_pci");
        fk_run_done(&run);
        rig_stop(rig);
}

static void test_whoever_set_a_driver_override_is_named(void **state)
{
        static const char GPU0[] = "0000:18:00.0";
        const char *ids[] = { GPU0 };
        struct rig *rig = *state;
        char path[160];
        struct err err;

        rig_prepare(rig, "l40s-8", ON_ALLOCATE);
        ASSERT_OK(sim_write(rig->sim, "bus/pci/devices/0000:18:00.0/driver_override", "pci-stub", &err), &err);
        for (const char *const *dir = (const char *const[]){ "etc", "etc/driverctl.d", NULL }; *dir; dir++) {
                str_format(path, sizeof(path), "%s/%s", rig->sim_dir, *dir);
                assert_int_equal(fs_mkdir(AT_FDCWD, path, 0755), 0);
        }
        str_format(path, sizeof(path), "%s/etc/driverctl.d/pci-%s", rig->sim_dir, GPU0);
        ASSERT_OK(fs_replace(AT_FDCWD, path, "pci-stub\n", 9, 0644, &err), &err);
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        /* Whether the probing hand or the binding one finds it first, it is refused; then it is known who it was. */
        for (int64_t until = clock_ms() + RIG_SOON_MS; !strstr(rig->text, "driverctl (/etc/driverctl.d/pci-0000:18:00.0) has set");) {
                assert_true(clock_ms() < until);
                assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), FAILED_PRECONDITION);
                assert_non_null(strstr(rig->text, "[foreign-owner]"));
                (void)usleep(1000 * 1000); /* a plan of ours makes the next look read it anew */
        }
        assert_driver(rig, GPU0, "nvidia");
        rig_stop(rig);
}

/* ---- many hands that hang ---- */

enum { HANGING = 32 /* HANDS_MAX_STUCK */, BESIDE = 4 };
#define ALL      "nvidia.com/gpu"
#define ONE_POOL CONFIG "bindDeadline: 1s\nrules:\n  - select: {ids: [\"10de:*\"]}\n    resource: " ALL "\n    bind: on-allocate\n"

struct call {
        struct rig *rig;
        char id[16];
        int code;
        char text[FK_TEXT_MAX];
        pthread_t thread;
};

static void *call_once(void *arg)
{
        struct call *call = arg;
        const char *ids[] = { call->id };

        call->code = fk_raw_allocate(call->rig->k, ALL, ids, 1, call->text);
        return NULL;
}

/* The addresses of the GPUs of the host, in order. */
static size_t find_gpus(struct rig *rig, struct call *calls, size_t max)
{
        _cleanup_fs_list_ struct fs_list devices = { 0 };
        size_t n = 0;
        struct err err;

        ASSERT_OK(fs_list(sim_tree(rig->sim)->sys, "bus/pci/devices", &devices, &err), &err);
        for (size_t i = 0; i < devices.n && n < max; i++) {
                char driver[64];
                rig_driver(rig, devices.names[i], driver, sizeof(driver));
                if (!streq(driver, "nvidia"))
                        continue;
                calls[n] = (struct call){ .rig = rig };
                (void)str_copy(calls[n++].id, sizeof(calls[0].id), devices.names[i]);
        }
        return n;
}

static void call_all(struct call *calls, size_t n)
{
        for (size_t i = 0; i < n; i++)
                assert_int_equal(pthread_create(&calls[i].thread, NULL, call_once, &calls[i]), 0);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(pthread_join(calls[i].thread, NULL), 0);
}

/* A driver that lets none of its GPUs go must not fill the machine with processes that nobody can end. */
static void test_a_number_of_hands_may_hang_and_then_no_plan_begins_any_more(void **state)
{
        static struct call calls[HANGING + BESIDE];
        struct rig *rig = *state;
        char line[64];

        rig_open(rig, "gpus-64-of-16", "1.34", ONE_POOL);
        rig_ready(rig, ALL, 64, 64);
        assert_int_equal(find_gpus(rig, calls, N_ELEMENTS(calls)), N_ELEMENTS(calls));
        rig_fault(rig, "unbind * hang");
        call_all(calls, HANGING);
        for (size_t i = 0; i < HANGING; i++)
                if (calls[i].code != DEADLINE_EXCEEDED)
                        fail_msg("%s: %d %s", calls[i].id, calls[i].code, calls[i].text);
        rig_ready(rig, ALL, 64, 64 - HANGING);

        call_all(calls + HANGING, BESIDE);
        str_format(line, sizeof(line), "%d hands hang in the kernel", HANGING);
        for (size_t i = HANGING; i < HANGING + BESIDE; i++) {
                if (!strstr(calls[i].text, line))
                        fail_msg("%s: %d %s", calls[i].id, calls[i].code, calls[i].text);
                assert_driver(rig, calls[i].id, "nvidia");
        }
        /* It can be ended and replaced, and the next one leaves alone what hangs. */
        int64_t before = clock_ms();
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        assert_true(clock_ms() - before < 5000);
        rig_daemon(rig);
        rig_ready(rig, ALL, 64, 64 - HANGING);
        rig_fault(rig, "");
        call_all(calls + HANGING, BESIDE);
        for (size_t i = HANGING; i < HANGING + BESIDE; i++)
                if (calls[i].code != 0)
                        fail_msg("%s: %d %s", calls[i].id, calls[i].code, calls[i].text);
        rig_stop(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_a_device_goes_to_the_vfio_driver_that_is_made_for_it),
                RIG_TEST(test_a_variant_that_is_not_loaded_is_waited_for_and_not_passed_over),
                RIG_TEST(test_a_module_that_is_missing_is_loaded_where_that_is_allowed),
                RIG_TEST(test_whoever_set_a_driver_override_is_named),
                RIG_TEST(test_a_number_of_hands_may_hang_and_then_no_plan_begins_any_more),
        };

        return RUN(tests);
}
