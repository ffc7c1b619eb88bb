/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLUICE_TESTS_FAKEKUBELET_SELFTEST_H
#define SLUICE_TESTS_FAKEKUBELET_SELFTEST_H

#include "unit.h"

#include "plugin.h"

#define GPU "example.com/gpu"
#define NIC "example.com/nic"
enum { SOON = 10000 };

struct world {
        char dir[64];
        struct fk *k;
        struct plugin p; /* listening, not registered */
        char text[FK_TEXT_MAX];
};
void world_open(struct world *w, const char *profile, size_t n_devices);
void world_close(struct world *w, bool crashed); /* asserts whether the kubelet crashed */
void registered(struct world *w, size_t n);
struct fk_counts counts(struct world *w, const char *resource);

int selftest_pods(void);         /* rows D and E; the number of failed tests */
int selftest_podresources(void); /* row F1; likewise */

#endif
