/* SPDX-License-Identifier: Apache-2.0 */
/* `make demo`: the main job, told step by step, on a captured host with a stand-in kubelet. Everything but kubelet and the
 * kernel under the write call is the product: sluiced, sluice-hand, sluicectl, their sockets and messages. It checks what it
 * shows: a step that does not happen ends the demo with status 1. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "fakekubelet.h"
#include "sim/sim.h"

#define RESOURCE "nvidia.com/AD102GL_L40S"
#define LOST     "0000:bb:00.0"

enum { WAIT_MS = 20000 };

static char work[] = "/tmp/sluice-demo-XXXXXX";
static pid_t daemon_pid;

static void tidy_up(void)
{
        if (daemon_pid > 0) {
                (void)kill(daemon_pid, SIGTERM);
                (void)waitpid(daemon_pid, NULL, 0);
        }
        _cleanup_free_ char *command = xasprintf("rm -rf '%s'", work);
        if (system(command) != 0) /* lint: the demo's own directory */
                (void)fprintf(stderr, "demo: could not remove %s\n", work);
}

__attribute__((noreturn, format(printf, 1, 2))) static void give_up(const char *fmt, ...)
{
        va_list args;

        (void)fflush(stdout);
        va_start(args, fmt);
        (void)fprintf(stderr, "demo: ");
        (void)vfprintf(stderr, fmt, args);
        (void)fprintf(stderr, "\n");
        va_end(args);
        _cleanup_free_ char *log = xasprintf("tail -n 20 '%s/sluiced.log' >&2", work);
        (void)!system(log); /* lint: shows the end of the log */
        tidy_up();
        exit(1);
}

static void title(int n, const char *text)
{
        bool bold = isatty(STDOUT_FILENO) == 1;

        (void)printf("\n%s%d. %s%s\n", bold ? "\033[1m" : "", n, text, bold ? "\033[0m" : "");
        (void)fflush(stdout);
}

/* Prints what @command prints, each line after @before. It must succeed, and @must must be on @times lines of it. */
static void show(const char *command, const char *before, const char *must, unsigned times)
{
        char line[1024];
        unsigned found = 0;

        (void)fflush(stdout);
        FILE *out = popen(command, "re"); /* lint: fixed commands of the demo */
        while (out && fgets(line, sizeof(line), out)) {
                found += strstr(line, must) != NULL;
                (void)printf("%s%s", before, line);
        }
        if (!out || pclose(out) != 0)
                give_up("failed: %s", command);
        if (found != times)
                give_up("\"%s\" is there %u times, not %u", must, found, times);
}

static void start_daemon(const char *bin, const char *host)
{
        _cleanup_free_ char *program = xasprintf("%s/sluiced", bin);
        _cleanup_free_ char *log = xasprintf("%s/sluiced.log", work);
        _cleanup_free_ char *kubelet = xasprintf("%s/kubelet", work);
        _cleanup_free_ char *state = xasprintf("%s/state", work);
        _cleanup_free_ char *run = xasprintf("%s/run", work);
        _cleanup_free_ char *sim = xasprintf("%s/sim", work);

        (void)printf("   $ sluiced --host l40s-8.capture --config config.yaml ...\n");
        (void)fflush(stdout);
        daemon_pid = fork();
        if (daemon_pid == 0) {
                int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
                (void)dup2(fd, STDERR_FILENO);
                (void)execl(program, "sluiced", "--host", host, "--sim-dir", sim, "--kubelet-dir", kubelet, "--state-dir", state,
                            "--run-dir", run, "--config", "tests/demo/config.yaml", (char *)NULL);
                _exit(127);
        }
}

static void expect(struct fk *k, unsigned capacity, unsigned allocatable)
{
        if (!fk_wait_devices(k, RESOURCE, capacity, allocatable, WAIT_MS))
                give_up("kubelet did not get to %u devices, %u of them healthy", capacity, allocatable);
        (void)printf("   kubelet: %s  capacity %u, allocatable %u\n", RESOURCE, capacity, allocatable);
}

static void show_driver(const char *bdf, const char *want)
{
        _cleanup_free_ char *path = xasprintf("%s/sim/sys/bus/pci/devices/%s/driver", work, bdf);
        char target[256];

        ssize_t n = readlink(path, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        const char *slash = strrchr(target, '/');
        const char *driver = slash ? slash + 1 : "none";
        (void)printf("   now: %s is on driver %s\n", bdf, driver);
        if (!streq(driver, want))
                give_up("that is not %s", want);
}

static void give_to_pod(struct fk *k)
{
        char text[FK_TEXT_MAX], (*ids)[FK_ID_MAX] = NULL;
        struct fk_run run;

        int64_t start = clock_ms();
        if (fk_admit_one(k, "virt-launcher-vm1", RESOURCE, 2, text) < 0)
                give_up("the pod was refused: %s", text);
        (void)printf("   pod virt-launcher-vm1 asks for 2 %s: admitted after %lld ms\n", RESOURCE, (long long)(clock_ms() - start));
        size_t n = fk_pod_devices(k, "virt-launcher-vm1", "main", RESOURCE, &ids);
        for (size_t i = 0; i < n; i++)
                show_driver(ids[i], "vfio-pci");
        free(ids);
        if (n != 2)
                give_up("the pod has %zu GPUs, not 2", n);
        if (fk_container_start(k, "virt-launcher-vm1", "main", &run, text) < 0)
                give_up("the container was refused: %s", text);
        (void)printf("   what KubeVirt's virt-launcher finds in its container:\n");
        for (size_t i = 0; i < run.n_envs; i++)
                (void)printf("     env  %s=%s\n", run.envs[i].key, run.envs[i].value);
        for (size_t i = 0; i < run.n_devices; i++)
                (void)printf("     node %s (%s)\n", run.devices[i].key, run.permissions);
        if (!fk_run_env(&run, "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S") || run.n_devices < 3)
                give_up("that is not KubeVirt's contract");
        fk_run_done(&run);
}

static void lose_gpu(struct fk *k)
{
        _cleanup_free_ char *dir = xasprintf("%s/sim", work);
        struct sim *sim;
        struct err err;

        if (sim_open(&sim, dir, &err) < 0 || sim_unplug(sim, LOST, &err) < 0)
                give_up("%s", err.msg);
        int64_t start = clock_ms();
        (void)printf("   %s falls off the bus\n", LOST);
        expect(k, 8, 7);
        (void)printf("   kubelet knew %lld ms later; the id stays in the list, Unhealthy\n", (long long)(clock_ms() - start));
        _cleanup_free_ char *grep = xasprintf("grep -h '%s' '%s/sluiced.log' | tail -n 1 | cut -c 26-", LOST, work);
        show(grep, "   log: ", "unhealthy", 1);
        if (sim_plug(sim, LOST, &err) < 0)
                give_up("%s", err.msg);
        (void)printf("   and is back\n");
        expect(k, 8, 8);
        sim_free(sim);
}

static void restart_kubelet(struct fk *k)
{
        if (!fk_restart(k, 1))
                give_up("the stand-in kubelet did not restart");
        int64_t start = clock_ms();
        (void)printf("   kubelet is back: it removed every socket and knows no plugin\n");
        expect(k, 8, 8);
        (void)printf("   registered again after %lld ms\n", (long long)(clock_ms() - start));
        char text[FK_TEXT_MAX];
        if (fk_admit_one(k, "virt-launcher-vm2", RESOURCE, 1, text) < 0)
                give_up("the next pod was refused: %s", text);
        (void)printf("   the next pod gets its GPU\n");
}

static void end_daemon(void)
{
        int status;

        (void)kill(daemon_pid, SIGTERM);
        (void)waitpid(daemon_pid, &status, 0);
        daemon_pid = 0;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                give_up("sluiced ended with status %d", status);
        (void)printf("   sluiced ended; the pods' GPUs stay on vfio-pci, their VMs go on\n");
}

int main(int argc, char **argv)
{
        const char *bin = argc > 1 ? argv[1] : "build/debug/bin";
        const char *host = argc > 2 ? argv[2] : "tests/fixtures/hosts/l40s-8.capture";

        if (!mkdtemp(work))
                return 1;
        _cleanup_free_ char *kubelet_dir = xasprintf("%s/kubelet", work);
        _cleanup_free_ char *inventory = xasprintf("%s/sluicectl inventory --host %s --config tests/demo/config.yaml", bin, host);

        (void)mkdir(kubelet_dir, 0700);
        (void)printf("Sluice on a captured host: eight L40S on the NVIDIA driver, two sockets. No GPU is needed here.\n");
        title(1, "What is there, and what would be offered");
        (void)printf("   $ sluicectl inventory --host l40s-8.capture --config config.yaml\n");
        show(inventory, "   ", RESOURCE, 8);

        title(2, "The daemon registers with kubelet");
        struct fk *k = fk_start(kubelet_dir, fk_profile("1.34"));
        if (!k)
                give_up("the stand-in kubelet cannot listen: %s", strerror(errno));
        start_daemon(bin, host);
        expect(k, 8, 8);

        title(3, "A VM's pod is given two GPUs: they are bound on allocation");
        give_to_pod(k);
        title(4, "A GPU vanishes and comes back");
        lose_gpu(k);
        title(5, "Kubelet restarts");
        restart_kubelet(k);
        title(6, "The end");
        end_daemon();
        bool ok = fk_stop(k);
        tidy_up();
        (void)printf("\n%s\n", ok ? "demo: everything shown above was checked." : "demo: the stand-in kubelet crashed");
        return ok ? 0 : 1;
}
