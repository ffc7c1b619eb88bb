/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <getopt.h>
#include <stdint.h>
#include <stdio.h>

#include "base/str.h"

enum {
        OPT_KUBELET_DIR = 256,
        OPT_STATE_DIR,
        OPT_RUN_DIR,
        OPT_CONFIG,
        OPT_HOST_MOUNTS,
        OPT_HOST,
        OPT_SIM_DIR,
        OPT_SIM_NODES,
        OPT_HAND,
        OPT_LOCK_WAIT,
        OPT_LOG_LEVEL,
        OPT_LOG_FORMAT,
        OPT_CHECK_CONFIG,
        OPT_PRINT_CONFIG,
        OPT_VERSION,
};

void options_help(void)
{
        (void)fputs("Usage: sluiced [OPTION...]\n"
                    "Hands the GPUs of this node to KubeVirt virtual machines: discovers them, offers them to kubelet,\n"
                    "binds them to vfio-pci when they are allocated.\n"
                    "\n"
                    "  --config FILE        configuration (default /etc/sluice/config.yaml; absent: only what is\n"
                    "                       already usable through VFIO is offered, nothing is bound)\n"
                    "  --kubelet-dir DIR    kubelet's root directory (default /var/lib/kubelet)\n"
                    "  --state-dir DIR      durable state and its lock (default /var/lib/sluice)\n"
                    "  --run-dir DIR        sockets and card locks (default /run/sluice)\n"
                    "  --lock-wait SECONDS  how long to wait for another sluiced to end before giving up with\n"
                    "                       status 3 (default: for ever)\n"
                    "  --log-level LEVEL    error, warn, info or debug (default info)\n"
                    "  --log-format FORMAT  text or json (default text)\n"
                    "  --check-config       print every problem of the configuration and exit: 0 none, 1 some\n"
                    "  --print-config       print the configuration in force, defaults included, and exit\n"
                    "  --hand PROGRAM       the helper that touches hardware (default: sluice-hand beside sluiced)\n"
                    "  --host-mounts DIR    sluiced runs in a container that has the host's sys/bus/pci and sys/devices\n"
                    "                       (written), dev and proc (read) mounted below DIR; what is not there is\n"
                    "                       taken from the container itself\n"
                    "  --version, --help\n"
                    "\n"
                    "Hosts without a GPU:\n"
                    "  --host FILE|DIR      run on a captured host (sluicectl capture) over a simulated kernel;\n"
                    "                       what is given is copied, never modified\n"
                    "  --sim-dir DIR        where the simulated host lives; one that exists is opened again\n"
                    "                       (default RUN_DIR/sim)\n"
                    "  --sim-nodes PATH     a harmless real host path (/dev/null) to answer for every node, so that a\n"
                    "                       container runtime can start the pod\n"
                    "\n"
                    "Signals: SIGTERM and SIGINT end it (bindings stay), SIGHUP re-reads the configuration.\n"
                    "Exit status: 0 ended as told, 1 failed, 2 usage, 3 another sluiced has one of the directories.\n",
                    stdout);
}

static int bad(const char *option, const char *value, const char *wanted)
{
        (void)fprintf(stderr, "sluiced: --%s %s: not %s\n", option, value, wanted);
        return EXIT_USAGE;
}

static int parse_wait(const char *value, int *ret)
{
        uint64_t seconds;

        if (!str_to_u64(value, 10, 86400, &seconds))
                return bad("lock-wait", value, "a number of seconds between 0 and 86400");
        *ret = (int)seconds;
        return 0;
}

/* One option with its value. */
static int take(struct options *o, int option, const char *value)
{
        switch (option) {
        case OPT_KUBELET_DIR:
                o->kubelet_dir = value; /* Kubelet is told of sockets by their whole paths. */
                return value[0] == '/' ? 0 : bad("kubelet-dir", value, "an absolute path");
        case OPT_STATE_DIR:
                o->state_dir = value;
                return 0;
        case OPT_RUN_DIR:
                o->run_dir = value;
                return 0;
        case OPT_CONFIG:
                o->config = value;
                o->config_given = true;
                return 0;
        case OPT_HOST_MOUNTS:
                o->host_mounts = value; /* The hands open it too, from a directory of their own. */
                return value[0] == '/' ? 0 : bad("host-mounts", value, "an absolute path");
        case OPT_HOST:
                o->host = value;
                return 0;
        case OPT_SIM_DIR:
                o->sim_dir = value;
                return 0;
        case OPT_SIM_NODES:
                o->sim_nodes = value;
                return value[0] == '/' ? 0 : bad("sim-nodes", value, "an absolute path");
        case OPT_HAND:
                o->hand = value;
                return 0;
        case OPT_LOCK_WAIT:
                return parse_wait(value, &o->lock_wait_s);
        case OPT_LOG_LEVEL:
                return log_level_parse(value, &o->log_level) ? 0 : bad("log-level", value, "one of error, warn, info, debug");
        case OPT_LOG_FORMAT:
                return log_format_parse(value, &o->log_format) ? 0 : bad("log-format", value, "one of text, json");
        case OPT_CHECK_CONFIG:
                o->action = ACTION_CHECK_CONFIG;
                return 0;
        case OPT_PRINT_CONFIG:
                o->action = ACTION_PRINT_CONFIG;
                return 0;
        case OPT_VERSION:
                o->action = ACTION_VERSION;
                return 0;
        case 'h':
                o->action = ACTION_HELP;
                return 0;
        default:
                return EXIT_USAGE; /* getopt said why */
        }
}

int options_parse(struct options *options, int argc, char **argv)
{
        static const struct option table[] = {
                { "kubelet-dir", required_argument, NULL, OPT_KUBELET_DIR },
                { "state-dir", required_argument, NULL, OPT_STATE_DIR },
                { "run-dir", required_argument, NULL, OPT_RUN_DIR },
                { "config", required_argument, NULL, OPT_CONFIG },
                { "host-mounts", required_argument, NULL, OPT_HOST_MOUNTS },
                { "host", required_argument, NULL, OPT_HOST },
                { "sim-dir", required_argument, NULL, OPT_SIM_DIR },
                { "sim-nodes", required_argument, NULL, OPT_SIM_NODES },
                { "hand", required_argument, NULL, OPT_HAND },
                { "lock-wait", required_argument, NULL, OPT_LOCK_WAIT },
                { "log-level", required_argument, NULL, OPT_LOG_LEVEL },
                { "log-format", required_argument, NULL, OPT_LOG_FORMAT },
                { "check-config", no_argument, NULL, OPT_CHECK_CONFIG },
                { "print-config", no_argument, NULL, OPT_PRINT_CONFIG },
                { "version", no_argument, NULL, OPT_VERSION },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        struct options o = {
                .kubelet_dir = "/var/lib/kubelet",
                .state_dir = "/var/lib/sluice",
                .run_dir = "/run/sluice",
                .config = "/etc/sluice/config.yaml",
                .lock_wait_s = -1,
                .log_level = LOG_LEVEL_INFO,
        };

        for (int c; (c = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
                int r = take(&o, c, optarg);
                if (r != 0)
                        return r;
        }
        if (optind < argc) {
                (void)fprintf(stderr, "sluiced: unexpected argument \"%s\" (see --help)\n", argv[optind]);
                return EXIT_USAGE;
        }
        if (!o.host && !o.sim_dir && o.sim_nodes) {
                (void)fputs("sluiced: --sim-nodes goes with --host or --sim-dir only\n", stderr);
                return EXIT_USAGE;
        }
        if (o.host_mounts && (o.host || o.sim_dir)) {
                (void)fputs("sluiced: --host-mounts is of a real host: it goes without --host and --sim-dir\n", stderr);
                return EXIT_USAGE;
        }
        *options = o;
        return 0;
}
