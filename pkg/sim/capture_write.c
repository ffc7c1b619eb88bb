/* SPDX-License-Identifier: Apache-2.0 */
/* Writing captures: which facts of a machine go into one is said by the tables here. What identifies a machine or its owner
 * stays out: serial numbers, MAC addresses, VPD, config space, the command line; the boot id is written as zeros.
 * Attributes whose show function takes the device lock stay out too: a capture of a wedged host must not hang. */
#include "sim/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "host/modules.h"
#include "sim/capture_priv.h"

/* Of a PCI function: Documentation/ABI/testing/sysfs-bus-pci. Locked ones (driver_override, sriov_numvfs, config, uevent, link
 * speed and width) are left out on purpose; tests/unit/sim checks this list against the table of pkg/host. */
static const char *const function_attributes[] = {
        "vendor",   "device",       "class",    "revision", "subsystem_vendor", "subsystem_device", "numa_node",
        "resource", "reset_method", "boot_vga", "modalias", "power_state",      "sriov_totalvfs",   "nvidia/current_vgpu_type",
};
static const char *const function_links[] = { "driver", "iommu_group", "physfn" };
static const char *const mdev_links[] = { "mdev_type", "driver", "iommu_group" };
static const char *const outsider_links[] = { "driver", "subsystem" };
static const char *const type_attributes[] = { "name", "description", "device_api" };
static const char *const group_attributes[] = { "name", "type" };
static const char *const module_parameters[] = {
        "module/vfio/parameters/enable_unsafe_noiommu_mode",
        "module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
        "module/vfio_pci/parameters/enable_sriov",
        "module/vfio_pci/parameters/disable_idle_d3",
};
static const char ZERO_BOOT_ID[] = "00000000-0000-0000-0000-000000000000";

const char *const *capture_attributes(size_t *ret_n)
{
        *ret_n = N_ELEMENTS(function_attributes);
        return function_attributes;
}

/* One entry as it will be printed. */
struct item {
        char *path, *text;
};

struct writer {
        const struct tree *tree;
        struct item *items;
        size_t n, cap, bytes;
};

static void writer_done(struct writer *w)
{
        for (size_t i = 0; i < w->n; i++) {
                free(w->items[i].path);
                free(w->items[i].text);
        }
        free(w->items);
}

static void add(struct writer *w, const char *path, char *text)
{
        GROW(w->items, w->n, w->cap);
        w->items[w->n++] = (struct item){ .path = xstrdup(path), .text = text };
        w->bytes += strlen(text);
}

/* A path that a capture cannot say (a driver called "a -> b") is left out. */
static bool sayable(const char *path)
{
        for (const char *p = path; *p; p++)
                if ((unsigned char)*p < ' ' || *p == 0x7f)
                        return false;
        return !capture_path_problem(path) && !strstr(path, " -> ") && !strstr(path, " =");
}

/* Where a tree's descriptor is in the paths of a capture. */
static int top_of(const struct tree *tree, const char *path, const char **ret_rest)
{
        static const struct {
                const char *name;
                size_t at;
        } tops[] = { { "sys", offsetof(struct tree, sys) },
                     { "proc", offsetof(struct tree, proc) },
                     { "dev", offsetof(struct tree, dev) },
                     { "lib/modules", offsetof(struct tree, lib) } };

        for (size_t i = 0; i < N_ELEMENTS(tops); i++) {
                size_t n = strlen(tops[i].name);
                if (strncmp(path, tops[i].name, n) == 0 && (path[n] == '/' || path[n] == '\0')) {
                        *ret_rest = path[n] == '\0' ? "." : path + n + 1;
                        return *(const int *)(const void *)((const char *)tree + tops[i].at);
                }
        }
        *ret_rest = path;
        return -1;
}

/* A directory that a link names is said only if it is there. */
static void add_dir(struct writer *w, const char *path)
{
        const char *rest;

        int top = top_of(w->tree, path, &rest);
        if (sayable(path) && fs_exists(top, rest) > 0)
                add(w, path, xasprintf("dir  %s\n", path));
}

static void add_node(struct writer *w, const char *path)
{
        if (sayable(path))
                add(w, path, xasprintf("node %s\n", path));
}

static void add_link(struct writer *w, const char *path, const char *target)
{
        if (sayable(path) && !capture_target_problem(path, target))
                add(w, path, xasprintf("link %s -> %s\n", path, target));
}

static void add_file(struct writer *w, const char *path, char *data, size_t n)
{
        _cleanup_strbuf_ struct strbuf b = { 0 };

        if (!sayable(path))
                return;
        for (size_t i = 0; i < n; i++)
                if (((unsigned char)data[i] < ' ' && data[i] != '\n' && data[i] != '\t') || data[i] == 0x7f)
                        data[i] = '?';
        const char *nl = memchr(data, '\n', n);
        if (n > 0 && (!nl || nl == data + n - 1)) {
                size_t length = nl ? n - 1 : n;
                strbuf_addf(&b, "file %s =%s", path, length ? " " : "");
                strbuf_add_n(&b, data, length);
                strbuf_add(&b, "\n");
        } else {
                strbuf_addf(&b, "text %s\n", path);
                for (size_t i = 0; i < n;) {
                        const char *end = memchr(data + i, '\n', n - i);
                        size_t length = end ? (size_t)(end - (data + i)) : n - i;
                        strbuf_add(&b, length ? "| " : "|");
                        strbuf_add_n(&b, data + i, length);
                        strbuf_add(&b, "\n");
                        i += length + 1;
                }
        }
        add(w, path, strbuf_take(&b));
}

static int join(char out[PATH_MAX], const char *a, const char *b)
{
        size_t n = strlen(a), m = strlen(b);

        if (n + 1 + m >= PATH_MAX)
                return -ENAMETOOLONG;
        memcpy(out, a, n);
        out[n] = '/';
        memcpy(out + n + 1, b, m + 1);
        return 0;
}

/* What cannot be read is left out: it vanished, or this kernel does not have it, or refuses it. */
static void take_file(struct writer *w, const char *path)
{
        char data[8192]; /* two pages: no sysfs attribute has more than one */
        struct err ignored;
        const char *rest;
        size_t n;

        int top = top_of(w->tree, path, &rest);
        if (fs_read(top, rest, data, sizeof(data), &n, &ignored) == 0)
                add_file(w, path, data, n);
}

static void take_link(struct writer *w, const char *path)
{
        char target[PATH_MAX];
        struct err ignored;
        const char *rest;

        int top = top_of(w->tree, path, &rest);
        if (fs_readlink(top, rest, target, sizeof(target), &ignored) == 0)
                add_link(w, path, target);
}

static void list(struct writer *w, const char *path, struct fs_list *ret)
{
        struct err ignored;
        const char *rest;

        int top = top_of(w->tree, path, &rest);
        (void)fs_list(top, rest, ret, &ignored); /* absent: empty */
}

static void take_files(struct writer *w, const char *dir, const char *const *names, size_t n)
{
        char path[PATH_MAX];

        for (size_t i = 0; i < n; i++)
                if (join(path, dir, names[i]) == 0)
                        take_file(w, path);
}

static void take_links(struct writer *w, const char *dir, const char *const *names, size_t n)
{
        char path[PATH_MAX];

        for (size_t i = 0; i < n; i++)
                if (join(path, dir, names[i]) == 0)
                        take_link(w, path);
}

/* Calls @each for every name in @dir, with the path of the capture. */
typedef void entry_fn(struct writer *w, const char *path, const char *name);
static void each_entry(struct writer *w, const char *dir, entry_fn *each)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        char path[PATH_MAX];

        list(w, dir, &names);
        for (size_t i = 0; i < names.n; i++)
                if (join(path, dir, names.names[i]) == 0)
                        each(w, path, names.names[i]);
}

static void dir_entry(struct writer *w, const char *path, const char *name)
{
        (void)name;
        add_dir(w, path);
}

static void link_entry(struct writer *w, const char *path, const char *name)
{
        (void)name;
        take_link(w, path);
}

static void virtfn_entry(struct writer *w, const char *path, const char *name)
{
        if (str_has_prefix(name, "virtfn"))
                take_link(w, path);
}

static void mdev_type_entry(struct writer *w, const char *path, const char *name)
{
        (void)name;
        add_dir(w, path);
        take_files(w, path, type_attributes, N_ELEMENTS(type_attributes));
}

/* The directory that the entry @path of a bus or class stands for: the link's target, or itself where it is no link. */
static void real_directory(struct writer *w, const char *path, char ret[PATH_MAX])
{
        char target[PATH_MAX], where[PATH_MAX];
        struct err ignored;
        const char *rest, *t = target;

        (void)str_copy(ret, PATH_MAX, path);
        int top = top_of(w->tree, path, &rest);
        if (fs_readlink(top, rest, target, sizeof(target), &ignored) < 0 || capture_target_problem(path, target))
                return;
        (void)str_copy(where, sizeof(where), path);
        *strrchr(where, '/') = '\0';
        for (; str_has_prefix(t, "../"); t += 3) {
                char *slash = strrchr(where, '/');
                if (!slash)
                        return;
                *slash = '\0';
        }
        (void)join(ret, where, t);
}

static void function_entry(struct writer *w, const char *path, const char *name)
{
        char dir[PATH_MAX], sub[PATH_MAX];

        (void)name;
        take_link(w, path);
        real_directory(w, path, dir);
        add_dir(w, dir);
        take_files(w, dir, function_attributes, N_ELEMENTS(function_attributes));
        take_links(w, dir, function_links, N_ELEMENTS(function_links));
        each_entry(w, dir, virtfn_entry);
        if (join(sub, dir, "vfio-dev") == 0)
                each_entry(w, sub, dir_entry);
        if (join(sub, dir, "drm") == 0)
                each_entry(w, sub, dir_entry);
        if (join(sub, dir, "mdev_supported_types") == 0)
                each_entry(w, sub, mdev_type_entry);
}

/* What a member that is on no bus of ours is: a verdict needs no more of it. */
static void member_entry(struct writer *w, const char *path, const char *name)
{
        static const char *const buses[] = { "sys/bus/pci/devices", "sys/bus/mdev/devices" };
        char dir[PATH_MAX];

        take_link(w, path);
        for (size_t i = 0; i < N_ELEMENTS(buses); i++) {
                const char *rest;
                int top = top_of(w->tree, join(dir, buses[i], name) == 0 ? dir : buses[i], &rest);
                if (fs_exists(top, rest) != 0)
                        return;
        }
        real_directory(w, path, dir);
        add_dir(w, dir);
        take_links(w, dir, outsider_links, N_ELEMENTS(outsider_links));
}

static void group_entry(struct writer *w, const char *path, const char *name)
{
        char sub[PATH_MAX];

        (void)name;
        take_files(w, path, group_attributes, N_ELEMENTS(group_attributes));
        if (join(sub, path, "devices") == 0) {
                add_dir(w, sub);
                each_entry(w, sub, member_entry);
        }
}

static void mdev_entry(struct writer *w, const char *path, const char *name)
{
        char dir[PATH_MAX];

        (void)name;
        take_link(w, path);
        real_directory(w, path, dir);
        add_dir(w, dir);
        take_links(w, dir, mdev_links, N_ELEMENTS(mdev_links));
}

static void framebuffer_entry(struct writer *w, const char *path, const char *name)
{
        static const char *const links[] = { "device" };
        char dir[PATH_MAX];

        if (!str_has_prefix(name, "fb"))
                return;
        take_link(w, path);
        real_directory(w, path, dir);
        take_files(w, dir, (const char *const[]){ "name" }, 1);
        take_links(w, dir, links, N_ELEMENTS(links));
}

static void node_entry(struct writer *w, const char *path, const char *name)
{
        struct stat st;
        const char *rest;

        (void)name;
        int top = top_of(w->tree, path, &rest);
        if (fs_stat(top, rest, &st) < 0)
                return;
        if (S_ISDIR(st.st_mode))
                add_dir(w, path);
        else if (S_ISCHR(st.st_mode) || S_ISREG(st.st_mode))
                add_node(w, path);
}

static void gpu_node_entry(struct writer *w, const char *path, const char *name)
{
        if (str_has_prefix(name, "nvidia") || streq(name, "iommu") || streq(name, "kfd"))
                node_entry(w, path, name);
}

/* Of NVIDIA's /proc files only what Sluice asks: the minor number, and that the lock exists. The rest has a UUID. */
static void nvidia_entry(struct writer *w, const char *path, const char *name)
{
        static const char KEY[] = "Device Minor:";
        char data[8192], sub[PATH_MAX];
        struct err ignored;
        const char *rest;

        (void)name;
        if (join(sub, path, "information") < 0)
                return;
        int top = top_of(w->tree, sub, &rest);
        add_dir(w, path);
        char *at = fs_read(top, rest, data, sizeof(data), NULL, &ignored) == 0 ? strstr(data, KEY) : NULL;
        if (at) {
                at[strcspn(at, "\n")] = '\0';
                add_file(w, sub, at, strlen(at));
        }
        if (join(sub, path, "unbindLock") == 0 && top_of(w->tree, sub, &rest) >= 0 && fs_exists(top, rest) > 0) {
                char zero[] = "0\n";
                add_file(w, sub, zero, 2);
        }
}

/* Which BAR the firmware's framebuffer is in: only the lines of /proc/iomem that say so, with their parents. */
static void take_iomem(struct writer *w)
{
        static const char *const owners[] = { "efifb", "vesafb", "simplefb", "BOOTFB", "simple-framebuffer" };
        _cleanup_strbuf_ struct strbuf out = { 0 };
        struct fs_line {
                char text[160];
                size_t depth;
        } stack[16];
        char *data = xcalloc(CAPTURE_MAX_VALUE * 4, 1);
        struct err ignored;
        size_t n_stack = 0;

        if (fs_read(w->tree->proc, "iomem", data, CAPTURE_MAX_VALUE * 4, NULL, &ignored) == 0)
                for (char *line = data, *next; *line; line = next) {
                        next = line + strcspn(line, "\n");
                        if (*next)
                                *next++ = '\0';
                        size_t depth = strspn(line, " ");
                        while (n_stack && stack[n_stack - 1].depth >= depth)
                                n_stack--;
                        if (n_stack == N_ELEMENTS(stack))
                                continue;
                        stack[n_stack].depth = depth;
                        str_copy(stack[n_stack++].text, sizeof(stack[0].text), line);
                        for (size_t i = 0; i < N_ELEMENTS(owners); i++)
                                if (strstr(line, owners[i])) {
                                        for (size_t k = 0; k < n_stack; k++)
                                                strbuf_addf(&out, "%s\n", stack[k].text);
                                        break;
                                }
                }
        if (out.len)
                add_file(w, "proc/iomem", out.text, out.len);
        free(data);
}

/* Of the running kernel's modules only what they say of VFIO, built in or not. */
static void take_modules(struct writer *w)
{
        _cleanup_modules_ struct modules *modules = modules_new();
        _cleanup_inventory_ struct inventory *inv = inventory_new();
        _cleanup_strbuf_ struct strbuf text = { 0 };
        char release[65], path[PATH_MAX];
        struct err ignored;

        inventory_seal(inv);
        (void)modules_apply(modules, w->tree, inv, &ignored);
        take_file(w, "proc/sys/kernel/osrelease");
        for (size_t i = 0; i < inv->n_variants; i++)
                strbuf_addf(&text, "alias %s %s\n", inv->variants[i].alias, inv->variants[i].module);
        if (text.len == 0 || text.len > CAPTURE_MAX_VALUE ||
            fs_read_value(w->tree->proc, "sys/kernel/osrelease", release, sizeof(release), &ignored) < 0)
                return;
        str_format(path, sizeof(path), "lib/modules/%s/modules.alias", release);
        add_file(w, path, text.text, text.len);
}

static int item_by_path(const void *a, const void *b)
{
        return strcmp(((const struct item *)a)->path, ((const struct item *)b)->path);
}

/* Sorted, each path once; a directory that other lines imply is not said. */
static int print(struct writer *w, const char *comment, struct strbuf *ret, struct err *err)
{
        if (w->bytes > CAPTURE_MAX_BYTES / 2 || w->n > CAPTURE_MAX_ENTRIES)
                return err_say(err, EFBIG, "this host is too large for a capture");
        if (w->n > 1)
                qsort(w->items, w->n, sizeof(*w->items), item_by_path);
        strbuf_addf(ret, "sluice-capture %d\n%s", CAPTURE_VERSION, comment);
        for (size_t i = 0; i < w->n; i++) {
                const struct item *it = &w->items[i];
                size_t n = strlen(it->path);
                if (i > 0 && streq(it->path, w->items[i - 1].path))
                        continue;
                bool implied = false;
                if (str_has_prefix(it->text, "dir "))
                        for (size_t k = i + 1; k < w->n && !implied && strncmp(w->items[k].path, it->path, n) == 0; k++)
                                implied = w->items[k].path[n] == '/';
                if (!implied)
                        strbuf_add(ret, it->text);
        }
        return 0;
}

int capture_write(const struct tree *tree, struct strbuf *ret, struct err *err)
{
        _cleanup_(writer_done) struct writer w = { .tree = tree };
        char zero[sizeof(ZERO_BOOT_ID)];

        each_entry(&w, "sys/bus/pci/devices", function_entry);
        each_entry(&w, "sys/bus/pci/drivers", dir_entry);
        each_entry(&w, "sys/bus/mdev/devices", mdev_entry);
        each_entry(&w, "sys/bus/mdev/drivers", dir_entry);
        each_entry(&w, "sys/class/mdev_bus", link_entry);
        each_entry(&w, "sys/class/graphics", framebuffer_entry);
        each_entry(&w, "sys/kernel/iommu_groups", group_entry);
        for (size_t i = 0; i < N_ELEMENTS(module_parameters); i++) {
                char path[PATH_MAX];
                if (join(path, "sys", module_parameters[i]) == 0)
                        take_file(&w, path);
        }
        each_entry(&w, "proc/driver/nvidia/gpus", nvidia_entry);
        take_iomem(&w);
        take_modules(&w);
        memcpy(zero, ZERO_BOOT_ID, sizeof(zero));
        add_file(&w, "proc/sys/kernel/random/boot_id", zero, strlen(zero));
        each_entry(&w, "dev/vfio", node_entry);
        each_entry(&w, "dev/vfio/devices", node_entry);
        each_entry(&w, "dev/dri", node_entry);
        each_entry(&w, "dev", gpu_node_entry);
        return print(&w, "# Facts of a host, written by Sluice. No serial numbers, no MAC addresses.\n", ret, err);
}

static int walk(struct writer *w, const char *path, unsigned depth, struct err *err);

static int walk_entry(struct writer *w, const char *path, unsigned depth, struct err *err)
{
        struct stat st;
        const char *rest;

        int top = top_of(w->tree, path, &rest);
        if (fstatat(top, rest, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return fs_gone(errno) ? 0 : err_set(err, errno, "%s", path);
        const char *problem = sayable(path) ? NULL : "a capture cannot hold this path";
        if (problem)
                return err_say(err, EINVAL, "%s: %s", path, problem);
        if (S_ISDIR(st.st_mode)) {
                add_dir(w, path);
                return walk(w, path, depth + 1, err);
        }
        if (S_ISLNK(st.st_mode)) {
                char target[PATH_MAX];
                int r = fs_readlink(top, rest, target, sizeof(target), err);
                if (r < 0)
                        return r;
                problem = capture_target_problem(path, target);
                if (problem)
                        return err_say(err, EINVAL, "%s -> %s: %s", path, target, problem);
                add_link(w, path, target);
                return 0;
        }
        if (S_ISCHR(st.st_mode) || (S_ISREG(st.st_mode) && str_has_prefix(path, "dev/"))) {
                add_node(w, path);
                return 0;
        }
        if (!S_ISREG(st.st_mode))
                return err_say(err, EINVAL, "%s is neither file, link, directory nor device node", path);
        _cleanup_free_ char *data = xcalloc(CAPTURE_MAX_VALUE, 1);
        size_t n;
        int r = fs_read(top, rest, data, CAPTURE_MAX_VALUE, &n, err);
        if (r < 0)
                return r;
        add_file(w, path, data, n);
        return 0;
}

static int walk(struct writer *w, const char *path, unsigned depth, struct err *err)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        char sub[PATH_MAX];
        const char *rest;

        if (depth >= CAPTURE_MAX_DEPTH || w->n > CAPTURE_MAX_ENTRIES || w->bytes > CAPTURE_MAX_BYTES / 2)
                return err_say(err, EFBIG, "%s: this directory is too large to stand for a host", path);
        int top = top_of(w->tree, path, &rest);
        int r = fs_list(top, rest, &names, err);
        for (size_t i = 0; i < names.n && r == 0; i++) {
                r = join(sub, path, names.names[i]);
                r = r < 0 ? err_set(err, -r, "%s/%s", path, names.names[i]) : walk_entry(w, sub, depth, err);
        }
        return r;
}

int capture_write_all(const struct tree *tree, struct strbuf *ret, struct err *err)
{
        _cleanup_(writer_done) struct writer w = { .tree = tree };
        static const char *const tops[] = { "sys", "proc", "dev", "lib/modules" };

        for (size_t i = 0; i < N_ELEMENTS(tops) - (tree->lib < 0); i++) { /* the last may be absent */
                int r = walk(&w, tops[i], 0, err);
                if (r < 0)
                        return r;
        }
        return print(&w, "# Everything below a directory that stands for a host.\n", ret, err);
}
