/* SPDX-License-Identifier: Apache-2.0 */
/* canned SOCKET: takes one HTTP/2 connection and answers every call on it with bytes made beforehand, as long as an Allocate's.
 * No gRPC, nothing decoded, nothing looked at: no device plugin can be faster, so that this is the client's share of what the
 * bench measures. Frames by RFC 9113, headers by RFC 7541 without compression. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FRAME_DATA = 0, FRAME_HEADERS = 1, FRAME_SETTINGS = 4, FRAME_PING = 6, FRAME_WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, HEAD = 9, PREFACE = 24, MESSAGE = 190 };

static uint8_t out[1 << 16], in[1 << 20];
static size_t n_out, n_in;

static void add(int type, int flags, uint32_t stream, const void *data, uint32_t n)
{
        const uint8_t head[HEAD] = {
                (uint8_t)(n >> 16),      (uint8_t)(n >> 8),      (uint8_t)n,      (uint8_t)type, (uint8_t)flags, (uint8_t)(stream >> 24),
                (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream,
        };

        memcpy(out + n_out, head, HEAD);
        if (n > 0)
                memcpy(out + n_out + HEAD, data, n);
        n_out += HEAD + n;
}

static void answer(uint32_t stream, uint32_t n_taken)
{
        static const uint8_t headers[] = "\x88\x0f\x10\x10" /* :status 200, content-type: */ "application/grpc";
        static const uint8_t trailers[] = "\x00\x0bgrpc-status\x01"
                                          "0";
        /* A message of one field of a number that AllocateResponse does not have: the client skips it. */
        static uint8_t message[5 + 3 + MESSAGE] = { 0, 0, 0, 0, 3 + MESSAGE, 15 << 3 | 2, 0x80 | (MESSAGE & 0x7f), MESSAGE >> 7 };
        const uint8_t taken[] = { (uint8_t)(n_taken >> 24), (uint8_t)(n_taken >> 16), (uint8_t)(n_taken >> 8), (uint8_t)n_taken };

        add(FRAME_HEADERS, END_HEADERS, stream, headers, sizeof(headers) - 1);
        add(FRAME_DATA, 0, stream, message, sizeof(message));
        add(FRAME_HEADERS, END_HEADERS | END_STREAM, stream, trailers, sizeof(trailers) - 1);
        add(FRAME_WINDOW_UPDATE, 0, 0, taken, sizeof(taken));
}

static void take(int type, int flags, uint32_t stream, const uint8_t *data, uint32_t n)
{
        if (type == FRAME_SETTINGS && !(flags & ACK))
                add(FRAME_SETTINGS, ACK, 0, NULL, 0);
        else if (type == FRAME_PING && !(flags & ACK))
                add(FRAME_PING, ACK, 0, data, n);
        else if (type == FRAME_DATA && flags & END_STREAM)
                answer(stream, n);
}

/* Whole frames of what came; returns how much that was. */
static size_t take_all(size_t at)
{
        for (uint32_t n; n_in - at >= HEAD; at += HEAD + n) {
                const uint8_t *f = in + at;
                n = (uint32_t)f[0] << 16 | (uint32_t)f[1] << 8 | f[2];
                if (n_in - at < HEAD + n)
                        break;
                take(f[3], f[4], (uint32_t)f[5] << 24 | (uint32_t)f[6] << 16 | (uint32_t)f[7] << 8 | f[8], f + HEAD, n);
        }
        return at;
}

static int serve(int fd)
{
        size_t skip = PREFACE;

        add(FRAME_SETTINGS, 0, 0, NULL, 0);
        for (;;) {
                if (n_out > 0 && write(fd, out, n_out) != (ssize_t)n_out)
                        return 1;
                n_out = 0;
                ssize_t n = read(fd, in + n_in, sizeof(in) - n_in);
                if (n <= 0)
                        return n < 0;
                n_in += (size_t)n;
                if (n_in < skip)
                        continue;
                size_t done = take_all(skip);
                skip = 0;
                n_in -= done;
                memmove(in, in + done, n_in);
        }
}

int main(int argc, char **argv)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        if (argc != 2 || strlen(argv[1]) >= sizeof(address.sun_path))
                return 2;
        memcpy(address.sun_path, argv[1], strlen(argv[1]));
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(listener, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 1) < 0) {
                perror(argv[1]);
                return 1;
        }
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        return fd < 0 ? 1 : serve(fd);
}
