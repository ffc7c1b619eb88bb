/* SPDX-License-Identifier: Apache-2.0 */
/* Claims and the pods that have them: what the fake kubelet's podresources shows, and what it does not, against the records of
 * a sluiced whose clock for this runs a hundred times as fast. */
#include "rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"

#define GPU0 "0000:18:00.0"
enum { GRACE_MS = 400, UNSEEN_MS = 3000 }; /* quick_pods.h */

/* All records of claims as one text: "" = none. Caller frees. */
static char *records(struct rig *rig)
{
        _cleanup_free_ char *dir = xasprintf("%s/claims", rig->state_dir);
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct strbuf all = { 0 };
        struct err err;

        strbuf_add(&all, "");
        if (fs_list(AT_FDCWD, dir, &list, &err) < 0)
                return strbuf_take(&all);
        for (size_t i = 0; i < list.n; i++) {
                _cleanup_free_ char *path = xasprintf("%s/%s", dir, list.names[i]);
                char text[8192];
                if (fs_read(AT_FDCWD, path, text, sizeof(text), NULL, &err) >= 0)
                        strbuf_add(&all, text);
        }
        return strbuf_take(&all);
}

static bool recorded(struct rig *rig, const char *want)
{
        _cleanup_free_ char *all = records(rig);

        return want[0] ? strstr(all, want) != NULL : all[0] == '\0';
}

/* Until a record has @want in it; "" = until there is none. */
static void wait_recorded(struct rig *rig, const char *want)
{
        int64_t until = clock_ms() + RIG_SOON_MS;

        while (!recorded(rig, want)) {
                if (clock_ms() > until) {
                        _cleanup_free_ char *all = records(rig);
                        fail_msg("not in the records: \"%s\"; they are: %s", want, all);
                }
                (void)usleep(5 * 1000);
        }
}

/* And for so long, since that would be time enough to end a claim, it stays so. */
static void stays_recorded(struct rig *rig, const char *want, unsigned ms)
{
        for (int64_t until = clock_ms() + ms; clock_ms() < until; (void)usleep(20 * 1000))
                assert_true(recorded(rig, want));
}

static bool lists_were_asked(struct fk *k, void *ctx)
{
        return fk_calls(k).list >= *(unsigned *)ctx;
}

static void wait_lists(struct rig *rig, unsigned n)
{
        unsigned want = fk_calls(rig->k).list + n;

        assert_true(fk_wait(rig->k, RIG_SOON_MS, lists_were_asked, &want));
}

static void start_daemon(struct rig *rig)
{
        static char program[512];
        const char *bin = getenv("SLUICE_BIN");

        str_format(program, sizeof(program), "%s/sluiced-quick-pods", bin ? bin : "build/asan/bin");
        rig->program = program;
        rig_daemon(rig);
}

static void begin(struct rig *rig, const char *fixture, const char *config)
{
        rig_prepare(rig, fixture, config);
        rig_kubelet(rig, "1.34");
        start_daemon(rig);
}

/* One GPU in pod vms/NAME, seen there. */
static void run_a_vm(struct rig *rig, const char *name)
{
        _cleanup_free_ char *pod = xasprintf("vms/%s", name), *want = xasprintf("\"namespace\":\"vms\",\"name\":\"%s\"", name);
        struct fk_ask ask = { .resource = L40S, .n = 1 };

        if (fk_admit(rig->k, pod, "compute", false, &ask, 1, rig->text) < 0)
                fail_msg("%s", rig->text);
        wait_recorded(rig, want);
        assert_true(recorded(rig, "\"state\":\"seen\""));
        assert_true(recorded(rig, "\"container\":\"compute\""));
}
#define VM_A "\"namespace\":\"vms\",\"name\":\"vm-a\""

static void test_a_claim_tells_its_pod_and_ends_with_it(void **state)
{
        struct rig *rig = *state;

        begin(rig, "l40s-8", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        run_a_vm(rig, "vm-a");
        run_a_vm(rig, "vm-b");
        stays_recorded(rig, VM_A, 2 * GRACE_MS); /* shown is shown */
        fk_pod_end(rig->k, "vms/vm-a");
        for (int64_t until = clock_ms() + RIG_SOON_MS; recorded(rig, VM_A); (void)usleep(5 * 1000))
                assert_true(clock_ms() < until);
        assert_true(recorded(rig, "vm-b"));
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

/* Kubelet up to 1.33 lists pods that have ended, without their devices. */
static void test_a_pod_that_has_ended_may_still_be_listed(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8-vfio", NULL);
        rig_kubelet(rig, "1.26");
        start_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        run_a_vm(rig, "vm-a");
        fk_pod_end(rig->k, "vms/vm-a");
        wait_recorded(rig, "");
        rig_stop(rig);
}

static void test_a_claim_stays_while_the_vm_has_its_device_open(void **state)
{
        struct rig *rig = *state;
        struct err err;

        begin(rig, "l40s-8-vfio", NULL);
        rig_ready(rig, L40S, 8, 8);
        struct fk_run run = rig_run(rig, "vms/vm-a", L40S, 8);
        fk_run_done(&run);
        wait_recorded(rig, VM_A);
        ASSERT_OK(sim_hold(rig->sim, "dev/vfio/23", 4712, "qemu-kvm", &err), &err);
        fk_pod_end(rig->k, "vms/vm-a");
        assert_true(rig_logged(rig, GPU0 ": its pod vms/vm-a is gone, but its claim stays", RIG_SOON_MS));
        assert_true(rig_logged(rig, "qemu-kvm", RIG_SOON_MS));
        stays_recorded(rig, GPU0, 4 * GRACE_MS);
        assert_int_equal(rig_log_count(rig, "but its claim stays"), 1);
        assert_false(recorded(rig, "0000:19:00.0")); /* the others have ended */
        ASSERT_OK(sim_hold(rig->sim, "dev/vfio/23", -4712, "", &err), &err);
        wait_recorded(rig, "");
        rig_stop(rig);
}

/* A /proc of one's own pid namespace: the claim of a pod that has ended ends, and no host driver is let go of blindly. */
static void test_where_holders_cannot_be_seen_kubelets_word_is_enough(void **state)
{
        struct rig *rig = *state;
        struct err err;

        rig_prepare(rig, "l40s-8-vfio", NULL);
        _cleanup_free_ char *self = xasprintf("%s/proc/self", rig->sim_dir);
        assert_int_equal(mkdir(self, 0755), 0);
        rig_kubelet(rig, "1.34");
        start_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        ASSERT_OK(sim_hold(rig->sim, "dev/vfio/23", 4712, "qemu-kvm", &err), &err);
        struct fk_run run = rig_run(rig, "vms/vm-a", L40S, 8);
        fk_run_done(&run);
        wait_recorded(rig, VM_A);
        fk_pod_end(rig->k, "vms/vm-a");
        wait_recorded(rig, "");
        assert_int_equal(rig_log_count(rig, "qemu-kvm"), 0);
        rig_stop(rig);
}

static void test_a_kubelet_that_is_gone_ends_no_claim(void **state)
{
        struct rig *rig = *state;

        begin(rig, "l40s-8-vfio", NULL);
        rig_ready(rig, L40S, 8, 8);
        run_a_vm(rig, "vm-a");
        fk_down(rig->k);
        stays_recorded(rig, VM_A, UNSEEN_MS + 500);
        assert_int_equal(rig_log_count(rig, "kubelet does not tell which pods have devices"), 1);
        assert_true(fk_up(rig->k, 100));
        assert_true(rig_logged(rig, "kubelet tells again which pods have devices", RIG_SOON_MS));
        stays_recorded(rig, VM_A, 3 * GRACE_MS);
        fk_pod_end(rig->k, "vms/vm-a");
        wait_recorded(rig, "");
        rig_stop(rig);
}

static void test_a_kubelet_that_has_just_started_may_not_know_its_pods_yet(void **state)
{
        struct rig *rig = *state;

        begin(rig, "l40s-8-vfio", NULL);
        rig_ready(rig, L40S, 8, 8);
        run_a_vm(rig, "vm-a");
        fk_pods(rig->k, FK_PODS_UNKNOWN);
        assert_true(fk_restart(rig->k, 0));
        wait_lists(rig, 3);
        stays_recorded(rig, VM_A, 3 * GRACE_MS);
        fk_pods(rig->k, FK_PODS_TOLD);
        wait_lists(rig, 3);
        fk_pod_end(rig->k, "vms/vm-a");
        wait_recorded(rig, "");
        rig_stop(rig);
}

static void test_a_pod_that_ended_while_kubelet_restarted_is_gone_in_the_end(void **state)
{
        struct rig *rig = *state;

        begin(rig, "l40s-8-vfio", NULL);
        rig_ready(rig, L40S, 8, 8);
        run_a_vm(rig, "vm-a");
        fk_down(rig->k);
        fk_pod_end(rig->k, "vms/vm-a");
        assert_true(fk_up(rig->k, 0));
        stays_recorded(rig, VM_A, UNSEEN_MS / 2);
        wait_recorded(rig, "");
        rig_stop(rig);
}

static void test_refusals_nonsense_and_silence_end_no_claim_and_stop_nothing(void **state)
{
        static const enum fk_pods modes[] = { FK_PODS_REFUSED, FK_PODS_GARBAGE, FK_PODS_HELD };
        static const char *const bound = "0000:bb:00.0";
        struct rig *rig = *state;

        begin(rig, "l40s-8-vfio", NULL);
        rig_ready(rig, L40S, 8, 8);
        run_a_vm(rig, "vm-a");
        for (size_t i = 0; i < N_ELEMENTS(modes); i++) {
                fk_pods(rig->k, modes[i]);
                wait_lists(rig, 2);
                for (unsigned n = 0; n < 10; n++) {
                        int64_t before = clock_ms();
                        assert_int_equal(fk_raw_allocate(rig->k, L40S, &bound, 1, rig->text), 0);
                        assert_int_equal(fk_raw_prestart(rig->k, L40S, &bound, 1, rig->text), 0);
                        assert_true(clock_ms() - before < 400);
                        stays_recorded(rig, VM_A, 60);
                }
        }
        int64_t before = clock_ms(); /* nor does a List in flight hold up the end */
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        assert_true(clock_ms() - before < 3000);
        rig_stop(rig);
}

static void test_a_list_of_fifteen_mebibytes_is_read(void **state)
{
        struct rig *rig = *state;

        begin(rig, "l40s-8-vfio", NULL);
        rig_ready(rig, L40S, 8, 8);
        fk_set_pods_pad(rig->k, 15 << 20);
        run_a_vm(rig, "vm-a");
        fk_pod_end(rig->k, "vms/vm-a");
        wait_recorded(rig, "");
        assert_int_equal(rig_log_count(rig, "kubelet does not tell"), 0);
        rig_stop(rig);
}

static void test_a_device_that_is_given_again_has_the_next_pods_claim(void **state)
{
        struct rig *rig = *state;
        struct fk_run run;

        begin(rig, "l40s-8-vfio", NULL);
        rig_ready(rig, L40S, 8, 8);
        run = rig_run(rig, "vms/vm-a", L40S, 8);
        fk_run_done(&run);
        wait_recorded(rig, VM_A);
        fk_pod_end(rig->k, "vms/vm-a");
        run = rig_run(rig, "vms/vm-b", L40S, 8);
        fk_run_done(&run);
        wait_recorded(rig, "\"name\":\"vm-b\"");
        for (int64_t until = clock_ms() + RIG_SOON_MS; recorded(rig, VM_A); (void)usleep(5 * 1000))
                assert_true(clock_ms() < until);
        stays_recorded(rig, GPU0, 3 * GRACE_MS);
        rig_stop(rig);
}

static void test_what_no_pod_ever_has_is_free_in_the_end(void **state)
{
        static const char *const id = GPU0;
        struct rig *rig = *state;

        begin(rig, "l40s-8-vfio", NULL);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_raw_allocate(rig->k, L40S, &id, 1, rig->text), 0); /* kubelet does not write it down */
        wait_recorded(rig, "\"state\":\"answered\"");
        stays_recorded(rig, GPU0, 2 * GRACE_MS);
        wait_recorded(rig, "");
        assert_int_equal(rig_log_count(rig, GPU0 ": it was given to kubelet and no pod has it, its claim ends"), 1);
        rig_stop(rig);
}

static void test_claims_outlive_a_killed_daemon_and_lost_ones_are_learned_from_kubelet(void **state)
{
        struct rig *rig = *state;

        begin(rig, "l40s-8-vfio", NULL);
        rig_ready(rig, L40S, 8, 8);
        run_a_vm(rig, "vm-a");
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        start_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        stays_recorded(rig, VM_A, 3 * GRACE_MS);
        assert_int_equal(rig_log_count(rig, "there was no record of it"), 0);
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        _cleanup_free_ char *command = xasprintf("rm -rf %s/claims", rig->state_dir);
        assert_int_equal(system(command), 0); /* lint: a test's own directory */
        start_daemon(rig);
        wait_recorded(rig, VM_A);
        assert_true(rig_logged(rig, "pod vms/vm-a has it, says kubelet; there was no record of it", RIG_SOON_MS));
        rig_ready(rig, L40S, 8, 8);
        fk_pod_end(rig->k, "vms/vm-a");
        wait_recorded(rig, "");
        rig_stop(rig);
}

/* Kubelet counts by name: under another one it would give the VM's device to a second pod. */
static void test_a_name_that_changes_while_a_pod_has_the_device_is_its_pods_until_it_has_gone(void **state)
{
        struct rig *rig = *state;
        struct fk_run run;

        begin(rig, "l40s-8-vfio", NULL);
        rig_ready(rig, L40S, 8, 8);
        run_a_vm(rig, "vm-a");
        rig_config(rig, CONFIG "rules:\n  - resource: example.com/big\n");
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        start_daemon(rig);
        rig_ready(rig, "example.com/big", 7, 7);
        rig_ready(rig, L40S, 1, 1);
        /* Its container may start again; whoever asks by either name has another device or none. */
        if (fk_container_start(rig->k, "vms/vm-a", "compute", &run, rig->text) < 0)
                fail_msg("%s", rig->text);
        fk_run_done(&run);
        run = rig_run(rig, "vms/vm-b", "example.com/big", 7);
        fk_run_done(&run);
        assert_int_not_equal(fk_admit_one(rig->k, "vms/vm-c", L40S, 1, rig->text), 0);
        assert_int_not_equal(fk_admit_one(rig->k, "vms/vm-d", "example.com/big", 1, rig->text), 0);
        fk_pod_end(rig->k, "vms/vm-a");
        for (int64_t until = clock_ms() + RIG_SOON_MS; recorded(rig, VM_A); (void)usleep(5 * 1000))
                assert_true(clock_ms() < until);
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        start_daemon(rig);
        rig_ready(rig, "example.com/big", 8, 8);
        rig_stop(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_a_claim_tells_its_pod_and_ends_with_it),
                RIG_TEST(test_a_pod_that_has_ended_may_still_be_listed),
                RIG_TEST(test_a_claim_stays_while_the_vm_has_its_device_open),
                RIG_TEST(test_where_holders_cannot_be_seen_kubelets_word_is_enough),
                RIG_TEST(test_a_kubelet_that_is_gone_ends_no_claim),
                RIG_TEST(test_a_kubelet_that_has_just_started_may_not_know_its_pods_yet),
                RIG_TEST(test_a_pod_that_ended_while_kubelet_restarted_is_gone_in_the_end),
                RIG_TEST(test_refusals_nonsense_and_silence_end_no_claim_and_stop_nothing),
                RIG_TEST(test_a_list_of_fifteen_mebibytes_is_read),
                RIG_TEST(test_a_device_that_is_given_again_has_the_next_pods_claim),
                RIG_TEST(test_what_no_pod_ever_has_is_free_in_the_end),
                RIG_TEST(test_claims_outlive_a_killed_daemon_and_lost_ones_are_learned_from_kubelet),
                RIG_TEST(test_a_name_that_changes_while_a_pod_has_the_device_is_its_pods_until_it_has_gone),
        };

        return RUN(tests);
}
