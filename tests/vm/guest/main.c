/* SPDX-License-Identifier: Apache-2.0 */
/* The program that the guest's init runs: the suite of the topology that was booted. Called by another name it is one of the
 * small helpers of the tests, so that one program travels. */
#include "fuse.h"
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

enum { END_S = 30 };

/* Topologies of the rig's own test: the runner must call each of them a failure. */
static int report_one(unsigned planned)
{
        (void)printf("PLAN %u\nok 1 - reported before the end\n", planned);
        (void)fflush(stdout);
        return 0;
}

static int rig_panic(void)
{
        (void)report_one(1);
        assert_int_equal(kernel_write("c", "/proc/sysrq-trigger"), 0);
        return 0;
}

static int rig_silent(void)
{
        return report_one(2);
}

static int rig_hang(void)
{
        (void)report_one(1);
        return pause();
}

static void never_end(void)
{
        for (;;)
                (void)pause();
}

static int rig_stays(void)
{
        (void)report_one(1);
        return atexit(never_end);
}

static const struct {
        const char *name;
        int (*run)(void);
} suites[] = {
        { "gpu", suite_gpu },         { "groups", suite_groups }, { "sriov", suite_sriov },      { "numa", suite_numa },
        { "noiommu", suite_noiommu }, { "amd", node_suite_amd },  { "eight", node_suite_eight }, { "panic", rig_panic },
        { "silent", rig_silent },     { "hang", rig_hang },       { "kills", node_suite_kills }, { "stays", rig_stays },
};

/* All that counts has been said then. */
static int run_suite_of(size_t i)
{
        int status = suites[i].run() == 0 ? 0 : 1;

        fuse_light("vmtest, whose tests are over,", END_S);
        return status;
}

/* holder PATH: has it open until a signal ends it. */
static int holder(const char *path)
{
        (void)prctl(PR_SET_NAME, "holder");
        if (open(path, O_RDWR | O_CLOEXEC) < 0) {
                (void)printf("cannot open %s: %s\n", path, strerror(errno));
                return 1;
        }
        (void)printf("holding\n");
        (void)fflush(stdout);
        for (;;)
                (void)pause();
}

/* logged LOG PROGRAM ARGUMENT...: runs it in this process with its output in a file. */
static int logged(char **argv)
{
        int log = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0644);

        (void)dup2(log, STDOUT_FILENO);
        (void)dup2(log, STDERR_FILENO);
        (void)close(log);
        (void)execvp(argv[2], argv + 2);
        (void)fprintf(stderr, "cannot run %s: %s\n", argv[2], strerror(errno));
        return 127;
}

/* A directory of the host at its place below /host. */
static int mount_host(const char *path, bool read_only)
{
        char to[64];

        (void)snprintf(to, sizeof(to), "/host%s", path);
        for (char *slash = to + 1; (slash = strchr(slash, '/')); slash++) {
                *slash = '\0';
                (void)mkdir(to, 0755);
                *slash = '/';
        }
        (void)mkdir(to, 0755);
        if (mount(path, to, NULL, MS_BIND, NULL) < 0)
                return -1;
        return read_only ? mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) : 0;
}

/* What a container runtime makes of the chart's pod: the mounts of the variant, a /sys that cannot be written, a /dev with
 * nothing of the host in it, no capability but those that are named, and none to be had. */
static bool enter_pod(const char *variant)
{
        bool sees = streq(variant, "passthrough"), binds = sees || streq(variant, "passthroughBlind");

        (void)mkdir("/host", 0755);
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", "/host", "tmpfs", 0, NULL) < 0 || mount_host("/dev", true) < 0)
                return false;
        if (binds && (mount_host("/sys/bus/pci", false) < 0 || mount_host("/sys/devices", false) < 0))
                return false;
        if (sees && mount_host("/proc", true) < 0)
                return false;
        if (mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0 || mount("tmpfs", "/dev", "tmpfs", 0, NULL) < 0 ||
            mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)) < 0 || mknod("/dev/urandom", S_IFCHR | 0666, makedev(1, 9)) < 0)
                return false;
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
                if (!(sees && (cap == CAP_SYS_PTRACE || cap == CAP_DAC_READ_SEARCH)) && prctl(PR_CAPBSET_DROP, cap) < 0)
                        return false;
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/* in-pod LOG PROGRAM ARGUMENT..., the variant in $VM_POD. */
static int in_pod(char **argv)
{
        if (enter_pod(getenv("VM_POD")))
                return logged(argv);
        (void)fprintf(stderr, "no pod can be made: %s\n", strerror(errno));
        return 127;
}

int main(int argc, char **argv)
{
        if (argc > 2 && streq(argv[0], "in-pod"))
                return in_pod(argv);
        if (argc > 2 && streq(argv[0], "logged"))
                return logged(argv);
        if (argc > 2 && streq(argv[0], "blind-logged"))
                return prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE) == 0 ? logged(argv) : 127;
        if (argc == 2 && streq(argv[0], "holder"))
                return holder(argv[1]);
        cmocka_set_message_output(CM_OUTPUT_TAP);
        set_filter(getenv("VM_only"));
        for (size_t i = 0; argc == 2 && i < N_ELEMENTS(suites); i++)
                if (streq(argv[1], suites[i].name))
                        return run_suite_of(i);
        (void)printf("# vmtest: no suite '%s'\n", argc == 2 ? argv[1] : "");
        return 2;
}
