/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/ask.h"

#include "base/alloc.h"
#include "base/str.h"

struct ask {
        struct ask_answer answer;
        ask_fn *done;
        void *ctx;
};

/* "4242 /dev/vfio/45 qemu-kvm", @n bytes. */
static bool parse_entry(const char *entry, size_t n, struct ask_holder *ret)
{
        char text[192], *node, *comm;
        uint64_t pid;

        if (n >= sizeof(text))
                return false;
        str_format(text, sizeof(text), "%.*s", (int)n, entry);
        node = strchr(text, ' ');
        comm = node ? strchr(node + 1, ' ') : NULL;
        if (!comm)
                return false;
        *node++ = *comm++ = '\0';
        if (!str_to_u64(text, 10, INT32_MAX, &pid) || !str_copy(ret->node, sizeof(ret->node), node) ||
            !str_copy(ret->comm, sizeof(ret->comm), comm))
                return false;
        ret->pid = (uint32_t)pid;
        return true;
}

bool ask_parse(const char *told, struct ask_answer *ret)
{
        struct ask_answer answer = { 0 };
        const char *at = strchr(told, ';');
        size_t n = at ? (size_t)(at - told) : strlen(told);

        if (n == 3 && strncmp(told, "all", n) == 0)
                answer.complete = true;
        else if (n == 4 && strncmp(told, "some", n) == 0)
                str_format(answer.why_not, sizeof(answer.why_not),
                           "not every process' open files can be seen, or there are too many of them");
        else
                return false;
        while (at) {
                const char *entry = at + strlen("; ");
                if (at[1] != ' ' || answer.n_holders == ASK_HOLDERS_MAX)
                        return false;
                at = strchr(entry, ';');
                if (!parse_entry(entry, at ? (size_t)(at - entry) : strlen(entry), &answer.holders[answer.n_holders++]))
                        return false;
        }
        *ret = answer;
        return true;
}

static void on_told(void *ctx, uint32_t step, int result, const char *text)
{
        struct ask *ask = ctx;

        (void)step;
        if (result < 0 || !ask_parse(text, &ask->answer))
                str_format(ask->answer.why_not, sizeof(ask->answer.why_not), "%s", text);
}

static void on_done(void *ctx, const struct hands_result *result)
{
        _cleanup_free_ struct ask *ask = ctx;

        if (result->end != PLAN_DONE) {
                ask->answer.complete = false;
                str_format(ask->answer.why_not, sizeof(ask->answer.why_not), "%s", result->text);
        }
        ask->done(ask->ctx, &ask->answer);
}

void ask_holders(struct hands *hands, const struct device *device, ask_fn *done, void *ctx)
{
        struct ask *ask = xcalloc(1, sizeof(*ask));
        _cleanup_free_ struct plan *plan = xcalloc(1, sizeof(*plan));

        *ask = (struct ask){ .done = done, .ctx = ctx };
        plan_list_holders(device, plan);
        hands_run(hands, plan, ASK_MS, on_told, on_done, ask);
}
