/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "core/bdf.h"

static void test_addresses_are_parsed_whole_or_not_at_all(void **state)
{
        static const struct {
                const char *text;
                bool ok;
                const char *again;
        } rows[] = {
                { "0000:3b:00.0", true, "0000:3b:00.0" },
                { "0001:C8:00.2", true, "0001:c8:00.2" },
                { "10000:e1:00.0", true, "10000:e1:00.0" },
                { "fffffFFF:ff:1f.7", true, "ffffffff:ff:1f.7" },
                { "0000:00:1f.7", true, "0000:00:1f.7" },
                { "3b:00.0", false, "" },
                { "0000:3b:20.0", false, "" },
                { "0000:3b:00.8", false, "" },
                { "0000:3b:00.0 ", false, "" },
                { "000:3b:00.0", false, "" },
                { "", false, "" },
                { "123456789:3b:00.0", false, "" },
                { "0000:3b:00.", false, "" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct bdf b = { 1, 2, 3, 4 };
                char text[BDF_TEXT_MAX];
                assert_int_equal(bdf_parse(rows[i].text, &b), rows[i].ok);
                if (rows[i].ok)
                        assert_string_equal(bdf_format(b, text), rows[i].again);
                else
                        assert_true(bdf_equal(b, (struct bdf){ 1, 2, 3, 4 }));
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = { TEST(test_addresses_are_parsed_whole_or_not_at_all) };

        return RUN(tests);
}
