/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/clock.h"
#include "base/str.h"

static void test_what_has_time_falls_on_the_nearest_beat(void **state)
{
        static const struct {
                int64_t now_ms, every_ms, due_ms;
        } cases[] = {
                { 100000, 5000, 105000 },  { 102400, 5000, 105000 },  { 102600, 5000, 110000 }, { 104999, 5000, 110000 },
                { 105001, 10000, 115000 }, { 100000, 10000, 110000 }, { 0, 5000, 5000 },        { 100001, 600000, 700000 },
                { 100000, 4999, 104999 },  { 123456, 250, 123706 },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++)
                assert_int_equal(clock_beat(cases[i].now_ms, cases[i].every_ms), cases[i].due_ms);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_what_has_time_falls_on_the_nearest_beat),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
