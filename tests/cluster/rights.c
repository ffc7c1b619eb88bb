/* SPDX-License-Identifier: Apache-2.0 */
/* rights [NODE...]: what can be written from where this runs. Nothing is written: the kernel is asked, so that user, capabilities,
 * modes and read-only mounts count. One line for each mount below which there is a writable directory or file (`write MOUNT: N,
 * FIRST`), one when the root of the host's process 1 is one of them (`reach PATH`), one for each device node that can be opened for
 * reading (`open NODE`). Processes' own directories in /proc are left out. */
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct mount {
        char path[512], first[PATH_MAX];
        unsigned long n;
} mounts[256];
static size_t n_mounts;

static bool read_mounts(void)
{
        char line[4096];
        FILE *file = fopen("/proc/self/mountinfo", "re");

        while (file && n_mounts < sizeof(mounts) / sizeof(mounts[0]) && fgets(line, sizeof(line), file)) {
                if (sscanf(line, "%*d %*d %*s %*s %511s", mounts[n_mounts].path) == 1)
                        n_mounts++;
        }
        if (file)
                (void)fclose(file);
        return n_mounts > 0;
}

/* The last of several on one place is the one that is seen. */
static struct mount *mount_of(const char *path)
{
        struct mount *in = NULL;
        size_t longest = 0;

        for (size_t i = 0; i < n_mounts; i++) {
                size_t n = strcmp(mounts[i].path, "/") ? strlen(mounts[i].path) : 0;

                if (!strncmp(path, mounts[i].path, n) && (path[n] == '/' || path[n] == '\0') && n >= longest) {
                        in = &mounts[i];
                        longest = n;
                }
        }
        return in;
}

static int look(const char *path, const struct stat *st, int flag, struct FTW *at)
{
        if (flag == FTW_D && path[at->base] >= '1' && path[at->base] <= '9' &&
            (!strncmp(path, "/proc/", 6) || !strncmp(path, "/host/proc/", 11)))
                return FTW_SKIP_SUBTREE;
        if ((flag != FTW_F && flag != FTW_D) || !(S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) ||
            faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) != 0)
                return FTW_CONTINUE;
        struct mount *in = mount_of(path);
        if (in && in->n++ == 0)
                (void)snprintf(in->first, sizeof(in->first), "%s", path);
        return FTW_CONTINUE;
}

int main(int argc, char **argv)
{
        if (!read_mounts() || nftw("/", look, 32, FTW_PHYS | FTW_ACTIONRETVAL) != 0) {
                perror("rights");
                return 1;
        }
        for (size_t i = 0; i < n_mounts; i++) {
                if (mounts[i].n > 0)
                        (void)printf("write %s: %lu, %s\n", mounts[i].path, mounts[i].n, mounts[i].first);
        }
        if (faccessat(AT_FDCWD, "/host/proc/1/root/etc", W_OK, AT_EACCESS) == 0)
                (void)puts("reach /host/proc/1/root");
        for (int i = 1; i < argc; i++) {
                int fd = open(argv[i], O_RDONLY | O_NONBLOCK | O_CLOEXEC);

                if (fd >= 0) {
                        (void)printf("open %s\n", argv[i]);
                        (void)close(fd);
                }
        }
        return 0;
}
