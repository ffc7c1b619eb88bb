/* SPDX-License-Identifier: Apache-2.0 */
/* IOMMU groups and the VFIO nodes of the host. */
#include "host/scan_priv.h"

#include <errno.h>
#include <limits.h>

#include "base/alloc.h"
#include "base/str.h"

int groups_node_exists(const struct scan *scan, const char *name, bool *ret, struct err *err)
{
        struct stat st;

        int r = fs_stat(scan->tree->dev, name, &st);
        if (r < 0 && !fs_gone(r))
                return err_set(err, -r, "cannot look at /dev/%s", name);
        *ret = r == 0 && (S_ISCHR(st.st_mode) || (scan->sim_nodes && S_ISREG(st.st_mode)));
        return 0;
}

/* The group's name is vfio-noiommu where VFIO made it up without an IOMMU. Most groups have no name file. */
static int read_noiommu(const struct scan *scan, int group, bool *ret, struct err *err)
{
        char path[64], name[64];

        str_format(path, sizeof(path), "kernel/iommu_groups/%d/name", group);
        int r = fs_read_value(scan->tree->sys, path, name, sizeof(name), err);
        if (r < 0 && !fs_gone(r))
                return r;
        *ret = r == 0 && streq(name, "vfio-noiommu");
        return 0;
}

/* The list is older than the link that named the group: a group made since is looked for again. */
static int check_there(const struct scan *scan, int group, struct err *err)
{
        char name[16], path[64];

        str_format(name, sizeof(name), "%d", group);
        if (!scan->has_groups || scan_has(&scan->groups, name))
                return 0;
        str_format(path, sizeof(path), "kernel/iommu_groups/%d", group);
        int r = fs_exists(scan->tree->sys, path);
        if (r < 0)
                return err_set(err, -r, "cannot look at %s", path);
        return r > 0 ? 0 : err_say(err, EBADMSG, "iommu_group points to group %d, which is not in kernel/iommu_groups", group);
}

static int read_fact(const struct scan *scan, int group, struct group_fact *ret, struct err *err)
{
        struct group_fact fact = { .group = group };
        bool unsafe_node = false;
        char real[32], unsafe[32];

        int r = check_there(scan, group, err);
        if (r == 0)
                r = read_noiommu(scan, group, &fact.noiommu, err);
        if (r < 0)
                return r;
        str_format(real, sizeof(real), "vfio/%d", group);
        str_format(unsafe, sizeof(unsafe), "vfio/noiommu-%d", group);
        if (scan_has(&scan->vfio_nodes, real + strlen("vfio/")))
                r = groups_node_exists(scan, real, &fact.node, err);
        if (r == 0 && scan_has(&scan->vfio_nodes, unsafe + strlen("vfio/")))
                r = groups_node_exists(scan, unsafe, &unsafe_node, err);
        if (r < 0)
                return r;
        /* Where kernel/iommu_groups is out of sight, the node's name tells the same. */
        fact.noiommu |= unsafe_node;
        fact.node |= unsafe_node;
        *ret = fact;
        return 0;
}

static struct group_fact *find_fact(const struct scan *scan, int group)
{
        for (size_t i = scan->n_facts; i-- > 0;)
                if (scan->facts[i].group == group)
                        return &scan->facts[i];
        return NULL;
}

int groups_read(struct scan *scan, int dir, const char *link, int *ret_group, struct group_fact *ret, struct err *err)
{
        char text[64];
        uint64_t group;

        int r = fs_readlink_last(dir, link, text, sizeof(text), err);
        if (r < 0 && fs_gone(r))
                return 0;
        if (r < 0)
                return r;
        if (!str_to_u64(text, 10, INT_MAX, &group))
                return err_say(err, EBADMSG, "%s points to \"%.60s\", which is no group", link, text);

        const struct group_fact *known = find_fact(scan, (int)group);
        if (known) {
                *ret = *known;
                *ret_group = (int)group;
                return 0;
        }
        struct group_fact fact;
        r = read_fact(scan, (int)group, &fact, err);
        if (r < 0)
                return r;
        GROW(scan->facts, scan->n_facts, scan->cap_facts);
        scan->facts[scan->n_facts++] = fact;
        *ret = fact;
        *ret_group = (int)group;
        return 0;
}

static int read_member_link(const struct scan *scan, const char *member, const char *link, char *buf, size_t size)
{
        char path[PATH_MAX];
        struct err unused;

        str_format(path, sizeof(path), "%s/%s", member, link);
        int r = fs_readlink_last(scan->tree->sys, path, buf, size, &unused);
        if (r < 0)
                buf[0] = '\0';
        return r;
}

static void note_outsider(struct scan *scan, int group, const char *name)
{
        char member[PATH_MAX], subsystem[SUBSYSTEM_LEN], driver[DRIVER_LEN];
        struct stat st;

        str_format(member, sizeof(member), "kernel/iommu_groups/%d/devices/%s", group, name);
        (void)read_member_link(scan, member, "subsystem", subsystem, sizeof(subsystem));
        int r = read_member_link(scan, member, "driver", driver, sizeof(driver));
        if (fs_exists(scan->tree->sys, member) == 0)
                return; /* it left the group meanwhile */
        /* No link is no driver only where the device itself is to be seen. */
        if (r < 0 && (!fs_gone(r) || fs_stat(scan->tree->sys, member, &st) < 0))
                (void)str_copy(driver, sizeof(driver), "?");
        inventory_add_outsider(scan->inv, group, name, subsystem, driver);
}

int groups_outsiders(struct scan *scan, int group, struct err *err)
{
        _cleanup_fs_list_ struct fs_list members = { 0 };
        struct group_fact *fact = find_fact(scan, group);
        char path[64];

        if (!fact || fact->outsiders_known || !scan->has_groups)
                return 0;
        fact->outsiders_known = true;
        str_format(path, sizeof(path), "kernel/iommu_groups/%d/devices", group);
        int r = scan_list(scan->tree->sys, path, &members, err);
        for (size_t i = 0; i < members.n; i++)
                if (!scan_has(&scan->functions, members.names[i]))
                        note_outsider(scan, group, members.names[i]);
        return r;
}

/* The group among whose members @name is; -1 = none that matters to a function that was read. */
static int find_member(const struct scan *scan, const char *name, int *ret, struct err *err)
{
        for (size_t i = 0; i < scan->n_facts; i++) {
                _cleanup_fs_list_ struct fs_list members = { 0 };
                char path[64];
                str_format(path, sizeof(path), "kernel/iommu_groups/%d/devices", scan->facts[i].group);
                int r = scan_list(scan->tree->sys, path, &members, err);
                if (r < 0)
                        return err_prefix(err, "cannot list the members of group %d", scan->facts[i].group);
                if (scan_has(&members, name)) {
                        *ret = scan->facts[i].group;
                        return 0;
                }
        }
        return 0;
}

int groups_of_broken(struct scan *scan, struct err *err)
{
        for (size_t i = 0; i < scan->inv->n_broken; i++) {
                struct broken *broken = &scan->inv->broken[i];
                char path[96], text[64];
                struct err unused;
                uint64_t group;

                str_format(path, sizeof(path), "%s/iommu_group", broken->name);
                if (fs_readlink_last(scan->bus, path, text, sizeof(text), &unused) >= 0 && str_to_u64(text, 10, INT_MAX, &group)) {
                        broken->group = (int)group;
                        continue;
                }
                int r = find_member(scan, broken->name, &broken->group, err);
                if (r < 0)
                        return r;
        }
        return 0;
}
