/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "scratch.h"
#include "sim/capture.h"

#define HEAD "sluice-capture 1\n"

static int unpack(const char *text, const char *root, struct err *err)
{
        _cleanup_close_ int dir = open(root, O_RDONLY | O_DIRECTORY);

        return capture_unpack("test.capture", text, strlen(text), dir, err);
}

static void test_a_bad_line_is_refused_with_its_number(void **state)
{
        static const struct {
                const char *text, *problem;
        } rows[] = {
                { "", "test.capture:1: not a capture" },
                { "hello\n", "test.capture:1: not a capture" },
                { "sluice-capture 2\n", "test.capture:1: this version" },
                { "sluice-capture 1x\n", "test.capture:1: this version" },
                { HEAD "folder sys/a\n", "test.capture:2: a line begins with" },
                { HEAD "\n# c\ndir /etc\n", "test.capture:4: path is absolute" },
                { HEAD "dir etc\n", "test.capture:2: path is not below" },
                { HEAD "dir sys\n", "test.capture:2: path is not below" },
                { HEAD "dir sys/\n", "test.capture:2: path has an empty component" },
                { HEAD "dir sys//a\n", "test.capture:2: path has an empty component" },
                { HEAD "dir sys/../etc\n", "test.capture:2: path has a component \".\" or \"..\"" },
                { HEAD "dir sys/./a\n", "test.capture:2: path has a component" },
                { HEAD "dir sys/a/..\n", "test.capture:2: path has a component" },
                { HEAD "dir\n", "test.capture:2: path has an empty component" },
                { HEAD "file sys/a\n", "test.capture:2: a file is written" },
                { HEAD "file sys/a =b\n", "test.capture:2: a file is written" },
                { HEAD "link sys/a\n", "test.capture:2: a link is written" },
                { HEAD "link sys/a -> \n", "test.capture:2: link without target" },
                { HEAD "link sys/a -> /etc/passwd\n", "test.capture:2: link target is absolute" },
                { HEAD "link sys/a -> ../../etc\n", "test.capture:2: link leads out" },
                { HEAD "link sys/a -> ../..\n", "test.capture:2: link ends in" },
                { HEAD "link sys/a -> ..\n", "test.capture:2: link ends in" },
                { HEAD "link sys/a -> ../etc\n", "test.capture:2: link does not lead" },
                { HEAD "link sys/a -> b/../../..\n", "test.capture:2: link does not lead" },
                { HEAD "link proc/1/fd/3 -> /etc/passwd\n", "test.capture:2: link target is absolute" },
                { HEAD "link proc/1/fd/3 -> /dev/../etc\n", "test.capture:2: link target is no plain path" },
                { HEAD "link proc/1/fdx -> /dev/null\n", "test.capture:2: link target is absolute" },
                { HEAD "| text\n", "test.capture:2: a line of text without" },
                { HEAD "text sys/a\n|x\n", "test.capture:3: a line of text begins with" },
                { HEAD "dir sys/a\rb\n", "test.capture:2: control byte 0x0d" },
                { HEAD "dir sys/a\r\n", "test.capture:2: control byte 0x0d" },
                { HEAD "file sys/a = 1\nnode dev/x\nfile sys/a = 2\n", "test.capture:4: sys/a was already given in line 2" },
                { HEAD "link sys/d -> e\ndir sys/d\n", "test.capture:3: sys/d was already given in line 2" },
                { HEAD "file sys/a = 1\nfile sys/a/b = 1\n", "test.capture:3: sys/a/b is below something" },
                { HEAD "link sys/l -> e\nfile sys/l/b = 1\ndir sys/e\n", "test.capture:2: sys/l is there already" },
                { HEAD "link sys/l -> e\ndir sys/e\nlink sys/l/b -> x\n", "test.capture:4: sys/l/b is below something" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_scratch_ char *root = scratch_new();
                struct err err = { 0 };
                int r = unpack(rows[i].text, root, &err);
                if (r >= 0 || strncmp(err.msg, rows[i].problem, strlen(rows[i].problem)) != 0)
                        fail_msg("row %zu: \"%s\" gave %d \"%s\", expected \"%s\"", i, rows[i].text, r, err.msg, rows[i].problem);
        }
}

static void test_nul_bytes_and_sizes_are_refused(void **state)
{
        _cleanup_capture_ struct capture c = { 0 };
        static const char nul[] = HEAD "file sys/a = 1\0/../etc\n";
        struct err err;

        (void)state;
        assert_int_equal(capture_parse("n", nul, sizeof(nul) - 1, &c, &err), -EINVAL);
        assert_non_null(strstr(err.msg, "n:2: control byte 0x00"));
        assert_int_equal(capture_parse("n", nul, (size_t)CAPTURE_MAX_BYTES + 1, &c, &err), -EFBIG);

        _cleanup_strbuf_ struct strbuf b = { 0 };
        strbuf_add(&b, HEAD "file sys/a = ");
        for (int i = 0; i < CAPTURE_MAX_VALUE; i++)
                strbuf_add(&b, "x");
        assert_int_equal(capture_parse("n", b.text, b.len, &c, &err), -EINVAL);
        assert_non_null(strstr(err.msg, "n:2: value is too long"));

        strbuf_done(&b);
        strbuf_add(&b, HEAD "dir sys");
        for (int i = 0; i < CAPTURE_MAX_DEPTH; i++)
                strbuf_add(&b, "/d");
        assert_int_equal(capture_parse("n", b.text, b.len, &c, &err), -EINVAL);
        assert_non_null(strstr(err.msg, "n:2: path is too deep"));
        assert_null(c.entries);
}

static void test_each_kind_becomes_what_it_says(void **state)
{
        static const char text[] = HEAD "# a comment\n"
                                        "dir  sys/bus/pci/drivers/hci 2\n"
                                        "link sys/bus/pci/devices/x -> ../../../devices/x\n"
                                        "link proc/7/fd/3 -> /dev/vfio/12\n"
                                        "file sys/devices/x/vendor = 0x10de\n"
                                        "file sys/devices/x/empty =\n"
                                        "text sys/devices/x/nothing\n"
                                        "text sys/devices/x/resource\n"
                                        "| one\n"
                                        "|\n"
                                        "|  | two\n"
                                        "node dev/vfio/vfio"; /* the last newline may be missing */
        static const struct {
                const char *path, *content;
        } files[] = {
                { "sys/bus/pci/devices/x/vendor", "0x10de\n" },  { "sys/devices/x/empty", "\n" }, { "sys/devices/x/nothing", "" },
                { "sys/devices/x/resource", "one\n\n | two\n" }, { "dev/vfio/vfio", "" },
        };
        _cleanup_scratch_ char *root = scratch_new();
        _cleanup_close_ int dir = open(root, O_RDONLY | O_DIRECTORY);
        char data[256];
        struct stat st;
        struct err err;

        (void)state;
        ASSERT_OK(unpack(text, root, &err), &err);
        for (size_t i = 0; i < N_ELEMENTS(files); i++) {
                ASSERT_OK(fs_read(dir, files[i].path, data, sizeof(data), NULL, &err), &err);
                assert_string_equal(data, files[i].content);
        }
        assert_int_equal(fs_stat(dir, "sys/bus/pci/drivers/hci 2", &st), 0);
        assert_true(S_ISDIR(st.st_mode));
        ASSERT_OK(fs_readlink(dir, "proc/7/fd/3", data, sizeof(data), &err), &err);
        assert_string_equal(data, "/dev/vfio/12");
        /* A host has all three directories, whatever the capture says; and is not unpacked into twice. */
        assert_int_equal(unpack(HEAD, root, &err), -ENOTEMPTY);
}

static void test_every_failing_call_is_reported(void **state)
{
        static const char text[] = HEAD "dir sys/a/b\nfile sys/a/c = 1\nlink sys/a/d -> c\nnode dev/n\n";

        (void)state;
        for (unsigned n = 1;; n++) {
                _cleanup_scratch_ char *root = scratch_new();
                struct err err = { 0 };
                fs_fail_at(n, EIO);
                int r = unpack(text, root, &err);
                unsigned calls = fs_calls();
                fs_fail_at(0, 0);
                if (calls < n) {
                        assert_int_equal(r, 0);
                        assert_true(n > 10);
                        return;
                }
                assert_int_equal(r, -EIO);
                assert_int_equal(err.code, EIO);
        }
}

/* A small host with everything that a capture may and may not say. */
static const char HOST[] = HEAD "# Facts of a host, written by Sluice. No serial numbers, no MAC addresses.\n"
                                "dir  dev/vfio/devices\n"
                                "node dev/vfio/vfio\n"
                                "file proc/driver/nvidia/gpus/0000:3b:00.0/information = Device Minor: \t 3\n"
                                "file proc/driver/nvidia/gpus/0000:3b:00.0/unbindLock = 0\n"
                                "file proc/sys/kernel/random/boot_id = 00000000-0000-0000-0000-000000000000\n"
                                "link sys/bus/mdev/devices/11111111-2222-3333-4444-555555555555 -> "
                                "../../../devices/pci0000:3a/0000:3b:00.0/11111111-2222-3333-4444-555555555555\n"
                                "link sys/bus/pci/devices/0000:3b:00.0 -> ../../../devices/pci0000:3a/0000:3b:00.0\n"
                                "dir  sys/bus/pci/drivers/nvidia\n"
                                "link sys/class/mdev_bus/0000:3b:00.0 -> ../../devices/pci0000:3a/0000:3b:00.0\n"
                                "link sys/devices/pci0000:3a/0000:3b:00.0/11111111-2222-3333-4444-555555555555/mdev_type -> "
                                "../mdev_supported_types/nvidia-222\n"
                                "text sys/devices/pci0000:3a/0000:3b:00.0/device\n"
                                "link sys/devices/pci0000:3a/0000:3b:00.0/driver -> ../../../bus/pci/drivers/nvidia\n"
                                "link sys/devices/pci0000:3a/0000:3b:00.0/iommu_group -> ../../../kernel/iommu_groups/12\n"
                                "file sys/devices/pci0000:3a/0000:3b:00.0/mdev_supported_types/nvidia-222/name = GRID T4-1B\n"
                                "text sys/devices/pci0000:3a/0000:3b:00.0/resource\n"
                                "| 0x0 0x1 0x2\n"
                                "|\n"
                                "file sys/devices/pci0000:3a/0000:3b:00.0/vendor = 0x10de\n"
                                "link sys/kernel/iommu_groups/12/devices/0000:3b:00.0 -> ../../../../devices/pci0000:3a/0000:3b:00.0\n"
                                "file sys/kernel/iommu_groups/12/type =\n";
/* What must not come back. */
static const char SECRETS[] = "file proc/cmdline = SECRET\n"
                              "file proc/driver/nvidia/version = SECRET\n"
                              "file sys/devices/pci0000:3a/0000:3b:00.0/serial = SECRET\n"
                              "file sys/devices/pci0000:3a/0000:3b:00.0/vpd = SECRET\n"
                              "file sys/devices/pci0000:3a/0000:3b:00.0/config = SECRET\n"
                              "file sys/devices/pci0000:3a/0000:3b:00.0/driver_override = SECRET\n"
                              "file sys/devices/pci0000:3a/0000:3b:00.0/net/eth0/address = SECRET\n"
                              "file sys/class/dmi/id/product_serial = SECRET\n";

static char *capture_of(const char *root)
{
        _cleanup_(tree_close) struct tree tree = TREE_NULL;
        _cleanup_strbuf_ struct strbuf b = { 0 };
        struct err err;

        ASSERT_OK(tree_open(&tree, root, &err), &err);
        ASSERT_OK(capture_write(&tree, &b, &err), &err);
        return strbuf_take(&b);
}

static void test_the_capture_of_an_unpacked_capture_is_identical(void **state)
{
        _cleanup_scratch_ char *root = scratch_new();
        _cleanup_free_ char *with_secrets = xasprintf("%s%s", HOST, SECRETS);
        struct err err;

        (void)state;
        ASSERT_OK(unpack(with_secrets, root, &err), &err);
        _cleanup_free_ char *again = capture_of(root);
        assert_string_equal(again, HOST);
}

static void test_what_identifies_the_machine_is_left_out(void **state)
{
        _cleanup_scratch_ char *root = scratch_new();
        struct err err;

        (void)state;
        ASSERT_OK(unpack(HEAD "file proc/sys/kernel/random/boot_id = 2f6d1f38-0000-4000-8000-aabbccddeeff\n"
                              "text proc/driver/nvidia/gpus/0000:01:00.0/information\n"
                              "| Model: \t\t L40S\n| GPU UUID: \t GPU-aaaaaaaa\n| Device Minor: \t 7\n| Serial: 123\n"
                              "text proc/iomem\n"
                              "| 00000000-00000fff : Reserved\n| 80000000-8fffffff : PCI Bus 0000:00\n"
                              "|   80000000-80ffffff : 0000:00:02.0\n|     80000000-802fffff : efifb\n"
                              "|   81000000-81ffffff : 0000:00:03.0\n",
                         root, &err),
                  &err);
        _cleanup_free_ char *text = capture_of(root);
        assert_string_equal(text, HEAD "# Facts of a host, written by Sluice. No serial numbers, no MAC addresses.\n"
                                       "file proc/driver/nvidia/gpus/0000:01:00.0/information = Device Minor: \t 7\n"
                                       "text proc/iomem\n"
                                       "| 80000000-8fffffff : PCI Bus 0000:00\n"
                                       "|   80000000-80ffffff : 0000:00:02.0\n"
                                       "|     80000000-802fffff : efifb\n"
                                       "file proc/sys/kernel/random/boot_id = 00000000-0000-0000-0000-000000000000\n");
}

static void test_of_the_modules_only_what_they_say_of_vfio_is_taken(void **state)
{
        _cleanup_scratch_ char *root = scratch_new(), *copy = scratch_new();
        struct err err;

        (void)state;
        ASSERT_OK(unpack(HEAD "file proc/sys/kernel/osrelease = 6.8.0\n"
                              "text lib/modules/6.8.0/modules.alias\n"
                              "| alias pci:v000010DEd* nvidia\n| alias vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* nvgrace_gpu_vfio_pci\n"
                              "file lib/modules/6.7.0/modules.alias = alias vfio_pci:v1 other\n",
                         root, &err),
                  &err);
        _cleanup_free_ char *text = capture_of(root);
        assert_string_equal(text, HEAD "# Facts of a host, written by Sluice. No serial numbers, no MAC addresses.\n"
                                       "file lib/modules/6.8.0/modules.alias = alias vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* "
                                       "nvgrace_gpu_vfio_pci\n"
                                       "file proc/sys/kernel/osrelease = 6.8.0\n"
                                       "file proc/sys/kernel/random/boot_id = 00000000-0000-0000-0000-000000000000\n");
        ASSERT_OK(unpack(text, copy, &err), &err);
        _cleanup_free_ char *again = capture_of(copy);
        assert_string_equal(again, text);
}

static void test_the_whole_of_a_directory_is_captured_when_asked(void **state)
{
        _cleanup_scratch_ char *root = scratch_new(), *copy = scratch_new();
        _cleanup_free_ char *text = xasprintf("%s%s", HOST, SECRETS);
        _cleanup_(tree_close) struct tree a = TREE_NULL, b = TREE_NULL;
        _cleanup_strbuf_ struct strbuf first = { 0 }, second = { 0 };
        struct err err;

        (void)state;
        ASSERT_OK(unpack(text, root, &err), &err);
        ASSERT_OK(tree_open(&a, root, &err), &err);
        ASSERT_OK(capture_write_all(&a, &first, &err), &err);
        assert_non_null(strstr(first.text, "file sys/class/dmi/id/product_serial = SECRET\n"));
        ASSERT_OK(unpack(first.text, copy, &err), &err);
        ASSERT_OK(tree_open(&b, copy, &err), &err);
        ASSERT_OK(capture_write_all(&b, &second, &err), &err);
        assert_string_equal(first.text, second.text);

        /* A link out of the directory would read another host: refused by name. */
        assert_int_equal(symlinkat("/etc/passwd", b.sys, "out"), 0);
        strbuf_done(&second);
        assert_int_equal(capture_write_all(&b, &second, &err), -EINVAL);
        assert_non_null(strstr(err.msg, "sys/out -> /etc/passwd: link target is absolute"));
}

static void test_the_running_machine_can_be_captured_and_unpacked(void **state)
{
        _cleanup_scratch_ char *root = scratch_new();
        _cleanup_(tree_close) struct tree tree = TREE_NULL;
        _cleanup_strbuf_ struct strbuf b = { 0 };
        struct err err;

        (void)state;
        ASSERT_OK(tree_open(&tree, NULL, &err), &err);
        ASSERT_OK(capture_write(&tree, &b, &err), &err);
        assert_non_null(strstr(b.text, "boot_id = 00000000-0000-0000-0000-000000000000\n"));
        ASSERT_OK(unpack(b.text, root, &err), &err);
        _cleanup_free_ char *again = capture_of(root);
        assert_string_equal(again, b.text);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_bad_line_is_refused_with_its_number),
                TEST(test_nul_bytes_and_sizes_are_refused),
                TEST(test_each_kind_becomes_what_it_says),
                TEST(test_every_failing_call_is_reported),
                TEST(test_the_capture_of_an_unpacked_capture_is_identical),
                TEST(test_what_identifies_the_machine_is_left_out),
                TEST(test_of_the_modules_only_what_they_say_of_vfio_is_taken),
                TEST(test_the_whole_of_a_directory_is_captured_when_asked),
                TEST(test_the_running_machine_can_be_captured_and_unpacked),
        };

        return RUN(tests);
}
