/* SPDX-License-Identifier: Apache-2.0 */
#include "hands/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "sim/sim.h"

struct kernel {
        struct tree tree;          /* of the machine; unused with @sim */
        struct sim *sim;           /* NULL on the machine */
        int write_sys, write_proc; /* where a container writes; -1: where it reads */
        char *root;
};

static struct kernel *kernel_new(void)
{
        struct kernel *kernel = xcalloc(1, sizeof(*kernel));

        kernel->tree = TREE_NULL;
        kernel->write_sys = kernel->write_proc = -1;
        return kernel;
}

int kernel_open(struct kernel **ret, const char *sim_dir, struct err *err)
{
        _cleanup_kernel_ struct kernel *kernel = kernel_new();

        int r = sim_dir && *sim_dir ? sim_open(&kernel->sim, sim_dir, err) : tree_open(&kernel->tree, NULL, err);
        if (r < 0)
                return r;
        kernel->root = xstrdup(sim_dir ? sim_dir : "");
        *ret = TAKE_PTR(kernel);
        return 0;
}

int kernel_open_mounts(struct kernel **ret, const char *mounts, struct err *err)
{
        _cleanup_kernel_ struct kernel *kernel = kernel_new();

        int r = tree_open_mounts(&kernel->tree, mounts, err);
        if (r == 0)
                r = tree_open_mount(&kernel->write_sys, mounts, "sys", err);
        if (r < 0)
                return r;
        kernel->root = xstrdup(mounts);
        kernel->write_proc = fs_open(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY, 0);
        if (kernel->write_proc < 0)
                return err_set(err, -kernel->write_proc, "cannot open directory /proc");
        *ret = TAKE_PTR(kernel);
        return 0;
}

struct kernel *kernel_free(struct kernel *kernel)
{
        if (!kernel)
                return NULL;
        tree_close(&kernel->tree);
        cleanup_close(&kernel->write_sys);
        cleanup_close(&kernel->write_proc);
        free(kernel->root);
        if (kernel->sim)
                sim_free(kernel->sim);
        free(kernel);
        return NULL;
}

const char *kernel_root(const struct kernel *kernel)
{
        return kernel->root;
}

const struct tree *kernel_tree(struct kernel *kernel)
{
        struct err err;
        int64_t next_ms;

        if (!kernel->sim)
                return &kernel->tree;
        /* What could not be completed is seen by whoever looks: the executor reads everything back. */
        fs_seam_pause(true);
        (void)sim_settle(kernel->sim, &next_ms, &err);
        fs_seam_pause(false);
        return sim_tree(kernel->sim);
}

/* To the executor the simulated kernel's write is one access, as the real one's is: it fails before anything happened, or
 * happens whole. */
static int simulate(struct kernel *kernel, const char *path, const char *value,
                    int (*write)(struct sim *sim, const char *path, const char *value, struct err *err), struct err *err)
{
        int r = fs_seam();
        if (r < 0)
                return err_set(err, -r, "cannot write %s", path);
        fs_seam_pause(true);
        r = write(kernel->sim, path, value, err);
        fs_seam_pause(false);
        return r;
}

int kernel_read_locked(struct kernel *kernel, const char *path, char *buf, size_t size, struct err *err)
{
        if (!kernel->sim)
                return fs_read_value(kernel->tree.sys, path, buf, size, err);
        int r = fs_seam();
        if (r < 0)
                return err_set(err, -r, "cannot read %s", path);
        fs_seam_pause(true);
        r = sim_read(kernel->sim, path, buf, size, err);
        fs_seam_pause(false);
        return r;
}

ssize_t kernel_read_config(struct kernel *kernel, struct bdf bdf, uint32_t offset, void *buf, size_t n, struct err *err)
{
        char path[64];

        str_format(path, sizeof(path), "bus/pci/devices/" BDF_FMT "/config", BDF_ARGS(bdf));
        if (kernel->sim) { /* its faults and locks; the bytes are below */
                char unused[512];
                int r = kernel_read_locked(kernel, path, unused, sizeof(unused), err);
                if (r < 0)
                        return r;
        }
        return fs_read_at(kernel_tree(kernel)->sys, path, offset, buf, n, err);
}

static int either(int first, int second)
{
        return first >= 0 ? first : second;
}

/* sysfs files of one machine are the same inodes in every mount of one network namespace's sysfs, which those who write share.
 * "rescan" of a function that is no VF is root's alone, does nothing when it is opened, and does not keep the function from being removed.
 */
int kernel_open_card(struct kernel *kernel, struct bdf card)
{
        int sys = kernel->sim ? sim_tree(kernel->sim)->sys : either(kernel->write_sys, kernel->tree.sys);
        char path[64];

        str_format(path, sizeof(path), "bus/pci/devices/" BDF_FMT "/rescan", BDF_ARGS(card));
        return fs_open(sys, path, O_WRONLY, 0);
}

int kernel_write_sys(struct kernel *kernel, const char *path, const char *value, struct err *err)
{
        return kernel->sim ? simulate(kernel, path, value, sim_write, err)
                           : fs_write(either(kernel->write_sys, kernel->tree.sys), path, value, err);
}

int kernel_write_proc(struct kernel *kernel, const char *path, const char *value, struct err *err)
{
        return kernel->sim ? simulate(kernel, path, value, sim_write_proc, err)
                           : fs_write(either(kernel->write_proc, kernel->tree.proc), path, value, err);
}

static int run_modprobe(const char *name, struct err *err)
{
        static const char *const programs[] = { "/sbin/modprobe", "/usr/sbin/modprobe" };
        char *const argv[] = { (char *)"modprobe", (char *)"--", (char *)name, NULL };
        char *const environment[] = { NULL };
        pid_t pid;
        int status, r = ENOENT;

        for (size_t i = 0; i < N_ELEMENTS(programs) && r == ENOENT; i++)
                r = posix_spawn(&pid, programs[i], NULL, NULL, argv, environment);
        if (r != 0)
                return err_set(err, r, "cannot run modprobe %s", name);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return err_set(err, errno, "cannot wait for modprobe %s", name);
        if (status != 0)
                return err_say(err, EIO, "modprobe %s failed (status 0x%x); its message is in Sluice's log", name, (unsigned)status);
        return 0;
}

int kernel_load_module(struct kernel *kernel, const char *name, struct err *err)
{
        if (!kernel->sim)
                return run_modprobe(name, err);
        int r = fs_seam();
        if (r < 0)
                return err_set(err, -r, "cannot load the module %s", name);
        fs_seam_pause(true);
        r = sim_load_module(kernel->sim, name, err);
        fs_seam_pause(false);
        return r;
}
