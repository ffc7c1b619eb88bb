/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/probe.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
#include "core/group.h"

struct known {
        struct bdf bdf, card;
        uint16_t vendor, device;
        char driver[DRIVER_LEN];
        char override[DRIVER_LEN];
        bool read;       /* @override is what the kernel said */
        int64_t read_ms; /* when it was asked last, 0 = is to be asked */
        int64_t busy_ms; /* since when its card is at work, 0 = it is not */
};

struct probe {
        struct hands *hands;
        probe_done_fn *done;
        probe_stuck_fn *on_stuck;
        probe_at_work_fn *at_work;
        void *ctx;
        struct known *known;
        size_t n, cap;
        struct bdf *stuck; /* cards */
        size_t n_stuck, cap_stuck;
        struct plan plan; /* of the walk under way */
        int64_t walk_ms;  /* when it began */
        bool walking, news;
};

struct probe *probe_new(struct hands *hands, probe_done_fn *done, probe_stuck_fn *stuck, probe_at_work_fn *at_work, void *ctx)
{
        struct probe *probe = xcalloc(1, sizeof(*probe));

        *probe = (struct probe){ .hands = hands, .done = done, .on_stuck = stuck, .at_work = at_work, .ctx = ctx };
        return probe;
}

struct probe *probe_free(struct probe *probe)
{
        if (!probe)
                return NULL;
        free(probe->known);
        free(probe->stuck);
        free(probe);
        return NULL;
}

static struct known *find(struct probe *probe, struct bdf bdf)
{
        for (size_t i = 0; i < probe->n; i++)
                if (bdf_equal(probe->known[i].bdf, bdf))
                        return &probe->known[i];
        return NULL;
}

/* The same function in the same hands as when it was read? */
static bool is_same(const struct known *k, const struct function *fn)
{
        return k->vendor == fn->vendor && k->device == fn->device && streq(k->driver, fn->driver);
}

void probe_apply(struct probe *probe, struct inventory *inventory)
{
        for (size_t i = 0; i < inventory->n_functions; i++) {
                struct function *fn = &inventory->functions[i];
                struct known *k = find(probe, fn->bdf);
                if (!k || !k->read || !is_same(k, fn))
                        continue;
                if (probe->at_work(probe->ctx, card_of(fn))) {
                        k->read = false;
                        k->read_ms = 0;
                        continue;
                }
                fn->override_known = true;
                (void)str_copy(fn->driver_override, sizeof(fn->driver_override), k->override);
        }
}

static bool is_stuck(const struct probe *probe, struct bdf card)
{
        for (size_t i = 0; i < probe->n_stuck; i++)
                if (bdf_equal(probe->stuck[i], card))
                        return true;
        return false;
}

void probe_leave_alone(struct probe *probe, struct bdf card)
{
        if (is_stuck(probe, card))
                return;
        GROW(probe->stuck, probe->n_stuck, probe->cap_stuck);
        probe->stuck[probe->n_stuck++] = card;
}

static void found_stuck(struct probe *probe, struct bdf card, const char *text)
{
        probe_leave_alone(probe, card);
        probe->on_stuck(probe->ctx, card, text);
        probe->news = true;
}

/* Whether a hand of ours hangs is not for us to say; a card that one is at work on is not asked (is_due). So this one outlived
 * the daemon that started it. Or it is somebody else's task, of which @task tells. */
static void found_busy(struct probe *probe, struct known *k, const char *task)
{
        char text[ERR_MSG_MAX];

        k->read_ms = 0; /* ask again at the next look */
        if (k->busy_ms == 0)
                k->busy_ms = probe->walk_ms;
        if (probe->walk_ms - k->busy_ms < PROBE_BUSY_MS || is_stuck(probe, k->card))
                return;
        str_format(text, sizeof(text), "%s for %d s", *task ? task : "a hand of an earlier sluiced has been at work on it",
                   PROBE_BUSY_MS / 1000);
        found_stuck(probe, k->card, text);
}

static void on_value(void *ctx, uint32_t step, int result, const char *text)
{
        struct probe *probe = ctx;
        struct known *k = find(probe, probe->plan.steps[step].bdf);
        const char *value = streq(text, "(null)") ? "" : text;

        if (k && (result == -EBUSY || result == -EDEADLK))
                found_busy(probe, k, result == -EDEADLK ? text : "");
        else if (k)
                k->busy_ms = 0;
        if (!k || result < 0)
                return; /* gone, busy or unreadable: unknown */
        if (!k->read || !streq(k->override, value))
                probe->news = true;
        k->read = true;
        (void)str_copy(k->override, sizeof(k->override), value);
}

/* A walk that ended early did not reach the steps from @first on: they are to be asked at the next look. */
static void forget_unreached(struct probe *probe, uint32_t first)
{
        for (uint32_t i = first; i < probe->plan.n_steps; i++) {
                struct known *k = find(probe, probe->plan.steps[i].bdf);
                if (k)
                        k->read_ms = 0;
        }
}

static void on_done(void *ctx, const struct hands_result *result)
{
        struct probe *probe = ctx;

        probe->walking = false;
        if (result->end == PLAN_STUCK && result->step < probe->plan.n_steps)
                found_stuck(probe, probe->plan.steps[result->step].card, result->text);
        if (result->end != PLAN_DONE)
                forget_unreached(probe, result->step < probe->plan.n_steps ? result->step + 1 : 0);
        if (probe->news)
                probe->done(probe->ctx);
        probe->news = false;
}

/* A function in the group of a GPU (or the GPU itself), bridges left out. */
static bool is_of_interest(const struct inventory *inventory, const struct rules *rules, const struct function *fn)
{
        if (fn->group < 0 || fn->class_code >> 16 == 0x06)
                return false;
        for (size_t i = 0; i < inventory->n_functions; i++)
                if (inventory->functions[i].group == fn->group && rules_class_is_gpu(rules, inventory->functions[i].class_code))
                        return true;
        return false;
}

/* Takes note of @fn; true when it is to be read now. */
static bool is_due(struct probe *probe, const struct function *fn, int64_t now_ms)
{
        struct known *k = find(probe, fn->bdf);

        if (is_stuck(probe, card_of(fn)))
                return false;
        if (probe->at_work(probe->ctx, card_of(fn))) {
                if (k)
                        k->read_ms = k->busy_ms = 0;
                return false;
        }
        if (k && is_same(k, fn) && k->read_ms != 0 && now_ms - k->read_ms < PROBE_AGE_MS)
                return false;
        if (!k) {
                GROW(probe->known, probe->n, probe->cap);
                k = &probe->known[probe->n++];
                *k = (struct known){ .bdf = fn->bdf };
        }
        if (!is_same(k, fn))
                k->read = false;
        k->card = card_of(fn);
        k->vendor = fn->vendor;
        k->device = fn->device;
        (void)str_copy(k->driver, sizeof(k->driver), fn->driver);
        k->read_ms = now_ms;
        return true;
}

void probe_walk(struct probe *probe, const struct inventory *inventory, const struct rules *rules, int64_t now_ms)
{
        if (probe->walking)
                return;
        probe->plan = (struct plan){ 0 };
        for (size_t i = 0; i < inventory->n_functions && probe->plan.n_steps < PLAN_STEPS_MAX; i++) {
                const struct function *fn = &inventory->functions[i];
                if (!is_of_interest(inventory, rules, fn) || !is_due(probe, fn, now_ms))
                        continue;
                struct step *step = &probe->plan.steps[probe->plan.n_steps++];
                step->kind = STEP_READ_LOCKED;
                step->bdf = fn->bdf;
                step->card = card_of(fn);
                (void)str_copy(step->text, sizeof(step->text), "driver_override");
        }
        if (probe->plan.n_steps == 0)
                return;
        probe->walking = true;
        probe->walk_ms = now_ms;
        hands_run(probe->hands, &probe->plan, PROBE_STEP_MS, on_value, on_done, probe);
}
