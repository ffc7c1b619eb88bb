/* SPDX-License-Identifier: Apache-2.0 */
/* Topology gpu: what becomes of a card after its pod, by a sluiced that asks podresources ten times a second. */
#include "cards.h"
#include "node.h"

#include <signal.h>
#include <string.h>

#include "base/str.h"

#define RELEASE_RULE(select, release) CONFIG_HEAD "rules:\n- select: {" select "}\n  bind: on-allocate\n  release: " release "\n"
#define CLAIM                         NODE_STATE_DIR "/claims/kubelet:" L40S ".record"
enum { RELEASE_MS = 30000 };

static void expect_logged(const char *label, const char *what)
{
        char path[128];

        str_format(path, sizeof(path), "/share/log/%s.log", label);
        if (RUN_PROGRAM(NULL, "grep", "-qF", what, path) != 0)
                fail_msg("\"%s\" is not in %s", what, path);
}

/* The pod is gone, its VM is not: nothing is reset and nothing unbound, over a kill -9 of sluiced as well. Then both are done. */
static void test_card_is_reset_and_given_back_when_its_last_user_has_closed_it(void **state)
{
        struct fk_run run = { 0 };

        (void)state;
        load_nvidia("");
        assert_non_null(strstr(kernel_read(PCI L40S "/reset_method"), "flr"));
        char methods[VALUE_BYTES];
        str_format(methods, sizeof(methods), "%s", kernel_read(PCI L40S "/reset_method"));
        daemon_set_quick_pods();
        (void)node_start("release-reset", RELEASE_RULE("ids: [\"10de:26b9\"]", "reset+restore"));
        expect_counts(L40S_RESOURCE, 1, 1);
        allocate("pod", L40S_RESOURCE, 1, &run);
        fk_run_done(&run);
        struct process user = hold_device(group_of(L40S), L40S);
        assert_true(await_exists(true, 10000, CLAIM));
        sleep_ms(1000); /* it is seen */
        fk_pod_end(node_kubelet(), "pod");
        sleep_ms(2000);
        assert_string_equal(driver_of(L40S), "vfio-pci");
        unsigned before = fk_registers(node_kubelet());
        daemon_stop(SIGKILL);
        daemon_start();
        await_registered(before);
        sleep_ms(2000);
        assert_string_equal(driver_of(L40S), "vfio-pci");
        assert_int_equal(kill(user.pid, 0), 0);

        (void)stop_process(&user, SIGKILL);
        assert_true(await_driver(L40S, "nvidia", RELEASE_MS));
        assert_true(await_exists(false, RELEASE_MS, CLAIM));
        expect_logged("release-reset", L40S " was reset (flr)");
        assert_string_equal(kernel_read(PCI L40S "/driver_override"), "(null)");
        assert_string_equal(kernel_read(PCI L40S "/reset_method"), methods);
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_device_becomes_usable("after", L40S_RESOURCE, L40S_VARIABLE, L40S);
        node_stop();
}

/* Four functions in one slot, none with a function level reset: the kernel's file would reset the slot or nothing. */
static void test_card_without_a_reset_of_its_own_is_not_offered_where_one_is_asked_for(void **state)
{
        (void)state;
        load_nvidia("");
        assert_null(strstr(kernel_read(PCI QUADRO "0/reset_method"), "flr"));
        (void)node_start(
                "release-no-flr",
                RELEASE_RULE("ids: [\"10de:1e30\"]", "reset") "  resource: " QUADRO_RESOURCE "\n"
                                                              "- select: {ids: [\"10de:26b9\"]}\n  release: reset\n  bind: on-allocate\n");
        expect_counts(L40S_RESOURCE, 1, 1);
        expect_never_offered(QUADRO_RESOURCE);
        assert_string_equal(inventory_reason(QUADRO "0", NULL), "no-reset-method");
        assert_string_equal(driver_of(QUADRO "0"), "nvidia");
        node_stop();
}

static void test_card_with_four_functions_is_given_back_as_a_whole(void **state)
{
        struct fk_run run = { 0 };
        char before[4][64]; /* a sound driver that another test has loaded may have the second one */

        (void)state;
        load_nvidia("");
        for (char f = '0'; f <= '3'; f++) {
                char bdf[] = QUADRO "0";

                bdf[strlen(bdf) - 1] = f;
                str_format(before[f - '0'], sizeof(before[0]), "%s", driver_of(bdf));
        }
        assert_string_equal(before[0], "nvidia");
        daemon_set_quick_pods();
        (void)node_start("release-four", RELEASE_RULE("ids: [\"10de:1e30\"]", "restore") "  resource: " QUADRO_RESOURCE "\n");
        expect_counts(QUADRO_RESOURCE, 1, 1);
        allocate("pod", QUADRO_RESOURCE, 1, &run);
        fk_run_done(&run);
        assert_string_equal(driver_of(QUADRO "3"), "vfio-pci");
        sleep_ms(1000); /* it is seen */
        fk_pod_end(node_kubelet(), "pod");
        for (char f = '0'; f <= '3'; f++) {
                char bdf[] = QUADRO "0";

                bdf[strlen(bdf) - 1] = f;
                if (!await_driver(bdf, before[f - '0'], RELEASE_MS))
                        fail_msg("%s is on \"%s\", not on \"%s\"", bdf, driver_of(bdf), before[f - '0']);
                assert_string_equal(kernel_read(PCI "%s/driver_override", bdf), "(null)");
        }
        expect_counts(QUADRO_RESOURCE, 1, 1);
        node_stop();
}

/* `sluicectl release --idle` and `uninstall-check`: what a VM has stays; without it the kernel has all back, and nothing of Sluice is left.
 */
static void test_what_is_idle_is_given_back_and_nothing_is_left_of_sluice(void **state)
{
        char text[OUTPUT_BYTES];

        (void)state;
        load_nvidia("");
        (void)node_start("release-idle", CONFIG_HEAD "rules:\n- select: {ids: [\"10de:26b9\"]}\n  bind: at-start\n");
        expect_counts(L40S_RESOURCE, 1, 1);
        assert_string_equal(driver_of(L40S), "vfio-pci");
        struct process user = hold_device(group_of(L40S), L40S);
        assert_int_equal(RUN_PROGRAM(text, "sluicectl", "release", "--idle"), 5);
        if (strstr(text, "left: held: ") == NULL)
                fail_msg("release --idle of what is open: %s", text);
        assert_string_equal(driver_of(L40S), "vfio-pci");
        (void)stop_process(&user, SIGKILL);
        assert_int_equal(RUN_PROGRAM(text, "sluicectl", "release", "--idle"), 0);
        assert_string_equal(driver_of(L40S), "nvidia");
        assert_string_equal(kernel_read(PCI L40S "/driver_override"), "(null)");
        expect_counts(L40S_RESOURCE, 1, 0);
        daemon_stop(SIGTERM);
        int status = RUN_PROGRAM(text, "sluicectl", "uninstall-check", "--state-dir", NODE_STATE_DIR, "--kubelet-dir", "/run/kubelet");
        if (status != 0 || strstr(text, "Nothing of Sluice is left on this node.") == NULL)
                fail_msg("uninstall-check: %d: %s", status, text);
        node_stop();
}

int node_suite_release(void)
{
        const struct CMUnitTest release[] = {
                NODE_TEST(test_card_is_reset_and_given_back_when_its_last_user_has_closed_it),
                NODE_TEST(test_card_without_a_reset_of_its_own_is_not_offered_where_one_is_asked_for),
                NODE_TEST(test_card_with_four_functions_is_given_back_as_a_whole),
                NODE_TEST(test_what_is_idle_is_given_back_and_nothing_is_left_of_sluice),
        };
        return RUN_SUITE(release);
}
