/* SPDX-License-Identifier: Apache-2.0 */
/* What the sweep orders, in memory that it shares with the daemon: $SLUICE_ACCESSES names the file. */
#ifndef SLUICE_TESTS_FAIL_ORDER_H
#define SLUICE_TESTS_FAIL_ORDER_H

#include <stdatomic.h>

struct order {
        atomic_uint counts;  /* accesses are counted, and the one that is due fails */
        atomic_uint n;       /* so many have been */
        atomic_uint fail_at; /* 1 = the next after n = 0; 0 = none */
        atomic_uint burst;   /* so many fail, one after the other */
        atomic_int error;
        char failed[256]; /* which one did; "" = none */
};

#endif
