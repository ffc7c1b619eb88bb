/* SPDX-License-Identifier: Apache-2.0 */
/* Where tests make their directories: in memory where that is possible. A simulated host is a thousand small files. */
#ifndef SLUICE_TESTS_TMP_H
#define SLUICE_TESTS_TMP_H

#include <unistd.h>

static inline const char *tmp_base(void)
{
        return access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";
}

#endif
