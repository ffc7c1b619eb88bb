/* SPDX-License-Identifier: Apache-2.0 */
/* The recorder and its first user: what is written off the loop is there for the next daemon of the same boot. */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "claims/stuck.h"

struct fixture {
        char path[32];
        int dir;
        uv_loop_t loop;
        struct recorder *recorder;
        struct strbuf seen;
};

static int setup(void **state)
{
        struct fixture *f = xcalloc(1, sizeof(*f));

        (void)str_copy(f->path, sizeof(f->path), "/dev/shm/sluice-stk-XXXXXX");
        assert_non_null(mkdtemp(f->path));
        f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(f->dir >= 0);
        assert_int_equal(uv_loop_init(&f->loop), 0);
        f->recorder = recorder_new(&f->loop);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *command = xasprintf("rm -rf %s", f->path);

        recorder_free(f->recorder);
        assert_int_equal(uv_loop_close(&f->loop), 0);
        strbuf_done(&f->seen);
        (void)close(f->dir);
        free(f);
        return system(command); /* lint: a test's own directory */
}

static void on_stuck(void *ctx, struct bdf card, const char *detail)
{
        char text[BDF_TEXT_MAX];

        strbuf_addf(&((struct fixture *)ctx)->seen, "%s %s;", bdf_format(card, text), detail);
}

static struct stuck *open_stuck(struct fixture *f, const char *boot_id)
{
        struct stuck *stuck = NULL;
        struct err err;

        strbuf_done(&f->seen);
        strbuf_add(&f->seen, "");
        ASSERT_OK(stuck_open(f->dir, f->recorder, boot_id, on_stuck, f, &stuck, &err), &err);
        return stuck;
}

/* Until all is written. */
static void flush(struct fixture *f)
{
        assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
}

static struct bdf card(uint8_t bus)
{
        return (struct bdf){ .bus = bus };
}

static void test_a_stuck_card_is_remembered_for_its_boot(void **state)
{
        struct fixture *f = *state;

        struct stuck *stuck = open_stuck(f, "boot-1");
        stuck_add(stuck, card(0x3b), "unbind 0000:3b:00.0 from nvidia");
        stuck_add(stuck, card(0x5e), "first");
        stuck_add(stuck, card(0x5e), "\"quoted\" \xc3\xa4 \xff"); /* in order: the last word counts */
        flush(f);
        stuck_free(stuck);

        stuck = open_stuck(f, "boot-1");
        assert_string_equal(f->seen.text, "0000:3b:00.0 unbind 0000:3b:00.0 from nvidia;0000:5e:00.0 \"quoted\" \xc3\xa4 ?;");
        stuck_free(stuck);
        stuck = open_stuck(f, ""); /* which boot this is cannot be read: the safe side */
        assert_non_null(strstr(f->seen.text, "0000:3b:00.0"));
        stuck_free(stuck);
        stuck = open_stuck(f, "boot-2");
        assert_string_equal(f->seen.text, "");
        stuck_free(stuck);
        stuck = open_stuck(f, "boot-1"); /* the reboot ended it for good */
        assert_string_equal(f->seen.text, "");
        stuck_free(stuck);
}

static void test_records_that_say_nothing_are_set_aside(void **state)
{
        static const char *const texts[][2] = {
                { "0000:3b:00.0", "{}" },
                { "0000:3c:00.0", "{\"boot_id\": 1, \"detail\": \"x\"}" },
                { "0000:3d:00.0", "[" },
                { "not a card", "{\"boot_id\": \"b\", \"detail\": \"x\"}" },
        };
        struct fixture *f = *state;
        struct records *records;
        struct err err;

        ASSERT_OK(records_open(f->dir, "stuck", 1, &records, &err), &err);
        for (size_t i = 0; i < N_ELEMENTS(texts); i++)
                ASSERT_OK(records_put(records, texts[i][0], texts[i][1], &err), &err);
        records_close(records);
        struct stuck *stuck = open_stuck(f, "b");
        assert_string_equal(f->seen.text, "");
        assert_int_equal(fs_exists(f->dir, "stuck/0000:3d:00.0.record.bad"), 1);
        assert_int_equal(fs_exists(f->dir, "stuck/not%20a%20card.record.bad"), 1);
        stuck_free(stuck);
}

struct outcome {
        int calls, code;
};

static void on_recorded(void *ctx, const struct err *err)
{
        struct outcome *outcome = ctx;

        outcome->calls++;
        outcome->code = err ? err->code : 0;
}

static void test_the_recorder_tells_what_the_disk_said(void **state)
{
        struct fixture *f = *state;
        struct outcome first = { 0 }, second = { 0 }, failed = { 0 };
        struct records *records;
        struct err err;

        ASSERT_OK(records_open(f->dir, "claims", 1, &records, &err), &err);
        recorder_put(f->recorder, records, "a", "x", on_recorded, &first);
        recorder_put(f->recorder, records, "b", "y", on_recorded, &second);
        assert_int_equal(first.calls, 0); /* never before the call has returned */
        flush(f);
        assert_int_equal(first.calls, 1);
        assert_int_equal(second.calls, 1);
        assert_int_equal(first.code | second.code, 0);
        ASSERT_OK(records_remove(records, "a", &err), &err);
        ASSERT_OK(records_remove(records, "b", &err), &err);

        assert_int_equal(unlinkat(f->dir, "claims", AT_REMOVEDIR), 0);
        recorder_put(f->recorder, records, "a", "x", on_recorded, &failed);
        flush(f);
        assert_int_equal(failed.calls, 1);
        assert_int_equal(failed.code, ENOENT);
        records_close(records);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_a_stuck_card_is_remembered_for_its_boot, setup, teardown),
                cmocka_unit_test_setup_teardown(test_records_that_say_nothing_are_set_aside, setup, teardown),
                cmocka_unit_test_setup_teardown(test_the_recorder_tells_what_the_disk_said, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
