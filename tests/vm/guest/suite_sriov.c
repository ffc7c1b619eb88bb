/* SPDX-License-Identifier: Apache-2.0 */
/* Topology sriov: virtual functions and vGPU instances of the stand-in driver. */
#include "guest.h"

#include <errno.h>
#include <limits.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "reactions.h"

#define PF "0000:01:00.0"
#define VF0 "0000:01:00.4"
#define UUID "aaaaaaaa-1111-4222-8333-444444444444"

static void test_vgpu_instance_can_be_used(void **state)
{
        (void)state;
        load_nvidia("mdev=1");
        assert_int_equal(kernel_write("4", PCI PF "/sriov_numvfs"), 0);
        assert_string_equal(kernel_link(PCI PF "/virtfn0"), VF0);
        assert_string_equal(kernel_read(PCI VF0 "/mdev_supported_types/nvidia-1152/name"), "NVIDIA L40S-8Q");
        assert_int_equal(kernel_write(UUID, PCI VF0 "/mdev_supported_types/nvidia-1152/create"), 0);
        assert_int_equal(use_device(kernel_link("/sys/bus/mdev/devices/" UUID "/iommu_group"), UUID, NULL), VFIO_USABLE);
        assert_int_equal(kernel_write("1", "/sys/bus/mdev/devices/" UUID "/remove"), 0);
        assert_int_equal(kernel_write("0", PCI PF "/sriov_numvfs"), 0);
}

static void test_vendor_vfio_function_with_a_type_can_be_used_on_its_own_driver(void **state)
{
        char output[OUTPUT_BYTES];

        (void)state;
        load_nvidia("vendor_vfio=1");
        assert_int_equal(kernel_write("2", PCI PF "/sriov_numvfs"), 0);
        assert_string_equal(kernel_read(PCI VF0 "/nvidia/current_vgpu_type"), "0");
        assert_false(kernel_exists("/dev/vfio/%s", group_of(VF0)));
        assert_int_equal(kernel_write("4711", PCI VF0 "/nvidia/current_vgpu_type"), -EINVAL);
        assert_int_equal(kernel_write("1155", PCI VF0 "/nvidia/current_vgpu_type"), 0);
        assert_string_equal(kernel_read(PCI VF0 "/nvidia/current_vgpu_type"), "1155");
        assert_string_equal(kernel_read(PCI VF0 "/nvidia/creatable_vgpu_types"), "ID    : vGPU Name");
        assert_true(kernel_exists(PCI VF0 "/vfio-dev"));
        assert_string_equal(driver_of(VF0), "nvidia");
        assert_int_equal(use_device(group_of(VF0), VF0, output), VFIO_USABLE);
        assert_int_equal(kernel_write("0", PCI VF0 "/nvidia/current_vgpu_type"), 0);
        assert_false(kernel_exists(PCI VF0 "/vfio-dev"));
        assert_int_equal(kernel_write("0", PCI PF "/sriov_numvfs"), 0);
}

/* What pkg/host relies on: the kernel sends no uevent of it. */
static void test_a_vgpu_type_that_is_written_is_told_by_inotify(void **state)
{
        char event[sizeof(struct inotify_event) + NAME_MAX + 1];

        (void)state;
        load_nvidia("vendor_vfio=1");
        assert_int_equal(kernel_write("2", PCI PF "/sriov_numvfs"), 0);
        int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        assert_true(inotify_add_watch(fd, PCI VF0 "/nvidia/current_vgpu_type", IN_MODIFY) > 0);
        assert_string_equal(kernel_read(PCI VF0 "/nvidia/current_vgpu_type"), "0");
        assert_true(read(fd, event, sizeof(event)) < 0);
        assert_int_equal(kernel_write("1155", PCI VF0 "/nvidia/current_vgpu_type"), 0);
        assert_true(read(fd, event, sizeof(event)) > 0);
        (void)close(fd);
        assert_int_equal(kernel_write("0", PCI VF0 "/nvidia/current_vgpu_type"), 0);
        assert_int_equal(kernel_write("0", PCI PF "/sriov_numvfs"), 0);
}

#define VF1 "0000:01:00.5"
#define UUID2 "bbbbbbbb-1111-4222-8333-444444444444"

/* VFs with one instance each; the cases use them up. */
static void make_instances(void)
{
        if (!kernel_exists(PCI VF0))
                assert_int_equal(kernel_write("4", PCI PF "/sriov_numvfs"), 0);
        if (!kernel_exists("/sys/bus/mdev/devices/" UUID))
                assert_int_equal(kernel_write(UUID, PCI VF0 "/mdev_supported_types/nvidia-1152/create"), 0);
        if (!kernel_exists("/sys/bus/mdev/devices/" UUID2))
                assert_int_equal(kernel_write(UUID2, PCI VF1 "/mdev_supported_types/nvidia-1152/create"), 0);
}

const struct reaction_word sriov_words[] = {
        { "$PF", PF },      { "$PFDRIVER", "nvidia" }, { "$MDEV", UUID },
        { "$PARENT", VF0 }, { "$PARENTDRIVER", "nvidia" }, { "$MDEV2", UUID2 },
        { "$PARENT2", VF1 }, { "$PARENT2DRIVER", "nvidia" }, { NULL, NULL },
};

int suite_sriov(void)
{
        int failed = 0;
        const struct CMUnitTest rig[] = {
                cmocka_unit_test(test_vgpu_instance_can_be_used),
                cmocka_unit_test(test_vendor_vfio_function_with_a_type_can_be_used_on_its_own_driver),
                cmocka_unit_test(test_a_vgpu_type_that_is_written_is_told_by_inotify),
        };
        failed += RUN_SUITE(rig);
        load_nvidia("mdev=1");
        failed += run_reactions("reactions", sriov_words, make_instances);
        (void)kernel_write("0", PCI PF "/sriov_numvfs");
        failed += node_suite_sriov();
        return failed;
}
