/* SPDX-License-Identifier: Apache-2.0 */
/* sluice-hand: the only program of Sluice that writes to the kernel. Started by sluiced, never by hand. To read it whole:
 * this file, hands/zygote.c (processes), hands/worker.c (order, locks, undo), hands/steps.c (each write), hands/kernel.c (the
 * write call) and hands/wire.c (messages and their checks). */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "hands/wire.h"
#include "hands/zygote.h"

int main(int argc, char **argv)
{
        struct stat st;

        if (argc == 2 && strcmp(argv[1], "--version") == 0) {
                (void)printf("sluice-hand %s\n", SLUICE_VERSION);
                return 0;
        }
        if (argc != 1 || fstat(WIRE_FD, &st) < 0 || !S_ISSOCK(st.st_mode)) {
                (void)fprintf(stderr, "sluice-hand is started by sluiced, with a socket as descriptor %d\n", WIRE_FD);
                return 2;
        }
        return zygote_main(WIRE_FD);
}
