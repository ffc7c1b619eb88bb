/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "core/reset.h"
#include "world.h"

#define GPU  "0000:3b:00.0 10de:26b9 0302 vfio-pci g=7 up=0000:3a:00.0 "
#define PORT "0000:3a:00.0 8086:2030 0604 pcieport g=6 up=0000:3a:00.0\n"

static void test_every_method_has_its_scope(void **state)
{
        static const struct {
                const char *method, *scope;
        } rows[] = {
                { "flr", "function" },  { "af_flr", "function" }, { "device_specific", "function" },
                { "acpi", "function" }, { "pm", "doubtful" },     { "bus", "bus" },
                { "cxl_bus", "bus" },   { "slot", "unknown" },    { "flr2", "unknown" },
                { "", "unknown" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                assert_string_equal(reset_scope_name(reset_method_scope(rows[i].method)), rows[i].scope);
}

static void test_each_method_is_shown_with_its_scope(void **state)
{
        struct function fn = { .reset_methods = "flr  pm bus" };
        char text[128];

        (void)state;
        reset_describe(&fn, text, sizeof(text));
        assert_string_equal(text, "flr (function), pm (doubtful), bus (bus)");
        fn.reset_methods[0] = '\0';
        reset_describe(&fn, text, sizeof(text));
        assert_string_equal(text, "");
        memset(fn.reset_methods, 'a', sizeof(fn.reset_methods) - 1); /* cut, not beyond */
        reset_describe(&fn, text, 20);
        assert_int_equal(strlen(text), 19);
}

static void test_a_method_is_chosen_that_resets_this_function_and_nothing_else(void **state)
{
        static const struct {
                const char *title, *host;
                const char *method; /* NULL = none */
                const char *why;    /* the whole sentence when there is none */
        } rows[] = {
                { "the first", GPU "reset=flr+bus\n" PORT, "flr", NULL },
                { "the first that suits", GPU "reset=pm+flr\n" PORT, "flr", NULL },
                { "blanks around it", GPU "reset=+flr++pm+\n" PORT, "flr", NULL },
                { "alone on its bus", GPU "reset=pm+bus\n" PORT, "bus", NULL },
                { "a neighbour on another bus", GPU "reset=bus\n0000:3c:00.0 10de:26b9 0302 nvidia up=0000:3a:01.0\n" PORT, "bus", NULL },
                { "none known", GPU "\n" PORT, NULL, "0000:3b:00.0: the kernel knows no way to reset it" },
                { "the bus has an audio function of the group: the kernel refuses",
                  GPU "reset=bus\n0000:3b:00.1 10de:22ba 0403 vfio-pci g=7 up=0000:3a:00.0\n" PORT, NULL,
                  "0000:3b:00.0: bus is refused beside 0000:3b:00.1" },
                { "the bus has a disk of the host", GPU "reset=pm+bus\n0000:3b:01.0 144d:a80a 0108 nvme g=8 up=0000:3a:00.0\n" PORT, NULL,
                  "0000:3b:00.0: pm may reset nothing, bus would reset 0000:3b:01.0, too" },
                { "so has one below a switch there",
                  GPU "reset=bus\n0000:3b:02.0 1000:c010 0604 pcieport g=9 up=0000:3a:00.0\n0000:3c:00.0 144d:a80a 0108 nvme g=8 "
                      "up=0000:3b:02.0\n" PORT,
                  NULL, "0000:3b:00.0: bus would reset 0000:3b:02.0, too" },
                { "no bridge above", "0000:00:02.0 8086:4680 0300 vfio-pci g=1 up=0000:00:02.0 reset=bus", NULL,
                  "0000:00:02.0: bus needs a bridge above it" },
                { "something unreadable may be there", GPU "reset=cxl_bus\n" PORT "broken 0000:3b:01.0", NULL,
                  "0000:3b:00.0: cxl_bus may reach 0000:3b:01.0, which could not be read" },
                { "which is no matter to a function's own reset", GPU "reset=flr\n" PORT "broken 0000:3b:01.0", "flr", NULL },
                { "VFs would end", GPU "reset=flr vfs=2\n" PORT, NULL, "0000:3b:00.0: flr would end its VFs" },
                { "a method of tomorrow", GPU "reset=quantum\n" PORT, NULL, "0000:3b:00.0: quantum is not known to this version" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_inventory_ struct inventory *inv = world_host(rows[i].host);
                char method[RESET_LEN] = "", why[160] = "";
                const struct function *fn = NULL;

                for (size_t k = 0; k < inv->n_functions && !fn; k++)
                        fn = inv->functions[k].class_code >> 16 == 0x03 ? &inv->functions[k] : NULL;
                bool any = reset_choose(inv, fn, fn->reset_methods, method, why, sizeof(why));
                if (any != (rows[i].method != NULL) || !streq(method, any ? rows[i].method : "") || (!any && !streq(why, rows[i].why)))
                        fail_msg("%s: '%s', %s", rows[i].title, method, why);
        }
}

/* A hand that was killed in the middle of a reset leaves one method of those there were. */
static void test_methods_that_a_reset_left_narrowed_are_those_of_before(void **state)
{
        static const struct {
                const char *now, *before, *has;
        } rows[] = {
                { "flr", "pm flr bus", "pm flr bus" },
                { "bus", "pm bus", "pm bus" },
                { "pm flr bus", "pm flr bus", "pm flr bus" },
                { "flr", "", "flr" },             /* nothing is remembered */
                { "acpi", "pm flr bus", "acpi" }, /* somebody's order */
                { "flr pm", "pm flr", "flr pm" }, /* so is this */
                { "flr", "af_flr bus", "flr" },   /* no word of it */
                { "", "pm flr", "" },             /* switched off, or not to be read */
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct function fn = { .reset_methods = "" };
                (void)str_copy(fn.reset_methods, sizeof(fn.reset_methods), rows[i].now);
                assert_string_equal(reset_methods_of(&fn, rows[i].before), rows[i].has);
        }
}

static void test_a_list_of_methods_is_names_and_blanks(void **state)
{
        static const struct {
                const char *list;
                bool is;
        } rows[] = {
                { "", true },           { "flr", true },         { "flr af_flr cxl_bus", true },
                { "CXL-2 Bus0", true }, { "flr\nbus", false },   { "flr/../bus", false },
                { "fl\x1b", false },    { "fl\xc3\xa9", false },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                if (reset_is_list(rows[i].list) != rows[i].is)
                        fail_msg("row %zu", i);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_list_of_methods_is_names_and_blanks),
                TEST(test_every_method_has_its_scope),
                TEST(test_each_method_is_shown_with_its_scope),
                TEST(test_methods_that_a_reset_left_narrowed_are_those_of_before),
                TEST(test_a_method_is_chosen_that_resets_this_function_and_nothing_else),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
