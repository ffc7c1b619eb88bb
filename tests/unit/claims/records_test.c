/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "claims/records.h"

struct fixture {
        char path[32];
        int dir;
        struct strbuf read, aside; /* "key=text;", "file: why;" */
};

static int setup(void **state)
{
        struct fixture *f = xcalloc(1, sizeof(*f));

        (void)str_copy(f->path, sizeof(f->path), "/dev/shm/sluice-rec-XXXXXX");
        assert_non_null(mkdtemp(f->path));
        f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(f->dir >= 0);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *command = xasprintf("rm -rf %s", f->path);

        fs_fail_at(0, 0);
        strbuf_done(&f->read);
        strbuf_done(&f->aside);
        (void)close(f->dir);
        free(f);
        return system(command); /* lint: a test's own directory */
}

static struct records *open_records(struct fixture *f, unsigned version)
{
        struct records *records = NULL;
        struct err err;

        ASSERT_OK(records_open(f->dir, "claims", version, &records, &err), &err);
        return records;
}

static int on_record(void *ctx, const char *key, const char *text, struct err *err)
{
        struct fixture *f = ctx;

        if (streq(text, "nonsense"))
                return err_say(err, EBADMSG, "it makes no sense");
        strbuf_addf(&f->read, "%s=%s;", key, text);
        return 0;
}

static void on_aside(void *ctx, const char *file, const struct err *why)
{
        strbuf_addf(&((struct fixture *)ctx)->aside, "%s: %s;", file, why->msg);
}

static const char *read_all(struct fixture *f, struct records *records)
{
        struct err err;

        strbuf_done(&f->read);
        strbuf_done(&f->aside);
        strbuf_add(&f->read, "");
        strbuf_add(&f->aside, "");
        ASSERT_OK(records_read(records, on_record, on_aside, f, &err), &err);
        return f->read.text;
}

static void put(struct records *records, const char *key, const char *text)
{
        struct err err;

        ASSERT_OK(records_put(records, key, text, &err), &err);
}

/* Writes bytes where a record is, as a failing disk or another program would. */
static void spoil(struct fixture *f, const char *file, const char *bytes, size_t n)
{
        int fd = openat(f->dir, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, bytes, n), n);
        assert_int_equal(close(fd), 0);
}

static void test_what_was_put_is_read_by_the_next(void **state)
{
        struct fixture *f = *state;
        struct stat st;
        struct err err;

        struct records *records = open_records(f, 1);
        put(records, "0000:3b:00.0", "one");
        put(records, "0000:3b:00.0", "two");
        put(records, "../../etc/passwd", "three\nlines\n");
        put(records, "\xc3\xa4 b/%", "");
        records = records_close(records);
        assert_int_equal(fstatat(f->dir, "claims", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        assert_int_equal(fstatat(f->dir, "claims/0000:3b:00.0.record", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0600);

        records = open_records(f, 1);
        assert_string_equal(read_all(f, records), "../../etc/passwd=three\nlines\n;\xc3\xa4 b/%=;0000:3b:00.0=two;");
        assert_string_equal(f->aside.text, "");
        ASSERT_OK(records_remove(records, "0000:3b:00.0", &err), &err);
        ASSERT_OK(records_remove(records, "0000:3b:00.0", &err), &err);
        assert_string_equal(read_all(f, records), "../../etc/passwd=three\nlines\n;\xc3\xa4 b/%=;");
        records_close(records);
}

static void test_what_cannot_be_trusted_is_set_aside(void **state)
{
        struct fixture *f = *state;
        char file[512];
        size_t n;
        struct err err;

        struct records *records = open_records(f, 1);
        put(records, "good", "text");
        put(records, "torn", "a longer text");
        ASSERT_OK(fs_read(f->dir, "claims/torn.record", file, sizeof(file), &n, &err), &err);
        spoil(f, "claims/torn.record", file, n - 1);
        put(records, "flipped", "abcdef");
        ASSERT_OK(fs_read(f->dir, "claims/flipped.record", file, sizeof(file), &n, &err), &err);
        file[n - 1] ^= 1;
        spoil(f, "claims/flipped.record", file, n);
        put(records, "nul", "abcdef");
        ASSERT_OK(fs_read(f->dir, "claims/nul.record", file, sizeof(file), &n, &err), &err);
        file[n - 1] = '\0';
        spoil(f, "claims/nul.record", file, n);
        spoil(f, "claims/empty.record", "", 0);
        _cleanup_free_ char *much = xcalloc(2, RECORD_TEXT_MAX);
        spoil(f, "claims/long.record", much, 2 * RECORD_TEXT_MAX);
        spoil(f, "claims/%zz.record", "x", 1);
        spoil(f, "claims/%41.record", "x", 1); /* an "A" is not written so */
        put(records, "senseless", "nonsense");
        assert_int_equal(mkdirat(f->dir, "claims/dir.record", 0700), 0);
        assert_string_equal(read_all(f, records), "good=text;");
        assert_non_null(strstr(f->aside.text, "claims/torn.record.bad: it is torn"));
        assert_non_null(strstr(f->aside.text, "claims/flipped.record.bad: it is torn"));
        assert_non_null(strstr(f->aside.text, "claims/nul.record.bad: it is torn"));
        assert_non_null(strstr(f->aside.text, "claims/empty.record.bad: it does not begin"));
        assert_non_null(strstr(f->aside.text, "claims/long.record.bad: "));
        assert_non_null(strstr(f->aside.text, "claims/%zz.record.bad: no record"));
        assert_non_null(strstr(f->aside.text, "claims/%41.record.bad: no record"));
        assert_non_null(strstr(f->aside.text, "claims/senseless.record.bad: it makes no sense"));
        assert_non_null(strstr(f->aside.text, "claims/dir.record.bad: "));
        /* Once: the second reading is quiet. */
        assert_string_equal(read_all(f, records), "good=text;");
        assert_string_equal(f->aside.text, "");
        records_close(records);
}

/* A file cannot take the place of a directory, nor the other way round. */
static void test_what_finds_its_name_taken_is_set_aside_too(void **state)
{
        struct fixture *f = *state;
        char longest[NAME_MAX + 1], path[NAME_MAX + 16];

        struct records *records = open_records(f, 1);
        spoil(f, "claims/a.record.bad", "x", 1);
        assert_int_equal(mkdirat(f->dir, "claims/a.record", 0700), 0);
        assert_int_equal(mkdirat(f->dir, "claims/b.record.bad", 0700), 0);
        spoil(f, "claims/b.record", "x", 1);
        assert_int_equal(mkdirat(f->dir, "claims/c.record.bad", 0700), 0);
        spoil(f, "claims/c.record.bad/file", "x", 1);
        spoil(f, "claims/c.record.bad2", "x", 1);
        assert_int_equal(mkdirat(f->dir, "claims/c.record", 0700), 0);
        memset(longest, 'z', NAME_MAX);
        memcpy(longest + NAME_MAX - strlen(".record"), ".record", sizeof(".record"));
        str_format(path, sizeof(path), "claims/%s", longest);
        spoil(f, path, "x", 1);
        assert_string_equal(read_all(f, records), "");
        assert_non_null(strstr(f->aside.text, "claims/a.record.bad2: "));
        assert_non_null(strstr(f->aside.text, "claims/b.record.bad2: "));
        assert_non_null(strstr(f->aside.text, "claims/c.record.bad3: "));
        assert_non_null(strstr(f->aside.text, "zzz.bad: no record has such a name"));
        assert_null(strstr(f->aside.text, "could not"));
        assert_string_equal(read_all(f, records), "");
        assert_string_equal(f->aside.text, "");
        put(records, "a", "there is room for it again");
        records_close(records);
}

static void test_many_that_cannot_be_trusted_are_counted(void **state)
{
        struct fixture *f = *state;
        char file[64];

        struct records *records = open_records(f, 1);
        for (int i = 0; i < RECORDS_TOLD + 25; i++) {
                str_format(file, sizeof(file), "claims/%03d.record", i);
                spoil(f, file, "x", 1);
        }
        assert_string_equal(read_all(f, records), "");
        size_t lines = 0;
        for (const char *at = f->aside.text; (at = strchr(at, ';')); at++)
                lines++;
        assert_int_equal(lines, RECORDS_TOLD + 1);
        assert_non_null(strstr(f->aside.text, "claims/009.record.bad: it does not begin"));
        assert_non_null(strstr(f->aside.text, ";claims/*.bad: 25 more files are none that Sluice wrote as they are;"));
        assert_int_equal(fs_exists(f->dir, "claims/034.record.bad"), 1);
        records_close(records);
}

static void test_an_older_version_is_named(void **state)
{
        struct fixture *f = *state;

        struct records *records = open_records(f, 2);
        put(records, "a", "text");
        records_close(records);
        records = open_records(f, 3);
        assert_string_equal(read_all(f, records), "");
        assert_string_equal(f->aside.text, "claims/a.record.bad: it is of version 2, this program reads version 3;");
        records_close(records);
}

static void test_what_a_newer_program_wrote_is_refused_and_left_as_it_is(void **state)
{
        struct fixture *f = *state;
        struct err err;

        struct records *records = open_records(f, 2);
        put(records, "a", "text");
        records_close(records);
        records = open_records(f, 1);
        assert_int_equal(records_read(records, on_record, on_aside, f, &err), -EPROTO);
        assert_non_null(strstr(err.msg, "a newer Sluice wrote claims/a.record (it is of version 2, this program reads version 1)"));
        assert_int_equal(f->aside.len, 0);
        records_close(records);
        records = open_records(f, 2); /* that one is installed again */
        assert_string_equal(read_all(f, records), "a=text;");
        records_close(records);
}

/* A version that is only damage must not keep Sluice from starting. */
static void test_a_newer_version_that_is_torn_is_torn(void **state)
{
        struct fixture *f = *state;

        struct records *records = open_records(f, 2);
        put(records, "a", "text");
        records_close(records);
        _cleanup_free_ char *command = xasprintf("truncate -s -1 %s/claims/a.record", f->path);
        assert_int_equal(system(command), 0); /* lint: a test's own directory */
        records = open_records(f, 1);
        assert_string_equal(read_all(f, records), "");
        assert_non_null(strstr(f->aside.text, "claims/a.record.bad: "));
        records_close(records);
}

static void test_a_peek_changes_nothing_and_tells_of_every_file(void **state)
{
        struct fixture *f = *state;
        struct err err;

        ASSERT_OK(records_peek(f->dir, "claims", 1, on_record, on_aside, f, &err), &err);
        assert_int_equal(fs_exists(f->dir, "claims"), 0);
        struct records *records = open_records(f, 2);
        put(records, "b", "text");
        records_close(records);
        records = open_records(f, 1);
        put(records, "a", "text");
        put(records, "c", "nonsense");
        records_close(records);
        _cleanup_free_ char *command = xasprintf("cd %s/claims && touch d.record.bad e.tmp f", f->path);
        assert_int_equal(system(command), 0); /* lint: a test's own directory */
        ASSERT_OK(records_peek(f->dir, "claims", 1, on_record, on_aside, f, &err), &err);
        assert_string_equal(f->read.text, "a=text;");
        assert_string_equal(f->aside.text, "claims/b.record: it is of version 2, this program reads version 1;"
                                           "claims/c.record: it makes no sense;"
                                           "claims/d.record.bad: a daemon has set it aside: it is no record that Sluice wrote as it is;"
                                           "claims/e.tmp: what an interrupted write left;"
                                           "claims/f: no file of Sluice's has such a name;");
        static const char *const files[] = { "a.record", "b.record", "c.record", "d.record.bad", "e.tmp", "f" };
        for (size_t i = 0; i < N_ELEMENTS(files); i++) {
                _cleanup_free_ char *path = xasprintf("claims/%s", files[i]);
                assert_int_equal(fs_exists(f->dir, path), 1);
        }
}

static void test_bounds(void **state)
{
        struct fixture *f = *state;
        char key[RECORD_KEY_MAX + 1];
        struct err err;

        struct records *records = open_records(f, 1);
        memset(key, 0xff, sizeof(key));
        key[RECORD_KEY_MAX] = '\0';
        assert_int_equal(records_put(records, key, "x", &err), -EINVAL);
        assert_int_equal(records_put(records, "", "x", &err), -EINVAL);
        key[RECORD_KEY_MAX - 1] = '\0';
        put(records, key, "the longest");
        _cleanup_free_ char *text = xcalloc(1, RECORD_TEXT_MAX + 2);
        memset(text, 'x', RECORD_TEXT_MAX + 1);
        assert_int_equal(records_put(records, "big", text, &err), -EFBIG);
        text[RECORD_TEXT_MAX] = '\0';
        put(records, "big", text);
        _cleanup_free_ char *want = xasprintf("%s=the longest;big=%s;", key, text);
        assert_string_equal(read_all(f, records), want);

        for (int i = 0; i < 10; i++) { /* what was set aside does not count */
                str_format(key, sizeof(key), "claims/%d.record.bad", i);
                assert_int_equal(mknodat(f->dir, key, S_IFREG | 0600, 0), 0);
        }
        for (int i = 3; i < RECORDS_MAX; i++) {
                str_format(key, sizeof(key), "claims/%d.record", i);
                assert_int_equal(mknodat(f->dir, key, S_IFREG | 0600, 0), 0);
        }
        put(records, "the last", "x");
        assert_int_equal(records_put(records, "one more", "x", &err), -ENOSPC);
        put(records, "big", "smaller"); /* a known one may always be replaced */
        records_close(records);
}

/* Whichever access fails: the former text or the new one is there, nothing else, and the error is told. */
static void test_every_access_may_fail(void **state)
{
        struct fixture *f = *state;
        struct err err;
        bool failed = true;

        for (unsigned n = 1; failed; n++) {
                struct records *records = open_records(f, 1);
                put(records, "a", "old");
                fs_fail_at(n, n % 2 ? ENOSPC : EIO | FS_FAIL_ON);
                int r = records_put(records, "a", "new", &err);
                fs_fail_at(0, 0);
                records_close(records);
                failed = r < 0;
                assert_true(n < 50);
                records = open_records(f, 1);
                const char *now = read_all(f, records);
                assert_true(streq(now, "a=new;") || (failed && streq(now, "a=old;")));
                assert_string_equal(f->aside.text, "");
                records_close(records);
                assert_int_equal(fs_exists(f->dir, "claims/a.record.tmp"), 0);
        }
}

/* What is set aside is lost: a whole record is not, for one access that failed. */
static void test_no_record_is_set_aside_for_one_read_that_failed(void **state)
{
        static const int errors[] = { EIO, EBUSY, EINTR, EPERM, ENOSPC };
        struct fixture *f = *state;
        struct err err;

        for (size_t e = 0; e < N_ELEMENTS(errors); e++)
                for (unsigned n = 1; n < 8; n++) {
                        struct records *records = open_records(f, 1);
                        put(records, "a", "x");
                        put(records, "b", "y");
                        (void)read_all(f, records);
                        strbuf_done(&f->read);
                        strbuf_add(&f->read, "");
                        fs_fail_at(n, errors[e]);
                        int r = records_read(records, on_record, on_aside, f, &err);
                        fs_fail_at(0, 0);
                        records_close(records);
                        assert_true(r < 0 || streq(f->read.text, "a=x;b=y;"));
                        assert_string_equal(f->aside.text, "");
                }
}

static void test_a_directory_that_is_gone_is_an_error(void **state)
{
        struct fixture *f = *state;
        struct err err;

        struct records *records = open_records(f, 1);
        assert_int_equal(unlinkat(f->dir, "claims", AT_REMOVEDIR), 0);
        assert_int_equal(records_put(records, "a", "x", &err), -ENOENT);
        assert_non_null(strstr(err.msg, "claims record"));
        records_close(records);
        assert_int_equal(symlinkat("/tmp", f->dir, "claims"), 0);
        assert_true(records_open(f->dir, "claims", 1, &records, &err) < 0);
        assert_non_null(strstr(err.msg, "claims in the state directory"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_what_was_put_is_read_by_the_next, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_cannot_be_trusted_is_set_aside, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_finds_its_name_taken_is_set_aside_too, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many_that_cannot_be_trusted_are_counted, setup, teardown),
                cmocka_unit_test_setup_teardown(test_an_older_version_is_named, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_a_newer_program_wrote_is_refused_and_left_as_it_is, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_newer_version_that_is_torn_is_torn, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_peek_changes_nothing_and_tells_of_every_file, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_record_is_set_aside_for_one_read_that_failed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
                cmocka_unit_test_setup_teardown(test_every_access_may_fail, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_directory_that_is_gone_is_an_error, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
