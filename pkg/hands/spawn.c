/* SPDX-License-Identifier: Apache-2.0 */
#include "hands/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "hands/wire.h"

/* WIRE_FD first: our own socket may lie at 0 or 1. A dup2 onto itself clears close-on-exec in posix_spawn. */
static int set_files(posix_spawn_file_actions_t *files, int theirs)
{
        int r = posix_spawn_file_actions_adddup2(files, theirs, WIRE_FD);

        if (r == 0)
                r = posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(files, WIRE_FD + 1);
        return r;
}

static int set_attributes(posix_spawnattr_t *attributes)
{
        sigset_t none, all;

        (void)sigemptyset(&none);
        (void)sigfillset(&all);
        int r = posix_spawnattr_setsigmask(attributes, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(attributes, &all);
        if (r == 0)
                r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
        return r;
}

static int spawn(const char *program, int theirs, pid_t *ret_pid)
{
        static char name[] = "sluice-hand";
        char *argv[] = { name, NULL };
        posix_spawn_file_actions_t files;
        posix_spawnattr_t attributes;

        int r = posix_spawn_file_actions_init(&files);
        if (r)
                return r;
        r = posix_spawnattr_init(&attributes);
        if (r) {
                (void)posix_spawn_file_actions_destroy(&files);
                return r;
        }
        r = set_files(&files, theirs);
        if (r == 0)
                r = set_attributes(&attributes);
        if (r == 0)
                r = posix_spawn(ret_pid, program, &files, &attributes, argv, environ);
        (void)posix_spawnattr_destroy(&attributes);
        (void)posix_spawn_file_actions_destroy(&files);
        return r;
}

int spawn_hand(const char *program, int *ret_fd, pid_t *ret_pid, struct err *err)
{
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return err_set(err, errno, "cannot make a socket pair");
        _cleanup_close_ int ours = pair[0];
        _cleanup_close_ int theirs = pair[1];
        int r = spawn(program, theirs, ret_pid);
        if (r)
                return err_set(err, r, "cannot start %s", program);
        *ret_fd = TAKE_FD(ours);
        return 0;
}
