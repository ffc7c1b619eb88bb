/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of a release: reset, what it left of the device, what was set of it. Kernel facts (drivers/pci/pci.c): a write to "reset" tries the
 * methods of "reset_method" in their order and goes on to the next when one says that it is none for this device. A write to
 * "reset_method" asks each method again whether it would do now; a bus that has another function by then would not. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "core/bars.h"
#include "hands/steps_priv.h"

static int write_back(struct work *work, struct bdf b, const char *attribute, const char *value, struct failure *f)
{
        char now[STEP_TEXT_MAX];

        int r = step_write_attribute(work, b, attribute, value, f);
        if (r == 0)
                r = step_read_attribute(work, b, attribute, now, sizeof(now), f);
        if (r == 0 && !streq(now, value))
                return step_refuse(f, REASON_STEP_FAILED, EIO, "%s of " BDF_FMT " reads '%s' after '%s' was written", attribute,
                                   BDF_ARGS(b), now, value);
        return r;
}

/* What the kernel refused to change is as it was. */
static int put_back(struct work *work, struct bdf b, const char *attribute, const char *value, struct failure *f)
{
        char now[STEP_TEXT_MAX];

        int r = step_read_attribute(work, b, attribute, now, sizeof(now), f);
        return r < 0 || streq(now, value) ? r : write_back(work, b, attribute, value, f);
}

/* The list as it was. The kernel may have listed "bus" before it knew the other functions there, and not take it any more: then
 * it makes the list anew. */
static int leave_methods(struct work *work, struct bdf b, const char *methods, struct failure *f)
{
        char now[STEP_TEXT_MAX];

        int r = step_read_attribute(work, b, "reset_method", now, sizeof(now), f);
        if (r < 0 || streq(now, methods))
                return r;
        r = step_write_attribute(work, b, "reset_method", methods, f);
        return r == -EINVAL ? step_write_attribute(work, b, "reset_method", "default", f) : r;
}

/* The kernel is left only the one method whose reach was looked at, unless that is what it tries first. */
int step_reset(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        char now[STEP_TEXT_MAX];

        int r = step_read_attribute(work, s->bdf, "reset_method", now, sizeof(now), f);
        if (r < 0)
                return r;
        size_t first = strcspn(now, " ");
        bool is_first = strlen(s->text) == first && strncmp(now, s->text, first) == 0;
        if (!is_first && !s->number)
                return step_refuse(f, REASON_STEP_FAILED, EAGAIN,
                                   "reset_method of " BDF_FMT " has changed: it says '%s', and %s was to be tried first", BDF_ARGS(s->bdf),
                                   now, s->text);
        deed->changed = !streq(now, s->about); /* also by a hand that was killed in the middle */
        if (!is_first) {
                deed->changed = true;
                r = write_back(work, s->bdf, "reset_method", s->text, f);
        }
        if (r == 0)
                r = step_write_attribute(work, s->bdf, "reset", "1", f);
        if (r == 0)
                r = leave_methods(work, s->bdf, s->about, f);
        deed->changed = deed->changed && r < 0;
        return r;
}

int step_undo_reset(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        (void)deed;
        return leave_methods(work, s->bdf, s->about, f);
}

static bool is_methods(const struct step *s)
{
        return streq(s->about, "reset_method");
}

int step_setting(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        int r = step_read_attribute(work, s->bdf, s->about, deed->before, sizeof(deed->before), f);
        if (r < 0 || streq(deed->before, s->text))
                return r;
        deed->changed = true;
        return is_methods(s) ? leave_methods(work, s->bdf, s->text, f) : write_back(work, s->bdf, s->about, s->text, f);
}

int step_undo_setting(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        return is_methods(s) ? leave_methods(work, s->bdf, deed->before, f) : put_back(work, s->bdf, s->about, deed->before, f);
}

/* A VF's configuration space has no ids of its own (they read ffff by the standard). */
static bool is_answer(const struct step *s, const unsigned char *header, size_t n)
{
        bool ones = true;

        const uint32_t ids = (uint32_t)header[1] << 24 | (uint32_t)header[0] << 16 | (uint32_t)header[3] << 8 | header[2];

        if (s->number)
                return n >= 4 && s->number == ids;
        for (size_t i = 0; i < n; i++)
                ones = ones && header[i] == 0xff;
        return n > 0 && !ones;
}

int step_await_answer(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        struct patience patience = { .until = clock_ms() + s->wait_ms };
        unsigned char header[CONFIG_HEADER];
        char state[16];

        (void)deed;
        do {
                ssize_t n = kernel_read_config(work->kernel, s->bdf, 0, header, sizeof(header), &f->err);
                if (n < 0)
                        return step_missed(s->bdf, f);
                if (is_answer(s, header, (size_t)n)) {
                        if (step_read_attribute(work, s->bdf, "power_state", state, sizeof(state), f) < 0 || !streq(state, "error"))
                                return 0; /* kernels before 5.11 do not say */
                        break;
                }
        } while (step_patience_left(&patience));
        return step_refuse(f, REASON_NO_ANSWER, EIO, BDF_FMT " does not answer %d ms after its reset: it may have fallen off the bus",
                           BDF_ARGS(s->bdf), s->wait_ms);
}
