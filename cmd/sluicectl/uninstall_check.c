/* SPDX-License-Identifier: Apache-2.0 */
/* What Sluice has left on this node. Looks at the host, the state and run directories and kubelet's; asks nobody, changes nothing. */
#include "verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "claims/leftovers.h"
#include "host/host.h"
#include "host/names.h"
#include "kubelet/leftovers.h"
#include "locked.h"
#include "present/leftovers.h"
#include "sim/sim.h"

struct request {
        const char *state_dir, *run_dir, *kubelet_dir, *host_mounts, *sim_dir;
        enum present_format format;
};

DEFINE_CLEANUP(struct names *, names_free)
DEFINE_CLEANUP(struct sim *, sim_free)

static void unreadable(struct leftovers *leftovers, const char *what, const struct err *err)
{
        leftovers_add(leftovers, LEFTOVER_UNREADABLE, what, "%s", err->msg);
}

/* ---- the daemon ---- */

/* Its lock on the state directory is held for as long as it lives. */
static bool is_running(const struct request *rq)
{
        _cleanup_free_ char *path = xasprintf("%s/lock", rq->state_dir);
        _cleanup_close_ int fd = fs_open(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW, 0);

        return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

/* Of a daemon that is gone. */
static void look_for_hands(const struct tree *tree, struct leftovers *leftovers)
{
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct err unused;

        if (fs_list(tree->proc, ".", &list, &unused) < 0)
                return;
        for (size_t i = 0; i < list.n; i++) {
                char path[64], comm[32];
                uint64_t pid;

                if (!str_to_u64(list.names[i], 10, INT32_MAX, &pid))
                        continue;
                str_format(path, sizeof(path), "%s/comm", list.names[i]);
                if (fs_read_value(tree->proc, path, comm, sizeof(comm), &unused) == 0 && streq(comm, "sluice-hand"))
                        leftovers_add(leftovers, LEFTOVER_HAND, list.names[i], "sluice-hand");
        }
}

static void look_at_run_dir(const struct request *rq, bool running, struct leftovers *leftovers)
{
        _cleanup_fs_list_ struct fs_list list = { 0 };
        _cleanup_free_ char *sock = xasprintf("%s/node.sock", rq->run_dir);
        size_t n_files = 0;
        struct err err;

        if (fs_exists(AT_FDCWD, rq->run_dir) == 0 || running)
                return;
        if (fs_list(AT_FDCWD, rq->run_dir, &list, &err) < 0) {
                unreadable(leftovers, rq->run_dir, &err);
                return;
        }
        for (size_t i = 0; i < list.n; i++) {
                if (streq(list.names[i], "node.sock"))
                        leftovers_add(leftovers, LEFTOVER_SOCKET, sock, "the node API of a sluiced that is not there");
                else
                        n_files++;
        }
        if (n_files > 0)
                leftovers_add(leftovers, LEFTOVER_FILES, rq->run_dir, "%zu files: locks of cards", n_files);
}

/* ---- the host ---- */

static int open_host(const struct request *rq, struct sim **ret_sim, struct tree *ret, struct err *err)
{
        int64_t next_ms;

        if (!rq->sim_dir)
                return rq->host_mounts ? tree_open_mounts(ret, rq->host_mounts, err) : tree_open(ret, NULL, err);
        int r = sim_open(ret_sim, rq->sim_dir, err);
        return r < 0 ? r : sim_settle(*ret_sim, &next_ms, err);
}

static void look_at_locks(const struct tree *tree, const struct inventory *inv, const struct original *o, struct leftovers *leftovers)
{
        const struct function *fn = inventory_function(inv, o->bdf);
        char path[96], text[8], bdf[BDF_TEXT_MAX];
        struct err unused;

        bdf_format(o->bdf, bdf);
        str_format(path, sizeof(path), "driver/nvidia/gpus/%s/unbindLock", bdf);
        if (fn && fn->unbind_lock && fs_read_value(tree->proc, path, text, sizeof(text), &unused) == 0 && streq(text, "1"))
                leftovers_add(leftovers, LEFTOVER_UNBIND_LOCK, bdf, "unbindLock says 1: the driver takes no new clients");
}

static void look_at_functions(const struct tree *tree, struct sim *sim, const struct inventory *inv, const struct state_left *state,
                              struct leftovers *leftovers)
{
        _cleanup_free_ struct override *overrides = xcalloc(state->n_originals + 1, sizeof(*overrides));
        char bdf[BDF_TEXT_MAX];

        locked_overrides(tree, sim, state->originals, state->n_originals, overrides);
        for (size_t i = 0; i < state->n_originals; i++) {
                if (overrides[i].hangs)
                        leftovers_add(leftovers, LEFTOVER_NO_ANSWER, bdf_format(state->originals[i].bdf, bdf),
                                      "the kernel does not say its driver_override");
                leftovers_of_original(leftovers, inv, &state->originals[i], overrides[i].read ? overrides[i].text : NULL);
                look_at_locks(tree, inv, &state->originals[i], leftovers);
        }
        leftovers_of_others(leftovers, inv, state->originals, state->n_originals);
}

static int look_at_host(const struct request *rq, bool running, const struct state_left *state, struct leftovers *leftovers,
                        struct err *err)
{
        _cleanup_(tree_close) struct tree machine = TREE_NULL;
        _cleanup_(sim_freep) struct sim *sim = NULL;
        _cleanup_(names_freep) struct names *names = NULL;
        _cleanup_inventory_ struct inventory *inv = NULL;

        int r = open_host(rq, &sim, &machine, err);
        const struct tree *tree = sim ? sim_tree(sim) : &machine;
        if (r == 0)
                r = names_new(&names, NULL, NULL, err);
        if (r == 0)
                r = host_scan(tree, names, sim != NULL, &inv, err);
        if (r < 0)
                return r;
        look_at_functions(tree, sim, inv, state, leftovers);
        if (!running && !sim) /* a simulated host's processes are not those that work on it */
                look_for_hands(tree, leftovers);
        return 0;
}

/* ---- the state directory ---- */

static int look_at_state(const struct request *rq, struct state_left *ret, struct leftovers *leftovers, struct err *err)
{
        _cleanup_close_ int dir = fs_open(AT_FDCWD, rq->state_dir, O_RDONLY | O_DIRECTORY, 0);

        if (dir == -ENOENT)
                return 0;
        if (dir < 0)
                return err_set(err, -dir, "cannot open %s", rq->state_dir);
        leftovers_add(leftovers, LEFTOVER_FILES, rq->state_dir, "the state directory");
        return state_left_read(dir, rq->state_dir, ret, leftovers, err);
}

static bool is_ours(void *ctx, const char *resource, const char *id)
{
        const struct state_left *state = ctx;
        struct bdf bdf;

        for (size_t i = 0; i < state->n_claims; i++)
                if (streq(state->claims[i].resource, resource) || claim_device(&state->claims[i], id))
                        return true;
        for (size_t i = 0; i < state->n_originals; i++)
                if (bdf_parse(id, &bdf) && bdf_equal(state->originals[i].bdf, bdf))
                        return true;
        return false;
}

/* ---- all of it ---- */

static int check(const struct request *rq)
{
        struct leftovers leftovers = { 0 };
        struct state_left state = { 0 };
        _cleanup_strbuf_ struct strbuf text = { 0 };
        bool running = is_running(rq);
        struct err err;

        if (running)
                leftovers_add(&leftovers, LEFTOVER_RUNNING, rq->state_dir, "a sluiced has it");
        if (look_at_state(rq, &state, &leftovers, &err) < 0)
                unreadable(&leftovers, rq->state_dir, &err);
        if (look_at_host(rq, running, &state, &leftovers, &err) < 0)
                unreadable(&leftovers, "the host", &err);
        look_at_run_dir(rq, running, &leftovers);
        kubelet_sockets_left(rq->kubelet_dir, running, &leftovers);
        if (kubelet_checkpoint_left(rq->kubelet_dir, is_ours, &state, &leftovers, &err) < 0)
                unreadable(&leftovers, rq->kubelet_dir, &err);
        int r = present_leftovers(&leftovers, rq->format, &text, &err);
        int status = r < 0 ? say_failed("uninstall-check", &err) : say_text(&text);
        bool any = leftovers_counted(&leftovers) > 0;
        leftovers_done(&leftovers);
        state_left_done(&state);
        return status == EXIT_OK && any ? EXIT_FAILED : status;
}

static int run(const struct verb *verb, int argc, char **argv)
{
        enum { STATE_DIR = 256, RUN_DIR, KUBELET_DIR, HOST_MOUNTS, SIM_DIR };
        static const struct option options[] = {
                { "state-dir", required_argument, NULL, STATE_DIR },
                { "run-dir", required_argument, NULL, RUN_DIR },
                { "kubelet-dir", required_argument, NULL, KUBELET_DIR },
                { "host-mounts", required_argument, NULL, HOST_MOUNTS },
                { "sim-dir", required_argument, NULL, SIM_DIR },
                { "output", required_argument, NULL, 'o' },
                OPTION_HELP,
                { 0 },
        };
        struct request rq = { .state_dir = "/var/lib/sluice", .run_dir = "/run/sluice", .kubelet_dir = "/var/lib/kubelet" };

        for (int option; (option = verb_option(verb, argc, argv, ":ho:", options)) != -1;) {
                const char **const words[] = { &rq.state_dir, &rq.run_dir, &rq.kubelet_dir, &rq.host_mounts, &rq.sim_dir };
                if (option == 'h' || option == '?')
                        return option == 'h' ? EXIT_OK : EXIT_USAGE;
                if (option >= STATE_DIR && option <= SIM_DIR)
                        *words[option - STATE_DIR] = optarg;
                else if (!present_format_parse(optarg, &rq.format))
                        return say_usage(verb, optarg, "not one of table, wide, json and yaml");
        }
        if (optind < argc)
                return say_usage(verb, argv[optind], "unexpected");
        return check(&rq);
}

const struct verb verb_uninstall_check = {
        .name = "uninstall-check",
        .words = "[OPTION...]",
        .summary = "list what Sluice has left on this node, and what to do about it; needs no sluiced",
        .help = "  --state-dir DIR      the state directory that sluiced had (default /var/lib/sluice)\n"
                "  --run-dir DIR        its run directory (default /run/sluice)\n"
                "  --kubelet-dir DIR    kubelet's root directory (default /var/lib/kubelet)\n"
                "  --host-mounts DIR    as in sluiced(8): in a container, with the host's dev and proc below DIR\n"
                "  --sim-dir DIR        the simulated host that the sluiced worked on\n"
                "  -o, --output FORMAT  table (default: a text), wide (the same), json or yaml\n"
                "Exit status 0: nothing is left but what does no harm. 1: something is, or could not be looked at.\n",
        .run = run,
};
