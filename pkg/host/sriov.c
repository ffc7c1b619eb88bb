/* SPDX-License-Identifier: Apache-2.0 */
/* SR-IOV: physical functions, their virtual functions and the numbers of these. VFs are counted by their links:
 * sriov_numvfs is a locked attribute. */
#include "host/scan_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
#include "host/attribute.h"
#include "host/value.h"

enum { VFS_MAX = 65535 };

static int read_physfn(int dir, struct function *fn, struct err *err)
{
        char text[64];

        int r = fs_readlink_last(dir, "physfn", text, sizeof(text), err);
        if (r < 0)
                return fs_gone(r) ? 0 : r;
        if (!bdf_parse(text, &fn->physfn))
                return err_say(err, EBADMSG, "physfn points to \"%.60s\", which is no PCI address", text);
        fn->is_vf = true;
        return 0;
}

static int read_virtfns(struct scan *scan, int dir, struct function *fn, struct err *err)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        char text[64];

        /* Most cards have no VFs: one look instead of a listing. While VFs are being removed, the first goes first; those
         * left are counted by sriov_number. */
        int r = fs_exists(dir, "virtfn0");
        if (r < 0)
                return err_set(err, -r, "cannot look at virtfn0");
        if (r == 0)
                return 0;
        r = fs_list(dir, ".", &names, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < names.n; i++) {
                struct vf_link link = { .pf = fn->bdf };
                if (!value_index(names.names[i], "virtfn", &link.index))
                        continue;
                r = fs_readlink_last(dir, names.names[i], text, sizeof(text), err);
                if (r < 0 && fs_gone(r))
                        continue; /* removed since the listing */
                if (r < 0)
                        return r;
                if (!bdf_parse(text, &link.vf))
                        return err_say(err, EBADMSG, "%.20s points to \"%.60s\", which is no PCI address", names.names[i], text);
                GROW(scan->vfs, scan->n_vfs, scan->cap_vfs);
                scan->vfs[scan->n_vfs++] = link;
                fn->n_vfs++;
        }
        return 0;
}

int sriov_read(struct scan *scan, int dir, struct function *fn, struct err *err)
{
        uint64_t total;

        int r = read_physfn(dir, fn, err);
        if (r < 0 || fn->is_vf)
                return r;
        r = attribute_number(dir, "sriov_totalvfs", 10, VFS_MAX, &total, err);
        if (r < 0)
                return fs_gone(r) ? 0 : r;
        fn->is_pf = true;
        fn->total_vfs = (unsigned)total;
        return read_virtfns(scan, dir, fn, err);
}

static int by_vf(const void *a, const void *b)
{
        return bdf_compare(((const struct vf_link *)a)->vf, ((const struct vf_link *)b)->vf);
}

/* Index of the function at @bdf, beginning the search at @hint; n_functions when there is none. */
static size_t index_of(const struct inventory *inv, struct bdf bdf, size_t hint)
{
        if (hint < inv->n_functions && bdf_equal(inv->functions[hint].bdf, bdf))
                return hint;
        for (size_t i = 0; i < inv->n_functions; i++)
                if (bdf_equal(inv->functions[i].bdf, bdf))
                        return i;
        return inv->n_functions;
}

/* A VF that is on the bus counts, whether its PF has a link to it or not. */
static void count(struct inventory *inv)
{
        _cleanup_free_ unsigned *vfs = xcalloc(inv->n_functions, sizeof(*vfs));
        size_t pf = 0; /* the next VF is most often of the same one */

        for (size_t i = 0; i < inv->n_functions; i++) {
                if (!inv->functions[i].is_vf)
                        continue;
                pf = index_of(inv, inv->functions[i].physfn, pf);
                if (pf < inv->n_functions && ++vfs[pf] > inv->functions[pf].n_vfs)
                        inv->functions[pf].n_vfs = vfs[pf];
        }
}

void sriov_number(struct scan *scan)
{
        count(scan->inv);
        if (scan->n_vfs == 0)
                return;
        qsort(scan->vfs, scan->n_vfs, sizeof(*scan->vfs), by_vf);
        for (size_t i = 0; i < scan->inv->n_functions; i++) {
                struct function *fn = &scan->inv->functions[i];
                struct vf_link key = { .vf = fn->bdf };
                if (!fn->is_vf)
                        continue;
                const struct vf_link *link = bsearch(&key, scan->vfs, scan->n_vfs, sizeof(*scan->vfs), by_vf);
                if (link && bdf_equal(link->pf, fn->physfn))
                        fn->vf_index = link->index;
        }
}
