/* SPDX-License-Identifier: Apache-2.0 */
/* `make bench`: the figures of docs/benchmarks.md. A release sluiced on made-up hosts against the stand-in kubelet, in one
 * run; PEER=/path/to/binary measures another device plugin the same way, beside it: both see the made-up host at /sys, /dev
 * and kubelet at /var/lib/kubelet in a mount namespace of the bench's own. Prints Markdown. Medians; machines are noisy. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "host.h"
#include "sim/sim.h"
#include "subject.h"

enum { STARTS = 15, ALLOCATES = 10000, SOAK_ALLOCATES = 30000, RESTARTS = 60, CHANGES = 25, IDLE_S = 60 };

/* ---- samples ---- */

struct samples {
        double *v;
        size_t n, cap;
};

static void add(struct samples *s, double v)
{
        GROW(s->v, s->n, s->cap);
        s->v[s->n++] = v;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return x < y ? -1 : x > y;
}

static double quantile(struct samples *s, double q)
{
        if (s->n == 0)
                return -1;
        qsort(s->v, s->n, sizeof(*s->v), by_value);
        return s->v[(size_t)(q * (double)(s->n - 1) + 0.5)];
}

static void done(struct samples *s)
{
        free(s->v);
        *s = (struct samples){ 0 };
}

/* ---- the figures ---- */

struct figures {
        double rss, rss_children, rss_soak, rss_slope, start8, start64, alloc50, alloc99, go50, go99, again50, again_worst, change50,
                change_worst;
        double idle_grpc, idle_ours, mem[4];
};

static double measure_start(struct subject *s, unsigned models, unsigned per_model)
{
        struct samples t = { 0 };

        make_host(models, per_model, true);
        for (int i = 0; i < STARTS; i++) {
                struct fk *k = kubelet();
                spawn(s, "[]");
                if (!await(k, models, models * per_model, models * per_model))
                        die("the devices were not listed");
                add(&t, now_ms() - *s->exec_ms);
                end(s, SIGTERM);
                (void)fk_stop(k);
        }
        double median = quantile(&t, 0.5);
        done(&t);
        return median;
}

static void first_device(struct fk *k, char *resource, char *id)
{
        char names[64][FK_RESOURCE_MAX];
        struct fk_device *devices = NULL;

        if (fk_resources(k, names, 64) == 0)
                die("no resource");
        str_format(resource, FK_RESOURCE_MAX, "%s", names[0]);
        if (fk_devices(k, resource, &devices) == 0)
                die("no device");
        str_format(id, FK_ID_MAX, "%s", devices[0].id);
        free(devices);
}

static void allocate(struct fk *k, unsigned times, struct samples *ret)
{
        char resource[FK_RESOURCE_MAX], id[FK_ID_MAX], text[FK_TEXT_MAX];

        first_device(k, resource, id);
        const char *ids[] = { id };
        for (unsigned i = 0; i < times; i++) {
                double start = now_ms();
                if (fk_raw_allocate(k, resource, ids, 1, text) != 0)
                        die(text);
                if (ret)
                        add(ret, now_ms() - start);
        }
}

/* False: it stopped registering. */
static bool restart_kubelet(struct fk *k, unsigned times, struct samples *ret)
{
        for (unsigned i = 0; i < times; i++) {
                if (!fk_restart(k, 1))
                        die("the stand-in kubelet does not restart");
                double start = now_ms();
                if (!await(k, BENCH_MODELS, 128, 128))
                        return false;
                add(ret, now_ms() - start);
        }
        return true;
}

static void change_devices(struct fk *k, struct samples *ret)
{
        _cleanup_free_ char *dir = xasprintf("%s/sim", work);
        struct sim *sim;
        struct err err;

        if (sim_open(&sim, dir, &err) < 0)
                die(err.msg);
        for (int i = 0; i < CHANGES; i++) {
                double start = now_ms();
                if (sim_unplug(sim, "0000:01:00.0", &err) < 0)
                        die(err.msg);
                if (!await(k, BENCH_MODELS, 128, 127))
                        die("the loss was not seen");
                add(ret, now_ms() - start);
                if (sim_plug(sim, "0000:01:00.0", &err) < 0)
                        die(err.msg);
                (void)usleep(400 * 1000); /* lint: the pause between two measurements */
                /* Plugged in it is on its first driver, as captured: vfio-pci. */
                if (!await(k, BENCH_MODELS, 128, 128))
                        die("the return was not seen");
                (void)usleep(400 * 1000); /* lint: as above */
        }
        sim_free(sim);
}

static double json_number(const char *json, const char *key)
{
        const char *at = strstr(json, key);

        return at && (at = strchr(at, ':')) ? strtod(at + 1, NULL) : -1;
}

/* The same Allocates seen by grpc-go, which is what kubelet is. -1 where the Go client is not built. */
static void measure_go(struct subject *s, struct figures *f)
{
        _cleanup_free_ char *program = xasprintf("%s/go-bench", bin);
        _cleanup_free_ char *command = xasprintf("'%s' -resources %d -n %d 2>/dev/null", program, BENCH_MODELS, ALLOCATES);
        char json[4096];

        f->go50 = f->go99 = -1;
        if (access(program, X_OK) != 0)
                return;
        progress(s, "allocating by grpc-go");
        run_command("rm -rf /var/lib/kubelet/device-plugins /var/lib/kubelet/plugins_registry #", "");
        (void)mkdir("/var/lib/kubelet/device-plugins", 0750);
        FILE *go = popen(command, "r"); /* lint: fixed command */
        spawn(s, "[]");
        size_t n = go ? fread(json, 1, sizeof(json) - 1, go) : 0;
        json[n] = '\0';
        end(s, SIGTERM);
        if (go && pclose(go) == 0) {
                f->go50 = json_number(json, "allocate_p50_ms");
                f->go99 = json_number(json, "allocate_p99_ms");
        }
}

/* The same again from a server that does nothing (canned.c): what is left is the client's and the socket's. -1: not built. */
static double measure_canned(void)
{
        _cleanup_free_ char *socket = xasprintf("%s/canned", work);
        _cleanup_free_ char *server = xasprintf("%s/canned", bin);
        _cleanup_free_ char *command = xasprintf("'%s/go-bench' -canned %s -n %d 2>/dev/null", bin, socket, ALLOCATES);
        char json[4096];

        pid_t pid = fork();
        if (pid == 0) {
                (void)execl(server, server, socket, NULL);
                _exit(127);
        }
        while (pid > 0 && access(socket, F_OK) != 0 && waitpid(pid, NULL, WNOHANG) == 0)
                (void)usleep(1000);
        FILE *go = popen(command, "r"); /* lint: fixed command */
        size_t n = go ? fread(json, 1, sizeof(json) - 1, go) : 0;
        json[n] = '\0';
        bool fine = go && pclose(go) == 0;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return fine ? json_number(json, "allocate_p50_ms") : -1;
}

static void measure(struct subject *s, struct figures *f)
{
        struct samples alloc = { 0 }, again = { 0 }, change = { 0 };
        double grpc0, ours0, grpc1, ours1;

        progress(s, "starts");
        f->start8 = measure_start(s, 1, 8);
        f->start64 = measure_start(s, 16, 4);

        make_host(BENCH_MODELS, 8, true);
        struct fk *k = kubelet();
        spawn(s, "[]");
        if (!await(k, BENCH_MODELS, 128, 128))
                die("128 devices were not listed");
        progress(s, "memory and idling");
        (void)sleep(2);
        f->rss = rss(s->pid);
        f->rss_children = rss_with_children(s->pid);
        switches(s->pid, &grpc0, &ours0);
        (void)sleep(IDLE_S);
        switches(s->pid, &grpc1, &ours1);
        f->idle_grpc = (grpc1 - grpc0) / IDLE_S;
        f->idle_ours = (ours1 - ours0) / IDLE_S;
        progress(s, "allocating");
        allocate(k, ALLOCATES, &alloc);
        f->alloc50 = quantile(&alloc, 0.5);
        f->alloc99 = quantile(&alloc, 0.99);
        progress(s, "kubelet restarts");
        bool survived = restart_kubelet(k, RESTARTS, &again);
        f->again50 = quantile(&again, 0.5);
        f->again_worst = survived ? quantile(&again, 1.0) : -1;
        if (!survived) {
                (void)fprintf(stderr, "bench: %s: no longer registers after %zu restarts, started anew\n", s->name, again.n);
                end(s, SIGTERM);
                spawn(s, "[]");
                if (!await(k, BENCH_MODELS, 128, 128))
                        die("128 devices were not listed again");
        }
        if (!s->is_peer) {
                progress(s, "devices that vanish");
                change_devices(k, &change);
                f->change50 = quantile(&change, 0.5);
                f->change_worst = quantile(&change, 1.0);
        }
        progress(s, "allocating on");
        allocate(k, SOAK_ALLOCATES - ALLOCATES, NULL);
        f->rss_soak = rss(s->pid);
        allocate(k, SOAK_ALLOCATES, NULL);
        double rss_end = rss(s->pid);
        f->rss_slope = rss_end > f->rss_soak ? rss_end - f->rss_soak : 0; /* less than before is no growth */
        end(s, SIGTERM);
        (void)fk_stop(k);
        done(&alloc);
        done(&again);
        done(&change);

        measure_go(s, f);
        progress(s, "many devices");
        static const unsigned per_model[] = { 8, 64, 256, 512 };
        for (size_t i = 0; i < N_ELEMENTS(per_model); i++) {
                make_host(1, per_model[i], true);
                k = kubelet();
                spawn(s, "[]");
                f->mem[i] = await(k, 1, per_model[i], per_model[i]) ? rss(s->pid) : -1;
                end(s, SIGTERM);
                (void)fk_stop(k);
        }
}

/* Eight unbound GPUs whose driver takes @each_ms to let go, bound at start. */
static double measure_bind(unsigned n, unsigned each_ms)
{
        _cleanup_free_ char *dir = xasprintf("%s/sim", work);
        struct subject s = { .name = "sluiced", .exec_ms = shared_ms() };
        char fault[64];
        struct sim *sim;
        struct err err;

        make_host(1, n, false);
        str_format(fault, sizeof(fault), "unbind * delay %u", each_ms);
        if (sim_open(&sim, dir, &err) < 0 || sim_fault(sim, fault, &err) < 0)
                die(err.msg);
        struct fk *k = kubelet();
        spawn(&s, "[{bind: at-start}]");
        double t = await(k, 1, n, n) ? now_ms() - *s.exec_ms : -1;
        end(&s, SIGTERM);
        (void)fk_stop(k);
        sim_free(sim);
        return t;
}

/* From exec to the first list of 64 GPUs of one model, by a daemon that was killed after it had bound and given all of them
 * (@claims), or had them bound by somebody else and given none. */
static double measure_recovery(bool claims)
{
        enum { GPUS = 64 };
        struct subject s = { .name = "sluiced", .exec_ms = shared_ms() };
        struct samples t = { 0 };
        char resource[FK_RESOURCE_MAX], text[FK_TEXT_MAX];

        make_host(1, GPUS, !claims);
        struct fk *k = kubelet();
        spawn(&s, "[{bind: on-allocate}]");
        if (!await(k, 1, GPUS, GPUS))
                die("the devices were not listed");
        (void)fk_resources(k, &resource, 1);
        for (int i = 0; claims && i < GPUS; i++) {
                _cleanup_free_ char *pod = xasprintf("pod-%d", i);
                if (fk_admit_one(k, pod, resource, 1, text) != 0)
                        die(text);
        }
        (void)sleep(1); /* what nobody waited for is written, too */
        for (int i = 0; i < STARTS; i++) {
                end(&s, SIGKILL);
                (void)fk_stop(k);
                k = kubelet();
                spawn(&s, "[{bind: on-allocate}]");
                if (!await(k, 1, GPUS, GPUS))
                        die("the devices were not listed again");
                add(&t, now_ms() - *s.exec_ms);
        }
        double median = quantile(&t, 0.5);
        done(&t);
        end(&s, SIGTERM);
        (void)fk_stop(k);
        return median;
}

/* "# figure NAME VALUE" of what ran before (tests/bench/guest.sh). -1: not there. */
static double told(const char *file, const char *name)
{
        char line[256], found[64];
        double value, ret = -1;

        FILE *f = file ? fopen(file, "r") : NULL;
        while (f && fgets(line, sizeof(line), f))
                if (sscanf(line, "# figure %63s %lf", found, &value) == 2 && streq(found, name)) /* lint: our own format */
                        ret = value;
        if (f)
                (void)fclose(f);
        return ret;
}

static double megabytes(const char *name)
{
        _cleanup_free_ char *path = xasprintf("%s/%s", bin, name);
        _cleanup_free_ char *stripped = xasprintf("%s/stripped", work);
        _cleanup_free_ char *command = xasprintf("strip -o '%s' '%s'", stripped, path);
        struct stat st;

        if (system(command) != 0 || stat(stripped, &st) < 0) /* lint: fixed command */
                return -1;
        return (double)st.st_size / 1e6;
}

static void row(const char *figure, const char *unit, double ours, double theirs, const char *recorded, const char *must, const char *aim)
{
        char other[64];

        char own[32];

        str_format(own, sizeof(own), ours < 0 ? "not measured" : "%.2f", ours);
        if (peer)
                str_format(other, sizeof(other), theirs < 0 ? "never" : "%.2f", theirs);
        else
                str_format(other, sizeof(other), "%s", recorded);
        (void)printf("| %s | %s | %s | %s | %s | %s |\n", figure, unit, own, other, must, aim);
}

static void print_machine(void)
{
        struct utsname u;
        char line[256], model[128] = "unknown processor";

        (void)uname(&u);
        FILE *f = fopen("/proc/cpuinfo", "r");
        while (f && fgets(line, sizeof(line), f))
                if (sscanf(line, "model name : %127[^\n]", model) == 1) /* lint: /proc's own format */
                        break;
        if (f)
                (void)fclose(f);
        /* The version only: the rest of the release is its builder's. */
        (void)printf("Machine: %s, %ld processors, Linux %.*s %s.\n\n", model, sysconf(_SC_NPROCESSORS_ONLN), (int)strcspn(u.release, "-"),
                     u.release, u.machine);
}

static void print(struct figures *a, struct figures *b, double bind1, double bind8, double canned, const double recovery[2],
                  const char *others)
{
        print_machine();
        (void)printf("| figure | unit | Sluice | %s | must | aim |\n|---|---|---|---|---|---|\n",
                     peer ? "peer, same run" : "peer, recorded elsewhere");
        row("RSS, 16 resources x 8 devices, registered", "MB", a->rss / 1024, b->rss / 1024, "17.1", "<= half the peer", "<= 6");
        row("the same with sluice-hand's processes", "MB", a->rss_children / 1024, b->rss_children / 1024, "", "", "");
        row("RSS after 30k Allocates and 60 kubelet restarts", "MB", a->rss_soak / 1024, b->rss_soak / 1024, "21.5", "flat", "flat");
        row("growth over 30k further Allocates", "MB", a->rss_slope / 1024, b->rss_slope / 1024, "", "about 0", "0");
        row("exec to first device list, 8 GPUs of 1 model", "ms", a->start8, b->start8, "27-42", "<= half the peer", "<= 10");
        row("exec to first device list, 64 GPUs of 16 models", "ms", a->start64, b->start64, "107", "<= half the peer", "<= 15");
        row("Allocate of a bound device, p50 (C client)", "ms", a->alloc50, b->alloc50, "", "", "");
        row("Allocate of a bound device, p99 (C client)", "ms", a->alloc99, b->alloc99, "", "", "");
        row("Allocate of a bound device, p50 (Go client)", "ms", a->go50, b->go50, "0.45-0.54", "<= half the peer", "<= 0.2");
        row("the same, from a server that sends bytes made beforehand", "ms", canned, canned, "", "", "");
        row("Allocate of a bound device, p99 (Go client)", "ms", a->go99, b->go99, "1.0-4", "<= half the peer", "<= 0.5");
        row("kubelet restart to re-registered, 16 resources, median", "ms", a->again50, b->again50, "1006", "<= 50", "<= 10");
        row("kubelet restart to re-registered, 16 resources, worst of 60", "ms", a->again_worst, b->again_worst, "", "<= 250", "");
        row("device removed to ListAndWatch update, median", "ms", a->change50, -1, "never", "<= 50", "<= 20");
        row("device removed to ListAndWatch update, worst", "ms", a->change_worst, -1, "never", "<= 50", "<= 20");
        row("idle wakeups a second, ours", "1/s", a->idle_ours, b->idle_ours, "0-16", "<= 0.5", "");
        row("idle wakeups a second, gRPC's own threads", "1/s", a->idle_grpc, b->idle_grpc, "", "about 2", "");
        row("RSS, 8 devices of one resource", "MB", a->mem[0] / 1024, b->mem[0] / 1024, "14", "", "");
        row("RSS, 64 devices", "MB", a->mem[1] / 1024, b->mem[1] / 1024, "", "", "");
        row("RSS, 256 devices", "MB", a->mem[2] / 1024, b->mem[2] / 1024, "22", "linear, slope below the peer's", "");
        row("RSS, 512 devices", "MB", a->mem[3] / 1024, b->mem[3] / 1024, "", "", "");
        row("1 GPU bound at start, its driver takes 300 ms to let go", "ms", bind1, -1, "does not bind", "", "");
        row("8 GPUs bound at start, each driver takes 300 ms", "ms", bind8, -1, "does not bind", "the time of the slowest one", "same");
        row("64 GPUs of 1 model listed after kill -9, nothing remembered", "ms", recovery[0], -1, "", "", "");
        row("the same with 64 claims remembered", "ms", recovery[1], -1, "", "", "");
        row("an empty plan to a warm hand and back, p50", "us", told(others, "hand-empty-p50"), -1, "does not bind", "", "");
        row("3 writes and their read-back by a warm hand, p50", "us", told(others, "hand-writes-p50"), -1, "does not bind", "", "");
        row("emulated machine, real kernel: 1 GPU bound by plain writes", "ms", told(others, "bind-1-kernel"), -1, "", "", "");
        row("the same by Allocate", "ms", told(others, "bind-1-allocate"), -1, "does not bind", "", "");
        row("8 GPUs bound by plain writes, side by side", "ms", told(others, "bind-8-kernel"), -1, "", "", "");
        row("the same by one Allocate", "ms", told(others, "bind-8-allocate"), -1, "does not bind", "", "");
        (void)printf(
                "\nStripped binaries (static-pie): sluiced %.2f MB (must <= 8, aim <= 6), sluice-hand %.2f MB. sluicectl is sluiced.\n",
                megabytes("sluiced"), megabytes("sluice-hand"));
}

int main(int argc, char **argv)
{
        struct subject sluice = { .name = "sluiced", .exec_ms = shared_ms() };
        struct subject other = { .name = "peer", .is_peer = true, .exec_ms = shared_ms() };
        struct figures ours = { 0 }, theirs = { 0 };

        bin = argc > 1 ? argv[1] : "build/release/bin";
        peer = argc > 2 && argv[2][0] ? argv[2] : NULL;
        /* Kubelet's directory is a constant of other plugins: a mount namespace of our own, nothing of it stays. */
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                die("a mount namespace is needed: run as root");
        (void)mkdir("/var/lib/kubelet", 0755);
        /* In memory, as /sys and /run are: on a disk the made-up host's thousands of files would be what is measured. */
        if (mount("kubelet", KUBELET, "tmpfs", 0, NULL) < 0 || !mkdtemp(work) || mount("bench", work, "tmpfs", 0, NULL) < 0)
                die("cannot make a kubelet directory");
        (void)signal(SIGPIPE, SIG_IGN);
        measure(&sluice, &ours);
        double bind1 = measure_bind(1, 300), bind8 = measure_bind(8, 300);
        double canned = measure_canned();
        if (peer)
                measure(&other, &theirs);
        const double recovery[] = { measure_recovery(false), measure_recovery(true) };
        print(&ours, &theirs, bind1, bind8, canned, recovery, argc > 3 ? argv[3] : NULL);
        (void)umount2(work, MNT_DETACH);
        (void)rmdir(work);
        return 0;
}
