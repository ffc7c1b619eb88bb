/* SPDX-License-Identifier: Apache-2.0 */
/* One guest: its topology file, its QEMU, what it said, how it ended. Single-threaded; the runner polls @out. */
#ifndef SLUICE_TESTS_VM_MACHINE_H
#define SLUICE_TESTS_VM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { LINE_BYTES = 1024, MACHINE_ARGS_MAX = 256 };

/* Where things are; borrowed by every machine. */
struct rig {
        const char *kernel_dir; /* prepare.sh's DIR/current */
        const char *share;      /* folder that the guest sees as /share */
        const char *xpci;       /* library to preload into QEMU */
        const char *log_dir;    /* NAME.console and NAME.out of each guest */
        bool kvm;               /* cleared once a guest did not come up with it */
        bool shell;             /* a shell on stdin instead of the suite */
        const char *only;       /* pattern of test names, NULL = all */
        unsigned timeout_s;     /* 0 = the topology's */
};

struct machine {
        struct rig *rig;
        char *name;         /* of the topology: the suite that runs in the guest */
        char *path;
        char *iommu;        /* QEMU's IOMMU device, "" = none */
        char *append;       /* more kernel command line */
        char *fails;        /* the rig's own test: the verdict that this guest must get, "" = none */
        unsigned memory_mb, cpus, timeout_s;
        char **args;        /* further QEMU arguments */
        size_t n_args, cap_args;

        pid_t pid;          /* 0 = not running */
        int out;            /* the guest's second serial port, -1 = closed */
        int monitor;        /* QMP, -1 = none */
        int log;
        bool kvm;
        int64_t started_ms, deadline_ms;

        char line[LINE_BYTES];
        size_t line_len;
        bool reached;       /* INIT-REACHED seen */
        bool retried;       /* under emulation, which is done once */
        unsigned planned, passed, failed, skipped; /* tests, as the guest said them */
};

/* Reads the topology file @path (its format: tests/vm/README.md). Returns 0, or -1 having said why on stderr. */
int machine_load(struct machine *m, struct rig *rig, const char *path);
void machine_done(struct machine *m);

int machine_start(struct machine *m); /* 0, or -1 having said why on stderr */

/* Handles what the guest wrote. False at the end of its output: then call machine_reap. */
bool machine_read(struct machine *m);

/* Waits for QEMU and counts its end: any end but status 0 of the suite, with every planned test reported, is a failure
 * (and the one right end for a topology with @fails).
 * @why names an end forced by the runner (a timeout), NULL otherwise. */
void machine_reap(struct machine *m, const char *why);
void machine_kill(struct machine *m);

/* The guest's kernel does not come up, or died: kill it and start it again, without KVM. That happens before any of our code runs: useless
 * KVM, and once in a hundred boots a lock-up or panic of the emulated kernel on a busy machine (seen in its crypto self-test and in
 * its timer check, which are switched off since). */
int machine_retry(struct machine *m);

#endif
