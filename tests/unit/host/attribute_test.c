/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/str.h"
#include "host/attribute.h"
#include "sim/capture.h"

static void test_the_table_is_sorted_and_says_where_each_attribute_comes_from(void **state)
{
        size_t n;
        const struct host_attribute *a = host_attributes(&n);

        (void)state;
        assert_true(n > 20);
        for (size_t i = 0; i < n; i++) {
                assert_true(strlen(a[i].source) > 10);
                if (i > 0)
                        assert_true(strcmp(a[i - 1].name, a[i].name) < 0);
        }
}

static void test_what_can_hang_on_a_wedged_device_is_not_free(void **state)
{
        static const char *const locked[] = { "driver_override",
                                              "sriov_numvfs",
                                              "current_link_speed",
                                              "current_link_width",
                                              "max_link_speed",
                                              "max_link_width",
                                              "config",
                                              "reset",
                                              "nvidia/creatable_vgpu_types",
                                              "available_instances",
                                              "uevent",
                                              "not_in_the_table",
                                              "" };
        static const char *const plain[] = { "vendor", "class", "resource", "nvidia/current_vgpu_type", "sriov_totalvfs", "numa_node" };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(locked); i++)
                assert_false(host_attribute_is_free(locked[i]));
        for (size_t i = 0; i < N_ELEMENTS(plain); i++)
                assert_true(host_attribute_is_free(plain[i]));
}

static void test_a_capture_reads_free_attributes_only(void **state)
{
        size_t n;
        const char *const *names = capture_attributes(&n);

        (void)state;
        assert_true(n > 5);
        for (size_t i = 0; i < n; i++)
                if (!host_attribute_is_free(names[i]))
                        fail_msg("%s is not free", names[i]);
}

/* In a child: the assertion ends it. */
static void test_reading_a_locked_attribute_ends_the_process(void **state)
{
        int status;

        (void)state;
        pid_t pid = fork();
        if (pid == 0) {
                struct rlimit none = { 0, 0 };
                char text[16];
                struct err err;
                (void)setrlimit(RLIMIT_CORE, &none);
                (void)signal(SIGABRT, SIG_DFL);
                (void)close(STDERR_FILENO);
                _exit(attribute_read(AT_FDCWD, "driver_override", text, sizeof(text), &err) == 0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_numbers_are_whole_or_an_error_that_quotes_them(void **state)
{
        static const struct {
                const char *text;
                int result;
                uint64_t value;
                const char *quote;
        } rows[] = {
                { "0x10de\n", 0, 0x10de, NULL },
                { "0X10DE", 0, 0x10de, NULL },
                { "", -EBADMSG, 0, "empty" },
                { "\n", -EBADMSG, 0, "empty" },
                { "0x10dg\n", -EBADMSG, 0, "\"0x10dg\"" },
                { "0x110de\n", -EBADMSG, 0, "\"0x110de\"" },
                { "-1\n", -EBADMSG, 0, "\"-1\"" },
                { "\xff\xfe\n", -EBADMSG, 0, "\"??\"" },
                { "0x", -EBADMSG, 0, "\"0x\"" },
        };
        struct fixture f;

        (void)state;
        fixture_make(&f);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                uint64_t value = 77;
                struct err err;
                fixture_file(&f, "sys/vendor", rows[i].text);
                int r = attribute_number(f.tree.sys, "vendor", 16, 0xffff, &value, &err);
                assert_int_equal(r, rows[i].result);
                assert_int_equal(value, r < 0 ? 77 : rows[i].value);
                if (rows[i].quote && !strstr(err.msg, rows[i].quote))
                        fail_msg("row %zu: %s", i, err.msg);
        }
        fixture_done(&f);
}

static void test_a_value_that_is_too_long_is_no_shorter_value(void **state)
{
        char text[5000], out[256];
        struct fixture f;
        struct err err;

        (void)state;
        fixture_make(&f);
        memset(text, '1', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        fixture_file(&f, "sys/vendor", text);
        assert_int_equal(attribute_read(f.tree.sys, "vendor", out, sizeof(out), &err), -EFBIG);
        fixture_done(&f);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_the_table_is_sorted_and_says_where_each_attribute_comes_from),
                TEST(test_what_can_hang_on_a_wedged_device_is_not_free),
                TEST(test_a_capture_reads_free_attributes_only),
                TEST(test_reading_a_locked_attribute_ends_the_process),
                TEST(test_numbers_are_whole_or_an_error_that_quotes_them),
                TEST(test_a_value_that_is_too_long_is_no_shorter_value),
        };

        return RUN(tests);
}
