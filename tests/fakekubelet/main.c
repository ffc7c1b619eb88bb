/* SPDX-License-Identifier: Apache-2.0 */
/* fakekubelet: a kubelet to try device plugins with, driven by lines on standard input.
 *
 * Every command prints one or more lines and ends with "ok" or "failed: <why>", so that a script can follow. Exit code 0
 * when no command failed. */
#include "fakekubelet.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

static const char usage[] =
        "usage: fakekubelet --dir DIR [--profile 1.26|1.30|...|1.37] [--trace]\n"
        "\n"
        "DIR is kubelet's root directory (device-plugins/, plugins_registry/ and pod-resources/ are made below it).\n"
        "Commands, one a line on standard input:\n"
        "  wait RESOURCE CAPACITY ALLOCATABLE [SECONDS]   until kubelet counts so (default 60)\n"
        "  resources                                      what is registered, with counts\n"
        "  list RESOURCE                                  the last list: id, health, NUMA nodes\n"
        "  counts RESOURCE                                capacity, allocatable, open streams, endpoint\n"
        "  admit POD RESOURCE N                           admission of a pod with one container, \"main\"\n"
        "  container POD NAME init|main RESOURCE=N[@NODES]...\n"
        "                                                 admission of one container of a pod, init containers first; NODES:\n"
        "                                                 the topology manager's hint, a number with a bit for each node\n"
        "  devices POD NAME RESOURCE                      those of a container\n"
        "  start POD [NAME]                               start of a container: PreStartContainer, environment, nodes\n"
        "  end POD                                        the pod is terminal: its devices are free\n"
        "  allocate RESOURCE ID...                        a raw Allocate\n"
        "  restart [REFUSE_MS] | down | up | wipe         kubelet's life\n"
        "  pods told|unknown|held|refused|garbage          how podresources answers from now on\n"
        "  quit\n";

enum { WORDS_MAX = 64 };

static bool fail(const char *text)
{
        (void)printf("failed: %s\n", text);
        return false;
}

static bool cmd_wait(struct fk *k, char **w, size_t n)
{
        uint64_t capacity, allocatable, seconds = 60;

        if (n < 4 || !str_to_u64(w[2], 10, 1000000, &capacity) || !str_to_u64(w[3], 10, 1000000, &allocatable) ||
            (n > 4 && !str_to_u64(w[4], 10, 3600, &seconds)))
                return fail("wait RESOURCE CAPACITY ALLOCATABLE [SECONDS]");
        if (fk_wait_devices(k, w[1], (unsigned)capacity, (unsigned)allocatable, (unsigned)seconds * 1000))
                return true;
        struct fk_counts c;
        (void)fk_counts(k, w[1], &c);
        (void)printf("capacity %u allocatable %u\n", c.capacity, c.allocatable);
        return fail("timed out");
}

static bool cmd_resources(struct fk *k)
{
        char names[256][FK_RESOURCE_MAX];
        size_t n = fk_resources(k, names, N_ELEMENTS(names));

        for (size_t i = 0; i < n && i < N_ELEMENTS(names); i++) {
                struct fk_counts c;
                (void)fk_counts(k, names[i], &c);
                (void)printf("%-48s capacity %u, allocatable %u\n", names[i], c.capacity, c.allocatable);
        }
        return true;
}

static bool cmd_counts(struct fk *k, char **w, size_t n)
{
        struct fk_counts c;

        if (n < 2)
                return fail("counts RESOURCE");
        if (!fk_counts(k, w[1], &c))
                return true;
        (void)printf("capacity %u\nallocatable %u\nstreams %u\nregistrations %u\nlists %u\nrunning %s\nendpoint %s\n", c.capacity,
                     c.allocatable, c.streams, c.registrations, c.lists, c.running ? "yes" : "no", c.endpoint);
        return true;
}

static bool cmd_list(struct fk *k, char **w, size_t n)
{
        struct fk_device *list;

        if (n < 2)
                return fail("list RESOURCE");
        size_t devices = fk_devices(k, w[1], &list);
        for (size_t i = 0; i < devices; i++) {
                (void)printf("%s %s", list[i].id, list[i].health);
                for (size_t j = 0; j < list[i].n_nodes; j++)
                        (void)printf(" node %lld", (long long)list[i].nodes[j]);
                (void)printf("\n");
        }
        free(list);
        return true;
}

static bool cmd_admit(struct fk *k, char **w, size_t n)
{
        char text[FK_TEXT_MAX];
        uint64_t count;
        char(*ids)[FK_ID_MAX];

        if (n < 4 || !str_to_u64(w[3], 10, 1000000, &count))
                return fail("admit POD RESOURCE N");
        if (fk_admit_one(k, w[1], w[2], (size_t)count, text) < 0)
                return fail(text);
        size_t got = fk_pod_devices(k, w[1], "main", w[2], &ids);
        for (size_t i = 0; i < got; i++)
                (void)printf("device %s\n", ids[i]);
        free(ids);
        return true;
}

static bool cmd_container(struct fk *k, char **w, size_t n)
{
        static const char usage_text[] = "container POD NAME init|main RESOURCE=N[@NODES]...";
        struct fk_ask asks[WORDS_MAX];
        char text[FK_TEXT_MAX];
        size_t n_asks = 0;

        if (n < 5 || (!streq(w[3], "init") && !streq(w[3], "main")))
                return fail(usage_text);
        for (size_t i = 4; i < n; i++) {
                uint64_t count, nodes = 0;
                char *at = strchr(w[i], '@'), *equals = strrchr(w[i], '=');
                if (at)
                        *at = '\0';
                if (!equals || !str_to_u64(equals + 1, 10, 1000000, &count) || (at && !str_to_u64(at + 1, 10, UINT64_MAX, &nodes)))
                        return fail(usage_text);
                *equals = '\0';
                asks[n_asks++] = (struct fk_ask){ .resource = w[i], .n = (size_t)count, .has_hint = at != NULL, .nodes = nodes };
        }
        if (fk_admit(k, w[1], w[2], streq(w[3], "init"), asks, n_asks, text) < 0)
                return fail(text);
        return true;
}

static bool cmd_devices(struct fk *k, char **w, size_t n)
{
        char(*ids)[FK_ID_MAX];

        if (n < 4)
                return fail("devices POD NAME RESOURCE");
        size_t got = fk_pod_devices(k, w[1], w[2], w[3], &ids);
        for (size_t i = 0; i < got; i++)
                (void)printf("%s\n", ids[i]);
        free(ids);
        return true;
}

static bool cmd_start(struct fk *k, char **w, size_t n)
{
        char text[FK_TEXT_MAX];
        struct fk_run run;

        if (n < 2)
                return fail("start POD [NAME]");
        if (fk_container_start(k, w[1], n > 2 ? w[2] : "main", &run, text) < 0)
                return fail(text);
        for (size_t i = 0; i < run.n_envs; i++)
                (void)printf("env %s=%s\n", run.envs[i].key, run.envs[i].value);
        for (size_t i = 0; i < run.n_devices; i++)
                (void)printf("node %s (host %s, %s)\n", run.devices[i].key, run.devices[i].value, run.permissions);
        for (size_t i = 0; i < run.n_mounts; i++)
                (void)printf("mount %s (host %s)\n", run.mounts[i].key, run.mounts[i].value);
        for (size_t i = 0; i < run.n_annotations; i++)
                (void)printf("annotation %s=%s\n", run.annotations[i].key, run.annotations[i].value);
        for (size_t i = 0; i < run.n_cdi; i++)
                (void)printf("cdi %s\n", run.cdi[i].key);
        fk_run_done(&run);
        return true;
}

static bool cmd_allocate(struct fk *k, char **w, size_t n)
{
        char text[FK_TEXT_MAX];

        if (n < 2)
                return fail("allocate RESOURCE ID...");
        int code = fk_raw_allocate(k, w[1], (const char *const *)&w[2], n - 2, text);
        return code == 0 ? true : fail(text);
}

static bool cmd_life(struct fk *k, char **w, size_t n)
{
        uint64_t refuse_ms = 0;

        if (n > 1 && !str_to_u64(w[1], 10, 60000, &refuse_ms))
                return fail("restart [REFUSE_MS]");
        if (streq(w[0], "down"))
                fk_down(k);
        else if (streq(w[0], "wipe"))
                fk_wipe(k);
        else if (!(streq(w[0], "up") ? fk_up(k, (unsigned)refuse_ms) : fk_restart(k, (unsigned)refuse_ms)))
                return fail("cannot listen");
        return true;
}

static bool cmd_pods(struct fk *k, char **w, size_t n)
{
        static const char *const modes[] = { "told", "unknown", "held", "refused", "garbage" };

        for (size_t i = 0; n == 2 && i < N_ELEMENTS(modes); i++)
                if (streq(w[1], modes[i])) {
                        fk_pods(k, (enum fk_pods)i);
                        return true;
                }
        return fail("pods told|unknown|held|refused|garbage");
}

static bool run(struct fk *k, char **w, size_t n)
{
        if (streq(w[0], "pods"))
                return cmd_pods(k, w, n);
        if (streq(w[0], "wait"))
                return cmd_wait(k, w, n);
        if (streq(w[0], "resources"))
                return cmd_resources(k);
        if (streq(w[0], "counts"))
                return cmd_counts(k, w, n);
        if (streq(w[0], "container"))
                return cmd_container(k, w, n);
        if (streq(w[0], "devices"))
                return cmd_devices(k, w, n);
        if (streq(w[0], "list"))
                return cmd_list(k, w, n);
        if (streq(w[0], "admit"))
                return cmd_admit(k, w, n);
        if (streq(w[0], "start"))
                return cmd_start(k, w, n);
        if (streq(w[0], "end")) {
                if (n < 2)
                        return fail("end POD");
                fk_pod_end(k, w[1]);
                return true;
        }
        if (streq(w[0], "allocate"))
                return cmd_allocate(k, w, n);
        if (streq(w[0], "restart") || streq(w[0], "up") || streq(w[0], "down") || streq(w[0], "wipe"))
                return cmd_life(k, w, n);
        return fail("unknown command");
}

static size_t split(char *line, char **words)
{
        char *save = NULL;
        size_t n = 0;

        for (char *w = strtok_r(line, " \t\n", &save); w && n < WORDS_MAX; w = strtok_r(NULL, " \t\n", &save))
                words[n++] = w;
        return n;
}

static bool follow(struct fk *k)
{
        _cleanup_free_ char *line = NULL;
        size_t size = 0;
        bool ok = true;

        while (getline(&line, &size, stdin) >= 0) {
                char *words[WORDS_MAX];
                size_t n = split(line, words);
                if (n == 0 || words[0][0] == '#')
                        continue;
                if (streq(words[0], "quit"))
                        break;
                if (run(k, words, n))
                        (void)printf("ok\n");
                else
                        ok = false;
                (void)fflush(stdout);
        }
        return ok;
}

int main(int argc, char **argv)
{
        static const struct option options[] = { { "dir", required_argument, NULL, 'd' },
                                                 { "profile", required_argument, NULL, 'p' },
                                                 { "trace", no_argument, NULL, 't' },
                                                 { 0 } };
        const char *dir = NULL, *profile = "1.34";
        bool trace = false;

        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
                if (c == 'd')
                        dir = optarg;
                else if (c == 'p')
                        profile = optarg;
                else if (c == 't')
                        trace = true;
                else
                        dir = NULL, optind = argc, profile = "";
        }
        if (!dir || !fk_profile(profile) || optind != argc) {
                (void)fputs(usage, stderr);
                return 2;
        }
        (void)signal(SIGPIPE, SIG_IGN);
        struct fk *k = fk_start(dir, fk_profile(profile));
        if (!k) {
                perror(dir);
                return 1;
        }
        if (trace)
                fk_set_trace(k, true);
        (void)printf("kubelet %s is up below %s\n", profile, dir);
        (void)fflush(stdout);
        bool ok = follow(k);
        return fk_stop(k) && ok ? 0 : 1;
}
