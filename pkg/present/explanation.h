/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that is known of one device as one message, and that message as text. Pure. */
#ifndef SLUICE_PRESENT_EXPLANATION_H
#define SLUICE_PRESENT_EXPLANATION_H

#include "core/claim.h"
#include "core/plan.h"
#include "present/present.h"

/* What of it is not in the inventory, the offer and the rules is made by those who know it; NULL and 0 = nothing. */
struct explanation_input {
        const struct inventory *inventory;
        const struct offer *offer;
        const struct rules *rules;
        const struct device *device; /* of the offer */
        const struct claim *const *claims;
        size_t n_claims;
        const struct original *const *originals;
        size_t n_originals;
        pb_cordon *cordon;
        pb_holders *holders;
};
pb_node_explain_response *pb_explanation_of(struct pile *pile, const struct explanation_input *in);

pb_claim *pb_claim_of(struct pile *pile, const struct claim *claim);
pb_original *pb_original_of(struct pile *pile, const struct original *original);
/* @refusal: why there is none, with @err; else the steps. */
pb_plan *pb_plan_of(struct pile *pile, const struct plan *plan, enum reason refusal, const struct err *err);

/* PRESENT_TABLE and PRESENT_WIDE are one text. @now_ms: Unix time, for ages. */
int present_explanation(const pb_node_explain_response *m, enum present_format format, int64_t now_ms, struct strbuf *out, struct err *err);

#endif
