/* SPDX-License-Identifier: Apache-2.0 */
/* Linked into sluiced-failing. What the daemon does to its simulated host as the kernel that it stands for (sim_*) is not counted. */
#define ACCESS_REAL
#include "access.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "order.h"
#include "sim/sim.h"

int __real_sim_prepare(const char *source, const char *dir, struct err *err);
int __wrap_sim_prepare(const char *source, const char *dir, struct err *err);
int __real_sim_open(struct sim **ret, const char *dir, struct err *err);
int __wrap_sim_open(struct sim **ret, const char *dir, struct err *err);
int __real_sim_settle(struct sim *sim, int64_t *ret_next_ms, struct err *err);
int __wrap_sim_settle(struct sim *sim, int64_t *ret_next_ms, struct err *err);

static _Thread_local bool is_kernel;
static struct order *order;

__attribute__((constructor)) static void find_order(void)
{
        const char *path = getenv("SLUICE_ACCESSES");
        int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

        if (fd < 0)
                return;
        order = mmap(NULL, sizeof(*order), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (order == MAP_FAILED)
                abort();
        (void)close(fd);
}

/* Sets errno. */
static bool fails(const char *what, const char *path)
{
        if (!order || is_kernel || !atomic_load(&order->counts))
                return false;
        unsigned n = atomic_fetch_add(&order->n, 1) + 1, fail_at = atomic_load(&order->fail_at);
        if (fail_at == 0 || n < fail_at || n >= fail_at + atomic_load(&order->burst))
                return false;
        if (n == fail_at)
                str_format(order->failed, sizeof(order->failed), "%s %s", what, path);
        errno = atomic_load(&order->error);
        return true;
}

static bool fails_at(int fd, const char *what)
{
        char link[64], path[200] = "";

        if (!order || is_kernel || !atomic_load(&order->counts))
                return false;
        str_format(link, sizeof(link), "/proc/self/fd/%d", fd);
        if (atomic_load(&order->n) + 1 == atomic_load(&order->fail_at))
                path[readlink(link, path, sizeof(path) - 1) < 0 ? 0 : sizeof(path) - 1] = '\0';
        return fails(what, path);
}

int access_openat(int dir, const char *path, int flags, ...)
{
        mode_t mode;
        va_list args;

        va_start(args, flags);
        mode = va_arg(args, mode_t); /* fs.c always gives one */
        va_end(args);
        return fails("open", path) ? -1 : openat(dir, path, flags, mode);
}

ssize_t access_readlinkat(int dir, const char *path, char *buf, size_t size)
{
        return fails("readlink", path) ? -1 : readlinkat(dir, path, buf, size);
}

int access_fstatat(int dir, const char *path, struct stat *ret, int flags)
{
        return fails("stat", path) ? -1 : fstatat(dir, path, ret, flags);
}

int access_mkdirat(int dir, const char *path, mode_t mode)
{
        return fails("mkdir", path) ? -1 : mkdirat(dir, path, mode);
}

int access_symlinkat(const char *target, int dir, const char *path)
{
        return fails("symlink", path) ? -1 : symlinkat(target, dir, path);
}

int access_unlinkat(int dir, const char *path, int flags)
{
        return fails("unlink", path) ? -1 : unlinkat(dir, path, flags);
}

int access_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
        return fails("rename", to) ? -1 : renameat(from_dir, from, to_dir, to);
}

ssize_t access_read(int fd, void *buf, size_t n)
{
        return fails_at(fd, "read") ? -1 : read(fd, buf, n);
}

ssize_t access_pread(int fd, void *buf, size_t n, off_t offset)
{
        return fails_at(fd, "pread") ? -1 : pread(fd, buf, n, offset);
}

ssize_t access_write(int fd, const void *buf, size_t n)
{
        return fails_at(fd, "write") ? -1 : write(fd, buf, n);
}

ssize_t access_getdents64(int fd, void *buf, size_t n)
{
        return fails_at(fd, "list") ? -1 : getdents64(fd, buf, n);
}

int access_fsync(int fd)
{
        return fails_at(fd, "fsync") ? -1 : fsync(fd);
}

int __wrap_sim_prepare(const char *source, const char *dir, struct err *err)
{
        is_kernel = true;
        int r = __real_sim_prepare(source, dir, err);
        is_kernel = false;
        return r;
}

int __wrap_sim_open(struct sim **ret, const char *dir, struct err *err)
{
        is_kernel = true;
        int r = __real_sim_open(ret, dir, err);
        is_kernel = false;
        return r;
}

int __wrap_sim_settle(struct sim *sim, int64_t *ret_next_ms, struct err *err)
{
        is_kernel = true;
        int r = __real_sim_settle(sim, ret_next_ms, err);
        is_kernel = false;
        return r;
}
