/* SPDX-License-Identifier: Apache-2.0 */
/* Two descriptors in the loop: the kernel's uevent socket and one inotify instance.
 *
 * Directories are watched, never nodes: a re-created node is a new inode. /dev/vfio and /dev/vfio/devices come and go with
 * their modules, so that each look at their parents watches them again (the same directory twice is one watch). An attribute
 * of sysfs is one inode as long as it is watched, and a write to it is a modification like any other. */
#include "host/events.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "host/uevent.h"

enum {
        KERNEL_GROUP = 1,        /* udevd's messages are group 2 */
        RECEIVE_BYTES = 4 << 20, /* a card with 64 VFs says some hundred messages of 1 KiB at once */
        MESSAGE_MAX = 8192,      /* the kernel's are at most 2 KiB and a few lines */
        MESSAGES_PER_WAKEUP = 1024,
        WHAT_MAX = 256,
};

enum place { PLACE_DEV, PLACE_VFIO, PLACE_CDEVS, PLACE_SIM, PLACE_MAX };

struct host_events {
        host_event_fn *fn;
        void *ctx;
        uv_poll_t netlink, notify;
        int netlink_fd, notify_fd, dev_fd;
        int watches[PLACE_MAX]; /* -1 = not watched */
        int newest_type;        /* the kernel numbers watches upwards */
        unsigned n_handles;     /* not yet closed */
        bool lost;              /* uevents are being dropped until the socket's queue is empty */
        bool stopping;
};

/* What one wake-up found: the first thing, and how many. */
struct hint {
        char what[WHAT_MAX];
        unsigned n;
};

__attribute__((format(printf, 2, 3))) static void hint_add(struct hint *hint, const char *fmt, ...)
{
        va_list args;

        if (hint->n++ > 0)
                return;
        va_start(args, fmt);
        (void)vsnprintf(hint->what, sizeof(hint->what), fmt, args);
        va_end(args);
}

static void hint_tell(const struct hint *hint, struct host_events *events)
{
        char what[WHAT_MAX + 32];

        if (hint->n == 0)
                return;
        if (hint->n == 1)
                str_format(what, sizeof(what), "%s", hint->what);
        else
                str_format(what, sizeof(what), "%s (and %u more)", hint->what, hint->n - 1);
        events->fn(events->ctx, what);
}

/* One message: 0, or -errno (-EAGAIN: none left; -ENOBUFS: some were lost). */
static int receive_one(int fd, struct hint *hint)
{
        char buf[MESSAGE_MAX];
        struct sockaddr_nl from = { 0 };
        struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };
        struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1 };
        struct uevent event;

        ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);
        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        /* Anyone may send to us; the kernel is port 0. */
        if (msg.msg_namelen != sizeof(from) || from.nl_pid != 0)
                return 0;
        if (msg.msg_flags & MSG_TRUNC) {
                hint_add(hint, "a uevent was too long");
        } else if (uevent_parse(buf, (size_t)n, &event) && uevent_matters(&event)) {
                char what[WHAT_MAX];
                uevent_describe(&event, what, sizeof(what));
                hint_add(hint, "%s", what);
        }
        return 0;
}

/* An overflow is said once, but the kernel drops everything from then on until the queue is empty (NETLINK_S_CONGESTED):
 * so the last look is told of when it is.
 *
 * libuv stops a watcher whose descriptor has an error pending, and tells UV_EBADF; an overflow is one. Reading has cleared
 * it; only a socket that stays broken is left stopped, and the timer has to do. */
static void on_netlink(uv_poll_t *handle, int status, int revents)
{
        struct host_events *events = container_of(handle, struct host_events, netlink);
        struct hint hint = { .n = 0 };
        int r = 0;

        (void)revents;
        for (unsigned i = 0; (r == 0 || r == -ENOBUFS) && i < MESSAGES_PER_WAKEUP; i++) {
                r = receive_one(events->netlink_fd, &hint);
                events->lost |= r == -ENOBUFS;
        }
        if (events->lost)
                hint = (struct hint){ .what = "uevents were lost", .n = 1 };
        if (r == -EAGAIN)
                events->lost = false;
        if (status < 0 && (r == 0 || r == -EAGAIN || r == -ENOBUFS))
                (void)uv_poll_start(handle, UV_READABLE, on_netlink);
        hint_tell(&hint, events);
}

static void watch(struct host_events *events, enum place place, const char *path, uint32_t mask)
{
        events->watches[place] = inotify_add_watch(events->notify_fd, path, mask | IN_ONLYDIR | IN_EXCL_UNLINK);
}

static void watch_dev(struct host_events *events)
{
        static const char *const below[] = { [PLACE_DEV] = ".", [PLACE_VFIO] = "vfio", [PLACE_CDEVS] = "vfio/devices" };

        for (enum place place = PLACE_DEV; place <= PLACE_CDEVS; place++) {
                char path[64];
                str_format(path, sizeof(path), "/proc/self/fd/%d/%s", events->dev_fd, below[place]);
                watch(events, place, path, IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO);
        }
}

static void judge(struct host_events *events, const struct inotify_event *e, struct hint *hint)
{
        const char *name = e->len > 0 ? e->name : "";
        const char *verb = e->mask & (IN_DELETE | IN_MOVED_FROM) ? "removed" : "made";

        if (e->mask & IN_Q_OVERFLOW)
                hint_add(hint, "file events were lost");
        else if (e->mask & IN_IGNORED)
                hint_add(hint, "something that was watched is gone");
        else if (e->wd == events->watches[PLACE_SIM] && streq(name, "events"))
                hint_add(hint, "the simulated host changed");
        else if (e->wd == events->watches[PLACE_VFIO])
                hint_add(hint, "/dev/vfio/%.64s %s", name, verb);
        else if (e->wd == events->watches[PLACE_CDEVS])
                hint_add(hint, "/dev/vfio/devices/%.64s %s", name, verb);
        else if (e->wd == events->watches[PLACE_DEV] && (streq(name, "vfio") || streq(name, "iommu")))
                hint_add(hint, "/dev/%s %s", name, verb);
        else if (e->len == 0 && e->mask & IN_MODIFY)
                hint_add(hint, "a vGPU type was written");
}

bool host_events_follow_types(struct host_events *events, const struct tree *tree, const struct inventory *inv)
{
        char path[128];
        bool more = false;

        for (size_t i = 0; events && i < inv->n_functions; i++) {
                if (!inv->functions[i].vgpu_capable)
                        continue;
                str_format(path, sizeof(path), "/proc/self/fd/%d/bus/pci/devices/" BDF_FMT "/nvidia/current_vgpu_type", tree->sys,
                           BDF_ARGS(inv->functions[i].bdf));
                int watch = inotify_add_watch(events->notify_fd, path, IN_MODIFY);
                if (watch <= events->newest_type)
                        continue;
                events->newest_type = watch;
                more = true;
        }
        return more;
}

static void on_notify(uv_poll_t *handle, int status, int revents)
{
        struct host_events *events = container_of(handle, struct host_events, notify);
        char buf[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
        struct hint hint = { .n = 0 };

        (void)status;
        (void)revents;
        ssize_t n = read(events->notify_fd, buf, sizeof(buf));
        for (ssize_t at = 0; at < n;) {
                const struct inotify_event *e = (const void *)(buf + at);
                judge(events, e, &hint);
                at += (ssize_t)(sizeof(*e) + e->len);
        }
        /* Before the telling: what is made in a directory between its making and its watch is seen by the look that follows. */
        if (hint.n > 0)
                watch_dev(events);
        hint_tell(&hint, events);
}

static int open_netlink(void)
{
        struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP };
        const int bytes = RECEIVE_BYTES;

        _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
        if (fd < 0)
                return -errno;
        /* The first takes CAP_NET_ADMIN, the second is cut to net.core.rmem_max. */
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
        if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

/* In a user namespace of its own the socket opens and stays silent. */
static bool in_user_namespace(const struct tree *tree)
{
        char map[256];
        struct err unused;
        unsigned long inside, outside, n;

        if (fs_read(tree->proc, "self/uid_map", map, sizeof(map), NULL, &unused) < 0)
                return false; /* a kernel without user namespaces */
        return sscanf(map, "%lu %lu %lu", &inside, &outside, &n) != 3 || inside != 0 || outside != 0 || n != UINT32_MAX;
}

static void free_events(struct host_events *events)
{
        cleanup_close(&events->netlink_fd);
        cleanup_close(&events->notify_fd);
        cleanup_close(&events->dev_fd);
        free(events);
}

static void on_closed(uv_handle_t *handle)
{
        struct host_events *events = handle->data;

        if (--events->n_handles == 0)
                free_events(events);
}

static bool start_poll(struct host_events *events, uv_loop_t *loop, uv_poll_t *poll, int fd, uv_poll_cb cb)
{
        if (fd < 0 || uv_poll_init(loop, poll, fd) < 0)
                return false;
        poll->data = events;
        events->n_handles++;
        return uv_poll_start(poll, UV_READABLE, cb) == 0;
}

static bool start_notify(struct host_events *events, uv_loop_t *loop, const char *sim_root)
{
        char path[PATH_MAX];

        events->notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (!start_poll(events, loop, &events->notify, events->notify_fd, on_notify))
                return false;
        watch_dev(events);
        if (!sim_root)
                return events->watches[PLACE_DEV] >= 0;
        str_format(path, sizeof(path), "%s/.sim", sim_root);
        watch(events, PLACE_SIM, path, IN_CREATE | IN_MODIFY | IN_MOVED_TO);
        return events->watches[PLACE_SIM] >= 0;
}

int host_events_start(struct host_events **ret, uv_loop_t *loop, const struct tree *tree, const char *sim_root, host_event_fn *fn,
                      void *ctx, bool *ret_blind, struct err *err)
{
        _cleanup_close_ int dev = fcntl(tree->dev, F_DUPFD_CLOEXEC, 3);
        if (dev < 0)
                return err_set(err, errno, "cannot watch /dev");

        struct host_events *events = xcalloc(1, sizeof(*events));
        *events = (struct host_events){ .fn = fn, .ctx = ctx, .netlink_fd = -1, .notify_fd = -1, .dev_fd = TAKE_FD(dev) };
        for (size_t i = 0; i < PLACE_MAX; i++)
                events->watches[i] = -1;
        bool blind = !start_notify(events, loop, sim_root);
        if (!sim_root) {
                events->netlink_fd = open_netlink();
                blind |= !start_poll(events, loop, &events->netlink, events->netlink_fd, on_netlink) || in_user_namespace(tree);
        }
        *ret_blind = blind;
        *ret = events;
        return 0;
}

void host_events_stop(struct host_events *events)
{
        uv_poll_t *polls[2];

        if (!events || events->stopping)
                return;
        events->stopping = true;
        if (events->n_handles == 0) {
                free_events(events);
                return;
        }
        polls[0] = &events->netlink;
        polls[1] = &events->notify;
        for (size_t i = 0; i < N_ELEMENTS(polls); i++)
                if (polls[i]->data == events)
                        uv_close((uv_handle_t *)polls[i], on_closed);
}
