/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of sluicectl: a file each, which parses its words, asks, and prints. To add one: write it, list it in main.c and
 * in docs/man/sluicectl.1. */
#ifndef SLUICE_CMD_SLUICECTL_VERBS_H
#define SLUICE_CMD_SLUICECTL_VERBS_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

/* Exit statuses, documented in sluicectl(1). */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_DAEMON = 3, EXIT_NOT_FOUND = 4, EXIT_LEFT = 5 };

struct verb {
        const char *name;
        const char *words;                                          /* what follows the name in the synopsis */
        const char *summary;                                        /* for the list of verbs */
        const char *help;                                           /* options and what else there is to know, whole lines */
        int (*run)(const struct verb *verb, int argc, char **argv); /* argv[0] is the verb; returns an exit status */
};

extern const struct verb verb_inventory, verb_claims, verb_explain, verb_cordon, verb_uncordon, verb_release, verb_uninstall_check,
        verb_health, verb_reasons, verb_capture, verb_sim;

void verb_print_help(const struct verb *verb);

/* Next option of a verb, as getopt_long; -1 at the end: the words that are none, wherever they stood, are those from optind on.
 * @shorts is ":h" and what else has a short form; "+:h" ends at the first word that is none. 'h' = the help was printed, return EXIT_OK;
 * '?' = the mistake was said, return EXIT_USAGE. */
int verb_option(const struct verb *verb, int argc, char **argv, const char *shorts, const struct option *options);
#define OPTION_HELP                            \
        {                                      \
                "help", no_argument, NULL, 'h' \
        }

/* "sluicectl: WHAT: WHY" on stderr, and the exit status. */
int say_failed(const char *what, const struct err *err);                   /* EXIT_FAILED */
int say_usage(const struct verb *verb, const char *what, const char *why); /* EXIT_USAGE */

/* Prints a text on standard output. */
int say_text(const struct strbuf *text);

#endif
