/* SPDX-License-Identifier: Apache-2.0 */
/* Every access of a scan, and of a search for holders, is made to fail in turn; and the device goes away in the middle. */
#include "../unit.h"
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "base/fs.h"
#include "base/str.h"
#include "host/holders.h"
#include "host/host.h"

#define ABOVE   "pci0000:3a/0000:3a:00.0"
#define GPU_DIR "sys/devices/" ABOVE "/0000:3b:00.0"
#define BOOT_ID "6f1e0c9a-3b1e-4e0c-9a57-0e2f5a3b6c7d"
#define UUID    "a1b2c3d4-5678-4e9a-8b0c-d1e2f3a4b5c6"

static void make_host(struct fixture *f)
{
        static const struct fixture_function functions[] = {
                { "pci0000:3a", "0000:3a:00.0", "0x8086\n", "0x347a\n", "0x060400\n", "pcieport", 44 },
                { ABOVE, "0000:3b:00.0", "0x10de\n", "0x26b9\n", "0x030200\n", "nvidia", 45 },
                { ABOVE, "0000:3b:00.4", "0x10de\n", "0x26b9\n", "0x030200\n", "nvidia", 46 },
        };

        fixture_make(f);
        for (size_t i = 0; i < N_ELEMENTS(functions); i++)
                fixture_function(f, &functions[i]);
        fixture_file(f, GPU_DIR "/reset_method", "flr bus\n");
        fixture_file(f, GPU_DIR "/sriov_totalvfs", "32\n");
        fixture_link(f, GPU_DIR "/virtfn0", "../0000:3b:00.4");
        fixture_link(f, "sys/devices/" ABOVE "/0000:3b:00.4/physfn", "../0000:3b:00.0");
        fixture_file(f, "sys/devices/" ABOVE "/0000:3b:00.4/nvidia/current_vgpu_type", "1155\n");
        fixture_dir(f, "sys/devices/" ABOVE "/0000:3b:00.4/vfio-dev/vfio7");
        fixture_link(f, "sys/bus/mdev/devices/" UUID, "../../../devices/" ABOVE "/0000:3b:00.0/" UUID);
        fixture_link(f, GPU_DIR "/" UUID "/mdev_type", "../mdev_supported_types/nvidia-222");
        fixture_file(f, GPU_DIR "/mdev_supported_types/nvidia-222/name", "GRID T4-1B\n");
        fixture_link(f, "sys/class/graphics/fb0", "../../devices/" ABOVE "/0000:3b:00.0/graphics/fb0");
        fixture_file(f, GPU_DIR "/graphics/fb0/name", "simple\n");
        fixture_file(f, "proc/driver/nvidia/gpus/0000:3b:00.0/unbindLock", "0\n");
        fixture_file(f, "proc/driver/nvidia/gpus/0000:3b:00.0/information", "Device Minor: \t 0\n");
        fixture_link(f, "sys/kernel/iommu_groups/45/devices/70.dma", "../../../../devices/platform/70.dma");
        fixture_link(f, "sys/devices/platform/70.dma/driver", "../../../bus/platform/drivers/xgene-dma");
        fixture_link(f, "proc/4711/fd/9", "/dev/nvidia0");
        fixture_file(f, "proc/sys/kernel/random/boot_id", BOOT_ID "\n");
        fixture_file(f, "proc/4711/comm", "qemu-system-x86\n");
        fixture_file(f, "dev/nvidia0", "");
        fixture_file(f, "dev/vfio/vfio", "");
        fixture_file(f, "dev/vfio/46", "");
        fixture_file(f, "dev/vfio/devices/vfio7", "");
}

/* Everything listed is whole or accounted for. */
static void check_whole(const struct inventory *inv, unsigned at, int error)
{
        size_t broken_functions = 0, unknown_groups = 0;

        for (size_t i = 0; i < inv->n_functions; i++) {
                const struct function *fn = &inv->functions[i];
                if (!fn->vendor || !fn->class_code)
                        fail_msg("failure %d at %u: half a function", error, at);
        }
        for (size_t i = 0; i < inv->n_broken; i++) {
                if (!*inv->broken[i].detail || !*inv->broken[i].name)
                        fail_msg("failure %d at %u: a broken entry without words", error, at);
                if (str_has_prefix(inv->broken[i].name, "iommu_groups/"))
                        unknown_groups += inv->broken[i].group > 0;
                else
                        broken_functions += !streq(inv->broken[i].name, UUID);
        }
        /* A member of the GPU's group is never overlooked because of an error that is not absence. */
        if (error != ENOENT && error != ENODEV && inventory_function(inv, (struct bdf){ 0, 0x3b, 0, 0 }) &&
            inv->n_outsiders + unknown_groups == 0)
                fail_msg("failure %d at %u: the group's other member is overlooked", error, at);
        /* What is bound in this boot would be taken for what an administrator bound. */
        if (error != ENOENT && error != ENODEV && !streq(inv->boot_id, BOOT_ID))
                fail_msg("failure %d at %u: the boot is \"%s\"", error, at, inv->boot_id);
        if (inv->n_functions + broken_functions != 3)
                fail_msg("failure %d at %u: %zu functions, %zu broken", error, at, inv->n_functions, broken_functions);
}

static void test_a_scan_survives_the_failure_of_any_access(void **state)
{
        static const int errors[] = { ENOENT, EIO, EACCES, ENODEV };
        unsigned n_broken = 0, n_refused = 0;
        struct fixture f;

        (void)state;
        make_host(&f);
        for (size_t e = 0; e < N_ELEMENTS(errors); e++) {
                unsigned n = 1000;
                for (unsigned at = 1; at <= n; at++) {
                        struct inventory *inv = NULL;
                        struct err err = { 0 };
                        fs_fail_at(at, errors[e]);
                        int r = host_scan(&f.tree, NULL, true, &inv, &err);
                        n = fs_calls();
                        fs_fail_at(0, 0);
                        if (r < 0) {
                                assert_null(inv);
                                assert_int_equal(r, -err.code);
                                assert_true(strlen(err.msg) > 10);
                                n = 1000; /* ended early: the number of accesses is not known yet */
                                n_refused++;
                        } else {
                                check_whole(inv, at, errors[e]);
                                n_broken += inv->n_broken > 0;
                                (void)inventory_unref(inv);
                        }
                }
        }
        /* The sweep reached what it is for. */
        assert_true(n_broken > 40);
        assert_true(n_refused > 10);
        fixture_done(&f);
}

static void test_a_search_for_holders_survives_the_failure_of_any_access(void **state)
{
        static const int errors[] = { ENOENT, EIO, EACCES };
        struct bdf gpu = { 0, 0x3b, 0, 0 };
        struct fixture f;

        (void)state;
        make_host(&f);
        for (size_t e = 0; e < N_ELEMENTS(errors); e++)
                for (unsigned at = 1; at <= 40; at++) {
                        struct holder found[HOLDERS_MAX];
                        struct node_list nodes;
                        struct err err = { 0 };
                        bool blind = false;
                        fs_fail_at(at, errors[e]);
                        int r = holders_nodes(&f.tree, gpu, &nodes, &err);
                        if (r == 0)
                                r = holders_find(&f.tree, &nodes, found, &blind, &err);
                        fs_fail_at(0, 0);
                        if (r < 0)
                                assert_true(strlen(err.msg) > 10);
                        else if (errors[e] != ENOENT && r == 0)
                                assert_true(blind); /* what could not be seen is never "nobody" */
                }
        fixture_done(&f);
}

/* A child takes the GPU away and puts it back, as fast as it can, while it is read. */
static void test_a_device_may_go_away_at_any_moment(void **state)
{
        char gone[PATH_MAX], there[PATH_MAX], link[PATH_MAX], target[PATH_MAX];
        unsigned absent = 0, whole = 0;
        struct fixture f;

        (void)state;
        make_host(&f);
        fixture_path(&f, GPU_DIR, there);
        fixture_path(&f, "sys/devices/gone", gone);
        fixture_path(&f, "sys/bus/pci/devices/0000:3b:00.0", link);
        ssize_t n = readlink(link, target, sizeof(target) - 1);
        assert_true(n > 0);
        target[n] = '\0';
        pid_t parent = getpid(), pid = fork();
        if (pid == 0) {
                char vendor[PATH_MAX], away[PATH_MAX];
                fixture_path(&f, GPU_DIR "/vendor", vendor);
                fixture_path(&f, GPU_DIR "/away", away);
                while (getppid() == parent) {
                        (void)rename(vendor, away); /* the files go before the directory does */
                        (void)unlink(link);
                        (void)rename(there, gone);
                        (void)usleep(200);
                        (void)rename(gone, there);
                        (void)rename(away, vendor);
                        if (symlink(target, link) < 0)
                                _exit(1);
                        (void)usleep(200);
                }
                _exit(0);
        }
        struct timespec until, now;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += 5;
        do {
                struct inventory *inv = NULL;
                struct err err;
                ASSERT_OK(host_scan(&f.tree, NULL, true, &inv, &err), &err);
                const struct function *fn = inventory_function(inv, (struct bdf){ 0, 0x3b, 0, 0 });
                absent += !fn;
                whole += fn != NULL;
                if (fn) {
                        assert_int_equal(fn->numa_node, 1);
                        assert_int_equal(fn->group, 45);
                        assert_int_equal(fn->total_vfs, 32);
                        assert_string_equal(fn->reset_methods, "flr bus");
                }
                (void)inventory_unref(inv);
                (void)clock_gettime(CLOCK_MONOTONIC, &now);
        } while ((absent < 50 || whole < 50) && now.tv_sec < until.tv_sec);
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        print_message("# absent %u times, whole %u times\n", absent, whole);
        assert_true(absent > 0 && whole > 0);
        fixture_done(&f);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_scan_survives_the_failure_of_any_access),
                TEST(test_a_search_for_holders_survives_the_failure_of_any_access),
                TEST(test_a_device_may_go_away_at_any_moment),
        };

        return RUN(tests);
}
