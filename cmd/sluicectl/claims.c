/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include "base/clock.h"
#include "pages.h"
#include "present/present.h"

static int show(const struct daemon_address *address, enum present_format format)
{
        _cleanup_daemon_ struct daemon *daemon = NULL;
        _cleanup_strbuf_ struct strbuf text = { 0 };
        _cleanup_pages_ struct pages pages = { 0 };
        struct err err;

        int status = daemon_open(&verb_claims, address, &daemon);
        if (status == EXIT_OK)
                status = pages_of_claims(daemon, &pages);
        if (status != EXIT_OK)
                return status;
        if (present_claims(&pages.claims, format, clock_unix_ms(), &text, &err) < 0)
                return say_failed("claims", &err);
        return say_text(&text);
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
        if (optind < argc)
                return say_usage(verb, argv[optind], "unexpected");
        return show(&address, format);
}

const struct verb verb_claims = {
        .name = "claims",
        .words = "[OPTION...]",
        .summary = "show which pod was given which device, and since when",
        .help = HELP_DAEMON "  -o, --output FORMAT  table (default), wide, json or yaml\n",
        .run = run,
};
