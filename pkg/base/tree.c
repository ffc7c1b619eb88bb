/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fs.h"

static int open_dir(int dir, const char *path, int *ret, struct err *err)
{
        int fd = fs_open(dir, path, O_RDONLY | O_DIRECTORY, 0);

        if (fd < 0)
                return err_set(err, -fd, "cannot open directory %s", path);
        *ret = fd;
        return 0;
}

/* Not every host has modules, nor does every container see them. */
static void open_modules(struct tree *tree, int base)
{
        int fd = fs_open(base, "lib/modules", O_RDONLY | O_DIRECTORY, 0);

        tree->lib = fd < 0 ? -1 : fd;
}

int tree_open(struct tree *ret, const char *root, struct err *err)
{
        _cleanup_(tree_close) struct tree tree = TREE_NULL;
        _cleanup_close_ int base = -1;

        int r = open_dir(AT_FDCWD, root ? root : "/", &base, err);
        if (r == 0)
                r = open_dir(base, "sys", &tree.sys, err);
        if (r == 0)
                r = open_dir(base, "proc", &tree.proc, err);
        if (r == 0)
                r = open_dir(base, "dev", &tree.dev, err);
        if (r < 0)
                return root ? err_prefix(err, "%s is no host", root) : r;
        open_modules(&tree, base);
        *ret = tree;
        tree = TREE_NULL;
        return 0;
}

int tree_open_mount(int *ret, const char *mounts, const char *name, struct err *err)
{
        _cleanup_close_ int below = -1;
        _cleanup_close_ int root = -1;

        int r = open_dir(AT_FDCWD, mounts, &below, err);
        if (r == 0)
                r = open_dir(AT_FDCWD, "/", &root, err);
        if (r < 0)
                return r;
        int there = fs_exists(below, name);
        if (there < 0)
                return err_set(err, -there, "cannot look for %s/%s", mounts, name);
        return open_dir(there ? below : root, name, ret, err);
}

/* 0 when what is at @mounts/@name, if anything, has @witness in it. */
static int check_mount(const char *mounts, const char *name, const char *witness, struct err *err)
{
        _cleanup_close_ int dir = -1;

        int r = open_dir(AT_FDCWD, mounts, &dir, err);
        if (r < 0)
                return r;
        int there = fs_exists(dir, name);
        int fine = there == 1 ? fs_exists(dir, witness) : 1;
        if (there < 0 || fine < 0)
                return err_set(err, there < 0 ? -there : -fine, "cannot look at %s/%s", mounts, name);
        return fine ? 0 : err_say(err, ENOENT, "%s/%s is not the host's: there is no %s/%s", mounts, name, mounts, witness);
}

int tree_open_mounts(struct tree *ret, const char *mounts, struct err *err)
{
        _cleanup_(tree_close) struct tree tree = TREE_NULL;
        _cleanup_close_ int below = -1;

        int r = check_mount(mounts, "proc", "proc/self", err);
        if (r == 0)
                r = check_mount(mounts, "sys", "sys/bus/pci/drivers_probe", err);
        if (r == 0)
                r = open_dir(AT_FDCWD, "/sys", &tree.sys, err);
        if (r == 0)
                r = tree_open_mount(&tree.proc, mounts, "proc", err);
        if (r == 0)
                r = tree_open_mount(&tree.dev, mounts, "dev", err);
        if (r == 0)
                r = open_dir(AT_FDCWD, mounts, &below, err);
        if (r < 0)
                return r;
        open_modules(&tree, below);
        *ret = tree;
        tree = TREE_NULL;
        return 0;
}

void tree_close(struct tree *tree)
{
        cleanup_close(&tree->sys);
        cleanup_close(&tree->proc);
        cleanup_close(&tree->dev);
        cleanup_close(&tree->lib);
        *tree = TREE_NULL;
}
