/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/str.h"
#include "node/node_priv.h"

static void test_the_nearest_ids_are_told_and_nothing_far_off(void **state)
{
        static const struct {
                const char *asked, *nearest;
        } rows[] = {
                { "0000:3b:00.1", "0000:3b:00.0, 0000:3c:00.0, 0000:9b:00.0" },
                { "3b:00.0", "0000:3b:00.0" },
                { "0000:9b:00", "0000:9b:00.0, 0000:3b:00.0" },
                { "0000:9B:00.0", "0000:9b:00.0, 0000:3b:00.0, 0000:3c:00.0" },
                { "8dc12b8f", "8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11" },
                { "gpu0", "" },
                { "", "" },
                { "\xff\x01 a name that is much longer than any id of a device can ever be, whoever gives it", "" },
        };
        struct device devices[] = { { .id = "0000:3b:00.0" },
                                    { .id = "0000:3c:00.0" },
                                    { .id = "0000:9b:00.0" },
                                    { .id = "8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11" } };
        const struct offer offer = { .refs = 1, .devices = devices, .n_devices = N_ELEMENTS(devices) };
        char text[NEAREST_TEXT_MAX];

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                node_nearest(&offer, rows[i].asked, text);
                if (!streq(text, rows[i].nearest))
                        fail_msg("near \"%s\" are said to be \"%s\"", rows[i].asked, text);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_the_nearest_ids_are_told_and_nothing_far_off),
        };

        return RUN(tests);
}
