/* SPDX-License-Identifier: Apache-2.0 */
/* An operator's holds: durable before they are in force, the next daemon's too, and a disk that refuses changes nothing. */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "claims/cordon.h"

struct fixture {
        char path[32];
        int dir;
        uv_loop_t loop;
        struct recorder *recorder;
        struct cordons *cordons;
        unsigned n_done, n_failed;
};

static void reopen(struct fixture *f)
{
        struct err err;

        cordons_free(f->cordons);
        ASSERT_OK(cordons_open(f->dir, f->recorder, &f->cordons, &err), &err);
}

static int setup(void **state)
{
        struct fixture *f = xcalloc(1, sizeof(*f));

        (void)str_copy(f->path, sizeof(f->path), "/dev/shm/sluice-crd-XXXXXX");
        assert_non_null(mkdtemp(f->path));
        f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(f->dir >= 0);
        assert_int_equal(uv_loop_init(&f->loop), 0);
        f->recorder = recorder_new(&f->loop);
        reopen(f);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *command = xasprintf("rm -rf %s", f->path);

        cordons_free(f->cordons);
        recorder_free(f->recorder);
        assert_int_equal(uv_loop_close(&f->loop), 0);
        (void)close(f->dir);
        free(f);
        return system(command); /* lint: a test's own directory */
}

static void on_done(void *ctx, const struct err *err)
{
        struct fixture *f = ctx;

        f->n_done++;
        f->n_failed += err != NULL;
}

static void put(struct fixture *f, const char *target, const char *note)
{
        struct cordon cordon = { .since_ms = 1234567890123 };

        assert_true(str_copy(cordon.target, sizeof(cordon.target), target) && str_copy(cordon.note, sizeof(cordon.note), note));
        cordons_put(f->cordons, &cordon, on_done, f);
}

static void flush(struct fixture *f)
{
        assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
}

static void test_a_hold_is_in_force_when_it_is_durable_and_outlives_the_daemon(void **state)
{
        struct fixture *f = *state;

        put(f, "0000:3b:00.0", "loud \"fan\" \xff");
        assert_null(cordons_find(f->cordons, "0000:3b:00.0")); /* not yet written */
        flush(f);
        assert_int_equal(f->n_done, 1);
        assert_non_null(cordons_find(f->cordons, "0000:3b:00.0"));
        put(f, "0000:3b:00.0", "again");
        put(f, "8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11", "");
        flush(f);
        reopen(f);
        const struct cordon *cordon = cordons_find(f->cordons, "0000:3b:00.0");
        assert_non_null(cordon);
        assert_string_equal(cordon->note, "again");
        assert_true(cordon->since_ms == 1234567890123);
        assert_non_null(cordons_find(f->cordons, "8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11"));
        cordons_remove(f->cordons, "0000:3b:00.0", on_done, f);
        flush(f);
        assert_null(cordons_find(f->cordons, "0000:3b:00.0"));
        reopen(f);
        assert_null(cordons_find(f->cordons, "0000:3b:00.0"));
        assert_non_null(cordons_find(f->cordons, "8dc12b8f-1f5a-4f0e-9c2f-0d2a5a7b1c11"));
        assert_int_equal(f->n_failed, 0);
}

static void test_a_hold_is_of_a_device_or_of_all_that_hangs_on_a_card(void **state)
{
        static const struct device gpu = { .id = "0000:3b:00.0", .card = { 0, 0x3b, 0, 0 } };
        static const struct device vf = { .id = "0000:3b:00.4", .card = { 0, 0x3b, 0, 0 } };
        static const struct device other = { .id = "0000:41:00.0", .card = { 0, 0x41, 0, 0 } };
        struct fixture *f = *state;

        put(f, "0000:3b:00.4", "one");
        flush(f);
        assert_null(cordons_of(f->cordons, &gpu));
        assert_string_equal(cordons_of(f->cordons, &vf)->note, "one");
        put(f, "0000:3b:00.0", "card");
        flush(f);
        assert_string_equal(cordons_of(f->cordons, &gpu)->note, "card");
        assert_string_equal(cordons_of(f->cordons, &vf)->note, "one"); /* its own says more */
        assert_null(cordons_of(f->cordons, &other));
        assert_true(cordon_is_of("0000:3b:00.0", &vf) && !cordon_is_of("0000:3b:00.4", &gpu));
}

static void test_what_the_disk_refuses_changes_nothing(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *command = xasprintf("rm -rf %s/cordon", f->path);

        put(f, "0000:3b:00.0", "kept");
        flush(f);
        assert_int_equal(system(command), 0); /* lint: a test's own directory */
        put(f, "0000:41:00.0", "");
        put(f, "0000:3b:00.0", "new note");
        flush(f);
        assert_int_equal(f->n_failed, 2);
        assert_null(cordons_find(f->cordons, "0000:41:00.0"));
        assert_string_equal(cordons_find(f->cordons, "0000:3b:00.0")->note, "kept");
}

static void test_a_record_that_is_none_is_set_aside(void **state)
{
        static const char *const texts[] = { "{}", "{\"note\": 1, \"since_ms\": 2}", "note", "{\"note\": \"a\", \"since_ms\": \"b\"}" };
        struct fixture *f = *state;
        struct records *records;
        struct err err;

        cordons_free(f->cordons);
        f->cordons = NULL;
        ASSERT_OK(records_open(f->dir, "cordon", 1, &records, &err), &err);
        for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
                _cleanup_free_ char *key = xasprintf("0000:%02zx:00.0", i);
                ASSERT_OK(records_put(records, key, texts[i], &err), &err);
        }
        ASSERT_OK(records_put(records, "a-target-that-is-longer-than-any-id-of-a-device-is", "{\"note\": \"\", \"since_ms\": 1}", &err),
                  &err);
        ASSERT_OK(records_put(records, "0000:77:00.0", "{\"note\": \"good\", \"since_ms\": 1}", &err), &err);
        records_close(records);
        reopen(f);
        for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
                _cleanup_free_ char *key = xasprintf("0000:%02zx:00.0", i);
                assert_null(cordons_find(f->cordons, key));
        }
        assert_string_equal(cordons_find(f->cordons, "0000:77:00.0")->note, "good");
}

#define CORDON_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
        static const struct CMUnitTest tests[] = {
                CORDON_TEST(test_a_hold_is_in_force_when_it_is_durable_and_outlives_the_daemon),
                CORDON_TEST(test_a_hold_is_of_a_device_or_of_all_that_hangs_on_a_card),
                CORDON_TEST(test_what_the_disk_refuses_changes_nothing),
                CORDON_TEST(test_a_record_that_is_none_is_set_aside),
        };

        return RUN(tests);
}
