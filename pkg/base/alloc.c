/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *alloc_check(void *p)
{
        static const char why[] = "sluice: out of memory\n";

        if (!p) {
                ssize_t n = write(STDERR_FILENO, why, sizeof(why) - 1);
                (void)n;
                abort();
        }
        return p;
}

void *xcalloc(size_t n, size_t size)
{
        return alloc_check(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t n, size_t size)
{
        size_t bytes;

        if (__builtin_mul_overflow(n, size, &bytes))
                return alloc_check(NULL);
        return alloc_check(realloc(p, bytes ? bytes : 1));
}

char *xstrdup(const char *s)
{
        return alloc_check(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
        return alloc_check(strndup(s, n));
}

void *xmemdup(const void *p, size_t n)
{
        void *copy = alloc_check(malloc(n ? n : 1));

        if (n)
                memcpy(copy, p, n);
        return copy;
}

char *xasprintf(const char *fmt, ...)
{
        char *s = NULL;
        va_list args;

        va_start(args, fmt);
        int n = vasprintf(&s, fmt, args);
        va_end(args);
        return alloc_check(n < 0 ? NULL : s);
}
