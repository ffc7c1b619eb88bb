/* SPDX-License-Identifier: Apache-2.0 */
#include "locked.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/str.h"

enum { ANSWER_MS = 3000, HANGS_MAX = 8 /* then it is no single device any more */ };

static int read_one(const struct tree *tree, struct sim *sim, struct bdf bdf, char text[static 256])
{
        char path[96];
        struct err unused;

        str_format(path, sizeof(path), "bus/pci/devices/" BDF_FMT "/driver_override", BDF_ARGS(bdf));
        return sim ? sim_read(sim, path, text, 256, &unused) : fs_read_value(tree->sys, path, text, 256, &unused);
}

static void read_all(const struct tree *tree, struct sim *sim, const struct original *originals, size_t n, int out)
{
        for (size_t i = 0; i < n; i++) {
                struct override o = { .read = false };
                char text[256];

                if (read_one(tree, sim, originals[i].bdf, text) == 0)
                        o.read = streq(text, "(null)") || str_copy(o.text, sizeof(o.text), text);
                if (write(out, &o, sizeof(o)) != sizeof(o)) /* shorter than PIPE_BUF: whole */
                        return;
        }
}

/* How many came in time. */
static size_t take_all(int in, size_t n, struct override *ret)
{
        for (size_t i = 0; i < n; i++) {
                struct pollfd fd = { .fd = in, .events = POLLIN };
                struct override o;

                if (poll(&fd, 1, ANSWER_MS) <= 0 || read(in, &o, sizeof(o)) != sizeof(o))
                        return i;
                ret[i] = o;
        }
        return n;
}

static size_t ask_child(const struct tree *tree, struct sim *sim, const struct original *originals, size_t n, struct override *ret)
{
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return n;
        (void)fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
                (void)close(ends[0]);
                read_all(tree, sim, originals, n, ends[1]);
                _exit(0);
        }
        (void)close(ends[1]);
        size_t told = child > 0 ? take_all(ends[0], n, ret) : n;
        (void)close(ends[0]);
        if (child > 0) {
                (void)kill(child, SIGKILL); /* one that hangs in the kernel ends when that lets it go */
                (void)waitpid(child, NULL, told == n ? 0 : WNOHANG);
        }
        return told;
}

void locked_overrides(const struct tree *tree, struct sim *sim, const struct original *originals, size_t n, struct override *ret)
{
        size_t at = 0;

        for (unsigned hangs = 0; at < n && hangs < HANGS_MAX; hangs++) {
                at += ask_child(tree, sim, originals + at, n - at, ret + at);
                if (at < n)
                        ret[at++].hangs = true; /* the next child goes on behind it */
        }
}
