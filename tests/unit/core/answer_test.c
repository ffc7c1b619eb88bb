/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "core/answer.h"

#define L40S   "nvidia.com/AD102GL_L40S"
#define UUID_1 "4b20d080-1b54-4048-85b3-a6a62d165c01"
#define UUID_2 "c73f1fa6-489e-4834-9476-d70dabd98c40"

/* What the host says of one device. */
enum { NO_GROUP_NODE = 1, CDEV = 2, NOIOMMU = 4, VFS = 8, NO_TYPE = 16, ABSENT = 32 };
struct seen {
        const char *id; /* NULL ends */
        enum device_kind kind;
        const char *driver;
        int group, vfio_index;
        unsigned flags;
};

struct row {
        const char *title, *resource;
        struct seen seen[4];
        const char *asked[4]; /* in kubelet's order */
        bool no_vfio_node;
        int r;
        const char *err; /* part of the sentence */
        enum reason reason;
        const char *name, *value, *nodes; /* nodes joined by blanks */
};

static const struct row rows[] = {
        /* The forms of a device */
        { "a whole GPU with a cdev node",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, 0, CDEV } },
          { "0000:65:00.0" },
          .name = "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S",
          .value = "0000:65:00.0",
          .nodes = "/dev/vfio/vfio /dev/vfio/45 /dev/vfio/devices/vfio0" },
        { "two GPUs of one resource, asked in another order",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, -1, 0 }, { "0000:b1:00.0", DEVICE_GPU, "vfio-pci", 46, -1, 0 } },
          { "0000:b1:00.0", "0000:65:00.0" },
          .name = "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S",
          .value = "0000:65:00.0,0000:b1:00.0",
          .nodes = "/dev/vfio/vfio /dev/vfio/45 /dev/vfio/46" },
        { "an mdev vGPU: the group only",
          "nvidia.com/NVIDIA_A10-12Q",
          { { UUID_1, DEVICE_VGPU_MDEV, "nvidia-vgpu-vfio", 88, -1, 0 } },
          { UUID_1 },
          .name = "MDEV_PCI_RESOURCE_NVIDIA_COM_NVIDIA_A10-12Q",
          .value = UUID_1,
          .nodes = "/dev/vfio/vfio /dev/vfio/88" },
        { "a vendor-VFIO vGPU is a PCI device for KubeVirt",
          "nvidia.com/NVIDIA_L40S-24Q",
          { { "0000:26:00.4", DEVICE_VGPU_VF, "nvidia", 171, 3, CDEV } },
          { "0000:26:00.4" },
          .name = "PCI_RESOURCE_NVIDIA_COM_NVIDIA_L40S-24Q",
          .value = "0000:26:00.4",
          .nodes = "/dev/vfio/vfio /dev/vfio/171 /dev/vfio/devices/vfio3" },

        { "a kernel without group nodes: the cdev only",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, 7, NO_GROUP_NODE | CDEV } },
          { "0000:65:00.0" },
          .name = "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S",
          .value = "0000:65:00.0",
          .nodes = "/dev/vfio/vfio /dev/vfio/devices/vfio7" },
        { "a cdev that sysfs announces and /dev has not is not listed",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, 7, 0 } },
          { "0000:65:00.0" },
          .name = "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S",
          .value = "0000:65:00.0",
          .nodes = "/dev/vfio/vfio /dev/vfio/45" },
        { "a variant driver is VFIO too",
          "nvidia.com/GH200",
          { { "0009:01:00.0", DEVICE_GPU, "nvgrace_gpu_vfio_pci", 9, -1, 0 } },
          { "0009:01:00.0" },
          .name = "PCI_RESOURCE_NVIDIA_COM_GH200",
          .value = "0009:01:00.0",
          .nodes = "/dev/vfio/vfio /dev/vfio/9" },
        { "a follower and a companion of the group appear nowhere",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, 0, CDEV },
            { "0000:65:00.1", DEVICE_GPU, "vfio-pci", 45, 1, CDEV },
            { "0000:66:00.0", DEVICE_GPU, "vfio-pci", 45, 2, CDEV } },
          { "0000:65:00.0" },
          .name = "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S",
          .value = "0000:65:00.0",
          .nodes = "/dev/vfio/vfio /dev/vfio/45 /dev/vfio/devices/vfio0" },
        { "devices that were asked for and share a group: its node once",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, 0, CDEV }, { "0000:66:00.0", DEVICE_GPU, "vfio-pci", 45, 1, CDEV } },
          { "0000:66:00.0", "0000:65:00.0" },
          .name = "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S",
          .value = "0000:65:00.0,0000:66:00.0",
          .nodes = "/dev/vfio/vfio /dev/vfio/45 /dev/vfio/devices/vfio0 /dev/vfio/devices/vfio1" },
        { "what was not asked for is not answered",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, -1, 0 }, { "0000:b1:00.0", DEVICE_GPU, "vfio-pci", 46, -1, 0 } },
          { "0000:b1:00.0" },
          .name = "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S",
          .value = "0000:b1:00.0",
          .nodes = "/dev/vfio/vfio /dev/vfio/46" },
        { "domains sort as numbers",
          L40S,
          { { "0001:04:00.0", DEVICE_GPU, "vfio-pci", 5, -1, 0 }, { "0000:42:00.0", DEVICE_GPU, "vfio-pci", 6, -1, 0 } },
          { "0001:04:00.0", "0000:42:00.0" },
          .name = "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S",
          .value = "0000:42:00.0,0001:04:00.0",
          .nodes = "/dev/vfio/vfio /dev/vfio/6 /dev/vfio/5" },
        { "a fallback name: the variable is upper-case",
          "nvidia.com/26b5",
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, -1, 0 } },
          { "0000:65:00.0" },
          .name = "PCI_RESOURCE_NVIDIA_COM_26B5",
          .value = "0000:65:00.0",
          .nodes = "/dev/vfio/vfio /dev/vfio/45" },

        { "nothing asked", L40S, { { .id = NULL } }, { NULL }, .r = -EINVAL, .err = "names no device", .reason = REASON_EMPTY_REQUEST },
        { "no /dev/vfio/vfio",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, 0, CDEV } },
          { "0000:65:00.0" },
          .no_vfio_node = true,
          .r = -ENODEV,
          .err = "/dev/vfio/vfio does not exist",
          .reason = REASON_VFIO_MISSING },
        { "neither group node nor cdev",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, 0, NO_GROUP_NODE } },
          { "0000:65:00.0" },
          .r = -ENODEV,
          .err = "/dev/vfio/45 does not exist",
          .reason = REASON_NODE_MISSING },
        { "rebound by someone since",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "nvidia", 45, -1, 0 } },
          { "0000:65:00.0" },
          .r = -ENODEV,
          .err = "not on a VFIO driver (driver nvidia)",
          .reason = REASON_NOT_BOUND },
        { "unbound by someone since",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "", 45, -1, 0 } },
          { "0000:65:00.0" },
          .r = -ENODEV,
          .err = "(driver none)",
          .reason = REASON_NOT_BOUND },
        { "unplugged since",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, -1, ABSENT } },
          { "0000:65:00.0" },
          .r = -ENODEV,
          .err = "0000:65:00.0 is no longer on the host",
          .reason = REASON_GONE },
        { "VFs were enabled since",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, -1, VFS } },
          { "0000:65:00.0" },
          .r = -ENODEV,
          .err = "4 virtual functions",
          .reason = REASON_PF_HAS_VFS },
        { "its group is gone",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", -1, -1, 0 } },
          { "0000:65:00.0" },
          .r = -ENODEV,
          .err = "no IOMMU group",
          .reason = REASON_NO_GROUP },
        { "no isolation",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, -1, NOIOMMU } },
          { "0000:65:00.0" },
          .r = -ENODEV,
          .err = "no-IOMMU",
          .reason = REASON_NOIOMMU },
        { "the vGPU type was cleared since",
          L40S,
          { { "0000:26:00.4", DEVICE_VGPU_VF, "nvidia", 171, 3, NO_TYPE | CDEV } },
          { "0000:26:00.4" },
          .r = -ENODEV,
          .err = "no vGPU type",
          .reason = REASON_NO_VGPU_TYPE },
        { "a wide domain",
          L40S,
          { { "10000:65:00.0", DEVICE_GPU, "vfio-pci", 45, -1, 0 } },
          { "10000:65:00.0" },
          .r = -EINVAL,
          .err = "KubeVirt cannot parse",
          .reason = REASON_DOMAIN_WIDE },
        { "the same address twice",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, -1, 0 } },
          { "0000:65:00.0", "0000:65:00.0" },
          .r = -EINVAL,
          .err = "twice",
          .reason = REASON_DUPLICATE_DEVICE },
        { "both prefixes would be needed",
          L40S,
          { { "0000:65:00.0", DEVICE_GPU, "vfio-pci", 45, -1, 0 }, { UUID_1, DEVICE_VGPU_MDEV, "nvidia", 88, -1, 0 } },
          { "0000:65:00.0", UUID_1 },
          .r = -EINVAL,
          .err = "together",
          .reason = REASON_UNKNOWN_DEVICE },
        { "the second of two mdevs is gone",
          L40S,
          { { UUID_1, DEVICE_VGPU_MDEV, "nvidia", 88, -1, 0 }, { UUID_2, DEVICE_VGPU_MDEV, "nvidia", 89, -1, ABSENT } },
          { UUID_1, UUID_2 },
          .r = -ENODEV,
          .err = UUID_2,
          .reason = REASON_GONE },
        { "an mdev without node",
          L40S,
          { { UUID_1, DEVICE_VGPU_MDEV, "nvidia", 88, -1, NO_GROUP_NODE } },
          { UUID_1 },
          .r = -ENODEV,
          .err = "/dev/vfio/88",
          .reason = REASON_NODE_MISSING },
        { "an mdev without group",
          L40S,
          { { UUID_1, DEVICE_VGPU_MDEV, "nvidia", -1, -1, 0 } },
          { UUID_1 },
          .r = -ENODEV,
          .err = "no IOMMU group",
          .reason = REASON_NO_GROUP },
};

static void add_seen(struct inventory *inv, const struct seen *seen)
{
        bool node = seen->group >= 0 && !(seen->flags & NO_GROUP_NODE);
        struct bdf bdf;

        if (seen->flags & ABSENT)
                return;
        if (seen->kind == DEVICE_VGPU_MDEV) {
                struct instance *instance = inventory_add_instance(inv);
                str_format(instance->uuid, sizeof(instance->uuid), "%s", seen->id);
                instance->group = seen->group;
                instance->group_node = node;
                return;
        }
        assert_true(bdf_parse(seen->id, &bdf));
        struct function *fn = inventory_add_function(inv, bdf);
        str_format(fn->driver, sizeof(fn->driver), "%s", seen->driver);
        fn->group = seen->group;
        fn->group_node = node;
        fn->vfio_index = seen->vfio_index;
        fn->cdev_node = seen->flags & CDEV;
        fn->noiommu = seen->flags & NOIOMMU;
        fn->n_vfs = seen->flags & VFS ? 4 : 0;
        fn->vgpu_type = seen->kind == DEVICE_VGPU_VF && !(seen->flags & NO_TYPE) ? 1155 : 0;
}

static struct device make_device(const struct row *row, const char *id)
{
        struct device device = { 0 };

        str_format(device.id, sizeof(device.id), "%s", id);
        for (const struct seen *seen = row->seen; seen->id; seen++)
                if (streq(seen->id, id))
                        device.kind = seen->kind;
        if (device.kind != DEVICE_VGPU_MDEV)
                assert_true(bdf_parse(id, &device.bdf));
        return device;
}

static void check_row(const struct row *row)
{
        _cleanup_inventory_ struct inventory *inv = inventory_new();
        struct device devices[4];
        const struct device *pointers[4];
        struct answer answer = { 0 };
        struct err err = { 0 };
        size_t n = 0;

        for (const struct seen *seen = row->seen; seen->id; seen++)
                add_seen(inv, seen);
        inv->vfio_node = !row->no_vfio_node;
        inventory_seal(inv);
        for (; row->asked[n]; n++) {
                devices[n] = make_device(row, row->asked[n]);
                pointers[n] = &devices[n];
        }

        enum reason reason = answer_make(inv, row->resource, pointers, n, &answer, &err);
        int r = reason ? -err.code : 0;
        if (r != row->r)
                fail_msg("%s: %d instead of %d: %s", row->title, r, row->r, err.msg);
        assert_int_equal(reason, row->reason);
        if (r < 0) {
                if (!strstr(err.msg, row->err))
                        fail_msg("%s: '%s' does not say '%s'", row->title, err.msg, row->err);
                assert_null(answer.nodes); /* untouched */
                assert_null(answer.env_name);
                return;
        }
        _cleanup_strbuf_ struct strbuf nodes = { 0 };
        for (size_t i = 0; i < answer.n_nodes; i++)
                strbuf_addf(&nodes, "%s%s", i ? " " : "", answer.nodes[i]);
        if (!streq(answer.env_name, row->name) || !streq(answer.env_value, row->value) || !streq(nodes.text, row->nodes))
                fail_msg("%s: %s=%s with %s", row->title, answer.env_name, answer.env_value, nodes.text);
        answer_done(&answer);
        answer_done(&answer); /* a second time is harmless */
}

static void test_the_answer_is_kubevirts_contract_to_the_letter(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                check_row(&rows[i]);
}

int main(void)
{
        static const struct CMUnitTest tests[] = { TEST(test_the_answer_is_kubevirts_contract_to_the_letter) };

        return RUN(tests);
}
