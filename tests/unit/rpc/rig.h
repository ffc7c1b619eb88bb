/* SPDX-License-Identifier: Apache-2.0 */
/* A runtime, a listener and a server on a socket in a fresh directory, turned by hand until something is true. */
#ifndef SLUICE_TESTS_RPC_RIG_H
#define SLUICE_TESTS_RPC_RIG_H

#include <stdbool.h>
#include <uv.h>

#include "deviceplugin.pb-c.h"
#include "rpc/listener.h"
#include "rpc/rpc.h"

struct rig {
        uv_loop_t loop;
        struct rpc *rpc;
        struct rpc_server *server;
        struct listener *listener;
        struct rpc_client *client;
        char dir[64], path[96];
        bool server_stopped, rpc_stopped;

        /* What the handlers saw and do. */
        unsigned n_allocates, n_streams, n_closed;
        size_t n_containers;
        size_t n_more;      /* Allocate answers with that many containers, of two bytes each, beside the first */
        bool hold;          /* Allocate keeps its call in @held */
        enum rpc_code fail; /* Allocate fails with this and @fail_text */
        const char *fail_text;
        struct rpc_call *held;
        struct rpc_stream *stream;

        /* What our client's call brought. */
        bool replied;
        enum rpc_code code;
        char text[512];
        size_t n_responses;
};

struct rig *rig_new(void);
struct rig *rig_new_within(const struct rpc_limits *limits);
void rig_free(struct rig *rig);                           /* stops what still runs */
void rig_stop_server(struct rig *rig, unsigned grace_ms); /* asks; rig->server_stopped tells */
struct rpc_pending *rig_call(struct rig *rig, const char *method, const ProtobufCMessage *request, unsigned deadline_ms);
void rig_allocate(struct rig *rig, unsigned deadline_ms);           /* one container, one device; waits for the reply */
int rig_set(struct rig *rig, size_t n_devices, const char *health); /* sets the stream's value */
/* Turns the loop until *@flag, at most @ms; returns *@flag. */
bool rig_until(struct rig *rig, const bool *flag, unsigned ms);
void rig_turn(struct rig *rig, unsigned ms);

#endif
