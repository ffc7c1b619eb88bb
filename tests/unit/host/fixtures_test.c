/* SPDX-License-Identifier: Apache-2.0 */
/* The captured hosts, as the scan sees them: the facts that decide what is offered. Run from the top directory. */
#include "../unit.h"
#include "fixture.h"

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "host/host.h"
#include "sim/capture.h"

enum { CAPTURE_MAX = 1 << 20 };

/* Unpacks and reads one capture. No system file of names: the machine's pci.ids must not decide a test. */
static struct inventory *look(const char *name)
{
        _cleanup_free_ char *text = xcalloc(1, CAPTURE_MAX), *path = xasprintf("tests/fixtures/hosts/%s.capture", name);
        struct fixture f = { .tree = TREE_NULL };
        struct inventory *inv = NULL;
        struct names *names = NULL;
        struct err err;
        size_t n;

        str_format(f.dir, sizeof(f.dir), "%s/sluice-host-XXXXXX", tmp_base());
        assert_non_null(mkdtemp(f.dir));
        _cleanup_close_ int dir = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_OK(fs_read(AT_FDCWD, path, text, CAPTURE_MAX, &n, &err), &err);
        ASSERT_OK(capture_unpack(name, text, n, dir, &err), &err);
        ASSERT_OK(tree_open(&f.tree, f.dir, &err), &err);
        ASSERT_OK(names_new(&names, NULL, "/nonexistent", &err), &err);
        ASSERT_OK(host_scan(&f.tree, names, true, &inv, &err), &err);
        assert_null(names_free(names));
        fixture_done(&f);
        return inv;
}

static void test_every_captured_host_is_seen_whole(void **state)
{
        static const struct {
                const char *name;
                size_t functions, instances, broken;
                bool iommu;
        } rows[] = {
                { "aspeed-bmc", 7, 0, 0, true },
                { "desktop-3090", 3, 0, 0, true },
                { "desktop-3090-second", 6, 0, 0, true },
                { "flex-140", 6, 0, 0, true },
                { "flex-170", 4, 0, 0, true },
                { "gpu-vanished", 8, 0, 6, true },
                { "gpus-64-of-16", 128, 0, 0, true },
                { "gpus-64-of-16-vfio", 128, 0, 0, true },
                { "grace-gh200", 4, 0, 0, true },
                { "hgx-h200", 42, 0, 0, true },
                { "l40s-8", 29, 0, 0, true },
                { "l40s-8-vfio", 29, 0, 0, true },
                { "mdev-a2", 18, 2, 0, true },
                { "mi300x-vfs", 6, 0, 0, true },
                { "mi350x", 4, 0, 0, true },
                { "mixed-vendors", 14, 0, 0, true },
                { "multi-domain", 8, 0, 0, true },
                { "nic-in-group", 4, 0, 0, true },
                { "no-iommu", 4, 0, 0, false },
                { "noiommu-mode", 2, 0, 0, false },
                { "numa-unknown", 8, 0, 0, true },
                { "nvme-in-group", 4, 0, 0, true },
                { "pf-with-vfs", 4, 0, 0, true },
                { "platform-in-group", 4, 0, 0, true },
                { "quadro-4fn", 5, 0, 0, true },
                { "stale-pciids", 6, 0, 0, true },
                { "two-gpus-one-group", 8, 0, 0, true },
                { "vgpu-l40s", 18, 0, 0, true },
                { "vmd-domain", 7, 0, 0, true },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_inventory_ struct inventory *inv = look(rows[i].name);
                if (inv->n_functions != rows[i].functions || inv->n_instances != rows[i].instances || inv->n_broken != rows[i].broken ||
                    inv->iommu != rows[i].iommu)
                        fail_msg("%s: %zu functions, %zu instances, %zu broken, iommu %d", rows[i].name, inv->n_functions, inv->n_instances,
                                 inv->n_broken, inv->iommu);
                assert_true(inv->vfio_node && inventory_has_driver(inv, "vfio-pci"));
        }
}

/* What one function says of itself: only the facts that differ from "nothing". */
static char *say(const struct function *fn)
{
        _cleanup_strbuf_ struct strbuf b = { 0 };
        char bdf[BDF_TEXT_MAX];

        strbuf_addf(&b, "%04x:%04x %04x %s numa %d %s", fn->vendor, fn->device, fn->class_code >> 8, *fn->driver ? fn->driver : "none",
                    fn->numa_node, fn->root);
        strbuf_addf(&b, " port %s", bdf_format(fn->root_port, bdf));
        strbuf_addf(&b, " up %s", bdf_format(fn->upstream, bdf));
        if (fn->group >= 0)
                strbuf_addf(&b, " group %d%s%s", fn->group, fn->noiommu ? " unsafe" : "", fn->group_node ? " node" : "");
        if (fn->vfio_index >= 0)
                strbuf_addf(&b, " vfio%d%s", fn->vfio_index, fn->cdev_node ? " node" : "");
        if (fn->is_pf)
                strbuf_addf(&b, " pf %u/%u", fn->n_vfs, fn->total_vfs);
        if (fn->is_vf)
                strbuf_addf(&b, " vf %d of %s", fn->vf_index, bdf_format(fn->physfn, bdf));
        if (fn->vgpu_capable)
                strbuf_addf(&b, " type %u%s%s", fn->vgpu_type, *fn->vgpu_name ? " " : "", fn->vgpu_name);
        strbuf_add(&b, fn->mdev_parent ? " mdev-parent" : "");
        strbuf_add(&b, fn->boot_vga == 1 ? " boot-vga" : "");
        strbuf_add(&b, fn->framebuffer ? " framebuffer" : "");
        strbuf_add(&b, fn->unbind_lock ? " unbind-lock" : "");
        if (*fn->model)
                strbuf_addf(&b, " \"%s\"", fn->model);
        return strbuf_take(&b);
}

static void test_functions_of_captured_hosts_say_what_the_capture_says(void **state)
{
        static const struct {
                const char *name, *bdf, *said;
        } rows[] = {
                { "l40s-8", "0000:18:00.0",
                  "10de:26b9 0302 nvidia numa 0 pci0000:15 port 0000:15:01.0 up 0000:17:00.0 group 23 pf 0/32 unbind-lock \"AD102GL "
                  "[L40S]\"" },
                { "l40s-8-vfio", "0000:bb:00.0",
                  "10de:26b9 0302 vfio-pci numa 1 pci0000:b7 port 0000:b7:01.0 up 0000:b9:01.0 group 43 node vfio7 node pf 0/32 \"AD102GL "
                  "[L40S]\"" },
                { "hgx-h200", "0000:db:00.0",
                  "10de:2335 0302 nvidia numa 1 pci0000:d8 port 0000:d8:01.0 up 0000:da:00.0 group 79 pf 0/32 unbind-lock \"GH100 [H200 "
                  "SXM 141GB]\"" },
                { "hgx-h200", "0000:06:00.0",
                  "10de:22a3 0680 nvidia-nvswitch numa 0 pci0000:00 port 0000:00:05.0 up 0000:04:01.0 group 114 \"GH100 [H100 "
                  "NVSwitch]\"" },
                { "desktop-3090", "0000:01:00.0",
                  "10de:2204 0300 nvidia numa -1 pci0000:00 port 0000:00:01.0 up 0000:00:01.0 group 2 boot-vga framebuffer unbind-lock "
                  "\"GA102 [GeForce RTX 3090]\"" },
                { "desktop-3090", "0000:01:00.1",
                  "10de:1aef 0403 snd_hda_intel numa -1 pci0000:00 port 0000:00:01.0 up 0000:00:01.0 group 2" },
                { "desktop-3090-second", "0000:02:00.0",
                  "10de:2204 0300 nvidia numa -1 pci0000:00 port 0000:00:01.1 up 0000:00:01.1 group 13 unbind-lock "
                  "\"GA102 [GeForce RTX 3090]\"" },
                { "aspeed-bmc", "0000:03:00.0",
                  "1a03:2000 0300 ast numa 0 pci0000:00 port 0000:00:1c.0 up 0000:02:00.0 group 11 boot-vga" },
                { "no-iommu", "0000:41:00.0",
                  "10de:26b9 0302 nvidia numa 0 pci0000:40 port 0000:40:01.0 up 0000:40:01.0 pf 0/32 unbind-lock \"AD102GL [L40S]\"" },
                { "noiommu-mode", "0000:41:00.0",
                  "10de:26b9 0302 vfio-pci numa 0 pci0000:40 port 0000:40:01.0 up 0000:40:01.0 group 0 unsafe node vfio0 pf 0/32 "
                  "\"AD102GL [L40S]\"" },
                { "mi300x-vfs", "0000:85:00.0",
                  "1002:74a1 1200 gim numa 1 pci0000:84 port 0000:84:01.0 up 0000:84:01.0 group 81 pf 1/8 \"Aqua Vanjaram [Instinct "
                  "MI300X]\"" },
                { "mi300x-vfs", "0000:85:02.0",
                  "1002:74b5 1200 vfio-pci numa 1 pci0000:84 port 0000:84:01.0 up 0000:84:01.0 group 82 node vfio0 vf 0 of 0000:85:00.0 "
                  "\"Aqua Vanjaram [Instinct MI300X VF]\"" },
                { "pf-with-vfs", "0000:4d:00.2",
                  "8086:56c0 0380 vfio-pci numa 0 pci0000:4c port 0000:4c:01.0 up 0000:4c:01.0 group 61 node vfio1 vf 1 of 0000:4d:00.0 "
                  "\"ATS-M [Data Center GPU Flex 170]\"" },
                { "grace-gh200", "0019:01:00.0",
                  "10de:2342 0302 nvgrace_gpu_vfio_pci numa 1 pci0019:00 port 0019:00:00.0 up 0019:00:00.0 group 7 node vfio1 node "
                  "\"GH100 [GH200 120GB / 480GB]\"" },
                { "mdev-a2", "0000:08:00.0",
                  "10de:25b6 0302 nvidia numa 0 pci0000:00 port 0000:00:03.1 up 0000:00:03.1 group 41 pf 16/16 unbind-lock \"GA107GL [A2 / "
                  "A16]\"" },
                { "mdev-a2", "0000:08:01.7",
                  "10de:25b6 0302 nvidia numa 0 pci0000:00 port 0000:00:03.1 up 0000:00:03.1 group 111 vf 11 of 0000:08:00.0 mdev-parent "
                  "\"GA107GL [A2 / A16]\"" },
                { "vgpu-l40s", "0000:26:00.4",
                  "10de:26b9 0302 nvidia numa 0 pci0000:25 port 0000:25:01.0 up 0000:25:01.0 group 160 node vfio0 node vf 0 of "
                  "0000:26:00.0 "
                  "type 1155 NVIDIA L40S-24Q \"AD102GL [L40S]\"" },
                { "vgpu-l40s", "0000:26:02.3",
                  "10de:26b9 0302 nvidia numa 0 pci0000:25 port 0000:25:01.0 up 0000:25:01.0 group 175 node vfio15 node vf 15 of "
                  "0000:26:00.0 "
                  "type 0 \"AD102GL [L40S]\"" },
                { "multi-domain", "0001:c8:00.0",
                  "10de:2bb5 0302 vfio-pci numa 1 pci0001:c7 port 0001:c7:01.0 up 0001:c7:01.0 group 27 node vfio3 node pf 0/48 "
                  "\"GB202GL [RTX PRO 6000 Blackwell Server Edition]\"" },
                { "vmd-domain", "10000:e1:00.0",
                  "10de:26b9 0302 vfio-pci numa 0 pci10000:e0 port 10000:e0:06.0 up 10000:e0:06.0 group 11 node vfio0 \"AD102GL [L40S]\"" },
                { "numa-unknown", "0000:61:00.0",
                  "10de:2235 0302 vfio-pci numa -1 pci0000:60 port 0000:60:01.0 up 0000:60:01.0 group 25 node vfio2 \"GA102GL [A40]\"" },
                { "stale-pciids", "0000:51:00.0",
                  "10de:3fff 0302 vfio-pci numa 0 pci0000:41 port 0000:41:01.0 up 0000:41:01.0 group 23 node vfio1" },
                { "nvme-in-group", "0000:02:00.0", "144d:a80a 0108 nvme numa 0 pci0000:00 port 0000:00:02.0 up 0000:00:02.0 group 20" },
                { "gpu-vanished", "0000:30:00.0",
                  "10de:26b9 0302 vfio-pci numa 0 pci0000:20 port 0000:20:01.0 up 0000:20:01.0 group 21 node vfio0 pf 0/32 \"AD102GL "
                  "[L40S]\"" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_inventory_ struct inventory *inv = look(rows[i].name);
                struct bdf bdf;
                assert_true(bdf_parse(rows[i].bdf, &bdf));
                const struct function *fn = inventory_function(inv, bdf);
                if (!fn)
                        fail_msg("%s: no %s", rows[i].name, rows[i].bdf);
                _cleanup_free_ char *said = say(fn);
                if (!streq(said, rows[i].said))
                        fail_msg("%s %s:\n  is  %s\n  not %s", rows[i].name, rows[i].bdf, said, rows[i].said);
        }
}

static void test_the_mdevs_of_the_captured_a2_hang_on_its_vfs(void **state)
{
        _cleanup_inventory_ struct inventory *inv = look("mdev-a2");
        const struct instance *one = inventory_instance(inv, "6bd3d5f6-1d4c-4c0a-9a53-0a3a7f1e5b01");

        (void)state;
        assert_non_null(one);
        assert_true(bdf_equal(one->parent, (struct bdf){ 0, 8, 0, 4 }));
        assert_string_equal(one->type_id, "nvidia-746");
        assert_string_equal(one->type_name, "NVIDIA A2-4Q");
        assert_string_equal(one->driver, "nvidia-vgpu-vfio");
        assert_int_equal(one->group, 120);
        assert_true(one->group_node);
}

static void test_what_fell_apart_is_named_with_its_file(void **state)
{
        static const struct {
                const char *name, *detail;
        } rows[] = {
                { "0000:31:00.0", "vendor is empty" },           { "0000:32:00.0", "class" },
                { "0000:33:00.0", "device says \"0x26b9zz\"" },  { "0000:35:00.0", "numa_node says \"many\"" },
                { "0000:40:00.0", "cannot open its directory" }, { "not-an-address", "no PCI address" },
        };
        _cleanup_inventory_ struct inventory *inv = look("gpu-vanished");

        (void)state;
        assert_int_equal(inv->n_broken, N_ELEMENTS(rows));
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                assert_string_equal(inv->broken[i].name, rows[i].name);
                if (!strstr(inv->broken[i].detail, rows[i].detail))
                        fail_msg("%s: %s", rows[i].name, inv->broken[i].detail);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_every_captured_host_is_seen_whole),
                TEST(test_functions_of_captured_hosts_say_what_the_capture_says),
                TEST(test_the_mdevs_of_the_captured_a2_hang_on_its_vfs),
                TEST(test_what_fell_apart_is_named_with_its_file),
        };

        return RUN(tests);
}
