/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl: the operator's hand. Here: which verb, and whether what it printed arrived. */
#include "sluicectl.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "verbs.h"

static const struct verb *const verbs[] = { &verb_inventory, &verb_claims,          &verb_explain, &verb_cordon,  &verb_uncordon,
                                            &verb_release,   &verb_uninstall_check, &verb_health,  &verb_reasons, &verb_capture,
                                            &verb_sim };

static const struct verb *find_verb(const char *name)
{
        for (size_t i = 0; i < N_ELEMENTS(verbs); i++)
                if (streq(verbs[i]->name, name))
                        return verbs[i];
        return NULL;
}

static void print_help(void)
{
        (void)fputs("Usage: sluicectl VERB [OPTION...]\n"
                    "Shows what Sluice sees of a host and why, and what to do about it.\n"
                    "\n",
                    stdout);
        for (size_t i = 0; i < N_ELEMENTS(verbs); i++)
                (void)printf("  %-15s %s\n", verbs[i]->name, verbs[i]->summary);
        (void)fputs("  help            this, or 'help VERB' the options of a verb\n"
                    "  version         print the version\n"
                    "\n"
                    "Exit status: 0 done, 1 failed, 2 usage, 3 no sluiced answers, 4 no such device,\n"
                    "5 something was left as it is.\n",
                    stdout);
}

static int help(int argc, char **argv)
{
        if (argc < 2) {
                print_help();
                return EXIT_OK;
        }
        const struct verb *verb = find_verb(argv[1]);
        if (!verb)
                return say_usage(NULL, argv[1], "no such verb");
        verb_print_help(verb);
        return EXIT_OK;
}

static int run(int argc, char **argv)
{
        if (argc < 1)
                return say_usage(NULL, "nothing to do", "no verb is given");
        if (streq(argv[0], "help") || streq(argv[0], "--help") || streq(argv[0], "-h"))
                return help(argc, argv);
        if (streq(argv[0], "version") || streq(argv[0], "--version")) {
                (void)puts("sluicectl " SLUICE_VERSION "\n"
                           "Sources: Apache-2.0. This program links libpci: as a whole it is GPL-3.0-or-later.");
                return EXIT_OK;
        }
        const struct verb *verb = find_verb(argv[0]);
        return verb ? verb->run(verb, argc, argv) : say_usage(NULL, argv[0], "no such verb");
}

int sluicectl_main(int argc, char **argv)
{
        (void)setlocale(LC_CTYPE, ""); /* widths of characters in tables */

        int status = run(argc - 1, argv + 1);
        if (fflush(stdout) != 0 || ferror(stdout)) {
                (void)fprintf(stderr, "sluicectl: cannot write the output: %s\n", strerror(errno));
                return EXIT_FAILED;
        }
        return status;
}
