/* SPDX-License-Identifier: Apache-2.0 */
/* Points of the hand: between the report that a step begins and the one that it is over, around each write to the kernel, and where it
 * waits for the others or says that it ends. "hand BDF STEP KIND PLACE"; for a plan as a whole STEP is "-" and KIND "plan", or "look" when
 * it changes nothing. */
#include <string.h>

#include "base/str.h"
#include "core/plan.h"
#include "hands/wire.h"
#include "hands/worker.h"
#include "hands/zygote.h"
#include "hold.h"

int __real_zygote_main(int fd);
int __wrap_zygote_main(int fd);
enum plan_end __real_worker_execute(struct kernel *kernel, int lock_dir, const struct plan *plan, report_fn *report, void *ctx);
enum plan_end __wrap_worker_execute(struct kernel *kernel, int lock_dir, const struct plan *plan, report_fn *report, void *ctx);
int __real_wire_send(int fd, const void *msg, size_t n, int pass);
int __wrap_wire_send(int fd, const void *msg, size_t n, int pass);
int __real_kernel_write_sys(struct kernel *kernel, const char *path, const char *value, struct err *err);
int __wrap_kernel_write_sys(struct kernel *kernel, const char *path, const char *value, struct err *err);
int __real_kernel_write_proc(struct kernel *kernel, const char *path, const char *value, struct err *err);
int __wrap_kernel_write_proc(struct kernel *kernel, const char *path, const char *value, struct err *err);

static const struct plan *plan; /* of this worker; NULL in the zygote */
static uint32_t at_step;
static bool undoing;

int __wrap_zygote_main(int fd)
{
        hold_note_zygote();
        return __real_zygote_main(fd);
}

enum plan_end __wrap_worker_execute(struct kernel *kernel, int lock_dir, const struct plan *its_plan, report_fn *report, void *ctx)
{
        plan = its_plan;
        return __real_worker_execute(kernel, lock_dir, its_plan, report, ctx);
}

/* Several hands may be at work for one request: the first card of its plan tells one from another. */
static const char *who(char out[static BDF_TEXT_MAX])
{
        return bdf_format(plan->n_cards > 0 ? plan->cards[0] : plan->steps[0].bdf, out);
}

static void hold_step(const char *place)
{
        char card[BDF_TEXT_MAX], bdf[BDF_TEXT_MAX];

        const struct step *step = &plan->steps[at_step];
        hold_at("hand %s %u %s %s%s %s", who(card), at_step, step_kind_name(step->kind), undoing ? "undo-" : "", place,
                bdf_format(step->bdf, bdf));
}

static void hold_plan(const char *place)
{
        char card[BDF_TEXT_MAX];

        hold_at("hand %s - %s %s", who(card), plan->n_cards > 0 ? "plan" : "look", place);
}

static void before_report(const struct report *report)
{
        switch (report->kind) {
        case REPORT_BEFORE:
                if (report->step == 0)
                        hold_plan("locked");
                return;
        case REPORT_AFTER:
        case REPORT_UNDO_AFTER:
                hold_step("after");
                return;
        case REPORT_CHECKED:
                hold_plan("checked");
                return;
        case REPORT_READY:
                hold_plan("ready");
                return;
        case REPORT_END:
                hold_plan("over");
                return;
        default:
                return;
        }
}

static void after_report(const struct report *report)
{
        switch (report->kind) {
        case REPORT_BEFORE:
        case REPORT_UNDO_BEFORE:
                at_step = report->step;
                undoing = report->kind == REPORT_UNDO_BEFORE;
                hold_step("before");
                return;
        case REPORT_CHECKED:
                hold_plan("checked-said");
                return;
        case REPORT_READY:
                hold_plan("ready-said");
                return;
        case REPORT_END:
                hold_plan("over-said");
                return;
        default:
                return;
        }
}

int __wrap_wire_send(int fd, const void *msg, size_t n, int pass)
{
        bool is_report = plan && n == sizeof(struct report);

        if (is_report)
                before_report(msg);
        int r = __real_wire_send(fd, msg, n, pass);
        if (is_report)
                after_report(msg);
        return r;
}

static int hold_write(struct kernel *kernel, const char *path, const char *value, struct err *err,
                      int (*write)(struct kernel *kernel, const char *path, const char *value, struct err *err))
{
        const char *slash = strrchr(path, '/');
        char place[64];

        str_format(place, sizeof(place), "write-%.40s", slash ? slash + 1 : path);
        hold_step(place);
        int r = write(kernel, path, value, err);
        str_format(place, sizeof(place), "written-%.40s", slash ? slash + 1 : path);
        hold_step(place);
        return r;
}

int __wrap_kernel_write_sys(struct kernel *kernel, const char *path, const char *value, struct err *err)
{
        return hold_write(kernel, path, value, err, __real_kernel_write_sys);
}

int __wrap_kernel_write_proc(struct kernel *kernel, const char *path, const char *value, struct err *err)
{
        return hold_write(kernel, path, value, err, __real_kernel_write_proc);
}
