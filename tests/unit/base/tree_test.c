/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../tmp.h"
#include "base/fs.h"
#include "base/tree.h"

static char root[64];
static int dir = -1;

static int setup(void **state)
{
        (void)state;
        (void)snprintf(root, sizeof(root), "%s/sluice-tree-XXXXXX", tmp_base());
        assert_non_null(mkdtemp(root));
        dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return dir < 0;
}

static int teardown(void **state)
{
        static const char *const dirs[] = { "proc", "dev", "sys/bus/pci", "sys/bus", "sys" };

        (void)state;
        (void)unlinkat(dir, "dev", 0);
        (void)unlinkat(dir, "proc/self", 0);
        (void)unlinkat(dir, "sys/bus/pci/drivers_probe", 0);
        for (size_t i = 0; i < N_ELEMENTS(dirs); i++)
                (void)unlinkat(dir, dirs[i], AT_REMOVEDIR);
        (void)close(dir);
        return rmdir(root);
}

static bool same(int fd, const char *path)
{
        struct stat a, b;

        return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static void test_what_is_mounted_is_the_hosts_and_the_rest_is_our_own(void **state)
{
        char below[96];
        struct tree tree;
        struct err err;

        (void)state;
        assert_int_equal(fs_mkdir(dir, "dev", 0755), 0);
        ASSERT_OK(tree_open_mounts(&tree, root, &err), &err);
        assert_true(same(tree.sys, "/sys")); /* only to write to is the host's */
        assert_true(same(tree.proc, "/proc"));
        (void)snprintf(below, sizeof(below), "%s/dev", root);
        assert_true(same(tree.dev, below));
        tree_close(&tree);

        assert_int_equal(fs_mkdir(dir, "proc", 0755), 0);
        assert_int_equal(fs_symlink("1", dir, "proc/self"), 0);
        ASSERT_OK(tree_open_mounts(&tree, root, &err), &err);
        (void)snprintf(below, sizeof(below), "%s/proc", root);
        assert_true(same(tree.proc, below));
        tree_close(&tree);
}

/* An empty /proc would say that nobody has a device open. */
static void test_an_empty_directory_is_not_the_hosts(void **state)
{
        struct tree tree = TREE_NULL;
        struct err err;

        (void)state;
        assert_int_equal(fs_mkdir(dir, "proc", 0755), 0);
        assert_int_equal(tree_open_mounts(&tree, root, &err), -ENOENT);
        assert_non_null(strstr(err.msg, "/proc is not the host's"));
        assert_int_equal(fs_symlink("1", dir, "proc/self"), 0);
        assert_int_equal(fs_mkdir(dir, "sys", 0755), 0);
        assert_int_equal(tree_open_mounts(&tree, root, &err), -ENOENT);
        assert_non_null(strstr(err.msg, "/sys is not the host's"));
        assert_int_equal(tree.proc, -1);
        assert_int_equal(fs_mkdir(dir, "sys/bus", 0755), 0);
        assert_int_equal(fs_mkdir(dir, "sys/bus/pci", 0755), 0);
        assert_int_equal(fs_symlink("x", dir, "sys/bus/pci/drivers_probe"), 0);
        ASSERT_OK(tree_open_mounts(&tree, root, &err), &err);
        tree_close(&tree);
}

static void test_a_mount_that_is_no_directory_is_no_reason_to_take_another(void **state)
{
        struct tree tree = TREE_NULL;
        struct err err;

        (void)state;
        assert_int_equal(tree_open_mounts(&tree, "/nowhere", &err), -ENOENT);
        assert_non_null(strstr(err.msg, "/nowhere"));
        assert_int_equal(symlinkat("/nowhere", dir, "dev"), 0);
        assert_int_equal(tree_open_mounts(&tree, root, &err), -ENOENT);
        assert_non_null(strstr(err.msg, "dev"));
        assert_int_equal(tree.sys, -1);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_what_is_mounted_is_the_hosts_and_the_rest_is_our_own, setup, teardown),
                cmocka_unit_test_setup_teardown(test_an_empty_directory_is_not_the_hosts, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_mount_that_is_no_directory_is_no_reason_to_take_another, setup, teardown),
        };

        return RUN(tests);
}
