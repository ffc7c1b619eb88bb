/* SPDX-License-Identifier: Apache-2.0 */
/* Where the sluice-hand under test is. */
#ifndef SLUICE_TESTS_HANDS_PROGRAM_H
#define SLUICE_TESTS_HANDS_PROGRAM_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

/* The program given by SLUICE_BIN, or beside this test's own directory below build/<flavour>. */
static inline char *find_program(void)
{
        const char *bin = getenv("SLUICE_BIN");
        char self[512];

        if (bin)
                return xasprintf("%s/sluice-hand", bin);
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        self[n > 0 ? n : 0] = '\0';
        char *tests = strstr(self, "/tests/unit/");
        if (tests)
                *tests = '\0';
        return xasprintf("%s/bin/sluice-hand", self);
}

#endif
