/* SPDX-License-Identifier: Apache-2.0 */
/* sluiced: the node daemon, and sluicectl when that is its name. Here: the command line, directories, the locks; then
 * agent_run. */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../sluicectl/sluicectl.h"
#include "agent/agent.h"
#include "agent/lock.h"
#include "base/alloc.h"
#include "base/str.h"
#include "hands/hands.h"
#include "host/names.h"
#include "options.h"
#include "sim/sim.h"

static int fail(const char *what, const struct err *err)
{
        log_error("%s: %s", what, err->msg);
        return EXIT_FAILED;
}

/* The configuration to start with. An absent default file means the implicit rule; a file that was named must be there. */
static int load_config(const struct options *o, struct config **ret)
{
        _cleanup_strbuf_ struct strbuf problems = { 0 };

        int r = config_load(o->config, ret, &problems);
        if (r == -ENOENT && !o->config_given) {
                *ret = config_default();
                return EXIT_OK;
        }
        if (r < 0) {
                (void)fputs(problems.text, stderr);
                return EXIT_FAILED;
        }
        return EXIT_OK;
}

/* What was read before a long wait may be stale by now. Its successor counts when it has no problem. */
static void load_config_again(const struct options *o, struct config **config)
{
        struct config *now;

        if (load_config(o, &now) != EXIT_OK) {
                log_error("%s is not used, what it said at the start of the wait is in force", o->config);
                return;
        }
        config_free(*config);
        *config = now;
}

static int print_config(const struct options *o)
{
        _cleanup_(config_freep) struct config *config = NULL;

        int status = load_config(o, &config);
        if (status != EXIT_OK)
                return status;
        _cleanup_free_ char *text = config_print(config);
        (void)fputs(text, stdout);
        return EXIT_OK;
}

/* The file that the configuration names is part of it: a daemon would not start without it. */
static int check_names(const struct options *o, const struct config *config)
{
        struct names *names;
        struct err err;

        if (names_new(&names, config->pci_ids, NULL, &err) < 0) {
                (void)fprintf(stderr, "%s:%u: pciIds: %s\n", o->config, config->pci_ids_line, err.msg);
                return EXIT_FAILED;
        }
        names_free(names);
        return EXIT_OK;
}

static int check_config(const struct options *o)
{
        _cleanup_(config_freep) struct config *config = NULL;

        int status = load_config(o, &config);
        if (status == EXIT_OK)
                status = check_names(o, config);
        if (status == EXIT_OK)
                (void)printf("%s: %s\n", o->config, config->rules.implicit ? "no rules: the implicit rule is in force" : "ok");
        return status;
}

/* mkdir -p with mode 0700 for what is made. */
static int make_dir(const char *path, struct err *err)
{
        _cleanup_free_ char *copy = xstrdup(path);
        struct stat st;

        for (char *slash = copy + 1; (slash = strchr(slash, '/')); slash++) {
                *slash = '\0';
                if (mkdir(copy, 0755) < 0 && errno != EEXIST)
                        return err_set(err, errno, "cannot make directory %s", copy);
                *slash = '/';
        }
        if (mkdir(copy, 0700) < 0 && errno != EEXIST)
                return err_set(err, errno, "cannot make directory %s", copy);
        if (stat(copy, &st) < 0 || !S_ISDIR(st.st_mode))
                return err_set(err, ENOTDIR, "%s", copy);
        return 0;
}

/* Blocked before any thread exists, so that gRPC's threads inherit it; read from the returned descriptor. */
static int block_signals(void)
{
        sigset_t set;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGTERM);
        (void)sigaddset(&set, SIGINT);
        (void)sigaddset(&set, SIGHUP);
        (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
        (void)signal(SIGPIPE, SIG_IGN);
        return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static char *hand_beside_us(void)
{
        char self[PATH_MAX];

        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        if (n < 0)
                return xstrdup("/usr/libexec/sluice-hand");
        self[n] = '\0';
        char *slash = strrchr(self, '/');
        return xasprintf("%.*s/sluice-hand", (int)(slash - self), self);
}

/* sluice-hand comes up while this process reads its configuration and takes its locks. */
static int start_hands(const struct options *o, const char *sim_dir, struct hands **ret, struct err *err)
{
        _cleanup_free_ char *program = o->hand ? xstrdup(o->hand) : hand_beside_us();
        const struct hands_config config = {
                .program = program,
                .sim_dir = sim_dir,
                .mounts = o->host_mounts,
                .lock_dir = o->run_dir,
        };

        return hands_start(ret, &config, err);
}

static int run(const struct options *o)
{
        _cleanup_free_ char *sim_dir = o->sim_dir ? xstrdup(o->sim_dir) : o->host ? xasprintf("%s/sim", o->run_dir) : NULL;
        _cleanup_(hands_freep) struct hands *hands = NULL;
        struct config *config = NULL;
        struct err err;
        struct locks locks;

        if (start_hands(o, sim_dir, &hands, &err) < 0)
                return fail("cannot start", &err);
        int status = load_config(o, &config);
        if (status != EXIT_OK)
                return status;
        _cleanup_close_ int signal_fd = block_signals();
        int r = signal_fd < 0 ? err_set(&err, errno, "cannot receive signals") : make_dir(o->state_dir, &err);
        if (r == 0)
                r = make_dir(o->run_dir, &err);
        if (r < 0) {
                config_free(config);
                return fail("cannot start", &err);
        }
        log_info("sluiced " SLUICE_VERSION " starts");
        const struct lock_dirs dirs = { .state = o->state_dir, .run = o->run_dir, .kubelet = o->kubelet_dir };
        r = locks_take(&locks, &dirs, o->lock_wait_s, signal_fd, &err);
        if (r < 0) {
                config_free(config);
                log_error("%s", err.msg);
                return r == -EINTR ? EXIT_OK : r == -EAGAIN ? EXIT_LOCKED : EXIT_FAILED;
        }
        if (r > 0)
                load_config_again(o, &config);

        if (sim_dir && (make_dir(sim_dir, &err) < 0 || sim_prepare(o->host, sim_dir, &err) < 0)) {
                config_free(config);
                locks_done(&locks);
                return fail("cannot make the simulated host", &err);
        }
        const struct agent_options agent = {
                .kubelet_dir = o->kubelet_dir,
                .state_dir = o->state_dir,
                .run_dir = o->run_dir,
                .config_path = o->config,
                .config = config,
                .sim_dir = sim_dir,
                .host_mounts = o->host_mounts,
                .sim_node = o->sim_nodes,
                .hands = TAKE_PTR(hands),
                .signal_fd = signal_fd,
        };
        status = agent_run(&agent);
        locks_done(&locks);
        return status;
}

/* Ten threads, of which two allocate: one arena does. A look at the host drops what the last one made: large blocks go back to
 * the kernel (glibc would raise its threshold after the first one), and so does the top of the heap. Before the first thread. */
static void tune_malloc(void)
{
        (void)mallopt(M_ARENA_MAX, 1);
        (void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
        (void)mallopt(M_TRIM_THRESHOLD, 64 << 10);
}

static int act(const struct options *options)
{
        switch (options->action) {
        case ACTION_HELP:
                options_help();
                return EXIT_OK;
        case ACTION_VERSION:
                (void)puts("sluiced " SLUICE_VERSION "\n"
                           "Sources: Apache-2.0. This program links libpci: as a whole it is GPL-3.0-or-later.");
                return EXIT_OK;
        case ACTION_CHECK_CONFIG:
                return check_config(options);
        case ACTION_PRINT_CONFIG:
                return print_config(options);
        case ACTION_RUN:
                return run(options);
        }
        return EXIT_USAGE;
}

static int sluiced_main(int argc, char **argv)
{
        struct options options;

        tune_malloc();
        (void)setenv("UV_THREADPOOL_SIZE", "1", 0); /* it writes records, one at a time */
        int status = options_parse(&options, argc, argv);
        if (status != 0)
                return status;
        log_setup("sluiced", options.log_level, options.log_format);
        status = act(&options);
        if (fflush(stdout) != 0 || ferror(stdout)) {
                (void)fprintf(stderr, "sluiced: cannot write the output: %s\n", strerror(errno));
                return EXIT_FAILED;
        }
        return status;
}

/* One file with two names: what both need, gRPC above all, is most of either. A copy under a third name is neither of them: it
 * might be meant as the tool, and would hand out devices. */
int main(int argc, char **argv)
{
        const char *path = argc > 0 ? argv[0] : "", *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

        if (str_has_prefix(name, "sluicectl"))
                return sluicectl_main(argc, argv);
        if (str_has_prefix(name, "sluiced"))
                return sluiced_main(argc, argv);
        (void)fprintf(stderr, "%s: this program is sluiced or sluicectl by its name: call it so\n", path);
        return EXIT_USAGE;
}
