/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include <time.h>

#include "base/clock.h"
#include "present/explanation.h"

static int show(const char *device, const struct daemon_address *address, enum present_format format)
{
        _cleanup_daemon_ struct daemon *daemon = NULL;
        _cleanup_strbuf_ struct strbuf text = { 0 };
        pb_node_explain_request request = SLUICE__NODE__V1__NODE_EXPLAIN_REQUEST__INIT;
        ProtobufCMessage *answer;
        struct err err;

        request.device = pb_text(device);
        int status = daemon_open(&verb_explain, address, &daemon);
        if (status == EXIT_OK)
                status = daemon_ask(daemon, "Node/NodeExplain", &request.base, &sluice__node__v1__node_explain_response__descriptor,
                                    &answer);
        if (status != EXIT_OK)
                return status;
        int r = present_explanation((const pb_node_explain_response *)(const void *)answer, format, clock_unix_ms(), &text, &err);
        protobuf_c_message_free_unpacked(answer, NULL);
        return r < 0 ? say_failed("explain", &err) : say_text(&text);
}

static int run(const struct verb *verb, int argc, char **argv)
{
        static const struct option options[] = { OPTIONS_DAEMON, { "output", required_argument, NULL, 'o' }, OPTION_HELP, { 0 } };
        enum present_format format = PRESENT_TABLE;
        struct daemon_address address = { 0 };

        for (int option; (option = verb_option(verb, argc, argv, ":ho:", options)) != -1;) {
                if (option == 'h' || option == '?')
                        return option == 'h' ? EXIT_OK : EXIT_USAGE;
                if (!daemon_option(option, &address) && !present_format_parse(optarg, &format))
                        return say_usage(verb, optarg, "not one of table, wide, json and yaml");
        }
        if (optind + 1 != argc)
                return say_usage(verb, "explain", "the id of one device is wanted, as 'sluicectl inventory' has it");
        return show(argv[optind], &address, format);
}

const struct verb verb_explain = {
        .name = "explain",
        .words = "[OPTION...] DEVICE",
        .summary = "say of one device why it is as it is, who has it, and what an Allocate would do with it",
        .help = HELP_DAEMON "  -o, --output FORMAT  table (default: a text), wide (the same), json or yaml\n",
        .run = run,
};
