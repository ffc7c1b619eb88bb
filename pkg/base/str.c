/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

bool str_has_prefix(const char *s, const char *prefix)
{
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_has_suffix(const char *s, const char *suffix)
{
        size_t n = strlen(s), m = strlen(suffix);

        return n >= m && streq(s + n - m, suffix);
}

static int digit_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return 99;
}

bool str_to_u64(const char *s, int base, uint64_t max, uint64_t *ret)
{
        uint64_t v = 0;

        if (base == 16 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
                s += 2;
        if (!*s)
                return false;
        for (; *s; s++) {
                int d = digit_value(*s);
                if (d >= base)
                        return false;
                if (__builtin_mul_overflow(v, (uint64_t)base, &v) || __builtin_add_overflow(v, (uint64_t)d, &v) || v > max)
                        return false;
        }
        *ret = v;
        return true;
}

char *str_chomp(char *s)
{
        size_t n = strlen(s);

        while (n > 0 && strchr(" \t\r\n", s[n - 1]))
                n--;
        s[n] = '\0';
        return s;
}

/* Length of the well-formed UTF-8 character at @s, 0 when it is ill-formed. */
static size_t utf8_char(const unsigned char *s, size_t n)
{
        if (s[0] < 0x80)
                return 1;
        size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
        if (s[0] < 0xc2 || s[0] > 0xf4 || n < len)
                return 0;
        for (size_t i = 1; i < len; i++)
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))
                return 0;
        if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
                return 0;
        return len;
}

bool str_is_utf8(const char *s, size_t n)
{
        for (size_t i = 0; i < n;) {
                size_t len = utf8_char((const unsigned char *)s + i, n - i);
                if (len == 0)
                        return false;
                i += len;
        }
        return true;
}

/* C0, DEL, and C1, whose U+009B begins an escape sequence as ESC [ does. */
static bool is_control(const unsigned char *s, size_t len)
{
        return (len == 1 && (s[0] < 0x20 || s[0] == 0x7f)) || (len == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

void str_clean(char *dst, size_t size, const char *s)
{
        size_t n = strlen(s), out = 0;

        for (size_t i = 0; i < n;) {
                const unsigned char *at = (const unsigned char *)s + i;
                size_t len = utf8_char(at, n - i);
                bool bad = len == 0 || is_control(at, len);
                if (out + (bad ? 1 : len) >= size)
                        break;
                if (bad)
                        dst[out++] = '?';
                else
                        for (size_t k = 0; k < len; k++)
                                dst[out++] = s[i + k];
                i += len ? len : 1;
        }
        dst[out] = '\0';
}

void str_format(char *dst, size_t size, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        int n = vsnprintf(dst, size, fmt, args);
        va_end(args);
        if (n < 0)
                dst[0] = '\0';
}

bool str_copy(char *dst, size_t size, const char *src)
{
        size_t n = strlen(src);
        bool fits = n < size;

        if (!fits)
                n = size - 1;
        memcpy(dst, src, n);
        dst[n] = '\0';
        return fits;
}

bool str_is_uuid(const char *s)
{
        enum { UUID_CHARS = 36 };

        if (strlen(s) != UUID_CHARS)
                return false;
        for (size_t i = 0; s[i]; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;
                if (dash ? s[i] != '-' : !strchr("0123456789abcdef", s[i]))
                        return false;
        }
        return true;
}

bool str_line(const char **text, const char **line, size_t *n)
{
        if (!**text)
                return false;
        *line = *text;
        *n = strcspn(*text, "\n");
        *text += *n + ((*text)[*n] == '\n');
        return true;
}

bool str_glob(const char *pattern, const char *s)
{
        const char *star = NULL, *retry = NULL;

        while (*s) {
                if (*pattern == '*') {
                        star = pattern++;
                        retry = s;
                } else if (*pattern == '?' || *pattern == *s) {
                        pattern++;
                        s++;
                } else if (star) {
                        pattern = star + 1;
                        s = ++retry;
                } else {
                        return false;
                }
        }
        while (*pattern == '*')
                pattern++;
        return *pattern == '\0';
}

static void reserve(struct strbuf *b, size_t more)
{
        if (b->cap - b->len > more)
                return;
        size_t cap = b->cap ? b->cap : 64;
        while (cap - b->len <= more)
                cap *= 2;
        b->text = xrealloc(b->text, cap, 1);
        b->cap = cap;
}

void strbuf_add_n(struct strbuf *b, const char *s, size_t n)
{
        reserve(b, n);
        memcpy(b->text + b->len, s, n);
        b->len += n;
        b->text[b->len] = '\0';
}

void strbuf_add(struct strbuf *b, const char *s)
{
        strbuf_add_n(b, s, strlen(s));
}

void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
        char small[256];
        va_list args;

        va_start(args, fmt);
        int n = vsnprintf(small, sizeof(small), fmt, args);
        va_end(args);
        if (n < 0)
                return;
        if ((size_t)n < sizeof(small)) {
                strbuf_add_n(b, small, (size_t)n);
                return;
        }
        reserve(b, (size_t)n);
        va_start(args, fmt);
        (void)vsnprintf(b->text + b->len, (size_t)n + 1, fmt, args);
        va_end(args);
        b->len += (size_t)n;
}

char *strbuf_take(struct strbuf *b)
{
        reserve(b, 0);
        b->text[b->len] = '\0';
        char *text = b->text;
        *b = (struct strbuf){ 0 };
        return text;
}

void strbuf_done(struct strbuf *b)
{
        free(b->text);
        *b = (struct strbuf){ 0 };
}
