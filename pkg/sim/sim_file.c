/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the simulation: every change passes here. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "sim/sim_priv.h"

int sim_lock(const struct sim *sim)
{
        _cleanup_close_ int fd = fs_open(sim->root, ".sim/lock", O_RDWR | O_CREAT, 0600);

        if (fd < 0)
                return fd;
        while (flock(fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return -errno;
        return TAKE_FD(fd);
}

bool sim_there(const struct sim *sim, const char *path)
{
        return fs_exists(sim->root, path) > 0;
}

void sim_get(const struct sim *sim, const char *path, char *out, size_t size)
{
        struct err ignored;

        if (fs_read_value(sim->root, path, out, size, &ignored) < 0)
                *out = '\0';
}

void sim_last(const struct sim *sim, const char *path, char out[SIM_NAME])
{
        struct err ignored;

        if (fs_readlink_last(sim->root, path, out, SIM_NAME, &ignored) < 0)
                *out = '\0';
}

/* Replaced by rename, so that no reader sees half of it; not fsynced: the simulation outlives processes, not the power. */
int sim_store(const struct sim *sim, const char *path, const char *data, size_t n)
{
        _cleanup_close_ int fd = fs_open(sim->root, ".sim/new", O_WRONLY | O_CREAT | O_TRUNC, 0644);

        if (fd < 0)
                return fd;
        int r = fs_write_all(fd, data, n);
        return r < 0 ? r : fs_rename(sim->root, ".sim/new", path);
}

int sim_put(const struct sim *sim, const char *path, const char *value)
{
        char line[SIM_PATH];

        str_format(line, sizeof(line), "%s\n", value);
        return sim_store(sim, path, line, strlen(line));
}

int sim_make_dir(const struct sim *sim, const char *path)
{
        char part[SIM_PATH];

        for (const char *p = strchr(path, '/');; p = strchr(p + 1, '/')) {
                str_format(part, sizeof(part), "%.*s", p ? (int)(p - path) : INT_MAX, path);
                int r = fs_mkdir(sim->root, part, 0755);
                if (r < 0 || !p)
                        return r;
        }
}

static int make_parent(const struct sim *sim, const char *path)
{
        char parent[SIM_PATH];

        str_format(parent, sizeof(parent), "%.*s", (int)(strrchr(path, '/') - path), path);
        return fs_exists(sim->root, parent) > 0 ? 0 : sim_make_dir(sim, parent);
}

int sim_touch(const struct sim *sim, const char *path)
{
        int r = make_parent(sim, path);
        if (r < 0)
                return r;
        _cleanup_close_ int fd = fs_open(sim->root, path, O_WRONLY | O_CREAT | O_NOFOLLOW, 0644);
        return fd < 0 ? fd : 0;
}

int sim_link(const struct sim *sim, const char *path, const char *to)
{
        char target[SIM_PATH];
        size_t n = 0;

        int r = make_parent(sim, path);
        if (r < 0)
                return r;
        /* Up to the simulation's "sys", as the kernel's links climb to the top of sysfs, and down again. */
        for (const char *p = strchr(path, '/') + 1; (p = strchr(p, '/')); p++, n += 3)
                str_format(target + n, sizeof(target) - n, "../");
        str_format(target + n, sizeof(target) - n, "%s", strchr(to, '/') + 1);
        r = fs_symlink(target, sim->root, path);
        return r == -EEXIST ? 0 : r;
}

void sim_names(const struct sim *sim, const char *path, struct fs_list *ret)
{
        struct err ignored;

        (void)fs_list(sim->root, path, ret, &ignored);
}

int sim_drop(const struct sim *sim, const char *path)
{
        char sub[SIM_PATH];
        struct stat st;

        if (fstatat(sim->root, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return fs_gone(errno) ? 0 : -errno;
        if (!S_ISDIR(st.st_mode))
                return fs_unlink(sim->root, path, 0);
        _cleanup_fs_list_ struct fs_list names = { 0 };
        sim_names(sim, path, &names);
        for (size_t i = 0; i < names.n; i++) {
                str_format(sub, sizeof(sub), "%s/%s", path, names.names[i]);
                int r = sim_drop(sim, sub);
                if (r < 0)
                        return r;
        }
        return fs_unlink(sim->root, path, AT_REMOVEDIR);
}

/* Like a lost uevent, a lost line costs time, never truth: errors are not reported. */
void sim_event(const struct sim *sim, const char *action, const char *device, const char *subsystem, const char *more)
{
        char line[SIM_PATH + SIM_VALUE];
        struct err ignored;

        _cleanup_close_ int fd = fs_open(sim->root, ".sim/events", O_WRONLY | O_CREAT | O_APPEND, 0644);
        if (fd < 0)
                return;
        str_format(line, sizeof(line), "%s %s SUBSYSTEM=%s%s%s\n", action, device + strlen("sys"), subsystem, *more ? " " : "", more);
        if (write(fd, line, strlen(line)) < 0)
                (void)err_set(&ignored, errno, "events");
}

bool sim_resolve(const char *link, const char *target, char out[SIM_PATH])
{
        if (*target == '/' || !str_copy(out, SIM_PATH, link))
                return false;
        char *slash = strrchr(out, '/');
        if (!slash)
                return false;
        *slash = '\0';
        for (; str_has_prefix(target, "../"); target += 3) {
                slash = strrchr(out, '/');
                if (!slash)
                        return false;
                *slash = '\0';
        }
        size_t n = strlen(out);
        if (n + 1 + strlen(target) >= SIM_PATH)
                return false;
        str_format(out + n, SIM_PATH - n, "/%s", target);
        return true;
}

int sim_device_dir(const struct sim *sim, const char *key, char out[SIM_PATH])
{
        static const char *const buses[] = { "pci", "mdev" };
        char path[SIM_PATH], target[SIM_PATH];
        struct err ignored;

        if (*key == '\0' || strchr(key, '/') || *key == '.')
                return -ENODEV;
        for (size_t i = 0; i < N_ELEMENTS(buses); i++) {
                str_format(path, sizeof(path), "sys/bus/%s/devices/%s", buses[i], key);
                if (!sim_there(sim, path))
                        continue;
                if (fs_readlink(sim->root, path, target, sizeof(target), &ignored) < 0)
                        str_format(out, SIM_PATH, "%s", path); /* a host made by hand: a directory, no link */
                else if (!sim_resolve(path, target, out))
                        return -ENODEV;
                return 0;
        }
        return -ENODEV;
}
