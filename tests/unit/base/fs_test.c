/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"

static char root[] = "/tmp/sluice-fs-XXXXXX";
static int dir = -1;

static void put(const char *path, const char *text)
{
        int fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        assert_int_equal(close(fd), 0);
}

static int setup(void **state)
{
        (void)state;
        assert_non_null(mkdtemp(root));
        dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return dir < 0;
}

static int teardown(void **state)
{
        _cleanup_free_ char *command = xasprintf("rm -rf %s", root);

        (void)state;
        (void)close(dir);
        return system(command); /* lint: a test's own directory */
}

static void test_values_are_whole_chomped_and_clean(void **state)
{
        char out[8];
        struct err err;

        (void)state;
        put("value", "0x10de\n");
        ASSERT_OK(fs_read_value(dir, "value", out, sizeof(out), &err), &err);
        assert_string_equal(out, "0x10de");
        put("value", "a\tb\n");
        ASSERT_OK(fs_read_value(dir, "value", out, sizeof(out), &err), &err);
        assert_string_equal(out, "a?b");
        /* Longer than the buffer is an error, not a shorter answer; the output stays. */
        put("value", "12345678\n");
        assert_int_equal(fs_read_value(dir, "value", out, sizeof(out), &err), -EFBIG);
        assert_string_equal(out, "a?b");
        assert_int_equal(fs_read_value(dir, "absent", out, sizeof(out), &err), -ENOENT);
        assert_non_null(strstr(err.msg, "absent"));
}

static void test_links_answer_their_last_component(void **state)
{
        char out[32];
        struct err err;

        (void)state;
        assert_int_equal(fs_symlink("../../../bus/pci/drivers/vfio-pci", dir, "driver"), 0);
        ASSERT_OK(fs_readlink_last(dir, "driver", out, sizeof(out), &err), &err);
        assert_string_equal(out, "vfio-pci");
        assert_int_equal(fs_readlink_last(dir, "driver", out, 4, &err), -ENAMETOOLONG);
        assert_int_equal(fs_exists(dir, "driver"), 1); /* dangling, but there */
        assert_int_equal(fs_exists(dir, "nothing"), 0);
        assert_int_equal(fs_exists(dir, "value/below"), 0);
}

static void test_lists_are_sorted(void **state)
{
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct err err;

        (void)state;
        assert_int_equal(fs_mkdir(dir, "list", 0755), 0);
        assert_int_equal(fs_mkdir(dir, "list", 0755), 0); /* there already: fine */
        assert_int_equal(fs_mkdir(dir, "value", 0755), -EEXIST);
        put("list/b", "");
        put("list/a", "");
        put("list/B", "");
        ASSERT_OK(fs_list(dir, "list", &list, &err), &err);
        assert_int_equal(list.n, 3);
        assert_string_equal(list.names[0], "B");
        assert_string_equal(list.names[1], "a");
        assert_string_equal(list.names[2], "b");
}

static void test_replace_is_all_or_nothing_at_every_failure(void **state)
{
        char out[16];
        struct err err;

        (void)state;
        ASSERT_OK(fs_replace(dir, "record", "old", 3, 0600, &err), &err);
        fs_fail_at(1000, 0);
        ASSERT_OK(fs_replace(dir, "record", "old", 3, 0600, &err), &err);
        unsigned calls = fs_calls();
        assert_true(calls >= 3);
        for (unsigned n = 1; n <= calls; n++) {
                fs_fail_at(n, EIO);
                int r = fs_replace(dir, "record", "new", 3, 0600, &err);
                fs_fail_at(0, 0);
                assert_int_equal(r, -EIO);
                ASSERT_OK(fs_read_value(dir, "record", out, sizeof(out), &err), &err);
                /* Once renamed the new one is whole, even when the directory could not be synced. */
                assert_true(streq(out, "old") || (n == calls && streq(out, "new")));
                assert_int_equal(fs_exists(dir, "record.tmp"), 0);
                ASSERT_OK(fs_replace(dir, "record", "old", 3, 0600, &err), &err);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_values_are_whole_chomped_and_clean),
                TEST(test_links_answer_their_last_component),
                TEST(test_lists_are_sorted),
                TEST(test_replace_is_all_or_nothing_at_every_failure),
        };

        return cmocka_run_group_tests_name("base/fs", tests, setup, teardown);
}
