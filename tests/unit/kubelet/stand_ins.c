/* SPDX-License-Identifier: Apache-2.0 */
/* The seam below pkg/kubelet: a claims_prepare that says what the test wants. Linked instead of pkg/claims. */
#include "../unit.h"

#include "stage.h"

#include "base/str.h"

struct stand_in stand_in;

void stand_in_answer(void)
{
        static char name[] = "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S", value[] = "0000:00:00.0", vfio[] = "/dev/vfio/vfio",
                    group[] = "/dev/vfio/23";
        char *nodes[] = { vfio, group };
        const struct answer answer = { .env_name = name, .env_value = value, .nodes = nodes, .n_nodes = 2 };
        const struct claim_result result = {
                .reason = stand_in.reason,
                .text = stand_in.text ? stand_in.text : "",
                .answer = stand_in.reason == REASON_NONE && !stand_in.verify_only ? &answer : NULL,
        };
        claims_done_fn *done = stand_in.done;

        stand_in.done = NULL;
        done(stand_in.ctx, &result);
}

void claims_prepare(struct claims *claims, const struct claim_request *request, claims_done_fn *done, void *ctx)
{
        struct strbuf ids = { 0 };

        (void)claims;
        assert_string_equal(request->resource, RESOURCE);
        assert_int_equal(request->owner, OWNER_KUBELET);
        for (size_t i = 0; i < request->n_devices; i++)
                strbuf_addf(&ids, "%s%s", i ? " " : "", request->devices[i]);
        str_format(stand_in.ids, sizeof(stand_in.ids), "%s", ids.text);
        strbuf_done(&ids);
        stand_in.n_calls++;
        stand_in.verify_only = request->verify_only;
        stand_in.done = done;
        stand_in.ctx = ctx;
        if (!stand_in.hold)
                stand_in_answer();
}

bool claims_of_kubelet(const struct claims *claims, const char *resource)
{
        (void)claims;
        (void)resource;
        return false;
}

void claims_observe(struct claims *claims, const struct pod_list *list)
{
        (void)claims;
        stand_in.n_lists++;
        stand_in.n_listed = list->n_devices;
}
