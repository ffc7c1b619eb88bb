/* SPDX-License-Identifier: Apache-2.0 */
/* Errors of the world: -errno as the return value and one caller-owned sentence.
 *
 * Every function that can fail because of the world takes `struct err *err` as its last parameter (never NULL),
 * fills it on failure and returns the negative errno. Context is added on the way up with err_prefix(); the sentence
 * is logged or sent once, by whoever stops passing it on. Outputs are untouched on failure. */
#ifndef SLUICE_BASE_ERR_H
#define SLUICE_BASE_ERR_H

#include <stdarg.h>

enum { ERR_MSG_MAX = 512 };

struct err {
        int code; /* positive errno; 0 = no error */
        char msg[ERR_MSG_MAX];
};

/* Sets the sentence `<fmt>: <strerror(code)>` and returns -@code. @code must be positive. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, without the text of @code: for sentences that already say why. */
int err_say(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts `<fmt>: ` before the sentence and returns -err->code, so that it can end a function. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
