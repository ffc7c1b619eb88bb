/* SPDX-License-Identifier: Apache-2.0 */
/* Which function shows the firmware's framebuffer: such a GPU is the host's console and is never handed out unasked.
 *
 * Two witnesses: a framebuffer device of a firmware driver whose path leads through the function (since 6.9 its platform
 * device hangs below it), and /proc/iomem, where the framebuffer lies inside the function's lines or inside one of its BARs.
 * Without CAP_SYS_ADMIN (r_show in kernel/resource.c) the addresses there are zeros: then only the nesting speaks. */
#include "host/scan_priv.h"

#include <errno.h>
#include <limits.h>

#include "base/alloc.h"
#include "base/str.h"
#include "host/value.h"

enum { FRAMEBUFFERS_MAX = 16, IOMEM_USUAL = 64 << 10, IOMEM_MAX = 1 << 20 };

static void mark(struct scan *scan, struct bdf owner)
{
        for (size_t i = 0; i < scan->inv->n_functions; i++)
                if (bdf_equal(scan->inv->functions[i].bdf, owner))
                        scan->inv->functions[i].framebuffer = true;
}

/* The drivers' own framebuffers ("amdgpudrmfb", "nouveaudrmfb") are made by whoever is bound, and go with it. The name is a
 * constant text in the kernel (name_show of fbsysfs.c), no lock is taken. A name that cannot be read is taken for one. */
static bool is_firmware(const struct scan *scan, const char *fb)
{
        static const char *const names[] = { "EFI VGA",        "VESA VGA",    "simple",       "OFfb *",
                                             "simpledrmdrmfb", "efidrmdrmfb", "vesadrmdrmfb", "ofdrmdrmfb" };
        char path[PATH_MAX], name[64];
        struct err unused;

        str_format(path, sizeof(path), "class/graphics/%s/name", fb);
        if (fs_read_value(scan->tree->sys, path, name, sizeof(name), &unused) < 0)
                return true;
        for (size_t i = 0; i < N_ELEMENTS(names); i++)
                if (str_glob(names[i], name))
                        return true;
        return false;
}

static void mark_by_link(struct scan *scan, const char *path)
{
        char target[PATH_MAX];
        struct bdf owner;
        struct err unused;

        if (fs_readlink(scan->tree->sys, path, target, sizeof(target), &unused) == 0 && value_last_bdf(target, &owner))
                mark(scan, owner);
}

static void mark_by_path(struct scan *scan, const char *fb)
{
        char path[PATH_MAX];

        str_format(path, sizeof(path), "class/graphics/%s", fb);
        mark_by_link(scan, path);
        str_format(path, sizeof(path), "class/graphics/%s/device", fb);
        mark_by_link(scan, path);
}

static bool inside_a_bar(const struct function *fn, const struct value_range *range)
{
        for (size_t i = 0; i < N_BARS; i++) {
                const struct bar *bar = &fn->bars[i];
                if (bar->size > 0 && bar->start > 0 && range->start >= bar->start && range->end - bar->start < bar->size &&
                    range->end >= range->start)
                        return true;
        }
        return false;
}

static void mark_by_memory(struct scan *scan)
{
        struct value_range ranges[FRAMEBUFFERS_MAX];
        _cleanup_free_ char *text = xrealloc(NULL, IOMEM_USUAL, 1);
        struct err unused;

        int r = fs_read(scan->tree->proc, "iomem", text, IOMEM_USUAL, NULL, &unused);
        if (r == -EFBIG) {
                text = xrealloc(text, IOMEM_MAX, 1);
                r = fs_read(scan->tree->proc, "iomem", text, IOMEM_MAX, NULL, &unused);
        }
        if (r < 0)
                return; /* Unreadable or too long: no evidence, the other witness and boot_vga remain. */
        size_t n = value_framebuffers(text, ranges, FRAMEBUFFERS_MAX);
        for (size_t i = 0; i < n; i++) {
                if (ranges[i].has_owner)
                        mark(scan, ranges[i].owner);
                if (ranges[i].start == 0)
                        continue;
                for (size_t f = 0; f < scan->inv->n_functions; f++)
                        scan->inv->functions[f].framebuffer |= inside_a_bar(&scan->inv->functions[f], &ranges[i]);
        }
}

int framebuffer_mark(struct scan *scan, struct err *err)
{
        _cleanup_fs_list_ struct fs_list devices = { 0 };
        int number;

        int r = scan_list(scan->tree->sys, "class/graphics", &devices, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < devices.n; i++)
                if (value_index(devices.names[i], "fb", &number) && is_firmware(scan, devices.names[i]))
                        mark_by_path(scan, devices.names[i]);
        mark_by_memory(scan);
        return 0;
}
