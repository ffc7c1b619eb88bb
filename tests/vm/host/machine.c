/* SPDX-License-Identifier: Apache-2.0 */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "monitor.h"

enum {
        DEFAULT_MEMORY_MB = 512,
        DEFAULT_TIMEOUT_S = 900, /* ten times what the longest suite takes on an idle machine */
        DEBUG_EXIT_PORT = 0x501,
        REFUSED_PATIENCE_MS = 10000,
};

static void add_arg(struct machine *m, const char *arg)
{
        GROW(m->args, m->n_args, m->cap_args);
        m->args[m->n_args++] = xstrdup(arg);
}

static void add_words(struct machine *m, char *text)
{
        char *rest = NULL;

        for (char *w = strtok_r(text, " \t", &rest); w != NULL; w = strtok_r(NULL, " \t", &rest))
                add_arg(m, w);
}

static void replace(char **text, const char *value)
{
        free(*text);
        *text = xstrdup(value);
}

/* "@key value" */
static int load_setting(struct machine *m, const char *text)
{
        const char *value = strchr(text, ' ');
        uint64_t number = 0;

        value = value != NULL ? value + 1 : "";
        if (str_has_prefix(text, "@iommu ")) {
                replace(&m->iommu, streq(value, "none") ? "" : value);
                return 0;
        }
        if (str_has_prefix(text, "@append ")) {
                replace(&m->append, value);
                return 0;
        }
        if (str_has_prefix(text, "@fails ")) {
                replace(&m->fails, value);
                return 0;
        }
        if (!str_to_u64(value, 10, 65536, &number))
                return -1;
        if (str_has_prefix(text, "@memory "))
                m->memory_mb = (unsigned)number;
        else if (str_has_prefix(text, "@cpus "))
                m->cpus = (unsigned)number;
        else if (str_has_prefix(text, "@timeout "))
                m->timeout_s = (unsigned)number;
        else
                return -1;
        return 0;
}

int machine_load(struct machine *m, struct rig *rig, const char *path)
{
        const char *base = strrchr(path, '/');
        char line[LINE_BYTES];

        *m = (struct machine){
                .rig = rig,
                .path = xstrdup(path),
                .name = xstrdup(base != NULL ? base + 1 : path),
                .iommu = xstrdup("intel-iommu,intremap=on"),
                .append = xstrdup(""),
                .fails = xstrdup(""),
                .memory_mb = DEFAULT_MEMORY_MB,
                .cpus = 2,
                .timeout_s = DEFAULT_TIMEOUT_S,
                .out = -1,
                .monitor = -1,
                .log = -1,
        };
        if (str_has_suffix(m->name, ".args"))
                m->name[strlen(m->name) - strlen(".args")] = '\0';

        FILE *f = fopen(path, "re");
        if (f == NULL) {
                (void)fprintf(stderr, "cannot open %s: %s\n", path, strerror(errno));
                return -1;
        }
        int ret = 0;
        for (unsigned n = 1; ret == 0 && fgets(line, sizeof(line), f) != NULL; n++) {
                (void)str_chomp(line);
                if (line[0] == '@')
                        ret = load_setting(m, line);
                else if (line[0] != '#')
                        add_words(m, line);
                if (ret < 0)
                        (void)fprintf(stderr, "%s:%u: unknown setting or bad value: %s\n", path, n, line);
        }
        (void)fclose(f);
        if (rig->timeout_s > 0)
                m->timeout_s = rig->timeout_s;
        return ret;
}

void machine_done(struct machine *m)
{
        for (size_t i = 0; i < m->n_args; i++)
                free(m->args[i]);
        free(m->args);
        free(m->name);
        free(m->path);
        free(m->iommu);
        free(m->append);
        free(m->fails);
        *m = (struct machine){ .out = -1, .monitor = -1, .log = -1 };
}

/* The arguments that every guest has; each topology adds its hardware. @monitor is the descriptor that QEMU inherits. */
static void exec_qemu(const struct machine *m, int monitor)
{
        const struct rig *rig = m->rig;
        struct machine a = { 0 }; /* only its argument list */
        _cleanup_free_ char *memory = xasprintf("%u", m->memory_mb);
        _cleanup_free_ char *cpus = xasprintf("%u", m->cpus);
        _cleanup_free_ char *kernel = xasprintf("%s/vmlinux", rig->kernel_dir);
        _cleanup_free_ char *initrd = xasprintf("%s/initramfs.cpio.gz", rig->kernel_dir);
        _cleanup_free_ char *append = xasprintf("console=ttyS0 panic=-1 %s cryptomgr.notests no_timer_check intel_iommu=on iommu=pt vm.suite=%s %s%s%s%s",
                                                rig->shell ? "loglevel=4" : "quiet", m->name, m->append,
                                                rig->shell ? " vm.shell=1" : "", rig->only != NULL ? " vm.only=" : "",
                                                rig->only != NULL ? rig->only : "");
        _cleanup_free_ char *console = rig->shell ? xstrdup("mon:stdio") : xasprintf("file:%s/%s.console", rig->log_dir, m->name);
        _cleanup_free_ char *share = xasprintf("local,id=share,path=%s,security_model=none,multidevs=remap", rig->share);
        _cleanup_free_ char *qmp = xasprintf("socket,id=qmp,fd=%d", monitor);
        _cleanup_free_ char *debug_exit = xasprintf("isa-debug-exit,iobase=%#x,iosize=1", DEBUG_EXIT_PORT);
        const char *const common[] = {
                "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-m", memory, "-smp", cpus,
                "-accel", m->kvm ? "kvm" : "tcg,thread=multi", "-cpu", m->kvm ? "host" : "qemu64",
                "-machine", "q35,kernel-irqchip=split",
                "-kernel", kernel, "-initrd", initrd, "-append", append,
                "-serial", console, "-serial", rig->shell ? "null" : "file:/proc/self/fd/1",
                "-chardev", qmp, "-mon", "chardev=qmp,mode=control",
                "-fsdev", share, "-device", "virtio-9p-pci,fsdev=share,mount_tag=share,addr=1e.0",
                "-device", debug_exit,
        };

        for (size_t i = 0; i < N_ELEMENTS(common); i++)
                add_arg(&a, common[i]);
        if (m->iommu[0] != '\0') {
                add_arg(&a, "-device");
                add_arg(&a, m->iommu);
        }
        for (size_t i = 0; i < m->n_args; i++)
                add_arg(&a, m->args[i]);
        GROW(a.args, a.n_args, a.cap_args);
        a.args[a.n_args] = NULL;
        (void)setenv("LD_PRELOAD", rig->xpci, 1);
        (void)execvp(a.args[0], a.args);
        (void)fprintf(stderr, "cannot run %s: %s\n", a.args[0], strerror(errno));
        _exit(126);
}

static int open_log(const struct machine *m, const char *suffix)
{
        _cleanup_free_ char *path = xasprintf("%s/%s.%s", m->rig->log_dir, m->name, suffix);

        return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

static void run_child(const struct machine *m, int out, int monitor, int errors)
{
        pid_t runner = getppid();

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* no guest outlives its runner */
        if (getppid() != runner)
                _exit(126);
        if (!m->rig->shell) {
                int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

                (void)dup2(null, STDIN_FILENO);
                (void)dup2(out, STDOUT_FILENO);
                (void)dup2(errors, STDERR_FILENO);
        }
        (void)fcntl(monitor, F_SETFD, 0);
        exec_qemu(m, monitor);
}

int machine_start(struct machine *m)
{
        int out[2], monitor[2];
        _cleanup_close_ int errors = open_log(m, "err");

        m->log = open_log(m, "out");
        if (m->log < 0 || errors < 0 || pipe2(out, O_CLOEXEC) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, monitor) < 0) {
                (void)fprintf(stderr, "%s: cannot prepare the guest: %s\n", m->name, strerror(errno));
                return -1;
        }
        m->kvm = m->rig->kvm;
        m->line_len = 0;
        m->reached = false;
        m->planned = m->passed = m->failed = m->skipped = 0;
        m->started_ms = clock_ms();
        m->deadline_ms = m->started_ms + (int64_t)m->timeout_s * 1000;
        (void)fflush(NULL);
        m->pid = fork();
        if (m->pid == 0)
                run_child(m, out[1], monitor[1], errors);
        (void)close(out[1]);
        (void)close(monitor[1]);
        m->out = out[0];
        m->monitor = monitor[0];
        if (m->pid < 0 || monitor_greet(m->monitor) < 0) {
                (void)fprintf(stderr, "%s: QEMU did not start (%s/%s.err)\n", m->name, m->rig->log_dir, m->name);
                return m->pid < 0 ? -1 : 0; /* its exit status says the rest */
        }
        return 0;
}

/* A card that the guest let go still occupies its slot in QEMU for a moment: a refused command is tried again. */
static void host_step(struct machine *m, const char *command)
{
        char answer[LINE_BYTES];
        int64_t end = clock_ms() + REFUSED_PATIENCE_MS;
        int ret = monitor_command(m->monitor, command, answer, sizeof(answer));

        while (ret == 0 && str_has_prefix(answer, "Error:") && clock_ms() < end) {
                (void)usleep(50000);
                ret = monitor_command(m->monitor, command, answer, sizeof(answer));
        }
        if (ret < 0 || answer[0] != '\0')
                (void)printf("  [%s] host: %s -> %s\n", m->name, command, answer);
}

/* TAP as cmocka writes it, and our own words. What is neither is shown only when a test failed: see the log. */
static void handle_line(struct machine *m, const char *line)
{
        unsigned first = 0, last = 0;

        if (streq(line, "INIT-REACHED")) {
                m->reached = true;
        } else if (str_has_prefix(line, "HOST ")) {
                host_step(m, line + strlen("HOST "));
        } else if (sscanf(line, "PLAN %u", &last) == 1) {
                m->planned += last;
        } else if (sscanf(line, "%u..%u", &first, &last) == 2) {
                return; /* each group's own plan: ours counts */
        } else if (str_has_prefix(line, "ok ")) {
                bool skipped = strstr(line, "# SKIP") != NULL;

                m->passed += !skipped;
                m->skipped += skipped;
                (void)printf("  [%s] %s\n", m->name, line);
        } else if (str_has_prefix(line, "not ok ")) {
                m->failed++;
                (void)printf("  [%s] %s\n", m->name, line);
        } else if (line[0] == '#' || str_has_prefix(line, "ERROR: ") || str_has_prefix(line, "GUEST-EXIT")) {
                (void)printf("  [%s] %s\n", m->name, line);
        }
}

bool machine_read(struct machine *m)
{
        char chunk[4096];
        ssize_t n = read(m->out, chunk, sizeof(chunk));

        if (n <= 0)
                return n < 0 && errno == EINTR;
        (void)!write(m->log, chunk, (size_t)n);
        for (ssize_t i = 0; i < n; i++) {
                if (chunk[i] == '\r')
                        continue;
                if (chunk[i] != '\n' && m->line_len + 1 < sizeof(m->line)) {
                        m->line[m->line_len++] = chunk[i];
                        continue;
                }
                m->line[m->line_len] = '\0';
                m->line_len = 0;
                handle_line(m, m->line);
        }
        (void)fflush(stdout);
        return true;
}

static void close_all(struct machine *m)
{
        int *const fds[] = { &m->out, &m->monitor, &m->log };

        for (size_t i = 0; i < N_ELEMENTS(fds); i++) {
                if (*fds[i] >= 0)
                        (void)close(*fds[i]);
                *fds[i] = -1;
        }
}

void machine_kill(struct machine *m)
{
        if (m->pid > 0)
                (void)kill(m->pid, SIGKILL);
}

/* How a guest ended that did not end well; "" when it did. */
static void judge(const struct machine *m, int status, const char *why, char *out, size_t size)
{
        unsigned reported = m->passed + m->failed + m->skipped;
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

        out[0] = '\0';
        if (why != NULL)
                str_format(out, size, "%s", why);
        else if (code < 0)
                str_format(out, size, "QEMU was ended by signal %d", WTERMSIG(status));
        else if (!m->reached) /* QEMU itself fails with 1, too */
                str_format(out, size, "the guest did not come up");
        else if (code % 2 == 0)
                str_format(out, size, code == 0 ? "the guest died" : "QEMU ended with %d", code);
        else if (reported != m->planned || reported == 0)
                str_format(out, size, "%u of %u tests were reported", reported, m->planned);
        else if (code >> 1 != 0 && m->failed == 0)
                str_format(out, size, "the suite ended with %d", code >> 1);
}

void machine_reap(struct machine *m, const char *why)
{
        int status = 0;

        if (m->pid > 0 && waitpid(m->pid, &status, 0) != m->pid)
                why = "QEMU's status is not known";
        m->pid = 0;
        close_all(m);

        char verdict[128];

        judge(m, status, why, verdict, sizeof(verdict));
        if (m->fails[0] != '\0') {
                bool right = streq(verdict, m->fails);

                (void)printf("  [%s] %sok - the runner says: %s\n", m->name, right ? "" : "not ", verdict);
                m->passed = right;
                m->failed = !right;
        } else if (verdict[0] != '\0' && !m->rig->shell) {
                (void)printf("  [%s] not ok - %s (see %s/%s.*)\n", m->name, verdict, m->rig->log_dir, m->name);
                m->failed++;
        }
        (void)printf("  [%s] %.1f s, %s\n", m->name, (double)(clock_ms() - m->started_ms) / 1000, m->kvm ? "KVM" : "emulated");
}

int machine_retry(struct machine *m)
{
        machine_kill(m);
        (void)waitpid(m->pid, NULL, 0);
        m->pid = 0;
        close_all(m);
        (void)printf("  [%s] no sign of life %s: started again\n", m->name, m->kvm ? "under KVM" : "");
        if (m->kvm)
                m->rig->kvm = false;
        else
                m->retried = true;
        return machine_start(m);
}
