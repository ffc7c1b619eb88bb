/* SPDX-License-Identifier: Apache-2.0 */
/* The candidates are sorted by (health, NUMA node, root, upstream bridge, id), so that whatever belongs together is a run of
 * the array. Choosing is one function that goes down these levels: on each it looks for the run that fits best. */
#include "core/preferred.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"

enum state { FREE, TAKEN, MUST };

struct candidate {
        const char *id; /* borrowed from the request */
        const struct device *device;
        enum state state;
};

enum level { BY_NODE, BY_ROOT, BY_UPSTREAM, BY_ID };

struct choice {
        struct candidate *all;
        enum prefer_strategy prefer;
        const char **ret;
        size_t n;
};

static int compare_level(const struct candidate *a, const struct candidate *b, enum level level)
{
        switch (level) {
        case BY_NODE:
                return (a->device->numa_node > b->device->numa_node) - (a->device->numa_node < b->device->numa_node);
        case BY_ROOT:
                return strcmp(a->device->root, b->device->root);
        case BY_UPSTREAM:
                return bdf_compare(a->device->upstream, b->device->upstream);
        case BY_ID:
        default:
                return strcmp(a->device->id, b->device->id);
        }
}

static bool is_healthy(const struct candidate *c)
{
        return c->device->state == DEVICE_HEALTHY;
}

static int compare_candidates(const void *a, const void *b)
{
        const struct candidate *x = a, *y = b;
        int r = is_healthy(y) - is_healthy(x);

        for (enum level level = BY_NODE; r == 0 && level <= BY_ID; level++)
                r = compare_level(x, y, level);
        return r;
}

static int compare_ids(const void *a, const void *b)
{
        return strcmp(((const struct candidate *)a)->id, ((const struct candidate *)b)->id);
}

/* ---- choosing ---- */

static void take(struct choice *choice, struct candidate *c)
{
        c->state = TAKEN;
        choice->ret[choice->n++] = c->id;
}

/* A run of candidates that agree on a level. */
struct run {
        size_t first, end;
        size_t n_free, n_chosen; /* chosen: must_include and what was taken before */
        bool unknown;            /* NUMA node -1 is no node: what shares it need not be near */
};

static struct run run_at(const struct choice *choice, size_t first, size_t end, enum level level)
{
        struct run run = { .first = first, .end = first };

        run.unknown = level == BY_NODE && choice->all[first].device->numa_node < 0;
        while (run.end < end && compare_level(&choice->all[first], &choice->all[run.end], level) == 0) {
                if (choice->all[run.end].state == FREE)
                        run.n_free++;
                else
                        run.n_chosen++;
                run.end++;
        }
        return run;
}

/* A known node that is large enough, else an unknown one that is (it may be one node; two known ones are not), else a known. */
static int rank(const struct run *run, size_t want)
{
        return (run->n_free >= want ? 2 : 0) + (run->unknown ? 0 : 1);
}

/* Is @a the better run for @want more devices? The one that holds part of the request already, one that is large enough, of
 * those the smallest (the large ones stay whole for large requests), else the largest; then the first. */
static bool packs_better(const struct run *a, const struct run *b, size_t want)
{
        bool a_near = a->n_chosen > 0 && !a->unknown, b_near = b->n_chosen > 0 && !b->unknown;
        int a_rank = rank(a, want), b_rank = rank(b, want);

        if (a_near != b_near)
                return a_near;
        if (a_rank != b_rank)
                return a_rank > b_rank;
        if (a_near && a->n_chosen != b->n_chosen)
                return a->n_chosen > b->n_chosen;
        return a->n_free >= want ? a->n_free < b->n_free : a->n_free > b->n_free;
}

/* The fewest of this request, then the most free ones. */
static bool spreads_better(const struct run *a, const struct run *b)
{
        if (a->n_chosen != b->n_chosen)
                return a->n_chosen < b->n_chosen;
        return a->n_free > b->n_free;
}

static struct run best_run(const struct choice *choice, size_t first, size_t end, enum level level, size_t want)
{
        /* A request stays on one NUMA node whatever the strategy; below that it may be spread. */
        bool spread = choice->prefer == PREFER_SPREAD && level != BY_NODE;
        struct run best = { 0 };

        while (first < end) {
                struct run run = run_at(choice, first, end, level);

                first = run.end;
                if (run.n_free == 0)
                        continue;
                if (best.end == 0 || (spread ? spreads_better(&run, &best) : packs_better(&run, &best, want)))
                        best = run;
        }
        return best;
}

/* Takes @want of the free candidates of [first, end); there are that many. */
static void choose(struct choice *choice, size_t first, size_t end, enum level level, size_t want)
{
        if (level == BY_ID) {
                for (size_t i = first; i < end && want > 0; i++) {
                        if (choice->all[i].state != FREE)
                                continue;
                        take(choice, &choice->all[i]);
                        want--;
                }
                return;
        }
        while (want > 0) {
                struct run run = best_run(choice, first, end, level, want);
                size_t n = run.n_free < want ? run.n_free : want;

                if (choice->prefer == PREFER_SPREAD && level != BY_NODE)
                        n = 1;
                choose(choice, run.first, run.end, level + 1, n);
                want -= n;
        }
}

/* ---- the request ---- */

static struct candidate *find(struct candidate *sorted, size_t n, const char *id)
{
        const struct candidate key = { .id = id };

        return bsearch(&key, sorted, n, sizeof(*sorted), compare_ids);
}

/* Fills @all, sorted by id. */
static int collect(const struct offer *offer, const struct pool *pool, const struct preferred_request *rq, struct candidate *all,
                   struct err *err)
{
        for (size_t i = 0; i < rq->n_available; i++) {
                const char *id = rq->available[i];
                const struct device *device = offer_pool_device(offer, pool, id);

                if (!device)
                        return err_say(err, EINVAL, "device %.64s is not in the pool %s", id, pool->resource);
                all[i] = (struct candidate){ .id = id, .device = device };
        }
        qsort(all, rq->n_available, sizeof(*all), compare_ids);
        for (size_t i = 1; i < rq->n_available; i++)
                if (streq(all[i - 1].id, all[i].id))
                        return err_say(err, EINVAL, "device %s is available twice", all[i].id);
        return 0;
}

static int mark_must(const struct preferred_request *rq, struct candidate *all, struct err *err)
{
        for (size_t i = 0; i < rq->n_must_include; i++) {
                struct candidate *c = find(all, rq->n_available, rq->must_include[i]);

                if (!c)
                        return err_say(err, EINVAL, "device %.64s must be included but is not available", rq->must_include[i]);
                if (c->state == MUST)
                        return err_say(err, EINVAL, "device %s must be included twice", c->id);
                c->state = MUST;
        }
        return 0;
}

static int check_size(const struct preferred_request *rq, struct err *err)
{
        if (rq->size < 1)
                return err_say(err, EINVAL, "%d devices were asked for", rq->size);
        if ((size_t)rq->size > rq->n_available)
                return err_say(err, EINVAL, "%d devices were asked for and %zu are available", rq->size, rq->n_available);
        if (rq->n_must_include > (size_t)rq->size)
                return err_say(err, EINVAL, "%d devices were asked for and %zu must be included", rq->size, rq->n_must_include);
        return 0;
}

int preferred_choose(const struct offer *offer, const struct pool *pool, const struct preferred_request *rq, const char **ret,
                     struct err *err)
{
        size_t n = rq->n_available, n_healthy = 0, n_free_healthy = 0;
        int r = check_size(rq, err);
        if (r < 0)
                return r;

        _cleanup_free_ struct candidate *all = xcalloc(n, sizeof(*all));
        r = collect(offer, pool, rq, all, err);
        if (r == 0)
                r = mark_must(rq, all, err);
        if (r < 0)
                return r;

        struct choice choice = { .all = all, .prefer = pool->prefer, .ret = ret };
        for (; choice.n < rq->n_must_include; choice.n++)
                ret[choice.n] = rq->must_include[choice.n];

        qsort(all, n, sizeof(*all), compare_candidates);
        for (; n_healthy < n && is_healthy(&all[n_healthy]); n_healthy++)
                if (all[n_healthy].state == FREE)
                        n_free_healthy++;

        /* Kubelet offers healthy ones only; its news may be a moment older than ours. An error would fail the pod for good,
         * so what turned unhealthy is merely the last choice. */
        size_t want = (size_t)rq->size - choice.n;
        size_t first = want < n_free_healthy ? want : n_free_healthy;
        choose(&choice, 0, n_healthy, BY_NODE, first);
        choose(&choice, n_healthy, n, BY_NODE, want - first);
        return 0;
}
