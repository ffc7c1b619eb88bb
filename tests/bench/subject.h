/* SPDX-License-Identifier: Apache-2.0 */
/* What is measured, a release sluiced or another device plugin, and the node that it is put on: a made-up host and the stand-in
 * kubelet, at the paths where a device plugin looks for them. One process; what cannot be done ends it with a sentence. */
#ifndef SLUICE_TESTS_BENCH_SUBJECT_H
#define SLUICE_TESTS_BENCH_SUBJECT_H

#include <stdbool.h>
#include <sys/types.h>

#include "fakekubelet.h"

#define KUBELET "/var/lib/kubelet"

extern char work[];            /* the bench's own directory, a tmpfs */
extern const char *bin, *peer; /* where our programs are; the peer's program, NULL = none */

struct subject {
        const char *name;
        bool is_peer;
        pid_t pid;
        double *exec_ms; /* when its program was about to be executed; shared with the child that says so */
};

double now_ms(void);
void die(const char *what) __attribute__((noreturn));
double *shared_ms(void); /* for exec_ms */
void progress(const struct subject *s, const char *what);
void run_command(const char *fmt, const char *arg);

/* @bound: its GPUs are on vfio-pci. What a former subject remembered is forgotten. */
void make_host(unsigned models, unsigned per_model, bool bound);
/* @rules: the "rules" of its configuration; "[]" is the implicit rule. */
void spawn(struct subject *s, const char *rules);
void end(struct subject *s, int signal_number);
struct fk *kubelet(void);
/* Until kubelet knows that many, or for 15 s. */
bool await(struct fk *k, unsigned resources, unsigned capacity, unsigned allocatable);

double rss(pid_t pid);               /* KiB */
double rss_with_children(pid_t pid); /* zygote and workers are children: their memory is ours too */
/* Voluntary context switches of all threads: gRPC's by name, the rest is ours. */
void switches(pid_t pid, double *ret_grpc, double *ret_ours);

#endif
