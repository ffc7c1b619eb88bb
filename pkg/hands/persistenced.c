/* SPDX-License-Identifier: Apache-2.0 */
#include "hands/persistenced.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

enum {
        PROGRAM = 35006,
        VERSION = 1,
        SET_MODE = 1,
        GET_MODE = 2,
        /* What it answers (enum NvPdStatus). */
        STATUS_OK = 0,
        STATUS_NO_DEVICE = 2,
        STATUS_PERMISSIONS = 7,
        /* RFC 5531 */
        LAST_FRAGMENT = 0x80000000u,
        CALL = 0,
        REPLY = 1,
        RPC_VERSION = 2,
        HEADER_WORDS = 10, /* xid to the end of the verifier, both credentials empty */
        WORDS_MAX = 32,
};

/* One exchange: words in, words out, in host order without the record mark. */
struct call {
        uint32_t words[WORDS_MAX];
        size_t n;
};

static void put(struct call *call, uint32_t word)
{
        call->words[call->n++] = word;
}

static struct call begin(uint32_t procedure, struct bdf b)
{
        struct call call = { .n = 0 };
        const uint32_t header[HEADER_WORDS] = { (uint32_t)getpid(), CALL, RPC_VERSION, PROGRAM, VERSION, procedure };

        for (size_t i = 0; i < HEADER_WORDS; i++)
                put(&call, header[i]);
        put(&call, b.domain);
        put(&call, b.bus);
        put(&call, b.device);
        put(&call, b.function);
        return call;
}

static int open_socket(const char *path, int wait_ms, struct err *err)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        const struct timeval wait = { .tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000 };

        if (!str_copy(address.sun_path, sizeof(address.sun_path), path))
                return err_say(err, ENAMETOOLONG, "the path of nvidia-persistenced's socket is too long: %.160s", path);
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return err_set(err, errno, "cannot make a socket");
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                /* A socket that was left behind says ECONNREFUSED. */
                return err_set(err, errno == ECONNREFUSED ? ENOENT : errno, "nvidia-persistenced cannot be asked at %.160s", path);
        return TAKE_FD(fd);
}

static int receive(int fd, void *buf, size_t n, struct err *err)
{
        for (size_t have = 0; have < n;) {
                ssize_t r = recv(fd, (char *)buf + have, n - have, 0);
                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0)
                        return err_set(err, r == 0 ? EPIPE : errno == EAGAIN ? ETIMEDOUT : errno, "nvidia-persistenced did not answer");
                have += (size_t)r;
        }
        return 0;
}

static int exchange(int fd, const struct call *call, struct call *ret, struct err *err)
{
        uint32_t out[WORDS_MAX + 1] = { htonl(LAST_FRAGMENT | (uint32_t)(call->n * 4)) }, mark;

        for (size_t i = 0; i < call->n; i++)
                out[i + 1] = htonl(call->words[i]);
        ssize_t sent = send(fd, out, (call->n + 1) * 4, MSG_NOSIGNAL);
        if (sent != (ssize_t)((call->n + 1) * 4))
                return err_set(err, sent < 0 && errno != EAGAIN ? errno : ETIMEDOUT, "nvidia-persistenced does not listen");
        int r = receive(fd, &mark, sizeof(mark), err);
        if (r < 0)
                return r;
        mark = ntohl(mark);
        ret->n = (mark & ~LAST_FRAGMENT) / 4;
        if (!(mark & LAST_FRAGMENT) || (mark & 3) || ret->n > WORDS_MAX)
                return err_say(err, EPROTO, "nvidia-persistenced answers what nobody understands (a record of 0x%x)", mark);
        r = receive(fd, ret->words, ret->n * 4, err);
        for (size_t i = 0; i < ret->n; i++)
                ret->words[i] = ntohl(ret->words[i]);
        return r;
}

/* xid, REPLY, accepted, verifier (its kind and 0 bytes), success; then the result. */
static int check_reply(const struct call *call, const struct call *reply, size_t n_results, struct err *err)
{
        static const uint32_t accepted[] = { REPLY, 0, 0, 0, 0 };

        if (reply->n < 6 + n_results || reply->words[0] != call->words[0] || memcmp(reply->words + 1, accepted, sizeof(accepted)) != 0)
                return err_say(err, EPROTO, "nvidia-persistenced refuses the call: it may be of another version");
        return 0;
}

static int ask(const char *socket, const struct call *call, int wait_ms, struct bdf b, struct call *reply, struct err *err)
{
        _cleanup_close_ int fd = open_socket(socket, wait_ms, err);

        int r = fd < 0 ? fd : exchange(fd, call, reply, err);
        if (r >= 0)
                r = check_reply(call, reply, 1, err);
        if (r < 0)
                return r;
        uint32_t status = reply->words[6];
        if (status == STATUS_OK)
                return 0;
        if (status == STATUS_NO_DEVICE)
                return err_say(err, ENODEV, "nvidia-persistenced does not know " BDF_FMT, BDF_ARGS(b));
        return err_say(err, status == STATUS_PERMISSIONS ? EPERM : EIO, "nvidia-persistenced answers with error %u for " BDF_FMT, status,
                       BDF_ARGS(b));
}

int persistenced_get(const char *socket, struct bdf bdf, int wait_ms, bool *ret_on, struct err *err)
{
        const struct call call = begin(GET_MODE, bdf);
        struct call reply;

        int r = ask(socket, &call, wait_ms, bdf, &reply, err);
        if (r == 0)
                r = check_reply(&call, &reply, 2, err);
        if (r == 0)
                *ret_on = reply.words[7] != 0;
        return r;
}

int persistenced_set(const char *socket, struct bdf bdf, int wait_ms, bool on, struct err *err)
{
        struct call call = begin(SET_MODE, bdf), reply;

        put(&call, on);
        return ask(socket, &call, wait_ms, bdf, &reply, err);
}
