/* SPDX-License-Identifier: Apache-2.0 */
/* The node API of the real daemon: what it tells, whom it turns away, what it bears; asked by an HTTP/2 client of its own and
 * by sluicectl. */
#include "rig.h"

#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "node.pb-c.h"
#include "wire.h"

enum { OK = 0, INVALID_ARGUMENT = 3, NOT_FOUND = 5, RESOURCE_EXHAUSTED = 8, FAILED_PRECONDITION = 9, UNIMPLEMENTED = 12 };
static const char GPU0[] = "0000:18:00.0";

/* ---- sluicectl ---- */

enum { SAID_MAX = 1 << 17 };

/* `sluicectl VERB --run-dir ... REST`, which succeeds. Caller frees. */
static char *said(struct rig *rig, const char *verb, const char *rest)
{
        _cleanup_free_ char *arguments = xasprintf("%s --run-dir %s %s", verb, rig->run_dir, rest);
        char *text = xcalloc(SAID_MAX, 1);
        int status = rig_ctl(rig, arguments, text, SAID_MAX);

        if (status != 0)
                fail_msg("sluicectl %s: status %d: %s", arguments, status, text);
        return text;
}

static void assert_tells(const char *text, const char *part)
{
        if (!strstr(text, part))
                fail_msg("\"%s\" is not in\n%s", part, text);
}

/* ---- calls ---- */

/* -1: nobody listens there. */
static int dial(struct rig *rig)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        str_format(address.sun_path, sizeof(address.sun_path), "%s/node.sock", rig->run_dir);
        assert_true(fd >= 0);
        if (connect(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)) == 0)
                return fd;
        (void)close(fd);
        return -1;
}

static void wait_for_node(struct rig *rig)
{
        int64_t until = clock_ms() + RIG_SOON_MS;
        int fd;

        while ((fd = dial(rig)) < 0 && clock_ms() < until)
                (void)usleep(5000);
        assert_true(fd >= 0);
        (void)close(fd);
}

static struct wire_conn *connect_to_node(struct rig *rig)
{
        _cleanup_free_ char *path = xasprintf("%s/node.sock", rig->run_dir);

        wait_for_node(rig);
        return wire_conn_new(path, "localhost");
}

static void hang_up(struct wire_conn *conn)
{
        wire_conn_close(conn);
        wire_conn_free(conn);
}

/* The code; on OK the reply, which the caller frees. */
static int call(struct rig *rig, struct wire_conn *conn, const char *method, const ProtobufCMessage *request,
                const ProtobufCMessageDescriptor *reply, ProtobufCMessage **ret)
{
        _cleanup_free_ char *path = xasprintf("/sluice.node.v1.%s", method);
        struct wire_status status = { .code = -1 };

        *ret = NULL;
        (void)wire_call(conn, path, request, reply, clock_ms() + RIG_SOON_MS, ret, NULL, &status);
        str_format(rig->text, sizeof(rig->text), "%s", status.text);
        return status.code;
}

static Sluice__Node__V1__ProbeResponse *probe(struct rig *rig, struct wire_conn *conn)
{
        Sluice__Node__V1__ProbeRequest request = SLUICE__NODE__V1__PROBE_REQUEST__INIT;
        ProtobufCMessage *reply;

        int code = call(rig, conn, "Identity/Probe", &request.base, &sluice__node__v1__probe_response__descriptor, &reply);
        if (code != OK)
                fail_msg("Probe: code %d, \"%s\"", code, rig->text);
        return (Sluice__Node__V1__ProbeResponse *)(void *)reply;
}

static Sluice__Node__V1__NodeListDevicesResponse *list_from(struct rig *rig, struct wire_conn *conn, uint32_t size, const char *token)
{
        Sluice__Node__V1__NodeListDevicesRequest request = SLUICE__NODE__V1__NODE_LIST_DEVICES_REQUEST__INIT;
        ProtobufCMessage *reply;

        request.page_size = size;
        request.page_token = (char *)(uintptr_t)token;
        int code =
                call(rig, conn, "Node/NodeListDevices", &request.base, &sluice__node__v1__node_list_devices_response__descriptor, &reply);
        if (code != OK)
                fail_msg("NodeListDevices: code %d, \"%s\"", code, rig->text);
        return (Sluice__Node__V1__NodeListDevicesResponse *)(void *)reply;
}

/* ---- what it tells ---- */

static void test_the_live_inventory_is_that_of_the_host(void **state)
{
        static const char *const formats[] = { "table", "wide", "json", "yaml" };
        struct rig *rig = *state;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        for (size_t i = 0; i < N_ELEMENTS(formats); i++) {
                _cleanup_free_ char *options = xasprintf("-o %s", formats[i]);
                _cleanup_free_ char *offline = xasprintf("inventory --sim-dir %s --config %s -o %s", rig->sim_dir, rig->config, formats[i]);
                _cleanup_free_ char *live = said(rig, "inventory", options), *look = xcalloc(SAID_MAX, 1);
                assert_int_equal(rig_ctl(rig, offline, look, SAID_MAX), 0);
                assert_string_equal(live, look);
                assert_tells(live, GPU0);
        }
        rig_stop(rig);
}

static void test_explain_tells_the_plan_that_allocate_then_runs(void **state)
{
        struct rig *rig = *state;
        char driver[64];

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *before = rig_tree(rig);
        _cleanup_free_ char *text = said(rig, "explain", GPU0);
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after); /* nothing was touched by asking */
        static const char *const parts[] = { "0000:18:00.0  AD102GL [L40S], healthy",
                                             "8 devices, 8 healthy; KubeVirt looks in " L40S_ENV,
                                             "may be handed out, 1 to be bound first",
                                             "Rule: number 1, in line 4: bind on-allocate, release keep\n",
                                             "Open by nobody",
                                             " * set driver_override of 0000:18:00.0 to vfio-pci\n",
                                             " * unbind 0000:18:00.0 from nvidia\n",
                                             "   wait until 0000:18:00.0 is on vfio-pci\n" };
        for (size_t i = 0; i < N_ELEMENTS(parts); i++)
                assert_tells(text, parts[i]);
        struct fk_run run = rig_run(rig, "pod", L40S, 8);
        fk_run_done(&run);
        rig_driver(rig, GPU0, driver, sizeof(driver));
        assert_string_equal(driver, "vfio-pci");
        _cleanup_free_ char *bound = said(rig, "explain", GPU0);
        assert_tells(bound, "Allocate would answer at once: nothing has to be done\n\nWhen its pod is gone, it stays as it is\n");
        rig_stop(rig);
}

static void test_explain_names_who_has_it_open_and_why_it_is_not_offered(void **state)
{
        struct rig *rig = *state;
        struct err err;

        rig_open(rig, "l40s-8", "1.34",
                 CONFIG "rules:\n  - select: {addresses: [\"0000:19:*\"]}\n    deny: true\n"
                        "  - select: {ids: [\"10de:26b9\"]}\n    bind: on-allocate\n");
        rig_ready(rig, L40S, 7, 7);
        ASSERT_OK(sim_hold(rig->sim, "/dev/nvidia0", 4242, "nvidia-smi", &err), &err);
        _cleanup_free_ char *held = said(rig, "explain", GPU0);
        assert_tells(held, "Open: /dev/nvidia0 by pid 4242 (nvidia-smi)\n");
        _cleanup_free_ char *denied = said(rig, "explain", "0000:19:00.0");
        assert_tells(denied, "  denied: a rule denies this device: rule 1\n    change the first rule that matches it\n");
        assert_tells(denied, "Rule: number 1, in line 4: deny\n");
        assert_tells(denied, "\nAllocate would refuse it:\n  denied: ");
        _cleanup_free_ char *json = said(rig, "explain", "-o json 0000:19:00.0");
        json_t *tree = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(tree);
        assert_string_equal(json_string_value(json_object_get(json_object_get(tree, "device"), "state")), "withheld");
        assert_true(json_is_null(json_object_get(tree, "pool")) && json_is_null(json_object_get(tree, "cordon")));
        json_decref(tree);
        rig_stop(rig);
}

static void test_claims_name_what_was_given_and_explain_what_it_was_before(void **state)
{
        struct rig *rig = *state;
        char text[SAID_MAX];

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *none = said(rig, "claims", "");
        assert_string_equal(none, "Nothing is claimed.\n");
        struct fk_run run = rig_run(rig, "vm", L40S, 8);
        _cleanup_free_ char *arguments = xasprintf("claims --run-dir %s", rig->run_dir);
        for (int64_t until = clock_ms() + RIG_SOON_MS; clock_ms() < until; (void)usleep(20000)) {
                assert_int_equal(rig_ctl(rig, arguments, text, sizeof(text)), 0);
                if (strstr(text, "0000:bb:00.0 "))
                        break;
        }
        assert_tells(text, "DEVICE       POD ");
        assert_tells(text, "\n0000:18:00.0 ");
        assert_tells(text, "\n0000:bb:00.0 ");
        _cleanup_free_ char *explained = said(rig, "explain", GPU0);
        assert_tells(explained, "\nClaimed:\n  ");
        assert_tells(explained, "0000:18:00.0: bound to vfio-pci by Sluice; before, driver nvidia, driver_override -\n");
        _cleanup_free_ char *json = said(rig, "claims", "-o json");
        json_t *tree = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(tree);
        json_t *claims = json_object_get(tree, "claims");
        assert_int_equal(json_array_size(claims), 8);
        assert_string_equal(json_string_value(json_object_get(json_array_get(claims, 0), "key")), "kubelet:0000:18:00.0");
        assert_true(json_integer_value(json_object_get(json_array_get(claims, 0), "since_ms")) > 1600000000000);
        json_decref(tree);
        fk_run_done(&run);
        rig_stop(rig);
}

static char *claims_once_all_are_there(struct rig *rig, const char *last)
{
        char *text = said(rig, "claims", "");

        for (int64_t until = clock_ms() + RIG_SOON_MS; !strstr(text, last) && clock_ms() < until; (void)usleep(20000)) {
                free(text);
                text = said(rig, "claims", "");
        }
        return text;
}

static void test_claims_tell_who_has_them_open_over_all_their_pages(void **state)
{
        Sluice__Node__V1__NodeListPreparedRequest request = SLUICE__NODE__V1__NODE_LIST_PREPARED_REQUEST__INIT;
        struct rig *rig = *state;
        ProtobufCMessage *reply;
        struct err err;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        struct fk_run run = rig_run(rig, "vm", L40S, 8);
        fk_run_done(&run);
        ASSERT_OK(sim_hold(rig->sim, "/dev/vfio/23", 4242, "qemu-kvm", &err), &err);
        _cleanup_free_ char *table = claims_once_all_are_there(rig, "0000:bb:00.0 ");
        assert_tells(table, " SINCE HOLDERS\n0000:18:00.0 ");
        assert_tells(table, "s 4242\n0000:19:00.0 ");
        assert_null(strstr(table, "?"));
        _cleanup_free_ char *wide = said(rig, "claims", "-o wide");
        assert_tells(wide, "s 4242 (qemu-kvm) kubelet ");
        _cleanup_free_ char *json = said(rig, "claims", "-o json");
        json_t *tree = json_loads(json, JSON_REJECT_DUPLICATES, NULL), *claims = json_object_get(tree, "claims");
        assert_int_equal(json_array_size(claims), 8);
        const json_t *holders = json_object_get(json_array_get(claims, 0), "holders"),
                     *none = json_object_get(json_array_get(claims, 7), "holders");
        assert_true(json_is_true(json_object_get(holders, "complete")) && json_is_true(json_object_get(none, "complete")));
        assert_int_equal(json_integer_value(json_object_get(json_array_get(json_object_get(holders, "holders"), 0), "pid")), 4242);
        assert_int_equal(json_array_size(json_object_get(none, "holders")), 0);
        json_decref(tree);

        struct wire_conn *conn = connect_to_node(rig);
        request.page_size = 3;
        request.holders = true;
        request.page_token = (char *)(uintptr_t) "kubelet:0000:19:00.0";
        assert_int_equal(
                call(rig, conn, "Node/NodeListPrepared", &request.base, &sluice__node__v1__node_list_prepared_response__descriptor, &reply),
                OK);
        const Sluice__Node__V1__NodeListPreparedResponse *page = (const Sluice__Node__V1__NodeListPreparedResponse *)(const void *)reply;
        assert_int_equal(page->n_claims, 3);
        assert_true(page->claims[0]->holders && page->claims[0]->holders->complete && *page->next_page_token);
        assert_true(strcmp(page->claims[0]->key, request.page_token) > 0);
        protobuf_c_message_free_unpacked(reply, NULL);
        request.holders = false;
        assert_int_equal(
                call(rig, conn, "Node/NodeListPrepared", &request.base, &sluice__node__v1__node_list_prepared_response__descriptor, &reply),
                OK);
        page = (const Sluice__Node__V1__NodeListPreparedResponse *)(const void *)reply;
        assert_true(page->n_claims == 3 && !page->claims[0]->holders); /* nobody was asked to look */
        protobuf_c_message_free_unpacked(reply, NULL);
        hang_up(conn);
        rig_stop(rig);
}

static void test_claims_say_that_holders_cannot_be_seen(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8-vfio", NULL);
        _cleanup_free_ char *self = xasprintf("%s/proc/self", rig->sim_dir); /* without the rights that it would tell of */
        assert_int_equal(mkdir(self, 0755), 0);
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        struct fk_run run = rig_run(rig, "vm", L40S, 1);
        fk_run_done(&run);
        _cleanup_free_ char *table = claims_once_all_are_there(rig, "0000:");
        assert_tells(table, "s ?\n\n? who has it open is not known: not every process' open files can be seen");
        rig_stop(rig);
}

static void test_an_unknown_device_is_not_found_and_the_nearest_are_named(void **state)
{
        static const struct {
                const char *id, *says;
        } rows[] = { { "0000:18:00.1", "near: 0000:18:00.0" },
                     { "18:00.0", "near: 0000:18:00.0" },
                     { "nonsense", "there is no device \"nonsense\" on this node" },
                     { "''", "there is no device \"\"" } };
        struct rig *rig = *state;
        char text[4096];

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_free_ char *arguments = xasprintf("explain --run-dir %s %s", rig->run_dir, rows[i].id);
                assert_int_equal(rig_ctl(rig, arguments, text, sizeof(text)), 4);
                assert_tells(text, rows[i].says);
        }
        rig_stop(rig);
}

static void test_where_no_daemon_answers_the_status_is_3_and_says_what_to_do(void **state)
{
        static const char *const verbs[][2] = { { "inventory", "" }, { "claims", "" }, { "explain", "x" } };
        struct rig *rig = *state;
        char text[4096];

        rig_prepare(rig, "l40s-8", ON_ALLOCATE);
        for (size_t i = 0; i < N_ELEMENTS(verbs); i++) {
                _cleanup_free_ char *arguments = xasprintf("%s --socket %s/nobody.sock %s", verbs[i][0], rig->run_dir, verbs[i][1]);
                assert_int_equal(rig_ctl(rig, arguments, text, sizeof(text)), 3);
                assert_tells(text, "nobody.sock: No such file or directory\n");
                assert_tells(text, "'sluicectl inventory --offline'");
        }
        rig->over = true;
}

static void test_a_daemon_that_is_slow_to_take_a_connection_is_waited_for(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(kill(rig->pid, SIGSTOP), 0);
        pid_t pid = fork();
        if (pid == 0) {
                (void)usleep(700 * 1000); /* longer than gRPC gives a connection */
                _exit(kill(rig->pid, SIGCONT) < 0);
        }
        _cleanup_free_ char *text = said(rig, "inventory", "");
        assert_tells(text, GPU0);
        assert_int_equal(rig_reap(pid, RIG_SOON_MS), 0);
        rig_stop(rig);
}

static void test_the_daemon_is_ready_when_kubelet_is_served(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8", AT_START);
        rig_fault(rig, "unbind 0000:18:00.0 delay 7000 times 1");
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        struct wire_conn *conn = connect_to_node(rig);
        Sluice__Node__V1__ProbeResponse *answer = probe(rig, conn);
        assert_false(answer->ready);
        assert_tells(answer->why_not, "devices are being bound");
        protobuf_c_message_free_unpacked(&answer->base, NULL);
        rig_ready(rig, L40S, 8, 8);
        answer = probe(rig, conn);
        assert_true(answer->ready);
        assert_string_equal(answer->why_not, "");
        protobuf_c_message_free_unpacked(&answer->base, NULL);
        hang_up(conn);
        rig_stop(rig);
}

/* Fails unless `sluicectl health @words` ends with @status and says @what. */
static void assert_health(struct rig *rig, const char *words, int status, const char *what)
{
        char text[1024];
        _cleanup_free_ char *arguments = xasprintf("health --run-dir %s %s", rig->run_dir, words);

        int have = rig_ctl(rig, arguments, text, sizeof(text));
        if (have != status || !strstr(text, what))
                fail_msg("health %s: status %d, not %d: %s", words, have, status, text);
}

static void test_health_is_for_probes(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8", AT_START);
        assert_health(rig, "", 3, "no sluiced answers");
        assert_health(rig, "--live", 3, "no sluiced answers");
        rig_fault(rig, "unbind 0000:18:00.0 delay 3000 times 1");
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        wait_for_node(rig);
        assert_health(rig, "", 1, "not ready: devices are being bound");
        assert_health(rig, "--live", 0, "alive, not ready: devices are being bound");
        rig_ready(rig, L40S, 8, 8);
        assert_health(rig, "", 0, "ready: 8 of 8 devices in 1 pools are healthy\n");
        _cleanup_free_ char *cordoned = said(rig, "cordon", GPU0);
        assert_health(rig, "--live", 0, "ready: 7 of 8 devices in 1 pools are healthy\n");
        assert_int_equal(kill(rig->pid, SIGSTOP), 0); /* the loop does not turn */
        assert_health(rig, "--live", 3, "no sluiced answers");
        assert_int_equal(kill(rig->pid, SIGCONT), 0);
        rig_stop(rig);
}

static void test_a_node_is_not_ready_while_kubelet_is_away(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8-vfio", NULL);
        rig_daemon(rig);
        wait_for_node(rig);
        assert_health(rig, "", 1, "not ready: " L40S " is not registered with kubelet: kubelet is not there\n");
        assert_health(rig, "--live", 0, "alive, not ready: " L40S);
        rig_kubelet(rig, "1.34");
        rig_ready(rig, L40S, 8, 8);
        assert_health(rig, "", 0, "ready: 8 of 8 devices in 1 pools are healthy\n");
        rig_stop(rig);
}

static void test_a_node_that_offers_nothing_is_well(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8", "1.34", CONFIG "rules:\n  - deny: true\n");
        wait_for_node(rig);
        assert_health(rig, "", 0, "ready: nothing is offered; 'sluicectl inventory' says why of each of 8 devices\n");
        rig_stop(rig);
}

/* registration: none. Kubelet is there all the same, and never hears of Sluice; what a rule wants bound at start is bound. */
static void test_a_node_without_kubelet_is_ready_and_kubelet_is_left_alone(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8", AT_START "registration: none\n");
        rig_fault(rig, "unbind 0000:18:00.0 delay 1500 times 1");
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        wait_for_node(rig);
        assert_health(rig, "", 1, "not ready: devices are being bound\n");
        assert_true(rig_logged(rig, "registration: none: kubelet is not served", RIG_SOON_MS));
        assert_health(rig, "", 0, "ready: 8 of 8 devices in 1 pools are healthy\n");
        assert_driver(rig, GPU0, "vfio-pci");
        _cleanup_free_ char *cordoned = said(rig, "cordon", GPU0);
        assert_health(rig, "", 0, "ready: 7 of 8 devices in 1 pools are healthy\n");
        rig_config(rig, AT_START "registration: socket\nrescan: 5s\n");
        assert_true(rig_logged(rig, "the new 'registration' takes effect at the next start", RIG_SOON_MS));
        rig_unplug(rig, "0000:3b:00.0");
        assert_true(rig_logged(rig, "device 0000:3b:00.0 in " L40S ": unhealthy", RIG_SOON_MS));
        assert_health(rig, "", 0, "ready: 6 of 8 devices in 1 pools are healthy\n");
        assert_int_equal(rig_counts(rig, L40S).registrations, 0);
        rig_stop(rig);
}

static void test_pages_have_all_devices_once(void **state)
{
        struct rig *rig = *state;
        char token[64] = "", last[64] = "";
        unsigned n = 0, n_pages = 0;

        rig_open(rig, "gpus-64-of-16-vfio", NULL, NULL);
        struct wire_conn *conn = connect_to_node(rig);
        do {
                Sluice__Node__V1__NodeListDevicesResponse *page = list_from(rig, conn, 10, token);
                for (size_t i = 0; i < page->n_devices; i++) {
                        assert_true(strcmp(page->devices[i]->id, last) > 0);
                        str_format(last, sizeof(last), "%s", page->devices[i]->id);
                }
                assert_true((page->n_pools == 16) == (n_pages == 0));
                n += (unsigned)page->n_devices;
                n_pages++;
                str_format(token, sizeof(token), "%s", page->next_page_token);
                protobuf_c_message_free_unpacked(&page->base, NULL);
        } while (*token);
        assert_int_equal(n, 64);
        assert_int_equal(n_pages, 7);
        hang_up(conn);
        rig_stop(rig);
}

/* ---- an operator's hold ---- */

static void test_a_cordon_withholds_from_new_pods_and_from_nobody_else(void **state)
{
        struct rig *rig = *state;
        const char *ids[] = { GPU0 };

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        struct fk_run run = rig_run(rig, "holder", L40S, 8);
        _cleanup_free_ char *done = said(rig, "cordon", "--note 'loud fan' 0000:18:00.0");
        assert_string_equal(done, "0000:18:00.0 is cordoned: no new pod gets it; who has it keeps it\n");
        rig_ready(rig, L40S, 8, 7);
        /* The container of the pod that has it starts again; a new pod would be refused. */
        assert_int_equal(fk_raw_prestart(rig->k, L40S, ids, 1, rig->text), OK);
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), FAILED_PRECONDITION);
        assert_tells(rig->text, "an operator withholds it from new pods (cordoned): loud fan");
        assert_driver(rig, GPU0, "vfio-pci");
        fk_run_done(&run);
        _cleanup_free_ char *explained = said(rig, "explain", GPU0);
        assert_tells(explained, "\nCordoned for ");
        assert_tells(explained, " as 0000:18:00.0: loud fan\n");
        assert_tells(explained, "\nAllocate would refuse it:\n  cordoned: ");
        rig_stop(rig);
}

static void test_a_cordon_outlives_the_daemon_and_ends_when_told(void **state)
{
        struct rig *rig = *state;
        char text[4096];

        rig_open(rig, "l40s-8", "1.34", AT_START);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *first = said(rig, "cordon", GPU0);
        rig_ready(rig, L40S, 8, 7);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 7);
        _cleanup_free_ char *unknown = xasprintf("cordon --run-dir %s 0000:18:00.7", rig->run_dir);
        assert_int_equal(rig_ctl(rig, unknown, text, sizeof(text)), 4);
        assert_tells(text, "there is no device or card \"0000:18:00.7\" on this node; near: 0000:18:00.0");
        _cleanup_free_ char *never = xasprintf("uncordon --run-dir %s 0000:19:00.0", rig->run_dir);
        assert_int_equal(rig_ctl(rig, never, text, sizeof(text)), 4);
        assert_tells(text, "\"0000:19:00.0\" is not cordoned");
        _cleanup_free_ char *second = said(rig, "uncordon", GPU0);
        assert_string_equal(second, "0000:18:00.0 is not cordoned as 0000:18:00.0 any more\n");
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static void test_a_cordon_that_cannot_be_written_down_is_refused(void **state)
{
        struct rig *rig = *state;
        char text[4096];

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *kind = xasprintf("%s/cordon", rig->state_dir);
        assert_int_equal(rmdir(kind), 0);
        _cleanup_free_ char *arguments = xasprintf("cordon --run-dir %s %s", rig->run_dir, GPU0);
        assert_int_equal(rig_ctl(rig, arguments, text, sizeof(text)), 1);
        assert_tells(text, "0000:18:00.0 cannot be cordoned, nothing has changed: it cannot be written down: ");
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *explained = said(rig, "explain", GPU0);
        assert_null(strstr(explained, "ordoned"));
        rig_stop(rig);
}

/* ---- the socket ---- */

static bool is_a_socket(const char *path)
{
        struct stat st;

        return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

static void test_the_socket_is_roots_alone_and_goes_with_the_daemon(void **state)
{
        struct rig *rig = *state;
        struct stat st;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *path = xasprintf("%s/node.sock", rig->run_dir);
        assert_int_equal(lstat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        rig_stop(rig);
        assert_int_equal(access(path, F_OK), -1);
}

/* As user 4711 with the group @gid: was the connection taken, or at once ended? */
static bool may_ask(struct rig *rig, gid_t gid)
{
        int status = 0;
        pid_t pid = fork();

        if (pid == 0) {
                char byte;
                if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(4711, 4711, 4711) < 0)
                        _exit(2);
                int fd = dial(rig);
                struct pollfd p = { .fd = fd, .events = POLLIN };
                (void)poll(&p, 1, RIG_SOON_MS); /* gRPC's settings frame, or the end */
                _exit(fd >= 0 && recv(fd, &byte, 1, 0) == 1 ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 2);
        return WEXITSTATUS(status) == 0;
}

static void test_a_group_of_the_configuration_may_ask_and_nobody_else(void **state)
{
        struct rig *rig = *state;

        if (geteuid() != 0) {
                print_message("# skipped: other users need root\n");
                rig->over = true;
                skip();
        }
        rig_open(rig, "l40s-8", "1.34", CONFIG "nodeSocketGroup: 4800\n");
        wait_for_node(rig);
        assert_int_equal(chmod(rig->dir, 0755), 0);
        assert_true(may_ask(rig, 4800));
        assert_false(may_ask(rig, 4711));
        _cleanup_free_ char *path = xasprintf("%s/node.sock", rig->run_dir);
        assert_int_equal(chmod(path, 0666) + chmod(rig->run_dir, 0755), 0);
        assert_true(may_ask(rig, 4800));
        assert_false(may_ask(rig, 4711)); /* it may connect, and is turned away */
        rig_stop(rig);
}

static void test_what_a_killed_daemon_left_is_taken_over_and_what_is_lost_is_made_anew(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8", "1.34", "apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\nrescan: 5s\n");
        _cleanup_free_ char *path = xasprintf("%s/node.sock", rig->run_dir);
        wait_for_node(rig);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        assert_true(is_a_socket(path)); /* nobody listens there */
        rig_daemon(rig);
        wait_for_node(rig);
        _cleanup_free_ char *first = said(rig, "inventory", "");
        assert_int_equal(unlink(path), 0);
        wait_for_node(rig);
        _cleanup_free_ char *second = said(rig, "inventory", "");
        assert_string_equal(first, second);
        assert_true(rig_logged(rig, "node.sock has gone and is made anew", 0));
        rig_stop(rig);
}

static void test_what_is_no_socket_is_left_alone_and_kubelet_is_served_all_the_same(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8", ON_ALLOCATE);
        _cleanup_free_ char *path = xasprintf("%s/node.sock", rig->run_dir);
        (void)mkdir(rig->run_dir, 0700);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        (void)close(fd);
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        assert_true(rig_logged(rig, "the node API is not served", RIG_SOON_MS));
        rig_stop(rig);
        assert_int_equal(unlink(path), 0);
}

/* ---- what nobody should send ---- */

static void test_bytes_and_requests_that_are_none_end_alone(void **state)
{
        static const char *const rows[] = { "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02", "PRI * HT", "" };
        Sluice__Node__V1__NodeExplainRequest explain = SLUICE__NODE__V1__NODE_EXPLAIN_REQUEST__INIT;
        Sluice__Node__V1__NodeListDevicesRequest list = SLUICE__NODE__V1__NODE_LIST_DEVICES_REQUEST__INIT;
        const ProtobufCMessageDescriptor *reply = &sluice__node__v1__probe_response__descriptor;
        struct rig *rig = *state;
        ProtobufCMessage *got;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                int fd = dial(rig);
                (void)send(fd, rows[i], strlen(rows[i]), MSG_NOSIGNAL);
                (void)usleep(20000);
                (void)close(fd);
        }
        struct wire_conn *conn = connect_to_node(rig);
        _cleanup_free_ char *large = xcalloc(100 << 10, 1);
        memset(large, 'x', (100 << 10) - 1);
        explain.device = large;
        assert_int_equal(call(rig, conn, "Node/NodeExplain", &explain.base, reply, &got), RESOURCE_EXHAUSTED);
        explain.device = (char *)(uintptr_t) "L\xe4nge";
        assert_int_equal(call(rig, conn, "Node/NodeExplain", &explain.base, reply, &got), INVALID_ARGUMENT);
        explain.device = (char *)(uintptr_t) "../../\n";
        assert_int_equal(call(rig, conn, "Node/NodeExplain", &explain.base, reply, &got), NOT_FOUND);
        large[200] = '\0';
        list.page_token = large;
        assert_int_equal(call(rig, conn, "Node/NodeListDevices", &list.base, reply, &got), INVALID_ARGUMENT);
        assert_int_equal(call(rig, conn, "Node/NodePrepare", &list.base, reply, &got), UNIMPLEMENTED);
        hang_up(conn);
        _cleanup_free_ char *text = said(rig, "inventory", "");
        assert_tells(text, GPU0);
        rig_stop(rig);
}

static void test_64_clients_at_once_are_served_beside_one_that_never_reads(void **state)
{
        enum { CLIENTS = 64, SILENT = 32 };
        struct rig *rig = *state;
        struct wire_conn *conns[CLIENTS];
        int fds[SILENT];

        rig_open(rig, "gpus-64-of-16-vfio", "1.34", NULL);
        wait_for_node(rig);
        for (size_t i = 0; i < SILENT; i++)
                fds[i] = dial(rig); /* and never a word */
        for (size_t i = 0; i < CLIENTS; i++)
                conns[i] = connect_to_node(rig);
        for (unsigned round = 0; round < 2; round++)
                for (size_t i = 0; i < CLIENTS; i++) {
                        Sluice__Node__V1__NodeListDevicesResponse *list = list_from(rig, conns[i], 0, "");
                        assert_int_equal(list->n_devices, 64);
                        protobuf_c_message_free_unpacked(&list->base, NULL);
                }
        for (size_t i = 0; i < CLIENTS; i++)
                hang_up(conns[i]);
        for (size_t i = 0; i < SILENT; i++)
                (void)close(fds[i]);
        rig_stop(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_the_live_inventory_is_that_of_the_host),
                RIG_TEST(test_explain_tells_the_plan_that_allocate_then_runs),
                RIG_TEST(test_explain_names_who_has_it_open_and_why_it_is_not_offered),
                RIG_TEST(test_claims_name_what_was_given_and_explain_what_it_was_before),
                RIG_TEST(test_claims_tell_who_has_them_open_over_all_their_pages),
                RIG_TEST(test_claims_say_that_holders_cannot_be_seen),
                RIG_TEST(test_an_unknown_device_is_not_found_and_the_nearest_are_named),
                RIG_TEST(test_where_no_daemon_answers_the_status_is_3_and_says_what_to_do),
                RIG_TEST(test_a_daemon_that_is_slow_to_take_a_connection_is_waited_for),
                RIG_TEST(test_the_daemon_is_ready_when_kubelet_is_served),
                RIG_TEST(test_health_is_for_probes),
                RIG_TEST(test_a_node_without_kubelet_is_ready_and_kubelet_is_left_alone),
                RIG_TEST(test_a_node_is_not_ready_while_kubelet_is_away),
                RIG_TEST(test_a_node_that_offers_nothing_is_well),
                RIG_TEST(test_pages_have_all_devices_once),
                RIG_TEST(test_a_cordon_withholds_from_new_pods_and_from_nobody_else),
                RIG_TEST(test_a_cordon_outlives_the_daemon_and_ends_when_told),
                RIG_TEST(test_a_cordon_that_cannot_be_written_down_is_refused),
                RIG_TEST(test_the_socket_is_roots_alone_and_goes_with_the_daemon),
                RIG_TEST(test_a_group_of_the_configuration_may_ask_and_nobody_else),
                RIG_TEST(test_what_a_killed_daemon_left_is_taken_over_and_what_is_lost_is_made_anew),
                RIG_TEST(test_what_is_no_socket_is_left_alone_and_kubelet_is_served_all_the_same),
                RIG_TEST(test_bytes_and_requests_that_are_none_end_alone),
                RIG_TEST(test_64_clients_at_once_are_served_beside_one_that_never_reads),
        };

        return RUN(tests);
}
