/* SPDX-License-Identifier: Apache-2.0 */
/* What tests/gostage.sh makes of a machine and of `go test`: a stage that is skipped without a reason proves nothing. */
#include "../unit.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"

static const struct {
        const char *version; /* what stands in for Go says, and does when asked to list and to test */
        const char *list;
        const char *test;
        const char *library;
        bool strict;
        bool good;
        const char *says;
} rows[] = {
        { "go1.26.8", "", "echo --- PASS: TestA; echo --- PASS: TestB", "", true, true, "stage: 2 passed, 0 failed, 0 skipped" },
        { "go1.27", "", "echo --- PASS: TestA", "libc.so.6", true, true, "stage: 1 passed, 0 failed, 0 skipped" },
        { "go1.26.8", "", "echo --- PASS: TestA; echo --- FAIL: TestB; exit 1", "", false, false, "stage: 1 passed, 1 failed, 0 skipped" },
        { "go1.26.8", "", "echo panic; exit 2", "", false, false, "panic\nstage: 0 passed, 1 failed, 0 skipped" },
        { "go1.26.8", "", "", "", false, false, "stage: 0 passed, 0 failed, 0 skipped" },
        { "go1.26.8", "", "echo --- PASS: TestA; echo --- SKIP: TestB", "", false, true, "stage: 1 passed, 0 failed, 1 skipped" },
        { "go1.26.8", "", "echo --- PASS: TestA; echo --- SKIP: TestB", "", true, false, "stage: 1 passed, 0 failed, 1 skipped" },
        { "go1.26.8", "", "echo --- PASS: TestA; echo '  x_test.go:1: WAITING: for rain'", "", true, true,
          "WAITING: for rain\nstage: 1 passed" },
        /* What is missing is a skip; what is wrong is not. */
        { "go1.19.8", "", "echo --- PASS: TestA", "", false, true, "SKIPPED: stage: go1.19.8 is too old" },
        { "go1.19.8", "", "echo --- PASS: TestA", "", true, false, "SKIPPED: stage: go1.19.8 is too old" },
        { "go1.26.8", "", "echo --- PASS: TestA", "libnothing.so.9", false, true, "SKIPPED: stage: libnothing.so.9 is not installed" },
        { "go1.26.8", "", "echo --- PASS: TestA", "libc.so.66", false, true, "SKIPPED: stage: libc.so.66 is not installed" },
        { "go1.26.8", "echo dial tcp: no such host >&2; exit 1", "exit 1", "", false, true,
          "SKIPPED: stage: the Go modules are not in the cache" },
        { "go1.26.8", "echo module lookup disabled by GOPROXY=off >&2; exit 1", "exit 1", "", true, false,
          "SKIPPED: stage: the Go modules" },
        { "go1.26.8", "echo x.go:1: expected package >&2; exit 1", "exit 1", "", false, false, "stage: 0 passed, 1 failed, 0 skipped" },
};

static void test_a_go_stage_is_skipped_only_for_what_is_missing(void **state)
{
        char dir[] = "/tmp/sluice-gostage.XXXXXX", program[64], command[256], text[4096];
        struct err err;

        (void)state;
        assert_non_null(mkdtemp(dir));
        str_format(program, sizeof(program), "%s/go", dir);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                str_format(text, sizeof(text), "#!/bin/sh\ncase $1 in\nenv) echo %s ;;\nlist) %s ;;\ntest) %s ;;\nesac\n", rows[i].version,
                           *rows[i].list ? rows[i].list : ":", *rows[i].test ? rows[i].test : ":");
                ASSERT_OK(fs_replace(AT_FDCWD, program, text, strlen(text), 0755, &err), &err);
                str_format(command, sizeof(command), "PATH=%s:$PATH LIBRARY=%s STRICT=%d tests/gostage.sh stage peer . 2>&1", dir,
                           rows[i].library, rows[i].strict);
                FILE *output = popen(command, "r");
                assert_non_null(output);
                text[fread(text, 1, sizeof(text) - 1, output)] = '\0';
                int status = pclose(output);
                if ((status == 0) != rows[i].good || !strstr(text, rows[i].says))
                        fail_msg("row %zu: status %d\n%s", i, status, text);
        }
        assert_int_equal(unlink(program), 0);
        assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_go_stage_is_skipped_only_for_what_is_missing),
        };

        return RUN(tests);
}
