/* SPDX-License-Identifier: Apache-2.0 */
/* Topology sriov: virtual functions, vGPU instances made beforehand, and their physical function. */
#include "node.h"

#include <signal.h>
#include <string.h>

#include "base/str.h"

#define PF          "0000:01:00.0"
#define VF0         "0000:01:00.4"
#define VF1         "0000:01:00.5"
#define VF_RESOURCE "test.example/VF"
#define UUID        "aaaaaaaa-1111-4222-8333-444444444444"

static void make_vfs(const char *parameters, const char *n)
{
        load_nvidia(parameters);
        assert_int_equal(kernel_write(n, PCI PF "/sriov_numvfs"), 0);
}

static void test_virtual_functions_are_offered_and_their_physical_function_is_withheld(void **state)
{
        struct fk_run run = { 0 };

        (void)state;
        make_vfs("", "2");
        (void)node_start("vfs", RULE("ids: [\"10de:26b9\"]"));
        expect_counts(L40S_RESOURCE, 2, 2);
        assert_string_equal(inventory_reason(PF, NULL), "pf-has-vfs");
        allocate("pod", L40S_RESOURCE, 2, &run);
        assert_string_equal(fk_run_env(&run, L40S_VARIABLE), VF0 "," VF1);
        assert_int_equal(run.n_devices, 3);
        fk_run_done(&run);
        assert_int_equal(use_device(group_of(VF0), VF0, NULL), VFIO_USABLE);
        assert_int_equal(use_device(group_of(VF1), VF1, NULL), VFIO_USABLE);
        assert_string_equal(driver_of(PF), "nvidia");
        assert_string_equal(kernel_read(PCI PF "/sriov_numvfs"), "2");
        node_stop();
}

/* The daemon is asleep while the world changes: it hears of it and of the request in one moment. */
static void test_virtual_functions_made_between_list_and_allocate_are_not_taken_away(void **state)
{
        struct admission pod;

        (void)state;
        load_nvidia("");
        (void)node_start("late-vfs", CONFIG_HEAD "rules:\n- select: {role: vf}\n  bind: on-allocate\n  resource: " VF_RESOURCE "\n"
                                                 "- select: {role: pf}\n  bind: on-allocate\n");
        expect_counts(L40S_RESOURCE, 1, 1);
        (void)kill(daemon_pid(), SIGSTOP);
        assert_int_equal(kernel_write("2", PCI PF "/sriov_numvfs"), 0);
        admission_start(&pod, "pod", L40S_RESOURCE);
        sleep_ms(500);
        (void)kill(daemon_pid(), SIGCONT);
        assert_false(admission_end(&pod));
        if (strstr(pod.text, PF) == NULL)
                fail_msg("does not name the card: %s", pod.text);
        assert_string_equal(driver_of(PF), "nvidia");
        assert_string_equal(kernel_read(PCI PF "/sriov_numvfs"), "2");
        expect_counts(L40S_RESOURCE, 1, 0);
        expect_counts(VF_RESOURCE, 2, 2);
        assert_string_equal(inventory_reason(PF, NULL), "pf-has-vfs");

        struct fk_run run = { 0 };
        allocate("vfs", VF_RESOURCE, 2, &run);
        assert_string_equal(fk_run_env(&run, "PCI_RESOURCE_TEST_EXAMPLE_VF"), VF0 "," VF1);
        fk_run_done(&run);
        struct process user = hold_device(group_of(VF1), VF1);
        unsigned before = fk_registers(node_kubelet());
        daemon_stop(SIGKILL);
        daemon_start();
        await_registered(before);
        expect_counts(VF_RESOURCE, 2, 2);
        assert_string_equal(kernel_read(PCI PF "/sriov_numvfs"), "2");
        assert_int_equal(kill(user.pid, 0), 0);
        (void)stop_process(&user, SIGKILL);
        node_stop();
}

static void test_physical_function_without_virtual_ones_is_a_whole_gpu(void **state)
{
        (void)state;
        load_nvidia("");
        (void)node_start("whole-pf", RULE("ids: [\"10de:26b9\"]"));
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_device_becomes_usable("pod", L40S_RESOURCE, L40S_VARIABLE, PF);
        node_stop();
}

static void test_vgpu_instance_made_beforehand_is_offered_and_answered(void **state)
{
        struct fk_run run = { 0 };

        (void)state;
        make_vfs("mdev=1", "2");
        assert_int_equal(kernel_write(UUID, PCI VF0 "/mdev_supported_types/nvidia-1152/create"), 0);
        (void)node_start("mdev", NULL);
        expect_counts("nvidia.com/NVIDIA_L40S-8Q", 1, 1);
        assert_int_equal(fk_resources(node_kubelet(), NULL, 0), 1);
        allocate("pod", "nvidia.com/NVIDIA_L40S-8Q", 1, &run);
        const char *group = kernel_link("/sys/bus/mdev/devices/" UUID "/iommu_group");
        expect_answer(&run, "MDEV_PCI_RESOURCE_NVIDIA_COM_NVIDIA_L40S-8Q", UUID, group);
        fk_run_done(&run);
        assert_int_equal(use_device(group, UUID, NULL), VFIO_USABLE);
        assert_string_equal(driver_of(VF0), "nvidia");
        node_stop();
}

static void test_vgpu_instance_that_is_removed_turns_unhealthy(void **state)
{
        (void)state;
        make_vfs("mdev=1", "2");
        assert_int_equal(kernel_write(UUID, PCI VF0 "/mdev_supported_types/nvidia-1152/create"), 0);
        (void)node_start("mdev-removed", NULL);
        expect_counts("nvidia.com/NVIDIA_L40S-8Q", 1, 1);
        assert_int_equal(kernel_write("1", "/sys/bus/mdev/devices/" UUID "/remove"), 0);
        expect_counts("nvidia.com/NVIDIA_L40S-8Q", 1, 0);
        assert_int_equal(kernel_write(UUID, PCI VF0 "/mdev_supported_types/nvidia-1152/create"), 0);
        expect_counts("nvidia.com/NVIDIA_L40S-8Q", 1, 1);
        node_stop();
}

static void test_vendor_vfio_function_with_a_type_is_handed_out_on_its_own_driver(void **state)
{
        struct fk_run run = { 0 };

        (void)state;
        make_vfs("vendor_vfio=1", "2");
        assert_int_equal(kernel_write("1155", PCI VF0 "/nvidia/current_vgpu_type"), 0);
        (void)node_start("vendor-vfio", NULL);
        expect_counts("nvidia.com/NVIDIA_L40S-24Q", 1, 1);
        assert_string_equal(inventory_reason(VF1, NULL), "no-vgpu-type");
        allocate("pod", "nvidia.com/NVIDIA_L40S-24Q", 1, &run);
        expect_answer(&run, "PCI_RESOURCE_NVIDIA_COM_NVIDIA_L40S-24Q", VF0, group_of(VF0));
        fk_run_done(&run);
        assert_int_equal(use_device(group_of(VF0), VF0, NULL), VFIO_USABLE);
        assert_string_equal(driver_of(VF0), "nvidia");
        assert_string_equal(kernel_read(PCI VF0 "/nvidia/current_vgpu_type"), "1155");
        node_stop();
}

#define UUID2 "bbbbbbbb-1111-4222-8333-444444444444"

static void test_physical_function_that_carries_instances_is_withheld(void **state)
{
        struct fk_run run = { 0 };

        (void)state;
        load_nvidia("mdev_on_pf=1");
        assert_int_equal(kernel_write(UUID, PCI PF "/mdev_supported_types/nvidia-1152/create"), 0);
        assert_int_equal(kernel_write(UUID2, PCI PF "/mdev_supported_types/nvidia-1152/create"), 0);
        (void)node_start("mdev-on-pf", CONFIG_HEAD "rules:\n- select: {}\n  bind: at-start\n");
        expect_counts("nvidia.com/NVIDIA_L40S-8Q", 2, 2);
        assert_string_equal(inventory_reason(PF, NULL), "mdev-parent");
        allocate("pod", "nvidia.com/NVIDIA_L40S-8Q", 2, &run);
        assert_string_equal(fk_run_env(&run, "MDEV_PCI_RESOURCE_NVIDIA_COM_NVIDIA_L40S-8Q"), UUID "," UUID2);
        assert_int_equal(run.n_devices, 3);
        fk_run_done(&run);
        assert_int_equal(use_device(kernel_link("/sys/bus/mdev/devices/" UUID2 "/iommu_group"), UUID2, NULL), VFIO_USABLE);
        assert_string_equal(driver_of(PF), "nvidia");
        node_stop();
}

int node_suite_sriov(void)
{
        const struct CMUnitTest node[] = {
                NODE_TEST(test_virtual_functions_are_offered_and_their_physical_function_is_withheld),
                NODE_TEST(test_virtual_functions_made_between_list_and_allocate_are_not_taken_away),
                NODE_TEST(test_physical_function_without_virtual_ones_is_a_whole_gpu),
                NODE_TEST(test_vgpu_instance_made_beforehand_is_offered_and_answered),
                NODE_TEST(test_vgpu_instance_that_is_removed_turns_unhealthy),
                NODE_TEST(test_physical_function_that_carries_instances_is_withheld),
                NODE_TEST(test_vendor_vfio_function_with_a_type_is_handed_out_on_its_own_driver),
        };
        return RUN_SUITE(node);
}
