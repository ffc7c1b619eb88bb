/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/str.h"
#include "claims/ask.h"

static void test_what_a_hand_tells_is_read_whole_or_not_at_all(void **state)
{
        static const struct {
                const char *told;
                bool ok, complete;
                size_t n;
        } rows[] = {
                { "all", true, true, 0 },
                { "some", true, false, 0 },
                { "all; 42 /dev/vfio/45 qemu-kvm", true, true, 1 },
                { "some; 42 /dev/vfio/45 a b; 43 /dev/nvidia0 ", true, false, 2 },
                { "", false, false, 0 },
                { "al", false, false, 0 },
                { "allx", false, false, 0 },
                { "all;", false, false, 0 },
                { "all;42 /dev/vfio/45 x", false, false, 0 },
                { "all; x /dev/vfio/45 x", false, false, 0 },
                { "all; -1 /dev/vfio/45 x", false, false, 0 },
                { "all; 42 /dev/vfio/45", false, false, 0 },
                { "all; 99999999999 /dev/vfio/45 x", false, false, 0 },
                { "all; 42 /dev/vfio/45 a-name-that-no-process-of-linux-can-have", false, false, 0 },
                { "all; 1 n c; 2 n c; 3 n c; 4 n c; 5 n c; 6 n c; 7 n c; 8 n c; 9 n c; 10 n c; 11 n c; 12 n c; 13 n c; 14 n c; 15 n c; "
                  "16 n c; 17 n c",
                  false, false, 0 },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct ask_answer answer = { .n_holders = 99 };
                bool ok = ask_parse(rows[i].told, &answer);
                if (ok != rows[i].ok || (ok && (answer.complete != rows[i].complete || answer.n_holders != rows[i].n)) ||
                    (!ok && answer.n_holders != 99))
                        fail_msg("\"%s\" is read wrongly", rows[i].told);
                if (ok)
                        assert_true(!*answer.why_not == answer.complete);
        }
        struct ask_answer answer;
        assert_true(ask_parse(rows[3].told, &answer));
        assert_int_equal(answer.holders[0].pid, 42);
        assert_string_equal(answer.holders[0].node, "/dev/vfio/45");
        assert_string_equal(answer.holders[0].comm, "a b");
        assert_string_equal(answer.holders[1].comm, "");
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_what_a_hand_tells_is_read_whole_or_not_at_all),
        };

        return RUN(tests);
}
