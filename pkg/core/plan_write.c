/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "core/plan_priv.h"

bool plan_add_card(struct plan *plan, struct bdf card)
{
        uint32_t at = 0;

        while (at < plan->n_cards && bdf_compare(plan->cards[at], card) < 0)
                at++;
        if (at < plan->n_cards && bdf_equal(plan->cards[at], card))
                return true;
        if (plan->n_cards == PLAN_CARDS_MAX)
                return false;
        memmove(plan->cards + at + 1, plan->cards + at, (plan->n_cards - at) * sizeof(*plan->cards));
        plan->cards[at] = card;
        plan->n_cards++;
        return true;
}

bool plan_add(struct plan *plan, struct step step, const char *text)
{
        if (plan->n_steps == PLAN_STEPS_MAX)
                return false;
        (void)str_copy(step.text, sizeof(step.text), text);
        plan->steps[plan->n_steps++] = step;
        return true;
}

bool plan_add_wedged(struct plan *plan, struct bdf bdf)
{
        return plan_add(plan, (struct step){ .kind = STEP_GUARD_WEDGED, .bdf = bdf, .wait_ms = READ_BACK_MS }, "");
}

bool plan_add_function(struct plan *plan, const struct function *fn)
{
        const uint32_t identity = (uint32_t)fn->vendor << 16 | fn->device;

        return plan_add_card(plan, card_of(fn)) &&
               plan_add(plan, (struct step){ .kind = STEP_NEED_IDENTITY, .bdf = fn->bdf, .number = identity }, "");
}

void plan_limit_waits(struct plan *plan, int32_t longest_ms)
{
        for (uint32_t i = 0; i < plan->n_steps; i++)
                if (plan->steps[i].wait_ms > longest_ms)
                        plan->steps[i].wait_ms = longest_ms;
}

/* Nothing is planned for what cannot be read, and it is not passed over: another look may tell. */
enum reason plan_check_read(const struct inventory *inv, struct bdf bdf, struct err *err)
{
        const struct broken *unread = inventory_unread(inv, bdf);

        if (!unread)
                return REASON_NONE;
        (void)err_say(err, EIO, BDF_FMT " cannot be read: %s", BDF_ARGS(bdf), unread->detail);
        return REASON_GARBAGE;
}
