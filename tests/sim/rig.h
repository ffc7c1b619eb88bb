/* SPDX-License-Identifier: Apache-2.0 */
/* One test's world: the real sluiced on a captured host over the simulated kernel, against the fake kubelet, in a directory
 * of its own. Every function asserts; timeouts are ten times what is needed. Programs come from $SLUICE_BIN,
 * captures from tests/fixtures/hosts: run from the top of the tree. */
#ifndef SLUICE_TESTS_SIM_RIG_H
#define SLUICE_TESTS_SIM_RIG_H

#include "unit.h"

#include <stdbool.h>
#include <sys/types.h>

#include "fakekubelet.h"
#include "sim/sim.h"

#define L40S     "nvidia.com/AD102GL_L40S"
#define L40S_ENV "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S"
/* Head of every configuration. */
#define CONFIG "apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\n"
/* All L40S may be bound when they are allocated, or are bound before the first list. */
#define ON_ALLOCATE CONFIG "rules:\n  - select: {ids: [\"10de:26b9\"]}\n    bind: on-allocate\n"
#define AT_START    CONFIG "rules:\n  - select: {ids: [\"10de:26b9\"]}\n    bind: at-start\n"

enum { RIG_SOON_MS = 20000 };

struct rig {
        char dir[40], kubelet_dir[64], state_dir[64], run_dir[64], sim_dir[64], config[64], log[64], host[128];
        const char *program; /* NULL = $SLUICE_BIN/sluiced */
        const char *suffix;  /* of that and of sluice-hand: "-held"; NULL = none */
        struct fk *k;
        struct sim *sim;
        pid_t pid; /* of sluiced, 0 = none */
        bool over; /* the test came to its end: the log need not be shown */
        char text[FK_TEXT_MAX];
};

int rig_setup(void **state);    /* *state is a struct rig */
int rig_teardown(void **state); /* kills what is left, shows the log of a test that failed, removes the directory */
#define RIG_TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

/* Unpacks @fixture, writes @config (NULL = the implicit rule), starts the fake kubelet of @profile (NULL = none yet) and
 * the daemon. */
void rig_open(struct rig *rig, const char *fixture, const char *profile, const char *config);
void rig_prepare(struct rig *rig, const char *fixture, const char *config); /* all but the two programs */
void rig_kubelet(struct rig *rig, const char *profile);
void rig_daemon(struct rig *rig);
pid_t rig_spawn(struct rig *rig, const char *log);  /* a further daemon on the same directories */
void rig_config(struct rig *rig, const char *text); /* replaced as a whole, as a ConfigMap is */

/* SIGTERM; exit 0 in time, nothing from a sanitizer, no socket of ours left. Then the kubelet is stopped too: it must not
 * have crashed. Ends every test. */
void rig_stop(struct rig *rig);
int rig_end(struct rig *rig, int signal); /* sends, waits: exit status, 128 + signal */
int rig_reap(pid_t pid, unsigned timeout_ms);

void rig_ready(struct rig *rig, const char *resource, unsigned capacity, unsigned allocatable);
bool rig_logged(struct rig *rig, const char *text, unsigned timeout_ms); /* occurs in the log by then */
unsigned rig_log_count(struct rig *rig, const char *text);
struct fk_counts rig_counts(struct rig *rig, const char *resource);
const char *rig_health(struct rig *rig, const char *resource, const char *id); /* "Healthy", "Unhealthy", "" = not listed */
bool rig_wait_health(struct rig *rig, const char *resource, const char *id, const char *health, unsigned timeout_ms);

/* The simulated world. Paths are relative to the host's root: "sys/bus/pci/...". */
bool rig_exists(struct rig *rig, const char *path);
void rig_link(struct rig *rig, const char *path, char *out, size_t size); /* last component of the target, "" = none */
void rig_driver(struct rig *rig, const char *bdf, char *out, size_t size);
void rig_fault(struct rig *rig, const char *line);
void rig_unplug(struct rig *rig, const char *bdf);
void rig_plug(struct rig *rig, const char *bdf);
/* Each function that the kernel can reset is one whose first method may reset nothing: "pm flr bus". Before the first write there. */
void rig_doubt_resets(const char *sim_dir);
char *rig_tree(struct rig *rig); /* every path, link and content below sys, proc and dev, as one text; caller frees */

/* The worker that executes a plan on @card: it holds the card's lock, a spare one holds none. 0 = none. */
pid_t rig_worker(struct rig *rig, const char *card);

/* `sluicectl ARGUMENTS`: its exit status; both outputs in @text. */
int rig_ctl(struct rig *rig, const char *arguments, char *text, size_t size);

#define assert_driver(rig, bdf, want)                     \
        do {                                              \
                char _d[64];                              \
                rig_driver((rig), (bdf), _d, sizeof(_d)); \
                assert_string_equal(_d, (want));          \
        } while (0)

/* Admission of pod @pod for @n of @resource, and the start of its container: what arrives there. */
struct fk_run rig_run(struct rig *rig, const char *pod, const char *resource, size_t n);
bool rig_has_node(const struct fk_run *run, const char *path);

#endif
