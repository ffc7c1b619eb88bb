/* SPDX-License-Identifier: Apache-2.0 */
/* A small device plugin that behaves, or misbehaves, as a test of the fake kubelet says. */
#ifndef SLUICE_TESTS_FAKEKUBELET_PLUGIN_H
#define SLUICE_TESTS_FAKEKUBELET_PLUGIN_H

#include <pthread.h>

#include "fakekubelet.h"
#include "wire.h"

enum { PLUGIN_DEVICES_MAX = 16 };

struct plugin {
        char dir[96], resource[FK_RESOURCE_MAX], name[64], path[128];
        struct wire_server *server, *registration;
        pthread_mutex_t mu;
        pthread_cond_t changed;
        unsigned generation; /* of the list; a change is sent */
        struct fk_device devices[PLUGIN_DEVICES_MAX];
        size_t n_devices;
        size_t pad;       /* as many more devices with long ids, to make a message large */
        bool end_streams; /* ListAndWatch ends now */
        unsigned ended;   /* streams that ended */

        /* misbehaviour */
        int options_code, preferred_code, allocate_code, prestart_code;
        bool no_preferred, empty_answer, drop_on_allocate, list_nothing, notify_fails;
        unsigned slow_info_ms, slow_options_ms;
        const char *type; /* of GetInfo */
        const char *preferred_answer[4];
        size_t n_preferred;
        const char *env_value;
        char authority[256], watch_authority[64]; /* seen */
        bool registered, refused;                 /* told by NotifyRegistrationStatus */
};

/* Serves <dir>/device-plugins/<name>; @n healthy devices "d0".. on NUMA node i % 2. */
void plugin_start(struct plugin *p, const char *dir, const char *resource, const char *name, size_t n);
void plugin_stop(struct plugin *p);
int plugin_register(struct plugin *p, int64_t timeout_ms, char text[FK_TEXT_MAX]); /* gRPC code */
void plugin_health(struct plugin *p, size_t device, const char *health);
void plugin_push(struct plugin *p);
void plugin_end_streams(struct plugin *p);                    /* and waits until they are over */
void plugin_watch_socket(struct plugin *p, const char *name); /* a registration socket below plugins_registry */

#endif
