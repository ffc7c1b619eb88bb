/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated kernel beyond its table: making one, faults, holders, hot-plug, and writers that die. */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "scratch.h"
#include "sim/capture.h"
#include "sim/sim.h"

#define HOSTS  "tests/fixtures/hosts/"
#define QUADRO HOSTS "quadro-4fn.capture"
#define GPU    "0000:61:00.0"
#define MATE   "0000:61:00.1"

/* A simulated host for one test. */
struct world {
        char *dir;
        struct sim *sim;
        struct err err;
};

static void world_done(struct world *w)
{
        sim_free(w->sim);
        scratch_done(&w->dir);
}
#define _cleanup_world_ _cleanup_(world_done)

static struct world world_new(const char *capture)
{
        struct world w = { .dir = scratch_new() };

        ASSERT_OK(sim_prepare(capture, w.dir, &w.err), &w.err);
        ASSERT_OK(sim_open(&w.sim, w.dir, &w.err), &w.err);
        return w;
}

static const char *driver_of(const struct world *w, const char *bdf)
{
        static char name[64];
        char path[128];
        struct err ignored;

        str_format(path, sizeof(path), "bus/pci/devices/%s/driver", bdf);
        if (fs_readlink_last(sim_tree(w->sim)->sys, path, name, sizeof(name), &ignored) < 0)
                return "";
        return name;
}

static int write_to(struct world *w, const char *bdf, const char *attribute, const char *value)
{
        char path[128];

        str_format(path, sizeof(path), "bus/pci/devices/%s/%s", bdf, attribute);
        return sim_write(w->sim, path, value, &w->err);
}

static void to_vfio(struct world *w, const char *bdf)
{
        ASSERT_OK(write_to(w, bdf, "driver_override", "vfio-pci"), &w->err);
        ASSERT_OK(write_to(w, bdf, "driver/unbind", bdf), &w->err);
        ASSERT_OK(sim_write(w->sim, "bus/pci/drivers_probe", bdf, &w->err), &w->err);
        assert_string_equal(driver_of(w, bdf), "vfio-pci");
}

static int pending(const struct world *w)
{
        _cleanup_free_ char *path = xasprintf("%s/.sim/pending", w->dir);
        _cleanup_fs_list_ struct fs_list names = { 0 };
        struct err err;

        ASSERT_OK(fs_list(AT_FDCWD, path, &names, &err), &err);
        return (int)names.n;
}

static void sleep_ms(int ms)
{
        (void)usleep((useconds_t)ms * 1000);
}

/* Everything that a reader of the host can see. */
static char *picture(const struct world *w)
{
        _cleanup_strbuf_ struct strbuf b = { 0 };
        struct err err;

        ASSERT_OK(capture_write_all(sim_tree(w->sim), &b, &err), &err);
        return strbuf_take(&b);
}

static char *file_of(const struct world *w, const char *name)
{
        _cleanup_free_ char *path = xasprintf("%s/%s", w->dir, name);
        char *text = xcalloc(1 << 18, 1);
        struct err err;

        ASSERT_OK(fs_read(AT_FDCWD, path, text, 1 << 18, NULL, &err), &err);
        return text;
}

/* A host as small as it can be with all that a write can touch: the host is made anew for each place of a crash. */
static const char TINY[] = "sluice-capture 1\n"
                           "node dev/dri/card0\n"
                           "node dev/iommu\n"
                           "node dev/vfio/vfio\n"
                           "file proc/driver/nvidia/gpus/0000:01:00.0/unbindLock = 0\n"
                           "link sys/bus/pci/devices/0000:01:00.0 -> ../../../devices/0000:01:00.0\n"
                           "link sys/bus/pci/devices/0000:01:00.4 -> ../../../devices/0000:01:00.4\n"
                           "dir  sys/bus/pci/drivers/vfio-pci\n"
                           "dir  sys/bus/pci/drivers/nvidia\n"
                           "file sys/devices/0000:01:00.0/vendor = 0x10de\n"
                           "file sys/devices/0000:01:00.0/sriov_totalvfs = 1\n"
                           "dir  sys/devices/0000:01:00.0/drm/card0\n"
                           "link sys/devices/0000:01:00.0/driver -> ../../bus/pci/drivers/nvidia\n"
                           "link sys/devices/0000:01:00.0/iommu_group -> ../../kernel/iommu_groups/1\n"
                           "link sys/devices/0000:01:00.0/virtfn0 -> ../0000:01:00.4\n"
                           "file sys/devices/0000:01:00.4/vendor = 0x10de\n"
                           "dir  sys/devices/0000:01:00.4/vfio-dev/vfio0\n"
                           "node dev/vfio/2\n"
                           "node dev/vfio/devices/vfio0\n"
                           "link sys/devices/0000:01:00.4/driver -> ../../bus/pci/drivers/vfio-pci\n"
                           "link sys/devices/0000:01:00.4/iommu_group -> ../../kernel/iommu_groups/2\n"
                           "link sys/devices/0000:01:00.4/physfn -> ../0000:01:00.0\n"
                           "link sys/kernel/iommu_groups/1/devices/0000:01:00.0 -> ../../../../devices/0000:01:00.0\n"
                           "link sys/kernel/iommu_groups/2/devices/0000:01:00.4 -> ../../../../devices/0000:01:00.4\n";
#define PF "0000:01:00.0"
#define VF "0000:01:00.4"

static char *write_tiny(const char *dir, const char *text)
{
        char *path = xasprintf("%s/tiny.capture", dir);
        struct err err;

        ASSERT_OK(fs_replace(AT_FDCWD, path, text, strlen(text), 0600, &err), &err);
        return path;
}

/* ---- making ---- */

static void test_a_prepared_directory_is_opened_again_not_made_again(void **state)
{
        _cleanup_world_ struct world w = world_new(QUADRO);

        (void)state;
        to_vfio(&w, GPU);
        ASSERT_OK(sim_prepare(QUADRO, w.dir, &w.err), &w.err);
        ASSERT_OK(sim_prepare(NULL, w.dir, &w.err), &w.err);
        assert_string_equal(driver_of(&w, GPU), "vfio-pci");
}

static void test_a_directory_with_other_things_is_left_alone(void **state)
{
        _cleanup_scratch_ char *dir = scratch_new();
        _cleanup_free_ char *file = xasprintf("%s/precious", dir);
        struct sim *sim;
        struct err err;

        (void)state;
        (void)close(open(file, O_CREAT | O_WRONLY, 0600));
        assert_int_equal(sim_prepare(QUADRO, dir, &err), -ENOTEMPTY);
        assert_int_equal(sim_open(&sim, dir, &err), -EINVAL);
        assert_int_equal(access(file, F_OK), 0);
        assert_int_equal(unlink(file), 0);
        assert_int_equal(sim_prepare(NULL, dir, &err), -ENOENT);
        assert_int_equal(sim_prepare("/no/such/host", dir, &err), -ENOENT);
        assert_non_null(strstr(err.msg, "/no/such/host"));
}

static void test_a_directory_as_source_is_copied_and_not_touched(void **state)
{
        _cleanup_scratch_ char *source = scratch_new(), *dir = scratch_new();
        _cleanup_close_ int fd = open(source, O_RDONLY | O_DIRECTORY);
        _cleanup_(tree_close) struct tree tree = TREE_NULL;
        _cleanup_strbuf_ struct strbuf before = { 0 }, after = { 0 };
        struct world w = { .dir = dir };
        _cleanup_free_ char *text = xcalloc(1 << 20, 1);
        size_t n;

        (void)state;
        ASSERT_OK(fs_read(AT_FDCWD, QUADRO, text, 1 << 20, &n, &w.err), &w.err);
        ASSERT_OK(capture_unpack("quadro", text, n, fd, &w.err), &w.err);
        ASSERT_OK(tree_open(&tree, source, &w.err), &w.err);
        ASSERT_OK(capture_write_all(&tree, &before, &w.err), &w.err);
        ASSERT_OK(sim_prepare(source, dir, &w.err), &w.err);
        ASSERT_OK(sim_open(&w.sim, dir, &w.err), &w.err);
        to_vfio(&w, GPU);
        ASSERT_OK(capture_write_all(&tree, &after, &w.err), &w.err);
        assert_string_equal(before.text, after.text);
        sim_free(w.sim);
}

static void test_a_making_that_was_cut_short_anywhere_is_made_again(void **state)
{
        _cleanup_scratch_ char *capture_dir = scratch_new();
        _cleanup_free_ char *capture = write_tiny(capture_dir, TINY);
        _cleanup_world_ struct world model = world_new(capture);
        _cleanup_free_ char *expected = picture(&model);
        bool finished = false;
        unsigned n = 1;

        (void)state;
        for (; !finished; n++) {
                _cleanup_world_ struct world w = { .dir = scratch_new() };
                fs_fail_at(n, EIO | FS_FAIL_ON);
                int r = sim_prepare(capture, w.dir, &w.err);
                finished = fs_calls() < n;
                fs_fail_at(0, 0);
                if (r == 0 && !finished)
                        fail_msg("call %u failed and no one said so", n);
                ASSERT_OK(sim_prepare(capture, w.dir, &w.err), &w.err);
                ASSERT_OK(sim_open(&w.sim, w.dir, &w.err), &w.err);
                _cleanup_free_ char *now = picture(&w);
                assert_string_equal(now, expected);
        }
        assert_true(n > 50);
}

/* ---- faults ---- */

static void test_faults_are_checked_when_they_are_added(void **state)
{
        static const struct {
                const char *line;
                bool ok;
        } rows[] = {
                { "unbind 0000:61:00.0 hang", true },
                { "unbind * refuse EBUSY", true },
                { "drivers_probe * ignore times 2", true },
                { "driver_override * delay 100  times 1", true },
                { "sriov_numvfs * vanish", true },
                { "reset * forget", true },
                { "unbind 0000:61:00.0", false },
                { "unbind * refuse", false },
                { "unbind * refuse EWHAT", false },
                { "unbind * delay", false },
                { "unbind * delay soon", false },
                { "unbind * delay -1", false },
                { "unbind * hang times 2", false },
                { "unbind * ignore times 0", false },
                { "unbind * ignore times", false },
                { "unbind * ignore often 2", false },
                { "unbind * explode", false },
                { "unbind * ignore\nunbind * hang", false },
        };
        _cleanup_world_ struct world w = world_new(QUADRO);

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                w.err = (struct err){ 0 };
                int r = sim_fault(w.sim, rows[i].line, &w.err);
                if ((r == 0) != rows[i].ok)
                        fail_msg("\"%s\" gave %d %s", rows[i].line, r, w.err.msg);
                ASSERT_OK(sim_fault(w.sim, "", &w.err), &w.err);
        }
}

static void test_a_fault_hits_its_attribute_and_device_as_often_as_it_says(void **state)
{
        _cleanup_world_ struct world w = world_new(QUADRO);

        (void)state;
        ASSERT_OK(sim_fault(w.sim, "driver_override " GPU " refuse EIO times 2", &w.err), &w.err);
        assert_int_equal(write_to(&w, MATE, "driver_override", "a"), 0);
        assert_int_equal(write_to(&w, GPU, "driver_override", "a"), -EIO);
        assert_int_equal(write_to(&w, GPU, "driver_override", "a"), -EIO);
        assert_int_equal(write_to(&w, GPU, "driver_override", "a"), 0);
        ASSERT_OK(sim_fault(w.sim, "unbind * refuse EBUSY", &w.err), &w.err);
        ASSERT_OK(sim_fault(w.sim, "drivers_probe * ignore", &w.err), &w.err);
        for (int i = 0; i < 3; i++)
                assert_int_equal(write_to(&w, GPU, "driver/unbind", GPU), -EBUSY);
        ASSERT_OK(sim_fault(w.sim, "", &w.err), &w.err);
        assert_int_equal(write_to(&w, GPU, "driver/unbind", GPU), 0);
        ASSERT_OK(sim_fault(w.sim, "drivers_probe * ignore times 1", &w.err), &w.err);
        assert_int_equal(sim_write(w.sim, "bus/pci/drivers_probe", GPU, &w.err), 0);
        assert_string_equal(driver_of(&w, GPU), "");
        assert_int_equal(sim_write(w.sim, "bus/pci/drivers_probe", MATE, &w.err), 0);
        assert_int_equal(pending(&w), 0);
}

static void test_a_device_can_vanish_under_a_write(void **state)
{
        _cleanup_world_ struct world w = world_new(QUADRO);

        (void)state;
        ASSERT_OK(sim_fault(w.sim, "unbind " GPU " vanish", &w.err), &w.err);
        assert_int_equal(write_to(&w, GPU, "driver/unbind", GPU), -ENODEV);
        assert_int_equal(fs_exists(sim_tree(w.sim)->sys, "bus/pci/devices/" GPU), 0);
        assert_int_equal(fs_exists(sim_tree(w.sim)->sys, "kernel/iommu_groups/71/devices/" MATE), 1);
}

static void test_a_delayed_write_blocks_and_then_is_done(void **state)
{
        _cleanup_world_ struct world w = world_new(QUADRO);

        (void)state;
        ASSERT_OK(sim_fault(w.sim, "unbind " GPU " delay 150 times 1", &w.err), &w.err);
        int64_t begun = clock_ms();
        assert_int_equal(write_to(&w, GPU, "driver/unbind", GPU), 0);
        assert_true(clock_ms() - begun >= 150);
        assert_string_equal(driver_of(&w, GPU), "");
        assert_int_equal(pending(&w), 0);
}

/* A process that does one write and tells its result as exit status. */
static pid_t writer(const struct world *w, const char *path, const char *value)
{
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid > 0)
                return pid;
        struct sim *sim;
        struct err err;
        if (sim_open(&sim, w->dir, &err) < 0)
                _exit(99);
        int r = sim_write(sim, path, value, &err);
        sim_free(sim);
        _exit(-r);
}

static void await_pending(const struct world *w, int n)
{
        for (int i = 0; i < 1000 && pending(w) < n; i++)
                sleep_ms(5);
        assert_int_equal(pending(w), n);
}

static int reap(pid_t pid)
{
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}

static bool still_runs(pid_t pid)
{
        return waitpid(pid, NULL, WNOHANG) == 0;
}

static void test_a_hanging_write_takes_the_devices_lock_until_the_fault_is_gone(void **state)
{
        _cleanup_world_ struct world w = world_new(QUADRO);

        (void)state;
        ASSERT_OK(sim_fault(w.sim, "unbind " GPU " hang", &w.err), &w.err);
        pid_t first = writer(&w, "bus/pci/devices/" GPU "/driver/unbind", GPU);
        await_pending(&w, 1);
        pid_t second = writer(&w, "bus/pci/devices/" GPU "/driver_override", "vfio-pci");
        await_pending(&w, 2);
        /* Another device is not held up; neither is looking. */
        assert_int_equal(write_to(&w, MATE, "driver_override", "vfio-pci"), 0);
        sleep_ms(100);
        assert_true(still_runs(first));
        assert_true(still_runs(second));
        assert_string_equal(driver_of(&w, GPU), "");
        ASSERT_OK(sim_fault(w.sim, "", &w.err), &w.err);
        assert_int_equal(reap(first), 0);
        assert_int_equal(reap(second), 0);
        assert_string_equal(driver_of(&w, GPU), "");
        assert_int_equal(pending(&w), 0);
}

static void test_reading_a_locked_attribute_hangs_with_the_device(void **state)
{
        _cleanup_world_ struct world w = world_new(QUADRO);
        char value[64];

        (void)state;
        ASSERT_OK(sim_read(w.sim, "bus/pci/devices/" GPU "/driver_override", value, sizeof(value), &w.err), &w.err);
        assert_string_equal(value, "(null)");
        ASSERT_OK(sim_fault(w.sim, "read:driver_override " GPU " refuse EIO times 1", &w.err), &w.err);
        assert_int_equal(sim_read(w.sim, "bus/pci/devices/" GPU "/driver_override", value, sizeof(value), &w.err), -EIO);

        ASSERT_OK(sim_fault(w.sim, "unbind " GPU " delay 200", &w.err), &w.err);
        int64_t begun = clock_ms();
        pid_t pid = writer(&w, "bus/pci/devices/" GPU "/driver/unbind", GPU);
        await_pending(&w, 1);
        ASSERT_OK(sim_read(w.sim, "bus/pci/devices/" GPU "/driver_override", value, sizeof(value), &w.err), &w.err);
        assert_true(clock_ms() - begun >= 200);
        assert_int_equal(reap(pid), 0);
}

static void test_cards_bound_by_many_processes_at_once_do_not_mix_up(void **state)
{
        static const char *const cards[] = { "0000:18:00.0", "0000:19:00.0", "0000:3a:00.0", "0000:3b:00.0",
                                             "0000:9a:00.0", "0000:9b:00.0", "0000:ba:00.0", "0000:bb:00.0" };
        _cleanup_world_ struct world w = world_new(HOSTS "l40s-8.capture");
        _cleanup_fs_list_ struct fs_list nodes = { 0 };
        pid_t pids[N_ELEMENTS(cards)];

        (void)state;
        ASSERT_OK(sim_fault(w.sim, "unbind * delay 1000", &w.err), &w.err);
        int64_t begun = clock_ms();
        for (size_t i = 0; i < N_ELEMENTS(cards); i++) {
                pids[i] = fork();
                if (pids[i] == 0) { /* no assertions in here: a child must not run the rest of the tests */
                        struct world mine = { .dir = w.dir };
                        _exit(sim_open(&mine.sim, w.dir, &mine.err) < 0 || write_to(&mine, cards[i], "driver_override", "vfio-pci") < 0 ||
                              write_to(&mine, cards[i], "driver/unbind", cards[i]) < 0 ||
                              sim_write(mine.sim, "bus/pci/drivers_probe", cards[i], &mine.err) < 0);
                }
        }
        for (size_t i = 0; i < N_ELEMENTS(cards); i++)
                assert_int_equal(reap(pids[i]), 0);
        assert_true(clock_ms() - begun < 8 * 1000); /* delays of different devices run side by side */
        ASSERT_OK(fs_list(sim_tree(w.sim)->sys, "class/vfio-dev", &nodes, &w.err), &w.err);
        assert_int_equal(nodes.n, N_ELEMENTS(cards)); /* eight devices, eight numbers */
        for (size_t i = 0; i < N_ELEMENTS(cards); i++)
                assert_string_equal(driver_of(&w, cards[i]), "vfio-pci");
        assert_int_equal(pending(&w), 0);
}

/* ---- holders ---- */

static void test_unbinding_blocks_while_the_groups_node_is_open(void **state)
{
        _cleanup_world_ struct world w = world_new(QUADRO);

        (void)state;
        to_vfio(&w, GPU);
        ASSERT_OK(sim_hold(w.sim, "/dev/vfio/71", 4711, "qemu-system-x86", &w.err), &w.err);
        _cleanup_free_ char *comm = file_of(&w, "proc/4711/comm");
        assert_string_equal(comm, "qemu-system-x86\n");
        pid_t pid = writer(&w, "bus/pci/devices/" GPU "/driver/unbind", GPU);
        await_pending(&w, 1);
        sleep_ms(100);
        assert_true(still_runs(pid));
        assert_string_equal(driver_of(&w, GPU), ""); /* the driver lets go, and no one sees it any more */
        assert_int_equal(fs_exists(sim_tree(w.sim)->dev, "vfio/71"), 1);
        ASSERT_OK(sim_hold(w.sim, "dev/vfio/71", -4711, NULL, &w.err), &w.err);
        assert_int_equal(reap(pid), 0);
        assert_string_equal(driver_of(&w, GPU), "");
        assert_int_equal(fs_exists(sim_tree(w.sim)->proc, "4711"), 0);
        assert_int_equal(sim_hold(w.sim, "/dev/vfio/71", 4711, NULL, &w.err), -ENOENT);
        assert_int_equal(sim_hold(w.sim, "/etc/passwd", 4711, NULL, &w.err), -EINVAL);
}

static void test_nvidias_lock_stays_open_and_its_driver_stays_while_the_node_is_held(void **state)
{
        _cleanup_world_ struct world w = world_new(QUADRO);
        char value[8];

        (void)state;
        ASSERT_OK(sim_hold(w.sim, "/dev/nvidia0", 99, "dcgm-exporter", &w.err), &w.err);
        ASSERT_OK(sim_write_proc(w.sim, "driver/nvidia/gpus/" GPU "/unbindLock", "1\n", &w.err), &w.err);
        ASSERT_OK(fs_read_value(sim_tree(w.sim)->proc, "driver/nvidia/gpus/" GPU "/unbindLock", value, sizeof(value), &w.err), &w.err);
        assert_string_equal(value, "0");
        pid_t pid = writer(&w, "bus/pci/devices/" GPU "/driver/unbind", GPU);
        await_pending(&w, 1);
        sleep_ms(60);
        assert_true(still_runs(pid));
        ASSERT_OK(sim_hold(w.sim, "/dev/nvidia0", -99, NULL, &w.err), &w.err);
        assert_int_equal(reap(pid), 0);
        /* The driver took its /proc files along, and brings them back. */
        assert_int_equal(fs_exists(sim_tree(w.sim)->proc, "driver/nvidia/gpus/" GPU), 0);
        ASSERT_OK(sim_write(w.sim, "bus/pci/drivers_probe", GPU, &w.err), &w.err);
        ASSERT_OK(sim_write_proc(w.sim, "driver/nvidia/gpus/" GPU "/unbindLock", "1\n", &w.err), &w.err);
        ASSERT_OK(fs_read_value(sim_tree(w.sim)->proc, "driver/nvidia/gpus/" GPU "/unbindLock", value, sizeof(value), &w.err), &w.err);
        assert_string_equal(value, "1");
}

/* ---- hot-plug, nodes, events ---- */

static void test_a_device_that_is_pulled_and_plugged_is_as_it_was(void **state)
{
        static const struct {
                const char *capture, *bdf;
        } rows[] = { { QUADRO, GPU }, { HOSTS "l40s-8-vfio.capture", "0000:3b:00.0" }, { HOSTS "flex-170.capture", "0000:4d:00.0" } };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_world_ struct world w = world_new(rows[i].capture);
                _cleanup_free_ char *before = picture(&w);
                ASSERT_OK(sim_unplug(w.sim, rows[i].bdf, &w.err), &w.err);
                _cleanup_free_ char *gone = picture(&w);
                assert_null(strstr(gone, rows[i].bdf));
                assert_int_equal(sim_unplug(w.sim, rows[i].bdf, &w.err), -ENODEV);
                ASSERT_OK(sim_plug(w.sim, rows[i].bdf, &w.err), &w.err);
                _cleanup_free_ char *after = picture(&w);
                assert_string_equal(before, after);
                assert_int_equal(sim_plug(w.sim, rows[i].bdf, &w.err), -EEXIST);
                assert_int_equal(sim_plug(w.sim, "0000:ff:00.0", &w.err), -ENOENT);
        }
}

static void test_a_bridge_takes_what_is_below_it_along(void **state)
{
        _cleanup_world_ struct world w = world_new(HOSTS "l40s-8-vfio.capture");

        (void)state;
        ASSERT_OK(sim_unplug(w.sim, "0000:38:00.0", &w.err), &w.err);
        assert_int_equal(fs_exists(sim_tree(w.sim)->sys, "bus/pci/devices/0000:3a:00.0"), 0);
        assert_int_equal(fs_exists(sim_tree(w.sim)->sys, "bus/pci/devices/0000:3b:00.0"), 0);
        assert_int_equal(fs_exists(sim_tree(w.sim)->sys, "bus/pci/devices/0000:18:00.0"), 1);
        ASSERT_OK(sim_write(w.sim, "bus/pci/rescan", "1", &w.err), &w.err);
        assert_string_equal(driver_of(&w, "0000:3b:00.0"), "vfio-pci");
}

static void test_cdev_nodes_come_only_where_the_kernel_has_them(void **state)
{
        _cleanup_world_ struct world old = world_new(QUADRO), new = world_new(HOSTS "l40s-8-vfio.capture");

        (void)state;
        to_vfio(&old, GPU);
        assert_int_equal(fs_exists(sim_tree(old.sim)->dev, "vfio/devices"), 0);
        ASSERT_OK(write_to(&new, "0000:3b:00.0", "driver/unbind", "0000:3b:00.0"), &new.err);
        assert_int_equal(fs_exists(sim_tree(new.sim)->dev, "vfio/devices/vfio3"), 0);
        ASSERT_OK(write_to(&new, "0000:3b:00.0", "driver_override", "vfio-pci"), &new.err);
        ASSERT_OK(sim_write(new.sim, "bus/pci/drivers/vfio-pci/bind", "0000:3b:00.0", &new.err), &new.err);
        assert_int_equal(fs_exists(sim_tree(new.sim)->dev, "vfio/devices/vfio3"), 1);
}

static void test_bridges_and_vendor_vfs_are_refused_by_vfio(void **state)
{
        static const struct {
                const char *capture, *bdf;
        } rows[] = { { QUADRO, "0000:60:01.0" }, { HOSTS "vgpu-l40s.capture", "0000:26:00.6" } };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_world_ struct world w = world_new(rows[i].capture);
                ASSERT_OK(write_to(&w, rows[i].bdf, "driver_override", "vfio-pci"), &w.err);
                ASSERT_OK(write_to(&w, rows[i].bdf, "driver/unbind", rows[i].bdf), &w.err);
                ASSERT_OK(sim_write(w.sim, "bus/pci/drivers_probe", rows[i].bdf, &w.err), &w.err);
                assert_string_equal(driver_of(&w, rows[i].bdf), "");
                assert_int_equal(sim_write(w.sim, "bus/pci/drivers/vfio-pci/bind", rows[i].bdf, &w.err), -EINVAL);
        }
}

static void test_events_tell_what_happened_in_the_kernels_order(void **state)
{
        _cleanup_world_ struct world w = world_new(QUADRO);
        static const char *const words[] = { "unbind /devices/",
                                             "add /devices/virtual/vfio/71 SUBSYSTEM=vfio",
                                             "/vfio-dev/vfio0 SUBSYSTEM=vfio-dev",
                                             "bind /devices/pci0000:60/0000:60:01.0/" GPU " SUBSYSTEM=pci PCI_SLOT_NAME=" GPU
                                             " DRIVER=vfio-pci",
                                             "remove /devices/pci0000:60/0000:60:01.0/" GPU "/vfio-dev/vfio0",
                                             "remove /devices/virtual/vfio/71",
                                             "unbind /devices/",
                                             "remove /devices/pci0000:60/0000:60:01.0/" GPU " SUBSYSTEM=pci" };

        (void)state;
        to_vfio(&w, GPU);
        ASSERT_OK(sim_unplug(w.sim, GPU, &w.err), &w.err);
        _cleanup_free_ char *events = file_of(&w, ".sim/events");
        const char *at = events;
        for (size_t i = 0; i < N_ELEMENTS(words); i++) {
                at = strstr(at, words[i]);
                if (!at)
                        fail_msg("\"%s\" is missing, or out of order, in:\n%s", words[i], events);
                at++;
        }
}

/* ---- writers that die ---- */

static void test_a_killed_writers_delayed_write_is_completed_when_it_is_due(void **state)
{
        _cleanup_world_ struct world w = world_new(QUADRO);
        int64_t next;

        (void)state;
        ASSERT_OK(sim_fault(w.sim, "unbind " GPU " delay 400 times 1", &w.err), &w.err);
        pid_t pid = writer(&w, "bus/pci/devices/" GPU "/driver/unbind", GPU);
        await_pending(&w, 1);
        ASSERT_OK(sim_settle(w.sim, &next, &w.err), &w.err);
        assert_int_equal(next, -1); /* its writer lives: nothing for us to do */
        assert_int_equal(kill(pid, SIGKILL), 0);
        (void)reap(pid);
        ASSERT_OK(sim_settle(w.sim, &next, &w.err), &w.err);
        assert_true(next > 0 && next <= 400);
        assert_string_equal(driver_of(&w, GPU), ""); /* the kernel shows none while the old one lets go */
        assert_int_equal(fs_exists(sim_tree(w.sim)->proc, "driver/nvidia/gpus/" GPU), 1);
        sleep_ms((int)next + 1);
        ASSERT_OK(sim_settle(w.sim, &next, &w.err), &w.err);
        assert_int_equal(next, -1);
        assert_string_equal(driver_of(&w, GPU), "");
        assert_int_equal(pending(&w), 0);
}

static void test_a_killed_writers_hang_stays_until_the_fault_is_gone(void **state)
{
        _cleanup_world_ struct world w = world_new(QUADRO);
        int64_t next;

        (void)state;
        ASSERT_OK(sim_fault(w.sim, "unbind " GPU " hang", &w.err), &w.err);
        pid_t pid = writer(&w, "bus/pci/devices/" GPU "/driver/unbind", GPU);
        await_pending(&w, 1);
        assert_int_equal(kill(pid, SIGKILL), 0);
        (void)reap(pid);
        ASSERT_OK(sim_settle(w.sim, &next, &w.err), &w.err);
        assert_int_equal(pending(&w), 1);
        assert_string_equal(driver_of(&w, GPU), "");
        assert_int_equal(fs_exists(sim_tree(w.sim)->proc, "driver/nvidia/gpus/" GPU), 1);
        /* The next writer to the device hangs behind it. */
        pid = writer(&w, "bus/pci/devices/" GPU "/driver_override", "x");
        await_pending(&w, 2);
        ASSERT_OK(sim_fault(w.sim, "", &w.err), &w.err);
        assert_int_equal(reap(pid), 0);
        ASSERT_OK(sim_settle(w.sim, &next, &w.err), &w.err);
        assert_string_equal(driver_of(&w, GPU), "");
        assert_int_equal(pending(&w), 0);
}

/* What hangs in a driver of a device that is gone hangs no more; above all, the host can still be looked at. */
static void test_a_hang_ends_with_its_device(void **state)
{
        int64_t next;

        (void)state;
        for (int killed = 0; killed < 2; killed++) {
                _cleanup_world_ struct world w = world_new(QUADRO);
                ASSERT_OK(sim_fault(w.sim, "unbind " GPU " hang", &w.err), &w.err);
                pid_t pid = writer(&w, "bus/pci/devices/" GPU "/driver/unbind", GPU);
                await_pending(&w, 1);
                if (killed) {
                        assert_int_equal(kill(pid, SIGKILL), 0);
                        (void)reap(pid);
                }
                ASSERT_OK(sim_unplug(w.sim, GPU, &w.err), &w.err);
                if (!killed)
                        (void)reap(pid);
                ASSERT_OK(sim_settle(w.sim, &next, &w.err), &w.err);
                assert_int_equal(pending(&w), 0);
                ASSERT_OK(sim_plug(w.sim, GPU, &w.err), &w.err);
                assert_string_equal(driver_of(&w, GPU), "nvidia");
        }
}

struct crash {
        const char *name;
        struct {
                const char *path, *value;
        } before[3];
        const char *path, *value;
        const char *fault; /* may be NULL */
};

/* Prepares the host and brings it to where the crash begins. */
static struct world crash_world(const struct crash *c, const char *capture)
{
        struct world w = world_new(capture);

        for (size_t i = 0; i < N_ELEMENTS(c->before) && c->before[i].path; i++)
                ASSERT_OK(sim_write(w.sim, c->before[i].path, c->before[i].value, &w.err), &w.err);
        if (c->fault)
                ASSERT_OK(sim_fault(w.sim, c->fault, &w.err), &w.err);
        return w;
}

static void test_a_write_killed_anywhere_is_done_whole_or_not_at_all(void **state)
{
        static const struct crash rows[] = {
                { "override", { { 0 } }, "bus/pci/devices/" PF "/driver_override", "vfio-pci", NULL },
                { "unbind from the host driver", { { 0 } }, "bus/pci/devices/" PF "/driver/unbind", PF, NULL },
                { "slow unbind from the host driver", { { 0 } }, "bus/pci/devices/" PF "/driver/unbind", PF, "unbind " PF " delay 2" },
                { "bind to the host driver", { { "bus/pci/drivers/nvidia/unbind", PF } }, "bus/pci/drivers_probe", PF, NULL },
                { "bind to vfio-pci",
                  { { "bus/pci/drivers/nvidia/unbind", PF }, { "bus/pci/devices/" PF "/driver_override", "vfio-pci" } },
                  "bus/pci/drivers_probe",
                  PF,
                  NULL },
                { "unbind from vfio-pci", { { 0 } }, "bus/pci/drivers/vfio-pci/unbind", VF, NULL },
                { "VFs removed", { { 0 } }, "bus/pci/devices/" PF "/sriov_numvfs", "0", NULL },
                { "VFs made", { { "bus/pci/devices/" PF "/sriov_numvfs", "0" } }, "bus/pci/devices/" PF "/sriov_numvfs", "1", NULL },
                { "VF removed", { { 0 } }, "bus/pci/devices/" VF "/remove", "1", NULL },
                { "function removed", { { 0 } }, "bus/pci/devices/" PF "/remove", "1", NULL },
                { "function found", { { "bus/pci/devices/" PF "/remove", "1" } }, "bus/pci/rescan", "1", NULL },
        };
        _cleanup_scratch_ char *capture_dir = scratch_new();
        _cleanup_free_ char *capture = write_tiny(capture_dir, TINY);

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_world_ struct world model = crash_world(&rows[i], capture);
                _cleanup_free_ char *before = picture(&model);
                ASSERT_OK(sim_write(model.sim, rows[i].path, rows[i].value, &model.err), &model.err);
                _cleanup_free_ char *after = picture(&model);
                unsigned n_before = 0, n_after = 0, n = 1;
                bool finished = false;
                assert_string_not_equal(before, after);
                for (; !finished; n++) {
                        _cleanup_world_ struct world w = crash_world(&rows[i], capture);
                        int64_t next;
                        fs_fail_at(n, EIO | FS_FAIL_ON);
                        (void)sim_write(w.sim, rows[i].path, rows[i].value, &w.err);
                        finished = fs_calls() < n;
                        fs_fail_at(0, 0);
                        ASSERT_OK(sim_settle(w.sim, &next, &w.err), &w.err);
                        while (next >= 0) {
                                sleep_ms((int)next + 1);
                                ASSERT_OK(sim_settle(w.sim, &next, &w.err), &w.err);
                        }
                        assert_int_equal(pending(&w), 0);
                        _cleanup_free_ char *now = picture(&w);
                        n_before += streq(now, before);
                        n_after += streq(now, after);
                        if (!streq(now, before) && !streq(now, after))
                                fail_msg("%s, killed at call %u, came out neither done nor undone:\n%s", rows[i].name, n, now);
                }
                if (n_before < 3 || n_after < 3) /* the crash really was before and after the point of no return */
                        fail_msg("%s: %u undone, %u done of %u", rows[i].name, n_before, n_after, n);
        }
}

static void test_a_driver_that_leaves_its_vfs_leaves_a_pf_that_vfio_refuses(void **state)
{
        _cleanup_scratch_ char *dir = scratch_new();
        _cleanup_free_ char *text = xstrdup(TINY);

        (void)state;
        for (char *at = text; (at = strstr(at, "nvidia"));) /* a driver of the same length that is not known to remove VFs */
                memcpy(at, "mlx555", 6);
        _cleanup_free_ char *capture = write_tiny(dir, text);
        _cleanup_world_ struct world w = world_new(capture);
        ASSERT_OK(write_to(&w, PF, "driver_override", "vfio-pci"), &w.err);
        ASSERT_OK(write_to(&w, PF, "driver/unbind", PF), &w.err);
        assert_int_equal(fs_exists(sim_tree(w.sim)->sys, "bus/pci/devices/" VF), 1);
        assert_int_equal(sim_write(w.sim, "bus/pci/drivers/vfio-pci/bind", PF, &w.err), -EBUSY);
        ASSERT_OK(sim_write(w.sim, "bus/pci/drivers_probe", PF, &w.err), &w.err);
        assert_string_equal(driver_of(&w, PF), "");
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_prepared_directory_is_opened_again_not_made_again),
                TEST(test_a_directory_with_other_things_is_left_alone),
                TEST(test_a_directory_as_source_is_copied_and_not_touched),
                TEST(test_a_making_that_was_cut_short_anywhere_is_made_again),
                TEST(test_faults_are_checked_when_they_are_added),
                TEST(test_a_fault_hits_its_attribute_and_device_as_often_as_it_says),
                TEST(test_a_device_can_vanish_under_a_write),
                TEST(test_a_delayed_write_blocks_and_then_is_done),
                TEST(test_a_hanging_write_takes_the_devices_lock_until_the_fault_is_gone),
                TEST(test_reading_a_locked_attribute_hangs_with_the_device),
                TEST(test_cards_bound_by_many_processes_at_once_do_not_mix_up),
                TEST(test_unbinding_blocks_while_the_groups_node_is_open),
                TEST(test_nvidias_lock_stays_open_and_its_driver_stays_while_the_node_is_held),
                TEST(test_a_device_that_is_pulled_and_plugged_is_as_it_was),
                TEST(test_a_bridge_takes_what_is_below_it_along),
                TEST(test_cdev_nodes_come_only_where_the_kernel_has_them),
                TEST(test_bridges_and_vendor_vfs_are_refused_by_vfio),
                TEST(test_a_driver_that_leaves_its_vfs_leaves_a_pf_that_vfio_refuses),
                TEST(test_events_tell_what_happened_in_the_kernels_order),
                TEST(test_a_killed_writers_delayed_write_is_completed_when_it_is_due),
                TEST(test_a_killed_writers_hang_stays_until_the_fault_is_gone),
                TEST(test_a_hang_ends_with_its_device),
                TEST(test_a_write_killed_anywhere_is_done_whole_or_not_at_all),
        };

        return RUN(tests);
}
