/* SPDX-License-Identifier: Apache-2.0 */
/* A private directory for one test, removed with everything in it when the test ends. */
#ifndef SLUICE_TESTS_SCRATCH_H
#define SLUICE_TESTS_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "../tmp.h"
#include "base/alloc.h"
#include "base/cleanup.h"

static inline char *scratch_new(void)
{
        char *path = xasprintf("%s/sluice-test-XXXXXX", tmp_base());

        if (!mkdtemp(path)) {
                perror(path);
                abort();
        }
        return path;
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
        (void)st, (void)type, (void)at;
        return remove(path);
}

static inline void scratch_done(char **path)
{
        if (*path)
                (void)nftw(*path, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(*path);
        *path = NULL;
}
#define _cleanup_scratch_ _cleanup_(scratch_done)

#endif
