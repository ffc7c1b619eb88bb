/* SPDX-License-Identifier: Apache-2.0 */
/* Small allocations that end the process when memory is out (as gRPC itself does). Sizes that come from outside are
 * bounded by the caller before they get here. */
#ifndef SLUICE_BASE_ALLOC_H
#define SLUICE_BASE_ALLOC_H

#include <stdarg.h>
#include <stddef.h>

void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n, size_t size) __attribute__((returns_nonnull)); /* overflow-checked n * size */
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));
void *xmemdup(const void *p, size_t n) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));

/* @p, or the end of the process when it is NULL: for the allocators of libraries. */
void *alloc_check(void *p) __attribute__((returns_nonnull));

/* Makes room for one more element at the end of a growing array: `GROW(list, n, cap)`, then list[n++] = x. */
#define GROW(array, n, cap)                                                   \
        do {                                                                  \
                if ((n) == (cap)) {                                           \
                        (cap) = (cap) ? 2 * (cap) : 8;                        \
                        (array) = xrealloc((array), (cap), sizeof(*(array))); \
                }                                                             \
        } while (0)

#endif
