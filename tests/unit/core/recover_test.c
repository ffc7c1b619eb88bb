/* SPDX-License-Identifier: Apache-2.0 */
/* Records of an earlier daemon against the host as it is. */
#include "../unit.h"

#include <string.h>

#include "base/str.h"
#include "core/recover.h"

static const struct original ORIGINAL = {
        .bdf = { .bus = 0x3b },
        .card = { .bus = 0x3b },
        .vendor = 0x10de,
        .device = 0x26b9,
        .subvendor = 0x10de,
        .subdevice = 0x1851,
        .driver = "nvidia",
        .target = "vfio-pci",
        .boot_id = "b1",
};

static void test_the_host_decides_what_becomes_of_a_record(void **state)
{
        static const struct {
                enum original_state state;
                const char *former, *driver; /* @driver NULL: nothing is at the address */
                bool node;
                uint16_t subdevice;
                const char *boot_id;
                enum original_fate fate;
                const char *says;
        } rows[] = {
                { ORIGINAL_BOUND, "nvidia", "vfio-pci", true, 0x1851, "b1", FATE_OURS, "" },
                { ORIGINAL_BOUND, "nvidia", "vfio-pci", false, 0x1851, "b1", FATE_OURS, "" }, /* its node is the offer's to judge */
                { ORIGINAL_BOUND, "nvidia", "vfio-pci", true, 0x1851, "", FATE_OURS, "" },
                { ORIGINAL_BOUND, "nvidia", "vfio-pci", true, 0x1851, "b2", FATE_OTHER_BOOT, "rebooted" },
                { ORIGINAL_BINDING, "nvidia", "nvidia", true, 0x1851, "b2", FATE_OTHER_BOOT, "rebooted" },
                { ORIGINAL_BOUND, "nvidia", NULL, true, 0x1851, "b1", FATE_GONE, "gone" },
                { ORIGINAL_BINDING, "nvidia", NULL, true, 0x1851, "b1", FATE_GONE, "gone" },
                { ORIGINAL_BOUND, "nvidia", "vfio-pci", true, 0x1852, "b1", FATE_REPLACED, "another device is left alone" },
                { ORIGINAL_BINDING, "nvidia", "", true, 0x1852, "b1", FATE_REPLACED, "another device is left alone" },
                { ORIGINAL_BOUND, "nvidia", "nvidia", false, 0x1851, "b1", FATE_TAKEN, "is on nvidia now" },
                { ORIGINAL_BOUND, "nvidia", "nouveau", false, 0x1851, "b1", FATE_TAKEN, "is on nouveau now" },
                { ORIGINAL_BOUND, "nvidia", "", false, 0x1851, "b1", FATE_UNBOUND, "binds it again" },
                { ORIGINAL_BINDING, "nvidia", "vfio-pci", true, 0x1851, "b1", FATE_OURS, "" },
                { ORIGINAL_BINDING, "nvidia", "vfio-pci", false, 0x1851, "b1", FATE_HALF, "being bound to vfio-pci" },
                { ORIGINAL_BINDING, "nvidia", "", false, 0x1851, "b1", FATE_HALF, "being bound to vfio-pci" },
                { ORIGINAL_BINDING, "nvidia", "nvidia", false, 0x1851, "b1", FATE_HALF, "being bound to vfio-pci" },
                { ORIGINAL_BINDING, "", "", false, 0x1851, "b1", FATE_HALF, "being bound to vfio-pci" },
                { ORIGINAL_BINDING, "nvidia", "nouveau", false, 0x1851, "b1", FATE_TAKEN, "is on nouveau now" },
                { ORIGINAL_RESTORING, "nvidia", "vfio-pci", true, 0x1851, "b1", FATE_OURS, "" },
                { ORIGINAL_RESTORING, "nvidia", "", false, 0x1851, "b1", FATE_HALF, "given back by Sluice" },
                { ORIGINAL_RESTORING, "nvidia", "nvidia", false, 0x1851, "b1", FATE_HALF, "given back by Sluice" },
                { ORIGINAL_RESTORING, "nvidia", "nouveau", false, 0x1851, "b1", FATE_TAKEN, "is on nouveau now" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct original original = ORIGINAL;
                struct function fn = { .bdf = ORIGINAL.bdf, .vendor = 0x10de, .device = 0x26b9, .subvendor = 0x10de };
                char text[256];
                original.state = rows[i].state;
                (void)str_copy(original.driver, sizeof(original.driver), rows[i].former);
                fn.subdevice = rows[i].subdevice;
                fn.group_node = rows[i].node;
                if (rows[i].driver)
                        (void)str_copy(fn.driver, sizeof(fn.driver), rows[i].driver);
                enum original_fate fate = original_judge(&original, rows[i].driver ? &fn : NULL, rows[i].boot_id);
                if (fate != rows[i].fate)
                        fail_msg("row %zu: %d", i, fate);
                original_say(&original, &fn, fate, text, sizeof(text));
                if (!strstr(text, rows[i].says) || !strstr(text, "0000:3b:00.0"))
                        fail_msg("row %zu says: %s", i, text);
        }
}

/* It is there: only its record would be lost, and with it the way back. */
static void test_what_cannot_be_read_is_not_forgotten(void **state)
{
        static const struct {
                enum reason reason; /* why it is not in the inventory; NONE = it is not there at all */
                enum original_fate fate;
        } rows[] = { { REASON_NONE, FATE_GONE }, { REASON_VANISHED, FATE_GONE }, { REASON_GARBAGE, FATE_UNREAD } };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct inventory *inv = inventory_new();
                struct original original = ORIGINAL;
                const struct function *fn;
                char name[BDF_TEXT_MAX];
                if (rows[i].reason)
                        inventory_add_broken(inv, bdf_format(original.bdf, name), rows[i].reason, "cannot read vendor");
                inventory_seal(inv);
                enum original_fate fate = original_look_up(inv, &original, &fn);
                assert_int_equal(fate, rows[i].fate);
                assert_int_equal(fate_is_forgotten(fate), rows[i].fate == FATE_GONE);
                assert_null(fn);
                inventory_unref(inv);
        }
}

static void test_what_is_bound_or_given_back_together_is_one_unit(void **state)
{
        static const struct {
                uint8_t bus, function;
                int group;
        } rows[] = { { 1, 0, 10 }, { 2, 0, 11 }, { 1, 1, 12 }, { 3, 0, 13 }, { 4, 0, 14 }, { 5, 0, 13 }, { 6, 0, -1 }, { 7, 0, -1 } };
        static const size_t want[N_ELEMENTS(rows)] = { 0, 1, 2, 3, 4, 3, 6, 7 };
        struct inventory *inv = inventory_new();
        struct original originals[N_ELEMENTS(rows)];
        size_t units[N_ELEMENTS(rows)];

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                originals[i] = ORIGINAL;
                originals[i].bdf = (struct bdf){ .bus = rows[i].bus, .function = rows[i].function };
                originals[i].card = (struct bdf){ .bus = rows[i].bus };
                inventory_add_function(inv, originals[i].bdf)->group = rows[i].group;
        }
        inventory_seal(inv);
        original_units(inv, originals, N_ELEMENTS(rows), units);
        assert_memory_equal(units, want, sizeof(want));
        inventory_unref(inv);
}

/* What is remembered of before a bind: the world's word, or that of an earlier plan of ours whose doing the world is. */
static void test_what_was_before_is_remembered_once(void **state)
{
        static const struct {
                const char *driver, *override; /* of the function now; override NULL = not known */
                const char *boot_id, *target;
                uint16_t device;
                const char *want_driver, *want_override;
                bool want_known;
        } rows[] = {
                { "", "vfio-pci", "b1", "vfio-pci", 0x26b9, "nvidia", "", true }, /* ours, and lost its driver */
                { "", NULL, "b1", "vfio-pci", 0x26b9, "nvidia", "", true },
                { "nvidia", "vfio-pci", "b1", "vfio-pci", 0x26b9, "nvidia", "", true }, /* a hand died after the override */
                { "nvidia", "", "b1", "vfio-pci", 0x26b9, "nvidia", "", true },
                { "nouveau", "", "b1", "vfio-pci", 0x26b9, "nouveau", "", true },               /* an administrator's since */
                { "nvidia", "vfio-pci", "b2", "vfio-pci", 0x26b9, "nvidia", "vfio-pci", true }, /* another boot's record */
                { "", "vfio-pci", "b1", "vfio-pci", 0x2330, "", "vfio-pci", true },             /* another device's */
                { "", "other-vfio-pci", "b1", "other-vfio-pci", 0x26b9, "", "other-vfio-pci", true },
                { "nouveau", NULL, "b1", "vfio-pci", 0x26b9, "nouveau", "", false },
                { "", "vfio-pci", "", "vfio-pci", 0x26b9, "nvidia", "", true }, /* which boot it is cannot be told */
        };
        struct original former = ORIGINAL, made;

        (void)state;
        former.override_known = true;
        former.state = ORIGINAL_BOUND;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct function fn = { .bdf = ORIGINAL.bdf, .vendor = 0x10de, .subvendor = 0x10de, .subdevice = 0x1851 };
                fn.device = rows[i].device;
                (void)str_copy(fn.driver, sizeof(fn.driver), rows[i].driver);
                fn.override_known = rows[i].override != NULL;
                (void)str_copy(fn.driver_override, sizeof(fn.driver_override), rows[i].override ? rows[i].override : "");
                original_make(&former, &fn, rows[i].boot_id, rows[i].target, &made);
                if (!streq(made.driver, rows[i].want_driver) || !streq(made.driver_override, rows[i].want_override) ||
                    made.override_known != rows[i].want_known || made.state != ORIGINAL_BINDING ||
                    !streq(made.boot_id, *rows[i].boot_id ? rows[i].boot_id : "b1") || !streq(made.target, rows[i].target) ||
                    made.device != rows[i].device)
                        fail_msg("row %zu: %s, override %s (%d)", i, made.driver, made.driver_override, made.override_known);
        }
        struct function fresh = { .bdf = ORIGINAL.bdf, .driver = "nvidia" };
        original_make(NULL, &fresh, "b1", "vfio-pci", &made);
        assert_string_equal(made.driver, "nvidia");
        assert_false(made.override_known);
}

/* What is on its VFIO driver and stays there: whose doing that is. */
static void test_what_stays_bound_stays_ours_unless_it_is_of_another_boot(void **state)
{
        static const struct {
                const char *former_boot_id, *boot_id, *driver;
                bool is_ours;
        } rows[] = {
                { "b1", "b1", "vfio-pci", true }, { "b1", "b2", "vfio-pci", false },
                { "b1", "", "vfio-pci", true },                                            /* cannot be told, which is no other boot */
                { "", "b1", "vfio-pci", true },   { "b1", "b1", "other-vfio-pci", false }, /* somebody has bound it anew */
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct original former = ORIGINAL, kept;
                struct function fn = { .bdf = ORIGINAL.bdf, .vendor = 0x10de, .device = 0x26b9, .subvendor = 0x10de, .subdevice = 0x1851 };
                former.state = ORIGINAL_BOUND;
                (void)str_copy(former.boot_id, sizeof(former.boot_id), rows[i].former_boot_id);
                (void)str_copy(fn.driver, sizeof(fn.driver), rows[i].driver);
                original_keep(&former, &fn, rows[i].boot_id, &kept);
                if (original_is_bound_by_us(&kept) != rows[i].is_ours || !*kept.boot_id || kept.state != ORIGINAL_BOUND)
                        fail_msg("row %zu: %s before %s", i, kept.driver, kept.target);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_the_host_decides_what_becomes_of_a_record),
                TEST(test_what_cannot_be_read_is_not_forgotten),
                TEST(test_what_is_bound_or_given_back_together_is_one_unit),
                TEST(test_what_was_before_is_remembered_once),
                TEST(test_what_stays_bound_stays_ours_unless_it_is_of_another_boot),
        };

        return RUN(tests);
}
