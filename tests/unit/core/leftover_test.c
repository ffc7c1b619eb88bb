/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <string.h>

#include "base/str.h"
#include "core/leftover.h"

#define BOOT "11111111-1111-1111-1111-111111111111"

static struct function a_function(const char *driver)
{
        struct function fn = { .bdf = { .bus = 0x3b }, .vendor = 0x10de, .device = 0x26b9, .group = 7, .group_node = true };

        (void)str_copy(fn.driver, sizeof(fn.driver), driver);
        (void)str_copy(fn.power_control, sizeof(fn.power_control), "on");
        (void)str_copy(fn.d3cold_allowed, sizeof(fn.d3cold_allowed), "0");
        (void)str_copy(fn.reset_methods, sizeof(fn.reset_methods), "bus");
        return fn;
}

static struct original an_original(void)
{
        struct original o = { .bdf = { .bus = 0x3b }, .state = ORIGINAL_BOUND, .vendor = 0x10de, .device = 0x26b9 };

        (void)str_copy(o.driver, sizeof(o.driver), "nvidia");
        (void)str_copy(o.target, sizeof(o.target), "vfio-pci");
        (void)str_copy(o.boot_id, sizeof(o.boot_id), BOOT);
        return o;
}

/* What is left of it on @driver, with the kinds' words as a list. */
static const char *left_of(const struct original *original, const char *driver, const char *boot, const char *override)
{
        static char words[256];
        struct function fn = a_function(driver ? driver : "");
        struct inventory inv = { .functions = &fn, .n_functions = driver ? 1 : 0 };
        struct leftovers left = { 0 };

        (void)str_copy(inv.boot_id, sizeof(inv.boot_id), boot);
        leftovers_of_original(&left, &inv, original, override);
        words[0] = '\0';
        for (size_t i = 0; i < left.n; i++)
                str_format(words + strlen(words), sizeof(words) - strlen(words), "%s;", leftover_word(left.list[i].kind));
        leftovers_done(&left);
        return words;
}

static void test_a_record_is_held_against_the_host(void **state)
{
        static const struct {
                const char *driver, *boot, *override, *want;
        } rows[] = {
                { "vfio-pci", BOOT, "vfio-pci", "bound-by-sluice;" },
                { "vfio-pci", BOOT, NULL, "bound-by-sluice;" },
                { "", BOOT, "vfio-pci", "bound-by-sluice;" },
                { "nvidia", BOOT, "vfio-pci", "driver-override;" },
                { "nouveau", BOOT, "vfio-pci", "driver-override;" },
                { "nvidia", BOOT, "", "state-record;" },
                { "nvidia", BOOT, NULL, "state-record;" }, /* what was not read is not said */
                { "vfio-pci", "another", "vfio-pci", "state-record;" },
                { NULL, BOOT, NULL, "state-record;" },
        };
        struct original o = an_original();

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                assert_string_equal(left_of(&o, rows[i].driver, rows[i].boot, rows[i].override), rows[i].want);
        o.device = 1; /* another card is in its slot */
        assert_string_equal(left_of(&o, "vfio-pci", BOOT, "vfio-pci"), "state-record;");
}

/* It is there, maybe bound still: its record is not one of a binding that is no more. */
static void test_what_cannot_be_read_is_not_said_to_be_gone(void **state)
{
        static const struct {
                enum reason reason;
                const char *boot;
                enum leftover_kind kind;
        } rows[] = {
                { REASON_GARBAGE, BOOT, LEFTOVER_UNREADABLE },
                { REASON_GARBAGE, "another", LEFTOVER_RECORD }, /* whatever it is on, that binding has ended */
                { REASON_VANISHED, BOOT, LEFTOVER_RECORD },
        };
        const struct original o = an_original();

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_inventory_ struct inventory *inv = inventory_new();
                struct leftovers left = { 0 };
                inventory_add_broken(inv, "0000:3b:00.0", rows[i].reason, "cannot read vendor");
                (void)str_copy(inv->boot_id, sizeof(inv->boot_id), rows[i].boot);
                inventory_seal(inv);
                leftovers_of_original(&left, inv, &o, NULL);
                assert_int_equal(left.n, 1);
                assert_string_equal(leftover_word(left.list[0].kind), leftover_word(rows[i].kind));
                assert_string_equal(left.list[0].what, "0000:3b:00.0");
                if (rows[i].kind == LEFTOVER_UNREADABLE)
                        assert_string_equal(left.list[0].text, "originals: it may be on vfio-pci still: cannot read vendor");
                leftovers_done(&left);
        }
}

static void test_settings_that_are_not_what_they_were_are_named(void **state)
{
        struct original o = an_original();

        (void)state;
        (void)str_copy(o.power_control, sizeof(o.power_control), "auto");
        (void)str_copy(o.d3cold_allowed, sizeof(o.d3cold_allowed), "0");
        (void)str_copy(o.reset_methods, sizeof(o.reset_methods), "flr bus");
        assert_string_equal(left_of(&o, "nvidia", BOOT, ""), "power-state;reset-method;");
        (void)str_copy(o.driver, sizeof(o.driver), "vfio-pci"); /* an administrator's: only what was set is ours */
        assert_string_equal(left_of(&o, "vfio-pci", BOOT, "vfio-pci"), "power-state;reset-method;");
}

static void test_the_list_is_bounded_and_what_is_beyond_counts(void **state)
{
        struct leftovers left = { 0 };

        (void)state;
        for (int i = 0; i < LEFTOVERS_MAX + 3; i++)
                leftovers_add(&left, LEFTOVER_FOREIGN, "a\nb", "%d", i);
        assert_int_equal(left.n, LEFTOVERS_MAX);
        assert_int_equal(leftovers_counted(&left), 3);
        assert_null(strchr(left.list[0].what, '\n'));
        leftovers_done(&left);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_a_record_is_held_against_the_host),
                TEST(test_what_cannot_be_read_is_not_said_to_be_gone),
                TEST(test_settings_that_are_not_what_they_were_are_named),
                TEST(test_the_list_is_bounded_and_what_is_beyond_counts),
        };

        return RUN(tests);
}
