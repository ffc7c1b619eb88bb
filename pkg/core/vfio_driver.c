/* SPDX-License-Identifier: Apache-2.0 */
#include "core/vfio_driver.h"

#include "base/str.h"

bool vfio_driver_is(const char *driver)
{
        return streq(driver, VFIO_PCI) || str_has_suffix(driver, "-vfio-pci") || strstr(driver, "vfio_pci");
}

static char folded(char c)
{
        return c == '-' ? '_' : c;
}

bool vfio_driver_same(const char *a, const char *b)
{
        while (*a && folded(*a) == folded(*b))
                a++, b++;
        return folded(*a) == folded(*b);
}

static size_t wildcards(const char *alias)
{
        size_t n = 0;

        for (; *alias; alias++)
                n += *alias == '*';
        return n;
}

/* As the kernel writes modalias (drivers/pci/pci-sysfs.c), with VFIO's prefix. */
static void alias_of(const struct function *fn, char *out, size_t size)
{
        str_format(out, size, "vfio_pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X", fn->vendor, fn->device, fn->subvendor, fn->subdevice,
                   fn->class_code >> 16 & 0xff, fn->class_code >> 8 & 0xff, fn->class_code & 0xff);
}

/* The variants are sorted by module and alias, so that the first of equals is always the same. */
static const struct variant *best_variant(const struct inventory *inv, const struct function *fn)
{
        const struct variant *best = NULL;
        char alias[VARIANT_ALIAS_LEN];

        alias_of(fn, alias, sizeof(alias));
        for (size_t i = 0; i < inv->n_variants; i++) {
                const struct variant *v = &inv->variants[i];
                if (str_glob(v->alias, alias) && (!best || wildcards(v->alias) < wildcards(best->alias)))
                        best = v;
        }
        return best;
}

static const char *registered(const struct inventory *inv, const char *module)
{
        for (size_t i = 0; i < inv->n_drivers; i++)
                if (vfio_driver_same(inv->drivers[i], module))
                        return inv->drivers[i];
        return NULL;
}

bool vfio_driver_pick(const struct inventory *inv, const struct function *fn, char ret[static DRIVER_LEN])
{
        const struct variant *variant = best_variant(inv, fn);
        const char *name = variant ? variant->module : VFIO_PCI;

        if (fn->override_known && vfio_driver_is(fn->driver_override))
                name = fn->driver_override;
        const char *driver = registered(inv, name);
        if (!driver)
                driver = vfio_driver_same(name, VFIO_PCI) ? VFIO_PCI : name;
        str_format(ret, DRIVER_LEN, "%s", driver);
        return inventory_has_driver(inv, driver);
}
