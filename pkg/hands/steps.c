/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel facts (drivers/pci/pci-driver.c, drivers/base/{bus,dd}.c, drivers/vfio): driver_override reads "(null)" when it is
 * not set and is cleared by an empty line; drivers_probe returns success although nothing was bound; a device whose
 * driver_override names a driver is bound to no other one; /dev/vfio/<group> is made before /dev/vfio/devices/vfioN. */
#include "hands/steps_priv.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "core/vfio_driver.h"
#include "host/holders.h"

enum {
        PATH_SIZE = 192,
        GROUP_NODE_GRACE_MS = 100, /* a cdev that old without a group node: a kernel without groups */
        HOLDERS_NAMED = 3,
};

static const char DEVICES[] = "bus/pci/devices/";

/* ---- helpers -------------------------------------------------------------------------------------------------------- */

void step_pause_ms(int64_t ms)
{
        struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

        (void)nanosleep(&t, NULL);
}

bool step_patience_left(struct patience *p)
{
        static const int pauses[] = { 10, 20, 50, 100 };
        int64_t left = p->until - clock_ms();

        if (left <= 0)
                return false;
        int64_t next = pauses[p->round < N_ELEMENTS(pauses) ? p->round++ : N_ELEMENTS(pauses) - 1];
        step_pause_ms(next < left ? next : left);
        return true;
}

__attribute__((format(printf, 4, 5))) int step_refuse(struct failure *f, enum reason reason, int code, const char *fmt, ...)
{
        char text[ERR_MSG_MAX];
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        f->reason = reason;
        return err_say(&f->err, code, "%s", text);
}

static void device_path(char out[static PATH_SIZE], struct bdf b, const char *attribute)
{
        (void)snprintf(out, PATH_SIZE, "%s" BDF_FMT "%s%s", DEVICES, BDF_ARGS(b), *attribute ? "/" : "", attribute);
}

static int gone(struct bdf b, struct failure *f)
{
        return step_refuse(f, REASON_GONE, ENODEV, BDF_FMT " is gone from the host", BDF_ARGS(b));
}

int step_failed(struct work *work, struct bdf b, struct failure *f)
{
        char path[PATH_SIZE];

        device_path(path, b, "");
        if (fs_gone(f->err.code) && fs_exists(kernel_tree(work->kernel)->sys, path) == 0)
                return gone(b, f);
        f->reason = REASON_STEP_FAILED;
        return -f->err.code;
}

int step_missed(struct bdf b, struct failure *f)
{
        if (fs_gone(f->err.code))
                return gone(b, f);
        f->reason = REASON_STEP_FAILED;
        return -f->err.code;
}

int step_read_attribute(struct work *work, struct bdf b, const char *attribute, char *buf, size_t size, struct failure *f)
{
        char path[PATH_SIZE];

        device_path(path, b, attribute);
        if (fs_read_value(kernel_tree(work->kernel)->sys, path, buf, size, &f->err) < 0)
                return step_missed(b, f);
        return 0;
}

static int read_locked_attribute(struct work *work, struct bdf b, const char *attribute, char *buf, size_t size, struct failure *f)
{
        char path[PATH_SIZE];

        device_path(path, b, attribute);
        if (kernel_read_locked(work->kernel, path, buf, size, &f->err) < 0)
                return step_failed(work, b, f);
        return 0;
}

int step_write_attribute(struct work *work, struct bdf b, const char *attribute, const char *value, struct failure *f)
{
        char path[PATH_SIZE];

        device_path(path, b, attribute);
        if (kernel_write_sys(work->kernel, path, value, &f->err) < 0)
                return step_failed(work, b, f);
        return 0;
}

/* The driver @b is bound to; "" = none. */
static int read_driver(struct work *work, struct bdf b, char ret[static DRIVER_LEN], struct failure *f)
{
        char path[PATH_SIZE];

        device_path(path, b, "driver");
        const struct tree *tree = kernel_tree(work->kernel);
        int r = fs_readlink_last(tree->sys, path, ret, DRIVER_LEN, &f->err);
        if (r == 0)
                return 0;
        /* One look decides: a device that is plugged in again may be back at the next. */
        device_path(path, b, "");
        int there = r == -ENOENT ? fs_exists(tree->sys, path) : -1;
        if (there < 0)
                return step_failed(work, b, f);
        *ret = '\0';
        return there ? 0 : gone(b, f);
}

static const char *or_none(const char *driver)
{
        return *driver ? driver : "no driver";
}

static int await_driver(struct work *work, struct bdf b, const char *want, int wait_ms, struct failure *f)
{
        struct patience patience = { .until = clock_ms() + wait_ms };
        char driver[DRIVER_LEN];

        do {
                int r = read_driver(work, b, driver, f);
                if (r < 0)
                        return r;
                if (streq(driver, want))
                        return 0;
        } while (step_patience_left(&patience));
        return step_refuse(f, REASON_STEP_FAILED, ETIMEDOUT, BDF_FMT " is on %s instead of %s after %d ms", BDF_ARGS(b), or_none(driver),
                           or_none(want), wait_ms);
}

static int probe(struct work *work, struct bdf b, struct failure *f)
{
        char address[BDF_TEXT_MAX];

        if (kernel_write_sys(work->kernel, "bus/pci/drivers_probe", bdf_format(b, address), &f->err) < 0)
                return step_missed(b, f);
        return 0;
}

static int unbind(struct work *work, struct bdf b, int wait_ms, struct failure *f)
{
        char address[BDF_TEXT_MAX];

        int r = step_write_attribute(work, b, "driver/unbind", bdf_format(b, address), f);
        return r < 0 ? r : await_driver(work, b, "", wait_ms, f);
}

/* ---- conditions ----------------------------------------------------------------------------------------------------- */

static int need_driver(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        const struct tree *tree = kernel_tree(work->kernel);
        char path[PATH_SIZE];

        (void)deed;
        (void)snprintf(path, sizeof(path), "bus/pci/drivers/%s", s->text);
        if (fs_exists(tree->sys, path) != 1)
                return step_refuse(f, REASON_VFIO_MISSING, ENODEV, "the driver %s is not loaded on this host", s->text);
        if (fs_exists(tree->dev, "vfio/vfio") != 1)
                return step_refuse(f, REASON_VFIO_MISSING, ENODEV, "/dev/vfio/vfio does not exist on this host");
        return 0;
}

static int need_identity(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        char text[2][16];
        uint64_t id[2];

        (void)deed;
        for (int i = 0; i < 2; i++) {
                int r = step_read_attribute(work, s->bdf, i == 0 ? "vendor" : "device", text[i], sizeof(text[i]), f);
                if (r < 0)
                        return r;
                if (!str_to_u64(text[i], 16, 0xffff, &id[i]))
                        return step_refuse(f, REASON_GARBAGE, EINVAL, BDF_FMT " has no valid id ('%s')", BDF_ARGS(s->bdf), text[i]);
        }
        if (s->number != (id[0] << 16 | id[1]))
                return step_refuse(f, REASON_IDENTITY, ENODEV, BDF_FMT " is now %04x:%04x instead of %04x:%04x", BDF_ARGS(s->bdf),
                                   (unsigned)id[0], (unsigned)id[1], s->number >> 16, s->number & 0xffff);
        return 0;
}

static void name_holders(const struct holder *holders, size_t n, char *out, size_t size)
{
        struct strbuf text __attribute__((cleanup(strbuf_done))) = { 0 };

        for (size_t i = 0; i < n && i < HOLDERS_NAMED; i++)
                strbuf_addf(&text, "%spid %d (%s) has %s open", i ? ", " : "", (int)holders[i].pid, holders[i].comm, holders[i].node);
        if (n > HOLDERS_NAMED)
                strbuf_addf(&text, ", and %zu more", n - HOLDERS_NAMED);
        str_format(out, size, "%s", text.text);
}

/* Fails when a process has a node of @b open; of IOMMU group @group instead, when that is not -1. @ret_blind: that could not
 * be seen of every process. */
static int refuse_held(struct work *work, struct bdf b, int group, bool *ret_blind, struct failure *f)
{
        const struct tree *tree = kernel_tree(work->kernel);
        struct node_list nodes = { .n = 0 };
        struct holder holders[HOLDERS_MAX];
        char who[256];

        int r = group < 0 ? holders_nodes(tree, b, &nodes, &f->err) : holders_nodes_of_group(tree, group, &nodes, &f->err);
        if (r < 0)
                return group < 0 ? step_missed(b, f) : step_failed(work, b, f);
        int n = holders_find(tree, &nodes, holders, ret_blind, &f->err);
        if (n < 0)
                return step_failed(work, b, f);
        if (n == 0)
                return 0;
        name_holders(holders, (size_t)n, who, sizeof(who));
        return step_refuse(f, REASON_HELD, EBUSY, BDF_FMT " is in use: %s", BDF_ARGS(b), who);
}

static bool has_unbind_lock_step(const struct plan *plan, struct bdf b)
{
        for (uint32_t i = 0; i < plan->n_steps; i++)
                if (plan->steps[i].kind == STEP_GUARD_UNBIND_LOCK && bdf_equal(plan->steps[i].bdf, b))
                        return true;
        return false;
}

static bool idle_on_vfio(struct work *work, struct bdf b, const char *driver)
{
        return vfio_driver_is(driver) && holders_none_on_vfio(kernel_tree(work->kernel), b);
}

static int guard_nodes(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        char driver[DRIVER_LEN];
        bool blind = false;

        (void)deed;
        int r = refuse_held(work, s->bdf, streq(s->text, "group") ? (int)s->number : -1, &blind, f);
        if (r == 0)
                r = read_driver(work, s->bdf, driver, f);
        if (r < 0)
                return r;
        /* Without a driver there is nothing to unbind; a VFIO driver and NVIDIA's lock say themselves whether somebody is there. */
        if ((blind || !holders_visible(kernel_tree(work->kernel))) && *driver && !idle_on_vfio(work, s->bdf, driver) &&
            !has_unbind_lock_step(work->plan, s->bdf))
                return step_refuse(f, REASON_HOLDERS_UNKNOWN, EPERM,
                                   "not every process' open files can be seen, so it is not known "
                                   "who uses " BDF_FMT " (on %s)",
                                   BDF_ARGS(s->bdf), driver);
        return 0;
}

/* ---- actions -------------------------------------------------------------------------------------------------------- */

static int read_override(struct work *work, struct bdf b, char ret[static STEP_TEXT_MAX], struct failure *f)
{
        if (read_locked_attribute(work, b, "driver_override", ret, STEP_TEXT_MAX, f) < 0)
                return step_missed(b, f);
        if (streq(ret, "(null)"))
                *ret = '\0';
        return 0;
}

static int write_override(struct work *work, struct bdf b, const char *value, struct failure *f)
{
        char now[STEP_TEXT_MAX];

        int r = step_write_attribute(work, b, "driver_override", *value ? value : "\n", f);
        if (r < 0)
                return step_missed(b, f);
        r = read_override(work, b, now, f);
        if (r == 0 && !streq(now, value))
                return step_refuse(f, REASON_STEP_FAILED, EIO, "driver_override of " BDF_FMT " reads '%s' after '%s' was written",
                                   BDF_ARGS(b), now, value);
        return r;
}

/* The driver that the plan gives @b to: an override that names it stands in nobody's way. The undoing of an unbind sets one for a
 * moment, and its hand may have been killed in that moment. */
static bool is_awaited(const struct plan *plan, struct bdf b, const char *driver)
{
        for (uint32_t i = 0; i < plan->n_steps; i++)
                if (plan->steps[i].kind == STEP_AWAIT_DRIVER && bdf_equal(plan->steps[i].bdf, b))
                        return streq(plan->steps[i].text, driver);
        return false;
}

static int override(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        int r = read_override(work, s->bdf, deed->before, f);
        if (r < 0 || streq(deed->before, s->text))
                return r;
        /* The plan's maker looked too, but maybe a minute ago, or (just started) not yet. */
        if (*deed->before && !streq(deed->before, s->about) && !is_awaited(work->plan, s->bdf, deed->before))
                return step_refuse(f, REASON_FOREIGN_OWNER, EPERM, "somebody has set driver_override of " BDF_FMT " to %s",
                                   BDF_ARGS(s->bdf), deed->before);
        deed->changed = true;
        return write_override(work, s->bdf, s->text, f);
}

/* What the kernel refused to change (a read-only /sys) is as it was. */
static int undo_override(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        char now[STEP_TEXT_MAX];

        int r = read_override(work, s->bdf, now, f);
        if (r < 0 || streq(now, deed->before))
                return r;
        return write_override(work, s->bdf, deed->before, f);
}

static int unbind_step(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        char driver[DRIVER_LEN];

        int r = read_driver(work, s->bdf, driver, f);
        if (r < 0 || !*driver)
                return r;
        /* The guards looked at what the plan knew; another driver has other users. */
        if (*s->text && !streq(driver, s->text))
                return step_refuse(f, REASON_IDENTITY, ESTALE, BDF_FMT " is on %s now, no longer on %s", BDF_ARGS(s->bdf), driver, s->text);
        (void)str_copy(deed->before, sizeof(deed->before), driver);
        deed->changed = true;
        return unbind(work, s->bdf, s->wait_ms, f);
}

/* The kernel binds a function only to the driver its override names, and the override may still name the new one: it names
 * the former driver for the time of the probe. */
static int undo_unbind(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        char driver[DRIVER_LEN], former[STEP_TEXT_MAX];

        int r = read_driver(work, s->bdf, driver, f);
        if (r == 0 && streq(driver, deed->before))
                return 0;
        if (r == 0 && *driver) /* a probe would do nothing */
                return step_refuse(f, REASON_NOT_RESTORED, EBUSY, BDF_FMT " is on %s instead of %s", BDF_ARGS(s->bdf), driver,
                                   deed->before);
        if (r == 0)
                r = read_override(work, s->bdf, former, f);
        if (r < 0)
                return r;

        struct failure later = { 0 };
        r = write_override(work, s->bdf, deed->before, f);
        if (r == 0)
                r = probe(work, s->bdf, f);
        if (r == 0)
                r = await_driver(work, s->bdf, deed->before, s->wait_ms, f);
        if (r < 0 && f->reason == REASON_STEP_FAILED)
                f->reason = REASON_NOT_RESTORED;
        if (write_override(work, s->bdf, former, &later) < 0 && (r == 0 || f->reason == REASON_NOT_RESTORED)) {
                *f = later;
                return -later.err.code;
        }
        return r;
}

static int probe_step(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        char driver[DRIVER_LEN];

        int r = read_driver(work, s->bdf, driver, f);
        if (r < 0 || *driver) /* already bound: the kernel would do nothing; the read-back judges by what */
                return r;
        deed->changed = true;
        return probe(work, s->bdf, f);
}

static int undo_probe(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        char driver[DRIVER_LEN];
        bool blind;

        (void)deed;
        int r = read_driver(work, s->bdf, driver, f);
        if (r < 0 || !*driver)
                return r;
        /* Bound by us a moment ago, so being blind is no obstacle; but who has opened it meanwhile keeps it. */
        r = refuse_held(work, s->bdf, -1, &blind, f);
        return r < 0 ? r : unbind(work, s->bdf, s->wait_ms, f);
}

/* ---- read-back and probing ------------------------------------------------------------------------------------------ */

static int await_driver_step(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        (void)deed;
        return await_driver(work, s->bdf, s->text, s->wait_ms, f);
}

/* 1 when the function has a VFIO cdev whose node exists: all there is on a kernel without CONFIG_VFIO_GROUP. */
static int cdev_node_exists(const struct tree *tree, struct bdf b)
{
        _cleanup_fs_list_ struct fs_list list = { 0 };
        char path[PATH_SIZE];
        struct err err;

        device_path(path, b, "vfio-dev");
        if (fs_list(tree->sys, path, &list, &err) < 0 || list.n == 0)
                return 0;
        (void)snprintf(path, sizeof(path), "vfio/devices/%.64s", list.names[0]);
        return fs_exists(tree->dev, path);
}

static int await_node(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        int64_t start = clock_ms();
        struct patience patience = { .until = start + s->wait_ms };
        char path[PATH_SIZE];

        (void)deed;
        (void)snprintf(path, sizeof(path), "vfio/%u", s->number);
        do {
                const struct tree *tree = kernel_tree(work->kernel);
                int r = fs_exists(tree->dev, path);
                if (r == 0 && clock_ms() - start >= GROUP_NODE_GRACE_MS)
                        r = cdev_node_exists(tree, s->bdf);
                if (r == 1)
                        return 0;
                if (r < 0) {
                        f->reason = REASON_STEP_FAILED;
                        return err_set(&f->err, -r, "cannot look for /dev/%s", path);
                }
        } while (step_patience_left(&patience));
        return step_refuse(f, REASON_NODE_MISSING, ETIMEDOUT, "/dev/%s does not exist after %d ms", path, s->wait_ms);
}

static int read_locked(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        (void)deed;
        return read_locked_attribute(work, s->bdf, s->text, work->value, sizeof(work->value), f);
}

/* As many as there is room for; a name is told without what separates the entries. */
static void tell_holders(const struct holder *holders, size_t n, bool blind, char *out, size_t size)
{
        struct strbuf text __attribute__((cleanup(strbuf_done))) = { 0 };
        bool all = !blind && n < HOLDERS_MAX;

        for (size_t i = 0; i < n; i++) {
                char comm[sizeof(holders[i].comm)], entry[sizeof(comm) + sizeof(holders[i].node) + 24];
                str_clean(comm, sizeof(comm), holders[i].comm);
                for (char *c = comm; (c = strchr(c, ';'));)
                        *c = '?';
                str_format(entry, sizeof(entry), "; %d %s %s", (int)holders[i].pid, holders[i].node, comm);
                all = all && text.len + strlen(entry) + sizeof("some") <= size;
                if (text.len + strlen(entry) + sizeof("some") <= size)
                        strbuf_add(&text, entry);
        }
        str_format(out, size, "%s%s", all ? "all" : "some", text.text ? text.text : "");
}

static int list_holders(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        const struct tree *tree = kernel_tree(work->kernel);
        struct node_list nodes = { .n = 0 };
        struct holder holders[HOLDERS_MAX];
        bool blind = false;

        (void)deed;
        int r = streq(s->text, "group") ? holders_nodes_of_group(tree, (int)s->number, &nodes, &f->err)
                                        : holders_nodes(tree, s->bdf, &nodes, &f->err);
        if (r < 0)
                return step_failed(work, s->bdf, f);
        int n = holders_find(tree, &nodes, holders, &blind, &f->err);
        if (n < 0)
                return step_failed(work, s->bdf, f);
        tell_holders(holders, (size_t)n, blind || !holders_visible(tree), work->value, sizeof(work->value));
        return 0;
}

const struct step_ops *step_ops(enum step_kind kind)
{
        static const struct step_ops table[] = {
                [STEP_NEED_DRIVER] = { need_driver, NULL },
                [STEP_LOAD_MODULE] = { step_load_module, NULL },
                [STEP_NEED_IDENTITY] = { need_identity, NULL },
                [STEP_GUARD_NODES] = { guard_nodes, NULL },
                [STEP_GUARD_WEDGED] = { step_guard_wedged, NULL },
                [STEP_PERSISTENCE_OFF] = { step_persistence_off, step_undo_persistence_off },
                [STEP_GUARD_UNBIND_LOCK] = { step_guard_unbind_lock, step_undo_unbind_lock },
                [STEP_OVERRIDE] = { override, undo_override },
                [STEP_UNBIND] = { unbind_step, undo_unbind },
                [STEP_PROBE] = { probe_step, undo_probe },
                [STEP_AWAIT_DRIVER] = { await_driver_step, NULL },
                [STEP_AWAIT_NODE] = { await_node, NULL },
                [STEP_READ_LOCKED] = { read_locked, NULL },
                [STEP_RELEASE_UNBIND_LOCK] = { step_release_unbind_lock, NULL },
                [STEP_LIST_HOLDERS] = { list_holders, NULL },
                [STEP_RESET] = { step_reset, step_undo_reset },
                [STEP_SETTING] = { step_setting, step_undo_setting },
                [STEP_AWAIT_ANSWER] = { step_await_answer, NULL },
                [STEP_COMPARE_BARS] = { step_compare_bars, NULL },
        };

        return &table[kind];
}
