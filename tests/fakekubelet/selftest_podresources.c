/* SPDX-License-Identifier: Apache-2.0 */
/* Row F1: podresources. */
#include "selftest.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "podresources.pb-c.h"

#define LIST "/v1.PodResourcesLister/List"

/* The list as one line of text: "namespace/pod{container=id@node,...}", "!code text" when there is none; caller frees. */
static void add_container(struct strbuf *out, const V1__ContainerResources *c)
{
        strbuf_addf(out, "{%s=", c->name);
        for (size_t i = 0; i < c->n_devices; i++) {
                const V1__ContainerDevices *d = c->devices[i];
                assert_int_equal(d->resource_name.len, strlen(GPU));
                assert_memory_equal(d->resource_name.data, GPU, strlen(GPU));
                assert_int_equal(d->n_device_ids, 1);
                strbuf_addf(out, "%s%.*s", i ? "," : "", (int)d->device_ids[0].len, (const char *)d->device_ids[0].data);
                for (size_t n = 0; d->topology && n < d->topology->n_nodes; n++)
                        strbuf_addf(out, "@%d", (int)d->topology->nodes[n]->id);
        }
        strbuf_add(out, "}");
}

static char *ask_until(struct world *w, int64_t until_ms)
{
        _cleanup_free_ char *path = xasprintf("%s/pod-resources/kubelet.sock", w->dir);
        V1__ListPodResourcesRequest request = V1__LIST_POD_RESOURCES_REQUEST__INIT;
        struct wire_conn *conn = wire_conn_new(path, "localhost");
        struct strbuf out = { 0 };
        struct wire_status status;
        ProtobufCMessage *reply;

        strbuf_add(&out, "");
        if (!wire_call(conn, LIST, &request.base, &v1__list_pod_resources_response__descriptor, until_ms, &reply, NULL, &status)) {
                strbuf_addf(&out, "!%d %s", status.code, status.text);
        } else {
                const V1__ListPodResourcesResponse *m = (const V1__ListPodResourcesResponse *)(const void *)reply;
                for (size_t i = 0; i < m->n_pod_resources; i++) {
                        strbuf_addf(&out, "%s%s/%s", i ? " " : "", m->pod_resources[i]->namespace_, m->pod_resources[i]->name);
                        for (size_t k = 0; k < m->pod_resources[i]->n_containers; k++)
                                add_container(&out, m->pod_resources[i]->containers[k]);
                }
                protobuf_c_message_free_unpacked(reply, NULL);
        }
        wire_conn_close(conn);
        wire_conn_free(conn);
        return strbuf_take(&out);
}

static void assert_list(struct world *w, const char *want)
{
        _cleanup_free_ char *got = ask_until(w, clock_ms() + SOON);

        assert_string_equal(got, want);
}

static void test_podresources_shows_what_was_admitted(void **state)
{
        struct fk_ask ask = { .resource = GPU, .n = 1 };
        struct world w;

        (void)state;
        world_open(&w, "1.34", 4);
        assert_list(&w, "");
        w.p.devices[2].n_nodes = 2; /* on two NUMA nodes: twice */
        w.p.devices[2].nodes[0] = 0;
        w.p.devices[2].nodes[1] = 1;
        w.p.devices[3].n_nodes = 0;
        registered(&w, 4);
        assert_int_equal(fk_admit(w.k, "vms/vm", "init", true, &ask, 1, w.text), 0);
        assert_int_equal(fk_admit(w.k, "vms/vm", "compute", false, &ask, 1, w.text), 0);
        assert_list(&w, "vms/vm{compute=d0@0}"); /* no init container */
        assert_int_equal(fk_admit_one(w.k, "other", GPU, 3, w.text), 0);
        assert_list(&w, "vms/vm{compute=d0@0} default/other{main=d1@1,d2@0,d2@1,d3}");
        /* A kubelet that starts knows it from its checkpoint. */
        assert_true(fk_restart(w.k, 0));
        assert_list(&w, "vms/vm{compute=d0@0} default/other{main=d1@1,d2@0,d2@1,d3}");
        world_close(&w, false);
}

static void test_until_1_33_pods_that_have_ended_are_listed_without_devices(void **state)
{
        static const char *const profiles[] = { "1.26", "1.33", "1.34", "1.37" };

        (void)state;
        for (size_t i = 0; i < 4; i++) {
                struct world w;
                world_open(&w, profiles[i], 2);
                registered(&w, 2);
                assert_int_equal(fk_admit_one(w.k, "a", GPU, 1, w.text), 0);
                assert_int_equal(fk_admit_one(w.k, "b", GPU, 1, w.text), 0);
                fk_pod_end(w.k, "a");
                assert_list(&w, i < 2 ? "default/a{main=} default/b{main=d1@1}" : "default/b{main=d1@1}");
                assert_int_equal(fk_admit_one(w.k, "a", GPU, 1, w.text), 0); /* another pod of that name */
                assert_list(&w, "default/b{main=d1@1} default/a{main=d0@0}");
                world_close(&w, false);
        }
}

static void test_1_30_keeps_the_devices_of_the_last_pod_until_the_next(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.30", 2);
        registered(&w, 2);
        assert_int_equal(fk_admit_one(w.k, "a", GPU, 1, w.text), 0);
        assert_int_equal(fk_admit_one(w.k, "b", GPU, 1, w.text), 0);
        fk_pod_end(w.k, "b");
        assert_list(&w, "default/a{main=d0@0} default/b{main=d1@1}");
        fk_pod_end(w.k, "a");
        assert_list(&w, "default/a{main=} default/b{main=d1@1}");
        assert_int_equal(fk_admit_one(w.k, "c", GPU, 2, w.text), 0); /* both are free all the same */
        assert_list(&w, "default/a{main=} default/b{main=} default/c{main=d0@0,d1@1}");
        world_close(&w, false);
}

static void test_a_pod_that_was_refused_has_nothing(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 1);
        registered(&w, 1);
        w.p.allocate_code = 9;
        assert_int_equal(fk_admit_one(w.k, "a", GPU, 1, w.text), -1);
        assert_list(&w, "");
        world_close(&w, false);
}

/* At once, so that no machine is too slow for it. */
static void *ask_in_a_thread(void *arg)
{
        _cleanup_free_ char *got = ask_until(arg, clock_ms() + SOON);

        return (void *)(uintptr_t)streq(got, "!8 rejected by rate limit");
}

static void test_the_rate_limit_is_one_for_all(void **state)
{
        pthread_t threads[40];
        struct world w;
        size_t refused = 0;

        (void)state;
        world_open(&w, "1.26", 1);
        fk_set_pods_delay_ms(w.k, 20);
        for (size_t i = 0; i < N_ELEMENTS(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, ask_in_a_thread, &w), 0);
        for (size_t i = 0; i < N_ELEMENTS(threads); i++) {
                void *was_refused;
                assert_int_equal(pthread_join(threads[i], &was_refused), 0);
                refused += was_refused != NULL;
        }
        assert_in_range(refused, 1, N_ELEMENTS(threads) - 10);
        (void)usleep(200 * 1000);
        assert_list(&w, "");
        world_close(&w, false);
}

static void test_get_is_served_from_1_34_on(void **state)
{
        static const char *const profiles[] = { "1.33", "1.34" };

        (void)state;
        for (size_t i = 0; i < 2; i++) {
                struct world w;
                world_open(&w, profiles[i], 1);
                registered(&w, 1);
                assert_int_equal(fk_admit_one(w.k, "vms/a", GPU, 1, w.text), 0);
                _cleanup_free_ char *path = xasprintf("%s/pod-resources/kubelet.sock", w.dir);
                static char name[] = "a", namespace[] = "vms", other[] = "default";
                V1__GetPodResourcesRequest request = V1__GET_POD_RESOURCES_REQUEST__INIT;
                struct wire_conn *conn = wire_conn_new(path, "localhost");
                struct wire_status status;
                ProtobufCMessage *reply;
                request.pod_name = name;
                request.pod_namespace = namespace;
                bool ok = wire_call(conn, "/v1.PodResourcesLister/Get", &request.base, &v1__get_pod_resources_response__descriptor,
                                    clock_ms() + SOON, &reply, NULL, &status);
                assert_int_equal(ok, i == 1);
                if (ok) {
                        const V1__GetPodResourcesResponse *m = (const V1__GetPodResourcesResponse *)(const void *)reply;
                        assert_string_equal(m->pod_resources->name, "a");
                        assert_int_equal(m->pod_resources->containers[0]->n_devices, 1);
                        protobuf_c_message_free_unpacked(reply, NULL);
                } else {
                        assert_int_equal(status.code, 2);
                        assert_string_equal(status.text, "PodResources API Get method disabled");
                }
                request.pod_namespace = other;
                assert_false(wire_call(conn, "/v1.PodResourcesLister/Get", &request.base, &v1__get_pod_resources_response__descriptor,
                                       clock_ms() + SOON, &reply, NULL, &status));
                wire_conn_close(conn);
                wire_conn_free(conn);
                world_close(&w, false);
        }
}

static void test_podresources_can_be_slow_hang_fail_and_talk_nonsense(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 1);
        registered(&w, 1);
        assert_int_equal(fk_admit_one(w.k, "a", GPU, 1, w.text), 0);
        fk_pods(w.k, FK_PODS_UNKNOWN);
        assert_list(&w, "");
        fk_pods(w.k, FK_PODS_REFUSED);
        assert_list(&w, "!2 failed to list pods");
        fk_pods(w.k, FK_PODS_GARBAGE);
        _cleanup_free_ char *garbage = ask_until(&w, clock_ms() + SOON);
        assert_int_equal(garbage[0], '!');
        fk_pods(w.k, FK_PODS_HELD);
        int64_t start = clock_ms();
        _cleanup_free_ char *late = ask_until(&w, start + 200);
        assert_true(str_has_prefix(late, "!4 ")); /* its caller's deadline */
        assert_true(clock_ms() - start >= 190);
        assert_true(fk_restart(w.k, 0)); /* the one that is held does not hold it up */
        fk_pods(w.k, FK_PODS_TOLD);
        fk_set_pods_delay_ms(w.k, 100);
        start = clock_ms();
        assert_list(&w, "default/a{main=d0@0}");
        assert_true(clock_ms() - start >= 100);
        assert_int_equal(fk_calls(w.k).list, 5);
        world_close(&w, false);
}

static void test_a_list_may_be_larger_than_4_mib(void **state)
{
        struct world w;

        (void)state;
        world_open(&w, "1.34", 1);
        fk_set_pods_pad(w.k, 4 << 20);
        _cleanup_free_ char *got = ask_until(&w, clock_ms() + SOON);
        assert_true(str_has_prefix(got, "!8 ")); /* what a client accepts unless it says otherwise */
        fk_set_pods_pad(w.k, 3 << 20);
        _cleanup_free_ char *small = ask_until(&w, clock_ms() + SOON);
        assert_true(str_has_prefix(small, "default/xxx"));
        world_close(&w, false);
}

int selftest_podresources(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_podresources_shows_what_was_admitted),
                TEST(test_until_1_33_pods_that_have_ended_are_listed_without_devices),
                TEST(test_1_30_keeps_the_devices_of_the_last_pod_until_the_next),
                TEST(test_a_pod_that_was_refused_has_nothing),
                TEST(test_the_rate_limit_is_one_for_all),
                TEST(test_get_is_served_from_1_34_on),
                TEST(test_podresources_can_be_slow_hang_fail_and_talk_nonsense),
                TEST(test_a_list_may_be_larger_than_4_mib),
        };

        return RUN(tests);
}
