/* SPDX-License-Identifier: Apache-2.0 */
#include "host/holders.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "base/fs.h"
#include "base/str.h"

/* Descriptors looked at in one call; a host with more is answered with "blind". */
enum { DESCRIPTORS_MAX = 1 << 20, STATUS_MAX = 16384 };

/* The inode number of the first pid namespace is fixed in the kernel (PROC_PID_INIT_INO). */
static const char host_pid_namespace[] = "pid:[4026531836]";

/* A wanted node, with its device number where it is a device. */
struct wanted {
        const char *path, *last;
        bool is_device;
        dev_t rdev;
};

struct search {
        const struct tree *tree;
        struct wanted wanted[NODES_MAX];
        size_t n_wanted, n_descriptors;
        char self[32]; /* our pid in the tree's /proc, "" = not among them */
        struct holder *found;
        size_t n_found;
        bool blind;
};

static bool is_shared(const char *path)
{
        static const char *const shared[] = { "/dev/vfio/vfio", "/dev/iommu", "/dev/kfd", "/dev/nvidiactl", "/dev/nvidia-*" };

        for (size_t i = 0; i < N_ELEMENTS(shared); i++)
                if (str_glob(shared[i], path))
                        return true;
        return false;
}

static const char *last_component(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

static int search_start(struct search *search, const struct node_list *nodes, struct err *err)
{
        struct err unused;

        for (size_t i = 0; i < nodes->n; i++) {
                struct wanted w = { .path = nodes->paths[i], .last = last_component(nodes->paths[i]) };
                struct stat st;
                if (is_shared(w.path) || !str_has_prefix(w.path, "/dev/"))
                        continue;
                int r = fs_stat(search->tree->dev, w.path + strlen("/dev/"), &st);
                if (r < 0 && !fs_gone(r))
                        return err_set(err, -r, "cannot look at %s", w.path);
                w.is_device = r == 0 && S_ISCHR(st.st_mode);
                w.rdev = w.is_device ? st.st_rdev : 0;
                search->wanted[search->n_wanted++] = w;
        }
        /* /proc/self names us as that /proc counts, which may be another pid namespace than getpid()'s. */
        if (fs_readlink(search->tree->proc, "self", search->self, sizeof(search->self), &unused) < 0)
                search->self[0] = '\0';
        return 0;
}

/* The wanted node that the descriptor at @path, whose text is @target, has open; NULL = none. */
static const struct wanted *match(const struct search *search, const char *path, const char *target)
{
        bool in_dev = strstr(target, "/dev/") != NULL, asked = false;
        dev_t rdev = 0;

        for (size_t i = 0; i < search->n_wanted; i++) {
                const struct wanted *w = &search->wanted[i];
                if (!w->is_device) {
                        if (streq(target, w->path))
                                return w;
                        continue;
                }
                if (target[0] != '/' || (!in_dev && !streq(last_component(target), w->last)))
                        continue;
                if (!asked) {
                        struct stat st;
                        asked = true;
                        if (fs_stat(search->tree->proc, path, &st) == 0 && S_ISCHR(st.st_mode))
                                rdev = st.st_rdev;
                }
                if (rdev == w->rdev)
                        return w;
        }
        return NULL;
}

static void add(struct search *search, const char *pid, const struct wanted *w)
{
        struct holder *holder = &search->found[search->n_found++];
        char path[64];
        uint64_t number = 0;
        struct err unused;

        *holder = (struct holder){ 0 };
        (void)str_to_u64(pid, 10, INT_MAX, &number);
        holder->pid = (pid_t)number;
        (void)str_copy(holder->node, sizeof(holder->node), w->path);
        str_format(path, sizeof(path), "%s/comm", pid);
        if (fs_read_value(search->tree->proc, path, holder->comm, sizeof(holder->comm), &unused) < 0)
                holder->comm[0] = '\0';
}

static void look_at(struct search *search, const char *pid)
{
        _cleanup_fs_list_ struct fs_list fds = { 0 };
        char path[128], target[PATH_MAX];
        struct err unused;

        str_format(path, sizeof(path), "%s/fd", pid);
        int r = fs_list(search->tree->proc, path, &fds, &unused);
        if (r < 0) {
                /* ESRCH: it ended while it was listed. */
                search->blind |= !fs_gone(r) && r != -ESRCH;
                return;
        }
        for (size_t i = 0; i < fds.n; i++) {
                if (++search->n_descriptors > DESCRIPTORS_MAX) {
                        search->blind = true;
                        return;
                }
                str_format(path, sizeof(path), "%s/fd/%.20s", pid, fds.names[i]);
                r = fs_readlink(search->tree->proc, path, target, sizeof(target), &unused);
                if (r < 0) {
                        search->blind |= !fs_gone(r) && r != -ESRCH && r != -ENAMETOOLONG;
                        continue;
                }
                const struct wanted *w = match(search, path, target);
                if (w) {
                        add(search, pid, w);
                        return;
                }
        }
}

int holders_find(const struct tree *tree, const struct node_list *nodes, struct holder *ret, bool *ret_blind, struct err *err)
{
        _cleanup_fs_list_ struct fs_list entries = { 0 };
        struct search search = { .tree = tree, .found = ret };
        uint64_t pid;

        int r = search_start(&search, nodes, err);
        if (r == 0)
                r = fs_list(tree->proc, ".", &entries, err);
        if (r < 0)
                return err_prefix(err, "cannot see who has devices open");
        for (size_t i = 0; search.n_wanted > 0 && i < entries.n && search.n_found < HOLDERS_MAX; i++)
                if (str_to_u64(entries.names[i], 10, INT_MAX, &pid) && !streq(entries.names[i], search.self))
                        look_at(&search, entries.names[i]);
        *ret_blind = search.blind;
        return (int)search.n_found;
}

static bool may_read_all(const struct tree *tree)
{
        char status[STATUS_MAX];
        struct err unused;
        uint64_t caps;

        if (fs_read(tree->proc, "self/status", status, sizeof(status), NULL, &unused) < 0)
                return false;
        char *line = strstr(status, "\nCapEff:\t");
        if (!line)
                return false;
        line += strlen("\nCapEff:\t");
        line[strcspn(line, "\n")] = '\0';
        if (!str_to_u64(line, 16, UINT64_MAX, &caps))
                return false;
        return (caps >> CAP_SYS_PTRACE & 1) && ((caps >> CAP_DAC_READ_SEARCH & 1) || (caps >> CAP_DAC_OVERRIDE & 1));
}

bool holders_visible(const struct tree *tree)
{
        _cleanup_fs_list_ struct fs_list entries = { 0 };
        char namespace[32];
        struct err unused;

        int r = fs_exists(tree->proc, "self");
        if (r <= 0)
                return r == 0 && fs_list(tree->proc, ".", &entries, &unused) == 0;
        if (fs_readlink(tree->proc, "1/ns/pid", namespace, sizeof(namespace), &unused) < 0 || !streq(namespace, host_pid_namespace))
                return false;
        return may_read_all(tree) && fs_list(tree->proc, "1/fd", &entries, &unused) == 0;
}

bool holders_none_on_vfio(const struct tree *tree, struct bdf bdf)
{
        char path[64], value[16];
        struct err err;

        str_format(path, sizeof(path), "bus/pci/devices/" BDF_FMT "/enable", BDF_ARGS(bdf));
        return fs_read_value(tree->sys, path, value, sizeof(value), &err) == 0 && streq(value, "0");
}
