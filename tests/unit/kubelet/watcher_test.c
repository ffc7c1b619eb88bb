/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "kubelet/kubelet_priv.h"

/* Path of the one registration socket; static. */
static char *registration_path(const struct stage *stage)
{
        static char path[256];

        str_format(path, sizeof(path), "%s/plugins_registry/sluice-%08x-reg.sock", stage->dir, kubelet_hash(RESOURCE));
        return path;
}

static const Pluginregistration__PluginInfo *get_info(struct stage *stage)
{
        Pluginregistration__InfoRequest request = PLUGINREGISTRATION__INFO_REQUEST__INIT;

        stage_call(stage, registration_path(stage), "/pluginregistration.Registration/GetInfo", &request.base,
                   &pluginregistration__plugin_info__descriptor);
        assert_int_equal(stage->code, RPC_OK);
        return (const Pluginregistration__PluginInfo *)(const void *)stage->reply;
}

static void notify(struct stage *stage, bool registered, char *error)
{
        Pluginregistration__RegistrationStatus status = PLUGINREGISTRATION__REGISTRATION_STATUS__INIT;

        status.plugin_registered = registered;
        status.error = error;
        stage_call(stage, registration_path(stage), "/pluginregistration.Registration/NotifyRegistrationStatus", &status.base,
                   &pluginregistration__registration_status_response__descriptor);
        assert_int_equal(stage->code, RPC_OK);
}

static void test_get_info_names_a_service_that_answers(void **state)
{
        struct stage *stage = stage_new(REGISTER_WATCHER);
        struct stat st;
        char endpoint[256], none[] = "";

        (void)state;
        stage_offer(stage, 8, 8);
        assert_string_equal(stage_status(stage).state, "listening");
        const Pluginregistration__PluginInfo *info = get_info(stage);
        assert_string_equal(info->type, "DevicePlugin");
        assert_string_equal(info->name, RESOURCE);
        assert_int_equal(info->n_supported_versions, 1);
        assert_string_equal(info->supported_versions[0], "v1beta1");
        assert_int_equal(info->endpoint[0], '/');
        str_format(endpoint, sizeof(endpoint), "%s", info->endpoint);
        assert_false(str_has_prefix(endpoint, stage_path(stage, "plugins_registry"))); /* there it would be taken for another plugin */
        assert_int_equal(stat(endpoint, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_string_equal(stage_status(stage).state, "waiting");

        struct raw *raw = raw_open_as_kubelet(endpoint, LIST);
        assert_true(stage_sees(stage, raw, 8, "Healthy", 3000));
        notify(stage, true, none);
        assert_int_equal(stage_status(stage).registrations, 1);
        assert_string_equal(stage_status(stage).state, "serving");
        raw_close(raw);
        stage_free(stage);
}

static void test_a_failed_registration_is_shown(void **state)
{
        struct stage *stage = stage_new(REGISTER_WATCHER);
        char why[] = "plugin registration failed\nwith no version";

        (void)state;
        stage_offer(stage, 8, 8);
        notify(stage, false, why);
        assert_string_equal(stage_status(stage).problem, "plugin registration failed?with no version");
        assert_int_equal(stage_status(stage).registrations, 0);
        stage_free(stage);
}

static void test_a_stale_socket_is_replaced_by_a_new_inode(void **state)
{
        struct stage *stage = stage_new(REGISTER_WATCHER);
        struct stat before, after;
        struct err err = { 0 };

        (void)state;
        stage_leave_dead_socket(registration_path(stage));
        assert_int_equal(stat(registration_path(stage), &before), 0);
        stage_stop(stage);
        stage->kubelet_closed = false;
        const struct kubelet_config config = { .dir = stage->dir, .registration = REGISTER_WATCHER };
        ASSERT_OK(kubelet_start(&stage->kubelet, &stage->loop, stage->rpc, NULL, &config, &err), &err);
        stage_offer(stage, 8, 8);
        assert_int_equal(stat(registration_path(stage), &after), 0);
        assert_true(after.st_ino != before.st_ino || after.st_ctim.tv_nsec != before.st_ctim.tv_nsec);
        (void)get_info(stage);
        stage_free(stage);
}

/* The look that comes every LOOK_MS, now. */
static void look_now(struct stage *stage)
{
        assert_in_range(uv_timer_get_due_in(&stage->kubelet->timer), 2000,
                        LOOK_MS + CLOCK_BEAT_MS / 2); /* it is what is waited for: no earlier retry */
        stage->kubelet->look_due_ms = clock_ms();
        kubelet_arm(stage->kubelet);
        stage_turn(stage, 50);
}

/* Kubelet's directory may be mounted later than Sluice starts, and hold what a killed daemon left. */
static void test_a_registry_that_comes_late_with_a_dead_socket_in_it_is_used(void **state)
{
        struct stage *stage = stage_new(REGISTER_WATCHER);

        (void)state;
        assert_int_equal(rmdir(stage_path(stage, "plugins_registry")), 0);
        stage_offer(stage, 8, 8);
        assert_int_equal(mkdir(stage_path(stage, "plugins_registry"), 0750), 0);
        stage_leave_dead_socket(registration_path(stage));
        look_now(stage);
        assert_string_equal(stage_status(stage).state, "listening");
        (void)get_info(stage);
        stage_free(stage);
}

static void test_a_registry_that_comes_late_is_found(void **state)
{
        struct stage *stage = stage_new(REGISTER_WATCHER);

        (void)state;
        assert_int_equal(rmdir(stage_path(stage, "plugins_registry")), 0);
        stage_offer(stage, 8, 8);
        assert_string_equal(stage_status(stage).state, "backoff");
        assert_non_null(strstr(stage_status(stage).problem, "plugins_registry"));
        assert_int_equal(mkdir(stage_path(stage, "plugins_registry"), 0750), 0);
        look_now(stage);
        (void)get_info(stage);
        stage_free(stage);
}

static struct stat registration_file(const struct stage *stage)
{
        struct stat st;

        assert_int_equal(stat(registration_path(stage), &st), 0);
        return st;
}

static bool is_same_file(struct stat a, struct stat b)
{
        return a.st_ino == b.st_ino && a.st_ctim.tv_sec == b.st_ctim.tv_sec && a.st_ctim.tv_nsec == b.st_ctim.tv_nsec;
}

static bool is_made_anew(struct stage *stage, struct stat than, unsigned within_ms)
{
        for (int64_t end = clock_ms() + within_ms; clock_ms() < end; stage_turn(stage, 2)) {
                struct stat now;
                if (stat(registration_path(stage), &now) == 0 && !is_same_file(now, than))
                        return true;
        }
        return false;
}

/* Kubelet asks a socket file once: after the end of a stream only a new file makes it ask again. */
static void test_a_stream_that_ended_for_good_makes_the_registration_socket_anew(void **state)
{
        struct stage *stage = stage_new(REGISTER_WATCHER);
        char endpoint[256];

        (void)state;
        stage->kubelet->ask_again_ms = 150;
        stage_offer(stage, 8, 8);
        str_format(endpoint, sizeof(endpoint), "%s", get_info(stage)->endpoint);
        struct raw *raw = raw_open(endpoint, LIST);
        assert_true(stage_sees(stage, raw, 8, "Healthy", 3000));
        struct stat first = registration_file(stage);
        assert_false(is_made_anew(stage, first, 400)); /* not while a stream is open */
        raw_close(raw);
        assert_true(is_made_anew(stage, first, 3000));
        struct stat second = registration_file(stage);
        int64_t start = clock_ms();
        assert_true(is_made_anew(stage, second, 3000)); /* and again, later each time */
        assert_in_range(clock_ms() - start, 2 * 150 - 50, 3000);

        str_format(endpoint, sizeof(endpoint), "%s", get_info(stage)->endpoint);
        raw = raw_open(endpoint, LIST);
        assert_true(stage_sees(stage, raw, 8, "Healthy", 3000));
        assert_false(is_made_anew(stage, registration_file(stage), 800)); /* kubelet is back */
        raw_close(raw);
        stage_free(stage);
}

/* A restarted kubelet asks by itself, and is not disturbed at it. */
static void test_a_kubelet_that_comes_back_by_itself_finds_the_same_socket(void **state)
{
        struct stage *stage = stage_new(REGISTER_WATCHER);
        char endpoint[256];

        (void)state;
        stage->kubelet->ask_again_ms = 400;
        stage_offer(stage, 8, 8);
        str_format(endpoint, sizeof(endpoint), "%s", get_info(stage)->endpoint);
        struct raw *raw = raw_open(endpoint, LIST);
        assert_true(stage_sees(stage, raw, 8, "Healthy", 3000));
        struct stat first = registration_file(stage);
        raw_close(raw);
        stage_turn(stage, 50);
        str_format(endpoint, sizeof(endpoint), "%s", get_info(stage)->endpoint);
        raw = raw_open_as_kubelet(endpoint, LIST);
        assert_true(stage_sees(stage, raw, 8, "Healthy", 3000));
        assert_false(is_made_anew(stage, first, 800));
        raw_close(raw);
        stage_free(stage);
}

/* Up to 1.34 kubelet does not try again when it could not connect to the service: it says so, and never comes back. */
static void test_a_question_that_no_stream_follows_makes_the_registration_socket_anew(void **state)
{
        struct stage *stage = stage_new(REGISTER_WATCHER);
        char why[] = "RegisterPlugin error -- plugin registration failed with err: failed to dial device plugin";

        (void)state;
        stage->kubelet->ask_again_ms = 150;
        stage_offer(stage, 8, 8);
        struct stat first = registration_file(stage);
        assert_false(is_made_anew(stage, first, 400)); /* nobody has asked: kubelet is not there */
        (void)get_info(stage);
        notify(stage, false, why);
        assert_true(is_made_anew(stage, first, 3000));
        struct stat second = registration_file(stage);
        assert_true(is_made_anew(stage, second, 3000)); /* and again, until kubelet is there */
        struct raw *raw = raw_open_as_kubelet(get_info(stage)->endpoint, LIST);
        assert_true(stage_sees(stage, raw, 8, "Healthy", 3000));
        assert_false(is_made_anew(stage, registration_file(stage), 800));
        raw_close(raw);
        stage_free(stage);
}

/* A look at the list with a tool, while kubelet is served: neither its end nor its staying hides what kubelet does. */
static void test_only_the_end_of_kubelets_stream_counts(void **state)
{
        struct stage *stage = stage_new(REGISTER_WATCHER);
        char endpoint[256];

        (void)state;
        stage->kubelet->ask_again_ms = 150;
        stage_offer(stage, 8, 8);
        str_format(endpoint, sizeof(endpoint), "%s", get_info(stage)->endpoint);
        struct raw *kubelet = raw_open_as_kubelet(endpoint, LIST);
        assert_true(stage_sees(stage, kubelet, 8, "Healthy", 3000));
        struct raw *tool = raw_open(endpoint, LIST);
        assert_true(stage_sees(stage, tool, 8, "Healthy", 3000));
        struct stat first = registration_file(stage);
        raw_close(tool);
        assert_false(is_made_anew(stage, first, 400));
        tool = raw_open(endpoint, LIST);
        assert_true(stage_sees(stage, tool, 8, "Healthy", 3000));
        raw_close(kubelet);
        assert_true(is_made_anew(stage, first, 3000));
        raw_close(tool);
        stage_free(stage);
}

static void test_stopping_removes_both_sockets(void **state)
{
        struct stage *stage = stage_new(REGISTER_WATCHER);
        char endpoint[256];

        (void)state;
        stage_offer(stage, 8, 8);
        str_format(endpoint, sizeof(endpoint), "%s", get_info(stage)->endpoint);
        stage_stop(stage);
        assert_int_equal(access(endpoint, F_OK), -1);
        assert_int_equal(access(registration_path(stage), F_OK), -1);
        stage_free(stage);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_get_info_names_a_service_that_answers),
                TEST(test_a_failed_registration_is_shown),
                TEST(test_a_stale_socket_is_replaced_by_a_new_inode),
                TEST(test_a_registry_that_comes_late_is_found),
                TEST(test_a_registry_that_comes_late_with_a_dead_socket_in_it_is_used),
                TEST(test_a_stream_that_ended_for_good_makes_the_registration_socket_anew),
                TEST(test_a_kubelet_that_comes_back_by_itself_finds_the_same_socket),
                TEST(test_a_question_that_no_stream_follows_makes_the_registration_socket_anew),
                TEST(test_only_the_end_of_kubelets_stream_counts),
                TEST(test_stopping_removes_both_sockets),
        };

        return RUN(tests);
}
