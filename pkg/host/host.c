/* SPDX-License-Identifier: Apache-2.0 */
#include "host/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/str.h"
#include "host/holders.h"
#include "host/scan_priv.h"

int scan_list(int dir, const char *path, struct fs_list *ret, struct err *err)
{
        int r = fs_list(dir, path, ret, err);

        return r < 0 && fs_gone(r) ? 0 : r;
}

static int by_text(const void *key, const void *element)
{
        return strcmp(key, *(char *const *)element);
}

bool scan_has(const struct fs_list *list, const char *name)
{
        return list->n > 0 && bsearch(name, list->names, list->n, sizeof(*list->names), by_text);
}

void scan_broken(struct scan *scan, const char *name, bool gone, const struct err *err)
{
        inventory_add_broken(scan->inv, name, gone ? REASON_VANISHED : REASON_GARBAGE, err->msg);
}

static void scan_done(struct scan *scan)
{
        struct fs_list *lists[] = { &scan->functions,  &scan->groups,       &scan->vfio_nodes,
                                    &scan->vfio_cdevs, &scan->mdev_parents, &scan->nvidia_gpus };

        cleanup_close(&scan->bus);
        for (size_t i = 0; i < N_ELEMENTS(lists); i++)
                fs_list_done(lists[i]);
        free(scan->facts);
        free(scan->vfs);
        (void)inventory_unref(scan->inv);
}

/* What is listed once. The bus must be there; everything else may be absent, but an error that is not absence ends the
 * scan: "unknown" must not look like "none". */
static int read_lists(struct scan *scan, struct err *err)
{
        const struct tree *tree = scan->tree;

        scan->bus = fs_open(tree->sys, "bus/pci/devices", O_RDONLY | O_DIRECTORY, 0);
        if (scan->bus < 0)
                return err_set(err, -scan->bus, "cannot open the PCI bus, bus/pci/devices");
        int r = fs_list(scan->bus, ".", &scan->functions, err);
        if (r < 0)
                return err_prefix(err, "cannot list bus/pci/devices");

        r = fs_list(tree->sys, "kernel/iommu_groups", &scan->groups, err);
        if (r < 0 && !fs_gone(r))
                return r;
        scan->has_groups = r == 0;
        if ((r = scan_list(tree->sys, "class/mdev_bus", &scan->mdev_parents, err)) < 0 ||
            (r = scan_list(tree->dev, "vfio", &scan->vfio_nodes, err)) < 0 ||
            (r = scan_list(tree->dev, "vfio/devices", &scan->vfio_cdevs, err)) < 0 ||
            (r = scan_list(tree->proc, "driver/nvidia/gpus", &scan->nvidia_gpus, err)) < 0)
                return r;
        return 0;
}

static int read_drivers(struct scan *scan, struct err *err)
{
        _cleanup_fs_list_ struct fs_list drivers = { 0 };

        int r = scan_list(scan->tree->sys, "bus/pci/drivers", &drivers, err);
        for (size_t i = 0; r == 0 && i < drivers.n; i++)
                inventory_add_driver(scan->inv, drivers.names[i]);
        return r;
}

/* An IOMMU is there when some group is not of the kind that VFIO makes up without one. */
static bool has_iommu(const struct scan *scan)
{
        size_t fake = 0;

        for (size_t i = 0; i < scan->n_facts; i++)
                fake += scan->facts[i].noiommu;
        return scan->has_groups ? scan->groups.n > fake : scan->n_facts > fake;
}

static int read_host(struct scan *scan, struct err *err)
{
        struct inventory *inv = scan->inv;

        int r = groups_node_exists(scan, "vfio/vfio", &inv->vfio_node, err);
        if (r == 0)
                r = groups_node_exists(scan, "iommu", &inv->iommufd_node, err);
        if (r < 0)
                return r;
        inv->iommu = has_iommu(scan);
        inv->holders_visible = holders_visible(scan->tree);
        r = fs_read_value(scan->tree->proc, "sys/kernel/random/boot_id", inv->boot_id, sizeof(inv->boot_id), err);
        if (r < 0)
                inv->boot_id[0] = '\0';
        return r < 0 && fs_gone(r) ? 0 : r;
}

int host_scan(const struct tree *tree, struct names *names, bool sim_nodes, struct inventory **ret, struct err *err)
{
        _cleanup_(scan_done) struct scan scan = {
                .tree = tree,
                .names = names,
                .sim_nodes = sim_nodes,
                .inv = inventory_new(),
                .bus = -1,
        };
        int r;

        if ((r = read_lists(&scan, err)) < 0 || (r = read_drivers(&scan, err)) < 0 || (r = functions_read(&scan, err)) < 0 ||
            (r = mdev_read(&scan, err)) < 0 || (r = framebuffer_mark(&scan, err)) < 0 || (r = read_host(&scan, err)) < 0)
                return r;
        inventory_seal(scan.inv);
        *ret = TAKE_PTR(scan.inv);
        return 0;
}
