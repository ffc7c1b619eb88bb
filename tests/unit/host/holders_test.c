/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "base/fs.h"
#include "base/str.h"
#include "host/holders.h"

#define ABOVE   "pci0000:3a/0000:3a:00.0"
#define GPU_DIR "sys/devices/" ABOVE "/0000:3b:00.0"

static const struct bdf gpu = { 0, 0x3b, 0, 0 };

static void make_gpu(struct fixture *f)
{
        fixture_make_in(f, "/tmp"); /* device nodes: a mount in memory is often nodev */
        fixture_function(f, &(struct fixture_function){ ABOVE, "0000:3b:00.0", "0x10de\n", "0x26b9\n", "0x030200\n", "vfio-pci", 45 });
        fixture_file(f, "dev/vfio/vfio", "");
        fixture_file(f, "dev/vfio/45", "");
}

static bool has(const struct node_list *nodes, const char *path)
{
        for (size_t i = 0; i < nodes->n; i++)
                if (streq(nodes->paths[i], path))
                        return true;
        return false;
}

static int find(const struct fixture *f, const struct node_list *nodes, struct holder *found, bool *blind)
{
        struct err err;

        int r = holders_find(&f->tree, nodes, found, blind, &err);
        ASSERT_OK(r, &err);
        return r;
}

static void test_a_function_has_its_own_nodes_and_only_those_that_exist(void **state)
{
        struct node_list nodes;
        struct fixture f;
        struct err err;

        (void)state;
        make_gpu(&f);
        fixture_dir(&f, GPU_DIR "/vfio-dev/vfio7");
        fixture_file(&f, "dev/vfio/devices/vfio7", "");
        fixture_dir(&f, GPU_DIR "/drm/card1");
        fixture_dir(&f, GPU_DIR "/drm/renderD129");
        fixture_dir(&f, GPU_DIR "/drm/card2"); /* its node is not there */
        fixture_file(&f, "dev/dri/card1", "");
        fixture_file(&f, "dev/dri/renderD129", "");
        fixture_file(&f, "dev/nvidia3", "");
        fixture_file(&f, "dev/nvidiactl", "");
        fixture_file(&f, "proc/driver/nvidia/gpus/0000:3b:00.0/information",
                     "Model: \t\t NVIDIA L40S\nIRQ:   \t\t 24\nDevice Minor: \t 3\nGPU Excluded:\t No\n");
        ASSERT_OK(holders_nodes(&f.tree, gpu, &nodes, &err), &err);
        assert_int_equal(nodes.n, 5);
        assert_true(has(&nodes, "/dev/vfio/45") && has(&nodes, "/dev/vfio/devices/vfio7") && has(&nodes, "/dev/dri/card1") &&
                    has(&nodes, "/dev/dri/renderD129") && has(&nodes, "/dev/nvidia3"));
        fixture_done(&f);
}

static void test_a_function_that_is_gone_or_answers_nonsense_is_an_error(void **state)
{
        struct node_list nodes = { .n = 77 };
        struct fixture f;
        struct err err;

        (void)state;
        make_gpu(&f);
        assert_int_equal(holders_nodes(&f.tree, (struct bdf){ 0, 0x3c, 0, 0 }, &nodes, &err), -ENODEV);
        fixture_file(&f, "proc/driver/nvidia/gpus/0000:3b:00.0/information", "Device Minor: \t ?\n");
        assert_int_equal(holders_nodes(&f.tree, gpu, &nodes, &err), -EBADMSG);
        assert_int_equal(nodes.n, 77);
        fixture_done(&f);
}

static void test_a_group_has_its_node_and_the_cdevs_of_its_members(void **state)
{
        struct node_list nodes;
        struct fixture f;
        struct err err;

        (void)state;
        make_gpu(&f);
        fixture_dir(&f, GPU_DIR "/vfio-dev/vfio7");
        fixture_file(&f, "dev/vfio/devices/vfio7", "");
        ASSERT_OK(holders_nodes_of_group(&f.tree, 45, &nodes, &err), &err);
        assert_int_equal(nodes.n, 2);
        assert_true(has(&nodes, "/dev/vfio/45") && has(&nodes, "/dev/vfio/devices/vfio7"));
        ASSERT_OK(holders_nodes_of_group(&f.tree, 46, &nodes, &err), &err);
        assert_int_equal(nodes.n, 0);
        fixture_done(&f);
}

static void test_more_nodes_than_a_device_can_have_is_an_error(void **state)
{
        struct node_list nodes;
        struct fixture f;
        struct err err;

        (void)state;
        make_gpu(&f);
        for (int i = 0; i <= NODES_MAX; i++) {
                char path[128];
                str_format(path, sizeof(path), GPU_DIR "/drm/card%d", i);
                fixture_dir(&f, path);
                str_format(path, sizeof(path), "dev/dri/card%d", i);
                fixture_file(&f, path, "");
        }
        assert_int_equal(holders_nodes(&f.tree, gpu, &nodes, &err), -E2BIG);
        fixture_done(&f);
}

static void test_processes_of_a_captured_host_are_found_by_path(void **state)
{
        struct holder found[HOLDERS_MAX];
        struct node_list nodes;
        struct fixture f;
        struct err err;
        bool blind = true;

        (void)state;
        make_gpu(&f);
        ASSERT_OK(holders_nodes(&f.tree, gpu, &nodes, &err), &err);
        assert_int_equal(find(&f, &nodes, found, &blind), 0);
        assert_false(blind);
        fixture_link(&f, "proc/812/fd/3", "/dev/vfio/vfio"); /* shared: no evidence */
        fixture_link(&f, "proc/812/fd/4", "/dev/vfio/4");
        fixture_link(&f, "proc/813/fd/30", "/dev/vfio/vfio");
        fixture_link(&f, "proc/813/fd/31", "/dev/vfio/45");
        fixture_link(&f, "proc/813/fd/32", "/dev/vfio/45");
        fixture_file(&f, "proc/813/comm", "qemu-kvm\n");
        fixture_link(&f, "proc/driver/fd/1", "/dev/vfio/45"); /* no process */
        assert_int_equal(find(&f, &nodes, found, &blind), 1);
        assert_int_equal(found[0].pid, 813);
        assert_string_equal(found[0].comm, "qemu-kvm");
        assert_string_equal(found[0].node, "/dev/vfio/45");
        assert_true(holders_visible(&f.tree));
        fixture_done(&f);
}

static void test_shared_nodes_are_no_evidence_even_when_asked_for(void **state)
{
        static const char *const shared[] = { "/dev/vfio/vfio",     "/dev/iommu",      "/dev/kfd",
                                              "/dev/nvidiactl",     "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools",
                                              "/dev/nvidia-modeset" };
        struct holder found[HOLDERS_MAX];
        struct node_list nodes = { .n = 0 };
        struct fixture f;
        bool blind;

        (void)state;
        fixture_make(&f);
        for (size_t i = 0; i < N_ELEMENTS(shared); i++) {
                char path[64];
                str_format(path, sizeof(path), "proc/9/fd/%zu", i);
                fixture_link(&f, path, shared[i]);
                fixture_file(&f, shared[i] + 1, "");
                (void)str_copy(nodes.paths[nodes.n++], sizeof(nodes.paths[0]), shared[i]);
        }
        assert_int_equal(find(&f, &nodes, found, &blind), 0);
        fixture_done(&f);
}

static void test_at_most_a_handful_of_holders_is_reported(void **state)
{
        struct holder found[HOLDERS_MAX];
        struct node_list nodes;
        struct fixture f;
        struct err err;
        bool blind;

        (void)state;
        make_gpu(&f);
        for (int i = 0; i < HOLDERS_MAX + 5; i++) {
                char path[64];
                str_format(path, sizeof(path), "proc/%d/fd/0", 100 + i);
                fixture_link(&f, path, "/dev/vfio/45");
        }
        ASSERT_OK(holders_nodes(&f.tree, gpu, &nodes, &err), &err);
        assert_int_equal(find(&f, &nodes, found, &blind), HOLDERS_MAX);
        assert_string_equal(found[0].comm, "");
        fixture_done(&f);
}

/* A host of real processes and one real device node: /proc is the machine's, dev/ has a node with null's number. */
struct real {
        struct fixture f;
        struct tree tree;
        struct node_list nodes;
};

static bool real_make(struct real *r)
{
        struct err err;

        make_gpu(&r->f);
        fixture_remove(&r->f, "dev/vfio/45");
        if (mknodat(r->f.tree.dev, "vfio/45", S_IFCHR | 0600, makedev(1, 7)) < 0) { /* /dev/full */
                fixture_done(&r->f);
                return false;
        }
        r->tree = r->f.tree;
        r->tree.proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(r->tree.proc >= 0);
        ASSERT_OK(holders_nodes(&r->f.tree, gpu, &r->nodes, &err), &err);
        assert_int_equal(r->nodes.n, 1);
        return true;
}

static void real_done(struct real *r)
{
        (void)close(r->tree.proc);
        fixture_done(&r->f);
}

static int real_find(struct real *r, struct holder *found)
{
        struct err err;
        bool blind;

        int n = holders_find(&r->tree, &r->nodes, found, &blind, &err);
        ASSERT_OK(n, &err);
        return n;
}

static bool names_pid(const struct holder *found, int n, pid_t pid)
{
        for (int i = 0; i < n; i++)
                if (found[i].pid == pid && streq(found[i].node, "/dev/vfio/45"))
                        return true;
        return false;
}

/* The node is opened under another path than ours, as in a container; then it is removed while it is open. */
static void test_a_real_process_is_found_by_device_number_under_any_path(void **state)
{
        struct holder found[HOLDERS_MAX];
        int ready[2], stop[2];
        struct real r;
        char byte;

        (void)state;
        if (!real_make(&r)) {
                print_message("# skipped: device nodes cannot be made here\n");
                skip();
        }
        assert_false(names_pid(found, real_find(&r, found), getpid()));
        assert_int_equal(pipe(ready), 0);
        assert_int_equal(pipe(stop), 0);
        fixture_dir(&r.f, "inner/dev/vfio");
        char inner[PATH_MAX];
        fixture_path(&r.f, "inner/dev/vfio/1", inner);
        assert_int_equal(mknod(inner, S_IFCHR | 0600, makedev(1, 7)), 0);
        pid_t pid = fork();
        if (pid == 0) {
                int fd = open(inner, O_RDWR);
                (void)close(stop[1]);
                byte = fd < 0;
                _exit(write(ready[1], &byte, 1) != 1 || read(stop[0], &byte, 1) != 0);
        }
        (void)close(stop[0]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        if (byte == 0) {
                int n = real_find(&r, found);
                assert_true(names_pid(found, n, pid));
                assert_int_equal(unlink(inner), 0);
                assert_true(names_pid(found, real_find(&r, found), pid));
        }
        (void)close(stop[1]);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_false(names_pid(found, real_find(&r, found), pid));
        (void)close(ready[0]);
        (void)close(ready[1]);
        real_done(&r);
        if (byte != 0) {
                print_message("# skipped: device nodes in /tmp cannot be opened here: only absence was checked\n");
                skip();
        }
}

static void test_we_do_not_hold_up_ourselves(void **state)
{
        struct holder found[HOLDERS_MAX];
        struct real r;

        (void)state;
        if (!real_make(&r)) {
                print_message("# skipped: device nodes cannot be made here\n");
                skip();
        }
        int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
        if (fd >= 0)
                assert_false(names_pid(found, real_find(&r, found), getpid()));
        (void)close(fd);
        real_done(&r);
}

static void test_processes_that_may_not_be_looked_into_make_us_blind(void **state)
{
        struct holder found[HOLDERS_MAX];
        struct node_list nodes;
        struct fixture f;
        struct err err;
        bool blind = false;
        unsigned at;

        (void)state;
        make_gpu(&f);
        fixture_link(&f, "proc/813/fd/31", "/dev/null");
        ASSERT_OK(holders_nodes(&f.tree, gpu, &nodes, &err), &err);
        fs_fail_at(0, 0);
        assert_int_equal(find(&f, &nodes, found, &blind), 0);
        assert_false(blind);
        /* The last two accesses are the descriptors of 813 and the link of the only one. */
        at = fs_calls();
        for (unsigned i = at - 1; i <= at; i++) {
                fs_fail_at(i, EACCES);
                assert_int_equal(find(&f, &nodes, found, &blind), 0);
                assert_true(blind);
                fs_fail_at(i, ENOENT); /* it ended meanwhile */
                assert_int_equal(find(&f, &nodes, found, &blind), 0);
                assert_false(blind);
        }
        fs_fail_at(0, 0);
        fixture_done(&f);
}

static void test_all_processes_are_visible_only_with_the_hosts_proc_and_both_rights(void **state)
{
        static const struct {
                const char *namespace, *caps;
                bool fds, visible;
        } rows[] = {
                { "pid:[4026531836]", "000001ffffffffff", true, true },
                { "pid:[4026531836]", "0000000000080004", true, true },  /* SYS_PTRACE, DAC_READ_SEARCH */
                { "pid:[4026531836]", "0000000000080002", true, true },  /* SYS_PTRACE, DAC_OVERRIDE */
                { "pid:[4026531836]", "0000000000080000", true, false }, /* QEMU's descriptors are another user's */
                { "pid:[4026531836]", "0000000000000004", true, false },
                { "pid:[4026531836]", "000001ffffffffff", false, false },
                { "pid:[4026532837]", "000001ffffffffff", true, false }, /* a pod's own pid namespace */
                { NULL, "000001ffffffffff", true, false },               /* pid 1 may not be looked into */
                { "pid:[4026531836]", "nonsense", true, false },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct fixture f;
                char status[256];
                fixture_make(&f);
                fixture_link(&f, "proc/self", "77");
                str_format(status, sizeof(status), "Name:\tsluiced\nCapPrm:\t000001ffffffffff\nCapEff:\t%s\nCapBnd:\t0\n", rows[i].caps);
                fixture_file(&f, "proc/77/status", status);
                fixture_dir(&f, "proc/1");
                if (rows[i].namespace)
                        fixture_link(&f, "proc/1/ns/pid", rows[i].namespace);
                if (rows[i].fds)
                        fixture_dir(&f, "proc/1/fd");
                if (holders_visible(&f.tree) != rows[i].visible)
                        fail_msg("row %zu", i);
                fixture_done(&f);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_function_has_its_own_nodes_and_only_those_that_exist),
                TEST(test_a_function_that_is_gone_or_answers_nonsense_is_an_error),
                TEST(test_a_group_has_its_node_and_the_cdevs_of_its_members),
                TEST(test_more_nodes_than_a_device_can_have_is_an_error),
                TEST(test_processes_of_a_captured_host_are_found_by_path),
                TEST(test_shared_nodes_are_no_evidence_even_when_asked_for),
                TEST(test_at_most_a_handful_of_holders_is_reported),
                TEST(test_a_real_process_is_found_by_device_number_under_any_path),
                TEST(test_we_do_not_hold_up_ourselves),
                TEST(test_processes_that_may_not_be_looked_into_make_us_blind),
                TEST(test_all_processes_are_visible_only_with_the_hosts_proc_and_both_rights),
        };

        return RUN(tests);
}
