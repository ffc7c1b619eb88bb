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

static bool strings_are_utf8(const ProtobufCMessage *msg);

static bool value_is_utf8(const ProtobufCFieldDescriptor *field, const void *value)
{
        if (field->type == PROTOBUF_C_TYPE_STRING) {
                const char *s = *(char *const *)value;
                return !s || str_is_utf8(s, strlen(s));
        }
        const ProtobufCMessage *sub = *(ProtobufCMessage *const *)value;
        return !sub || strings_are_utf8(sub);
}

static bool field_is_utf8(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
        const char *base = (const char *)msg;

        if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE)
                return true;
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
                /* In a union only the member that its case names is alive. */
                if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
                    *(const uint32_t *)(const void *)(base + field->quantifier_offset) != field->id)
                        return true;
                return value_is_utf8(field, base + field->offset);
        }

        size_t n = *(const size_t *)(const void *)(base + field->quantifier_offset);
        void *const *values = *(void *const *const *)(const void *)(base + field->offset);
        for (size_t i = 0; i < n; i++)
                if (!value_is_utf8(field, &values[i]))
                        return false;
        return true;
}

static bool strings_are_utf8(const ProtobufCMessage *msg)
{
        for (unsigned i = 0; i < msg->descriptor->n_fields; i++)
                if (!field_is_utf8(msg, &msg->descriptor->fields[i]))
                        return false;
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
        if (!strings_are_utf8(msg)) {
                *why = "a string of the message is not UTF-8";
                return NULL;
        }
        return msg;
}
