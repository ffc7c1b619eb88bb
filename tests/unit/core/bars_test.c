/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/str.h"
#include "core/bars.h"

enum { MEMORY = 0x200, WIDE = 0x100000, PORTS = 0x100, ENHANCED = 0x20, UNSET = 0x20000000 };

/* A function with all sorts: 32 bit, 64 bit, ports. */
#define BARS                                                                                                          \
        {                                                                                                             \
                { 0x96000000, 16 << 20, MEMORY }, { 0x207000000000, UINT64_C(64) << 30, MEMORY | WIDE }, { 0, 0, 0 }, \
                        { 0x208000000000, 32 << 20, MEMORY | WIDE }, { 0, 0, 0 },                                     \
                {                                                                                                     \
                        0x3000, 128, PORTS                                                                            \
                }                                                                                                     \
        }
#define HOME                                                               \
        {                                                                  \
                0x96000000, 0x0000000c, 0x2070, 0x0000000c, 0x2080, 0x3001 \
        }

struct row {
        const char *title;
        struct bar assigned[N_BARS];
        uint32_t registers[N_BARS];
        bool asleep;
        unsigned char type;
        const char *what; /* "" = none has moved */
};

static const struct row rows[] = {
        { "as assigned", BARS, HOME, false, 0, "" },
        { "of several functions", BARS, HOME, false, 0x80, "" },
        { "32 bit moved",
          BARS,
          { 0x95000000, 0xc, 0x2070, 0xc, 0x2080, 0x3001 },
          false,
          0,
          "BAR 0 is at 0x95000000, and the kernel gave it 0x96000000" },
        { "the upper half moved",
          BARS,
          { 0x96000000, 0xc, 0x2071, 0xc, 0x2080, 0x3001 },
          false,
          0,
          "BAR 1 is at 0x207100000000, and the kernel gave it 0x207000000000" },
        { "all forgotten", BARS, { 0 }, false, 0, "BAR 0 is at 0x0, and the kernel gave it 0x96000000" },
        { "all forgotten in D3hot", BARS, { 0 }, true, 0, "" },
        { "moved in D3hot",
          BARS,
          { 0, 0xc, 0x2071, 0xc, 0x2080, 0x3001 },
          true,
          0,
          "BAR 1 is at 0x207100000000, and the kernel gave it 0x207000000000" },
        { "ports are the kernel's numbers", BARS, { 0x96000000, 0xc, 0x2070, 0xc, 0x2080, 0x4001 }, false, 0, "" },
        { "a host bridge that translates", BARS, { 0x16000000, 0x8000000c, 0x206f, 0x8000000c, 0x207f, 0x3001 }, false, 0, "" },
        { "one alone is not translated",
          { { 0x96000000, 4096, MEMORY } },
          { 0x16000000 },
          false,
          0,
          "BAR 0 is at 0x16000000, and the kernel gave it 0x96000000" },
        { "two moved differently",
          BARS,
          { 0x16000000, 0xc, 0x2071, 0xc, 0x2080, 0x3001 },
          false,
          0,
          "BAR 0 is at 0x16000000, and the kernel gave it 0x96000000" },
        { "without a register", { { 0x96000000, 4096, MEMORY | ENHANCED } }, { 0 }, false, 0, "" },
        { "never assigned", { { 0x96000000, 4096, MEMORY | UNSET }, { 0, 4096, MEMORY } }, { 0, 0x1000 }, false, 0, "" },
        { "a bridge has other registers there", BARS, { 0 }, false, 1, "" },
        { "64 bit in the last register", { [5] = { 0x96000000, 4096, MEMORY | WIDE } }, { [5] = 0x96000004 }, false, 0, "" },
};

static void test_a_bar_that_moved_is_named_with_both_addresses(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                unsigned char header[CONFIG_HEADER] = { [0x0e] = rows[i].type };
                char what[128] = "";

                for (size_t k = 0; k < 4 * (size_t)N_BARS; k++)
                        header[0x10 + k] = (unsigned char)(rows[i].registers[k / 4] >> 8 * (k % 4));
                bool moved = bars_moved(rows[i].assigned, header, rows[i].asleep, what, sizeof(what));
                if (moved != (*rows[i].what != '\0') || !streq(what, rows[i].what))
                        fail_msg("%s: %d '%s'", rows[i].title, moved, what);
        }
}

static void test_a_bar_of_another_size_is_named_with_both(void **state)
{
        static const struct {
                uint32_t control;
                const char *what;
        } sizes[] = {
                { 1 | 16 << 8, "" },
                { 1 | 8 << 8, "BAR 1 has 256 MiB, and the kernel knows it with 65536 MiB" },
                { 0 | 5 << 8, "BAR 0 has 32 MiB, and the kernel knows it with 16 MiB" },
                { 1 | 43 << 8, "BAR 1 has 8796093022208 MiB, and the kernel knows it with 65536 MiB" },
                { 1 | 63 << 8, "" }, /* no size */
                { 2 | 8 << 8, "" },  /* no BAR */
                { 7 | 8 << 8, "" },  /* none either */
                { 0xffffffff, "" },  /* no answer */
                { 5 | 8 << 8, "" },  /* ports */
        };
        static const struct bar assigned[N_BARS] = BARS;

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(sizes); i++) {
                char what[128] = "";
                bool resized = bars_resized(assigned, sizes[i].control, what, sizeof(what));
                if (resized != (*sizes[i].what != '\0') || !streq(what, sizes[i].what))
                        fail_msg("%x: %d '%s'", sizes[i].control, resized, what);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_bar_that_moved_is_named_with_both_addresses),
                TEST(test_a_bar_of_another_size_is_named_with_both),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
