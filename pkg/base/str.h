/* SPDX-License-Identifier: Apache-2.0 */
/* Strings: whole-token comparison, whole-string numbers, cleaning of what comes from outside, a growing buffer. */
#ifndef SLUICE_BASE_STR_H
#define SLUICE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"

static inline bool streq(const char *a, const char *b)
{
        return strcmp(a, b) == 0;
}

bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);

/* The whole string is a number of @base within [0, @max]: no sign, no blanks, no rest. "0x" is accepted with base 16. */
bool str_to_u64(const char *s, int base, uint64_t max, uint64_t *ret);

/* Removes trailing white space in place (sysfs values end with a newline); returns @s. */
char *str_chomp(char *s);

/* Well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF)? */
bool str_is_utf8(const char *s, size_t n);

/* Copies at most @size - 1 bytes of @s, replacing control characters (C0, C1) and ill-formed UTF-8 by '?': what comes from sysfs, a
 * configuration or a peer is made safe to log and to send here, once. Cuts only between characters. */
void str_clean(char *dst, size_t size, const char *s);

/* snprintf into a fixed buffer, where being cut is harmless (texts) or impossible (sizes proven by the caller). */
void str_format(char *dst, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* True when @src fits; @dst is always terminated. */
bool str_copy(char *dst, size_t size, const char *src);

/* 8-4-4-4-12 lower-case hexadecimal digits: how the kernel prints a UUID. */
bool str_is_uuid(const char *s);

/* The next line of *@text, @n bytes at *@line without its newline; moves *@text behind it. False at the end of the text. */
bool str_line(const char **text, const char **line, size_t *n);

/* Shell-like match of the whole string with '*' and '?' only. */
bool str_glob(const char *pattern, const char *s);

/* A growing text. Zero-initialise; strbuf_done() frees, strbuf_take() hands the text over (never NULL). */
struct strbuf {
        char *text;
        size_t len, cap;
};
void strbuf_add(struct strbuf *b, const char *s);
void strbuf_add_n(struct strbuf *b, const char *s, size_t n);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *strbuf_take(struct strbuf *b);
void strbuf_done(struct strbuf *b);
#define _cleanup_strbuf_ _cleanup_(strbuf_done)

#endif
