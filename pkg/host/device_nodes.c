/* SPDX-License-Identifier: Apache-2.0 */
/* Which nodes below /dev are a device's own. */
#include "host/holders.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "base/fs.h"
#include "base/str.h"

enum { INFORMATION_MAX = 4096 };

/* Adds /dev/@name when it is there and not yet in the list. */
static int add(const struct tree *tree, struct node_list *list, struct err *err, const char *directory, const char *name)
{
        char path[sizeof(list->paths[0])];

        int n = snprintf(path, sizeof(path), "/dev/%s%s", directory, name);
        if (n < 0 || (size_t)n >= sizeof(path))
                return 0; /* longer than any node of these drivers */
        int r = fs_exists(tree->dev, path + strlen("/dev/"));
        if (r < 0)
                return err_set(err, -r, "cannot look at %s", path);
        if (r == 0)
                return 0;
        for (size_t i = 0; i < list->n; i++)
                if (streq(list->paths[i], path))
                        return 0;
        if (list->n == NODES_MAX)
                return err_say(err, E2BIG, "more than %d device nodes", NODES_MAX);
        (void)str_copy(list->paths[list->n++], sizeof(path), path);
        return 0;
}

/* Adds @directory/<name> for every entry of the device's subdirectory @sub that matches one of two globs. */
static int add_matching(const struct tree *tree, struct node_list *list, struct err *err, int dir, const char *sub,
                        const char *globs[static 2], const char *directory)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };

        int r = fs_list(dir, sub, &names, err);
        if (r < 0)
                return fs_gone(r) ? 0 : r;
        for (size_t i = 0; r == 0 && i < names.n; i++)
                if (str_glob(globs[0], names.names[i]) || str_glob(globs[1], names.names[i]))
                        r = add(tree, list, err, directory, names.names[i]);
        return r;
}

static int add_group(const struct tree *tree, struct node_list *list, struct err *err, const char *group)
{
        char noiommu[64];

        str_format(noiommu, sizeof(noiommu), "noiommu-%.40s", group);
        int r = add(tree, list, err, "vfio/", group);
        return r < 0 ? r : add(tree, list, err, "vfio/", noiommu);
}

static int add_cdevs(const struct tree *tree, struct node_list *list, struct err *err, int dir)
{
        const char *globs[] = { "vfio*", "vfio*" };

        return add_matching(tree, list, err, dir, "vfio-dev", globs, "vfio/devices/");
}

/* `Device Minor: \t 3` in NVIDIA's information file; absent where another driver has the GPU. */
static int add_nvidia(const struct tree *tree, struct node_list *list, struct err *err, const char *bdf)
{
        char path[96], text[INFORMATION_MAX], name[32];
        uint64_t minor;

        str_format(path, sizeof(path), "driver/nvidia/gpus/%s/information", bdf);
        int r = fs_read(tree->proc, path, text, sizeof(text), NULL, err);
        if (r < 0)
                return fs_gone(r) ? 0 : r;
        char *value = strstr(text, "Device Minor:");
        if (!value)
                return 0;
        value += strlen("Device Minor:");
        value += strspn(value, " \t");
        value[strcspn(value, " \t\r\n")] = '\0';
        if (!str_to_u64(value, 10, 0xfffff, &minor))
                return err_say(err, EBADMSG, "/proc/%s names the device minor \"%.20s\"", path, value);
        str_format(name, sizeof(name), "nvidia%u", (unsigned)minor);
        return add(tree, list, err, "", name);
}

int holders_nodes(const struct tree *tree, struct bdf bdf, struct node_list *ret, struct err *err)
{
        const char *cards[] = { "card*", "renderD*" };
        struct node_list list = { .n = 0 };
        char text[BDF_TEXT_MAX], path[64], group[32];

        (void)bdf_format(bdf, text);
        str_format(path, sizeof(path), "bus/pci/devices/%s", text);
        _cleanup_close_ int dir = fs_open(tree->sys, path, O_RDONLY | O_DIRECTORY, 0);
        if (dir < 0)
                return err_set(err, fs_gone(dir) ? ENODEV : -dir, "cannot find the nodes of %s", text);

        int r = fs_readlink_last(dir, "iommu_group", group, sizeof(group), err);
        if (r == 0)
                r = add_group(tree, &list, err, group);
        else if (fs_gone(r))
                r = 0;
        if (r < 0 || (r = add_cdevs(tree, &list, err, dir)) < 0 || (r = add_matching(tree, &list, err, dir, "drm", cards, "dri/")) < 0 ||
            (r = add_nvidia(tree, &list, err, text)) < 0)
                return err_prefix(err, "cannot find the nodes of %s", text);
        *ret = list;
        return 0;
}

int holders_nodes_of_group(const struct tree *tree, int group, struct node_list *ret, struct err *err)
{
        _cleanup_fs_list_ struct fs_list members = { 0 };
        struct node_list list = { .n = 0 };
        char name[16], path[64];

        str_format(name, sizeof(name), "%d", group);
        str_format(path, sizeof(path), "kernel/iommu_groups/%d/devices", group);
        int r = add_group(tree, &list, err, name);
        if (r < 0)
                return err_prefix(err, "cannot find the nodes of group %d", group);
        r = fs_list(tree->sys, path, &members, err);
        if (r < 0 && !fs_gone(r))
                return err_prefix(err, "cannot find the nodes of group %d", group);
        for (size_t i = 0; i < members.n; i++) {
                char member[PATH_MAX];
                str_format(member, sizeof(member), "%s/%.255s", path, members.names[i]);
                _cleanup_close_ int dir = fs_open(tree->sys, member, O_RDONLY | O_DIRECTORY, 0);
                if (dir < 0 && fs_gone(dir))
                        continue;
                r = dir < 0 ? err_set(err, -dir, "cannot open %s", member) : add_cdevs(tree, &list, err, dir);
                if (r < 0)
                        return err_prefix(err, "cannot find the nodes of group %d", group);
        }
        *ret = list;
        return 0;
}
