/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

int say_failed(const char *what, const struct err *err)
{
        (void)fprintf(stderr, "sluicectl: %s: %s\n", what, err->msg);
        return EXIT_FAILED;
}

int say_usage(const struct verb *verb, const char *what, const char *why)
{
        (void)fprintf(stderr, "sluicectl: %s: %s\nTry 'sluicectl %s%s--help'.\n", what, why, verb ? verb->name : "", verb ? " " : "");
        return EXIT_USAGE;
}

int say_text(const struct strbuf *text)
{
        if (text->len > 0 && fwrite(text->text, 1, text->len, stdout) != text->len)
                return EXIT_FAILED; /* main says why, when it closes the stream */
        return EXIT_OK;
}

void verb_print_help(const struct verb *verb)
{
        (void)printf("Usage: sluicectl %s %s\n%c%s.\n\n%s", verb->name, verb->words, toupper((unsigned char)verb->summary[0]),
                     verb->summary + 1, verb->help);
}

int verb_option(const struct verb *verb, int argc, char **argv, const char *shorts, const struct option *options)
{
        opterr = 0;
        int option = getopt_long(argc, argv, shorts, options, NULL);

        if (option == 'h') {
                verb_print_help(verb);
        } else if (option == '?') {
                (void)say_usage(verb, argv[optind - 1], "no such option, or an option that takes no value");
        } else if (option == ':') {
                (void)say_usage(verb, argv[optind - 1], "a value is missing");
                return '?';
        }
        return option;
}
