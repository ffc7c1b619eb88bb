/* SPDX-License-Identifier: Apache-2.0 */
/* The node as it is in production: sluiced, which starts sluice-hand, and a kubelet that asks over the unix socket. One node at a
 * time. Each test begins with load_nvidia and node_start; NODE_TEST's teardown ends all processes and puts every function back to
 * its host driver, whether the test failed or not. */
#ifndef SLUICE_TESTS_VM_NODE_H
#define SLUICE_TESTS_VM_NODE_H

#include <pthread.h>

#include "fakekubelet.h"
#include "guest.h"

#define NODE_TEST(name) cmocka_unit_test_teardown(name, node_teardown)
int node_teardown(void **state);

#define CONFIG_HEAD "apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\n"
/* A configuration with one rule that binds at Allocate: RULE("ids: [\"10de:26b9\"]"). */
#define RULE(select) CONFIG_HEAD "rules:\n- select: {" select "}\n  bind: on-allocate\n"

#define L40S_RESOURCE "nvidia.com/AD102GL_L40S"
#define L40S_VARIABLE "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S"

#define NODE_RUN_DIR   "/run/sluice"
#define NODE_STATE_DIR "/run/sluice-state"
enum { NODE_PATIENCE_MS = 60000 };

/* Starts kubelet and sluiced with @config (NULL: no file, the implicit rule). @label names the log: share/log/LABEL.log. */
struct fk *node_start(const char *label, const char *config);
struct fk *node_kubelet(void);
/* sluiced alone, for restarts: with SIGTERM it must end with 0 within a second or so. */
void daemon_start(void);
void daemon_stop(int signal_number);
pid_t daemon_pid(void);
/* The helper program to start instead of the one beside sluiced; NULL = that one. Holds until the teardown. */
void daemon_set_hand(const char *path);
/* Only warnings from the next start to the teardown, as in production: the log lies on the slow shared folder. */
void daemon_set_quiet(void);
/* sluiced-quick-pods asks podresources ten times a second (tests/sim/quick_pods.h). From the next start to the teardown. */
void daemon_set_quick_pods(void);
/* That, with the points of tests/crash/hold.h, and its hand. From the next start to the teardown. */
void daemon_set_held(void);
/* From the next start to the teardown sluiced lacks the right to see other processes' descriptors (CAP_SYS_PTRACE). */
void daemon_set_blind(void);
/* Until the teardown the state directory is a file system of its own ("size=128k"). Before node_start. */
void node_mount_state(const char *options);
/* From the next start to the teardown sluiced is what the chart's @variant (readOnly, passthrough, passthroughBlind) makes of it in a
 * container: its mounts and its capabilities. */
void daemon_set_pod(const char *variant);
/* Another sluiced on the same node, beside the one that runs. */
struct process daemon_start_second(const char *label);
void node_stop(void); /* the daemon, unless it was stopped already, and kubelet */

/* Fails the test when @resource does not come to these counts. */
void expect_counts(const char *resource, unsigned capacity, unsigned allocatable);
void expect_never_offered(const char *resource);
/* kubelet admits pod @pod with @n devices and starts its container; fails the test with kubelet's text otherwise. */
void allocate(const char *pod, const char *resource, size_t n, struct fk_run *ret);
/* The admission fails; its text has @word1 and @word2 (NULL = any) in it. */
void expect_refused(const char *pod, const char *resource, const char *word1, const char *word2);
/* An admission that takes its time, beside the test. */
struct admission {
        pthread_t thread;
        const char *pod, *resource;
        size_t n;
        char text[FK_TEXT_MAX]; /* kubelet's, when it is refused */
        bool admitted;
};
void admission_start(struct admission *admission, const char *pod, const char *resource); /* one device */
void admission_start_of(struct admission *admission, const char *pod, const char *resource, size_t n);
bool admission_end(struct admission *admission);                                          /* waits for it: admitted? */
/* Waits until no hand works on the card any more, also one that was given up: it holds the card's lock. */
void await_hand(const char *card);
void await_registered(unsigned before /* Register calls */);
/* The container was given exactly this: variable, /dev/vfio/vfio and the node of the group. */
void expect_answer(const struct fk_run *run, const char *variable, const char *value, const char *group);

/* allocate + expect_answer + the device is used through VFIO, all in one, for one device of @resource at @bdf. */
void expect_device_becomes_usable(const char *pod, const char *resource, const char *variable, const char *bdf);

/* What `sluicectl inventory` says of a device under the node's configuration: the reason's word ("" = none), and its detail in
 * @detail (may be NULL). */
const char *inventory_reason(const char *id, char detail[VALUE_BYTES]);

#endif
