/* SPDX-License-Identifier: Apache-2.0 */
/* `sluicectl uninstall-check`: all that a sluiced leaves, by name, and nothing when nothing is. */
#include "rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"

#define GPU0 "0000:18:00.0"
enum { SAID_MAX = 1 << 16 };

/* What it says; its status is @status. */
static char *check(struct rig *rig, const char *rest, int status)
{
        _cleanup_free_ char *arguments = xasprintf("uninstall-check --state-dir %s --run-dir %s --kubelet-dir %s --sim-dir %s %s",
                                                   rig->state_dir, rig->run_dir, rig->kubelet_dir, rig->sim_dir, rest);
        char *text = xcalloc(SAID_MAX, 1);
        int have = rig_ctl(rig, arguments, text, SAID_MAX);

        if (have != status)
                fail_msg("sluicectl %s: status %d instead of %d: %s", arguments, have, status, text);
        return text;
}

static void expect(struct rig *rig, int status, const char *const *parts)
{
        _cleanup_free_ char *text = check(rig, "", status);

        for (; *parts; parts++) {
                bool not = **parts == '!';
                if ((strstr(text, *parts + not ) != NULL) == not )
                        fail_msg("\"%s\" is %s\n%s", *parts + not, not ? "in" : "not in", text);
        }
}
#define EXPECT(rig, status, ...) expect(rig, status, (const char *const[]){ __VA_ARGS__, NULL })

static void shell(struct rig *rig, const char *command)
{
        _cleanup_free_ char *line = xasprintf("cd %s && %s", rig->dir, command);

        assert_int_equal(system(line), 0);
}

static void begin(struct rig *rig, const char *config)
{
        rig_open(rig, "l40s-8", "1.34", config);
        rig_ready(rig, L40S, 8, 8);
}

static void test_what_is_left_is_named_and_after_a_release_nothing_is(void **state)
{
        struct rig *rig = *state;
        char text[4096];

        begin(rig, AT_START);
        EXPECT(rig, 1,
               "sluiced-running:", "bound-by-sluice:\n  " GPU0 "  on vfio-pci, driver before: nvidia, driver_override before: none\n",
               "!socket:");
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        EXPECT(rig, 1, "!sluiced-running:", "bound-by-sluice:", "socket:", "/node.sock  ", "/device-plugins/sluice-", "files (no harm):");
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *release = xasprintf("release --idle --run-dir %s", rig->run_dir);
        assert_int_equal(rig_ctl(rig, release, text, sizeof(text)), 0);
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        _cleanup_free_ char *before = rig_tree(rig);
        EXPECT(rig, 0, "Nothing of Sluice is left on this node.", "!bound-by-sluice", "!socket", "!state-record");
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static void test_records_are_named_with_what_is_to_be_done(void **state)
{
        struct rig *rig = *state;

        begin(rig, ON_ALLOCATE);
        struct fk_run run = rig_run(rig, "vms/vm-a", L40S, 8);
        fk_run_done(&run);
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        shell(rig, "printf 'sluice claims 2 a3a6bf43 2\\n{}' > state/claims/x.record; touch state/originals/y.record.bad");
        shell(rig, "sed -i 's/\"driver\":\"nvidia\"/\"driver\":\"\"/' state/originals/" GPU0 ".record");
        EXPECT(rig, 1, "claim-record:\n  kubelet:" GPU0 "  ", "newer-record:\n  claims/x.record", "originals/y.record.bad",
               "bad-record:\n  originals/" GPU0 ".record  it is torn or was changed",
               "bound-by-others (no harm):\n  " GPU0 "  on vfio-pci");
        shell(rig, "rm state/claims/x.record state/originals/y.record.bad");
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

/* Somebody has taken the device by hand and left the override; another one is on its former driver altogether. */
static void test_an_override_that_sluice_set_is_named_without_the_binding(void **state)
{
        struct rig *rig = *state;
        struct err err;

        begin(rig, AT_START);
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        ASSERT_OK(sim_write(rig->sim, "bus/pci/drivers/vfio-pci/unbind", GPU0, &err), &err);
        EXPECT(rig, 1, "bound-by-sluice:\n  " GPU0 "  on no driver; Sluice bound it to vfio-pci, driver before: nvidia\n");
        ASSERT_OK(sim_write(rig->sim, "bus/pci/devices/" GPU0 "/driver_override", "\n", &err), &err);
        ASSERT_OK(sim_write(rig->sim, "bus/pci/drivers_probe", GPU0, &err), &err);
        ASSERT_OK(sim_write(rig->sim, "bus/pci/devices/" GPU0 "/driver_override", "vfio-pci", &err), &err);
        EXPECT(rig, 1, "driver-override:\n  " GPU0 "  driver_override says vfio-pci, as Sluice set it, and said none before\n");
        ASSERT_OK(sim_write(rig->sim, "bus/pci/devices/" GPU0 "/driver_override", "\n", &err), &err);
        EXPECT(rig, 1, "state-record:\n  " GPU0 "  originals: it is on nvidia again\n", "!driver-override");
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static void test_a_device_whose_lock_is_not_free_is_named_in_time(void **state)
{
        struct rig *rig = *state;

        begin(rig, AT_START);
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        rig_fault(rig, "read:driver_override " GPU0 " hang");
        EXPECT(rig, 1, "no-answer:\n  " GPU0 "  the kernel does not say its driver_override\n", "bound-by-sluice:\n  " GPU0);
        rig_fault(rig, "");
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static void test_what_others_bound_does_no_harm(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        EXPECT(rig, 0, "bound-by-others (no harm):\n  " GPU0 "  on vfio-pci\n", "Nothing of Sluice is left on this node.");
        _cleanup_free_ char *json = check(rig, "-o json", 0);
        assert_non_null(strstr(json, "\"left\": 0"));
        assert_non_null(strstr(json, "\"word\": \"bound-by-others\""));
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                RIG_TEST(test_what_is_left_is_named_and_after_a_release_nothing_is),
                RIG_TEST(test_records_are_named_with_what_is_to_be_done),
                RIG_TEST(test_an_override_that_sluice_set_is_named_without_the_binding),
                RIG_TEST(test_a_device_whose_lock_is_not_free_is_named_in_time),
                RIG_TEST(test_what_others_bound_does_no_harm),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
