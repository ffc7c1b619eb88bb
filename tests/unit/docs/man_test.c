/* SPDX-License-Identifier: Apache-2.0 */
/* The man pages against what the programs say of themselves: the same options and verbs. Run from the top of the source
 * tree. */
#include "../unit.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"

enum { TEXT_MAX = 1 << 18, OPTION_MAX = 40 };

static char *read_page(const char *name)
{
        _cleanup_free_ char *path = xasprintf("docs/man/%s", name);
        char *page = xcalloc(TEXT_MAX, 1), *to = page;
        struct err err;

        ASSERT_OK(fs_read(AT_FDCWD, path, page, TEXT_MAX, NULL, &err), &err);
        for (const char *from = page; *from; from++)
                if (from[0] != '\\' || from[1] != '-') /* roff's hyphens */
                        *to++ = *from;
        *to = '\0';
        return page;
}

/* Adds what `PROGRAM @args` prints to @out. */
static void add_output(const char *program, const char *args, struct strbuf *out)
{
        const char *bin = getenv("SLUICE_BIN");
        _cleanup_free_ char *command = xasprintf("%s/%s %s", bin ? bin : "build/asan/bin", program, args);
        char line[512];

        FILE *f = popen(command, "re");
        assert_non_null(f);
        while (fgets(line, sizeof(line), f))
                strbuf_add(out, line);
        assert_int_equal(pclose(f), 0);
}

/* The next "--word" at or after *at; false when there is none. "---" is a line, not an option. */
static bool next_option(const char **at, char option[static OPTION_MAX])
{
        for (const char *p = *at; (p = strstr(p, "--")); p += 2) {
                size_t n = 2;
                if (!islower((unsigned char)p[2]) || (p > *at && (p[-1] == '-' || isalnum((unsigned char)p[-1]))))
                        continue;
                while (islower((unsigned char)p[n]) || (p[n] == '-' && islower((unsigned char)p[n + 1])))
                        n++;
                assert_true(n < OPTION_MAX);
                memcpy(option, p, n);
                option[n] = '\0';
                *at = p + n;
                return true;
        }
        return false;
}

static bool has_option(const char *text, const char *option)
{
        char found[OPTION_MAX];

        while (next_option(&text, found))
                if (streq(found, option))
                        return true;
        return false;
}

static void assert_covers(const char *what, const char *text, const char *other_name, const char *other)
{
        char option[OPTION_MAX];
        unsigned n = 0;

        for (const char *at = other; next_option(&at, option); n++)
                if (!has_option(text, option))
                        fail_msg("%s does not have %s, which %s has", what, option, other_name);
        assert_true(n > 2);
}

static void test_sluiced_8_has_the_options_of_help_and_no_others(void **state)
{
        _cleanup_free_ char *page = read_page("sluiced.8");
        _cleanup_strbuf_ struct strbuf help = { 0 };

        (void)state;
        add_output("sluiced", "--help", &help);
        assert_covers("sluiced.8", page, "--help", help.text);
        assert_covers("sluiced --help", help.text, "the page", page);
}

/* Verbs begin the lines of the overall help that begin with two blanks. */
static void add_help_of_verbs(const char *overall, const char *page, struct strbuf *help)
{
        char verb[32];
        unsigned n = 0;

        for (const char *line = overall; (line = strstr(line, "\n  ")); line++) {
                if (sscanf(line, "\n  %31[a-z-]", verb) != 1)
                        continue;
                _cleanup_free_ char *words = xasprintf("sluicectl %s", verb);
                if (!strstr(page, words))
                        fail_msg("sluicectl.1 does not have the verb %s in its synopsis", verb);
                n++;
                if (streq(verb, "help") || streq(verb, "version"))
                        continue;
                _cleanup_free_ char *section = xasprintf("\n.SS %s\n", verb);
                if (!strstr(page, section))
                        fail_msg("sluicectl.1 has no section for the verb %s", verb);
                _cleanup_free_ char *args = xasprintf("%s --help", verb);
                add_output("sluicectl", args, help);
        }
        assert_true(n >= 5);
}

static void test_sluicectl_1_has_the_verbs_and_options_of_help_and_no_others(void **state)
{
        _cleanup_free_ char *page = read_page("sluicectl.1");
        _cleanup_strbuf_ struct strbuf overall = { 0 }, help = { 0 };

        (void)state;
        add_output("sluicectl", "--help", &overall);
        add_help_of_verbs(overall.text, page, &help);
        strbuf_add(&help, " --help "); /* every verb has it, none lists it */
        assert_covers("sluicectl.1", page, "--help", help.text);
        assert_covers("sluicectl --help", help.text, "the page", page);
}

static void test_the_pages_are_of_this_version(void **state)
{
        static const char *const pages[] = { "sluiced.8", "sluicectl.1", "sluice-hand.8" };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(pages); i++) {
                _cleanup_free_ char *page = read_page(pages[i]);
                if (!strstr(page, "\"Sluice " SLUICE_VERSION "\""))
                        fail_msg("%s is not of version " SLUICE_VERSION, pages[i]);
        }
}

/* libpci makes the whole GPL-3.0-or-later: said where a distributor looks, and not of the program that does not link it. */
static void test_the_programs_that_link_libpci_say_their_licence(void **state)
{
        static const struct {
                const char *page, *program, *version;
                bool gpl;
        } table[] = {
                { "sluiced.8", "sluiced", "--version", true },
                { "sluicectl.1", "sluicectl", "version", true },
                { "sluice-hand.8", "sluice-hand", "--version", false },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(table); i++) {
                _cleanup_free_ char *page = read_page(table[i].page);
                _cleanup_strbuf_ struct strbuf said = { 0 };
                add_output(table[i].program, table[i].version, &said);
                if (!!strstr(page, "GPL-3.0-or-later") != table[i].gpl || !!strstr(said.text, "GPL-3.0-or-later") != table[i].gpl)
                        fail_msg("%s and its page: GPL-3.0-or-later has%s to be there", table[i].program, table[i].gpl ? "" : " not");
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_sluiced_8_has_the_options_of_help_and_no_others),
                TEST(test_sluicectl_1_has_the_verbs_and_options_of_help_and_no_others),
                TEST(test_the_pages_are_of_this_version),
                TEST(test_the_programs_that_link_libpci_say_their_licence),
        };

        return RUN(tests);
}
