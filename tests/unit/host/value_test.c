/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "host/value.h"

static struct bdf address(const char *text)
{
        struct bdf bdf;

        assert_true(bdf_parse(text, &bdf));
        return bdf;
}

static void test_an_unknown_numa_node_stays_unknown(void **state)
{
        static const struct {
                const char *text;
                bool ok;
                int node;
        } rows[] = {
                { "-1", true, -1 }, { "0", true, 0 }, { "1", true, 1 },   { "4095", true, 4095 }, { "4096", false, 0 },
                { "-2", false, 0 }, { "", false, 0 }, { "0 ", false, 0 }, { "+1", false, 0 },     { "none", false, 0 },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                int node = 77;
                assert_int_equal(value_numa(rows[i].text, &node), rows[i].ok);
                assert_int_equal(node, rows[i].ok ? rows[i].node : 77);
        }
}

static void test_a_modalias_is_all_ids_or_none(void **state)
{
        static const char *const bad[] = {
                "",
                "pci:v000010DEd000026B9sv000010DEsd00001851bc03sc02i0",
                "pci:v000010DEd000026B9sv000010DEsd00001851bc03sc02i000",
                "pci:v000110DEd000026B9sv000010DEsd00001851bc03sc02i00", /* no vendor has five digits */
                "pci:v000010DEd000026B9sv000010DEsd00001851bc03sc02",
                "pci:v000010DEd0000 6B9sv000010DEsd00001851bc03sc02i00",
                "usb:v000010DEd000026B9sv000010DEsd00001851bc03sc02i00",
        };
        struct value_ids ids = { .vendor = 7 };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
                assert_false(value_modalias(bad[i], &ids));
                assert_int_equal(ids.vendor, 7);
        }
        assert_true(value_modalias("pci:v000010DEd000025B6sv000010DEsd000014A9bc03sc02i01", &ids));
        assert_int_equal(ids.vendor, 0x10de);
        assert_int_equal(ids.device, 0x25b6);
        assert_int_equal(ids.subvendor, 0x10de);
        assert_int_equal(ids.subdevice, 0x14a9);
        assert_int_equal(ids.class_code, 0x030201);
}

#define EMPTY "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"

static void test_bars_have_their_sizes(void **state)
{
        /* Recorded: a VF of an A2. */
        static const char vf[] = "0x00000000942c0000 0x00000000942fffff 0x0000000000040200\n"
                                 "0x0000039980000000 0x00000399ffffffff 0x000000000014220c\n" EMPTY
                                 "0x0000039c16000000 0x0000039c17ffffff 0x000000000014220c\n" EMPTY EMPTY EMPTY;
        /* A BAR without a place: the firmware had no room above 4 GiB. */
        static const char unassigned[] = EMPTY "0x0000000000000000 0x0000000fffffffff 0x000000000014220c\n" EMPTY EMPTY EMPTY EMPTY;
        /* How the kernel writes a resource of no size. */
        static const char nothing[] = "0x0000000000000000 0xffffffffffffffff 0x0000000000000200\n"
                                      "0x0000000000001000 0x0000000000000fff 0x0000000000000200\n" EMPTY EMPTY EMPTY EMPTY;
        struct bar bars[N_BARS];

        (void)state;
        assert_true(value_resource(vf, bars));
        assert_int_equal(bars[0].size, 256 << 10);
        assert_int_equal(bars[1].size, INT64_C(2) << 30);
        assert_int_equal(bars[1].start, 0x39980000000);
        assert_int_equal(bars[1].flags, 0x14220c);
        assert_int_equal(bars[2].size, 0);
        assert_int_equal(bars[3].size, 32 << 20);
        assert_true(value_resource(unassigned, bars));
        assert_int_equal(bars[1].start, 0);
        assert_int_equal(bars[1].size, INT64_C(64) << 30);
        assert_true(value_resource(nothing, bars));
        assert_int_equal(bars[0].size, 0);
        assert_int_equal(bars[1].size, 0);
}

static void test_a_broken_resource_file_is_no_answer(void **state)
{
        static const char *const rows[] = {
                "",
                "\n",
                EMPTY,
                EMPTY EMPTY EMPTY EMPTY EMPTY,
                "garbage\n" EMPTY EMPTY EMPTY EMPTY EMPTY,
                "0x0 0x0\n" EMPTY EMPTY EMPTY EMPTY EMPTY,
                "0x0 0x0 0x0 0x0\n" EMPTY EMPTY EMPTY EMPTY EMPTY,
                "0x2000 0x1000 0x200\n" EMPTY EMPTY EMPTY EMPTY EMPTY,
                "0x10000000000000000 0x0 0x0\n" EMPTY EMPTY EMPTY EMPTY EMPTY,
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct bar bars[N_BARS] = { { .size = 77 } };
                if (value_resource(rows[i], bars))
                        fail_msg("row %zu", i);
                assert_int_equal(bars[0].size, 77);
        }
}

static void test_indices_and_uuids_are_whole_names(void **state)
{
        int n = 77;

        (void)state;
        assert_true(value_index("vfio0", "vfio", &n) && n == 0);
        assert_true(value_index("virtfn63", "virtfn", &n) && n == 63);
        n = 77;
        assert_false(value_index("vfio", "vfio", &n) || value_index("vfio1x", "vfio", &n) || value_index("card0", "vfio", &n) ||
                     value_index("vfio99999999999", "vfio", &n) || value_index("vfio-1", "vfio", &n));
        assert_int_equal(n, 77);
}

static void test_the_place_in_the_topology_comes_from_the_link(void **state)
{
        static const struct {
                const char *target, *self, *root, *port, *upstream; /* root NULL: no answer */
        } rows[] = {
                { "../../../devices/pci0000:00/0000:00:02.0", "0000:00:02.0", "pci0000:00", "0000:00:02.0", "0000:00:02.0" },
                { "../../../devices/pci0000:60/0000:60:01.0/0000:61:00.0", "0000:61:00.0", "pci0000:60", "0000:60:01.0", "0000:60:01.0" },
                { "../../../devices/pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:00.0/0000:18:00.0", "0000:18:00.0", "pci0000:15",
                  "0000:15:01.0", "0000:17:00.0" },
                /* A VMD below its own function; the root is the nearest one. */
                { "../../../devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0", "10000:e1:00.0", "pci10000:e0",
                  "10000:e0:06.0", "10000:e0:06.0" },
                /* An Arm board's host bridge. */
                { "../../../devices/platform/40000000.pcie/pci0001:00/0001:00:01.0/0001:01:00.0", "0001:01:00.0", "pci0001:00",
                  "0001:00:01.0", "0001:00:01.0" },
                { "../../../devices/pci0000:60/0000:60:01.0/0000:61:00.0", "0000:61:00.1", NULL, NULL, NULL },
                { "../../../devices/0000:61:00.0", "0000:61:00.0", NULL, NULL, NULL },
                { "../../../devices/pci0000:60", "0000:61:00.0", NULL, NULL, NULL },
                { "../../../devices/pci0000:60/junk/0000:61:00.0", "0000:61:00.0", NULL, NULL, NULL },
                { "../../../devices/pci000:60/0000:61:00.0", "0000:61:00.0", NULL, NULL, NULL },
                { "", "0000:61:00.0", NULL, NULL, NULL },
                { "////", "0000:61:00.0", NULL, NULL, NULL },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct value_place place = { .root = "untouched" };
                bool ok = value_place(rows[i].target, address(rows[i].self), &place);
                if (ok != (rows[i].root != NULL))
                        fail_msg("row %zu", i);
                assert_string_equal(place.root, ok ? rows[i].root : "untouched");
                if (!ok)
                        continue;
                assert_true(bdf_equal(place.root_port, address(rows[i].port)));
                assert_true(bdf_equal(place.upstream, address(rows[i].upstream)));
        }
}

static void test_framebuffers_are_found_by_nesting_and_by_address(void **state)
{
        static const char iomem[] = "00000000-00000fff : Reserved\n"
                                    "80000000-8fffffff : PCI Bus 0000:00\n"
                                    "  80000000-80ffffff : 0000:00:02.0\n"
                                    "    80000000-802fffff : BOOTFB\n"
                                    "  82000000-82ffffff : PCI Bus 0000:01\n"
                                    "    82000000-82ffffff : 0000:01:00.0\n"
                                    "  84000000-842fffff : efifb\n"
                                    "not a line\n"
                                    "zz-yy : simplefb\n";
        static const char hidden[] = "00000000-00000000 : PCI Bus 0000:00\n"
                                     "  00000000-00000000 : 0000:01:00.0\n"
                                     "    00000000-00000000 : nvidia\n"
                                     "      00000000-00000000 : simplefb\n"
                                     "  00000000-00000000 : 0000:02:00.0";
        struct value_range ranges[4];

        (void)state;
        assert_int_equal(value_framebuffers(iomem, ranges, 4), 2);
        assert_true(ranges[0].has_owner && bdf_equal(ranges[0].owner, address("0000:00:02.0")));
        assert_int_equal(ranges[0].start, 0x80000000);
        assert_int_equal(ranges[0].end, 0x802fffff);
        assert_false(ranges[1].has_owner);
        assert_int_equal(ranges[1].start, 0x84000000);
        assert_int_equal(value_framebuffers(iomem, ranges, 1), 1);
        assert_int_equal(value_framebuffers(hidden, ranges, 4), 1);
        assert_true(ranges[0].has_owner && bdf_equal(ranges[0].owner, address("0000:01:00.0")));
        assert_int_equal(value_framebuffers("", ranges, 4), 0);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_modalias_is_all_ids_or_none),
                TEST(test_an_unknown_numa_node_stays_unknown),
                TEST(test_bars_have_their_sizes),
                TEST(test_a_broken_resource_file_is_no_answer),
                TEST(test_indices_and_uuids_are_whole_names),
                TEST(test_the_place_in_the_topology_comes_from_the_link),
                TEST(test_framebuffers_are_found_by_nesting_and_by_address),
        };

        return RUN(tests);
}
