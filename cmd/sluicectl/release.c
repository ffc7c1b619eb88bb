/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include <stdio.h>

#include "present/present.h"

enum { RELEASE_MS = 300 * 1000 }; /* plans of all cards side by side, behind what is at work on them */

static int ask(const struct daemon_address *address, const pb_node_release_idle_request *request, pb_node_release_idle_response **ret)
{
        _cleanup_daemon_ struct daemon *daemon = NULL;
        ProtobufCMessage *answer;

        int status = daemon_open(&verb_release, address, &daemon);
        if (status == EXIT_NO_DAEMON)
                (void)fputs("What an earlier sluiced bound only a sluiced gives back: start it again on this node, with the same state "
                            "directory\n"
                            "(helm install, or systemctl start sluiced), then ask again.\n",
                            stderr);
        if (status == EXIT_OK)
                status = daemon_ask_within(daemon, "Node/NodeReleaseIdle", &request->base,
                                           &sluice__node__v1__node_release_idle_response__descriptor, RELEASE_MS, &answer);
        if (status == EXIT_OK)
                *ret = (pb_node_release_idle_response *)(void *)answer;
        return status;
}

static int show(const struct daemon_address *address, const pb_node_release_idle_request *request, enum present_format format)
{
        _cleanup_strbuf_ struct strbuf text = { 0 };
        pb_node_release_idle_response *answer;
        struct err err;

        int status = ask(address, request, &answer);
        if (status != EXIT_OK)
                return status;
        int r = present_release(answer, request->dry_run, format, &text, &err);
        bool left = present_release_left(answer) > 0;
        protobuf_c_message_free_unpacked(&answer->base, NULL);
        status = r < 0 ? say_failed("release", &err) : say_text(&text);
        return status == EXIT_OK && left ? EXIT_LEFT : status;
}

static int run(const struct verb *verb, int argc, char **argv)
{
        enum { IDLE = 256, DRY_RUN };
        static const struct option options[] = {
                { "idle", no_argument, NULL, IDLE },
                { "dry-run", no_argument, NULL, DRY_RUN },
                OPTIONS_DAEMON,
                { "output", required_argument, NULL, 'o' },
                OPTION_HELP,
                { 0 },
        };
        pb_node_release_idle_request request = SLUICE__NODE__V1__NODE_RELEASE_IDLE_REQUEST__INIT;
        enum present_format format = PRESENT_TABLE;
        struct daemon_address address = { 0 };
        bool idle = false;

        for (int option; (option = verb_option(verb, argc, argv, ":ho:", options)) != -1;) {
                if (option == 'h' || option == '?')
                        return option == 'h' ? EXIT_OK : EXIT_USAGE;
                if (option == IDLE)
                        idle = true;
                else if (option == DRY_RUN)
                        request.dry_run = true;
                else if (!daemon_option(option, &address) && !present_format_parse(optarg, &format))
                        return say_usage(verb, optarg, "not one of table, wide, json and yaml");
        }
        if (!idle)
                return say_usage(verb, "release", "say --idle: only what nobody has is given back, whatever is named");
        request.devices = argv + optind;
        request.n_devices = (size_t)(argc - optind);
        return show(&address, &request, format);
}

const struct verb verb_release = {
        .name = "release",
        .words = "--idle [OPTION...] [DEVICE...]",
        .summary = "give devices that Sluice bound, and that nobody has, back to the drivers they had before",
        .help = HELP_DAEMON
        "  --idle               say so: what a pod has, somebody has open, or cannot be known to be free is left\n"
        "  --dry-run            only show what would be done, step by step\n"
        "  -o, --output FORMAT  table (default: a text), wide (the same), json or yaml\n"
        "Without DEVICE all that Sluice bound. What is given back is withheld from new pods until 'sluicectl uncordon', or\n"
        "until sluiced starts again. Exit status 5: something was left.\n",
        .run = run,
};
