/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of pods: what is read of them, and how kubelet is asked, by a stand-in for its podresources server. */
#include "../unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "kubelet/podresources.h"
#include "stage.h"

enum { POLL_MS = 40, DEADLINE_MS = 200 };

/* ---- making lists ---- */

struct row {
        const char *pod_namespace, *pod, *container, *resource, *ids[4];
};

static V1__ListPodResourcesResponse *make_list(const struct row *rows, size_t n)
{
        V1__ListPodResourcesResponse msg = V1__LIST_POD_RESOURCES_RESPONSE__INIT;
        V1__PodResources pods[8], *pod_list[8];
        V1__ContainerResources containers[8], *container_list[8];
        V1__ContainerDevices devices[8], *device_list[8];
        ProtobufCBinaryData ids[8][4];

        assert_true(n <= 8);
        for (size_t i = 0; i < n; i++) {
                v1__pod_resources__init(&pods[i]);
                v1__container_resources__init(&containers[i]);
                v1__container_devices__init(&devices[i]);
                pods[i].namespace_ = (char *)(uintptr_t)rows[i].pod_namespace;
                pods[i].name = (char *)(uintptr_t)rows[i].pod;
                pods[i].n_containers = containers[i].n_devices = 1;
                pods[i].containers = &container_list[i];
                container_list[i] = &containers[i];
                containers[i].name = (char *)(uintptr_t)rows[i].container;
                containers[i].devices = &device_list[i];
                device_list[i] = &devices[i];
                devices[i].resource_name = (ProtobufCBinaryData){ strlen(rows[i].resource), (uint8_t *)(uintptr_t)rows[i].resource };
                devices[i].device_ids = ids[i];
                for (size_t k = 0; k < 4 && rows[i].ids[k]; k++)
                        ids[i][devices[i].n_device_ids++] =
                                (ProtobufCBinaryData){ strlen(rows[i].ids[k]), (uint8_t *)(uintptr_t)rows[i].ids[k] };
                pod_list[i] = &pods[i];
        }
        msg.n_pod_resources = n;
        msg.pod_resources = pod_list;
        size_t size = v1__list_pod_resources_response__get_packed_size(&msg);
        uint8_t *bytes = xcalloc(1, size + 1);
        (void)v1__list_pod_resources_response__pack(&msg, bytes);
        V1__ListPodResourcesResponse *copy = v1__list_pod_resources_response__unpack(NULL, size, bytes);
        free(bytes);
        assert_non_null(copy);
        return copy;
}

static bool is_l40s(void *ctx, const char *resource)
{
        (void)ctx;
        return streq(resource, RESOURCE);
}

static void assert_read(const struct row *rows, size_t n, const char *want)
{
        V1__ListPodResourcesResponse *msg = make_list(rows, n);
        _cleanup_free_ struct pod_device *devices = NULL;
        _cleanup_strbuf_ struct strbuf got = { 0 };
        size_t n_devices;

        assert_int_equal(podresources_read(msg, is_l40s, NULL, &devices, &n_devices), 0);
        strbuf_add(&got, "");
        for (size_t i = 0; i < n_devices; i++) {
                assert_string_equal(devices[i].resource, RESOURCE);
                strbuf_addf(&got, "%s=%s/%s/%s ", devices[i].id, devices[i].pod_namespace, devices[i].pod, devices[i].container);
        }
        assert_string_equal(got.text, want);
        v1__list_pod_resources_response__free_unpacked(msg, NULL);
}
#define ASSERT_READ(want, ...)                                     \
        do {                                                       \
                static const struct row _rows[] = { __VA_ARGS__ }; \
                assert_read(_rows, N_ELEMENTS(_rows), want);       \
        } while (0)

static void test_our_devices_come_sorted_and_each_once(void **state)
{
        (void)state;
        assert_read(NULL, 0, "");
        /* On two NUMA nodes: twice. */
        ASSERT_READ("0000:18:00.0=vms/a/compute 0000:3a:00.0=vms/b/compute ", { "vms", "b", "compute", RESOURCE, { "0000:3a:00.0" } },
                    { "vms", "a", "compute", RESOURCE, { "0000:18:00.0" } }, { "vms", "a", "compute", RESOURCE, { "0000:18:00.0" } });
        ASSERT_READ("0000:18:00.0=vms/a/x 0000:19:00.0=vms/a/x ", { "vms", "a", "x", RESOURCE, { "0000:19:00.0", "0000:18:00.0" } });
}

static void test_what_is_not_ours_is_left_out_whatever_it_is(void **state)
{
        static char long_id[DEVICE_ID_MAX + 1], long_name[RESOURCE_MAX + 1];

        (void)state;
        memset(long_id, '0', DEVICE_ID_MAX);
        memset(long_name, 'n', RESOURCE_MAX);
        const struct row rows[] = {
                { "n", "p", "c", "example.com/nic", { "0000:18:00.0" } },
                { "n", "p", "c", "\xff\xfe", { "\xff" } },
                { "n", "p", "c", long_name, { "0000:18:00.0" } },
                { "n", "p", "c", RESOURCE "x", { "0000:18:00.0" } },
                { "n", "p", "c", RESOURCE, { long_id, "", "0000:19:00.0" } },
                { "n", "p", "c", "", { "" } },
        };
        assert_read(rows, N_ELEMENTS(rows), "0000:19:00.0=n/p/c ");
        long_id[DEVICE_ID_MAX - 1] = '\0'; /* the longest that there can be */
        assert_int_equal(strlen(long_id), DEVICE_ID_MAX - 1);
        const struct row longest[] = { { "n", "p", "c", RESOURCE, { long_id } } };
        char want[80];
        str_format(want, sizeof(want), "%s=n/p/c ", long_id);
        assert_read(longest, 1, want);
}

static void test_an_id_with_a_tail_behind_a_zero_byte_is_not_the_one_without(void **state)
{
        V1__ListPodResourcesResponse *msg = make_list((const struct row[]){ { "n", "p", "c", RESOURCE, { "0000:18:00.0x" } } }, 1);
        struct pod_device *devices;
        size_t n;

        (void)state;
        msg->pod_resources[0]->containers[0]->devices[0]->device_ids[0].data[12] = '\0';
        assert_int_equal(podresources_read(msg, is_l40s, NULL, &devices, &n), 0);
        assert_int_equal(n, 0);
        free(devices);
        v1__list_pod_resources_response__free_unpacked(msg, NULL);
}

static void test_names_are_made_safe_and_cut(void **state)
{
        char name[POD_NAME_MAX + 40];
        struct row row = { "n\n", name, "c\x1b[31m", RESOURCE, { "0000:18:00.0" } };
        struct pod_device *devices;
        size_t n;

        (void)state;
        memset(name, 'p', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        V1__ListPodResourcesResponse *msg = make_list(&row, 1);
        assert_int_equal(podresources_read(msg, is_l40s, NULL, &devices, &n), 0);
        assert_int_equal(n, 1);
        assert_string_equal(devices[0].pod_namespace, "n?");
        assert_string_equal(devices[0].container, "c?[31m");
        assert_int_equal(strlen(devices[0].pod), POD_NAME_MAX - 1);
        free(devices);
        v1__list_pod_resources_response__free_unpacked(msg, NULL);
}

static V1__ListPodResourcesResponse *many(size_t n)
{
        V1__ListPodResourcesResponse *msg = make_list((const struct row[]){ { "n", "p", "c", RESOURCE, { NULL } } }, 1);
        V1__ContainerDevices *devices = msg->pod_resources[0]->containers[0]->devices[0];

        devices->device_ids = xcalloc(n, sizeof(*devices->device_ids));
        for (size_t i = 0; i < n; i++) {
                char *id = xasprintf("%08zu", i);
                devices->device_ids[devices->n_device_ids++] = (ProtobufCBinaryData){ strlen(id), (uint8_t *)id };
        }
        return msg;
}

static void test_more_of_ours_than_there_can_be_is_no_list(void **state)
{
        V1__ListPodResourcesResponse *most = many(PODRESOURCES_DEVICES_MAX), *too_many = many(PODRESOURCES_DEVICES_MAX + 1);
        struct pod_device *devices;
        size_t n;

        (void)state;
        assert_int_equal(podresources_read(most, is_l40s, NULL, &devices, &n), 0);
        assert_int_equal(n, PODRESOURCES_DEVICES_MAX);
        free(devices);
        assert_int_equal(podresources_read(too_many, is_l40s, NULL, &devices, &n), -E2BIG);
        v1__list_pod_resources_response__free_unpacked(most, NULL);
        v1__list_pod_resources_response__free_unpacked(too_many, NULL);
}

/* ---- asking ---- */

struct asking {
        struct stage *stage; /* for its loop and directory */
        struct podresources *podresources;
        bool closed;
        unsigned every, n_chances; /* what every() says, and how often it was asked */

        struct rpc_server *server;
        struct listener *listener;
        bool server_stopped;
        unsigned n_asked;
        bool hold;
        struct rpc_call *held;
        enum rpc_code fail;
        V1__ListPodResourcesResponse *answer;

        unsigned n_lists;
        unsigned kubelet;
        int64_t asked_ms;
        size_t n_devices;
        struct pod_device first;
};
static struct asking *a; /* stage_until's conditions have no other way to it */

static void on_list(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        struct asking *asking = ctx;

        (void)msg;
        asking->n_asked++;
        if (asking->hold && !asking->held)
                asking->held = call;
        else if (asking->hold)
                rpc_fail(call, RPC_UNAVAILABLE, "one is held");
        else if (asking->fail)
                rpc_fail(call, asking->fail, "rejected by rate limit");
        else
                rpc_reply(call, &asking->answer->base);
}

static const struct rpc_method methods[] = {
        { "/v1.PodResourcesLister/List", &v1__list_pod_resources_request__descriptor, on_list, NULL, NULL },
};

static void on_accept(void *ctx, int fd)
{
        rpc_server_adopt(((struct asking *)ctx)->server, fd);
}

static void set_true(void *ctx)
{
        *(bool *)ctx = true;
}

static void serve(void)
{
        struct err err = { 0 };

        (void)unlink(stage_path(a->stage, "pod-resources/kubelet.sock"));
        a->server = rpc_server_new(a->stage->rpc, methods, N_ELEMENTS(methods), a);
        ASSERT_OK(
                listener_open(&a->listener, &a->stage->loop, stage_path(a->stage, "pod-resources/kubelet.sock"), on_accept, NULL, a, &err),
                &err);
}

static bool is_server_stopped(const struct stage *stage)
{
        (void)stage;
        return a->server_stopped;
}

static void unserve(void)
{
        listener_close(TAKE_PTR(a->listener));
        if (a->held)
                rpc_fail(TAKE_PTR(a->held), RPC_UNAVAILABLE, "stopping");
        a->server_stopped = false;
        rpc_server_stop(TAKE_PTR(a->server), 0, set_true, &a->server_stopped);
        assert_true(stage_until(a->stage, is_server_stopped, 5000));
}

static unsigned every(void *ctx)
{
        struct asking *asking = ctx;

        asking->n_chances++;
        return asking->every;
}

static void listed(void *ctx, const struct pod_list *list)
{
        struct asking *asking = ctx;

        asking->n_lists++;
        asking->kubelet = list->kubelet;
        asking->asked_ms = list->asked_ms;
        asking->n_devices = list->n_devices;
        if (list->n_devices > 0)
                asking->first = list->devices[0];
}

static void begin(void)
{
        a = xcalloc(1, sizeof(*a));
        a->every = 1;
        a->stage = stage_new(REGISTER_SOCKET);
        a->answer = make_list((const struct row[]){ { "vms", "vm-a", "compute", RESOURCE, { "0000:18:00.0" } } }, 1);
        assert_int_equal(mkdir(stage_path(a->stage, "pod-resources"), 0755), 0);
        const struct podresources_config config = { .dir = a->stage->dir,
                                                    .poll_ms = POLL_MS,
                                                    .deadline_ms = DEADLINE_MS,
                                                    .every = every,
                                                    .is_ours = is_l40s,
                                                    .listed = listed,
                                                    .ctx = a };
        a->podresources = podresources_start(&a->stage->loop, a->stage->rpc, &config);
}

static bool is_closed(const struct stage *stage)
{
        (void)stage;
        return a->closed;
}

static void end(void)
{
        podresources_stop(a->podresources, set_true, &a->closed);
        assert_true(stage_until(a->stage, is_closed, 5000));
        if (a->server)
                unserve();
        (void)unlink(stage_path(a->stage, "pod-resources/kubelet.sock"));
        assert_int_equal(rmdir(stage_path(a->stage, "pod-resources")), 0);
        stage_free(a->stage);
        v1__list_pod_resources_response__free_unpacked(a->answer, NULL);
        free(a);
}

static bool has_a_list(const struct stage *stage)
{
        (void)stage;
        return a->n_lists > 0;
}

static bool is_asked(const struct stage *stage)
{
        (void)stage;
        return a->n_asked > 0;
}

static void test_kubelet_is_asked_again_and_again(void **state)
{
        int64_t start = clock_ms();

        (void)state;
        begin();
        serve();
        assert_true(stage_until(a->stage, has_a_list, 5000));
        assert_int_equal(a->n_devices, 1);
        assert_string_equal(a->first.id, "0000:18:00.0");
        assert_string_equal(a->first.pod, "vm-a");
        assert_int_equal(a->kubelet, 1);
        assert_in_range(a->asked_ms, start, clock_ms());
        stage_turn(a->stage, 20 * POLL_MS);
        assert_in_range(a->n_lists, 5, 25); /* no faster than the clock says */
        assert_int_equal(a->kubelet, 1);
        end();
}

static void test_a_kubelet_that_is_not_there_is_found_when_it_comes(void **state)
{
        (void)state;
        begin();
        stage_turn(a->stage, 4 * POLL_MS);
        stage_leave_dead_socket(stage_path(a->stage, "pod-resources/kubelet.sock")); /* a killed one */
        stage_turn(a->stage, 4 * POLL_MS);
        assert_int_equal(a->n_lists, 0);
        serve();
        assert_true(stage_until(a->stage, has_a_list, 5000));
        assert_int_equal(a->kubelet, 2); /* whoever made the first socket was another one */
        end();
}

static void test_each_kubelet_has_a_number_of_its_own(void **state)
{
        (void)state;
        begin();
        serve();
        assert_true(stage_until(a->stage, has_a_list, 5000));
        unsigned first = a->kubelet;
        unserve();
        stage_turn(a->stage, 4 * POLL_MS);
        a->n_lists = 0;
        serve();
        assert_true(stage_until(a->stage, has_a_list, 5000));
        assert_int_equal(a->kubelet, first + 1);
        end();
}

static void test_a_list_across_a_restart_of_kubelet_is_none(void **state)
{
        (void)state;
        begin();
        a->hold = true;
        serve();
        assert_true(stage_until(a->stage, is_asked, 5000));
        assert_int_equal(unlink(stage_path(a->stage, "pod-resources/kubelet.sock")), 0);
        stage_leave_dead_socket(stage_path(a->stage, "pod-resources/kubelet.sock"));
        rpc_reply(TAKE_PTR(a->held), &a->answer->base); /* the old one's last word */
        stage_turn(a->stage, 4 * POLL_MS);
        assert_int_equal(a->n_lists, 0);
        end();
}

static void test_a_kubelet_that_does_not_answer_is_asked_again_after_the_deadline(void **state)
{
        (void)state;
        begin();
        a->hold = true;
        serve();
        assert_true(stage_until(a->stage, is_asked, 5000));
        stage_turn(a->stage, DEADLINE_MS / 2);
        assert_int_equal(a->n_asked, 1);
        a->hold = false;
        assert_true(stage_until(a->stage, has_a_list, 5000));
        end();
}

static void test_a_call_in_flight_does_not_hold_up_the_end(void **state)
{
        (void)state;
        begin();
        a->hold = true;
        serve();
        assert_true(stage_until(a->stage, is_asked, 5000));
        int64_t start = clock_ms();
        podresources_stop(a->podresources, set_true, &a->closed);
        assert_true(stage_until(a->stage, is_closed, 5000));
        assert_true(clock_ms() - start < DEADLINE_MS / 2);
        a->podresources = podresources_start(&a->stage->loop, a->stage->rpc,
                                             &(struct podresources_config){ .dir = a->stage->dir, .every = every, .ctx = a });
        a->closed = false;
        end();
}

static void test_a_kubelet_that_is_asked_too_often_is_asked_more_seldom(void **state)
{
        (void)state;
        begin();
        a->fail = RPC_RESOURCE_EXHAUSTED;
        serve();
        stage_turn(a->stage, 30 * POLL_MS);
        /* After 1, 2, 4, 8, 8, ... pauses, each an eighth more or less; 30 when it went on as ever. */
        assert_in_range(a->n_asked, 3, 7);
        assert_int_equal(a->n_lists, 0);
        a->fail = RPC_OK;
        assert_true(stage_until(a->stage, has_a_list, 20 * POLL_MS));
        a->n_lists = 0;
        stage_turn(a->stage, 20 * POLL_MS);
        assert_in_range(a->n_lists, 5, 25); /* and as often as before when it answers again */
        end();
}

static void test_any_other_refusal_is_no_list(void **state)
{
        (void)state;
        begin();
        a->fail = RPC_INTERNAL;
        serve();
        stage_turn(a->stage, 10 * POLL_MS);
        assert_true(a->n_asked > 2);
        a->fail = RPC_OK;
        free(a->answer->pod_resources[0]->name);
        a->answer->pod_resources[0]->name = xstrdup("not \xff text");
        unsigned before = a->n_asked;
        stage_turn(a->stage, 10 * POLL_MS);
        assert_true(a->n_asked > before);
        assert_int_equal(a->n_lists, 0);
        end();
}

static void test_nobody_is_asked_when_there_is_nothing_to_learn(void **state)
{
        (void)state;
        begin();
        a->every = 0;
        serve();
        stage_turn(a->stage, 10 * POLL_MS);
        assert_int_equal(a->n_asked, 0);
        a->every = 1;
        assert_true(stage_until(a->stage, has_a_list, 5000));
        end();
}

static bool is_asked_thrice(const struct stage *stage)
{
        (void)stage;
        return a->n_asked == 3;
}

static void test_what_has_time_is_asked_at_once_and_then_seldom(void **state)
{
        (void)state;
        begin();
        a->every = 4;
        serve();
        assert_true(stage_until(a->stage, is_asked, 5000));
        assert_int_equal(a->n_chances, 1);
        assert_true(stage_until(a->stage, is_asked_thrice, 5000));
        assert_int_equal(a->n_chances, 1 + 2 * 4);
        assert_true(stage_until(a->stage, has_a_list, 5000));
        a->every = 1; /* something is held now */
        unsigned before = a->n_chances, asked = a->n_asked;
        stage_turn(a->stage, 5 * POLL_MS);
        assert_true(a->n_chances > before);
        assert_in_range(a->n_asked - asked, a->n_chances - before - 1, a->n_chances - before); /* one may be on its way */
        end();
}

static void fill(size_t n)
{
        V1__ContainerResources *container = a->answer->pod_resources[0]->containers[0];

        free(container->name);
        container->name = xcalloc(1, n + 1);
        memset(container->name, 'c', n);
}

static void test_a_list_of_sixteen_mebibytes_is_taken_and_no_larger_one(void **state)
{
        (void)state;
        begin();
        fill((16 << 20) - 1024); /* gRPC's own limit would be 4 MiB */
        serve();
        assert_true(stage_until(a->stage, has_a_list, 10000));
        assert_string_equal(a->first.id, "0000:18:00.0");
        assert_int_equal(strlen(a->first.container), CONTAINER_MAX - 1);
        fill((16 << 20) + 1);
        stage_turn(a->stage, 4 * POLL_MS); /* what is on its way */
        a->n_lists = a->n_asked = 0;
        stage_turn(a->stage, 20 * POLL_MS);
        assert_true(a->n_asked > 0);
        assert_int_equal(a->n_lists, 0);
        end();
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_our_devices_come_sorted_and_each_once),
                TEST(test_what_is_not_ours_is_left_out_whatever_it_is),
                TEST(test_an_id_with_a_tail_behind_a_zero_byte_is_not_the_one_without),
                TEST(test_names_are_made_safe_and_cut),
                TEST(test_more_of_ours_than_there_can_be_is_no_list),
                TEST(test_kubelet_is_asked_again_and_again),
                TEST(test_a_kubelet_that_is_not_there_is_found_when_it_comes),
                TEST(test_each_kubelet_has_a_number_of_its_own),
                TEST(test_a_list_across_a_restart_of_kubelet_is_none),
                TEST(test_a_kubelet_that_does_not_answer_is_asked_again_after_the_deadline),
                TEST(test_a_call_in_flight_does_not_hold_up_the_end),
                TEST(test_a_kubelet_that_is_asked_too_often_is_asked_more_seldom),
                TEST(test_any_other_refusal_is_no_list),
                TEST(test_nobody_is_asked_when_there_is_nothing_to_learn),
                TEST(test_what_has_time_is_asked_at_once_and_then_seldom),
                TEST(test_a_list_of_sixteen_mebibytes_is_taken_and_no_larger_one),
        };

        return RUN(tests);
}
