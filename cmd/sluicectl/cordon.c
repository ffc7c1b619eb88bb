/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include <stdio.h>

#include "present/messages.h"

static int ask(const struct verb *verb, const struct daemon_address *address, const char *method, const ProtobufCMessage *request,
               const ProtobufCMessageDescriptor *response, ProtobufCMessage **ret)
{
        _cleanup_daemon_ struct daemon *daemon = NULL;

        int status = daemon_open(verb, address, &daemon);
        return status == EXIT_OK ? daemon_ask(daemon, method, request, response, ret) : status;
}

static int cordon(const struct daemon_address *address, const char *target, const char *note)
{
        pb_node_cordon_request request = SLUICE__NODE__V1__NODE_CORDON_REQUEST__INIT;
        ProtobufCMessage *answer;

        request.target = pb_text(target);
        request.note = pb_text(note);
        int status =
                ask(&verb_cordon, address, "Node/NodeCordon", &request.base, &sluice__node__v1__node_cordon_response__descriptor, &answer);
        if (status != EXIT_OK)
                return status;
        const pb_node_cordon_response *held = (const pb_node_cordon_response *)(const void *)answer;
        for (size_t i = 0; i < held->n_devices; i++)
                (void)printf("%s is cordoned: no new pod gets it; who has it keeps it\n", held->devices[i]);
        protobuf_c_message_free_unpacked(answer, NULL);
        return EXIT_OK;
}

static int uncordon(const struct daemon_address *address, const char *target, const char *note)
{
        pb_node_uncordon_request request = SLUICE__NODE__V1__NODE_UNCORDON_REQUEST__INIT;
        ProtobufCMessage *answer;

        (void)note;
        request.target = pb_text(target);
        int status = ask(&verb_uncordon, address, "Node/NodeUncordon", &request.base, &sluice__node__v1__node_uncordon_response__descriptor,
                         &answer);
        if (status != EXIT_OK)
                return status;
        const pb_node_uncordon_response *freed = (const pb_node_uncordon_response *)(const void *)answer;
        for (size_t i = 0; i < freed->n_devices; i++)
                (void)printf("%s is not cordoned as %s any more\n", freed->devices[i], target);
        protobuf_c_message_free_unpacked(answer, NULL);
        return EXIT_OK;
}

static int parse(const struct verb *verb, int argc, char **argv, const struct option *options,
                 int (*act)(const struct daemon_address *address, const char *target, const char *note))
{
        struct daemon_address address = { 0 };
        const char *note = "";

        for (int option; (option = verb_option(verb, argc, argv, ":h", options)) != -1;) {
                if (option == 'h' || option == '?')
                        return option == 'h' ? EXIT_OK : EXIT_USAGE;
                if (!daemon_option(option, &address))
                        note = optarg;
        }
        if (optind + 1 != argc)
                return say_usage(verb, verb->name, "the id of one device, or the address of one card, is wanted");
        return act(&address, argv[optind], note);
}

static int run_cordon(const struct verb *verb, int argc, char **argv)
{
        static const struct option options[] = { OPTIONS_DAEMON, { "note", required_argument, NULL, 'n' }, OPTION_HELP, { 0 } };

        return parse(verb, argc, argv, options, cordon);
}

static int run_uncordon(const struct verb *verb, int argc, char **argv)
{
        static const struct option options[] = { OPTIONS_DAEMON, OPTION_HELP, { 0 } };

        return parse(verb, argc, argv, options, uncordon);
}

const struct verb verb_cordon = {
        .name = "cordon",
        .words = "[OPTION...] DEVICE|CARD",
        .summary = "withhold a device, or all that hangs on a card, from new pods until it is uncordoned",
        .help = HELP_DAEMON "  --note TEXT          why, for those who find it; at most 200 bytes\n",
        .run = run_cordon,
};

const struct verb verb_uncordon = {
        .name = "uncordon",
        .words = "[OPTION...] DEVICE|CARD",
        .summary = "end a cordon, under the name that it was given",
        .help = HELP_DAEMON,
        .run = run_uncordon,
};
