/* SPDX-License-Identifier: Apache-2.0 */
/* For probes: does the sluiced of this node turn its loop, and is kubelet served. */
#include <stdio.h>

#include "daemon.h"
#include "pages.h"

static int ask(struct daemon *daemon, pb_probe_response **ret)
{
        pb_probe_request request = SLUICE__NODE__V1__PROBE_REQUEST__INIT;
        ProtobufCMessage *answer;

        int status = daemon_ask(daemon, "Identity/Probe", &request.base, &sluice__node__v1__probe_response__descriptor, &answer);
        if (status == EXIT_OK)
                *ret = (pb_probe_response *)(void *)answer;
        return status;
}

/* That nothing is offered is no illness: most nodes have no GPU. */
static void say_ready(const pb_node_list_devices_response *list)
{
        unsigned healthy = 0;
        size_t listed = 0;

        for (size_t i = 0; i < list->n_pools; i++) {
                healthy += list->pools[i]->healthy;
                listed += list->pools[i]->n_devices;
        }
        if (listed > 0)
                (void)printf("ready: %u of %zu devices in %zu pools are healthy\n", healthy, listed, list->n_pools);
        else if (list->n_devices > 0)
                (void)printf("ready: nothing is offered; 'sluicectl inventory' says why of each of %zu devices\n", list->n_devices);
        else
                (void)puts("ready: there is no GPU on this node");
}

static int judge(struct daemon *daemon, const pb_probe_response *answer, bool live)
{
        _cleanup_pages_ struct pages pages = { 0 };

        if (!answer->ready) {
                (void)printf("%s: %s\n", live ? "alive, not ready" : "not ready", answer->why_not);
                return live ? EXIT_OK : EXIT_FAILED;
        }
        int status = pages_of_devices(daemon, &pages);
        if (status == EXIT_OK)
                say_ready(&pages.devices);
        return status;
}

static int show(const struct daemon_address *address, bool live)
{
        _cleanup_daemon_ struct daemon *daemon = NULL;
        pb_probe_response *answer;

        int status = daemon_open(&verb_health, address, &daemon);
        if (status == EXIT_OK)
                status = ask(daemon, &answer);
        if (status != EXIT_OK)
                return status;
        status = judge(daemon, answer, live);
        protobuf_c_message_free_unpacked(&answer->base, NULL);
        return status;
}

static int run(const struct verb *verb, int argc, char **argv)
{
        static const struct option options[] = { OPTIONS_DAEMON, { "live", no_argument, NULL, 'l' }, OPTION_HELP, { 0 } };
        struct daemon_address address = { 0 };
        bool live = false;

        for (int option; (option = verb_option(verb, argc, argv, ":h", options)) != -1;) {
                if (option == 'h' || option == '?')
                        return option == 'h' ? EXIT_OK : EXIT_USAGE;
                if (!daemon_option(option, &address))
                        live = true;
        }
        if (optind < argc)
                return say_usage(verb, argv[optind], "unexpected");
        return show(&address, live);
}

const struct verb verb_health = {
        .name = "health",
        .words = "[OPTION...]",
        .summary = "say whether sluiced is at work on this node; its status is for probes",
        .help = "  --live               0 also when sluiced answers and kubelet has not registered every pool\n" HELP_DAEMON,
        .run = run,
};
