/* SPDX-License-Identifier: Apache-2.0 */
/* A simulated host as one text, to compare: every path, link and content below sys, proc and dev, a line each, sorted. The numbers of
 * VFIO's own devices (vfio0, vfio1, ...) are left out: they go by the order of binding. */
#ifndef SLUICE_TESTS_CRASH_PICTURE_H
#define SLUICE_TESTS_CRASH_PICTURE_H

char *picture_of(const char *sim_dir); /* the caller frees it */

/* What is in one and not in the other, for a person; at most some lines. */
void picture_differ(const char *want, const char *is, char *out, unsigned size);

#endif
