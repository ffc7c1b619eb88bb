/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl as a function: sluiced is both programs (cmd/sluiced/main.c). */
#ifndef SLUICE_CMD_SLUICECTL_SLUICECTL_H
#define SLUICE_CMD_SLUICECTL_SLUICECTL_H

/* Its main(): the exit status. */
int sluicectl_main(int argc, char **argv);

#endif
