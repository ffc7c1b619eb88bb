/* SPDX-License-Identifier: Apache-2.0 */
#include "scratch.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int scratch_make(struct scratch *ret, struct err *err)
{
        const char *parent = getenv("TMPDIR");
        /* Thousands of small files for a moment: ext4 takes a second for what memory does in 50 ms. */
        const char *usual = access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";
        struct scratch made;
        sigset_t wait;

        int n = snprintf(made.path, sizeof(made.path), "%s/sluicectl.XXXXXX", parent && *parent ? parent : usual);
        if (n < 0 || (size_t)n >= sizeof(made.path))
                return err_set(err, ENAMETOOLONG, "TMPDIR");
        (void)sigemptyset(&wait);
        (void)sigaddset(&wait, SIGINT);
        (void)sigaddset(&wait, SIGTERM);
        (void)sigaddset(&wait, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &wait, &made.before) < 0)
                return err_set(err, errno, "cannot hold signals");
        if (!mkdtemp(made.path)) {
                int code = errno;
                (void)sigprocmask(SIG_SETMASK, &made.before, NULL);
                return err_set(err, code, "cannot make a directory below %s", parent && *parent ? parent : usual);
        }
        *ret = made;
        return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
        (void)st;
        (void)type;
        (void)where;
        return remove(path);
}

int scratch_remove(const struct scratch *scratch, struct err *err)
{
        int r = 0;

        if (nftw(scratch->path, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0)
                r = err_set(err, errno, "cannot remove it");
        (void)sigprocmask(SIG_SETMASK, &scratch->before, NULL);
        return r;
}
