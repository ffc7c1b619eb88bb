/* SPDX-License-Identifier: Apache-2.0 */
/* Where the hands write in a container. (What they write to the machine and to a simulated one: worker_test.) */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../tmp.h"
#include "base/fs.h"
#include "hands/kernel.h"

static char root[64];
static int dir = -1;

static int setup(void **state)
{
        (void)state;
        (void)snprintf(root, sizeof(root), "%s/sluice-kernel-XXXXXX", tmp_base());
        assert_non_null(mkdtemp(root));
        dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return dir < 0;
}

static int teardown(void **state)
{
        (void)state;
        (void)unlinkat(dir, "sys/sluice-attribute", 0);
        (void)unlinkat(dir, "sys/bus/pci/drivers_probe", 0);
        (void)unlinkat(dir, "sys/bus/pci", AT_REMOVEDIR);
        (void)unlinkat(dir, "sys/bus", AT_REMOVEDIR);
        (void)unlinkat(dir, "proc/self", 0);
        (void)unlinkat(dir, "proc/sluice-attribute", 0);
        (void)unlinkat(dir, "sys", AT_REMOVEDIR);
        (void)unlinkat(dir, "proc", AT_REMOVEDIR);
        (void)close(dir);
        return rmdir(root);
}

static void make_attribute(const char *path)
{
        int fd = openat(dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        (void)close(fd);
}

static void test_a_container_writes_below_the_mounts_and_reads_its_own_sys(void **state)
{
        _cleanup_kernel_ struct kernel *kernel = NULL;
        char value[16];
        struct err err;

        (void)state;
        assert_int_equal(fs_mkdir(dir, "sys", 0755), 0);
        assert_int_equal(fs_mkdir(dir, "sys/bus", 0755), 0);
        assert_int_equal(fs_mkdir(dir, "sys/bus/pci", 0755), 0);
        make_attribute("sys/bus/pci/drivers_probe");
        make_attribute("sys/sluice-attribute");
        ASSERT_OK(kernel_open_mounts(&kernel, root, &err), &err);
        ASSERT_OK(kernel_write_sys(kernel, "sluice-attribute", "0000:3b:00.0", &err), &err);
        ASSERT_OK(fs_read_value(dir, "sys/sluice-attribute", value, sizeof(value), &err), &err);
        assert_string_equal(value, "0000:3b:00.0");
        assert_int_equal(kernel_read_locked(kernel, "sluice-attribute", value, sizeof(value), &err), -ENOENT);
        assert_int_equal(fs_exists(kernel_tree(kernel)->sys, "sluice-attribute"), 0);
}

/* The host's is there to see who has it open, and may be read-only; NVIDIA's unbindLock is in every /proc. */
static void test_the_proc_that_is_written_is_the_containers_own(void **state)
{
        _cleanup_kernel_ struct kernel *kernel = NULL;
        struct err err;

        (void)state;
        assert_int_equal(fs_mkdir(dir, "proc", 0755), 0);
        assert_int_equal(fs_symlink("1", dir, "proc/self"), 0);
        make_attribute("proc/sluice-attribute");
        ASSERT_OK(kernel_open_mounts(&kernel, root, &err), &err);
        assert_int_equal(fs_exists(kernel_tree(kernel)->proc, "sluice-attribute"), 1);
        assert_int_equal(kernel_write_proc(kernel, "sluice-attribute", "1", &err), -ENOENT);
        /* And without the mount it is our own /sys that refuses what a container may not write. */
        assert_int_equal(kernel_write_sys(kernel, "sluice-attribute", "1", &err), -ENOENT);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_a_container_writes_below_the_mounts_and_reads_its_own_sys, setup, teardown),
                cmocka_unit_test_setup_teardown(test_the_proc_that_is_written_is_the_containers_own, setup, teardown),
        };

        return RUN(tests);
}
