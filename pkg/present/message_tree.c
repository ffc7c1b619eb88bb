/* SPDX-License-Identifier: Apache-2.0 */
/* A message as a JSON tree by its own description: keys are the field names in the order of the contract, so that what a
 * program reads from sluicectl and over the socket has one shape. Unknown (absent, "") is null. */
#include "present/present_priv.h"

#include <assert.h>

static json_t *scalar(const ProtobufCFieldDescriptor *field, const void *at)
{
        const ProtobufCMessage *message;

        switch (field->type) {
        case PROTOBUF_C_TYPE_BOOL:
                return json_boolean(*(const protobuf_c_boolean *)at);
        case PROTOBUF_C_TYPE_STRING:
                return node_text(*(char *const *)at);
        case PROTOBUF_C_TYPE_INT32:
                return node_made(json_integer(*(const int32_t *)at));
        case PROTOBUF_C_TYPE_UINT32:
                return node_made(json_integer(*(const uint32_t *)at));
        case PROTOBUF_C_TYPE_INT64:
                return node_made(json_integer(*(const int64_t *)at));
        case PROTOBUF_C_TYPE_MESSAGE:
                message = *(const ProtobufCMessage *const *)at;
                return message ? node_message(message) : json_null();
        default:
                assert(false && "the contract has no field of that type");
                return json_null();
        }
}

static size_t element_size(ProtobufCType type)
{
        switch (type) {
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_MESSAGE:
                return sizeof(void *);
        default:
                assert(false && "the contract has no list of that type");
                return 0;
        }
}

static json_t *list(const ProtobufCFieldDescriptor *field, const char *base)
{
        size_t n = *(const size_t *)(const void *)(base + field->quantifier_offset);
        const char *elements = *(char *const *)(const void *)(base + field->offset);
        json_t *array = node_made(json_array());

        for (size_t i = 0; i < n; i++)
                node_push(array, scalar(field, elements + i * element_size(field->type)));
        return array;
}

static bool is_absent(const ProtobufCFieldDescriptor *field, const char *base)
{
        return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
               *(const uint32_t *)(const void *)(base + field->quantifier_offset) != field->id;
}

json_t *node_message(const ProtobufCMessage *message)
{
        const char *base = (const char *)message;
        json_t *object = node_made(json_object());

        for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];

                if (field->label == PROTOBUF_C_LABEL_REPEATED)
                        node_put(object, field->name, list(field, base));
                else
                        node_put(object, field->name, is_absent(field, base) ? json_null() : scalar(field, base + field->offset));
        }
        return object;
}
