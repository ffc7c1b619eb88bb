/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <stdlib.h>

#include "base/str.h"

static void test_numbers_are_whole_strings_in_range(void **state)
{
        static const struct {
                const char *text;
                int base;
                uint64_t max;
                bool ok;
                uint64_t value;
        } rows[] = {
                { "0", 10, 9, true, 0 },
                { "0x10de", 16, 0xffff, true, 0x10de },
                { "10de", 16, 0xffff, true, 0x10de },
                { "", 10, 9, false, 0 },
                { "0x", 16, 9, false, 0 },
                { "10", 10, 9, false, 0 },
                { "-1", 10, 9, false, 0 },
                { "+1", 10, 9, false, 0 },
                { " 1", 10, 9, false, 0 },
                { "1 ", 10, 9, false, 0 },
                { "1f", 10, 99, false, 0 },
                { "0x1", 10, 99, false, 0 },
                { "18446744073709551615", 10, UINT64_MAX, true, UINT64_MAX },
                { "18446744073709551616", 10, UINT64_MAX, false, 0 },
                { "fffffffffffffffff", 16, UINT64_MAX, false, 0 },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                uint64_t v = 77;
                assert_int_equal(str_to_u64(rows[i].text, rows[i].base, rows[i].max, &v), rows[i].ok);
                assert_true(v == (rows[i].ok ? rows[i].value : 77));
        }
}

static void test_text_from_outside_is_made_safe(void **state)
{
        static const struct {
                const char *in, *out;
                size_t size;
        } rows[] = {
                { "AD102GL [L40S]", "AD102GL [L40S]", 64 },
                { "a\nb\x1b[31m\x7f", "a?b?[31m?", 64 },
                { "t\xc3\xa9st", "t\xc3\xa9st", 64 },
                { "a\xc2\x9b"
                  "31m\xc2\x85\xc2\xa0",
                  "a?31m?\xc2\xa0", 64 },  /* C1: an escape sequence to terminals */
                { "t\xc3\xa9st", "t", 3 }, /* never half a character */
                { "\xff\xfe", "??", 64 },
                { "\xc0\xaf", "??", 64 },           /* overlong */
                { "\xed\xa0\x80", "???", 64 },      /* surrogate */
                { "\xf4\x90\x80\x80", "????", 64 }, /* beyond U+10FFFF */
                { "\xe2\x82", "??", 64 },           /* cut off */
                { "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", 64 },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                char out[64];
                str_clean(out, rows[i].size, rows[i].in);
                assert_string_equal(out, rows[i].out);
                assert_true(str_is_utf8(out, strlen(out)));
        }
}

static void test_globs_match_whole_strings(void **state)
{
        static const struct {
                const char *pattern, *text;
                bool match;
        } rows[] = {
                { "0000:3b:*", "0000:3b:00.0", true },
                { "0000:3b:*", "0000:3c:00.0", false },
                { "*", "", true },
                { "*L40S*", "AD102GL [L40S]", true },
                { "L40S", "AD102GL [L40S]", false },
                { "a?c", "abc", true },
                { "a?c", "ac", false },
                { "*a*b*c*", "xxaxxbxxcxx", true },
                { "*a*b*c", "xxaxxbxxcxx", false },
                { "[L40S]", "[L40S]", true },
                { "", "", true },
                { "", "x", false },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                assert_int_equal(str_glob(rows[i].pattern, rows[i].text), rows[i].match);
}

static void test_a_buffer_grows_and_is_handed_over(void **state)
{
        _cleanup_strbuf_ struct strbuf b = { 0 };

        (void)state;
        for (int i = 0; i < 1000; i++)
                strbuf_addf(&b, "%d,", i);
        strbuf_addf(&b, "%0500d", 7);
        assert_int_equal(b.len, strlen(b.text));
        _cleanup_free_ char *text = strbuf_take(&b);
        assert_true(str_has_prefix(text, "0,1,2,"));
        assert_true(str_has_suffix(text, "0007"));
        assert_null(b.text);
        _cleanup_free_ char *empty = strbuf_take(&b);
        assert_string_equal(empty, "");
}

static void test_copies_say_when_they_do_not_fit(void **state)
{
        char out[4];

        (void)state;
        assert_true(str_copy(out, sizeof(out), "abc"));
        assert_false(str_copy(out, sizeof(out), "abcd"));
        assert_string_equal(out, "abc");
}

static void test_a_uuid_is_as_the_kernel_prints_it(void **state)
{
        (void)state;
        assert_true(str_is_uuid("a1b2c3d4-5678-4e9a-8b0c-d1e2f3a4b5c6"));
        assert_false(str_is_uuid("A1B2C3D4-5678-4e9a-8b0c-d1e2f3a4b5c6"));
        assert_false(str_is_uuid("a1b2c3d45678-4e9a-8b0c-d1e2f3a4b5c6-"));
        assert_false(str_is_uuid("a1b2c3d4-5678-4e9a-8b0c-d1e2f3a4b5c"));
        assert_false(str_is_uuid("a1b2c3d4-5678-4e9a-8b0c-d1e2f3a4b5c6f"));
        assert_false(str_is_uuid(""));
}

static void test_a_text_is_taken_line_by_line(void **state)
{
        const char *text = "one\n\nlast", *line;
        size_t n;

        (void)state;
        assert_true(str_line(&text, &line, &n) && n == 3 && str_has_prefix(line, "one\n"));
        assert_true(str_line(&text, &line, &n) && n == 0);
        assert_true(str_line(&text, &line, &n) && n == 4 && streq(line, "last"));
        assert_false(str_line(&text, &line, &n));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_numbers_are_whole_strings_in_range), TEST(test_text_from_outside_is_made_safe),
                TEST(test_globs_match_whole_strings),          TEST(test_a_buffer_grows_and_is_handed_over),
                TEST(test_copies_say_when_they_do_not_fit),    TEST(test_a_uuid_is_as_the_kernel_prints_it),
                TEST(test_a_text_is_taken_line_by_line),
        };

        return RUN(tests);
}
