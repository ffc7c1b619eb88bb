/* SPDX-License-Identifier: Apache-2.0 */
/* `sluicectl release --idle`: what nobody has goes back, and everything else stays, with the reason. sluiced, hands and kubelet's lists
 * are real. */
#include "rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"

#define GPU0 "0000:18:00.0"
#define GPU1 "0000:19:00.0"
enum { EVERYTHING = 0, FAILED = 1, NOBODY = 3, NOT_FOUND = 4, LEFT = 5, SAID_MAX = 1 << 16 };

/* `sluicectl release --idle REST`, which ends with @status. */
static char *release(struct rig *rig, const char *rest, int status)
{
        _cleanup_free_ char *arguments = xasprintf("release --idle --run-dir %s %s", rig->run_dir, rest);
        char *text = xcalloc(SAID_MAX, 1);
        int have = rig_ctl(rig, arguments, text, SAID_MAX);

        if (have != status)
                fail_msg("sluicectl %s: status %d instead of %d: %s", arguments, have, status, text);
        return text;
}

static void expect(struct rig *rig, const char *rest, int status, const char *part)
{
        _cleanup_free_ char *text = release(rig, rest, status);

        if (!strstr(text, part))
                fail_msg("\"%s\" is not in\n%s", part, text);
}

static unsigned on_driver(struct rig *rig, const char *want)
{
        static const char *const gpus[] = { GPU0,           GPU1,           "0000:3a:00.0", "0000:3b:00.0",
                                            "0000:9a:00.0", "0000:9b:00.0", "0000:ba:00.0", "0000:bb:00.0" };
        unsigned n = 0;

        for (size_t i = 0; i < N_ELEMENTS(gpus); i++) {
                char driver[64];
                rig_driver(rig, gpus[i], driver, sizeof(driver));
                n += streq(driver, want);
        }
        return n;
}

static size_t n_records(struct rig *rig, const char *kind)
{
        _cleanup_free_ char *path = xasprintf("%s/%s", rig->state_dir, kind);
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct err err;

        ASSERT_OK(fs_list(AT_FDCWD, path, &list, &err), &err);
        return list.n;
}

static void begin(struct rig *rig, const char *config, unsigned allocatable)
{
        rig_open(rig, "l40s-8", "1.34", config);
        rig_ready(rig, L40S, 8, allocatable);
}

static void test_what_was_bound_at_start_goes_back_and_is_not_bound_again_at_once(void **state)
{
        struct rig *rig = *state;

        begin(rig, AT_START, 8);
        assert_int_equal(on_driver(rig, "vfio-pci"), 8);
        expect(rig, "", EVERYTHING, "8 given back, 0 left.");
        assert_int_equal(on_driver(rig, "nvidia"), 8);
        assert_int_equal(n_records(rig, "originals"), 0);
        rig_ready(rig, L40S, 8, 0); /* withheld, else they would be bound again */
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        (void)usleep(500 * 1000);
        assert_int_equal(on_driver(rig, "nvidia"), 8);
        expect(rig, "", EVERYTHING, "Nothing on this node is bound by Sluice.");
        expect(rig, GPU0, EVERYTHING, GPU0 "  nothing to do: Sluice has not bound it");

        /* The next start is a start. */
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(on_driver(rig, "vfio-pci"), 8);
        rig_stop(rig);
}

static void test_uncordon_offers_again_what_was_given_back(void **state)
{
        struct rig *rig = *state;
        char text[1024];

        begin(rig, AT_START, 8);
        expect(rig, GPU0 " " GPU1, EVERYTHING, "2 given back, 0 left.");
        assert_int_equal(on_driver(rig, "nvidia"), 2);
        assert_true(rig_wait_health(rig, L40S, GPU0, "Unhealthy", RIG_SOON_MS));
        _cleanup_free_ char *uncordon = xasprintf("uncordon --run-dir %s " GPU0, rig->run_dir);
        assert_int_equal(rig_ctl(rig, uncordon, text, sizeof(text)), 0);
        assert_true(rig_wait_health(rig, L40S, GPU0, "Healthy", RIG_SOON_MS));
        assert_int_equal(n_records(rig, "cordon"), 0);
        rig_stop(rig);
}

static void test_a_dry_run_shows_the_plan_and_changes_nothing(void **state)
{
        struct rig *rig = *state;

        begin(rig, AT_START, 8);
        _cleanup_free_ char *before = rig_tree(rig);
        _cleanup_free_ char *text = release(rig, "--dry-run " GPU0, EVERYTHING);
        static const char *const parts[] = { GPU0 "  would be given back to nvidia:", "* unbind " GPU0 " from vfio-pci",
                                             "1 would be given back, 0 would be left." };
        for (size_t i = 0; i < N_ELEMENTS(parts); i++)
                if (!strstr(text, parts[i]))
                        fail_msg("\"%s\" is not in\n%s", parts[i], text);
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        assert_int_equal(n_records(rig, "originals"), 8);
        assert_string_equal(rig_health(rig, L40S, GPU0), "Healthy");
        rig_stop(rig);
}

static void test_what_a_pod_has_is_left_with_its_name(void **state)
{
        struct rig *rig = *state;

        begin(rig, ON_ALLOCATE, 8);
        struct fk_run run = rig_run(rig, "vms/vm-a", L40S, 8);
        fk_run_done(&run);
        assert_int_equal(on_driver(rig, "vfio-pci"), 8);
        expect(rig, "--dry-run", LEFT, "0 would be given back, 8 would be left.");
        expect(rig, "", LEFT, "left: claimed: it was given to somebody: pod vms/vm-a has " GPU0);
        assert_int_equal(on_driver(rig, "vfio-pci"), 8);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

/* Its record is lost: kubelet's word is enough. */
static void test_what_kubelet_shows_is_left_though_no_record_says_so(void **state)
{
        struct rig *rig = *state;

        begin(rig, ON_ALLOCATE, 8);
        struct fk_run run = rig_run(rig, "vms/vm-a", L40S, 8);
        fk_run_done(&run);
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        _cleanup_free_ char *lose = xasprintf("rm -r %s/claims", rig->state_dir);
        assert_int_equal(system(lose), 0);
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        expect(rig, "", LEFT, "pod vms/vm-a has " GPU0);
        assert_int_equal(on_driver(rig, "vfio-pci"), 8);
        rig_stop(rig);
}

static void test_where_kubelet_does_not_tell_nothing_is_free(void **state)
{
        struct rig *rig = *state;

        begin(rig, AT_START, 8);
        fk_pods(rig->k, FK_PODS_REFUSED);
        expect(rig, "", LEFT, GPU0 "  left: pods-unknown: kubelet does not tell which pods have devices");
        assert_int_equal(on_driver(rig, "vfio-pci"), 8);
        rig_ready(rig, L40S, 8, 8); /* and offered as before */
        fk_pods(rig->k, FK_PODS_TOLD);
        expect(rig, "", EVERYTHING, "8 given back");
        rig_stop(rig);
}

static void test_what_somebody_has_open_is_left_with_his_name(void **state)
{
        struct rig *rig = *state;
        char group[64], node[96];
        struct err err;

        begin(rig, AT_START, 8);
        rig_link(rig, "sys/bus/pci/devices/" GPU0 "/iommu_group", group, sizeof(group));
        str_format(node, sizeof(node), "/dev/vfio/%s", group);
        ASSERT_OK(sim_hold(rig->sim, node, 4242, "qemu-kvm", &err), &err);
        expect(rig, "--dry-run " GPU0, LEFT, GPU0 "  left: held: a process still has the device open: ");
        expect(rig, "", LEFT, "qemu-kvm");
        assert_driver(rig, GPU0, "vfio-pci");
        assert_int_equal(on_driver(rig, "nvidia"), 7);
        assert_int_equal(n_records(rig, "originals"), 1);
        assert_true(rig_wait_health(rig, L40S, GPU0, "Healthy", RIG_SOON_MS));
        ASSERT_OK(sim_hold(rig->sim, node, -4242, "", &err), &err);
        expect(rig, "", EVERYTHING, "1 given back, 0 left.");
        assert_driver(rig, GPU0, "nvidia");
        rig_stop(rig);
}

static void test_what_an_administrator_bound_is_left_to_him(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", AT_START);
        rig_ready(rig, L40S, 8, 8);
        expect(rig, "", EVERYTHING, "Nothing on this node is bound by Sluice.");
        expect(rig, GPU0, EVERYTHING, "it is on vfio-pci, and no record says that Sluice bound it");
        assert_int_equal(on_driver(rig, "vfio-pci"), 8);
        expect(rig, "0000:18:00.7 " GPU0, NOT_FOUND, "near: " GPU0);
        rig_stop(rig);
}

static void test_a_driver_that_hangs_leaves_its_device_stuck_and_gives_the_others_back(void **state)
{
        struct rig *rig = *state;

        begin(rig, CONFIG "bindDeadline: 2s\nrules:\n  - select: {ids: [\"10de:26b9\"]}\n    bind: at-start\n", 8);
        rig_fault(rig, "unbind " GPU0 " hang");
        expect(rig, "", LEFT, GPU0 "  left: stuck: ");
        assert_int_equal(on_driver(rig, "nvidia"), 7);
        expect(rig, "", LEFT, GPU0 "  left: stuck: ");
        rig_stop(rig);
}

/* The hand dies with it: what it left is finished by the next daemon, from the record. */
static void test_a_daemon_that_is_killed_meanwhile_leaves_a_record_that_says_so(void **state)
{
        struct rig *rig = *state;

        begin(rig, AT_START, 8);
        rig_fault(rig, "unbind " GPU0 " delay 1500");
        _cleanup_free_ char *background = xasprintf("%s/sluicectl release --idle --run-dir %s >/dev/null 2>&1 &",
                                                    getenv("SLUICE_BIN") ? getenv("SLUICE_BIN") : "build/asan/bin", rig->run_dir);
        assert_int_equal(system(background), 0);
        pid_t worker = 0;
        for (int64_t until = clock_ms() + RIG_SOON_MS; (worker = rig_worker(rig, GPU0)) == 0 && clock_ms() < until;)
                (void)usleep(1000);
        assert_true(worker > 0);
        (void)usleep(300 * 1000); /* the others are done by now */
        assert_int_equal(kill(worker, SIGKILL), 0);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        rig_config(rig, ON_ALLOCATE);
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        char driver[64] = "";
        for (int64_t until = clock_ms() + RIG_SOON_MS; !streq(driver, "nvidia") && clock_ms() < until; (void)usleep(10 * 1000))
                rig_driver(rig, GPU0, driver, sizeof(driver));
        assert_string_equal(driver, "nvidia");
        assert_int_equal(on_driver(rig, "nvidia"), 8);
        rig_stop(rig);
}

static void test_without_a_daemon_it_says_how_to_get_one(void **state)
{
        struct rig *rig = *state;

        expect(rig, "", NOBODY, "start it again on this node, with the same state directory");
        rig->over = true;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                RIG_TEST(test_what_was_bound_at_start_goes_back_and_is_not_bound_again_at_once),
                RIG_TEST(test_uncordon_offers_again_what_was_given_back),
                RIG_TEST(test_a_dry_run_shows_the_plan_and_changes_nothing),
                RIG_TEST(test_what_a_pod_has_is_left_with_its_name),
                RIG_TEST(test_what_kubelet_shows_is_left_though_no_record_says_so),
                RIG_TEST(test_where_kubelet_does_not_tell_nothing_is_free),
                RIG_TEST(test_what_somebody_has_open_is_left_with_his_name),
                RIG_TEST(test_what_an_administrator_bound_is_left_to_him),
                RIG_TEST(test_a_driver_that_hangs_leaves_its_device_stuck_and_gives_the_others_back),
                RIG_TEST(test_a_daemon_that_is_killed_meanwhile_leaves_a_record_that_says_so),
                RIG_TEST(test_without_a_daemon_it_says_how_to_get_one),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
