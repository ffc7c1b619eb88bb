/* SPDX-License-Identifier: Apache-2.0 */
#include "host/wedged.h"

#include <errno.h>
#include <limits.h>

#include "base/fs.h"
#include "base/str.h"

enum { STAT_MAX = 1024, STACK_MAX = 16384, DESCRIPTORS_MAX = 1024 };

/* Functions of the kernel that take a device from its driver (drivers/base/dd.c, drivers/pci/{remove,iov}.c, drivers/vfio,
 * NVIDIA's nv-pci.c), by their beginnings: compilers add suffixes. */
static const char *const removers[] = {
        "nv_pci_remove",       "pci_device_remove", "device_release_driver",     "device_driver_detach", "pci_stop_and_remove_bus_device",
        "pci_stop_bus_device", "sriov_disable",     "vfio_unregister_group_dev",
};

static const char *remover(const char *function)
{
        for (size_t i = 0; i < N_ELEMENTS(removers); i++)
                if (str_has_prefix(function, removers[i]))
                        return removers[i];
        return NULL;
}

static int read_of(const struct tree *tree, const char *pid, const char *name, char *buf, size_t size)
{
        char path[64];
        struct err unused;

        str_format(path, sizeof(path), "%s/%s", pid, name);
        return fs_read(tree->proc, path, buf, size, NULL, &unused);
}

/* "17 (a name) with) D 1 ..." */
static char state_of(const struct tree *tree, const char *pid)
{
        char stat[STAT_MAX];

        if (read_of(tree, pid, "stat", stat, sizeof(stat)) < 0)
                return '\0';
        const char *end = strrchr(stat, ')');
        return end && end[1] == ' ' ? end[2] : '\0';
}

/* "[<0>] nv_pci_remove_helper+0x1a4/0x2d0 [nvidia]" */
static bool in_stack(const char *stack, char where[static 64])
{
        const char *line;
        size_t n;

        while (str_line(&stack, &line, &n)) {
                char text[128];
                str_format(text, sizeof(text), "%.*s", (int)(n < sizeof(text) ? n : sizeof(text) - 1), line);
                char *name = strstr(text, "] ");
                if (!name)
                        continue;
                name += 2;
                name[strcspn(name, "+ ")] = '\0';
                if (remover(name)) {
                        str_clean(where, 64, name);
                        return true;
                }
        }
        return false;
}

static bool is_removing(const struct tree *tree, const char *pid, char where[static 64])
{
        char wchan[64] = "", stack[STACK_MAX];

        char state = state_of(tree, pid);
        if (state != 'D' && state != 'R' && state != 'S')
                return false;
        if (state != 'R' && read_of(tree, pid, "wchan", wchan, sizeof(wchan)) < 0)
                wchan[0] = '\0';
        bool suspect = state != 'S' || remover(wchan) || streq(wchan, "os_delay");
        if (!suspect)
                return false;
        if (read_of(tree, pid, "stack", stack, sizeof(stack)) == 0)
                return in_stack(stack, where);
        if (!remover(wchan))
                return false;
        str_clean(where, 64, wchan);
        return true;
}

/* The last component of a path below sys/devices that is an address. */
static bool device_of_path(const char *path, struct bdf *ret)
{
        char part[BDF_TEXT_MAX];
        bool found = false;

        for (const char *p = strstr(path, "/devices/"); p && *p; p += strcspn(p, "/")) {
                p += *p == '/';
                size_t n = strcspn(p, "/");
                if (n == 0 || n >= sizeof(part))
                        continue;
                memcpy(part, p, n);
                part[n] = '\0';
                found = bdf_parse(part, ret) || found;
        }
        return found;
}

static void find_device(const struct tree *tree, const char *pid, struct wedged *w)
{
        _cleanup_fs_list_ struct fs_list fds = { 0 };
        char path[64], target[PATH_MAX];
        struct err unused;

        str_format(path, sizeof(path), "%s/fd", pid);
        if (fs_list(tree->proc, path, &fds, &unused) < 0)
                return;
        for (size_t i = 0; i < fds.n && i < DESCRIPTORS_MAX && !w->known; i++) {
                str_format(path, sizeof(path), "%s/fd/%.20s", pid, fds.names[i]);
                if (fs_readlink(tree->proc, path, target, sizeof(target), &unused) == 0)
                        w->known = device_of_path(target, &w->bdf);
        }
}

static bool look_at(const struct tree *tree, const char *pid, uint64_t number, struct wedged *w)
{
        char path[64];
        struct err unused;

        *w = (struct wedged){ .pid = (pid_t)number };
        if (!is_removing(tree, pid, w->where))
                return false;
        str_format(path, sizeof(path), "%s/comm", pid);
        if (fs_read_value(tree->proc, path, w->comm, sizeof(w->comm), &unused) < 0)
                w->comm[0] = '\0';
        if (streq(w->comm, "sluice-hand"))
                return false;
        find_device(tree, pid, w);
        return true;
}

int wedged_find(const struct tree *tree, struct wedged ret[static WEDGED_MAX], struct err *err)
{
        _cleanup_fs_list_ struct fs_list entries = { 0 };
        uint64_t number;
        int n = 0;

        int r = fs_list(tree->proc, ".", &entries, err);
        if (r < 0)
                return err_prefix(err, "cannot look for tasks that hang in the kernel");
        for (size_t i = 0; i < entries.n && n < WEDGED_MAX; i++)
                if (str_to_u64(entries.names[i], 10, INT_MAX, &number))
                        n += look_at(tree, entries.names[i], number, &ret[n]);
        return n;
}
