/* SPDX-License-Identifier: Apache-2.0 */
/* Topology gpu: the rig itself. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/str.h"
#include "reactions.h"

#define L40S "0000:01:00.0"
#define QUADRO "0000:02:00."

static void test_gpu_bound_by_hand_can_be_used(void **state)
{
        char output[OUTPUT_BYTES];

        (void)state;
        load_nvidia("");
        assert_string_equal(driver_of(L40S), "nvidia");
        bind_vfio(L40S);
        assert_int_equal(use_device(group_of(L40S), L40S, output), VFIO_USABLE);
        assert_string_equal(output, "viable\ndma 1 MiB\nids 10de:26b9\nbar0 192000a1\nreset\n");
        restore_function(L40S, "nvidia");
}

static void test_group_is_viable_only_with_all_companions_bound(void **state)
{
        const char *group = group_of(QUADRO "0");

        (void)state;
        load_nvidia("");
        load_modules("snd-hda-intel");
        bind_vfio("0000:03:00.0");
        assert_string_equal(driver_of("0000:03:00.1"), "snd_hda_intel");
        assert_string_equal(group_of("0000:03:00.1"), group_of("0000:03:00.0"));
        assert_int_equal(use_device(group_of("0000:03:00.0"), "0000:03:00.0", NULL), VFIO_NOT_VIABLE);
        bind_vfio("0000:03:00.1");
        assert_int_equal(use_device(group_of("0000:03:00.0"), "0000:03:00.0", NULL), VFIO_USABLE);
        restore_function("0000:03:00.1", "snd_hda_intel");
        restore_function("0000:03:00.0", "nvidia");
        assert_string_equal(group, group_of(QUADRO "3"));
}

static void test_open_node_of_the_host_driver_shuts_the_unbind_lock(void **state)
{
        (void)state;
        load_nvidia("");
        struct process holder = hold_node("/dev/nvidia0");
        assert_int_equal(kernel_write("1", "/proc/driver/nvidia/gpus/" L40S "/unbindLock"), 0);
        assert_string_equal(kernel_read("/proc/driver/nvidia/gpus/" L40S "/unbindLock"), "0");
        stop_process(&holder, SIGKILL);
        assert_int_equal(kernel_write("1", "/proc/driver/nvidia/gpus/" L40S "/unbindLock"), 0);
        assert_string_equal(kernel_read("/proc/driver/nvidia/gpus/" L40S "/unbindLock"), "1");
        assert_int_equal(RUN_PROGRAM(NULL, "holder", "/dev/nvidia0"), 1);
        assert_int_equal(kernel_write("0", "/proc/driver/nvidia/gpus/" L40S "/unbindLock"), 0);
        assert_non_null(strstr(kernel_read("/proc/driver/nvidia/gpus/" L40S "/information"), "Device Minor: \t 0"));
}

static void test_unplugged_and_plugged_card_goes_and_comes(void **state)
{
        (void)state;
        load_nvidia("");
        host_do("device_del gpu4");
        assert_true(await_exists(false, 60000, PCI "0000:04:00.0"));
        host_do("device_add xpci,id=gpu4,bus=rp4,x-ids=10de:2330:030200:10de:16c1");
        assert_true(await_exists(true, 60000, PCI "0000:04:00.0"));
        assert_true(await_driver("0000:04:00.0", "nvidia", 10000));
}

/* What keeps the hands of two daemons apart that have no directory in common. */
static void test_card_is_locked_by_its_own_file_through_every_mount_and_leaves_all_the_same(void **state)
{
        static const char card[] = "/bus/pci/devices/0000:04:00.0/rescan";
        char path[128];

        (void)state;
        assert_int_equal(RUN_PROGRAM(NULL, "mkdir", "-p", "/tmp/host-sys"), 0);
        assert_int_equal(mount("/sys", "/tmp/host-sys", NULL, MS_BIND, NULL), 0);
        str_format(path, sizeof(path), "/sys%s", card);
        int first = open(path, O_WRONLY | O_CLOEXEC);
        assert_true(first >= 0);
        assert_int_equal(flock(first, LOCK_EX | LOCK_NB), 0);
        str_format(path, sizeof(path), "/tmp/host-sys%s", card);
        int second = open(path, O_WRONLY | O_CLOEXEC);
        assert_true(second >= 0);
        assert_int_equal(flock(second, LOCK_EX | LOCK_NB), -1);
        assert_int_equal(errno, EWOULDBLOCK);
        (void)close(first);
        assert_int_equal(flock(second, LOCK_EX | LOCK_NB), 0);
        host_do("device_del gpu4");
        assert_true(await_exists(false, 60000, PCI "0000:04:00.0"));
        (void)close(second);
        assert_int_equal(umount("/tmp/host-sys"), 0);
        host_do("device_add xpci,id=gpu4,bus=rp4,x-ids=10de:2330:030200:10de:16c1");
        assert_true(await_exists(true, 60000, PCI "0000:04:00.0"));
}

static void test_every_reaction_is_tried_on_some_topology(void **state)
{
        const char *missing = NULL;

        (void)state;
        if (!reactions_all_covered(&missing))
                fail_msg("no topology has the names of: %s", missing);
}

const struct reaction_word gpu_words[] = {
        { "$GPU", "0000:03:00.0" },  { "$DRIVER", "nvidia" },           { "$GROUP", NULL },
        { "$MATE", "0000:03:00.1" }, { "$MATEDRIVER", "snd_hda_intel" }, { "$LOCKED", "0000:03:00.0" },
        { "$ALONE", "0000:04:00.0" }, { "$RESETS", "flr bus" },          { "$RESET", "bus" },
        { NULL, NULL },
};

int suite_gpu(void)
{
        int failed = 0;
        const struct CMUnitTest rig[] = {
                cmocka_unit_test(test_gpu_bound_by_hand_can_be_used),
                cmocka_unit_test(test_group_is_viable_only_with_all_companions_bound),
                cmocka_unit_test(test_open_node_of_the_host_driver_shuts_the_unbind_lock),
                cmocka_unit_test(test_unplugged_and_plugged_card_goes_and_comes),
                cmocka_unit_test(test_card_is_locked_by_its_own_file_through_every_mount_and_leaves_all_the_same),
                cmocka_unit_test(test_every_reaction_is_tried_on_some_topology),
        };
        failed += RUN_SUITE(rig);
        load_nvidia("");
        load_modules("snd-hda-intel");
        failed += run_reactions("reactions", gpu_words, NULL);
        failed += node_suite_gpu();
        failed += node_suite_lasting();
        failed += node_suite_release();
        failed += node_suite_pod();
        return failed;
}
