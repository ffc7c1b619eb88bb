/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/cordon.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"

struct cordons {
        struct records *records;
        struct recorder *recorder;
        struct cordon *list;
        size_t n, cap;
};

/* What is being written or removed. */
struct change {
        struct cordons *cordons;
        struct cordon cordon;
        bool removed;
        recorded_fn *done;
        void *ctx;
};

static struct cordon *find(const struct cordons *cordons, const char *target)
{
        for (size_t i = 0; i < cordons->n; i++)
                if (streq(cordons->list[i].target, target))
                        return &cordons->list[i];
        return NULL;
}

static void put_in_force(struct cordons *cordons, const struct cordon *cordon)
{
        struct cordon *there = find(cordons, cordon->target);

        if (!there) {
                GROW(cordons->list, cordons->n, cordons->cap);
                there = &cordons->list[cordons->n++];
        }
        *there = *cordon;
}

static int on_record(void *ctx, const char *key, const char *text, struct err *err)
{
        struct cordon cordon = { .note = "" };
        const char *note;
        json_int_t since_ms;

        json_auto_t *tree = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        if (!tree || json_unpack(tree, "{s:s, s:I}", "note", &note, "since_ms", &since_ms) < 0 ||
            !str_copy(cordon.target, sizeof(cordon.target), key))
                return err_say(err, EBADMSG, "it does not say what is cordoned since when");
        str_clean(cordon.note, sizeof(cordon.note), note);
        cordon.since_ms = since_ms;
        put_in_force(ctx, &cordon);
        return 0;
}

static void on_aside(void *ctx, const char *file, const struct err *why)
{
        (void)ctx;
        log_error("%s in the state directory is not trusted: %s; what it cordoned is offered again: see sluicectl cordon", file, why->msg);
}

int cordons_open(int state_dir, struct recorder *recorder, struct cordons **ret, struct err *err)
{
        struct cordons *cordons = xcalloc(1, sizeof(*cordons));

        cordons->recorder = recorder;
        int r = records_open(state_dir, "cordon", CORDON_VERSION, &cordons->records, err);
        if (r == 0)
                r = records_read(cordons->records, on_record, on_aside, cordons, err);
        if (r < 0) {
                cordons_free(cordons);
                return r;
        }
        *ret = cordons;
        return 0;
}

struct cordons *cordons_free(struct cordons *cordons)
{
        if (!cordons)
                return NULL;
        records_close(cordons->records);
        free(cordons->list);
        free(cordons);
        return NULL;
}

static void on_recorded(void *ctx, const struct err *err)
{
        _cleanup_free_ struct change *change = ctx;
        struct cordons *cordons = change->cordons;
        struct cordon *there = find(cordons, change->cordon.target);

        if (!err && !change->removed)
                put_in_force(cordons, &change->cordon);
        else if (!err && there)
                *there = cordons->list[--cordons->n];
        change->done(change->ctx, err);
}

static struct change *change_new(struct cordons *cordons, recorded_fn *done, void *ctx)
{
        struct change *change = xcalloc(1, sizeof(*change));

        *change = (struct change){ .cordons = cordons, .done = done, .ctx = ctx };
        return change;
}

void cordons_put(struct cordons *cordons, const struct cordon *cordon, recorded_fn *done, void *ctx)
{
        struct change *change = change_new(cordons, done, ctx);

        change->cordon = *cordon;
        str_clean(change->cordon.note, sizeof(change->cordon.note), cordon->note);
        json_auto_t *tree = json_pack("{s:s, s:I}", "note", change->cordon.note, "since_ms", (json_int_t)cordon->since_ms);
        _cleanup_free_ char *text = tree ? json_dumps(tree, JSON_COMPACT) : NULL;
        recorder_put(cordons->recorder, cordons->records, cordon->target, alloc_check(text), on_recorded, change);
}

void cordons_remove(struct cordons *cordons, const char *target, recorded_fn *done, void *ctx)
{
        struct change *change = change_new(cordons, done, ctx);

        change->removed = true;
        (void)str_copy(change->cordon.target, sizeof(change->cordon.target), target);
        recorder_remove(cordons->recorder, cordons->records, target, on_recorded, change);
}

void cordons_hold(struct cordons *cordons, const char *target, const char *note, int64_t since_ms)
{
        struct cordon cordon = { .since_ms = since_ms, .until_restart = true };

        if (find(cordons, target))
                return;
        (void)str_copy(cordon.target, sizeof(cordon.target), target);
        str_clean(cordon.note, sizeof(cordon.note), note);
        put_in_force(cordons, &cordon);
}

void cordons_let_go(struct cordons *cordons, const char *target)
{
        struct cordon *there = find(cordons, target);

        if (there && there->until_restart)
                *there = cordons->list[--cordons->n];
}

const struct cordon *cordons_find(const struct cordons *cordons, const char *target)
{
        return find(cordons, target);
}

bool cordon_is_of(const char *target, const struct device *device)
{
        char card[BDF_TEXT_MAX];

        return streq(target, device->id) || streq(target, bdf_format(device->card, card));
}

const struct cordon *cordons_of(const struct cordons *cordons, const struct device *device)
{
        char card[BDF_TEXT_MAX];
        const struct cordon *own = find(cordons, device->id);

        return own ? own : find(cordons, bdf_format(device->card, card));
}
