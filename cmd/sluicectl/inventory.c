/* SPDX-License-Identifier: Apache-2.0 */
/* What is on a host and what is offered of it. By default the sluiced of this node is asked; else the host is this machine, a capture
 * (unpacked to a private directory that is removed again), or a simulated host that a sluiced works on. */
#include "verbs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/tree.h"
#include "config/config.h"
#include "core/offer.h"
#include "host/host.h"
#include "host/modules.h"
#include "pages.h"
#include "present/present.h"
#include "scratch.h"
#include "sim/sim.h"

#define DEFAULT_CONFIG "/etc/sluice/config.yaml"

struct request {
        bool offline;
        struct daemon_address daemon;
        const char *host, *sim_dir, *host_mounts, *config;
        enum present_format format;
};

DEFINE_CLEANUP(struct names *, names_free)
DEFINE_CLEANUP(struct sim *, sim_free)

static void print_problems(const char *problems)
{
        const char *line;
        size_t n;

        while (str_line(&problems, &line, &n))
                (void)fprintf(stderr, "sluicectl: %.*s\n", (int)n, line);
}

/* The configuration that judges: the one that is named; else this machine's, but not for the host of somebody else; else the
 * implicit rule. */
static int load_config(const struct request *rq, struct config **ret)
{
        _cleanup_strbuf_ struct strbuf problems = { 0 };
        const char *path = rq->config ? rq->config : rq->host || rq->sim_dir ? NULL : DEFAULT_CONFIG;

        int r = path ? config_load(path, ret, &problems) : -ENOENT;
        if (r == -ENOENT && !rq->config) {
                *ret = config_default();
                return EXIT_OK;
        }
        if (r >= 0)
                return EXIT_OK;
        print_problems(problems.text);
        return EXIT_FAILED;
}

static int show(const struct tree *tree, bool simulated, const struct request *rq, const struct config *config)
{
        _cleanup_(names_freep) struct names *names = NULL;
        _cleanup_modules_ struct modules *modules = modules_new();
        _cleanup_inventory_ struct inventory *inv = NULL;
        _cleanup_strbuf_ struct strbuf text = { 0 };
        struct err err;

        if (names_new(&names, config->pci_ids, NULL, &err) < 0 || host_scan(tree, names, simulated, &inv, &err) < 0)
                return say_failed("inventory", &err);
        if (modules_apply(modules, tree, inv, &err) < 0)
                return say_failed("inventory", &err);
        const struct offer_input input = { .inventory = inv, .rules = &config->rules };
        _cleanup_offer_ struct offer *offer = offer_decide(&input);
        _cleanup_pile_ struct pile pile = { 0 };
        if (present_devices(pb_devices_of(&pile, inv, offer, "", offer->n_devices), rq->format, &text, &err) < 0)
                return say_failed("inventory", &err);
        return say_text(&text);
}

static int show_machine(const struct request *rq, const struct config *config)
{
        _cleanup_(tree_close) struct tree tree = TREE_NULL;
        struct err err;

        if ((rq->host_mounts ? tree_open_mounts(&tree, rq->host_mounts, &err) : tree_open(&tree, NULL, &err)) < 0)
                return say_failed("inventory", &err);
        return show(&tree, false, rq, config);
}

static int show_simulated(const char *dir, const struct request *rq, const struct config *config)
{
        _cleanup_(sim_freep) struct sim *sim = NULL;
        int64_t next_ms;
        struct err err;

        if (sim_open(&sim, dir, &err) < 0 || sim_settle(sim, &next_ms, &err) < 0)
                return say_failed("inventory", &err);
        return show(sim_tree(sim), true, rq, config);
}

static int show_host(const struct request *rq, const struct config *config)
{
        struct scratch scratch;
        struct err err;
        int status;

        if (scratch_make(&scratch, &err) < 0)
                return say_failed("inventory", &err);
        if (sim_prepare(rq->host, scratch.path, &err) < 0)
                status = say_failed("inventory", &err);
        else
                status = show_simulated(scratch.path, rq, config);
        if (scratch_remove(&scratch, &err) < 0)
                status = say_failed(scratch.path, &err);
        return status;
}

static int ask_daemon(const struct request *rq)
{
        _cleanup_daemon_ struct daemon *daemon = NULL;
        _cleanup_strbuf_ struct strbuf text = { 0 };
        _cleanup_pages_ struct pages pages = { 0 };
        struct err err;

        int status = daemon_open(&verb_inventory, &rq->daemon, &daemon);
        if (status == EXIT_OK)
                status = pages_of_devices(daemon, &pages);
        if (status != EXIT_OK)
                return status;
        if (present_devices(&pages.devices, rq->format, &text, &err) < 0)
                return say_failed("inventory", &err);
        return say_text(&text);
}

static int look(const struct request *rq)
{
        _cleanup_(config_freep) struct config *config = NULL;
        int status = load_config(rq, &config);

        if (status != EXIT_OK)
                return status;
        if (rq->host)
                return show_host(rq, config);
        if (rq->sim_dir)
                return show_simulated(rq->sim_dir, rq, config);
        return show_machine(rq, config);
}

static int run(const struct verb *verb, int argc, char **argv)
{
        enum { OFFLINE = 256, HOST_MOUNTS, HOST, SIM_DIR, CONFIG };
        static const struct option options[] = {
                { "offline", no_argument, NULL, OFFLINE },
                { "host-mounts", required_argument, NULL, HOST_MOUNTS },
                { "host", required_argument, NULL, HOST },
                { "sim-dir", required_argument, NULL, SIM_DIR },
                { "config", required_argument, NULL, CONFIG },
                OPTIONS_DAEMON,
                { "output", required_argument, NULL, 'o' },
                OPTION_HELP,
                { 0 },
        };
        struct request rq = { .format = PRESENT_TABLE };

        for (int option; (option = verb_option(verb, argc, argv, ":ho:", options)) != -1;)
                switch (option) {
                case 'h':
                        return EXIT_OK;
                case HOST_MOUNTS:
                        rq.host_mounts = optarg;
                        break;
                case HOST:
                        rq.host = optarg;
                        break;
                case SIM_DIR:
                        rq.sim_dir = optarg;
                        break;
                case CONFIG:
                        rq.config = optarg;
                        break;
                case OFFLINE:
                        rq.offline = true;
                        break;
                case DAEMON_RUN_DIR:
                case DAEMON_SOCKET:
                        (void)daemon_option(option, &rq.daemon);
                        break;
                case 'o':
                        if (present_format_parse(optarg, &rq.format))
                                break;
                        return say_usage(verb, optarg, "not one of table, wide, json and yaml");
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc)
                return say_usage(verb, argv[optind], "unexpected");
        if (rq.host && rq.sim_dir)
                return say_usage(verb, "--host and --sim-dir", "only one of them");
        if (rq.host_mounts && (rq.host || rq.sim_dir))
                return say_usage(verb, "--host-mounts", "of a real host: it goes without --host and --sim-dir");
        rq.offline = rq.offline || rq.host || rq.sim_dir || rq.host_mounts || rq.config;
        if (rq.offline && (rq.daemon.run_dir || rq.daemon.socket))
                return say_usage(verb, "--run-dir and --socket", "sluiced is not asked with --offline and what implies it");
        return rq.offline ? look(&rq) : ask_daemon(&rq);
}

const struct verb verb_inventory = {
        .name = "inventory",
        .words = "[OPTION...]",
        .summary = "show the GPUs of a host, what is offered of them, and why the rest is not",
        .help = HELP_DAEMON "  --offline            read the host instead of asking sluiced; the next four imply it. What only sluiced\n"
                            "                       knows (stuck, cordoned, listed before) is not seen\n"
                            "  --host-mounts DIR    as in sluiced(8): in a container, with the host's dev and proc below DIR\n"
                            "  --host FILE|DIR      another host: a capture (sluicectl capture), or a directory with sys/, proc/ and\n"
                            "                       dev/ below it; it is copied, never modified\n"
                            "  --sim-dir DIR        the simulated host that a sluiced works on\n"
                            "  --config FILE        judge by this configuration (default: " DEFAULT_CONFIG " for this machine,\n"
                            "                       none for another host; absent: what is already usable through VFIO)\n"
                            "  -o, --output FORMAT  table (default), wide, json or yaml\n",
        .run = run,
};
