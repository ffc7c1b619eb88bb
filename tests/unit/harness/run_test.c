/* SPDX-License-Identifier: Apache-2.0 */
/* What tests/unit/run.sh makes of a test program's end: a check that cannot fail checks nothing. */
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
        const char *script; /* after #!/bin/sh */
        bool strict;
        bool good;
        const char *says;
} rows[] = {
        { "echo ok 1 - a", true, true, "stage: 1 passed, 0 failed, 0 skipped" },
        { "echo ok 1 - a; echo not ok 2 - b; exit 1", false, false, "stage: 1 passed, 1 failed, 0 skipped" },
        { "echo ok 1 - a; kill -SEGV $$", false, false, "stage: 1 passed, 1 failed, 0 skipped" },
        { "exit 0", false, false, "ran no test" },
        { "echo not ok 1 - a '# SKIP'", false, false, "stage: 0 passed, 0 failed, 1 skipped" },
        { "echo ok 1 - a; echo '# skipped: no luck'; echo not ok 2 '# SKIP b'", false, true, "# skipped: no luck" },
        { "echo ok 1 - a; echo '# skipped: no luck'; echo not ok 2 '# SKIP b'", true, false, "stage: 1 passed, 0 failed, 1 skipped" },
};

static void test_a_stage_is_good_only_when_it_ran_and_nothing_failed_nor_when_strict_was_skipped(void **state)
{
        char dir[] = "/tmp/sluice-run.XXXXXX", program[64], command[256], text[4096];
        struct err err;

        (void)state;
        assert_non_null(mkdtemp(dir));
        str_format(program, sizeof(program), "%s/program", dir);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                str_format(text, sizeof(text), "#!/bin/sh\n%s\n", rows[i].script);
                ASSERT_OK(fs_replace(AT_FDCWD, program, text, strlen(text), 0755, &err), &err);
                str_format(command, sizeof(command), "STRICT=%d tests/unit/run.sh stage %s 2>&1", rows[i].strict, program);
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
                TEST(test_a_stage_is_good_only_when_it_ran_and_nothing_failed_nor_when_strict_was_skipped),
        };

        return RUN(tests);
}
