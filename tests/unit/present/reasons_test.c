/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <fcntl.h>

#include "base/fs.h"
#include "core/reason.h"
#include "present/reasons.h"

static bool is_kebab(const char *word)
{
        for (const char *p = word; *p; p++) {
                bool hyphen = *p == '-';

                if (!hyphen && !(*p >= 'a' && *p <= 'z') && !(*p >= '0' && *p <= '9'))
                        return false;
                if (hyphen && (p == word || p[1] == '-' || p[1] == '\0'))
                        return false;
        }
        return *word != '\0';
}

static void test_each_word_is_unique_and_in_kebab_case(void **state)
{
        (void)state;
        for (enum reason a = REASON_NONE + 1; a < REASON_MAX; a++) {
                if (!is_kebab(reason_word(a)))
                        fail_msg("'%s' is not in kebab-case", reason_word(a));
                for (enum reason b = REASON_NONE + 1; b < a; b++)
                        assert_string_not_equal(reason_word(a), reason_word(b));
        }
}

static void test_each_reason_has_a_sentence_and_a_remedy(void **state)
{
        (void)state;
        for (enum reason r = REASON_NONE + 1; r < REASON_MAX; r++)
                if (strlen(reason_sentence(r)) < 8 || strlen(reason_remedy(r)) < 8 || str_has_suffix(reason_sentence(r), ".") ||
                    str_has_suffix(reason_remedy(r), "."))
                        fail_msg("%s: '%s', '%s' (texts are put into sentences: no full stop)", reason_word(r), reason_sentence(r),
                                 reason_remedy(r));
        assert_string_equal(reason_word(REASON_NONE), "");
        assert_string_equal(reason_sentence(REASON_NONE), "");
        assert_string_equal(reason_remedy(REASON_NONE), "");
}

static void test_each_use_has_its_word(void **state)
{
        (void)state;
        assert_string_equal(reason_use_name(REASON_USE_WITHHELD), "withheld");
        assert_string_equal(reason_use_name(REASON_USE_UNHEALTHY), "unhealthy");
        assert_string_equal(reason_use_name(REASON_USE_REFUSAL), "refusal");
        assert_string_equal(reason_use_name(REASON_USE_WARNING), "warning");
        assert_int_equal(reason_use(REASON_NO_GROUP), REASON_USE_WITHHELD);
        assert_int_equal(reason_use(REASON_STUCK), REASON_USE_UNHEALTHY);
        assert_int_equal(reason_use(REASON_HELD), REASON_USE_REFUSAL);
        assert_int_equal(reason_use(REASON_FABRIC), REASON_USE_WARNING);
}

static void test_the_page_has_a_row_for_each_reason(void **state)
{
        _cleanup_strbuf_ struct strbuf page = { 0 };

        (void)state;
        present_reasons_markdown(&page);
        for (enum reason r = REASON_NONE + 1; r < REASON_MAX; r++) {
                char row[64];

                str_format(row, sizeof(row), "\n| `%s` | ", reason_word(r));
                const char *first = strstr(page.text, row);
                if (!first || strstr(first + 1, row))
                        fail_msg("'%s' is not on the page exactly once", reason_word(r));
        }
}

/* Run from the top of the source tree, as make does. */
static void test_the_committed_page_is_the_generated_one(void **state)
{
        static char committed[65536];
        _cleanup_strbuf_ struct strbuf page = { 0 };
        struct err err;

        (void)state;
        present_reasons_markdown(&page);
        ASSERT_OK(fs_read(AT_FDCWD, "docs/reasons.md", committed, sizeof(committed), NULL, &err), &err);
        if (!streq(committed, page.text))
                fail_msg("docs/reasons.md is old: 'make docs' makes it again");
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_each_word_is_unique_and_in_kebab_case),
                TEST(test_each_reason_has_a_sentence_and_a_remedy),
                TEST(test_each_use_has_its_word),
                TEST(test_the_page_has_a_row_for_each_reason),
                TEST(test_the_committed_page_is_the_generated_one),
        };

        return RUN(tests);
}
