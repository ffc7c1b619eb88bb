/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes from a peer to a message, in bounded memory: protobuf-c itself has no limits (1 MiB of empty sub-messages would
 * become tens of megabytes) and lets any byte through in a string.
 *
 * Everything a message needs comes from one arena that is dropped at once; a message that would need more than the
 * arena's limit is refused. Strings of an accepted message are valid UTF-8. Pure; any thread. */
#ifndef SLUICE_RPC_DECODE_H
#define SLUICE_RPC_DECODE_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct arena_chunk;
struct arena {
        ProtobufCAllocator allocator;
        size_t limit, used; /* bytes handed out at most, so far */
        struct arena_chunk *chunks;
        char *at;
        size_t left;
        size_t next_chunk;
        _Alignas(16) char first[4096]; /* the usual request fits here: no malloc */
};
void arena_init(struct arena *arena, size_t limit); /* must not move while in use */
void arena_done(struct arena *arena);
#define _cleanup_arena_ _cleanup_(arena_done)

/* The message, living in @arena; NULL with a static sentence in @why when the bytes are no such message, need more than
 * the arena's limit, or hold a string that is not UTF-8 or has a zero byte in it. */
ProtobufCMessage *decode_message(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes, size_t n, struct arena *arena,
                                 const char **why);

#endif
