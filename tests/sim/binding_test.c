/* SPDX-License-Identifier: Apache-2.0 */
/* What a device is bound to, and what keeps it from being bound. */
#include "rig.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

#define GH200       "nvidia.com/GH100_GH200_120GB___480GB"
#define GH200_ENV   "PCI_RESOURCE_NVIDIA_COM_GH100_GH200_120GB___480GB"
#define ANY_GPU     CONFIG "rules:\n  - select: {ids: [\"10de:*\"]}\n    bind: on-allocate\n"
#define ANY_AT_ONCE CONFIG "rules:\n  - select: {ids: [\"10de:*\"]}\n    bind: at-start\n"

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

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_a_device_goes_to_the_vfio_driver_that_is_made_for_it),
                RIG_TEST(test_a_variant_that_is_not_loaded_is_waited_for_and_not_passed_over),
        };

        return RUN(tests);
}
