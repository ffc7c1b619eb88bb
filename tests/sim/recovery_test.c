/* SPDX-License-Identifier: Apache-2.0 */
/* A daemon that comes after one that was killed, after a reboot, or on a state directory that is not what the last one left. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "claims/ledger.h"

#define GPU0  "0000:18:00.0"
#define OTHER "0000:bb:00.0"
enum { FAILED_PRECONDITION = 9 };

static int allocate(struct rig *rig, const char *id)
{
        return fk_raw_allocate(rig->k, L40S, &id, 1, rig->text);
}

static void assert_allocates(struct rig *rig, const char *id)
{
        if (allocate(rig, id) != 0)
                fail_msg("%s: %s", id, rig->text);
}

struct job {
        struct rig *rig;
        const char *id;
        const char *resource; /* NULL = L40S */
        int code;
        char text[FK_TEXT_MAX];
};

static void *allocate_thread(void *arg)
{
        struct job *job = arg;

        job->code = fk_raw_allocate(job->rig->k, job->resource ? job->resource : L40S, &job->id, 1, job->text);
        return NULL;
}

/* Relative to the state directory: "originals/0000:18:00.0.record". */
static char *in_state(struct rig *rig, const char *path)
{
        return xasprintf("%s/%s", rig->state_dir, path);
}

static bool has_record(struct rig *rig, const char *path)
{
        _cleanup_free_ char *whole = in_state(rig, path);

        return fs_exists(AT_FDCWD, whole) == 1;
}

static void wait_for_record(struct rig *rig, const char *path, bool there)
{
        for (int64_t until = clock_ms() + RIG_SOON_MS; has_record(rig, path) != there; (void)usleep(10 * 1000))
                if (clock_ms() > until)
                        fail_msg("%s is %s", path, there ? "not there" : "still there");
}

static void wait_for_driver(struct rig *rig, const char *bdf, const char *driver)
{
        char now[64];

        for (int64_t until = clock_ms() + RIG_SOON_MS; rig_driver(rig, bdf, now, sizeof(now)), !streq(now, driver); (void)usleep(10 * 1000))
                if (clock_ms() > until)
                        fail_msg("%s is on \"%s\"", bdf, now);
}

static bool record_says(struct rig *rig, const char *path, const char *text)
{
        _cleanup_free_ char *whole = in_state(rig, path);
        char content[4096];
        struct err err;

        return fs_read(AT_FDCWD, whole, content, sizeof(content), NULL, &err) == 0 && strstr(content, text);
}

static void wait_until_recorded(struct rig *rig, const char *path, const char *text)
{
        for (int64_t until = clock_ms() + RIG_SOON_MS; !record_says(rig, path, text); (void)usleep(10 * 1000))
                assert_true(clock_ms() < until);
}

#define ORIGINAL0 "originals/" GPU0 ".record"
#define CLAIM0    "claims/kubelet:" GPU0 ".record"

/* An Allocate of GPU0 whose unbind takes @delay_ms; the daemon is killed in the middle, and its hand with it if @hand_too. */
static void kill_in_the_middle(struct rig *rig, unsigned delay_ms, bool hand_too)
{
        struct job job = { .rig = rig, .id = GPU0 };
        char fault[64];
        pthread_t thread;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        str_format(fault, sizeof(fault), "unbind " GPU0 " delay %u times 1", delay_ms);
        rig_fault(rig, fault);
        assert_int_equal(pthread_create(&thread, NULL, allocate_thread, &job), 0);
        wait_for_driver(rig, GPU0, ""); /* the unbind is at work: no driver is shown */
        pid_t worker = rig_worker(rig, GPU0);
        assert_true(worker > 0);
        assert_true(record_says(rig, ORIGINAL0, "\"binding\""));
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        if (hand_too)
                assert_int_equal(kill(worker, SIGKILL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_not_equal(job.code, 0);
}

/* In a container, and under systemd, a hand dies with its daemon between two steps. */
static void test_a_bind_cut_in_the_middle_is_undone_by_the_next_daemon(void **state)
{
        struct rig *rig = *state;
        char override[64];
        struct err err;

        kill_in_the_middle(rig, 600, true);
        rig_daemon(rig);
        wait_for_driver(rig, GPU0, "nvidia");
        wait_for_record(rig, ORIGINAL0, false);
        assert_true(rig_logged(rig, "what was under way on " GPU0 " is undone: it is on nvidia again", RIG_SOON_MS));
        _cleanup_free_ char *path = xasprintf("%s/sys/bus/pci/devices/" GPU0 "/driver_override", rig->sim_dir);
        ASSERT_OK(fs_read_value(AT_FDCWD, path, override, sizeof(override), &err), &err);
        assert_string_equal(override, "(null)");
        rig_ready(rig, L40S, 8, 8);
        assert_allocates(rig, GPU0);
        assert_driver(rig, GPU0, "vfio-pci");
        rig_stop(rig);
}

/* The record is of a card that has left its slot. What is there now was never Sluice's to give back. */
static void test_another_card_in_the_slot_is_left_alone(void **state)
{
        struct rig *rig = *state;
        char override[64];
        struct err err;

        kill_in_the_middle(rig, 600, true);
        _cleanup_free_ char *path = xasprintf("%s/sys/bus/pci/devices/" GPU0 "/subsystem_device", rig->sim_dir);
        ASSERT_OK(fs_replace(AT_FDCWD, path, "0x1999\n", 7, 0444, &err), &err);
        rig_daemon(rig);
        assert_true(rig_logged(rig, "another device is left alone", RIG_SOON_MS));
        wait_for_record(rig, ORIGINAL0, false);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *override_path = xasprintf("%s/sys/bus/pci/devices/" GPU0 "/driver_override", rig->sim_dir);
        ASSERT_OK(fs_read_value(AT_FDCWD, override_path, override, sizeof(override), &err), &err);
        assert_string_equal(override, "vfio-pci");
        assert_driver(rig, GPU0, "");
        rig_stop(rig);
}

/* On a plain host it goes on alone; what it ends is kept. */
static void test_a_bind_that_the_hand_ends_alone_is_kept(void **state)
{
        struct rig *rig = *state;

        kill_in_the_middle(rig, 600, false);
        rig_daemon(rig);
        wait_for_driver(rig, GPU0, "vfio-pci");
        wait_until_recorded(rig, ORIGINAL0, "\"bound\"");
        assert_int_equal(rig_log_count(rig, "is undone"), 0);
        rig_ready(rig, L40S, 8, 8);
        assert_allocates(rig, GPU0);
        rig_stop(rig);
}

static void test_a_hand_that_dies_alone_is_cleaned_up_after_by_its_daemon(void **state)
{
        struct rig *rig = *state;
        struct job job = { .rig = rig, .id = GPU0 };
        pthread_t thread;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        rig_fault(rig, "unbind " GPU0 " delay 600 times 1");
        assert_int_equal(pthread_create(&thread, NULL, allocate_thread, &job), 0);
        wait_for_driver(rig, GPU0, "");
        assert_int_equal(kill(rig_worker(rig, GPU0), SIGKILL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_not_equal(job.code, 0);
        wait_for_driver(rig, GPU0, "nvidia"); /* nobody had to ask */
        wait_for_record(rig, ORIGINAL0, false);
        rig_stop(rig);
}

/* GPU0 bound by Sluice and given, and no daemon. */
static void leave_bound(struct rig *rig)
{
        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        assert_allocates(rig, GPU0);
        assert_true(record_says(rig, ORIGINAL0, "\"bound\"")); /* before the answer */
        wait_for_record(rig, CLAIM0, true);                    /* soon after it */
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
}

/* Serves, and has not touched GPU0, whose tree was @before; nor does it when it is asked for it again. */
static void serves_untouched(struct rig *rig, const char *before)
{
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        assert_allocates(rig, GPU0);
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
}

static void test_what_an_earlier_daemon_bound_is_adopted(void **state)
{
        struct rig *rig = *state;

        leave_bound(rig);
        _cleanup_free_ char *before = rig_tree(rig);
        serves_untouched(rig, before);
        assert_true(rig_logged(rig, "1 functions are bound by an earlier sluiced: adopted", RIG_SOON_MS));
        assert_int_equal(rig_log_count(rig, "count as an administrator's"), 0);
        rig_stop(rig);
}

/* In the state directory. */
static void shell(struct rig *rig, const char *commands)
{
        _cleanup_free_ char *command = xasprintf("cd %s && { %s; }", rig->state_dir, commands);

        assert_int_equal(system(command), 0); /* lint: in a test's own directory */
}

static void test_a_state_directory_that_is_lost_is_said_and_nothing_is_touched(void **state)
{
        struct rig *rig = *state;

        leave_bound(rig);
        _cleanup_free_ char *before = rig_tree(rig);
        shell(rig, "rm -r originals claims stuck");
        serves_untouched(rig, before);
        assert_true(rig_logged(rig, "1 functions are on a VFIO driver and no record says that Sluice bound them", RIG_SOON_MS));
        rig_stop(rig);
}

/* The original of GPU0 as if it were in @word. */
static void write_original(struct rig *rig, const char *word)
{
        _cleanup_free_ char *path = in_state(rig, ORIGINAL0);
        _cleanup_close_ int dir = fs_open(AT_FDCWD, rig->state_dir, O_RDONLY | O_DIRECTORY, 0);
        struct records *records;
        char content[4096];
        struct err err;

        ASSERT_OK(fs_read(AT_FDCWD, path, content, sizeof(content), NULL, &err), &err);
        const char *text = strchr(content, '\n') + 1, *at = strstr(text, "\"bound\"");
        assert_non_null(at);
        _cleanup_free_ char *changed = xasprintf("%.*s\"%s\"%s", (int)(at - text), text, word, at + strlen("\"bound\""));
        ASSERT_OK(records_open(dir, "originals", LEDGER_VERSION, &records, &err), &err);
        ASSERT_OK(records_put(records, GPU0, changed, &err), &err);
        records_close(records);
}

/* One from in the middle of a plan: it says that the plan is at work, and the device is a pod's by now. */
static void test_a_state_directory_from_a_backup_does_not_undo_what_is_bound(void **state)
{
        static const char *const words[] = { "binding", "restoring" };
        struct rig *rig = *state;

        leave_bound(rig);
        _cleanup_free_ char *before = rig_tree(rig);
        for (size_t i = 0; i < N_ELEMENTS(words); i++) {
                write_original(rig, words[i]);
                shell(rig, "rm -rf claims");
                serves_untouched(rig, before);
                wait_until_recorded(rig, ORIGINAL0, "\"bound\"");
                assert_int_equal(rig_log_count(rig, "is complete: it stays bound to vfio-pci"), i + 1);
                assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        }
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

/* A downgrade. What the newer one knows of its claims this one cannot read: it refuses, nothing is listed, and nothing is lost to the
 * newer one when it is back. */
static void test_what_a_newer_sluice_wrote_is_refused_and_nothing_is_offered(void **state)
{
        static const char *const kinds[] = { "claims", "originals", "cordon", "stuck" };
        struct rig *rig = *state;

        leave_bound(rig);
        _cleanup_free_ char *before = rig_tree(rig);
        for (size_t i = 0; i < N_ELEMENTS(kinds); i++) {
                _cleanup_free_ char *newer =
                        xasprintf("mkdir -p %s; printf 'sluice %s 2 a3a6bf43 2\n{}' > %s/x.record", kinds[i], kinds[i], kinds[i]);
                _cleanup_free_ char *said = xasprintf("a newer Sluice wrote %s/x.record (it is of version 2", kinds[i]);
                _cleanup_free_ char *record = xasprintf("%s/x.record", kinds[i]);
                _cleanup_free_ char *clear = xasprintf("rm %s/x.record", kinds[i]);
                shell(rig, newer);
                rig_daemon(rig);
                assert_int_equal(rig_reap(rig->pid, RIG_SOON_MS), 1);
                rig->pid = 0;
                assert_true(rig_logged(rig, said, RIG_SOON_MS));
                assert_true(has_record(rig, record));
                assert_int_equal(rig_counts(rig, L40S).allocatable, 0);
                shell(rig, clear);
        }
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        rig_daemon(rig); /* the newer one is back */
        rig_ready(rig, L40S, 8, 8);
        assert_true(has_record(rig, ORIGINAL0));
        rig_stop(rig);
}

static void test_records_that_cannot_be_trusted_are_set_aside_by_name(void **state)
{
        static const char *const rows[][2] = {
                { "truncate -s -20 " ORIGINAL0, "it is torn or was changed" },
                { "printf 'garbage' > " ORIGINAL0, "does not begin with a line of Sluice's" },
                { "sed -i '1s/^sluice originals 1 /sluice originals 0 /' " ORIGINAL0, "it is of version 0, this program reads version 1" },
                { ": > " ORIGINAL0, "does not begin with a line of Sluice's" },
        };
        struct rig *rig = *state;

        leave_bound(rig);
        _cleanup_free_ char *before = rig_tree(rig);
        shell(rig, "cp " ORIGINAL0 " whole");
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                shell(rig, "cp whole " ORIGINAL0 "; rm -f " ORIGINAL0 ".bad");
                shell(rig, rows[i][0]);
                serves_untouched(rig, before);
                if (!rig_logged(rig, rows[i][1], RIG_SOON_MS))
                        fail_msg("not logged: %s", rows[i][1]);
                assert_true(has_record(rig, ORIGINAL0 ".bad"));
                assert_false(has_record(rig, ORIGINAL0));
                assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL);
        }
        rig_daemon(rig);
        assert_true(rig_logged(rig, "no record says that Sluice bound them", RIG_SOON_MS));
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static void test_what_an_administrator_took_meanwhile_is_his(void **state)
{
        struct rig *rig = *state;
        struct err err;

        leave_bound(rig);
        ASSERT_OK(sim_write(rig->sim, "bus/pci/drivers/vfio-pci/unbind", GPU0, &err), &err);
        ASSERT_OK(sim_write(rig->sim, "bus/pci/devices/" GPU0 "/driver_override", "\n", &err), &err);
        ASSERT_OK(sim_write(rig->sim, "bus/pci/drivers_probe", GPU0, &err), &err);
        assert_driver(rig, GPU0, "nvidia");
        rig_daemon(rig);
        assert_true(
                rig_logged(rig, GPU0 " was bound to vfio-pci by Sluice and is on nvidia now: it is left to whoever did that", RIG_SOON_MS));
        wait_for_record(rig, ORIGINAL0, false);
        assert_driver(rig, GPU0, "nvidia");
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

/* What he binds to VFIO by himself afterwards is not Sluice's to give back, so that the record must not wait for the next start. */
static void test_what_an_administrator_takes_while_the_daemon_runs_is_his(void **state)
{
        struct rig *rig = *state;
        struct err err;

        leave_bound(rig);
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        assert_true(record_says(rig, ORIGINAL0, "\"bound\""));
        ASSERT_OK(sim_write(rig->sim, "bus/pci/drivers/vfio-pci/unbind", GPU0, &err), &err);
        ASSERT_OK(sim_write(rig->sim, "bus/pci/devices/" GPU0 "/driver_override", "\n", &err), &err);
        ASSERT_OK(sim_write(rig->sim, "bus/pci/drivers_probe", GPU0, &err), &err);
        assert_true(
                rig_logged(rig, GPU0 " was bound to vfio-pci by Sluice and is on nvidia now: it is left to whoever did that", RIG_SOON_MS));
        wait_for_record(rig, ORIGINAL0, false);
        assert_driver(rig, GPU0, "nvidia");
        rig_stop(rig);
}

/* vfio-pci was removed, or reloaded without taking the device. */
static void test_a_device_of_ours_without_driver_is_bound_again_and_its_former_driver_is_not_forgotten(void **state)
{
        struct rig *rig = *state;
        struct err err;

        leave_bound(rig);
        ASSERT_OK(sim_write(rig->sim, "bus/pci/drivers/vfio-pci/unbind", GPU0, &err), &err);
        rig_daemon(rig);
        assert_true(rig_logged(rig, GPU0 " was bound to vfio-pci by Sluice and has no driver now", RIG_SOON_MS));
        rig_ready(rig, L40S, 8, 8);
        assert_allocates(rig, GPU0);
        assert_driver(rig, GPU0, "vfio-pci");
        assert_true(record_says(rig, ORIGINAL0, "\"bound\""));
        assert_true(record_says(rig, ORIGINAL0, "\"driver\":\"nvidia\""));
        assert_true(record_says(rig, ORIGINAL0, "\"driver_override\":\"\""));
        rig_stop(rig);
}

/* ---- a reboot ---- */

static void write_host(struct rig *rig, const char *path, const char *text)
{
        _cleanup_free_ char *whole = xasprintf("%s/%s", rig->sim_dir, path);
        struct err err;

        ASSERT_OK(fs_write(AT_FDCWD, whole, text, &err), &err);
}

#define BOOT_ID "proc/sys/kernel/random/boot_id"

/* The group of @bdf has another number now. */
static void renumber(struct rig *rig, const char *bdf, unsigned group)
{
        _cleanup_free_ char *link = xasprintf("%s/sys/bus/pci/devices/%s/iommu_group", rig->sim_dir, bdf);
        _cleanup_free_ char *target = xasprintf("/sys/kernel/iommu_groups/%u", group);
        _cleanup_free_ char *node = xasprintf("%s/dev/vfio/%u", rig->sim_dir, group);
        _cleanup_free_ char *made = xasprintf("mkdir -p %s/sys/kernel/iommu_groups/%u/devices", rig->sim_dir, group);

        assert_int_equal(system(made), 0); /* lint: in a test's own directory */
        assert_int_equal(unlink(link), 0);
        assert_int_equal(symlink(target, link), 0);
        _cleanup_close_ int fd = open(node, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
}

/* Kubelet keeps its pods and their answers; it asks only to verify. */
static void test_an_answer_of_before_a_reboot_that_is_not_true_any_more_does_not_start_a_container(void **state)
{
        struct rig *rig = *state;
        struct fk_run run;

        rig_prepare(rig, "l40s-8-vfio", ON_ALLOCATE);
        write_host(rig, BOOT_ID, "11111111-1111-4111-8111-111111111111");
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_admit_one(rig->k, "moved", L40S, 8, rig->text), 0);
        assert_int_equal(fk_container_start(rig->k, "moved", "main", &run, rig->text), 0);
        fk_run_done(&run);
        wait_for_record(rig, CLAIM0, true);
        wait_for_record(rig, "claims/kubelet:" OTHER ".record", true);
        assert_int_equal(rig_end(rig, SIGTERM), 0);

        write_host(rig, BOOT_ID, "22222222-2222-4222-8222-222222222222");
        renumber(rig, GPU0, 997);
        rig_daemon(rig);
        assert_true(rig_logged(rig, "device " GPU0 " of " L40S ", given to", RIG_SOON_MS)); /* where kubelet does not even ask */
        assert_int_equal(rig_log_count(rig, "a pod that still has it must be deleted"), 1);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_container_start(rig->k, "moved", "main", &run, rig->text), -1);
        assert_non_null(strstr(rig->text, "[answer-outdated]"));
        assert_non_null(strstr(rig->text, "in group 997 now"));
        assert_non_null(strstr(rig->text, "delete the pod"));
        fk_pod_end(rig->k, "moved");
        assert_int_equal(fk_admit_one(rig->k, "successor", L40S, 8, rig->text), 0);
        assert_int_equal(fk_container_start(rig->k, "successor", "main", &run, rig->text), 0);
        assert_true(rig_has_node(&run, "/dev/vfio/997"));
        fk_run_done(&run);
        rig_stop(rig);
}

/* A binding ends with its boot; what has the device in the next one is not Sluice's doing. */
static void test_a_reboot_ends_what_was_bound_and_what_was_under_way(void **state)
{
        struct rig *rig = *state;

        leave_bound(rig);
        write_original(rig, "binding");
        write_host(rig, BOOT_ID, "22222222-2222-4222-8222-222222222222"); /* vfio-pci.ids= has it in this one */
        _cleanup_free_ char *before = rig_tree(rig);
        serves_untouched(rig, before);
        assert_true(rig_logged(rig, "the host has rebooted: 1 bindings of before are forgotten", RIG_SOON_MS));
        wait_for_record(rig, ORIGINAL0, false);
        rig_stop(rig);
}

/* ---- the disk ---- */

static void test_without_room_for_a_record_nothing_is_bound_and_what_is_bound_is_given(void **state)
{
        struct rig *rig = *state;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                skip(); /* no right to mount here */
        rig_prepare(rig, "l40s-8", ON_ALLOCATE);
        assert_int_equal(mkdir(rig->state_dir, 0700), 0);
        assert_int_equal(mount("state", rig->state_dir, "tmpfs", 0, "size=1m,nr_inodes=100"), 0);
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        assert_allocates(rig, OTHER);
        wait_for_record(rig, "claims/kubelet:" OTHER ".record", true);
        _cleanup_free_ char *before = rig_tree(rig);
        shell(rig, "i=0; while touch filler$i; do i=$((i + 1)); done 2>/dev/null; :");
        assert_int_equal(allocate(rig, GPU0), FAILED_PRECONDITION);
        if (!strstr(rig->text, "[not-recorded]") || !strstr(rig->text, "No space left") || !strstr(rig->text, "nothing was touched"))
                fail_msg("%s", rig->text);
        assert_allocates(rig, OTHER);
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        assert_string_equal(rig_health(rig, L40S, GPU0), "Healthy");
        shell(rig, "rm filler*");
        assert_allocates(rig, GPU0);
        rig_stop(rig);
        assert_int_equal(umount(rig->state_dir), 0);
}

/* ---- what happens while a bind is under way ---- */

/* An Allocate of GPU0 whose unbind takes a while, in a thread of its own, when it has come so far. */
static pthread_t allocate_slowly(struct rig *rig, struct job *job)
{
        pthread_t thread;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        rig_fault(rig, "unbind " GPU0 " delay 1000 times 1");
        *job = (struct job){ .rig = rig, .id = GPU0 };
        assert_int_equal(pthread_create(&thread, NULL, allocate_thread, job), 0);
        wait_for_driver(rig, GPU0, "");
        return thread;
}

/* Kubelet gives an id again when it takes the first one's pod for gone: the second is answered after the first, by the same binding. */
static void test_two_requests_for_one_device_at_once_are_one_binding(void **state)
{
        struct rig *rig = *state;
        struct job job, again;
        pthread_t second;

        pthread_t first = allocate_slowly(rig, &job);
        again = job;
        assert_int_equal(pthread_create(&second, NULL, allocate_thread, &again), 0);
        assert_int_equal(pthread_join(first, NULL), 0);
        assert_int_equal(pthread_join(second, NULL), 0);
        assert_int_equal(job.code, 0);
        assert_int_equal(again.code, 0);
        assert_driver(rig, GPU0, "vfio-pci");
        assert_true(record_says(rig, ORIGINAL0, "\"driver\":\"nvidia\""));
        rig_stop(rig);
}

#define VF1 "0000:4d:00.1"
#define VF2 "0000:4d:00.2"

/* Two devices, one card: the second waits until the first is bound, and then is bound by a plan of its own. */
static void test_two_requests_for_one_card_at_once_are_bound_one_after_the_other(void **state)
{
        struct rig *rig = *state;
        struct job first = { .rig = rig, .id = VF1, .resource = "example.com/vf" },
                   second = { .rig = rig, .id = VF2, .resource = "example.com/vf" };
        pthread_t threads[2];
        struct err err;

        rig_prepare(rig, "pf-with-vfs",
                    CONFIG "rules:\n  - select: {addresses: [\"" VF1 "\", \"" VF2
                           "\"]}\n    resource: example.com/vf\n    bind: on-allocate\n");
        assert_int_equal(sim_write(rig->sim, "bus/pci/devices/" VF1 "/driver/unbind", VF1, &err), 0);
        assert_int_equal(sim_write(rig->sim, "bus/pci/devices/" VF2 "/driver/unbind", VF2, &err), 0);
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, "example.com/vf", 2, 2);
        rig_fault(rig, "drivers_probe " VF1 " delay 1500 times 1");
        assert_int_equal(pthread_create(&threads[0], NULL, allocate_thread, &first), 0);
        wait_until_recorded(rig, "originals/" VF1 ".record", "\"binding\"");
        assert_int_equal(pthread_create(&threads[1], NULL, allocate_thread, &second), 0);
        (void)usleep(500 * 1000);
        assert_false(has_record(rig, "originals/" VF2 ".record")); /* nothing of it has begun */
        assert_driver(rig, VF2, "");
        assert_int_equal(pthread_join(threads[0], NULL), 0);
        assert_int_equal(pthread_join(threads[1], NULL), 0);
        if (first.code != 0 || second.code != 0)
                fail_msg("%s; %s", first.text, second.text);
        assert_driver(rig, VF1, "vfio-pci");
        assert_driver(rig, VF2, "vfio-pci");
        rig_stop(rig);
}

/* What no rule allows any more is not given; it is bound, and known as ours. */
static void test_a_rule_that_goes_while_its_device_is_bound_is_obeyed(void **state)
{
        struct rig *rig = *state;
        struct job job;

        pthread_t thread = allocate_slowly(rig, &job);
        rig_config(rig, CONFIG "rules:\n  - select: {addresses: [\"" GPU0 "\"]}\n    deny: true\n"
                               "  - select: {ids: [\"10de:26b9\"]}\n    bind: on-allocate\n");
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        if (job.code == 0 || !strstr(job.text, "no-longer-offered"))
                fail_msg("code %d: %s", job.code, job.text);
        wait_until_recorded(rig, ORIGINAL0, "\"bound\"");
        assert_true(rig_wait_health(rig, L40S, GPU0, "Unhealthy", RIG_SOON_MS));
        assert_allocates(rig, OTHER);
        rig_stop(rig);
}

static void test_a_device_that_is_unplugged_while_it_is_bound_is_refused_and_forgotten(void **state)
{
        struct rig *rig = *state;
        struct job job;

        pthread_t thread = allocate_slowly(rig, &job);
        rig_unplug(rig, GPU0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_not_equal(job.code, 0);
        wait_for_record(rig, ORIGINAL0, false);
        assert_true(rig_wait_health(rig, L40S, GPU0, "Unhealthy", RIG_SOON_MS));
        rig_plug(rig, GPU0);
        rig_ready(rig, L40S, 8, 8);
        assert_allocates(rig, GPU0);
        assert_true(record_says(rig, ORIGINAL0, "\"driver\":\"nvidia\""));
        rig_stop(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_a_bind_cut_in_the_middle_is_undone_by_the_next_daemon),
                RIG_TEST(test_another_card_in_the_slot_is_left_alone),
                RIG_TEST(test_a_bind_that_the_hand_ends_alone_is_kept),
                RIG_TEST(test_a_hand_that_dies_alone_is_cleaned_up_after_by_its_daemon),
                RIG_TEST(test_what_an_earlier_daemon_bound_is_adopted),
                RIG_TEST(test_a_state_directory_that_is_lost_is_said_and_nothing_is_touched),
                RIG_TEST(test_a_state_directory_from_a_backup_does_not_undo_what_is_bound),
                RIG_TEST(test_what_a_newer_sluice_wrote_is_refused_and_nothing_is_offered),
                RIG_TEST(test_records_that_cannot_be_trusted_are_set_aside_by_name),
                RIG_TEST(test_what_an_administrator_took_meanwhile_is_his),
                RIG_TEST(test_what_an_administrator_takes_while_the_daemon_runs_is_his),
                RIG_TEST(test_a_device_of_ours_without_driver_is_bound_again_and_its_former_driver_is_not_forgotten),
                RIG_TEST(test_an_answer_of_before_a_reboot_that_is_not_true_any_more_does_not_start_a_container),
                RIG_TEST(test_a_reboot_ends_what_was_bound_and_what_was_under_way),
                RIG_TEST(test_two_requests_for_one_device_at_once_are_one_binding),
                RIG_TEST(test_two_requests_for_one_card_at_once_are_bound_one_after_the_other),
                RIG_TEST(test_a_rule_that_goes_while_its_device_is_bound_is_obeyed),
                RIG_TEST(test_a_device_that_is_unplugged_while_it_is_bound_is_refused_and_forgotten),
                RIG_TEST(test_without_room_for_a_record_nothing_is_bound_and_what_is_bound_is_given),
        };

        return RUN(tests);
}
