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

        int r = fs_list(dir, ".", &names, err);
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

void sriov_number(struct scan *scan)
{
        if (scan->n_vfs == 0)
                return;
        qsort(scan->vfs, scan->n_vfs, sizeof(*scan->vfs), by_vf);
        for (size_t i = 0; i < scan->inv->n_functions; i++) {
                struct function *fn = &scan->inv->functions[i];
                if (!fn->is_vf)
                        continue;
                struct vf_link key = { .vf = fn->bdf };
                const struct vf_link *link = bsearch(&key, scan->vfs, scan->n_vfs, sizeof(*scan->vfs), by_vf);
                if (link && bdf_equal(link->pf, fn->physfn))
                        fn->vf_index = link->index;
        }
}
