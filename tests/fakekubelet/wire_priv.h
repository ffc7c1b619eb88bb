/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of wire.h share. */
#ifndef SLUICE_TESTS_FAKEKUBELET_WIRE_PRIV_H
#define SLUICE_TESTS_FAKEKUBELET_WIRE_PRIV_H

#include <grpc/grpc.h>

#include "wire.h"

gpr_timespec wire_until(int64_t until_ms); /* CLOCK_MONOTONIC ms; < 0 or INT64_MAX = never */
grpc_byte_buffer *wire_buffer(const ProtobufCMessage *message);
struct wire_bytes wire_read(grpc_byte_buffer *buffer); /* NULL is an empty message; always allocated */
void wire_queue_free(grpc_completion_queue *cq);       /* of the pluck kind */

#endif
