/* SPDX-License-Identifier: Apache-2.0 */
/* The outside world acting on a simulated host: for tests, the demo, and for trying what an operator would see. */
#include "verbs.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#include "core/bdf.h"
#include "sim/sim.h"

DEFINE_CLEANUP(struct sim *, sim_free)

struct action {
        const char *name;
        int n_words_min, n_words_max; /* that follow the name */
        const char *wanted;
        int (*run)(struct sim *sim, char **words, int n_words, struct err *err); /* 0, or -errno; -EDOM = usage, @err says */
};

static int check_bdf(const char *s, struct err *err)
{
        struct bdf ignored;

        return bdf_parse(s, &ignored) ? 0 : err_say(err, EDOM, "not a PCI address like 0000:3b:00.0");
}

static int unplug(struct sim *sim, char **words, int n_words, struct err *err)
{
        (void)n_words;
        int r = check_bdf(words[0], err);
        return r < 0 ? r : sim_unplug(sim, words[0], err);
}

static int plug(struct sim *sim, char **words, int n_words, struct err *err)
{
        (void)n_words;
        int r = check_bdf(words[0], err);
        return r < 0 ? r : sim_plug(sim, words[0], err);
}

/* The line may be one word or several; none clears all faults. */
static int fault(struct sim *sim, char **words, int n_words, struct err *err)
{
        _cleanup_strbuf_ struct strbuf line = { 0 };

        strbuf_add(&line, "");
        for (int i = 0; i < n_words; i++)
                strbuf_addf(&line, "%s%s", i > 0 ? " " : "", words[i]);
        return sim_fault(sim, line.text, err);
}

static int hold(struct sim *sim, char **words, int n_words, struct err *err)
{
        bool closes = words[1][0] == '-';
        uint64_t pid;

        if (!str_to_u64(words[1] + closes, 10, INT32_MAX, &pid) || pid == 0)
                return err_say(err, EDOM, "not a process id: %s", words[1]);
        return sim_hold(sim, words[0], closes ? -(int)pid : (int)pid, n_words > 2 ? words[2] : NULL, err);
}

static const struct action actions[] = {
        { "unplug", 1, 1, "BDF", unplug },
        { "plug", 1, 1, "BDF", plug },
        { "fault", 0, 16, "LINE", fault },
        { "hold", 2, 3, "NODE PID [COMM]", hold },
};

static int act(const struct verb *verb, const char *dir, const struct action *action, char **words, int n_words)
{
        _cleanup_(sim_freep) struct sim *sim = NULL;
        struct err err;

        if (n_words < action->n_words_min || n_words > action->n_words_max) {
                str_format(err.msg, sizeof(err.msg), "%s is wanted", action->wanted);
                return say_usage(verb, action->name, err.msg);
        }
        if (sim_open(&sim, dir, &err) < 0)
                return say_failed("sim", &err);
        int r = action->run(sim, words, n_words, &err);
        if (r == -EDOM)
                return say_usage(verb, action->name, err.msg);
        return r < 0 ? say_failed(action->name, &err) : EXIT_OK;
}

/* "-42" is a process that closes a node. */
static bool is_word(const char *s)
{
        return s[0] != '-' || s[1] == '\0' || isdigit((unsigned char)s[1]);
}

/* Gathers the words at the beginning of @argv, behind the verb; returns how many there are, or -1 for what *ret_status says. */
static int parse(const struct verb *verb, int argc, char **argv, const char **ret_dir, int *ret_status)
{
        static const struct option options[] = { { "sim-dir", required_argument, NULL, 'd' }, OPTION_HELP, { 0 } };
        int n = 0;

        while (optind < argc) {
                int option = is_word(argv[optind]) ? 0 : verb_option(verb, argc, argv, "+:h", options);
                if (option == 'h' || option == '?') {
                        *ret_status = option == 'h' ? EXIT_OK : EXIT_USAGE;
                        return -1;
                }
                if (option == 'd')
                        *ret_dir = optarg;
                else if (option == 0)
                        argv[++n] = argv[optind++];
                while (option == -1 && optind < argc) /* behind "--" */
                        argv[++n] = argv[optind++];
        }
        return n;
}

static int run(const struct verb *verb, int argc, char **argv)
{
        const char *dir = NULL;
        int status = EXIT_USAGE, n = parse(verb, argc, argv, &dir, &status);

        if (n < 0)
                return status;
        if (!dir)
                return say_usage(verb, "sim", "--sim-dir DIR is wanted");
        if (n == 0)
                return say_usage(verb, "sim", "unplug, plug, fault or hold is wanted");
        for (size_t i = 0; i < N_ELEMENTS(actions); i++)
                if (streq(actions[i].name, argv[1]))
                        return act(verb, dir, &actions[i], argv + 2, n - 1);
        return say_usage(verb, argv[1], "not one of unplug, plug, fault and hold");
}

const struct verb verb_sim = {
        .name = "sim",
        .words = "--sim-dir DIR ACTION [WORD...]",
        .summary = "let something happen to a simulated host",
        .help = "  --sim-dir DIR             the simulated host, as made by 'sluiced --host FILE --sim-dir DIR'\n"
                "\n"
                "  unplug BDF                a device falls off the bus, at once, also when it is held\n"
                "  plug BDF                  it comes back, as it was at first\n"
                "  fault LINE                the kernel misbehaves from now on: ATTRIBUTE BDF|* WHAT [times N], where WHAT is\n"
                "                            'refuse ERRNO', 'ignore', 'delay MS', 'hang' or 'vanish'; no LINE ends all faults\n"
                "  hold NODE PID [COMM]      a process opens a node (/dev/vfio/45); PID -N closes it again\n",
        .run = run,
};
