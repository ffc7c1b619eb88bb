/* SPDX-License-Identifier: Apache-2.0 */
/* Modules of the simulated host: those that its module tree names as VFIO drivers, and vfio-pci. */
#include <errno.h>

#include "base/str.h"
#include "core/vfio_driver.h"
#include "host/modules.h"
#include "sim/sim_priv.h"

static bool has_module(const struct sim *sim, const char *name)
{
        _cleanup_modules_ struct modules *modules = modules_new();
        _cleanup_inventory_ struct inventory *inv = inventory_new();
        bool found = vfio_driver_same(name, VFIO_PCI);
        struct err ignored;

        inventory_seal(inv);
        (void)modules_apply(modules, &sim->tree, inv, &ignored);
        for (size_t i = 0; i < inv->n_variants && !found; i++)
                found = vfio_driver_same(inv->variants[i].module, name);
        return found;
}

int sim_load_module(struct sim *sim, const char *name, struct err *err)
{
        const char *driver = vfio_driver_same(name, VFIO_PCI) ? VFIO_PCI : name;
        char path[SIM_PATH];

        _cleanup_close_ int lock = sim_lock(sim);
        if (lock < 0)
                return err_set(err, -lock, "cannot lock %s", sim->path);
        if (!has_module(sim, name))
                return err_say(err, ENOENT, "this host has no module %s", name);
        str_format(path, sizeof(path), "sys/bus/pci/drivers/%s", driver);
        int r = sim_make_dir(sim, path);
        for (int i = 0; i < 2 && r == 0; i++) {
                str_format(path, sizeof(path), "sys/bus/pci/drivers/%s/%s", driver, i ? "unbind" : "bind");
                r = sim_touch(sim, path);
        }
        if (r == 0)
                r = sim_make_dir(sim, "dev/vfio");
        if (r == 0)
                r = sim_touch(sim, "dev/vfio/vfio");
        return r < 0 ? err_set(err, -r, "cannot load the module %s", name) : 0;
}
