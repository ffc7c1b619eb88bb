/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of sluiced. */
#ifndef SLUICE_CMD_SLUICED_OPTIONS_H
#define SLUICE_CMD_SLUICED_OPTIONS_H

#include <stdbool.h>

#include "base/log.h"

/* Exit statuses, documented in sluiced(8). */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_LOCKED = 3 };

enum action { ACTION_RUN, ACTION_HELP, ACTION_VERSION, ACTION_CHECK_CONFIG, ACTION_PRINT_CONFIG };

struct options {
        enum action action;
        const char *kubelet_dir, *state_dir, *run_dir;
        const char *config;
        bool config_given;       /* a named file must be there; the default one need not */
        const char *host_mounts; /* NULL = sluiced runs on the host itself */
        const char *host, *sim_dir, *sim_nodes;
        const char *hand;
        int lock_wait_s; /* -1 = for ever */
        enum log_level log_level;
        enum log_format log_format;
};

/* 0, or EXIT_USAGE after a sentence on stderr. */
int options_parse(struct options *options, int argc, char **argv);
void options_help(void);

#endif
