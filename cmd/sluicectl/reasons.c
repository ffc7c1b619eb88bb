/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include "present/present.h"
#include "present/reasons.h"

static int print(const char *output)
{
        _cleanup_strbuf_ struct strbuf text = { 0 };
        enum present_format format;
        struct err err;

        if (streq(output, "markdown")) {
                present_reasons_markdown(&text);
                return say_text(&text);
        }
        if (!present_format_parse(output, &format))
                return say_usage(&verb_reasons, output, "not one of table, wide, json, yaml and markdown");
        if (present_reasons(format, &text, &err) < 0)
                return say_failed("reasons", &err);
        return say_text(&text);
}

static int run(const struct verb *verb, int argc, char **argv)
{
        static const struct option options[] = { { "output", required_argument, NULL, 'o' }, OPTION_HELP, { 0 } };
        const char *output = "table";

        for (int option; (option = verb_option(verb, argc, argv, ":ho:", options)) != -1;) {
                if (option == 'h' || option == '?')
                        return option == 'h' ? EXIT_OK : EXIT_USAGE;
                output = optarg;
        }
        if (optind < argc)
                return say_usage(verb, argv[optind], "unexpected");
        return print(output);
}

const struct verb verb_reasons = {
        .name = "reasons",
        .words = "[--output FORMAT]",
        .summary = "list every word that says why a device is not offered, is unhealthy or was refused",
        .help = "  -o, --output FORMAT  table (default), wide (with the remedies), json, yaml or markdown\n",
        .run = run,
};
