/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a release that are none of a bind: reset, read-back of what was reset, power. */
#include "../unit.h"

#include <sys/wait.h>

#include "hands/wire.h"
#include "hands/worker.h"
#include "host.h"

static bool take(void *ctx, const struct report *report)
{
        *(struct report *)ctx = *report;
        return true;
}

static enum plan_end run(struct host *host, const struct plan *plan, struct report *last)
{
        _cleanup_kernel_ struct kernel *kernel = NULL;
        struct err err;

        ASSERT_OK(wire_plan_valid(plan, sizeof(*plan), &err), &err);
        ASSERT_OK(kernel_open(&kernel, host->sim_dir, &err), &err);
        return worker_execute(kernel, host->locks, plan, take, last);
}

static void make(struct host *host)
{
        _cleanup_free_ char *text =
                xasprintf("%sfile " GPU_DIR "/reset_method = pm flr\nfile " GPU_DIR "/power_state = D0\n", host_capture);

        host_make_of(host, text, strlen(text));
}

static void plan_reset(struct plan *plan, const char *method, const char *after)
{
        *plan = (struct plan){ .n_cards = 1, .cards = { GPU } };
        struct step *reset = plan_add(plan, STEP_RESET, GPU, method);
        (void)str_copy(reset->about, STEP_TEXT_MAX, after);
        reset->number = 1;
        struct step *answer = plan_add(plan, STEP_AWAIT_ANSWER, GPU, "");
        answer->number = 0x10de26b9;
        answer->wait_ms = 50;
}

static void test_a_reset_leaves_the_methods_as_they_were(void **state)
{
        static const struct {
                const char *method, *now;
        } rows[] = {
                { "flr", "pm flr" },
                { "pm", "pm flr" },
                { "pm", "flr" },
                /* the first */ { "flr", "flr" }, /* what a hand that was killed in the middle left */
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct host host;
                struct plan plan;
                struct report last;
                struct err err;

                make(&host);
                ASSERT_OK(sim_write(host.sim, "bus/pci/devices/0000:3b:00.0/reset_method", rows[i].now, &err), &err);
                plan_reset(&plan, rows[i].method, "pm flr");
                if (run(&host, &plan, &last) != PLAN_DONE)
                        fail_msg("%s of %s: %s", rows[i].method, rows[i].now, last.text);
                assert_string_equal(host_value(&host, GPU_DIR "/reset_method"), "pm flr");
                host_done(&host);
        }
}

/* The kernel listed "bus" before it saw the audio function. */
static void test_a_list_that_the_kernel_does_not_take_any_more_is_made_anew(void **state)
{
        struct host host;
        struct plan plan;
        struct report last;

        (void)state;
        _cleanup_free_ char *text = xasprintf("%sfile " GPU_DIR "/reset_method = pm flr bus\n", host_capture);
        host_make_of(&host, text, strlen(text));
        plan_reset(&plan, "flr", "pm flr bus");
        if (run(&host, &plan, &last) != PLAN_DONE)
                fail_msg("%s", last.text);
        assert_string_equal(host_value(&host, GPU_DIR "/reset_method"), "pm flr");
        host_done(&host);
}

/* What nobody has written down is not narrowed: the methods are others since the plan was made. */
static void test_methods_that_are_not_remembered_are_not_narrowed(void **state)
{
        struct host host;
        struct plan plan;
        struct report last;

        (void)state;
        make(&host);
        _cleanup_free_ char *before = host_picture(&host);
        plan_reset(&plan, "flr", "flr bus");
        plan.steps[0].number = 0;
        assert_int_equal(run(&host, &plan, &last), PLAN_REFUSED);
        if (!strstr(last.text, "reset_method of 0000:3b:00.0 has changed: it says 'pm flr', and flr was to be tried first"))
                fail_msg("%s", last.text);
        assert_host_unchanged(&host, before, "methods that changed");
        host_done(&host);
}

/* A hand was killed in the middle of a reset, and this one refuses: what it found narrowed it leaves as it was before. */
static void test_narrowed_methods_are_given_back_by_a_reset_that_fails(void **state)
{
        struct host host;
        struct plan plan;
        struct report last;
        struct err err;

        (void)state;
        make(&host);
        ASSERT_OK(sim_write(host.sim, "bus/pci/devices/0000:3b:00.0/reset_method", "flr", &err), &err);
        plan_reset(&plan, "flr", "pm flr");
        host_fault(&host, "reset 0000:3b:00.0 refuse ENOTTY");
        assert_int_equal(run(&host, &plan, &last), PLAN_UNDONE);
        assert_string_equal(host_value(&host, GPU_DIR "/reset_method"), "pm flr");
        host_done(&host);
}

static void test_methods_alone_are_given_back_and_undone(void **state)
{
        struct host host;
        struct plan plan = { .n_cards = 1, .cards = { GPU } };
        struct report last;
        struct err err;

        (void)state;
        make(&host);
        ASSERT_OK(sim_write(host.sim, "bus/pci/devices/0000:3b:00.0/reset_method", "flr", &err), &err);
        (void)str_copy(plan_add(&plan, STEP_SETTING, GPU, "pm flr")->about, STEP_TEXT_MAX, "reset_method");
        assert_int_equal(run(&host, &plan, &last), PLAN_DONE);
        assert_string_equal(host_value(&host, GPU_DIR "/reset_method"), "pm flr");
        ASSERT_OK(sim_write(host.sim, "bus/pci/devices/0000:3b:00.0/reset_method", "flr", &err), &err);
        plan_add(&plan, STEP_AWAIT_DRIVER, GPU, "nobody's")->wait_ms = 1;
        assert_int_equal(run(&host, &plan, &last), PLAN_UNDONE);
        assert_string_equal(host_value(&host, GPU_DIR "/reset_method"), "flr");
        host_done(&host);
}

static void test_only_the_chosen_method_is_tried(void **state)
{
        struct host host;
        struct plan plan;
        struct report last;
        struct err err;

        (void)state;
        make(&host);
        plan_reset(&plan, "flr", "pm flr");
        host_fault(&host, "reset 0000:3b:00.0 hang");
        pid_t pid = fork();
        if (pid == 0) {
                (void)run(&host, &plan, &last);
                _exit(0);
        }
        for (int i = 0; i < 300 && !streq(host_value(&host, GPU_DIR "/reset_method"), "flr"); i++)
                (void)usleep(10 * 1000);
        assert_string_equal(host_value(&host, GPU_DIR "/reset_method"), "flr"); /* at work: nothing else is allowed */
        ASSERT_OK(sim_fault(host.sim, "", &err), &err);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_string_equal(host_value(&host, GPU_DIR "/reset_method"), "pm flr");
        host_done(&host);
}

static void check_failure(const char *fault, const char *method, enum plan_end end, enum reason reason, const char *says)
{
        struct host host;
        struct plan plan;
        struct report last;

        make(&host);
        plan_reset(&plan, method, "pm flr");
        host_fault(&host, fault);
        enum plan_end got = run(&host, &plan, &last);
        if (got != end || last.reason != reason || !strstr(last.text, says))
                fail_msg("%s: %s, %s: %s", fault, plan_end_name(got), reason_word(last.reason), last.text);
        assert_string_equal(host_value(&host, GPU_DIR "/reset_method"), "pm flr");
        host_done(&host);
}

static void test_a_reset_that_fails_is_said_and_leaves_the_methods(void **state)
{
        (void)state;
        check_failure("reset 0000:3b:00.0 refuse ENOTTY", "flr", PLAN_UNDONE, REASON_STEP_FAILED, "reset 0000:3b:00.0 by flr");
        check_failure("reset 0000:3b:00.0 dead", "flr", PLAN_REFUSED, REASON_NO_ANSWER,
                      "0000:3b:00.0 does not answer 50 ms after its reset");
        check_failure("reset_method 0000:3b:00.0 ignore", "flr", PLAN_UNDONE, REASON_STEP_FAILED,
                      "reset_method of 0000:3b:00.0 reads 'pm flr' after 'flr'");
}

static void test_a_function_that_hangs_in_an_error_does_not_answer(void **state)
{
        struct host host;
        struct plan plan;
        struct report last;
        struct err err;

        (void)state;
        make(&host);
        ASSERT_OK(fs_replace(host.dir, GPU_DIR "/power_state", "error\n", 6, 0644, &err), &err);
        plan_reset(&plan, "flr", "pm flr");
        assert_int_equal(run(&host, &plan, &last), PLAN_REFUSED);
        assert_int_equal(last.reason, REASON_NO_ANSWER);
        host_done(&host);
}

/* A VF's ids read as ones on every healthy card; the rest of its header does not. */
static void test_a_vf_answers_by_the_rest_of_its_header(void **state)
{
        unsigned char header[64] = { 0xff, 0xff, 0xff, 0xff, 0x06, 0x04, 0x10 };
        struct host host;
        struct plan plan;
        struct report last;
        struct err err;

        (void)state;
        make(&host);
        plan_reset(&plan, "flr", "pm flr");
        plan.steps[1].number = 0;
        ASSERT_OK(fs_replace(host.dir, GPU_DIR "/config", (const char *)header, sizeof(header), 0644, &err), &err);
        assert_int_equal(run(&host, &plan, &last), PLAN_DONE);
        memset(header, 0xff, sizeof(header));
        ASSERT_OK(fs_replace(host.dir, GPU_DIR "/config", (const char *)header, sizeof(header), 0644, &err), &err);
        assert_int_equal(run(&host, &plan, &last), PLAN_REFUSED);
        assert_int_equal(last.reason, REASON_NO_ANSWER);
        host_done(&host);
}

static void check_bars(struct host *host, const char *fault, enum plan_end end, const char *says)
{
        struct plan plan;
        struct report last;

        plan_reset(&plan, "flr", "pm flr");
        plan_add(&plan, STEP_COMPARE_BARS, GPU, "");
        host_fault(host, fault);
        enum plan_end got = run(host, &plan, &last);
        if (got != end || last.reason != (end == PLAN_DONE ? REASON_NONE : REASON_BARS_CHANGED) || !strstr(last.text, says))
                fail_msg("%s: %s, %s: %s", fault, plan_end_name(got), reason_word(last.reason), last.text);
}

static void test_bars_that_a_reset_left_elsewhere_are_named(void **state)
{
        struct host host;
        struct err err;

        (void)state;
        make(&host);
        check_bars(&host, "", PLAN_DONE, "");
        check_bars(&host, "reset 0000:3b:00.0 forget", PLAN_REFUSED,
                   "0000:3b:00.0 did not come back from its reset as it was: BAR 0 is at 0x0, and the kernel gave it 0x96000000");
        /* In D3hot it may have forgotten them: the kernel writes them when it wakes it. */
        ASSERT_OK(fs_replace(host.dir, GPU_DIR "/power_state", "D3hot\n", 6, 0644, &err), &err);
        check_bars(&host, "", PLAN_DONE, "");
        host_done(&host);
}

static void put32(unsigned char *config, size_t offset, uint32_t value)
{
        for (size_t i = 0; i < 4; i++)
                config[offset + i] = (unsigned char)(value >> 8 * i);
}

/* What a process with CAP_SYS_ADMIN reads: the whole of it. */
static void test_a_bar_of_another_size_is_named_where_it_can_be_read(void **state)
{
        unsigned char config[0x240] = { 0xde, 0x10, 0xb9, 0x26 };
        struct host host;
        struct err err;

        (void)state;
        make(&host);
        put32(config, 0x10, 0x96000000);
        put32(config, 0x14, 0x0000000c);
        put32(config, 0x18, 0x00002070);
        put32(config, 0x100, 0x20010001); /* AER, then 0x200: Resizable BAR, the last */
        put32(config, 0x200, 0x00010015);
        put32(config, 0x208, 1 | 1 << 5 | 8 << 8); /* BAR 1, of one, with 256 MiB */
        ASSERT_OK(fs_replace(host.dir, GPU_DIR "/config", (const char *)config, sizeof(config), 0644, &err), &err);
        check_bars(&host, "", PLAN_DONE, "");
        put32(config, 0x208, 1 | 1 << 5 | 15 << 8);
        ASSERT_OK(fs_replace(host.dir, GPU_DIR "/config", (const char *)config, sizeof(config), 0644, &err), &err);
        check_bars(&host, "", PLAN_REFUSED, "BAR 1 has 32768 MiB, and the kernel knows it with 256 MiB");
        put32(config, 0x100, 0x10010001); /* a list in a circle */
        ASSERT_OK(fs_replace(host.dir, GPU_DIR "/config", (const char *)config, sizeof(config), 0644, &err), &err);
        check_bars(&host, "", PLAN_DONE, "");
        host_done(&host);
}

static void plan_power(struct plan *plan)
{
        *plan = (struct plan){ .n_cards = 1, .cards = { GPU } };
        (void)str_copy(plan_add(plan, STEP_SETTING, GPU, "auto")->about, STEP_TEXT_MAX, "power/control");
        (void)str_copy(plan_add(plan, STEP_SETTING, GPU, "0")->about, STEP_TEXT_MAX, "d3cold_allowed");
}

static void test_power_is_set_and_undone(void **state)
{
        struct host host;
        struct plan plan;
        struct report last;

        (void)state;
        make(&host);
        plan_power(&plan);
        assert_int_equal(run(&host, &plan, &last), PLAN_DONE);
        assert_string_equal(host_value(&host, GPU_DIR "/power/control"), "auto");
        assert_string_equal(host_value(&host, GPU_DIR "/d3cold_allowed"), "0");
        host_done(&host);

        make(&host);
        _cleanup_free_ char *before = host_picture(&host);
        host_fault(&host, "d3cold_allowed 0000:3b:00.0 refuse EIO");
        assert_int_equal(run(&host, &plan, &last), PLAN_UNDONE);
        assert_host_unchanged(&host, before, "power");
        host_done(&host);
}

static void test_a_step_is_about_nothing_else_than_it_may(void **state)
{
        static const struct {
                enum step_kind kind;
                const char *text, *about;
                int r;
        } rows[] = {
                { STEP_SETTING, "on", "power/control", 0 },
                { STEP_SETTING, "0", "d3cold_allowed", 0 },
                { STEP_SETTING, "1", "remove", -EPROTO },
                { STEP_SETTING, "1", "../rescan", -EPROTO },
                { STEP_SETTING, "pm flr", "reset_method", 0 },
                { STEP_SETTING, "", "reset_method", -EPROTO },
                { STEP_SETTING, "pm flr", "power/control", -EPROTO },
                { STEP_RESET, "flr", "flr af_pm flr", 0 },
                { STEP_RESET, "flr", "", -EPROTO },
                { STEP_RESET, "", "flr", -EPROTO },
                { STEP_RESET, "flr", "flr\nbus", -EPROTO },
                { STEP_OVERRIDE, "", "vfio-pci", 0 },
                { STEP_OVERRIDE, "", "vfio/pci", -EPROTO },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct plan plan = { .n_cards = 1, .cards = { GPU } };
                struct err err;

                (void)str_copy(plan_add(&plan, rows[i].kind, GPU, rows[i].text)->about, STEP_TEXT_MAX, rows[i].about);
                if (wire_plan_valid(&plan, sizeof(plan), &err) != rows[i].r)
                        fail_msg("%s '%s' about '%s'", step_kind_name(rows[i].kind), rows[i].text, rows[i].about);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_reset_leaves_the_methods_as_they_were),
                TEST(test_a_list_that_the_kernel_does_not_take_any_more_is_made_anew),
                TEST(test_methods_that_are_not_remembered_are_not_narrowed),
                TEST(test_narrowed_methods_are_given_back_by_a_reset_that_fails),
                TEST(test_methods_alone_are_given_back_and_undone),
                TEST(test_only_the_chosen_method_is_tried),
                TEST(test_a_reset_that_fails_is_said_and_leaves_the_methods),
                TEST(test_a_function_that_hangs_in_an_error_does_not_answer),
                TEST(test_a_vf_answers_by_the_rest_of_its_header),
                TEST(test_bars_that_a_reset_left_elsewhere_are_named),
                TEST(test_a_bar_of_another_size_is_named_where_it_can_be_read),
                TEST(test_power_is_set_and_undone),
                TEST(test_a_step_is_about_nothing_else_than_it_may),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
