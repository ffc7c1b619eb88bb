/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"
#include "fixture.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "host/names.h"

/* Ids that are in no built-in table are made up: 10de:fff0 and up. */
static const char system_text[] = "# A list\n"
                                  "10de  NVIDIA Corporation\n"
                                  "\t26b9  Stale name of an L40S\n"
                                  "\tfff0  System name\n"
                                  "\tfff1  Device\n"
                                  "\tfff2  Device fff2\n"
                                  "\tfff3  With a subsystem\n"
                                  "\t\t10de fff4  A subsystem, no device\n"
                                  "\tfff5  Bad \xff byte\n"
                                  "8086  Intel Corporation\n"
                                  "\tfff6  Only Intel has this\n"
                                  "\t2330  Intel's own 2330\n"
                                  "fffe  A vendor of ours\n"
                                  "\t0001  A device of ours\n"
                                  "C 03  Display controller\n"
                                  "\t00  VGA compatible controller\n";

struct lists {
        struct fixture f;
        char user[PATH_MAX], system[PATH_MAX];
};

static void make(struct lists *l, const char *user, size_t n_user)
{
        fixture_make(&l->f);
        fixture_file(&l->f, "system.ids", system_text);
        fixture_path(&l->f, "system.ids", l->system);
        fixture_path(&l->f, "user.ids", l->user);
        if (user)
                fixture_bytes(&l->f, "user.ids", user, n_user);
}

static void check(struct names *names, unsigned vendor, unsigned device, const char *expected)
{
        const char *name = names_device(names, (uint16_t)vendor, (uint16_t)device);

        if ((name == NULL) != (expected == NULL) || (name && !streq(name, expected)))
                fail_msg("%04x:%04x is \"%s\", not \"%s\"", vendor, device, name ? name : "(unknown)", expected ? expected : "(unknown)");
}

static void test_ids_are_looked_up_within_their_vendor_and_as_devices_only(void **state)
{
        static const struct {
                unsigned vendor, device;
                const char *name;
        } rows[] = {
                { 0x10de, 0xfff0, "System name" },
                { 0x10de, 0xfff1, NULL }, /* a list made where nothing was known */
                { 0x10de, 0xfff2, NULL },
                { 0x10de, 0xfff3, "With a subsystem" },
                { 0x10de, 0xfff4, NULL }, /* a subsystem line is no device line */
                { 0x10de, 0xfff5, "Bad ? byte" },
                { 0x10de, 0xfff6, NULL }, /* another vendor's */
                { 0x8086, 0xfff6, "Only Intel has this" },
                { 0x10de, 0x26b9, "AD102GL [L40S]" }, /* the built-in table goes before the system's file */
                { 0x10de, 0x2330, "GH100 [H100 SXM5 80GB]" },
                { 0x8086, 0x2330, "Intel's own 2330" },
                { 0x10de, 0xffff, NULL },
                { 0x0000, 0x0000, NULL },
                { 0xffff, 0xffff, NULL },
        };
        struct names *names = NULL;
        struct lists l;
        struct err err;

        (void)state;
        make(&l, NULL, 0);
        ASSERT_OK(names_new(&names, NULL, l.system, &err), &err);
        for (size_t again = 0; again < 2; again++)
                for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                        check(names, rows[i].vendor, rows[i].device, rows[i].name);
        assert_string_equal(names_vendor(names, 0xfffe), "A vendor of ours");
        assert_string_equal(names_vendor(names, 0x10de), "NVIDIA Corporation");
        assert_null(names_vendor(names, 0xfffd));
        assert_null(names_free(names));
        fixture_done(&l.f);
}

static void test_the_users_file_wins_for_every_id_it_has(void **state)
{
        static const char user[] = "10de  Ours\n\t26b9  Our L40S\n\tfff0  Our name\n\tfff1  Device\n";
        struct names *names = NULL;
        struct lists l;
        struct err err;

        (void)state;
        make(&l, user, sizeof(user) - 1);
        ASSERT_OK(names_new(&names, l.user, l.system, &err), &err);
        check(names, 0x10de, 0x26b9, "Our L40S");
        check(names, 0x10de, 0xfff0, "Our name");
        check(names, 0x10de, 0xfff1, NULL);
        check(names, 0x10de, 0xfff3, "With a subsystem");
        check(names, 0x10de, 0x2330, "GH100 [H100 SXM5 80GB]");
        assert_string_equal(names_vendor(names, 0x10de), "Ours");
        assert_null(names_free(names));
        fixture_done(&l.f);
}

static void test_a_bad_user_file_is_an_error_that_names_it(void **state)
{
        static const struct {
                const char *text;
                size_t n;
        } rows[] = {
#define ROW(s) { s, sizeof(s) - 1 }
                ROW("\t26b9  A device without a vendor\n10de  NVIDIA\n"),
                ROW("\t\t10de 26b9  A subsystem without anything\n"),
                ROW("apiVersion: v1\nkind: ConfigMap\n"),
                ROW("\x7f"
                    "ELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0\x01\0\0\0"),
                ROW("10de\n"),
                ROW("10dx  NVIDIA\n"),
                ROW("10de  NVIDIA\n\t26b  short\n"),
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct names *names = NULL;
                struct lists l;
                struct err err;
                make(&l, rows[i].text, rows[i].n);
                int r = names_new(&names, l.user, l.system, &err);
                if (r != -EINVAL || names)
                        fail_msg("row %zu: %d", i, r);
                assert_non_null(strstr(err.msg, l.user));
                assert_non_null(strstr(err.msg, "line 1") ? "" : strstr(err.msg, "line 2"));
                fixture_done(&l.f);
        }
}

static void test_a_user_file_that_cannot_be_read_is_an_error(void **state)
{
        struct names *names = NULL;
        struct lists l;
        struct err err;

        (void)state;
        make(&l, NULL, 0);
        assert_int_equal(names_new(&names, l.user, l.system, &err), -ENOENT);
        assert_non_null(strstr(err.msg, l.user));
        assert_int_equal(names_new(&names, l.f.dir, l.system, &err), -EINVAL); /* a directory */
        assert_int_equal(names_new(&names, "/dev/zero", l.system, &err), -EINVAL);
        assert_null(names);
        fixture_done(&l.f);
}

static void test_a_bad_or_missing_system_file_knows_nothing(void **state)
{
        struct names *names = NULL;
        struct lists l;
        struct err err;

        (void)state;
        make(&l, NULL, 0);
        fixture_file(&l.f, "system.ids", "10de  NVIDIA\n\tfff0  Known\nand then garbage\n");
        ASSERT_OK(names_new(&names, NULL, l.system, &err), &err);
        check(names, 0x10de, 0xfff0, NULL);
        check(names, 0x10de, 0x26b9, "AD102GL [L40S]");
        names_trim(names);
        assert_null(names_free(names));
        ASSERT_OK(names_new(&names, NULL, "/does/not/exist", &err), &err);
        check(names, 0x10de, 0xfff0, NULL);
        check(names, 0x10de, 0x26b9, "AD102GL [L40S]");
        assert_null(names_free(names));
        fixture_done(&l.f);
}

static void test_an_empty_user_file_and_odd_line_ends_are_fine(void **state)
{
        static const char *const texts[] = { "", "\n\n# nothing\n", "10de  NVIDIA\r\n\tfff0  Ours\r\n" };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
                struct names *names = NULL;
                struct lists l;
                struct err err;
                make(&l, texts[i], strlen(texts[i]));
                ASSERT_OK(names_new(&names, l.user, l.system, &err), &err);
                check(names, 0x10de, 0x2330, "GH100 [H100 SXM5 80GB]");
                assert_null(names_free(names));
                fixture_done(&l.f);
        }
}

/* What was asked once is remembered, known or not; the file may be gone by then. */
static void test_found_names_stay_when_the_files_memory_goes(void **state)
{
        struct names *names = NULL;
        struct lists l;
        struct err err;

        (void)state;
        make(&l, NULL, 0);
        ASSERT_OK(names_new(&names, NULL, l.system, &err), &err);
        assert_null(names_peek(names, 0x10de, 0xfff0)); /* would have to open the system's file */
        const char *name = names_device(names, 0x10de, 0xfff0);
        assert_string_equal(name, "System name");
        check(names, 0x10de, 0xffff, NULL);
        names_trim(names);
        fixture_file(&l.f, "system.ids", "10de  NVIDIA\n\tfff0  Another\n\tffff  Now known\n\tfff3  Read again\n");
        assert_ptr_equal(names_device(names, 0x10de, 0xfff0), name);
        assert_string_equal(name, "System name");
        assert_string_equal(names_peek(names, 0x10de, 0xfff0), "System name");
        check(names, 0x10de, 0xffff, NULL);
        check(names, 0x10de, 0xfff3, "Read again");
        assert_null(names_free(names));
        fixture_done(&l.f);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_ids_are_looked_up_within_their_vendor_and_as_devices_only),
                TEST(test_the_users_file_wins_for_every_id_it_has),
                TEST(test_a_bad_user_file_is_an_error_that_names_it),
                TEST(test_a_user_file_that_cannot_be_read_is_an_error),
                TEST(test_a_bad_or_missing_system_file_knows_nothing),
                TEST(test_an_empty_user_file_and_odd_line_ends_are_fine),
                TEST(test_found_names_stay_when_the_files_memory_goes),
        };

        return RUN(tests);
}
