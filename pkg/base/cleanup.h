/* SPDX-License-Identifier: Apache-2.0 */
/* Ownership that the declaring line shows: scope-bound cleanup and visible hand-over.
 *
 * Two rules: declare and acquire in one statement; never mix goto unwinding and cleanup in one function. */
#ifndef SLUICE_BASE_CLEANUP_H
#define SLUICE_BASE_CLEANUP_H

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Hand a pointer or descriptor over to a new owner: the old name no longer owns anything. */
#define TAKE_PTR(p)                        \
        ({                                 \
                __typeof__(p) *_pp = &(p); \
                __typeof__(p) _v = *_pp;   \
                *_pp = NULL;               \
                _v;                        \
        })
#define TAKE_FD(fd)               \
        ({                        \
                int *_pf = &(fd); \
                int _f = *_pf;    \
                *_pf = -1;        \
                _f;               \
        })

static inline void cleanup_free(void *p)
{
        free(*(void **)p);
}

static inline void cleanup_close(const int *fd)
{
        if (*fd >= 0)
                (void)close(*fd);
}

#define _cleanup_free_  _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)

/* Defines `func##p(T *)` for `_cleanup_(func##p)`: calls @func when the pointer is not NULL. */
#define DEFINE_CLEANUP(type, func)          \
        static inline void func##p(type *p) \
        {                                   \
                if (*p)                     \
                        (void)func(*p);     \
        }

/* The struct that embeds @member at @ptr. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define N_ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))

#endif
