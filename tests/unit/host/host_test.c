/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"
#include "fixture.h"

#include <errno.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "base/fs.h"
#include "base/str.h"
#include "host/host.h"

#define EMPTY   "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
#define GPU_DIR "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0"

static const struct fixture_function l40s = {
        "pci0000:3a/0000:3a:00.0", "0000:3b:00.0", "0x10de\n", "0x26b9\n", "0x030200\n", "vfio-pci", 45
};
static const struct fixture_function root_port = { "pci0000:3a", "0000:3a:00.0", "0x8086\n", "0x347a\n", "0x060400\n", "pcieport", 44 };

static struct bdf address(const char *text)
{
        struct bdf bdf;

        assert_true(bdf_parse(text, &bdf));
        return bdf;
}

static struct inventory *scan(const struct fixture *f)
{
        struct inventory *inv = NULL;
        struct err err;

        ASSERT_OK(host_scan(&f->tree, NULL, true, &inv, &err), &err);
        return inv;
}

static const struct function *get(const struct inventory *inv, const char *bdf)
{
        const struct function *fn = inventory_function(inv, address(bdf));

        if (!fn)
                fail_msg("%s is not in the inventory%s%s", bdf, inv->n_broken ? ": " : "", inv->n_broken ? inv->broken[0].detail : "");
        return fn;
}

/* A GPU on vfio-pci behind a root port, with all its files. */
static void make_l40s(const struct fixture *f)
{
        fixture_function(f, &root_port);
        fixture_function(f, &l40s);
        fixture_file(f, GPU_DIR "/resource",
                     "0x00000000942c0000 0x00000000952bffff 0x0000000000040200\n"
                     "0x0000039980000000 0x000003a97fffffff 0x000000000014220c\n" EMPTY
                     "0x0000039c16000000 0x0000039c17ffffff 0x000000000014220c\n" EMPTY EMPTY EMPTY);
        fixture_file(f, GPU_DIR "/reset_method", "flr bus\n");
        fixture_file(f, GPU_DIR "/sriov_totalvfs", "32\n");
        fixture_dir(f, GPU_DIR "/vfio-dev/vfio7");
        fixture_file(f, "dev/vfio/vfio", "");
        fixture_file(f, "dev/vfio/45", "");
        fixture_file(f, "dev/vfio/devices/vfio7", "");
        fixture_file(f, "dev/iommu", "");
        fixture_file(f, "proc/sys/kernel/random/boot_id", "6f1e0c9a-3b1e-4e0c-9a57-0e2f5a3b6c7d\n");
}

static void test_a_gpu_is_read_whole(void **state)
{
        struct fixture f;

        (void)state;
        fixture_make(&f);
        make_l40s(&f);
        _cleanup_inventory_ struct inventory *inv = scan(&f);
        const struct function *fn = get(inv, "0000:3b:00.0");

        assert_int_equal(inv->n_functions, 2);
        assert_int_equal(inv->n_broken, 0);
        assert_int_equal(fn->vendor, 0x10de);
        assert_int_equal(fn->device, 0x26b9);
        assert_int_equal(fn->subvendor, 0x10de);
        assert_int_equal(fn->subdevice, 0x1851);
        assert_int_equal(fn->class_code, 0x030200);
        assert_int_equal(fn->revision, 0xa1);
        assert_string_equal(fn->driver, "vfio-pci");
        assert_int_equal(fn->numa_node, 1);
        assert_string_equal(fn->root, "pci0000:3a");
        assert_true(bdf_equal(fn->root_port, address("0000:3a:00.0")));
        assert_true(bdf_equal(fn->upstream, address("0000:3a:00.0")));
        assert_int_equal(fn->group, 45);
        assert_true(fn->group_node && fn->cdev_node && !fn->noiommu);
        assert_int_equal(fn->vfio_index, 7);
        assert_true(fn->is_pf && !fn->is_vf);
        assert_int_equal(fn->total_vfs, 32);
        assert_int_equal(fn->n_vfs, 0);
        assert_int_equal(fn->boot_vga, -1);
        assert_string_equal(fn->reset_methods, "flr bus");
        assert_int_equal(fn->bars[0].size, 16 << 20);
        assert_int_equal(fn->bars[1].size, INT64_C(64) << 30);
        assert_int_equal(fn->bars[3].size, 32 << 20);
        assert_false(fn->mdev_parent || fn->vgpu_capable || fn->unbind_lock || fn->framebuffer || fn->override_known);
        assert_true(inv->iommu && inv->vfio_node && inv->iommufd_node);
        assert_true(inventory_has_driver(inv, "vfio-pci") && inventory_has_driver(inv, "pcieport"));
        assert_string_equal(inv->boot_id, "6f1e0c9a-3b1e-4e0c-9a57-0e2f5a3b6c7d");
        fixture_done(&f);
}

static void test_what_the_host_does_not_say_stays_unknown(void **state)
{
        static const char *const absent[] = { "numa_node", "subsystem_vendor", "subsystem_device", "revision" };
        struct fixture_function bare = l40s;
        struct fixture f;
        char path[256];

        (void)state;
        bare.driver = NULL;
        bare.group = 0;
        fixture_make(&f);
        fixture_function(&f, &bare);
        for (size_t i = 0; i < N_ELEMENTS(absent); i++) {
                str_format(path, sizeof(path), GPU_DIR "/%s", absent[i]);
                fixture_remove(&f, path);
        }
        _cleanup_inventory_ struct inventory *inv = scan(&f);
        const struct function *fn = get(inv, "0000:3b:00.0");

        assert_int_equal(fn->numa_node, -1);
        assert_int_equal(fn->group, -1);
        assert_int_equal(fn->vfio_index, -1);
        assert_int_equal(fn->vf_index, -1);
        assert_int_equal(fn->boot_vga, -1);
        assert_string_equal(fn->driver, "");
        assert_string_equal(fn->reset_methods, "");
        assert_false(fn->group_node || fn->is_pf || fn->is_vf);
        assert_false(inv->iommu || inv->vfio_node || inv->iommufd_node);
        assert_string_equal(inv->boot_id, "");
        fixture_done(&f);
}

/* Every row spoils one file of the GPU; the GPU must be accounted for as broken and the rest of the host be seen. */
static void test_garbage_is_accounted_for_and_never_half_a_function(void **state)
{
        static const struct {
                const char *file, *content; /* content NULL: removed */
                bool link;
                const char *detail;
        } rows[] = {
                { "class", NULL, false, "class" },
                { "class", "", false, "class is empty" },
                { "class", "0x03020\xff\n", false, "class says \"0x03020?\"" },
                { "class", "0x1030200\n", false, "class says" },
                { "vendor", NULL, false, "vendor" },
                { "vendor", "10de 26b9\n", false, "vendor says \"10de 26b9\"" },
                { "vendor", "0x10de0\n", false, "vendor says" },
                { "device", "\n", false, "device is empty" },
                { "subsystem_device", "0xzz\n", false, "subsystem_device says" },
                { "revision", "0x100\n", false, "revision says" },
                { "numa_node", "", false, "numa_node says \"\"" },
                { "numa_node", "-2\n", false, "numa_node says \"-2\"" },
                { "resource", "", false, "resource says" },
                { "resource", EMPTY, false, "resource says" },
                { "reset_method", "\x1b[31mred and so much longer than any list of reset methods of any kernel is\n", false,
                  "reset_method is longer" },
                { "sriov_totalvfs", "many\n", false, "sriov_totalvfs says \"many\"" },
                { "sriov_totalvfs", "65536\n", false, "sriov_totalvfs says" },
                { "nvidia/current_vgpu_type", "", false, "nvidia/current_vgpu_type is empty" },
                { "nvidia/current_vgpu_type", "-1\n", false, "nvidia/current_vgpu_type says" },
                { "iommu_group", "../../../kernel/iommu_groups/45x", true, "which is no group" },
                { "iommu_group", "../../../kernel/iommu_groups/46", true, "group 46, which is not in" },
                { "iommu_group", "../../../kernel/iommu_groups/99999999999", true, "which is no group" },
                { "physfn", "../nowhere", true, "physfn points to \"nowhere\"" },
                { "virtfn0", "../nowhere", true, "virtfn0 points to \"nowhere\"" },
                { "driver", "../a-name-that-is-much-longer-than-any-driver-of-the-kernel-could-ever-have-been", true, "driver" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct fixture f;
                char path[256];
                fixture_make(&f);
                make_l40s(&f);
                str_format(path, sizeof(path), GPU_DIR "/%s", rows[i].file);
                if (rows[i].link)
                        fixture_link(&f, path, rows[i].content);
                else if (rows[i].content)
                        fixture_file(&f, path, rows[i].content);
                else
                        fixture_remove(&f, path);
                _cleanup_inventory_ struct inventory *inv = scan(&f);
                if (inv->n_broken != 1 || inv->n_functions != 1)
                        fail_msg("row %zu (%s): %zu broken, %zu whole", i, rows[i].file, inv->n_broken, inv->n_functions);
                assert_string_equal(inv->broken[0].name, "0000:3b:00.0");
                assert_int_equal(inv->broken[0].reason, REASON_GARBAGE);
                if (!strstr(inv->broken[0].detail, rows[i].detail))
                        fail_msg("row %zu: %s", i, inv->broken[0].detail);
                assert_true(str_is_utf8(inv->broken[0].detail, strlen(inv->broken[0].detail)));
                fixture_done(&f);
        }
}

/* A neighbour in the GPU's group that cannot be read is in the group all the same: else the GPU would look alone in it. */
static void test_what_could_not_be_read_is_still_a_member_of_its_group(void **state)
{
#define NIC_DIR "sys/devices/pci0000:3a/0000:3a:00.0/0000:3c:00.0"
        static const struct {
                const char *file, *content; /* as above */
                bool link;
                int group;
        } rows[] = {
                { NIC_DIR "/numa_node", "many\n", false, 45 },
                { NIC_DIR "/vendor", NULL, false, 45 },
                { NIC_DIR "/iommu_group", "../../../kernel/iommu_groups/x", true, 45 }, /* the group lists it */
                { "sys/bus/pci/devices/0000:3c:00.0", "../../../devices/nowhere", true, 45 },
                { NIC_DIR "/iommu_group", "../../../kernel/iommu_groups/99", true, 99 },
        };
        static const struct fixture_function nic = {
                "pci0000:3a/0000:3a:00.0", "0000:3c:00.0", "0x15b3\n", "0x101d\n", "0x020000\n", "mlx5_core", 45
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct fixture f;
                fixture_make(&f);
                make_l40s(&f);
                fixture_function(&f, &nic);
                if (rows[i].link)
                        fixture_link(&f, rows[i].file, rows[i].content);
                else if (rows[i].content)
                        fixture_file(&f, rows[i].file, rows[i].content);
                else
                        fixture_remove(&f, rows[i].file);
                _cleanup_inventory_ struct inventory *inv = scan(&f);
                if (inv->n_broken != 1 || inv->n_functions != 2 || inv->broken[0].group != rows[i].group)
                        fail_msg("row %zu: %zu broken, %zu whole, group %d", i, inv->n_broken, inv->n_functions,
                                 inv->n_broken ? inv->broken[0].group : -2);
                fixture_done(&f);
        }
}

static void test_members_of_a_gpus_group_that_are_no_pci_functions_are_seen(void **state)
{
#define GROUP    "sys/kernel/iommu_groups/45/devices/"
#define PLATFORM "sys/devices/platform/"
        static const struct {
                const char *name, *subsystem, *driver;
        } expected[] = {
                { "0000:3d:00.0", "pci", "" }, /* the bus does not list it: who knows what it is */
                { "70.dma", "platform", "xgene-dma" },
                { "71.idle", "platform", "" },
                { "72.lost", "", "?" },
        };
        struct fixture f;

        (void)state;
        fixture_make(&f);
        make_l40s(&f);
        fixture_link(&f, GROUP "70.dma", "../../../../devices/platform/70.dma");
        fixture_link(&f, PLATFORM "70.dma/subsystem", "../../../bus/platform");
        fixture_link(&f, PLATFORM "70.dma/driver", "../../../bus/platform/drivers/xgene-dma");
        fixture_link(&f, GROUP "71.idle", "../../../../devices/platform/71.idle");
        fixture_link(&f, PLATFORM "71.idle/subsystem", "../../../bus/platform");
        fixture_link(&f, GROUP "72.lost", "../../../../devices/platform/72.lost");
        fixture_link(&f, GROUP "0000:3d:00.0", "../../../../devices/pci0000:3a/0000:3d:00.0");
        fixture_link(&f, "sys/devices/pci0000:3a/0000:3d:00.0/subsystem", "../../../bus/pci");
        /* The root port's group is nobody's business. */
        fixture_link(&f, "sys/kernel/iommu_groups/44/devices/73.other", "../../../../devices/platform/70.dma");
        _cleanup_inventory_ struct inventory *inv = scan(&f);

        assert_int_equal(inv->n_broken, 0);
        assert_int_equal(inv->n_outsiders, N_ELEMENTS(expected));
        for (size_t i = 0; i < N_ELEMENTS(expected); i++) {
                const struct outsider *o = &inv->outsiders[i];
                if (o->group != 45 || !streq(o->name, expected[i].name) || !streq(o->subsystem, expected[i].subsystem) ||
                    !streq(o->driver, expected[i].driver))
                        fail_msg("outsider %zu: group %d, %s, subsystem '%s', driver '%s'", i, o->group, o->name, o->subsystem, o->driver);
        }
        fixture_done(&f);
#undef GROUP
#undef PLATFORM
}

static void test_names_and_places_that_are_no_addresses_are_accounted_for(void **state)
{
        struct fixture f;

        (void)state;
        fixture_make(&f);
        make_l40s(&f);
        fixture_dir(&f, "sys/bus/pci/devices/\xff\xfe");
        fixture_dir(&f, "sys/bus/pci/devices/0000:3C:00.0");
        fixture_link(&f, "sys/bus/pci/devices/0000:3d:00.0", "../../../devices/pci0000:3a/0000:3d:00.0");
        fixture_link(&f, "sys/bus/pci/devices/0000:3e:00.0",
                     "../../../"
                     "devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0");
        _cleanup_inventory_ struct inventory *inv = scan(&f);

        assert_int_equal(inv->n_functions, 2);
        assert_int_equal(inv->n_broken, 4);
        for (size_t i = 0; i < inv->n_broken; i++) {
                assert_true(str_is_utf8(inv->broken[i].name, strlen(inv->broken[i].name)));
                assert_int_equal(inv->broken[i].reason, REASON_GARBAGE);
        }
        assert_non_null(strstr(inv->broken[1].detail, "cannot open")); /* 3d: dangling */
        assert_non_null(strstr(inv->broken[2].detail, "link points")); /* 3e: another function's directory */
        fixture_done(&f);
}

static void test_vfs_are_counted_and_numbered_by_the_links_of_their_pf(void **state)
{
        static const struct fixture_function vfs[] = {
                { "pci0000:3a/0000:3a:00.0", "0000:3b:00.4", "0x10de\n", "0x26b9\n", "0x030200\n", "nvidia", 50 },
                { "pci0000:3a/0000:3a:00.0", "0000:3b:01.7", "0x10de\n", "0x26b9\n", "0x030200\n", "nvidia", 51 },
        };
        struct fixture f;

        (void)state;
        fixture_make(&f);
        make_l40s(&f);
        for (size_t i = 0; i < 2; i++) {
                char path[256];
                fixture_function(&f, &vfs[i]);
                str_format(path, sizeof(path), "sys/devices/pci0000:3a/0000:3a:00.0/%s/physfn", vfs[i].bdf);
                fixture_link(&f, path, "../0000:3b:00.0");
        }
        fixture_link(&f, GPU_DIR "/virtfn0", "../0000:3b:00.4");
        fixture_link(&f, GPU_DIR "/virtfn11", "../0000:3b:01.7");
        fixture_file(&f, "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:01.7/nvidia/current_vgpu_type", "1155\n");
        fixture_file(&f, "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.4/nvidia/current_vgpu_type", "0\n");
        fixture_link(&f, "sys/class/mdev_bus/0000:3b:00.4", "../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.4");
        _cleanup_inventory_ struct inventory *inv = scan(&f);

        assert_int_equal(get(inv, "0000:3b:00.0")->n_vfs, 2);
        const struct function *first = get(inv, "0000:3b:00.4"), *second = get(inv, "0000:3b:01.7");
        assert_true(first->is_vf && second->is_vf && !first->is_pf);
        assert_true(bdf_equal(first->physfn, address("0000:3b:00.0")));
        assert_int_equal(first->vf_index, 0);
        assert_int_equal(second->vf_index, 11);
        assert_true(first->vgpu_capable && first->vgpu_type == 0 && *first->vgpu_name == '\0');
        assert_true(second->vgpu_capable && second->vgpu_type == 1155);
        assert_string_equal(second->vgpu_name, "NVIDIA L40S-24Q");
        assert_true(first->mdev_parent && !second->mdev_parent);
        fixture_done(&f);
}

/* While the kernel takes VFs away their links go first, from number 0 up: those left must keep their PF withheld. */
static void test_vfs_count_without_their_links(void **state)
{
        struct fixture f;

        (void)state;
        fixture_make(&f);
        make_l40s(&f);
        for (int i = 4; i < 6; i++) {
                char bdf[16], path[256];
                str_format(bdf, sizeof(bdf), "0000:3b:00.%d", i);
                fixture_function(&f, &(struct fixture_function){ "pci0000:3a/0000:3a:00.0", bdf, "0x10de\n", "0x26b9\n", "0x030200\n",
                                                                 "nvidia", 50 + i });
                str_format(path, sizeof(path), "sys/devices/pci0000:3a/0000:3a:00.0/%s/physfn", bdf);
                fixture_link(&f, path, "../0000:3b:00.0");
        }
        fixture_link(&f, GPU_DIR "/virtfn1", "../0000:3b:00.5");
        _cleanup_inventory_ struct inventory *inv = scan(&f);
        assert_int_equal(get(inv, "0000:3b:00.0")->n_vfs, 2);
        assert_int_equal(get(inv, "0000:3b:00.4")->vf_index, -1);
        fixture_done(&f);
}

#define UUID       "a1b2c3d4-5678-4e9a-8b0c-d1e2f3a4b5c6"
#define OTHER_UUID "b1b2c3d4-5678-4e9a-8b0c-d1e2f3a4b5c6"

static void test_mdevs_of_pci_functions_are_read(void **state)
{
        struct fixture f;

        (void)state;
        fixture_make(&f);
        make_l40s(&f);
        fixture_link(&f, "sys/bus/mdev/devices/" UUID, "../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/" UUID);
        fixture_link(&f, GPU_DIR "/" UUID "/mdev_type", "../mdev_supported_types/nvidia-222");
        fixture_file(&f, GPU_DIR "/mdev_supported_types/nvidia-222/name", "GRID T4-1B\n");
        fixture_link(&f, GPU_DIR "/" UUID "/driver", "../../../../bus/mdev/drivers/nvidia-vgpu-vfio");
        fixture_link(&f, GPU_DIR "/" UUID "/iommu_group", "../../../../../kernel/iommu_groups/90");
        fixture_dir(&f, "sys/kernel/iommu_groups/90");
        fixture_file(&f, "dev/vfio/90", "");
        /* Intel's types have no name. */
        fixture_link(&f, "sys/bus/mdev/devices/" OTHER_UUID, "../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/" OTHER_UUID);
        fixture_link(&f, GPU_DIR "/" OTHER_UUID "/mdev_type", "../mdev_supported_types/i915-GVTg_V5_4");
        fixture_dir(&f, GPU_DIR "/mdev_supported_types/i915-GVTg_V5_4");
        /* A test device, no PCI function: none of ours. */
        fixture_link(&f, "sys/bus/mdev/devices/c1b2c3d4-5678-4e9a-8b0c-d1e2f3a4b5c6", "../../../devices/virtual/mtty/mtty/x");
        /* Not what the kernel makes, and one that lost its type. */
        fixture_link(&f, "sys/bus/mdev/devices/not-a-uuid", "../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/not-a-uuid");
        fixture_link(&f, "sys/bus/mdev/devices/d1b2c3d4-5678-4e9a-8b0c-d1e2f3a4b5c6",
                     "../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0");
        _cleanup_inventory_ struct inventory *inv = scan(&f);

        assert_int_equal(inv->n_instances, 2);
        const struct instance *one = inventory_instance(inv, UUID), *two = inventory_instance(inv, OTHER_UUID);
        assert_non_null(one);
        assert_true(bdf_equal(one->parent, address("0000:3b:00.0")));
        assert_string_equal(one->type_id, "nvidia-222");
        assert_string_equal(one->type_name, "GRID T4-1B");
        assert_string_equal(one->driver, "nvidia-vgpu-vfio");
        assert_int_equal(one->group, 90);
        assert_true(one->group_node);
        assert_non_null(two);
        assert_string_equal(two->type_name, "i915-GVTg_V5_4");
        assert_int_equal(two->group, -1);
        assert_int_equal(inv->n_broken, 2);
        fixture_done(&f);
}

static void test_nodes_are_devices_except_on_captured_hosts(void **state)
{
        struct inventory *inv = NULL;
        struct fixture f;
        struct err err;

        (void)state;
        fixture_make(&f);
        make_l40s(&f);
        ASSERT_OK(host_scan(&f.tree, NULL, false, &inv, &err), &err);
        assert_false(get(inv, "0000:3b:00.0")->group_node || get(inv, "0000:3b:00.0")->cdev_node || inv->vfio_node || inv->iommufd_node);
        (void)inventory_unref(inv);
        if (mknodat(f.tree.dev, "node", S_IFCHR | 0600, makedev(1, 3)) == 0) {
                assert_int_equal(renameat(f.tree.dev, "node", f.tree.dev, "vfio/45"), 0);
                ASSERT_OK(host_scan(&f.tree, NULL, false, &inv, &err), &err);
                assert_true(get(inv, "0000:3b:00.0")->group_node);
                (void)inventory_unref(inv);
        }
        fixture_done(&f);
}

static void test_a_group_without_protection_is_known_by_its_name_or_its_node(void **state)
{
        (void)state;
        for (int by_node = 0; by_node < 2; by_node++) {
                struct fixture f;
                fixture_make(&f);
                make_l40s(&f);
                if (by_node) {
                        fixture_remove(&f, "dev/vfio/45");
                        fixture_file(&f, "dev/vfio/noiommu-45", "");
                } else {
                        fixture_file(&f, "sys/kernel/iommu_groups/45/name", "vfio-noiommu\n");
                }
                _cleanup_inventory_ struct inventory *inv = scan(&f);
                assert_true(get(inv, "0000:3b:00.0")->noiommu && get(inv, "0000:3b:00.0")->group_node);
                assert_false(get(inv, "0000:3a:00.0")->noiommu);
                assert_true(inv->iommu); /* group 44 is real */
                fixture_done(&f);
        }
}

static void test_without_a_view_of_the_groups_the_links_still_count(void **state)
{
        struct fixture f;

        (void)state;
        fixture_make(&f);
        make_l40s(&f);
        fixture_remove(&f, "sys/kernel");
        _cleanup_inventory_ struct inventory *inv = scan(&f);
        assert_int_equal(get(inv, "0000:3b:00.0")->group, 45);
        assert_true(get(inv, "0000:3b:00.0")->group_node && inv->iommu);
        fixture_done(&f);
}

static void test_bridges_are_read_for_their_group_only_but_nvswitches_are_no_bridges(void **state)
{
        static const struct fixture_function nvswitch = { "pci0000:05", "0000:05:00.0",    "0x10de\n", "0x22a3\n",
                                                          "0x068000\n", "nvidia-nvswitch", 114 };
        struct fixture f;

        (void)state;
        fixture_make(&f);
        make_l40s(&f);
        fixture_function(&f, &nvswitch);
        fixture_file(&f, "sys/devices/pci0000:05/0000:05:00.0/reset_method", "bus\n");
        fixture_file(&f, "sys/devices/pci0000:3a/0000:3a:00.0/reset_method",
                     "garbage that no one reads, so that it can do no harm at all, whatever\n");
        _cleanup_inventory_ struct inventory *inv = scan(&f);
        assert_string_equal(get(inv, "0000:05:00.0")->reset_methods, "bus");
        assert_int_equal(get(inv, "0000:3a:00.0")->group, 44);
        assert_string_equal(get(inv, "0000:3a:00.0")->driver, "pcieport");
        fixture_done(&f);
}

static void test_the_owner_of_the_firmware_framebuffer_is_found(void **state)
{
        static const struct {
                const char *name, *fb_link, *device_link, *iomem;
                bool owner;
        } rows[] = {
                { "simpledrmdrmfb\n", "../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/simple-framebuffer.0/graphics/fb0", NULL, NULL,
                  true },
                { "EFI VGA\n", "../../devices/platform/efi-framebuffer.0/graphics/fb0", NULL, NULL, false },
                { "EFI VGA\n", "../../devices/platform/efi-framebuffer.0/graphics/fb0", NULL,
                  "94000000-97ffffff : PCI Bus 0000:3b\n  94300000-945fffff : efifb\n", true },
                { "nouveaudrmfb\n", "../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/graphics/fb0", NULL, NULL, false },
                { NULL, NULL, NULL, "00000000-00000000 : 0000:3b:00.0\n  00000000-00000000 : BOOTFB\n", true },
                { NULL, NULL, NULL, "00000000-00000000 : BOOTFB\n", false },
                { NULL, NULL, NULL, "93000000-93ffffff : BOOTFB\n", false },
                { NULL, NULL, NULL, "garbage", false },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct fixture f;
                fixture_make(&f);
                make_l40s(&f);
                if (rows[i].name) {
                        char real[256];
                        str_format(real, sizeof(real), "sys/%s/name", rows[i].fb_link + strlen("../../"));
                        fixture_file(&f, real, rows[i].name);
                        fixture_link(&f, "sys/class/graphics/fb0", rows[i].fb_link);
                }
                if (rows[i].iomem)
                        fixture_file(&f, "proc/iomem", rows[i].iomem);
                _cleanup_inventory_ struct inventory *inv = scan(&f);
                if (get(inv, "0000:3b:00.0")->framebuffer != rows[i].owner)
                        fail_msg("row %zu", i);
                fixture_done(&f);
        }
}

/* More than the usual buffer holds: many lines before the one that counts. */
static void test_a_long_map_of_memory_is_read_to_its_end(void **state)
{
        _cleanup_strbuf_ struct strbuf iomem = { 0 };
        struct fixture f;

        (void)state;
        fixture_make(&f);
        make_l40s(&f);
        for (unsigned i = 0; i < 4000; i++)
                strbuf_addf(&iomem, "%08x-%08x : Reserved\n", i * 0x1000, i * 0x1000 + 0xfff);
        strbuf_add(&iomem, "94300000-945fffff : efifb\n");
        assert_true(iomem.len > 64 << 10);
        fixture_file(&f, "proc/iomem", iomem.text);
        _cleanup_inventory_ struct inventory *inv = scan(&f);
        assert_true(get(inv, "0000:3b:00.0")->framebuffer);
        fixture_done(&f);
}

static void test_modalias_says_all_ids_at_once(void **state)
{
        struct fixture f;

        (void)state;
        fixture_make(&f);
        make_l40s(&f);
        fixture_file(&f, GPU_DIR "/modalias", "pci:v000010DEd000026BAsv00001028sd000019C0bc03sc00i01\n");
        _cleanup_inventory_ struct inventory *inv = scan(&f);
        const struct function *fn = get(inv, "0000:3b:00.0");
        assert_int_equal(fn->device, 0x26ba);
        assert_int_equal(fn->subvendor, 0x1028);
        assert_int_equal(fn->subdevice, 0x19c0);
        assert_int_equal(fn->class_code, 0x030001);
        fixture_done(&f);
}

static void test_the_unbind_lock_is_looked_for_not_touched(void **state)
{
        struct fixture f;

        (void)state;
        fixture_make(&f);
        make_l40s(&f);
        fixture_file(&f, "proc/driver/nvidia/gpus/0000:3b:00.0/unbindLock", "0\n");
        _cleanup_inventory_ struct inventory *inv = scan(&f);
        assert_true(get(inv, "0000:3b:00.0")->unbind_lock);
        fixture_done(&f);
}

static void test_a_host_without_a_pci_bus_is_an_error_that_says_so(void **state)
{
        struct inventory *inv = NULL;
        struct fixture f;
        struct err err;

        (void)state;
        fixture_make(&f);
        fixture_remove(&f, "sys/bus");
        assert_int_equal(host_scan(&f.tree, NULL, true, &inv, &err), -ENOENT);
        assert_null(inv);
        assert_non_null(strstr(err.msg, "bus/pci/devices"));
        fixture_done(&f);
}

static void test_our_own_shortage_of_descriptors_is_not_the_devices_fault(void **state)
{
        struct inventory *inv = NULL;
        struct fixture f;
        struct err err;
        unsigned short_of = 0;

        (void)state;
        fixture_make(&f);
        make_l40s(&f);
        (void)inventory_unref(scan(&f));
        fs_fail_at(0, 0);
        (void)inventory_unref(scan(&f));
        unsigned n = fs_calls();
        for (unsigned i = 1; i <= n; i++) {
                fs_fail_at(i, EMFILE);
                int r = host_scan(&f.tree, NULL, true, &inv, &err);
                fs_fail_at(0, 0);
                if (r == 0) {
                        assert_int_equal(inv->n_broken, 0);
                        (void)inventory_unref(inv);
                } else {
                        assert_int_equal(r, -EMFILE);
                        short_of++;
                }
        }
        assert_true(short_of > n / 2);
        fixture_done(&f);
}

/* 64 GPUs with their root ports. What a scan costs is file accesses: they are counted, the clock is not asked. */
static void test_a_large_host_is_read_with_few_accesses(void **state)
{
        struct fixture f;

        (void)state;
        fixture_make(&f);
        for (int i = 0; i < 64; i++) {
                char above[64], bdf[16], port[16], root[16], path[128];
                str_format(root, sizeof(root), "pci0000:%02x", 2 * i);
                str_format(port, sizeof(port), "0000:%02x:00.0", 2 * i);
                str_format(above, sizeof(above), "%s/%s", root, port);
                str_format(bdf, sizeof(bdf), "0000:%02x:00.0", 2 * i + 1);
                fixture_function(&f, &(struct fixture_function){ root, port, "0x8086\n", "0x347a\n", "0x060400\n", "pcieport", 200 + i });
                fixture_function(&f, &(struct fixture_function){ above, bdf, "0x10de\n", "0x26b9\n", "0x030200\n", "vfio-pci", 1 + i });
                str_format(path, sizeof(path), "sys/devices/%s/modalias", above);
                fixture_file(&f, path, "pci:v00008086d0000347Asv00000000sd00000000bc06sc04i00\n");
                str_format(path, sizeof(path), "sys/devices/%s/%s/modalias", above, bdf);
                fixture_file(&f, path, "pci:v000010DEd000026B9sv000010DEsd00001851bc03sc02i00\n");
        }
        (void)inventory_unref(scan(&f));
        fs_fail_at(0, 0);
        struct timespec a, b;
        (void)clock_gettime(CLOCK_MONOTONIC, &a);
        _cleanup_inventory_ struct inventory *inv = scan(&f);
        (void)clock_gettime(CLOCK_MONOTONIC, &b);
        assert_int_equal(inv->n_functions, 128);
        print_message("# 128 functions: %u accesses, %ld us\n", fs_calls(),
                      (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000);
        assert_true(fs_calls() < 64 * 18 + 64 * 7 + 32);
        fixture_done(&f);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_gpu_is_read_whole),
                TEST(test_what_the_host_does_not_say_stays_unknown),
                TEST(test_garbage_is_accounted_for_and_never_half_a_function),
                TEST(test_what_could_not_be_read_is_still_a_member_of_its_group),
                TEST(test_members_of_a_gpus_group_that_are_no_pci_functions_are_seen),
                TEST(test_names_and_places_that_are_no_addresses_are_accounted_for),
                TEST(test_vfs_are_counted_and_numbered_by_the_links_of_their_pf),
                TEST(test_vfs_count_without_their_links),
                TEST(test_mdevs_of_pci_functions_are_read),
                TEST(test_nodes_are_devices_except_on_captured_hosts),
                TEST(test_a_group_without_protection_is_known_by_its_name_or_its_node),
                TEST(test_without_a_view_of_the_groups_the_links_still_count),
                TEST(test_bridges_are_read_for_their_group_only_but_nvswitches_are_no_bridges),
                TEST(test_the_owner_of_the_firmware_framebuffer_is_found),
                TEST(test_a_long_map_of_memory_is_read_to_its_end),
                TEST(test_modalias_says_all_ids_at_once),
                TEST(test_the_unbind_lock_is_looked_for_not_touched),
                TEST(test_a_host_without_a_pci_bus_is_an_error_that_says_so),
                TEST(test_our_own_shortage_of_descriptors_is_not_the_devices_fault),
                TEST(test_a_large_host_is_read_with_few_accesses),
        };

        return RUN(tests);
}
