/* SPDX-License-Identifier: Apache-2.0 */
/* Fail everywhere: each access of each kind of plan fails once, with each error that a kernel is apt to answer, and again while the
 * plan undoes what another failure ended. The plan is done, or the host is as it was, or what remains is named. */
#include "../unit.h"

#include "hands/wire.h"
#include "hands/worker.h"
#include "host.h"

static const int errors[] = { ENOENT, EBUSY, EIO, ENOSPC, EPERM, EINTR };

static bool take(void *ctx, const struct report *report)
{
        *(struct report *)ctx = *report;
        return true;
}

/* The n-th access fails with @error; 0: none does. Returns how many there were in *@ret_calls (may be NULL). */
static enum plan_end run(struct host *host, const struct plan *plan, unsigned n, int error, struct report *last, unsigned *ret_calls)
{
        _cleanup_kernel_ struct kernel *kernel = NULL;
        struct err err;

        ASSERT_OK(wire_plan_valid(plan, sizeof(*plan), &err), &err);
        ASSERT_OK(kernel_open(&kernel, host->sim_dir, &err), &err);
        fs_fail_at(n, error);
        enum plan_end end = worker_execute(kernel, host->locks, plan, take, last);
        if (ret_calls)
                *ret_calls = fs_calls();
        fs_fail_at(0, 0);
        return end;
}

/* ---- plans ---- */

static void plan_add_give_back(struct plan *plan, struct bdf bdf, const char *to)
{
        (void)str_copy(plan_add(plan, STEP_OVERRIDE, bdf, "")->about, STEP_TEXT_MAX, "vfio-pci");
        plan_add(plan, STEP_UNBIND, bdf, "vfio-pci")->wait_ms = 50;
        plan_add(plan, STEP_PROBE, bdf, "")->wait_ms = 50;
        plan_add(plan, STEP_AWAIT_DRIVER, bdf, to)->wait_ms = 50;
}

static void make_bound(struct host *host)
{
        struct report last;
        struct plan plan;

        plan_of_host(&plan);
        if (run(host, &plan, 0, 0, &last, NULL) != PLAN_DONE)
                fail_msg("%s", last.text);
}

static void plan_to_give_back(struct plan *plan)
{
        *plan = (struct plan){ .n_cards = 1, .cards = { GPU } };
        plan_add(plan, STEP_NEED_IDENTITY, GPU, "")->number = 0x10de26b9;
        plan_add(plan, STEP_GUARD_NODES, GPU, "");
        plan_add(plan, STEP_NEED_IDENTITY, AUDIO, "")->number = 0x10de22ba;
        plan_add(plan, STEP_GUARD_NODES, AUDIO, "");
        plan_add(plan, STEP_GUARD_WEDGED, GPU, "");
        plan_add_give_back(plan, AUDIO, "snd_hda_intel");
        plan_add_give_back(plan, GPU, "nvidia");
}

static void plan_to_reset(struct plan *plan)
{
        *plan = (struct plan){ .n_cards = 1, .cards = { GPU } };
        plan_add(plan, STEP_NEED_IDENTITY, GPU, "")->number = 0x10de26b9;
        plan_add(plan, STEP_GUARD_NODES, GPU, "");
        struct step *reset = plan_add(plan, STEP_RESET, GPU, "flr");
        (void)str_copy(reset->about, STEP_TEXT_MAX, "pm flr");
        reset->number = 1;
        struct step *answer = plan_add(plan, STEP_AWAIT_ANSWER, GPU, "");
        answer->number = 0x10de26b9;
        answer->wait_ms = 50;
        plan_add(plan, STEP_COMPARE_BARS, GPU, "");
        (void)str_copy(plan_add(plan, STEP_SETTING, GPU, "auto")->about, STEP_TEXT_MAX, "power/control");
        (void)str_copy(plan_add(plan, STEP_SETTING, GPU, "0")->about, STEP_TEXT_MAX, "d3cold_allowed");
        plan_add(plan, STEP_RELEASE_UNBIND_LOCK, GPU, "");
}

static void plan_to_tell(struct plan *plan)
{
        *plan = (struct plan){ .n_cards = 0 };
        plan_add(plan, STEP_READ_LOCKED, GPU, "driver_override");
        plan_add(plan, STEP_LIST_HOLDERS, GPU, "");
        plan_add(plan, STEP_GUARD_NODES, AUDIO, "");
}

static const struct kind {
        const char *name;
        void (*plan)(struct plan *plan);
        bool bound;       /* the host that it begins on */
        const char *late; /* a fault that ends it as late as can be, so that the undo is hit too; NULL = it has none */
} kinds[] = {
        { "bind", plan_of_host, false, "drivers_probe 0000:3b:00.1 refuse EINVAL times 1" },
        { "give back", plan_to_give_back, true, "drivers_probe 0000:3b:00.0 refuse EINVAL times 1" },
        { "reset", plan_to_reset, false, "d3cold_allowed 0000:3b:00.0 refuse EINVAL times 1" },
        { "tell", plan_to_tell, false, NULL },
};

static void make(struct host *host, const struct kind *kind)
{
        _cleanup_free_ char *text = xasprintf("%sfile " GPU_DIR "/reset_method = pm flr\nfile " GPU_DIR "/power_state = D0\nfile " GPU_DIR
                                              "/power/control = on\nfile " GPU_DIR "/d3cold_allowed = 1\n",
                                              host_capture);

        host_make_of(host, text, strlen(text));
        if (kind->bound)
                make_bound(host);
}

/* ---- what must be so ---- */

/* The numbers of VFIO's devices go by the order of binding: they are left out. */
static char *picture(struct host *host)
{
        char *text = host_picture(host);

        for (char *at = text; (at = strstr(at, "/vfio-dev/vfio"));) {
                at += strlen("/vfio-dev/vfio");
                *at = *at >= '0' && *at <= '9' ? 'N' : *at;
        }
        return text;
}

static bool has_line(const char *text, const char *line)
{
        const char *at = strstr(text, line);

        while (at && at > text && at[-1] != '\n')
                at = strstr(at + 1, line);
        return at;
}

/* Lines of @from that @in lacks. */
static void add_missing(struct strbuf *b, const char *from, const char *in)
{
        for (const char *line = from; *line; line += strcspn(line, "\n") + 1) {
                _cleanup_free_ char *whole = xstrndup(line, strcspn(line, "\n") + 1);
                if (!has_line(in, whole))
                        strbuf_add(b, whole);
        }
}

static bool names_what_differs(const char *text, const char *difference)
{
        static const char *const addresses[] = { "0000:3b:00.0", "0000:3b:00.1" };

        for (size_t i = 0; i < N_ELEMENTS(addresses); i++)
                if (strstr(difference, addresses[i]) && strstr(text, addresses[i]))
                        return true;
        return false;
}

static void judge(struct host *host, enum plan_end end, const struct report *last, const char *before, const char *after, const char *what)
{
        const char *want = end == PLAN_DONE ? after : before;
        _cleanup_free_ char *now = picture(host);
        _cleanup_strbuf_ struct strbuf difference = { 0 };

        strbuf_add(&difference, "");
        add_missing(&difference, want, now);
        add_missing(&difference, now, want);
        assert_true(host_lock_is_free(host));
        if (end != PLAN_DONE && (last->reason == REASON_NONE || !*last->text))
                fail_msg("%s: %s without a reason", what, plan_end_name(end));
        if (difference.len > 0 && (end != PLAN_BROKEN || !names_what_differs(last->text, difference.text)))
                fail_msg("%s: %s, '%s', and this remains:\n%s", what, plan_end_name(end), last->text, difference.text);
}

/* With @fault, what follows it is the undo. */
static unsigned sweep(const struct kind *kind, const char *fault, int error)
{
        struct host host;
        struct plan plan;
        struct report last = { 0 };
        unsigned n_calls = 0;

        kind->plan(&plan);
        make(&host, kind);
        assert_int_equal(run(&host, &plan, 0, 0, &last, &n_calls), PLAN_DONE);
        _cleanup_free_ char *after = picture(&host);
        _cleanup_free_ char *root = xstrdup(host.root);
        host_done(&host);
        for (unsigned n = 1;; n++) {
                char what[128];
                str_format(what, sizeof(what), "%s%s, access %u: %s", kind->name, fault ? " that fails late" : "", n, strerror(error));
                make(&host, kind);
                if (fault)
                        host_fault(&host, fault);
                _cleanup_free_ char *its_before = picture(&host);
                last = (struct report){ 0 };
                enum plan_end end = run(&host, &plan, n, error, &last, &n_calls);
                /* Each host has a directory of its own, of the same length. */
                for (char *at = after; (at = strstr(at, root));)
                        memcpy(at, host.root, strlen(root));
                memcpy(root, host.root, strlen(root));
                judge(&host, end, &last, its_before, after, what);
                host_done(&host);
                if (n_calls < n)
                        return n - 1; /* none failed: it was the last that did */
        }
}

static void sweep_all(const struct kind *kind)
{
        for (size_t e = 0; e < N_ELEMENTS(errors); e++) {
                assert_true(sweep(kind, NULL, errors[e]) > 5);
                if (kind->late)
                        (void)sweep(kind, kind->late, errors[e]);
        }
}

static void test_any_access_of_a_bind_may_fail(void **state)
{
        (void)state;
        sweep_all(&kinds[0]);
}

static void test_any_access_of_giving_back_may_fail(void **state)
{
        (void)state;
        sweep_all(&kinds[1]);
}

static void test_any_access_of_a_reset_may_fail(void **state)
{
        (void)state;
        sweep_all(&kinds[2]);
}

static void test_any_access_of_telling_may_fail(void **state)
{
        (void)state;
        sweep_all(&kinds[3]);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_any_access_of_a_bind_may_fail),
                TEST(test_any_access_of_giving_back_may_fail),
                TEST(test_any_access_of_a_reset_may_fail),
                TEST(test_any_access_of_telling_may_fail),
        };

        return RUN(tests);
}
