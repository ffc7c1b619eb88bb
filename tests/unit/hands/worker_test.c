/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <signal.h>
#include <sys/wait.h>

#include "hands/worker.h"
#include "host.h"

/* Everything a plan said. */
struct record {
        struct report last; /* REPORT_END */
        unsigned n_reports, n_undone;
        unsigned call_off_at; /* the number of the report whose answer calls the plan off; 0 = none */
        unsigned n_checked, n_ready;
        bool after_end;
        char order[PLAN_STEPS_MAX * 8]; /* "0 1 2 u1 u0": finished steps and undos */
        char values[256];
};

static bool take(void *ctx, const struct report *report)
{
        struct record *record = ctx;
        size_t n = strlen(record->order);

        record->after_end |= record->last.kind == REPORT_END;
        record->n_reports++;
        if (report->kind == REPORT_AFTER || report->kind == REPORT_UNDO_AFTER)
                str_format(record->order + n, sizeof(record->order) - n, "%s%s%u%s", n ? " " : "",
                           report->kind == REPORT_UNDO_AFTER ? "u" : "", report->step, report->result ? "!" : "");
        if (report->kind == REPORT_AFTER && report->result == 0 && *report->text)
                str_format(record->values + strlen(record->values), sizeof(record->values) - strlen(record->values), "[%s]", report->text);
        if (report->kind == REPORT_END)
                record->last = *report;
        if (record->call_off_at && record->n_reports > record->call_off_at) /* no further word would come */
                assert_true(report->kind != REPORT_CHECKED && report->kind != REPORT_READY);
        record->n_checked += report->kind == REPORT_CHECKED;
        record->n_ready += report->kind == REPORT_READY;
        return record->n_reports != record->call_off_at;
}

static enum plan_end run_called_off(struct host *host, const struct plan *plan, unsigned at, struct record *record)
{
        _cleanup_kernel_ struct kernel *kernel = NULL;
        struct err err;

        *record = (struct record){ .call_off_at = at };
        record->last.kind = REPORT_BEFORE;
        ASSERT_OK(wire_plan_valid(plan, sizeof(*plan), &err), &err);
        ASSERT_OK(kernel_open(&kernel, host->sim_dir, &err), &err);
        enum plan_end end = worker_execute(kernel, host->locks, plan, take, record);
        assert_int_equal(record->last.kind, REPORT_END);
        assert_int_equal(record->last.end, end);
        assert_false(record->after_end);
        return end;
}

static enum plan_end run(struct host *host, const struct plan *plan, struct record *record)
{
        return run_called_off(host, plan, 0, record);
}

#define ASSERT_SAYS(record, want)                                                     \
        do {                                                                          \
                if (!strstr((record).last.text, want))                                \
                        fail_msg("'%s' does not say '%s'", (record).last.text, want); \
        } while (0)

#define ASSERT_END(record, want)                                                                                                         \
        do {                                                                                                                             \
                if ((record).last.end != (want))                                                                                         \
                        fail_msg("%s instead of %s: %s (%s)", plan_end_name((record).last.end), plan_end_name(want), (record).last.text, \
                                 (record).order);                                                                                        \
        } while (0)

static void test_a_card_with_its_companion_is_bound(void **state)
{
        struct host host;
        struct plan plan;
        struct record record;

        (void)state;
        host_make(&host);
        plan_of_host(&plan);
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_DONE);
        assert_string_equal(record.last.text, "");
        assert_int_equal(record.last.reason, REASON_NONE);
        assert_int_equal(record.last.step, plan.n_steps);
        assert_string_equal(record.order, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14");
        assert_int_equal(record.n_reports, 2 * plan.n_steps + 1);
        assert_string_equal(host_driver(&host, GPU), "vfio-pci");
        assert_string_equal(host_driver(&host, AUDIO), "vfio-pci");
        assert_string_equal(host_value(&host, GPU_DIR "/driver_override"), "vfio-pci");
        assert_int_equal(fs_exists(host.dir, "dev/vfio/45"), 1);
        assert_true(host_lock_is_free(&host));
        host_done(&host);
}

static void test_the_same_plan_again_changes_nothing(void **state)
{
        struct host host;
        struct plan plan;
        struct record record;

        (void)state;
        host_make(&host);
        plan_of_host(&plan);
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_DONE);
        for (uint32_t i = 0; i < plan.n_steps; i++) /* what the plan would be made of now */
                if (plan.steps[i].kind == STEP_UNBIND)
                        (void)str_copy(plan.steps[i].text, STEP_TEXT_MAX, "");
        _cleanup_free_ char *before = host_picture(&host);
        plan.n_steps = 6; /* without acting: conditions hold for what is bound, too */
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_DONE);
        assert_host_unchanged(&host, before, "it");
        host_done(&host);
}

/* One row: a fault, or a lie in the plan; how it must end; and nothing may be left behind. */
struct row {
        const char *name, *fault;
        void (*change)(struct host *host, struct plan *plan);
        enum plan_end end;
        enum reason reason;
        const char *says, *order;
};

static void run_row(const struct row *row)
{
        struct host host;
        struct plan plan;
        struct record record;

        host_make(&host);
        plan_of_host(&plan);
        if (row->change)
                row->change(&host, &plan);
        if (row->fault)
                host_fault(&host, row->fault);
        _cleanup_free_ char *before = host_picture(&host);
        run(&host, &plan, &record);
        if (record.last.end != row->end || record.last.reason != row->reason || !strstr(record.last.text, row->says) ||
            !streq(record.order, row->order))
                fail_msg("%s: %s, %s, '%s', %s", row->name, plan_end_name(record.last.end), reason_word(record.last.reason),
                         record.last.text, record.order);
        if (row->end != PLAN_BROKEN)
                assert_host_unchanged(&host, before, row->name);
        assert_true(host_lock_is_free(&host));
        host_done(&host);
}

static void another_gpu(struct host *host, struct plan *plan)
{
        (void)host;
        plan->steps[1].number = 0x10de2236;
}

static void no_such_driver(struct host *host, struct plan *plan)
{
        (void)host;
        (void)str_copy(plan->steps[0].text, STEP_TEXT_MAX, "nvgrace_gpu_vfio_pci");
}

static void no_vfio_node(struct host *host, struct plan *plan)
{
        (void)plan;
        assert_int_equal(fs_unlink(host->dir, "dev/vfio/vfio", 0), 0);
}

static void held(struct host *host, struct plan *plan)
{
        struct err err;

        (void)plan;
        ASSERT_OK(sim_hold(host->sim, "/dev/nvidia0", 4242, "nvidia-smi", &err), &err);
}

static void taken_by_another_manager(struct host *host, struct plan *plan)
{
        struct err err;

        (void)plan;
        ASSERT_OK(sim_write(host->sim, "bus/pci/devices/0000:3b:00.0/driver_override", "pci-stub", &err), &err);
}

static void unplugged(struct host *host, struct plan *plan)
{
        struct err err;

        (void)plan;
        ASSERT_OK(sim_unplug(host->sim, "0000:3b:00.0", &err), &err);
}

static void test_a_condition_that_fails_changes_nothing(void **state)
{
        static const struct row rows[] = {
                { "driver", NULL, no_such_driver, PLAN_REFUSED, REASON_VFIO_MISSING, "nvgrace_gpu_vfio_pci is not loaded", "0!" },
                { "node", NULL, no_vfio_node, PLAN_REFUSED, REASON_VFIO_MISSING, "/dev/vfio/vfio does not exist", "0!" },
                { "identity", NULL, another_gpu, PLAN_REFUSED, REASON_IDENTITY, "is now 10de:26b9 instead of 10de:2236", "0 1!" },
                { "holder", NULL, held, PLAN_REFUSED, REASON_HELD, "pid 4242 (nvidia-smi) has /dev/nvidia0 open", "0 1 2 3!" },
                { "unplugged", NULL, unplugged, PLAN_REFUSED, REASON_GONE, "0000:3b:00.0 is gone from the host", "0 1!" },
                { "lock refused", "unbindLock 0000:3b:00.0 ignore", NULL, PLAN_REFUSED, REASON_UNBIND_LOCK, "it still has clients",
                  "0 1 2 3 4 5! u5" },
                { "lock write refused", "unbindLock 0000:3b:00.0 refuse EIO", NULL, PLAN_REFUSED, REASON_STEP_FAILED, "Input/output error",
                  "0 1 2 3 4 5! u5" },
                { "override of another", NULL, taken_by_another_manager, PLAN_REFUSED, REASON_FOREIGN_OWNER,
                  "somebody has set driver_override of 0000:3b:00.0 to pci-stub", "0 1 2 3 4 5 6! u5" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                run_row(&rows[i]);
}

static void test_a_step_that_fails_is_undone_in_reverse_order(void **state)
{
        static const struct row rows[] = {
                { "override refused", "driver_override 0000:3b:00.0 refuse EPERM times 1", NULL, PLAN_UNDONE, REASON_STEP_FAILED,
                  "not permitted", "0 1 2 3 4 5 6! u6 u5" },
                { "override ignored", "driver_override 0000:3b:00.0 ignore times 1", NULL, PLAN_UNDONE, REASON_STEP_FAILED,
                  "reads '' after 'vfio-pci' was written", "0 1 2 3 4 5 6! u6 u5" },
                { "unbind refused", "unbind 0000:3b:00.0 refuse EBUSY times 1", NULL, PLAN_UNDONE, REASON_STEP_FAILED, "busy",
                  "0 1 2 3 4 5 6 7! u7 u6 u5" },
                { "probe refused", "drivers_probe 0000:3b:00.0 refuse EINVAL times 1", NULL, PLAN_UNDONE, REASON_STEP_FAILED,
                  "Invalid argument", "0 1 2 3 4 5 6 7 8! u8 u7 u6 u5" },
                { "probe without effect", "drivers_probe 0000:3b:00.0 ignore times 1", NULL, PLAN_UNDONE, REASON_STEP_FAILED,
                  "is on no driver instead of vfio-pci after 100 ms", "0 1 2 3 4 5 6 7 8 9! u8 u7 u6 u5" },
                { "the companion fails", "drivers_probe 0000:3b:00.1 ignore times 1", NULL, PLAN_UNDONE, REASON_STEP_FAILED,
                  "0000:3b:00.1 is on no driver", "0 1 2 3 4 5 6 7 8 9 10 11 12 13! u12 u11 u10 u8 u7 u6 u5" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                run_row(&rows[i]);
}

/* A client that goes away meanwhile. */
static void test_the_unbind_lock_is_asked_for_more_than_once(void **state)
{
        struct host host;
        struct plan plan;
        struct record record;

        (void)state;
        host_make(&host);
        plan_of_host(&plan);
        host_fault(&host, "unbindLock 0000:3b:00.0 ignore times 4");
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_DONE);
        assert_string_equal(host_driver(&host, GPU), "vfio-pci");
        host_done(&host);
}

static void test_an_undo_that_fails_is_said_and_the_others_are_tried(void **state)
{
        static const struct row rows[] = {
                { "a write that is not done once more", "driver_override 0000:3b:00.0 refuse EIO times 2", NULL, PLAN_UNDONE,
                  REASON_STEP_FAILED, "Input/output error", "0 1 2 3 4 5 6! u6 u5" },
                { "driver does not come back", "drivers_probe 0000:3b:00.0 ignore", NULL, PLAN_BROKEN, REASON_NOT_RESTORED,
                  "it could not be undone: 0000:3b:00.0 is on no driver instead of nvidia", "0 1 2 3 4 5 6 7 8 9! u8 u7! u6 u5" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                run_row(&rows[i]);
}

/* Opens the group's node as soon as the GPU is bound. */
struct intruder {
        struct record record;
        struct host *host;
};

static bool take_and_open(void *ctx, const struct report *report)
{
        struct intruder *intruder = ctx;
        struct err err;

        if (report->kind == REPORT_AFTER && report->step == 9)
                ASSERT_OK(sim_hold(intruder->host->sim, "/dev/vfio/45", 4343, "qemu-kvm", &err), &err);
        return take(&intruder->record, report);
}

/* A driver waits in its unbind for who has the device open: who did that to it would not come back. */
static pid_t let_go_later(struct host *host)
{
        pid_t pid = fork();
        struct err err;

        if (pid != 0)
                return pid;
        (void)sleep(5);
        _exit(sim_hold(host->sim, "/dev/vfio/45", -4343, "", &err) < 0);
}

static void test_what_was_opened_meanwhile_is_not_unbound_by_an_undo(void **state)
{
        struct host host;
        struct plan plan;
        struct intruder intruder = { .host = &host };
        _cleanup_kernel_ struct kernel *kernel = NULL;
        struct err err;

        (void)state;
        host_make(&host);
        plan_of_host(&plan);
        host_fault(&host, "drivers_probe 0000:3b:00.1 ignore times 1");
        ASSERT_OK(kernel_open(&kernel, host.sim_dir, &err), &err);
        pid_t rescuer = let_go_later(&host);
        (void)worker_execute(kernel, host.locks, &plan, take_and_open, &intruder);
        assert_int_equal(kill(rescuer, SIGKILL), 0);
        assert_int_equal(waitpid(rescuer, NULL, 0), rescuer);
        ASSERT_END(intruder.record, PLAN_BROKEN);
        assert_int_equal(intruder.record.last.reason, REASON_BROKEN_BINDING);
        ASSERT_SAYS(intruder.record, "0000:3b:00.0 is in use: pid 4343 (qemu-kvm) has /dev/vfio/45 open");
        assert_string_equal(host_driver(&host, GPU), "vfio-pci");
        assert_string_equal(host_driver(&host, AUDIO), "snd_hda_intel");
        host_done(&host);
}

/* The driver has given its lock, and does not take it back. */
static bool take_and_shut(void *ctx, const struct report *report)
{
        struct intruder *intruder = ctx;

        if (report->kind == REPORT_AFTER && report->step == 5)
                host_fault(intruder->host, "unbindLock 0000:3b:00.0 refuse EIO");
        return take(&intruder->record, report);
}

static void test_an_unbind_lock_that_cannot_be_given_back_is_said(void **state)
{
        struct host host;
        struct plan plan;
        struct intruder intruder = { .host = &host };
        _cleanup_kernel_ struct kernel *kernel = NULL;
        struct err err;

        (void)state;
        host_make(&host);
        plan_of_host(&plan);
        host_fault(&host, "driver_override 0000:3b:00.0 refuse EPERM times 1");
        ASSERT_OK(kernel_open(&kernel, host.sim_dir, &err), &err);
        (void)worker_execute(kernel, host.locks, &plan, take_and_shut, &intruder);
        ASSERT_END(intruder.record, PLAN_BROKEN);
        assert_string_equal(intruder.record.order, "0 1 2 3 4 5 6! u6 u5!");
        ASSERT_SAYS(intruder.record, "it could not be undone: ");
        ASSERT_SAYS(intruder.record, "unbindLock");
        assert_string_equal(host_driver(&host, GPU), "nvidia");
        host_done(&host);
}

static void test_a_holder_without_sight_is_refused_unless_the_driver_answers(void **state)
{
        struct host host;
        struct plan plan;
        struct record record;

        (void)state;
        host_make(&host);
        plan_of_host(&plan);
        /* A /proc that shows ourselves, but not that we may look at others. */
        assert_int_equal(fs_mkdir(host.dir, "proc/77", 0755), 0);
        assert_int_equal(fs_symlink("77", host.dir, "proc/self"), 0);
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_REFUSED); /* the audio function has no such lock */
        assert_int_equal(record.last.reason, REASON_HOLDERS_UNKNOWN);
        assert_string_equal(record.order, "0 1 2 3 4!");
        ASSERT_SAYS(record, "0000:3b:00.1 (on snd_hda_intel)");
        host_done(&host);
}

/* What is on VFIO tells without sight: the kernel counts who has it open. */
static void test_without_sight_a_vfio_driver_is_left_only_when_nobody_has_it_enabled(void **state)
{
        struct host host;
        struct plan plan = { .n_cards = 1, .cards = { GPU } };
        struct record record;
        struct err err;

        (void)state;
        host_make(&host);
        plan_of_host(&plan);
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_DONE);
        assert_int_equal(fs_mkdir(host.dir, "proc/77", 0755), 0);
        assert_int_equal(fs_symlink("77", host.dir, "proc/self"), 0);
        plan = (struct plan){ .n_cards = 1, .cards = { GPU } };
        plan_add(&plan, STEP_GUARD_NODES, GPU, "");

        ASSERT_OK(fs_replace(host.dir, GPU_DIR "/enable", "1\n", 2, 0644, &err), &err);
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_REFUSED);
        assert_int_equal(record.last.reason, REASON_HOLDERS_UNKNOWN);
        ASSERT_OK(fs_replace(host.dir, GPU_DIR "/enable", "0\n", 2, 0644, &err), &err);
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_DONE);
        host_done(&host);
}

static void test_a_card_at_work_elsewhere_is_busy(void **state)
{
        struct host host;
        struct plan plan;
        struct record record;

        (void)state;
        host_make(&host);
        plan_of_host(&plan);
        _cleanup_free_ char *before = host_picture(&host);
        /* By a hand of this daemon or of the one before; by a hand of a daemon with another run directory. */
        for (int i = 0; i < 2; i++) {
                int fd = i == 0 ? fs_open(host.locks, "card-0000:3b:00.0.lock", O_RDWR | O_CREAT, 0600)
                                : fs_open(host.dir, "sys/bus/pci/devices/0000:3b:00.0/rescan", O_WRONLY, 0);
                assert_true(fd >= 0);
                assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
                run(&host, &plan, &record);
                ASSERT_END(record, PLAN_REFUSED);
                assert_int_equal(record.last.reason, REASON_CARD_BUSY);
                ASSERT_SAYS(record, "card 0000:3b:00.0");
                assert_string_equal(record.order, "");
                assert_host_unchanged(&host, before, "it");
                (void)close(fd);
        }
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_DONE);
        host_done(&host);
}

static void test_a_module_is_loaded_or_it_is_said_why_not(void **state)
{
        static const struct {
                const char *driver, *order;
                enum plan_end end;
                enum reason reason;
        } rows[] = {
                { "vfio-pci", "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15", PLAN_DONE, REASON_NONE }, /* it is there */
                { "nvgrace_gpu_vfio_pci", "0!", PLAN_REFUSED, REASON_VARIANT_MISSING },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct host host;
                struct plan plan;
                struct record record;

                host_make(&host);
                plan_of_host(&plan);
                memmove(plan.steps + 1, plan.steps, plan.n_steps++ * sizeof(plan.steps[0]));
                plan.steps[0] = (struct step){ .kind = STEP_LOAD_MODULE };
                (void)str_copy(plan.steps[0].text, STEP_TEXT_MAX, rows[i].driver);
                _cleanup_free_ char *before = host_picture(&host);
                run(&host, &plan, &record);
                ASSERT_END(record, rows[i].end);
                assert_int_equal(record.last.reason, rows[i].reason);
                assert_string_equal(record.order, rows[i].order);
                if (rows[i].end != PLAN_DONE) {
                        ASSERT_SAYS(record, "no module nvgrace_gpu_vfio_pci");
                        assert_host_unchanged(&host, before, rows[i].driver);
                }
                host_done(&host);
        }
}

/* ---- tasks that hang ---- */

static void put(struct host *host, const char *path, const char *text)
{
        _cleanup_close_ int fd = fs_open(host->dir, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(fs_write_all(fd, text, strlen(text)), 0);
}

/* A task of the simulated host inside an unbind; @node is what it has open, NULL = the driver's unbind. */
static void hang_task(struct host *host, const char *node)
{
        assert_int_equal(fs_mkdir(host->dir, "proc/77", 0755), 0);
        assert_int_equal(fs_mkdir(host->dir, "proc/77/fd", 0755), 0);
        put(host, "proc/77/stat", "77 (driverctl) D 1");
        put(host, "proc/77/comm", "driverctl");
        put(host, "proc/77/stack", "[<0>] nv_pci_remove_helper+0x2f4/0x5e0 [nvidia]\n[<0>] pci_device_remove+0x36/0xb0\n");
        assert_int_equal(fs_symlink(node ? node : "/sys/bus/pci/drivers/nvidia/unbind", host->dir, "proc/77/fd/1"), 0);
}

/* Ends the task after a moment, from another process. */
static pid_t task_ends(struct host *host, unsigned after_ms)
{
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid > 0)
                return pid;
        (void)usleep(after_ms * 1000);
        _exit(unlinkat(host->dir, "proc/77/stat", 0) == 0 ? 0 : 1);
}

static void test_a_hand_does_not_join_a_task_that_hangs_with_its_device(void **state)
{
        static const struct {
                const char *title, *node;
                bool unbound; /* the GPU has no driver any more */
                unsigned ends_after_ms;
                const char *says; /* NULL = the plan is done */
        } rows[] = {
                { "the card's removal", "/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.1/remove", false, 0,
                  "task 77 (driverctl) hangs in the kernel (nv_pci_remove_helper)" },
                { "another card's", "/sys/devices/pci0000:3a/0000:3a:00.0/0000:3c:00.0/remove", true, 0, NULL },
                { "an unbind of we do not know what, our device has its driver", NULL, false, 0, NULL },
                { "an unbind of we do not know what, our device has none", NULL, true, 0, "0000:3b:00.0 has no driver and may be it" },
                { "one that is over in a moment", NULL, true, 150, NULL },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct host host;
                struct plan plan;
                struct record record;
                struct err err;

                host_make(&host);
                plan_of_host(&plan);
                memmove(plan.steps + 6, plan.steps + 5, (plan.n_steps++ - 5) * sizeof(plan.steps[0]));
                plan.steps[5] = (struct step){ .kind = STEP_GUARD_WEDGED, .bdf = GPU, .wait_ms = rows[i].ends_after_ms ? 2000 : 50 };
                if (rows[i].unbound)
                        ASSERT_OK(sim_write(host.sim, "bus/pci/drivers/nvidia/unbind", "0000:3b:00.0", &err), &err);
                hang_task(&host, rows[i].node);
                pid_t ender = rows[i].ends_after_ms ? task_ends(&host, rows[i].ends_after_ms) : 0;
                _cleanup_free_ char *before = host_picture(&host);
                run(&host, &plan, &record);
                if (record.last.end != (rows[i].says ? PLAN_REFUSED : PLAN_DONE))
                        fail_msg("%s: %s: %s", rows[i].title, plan_end_name(record.last.end), record.last.text);
                if (rows[i].says) {
                        assert_int_equal(record.last.reason, REASON_WEDGED);
                        ASSERT_SAYS(record, rows[i].says);
                        assert_host_unchanged(&host, before, rows[i].title);
                }
                if (ender)
                        assert_int_equal(waitpid(ender, NULL, 0), ender);
                host_done(&host);
        }
}

/* One process that hangs is enough: the probing hand would be the second. */
static void test_a_locked_read_leaves_a_device_alone_that_a_task_hangs_with(void **state)
{
        struct host host;
        struct plan plan = { .n_cards = 0 };
        struct record record;

        (void)state;
        host_make(&host);
        plan_add(&plan, STEP_READ_LOCKED, GPU, "driver_override")->card = GPU;
        hang_task(&host, "/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/remove");
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_DONE);
        assert_string_equal(record.order, "0!");
        assert_int_equal(fs_unlink(host.dir, "proc/77/stat", 0), 0);
        run(&host, &plan, &record);
        assert_string_equal(record.order, "0");
        assert_string_equal(record.values, "[(null)]");
        host_done(&host);
}

static void test_another_driver_than_planned_is_not_unbound(void **state)
{
        struct host host;
        struct plan plan = { .n_cards = 1, .cards = { GPU } };
        struct record record;

        (void)state;
        host_make(&host);
        plan_add(&plan, STEP_UNBIND, GPU, "nouveau");
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_REFUSED); /* nothing was touched */
        ASSERT_SAYS(record, "is on nvidia now, no longer on nouveau");
        assert_string_equal(host_driver(&host, GPU), "nvidia");
        host_done(&host);
}

static void test_an_override_set_before_does_not_keep_the_former_driver_away(void **state)
{
        struct host host;
        struct plan plan;
        struct record record;
        struct err err;

        (void)state;
        host_make(&host);
        plan_of_host(&plan);
        ASSERT_OK(sim_write(host.sim, "bus/pci/devices/0000:3b:00.0/driver_override", "vfio-pci", &err), &err);
        host_fault(&host, "drivers_probe 0000:3b:00.0 ignore times 1");
        _cleanup_free_ char *before = host_picture(&host);
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_UNDONE);
        assert_host_unchanged(&host, before, "it");
        host_done(&host);
}

/* The undoing of an unbind lets the override name the former driver for a moment; whoever goes on where its hand was killed gives
 * the device to that driver. */
static void test_an_override_that_names_the_driver_to_come_is_in_nobody_s_way(void **state)
{
        static const char *const comes[] = { "nvidia", "nouveau" };
        struct record record;
        struct host host;
        struct plan plan;
        struct err err;

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(comes); i++) {
                host_make(&host);
                ASSERT_OK(sim_write(host.sim, "bus/pci/devices/0000:3b:00.0/driver_override", "nvidia", &err), &err);
                plan = (struct plan){ .n_cards = 1, .cards = { GPU } };
                (void)str_copy(plan_add(&plan, STEP_OVERRIDE, GPU, "")->about, STEP_TEXT_MAX, "vfio-pci");
                plan_add(&plan, STEP_AWAIT_DRIVER, GPU, comes[i])->wait_ms = 10;
                assert_int_equal(run(&host, &plan, &record), i == 0 ? PLAN_DONE : PLAN_REFUSED);
                assert_int_equal(record.last.reason, i == 0 ? REASON_NONE : REASON_FOREIGN_OWNER);
                host_done(&host);
        }
}

static void test_a_kernel_without_group_nodes_is_content_with_the_cdev(void **state)
{
        struct host host;
        struct plan plan = { .n_cards = 0 };
        struct record record;

        (void)state;
        host_make(&host);
        struct step *node = plan_add(&plan, STEP_AWAIT_NODE, GPU, "");
        node->number = 45;
        node->wait_ms = 400;
        assert_int_equal(fs_mkdir(host.dir, GPU_DIR "/vfio-dev", 0755), 0);
        assert_int_equal(fs_mkdir(host.dir, GPU_DIR "/vfio-dev/vfio3", 0755), 0);
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_REFUSED);
        assert_int_equal(record.last.reason, REASON_NODE_MISSING);
        ASSERT_SAYS(record, "/dev/vfio/45 does not exist after 400 ms");
        assert_int_equal(fs_mkdir(host.dir, "dev/vfio/devices", 0755), 0);
        (void)close(fs_open(host.dir, "dev/vfio/devices/vfio3", O_WRONLY | O_CREAT, 0600));
        plan.steps[0].wait_ms = 2000;
        int64_t start = clock_ms();
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_DONE);
        assert_in_range(clock_ms() - start, 90, 1900);
        host_done(&host);
}

static void test_a_slow_driver_is_waited_for(void **state)
{
        struct host host;
        struct plan plan;
        struct record record;

        (void)state;
        host_make(&host);
        plan_of_host(&plan);
        host_fault(&host, "unbind 0000:3b:00.0 delay 150 times 1");
        int64_t start = clock_ms();
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_DONE);
        assert_true(clock_ms() - start >= 150);
        host_done(&host);
}

static void test_a_device_that_vanishes_in_the_middle_ends_the_plan(void **state)
{
        static const char *const faults[] = {
                "driver_override 0000:3b:00.0 vanish",
                "unbind 0000:3b:00.0 vanish",
                "drivers_probe 0000:3b:00.0 vanish",
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(faults); i++) {
                struct host host;
                struct plan plan;
                struct record record;
                host_make(&host);
                plan_of_host(&plan);
                host_fault(&host, faults[i]);
                run(&host, &plan, &record);
                ASSERT_END(record, PLAN_UNDONE);
                assert_int_equal(record.last.reason, REASON_GONE);
                ASSERT_SAYS(record, "0000:3b:00.0 is gone from the host");
                assert_string_equal(host_driver(&host, AUDIO), "snd_hda_intel");
                host_done(&host);
        }
}

static void test_locked_reads_report_their_value_and_go_on_when_one_fails(void **state)
{
        struct host host;
        struct plan plan = { .n_cards = 0 };
        struct record record;

        (void)state;
        host_make(&host);
        plan_add(&plan, STEP_READ_LOCKED, GPU, "driver_override");
        plan_add(&plan, STEP_READ_LOCKED, GPU, "nvidia/creatable_vgpu_types");
        plan_add(&plan, STEP_READ_LOCKED, AUDIO, "driver_override");
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_DONE);
        assert_string_equal(record.order, "0 1! 2");
        assert_string_equal(record.values, "[(null)][(null)]");
        host_done(&host);
}

static void test_who_has_a_device_open_is_told_with_pid_node_and_name(void **state)
{
        struct host host;
        struct plan plan = { .n_cards = 0 };
        struct record record;
        struct err err;

        (void)state;
        host_make(&host);
        plan_add(&plan, STEP_LIST_HOLDERS, GPU, "");
        plan_add(&plan, STEP_LIST_HOLDERS, (struct bdf){ 0, 0x77, 0, 0 }, "");
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_DONE);
        assert_string_equal(record.order, "0 1!");
        assert_string_equal(record.values, "[all]");
        ASSERT_OK(sim_hold(host.sim, "/dev/nvidia0", 4242, "nvidia;smi", &err), &err);
        ASSERT_OK(sim_hold(host.sim, "/dev/nvidia0", 4243, "a b", &err), &err);
        run(&host, &plan, &record);
        assert_string_equal(record.values, "[all; 4242 /dev/nvidia0 nvidia?smi; 4243 /dev/nvidia0 a b]");
        for (int i = 0; i < 14; i++)
                ASSERT_OK(sim_hold(host.sim, "/dev/nvidia0", 5000 + i, "a-process-of-15", &err), &err);
        run(&host, &plan, &record);
        assert_true(str_has_prefix(record.values, "[some; 4242 ") && strlen(record.values) < ERR_MSG_MAX);
        host_done(&host);
}

/* Its writes hold the device's lock for as long as a driver takes to let go: a reading hand would seem to hang there. */
static void test_a_locked_read_leaves_a_card_alone_that_has_a_plan_at_work(void **state)
{
        struct host host;
        struct plan plan = { .n_cards = 0 };
        struct record record;

        (void)state;
        host_make(&host);
        plan_add(&plan, STEP_READ_LOCKED, GPU, "driver_override")->card = GPU;
        plan_add(&plan, STEP_READ_LOCKED, AUDIO, "driver_override")->card = AUDIO;
        _cleanup_close_ int fd = fs_open(host.locks, "card-0000:3b:00.0.lock", O_RDWR | O_CREAT, 0600);
        assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
        host_fault(&host, "read:driver_override 0000:3b:00.0 hang");
        run(&host, &plan, &record);
        ASSERT_END(record, PLAN_DONE);
        assert_string_equal(record.order, "0! 1");
        assert_string_equal(record.values, "[(null)]");
        assert_int_equal(flock(fd, LOCK_UN), 0);
        host_fault(&host, "");
        run(&host, &plan, &record);
        assert_string_equal(record.order, "0 1");
        assert_true(host_lock_is_free(&host));
        host_done(&host);
}

static bool keep_after(void *ctx, const struct report *report)
{
        struct report *after = ctx;

        if (report->kind == REPORT_AFTER)
                *after = *report;
        return true;
}

/* Looking at every task takes many milliseconds: a plan that comes meanwhile must not find the card busy. */
static void test_the_look_for_tasks_that_hang_is_over_before_the_card_is_locked(void **state)
{
        struct host host;
        struct plan plan = { .n_cards = 0 };
        _cleanup_kernel_ struct kernel *kernel = NULL;
        struct report failed = { 0 };
        struct err err;

        (void)state;
        host_make(&host);
        plan_add(&plan, STEP_READ_LOCKED, GPU, "driver_override")->card = GPU;
        ASSERT_OK(kernel_open(&kernel, host.sim_dir, &err), &err);
        fs_fail_at(1, EIO);
        (void)worker_execute(kernel, host.locks, &plan, keep_after, &failed);
        fs_fail_at(0, 0);
        assert_non_null(strstr(failed.text, "cannot look for tasks that hang"));
        host_done(&host);
}

/* ---- one of several plans of a request ---- */

/* Two for each step, and REPORT_CHECKED. */
#define N_BEFORE_READY(plan) (2 * (plan).n_steps + 1)

static bool take_with_the_lock(void *ctx, const struct report *report)
{
        struct intruder *taker = ctx;

        if (report->kind == REPORT_CHECKED || report->kind == REPORT_READY)
                assert_false(host_lock_is_free(taker->host));
        if (report->kind == REPORT_CHECKED) {
                assert_int_equal(report->step, 6);
                assert_string_equal(host_value(taker->host, GPU_DIR "/driver_override"), "(null)");
        }
        return take(&taker->record, report);
}

static void test_a_plan_that_awaits_its_word_has_the_lock_until_then(void **state)
{
        struct host host;
        struct plan plan;
        struct intruder taker = { .host = &host };
        _cleanup_kernel_ struct kernel *kernel = NULL;
        struct err err;

        (void)state;
        host_make(&host);
        plan_of_host(&plan);
        plan.awaits_word = 1;
        ASSERT_OK(kernel_open(&kernel, host.sim_dir, &err), &err);
        (void)worker_execute(kernel, host.locks, &plan, take_with_the_lock, &taker);
        ASSERT_END(taker.record, PLAN_DONE);
        assert_int_equal(taker.record.n_checked, 1);
        assert_int_equal(taker.record.n_ready, 1);
        assert_string_equal(host_driver(&host, GPU), "vfio-pci");
        assert_true(host_lock_is_free(&host));
        host_done(&host);
}

/* The word may come with any report. */
static void test_a_plan_called_off_at_any_point_leaves_the_host_as_it_was(void **state)
{
        unsigned n_refused = 0, n_undone = 0, n_ready = 0;
        struct record record;
        struct plan plan;

        (void)state;
        plan_of_host(&plan);
        plan.awaits_word = 1;
        for (unsigned at = 1; at <= N_BEFORE_READY(plan) + 1; at++) {
                struct host host;
                host_make(&host);
                _cleanup_free_ char *before = host_picture(&host);
                run_called_off(&host, &plan, at, &record);
                n_refused += record.last.end == PLAN_REFUSED;
                n_undone += record.last.end == PLAN_UNDONE;
                n_ready += record.n_ready;
                ASSERT_SAYS(record, "another device of the request could not be bound");
                assert_host_unchanged(&host, before, record.order);
                assert_true(host_lock_is_free(&host));
                host_done(&host);
        }
        assert_int_equal(n_refused + n_undone, N_BEFORE_READY(plan) + 1);
        assert_int_equal(n_refused, 14); /* up to the announcement of the first action */
        assert_int_equal(n_ready, 1);    /* at the last point */
}

static void test_a_plan_called_off_is_not_taken_from_who_has_it_open_meanwhile(void **state)
{
        struct host host;
        struct plan plan;
        struct intruder intruder = { .host = &host };
        _cleanup_kernel_ struct kernel *kernel = NULL;
        struct err err;

        (void)state;
        host_make(&host);
        plan_of_host(&plan);
        plan.awaits_word = 1;
        intruder.record.call_off_at = N_BEFORE_READY(plan) + 1;
        ASSERT_OK(kernel_open(&kernel, host.sim_dir, &err), &err);
        (void)worker_execute(kernel, host.locks, &plan, take_and_open, &intruder);
        ASSERT_END(intruder.record, PLAN_BROKEN);
        ASSERT_SAYS(intruder.record, "is in use: pid 4343 (qemu-kvm) has /dev/vfio/45 open");
        assert_string_equal(host_driver(&host, GPU), "vfio-pci");
        host_done(&host);
}

/* Every single access fails once. However it ends, the host is bound, or as it was, or said to be broken. A plan that ends early
 * makes few accesses: it is the one in which none failed that is the last. */
static void sweep(int error)
{
        for (unsigned n = 1, n_calls = 0; n_calls + 1 >= n; n++) {
                struct host host;
                struct plan plan;
                struct record record;
                struct err err;
                host_make(&host);
                plan_of_host(&plan);
                _cleanup_free_ char *before = host_picture(&host);
                struct kernel *kernel = NULL;
                ASSERT_OK(kernel_open(&kernel, host.sim_dir, &err), &err);
                record = (struct record){ 0 };
                fs_fail_at(n, error);
                enum plan_end end = worker_execute(kernel, host.locks, &plan, take, &record);
                n_calls = fs_calls();
                fs_fail_at(0, 0);
                kernel_free(kernel);
                if (end == PLAN_DONE) {
                        assert_string_equal(host_driver(&host, GPU), "vfio-pci");
                        assert_string_equal(host_driver(&host, AUDIO), "vfio-pci");
                        assert_string_equal(record.last.text, "");
                } else {
                        assert_true(record.last.reason != REASON_NONE && *record.last.text);
                        if (end != PLAN_BROKEN)
                                assert_host_unchanged(&host, before, record.last.text);
                }
                assert_true(host_lock_is_free(&host));
                host_done(&host);
        }
}

static void test_any_access_may_fail_with_eio(void **state)
{
        (void)state;
        sweep(EIO);
}

static void test_any_access_may_fail_with_enodev(void **state)
{
        (void)state;
        sweep(ENODEV);
}

/* As above, and then every later access of one more failed one, or of a plan that was called off: the undo is hit too. */
static void fail_in_the_undo(bool called_off)
{
        for (unsigned n = 1, n_calls = 0; n_calls + 1 >= n; n++) {
                struct host host;
                struct plan plan;
                struct record record = { 0 };
                struct kernel *kernel = NULL;
                struct err err;
                host_make(&host);
                plan_of_host(&plan);
                plan.awaits_word = called_off;
                if (called_off)
                        record.call_off_at = N_BEFORE_READY(plan) + 1;
                else
                        host_fault(&host, "drivers_probe 0000:3b:00.1 refuse EINVAL times 1");
                _cleanup_free_ char *before = host_picture(&host);
                ASSERT_OK(kernel_open(&kernel, host.sim_dir, &err), &err);
                fs_fail_at(n, EIO);
                enum plan_end end = worker_execute(kernel, host.locks, &plan, take, &record);
                n_calls = fs_calls();
                fs_fail_at(0, 0);
                kernel_free(kernel);
                assert_int_not_equal(end, PLAN_DONE);
                if (end != PLAN_BROKEN)
                        assert_host_unchanged(&host, before, record.last.text);
                host_done(&host);
        }
}

static void test_a_second_failure_in_the_undo_is_broken_or_harmless(void **state)
{
        (void)state;
        fail_in_the_undo(false);
}

static void test_a_failure_when_called_off_is_broken_or_harmless(void **state)
{
        (void)state;
        fail_in_the_undo(true);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_card_with_its_companion_is_bound),
                TEST(test_the_same_plan_again_changes_nothing),
                TEST(test_a_condition_that_fails_changes_nothing),
                TEST(test_a_step_that_fails_is_undone_in_reverse_order),
                TEST(test_the_unbind_lock_is_asked_for_more_than_once),
                TEST(test_an_unbind_lock_that_cannot_be_given_back_is_said),
                TEST(test_an_undo_that_fails_is_said_and_the_others_are_tried),
                TEST(test_what_was_opened_meanwhile_is_not_unbound_by_an_undo),
                TEST(test_a_holder_without_sight_is_refused_unless_the_driver_answers),
                TEST(test_without_sight_a_vfio_driver_is_left_only_when_nobody_has_it_enabled),
                TEST(test_a_card_at_work_elsewhere_is_busy),
                TEST(test_a_module_is_loaded_or_it_is_said_why_not),
                TEST(test_a_hand_does_not_join_a_task_that_hangs_with_its_device),
                TEST(test_a_locked_read_leaves_a_device_alone_that_a_task_hangs_with),
                TEST(test_another_driver_than_planned_is_not_unbound),
                TEST(test_an_override_set_before_does_not_keep_the_former_driver_away),
                TEST(test_an_override_that_names_the_driver_to_come_is_in_nobody_s_way),
                TEST(test_a_kernel_without_group_nodes_is_content_with_the_cdev),
                TEST(test_a_slow_driver_is_waited_for),
                TEST(test_a_device_that_vanishes_in_the_middle_ends_the_plan),
                TEST(test_locked_reads_report_their_value_and_go_on_when_one_fails),
                TEST(test_who_has_a_device_open_is_told_with_pid_node_and_name),
                TEST(test_a_locked_read_leaves_a_card_alone_that_has_a_plan_at_work),
                TEST(test_the_look_for_tasks_that_hang_is_over_before_the_card_is_locked),
                TEST(test_a_plan_that_awaits_its_word_has_the_lock_until_then),
                TEST(test_a_plan_called_off_at_any_point_leaves_the_host_as_it_was),
                TEST(test_a_plan_called_off_is_not_taken_from_who_has_it_open_meanwhile),
                TEST(test_any_access_may_fail_with_eio),
                TEST(test_any_access_may_fail_with_enodev),
                TEST(test_a_second_failure_in_the_undo_is_broken_or_harmless),
                TEST(test_a_failure_when_called_off_is_broken_or_harmless),
        };

        return RUN(tests);
}
