/* SPDX-License-Identifier: Apache-2.0 */
/* A kubelet_start() on a temporary directory, with a stand-in for kubelet's registration service and for the claims, all on
 * one loop that is turned by hand. (The whole kubelet is tests/fakekubelet; it drives the daemon.) */
#ifndef SLUICE_TESTS_KUBELET_STAGE_H
#define SLUICE_TESTS_KUBELET_STAGE_H

#include <stdbool.h>
#include <uv.h>

#include "../rpc/raw.h"
#include "deviceplugin.pb-c.h"
#include "kubelet/kubelet.h"
#include "pluginregistration.pb-c.h"
#include "rpc/listener.h"

#define RESOURCE "nvidia.com/AD102GL_L40S"
#define LIST     "/v1beta1.DevicePlugin/ListAndWatch"

struct stage {
        uv_loop_t loop;
        struct rpc *rpc;
        struct kubelet *kubelet;
        char dir[64]; /* kubelet's root */
        bool kubelet_closed, rpc_stopped;

        /* The stand-in for kubelet. */
        struct rpc_server *server;
        struct listener *listener;
        bool server_stopped;
        bool hold; /* Register keeps its call in @held */
        struct rpc_call *held;
        enum rpc_code fail; /* Register fails so */
        const char *fail_text;
        unsigned n_registers;
        char endpoint[108], version[16], resource[RESOURCE_MAX]; /* of the last Register */

        /* The last reply to stage_call. */
        bool replied;
        enum rpc_code code;
        char text[1024];
        ProtobufCMessage *reply; /* a copy; freed with the stage or by the next call */
};

/* What the stand-in for claims_prepare was asked and answers. */
extern struct stand_in {
        enum reason reason;
        const char *text;
        bool hold; /* answers only when told */
        unsigned n_calls;
        unsigned n_lists; /* of claims_observe, */
        size_t n_listed;  /* and the devices of the last one */
        bool verify_only;
        char ids[512];        /* of the last call, blank-separated */
        claims_done_fn *done; /* held */
        void *ctx;
} stand_in;
void stand_in_answer(void); /* answers the held call */

struct stage *stage_new(enum registration registration);
void stage_free(struct stage *stage);
void stage_kubelet_up(struct stage *stage);   /* makes kubelet.sock anew, as a start of kubelet does */
void stage_kubelet_down(struct stage *stage); /* the process ends; its socket file stays */
void stage_wipe(struct stage *stage);         /* every socket in device-plugins goes */
void stage_stop(struct stage *stage);         /* stops Sluice's side and waits */

/* Offers RESOURCE with @n devices "0000:00:00.0"..., the first @n_healthy of them healthy, on NUMA node 1. */
void stage_offer(struct stage *stage, size_t n, size_t n_healthy);
void stage_offer_nothing(struct stage *stage);
struct kubelet_status stage_status(const struct stage *stage); /* of the first pool */

void stage_turn(struct stage *stage, unsigned ms);
bool stage_until(struct stage *stage, bool (*is)(const struct stage *stage), unsigned ms);
bool stage_registered(const struct stage *stage);               /* a Register has come */
void stage_leave_dead_socket(const char *path);                 /* what a killed daemon leaves: a socket's file that nobody listens on */
char *stage_path(const struct stage *stage, const char *below); /* static */
char *stage_endpoint(const struct stage *stage);                /* path of the socket that was registered; static */
/* Calls a method on the socket @path and waits for the reply. */
void stage_call(struct stage *stage, const char *path, const char *method, const ProtobufCMessage *request,
                const ProtobufCMessageDescriptor *response);
bool stage_sees(struct stage *stage, struct raw *raw, size_t n_devices, const char *first_health, unsigned ms);

#endif
