/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "stage.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "kubelet/kubelet_priv.h"

static struct stage *stage_ready(void)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        stage_kubelet_up(stage);
        stage_offer(stage, 8, 8);
        assert_true(stage_until(stage, stage_registered, 3000));
        return stage;
}

/* Allocates; @containers is "id id;id" : one container per ';'. */
static void allocate(struct stage *stage, const char *containers)
{
        enum { MAX = 80 };
        V1beta1__AllocateRequest request = V1BETA1__ALLOCATE_REQUEST__INIT;
        V1beta1__ContainerAllocateRequest container[MAX], *pointers[MAX];
        char *ids[MAX][4], *copy = xstrdup(containers), *rest = copy, *part;

        while (rest && (part = strsep(&rest, ";"))) {
                size_t at = request.n_container_requests++;
                char *id;
                v1beta1__container_allocate_request__init(&container[at]);
                container[at].devices_ids = ids[at];
                while ((id = strsep(&part, " ")))
                        if (*id)
                                ids[at][container[at].n_devices_ids++] = id;
                pointers[at] = &container[at];
        }
        request.container_requests = pointers;
        stage_call(stage, stage_endpoint(stage), "/v1beta1.DevicePlugin/Allocate", &request.base, &v1beta1__allocate_response__descriptor);
        free(copy);
}

static void test_an_answer_is_one_variable_and_the_nodes(void **state)
{
        struct stage *stage = stage_ready();

        (void)state;
        allocate(stage, "0000:00:01.0 0000:00:00.0");
        assert_int_equal(stage->code, RPC_OK);
        assert_string_equal(stand_in.ids, "0000:00:01.0 0000:00:00.0");
        assert_false(stand_in.verify_only);
        const V1beta1__AllocateResponse *response = (const V1beta1__AllocateResponse *)(const void *)stage->reply;
        assert_int_equal(response->n_container_responses, 1);
        const V1beta1__ContainerAllocateResponse *container = response->container_responses[0];
        assert_int_equal(container->n_envs, 1);
        assert_string_equal(container->envs[0]->key, "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S");
        assert_string_equal(container->envs[0]->value, "0000:00:00.0");
        assert_int_equal(container->n_devices, 2);
        assert_string_equal(container->devices[0]->container_path, "/dev/vfio/vfio");
        assert_string_equal(container->devices[0]->host_path, "/dev/vfio/vfio");
        assert_string_equal(container->devices[1]->container_path, "/dev/vfio/23");
        assert_string_equal(container->devices[1]->permissions, "mrw");
        assert_int_equal(container->n_mounts + container->n_annotations + container->n_cdi_devices, 0);
        stage_free(stage);
}

static void test_requests_without_sense_never_reach_the_claims(void **state)
{
        /* Kubelet sends one container; of several the first could not be taken back when the second is refused. */
        static const char *const rows[] = { "", ";", "0000:00:00.0;", "0000:00:00.0;0000:00:01.0", "0000:00:00.0;0000:00:00.0" };
        struct stage *stage = stage_ready();
        V1beta1__AllocateRequest nothing = V1BETA1__ALLOCATE_REQUEST__INIT;
        V1beta1__PreStartContainerRequest no_start = V1BETA1__PRE_START_CONTAINER_REQUEST__INIT;
        struct strbuf many = { 0 };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                allocate(stage, rows[i]);
                assert_int_equal(stage->code, RPC_INVALID_ARGUMENT);
        }
        for (unsigned i = 0; i < 70; i++)
                strbuf_addf(&many, "%s%u", i ? ";" : "", i);
        allocate(stage, many.text);
        assert_int_equal(stage->code, RPC_INVALID_ARGUMENT);
        assert_non_null(strstr(stage->text, "exactly one container"));
        strbuf_done(&many);
        stage_call(stage, stage_endpoint(stage), "/v1beta1.DevicePlugin/Allocate", &nothing.base, &v1beta1__allocate_response__descriptor);
        assert_int_equal(stage->code, RPC_INVALID_ARGUMENT);
        stage_call(stage, stage_endpoint(stage), "/v1beta1.DevicePlugin/PreStartContainer", &no_start.base,
                   &v1beta1__pre_start_container_response__descriptor);
        assert_int_equal(stage->code, RPC_INVALID_ARGUMENT);
        assert_int_equal(stand_in.n_calls, 0);
        stage_free(stage);
}

static void test_a_refusal_arrives_with_its_sentence_and_code(void **state)
{
        static const struct {
                enum reason reason;
                enum rpc_code code;
        } rows[] = {
                { REASON_EMPTY_REQUEST, RPC_INVALID_ARGUMENT },
                { REASON_DUPLICATE_DEVICE, RPC_INVALID_ARGUMENT },
                { REASON_UNKNOWN_DEVICE, RPC_NOT_FOUND },
                { REASON_NOT_HEALTHY, RPC_FAILED_PRECONDITION },
                { REASON_HELD, RPC_FAILED_PRECONDITION },
                { REASON_VFIO_MISSING, RPC_FAILED_PRECONDITION },
                { REASON_GROUP_FOREIGN, RPC_FAILED_PRECONDITION },
                { REASON_STEP_FAILED, RPC_INTERNAL },
                { REASON_HAND_LOST, RPC_ABORTED },
                { REASON_DEADLINE, RPC_DEADLINE_EXCEEDED },
                { REASON_OVERLOAD, RPC_RESOURCE_EXHAUSTED },
                { REASON_TOO_LATE, RPC_UNAVAILABLE },
        };
        struct stage *stage = stage_ready();

        (void)state;
        stand_in.text = "0000:00:00.0 is open in qemu-system-x86 (pid 4711)";
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                stand_in.reason = rows[i].reason;
                allocate(stage, "0000:00:00.0");
                assert_int_equal(stage->code, rows[i].code);
                assert_string_equal(stage->text, stand_in.text);
        }
        stand_in.text = ""; /* no sentence of its own: that of the table */
        stand_in.reason = REASON_HELD;
        allocate(stage, "0000:00:00.0");
        assert_string_equal(stage->text, reason_sentence(REASON_HELD));
        stage_free(stage);
}

static void test_pre_start_verifies_and_claims_nothing(void **state)
{
        struct stage *stage = stage_ready();
        char id[] = "0000:00:03.0", *ids[] = { id };
        V1beta1__PreStartContainerRequest request = V1BETA1__PRE_START_CONTAINER_REQUEST__INIT;

        (void)state;
        request.n_devices_ids = 1;
        request.devices_ids = ids;
        stage_call(stage, stage_endpoint(stage), "/v1beta1.DevicePlugin/PreStartContainer", &request.base,
                   &v1beta1__pre_start_container_response__descriptor);
        assert_int_equal(stage->code, RPC_OK);
        assert_true(stand_in.verify_only);
        assert_string_equal(stand_in.ids, id);
        stand_in.reason = REASON_DEADLINE;
        stage_call(stage, stage_endpoint(stage), "/v1beta1.DevicePlugin/PreStartContainer", &request.base,
                   &v1beta1__pre_start_container_response__descriptor);
        assert_int_equal(stage->code, RPC_DEADLINE_EXCEEDED);
        stage_free(stage);
}

static void prefer(struct stage *stage, size_t n_available, int size)
{
        V1beta1__ContainerPreferredAllocationRequest container = V1BETA1__CONTAINER_PREFERRED_ALLOCATION_REQUEST__INIT,
                                                     *containers[] = { &container };
        V1beta1__PreferredAllocationRequest request = V1BETA1__PREFERRED_ALLOCATION_REQUEST__INIT;
        char texts[8][32], *ids[8];

        for (size_t i = 0; i < n_available; i++) {
                str_format(texts[i], sizeof(texts[i]), "0000:00:%02zx.0", i);
                ids[i] = texts[i];
        }
        container.n_available_deviceids = n_available;
        container.available_deviceids = ids;
        container.allocation_size = size;
        request.n_container_requests = 1;
        request.container_requests = containers;
        stage_call(stage, stage_endpoint(stage), "/v1beta1.DevicePlugin/GetPreferredAllocation", &request.base,
                   &v1beta1__preferred_allocation_response__descriptor);
}

static void test_preferred_devices_are_of_the_size_asked_for(void **state)
{
        struct stage *stage = stage_ready();

        (void)state;
        prefer(stage, 4, 2);
        assert_int_equal(stage->code, RPC_OK);
        const V1beta1__PreferredAllocationResponse *response = (const V1beta1__PreferredAllocationResponse *)(const void *)stage->reply;
        assert_int_equal(response->n_container_responses, 1);
        assert_int_equal(response->container_responses[0]->n_deviceids, 2);
        assert_string_equal(response->container_responses[0]->deviceids[0], "0000:00:00.0");
        prefer(stage, 2, 3);
        assert_int_equal(stage->code, RPC_INVALID_ARGUMENT);
        prefer(stage, 2, -1);
        assert_int_equal(stage->code, RPC_INVALID_ARGUMENT);
        stage_free(stage);
}

static void on_late_reply(void *ctx, enum rpc_code code, const char *text, const ProtobufCMessage *msg)
{
        struct stage *stage = ctx;

        (void)text;
        (void)msg;
        stage->replied = true;
        stage->code = code;
}

static bool is_asked(const struct stage *stage)
{
        (void)stage;
        return stand_in.done != NULL;
}

static bool is_closed(const struct stage *stage)
{
        return stage->kubelet_closed;
}

static bool is_replied(const struct stage *stage)
{
        return stage->replied;
}

static void on_closed(void *ctx)
{
        ((struct stage *)ctx)->kubelet_closed = true;
}

static void test_a_stop_waits_for_what_the_claims_still_hold(void **state)
{
        struct stage *stage = stage_ready();
        struct rpc_client *client = rpc_client_new(stage->rpc, stage_endpoint(stage), 0);
        char id[] = "0000:00:00.0", *ids[] = { id };
        V1beta1__PreStartContainerRequest request = V1BETA1__PRE_START_CONTAINER_REQUEST__INIT;

        (void)state;
        request.n_devices_ids = 1;
        request.devices_ids = ids;
        stand_in.hold = true;
        (void)rpc_client_call(client, "/v1beta1.DevicePlugin/PreStartContainer", &request.base,
                              &v1beta1__pre_start_container_response__descriptor, 5000, on_late_reply, stage);
        assert_true(stage_until(stage, is_asked, 3000));
        kubelet_stop(stage->kubelet, on_closed, stage);
        stage_turn(stage, 100);
        assert_false(stage->kubelet_closed);
        stand_in_answer(); /* the claims end, and with them the call */
        assert_true(stage_until(stage, is_closed, 3000));
        assert_true(stage_until(stage, is_replied, 3000)); /* the client's side may hear of it a moment later */
        assert_int_equal(stage->code, RPC_OK);
        stage->kubelet = kubelet_free(stage->kubelet);
        (void)rpc_client_free(client);
        stage_free(stage);
}

static void test_refusals_have_a_code_each(void **state)
{
        (void)state;
        assert_int_equal(serve_code(REASON_NONE), RPC_OK);
        for (int reason = 1; reason < REASON_MAX; reason++)
                assert_int_not_equal(serve_code((enum reason)reason), RPC_OK);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_an_answer_is_one_variable_and_the_nodes),
                TEST(test_requests_without_sense_never_reach_the_claims),
                TEST(test_a_refusal_arrives_with_its_sentence_and_code),
                TEST(test_pre_start_verifies_and_claims_nothing),
                TEST(test_preferred_devices_are_of_the_size_asked_for),
                TEST(test_a_stop_waits_for_what_the_claims_still_hold),
                TEST(test_refusals_have_a_code_each),
        };

        return RUN(tests);
}
