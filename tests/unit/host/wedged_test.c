/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/str.h"
#include "fixture.h"
#include "host/wedged.h"

#define STACK_OF_NVIDIA                                                                         \
        "[<0>] os_delay+0x90/0xb0 [nvidia]\n[<0>] nv_pci_remove_helper+0x2f4/0x5e0 [nvidia]\n"  \
        "[<0>] pci_device_remove+0x36/0xb0\n[<0>] device_release_driver_internal+0x1aa/0x230\n" \
        "[<0>] unbind_store+0x101/0x130\n[<0>] kernfs_fop_write_iter+0x11e/0x1b0\n[<0>] vfs_write+0x237/0x400\n"
#define STACK_OF_A_LOCK "[<0>] __mutex_lock.constprop.0+0x2e6/0x5c0\n[<0>] device_driver_detach+0x3a/0x90\n[<0>] unbind_store+0x99/0x130\n"
#define STACK_OF_A_DISK "[<0>] folio_wait_bit_common+0x13d/0x350\n[<0>] filemap_read+0x2b1/0x390\n"

struct row {
        const char *title, *comm, *stat, *wchan, *stack; /* NULL = no such file, or not for us */
        const char *fd;                                  /* what descriptor 1 is, NULL = none */
        const char *found;                               /* "COMM FUNCTION ADDRESS|?"; NULL = not found */
};

static const struct row rows[] = {
        { "NVIDIA's, which sleeps interruptibly", "bash", "7 (bash) S 1", "os_delay", STACK_OF_NVIDIA, "/sys/bus/pci/drivers/nvidia/unbind",
          "bash nv_pci_remove_helper ?" },
        { "the same after a kill", "sh", "7 (sh) R 1", "0", STACK_OF_NVIDIA, "/sys/bus/pci/drivers/nvidia/unbind",
          "sh nv_pci_remove_helper ?" },
        { "one that waits for the lock", "tee", "7 (tee) D 1", "device_driver_detach", STACK_OF_A_LOCK, NULL,
          "tee device_driver_detach ?" },
        { "removal by the device's own file", "sh", "7 (sh) D 1", "0", STACK_OF_NVIDIA,
          "/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/remove", "sh nv_pci_remove_helper 0000:3b:00.0" },
        { "as another mount calls it", "sh", "7 (sh) D 1", "0", STACK_OF_NVIDIA,
          "/host/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.1/sriov_numvfs", "sh nv_pci_remove_helper 0000:3b:00.1" },
        { "a name with a bracket", "a) D x", "7 (a) D x) S 1", "os_delay", STACK_OF_NVIDIA, NULL, "a) D x nv_pci_remove_helper ?" },
        { "no right to see the stack, D", "sh", "7 (sh) D 1", "device_release_driver_internal", NULL, NULL,
          "sh device_release_driver_internal ?" },
        { "no right to see the stack, S", "sh", "7 (sh) S 1", "os_delay", NULL, NULL, NULL },
        { "no right to see anything", "sh", "7 (sh) D 1", "0", NULL, NULL, NULL },
        { "waits for a disk", "cat", "7 (cat) D 1", "folio_wait_bit_common", STACK_OF_A_DISK, NULL, NULL },
        { "NVIDIA's driver waits for something else", "dcgm", "7 (dcgm) S 1", "os_delay", "[<0>] os_delay+0x90/0xb0 [nvidia]\n", NULL,
          NULL },
        { "sleeps, and its stack is not looked at", "sh", "7 (sh) S 1", "do_wait", STACK_OF_NVIDIA, NULL, NULL },
        { "a hand of ours: its device is locked", "sluice-hand", "7 (sluice-hand) D 1", "0", STACK_OF_NVIDIA, NULL, NULL },
        { "ended", "sh", "7 (sh) Z 1", "0", STACK_OF_NVIDIA, NULL, NULL },
        { "half a line", "sh", "7 (sh", "0", STACK_OF_NVIDIA, NULL, NULL },
};

static void make(const struct fixture *f, const char *name, const char *text)
{
        char path[64];

        if (!text)
                return;
        str_format(path, sizeof(path), "proc/7/%s", name);
        fixture_file(f, path, text);
}

static void test_tasks_that_hang_while_a_device_is_taken_away_are_found(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct wedged found[WEDGED_MAX];
                char bdf[BDF_TEXT_MAX], text[160] = "";
                struct fixture f;
                struct err err;

                fixture_make(&f);
                make(&f, "comm", rows[i].comm);
                make(&f, "stat", rows[i].stat);
                make(&f, "wchan", rows[i].wchan);
                make(&f, "stack", rows[i].stack);
                fixture_dir(&f, "proc/7/fd");
                fixture_link(&f, "proc/7/fd/0", "/dev/null");
                if (rows[i].fd)
                        fixture_link(&f, "proc/7/fd/1", rows[i].fd);
                fixture_file(&f, "proc/uptime", "1 1\n");
                int n = wedged_find(&f.tree, found, &err);
                if (n > 0)
                        str_format(text, sizeof(text), "%s %s %s", found[0].comm, found[0].where,
                                   found[0].known ? bdf_format(found[0].bdf, bdf) : "?");
                if (n != (rows[i].found != NULL) || (rows[i].found && !streq(text, rows[i].found)))
                        fail_msg("%s: %d '%s'", rows[i].title, n, text);
                assert_true(n <= 0 || found[0].pid == 7);
                fixture_done(&f);
        }
}

static void test_no_more_are_told_than_there_is_room_for(void **state)
{
        struct wedged found[WEDGED_MAX];
        struct fixture f;
        struct err err;

        (void)state;
        fixture_make(&f);
        for (int i = 1; i <= WEDGED_MAX + 3; i++) {
                char path[64];
                str_format(path, sizeof(path), "proc/%d/stat", i);
                fixture_file(&f, path, "7 (sh) D 1");
                str_format(path, sizeof(path), "proc/%d/stack", i);
                fixture_file(&f, path, STACK_OF_A_LOCK);
        }
        assert_int_equal(wedged_find(&f.tree, found, &err), WEDGED_MAX);
        fixture_done(&f);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_tasks_that_hang_while_a_device_is_taken_away_are_found),
                TEST(test_no_more_are_told_than_there_is_room_for),
        };

        return RUN(tests);
}
