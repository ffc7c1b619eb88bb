/* SPDX-License-Identifier: Apache-2.0 */
/* Every message that a peer can send us, through the bounded decoder: the first byte chooses the message, the rest is it.
 * What comes out is bounded, well-formed, and (but for unknown fields) the same after packing and decoding again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "deviceplugin.pb-c.h"
#include "node.pb-c.h"
#include "pluginregistration.pb-c.h"
#include "podresources.pb-c.h"
#include "rpc/decode.h"
#include "rpc/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In the order that the corpus knows: append only. */
static const ProtobufCMessageDescriptor *const messages[] = {
        &v1beta1__empty__descriptor,
        &v1beta1__allocate_request__descriptor,
        &v1beta1__pre_start_container_request__descriptor,
        &v1beta1__preferred_allocation_request__descriptor,
        &pluginregistration__info_request__descriptor,
        &pluginregistration__registration_status__descriptor,
        /* Kubelet's answers, and the messages that the tests' stand-ins read. */
        &v1beta1__register_request__descriptor,
        &v1beta1__device_plugin_options__descriptor,
        &v1beta1__list_and_watch_response__descriptor,
        &v1beta1__allocate_response__descriptor,
        &v1beta1__preferred_allocation_response__descriptor,
        &pluginregistration__plugin_info__descriptor,
        &v1__list_pod_resources_response__descriptor,
        /* The node API: what it is asked, and what sluicectl reads. */
        &sluice__node__v1__node_list_devices_request__descriptor,
        &sluice__node__v1__node_list_prepared_request__descriptor,
        &sluice__node__v1__node_explain_request__descriptor,
        &sluice__node__v1__node_cordon_request__descriptor,
        &sluice__node__v1__node_list_devices_response__descriptor,
        &sluice__node__v1__node_list_prepared_response__descriptor,
        &sluice__node__v1__node_explain_response__descriptor,
};

/* Small, so that the fuzzer meets the limit; the real one is RPC_DECODE_MAX. */
enum { LIMIT = 64 << 10 };

/* protobuf-c keeps unknown fields as they came, also with a tag or a length written in more bytes than it takes. */
static void forget_unknown(ProtobufCMessage *msg)
{
        msg->n_unknown_fields = 0;
        for (unsigned i = 0; i < msg->descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &msg->descriptor->fields[i];
                char *base = (char *)msg;
                if (field->type != PROTOBUF_C_TYPE_MESSAGE)
                        continue;
                if (field->label != PROTOBUF_C_LABEL_REPEATED) {
                        ProtobufCMessage *sub = *(ProtobufCMessage **)(void *)(base + field->offset);
                        if (sub)
                                forget_unknown(sub);
                        continue;
                }
                ProtobufCMessage **subs = *(ProtobufCMessage ***)(void *)(base + field->offset);
                for (size_t j = 0; j < *(size_t *)(void *)(base + field->quantifier_offset); j++)
                        forget_unknown(subs[j]);
        }
}

static void check_again(const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage *msg)
{
        forget_unknown(msg);

        _cleanup_arena_ struct arena arena;
        const char *why = NULL;
        size_t n = protobuf_c_message_get_packed_size(msg);
        _cleanup_free_ uint8_t *bytes = malloc(n + 1);
        _cleanup_free_ uint8_t *twice = NULL;

        if (!bytes || protobuf_c_message_pack(msg, bytes) != n)
                abort();
        arena_init(&arena, RPC_DECODE_MAX);
        const ProtobufCMessage *again = decode_message(descriptor, bytes, n, &arena, &why);
        if (!again || protobuf_c_message_get_packed_size(again) != n)
                abort();
        twice = malloc(n + 1);
        if (!twice || protobuf_c_message_pack(again, twice) != n || memcmp(bytes, twice, n) != 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_arena_ struct arena arena;
        const char *why = NULL;

        arena_init(&arena, LIMIT);
        if (size == 0 || size > RPC_MESSAGE_MAX)
                return 0;
        const ProtobufCMessageDescriptor *descriptor = messages[data[0] % N_ELEMENTS(messages)];
        ProtobufCMessage *msg = decode_message(descriptor, data + 1, size - 1, &arena, &why);
        if (arena.used > arena.limit || (!msg && !why))
                abort();
        if (msg)
                check_again(descriptor, msg);
        return 0;
}
