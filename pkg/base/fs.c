/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"

static unsigned fail_in, calls;
static int fail_with;
static bool paused;

/* Every access passes here first: 0 goes on, else the positive errno that a test ordered. */
static int seam(void)
{
        if (paused)
                return 0;
        calls++;
        if (fail_in == 0 || --fail_in > 0)
                return 0;
        if (fail_with & FS_FAIL_ON)
                fail_in = 1;
        return fail_with & ~FS_FAIL_ON;
}

void fs_fail_at(unsigned n, int error)
{
        fail_in = n;
        fail_with = error;
        calls = 0;
}

unsigned fs_calls(void)
{
        return calls;
}

int fs_seam(void)
{
        return -seam();
}

void fs_seam_pause(bool pause)
{
        paused = pause;
}

bool fs_gone(int error)
{
        int e = error < 0 ? -error : error;

        return e == ENOENT || e == ENODEV || e == ENXIO || e == ENOTDIR;
}

int fs_open(int dir, const char *path, int flags, mode_t mode)
{
        int e = seam();
        if (e)
                return -e;
        int fd;
        do
                fd = openat(dir, path, flags | O_CLOEXEC, mode);
        while (fd < 0 && errno == EINTR);
        return fd < 0 ? -errno : fd;
}

/* @one_line: a short read that ends with a newline is the whole (an attribute's value comes in one piece), which saves a
 * quarter of a scan's system calls. */
static int read_file(int dir, const char *path, char *buf, size_t size, bool one_line, size_t *ret_n, struct err *err)
{
        _cleanup_close_ int fd = fs_open(dir, path, O_RDONLY | O_NONBLOCK, 0);
        if (fd < 0)
                return err_set(err, -fd, "cannot open %s", path);

        size_t n = 0;
        for (;;) {
                ssize_t r = read(fd, buf + n, size - n);
                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return err_set(err, errno, "cannot read %s", path);
                n += (size_t)r;
                if (r == 0)
                        break;
                if (n == size)
                        return err_set(err, EFBIG, "%s is longer than %zu bytes", path, size - 1);
                if (one_line && buf[n - 1] == '\n')
                        break;
        }
        buf[n] = '\0';
        if (ret_n)
                *ret_n = n;
        return 0;
}

int fs_read(int dir, const char *path, char *buf, size_t size, size_t *ret_n, struct err *err)
{
        return read_file(dir, path, buf, size, false, ret_n, err);
}

ssize_t fs_read_at(int dir, const char *path, uint32_t offset, void *buf, size_t n, struct err *err)
{
        _cleanup_close_ int fd = fs_open(dir, path, O_RDONLY | O_NONBLOCK, 0);
        ssize_t r;

        if (fd < 0)
                return err_set(err, -fd, "cannot open %s", path);
        do
                r = pread(fd, buf, n, offset);
        while (r < 0 && errno == EINTR);
        return r < 0 ? err_set(err, errno, "cannot read %s", path) : r;
}

int fs_read_value(int dir, const char *path, char *buf, size_t size, struct err *err)
{
        char raw[4096];

        int r = read_file(dir, path, raw, sizeof(raw), true, NULL, err);
        if (r < 0)
                return r;
        if (strlen(str_chomp(raw)) >= size)
                return err_set(err, EFBIG, "%s is longer than %zu bytes", path, size - 1);
        str_clean(buf, size, raw);
        return 0;
}

int fs_write(int dir, const char *path, const char *value, struct err *err)
{
        _cleanup_close_ int fd = fs_open(dir, path, O_WRONLY, 0);
        if (fd < 0)
                return err_set(err, -fd, "cannot open %s", path);

        ssize_t n;
        do
                n = write(fd, value, strlen(value));
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return err_set(err, errno, "cannot write %s", path);
        if ((size_t)n != strlen(value))
                return err_set(err, EIO, "%s took only %zd bytes", path, n);
        return 0;
}

int fs_readlink(int dir, const char *path, char *buf, size_t size, struct err *err)
{
        int e = seam();
        if (e)
                return err_set(err, e, "cannot read link %s", path);
        ssize_t n = readlinkat(dir, path, buf, size);
        if (n < 0)
                return err_set(err, errno, "cannot read link %s", path);
        if ((size_t)n >= size)
                return err_set(err, ENAMETOOLONG, "link %s points too far", path);
        buf[n] = '\0';
        return 0;
}

int fs_readlink_last(int dir, const char *path, char *buf, size_t size, struct err *err)
{
        char target[PATH_MAX];

        int r = fs_readlink(dir, path, target, sizeof(target), err);
        if (r < 0)
                return r;
        const char *slash = strrchr(target, '/');
        const char *last = slash ? slash + 1 : target;
        if (strlen(last) >= size)
                return err_set(err, ENAMETOOLONG, "link %s points to a name of more than %zu bytes", path, size - 1);
        str_clean(buf, size, last);
        return 0;
}

int fs_exists(int dir, const char *path)
{
        struct stat st;

        int e = seam();
        if (e)
                return -e;
        if (fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
                return 1;
        return fs_gone(errno) ? 0 : -errno;
}

int fs_stat(int dir, const char *path, struct stat *ret)
{
        int e = seam();
        if (e)
                return -e;
        return fstatat(dir, path, ret, 0) < 0 ? -errno : 0;
}

static int by_name(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(struct fs_list *list, size_t *cap, const char *path, const char *name, struct err *err)
{
        if (streq(name, ".") || streq(name, ".."))
                return 0;
        if (list->n == FS_LIST_MAX)
                return err_set(err, E2BIG, "%s has more than %d entries", path, FS_LIST_MAX);
        GROW(list->names, list->n, *cap);
        list->names[list->n++] = xstrdup(name);
        return 0;
}

/* Not opendir(): that is three more system calls and 32 KiB for each directory, and a look at the host lists hundreds. */
int fs_list(int dir, const char *path, struct fs_list *ret, struct err *err)
{
        _Alignas(struct dirent64) char buf[4096];
        _cleanup_fs_list_ struct fs_list list = { 0 };
        size_t cap = 0;
        ssize_t n;

        _cleanup_close_ int fd = fs_open(dir, path, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                return err_set(err, -fd, "cannot open directory %s", path);
        while ((n = getdents64(fd, buf, sizeof(buf))) > 0)
                for (const char *at = buf; at < buf + n;) {
                        const struct dirent64 *entry = (const void *)at;
                        int r = add_name(&list, &cap, path, entry->d_name, err);
                        if (r < 0)
                                return r;
                        at += entry->d_reclen;
                }
        if (n < 0)
                return err_set(err, errno, "cannot list %s", path);
        if (list.n > 1)
                qsort(list.names, list.n, sizeof(*list.names), by_name);
        *ret = list;
        list = (struct fs_list){ 0 };
        return 0;
}

void fs_list_done(struct fs_list *list)
{
        for (size_t i = 0; i < list->n; i++)
                free(list->names[i]);
        free(list->names);
        *list = (struct fs_list){ 0 };
}

int fs_mkdir(int dir, const char *path, mode_t mode)
{
        struct stat st;

        int e = seam();
        if (e)
                return -e;
        if (mkdirat(dir, path, mode) == 0)
                return 0;
        if (errno == EEXIST && fstatat(dir, path, &st, 0) == 0 && S_ISDIR(st.st_mode))
                return 0;
        return -errno;
}

int fs_symlink(const char *target, int dir, const char *path)
{
        int e = seam();
        if (e)
                return -e;
        return symlinkat(target, dir, path) < 0 ? -errno : 0;
}

int fs_unlink(int dir, const char *path, int flags)
{
        int e = seam();
        if (e)
                return -e;
        return unlinkat(dir, path, flags) < 0 ? -errno : 0;
}

int fs_rename(int dir, const char *from, const char *to)
{
        int e = seam();
        if (e)
                return -e;
        return renameat(dir, from, dir, to) < 0 ? -errno : 0;
}

int fs_write_all(int fd, const char *data, size_t n)
{
        for (size_t done = 0; done < n;) {
                ssize_t w = write(fd, data + done, n - done);
                if (w < 0 && errno == EINTR)
                        continue;
                if (w < 0)
                        return -errno;
                done += (size_t)w;
        }
        return 0;
}

static int sync_parent(int dir, const char *path)
{
        char parent[PATH_MAX];

        if (!str_copy(parent, sizeof(parent), path))
                return -ENAMETOOLONG;
        char *slash = strrchr(parent, '/');
        if (slash)
                *slash = '\0';
        _cleanup_close_ int fd = fs_open(dir, slash ? parent : ".", O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                return fd;
        return fsync(fd) < 0 ? -errno : 0;
}

int fs_replace(int dir, const char *path, const void *data, size_t n, mode_t mode, struct err *err)
{
        char temp[PATH_MAX];

        int len = snprintf(temp, sizeof(temp), "%s.tmp", path);
        if (len < 0 || (size_t)len >= sizeof(temp))
                return err_set(err, ENAMETOOLONG, "cannot replace %s", path);
        _cleanup_close_ int fd = fs_open(dir, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode);
        if (fd < 0)
                return err_set(err, -fd, "cannot create %s", temp);

        int r = fs_write_all(fd, data, n);
        if (r == 0 && fsync(fd) < 0)
                r = -errno;
        if (r == 0)
                r = fs_rename(dir, temp, path);
        if (r == 0)
                r = sync_parent(dir, path);
        if (r < 0) {
                (void)unlinkat(dir, temp, 0);
                return err_set(err, -r, "cannot replace %s", path);
        }
        return 0;
}

int fs_remove(int dir, const char *path, struct err *err)
{
        int r = fs_unlink(dir, path, 0);
        if (r == -ENOENT)
                return 0;
        if (r == 0)
                r = sync_parent(dir, path);
        return r < 0 ? err_set(err, -r, "cannot remove %s", path) : 0;
}
