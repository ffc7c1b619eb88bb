/* SPDX-License-Identifier: Apache-2.0 */
/* Who has a device open, for those who only want to know. A hand looks, since that walks all processes. Loop thread. */
#ifndef SLUICE_CLAIMS_ASK_H
#define SLUICE_CLAIMS_ASK_H

#include "core/device.h"
#include "hands/hands.h"

enum { ASK_HOLDERS_MAX = 16, ASK_MS = 3000 };

struct ask_holder {
        uint32_t pid;  /* as the daemon's /proc numbers it */
        char comm[32]; /* "" = it ended meanwhile */
        char node[64];
};
struct ask_answer {
        bool complete;             /* nobody else has it open */
        char why_not[ERR_MSG_MAX]; /* a sentence; "" when complete */
        struct ask_holder holders[ASK_HOLDERS_MAX];
        size_t n_holders;
};
typedef void ask_fn(void *ctx, const struct ask_answer *answer); /* borrowed for the call */

/* @done is called once, later, at most ASK_MS from now. Not for a stuck device: nothing of it is read any more. */
void ask_holders(struct hands *hands, const struct device *device, ask_fn *done, void *ctx);

/* What a STEP_LIST_HOLDERS told. False: it is no such text. */
bool ask_parse(const char *told, struct ask_answer *ret);

#endif
