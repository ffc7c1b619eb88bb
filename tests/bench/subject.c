/* SPDX-License-Identifier: Apache-2.0 */
#include "subject.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "host.h"
#include "sim/sim.h"

enum { WAIT_MS = 15000 };

char work[] = "/tmp/sluice-bench-XXXXXX";
const char *bin, *peer;

double now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

void die(const char *what)
{
        (void)fprintf(stderr, "bench: %s\n", what);
        exit(1);
}

double *shared_ms(void)
{
        void *page = mmap(NULL, sizeof(double), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (page == MAP_FAILED)
                die("no shared page");
        return page;
}

void progress(const struct subject *s, const char *what)
{
        (void)fprintf(stderr, "bench: %s: %s\n", s->name, what);
}

void run_command(const char *fmt, const char *arg)
{
        _cleanup_free_ char *command = xasprintf("%s '%s'", fmt, arg);

        if (system(command) != 0) /* lint: the bench's own directory */
                die(command);
}

void make_host(unsigned models, unsigned per_model, bool bound)
{
        _cleanup_strbuf_ struct strbuf text = { 0 };
        _cleanup_free_ char *capture = xasprintf("%s/host.capture", work);
        _cleanup_free_ char *sim = xasprintf("%s/sim", work), *state = xasprintf("%s/state", work);
        struct err err;

        run_command("rm -rf", sim);
        run_command("rm -rf", state);
        bench_host(&text, models, per_model, bound);
        FILE *f = fopen(capture, "w");
        if (!f || fwrite(text.text, 1, text.len, f) != text.len || fclose(f) != 0)
                die("cannot write the host");
        if (sim_prepare(capture, sim, &err) < 0)
                die(err.msg);
}

void spawn(struct subject *s, const char *rules)
{
        _cleanup_free_ char *config = xasprintf("%s/config.yaml", work);
        _cleanup_free_ char *sluiced = xasprintf("%s/sluiced", bin);
        _cleanup_free_ char *sim = xasprintf("%s/sim", work), *state = xasprintf("%s/state", work), *run = xasprintf("%s/run", work);
        _cleanup_free_ char *log = xasprintf("%s/%s.log", work, s->name);

        FILE *f = fopen(config, "w");
        if (!f || fprintf(f, "apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\nrules: %s\n", rules) < 0 || fclose(f) != 0)
                die("cannot write the configuration");
        s->pid = fork();
        if (s->pid != 0)
                return;
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        (void)dup2(fd, STDERR_FILENO);
        (void)dup2(fd, STDOUT_FILENO);
        if (s->is_peer) {
                _cleanup_free_ char *sys = xasprintf("%s/sim/sys", work), *dev = xasprintf("%s/sim/dev/vfio", work);
                if (unshare(CLONE_NEWNS) < 0 || mount(sys, "/sys", NULL, MS_BIND | MS_REC, NULL) < 0)
                        _exit(126);
                (void)mkdir("/dev/vfio", 0755);
                (void)mount(dev, "/dev/vfio", NULL, MS_BIND, NULL);
                *s->exec_ms = now_ms();
                (void)execl(peer, peer, (char *)NULL);
        } else {
                *s->exec_ms = now_ms();
                (void)execl(sluiced, "sluiced", "--sim-dir", sim, "--kubelet-dir", KUBELET, "--state-dir", state, "--run-dir", run,
                            "--config", config, (char *)NULL);
        }
        _exit(127);
}

void end(struct subject *s, int signal_number)
{
        if (s->pid > 0) {
                (void)kill(s->pid, signal_number);
                (void)waitpid(s->pid, NULL, 0);
        }
        s->pid = 0;
}

struct fk *kubelet(void)
{
        run_command("rm -rf /var/lib/kubelet/device-plugins /var/lib/kubelet/plugins_registry #", "");
        struct fk *k = fk_start(KUBELET, fk_profile("1.34"));
        if (!k)
                die("the stand-in kubelet cannot listen");
        return k;
}

struct total {
        unsigned resources, capacity, allocatable;
};

static bool has_total(struct fk *k, void *ctx)
{
        const struct total *want = ctx;
        char names[64][FK_RESOURCE_MAX];
        struct fk_counts c;
        unsigned capacity = 0, allocatable = 0;

        size_t n = fk_resources(k, names, 64);
        for (size_t i = 0; i < n && i < 64; i++)
                if (fk_counts(k, names[i], &c) && c.running) {
                        capacity += c.capacity;
                        allocatable += c.allocatable;
                }
        return n == want->resources && capacity == want->capacity && allocatable == want->allocatable;
}

bool await(struct fk *k, unsigned resources, unsigned capacity, unsigned allocatable)
{
        struct total want = { resources, capacity, allocatable };

        return fk_wait(k, WAIT_MS, has_total, &want);
}

double rss(pid_t pid)
{
        _cleanup_free_ char *path = xasprintf("/proc/%d/status", (int)pid);
        char line[256];
        double kib = -1;

        FILE *f = fopen(path, "r");
        while (f && fgets(line, sizeof(line), f))
                if (sscanf(line, "VmRSS: %lf", &kib) == 1) /* lint: /proc's own format */
                        break;
        if (f)
                (void)fclose(f);
        return kib;
}

double rss_with_children(pid_t pid)
{
        double sum = rss(pid);

        DIR *d = opendir("/proc");
        for (struct dirent *e; d && (e = readdir(d));) {
                uint64_t id;
                int parent = 0;
                if (!str_to_u64(e->d_name, 10, INT32_MAX, &id))
                        continue;
                _cleanup_free_ char *path = xasprintf("/proc/%s/stat", e->d_name);
                FILE *f = fopen(path, "r");
                if (f && fscanf(f, "%*d (%*[^)]) %*c %d", &parent) == 1 && parent == pid)
                        sum += rss((pid_t)id);
                if (f)
                        (void)fclose(f);
        }
        if (d)
                (void)closedir(d);
        return sum;
}

void switches(pid_t pid, double *ret_grpc, double *ret_ours)
{
        _cleanup_free_ char *tasks = xasprintf("/proc/%d/task", (int)pid);

        *ret_grpc = *ret_ours = 0;
        DIR *d = opendir(tasks);
        for (struct dirent *e; d && (e = readdir(d));) {
                _cleanup_free_ char *path = xasprintf("%s/%s/status", tasks, e->d_name);
                char line[256], name[64] = "";
                double n = 0;
                FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
                while (f && fgets(line, sizeof(line), f)) {
                        (void)sscanf(line, "Name: %63s", name);
                        (void)sscanf(line, "voluntary_ctxt_switches: %lf", &n);
                }
                if (f)
                        (void)fclose(f);
                bool grpc = str_has_prefix(name, "grpc_") || str_has_prefix(name, "timer_m") || str_has_prefix(name, "event_en") ||
                            str_has_prefix(name, "default-") || str_has_prefix(name, "resolver");
                *(grpc ? ret_grpc : ret_ours) += n;
        }
        if (d)
                (void)closedir(d);
}
