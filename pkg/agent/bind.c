/* SPDX-License-Identifier: Apache-2.0 */
/* Binding at start: desired state against the snapshot. */
#include "agent/agent_priv.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

#ifndef BIND_TIMES
#define BIND_TIMES
enum {
        BIND_RETRY_MS = 10 * 1000, /* first retry of a failed bind; doubles */
        BIND_RETRY_MAX_MS = 300 * 1000,
};
#endif

static struct attempt *find_attempt(struct agent *agent, const char *id)
{
        for (size_t i = 0; i < agent->n_attempts; i++)
                if (streq(agent->attempts[i].id, id))
                        return &agent->attempts[i];
        GROW(agent->attempts, agent->n_attempts, agent->cap_attempts);
        struct attempt *a = &agent->attempts[agent->n_attempts++];
        *a = (struct attempt){ .delay_ms = BIND_RETRY_MS };
        (void)str_copy(a->id, sizeof(a->id), id);
        return a;
}

struct bind_job {
        struct agent *agent;
        char id[DEVICE_ID_MAX];
};

static void on_bound(void *ctx, const struct claim_result *result)
{
        _cleanup_free_ struct bind_job *job = ctx;
        struct agent *agent = job->agent;
        struct attempt *attempt = find_attempt(agent, job->id);

        attempt->running = false;
        if (result->reason == REASON_TOO_LATE) {
                log_info("bind at start of %s was not finished: %s", job->id, result->text);
        } else if (result->reason) {
                log_warn("bind at start of %s failed, next try in %lld s: %s", job->id, (long long)attempt->delay_ms / 1000, result->text);
                attempt->next_ms = clock_ms() + attempt->delay_ms;
                attempt->delay_ms = attempt->delay_ms * 2 > BIND_RETRY_MAX_MS ? BIND_RETRY_MAX_MS : attempt->delay_ms * 2;
        } else {
                log_info("%s is bound", job->id);
                attempt->delay_ms = BIND_RETRY_MS;
        }
        if (--agent->n_binding == 0)
                agent_serve(agent);
}

/* Desired state against the snapshot: devices that a rule wants bound at start and that are not, all cards in parallel. */
void agent_reconcile(struct agent *agent)
{
        _cleanup_offer_ struct offer *offer = offer_ref(agent->world.offer);
        int64_t now = clock_ms();

        agent->n_binding++; /* no serving from within this loop */
        for (size_t i = 0; i < offer->n_devices && !agent->stopping; i++) {
                const struct device *d = &offer->devices[i];
                char *ids[] = { (char *)d->id };

                if (d->bind != BIND_AT_START || !d->needs_bind || d->state != DEVICE_HEALTHY)
                        continue;
                struct attempt *attempt = find_attempt(agent, d->id);
                if (attempt->running || now < attempt->next_ms)
                        continue;
                attempt->running = true;
                struct bind_job *job = xcalloc(1, sizeof(*job));
                job->agent = agent;
                (void)str_copy(job->id, sizeof(job->id), d->id);
                agent->n_binding++;
                claims_prepare(agent->claims,
                               &(struct claim_request){ .owner = OWNER_RECONCILE, .resource = d->resource, .devices = ids, .n_devices = 1 },
                               on_bound, job);
        }
        if (--agent->n_binding == 0)
                agent_serve(agent);
}
