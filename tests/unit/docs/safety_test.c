/* SPDX-License-Identifier: Apache-2.0 */
/* docs/safety.md against the tests: what it names as a proof exists, and no promise is without one. Run from the top of the
 * source tree. */
#include "../unit.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"

enum { TEXT_MAX = 1 << 18, NAME_MAX_LEN = 160, PROMISES_MIN = 15 };

/* "void test_x(" and "func TestX(", one a line: what is defined and not used does not compile. */
static void find_tests(struct strbuf *out)
{
        char line[512];

        strbuf_add(out, "\n");
        FILE *f = popen("grep -rhoE 'void test_[a-z0-9_]+\\(|^func Test[A-Za-z0-9_]+\\(' tests --include=*.c --include=*.go", "re");
        assert_non_null(f);
        while (fgets(line, sizeof(line), f))
                strbuf_add(out, line);
        assert_int_equal(pclose(f), 0);
}

static bool is_test(const char *tests, const char *name)
{
        _cleanup_free_ char *c = xasprintf("\nvoid %s(\n", name), *go = xasprintf("\nfunc %s(\n", name);

        return strstr(tests, c) || strstr(tests, go);
}

/* The next `test_x` or `TestX` of the line at *at; false when it has no more. */
static bool next_name(const char **at, char name[static NAME_MAX_LEN])
{
        for (const char *p = *at; *p && *p != '\n'; p++) {
                size_t n = 0;
                if (*p != '`' || (!str_has_prefix(p + 1, "test_") && !str_has_prefix(p + 1, "Test")))
                        continue;
                while (isalnum((unsigned char)p[1 + n]) || p[1 + n] == '_')
                        n++;
                assert_true(n < NAME_MAX_LEN);
                memcpy(name, p + 1, n);
                name[n] = '\0';
                *at = p + 1 + n;
                return true;
        }
        return false;
}

static void test_every_promise_names_tests_that_exist(void **state)
{
        _cleanup_free_ char *page = xcalloc(TEXT_MAX, 1);
        _cleanup_strbuf_ struct strbuf tests = { 0 };
        char name[NAME_MAX_LEN];
        unsigned promises = 0;
        struct err err;

        (void)state;
        ASSERT_OK(fs_read(AT_FDCWD, "docs/safety.md", page, TEXT_MAX, NULL, &err), &err);
        find_tests(&tests);
        for (const char *line = page; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
                bool promise = str_has_prefix(line, "| **");
                unsigned proofs = 0;
                for (const char *at = line; next_name(&at, name); proofs++)
                        if (!is_test(tests.text, name))
                                fail_msg("docs/safety.md names %s, which no source below tests/ defines", name);
                if (promise && proofs == 0)
                        fail_msg("docs/safety.md has a promise without a test: %.80s", line);
                promises += promise;
        }
        assert_true(promises >= PROMISES_MIN);
}

int main(void)
{
        static const struct CMUnitTest tests[] = { TEST(test_every_promise_names_tests_that_exist) };

        return RUN(tests);
}
