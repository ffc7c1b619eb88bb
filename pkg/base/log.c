/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

static const char *const level_names[] = { "error", "warn", "info", "debug" };

static struct {
        const char *program;
        enum log_level level;
        enum log_format format;
} setup = { "sluice", LOG_LEVEL_INFO, LOG_FORMAT_TEXT };

void log_setup(const char *program, enum log_level level, enum log_format format)
{
        setup.program = program;
        setup.level = level;
        setup.format = format;
}

bool log_level_parse(const char *s, enum log_level *ret)
{
        for (size_t i = 0; i < N_ELEMENTS(level_names); i++)
                if (streq(s, level_names[i])) {
                        *ret = (enum log_level)i;
                        return true;
                }
        return false;
}

bool log_format_parse(const char *s, enum log_format *ret)
{
        if (!streq(s, "text") && !streq(s, "json"))
                return false;
        *ret = streq(s, "json") ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
        return true;
}

bool log_enabled(enum log_level level)
{
        return level <= setup.level;
}

static void json_escape(struct strbuf *b, const char *s)
{
        for (; *s; s++) {
                if (*s == '"' || *s == '\\')
                        strbuf_add(b, "\\");
                strbuf_add_n(b, s, 1);
        }
}

void log_write(enum log_level level, const char *fmt, ...)
{
        char raw[2048], text[2048], stamp[40];
        struct timespec now;
        struct tm tm;
        va_list args;

        if (!log_enabled(level))
                return;
        va_start(args, fmt);
        int n = vsnprintf(raw, sizeof(raw), fmt, args);
        va_end(args);
        if (n < 0)
                return;
        str_clean(text, sizeof(text), raw);

        (void)clock_gettime(CLOCK_REALTIME, &now);
        (void)gmtime_r(&now.tv_sec, &tm);
        size_t len = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
        str_format(stamp + len, sizeof(stamp) - len, ".%03ldZ", now.tv_nsec / 1000000);

        _cleanup_strbuf_ struct strbuf line = { 0 };
        if (setup.format == LOG_FORMAT_JSON) {
                strbuf_addf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\",\"msg\":\"", stamp, level_names[level],
                            setup.program);
                json_escape(&line, text);
                strbuf_add(&line, "\"}\n");
        } else {
                strbuf_addf(&line, "%s %s %s: %s\n", stamp, level_names[level], setup.program, text);
        }
        /* One write: lines of several processes on one stderr do not mix. */
        ssize_t w = write(STDERR_FILENO, line.text, line.len);
        (void)w;
}
