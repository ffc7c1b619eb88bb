/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger: what is put is known at once, on the disk later, and read again by the next daemon; what cannot be trusted is not. */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "claims/encode.h"
#include "claims/ledger.h"

struct fixture {
        char path[32];
        int dir;
        uv_loop_t loop;
        struct recorder *recorder;
        struct ledger *ledger;
};

static void open_ledger(struct fixture *f)
{
        struct err err;

        ASSERT_OK(ledger_open(f->dir, &f->loop, f->recorder, &f->ledger, &err), &err);
}

/* What is not written yet is. */
static void close_ledger(struct fixture *f)
{
        ledger_stop(f->ledger);
        assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
        f->ledger = ledger_free(f->ledger);
}

static void reopen(struct fixture *f)
{
        close_ledger(f);
        open_ledger(f);
}

static int setup(void **state)
{
        struct fixture *f = xcalloc(1, sizeof(*f));

        (void)str_copy(f->path, sizeof(f->path), "/dev/shm/sluice-led-XXXXXX");
        assert_non_null(mkdtemp(f->path));
        f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(f->dir >= 0);
        assert_int_equal(uv_loop_init(&f->loop), 0);
        f->recorder = recorder_new(&f->loop);
        open_ledger(f);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *command = xasprintf("rm -rf %s", f->path);

        fs_fail_at(0, 0);
        close_ledger(f);
        recorder_free(f->recorder);
        assert_int_equal(uv_loop_close(&f->loop), 0);
        (void)close(f->dir);
        free(f);
        return system(command); /* lint: a test's own directory */
}

struct outcome {
        int calls, code;
};

static void on_done(void *ctx, const struct err *err)
{
        struct outcome *outcome = ctx;

        outcome->calls++;
        outcome->code = err ? err->code : 0;
}

/* Until @outcome has been told. */
static void await(struct fixture *f, const struct outcome *outcome)
{
        int64_t until = clock_ms() + 10000;

        while (outcome->calls == 0 && clock_ms() < until)
                (void)uv_run(&f->loop, UV_RUN_ONCE);
        assert_int_equal(outcome->calls, 1);
}

static struct claim_device devices[] = {
        { .id = "0000:3b:00.0", .card = { .bus = 0x3b }, .group = 45, .vendor = 0x10de, .device = 0x26b9 }
};

static struct claim a_claim(void)
{
        return (struct claim){
                .key = "kubelet:0000:3b:00.0",
                .owner = OWNER_KUBELET,
                .state = CLAIM_SEEN,
                .resource = "nvidia.com/AD102GL_L40S",
                .devices = devices,
                .n_devices = 1,
                .boot_id = "5f1b5c1e-0000-4000-8000-000000000001",
                .since_ms = 1790000000123,
                .pod_namespace = "vms",
                .pod = "virt-launcher-a",
                .container = "compute",
        };
}

static struct original an_original(uint8_t bus, enum original_state state)
{
        return (struct original){
                .bdf = { .bus = bus, .function = 1 },
                .card = { .bus = bus },
                .state = state,
                .vendor = 0x10de,
                .device = 0x26b9,
                .subvendor = 0x10de,
                .subdevice = 0x1851,
                .driver = "nvidia",
                .driver_override = "",
                .override_known = true,
                .target = "vfio-pci",
                .boot_id = "b1",
        };
}

static void put_claim(struct fixture *f, const struct claim *claim, struct outcome *outcome)
{
        struct err err;

        ASSERT_OK(ledger_put_claim(f->ledger, claim, outcome ? on_done : NULL, outcome, &err), &err);
}

static void put_originals(struct fixture *f, const struct original *list, size_t n, struct outcome *outcome)
{
        struct err err;

        ASSERT_OK(ledger_put_originals(f->ledger, list, n, outcome ? on_done : NULL, outcome, &err), &err);
}

static void count_claim(void *ctx, const struct claim *claim)
{
        (void)claim;
        ++*(int *)ctx;
}

static int n_claims(const struct fixture *f)
{
        int n = 0;

        ledger_each_claim(f->ledger, count_claim, &n);
        return n;
}

static void test_a_claim_comes_back_as_it_was_put(void **state)
{
        struct fixture *f = *state;
        const struct claim put = a_claim();
        struct outcome outcome = { 0 };

        put_claim(f, &put, &outcome);
        assert_non_null(ledger_claim(f->ledger, put.key)); /* at once */
        assert_int_equal(outcome.calls, 0);
        await(f, &outcome);
        assert_int_equal(outcome.code, 0);
        reopen(f);
        const struct claim *got = ledger_claim(f->ledger, put.key);
        assert_non_null(got);
        assert_ptr_equal(ledger_claim_of(f->ledger, "0000:3b:00.0"), got);
        assert_null(ledger_claim_of(f->ledger, "0000:3b:00.1"));
        _cleanup_free_ char *before = encode_claim(&put), *after = encode_claim(got);
        assert_string_equal(before, after);
        assert_string_equal(got->pod, "virt-launcher-a");
        assert_int_equal(got->since_ms, 1790000000123);
        assert_int_equal(got->devices[0].group, 45);

        ledger_remove_claim(f->ledger, put.key, NULL, NULL);
        assert_null(ledger_claim(f->ledger, put.key));
        assert_int_equal(n_claims(f), 0);
        reopen(f);
        assert_int_equal(n_claims(f), 0);
}

static void test_originals_are_told_of_when_the_last_is_written(void **state)
{
        struct original list[] = { an_original(0x3b, ORIGINAL_BINDING), an_original(0x5e, ORIGINAL_BINDING) };
        const struct bdf bdfs[] = { list[0].bdf, list[1].bdf };
        struct outcome put = { 0 }, removed = { 0 };
        struct fixture *f = *state;

        (void)str_copy(list[1].power_control, sizeof(list[1].power_control), "auto");
        (void)str_copy(list[1].d3cold_allowed, sizeof(list[1].d3cold_allowed), "1");
        (void)str_copy(list[1].reset_methods, sizeof(list[1].reset_methods), "CXL-2 flr"); /* whatever names a kernel has */
        put_originals(f, list, 2, &put);
        await(f, &put);
        assert_int_equal(put.code, 0);
        assert_int_equal(fs_exists(f->dir, "originals/0000:3b:00.1.record"), 1);
        assert_int_equal(fs_exists(f->dir, "originals/0000:5e:00.1.record"), 1);
        reopen(f);
        const struct original *got = ledger_original(f->ledger, bdfs[1]);
        assert_non_null(got);
        _cleanup_free_ char *before = encode_original(&list[1]), *after = encode_original(got);
        assert_string_equal(before, after);
        assert_string_equal(got->power_control, "auto");
        assert_string_equal(got->d3cold_allowed, "1");
        assert_string_equal(got->reset_methods, "CXL-2 flr");
        assert_false(original_has_settings(ledger_original(f->ledger, bdfs[0]))); /* as the records of a Sluice that knew nothing of it */
        assert_true(bdf_equal(got->bdf, bdfs[1]));

        ledger_remove_originals(f->ledger, bdfs, 2, on_done, &removed);
        await(f, &removed);
        assert_int_equal(fs_exists(f->dir, "originals/0000:3b:00.1.record"), 0);
        assert_int_equal(fs_exists(f->dir, "originals/0000:5e:00.1.record"), 0);
}

/* Put, removed and put again while the disk is busy with the first: it ends up with the last, and each who waits is told. */
static void test_what_changes_while_it_is_written_is_written_again(void **state)
{
        struct original o = an_original(0x3b, ORIGINAL_BINDING);
        struct outcome first = { 0 }, gone = { 0 }, last = { 0 };
        struct fixture *f = *state;

        put_originals(f, &o, 1, &first);
        ledger_remove_originals(f->ledger, &o.bdf, 1, on_done, &gone);
        o.state = ORIGINAL_BOUND;
        put_originals(f, &o, 1, &last);
        assert_int_equal(ledger_original(f->ledger, o.bdf)->state, ORIGINAL_BOUND);
        await(f, &first);
        await(f, &gone);
        await(f, &last);
        reopen(f);
        assert_int_equal(ledger_original(f->ledger, o.bdf)->state, ORIGINAL_BOUND);
}

static void test_what_nobody_waits_for_is_written_soon(void **state)
{
        struct fixture *f = *state;
        struct claim claim = a_claim();

        for (int i = 0; i < 1000; i++) {
                claim.since_ms++;
                put_claim(f, &claim, NULL);
        }
        assert_int_equal(fs_exists(f->dir, "claims/kubelet:0000:3b:00.0.record"), 0);
        int64_t until = clock_ms() + 10000;
        while (fs_exists(f->dir, "claims/kubelet:0000:3b:00.0.record") == 0 && clock_ms() < until)
                (void)uv_run(&f->loop, UV_RUN_ONCE);
        reopen(f);
        assert_int_equal(ledger_claim(f->ledger, claim.key)->since_ms, claim.since_ms);
        ledger_remove_claim(f->ledger, claim.key, NULL, NULL);
        claim = a_claim();
        put_claim(f, &claim, NULL); /* never written: nothing to remove */
        ledger_remove_claim(f->ledger, claim.key, NULL, NULL);
        reopen(f);
        assert_int_equal(n_claims(f), 0);
}

static void test_a_disk_that_refuses_is_told_and_tried_again(void **state)
{
        const struct original list[] = { an_original(0x3b, ORIGINAL_BINDING), an_original(0x5e, ORIGINAL_BINDING) };
        struct outcome put = { 0 };
        struct fixture *f = *state;

        fs_fail_at(1, ENOSPC | FS_FAIL_ON);
        put_originals(f, list, 2, &put);
        await(f, &put);
        assert_int_equal(put.code, ENOSPC);
        assert_non_null(ledger_original(f->ledger, list[0].bdf)); /* it is for the caller to take back */
        fs_fail_at(0, 0);
        int64_t until = clock_ms() + LEDGER_RETRY_MS + 5000;
        while (fs_exists(f->dir, "originals/0000:5e:00.1.record") != 1 && clock_ms() < until)
                (void)uv_run(&f->loop, UV_RUN_ONCE);
        assert_int_equal(fs_exists(f->dir, "originals/0000:3b:00.1.record"), 1);
        assert_int_equal(fs_exists(f->dir, "originals/0000:5e:00.1.record"), 1);
}

static void test_a_full_ledger_refuses_what_is_new(void **state)
{
        struct fixture *f = *state;
        struct original o = an_original(0, ORIGINAL_BINDING);
        struct outcome outcome = { 0 };
        struct err err;

        fs_fail_at(1, EIO | FS_FAIL_ON); /* the disk has no part in this */
        for (unsigned i = 0; i < RECORDS_MAX; i++) {
                o.bdf = (struct bdf){ .domain = (i >> 8) & 0xff, .bus = (uint8_t)i };
                put_originals(f, &o, 1, NULL);
        }
        o.bdf = (struct bdf){ .domain = 0x100 };
        assert_int_equal(ledger_put_originals(f->ledger, &o, 1, on_done, &outcome, &err), -ENOSPC);
        assert_non_null(strstr(err.msg, "4096"));
        assert_null(ledger_original(f->ledger, o.bdf));
        o.bdf = (struct bdf){ .bus = 1 };
        put_originals(f, &o, 1, NULL); /* one that is there already is none too many */
        ledger_stop(f->ledger);
        assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
        assert_int_equal(outcome.calls, 0);
}

/* Each is a good text with one thing changed. */
static void test_what_is_no_claim_or_original_is_not_taken(void **state)
{
        static const struct {
                bool claim;
                const char *from, *to, *says;
        } rows[] = {
                { true, "\"seen\"", "\"sen\"", "word" },
                { true, "\"kubelet\"", "\"kublet\"", "word" },
                { true, "\"kubelet\"", "\"reconcile\"", "neither" },
                { true, "\"kubelet\"", "\"node-api\"", "key" },
                { true, "\"vfio\"", "\"container\"", "word" },
                { true, "0000:3b:00.0\",\"card", "0000:3b:00.1\",\"card", "key" },
                { true, "0000:3b:00.0\",\"card", "0000:3b:00.x\",\"card", "neither an address" },
                { true, "\"card\":\"0000:3b:00.0\"", "\"card\":\"\"", "card" },
                { true, "\"group\":45", "\"group\":-2", "group" },
                { true, "\"group\":45", "\"group\":4500000000", "group" },
                { true, "\"group\":45", "\"group\":4.5", "members" },
                { true, "\"vendor\":4318", "\"vendor\":65536", "identity" },
                { true, "\"group\":45", "\"group\":45,\"extra\":1", "members" },
                { true, "\"since_ms\":1790000000123", "\"since_ms\":\"1\"", "members" },
                { true, "\"since_ms\":", "\"sinze_ms\":", "members" },
                { true, "virt-launcher-a", "virt-launcher-a\\u0007", "control" },
                { true, "virt-launcher-a", "a\\u0000b", "no JSON" },
                { true, "nvidia.com/AD102GL_L40S", "", "missing" },
                { true, "{\"id\"", "1,{\"id\"", "members" },
                { true, "}]", "}", "no JSON" },
                { false, "\"bound\"", "\"bond\"", "word" },
                { false, "\"card\":\"0000:3b:00.0\"", "\"card\":\"3b:00\"", "card" },
                { false, "\"subdevice\":6225", "\"subdevice\":-1", "identity" },
                { false, "\"nvidia\"", "\"nvi\\u001bdia\"", "control" },
                { false, "\"nvidia\"", "\"0123456789012345678901234567890123456789012345678901234567890123\"", "too long" },
                { false, "\"vfio-pci\"", "\"\"", "missing" },
                { false, "true", "1", "members" },
                { false, "\"boot_id\"", "\"reset_methods\":\"flr/bus\",\"boot_id\"", "reset_method" },
                { false, "\"boot_id\"", "\"boot_id\":\"\",\"boot_id\"", "no JSON" },
        };
        const struct claim claim = a_claim();
        const struct original original = an_original(0x3b, ORIGINAL_BOUND);
        struct claim got_claim;
        struct original got;
        struct err err;

        (void)state;
        _cleanup_free_ char *claim_text = encode_claim(&claim), *original_text = encode_original(&original);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                const char *whole = rows[i].claim ? claim_text : original_text;
                const char *at = strstr(whole, rows[i].from);
                if (!at)
                        fail_msg("row %zu: %s is not in %s", i, rows[i].from, whole);
                _cleanup_free_ char *text = xasprintf("%.*s%s%s", (int)(at - whole), whole, rows[i].to, at + strlen(rows[i].from));
                int r = rows[i].claim ? decode_claim("kubelet:0000:3b:00.0", text, &got_claim, &err)
                                      : decode_original("0000:3b:00.1", text, &got, &err);
                if (r != -EBADMSG || !strstr(err.msg, rows[i].says))
                        fail_msg("row %zu: %d, %s", i, r, err.msg);
        }
        assert_int_equal(decode_original("0000:3b:00.x", original_text, &got, &err), -EBADMSG);
        assert_int_equal(decode_claim("kubelet:0000:3b:00.1", claim_text, &got_claim, &err), -EBADMSG);
}

static void test_a_claim_has_a_bounded_number_of_devices(void **state)
{
        struct claim_device *many = xcalloc(CLAIM_DEVICES_MAX + 1, sizeof(*many));
        struct claim claim = a_claim(), got;
        struct err err;

        (void)state;
        (void)str_copy(claim.key, sizeof(claim.key), "node:vm-1");
        claim.owner = OWNER_NODE_API;
        claim.devices = many;
        for (unsigned i = 0; i <= CLAIM_DEVICES_MAX; i++) {
                many[i] = devices[0];
                bdf_format((struct bdf){ .domain = i >> 8, .bus = (uint8_t)i }, many[i].id);
        }
        claim.n_devices = CLAIM_DEVICES_MAX;
        _cleanup_free_ char *fits = encode_claim(&claim);
        ASSERT_OK(decode_claim(claim.key, fits, &got, &err), &err);
        assert_int_equal(got.n_devices, CLAIM_DEVICES_MAX);
        assert_true(strlen(fits) < RECORD_TEXT_MAX);
        claim_done(&got);
        claim.n_devices++;
        _cleanup_free_ char *too_many = encode_claim(&claim);
        assert_int_equal(decode_claim(claim.key, too_many, &got, &err), -EBADMSG);
        claim.n_devices = 2;
        many[1] = many[0];
        _cleanup_free_ char *twice = encode_claim(&claim);
        assert_int_equal(decode_claim(claim.key, twice, &got, &err), -EBADMSG);
        claim.n_devices = 0;
        _cleanup_free_ char *none = encode_claim(&claim);
        assert_int_equal(decode_claim(claim.key, none, &got, &err), -EBADMSG);
        free(many);
}

static void test_a_record_that_is_not_trusted_is_set_aside(void **state)
{
        const struct claim claim = a_claim();
        struct fixture *f = *state;
        struct records *records;
        struct err err;

        put_claim(f, &claim, NULL);
        close_ledger(f);
        ASSERT_OK(records_open(f->dir, "originals", LEDGER_VERSION - 1, &records, &err), &err);
        ASSERT_OK(records_put(records, "0000:3b:00.1", "{}", &err), &err); /* from an older program */
        records_close(records);
        ASSERT_OK(records_open(f->dir, "claims", LEDGER_VERSION, &records, &err), &err);
        ASSERT_OK(records_put(records, "kubelet:0000:5e:00.0", "{}", &err), &err);
        records_close(records);
        open_ledger(f);
        assert_int_equal(n_claims(f), 1);
        assert_null(ledger_original(f->ledger, (struct bdf){ .bus = 0x3b, .function = 1 }));
        assert_int_equal(fs_exists(f->dir, "originals/0000:3b:00.1.record.bad"), 1);
        assert_int_equal(fs_exists(f->dir, "claims/kubelet:0000:5e:00.0.record.bad"), 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_a_claim_comes_back_as_it_was_put, setup, teardown),
                cmocka_unit_test_setup_teardown(test_originals_are_told_of_when_the_last_is_written, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_changes_while_it_is_written_is_written_again, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_nobody_waits_for_is_written_soon, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_disk_that_refuses_is_told_and_tried_again, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_full_ledger_refuses_what_is_new, setup, teardown),
                TEST(test_what_is_no_claim_or_original_is_not_taken),
                TEST(test_a_claim_has_a_bounded_number_of_devices),
                cmocka_unit_test_setup_teardown(test_a_record_that_is_not_trusted_is_set_aside, setup, teardown),
        };

        return RUN(tests);
}
