/* SPDX-License-Identifier: Apache-2.0 */
/* Boots the guests of the topologies given, several at a time, and counts their tests.
 *
 *   vm-runner [--jobs N] [--timeout SECONDS] [--only PATTERN] [--shell] --kernel DIR --share DIR --xpci FILE --logs DIR TOPOLOGY.args...
 *
 * Ends with "test-vm: N passed, N failed, N skipped"; exit 0 when nothing failed and something passed. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "machine.h"

enum { KVM_PATIENCE_MS = 20000, EMULATION_PATIENCE_MS = 90000, JOBS_MAX = 8 };

/* /dev/kvm may be there and useless: a machine without the processor's flag opens it and hangs or fails later. */
static bool kvm_usable(void)
{
        char line[8192];
        bool flag = false;

        if (access("/dev/kvm", R_OK | W_OK) < 0)
                return false;
        FILE *f = fopen("/proc/cpuinfo", "re");
        if (f == NULL)
                return false;
        while (!flag && fgets(line, sizeof(line), f) != NULL)
                flag = str_has_prefix(line, "flags") && (strstr(line, " vmx") != NULL || strstr(line, " svm") != NULL);
        (void)fclose(f);
        return flag;
}

/* Takes care of a running guest whose time is over; true when it has ended. */
static bool check_time(struct machine *m, int64_t now)
{
        int patience_ms = m->kvm ? KVM_PATIENCE_MS : EMULATION_PATIENCE_MS;

        if (!m->reached && !m->retried && now - m->started_ms > patience_ms) {
                if (machine_retry(m) == 0)
                        return false;
                machine_reap(m, "cannot be started again");
                return true;
        }
        if (now < m->deadline_ms || m->rig->shell)
                return false;
        machine_kill(m);
        while (machine_read(m))
                ;
        machine_reap(m, "timeout");
        return true;
}

/* Waits until one of the running guests has ended; returns its index. */
static size_t wait_one(struct machine **running, size_t n)
{
        for (;;) {
                struct pollfd fds[JOBS_MAX];

                for (size_t i = 0; i < n; i++)
                        fds[i] = (struct pollfd){ .fd = running[i]->out, .events = POLLIN };
                (void)poll(fds, (nfds_t)n, 500);
                for (size_t i = 0; i < n; i++) {
                        if (fds[i].revents != 0 && !machine_read(running[i])) {
                                if (!running[i]->reached && !running[i]->retried && machine_retry(running[i]) == 0)
                                        continue;
                                machine_reap(running[i], NULL);
                                return i;
                        }
                        if (check_time(running[i], clock_ms()))
                                return i;
                }
        }
}

static void run_all(struct machine *machines, size_t n, unsigned jobs)
{
        struct machine *running[JOBS_MAX];
        size_t n_running = 0, next = 0;

        while (next < n || n_running > 0) {
                if (next < n && n_running < jobs) {
                        struct machine *m = &machines[next++];

                        if (machine_start(m) == 0)
                                running[n_running++] = m;
                        else
                                machine_reap(m, "cannot be started");
                        continue;
                }
                size_t i = wait_one(running, n_running);

                running[i] = running[--n_running];
        }
}

static int usage(void)
{
        (void)fprintf(stderr, "usage: vm-runner [--jobs N] [--timeout SECONDS] [--only PATTERN] [--shell] --kernel DIR --share DIR --xpci FILE "
                              "--logs DIR TOPOLOGY.args...\n");
        return 2;
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                { "jobs", required_argument, NULL, 'j' },   { "timeout", required_argument, NULL, 't' },
                { "shell", no_argument, NULL, 's' },        { "only", required_argument, NULL, 'o' },
                { "kernel", required_argument, NULL, 'k' },
                { "share", required_argument, NULL, 'd' },  { "xpci", required_argument, NULL, 'x' },
                { "logs", required_argument, NULL, 'l' },   { NULL, 0, NULL, 0 },
        };
        struct rig rig = { 0 };
        uint64_t jobs = 1, timeout_s = 0;

        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
                if (c == 'j' && str_to_u64(optarg, 10, JOBS_MAX, &jobs) && jobs > 0)
                        continue;
                if (c == 't' && str_to_u64(optarg, 10, 36000, &timeout_s))
                        continue;
                if (c == 's')
                        rig.shell = true;
                else if (c == 'o')
                        rig.only = optarg;
                else if (c == 'k')
                        rig.kernel_dir = optarg;
                else if (c == 'd')
                        rig.share = optarg;
                else if (c == 'x')
                        rig.xpci = optarg;
                else if (c == 'l')
                        rig.log_dir = optarg;
                else
                        return usage();
        }
        size_t n = (size_t)(argc - optind);

        if (rig.kernel_dir == NULL || rig.share == NULL || rig.xpci == NULL || rig.log_dir == NULL || n == 0 || (rig.shell && n > 1))
                return usage();
        rig.timeout_s = (unsigned)timeout_s;
        rig.kvm = kvm_usable();
        (void)signal(SIGPIPE, SIG_IGN);

        struct machine *machines = xcalloc(n, sizeof(*machines));
        unsigned passed = 0, failed = 0, skipped = 0;

        for (size_t i = 0; i < n; i++)
                if (machine_load(&machines[i], &rig, argv[optind + (int)i]) < 0)
                        return 2;
        run_all(machines, n, (unsigned)jobs);
        for (size_t i = 0; i < n; i++) {
                passed += machines[i].passed;
                failed += machines[i].failed;
                skipped += machines[i].skipped;
                machine_done(&machines[i]);
        }
        free(machines);
        if (rig.shell)
                return 0;
        (void)printf("test-vm: %u passed, %u failed, %u skipped\n", passed, failed, skipped);
        return failed == 0 && passed > 0 ? 0 : 1;
}
