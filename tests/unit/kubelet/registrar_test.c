/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "stage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"

static unsigned wanted; /* of is_at */
static bool is_at(const struct stage *stage)
{
        return stage->n_registers >= wanted;
}

static bool registers(struct stage *stage, unsigned n, unsigned ms)
{
        wanted = n;
        return stage_until(stage, is_at, ms);
}

static const char *state_name; /* of has_state */
static bool has_state(const struct stage *stage)
{
        return streq(stage_status(stage).state, state_name);
}

static bool reaches(struct stage *stage, const char *name, unsigned ms)
{
        state_name = name;
        return stage_until(stage, has_state, ms);
}

static void set_flag(void *ctx)
{
        *(bool *)ctx = true;
}

/* To "serving", with a stream that stands for kubelet's. */
static struct raw *serve(struct stage *stage)
{
        assert_true(stage_until(stage, stage_registered, 3000));
        struct raw *raw = raw_open(stage_endpoint(stage), LIST);
        assert_true(stage_sees(stage, raw, 8, "Healthy", 3000));
        assert_true(reaches(stage, "serving", 1000));
        return raw;
}

static void test_registration_says_what_kubelet_needs(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);
        struct stat st;

        (void)state;
        stage_kubelet_up(stage);
        stage_offer(stage, 8, 8);
        struct raw *raw = serve(stage);
        assert_string_equal(stage->version, "v1beta1");
        assert_string_equal(stage->resource, RESOURCE);
        assert_null(strchr(stage->endpoint, '/'));
        assert_true(str_has_prefix(stage->endpoint, "sluice-") && str_has_suffix(stage->endpoint, ".sock"));
        assert_int_equal(stat(stage_endpoint(stage), &st), 0);
        assert_true(S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == 0600);
        assert_int_equal(stage_status(stage).registrations, 1);
        assert_string_equal(stage_status(stage).problem, "");
        stage_turn(stage, 100);
        assert_int_equal(stage->n_registers, 1); /* and once is enough */
        raw_close(raw);
        stage_free(stage);
}

static void test_a_kubelet_that_comes_late_is_noticed_at_once(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        stage_offer(stage, 8, 8);
        stage_turn(stage, 300);
        assert_string_equal(stage_status(stage).state, "no-kubelet");
        int64_t start = clock_ms();
        stage_kubelet_up(stage);
        assert_true(registers(stage, 1, 3000));
        assert_true(clock_ms() - start < 250);
        stage_free(stage);
}

static void test_a_directory_that_comes_late_is_noticed_at_once(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        assert_int_equal(rmdir(stage_path(stage, "device-plugins")), 0);
        stage_offer(stage, 8, 8);
        stage_turn(stage, 50);
        assert_int_equal(mkdir(stage_path(stage, "device-plugins"), 0750), 0);
        stage_turn(stage, 50);
        int64_t start = clock_ms();
        stage_kubelet_up(stage);
        assert_true(registers(stage, 1, 3000));
        assert_true(clock_ms() - start < 250);
        stage_free(stage);
}

static void test_options_are_answered_while_register_is_pending(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);
        V1beta1__Empty empty = V1BETA1__EMPTY__INIT;

        (void)state;
        stage->hold = true;
        stage_kubelet_up(stage);
        stage_offer(stage, 8, 8);
        assert_true(registers(stage, 1, 3000));
        assert_true(reaches(stage, "registering", 100));
        stage_call(stage, stage_endpoint(stage), "/v1beta1.DevicePlugin/GetDevicePluginOptions", &empty.base,
                   &v1beta1__device_plugin_options__descriptor);
        assert_int_equal(stage->code, RPC_OK);
        const V1beta1__DevicePluginOptions *options = (const V1beta1__DevicePluginOptions *)(const void *)stage->reply;
        assert_true(options->pre_start_required);
        assert_true(options->get_preferred_allocation_available);
        rpc_reply(stage->held, &empty.base);
        stage->held = NULL;
        assert_true(reaches(stage, "waiting", 1000));
        stage_free(stage);
}

static void test_a_kubelet_that_restarts_gets_a_fresh_socket_at_once(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);
        char former[160];

        (void)state;
        stage_kubelet_up(stage);
        stage_offer(stage, 8, 8);
        struct raw *raw = serve(stage);
        for (unsigned i = 2; i < 7; i++) {
                str_format(former, sizeof(former), "%s", stage_endpoint(stage));
                stage_kubelet_down(stage);
                raw_close(raw);
                stage_turn(stage, 30);
                stage_wipe(stage);
                int64_t start = clock_ms();
                unsigned before = stage->n_registers;
                stage_kubelet_up(stage);
                assert_true(registers(stage, before + 1, 3000));
                assert_true(clock_ms() - start < 250);
                raw = raw_open(stage_endpoint(stage), LIST);
                assert_true(stage_sees(stage, raw, 8, "Healthy", 3000));
                assert_string_not_equal(stage_endpoint(stage), former);
                assert_int_equal(access(former, F_OK), -1);
        }
        raw_close(raw);
        stage_free(stage);
}

static void test_the_old_stream_has_ended_before_the_next_register(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        stage_kubelet_up(stage);
        stage_offer(stage, 8, 8);
        struct raw *raw = serve(stage);
        unsigned before = stage->n_registers;
        /* The directory is wiped under a kubelet whose stream stays open. */
        assert_int_equal(unlink(stage_endpoint(stage)), 0);
        assert_true(registers(stage, before + 1, 3000));
        const struct raw_seen *seen = raw_turn(raw, true);
        for (int i = 0; i < 100 && !seen->status_known; i++)
                seen = raw_turn(raw, true); /* no turn of our loop in between: it had been sent before */
        assert_true(seen->status_known);
        assert_int_equal(seen->status, RPC_UNAVAILABLE);
        raw_close(raw);
        stage_free(stage);
}

/* Who looks at the list with a tool: its coming and going means nothing, kubelet's going means everything. */
static void test_only_the_end_of_kubelets_stream_means_registering_again(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        stage_kubelet_up(stage);
        stage_offer(stage, 8, 8);
        for (unsigned round = 1; round <= 3; round++) {
                assert_true(registers(stage, round, 3000));
                assert_true(reaches(stage, "waiting", 1000));
                struct raw *kubelet = raw_open_as_kubelet(stage_endpoint(stage), LIST);
                assert_true(stage_sees(stage, kubelet, 8, "Healthy", 3000));
                struct raw *tool = raw_open(stage_endpoint(stage), LIST);
                assert_true(stage_sees(stage, tool, 8, "Healthy", 3000));
                raw_close(tool);
                stage_turn(stage, 200);
                assert_int_equal(stage->n_registers, round);
                assert_string_equal(stage_status(stage).state, "serving");

                tool = raw_open(stage_endpoint(stage), LIST);
                assert_true(stage_sees(stage, tool, 8, "Healthy", 3000));
                raw_close(kubelet); /* while the tool stays */
                assert_true(registers(stage, round + 1, 3000));
                raw_close(tool);
        }
        stage_free(stage);
}

/* Nor does it stand for kubelet when that has not come yet: after 15 s without kubelet's own stream, Register again. */
static void test_a_tool_is_not_taken_for_kubelet(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);
        V1beta1__Empty empty = V1BETA1__EMPTY__INIT;

        (void)state;
        stage_kubelet_up(stage);
        stage_offer(stage, 8, 8);
        assert_true(registers(stage, 1, 3000));
        assert_true(reaches(stage, "waiting", 1000));
        stage_call(stage, stage_endpoint(stage), "/v1beta1.DevicePlugin/GetDevicePluginOptions", &empty.base,
                   &v1beta1__device_plugin_options__descriptor);
        struct raw *tool = raw_open(stage_endpoint(stage), LIST);
        assert_true(stage_sees(stage, tool, 8, "Healthy", 3000));
        assert_string_equal(stage_status(stage).state, "waiting");
        raw_close(tool);
        stage_turn(stage, 50);
        assert_int_equal(stage->n_registers, 1);
        stage_free(stage);
}

static void test_a_held_answer_of_the_old_kubelet_does_not_lose_the_registration(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);
        V1beta1__Empty empty = V1BETA1__EMPTY__INIT;

        (void)state;
        stage->hold = true;
        stage_kubelet_up(stage);
        stage_offer(stage, 8, 8);
        assert_true(registers(stage, 1, 3000));
        struct rpc_call *old = stage->held;
        struct rpc_server *old_server = stage->server;
        struct listener *old_listener = stage->listener;

        /* The new kubelet.sock appears; the old kubelet, still alive, answers only now. */
        stage->held = NULL;
        stage->hold = false;
        stage_kubelet_up(stage);
        rpc_reply(old, &empty.base);
        assert_true(registers(stage, 2, 3000));
        struct raw *raw = raw_open(stage_endpoint(stage), LIST);
        assert_true(stage_sees(stage, raw, 8, "Healthy", 3000));
        assert_true(reaches(stage, "serving", 1000));
        raw_close(raw);

        bool old_stopped = false;
        listener_close(old_listener);
        rpc_server_stop(old_server, 0, set_flag, &old_stopped);
        while (!old_stopped)
                stage_turn(stage, 2);
        stage_free(stage);
}

static void test_a_refusal_is_shown_and_tried_again(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        stage->fail = RPC_UNKNOWN;
        stage->fail_text = "failed to dial device plugin: context deadline exceeded";
        stage_kubelet_up(stage);
        stage_offer(stage, 8, 8);
        assert_true(registers(stage, 4, 3000));
        assert_string_equal(stage_status(stage).problem, stage->fail_text);
        stage->fail = RPC_OK;
        unsigned before = stage->n_registers;
        assert_true(registers(stage, before + 1, 3000));
        assert_true(reaches(stage, "waiting", 1000));
        assert_string_equal(stage_status(stage).problem, "");
        stage_free(stage);
}

static void test_a_final_refusal_ends_it_until_kubelet_restarts(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        stage->fail = RPC_UNKNOWN;
        stage->fail_text = "the ResourceName \"nvidia.com/AD102GL_L40S\" is invalid";
        stage_kubelet_up(stage);
        stage_offer(stage, 8, 8);
        assert_true(reaches(stage, "refused", 3000));
        stage_turn(stage, 100);
        assert_int_equal(stage->n_registers, 1);
        stage->fail = RPC_OK;
        stage_kubelet_down(stage);
        stage_kubelet_up(stage);
        assert_true(registers(stage, 2, 3000));
        stage_free(stage);
}

static void test_what_a_killed_daemon_left_is_swept_whichever_way_it_was_registered(void **state)
{
        static const enum registration ways[] = { REGISTER_SOCKET, REGISTER_WATCHER };
        static const char *const files[] = { "device-plugins/sluice-00000000-1-1.sock", "plugins_registry/sluice-00000000-reg.sock",
                                             "plugins/sluice/sluice-00000000-1-2.sock" };

        (void)state;
        for (size_t way = 0; way < N_ELEMENTS(ways); way++) {
                struct stage *stage = stage_new(ways[way]);
                const struct kubelet_config config = { .dir = stage->dir, .registration = ways[way] };
                struct err err = { 0 };
                assert_int_equal(mkdir(stage_path(stage, "plugins"), 0750), 0);
                assert_int_equal(mkdir(stage_path(stage, "plugins/sluice"), 0750), 0);
                for (size_t i = 0; i < N_ELEMENTS(files); i++) {
                        _cleanup_free_ char *path = xstrdup(stage_path(stage, files[i]));
                        stage_leave_dead_socket(path);
                }
                /* Not ours, dead or not. */
                _cleanup_free_ char *other = xstrdup(stage_path(stage, "device-plugins/other.sock"));
                stage_leave_dead_socket(other);
                stage_stop(stage);
                stage->kubelet_closed = false;
                ASSERT_OK(kubelet_start(&stage->kubelet, &stage->loop, stage->rpc, NULL, &config, &err), &err);
                for (size_t i = 0; i < N_ELEMENTS(files); i++)
                        if (access(stage_path(stage, files[i]), F_OK) == 0)
                                fail_msg("%s is left", files[i]);
                assert_int_equal(unlink(other), 0);
                stage_free(stage);
        }
}

static void test_stopping_ends_streams_and_removes_sockets(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        stage_kubelet_up(stage);
        stage_offer(stage, 8, 8);
        struct raw *raw = serve(stage);
        int64_t start = clock_ms();
        stage_stop(stage);
        assert_true(clock_ms() - start < 1000);
        assert_int_equal(access(stage_endpoint(stage), F_OK), -1);
        const struct raw_seen *seen = raw_turn(raw, true);
        for (int i = 0; i < 100 && !seen->status_known; i++)
                seen = raw_turn(raw, true);
        assert_true(seen->status_known);
        assert_int_equal(seen->status, RPC_UNAVAILABLE);
        raw_close(raw);
        stage_free(stage);
}

static void test_stopping_in_the_middle_of_register_is_clean(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);

        (void)state;
        stage->hold = true;
        stage_kubelet_up(stage);
        stage_offer(stage, 8, 8);
        assert_true(registers(stage, 1, 3000));
        stage_stop(stage);
        stage_free(stage);
}

/* Whatever it waits for: nothing is called, sent or left behind after the end (the sanitizer watches). */
static void test_stopping_is_clean_in_every_state(void **state)
{
        static const struct {
                const char *name, *fail_text;
                enum rpc_code fail;
                bool kubelet, stream;
        } rows[] = {
                { "no-kubelet", NULL, RPC_OK, false, false },
                { "backoff", "not now", RPC_UNAVAILABLE, true, false },
                { "refused", "the ResourceName \"x\" is invalid", RPC_UNKNOWN, true, false },
                { "waiting", NULL, RPC_OK, true, false },
                { "listening", NULL, RPC_OK, true, true }, /* held up by a stream that nobody reads */
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct stage *stage = stage_new(REGISTER_SOCKET);
                struct raw *raw = NULL;
                stage->fail = rows[i].fail;
                stage->fail_text = rows[i].fail_text;
                if (rows[i].kubelet)
                        stage_kubelet_up(stage);
                stage_offer(stage, rows[i].stream ? 60000 : 8, 8);
                if (rows[i].stream) {
                        assert_true(stage_until(stage, stage_registered, 3000));
                        raw = raw_open(stage_endpoint(stage), LIST);
                        assert_true(reaches(stage, "serving", 3000));
                        assert_int_equal(unlink(stage_endpoint(stage)), 0);
                }
                bool there = false;
                for (unsigned n = 0; n < 20 && !there; n++) /* the first backoffs last a few milliseconds only */
                        there = reaches(stage, rows[i].name, 1000);
                if (!there)
                        fail_msg("%s, not %s", stage_status(stage).state, rows[i].name);
                stage_stop(stage);
                stage_turn(stage, 50);
                if (raw)
                        raw_close(raw);
                stage_free(stage);
        }
}

static void test_a_directory_too_long_for_a_socket_is_said_at_start(void **state)
{
        struct stage *stage = stage_new(REGISTER_SOCKET);
        struct kubelet *kubelet = NULL;
        struct err err = { 0 };
        char dir[128];

        (void)state;
        str_format(dir, sizeof(dir), "/%0*d", 70, 0);
        const struct kubelet_config config = { .dir = dir, .registration = REGISTER_SOCKET };
        assert_int_equal(kubelet_start(&kubelet, &stage->loop, stage->rpc, NULL, &config, &err), -ENAMETOOLONG);
        assert_non_null(strstr(err.msg, "too long"));
        assert_null(kubelet);
        stage_free(stage);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_registration_says_what_kubelet_needs),
                TEST(test_a_kubelet_that_comes_late_is_noticed_at_once),
                TEST(test_a_directory_that_comes_late_is_noticed_at_once),
                TEST(test_options_are_answered_while_register_is_pending),
                TEST(test_a_kubelet_that_restarts_gets_a_fresh_socket_at_once),
                TEST(test_the_old_stream_has_ended_before_the_next_register),
                TEST(test_only_the_end_of_kubelets_stream_means_registering_again),
                TEST(test_a_tool_is_not_taken_for_kubelet),
                TEST(test_a_held_answer_of_the_old_kubelet_does_not_lose_the_registration),
                TEST(test_a_refusal_is_shown_and_tried_again),
                TEST(test_a_final_refusal_ends_it_until_kubelet_restarts),
                TEST(test_what_a_killed_daemon_left_is_swept_whichever_way_it_was_registered),
                TEST(test_stopping_ends_streams_and_removes_sockets),
                TEST(test_stopping_in_the_middle_of_register_is_clean),
                TEST(test_stopping_is_clean_in_every_state),
                TEST(test_a_directory_too_long_for_a_socket_is_said_at_start),
        };

        return RUN(tests);
}
