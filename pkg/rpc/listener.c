/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/listener.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/str.h"

static const gid_t NO_GROUP = (gid_t)-1;
enum { GROUPS_MAX = 1 << 16 /* the kernel's NGROUPS_MAX */ };
/* A client finds a full backlog to be an error (EAGAIN), not something to wait for. */
enum { BACKLOG = 128, ACCEPTS_PER_TURN = 32 };

struct listener {
        uv_poll_t poll;
        int fd;
        gid_t group; /* may connect; NO_GROUP = none */
        int spare;   /* given up to accept and drop one connection when descriptors are out: else the loop would spin */
        char path[SOCKET_PATH_MAX + 1];
        dev_t dev;
        ino_t ino;
        listener_accept_fn *accept;
        listener_refused_fn *refused;
        void *ctx;
};

static bool make_address(struct sockaddr_un *address, const char *path)
{
        *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        return strlen(path) <= SOCKET_PATH_MAX && str_copy(address->sun_path, sizeof(address->sun_path), path);
}

static int spare_open(void)
{
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Of the peer, beside the one that it runs with: SO_PEERGROUPS, of when it connected. */
static bool has_group(int fd, gid_t group)
{
        socklen_t size = 64 * sizeof(gid_t);

        for (;;) {
                _cleanup_free_ gid_t *groups = xcalloc(1, size);
                socklen_t got = size;
                if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &got) == 0) {
                        for (size_t i = 0; i < got / sizeof(*groups); i++)
                                if (groups[i] == group)
                                        return true;
                        return false;
                }
                if (errno != ERANGE || got <= size || got > GROUPS_MAX * sizeof(gid_t))
                        return false;
                size = got;
        }
}

/* A daemon that is not root (tests, simulated hosts) is asked by its own user. */
static bool peer_is_allowed(int fd, gid_t group, unsigned *ret_uid)
{
        struct ucred peer;
        socklen_t size = sizeof(peer);

        *ret_uid = (unsigned)-1;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return false;
        *ret_uid = peer.uid;
        if (peer.uid == 0 || peer.uid == geteuid())
                return true;
        return group != NO_GROUP && (peer.gid == group || has_group(fd, group));
}

/* Returns false when there is nothing (more) to accept. */
static bool accept_one(struct listener *listener)
{
        if (listener->spare < 0)
                listener->spare = spare_open(); /* Another thread had been quicker when it was given up. */
        _cleanup_close_ int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        unsigned uid;

        if (fd < 0 && (errno == EMFILE || errno == ENFILE) && listener->spare >= 0) {
                (void)close(listener->spare);
                int dropped = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
                if (dropped >= 0)
                        (void)close(dropped);
                listener->spare = spare_open();
                return dropped >= 0;
        }
        if (fd < 0)
                return errno == EINTR || errno == ECONNABORTED;
        if (peer_is_allowed(fd, listener->group, &uid))
                listener->accept(listener->ctx, TAKE_FD(fd));
        else if (listener->refused)
                listener->refused(listener->ctx, uid);
        return true;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
        struct listener *listener = container_of(poll, struct listener, poll);

        (void)status;
        (void)events;
        for (int i = 0; i < ACCEPTS_PER_TURN && !uv_is_closing((uv_handle_t *)poll) && accept_one(listener); i++)
                ;
}

static int admit(const char *path, gid_t group, struct err *err)
{
        _cleanup_free_ char *copy = xstrdup(path);
        const char *dir = dirname(copy);

        if (chown(dir, (uid_t)-1, group) < 0 || chmod(dir, 0710) < 0)
                return err_set(err, errno, "cannot let the group %u into %s", group, dir);
        if (lchown(path, (uid_t)-1, group) < 0 || chmod(path, 0660) < 0)
                return err_set(err, errno, "cannot give %s to the group %u", path, group);
        return 0;
}

/* Binds with mode 0600 whatever the umask: the file takes the mode of the socket, which is set before. Nobody can connect
 * before the listen. */
static int bind_private(int fd, const struct sockaddr_un *address, gid_t group, struct err *err)
{
        if (fchmod(fd, 0600) < 0)
                return err_set(err, errno, "cannot set the mode of a socket");
        if (bind(fd, (const struct sockaddr *)(const void *)address, sizeof(*address)) < 0)
                return err_set(err, errno, "cannot bind %s", address->sun_path);
        int r = group != NO_GROUP ? admit(address->sun_path, group, err) : 0;
        if (r == 0 && listen(fd, BACKLOG) < 0)
                r = err_set(err, errno, "cannot listen on %s", address->sun_path);
        if (r < 0)
                (void)unlink(address->sun_path);
        return r;
}

int listener_open(struct listener **ret, uv_loop_t *loop, const char *path, listener_accept_fn *accept, listener_refused_fn *refused,
                  void *ctx, struct err *err)
{
        return listener_open_to_group(ret, loop, path, NO_GROUP, accept, refused, ctx, err);
}

int listener_open_to_group(struct listener **ret, uv_loop_t *loop, const char *path, gid_t gid, listener_accept_fn *accept,
                           listener_refused_fn *refused, void *ctx, struct err *err)
{
        struct sockaddr_un address;
        struct stat st;

        if (!make_address(&address, path))
                return err_set(err, ENAMETOOLONG, "cannot bind %s (at most %d bytes)", path, SOCKET_PATH_MAX);
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return err_set(err, errno, "cannot make a socket");
        int r = bind_private(fd, &address, gid, err);
        if (r < 0)
                return r;
        if (lstat(path, &st) < 0)
                return err_set(err, errno, "cannot find %s again", path); /* Wiped already: the caller tries again. */

        _cleanup_free_ struct listener *listener = xcalloc(1, sizeof(*listener));
        (void)str_copy(listener->path, sizeof(listener->path), path);
        listener->dev = st.st_dev;
        listener->ino = st.st_ino;
        listener->group = gid;
        listener->accept = accept;
        listener->refused = refused;
        listener->ctx = ctx;
        r = uv_poll_init(loop, &listener->poll, fd);
        if (r < 0) {
                (void)unlink(path);
                return err_say(err, -r, "cannot watch %s: %s", path, uv_strerror(r));
        }
        (void)uv_poll_start(&listener->poll, UV_READABLE, on_readable);
        listener->fd = TAKE_FD(fd);
        listener->spare = spare_open();
        *ret = TAKE_PTR(listener);
        return 0;
}

const char *listener_path(const struct listener *listener)
{
        return listener->path;
}

bool listener_intact(const struct listener *listener)
{
        struct stat st;

        return lstat(listener->path, &st) == 0 && st.st_dev == listener->dev && st.st_ino == listener->ino;
}

static void on_closed(uv_handle_t *handle)
{
        free(container_of((uv_poll_t *)(void *)handle, struct listener, poll));
}

void listener_close(struct listener *listener)
{
        if (!listener)
                return;
        if (listener_intact(listener))
                (void)unlink(listener->path);
        (void)uv_poll_stop(&listener->poll);
        (void)close(listener->fd);
        if (listener->spare >= 0)
                (void)close(listener->spare);
        uv_close((uv_handle_t *)&listener->poll, on_closed);
}

/* Does nobody listen on the socket file at @path any more? Only a clear refusal counts. */
static bool is_dead_socket(const char *path)
{
        struct sockaddr_un address;
        struct stat st;

        if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode) || !make_address(&address, path))
                return false;
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return fd >= 0 && connect(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)) < 0 && errno == ECONNREFUSED;
}

void listener_sweep(const char *dir, const char *prefix)
{
        DIR *entries = opendir(dir);

        if (!entries)
                return;
        for (const struct dirent *entry; (entry = readdir(entries));) {
                _cleanup_free_ char *path = xasprintf("%s/%s", dir, entry->d_name);
                if (str_has_prefix(entry->d_name, prefix) && str_has_suffix(entry->d_name, ".sock") && is_dead_socket(path))
                        (void)unlink(path);
        }
        (void)closedir(entries);
}
