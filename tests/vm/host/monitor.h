/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's monitor over QMP: what a guest test asks the host to do to its hardware (unplug a card, break its link). */
#ifndef SLUICE_TESTS_VM_MONITOR_H
#define SLUICE_TESTS_VM_MONITOR_H

#include <stddef.h>

/* Runs one human monitor command on the QMP connection @fd, waiting at most 30 s. QEMU's answer, without newlines at the end, is put
 * into @answer ("" = nothing to say, which is success for the commands that change hardware). Returns 0 or -1. */
int monitor_command(int fd, const char *command, char *answer, size_t size);

/* Greets: must be called once, before the first command. */
int monitor_greet(int fd);

#endif
