/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/decode.h"

#include <stdbool.h>
#include <string.h>

#include "base/str.h"

enum { CHUNK_FIRST = 16 << 10, CHUNK_MAX = 1 << 20, ALIGNMENT = 16 };

struct arena_chunk {
        struct arena_chunk *next;
        _Alignas(ALIGNMENT) char bytes[];
};

static bool arena_grow(struct arena *arena, size_t size)
{
        size_t room = arena->next_chunk > size ? arena->next_chunk : size;
        struct arena_chunk *chunk = malloc(sizeof(*chunk) + room);

        if (!chunk)
                return false;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        arena->at = chunk->bytes;
        arena->left = room;
        if (arena->next_chunk < CHUNK_MAX)
                arena->next_chunk *= 2;
        return true;
}

static void *arena_alloc(void *ctx, size_t size)
{
        struct arena *arena = ctx;

        /* The limit is far below SIZE_MAX, so the rounding cannot overflow. */
        if (size > arena->limit - arena->used)
                return NULL;
        size = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
        if (size > arena->limit - arena->used)
                return NULL;
        if (size > arena->left && !arena_grow(arena, size))
                return NULL;

        void *p = arena->at;
        arena->at += size;
        arena->left -= size;
        arena->used += size;
        return p;
}

static void arena_keep(void *ctx, void *p)
{
        (void)ctx;
        (void)p; /* Dropped with the arena. */
}

void arena_init(struct arena *arena, size_t limit)
{
        arena->allocator = (ProtobufCAllocator){ .alloc = arena_alloc, .free = arena_keep, .allocator_data = arena };
        arena->limit = limit;
        arena->used = 0;
        arena->chunks = NULL;
        arena->at = arena->first;
        arena->left = sizeof(arena->first);
        arena->next_chunk = CHUNK_FIRST;
}

void arena_done(struct arena *arena)
{
        while (arena->chunks) {
                struct arena_chunk *chunk = arena->chunks;
                arena->chunks = chunk->next;
                free(chunk);
        }
}

/* ---- strings ---- */

struct bytes {
        const uint8_t *at, *end;
};

static bool take_varint(struct bytes *b, uint64_t *ret)
{
        *ret = 0;
        for (unsigned shift = 0; b->at < b->end && shift < 64; shift += 7) {
                uint8_t byte = *b->at++;
                *ret |= (uint64_t)(byte & 0x7f) << shift;
                if (byte < 0x80)
                        return true;
        }
        return false;
}

/* The bytes of a field's value; of a number as many as it has. */
static bool take_value(struct bytes *b, unsigned wire_type, struct bytes *ret)
{
        uint64_t n;

        ret->at = b->at;
        switch (wire_type) {
        case PROTOBUF_C_WIRE_TYPE_VARINT:
                ret->end = b->at;
                return take_varint(b, &n);
        case PROTOBUF_C_WIRE_TYPE_64BIT:
                n = 8;
                break;
        case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
                if (!take_varint(b, &n))
                        return false;
                break;
        case PROTOBUF_C_WIRE_TYPE_32BIT:
                n = 4;
                break;
        default:
                return false;
        }
        if (n > (size_t)(b->end - b->at))
                return false;
        ret->at = b->at;
        b->at = ret->end = b->at + n;
        return true;
}

/* Looks at the bytes as they came: what is behind a zero byte is not seen in the decoded message any more, and an id with
 * a tail must not pass for the one without. As deep as the descriptors: no message of ours contains itself. */
static bool strings_are_text(const ProtobufCMessageDescriptor *descriptor, struct bytes message)
{
        while (message.at < message.end) {
                struct bytes value;
                uint64_t tag;
                if (!take_varint(&message, &tag) || !take_value(&message, tag & 7, &value))
                        return false;
                if ((tag & 7) != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
                        continue;
                const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(tag >> 3));
                size_t n = (size_t)(value.end - value.at);
                if (field && field->type == PROTOBUF_C_TYPE_STRING &&
                    (memchr(value.at, '\0', n) || !str_is_utf8((const char *)value.at, n)))
                        return false;
                if (field && field->type == PROTOBUF_C_TYPE_MESSAGE && !strings_are_text(field->descriptor, value))
                        return false;
        }
        return true;
}

ProtobufCMessage *decode_message(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes, size_t n, struct arena *arena,
                                 const char **why)
{
        ProtobufCMessage *msg = protobuf_c_message_unpack(descriptor, &arena->allocator, n, bytes);

        if (!msg) {
                *why = "the message cannot be decoded, or has too many parts";
                return NULL;
        }
        if (!strings_are_text(descriptor, (struct bytes){ bytes, bytes + n })) {
                *why = "a string of the message is not UTF-8, or has a zero byte in it";
                return NULL;
        }
        return msg;
}
