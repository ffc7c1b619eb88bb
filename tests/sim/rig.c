/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "tmp.h"

enum { SOURCE_MAX = 8 * 1024 * 1024 };

extern char **environ;

int rig_setup(void **state)
{
        struct rig *rig = xcalloc(1, sizeof(*rig));

        str_format(rig->dir, sizeof(rig->dir), "%s/sluice-sim-XXXXXX", tmp_base());
        if (!mkdtemp(rig->dir))
                return -1;
        str_format(rig->kubelet_dir, sizeof(rig->kubelet_dir), "%s/kubelet", rig->dir);
        str_format(rig->state_dir, sizeof(rig->state_dir), "%s/state", rig->dir);
        str_format(rig->run_dir, sizeof(rig->run_dir), "%s/run", rig->dir);
        str_format(rig->sim_dir, sizeof(rig->sim_dir), "%s/host", rig->dir);
        str_format(rig->config, sizeof(rig->config), "%s/config.yaml", rig->dir);
        str_format(rig->log, sizeof(rig->log), "%s/log", rig->dir);
        *state = rig;
        return 0;
}

static char *read_log(const char *path)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct strbuf b = { 0 };
        char chunk[4096];

        for (ssize_t n; fd >= 0 && (n = read(fd, chunk, sizeof(chunk))) > 0;)
                strbuf_add_n(&b, chunk, (size_t)n);
        return strbuf_take(&b);
}

/* As a comment of TAP, the last lines. */
static void show_log(const struct rig *rig)
{
        _cleanup_free_ char *text = read_log(rig->log);
        size_t n = strlen(text);

        for (const char *line = n > 6000 ? text + n - 6000 : text; *line;) {
                size_t len = strcspn(line, "\n");
                (void)printf("# %.*s\n", (int)len, line);
                line += len + (line[len] == '\n');
        }
}

static void remove_tree(const char *path)
{
        char command[128];

        str_format(command, sizeof(command), "rm -rf %s", path);
        if (system(command) != 0)
                (void)fprintf(stderr, "# cannot remove %s\n", path);
}

int rig_teardown(void **state)
{
        struct rig *rig = *state;

        if (rig->pid > 0) {
                (void)kill(rig->pid, SIGKILL);
                (void)waitpid(rig->pid, NULL, 0);
        }
        (void)fk_stop(rig->k);
        sim_free(rig->sim);
        if (!rig->over)
                show_log(rig);
        remove_tree(rig->dir);
        free(rig);
        return 0;
}

void rig_config(struct rig *rig, const char *text)
{
        struct err err;

        ASSERT_OK(fs_replace(AT_FDCWD, rig->config, text, strlen(text), 0644, &err), &err);
}

void rig_prepare(struct rig *rig, const char *fixture, const char *config)
{
        struct err err;

        str_format(rig->host, sizeof(rig->host), "tests/fixtures/hosts/%s.capture", fixture);
        assert_int_equal(mkdir(rig->kubelet_dir, 0755), 0);
        assert_int_equal(mkdir(rig->sim_dir, 0755), 0);
        ASSERT_OK(sim_prepare(rig->host, rig->sim_dir, &err), &err);
        ASSERT_OK(sim_open(&rig->sim, rig->sim_dir, &err), &err);
        rig_config(rig, config ? config : CONFIG);
}

void rig_kubelet(struct rig *rig, const char *profile)
{
        rig->k = fk_start(rig->kubelet_dir, fk_profile(profile));
        assert_non_null(rig->k);
}

pid_t rig_spawn(struct rig *rig, const char *log)
{
        const char *bin = getenv("SLUICE_BIN") ? getenv("SLUICE_BIN") : "build/asan/bin", *suffix = rig->suffix ? rig->suffix : "";
        _cleanup_free_ char *program = rig->program ? xstrdup(rig->program) : xasprintf("%s/sluiced%s", bin, suffix);
        _cleanup_free_ char *hand = xasprintf("%s/sluice-hand%s", bin, suffix);
        char *argv[] = { program,
                         (char *)"--kubelet-dir",
                         rig->kubelet_dir,
                         (char *)"--state-dir",
                         rig->state_dir,
                         (char *)"--run-dir",
                         rig->run_dir,
                         (char *)"--config",
                         rig->config,
                         (char *)"--host",
                         rig->host,
                         (char *)"--sim-dir",
                         rig->sim_dir,
                         (char *)"--hand",
                         hand,
                         NULL };
        posix_spawn_file_actions_t actions;
        pid_t pid;

        (void)posix_spawn_file_actions_init(&actions);
        (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        (void)posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        (void)posix_spawn_file_actions_adddup2(&actions, 1, 2);
        int r = posix_spawn(&pid, program, &actions, NULL, argv, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
        if (r != 0)
                fail_msg("cannot start %s: %s", program, strerror(r));
        return pid;
}

void rig_daemon(struct rig *rig)
{
        assert_int_equal(rig->pid, 0);
        rig->pid = rig_spawn(rig, rig->log);
}

void rig_open(struct rig *rig, const char *fixture, const char *profile, const char *config)
{
        rig_prepare(rig, fixture, config);
        if (profile)
                rig_kubelet(rig, profile);
        rig_daemon(rig);
}

/* Ending */

int rig_reap(pid_t pid, unsigned timeout_ms)
{
        int status;

        for (int64_t until = clock_ms() + timeout_ms;;) {
                pid_t got = waitpid(pid, &status, WNOHANG);
                if (got == pid)
                        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
                assert_int_equal(got, 0);
                if (clock_ms() > until)
                        return -1;
                (void)usleep(2000);
        }
}

int rig_end(struct rig *rig, int signal)
{
        assert_true(rig->pid > 0);
        assert_int_equal(kill(rig->pid, signal), 0);
        int status = rig_reap(rig->pid, RIG_SOON_MS);
        if (status < 0)
                fail_msg("sluiced did not end within %d ms of signal %d", RIG_SOON_MS, signal);
        rig->pid = 0;
        return status;
}

static void assert_clean_log(const char *path)
{
        static const char *const bad[] = { "AddressSanitizer", "LeakSanitizer",    "runtime error:",
                                           "ThreadSanitizer",  "assertion failed", "Assertion `" };
        _cleanup_free_ char *text = read_log(path);

        for (size_t i = 0; i < N_ELEMENTS(bad); i++)
                if (strstr(text, bad[i]))
                        fail_msg("the log says \"%s\"", bad[i]);
}

static void assert_no_sockets(const char *kubelet_dir, const char *name)
{
        _cleanup_free_ char *path = xasprintf("%s/%s", kubelet_dir, name);
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct err err;

        if (fs_exists(AT_FDCWD, path) != 1)
                return;
        ASSERT_OK(fs_list(AT_FDCWD, path, &list, &err), &err);
        for (size_t i = 0; i < list.n; i++)
                if (str_has_suffix(list.names[i], ".sock") && !streq(list.names[i], "kubelet.sock"))
                        fail_msg("%s/%s is left", path, list.names[i]);
}

void rig_stop(struct rig *rig)
{
        if (rig->pid)
                assert_int_equal(rig_end(rig, SIGTERM), 0);
        assert_clean_log(rig->log);
        assert_no_sockets(rig->kubelet_dir, "device-plugins");
        assert_no_sockets(rig->kubelet_dir, "plugins_registry");
        assert_no_sockets(rig->kubelet_dir, "plugins/sluice");
        if (rig->k) {
                bool ok = fk_stop(rig->k);
                rig->k = NULL;
                assert_true(ok);
        }
        rig->over = true;
}

/* Asking */

void rig_ready(struct rig *rig, const char *resource, unsigned capacity, unsigned allocatable)
{
        if (fk_wait_devices(rig->k, resource, capacity, allocatable, RIG_SOON_MS))
                return;
        struct fk_counts c = rig_counts(rig, resource);
        fail_msg("%s has capacity %u, allocatable %u, not %u and %u (%u registrations, %u streams)", resource, c.capacity, c.allocatable,
                 capacity, allocatable, c.registrations, c.streams);
}

unsigned rig_log_count(struct rig *rig, const char *text)
{
        _cleanup_free_ char *log = read_log(rig->log);
        unsigned n = 0;

        for (const char *at = log; (at = strstr(at, text)); at += strlen(text))
                n++;
        return n;
}

bool rig_logged(struct rig *rig, const char *text, unsigned timeout_ms)
{
        for (int64_t until = clock_ms() + timeout_ms; clock_ms() <= until; (void)usleep(5000))
                if (rig_log_count(rig, text) > 0)
                        return true;
        return false;
}

struct fk_counts rig_counts(struct rig *rig, const char *resource)
{
        struct fk_counts c;

        (void)fk_counts(rig->k, resource, &c);
        return c;
}

const char *rig_health(struct rig *rig, const char *resource, const char *id)
{
        struct fk_device *list;
        size_t n = fk_devices(rig->k, resource, &list);
        const char *health = "";

        for (size_t i = 0; i < n; i++)
                if (streq(list[i].id, id))
                        health = streq(list[i].health, "Healthy") ? "Healthy" : "Unhealthy";
        free(list);
        return health;
}

struct wanted_health {
        struct rig *rig;
        const char *resource, *id, *health;
};

static bool has_health(struct fk *k, void *ctx)
{
        const struct wanted_health *w = ctx;

        (void)k;
        return streq(rig_health(w->rig, w->resource, w->id), w->health);
}

bool rig_wait_health(struct rig *rig, const char *resource, const char *id, const char *health, unsigned timeout_ms)
{
        struct wanted_health w = { rig, resource, id, health };

        return fk_wait(rig->k, timeout_ms, has_health, &w);
}

/* The simulated world */

static char *host_path(const struct rig *rig, const char *path)
{
        return xasprintf("%s/%s", rig->sim_dir, path);
}

bool rig_exists(struct rig *rig, const char *path)
{
        _cleanup_free_ char *full = host_path(rig, path);

        return fs_exists(AT_FDCWD, full) == 1;
}

void rig_link(struct rig *rig, const char *path, char *out, size_t size)
{
        _cleanup_free_ char *full = host_path(rig, path);
        struct err err;

        if (fs_readlink_last(AT_FDCWD, full, out, size, &err) < 0)
                out[0] = '\0';
}

void rig_driver(struct rig *rig, const char *bdf, char *out, size_t size)
{
        char path[128];

        str_format(path, sizeof(path), "sys/bus/pci/devices/%s/driver", bdf);
        rig_link(rig, path, out, size);
}

void rig_fault(struct rig *rig, const char *line)
{
        struct err err;

        ASSERT_OK(sim_fault(rig->sim, line, &err), &err);
}

/* What there is, and what the simulated kernel knows that there was. */
void rig_doubt_resets(const char *sim_dir)
{
        static const char says[] = "/reset_method = ";
        _cleanup_free_ char *devices = xasprintf("%s/sys/bus/pci/devices", sim_dir), *path = xasprintf("%s/.sim/source.capture", sim_dir);
        _cleanup_free_ char *source = xcalloc(1, SOURCE_MAX);
        _cleanup_strbuf_ struct strbuf doubted = { 0 };
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct err err;
        size_t n;

        ASSERT_OK(fs_read(AT_FDCWD, path, source, SOURCE_MAX, &n, &err), &err);
        const char *rest = source;
        for (const char *at; (at = memmem(rest, n - (size_t)(rest - source), says, strlen(says))); rest = at + strlen(says)) {
                strbuf_add_n(&doubted, rest, (size_t)(at - rest) + strlen(says));
                strbuf_add(&doubted, "pm ");
        }
        strbuf_add_n(&doubted, rest, n - (size_t)(rest - source));
        ASSERT_OK(fs_replace(AT_FDCWD, path, doubted.text, doubted.len, 0644, &err), &err);
        ASSERT_OK(fs_list(AT_FDCWD, devices, &list, &err), &err);
        for (size_t i = 0; i < list.n; i++) {
                _cleanup_free_ char *file = xasprintf("%s/%s/reset_method", devices, list.names[i]);
                char methods[64], text[80];
                if (fs_read_value(AT_FDCWD, file, methods, sizeof(methods), &err) < 0)
                        continue;
                str_format(text, sizeof(text), "pm %s\n", methods);
                ASSERT_OK(fs_replace(AT_FDCWD, file, text, strlen(text), 0644, &err), &err);
        }
}

void rig_unplug(struct rig *rig, const char *bdf)
{
        struct err err;

        ASSERT_OK(sim_unplug(rig->sim, bdf, &err), &err);
}

void rig_plug(struct rig *rig, const char *bdf)
{
        struct err err;

        ASSERT_OK(sim_plug(rig->sim, bdf, &err), &err);
}

static void add_tree(struct strbuf *b, const char *path)
{
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct err err;
        struct stat st;

        if (lstat(path, &st) < 0)
                return;
        strbuf_addf(b, "%s %o ", path, st.st_mode);
        if (S_ISLNK(st.st_mode)) {
                char target[512] = "";
                (void)fs_readlink(AT_FDCWD, path, target, sizeof(target), &err);
                strbuf_addf(b, "-> %s", target);
        } else if (S_ISREG(st.st_mode)) {
                _cleanup_free_ char *text = read_log(path);
                strbuf_add(b, text);
        }
        strbuf_add(b, "\n");
        if (!S_ISDIR(st.st_mode) || fs_list(AT_FDCWD, path, &list, &err) < 0)
                return;
        for (size_t i = 0; i < list.n; i++) {
                _cleanup_free_ char *below = xasprintf("%s/%s", path, list.names[i]);
                add_tree(b, below);
        }
}

char *rig_tree(struct rig *rig)
{
        static const char *const tops[] = { "sys", "proc", "dev" };
        struct strbuf b = { 0 };

        for (size_t i = 0; i < N_ELEMENTS(tops); i++) {
                _cleanup_free_ char *path = host_path(rig, tops[i]);
                add_tree(&b, path);
        }
        return strbuf_take(&b);
}

/* Pods */

struct fk_run rig_run(struct rig *rig, const char *pod, const char *resource, size_t n)
{
        struct fk_run run;

        if (fk_admit_one(rig->k, pod, resource, n, rig->text) < 0)
                fail_msg("%s is not admitted: %s", pod, rig->text);
        if (fk_container_start(rig->k, pod, "main", &run, rig->text) < 0)
                fail_msg("%s does not start: %s", pod, rig->text);
        return run;
}

bool rig_has_node(const struct fk_run *run, const char *path)
{
        for (size_t i = 0; i < run->n_devices; i++)
                if (streq(run->devices[i].key, path) && streq(run->devices[i].value, path))
                        return true;
        return false;
}

pid_t rig_worker(struct rig *rig, const char *card)
{
        _cleanup_free_ char *path = xasprintf("%s/card-%s.lock", rig->run_dir, card);
        char line[256];
        struct stat st;
        long pid = 0;

        assert_int_equal(stat(path, &st), 0);
        _cleanup_free_ char *tail = xasprintf(":%lu 0 EOF", (unsigned long)st.st_ino);
        FILE *f = fopen("/proc/locks", "re");
        assert_non_null(f);
        while (pid == 0 && fgets(line, sizeof(line), f)) {
                if (strstr(line, tail) && !strstr(line, "->")) /* "->": one who waits */
                        (void)sscanf(line, "%*s FLOCK %*s %*s %ld", &pid);
        }
        (void)fclose(f);
        return (pid_t)pid;
}

int rig_ctl(struct rig *rig, const char *arguments, char *text, size_t size)
{
        const char *bin = getenv("SLUICE_BIN");
        _cleanup_free_ char *out = xasprintf("%s/said", rig->dir);
        _cleanup_free_ char *command = xasprintf("exec %s/sluicectl %s", bin ? bin : "build/asan/bin", arguments);
        char *argv[] = { (char *)"sh", (char *)"-c", command, NULL };
        posix_spawn_file_actions_t actions;
        struct err err;
        size_t n;
        pid_t pid;

        (void)posix_spawn_file_actions_init(&actions);
        (void)posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        (void)posix_spawn_file_actions_adddup2(&actions, 1, 2);
        assert_int_equal(posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, environ), 0);
        (void)posix_spawn_file_actions_destroy(&actions);
        int status = rig_reap(pid, RIG_SOON_MS);
        ASSERT_OK(fs_read(AT_FDCWD, out, text, size, &n, &err), &err);
        if (strstr(text, "Sanitizer"))
                fail_msg("%s", text);
        return status;
}
