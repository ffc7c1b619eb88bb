/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/leftovers.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
#include "claims/cordon.h"
#include "claims/encode.h"
#include "claims/ledger.h"
#include "claims/records.h"
#include "claims/stuck.h"

struct reading {
        struct state_left *left;
        struct leftovers *leftovers;
        const char *kind;
};

static int on_original(void *ctx, const char *key, const char *text, struct err *err)
{
        struct state_left *left = ((struct reading *)ctx)->left;
        struct original original;

        int r = decode_original(key, text, &original, err);
        if (r < 0)
                return r;
        GROW(left->originals, left->n_originals, left->cap_originals);
        left->originals[left->n_originals++] = original;
        return 0;
}

static int on_claim(void *ctx, const char *key, const char *text, struct err *err)
{
        const struct reading *reading = ctx;
        struct state_left *left = reading->left;
        struct claim claim;

        int r = decode_claim(key, text, &claim, err);
        if (r < 0)
                return r;
        GROW(left->claims, left->n_claims, left->cap_claims);
        left->claims[left->n_claims++] = claim;
        leftovers_add(reading->leftovers, LEFTOVER_CLAIM, claim.key, "%s from %s%s%s%s%s", claim_state_name(claim.state), claim.resource,
                      *claim.pod ? ", pod " : "", claim.pod_namespace, *claim.pod ? "/" : "", claim.pod);
        return 0;
}

static int on_other(void *ctx, const char *key, const char *text, struct err *err)
{
        const struct reading *reading = ctx;

        (void)text;
        (void)err;
        leftovers_add(reading->leftovers, LEFTOVER_RECORD, key, "%s", reading->kind);
        return 0;
}

static void on_file(void *ctx, const char *file, const struct err *why)
{
        const struct reading *reading = ctx;
        enum leftover_kind kind = why->code == EPROTO ? LEFTOVER_NEWER : LEFTOVER_BAD;

        leftovers_add(reading->leftovers, kind, file, "%s", why->msg);
}

int state_left_read(int state_dir, const char *dir, struct state_left *ret, struct leftovers *leftovers, struct err *err)
{
        static const struct {
                const char *kind;
                unsigned version;
                record_fn *each;
        } kinds[] = {
                { "claims", LEDGER_VERSION, on_claim },
                { "originals", LEDGER_VERSION, on_original },
                { "stuck", STUCK_VERSION, on_other },
                { "cordon", CORDON_VERSION, on_other },
        };
        int r = 0;

        for (size_t i = 0; i < N_ELEMENTS(kinds) && r == 0; i++) {
                struct reading reading = { .left = ret, .leftovers = leftovers, .kind = kinds[i].kind };
                r = records_peek(state_dir, kinds[i].kind, kinds[i].version, kinds[i].each, on_file, &reading, err);
        }
        return r < 0 ? err_prefix(err, "%s", dir) : 0;
}

void state_left_done(struct state_left *left)
{
        for (size_t i = 0; i < left->n_claims; i++)
                claim_done(&left->claims[i]);
        free(left->claims);
        free(left->originals);
        *left = (struct state_left){ 0 };
}
