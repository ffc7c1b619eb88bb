/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 4, 0))) static void set(struct err *err, int code, const char *why, const char *fmt, va_list args)
{
        assert(code > 0);
        err->code = code;
        int n = vsnprintf(err->msg, sizeof(err->msg), fmt, args);
        if (why && n >= 0 && (size_t)n < sizeof(err->msg))
                (void)snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %s", why);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
        char why[128];
        va_list args;

        /* GNU strerror_r: returns the text, which need not be in the buffer. */
        const char *text = strerror_r(code, why, sizeof(why));
        va_start(args, fmt);
        set(err, code, text, fmt, args);
        va_end(args);
        return -code;
}

int err_say(struct err *err, int code, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        set(err, code, NULL, fmt, args);
        va_end(args);
        return -code;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
        char old[ERR_MSG_MAX];
        va_list args;

        (void)snprintf(old, sizeof(old), "%s", err->msg);
        va_start(args, fmt);
        set(err, err->code, old, fmt, args);
        va_end(args);
        return -err->code;
}
