/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>

#include "base/fs.h"
#include "base/str.h"
#include "fixture.h"
#include "host/modules.h"

#define ALIAS   "lib/modules/6.12.1/modules.alias"
#define BUILTIN "lib/modules/6.12.1/modules.builtin.modinfo"

/* modules and their aliases, as "module alias;..." */
static char *variants(struct modules *modules, const struct fixture *f)
{
        _cleanup_inventory_ struct inventory *inv = inventory_new();
        struct strbuf out = { 0 };
        struct err err;

        inventory_seal(inv);
        ASSERT_OK(modules_apply(modules, &f->tree, inv, &err), &err);
        strbuf_add(&out, "");
        for (size_t i = 0; i < inv->n_variants; i++)
                strbuf_addf(&out, "%s %s;", inv->variants[i].module, inv->variants[i].alias);
        return strbuf_take(&out);
}

static void check(struct modules *modules, const struct fixture *f, const char *want)
{
        _cleanup_free_ char *got = variants(modules, f);

        assert_string_equal(got, want);
}

/* fixture_make opened the tree before there was a lib/modules. */
static void reopen(struct fixture *f)
{
        struct err err;

        tree_close(&f->tree);
        ASSERT_OK(tree_open(&f->tree, f->dir, &err), &err);
}

static void test_the_running_kernels_vfio_aliases_are_read(void **state)
{
        static const char builtin[] = "ext4.alias=fs-ext4\0vfio_pci.alias=vfio_pci:v*d*sv*sd*bc*sc*i*\0vfio_pci.license=GPL v2\0.alias=\0x";
        _cleanup_modules_ struct modules *modules = modules_new();
        struct fixture f;

        (void)state;
        fixture_make(&f);
        fixture_file(&f, "proc/sys/kernel/osrelease", "6.12.1\n");
        check(modules, &f, "");
        fixture_file(&f, "lib/modules/6.1.0/modules.alias", "alias vfio_pci:v1 older\n");
        fixture_file(&f, ALIAS,
                     "# Aliases extracted from modules themselves.\n"
                     "alias pci:v000010DEd*sv*sd*bc03sc02i00* nvidia\n"
                     "alias vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* nvgrace_gpu_vfio_pci\n"
                     "alias vfio_pci:\nalias vfio_pci: \nalias vfio_pci:v1\n"
                     "alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci");
        fixture_bytes(&f, BUILTIN, builtin, sizeof(builtin) - 1);
        reopen(&f);
        check(modules, &f,
              "mlx5_vfio_pci vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*;nvgrace_gpu_vfio_pci vfio_pci:v000010DEd00002342sv*sd*bc*sc*i*;"
              "vfio_pci vfio_pci:v*d*sv*sd*bc*sc*i*;");
        fixture_done(&f);
}

static void test_a_module_tree_is_read_again_only_when_it_changed(void **state)
{
        _cleanup_modules_ struct modules *modules = modules_new();
        struct fixture f;

        (void)state;
        fixture_make(&f);
        fixture_file(&f, "proc/sys/kernel/osrelease", "6.12.1\n");
        fixture_file(&f, ALIAS, "alias vfio_pci:v1 a\n");
        reopen(&f);
        check(modules, &f, "a vfio_pci:v1;");
        fs_fail_at(0, 0);
        check(modules, &f, "a vfio_pci:v1;");
        assert_true(fs_calls() <= 3); /* the release and two stamps */
        fixture_file(&f, ALIAS, "alias vfio_pci:v1 a\nalias vfio_pci:v2 b\n");
        check(modules, &f, "a vfio_pci:v1;b vfio_pci:v2;");
        fixture_remove(&f, "lib");
        check(modules, &f, "");
        fixture_done(&f);
}

static void test_a_container_has_it_below_its_mounts_or_not_at_all(void **state)
{
        _cleanup_modules_ struct modules *modules = modules_new();
        struct fixture f;
        struct err err;

        (void)state;
        fixture_make(&f);
        fixture_file(&f, "proc/sys/kernel/osrelease", "6.12.1\n");
        fixture_file(&f, "proc/self/comm", "sluiced\n");
        fixture_file(&f, "sys/bus/pci/drivers_probe", "");
        for (int mounted = 0; mounted <= 1; mounted++) {
                tree_close(&f.tree);
                ASSERT_OK(tree_open_mounts(&f.tree, f.dir, &err), &err);
                check(modules, &f, mounted ? "a vfio_pci:v1;" : "");
                fixture_file(&f, ALIAS, "alias vfio_pci:v1 a\n");
        }
        fixture_done(&f);
}

static void test_what_cannot_be_read_leaves_what_was_known(void **state)
{
        _cleanup_modules_ struct modules *modules = modules_new();
        struct fixture f;

        (void)state;
        fixture_make(&f);
        fixture_file(&f, "proc/sys/kernel/osrelease", "6.12.1\n");
        fixture_file(&f, ALIAS, "alias vfio_pci:v1 a\n");
        reopen(&f);
        check(modules, &f, "a vfio_pci:v1;");
        fixture_file(&f, ALIAS, "alias vfio_pci:v22 b\n");
        for (unsigned n = 2; n <= 4; n++) { /* the first call reads the release: none, then nothing is asked */
                _cleanup_inventory_ struct inventory *inv = inventory_new();
                struct err err;

                inventory_seal(inv);
                fs_fail_at(n, EIO);
                assert_int_equal(modules_apply(modules, &f.tree, inv, &err), -EIO);
                fs_fail_at(0, 0);
                assert_int_equal(inv->n_variants, 1);
                assert_string_equal(inv->variants[0].module, "a");
        }
        check(modules, &f, "b vfio_pci:v22;");
        char path[PATH_MAX];
        fixture_path(&f, ALIAS, path);
        assert_int_equal(truncate(path, 33 << 20), 0);
        struct inventory *inv = inventory_new();
        struct err err;
        inventory_seal(inv);
        assert_int_equal(modules_apply(modules, &f.tree, inv, &err), -EFBIG);
        inventory_unref(inv);
        fixture_done(&f);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_the_running_kernels_vfio_aliases_are_read),
                TEST(test_a_module_tree_is_read_again_only_when_it_changed),
                TEST(test_a_container_has_it_below_its_mounts_or_not_at_all),
                TEST(test_what_cannot_be_read_leaves_what_was_known),
        };

        return RUN(tests);
}
