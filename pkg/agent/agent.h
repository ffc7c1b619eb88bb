/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon put together: the loop, what it waits for, and what happens then. Composition only; every decision is made in
 * pkg/core, every act by pkg/hands. */
#ifndef SLUICE_AGENT_AGENT_H
#define SLUICE_AGENT_AGENT_H

#include <stdbool.h>

#include "config/config.h"
#include "hands/hands.h"

struct agent_options {
        const char *kubelet_dir; /* kubelet's root directory */
        const char *state_dir;   /* what outlives the daemon; exists, locked */
        const char *run_dir;     /* sockets, card locks; exists */
        const char *config_path; /* watched and re-read; may be absent */
        struct config *config;   /* what is in force at start; taken over */
        const char *sim_dir;     /* a prepared simulated host; NULL = the machine */
        const char *host_mounts; /* where a container has the host's directories (tree_open_mounts); NULL = on the host itself */
        const char *sim_node;    /* host path answered for every node of a simulated host; NULL = the node's own path */
        struct hands *hands;     /* started; taken over */
        int signal_fd;           /* signalfd for SIGTERM, SIGINT (end) and SIGHUP (reload); those are blocked */
};

/* Runs until SIGTERM or SIGINT. Returns the exit status of the process: 0 ended as told, 1 could not start or go on. */
int agent_run(const struct agent_options *options);

#endif
