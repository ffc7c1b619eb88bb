/* SPDX-License-Identifier: Apache-2.0 */
/* A task that the kernel does not let go ends for nobody: who waits for it, or exits with a thread in it, waits until the guest's time is
 * over. A fuse ends the guest instead, as failed, where what has to end does not. */
#ifndef SLUICE_TESTS_VM_FUSE_H
#define SLUICE_TESTS_VM_FUSE_H

/* From now on @what (a name for the report, static) has @seconds; one that is lit already is lit anew. */
void fuse_light(const char *what, int seconds);
void fuse_put_out(void);

#endif
